// SPDX-License-Identifier: GPL-2.0

//! `steps`: chosen operations on a volume, one after the other; what the volume
//! may hold afterwards is kept in a state file.

use std::io;

use crate::args::Args;
use crate::device::{Access, Device};
use crate::error::{Error, Result};
use crate::history::{End, History, BASE, ZERO};
use crate::pattern::SECTOR;
use crate::sys::{Buffer, Mode};

/// The seed of own writes, unless one is given.
const OWN: u64 = 1000;

struct Stepper {
    device: Device,
    history: History,
    buffer: Buffer,
    chunk: usize,
    scattered: bool,
}

impl Stepper {
    /// One I/O of a step.
    fn one(&mut self, what: &str, at: usize, count: usize) -> io::Result<Result<()>> {
        let (place, bytes) = ((at * SECTOR) as u64, (count * SECTOR) as u64);
        let data = &mut self.buffer[..count * SECTOR];
        let history = &mut self.history;
        let (ticket, done, end) = match what {
            "check" => {
                let ticket = history.begin_read();
                let done = match self.scattered {
                    true => self.device.read_scattered(data, place, Mode::Plain),
                    false => self.device.read(data, place, Mode::Plain),
                };
                if done.is_err() {
                    history.drop_read(ticket);
                }
                return done.map(|()| history.end_read(ticket, at, data));
            }
            "write" | "dsync" => {
                let (mode, end) = match what {
                    "write" => (Mode::Plain, End::Done),
                    _ => (Mode::Dsync, End::Durable),
                };
                let version = history.next_version();
                History::fill(history.own(), at, version, data);
                let ticket = history.begin_write(at, count, &[version]);
                let done = match self.scattered {
                    true => self.device.write_scattered(data, place, mode),
                    false => self.device.write(data, place, mode),
                };
                (ticket, done, end)
            }
            "zero" | "punch" => {
                let ticket = history.begin_write(at, count, &[ZERO]);
                let done = match what {
                    "zero" => self.device.zero(place, bytes),
                    _ => self.device.punch(place, bytes),
                };
                (ticket, done, End::Done)
            }
            "discard" => {
                let ticket = history.begin_write(at, count, &[BASE, ZERO]);
                (ticket, self.device.discard(place, bytes), End::Open)
            }
            other => return Ok(Err(Error::new(format!("unknown step \"{other}\"")))),
        };
        let end = if done.is_ok() { end } else { End::Open };
        history.end_write(ticket, at, count, end);
        done.map(Ok)
    }

    fn step(&mut self, step: &str) -> io::Result<Result<()>> {
        if step == "flush" {
            let ticket = self.history.begin_flush();
            let done = self.device.flush();
            self.history.end_flush(ticket, done.is_ok());
            return done.map(Ok);
        }
        let (what, range) = step.split_once(':').unwrap_or((step, ""));
        let all = self.history.len();
        let Some((start, count)) = parse_range(range, all) else {
            return Ok(Err(Error::new(format!("{step}: bad range"))));
        };
        let mut at = start;
        while at < start + count {
            let len = self.chunk.min(start + count - at);
            match self.one(what, at, len)? {
                Ok(()) => at += len,
                Err(e) => return Ok(Err(e)),
            }
        }
        Ok(Ok(()))
    }
}

/// Whether a step has to make something durable.
fn is_flush(step: &str) -> bool {
    step == "flush" || step.starts_with("dsync")
}

/// Start and length in sectors, which lie within the device.
fn parse_range(range: &str, all: usize) -> Option<(usize, usize)> {
    if range.is_empty() {
        return Some((0, all));
    }
    let (start, count) = range.split_once('+')?;
    let (start, count): (usize, usize) = (start.parse().ok()?, count.parse().ok()?);
    (start.checked_add(count)? <= all).then_some((start, count))
}

pub(crate) fn run(mut args: Args) -> Result<()> {
    let seed = args.opt_or("seed", 1)?;
    let own = args.opt_or("own", OWN)?;
    let state: Option<String> = args.opt("state")?;
    let chunk: usize = args.opt_or("chunk", 2048)?;
    let buffered = args.flag("buffered");
    let scattered = args.flag("scattered");
    let after_crash = args.flag("after-crash");
    let allow_errors = args.flag("allow-errors");
    let words = args.finish()?;
    let Some((path, steps)) = words.split_first() else {
        return Err(Error::new("a device is needed"));
    };
    let access = if steps.iter().all(|s| s.starts_with("check")) {
        Access::Read
    } else {
        Access::Write
    };
    let device = if buffered {
        Device::open_buffered(path, access)?
    } else {
        Device::open(path, access)?
    };
    let mut history = History::load(seed, own, device.sectors(), state.as_deref())?;
    if after_crash {
        history.crash();
    }
    let mut stepper = Stepper {
        device,
        history,
        buffer: Buffer::new(chunk.max(1) * SECTOR),
        chunk: chunk.max(1),
        scattered,
    };
    let mut result = Ok(());
    for step in steps {
        result = match stepper.step(step) {
            Ok(result) => result.map_err(|e| Error::new(format!("{path}: {step}: {e}"))),
            Err(e) if allow_errors => {
                println!("{step}: {}", crate::sys::errno_name(&e));
                if is_flush(step) {
                    // What was in a cache may be lost.
                    stepper.history.crash();
                }
                Ok(())
            }
            Err(e) => Err(stepper.device.error(step, &e)),
        };
        if result.is_err() {
            break;
        }
    }
    if let Some(state) = &state {
        stepper.history.save(state)?;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(parse_range("", 9), Some((0, 9)));
        assert_eq!(parse_range("3+4", 9), Some((3, 4)));
        for bad in ["3", "3+7", "x+1", "1+", "18446744073709551615+1"] {
            assert_eq!(parse_range(bad, 9), None);
        }
    }
}
