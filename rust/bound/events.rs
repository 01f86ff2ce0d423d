// SPDX-License-Identifier: GPL-2.0

//! Which events the stores of a live table know.

use super::Bound;
use crate::{
    dm::Worker,
    store::Teller,
    svol_core::group::GroupTable, //
};
use kernel::time::Instant;

impl Bound {
    /// Records in `next`, which is to be committed, which stores have not been told `told`, the
    /// last event: they know none of the later ones either.
    pub(crate) fn note_late(&self, next: &mut GroupTable, told: u64) {
        for store in self.stores.iter().filter(|store| !store.is_retired()) {
            let known = store.known_events();
            if known < told {
                next.keep_store(store.entry(), known);
            }
        }
    }

    /// Tells the stores a table's event count, after the metadata has it. A store that can't record
    /// it has failed; one that does not answer is left behind. Sleeps for I/O, but not for long.
    pub(crate) fn tell_events(&self, table: &GroupTable) {
        let is_in_use = |entry| {
            let record = table.volume(entry);
            record.is_some_and(|record| !record.state.failed)
        };
        let tellers = || {
            let tellers = self.tellers.iter();
            tellers.filter(|teller| is_in_use(teller.store.entry()))
        };
        let events = table.head().events;
        for teller in tellers() {
            if table.is_kept_store(teller.store.entry()) {
                teller.store.note_kept();
                if teller.store.known_events() == events {
                    // It was told just before that was noted.
                    teller.store.note_works();
                }
            }
            teller.tell(events);
        }
        let begin = Instant::now();
        for teller in tellers().filter(|teller| !teller.is_late()) {
            teller.wait(begin, self.is_silent(teller.store.entry()));
        }
    }

    /// Tells a store the event count `events`, and returns whether it knows it now. Sleeps for I/O,
    /// but not for long.
    pub(crate) fn tell_event(&self, entry: usize, events: u64) -> bool {
        self.teller_of(entry).is_some_and(|teller| {
            teller.tell_again(events);
            teller.wait(Instant::now(), self.is_silent(entry));
            teller.store.known_events() == events
        })
    }

    /// What tells the store on the disk of an entry.
    pub(super) fn teller_of(&self, entry: usize) -> Option<&Worker<Teller>> {
        let mut tellers = self.tellers.iter();
        let teller = tellers.find(|teller| teller.store.entry() == entry)?;
        Some(teller)
    }

    /// Waits until no store is being told of events any more. Sleeps for I/O.
    pub(crate) fn rest_tellers(&self) {
        for teller in self.tellers.iter() {
            teller.rest();
        }
    }
}
