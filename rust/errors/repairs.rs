// SPDX-License-Identifier: GPL-2.0

//! Repairs bad sectors: their data is read elsewhere, written back, and read again.
//!
//! Nobody waits for that: the read that found them goes elsewhere. Each sub-block that can't be
//! read is rewritten:
//!
//! - on a disk that serves the base image, with the base image from another disk. An I/O is counted
//!   on the disk meanwhile, so whoever stops the disk from serving waits for the repair as for a
//!   read;
//! - on the disk of a logged volume, with data from increments and siblings, under the volume's
//!   write locks: no write can come between the read and the write.
//!
//! A place that stays bad is remembered, see
//! [`BadBlocks`](crate::svol_core::bad_blocks::BadBlocks).
//!
//! # Locks
//!
//! Only the worker takes `work`. It is held across I/O while one sub-block is handled; nothing is
//! committed under it. Before a logged volume may be written without locks, repairs of its disk are
//! paused, see [`RepairGate`], mostly with the group's `commits` held. The first read, which tells
//! whether a sub-block is bad at all, does not pass the gate: it is usually the one that hangs on a
//! disk that does not answer, and nobody waits for it.

use crate::{
    bound::Bound,
    dm::{
        Job,
        JobClass,
        Worker, //
    },
    log,
    members::Disk,
    overlay::Place,
    parts::Of,
    store::Owner,
    svol_core::{
        flag::Flag,
        id::Id,
        repair_gate::RepairGate, //
        route::Home,
        samples::{
            SUB_BLOCK_BYTES,
            SUB_BLOCK_SECTORS, //
        },
    },
};
use kernel::{
    new_mutex,
    new_spinlock_irq,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SpinLockIrq, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// The most stretches that can wait for repair. Others are found again when they are next read.
const ROOM: usize = 64;

/// How often a sub-block that is being written is retried, once per millisecond.
const MAX_LOOKS: usize = 100;

/// How long to sleep between checks whether a repair has ended.
const POLL: Delta = Delta::from_micros(100);

/// A stretch of a disk that could not be read.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stretch {
    /// The disk's entry.
    entry: usize,
    sector: u64,
    sectors: u32,
}

/// What the worker needs for a sub-block.
struct Work {
    /// The right data, and the data read back; both have room for a sub-block.
    good: KVec<u8>,
    here: KVec<u8>,
}

/// Repairs disks.
#[pin_data]
pub(crate) struct Repairs {
    /// Whether the table is not live, or about to be suspended.
    stopped: Flag,
    /// The live table, while its devices may be written to. No other lock is taken under it.
    #[pin]
    live: Mutex<Option<Arc<Bound>>>,
    gate: RepairGate,
    #[pin]
    work: Mutex<Work>,
    /// Has room for [`ROOM`] stretches.
    #[pin]
    queue: SpinLockIrq<KVec<Stretch>>,
}

impl Repairs {
    /// An idle worker.
    pub(crate) fn worker() -> impl PinInit<Worker<Self>, Error> {
        let repairs = try_pin_init!(Self {
            stopped: Flag::new(true),
            live <- new_mutex!(None),
            gate: RepairGate::new(),
            work <- new_mutex!(Work {
                good: KVec::with_capacity(SUB_BLOCK_BYTES, GFP_KERNEL)?,
                here: KVec::with_capacity(SUB_BLOCK_BYTES, GFP_KERNEL)?,
            }),
            queue <- new_spinlock_irq!(KVec::with_capacity(ROOM, GFP_KERNEL)?),
        }? Error);
        Worker::new(repairs)
    }

    /// Whether a repair is under way on a disk for whose entry `is_meant` is true. Does not sleep.
    pub(crate) fn is_at_work(&self, is_meant: impl Fn(usize) -> bool) -> bool {
        self.gate.now().is_some_and(is_meant)
    }

    /// Keeps repairs from beginning until the guard is dropped, and waits for one that is under way
    /// on a disk for whose entry `is_meant` is true. Sleeps for its I/O.
    pub(crate) fn pause(&self, is_meant: impl Fn(usize) -> bool) -> Paused<'_> {
        self.gate.pause();
        let paused = Paused(&self.gate);
        while self.gate.now().is_some_and(&is_meant) {
            fsleep(POLL);
        }
        paused
    }
}

/// Keeps repairs from beginning until it is dropped.
#[must_use]
pub(crate) struct Paused<'a>(&'a RepairGate);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.go_on();
    }
}

impl Worker<Repairs> {
    /// A disk could not read these sectors: queues them for repair. Does not sleep.
    pub(crate) fn push(&self, entry: usize, sector: u64, sectors: u32) {
        let wanted = Stretch {
            entry,
            sector,
            sectors,
        };
        let mut queue = self.queue.lock();
        if !self.stopped.is_set() && !queue.contains(&wanted) {
            // If the queue is full, the next read will find the sectors again.
            let _ = queue.push_within_capacity(wanted);
            self.kick();
        }
    }

    /// A table is live from now on.
    pub(crate) fn begin(&self, bound: Arc<Bound>) {
        let old = self.live.lock().replace(bound);
        self.stopped.set(false);
        drop(old);
    }

    /// The table is suspended: finishes the current repair, and begins no other. Sleeps for I/O.
    pub(crate) fn stop(&self) {
        self.stopped.set(true);
        self.queue.lock().clear();
        // Kept until the worker has dropped its reference, which must not be the last one.
        let old = self.live.lock().take();
        self.rest();
        drop(old);
    }
}

impl Job for Repairs {
    const NAME: &'static CStr = c"dm-svol-repair";

    fn class() -> &'static JobClass {
        static CLASS: JobClass = JobClass::new();
        &CLASS
    }

    fn run(worker: &Worker<Self>) {
        loop {
            let mut queue = worker.queue.lock();
            if queue.is_empty() {
                return;
            }
            // First come, first served.
            let Ok(stretch) = queue.remove(0) else {
                return;
            };
            drop(queue);
            worker.repair(stretch);
        }
    }
}

/// The result for a sub-block.
enum Outcome {
    /// It can be read; nothing to do.
    Well,
    /// It was repaired.
    Mended,
    /// It stays bad.
    Bad,
    /// It is being written right now, or repairs are paused.
    Busy,
    /// Its data can't be read anywhere, or a repair is no longer needed.
    Left,
}

impl Repairs {
    /// Repairs a stretch sub-block by sub-block. For each, the live table is looked up again, so
    /// that a suspend waits for one of them at most. Sleeps for I/O.
    fn repair(&self, stretch: Stretch) {
        let end = stretch.sector.saturating_add(u64::from(stretch.sectors));
        let mut at = stretch.sector & !(SUB_BLOCK_SECTORS - 1);
        let mut mended = 0u32;
        let mut looks = 0usize;
        while at < end && !self.stopped.is_set() {
            let Some(bound) = self.live.lock().clone() else {
                return;
            };
            let outcome = match SubBlock::of(&bound, stretch.entry, at) {
                Some(sub_block) => sub_block.repair(&self.gate, &mut self.work.lock()),
                None => Ok(Outcome::Left),
            };
            let lid = bound.volumes.get(stretch.entry).map(|volume| volume.lid);
            match (outcome, lid) {
                (Ok(Outcome::Busy), _) if looks < MAX_LOOKS => {
                    looks = looks.saturating_add(1);
                    fsleep(Delta::from_millis(1));
                    continue;
                }
                (Ok(Outcome::Mended), Some(lid)) => {
                    if mended == 0 {
                        say_mended(&bound, &lid, at);
                    }
                    mended = mended.saturating_add(1);
                }
                (Ok(Outcome::Bad), Some(lid)) => {
                    log::warning!(
                        bound.group.name(),
                        "disk of {lid}: sector {at} is bad and can't be repaired"
                    );
                }
                _ => (),
            }
            looks = 0;
            at = at.saturating_add(SUB_BLOCK_SECTORS);
        }
    }
}

fn say_mended(bound: &Bound, lid: &Id, sector: u64) {
    log::notice!(
        bound.group.name(),
        "disk of {lid}: bad sectors from {sector} on were repaired"
    );
}

/// A sub-block of a disk.
struct SubBlock<'a> {
    bound: &'a Bound,
    entry: usize,
    disk: &'a Disk,
    sector: u64,
    /// The length; less than a sub-block only at the end of the disk.
    sectors: u32,
}

impl<'a> SubBlock<'a> {
    fn of(bound: &'a Bound, entry: usize, sector: u64) -> Option<Self> {
        let left = bound.members.sectors.checked_sub(sector)?;
        Some(Self {
            bound,
            entry,
            disk: bound.members.disk(entry)?,
            sector,
            sectors: u32::try_from(left.min(SUB_BLOCK_SECTORS)).ok()?,
        })
    }

    /// Repairs it if it is bad.
    fn repair(&self, gate: &RepairGate, work: &mut Work) -> Result<Outcome> {
        let bytes = usize::try_from(self.sectors)? << 9;
        // There is room for a sub-block.
        work.good.resize(bytes, 0, GFP_KERNEL)?;
        work.here.resize(bytes, 0, GFP_KERNEL)?;
        // Before its fate is checked: see `Bound::begin_read`. Also, a disk is not taken back while
        // it has I/O in flight.
        self.disk.begin();
        let outcome = match self.bound.fate(self.entry) {
            fate if fate.is_gone() => Ok(Outcome::Left),
            _ if self.read(&mut work.here).is_ok() => {
                // It may have been known as bad, and others may have written it since.
                self.forget();
                Ok(Outcome::Well)
            }
            _ if !gate.begin(self.entry) => Ok(Outcome::Busy),
            _ => {
                let outcome = self.repair_bad(work);
                gate.end();
                outcome
            }
        };
        self.disk.end();
        outcome
    }

    /// It can't be read. What is checked here can't change meanwhile.
    fn repair_bad(&self, work: &mut Work) -> Result<Outcome> {
        match self.bound.fate(self.entry) {
            fate if fate.is_gone() => Ok(Outcome::Left),
            // It serves the base image.
            _ if self.bound.serves_base(self.entry) => self.mend(Of::Base, work),
            _ => self.repair_own(work),
        }
    }

    fn read(&self, here: &mut KVec<u8>) -> Result {
        let io = &self.bound.members.io;
        io.read(&self.disk.device, self.sector, here)
    }

    /// The disk is written by its own volume, or was.
    fn repair_own(&self, work: &mut Work) -> Result<Outcome> {
        let Some((volume, owner)) = self.owner() else {
            return Ok(Outcome::Left);
        };
        let taken = owner.locks.take(self.sector, self.sectors);
        let outcome = if taken < self.sectors {
            Ok(Outcome::Busy)
        } else if owner.is_in_step(self.entry, self.sector, self.sectors) {
            // This also stays true until the gate is released.
            self.mend(Of::Volume(volume), work)
        } else if owner.has_redos(self.sector, self.sectors) {
            Ok(Outcome::Busy)
        } else {
            Ok(Outcome::Left)
        };
        owner.locks.release(self.sector, taken);
        outcome
    }

    /// The volume that owns the disk and also writes to a store, and its index.
    fn owner(&self) -> Option<(usize, &Owner)> {
        let mut volumes = self.bound.volumes.iter();
        let writes = Home::Logged(self.entry);
        // In diverted regions, its disk need not hold anything.
        let volume = volumes.position(|volume| volume.view_at(self.sector).writes == writes)?;
        Some((volume, Place::of(self.bound, volume)?.owner()))
    }

    /// Writes the right data, and reads it again. Nobody else writes there meanwhile.
    fn mend(&self, of: Of, work: &mut Work) -> Result<Outcome> {
        let bad = &self.disk.bad;
        // From now on, other readers and the read below use other disks, if those have the data.
        let is_news = !bad.has(self.sector, 1) && bad.add(self.sector);
        let read = self.bound.read_parts(of, self.sector, &mut work.good);
        if read.is_err() {
            // Some of the data is lost.
            self.forget();
            return Ok(Outcome::Left);
        }
        if self.disk.may_be_written() {
            if self.write_back(work).is_ok() {
                self.forget();
                if let Some(volume) = self.bound.volumes.get(self.entry) {
                    volume.stats.count_repair();
                }
                return Ok(Outcome::Mended);
            }
            self.bound.note_bad(self.entry);
        }
        Ok(match is_news {
            true => Outcome::Bad,
            // It has been logged before, or there are too many.
            false => Outcome::Left,
        })
    }

    /// The disk may be asked for it again.
    fn forget(&self) {
        self.disk
            .bad
            .forget(self.sector, self.sectors, self.bound.members.sectors);
    }

    fn write_back(&self, work: &mut Work) -> Result {
        let io = &self.bound.members.io;
        io.write(&self.disk.device, self.sector, &work.good)
            .inspect_err(|_| self.bound.count_error(self.entry, false))?;
        self.read(&mut work.here)
            .inspect_err(|_| self.bound.count_error(self.entry, true))?;
        match *work.here == *work.good {
            true => Ok(()),
            false => Err(EIO),
        }
    }
}
