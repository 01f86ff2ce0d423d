// SPDX-License-Identifier: GPL-2.0

//! A cache of metadata blocks, by dm-bufio.
//!
//! C header: `include/linux/dm-bufio.h`.

use super::{
    anchor::Anchor,
    bindings,
    device::Device,
    io::of_device, //
};
use core::ptr::NonNull;
use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*,
    sync::Arc, //
};

/// The size of a block, in bytes.
pub(crate) const BUFIO_BYTES: usize = 4096;

/// A cache of blocks of one device, with reserved memory.
///
/// Dropping it writes changed blocks that were not written yet. So after any change,
/// [`Bufio::write_dirty`] must be called, even if a later change fails.
///
/// # Invariants
///
/// `client` is valid and ours; its device is open as long as the anchor is held.
pub(crate) struct Bufio {
    client: NonNull<bindings::dm_bufio_client>,
    _anchor: Arc<Anchor>,
}

// SAFETY: dm-bufio clients may be used by any thread.
unsafe impl Send for Bufio {}
// SAFETY: dm-bufio clients have a lock of their own.
unsafe impl Sync for Bufio {}

impl Bufio {
    /// An empty cache for a device. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(device: &Device) -> Result<Self> {
        // SAFETY: The device is open, and `hold` keeps it so.
        let client = from_err_ptr(unsafe {
            bindings::dm_bufio_client_create(device.bdev(), BUFIO_BYTES as u32, 1, 0, None, None, 0)
        })?;
        // INVARIANT: A new client is ours alone.
        Ok(Self {
            client: NonNull::new(client).ok_or(ENOMEM)?,
            _anchor: device.hold(),
        })
    }

    /// Passes a block to `change`, which returns whether it changed it. A changed block is written
    /// by the next [`Bufio::write_dirty`], or sooner. Sleeps for I/O if it is not in the cache.
    ///
    /// Make all changes of a block at once: when this returns, the device may already be reading
    /// the block. If it were changed again before the next [`Bufio::write_dirty`], a power cut
    /// could leave a sector that is half of one version and half of the other.
    ///
    /// # Errors
    ///
    /// `EIO` if it can't be read.
    pub(crate) fn update(
        &mut self,
        block: u64,
        change: impl FnOnce(&mut [u8; BUFIO_BYTES]) -> bool,
    ) -> Result {
        let mut buffer = core::ptr::null_mut();
        // SAFETY: The client is valid by the type invariants.
        let data = from_err_ptr(unsafe {
            bindings::dm_bufio_read(self.client.as_ptr(), block, &mut buffer)
        })
        .map_err(of_device)?;
        let mut data = NonNull::new(data.cast::<[u8; BUFIO_BYTES]>()).ok_or(EIO)?;
        // SAFETY: The buffer has the size of a block, and is ours until it is released: the cache
        // is borrowed mutably.
        if change(unsafe { data.as_mut() }) {
            // SAFETY: The buffer is ours.
            unsafe { bindings::dm_bufio_mark_buffer_dirty(buffer) };
        }
        // SAFETY: The buffer is ours, and not used any more.
        unsafe { bindings::dm_bufio_release(buffer) };
        Ok(())
    }

    /// Writes all changed blocks and makes them durable. Afterwards nothing is left to be written,
    /// even after an error. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// `EIO` if the device failed, whatever its error; each is reported once.
    pub(crate) fn write_dirty(&mut self) -> Result {
        // SAFETY: The client is valid by the type invariants.
        to_result(unsafe { bindings::dm_bufio_write_dirty_buffers(self.client.as_ptr()) })
            .map_err(of_device)
    }
}

impl Drop for Bufio {
    fn drop(&mut self) {
        // SAFETY: The client is ours, no buffer is held, and the device is still open.
        unsafe { bindings::dm_bufio_client_destroy(self.client.as_ptr()) };
    }
}
