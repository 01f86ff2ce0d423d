// SPDX-License-Identifier: GPL-2.0

//! Bios as a target sees them.
//!
//! # Who owns a bio
//!
//! 1. A user submits a bio; device-mapper clones it, once for each target and stretch that it
//!    touches, and **lends** the clone to [`super::Target::map`] as a [`Bio`].
//! 2. `map` must say what becomes of it, and the one way to say it is to consume the `Bio`:
//!    - [`Bio::remap`] points the clone at another device and **gives it back** to device-mapper,
//!      which submits it;
//!    - [`Bio::complete`] **ends** it with success, without any device;
//!    - [`Bio::fail`] gives it back to be ended with an I/O error.
//!
//!    Each returns a [`Mapped`], which nothing else can make: a bio can be neither forgotten nor
//!    used after it was given away.
//! 3. A remapped clone belongs to the block layer and the device until it ends. Then
//!    [`super::Target::end_io`] may look at it through [`BioInfo`]; the clone stays device-mapper's.

use super::{
    bindings,
    device::Device,
    live::InUse, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::ffi::c_int;

/// What a bio wants done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    /// Read data.
    Read,
    /// Write data; may also carry a flush before it (never in a bio that a target sees) or FUA.
    Write,
    /// Make all completed writes durable; has no data.
    Flush,
    /// Contents no longer needed.
    Discard,
    /// Write zeroes without data.
    WriteZeroes,
    /// Anything else.
    Other,
}

/// A bio's fields.
#[derive(Clone, Copy)]
pub(crate) struct BioInfo {
    /// What to do.
    pub(crate) op: Op,
    /// First sector, counted from the target's begin.
    pub(crate) sector: u64,
    /// Length in sectors; 0 for a flush.
    pub(crate) sectors: u32,
}

impl BioInfo {
    /// # Safety
    ///
    /// `bio` must be a valid bio in a callback of the target `ti`.
    pub(super) unsafe fn read(ti: *mut bindings::dm_target, bio: NonNull<bindings::bio>) -> Self {
        // SAFETY: The bio is valid by the function's contract, and nobody changes these fields
        // during the callback.
        let (opf, iter) = unsafe { ((*bio.as_ptr()).bi_opf, (*bio.as_ptr()).bi_iter) };
        // The block layer packs `bvec_iter`; copy the fields out of it.
        let (sector, bytes) = (iter.bi_sector, iter.bi_size);
        let op = match opf & REQ_OP_MASK {
            bindings::req_op_REQ_OP_READ => Op::Read,
            bindings::req_op_REQ_OP_WRITE if bytes == 0 && opf & REQ_PREFLUSH != 0 => Op::Flush,
            bindings::req_op_REQ_OP_WRITE => Op::Write,
            bindings::req_op_REQ_OP_DISCARD => Op::Discard,
            bindings::req_op_REQ_OP_WRITE_ZEROES => Op::WriteZeroes,
            _ => Op::Other,
        };
        // SAFETY: The target is valid during its callback.
        let begin = unsafe { (*ti).begin };
        Self {
            op,
            sector: sector.wrapping_sub(begin),
            sectors: bytes >> SECTOR_SHIFT,
        }
    }
}

const SECTOR_SHIFT: u32 = bindings::SECTOR_SHIFT;
const REQ_OP_MASK: u32 = (1 << bindings::REQ_OP_BITS) - 1;
const REQ_PREFLUSH: u32 = 1 << bindings::req_flag_bits___REQ_PREFLUSH;

/// A bio lent to `map`; see the module's documentation.
///
/// # Invariants
///
/// `bio` is a clone that device-mapper passed to the map callback that is running, and nothing was
/// done with it yet.
pub(crate) struct Bio<'a> {
    bio: NonNull<bindings::bio>,
    info: BioInfo,
    _life: PhantomData<&'a mut ()>,
}

/// What became of a bio.
#[must_use]
pub(crate) struct Mapped(c_int);

impl Mapped {
    pub(super) fn code(self) -> c_int {
        self.0
    }
}

impl Bio<'_> {
    /// # Safety
    ///
    /// To be called by the map callback with its own arguments, once.
    pub(super) unsafe fn from_raw(
        ti: *mut bindings::dm_target,
        bio: NonNull<bindings::bio>,
    ) -> Self {
        // SAFETY: By the function's contract.
        let info = unsafe { BioInfo::read(ti, bio) };
        // INVARIANT: By the function's contract.
        Self {
            bio,
            info,
            _life: PhantomData,
        }
    }

    /// Its fields.
    pub(crate) fn info(&self) -> BioInfo {
        self.info
    }

    /// Sends it to `device`, its first sector becoming `sector`. Does not sleep.
    pub(crate) fn remap(self, device: InUse<'_, Device>, sector: u64) -> Mapped {
        let bio = self.bio.as_ptr();
        // SAFETY: The bio is ours by the type invariants. The device is open, and `InUse` says that
        // it stays so until the bio has ended.
        unsafe {
            bindings::dmr_bio_set_dev(bio, device.bdev());
            (*bio).bi_iter.bi_sector = sector;
        }
        Mapped(MAPIO_REMAPPED)
    }

    /// Ends it with success. Does not sleep.
    pub(crate) fn complete(self) -> Mapped {
        // SAFETY: The bio is ours by the type invariants, and `DM_MAPIO_SUBMITTED` tells dm that
        // it is no longer its to submit.
        unsafe { kernel::bindings::bio_endio(self.bio.as_ptr()) };
        Mapped(MAPIO_SUBMITTED)
    }

    /// Ends it with an I/O error.
    pub(crate) fn fail(self) -> Mapped {
        Mapped(MAPIO_KILL)
    }
}

// bindgen gives the small C constants an unsigned type.
const MAPIO_SUBMITTED: c_int = bindings::DM_MAPIO_SUBMITTED as c_int;
const MAPIO_REMAPPED: c_int = bindings::DM_MAPIO_REMAPPED as c_int;
const MAPIO_KILL: c_int = bindings::DM_MAPIO_KILL as c_int;

/// How a bio ended (`blk_status_t`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(pub(super) bindings::blk_status_t);

impl Status {
    /// Whether it failed.
    pub(crate) fn is_error(self) -> bool {
        self.0 != bindings::DMR_STS_OK
    }
}

/// What `end_io` wants device-mapper to do.
pub(crate) enum EndIo {
    /// End the user's bio with the status that the clone had.
    Done,
}

impl EndIo {
    pub(super) fn code(self) -> c_int {
        match self {
            EndIo::Done => bindings::DM_ENDIO_DONE as c_int,
        }
    }
}
