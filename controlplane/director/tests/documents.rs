//! Documents are read once, by whoever receives them, and mean the same whoever read them.

mod world;

use model::port::{ApiRequest, CreateCall, HttpAnswer, Instructions, UpdateCall};
use world::{Answer, World, status, xml};

/// What applications answer, and what is no document among it.
const ANSWERS: [(&str, &str, u16); 8] = [
    ("text/xml", "<Response><Pause length=\"2\"/><Hangup/></Response>", 200),
    ("text/xml", "<Response><Dial><Sip>sip:ok@127.0.0.1</Sip></Dial></Response>", 200),
    ("text/xml", "<Response><Say>hello</Say><Redirect>/nowhere</Redirect></Response>", 200),
    ("text/xml", "<Response><Pause>", 200),
    ("text/xml", "<Other/>", 200),
    ("audio/wav", "<Response/>", 200),
    ("", "  ", 204),
    ("text/xml", "<Response/>", 500),
];

fn call_out(text: &str) -> ApiRequest {
    ApiRequest::CreateCall(Box::new(CreateCall {
        to: "sip:ok@127.0.0.1".to_owned(),
        from: "+15550100".to_owned(),
        instructions: Instructions::Twiml(text.to_owned()),
        status: None,
        timeout: None,
        time_limit: None,
        caller_id: None,
        login: None,
    }))
}

/// Every answer to a call in, and an inline document; `reads`: whoever receives them reads them.
fn told(reads: bool) -> (String, u64) {
    let mut said = String::new();
    let mut documents = 0;
    for (content_type, body, code) in ANSWERS {
        let answer: Answer = (
            20,
            Ok(HttpAnswer {
                status: code,
                content_type: content_type.to_owned(),
                body: body.as_bytes().to_vec(),
                ..HttpAnswer::default()
            }),
        );
        let mut world = World::new(move |request| match request.url.as_str() {
            "http://app.test/voice" => answer.clone(),
            _ => status(404),
        });
        world.reads = reads;
        let call = world.call_in("sip:bob@demo.test");
        world.run(30_000);
        documents += world.director.stats().documents_read;
        let alerts: Vec<_> =
            world.store.alerts.iter().map(|it| (&it.reason, &it.message)).collect();
        said += &format!("{body} {} {alerts:?} {:?}\n", world.status_of(call), world.commands);
    }
    (said, documents)
}

#[test]
fn an_answer_means_the_same_whoever_read_it() {
    let (here, by_the_director) = told(false);
    let (elsewhere, none) = told(true);
    assert_eq!(here, elsewhere);
    assert!(by_the_director >= ANSWERS.len() as u64);
    assert_eq!(none, 0, "the director has read what was read already");
}

#[test]
fn an_inline_document_is_read_once() {
    for reads in [false, true] {
        let mut world = World::new(|_| xml("<Response/>"));
        world.reads = reads;
        let id = world.api(call_out("<Response><Pause length=\"60\"/></Response>"));
        world.run(5_000);
        let Some(Ok(model::port::ApiDone::Call(row))) = world.reply(id) else { panic!("no call") };
        let call = row.sid;
        assert_eq!(world.status_of(call), "in-progress");
        assert_eq!(world.director.stats().documents_read, u64::from(!reads));
        let instructions = Instructions::Twiml("<Response><Hangup/></Response>".to_owned());
        let update = UpdateCall {
            instructions: Some(instructions),
            complete: false,
            cancel: false,
            status: None,
            time_limit: None,
        };
        world.api(ApiRequest::UpdateCall { call, update: Box::new(update) });
        world.run(5_000);
        assert_eq!(world.status_of(call), "completed");
        assert_eq!(world.director.stats().documents_read, 2 * u64::from(!reads));
        let bad = world.api(call_out("<Response><Pause>"));
        assert_eq!(world.reply(bad).and_then(|it| it.as_ref().err()).unwrap().code, 12_100);
    }
}

#[test]
fn an_encoding_is_read_as_what_it_says_or_named() {
    let utf_16: Vec<u8> = "<Response><!-- \u{fc} --><Reject/></Response>"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let western = b"<Response><Reject reason=\"\xfc\"/></Response>";
    for (content_type, body, told) in [
        ("text/xml", utf_16.as_slice(), None),
        ("text/xml; charset=iso-8859-1", western, Some("<Reject reason=\"\u{fc}\">")),
        ("text/xml", western, Some("the document is not valid UTF-8")),
        ("text/xml; charset=klingon", western, Some("\"klingon\" is not known")),
    ] {
        let (content_type, body) = (content_type.to_owned(), body.to_vec());
        let answer: Answer =
            (20, Ok(HttpAnswer { status: 200, content_type, body, ..HttpAnswer::default() }));
        let mut world = World::new(move |request| match request.url.as_str() {
            "http://app.test/voice" => answer.clone(),
            _ => status(200),
        });
        let call = world.call_in("sip:bob@demo.test");
        world.run(5_000);
        let alerts: Vec<_> = world.store.alerts.iter().collect();
        let is_document = told.is_none_or(|told| told.starts_with('<'));
        assert_eq!(world.status_of(call), if is_document { "no-answer" } else { "failed" });
        assert_eq!(alerts.len(), usize::from(told.is_some()), "{alerts:?}");
        if let (Some(told), [alert]) = (told, alerts.as_slice()) {
            assert!(alert.message.contains(told), "{alert:?}");
            assert_eq!(alert.code, if is_document { 12_200 } else { 12_100 });
        }
    }
}
