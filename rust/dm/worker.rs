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

/// What a worker does.
pub(crate) trait Job: Sized + Send + Sync + 'static {
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
/// `queue` is valid and ours. `work` is initialised, and queued there only.
#[pin_data(PinnedDrop)]
pub(crate) struct Worker<J: Job> {
    #[pin]
    work: Opaque<bindings::delayed_work>,
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
    pub(crate) fn new(
        name: &'static CStr,
        job: impl PinInit<J, Error>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            job <- job,
            // Last, since what follows must not fail: nobody would destroy it.
            queue: Queue::new(name)?.into_raw(),
            work <- Opaque::ffi_init(|slot: *mut bindings::delayed_work| {
                // SAFETY: The slot is ours to write.
                unsafe { bindings::dmr_init_delayed_work(slot, Some(Self::run)) };
            }),
            _pin: PhantomPinned,
        }? Error)
    }

    /// Lets it run at once; a run that is under way is followed by another one. Does not sleep.
    pub(crate) fn kick(&self) {
        // SAFETY: Both are valid by the type invariants.
        unsafe { bindings::mod_delayed_work_on(CPU_ANY, self.queue.as_ptr(), self.work.get(), 0) };
    }

    /// Lets it run within some milliseconds. Does not sleep.
    pub(crate) fn kick_within(&self, ms: u32) {
        let delay = msecs_to_jiffies(ms);
        // SAFETY: Both are valid by the type invariants. If it is queued already, it comes sooner
        // or at the same time, or is under way and this queues it again.
        unsafe {
            bindings::queue_delayed_work_on(CPU_ANY, self.queue.as_ptr(), self.work.get(), delay)
        };
    }

    /// Waits until it rests; a run that was to come later comes now. Sleeps.
    pub(crate) fn quiesce(&self) {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::flush_delayed_work(self.work.get()) };
    }

    /// # Safety
    ///
    /// To be called by the work queue with a worker's item.
    unsafe extern "C" fn run(work: *mut bindings::work_struct) {
        let _noio = NoIo::enter();
        // SAFETY: The item is the first field of a delayed item, which is that of a worker; that is
        // not gone before this returns, since its drop waits.
        let worker = unsafe {
            let delayed = work
                .byte_sub(core::mem::offset_of!(bindings::delayed_work, work))
                .cast::<bindings::delayed_work>();
            let field = Opaque::cast_from(delayed);
            &*field
                .byte_sub(core::mem::offset_of!(Self, work))
                .cast::<Self>()
        };
        J::run(worker);
    }
}

#[pinned_drop]
impl<J: Job> PinnedDrop for Worker<J> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Both are valid by the type invariants, and the queue is ours to destroy; the
        // item is not queued any more.
        unsafe {
            bindings::cancel_delayed_work_sync(self.work.get());
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
