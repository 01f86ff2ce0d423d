// SPDX-License-Identifier: GPL-2.0

//! Selects the disk for a read that several disks could serve.
//!
//! A sequential stream stays on its disk. Other reads go to the disk that is expected to answer
//! first: the one with the fewest I/Os in flight, unless it is known to take much longer for each
//! of them than another one (see [`super::pace`]).
//!
//! Nothing here waits or allocates, and CPUs share only what is needed to detect that they follow
//! the same stream. The cost does not depend on the number of sources: if there are many, two are
//! compared.

use super::{
    hash::mix,
    table_line::ReadPolicy, //
};
use crate::env::AtomicU64;

/// How many streams are remembered at once, by CPU.
const STREAMS: usize = 16;

/// Up to this many sources are all compared; of more, two are picked.
const COMPARE_ALL: usize = 4;

/// A disk that takes less than this many times as long as another one counts as equally fast: small
/// differences come and go, and the load evens them out.
const SLOWER: u32 = 4;

/// Reads of at least this many sectors may continue a stream that another CPU began, since the
/// program may have migrated. For smaller ones the check costs too much.
const LARGE_SECTORS: u32 = 128;

/// The unit that is hashed, in sectors (4 KiB): small enough to spread evenly on small volumes,
/// too.
const GRANULE_SHIFT: u32 = 3;

/// The position of a stream's end in its word; the disk is below.
const END_SHIFT: u32 = 16;

/// A disk that could serve the read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Source {
    /// The entry that it belongs to.
    pub entry: usize,
    /// The number of I/Os that it has in flight.
    pub in_flight: u32,
    /// The time that it takes for one I/O; 0 if that is unknown. See [`super::pace::Pace::get`].
    pub pace: u32,
}

impl Source {
    /// Whether it is expected to answer before another one.
    #[inline]
    fn is_before(&self, other: &Source) -> bool {
        let work = |one: &Source, other: &Source| {
            let times = match other.pace.saturating_mul(SLOWER) {
                0 => 1,
                fast if one.pace < fast => 1,
                _ => one.pace.checked_div(other.pace).unwrap_or(1),
            };
            u64::from(one.in_flight)
                .saturating_add(1)
                .saturating_mul(u64::from(times))
        };
        work(self, other) < work(other, self)
    }
}

/// One stream, alone in its cache line.
#[repr(align(64))]
struct Stream(AtomicU64);

/// Selects sources for the reads of one volume.
pub struct Selector {
    policy: ReadPolicy,
    /// Per CPU: the sector after the last read, and the index of its source plus 1; 0 for none.
    streams: [Stream; STREAMS],
}

impl Selector {
    /// A selector that has seen no reads.
    pub const fn new(policy: ReadPolicy) -> Self {
        Self {
            policy,
            streams: [const { Stream(AtomicU64::new(0)) }; STREAMS],
        }
    }

    /// Chooses one of `count` sources for a read of `len` sectors from `sector` on, by `cpu`.
    ///
    /// `source` describes the source with an index below `count`; it returns `None` for one that
    /// must not be used. Returns the entry of the chosen source.
    pub fn choose(
        &self,
        cpu: u32,
        sector: u64,
        len: u32,
        count: usize,
        source: impl Fn(usize) -> Option<Source>,
    ) -> Option<usize> {
        let stream = self
            .streams
            .get(usize::try_from(cpu).map_or(0, |cpu| cpu % STREAMS))?;
        let before = stream.0.load();
        let last = usize::from(low_16_bits(before)).checked_sub(1);

        let (index, entry) = match self.policy {
            ReadPolicy::Adaptive => {
                let continued = match before >> END_SHIFT == stream_end(sector) {
                    true => last,
                    false if len >= LARGE_SECTORS => self.moved_stream(sector),
                    false => None,
                };
                let same = continued
                    .filter(|index| *index < count)
                    .and_then(|index| source(index).map(|s| (index, s.entry)));
                match same {
                    Some(same) => same,
                    None if is_try_out(before) => {
                        let any = |index| source(index).map(|s| Source { pace: 0, ..s });
                        first_to_answer(sector, count, &any)?
                    }
                    None => first_to_answer(sector, count, &source)?,
                }
            }
            ReadPolicy::RoundRobin => {
                let next = last.map_or(0, |last| last.saturating_add(1));
                // The first usable one, starting with the next.
                (0..count).find_map(|step| {
                    let index = next.saturating_add(step).checked_rem(count)?;
                    source(index).map(|s| (index, s.entry))
                })?
            }
        };

        let end = stream_end(sector.saturating_add(u64::from(len)));
        // An index that does not fit is not remembered.
        let number = u16::try_from(index.saturating_add(1)).unwrap_or(0);
        stream.0.store((end << END_SHIFT) | u64::from(number));
        Some(entry)
    }

    /// The index of the source of a stream that another CPU followed up to this sector.
    #[cold]
    fn moved_stream(&self, sector: u64) -> Option<usize> {
        let end = stream_end(sector);
        self.streams
            .iter()
            .map(|stream| stream.0.load())
            .filter(|word| word >> END_SHIFT == end)
            .find_map(|word| usize::from(low_16_bits(word)).checked_sub(1))
    }
}

/// Whether a read may go to a slow disk, to check whether it is still slow: one read in 256 may.
/// `before` is the previous word of the stream, which changes with every read.
fn is_try_out(before: u64) -> bool {
    let [.., top] = mix(before).to_le_bytes();
    top == 0
}

/// A sector as it is kept in a stream's word: 48 bits are enough for 128 PiB; beyond that, streams
/// may be mistaken for each other, which does no harm.
fn stream_end(sector: u64) -> u64 {
    sector & ((1 << (u64::BITS - END_SHIFT)) - 1)
}

fn low_16_bits(word: u64) -> u16 {
    let [a, b, ..] = word.to_le_bytes();
    u16::from_le_bytes([a, b])
}

/// The source that is expected to answer first; among equals the sector decides, so that reads
/// spread evenly.
fn first_to_answer(
    sector: u64,
    count: usize,
    source: &impl Fn(usize) -> Option<Source>,
) -> Option<(usize, usize)> {
    // Mixed, so that neither strides nor neighbours favour a disk.
    let hash = mix(sector >> GRANULE_SHIFT);
    let start = scale(hash, count)?;
    let candidate = |step: usize| {
        let index = start.saturating_add(step).checked_rem(count)?;
        source(index).map(|s| (index, s))
    };
    let best = if count <= COMPARE_ALL {
        first((0..count).filter_map(candidate))
    } else {
        // "The power of two choices": nearly as balanced as comparing all.
        let others = count.checked_sub(1)?;
        let second = scale(hash.rotate_left(32), others)?.saturating_add(1);
        first([0, second].into_iter().filter_map(candidate))
    };
    // Both may be unusable while others are usable.
    best.or_else(|| (0..count).find_map(candidate))
        .map(|(index, source)| (index, source.entry))
}

/// The source that is expected to answer first; of equals, the first one.
fn first(sources: impl Iterator<Item = (usize, Source)>) -> Option<(usize, Source)> {
    sources.reduce(|best, next| match next.1.is_before(&best.1) {
        true => next,
        false => best,
    })
}

/// Maps the upper half of a hash evenly to the numbers below `count`; `None` if there are none.
fn scale(hash: u64, count: usize) -> Option<usize> {
    if count == 0 {
        return None;
    }
    let count = u64::try_from(count).ok()?;
    usize::try_from((hash >> 32).saturating_mul(count) >> 32).ok()
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_select))]
mod tests {
    use super::*;

    fn idle(index: usize) -> Option<Source> {
        Some(Source {
            entry: index * 10,
            in_flight: 0,
            pace: 0,
        })
    }

    fn busy_first(index: usize) -> Option<Source> {
        Some(Source {
            entry: index,
            in_flight: if index == 0 { 5 } else { 1 },
            pace: 0,
        })
    }

    #[test]
    fn no_source() {
        static SELECTOR: Selector = Selector::new(ReadPolicy::Adaptive);
        assert_eq!(SELECTOR.choose(0, 0, 8, 0, idle), None);
        assert_eq!(SELECTOR.choose(0, 0, 8, 3, |_| None), None);
    }

    #[test]
    fn a_stream_stays() {
        static SELECTOR: Selector = Selector::new(ReadPolicy::Adaptive);
        let first = SELECTOR.choose(1, 1000, 8, 4, idle);
        for step in 1..100u64 {
            assert_eq!(SELECTOR.choose(1, 1000 + 8 * step, 8, 4, idle), first);
        }
        // The disk of the stream went away.
        assert!(SELECTOR.choose(1, 1800, 8, 1, idle).is_some());
    }

    #[test]
    fn the_busy_one_is_left_alone() {
        static SELECTOR: Selector = Selector::new(ReadPolicy::Adaptive);
        for i in 0..100u64 {
            let chosen = SELECTOR.choose(0, i * 1_000_003, 8, 3, busy_first);
            assert!(matches!(chosen, Some(1 | 2)));
        }
    }

    #[test]
    fn a_stream_that_moves_stays() {
        static SELECTOR: Selector = Selector::new(ReadPolicy::Adaptive);
        let disk = SELECTOR.choose(1, 0, 256, 4, idle);
        // Others read meanwhile, elsewhere.
        for i in 1..50u64 {
            SELECTOR.choose(2, i << 20, 8, 4, idle);
        }
        for step in 1..100u64 {
            let cpu = u32::try_from(step % 7).unwrap_or(0);
            assert_eq!(SELECTOR.choose(cpu, 256 * step, 256, 4, idle), disk);
        }
    }

    /// Sends reads to random places of three disks, of which the second has the pace `pace`;
    /// returns how many it got.
    fn share_of_second(selector: &Selector, pace: u32) -> u32 {
        let mut got = 0;
        for i in 0..3000u64 {
            let chosen = selector.choose(3, mix(i) >> 20, 8, 3, |index| {
                Some(Source {
                    entry: index,
                    in_flight: 0,
                    pace: if index == 1 { pace } else { 100 },
                })
            });
            got += u32::from(chosen == Some(1));
        }
        got
    }

    #[test]
    fn a_slow_one_is_tried_out_only() {
        static SELECTOR: Selector = Selector::new(ReadPolicy::Adaptive);
        for unlike in [0, 30, 100, 390] {
            assert!(share_of_second(&SELECTOR, unlike) > 900);
        }
        let got = share_of_second(&SELECTOR, 1000);
        assert!((1..30).contains(&got));
        // Now the others are slow.
        assert!(share_of_second(&SELECTOR, 10) > 2900);
    }

    #[test]
    fn a_slow_one_helps_when_others_are_busy() {
        static SELECTOR: Selector = Selector::new(ReadPolicy::Adaptive);
        let chosen = |in_flight: u32| {
            let with = |index: usize| {
                Some(Source {
                    entry: index,
                    in_flight: if index == 0 { in_flight } else { 0 },
                    pace: if index == 0 { 10 } else { 100 },
                })
            };
            (0..100u64)
                .filter(|i| SELECTOR.choose(4, 1 << (i % 40), 8, 2, with) == Some(1))
                .count()
        };
        assert!(chosen(5) < 10);
        assert_eq!(chosen(20), 100);
    }

    #[test]
    fn all_get_their_share() {
        static SELECTOR: Selector = Selector::new(ReadPolicy::Adaptive);
        for count in 1..=6usize {
            // Strides are the worst case of a bad hash.
            for stride in [8u64, 128, 2048, 1 << 20] {
                let mut got = [0u32; 6];
                for i in 0..4000u64 {
                    let chosen = SELECTOR.choose(2, 3 + 2 * i * stride, 8, count, idle);
                    if let Some(n) = chosen.and_then(|entry| got.get_mut(entry / 10)) {
                        *n += 1;
                    }
                }
                let fair = 4000 / count as u32;
                for n in got.iter().take(count) {
                    assert!(n.abs_diff(fair) * 10 <= fair);
                }
            }
        }
    }

    #[test]
    fn in_turn() {
        static SELECTOR: Selector = Selector::new(ReadPolicy::RoundRobin);
        for i in 0..9usize {
            assert_eq!(SELECTOR.choose(0, 0, 8, 3, idle), Some(i % 3 * 10));
        }
        let not_the_second = |i: usize| if i == 1 { None } else { idle(i) };
        for expected in [0, 20, 0, 20] {
            assert_eq!(SELECTOR.choose(0, 0, 8, 3, not_the_second), Some(expected));
        }
    }
}
