//! Referrals that applications have a say in: `referUrl` of `<Dial>`, and `<Refer>`, which asks a
//! far end to call somebody.

mod world;

use base::CallId;
use model::port::OwnedCommand;
use world::{World, param, status, xml};

/// A call to the domain whose document dials a phone and names who is to be asked for referrals.
fn connected() -> (World, CallId, CallId) {
    let mut world = World::new(|request| match request.url.as_str() {
        "http://app.test/voice" => xml("<Response><Dial action=\"/done\" referUrl=\"/refer\">\
             <Sip>sip:ok@127.0.0.1</Sip></Dial></Response>"),
        "http://app.test/refer" => xml("<Response><Pause length=\"5\"/><Hangup/></Response>"),
        _ => status(204),
    });
    let call = world.call_in("sip:bob@demo.test");
    world.run(4_000);
    let child = world.children_of(call)[0];
    world.commands.clear();
    (world, call, child)
}

fn sent(world: &World, call: CallId) -> Vec<String> {
    let of = |command: &&OwnedCommand| match command {
        OwnedCommand::Refer { call: it, .. } | OwnedCommand::Hangup { call: it, .. } => *it == call,
        _ => false,
    };
    world.commands.iter().filter(of).map(|it| format!("{it:?}")).collect()
}

/// Whoever refers, the application is asked how whoever is left goes on, and the referrer is told.
#[test]
fn the_application_says_what_becomes_of_a_referral() {
    for by_callee in [true, false] {
        let (mut world, call, child) = connected();
        let (from, stays) = if by_callee { (child, call) } else { (call, child) };
        let (at, to) = (world.now.wall, "sip:carol@elsewhere.test");
        world.refer_at(at, from, stays, to);
        let asked = world.asked("/refer")[0];
        assert_eq!(param(asked, "ReferTransferTarget"), to);
        assert_eq!(param(asked, "SipHeader_X-Why"), "busy");
        assert_eq!(param(asked, "CallSid"), stays.to_string());
        assert!(world.commands.contains(&OwnedCommand::Part { call: stays }));
        let told = OwnedCommand::Referred { call: from, code: 200, binds: false };
        assert!(world.commands.contains(&told), "{:?}", world.commands);
        // Told again it is nothing new; and the shard ends the referrer.
        world.refer_at(at, from, stays, to);
        world.bye_in(from, 0);
        world.run(2_000);
        assert_eq!(world.asked("/refer").len(), 1);
        assert_eq!(world.status_of(stays), "in-progress", "its document runs");
        assert!(world.asked("/done").is_empty());
        world.run(10_000);
        assert_eq!(world.status_of(stays), "completed");
        world.assert_clean();
    }
}

/// A document that refers its caller: what is said of it, by the far end and by its NOTIFY.
#[test]
fn a_document_refers_its_caller() {
    for (code, notified, expected) in [
        (202, 200, ("202", "in-progress", "200")),
        (202, 486, ("202", "busy", "486")),
        (202, 480, ("202", "no-answer", "480")),
        (202, 487, ("202", "canceled", "487")),
        (202, 503, ("202", "failed", "503")),
        (405, 0, ("405", "", "")),
        // It never says anything more.
        (202, 0, ("202", "", "")),
    ] {
        let mut world = World::new(|request| match request.url.as_str() {
            "http://app.test/voice" => {
                xml("<Response><Refer action=\"/referred\"><Sip>sip:carol@x.test</Sip></Refer>\
                 <Hangup/></Response>")
            }
            "http://app.test/referred" => xml("<Response><Hangup/></Response>"),
            _ => status(204),
        });
        let call = world.call_in("sip:bob@demo.test");
        world.run(3_000);
        assert!(sent(&world, call)[0].contains("sip:carol@x.test"), "{:?}", world.commands);
        // A successor asks again only where nothing was said of it.
        world.crash();
        world.commands.clear();
        world.refer_said(call, code, 0);
        if notified > 0 {
            world.refer_said(call, 0, notified);
        }
        world.run(20_000);
        assert!(sent(&world, call).iter().all(|it| !it.starts_with("Refer")), "{code} {notified}");
        world.run(70_000);
        let asked = world.asked("/referred")[0];
        let said = |name: &str| {
            let found = asked.params.iter().find(|(it, _)| it == name);
            found.map_or("", |(_, value)| value.as_str())
        };
        let said =
            (said("ReferSipResponseCode"), said("ReferCallStatus"), said("NotifySipResponseCode"));
        assert_eq!(said, expected);
        assert_eq!(world.status_of(call), "completed");
    }
}

/// The order never left a predecessor: the successor gives it (again and again it is one: the shard
/// has no two of them open).
#[test]
fn a_successor_refers_where_nothing_was_said() {
    let mut world = World::new(|request| match request.url.as_str() {
        "http://app.test/voice" => {
            xml("<Response><Refer><Sip>sip:carol@x.test</Sip></Refer><Hangup/></Response>")
        }
        _ => status(204),
    });
    let call = world.call_in("sip:bob@demo.test");
    world.run(3_000);
    world.crash();
    world.commands.clear();
    world.run(20_000);
    let orders = sent(&world, call).iter().filter(|it| it.starts_with("Refer")).count();
    assert!(orders > 0, "{:?}", world.commands);
}

/// A carrier would call on the operator's bill, past every route and limit: it is not asked. Nor is
/// anybody asked for something that is no call.
#[test]
fn a_carrier_is_not_asked_to_call_anybody() {
    for (called, carriers, target, told) in [
        ("sip:bob@demo.test", "", "sip:carol@x.test", None),
        ("sip:bob@demo.test", "127.0.0.1/32", "sip:carol@x.test", Some(13_801)),
        ("sip:+15550100@h", "", "sip:carol@x.test", Some(13_801)),
        ("sip:+15550100@h", "192.0.2.0/24", "sip:carol@x.test", None),
        ("sip:bob@demo.test", "", "sip:carol@x.test?Replaces=a", Some(12_200)),
        ("sip:bob@demo.test", "", "sip:carol@x.test;method=BYE", Some(12_200)),
    ] {
        let document = format!(
            "<Response><Refer action=\"/no\"><Sip>{target}</Sip></Refer><Redirect>/next</Redirect>\
             </Response>"
        );
        let mut world = World::new(move |request| match request.url.as_str() {
            "http://app.test/voice" => xml(&document),
            "http://app.test/next" => xml("<Response><Hangup/></Response>"),
            _ => status(204),
        })
        .with_settings(|settings| settings.carriers = carriers.parse().into_iter().collect());
        let call = world.call_in(called);
        world.run(5_000);
        let orders = sent(&world, call).iter().filter(|it| it.starts_with("Refer")).count();
        let codes = world.store.alerts.iter().map(|alert| alert.code);
        assert_eq!(
            (orders, codes.collect::<Vec<_>>()),
            match told {
                None => (1, vec![]),
                Some(code) => (0, vec![code]),
            },
            "{called} {carriers} {target}"
        );
        assert_eq!(world.asked("/next").len(), usize::from(told.is_some()), "the next verb");
    }
}
