// SPDX-License-Identifier: GPL-2.0

//! How things are shown.

use anyhow::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::{
    fmt::{Display, Write as _},
    io::{self, Write as _},
};

/// Prints a line. A reader that goes away, as `head` does, is no reason to panic.
pub(crate) fn line(text: impl Display) -> Result<()> {
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}

/// Prints something as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    line(serde_json::to_string_pretty(value)?)
}

/// Whether something failed because nobody reads what is printed any more.
pub(crate) fn is_broken_pipe(error: &Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A progress bar for so many steps; it is only seen on a terminal.
pub(crate) fn progress(what: &'static str, steps: u64) -> ProgressBar {
    let bar = ProgressBar::new(steps).with_message(what);
    match ProgressStyle::with_template("{msg} [{bar:40}] {percent} %, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Nothing can go wrong with a string.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
