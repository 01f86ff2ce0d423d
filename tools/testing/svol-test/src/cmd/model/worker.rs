// SPDX-License-Identifier: GPL-2.0

//! One thread of the model test.

use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::{Round, Volume};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::history::{End, History, BASE, ZERO};
use crate::pattern::SECTOR;
use crate::rng::Rng;
use crate::sys::{Buffer, Mode};

/// So many sectors at the beginning, unless told otherwise: every second operation goes there, so
/// that threads meet.
pub(super) const HOT: usize = 4096;

/// Pause after an error: a dead device must not keep a CPU busy.
const ERROR_PAUSE: Duration = Duration::from_millis(2);

/// Locks a history. Another thread's panic is reported by that thread.
pub(super) fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the threads do.
#[derive(Clone, Copy)]
pub(super) struct Job {
    pub(super) rng_seed: u64,
    /// Longest I/O in bytes.
    pub(super) max: usize,
    /// Sectors at the beginning that every second operation goes to.
    pub(super) hot: usize,
    /// Whether discards are among the operations.
    pub(super) discard: bool,
}

/// How often what was done.
#[derive(Default)]
pub(super) struct Counts {
    reads: u64,
    writes: u64,
    flushes: u64,
    zeroes: u64,
    discards: u64,
    full: u64,
    failed: u64,
    pub(super) restarts: u64,
    pub(super) crashes: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Counts) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.flushes += other.flushes;
        self.zeroes += other.zeroes;
        self.discards += other.discards;
        self.full += other.full;
        self.failed += other.failed;
        self.restarts += other.restarts;
        self.crashes += other.crashes;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} reads, {} writes, {} flushes, {} zeroes, {} discards, {} without space, \
             {} failed, {} restarts, {} crashes",
            self.reads,
            self.writes,
            self.flushes,
            self.zeroes,
            self.discards,
            self.full,
            self.failed,
            self.restarts,
            self.crashes
        )
    }
}

/// One thread.
pub(super) struct Worker<'a> {
    device: &'a Device,
    volume: &'a Volume,
    round: &'a Round,
    job: Job,
    own: u64,
    rng: Rng,
    buffer: Buffer,
    counts: Counts,
}

impl<'a> Worker<'a> {
    /// The thread with random stream number `stream`.
    pub(super) fn new(
        device: &'a Device,
        volume: &'a Volume,
        round: &'a Round,
        job: Job,
        stream: u64,
    ) -> Self {
        Self {
            device,
            volume,
            round,
            job,
            own: lock(&volume.history).own(),
            rng: Rng::new(job.rng_seed, stream),
            buffer: Buffer::new(job.max.max(SECTOR)),
            counts: Counts::default(),
        }
    }

    /// Judges an error of the device.
    fn failed(&mut self, doing: &str, at: usize, count: usize, e: &io::Error) -> Result<()> {
        if e.raw_os_error() == Some(libc::ENOSPC) {
            self.counts.full += 1;
            return Ok(());
        }
        if !self.round.cut.load(Ordering::SeqCst) {
            let doing = format!("{doing} of {count} sectors at {at}");
            return Err(self.device.error(&doing, e));
        }
        self.counts.failed += 1;
        thread::sleep(ERROR_PAUSE);
        Ok(())
    }

    /// A random range in sectors: first one and length.
    fn range(&mut self) -> (usize, usize) {
        let unit = (self.device.block() / SECTOR).max(1);
        let sectors = usize::try_from(self.device.sectors()).unwrap_or(0);
        let space = if self.rng.percent(50) {
            sectors.min(self.job.hot)
        } else {
            sectors
        };
        let longest = (self.job.max / SECTOR).clamp(unit, space.max(unit)) / unit;
        // Short and long ones alike: a random power of two bounds the length.
        let bound = 1usize << self.rng.index(longest.ilog2() as usize + 1);
        let mut count = (1 + self.rng.index(longest.min(bound))) * unit;
        let mut at = self.rng.index((space - count) / unit + 1) * unit;
        // Sub-blocks and blocks are special to the module, the end of the device as well.
        match self.rng.below(8) {
            0 => at = at / 8 * 8,
            1 => at = at / 128 * 128,
            2 => {
                at = at / 128 * 128;
                let most = (longest * unit).min(space - at);
                count = count.next_multiple_of(128).min(most);
            }
            3 => at = sectors - count,
            _ => {}
        }
        (at, count)
    }

    fn read(&mut self, at: usize, count: usize) -> Result<()> {
        let data = &mut self.buffer[..count * SECTOR];
        let ticket = lock(&self.volume.history).begin_read();
        let done = self.device.read(data, (at * SECTOR) as u64, Mode::Plain);
        self.counts.reads += 1;
        let mut history = lock(&self.volume.history);
        match done {
            Ok(()) => history
                .end_read(ticket, at, data)
                .map_err(|e| Error::new(format!("{}: {e}", self.device.path()))),
            Err(e) => {
                history.drop_read(ticket);
                drop(history);
                self.failed("read", at, count, &e)
            }
        }
    }

    fn write(&mut self, at: usize, count: usize, mode: Mode) -> Result<()> {
        let data = &mut self.buffer[..count * SECTOR];
        let version = lock(&self.volume.history).next_version();
        History::fill(self.own, at, version, data);
        let ticket = lock(&self.volume.history).begin_write(at, count, &[version]);
        let done = self.device.write(data, (at * SECTOR) as u64, mode);
        let end = match (&done, mode) {
            (Err(_), _) => End::Open,
            (Ok(()), Mode::Dsync) => End::Durable,
            (Ok(()), _) => End::Done,
        };
        lock(&self.volume.history).end_write(ticket, at, count, end);
        self.counts.writes += 1;
        done.or_else(|e| self.failed("write", at, count, &e))
    }

    fn zero(&mut self, at: usize, count: usize) -> Result<()> {
        let (place, bytes) = ((at * SECTOR) as u64, (count * SECTOR) as u64);
        let ticket = lock(&self.volume.history).begin_write(at, count, &[ZERO]);
        let done = if self.rng.percent(50) {
            self.device.zero(place, bytes)
        } else {
            self.device.punch(place, bytes)
        };
        let end = if done.is_ok() { End::Done } else { End::Open };
        lock(&self.volume.history).end_write(ticket, at, count, end);
        self.counts.zeroes += 1;
        done.or_else(|e| match e.raw_os_error() {
            // No way to do it without writing zeroes: that is no error.
            Some(libc::EOPNOTSUPP) => Ok(()),
            _ => self.failed("zeroing", at, count, &e),
        })
    }

    fn discard(&mut self, at: usize, count: usize) -> Result<()> {
        let (place, bytes) = ((at * SECTOR) as u64, (count * SECTOR) as u64);
        let ticket = lock(&self.volume.history).begin_write(at, count, &[BASE, ZERO]);
        let done = self.device.discard(place, bytes);
        lock(&self.volume.history).end_write(ticket, at, count, End::Open);
        self.counts.discards += 1;
        done.or_else(|e| match e.raw_os_error() {
            Some(libc::EOPNOTSUPP) => Ok(()),
            _ => self.failed("discard", at, count, &e),
        })
    }

    fn flush(&mut self) -> Result<()> {
        let ticket = lock(&self.volume.history).begin_flush();
        let done = self.device.flush();
        lock(&self.volume.history).end_flush(ticket, done.is_ok());
        self.counts.flushes += 1;
        done.or_else(|e| self.failed("flush", 0, 0, &e))
    }

    fn one(&mut self) -> Result<()> {
        let (at, count) = self.range();
        match self.rng.below(100) {
            0..=39 => self.read(at, count),
            40..=84 => self.write(at, count, Mode::Plain),
            85..=89 => self.write(at, count, Mode::Dsync),
            90..=93 => self.flush(),
            94..=96 => self.zero(at, count),
            _ if self.job.discard => self.discard(at, count),
            _ => self.zero(at, count),
        }
    }

    /// Works until the round is over.
    pub(super) fn work(mut self) -> Result<Counts> {
        while !self.round.stop.load(Ordering::Relaxed) {
            if let Err(e) = self.one() {
                self.round.stop.store(true, Ordering::Relaxed);
                return Err(e);
            }
        }
        Ok(self.counts)
    }
}
