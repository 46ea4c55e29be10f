//! What one tenant, one call, one document may cost: bounded, and told to whom it concerns.

mod world;

use model::port::{
    ApiRequest, CreateCall, HttpError, HttpKind, Instructions, OwnedCommand, UpdateCall,
};
use model::{Account, AccountSid, DomainSid, Hook, SipDomain};
use wire::event::Cause;
use world::{World, is_callback, param, status, xml};

/// 90 verbs of 10 targets that no address can be had of, and the whole again.
fn hopeless() -> String {
    let targets = "<Sip>sip:nobody@10.0.0.1;transport=sctp</Sip>".repeat(10);
    let dial = format!("<Dial answerOnBridge=\"true\">{targets}</Dial>");
    format!("<Response>{}<Redirect>/voice</Redirect></Response>", dial.repeat(90))
}

fn reasons(world: &World) -> Vec<&str> {
    world.store.alerts.iter().map(|alert| alert.reason.as_str()).collect()
}

fn call_out(world: &mut World) -> model::port::ApiId {
    world.api(ApiRequest::CreateCall(Box::new(CreateCall {
        to: "sip:ring@127.0.0.1".to_owned(),
        from: "+15550100".to_owned(),
        instructions: Instructions::Twiml("<Response><Pause/></Response>".to_owned()),
        status: None,
        timeout: None,
        time_limit: None,
        caller_id: None,
        login: None,
    })))
}

#[test]
fn targets_that_cannot_be_dialled_cost_what_others_cost() {
    let document = hopeless();
    let mut world = World::new(move |request| match request.kind {
        HttpKind::Instructions => xml(&document),
        HttpKind::Callback => status(200),
    })
    .with_book(|book| book.accounts[0].limits.calls_per_second = 20);
    let call = world.call_in("sip:bob@demo.test");
    world.run(120_000);
    // The burst of one second, one of which was the call itself; what is refused has no row.
    assert_eq!(world.store.calls.len(), 20);
    assert_eq!(world.status_of(call), "failed");
    let reasons = reasons(&world);
    assert!(reasons.contains(&"transport"), "{reasons:?}");
    assert!(world.director.stats().alerts_dropped > 0);
    world.assert_clean();
    // Its places are its own again.
    world.call_in("sip:bob@demo.test");
    world.run(1_000);
    assert_eq!(world.director.stats().calls_refused, 0);
}

#[test]
fn a_call_dials_so_many_targets_and_no_more() {
    let document = hopeless();
    let mut world = World::new(move |request| match request.kind {
        HttpKind::Instructions => xml(&document),
        HttpKind::Callback => status(200),
    })
    .with_settings(|settings| {
        settings.limits.legs_per_call = 1_205;
        settings.limits.account_calls_per_second = 10_000;
        settings.limits.alerts_per_second = 10_000;
    });
    let call = world.call_in("sip:bob@demo.test");
    world.run(120_000);
    assert_eq!(world.store.calls.len(), 1 + 1_200, "the next ten would have been too many");
    assert_eq!(reasons(&world).last(), Some(&"legs-per-call"));
    assert_eq!(world.asked("/voice").len(), 2);
    assert_eq!(world.status_of(call), "failed");
    world.assert_clean();
}

#[test]
fn a_call_runs_so_many_verbs_and_no_more() {
    let document = format!(
        "<Response>{}<Redirect>/voice</Redirect></Response>",
        "<Redirect>ftp:x</Redirect>".repeat(99)
    );
    let mut world = World::new(move |request| match request.kind {
        HttpKind::Instructions => xml(&document),
        HttpKind::Callback => status(200),
    })
    .with_settings(|settings| {
        settings.limits.verbs_per_call = 250;
        settings.limits.alerts_per_second = 1_000;
    });
    let call = world.call_in("sip:bob@demo.test");
    world.run(120_000);
    assert_eq!(world.asked("/voice").len(), 3);
    assert_eq!(reasons(&world).last(), Some(&"verbs-per-call"));
    assert_eq!(world.status_of(call), "failed");
    world.assert_clean();
}

#[test]
fn what_is_refused_to_a_dial_is_no_call_of_anybody() {
    let mut world = World::new(|request| match request.url.as_str() {
        "http://app.test/voice" => xml("<Response><Dial action=\"/done\">\
             <Sip>sip:ok@127.0.0.1</Sip><Sip>sip:busy@127.0.0.1</Sip></Dial></Response>"),
        "http://app.test/done" => xml("<Response><Hangup/></Response>"),
        _ => status(200),
    })
    .with_book(|book| book.accounts[0].limits.calls_max = 1);
    let call = world.call_in("sip:bob@demo.test");
    world.run(10_000);
    let action = world.asked("/done")[0];
    assert_eq!(param(action, "DialCallStatus"), "failed");
    assert_eq!(param(action, "DialSipResponseCode"), "503");
    assert_eq!(param(action, "DialCallSid"), "");
    assert_eq!(reasons(&world), ["account-calls", "account-calls"]);
    assert_eq!(world.store.calls.len(), 1);
    assert_eq!(world.status_of(call), "completed");
    world.assert_clean();
}

#[test]
fn a_call_that_only_waits_for_its_callbacks_is_no_call_any_more() {
    let mut world = World::new(|request| {
        if is_callback(request) {
            (10, Err(HttpError::Connect))
        } else {
            xml("<Response><Hangup/></Response>")
        }
    })
    .with_settings(|settings| settings.limits.calls = 1);
    for count in 1..=3 {
        world.call_in("sip:bob@demo.test");
        world.run(2_000);
        assert_eq!(world.asked("/voice").len(), count);
        let stats = world.director.stats();
        assert_eq!((stats.calls_live, stats.calls_ending), (0, count));
    }
}

#[test]
fn a_leg_that_cannot_be_asked_for_is_over_at_once() {
    let mut world = World::new(|request| match request.url.as_str() {
        "http://app.test/voice" => {
            xml("<Response><Dial action=\"/done\"><Sip>sip:ok@127.0.0.1</Sip></Dial></Response>")
        }
        _ => status(200),
    });
    // A caller's name that came in, longer than a record of the ring.
    world.caller.from = Box::leak(format!("sip:{}@caller.test", "a".repeat(20_000)).into());
    world.call_in("sip:bob@demo.test");
    world.run(100);
    assert_eq!(reasons(&world), ["command-too-long"]);
    let action = world.asked("/done")[0];
    assert_eq!(param(action, "DialCallStatus"), "failed");
    let dialled = param(action, "DialCallSid");
    assert!(world.store.calls.values().any(|row| row.sid.to_string() == dialled));
    assert!(!world.commands.iter().any(|it| matches!(it, OwnedCommand::Originate(_))));
    world.run(10_000);
    world.assert_clean();
}

#[test]
fn a_leg_whose_command_was_given_up_is_over_at_once() {
    let mut world = World::new(|_| status(200));
    world.deaf = true;
    call_out(&mut world);
    let Some(OwnedCommand::Originate(order)) = world.commands.last() else {
        panic!("nothing was asked for")
    };
    let call = order.call;
    world.director.handle_unsent(world.now, call);
    world.run(10);
    assert_eq!(world.status_of(call), "failed");
    assert_eq!(reasons(&world), ["command-not-sent"]);
    assert!(matches!(world.commands.last(), Some(OwnedCommand::Hangup { .. })));
    world.assert_clean();
}

#[test]
fn a_call_that_came_in_lasts_so_long_and_no_longer() {
    let mut world = World::new(|request| match request.kind {
        HttpKind::Instructions => xml("<Response><Pause length=\"0\"/><Pause length=\"3600\"/>\
             <Redirect>/voice</Redirect></Response>"),
        HttpKind::Callback => status(200),
    })
    .with_settings(|settings| settings.limits.inbound_ms = 5_400_000);
    let call = world.call_in("sip:bob@demo.test");
    world.run(10_000_000);
    let row = &world.store.calls[&call];
    assert_eq!((row.duration, row.cause), (Some(5_400), Some(Cause::TimeLimit)));
    assert_eq!(reasons(&world), ["time-limit"]);
    world.assert_clean();
}

#[test]
fn a_caller_answered_by_whom_he_was_connected_with_has_the_limit_too() {
    let mut world = World::new(|request| match request.url.as_str() {
        "http://app.test/voice" => {
            xml("<Response><Dial answerOnBridge=\"true\"><Sip>sip:ok@127.0.0.1</Sip></Dial>\
                 </Response>")
        }
        _ => status(200),
    });
    let call = world.call_in("sip:bob@demo.test");
    world.run(5_000);
    let limits: Vec<_> = world
        .commands
        .iter()
        .filter_map(|command| match command {
            OwnedCommand::Limit { call, remaining_ms } => Some((*call, *remaining_ms)),
            _ => None,
        })
        .collect();
    assert_eq!(limits, [(call, 14_400_000)]);
    world.bye_in(call, 1_000);
    world.run(10_000);
    world.assert_clean();
}

/// A limit that is given while a leg rings is the leg's, whoever leads the switch when it is
/// answered, and whatever the clock was set to meanwhile.
#[test]
fn a_limit_given_while_it_rings_counts_from_the_answer() {
    for (dies, set) in [(false, 0), (true, 0), (false, 3_600), (false, -3_600)] {
        let mut world = World::new(|_| status(200));
        world.api(ApiRequest::CreateCall(Box::new(CreateCall {
            to: "sip:ok@127.0.0.1".to_owned(),
            from: "+15550100".to_owned(),
            instructions: Instructions::Twiml(
                "<Response><Pause length=\"600\"/></Response>".to_owned(),
            ),
            status: None,
            timeout: None,
            time_limit: None,
            caller_id: None,
            login: None,
        })));
        world.run(500);
        let (&call, leg) = world.legs.first_key_value().expect("a leg");
        assert_eq!((leg.answered.0, world.status_of(call)), (0, "ringing"));
        let update = UpdateCall { time_limit: Some(10), ..UpdateCall::default() };
        world.api(ApiRequest::UpdateCall { call, update: Box::new(update) });
        world.run(100);
        world.set_clock(set);
        if dies {
            world.crash();
        }
        world.run(60_000);
        let row = &world.store.calls[&call];
        let case = format!("{dies} {set}");
        assert_eq!((row.duration, row.cause), (Some(10), Some(Cause::TimeLimit)), "{case}");
        world.assert_clean();
    }
}

#[test]
fn one_tenants_dead_endpoint_takes_no_other_tenants_places() {
    let mut world = World::new(|request| {
        if is_callback(request) {
            (10, Err(HttpError::Connect))
        } else {
            xml("<Response><Hangup/></Response>")
        }
    })
    .with_settings(|settings| {
        settings.limits.callbacks = 4;
        settings.limits.account_callbacks = 3;
    });
    for _ in 0..5 {
        world.call_in("sip:bob@demo.test");
        world.run(1_500);
    }
    assert_eq!(world.director.stats().callbacks_waiting, 3);
    let errors: Vec<_> = world.store.dead.iter().map(|letter| letter.error.as_str()).collect();
    assert!(errors.contains(&"too many callbacks of the account are waiting"), "{errors:?}");
    // A successor counts the same.
    world.crash();
    assert_eq!(world.director.stats().callbacks_waiting, 3);
}

/// A family of accounts has read so many bytes of documents a second: what is over waits, what
/// would wait too long is refused, and nobody else notices.
#[test]
fn documents_over_the_budget_of_their_family_wait_or_are_refused() {
    let document = format!("<Response>{}<Reject/></Response>", " ".repeat(10_000 - 30));
    let mut world = World::new(move |request| match request.kind {
        HttpKind::Instructions if request.url.contains("other") => xml("<Response/>"),
        HttpKind::Instructions => xml(&document),
        HttpKind::Callback => status(200),
    })
    .with_book(|book| {
        let other = AccountSid(0xbb);
        book.accounts.push(Account { sid: other, number: 9, ..Account::default() });
        let domain = book.domains[0].clone();
        let (sid, domain_name) = (DomainSid(5), "other.test".to_owned());
        let mut domain = SipDomain { sid, account: other, domain_name, ..domain };
        domain.config.voice = Some(Hook::post("http://other.test/voice"));
        book.domains.push(domain);
    })
    .with_settings(|settings| {
        settings.limits.account_document_bytes_per_second = 10_000;
        settings.limits.account_document_bytes_at_once = 20_000;
    });
    let calls: Vec<_> = (0..30).map(|_| world.call_in("sip:bob@demo.test")).collect();
    let over =
        |world: &World| calls.iter().filter(|it| world.status_of(**it) == "no-answer").count();
    world.run(500);
    assert_eq!(over(&world), 2, "what a family may have at once");
    world.run(3_000);
    assert_eq!(over(&world), 5, "one a second");
    let other = world.call_in("sip:bob@other.test");
    world.run(100);
    assert_ne!(world.status_of(other), "-", "another family waits for nobody");
    let inline = world.api(ApiRequest::CreateCall(Box::new(CreateCall {
        to: "sip:ok@127.0.0.1".to_owned(),
        from: "+15550100".to_owned(),
        instructions: Instructions::Twiml("<Response/>".to_owned()),
        status: None,
        timeout: None,
        time_limit: None,
        caller_id: None,
        login: None,
    })));
    assert_eq!(world.reply(inline).unwrap().as_ref().unwrap_err().status, 429);
    world.run(30_000);
    // 15 s are waited for: those of that time and the two before.
    assert_eq!(over(&world), 17);
    let told: Vec<_> = world.store.alerts.iter().collect();
    assert!(
        told.iter().all(|it| matches!(it.reason.as_str(), "document-bytes" | "alerts-dropped"))
    );
    assert!(told[0].message.contains("10000 bytes of documents a second"), "{:?}", told[0]);
    let failed = calls.iter().filter(|it| world.status_of(**it) == "failed").count();
    assert_eq!(failed, 30 - 17);
    assert_eq!(world.director.stats().calls_live, 0);
}
