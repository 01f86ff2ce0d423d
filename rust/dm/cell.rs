// SPDX-License-Identifier: GPL-2.0

//! Per-bio data: what this wrapper needs for each bio in flight, followed by the target's own data.

use super::{
    bindings,
    bio::BioInfo,
    traffic::Traffic, //
};
use core::{
    mem::MaybeUninit,
    ptr::NonNull, //
};
use kernel::sync::atomic::Atomic;

/// The area that device-mapper gives each clone for the target.
#[repr(C)]
pub(super) struct Cell<P> {
    pub(super) head: Head,
    /// The target's data.
    pub(super) user: P,
}

/// The maximum number of devices that a bio goes to at once.
pub(super) const LEGS: usize = 3;

/// A clone and its copies, in flight.
///
/// # Invariants
///
/// What `traffic` points to is valid until the clone has ended, which it does after all legs.
pub(super) struct Legs {
    /// How many have not ended yet.
    pub(super) left: Atomic<u32>,
    /// How each ended: first the clone, then the copies.
    pub(super) status: [bindings::blk_status_t; LEGS],
    /// The counts of the devices that they go to; null for a leg that is not used.
    pub(super) traffic: [*const Traffic; LEGS],
}

/// What the end_io callback has to do with a clone. One byte: most clones only pay for one test.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Ending {
    /// Tell the target how its device has ended it.
    Told,
    /// The same, once its copies have ended, too.
    Legs,
    /// Nothing: its end is already decided.
    Decided,
}

/// The wrapper's part.
///
/// # Invariants
///
/// `legs` is initialised if `ending` is [`Ending::Legs`].
pub(super) struct Head {
    /// The clone as it was mapped: its own fields change while it is processed.
    pub(super) info: BioInfo,
    /// Its data position and its flags (`BIO_*`) when it was mapped, for sending it again.
    pub(super) iter: bindings::bvec_iter,
    pub(super) flags: u16,
    /// What a parked clone keeps, as a type-erased pointer.
    pub(super) keep: *const (),
    /// What happens when it ends.
    pub(super) ending: Ending,
    pub(super) legs: MaybeUninit<Legs>,
}

impl Head {
    /// Initialises the head of a clone that is being mapped. Field by field: otherwise the compiler
    /// would build it elsewhere first and copy it.
    ///
    /// # Safety
    ///
    /// `bio` must be a valid clone, and `slot` its head, which is ours to write.
    #[inline(always)]
    pub(super) unsafe fn init(slot: *mut Self, bio: NonNull<bindings::bio>, info: BioInfo) {
        let bio = bio.as_ptr();
        // SAFETY: Both are valid by the function's contract, and do not overlap. All fields are
        // written except `legs`, which need not be.
        // INVARIANT: There are no legs.
        unsafe {
            (&raw mut (*slot).info).write(info);
            core::ptr::copy_nonoverlapping(&raw const (*bio).bi_iter, &raw mut (*slot).iter, 1);
            (&raw mut (*slot).flags).write((*bio).bi_flags);
            (&raw mut (*slot).keep).write(core::ptr::null());
            (&raw mut (*slot).ending).write(Ending::Told);
        }
    }
}

impl<P> Cell<P> {
    /// The number of bytes that a target requests from device-mapper.
    pub(super) const BYTES: usize = size_of::<Self>();

    /// The area of a clone.
    ///
    /// # Safety
    ///
    /// `bio` must be a clone for a target whose per-bio data is `P`.
    pub(super) unsafe fn of(bio: NonNull<bindings::bio>) -> NonNull<Self> {
        // dm places per-bio data in front of a `struct dm_io`.
        const { assert!(align_of::<Self>() <= align_of::<u64>()) };
        // SAFETY: The clone was allocated with `BYTES` bytes in front of the bio, as requested at
        // construction: never null.
        unsafe {
            NonNull::new_unchecked(bindings::dm_per_bio_data(bio.as_ptr(), Self::BYTES).cast())
        }
    }
}
