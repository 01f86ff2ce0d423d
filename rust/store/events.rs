// SPDX-License-Identifier: GPL-2.0

//! Tells stores the group's event count.
//!
//! Every store records it in its headers after the metadata has it, so that an old copy of a store
//! is found out. But a store whose device does not answer must not hold up what happens elsewhere
//! in the group: a worker of its own writes the headers, and events wait for it only for a while.
//! The metadata of the next event records that such a store may have missed one; see
//! [`GroupTable::keep_store`].
//!
//! [`GroupTable::keep_store`]: crate::svol_core::group::GroupTable::keep_store

use super::Store;
use crate::{
    dm::{
        Job,
        JobClass,
        Worker, //
    },
    env::Word,
    log,
    svol_core::flag::Flag, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// How long to wait for a device that does not answer, in milliseconds.
const PATIENCE_MS: i64 = 3000;

/// How long to sleep before checking again whether it has answered.
const POLL: Delta = Delta::from_micros(100);

/// In place of an event count.
const NOT_TRIED: u64 = u64::MAX;

/// Tells one store.
pub(crate) struct Teller {
    /// The store.
    pub(crate) store: Arc<Worker<Store>>,
    /// What its headers have to say.
    wanted: Word,
    /// Up to where it was told, or could not be told.
    tried: Word,
    /// Nobody waits for it any longer, until the store is told again.
    is_late: Flag,
}

impl Teller {
    /// For a store that knows all events.
    pub(crate) fn worker(store: Arc<Worker<Store>>) -> impl PinInit<Worker<Self>, Error> {
        let known = store.known_events();
        Worker::new(try_init!(Self {
            store,
            wanted: Word::new(known),
            tried: Word::new(known),
            is_late: Flag::new(false),
        }? Error))
    }
}

impl Job for Teller {
    const NAME: &'static CStr = c"dm-svol-events";

    fn class() -> &'static JobClass {
        static CLASS: JobClass = JobClass::new();
        &CLASS
    }

    /// Takes only the lock of the headers.
    fn run(worker: &Worker<Self>) {
        let store = &worker.store;
        let events = worker.wanted.get();
        if store.known_events() != events && !store.is_left_alone() {
            let told = store.note_events(events);
            // An error is an answer, too.
            let was_late = worker.is_late.take();
            match told {
                Ok(()) if was_late => store.note_works(),
                Ok(()) => (),
                Err(ENOMEM) => log::warning!(
                    store.group(),
                    "increments {}: its headers were not brought up to date: out of memory",
                    store.lid()
                ),
                Err(_) => {
                    store.begin_failure(false);
                    // If a flush failed, a commit has to look after that.
                    store.kick();
                }
            }
        }
        worker.tried.set(events);
    }
}

impl Worker<Teller> {
    /// Has the store told of an event. Does not sleep.
    pub(crate) fn tell(&self, events: u64) {
        if self.wanted.get() != events {
            self.tell_again(events);
        }
    }

    /// As [`Worker::tell`], although that may have failed before.
    pub(crate) fn tell_again(&self, events: u64) {
        self.wanted.set(events);
        self.tried.set(NOT_TRIED);
        self.kick();
    }

    /// Waits for that, but not for long after `begin`, nor if its device is known to be silent.
    pub(crate) fn wait(&self, begin: Instant<Monotonic>, is_silent: bool) {
        let is_over = || self.tried.get() == self.wanted.get();
        while !is_over() {
            fsleep(POLL);
            let is_late = is_silent || begin.elapsed().as_millis() >= PATIENCE_MS;
            if is_late && !is_over() {
                if self.is_late.raise() {
                    log::warning!(
                        self.store.group(),
                        "increments {}: no answer to an event; the group goes on",
                        self.store.lid()
                    );
                }
                return;
            }
        }
    }

    /// Whether it was not waited for any longer, and has not answered since.
    pub(crate) fn is_late(&self) -> bool {
        self.is_late.is_set()
    }
}
