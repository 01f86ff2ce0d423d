// SPDX-License-Identifier: GPL-2.0

//! `fuzz-message`: sends random and mutated messages to a live group, which
//! must stay a correct group.

use crate::args::Args;
use crate::cmd::tally::Tally;
use crate::dm::{Ask, Control};
use crate::error::{Error, Result};
use crate::rng::Rng;
use crate::status;
use crate::words::{self, Mutator};

/// The group is asked for its status after this many messages.
const CHECK_EVERY: u64 = 250;

fn check_group(control: &Control, name: &str) -> Result<()> {
    let info = control.status(name, Ask::Info);
    let info = info.map_err(|e| Error::io("status", &e))?;
    let info = String::from_utf8(info).map_err(|_| Error::new("the status is not UTF-8"))?;
    status::check_info(&info)?;
    let answer = control
        .message(name, b"query")
        .map_err(|e| Error::io("query", &e))?;
    if answer.is_empty() {
        return Err(Error::new("query gives an empty answer"));
    }
    Ok(())
}

pub(crate) fn run(mut args: Args) -> Result<()> {
    let lines: String = args
        .opt("lines")?
        .ok_or_else(|| Error::new("--lines FILE is needed"))?;
    let count: u64 = args.opt_or("count", 10_000)?;
    let seed: u64 = args.opt_or("rng", 1)?;
    let start: u64 = args.opt_or("start", 0)?;
    let name = args.finish_one("dm device name")?;

    let samples = words::read_lines(&lines)?;
    let mutator = Mutator::new(samples.iter().map(String::as_str));
    let control = Control::open()?;
    let mut errors = Tally::default();
    let mut accepted = 0u64;
    for number in start..start + count {
        let mut rng = Rng::new(seed, number);
        let sample = &samples[rng.index(samples.len())];
        let mut message = words::join(&mutator.line(&mut rng, sample));
        // The device-mapper core keeps two forms to itself: messages that begin
        // with @, and messages without a word.
        if words::first_byte(&message).is_none_or(|b| b == b'@') {
            message.insert(0, b'x');
        }
        let mut one = || -> Result<()> {
            match control.message(&name, &message) {
                Ok(_) => accepted += 1,
                Err(e) => errors.count(&e)?,
            }
            if number % CHECK_EVERY == 0 {
                check_group(&control, &name)?;
            }
            Ok(())
        };
        one().map_err(|e| {
            let shown = words::show(&message);
            Error::new(format!(
                "{e}\n  with seed {seed}, message {number}: {shown}"
            ))
        })?;
    }
    check_group(&control, &name)?;
    println!("seed {seed}: {count} messages, {accepted} accepted; refused:{errors}");
    Ok(())
}
