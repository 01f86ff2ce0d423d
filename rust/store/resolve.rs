// SPDX-License-Identifier: GPL-2.0

//! Brings the store of a logged volume in step with its disk after a crash, where marks say that
//! the two may differ.

use super::{
    slow::{
        Slow,
        Writes, //
    },
    write::{
        Content,
        Range,
        Source, //
    },
    Store, //
};
use crate::{
    bound::Bound,
    dm::{
        Worker,
        PIECE_SECTORS, //
    },
    log,
    overlay::Place,
    parts::Of,
    svol_core::{
        log_mode::Event,
        samples::SUB_BLOCK_SECTORS, //
    },
};
use kernel::prelude::*;

impl Worker<Store> {
    /// Brings the store in step with the disk of a volume after a crash, before the volume is used.
    /// Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the devices; `ENOSPC` if the store is full.
    pub(crate) fn resolve(&self, bound: &Bound, volume: usize, disk: usize) -> Result {
        let owner = Place::of(bound, volume).ok_or(EIO)?.owner();
        let slow = Slow::new(self, bound, volume, owner, Writes::Logged(disk));
        // A store that is behind is compared as a whole, in the background.
        if owner.is_unlogged() || owner.is_behind() {
            return Ok(());
        }
        let result = slow.resolve(disk);
        if matches!(result, Err(ENOSPC)) {
            owner.advance(&self.home.failures().views(), Event::LogIsGivenUp);
        }
        result
    }
}

impl Slow<'_> {
    /// Brings the store in step with the disk in the regions that a crash left marked. Nobody uses
    /// the volume meanwhile. Sleeps for I/O.
    #[inline(never)]
    fn resolve(&self, disk: usize) -> Result {
        let Some(intents) = &self.owner.intents else {
            return Ok(());
        };
        if intents.marked().next().is_some() {
            // Data that is read now must not get lost later.
            self.bound.flush_disk(disk)?;
        }
        let is_moved = self.owner.has_begun_to_move();
        let mut regions = 0u32;
        let mut differ = 0u64;
        for region in intents.marked() {
            let (begin, end) = intents.extent(region);
            let end = end.min(self.bound.members.sectors);
            differ = differ.saturating_add(self.resolve_between(disk, begin, end)?);
            // Otherwise they are still to be copied to the disk that the volume moves to.
            if !is_moved && !intents.is_open(begin, 1) {
                intents.unpin(region);
            }
            regions = regions.saturating_add(1);
        }
        if regions == 0 {
            return Ok(());
        }
        self.store.commit()?;
        if !is_moved {
            // The first time, they still count as just written.
            intents.take_idle(|_| ());
            intents.take_idle(|_| ());
            self.store
                .write_marks_of(self.owner, |region| intents.is_marked(region))?;
        }
        log::info!(
            self.store.group(),
            "{}: {regions} regions compared after a crash, {differ} sub-blocks copied to increments {}",
            self.owner.lid,
            self.store.lid()
        );
        Ok(())
    }

    /// Brings the store in step with the disk between two sectors, except where the volume is
    /// diverted. Returns how many sub-blocks were copied to the store.
    #[inline(never)]
    fn resolve_between(&self, disk: usize, begin: u64, end: u64) -> Result<u64> {
        let regions = &self.bound.volumes.get(self.volume).ok_or(EIO)?.regions;
        let mut differ = 0u64;
        let mut at = begin;
        while at < end {
            let sectors = u64::from(PIECE_SECTORS).min(end.saturating_sub(at));
            let (stretch, sectors) = regions.cut(at, u32::try_from(sectors)?);
            let range = Range {
                sector: at,
                sectors,
            };
            at = at.saturating_add(u64::from(sectors));
            if stretch.is_diverted {
                // The disk need not have what the store has.
                continue;
            }
            let count = match self.resolve_range(disk, range)? {
                Some(count) => count,
                None => self.resolve_parts(disk, range)?,
            };
            differ = differ.saturating_add(count);
        }
        Ok(differ)
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
}
