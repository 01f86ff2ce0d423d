// SPDX-License-Identifier: GPL-2.0

//! Volumes that leave the group release their slots.
//!
//! First the owner table records durably that the volume is about to leave; then the group's
//! metadata drops it; only then are its entries freed, part by part, and finally its number. If a
//! start finds a volume that is about to leave, it keeps the volume if that is still in the
//! metadata, and otherwise continues freeing it.

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
/// Its slots are being released.
pub(super) const LEAVES: u64 = 1;
/// Its slots and its number have been released.
pub(super) const LEFT: u64 = 2;

/// How many slots are released at once.
const PART: usize = 1024;

/// The delay before the next part, in milliseconds: others get their turn in between.
const NEXT_MS: u64 = 1;
/// The same after an error.
const RETRY_MS: u64 = 5000;

impl Worker<Store> {
    /// Records durably that a volume is about to leave, or is not. Sleeps for I/O.
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

    /// Lets an unused volume leave, after that was announced and the metadata has dropped it. Does
    /// not sleep.
    pub(crate) fn let_leave(&self, owner: &Owner) {
        owner.leaving.set(LEAVES);
        self.ask();
    }

    /// Releases some slots of volumes that leave. Sleeps for I/O.
    pub(super) fn free_leavers(&self) {
        let mut again = 0;
        for owner in self.owners.iter().filter(|o| o.leaving.get() == LEAVES) {
            match self.free_part(owner) {
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
        self.free_again_in_ms.set(again);
    }

    /// Returns whether there is more to do.
    fn free_part(&self, owner: &Owner) -> Result<bool> {
        let mut slots = KVec::with_capacity(PART, GFP_KERNEL)?;
        let mut bids = KVec::with_capacity(PART, GFP_KERNEL)?;
        let first = owner.freed.get();
        if first == 0 {
            // A comparison with its disk takes slots until it sees that the volume leaves.
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
            self.write_free(&mut slots)?;
            // No I/O relies on the map: the volume is not in use, and can't be used again.
            for bid in &bids {
                let out = |entry: Entry| Some(entry.moved_to(None).with_dirty(false));
                owner.map.update(*bid, out);
            }
            for slot in &slots {
                self.slots.free(*slot);
            }
            self.full.set(false);
        }
        owner.freed.set(next);
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

    /// Writes the owner table's record of a volume, with the next sequence.
    fn write_owner(&self, owner: &Owner, mut record: OwnerRecord) -> Result {
        // Other owners are in the same block of the device.
        let _one_at_a_time = self.header.lock();
        // A failed write counts, too: what it has left on disk is unknown.
        let writes = owner.record_writes.get().saturating_add(1);
        owner.record_writes.set(writes);
        record.sequence = record.sequence.saturating_add(writes);
        let written = self
            .disk()?
            .counted(|device| format::write_owner(&self.members, device, self.tag, &record));
        self.or_lose_all(written)
    }
}
