// SPDX-License-Identifier: GPL-2.0

//! A volume that keeps its changes in the store: what is known of it, and how it begins.

use super::{
    errand::Errand,
    fill::Fill,
    leave,
    losses::Losses,
    moving::Move,
    patience::Disks, //
};
use crate::{
    env::Word,
    errors::Views,
    members::EntryCell,
    svol_core::{
        block_map::{
            BlockMap,
            Kind, //
        },
        flag::Flag,
        grace::Grace,
        group::GroupTable,
        id::Id,
        intents::Intents,
        log_mode::{
            Event,
            Mode,
            ModeCell, //
        },
        redos::Redos,
        route::Home,
        store::{
            OwnerRecord,
            StoredOwner, //
        },
        write_locks::WriteLocks, //
    },
};
use kernel::{
    cpu::nr_cpu_ids,
    prelude::*, //
};

/// A volume that keeps its changes in the store.
pub(crate) struct Owner {
    /// Its LID.
    pub(crate) lid: Id,
    /// Its number on disk.
    pub(crate) number: u16,
    /// Its blocks.
    pub(crate) map: BlockMap,
    /// I/Os that rely on the map. Per owner, so that an owner whose disk does not answer does not
    /// delay the others.
    pub(crate) grace: Grace,
    /// Sub-blocks that are being written, if it is logged.
    pub(crate) locks: WriteLocks,
    /// Where its disk and the store may differ after a crash, if it is logged.
    pub(crate) intents: Option<Intents>,
    /// Whether there may be marks on disk that are cleared here.
    pub(super) has_old_marks: Flag,
    /// The entry of its disk if it is logged, or of the disk that is being filled for it; else
    /// none.
    pub(super) disk: EntryCell,
    /// Whether it is in place, except for some regions that are diverted.
    regions: Flag,
    /// See [`super::fill`].
    pub(super) fill: Fill,
    /// See [`super::moving`].
    pub(super) moving: Move,
    /// Whether its entries must stay; see [`Owner::keep_entries`].
    keeps_entries: Flag,
    /// See [`super::in_place`].
    pub(super) settling: Errand,
    /// How many I/Os its disk had completed when idle marks were last looked for.
    pub(super) answers: Word,
    /// See [`super::patience`].
    pub(super) disks: Disks,
    /// See [`super::losses`].
    pub(super) losses: Losses,
    /// See [`super::redo`].
    pub(super) redos: Redos,
    /// Where its writes go, if it is logged.
    mode: ModeCell,
    /// It is being suspended, and its writes must not wait for space.
    suspending: Flag,
    /// Its record in the owner table when the store was opened.
    pub(super) record: OwnerRecord,
    /// How often that record has been written since, or may have been.
    pub(super) record_writes: Word,
    /// Whether it is leaving the group; see [`leave`].
    pub(super) leaving: Word,
    /// How many of its blocks have been freed already.
    pub(super) freed: Word,
}

/// The disk of an owner when the store is opened.
struct Start {
    /// As in [`Owner`].
    disk: Option<usize>,
    fill: Fill,
    moving: Move,
    mode: Mode,
    /// Its marked regions are compared, or copied again, before the volume is used.
    are_marks_due: bool,
}

impl Start {
    /// What the group table says of the entry `entry`, if the owner is in the group.
    fn new(table: &GroupTable, entry: Option<usize>) -> Self {
        let writes = entry.and_then(|entry| Some(table.view(entry)?.writes));
        let rebuild = entry.and_then(|entry| table.rebuild_of(entry));
        let cursor = rebuild.map_or(0, |rebuild| rebuild.cursor);
        match writes {
            Some(Home::Logged(disk)) => {
                let volume = table.volume(disk);
                let is_unprotected = volume.is_some_and(|volume| volume.state.unprotected);
                Self {
                    disk: Some(disk),
                    fill: Fill::new(true, 0),
                    moving: Move::new(rebuild.map(|rebuild| rebuild.target), cursor),
                    // What the log lacks is found by comparing it with the disk, in the background.
                    mode: match is_unprotected {
                        true => Mode::Behind,
                        false => Mode::Both,
                    },
                    are_marks_due: !is_unprotected,
                }
            }
            Some(Home::Kept) => Self {
                disk: rebuild.map(|rebuild| rebuild.target),
                fill: Fill::new(false, cursor),
                moving: Move::none(),
                mode: Mode::Store,
                are_marks_due: cursor > 0,
            },
            _ => Self {
                disk: None,
                fill: Fill::new(false, 0),
                moving: Move::none(),
                mode: Mode::Both,
                are_marks_due: false,
            },
        }
    }
}

impl Owner {
    /// Adds one to `owners` that was found on the store's device, unless its number was released.
    /// `entry` is its index in the group table, if it is in the group; blocks have `1 << shift`
    /// sectors. An owner is large for the stack, so it is not returned.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    #[inline(never)]
    pub(super) fn open(
        stored: StoredOwner,
        table: &GroupTable,
        entry: Option<usize>,
        shift: u32,
        owners: &mut KVec<Self>,
    ) -> Result {
        let StoredOwner {
            record,
            map,
            intents,
        } = stored;
        let (Some(owner), Some(map)) = (record.owner, map) else {
            return Ok(());
        };
        let start = Start::new(table, entry);
        if let Some(intents) = intents.as_ref().filter(|_| start.are_marks_due) {
            // Until they are resolved, they do not count as idle, nor the disk as in step.
            intents.pin_marked();
        }
        let has_regions = entry.is_some_and(|entry| table.has_regions(entry));
        let is_written = entry
            .and_then(|entry| table.volume(table.disk_of(entry)?))
            .is_some_and(|disk| !disk.state.pristine);
        let leaves = entry.is_none() && owner.removing;
        let owner = Self {
            lid: owner.lid,
            number: record.number,
            map,
            grace: Grace::new(nr_cpu_ids()),
            locks: WriteLocks::new(shift)?,
            intents,
            has_old_marks: Flag::new(false),
            disk: EntryCell::new(start.disk),
            regions: Flag::new(has_regions),
            fill: start.fill,
            moving: start.moving,
            // A disk that is being filled for it may get what the store has of its regions.
            keeps_entries: Flag::new(is_written || has_regions),
            settling: Errand::new(),
            answers: Word::new(u64::MAX),
            disks: Disks::new(),
            losses: Losses::new(),
            redos: Redos::new(),
            mode: ModeCell::new(start.mode),
            suspending: Flag::new(false),
            record,
            record_writes: Word::new(0),
            leaving: Word::new(if leaves { leave::LEAVES } else { leave::STAYS }),
            freed: Word::new(0),
        };
        owners.push(owner, GFP_KERNEL)?;
        Ok(())
    }

    /// Where its writes go, if it is logged.
    pub(crate) fn mode(&self) -> Mode {
        self.mode.get()
    }

    /// Changes to another mode, if possible. See [`ModeCell::advance`].
    pub(crate) fn advance(&self, _: &Views<'_>, event: Event) -> Option<Mode> {
        self.mode.advance(event)
    }

    /// Whether it is written without a log now.
    pub(crate) fn is_unlogged(&self) -> bool {
        self.mode() == Mode::Disk
    }

    /// Whether it has a log that lacks some of its earlier writes.
    pub(crate) fn is_behind(&self) -> bool {
        self.mode() == Mode::Behind
    }

    /// The entry of its disk, if it is logged, or of the disk that is being filled for it.
    pub(super) fn disk(&self) -> Option<usize> {
        self.disk.get()
    }

    /// The entry of its own disk, if it is logged.
    pub(crate) fn own_disk(&self) -> Option<usize> {
        self.disk().filter(|_| self.is_on_disk())
    }

    /// Whether all that it wrote is on a disk of its own.
    pub(super) fn is_on_disk(&self) -> bool {
        self.disk().is_some() && self.fill.is_whole()
    }

    /// As [`Owner::is_on_disk`], and none of its regions is diverted.
    pub(super) fn has_all_on_disk(&self) -> bool {
        self.is_on_disk() && !self.has_regions()
    }

    /// It is logged, and the disk of this entry is its own; or it is no longer logged.
    pub(crate) fn set_disk(&self, views: &Views<'_>, disk: Option<usize>) {
        // The old disk may have begun to fail a moment ago. Nobody would end that for this volume.
        let _ = self.advance(views, Event::DiskIsLeft);
        self.disks.lose(self.disk());
        self.disk.set(disk);
        // These were writes to another disk.
        self.losses.forget_disk();
        self.fill.set_whole(disk.is_some());
    }

    /// Whether some regions of it are diverted while the rest is in place.
    pub(crate) fn has_regions(&self) -> bool {
        self.regions.is_set()
    }

    /// Sets whether it has such regions from now on.
    pub(crate) fn set_has_regions(&self, has_regions: bool) {
        self.regions.set(has_regions);
    }

    /// Whether its entries have to stay: wherever there is an entry, its own disk may hold
    /// something other than the base image.
    pub(super) fn keeps_entries(&self) -> bool {
        self.keeps_entries.is_set()
    }

    /// Its entries have to stay from now on.
    pub(crate) fn keep_entries(&self) {
        self.keeps_entries.set(true);
    }

    /// Whether it is being suspended, so that its writes must not wait for space.
    pub(super) fn is_suspending(&self) -> bool {
        self.suspending.is_set()
    }

    /// Sets [`Owner::is_suspending`].
    pub(crate) fn set_suspending(&self, suspending: bool) {
        self.suspending.set(suspending);
    }

    /// Whether disk and store may differ somewhere: then the store does not have all that another
    /// disk needs.
    pub(crate) fn may_differ(&self) -> bool {
        let intents = self.intents.as_ref();
        intents.is_none_or(|intents| intents.pinned().next().is_some())
    }

    /// Whether data of the disk may be read from increments and siblings instead. Not where the disk
    /// may hold a write that failed because of the store: what a read has shown stays.
    pub(crate) fn may_read_past(&self, sector: u64, sectors: u32) -> bool {
        let lacks = self.is_lacking();
        let is_apart = |intents: &Intents| {
            intents.is_open(sector, sectors) || (lacks && intents.is_pinned_in(sector, sectors))
        };
        self.mode().is_logged() && !self.intents.as_ref().is_some_and(is_apart)
    }

    /// Whether the disk of this entry is its own and holds the base image here. Call it under the
    /// write locks of these sectors. Stays true while they are held and its mode does not change.
    pub(crate) fn disk_has_base(&self, entry: usize, sector: u64, sectors: u32) -> bool {
        let run = self.map.read_run(sector, sectors);
        self.is_in_step(entry, sector, sectors) && run.kind == Kind::Base && run.sectors == sectors
    }

    /// Whether the disk of this entry is its own, and disk and store are in sync. Same conditions
    /// as [`Owner::disk_has_base`].
    pub(crate) fn is_in_step(&self, entry: usize, sector: u64, sectors: u32) -> bool {
        // First: what has failed by then is pinned.
        let has_redos = self.has_redos(sector, sectors);
        let is_apart = self.intents.as_ref().is_none_or(|intents| {
            intents.is_open(sector, sectors) || intents.is_pinned_in(sector, sectors)
        });
        !has_redos
            && self.mode() == Mode::Both
            && self.filled(sector, sectors) == (sectors, Some(entry))
            && !is_apart
    }
}
