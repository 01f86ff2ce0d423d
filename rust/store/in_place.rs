// SPDX-License-Identifier: GPL-2.0

//! Volumes that change between diverted and logged; see `set_attr` in Documentation/dm-svol.rst.
//!
//! Meanwhile the volume has no I/O in flight, and gets none.

use super::{
    errand::Outcome,
    Owner,
    Store, //
};
use crate::{
    bound::Volume,
    dm::{
        Worker,
        PIECE_SECTORS, //
    },
    svol_core::{
        block_map::Kind,
        route::Home, //
    }, //
};
use kernel::prelude::*;

/// How many sectors of the map are checked at once.
const LOOK_SECTORS: u64 = 1 << 20;

impl Worker<Store> {
    /// Writes all that the store has of a volume's diverted parts, between two sectors, to the disk
    /// of an entry. Durable when it returns; sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the devices.
    #[inline(never)]
    pub(crate) fn copy_to_disk(
        &self,
        owner: &Owner,
        volume: &Volume,
        disk: usize,
        (start, end): (u64, u64),
    ) -> Result {
        let to = self.members.disk(disk).ok_or(ENXIO)?;
        let mut at = start;
        while at < end {
            let look = u32::try_from(LOOK_SECTORS.min(end.saturating_sub(at)))?;
            let look = volume.regions.cut(at, look).1;
            if volume.view_at(at).writes != Home::Overlay {
                // The disk has it.
                at = at.saturating_add(u64::from(look));
                continue;
            }
            let run = owner.map.read_run(at, look);
            match run.kind {
                Kind::Base => (),
                Kind::Zero => {
                    let sectors = u64::from(run.sectors);
                    self.members.write_zeroes(to, at, sectors)?;
                }
                Kind::Slot { slot, offset } => {
                    let from = self.slot_sector(slot).saturating_add(u64::from(offset));
                    self.copy_stretch(disk, from, at, run.sectors)?;
                }
            }
            if run.sectors == 0 {
                return Err(EIO);
            }
            at = at.saturating_add(u64::from(run.sectors));
        }
        self.members.flush(to)
    }

    /// Copies sectors of the store's device, from `from` on, to a disk, from `to` on. Counts only
    /// the writes: the disk must not be taken for free while there may be one.
    fn copy_stretch(&self, disk: usize, from: u64, to: u64, sectors: u32) -> Result {
        let store = self.device()?;
        let device = self.members.disk(disk).ok_or(ENXIO)?;
        let mut content = KVec::new();
        let mut done = 0u32;
        while done < sectors {
            let now = PIECE_SECTORS.min(sectors.saturating_sub(done));
            content.resize(usize::try_from(now)? << 9, 0, GFP_KERNEL)?;
            let offset = u64::from(done);
            let io = &self.members.io;
            io.read(store, from.saturating_add(offset), &mut content)?;
            let _counted = device.count_io();
            io.write(&device.device, to.saturating_add(offset), &content)?;
            done = done.saturating_add(now);
        }
        Ok(())
    }

    /// Has the worker commit what a volume wrote and, if it is logged, sync disk and store until
    /// they are known to be the same, and clear all its marks. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// `EIO` if the commit fails, or marks have to stay.
    pub(crate) fn settle_owner(&self, owner: &Owner) -> Result {
        owner.settling.ask();
        self.ask();
        match owner.settling.wait(i64::MAX) {
            Outcome::Done => Ok(()),
            Outcome::Failed | Outcome::Late => Err(EIO),
        }
    }

    /// Does what [`Worker::settle_owner`] waits for. Sleeps for I/O.
    pub(super) fn settle_owners(&self) {
        for owner in self.owners.iter().filter(|owner| owner.settling.begin()) {
            // Also if no entry has changed: the disk must not get ahead of what was overwritten.
            // Twice: the first time, its regions still count as just written.
            let cleared = self
                .commit()
                .and_then(|()| self.clear_marks(owner))
                .and_then(|_| self.clear_marks(owner));
            let is_settled = matches!(cleared, Ok(false)) && !self.may_have_lost(owner);
            owner.settling.end(is_settled);
        }
    }
}
