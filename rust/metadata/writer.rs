// SPDX-License-Identifier: GPL-2.0

//! Writes metadata copies, each by a worker of its own: a device that does not answer must not hold
//! up the group as long as another copy can be written.

use super::{
    buffer,
    Generation, //
};
use crate::{
    dm::{
        Job,
        JobClass,
        Worker, //
    },
    env::Word,
    members::Members, //
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

/// The last generation was written, or none was yet.
const WRITTEN: u64 = 0;
/// A generation is being written.
const BUSY: u64 = 1;
/// The last one could not be written.
const FAILED: u64 = 2;

/// What a writer has to do.
struct Work {
    generation: Option<Generation>,
    /// Has room for one write.
    buffer: KVec<u8>,
}

/// Writes one copy.
#[pin_data]
pub(crate) struct Writer {
    members: Arc<Members>,
    /// The metadata device, counting from 0 in the line.
    device: usize,
    /// Held across I/O; locked by others only while the writer is not busy.
    #[pin]
    work: Mutex<Work>,
    state: Word,
}

impl Job for Writer {
    const NAME: &'static CStr = c"dm-svol-meta";

    fn class() -> &'static JobClass {
        static CLASS: JobClass = JobClass::new();
        &CLASS
    }

    fn run(worker: &Worker<Self>) {
        let mut work = worker.work.lock();
        let Some(generation) = work.generation.take() else {
            return;
        };
        let device = worker.members.meta_device(worker.device);
        let result = device
            .ok_or(ENXIO)
            .and_then(|device| generation.write(&worker.members.io, device, &mut work.buffer));
        worker.state.set(match result {
            Ok(()) => WRITTEN,
            Err(_) => FAILED,
        });
    }
}

impl Worker<Writer> {
    /// Writes a generation, and waits at most `most_ms` milliseconds for the device. Returns `None`
    /// if it has not answered by then, or did not answer before: see [`Worker::wait`]. Sleeps.
    ///
    /// # Errors
    ///
    /// `EIO` if the device failed.
    pub(super) fn write(&self, generation: Generation, most_ms: u64) -> Option<Result> {
        if self.is_busy() {
            return None;
        }
        self.work.lock().generation = Some(generation);
        self.state.set(BUSY);
        self.kick();
        let begin = Instant::<Monotonic>::now();
        self.wait(|| u64::try_from(begin.elapsed().as_millis()).unwrap_or(0) >= most_ms)
    }

    /// Waits for the device, at most until `is_over`. Sleeps.
    ///
    /// # Errors
    ///
    /// As [`Worker::write`].
    pub(super) fn wait(&self, is_over: impl Fn() -> bool) -> Option<Result> {
        loop {
            match self.state.get() {
                BUSY if is_over() => return None,
                BUSY => fsleep(POLL),
                WRITTEN => return Some(Ok(())),
                _ => return Some(Err(EIO)),
            }
        }
    }

    /// Whether its device has not answered yet.
    pub(super) fn is_busy(&self) -> bool {
        self.state.get() == BUSY
    }
}

/// The writers of a live table, by metadata device.
pub(crate) struct Writers {
    writers: KVec<Option<Pin<KBox<Worker<Writer>>>>>,
    /// How long to wait for a device while another copy can be written, in milliseconds.
    pub(super) patience_ms: u64,
}

impl Writers {
    /// No workers: whoever commits writes, and waits as long as it takes.
    pub(crate) fn none() -> Self {
        Self {
            writers: KVec::new(),
            patience_ms: 0,
        }
    }

    /// A worker for each metadata device.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(members: &Arc<Members>, patience_ms: u64) -> Result<Self> {
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
            patience_ms,
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
        work <- new_mutex!(Work {
            generation: None,
            buffer: buffer()?,
        }),
        state: Word::new(WRITTEN),
    }? Error);
    KBox::pin_init(Worker::new(writer), GFP_KERNEL)
}
