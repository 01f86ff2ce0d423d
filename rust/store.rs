// SPDX-License-Identifier: GPL-2.0

//! An increments store in use: what its owners share.
//!
//! The way of a write is in [`crate::overlay`]. A [`Worker`](crate::dm::worker::Worker) runs what
//! has to sleep: commits, the formatting of segments, and writes that can't be done in one step.
//!
//! # Order
//!
//! Data is durable before the entry that names it, an entry before the flush that waited for it is
//! answered, and the freeing of a slot before the slot is used again; see
//! Documentation/on-disk-format.rst.

mod commit;
mod compare;
mod disks;
mod fail;
mod fill;
mod format;
mod full;
mod in_place;
mod leave;
mod load;
mod logged;
mod moving;
mod patience;
mod slow;

pub(crate) use {
    compare::CompareError,
    fill::CopyError,
    format::make,
    load::{
        find,
        find_again,
        new_header,
        probe,
        seen_events,
        Found,
        Link, //
    }, //
};

use crate::{
    bound::{
        Bound,
        InFlight, //
    },
    dm::{
        Bufio,
        Device,
        Job,
        JobClass,
        ParkedList,
        Worker, //
    },
    env::{
        AtomicU64,
        Word, //
    },
    group::Group,
    members::{
        Disk,
        EntryCell,
        Members, //
    },
    svol_core::{
        block_map::{
            BlockMap,
            WriteRun, //
        },
        changes::{
            Changes,
            Told, //
        },
        deadline::Deadline,
        grace::Grace,
        id::Id,
        intents::Intents,
        log_mode::{
            Event,
            Mode,
            ModeCell, //
        },
        slots::Slots,
        store::{
            Header,
            Layout,
            OwnerRecord, //
        },
        table_line::OnFull,
        write_locks::WriteLocks, //
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

/// The longest time between a write and the commit that makes it last, in milliseconds.
const COMMIT_MS: u32 = 1000;

/// The disk of a volume may have lost what it wrote: who asks for a flush next is told.
const LOST: u64 = 1;
/// It may have, but it fails, and the store has all: nobody need know unless it is kept.
const LOST_IF_KEPT: u64 = 2;

/// A volume that keeps its changes in the store.
pub(crate) struct Owner {
    /// Its LID.
    pub(crate) lid: Id,
    /// Its number on disk.
    pub(crate) number: u16,
    /// Its blocks.
    pub(crate) map: BlockMap,
    /// I/Os that rely on them. Of each owner: one whose disk does not answer keeps no other waiting.
    pub(crate) grace: Grace,
    /// Sub-blocks that are being written, if it is logged.
    pub(crate) locks: WriteLocks,
    /// Where its disk and the store may differ after a crash, if it is logged.
    pub(crate) intents: Option<Intents>,
    /// 1 if there may be marks on disk that are taken back here.
    has_old_marks: Word,
    /// The entry of its disk, if it is logged, or of the disk that is being filled for it; else none.
    disk: EntryCell,
    /// 1 if it is in place, but for some regions that are diverted.
    regions: Word,
    /// See [`fill`].
    fill: fill::Fill,
    /// See [`moving`].
    moving: moving::Move,
    /// 1 if its entries have to stay; see [`Owner::keep_entries`].
    keeps_entries: Word,
    /// Whether somebody waits for its marks to be cleared; see [`in_place`].
    clearing: Word,
    /// So many answers its disk had given when idle marks were looked for last.
    answers: Word,
    /// See [`patience`].
    disks: patience::Disks,
    /// Whether a flush of its disk failed that nobody had asked for: [`LOST`], [`LOST_IF_KEPT`], or 0.
    lost_writes: Word,
    /// What its users were told of what the store may have lost.
    told: Told,
    /// Where its writes go, if it is logged.
    mode: ModeCell,
    /// 1 while it is being suspended and its writes must not wait for space.
    suspending: Word,
    /// What the owner table said when the store was opened.
    record: OwnerRecord,
    /// How often that was written since, or may have been.
    record_writes: Word,
    /// Whether it leaves the group; see [`leave`].
    leaving: Word,
    /// So many of its blocks are given back already.
    given_back: Word,
}

impl Owner {
    /// Where its writes go, if it is logged.
    pub(crate) fn mode(&self) -> Mode {
        self.mode.get()
    }

    /// Goes to another mode, if that can be; for one caller at a time. See [`ModeCell::advance`].
    pub(crate) fn advance(&self, event: Event) -> Option<Mode> {
        self.mode.advance(event)
    }

    /// Whether it is written without a log by now.
    pub(crate) fn is_unlogged(&self) -> bool {
        self.mode() == Mode::Disk
    }

    /// Whether it has a log that lacks something it wrote before.
    pub(crate) fn is_behind(&self) -> bool {
        self.mode() == Mode::Behind
    }

    /// Whether its disk may have lost what it wrote, which nobody was told yet; from now on somebody was.
    /// Does not sleep.
    pub(crate) fn tell_lost_writes(&self) -> bool {
        self.lost_writes.get() == LOST && self.lost_writes.replace(LOST, 0).is_ok()
    }

    /// Whether its disk may have lost what it wrote, which nobody was told yet.
    pub(crate) fn has_lost_writes(&self) -> bool {
        self.lost_writes.get() != 0
    }

    /// Its disk, if it has one of its own, has lost what it wrote. Does not sleep.
    pub(crate) fn lose_writes(&self) {
        if self.is_on_disk() {
            self.lost_writes.set(LOST);
        }
    }

    /// Its disk stays in use although it failed: what that has lost is lost. Does not sleep.
    pub(crate) fn disk_is_kept(&self) {
        let _ = self.lost_writes.replace(LOST_IF_KEPT, LOST);
    }

    /// What the store lost before this table was loaded is still to be told. Does not sleep.
    pub(crate) fn forget_told(&self) {
        self.told.forget();
    }

    /// Whether a disk of its own has all that it wrote.
    fn has_all_on_disk(&self) -> bool {
        self.is_on_disk() && !self.has_regions()
    }

    /// It is being suspended, or no longer, and its writes must not wait for space meanwhile.
    pub(crate) fn set_suspending(&self, suspending: bool) {
        self.suspending.set(u64::from(suspending));
    }
}

/// Bios that the worker has to see to.
struct Queues {
    /// Writes that can't be done in one step.
    slow: ParkedList<Bound, InFlight>,
    /// Writes for which there is no space.
    full: ParkedList<Bound, InFlight>,
    /// Flushes, and writes that are done, which wait for a commit.
    waiting: ParkedList<Bound, InFlight>,
}

/// A store.
#[pin_data]
pub(crate) struct Store {
    members: Arc<Members>,
    /// Its group; ends with the live table.
    home: Arc<Group>,
    /// Its entry in the group table.
    entry: usize,
    group: Id,
    lid: Id,
    layout: Layout,
    on_full: OnFull,
    /// Slots that have to be free, or an event is raised.
    low_water: u32,
    /// 1 after it was.
    is_low: Word,
    /// Other times are counted from here.
    opened: Instant<Monotonic>,
    /// Which slots are free.
    pub(crate) slots: Slots,
    /// Its owners.
    pub(crate) owners: KVec<Owner>,
    /// Changes of block maps that are not on disk yet.
    changes: Changes,
    /// When idle marks were looked for last.
    #[pin]
    marks_looked_at: Mutex<Instant<Monotonic>>,
    /// 1 if there may be marks.
    has_marks: Word,
    /// Its sectors' tag, and which bits masks may have.
    tag: u64,
    mask: u16,
    /// The number of the last commit.
    commits: AtomicU64,
    /// By when the worker has to run, in milliseconds since the store was opened.
    due: Deadline,
    /// 1 if the worker has something to do for some owner alone.
    asked: Word,
    /// In so many milliseconds more slots of volumes that leave are given back; 0 if there are none.
    give_back_in: Word,
    /// 1 after it left the group itself.
    retired: Word,
    /// What is known of its device.
    failure: fail::Failure,
    /// 1 after the log has said that no segment could be formatted.
    unformatted: Word,
    /// 1 after the log has said that it is full.
    full: Word,
    #[pin]
    queues: SpinLockIrq<Queues>,
    /// The header as it is on disk. Held across I/O, also that of owners; no other lock is taken
    /// under it.
    #[pin]
    header: Mutex<Header>,
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
        let is_asked = worker.asked.swap(0) != 0;
        let losses = worker.changes.losses();
        worker.look_at_suspect();
        if worker.is_left_alone() {
            worker.end_waiting(is_asked, losses);
            return;
        }
        worker.format_ahead();
        worker.work();
        worker.retry_full();
        worker.commit_if_due(losses);
        worker.check_low_water();
        if is_asked {
            worker.settle_owners();
            worker.sync_owners();
        }
        worker.clear_idle_marks();
        if is_asked || worker.give_back_in.get() != 0 {
            worker.give_back();
        }
        worker.come_again();
    }
}

impl Worker<Store> {
    /// Sees to what waits for a store that has failed, or left the group.
    fn end_waiting(&self, is_asked: bool, losses: u64) {
        self.work();
        self.retry_full();
        self.commit_if_due(losses);
        if is_asked {
            self.settle_owners();
            self.sync_owners();
        }
    }

    /// Has the worker look at what was set in an owner. Does not sleep.
    fn ask(&self) {
        self.asked.set(1);
        self.kick();
    }

    /// Lets it run within so many milliseconds, or sooner if that was asked for before. Does not sleep.
    fn kick_within(&self, ms: u32) {
        let at = self.now().saturating_add(u64::from(ms));
        self.due.by(at, |at| {
            let left = at.saturating_sub(self.now());
            self.kick_in(u32::try_from(left).unwrap_or(u32::MAX));
        });
    }

    /// Waits until its device is not written any more, after [`Store::retire`]. Not under the group's locks,
    /// which a run may take. Sleeps.
    pub(crate) fn wait_for_end(&self) {
        self.rest_now();
    }

    /// As [`Worker::rest`].
    fn rest_now(&self) {
        self.rest();
        // Or nobody would set the timer again.
        self.due.clear();
    }

    /// Comes again for what has to be done by some time.
    fn come_again(&self) {
        let give_back_in = self.give_back_in.get();
        if give_back_in > 0 {
            self.kick_within(u32::try_from(give_back_in).unwrap_or(u32::MAX));
        }
        if !self.queues.lock().full.is_empty() {
            self.kick_within(full::LOOK_MS);
        }
        if self.changes.is_dirty() {
            self.kick_within(COMMIT_MS);
        }
        if self.has_marks.get() != 0 {
            self.kick_within(logged::IDLE_MS);
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

    /// A volume that keeps its changes here, and is in the group.
    pub(crate) fn owner(&self, lid: &Id) -> Option<&Owner> {
        let mut owners = self.owners.iter();
        owners.find(|owner| owner.lid == *lid && owner.leaving.get() == leave::STAYS)
    }

    /// Whether it has anything of a volume of this name: one that is in the group, or one that left it and
    /// whose blocks, or number, are not given back yet.
    pub(crate) fn has_blocks_of(&self, lid: &Id) -> bool {
        let mut owners = self.owners.iter();
        owners.any(|owner| owner.lid == *lid && owner.leaving.get() != leave::LEFT)
    }

    /// It left the group: its device is not written any more, but by a run that is under way. Does not sleep.
    pub(crate) fn retire(&self) {
        self.retired.set(1);
    }

    /// Whether it left the group.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.get() != 0
    }

    /// Whether its device is to be written no more.
    fn is_left_alone(&self) -> bool {
        self.has_failed() || self.is_retired()
    }

    /// Milliseconds since it was opened.
    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(0)
    }

    /// Slots taken, and all slots.
    pub(crate) fn usage(&self) -> (u64, u64) {
        (u64::from(self.slots.used()), u64::from(self.slots.total()))
    }

    /// The first sector of a slot on the device.
    pub(crate) fn slot_sector(&self, slot: u32) -> u64 {
        self.layout.slot_sector(slot)
    }

    /// The first sector of a stretch that is to be written.
    pub(crate) fn run_sector(&self, run: &WriteRun) -> u64 {
        self.slot_sector(run.slot)
            .saturating_add(u64::from(run.offset))
    }

    /// Whether a flush has to wait for a commit.
    pub(crate) fn is_busy(&self) -> bool {
        self.changes.is_busy()
    }

    /// Volumes whose changes may be in memory only and nowhere else: those that are not logged, or not
    /// everywhere.
    pub(crate) fn unsettled(&self) -> impl Iterator<Item = &Owner> {
        self.owners
            .iter()
            .filter(|owner| !owner.has_all_on_disk() && owner.map.is_dirty())
    }

    /// Such volumes whose changes the device may have lost, of which nobody was told.
    pub(crate) fn untold(&self) -> impl Iterator<Item = &Owner> {
        self.owners
            .iter()
            .filter(|owner| !owner.has_all_on_disk() && self.has_untold(owner))
    }

    /// Whether it is in use, and some volume goes on without it: it gets what that wrote when the table
    /// begins anew.
    pub(crate) fn lacks_writes(&self) -> bool {
        !self.has_failed() && self.owners.iter().any(Owner::is_unlogged)
    }

    fn disk(&self) -> Result<&Disk> {
        self.members.disk(self.entry).ok_or(ENXIO)
    }

    fn device(&self) -> Result<&Device> {
        Ok(&self.disk()?.device)
    }
}
