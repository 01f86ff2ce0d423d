// SPDX-License-Identifier: GPL-2.0

//! What is kept with each bio in flight: the target's own data, behind what this wrapper needs.

use super::{
    bindings,
    bio::BioInfo, //
};
use core::ptr::NonNull;
use kernel::sync::atomic::Atomic;

/// The area that device-mapper gives each clone for the target.
#[repr(C)]
pub(super) struct Cell<P> {
    pub(super) head: Head,
    /// The target's.
    pub(super) user: P,
}

/// The wrapper's part.
pub(super) struct Head {
    /// The clone as it was mapped: its own fields are used up on the way.
    pub(super) info: BioInfo,
    /// Where its data was when it was mapped, and its flags (`BIO_*`): for sending it once more.
    pub(super) iter: bindings::bvec_iter,
    pub(super) flags: u16,
    /// What a parked clone keeps, as an erased pointer.
    pub(super) keep: *const (),
    /// Its end is decided: the callback leaves it alone.
    pub(super) finished: bool,
    /// It has a second leg.
    pub(super) has_legs: bool,
    /// Legs that have not ended.
    pub(super) legs: Atomic<u32>,
    /// How each leg ended.
    pub(super) leg_status: [bindings::blk_status_t; 2],
}

impl Head {
    pub(super) fn new(info: BioInfo, iter: bindings::bvec_iter, flags: u16) -> Self {
        Self {
            info,
            iter,
            flags,
            keep: core::ptr::null(),
            finished: false,
            has_legs: false,
            legs: Atomic::new(0),
            leg_status: [bindings::DMR_STS_OK; 2],
        }
    }
}

impl<P> Cell<P> {
    /// Bytes that a target asks device-mapper for.
    pub(super) const BYTES: usize = size_of::<Self>();

    /// The area of a clone.
    ///
    /// # Safety
    ///
    /// `bio` must be a clone for a target whose per-bio data is `P`.
    pub(super) unsafe fn of(bio: NonNull<bindings::bio>) -> NonNull<Self> {
        // dm lays per-bio data out in front of a `struct dm_io`.
        const { assert!(align_of::<Self>() <= align_of::<u64>()) };
        // SAFETY: The clone was made with room for `BYTES` bytes, set at construction, in front of
        // the bio: never null.
        unsafe {
            NonNull::new_unchecked(bindings::dm_per_bio_data(bio.as_ptr(), Self::BYTES).cast())
        }
    }
}
