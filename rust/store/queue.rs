// SPDX-License-Identifier: GPL-2.0

//! Bios that wait for the store's worker.

use super::{
    patience::{
        LATER,
        LATER_MS, //
    },
    redo,
    slow::{
        Slow,
        Then,
        Writes, //
    },
    write::Range,
    Store, //
};
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
    svol_core::log_mode::Mode, //
};
use kernel::prelude::*;

/// Bios that wait for the worker.
pub(super) struct Queues {
    /// Writes that wait for space.
    pub(super) full: ParkedList<Bound, InFlight>,
    /// Writes that can't be done in one step.
    pub(super) slow: ParkedList<Bound, InFlight>,
    /// Those of them that the worker is about to do; others may take them back.
    pub(super) working: ParkedList<Bound, InFlight>,
    /// Flushes and finished writes that wait for a commit.
    pub(super) waiting: ParkedList<Bound, InFlight>,
    /// Those of them that the commit under way answers; others may take them back.
    pub(super) committing: ParkedList<Bound, InFlight>,
}

impl Queues {
    /// Nothing waits.
    pub(super) fn new() -> Self {
        Self {
            full: ParkedList::new(),
            slow: ParkedList::new(),
            working: ParkedList::new(),
            waiting: ParkedList::new(),
            committing: ParkedList::new(),
        }
    }
}

impl Worker<Store> {
    /// Hands a bio to the worker. Does not sleep.
    pub(crate) fn push_slow(&self, parked: Parked<Bound, InFlight>) {
        let mut queues = self.queues.lock();
        queues.slow.push(parked);
        // Under the lock: once the bio can end, this store may go away.
        self.kick();
    }

    /// Handles all bios that were handed to the worker. Sleeps for I/O.
    ///
    /// Writes to a disk that does not answer stay queued, so that other volumes need not wait.
    pub(super) fn work(&self) {
        let mut queues = self.queues.lock();
        queues.working = queues.slow.take();
        drop(queues);
        let mut is_any_late = false;
        loop {
            let Some(parked) = self.queues.lock().working.pop() else {
                break;
            };
            match self.needs_silent_disk(&parked) {
                true => {
                    self.queues.lock().slow.push(parked);
                    is_any_late = true;
                }
                false => self.work_on(parked),
            }
        }
        if is_any_late {
            self.kick_within(LATER_MS);
        }
    }

    /// Whether a bio goes to a disk that does not answer.
    fn needs_silent_disk(&self, parked: &Parked<Bound, InFlight>) -> bool {
        let (bound, info) = (parked.keep(), parked.info());
        let volume = parked.data().volume;
        if parked.data().has_no_log && !info.is_fua() {
            // It is there already.
            return false;
        }
        let Some(slow) = Slow::of(self, bound, volume, info.op, info.sector) else {
            return false;
        };
        match slow.writes {
            Writes::Kept => {
                // Usually the disk that is being filled is left out.
                let (_, fills) = slow.owner.filled(0, 1);
                let waits = slow.owner.is_fill_closed() && !parked.data().has_no_disk;
                waits && fills.is_some_and(|disk| bound.is_silent(disk))
            }
            Writes::Logged(disk) => {
                let goes_there = match slow.owner.mode() {
                    Mode::Both | Mode::Behind => true,
                    // Without its log, the bio is sent on and not waited for, unless the disk has
                    // refused it as it is.
                    Mode::Disk => parked.data().is_redone,
                    Mode::Held | Mode::Store => false,
                };
                goes_there && bound.is_silent(disk)
            }
            Writes::Diverted => false,
        }
    }

    /// Does what a bio wants, or as much of it as can be done now. Sleeps for I/O.
    pub(super) fn work_on(&self, mut parked: Parked<Bound, InFlight>) {
        let info = parked.info();
        let all = Range {
            sector: info.sector,
            sectors: info.sectors,
        };
        let left = all.behind(parked.data().done);
        let volume = parked.data().volume;
        let (then, now) = match Slow::of(self, parked.keep(), volume, info.op, info.sector) {
            Some(slow) => {
                let now = slow.turn(info.op, left);
                (slow.work_on(&parked, now), now)
            }
            None => (Err(EIO), left),
        };
        let is_over = !matches!(then, Err(LATER | ENOMEM));
        if is_over && parked.data().is_redone {
            redo::end(&mut parked, then.is_ok());
        }
        match then {
            Ok(then @ (Then::End | Then::Answer)) if now.sectors < left.sectors => {
                let data = parked.data_mut();
                data.done = data.done.saturating_add(now.sectors);
                match then {
                    // Without its log, it need not wait for the store's device any more.
                    Then::Answer => self.work_on(parked),
                    _ => self.push_slow(parked),
                }
            }
            Ok(Then::Submit(entry, sector, data)) => {
                *parked.data_mut() = data;
                Bound::submit(parked, entry, sector);
            }
            // The commit that follows answers it.
            Ok(Then::End) if info.is_fua() => self.queues.lock().waiting.push(parked),
            Ok(Then::End | Then::Answer) => parked.end(Status::OK),
            Err(ENOSPC) => self.no_space(parked),
            // There may be memory later.
            Err(LATER | ENOMEM) => {
                self.queues.lock().slow.push(parked);
                self.kick_within(LATER_MS);
            }
            Err(_) => parked.end(Status::IOERR),
        }
    }
}
