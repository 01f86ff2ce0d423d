// SPDX-License-Identifier: GPL-2.0

//! Mapped devices and device numbers.

use super::bindings;
use core::fmt;

/// A block device's number (`dev_t`); displays as `major:minor`, the form that table lines use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DeviceNumber(pub(super) u32);

/// `MINORBITS` of `include/linux/kdev_t.h`.
const MINOR_BITS: u32 = 20;

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minor = self.0 & ((1 << MINOR_BITS) - 1);
        write!(f, "{}:{}", self.0 >> MINOR_BITS, minor)
    }
}

/// Identifies a mapped device, but does not keep it alive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct MappedDevice(pub(super) *mut bindings::mapped_device);

// SAFETY: It is an address to compare; code that dereferences it has to prove that the device is
// alive.
unsafe impl Send for MappedDevice {}
// SAFETY: As for `Send`.
unsafe impl Sync for MappedDevice {}

impl MappedDevice {
    /// The device of a target's table.
    ///
    /// # Safety
    ///
    /// `ti` must be a valid target in a table.
    pub(super) unsafe fn of(ti: *mut bindings::dm_target) -> Self {
        // SAFETY: A target in a table has a valid table, which belongs to a mapped device.
        Self(unsafe { bindings::dm_table_get_md((*ti).table) })
    }

    /// Keeps the device alive; `None` if it is about to be removed. Does not sleep.
    ///
    /// # Safety
    ///
    /// The device must be alive.
    pub(super) unsafe fn hold(self) -> Option<HeldDevice> {
        // SAFETY: The device is alive by the function's contract.
        let result = unsafe { bindings::dm_hold(self.0) };
        // INVARIANT: The reference is ours.
        (result == 0).then_some(HeldDevice(self))
    }

    /// # Safety
    ///
    /// The device must be alive.
    pub(super) unsafe fn number(self) -> DeviceNumber {
        // SAFETY: The device is alive by the function's contract.
        DeviceNumber(unsafe { bindings::dmr_md_dev(self.0) })
    }
}

/// Keeps a mapped device from being removed: a removal waits until this is dropped. So it must not
/// be held while waiting for the removal.
///
/// # Invariants
///
/// A reference to the device is held.
pub(crate) struct HeldDevice(pub(super) MappedDevice);

impl Drop for HeldDevice {
    fn drop(&mut self) {
        // SAFETY: The reference is ours by the type invariants.
        unsafe { bindings::dm_put(self.0 .0) };
    }
}
