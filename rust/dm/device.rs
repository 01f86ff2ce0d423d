// SPDX-License-Identifier: GPL-2.0

//! Block devices that a target has opened.

use super::{
    anchor::Anchor,
    bindings,
    mapped_device::DeviceNumber, //
};
use core::ptr::NonNull;
use kernel::sync::Arc;

/// How to open a device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// For reading.
    Read,
    /// For reading and writing.
    ReadWrite,
}

impl Mode {
    pub(super) fn bits(self) -> bindings::blk_mode_t {
        match self {
            Mode::Read => bindings::DMR_OPEN_READ,
            Mode::ReadWrite => bindings::DMR_OPEN_READ | bindings::DMR_OPEN_WRITE,
        }
    }
}

/// A device that a target's constructor opened with [`super::Setup::device`].
///
/// The destructor of the target waits until the last one is dropped, and closes the devices then.
///
/// # Invariants
///
/// `dev` is open as long as the anchor is held.
pub(crate) struct Device {
    dev: NonNull<bindings::dm_dev>,
    _anchor: Arc<Anchor>,
}

// SAFETY: A `dm_dev` is not tied to a thread, and all that is done with it here is to read fields
// that do not change while it is open and to call block layer functions that any thread may call.
unsafe impl Send for Device {}
// SAFETY: As for `Send`.
unsafe impl Sync for Device {}

impl Device {
    /// # Safety
    ///
    /// `dev` must stay open while `anchor` is held.
    pub(super) unsafe fn from_raw(dev: NonNull<bindings::dm_dev>, anchor: Arc<Anchor>) -> Self {
        // INVARIANT: By the function's contract.
        Self {
            dev,
            _anchor: anchor,
        }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::dm_dev {
        self.dev.as_ptr()
    }

    pub(super) fn bdev(&self) -> *mut bindings::block_device {
        // SAFETY: By the type invariants `dev` is open, so it is valid and has a block device.
        unsafe { (*self.dev.as_ptr()).bdev }
    }

    /// Its number.
    pub(crate) fn number(&self) -> DeviceNumber {
        // SAFETY: An open device's `block_device` is valid.
        DeviceNumber(unsafe { bindings::dmr_bdev_dev(self.bdev()) })
    }

    /// Its size in 512-byte sectors.
    pub(crate) fn sectors(&self) -> u64 {
        // SAFETY: An open device's `block_device` is valid.
        unsafe { bindings::dmr_bdev_nr_sectors(self.bdev()) }
    }

    /// Its logical block size in bytes.
    pub(crate) fn logical_block_size(&self) -> u32 {
        // SAFETY: An open device's `block_device` is valid.
        unsafe { bindings::dmr_bdev_logical_block_size(self.bdev()) }
    }

    /// Whether the block layer refuses to write to it.
    pub(crate) fn is_read_only(&self) -> bool {
        // SAFETY: An open device's `block_device` is valid.
        unsafe { bindings::dmr_bdev_read_only(self.bdev()) }
    }
}
