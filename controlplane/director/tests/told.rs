//! Nothing fails silently: what went wrong with a call is in its owner's notifications, in words,
//! and its caller gets a final status that means something.

mod world;

use base::Path;
use model::port::OwnedCommand;
use wire::event::{Cause, MediaSummary, Party, RtpRefused};
use wire::status;
use world::{World, param, xml};

fn dialling(target: &str, attributes: &str) -> World {
    let document = format!(
        "<Response><Dial {attributes} action=\"/done\"><Sip>sip:{target}@127.0.0.1</Sip></Dial>\
         </Response>"
    );
    World::new(move |request| match request.url.as_str() {
        "http://app.test/voice" => xml(&document),
        _ => xml("<Response><Hangup/></Response>"),
    })
}

fn rejected(world: &World) -> Option<(u16, String, u32)> {
    world.commands.iter().find_map(|command| match command {
        OwnedCommand::Reject { code, reason, retry_after, .. } => {
            Some((*code, reason.clone(), *retry_after))
        }
        // Its phrase is that of who refused, or the usual one.
        OwnedCommand::PassOn { code, .. } => Some((*code, sip::reason_phrase(*code).to_owned(), 0)),
        _ => None,
    })
}

#[test]
fn a_refused_dial_ends_with_what_the_table_passes_on() {
    for (code, dial) in [
        (302, "failed"),
        (401, "failed"),
        (403, "failed"),
        (404, "failed"),
        (422, "failed"),
        (480, "no-answer"),
        (486, "busy"),
        (488, "failed"),
        (500, "failed"),
        (503, "failed"),
        (600, "busy"),
        (603, "busy"),
        (604, "failed"),
    ] {
        let mut world = dialling(&format!("code{code}"), "answerOnBridge=\"true\"");
        world.call_in("sip:bob@demo.test");
        world.run(10_000);
        let action = world.asked("/done")[0];
        assert_eq!(param(action, "DialCallStatus"), dial, "{code}");
        assert_eq!(param(action, "DialSipResponseCode"), code.to_string());
        assert_eq!(param(action, "DialBridged"), "false");
        let (said, phrase, retry_after) = rejected(&world).unwrap();
        assert_eq!((said, retry_after), (status::passed_on(code), 0), "{code}");
        assert!(!phrase.is_empty(), "{said}");
        world.assert_clean();
    }
}

#[test]
fn an_answer_that_nobody_can_hear_is_a_dial_that_failed() {
    for bridge in ["true", "false"] {
        let mut world = dialling("mute", &format!("answerOnBridge=\"{bridge}\""));
        let call = world.call_in("sip:bob@demo.test");
        world.run(10_000);
        let action = world.asked("/done")[0];
        assert_eq!(param(action, "DialCallStatus"), "failed");
        assert_eq!(param(action, "DialBridged"), "false");
        assert_eq!(param(action, "DialCallDuration"), "");
        assert_eq!(world.status_of(world.children_of(call)[0]), "failed");
        assert!(world.legs[&call].ended, "the caller is not left in silence");
        if bridge == "true" {
            assert_eq!(rejected(&world).map(|it| it.0), Some(488));
        }
        let alert = &world.store.alerts[0];
        assert_eq!((alert.code, alert.call, world.store.alerts.len()), (32_102, Some(call), 1));
        assert!(alert.message.contains("no codec in common"), "{}", alert.message);
        world.assert_clean();
    }
}

#[test]
fn a_target_that_never_spoke_is_told_to_the_caller_as_unavailable() {
    let mut world = dialling("dead", "answerOnBridge=\"true\"");
    let call = world.call_in("sip:bob@demo.test");
    world.run(10_000);
    assert_eq!(param(world.asked("/done")[0], "DialCallStatus"), "failed");
    assert_eq!(rejected(&world).map(|it| it.0), Some(480));
    let alert = &world.store.alerts[0];
    assert_eq!((alert.code, alert.reason.as_str()), (32_011, "unreachable"));
    assert_eq!((alert.call, world.store.alerts.len()), (Some(call), 1));
    world.assert_clean();
}

#[test]
fn ends_that_nobody_wanted_are_told_once_and_in_words() {
    for (by, cause, told) in [
        (Party::Switch, Cause::MediaTimeout, Some("no other sign of life")),
        (Party::Switch, Cause::SessionExpired, Some("did not refresh")),
        (Party::Switch, Cause::NoCodec, Some("no codec in common")),
        (Party::Remote, Cause::Protocol, Some("broke the protocol")),
        (Party::Switch, Cause::NoAck, Some("no ACK")),
        (Party::Switch, Cause::Unreachable, Some("did not answer at all")),
        (Party::Switch, Cause::NoPort, Some("no media port")),
        (Party::Switch, Cause::Restart, Some("media process died")),
        (Party::Switch, Cause::Overload, Some("reached a limit")),
        // It is the far end that is full.
        (Party::Remote, Cause::Overload, None),
        (Party::Remote, Cause::Normal, None),
        (Party::Switch, Cause::TimeLimit, Some("as long as a call may")),
        // The other leg of the join had the trouble, and says so.
        (Party::Peer, Cause::MediaTimeout, None),
    ] {
        let mut world =
            World::new(|_| xml("<Response><Pause length=\"0\"/><Pause length=\"60\"/></Response>"));
        let call = world.call_in("sip:bob@demo.test");
        world.run(2_000);
        world.fails_in(call, 1_000, by, cause);
        // Told again to a successor, it is the same alert.
        world.run(2_000);
        world.crash();
        world.run(10_000);
        let alerts: Vec<_> = world.store.alerts.iter().map(|it| (it.sid, &it.message)).collect();
        let Some(told) = told else {
            assert!(alerts.is_empty(), "{cause:?}: {alerts:?}");
            continue;
        };
        assert!(alerts[0].1.contains(told), "{alerts:?}");
        assert!(alerts.iter().all(|(sid, _)| *sid == alerts[0].0), "{alerts:?}");
        assert_eq!(world.store.alerts[0].call, Some(call));
        assert_eq!(world.store.alerts[0].reason, cause.name());
        world.assert_clean();
    }
}

#[test]
fn what_the_switch_refused_by_itself_is_told_to_the_owner_of_the_number() {
    let mut world = World::new(|_| xml("<Response/>"));
    let why = "the offer has SRTP only (RTP/SAVP)";
    world.refused("sip:+15550100@10.1.1.1", 488, Cause::NoCodec, why);
    world.refused("sip:+15559999@10.1.1.1", 488, Cause::NoCodec, why);
    world.refused("sip:bob@demo.test", 403, Cause::Forbidden, "");
    // A successor is told again, and writes the same alert.
    world.refused("sip:bob@demo.test", 403, Cause::Forbidden, "");
    assert_eq!(world.store.alerts.pop().unwrap().sid, world.store.alerts[1].sid);
    let told: Vec<_> = world.store.alerts.iter().map(|it| (it.code, it.message.as_str())).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].0 == 32_102 && told[0].1.ends_with(why), "{told:?}");
    assert!(told[0].1.contains("127.0.0.1:5070") && told[0].1.contains("488"), "{told:?}");
    assert_eq!(told[1].0, 32_203);
}

#[test]
fn ringing_of_every_target_reaches_a_caller_who_waits() {
    for (attributes, passes) in [("answerOnBridge=\"true\"", true), ("", false)] {
        let document = format!(
            "<Response><Dial {attributes} timeout=\"5\"><Sip>sip:ring1@127.0.0.1</Sip>\
             <Sip>sip:ring2@127.0.0.1</Sip></Dial></Response>"
        );
        let mut world = World::new(move |_| xml(&document));
        world.call_in("sip:bob@demo.test");
        world.run(20_000);
        let passed: Vec<_> = (world.commands.iter())
            .filter_map(|command| match command {
                OwnedCommand::Originate(originate) => Some(originate.pass_progress),
                _ => None,
            })
            .collect();
        assert_eq!(passed, [passes, passes]);
        world.assert_clean();
    }
}

#[test]
fn what_nobody_reads_in_a_document_is_named() {
    for (inner, told) in [
        ("<Dial>+15550111<Number>+15550112</Number></Dial>", "+15550111"),
        ("<Dial><Number>+15550112<Sip>sip:a@b</Sip></Number></Dial>", "<Sip> in <Number>"),
        ("<Dial><Number>+15550112</Number><Hangup/></Dial>", "<Dial><Hangup>"),
        ("<Dial>+15550111 +15550112</Dial>", "no phone number"),
        ("<Dial>+15550111 x123</Dial>", "no phone number"),
        ("hello<Hangup/>", "\"hello\" in <Response>"),
        ("<Pause>5</Pause>", "\"5\" in <Pause>"),
        ("<Hangup><Say>bye</Say></Hangup>", "<Say> in <Hangup>"),
        ("<Hangup when=\"now\"/>", "when=\"now\""),
        ("<Reject>busy</Reject>", "\"busy\" in <Reject>"),
    ] {
        let document = format!("<Response>{inner}<Reject/></Response>");
        let mut world = World::new(move |_| xml(&document));
        let call = world.call_in("sip:bob@demo.test");
        world.run(60_000);
        let alerts: Vec<_> = world.store.alerts.iter().map(|it| it.message.as_str()).collect();
        assert!(alerts.iter().any(|text| text.contains(told)), "{inner}: {alerts:?}");
        assert!(world.store.alerts.iter().all(|it| it.call == Some(call)));
    }
}

#[test]
fn an_address_that_leads_nowhere_is_told_or_refused_at_once() {
    use model::port::{ApiRequest, CreateCall, Instructions};
    for document in [
        "<Response><Dial><Sip statusCallback=\"BAD\">sip:ok@127.0.0.1</Sip></Dial></Response>",
        "<Response><Dial action=\"BAD\"><Sip>sip:busy@127.0.0.1</Sip></Dial></Response>",
        "<Response><Redirect>BAD</Redirect></Response>",
    ] {
        let bad = document.replace("BAD", "ftp://a/b");
        let mut world = World::new(move |_| xml(&bad));
        world.call_in("sip:bob@demo.test");
        world.run(10_000);
        let alert = &world.store.alerts[0];
        assert_eq!((alert.code, alert.reason.as_str()), (11_100, "url"), "{document}");
        assert!(alert.message.contains("ftp://a/b"), "{}", alert.message);
        // A document that is given comes from nowhere.
        for (url, fine) in [("/cb", false), ("", false), ("http://app.test/cb", true)] {
            let mut world = World::new(|_| xml("<Response/>"));
            let id = world.api(ApiRequest::CreateCall(Box::new(CreateCall {
                to: "sip:ok@127.0.0.1".to_owned(),
                from: "+15550100".to_owned(),
                instructions: Instructions::Twiml(document.replace("BAD", url)),
                status: None,
                timeout: None,
                time_limit: None,
                caller_id: None,
                login: None,
            })));
            world.run(5_000);
            let no_callback = url.is_empty() && document.contains("statusCallback");
            match world.reply(id) {
                Some(Err(error)) => assert_eq!((error.status, error.code), (400, 11_100)),
                reply => assert!(reply.is_some() && (fine || no_callback), "{document} {url:?}"),
            }
            assert_eq!(world.legs.is_empty(), !fine && !no_callback, "{document} {url:?}");
        }
    }
}

#[test]
fn what_was_not_heard_and_what_was_refused_is_told() {
    let host = "192.0.2.66:4000".parse().unwrap();
    let refused = |source, looped| RtpRefused { source, looped, ..RtpRefused::default() };
    let foreign = |source| RtpRefused { foreign: Some(host), ..refused(source, 0) };
    for (received, due_ms, cause, refused, told) in [
        (0, None, Cause::Normal, refused(0, 0), Some(("no-audio", "nothing was heard"))),
        (250, None, Cause::Normal, refused(0, 0), None),
        // A few at the beginning are no news, but where nothing else was heard.
        (250, None, Cause::Normal, foreign(10), None),
        (0, None, Cause::Normal, foreign(10), Some(("media-source-refused", "4000"))),
        (250, None, Cause::Normal, foreign(99), Some(("media-source-refused", "99 pa"))),
        (0, None, Cause::Normal, refused(0, 9), Some(("media-looped", "9 packets of our"))),
        // The end says it.
        (0, None, Cause::MediaTimeout, refused(0, 0), None),
        // It had agreed to be silent, all the time or but for a moment.
        (0, Some(0), Cause::Normal, refused(0, 0), None),
        (0, Some(2_999), Cause::Normal, refused(0, 0), None),
        (0, Some(3_000), Cause::Normal, refused(0, 0), Some(("no-audio", "in 3 s"))),
    ] {
        let mut world =
            World::new(|_| xml("<Response><Pause length=\"0\"/><Pause length=\"60\"/></Response>"));
        let call = world.call_in("sip:bob@demo.test");
        world.run(2_000);
        let leg = world.legs.get_mut(&call).unwrap();
        (leg.media, leg.due_ms) = (Some(MediaSummary { refused, ..heard(received) }), due_ms);
        let by = if cause == Cause::Normal { Party::Remote } else { Party::Switch };
        world.fails_in(call, 3_000, by, cause);
        world.run(20_000);
        let alerts: Vec<_> = (world.store.alerts.iter())
            .filter(|it| it.reason != cause.name())
            .map(|it| (it.call, it.code, it.reason.as_str(), it.message.as_str()))
            .collect();
        match told {
            None => assert!(alerts.is_empty(), "{alerts:?}"),
            Some((reason, words)) => {
                assert_eq!(alerts.len(), 1, "{alerts:?}");
                assert_eq!((alerts[0].0, alerts[0].1, alerts[0].2), (Some(call), 32_014, reason));
                assert!(alerts[0].3.contains(words), "{alerts:?}");
            }
        }
        world.assert_clean();
    }
}

fn heard(received: u64) -> MediaSummary {
    MediaSummary {
        path: Path::Socket,
        received,
        lost: 0,
        jitter_us: 0,
        mos_centi: 0,
        sent: 0,
        rtt_us: 0,
        reported_loss: 0,
        refused: RtpRefused::default(),
    }
}

/// The warnings of a second are used up, and a call that fails in it is told all the same.
#[test]
fn a_flood_of_warnings_does_not_silence_a_call_that_fails() {
    let document = format!("<Response>{}<Reject/></Response>", "<Say/>".repeat(25));
    let mut world = World::new(move |request| match param(request, "To").contains("lost") {
        false => xml(&document),
        true => world::status(404),
    })
    .with_settings(|settings| settings.limits.alerts_per_second = 1);
    world.call_in("sip:bob@demo.test");
    world.run(100);
    world.call_in("sip:lost@demo.test");
    world.run(500);
    let levels: Vec<_> = world.store.alerts.iter().map(|alert| alert.level).collect();
    assert_eq!(levels, [model::AlertLevel::Warning, model::AlertLevel::Error]);
}

#[test]
fn alerts_that_were_left_out_are_told_of() {
    let document = format!("<Response>{}<Reject/></Response>", "<Say/>".repeat(25));
    let mut world = World::new(move |_| xml(&document));
    world.call_in("sip:bob@demo.test");
    world.run(1_000);
    assert_eq!(world.store.alerts.len(), 10);
    world.run(30_000);
    assert_eq!(world.store.alerts.len(), 11);
    let last = &world.store.alerts[10];
    assert_eq!((last.code, last.reason.as_str()), (20_429, "alerts-dropped"));
    assert!(last.message.starts_with("15 notifications"), "{}", last.message);
    assert_eq!(world.director.stats().alerts_dropped, 15);
}
