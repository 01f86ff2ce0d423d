// SPDX-License-Identifier: GPL-2.0

//! Loads of atomic values without a function call.
//!
//! [`Atomic::load`] calls a C function for each load, unless C helpers are inlined into Rust code.
//! The call costs as much as a fast path's work with the value. The functions here do the same
//! inline.
//!
//! [`Atomic::load`]: kernel::sync::atomic::Atomic::load

use core::sync::atomic::{
    compiler_fence,
    Ordering, //
};
use kernel::sync::atomic::{
    Atomic,
    AtomicType, //
};

/// Loads the value, with acquire ordering. Does not sleep. C counterpart: `smp_load_acquire()`.
#[inline(always)]
pub(crate) fn acquire<T: AtomicType + Copy>(atomic: &Atomic<T>) -> T {
    #[cfg(target_arch = "x86_64")]
    {
        let value = relaxed(atomic);
        // The processor does not reorder later accesses before a load; the compiler must not,
        // either.
        compiler_fence(Ordering::Acquire);
        value
    }
    #[cfg(not(target_arch = "x86_64"))]
    atomic.load(kernel::sync::atomic::Acquire)
}

/// Loads the value, without ordering. Does not sleep. C counterpart: `READ_ONCE()`.
#[inline(always)]
pub(crate) fn relaxed<T: AtomicType + Copy>(atomic: &Atomic<T>) -> T {
    const { assert!(size_of::<T>() <= size_of::<usize>()) };
    // SAFETY: The pointer is valid and aligned, and points to a valid `T`. Others may change it at
    // the same time, but only by atomic accesses. In the kernel's memory model, a volatile load of
    // at most the size of a word is a single access, as in `READ_ONCE()`, and does not race with
    // these.
    unsafe { atomic.as_ptr().read_volatile() }
}
