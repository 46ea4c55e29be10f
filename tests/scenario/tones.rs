//! What a lone leg hears: silence, and ringback where it is asked for, at the pace of a clock.

use wire::Command;
use world::{Action, Manner, Setup};

use crate::common::{SECOND, answered, dial, incoming, ms, nothing_left, send};

#[test]
fn silence_then_ringback_then_silence() {
    let mut world = answered(&Setup::new(1), Manner::default().with_audio());
    let call = dial(&mut world, 1);
    world.run_for(2 * SECOND);
    let (shard, id, _) = incoming(&mut world)[0];
    let heard = |world: &world::World| {
        let heard = &world.call(call).media.as_ref().unwrap().heard;
        (heard.silence, heard.tone)
    };
    assert!(heard(&world).0 >= 90 && heard(&world).1 == 0, "{:?}", heard(&world));
    send(&mut world, shard, &Command::Ringback { call: id, on: true });
    world.run_for(ms(1_900));
    let tone = heard(&world).1;
    assert!((90..=95).contains(&tone), "{tone}");
    world.run_for(4 * SECOND);
    assert!(heard(&world).1 <= 101, "two seconds on, four off");
    world.run_for(2 * SECOND);
    assert!(heard(&world).1 >= 180);
    send(&mut world, shard, &Command::Ringback { call: id, on: false });
    world.run_for(ms(100));
    let tone = heard(&world).1;
    world.run_for(5 * SECOND);
    assert_eq!(heard(&world).1, tone);
    let heard = &world.call(call).media.as_ref().unwrap().heard;
    assert_eq!((heard.sequence_jumps, heard.timestamp_backwards, heard.ssrcs.len()), (0, 0, 1));
    // Fifty packets a second, not forty-eight.
    let seconds = world.call(call).seen.answered_at.map(|at| world.now.mono.since(at)).unwrap();
    let expected = seconds.as_millis() / 20;
    assert!(u128::from(heard.packets).abs_diff(expected) <= 3, "{} of {expected}", heard.packets);
    world.act(call, Action::HangUp);
    nothing_left(&mut world);
}
