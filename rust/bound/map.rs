// SPDX-License-Identifier: GPL-2.0

//! Sends the bios of volumes to disks, and handles their completions.

use super::{
    in_flight::{
        EntryNo,
        InFlight,
        OnEnd, //
    },
    Bound, //
};
use crate::{
    dm::{
        current_cpu,
        Bio,
        Destination,
        EndIo,
        Ended,
        InUse,
        Mapped,
        Op,
        Parked, //
    },
    errors,
    logged,
    members::Disk,
    overlay,
    svol_core::{
        pace::TIMED_SECTORS,
        route::{
            self,
            Route, //
        },
        select::Selector, //
    }, //
};
use kernel::prelude::*;

impl Bound {
    /// Sends a volume's bio on its way. Does not sleep.
    #[inline(always)]
    pub(crate) fn map_volume(
        this: InUse<'_, Self>,
        entry: usize,
        mut bio: Bio<'_, InFlight>,
    ) -> Mapped {
        let bound: &Self = &this;
        let Some(volume) = bound.volumes.get(entry) else {
            return bio.fail();
        };
        volume.stats.count_io(current_cpu());
        let op = operation(bio.info().op);
        let route = match volume.regions.is_plain() {
            true => volume.view.route(op),
            false => route::route(&volume.cut(&mut bio), op),
        };
        let info = bio.info();
        match route {
            Route::Base => Self::send_read(this, &volume.selector, bio),
            Route::Own(disk) => {
                let Some(own) = this.part(|bound| bound.members.disk(disk)) else {
                    return bio.fail();
                };
                bio.data_mut().is_own = true;
                match info.op {
                    Op::Read if own.bad.touches(info.sector, info.sectors) => {
                        bio = match errors::read_elsewhere(this, entry, disk, bio) {
                            Ok(mapped) => return mapped,
                            Err(bio) => bio,
                        };
                    }
                    // It may be logged later, so there is one flush for its disk and one for its
                    // increments volume.
                    Op::Flush if info.flush > 0 => return bio.complete(),
                    Op::Flush if volume.lost_writes.take() => return bio.fail(),
                    Op::Flush => return Self::send_flush(this, disk, bio),
                    _ => (),
                }
                own.begin();
                Self::send_begun(own, disk, info.sector, bio)
            }
            Route::Overlay => overlay::map(this, entry, bio),
            Route::Logged(disk) => logged::map(this, entry, disk, bio),
            Route::Kept => logged::map_kept(this, entry, bio),
            Route::Refuse(_) => bio.fail(),
        }
    }

    /// Sends a flush to the disk of an entry. If the disk has no write cache, completes it at once,
    /// as the block layer would. Does not sleep.
    pub(crate) fn send_flush(
        this: InUse<'_, Self>,
        entry: usize,
        bio: Bio<'_, InFlight>,
    ) -> Mapped {
        match this.members.disk(entry) {
            Some(disk) if !disk.device.has_write_cache() => bio.complete(),
            _ => Self::send(this, entry, 0, bio),
        }
    }

    /// Sends a read of the base image on its way. Does not sleep.
    pub(crate) fn map_base(this: InUse<'_, Self>, bio: Bio<'_, InFlight>) -> Mapped {
        let bound: &Self = &this;
        Self::send_read(this, &bound.selector, bio)
    }

    /// Sends a read of the base image on its way, for the volume that owns the selector. Does not
    /// sleep.
    pub(crate) fn send_read(
        this: InUse<'_, Self>,
        selector: &Selector,
        mut bio: Bio<'_, InFlight>,
    ) -> Mapped {
        let info = bio.info();
        let Some(entry) = this.begin_read(selector, info.sector, info.sectors) else {
            return bio.fail();
        };
        match this.part(|bound| bound.members.disk(entry)) {
            Some(disk) => {
                if info.sectors <= TIMED_SECTORS {
                    this.begin_timing(&disk, &mut bio);
                }
                Self::send_begun(disk, entry, info.sector, bio)
            }
            // Can't happen: it was there a moment ago.
            None => bio.fail(),
        }
    }

    /// Notes when a read is sent to a disk, if it is used to measure how fast the disk is.
    #[inline]
    fn begin_timing(&self, disk: &Disk, bio: &mut Bio<'_, InFlight>) {
        if let Some(in_flight) = disk.is_timed() {
            let data = bio.data_mut();
            data.on_end = OnEnd::Time;
            data.sent = self.ticks();
            data.in_flight = in_flight;
        }
    }

    /// A timed read has completed.
    #[inline(never)]
    fn end_timing(&self, disk: &Disk, ended: &mut Ended<'_, InFlight>) {
        disk.end();
        let data = ended.data_mut();
        let (sent, in_flight) = (data.sent, data.in_flight);
        // It may be sent to another disk next.
        data.on_end = OnEnd::Nothing;
        if !ended.status().is_error() {
            disk.pace.note(self.ticks().wrapping_sub(sent), in_flight);
        }
    }

    /// As [`Bound::send_read`], for a volume by its index.
    pub(crate) fn send_base(
        this: InUse<'_, Self>,
        volume: usize,
        mut bio: Bio<'_, InFlight>,
    ) -> Mapped {
        let bound: &Self = &this;
        if let Some(disk) = bound.reads_alone(volume) {
            bio.data_mut().is_own = true;
            let sector = bio.info().sector;
            return Self::send(this, disk, sector, bio);
        }
        match bound.volumes.get(volume) {
            Some(volume) => Self::send_read(this, &volume.selector, bio),
            None => bio.fail(),
        }
    }

    /// Sends a bio to a place on the disk of an entry. Does not sleep.
    #[inline(always)]
    pub(crate) fn send(
        this: InUse<'_, Self>,
        entry: usize,
        sector: u64,
        bio: Bio<'_, InFlight>,
    ) -> Mapped {
        let Some(disk) = this.part(|bound| bound.members.disk(entry)) else {
            return bio.fail();
        };
        disk.begin();
        Self::send_begun(disk, entry, sector, bio)
    }

    /// As [`Bound::send`], for a bio that is already counted on its disk.
    #[inline(always)]
    fn send_begun(
        disk: InUse<'_, Disk>,
        entry: usize,
        sector: u64,
        mut bio: Bio<'_, InFlight>,
    ) -> Mapped {
        bio.data_mut().disk = EntryNo::of(entry);
        bio.remap(disk.map(|disk| &disk.device), sector)
    }

    /// Sends a write to the disks of two entries at once and, if given, to that of a third, `also`,
    /// at the same sector as the first. Does not sleep; returns the bio if no memory is available
    /// at once.
    pub(crate) fn send_both<'a>(
        this: InUse<'_, Self>,
        entry: usize,
        sector: u64,
        second: usize,
        second_sector: u64,
        also: Option<usize>,
        mut bio: Bio<'a, InFlight>,
    ) -> Result<Mapped, Bio<'a, InFlight>> {
        let leg = |entry: usize, sector: u64| {
            let disk = this.part(|bound| bound.members.disk(entry))?;
            Some(Destination {
                device: disk.map(|disk| &disk.device),
                sector,
                traffic: disk.map(|disk| &disk.traffic),
            })
        };
        let pool = this.part(|bound| Some(&*bound.members.legs));
        let (Some(first), Some(log), Some(pool)) =
            (leg(entry, sector), leg(second, second_sector), pool)
        else {
            return Err(bio);
        };
        let third = match also {
            Some(also) => match leg(also, sector) {
                Some(leg) => Some(leg),
                None => return Err(bio),
            },
            None => None,
        };
        bio.data_mut().disk = EntryNo::of(entry);
        // Each device counts its own leg: otherwise one that hangs would make the others look so.
        bio.remap_to_all(pool, first, log, third)
    }

    /// As [`Bound::send`], for a parked bio. May sleep until the disk has room for it.
    pub(crate) fn submit(parked: Parked<Self, InFlight>, entry: usize, sector: u64) {
        if let Some(disk) = parked.keep().members.disk(entry) {
            disk.begin();
        }
        Self::submit_begun(parked, entry, sector);
    }

    /// As [`Bound::submit`], for a bio that is already counted on its disk.
    pub(crate) fn submit_begun(mut parked: Parked<Self, InFlight>, entry: usize, sector: u64) {
        parked.data_mut().disk = EntryNo::of(entry);
        parked.submit(|this| Some(&this.members.disk(entry)?.device), sector);
    }

    /// A bio of a volume, or of the group itself, came back from the disk it was sent to. `volume`
    /// says which volume, if that matters. Does not sleep.
    #[inline(always)]
    pub(crate) fn ended(
        this: InUse<'_, Self>,
        volume: impl FnOnce() -> Option<usize>,
        ended: Ended<'_, InFlight>,
    ) -> EndIo {
        let (on_end, is_error) = (ended.data().on_end, ended.status().is_error());
        let disk = |entry: EntryNo| this.members.disk(entry.get()?);
        if on_end == OnEnd::Nothing && !is_error {
            if let Some(disk) = disk(ended.data().disk) {
                disk.end();
            }
            return ended.done();
        }
        match (on_end, volume()) {
            (OnEnd::Leave(_), Some(volume)) if !is_error => {
                // Legs were counted one by one.
                if let Some(disk) = disk(ended.data().disk).filter(|_| !ended.has_legs()) {
                    disk.end();
                }
                overlay::ended(this, volume, ended)
            }
            (_, volume) => Self::ended_slowly(this, volume, ended),
        }
    }

    /// As [`Bound::ended`], also with an error.
    #[inline(never)]
    fn ended_slowly(
        this: InUse<'_, Self>,
        volume: Option<usize>,
        mut ended: Ended<'_, InFlight>,
    ) -> EndIo {
        let bound: &Self = &this;
        let on_end = ended.data().on_end;
        if let Some(entry) = ended.data().disk.get() {
            if let Some(disk) = bound.members.disk(entry) {
                match on_end {
                    OnEnd::Leave(_) if ended.has_legs() => (),
                    OnEnd::Nothing | OnEnd::Leave(_) | OnEnd::StoreFlush => disk.end(),
                    OnEnd::Time => bound.end_timing(disk, &mut ended),
                }
            }
            if ended.status().is_error() {
                return errors::ended(this, volume, entry, ended);
            }
        }
        match (on_end, volume) {
            (OnEnd::Leave(_), Some(volume)) => overlay::ended(this, volume, ended),
            (OnEnd::StoreFlush, Some(volume)) => overlay::flushed(this, volume, ended),
            _ => ended.done(),
        }
    }
}

pub(crate) fn operation(op: Op) -> route::Op {
    match op {
        Op::Read => route::Op::Read,
        Op::Write => route::Op::Write,
        Op::Flush => route::Op::Flush,
        Op::Discard => route::Op::Discard,
        Op::WriteZeroes => route::Op::WriteZeroes,
        Op::Other => route::Op::Other,
    }
}
