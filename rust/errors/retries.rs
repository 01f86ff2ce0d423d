// SPDX-License-Identifier: GPL-2.0

//! Retries failed reads elsewhere.

use super::{
    queue::Queue,
    PartReads, //
};
use crate::{
    bound::{
        Bound,
        InFlight,
        OnEnd, //
    },
    dm::{
        current_cpu,
        Job,
        JobClass,
        Parked,
        Status,
        Worker, //
    },
    overlay::Place,
    svol_core::{
        block_map::Kind,
        grace::Ticket,
        route::Home, //
    },
};
use kernel::prelude::*;

/// How often a volume may move to another disk while a read of it is retried.
const MAX_TRIES: u16 = 8;

/// Reads that wait to be retried elsewhere.
#[pin_data]
pub(crate) struct Retries {
    #[pin]
    queue: Queue,
    /// Reads part by part what no single disk can read.
    #[pin]
    parts: Worker<PartReads>,
}

impl Retries {
    /// An idle worker.
    pub(crate) fn worker() -> impl PinInit<Worker<Self>, Error> {
        Worker::new(try_pin_init!(Self {
            queue <- Queue::new(),
            parts <- PartReads::worker(),
        }? Error))
    }

    /// The worker that reads part by part.
    pub(super) fn parts(&self) -> &Worker<PartReads> {
        &self.parts
    }
}

impl Worker<Retries> {
    /// Queues a failed read. Does not sleep.
    pub(crate) fn push(&self, parked: Parked<Bound, InFlight>) {
        self.queue.push(self, parked);
    }
}

impl Job for Retries {
    const NAME: &'static CStr = c"dm-svol-retry";

    fn class() -> &'static JobClass {
        static CLASS: JobClass = JobClass::new();
        &CLASS
    }

    fn run(worker: &Worker<Self>) {
        loop {
            // One at a time: others may be queued meanwhile, and each must complete soon.
            let Some(parked) = worker.queue.pop() else {
                return;
            };
            retry(worker, parked);
        }
    }
}

/// Where a read is tried next.
enum Next {
    /// On the disk of this entry, at the same place.
    Disk(usize),
    /// On the source of the base image with this index, the disk of this entry, where the read is
    /// already counted.
    Source(usize, usize),
    /// In a slot: at this sector of the disk of an entry, until the ticket is released.
    Slot(usize, u64, Ticket),
    /// Each part from wherever it can be read.
    Parts,
    /// Nowhere.
    None,
}

/// Sends a read where it is tried next, or ends it. May sleep until a disk has room for it.
fn retry(worker: &Retries, mut parked: Parked<Bound, InFlight>) {
    let sector = parked.info().sector;
    match next(&parked) {
        Next::Source(index, entry) => {
            // Never try this source again, nor one before it.
            let behind = index.saturating_add(1);
            let data = parked.data_mut();
            data.is_own = false;
            data.tries = u16::try_from(behind).unwrap_or(u16::MAX);
            Bound::submit_begun(parked, entry, sector);
        }
        Next::Slot(entry, sector, ticket) => {
            parked.data_mut().on_end = OnEnd::Leave(ticket);
            Bound::submit(parked, entry, sector);
        }
        Next::Disk(_) if parked.data().tries >= MAX_TRIES => parked.end(Status::IOERR),
        Next::Disk(entry) => {
            let data = parked.data_mut();
            data.tries = data.tries.saturating_add(1);
            Bound::submit(parked, entry, sector);
        }
        Next::Parts => worker.parts.push(parked),
        Next::None => parked.end(Status::IOERR),
    }
}

/// Finds out where a read is tried next. First, if only its volume's own data will do: wherever the
/// volume has that by now, since its disk may have failed or been replaced meanwhile. Then the
/// sources of the base image, one after the other; at last, part by part. Does not sleep.
fn next(parked: &Parked<Bound, InFlight>) -> Next {
    let data = parked.data();
    let bound = parked.keep();
    let failed = data.first.get();
    if let (true, Some(index)) = (data.is_own, data.volume.get()) {
        let Some(volume) = bound.volumes.get(index) else {
            return Next::None;
        };
        let view = volume.view.get();
        let info = parked.info();
        let may_read_past =
            |place: Place<'_>| place.owner().may_read_past(info.sector, info.sectors);
        let is_logged = Place::of(bound, index).is_some_and(may_read_past);
        match (view.reads, view.writes) {
            (Home::Overlay, _) if is_logged => return in_overlay(parked, index),
            // The disk was not tried, because it does not answer.
            (Home::Disk(disk), Home::Logged(_))
                if is_logged && failed.is_none() && bound.is_silent(disk) =>
            {
                return in_overlay(parked, index);
            }
            (Home::Disk(disk), Home::Logged(_)) if is_logged && Some(disk) == failed => {
                return in_overlay(parked, index);
            }
            // The volume is on another disk by now.
            (Home::Disk(disk), _) if Some(disk) != failed => return Next::Disk(disk),
            // All sources have the same data.
            (Home::Disk(disk), _) if bound.holds_base(disk) => (),
            // Meanwhile its disk was found to hold the base image, or the volume never wrote.
            (Home::Base, _) => (),
            _ => return Next::None,
        }
    }
    let info = parked.info();
    let from = match data.is_own {
        // Until now only its own disk was tried.
        true => 0,
        false => usize::from(data.tries),
    };
    match bound.begin_next_good(from, failed, info.sector, info.sectors) {
        Some((index, entry)) => Next::Source(index, entry),
        None => Next::Parts,
    }
}

/// Where all the data of a read is: in its volume's increments, or in the base image.
fn in_overlay(parked: &Parked<Bound, InFlight>, volume: usize) -> Next {
    let info = parked.info();
    let failed = parked.data().first.get();
    let bound = parked.keep();
    let Some(place) = Place::of(bound, volume) else {
        return Next::Parts;
    };
    let (store, owner) = (place.store(), place.owner());
    // Before the map is read: a slot that it names is not reused until this I/O has left.
    let ticket = owner.grace.enter(current_cpu());
    let run = owner.map.read_run(info.sector, info.sectors);
    if run.sectors == info.sectors {
        if let Kind::Slot { slot, offset } = run.kind {
            let sector = store.slot_sector(slot).saturating_add(u64::from(offset));
            return Next::Slot(store.entry(), sector, ticket);
        }
    }
    owner.grace.leave(ticket);
    match run.kind {
        Kind::Base if run.sectors == info.sectors && bound.reads_alone(volume).is_none() => {
            match bound.begin_next_good(0, failed, info.sector, info.sectors) {
                Some((index, entry)) => Next::Source(index, entry),
                None => Next::Parts,
            }
        }
        _ => Next::Parts,
    }
}
