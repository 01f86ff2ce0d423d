// SPDX-License-Identifier: GPL-2.0

//! Counts the I/Os of a device: what it has in flight, and whether it answers.

use super::load;
use kernel::sync::atomic::{
    Atomic,
    Full,
    Relaxed, //
};

/// One completion.
const ANSWER: u64 = 1 << 32;

/// The number of I/Os in flight on a device, in the lower half; in the upper half, how many it has
/// completed, which may wrap. One word, so that counting costs one atomic operation per I/O.
pub(crate) struct Traffic(Atomic<u64>);

impl Traffic {
    /// Of a device with no I/O in flight.
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// An I/O goes to the device. A full barrier.
    #[inline]
    pub(crate) fn begin(&self) {
        self.0.fetch_add(1, Full);
    }

    /// An I/O has completed.
    #[inline]
    pub(crate) fn end(&self) {
        // Adds a completion and subtracts what `begin` added: the lower half is not 0.
        self.0.add(ANSWER - 1, Relaxed);
    }

    /// The number of I/Os in flight.
    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        low_half(load::relaxed(&self.0))
    }

    /// The number of I/Os in flight, and the number completed so far.
    #[inline]
    pub(crate) fn progress(&self) -> (u32, u32) {
        let ios = load::relaxed(&self.0);
        (low_half(ios), low_half(ios >> 32))
    }
}

#[inline]
fn low_half(word: u64) -> u32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
