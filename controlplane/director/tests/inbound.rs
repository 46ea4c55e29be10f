//! An INVITE comes in: who is asked, what is said, what is refused and why.

mod world;

use model::port::{HttpError, HttpKind, OwnedCommand};
use model::{AccountStatus, Hook};
use wire::event::Cause;
use world::{World, param, status, xml};

fn rejected(world: &World) -> Option<(u16, Cause)> {
    world.commands.iter().find_map(|command| match command {
        OwnedCommand::Reject { code, cause, .. } => Some((*code, *cause)),
        _ => None,
    })
}

#[test]
fn the_application_is_asked_with_the_standard_parameters() {
    let mut world = World::new(|_| {
        xml("<Response><Pause length=\"0\"/><Pause length=\"2\"/><Hangup/></Response>")
    });
    let call = world.call_in("sip:bob@demo.test;user=phone");
    world.run(10_000);
    let request = &world.asked("/voice")[0];
    assert_eq!(request.kind, HttpKind::Instructions);
    assert_eq!(request.auth_token.0, "token");
    for (name, value) in [
        ("CallSid", call.to_string().as_str()),
        ("AccountSid", world::ACCOUNT.to_string().as_str()),
        ("From", "sip:alice@caller.test"),
        ("To", "sip:bob@demo.test"),
        ("CallStatus", "ringing"),
        ("ApiVersion", "2010-04-01"),
        ("Direction", "inbound"),
        ("CallerName", "Alice"),
        ("SipHeader_X-Campaign", "spring"),
        ("SipDomain", "demo.test"),
        ("SipSourceIp", "127.0.0.1"),
        ("SipCallId", "sip-call-id"),
    ] {
        assert_eq!(param(request, name), value, "{name}");
    }
    assert!(matches!(
        world.commands[0],
        OwnedCommand::Accept { account: world::ACCOUNT_NUMBER, .. }
    ));
    assert_eq!(world.status_of(call), "completed");
    let row = &world.store.calls[&call];
    assert_eq!((row.duration, row.price.map(|p| p.to_string())), (Some(2), Some("-0.0002".into())));
    world.assert_clean();
}

#[test]
fn numbers_are_found_with_and_without_plus() {
    for uri in ["sip:+15550100@10.1.1.1", "sip:15550100@10.1.1.1:5060", "sip:%2B15550100@x.test"] {
        let mut world = World::new(|_| xml("<Response><Reject reason=\"busy\"/></Response>"));
        let call = world.call_in(uri);
        world.run(5_000);
        assert!(param(world.asked("/voice")[0], "To").ends_with("15550100"), "{uri}");
        assert_eq!(rejected(&world), Some((486, Cause::Busy)));
        assert_eq!(world.status_of(call), "busy");
        world.assert_clean();
    }
}

#[test]
fn strangers_are_refused_and_the_tenant_is_told() {
    let mut world = World::new(|_| xml("<Response/>"));
    world.call_in_from("sip:bob@demo.test", "192.0.2.66:5060");
    world.run(1_000);
    assert_eq!(rejected(&world), Some((403, Cause::Forbidden)));
    assert_eq!(world.store.alerts[0].reason, "domain-source-refused");
    assert!(world.requests.is_empty());
    world.assert_clean();
}

#[test]
fn unknown_endpoints_and_inactive_accounts_are_refused() {
    let mut world = World::new(|_| xml("<Response/>"));
    world.call_in("sip:bob@nowhere.test");
    world.run(1_000);
    assert_eq!(rejected(&world), Some((404, Cause::NoRoute)));
    world.assert_clean();

    let mut world = World::new(|_| xml("<Response/>"))
        .with_book(|book| book.accounts[0].status = AccountStatus::Suspended);
    world.call_in("sip:bob@demo.test");
    world.run(1_000);
    assert_eq!(rejected(&world), Some((403, Cause::Forbidden)));
    assert_eq!(world.store.alerts[0].reason, "account-not-active");
    world.assert_clean();
}

#[test]
fn limits_refuse_with_their_reason() {
    let mut world =
        World::new(|_| xml("<Response><Pause length=\"0\"/><Pause length=\"3\"/></Response>"))
            .with_book(|book| book.accounts[0].limits.calls_max = 1);
    world.call_in("sip:bob@demo.test");
    world.run(100);
    world.call_in("sip:bob@demo.test");
    world.run(100);
    assert_eq!(rejected(&world), Some((503, Cause::Overload)));
    assert_eq!(world.store.alerts[0].reason, "account-calls");
    world.run(10_000);
    world.call_in("sip:bob@demo.test");
    world.run(10_000);
    assert_eq!(world.asked("/voice").len(), 2);
    world.assert_clean();

    let mut world = World::new(|_| xml("<Response/>"))
        .with_book(|book| book.accounts[0].limits.calls_per_second = 2);
    for _ in 0..3 {
        world.call_in("sip:bob@demo.test");
    }
    world.run(1_000);
    assert_eq!(world.asked("/voice").len(), 2);
    assert_eq!(world.store.alerts[0].reason, "account-calls-per-second");
}

#[test]
fn the_fallback_is_asked_with_the_error() {
    let mut world = World::new(|request| match request.url.as_str() {
        "http://app.test/voice" => status(500),
        _ => xml("<Response><Reject/></Response>"),
    })
    .with_book(|book| {
        book.domains[0].config.voice_fallback = Some(Hook::post("http://spare.test/fallback"));
    });
    world.call_in("sip:bob@demo.test");
    world.run(5_000);
    let request = world.asked("/fallback")[0];
    assert_eq!(param(request, "ErrorCode"), "11200");
    assert_eq!(param(request, "ErrorUrl"), "http://app.test/voice");
    assert_eq!(rejected(&world), Some((603, Cause::Rejected)));
    assert_eq!(world.store.alerts[0].code, 11_200);
    world.assert_clean();
}

#[test]
fn a_dead_application_refuses_its_call_and_no_other() {
    let mut world = World::new(|request| {
        if param(request, "To").contains("dead") {
            (100_000, Err(HttpError::Timeout)) // Never answers: the director's own guard.
        } else {
            xml("<Response><Hangup/></Response>")
        }
    });
    let dead = world.call_in("sip:dead@demo.test");
    let fine = world.call_in("sip:fine@demo.test");
    world.run(1_000);
    assert!(world.store.calls[&fine].status.is_final());
    assert_eq!(world.status_of(dead), "ringing");
    world.run(25_000);
    assert_eq!(rejected(&world), Some((500, Cause::Rejected)));
    assert_eq!(world.status_of(dead), "failed");
}

#[test]
fn a_refused_connection_is_tried_again_once_and_overrides_are_kept() {
    let mut count = 0;
    let mut world = World::new(move |request| {
        assert!(!request.url.contains('#'));
        assert_eq!(request.connect_ms, 700);
        if request.kind == HttpKind::Callback {
            return status(200);
        }
        count += 1;
        if count < 3 { (5, Err(HttpError::Connect)) } else { xml("<Response><Reject/></Response>") }
    })
    .with_book(|book| {
        let url = "http://app.test/voice#rc=2&ct=700";
        book.domains[0].config.voice = Some(Hook::post(url));
        book.domains[0].config.status_callback = None;
    });
    world.call_in("sip:bob@demo.test");
    world.run(5_000);
    let tokens: Vec<_> =
        world.asked("/voice").iter().map(|it| it.idempotency_token.clone()).collect();
    assert_eq!(tokens.len(), 3);
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_eq!(rejected(&world), Some((603, Cause::Rejected)));
}

#[test]
fn broken_documents_are_told_with_their_line() {
    for (body, line) in [
        ("<Response>\n<Dial>\n</Response>", "line 3"),
        (
            "<?xml version=\"1.0\"?>\n<!DOCTYPE a [<!ENTITY b \"c\">]>\n<Response/>",
            "document types",
        ),
        ("<Response>&bomb;</Response>", "unknown entity"),
        ("<Answer/>", "<Response> is expected"),
        ("hello", "text outside"),
    ] {
        let mut world = World::new(move |_| xml(body));
        world.call_in("sip:bob@demo.test");
        world.run(1_000);
        assert_eq!(rejected(&world), Some((500, Cause::Rejected)), "{body}");
        let alert = &world.store.alerts[0];
        assert_eq!(alert.code, 12_100);
        assert!(alert.message.contains(line), "{}", alert.message);
    }
}

#[test]
fn verbs_of_later_are_skipped_aloud() {
    let mut world = World::new(|_| {
        xml("<Response><Say>hello</Say><Nonsense/><Reject reason=\"busy\"/></Response>")
    });
    world.call_in("sip:bob@demo.test");
    world.run(1_000);
    let reasons: Vec<_> = world.store.alerts.iter().map(|alert| alert.reason.as_str()).collect();
    assert_eq!(reasons, ["verb-not-supported", "verb-unknown"]);
    assert_eq!(rejected(&world), Some((486, Cause::Busy)));
}

#[test]
fn a_verb_of_later_ends_the_document_where_the_operator_wants_that() {
    for document in [
        "<Response><Say>hello</Say><Dial>+15550101</Dial></Response>",
        "<Response><Dial>+15550101</Dial><Nonsense/></Response>",
        "<Response><Dial><Conference>room</Conference></Dial></Response>",
    ] {
        let mut world = World::new(move |_| xml(document))
            .with_settings(|settings| settings.fail_on_unsupported = true);
        let call = world.call_in("sip:bob@demo.test");
        world.run(1_000);
        assert_eq!(rejected(&world), Some((500, Cause::Rejected)), "{document}");
        assert!(world.children_of(call).is_empty(), "{document}");
        assert_eq!(world.store.alerts[0].level, model::AlertLevel::Error, "{document}");
        world.assert_clean();
    }
}

#[test]
fn redirects_are_followed_and_circles_end() {
    let mut world = World::new(|request| match request.url.as_str() {
        "http://app.test/voice" => {
            xml("<Response><Redirect>next?a=1&amp;b=2</Redirect></Response>")
        }
        "http://app.test/next?a=1&b=2" => xml("<Response><Reject/></Response>"),
        _ => status(200),
    });
    world.call_in("sip:bob@demo.test");
    world.run(1_000);
    assert_eq!(rejected(&world), Some((603, Cause::Rejected)));

    let mut world = World::new(|_| xml("<Response><Redirect>/voice</Redirect></Response>"))
        .with_settings(|settings| settings.limits.documents_per_call = 20);
    world.call_in("sip:bob@demo.test");
    world.run(5_000);
    assert_eq!(rejected(&world), Some((500, Cause::Rejected)));
    assert_eq!(world.store.alerts[0].reason, "documents-per-call");
}

#[test]
fn a_caller_who_gives_up_ends_everything() {
    let mut world = World::new(|_| (5_000, Err(HttpError::Timeout)));
    let call = world.call_in("sip:bob@demo.test");
    world.cancel_in(call, 1_000);
    world.run(400_000);
    assert_eq!(world.status_of(call), "canceled");
    assert_eq!(
        world.commands.iter().filter(|c| matches!(c, OwnedCommand::Reject { .. })).count(),
        0
    );
}

#[test]
fn a_store_that_does_not_write_takes_no_new_calls() {
    let mut world = World::new(|_| xml("<Response><Hangup/></Response>"));
    world.store_fails = true;
    world.call_in("sip:bob@demo.test");
    world.run(2_500);
    world.call_in("sip:bob@demo.test");
    world.run(100);
    assert_eq!(rejected(&world), Some((503, Cause::Overload)));
    assert_eq!(world.released.len(), 1, "nothing that is booked is released before it is durable");
    world.store_fails = false;
    world.run(5_000);
    world.call_in("sip:bob@demo.test");
    world.run(5_000);
    assert_eq!(world.asked("/voice").len(), 2);
    world.assert_clean();
}

#[test]
fn a_leading_pause_waits_before_the_call_is_answered() {
    let answers = |world: &World| {
        world.commands.iter().filter(|it| matches!(it, OwnedCommand::Answer { .. })).count()
    };
    // What follows may refuse the call, which then costs nothing.
    let mut world =
        World::new(|_| xml("<Response><Pause length=\"2\"/><Reject reason=\"busy\"/></Response>"));
    let call = world.call_in("sip:bob@demo.test");
    world.run(1_900);
    assert_eq!((rejected(&world), answers(&world)), (None, 0));
    world.run(1_000);
    assert_eq!((rejected(&world), answers(&world)), (Some((486, Cause::Busy)), 0));
    assert_eq!(world.status_of(call), "busy");
    world.assert_clean();

    // Neither does another document change that, nor a death meanwhile.
    let mut world = World::new(|request| match request.url.as_str() {
        "http://app.test/voice" => {
            xml("<Response><Pause length=\"2\"/><Redirect>/more</Redirect></Response>")
        }
        _ => xml("<Response><Pause length=\"3\"/><Pause/><Hangup/></Response>"),
    });
    let call = world.call_in("sip:bob@demo.test");
    world.run(1_000);
    world.crash();
    world.run(3_900);
    assert_eq!((world.status_of(call), answers(&world)), ("ringing", 0));
    // The second Pause of a document is a verb like any other.
    world.run(200);
    assert_eq!((world.status_of(call), answers(&world)), ("in-progress", 1));
    world.run(10_000);
    assert_eq!(world.store.calls[&call].duration, Some(1));
    world.assert_clean();
}

#[test]
fn hanging_up_and_having_nothing_to_do_answer_first_and_rejecting_does_not() {
    for (document, status, code) in [
        ("<Response/>", "completed", None),
        ("<Response><Hangup/></Response>", "completed", None),
        ("<Response><Pause/></Response>", "completed", None),
        ("", "completed", None),
        ("<Response><Reject/></Response>", "no-answer", Some(603)),
        ("<Response><Reject reason=\"busy\"/></Response>", "busy", Some(486)),
    ] {
        let mut world = World::new(move |_| xml(document));
        let call = world.call_in("sip:bob@demo.test");
        world.run(5_000);
        assert_eq!(world.status_of(call), status, "{document:?}");
        assert_eq!(rejected(&world).map(|it| it.0), code, "{document:?}");
        assert_eq!(world.store.calls[&call].answer_time.is_some(), code.is_none(), "{document:?}");
        world.assert_clean();
    }
}

/// Whoever refused it dies before its shard hears of that, and its caller gives up before or after:
/// whether what was told of it is told again or not, nobody has it in his books.
#[test]
fn who_was_turned_away_by_a_predecessor_is_not_stored() {
    for (uri, source) in
        [("sip:7@nowhere.test", "127.0.0.1:5070"), ("sip:bob@demo.test", "192.0.2.66:5060")]
    {
        for (more, gives_up_first) in [(0, true), (0, false), (5, true), (5, false)] {
            let mut world = World::new(|_| xml("<Response/>"));
            world.deaf = true;
            let call = world.call_in_from(uri, source);
            world.run(200);
            // What was told of it is released once enough is told of others.
            for _ in 0..more {
                world.call_in("sip:8@nowhere.test");
                world.run(200);
            }
            world.deaf = false;
            if gives_up_first {
                world.end_unheard(call);
                world.crash();
            } else {
                world.crash();
                world.end_unheard(call);
            }
            world.run(60_000);
            assert_eq!(world.store.cdrs.len(), 0, "{uri} {more} {gives_up_first}");
            assert_eq!(world.store.calls.len(), 0, "{uri} {more} {gives_up_first}");
            assert!(world.released.contains(&world.legs[&call].id));
        }
    }
}

#[test]
fn who_is_turned_away_is_counted_and_not_stored() {
    let mut world = World::new(|_| xml("<Response/>"));
    for number in 0..200 {
        let call = world.call_in(&format!("sip:{number}@nowhere.test"));
        if number % 2 == 0 {
            // He gives up before he hears of the refusal.
            world.end_unheard(call);
        }
        world.run(20);
    }
    // A tenant's number, and not his network: he is told, within his rate.
    for _ in 0..5 {
        world.call_in_from("sip:bob@demo.test", "192.0.2.66:5060");
    }
    world.run(5_000);
    assert_eq!(world.released.len(), 205);
    assert_eq!(
        (world.store.cdrs.len(), world.store.usage.len(), world.store.calls.len()),
        (0, 0, 0)
    );
    let stats = world.director.stats();
    assert_eq!((stats.calls_refused, stats.calls_unknown), (205, 200));
    assert_eq!(world.store.alerts.len(), 5);
    assert!(world.store.alerts[0].message.contains("sip:bob@demo.test"));
    assert!(world.notices.len() <= 6, "{:?}", world.notices);
    assert!(world.notices[0].contains("sip:0@nowhere.test"), "{:?}", world.notices);
    // What was never refused is booked, answered or not.
    let call = world.call_in("sip:bob@demo.test");
    world.end_unheard(call);
    world.run(5_000);
    assert_eq!(world.store.cdrs.len(), 1);
}
