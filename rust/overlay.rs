// SPDX-License-Identifier: GPL-2.0

//! The path of an I/O of a volume whose writes are diverted into an increments store.
//!
//! Nothing here sleeps. Nothing allocates, except now and then a page of the block map.

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
        Op, //
        Worker,
    },
    errors, logged,
    store::{
        Owner,
        Store, //
    },
    svol_core::{
        block_map::{
            Kind,
            WriteStep, //
        },
        fault::Reaction, //
    },
};

/// Where an overlay is: the store, and its owner's index there.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    store: &'a Worker<Store>,
    owner: &'a Owner,
}

impl<'a> Place<'a> {
    /// That of a volume of a live table, by its index.
    pub(crate) fn of(bound: &'a Bound, volume: usize) -> Option<Self> {
        let link = bound.volumes.get(volume)?.link?;
        let store = bound.stores.get(link.store)?;
        Some(Self {
            store,
            owner: store.owners.get(link.owner)?,
        })
    }

    /// The store.
    pub(crate) fn store(&self) -> &'a Worker<Store> {
        self.store
    }

    /// The volume in the store.
    pub(crate) fn owner(&self) -> &'a Owner {
        self.owner
    }
}

/// Sends a bio of an overlay on its way.
pub(crate) fn map(this: InUse<'_, Bound>, volume: usize, mut bio: Bio<'_, InFlight>) -> Mapped {
    let bound: &Bound = &this;
    // The store may have to wait where the volume's own disks would not.
    bio.let_wait();
    let Some(place) = Place::of(bound, volume) else {
        return bio.fail();
    };
    match bio.info().op {
        Op::Read => read(this, volume, place, bio),
        Op::Write => write(this, volume, place, bio),
        // The disk was never written.
        Op::Flush if bio.info().flush > 0 => bio.complete(),
        Op::Flush => {
            bio.data_mut().volume = EntryNo::of(volume);
            flush(this, place, bio)
        }
        Op::Discard | Op::WriteZeroes => slowly(this, volume, place, bio),
        Op::Other => bio.fail(),
    }
}

/// Sends a flush to the store.
pub(crate) fn flush(
    this: InUse<'_, Bound>,
    place: Place<'_>,
    mut bio: Bio<'_, InFlight>,
) -> Mapped {
    if place.store.is_busy() || place.store.has_untold(place.owner) {
        let (mapped, parked) = bio.park(this);
        place.store.wait_for_commit(parked);
        return mapped;
    }
    // The map on disk names all data written; the device may still hold that in its cache.
    bio.data_mut().on_end = OnEnd::StoreFlush;
    Bound::send_flush(this, place.store.entry(), bio)
}

/// A flush that was sent to the store's device has succeeded. If another one failed meanwhile, the
/// device may have lost what this one was to make durable.
pub(crate) fn flushed(this: InUse<'_, Bound>, volume: usize, ended: Ended<'_, InFlight>) -> EndIo {
    let bound: &Bound = &this;
    match Place::of(bound, volume) {
        Some(place) if place.store.has_untold(place.owner) => {
            let (end, parked) = ended.park(this);
            place.store.wait_for_commit(parked);
            end
        }
        _ => ended.done(),
    }
}

/// Reads the longest stretch that is in one place: a slot, or the base image, or zeroes.
fn read(
    this: InUse<'_, Bound>,
    volume: usize,
    place: Place<'_>,
    mut bio: Bio<'_, InFlight>,
) -> Mapped {
    let Place { store, owner } = place;
    let info = bio.info();
    // Before the map is read: a slot that it names is not reused until this I/O has left.
    let ticket = owner.grace.enter(current_cpu());
    let run = owner.map.read_run(info.sector, info.sectors);
    bio.accept(run.sectors);
    match run.kind {
        Kind::Slot { slot, offset } => {
            bio.data_mut().on_end = OnEnd::Leave(ticket);
            let sector = store.slot_sector(slot).saturating_add(u64::from(offset));
            Bound::send(this, store.entry(), sector, bio)
        }
        Kind::Base => {
            owner.grace.leave(ticket);
            Bound::send_base(this, volume, bio)
        }
        Kind::Zero => {
            owner.grace.leave(ticket);
            bio.complete_with_zeroes()
        }
    }
}

/// Writes the longest stretch that has slots. Nobody waits for other writes of the same sub-blocks:
/// there is only one copy of this data, so any order is right.
fn write(
    this: InUse<'_, Bound>,
    volume: usize,
    place: Place<'_>,
    mut bio: Bio<'_, InFlight>,
) -> Mapped {
    let Place { store, owner } = place;
    let info = bio.info();
    let ticket = owner.grace.enter(current_cpu());
    let step = owner.map.write_run(&store.slots, info.sector, info.sectors);
    let run = match step {
        WriteStep::Run(run) => run,
        step => {
            owner.grace.leave(ticket);
            if let WriteStep::Merge(sectors) = step {
                bio.accept(sectors);
            }
            return slowly(this, volume, place, bio);
        }
    };
    bio.accept(run.sectors);
    let data = bio.data_mut();
    data.volume = EntryNo::of(volume);
    data.on_end = OnEnd::Leave(ticket);
    data.is_first = run.is_first;
    data.needs_commit = info.is_fua() && store.needs_commit(&run);
    Bound::send(this, store.entry(), store.run_sector(&run), bio)
}

/// Hands a bio over to the worker.
#[inline(never)]
pub(crate) fn slowly(
    this: InUse<'_, Bound>,
    volume: usize,
    place: Place<'_>,
    mut bio: Bio<'_, InFlight>,
) -> Mapped {
    bio.data_mut().volume = EntryNo::of(volume);
    let (mapped, parked) = bio.park(this);
    place.store.push_slow(parked);
    mapped
}

/// A bio that relies on a block map came back from the disk it was sent to.
pub(crate) fn ended(
    this: InUse<'_, Bound>,
    volume: usize,
    mut ended: Ended<'_, InFlight>,
) -> EndIo {
    let bound: &Bound = &this;
    let data = *ended.data();
    let (Some(place), Some(ticket)) = (Place::of(bound, volume), data.ticket()) else {
        return ended.done();
    };
    match data.role {
        Role::Logged { also } => return logged::ended(this, volume, place, also.get(), ended),
        Role::Kept { fills } => return logged::kept_ended(this, volume, place, fills, ended),
        Role::Plain | Role::LogFlush | Role::FillFlush => (),
    }
    let ok = !ended.status().is_error();
    let info = ended.info();
    let disk = data.disk.get();
    let is_refused = !ok && errors::judge(bound, &ended, 0, disk) == Reaction::Otherwise;
    if ok && data.is_first {
        place
            .store
            .note_written(place.owner, info.sector, info.sectors);
    }
    // After the change of the map: whoever waits for that may change the map next.
    place.owner.grace.leave(ticket);
    if ok && data.needs_commit {
        let (end, parked) = ended.park(this);
        place.store.wait_for_commit(parked);
        return end;
    }
    if is_refused {
        // The device is well, but wants other memory.
        return match info.op {
            Op::Read => {
                ended.data_mut().on_end = OnEnd::Nothing;
                errors::retry_in_parts(this, Some(volume), ended)
            }
            _ => logged::redo(this, volume, place, ended),
        };
    }
    if !ok && info.op == Op::Read && (data.first != EntryNo::NONE || data.is_own) {
        ended.data_mut().on_end = OnEnd::Nothing;
        return match data.first {
            // Its own disk was not tried, since it does not answer; now it has to be.
            EntryNo::NONE => errors::retry_after(this, volume, place.store.entry(), ended),
            // Neither the disk nor the slot has all of it.
            _ => errors::retry_in_parts(this, Some(volume), ended),
        };
    }
    ended.done()
}
