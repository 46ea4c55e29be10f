//! 183 with a description: the caller hears the far end before it answers, and nothing is billed
//! for it.

use world::{Action, Manner, Setup};

use crate::common::{SECOND, bridged, dial, ends, heard, ms, nothing_left};
use crate::reason::dialled_all;

#[test]
fn early_media_is_heard_and_not_billed() {
    let on_ring = vec![(ms(100), Action::EarlyMedia), (4 * SECOND, Action::Answer)];
    let callee = Manner { on_ring, ..Manner::default() }.with_audio();
    let mut world = bridged(&Setup::new(1), Manner::default().with_audio(), callee);
    let call = dial(&mut world, 1);
    world.run_for(ms(3_500));
    assert_eq!(world.call(call).seen.provisional, [100, 183]);
    assert!(heard(&world, call, 3) >= 150, "{}", heard(&world, call, 3));
    assert!(world.call(call).seen.answered_at.is_none());
    world.run_for(ms(4_500));
    let callee = world.callee_of(1).unwrap();
    assert!(heard(&world, callee, 2) >= 190);
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    let media = world.call(call).media.as_ref().unwrap();
    assert_eq!((media.heard.ssrcs.len(), media.heard.timestamp_backwards), (1, 0));
    let ends = ends(&mut world);
    assert_eq!(ends.len(), 2);
    assert!(ends.iter().all(|end| end.billed_ms.abs_diff(4_000) < 100), "{ends:?}");
    nothing_left(&mut world);
}

/// Of several phones the first one's early media is heard; when that one gives up, the next one's.
#[test]
fn when_early_media_ends_the_next_phones_is_heard() {
    let early = |after: u64, gives_up: u64| {
        let give_up = (ms(gives_up * 1_000), Action::Refuse(486));
        let on_ring = vec![(ms(after), Action::EarlyMedia), give_up];
        Manner { on_ring, ..Manner::default() }.with_audio()
    };
    let callees = vec![early(100, 3), early(600, 30)];
    let mut world = dialled_all(&Setup::new(3), Manner::default().with_audio(), callees);
    let call = dial(&mut world, 1);
    world.run_for(ms(2_500));
    // Both would say the same, and of two at once twice as much would be heard.
    let first = heard(&world, call, 3);
    assert!((100..=120).contains(&first), "the first one's is heard, nobody else's: {first}");
    world.run_for(2 * SECOND);
    let both = heard(&world, call, 3);
    assert!((first + 85..=first + 101).contains(&both), "then the other one's: {first} {both}");
    world.act(call, Action::Cancel);
    world.run_for(SECOND);
    assert!(ends(&mut world).iter().all(|end| end.billed_ms == 0 && end.relay_ms == 0));
    nothing_left(&mut world);
}

#[test]
fn early_media_that_is_then_refused_costs_nothing() {
    let on_ring = vec![(ms(100), Action::EarlyMedia), (2 * SECOND, Action::Refuse(486))];
    let callee = Manner { on_ring, ..Manner::default() }.with_audio();
    let mut world = bridged(&Setup::new(2), Manner::default(), callee);
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    assert!(heard(&world, call, 3) >= 80);
    world.act(call, Action::Cancel);
    world.run_for(SECOND);
    assert_eq!(world.call(call).seen.code, 487);
    assert!(ends(&mut world).iter().all(|end| end.billed_ms == 0 && end.relay_ms == 0));
    nothing_left(&mut world);
}
