// SPDX-License-Identifier: GPL-2.0

//! Volumes that leave the group give their slots back.
//!
//! First it is made durable, in the owner table, that the volume is about to leave; then the
//! metadata of the group goes on without it; only then its entries are freed, part by part, and at
//! last its number. A start finds a volume that is about to leave either in the metadata, and keeps
//! it, or not, and goes on with freeing.

use super::{
    format,
    Owner,
    Store, //
};
use crate::{
    dm::Worker,
    log,
    svol_core::{
        block_map::Entry,
        store::OwnerRecord, //
    }, //
};
use kernel::prelude::*;

/// It stays.
pub(super) const STAYS: u64 = 0;
/// Its slots are given back.
pub(super) const LEAVES: u64 = 1;
/// They were, and so was its number.
pub(super) const LEFT: u64 = 2;

/// Slots that are given back at once.
const PART: usize = 1024;

/// How long until the next part, in milliseconds: others have their turn in between.
const NEXT_MS: u64 = 1;
/// The same after an error.
const RETRY_MS: u64 = 5000;

impl Worker<Store> {
    /// Makes durable that a volume is about to leave, or is not. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub(crate) fn announce_leave(&self, owner: &Owner, leaves: bool) -> Result {
        let mut record = owner.record;
        if let Some(owner) = &mut record.owner {
            owner.removing = leaves;
        }
        self.write_owner(owner, record)
    }

    /// Lets a volume leave that nobody uses, after that was announced and the metadata knows. Does
    /// not sleep.
    pub(crate) fn let_leave(&self, owner: &Owner) {
        owner.leaving.set(LEAVES);
        self.ask();
    }

    /// Gives back some slots of volumes that leave. Sleeps for I/O.
    pub(super) fn give_back(&self) {
        let mut again = 0;
        for owner in self.owners.iter().filter(|o| o.leaving.get() == LEAVES) {
            match self.give_back_part(owner) {
                Ok(true) => again = NEXT_MS,
                Ok(false) => {
                    owner.leaving.set(LEFT);
                    log::info!(
                        self.group(),
                        "{}: its blocks of increments {} are given back",
                        owner.lid,
                        self.lid()
                    );
                }
                Err(error) => {
                    again = RETRY_MS;
                    let errno = error.to_errno();
                    log::warning!(
                        self.group(),
                        "{}: its blocks of increments {} can't be given back yet: error {errno}",
                        owner.lid,
                        self.lid()
                    );
                }
            }
        }
        self.give_back_in.set(again);
    }

    /// Returns whether there is more to do.
    fn give_back_part(&self, owner: &Owner) -> Result<bool> {
        let mut slots = KVec::with_capacity(PART, GFP_KERNEL)?;
        let mut bids = KVec::with_capacity(PART, GFP_KERNEL)?;
        let first = owner.given_back.get();
        if first == 0 {
            // What compares it with its disk takes slots, until it sees that it leaves.
            self.wait_for_ios(owner)?;
        }
        let next = owner.map.for_some(first, PART, |bid, entry| {
            if let Some(slot) = entry.slot() {
                // There is room.
                let _ = slots.push_within_capacity(slot);
                let _ = bids.push_within_capacity(bid);
            }
        });
        if !slots.is_empty() {
            self.write_free(&slots)?;
            // No I/O relies on the map: the volume is not in use, and can't be any more.
            for bid in &bids {
                let out = |entry: Entry| Some(entry.moved_to(None).with_dirty(false));
                owner.map.update(*bid, out);
            }
            for slot in &slots {
                self.slots.give_back(*slot);
            }
            self.full.set(0);
        }
        owner.given_back.set(next);
        if next < owner.map.blocks() {
            return Ok(true);
        }
        let free = OwnerRecord {
            owner: None,
            ..owner.record
        };
        self.write_owner(owner, free)?;
        Ok(false)
    }

    /// Writes what the owner table says of a volume, as the next in the row.
    fn write_owner(&self, owner: &Owner, mut record: OwnerRecord) -> Result {
        // Others stand in the same block of the device.
        let _one_at_a_time = self.header.lock();
        // One that fails counts, too: what it has left on disk is not known.
        let writes = owner.record_writes.get().saturating_add(1);
        owner.record_writes.set(writes);
        record.sequence = record.sequence.saturating_add(writes);
        format::write_owner(&self.members, self.device()?, self.tag, &record)
    }
}
