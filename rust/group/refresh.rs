// SPDX-License-Identifier: GPL-2.0

//! The live table is loaded again by itself: an increments volume that was taken back is in use
//! then.
//!
//! A worker does it, since nothing of the group may be waited for meanwhile: it has the group
//! suspended and resumed, as `dmsetup suspend` and `resume` would.
//! [`Group::bind`](super::Group::bind) sees that an increments volume is awaited, or lacks
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

/// Has the group suspended and resumed.
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
    /// A worker that has nothing to do.
    pub(super) fn worker() -> impl PinInit<Worker<Self>, Error> {
        let refreshes = try_pin_init!(Self {
            wanted <- new_mutex!(None),
        }? Error);
        Worker::new(refreshes)
    }
}

impl Worker<Refreshes> {
    /// Lets a group be suspended and resumed soon; its device is kept until then. Sleeps, but for
    /// no I/O.
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
