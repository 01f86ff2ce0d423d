// SPDX-License-Identifier: GPL-2.0

//! Failing disks: makes the failure durable, then releases the writes that wait for that.
//!
//! # Locks
//!
//! `live` before the group's `commits`. `held` is a leaf, also taken in interrupts. Views and modes
//! of volumes, and what a failing disk means for I/O, change only under it: see [`Views`].

use crate::{
    bound::{
        Bound,
        EntryNo,
        InFlight, //
    },
    dm::{
        Job,
        JobClass,
        Op,
        Parked,
        ParkedList,
        Status,
        Worker, //
    },
    overlay::Place,
};
use kernel::{
    new_mutex,
    new_spinlock_irq,
    prelude::*,
    sync::{
        lock::spinlock::SpinLockIrqGuard,
        Arc,
        Mutex,
        SpinLockIrq, //
    }, //
};

/// When to try again what failed for lack of memory, in milliseconds.
const RETRY_MS: u32 = 50;

/// Handles failing disks.
#[pin_data]
pub(crate) struct Failures {
    /// The live table, while its devices may be written to. Held while a failure is handled:
    /// whoever takes the table away waits for that, so this never holds the last reference.
    #[pin]
    live: Mutex<Option<Arc<Bound>>>,
    /// Bios that wait until a failure is durable.
    #[pin]
    held: SpinLockIrq<ParkedList<Bound, InFlight>>,
}

impl Failures {
    /// An idle worker.
    pub(crate) fn worker() -> impl PinInit<Worker<Self>, Error> {
        let failures = try_pin_init!(Self {
            live <- new_mutex!(None),
            held <- new_spinlock_irq!(ParkedList::new()),
        }? Error);
        Worker::new(failures)
    }
}

/// Whoever has this may change views and modes of volumes, and what a failing disk means for I/O.
/// Interrupts are off meanwhile: nothing may sleep, and no other lock is taken.
pub(crate) struct Views<'a> {
    /// The lock itself.
    _held: SpinLockIrqGuard<'a, ParkedList<Bound, InFlight>>,
}

impl Worker<Failures> {
    /// Holds back a bio until a failure is durable. Does not sleep.
    pub(super) fn push(&self, parked: Parked<Bound, InFlight>) {
        let mut held = self.held.lock();
        held.push(parked);
        // Under the lock: once the bio can complete, this may go away.
        self.kick();
    }

    /// Keeps others from changing views, modes, and what a failing disk means for I/O. Does not
    /// sleep.
    pub(crate) fn views(&self) -> Views<'_> {
        Views {
            _held: self.held.lock(),
        }
    }

    /// A table is live from now on.
    pub(crate) fn begin(&self, bound: Arc<Bound>) {
        let old = self.live.lock().replace(bound);
        drop(old);
        self.kick();
    }

    /// The table is suspended and has no bios left: handles what was queued before, and nothing
    /// more. Sleeps for I/O.
    pub(crate) fn stop(&self) {
        self.rest();
        let old = self.live.lock().take();
        drop(old);
    }
}

impl Job for Failures {
    const NAME: &'static CStr = c"dm-svol-fail";

    fn class() -> &'static JobClass {
        static CLASS: JobClass = JobClass::new();
        &CLASS
    }

    fn run(worker: &Worker<Self>) {
        let live = worker.live.lock();
        let Some(bound) = &*live else {
            return;
        };
        // Take the list before any checks: a bio that arrives later may wait for a disk that begins
        // to fail while another one is handled here. The next run handles it.
        let mut list = worker.held.lock().take();
        // Stores first: without its log, a volume needs its disk.
        let mut lacks_memory = false;
        for store in bound.stores.iter().filter(|store| store.is_failing()) {
            lacks_memory |= bound.group.fail_store(bound, store) == Err(ENOMEM);
        }
        for volume in bound.lacking() {
            // Errors are logged; it is tried again after the next commit.
            let _ = bound.group.unprotect(bound, &volume.lid);
        }
        for store in bound.stores.iter().filter(|store| store.is_back()) {
            let _ = bound.group.tell_store(bound, store);
        }
        for entry in 0..bound.volumes.len() {
            if bound.fate(entry).is_failing() {
                // Errors are logged, and waiting bios get them.
                lacks_memory |= bound.group.fail_disk(bound, entry) == Err(ENOMEM);
            }
        }
        if lacks_memory {
            // Nobody has to hear of that: there may be memory later.
            let mut held = worker.held.lock();
            while let Some(parked) = list.pop() {
                held.push(parked);
            }
            worker.kick_in(RETRY_MS);
        }
        while let Some(parked) = list.pop() {
            release(bound, parked);
        }
        // Last: this may wait for disks.
        for store in bound.stores.iter() {
            store.release_unlogged();
        }
    }
}

/// Lets a bio that waited for a failure go on.
fn release(bound: &Bound, mut parked: Parked<Bound, InFlight>) {
    let data = *parked.data();
    let op = parked.info().op;
    let (Some(disk), Some(volume)) = (data.disk.get(), data.volume.get()) else {
        return parked.end(Status::IOERR);
    };
    let Some(place) = Place::of(bound, volume) else {
        return parked.end(Status::IOERR);
    };
    let store = place.store();
    let fate = bound.fate(disk);
    let is_durable = fate.has_failed();
    if fate.is_failing() || (data.is_sent && !is_durable) {
        // It must not be reported as done.
        return parked.end(Status::IOERR);
    }
    parked.data_mut().disk = EntryNo::NONE;
    if op == Op::Flush {
        if is_durable || parked.info().flush > 0 {
            store.wait_for_commit(parked);
        } else if place.owner().tell_lost_writes() {
            // The disk is kept, and has lost what this flush is to make durable.
            parked.end(Status::IOERR);
        } else {
            Bound::submit(parked, disk, 0);
        }
    } else if !data.is_sent {
        // It is a new write that has not been sent yet.
        store.push_slow(parked);
    } else if data.needs_commit {
        store.wait_for_commit(parked);
    } else {
        parked.end(Status::OK);
    }
}
