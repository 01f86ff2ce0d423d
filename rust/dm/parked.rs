// SPDX-License-Identifier: GPL-2.0

//! Bios that wait.

use super::{
    bindings,
    bio::{
        BioInfo,
        Op,
        REQ_NOWAIT,
        REQ_POLLED,
        SECTOR_SHIFT, //
    },
    cell::{
        Cell,
        State, //
    },
    device::Device,
    legs::{
        self,
        LegPool,
        Wait, //
    },
    live::InUse,
    status::Status, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::prelude::*;

/// A bio that was kept, by [`super::Bio::park`] or [`super::Ended::park`].
///
/// It is in flight, so that the mapped device can't be suspended before it has ended: whoever keeps
/// bios has to submit or end them when a suspend begins. Dropping one ends it with an I/O error.
///
/// `T` is its owner: a value that stays as long as the bio, and that its handling needs.
///
/// # Invariants
///
/// `bio` is a clone of device-mapper in flight, with a cell of `P` that is initialised. It is ours:
/// neither a callback nor a device has it. The cell's owner is a `T` that stays until the bio has
/// ended.
pub(crate) struct Parked<T, P> {
    bio: NonNull<bindings::bio>,
    _types: PhantomData<(*const T, P)>,
}

// SAFETY: A bio may be submitted and ended by any thread. The data goes with it, and the owner is
// only shown.
unsafe impl<T: Sync, P: Send> Send for Parked<T, P> {}
// SAFETY: `&Parked` shows the owner and the data, and copies out of the bio's pages, which any number
// of threads may do at once.
unsafe impl<T: Sync, P: Sync> Sync for Parked<T, P> {}

/// Where to send a bio that goes to two devices.
pub(crate) struct Both<'a> {
    /// Where the second one's bio comes from.
    pub(crate) pool: &'a LegPool,
    /// One device, and the sector there.
    pub(crate) first: (&'a Device, u64),
    /// The other one.
    pub(crate) second: (&'a Device, u64),
}

impl<T, P> Parked<T, P> {
    /// # Safety
    ///
    /// `bio` must be a clone in flight with a cell of `P` that is initialised, which is the
    /// caller's to give away. `keep` must come from evidence that this bio's mapped device is live.
    pub(super) unsafe fn from_raw(bio: NonNull<bindings::bio>, keep: InUse<'_, T>) -> Self {
        // INVARIANT: By the function's contract; `InUse` says that the owner stays until the bio
        // has ended.
        let mut this = Self {
            bio,
            _types: PhantomData,
        };
        let header = &mut this.cell_mut().header;
        header.owner = core::ptr::from_ref::<T>(&keep).cast();
        header.state = State::Single;
        // Its sender waits for an interrupt from now on, and nobody minds if a device makes us wait.
        header.opf &= !(REQ_NOWAIT | REQ_POLLED);
        this
    }

    /// The bio without its wrapper. The caller has to see to it that it ends.
    pub(super) fn into_raw(self) -> NonNull<bindings::bio> {
        ManuallyDrop::new(self).bio
    }

    /// # Safety
    ///
    /// `bio` must come from [`Self::into_raw`] of the same type, once.
    pub(super) unsafe fn again(bio: NonNull<bindings::bio>) -> Self {
        // INVARIANT: It fulfilled them when it was taken apart.
        Self {
            bio,
            _types: PhantomData,
        }
    }

    fn cell(&self) -> &Cell<P> {
        // SAFETY: The bio is ours and its cell is initialised, by the type invariants.
        unsafe { Cell::of(self.bio).as_ref() }
    }

    fn cell_mut(&mut self) -> &mut Cell<P> {
        // SAFETY: As for `cell`, and `self` is the only way to it.
        unsafe { Cell::of(self.bio).as_mut() }
    }

    /// What was to be kept with it.
    pub(crate) fn owner(&self) -> &T {
        // SAFETY: By the type invariants the owner is a `T`, and stays until the bio has ended,
        // which takes `self` by value.
        unsafe { &*self.cell().header.owner.cast() }
    }

    /// Its fields, as they were in `map`.
    pub(crate) fn info(&self) -> BioInfo {
        self.cell().header.info
    }

    /// The target's data.
    pub(crate) fn data(&self) -> &P {
        &self.cell().user
    }

    /// The target's data.
    pub(crate) fn data_mut(&mut self) -> &mut P {
        &mut self.cell_mut().user
    }

    /// Ends it. Does not sleep; any context.
    pub(crate) fn end(self, status: Status) {
        ManuallyDrop::new(self).finish(status);
    }

    /// Not to be used afterwards.
    fn finish(&mut self, status: Status) {
        self.cell_mut().header.state = State::Finished;
        let bio = self.bio.as_ptr();
        // SAFETY: The bio is ours by the type invariants, and is used no more.
        unsafe {
            (*bio).bi_status = status.0;
            bindings::bio_endio(bio);
        }
    }

    /// Sends it to the device that `pick` finds in the owner, its first sector becoming `sector`;
    /// ends it with an I/O error if there is none. May have been with a device before. May sleep.
    ///
    /// `end_io` gets it when it comes back.
    pub(crate) fn submit(
        self,
        pick: impl for<'b> FnOnce(&'b T) -> Option<&'b Device>,
        sector: u64,
    ) {
        let Some(bdev) = pick(self.owner()).map(Device::bdev) else {
            return;
        };
        self.rewind();
        let bio = self.into_raw().as_ptr();
        // SAFETY: The bio is ours and in the state of a new one. The device is open and stays so
        // until the bio has ended, since it is a part of the owner. Targets account what they
        // submit, so that dm does not touch the clone of a bio that was kept.
        unsafe {
            bindings::dmr_bio_set_dev(bio, bdev);
            (*bio).bi_iter.bi_sector = sector;
            bindings::dm_submit_bio_remap(bio, core::ptr::null_mut());
        }
    }

    /// Sends it to two devices; ends it with an I/O error if `pick` finds none. May sleep, also for
    /// memory, which is certain to come.
    ///
    /// `end_io` gets it when both have answered.
    pub(crate) fn submit_both(self, pick: impl for<'b> FnOnce(&'b T) -> Option<Both<'b>>) {
        let Some(both) = pick(self.owner()) else {
            return;
        };
        self.rewind();
        let (first, first_sector) = both.first;
        let (second, second_sector) = both.second;
        let bdev = first.bdev();
        // SAFETY: The bio is ours and in the state of a new one, its cell is initialised. Pool and
        // device are parts of the owner, which stays until the bio has ended.
        let sent = unsafe {
            legs::send_second::<P>(self.bio, both.pool, second, second_sector, Wait::May)
        };
        if !sent {
            return;
        }
        let bio = self.into_raw().as_ptr();
        // SAFETY: As in `submit`; the bio can't end before this one has.
        unsafe {
            bindings::dmr_bio_set_dev(bio, bdev);
            (*bio).bi_iter.bi_sector = first_sector;
            bindings::dm_submit_bio_remap(bio, core::ptr::null_mut());
        }
    }

    /// Makes of the bio what it was in `map`, whatever a device did with it since.
    fn rewind(&self) {
        let header = &self.cell().header;
        let bytes = header.info.sectors << SECTOR_SHIFT;
        // SAFETY: The bio is ours by the type invariants. The place and the length are those that
        // it had.
        unsafe {
            bindings::dmr_bio_rewind(self.bio.as_ptr(), header.opf, &header.iter, bytes);
        }
    }

    /// Whether bytes from `offset` on, `len` of them, are data that the bio carries.
    fn has(&self, offset: usize, len: usize) -> Option<(u32, u32)> {
        let info = self.info();
        if !matches!(info.op, Op::Read | Op::Write) {
            return None;
        }
        let (offset, len) = (u32::try_from(offset).ok()?, u32::try_from(len).ok()?);
        let end = offset.checked_add(len)?;
        (end <= info.sectors << SECTOR_SHIFT).then_some((offset, len))
    }

    /// Copies out of the data of a write, or of a read that a device has filled, from the byte
    /// `offset` on. Does not sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the bio has no such data.
    pub(crate) fn copy_to(&self, offset: usize, buffer: &mut [u8]) -> Result {
        let (offset, len) = self.has(offset, buffer.len()).ok_or(EINVAL)?;
        let header = &self.cell().header;
        // SAFETY: The bio has data of that length from that place on, and pages that stay until it
        // has ended. The pointer and the length are those of a slice.
        unsafe {
            bindings::dmr_bio_copy_to(
                self.bio.as_ptr(),
                &header.iter,
                offset,
                buffer.as_mut_ptr().cast(),
                len,
            );
        }
        Ok(())
    }

    /// Writes the data that a read gets, from its byte `offset` on. Does not sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is no read, or has no such data.
    pub(crate) fn copy_from(&mut self, offset: usize, bytes: &[u8]) -> Result {
        let (offset, len) = self.has(offset, bytes.len()).ok_or(EINVAL)?;
        if self.info().op != Op::Read {
            return Err(EINVAL);
        }
        let header = &self.cell().header;
        // SAFETY: As in `copy_to`; the pages of a read are there to be written.
        unsafe {
            bindings::dmr_bio_copy_from(
                self.bio.as_ptr(),
                &header.iter,
                offset,
                bytes.as_ptr().cast(),
                len,
            );
        }
        Ok(())
    }
}

impl<T, P> Drop for Parked<T, P> {
    fn drop(&mut self) {
        self.finish(Status::IOERR);
    }
}
