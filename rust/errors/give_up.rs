// SPDX-License-Identifier: GPL-2.0

//! Gives up the disk of a logged volume, one that is being filled for it, or the increments volume
//! of logged volumes, that does not answer for long.
//!
//! That costs a rebuild or the protection, so it needs evidence that not everything stands still:
//! what the volumes go on with is read first. This may hang, so it has a worker of its own. If the
//! device answers until a moment after the others do, it stays: when all of them stood still, one
//! of them has to be the first that goes on.

use crate::{
    bound::{
        Bound,
        Volume, //
    },
    clock::elapsed_ms,
    dm::{
        Job,
        JobClass,
        Worker, //
    },
    errors::grace_after_ms,
    log,
    overlay::Place,
    store::Store,
    svol_core::{
        entry_set::EntrySet,
        log_mode::Mode,
        route::Home, //
    }, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// How long to sleep before checking again whether it has.
const POLL: Delta = Delta::from_millis(10);

/// Gives up disks and increments volumes.
#[pin_data]
pub(crate) struct GiveUps {
    /// The live table. Held across I/O; before the group's `state` and the lock of
    /// [`super::Failures`].
    #[pin]
    live: Mutex<Option<Arc<Bound>>>,
    /// Entries whose devices have not answered for long.
    silent: EntrySet,
}

impl GiveUps {
    /// An idle worker.
    pub(crate) fn worker() -> impl PinInit<Worker<Self>, Error> {
        Worker::new(try_pin_init!(Self {
            live <- new_mutex!(None),
            silent: EntrySet::new(),
        }? Error))
    }
}

impl Worker<GiveUps> {
    /// The device of an entry has not answered for long. To be called again while that is so. Does
    /// not sleep.
    pub(super) fn ask(&self, entry: usize) {
        self.silent.insert(entry);
        self.kick();
    }

    /// A table is live from now on.
    pub(crate) fn begin(&self, bound: Arc<Bound>) {
        let old = self.live.lock().replace(bound);
        drop(old);
    }

    /// The table is suspended. Sleeps for I/O.
    pub(crate) fn stop(&self) {
        let old = self.live.lock().take();
        drop(old);
    }
}

impl Job for GiveUps {
    const NAME: &'static CStr = c"dm-svol-give-up";

    fn class() -> &'static JobClass {
        static CLASS: JobClass = JobClass::new();
        &CLASS
    }

    fn run(worker: &Worker<Self>) {
        let live = worker.live.lock();
        for entry in worker.silent.iter() {
            worker.silent.remove(entry);
            let Some(bound) = &*live else {
                continue;
            };
            match bound.store_at(entry) {
                Some(store) => bound.give_up_silent_store(store),
                None => bound.give_up_silent_disk(entry),
            }
        }
    }
}

impl Bound {
    /// Gives up the disk of a logged volume, or one that is being filled for it, if what serves the
    /// volume without it answers. Sleeps for I/O.
    fn give_up_silent_disk(&self, entry: usize) {
        let is_silent = || self.is_silent(entry) && !self.fate(entry).is_gone();
        let is_here = |volume: &Volume, place: &Place<'_>| match volume.view.get().writes {
            Home::Logged(disk) => disk == entry,
            Home::Kept => place.owner().is_filling(entry),
            _ => false,
        };
        let mut places = self
            .volumes
            .iter()
            .enumerate()
            .filter_map(|(index, volume)| {
                Place::of(self, index).filter(|place| is_here(volume, place))
            });
        let Some(place) = places.next() else {
            return;
        };
        if !is_silent() || place.store().is_kept() || !self.group.can_give_up(entry) {
            return;
        }
        let serves = |source: &usize| *source != entry && self.fate(*source).serves();
        let mut sources = self.sources.iter().filter(serves);
        if !self.answers(place.store().entry()) || !sources.any(|source| self.answers(source)) {
            return;
        }
        if !self.stays_silent(entry) {
            return;
        }
        let lid = self.volumes.get(entry).map(|disk| disk.lid);
        if let (Some(lid), true) = (lid, is_silent() && self.begin_failure(entry, false)) {
            let after_ms = self.give_up_after_ms();
            log::warning!(
                self.group.name(),
                "disk of {lid}: no answer for {after_ms} ms, given up"
            );
        }
    }

    /// Gives up an increments volume if writes of logged volumes wait for it, nothing else has data
    /// there, and their own disks answer. Sleeps for I/O.
    fn give_up_silent_store(&self, store: &Worker<Store>) {
        let entry = store.entry();
        let is_silent = || {
            let is_known = store.is_failing() || store.has_failed() || store.is_kept();
            self.is_silent(entry) && !is_known
        };
        if !is_silent() || !self.group.can_give_up(entry) {
            return;
        }
        let mut is_needed = false;
        for (index, volume) in self.volumes.iter().enumerate() {
            let place = Place::of(self, index).filter(|place| place.store().entry() == entry);
            let waits = place
                .is_some_and(|place| matches!(place.owner().mode(), Mode::Both | Mode::Behind));
            let Some(disk) = volume.view.get().logged_disk().filter(|_| waits) else {
                continue;
            };
            if !self.answers(disk) {
                return;
            }
            is_needed = true;
        }
        // A repair, which may read the store, would be waited for with all changes locked.
        let repairs = self.group.repairs();
        let may_still = || {
            is_silent()
                && self.group.can_give_up(entry)
                && !repairs.is_at_work(|disk| self.is_logged_in(disk, store))
        };
        if is_needed && self.stays_silent(entry) && may_still() {
            let (lid, after_ms) = (store.lid(), self.give_up_after_ms());
            log::warning!(
                self.group.name(),
                "increments {lid}: no answer for {after_ms} ms, given up"
            );
            store.begin_failure(false);
        }
    }

    /// Whether a disk that has I/O completes none for a while from now on. Sleeps.
    fn stays_silent(&self, entry: usize) -> bool {
        let Some(disk) = self.members.disk(entry) else {
            return false;
        };
        let (_, answers) = disk.progress();
        let begin = Instant::<Monotonic>::now();
        let wait_ms = grace_after_ms(self.slow_after_ms);
        while elapsed_ms(begin) < wait_ms {
            fsleep(POLL);
            let (in_flight, now) = disk.progress();
            if in_flight == 0 || now != answers {
                return false;
            }
        }
        true
    }

    /// Whether the device of an entry answers a read. Sleeps for I/O, which may hang.
    fn answers(&self, entry: usize) -> bool {
        let Some(disk) = self.members.disk(entry).filter(|_| !self.is_silent(entry)) else {
            return false;
        };
        let bytes = usize::try_from(self.members.logical_block_bytes()).unwrap_or(0);
        let Ok(mut block) = KVec::from_elem(0u8, bytes, GFP_KERNEL) else {
            return false;
        };
        let _counted = disk.count_io();
        let io = &self.members.io;
        io.read(&disk.device, 0, &mut block).is_ok()
    }
}
