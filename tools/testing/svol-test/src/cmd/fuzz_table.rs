// SPDX-License-Identifier: GPL-2.0

//! `fuzz-table`: loads random and mutated table lines.
//!
//! A line is refused, or it is a correct group: then its printed form loads
//! again and prints the same, and some are made live and asked for their status.

use std::io;

use crate::args::Args;
use crate::cmd::tally::Tally;
use crate::device::{Access, Device};
use crate::dm::{Ask, Control, Target};
use crate::error::{Error, Result};
use crate::rng::Rng;
use crate::status;
use crate::words::{self, Mutator};

/// One in this many accepted lines is made live.
const LIVE_ONE_IN: u64 = 6;

/// A sample line: target type, length and parameters.
struct Sample {
    kind: String,
    len: u64,
    params: String,
}

impl Sample {
    fn parse(line: &str) -> Result<Self> {
        let bad = || Error::new(format!("no \"<type> <len> <params>\": {line}"));
        let (kind, rest) = line.split_once(' ').ok_or_else(bad)?;
        let (len, params) = rest.split_once(' ').ok_or_else(bad)?;
        Ok(Self {
            kind: kind.to_owned(),
            len: len.parse().map_err(|_| bad())?,
            params: params.to_owned(),
        })
    }

    /// Mostly the sample's length, else one at the edges; never 0, which the
    /// device-mapper core refuses by itself.
    fn random_len(&self, rng: &mut Rng) -> u64 {
        match rng.below(40) {
            0 => 1,
            1 => self.len + 1,
            2 => self.len - 1,
            3 => 1 << rng.below(55),
            4 => 1 + rng.below(self.len * 4),
            _ => self.len,
        }
    }
}

struct Fuzzer {
    control: Control,
    name: String,
    wipe: Vec<String>,
    errors: Tally,
    accepted: u64,
    lived: u64,
    live_errors: Tally,
}

impl Fuzzer {
    fn text(&self, ask: Ask) -> Result<String> {
        let bytes = self.control.status(&self.name, ask);
        let bytes = bytes.map_err(|e| Error::io("table status", &e))?;
        String::from_utf8(bytes).map_err(|_| Error::new("a status line is not UTF-8"))
    }

    /// An accepted line prints as a line that is accepted and prints the same.
    fn check_round_trip(&self, kind: &str, len: u64) -> Result<String> {
        let printed = self.text(Ask::InactiveTable)?;
        let target = Target {
            start: 0,
            len,
            kind,
            params: printed.as_bytes(),
        };
        self.control
            .load(&self.name, &target)
            .map_err(|e| Error::io(format!("the printed line \"{printed}\" does not load"), &e))?;
        let again = self.text(Ask::InactiveTable)?;
        if again != printed {
            return Err(Error::new(format!(
                "\"{printed}\" loads, but prints \"{again}\""
            )));
        }
        Ok(printed)
    }

    /// Makes the loaded line live on blank devices and asks it for its status.
    fn live(&mut self) -> Result<()> {
        for path in &self.wipe {
            let device = Device::open(path, Access::Write)?;
            let zeroed = device.zero(0, device.bytes());
            zeroed.map_err(|e| device.error("wipe", &e))?;
        }
        let resumed = self.control.resume(&self.name);
        if let Err(e) = &resumed {
            self.live_errors.count(e)?;
        } else {
            self.lived += 1;
            status::check_info(&self.text(Ask::Info)?)?;
            self.text(Ask::Table)?;
            let answer = self.control.message(&self.name, b"query");
            let answer = answer.map_err(|e| Error::io("query", &e))?;
            if answer.is_empty() {
                return Err(Error::new("query gives an empty answer"));
            }
        }
        let renew = || -> io::Result<()> {
            self.control.remove(&self.name)?;
            self.control.create(&self.name)
        };
        renew().map_err(|e| Error::io("removing the device", &e))
    }

    fn one(&mut self, rng: &mut Rng, target: &Target<'_>) -> Result<()> {
        if let Err(e) = self.control.load(&self.name, target) {
            return self.errors.count(&e);
        }
        self.accepted += 1;
        self.check_round_trip(target.kind, target.len)?;
        if target.kind == "svol-group" && rng.below(LIVE_ONE_IN) == 0 {
            return self.live();
        }
        let cleared = self.control.clear(&self.name);
        cleared.map_err(|e| Error::io("clearing the table", &e))
    }
}

pub(crate) fn run(mut args: Args) -> Result<()> {
    let lines: String = args
        .opt("lines")?
        .ok_or_else(|| Error::new("--lines FILE is needed"))?;
    let count: u64 = args.opt_or("count", 10_000)?;
    let seed: u64 = args.opt_or("rng", 1)?;
    let start: u64 = args.opt_or("start", 0)?;
    let wipe = args.all("wipe");
    let name = args.finish_one("dm device name")?;

    let lines = words::read_lines(&lines)?;
    let samples: Vec<Sample> = lines
        .iter()
        .map(|l| Sample::parse(l))
        .collect::<Result<_>>()?;
    let mutator = Mutator::new(samples.iter().map(|s| s.params.as_str()));
    let mut fuzzer = Fuzzer {
        control: Control::open()?,
        name,
        wipe,
        errors: Tally::default(),
        accepted: 0,
        lived: 0,
        live_errors: Tally::default(),
    };
    let created = fuzzer.control.create(&fuzzer.name);
    created.map_err(|e| Error::io("creating the device", &e))?;
    for number in start..start + count {
        let mut rng = Rng::new(seed, number);
        let sample = &samples[rng.index(samples.len())];
        let params = words::join(&mutator.line(&mut rng, &sample.params));
        let target = Target {
            start: 0,
            len: sample.random_len(&mut rng),
            kind: &sample.kind,
            params: &params,
        };
        fuzzer.one(&mut rng, &target).map_err(|e| {
            Error::new(format!(
                "{e}\n  with seed {seed}, line {number}: 0 {} {} {}",
                target.len,
                target.kind,
                words::show(&params)
            ))
        })?;
    }
    let removed = fuzzer.control.remove(&fuzzer.name);
    removed.map_err(|e| Error::io("removing the device", &e))?;
    println!(
        "seed {seed}: {count} lines, {} accepted, {} made live; refused:{}; refused when made live:{}",
        fuzzer.accepted, fuzzer.lived, fuzzer.errors, fuzzer.live_errors
    );
    Ok(())
}
