//! The caller hears that it rings: when an application has taken the call and says nothing more,
//! and when any of several phones rings.

use wire::Command;
use world::control::encode;
use world::{Action, Manner, Manual, Setup, World};

use crate::common::{SECOND, answered, dial, heard, ms, nothing_left, send};
use crate::reason::dialled_all;

/// A controlplane that takes each call, answers it so much later or never.
fn accepted(setup: &Setup) -> World {
    let mut world = World::new(setup);
    world.agent(Manner::default());
    let manual = Manual::new(&world.plane).with_reflex(move |told, commands| {
        let wire::Event::Incoming(incoming) = told.event() else { return };
        let call = incoming.call;
        commands
            .push((told.shard, encode(&Command::Accept { call, account: 9, setup_ms: 60_000 })));
    });
    world.control = Some(Box::new(manual));
    world
}

#[test]
fn a_caller_of_a_slow_application_hears_ringing_within_a_second() {
    let mut world = accepted(&Setup::new(1));
    let call = dial(&mut world, 1);
    world.run_for(SECOND);
    assert_eq!(world.call(call).seen.provisional, [100, 180]);
    world.run_for(5 * SECOND);
    assert_eq!(world.call(call).seen.provisional, [100, 180], "once");
    let (shard, id, _) = crate::common::incoming(&mut world)[0];
    send(&mut world, shard, &Command::Answer { call: id, limit_ms: 0 });
    world.run_for(SECOND);
    assert_eq!(world.call(call).seen.code, 200);
    world.act(call, Action::HangUp);
    nothing_left(&mut world);
}

#[test]
fn a_call_that_is_answered_at_once_does_not_ring() {
    let mut world = answered(&Setup::new(2), Manner::default());
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    assert_eq!(
        (&world.call(call).seen.provisional[..], world.call(call).seen.code),
        (&[100][..], 200)
    );
    world.act(call, Action::HangUp);
    nothing_left(&mut world);
}

#[test]
fn a_call_that_nobody_has_taken_does_not_ring() {
    let mut world = accepted(&Setup::new(3));
    crate::common::manual(&mut world).dead = true;
    let call = dial(&mut world, 1);
    world.run_for(ms(1_900));
    assert_eq!(world.call(call).seen.provisional, [100]);
}

/// Whichever of them rings first.
#[test]
fn the_ringing_of_any_of_several_phones_is_passed_on() {
    for rings in 0..3 {
        let phone = |at| {
            let ring = if at == rings { ms(100) } else { 5 * SECOND };
            Manner { on_ring: vec![(ring, Action::Ring)], ..Manner::default() }
        };
        let callees = (0..3).map(phone).collect();
        let mut world = dialled_all(&Setup::new(4), Manner::default(), callees);
        let call = dial(&mut world, 1);
        world.run_for(ms(200));
        assert_eq!(world.call(call).seen.provisional, [100, 180], "before the application's own");
        world.act(call, Action::Cancel);
        nothing_left(&mut world);
    }
}

/// Early media of the second target after the first one's failure is heard too.
#[test]
fn the_early_media_of_each_phone_is_heard_in_its_turn() {
    let early = |last| Manner {
        on_ring: vec![(ms(100), Action::EarlyMedia), (3 * SECOND, last)],
        ..Manner::default()
    };
    let callees = vec![early(Action::Refuse(503)).with_audio(), early(Action::Answer).with_audio()];
    let mut world = crate::common::routed(&Setup::new(5), Manner::default().with_audio(), callees);
    let call = dial(&mut world, 1);
    world.run_for(ms(2_900));
    let first = heard(&world, call, 3);
    assert!(first >= 100, "{first}");
    world.run_for(3 * SECOND);
    let second = heard(&world, call, 3) - first;
    assert!(second >= 100, "{second}");
    assert_eq!(world.call(call).seen.code, 0);
    world.run_for(3 * SECOND);
    assert_eq!(world.call(call).seen.code, 200);
    world.act(call, Action::HangUp);
    nothing_left(&mut world);
}

/// Of several phones that ring at once too: the one that speaks is heard until it is gone, then
/// the next.
#[test]
fn the_early_media_of_the_phone_that_is_left_is_heard() {
    let first = vec![(ms(100), Action::EarlyMedia), (2 * SECOND, Action::Refuse(486))];
    let second = vec![(ms(100), Action::Ring), (3 * SECOND, Action::EarlyMedia)];
    let phones = [first, second].map(|on_ring| Manner { on_ring, ..Manner::default() });
    let callees = phones.map(Manner::with_audio).to_vec();
    let mut world = dialled_all(&Setup::new(6), Manner::default().with_audio(), callees);
    let call = dial(&mut world, 1);
    world.run_for(ms(2_500));
    let first = heard(&world, call, 3);
    assert!(first >= 80, "{first}");
    world.run_for(3 * SECOND);
    let second = heard(&world, call, 3) - first;
    assert!(second >= 100, "{second}");
    world.act(call, Action::Cancel);
    nothing_left(&mut world);
}
