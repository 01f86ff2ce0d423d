// SPDX-License-Identifier: GPL-2.0

//! Queue limits, and the devices that they are derived from.

use super::{
    bindings,
    device::Device, //
};
use core::marker::PhantomData;
use kernel::ffi::{
    c_int,
    c_void, //
};

/// Device-mapper does not want to see any more devices.
pub(crate) struct Stop(pub(super) c_int);

/// Shows device-mapper the devices that a target uses.
///
/// # Invariants
///
/// `ti`, `callout` and `data` are the arguments of an `iterate_devices` call that is running.
pub(crate) struct DeviceVisitor<'a> {
    ti: *mut bindings::dm_target,
    callout: bindings::iterate_devices_callout_fn,
    data: *mut c_void,
    _life: PhantomData<&'a mut ()>,
}

impl DeviceVisitor<'_> {
    /// # Safety
    ///
    /// The arguments must be those of a running `iterate_devices` call.
    pub(super) unsafe fn from_raw(
        ti: *mut bindings::dm_target,
        callout: bindings::iterate_devices_callout_fn,
        data: *mut c_void,
    ) -> Self {
        // INVARIANT: By the function's contract.
        Self {
            ti,
            callout,
            data,
            _life: PhantomData,
        }
    }

    /// Shows one range of a device: `start` and `len` in sectors.
    ///
    /// # Errors
    ///
    /// [`Stop`], which [`super::Target::iterate_devices`] has to pass on.
    pub(crate) fn visit(&mut self, device: &Device, start: u64, len: u64) -> Result<(), Stop> {
        let Some(callout) = self.callout else {
            return Ok(());
        };
        // SAFETY: The callout, its data and the target are those that dm passed, by the type
        // invariants; the device is open.
        match unsafe { callout(self.ti, device.as_raw(), start, len, self.data) } {
            0 => Ok(()),
            code => Err(Stop(code)),
        }
    }
}

/// The queue limits that are about to be applied to the mapped device.
///
/// # Invariants
///
/// `limits` are those of an `io_hints` call that is running: valid, and ours until it returns.
pub(crate) struct Limits<'a> {
    limits: *mut bindings::queue_limits,
    _life: PhantomData<&'a mut ()>,
}

impl Limits<'_> {
    /// # Safety
    ///
    /// `limits` must be those of a running `io_hints` call.
    pub(super) unsafe fn from_raw(limits: *mut bindings::queue_limits) -> Self {
        // INVARIANT: By the function's contract.
        Self {
            limits,
            _life: PhantomData,
        }
    }

    /// Makes the block sizes at least `bytes`.
    pub(crate) fn raise_block_size(&mut self, bytes: u32) {
        // SAFETY: Valid and ours by the type invariants.
        unsafe { bindings::dmr_stack_block_size(self.limits, bytes) };
    }

    /// Aligns memory of I/O as this device needs it, too. For a device that gets I/O but is not
    /// shown to device-mapper, since it does not have all of the sectors.
    pub(crate) fn raise_alignment(&mut self, device: &Device) {
        // SAFETY: Valid and ours by the type invariants; the device is open.
        unsafe { bindings::dmr_stack_dma_alignment(self.limits, device.bdev()) };
    }

    /// Advertises discards of multiples of `bytes`, up to `max_sectors` at once.
    pub(crate) fn set_discards(&mut self, bytes: u32, max_sectors: u32) {
        // SAFETY: Valid and ours by the type invariants.
        unsafe {
            (*self.limits).discard_granularity = bytes;
            (*self.limits).max_hw_discard_sectors = max_sectors;
        }
    }

    /// Forbids polling for I/O of the device. Needed if bios are parked, or go to devices that are
    /// not shown to device-mapper: polling follows a bio to its disk, by a queue number of the
    /// previous device.
    pub(crate) fn forbid_polling(&mut self) {
        // SAFETY: Valid and ours by the type invariants.
        unsafe { (*self.limits).features &= !bindings::DMR_FEAT_POLL };
    }

    /// Requires that pages do not change while they are written.
    pub(crate) fn require_stable_writes(&mut self) {
        // SAFETY: Valid and ours by the type invariants.
        unsafe { (*self.limits).features |= bindings::DMR_FEAT_STABLE_WRITES };
    }
}
