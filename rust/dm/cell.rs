// SPDX-License-Identifier: GPL-2.0

//! What is kept with each bio in flight: the target's own data, behind what this wrapper needs.

use super::{
    bindings,
    bio::BioInfo, //
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
    /// The target's.
    pub(super) user: P,
}

/// A bio goes to so many devices at once at most.
pub(super) const LEGS: usize = 3;

/// A clone and its copies, on their way.
pub(super) struct Legs {
    /// Those that have not ended.
    pub(super) left: Atomic<u32>,
    /// How each ended: first the clone, then the copies.
    pub(super) status: [bindings::blk_status_t; LEGS],
}

/// The wrapper's part.
///
/// # Invariants
///
/// `legs` is initialised if `has_legs`.
pub(super) struct Head {
    /// The clone as it was mapped: its own fields are used up on the way.
    pub(super) info: BioInfo,
    /// Where its data was when it was mapped, and its flags (`REQ_*` and `BIO_*`): for sending it once more.
    pub(super) iter: bindings::bvec_iter,
    pub(super) opf: bindings::blk_opf_t,
    pub(super) flags: u16,
    /// What a parked clone keeps, as an erased pointer.
    pub(super) keep: *const (),
    /// Its end is decided: the callback leaves it alone.
    pub(super) finished: bool,
    /// It has copies under way, or had.
    pub(super) has_legs: bool,
    pub(super) legs: MaybeUninit<Legs>,
}

impl Head {
    /// Initialises the head of a clone that is being mapped, field by field: the compiler would put
    /// it together elsewhere first.
    ///
    /// # Safety
    ///
    /// `slot` must be that of `bio`, which is a valid clone, and ours to write.
    #[inline(always)]
    pub(super) unsafe fn init(slot: *mut Self, bio: NonNull<bindings::bio>, info: BioInfo) {
        let bio = bio.as_ptr();
        // SAFETY: Both are valid by the function's contract, and lie apart. All fields are written but
        // `legs`, which need not be.
        // INVARIANT: There are no legs.
        unsafe {
            (&raw mut (*slot).info).write(info);
            core::ptr::copy_nonoverlapping(&raw const (*bio).bi_iter, &raw mut (*slot).iter, 1);
            (&raw mut (*slot).opf).write((*bio).bi_opf);
            (&raw mut (*slot).flags).write((*bio).bi_flags);
            (&raw mut (*slot).keep).write(core::ptr::null());
            (&raw mut (*slot).finished).write(false);
            (&raw mut (*slot).has_legs).write(false);
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
