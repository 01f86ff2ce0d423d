// SPDX-License-Identifier: GPL-2.0

//! Writes metadata copies, each by a worker of its own: a device that does not answer must not hold
//! up the group as long as another copy can be written.

use super::{
    buffer,
    Generation, //
};
use crate::{
    clock::elapsed_ms,
    dm::{
        Job,
        JobClass,
        Worker, //
    },
    env::Word,
    errors::{
        give_up_after_ms,
        grace_after_ms, //
    },
    members::Members,
    svol_core::flag::Flag, //
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

/// How long to sleep before checking again whether a device has answered.
const POLL: Delta = Delta::from_micros(100);

/// Writes one copy.
#[pin_data]
pub(crate) struct Writer {
    members: Arc<Members>,
    /// The metadata device, counting from 0 in the line.
    device: usize,
    /// What has to be written next, if that has not begun. A leaf.
    #[pin]
    next: Mutex<Option<Generation>>,
    /// Has room for one write. Held across I/O, by the worker alone.
    #[pin]
    buffer: Mutex<KVec<u8>>,
    /// How many generations it was given; set under the lock of `next`.
    given: Word,
    /// How many of them are over.
    done: Word,
    /// Whether the last one that was written could not be written.
    failed: Flag,
}

impl Job for Writer {
    const NAME: &'static CStr = c"dm-svol-meta";

    fn class() -> &'static JobClass {
        static CLASS: JobClass = JobClass::new();
        &CLASS
    }

    fn run(worker: &Worker<Self>) {
        let mut buffer = worker.buffer.lock();
        let mut next = worker.next.lock();
        let (generation, given) = (next.take(), worker.given.get());
        drop(next);
        let Some(generation) = generation else {
            return;
        };
        let device = worker.members.meta_device(worker.device);
        let result = device
            .ok_or(ENXIO)
            .and_then(|device| generation.write(&worker.members.io, device, &mut buffer));
        worker.failed.set(result.is_err());
        // After the result: whoever sees this reads that.
        worker.done.set(given);
    }
}

impl Worker<Writer> {
    /// Writes a generation, and waits at most `most_ms` milliseconds for the device; not at all if
    /// it has not answered before. Returns the result, or `None` if there is none yet: see
    /// [`Worker::result`]. Sleeps.
    pub(super) fn write(&self, generation: Generation, most_ms: u64) -> Option<Result> {
        let was_busy = self.is_busy();
        let mut next = self.next.lock();
        let unwritten = next.replace(generation);
        self.given.add(1);
        drop(next);
        drop(unwritten);
        self.kick();
        let begin = Instant::<Monotonic>::now();
        loop {
            let result = self.result();
            if result.is_some() || was_busy || elapsed_ms(begin) >= most_ms {
                return result;
            }
            fsleep(POLL);
        }
    }

    /// The result of the last generation, or `None` if there is none yet: `EIO` if the device
    /// failed. Does not sleep.
    pub(super) fn result(&self) -> Option<Result> {
        match (self.is_busy(), self.failed.is_set()) {
            (true, _) => None,
            (false, false) => Some(Ok(())),
            (false, true) => Some(Err(EIO)),
        }
    }

    /// Whether its device has not answered yet.
    pub(super) fn is_busy(&self) -> bool {
        self.done.get() != self.given.get()
    }
}

/// Waits for devices that have not answered, each with its copy and its writer, and calls `note`
/// with the results: `ETIMEDOUT` for those that do not answer for long after the first copy was
/// written. As long as `note` returns that none was, waits without bound. Sleeps.
pub(super) fn wait_for_late(
    late: &mut [Option<(usize, &Worker<Writer>)>],
    grace_ms: u64,
    mut any: bool,
    mut note: impl FnMut(usize, Result) -> bool,
) {
    let mut since = Instant::<Monotonic>::now();
    loop {
        for entry in late.iter_mut() {
            let Some((copy, Some(result))) = entry.map(|(copy, writer)| (copy, writer.result()))
            else {
                continue;
            };
            *entry = None;
            if note(copy, result) && !any {
                any = true;
                since = Instant::now();
            }
        }
        let is_over = any && elapsed_ms(since) >= grace_ms;
        if late.iter().all(Option::is_none) || is_over {
            break;
        }
        fsleep(POLL);
    }
    for (copy, _) in late.iter().flatten() {
        note(*copy, Err(ETIMEDOUT));
    }
}

/// The writers of a live table, by metadata device.
pub(crate) struct Writers {
    writers: KVec<Option<Pin<KBox<Worker<Writer>>>>>,
    /// How long to wait for a device before another copy is written, in milliseconds.
    pub(super) patience_ms: u64,
    /// How long to wait for it after that.
    pub(super) grace_ms: u64,
}

impl Writers {
    /// No workers: whoever commits writes, and waits as long as it takes.
    pub(crate) fn none() -> Self {
        Self {
            writers: KVec::new(),
            patience_ms: 0,
            grace_ms: 0,
        }
    }

    /// A worker for each metadata device.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(members: &Arc<Members>, slow_after_ms: u32) -> Result<Self> {
        let mut writers = KVec::with_capacity(members.meta.len(), GFP_KERNEL)?;
        for (device, opened) in members.meta.iter().enumerate() {
            let writer = match opened {
                Some(_) => Some(new_writer(members.clone(), device)?),
                None => None,
            };
            writers.push(writer, GFP_KERNEL)?;
        }
        Ok(Self {
            writers,
            patience_ms: give_up_after_ms(slow_after_ms),
            grace_ms: grace_after_ms(slow_after_ms),
        })
    }

    /// The writer of a device, if it has one.
    pub(super) fn of(&self, device: usize) -> Option<&Worker<Writer>> {
        let writer = self.writers.get(device)?.as_ref()?;
        Some(writer)
    }

    /// Whether a device has not answered yet. Does not sleep.
    pub(crate) fn is_busy(&self, device: usize) -> bool {
        self.of(device).is_some_and(|writer| writer.is_busy())
    }

    /// Whether any device has not answered yet. Does not sleep.
    pub(crate) fn are_busy(&self) -> bool {
        (0..self.writers.len()).any(|device| self.is_busy(device))
    }

    /// Waits until all devices have answered. Sleeps.
    pub(crate) fn rest(&self) {
        for writer in self.writers.iter().flatten() {
            writer.rest();
        }
    }
}

fn new_writer(members: Arc<Members>, device: usize) -> Result<Pin<KBox<Worker<Writer>>>> {
    let writer = try_pin_init!(Writer {
        members,
        device,
        next <- new_mutex!(None),
        buffer <- new_mutex!(buffer()?),
        given: Word::new(0),
        done: Word::new(0),
        failed: Flag::new(false),
    }? Error);
    KBox::pin_init(Worker::new(writer), GFP_KERNEL)
}
