// SPDX-License-Identifier: GPL-2.0

//! What the core asks of its surroundings, on the host: a vector whose growth can fail, and
//! CRC-32C. The kernel's half has the same surface.

extern crate std;

use core::{
    ops::{
        Deref,
        DerefMut, //
    },
    sync::atomic::Ordering::Relaxed, //
};

#[cfg_attr(loom, path = "env/loom.rs")]
mod sync;

pub use sync::{
    Once,
    Word, //
};

/// An allocation failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AllocError;

/// A contiguous, growable array that reports when it cannot grow.
#[derive(Debug, Eq, PartialEq)]
pub struct Vec<T>(std::vec::Vec<T>);

impl<T> Vec<T> {
    /// An empty vector; allocates nothing.
    pub const fn new() -> Self {
        Self(std::vec::Vec::new())
    }

    /// An empty vector with room for `n` values.
    pub fn try_with_capacity(n: usize) -> Result<Self, AllocError> {
        let mut vec = std::vec::Vec::new();
        vec.try_reserve_exact(n).map_err(|_| AllocError)?;
        Ok(Self(vec))
    }

    /// Appends `value`.
    pub fn try_push(&mut self, value: T) -> Result<(), AllocError> {
        self.0.try_reserve(1).map_err(|_| AllocError)?;
        self.0.push(value);
        Ok(())
    }

    /// Takes the last value away.
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }
}

impl Vec<u8> {
    /// `n` zeros.
    pub fn try_zeroed(n: usize) -> Result<Self, AllocError> {
        let mut vec = Self::try_with_capacity(n)?;
        vec.0.resize(n, 0);
        Ok(vec)
    }
}

impl<T> Default for Vec<T> {
    fn default() -> Self {
        Self::new()
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

/// A number that many threads read and write at once, each access for itself: nothing else is
/// ordered by it.
#[derive(Debug, Default)]
pub struct AtomicU64(core::sync::atomic::AtomicU64);

impl AtomicU64 {
    /// With a first value.
    pub const fn new(value: u64) -> Self {
        Self(core::sync::atomic::AtomicU64::new(value))
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
        self.0.fetch_add(value, Relaxed);
    }
}

/// How an allocation may go about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It may sleep.
    May,
    /// It must not sleep.
    Not,
}

/// The words of a [`Page`]; few for a model checker, which keeps account of each of them.
pub const PAGE_WORDS: usize = if cfg!(loom) { 2 } else { 512 };

/// A page of words, all 0 at first.
#[derive(Debug)]
pub struct Page(std::boxed::Box<[Word; PAGE_WORDS]>);

impl Page {
    /// A new page.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn try_new(_wait: Wait) -> Result<Self, AllocError> {
        let mut words = std::vec::Vec::new();
        words
            .try_reserve_exact(PAGE_WORDS)
            .map_err(|_| AllocError)?;
        words.extend(core::iter::repeat_with(|| Word::new(0)).take(PAGE_WORDS));
        words
            .into_boxed_slice()
            .try_into()
            .map(Self)
            .map_err(|_| AllocError)
    }
}

impl Deref for Page {
    type Target = [Word; PAGE_WORDS];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// The reflected CRC-32C (Castagnoli) polynomial.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The CRC of every byte value, so that the sum goes byte by byte, not bit by bit.
static TABLE: [u32; 256] = table();

#[allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing
)]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// Updates the running CRC-32C `seed` with `data`, without inverting it before or after: the
/// kernel function of the same name.
pub fn crc32c(seed: u32, data: &[u8]) -> u32 {
    data.iter().fold(seed, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        // The index is a byte: it always finds its entry.
        let entry = TABLE.get(usize::from(low ^ byte)).copied().unwrap_or(0);
        (crc >> 8) ^ entry
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_of_the_check_string() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
    }

    #[test]
    fn crc_in_pieces() {
        assert_eq!(crc32c(crc32c(!0, b"1234"), b"56789"), !0xe306_9283);
    }
}
