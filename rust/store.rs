// SPDX-License-Identifier: GPL-2.0

//! An increments store in use, shared by its owners.
//!
//! For the path of a write, see [`crate::overlay`]. A [`Worker`](crate::dm::worker::Worker) does
//! what has to sleep: commits, formatting of segments, and writes that can't be done in one step.
//!
//! # Order
//!
//! Data is durable before the entry that names it, an entry before the flush that waits for it
//! completes, and the freeing of a slot before the slot is reused; see
//! Documentation/on-disk-format.rst.

mod commit;
mod compare;
mod discard;
mod disks;
mod errand;
mod events;
mod fail;
mod fill;
mod format;
mod freeze;
mod full;
mod in_place;
mod leave;
mod load;
mod logged;
mod losses;
mod marks;
mod moving;
mod owner;
mod patience;
mod queue;
mod redo;
mod release;
mod resolve;
mod slow;
mod undo_lost;
mod write;

pub(crate) use {
    compare::CompareError,
    events::Teller,
    fill::CopyError,
    format::make,
    load::{
        find,
        header_to_open,
        new_header,
        probe,
        seen_events,
        Found,
        Link, //
    },
    owner::Owner, //
};

use crate::{
    clock::elapsed_ms,
    dm::{
        Bufio,
        Device,
        Job,
        JobClass,
        Worker, //
    },
    env::{
        AtomicU64,
        Word, //
    },
    group::Group,
    members::{
        Disk,
        Members, //
    },
    svol_core::{
        block_map::WriteRun,
        changes::Changes,
        deadline::Deadline,
        flag::Flag,
        id::Id,
        slots::Slots,
        store::{
            Header,
            Layout, //
        },
        table_line::OnFull, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SpinLockIrq, //
    },
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// The longest time between a write and the commit that makes it durable, in milliseconds.
const COMMIT_MS: u32 = 1000;

/// An increments store.
#[pin_data]
pub(crate) struct Store {
    members: Arc<Members>,
    /// Its group. Dropped with the live table.
    home: Arc<Group>,
    /// Its entry in the group table.
    entry: usize,
    group: Id,
    lid: Id,
    layout: Layout,
    on_full: OnFull,
    /// An event is raised when fewer slots than this are free.
    low_water: u32,
    /// Whether that event was raised.
    is_low: Flag,
    /// When it was opened; other times count from here.
    opened: Instant<Monotonic>,
    /// Which slots are free.
    pub(crate) slots: Slots,
    /// Its owners.
    pub(crate) owners: KVec<Owner>,
    /// Changes of block maps that are not on disk yet.
    changes: Changes,
    /// How often the device had lost something when bios were last taken that wait for a commit.
    losses_then: Word,
    /// When idle marks were last looked for.
    #[pin]
    marks_looked_at: Mutex<Instant<Monotonic>>,
    /// Whether there may be marks.
    has_marks: Flag,
    /// The tag of its sectors, and the bits that masks may have.
    tag: u64,
    mask: u16,
    /// The number of the last commit.
    commits: AtomicU64,
    /// When the worker must run at the latest, in milliseconds since the store was opened.
    due: Deadline,
    /// Whether the worker has something to do for a single owner.
    asked: Flag,
    /// Milliseconds until more slots of leaving volumes are freed; 0 if there are none.
    free_again_in_ms: Word,
    /// Whether the store itself has left the group.
    retired: Flag,
    /// The state of its device.
    failure: fail::Failure,
    /// Whether it was logged that no segment could be formatted.
    unformatted: Flag,
    /// Whether it was logged that the store is full.
    full: Flag,
    #[pin]
    queues: SpinLockIrq<queue::Queues>,
    /// The header as it is on disk. Held across I/O, including that of owners; no other lock is
    /// taken under it.
    #[pin]
    header: Mutex<Header>,
    /// The event count in that header; set under its lock.
    known_events: Word,
    /// Entry sectors. Held across I/O; no other lock is taken under it.
    #[pin]
    entries: Mutex<Bufio>,
    /// What one round of a commit writes.
    #[pin]
    batch: Mutex<KVec<commit::Change>>,
}

impl Job for Store {
    const NAME: &'static CStr = c"dm-svol-store";

    fn class() -> &'static JobClass {
        static CLASS: JobClass = JobClass::new();
        &CLASS
    }

    fn run(worker: &Worker<Self>) {
        worker.due.clear();
        let is_asked = worker.asked.take();
        worker.look_at_suspect();
        if worker.is_left_alone() {
            worker.end_waiting(is_asked);
            return;
        }
        worker.format_ahead();
        worker.work();
        worker.retry_full();
        worker.commit_if_due();
        worker.check_low_water();
        if is_asked {
            worker.settle_owners();
            worker.sync_owners();
        }
        worker.clear_idle_marks();
        if is_asked || worker.free_again_in_ms.get() != 0 {
            worker.free_leavers();
        }
        worker.come_again();
    }
}

impl Worker<Store> {
    /// Handles what waits for a store that has failed or left the group.
    fn end_waiting(&self, is_asked: bool) {
        self.work();
        self.retry_full();
        self.commit_if_due();
        if is_asked {
            self.settle_owners();
            self.sync_owners();
        }
    }

    /// Has the worker handle what was set in an owner. Does not sleep.
    fn ask(&self) {
        self.asked.set(true);
        self.kick();
    }

    /// Runs the worker within `ms` milliseconds, or sooner if that was already requested. Does not
    /// sleep.
    fn kick_within(&self, ms: u32) {
        let at = self.now().saturating_add(u64::from(ms));
        self.due.by(at, |at| {
            let left = at.saturating_sub(self.now());
            self.kick_in(u32::try_from(left).unwrap_or(u32::MAX));
        });
    }

    /// After [`Store::retire`], waits until its device is no longer written. Do not call it under
    /// the group's locks, which the worker may take. Sleeps.
    pub(crate) fn wait_for_end(&self) {
        self.rest_now();
    }

    /// As [`Worker::rest`].
    fn rest_now(&self) {
        self.rest();
        // Otherwise nobody would set the timer again.
        self.due.clear();
    }

    /// Schedules the next run for work that is due by a certain time.
    fn come_again(&self) {
        let free_again_in_ms = self.free_again_in_ms.get();
        if free_again_in_ms > 0 {
            self.kick_within(u32::try_from(free_again_in_ms).unwrap_or(u32::MAX));
        }
        if !self.queues.lock().full.is_empty() {
            self.kick_within(full::LOOK_MS);
        }
        if self.changes.is_dirty() {
            self.kick_within(COMMIT_MS);
        }
        if self.has_marks.is_set() {
            self.kick_within(marks::IDLE_MS);
        }
    }
}

impl Store {
    /// The entry of its device in the group table.
    pub(crate) fn entry(&self) -> usize {
        self.entry
    }

    /// Its LID.
    pub(crate) fn lid(&self) -> &Id {
        &self.lid
    }

    /// The ID of its group.
    pub(crate) fn group(&self) -> &Id {
        &self.group
    }

    /// A volume that keeps its changes here and is in the group.
    pub(crate) fn owner(&self, lid: &Id) -> Option<&Owner> {
        let mut owners = self.owners.iter();
        owners.find(|owner| owner.lid == *lid && owner.leaving.get() == leave::STAYS)
    }

    /// Whether it has anything of a volume of this name: one that is in the group, or one that left
    /// it and whose blocks or number have not been freed yet.
    pub(crate) fn has_blocks_of(&self, lid: &Id) -> bool {
        let mut owners = self.owners.iter();
        owners.any(|owner| owner.lid == *lid && owner.leaving.get() != leave::LEFT)
    }

    /// How many volumes are about to leave the group, and still have a number.
    pub(crate) fn leavers(&self) -> usize {
        let leaves = |owner: &&Owner| owner.leaving.get() == leave::LEAVES;
        self.owners.iter().filter(leaves).count()
    }

    /// The store has left the group: its device is no longer written, except by a run that is under
    /// way. Does not sleep.
    pub(crate) fn retire(&self) {
        self.retired.set(true);
    }

    /// Whether the store has left the group.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.is_set()
    }

    /// Whether its device must no longer be written.
    fn is_left_alone(&self) -> bool {
        self.has_failed() || self.is_retired()
    }

    /// Milliseconds since it was opened.
    fn now(&self) -> u64 {
        elapsed_ms(self.opened)
    }

    /// Used slots, and all slots.
    pub(crate) fn usage(&self) -> (u64, u64) {
        (u64::from(self.slots.used()), u64::from(self.slots.total()))
    }

    /// The first sector of a slot on the device.
    pub(crate) fn slot_sector(&self, slot: u32) -> u64 {
        self.layout.slot_sector(slot)
    }

    /// The first sector on the device of a stretch that is to be written.
    pub(crate) fn run_sector(&self, run: &WriteRun) -> u64 {
        self.slot_sector(run.slot)
            .saturating_add(u64::from(run.offset))
    }

    /// Whether a flush has to wait for a commit.
    pub(crate) fn is_busy(&self) -> bool {
        self.changes.is_busy()
    }

    /// Whether a write of this stretch is durable only after a commit, even if its data is.
    #[inline]
    pub(crate) fn needs_commit(&self, run: &WriteRun) -> bool {
        run.is_first || run.is_dirty || self.is_busy()
    }

    /// Volumes whose changes may be only in memory and nowhere else: those that are not logged, or
    /// not everywhere.
    pub(crate) fn unsettled(&self) -> impl Iterator<Item = &Owner> {
        self.owners
            .iter()
            .filter(|owner| !owner.has_all_on_disk() && owner.map.is_dirty())
    }

    /// Whether it is in use although some volume goes on without it. It gets what that volume wrote
    /// when the table begins anew.
    pub(crate) fn has_unlogged(&self) -> bool {
        !self.has_failed() && self.owners.iter().any(Owner::is_unlogged)
    }

    fn disk(&self) -> Result<&Disk> {
        self.members.disk(self.entry).ok_or(ENXIO)
    }

    fn device(&self) -> Result<&Device> {
        Ok(&self.disk()?.device)
    }
}
