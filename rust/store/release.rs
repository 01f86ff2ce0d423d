// SPDX-License-Identifier: GPL-2.0

//! Bios that wait for the worker of a store that was given up: the worker may wait for the store's
//! device for long, and volumes that go on without the store need neither.

use super::Store;
use crate::{
    bound::{
        Bound,
        InFlight, //
    },
    dm::{
        Parked,
        ParkedList,
        Worker, //
    },
    overlay::Place,
};

impl Worker<Store> {
    /// Lets all bios go on that wait for this worker although their volumes are written without a
    /// log by now; not the one that it has at hand. For another worker. Sleeps for I/O of disks.
    pub(crate) fn release_unlogged(&self) {
        let mut queues = self.queues.lock();
        let new = [take(&mut queues.slow), take(&mut queues.working)];
        let written = [take(&mut queues.waiting), take(&mut queues.committing)];
        drop(queues);
        for mut list in new {
            while let Some(parked) = list.pop() {
                self.work_on(parked);
            }
        }
        for mut list in written {
            while let Some(mut parked) = list.pop() {
                // Its disk has all of it.
                parked.data_mut().has_no_log = true;
                self.work_on(parked);
            }
        }
    }
}

/// Takes those bios out of a queue.
fn take(queue: &mut ParkedList<Bound, InFlight>) -> ParkedList<Bound, InFlight> {
    let mut all = queue.take();
    let mut taken = ParkedList::new();
    while let Some(parked) = all.pop() {
        match is_unlogged(&parked) {
            true => taken.push(parked),
            false => queue.push(parked),
        }
    }
    taken
}

/// Whether a bio needs only its volume's own disk, which answers.
fn is_unlogged(parked: &Parked<Bound, InFlight>) -> bool {
    let (bound, info) = (parked.keep(), parked.info());
    let Some(entry) = parked.data().volume.get() else {
        return false;
    };
    let (Some(volume), Some(place)) = (bound.volumes.get(entry), Place::of(bound, entry)) else {
        return false;
    };
    let answers = |disk: usize| !bound.is_silent(disk);
    volume.is_on_disk(info.op, info.sector)
        && place.owner().is_unlogged()
        && volume.view.get().logged_disk().is_some_and(answers)
}
