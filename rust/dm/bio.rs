// SPDX-License-Identifier: GPL-2.0

//! Bios as a target sees them.
//!
//! # Who owns a bio
//!
//! 1. A user submits a bio; device-mapper clones it, once for each target and range that it
//!    touches, and **lends** the clone to [`super::Target::map`] as a [`Bio`].
//! 2. `map` must decide what becomes of it, and the only way to do so is to consume the `Bio`:
//!    - [`Bio::remap`] points the clone at another device and **gives it back** to device-mapper,
//!      which submits it;
//!    - [`Bio::remap_to_all`] does the same and sends copies of it to other devices;
//!    - [`Bio::complete`] **ends** it with success, without any device;
//!    - [`Bio::fail`] gives it back to be ended with an I/O error;
//!    - [`Bio::park`] **takes** it: it also returns a [`Parked`], which some other context sends on
//!      or ends.
//!
//!    Each returns a [`Mapped`], which nothing else can create. So a bio can neither be forgotten
//!    nor used after it was given away.
//! 3. A remapped clone belongs to the block layer and the device until it ends. Then
//!    [`super::Target::end_io`] gets it as an [`Ended`]. It either lets device-mapper end the
//!    user's bio, or parks the clone once more: the I/O is done, but the user is not told yet.
//!
//! [`Ended`]: super::Ended

use super::{
    bindings,
    cell::{
        Cell,
        Ending,
        Head, //
    },
    device::Device,
    legs::LegPool,
    live::InUse,
    parked::Parked,
    traffic::Traffic, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    ffi::c_int,
    types::NotThreadSafe, //
};

/// The operation of a bio.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    /// Read data.
    Read,
    /// Write data; may also carry a flush before it (never in a bio that a target sees) or FUA.
    Write,
    /// Make all completed writes durable; has no data.
    Flush,
    /// Discard: the contents are no longer needed.
    Discard,
    /// Write zeroes without data.
    WriteZeroes,
    /// Anything else.
    Other,
}

impl Op {
    /// The operation of a bio that is not a read, by its flags and its length in bytes.
    #[inline(never)]
    fn no_read(opf: u32, bytes: u32) -> Self {
        match opf & REQ_OP_MASK {
            bindings::req_op_REQ_OP_WRITE if bytes == 0 && opf & REQ_PREFLUSH != 0 => Self::Flush,
            bindings::req_op_REQ_OP_WRITE => Self::Write,
            bindings::req_op_REQ_OP_DISCARD => Self::Discard,
            bindings::req_op_REQ_OP_WRITE_ZEROES => Self::WriteZeroes,
            _ => Self::Other,
        }
    }
}

/// A bio's fields.
#[derive(Clone, Copy)]
pub(crate) struct BioInfo {
    /// The operation.
    pub(crate) op: Op,
    /// First sector, relative to the beginning of the target.
    pub(crate) sector: u64,
    /// Length in sectors; 0 for a flush.
    pub(crate) sectors: u32,
    /// Its flags, `REQ_*`. Kept, since the block layer changes those of the clone; tests of single
    /// flags are left to those who need them.
    opf: bindings::blk_opf_t,
    /// Which of the flushes that the target asked for this is, counting from 0.
    pub(crate) flush: u32,
}

impl BioInfo {
    /// Whether it is a write that must be durable when it ends.
    pub(crate) fn is_fua(&self) -> bool {
        self.opf & REQ_FUA != 0
    }

    /// Whether it may fail easily, as read-ahead does: a failure says little about the device.
    pub(crate) fn is_hint(&self) -> bool {
        self.opf & REQ_HINTS != 0
    }

    /// # Safety
    ///
    /// `bio` must be a valid bio in a callback of the target `ti`.
    #[inline(always)]
    pub(super) unsafe fn read(ti: *mut bindings::dm_target, bio: NonNull<bindings::bio>) -> Self {
        // SAFETY: The bio is valid by the function's contract, and these fields do not change
        // during the callback.
        let (opf, iter) = unsafe { ((*bio.as_ptr()).bi_opf, (*bio.as_ptr()).bi_iter) };
        // The block layer packs `bvec_iter`; copy the fields out of it.
        let (sector, bytes) = (iter.bi_sector, iter.bi_size);
        // A read needs no further checks, and skips the jump table.
        let op = match opf & REQ_OP_MASK {
            bindings::req_op_REQ_OP_READ => Op::Read,
            _ => Op::no_read(opf, bytes),
        };
        // SAFETY: The target is valid during its callback.
        let begin = unsafe { (*ti).begin };
        let flush = match op {
            // SAFETY: The bio is a clone of dm's.
            Op::Flush => unsafe { bindings::dm_bio_get_target_bio_nr(bio.as_ptr()) },
            _ => 0,
        };
        Self {
            op,
            sector: sector.wrapping_sub(begin),
            sectors: bytes >> SECTOR_SHIFT,
            opf,
            flush,
        }
    }
}

pub(super) const SECTOR_SHIFT: u32 = bindings::SECTOR_SHIFT;
const REQ_OP_MASK: u32 = (1 << bindings::REQ_OP_BITS) - 1;
pub(super) const REQ_NOWAIT: u32 = 1 << bindings::req_flag_bits___REQ_NOWAIT;
const REQ_POLLED: u32 = 1 << bindings::req_flag_bits___REQ_POLLED;
const REQ_FUA: u32 = 1 << bindings::req_flag_bits___REQ_FUA;
const REQ_PREFLUSH: u32 = 1 << bindings::req_flag_bits___REQ_PREFLUSH;
/// With any of these flags, devices do not retry much.
const REQ_HINTS: u32 = (1 << bindings::req_flag_bits___REQ_RAHEAD)
    | (1 << bindings::req_flag_bits___REQ_FAILFAST_DEV)
    | (1 << bindings::req_flag_bits___REQ_FAILFAST_TRANSPORT)
    | (1 << bindings::req_flag_bits___REQ_FAILFAST_DRIVER);

/// A bio lent to `map`; see the module's documentation. `P` is the target's per-bio data.
///
/// # Invariants
///
/// `bio` is a clone that device-mapper passed to the map callback that is running, for a target
/// whose per-bio data is `P`; `cell` is its cell, initialised, and nothing was done with it yet.
pub(crate) struct Bio<'a, P> {
    bio: NonNull<bindings::bio>,
    /// Cached, since asking device-mapper for it costs a call.
    cell: NonNull<Cell<P>>,
    _life: PhantomData<&'a mut P>,
}

/// Where one of several legs of a bio goes.
pub(crate) struct Destination<'a> {
    /// The device.
    pub(crate) device: InUse<'a, Device>,
    /// The first sector there.
    pub(crate) sector: u64,
    /// The count of the device's I/Os.
    pub(crate) traffic: InUse<'a, Traffic>,
}

/// What became of a bio.
#[must_use]
pub(crate) struct Mapped(c_int, NotThreadSafe);

impl Mapped {
    pub(super) fn code(self) -> c_int {
        self.0
    }
}

impl<'a, P: Default> Bio<'a, P> {
    /// # Safety
    ///
    /// To be called by the map callback of a target whose per-bio data is `P`, with its own
    /// arguments, once.
    #[inline(always)]
    pub(super) unsafe fn from_raw(
        ti: *mut bindings::dm_target,
        bio: NonNull<bindings::bio>,
    ) -> Self {
        // This is a call. It comes before the fields are read, so that they need not be saved
        // across it.
        // SAFETY: A clone of such a target, by the function's contract.
        let cell = unsafe { Cell::<P>::of(bio) };
        // SAFETY: By the function's contract.
        let info = unsafe { BioInfo::read(ti, bio) };
        // SAFETY: The area of this clone is ours alone.
        unsafe {
            Head::init(&raw mut (*cell.as_ptr()).head, bio, info);
            (&raw mut (*cell.as_ptr()).user).write(P::default());
        }
        // INVARIANT: By the function's contract, and by the lines above.
        Self {
            bio,
            cell,
            _life: PhantomData,
        }
    }
}

impl<'a, P> Bio<'a, P> {
    fn head(&self) -> &Head {
        // SAFETY: Initialised and ours by the type invariants.
        unsafe { &self.cell.as_ref().head }
    }

    fn cell(&mut self) -> &mut Cell<P> {
        // SAFETY: Initialised and ours by the type invariants.
        unsafe { self.cell.as_mut() }
    }

    /// Its fields.
    pub(crate) fn info(&self) -> BioInfo {
        self.head().info
    }

    /// The target's data of this bio.
    pub(crate) fn data_mut(&mut self) -> &mut P {
        &mut self.cell().user
    }

    /// Lets devices block on it, although its user asked for an error instead. For devices that the
    /// user does not know about.
    pub(crate) fn let_wait(&mut self) {
        // SAFETY: The bio is ours by the type invariants.
        unsafe { (*self.bio.as_ptr()).bi_opf &= !REQ_NOWAIT };
    }

    /// Shortens it to its first `sectors`; device-mapper submits the rest separately. Does nothing
    /// if `sectors` is 0 or not less than its length. Does not sleep.
    pub(crate) fn accept(&mut self, sectors: u32) {
        // Only flushes are bios that dm sends several of, and they have no sectors.
        if sectors == 0 || sectors >= self.head().info.sectors {
            return;
        }
        // SAFETY: The bio is being mapped, longer than `sectors`, not one of several for one
        // user's bio, and neither atomic nor for zones: no target of ours asks for those.
        unsafe { bindings::dm_accept_partial_bio(self.bio.as_ptr(), sectors) };
        self.cell().head.info.sectors = sectors;
    }

    /// Sends it to `device`, starting at `sector`. Does not sleep.
    pub(crate) fn remap(self, device: InUse<'_, Device>, sector: u64) -> Mapped {
        // SAFETY: The bio is ours by the type invariants, and `InUse` says that the device stays
        // open until the bio has ended.
        unsafe { point(self.bio, &device, sector) };
        Mapped(MAPIO_REMAPPED, NotThreadSafe)
    }

    /// Sends it to one device, and copies of it to a second and, if given, a third one; it ends
    /// when all of them have ended. Each device counts it until it has answered. Does not sleep.
    ///
    /// # Errors
    ///
    /// Returns the bio unchanged if the copies can't be allocated without waiting.
    pub(crate) fn remap_to_all(
        mut self,
        pool: InUse<'_, LegPool>,
        first: Destination<'_>,
        second: Destination<'_>,
        third: Option<Destination<'_>>,
    ) -> Result<Mapped, Self> {
        // SAFETY: The bio is ours by the type invariants, and is submitted below if the copy is.
        // `InUse` says that pool and device stay until it has ended.
        let leg = unsafe { pool.clone_now::<P, 1>(self.bio, &second.device, second.sector) };
        let Some(leg) = leg else {
            return Err(self);
        };
        let Some(third) = third else {
            let head = &mut self.cell().head;
            head.begin_legs([first.traffic, second.traffic]);
            leg.submit();
            return Ok(self.remap(first.device, first.sector));
        };
        // SAFETY: As above.
        let other = unsafe { pool.clone_now::<P, 2>(self.bio, &third.device, third.sector) };
        let Some(other) = other else {
            return Err(self);
        };
        let head = &mut self.cell().head;
        head.begin_legs([first.traffic, second.traffic, third.traffic]);
        leg.submit();
        other.submit();
        Ok(self.remap(first.device, first.sector))
    }

    /// Takes it, to be sent on or ended later. `keep` stays valid as long as the bio is in flight.
    pub(crate) fn park<T>(mut self, keep: InUse<'_, T>) -> (Mapped, Parked<T, P>) {
        self.cell().head.keep = keep.as_ptr().cast();
        // SAFETY: The bio is ours by the type invariants, and `DM_MAPIO_SUBMITTED` tells dm that it
        // is no longer its to submit. Its cell points to `keep`.
        let parked = unsafe { Parked::from_raw(self.bio) };
        (Mapped(MAPIO_SUBMITTED, NotThreadSafe), parked)
    }

    /// Ends it with success. Does not sleep.
    pub(crate) fn complete(mut self) -> Mapped {
        self.cell().head.ending = Ending::Decided;
        // SAFETY: The bio is ours by the type invariants, and `DM_MAPIO_SUBMITTED` tells dm that
        // it is no longer its to submit.
        unsafe { kernel::bindings::bio_endio(self.bio.as_ptr()) };
        Mapped(MAPIO_SUBMITTED, NotThreadSafe)
    }

    /// Fills its pages with zeroes and ends it with success; fails it if it is not a read. Does not
    /// sleep.
    pub(crate) fn complete_with_zeroes(self) -> Mapped {
        if self.info().op != Op::Read {
            return self.fail();
        }
        // SAFETY: The bio is ours by the type invariants, and as a read it has pages to be written.
        unsafe { bindings::dmr_zero_fill_bio(self.bio.as_ptr()) };
        self.complete()
    }

    /// Ends it with an I/O error.
    pub(crate) fn fail(self) -> Mapped {
        Mapped(MAPIO_KILL, NotThreadSafe)
    }
}

/// Points a bio at a place on a device.
///
/// # Safety
///
/// `bio` must be ours, and the device must stay open until the bio has ended.
pub(super) unsafe fn point(bio: NonNull<bindings::bio>, device: &Device, sector: u64) {
    // SAFETY: By the function's contract; an open device's `block_device` is valid.
    unsafe {
        bindings::dmr_bio_set_dev(bio.as_ptr(), device.bdev());
        (*bio.as_ptr()).bi_iter.bi_sector = sector;
    }
}

/// Rewinds a clone that has ended to the state in which it was mapped, so that it can be sent
/// again, this time without hints to give up early.
///
/// # Safety
///
/// `bio` must be a clone that is ours, for a target whose per-bio data is `P`; its cell is
/// initialised, and no device has it or a copy of it.
pub(super) unsafe fn rewind<P>(bio: NonNull<bindings::bio>) {
    // SAFETY: By the function's contract.
    unsafe {
        let head = &mut (*Cell::<P>::of(bio).as_ptr()).head;
        let raw = &mut *bio.as_ptr();
        raw.bi_iter = head.iter;
        // It may have been mapped in part.
        raw.bi_iter.bi_size = head.info.sectors << SECTOR_SHIFT;
        // If it was merged into a request with others, it still points to the next one of them.
        raw.bi_next = core::ptr::null_mut();
        raw.bi_flags = head.flags;
        raw.bi_status = bindings::DMR_STS_OK;
        // Splits of it in lower layers count from here; its last end left 0. And nobody polls for
        // it.
        raw.__bi_remaining.counter = 1;
        // The block layer removes flush and FUA for a device without a cache; the next device may
        // have one.
        head.info.opf &= !(REQ_POLLED | REQ_NOWAIT | REQ_HINTS);
        raw.bi_opf = head.info.opf;
        head.ending = Ending::Told;
    }
}

// bindgen makes small C constants unsigned.
const MAPIO_SUBMITTED: c_int = bindings::DM_MAPIO_SUBMITTED as c_int;
const MAPIO_REMAPPED: c_int = bindings::DM_MAPIO_REMAPPED as c_int;
const MAPIO_KILL: c_int = bindings::DM_MAPIO_KILL as c_int;

/// How a bio ended (`blk_status_t`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(pub(super) bindings::blk_status_t);

impl Status {
    /// Success.
    pub(crate) const OK: Self = Self(bindings::DMR_STS_OK);
    /// An I/O error.
    pub(crate) const IOERR: Self = Self(bindings::DMR_STS_IOERR);
    /// No space is left.
    pub(crate) const NOSPC: Self = Self(bindings::DMR_STS_NOSPC);
    /// It would have to wait, and may not.
    pub(crate) const AGAIN: Self = Self(bindings::DMR_STS_AGAIN);
    /// To be mapped again after the suspend that is in progress, which must be a noflush one;
    /// otherwise an I/O error.
    pub(crate) const REQUEUE: Self = Self(bindings::DMR_STS_REQUEUE);

    /// Whether it failed.
    pub(crate) fn is_error(self) -> bool {
        self.0 != bindings::DMR_STS_OK
    }

    /// The kind of error; also [`Failure::Other`] if there is none.
    pub(crate) fn failure(self) -> Failure {
        match self.0 {
            bindings::DMR_STS_NOTSUPP => Failure::Unsupported,
            bindings::DMR_STS_INVAL => Failure::Invalid,
            bindings::DMR_STS_AGAIN => Failure::Again,
            bindings::DMR_STS_DURATION_LIMIT => Failure::Late,
            bindings::DMR_STS_RESV_CONFLICT => Failure::Conflict,
            bindings::DMR_STS_TARGET => Failure::Target,
            bindings::DMR_STS_MEDIUM | bindings::DMR_STS_PROTECTION => Failure::Medium,
            bindings::DMR_STS_TIMEOUT | bindings::DMR_STS_TRANSPORT | bindings::DMR_STS_OFFLINE => {
                Failure::Gone
            }
            _ => Failure::Other,
        }
    }
}

/// Kinds of errors.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The device does not support the operation.
    Unsupported,
    /// The operation is invalid for any device.
    Invalid,
    /// It would have had to wait, and was asked not to.
    Again,
    /// It would have taken longer than its user allows.
    Late,
    /// The device is reserved by somebody else.
    Conflict,
    /// The device refused the command.
    Target,
    /// The device has lost the data, or the data is damaged.
    Medium,
    /// The device is gone, or does not answer.
    Gone,
    /// Anything else.
    Other,
}
