// SPDX-License-Identifier: GPL-2.0

//! I/O that can't be done in one step: partial writes of sub-blocks, blocks without a slot at hand,
//! zeroes, discards, first writes of a region. Runs in the store's worker, one bio after the other.
//!
//! To keep other writes away from a block of a diverted volume, the worker freezes it and waits
//! until all I/O that began before has ended: see [`Store::freeze`]. Writes of a logged volume lock
//! their sub-blocks, here as elsewhere.

use super::{
    fail,
    patience::{
        LATER,
        LATER_MS, //
    },
    Owner,
    Store, //
};
use crate::{
    bound::{
        Bound,
        EntryNo,
        InFlight,
        OnEnd, //
    },
    dm::{
        current_cpu,
        Op,
        Parked,
        Status,
        Worker, //
    },
    env::Wait,
    overlay::Place,
    svol_core::{
        block_map::{
            BlockMap,
            Entry,
            WriteRun,
            WriteStep, //
        },
        log_mode::Mode,
        route::Home,
        samples::SUB_BLOCK_SECTORS,
        slots::NoSlot, //
    },
};
use kernel::prelude::*;

/// How many bytes are copied at once: small enough that the kernel finds memory even when it is
/// short.
const CHUNK_BYTES: usize = 32 << 10;

/// How many blocks a discard releases at once.
const DISCARD_BLOCKS: usize = 256;

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

impl Worker<Store> {
    /// Hands a bio to the worker. Does not sleep.
    pub(crate) fn push_slow(&self, parked: Parked<Bound, InFlight>) {
        let mut queues = self.queues.lock();
        queues.slow.push(parked);
        // Under the lock: once the bio can end, this store may go away.
        self.kick();
    }

    /// Handles all bios that were handed to the worker. Sleeps for I/O.
    ///
    /// Writes to a disk that does not answer stay queued, so that other volumes need not wait.
    pub(super) fn work(&self) {
        let mut queues = self.queues.lock();
        queues.working = queues.slow.take();
        drop(queues);
        let mut is_any_late = false;
        loop {
            let Some(parked) = self.queues.lock().working.pop() else {
                break;
            };
            match self.needs_silent_disk(&parked) {
                true => {
                    self.queues.lock().slow.push(parked);
                    is_any_late = true;
                }
                false => self.work_on(parked),
            }
        }
        if is_any_late {
            self.kick_within(LATER_MS);
        }
    }

    /// Whether a bio goes to a disk that does not answer.
    fn needs_silent_disk(&self, parked: &Parked<Bound, InFlight>) -> bool {
        let (bound, info) = (parked.keep(), parked.info());
        let volume = parked.data().volume;
        if parked.data().has_no_log && !info.is_fua() {
            // It is there already.
            return false;
        }
        let Some(slow) = Slow::of(self, bound, volume, info.op, info.sector) else {
            return false;
        };
        match slow.writes {
            Writes::Kept => {
                // Usually the disk that is being filled is left out.
                let (_, fills) = slow.owner.filled(0, 1);
                let waits = slow.owner.is_fill_closed() && !parked.data().has_no_disk;
                waits && fills.is_some_and(|disk| bound.is_silent(disk))
            }
            Writes::Logged(disk) => {
                // Without its log, the bio is sent on and not waited for; in the other modes, it
                // does not need the disk.
                let goes_there = matches!(slow.owner.mode(), Mode::Both | Mode::Behind);
                goes_there && bound.is_silent(disk)
            }
            Writes::Diverted => false,
        }
    }

    pub(super) fn work_on(&self, mut parked: Parked<Bound, InFlight>) {
        let info = parked.info();
        let range = Range {
            sector: info.sector,
            sectors: info.sectors,
        };
        let then = {
            let slow = Slow::of(
                self,
                parked.keep(),
                parked.data().volume,
                info.op,
                info.sector,
            );
            slow.ok_or(EIO)
                .and_then(|slow| slow.work_on(&parked, range))
        };
        match then {
            Ok(Then::Submit(entry, sector, data)) => {
                *parked.data_mut() = data;
                Bound::submit(parked, entry, sector);
            }
            // The commit that follows answers it.
            Ok(Then::End) if info.is_fua() => self.queues.lock().waiting.push(parked),
            Ok(Then::End | Then::Answer) => parked.end(Status::OK),
            Err(ENOSPC) => self.no_space(parked),
            // There may be memory later.
            Err(LATER | ENOMEM) => {
                self.queues.lock().slow.push(parked);
                self.kick_within(LATER_MS);
            }
            Err(_) => parked.end(Status::IOERR),
        }
    }
}

/// What happens next to a bio.
enum Then {
    /// It is done; a durable write is answered by the commit that follows.
    End,
    /// It is done, and none of it is in the store.
    Answer,
    /// All of it goes to this place on the disk of an entry.
    Submit(usize, u64, InFlight),
}

/// Where the writes of a volume go.
#[derive(Clone, Copy)]
pub(super) enum Writes {
    /// To the store alone, where blocks may be freed.
    Diverted,
    /// To its disk, that of this entry, and to the store.
    Logged(usize),
    /// It has no disk yet; see [`super::fill`].
    Kept,
}

impl Writes {
    fn to(home: Home) -> Self {
        match home {
            Home::Logged(disk) => Self::Logged(disk),
            Home::Kept => Self::Kept,
            // The volume may have stopped being served since the bio was queued.
            Home::Overlay | Home::Base | Home::Disk(_) | Home::Nowhere => Self::Diverted,
        }
    }
}

/// A volume, for I/O by the worker.
#[derive(Clone, Copy)]
pub(super) struct Slow<'a> {
    pub(super) store: &'a Worker<Store>,
    pub(super) bound: &'a Bound,
    /// Its index in the live table.
    pub(super) volume: usize,
    pub(super) owner: &'a Owner,
    writes: Writes,
}

impl<'a> Slow<'a> {
    /// A volume of a live table.
    pub(super) fn new(
        store: &'a Worker<Store>,
        bound: &'a Bound,
        volume: usize,
        owner: &'a Owner,
        writes: Writes,
    ) -> Self {
        Self {
            store,
            bound,
            volume,
            owner,
            writes,
        }
    }

    /// Looks a volume up for an I/O of this type that begins at this sector.
    fn of(
        store: &'a Worker<Store>,
        bound: &'a Bound,
        volume: EntryNo,
        op: Op,
        sector: u64,
    ) -> Option<Self> {
        let volume = volume.get()?;
        let view = bound.volumes.get(volume)?.view_of(op, sector);
        let owner = Place::of(bound, volume)?.owner();
        let writes = Writes::to(view.writes);
        Some(Self::new(store, bound, volume, owner, writes))
    }

    /// The same volume, with writes that go elsewhere.
    pub(super) fn with(self, writes: Writes) -> Self {
        Self { writes, ..self }
    }

    fn map(&self) -> &BlockMap {
        &self.owner.map
    }

    fn work_on(&self, parked: &Parked<Bound, InFlight>, range: Range) -> Result<Then> {
        if parked.data().has_no_disk {
            return self
                .give_up_fill(parked.data().disk.get())
                .map(|()| Then::End);
        }
        match self.writes {
            Writes::Logged(disk) => self.work_on_logged(disk, parked, range),
            _ if self.store.has_failed() => Err(EIO),
            Writes::Kept => self.work_on_kept(parked, range).map(|()| Then::End),
            Writes::Diverted => self.work_on_diverted(parked, range),
        }
    }

    fn work_on_logged(
        &self,
        disk: usize,
        parked: &Parked<Bound, InFlight>,
        range: Range,
    ) -> Result<Then> {
        let has_no_log = parked.data().has_no_log;
        if !has_no_log && self.owner.mode() == Mode::Held {
            // Other errors are logged. If the disk is kept, the write goes there as before.
            if self.settle(disk) == Err(ENOMEM) {
                return Err(ENOMEM);
            }
            if self.owner.mode() == Mode::Held {
                return Err(EIO);
            }
        }
        if !has_no_log && self.owner.mode() == Mode::Store {
            let kept = self.with(Writes::Kept);
            return kept.work_on_kept(parked, range).map(|()| Then::End);
        }
        match parked.info().op {
            _ if has_no_log => self.give_up_log()?,
            Op::Write | Op::WriteZeroes if self.owner.is_unlogged() => {
                let data = InFlight {
                    is_own: true,
                    ..InFlight::default()
                };
                return Ok(Then::Submit(disk, range.sector, data));
            }
            Op::Write => self.write_logged(disk, Source::new(Content::Bio(parked)), range)?,
            Op::WriteZeroes => self.write_logged(disk, Source::new(Content::Zeroes), range)?,
            // It was loaded while it was diverted.
            Op::Discard => (),
            _ => return Err(EIO),
        }
        if parked.info().is_fua() {
            // The commit that answers a durable write flushes only the store.
            self.flush_own()?;
        }
        match self.owner.is_unlogged() {
            true => Ok(Then::Answer),
            false => Ok(Then::End),
        }
    }

    fn work_on_diverted(&self, parked: &Parked<Bound, InFlight>, range: Range) -> Result<Then> {
        match parked.info().op {
            Op::Write => match self.try_at_once(range, parked.info().is_fua()) {
                Some(then) => return Ok(then),
                None => self.write(Source::new(Content::Bio(parked)), range)?,
            },
            Op::WriteZeroes => self.write(Source::new(Content::Zeroes), range)?,
            // Where an entry is removed, its disk may hold something else. Nobody relies on a
            // discard.
            Op::Discard if self.owner.keeps_entries() => (),
            Op::Discard => self.discard(range)?,
            _ => return Err(EIO),
        }
        Ok(Then::End)
    }

    /// As [`Bound::flush_disk`], as long as the volume has that disk.
    fn flush_own(&self) -> Result {
        let Some(disk) = self.own_disk() else {
            // Another disk may be being filled for it by now.
            return self.flush_fill();
        };
        if self.bound.flush_disk(disk).is_ok() {
            return Ok(());
        }
        // If the disk is kept, it has lost more than this write.
        self.store
            .disk_is_not_flushed(Some(self.bound), self.owner, disk)?;
        self.settle(disk)
    }

    /// The entry of the volume's own disk, if that also gets the writes.
    fn own_disk(&self) -> Option<usize> {
        match self.writes {
            Writes::Logged(disk) if self.owner.mode() != Mode::Store => Some(disk),
            _ => None,
        }
    }

    /// The disk failed an operation: the volume goes on without it, and that is durable when this
    /// returns.
    fn lose(&self, disk: usize, error: Error) -> Result {
        if error == ENOMEM {
            // This says nothing about the disk; what waits for memory is retried.
            return Err(ENOMEM);
        }
        self.bound.count_error(disk, false);
        if !self.owner.mode().is_logged() {
            return Err(EIO);
        }
        self.bound.begin_failure(disk, false);
        self.settle(disk)
    }

    /// Waits until the fate of the disk is decided; fails unless the volume goes on without it.
    fn settle(&self, disk: usize) -> Result {
        // Others are logged.
        if self.bound.group.fail_disk(self.bound, disk) == Err(ENOMEM) {
            return Err(ENOMEM);
        }
        match self.owner.mode() {
            Mode::Store => Ok(()),
            Mode::Both | Mode::Disk | Mode::Held | Mode::Behind => Err(EIO),
        }
    }

    /// The reason why a write was held up may be gone; then all of it goes to one place.
    fn try_at_once(&self, range: Range, fua: bool) -> Option<Then> {
        let ticket = self.owner.grace.enter(current_cpu());
        match self
            .map()
            .write_run(&self.store.slots, range.sector, range.sectors)
        {
            WriteStep::Run(run) if run.sectors == range.sectors => {
                let data = InFlight {
                    volume: EntryNo::of(self.volume),
                    on_end: OnEnd::Leave(ticket),
                    is_first: run.is_first,
                    needs_commit: fua,
                    ..InFlight::default()
                };
                Some(Then::Submit(
                    self.store.entry(),
                    self.store.run_sector(&run),
                    data,
                ))
            }
            _ => {
                self.owner.grace.leave(ticket);
                None
            }
        }
    }

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
        let chunk = u32::try_from(CHUNK_BYTES >> 9)?;
        let mut buffer = KVec::new();
        while *done < range.sectors {
            let now = chunk.min(range.sectors.saturating_sub(*done));
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

    fn zero_disk(&self, sector: u64, sectors: u32) -> Result {
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

    /// As [`Store::format_segment`], for a write that waits for a slot. Sleeps for I/O.
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
    pub(super) fn read_overlay(&self, sector: u64, content: &mut KVec<u8>) -> Result {
        self.bound.read_overlay(self.volume, sector, content)
    }

    /// Releases the blocks that a discard covers entirely; others stay as they are.
    fn discard(&self, range: Range) -> Result {
        let shift = self.map().block_shift();
        let end = range.sector.saturating_add(u64::from(range.sectors));
        let mut bid = range.sector.div_ceil(1 << shift);
        let last = if end >= self.bound.members.sectors {
            self.map().blocks()
        } else {
            end >> shift
        };
        let mut bids = KVec::with_capacity(DISCARD_BLOCKS, GFP_KERNEL)?;
        while bid < last {
            bids.clear();
            while bid < last && bids.len() < DISCARD_BLOCKS {
                if self.map().get(bid).slot().is_some() {
                    bids.push(bid, GFP_KERNEL)?;
                }
                bid = bid.saturating_add(1);
            }
            if !bids.is_empty() {
                self.free(&bids)?;
            }
        }
        Ok(())
    }

    /// Takes blocks out of the map, and releases their slots once nothing relies on them.
    fn free(&self, bids: &[u64]) -> Result {
        let mut slots = KVec::with_capacity(bids.len(), GFP_KERNEL)?;
        let mut freed = KVec::with_capacity(bids.len(), GFP_KERNEL)?;
        self.store.freeze(self.owner, bids)?;
        for bid in bids {
            let out = |entry: Entry| Some(entry.moved_to(None).with_dirty(false));
            let old = self.map().update(*bid, out).map(|(old, _)| old);
            if let Some((old, slot)) = old.and_then(|old| Some((old, old.slot()?))) {
                // There is room.
                let _ = slots.push_within_capacity(slot);
                let _ = freed.push_within_capacity((*bid, old));
            }
        }
        // Then wait for reads that found a slot before.
        let result = self
            .store
            .write_free(&mut slots)
            .and_then(|()| self.store.wait_for_ios(self.owner));
        if result.is_ok() {
            for slot in &slots {
                self.store.slots.give_back(*slot);
            }
        } else {
            // Their entries may still be on disk, and no block may ever have two slots.
            for (bid, old) in &freed {
                self.map().update(*bid, |_| Some(old.with_dirty(true)));
                self.store.note_change();
            }
        }
        self.store.thaw(self.owner, bids);
        result
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
                        self.store.slots.give_back(slot);
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
}

impl Store {
    /// Holds back writes of these blocks of an owner, and waits until all I/O that began before has
    /// ended; if that fails, nothing is held back. For the worker. Sleeps.
    ///
    /// # Errors
    ///
    /// [`LATER`] if a disk does not answer; `EIO` if there is no such block.
    pub(super) fn freeze(&self, owner: &Owner, bids: &[u64]) -> Result {
        for bid in bids {
            let frozen = |entry: Entry| Some(entry.with_frozen(true));
            owner.map.update(*bid, frozen).ok_or(EIO)?;
        }
        self.wait_for_ios(owner)
            .inspect_err(|_| self.thaw(owner, bids))
    }

    /// Lets writes of these blocks proceed; those that came meanwhile are in the worker's queue.
    pub(super) fn thaw(&self, owner: &Owner, bids: &[u64]) {
        for bid in bids {
            let thawed = |entry: Entry| Some(entry.with_frozen(false));
            owner.map.update(*bid, thawed);
        }
    }
}
