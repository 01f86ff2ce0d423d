// SPDX-License-Identifier: GPL-2.0

//! Reads part by part, each part from wherever it can be read.
//!
//! Several disks may have bad sectors in one stretch, so that no disk can read all of it although
//! each part can be read somewhere. What can't be read as a whole is read in sub-blocks, and a
//! sub-block that can't be read is read in logical blocks. Nothing here allocates: these reads must
//! complete even when memory is short.

use crate::{
    bound::Bound,
    dm::current_cpu,
    overlay::Place,
    svol_core::{
        block_map::Kind,
        log_mode::Mode,
        route::Home,
        samples::SUB_BLOCK_SECTORS, //
    },
};
use core::ops::Range;
use kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// What is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// The base image.
    Base,
    /// The data of this volume, which keeps changes in a store.
    Volume(usize),
    /// What its store has of this volume, and the common base image for the rest, even if the
    /// volume has its own; see [`Bound::reads_alone`].
    Known(usize),
}

impl Of {
    fn volume(self) -> Option<usize> {
        match self {
            Self::Base => None,
            Self::Volume(volume) | Self::Known(volume) => Some(volume),
        }
    }
}

/// How often a volume's disk that is being written is retried, once per millisecond.
const MAX_LOOKS: usize = 5000;

/// Whether the disk of an in-place volume holds a part of the base image.
enum Sibling {
    /// It was read.
    HasRead,
    /// It may hold it, but is being written there right now.
    IsBusy,
    /// Unknown, or it can't be read.
    CannotTell,
}

/// A stretch of a disk or volume, and where it goes in a buffer.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    sector: u64,
    sectors: u32,
    /// Sectors of the buffer in front of it.
    at: u32,
}

impl Part {
    /// All of a buffer, starting at `sector`.
    pub(crate) fn all(sector: u64, buffer: &KVec<u8>) -> Result<Self> {
        Ok(Self {
            sector,
            sectors: u32::try_from(buffer.len() >> 9)?,
            at: 0,
        })
    }

    /// Its first `sectors`, and the rest.
    fn split(self, sectors: u32) -> (Self, Self) {
        let sectors = sectors.min(self.sectors);
        let rest = Self {
            sector: self.sector.saturating_add(u64::from(sectors)),
            sectors: self.sectors.saturating_sub(sectors),
            at: self.at.saturating_add(sectors),
        };
        (Self { sectors, ..self }, rest)
    }

    /// Up to the next multiple of `unit` sectors, and the rest.
    fn split_at_unit(self, unit: u64) -> (Self, Self) {
        let within = self.sector.checked_rem(unit).unwrap_or(0);
        self.split(u32::try_from(unit.saturating_sub(within)).unwrap_or(u32::MAX))
    }

    /// Whether it extends beyond one unit of `unit` sectors.
    fn is_beyond(self, unit: u64) -> bool {
        self.split_at_unit(unit).1.sectors > 0
    }

    /// Its place in the buffer, in bytes.
    fn bytes(self) -> Result<Range<usize>> {
        let begin = usize::try_from(self.at)? << 9;
        Ok(begin..begin.saturating_add(usize::try_from(self.sectors)? << 9))
    }
}

impl Bound {
    /// Fills all of `buffer`, reading from `sector` on. Sleeps for I/O, allocates nothing.
    ///
    /// # Errors
    ///
    /// `EIO` if some part can't be read anywhere.
    #[inline(never)]
    pub(crate) fn read_parts(&self, of: Of, sector: u64, buffer: &mut KVec<u8>) -> Result {
        let all = Part::all(sector, buffer)?;
        match of {
            Of::Base => self.read_base_parts(all, buffer),
            Of::Volume(volume) => self.read_volume(volume, all, buffer),
            Of::Known(volume) => self.read_runs(of, volume, None, all, buffer),
        }
    }

    /// Reads a volume, region by region: where it is in place, its own disk may have the data, too.
    fn read_volume(&self, volume: usize, part: Part, buffer: &mut KVec<u8>) -> Result {
        let served = self.volumes.get(volume).ok_or(EIO)?;
        let mut rest = part;
        while rest.sectors > 0 {
            let (_, sectors) = served.regions.cut(rest.sector, rest.sectors);
            let (piece, behind) = rest.split(sectors);
            let disk = match served.view_at(piece.sector).reads {
                Home::Disk(disk) => Some(disk),
                _ => None,
            };
            self.read_runs(Of::Volume(volume), volume, disk, piece, buffer)?;
            rest = behind;
        }
        Ok(())
    }

    /// As [`Bound::read_parts`], for a volume: reads increments, and siblings where these have
    /// nothing. Does not read the volume's own disk, unless the volume reads the base image only
    /// there.
    ///
    /// # Errors
    ///
    /// As [`Bound::read_parts`].
    pub(crate) fn read_overlay(&self, volume: usize, sector: u64, buffer: &mut KVec<u8>) -> Result {
        let all = Part::all(sector, buffer)?;
        self.read_runs(Of::Volume(volume), volume, None, all, buffer)
    }

    /// The next smaller unit into which a part can be split, in sectors.
    fn smaller_unit(&self, part: Part) -> Result<u64> {
        let block = u64::from(self.members.logical_block_bytes() >> 9);
        [SUB_BLOCK_SECTORS, block.max(1)]
            .into_iter()
            .find(|unit| part.is_beyond(*unit))
            .ok_or(EIO)
    }

    /// Reads a part of the base image as a whole, or if no disk can do that, in smaller parts.
    fn read_base_parts(&self, part: Part, buffer: &mut KVec<u8>) -> Result {
        if self.read_base_whole(Of::Base, part, buffer).is_ok() {
            return Ok(());
        }
        let unit = self.smaller_unit(part)?;
        let mut rest = part;
        while rest.sectors > 0 {
            let (piece, behind) = rest.split_at_unit(unit);
            self.read_base_parts(piece, buffer)?;
            rest = behind;
        }
        Ok(())
    }

    /// Reads a part of the base image, also for a volume. One disk must be able to read all of it.
    fn read_base_whole(&self, of: Of, part: Part, buffer: &mut KVec<u8>) -> Result {
        let selector = match of {
            Of::Base => &self.selector,
            Of::Volume(volume) | Of::Known(volume) => {
                &self.volumes.get(volume).ok_or(EIO)?.selector
            }
        };
        if let Of::Volume(volume) = of {
            if let Some(entry) = self.reads_alone(volume) {
                self.members.disk(entry).ok_or(EIO)?.begin();
                return self.read_begun_part(entry, part, buffer);
            }
        }
        let (sector, sectors) = (part.sector, part.sectors);
        let first = self.begin_read(selector, sector, sectors);
        if let Some(first) = first {
            if self.read_begun_part(first, part, buffer).is_ok() {
                return Ok(());
            }
        }
        let mut from = 0;
        while let Some((index, entry)) = self.begin_next_good(from, first, sector, sectors) {
            from = index.saturating_add(1);
            if self.read_begun_part(entry, part, buffer).is_ok() {
                return Ok(());
            }
        }
        if part.is_beyond(SUB_BLOCK_SECTORS) {
            return Err(EIO);
        }
        if self.read_clean_sibling(of, part, buffer).is_ok() {
            return Ok(());
        }
        // A part of what is known to be bad may still be readable.
        let mut from = 0;
        while let Some((index, entry)) = self.begin_next(from, first) {
            from = index.saturating_add(1);
            if self.read_begun_part(entry, part, buffer).is_ok() {
                return Ok(());
            }
        }
        Err(EIO)
    }

    /// Reads a part of the base image from the disk of an in-place volume that never wrote there.
    /// If others are writing or repairing that part, waits for them for a while. Skips the volume
    /// that is being read: the caller may be repairing its disk, and can't use that.
    fn read_clean_sibling(&self, of: Of, part: Part, buffer: &mut KVec<u8>) -> Result {
        for _ in 0..MAX_LOOKS {
            let mut is_busy = false;
            let others = |is_silent: bool| {
                (0..self.volumes.len())
                    .filter(|volume| of.volume() != Some(*volume))
                    .filter(move |volume| self.is_on_silent_disk(*volume, part) == is_silent)
            };
            // First where nobody has to wait for a disk that does not answer.
            for volume in Iterator::chain(others(false), others(true)) {
                match self.try_clean_sibling(volume, part, buffer) {
                    Sibling::HasRead => return Ok(()),
                    Sibling::IsBusy => is_busy = true,
                    Sibling::CannotTell => (),
                }
            }
            if !is_busy {
                break;
            }
            fsleep(Delta::from_millis(1));
        }
        Err(EIO)
    }

    /// Whether a part of an in-place volume is on a disk that does not answer.
    fn is_on_silent_disk(&self, volume: usize, part: Part) -> bool {
        let volume = self.volumes.get(volume);
        match volume.map(|volume| volume.view_at(part.sector).writes) {
            Some(Home::Logged(entry)) => self.is_silent(entry),
            _ => false,
        }
    }

    /// Reads a part of the base image from the disk of this in-place volume, if it never wrote
    /// there. Takes its write locks meanwhile, if they are free; does not wait for them.
    fn try_clean_sibling(&self, volume: usize, part: Part, buffer: &mut KVec<u8>) -> Sibling {
        let writes = self
            .volumes
            .get(volume)
            .map(|served| served.view_at(part.sector).writes);
        let (Some(Home::Logged(entry)), Some(place)) = (writes, Place::of(self, volume)) else {
            return Sibling::CannotTell;
        };
        if self.reads_alone(volume).is_some() {
            return Sibling::CannotTell;
        }
        let Some(disk) = self.members.disk(entry) else {
            return Sibling::CannotTell;
        };
        disk.begin();
        // Check after counting: a failed disk is not reused while it has I/O in flight.
        let has_failed = self.fate(entry).is_gone();
        let owner = place.owner();
        let taken = match has_failed {
            true => 0,
            false => owner.locks.take(part.sector, part.sectors),
        };
        let mut sibling = Sibling::CannotTell;
        if taken == part.sectors && owner.disk_has_base(entry, part.sector, part.sectors) {
            // Writes without locks begin only after the mode has changed.
            if self.read_part(entry, part, buffer).is_ok() && owner.mode() == Mode::Both {
                sibling = Sibling::HasRead;
            }
        } else if !has_failed
            && (taken < part.sectors || owner.has_redos(part.sector, part.sectors))
        {
            sibling = Sibling::IsBusy;
        }
        owner.locks.release(part.sector, taken);
        disk.end();
        sibling
    }

    /// Reads a part from a disk on which the read is already counted.
    fn read_begun_part(&self, entry: usize, part: Part, buffer: &mut KVec<u8>) -> Result {
        let result = self.read_part(entry, part, buffer);
        if let Some(disk) = self.members.disk(entry) {
            disk.end();
        }
        result
    }

    fn read_part(&self, entry: usize, part: Part, buffer: &mut KVec<u8>) -> Result {
        let device = &self.members.disk(entry).ok_or(ENXIO)?.device;
        let io = &self.members.io;
        io.read_part(device, part.sector, buffer, part.bytes()?)
            .inspect_err(|_| self.count_error(entry, true))
    }

    /// Reads a volume, stretch by stretch as its map has them. `disk` is its own disk, if that may
    /// be read, too.
    fn read_runs(
        &self,
        of: Of,
        volume: usize,
        disk: Option<usize>,
        part: Part,
        buffer: &mut KVec<u8>,
    ) -> Result {
        let owner = Place::of(self, volume).ok_or(EIO)?.owner();
        let mut rest = part;
        while rest.sectors > 0 {
            let run = owner.map.read_run(rest.sector, rest.sectors);
            if run.sectors == 0 {
                return Err(EIO);
            }
            let (piece, behind) = rest.split(run.sectors);
            self.read_run_parts(of, volume, disk, piece, buffer)?;
            rest = behind;
        }
        Ok(())
    }

    /// Reads a stretch of one kind: as a whole from increments or siblings, then from the volume's
    /// own `disk`; if neither can read all of it, in smaller parts.
    fn read_run_parts(
        &self,
        of: Of,
        volume: usize,
        disk: Option<usize>,
        part: Part,
        buffer: &mut KVec<u8>,
    ) -> Result {
        if self.read_past_disk(of, volume, disk, part, buffer).is_ok() {
            return Ok(());
        }
        if let Some(entry) = disk {
            if let Some(disk) = self.members.disk(entry) {
                disk.begin();
            }
            if self.read_begun_part(entry, part, buffer).is_ok() {
                return Ok(());
            }
        }
        let unit = self.smaller_unit(part)?;
        let mut rest = part;
        while rest.sectors > 0 {
            let (piece, behind) = rest.split_at_unit(unit);
            self.read_run_parts(of, volume, disk, piece, buffer)?;
            rest = behind;
        }
        Ok(())
    }

    /// Reads a part of a volume from its increments or its siblings. All of it must be in one
    /// place.
    fn read_past_disk(
        &self,
        of: Of,
        volume: usize,
        disk: Option<usize>,
        part: Part,
        buffer: &mut KVec<u8>,
    ) -> Result {
        let place = Place::of(self, volume).ok_or(EIO)?;
        let (store, owner) = (place.store(), place.owner());
        if disk.is_some() && !owner.may_read_past(part.sector, part.sectors) {
            return Err(EIO);
        }
        // Before the map is read: a slot that it names is not reused until this read has left.
        let ticket = owner.grace.enter(current_cpu());
        let run = owner.map.read_run(part.sector, part.sectors);
        let result = match run.kind {
            // The map has changed meanwhile.
            _ if run.sectors < part.sectors => Err(EIO),
            Kind::Base => {
                // As in `overlay`: waiting for I/O of this volume must not mean waiting for other
                // volumes' disks.
                owner.grace.leave(ticket);
                return self.read_base_whole(of, part, buffer);
            }
            Kind::Slot { slot, offset } => {
                let sector = store.slot_sector(slot).saturating_add(u64::from(offset));
                self.read_part(store.entry(), Part { sector, ..part }, buffer)
            }
            Kind::Zero => part.bytes().and_then(|bytes| {
                buffer.get_mut(bytes).ok_or(EINVAL)?.fill(0);
                Ok(())
            }),
        };
        owner.grace.leave(ticket);
        result
    }
}
