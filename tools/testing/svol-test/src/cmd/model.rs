// SPDX-License-Identifier: GPL-2.0

//! `model`: random operations of all kinds on several volumes, while their group is
//! reloaded, restarted and crashed.
//!
//! What is to happen beside the I/O is the caller's work: `do <event>` on standard
//! output asks for it, and a line on standard input says that it is done. The events:
//!
//! - `live`: something that users of the volumes must not notice;
//! - `restart`: the volumes are closed; they go and come again;
//! - `cut`: the power goes, in the midst of I/O. Then, the volumes being closed, `start`.

mod worker;

use std::io::{self, BufRead, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::args::Args;
use crate::device::{Access, Device};
use crate::error::{Error, Result};
use crate::history::History;
use crate::pattern::SECTOR;
use crate::rng::Rng;
use crate::sys::{Buffer, Mode};

use worker::{Counts, Worker};

/// The seed of the first volume's own writes, unless one is given.
const OWN: u64 = 1000;

/// Longest time of I/O between two events, in milliseconds, unless one is given.
const PAUSE: u64 = 3000;

/// What the threads of one round of I/O share.
pub(crate) struct Round {
    /// The end of the round.
    stop: AtomicBool,
    /// The power is going: errors are no surprise any more.
    cut: AtomicBool,
}

/// A volume and what it may hold.
pub(crate) struct Volume {
    path: String,
    history: Mutex<History>,
}

struct Model {
    volumes: Vec<Volume>,
    job: worker::Job,
    threads: usize,
    events: Vec<String>,
    rng: Rng,
    pause: u64,
    until: Instant,
    /// After so many crashes it ends.
    crashes: u64,
    rounds: u64,
}

/// Asks the caller for an event, and waits until it is done.
fn ask(event: &str) -> Result<()> {
    println!("do {event}");
    io::stdout()
        .flush()
        .map_err(|e| Error::io("standard output", &e))?;
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|e| Error::io("standard input", &e))?;
    if answer.trim() == "ok" {
        Ok(())
    } else {
        Err(Error::new(format!("the answer to {event} is {answer:?}")))
    }
}

impl Model {
    /// I/O on all volumes, until an event other than `live` is due or the time is over.
    /// Returns that event.
    fn round(&mut self, total: &mut Counts) -> Result<Option<String>> {
        let devices: Vec<Device> = self
            .volumes
            .iter()
            .map(|v| Device::open(&v.path, Access::Write))
            .collect::<Result<_>>()?;
        let round = Round {
            stop: AtomicBool::new(false),
            cut: AtomicBool::new(false),
        };
        self.rounds += 1;
        let (job, volumes, threads, rounds) = (self.job, &self.volumes, self.threads, self.rounds);
        let (rng, events, until) = (&mut self.rng, &self.events, self.until);
        let pause = self.pause;
        let (event, results) = thread::scope(|scope| {
            let mut started = Vec::new();
            for (index, (device, volume)) in devices.iter().zip(volumes).enumerate() {
                for thread in 0..threads {
                    let stream = (rounds << 32) | ((index << 16) | thread) as u64;
                    let worker = Worker::new(device, volume, &round, job, stream);
                    started.push(scope.spawn(|| worker.work()));
                }
            }
            let event = control(rng, events, pause, until, &round);
            round.stop.store(true, Ordering::Relaxed);
            let results: Vec<Result<Counts>> = started
                .into_iter()
                .map(|t| {
                    t.join()
                        .unwrap_or_else(|_| Err(Error::new("a thread panicked")))
                })
                .collect();
            (event, results)
        });
        for counts in results {
            total.add(&counts?);
        }
        event
    }

    /// Every sector of every volume is what it may be.
    fn check(&self) -> Result<()> {
        let mut buffer = Buffer::new(1 << 20);
        for volume in &self.volumes {
            let device = Device::open(&volume.path, Access::Read)?;
            let mut history = worker::lock(&volume.history);
            let mut at = 0;
            while at < history.len() {
                let count = (buffer.len() / SECTOR).min(history.len() - at);
                let data = &mut buffer[..count * SECTOR];
                let ticket = history.begin_read();
                device
                    .read(data, (at * SECTOR) as u64, Mode::Plain)
                    .map_err(|e| device.error(&format!("read of {count} sectors at {at}"), &e))?;
                history
                    .end_read(ticket, at, data)
                    .map_err(|e| Error::new(format!("{}: {e}", volume.path)))?;
                at += count;
            }
        }
        Ok(())
    }

    fn run(&mut self) -> Result<Counts> {
        let mut total = Counts::default();
        self.check()?;
        while let Some(event) = self.round(&mut total)? {
            if event == "cut" {
                for volume in &self.volumes {
                    worker::lock(&volume.history).crash();
                }
                ask("start")?;
                total.crashes += 1;
            } else {
                ask(&event)?;
                total.restarts += 1;
            }
            self.check()
                .map_err(|e| Error::new(format!("after {event}: {e}")))?;
            if total.crashes == self.crashes {
                break;
            }
        }
        self.check()?;
        Ok(total)
    }
}

/// Lets the I/O go on and asks for events, until one is due that I/O cannot go on with.
fn control(
    rng: &mut Rng,
    events: &[String],
    longest: u64,
    until: Instant,
    round: &Round,
) -> Result<Option<String>> {
    loop {
        let pause = Instant::now() + Duration::from_millis(100 + rng.below(longest));
        while Instant::now() < pause.min(until) {
            // A thread that found something wrong ends the round.
            if round.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(20));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        let Some(event) = events.get(rng.index(events.len())) else {
            continue;
        };
        match event.as_str() {
            "live" => ask(event)?,
            "crash" => {
                round.cut.store(true, Ordering::SeqCst);
                ask("cut")?;
                return Ok(Some("cut".to_owned()));
            }
            _ => return Ok(Some(event.clone())),
        }
    }
}

pub(crate) fn run(mut args: Args) -> Result<()> {
    let seed = args.opt_or("seed", 1)?;
    let own = args.opt_or("own", OWN)?;
    let rng_seed = args.opt_or("rng", 1)?;
    let seconds = args.opt_or("seconds", 10)?;
    let crashes = args.opt_or("crashes", u64::MAX)?;
    let pause = args.opt_or("pause", PAUSE)?;
    let threads = args.opt_or("threads", 2)?;
    let state: Option<String> = args.opt("state")?;
    let events: String = args.opt_or("events", String::new())?;
    let job = worker::Job {
        rng_seed,
        max: args.opt_or("max", 1usize << 20)?,
        hot: args.opt_or("hot", worker::HOT)?,
        discard: !args.flag("no-discard"),
    };
    let paths = args.finish()?;
    println!("seed of this run: --rng {rng_seed}");
    let file = |index: usize| state.as_ref().map(|prefix| format!("{prefix}.{index}"));
    let mut volumes = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let sectors = Device::open(path, Access::Read)?.sectors();
        let history = History::load(seed, own + index as u64, sectors, file(index).as_deref())?;
        volumes.push(Volume {
            path: path.clone(),
            history: Mutex::new(history),
        });
    }
    let mut model = Model {
        volumes,
        job,
        threads,
        events: events.split_whitespace().map(str::to_owned).collect(),
        rng: Rng::new(rng_seed, u64::MAX),
        pause,
        until: Instant::now() + Duration::from_secs(seconds),
        crashes,
        rounds: 0,
    };
    let total = model.run()?;
    for (index, volume) in model.volumes.iter().enumerate() {
        if let Some(path) = file(index) {
            worker::lock(&volume.history).save(&path)?;
        }
    }
    println!("{total}");
    Ok(())
}
