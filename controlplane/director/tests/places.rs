//! Requests to applications that are under way: each is a socket, and nobody takes them all.

mod world;

use model::port::{HttpKind, HttpRequest};
use model::{Account, AccountSid, DomainSid, SipDomain};
use world::{Answer, World, is_callback, param, status, xml};

/// Everybody who is asked takes ten seconds; legs are told of at a port of their own.
fn tarpit() -> World {
    let mut port = 0;
    World::new(move |request| {
        port += 1;
        let (_, answer) = match request.kind {
            HttpKind::Callback => status(200),
            HttpKind::Instructions => xml(&format!(
                "<Response><Dial><Sip statusCallback=\"http://app.test:{port}/told\" \
                 statusCallbackEvent=\"initiated\">sip:ring@127.0.0.1</Sip></Dial></Response>"
            )),
        };
        (10_000, answer)
    })
    .with_settings(|settings| settings.limits.account_requests = 8)
}

fn calls(world: &mut World, count: usize) -> Vec<base::CallId> {
    (0..count).map(|_| world.call_in("sip:bob@demo.test")).collect()
}

#[test]
fn documents_wait_for_their_familys_places() {
    let mut world = tarpit();
    calls(&mut world, 14);
    world.run(1_000);
    assert_eq!(world.asked("/voice").len(), 8);
    world.run(10_000);
    assert_eq!(world.asked("/voice").len(), 14);
    assert!(world.store.alerts.is_empty(), "{:?}", world.store.alerts);
}

/// Whoever hangs up while he is asked for has his socket still.
#[test]
fn a_request_that_nobody_waits_for_has_its_place_until_it_is_answered() {
    let mut world = tarpit();
    for call in calls(&mut world, 8) {
        world.cancel_in(call, 1_000);
    }
    world.run(2_000);
    calls(&mut world, 4);
    world.run(2_000);
    assert_eq!(world.asked("/voice").len(), 8);
    world.run(10_000);
    assert_eq!(world.asked("/voice").len(), 12);
}

/// One that waits in vain is as if nobody had answered it, and nothing of it is left.
#[test]
fn a_line_of_documents_is_bounded_in_length_and_time() {
    let mut world = tarpit().with_settings(|settings| settings.limits.account_requests = 1);
    calls(&mut world, 4);
    world.run(200);
    assert_eq!(world.asked("/voice").len(), 1);
    let failed = |world: &World| world.store.alerts.iter().filter(|it| it.code == 11_200).count();
    assert_eq!(failed(&world), 2, "one waits");
    world.run(60_000);
    assert_eq!((world.asked("/voice").len(), failed(&world)), (2, 2));
}

/// Callbacks to as many hosts as anybody likes leave places to documents, and are all delivered.
#[test]
fn callbacks_leave_places_to_documents_and_wait_for_theirs() {
    let quick = |request: &HttpRequest| -> Answer {
        let call = param(request, "CallSid").len();
        assert!(call > 0);
        match request.kind {
            HttpKind::Callback => (10_000, status(200).1),
            HttpKind::Instructions => xml("<Response><Hangup/></Response>"),
        }
    };
    let mut world = World::new(quick)
        .with_book(|book| {
            for number in 0..40_u32 {
                let mut domain = book.domains[0].clone();
                domain.sid = DomainSid(100 + u128::from(number));
                domain.domain_name = format!("d{number}.test");
                let hook = domain.config.status_callback.as_mut().expect("a follower");
                hook.hook.url = format!("http://app.test:{}/told", 8_000 + number);
                book.domains.push(domain);
            }
        })
        .with_settings(|settings| settings.limits.account_requests = 8);
    for number in 0..40 {
        world.call_in(&format!("sip:bob@d{number}.test"));
        world.run(100);
    }
    world.run(1_000);
    assert_eq!(world.asked("/voice").len(), 40, "none of them waits");
    assert_eq!(world.asked("/told").len(), 6);
    world.run(600_000);
    let stats = world.director.stats();
    assert_eq!((stats.callbacks_delivered, stats.callbacks_waiting), (stats.callbacks_made, 0));
    world.assert_clean();
}

/// Where the node has no places, families take turns.
#[test]
fn a_family_that_fills_the_node_leaves_the_next_place_to_another() {
    let other = AccountSid(0xbb);
    let mut world = tarpit()
        .with_book(|book| {
            let sid = other;
            book.accounts.push(Account { sid, number: 9, parent: sid, ..Account::default() });
            let (sid, domain_name) = (DomainSid(9), "other.test".to_owned());
            let domain = book.domains[0].clone();
            book.domains.push(SipDomain { sid, account: other, domain_name, ..domain });
        })
        .with_settings(|settings| settings.limits.requests = 8);
    calls(&mut world, 12);
    world.run(1_000);
    world.call_in("sip:bob@other.test");
    world.run(1_000);
    let of_other = |world: &World| {
        world.requests.iter().filter(|(_, it)| it.account == other && !is_callback(it)).count()
    };
    assert_eq!((world.asked("/voice").len(), of_other(&world)), (8, 0));
    world.run(10_000);
    assert_eq!(of_other(&world), 1);
}
