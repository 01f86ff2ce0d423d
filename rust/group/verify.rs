// SPDX-License-Identifier: GPL-2.0

//! Compares disks of a new group with the base image while they are in use.
//!
//! The worker that fills disks does this when there is nothing to fill, volume by volume. Until a
//! volume's disk has been compared to its end, the volume reads the base image only from that disk,
//! and nobody else reads it; see [`Bound::reads_alone`]. What a logged volume has written is left
//! out: its disk is compared under the write locks, where its map says that it never wrote. The
//! progress of a comparison is not recorded.
//!
//! The worker takes `commits` only while it holds nothing else.

use super::{
    background::{
        chunk,
        resize,
        Next,
        Rebuilds, //
    },
    comparison::Halt,
    Group, //
};
use crate::{
    bound::{
        Bound,
        Volume, //
    },
    dm::Worker,
    log,
    overlay::Place,
    svol_core::{
        attr::Attr,
        block_map::Kind,
        group::Verification,
        log_mode::Mode,
        route::Home,
        samples::SUB_BLOCK_SECTORS,
        turns::{
            self,
            Choice, //
        }, //
    },
};
use kernel::prelude::*;

/// A comparison in progress.
struct Comparing<'a> {
    bound: &'a Bound,
    volume: &'a Volume,
    due: Verification,
    /// Where its changes are, if it is written in place with a log.
    place: Option<Place<'a>>,
}

impl Group {
    /// Does part of the work, for a volume that needs it.
    #[inline(never)]
    pub(super) fn go_on_verifying(&self, worker: &Worker<Rebuilds>, bound: &Bound) -> Next {
        let is_over = |entry: usize| {
            let volume = bound.volumes.get(entry);
            volume.is_none_or(|volume| volume.verified.is_over.is_set())
        };
        let state = self.state.lock();
        let Some(table) = state.table.as_ref() else {
            return Next::Nothing;
        };
        let due = table.verifications().filter(|due| !is_over(due.entry));
        let due = due.filter_map(|due| {
            let volume = bound.volumes.get(due.entry)?;
            Some(((due, volume), &volume.turn))
        });
        let choice = turns::next(due, bound.age_ms());
        drop(state);
        let (due, volume) = match choice {
            Choice::This(due) => due,
            Choice::Later => return Next::Later,
            Choice::None => return Next::Nothing,
        };
        volume.turn.take();
        let writes = volume.view.get().writes;
        let place = Place::of(bound, due.entry).filter(|_| writes == Home::Logged(due.disk));
        let comparing = Comparing {
            bound,
            volume,
            due,
            place,
        };
        let result = match due.is_pointless {
            true => Ok(()),
            false => comparing.go_on(worker),
        };
        let result = match result {
            Ok(()) => self.end_verification(&comparing).map_err(Halt::Later),
            Err(Halt::Differs(sector)) => self
                .commit_diverged(&comparing, sector)
                .map_err(Halt::Later),
            halted => halted,
        };
        self.after_comparing(worker, bound, volume, "the base image", result)
    }

    /// The comparison is complete, or pointless.
    fn end_verification(&self, comparing: &Comparing<'_>) -> Result {
        let (volume, due) = (comparing.volume, comparing.due);
        let unread = volume.verified.unread.get();
        if unread > 0 && !due.is_pointless {
            volume.verified.is_over.set(true);
            log::warning!(
                self.name(),
                "{}: stays verifying, {unread} blocks of 4 KiB of its disk can't be read; write \
                 them and load the group's table again",
                volume.lid
            );
            return Ok(());
        }
        if !self.commit_verified(comparing)? {
            return Ok(());
        }
        volume.copied.set(0);
        match due.is_pointless {
            true => log::info!(
                self.name(),
                "{}: not compared, it may have been written without a log",
                volume.lid
            ),
            false => log::info!(
                self.name(),
                "{}: compared, its disk holds the base image",
                volume.lid
            ),
        }
        Ok(())
    }

    /// Makes durable that a volume is in sync with the others, and lets that take effect. Returns
    /// whether that was done.
    #[inline(never)]
    fn commit_verified(&self, comparing: &Comparing<'_>) -> Result<bool> {
        let (bound, due) = (comparing.bound, comparing.due);
        let homes = self.commits.lock();
        let next = self.next_table(|table| {
            // If it was written without a log meanwhile, those writes were not left out.
            match table.verification_of(due.entry) == Some(due) {
                true => table.with_verified(due.entry),
                false => Ok(None),
            }
        })?;
        let Some(next) = next else {
            return Ok(false);
        };
        let view = next.view(due.entry).ok_or(EINVAL)?;
        let is_source = next.is_source(due.disk);
        let is_ro = next
            .volume(due.entry)
            .is_some_and(|volume| volume.attr == Attr::Ro);
        self.commit(bound, &homes, next)?;
        let views = self.failures.views();
        if is_ro && comparing.volume.view.get().reads != Home::Nowhere {
            comparing.volume.view.set(&views, view);
        }
        comparing.volume.alone.set(None);
        if is_source {
            bound.sources.add(due.disk, is_ro);
        }
        Ok(true)
    }

    /// Makes durable that a disk holds something other than the base image.
    #[inline(never)]
    fn commit_diverged(&self, comparing: &Comparing<'_>, sector: u64) -> Result {
        let (bound, due) = (comparing.bound, comparing.due);
        let homes = self.commits.lock();
        // A volume that is now written without a log may differ for that reason.
        let Some(next) = self.next_table(|table| table.with_diverged(due.entry))? else {
            return Ok(());
        };
        self.commit(bound, &homes, next)?;
        log::warning!(
            self.name(),
            "{}: diverged, its disk differs from the base image, first at sector {sector}; it \
             serves its own volume only",
            comparing.volume.lid
        );
        Ok(())
    }
}

impl Comparing<'_> {
    fn go_on(&self, worker: &Worker<Rebuilds>) -> Result<(), Halt> {
        let end = self.bound.members.sectors;
        // Whether users wait for a disk that this reads.
        let is_busy = || {
            let sources = self.bound.sources.iter();
            self.bound.has_io(Iterator::chain(sources, [self.due.disk]))
        };
        let (mut here, mut base) = (KVec::new(), KVec::new());
        worker.go_on(self.bound, self.volume, is_busy, |at, most| {
            let sectors = chunk(most, end.saturating_sub(at), [&mut here, &mut base]);
            self.compare(at, sectors, &mut here, &mut base)
        })
    }

    /// Compares a chunk, or its beginning. Returns how many sectors were compared: 0 if they are
    /// being written right now.
    fn compare(
        &self,
        at: u64,
        sectors: u32,
        here: &mut KVec<u8>,
        base: &mut KVec<u8>,
    ) -> Result<u32, Halt> {
        resize(here, sectors).map_err(Halt::Later)?;
        resize(base, sectors).map_err(Halt::Later)?;
        self.bound.read_least_used(at, base).map_err(Halt::Later)?;
        let taken = match self.place {
            Some(place) => place.owner().locks.take(at, sectors),
            None => sectors,
        };
        let result = match taken {
            0 => Ok(0),
            _ => self.compare_locked(at, taken, here, base),
        };
        if let Some(place) = self.place {
            place.owner().locks.release(at, taken);
        }
        match result {
            // The disk can't be read here, but perhaps a part can.
            Err(Halt::Later(error)) if error != ENOMEM && error != EAGAIN => {
                let sub_block = u32::try_from(SUB_BLOCK_SECTORS).unwrap_or(sectors);
                if sectors > sub_block {
                    return self.compare(at, sub_block, here, base);
                }
                self.volume.verified.unread.add(1);
                Ok(sectors)
            }
            result => result,
        }
    }

    /// As [`Comparing::compare`], under the write locks of these sectors, if there are any. Returns
    /// `ENOMEM`, `EAGAIN`, or, if the disk can't be read, its error.
    fn compare_locked(
        &self,
        at: u64,
        sectors: u32,
        here: &mut KVec<u8>,
        base: &KVec<u8>,
    ) -> Result<u32, Halt> {
        resize(here, sectors).map_err(Halt::Later)?;
        let (bound, disk) = (self.bound, self.due.disk);
        let device = bound.members.disk(disk).ok_or(Halt::Turn)?;
        let read = device.counted(|device| bound.members.io.read(device, at, here));
        // Writes without locks begin only after the mode has changed.
        let mode = self.place.map(|place| place.owner().mode());
        if mode.is_some_and(|mode| mode != Mode::Both) {
            return Err(Halt::Later(EAGAIN));
        }
        read.map_err(Halt::Later)?;
        let sub_bytes = usize::try_from(SUB_BLOCK_SECTORS).map_or(0, |sectors| sectors << 9);
        let mut done = 0u32;
        for (here, base) in here.chunks(sub_bytes).zip(base.chunks(sub_bytes)) {
            let sector = at.saturating_add(u64::from(done));
            let sectors = u32::try_from(here.len() >> 9).unwrap_or(0);
            if here != base && !self.has_written(sector, sectors) {
                if self
                    .place
                    .is_none_or(|place| place.owner().is_in_step(disk, sector, sectors))
                {
                    return Err(Halt::Differs(sector.saturating_add(first(here, base))));
                }
                // Disk and store may still differ here; that must be resolved elsewhere first.
                return match done {
                    0 => Err(Halt::Later(EAGAIN)),
                    _ => Ok(done),
                };
            }
            done = done.saturating_add(sectors);
        }
        Ok(done)
    }

    /// Whether the volume wrote a sub-block, according to its map.
    fn has_written(&self, sector: u64, sectors: u32) -> bool {
        self.place.is_some_and(|place| {
            let run = place.owner().map.read_run(sector, sectors);
            run.kind != Kind::Base && run.sectors == sectors
        })
    }
}

/// The first sector in which two sub-blocks differ, counted from their beginning.
fn first(here: &[u8], base: &[u8]) -> u64 {
    let mut sectors = here.chunks(512).zip(base.chunks(512));
    let at = sectors.position(|(here, base)| here != base);
    at.and_then(|at| u64::try_from(at).ok()).unwrap_or(0)
}
