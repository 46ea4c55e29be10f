//! The director's own randomness: xoshiro256** (Blackman and Vigna), seeded at construction, so
//! that a simulation repeats. For ids, idempotency tokens and jitter; secrets are made outside.

use std::time::Duration;

#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// A seed of zeros alone would stay zero for ever; it is replaced.
    pub(crate) fn new(seed: [u64; 4]) -> Self {
        let mut rng = Self { state: if seed == [0; 4] { [1, 2, 3, 4] } else { seed } };
        for _ in 0..16 {
            rng.next();
        }
        rng
    }

    pub(crate) fn next(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    pub(crate) fn wide(&mut self) -> u128 {
        let wide = u128::from(self.next()) << 64 | u128::from(self.next());
        wide.max(1)
    }

    /// 32 hex digits.
    pub(crate) fn token(&mut self) -> String {
        format!("{:032x}", self.wide())
    }

    /// Between a half and one and a half of `span`.
    pub(crate) fn jitter(&mut self, span: Duration) -> Duration {
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX / 2);
        Duration::from_millis(millis / 2 + self.next() % millis.max(1))
    }
}
