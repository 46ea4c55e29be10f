//! A seeded PRNG (xoshiro256**): the same seed gives the same run. Not for secrets: keys come from
//! the system at boot.

/// xoshiro256** by Blackman and Vigna, seeded by SplitMix64.
#[derive(Clone, Debug)]
pub struct Prng([u64; 4]);

impl Prng {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        Self(core::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ z >> 31
        }))
    }

    pub fn u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= t;
        *d = d.rotate_left(45);
        result
    }

    pub fn u32(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.u64().to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    pub fn u128(&mut self) -> u128 {
        u128::from(self.u64()) << 64 | u128::from(self.u64())
    }

    /// Below `end`; 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // Multiply-shift: the bias is below end / 2^64.
        let wide = u128::from(self.u64()) * u128::from(end);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// True `numerator` times in `denominator`.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_run_and_below_stays_below() {
        let (mut a, mut b) = (Prng::new(7), Prng::new(7));
        for end in 1..2_000 {
            let value = a.below(end);
            assert_eq!(value, b.below(end));
            assert!(value < end);
        }
        assert_ne!(Prng::new(1).u64(), Prng::new(2).u64());
    }
}
