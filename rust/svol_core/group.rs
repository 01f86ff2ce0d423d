// SPDX-License-Identifier: GPL-2.0

//! The group table: every entry of a group, how it fares, and what follows from that.
//!
//! A [`GroupTable`] is a snapshot. What changes the group gives a new one, with the metadata of
//! the next generation in it. The caller commits that metadata and only then puts the new table
//! in the place of the old one, so nothing takes effect before it is durable.
//!
//! Entries are known by their index in the table line.

mod add;
mod attributes;
mod bind;
mod change;
mod fail;
mod judge;
mod rebuild;
mod regions;
mod remove;
mod report;
pub mod states;
#[cfg(any(test, CONFIG_KUNIT))]
mod table_tests;
mod verify;

pub use add::{
    AddError,
    NewEntry, //
};
pub use attributes::AttrError;
pub use bind::{
    BindError,
    Bound, //
};
pub use fail::{
    FailError,
    Fates, //
};
pub use rebuild::{
    Rebuild,
    RestoreError,
    TargetFlaw, //
};
pub use remove::RemoveError;
pub use report::Counters;
pub use verify::Verification;

use super::{
    id::Id,
    meta::{
        Head,
        Metadata,
        Phase,
        VolumeRecord, //
    },
    route::{
        Log,
        VolumeView, //
    }, //
};

/// A group table.
#[derive(Debug, PartialEq)]
pub struct GroupTable {
    /// What is, or is to be, on the metadata devices; its records are in the order of the table
    /// line, with those of entries that were removed since it was loaded, and behind them those that
    /// were added.
    metadata: Metadata,
    /// Whether in-place volumes may be written without a log.
    allow_unprotected: bool,
}

impl GroupTable {
    /// The ID of the group.
    pub fn id(&self) -> &Id {
        &self.metadata.head.group
    }

    /// The group as a whole.
    pub fn head(&self) -> &Head {
        &self.metadata.head
    }

    /// What to commit before this table takes effect.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Takes over the metadata as it was committed: the commit itself may have found that a copy
    /// is lost, and have needed another generation.
    pub fn set_metadata(&mut self, committed: Metadata) {
        self.metadata = committed;
    }

    /// Takes over how far the commit came, which failed; for [`GroupTable::instead_of`].
    pub fn set_sequence(&mut self, sequence: u64) {
        self.metadata.head.sequence = sequence;
    }

    /// Whether the making of the group is not complete yet; see [`GroupTable::activated`].
    pub fn is_initialising(&self) -> bool {
        self.metadata.head.phase == Phase::Initialising
    }

    /// All entries, in the order of the table line, those that left the group too; then those that
    /// joined it since.
    pub fn volumes(&self) -> &[VolumeRecord] {
        &self.metadata.volumes
    }

    /// Whether the entry with this index left the group; see [`GroupTable::with_removed`].
    pub fn is_removed(&self, entry: usize) -> bool {
        self.volume(entry)
            .is_some_and(|volume| volume.state.removed)
    }

    /// The entry with this index.
    pub fn volume(&self, entry: usize) -> Option<&VolumeRecord> {
        self.metadata.volumes.get(entry)
    }

    /// The index of the entry `lid`.
    pub fn position(&self, lid: &Id) -> Option<usize> {
        self.metadata.position(lid)
    }

    /// The index of the entry whose disk serves this entry's LID.
    pub fn disk_of(&self, entry: usize) -> Option<usize> {
        let volume = self.volume(entry)?;
        match volume.disk? {
            // Mostly it is its own, and there is nothing to look for.
            disk if disk == volume.lid => Some(entry),
            disk => self.position(&disk),
        }
    }

    /// The index of the volume that the disk of this entry serves.
    pub fn served_by(&self, disk: usize) -> Option<usize> {
        let lid = self.volume(disk)?.lid;
        let mut volumes = self.volumes().iter();
        volumes.position(|volume| volume.attr.is_volume() && volume.disk == Some(lid))
    }

    /// What of this entry matters to its I/O, but where it has [`GroupTable::regions`]. `None` if
    /// there is no such entry.
    ///
    /// Whoever lets a write through to a disk has made it known before, and durable, that it may
    /// come: see [`GroupTable::with_unprotected`].
    pub fn view(&self, entry: usize) -> Option<VolumeView> {
        let volume = self.volume(entry)?;
        let disk = self.disk_of(entry);
        if self.has_regions(entry) && self.log(volume) != Log::Works {
            // Some of its data is gone, and where that was, its disk has something else.
            return Some(VolumeView::NOWHERE);
        }
        Some(VolumeView::new(
            volume.attr,
            volume.health,
            disk,
            self.log(volume),
            self.allow_unprotected,
        ))
    }

    /// The index of the increments entry of this entry, if its device works.
    pub fn store_of(&self, entry: usize) -> Option<usize> {
        let volume = self.volume(entry)?;
        let store = change::store_of(volume, self.volumes())?;
        self.position(&store.lid)
    }
}
