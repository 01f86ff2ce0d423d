// SPDX-License-Identifier: GPL-2.0

//! Counters of each entry, kept across reloads for as long as the group exists.

use crate::{
    clock::elapsed_ms,
    env::AtomicU64,
    svol_core::{
        counter::Counter,
        fault::ErrorCount,
        freq::Frequency, //
    },
};
use kernel::{
    new_spinlock,
    new_spinlock_irq,
    prelude::*,
    sync::{
        SpinLock,
        SpinLockIrq, //
    },
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// Counters of one entry.
#[pin_data]
pub(crate) struct VolumeStats {
    /// I/Os of the volume.
    ios: Counter,
    /// Failed reads of the entry's disk.
    read_errors: AtomicU64,
    /// Other failed I/Os of the entry's disk.
    write_errors: AtomicU64,
    /// Sub-blocks of the entry's disk that were repaired.
    repairs: AtomicU64,
    /// When counting began.
    start: Instant<Monotonic>,
    /// Errors of the entry's disk that are not forgotten yet.
    #[pin]
    errors: SpinLockIrq<ErrorCount>,
    #[pin]
    frequency: SpinLock<Frequency>,
}

impl VolumeStats {
    /// Counters at 0.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            ios: Counter::new(),
            read_errors: AtomicU64::new(0),
            write_errors: AtomicU64::new(0),
            repairs: AtomicU64::new(0),
            start: Instant::now(),
            errors <- new_spinlock_irq!(ErrorCount::new()),
            frequency <- new_spinlock!(Frequency::new()),
        })
    }

    /// Counts an I/O of the volume on `cpu`.
    pub(crate) fn count_io(&self, cpu: u32) {
        self.ios.count(cpu);
    }

    /// I/Os of the volume so far.
    pub(crate) fn ios(&self) -> u64 {
        self.ios.total()
    }

    /// Counts an error of the disk.
    pub(crate) fn count_error(&self, read: bool) {
        if read {
            self.read_errors.add(1);
        } else {
            self.write_errors.add(1);
        }
    }

    /// Counts a sub-block of the disk that was repaired.
    pub(crate) fn count_repair(&self) {
        self.repairs.add(1);
    }

    /// Counts an error of the disk that is forgotten with time; returns how many there are now.
    /// Does not sleep.
    pub(crate) fn age_errors(&self) -> u32 {
        let now_ms = self.now_ms();
        self.errors.lock().add(now_ms)
    }

    /// Forgets these errors, since there may be another disk now. Does not sleep.
    pub(crate) fn forget_errors(&self) {
        *self.errors.lock() = ErrorCount::new();
    }

    /// Failed reads so far.
    pub(crate) fn read_errors(&self) -> u64 {
        self.read_errors.load()
    }

    /// Failed writes, flushes and discards so far.
    pub(crate) fn write_errors(&self) -> u64 {
        self.write_errors.load()
    }

    /// Sub-blocks repaired so far.
    pub(crate) fn repairs(&self) -> u64 {
        self.repairs.load()
    }

    /// I/Os per second of the volume, a decaying average.
    pub(crate) fn frequency(&self) -> u64 {
        let now_ms = self.now_ms();
        self.frequency.lock().update(now_ms, self.ios.total())
    }

    fn now_ms(&self) -> u64 {
        elapsed_ms(self.start)
    }
}
