// SPDX-License-Identifier: GPL-2.0

//! What happens when a store is full, or about to be.

use super::Store;
use crate::{
    bound::{
        Bound,
        InFlight, //
    },
    dm::{
        Parked,
        ParkedList,
        Status,
        Worker, //
    },
    log,
    overlay::Place,
    svol_core::table_line::OnFull, //
};

/// How often writes that wait for space are retried, in milliseconds.
pub(super) const LOOK_MS: u32 = 500;

/// How many of `total` slots have to be free, for a low water mark in percent.
pub(super) fn low_water(total: u32, percent: u8) -> u32 {
    // At most `total`.
    let slots = u64::from(total).saturating_mul(u64::from(percent)) / 100;
    u32::try_from(slots).unwrap_or(total)
}

impl Worker<Store> {
    /// A write found no space: it waits for space as long as it may, or fails.
    pub(super) fn no_space(&self, mut parked: Parked<Bound, InFlight>) {
        if self.on_full == OnFull::Error {
            parked.end(Status::NOSPC);
            return;
        }
        let suspending = {
            let bound = parked.keep();
            let volume = parked.data().volume.get();
            volume
                .and_then(|volume| Place::of(bound, volume))
                .is_some_and(|place| place.owner().is_suspending())
        };
        if suspending {
            // It will be resubmitted after the suspend.
            parked.end(Status::REQUEUE);
            return;
        }
        let now = self.now_ms();
        let data = parked.data_mut();
        if data.waits_since == 0 {
            data.waits_since = now.max(1);
        }
        if self.on_full.is_over(data.waits_since, now) {
            parked.end(Status::NOSPC);
            return;
        }
        self.queues.lock().full.push(parked);
    }

    /// Retries writes that wait for space. May sleep for I/O.
    pub(super) fn retry_full(&self) {
        let mut list: ParkedList<Bound, InFlight> = self.queues.lock().full.take();
        while let Some(parked) = list.pop() {
            self.work_on(parked);
        }
    }

    /// Raises an event, once, when few slots are left.
    pub(super) fn check_low_water(&self) {
        let (used, total) = (self.slots.used(), self.slots.total());
        let free = total.saturating_sub(used);
        if free >= self.low_water {
            self.is_low.set(false);
            if free > 0 {
                self.full.set(false);
            }
        } else if self.is_low.raise() {
            log::warning!(
                self.group(),
                "increments {}: low on space, {used} of {total} blocks in use",
                self.lid()
            );
            self.members.event.raise();
        }
    }

    fn now_ms(&self) -> u32 {
        // Wraps around after 49 days.
        u32::try_from(self.opened.elapsed().as_millis() & i64::from(u32::MAX)).unwrap_or(0)
    }
}

impl Store {
    /// Reports that there is no slot left: once, until the free slots reach the low water mark
    /// again.
    pub(super) fn say_full(&self) {
        if self.full.raise() {
            log::warning!(self.group(), "increments {}: full", self.lid());
            self.members.event.raise();
        }
    }
}
