// SPDX-License-Identifier: GPL-2.0

//! Fills a disk for a volume, chunk by chunk, until it becomes the volume's own.

use super::{
    is_hung,
    table_disk,
    to_fill,
    Due, //
};
use crate::{
    base::{
        self,
        Verdict, //
    },
    bound::{
        Bound,
        Volume, //
    },
    dm::Worker,
    group::{
        background::{
            chunk,
            resize,
            Rebuilds,
            PATIENCE_MS, //
        },
        commit::box_next,
        Group, //
    },
    log,
    overlay::Place,
    store::{
        CopyError,
        Owner, //
    },
    svol_core::{
        block_map::Kind,
        group::{
            GroupTable,
            Rebuild, //
        },
        log_mode::{
            Event,
            Mode, //
        },
        route::VolumeView,
        turns::has_to_make_way, //
    },
};
use kernel::{
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// How often the metadata records how far a disk is filled, in milliseconds.
const CHECKPOINT_MS: i64 = 5000;

/// Why filling a disk does not go on.
pub(super) enum Halt {
    /// The worker must stop.
    Stopped,
    /// The rebuild was given up elsewhere.
    Gone,
    /// There is nothing to copy from, or the metadata can't be written.
    Later(Error),
    /// Something else that will soon be done is in the way.
    Busy,
    /// Another rebuild has waited long enough for its turn.
    Turn,
    /// The disk that is being filled failed.
    Target,
    /// The increments, or the disk that is being filled, may lack some of what the volume's disk
    /// has.
    Differs,
}

impl From<CopyError> for Halt {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Source(error) | CopyError::Target(error @ ENOMEM) => Self::Later(error),
            CopyError::Target(_) => Self::Target,
            CopyError::Late => Self::Busy,
        }
    }
}

/// A disk that is being filled.
pub(super) struct Filling<'a> {
    pub(super) worker: &'a Worker<Rebuilds>,
    pub(super) bound: &'a Bound,
    pub(super) volume: &'a Volume,
    /// Where its changes are, if they must be copied, too.
    pub(super) place: Option<Place<'a>>,
    pub(super) due: Due,
}

/// What was read ahead.
struct Ahead {
    /// The base image.
    content: KVec<u8>,
    /// Which part was read, if any: its first sector, and the number of sectors.
    place: Option<(u64, u32)>,
}

impl Filling<'_> {
    /// Fills the disk to its end, then makes it the volume's own.
    pub(super) fn fill(&self) -> Result<(), Halt> {
        if (self.due.is_in_place || self.due.needs_increments) && self.place.is_none() {
            // The volume does no I/O now, and its changes can't be found.
            return Err(Halt::Busy);
        }
        let end = self.bound.members.sectors;
        let mut ahead = Ahead {
            content: KVec::new(),
            place: None,
        };
        let mut buffer = KVec::new();
        let (mut saved, mut before) = (Instant::<Monotonic>::now(), self.volume.copied.get());
        // Whether users wait for a disk that this reads or writes.
        let is_busy = || {
            let store = self.place.map(|place| place.store().entry());
            let used = [Some(self.due.rebuild.target), store];
            let sources = self.bound.sources.iter();
            self.bound
                .has_io(Iterator::chain(sources, used.into_iter().flatten()))
        };
        // After a start, less than a sub-block at the end may count as copied and yet be behind it.
        self.keep_to_reach();
        while self.volume.copied.get() < end {
            self.bound.group.flush_moves(self.bound);
            self.check()?;
            self.keep_to_reach();
            self.worker
                .advance(self.bound, self.volume, is_busy, |at, most| {
                    let sectors = chunk(
                        most,
                        end.saturating_sub(at),
                        [&mut buffer, &mut ahead.content],
                    );
                    self.copy(at, sectors, &mut buffer, &mut ahead)
                })?;
            if saved.elapsed().as_millis() >= CHECKPOINT_MS {
                let now = self.volume.copied.get();
                if now == before {
                    // A write that does not end is in the way: its disk does not answer.
                    return Err(Halt::Busy);
                }
                before = now;
                self.checkpoint()?;
                let _ = self.bound.group.end_moves(self.bound);
                if self.has_to_make_way() {
                    return Err(Halt::Turn);
                }
                saved = Instant::<Monotonic>::now();
            }
        }
        self.finish()
    }

    /// Writes go to the disk up to where the owner says that it is filled, which moves under the
    /// write locks: filling continues from there.
    fn keep_to_reach(&self) {
        if let Some(reach) = self.place.and_then(|place| place.owner().filled_up_to()) {
            self.volume.copied.set(reach);
        }
    }

    /// Whether another rebuild that could not go on must be tried again.
    fn has_to_make_way(&self) -> bool {
        let state = self.bound.group.state.lock();
        state.table.as_ref().is_some_and(|table| {
            let turns = to_fill(table, self.bound).map(|(_, turn)| turn);
            has_to_make_way(turns, self.bound.age_ms())
        })
    }

    /// Whether it may go on.
    fn check(&self) -> Result<(), Halt> {
        if self.worker.is_stopped() {
            return Err(Halt::Stopped);
        }
        let state = self.bound.group.state.lock();
        let now = state
            .table
            .as_ref()
            .and_then(|table| table.rebuild_of(self.due.rebuild.entry));
        let is_in_place = state
            .table
            .as_ref()
            .is_some_and(|table| table_disk(table, &self.due.lid).is_some());
        match now {
            Some(rebuild) if rebuild.target != self.due.rebuild.target => Err(Halt::Gone),
            // The volume may have lost its disk, and now be rebuilt onto the same target.
            Some(_) if is_in_place != self.due.is_in_place => Err(Halt::Gone),
            Some(_) if self.has_failed() => Err(Halt::Target),
            Some(_) if self.lacks_write() => Err(Halt::Differs),
            // What is being copied keeps writes of users waiting.
            Some(_) if self.is_target_hung() => Err(Halt::Busy),
            Some(_) => Ok(()),
            None => Err(Halt::Gone),
        }
    }

    /// See [`is_hung`].
    fn is_target_hung(&self) -> bool {
        is_hung(self.bound, self.due.rebuild.target)
    }

    fn has_failed(&self) -> bool {
        self.place.is_some_and(|place| match self.due.is_in_place {
            true => place.owner().has_move_failed(),
            false => place.owner().has_fill_failed(),
        })
    }

    /// Whether the disk can't become the volume's own, although it works.
    fn lacks_write(&self) -> bool {
        let lacks = |place: Place<'_>| place.owner().does_move_lack();
        self.due.is_in_place && self.place.is_some_and(lacks)
    }

    /// Stops writes of this volume to the disk that was being filled. Sleeps.
    pub(super) fn leave(&self) {
        match self.place {
            // If it does not end now, the worker comes back to it.
            Some(place) if self.due.is_in_place => {
                let _ = place.store().end_move(place.owner());
            }
            Some(place) => place.owner().leave_fill(self.due.rebuild.target),
            None => (),
        }
    }

    /// Copies a chunk, and reads the next one meanwhile. Returns the number of sectors copied: 0 if
    /// the beginning of the chunk is being written right now.
    fn copy(
        &self,
        at: u64,
        sectors: u32,
        buffer: &mut KVec<u8>,
        ahead: &mut Ahead,
    ) -> Result<u32, Halt> {
        let is_here = ahead.place.take() == Some((at, sectors));
        if is_here {
            core::mem::swap(buffer, &mut ahead.content);
        }
        let next = at.saturating_add(u64::from(sectors));
        let left = self.bound.members.sectors.saturating_sub(next);
        let following = u32::try_from(left).map_or(sectors, |left| sectors.min(left));
        let meanwhile = || self.read_ahead(next, following, ahead);
        if let Some(place) = self.place {
            let (store, owner) = (place.store(), place.owner());
            let to = (buffer, is_here);
            return Ok(store.copy_to_fill(self.bound, owner, at, sectors, to, meanwhile)?);
        }
        if !is_here {
            resize(buffer, sectors).map_err(Halt::Later)?;
            self.bound
                .read_least_used(at, buffer)
                .map_err(CopyError::Source)?;
        }
        self.bound
            .write_disk(self.due.rebuild.target, at, buffer, meanwhile)
            .map_err(CopyError::Target)?;
        Ok(sectors)
    }

    /// Reads ahead the part of the base image that is copied next. If that fails, it is read later.
    fn read_ahead(&self, at: u64, sectors: u32, ahead: &mut Ahead) {
        let is_base = self.place.is_none_or(|place| {
            let run = place.owner().map.read_run(at, sectors);
            run.kind == Kind::Base && run.sectors == sectors
        });
        if sectors == 0 || !is_base || self.worker.is_stopped() {
            return;
        }
        let read = resize(&mut ahead.content, sectors)
            .and_then(|()| self.bound.read_least_used(at, &mut ahead.content));
        if read.is_ok() {
            ahead.place = Some((at, sectors));
        }
    }

    /// Makes everything in front of the cursor durable; returns the cursor.
    fn make_durable(&self) -> Result<u64, Halt> {
        // Read it before the flush, which may not cover what is copied later.
        let cursor = self.volume.copied.get();
        match self.place {
            Some(place) if !self.due.is_in_place => {
                place.store().sync_both(place.owner(), PATIENCE_MS)?;
            }
            // What is being written to it meanwhile, if it is in place, is marked.
            _ => self.flush_target()?,
        }
        if self.has_failed() {
            return Err(Halt::Target);
        }
        match self.lacks_write() {
            true => Err(Halt::Differs),
            false => Ok(cursor),
        }
    }

    /// Flushes the disk that is being filled. Sleeps for I/O.
    fn flush_target(&self) -> Result<(), Halt> {
        let flushed = self.bound.flush_disk(self.due.rebuild.target);
        if let (Err(_), Some(place)) = (flushed, self.place.filter(|_| self.due.is_in_place)) {
            // A later flush that succeeds does not bring back what was lost.
            place.owner().note_move_failed();
        }
        Ok(flushed.map_err(CopyError::Target)?)
    }

    /// Makes durable how far the disk is filled.
    #[inline(never)]
    pub(super) fn checkpoint(&self) -> Result<(), Halt> {
        if self.due.is_in_place && self.is_target_hung() {
            return Err(Halt::Busy);
        }
        let cursor = self.make_durable()?;
        self.bound
            .group
            .commit_cursor(self.bound, &self.due.rebuild, cursor)
            .map_err(Halt::Later)
    }

    /// The disk holds all data: makes it the volume's own.
    #[inline(never)]
    fn finish(&self) -> Result<(), Halt> {
        let reach = self.place.map(|place| place.owner().filled_up_to());
        if reach.is_some_and(|reach| reach.is_none_or(|reach| reach < self.bound.members.sectors)) {
            // Some writes did not go to the disk.
            return Err(Halt::Busy);
        }
        if let (Some(place), true) = (self.place, self.due.is_in_place) {
            return self.finish_move(place);
        }
        if let Some(place) = self.place {
            let is_stopped = || self.worker.is_stopped() || self.is_target_hung();
            place
                .store()
                .fill_pinned(self.bound, place.owner(), is_stopped)?;
        }
        self.make_durable()?;
        self.compare_samples()?;
        self.check()?;
        self.bound
            .group
            .commit_rebuilt(self, false)
            .map_err(|error| self.why_not(error))
    }

    /// Why [`Group::commit_rebuilt`] did not end well. An error of the metadata says nothing about
    /// the disk. Does not sleep.
    fn why_not(&self, error: Error) -> Halt {
        let is_gone = self.bound.fate(self.due.rebuild.target).is_gone();
        match error {
            EIO | EBUSY if is_gone || self.has_failed() => Halt::Target,
            EBUSY => Halt::Busy,
            ENXIO => Halt::Gone,
            error => Halt::Later(error),
        }
    }

    /// As [`Filling::finish`], for a volume that is written in place. Its I/O is paused meanwhile,
    /// so that the flush makes everything durable that was ever written.
    fn finish_move(&self, place: Place<'_>) -> Result<(), Halt> {
        let group = &self.bound.group;
        // Before the pause, since this may take long, or hang; the flush below finds little to do.
        self.flush_target()?;
        // If it does not answer some write, the pause would wait for that.
        self.check()?;
        let paused = match group.loaded_by(&self.due.lid) {
            // Not in this worker: the suspend of the group waits for it.
            Some(number) => match group.pauses.pause(group.provider.clone(), number) {
                Ok(Some(paused)) => Some(paused),
                // The volume is being loaded, or about to go away.
                Ok(None) => return Err(Halt::Busy),
                // The group is being suspended, but that may be undone.
                Err(_) => return Err(Halt::Busy),
            },
            None => None,
        };
        self.flush_target()?;
        self.check()?;
        if place.owner().mode() != Mode::Both {
            return Err(Halt::Busy);
        }
        if place.owner().may_differ() {
            return Err(Halt::Differs);
        }
        group
            .commit_rebuilt(self, paused.is_some())
            .map_err(|error| self.why_not(error))
    }

    /// The volume in its store, if the volume has no disk yet.
    fn kept(&self) -> Option<&Owner> {
        let kept = self.place.filter(|_| !self.due.is_in_place);
        kept.map(|place| place.owner())
    }

    /// If the volume moves away from its `old` disk, others read the base image from the new one
    /// instead, unless the volume is written in place. Under `commits`. Does not sleep.
    ///
    /// # Errors
    ///
    /// `EIO` or `EBUSY` if the new disk is failing.
    fn redirect_reads(&self, old: Option<usize>) -> Result {
        let target = self.due.rebuild.target;
        match old {
            Some(_) if self.due.is_in_place && self.bound.fate(target).is_gone() => Err(EIO),
            Some(old) if !self.due.is_in_place && !self.bound.hand_over(old, target) => Err(EBUSY),
            _ => Ok(()),
        }
    }

    /// The disk does not become the volume's own: others read the old one again, if that `old` one serves
    /// others, and leave this one alone. Under `commits`. Does not sleep.
    fn redirect_back(&self, old: Option<usize>) {
        let target = self.due.rebuild.target;
        match old {
            Some(old) => {
                self.bound.hand_over(target, old);
            }
            None => {
                self.bound.keep_away(target);
            }
        }
    }

    /// Checks that a disk that will serve others holds the base image.
    fn compare_samples(&self) -> Result<(), Halt> {
        if self.place.is_some() {
            return Ok(());
        }
        let group = &self.bound.group;
        let state = group.state.lock();
        let mut samples = KVec::new();
        if let Some(table) = &state.table {
            samples
                .extend_from_slice(&table.metadata().samples, GFP_KERNEL)
                .map_err(|_| Halt::Later(ENOMEM))?;
        }
        drop(state);
        let members = &self.bound.members;
        let disk = members.disk(self.due.rebuild.target).ok_or(Halt::Target)?;
        match base::compare(members, disk, &samples) {
            Ok(Verdict::Same) => Ok(()),
            Ok(Verdict::Differs(sector)) => {
                log::warning!(
                    group.name(),
                    "{}: the disk of {} does not hold what was written to it, see sector {sector}",
                    self.due.lid,
                    self.due.target
                );
                Err(Halt::Target)
            }
            Ok(Verdict::Partly(_) | Verdict::Unreadable(_)) => Err(Halt::Target),
            Err(error) => Err(Halt::Later(error)),
        }
    }
}

impl Group {
    /// Makes durable how far a disk is filled.
    #[inline(never)]
    fn commit_cursor(&self, bound: &Bound, rebuild: &Rebuild, cursor: u64) -> Result {
        let homes = self.commits.lock();
        let next = self.next_table(|table| {
            let is_it = |now: Rebuild| now.target == rebuild.target;
            match table.rebuild_of(rebuild.entry).is_some_and(is_it) {
                true => table.with_cursor(rebuild.entry, cursor),
                false => Ok(None),
            }
        })?;
        match next {
            Some(next) => self.commit_quietly(bound, &homes, next),
            None => Ok(()),
        }
    }

    /// Makes durable that a disk is a volume's own, and lets that take effect. For a volume that is
    /// written in place, I/O must be paused (`is_paused`), unless the volume is not loaded: one
    /// that is being loaded waits for `commits` before it writes.
    ///
    /// # Errors
    ///
    /// `EIO` if the disk failed, `EBUSY` if there may be I/O, or if disk and store differ, `ENXIO` if
    /// the disk is no longer to be filled.
    #[inline(never)]
    fn commit_rebuilt(&self, filling: &Filling<'_>, is_paused: bool) -> Result {
        let (bound, rebuild) = (filling.bound, &filling.due.rebuild);
        let homes = self.commits.lock();
        let Rebuilt {
            next,
            old,
            old_serves,
        } = self.next_rebuilt(rebuild.entry)?;
        self.check_rebuilt(filling, is_paused)?;
        let view = next.view(rebuild.entry).ok_or(EINVAL)?;
        // A disk that may be written at any moment serves only its own volume.
        let serves = next.is_source(rebuild.target) && filling.place.is_none();
        if filling.kept().is_some_and(|owner| !owner.close_fill()) {
            // A write has failed in the store, or left out the disk, since the pinned regions were
            // copied.
            return Err(EBUSY);
        }
        // Before it is durable, so that reads are served whichever of the two disks fails.
        filling.redirect_reads(old)?;
        self.commit_or_doubt(bound, &homes, next)
            .inspect_err(|failed| {
                filling.redirect_back(old.filter(|_| old_serves));
                if failed.in_doubt.is_some() && filling.due.is_in_place {
                    self.cut_off(filling.volume);
                }
            })
            .map_err(|failed| failed.error)?;
        self.use_rebuilt(filling, view, serves);
        Ok(())
    }

    /// The group in which the disk that is being filled for an entry is its own; under `commits`.
    ///
    /// # Errors
    ///
    /// `ENXIO` if no disk is being filled; `ENOMEM`.
    #[inline(never)]
    fn next_rebuilt(&self, entry: usize) -> Result<Rebuilt> {
        let state = self.state.lock();
        let table = state.table.as_ref().ok_or(ENXIO)?;
        let old = table.disk_of(entry);
        Ok(Rebuilt {
            old,
            old_serves: old.is_some_and(|old| table.is_source(old)),
            next: box_next(table.with_rebuilt(entry)?)?.ok_or(ENXIO)?,
        })
    }

    /// Checks that the disk can still become the volume's own. Under `commits`. For the errors, see
    /// [`Group::commit_rebuilt`].
    fn check_rebuilt(&self, filling: &Filling<'_>, is_paused: bool) -> Result {
        if filling.has_failed() {
            return Err(EIO);
        }
        if filling.lacks_write() {
            return Err(EBUSY);
        }
        if filling.due.is_in_place && !is_paused && self.loaded_by(&filling.due.lid).is_some() {
            return Err(EBUSY);
        }
        Ok(())
    }

    /// It is durable that the disk is the volume's own: the volume uses it from now on, and others
    /// read it if it `serves` them. Under `commits`. Does not sleep.
    fn use_rebuilt(&self, filling: &Filling<'_>, view: VolumeView, serves: bool) {
        let (bound, volume) = (filling.bound, filling.volume);
        let (target, kept) = (filling.due.rebuild.target, filling.kept());
        bound.use_again(target, serves);
        let views = self.failures.views();
        if let (Some(place), true) = (filling.place, filling.due.is_in_place) {
            place.owner().finish_move(&views);
        } else if let Some(owner) = kept {
            owner.end_fill(&views);
            // The disk was filled while the volume had none.
            let _ = owner.advance(&views, Event::DiskIsFilled);
        }
        // A volume whose last changes are lost stays without any I/O.
        if volume.in_doubt.is_set() || volume.view.get() != VolumeView::NOWHERE {
            volume.view.set(&views, view);
        }
        volume.in_doubt.set(false);
        if serves {
            bound.sources.add(target, true);
        }
        drop(views);
        if let Some(owner) = kept {
            bound.record_lacks(owner);
        }
    }
}

/// What is to be committed when a disk becomes a volume's own.
struct Rebuilt {
    next: KBox<GroupTable>,
    /// The disk that the volume moves away from, if it has one.
    old: Option<usize>,
    /// Whether that holds the base image: it may not, since a diverted volume may once have written
    /// to it.
    old_serves: bool,
}
