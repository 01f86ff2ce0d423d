// SPDX-License-Identifier: GPL-2.0

//! Disks that do not answer: new reads go elsewhere until the disk answers again.
//!
//! I/O that such a disk already has completes only when the disk completes it. Writes of a logged
//! volume also wait for its disk and its increments volume, until they answer, fail, or are given
//! up: by the message `fail`, or after some time by [`super::GiveUps`].

use crate::{
    bound::Bound,
    clock::elapsed_ms,
    dm::{
        Job,
        JobClass,
        Worker, //
    },
    log,
    members::Disk,
    svol_core::{
        silence::Silence,
        table_line::Failover, //
    }, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// How often disks are checked: this many times within `slow_after`, but at intervals, in
/// milliseconds, within these bounds.
const LOOKS: u32 = 4;
const MIN_EVERY_MS: u32 = 50;
const MAX_EVERY_MS: u32 = 1000;

/// With `failover auto`, the disk or increments volume of a logged volume that is silent for this
/// many times `slow_after`, and at least this many milliseconds, is given up. Much later than reads
/// turn away from a disk: that costs a rebuild.
const GIVE_UP: u64 = 5;
const MIN_GIVE_UP_MS: u64 = 10_000;

/// The bounds of [`grace_after_ms`].
const MIN_GRACE_MS: u32 = 1000;
const MAX_GRACE_MS: u32 = 5000;

/// What the worker watches.
struct Watch {
    bound: Arc<Bound>,
    /// One for each entry.
    disks: KVec<Silence>,
    after_ms: u32,
    start: Instant<Monotonic>,
}

/// Watches for disks that do not answer.
#[pin_data]
pub(crate) struct Silences {
    /// The live table. Locked by this worker, and to start and stop it.
    #[pin]
    watch: Mutex<Option<Watch>>,
}

impl Silences {
    /// An idle worker.
    pub(crate) fn worker() -> impl PinInit<Worker<Self>, Error> {
        Worker::new(try_pin_init!(Self {
            watch <- new_mutex!(None),
        }? Error))
    }
}

impl Watch {
    /// How long from one look at the disks to the next.
    fn every_ms(&self) -> u32 {
        (self.after_ms / LOOKS).clamp(MIN_EVERY_MS, MAX_EVERY_MS)
    }

    /// Looks at all disks once: which have become silent, or have answered again.
    fn look(&mut self) {
        let now = elapsed_ms(self.start);
        let (after, every) = (u64::from(self.after_ms), u64::from(self.every_ms()));
        let is_auto = self.bound.failover == Failover::Auto;
        let give_up_after_ms = self.bound.give_up_after_ms();
        for (entry, silence) in self.disks.iter_mut().enumerate() {
            let Some(disk) = self.bound.members.disk(entry) else {
                continue;
            };
            let (in_flight, answers) = disk.progress();
            if let Some(silent) = silence.look(now, in_flight, answers, after, every) {
                disk.bad.set_silent(silent);
                say(&self.bound, entry, self.after_ms, silent);
            }
            if is_auto && silence.is_silent_for(give_up_after_ms) {
                self.bound.group.give_ups().ask(entry);
            }
        }
    }
}

impl Bound {
    /// See [`give_up_after_ms`].
    pub(super) fn give_up_after_ms(&self) -> u64 {
        give_up_after_ms(self.slow_after_ms)
    }
}

/// After how many milliseconds a device that does not answer is given up, if it is.
pub(crate) fn give_up_after_ms(slow_after_ms: u32) -> u64 {
    u64::from(slow_after_ms)
        .saturating_mul(GIVE_UP)
        .max(MIN_GIVE_UP_MS)
}

/// How long a device may answer after the others have, in milliseconds: `slow_after`, within
/// bounds. When all of them stood still, one of them has to be the first that goes on.
pub(crate) fn grace_after_ms(slow_after_ms: u32) -> u64 {
    u64::from(slow_after_ms.clamp(MIN_GRACE_MS, MAX_GRACE_MS))
}

fn say(bound: &Bound, entry: usize, after_ms: u32, silent: bool) {
    let (Some(volume), group) = (bound.volumes.get(entry), bound.group.name()) else {
        return;
    };
    let lid = volume.lid;
    let (what, then) = match bound.store_at(entry) {
        Some(_) => ("increments", "its volumes wait"),
        None => ("disk of", "new reads go elsewhere if others have the data"),
    };
    match silent {
        true => log::warning!(group, "{what} {lid}: no answer for {after_ms} ms, {then}"),
        false => log::notice!(group, "{what} {lid}: answers again"),
    }
}

impl Worker<Silences> {
    /// A table is live from now on: watches its disks. A disk that does not answer for `slow_after`
    /// milliseconds is silent. Sleeps for memory; if there is none, disks are not watched.
    pub(crate) fn begin(&self, bound: Arc<Bound>) {
        let mut disks = KVec::new();
        for _ in 0..bound.members.disks.len() {
            if disks.push(Silence::new(0), GFP_KERNEL).is_err() {
                log::notice!(
                    bound.group.name(),
                    "out of memory: slow disks are not noticed"
                );
                return;
            }
        }
        let watch = Watch {
            after_ms: bound.slow_after_ms,
            start: Instant::now(),
            disks,
            bound,
        };
        let every = watch.every_ms();
        let old = self.watch.lock().replace(watch);
        drop(old);
        self.kick_in(every);
    }

    /// The table is suspended: stops watching, and no disk counts as silent any more. Sleeps.
    pub(crate) fn stop(&self) {
        let old = self.watch.lock().take();
        self.rest();
        if let Some(watch) = &old {
            let disks = watch.bound.members.disks.iter().flatten();
            disks.for_each(|disk: &Disk| disk.bad.set_silent(false));
        }
        drop(old);
    }
}

impl Job for Silences {
    const NAME: &'static CStr = c"dm-svol-silence";

    fn class() -> &'static JobClass {
        static CLASS: JobClass = JobClass::new();
        &CLASS
    }

    fn run(worker: &Worker<Self>) {
        let mut watch = worker.watch.lock();
        if let Some(watch) = (*watch).as_mut() {
            watch.look();
            worker.kick_in(watch.every_ms());
        }
    }
}
