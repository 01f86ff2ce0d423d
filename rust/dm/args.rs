// SPDX-License-Identifier: GPL-2.0

//! Words of a table line or a message, as device-mapper split them at white space.

use super::bindings;
use kernel::{
    ffi::{
        c_char,
        c_uint, //
    },
    prelude::*, //
};

/// The words as byte strings without their NUL; they need not be UTF-8.
///
/// # Errors
///
/// `ENOMEM`.
///
/// # Safety
///
/// `argv` must point to `argc` pointers to NUL-terminated strings, all valid and unchanged for
/// `'a`.
pub(super) unsafe fn words<'a>(argc: c_uint, argv: *mut *mut c_char) -> Result<KVec<&'a [u8]>> {
    let argc = usize::try_from(argc)?;
    let mut words = KVec::with_capacity(argc, GFP_KERNEL)?;
    for i in 0..argc {
        // SAFETY: By the function's contract there are `argc` valid pointers.
        let word = unsafe { *argv.add(i) };
        // SAFETY: By the function's contract `word` is a NUL-terminated string that lives for
        // `'a`.
        let word: &'a CStr = unsafe { CStr::from_char_ptr(word) };
        words.push(word.to_bytes(), GFP_KERNEL)?;
    }
    Ok(words)
}

/// Words in their own memory.
pub(super) struct OwnedWords(KVec<KVec<u8>>);

impl OwnedWords {
    /// Copies the words.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn copy(words: &[&[u8]]) -> Result<Self> {
        let mut copies = KVec::with_capacity(words.len(), GFP_KERNEL)?;
        for word in words {
            let mut copy = KVec::with_capacity(word.len(), GFP_KERNEL)?;
            copy.extend_from_slice(word, GFP_KERNEL)?;
            copies.push(copy, GFP_KERNEL)?;
        }
        Ok(Self(copies))
    }

    /// The words.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn words(&self) -> Result<KVec<&[u8]>> {
        let mut words = KVec::with_capacity(self.0.len(), GFP_KERNEL)?;
        for word in self.0.iter() {
            words.push(word.as_slice(), GFP_KERNEL)?;
        }
        Ok(words)
    }
}

/// Sets the text of `dm_target::error`.
///
/// # Safety
///
/// `ti` must be a target under construction.
pub(super) unsafe fn set_error(ti: *mut bindings::dm_target, reason: &'static CStr) {
    // SAFETY: By the function's contract. dm prints the string and never writes to it.
    unsafe { (*ti).error = reason.as_char_ptr().cast_mut() };
}
