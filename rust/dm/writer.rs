// SPDX-License-Identifier: GPL-2.0

//! Text for status and message replies.

use core::fmt;
use kernel::ffi::{
    c_char,
    c_uint, //
};

/// Writes into a buffer of device-mapper without overflowing it.
///
/// Text that does not fit is cut off, and the buffer is filled to its end. From this, device-mapper
/// knows that user space has to retry with a larger one.
pub(crate) struct Writer<'a> {
    /// The text and its NUL.
    buffer: &'a mut [u8],
    /// Bytes of text so far.
    used: usize,
}

impl<'a> Writer<'a> {
    /// # Safety
    ///
    /// `buffer` must be valid for writes of `len` bytes, by nobody else, for `'a`.
    pub(super) unsafe fn from_raw(buffer: *mut c_char, len: c_uint) -> Self {
        let buffer: &'a mut [u8] = if len == 0 {
            &mut []
        } else {
            // The kernel does not guarantee that the buffer is initialised.
            // SAFETY: The buffer is valid for `len` bytes by the function's contract.
            unsafe { core::ptr::write_bytes(buffer, 0, len as usize) };
            // SAFETY: As above, and the bytes are initialised now; nobody else uses them for `'a`.
            unsafe { core::slice::from_raw_parts_mut(buffer, len as usize) }
        };
        Self { buffer, used: 0 }
    }

    /// Whether anything was written.
    pub(super) fn is_empty(&self) -> bool {
        self.used == 0
    }
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // One byte is reserved for the NUL.
        let room = self.buffer.len().saturating_sub(1);
        let free = self.buffer.get_mut(self.used..room).unwrap_or_default();
        let n = text.len().min(free.len());
        for (to, from) in free.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        self.used = self.used.saturating_add(n);
        if n == text.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}
