// SPDX-License-Identifier: GPL-2.0

//! Reloads the live table automatically when an increments volume was taken back, to make use of
//! it.
//!
//! A worker of its own does this: the suspend waits for messages and for the group's other workers,
//! so none of these can do it. It suspends and resumes the group as `dmsetup suspend` and `resume`
//! would. [`Group::bind`](super::Group::bind) sees that an increments volume is awaited, or lacks
//! something, and begins from what is on disk.

use crate::{
    bound::Bound,
    dm::{
        provider::Provider,
        HeldDevice,
        Job,
        JobClass,
        Worker, //
    },
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// Suspends and resumes the group.
#[pin_data]
pub(super) struct Refreshes {
    /// No other lock is taken under it.
    #[pin]
    wanted: Mutex<Option<Refresh>>,
}

/// A group that is to be suspended and resumed.
struct Refresh {
    provider: Arc<Provider<Bound>>,
    device: HeldDevice,
}

impl Refreshes {
    /// An idle worker.
    pub(super) fn worker() -> impl PinInit<Worker<Self>, Error> {
        let refreshes = try_pin_init!(Self {
            wanted <- new_mutex!(None),
        }? Error);
        Worker::new(refreshes)
    }
}

impl Worker<Refreshes> {
    /// Has a group suspended and resumed soon; its device is held until then. Sleeps, but not for
    /// I/O.
    pub(super) fn want(&self, provider: Arc<Provider<Bound>>, device: HeldDevice) {
        let old = self.wanted.lock().replace(Refresh { provider, device });
        drop(old);
        self.kick();
    }
}

impl Job for Refreshes {
    const NAME: &'static CStr = c"dm-svol-refresh";

    fn class() -> &'static JobClass {
        static CLASS: JobClass = JobClass::new();
        &CLASS
    }

    fn run(worker: &Worker<Self>) {
        let wanted = worker.wanted.lock().take();
        if let Some(Refresh { provider, device }) = wanted {
            provider.cycle(&device);
        }
    }
}
