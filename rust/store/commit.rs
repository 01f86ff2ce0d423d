// SPDX-License-Identifier: GPL-2.0

//! Commits: how entries of the block maps get to disk.

use super::{
    fail,
    patience::LATER,
    Owner,
    Store,
    COMMIT_MS, //
};
use crate::{
    bound::{
        Bound,
        InFlight, //
    },
    dm::{
        current_cpu,
        sort_by_key,
        Op,
        Parked,
        ParkedList,
        Status, //
        Worker,
    },
    log,
    overlay::Place,
    svol_core::{
        block_map::Entry,
        store::{
            entries::{
                self,
                Record, //
            },
            layout,
            Sector, //
        }, //
    },
};
use kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// How many entries one round of a commit writes; more take several rounds.
pub(super) const BATCH: usize = 1024;

/// The unit in which entries are cached and written, in bytes.
pub(super) const UNIT: u64 = 4096;

/// An entry on its way to the disk.
pub(super) struct Change {
    /// Index of the owner.
    owner: usize,
    bid: u64,
    entry: Entry,
}

impl Worker<Store> {
    /// A range was written to its slots: notes that in the owner's map. A flush that comes after
    /// anybody could see the data waits for it. Does not sleep.
    pub(crate) fn note_written(&self, owner: &Owner, sector: u64, sectors: u32) {
        let written = || owner.map.written(sector, sectors);
        if self.changes.note(current_cpu(), written) {
            self.kick_within(COMMIT_MS);
        }
    }

    /// The block map has changed: a commit comes within [`COMMIT_MS`]. Does not sleep.
    pub(crate) fn note_change(&self) {
        if self.changes.mark() {
            self.kick_within(COMMIT_MS);
        }
    }

    /// Ends a bio after the next commit. Does not sleep.
    pub(crate) fn wait_for_commit(&self, parked: Parked<Bound, InFlight>) {
        let mut queues = self.queues.lock();
        queues.waiting.push(parked);
        // Under the lock: once the bio can end, this store may go away.
        self.kick();
    }
}

impl Worker<Store> {
    /// Commits if somebody waits for it, or if changes have waited long enough. Sleeps for I/O.
    pub(super) fn commit_if_due(&self) {
        // What waits now was written after the last call took what waited then, perhaps before that
        // commit failed.
        let before = self.losses_then.get();
        self.losses_then.set(self.changes.losses());
        let mut queues = self.queues.lock();
        queues.committing = queues.waiting.take();
        let is_awaited = !queues.committing.is_empty();
        drop(queues);
        if !is_awaited {
            if self.changes.is_dirty() {
                // Whoever asks next is told of a failure.
                let _ = self.commit();
            }
            return;
        }
        let result = self.commit();
        let committing = self.queues.lock().committing.take();
        self.end_all(committing, result, before);
    }

    /// Commits what remains, while no volume is in use. Sleeps for I/O.
    pub(crate) fn settle(&self) {
        self.rest_now();
        if self.is_left_alone() {
            return;
        }
        // Errors are logged.
        let _ = self.settle_map();
        self.clear_all_marks();
        self.rest_now();
    }

    /// Commits the remaining changes of the block maps, while no volume is in use and the worker
    /// rests. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub(crate) fn settle_map(&self) -> Result {
        match self.changes.is_dirty() {
            false => Ok(()),
            true => self.commit(),
        }
    }

    /// Makes all written data durable, and then the entries that refer to it. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the device. The changes are kept for a retry.
    pub(crate) fn commit(&self) -> Result {
        if self.is_left_alone() {
            return Err(EIO);
        }
        self.changes.begin_commit();
        // Whoever waits for this commit may rely on changes that are still being noted.
        for _ in 0..2 {
            self.changes.noting().turn();
            while !self.changes.noting().is_over() {
                fsleep(Delta::from_micros(10));
            }
        }
        let result = self.undo_lost().and_then(|()| self.commit_rounds());
        if result.is_err() {
            // At once: nobody should read what is lost. If it fails, the next commit does it.
            let _ = self.undo_lost();
        }
        self.changes.end_commit(result.is_ok());
        match result {
            Ok(()) => self.note_works(),
            Err(error) => {
                if !self.is_failing() && error != LATER {
                    let errno = error.to_errno();
                    log::warning!(
                        self.group,
                        "increments {}: commit failed: error {errno}",
                        self.lid
                    );
                }
                if fail::is_of_device(error) {
                    self.begin_failure(false);
                }
            }
        }
        result
    }

    /// Writes all dirty entries, [`BATCH`] at a time. After an error, those of the round that
    /// failed are dirty again. Takes `batch`, and under it `entries`; sleeps for I/O.
    fn commit_rounds(&self) -> Result {
        self.commits.add(1);
        let mut batch = self.batch.lock();
        // One pass over all maps: what changes behind it is left to the next commit, which has been
        // requested by then.
        let (mut at, mut first) = (0usize, 0u64);
        loop {
            batch.clear();
            let mut more = false;
            for (index, owner) in self.owners.iter().enumerate().skip(at) {
                let room = batch.capacity().saturating_sub(batch.len());
                let next = owner.map.take_dirty_from(first, room, |bid, entry| {
                    let change = Change {
                        owner: index,
                        bid,
                        entry,
                    };
                    // There is room for all that were requested.
                    let _ = batch.push_within_capacity(change);
                });
                first = next.unwrap_or(0);
                if next.is_some() {
                    at = index;
                    more = true;
                    break;
                }
            }
            if let Err(error) = self.write_changes(&mut batch) {
                for change in batch.iter() {
                    if let Some(owner) = self.owners.get(change.owner) {
                        owner.map.mark_dirty(change.bid);
                    }
                }
                return Err(error);
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Makes one round durable: first the data of its entries, then the entries. Sorts them. Sleeps
    /// for I/O.
    fn write_changes(&self, batch: &mut [Change]) -> Result {
        // The data that the entries refer to.
        self.or_lose(self.members.flush(self.disk()?))?;
        if self.changes.is_lost() {
            // By another flush, that failed meanwhile.
            return Err(EIO);
        }
        if batch.is_empty() {
            return Ok(());
        }
        // Blocks that were first written in sequence have adjacent entries, wherever they are in
        // the volume.
        sort_by_key(batch, &|change| change.entry.slot().map_or(0, u64::from));
        let unit = |change: &Change| change.entry.slot().map(|slot| self.unit_of(slot));
        let mut parts = batch.chunk_by(|one, other| unit(one) == unit(other));
        let changed = parts.try_for_each(|changes| {
            let records = changes.iter().filter_map(|change| {
                let record = Record {
                    bid: change.bid,
                    owner: self.owners.get(change.owner)?.number,
                    data: change.entry.data(),
                    zero: change.entry.zero(),
                };
                Some((change.entry.slot()?, Some(record)))
            });
            self.write_records(records)
        });
        self.write_dirty(changed)
    }

    /// Makes durable that slots are free; sorts them. Sleeps for I/O.
    pub(super) fn write_free(&self, slots: &mut [u32]) -> Result {
        sort_by_key(slots, &|slot| u64::from(*slot));
        let mut parts = slots.chunk_by(|one, other| self.unit_of(*one) == self.unit_of(*other));
        let changed =
            parts.try_for_each(|slots| self.write_records(slots.iter().map(|slot| (*slot, None))));
        self.write_dirty(changed)
    }

    /// What the entry of a slot says on disk, or is about to: entries get into the cache only when
    /// their data is durable. The unit is written again by the next `write_dirty`, which has to
    /// follow: dm-bufio forgets what it could not write as soon as that is read. May sleep for I/O.
    ///
    /// # Errors
    ///
    /// Those of the device; `EIO` if the entry is damaged.
    pub(super) fn durable_record(&self, slot: u32) -> Result<Option<Record>> {
        let number = layout::entry_sector_of(slot);
        let offset = self.layout.entry_offset(number);
        let mut found = Err(EIO);
        let _counted = self.disk()?.count_io();
        self.entries.lock().update(self.unit_of(slot), |unit| {
            if let Some(sector) = sector_at(unit, offset) {
                let valid = entries::check(sector, self.tag, number, self.mask);
                found = valid
                    .map(|()| entries::get(sector, layout::entry_index_of(slot)))
                    .map_err(|_| EIO);
            }
            found.is_ok()
        })?;
        found
    }

    /// The unit that has the entry of a slot.
    fn unit_of(&self, slot: u32) -> u64 {
        self.layout.entry_offset(layout::entry_sector_of(slot)) / UNIT
    }

    /// Writes the entries that were `changed`, and makes them durable, even if some could not be
    /// changed. Anything left in the cache would be written at some later time, at the latest when
    /// the store is closed, and by then another store may be in its place. Sleeps for I/O.
    pub(super) fn write_dirty(&self, changed: Result) -> Result {
        let written = self.disk()?.counted(|_| self.entries.lock().write_dirty());
        changed.and(self.or_lose(written))
    }

    /// Changes the entries of slots, all in one unit and in order, in the entry cache; the next
    /// `write_dirty` writes them to disk. Once for each unit: see [`Bufio::update`]. May sleep for
    /// I/O.
    fn write_records(&self, records: impl Iterator<Item = (u32, Option<Record>)>) -> Result {
        let mut records = records.peekable();
        let Some((first, _)) = records.peek() else {
            return Ok(());
        };
        let block = self.unit_of(*first);
        let commit = self.commits.load();
        let mut damage = None;
        let _counted = self.disk()?.count_io();
        self.entries.lock().update(block, |unit| {
            let mut changed = false;
            while let Some((slot, _)) = records.peek() {
                let number = layout::entry_sector_of(*slot);
                let offset = self.layout.entry_offset(number);
                let Some(sector) = sector_at(unit, offset) else {
                    break;
                };
                if let Err(error) = entries::check(sector, self.tag, number, self.mask) {
                    // Sealing it again would make it look valid.
                    damage = Some((offset, error));
                    break;
                }
                let is_here =
                    |(slot, _): &(u32, Option<Record>)| layout::entry_sector_of(*slot) == number;
                while let Some((slot, record)) = records.next_if(is_here) {
                    changed |= entries::set(sector, layout::entry_index_of(slot), record.as_ref());
                }
                entries::seal_sector(sector, commit);
            }
            changed
        })?;
        match damage {
            Some((offset, error)) => {
                log::warning!(
                    self.group,
                    "increments {}: entries at byte {offset}: {error}",
                    self.lid
                );
                Err(EIO)
            }
            None => Ok(()),
        }
    }
}

/// The sector of a unit that begins at this byte of the device.
fn sector_at(unit: &mut [u8], offset: u64) -> Option<&mut Sector> {
    let within = usize::try_from(offset % UNIT).ok()?;
    unit.get_mut(within..)?.first_chunk_mut()
}

/// The owner that a bio belongs to.
fn owner_of(parked: &Parked<Bound, InFlight>) -> Option<&Owner> {
    let volume = parked.data().volume.get()?;
    Place::of(parked.keep(), volume).map(|place| place.owner())
}

impl Worker<Store> {
    /// Ends all bios of a list with the result of the commit that they waited for; flushes are told
    /// of earlier losses, too. `before` is how many there were when the first of them may have been
    /// written.
    fn end_all(&self, mut list: ParkedList<Bound, InFlight>, result: Result, before: u64) {
        let losses = self.changes.losses();
        let mut failed = ParkedList::new();
        while let Some(parked) = list.pop() {
            let is_untold = || owner_of(&parked).is_none_or(|owner| self.has_untold(owner));
            // For a disk's failure, before it waited for the commit.
            let has_waited = parked.data().is_sent || parked.data().has_no_disk;
            let is_lost = match parked.info().op {
                Op::Flush => is_untold(),
                // A durable write answers only for itself.
                _ => losses != before || (has_waited && is_untold()),
            };
            match result.is_err() || is_lost {
                false => parked.end(Status::OK),
                true => failed.push(parked),
            }
        }
        while let Some(mut parked) = failed.pop() {
            let is_logged = {
                let info = parked.info();
                let bound = parked.keep();
                if let (Op::Flush, Some(owner)) = (info.op, owner_of(&parked)) {
                    owner.note_told(losses);
                }
                parked
                    .data()
                    .volume
                    .get()
                    .and_then(|volume| bound.volumes.get(volume))
                    .is_some_and(|volume| volume.is_on_disk(info.op, info.sector))
            };
            if is_logged {
                // Its disk has all of it: the volume goes on without the store.
                parked.data_mut().has_no_log = true;
                self.push_slow(parked);
            } else {
                parked.end(Status::IOERR);
            }
        }
    }
}
