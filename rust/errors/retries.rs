// SPDX-License-Identifier: GPL-2.0

//! Retries failed reads elsewhere.

use crate::{
    bound::{
        Bound,
        InFlight, //
    },
    dm::{
        current_cpu,
        Job,
        JobClass,
        Parked,
        ParkedList,
        Status,
        Worker, //
    },
    overlay::Place,
    parts::Of,
    svol_core::{
        block_map::Kind,
        grace::Ticket,
        route::Home, //
    },
};
use kernel::{
    new_mutex,
    new_spinlock_irq,
    prelude::*,
    sync::{
        Mutex,
        SpinLockIrq, //
    }, //
};

/// Bytes read at once: small enough to be allocated even when memory is short.
const BUFFER_BYTES: usize = 32 << 10;

/// How often a volume may move to another disk while a read of it is retried.
const MAX_TRIES: u16 = 8;

/// In place of the number of tries: no single place has all the data of a read.
pub(super) const IN_PARTS: u16 = u16::MAX;

/// Reads that wait to be retried elsewhere.
#[pin_data]
pub(crate) struct Retries {
    #[pin]
    queue: SpinLockIrq<ParkedList<Bound, InFlight>>,
    /// For reads part by part; has room for [`BUFFER_BYTES`]. Held across I/O; no other lock is
    /// taken under it.
    #[pin]
    buffer: Mutex<KVec<u8>>,
}

impl Retries {
    /// An idle worker.
    pub(crate) fn worker() -> impl PinInit<Worker<Self>, Error> {
        let retries = try_pin_init!(Self {
            queue <- new_spinlock_irq!(ParkedList::new()),
            buffer <- new_mutex!(KVec::with_capacity(BUFFER_BYTES, GFP_KERNEL)?),
        }? Error);
        Worker::new(retries)
    }
}

impl Worker<Retries> {
    /// Queues a failed read. Does not sleep.
    pub(crate) fn push(&self, parked: Parked<Bound, InFlight>) {
        let mut queue = self.queue.lock();
        queue.push(parked);
        // Under the lock: once the bio can complete, this may go away.
        self.kick();
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
            let Some(parked) = worker.queue.lock().pop() else {
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
    /// From siblings and increments.
    Overlay(usize),
    /// Each part from wherever it can be read.
    Parts,
    /// Nowhere.
    None,
}

fn retry(worker: &Retries, mut parked: Parked<Bound, InFlight>) {
    let failed = usize::from(parked.data().first).checked_sub(1);
    let sector = parked.info().sector;
    match next(&parked, failed) {
        Next::Source(index, entry) => {
            // Never try this source again, nor one before it.
            let behind = index.saturating_add(1);
            let data = parked.data_mut();
            data.is_own = false;
            data.tries = u16::try_from(behind).unwrap_or(u16::MAX);
            Bound::submit_begun(parked, entry, sector);
        }
        Next::Disk(_) if parked.data().tries >= MAX_TRIES => parked.end(Status::IOERR),
        Next::Disk(entry) => {
            let data = parked.data_mut();
            data.tries = data.tries.saturating_add(1);
            Bound::submit(parked, entry, sector);
        }
        Next::Overlay(volume) => read_overlay(worker, parked, volume),
        Next::Parts => read_parts(worker, parked),
        Next::None => parked.end(Status::IOERR),
    }
}

fn next(parked: &Parked<Bound, InFlight>, failed: Option<usize>) -> Next {
    let data = parked.data();
    let bound = parked.keep();
    if data.tries == IN_PARTS {
        return Next::Parts;
    }
    let volume = usize::try_from(data.volume).ok();
    if let (true, Some(index)) = (data.is_own, volume) {
        let Some(volume) = bound.volumes.get(index) else {
            return Next::None;
        };
        let view = volume.view.get();
        let info = parked.info();
        let may_read_past =
            |place: Place<'_>| place.owner().may_read_past(info.sector, info.sectors);
        let is_logged = Place::of(bound, index).is_some_and(may_read_past);
        match (view.reads, view.writes) {
            (Home::Overlay, _) if is_logged => return Next::Overlay(index),
            // The disk was not tried, because it does not answer.
            (Home::Disk(disk), Home::Logged(_))
                if is_logged && failed.is_none() && bound.is_silent(disk) =>
            {
                return Next::Overlay(index);
            }
            (Home::Disk(disk), Home::Logged(_)) if is_logged && Some(disk) == failed => {
                return Next::Overlay(index);
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

/// Reads what a volume wrote from its increments, and the rest from siblings.
fn read_overlay(worker: &Retries, mut parked: Parked<Bound, InFlight>, volume: usize) {
    let info = parked.info();
    match find_whole(&parked, volume) {
        Whole::Slot(entry, sector, ticket) => {
            parked.data_mut().ticket = Some(ticket);
            Bound::submit(parked, entry, sector);
        }
        Whole::Source(index, entry) => {
            let behind = index.saturating_add(1);
            let data = parked.data_mut();
            data.is_own = false;
            data.tries = u16::try_from(behind).unwrap_or(u16::MAX);
            Bound::submit_begun(parked, entry, info.sector);
        }
        Whole::Nowhere => read_parts(worker, parked),
    }
}

/// Reads each part from wherever it can be read.
fn read_parts(worker: &Retries, mut parked: Parked<Bound, InFlight>) {
    let volume = usize::try_from(parked.data().volume).ok();
    let of = match volume.filter(|volume| Place::of(parked.keep(), *volume).is_some()) {
        Some(volume) => Of::Volume(volume),
        None => Of::Base,
    };
    let result = copy_parts(worker, &mut parked, of);
    parked.end(match result {
        Ok(()) => Status::OK,
        Err(_) => Status::IOERR,
    });
}

/// Where all the data of a read is.
enum Whole {
    /// In a slot: at this sector of the disk of an entry, until the ticket is released.
    Slot(usize, u64, Ticket),
    /// In the base image, on the source with this index, the disk of this entry, where the read is
    /// already counted.
    Source(usize, usize),
    /// In no single place.
    Nowhere,
}

fn find_whole(parked: &Parked<Bound, InFlight>, volume: usize) -> Whole {
    let info = parked.info();
    let failed = usize::from(parked.data().first).checked_sub(1);
    let bound = parked.keep();
    let Some(place) = Place::of(bound, volume) else {
        return Whole::Nowhere;
    };
    let (store, owner) = (place.store(), place.owner());
    // Before the map is read: a slot that it names is not reused until this I/O has left.
    let ticket = owner.grace.enter(current_cpu());
    let run = owner.map.read_run(info.sector, info.sectors);
    if run.sectors == info.sectors {
        if let Kind::Slot { slot, offset } = run.kind {
            let sector = store.slot_sector(slot).saturating_add(u64::from(offset));
            return Whole::Slot(store.entry(), sector, ticket);
        }
    }
    owner.grace.leave(ticket);
    match run.kind {
        Kind::Base if run.sectors == info.sectors && bound.reads_alone(volume).is_none() => {
            match bound.begin_next_good(0, failed, info.sector, info.sectors) {
                Some((index, entry)) => Whole::Source(index, entry),
                None => Whole::Nowhere,
            }
        }
        _ => Whole::Nowhere,
    }
}

/// Reads into a bio, part by part. Sleeps for I/O.
fn copy_parts(worker: &Retries, parked: &mut Parked<Bound, InFlight>, of: Of) -> Result {
    let info = parked.info();
    let bytes = usize::try_from(info.sectors)? << 9;
    let mut buffer = worker.buffer.lock();
    let mut done = 0usize;
    while done < bytes {
        let now = BUFFER_BYTES.min(bytes.saturating_sub(done));
        // There is room for `BUFFER_BYTES`.
        buffer.resize(now, 0, GFP_KERNEL)?;
        let sector = info.sector.saturating_add(u64::try_from(done >> 9)?);
        parked.keep().read_parts(of, sector, &mut buffer)?;
        parked.copy_from(done, &buffer)?;
        done = done.saturating_add(now);
    }
    Ok(())
}
