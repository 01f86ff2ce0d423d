// SPDX-License-Identifier: GPL-2.0

//! Synchronous I/O on a target's devices, by dm-io.
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
    ffi::c_void,
    prelude::*, //
};

/// A dm-io client: memory pools of its own, so that I/O goes on when memory is short.
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

/// Bytes of a sector, the unit of the block layer.
const SECTOR: usize = 1 << bindings::SECTOR_SHIFT;

/// Longest buffer of one request in bytes; below the largest `kmalloc`.
pub(crate) const MAX_BUFFER: usize = 1 << 20;

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

    /// Reads from `sector` on into all of `buffer`. Sleeps until it is done.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a length that is not whole sectors, or beyond 1 MiB; `EIO` if the device
    /// failed.
    pub(crate) fn read(&self, device: &Device, sector: u64, buffer: &mut KVec<u8>) -> Result {
        self.run(
            bindings::req_op_REQ_OP_READ | SYNC,
            device,
            sector,
            buffer.as_mut_ptr().cast(),
            buffer.len(),
        )
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
        self.run(
            bindings::req_op_REQ_OP_READ | SYNC,
            device,
            sector,
            part.as_mut_ptr().cast(),
            part.len(),
        )
    }

    /// Writes all of `buffer` from `sector` on. Sleeps until it is done; the data is durable only
    /// after a [`IoClient::flush`].
    ///
    /// # Errors
    ///
    /// As [`IoClient::read`].
    pub(crate) fn write(&self, device: &Device, sector: u64, buffer: &KVec<u8>) -> Result {
        self.run(
            bindings::req_op_REQ_OP_WRITE | SYNC,
            device,
            sector,
            // dm-io only reads it.
            buffer.as_ptr().cast_mut().cast(),
            buffer.len(),
        )
    }

    /// As [`IoClient::write`], after a flush of the device, and durable when it returns.
    ///
    /// # Errors
    ///
    /// As [`IoClient::read`].
    pub(crate) fn write_durable(&self, device: &Device, sector: u64, buffer: &KVec<u8>) -> Result {
        self.run(
            bindings::req_op_REQ_OP_WRITE | SYNC | PREFLUSH | FUA,
            device,
            sector,
            buffer.as_ptr().cast_mut().cast(),
            buffer.len(),
        )
    }

    /// Makes all writes of the device durable that have ended. Sleeps until it is done.
    ///
    /// # Errors
    ///
    /// `EIO` if the device failed.
    pub(crate) fn flush(&self, device: &Device) -> Result {
        // SAFETY: An open device's `block_device` is valid.
        to_result(unsafe { bindings::blkdev_issue_flush(device.bdev()) })
    }

    /// Writes zeroes from `sector` on, in the device's own way if it has one. Sleeps until it is
    /// done.
    ///
    /// # Errors
    ///
    /// Those of the device.
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
    }

    fn run(
        &self,
        opf: u32,
        device: &Device,
        sector: u64,
        buffer: *mut c_void,
        bytes: usize,
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
            // No function: the call is synchronous.
            notify: bindings::dm_io_notify {
                fn_: None,
                context: core::ptr::null_mut(),
            },
            client: self.client.as_ptr(),
        };
        let mut region = bindings::dm_io_region {
            bdev: device.bdev(),
            sector,
            count,
        };
        // SAFETY: The client and the device are valid. The buffer is `bytes` long and in memory made by
        // `kmalloc`, since it is of a `KVec`: contiguous and in the linear mapping, as `DM_IO_KMEM`
        // wants it. The call returns when the I/O has ended, so that all of it lives long enough.
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
    }
}

const SYNC: u32 = 1 << bindings::req_flag_bits___REQ_SYNC;
const PREFLUSH: u32 = 1 << bindings::req_flag_bits___REQ_PREFLUSH;
const FUA: u32 = 1 << bindings::req_flag_bits___REQ_FUA;

impl Drop for IoClient {
    fn drop(&mut self) {
        // SAFETY: The client is ours, and no I/O of it is in flight: all calls are synchronous.
        unsafe { bindings::dm_io_client_destroy(self.client.as_ptr()) };
    }
}
