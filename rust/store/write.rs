// SPDX-License-Identifier: GPL-2.0

//! Writes of the worker, step by step: to the store, and to the volume's disk if there is one.

use super::{
    fail,
    slow::{
        Slow,
        Writes, //
    }, //
};
use crate::{
    bound::{
        Bound,
        InFlight, //
    },
    dm::{
        Parked,
        PIECE_SECTORS, //
    },
    env::Wait,
    svol_core::{
        block_map::{
            Entry,
            WriteRun,
            WriteStep, //
        },
        samples::SUB_BLOCK_SECTORS,
        slots::NoSlot, //
    },
};
use kernel::prelude::*;

/// What is written.
#[derive(Clone, Copy)]
pub(super) enum Content<'a> {
    /// The content of a bio.
    Bio(&'a Parked<Bound, InFlight>),
    /// Bytes in memory.
    Bytes(&'a [u8]),
    /// Zeroes.
    Zeroes,
}

/// The content to be written, starting at some sector of it.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    content: Content<'a>,
    skip: u32,
}

impl<'a> Source<'a> {
    /// The content after the first `sectors`.
    pub(super) fn behind(self, sectors: u32) -> Self {
        Self {
            skip: self.skip.saturating_add(sectors),
            ..self
        }
    }

    /// All of this content.
    pub(super) fn new(content: Content<'a>) -> Self {
        Self { content, skip: 0 }
    }

    /// Copies the content from `sector` on, counted from its beginning.
    pub(super) fn copy_to(self, sector: u32, to: &mut [u8]) -> Result {
        let offset = usize::try_from(self.skip.saturating_add(sector))? << 9;
        match self.content {
            Content::Bio(parked) => parked.copy_to(offset, to)?,
            Content::Bytes(bytes) => {
                let end = offset.saturating_add(to.len());
                to.copy_from_slice(bytes.get(offset..end).ok_or(EINVAL)?);
            }
            Content::Zeroes => to.fill(0),
        }
        Ok(())
    }
}

/// A range of a volume, in sectors.
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub(super) sector: u64,
    pub(super) sectors: u32,
}

impl Range {
    /// What is left after the first `done` sectors.
    pub(super) fn behind(self, done: u32) -> Self {
        Self {
            sector: self.sector.saturating_add(u64::from(done)),
            sectors: self.sectors.saturating_sub(done),
        }
    }
}

impl Slow<'_> {
    /// Writes a range to the store, and to the disk if there is one, step by step.
    pub(super) fn write(&self, source: Source<'_>, range: Range) -> Result {
        let mut done = 0;
        while done < range.sectors {
            let left = range.behind(done);
            let step = self
                .map()
                .write_run(&self.store.slots, left.sector, left.sectors);
            let sectors = match step {
                WriteStep::Run(run) => {
                    let sectors = run.sectors;
                    self.write_run(source, Range { sectors, ..left }, done, &run)?
                }
                WriteStep::Merge(sectors) => {
                    self.merge(source, Range { sectors, ..left }, done)?;
                    sectors
                }
                step => {
                    self.make_way(left.sector, step)?;
                    0
                }
            };
            done = done.saturating_add(sectors);
        }
        Ok(())
    }

    /// Writes a range that has slots, or the beginning of it; returns how many sectors. `from` is
    /// where it begins in the source.
    fn write_run(
        &self,
        source: Source<'_>,
        range: Range,
        from: u32,
        run: &WriteRun,
    ) -> Result<u32> {
        let sectors = match source.content {
            Content::Bio(_) | Content::Bytes(_) => range.sectors,
            Content::Zeroes => {
                let whole = self.whole_sub_blocks(range);
                if whole > 0 {
                    // The store needs no data for that.
                    self.zero_disk(range.sector, whole)?;
                    if self.map().zeroed(range.sector, whole) {
                        self.store.note_change();
                    }
                    return Ok(whole);
                }
                // Up to where whole sub-blocks begin.
                let within = range.sector.checked_rem(SUB_BLOCK_SECTORS).unwrap_or(0);
                let rest = u32::try_from(SUB_BLOCK_SECTORS.saturating_sub(within))?;
                rest.min(range.sectors)
            }
        };
        let mut done = 0;
        let range = Range { sectors, ..range };
        let result = self.write_chunks(source, range, from, run, &mut done);
        // After an error, too: the map has to know what both the disk and the store have.
        self.store.note_written(self.owner, range.sector, done);
        result.map(|()| sectors)
    }

    /// As [`Slow::write_run`], chunk by chunk; `done` says how many sectors were written.
    fn write_chunks(
        &self,
        source: Source<'_>,
        range: Range,
        from: u32,
        run: &WriteRun,
        done: &mut u32,
    ) -> Result {
        let mut buffer = KVec::new();
        while *done < range.sectors {
            let now = PIECE_SECTORS.min(range.sectors.saturating_sub(*done));
            buffer.resize(usize::try_from(now)? << 9, 0, GFP_KERNEL)?;
            source.copy_to(from.saturating_add(*done), &mut buffer)?;
            let offset = u64::from(*done);
            self.write_disk(range.sector.saturating_add(offset), &buffer)?;
            let sector = self.store.run_sector(run).saturating_add(offset);
            self.write_store(sector, &buffer)?;
            *done = done.saturating_add(now);
        }
        Ok(())
    }

    fn write_disk(&self, sector: u64, content: &KVec<u8>) -> Result {
        let Some(disk) = self.own_disk() else {
            return Ok(());
        };
        let device = self.bound.members.disk(disk).ok_or(ENXIO)?;
        let sectors = u32::try_from(content.len() >> 9)?;
        let io = &self.bound.members.io;
        match device.counted(|device| io.write(device, sector, content)) {
            Ok(()) => self.bound.forget_bad(disk, sector, sectors),
            Err(error) => self.lose(disk, error)?,
        }
        Ok(())
    }

    pub(super) fn zero_disk(&self, sector: u64, sectors: u32) -> Result {
        let Some(disk) = self.own_disk() else {
            return Ok(());
        };
        let device = self.bound.members.disk(disk).ok_or(ENXIO)?;
        self.bound
            .members
            .write_zeroes(device, sector, u64::from(sectors))
            .or_else(|error| self.lose(disk, error))
    }

    fn write_store(&self, sector: u64, content: &KVec<u8>) -> Result {
        let disk = self.store.disk()?;
        let _counted = disk.count_io();
        let io = &self.bound.members.io;
        io.write(&disk.device, sector, content)
            .map_err(|error| self.store_failed(error))
    }

    /// The store's device failed an operation of a write, with this error: if there is a disk, the
    /// volume can go on without the store, as when there is no space. Does not sleep.
    fn store_failed(&self, error: Error) -> Error {
        self.store.suspect();
        match self.own_disk() {
            Some(_) => ENOSPC,
            None => error,
        }
    }

    /// As [`format_segment`] of the store, for a write that waits for a slot. Sleeps for I/O.
    ///
    /// [`format_segment`]: super::Store::format_segment
    fn format_segment(&self) -> Result {
        self.store
            .format_segment()
            .map_err(|error| match fail::is_of_device(error) {
                true => self.store_failed(error),
                false => error,
            })
    }

    /// How many sectors the whole sub-blocks at the beginning of a range have.
    fn whole_sub_blocks(&self, range: Range) -> u32 {
        let sub = |sectors: u64| sectors.checked_rem(SUB_BLOCK_SECTORS).unwrap_or(0);
        let end = range.sector.saturating_add(u64::from(range.sectors));
        if sub(range.sector) != 0 {
            return 0;
        }
        // The end of the volume may cut the last one short.
        let cut = if end >= self.bound.members.sectors {
            0
        } else {
            sub(end)
        };
        range
            .sectors
            .saturating_sub(u32::try_from(cut).unwrap_or(0))
    }

    /// Writes a part of a sub-block that is not in its slot: reads the rest of the sub-block, and
    /// writes all of it to the slot.
    fn merge(&self, source: Source<'_>, range: Range, from: u32) -> Result {
        match self.writes {
            // Its sub-blocks are locked, so there are no other writes.
            Writes::Logged(_) | Writes::Kept => self.merge_quiet(source, range, from),
            Writes::Diverted => {
                let bid = range.sector >> self.map().block_shift();
                self.store.freeze(self.owner, &[bid])?;
                let result = self.merge_quiet(source, range, from);
                self.store.thaw(self.owner, &[bid]);
                result
            }
        }
    }

    /// As [`Slow::merge`], while nobody else writes there.
    fn merge_quiet(&self, source: Source<'_>, range: Range, from: u32) -> Result {
        let shift = self.map().block_shift();
        let within = range.sector.checked_rem(SUB_BLOCK_SECTORS).unwrap_or(0);
        let begin = range.sector.saturating_sub(within);
        let end = begin
            .saturating_add(SUB_BLOCK_SECTORS)
            .min(self.bound.members.sectors);
        let sectors = u32::try_from(end.saturating_sub(begin))?;
        let bid = begin >> shift;
        let slot = self.map().get(bid).slot().ok_or(EIO)?;
        let offset = begin.saturating_sub(bid << shift);
        let home = self.store.slot_sector(slot).saturating_add(offset);

        let mut content = KVec::from_elem(0u8, usize::try_from(sectors)? << 9, GFP_KERNEL)?;
        self.read(begin, &mut content)?;
        let at = usize::try_from(within)? << 9;
        let part_end = at.saturating_add(usize::try_from(range.sectors)? << 9);
        let part = content.get_mut(at..part_end).ok_or(EIO)?;
        source.copy_to(from, part)?;
        if let Writes::Logged(_) = self.writes {
            let mut part = KVec::from_elem(0u8, part_end.saturating_sub(at), GFP_KERNEL)?;
            source.copy_to(from, &mut part)?;
            self.write_disk(range.sector, &part)?;
        }
        self.write_store(home, &content)?;
        self.store.note_written(self.owner, begin, sectors);
        Ok(())
    }

    /// Reads the volume as its user sees it, from `sector` on.
    fn read(&self, sector: u64, content: &mut KVec<u8>) -> Result {
        let Some(disk) = self.own_disk() else {
            return self.read_overlay(sector, content);
        };
        let device = self.bound.members.disk(disk).ok_or(ENXIO)?;
        let io = &self.bound.members.io;
        let result = device.counted(|device| io.read(device, sector, content));
        result.or_else(|error| {
            self.bound.count_error(disk, true);
            let sectors = u32::try_from(content.len() >> 9)?;
            match self.owner.may_read_past(sector, sectors) {
                true => self.read_overlay(sector, content),
                false => Err(error),
            }
        })
    }

    /// Reads the base image, overlaid with what the store has, from `sector` on.
    fn read_overlay(&self, sector: u64, content: &mut KVec<u8>) -> Result {
        self.bound.read_overlay(self.volume, sector, content)
    }

    /// Removes the obstacle to writing the block at `sector`.
    fn make_way(&self, sector: u64, step: WriteStep) -> Result {
        let bid = sector >> self.map().block_shift();
        match step {
            WriteStep::NoRoom => Ok(self.map().make_room(bid, Wait::May)?),
            WriteStep::NoSlot(NoSlot::Unformatted) => self.format_segment(),
            WriteStep::NoSlot(_) => match self.store.slots.take_any() {
                Ok(slot) => {
                    let put = |entry: Entry| {
                        let is_free = entry.slot().is_none();
                        is_free.then(|| entry.moved_to(Some(slot)))
                    };
                    if self.map().update(bid, put).is_none() {
                        self.store.slots.free(slot);
                    }
                    Ok(())
                }
                Err(NoSlot::Unformatted) => self.format_segment(),
                Err(_) => {
                    self.store.say_full();
                    Err(ENOSPC)
                }
            },
            // Only the worker freezes blocks, and none is frozen now.
            _ => Err(EIO),
        }
    }

    /// Writes a range to the disk of an entry, and nowhere else. Sleeps for I/O.
    pub(super) fn write_unlogged(&self, disk: usize, source: Source<'_>, range: Range) -> Result {
        let disk = self.bound.members.disk(disk).ok_or(ENXIO)?;
        let _counted = disk.count_io();
        let mut done = 0;
        while done < range.sectors {
            let sectors = PIECE_SECTORS.min(range.sectors.saturating_sub(done));
            let mut content = KVec::from_elem(0u8, usize::try_from(sectors)? << 9, GFP_KERNEL)?;
            source.copy_to(done, &mut content)?;
            let at = range.sector.saturating_add(u64::from(done));
            self.bound.members.io.write(&disk.device, at, &content)?;
            done = done.saturating_add(sectors);
        }
        Ok(())
    }
}
