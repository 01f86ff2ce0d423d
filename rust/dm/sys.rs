// SPDX-License-Identifier: GPL-2.0

//! Small kernel services that the kernel crate does not have.

use super::bindings;
use core::{
    cmp::Ordering,
    ptr, //
};
use kernel::{
    ffi::{
        c_int,
        c_void, //
    },
    types::NotThreadSafe, //
};

/// Continues a CRC-32C over `bytes`; no inversion before or after.
pub(crate) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    // SAFETY: The pointer and the length are those of a slice.
    unsafe { bindings::crc32c(seed, bytes.as_ptr().cast(), bytes.len()) }
}

/// Fills `bytes` from the kernel's random number generator.
pub(crate) fn random_bytes(bytes: &mut [u8]) {
    // SAFETY: The pointer and the length are those of a slice that we may write.
    unsafe { kernel::bindings::get_random_bytes(bytes.as_mut_ptr().cast(), bytes.len()) };
}

/// Sorts `items` in place by a key; not stable. Does not sleep.
pub(crate) fn sort_by_key<T, K: Fn(&T) -> u64>(items: &mut [T], key: &K) {
    /// # Safety
    ///
    /// `a` and `b` must point to items, `key` to a `K`.
    unsafe extern "C" fn compare<T, K: Fn(&T) -> u64>(
        a: *const c_void,
        b: *const c_void,
        key: *const c_void,
    ) -> c_int {
        // SAFETY: By the function's contract.
        let (a, b, key) = unsafe { (&*a.cast::<T>(), &*b.cast::<T>(), &*key.cast::<K>()) };
        match key(a).cmp(&key(b)) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }
    // SAFETY: The pointer and the length are those of a slice that we may write, and the items are
    // only permuted, that is, moved. The key lives as long as the call.
    unsafe {
        bindings::sort_r(
            items.as_mut_ptr().cast(),
            items.len(),
            size_of::<T>(),
            Some(compare::<T, K>),
            None,
            ptr::from_ref(key).cast(),
        );
    }
}

/// The CPU that this code ran on a moment ago; suitable only for spreading counters.
pub(crate) fn current_cpu() -> u32 {
    // SAFETY: No requirements.
    unsafe { bindings::dmr_cpu() }
}

/// While it exists, allocations of this thread start no I/O.
///
/// Needed while a device is suspended or being resumed: I/O started by reclaim could wait for that
/// very device.
pub(crate) struct NoIo {
    flags: u32,
    // The flag belongs to the thread.
    _thread: NotThreadSafe,
}

impl NoIo {
    /// Enters a section without I/O; sections nest.
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
