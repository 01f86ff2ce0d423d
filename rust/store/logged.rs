// SPDX-License-Identifier: GPL-2.0

//! Logged volumes: writes that go to a disk and to the store, and the marks that say where the two
//! may differ after a crash.
//!
//! A mark is durable before the first write of its region. It is cleared when the region has not
//! been written for a while: first in memory, so that no new write finds it; then the writes that
//! did find it end, the disk is flushed, and the store is committed; only then is the mark cleared
//! on disk.

use super::{
    fail,
    format::{
        self,
        NotDurable, //
    },
    leave,
    patience::LATER,
    slow::{
        Slow,
        Writes, //
    },
    write::{
        Content,
        Range,
        Source, //
    },
    Owner,
    Store, //
};
use crate::{
    bound::Bound,
    dm::Worker,
    log,
    parts::Of,
    svol_core::{
        log_mode::{
            Event,
            Mode, //
        },
        samples::SUB_BLOCK_SECTORS,
        store::{
            intent,
            layout,
            Sector,
            SECTOR_BYTES, //
        }, //
    },
};
use kernel::{
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// How long a region keeps its mark after its last write: between this and twice this, in
/// milliseconds.
pub(super) const IDLE_MS: u32 = 5000;

/// How much is compared at once, in sectors: small enough that the kernel finds memory even when it
/// is short.
const COMPARE_SECTORS: u32 = 64;

/// Writes an owner's marks, as given by `is_marked`, to all of its sectors of the map. Durable when
/// it returns; sleeps for I/O.
pub(super) fn write_marks(
    members: &crate::members::Members,
    device: &crate::dm::Device,
    tag: u64,
    owner: u16,
    regions: u32,
    is_marked: impl Fn(u32) -> bool,
) -> Result<(), NotDurable> {
    let mut content = KVec::from_elem(0u8, layout::INTENT_BYTES, GFP_KERNEL)?;
    let mut sectors = content.chunks_exact_mut(SECTOR_BYTES);
    for number in 0..layout::INTENT_SECTORS {
        let sector: &mut Sector = sectors
            .next()
            .and_then(|sector| sector.first_chunk_mut())
            .ok_or(EINVAL)?;
        intent::format(sector, tag, owner, number);
        let first = u32::from(number).saturating_mul(intent::SECTOR_REGIONS);
        let behind = first.saturating_add(intent::SECTOR_REGIONS).min(regions);
        for region in (first..behind).filter(|region| is_marked(*region)) {
            intent::set_mark(sector, intent::place(region).1, true);
        }
        intent::seal_sector(sector);
    }
    format::write_durable(members, device, layout::intent_offset(owner, 0), &content)
}

impl Slow<'_> {
    /// Writes a range to the disk and to the store.
    pub(super) fn write_logged(&self, disk: usize, source: Source<'_>, range: Range) -> Result {
        match self.mark(range) {
            Ok(()) => (),
            // Says nothing about the log.
            Err(ENOMEM) => return Err(ENOMEM),
            Err(_) => {
                self.give_up_log()?;
                return self.write_unlogged(disk, source, range);
            }
        }
        let mut done = 0;
        while done < range.sectors {
            let left = range.behind(done);
            let sectors = self.lock(left)?;
            let part = Range { sectors, ..left };
            // Under the locks, which the fill of another disk takes, too.
            if self.owner.mode() == Mode::Store {
                self.owner.locks.give_back(part.sector, sectors);
                let kept = self.with(Writes::Kept);
                return kept.write_kept(source.behind(done), left);
            }
            let result = self.write_moving(source.behind(done), part);
            // Without memory, what was written is on both.
            let may_differ = result.is_err_and(|error| error != ENOMEM);
            if let Some(intents) = self.owner.intents.as_ref().filter(|_| may_differ) {
                // One of the two may have it. Noted before others get the locks, who might take
                // what the disk has for the base image, or overwrite it.
                intents.pin(part.sector, sectors);
                if result.is_err_and(|error| error == ENOSPC) {
                    self.owner.note_log_lacks(disk);
                }
            }
            self.owner.locks.give_back(part.sector, sectors);
            match result {
                Ok(sectors) => done = done.saturating_add(sectors),
                Err(ENOSPC) if self.owner.mode() == Mode::Store => return Err(ENOSPC),
                Err(ENOSPC) => {
                    self.give_up_log()?;
                    return self.write_unlogged(disk, source.behind(done), left);
                }
                // If memory ran out, the write is retried.
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes the marks of a range durable, and those of some neighbours.
    pub(super) fn mark(&self, range: Range) -> Result {
        let intents = self.owner.intents.as_ref().ok_or(EIO)?;
        if intents.touch(range.sector, range.sectors) {
            return Ok(());
        }
        let (first, last) = intents.to_mark(range.sector, range.sectors);
        self.store
            .write_marks_of(self.owner, |region| {
                (first..=last).contains(&region) || intents.is_marked(region)
            })
            .inspect_err(|error| {
                if fail::is_of_device(*error) {
                    self.store.suspect();
                }
            })?;
        for region in first..=last {
            intents.mark_ahead(region);
        }
        let (first, last) = intents.span(range.sector, range.sectors);
        for region in first..=last {
            intents.mark(region);
        }
        self.store.has_marks.set(1);
        Ok(())
    }

    /// The volume goes on without the store; that is durable when it returns.
    pub(super) fn give_up_log(&self) -> Result {
        if self.owner.is_unlogged() {
            return Ok(());
        }
        let group = &self.bound.group;
        if self.store.is_failing() {
            // For all of its volumes at once. Errors are logged.
            let _ = group.fail_store(self.bound, self.store);
            if self.owner.is_unlogged() {
                return Ok(());
            }
        }
        group.unprotect(self.bound, &self.owner.lid)
    }

    /// Brings the store in step with the disk in the regions that a crash left marked. Nobody uses
    /// the volume meanwhile. Sleeps for I/O.
    #[inline(never)]
    fn resolve(&self, disk: usize) -> Result {
        let Some(intents) = &self.owner.intents else {
            return Ok(());
        };
        if (0..intents.regions()).any(|region| intents.is_marked(region)) {
            // Data that is read now must not get lost later.
            self.bound.flush_disk(disk)?;
        }
        let mut regions = 0u32;
        let mut differ = 0u64;
        for region in (0..intents.regions()).filter(|region| intents.is_marked(*region)) {
            let begin = u64::from(region) << intents.shift();
            let end = begin
                .saturating_add(1 << intents.shift())
                .min(self.bound.members.sectors);
            let mut at = begin;
            while at < end {
                let sectors = u64::from(COMPARE_SECTORS).min(end.saturating_sub(at));
                let regions = &self.bound.volumes.get(self.volume).ok_or(EIO)?.regions;
                let (stretch, sectors) = regions.cut(at, u32::try_from(sectors)?);
                if stretch.is_diverted {
                    // The disk need not have what the store has.
                    at = at.saturating_add(u64::from(sectors));
                    continue;
                }
                let range = Range {
                    sector: at,
                    sectors,
                };
                let count = match self.resolve_range(disk, range)? {
                    Some(count) => count,
                    None => self.resolve_parts(disk, range)?,
                };
                differ = differ.saturating_add(count);
                at = at.saturating_add(u64::from(sectors));
            }
            if !intents.is_open(begin, 1) {
                intents.unpin(region);
            }
            regions = regions.saturating_add(1);
        }
        if regions == 0 {
            return Ok(());
        }
        self.store.commit()?;
        // The first time, they still count as just written.
        intents.take_idle(|_| ());
        intents.take_idle(|_| ());
        self.store
            .write_marks_of(self.owner, |region| intents.is_marked(region))?;
        log::info!(
            self.store.group(),
            "{}: {regions} regions compared after a crash, {differ} sub-blocks copied to increments {}",
            self.owner.lid,
            self.store.lid()
        );
        Ok(())
    }

    /// As [`Slow::resolve_range`], sub-block by sub-block. Where the disk can't be read, the store
    /// counts: it has all that was flushed.
    #[inline(never)]
    fn resolve_parts(&self, disk: usize, range: Range) -> Result<u64> {
        let mut differ = 0u64;
        let mut rest = range;
        while rest.sectors > 0 {
            let within = rest.sector % SUB_BLOCK_SECTORS;
            let sectors = u32::try_from(SUB_BLOCK_SECTORS.saturating_sub(within))?;
            let part = Range {
                sectors: sectors.min(rest.sectors),
                ..rest
            };
            match self.resolve_range(disk, part)? {
                Some(count) => differ = differ.saturating_add(count),
                None => match self.rewrite(disk, part) {
                    Err(EIO) => self.leave_open(part),
                    other => other?,
                },
            }
            rest = rest.behind(part.sectors);
        }
        Ok(differ)
    }

    /// Writes what the store says to the disk; durable when it returns.
    fn rewrite(&self, disk: usize, range: Range) -> Result {
        if self.bound.reads_alone(self.volume).is_some() {
            // Without its disk, nobody knows what the store does not have.
            return Err(EIO);
        }
        let bytes = usize::try_from(range.sectors)? << 9;
        let mut known = KVec::from_elem(0u8, bytes, GFP_KERNEL)?;
        self.bound
            .read_parts(Of::Known(self.volume), range.sector, &mut known)?;
        self.bound.write_disk(disk, range.sector, &known, || ())?;
        self.bound.flush_disk(disk)?;
        log::warning!(
            self.store.group(),
            "{}: sector {} of its disk could not be read and was rewritten from its increments",
            self.owner.lid,
            range.sector
        );
        Ok(())
    }

    /// Disk and store may differ here until the next start. The user gets the error of the disk;
    /// the region stays marked.
    fn leave_open(&self, range: Range) {
        if let Some(intents) = &self.owner.intents {
            intents.leave_open(range.sector, range.sectors);
        }
        log::warning!(
            self.store.group(),
            "{}: can't be compared with its increments at sector {}",
            self.owner.lid,
            range.sector
        );
    }

    /// Copies what the disk has and the store lacks to the store; returns the number of sub-blocks,
    /// or `None` if the disk can't be read.
    #[inline(never)]
    fn resolve_range(&self, disk: usize, range: Range) -> Result<Option<u64>> {
        let bytes = usize::try_from(range.sectors)? << 9;
        let mut here = KVec::from_elem(0u8, bytes, GFP_KERNEL)?;
        let device = &self.bound.members.disk(disk).ok_or(ENXIO)?.device;
        match self.bound.members.io.read(device, range.sector, &mut here) {
            Err(EIO) => return Ok(None),
            other => other?,
        }
        let mut known = KVec::from_elem(0u8, bytes, GFP_KERNEL)?;
        // With no source to compare with, all of it may differ.
        let of = Of::Known(self.volume);
        let compared = self.bound.read_parts(of, range.sector, &mut known);
        let known = compared.is_ok().then_some(&*known);
        match self.log_differences(&here, known, range.sector) {
            // As if it were full: the volume goes on without its log.
            Err(EIO) => Err(ENOSPC),
            other => other.map(Some),
        }
    }

    /// Writes those sub-blocks of `here` that differ from `known` to the store; returns their
    /// number.
    pub(super) fn log_differences(
        &self,
        here: &[u8],
        known: Option<&[u8]>,
        mut sector: u64,
    ) -> Result<u64> {
        // As if it were diverted.
        let log_only = self.with(Writes::Diverted);
        let sub_bytes = usize::try_from(SUB_BLOCK_SECTORS)? << 9;
        let mut known = known.map(|known| known.chunks(sub_bytes));
        let mut differ = 0u64;
        for here in here.chunks(sub_bytes) {
            let sectors = u32::try_from(here.len() >> 9)?;
            let known = known.as_mut().and_then(Iterator::next);
            if known != Some(here) {
                log_only.write(Source::new(Content::Bytes(here)), Range { sector, sectors })?;
                differ = differ.saturating_add(1);
            }
            sector = sector.saturating_add(u64::from(sectors));
        }
        Ok(differ)
    }

    pub(super) fn write_unlogged(&self, disk: usize, source: Source<'_>, range: Range) -> Result {
        let disk = self.bound.members.disk(disk).ok_or(ENXIO)?;
        let _counted = disk.count_io();
        let mut done = 0;
        while done < range.sectors {
            let sectors = COMPARE_SECTORS.min(range.sectors.saturating_sub(done));
            let mut content = KVec::from_elem(0u8, usize::try_from(sectors)? << 9, GFP_KERNEL)?;
            source.copy_to(done, &mut content)?;
            let at = range.sector.saturating_add(u64::from(done));
            self.bound.members.io.write(&disk.device, at, &content)?;
            done = done.saturating_add(sectors);
        }
        Ok(())
    }
}

impl Worker<Store> {
    /// Brings the store in step with the disk of a volume after a crash, before the volume is used.
    /// Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the devices; `ENOSPC` if the store is full.
    pub(crate) fn resolve(&self, bound: &Bound, volume: usize, disk: usize) -> Result {
        let owner = crate::overlay::Place::of(bound, volume).ok_or(EIO)?.owner();
        let slow = Slow::new(self, bound, volume, owner, Writes::Logged(disk));
        // A store that is behind is compared as a whole, in the background.
        if owner.is_unlogged() || owner.is_behind() {
            return Ok(());
        }
        let result = slow.resolve(disk);
        if matches!(result, Err(ENOSPC)) {
            owner.advance(Event::LogIsGivenUp);
        }
        result
    }

    /// Clears the marks of regions that are no longer written. Sleeps for I/O.
    pub(super) fn clear_idle_marks(&self) {
        let mut last = self.marks_looked_at.lock();
        if last.elapsed().as_millis() < i64::from(IDLE_MS) {
            return;
        }
        *last = Instant::<Monotonic>::now();
        drop(last);
        let mut left = false;
        for owner in self.owners.iter() {
            if !self.is_answering(owner) {
                // A flush would wait for its disk, and everyone else for the flush.
                left = true;
                continue;
            }
            match self.clear_marks(owner) {
                Ok(more) => left |= more,
                Err(LATER) => left = true,
                Err(error) => {
                    left = true;
                    self.say_marks_stay(owner, error);
                }
            }
        }
        self.has_marks.set(u64::from(left));
    }

    /// Whether the disk of an owner has answered anything since the last call, or has nothing to
    /// answer.
    fn is_answering(&self, owner: &Owner) -> bool {
        let Some(disk) = owner.disk().and_then(|disk| self.members.disk(disk)) else {
            return true;
        };
        let (in_flight, answers) = disk.progress();
        let before = owner.answers.swap(u64::from(answers));
        !disk.bad.is_silent() && (in_flight == 0 || before != u64::from(answers))
    }

    /// Clears an owner's idle marks; returns whether there are marks left. All marks stay if the
    /// store may have lost data that the disk has, or the other way round: then the volume goes on
    /// without its log, or without its disk, or a start compares the two.
    pub(super) fn clear_marks(&self, owner: &Owner) -> Result<bool> {
        let Some(intents) = &owner.intents else {
            return Ok(false);
        };
        if owner.leaving.get() != leave::STAYS {
            return Ok(false);
        }
        let (losses, lost) = (owner.disk_losses(), self.changes.losses());
        let mut idle = KVec::new();
        let mut left = intents.take_idle(|region| {
            if idle.push(region, GFP_KERNEL).is_err() {
                intents.mark(region);
            }
        });
        if idle.is_empty() && owner.has_old_marks.get() == 0 {
            return Ok(left);
        }
        let durable = self.make_durable(owner);
        let has_lost = owner.disk_losses() != losses;
        // Its disk may have lost something even though this flush succeeded: if another flush has
        // failed just before, that is not yet on record.
        let lacks = owner.log_lacks() || self.changes.losses() != lost;
        let is_in_doubt = self.may_have_lost(owner) || owner.mode() == Mode::Held || lacks;
        if durable.is_err() || has_lost || is_in_doubt {
            // They are still marked on disk.
            for region in idle {
                intents.mark(region);
                if has_lost || lacks {
                    // Not marked when that was noted.
                    intents.pin_region(region);
                }
                left = true;
            }
            if lacks {
                owner.note_log_lost();
            }
            return durable.map(|()| left);
        }
        for region in idle {
            // A write that was in flight may have failed on one side.
            left |= intents.mark_if_pinned(region);
        }
        let result = self.write_marks_of(owner, |region| intents.is_marked(region));
        // After a failure, some marks are on disk and some are not. Writes mark their regions
        // again, and an extra mark on disk does no harm.
        owner.has_old_marks.set(u64::from(result.is_err()));
        result.map(|()| left)
    }

    /// Makes all of an owner's writes that have begun durable, on both devices if there are two.
    fn make_durable(&self, owner: &Owner) -> Result {
        self.wait_for_ios(owner)?;
        self.flush_disk_of(owner)?;
        self.commit()
    }

    fn say_marks_stay(&self, owner: &Owner, error: Error) {
        log::warning!(
            self.group(),
            "{}: its write-intent marks in {} can't be taken back: error {}; tried again later",
            owner.lid,
            self.lid(),
            error.to_errno()
        );
    }

    /// Clears all marks, while no volume is in use. Sleeps for I/O.
    pub(super) fn clear_all_marks(&self) {
        for owner in self.owners.iter() {
            // Twice: the first time, they still count as just written.
            for _ in 0..2 {
                match self.clear_marks(owner) {
                    Ok(_) | Err(LATER) => (),
                    Err(error) => self.say_marks_stay(owner, error),
                }
            }
        }
    }
}

impl Store {
    fn write_marks_of(&self, owner: &Owner, is_marked: impl Fn(u32) -> bool) -> Result {
        let regions = owner
            .intents
            .as_ref()
            .map_or(0, |intents| intents.regions());
        let (members, number) = (&self.members, owner.number);
        self.or_lose_all(
            self.disk()?.counted(|device| {
                write_marks(members, device, self.tag, number, regions, is_marked)
            }),
        )
    }
}
