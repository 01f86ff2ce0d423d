// SPDX-License-Identifier: GPL-2.0

//! How things are shown.

use anyhow::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::{
    fmt::{Display, Write as _},
    io::{self, BufWriter, Write},
};

/// Prints a line.
pub(crate) fn line(text: impl Display) -> Result<()> {
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}

/// Prints something as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    write_json(value, io::stdout())
}

/// Writes it as it is made: of a large store, the text is several times as large as what it says.
fn write_json(value: &impl Serialize, to: impl Write) -> Result<()> {
    let mut to = BufWriter::new(to);
    serde_json::to_writer_pretty(&mut to, value).map_err(io::Error::from)?;
    writeln!(to)?;
    to.flush()?;
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Serializer;
    use std::cell::Cell;

    const COUNT: u64 = 1_000_000;

    /// So many numbers; counts how many of them were asked for.
    #[derive(Default)]
    struct Numbers(Cell<u64>);

    impl Serialize for Numbers {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.collect_seq((0..COUNT).inspect(|_| self.0.set(self.0.get() + 1)))
        }
    }

    /// A reader that goes away when it has read so many bytes.
    struct Reader(usize);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let read = bytes.len().min(self.0);
            self.0 -= read;
            match read {
                0 => Err(io::ErrorKind::BrokenPipe.into()),
                _ => Ok(read),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn json_is_not_kept_in_memory() {
        let numbers = Numbers::default();
        let error = write_json(&numbers, Reader(100_000)).unwrap_err();
        assert!(is_broken_pipe(&error), "{error}");
        assert!(numbers.0.get() < COUNT / 10);
    }

    #[test]
    fn json_is_a_line() {
        let mut text = Vec::new();
        write_json(&[1], &mut text).unwrap();
        assert_eq!(text, b"[\n  1\n]\n");
    }
}
