// SPDX-License-Identifier: GPL-2.0

//! Bios that have ended, as a target sees them.

use super::{
    bindings,
    bio::{
        rewind,
        BioInfo,
        Op,
        Status,
        REQ_NOWAIT,
        SECTOR_SHIFT, //
    },
    cell::{
        Cell,
        Ending, //
    },
    device::Device,
    live::InUse,
    parked::Parked, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    ffi::c_int,
    sync::rcu,
    types::NotThreadSafe, //
};

/// A clone that was sent to one or more devices, and has ended there.
///
/// # Invariants
///
/// `bio` is the clone that device-mapper passed to the running end_io callback, for a target whose
/// per-bio data is `P`; `cell` is its cell, initialised.
pub(crate) struct Ended<'a, P> {
    bio: NonNull<bindings::bio>,
    cell: NonNull<Cell<P>>,
    status: Status,
    _life: PhantomData<&'a mut P>,
}

impl<P> Ended<'_, P> {
    /// # Safety
    ///
    /// To be called by the end_io callback of a target whose per-bio data is `P`, with its own
    /// arguments, once; `cell` must be the bio's.
    pub(super) unsafe fn from_raw(
        bio: NonNull<bindings::bio>,
        cell: NonNull<Cell<P>>,
        status: Status,
    ) -> Self {
        // INVARIANT: By the function's contract; `map` initialised the cell.
        Self {
            bio,
            cell,
            status,
            _life: PhantomData,
        }
    }

    fn cell(&self) -> &Cell<P> {
        // SAFETY: Initialised and ours by the type invariants.
        unsafe { self.cell.as_ref() }
    }

    fn cell_mut(&mut self) -> &mut Cell<P> {
        // SAFETY: Initialised and ours by the type invariants.
        unsafe { self.cell.as_mut() }
    }

    /// Its fields, as they were when it was mapped.
    pub(crate) fn info(&self) -> BioInfo {
        self.cell().head.info
    }

    /// How it ended; with several legs, how the first one ended.
    pub(crate) fn status(&self) -> Status {
        self.status
    }

    /// How a leg ended, counting from 0. Legs that were not used count as successful; without
    /// copies, this is the status of the clone.
    pub(crate) fn leg_status(&self, leg: usize) -> Status {
        let head = &self.cell().head;
        if head.ending != Ending::Legs {
            return self.status;
        }
        // SAFETY: Initialised by the invariants of the head. All legs have ended, so nobody writes
        // there.
        let legs = unsafe { head.legs.assume_init_ref() };
        legs.status
            .get(leg)
            .map_or(self.status, |status| Status(*status))
    }

    /// Whether it had several legs, each of which its device has counted.
    pub(crate) fn has_legs(&self) -> bool {
        self.cell().head.ending == Ending::Legs
    }

    /// Whether its device had to refuse it rather than let it wait: a device that can't guarantee
    /// that reports "not supported".
    pub(crate) fn could_not_wait(&self) -> bool {
        // SAFETY: Ours by the type invariants, and no device has it any more.
        unsafe { (*self.bio.as_ptr()).bi_opf & REQ_NOWAIT != 0 }
    }

    /// Whether its content is aligned in memory as a device wants that (`dma_alignment`); `true` if
    /// it has none. Does not sleep.
    pub(crate) fn is_aligned_for(&self, device: &Device) -> bool {
        let head = &self.cell().head;
        if !matches!(head.info.op, Op::Read | Op::Write) {
            return true;
        }
        let mut begin = head.iter;
        // It may have been mapped in part.
        begin.bi_size = head.info.sectors << SECTOR_SHIFT;
        // SAFETY: Ours by the type invariants, and no device has it any more. It is a read or write,
        // and its memory is that of the user's bio, which has not ended; `begin` is where it was
        // mapped. The device is open.
        unsafe { bindings::dmr_bio_is_aligned(self.bio.as_ptr(), &begin, device.bdev()) }
    }

    /// The target's data of this bio.
    pub(crate) fn data(&self) -> &P {
        &self.cell().user
    }

    /// The target's data of this bio, mutably.
    pub(crate) fn data_mut(&mut self) -> &mut P {
        &mut self.cell_mut().user
    }

    /// Ends the user's bio with the status that the clone had.
    pub(crate) fn done(self) -> EndIo {
        EndIo {
            parked: None,
            _not_thread_safe: NotThreadSafe,
        }
    }

    /// Takes it, whatever its status, and rewinds it to the state in which it was mapped: it may be
    /// sent again, or ended later. `keep` stays valid as long as the bio is in flight.
    pub(crate) fn park<T>(mut self, keep: InUse<'_, T>) -> (EndIo, Parked<T, P>) {
        // Before anybody else can get it.
        let parked = Some(rcu::read_lock());
        // SAFETY: Ours by the type invariants; it and its copy have ended.
        unsafe { rewind::<P>(self.bio) };
        self.cell_mut().head.keep = keep.as_ptr().cast();
        // SAFETY: `DM_ENDIO_INCOMPLETE` gives the bio to us, and its cell points to `keep`.
        let parked_bio = unsafe { Parked::from_raw(self.bio) };
        let end = EndIo {
            parked,
            _not_thread_safe: NotThreadSafe,
        };
        (end, parked_bio)
    }
}

/// What device-mapper should do with the bio that it passed to `end_io`.
pub(crate) struct EndIo {
    /// The clone was parked.
    ///
    /// Others may end a parked bio while the `end_io` that parked it is still running. A suspend no
    /// longer waits for that bio then; the RCU read section makes it wait for the callback.
    parked: Option<rcu::Guard>,
    /// It belongs to this call.
    _not_thread_safe: NotThreadSafe,
}

impl EndIo {
    pub(super) fn code(self) -> c_int {
        match self.parked {
            None => bindings::DM_ENDIO_DONE as c_int,
            Some(_) => bindings::DM_ENDIO_INCOMPLETE as c_int,
        }
    }
}
