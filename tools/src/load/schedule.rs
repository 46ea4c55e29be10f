//! When calls are due, by the clock alone: what is tested cannot slow down what it is asked
//! (coordinated omission). A call that had to wait is measured from when it was due.

use crate::clock::S;

/// The moments of an open-loop run: a constant rate, behind a ramp that grows from 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Calls per second; 0 for none: each is due at once.
    rate: f64,
    /// Nanoseconds.
    ramp: u64,
}

impl Schedule {
    pub(crate) fn new(rate: f64, ramp: u64) -> Self {
        Self { rate, ramp }
    }

    /// Nanoseconds from the start of the run until this call (from 0 on) is due.
    #[expect(clippy::cast_precision_loss, reason = "microseconds matter, not more")]
    pub(crate) fn due(&self, serial: u64) -> u64 {
        if self.rate <= 0.0 {
            return 0;
        }
        let (serial, ramp) = (serial as f64, self.ramp as f64 / S as f64);
        // In the ramp the rate is rate * t / ramp, so that rate * t^2 / (2 * ramp) calls are due.
        let in_ramp = self.rate * ramp / 2.0;
        let seconds = if serial < in_ramp {
            (2.0 * ramp * serial / self.rate).sqrt()
        } else {
            ramp + (serial - in_ramp) / self.rate
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
        let nanos = (seconds * S as f64) as u64;
        nanos
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MS;

    #[test]
    fn calls_are_due_by_the_clock() {
        let steady = Schedule::new(50.0, 0);
        let due: Vec<u64> = (0..4).map(|serial| steady.due(serial) / MS).collect();
        assert_eq!(due, [0, 20, 40, 60]);
        assert_eq!(steady.due(50 * 3_600), 3_600 * S);
        assert_eq!(Schedule::new(0.0, 0).due(7), 0);
    }

    #[test]
    fn a_ramp_grows_from_nothing_and_goes_over_into_the_rate() {
        let ramp = Schedule::new(100.0, 10 * S);
        let by = |second: u64| (0..2_000).filter(|serial| ramp.due(*serial) < second * S).count();
        assert_eq!([1, 2, 10, 11, 12].map(by), [5, 20, 500, 600, 700]);
    }
}
