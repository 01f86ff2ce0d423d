// SPDX-License-Identifier: GPL-2.0

//! Work that may sleep, asked for by callers that may not.

use super::{
    bindings,
    sys::NoIo, //
};
use core::{
    marker::PhantomPinned,
    ops::Deref, //
};
use kernel::{
    prelude::*,
    types::Opaque, //
};

/// What a [`Worker`] does.
pub(crate) trait Job: Send + Sync + 'static {
    /// Does all that there is to do now; `kick` asks for another run.
    ///
    /// - Process context; may sleep; allocations start no I/O. Never runs twice at once. It is also
    ///   called when there is nothing to do.
    fn run(&self, kick: Kick<'_>);
}

/// A job, and a thread that does it when somebody kicks it.
///
/// The thread is certain to come even when memory is short. Dropping the worker waits for a run that
/// is under way, and drops what was asked for; so a job must not hold what holds its own worker.
///
/// # Invariants
///
/// `work` is initialised, by the time that anybody else can have a reference.
#[pin_data(PinnedDrop)]
pub(crate) struct Worker<J: Job> {
    #[pin]
    job: J,
    #[pin]
    work: Opaque<bindings::dmr_worker>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: The work may be given up by any thread, and the job may be sent.
unsafe impl<J: Job> Send for Worker<J> {}
// SAFETY: Any number of threads may kick it at once, and the job may be shared.
unsafe impl<J: Job> Sync for Worker<J> {}

impl<J: Job> Worker<J> {
    /// Makes a worker with a thread of its own; `name` shows in the list of threads. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and those of the job.
    pub(crate) fn new<E>(name: &'static CStr, job: impl PinInit<J, E>) -> impl PinInit<Self, Error>
    where
        Error: From<E>,
    {
        try_pin_init!(Self {
            job <- job,
            // INVARIANT: It is initialised unless that fails.
            work <- Opaque::try_ffi_init(move |slot: *mut bindings::dmr_worker| {
                // SAFETY: The slot is ours to write, and pinned; the name lives for ever.
                kernel::error::to_result(unsafe {
                    bindings::dmr_worker_init(slot, name.as_char_ptr(), Some(Self::run))
                })
            }),
            _pin: PhantomPinned,
        }? Error)
    }

    /// # Safety
    ///
    /// To be called by the work of a `Worker<J>`.
    unsafe extern "C" fn run(work: *mut bindings::dmr_worker) {
        let _noio = NoIo::enter();
        // SAFETY: `work` is the field of a worker, which lives: its drop waits for this.
        let this = unsafe { &*kernel::container_of!(Opaque::cast_from(work), Self, work) };
        this.job.run(this.handle());
    }

    fn handle(&self) -> Kick<'_> {
        Kick(&self.work)
    }

    /// Asks for a run, as soon as possible; after the one that is under way. Any context.
    pub(crate) fn kick(&self) {
        self.handle().kick();
    }

    /// Asks for a run in so many milliseconds or sooner. Any context.
    pub(crate) fn kick_within(&self, ms: u32) {
        self.handle().kick_within(ms);
    }

    /// Waits until it neither runs nor was asked to; does at once what was asked for later. Not to
    /// be called from a job that this one waits for. Sleeps.
    pub(crate) fn quiesce(&self) {
        // SAFETY: It is initialised by the type invariants.
        unsafe { bindings::dmr_worker_quiesce(self.work.get()) };
    }
}

impl<J: Job> Deref for Worker<J> {
    type Target = J;

    fn deref(&self) -> &J {
        &self.job
    }
}

#[pinned_drop]
impl<J: Job> PinnedDrop for Worker<J> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: It is initialised by the type invariants, and nobody can kick it any more but the
        // job itself, which has no effect from here on.
        unsafe { bindings::dmr_worker_exit(self.work.get()) };
    }
}

/// A worker, as far as its own job may use it.
///
/// # Invariants
///
/// The work is initialised.
#[derive(Clone, Copy)]
pub(crate) struct Kick<'a>(&'a Opaque<bindings::dmr_worker>);

impl Kick<'_> {
    /// As [`Worker::kick`].
    pub(crate) fn kick(self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::dmr_worker_kick(self.0.get()) };
    }

    /// As [`Worker::kick_within`].
    pub(crate) fn kick_within(self, ms: u32) {
        // SAFETY: By the type invariants.
        unsafe { bindings::dmr_worker_kick_within(self.0.get(), ms) };
    }
}
