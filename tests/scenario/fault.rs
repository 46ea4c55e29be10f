//! A fault of ours ends what it was about (a message, a call, a packet's leg), with usage closed
//! and told, and nothing else; no frame is lost.

use wire::counter::Counter;
use wire::event::{Cause, Party};
use world::heap::Touch;
use world::{Action, Manner, Setup, World};

use crate::by_hand::{A, Hand, call, empty, header, one_shard, packet, send, world_by_hand};
use crate::common::{
    SECOND, answered, bridged, count, dial, ends, heard, manual, ms, nothing_left, send as command,
};

#[test]
fn a_panic_in_one_call_ends_that_call_alone() {
    fault(1);
}

#[test]
fn a_panic_while_it_is_ended_ends_that_call_alone_too() {
    fault(2);
}

/// Panics this often in one call.
fn fault(trips: u8) {
    let mut world = bridged(&Setup::new(1), Manner::default(), Manner::default());
    let calls: Vec<_> = (1..=6).map(|group| dial(&mut world, group)).collect();
    world.run_for(5 * SECOND);
    let victim = calls[2];
    // The next frame that any shard asks for panics, and that is for the answer to this request.
    world.act(victim, Action::Mute(true));
    let callee = world.callee_of(3).unwrap();
    world.act(callee, Action::Mute(true));
    let now = world.now;
    world.call_mut(victim).act(now, Action::Options);
    let of_victim = |told: &world::Told| match told.event() {
        wire::Event::Incoming(incoming) if incoming.uri.contains("g3@") => Some(told.shard),
        _ => None,
    };
    let inbound = manual(&mut world).told.iter().find_map(of_victim).unwrap();
    world.run_for(std::time::Duration::from_millis(1));
    world.plane.lanes[usize::from(inbound)].heap.trips = trips;
    world.run_for(SECOND);
    assert_eq!(count(&world, Counter::LegPanicked), u64::from(trips));
    let first = ends(&mut world);
    assert!(!first.is_empty());
    assert_eq!((first[0].cause, first[0].by), (Cause::Internal, Party::Switch));
    assert!(first[0].billed_ms > 3_000, "what was used is billed: {first:?}");
    world.run_for(5 * SECOND);
    let standing = calls.iter().filter(|call| !world.call(**call).is_over()).count();
    assert!(standing >= 5, "{standing} of six go on");
    for (group, call) in (1..).zip(&calls) {
        if world.call(*call).is_over() {
            continue;
        }
        // Where not even a BYE could be written, the victim finds out by itself.
        assert!(*call == victim || heard(&world, *call, group * 2 + 1) >= 6);
        world.act(*call, Action::HangUp);
    }
    for group in 1..=6 {
        let callee = world.callee_of(group).unwrap();
        world.act(callee, Action::HangUp);
    }
    nothing_left(&mut world);
}

/// The next such touch by this shard panics.
fn plant(world: &World, shard: usize, touch: Touch) {
    world.plane.lanes[shard].heap.plant.set(Some(touch));
}

/// Faults contained, and legs ended by one.
fn faults(world: &World) -> (u64, u64) {
    (count(world, Counter::FaultContained), count(world, Counter::LegPanicked))
}

fn options(number: u32) -> String {
    Hand::caller("options").request("OPTIONS", number, "", &empty())
}

/// Before it is read, and while its answer is written.
#[test]
fn a_panic_in_a_strangers_message_ends_that_message() {
    let (mut world, log) = world_by_hand(2);
    plant(&world, 0, Touch::Read);
    send(&mut world, A, &options(1));
    world.plane.lanes[0].heap.trips = 1;
    send(&mut world, A, &options(2));
    assert_eq!((log.all(A, "SIP/2.0", "").len(), count(&world, Counter::FaultContained)), (0, 2));
    plant(&world, 0, Touch::Write);
    send(&mut world, A, &options(3));
    send(&mut world, A, &options(4));
    let answers = log.all(A, "SIP/2.0 200", "");
    assert_eq!(answers.len(), 1);
    assert_eq!(header(&answers[0], "CSeq"), "4 OPTIONS");
    assert_eq!(faults(&world), (3, 0));
    let call = call(&mut world, &log, "after", ("0", "0"));
    send(&mut world, A, &call.a.request("BYE", 2, "", &empty()));
    world.run_for(SECOND);
    let bye = log.last(crate::by_hand::B, "BYE", "");
    send(&mut world, crate::by_hand::B, &call.b.reply(&bye, "200 OK", "", &empty()));
    crate::by_hand::nothing_left(&mut world);
}

/// The other packets of its batch and the other calls go on.
#[test]
fn a_panic_in_a_media_packet_ends_its_leg() {
    let (mut world, log) = world_by_hand(3);
    let one = call(&mut world, &log, "one", ("0", "0"));
    for seq in 1..=20 {
        packet(&mut world, "10.1.0.1:4000", one.ports.0, (seq, 7));
        world.run_for(ms(20));
    }
    let passed = log.media("10.1.0.2:5000");
    assert!(passed >= 15, "{passed}");
    plant(&world, 0, Touch::Write);
    packet(&mut world, "10.1.0.1:4000", one.ports.0, (21, 7));
    packet(&mut world, "10.1.0.2:5000", one.ports.1, (1, 8));
    world.run_for(ms(100));
    assert_eq!(faults(&world), (1, 0));
    let ends = ends(&mut world);
    assert_eq!(
        (ends[0].cause, ends[0].by, ends[0].inbound),
        (Cause::Internal, Party::Switch, true)
    );
    let bye = log.last(A, "BYE", "");
    send(&mut world, A, &one.a.reply(&bye, "200 OK", "", &empty()));
    let bye = log.last(crate::by_hand::B, "BYE", "");
    send(&mut world, crate::by_hand::B, &one.b.reply(&bye, "200 OK", "", &empty()));
    crate::by_hand::nothing_left(&mut world);
}

#[test]
fn a_panic_in_a_report_ends_its_leg() {
    let (mut world, log) = world_by_hand(4);
    let one = call(&mut world, &log, "one", ("0", "0"));
    plant(&world, 0, Touch::Read);
    let from = "10.1.0.1:4001".parse().unwrap();
    let to = std::net::SocketAddr::new(world::plane::listener().ip(), one.ports.0 + 1);
    let bytes = vec![0x80, 201, 0, 1, 0, 0, 0, 7];
    world.inject(world::Datagram { from, to, bytes });
    world.run_for(ms(100));
    assert_eq!(faults(&world), (1, 0));
    assert_eq!(ends(&mut world)[0].cause, Cause::Internal);
    assert!(!log.all(A, "BYE", "").is_empty());
}

/// A packet that another shard received, and one of our own making (silence).
#[test]
fn a_panic_while_a_packet_is_made_ends_its_leg() {
    let mut world = bridged(&Setup::new(5), Manner::default(), Manner::default());
    dial(&mut world, 1);
    world.run_for(3 * SECOND);
    let (shard, ..) = crate::common::incoming(&mut world)[0];
    plant(&world, usize::from(shard), Touch::Small);
    world.run_for(SECOND);
    assert_eq!((faults(&world), ends(&mut world).len()), ((1, 0), 2));
    nothing_left(&mut world);

    let mut world = answered(&one_shard(6), Manner::default());
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    plant(&world, 0, Touch::Small);
    world.run_for(SECOND);
    assert_eq!(faults(&world), (1, 0));
    assert_eq!(ends(&mut world)[0].cause, Cause::Internal);
    assert!(world.call(call).is_over());
    nothing_left(&mut world);
}

/// A frame that an answer was being written into is not lost, whatever fails with it in hand.
#[test]
fn a_panic_with_a_frame_in_hand_loses_no_frame() {
    let mut world = bridged(&Setup::new(7), Manner::default(), Manner::default());
    let victim = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    for phone in [victim, world.callee_of(1).unwrap()] {
        world.act(phone, Action::Mute(true));
    }
    world.run_for(ms(200));
    let (shard, incoming, _) = crate::common::incoming(&mut world)[0];
    // The BYE is written, and read again to be kept for its repetition.
    plant(&world, usize::from(shard), Touch::Read);
    command(&mut world, shard, &wire::Command::Hangup { call: incoming, cause: Cause::Normal });
    assert_eq!(faults(&world), (0, 1));
    assert!(!manual(&mut world).told.is_empty());
    world.run_for(2 * SECOND);
    assert_eq!(ends(&mut world).len(), 2);
    nothing_left(&mut world);
}
