// SPDX-License-Identifier: GPL-2.0

//! Work in process context, one run at a time.
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

/// What lockdep knows a kind of job by: one for each, since each takes other locks. It is nothing
/// in a kernel without lockdep.
pub(crate) struct JobClass(Opaque<bindings::lock_class_key>);

// SAFETY: Only lockdep looks at it, which has locks of its own.
unsafe impl Sync for JobClass {}

impl JobClass {
    /// For a static.
    pub(crate) const fn new() -> Self {
        Self(Opaque::zeroed())
    }
}

/// What a worker does.
pub(crate) trait Job: Sized + Send + Sync + 'static {
    /// Its name in lists of processes and in reports.
    const NAME: &'static CStr;

    /// What lockdep knows it by: a static of its own.
    fn class() -> &'static JobClass;

    /// Does what there is to do.
    ///
    /// - May sleep; allocations start no I/O. Never runs twice at once.
    fn run(worker: &Worker<Self>);
}

/// A job with a thread of its own when memory is short, so that it always gets done. Dropping it
/// waits for a run that is under way and prevents others.
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
    /// A worker that rests. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or those of the job's initialiser.
    pub(crate) fn new(job: impl PinInit<J, Error>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            job <- job,
            // Last, since what follows must not fail: nobody would destroy it.
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
    /// `item` must be ours to write, `function` one that may be called with it.
    unsafe fn init_item(
        item: *mut bindings::delayed_work,
        function: unsafe extern "C" fn(*mut bindings::work_struct),
    ) {
        let (name, class) = (J::NAME.as_char_ptr().cast(), J::class().0.get());
        // SAFETY: By the function's contract; name and class are static.
        unsafe { bindings::dmr_init_delayed_work(item, Some(function), name, class) };
    }

    /// Lets it run at once; a run that is under way is followed by another one. Does not sleep.
    pub(crate) fn kick(&self) {
        // SAFETY: Both are valid by the type invariants.
        unsafe { bindings::mod_delayed_work_on(CPU_ANY, self.queue.as_ptr(), self.work.get(), 0) };
    }

    /// Lets it run in so many milliseconds, whatever was asked for before. Does not sleep.
    pub(crate) fn kick_in(&self, ms: u32) {
        let delay = msecs_to_jiffies(ms);
        // SAFETY: Both are valid by the type invariants.
        unsafe {
            bindings::mod_delayed_work_on(CPU_ANY, self.queue.as_ptr(), self.timer.get(), delay)
        };
    }

    /// Waits until it rests, and forgets a time that was asked for. What was kicked runs before.
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
    /// `work` must be in the delayed item that is `offset` bytes inside of a worker.
    unsafe fn run_at(work: *mut bindings::work_struct, offset: usize) {
        let _noio = NoIo::enter();
        // SAFETY: By the function's contract. The worker is not gone before this returns, since its
        // drop waits.
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
        // SAFETY: Both are valid by the type invariants, and the queue is ours to destroy: neither item
        // is queued any more, nor will it be, since a run of one may kick the other, but not while that is
        // disabled.
        unsafe {
            bindings::disable_delayed_work_sync(self.work.get());
            bindings::disable_delayed_work_sync(self.timer.get());
            bindings::destroy_workqueue(self.queue.as_ptr());
        }
    }
}

/// Any CPU that the queue may use.
const CPU_ANY: i32 = bindings::wq_misc_consts_WORK_CPU_UNBOUND as i32;

/// A new work queue, until somebody takes it.
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
