// SPDX-License-Identifier: GPL-2.0

//! `try-lines`: loads table lines or sends messages, one after the other, and
//! prints what became of each. A mark in the kernel log stands before the words
//! of the kernel about each line.

use std::fs;
use std::io;

use crate::args::Args;
use crate::dm::{Control, Target};
use crate::error::{Error, Result};
use crate::sys;

const KMSG: &str = "/dev/kmsg";

/// Loads a line "<start> <len> <type> <params>", and drops it again.
fn load(control: &Control, name: &str, line: &[u8]) -> Result<io::Result<()>> {
    let target = Target::parse(line)?;
    let loaded = control.load(name, &target);
    if loaded.is_ok() {
        control
            .clear(name)
            .map_err(|e| Error::io("clearing the table", &e))?;
    }
    Ok(loaded)
}

pub(crate) fn run(mut args: Args) -> Result<()> {
    let messages = args.flag("messages");
    let path: String = args
        .opt("lines")?
        .ok_or_else(|| Error::new("--lines FILE is needed"))?;
    let name = args.finish_one("dm device name")?;
    let control = Control::open()?;
    let lines = fs::read(&path).map_err(|e| Error::io(&path, &e))?;
    let lines = lines.strip_suffix(b"\n").unwrap_or(&lines);
    for (number, line) in lines.split(|byte| *byte == b'\n').enumerate() {
        // Opened anew each time: the kernel limits how much one opener may write.
        let mark = format!("<6>svol-test: line {number}\n");
        fs::write(KMSG, mark).map_err(|e| Error::io(KMSG, &e))?;
        let result = if messages {
            control.message(&name, line).map(|_| ())
        } else {
            load(&control, &name, line)?
        };
        match result {
            Ok(()) => println!("ok"),
            Err(e) => println!("{}", sys::errno_name(&e)),
        }
    }
    Ok(())
}
