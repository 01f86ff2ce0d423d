// SPDX-License-Identifier: GPL-2.0

//! Waits until every I/O has ended that may still rely on the state before a change.
//!
//! An I/O enters before it reads the block map, and leaves when it has ended. To make sure that
//! nobody acts on the old state, whoever changed the map waits for two turns. This works like
//! sleepable RCU: one turn is not enough, since an I/O may read the phase before a turn and count
//! itself after it.

use crate::env::Word;
use core::num::NonZero;

/// The maximum number of shards of a count; if there are more CPUs, they share.
const SHARDS: usize = if cfg!(loom) { 2 } else { 16 };
/// The same, less 1.
const MOST: u32 = if cfg!(loom) { 1 } else { 15 };

/// A shard of the counts, alone in its cache line.
#[repr(align(64))]
struct Shard([Word; 2]);

/// What an I/O that entered has to leave with: twice the shard, plus the phase, plus 1. It is kept
/// with each I/O, so it is one byte, with a niche for `None`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ticket(NonZero<u8>);

impl Ticket {
    fn new(shard: u8, phase: bool) -> Self {
        let number = shard.saturating_mul(2).saturating_add(u8::from(phase));
        Self(NonZero::<u8>::MIN.saturating_add(number))
    }

    /// The shard, and the phase.
    fn place(self) -> (usize, usize) {
        let number = usize::from(self.0.get().saturating_sub(1));
        (number >> 1, number & 1)
    }
}

/// Counts the I/Os that have entered but not left.
pub struct Grace {
    phase: Word,
    /// The number of shards in use, less 1: a power of two, less 1.
    mask: u32,
    shards: [Shard; SHARDS],
}

/// The number of shards in use with this many CPUs, less 1: no more than needed, to keep checks of
/// all shards cheap.
const fn mask(cpus: u32) -> u32 {
    let mut mask: u32 = 0;
    while mask < MOST && mask.saturating_add(1) < cpus {
        mask = mask.saturating_mul(2).saturating_add(1);
    }
    mask
}

impl Grace {
    /// Nobody has entered. `cpus` is the number of CPUs on which I/Os are expected.
    #[cfg(not(loom))]
    pub const fn new(cpus: u32) -> Self {
        Self {
            phase: Word::new(0),
            mask: mask(cpus),
            shards: [const { Shard([const { Word::new(0) }; 2]) }; SHARDS],
        }
    }

    /// As the other `new`, in a form that the model checker can track.
    #[cfg(loom)]
    pub fn new(cpus: u32) -> Self {
        Self {
            phase: Word::new(0),
            mask: mask(cpus),
            shards: core::array::from_fn(|_| Shard(core::array::from_fn(|_| Word::new(0)))),
        }
    }

    /// An I/O begins on `cpu`. It may read the map only after this.
    pub fn enter(&self, cpu: u32) -> Ticket {
        // The second mask lets the compiler omit the code for larger numbers.
        let shard = u8::try_from(cpu & self.mask & MOST).unwrap_or(0);
        let ticket = Ticket::new(shard, self.phase.get() & 1 == 1);
        if let Some(count) = self.count(ticket) {
            count.add(1);
        }
        ticket
    }

    /// The I/O has ended, on any CPU.
    pub fn leave(&self, ticket: Ticket) {
        if let Some(count) = self.count(ticket) {
            // Wraps around: subtracts one.
            count.add(u64::MAX);
        }
    }

    /// Counts I/Os that enter from now on separately. One caller at a time, who then waits until
    /// [`Grace::is_over`], and does both a second time. A caller that gives up in between leaves
    /// the next caller more to wait for, not less.
    pub fn turn(&self) {
        self.phase.add(1);
    }

    /// Whether all that entered before the last turn have left.
    pub fn is_over(&self) -> bool {
        let before = usize::from(self.phase.get() & 1 == 0);
        self.used()
            .filter_map(|shard| shard.0.get(before))
            .all(|count| count.get() == 0)
    }

    /// Whether all that entered have left.
    pub fn is_idle(&self) -> bool {
        self.used()
            .flat_map(|shard| shard.0.iter())
            .all(|count| count.get() == 0)
    }

    fn used(&self) -> impl Iterator<Item = &Shard> {
        let used = usize::try_from(self.mask).map_or(SHARDS, |mask| mask.saturating_add(1));
        self.shards.iter().take(used)
    }

    fn count(&self, ticket: Ticket) -> Option<&Word> {
        let (shard, phase) = ticket.place();
        self.shards.get(shard)?.0.get(phase)
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_grace))]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_was_given_up_changes_nothing() {
        for given_up in 0..4 {
            let grace = Grace::new(64);
            let early = grace.enter(3);
            for _ in 0..given_up {
                grace.turn();
            }
            let late = grace.enter(3);
            let mut was_over = true;
            for _ in 0..2 {
                grace.turn();
                was_over &= grace.is_over();
            }
            assert!(!was_over);
            grace.leave(late);
            grace.leave(early);
            assert!(grace.is_idle());
        }
    }

    #[test]
    fn waits_for_those_before() {
        static GRACE: Grace = Grace::new(64);
        let early = GRACE.enter(3);
        GRACE.turn();
        let late = GRACE.enter(3);
        assert!(!GRACE.is_over());
        GRACE.leave(early);
        assert!(GRACE.is_over());
        GRACE.turn();
        assert!(!GRACE.is_over());
        GRACE.leave(late);
        assert!(GRACE.is_over());
    }

    /// Few CPUs have few shards, and any CPU number maps to one.
    #[test]
    fn parts() {
        static ONE: Grace = Grace::new(1);
        static THREE: Grace = Grace::new(3);
        assert_eq!((ONE.used().count(), THREE.used().count()), (1, 4));
        for grace in [&ONE, &THREE] {
            for cpu in 0..40 {
                let ticket = grace.enter(cpu);
                assert!(!grace.is_idle());
                grace.leave(ticket);
                assert!(grace.is_idle());
            }
        }
    }

    #[test]
    fn an_io_may_end_on_another_cpu() {
        static GRACE: Grace = Grace::new(64);
        let (a, b) = (GRACE.enter(40), GRACE.enter(u32::MAX));
        GRACE.turn();
        GRACE.leave(b);
        assert!(!GRACE.is_over());
        GRACE.leave(a);
        assert!(GRACE.is_over());
    }
}
