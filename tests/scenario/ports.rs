//! Media ports that somebody else holds, and calls that come faster than ports are opened.

use wire::counter::Counter;
use world::{Action, Manner, Setup};

use crate::common::{SECOND, count, dial, ms, nothing_left, routed, to};

/// Another process has all media ports while we start, and lets go later.
#[test]
fn ports_that_are_freed_later_are_had_later() {
    let mut setup = Setup::new(1);
    setup.plane.foreign_ports = (0x4000..0x4600).collect();
    let caller = Manner::default().after_answer(2 * SECOND, Action::HangUp);
    let mut world = routed(&setup, caller, vec![Manner::default()]);
    world.run_for(20 * SECOND);
    assert_eq!(count(&world, Counter::PortSpare), 0);
    assert!(count(&world, Counter::PortRefused) > 0, "the operator is told");
    let call = dial(&mut world, 1);
    world.run_for(SECOND);
    assert_eq!(world.call(call).seen.code, 503);
    assert_eq!(count(&world, Counter::RefusedNoPort), 1);
    world.plane.setup.foreign_ports.clear();
    world.run_for(6 * SECOND);
    assert!(count(&world, Counter::PortSpare) > 0);
    let call = dial(&mut world, 2);
    world.run_for(3 * SECOND);
    assert_eq!(world.call(call).seen.code, 200);
    world.run_for(60 * SECOND);
    assert_eq!(count(&world, Counter::PortRefused), 0, "all of them are had again");
    nothing_left(&mut world);
}

/// 400 callers in the same moment: each call takes two ports before any port can be opened.
#[test]
fn a_burst_of_calls_larger_than_the_spare_ports_is_served() {
    let mut setup = Setup::new(1);
    setup.plane.shards = 1;
    (setup.plane.legs, setup.plane.transactions) = (1_024, 4_096);
    setup.plane.frames = (8_192, 2_048);
    (setup.plane.spare_ports, setup.plane.blocks) = (512, 8);
    let caller = Manner::default().after_answer(5 * SECOND, Action::HangUp);
    let mut world = routed(&setup, caller, vec![Manner::default()]);
    let calls: Vec<_> = (0..400).map(|group| world.dial(0, &to(group))).collect();
    world.run_for(20 * SECOND);
    let served = calls.iter().filter(|call| world.call(**call).seen.code == 200).count();
    assert_eq!((served, count(&world, Counter::RefusedNoPort)), (400, 0));
    world.run_for(ms(1));
    nothing_left(&mut world);
}
