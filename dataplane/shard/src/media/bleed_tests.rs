//! Whatever legs do in whatever order, a packet is heard where both halves of a join say so and
//! nowhere else: against a model of who listens to whom.

use core::time::Duration;
use std::collections::HashMap;

use base::{LegId, Prng};

use super::Play;
use super::bed::*;

/// What the model knows of a leg.
#[derive(Clone, Copy)]
struct Half {
    listener: LegId,
    source: LegId,
}

const SLOTS: u32 = 4;
const ALONE: Half = Half { listener: LegId::NONE, source: LegId::NONE };

struct Model {
    bed: Bed,
    legs: HashMap<LegId, Half>,
    /// The newest leg of each slot, standing or not, and all before them.
    ids: Vec<LegId>,
    seq: u16,
}

impl Model {
    fn new() -> Self {
        Self { bed: Bed::new(), legs: HashMap::new(), ids: vec![LegId::NONE], seq: 0 }
    }

    /// Any leg that there ever was.
    fn any(&self, random: &mut Prng) -> LegId {
        let at = usize::try_from(random.below(self.ids.len() as u64)).unwrap();
        // The newest are the interesting ones.
        let newest = self.ids.len().saturating_sub(6);
        self.ids[if random.chance(3, 4) { at.max(newest) } else { at }]
    }

    fn step(&mut self, random: &mut Prng) {
        let (one, other) = (self.any(random), self.any(random));
        match random.below(16) {
            0 => self.open(random),
            1 => self.close(one),
            2 => {
                self.bed.with(|media, _| media.disconnect(one));
                self.change(one, |half| *half = ALONE);
            }
            3 => {
                self.bed.with(|media, cx| media.play(cx, one, Play::Silence));
                self.change(one, |half| half.source = LegId::NONE);
            }
            4 | 5 => self.connect(one, other),
            6 | 7 => {
                self.connect(one, other);
                self.connect(other, one);
            }
            _ => self.speak(one),
        }
    }

    fn open(&mut self, random: &mut Prng) {
        let index = u32::try_from(random.below(u64::from(SLOTS))).unwrap();
        let generation = u32::try_from(self.ids.len()).unwrap();
        let leg = LegId::new(0, generation, index);
        let host = home(leg).ip();
        self.legs.retain(|standing, _| standing.index() != index);
        // A pair rests for a while; a leg that gets none is no leg.
        if self.bed.with(|media, cx| media.open(cx, leg, 0, host)) {
            self.bed.describe(leg, plan_to(home(leg), &[(ULAW, 0)]), true);
            self.legs.insert(leg, ALONE);
        }
        self.ids.push(leg);
    }

    fn close(&mut self, leg: LegId) {
        self.bed.with(|media, cx| media.close(cx, leg));
        self.legs.remove(&leg);
    }

    fn connect(&mut self, leg: LegId, other: LegId) {
        let theirs = plan(&[(ULAW, 0)]);
        self.bed.with(|media, _| media.connect(leg, other, &theirs));
        self.change(leg, |half| *half = Half { listener: other, source: other });
    }

    fn change(&mut self, leg: LegId, change: impl FnOnce(&mut Half)) {
        if let Some(half) = self.legs.get_mut(&leg) {
            change(half);
        }
    }

    fn speak(&mut self, leg: LegId) {
        let Some(half) = self.legs.get(&leg).copied() else { return };
        self.seq = self.seq.wrapping_add(1);
        let sent = self.bed.hear(leg, &packet(0, self.seq, leg.generation(), &[1; 8]));
        let listener = self.legs.get(&half.listener);
        let is_heard = listener.is_some_and(|listener| listener.source == leg);
        let expected: Vec<_> = is_heard.then(|| home(half.listener)).into_iter().collect();
        let heard: Vec<_> = sent.iter().map(|sent| sent.to).collect();
        assert_eq!(heard, expected, "{leg:?} speaks");
    }
}

#[test]
fn a_packet_is_heard_where_both_halves_of_a_join_say_so_and_nowhere_else() {
    let mut heard = 0;
    for seed in 0..40 {
        let (mut model, mut random) = (Model::new(), Prng::new(seed));
        for _ in 0..3_000 {
            model.step(&mut random);
            if random.chance(1, 10) {
                // Used ports have rested.
                model.bed.now = model.bed.now.later(Duration::from_millis(2_100));
                model.bed.pass(Duration::from_millis(20));
            }
        }
        model.bed.sent();
        assert_eq!(model.bed.frames_out(), 0);
        assert_eq!(model.bed.media.used(), model.legs.len());
        heard += model.bed.counted(wire::counter::Counter::RtpRelayed);
    }
    assert!(heard > 1_000, "{heard}: the model tries too little");
}
