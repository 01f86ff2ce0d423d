// SPDX-License-Identifier: GPL-2.0

//! What is kept with each bio in flight.
//!
//! Device-mapper allocates room for it together with the clone, so that nothing has to be allocated
//! here. It lies there from `map` until the clone has ended for good.

use super::{
    bindings,
    bio::BioInfo,
    status::Status, //
};
use core::ptr::NonNull;
use kernel::{
    ffi::c_void,
    sync::atomic::Atomic, //
};

/// Which way a bio goes, and so what it means when its clone ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// With the target, or with one device.
    Single,
    /// With two devices, of which at least one has not answered.
    Legs,
    /// Both devices have answered.
    Joined,
    /// The target has ended it: it is not to be asked any more.
    Finished,
}

/// Our part of a [`Cell`].
pub(super) struct Header {
    /// The bio as `map` got it, or as it cut it. The block layer uses a bio's own fields up.
    pub(super) info: BioInfo,
    /// Where it begins. Its length there is that before it was cut.
    pub(super) iter: bindings::bvec_iter,
    /// Its operation and flags.
    pub(super) opf: u32,
    pub(super) state: State,
    /// How the legs ended, if it has two; each is written before `legs_left` goes down.
    pub(super) leg_status: [Status; 2],
    /// Legs that have not ended.
    pub(super) legs_left: Atomic<u32>,
    /// What has to stay while the bio is parked.
    pub(super) owner: *const c_void,
}

/// Our part and the target's, in one piece of memory.
pub(super) struct Cell<P> {
    pub(super) header: Header,
    pub(super) user: P,
}

impl<P: Copy + Default> Cell<P> {
    /// Of a bio that comes to `map`, with the operation, flags and place that it has now.
    pub(super) fn new(info: BioInfo, opf: u32, iter: bindings::bvec_iter) -> Self {
        Self {
            header: Header {
                info,
                iter,
                opf,
                state: State::Single,
                leg_status: [Status::OK; 2],
                legs_left: Atomic::new(0),
                owner: core::ptr::null(),
            },
            user: P::default(),
        }
    }
}

impl<P> Cell<P> {
    /// Bytes of it, for `per_io_data_size`.
    pub(super) const BYTES: usize = {
        // dm lays it out behind what is aligned for a `struct dm_io`.
        assert!(align_of::<Self>() <= align_of::<u64>());
        size_of::<Self>()
    };

    /// The cell of a clone. What it points to is initialised only after `map` wrote it.
    ///
    /// # Safety
    ///
    /// `bio` must be a valid clone for a target whose bios have cells of this type.
    pub(super) unsafe fn of(bio: NonNull<bindings::bio>) -> NonNull<Self> {
        // SAFETY: The clone was made with room for `BYTES` bytes, set when the target was made.
        let cell = unsafe { bindings::dm_per_bio_data(bio.as_ptr(), Self::BYTES) };
        // SAFETY: It is inside the clone's allocation.
        unsafe { NonNull::new_unchecked(cell.cast()) }
    }
}
