// SPDX-License-Identifier: GPL-2.0

//! The worker that fills disks, and compares disks while none can be filled; and its pace, so that
//! users hardly notice.
//!
//! It runs between `preresume` and `postsuspend` of a table. What it does is in [`super::rebuild`],
//! [`super::verify`] and [`super::protect`].
//!
//! # Locks
//!
//! When the worker takes `commits`, it may have paused a volume, but holds nothing else. It holds
//! nothing while it waits for a store's worker. It holds no reference to the group's table while it
//! is idle.

use super::Group;
use crate::{
    bound::{
        Bound,
        Volume, //
    },
    dm::{
        Job,
        JobClass,
        Worker,
        PIECE_SECTORS, //
    },
    env::Word,
    members::EntryCell,
    svol_core::{
        flag::Flag,
        table_line::{
            Failover,
            Features, //
        },
        turns::RETRY_MS, //
    },
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// Sectors done at once while nobody waits for the disks, if there is enough memory.
const LARGE_SECTORS: u32 = 2048;
/// Sectors done at once while users wait for the disks.
const CHUNK_SECTORS: u32 = 512;

/// How long a chunk waits for user I/O at most, in milliseconds.
const YIELD_MS: u32 = 100;
/// It waits for at most this many user I/Os: so fewer than one in a hundred waits for a chunk.
const YIELD_IOS: u64 = 256;

/// How long to wait for disks that do not answer, before others have their turn, in milliseconds.
pub(super) const PATIENCE_MS: i64 = 3000;

/// Fills disks, and compares them.
#[pin_data]
pub(super) struct Rebuilds {
    /// The live table. No other lock is taken under it.
    #[pin]
    bound: Mutex<Option<Arc<Bound>>>,
    /// It must not run.
    stopped: Flag,
    /// It starts rebuilds by itself.
    pub(super) is_auto: Flag,
    /// The maximum rate in KiB/s; 0 for no limit.
    rate: Word,
    /// Sectors done since user I/O last went first.
    done: Word,
    /// The number of user I/Os until then.
    ios: Word,
    /// The entry whose disk is being filled right now; set to an entry under `commits`.
    pub(super) active: EntryCell,
}

impl Rebuilds {
    /// An idle worker.
    pub(super) fn worker() -> impl PinInit<Worker<Self>, Error> {
        let rebuilds = try_pin_init!(Self {
            bound <- new_mutex!(None),
            stopped: Flag::new(true),
            is_auto: Flag::new(false),
            rate: Word::new(0),
            done: Word::new(0),
            ios: Word::new(0),
            active: EntryCell::new(None),
        }? Error);
        Worker::new(rebuilds)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.is_set()
    }

    /// Fills or compares a part of a volume's disk by calling `part`, and moves the volume's cursor
    /// by the number of sectors that it returns: 0 if they are being written right now. `part` gets
    /// the cursor and the maximum number of sectors. User I/O goes first while some disk `is_busy`.
    /// If others have moved the cursor meanwhile, it stays there. Sleeps.
    ///
    /// # Errors
    ///
    /// That of `part`.
    pub(super) fn advance<E>(
        &self,
        bound: &Bound,
        volume: &Volume,
        is_busy: impl Fn() -> bool,
        part: impl FnOnce(u64, u32) -> Result<u32, E>,
    ) -> Result<(), E> {
        let began = Instant::<Monotonic>::now();
        let most = match self.give_way(bound, is_busy) {
            true => LARGE_SECTORS,
            false => CHUNK_SECTORS,
        };
        let at = volume.copied.get();
        let sectors = part(at, most)?;
        if sectors == 0 {
            fsleep(Delta::from_micros(100));
        }
        // Not if the work has been restarted, on another disk or the same one.
        let end = at.saturating_add(u64::from(sectors));
        let _ = volume.copied.replace(at, end);
        self.done.add(u64::from(sectors));
        self.keep_to_rate(began, sectors);
        Ok(())
    }

    /// Lets user I/O go first for a while, if enough was done since the last time and there is user
    /// I/O: some disk `is_busy`, or there were I/Os since. Returns whether there is none. Sleeps.
    fn give_way(&self, bound: &Bound, is_busy: impl Fn() -> bool) -> bool {
        if self.done.get() < u64::from(CHUNK_SECTORS) {
            return false;
        }
        self.done.set(0);
        let begin = bound.user_ios();
        let mut last = self.ios.swap(begin);
        let mut now = begin;
        for waited in 0..YIELD_MS {
            let is_quiet = now == last && !is_busy();
            if is_quiet || self.is_stopped() || now.saturating_sub(begin) >= YIELD_IOS {
                return is_quiet && waited == 0;
            }
            fsleep(Delta::from_millis(1));
            last = now;
            now = bound.user_ios();
            self.ios.set(now);
        }
        false
    }

    /// Waits until the rate allows `sectors` to have been copied since `began`. Sleeps.
    fn keep_to_rate(&self, began: Instant<Monotonic>, sectors: u32) {
        while !self.is_stopped() {
            let rate = self.rate.get();
            let kib_ms = (u64::from(sectors) >> 1).saturating_mul(1000);
            let wanted = i64::try_from(kib_ms.checked_div(rate).unwrap_or(0)).unwrap_or(i64::MAX);
            let left = wanted.saturating_sub(began.elapsed().as_millis());
            if left <= 0 {
                return;
            }
            fsleep(Delta::from_millis(left.min(20)));
        }
    }
}

impl Job for Rebuilds {
    const NAME: &'static CStr = c"dm-svol-rebuild";

    fn class() -> &'static JobClass {
        static CLASS: JobClass = JobClass::new();
        &CLASS
    }

    fn run(worker: &Worker<Self>) {
        let Some(bound) = worker.bound.lock().clone() else {
            return;
        };
        while !worker.is_stopped() {
            match bound.group.go_on_rebuilding(worker, &bound) {
                Next::Again => (),
                Next::Nothing => return,
                Next::Later => {
                    worker.kick_in(RETRY_MS);
                    return;
                }
            }
        }
    }
}

/// What the worker does next.
pub(super) enum Next {
    /// There may be more to do.
    Again,
    /// There is nothing to do.
    Nothing,
    /// Try again later.
    Later,
}

impl Group {
    /// Lets rebuilds of a table that is now live go on. Does not sleep for I/O.
    pub(super) fn start_rebuilds(&self, bound: Arc<Bound>, features: &Features) {
        let auto = features.failover == Failover::Auto;
        self.rebuilds.is_auto.set(auto);
        self.rebuilds.rate.set(u64::from(features.rebuild_rate));
        self.continue_rebuilds(bound);
    }

    /// As [`Group::start_rebuilds`], after a suspend.
    pub(super) fn continue_rebuilds(&self, bound: Arc<Bound>) {
        for volume in bound.volumes.iter() {
            volume.turn.begin();
        }
        let old = self.rebuilds.bound.lock().replace(bound);
        drop(old);
        self.rebuilds.stopped.set(false);
        self.rebuilds.kick();
    }

    /// The table is suspended: when this returns, rebuilds are idle and the metadata records how
    /// far they are. Sleeps for I/O.
    pub(crate) fn stop_rebuilds(&self) {
        self.rebuilds.stopped.set(true);
        // Before the wait: a run that is kicked later finds no table.
        let bound = self.rebuilds.bound.lock().take();
        self.rebuilds.rest();
        drop(bound);
    }

    /// A disk has failed, or another one is free: has the worker look for one to fill. Does not
    /// sleep.
    pub(super) fn let_rebuild(&self) {
        self.rebuilds.kick();
    }

    /// Sets the maximum rate of rebuilds, in KiB/s; 0 for no limit.
    pub(crate) fn set_rebuild_rate(&self, rate: u32) {
        self.rebuilds.rate.set(u64::from(rate));
    }
}

/// How many sectors to read at once: at most `most` and `left`, and fewer if there is too little
/// memory for the buffers.
pub(super) fn chunk<const N: usize>(most: u32, left: u64, mut buffers: [&mut KVec<u8>; N]) -> u32 {
    let most = most.min(u32::try_from(left).unwrap_or(u32::MAX));
    let mut has_room = |sectors: u32| {
        buffers.iter_mut().all(|buffer| {
            let missing = bytes(sectors).saturating_sub(buffer.len());
            buffer.reserve(missing, GFP_KERNEL | __GFP_NOWARN).is_ok()
        })
    };
    [most, CHUNK_SECTORS]
        .into_iter()
        .find(|sectors| *sectors <= most && has_room(*sectors))
        .unwrap_or(PIECE_SECTORS.min(most))
}

fn bytes(sectors: u32) -> usize {
    usize::try_from(sectors).map_or(0, |sectors| sectors << 9)
}

/// Makes a buffer `sectors` sectors long.
pub(super) fn resize(buffer: &mut KVec<u8>, sectors: u32) -> Result {
    Ok(buffer.resize(bytes(sectors), 0, GFP_KERNEL)?)
}
