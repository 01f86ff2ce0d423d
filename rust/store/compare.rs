// SPDX-License-Identifier: GPL-2.0

//! Volumes whose increments volume lacks some of their writes, because it was full, or failed and
//! is in use again.
//!
//! Writes of such a volume go to its disk and to the store, as usual, but nothing is read from the
//! store: only its disk has all data. In the background the two are compared, sub-block by
//! sub-block under the write locks, and what differs is copied to the store. When the end is
//! reached, both devices are flushed, and the metadata records that the volume is protected again.
//! Nothing else is recorded: after a crash, or when the table is loaded again, the comparison
//! starts over.

use super::{
    leave,
    slow::{
        Slow,
        Writes, //
    },
    write::Range,
    Owner,
    Store, //
};
use crate::{
    bound::Bound,
    dm::{
        current_cpu,
        Worker, //
    },
    parts::Of, //
};
use kernel::prelude::*;

/// The progress of a comparison.
pub(crate) struct Compared {
    /// How many sectors from the beginning are now the same on both; 0 if they are being written
    /// right now.
    pub(crate) sectors: u32,
    /// How many sub-blocks were copied to the store.
    pub(crate) copied: u64,
}

/// Why a comparison can't continue.
pub(crate) enum CompareError {
    /// The volume's disk can't be read here.
    Disk,
    /// There is no space in the store, or it can't be written.
    Store,
    /// There is nothing to compare with, or no memory.
    Later(Error),
    /// The volume leaves the group.
    Gone,
}

impl Worker<Store> {
    /// Compares a range of a volume's disk with what the store says, and copies differences to the
    /// store. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// See [`CompareError`].
    #[inline(never)]
    pub(crate) fn compare(
        &self,
        bound: &Bound,
        volume: usize,
        owner: &Owner,
        sector: u64,
        sectors: u32,
    ) -> Result<Compared, CompareError> {
        let regions = &bound.volumes.get(volume).ok_or(CompareError::Gone)?.regions;
        let (stretch, sectors) = regions.cut(sector, sectors);
        if stretch.is_diverted {
            // The store has all of it, and the disk need not.
            return Ok(Compared { sectors, copied: 0 });
        }
        let sectors = owner.locks.take(sector, sectors);
        let range = Range { sector, sectors };
        let result = match owner.leaving.get() {
            leave::STAYS if sectors == 0 => Ok(0),
            leave::STAYS => self.compare_locked(bound, volume, owner, range),
            _ => Err(CompareError::Gone),
        };
        owner.locks.release(sector, sectors);
        result.map(|copied| Compared { sectors, copied })
    }

    /// As [`Worker::compare`], under the write locks of the range; returns how many sub-blocks were
    /// copied to the store. Sleeps for I/O of the disk, the store and a source.
    #[inline(never)]
    fn compare_locked(
        &self,
        bound: &Bound,
        volume: usize,
        owner: &Owner,
        range: Range,
    ) -> Result<u64, CompareError> {
        let later = |_| CompareError::Later(ENOMEM);
        let bytes = usize::try_from(range.sectors).map_or(0, |sectors| sectors << 9);
        let mut here = KVec::from_elem(0u8, bytes, GFP_KERNEL).map_err(later)?;
        let mut known = KVec::from_elem(0u8, bytes, GFP_KERNEL).map_err(later)?;
        let disk = owner.disk().ok_or(CompareError::Gone)?;
        let disk = bound.members.disk(disk).ok_or(CompareError::Gone)?;
        let io = &bound.members.io;
        match disk.counted(|device| io.read(device, range.sector, &mut here)) {
            Ok(()) => (),
            Err(ENOMEM) => return Err(CompareError::Later(ENOMEM)),
            Err(_) => return Err(CompareError::Disk),
        }
        bound
            .read_parts(Of::Known(volume), range.sector, &mut known)
            .map_err(CompareError::Later)?;
        if *here == *known {
            return Ok(0);
        }
        let slow = Slow::new(self, bound, volume, owner, Writes::Diverted);
        // Not earlier: whoever waits for I/O of this volume must not wait for the disks that were
        // read. Slots of a volume that leaves are released only after this ends.
        let ticket = owner.grace.enter(current_cpu());
        let logged = match owner.leaving.get() {
            leave::STAYS => slow
                .log_differences(&here, Some(&known), range.sector)
                .map_err(|error| match error {
                    ENOMEM => CompareError::Later(error),
                    _ => CompareError::Store,
                }),
            _ => Err(CompareError::Gone),
        };
        owner.grace.leave(ticket);
        logged
    }
}
