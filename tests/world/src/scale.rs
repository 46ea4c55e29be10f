//! How big a story is, and what there is in it.

use std::time::Duration;

use crate::directed::Canary;
use crate::plant::Plant;

/// How big and how bad.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub calls: u32,
    /// Calls begin within this time.
    pub within: Duration,
    pub canary: Canary,
    pub plant: Option<Plant>,
    /// Everybody answers and talks, nobody dies: for what happens inside of calls.
    pub talks: bool,
    /// Strangers flood the switch.
    pub strangers: bool,
    /// Sources that nobody knows call a number that anybody may call.
    pub guests: bool,
    /// Nothing is lost, nothing comes late.
    pub calm: bool,
    /// The switch has faults of its own: what each is about ends.
    pub faults: bool,
    /// The machine's clock is set.
    pub clock: bool,
    /// Phones register, and their users are called.
    pub registers: bool,
    /// Trunks: calls that follow static routes.
    pub trunks: bool,
    /// Calls change hands.
    pub transfers: bool,
    /// Registered phones forward and decline their calls, and have several flows.
    pub forwards: bool,
}

impl Scale {
    /// Three to eight calls.
    #[must_use]
    pub fn small(seed: u64) -> Self {
        let calls = 3 + u32::try_from(seed % 6).unwrap_or(0);
        Self {
            calls,
            within: Duration::from_secs(10),
            canary: Canary::None,
            plant: None,
            talks: false,
            strangers: seed % 6 == 3,
            guests: seed % 5 == 2,
            calm: false,
            faults: false,
            clock: false,
            registers: false,
            trunks: false,
            transfers: false,
            forwards: false,
        }
    }

    /// The same, and all of them are about talking.
    #[must_use]
    pub fn talking(seed: u64) -> Self {
        Self { talks: true, ..Self::small(seed) }
    }

    /// A hundred calls.
    #[must_use]
    pub fn full() -> Self {
        Self {
            calls: 100,
            within: Duration::from_secs(30),
            strangers: true,
            guests: true,
            ..Self::small(0)
        }
    }

    /// All of them talk, in clear weather, and strangers are there or not.
    #[must_use]
    pub fn calm(seed: u64, strangers: bool) -> Self {
        Self { strangers, guests: false, calm: true, ..Self::talking(seed) }
    }

    /// A small one in which the dataplane has faults of its own.
    #[must_use]
    pub fn faulty(seed: u64) -> Self {
        Self { faults: true, strangers: false, guests: false, ..Self::small(seed) }
    }

    /// A small one while whose calls stand the clock is set.
    #[must_use]
    pub fn clock(seed: u64) -> Self {
        Self { clock: true, strangers: false, guests: false, ..Self::small(seed) }
    }

    /// A small one in which phones register and their users are called.
    #[must_use]
    pub fn registered(seed: u64) -> Self {
        Self { registers: true, ..Self::small(seed) }
    }

    /// A small one with calls by trunks beside the others; in every third all of them talk.
    #[must_use]
    pub fn trunks(seed: u64) -> Self {
        Self { trunks: true, talks: seed.is_multiple_of(3), ..Self::small(seed) }
    }

    /// A small one in which calls are picked up and referred beside the others; in every second
    /// one nothing is lost, and nobody dies.
    #[must_use]
    pub fn transfers(seed: u64) -> Self {
        let calm = seed.is_multiple_of(2);
        Self { transfers: true, talks: calm, calm, ..Self::small(seed) }
    }

    /// A small one in which registered phones forward and decline; in every second one nobody dies.
    #[must_use]
    pub fn forwards(seed: u64) -> Self {
        let calm = seed.is_multiple_of(2);
        Self { forwards: true, talks: calm, calm, ..Self::registered(seed) }
    }

    /// The same with guests.
    #[must_use]
    pub fn open(seed: u64, strangers: bool) -> Self {
        Self { guests: true, ..Self::calm(seed, strangers) }
    }
}
