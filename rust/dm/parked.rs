// SPDX-License-Identifier: GPL-2.0

//! Bios that wait: taken from device-mapper, but neither sent on nor ended yet.

use super::{
    bindings,
    bio::{
        point,
        BioInfo,
        Op,
        Status, //
    },
    cell::{
        Cell,
        Ending, //
    },
    device::Device, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::prelude::*;

/// A bio that was taken from device-mapper. Dropping it ends it with an I/O error.
///
/// It counts as in flight: its mapped device is not suspended before it has ended. So the `T` that
/// it keeps stays valid, too.
///
/// # Invariants
///
/// `bio` is a clone that is ours alone, for a target whose per-bio data is `P`; its cell is
/// initialised, and points to a `T` that stays valid until the bio has ended.
pub(crate) struct Parked<T, P> {
    bio: NonNull<bindings::bio>,
    _types: PhantomData<(*const T, P)>,
}

// SAFETY: A bio may be used by any thread, and `T` is only shared.
unsafe impl<T: Sync, P: Send> Send for Parked<T, P> {}

impl<T, P> Parked<T, P> {
    /// # Safety
    ///
    /// The caller gives the bio away, and the bio must satisfy the type's invariants.
    pub(super) unsafe fn from_raw(bio: NonNull<bindings::bio>) -> Self {
        // INVARIANT: By the function's contract.
        Self {
            bio,
            _types: PhantomData,
        }
    }

    fn into_raw(self) -> NonNull<bindings::bio> {
        ManuallyDrop::new(self).bio
    }

    fn cell(&self) -> &Cell<P> {
        // SAFETY: Initialised and ours by the type invariants.
        unsafe { Cell::of(self.bio).as_ref() }
    }

    fn cell_mut(&mut self) -> &mut Cell<P> {
        // SAFETY: Initialised and ours by the type invariants.
        unsafe { Cell::of(self.bio).as_mut() }
    }

    /// Its fields, as they were when it was mapped.
    pub(crate) fn info(&self) -> BioInfo {
        self.cell().head.info
    }

    /// The target's data of this bio.
    pub(crate) fn data(&self) -> &P {
        &self.cell().user
    }

    /// The target's data of this bio, mutably.
    pub(crate) fn data_mut(&mut self) -> &mut P {
        &mut self.cell_mut().user
    }

    /// What it keeps; valid as long as it is parked.
    pub(crate) fn keep(&self) -> &T {
        // SAFETY: Valid by the type invariants until the bio has ended, which is after `self` is
        // gone.
        unsafe { &*self.cell().head.keep.cast::<T>() }
    }

    /// Sends it to a device within what it keeps, starting at `sector`; ends it with an I/O error
    /// if there is no such device. May sleep until the device's queue has room for it.
    pub(crate) fn submit(
        self,
        device: impl for<'b> FnOnce(&'b T) -> Option<&'b Device>,
        sector: u64,
    ) {
        let Some(device) = device(self.keep()) else {
            return;
        };
        // SAFETY: The bio is ours by the type invariants. The device is a part of what it keeps, so
        // it stays open until the bio has ended.
        unsafe { point(self.bio, device, sector) };
        // SAFETY: The bio is ours to submit, since dm was told that we do; it was not submitted
        // before, or has ended and was rewound. The first time, this also accounts it.
        unsafe {
            bindings::dm_submit_bio_remap(self.into_raw().as_ptr(), core::ptr::null_mut());
        }
    }

    /// Copies its content, starting at byte `offset`, into `to`. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` if its content is too short; only reads and writes have content.
    pub(crate) fn copy_to(&self, offset: usize, to: &mut [u8]) -> Result {
        let bytes = usize::try_from(self.info().sectors)? << bindings::SECTOR_SHIFT;
        let has_content = matches!(self.info().op, Op::Read | Op::Write);
        if !has_content || offset.checked_add(to.len()).is_none_or(|end| end > bytes) {
            return Err(EINVAL);
        }
        // SAFETY: The bio is ours and a read or write. It was not submitted, or was rewound, so it
        // has all of its content, and the range is a part of that. The buffer is ours to write.
        unsafe {
            bindings::dmr_copy_from_bio(
                self.bio.as_ptr(),
                offset,
                to.as_mut_ptr().cast(),
                to.len(),
            );
        }
        Ok(())
    }

    /// Copies `from` into its content, starting at byte `offset`. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` if its content is too short, or if it is not a read.
    pub(crate) fn copy_from(&mut self, offset: usize, from: &[u8]) -> Result {
        let bytes = usize::try_from(self.info().sectors)? << bindings::SECTOR_SHIFT;
        let is_read = self.info().op == Op::Read;
        if !is_read || offset.checked_add(from.len()).is_none_or(|end| end > bytes) {
            return Err(EINVAL);
        }
        // SAFETY: The bio is ours and a read. It was not submitted, or was rewound, so all of its
        // content may be written, and the range is a part of that.
        unsafe {
            bindings::dmr_copy_to_bio(self.bio.as_ptr(), offset, from.as_ptr().cast(), from.len());
        }
        Ok(())
    }

    /// Ends it. Does not sleep.
    pub(crate) fn end(self, status: Status) {
        // SAFETY: The bio is ours by the type invariants, and given away.
        unsafe { finish::<P>(self.into_raw(), status) };
    }
}

impl<T, P> Drop for Parked<T, P> {
    fn drop(&mut self) {
        // SAFETY: The bio is ours by the type invariants, and given away.
        unsafe { finish::<P>(self.bio, Status::IOERR) };
    }
}

/// Ends a clone.
///
/// # Safety
///
/// `bio` must satisfy the invariants of [`Parked`]; it no longer belongs to the caller.
unsafe fn finish<P>(bio: NonNull<bindings::bio>, status: Status) {
    // SAFETY: By the function's contract.
    unsafe {
        (*Cell::<P>::of(bio).as_ptr()).head.ending = Ending::Decided;
        (*bio.as_ptr()).bi_status = status.0;
        bindings::bio_endio(bio.as_ptr());
    }
}

/// A FIFO queue of parked bios. Allocates nothing. Dropping it ends its bios with I/O errors.
///
/// # Invariants
///
/// `head` and `tail` are the ends of a list, linked by `bi_next`, of bios that satisfy the
/// invariants of [`Parked`].
pub(crate) struct ParkedList<T, P> {
    head: *mut bindings::bio,
    tail: *mut bindings::bio,
    _types: PhantomData<Parked<T, P>>,
}

// SAFETY: As for `Parked`.
unsafe impl<T: Sync, P: Send> Send for ParkedList<T, P> {}

impl<T, P> ParkedList<T, P> {
    /// An empty queue.
    pub(crate) const fn new() -> Self {
        Self {
            head: core::ptr::null_mut(),
            tail: core::ptr::null_mut(),
            _types: PhantomData,
        }
    }

    /// Whether the queue is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// Appends a bio. Does not sleep.
    pub(crate) fn push(&mut self, parked: Parked<T, P>) {
        let bio = parked.into_raw().as_ptr();
        // SAFETY: The bio is ours, and so is its link while it is in the list.
        unsafe { (*bio).bi_next = core::ptr::null_mut() };
        if self.tail.is_null() {
            self.head = bio;
        } else {
            // SAFETY: The tail is a bio of ours by the type invariants.
            unsafe { (*self.tail).bi_next = bio };
        }
        self.tail = bio;
    }

    /// Removes the first bio and returns it. Does not sleep.
    pub(crate) fn pop(&mut self) -> Option<Parked<T, P>> {
        let bio = NonNull::new(self.head)?;
        // SAFETY: A bio of ours by the type invariants; its link goes back to the block layer.
        let link = unsafe { &mut (*bio.as_ptr()).bi_next };
        self.head = core::mem::replace(link, core::ptr::null_mut());
        if self.head.is_null() {
            self.tail = core::ptr::null_mut();
        }
        // SAFETY: It was removed from the list, and satisfies the invariants of `Parked`.
        Some(unsafe { Parked::from_raw(bio) })
    }

    /// Removes all bios and returns them. Does not sleep.
    pub(crate) fn take(&mut self) -> Self {
        core::mem::replace(self, Self::new())
    }
}

impl<T, P> Drop for ParkedList<T, P> {
    fn drop(&mut self) {
        while let Some(parked) = self.pop() {
            drop(parked);
        }
    }
}
