// SPDX-License-Identifier: GPL-2.0

//! Block devices that a target has opened.

use super::{
    anchor::Anchor,
    bindings,
    mapped_device::DeviceNumber, //
};
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    prelude::*,
    sync::Arc, //
};

/// How to open a device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// For reading.
    Read,
    /// For reading and writing.
    ReadWrite,
    /// With the mode of the table. Most targets do this; those that may share a table with others
    /// have to, see [`super::Setup::device`].
    Table,
}

/// A device's path, or `major:minor`, as a C string.
pub(super) struct DevicePath(KVec<u8>);

impl DevicePath {
    /// # Errors
    ///
    /// `ENOMEM`, or `EINVAL` for a NUL in the path.
    pub(super) fn new(path: &[u8]) -> Result<Self> {
        let mut name = KVec::with_capacity(path.len().saturating_add(1), GFP_KERNEL)?;
        name.extend_from_slice(path, GFP_KERNEL)?;
        name.push(0, GFP_KERNEL)?;
        let name = Self(name);
        name.as_c_str()?;
        Ok(name)
    }

    pub(super) fn as_c_str(&self) -> Result<&CStr> {
        CStr::from_bytes_with_nul(&self.0).map_err(|_| EINVAL)
    }
}

/// The number of the device at a path. The device is not opened, so a `major:minor` need not exist,
/// see [`find_device`]. May sleep.
///
/// # Errors
///
/// `ENODEV`, `ENOENT`, `ENOTBLK` ... if there is no such block device; `ENOMEM`.
pub(crate) fn device_number(path: &[u8]) -> Result<DeviceNumber> {
    let path = DevicePath::new(path)?;
    let mut number = 0;
    // SAFETY: The string and the number are valid for the call.
    to_result(unsafe { bindings::dm_devt_from_path(path.as_c_str()?.as_char_ptr(), &mut number) })?;
    Ok(DeviceNumber(number))
}

/// As [`device_number`], but the device must exist: it is opened for reading, and closed again.
///
/// # Errors
///
/// As [`device_number`]; `ENXIO` if there is no device with this number.
pub(crate) fn find_device(path: &[u8]) -> Result<DeviceNumber> {
    let number = device_number(path)?;
    // SAFETY: No requirements.
    to_result(unsafe { bindings::dmr_bdev_exists(number.0) })?;
    Ok(number)
}

/// A device that a target's constructor opened with [`super::Setup::device`].
///
/// The destructor of the target waits until the last of these is dropped, and then closes the
/// devices.
///
/// # Invariants
///
/// `dev` is open as long as the anchor is held.
pub(crate) struct Device {
    dev: NonNull<bindings::dm_dev>,
    _anchor: Arc<Anchor>,
}

// SAFETY: A `dm_dev` is not tied to a thread, and the code here only reads fields that do not
// change while it is open, and calls block layer functions that any thread may call.
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

    /// Keeps it open.
    pub(super) fn hold(&self) -> Arc<Anchor> {
        self._anchor.clone()
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

    /// Whether it has a volatile write cache, as far as the block layer knows: without one, a flush
    /// completes without reaching the device. May change at any time. Does not sleep.
    pub(crate) fn has_write_cache(&self) -> bool {
        // SAFETY: An open device's `block_device` is valid.
        unsafe { bindings::dmr_bdev_write_cache(self.bdev()) }
    }

    /// Whether the block layer refuses to write to it.
    pub(crate) fn is_read_only(&self) -> bool {
        // SAFETY: An open device's `block_device` is valid.
        unsafe { bindings::dmr_bdev_read_only(self.bdev()) }
    }
}
