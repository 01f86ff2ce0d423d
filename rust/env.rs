// SPDX-License-Identifier: GPL-2.0

//! What the pure core takes from its surroundings, in the kernel.
//!
//! The host's version is in tools/svol-core/src/env.rs.

use crate::dm;
use core::ops::{
    Deref,
    DerefMut, //
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

pub use kernel::alloc::AllocError;

/// A vector whose growth can fail.
///
/// Allocates with `GFP_KERNEL`: the callbacks around suspend and resume, which must not start
/// I/O, run in a section that forbids it.
#[derive(Debug)]
pub struct Vec<T>(KVVec<T>);

impl<T: PartialEq> PartialEq for Vec<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T> Default for Vec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Vec<T> {
    /// An empty one; allocates nothing.
    pub const fn new() -> Self {
        Self(KVVec::new())
    }

    /// An empty one with room for `n` values.
    pub fn try_with_capacity(n: usize) -> Result<Self, AllocError> {
        KVVec::with_capacity(n, GFP_KERNEL).map(Self)
    }

    /// Appends a value.
    pub fn try_push(&mut self, value: T) -> Result<(), AllocError> {
        self.0.push(value, GFP_KERNEL)
    }
}

impl<T> Deref for Vec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for Vec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

/// A number that many CPUs read and write at once, each access for itself: nothing else is ordered
/// by it.
pub struct AtomicU64(Atomic<u64>);

impl AtomicU64 {
    /// With a first value.
    pub const fn new(value: u64) -> Self {
        Self(Atomic::new(value))
    }

    /// The value.
    pub fn load(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Sets the value.
    pub fn store(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Adds to the value, around the end.
    pub fn add(&self, value: u64) {
        self.0.add(value, Relaxed);
    }
}

/// Goes on with a CRC-32C; no inversion before or after.
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    dm::crc32c(seed, bytes)
}
