// SPDX-License-Identifier: GPL-2.0

//! Reads that no single disk can answer: each part is read from wherever it can be read.
//!
//! This waits for disks, as a last resort even for such that do not answer. So it has a worker of
//! its own: reads that can be sent elsewhere as a whole do not wait for it.

use super::queue::Queue;
use crate::{
    bound::{
        Bound,
        InFlight, //
    },
    dm::{
        Job,
        JobClass,
        Parked,
        Status,
        Worker,
        PIECE, //
    },
    overlay::Place,
    parts::Of, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::Mutex, //
};

/// Reads that wait to be read part by part.
#[pin_data]
pub(crate) struct PartReads {
    #[pin]
    queue: Queue,
    /// Has room for [`PIECE`]. Held across I/O; no other lock is taken under it.
    #[pin]
    buffer: Mutex<KVec<u8>>,
}

impl PartReads {
    /// An idle worker.
    pub(crate) fn worker() -> impl PinInit<Worker<Self>, Error> {
        Worker::new(try_pin_init!(Self {
            queue <- Queue::new(),
            buffer <- new_mutex!(KVec::with_capacity(PIECE, GFP_KERNEL)?),
        }? Error))
    }

    /// Reads into a bio. Sleeps for I/O.
    fn read(&self, parked: &mut Parked<Bound, InFlight>) -> Result {
        let bound = parked.keep();
        let volume = parked.data().volume.get();
        let of = match volume.filter(|volume| Place::of(bound, *volume).is_some()) {
            Some(volume) => Of::Volume(volume),
            None => Of::Base,
        };
        let info = parked.info();
        let bytes = usize::try_from(info.sectors)? << 9;
        let mut buffer = self.buffer.lock();
        let mut done = 0usize;
        while done < bytes {
            let now = PIECE.min(bytes.saturating_sub(done));
            // There is room for `PIECE`.
            buffer.resize(now, 0, GFP_KERNEL)?;
            let sector = info.sector.saturating_add(u64::try_from(done >> 9)?);
            parked.keep().read_parts(of, sector, &mut buffer)?;
            parked.copy_from(done, &buffer)?;
            done = done.saturating_add(now);
        }
        Ok(())
    }
}

impl Worker<PartReads> {
    /// Queues a read. Does not sleep.
    pub(crate) fn push(&self, parked: Parked<Bound, InFlight>) {
        self.queue.push(self, parked);
    }
}

impl Job for PartReads {
    const NAME: &'static CStr = c"dm-svol-parts";

    fn class() -> &'static JobClass {
        static CLASS: JobClass = JobClass::new();
        &CLASS
    }

    fn run(worker: &Worker<Self>) {
        loop {
            let Some(mut parked) = worker.queue.pop() else {
                return;
            };
            let result = worker.read(&mut parked);
            parked.end(match result {
                Ok(()) => Status::OK,
                Err(_) => Status::IOERR,
            });
        }
    }
}
