// SPDX-License-Identifier: GPL-2.0

//! Bios that wait for a worker, first come, first served.

use crate::{
    bound::{
        Bound,
        InFlight, //
    },
    dm::{
        Job,
        Parked,
        ParkedList,
        Worker, //
    }, //
};
use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::SpinLockIrq, //
};

/// A queue of bios.
#[pin_data]
pub(super) struct Queue {
    #[pin]
    bios: SpinLockIrq<ParkedList<Bound, InFlight>>,
}

impl Queue {
    /// An empty queue.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            bios <- new_spinlock_irq!(ParkedList::new()),
        })
    }

    /// Adds a bio for the worker that the queue belongs to. Does not sleep.
    pub(super) fn push<J: Job>(&self, worker: &Worker<J>, parked: Parked<Bound, InFlight>) {
        let mut bios = self.bios.lock();
        bios.push(parked);
        // Under the lock: once the bio can complete, the worker may go away, and the queue with it.
        worker.kick();
    }

    /// Takes the next bio. Does not sleep.
    pub(super) fn pop(&self) -> Option<Parked<Bound, InFlight>> {
        self.bios.lock().pop()
    }
}
