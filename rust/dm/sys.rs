// SPDX-License-Identifier: GPL-2.0

//! Small kernel services that the kernel crate does not have.

use super::bindings;
use kernel::types::NotThreadSafe;

/// Goes on with a CRC-32C over `bytes`; no inversion before or after.
pub(crate) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    // SAFETY: The pointer and the length are those of a slice.
    unsafe { bindings::crc32c(seed, bytes.as_ptr().cast(), bytes.len()) }
}

/// Fills `bytes` from the kernel's random number generator.
pub(crate) fn random_bytes(bytes: &mut [u8]) {
    // SAFETY: The pointer and the length are those of a slice that we may write.
    unsafe { kernel::bindings::get_random_bytes(bytes.as_mut_ptr().cast(), bytes.len()) };
}

/// The CPU that this ran on a moment ago; good only for spreading counters.
pub(crate) fn current_cpu() -> u32 {
    // SAFETY: No requirements.
    unsafe { bindings::dmr_cpu() }
}

/// While it exists, allocations of this thread start no I/O.
///
/// Needed where a device is suspended or being resumed: I/O that reclaim starts could wait for that
/// very device.
pub(crate) struct NoIo {
    flags: u32,
    // The flag belongs to the thread.
    _thread: NotThreadSafe,
}

impl NoIo {
    /// Starts such a section; sections nest.
    pub(crate) fn enter() -> Self {
        Self {
            // SAFETY: No requirements.
            flags: unsafe { bindings::dmr_noio_save() },
            _thread: NotThreadSafe,
        }
    }
}

impl Drop for NoIo {
    fn drop(&mut self) {
        // SAFETY: `flags` is what the matching save on this thread returned.
        unsafe { bindings::dmr_noio_restore(self.flags) };
    }
}
