//! Numbers, names and headers are values: applications see what a notation denotes, and what they
//! write leaves as what was meant.

mod world;

use model::port::{ApiDone, ApiRequest, CreateCall, Instructions, OwnedCommand, OwnedOriginate};
use world::{Caller, World, param, xml};

fn originated(world: &World) -> Vec<&OwnedOriginate> {
    fn order(command: &OwnedCommand) -> Option<&OwnedOriginate> {
        match command {
            OwnedCommand::Originate(originate) => Some(originate),
            _ => None,
        }
    }
    world.commands.iter().filter_map(order).collect()
}

#[test]
fn each_notation_of_a_number_finds_it_and_is_shown_as_the_number() {
    let alice = "sip:+15557001@192.0.2.7";
    for (uri, from) in [
        ("sip:+15550100@10.1.1.1", alice),
        ("sip:+15550100;npdi;rn=+15550999@10.1.1.1;user=phone", alice),
        ("sip:%2B15550100@10.1.1.1", alice),
        ("sip:+1-555-0100@10.1.1.1;user=phone", alice),
        ("sip:15550100@10.1.1.1", alice),
        ("tel:+15550100", alice),
        ("tel:+1-555-01-00", alice),
        ("tel:0100;phone-context=+1555", alice),
        ("sip:+15550100@10.1.1.1", "tel:+1-555-7001"),
        ("sip:+15550100@10.1.1.1", "sip:+15557001;cpc=ordinary@192.0.2.7;user=phone"),
        ("sip:+15550100@10.1.1.1", "sip:%2B15557001@192.0.2.7"),
    ] {
        let mut world = World::new(|_| xml("<Response><Reject reason=\"busy\"/></Response>"));
        world.caller = Caller { from, ..Caller::default() };
        let call = world.call_in(uri);
        world.run(5_000);
        let asked = world.asked("/voice");
        let asked = asked.first().unwrap_or_else(|| panic!("{uri} was not found"));
        for (name, value) in [
            ("To", "+15550100"),
            ("Called", "+15550100"),
            ("From", "+15557001"),
            ("Caller", "+15557001"),
        ] {
            assert_eq!(param(asked, name), value, "{name} of {uri} from {from}");
        }
        let row = &world.store.calls[&call];
        assert_eq!((row.to.as_str(), row.from.as_str()), ("+15550100", "+15557001"));
        world.assert_clean();
    }
}

#[test]
fn who_diverted_a_call_is_told() {
    for (diversion, told) in [
        ("sip:+15550004141@203.0.113.9", "+15550004141"),
        ("tel:+1-555-000-4141", "+15550004141"),
        ("sip:carol@example.test;user=x", "sip:carol@example.test"),
        ("", ""),
    ] {
        let mut world = World::new(|_| xml("<Response><Reject/></Response>"));
        world.caller = Caller { diversion, ..Caller::default() };
        let call = world.call_in("sip:+15550100@10.1.1.1");
        world.run(5_000);
        assert_eq!(param(world.asked("/voice")[0], "ForwardedFrom"), told);
        let row = &world.store.calls[&call];
        assert_eq!(row.forwarded_from.as_deref().unwrap_or_default(), told);
    }
}

#[test]
fn headers_of_the_caller_arrive_under_their_names() {
    let mut world = World::new(|_| xml("<Response><Reject/></Response>"));
    let headers = "X-Account: 42\r\nuser-to-user: 616263;encoding=hex\r\nx-lower: y\r\n";
    world.caller = Caller { headers, ..Caller::default() };
    world.call_in("sip:bob@demo.test");
    world.run(5_000);
    let asked = world.asked("/voice")[0];
    assert_eq!(param(asked, "SipHeader_X-Account"), "42");
    assert_eq!(param(asked, "SipHeader_User-to-User"), "616263;encoding=hex");
    assert_eq!(param(asked, "SipHeader_x-lower"), "y");
}

#[test]
fn a_name_is_passed_on_as_it_is() {
    let name = "Bob \"Bobby\" \\ Smith, sales <x>";
    let document = "<Response><Dial><Sip>sip:ok@127.0.0.1</Sip></Dial></Response>";
    let mut world = World::new(move |_| xml(document));
    world.caller = Caller { from_name: name, ..Caller::default() };
    let call = world.call_in("sip:bob@demo.test");
    world.run(500);
    assert_eq!(param(world.asked("/voice")[0], "CallerName"), name);
    assert_eq!(originated(&world)[0].from_name, name);
    assert_eq!(world.store.calls[&call].caller_name.as_deref(), Some(name));
}

#[test]
fn a_caller_id_leaves_as_the_number_it_is_or_is_refused_aloud() {
    for (given, sent) in [
        ("+15550002222", Some("sip:+15550002222@127.0.0.1:5060")),
        ("+1 (555) 000-2222", Some("sip:+15550002222@127.0.0.1:5060")),
        (" +15550002222 ", Some("sip:+15550002222@127.0.0.1:5060")),
        ("tel:+1-555-000-2222", Some("sip:+15550002222@127.0.0.1:5060")),
        ("sip:carol@example.test", Some("sip:carol@example.test")),
        ("Front desk", None),
        ("+1/555/2222", None),
    ] {
        let document = format!(
            "<Response><Dial callerId=\"{given}\"><Sip>sip:ok@127.0.0.1</Sip></Dial></Response>"
        );
        let mut world = World::new(move |_| xml(&document));
        world.call_in("sip:bob@demo.test");
        world.run(500);
        let from = &originated(&world)[0].from;
        assert_eq!(from, sent.unwrap_or("sip:alice@caller.test"), "{given}");
        let told: Vec<_> = world.store.alerts.iter().map(|alert| alert.code).collect();
        assert_eq!(
            told.as_slice(),
            if sent.is_some() { &[][..] } else { &[13_214][..] },
            "{given}"
        );
    }
}

#[test]
fn a_number_is_dialled_in_any_notation() {
    for text in ["+1 (555) 0199", "tel:+1-555-0199", "<Number>tel:+15550199;x=y</Number>"] {
        let document = format!("<Response><Dial callerId=\"+1777\">{text}</Dial></Response>");
        let mut world = World::new(move |_| xml(&document));
        let call = world.call_in("sip:bob@demo.test");
        world.run(500);
        assert_eq!(originated(&world)[0].uri, "sip:+15550199@192.0.2.9:5060", "{text}");
        let child = world.children_of(call)[0];
        assert_eq!(world.store.calls[&child].to, "+15550199");
    }
}

#[test]
fn the_api_takes_numbers_in_any_notation_and_callers_that_can_be_meant() {
    let create = |to: &str, from: &str| {
        ApiRequest::CreateCall(Box::new(CreateCall {
            to: to.to_owned(),
            from: from.to_owned(),
            instructions: Instructions::Twiml("<Response/>".to_owned()),
            status: None,
            timeout: None,
            time_limit: None,
            caller_id: None,
            login: None,
        }))
    };
    let mut world = World::new(|_| xml("<Response/>"));
    let id = world.api(create("tel:+1-555-0199", "+1 (555) 0100"));
    world.run(100);
    let Some(Ok(ApiDone::Call(row))) = world.reply(id) else { panic!("{:?}", world.reply(id)) };
    assert_eq!((row.to.as_str(), row.from.as_str()), ("+15550199", "+15550100"));
    assert_eq!(originated(&world)[0].from, "sip:+15550100@127.0.0.1:5060");
    for (to, from, code) in [("+1/555", "+1", 21_211), ("+15550199", "Front desk", 21_212)] {
        let id = world.api(create(to, from));
        let Some(Err(error)) = world.reply(id) else { panic!("{:?}", world.reply(id)) };
        assert_eq!(error.code, code);
    }
}
