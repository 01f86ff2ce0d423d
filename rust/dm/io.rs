// SPDX-License-Identifier: GPL-2.0

//! Synchronous I/O on a target's devices, by dm-io. For workers.
//!
//! C header: `include/linux/dm-io.h`.

use super::{
    bindings,
    device::Device, //
};
use core::{
    ops::Range,
    ptr::NonNull, //
};
use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::{
        c_ulong,
        c_void, //
    },
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Completion, //
    }, //
};
use pin_init::stack_pin_init;

/// A dm-io client: it has its own memory pools, so that I/O makes progress when memory is short.
///
/// # Invariants
///
/// `client` is valid and ours.
pub(crate) struct IoClient {
    client: NonNull<bindings::dm_io_client>,
}

// SAFETY: dm-io clients may be used by any thread.
unsafe impl Send for IoClient {}
// SAFETY: dm-io clients may be used by several threads at once.
unsafe impl Sync for IoClient {}

/// Bytes per sector, the unit of the block layer.
const SECTOR: usize = 1 << bindings::SECTOR_SHIFT;

/// Longest buffer of one request, in bytes; less than the largest `kmalloc`.
pub(crate) const MAX_BUFFER: usize = 1 << 20;

/// Longest buffer, in bytes, whose allocation is never refused because of its size: small enough
/// that the kernel finds memory even when it is short.
pub(crate) const PIECE: usize = 32 << 10;

/// The same in sectors.
pub(crate) const PIECE_SECTORS: u32 = 64;

const _: () = assert!(PIECE == PIECE_SECTORS as usize * SECTOR);

/// What an error of a device is to a caller. A device may answer that it lacks space or memory, or
/// that it ran out of time, or does not support this any more; a caller could not tell that from
/// its own lack of them, or its own fault, which say nothing about the device.
pub(super) fn of_device(_: Error) -> Error {
    EIO
}

impl IoClient {
    /// Makes a client. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: No requirements.
        let client = from_err_ptr(unsafe { bindings::dm_io_client_create() })?;
        // INVARIANT: A new client is ours alone.
        Ok(Self {
            client: NonNull::new(client).ok_or(ENOMEM)?,
        })
    }

    /// Fills all of `buffer`, reading from `sector` on. Sleeps until it is done.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the length is not a multiple of the sector size, or more than 1 MiB; `EIO` if
    /// the device failed.
    pub(crate) fn read(&self, device: &Device, sector: u64, buffer: &mut KVec<u8>) -> Result {
        let all = 0..buffer.len();
        self.read_part(device, sector, buffer, all)
    }

    /// As [`IoClient::read`], into a part of `buffer`, counted in bytes.
    ///
    /// # Errors
    ///
    /// As [`IoClient::read`]; `EINVAL` if the buffer has no such part.
    pub(crate) fn read_part(
        &self,
        device: &Device,
        sector: u64,
        buffer: &mut KVec<u8>,
        part: Range<usize>,
    ) -> Result {
        let part = buffer.get_mut(part).ok_or(EINVAL)?;
        // SAFETY: The buffer is of a `KVec`, borrowed to be written until this returns.
        unsafe {
            self.run(
                bindings::req_op_REQ_OP_READ | SYNC,
                device,
                sector,
                part.as_mut_ptr().cast(),
                part.len(),
            )
        }
    }

    /// Reads into memory of any kind, in pieces of at most [`PIECE`] bytes. Sleeps until it is
    /// done.
    ///
    /// # Errors
    ///
    /// As [`IoClient::read`]; `ENOMEM`.
    pub(crate) fn read_pieces(&self, device: &Device, sector: u64, buffer: &mut [u8]) -> Result {
        let mut piece = KVec::with_capacity(buffer.len().min(PIECE), GFP_KERNEL)?;
        let mut sector = sector;
        for part in buffer.chunks_mut(PIECE) {
            piece.resize(part.len(), 0, GFP_KERNEL)?;
            self.read(device, sector, &mut piece)?;
            part.copy_from_slice(&piece);
            sector = sector.saturating_add(u64::try_from(part.len() / SECTOR)?);
        }
        Ok(())
    }

    /// Writes all of `buffer` from `sector` on. Sleeps until it is done; the data is durable only
    /// after a [`IoClient::flush`].
    ///
    /// # Errors
    ///
    /// As [`IoClient::read`].
    pub(crate) fn write(&self, device: &Device, sector: u64, buffer: &KVec<u8>) -> Result {
        self.write_as(SYNC, device, sector, buffer)
    }

    /// As [`IoClient::write`], but calls `meanwhile` while the write is in flight; it may sleep.
    ///
    /// # Errors
    ///
    /// As [`IoClient::read`].
    pub(crate) fn write_while(
        &self,
        device: &Device,
        sector: u64,
        buffer: &KVec<u8>,
        meanwhile: impl FnOnce(),
    ) -> Result {
        stack_pin_init!(let ending = Ending::new());
        // SAFETY: The buffer is of a `KVec`; dm-io only reads it. It is borrowed, and the device
        // and `ending` stay, until this returns. If the write began, this does not return before
        // `Ending::ended` was called.
        let begun = unsafe {
            self.begin(
                bindings::req_op_REQ_OP_WRITE,
                device,
                sector,
                buffer.as_ptr().cast_mut().cast(),
                buffer.len(),
                bindings::dm_io_notify {
                    fn_: Some(Ending::ended),
                    context: core::ptr::from_ref::<Ending>(&ending).cast_mut().cast(),
                },
            )
        };
        meanwhile();
        // If it did not begin, nobody will report its end. Otherwise this always waits.
        begun?;
        ending.done.wait_for_completion();
        match ending.failed.load(Relaxed) {
            0 => Ok(()),
            _ => Err(EIO),
        }
    }

    /// As [`IoClient::write`], but flushes the device first, and the data is durable when it
    /// returns.
    ///
    /// # Errors
    ///
    /// As [`IoClient::read`].
    pub(crate) fn write_durable(&self, device: &Device, sector: u64, buffer: &KVec<u8>) -> Result {
        self.write_as(SYNC | PREFLUSH | FUA, device, sector, buffer)
    }

    fn write_as(&self, flags: u32, device: &Device, sector: u64, buffer: &KVec<u8>) -> Result {
        // SAFETY: The buffer is of a `KVec`, borrowed until this returns; dm-io only reads it.
        unsafe {
            self.run(
                bindings::req_op_REQ_OP_WRITE | flags,
                device,
                sector,
                buffer.as_ptr().cast_mut().cast(),
                buffer.len(),
            )
        }
    }

    /// Makes all completed writes of the device durable. Sleeps until it is done.
    ///
    /// # Errors
    ///
    /// `EIO` if the device failed, whatever its error.
    pub(crate) fn flush(&self, device: &Device) -> Result {
        // SAFETY: An open device's `block_device` is valid.
        to_result(unsafe { bindings::blkdev_issue_flush(device.bdev()) }).map_err(of_device)
    }

    /// Writes zeroes from `sector` on, with the device's own command if it has one. Sleeps until it
    /// is done.
    ///
    /// # Errors
    ///
    /// `EIO` if the device failed, whatever its error.
    pub(crate) fn write_zeroes(&self, device: &Device, sector: u64, sectors: u64) -> Result {
        // SAFETY: An open device's `block_device` is valid.
        to_result(unsafe {
            bindings::blkdev_issue_zeroout(
                device.bdev(),
                sector,
                sectors,
                bindings::DMR_GFP_NOIO,
                0,
            )
        })
        .map_err(of_device)
    }

    /// # Safety
    ///
    /// `buffer` must have `bytes` bytes in memory from `kmalloc`, valid for the reads or writes
    /// that `opf` asks for.
    unsafe fn run(
        &self,
        opf: u32,
        device: &Device,
        sector: u64,
        buffer: *mut c_void,
        bytes: usize,
    ) -> Result {
        // Without a function, the call is synchronous.
        let notify = bindings::dm_io_notify {
            fn_: None,
            context: core::ptr::null_mut(),
        };
        // SAFETY: By the function's contract; the I/O has ended when the call returns.
        unsafe { self.begin(opf, device, sector, buffer, bytes, notify) }
    }

    /// Starts an I/O, and waits for its end unless `notify` has a function.
    ///
    /// # Safety
    ///
    /// As for [`IoClient::run`]. If `notify` has a function, the device, the buffer and what the
    /// function needs must stay until it was called; it is called once if this returns `Ok`.
    unsafe fn begin(
        &self,
        opf: u32,
        device: &Device,
        sector: u64,
        buffer: *mut c_void,
        bytes: usize,
        notify: bindings::dm_io_notify,
    ) -> Result {
        if bytes == 0 || bytes % SECTOR != 0 || bytes > MAX_BUFFER {
            return Err(EINVAL);
        }
        let count = u64::try_from(bytes / SECTOR)?;
        let mut request = bindings::dm_io_request {
            bi_opf: opf,
            mem: bindings::dm_io_memory {
                type_: bindings::dm_io_mem_type_DM_IO_KMEM,
                offset: 0,
                ptr: bindings::dm_io_memory__bindgen_ty_1 { addr: buffer },
            },
            notify,
            client: self.client.as_ptr(),
        };
        let mut region = bindings::dm_io_region {
            bdev: device.bdev(),
            sector,
            count,
        };
        // SAFETY: The client and the device are valid. Memory from `kmalloc` is contiguous and in
        // the linear mapping, as `DM_IO_KMEM` requires. The call copies request and region. Without
        // a function it returns when the I/O has ended, so everything lives long enough; with one,
        // the caller guarantees that.
        to_result(unsafe {
            bindings::dm_io(
                &mut request,
                1,
                &mut region,
                core::ptr::null_mut(),
                core::ptr::null_mut(),
                0,
            )
        })
        .map_err(of_device)
    }
}

/// The result of an I/O that somebody waits for.
#[pin_data]
struct Ending {
    #[pin]
    done: Completion,
    /// Not 0 if it failed.
    failed: Atomic<u64>,
}

impl Ending {
    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            done <- Completion::new(),
            failed: Atomic::new(0),
        })
    }

    /// Called by dm-io when an I/O has ended, in the context in which the device ends it; possibly
    /// in an interrupt.
    ///
    /// # Safety
    ///
    /// `context` must be an `Ending` that lives until this has completed it.
    unsafe extern "C" fn ended(error: c_ulong, unsupported: c_ulong, context: *mut c_void) {
        // SAFETY: By the function's contract.
        let ending = unsafe { &*context.cast::<Ending>() };
        ending
            .failed
            .store(u64::from(error | unsupported != 0), Relaxed);
        // A barrier; nothing of `ending` is accessed after it except the completion, under its own
        // lock.
        ending.done.complete_all();
    }
}

const SYNC: u32 = 1 << bindings::req_flag_bits___REQ_SYNC;
const PREFLUSH: u32 = 1 << bindings::req_flag_bits___REQ_PREFLUSH;
const FUA: u32 = 1 << bindings::req_flag_bits___REQ_FUA;

impl Drop for IoClient {
    fn drop(&mut self) {
        // SAFETY: The client is ours, and no I/O of it is in flight: all calls wait for theirs.
        unsafe { bindings::dm_io_client_destroy(self.client.as_ptr()) };
    }
}
