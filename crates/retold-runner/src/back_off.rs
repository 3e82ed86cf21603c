//! Waits that grow with each consecutive failure, with a random part so that many tasks do not act
//! at once.

use std::time::Duration;

use crate::options::Range;

/// The waits between repeated attempts.
#[derive(Debug)]
pub(crate) struct BackOff {
    range: Range,
    failures: u32,
}

impl BackOff {
    pub(crate) fn new(range: Range) -> Self {
        Self { range, failures: 0 }
    }

    /// Returns how long to wait after a further failure.
    pub(crate) fn next(&mut self) -> Duration {
        let whole = self.whole();
        self.failures = self.failures.saturating_add(1);
        jittered(whole)
    }

    /// Returns the last wait again, with a new random part.
    pub(crate) fn again(&self) -> Duration {
        jittered(self.whole())
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    fn whole(&self) -> Duration {
        let factor = 2_u32.saturating_pow(self.failures.min(30));
        self.range.min.saturating_mul(factor).min(self.range.max)
    }
}

/// Returns a random duration between half of `whole` and all of it.
fn jittered(whole: Duration) -> Duration {
    whole.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_bound() {
        let (min, max) = (Duration::from_millis(10), Duration::from_millis(70));
        let mut back_off = BackOff::new(Range { min, max });
        for expected in [10, 20, 40, 70, 70] {
            let wait = back_off.next();
            let expected = Duration::from_millis(expected);
            assert!(expected / 2 <= wait && wait <= expected, "{wait:?}");
        }
        for _ in 0..100 {
            assert!(back_off.next() <= max);
        }
        back_off.reset();
        assert!(back_off.next() <= min);
    }
}
