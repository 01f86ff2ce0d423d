// SPDX-License-Identifier: GPL-2.0

//! Legs: copies of a clone, so that a write goes to two or three devices at once.
//!
//! The clone goes to the first device as usual. Its copies share its pages. Whichever ends last
//! completes the clone: the end_io callback of the clone leaves it incomplete as long as a copy is
//! in flight.

use super::{
    bindings,
    bio::point,
    cell::{
        Cell,
        Ending,
        Head,
        Legs,
        LEGS, //
    },
    device::Device,
    live::InUse,
    load,
    traffic::Traffic, //
};
use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::atomic::{
        Atomic,
        Full, //
    },
    types::Opaque, //
};

/// Number of copies in reserve. None helps here: the block layer keeps it for those who wait for
/// memory. If there is no memory for a copy, the worker does the write.
const RESERVE: u32 = 1;

/// A pool of copies.
///
/// # Invariants
///
/// `set` is initialised.
#[pin_data(PinnedDrop)]
pub(crate) struct LegPool {
    #[pin]
    set: Opaque<bindings::bio_set>,
}

// SAFETY: A bio set may be used by any thread.
unsafe impl Send for LegPool {}
// SAFETY: A bio set may be used by several threads at once.
unsafe impl Sync for LegPool {}

impl LegPool {
    /// A new pool. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            set <- Opaque::try_ffi_init(|slot: *mut bindings::bio_set| {
                // SAFETY: The slot is ours to write; an all-zero bio set is what
                // `bioset_init` expects.
                unsafe { slot.write_bytes(0, 1) };
                // SAFETY: As above.
                to_result(unsafe { bindings::bioset_init(slot, RESERVE, 0, 0) })
            }),
        }? Error)
    }

    /// A copy of a clone for another device, as its leg `LEG`, counting from 1; `None` if it can't
    /// be allocated without waiting. Does not sleep.
    ///
    /// # Safety
    ///
    /// `bio` must be a clone that is ours, for a target whose per-bio data is `P`. If the copy is
    /// submitted, the clone has to be submitted, too. Pool and device must stay until the clone has
    /// ended.
    pub(super) unsafe fn clone_now<P, const LEG: usize>(
        &self,
        bio: NonNull<bindings::bio>,
        device: &Device,
        sector: u64,
    ) -> Option<Leg> {
        // SAFETY: The set is initialised by the type invariants, the bio valid by the function's
        // contract.
        let leg = unsafe {
            bindings::bio_alloc_clone(
                device.bdev(),
                bio.as_ptr(),
                bindings::DMR_GFP_NOWAIT,
                self.set.get(),
            )
        };
        let leg = NonNull::new(leg)?;
        // SAFETY: The copy is ours, and the device stays open by the function's contract.
        unsafe {
            point(leg, device, sector);
            // Nobody polls for it.
            (*leg.as_ptr()).bi_opf &= !(1 << bindings::req_flag_bits___REQ_POLLED);
            (*leg.as_ptr()).bi_private = bio.as_ptr().cast();
            (*leg.as_ptr()).bi_end_io = Some(ended::<P, LEG>);
        }
        // INVARIANT: It was allocated above, and `bi_private` set.
        Some(Leg(leg))
    }
}

#[pinned_drop]
impl PinnedDrop for LegPool {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Initialised by the type invariants; no copy is left, since copies end before
        // their clones, which the pool outlives.
        unsafe { bindings::bioset_exit(self.set.get()) };
    }
}

/// A copy that is ready to be submitted.
///
/// # Invariants
///
/// It is ours, and was allocated by `bio_alloc_clone`; `bi_private` is the clone that was copied,
/// which has not ended.
pub(super) struct Leg(NonNull<bindings::bio>);

impl Leg {
    /// Submits it; the clone has to be submitted afterwards.
    pub(super) fn submit(self) {
        let leg = ManuallyDrop::new(self).0.as_ptr();
        // Submitted through dm as the clone's, so that it is charged to the cgroup of the user's
        // bio, which may differ from that of the thread that writes.
        // SAFETY: The copy is ours by the type invariants, fully set up, and submitted once; the
        // clone is one of dm's, and ours while it is being mapped.
        unsafe { bindings::dm_submit_bio_remap((*leg).bi_private.cast(), leg) };
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        // SAFETY: Ours by the type invariants; it was not submitted, since `submit` does not drop
        // it.
        unsafe { bindings::bio_put(self.0.as_ptr()) };
    }
}

impl Head {
    /// To be called before any leg is submitted, with the counts of the devices that they go to.
    pub(super) fn begin_legs<const COUNT: usize>(&mut self, all: [InUse<'_, Traffic>; COUNT]) {
        let mut traffic = [core::ptr::null(); LEGS];
        let mut left = 0;
        for (slot, leg) in traffic.iter_mut().zip(all) {
            leg.begin();
            *slot = leg.as_ptr();
            left += 1;
        }
        // INVARIANT: `legs` is initialised here. `InUse` says that what `traffic` points to stays
        // until the clone has ended.
        self.legs.write(Legs {
            left: Atomic::new(left),
            status: [bindings::DMR_STS_OK; LEGS],
            traffic,
        });
        self.ending = Ending::Legs;
    }

    /// A leg has ended; returns whether it was the last one. A full barrier.
    ///
    /// # Safety
    ///
    /// `head` must be that of a clone with legs, the one with the index `leg` of which has ended.
    /// This is called once for each.
    pub(super) unsafe fn leg_ended(head: *const Self, leg: usize) -> bool {
        // SAFETY: By the function's contract the clone still exists, and has legs. All legs may be
        // here at once, but they share only `left`, which is atomic, and `traffic`, which nobody
        // changes.
        let (left, traffic) = unsafe {
            let legs = (*head).legs.as_ptr();
            (&(*legs).left, &(*legs).traffic)
        };
        let traffic = traffic
            .get(leg)
            .map_or(core::ptr::null(), |traffic| *traffic);
        // SAFETY: Valid by the type invariants of `Legs`, or null.
        if let Some(traffic) = unsafe { traffic.as_ref() } {
            traffic.end();
        }
        left.fetch_sub(1, Full) == 1
    }

    /// The clone came back from its device with `status`. Returns the status of its own leg if all
    /// legs have ended. Otherwise the last copy ends the clone once more. In a function of its own,
    /// to keep the path of other bios short.
    ///
    /// # Safety
    ///
    /// `head` must be that of a clone with legs, which has ended.
    #[inline(never)]
    pub(super) unsafe fn clone_ended(
        head: *mut Self,
        status: bindings::blk_status_t,
    ) -> Option<bindings::blk_status_t> {
        // SAFETY: The head is valid, and its legs are initialised, since it has some.
        let legs = unsafe { (&raw mut (*head).legs).cast::<Legs>() };
        // SAFETY: When the clone itself ends, its own leg is still counted, so the count is above
        // 0, and `leg_ended` is called for it, once. If a copy ended last, it left the count at 0,
        // and this runs a second time.
        let all = unsafe {
            if load::acquire(&(*legs).left) > 0 {
                (&raw mut (*legs).status[0]).write(status);
                Self::leg_ended(head, 0)
            } else {
                true
            }
        };
        // SAFETY: All legs have ended, so nobody else accesses it.
        all.then(|| unsafe { (*legs).status[0] })
    }
}

/// A copy ended. May run in interrupt context.
///
/// # Safety
///
/// To be called by the block layer with a copy that [`LegPool::clone_now`] made.
unsafe extern "C" fn ended<P, const LEG: usize>(leg: *mut bindings::bio) {
    const { assert!(LEG > 0 && LEG < LEGS) };
    // SAFETY: `clone_now` stored the clone there; it has not ended, since it waits for us.
    let (status, bio) = unsafe {
        (
            (*leg).bi_status,
            NonNull::new_unchecked((*leg).bi_private.cast::<bindings::bio>()),
        )
    };
    // SAFETY: The copy is ours again, and was allocated by `bio_alloc_clone`.
    unsafe { bindings::bio_put(leg) };
    // SAFETY: The clone is for a target whose per-bio data is `P`, and has legs; `LEG` is in range,
    // and only this leg writes its status.
    unsafe {
        let legs = (&raw mut (*Cell::<P>::of(bio).as_ptr()).head.legs).cast::<Legs>();
        (&raw mut (*legs).status)
            .cast::<bindings::blk_status_t>()
            .add(LEG)
            .write(status);
    }
    // SAFETY: As above; this leg has just ended, and is counted only here.
    let last = unsafe { Head::leg_ended(&raw const (*Cell::<P>::of(bio).as_ptr()).head, LEG) };
    if last {
        // The clone itself ended before, and was left incomplete.
        // SAFETY: The clone is ours to end, since its callback said so.
        unsafe { bindings::bio_endio(bio.as_ptr()) };
    }
}
