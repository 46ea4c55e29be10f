//! `Dial`: a second leg, one answer, one end, one action.

mod world;

use base::CallId;
use model::port::{HttpKind, OwnedCommand, OwnedOriginate};
use wire::event::Cause;
use world::{World, is_callback, param, status, xml};

fn app(document: &'static str) -> World {
    World::new(move |request| match request.url.as_str() {
        "http://app.test/voice" => xml(document),
        "http://app.test/done" => xml("<Response><Hangup/></Response>"),
        _ => status(204),
    })
}

fn originated(world: &World) -> Vec<&OwnedOriginate> {
    world
        .commands
        .iter()
        .filter_map(|command| match command {
            OwnedCommand::Originate(originate) => Some(originate.as_ref()),
            _ => None,
        })
        .collect()
}

fn events(world: &World, call: CallId) -> Vec<String> {
    let of = |name: &str| {
        let mine = move |it: &&&model::port::HttpRequest| {
            it.kind == HttpKind::Callback && param(it, "CallSid") == call.to_string()
        };
        world.asked(name).iter().filter(mine).map(|it| param(it, "CallStatus").to_owned()).collect()
    };
    of("")
}

#[test]
fn a_call_is_connected_and_its_end_asks_the_action() {
    let mut world = app("<Response><Dial action=\"/done\" timeout=\"20\" timeLimit=\"600\">\
         <Sip statusCallback=\"/child\" statusCallbackEvent=\"initiated ringing answered completed\">\
         sip:ok@127.0.0.1:5080;user=phone;transport=udp?X-Order=7</Sip></Dial></Response>");
    let call = world.call_in("sip:bob@demo.test");
    world.run(3_000);
    let order = originated(&world)[0].clone();
    assert_eq!((order.uri.as_str(), order.parent), ("sip:ok@127.0.0.1:5080;user=phone", call));
    assert_eq!(order.targets.as_slice(), ["127.0.0.1:5080".parse().unwrap()]);
    assert_eq!((order.ring_ms, order.limit_ms), (20_000, 600_000));
    assert_eq!(order.headers, "X-Order: 7\r\n");
    assert!(order.bridge && !order.pass_progress);
    let child = world.children_of(call)[0];
    world.bye_in(child, 10_000);
    world.run(60_000);

    let action = world.asked("/done")[0];
    assert_eq!(param(action, "DialCallStatus"), "completed");
    assert_eq!(param(action, "DialCallSid"), child.to_string());
    assert_eq!(param(action, "DialBridged"), "true");
    let seconds: u32 = param(action, "DialCallDuration").parse().unwrap();
    assert_eq!(Some(seconds), world.store.calls[&child].duration);
    assert_eq!(world.store.calls[&child].parent, Some(call));
    assert_eq!(world.store.calls[&child].direction.name(), "outbound-dial");
    assert_eq!(world.status_of(call), "completed");
    assert_eq!(events(&world, child), ["initiated", "ringing", "in-progress", "completed"]);
    assert_eq!(events(&world, call), ["in-progress", "completed"]);
    let sequences: Vec<_> =
        world.asked("/child").iter().map(|it| param(it, "SequenceNumber").to_owned()).collect();
    assert_eq!(sequences, ["0", "1", "2", "3"]);
    assert_eq!(world.store.usage.len(), 4, "ingress, egress and both sides' relay");
    assert_eq!(world.store.ledger.len(), 2);
    world.assert_clean();
}

#[test]
fn outcomes_reach_the_action() {
    for (target, dial, sip) in [
        ("<Sip>sip:busy@127.0.0.1</Sip>", "busy", "486"),
        ("<Sip>sip:ring@127.0.0.1</Sip>", "no-answer", "487"),
        ("<Sip>sip:ok@10.0.0.1;transport=sctp</Sip>", "failed", "404"),
        ("<Sip>sip:ok@169.254.169.254</Sip>", "failed", "404"),
        ("<Sip>sip:ok@nowhere.test</Sip>", "failed", "404"),
        ("<Number>+4420</Number>", "failed", "404"),
        ("+4420", "failed", "404"),
        ("<Sip>nonsense</Sip>", "failed", ""),
        ("<Client>alice</Client>", "failed", ""),
    ] {
        let document =
            format!("<Response><Dial timeout=\"5\" action=\"/done\">{target}</Dial></Response>");
        let mut world = World::new(move |request| match request.url.as_str() {
            "http://app.test/voice" => xml(&document),
            "http://app.test/done" => xml("<Response><Hangup/></Response>"),
            _ => status(204),
        });
        let call = world.call_in("sip:bob@demo.test");
        world.run(60_000);
        let action = world.asked("/done")[0];
        assert_eq!(param(action, "DialCallStatus"), dial, "{target}");
        assert_eq!(param(action, "DialSipResponseCode"), sip, "{target}");
        assert!(world.store.calls[&call].status.is_final());
        if sip == "404" || sip.is_empty() {
            assert!(!world.store.alerts.is_empty(), "{target}");
        }
        world.assert_clean();
    }
}

#[test]
fn numbers_go_by_the_longest_route_and_names_are_looked_up() {
    let mut world = app("<Response><Dial callerId=\"+1777\">+1 555 0199</Dial></Response>")
        .with_book(|book| {
            let mut route = book.routes[0].clone();
            route.sid.0 = 2;
            route.prefix = "+1555".to_owned();
            route.targets = vec!["carrier.test".to_owned(), "192.0.2.7:5062".to_owned()];
            route.strip = 2;
            route.prepend = "00".to_owned();
            book.routes.push(route);
        });
    world.names.insert("carrier.test".to_owned(), vec!["192.0.2.5:5060".parse().unwrap()]);
    let call = world.call_in("sip:bob@demo.test");
    world.run(1_000);
    let order = originated(&world)[0].clone();
    assert_eq!(order.uri, "sip:005550199@carrier.test");
    assert_eq!(order.from, "sip:+1777@127.0.0.1:5060");
    let targets: Vec<_> = order.targets.iter().map(ToString::to_string).collect();
    assert_eq!(targets, ["192.0.2.5:5060", "192.0.2.7:5062"]);
    world.bye_in(call, 5_000);
    world.run(20_000);
    world.assert_clean();
}

/// RFC 3263 section 4.1: a transport that is named, or asked for by `sips:`, is kept.
#[test]
fn a_host_chooses_the_transport_that_nobody_named() {
    for (uri, target, tls_name) in [
        ("sip:ok@tcp.peer.test", "192.0.2.20:5060;transport=tcp", ""),
        ("sip:ok@tcp.peer.test;transport=udp", "192.0.2.20:5060", ""),
        ("sip:ok@udp.peer.test;transport=tcp", "192.0.2.20:5060;transport=tcp", ""),
        ("sip:ok@udp.peer.test", "192.0.2.20:5060", ""),
        ("sips:ok@tcp.peer.test", "192.0.2.20:5060;transport=tls", "tcp.peer.test"),
    ] {
        let mut world = World::new(move |request| match is_callback(request) {
            true => status(200),
            false => xml(&format!("<Response><Dial><Sip>{uri}</Sip></Dial></Response>")),
        });
        for host in ["tcp.peer.test", "udp.peer.test"] {
            let address = "192.0.2.20:5060".parse().unwrap();
            world.names.insert(host.to_owned(), vec![address]);
        }
        world.call_in("sip:bob@demo.test");
        world.run(1_000);
        let order = originated(&world)[0].clone();
        assert_eq!(order.targets[0].to_string(), target, "{uri}");
        assert_eq!(order.tls_names, [tls_name], "{uri}");
    }
}

#[test]
fn names_that_lead_inside_are_refused() {
    let mut world = app("<Response><Dial><Sip>sip:ok@rebind.test</Sip></Dial></Response>");
    let inside = ["[::1]:5060", "169.254.169.254:5060", "[::ffff:10.0.0.1]:5060"];
    let inside = inside.iter().map(|text| text.parse().unwrap()).collect();
    world.names.insert("rebind.test".to_owned(), inside);
    world.call_in("sip:bob@demo.test");
    world.run(10_000);
    assert!(originated(&world).is_empty());
    assert_eq!(world.store.alerts[0].reason, "target-unresolved");
    world.assert_clean();
}

#[test]
fn several_ring_and_the_first_answer_wins() {
    let mut world = app(
        "<Response><Dial action=\"/done\"><Sip>sip:ring@127.0.0.1</Sip><Sip>sip:ok@127.0.0.1</Sip>\
         <Sip>sip:busy@127.0.0.1</Sip></Dial></Response>",
    );
    let call = world.call_in("sip:bob@demo.test");
    world.run(3_000);
    assert_eq!(originated(&world).len(), 3);
    let ends =
        |world: &World, cause| world.store.cdrs.values().filter(|cdr| cdr.cause == cause).count();
    assert_eq!((ends(&world, Cause::OtherAnswered), ends(&world, Cause::Busy)), (1, 1));
    // What answers our CANCEL comes after the end.
    let mut codes: Vec<_> = world.store.cdrs.values().map(|cdr| cdr.code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [486, 487]);
    world.bye_in(call, 5_000);
    world.run(60_000);
    let told = world.asked("/done")[0];
    assert_eq!(told.kind, HttpKind::Callback, "the caller is gone: told, not asked");
    assert_eq!(param(told, "DialCallStatus"), "completed");
    assert_eq!(param(told, "CallStatus"), "completed");
    world.assert_clean();
}

#[test]
fn answer_on_bridge_leaves_the_caller_unanswered_and_passes_the_outcome() {
    for (user, code, cause, end) in
        [("busy", 486, Cause::Busy, "busy"), ("ring", 480, Cause::NoAnswer, "no-answer")]
    {
        let document = format!(
            "<Response><Dial answerOnBridge=\"true\" timeout=\"6\">\
             <Sip>sip:{user}@127.0.0.1</Sip></Dial></Response>"
        );
        let mut world = World::new(move |request| match request.url.as_str() {
            "http://app.test/voice" => xml(&document),
            _ => status(204),
        });
        let call = world.call_in("sip:bob@demo.test");
        world.run(30_000);
        assert!(originated(&world)[0].pass_progress);
        assert!(!world.commands.iter().any(|it| matches!(it, OwnedCommand::Answer { .. })));
        let reject = world.commands.iter().find_map(|it| match it {
            OwnedCommand::PassOn { code, cause, .. } => Some((*code, *cause)),
            _ => None,
        });
        assert_eq!(reject, Some((code, cause)));
        assert_eq!(world.status_of(call), end);
        world.assert_clean();
    }
}

#[test]
fn without_action_the_next_verb_runs() {
    let mut world =
        app("<Response><Dial><Sip>sip:drop@127.0.0.1</Sip></Dial><Pause length=\"3\"/></Response>");
    let call = world.call_in("sip:bob@demo.test");
    world.run(30_000);
    assert!(world.asked("/done").is_empty());
    assert_eq!(world.store.calls[&call].duration, Some(7));
    world.assert_clean();
}

#[test]
fn the_caller_gives_up_while_it_rings() {
    let mut world = app("<Response><Dial answerOnBridge=\"true\" action=\"/done\">\
         <Sip>sip:ring@127.0.0.1</Sip></Dial></Response>");
    let call = world.call_in("sip:bob@demo.test");
    world.cancel_in(call, 2_000);
    world.run(60_000);
    assert_eq!(world.status_of(call), "canceled");
    assert_eq!(world.status_of(world.children_of(call)[0]), "canceled");
    assert_eq!(param(world.asked("/done")[0], "DialCallStatus"), "canceled");
    world.assert_clean();
}

#[test]
fn the_time_limit_ends_the_dialled_leg() {
    let mut world =
        app("<Response><Dial timeLimit=\"5\"><Sip>sip:ok@127.0.0.1</Sip></Dial></Response>");
    let call = world.call_in("sip:bob@demo.test");
    world.run(60_000);
    let child = world.children_of(call)[0];
    assert_eq!(world.store.calls[&child].duration, Some(5));
    assert_eq!(world.store.calls[&child].cause, Some(Cause::TimeLimit));
    world.assert_clean();
}

#[test]
fn one_after_another_each_has_the_whole_timeout_and_the_first_answer_wins() {
    for bridge in ["true", "false"] {
        let document = format!(
            "<Response><Dial sequential=\"true\" timeout=\"5\" answerOnBridge=\"{bridge}\" \
             action=\"/done\"><Sip>sip:ring@127.0.0.1</Sip><Sip>sip:busy@127.0.0.1</Sip>\
             <Sip>sip:ok@127.0.0.1</Sip><Sip>sip:never@127.0.0.1</Sip></Dial></Response>"
        );
        let mut world = app(document.leak());
        let call = world.call_in("sip:bob@demo.test");
        world.run(4_000);
        assert_eq!(world.children_of(call).len(), 1, "the second waits for the first");
        world.crash();
        world.run(8_000);
        let mut seen: Vec<_> = (world.children_of(call).into_iter())
            .map(|child| (world.legs[&child].to.clone(), world.status_of(child)))
            .collect();
        seen.sort();
        assert_eq!(
            seen,
            [
                ("sip:busy@127.0.0.1".to_owned(), "busy"),
                ("sip:ok@127.0.0.1".to_owned(), "in-progress"),
                ("sip:ring@127.0.0.1".to_owned(), "no-answer"),
            ]
        );
        world.bye_in(call, 1_000);
        world.run(10_000);
        assert_eq!(param(world.asked("/done")[0], "DialCallStatus"), "completed");
        world.assert_clean();
    }
}

#[test]
fn a_caller_who_leaves_a_sequence_ends_it() {
    let mut world = app("<Response><Dial sequential=\"true\" answerOnBridge=\"true\" \
         action=\"/done\"><Sip>sip:ring@127.0.0.1</Sip><Sip>sip:ok@127.0.0.1</Sip></Dial>\
         </Response>");
    let call = world.call_in("sip:bob@demo.test");
    world.cancel_in(call, 2_000);
    world.run(60_000);
    assert_eq!(world.children_of(call).len(), 1);
    assert_eq!(param(world.asked("/done")[0], "DialCallStatus"), "canceled");
    world.assert_clean();
}

/// Two answer at one time, and what is told first is not whom the shards have taken.
#[test]
fn of_two_that_answer_at_once_the_one_that_is_connected_counts() {
    for ends_first in [false, true] {
        let mut world = app("<Response><Dial action=\"/done\"><Sip>sip:ring1@127.0.0.1</Sip>\
             <Sip>sip:ring2@127.0.0.1</Sip></Dial></Response>");
        let call = world.call_in("sip:bob@demo.test");
        world.run(500);
        let both: Vec<CallId> = world.children_of(call);
        let at = world.now.wall;
        for child in &both {
            world.legs.get_mut(child).unwrap().answered = at;
        }
        let tell = |world: &mut World, event: &wire::Event<'_>| {
            world.director.handle_event(world.now, 0, event);
            world.drain();
        };
        let leg = world.legs[&both[0]].id;
        tell(&mut world, &wire::Event::Answered { call: both[0], leg, at });
        let joined = wire::Event::Joined { call: both[1], peer: call, at };
        if !ends_first {
            tell(&mut world, &joined);
        }
        world.fails_in(both[0], 0, wire::event::Party::Peer, Cause::OtherAnswered);
        world.run(50);
        tell(&mut world, &joined);
        world.run(2_000);
        let ends =
            |it: &OwnedCommand| matches!(it, OwnedCommand::Hangup { call, .. } if *call == both[1]);
        assert!(!world.commands.iter().any(ends), "{ends_first}: it talks");
        assert!(world.asked("/done").is_empty(), "{ends_first}");
        world.bye_in(both[1], 0);
        world.run(2_000);
        let action = world.asked("/done")[0];
        assert_eq!(param(action, "DialCallStatus"), "completed");
        assert_eq!(param(action, "DialCallSid"), both[1].to_string());
        assert_eq!(param(action, "DialBridged"), "true");
        world.run(30_000);
        world.assert_clean();
    }
}
