//! A call by a static route, without any application: set up, heard both ways, ended and billed.

use wire::event::Cause;
use world::{Action, Manner, Setup};

use crate::common::{SECOND, dial, ends, heard, ms, nothing_left, routed, to, told};

#[test]
fn a_call_is_set_up_heard_and_billed() {
    let caller = Manner::default().after_answer(10 * SECOND, Action::HangUp);
    let mut world =
        routed(&Setup::new(1), caller.with_audio(), vec![Manner::default().with_audio()]);
    let call = dial(&mut world, 1);
    world.run_for(20 * SECOND);
    let callee = world.callee_of(1).expect("the callee rang");
    let (a, b) = (world.call(call), world.call(callee));
    assert_eq!(a.seen.provisional, [100, 180]);
    assert_eq!((a.seen.code, b.seen.code), (200, 200));
    assert!(a.is_over() && b.is_over());
    assert_eq!((b.seen.acks, b.seen.byes), (1, 1));
    assert_eq!(a.seen.answers, [("BYE".to_owned(), 200)]);
    assert!(heard(&world, call, 3) >= 490, "{}", heard(&world, call, 3));
    assert!(heard(&world, callee, 2) >= 490);
    for at in [call, callee] {
        let heard = &world.call(at).media.as_ref().unwrap().heard;
        assert_eq!((heard.damaged, heard.foreign, heard.bad_payload_type), (0, 0, 0));
        assert_eq!((heard.ssrcs.len(), heard.sequence_jumps, heard.timestamp_backwards), (1, 0, 0));
        assert!(heard.sender_reports > 0, "RTCP came");
    }
    let ends = ends(&mut world);
    assert_eq!(ends.len(), 2);
    for end in &ends {
        assert_eq!((end.cause, end.code, end.account), (Cause::Normal, 200, 7));
        assert!(end.billed_ms.abs_diff(10_000) < 60, "{end:?}");
        assert!(end.relay_ms.abs_diff(10_000) < 60, "{end:?}");
        assert!(end.relayed >= 490, "{end:?}");
    }
    assert_eq!(ends.iter().filter(|end| end.inbound).count(), 1);
    assert_eq!(told(&mut world).iter().filter(|name| **name == "incoming").count(), 0);
    nothing_left(&mut world);
}

#[test]
fn calls_of_every_shard_go_through() {
    let caller = Manner::default().after_answer(3 * SECOND, Action::HangUp);
    let mut world = routed(&Setup::new(2), caller, vec![Manner::default()]);
    let mut calls = Vec::new();
    for group in 0..9 {
        let shard = u8::try_from(group % 3).unwrap();
        let call_id = world.call_id_for(shard);
        calls.push(world.dial(0, &world::Dial { call_id, ..to(group) }));
        world.run_for(ms(100));
    }
    world.run_for(10 * SECOND);
    for (group, call) in (0..).zip(calls) {
        let callee = world.callee_of(group).expect("rang");
        assert!(heard(&world, call, group * 2 + 1) >= 2);
        assert!(heard(&world, callee, group * 2) >= 2);
    }
    let mut shards: Vec<u8> = ends(&mut world).iter().map(|end| end.shard).collect();
    shards.sort_unstable();
    shards.dedup();
    assert_eq!(shards, [0, 1, 2]);
    nothing_left(&mut world);
}
