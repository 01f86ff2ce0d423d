// SPDX-License-Identifier: GPL-2.0

//! What the pure core takes from its environment: the kernel's version.
//!
//! The version for the host is in tools/svol-core/src/env.rs.

use crate::dm;
use core::ops::{
    Deref,
    DerefMut, //
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        SetOnce, //
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
    /// An empty vector; allocates nothing.
    pub const fn new() -> Self {
        Self(KVVec::new())
    }

    /// An empty vector with room for `n` values.
    pub fn try_with_capacity(n: usize) -> Result<Self, AllocError> {
        KVVec::with_capacity(n, GFP_KERNEL).map(Self)
    }

    /// Appends a value.
    pub fn try_push(&mut self, value: T) -> Result<(), AllocError> {
        self.0.push(value, GFP_KERNEL)
    }

    /// Removes the last value and returns it.
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }
}

impl Vec<u8> {
    /// `n` zeros.
    pub fn try_zeroed(n: usize) -> Result<Self, AllocError> {
        KVVec::from_elem(0, n, GFP_KERNEL).map(Self)
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

/// A number that many CPUs may read and write at once. Accesses to it order nothing else.
pub struct AtomicU64(Atomic<u64>);

impl AtomicU64 {
    /// With a first value.
    pub const fn new(value: u64) -> Self {
        Self(Atomic::new(value))
    }

    /// The value.
    pub fn load(&self) -> u64 {
        dm::load::relaxed(&self.0)
    }

    /// Sets the value.
    pub fn store(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Adds to the value; wraps on overflow.
    pub fn add(&self, value: u64) {
        self.0.add(value, Relaxed);
    }
}

/// A number that many CPUs may read and write at once. Reads acquire and writes release: after
/// reading a value, a CPU sees everything that happened before the value was written.
pub struct Word(Atomic<u64>);

impl Word {
    /// With a first value.
    pub const fn new(value: u64) -> Self {
        Self(Atomic::new(value))
    }

    /// The value.
    pub fn get(&self) -> u64 {
        dm::load::acquire(&self.0)
    }

    /// Sets the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Release);
    }

    /// Sets the value and returns the previous one. A full barrier.
    pub fn swap(&self, value: u64) -> u64 {
        self.0.xchg(value, Full)
    }

    /// Adds to the value; wraps on overflow. A full barrier.
    pub fn add(&self, value: u64) {
        self.0.fetch_add(value, Full);
    }

    /// Sets the value if it is `old`; otherwise returns the current value as an error. A full
    /// barrier if it was set.
    pub fn replace(&self, old: u64, new: u64) -> Result<(), u64> {
        self.0.cmpxchg(old, new, Full).map(|_| ())
    }
}

/// Whether an allocation may sleep.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It may sleep, but starts no I/O if the caller must not.
    May,
    /// It must not sleep, so it fails sooner.
    Not,
}

/// The number of words in a [`Page`].
pub const PAGE_WORDS: usize = 512;

/// A page of words, all 0 at first.
pub struct Page(KBox<[Word; PAGE_WORDS]>);

impl Page {
    /// A new page.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn try_new(wait: Wait) -> Result<Self, AllocError> {
        let flags = match wait {
            Wait::May => GFP_KERNEL,
            Wait::Not => GFP_NOWAIT,
        };
        // Initialised in place: it is too large for the stack.
        KBox::init(pin_init::init_array_from_fn(|_| Word::new(0)), flags)
            .map(Self)
            .map_err(|_: Error| AllocError)
    }
}

impl Deref for Page {
    type Target = [Word; PAGE_WORDS];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// A value that is set at most once, possibly while others read it.
pub struct Once<T>(SetOnce<T>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Once<T> {
    /// Not set yet.
    pub const fn new() -> Self {
        Self(SetOnce::new())
    }

    /// The value, if it is set.
    pub fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }

    /// Sets the value, unless it is set already. If two callers race, the value may become visible
    /// only a moment after the loser's call has returned.
    pub fn set(&self, value: T) {
        self.0.populate(value);
    }
}

/// Continues a CRC-32C; no inversion before or after.
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    dm::crc32c(seed, bytes)
}
