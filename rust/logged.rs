// SPDX-License-Identifier: GPL-2.0

//! The path of a write that goes to its volume's own disk and, at the same time, to the increments
//! store. Reads do not need this: the disk has all the data.
//!
//! Nothing here sleeps. Nothing allocates, except the second half of a bio, from a pool, and now
//! and then a page of the block map.
//!
//! The two devices get the same pages, and one of them may refuse what the other one takes: because
//! of where in memory the content is, say. Then neither has failed, and the store's worker writes
//! all of it again, from memory of its own: see [`redo`].

use crate::{
    bound::{
        Bound,
        EntryNo,
        InFlight,
        OnEnd,
        Role, //
    },
    dm::{
        current_cpu,
        Bio,
        EndIo,
        Ended,
        InUse,
        Mapped,
        Op,
        Status, //
    },
    errors,
    overlay::{
        self,
        Place, //
    },
    svol_core::{
        block_map::WriteStep,
        log_mode::Mode, //
    }, //
};

/// The legs of a bio.
const DISK: usize = 0;
const STORE: usize = 1;
/// The leg to the disk to which its volume moves.
const ALSO: usize = 2;

/// How a leg of a write ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leg {
    /// Its device has the data.
    Done,
    /// Its device refused the request as it is, and is well; it may have a part of the data.
    Refused,
    /// Its device failed.
    Failed,
}

impl Leg {
    /// That of a leg to the disk of an entry.
    fn of(bound: &Bound, ended: &Ended<'_, InFlight>, leg: usize, entry: Option<usize>) -> Self {
        if !ended.leg_status(leg).is_error() {
            return Self::Done;
        }
        match errors::judge(bound, ended, leg, entry).is_of_disk() {
            false => Self::Refused,
            true => Self::Failed,
        }
    }
}

/// How a write ended that went to disk and store, and perhaps to the disk to which its volume
/// moves.
struct Legs {
    disk: Leg,
    store: Leg,
    also: Leg,
}

impl Legs {
    fn of(
        bound: &Bound,
        place: Place<'_>,
        also: Option<usize>,
        ended: &Ended<'_, InFlight>,
    ) -> Self {
        Self {
            disk: Leg::of(bound, ended, DISK, ended.data().disk.get()),
            store: Leg::of(bound, ended, STORE, Some(place.store().entry())),
            also: Leg::of(bound, ended, ALSO, also),
        }
    }

    /// Whether disk or store failed.
    fn has_failed(&self) -> bool {
        [self.disk, self.store].contains(&Leg::Failed)
    }

    /// Whether any device refused it as it is.
    fn is_refused(&self) -> bool {
        [self.disk, self.store, self.also].contains(&Leg::Refused)
    }
}

/// Sends a bio other than a read on its way; `disk` is the entry of the volume's disk.
#[inline(never)]
pub(crate) fn map(
    this: InUse<'_, Bound>,
    volume: usize,
    disk: usize,
    mut bio: Bio<'_, InFlight>,
) -> Mapped {
    let bound: &Bound = &this;
    let info = bio.info();
    bio.let_wait();
    let Some(place) = Place::of(bound, volume) else {
        return bio.fail();
    };
    let has_regions = place.owner().has_regions();
    match (place.owner().mode(), info.op) {
        (Mode::Disk | Mode::Both | Mode::Behind, Op::Flush)
            if info.flush == 0 && place.owner().tell_lost_writes() =>
        {
            bio.fail()
        }
        // The disk has all the data.
        (Mode::Disk, Op::Flush) if info.flush > 0 && !has_regions => bio.complete(),
        (Mode::Disk, Op::Flush) if info.flush > 0 => {
            bio.data_mut().volume = EntryNo::of(volume);
            overlay::flush(this, place, bio)
        }
        // The volume was loaded while it was diverted; nobody relies on a discard.
        (Mode::Disk, Op::Discard) => bio.complete(),
        (Mode::Disk, _) => {
            bio.data_mut().is_own = true;
            Bound::send(this, disk, info.sector, bio)
        }
        // Two flushes: one for the disk, one for the store.
        (Mode::Both | Mode::Behind, Op::Flush) if info.flush == 0 => {
            Bound::send_flush(this, disk, bio)
        }
        (Mode::Both | Mode::Behind, Op::Flush) => {
            let data = bio.data_mut();
            data.volume = EntryNo::of(volume);
            // The disk has nothing of diverted regions, so users must see errors of this flush.
            if !has_regions {
                data.role = Role::LogFlush;
            }
            overlay::flush(this, place, bio)
        }
        (Mode::Both | Mode::Behind, Op::Write) => write(this, volume, disk, place, bio),
        // Its disk failed a moment ago.
        (Mode::Store, _) => map_kept(this, volume, bio),
        (Mode::Held, Op::Write | Op::Flush) => errors::hold_new(this, volume, disk, bio),
        _ => overlay::slowly(this, volume, place, bio),
    }
}

/// Sends a bio other than a read on its way, for a volume that has no disk yet: only the store
/// counts, and a disk that is being filled gets the writes in front of its cursor, if it answers.
pub(crate) fn map_kept(
    this: InUse<'_, Bound>,
    volume: usize,
    mut bio: Bio<'_, InFlight>,
) -> Mapped {
    let bound: &Bound = &this;
    bio.let_wait();
    let Some(place) = Place::of(bound, volume) else {
        return bio.fail();
    };
    match bio.info().op {
        // Once the disk has become the volume's own, it must have all that was flushed before.
        Op::Flush if bio.info().flush == 0 => match place.owner().filled(0, 1) {
            (_, Some(disk)) if !bound.skips_fill(place.owner(), disk, None) => {
                let data = bio.data_mut();
                data.volume = EntryNo::of(volume);
                data.role = Role::FillFlush;
                Bound::send(this, disk, 0, bio)
            }
            _ => bio.complete(),
        },
        Op::Flush => {
            bio.data_mut().volume = EntryNo::of(volume);
            overlay::flush(this, place, bio)
        }
        Op::Write => write_kept(this, volume, place, bio),
        _ => overlay::slowly(this, volume, place, bio),
    }
}

/// A write of a volume without a disk: takes its write locks, and sends what has slots to the
/// store, up to the cursor also to the disk that is being filled. Locks and ticket are held until
/// [`kept_ended`]. What needs the store's worker is left to that.
fn write_kept(
    this: InUse<'_, Bound>,
    volume: usize,
    place: Place<'_>,
    mut bio: Bio<'_, InFlight>,
) -> Mapped {
    let bound: &Bound = &this;
    let (store, owner) = (place.store(), place.owner());
    let info = bio.info();
    let ticket = owner.grace.enter(current_cpu());
    // Marked even behind the cursor, since the cursor moves on.
    let locked = match &owner.intents {
        Some(intents) if intents.touch(info.sector, info.sectors) => {
            owner.locks.take(info.sector, info.sectors)
        }
        _ => 0,
    };
    // Under the locks: filling takes them, too, and moves the cursor under them.
    let (sectors, disk) = owner.filled(info.sector, locked);
    let step = match sectors {
        0 => WriteStep::Frozen,
        _ => owner.map.write_run(&store.slots, info.sector, sectors),
    };
    let WriteStep::Run(run) = step else {
        owner.locks.release(info.sector, locked);
        owner.grace.leave(ticket);
        return overlay::slowly(this, volume, place, bio);
    };
    // What does not fit in this bio comes again.
    owner.locks.release(
        info.sector.saturating_add(u64::from(run.sectors)),
        locked.saturating_sub(run.sectors),
    );
    bio.accept(run.sectors);
    let range = Some((info.sector, run.sectors));
    let disk = disk.filter(|disk| !bound.skips_fill(owner, *disk, range));
    let data = bio.data_mut();
    data.volume = EntryNo::of(volume);
    data.on_end = OnEnd::Leave(ticket);
    data.role = Role::Kept {
        fills: disk.is_some(),
    };
    data.is_first = run.is_first;
    data.needs_commit = info.is_fua() && store.needs_commit(&run);
    let sector = store.run_sector(&run);
    let Some(disk) = disk else {
        return Bound::send(this, store.entry(), sector, bio);
    };
    match Bound::send_both(this, disk, info.sector, store.entry(), sector, None, bio) {
        Ok(mapped) => mapped,
        Err(mut bio) => {
            owner.locks.release(info.sector, run.sectors);
            owner.grace.leave(ticket);
            *bio.data_mut() = InFlight::default();
            overlay::slowly(this, volume, place, bio)
        }
    }
}

/// A flush of a disk that is being filled has completed.
pub(crate) fn fill_flushed(
    this: InUse<'_, Bound>,
    volume: usize,
    ended: Ended<'_, InFlight>,
) -> EndIo {
    let bound: &Bound = &this;
    match Place::of(bound, volume) {
        Some(place) if ended.status().is_error() => {
            if let Some(disk) = ended.data().disk.get() {
                place.owner().note_fill_failed(disk);
            }
            without_disk(this, place, ended)
        }
        _ => ended.done(),
    }
}

/// The store has the data, but the disk that is being filled failed: the bio completes when that
/// failure is durable.
fn without_disk(this: InUse<'_, Bound>, place: Place<'_>, mut ended: Ended<'_, InFlight>) -> EndIo {
    let data = ended.data_mut();
    data.on_end = OnEnd::Nothing;
    data.has_no_disk = true;
    let (end, parked) = ended.park(this);
    place.store().push_slow(parked);
    end
}

/// A write of a volume that has no disk yet has completed; if it `fills`, also on the disk that is
/// being filled.
#[inline(never)]
pub(crate) fn kept_ended(
    this: InUse<'_, Bound>,
    volume: usize,
    place: Place<'_>,
    fills: bool,
    mut ended: Ended<'_, InFlight>,
) -> EndIo {
    let (store, owner) = (place.store(), place.owner());
    let data = *ended.data();
    let info = ended.info();
    let bound: &Bound = &this;
    let store_leg = Leg::of(bound, &ended, STORE, Some(store.entry()));
    let disk_leg = match fills {
        true => Leg::of(bound, &ended, DISK, data.disk.get()),
        false => Leg::Done,
    };
    let (on_disk, in_store) = (disk_leg == Leg::Done, store_leg == Leg::Done);
    let has_failed = [disk_leg, store_leg].contains(&Leg::Failed);
    let is_refused = [disk_leg, store_leg].contains(&Leg::Refused);
    if in_store && data.is_first {
        store.note_written(owner, info.sector, info.sectors);
    }
    if store_leg == Leg::Failed {
        if fills {
            // Only the error of the other leg was counted.
            this.count_error(store.entry(), false);
        }
        store.suspect();
    }
    if fills && has_failed {
        // Disk and store may differ now: this must be copied again.
        if let Some(intents) = &owner.intents {
            intents.pin(info.sector, info.sectors);
        }
    }
    if let (Leg::Failed, Some(disk)) = (disk_leg, data.disk.get()) {
        // Before the locks are released to whoever waits for this write: the disk must not be
        // taken for complete.
        owner.note_fill_failed(disk);
    }
    if let (true, Leg::Failed, Some(disk)) = (fills, store_leg, data.disk.get()) {
        owner.note_fill_ahead(disk);
        this.record_lacks(owner);
    }
    if is_refused {
        owner.begin_redo(info.sector, info.sectors);
    }
    owner.locks.release(info.sector, info.sectors);
    if let Some(ticket) = data.ticket() {
        owner.grace.leave(ticket);
    }
    if is_refused {
        return push_redo(this, volume, place, ended);
    }
    ended.data_mut().on_end = OnEnd::Nothing;
    match (in_store, on_disk) {
        (false, true) if fills => {
            // The clone's own status is that of the disk leg.
            let (end, parked) = ended.park(this);
            parked.end(Status::IOERR);
            end
        }
        (false, _) => ended.done(),
        (true, false) => without_disk(this, place, ended),
        (true, true) if data.needs_commit => {
            let (end, parked) = ended.park(this);
            store.wait_for_commit(parked);
            end
        }
        (true, true) => ended.done(),
    }
}

/// A write to disk and store: takes its write locks, and sends what has slots to both, and to the
/// disk to which its volume moves, up to the cursor. Locks and ticket are held until [`ended`].
/// What needs the store's worker is left to that.
fn write(
    this: InUse<'_, Bound>,
    volume: usize,
    disk: usize,
    place: Place<'_>,
    mut bio: Bio<'_, InFlight>,
) -> Mapped {
    let bound: &Bound = &this;
    let (store, owner) = (place.store(), place.owner());
    let info = bio.info();
    // Before anything else: from here on, clearing marks and freezing blocks wait for this I/O.
    let ticket = owner.grace.enter(current_cpu());
    let sectors = match &owner.intents {
        Some(intents) if intents.touch(info.sector, info.sectors) => {
            owner.locks.take(info.sector, info.sectors)
        }
        _ => 0,
    };
    // Under the locks: filling a disk takes them, too.
    let (together, also) = owner.moved(info.sector, sectors);
    let also = also.filter(|also| bound.waits_for_move(owner, *also));
    let step = match sectors {
        0 => WriteStep::Frozen,
        // Another disk may be being filled by now, or be the volume's own.
        _ if owner.filled(info.sector, sectors) != (sectors, Some(disk)) => WriteStep::Frozen,
        _ => owner.map.write_run(&store.slots, info.sector, together),
    };
    let run = match step {
        WriteStep::Run(run) => run,
        _ => {
            owner.locks.release(info.sector, sectors);
            owner.grace.leave(ticket);
            return overlay::slowly(this, volume, place, bio);
        }
    };
    // What does not fit in this bio comes again.
    owner.locks.release(
        info.sector.saturating_add(u64::from(run.sectors)),
        sectors.saturating_sub(run.sectors),
    );
    bio.accept(run.sectors);
    let data = bio.data_mut();
    data.volume = EntryNo::of(volume);
    data.on_end = OnEnd::Leave(ticket);
    data.role = Role::Logged {
        also: EntryNo::of_any(also),
    };
    data.is_first = run.is_first;
    data.needs_commit = info.is_fua() && store.needs_commit(&run);
    let sector = store.run_sector(&run);
    match Bound::send_both(this, disk, info.sector, store.entry(), sector, also, bio) {
        Ok(mapped) => mapped,
        Err(mut bio) => {
            owner.locks.release(info.sector, run.sectors);
            owner.grace.leave(ticket);
            *bio.data_mut() = InFlight::default();
            overlay::slowly(this, volume, place, bio)
        }
    }
}

/// A flush of the store failed: the volume goes on without it.
pub(crate) fn flush_failed(
    this: InUse<'_, Bound>,
    volume: usize,
    mut ended: Ended<'_, InFlight>,
) -> EndIo {
    let bound: &Bound = &this;
    let Some(place) = Place::of(bound, volume) else {
        return ended.done();
    };
    ended.data_mut().has_no_log = true;
    let (end, parked) = ended.park(this);
    place.store().push_slow(parked);
    end
}

/// All legs of a write have completed: to disk, store, and the disk of the entry `also`, if its
/// volume moves there. Does not sleep.
#[inline(never)]
pub(crate) fn ended(
    this: InUse<'_, Bound>,
    volume: usize,
    place: Place<'_>,
    also: Option<usize>,
    mut ended: Ended<'_, InFlight>,
) -> EndIo {
    let (store, owner) = (place.store(), place.owner());
    let data = *ended.data();
    let info = ended.info();
    let legs = Legs::of(&this, place, also, &ended);
    note_legs(&this, place, also, &ended, &legs);
    owner.locks.release(info.sector, info.sectors);
    if let Some(ticket) = data.ticket() {
        owner.grace.leave(ticket);
    }

    let (on_disk, in_store) = (legs.disk == Leg::Done, legs.store == Leg::Done);
    if let (Leg::Failed, Some(disk)) = (legs.disk, data.disk.get()) {
        if in_store && !legs.is_refused() {
            // The volume goes on without the disk, but the bio completes only when that is durable.
            return errors::hold_done(this, volume, disk, ended);
        }
        let bound: &Bound = &this;
        bound.begin_failure(disk, false);
    }
    if legs.is_refused() {
        // If the store failed, besides: the write that follows need not have to do with that.
        this.record_lacks(owner);
        return push_redo(this, volume, place, ended);
    }
    if on_disk && !in_store {
        // The volume goes on without the store, but the bio completes only when that is durable.
        let data = ended.data_mut();
        *data = InFlight::default();
        data.volume = EntryNo::of(volume);
        data.has_no_log = true;
        let (end, parked) = ended.park(this);
        store.push_slow(parked);
        return end;
    }
    if on_disk && data.needs_commit {
        let (end, parked) = ended.park(this);
        store.wait_for_commit(parked);
        return end;
    }
    ended.done()
}

/// Notes what a write to disk and store has changed there. To be called while it still has its
/// locks and its ticket: before others may write there, and before marks may be taken back.
fn note_legs(
    bound: &Bound,
    place: Place<'_>,
    also: Option<usize>,
    ended: &Ended<'_, InFlight>,
    legs: &Legs,
) {
    let (store, owner) = (place.store(), place.owner());
    let (data, info) = (ended.data(), ended.info());
    let disk = data.disk.get();
    if legs.store == Leg::Failed {
        bound.count_error(store.entry(), false);
        store.suspect();
    }
    if legs.store == Leg::Done && legs.disk != Leg::Refused && data.is_first {
        store.note_written(owner, info.sector, info.sectors);
    }
    if let Some(intents) = owner.intents.as_ref().filter(|_| legs.has_failed()) {
        // Disk and store may differ now, and only a comparison can tell.
        intents.pin(info.sector, info.sectors);
    }
    if let (Leg::Failed, Some(disk)) = (legs.store, disk) {
        owner.note_log_lacks(disk);
    }
    if let (Leg::Done, Some(disk)) = (legs.disk, disk) {
        bound.forget_bad(disk, info.sector, info.sectors);
    }
    if let Some(also) = also {
        if legs.also == Leg::Failed {
            bound.count_error(also, false);
            owner.note_move_failed();
        } else if legs.has_failed() {
            // Whatever the user is told, the disks may differ.
            owner.note_move_lacks();
        }
    }
    if legs.is_refused() {
        owner.begin_redo(info.sector, info.sectors);
    }
}

/// Has the store's worker write all of it again, from memory of its own, as a new write: a device
/// refused it as it was. What fails then has failed. Not for a write that still holds locks.
#[cold]
pub(crate) fn redo(
    this: InUse<'_, Bound>,
    volume: usize,
    place: Place<'_>,
    ended: Ended<'_, InFlight>,
) -> EndIo {
    let info = ended.info();
    place.owner().begin_redo(info.sector, info.sectors);
    push_redo(this, volume, place, ended)
}

/// As [`redo`]. Until the write is done, the devices may differ there, see [`Owner::begin_redo`],
/// which comes first.
///
/// [`Owner::begin_redo`]: crate::store::Owner::begin_redo
fn push_redo(
    this: InUse<'_, Bound>,
    volume: usize,
    place: Place<'_>,
    mut ended: Ended<'_, InFlight>,
) -> EndIo {
    *ended.data_mut() = InFlight {
        volume: EntryNo::of(volume),
        is_redone: true,
        ..InFlight::default()
    };
    let (end, parked) = ended.park(this);
    place.store().push_slow(parked);
    end
}
