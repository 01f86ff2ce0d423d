// SPDX-License-Identifier: GPL-2.0

//! A counter that every CPU can increment without disturbing the others.

use crate::env::AtomicU64;

/// The number of shards; if there are more CPUs, they share.
const SHARDS: usize = 16;

/// A shard of the count, alone in its cache line.
#[repr(align(64))]
struct Shard(AtomicU64);

/// Counts events; counting is cheap, reading adds up the shards.
pub struct Counter {
    shards: [Shard; SHARDS],
}

impl Default for Counter {
    fn default() -> Self {
        Self::new()
    }
}

impl Counter {
    /// Nothing counted yet.
    pub const fn new() -> Self {
        Self {
            shards: [const { Shard(AtomicU64::new(0)) }; SHARDS],
        }
    }

    /// Counts one event that happened on `cpu`.
    pub fn count(&self, cpu: u32) {
        if let Some(shard) = self.shards.get(shard(cpu)) {
            shard.0.add(1);
        }
    }

    /// All events so far; those that happen meanwhile may or may not be included.
    pub fn total(&self) -> u64 {
        self.shards
            .iter()
            .fold(0, |total, shard| shard.0.load().wrapping_add(total))
    }
}

fn shard(cpu: u32) -> usize {
    // The number of shards fits any integer.
    usize::try_from(cpu).map_or(0, |cpu| cpu % SHARDS)
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_counter))]
mod tests {
    use super::*;

    #[test]
    fn adds_up_over_cpus() {
        static COUNTER: Counter = Counter::new();
        for cpu in 0..40 {
            COUNTER.count(cpu);
        }
        COUNTER.count(u32::MAX);
        assert_eq!(COUNTER.total(), 41);
    }
}
