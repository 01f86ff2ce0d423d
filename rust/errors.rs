// SPDX-License-Identifier: GPL-2.0

//! I/O that failed.
//!
//! A failed bio is handled by [`ended`], which must not sleep. The core ([`fault`]) decides what
//! the error says about the disk. I/O that can be served elsewhere is parked:
//!
//! - reads in [`Retries`], which sends them to another disk and waits for nothing else; what no
//!   single disk can read, in [`PartReads`];
//! - writes and flushes that failed only on that disk, and new writes of its volume, in
//!   [`Failures`], which makes the failure durable first.
//!
//! [`Repairs`] rewrites what a disk could not read. [`Silences`] watches for disks that do not
//! answer at all.
//!
//! From the first error that counts as a failure of the disk, the disk is no longer chosen for
//! reads, and its own volume reads siblings and increments: see [`Bound::begin_failure`].

mod failures;
mod part_reads;
mod repairs;
mod retries;
mod silence;

pub(crate) use {
    failures::Failures,
    part_reads::PartReads,
    repairs::Repairs,
    retries::Retries,
    silence::Silences, //
};

use crate::{
    bound::{
        Bound,
        EntryNo,
        InFlight, //
    },
    dm::{
        Bio,
        EndIo,
        Ended,
        Failure,
        InUse,
        Mapped,
        Op,
        Status,
        Worker, //
    },
    logged,
    members::Disk,
    overlay::{
        self,
        Place, //
    },
    store::Store,
    svol_core::{
        fault::{
            self,
            Answer,
            Reaction, //
        },
        log_mode,
        route::{
            Home,
            VolumeView, //
        },
        update::update, //
    },
};

/// The disk of an entry serves only its own volume, which is, or may be, written.
pub(crate) const WRITTEN: u64 = 1;
/// It has failed, but that is not durable yet.
pub(crate) const FAILING: u64 = 2;
/// It has failed, and that is durable.
pub(crate) const FAILED: u64 = 4;
/// With [`FAILING`]: a user asked for it.
pub(crate) const ASKED: u64 = 8;
/// With [`FAILING`]: it has been logged that the failure can't be made durable.
const SAID: u64 = 16;

/// The reaction to how an I/O ended.
pub(crate) fn judge(op: Op, status: Status) -> Reaction {
    let answer = match status.failure() {
        Failure::Unsupported => Answer::Unsupported,
        Failure::Invalid => Answer::Invalid,
        Failure::Again => Answer::Again,
        Failure::Late => Answer::Late,
        Failure::Conflict => Answer::Conflict,
        Failure::Target => Answer::Target,
        Failure::Medium => Answer::Medium,
        Failure::Gone => Answer::Gone,
        Failure::Other => Answer::Other,
    };
    fault::judge(crate::bound::operation(op), answer)
}

/// A bio came back with an error from the disk of an entry; if it had two legs, the first failed.
/// Does not sleep.
#[cold]
#[inline(never)]
pub(crate) fn ended(
    this: InUse<'_, Bound>,
    volume: Option<usize>,
    entry: usize,
    ended: Ended<'_, InFlight>,
) -> EndIo {
    let bound: &Bound = &this;
    let op = ended.info().op;
    let data = *ended.data();
    if ended.status().failure() == Failure::Unsupported && ended.could_not_wait() {
        return would_wait(this, ended);
    }
    let reaction = judge(op, ended.status());
    // A device that is suspended only for a moment refuses read-ahead: no reason to give it up.
    let is_hint = op == Op::Read && ended.info().is_hint();
    if reaction != Reaction::PassOn && !is_hint {
        bound.count_error(entry, op == Op::Read);
        match bound.store_at(entry) {
            // It may have lost writes, and later flushes would not report that.
            Some(store) if op == Op::Flush => {
                let place = volume.and_then(|volume| Place::of(bound, volume));
                store.note_flush_failed(place.map(|place| place.owner()));
                store.begin_failure(false);
            }
            Some(store) => store.suspect(),
            None if op == Op::Flush => bound.note_disk_lost(volume, entry),
            None => (),
        }
    }
    if let Some(volume) = volume {
        if data.is_log_flush {
            return logged::flush_failed(this, volume, ended);
        }
        if data.fills && data.ticket.is_none() {
            return logged::fill_flushed(this, volume, ended);
        }
        if data.ticket.is_some() {
            return overlay::ended(this, volume, ended);
        }
    }
    match (op, reaction) {
        (Op::Read, Reaction::Elsewhere | Reaction::Fail) => {
            if !bound.has_elsewhere(volume, entry, data.is_own) {
                return ended.done();
            }
            if !is_hint && (reaction == Reaction::Fail || bound.has_too_many(entry)) {
                bound.begin_failure(entry, false);
            }
            let info = ended.info();
            if !is_hint && reaction == Reaction::Elsewhere {
                let repairs = bound.group.repairs();
                repairs.push(entry, info.sector, info.sectors);
            }
            let volume = volume.map_or(EntryNo::NONE, EntryNo::of);
            retry(this, volume, entry, ended)
        }
        (Op::Flush, Reaction::Fail) => match volume {
            Some(volume) if bound.flushes_past(volume, entry) => {
                hold_done(this, volume, entry, ended)
            }
            _ => ended.done(),
        },
        _ => ended.done(),
    }
}

/// Tells the user of a bio that may not wait that it would have to. Its disk can't do without: that
/// was not so when the volume was loaded, and what its users know is from then.
fn would_wait(this: InUse<'_, Bound>, ended: Ended<'_, InFlight>) -> EndIo {
    let (end, parked) = ended.park(this);
    parked.end(Status::AGAIN);
    end
}

/// Retries elsewhere a read that failed on the disk of an entry.
fn retry(
    this: InUse<'_, Bound>,
    volume: EntryNo,
    entry: usize,
    mut ended: Ended<'_, InFlight>,
) -> EndIo {
    let bound: &Bound = &this;
    let data = ended.data_mut();
    data.volume = volume;
    // The volume's own disk may be another one by now; then the next place depends on the last one.
    if data.first == EntryNo::NONE || data.is_own {
        data.first = EntryNo::of(entry);
    }
    let (end, parked) = ended.park(this);
    bound.group.retries().push(parked);
    end
}

/// Retries on the volume's own disk a read that failed in the store of an entry.
#[cold]
pub(crate) fn retry_after(
    this: InUse<'_, Bound>,
    volume: usize,
    store: usize,
    ended: Ended<'_, InFlight>,
) -> EndIo {
    retry(this, EntryNo::of(volume), store, ended)
}

/// Sends a new read of a volume somewhere other than to its own disk, which is known not to have
/// the data, or does not answer. Returns the bio if there is no other place.
#[cold]
#[inline(never)]
pub(crate) fn read_elsewhere<'a>(
    this: InUse<'_, Bound>,
    volume: usize,
    entry: usize,
    mut bio: Bio<'a, InFlight>,
) -> Result<Mapped, Bio<'a, InFlight>> {
    let bound: &Bound = &this;
    if !bound.has_elsewhere(Some(volume), entry, true) {
        return Err(bio);
    }
    let info = bio.info();
    let has_bad = |disk: &Disk| disk.bad.has(info.sector, info.sectors);
    let is_bad = bound.members.disk(entry).is_some_and(has_bad);
    if let (true, Some(reader)) = (bound.holds_base(entry), bound.volumes.get(volume)) {
        // Any source will do; this disk is the last choice.
        bio.data_mut().is_own = false;
        return Ok(Bound::send_read(this, &reader.selector, bio));
    }
    if !is_bad && !bound.may_read_past(volume, info.sector, info.sectors) {
        // It does not answer, but the data is nowhere else.
        return Err(bio);
    }
    bio.let_wait();
    let data = bio.data_mut();
    data.volume = EntryNo::of(volume);
    // A disk that does not answer may still be tried as a last resort.
    data.first = if is_bad {
        EntryNo::of(entry)
    } else {
        EntryNo::NONE
    };
    let (mapped, parked) = bio.park(this);
    bound.group.retries().push(parked);
    Ok(mapped)
}

/// Reads part by part what could not be read elsewhere, either.
#[cold]
pub(crate) fn retry_in_parts(
    this: InUse<'_, Bound>,
    volume: usize,
    mut ended: Ended<'_, InFlight>,
) -> EndIo {
    let bound: &Bound = &this;
    ended.data_mut().volume = EntryNo::of(volume);
    let (end, parked) = ended.park(this);
    bound.group.part_reads().push(parked);
    end
}

/// Holds back a new bio until the failure of a disk is durable, or the disk is kept.
pub(crate) fn hold_new(
    this: InUse<'_, Bound>,
    volume: usize,
    entry: usize,
    mut bio: Bio<'_, InFlight>,
) -> Mapped {
    let data = bio.data_mut();
    data.volume = EntryNo::of(volume);
    data.disk = EntryNo::of(entry);
    let (mapped, parked) = bio.park(this);
    let bound: &Bound = &this;
    bound.group.failures().push(parked);
    mapped
}

/// Fails a disk that lacks what its volume wrote, and delays completion of the bio until the
/// failure is durable.
pub(crate) fn hold_done(
    this: InUse<'_, Bound>,
    volume: usize,
    entry: usize,
    mut ended: Ended<'_, InFlight>,
) -> EndIo {
    let bound: &Bound = &this;
    bound.begin_failure(entry, false);
    let data = ended.data_mut();
    data.volume = EntryNo::of(volume);
    data.disk = EntryNo::of(entry);
    data.is_sent = true;
    let (end, parked) = ended.park(this);
    bound.group.failures().push(parked);
    end
}

impl Bound {
    /// Counts an error of the disk of an entry. Does not sleep.
    pub(crate) fn count_error(&self, entry: usize, read: bool) {
        if let Some(volume) = self.volumes.get(entry) {
            volume.stats.count_error(read);
        }
    }

    /// Whether the disk of an entry has had too many errors; counts one more.
    fn has_too_many(&self, entry: usize) -> bool {
        self.volumes
            .get(entry)
            .is_some_and(|volume| volume.stats.age_errors() > self.max_errors)
    }

    /// The disk of an entry has a place that can't be repaired. Does not sleep.
    fn note_bad(&self, entry: usize) {
        if self.has_too_many(entry) {
            self.begin_failure(entry, false);
        }
    }

    /// A volume's flush of the disk of an entry failed. Does not sleep.
    fn note_disk_lost(&self, volume: Option<usize>, entry: usize) {
        let place = volume.and_then(|volume| Place::of(self, volume));
        if let Some(place) = place.filter(|place| place.owner().own_disk() == Some(entry)) {
            place.owner().note_disk_lost();
        }
    }

    /// Whether the writes of a volume to the disk of this entry are in its increments volume, too.
    fn logs_past(&self, volume: usize, entry: usize) -> bool {
        let is_logged = |place: Place<'_>| place.owner().mode().is_logged();
        self.volumes
            .get(volume)
            .is_some_and(|volume| volume.view.get().writes == Home::Logged(entry))
            && Place::of(self, volume).is_some_and(is_logged)
    }

    /// Whether a commit of a volume's increments volume can replace a flush that the disk of this
    /// entry could not do.
    fn flushes_past(&self, volume: usize, entry: usize) -> bool {
        if self.logs_past(volume, entry) {
            return true;
        }
        // The flush may have failed late: the volume may have gone on without the disk meanwhile.
        // `FAILED` is set before the views change.
        let goes_on = |place: Place<'_>| {
            let volume = self.volumes.get(volume);
            place.owner().mode().is_logged()
                && volume.is_some_and(|volume| {
                    matches!(volume.view.get().writes, Home::Kept | Home::Logged(_))
                })
        };
        self.apart(entry) & FAILED != 0 && Place::of(self, volume).is_some_and(goes_on)
    }

    /// Whether this part of a volume can be read without its disk.
    fn may_read_past(&self, volume: usize, sector: u64, sectors: u32) -> bool {
        Place::of(self, volume).is_some_and(|place| place.owner().may_read_past(sector, sectors))
    }

    /// Whether the disk of an entry holds the base image and nothing else: it is a source, or was
    /// one until it failed, and nobody writes to it.
    fn holds_base(&self, entry: usize) -> bool {
        self.apart(entry) & WRITTEN == 0 && self.sources.iter().any(|source| source == entry)
    }

    /// Whether a read that failed on the disk of `entry` may find its data elsewhere. `is_own` says
    /// that it went to the volume's own data there.
    fn has_elsewhere(&self, volume: Option<usize>, entry: usize, is_own: bool) -> bool {
        match volume {
            Some(volume) if is_own => {
                let reads = self.volumes.get(volume).map(|v| v.view.get().reads);
                match reads {
                    // Others may have different data there.
                    Some(Home::Overlay) if self.reads_alone(volume) == Some(entry) => false,
                    Some(Home::Disk(disk)) if disk == entry => {
                        self.logs_past(volume, entry) || self.holds_base(entry)
                    }
                    Some(Home::Nowhere) | None => false,
                    Some(_) => true,
                }
            }
            _ => true,
        }
    }

    /// From now on nobody reads from the disk of an entry, and writes of its volume wait; a worker
    /// does the rest. `asked` says that a user asked for it. Returns whether the failure has begun:
    /// it does not if reads of the base image would find no disk until the worker has decided. Does
    /// not sleep.
    pub(crate) fn begin_failure(&self, entry: usize, asked: bool) -> bool {
        let Some(disk) = self.volumes.get(entry) else {
            return false;
        };
        let failures = self.group.failures();
        let _one_at_a_time = failures.lock();
        if disk.apart.get() & (FAILING | FAILED) != 0 {
            return true;
        }
        if (!asked || self.is_read(entry)) && !self.can_spare(entry) {
            // A bad source is better than none.
            return false;
        }
        let why = if asked { ASKED } else { 0 };
        update(&disk.apart, |apart| apart | FAILING | why);
        for (volume, owner) in self.owners_on(entry) {
            if owner.advance(log_mode::Event::DiskFails) == Some(log_mode::Mode::Held) {
                volume.view.set(VolumeView {
                    reads: Home::Overlay,
                    ..volume.view.get()
                });
            }
        }
        failures.kick();
        true
    }

    /// Whether somebody reads the disk of an entry.
    fn is_read(&self, entry: usize) -> bool {
        let is_own = |volume: &crate::bound::Volume| volume.view.get().reads == Home::Disk(entry);
        let is_source = self.sources.iter().any(|source| source == entry);
        (is_source && self.apart(entry) == 0) || self.volumes.iter().any(is_own)
    }

    /// The disk of an entry is in use again; if it fails, its own errors say so. Nobody reads the
    /// base image from it unless it `serves` others. Does not sleep.
    pub(crate) fn use_again(&self, entry: usize, serves: bool) {
        let written = if serves { 0 } else { WRITTEN };
        if let Some(disk) = self.volumes.get(entry) {
            update(&disk.apart, |apart| {
                (apart & (FAILING | ASKED | SAID)) | written
            });
        }
    }

    /// From now on, reads of the base image go to the disk of the entry `to`, which holds it, and
    /// not to that of `from`. Returns whether that was done: not if `to` is failing. Under
    /// `commits`. Does not sleep.
    pub(crate) fn hand_over(&self, from: usize, to: usize) -> bool {
        let _one_at_a_time = self.group.failures().lock();
        if self.apart(to) & (FAILING | FAILED) != 0 {
            return false;
        }
        self.sources.add(to, true);
        self.use_again(to, true);
        self.keep_away(from);
        true
    }

    /// Whether it still has to be logged that a failure can't be made durable. True once.
    pub(crate) fn say_once(&self, entry: usize) -> bool {
        self.volumes
            .get(entry)
            .is_some_and(|disk| update(&disk.apart, |apart| apart | SAID) & SAID == 0)
    }

    /// The volumes whose writes go to the disk of an entry and to a store.
    fn owners_on(
        &self,
        entry: usize,
    ) -> impl Iterator<Item = (&crate::bound::Volume, &crate::store::Owner)> {
        let all = self.volumes.iter().enumerate();
        all.filter(move |(_, volume)| volume.view.get().writes == Home::Logged(entry))
            .filter_map(|(index, volume)| Some((volume, Place::of(self, index)?.owner())))
    }

    /// Called when it is durable that the disk of an entry has failed. Does not sleep.
    pub(crate) fn failure_is_durable(&self, entry: usize) {
        let Some(disk) = self.volumes.get(entry) else {
            return;
        };
        let failures = self.group.failures();
        let _one_at_a_time = failures.lock();
        update(&disk.apart, |apart| (apart & WRITTEN) | FAILED);
        for (volume, owner) in self.owners_on(entry) {
            // The view first: whoever sees the new mode must not read the disk.
            volume.view.set(VolumeView {
                reads: Home::Overlay,
                ..volume.view.get()
            });
            if owner.advance(log_mode::Event::FailureIsDurable).is_some() {
                // From now on, uncommitted data is nowhere else, and another disk may be filled.
                owner.leave_move();
                owner.set_disk(None);
                volume.view.set(VolumeView {
                    reads: Home::Overlay,
                    writes: Home::Kept,
                });
            } else {
                volume.view.set(VolumeView::NOWHERE);
            }
        }
        for place in (0..self.volumes.len()).filter_map(|index| Place::of(self, index)) {
            // If it is being filled, nothing more goes to it.
            place.owner().leave_fill(entry);
            if place.owner().moves_to(entry) {
                place.owner().leave_move();
            }
        }
        for volume in self.volumes.iter() {
            // A volume without a log was never written; otherwise its disk would have been kept.
            if volume.view.get().reads == Home::Disk(entry) {
                volume.view.set(VolumeView {
                    reads: Home::Base,
                    writes: Home::Nowhere,
                });
            }
        }
        // Waiting bios go on.
        failures.kick();
    }

    /// Called when it is durable that a volume goes on without its log. Sleeps for I/O of a repair.
    ///
    /// # Errors
    ///
    /// `EIO` if it can't go on without the log, because its disk fails, too.
    pub(crate) fn log_is_given_up(&self, volume: usize) -> kernel::error::Result {
        // From now on, writes take no locks.
        let own = self.volumes.get(volume).map(|v| v.view.get().writes);
        let is_own = |entry| own == Some(Home::Logged(entry));
        let _no_repairs = self.group.repairs().pause(is_own);
        let failures = self.group.failures();
        let _one_at_a_time = failures.lock();
        self.give_up_log(volume)
    }

    /// As [`Bound::log_is_given_up`], under the lock.
    fn give_up_log(&self, volume: usize) -> kernel::error::Result {
        let place = Place::of(self, volume).ok_or(kernel::error::code::EIO)?;
        let owner = place.owner();
        if owner.mode() == log_mode::Mode::Held {
            // The disk must stay in use: nothing else has its data.
            if let Some(Home::Logged(entry)) = self.volumes.get(volume).map(|v| v.view.get().writes)
            {
                self.keep_disk(entry, true);
            }
        }
        match owner.advance(log_mode::Event::LogIsGivenUp) {
            Some(_) => {
                // From now on, writes go only to its own disk.
                owner.leave_move();
                Ok(())
            }
            None => Err(kernel::error::code::EIO),
        }
    }

    /// Called when it is durable that a store has failed: volumes that have a disk go on without
    /// the store, the others fail. Sleeps for I/O of a repair.
    pub(crate) fn store_has_failed(&self, store: &Worker<Store>) {
        // As in `log_is_given_up`.
        let is_its = |place: Place<'_>| place.store().entry() == store.entry();
        let _no_repairs = self.group.repairs().pause(|entry| {
            let mut volumes = self.volumes.iter().enumerate();
            volumes.any(|(index, volume)| {
                volume.view.get().writes == Home::Logged(entry)
                    && Place::of(self, index).is_some_and(is_its)
            })
        });
        let failures = self.group.failures();
        let one_at_a_time = failures.lock();
        // Before anything else: once views change, bios that are left must not be taken for those
        // of a diverted volume.
        store.note_failed();
        for (index, volume) in self.volumes.iter().enumerate() {
            if !Place::of(self, index).is_some_and(is_its) {
                continue;
            }
            let goes_on = match volume.view.get().writes {
                Home::Logged(_) if volume.regions.is_plain() => self.give_up_log(index).is_ok(),
                _ => false,
            };
            if !goes_on {
                volume.view.set(VolumeView::NOWHERE);
            }
        }
        drop(one_at_a_time);
        // Whatever waits for the store ends.
        store.kick();
    }

    /// The disk of an entry stays in use despite errors, since nothing can replace it.
    /// `unprotected` says that it may have been written without a log. Sleeps for I/O of a repair.
    pub(crate) fn disk_is_kept(&self, entry: usize, unprotected: bool) {
        // As in `log_is_given_up`.
        let _no_repairs = self.group.repairs().pause(|disk| disk == entry);
        let failures = self.group.failures();
        let _one_at_a_time = failures.lock();
        self.keep_disk(entry, unprotected);
        failures.kick();
    }

    /// As [`Bound::disk_is_kept`], under the lock.
    fn keep_disk(&self, entry: usize, unprotected: bool) {
        let Some(disk) = self.volumes.get(entry) else {
            return;
        };
        update(&disk.apart, |apart| apart & WRITTEN);
        for (volume, owner) in self.owners_on(entry) {
            // The view first: without its log, the volume must not be read from the log.
            volume.view.set(VolumeView {
                reads: Home::Disk(entry),
                ..volume.view.get()
            });
            // From now on, its errors reach its users.
            owner.disk_is_kept();
            let _ = owner.advance(log_mode::Event::DiskIsKept { unprotected });
        }
    }
}
