// SPDX-License-Identifier: GPL-2.0

//! Commits: how entries of the block maps get on disk.

use super::{
    Store,
    COMMITTING,
    COMMIT_MS,
    DIRTY, //
};
use crate::{
    bound::{
        Bound,
        InFlight, //
    },
    dm::{
        Parked,
        ParkedList,
        Status, //
        Worker,
    },
    log,
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
use kernel::prelude::*;

/// Entries that one round of a commit writes; more take several rounds.
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
    /// The block map has changed: a commit comes within [`COMMIT_MS`]. Does not sleep.
    pub(crate) fn note_change(&self) {
        let mut old = self.busy.get();
        while old & DIRTY == 0 {
            match self.busy.replace(old, old | DIRTY) {
                Ok(()) => {
                    self.kick_within(COMMIT_MS);
                    return;
                }
                Err(now) => old = now,
            }
        }
    }

    /// Ends a bio after the next commit. Does not sleep.
    pub(crate) fn wait_for_commit(&self, parked: Parked<Bound, InFlight>) {
        self.queues.lock().waiting.push(parked);
        self.kick();
    }
}

impl Worker<Store> {
    /// Commits if somebody waits for it, or if changes have waited long enough. Sleeps for I/O.
    pub(super) fn commit_if_due(&self) {
        let waiting = self.queues.lock().waiting.take();
        let dirty = self.busy.get() & DIRTY != 0;
        if !waiting.is_empty() || dirty {
            let result = self.commit();
            end_all(waiting, result);
        }
    }

    /// Commits what is left, while no volume is in use. Sleeps for I/O.
    pub(crate) fn settle(&self) {
        self.quiesce();
        if self.busy.get() & DIRTY != 0 {
            // What went wrong is in the log.
            let _ = self.commit();
        }
        self.clear_all_marks();
    }

    /// Makes all that was written durable, and the entries that name it. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the device. The changes are kept for another try.
    pub(crate) fn commit(&self) -> Result {
        // Changes from now on belong to the next commit, or to this one.
        self.busy.swap(COMMITTING);
        let result = self.commit_rounds();
        let next = if result.is_err() { DIRTY } else { 0 };
        let mut old = self.busy.get();
        while let Err(now) = self.busy.replace(old, (old & DIRTY) | next) {
            old = now;
        }
        if let Err(error) = result {
            self.kick_within(COMMIT_MS);
            let errno = error.to_errno();
            log::warning!(
                self.group,
                "increments {}: commit failed: error {errno}",
                self.lid
            );
        }
        result
    }

    fn commit_rounds(&self) -> Result {
        self.commits.add(1);
        let mut batch = self.batch.lock();
        loop {
            batch.clear();
            let mut more = false;
            for (index, owner) in self.owners.iter().enumerate() {
                let room = batch.capacity().saturating_sub(batch.len());
                more |= owner.map.take_dirty(room, |bid, entry| {
                    let change = Change {
                        owner: index,
                        bid,
                        entry,
                    };
                    // There is room for as many as were asked for.
                    let _ = batch.push_within_capacity(change);
                });
            }
            if let Err(error) = self.write_changes(&batch) {
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

    fn write_changes(&self, batch: &[Change]) -> Result {
        // The data that the entries name.
        self.members.io.flush(self.device()?)?;
        if batch.is_empty() {
            return Ok(());
        }
        for change in batch {
            let (Some(owner), Some(slot)) = (self.owners.get(change.owner), change.entry.slot())
            else {
                continue;
            };
            let record = Record {
                bid: change.bid,
                owner: owner.number,
                data: change.entry.data(),
                zero: change.entry.zero(),
            };
            self.write_record(slot, Some(&record))?;
        }
        self.entries.lock().write_dirty()
    }

    /// Makes durable that slots are free. Sleeps for I/O.
    pub(super) fn write_free(&self, slots: &[u32]) -> Result {
        for slot in slots {
            self.write_record(*slot, None)?;
        }
        self.entries.lock().write_dirty()
    }

    /// Changes the entry of a slot in the cache of entries; it gets on disk with the next
    /// `write_dirty`. May sleep for I/O.
    pub(super) fn write_record(&self, slot: u32, record: Option<&Record>) -> Result {
        let offset = self.layout.entry_offset(layout::entry_sector_of(slot));
        let within = usize::try_from(offset % UNIT)?;
        let commit = self.commits.load();
        self.entries.lock().update(offset / UNIT, |unit| {
            let sector: Option<&mut Sector> = unit
                .get_mut(within..)
                .and_then(|rest| rest.first_chunk_mut());
            let Some(sector) = sector else {
                return false;
            };
            let done = entries::set(sector, layout::entry_index_of(slot), record);
            entries::seal_sector(sector, commit);
            done
        })
    }
}

/// Ends all of a list as the commit ended that they waited for.
pub(super) fn end_all(mut list: ParkedList<Bound, InFlight>, result: Result) {
    let status = match result {
        Ok(()) => Status::OK,
        Err(_) => Status::IOERR,
    };
    while let Some(parked) = list.pop() {
        parked.end(status);
    }
}
