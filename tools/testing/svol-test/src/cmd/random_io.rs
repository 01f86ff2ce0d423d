// SPDX-License-Identifier: GPL-2.0

//! `random-io`: random direct I/O from several threads, every read checked.
//!
//! Each thread owns a part of the device, so that it knows at any moment what
//! each sector of it must hold. With reads only, the parts overlap fully.

use std::io;
use std::thread;
use std::time::Duration;

use crate::args::Args;
use crate::device::{Access, Device};
use crate::error::{Error, Result};
use crate::image::{Image, Part};
use crate::pattern::SECTOR;
use crate::rng::Rng;
use crate::sys::{self, Buffer, Mode};

/// Pause after a failed I/O where errors are allowed: a dead device must not
/// keep a CPU busy.
const ERROR_PAUSE: Duration = Duration::from_millis(2);

#[derive(Clone, Copy)]
struct Job {
    ops: u64,
    min: usize,
    max: usize,
    write: u64,
    dsync: u64,
    flush: u64,
    think: Duration,
    rng_seed: u64,
    allow_errors: bool,
}

#[derive(Default)]
struct Counts {
    reads: u64,
    writes: u64,
    flushes: u64,
    errors: u64,
    last_error: String,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.flushes += other.flushes;
        self.errors += other.errors;
        if !other.last_error.is_empty() {
            self.last_error = other.last_error;
        }
    }
}

struct Worker<'a> {
    device: &'a Device,
    job: Job,
    rng: Rng,
    buffer: Buffer,
    counts: Counts,
}

impl Worker<'_> {
    /// Counts an I/O error where errors are allowed, else reports it.
    fn failed(&mut self, doing: &str, e: &io::Error) -> Result<()> {
        let error = self.device.error(doing, e);
        if !self.job.allow_errors {
            return Err(error);
        }
        self.counts.errors += 1;
        self.counts.last_error = error.to_string();
        thread::sleep(ERROR_PAUSE);
        Ok(())
    }

    /// A random aligned range of the part: first sector in it, and length.
    fn range(&mut self, part: &Part<'_>) -> (usize, usize) {
        let block = self.device.block() / SECTOR;
        let unit = (self.job.min / SECTOR).max(block);
        let longest = (self.job.max / SECTOR).clamp(unit, part.len().max(unit));
        // Short and long ones alike: a random power of two bounds the length.
        let choices = longest / unit;
        let bound = 1 + self.rng.index(choices.ilog2() as usize + 1);
        let units = 1 + self.rng.index(choices.min(1 << bound));
        let sectors = (units * unit).min(part.len() / unit * unit);
        let places = (part.len() - sectors) / unit + 1;
        (self.rng.index(places) * unit, sectors)
    }

    fn one(&mut self, part: &mut Part<'_>) -> Result<()> {
        let (at, sectors) = self.range(part);
        let sector = part.first() + at as u64;
        let place = sector * SECTOR as u64;
        let len = sectors * SECTOR;
        if self.rng.percent(self.job.write) {
            part.next(at, &mut self.buffer[..len]);
            let mode = if self.rng.percent(self.job.dsync) {
                Mode::Dsync
            } else {
                Mode::Plain
            };
            let done = self.device.write(&self.buffer[..len], place, mode);
            part.written(at, sectors, done.is_ok());
            self.counts.writes += 1;
            if let Err(e) = done {
                return self.failed(&format!("write of {sectors} sectors at {sector}"), &e);
            }
            if self.rng.percent(self.job.flush) {
                self.counts.flushes += 1;
                if let Err(e) = self.device.flush() {
                    return self.failed("flush", &e);
                }
            }
            return Ok(());
        }
        self.counts.reads += 1;
        match self
            .device
            .read(&mut self.buffer[..len], place, Mode::Plain)
        {
            Ok(()) => {
                let checked = part.check(at, &self.buffer[..len]);
                checked.map_err(|e| Error::new(format!("{}: {e}", self.device.path())))
            }
            Err(e) => self.failed(&format!("read of {sectors} sectors at {sector}"), &e),
        }
    }

    fn work(mut self, mut part: Part<'_>) -> Result<Counts> {
        for _ in 0..self.job.ops {
            if sys::stopped() {
                break;
            }
            self.one(&mut part)?;
            if !self.job.think.is_zero() {
                thread::sleep(self.job.think);
            }
        }
        Ok(self.counts)
    }
}

fn run_all(device: &Device, job: Job, parts: Vec<Part<'_>>) -> Result<Counts> {
    let results: Vec<Result<Counts>> = thread::scope(|scope| {
        let started: Vec<_> = parts
            .into_iter()
            .enumerate()
            .map(|(index, part)| {
                let worker = Worker {
                    device,
                    job,
                    rng: Rng::new(job.rng_seed, index as u64),
                    buffer: Buffer::new(job.max.next_multiple_of(device.block())),
                    counts: Counts::default(),
                };
                scope.spawn(move || worker.work(part))
            })
            .collect();
        let join = |t: thread::ScopedJoinHandle<'_, Result<Counts>>| {
            t.join()
                .unwrap_or_else(|_| Err(Error::new("a thread panicked")))
        };
        started.into_iter().map(join).collect()
    });
    let mut total = Counts::default();
    for counts in results {
        total.add(counts?);
    }
    Ok(total)
}

pub(crate) fn run(mut args: Args) -> Result<()> {
    let seed = args.opt_or("seed", 1)?;
    let threads = args.opt_or("threads", 4usize)?;
    let state: Option<String> = args.opt("state")?;
    let until_signal = args.flag("until-signal");
    let ops: u64 = args.opt_or("ops", if until_signal { u64::MAX } else { 1000 })?;
    let job = Job {
        ops: if until_signal {
            ops
        } else {
            ops.div_ceil(threads.max(1) as u64)
        },
        min: args.opt_or("min", SECTOR)?,
        max: args.opt_or("max", 1usize << 20)?,
        write: args.opt_or("write", 0)?,
        dsync: args.opt_or("dsync", 0)?,
        flush: args.opt_or("flush", 0)?,
        think: Duration::from_millis(args.opt_or("think", 0)?),
        rng_seed: args.opt_or("rng", 1)?,
        allow_errors: args.flag("allow-errors"),
    };
    let path = args.finish_one("device")?;
    sys::catch_stop_signals();

    let access = if job.write > 0 {
        Access::Write
    } else {
        Access::Read
    };
    let device = Device::open(&path, access)?;
    let mut image = Image::load(seed, device.sectors(), state.as_deref())?;
    let total = if job.write > 0 {
        let parts = image.parts(threads, device.block().max(job.min));
        run_all(&device, job, parts)
    } else {
        let mut copies = Vec::new();
        for _ in 0..threads {
            copies.push(Image::load(seed, device.sectors(), state.as_deref())?);
        }
        let parts = copies.iter_mut().map(Image::whole).collect();
        run_all(&device, job, parts)
    }?;
    if let Some(path) = &state {
        image.save(path)?;
    }
    println!(
        "{path}: {} reads, {} writes, {} flushes, {} errors{}{}",
        total.reads,
        total.writes,
        total.flushes,
        total.errors,
        if total.errors > 0 { ", last: " } else { "" },
        total.last_error
    );
    Ok(())
}
