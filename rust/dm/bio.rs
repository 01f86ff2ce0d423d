// SPDX-License-Identifier: GPL-2.0

//! Bios as a target sees them.
//!
//! # Who owns a bio
//!
//! 1. A user submits a bio; device-mapper clones it, once for each target and stretch that it
//!    touches, and **lends** the clone to [`super::Target::map`] as a [`Bio`].
//! 2. `map` must say what becomes of it, and the one way to say it is to consume the `Bio`:
//!    - [`Bio::remap`] points the clone at another device and **gives it back** to device-mapper,
//!      which submits it; [`Bio::remap_both`] sends it to two devices;
//!    - [`Bio::end`] **ends** it without any device;
//!    - [`Bio::fail`] gives it back to be ended with an I/O error;
//!    - [`Bio::park`] **keeps** it, as a [`Parked`] that anybody may submit or end later.
//!
//!    Each returns a [`Mapped`], which nothing else can make: a bio can be neither forgotten nor
//!    used after it was given away.
//! 3. A submitted clone belongs to the block layer and the device until it ends. Then
//!    [`super::Target::end_io`] gets it as a [`super::Ended`], and may let the user's bio end, with
//!    this status or another, or park it.
//! 4. A bio that the target ended does not come to `end_io`.

use super::{
    bindings,
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
    parked::Parked,
    status::Status, //
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

/// A bio's fields, as `map` got it.
#[derive(Clone, Copy)]
pub(crate) struct BioInfo {
    /// First sector, counted from the target's begin.
    pub(crate) sector: u64,
    /// Length in sectors; 0 for a flush.
    pub(crate) sectors: u32,
    /// Which one of the bios of one flush, counting from 0; 0 for all others.
    pub(crate) flush: u32,
    /// What to do.
    pub(crate) op: Op,
    /// A write that has to be durable when it ends.
    pub(crate) fua: bool,
}

pub(super) const SECTOR_SHIFT: u32 = bindings::SECTOR_SHIFT;
const REQ_OP_MASK: u32 = (1 << bindings::REQ_OP_BITS) - 1;
const REQ_PREFLUSH: u32 = 1 << bindings::req_flag_bits___REQ_PREFLUSH;
const REQ_FUA: u32 = 1 << bindings::req_flag_bits___REQ_FUA;
const REQ_ATOMIC: u32 = 1 << bindings::req_flag_bits___REQ_ATOMIC;
pub(super) const REQ_NOWAIT: u32 = 1 << bindings::req_flag_bits___REQ_NOWAIT;
pub(super) const REQ_POLLED: u32 = 1 << bindings::req_flag_bits___REQ_POLLED;

impl<P: Copy + Default> Cell<P> {
    /// What to keep of a clone that comes to `map`.
    ///
    /// # Safety
    ///
    /// `bio` must be the clone that device-mapper passed to the map callback of `ti` that is
    /// running.
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
        let flush = match op {
            // SAFETY: It is a clone of dm by the function's contract.
            Op::Flush => unsafe { bindings::dm_bio_get_target_bio_nr(bio.as_ptr()) },
            _ => 0,
        };
        // SAFETY: The target is valid during its callback.
        let begin = unsafe { (*ti).begin };
        let info = BioInfo {
            sector: sector.wrapping_sub(begin),
            sectors: bytes >> SECTOR_SHIFT,
            flush,
            op,
            fua: opf & REQ_FUA != 0,
        };
        Self::new(info, opf, iter)
    }
}

/// A bio lent to `map`; see the module's documentation. `P` is the target's data that is kept with
/// it until it has ended.
///
/// # Invariants
///
/// `bio` is a clone that device-mapper passed to the map callback that is running, `cell` is its
/// cell, and nothing was done with it yet.
pub(crate) struct Bio<'a, P> {
    bio: NonNull<bindings::bio>,
    cell: NonNull<Cell<P>>,
    _life: PhantomData<&'a mut Cell<P>>,
}

/// What became of a bio.
#[must_use]
pub(crate) struct Mapped<'a> {
    code: c_int,
    // Of this callback, not of another one.
    _life: PhantomData<&'a mut ()>,
}

impl Mapped<'_> {
    fn new(code: c_int) -> Self {
        Self {
            code,
            _life: PhantomData,
        }
    }

    pub(super) fn code(self) -> c_int {
        self.code
    }
}

impl<'a, P> Bio<'a, P> {
    /// # Safety
    ///
    /// To be called by the map callback, once, with the clone that it got and its initialised cell.
    /// The bio may end before the callback returns: the caller has to let both alone.
    pub(super) unsafe fn from_raw(bio: NonNull<bindings::bio>, cell: NonNull<Cell<P>>) -> Self {
        // INVARIANT: By the function's contract.
        Self {
            bio,
            cell,
            _life: PhantomData,
        }
    }

    fn cell(&self) -> &Cell<P> {
        // SAFETY: Nothing was done with the bio yet, by the type invariants: the cell is ours.
        unsafe { self.cell.as_ref() }
    }

    fn cell_mut(&mut self) -> &mut Cell<P> {
        // SAFETY: As for `cell`.
        unsafe { self.cell.as_mut() }
    }

    /// Its fields.
    pub(crate) fn info(&self) -> BioInfo {
        self.cell().header.info
    }

    /// The target's data.
    pub(crate) fn data(&self) -> &P {
        &self.cell().user
    }

    /// The target's data; [`super::Target::end_io`] gets what is written here.
    pub(crate) fn data_mut(&mut self) -> &mut P {
        &mut self.cell_mut().user
    }

    /// Cuts it down to its first `sectors`; device-mapper sends the rest as another bio, after this
    /// one was mapped. Its own length is accepted, too, and changes nothing. Does not sleep.
    ///
    /// Returns `false`, and changes nothing, if it can't be cut: it is shorter, or neither a read
    /// nor a write, discard or write of zeroes, or has to be written as a whole (`REQ_ATOMIC`).
    #[must_use]
    pub(crate) fn accept(&mut self, sectors: u32) -> bool {
        let bio = self.bio.as_ptr();
        let header = &mut self.cell_mut().header;
        if sectors == header.info.sectors {
            return true;
        }
        let divisible = match header.info.op {
            Op::Read | Op::Write | Op::Discard | Op::WriteZeroes => true,
            Op::Flush | Op::Other => false,
        };
        if sectors == 0
            || sectors > header.info.sectors
            || !divisible
            || header.opf & (REQ_PREFLUSH | REQ_ATOMIC) != 0
        {
            return false;
        }
        // SAFETY: The map callback of this clone is running, by the type invariants. The rest is
        // what dm insists on: it is shortened, no flush, not atomic; and it is no duplicate, since
        // of other bios than flushes we never ask for more than one. The shim refuses clones of
        // zoned devices.
        if !unsafe { bindings::dmr_bio_accept(bio, sectors) } {
            return false;
        }
        header.info.sectors = sectors;
        true
    }

    /// Sends it to `device`, its first sector becoming `sector`. Does not sleep.
    pub(crate) fn remap(self, device: InUse<'_, Device>, sector: u64) -> Mapped<'a> {
        let bio = self.bio.as_ptr();
        // SAFETY: The bio is ours by the type invariants. The device is open, and `InUse` says that
        // it stays so until the bio has ended.
        unsafe {
            bindings::dmr_bio_set_dev(bio, device.bdev());
            (*bio).bi_iter.bi_sector = sector;
        }
        Mapped::new(MAPIO_REMAPPED)
    }

    /// Sends it to two devices, its first sector becoming the one given with each. Does not sleep.
    ///
    /// `end_io` is called once, when both have answered.
    ///
    /// # Errors
    ///
    /// The bio itself, if there is no memory for the second one at the moment;
    /// [`Parked::submit_both`] can wait for it.
    pub(crate) fn remap_both(
        self,
        pool: InUse<'_, LegPool>,
        first: (InUse<'_, Device>, u64),
        second: (InUse<'_, Device>, u64),
    ) -> Result<Mapped<'a>, Self> {
        let (second, second_sector) = second;
        // SAFETY: The bio is ours and its cell is initialised, by the type invariants. `InUse` says
        // that the pool and the device stay until the bio has ended.
        let sent =
            unsafe { legs::send_second::<P>(self.bio, &pool, &second, second_sector, Wait::Never) };
        if !sent {
            return Err(self);
        }
        let (first, first_sector) = first;
        Ok(self.remap(first, first_sector))
    }

    /// Ends it, without any device. Does not sleep.
    pub(crate) fn end(mut self, status: Status) -> Mapped<'a> {
        self.cell_mut().header.state = State::Finished;
        let bio = self.bio.as_ptr();
        // SAFETY: The bio is ours by the type invariants, and `DM_MAPIO_SUBMITTED` tells dm that
        // it is no longer its to submit. The cell is used no more.
        unsafe {
            (*bio).bi_status = status.0;
            bindings::bio_endio(bio);
        }
        Mapped::new(MAPIO_SUBMITTED)
    }

    /// Ends it with an I/O error.
    pub(crate) fn fail(self) -> Mapped<'a> {
        Mapped::new(MAPIO_KILL)
    }

    /// Keeps it: the bio stays in flight until somebody submits or ends the [`Parked`], or drops
    /// it. Does not sleep.
    ///
    /// `keep` is what the bio's later handling needs; it stays as long as the bio is parked.
    pub(crate) fn park<T: Sync>(self, keep: InUse<'_, T>) -> (Mapped<'a>, Parked<T, P>)
    where
        P: Send,
    {
        // SAFETY: The bio is ours, in flight, and its cell initialised, by the type invariants.
        // `DM_MAPIO_SUBMITTED` leaves it to us, and neither it nor its cell is used here any more.
        let parked = unsafe { Parked::from_raw(self.bio, keep) };
        (Mapped::new(MAPIO_SUBMITTED), parked)
    }
}

// bindgen gives the small C constants an unsigned type.
const MAPIO_SUBMITTED: c_int = bindings::DM_MAPIO_SUBMITTED as c_int;
const MAPIO_REMAPPED: c_int = bindings::DM_MAPIO_REMAPPED as c_int;
const MAPIO_KILL: c_int = bindings::DM_MAPIO_KILL as c_int;
