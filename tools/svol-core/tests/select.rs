// SPDX-License-Identifier: GPL-2.0

//! Source selection and access frequency, over many reads.

use proptest::prelude::*;
use svol_core::svol_core::{
    freq::Frequency,
    select::{Selector, Source},
    table_line::ReadPolicy,
};

fn idle(index: usize) -> Option<Source> {
    Some(Source {
        entry: index,
        in_flight: 0,
        pace: 0,
    })
}

/// How many reads each of `count` sources gets.
fn spread(selector: &Selector, count: usize, sectors: impl Iterator<Item = u64>) -> Vec<u32> {
    let mut reads = vec![0; count];
    for sector in sectors {
        reads[selector.choose(0, sector, 8, count, idle).unwrap()] += 1;
    }
    reads
}

/// Whether all counts are within 10 % of their mean.
fn is_even(reads: &[u32]) -> bool {
    let mean = reads.iter().sum::<u32>() / reads.len() as u32;
    reads.iter().all(|n| n.abs_diff(mean) * 10 <= mean)
}

fn any_policy() -> impl Strategy<Value = ReadPolicy> {
    prop::sample::select(ReadPolicy::ALL)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Random reads of 4 KiB, on 256 MiB or more.
    #[test]
    fn random_reads_spread_evenly(
        policy in any_policy(),
        count in 1..=4usize,
        mib in 256..4096u64,
        seed in any::<u64>(),
    ) {
        let selector = Selector::new(policy);
        let mut random = seed;
        let sectors = std::iter::repeat_with(|| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) % (mib * 256) * 8
        });
        let reads = spread(&selector, count, sectors.take(20_000));
        prop_assert!(is_even(&reads), "{:?}", reads);
    }

    /// Reads at equal distances of 64 KiB or more.
    #[test]
    fn strides_spread_evenly(
        policy in any_policy(),
        count in 1..=4usize,
        granules in 1..10_000u64,
        start in 0..1_000_000u64,
    ) {
        let selector = Selector::new(policy);
        let sectors = (0..20_000).map(|n| start + n * granules * 128);
        let reads = spread(&selector, count, sectors);
        prop_assert!(is_even(&reads), "{:?}", reads);
    }

    #[test]
    fn streams_stay_where_they_are(
        start in any::<u32>(),
        count in 1..=8usize,
        lens in prop::collection::vec(1..2048u32, 1..50),
    ) {
        let selector = Selector::new(ReadPolicy::Adaptive);
        let mut sector = u64::from(start);
        let mut chosen = Vec::new();
        for len in lens {
            chosen.push(selector.choose(3, sector, len, count, idle));
            sector += u64::from(len);
        }
        prop_assert!(chosen[0].is_some());
        prop_assert!(chosen.iter().all(|entry| *entry == chosen[0]));
    }

    /// Whoever can be used is found, and nobody else.
    #[test]
    fn only_what_can_be_used(
        policy in any_policy(),
        usable in prop::collection::vec(any::<Option<u32>>(), 0..10),
        sectors in prop::collection::vec(any::<u64>(), 1..20),
    ) {
        let selector = Selector::new(policy);
        let source = |index: usize| {
            let in_flight = usable[index]?;
            Some(Source { entry: index, in_flight, pace: 0 })
        };
        for sector in sectors {
            match selector.choose(0, sector, 8, usable.len(), source) {
                Some(entry) => prop_assert!(usable[entry].is_some()),
                None => prop_assert!(usable.iter().all(Option::is_none)),
            }
        }
    }

    /// The average stays between the lowest and the highest rate that there was.
    #[test]
    fn the_average_is_an_average(
        steps in prop::collection::vec((100..100_000u64, 0..1_000_000u64), 1..50),
    ) {
        let mut frequency = Frequency::new();
        let (mut now, mut count) = (0, 0);
        frequency.update(now, count);
        let mut highest = 0;
        for (ms, events) in steps {
            now += ms;
            count += events;
            highest = highest.max((events * 1000).div_ceil(ms));
            prop_assert!(frequency.update(now, count) <= highest);
        }
    }

    #[test]
    fn a_constant_rate_is_found(rate in 0..1_000_000u64, seconds in 1..60u64) {
        let mut frequency = Frequency::new();
        let mut now = 0;
        frequency.update(0, 0);
        let mut last = 0;
        while now < 200 {
            now += seconds;
            last = frequency.update(now * 1000, now * rate);
        }
        prop_assert!(last.abs_diff(rate) <= 1 + rate / 100, "{} {}", last, rate);
    }

    /// No clock and no count makes it panic.
    #[test]
    fn odd_clocks(steps in prop::collection::vec(any::<(u64, u64)>(), 1..20)) {
        let mut frequency = Frequency::new();
        for (now, count) in steps {
            frequency.update(now, count);
        }
    }
}
