// SPDX-License-Identifier: GPL-2.0

//! Workers: jobs in process context, one run at a time.
//!
//! C header: `include/linux/workqueue.h`.

use super::{
    bindings,
    sys::NoIo, //
};
use core::{
    marker::PhantomPinned,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    prelude::*,
    time::msecs_to_jiffies,
    types::Opaque, //
};

/// Lockdep's key for a kind of job: one for each, since each takes different locks. Empty in a
/// kernel without lockdep.
pub(crate) struct JobClass(Opaque<bindings::lock_class_key>);

// SAFETY: Only lockdep accesses it, which has its own locks.
unsafe impl Sync for JobClass {}

impl JobClass {
    /// For a static.
    pub(crate) const fn new() -> Self {
        Self(Opaque::zeroed())
    }
}

/// The job of a worker.
pub(crate) trait Job: Sized + Send + Sync + 'static {
    /// Its name in process lists and in reports.
    const NAME: &'static CStr;

    /// Its key for lockdep: a static of its own.
    fn class() -> &'static JobClass;

    /// Does all pending work.
    ///
    /// - May sleep; allocations start no I/O. Runs never overlap.
    fn run(worker: &Worker<Self>);
}

/// A job that has a rescuer thread, so that it makes progress even when memory is short. Dropping
/// it waits for a run in progress and prevents further ones.
///
/// # Invariants
///
/// `queue` is valid and ours, and runs one item at a time. `work` and `timer` are initialised, and
/// queued there only.
#[pin_data(PinnedDrop)]
pub(crate) struct Worker<J: Job> {
    #[pin]
    work: Opaque<bindings::delayed_work>,
    #[pin]
    timer: Opaque<bindings::delayed_work>,
    queue: NonNull<bindings::workqueue_struct>,
    #[pin]
    job: J,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: Work items and queues may be used by any thread.
unsafe impl<J: Job> Send for Worker<J> {}
// SAFETY: Work items and queues may be used by several threads at once.
unsafe impl<J: Job> Sync for Worker<J> {}

impl<J: Job> Deref for Worker<J> {
    type Target = J;

    fn deref(&self) -> &J {
        &self.job
    }
}

impl<J: Job> Worker<J> {
    /// A worker that is idle. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or those of the job's initialiser.
    pub(crate) fn new(job: impl PinInit<J, Error>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            job <- job,
            // Last of the fallible steps: if a later one failed, nobody would destroy the queue.
            queue: Queue::new(J::NAME)?.into_raw(),
            work <- Opaque::ffi_init(|slot: *mut bindings::delayed_work| {
                // SAFETY: The slot is ours to write; the function is made for it.
                unsafe { Self::init_item(slot, Self::run) };
            }),
            timer <- Opaque::ffi_init(|slot: *mut bindings::delayed_work| {
                // SAFETY: The slot is ours to write; the function is made for it.
                unsafe { Self::init_item(slot, Self::run_by_timer) };
            }),
            _pin: PhantomPinned,
        }? Error)
    }

    /// # Safety
    ///
    /// `item` must be ours to write, and `function` must be callable with it.
    unsafe fn init_item(
        item: *mut bindings::delayed_work,
        function: unsafe extern "C" fn(*mut bindings::work_struct),
    ) {
        let (name, class) = (J::NAME.as_char_ptr().cast(), J::class().0.get());
        // SAFETY: By the function's contract; name and class are static.
        unsafe { bindings::dmr_init_delayed_work(item, Some(function), name, class) };
    }

    /// Makes it run at once; if it is running already, it runs again afterwards. Does not sleep.
    pub(crate) fn kick(&self) {
        // SAFETY: Both are valid by the type invariants.
        unsafe { bindings::mod_delayed_work_on(CPU_ANY, self.queue.as_ptr(), self.work.get(), 0) };
    }

    /// Makes it run in `ms` milliseconds, replacing any earlier delay. Does not sleep.
    pub(crate) fn kick_in(&self, ms: u32) {
        let delay = msecs_to_jiffies(ms);
        // SAFETY: Both are valid by the type invariants.
        unsafe {
            bindings::mod_delayed_work_on(CPU_ANY, self.queue.as_ptr(), self.timer.get(), delay)
        };
    }

    /// Waits until it is idle. Runs that were kicked still happen; a pending delay is cancelled.
    /// Sleeps.
    pub(crate) fn rest(&self) {
        // SAFETY: Valid by the type invariants.
        unsafe {
            bindings::flush_delayed_work(self.work.get());
            bindings::cancel_delayed_work_sync(self.timer.get());
        }
    }

    /// # Safety
    ///
    /// To be called by the work queue with the `work` of a worker.
    unsafe extern "C" fn run(work: *mut bindings::work_struct) {
        // SAFETY: By the function's contract.
        unsafe { Self::run_at(work, core::mem::offset_of!(Self, work)) };
    }

    /// # Safety
    ///
    /// To be called by the work queue with the `timer` of a worker.
    unsafe extern "C" fn run_by_timer(work: *mut bindings::work_struct) {
        // SAFETY: By the function's contract.
        unsafe { Self::run_at(work, core::mem::offset_of!(Self, timer)) };
    }

    /// # Safety
    ///
    /// `work` must be part of the delayed item that is at offset `offset` of a worker.
    unsafe fn run_at(work: *mut bindings::work_struct, offset: usize) {
        let _noio = NoIo::enter();
        // SAFETY: By the function's contract. The worker outlives this call, since its drop waits.
        let worker = unsafe {
            let delayed = work.byte_sub(core::mem::offset_of!(bindings::delayed_work, work));
            &*delayed.byte_sub(offset).cast::<Self>()
        };
        J::run(worker);
    }
}

#[pinned_drop]
impl<J: Job> PinnedDrop for Worker<J> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Both are valid by the type invariants, and the queue is ours to destroy: neither
        // item is queued any more, nor will be. A run of one may kick the other, but not once that
        // is disabled.
        unsafe {
            bindings::disable_delayed_work_sync(self.work.get());
            bindings::disable_delayed_work_sync(self.timer.get());
            bindings::destroy_workqueue(self.queue.as_ptr());
        }
    }
}

/// Any CPU that the queue may use.
const CPU_ANY: i32 = bindings::wq_misc_consts_WORK_CPU_UNBOUND as i32;

/// A new work queue that has no owner yet.
struct Queue(NonNull<bindings::workqueue_struct>);

impl Queue {
    fn new(name: &'static CStr) -> Result<Self> {
        // SAFETY: The name ends with a NUL.
        let queue = unsafe { bindings::dmr_alloc_ordered_workqueue(name.as_char_ptr().cast()) };
        NonNull::new(queue).map(Self).ok_or(ENOMEM)
    }

    fn into_raw(self) -> NonNull<bindings::workqueue_struct> {
        self.0
    }
}
