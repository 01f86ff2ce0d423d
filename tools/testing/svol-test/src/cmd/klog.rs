// SPDX-License-Identifier: GPL-2.0

//! `klog`: follows the kernel log without missing a line unnoticed.
//!
//! The ring buffer of the kernel is small beside what a fuzz run logs, so the
//! lines are copied as they come. Lines that were overwritten before they
//! could be read are counted, and a line of level 0 says so. The newest mark of
//! the tests themselves is also kept in `<file>.mark`, where it is cheap to find.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};

use crate::args::Args;
use crate::error::{Error, Result};
use crate::sys;

/// What marks of the tests begin with.
const MARK: &str = "svol-test: ";

const KMSG: &str = "/dev/kmsg";

/// The longest record that the kernel hands out is far below this.
const RECORD: usize = 16 * 1024;

/// One record of /dev/kmsg: "prefix,sequence,time,flags;text\n key=value\n".
fn parse(record: &str) -> Option<(u64, u64, &str)> {
    let (prefix, text) = record.split_once(';')?;
    let mut fields = prefix.split(',');
    let level = fields.next()?.parse::<u64>().ok()? & 7;
    let sequence = fields.next()?.parse().ok()?;
    Some((level, sequence, text.lines().next().unwrap_or("")))
}

pub(crate) fn run(args: Args) -> Result<()> {
    let path = args.finish_one("file")?;
    sys::catch_stop_signals();
    let mut log = File::open(KMSG).map_err(|e| Error::io(KMSG, &e))?;
    log.seek(SeekFrom::End(0))
        .map_err(|e| Error::io(KMSG, &e))?;
    let mut out = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(|e| Error::io(&path, &e))?;
    // A line of its own tells the starter that the follower is at its place.
    writeln!(out, "6 svol-test: following the kernel log").map_err(|e| Error::io(&path, &e))?;

    let mut buffer = vec![0; RECORD];
    let mut expected: Option<u64> = None;
    while !sys::stopped() {
        let len = match log.read(&mut buffer) {
            Ok(len) => len,
            // EPIPE: records were overwritten; the next read goes on after them.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => continue,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::io(KMSG, &e)),
        };
        let record = String::from_utf8_lossy(&buffer[..len]);
        let Some((level, sequence, text)) = parse(&record) else {
            continue;
        };
        let lost = expected.map_or(0, |e| sequence.saturating_sub(e));
        expected = Some(sequence + 1);
        let mut lines = String::new();
        if lost > 0 {
            lines = format!("0 svol-test: {lost} lines of the kernel log were lost\n");
        }
        lines.push_str(&format!("{level} {text}\n"));
        out.write_all(lines.as_bytes())
            .map_err(|e| Error::io(&path, &e))?;
        if text.starts_with(MARK) {
            let mark = format!("{path}.mark");
            fs::write(&mark, format!("{text}\n")).map_err(|e| Error::io(&mark, &e))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gives_level_sequence_and_text() {
        let record = "12,345,678,-;hello; world\n SUBSYSTEM=block\n";
        assert_eq!(parse(record), Some((4, 345, "hello; world")));
        assert_eq!(parse("nonsense"), None);
    }
}
