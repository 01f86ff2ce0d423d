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
//! answer at all, [`GiveUps`] gives them up in the end.
//!
//! From the first error that counts as a failure of the disk, the disk is no longer chosen for
//! reads, and its own volume reads siblings and increments: see [`Bound::begin_failure`].

mod failures;
mod give_up;
mod part_reads;
mod queue;
mod repairs;
mod retries;
mod silence;

use part_reads::PartReads;
pub(crate) use {
    failures::{
        Failures,
        Views, //
    },
    give_up::GiveUps,
    repairs::Repairs,
    retries::Retries,
    silence::{
        give_up_after_ms,
        grace_after_ms,
        Silences, //
    }, //
};

use crate::{
    bound::{
        Bound,
        EntryNo,
        InFlight,
        Role, //
    },
    dm::{
        Bio,
        EndIo,
        Ended,
        Failure,
        InUse,
        Mapped,
        Op,
        Status, //
    },
    logged,
    members::Disk,
    overlay::{
        self,
        Place, //
    },
    svol_core::{
        fault::{
            self,
            Answer,
            Reaction, //
        },
        route::Home, //
    },
};

/// The reaction to how an I/O failed on the disk of an entry; with several legs, to how this one
/// did. Does not sleep.
pub(crate) fn judge(
    bound: &Bound,
    ended: &Ended<'_, InFlight>,
    leg: usize,
    entry: Option<usize>,
) -> Reaction {
    let is_unaligned = || {
        let disk = entry.and_then(|entry| bound.members.disk(entry));
        disk.is_some_and(|disk| !ended.is_aligned_for(&disk.device))
    };
    let answer = match ended.leg_status(leg).failure() {
        Failure::Unsupported => Answer::Unsupported,
        Failure::Invalid => Answer::Invalid,
        Failure::Again => Answer::Again,
        Failure::Late => Answer::Late,
        Failure::Conflict => Answer::Conflict,
        Failure::Target => Answer::Target,
        Failure::Medium => Answer::Medium,
        Failure::Gone => Answer::Gone,
        // What the block layer calls invalid, dm-crypt, for one, calls an I/O error. Users can't know
        // better: a volume has the limits of the disks that were there when it was loaded.
        Failure::Other if is_unaligned() => Answer::Unaligned,
        Failure::Other => Answer::Other,
    };
    fault::judge(crate::bound::operation(ended.info().op), answer)
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
    let reaction = judge(bound, &ended, 0, Some(entry));
    // A device that is suspended only for a moment refuses read-ahead: no reason to give it up.
    let is_hint = op == Op::Read && ended.info().is_hint();
    let is_error = reaction.is_of_disk() && !is_hint;
    if is_error {
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
        match data.role {
            Role::LogFlush => return logged::flush_failed(this, volume, ended),
            Role::FillFlush => return logged::fill_flushed(this, volume, ended),
            Role::Plain | Role::Logged { .. } | Role::Kept { .. } => (),
        }
        if data.ticket().is_some() {
            return overlay::ended(this, volume, ended);
        }
    }
    match (op, reaction) {
        (Op::Read, Reaction::Otherwise) if bound.has_in_parts(volume, data.is_own) => {
            retry_in_parts(this, volume, ended)
        }
        (Op::Read, Reaction::Otherwise | Reaction::Elsewhere | Reaction::Fail) => {
            if !bound.has_elsewhere(volume, entry, data.is_own) {
                return ended.done();
            }
            if is_error && (reaction == Reaction::Fail || bound.has_too_many(entry)) {
                bound.begin_failure(entry, false);
            }
            let info = ended.info();
            if is_error && reaction == Reaction::Elsewhere {
                let repairs = bound.group.repairs();
                repairs.push(entry, info.sector, info.sectors);
            }
            let volume = EntryNo::of_any(volume);
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

/// Reads part by part, into memory of our own, what could not be read elsewhere, either, or what a
/// disk does not read into the memory that it was given.
#[cold]
pub(crate) fn retry_in_parts(
    this: InUse<'_, Bound>,
    volume: Option<usize>,
    mut ended: Ended<'_, InFlight>,
) -> EndIo {
    let bound: &Bound = &this;
    ended.data_mut().volume = EntryNo::of_any(volume);
    let (end, parked) = ended.park(this);
    bound.group.retries().parts().push(parked);
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
        // That is noted before the views change.
        let goes_on = |place: Place<'_>| {
            let volume = self.volumes.get(volume);
            place.owner().mode().is_logged()
                && volume.is_some_and(|volume| {
                    matches!(volume.view.get().writes, Home::Kept | Home::Logged(_))
                })
        };
        self.fate(entry).has_failed() && Place::of(self, volume).is_some_and(goes_on)
    }

    /// Whether this part of a volume can be read without its disk.
    fn may_read_past(&self, volume: usize, sector: u64, sectors: u32) -> bool {
        Place::of(self, volume).is_some_and(|place| place.owner().may_read_past(sector, sectors))
    }

    /// Whether the disk of an entry holds the base image and nothing else: it is a source, or was
    /// one until it failed, and nobody writes to it.
    fn holds_base(&self, entry: usize) -> bool {
        !self.fate(entry).is_kept_away() && self.sources.has(entry)
    }

    /// Whether all that a read may find can be read part by part. `is_own` says that it went to the
    /// volume's own data: that of a volume without increments can't be.
    fn has_in_parts(&self, volume: Option<usize>, is_own: bool) -> bool {
        !is_own || volume.is_some_and(|volume| Place::of(self, volume).is_some())
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
}
