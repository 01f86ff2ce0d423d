// SPDX-License-Identifier: GPL-2.0

//! What threads share, under a model checker: it sees every access, and lets each of them find any
//! value that the order of accesses allows.
//!
//! The orders are those of the kernel's half, where a full barrier is more than `SeqCst`: nothing
//! passes it, whatever its own order is.

extern crate std;

use loom::sync::atomic::{
    fence,
    AtomicU64,
    Ordering::{
        AcqRel,
        Acquire,
        Relaxed,
        Release,
        SeqCst, //
    }, //
};

/// A number that many threads read and write at once, and that orders what they do besides: who
/// reads it sees what happened before it was written.
#[derive(Debug)]
pub struct Word(AtomicU64);

impl Word {
    /// With a first value.
    pub fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
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
        fence(SeqCst);
        let old = self.0.swap(value, AcqRel);
        fence(SeqCst);
        old
    }

    /// Adds to the value, around the end. A full barrier.
    pub fn add(&self, value: u64) {
        fence(SeqCst);
        self.0.fetch_add(value, AcqRel);
        fence(SeqCst);
    }

    /// Sets the value if it is `old`; returns what it was otherwise. A full barrier if it was set.
    pub fn replace(&self, old: u64, new: u64) -> Result<(), u64> {
        fence(SeqCst);
        self.0.compare_exchange(old, new, AcqRel, Relaxed)?;
        fence(SeqCst);
        Ok(())
    }
}

const EMPTY: u64 = 0;
const BUSY: u64 = 1;
const FULL: u64 = 2;

/// A value that is set at most once, while others look.
#[derive(Debug)]
pub struct Once<T> {
    state: AtomicU64,
    value: std::sync::OnceLock<T>,
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Once<T> {
    /// Not set yet.
    pub fn new() -> Self {
        Self {
            state: AtomicU64::new(EMPTY),
            value: std::sync::OnceLock::new(),
        }
    }

    /// The value, if it is set.
    pub fn get(&self) -> Option<&T> {
        match self.state.load(Acquire) {
            FULL => self.value.get(),
            _ => None,
        }
    }

    /// Sets the value, if nobody did yet. When two do it at once, the value may show only a moment
    /// after the loser's call.
    pub fn set(&self, value: T) {
        let begin = self.state.compare_exchange(EMPTY, BUSY, Relaxed, Relaxed);
        if begin.is_ok() {
            let _ = self.value.set(value);
            self.state.store(FULL, Release);
        }
    }
}
