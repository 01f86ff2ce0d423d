// SPDX-License-Identifier: GPL-2.0

//! Access frequency: I/Os per second as a decaying average.
//!
//! Nothing runs in the background: the average is updated on each query, from the number of I/Os
//! since the last one. The longer ago the last update was, the more weight the rate since then
//! gets; after [`HALF_LIFE_MS`], old and new weigh the same.

/// After this many milliseconds, the past has half the weight.
pub const HALF_LIFE_MS: u64 = 8_000;

/// Queries closer together than this count as one: measuring a rate takes some time.
const MIN_INTERVAL_MS: u64 = 100;

/// Fraction bits of the average, so that low rates are not rounded to zero.
const FRACTION_BITS: u32 = 10;

/// A weight of one; weights are fractions of this.
const ONE: u64 = 1 << 16;

/// A decaying average of a rate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Frequency {
    /// When it was last updated, in ms.
    at_ms: u64,
    /// The count at that time.
    count: u64,
    /// Events per second, with [`FRACTION_BITS`].
    average: u64,
}

impl Frequency {
    /// A rate of zero at the time 0, when nothing had been counted yet.
    pub const fn new() -> Self {
        Self {
            at_ms: 0,
            count: 0,
            average: 0,
        }
    }

    /// Updates the average and returns it in events per second, rounded.
    ///
    /// `now_ms` is a clock that does not go back, `count` the number of events so far.
    pub fn update(&mut self, now_ms: u64, count: u64) -> u64 {
        let elapsed = now_ms.saturating_sub(self.at_ms);
        if elapsed >= MIN_INTERVAL_MS {
            let events = count.wrapping_sub(self.count);
            let rate = events
                .saturating_mul(1000)
                .saturating_mul(1 << FRACTION_BITS)
                .checked_div(elapsed)
                .unwrap_or(0);
            let old = weight_of_past(elapsed);
            let new = ONE.saturating_sub(old);
            self.average = (self.average.saturating_mul(old) / ONE)
                .saturating_add(rate.saturating_mul(new) / ONE);
            self.at_ms = now_ms;
            self.count = count;
        }
        self.average.saturating_add(1 << (FRACTION_BITS - 1)) >> FRACTION_BITS
    }
}

/// 2 to the power of `-elapsed / HALF_LIFE_MS`, as a fraction of [`ONE`]; linear between the
/// powers.
fn weight_of_past(elapsed_ms: u64) -> u64 {
    let halvings = elapsed_ms / HALF_LIFE_MS;
    let rest = elapsed_ms % HALF_LIFE_MS;
    let Some(whole) = u32::try_from(halvings)
        .ok()
        .and_then(|h| ONE.checked_shr(h))
    else {
        return 0;
    };
    // From `whole` down to `whole / 2`.
    whole.saturating_sub((whole / 2).saturating_mul(rest) / HALF_LIFE_MS)
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_freq))]
mod tests {
    use super::*;

    #[test]
    fn weights() {
        assert_eq!(weight_of_past(0), ONE);
        assert_eq!(weight_of_past(HALF_LIFE_MS), ONE / 2);
        assert_eq!(weight_of_past(3 * HALF_LIFE_MS), ONE / 8);
        assert_eq!(weight_of_past(u64::MAX), 0);
    }

    #[test]
    fn comes_near_a_constant_rate() {
        let mut frequency = Frequency::new();
        assert_eq!(frequency.update(0, 0), 0);
        let mut last = 0;
        for second in 1..=100u64 {
            let now = frequency.update(second * 1000, second * 500);
            assert!(now >= last);
            assert!(now <= 500);
            last = now;
        }
        assert!(last >= 499);
    }

    #[test]
    fn forgets() {
        let mut frequency = Frequency::new();
        frequency.update(0, 0);
        let busy = frequency.update(1000, 1_000_000);
        let later = frequency.update(1000 + HALF_LIFE_MS, 1_000_000);
        assert!(busy > 0);
        assert!(later <= busy / 2 + 1);
        assert_eq!(frequency.update(1000 + 100 * HALF_LIFE_MS, 1_000_000), 0);
    }

    #[test]
    fn asking_often_changes_nothing() {
        let mut frequency = Frequency::new();
        frequency.update(0, 0);
        let first = frequency.update(1000, 1000);
        assert_eq!(frequency.update(1001, 1000), first);
        assert_eq!(frequency.update(1001, 1001), first);
    }
}
