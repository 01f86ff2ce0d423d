// SPDX-License-Identifier: GPL-2.0

//! In-place volumes whose disk is gone, and the disk that is being filled for them.
//!
//! Such a volume reads the base image and the store, and the store alone decides whether a write
//! succeeds. The disk that is being filled has a cursor: everything below it has been copied, and
//! stays in step, since writes below it go to the disk, too, like those of a logged volume. Beyond
//! it, writes go only to the store. The fill and the writes take the same locks, and the cursor
//! moves under them, so that nothing is missed.
//!
//! Nobody waits for a disk that does not answer. Such a write goes only to the store, and its
//! region is pinned: pinned regions are copied again before the disk becomes the volume's own. A
//! flush needs only the store, too, if another one follows before that. [`Owner::close_fill`] ends
//! both.
//!
//! Regions are marked like those of a logged volume, even beyond the cursor: a mark is cleared only
//! after disk and store were flushed. After a crash, marked regions below the durable cursor are
//! copied again.

use super::{
    errand::{
        Errand,
        Outcome, //
    },
    patience::{
        LATER,
        LATER_MS, //
    },
    slow::Slow,
    write::{
        Content,
        Range,
        Source, //
    },
    Owner,
    Store, //
};
use crate::{
    bound::{
        Bound,
        InFlight, //
    },
    dm::{
        current_cpu,
        Op,
        Parked,
        Worker,
        PIECE_SECTORS, //
    },
    env::Word,
    errors::Views,
    svol_core::{
        block_map::Kind,
        entry_set::EntrySet,
        flag::Flag,
        samples::SUB_BLOCK_SECTORS, //
    },
};
use kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// The cursor of a disk that needs no filling.
const WHOLE: u64 = u64::MAX;

/// A cursor that may be within a sub-block: locks are for whole ones.
pub(super) fn whole_sub_blocks(cursor: u64) -> u64 {
    cursor & !(SUB_BLOCK_SECTORS - 1)
}

/// How far an owner's disk is filled.
pub(super) struct Fill {
    /// How many sectors from the beginning hold what the volume holds. Advances under the write
    /// locks.
    reach: Word,
    /// The disks that lack a write which they should have got while they were filled. More than
    /// one, since a write may end after its disk was given up and replaced by another one.
    failed: EntrySet,
    /// Whether the disk may hold a write that failed in the store, in a region that is pinned.
    ahead: Flag,
    /// How many writes and flushes were not sent to the disk, since it does not answer.
    skips: Word,
    /// How many of them came before the pinned regions were last copied.
    known_skips: Word,
    /// No more may be left out: the disk becomes the owner's own, or is.
    is_closed: Flag,
    /// What [`Worker::sync_owner`] asks the worker for.
    syncing: Errand,
}

impl Fill {
    /// For an owner whose disk holds everything, or is filled up to `cursor`.
    pub(super) fn new(is_whole: bool, cursor: u64) -> Self {
        Self {
            reach: Word::new(match is_whole {
                true => WHOLE,
                false => whole_sub_blocks(cursor),
            }),
            failed: EntrySet::new(),
            ahead: Flag::new(false),
            skips: Word::new(0),
            known_skips: Word::new(0),
            is_closed: Flag::new(is_whole),
            syncing: Errand::new(),
        }
    }

    /// Whether the disk holds everything.
    pub(super) fn is_whole(&self) -> bool {
        self.reach.get() == WHOLE
    }

    /// The disk holds everything, or nothing.
    pub(super) fn set_whole(&self, is_whole: bool) {
        self.is_closed.set(is_whole);
        self.reach.set(if is_whole { WHOLE } else { 0 });
    }
}

impl Owner {
    /// How many of these sectors, from the beginning, take the same path, and the entry of the disk
    /// that has to get them, too. To be called under their write locks. Does not sleep.
    pub(crate) fn filled(&self, sector: u64, sectors: u32) -> (u32, Option<usize>) {
        let reach = self.fill.reach.get();
        match reach.saturating_sub(sector) {
            0 => (sectors, None),
            left => {
                let left = u32::try_from(left).unwrap_or(u32::MAX);
                (sectors.min(left), self.disk())
            }
        }
    }

    /// The disk that is being filled for it, and how far that is.
    fn target(&self) -> Option<(usize, &Word)> {
        let fills = || Some((self.disk()?, &self.fill.reach));
        match self.is_on_disk() {
            true => self.moving.target().or_else(fills),
            // A move that was given up with the volume's disk may not have ended yet.
            false => fills(),
        }
    }

    /// How many sectors from the beginning of the disk that is being filled are done, if there is
    /// one.
    pub(crate) fn filled_up_to(&self) -> Option<u64> {
        let reach = self.target().map(|(_, reach)| reach.get());
        reach.filter(|reach| *reach != WHOLE)
    }

    /// Begins to fill the disk of this entry for it, from the beginning.
    pub(crate) fn begin_fill(&self, target: usize) {
        self.fill.reach.set(0);
        if let Some(intents) = &self.intents {
            // They were about the disk that it had.
            intents.unpin_all();
        }
        self.fill.ahead.set(false);
        self.fill.failed.remove(target);
        self.fill.is_closed.set(false);
        self.disk.set(Some(target));
    }

    /// Whether it is the disk of this entry that is being filled for it.
    pub(crate) fn is_filling(&self, entry: usize) -> bool {
        self.disk() == Some(entry) && !self.is_on_disk()
    }

    /// Restarts the fill of its disk from the beginning.
    pub(crate) fn restart_fill(&self) {
        self.fill.reach.set(0);
        if let Some(disk) = self.disk() {
            self.fill.failed.remove(disk);
        }
    }

    /// It has no disk, and none is being filled.
    pub(crate) fn stop_fill(&self) {
        self.disks.lose(self.disk());
        self.fill.reach.set(0);
        self.disk.set(None);
    }

    /// As [`Owner::stop_fill`], if it is this disk that is being filled.
    pub(crate) fn leave_fill(&self, disk: usize) {
        if self.is_filling(disk) {
            self.stop_fill();
        }
    }

    /// From now on, every write and every flush goes to the disk that is being filled, too. Returns
    /// whether the disk has all that those before left out, and does not differ from the store
    /// otherwise; if not, all stays as it was. If so, it stays closed: a commit that fails may be found
    /// after a crash. To be called after [`Worker::fill_pinned`] and a flush of the disk. Does not
    /// sleep.
    pub(crate) fn close_fill(&self) -> bool {
        // A full barrier, see `may_skip`.
        let was_open = self.fill.is_closed.raise();
        let has_all = self.fill.skips.get() == self.fill.known_skips.get() && !self.may_differ();
        if !has_all {
            self.fill.is_closed.set(!was_open);
        }
        has_all
    }

    /// Whether [`Owner::close_fill`] was called.
    pub(super) fn is_fill_closed(&self) -> bool {
        self.fill.is_closed.is_set()
    }

    /// Whether a write of this range, or a flush, may leave out the disk that is being filled. If
    /// so, the range is copied again before the disk becomes its own, and the disk flushed. For a
    /// write, to be called under its write locks, when its regions are marked. Does not sleep.
    fn may_skip(&self, range: Option<(u64, u32)>) -> bool {
        if self.is_fill_closed() {
            return false;
        }
        match (&self.intents, range) {
            (Some(intents), Some((sector, sectors))) => intents.pin(sector, sectors),
            (Some(_), None) => (),
            (None, _) => return false,
        }
        // A full barrier: either `close_fill` sees this, or this sees that it was called.
        self.fill.skips.add(1);
        !self.is_fill_closed()
    }

    /// The disk that was being filled is now its own.
    pub(crate) fn end_fill(&self, _: &Views<'_>) {
        // A full barrier, see `note_fill_ahead`.
        self.fill.reach.swap(WHOLE);
        let is_ahead = self.fill.ahead.take() && self.may_differ();
        if let Some(disk) = self.disk().filter(|_| is_ahead) {
            self.note_log_lacks(disk);
        }
    }

    /// The disk of this entry, which is or was being filled, may hold a write that failed in the
    /// store. Its region is pinned, so it is copied again, but it may be too late for that: then it
    /// is [`Owner::note_log_lacks`]. To be called before write locks are released. Does not sleep.
    pub(crate) fn note_fill_ahead(&self, disk: usize) {
        // A full barrier: either this sees that the disk is its own, or `end_fill` sees this.
        self.fill.ahead.raise();
        self.note_log_lacks(disk);
    }

    /// Records that the disk of this entry, which is or was being filled, lacks a write. Does not
    /// sleep.
    pub(crate) fn note_fill_failed(&self, disk: usize) {
        self.fill.failed.insert(disk);
    }

    /// Whether the disk that is being filled lacks a write.
    pub(crate) fn has_fill_failed(&self) -> bool {
        self.disk().is_some_and(|disk| self.fill.failed.has(disk))
    }
}

impl Bound {
    /// Whether a write of a range of an owner, or a flush, leaves out the disk of the entry that is
    /// being filled for it: it does not answer, and nobody needs it yet. Otherwise as
    /// [`Owner::may_skip`].
    #[inline]
    pub(crate) fn skips_fill(
        &self,
        owner: &Owner,
        target: usize,
        range: Option<(u64, u32)>,
    ) -> bool {
        self.is_silent(target) && owner.may_skip(range)
    }
}

/// Why something was not copied, or not made durable.
pub(crate) enum CopyError {
    /// What was to be copied can't be read.
    Source(Error),
    /// The disk that is being filled can't be written.
    Target(Error),
    /// Some disk does not answer.
    Late,
}

impl Slow<'_> {
    /// As [`Slow::work_on`], for a volume that has no disk yet.
    pub(super) fn work_on_kept(&self, parked: &Parked<Bound, InFlight>, range: Range) -> Result {
        let info = parked.info();
        match info.op {
            Op::Write if parked.data().has_no_log => return Err(EIO),
            Op::Write => self.write_kept(Source::new(Content::Bio(parked)), range)?,
            Op::WriteZeroes => self.write_kept(Source::new(Content::Zeroes), range)?,
            // The table may have been loaded while it was diverted. Nobody relies on a discard.
            Op::Discard => (),
            _ => return Err(EIO),
        }
        // The commit that answers a durable write flushes only the store.
        match info.is_fua() {
            true => self.flush_fill(),
            false => Ok(()),
        }
    }

    /// Flushes the disk that is being filled, if that answers. Sleeps for I/O.
    pub(super) fn flush_fill(&self) -> Result {
        let (_, Some(disk)) = self.owner.filled(0, 1) else {
            return Ok(());
        };
        if self.bound.skips_fill(self.owner, disk, None) {
            return Ok(());
        }
        if self.bound.flush_disk(disk).is_err() {
            self.owner.note_fill_failed(disk);
            self.give_up_fill(Some(disk))?;
        }
        Ok(())
    }

    /// The disk that is being filled failed; that is durable when this returns.
    pub(super) fn give_up_fill(&self, disk: Option<usize>) -> Result {
        let disk = disk.ok_or(EIO)?;
        self.bound.group.give_up_disk(self.bound, self.volume, disk)
    }

    /// Writes a range to the store and, up to the cursor, to the disk that is being filled, if that
    /// answers. Sleeps for I/O.
    pub(super) fn write_kept(&self, source: Source<'_>, range: Range) -> Result {
        self.mark(range)?;
        let mut done = 0;
        while done < range.sectors {
            let left = range.behind(done);
            let locked = self.lock(left)?;
            let (sectors, disk) = self.owner.filled(left.sector, locked);
            let part = Range { sectors, ..left };
            let rest = left.behind(sectors);
            let range = Some((part.sector, sectors));
            let skips = |disk: &usize| self.bound.skips_fill(self.owner, *disk, range);
            let disk = disk.filter(|disk| !skips(disk));
            self.owner
                .locks
                .release(rest.sector, locked.saturating_sub(sectors));
            let has_failed = self.write_part_kept(source.behind(done), part, disk);
            self.owner.locks.release(part.sector, sectors);
            if has_failed? {
                self.give_up_fill(disk)?;
            }
            done = done.saturating_add(sectors);
        }
        Ok(())
    }

    /// Writes a part to the store and, if there is one, to the disk that is being filled. Returns
    /// whether that disk failed. If one of the two may have the write and the other not, the part
    /// is pinned. The caller holds its write locks. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the store; `ENOMEM`, then all of the write is retried.
    fn write_part_kept(&self, from: Source<'_>, part: Range, disk: Option<usize>) -> Result<bool> {
        let in_store = self.write(from, part);
        let Some(disk) = disk else {
            return in_store.map(|()| false);
        };
        let written = in_store.and_then(|()| self.write_unlogged(disk, from, part));
        if let (Err(_), Some(intents)) = (written, &self.owner.intents) {
            intents.pin(part.sector, part.sectors);
        }
        match written {
            Ok(()) => Ok(false),
            Err(error) if in_store.is_err() || error == ENOMEM => Err(error),
            Err(_) => {
                self.owner.note_fill_failed(disk);
                Ok(true)
            }
        }
    }
}

/// A part of a buffer, in sectors.
fn part(content: &mut KVec<u8>, sector: u32, sectors: u32) -> Result<&mut [u8]> {
    let begin = usize::try_from(sector)? << 9;
    let bytes = usize::try_from(sectors)? << 9;
    if bytes == 0 {
        return Err(EIO);
    }
    content
        .get_mut(begin..begin.saturating_add(bytes))
        .ok_or(EIO)
}

/// Reads the base image of a range, where the store has nothing over it, from the least used
/// source. Entries stay in the store as long as a disk is being filled, so whatever has no entry
/// later was read here.
fn read_base(
    bound: &Bound,
    owner: &Owner,
    sector: u64,
    sectors: u32,
    content: &mut KVec<u8>,
) -> Result {
    content.resize(usize::try_from(sectors)? << 9, 0, GFP_KERNEL)?;
    let mut done = 0;
    while done < sectors {
        let at = sector.saturating_add(u64::from(done));
        let run = owner.map.read_run(at, sectors.saturating_sub(done));
        if run.kind == Kind::Base {
            if run.sectors == sectors {
                return bound.read_least_used(at, content);
            }
            let part = part(content, done, run.sectors)?;
            let mut bounce = KVec::from_elem(0u8, part.len(), GFP_KERNEL)?;
            bound.read_least_used(at, &mut bounce)?;
            part.copy_from_slice(&bounce);
        } else if run.sectors == 0 {
            return Err(EIO);
        }
        done = done.saturating_add(run.sectors);
    }
    Ok(())
}

impl Worker<Store> {
    /// Copies a range of a volume, or the beginning of it, to the disk that is being filled; if the
    /// cursor is at its beginning, advances the cursor past it. Returns how many sectors were
    /// copied: 0 if the first of them are being written. With `has_base`, the buffer already has
    /// the base image of the range. `meanwhile` runs while the disk is being written. Sleeps for
    /// I/O.
    ///
    /// # Errors
    ///
    /// Those of the devices.
    #[inline(never)]
    pub(crate) fn copy_to_fill(
        &self,
        bound: &Bound,
        owner: &Owner,
        sector: u64,
        sectors: u32,
        (buffer, has_base): (&mut KVec<u8>, bool),
        meanwhile: impl FnOnce(),
    ) -> Result<u32, CopyError> {
        let free = owner.locks.take(sector, sectors);
        owner.locks.release(sector, free);
        if free == 0 {
            return Ok(0);
        }
        if !has_base {
            // Before taking the locks, so that writes that wait for them do not wait for other
            // volumes' disks. Nobody writes the base image, and reading it where it is no longer
            // needed a moment later does no harm.
            read_base(bound, owner, sector, sectors, buffer).map_err(CopyError::Source)?;
        }
        let locked = owner.locks.take(sector, sectors);
        if locked == 0 {
            return Ok(0);
        }
        let result = self.copy_locked(bound, owner, sector, locked, buffer, meanwhile);
        if let (Ok(()), Some((_, reach))) = (&result, owner.target()) {
            // Has no effect if the fill was given up meanwhile.
            let end = sector.saturating_add(u64::from(locked));
            let _ = reach.replace(sector, end);
        }
        owner.locks.release(sector, locked);
        result.map(|()| locked)
    }

    /// Copies a range, under its write locks; the buffer has the base image of it.
    fn copy_locked(
        &self,
        bound: &Bound,
        owner: &Owner,
        sector: u64,
        sectors: u32,
        buffer: &mut KVec<u8>,
        meanwhile: impl FnOnce(),
    ) -> Result<(), CopyError> {
        let (target, _) = owner.target().ok_or(CopyError::Target(ENXIO))?;
        self.read_store(owner, sector, sectors, buffer)
            .map_err(CopyError::Source)?;
        bound
            .write_disk(target, sector, buffer, meanwhile)
            .map_err(CopyError::Target)
    }

    /// Reads what the store has of a range over the content of a buffer, and cuts the buffer to the
    /// range's length.
    fn read_store(
        &self,
        owner: &Owner,
        sector: u64,
        sectors: u32,
        content: &mut KVec<u8>,
    ) -> Result {
        content.resize(usize::try_from(sectors)? << 9, 0, GFP_KERNEL)?;
        let mut done = 0;
        while done < sectors {
            let at = sector.saturating_add(u64::from(done));
            // The ticket keeps slots that are read here from being reused.
            let ticket = owner.grace.enter(current_cpu());
            let run = owner.map.read_run(at, sectors.saturating_sub(done));
            let read =
                part(content, done, run.sectors).and_then(|part| self.read_place(&run.kind, part));
            owner.grace.leave(ticket);
            read?;
            done = done.saturating_add(run.sectors);
        }
        Ok(())
    }

    /// Reads what the store has at a place; leaves the rest of the buffer unchanged.
    fn read_place(&self, kind: &Kind, part: &mut [u8]) -> Result {
        match *kind {
            Kind::Base => (),
            Kind::Zero => part.fill(0),
            Kind::Slot { slot, offset } => {
                let mut bounce = KVec::from_elem(0u8, part.len(), GFP_KERNEL)?;
                let place = self.slot_sector(slot).saturating_add(u64::from(offset));
                self.members.io.read(self.device()?, place, &mut bounce)?;
                part.copy_from_slice(&bounce);
            }
        }
        Ok(())
    }

    /// Has the worker wait for all writes of an owner that have begun, and make them durable in the
    /// store. If some disk does not answer meanwhile, waits for about `patience_ms`. One caller at
    /// a time. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// [`CopyError::Source`] if the store failed, [`CopyError::Late`] if a disk was not waited for
    /// any longer.
    pub(crate) fn sync_owner(&self, owner: &Owner, patience_ms: i64) -> Result<(), CopyError> {
        let syncing = &owner.fill.syncing;
        syncing.ask();
        self.ask();
        match syncing.wait(patience_ms) {
            Outcome::Done => Ok(()),
            Outcome::Failed => Err(CopyError::Source(EIO)),
            Outcome::Late => Err(CopyError::Late),
        }
    }

    /// As [`Worker::sync_owner`], and makes the same durable on its disk, or the one that is being
    /// filled for it. That is done by the caller: the store's thread, which serves all owners, must
    /// not wait for that disk. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of [`Worker::sync_owner`]; [`CopyError::Target`] if that disk failed.
    pub(crate) fn sync_both(&self, owner: &Owner, patience_ms: i64) -> Result<(), CopyError> {
        self.sync_owner(owner, patience_ms)?;
        self.flush_disk_of(owner).map_err(|error| match error {
            LATER => CopyError::Late,
            _ => CopyError::Target(EIO),
        })
    }

    /// Does what [`Worker::sync_owner`] waits for. Sleeps for I/O.
    pub(super) fn sync_owners(&self) {
        let mut later = false;
        for owner in self.owners.iter() {
            let syncing = &owner.fill.syncing;
            if !syncing.begin() {
                continue;
            }
            if self.wait_for_ios(owner).is_err() {
                syncing.put_off();
                later = true;
                continue;
            }
            syncing.end(self.commit().is_ok());
        }
        if later {
            self.asked.set(true);
            self.kick_within(LATER_MS);
        }
    }

    /// After a crash: copies marked regions below the cursor again. Nobody uses the volume
    /// meanwhile. Durable when it returns; sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the devices.
    #[inline(never)]
    pub(crate) fn fill_again(&self, bound: &Bound, owner: &Owner) -> Result<(), CopyError> {
        let Some(intents) = &owner.intents else {
            return Ok(());
        };
        for region in intents.marked() {
            self.copy_region(bound, owner, region)?;
        }
        self.has_marks.set(true);
        bound
            .flush_disk(owner.disk().ok_or(CopyError::Target(ENXIO))?)
            .map_err(CopyError::Target)?;
        for region in intents.marked() {
            intents.unpin(region);
        }
        Ok(())
    }

    /// Copies again the regions that a write left different, since it failed or the disk did not
    /// get it. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the devices; [`CopyError::Late`] if it `is_stopped`, or a write stays in the way.
    /// The regions stay pinned then.
    #[inline(never)]
    pub(crate) fn fill_pinned(
        &self,
        bound: &Bound,
        owner: &Owner,
        is_stopped: impl Fn() -> bool,
    ) -> Result<(), CopyError> {
        let Some(intents) = &owner.intents else {
            return Ok(());
        };
        // Whatever was counted is pinned by now.
        owner.fill.known_skips.set(owner.fill.skips.get());
        owner.fill.ahead.set(false);
        for region in intents.pinned() {
            if is_stopped() {
                return Err(CopyError::Late);
            }
            // Before the copy, since another write may fail meanwhile.
            intents.unpin(region);
            self.copy_region(bound, owner, region)
                .inspect_err(|_| intents.pin_region(region))?;
        }
        Ok(())
    }

    /// Copies a region again, as far as it is below the cursor.
    pub(super) fn copy_region(
        &self,
        bound: &Bound,
        owner: &Owner,
        region: u32,
    ) -> Result<(), CopyError> {
        /// The longest wait for a write, in milliseconds.
        const MOST_WAIT_MS: i64 = 3000;

        let Some(intents) = &owner.intents else {
            return Ok(());
        };
        let (begin, end) = intents.extent(region);
        let reach = owner.target().map_or(0, |(_, reach)| reach.get());
        let end = end.min(bound.members.sectors).min(reach);
        let mut buffer = KVec::new();
        let mut at = begin;
        let mut waits_since = Instant::<Monotonic>::now();
        while at < end {
            let left = u32::try_from(end.saturating_sub(at)).unwrap_or(u32::MAX);
            let part = PIECE_SECTORS.min(left);
            // It counts as just written, so that its mark is not taken back before this is durable.
            intents.touch(at, part);
            let done = self.copy_to_fill(bound, owner, at, part, (&mut buffer, false), || ())?;
            if done > 0 {
                waits_since = Instant::now();
            } else if waits_since.elapsed().as_millis() >= MOST_WAIT_MS {
                // A write is in the way. One that its disk does not answer may stay there.
                return Err(CopyError::Late);
            } else {
                fsleep(Delta::from_micros(100));
            }
            at = at.saturating_add(u64::from(done));
        }
        Ok(())
    }
}
