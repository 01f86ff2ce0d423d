// SPDX-License-Identifier: GPL-2.0

//! What the device may have lost of a volume that has it nowhere else.
//!
//! A flush that failed may have cost what was in the device's cache, and the next one does not say so.
//! Entries that wait for a commit then name slots whose content is not what was written there: it may be
//! what another volume wrote, when the slot was its own. So before the next commit, such sub-blocks read
//! again as their entries on disk say, as they would after a power cut. All users are told of the loss
//! by their next flush.

use super::{
    Owner,
    Store, //
};
use crate::{
    dm::Worker,
    log,
    svol_core::{
        log_mode::Mode,
        store::entries::Record, //
    },
};
use kernel::prelude::*;

/// How many blocks are handled at once.
const PART: usize = 256;

impl Worker<Store> {
    /// Takes out of the maps what the device may have lost. If that fails, it has to be tried again
    /// before the next commit. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub(super) fn undo_lost(&self) -> Result {
        if !self.changes.take_lost() || !self.disk()?.device.has_write_cache() {
            return Ok(());
        }
        // Volumes that have all on their disks lose their protection instead, unless the disk is lost, too.
        let lossy = self
            .owners
            .iter()
            .filter(|owner| !owner.has_all_on_disk() || owner.mode() == Mode::Held);
        let taken = lossy
            .map(|owner| self.undo_lost_of(owner))
            .try_fold(0usize, |blocks, of_owner| {
                of_owner.map(|more| blocks.saturating_add(more))
            });
        // See `durable_record`; also after an error.
        let written = self.write_dirty(Ok(()));
        let blocks = taken
            .and_then(|blocks| written.map(|()| blocks))
            // Some of it may have been taken out, which the next attempt would not see.
            .inspect_err(|_| self.changes.lose())?;
        if blocks > 0 {
            self.changes.note_taken();
            self.note_log_lost();
            log::warning!(
                self.group,
                "increments {}: may have lost writes that were not flushed; blocks that read as before: {blocks}",
                self.lid
            );
        }
        Ok(())
    }

    /// As [`Worker::undo_lost`], for one volume; returns how many of its blocks have changed.
    fn undo_lost_of(&self, owner: &Owner) -> Result<usize> {
        // A write that the device got before the flush is in the map by then.
        self.wait_for_ios(owner)?;
        let (mut first, mut changed) = (0u64, 0usize);
        let mut bids = KVec::with_capacity(PART, GFP_KERNEL)?;
        while first < owner.map.blocks() {
            bids.clear();
            first = owner.map.for_some(first, PART, |bid, entry| {
                if entry.is_dirty() {
                    // There is room.
                    let _ = bids.push_within_capacity(bid);
                }
            });
            if bids.is_empty() {
                continue;
            }
            if let (Some(intents), Some(disk)) = (&owner.intents, owner.disk()) {
                // A disk that is being filled for it may have that, too: it is filled there again.
                if intents.pin_marked() {
                    owner.note_fill_ahead(disk);
                }
            }
            // A write to a sub-block that is about to be taken out must not rely on it.
            self.freeze(owner, &bids)?;
            let taken: Result = bids.iter().try_for_each(|bid| {
                changed = changed.saturating_add(usize::from(self.undo_lost_block(owner, *bid)?));
                Ok(())
            });
            self.thaw(owner, &bids);
            taken?;
        }
        Ok(changed)
    }

    /// As [`Worker::undo_lost`], for a block that is frozen; returns whether it has changed.
    fn undo_lost_block(&self, owner: &Owner, bid: u64) -> Result<bool> {
        let Some(slot) = owner.map.get(bid).slot() else {
            return Ok(false);
        };
        let record = self.durable_record(slot)?;
        let is_here = |record: &Record| record.owner == owner.number && record.bid == bid;
        let (data, zero) = record
            .filter(is_here)
            .map_or((0, 0), |record| (record.data, record.zero));
        let changed = owner.map.update(bid, |now| {
            let then = now.without_lost(data, zero);
            (then != now).then_some(then)
        });
        Ok(changed.is_some())
    }
}
