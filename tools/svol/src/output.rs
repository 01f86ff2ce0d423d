// SPDX-License-Identifier: GPL-2.0

//! How things are shown.

use anyhow::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::{
    fmt::{Display, Write as _},
    io::{self, Write as _},
};

/// Prints a line.
pub(crate) fn line(text: impl Display) -> Result<()> {
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}

/// Prints something as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    line(serde_json::to_string_pretty(value)?)
}

/// What came of printing: a reader that goes away, as `head` does, has seen enough. What was found
/// out does not change by that, nor does the exit status.
pub(crate) fn unless_unread(printed: Result<()>) -> Result<()> {
    printed.or_else(|error| {
        if is_broken_pipe(&error) {
            Ok(())
        } else {
            Err(error)
        }
    })
}

fn is_broken_pipe(error: &Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Says something on standard error. If that can't be written, there is no other place to say so.
pub(crate) fn say(text: impl Display) {
    let _ = writeln!(io::stderr(), "svol: {text}");
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
