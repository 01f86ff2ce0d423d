// SPDX-License-Identifier: GPL-2.0

//! Waits for I/O of an owner, as long as the disks that it was sent to answer.
//!
//! An I/O that a disk does not answer keeps its write locks and stays counted, even long after the
//! disk was given up. The store's thread, which serves all owners, does not wait for it: it
//! postpones what it was about to do for that owner.

use super::{
    slow::Slow,
    write::Range,
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

/// The operation can't be done now, since some disk does not answer; retry later.
pub(super) const LATER: Error = ETIMEDOUT;

/// When to try again, in milliseconds.
pub(super) const LATER_MS: u32 = 50;

/// A disk that has I/O in flight and has answered nothing for this long is not waited for, in
/// milliseconds.
const LONG_MS: i64 = 200;

/// The longest wait for I/O, whichever disk has it; and for write locks, where a retry loses
/// nothing. In milliseconds.
const MOST_MS: i64 = 3000;
const MOST_LOCK_MS: i64 = 500;

/// How long to sleep before checking again whether I/O has ended.
const POLL: Delta = Delta::from_micros(100);

/// How many disks with I/O of an owner are checked: its own, one that is being filled for it, and
/// those that it lost.
const DISKS: usize = 8;

/// What is remembered about an owner's disks.
pub(super) struct Disks {
    /// The entries of disks that it lost, and that may still have I/O of it in flight.
    lost: EntrySet,
    /// The disk that did not answer, as [`code`] says; 0 for none.
    stuck: Word,
}

impl Disks {
    /// No disk was lost.
    pub(super) fn new() -> Self {
        Self {
            lost: EntrySet::new(),
            stuck: Word::new(0),
        }
    }

    /// The owner no longer has this disk.
    pub(super) fn lose(&self, disk: Option<usize>) {
        if let Some(disk) = disk {
            self.lost.insert(disk);
        }
    }
}

/// Encodes a disk and how many answers it has given. Never 0.
fn code(disk: usize, answers: u32) -> u64 {
    let disk = u64::try_from(disk).unwrap_or(u64::MAX).saturating_add(1);
    (disk << u32::BITS) | u64::from(answers)
}

/// One wait for an owner's I/O.
pub(super) struct Patience<'a> {
    store: &'a Store,
    owner: &'a Owner,
    began: Instant<Monotonic>,
    /// The longest it may take, in milliseconds.
    most: i64,
    since: Instant<Monotonic>,
    /// The state of each disk at `since`, as [`code`] says.
    seen: [u64; DISKS],
}

impl<'a> Patience<'a> {
    /// Starts a wait now.
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

    /// Sleeps for a moment; an I/O in flight may end meanwhile.
    ///
    /// # Errors
    ///
    /// [`LATER`] if a disk that may have the I/O does not answer, or if the wait takes too long.
    fn wait(&mut self) -> Result {
        let now = self.look();
        let stuck = self.owner.disks.stuck.get();
        // Expect nothing of a disk that was found stuck before, and has answered nothing since.
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

    /// The answers so far of the disks that have I/O in flight, as [`code`] says; the rest is 0.
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
    /// Takes the write locks of a range, or of the beginning of it; returns for how many sectors.
    /// Sleeps while others hold them.
    ///
    /// # Errors
    ///
    /// [`LATER`] if a disk does not answer, or if the wait takes too long.
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
    /// Waits until all I/O of an owner that read the map before this call has ended. One caller at
    /// a time. Sleeps.
    ///
    /// # Errors
    ///
    /// [`LATER`] if a disk does not answer, or if the wait takes too long. The next wait starts
    /// over.
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
