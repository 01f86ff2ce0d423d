// SPDX-License-Identifier: GPL-2.0

//! Arguments of a table line or a message.

use super::bindings;
use core::marker::PhantomData;
use kernel::{
    ffi::{
        c_char,
        c_uint, //
    },
    prelude::*,
    str::CStrExt as _, //
};

/// The words of a table line after the target's name, or of a message.
///
/// Words are what device-mapper split at white space; they are not empty and need not be UTF-8.
///
/// # Invariants
///
/// `argv` points to `argc` pointers to NUL-terminated strings that live for `'a`; it may dangle if
/// `argc` is 0.
#[derive(Clone, Copy)]
pub(crate) struct Args<'a> {
    argc: usize,
    argv: *mut *mut c_char,
    _life: PhantomData<&'a CStr>,
}

impl<'a> Args<'a> {
    /// # Safety
    ///
    /// `argv` must point to `argc` pointers to NUL-terminated strings, all valid and unchanged for
    /// `'a`.
    pub(super) unsafe fn from_raw(argc: c_uint, argv: *mut *mut c_char) -> Self {
        // INVARIANT: By the function's contract. On every architecture with a block layer `usize`
        // holds a `c_uint`.
        Self {
            argc: argc as usize,
            argv,
            _life: PhantomData,
        }
    }

    /// The words as byte strings without their NUL.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn to_vec(self) -> Result<KVec<&'a [u8]>> {
        let mut words = KVec::with_capacity(self.argc, GFP_KERNEL)?;
        for i in 0..self.argc {
            // SAFETY: By the type invariants there are `argc` valid pointers.
            let word = unsafe { *self.argv.add(i) };
            // SAFETY: By the type invariants `word` is a NUL-terminated string that lives for
            // `'a`.
            let word: &'a CStr = unsafe { CStr::from_char_ptr(word) };
            words.push(word.to_bytes(), GFP_KERNEL)?;
        }
        Ok(words)
    }
}

/// Text for `dm_target::error`.
pub(super) fn set_error(ti: *mut bindings::dm_target, reason: &'static CStr) {
    // SAFETY: Called only by the constructor's shim with the target that is under construction.
    // dm prints the string and never writes to it.
    unsafe { (*ti).error = reason.as_char_ptr().cast_mut() };
}
