// SPDX-License-Identifier: GPL-2.0

//! The one error type: a message for the person who reads the test's output.

use std::fmt;
use std::io;

/// What went wrong, in words.
#[derive(Debug)]
pub(crate) struct Error(String);

/// Result with [`Error`].
pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with this message.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// An I/O error together with what was being done.
    pub(crate) fn io(doing: impl fmt::Display, e: &io::Error) -> Self {
        Self(format!("{doing}: {e}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
