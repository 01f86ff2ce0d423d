// SPDX-License-Identifier: GPL-2.0

//! Pauses a volume's I/O in a worker of its own, on behalf of the worker that fills disks.
//!
//! Pausing a volume takes the suspend lock of its device. The group's suspend holds the suspend
//! lock of the group's device while it waits for the worker that fills disks. These are two locks,
//! but lockdep has one class for the suspend locks of all devices, so it would confuse them. Nobody
//! who holds either lock waits for the worker here.

use crate::{
    bound::Bound,
    dm::{
        provider::Provider,
        DeviceNumber,
        Job,
        JobClass,
        Worker, //
    },
};
use kernel::{
    new_condvar,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        CondVar,
        Mutex, //
    }, //
};

/// Pauses volumes, one at a time.
#[pin_data]
pub(super) struct Pauses {
    /// No other lock is taken under it.
    #[pin]
    step: Mutex<Step>,
    /// Signalled when `step` changes.
    #[pin]
    changed: CondVar,
}

/// The state of a request.
enum Step {
    /// There is no request.
    Idle,
    /// The volume on this device is to be paused.
    Wanted(Arc<Provider<Bound>>, DeviceNumber),
    /// It is being paused; or it is being resumed, and nobody waits for that.
    Busy,
    /// It is paused; or it is not, since it is not there or there was an error.
    Answer(Result<bool>),
    /// The requester is done.
    Over,
}

impl Pauses {
    /// An idle worker.
    pub(super) fn worker() -> impl PinInit<Worker<Self>, Error> {
        let pauses = try_pin_init!(Self {
            step <- new_mutex!(Step::Idle),
            changed <- new_condvar!(),
        }? Error);
        Worker::new(pauses)
    }

    fn set(&self, step: Step) {
        let old = core::mem::replace(&mut *self.step.lock(), step);
        self.changed.notify_all();
        drop(old);
    }
}

impl Worker<Pauses> {
    /// As [`Provider::pause`]. One caller at a time. May sleep.
    ///
    /// # Errors
    ///
    /// Those of [`Provider::pause`].
    pub(super) fn pause(
        &self,
        provider: Arc<Provider<Bound>>,
        number: DeviceNumber,
    ) -> Result<Option<Pause<'_>>> {
        let mut step = self.step.lock();
        while !matches!(*step, Step::Idle) {
            self.changed.wait(&mut step);
        }
        *step = Step::Wanted(provider, number);
        self.kick();
        let answer = loop {
            if let Step::Answer(answer) = *step {
                break answer;
            }
            self.changed.wait(&mut step);
        };
        match answer {
            Ok(true) => Ok(Some(Pause(self))),
            Ok(false) => {
                *step = Step::Idle;
                Ok(None)
            }
            Err(error) => {
                *step = Step::Idle;
                Err(error)
            }
        }
    }
}

impl Job for Pauses {
    const NAME: &'static CStr = c"dm-svol-pause";

    fn class() -> &'static JobClass {
        static CLASS: JobClass = JobClass::new();
        &CLASS
    }

    fn run(worker: &Worker<Self>) {
        let mut step = worker.step.lock();
        let (provider, number) = match core::mem::replace(&mut *step, Step::Busy) {
            Step::Wanted(provider, number) => (provider, number),
            other => {
                *step = other;
                return;
            }
        };
        drop(step);
        let paused = provider.pause(number);
        match paused {
            Ok(Some(paused)) => {
                worker.set(Step::Answer(Ok(true)));
                let mut step = worker.step.lock();
                while !matches!(*step, Step::Over) {
                    worker.changed.wait(&mut step);
                }
                *step = Step::Busy;
                drop(step);
                drop(paused);
                worker.set(Step::Idle);
            }
            Ok(None) => worker.set(Step::Answer(Ok(false))),
            Err(error) => worker.set(Step::Answer(Err(error))),
        }
    }
}

/// The I/O of a volume waits until this is dropped.
pub(super) struct Pause<'a>(&'a Pauses);

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.0.set(Step::Over);
    }
}
