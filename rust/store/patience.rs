// SPDX-License-Identifier: GPL-2.0

//! Waiting for I/O of an owner, as long as the disks that have it answer.
//!
//! An I/O that a disk does not answer keeps its write locks, and stays counted, also when the disk was given
//! up long since. The store's thread, which serves all owners, does not wait for it: what it was about to do for
//! that owner it does later.

use super::{
    slow::{
        Range,
        Slow, //
    },
    Owner,
    Store, //
};
use crate::{
    env::Word,
    svol_core::entry_set::EntrySet, //
};
use kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// What came to nothing for now, since some disk does not answer.
pub(super) const LATER: Error = ETIMEDOUT;

/// When to try again, in milliseconds.
pub(super) const LATER_MS: u32 = 50;

/// A disk that has I/O and has answered nothing for so long is not waited for, in milliseconds.
const LONG_MS: i64 = 200;

/// Whoever has it, I/O is waited for so long at most; and write locks, which nothing is lost by asking for
/// again. In milliseconds.
const MOST_MS: i64 = 3000;
const MOST_LOCK_MS: i64 = 500;

/// How long to sleep before looking again whether I/O has ended.
const POLL: Delta = Delta::from_micros(100);

/// So many disks that have I/O of an owner are looked at: its own one, one that is filled for it, and those
/// that it lost.
const DISKS: usize = 8;

/// What is remembered of an owner's disks.
pub(super) struct Disks {
    /// The entries of those that it lost, and that may still have I/O of it.
    lost: EntrySet,
    /// The disk that did not answer, as [`code`] says; 0 for none.
    stuck: Word,
}

impl Disks {
    /// None was lost.
    pub(super) fn new() -> Self {
        Self {
            lost: EntrySet::new(),
            stuck: Word::new(0),
        }
    }

    /// It has this one no more.
    pub(super) fn lose(&self, disk: Option<usize>) {
        if let Some(disk) = disk {
            self.lost.insert(disk);
        }
    }
}

/// A disk that has given so many answers. Never 0.
fn code(disk: usize, answers: u32) -> u64 {
    let disk = u64::try_from(disk).unwrap_or(u64::MAX).saturating_add(1);
    (disk << u32::BITS) | u64::from(answers)
}

/// A wait for an owner's I/O.
pub(super) struct Patience<'a> {
    store: &'a Store,
    owner: &'a Owner,
    began: Instant<Monotonic>,
    /// It takes so many milliseconds at most.
    most: i64,
    since: Instant<Monotonic>,
    /// What each disk was like then.
    seen: [u64; DISKS],
}

impl<'a> Patience<'a> {
    /// It begins now.
    fn new(store: &'a Store, owner: &'a Owner, most: i64) -> Self {
        let now = Instant::<Monotonic>::now();
        let mut patience = Self {
            store,
            owner,
            began: now,
            most,
            since: now,
            seen: [0; DISKS],
        };
        patience.seen = patience.look();
        patience
    }

    /// Sleeps a moment, until an I/O that is under way may have ended.
    ///
    /// # Errors
    ///
    /// [`LATER`] if a disk that may have it does not answer, or it takes too long.
    fn wait(&mut self) -> Result {
        let now = self.look();
        let stuck = self.owner.disks.stuck.get();
        // Of one that was found out before, and has answered nothing since, nothing is expected.
        if now.iter().any(|disk| *disk != 0 && *disk == stuck) {
            return Err(LATER);
        }
        if self.began.elapsed().as_millis() >= self.most {
            return Err(LATER);
        }
        if self.since.elapsed().as_millis() >= LONG_MS {
            let is_as_before = |disk: &&u64| **disk != 0 && self.seen.contains(*disk);
            if let Some(disk) = now.iter().find(is_as_before) {
                self.owner.disks.stuck.set(*disk);
                return Err(LATER);
            }
            self.since = Instant::<Monotonic>::now();
            self.seen = now;
        }
        fsleep(POLL);
        Ok(())
    }

    /// What the disks that have I/O have answered so far, as [`code`] says; the rest is 0.
    fn look(&self) -> [u64; DISKS] {
        let owner = self.owner;
        let moving = owner.moving.target().map(|(target, _)| target);
        let own = [owner.disk(), moving].into_iter().flatten();
        let mut codes = [0; DISKS];
        let mut places = codes.iter_mut();
        for (entry, is_lost) in Iterator::chain(
            own.map(|entry| (entry, false)),
            owner.disks.lost.iter().map(|entry| (entry, true)),
        ) {
            match self.store.members.disk(entry).map(|disk| disk.progress()) {
                Some((0, _)) | None if is_lost => owner.disks.lost.remove(entry),
                Some((0, _)) | None => (),
                Some((_, answers)) => {
                    if let Some(place) = places.next() {
                        *place = code(entry, answers);
                    }
                }
            }
        }
        codes
    }
}

impl Slow<'_> {
    /// Takes the write locks of a stretch, or of the beginning of it; returns of how many sectors. Sleeps
    /// while others have them.
    ///
    /// # Errors
    ///
    /// [`LATER`] if a disk does not answer, or it takes too long.
    pub(super) fn lock(&self, range: Range) -> Result<u32> {
        let mut patience = None;
        loop {
            match self.owner.locks.take(range.sector, range.sectors) {
                0 => patience
                    .get_or_insert_with(|| Patience::new(self.store, self.owner, MOST_LOCK_MS))
                    .wait()?,
                sectors => return Ok(sectors),
            }
        }
    }
}

impl Store {
    /// Waits until all of an owner's I/O has ended that looked at the map before. For one caller at a
    /// time. Sleeps.
    ///
    /// # Errors
    ///
    /// [`LATER`] if a disk does not answer, or it takes too long. The next wait begins anew.
    pub(super) fn wait_for_ios(&self, owner: &Owner) -> Result {
        let mut patience = Patience::new(self, owner, MOST_MS);
        // Twice: see `Grace`.
        for _ in 0..2 {
            owner.grace.turn();
            while !owner.grace.is_over() {
                patience.wait()?;
            }
        }
        Ok(())
    }
}
