// SPDX-License-Identifier: GPL-2.0

//! What threads share.

extern crate std;

use core::sync::atomic::Ordering::{
    Acquire,
    Release,
    SeqCst, //
};

/// A number that many threads read and write at once, and that orders what they do besides: who
/// reads it sees what happened before it was written.
#[derive(Debug)]
pub struct Word(core::sync::atomic::AtomicU64);

impl Word {
    /// With a first value.
    pub const fn new(value: u64) -> Self {
        Self(core::sync::atomic::AtomicU64::new(value))
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Acquire)
    }

    /// Sets the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Release);
    }

    /// Sets the value and returns the one before. A full barrier.
    pub fn swap(&self, value: u64) -> u64 {
        self.0.swap(value, SeqCst)
    }

    /// Adds to the value, around the end. A full barrier.
    pub fn add(&self, value: u64) {
        self.0.fetch_add(value, SeqCst);
    }

    /// Sets the value if it is `old`; returns what it was otherwise. A full barrier if it was set.
    pub fn replace(&self, old: u64, new: u64) -> Result<(), u64> {
        self.0
            .compare_exchange(old, new, SeqCst, SeqCst)
            .map(|_| ())
    }
}

/// A value that is set at most once, while others look.
#[derive(Debug)]
pub struct Once<T>(std::sync::OnceLock<T>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Once<T> {
    /// Not set yet.
    pub const fn new() -> Self {
        Self(std::sync::OnceLock::new())
    }

    /// The value, if it is set.
    pub fn get(&self) -> Option<&T> {
        self.0.get()
    }

    /// Sets the value, if nobody did yet.
    pub fn set(&self, value: T) {
        let _ = self.0.set(value);
    }
}
