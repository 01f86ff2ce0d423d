// SPDX-License-Identifier: GPL-2.0

//! The group table: every entry of a group, its state, and what follows from that.
//!
//! A [`GroupTable`] is a snapshot. A change of the group produces a new one, which contains the
//! metadata of the next generation. The caller commits that metadata and only then replaces the old
//! table by the new one, so nothing takes effect before it is durable.
//!
//! Entries are identified by their index in the table line.

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
// What its suites share would be unused if KUnit is a module: then there are none.
#[cfg(any(test, CONFIG_KUNIT = "y"))]
mod table_tests;
mod verify;

pub use add::{
    AddError,
    NewEntry, //
};
pub use attributes::AttrError;
pub use bind::{
    BindError,
    BoundTable, //
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
    /// What is, or will be, on the metadata devices; its records are in the order of the table
    /// line, including entries removed since it was loaded, followed by entries added since.
    metadata: Metadata,
    /// Whether in-place volumes may be written without a log.
    allow_unprotected: bool,
    /// No metadata copy could be written when a change of this table was to be committed.
    is_unwritable: bool,
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

    /// Takes over the metadata as it was committed: the commit itself may have found that a copy is
    /// lost, and may have needed another generation.
    pub fn set_metadata(&mut self, committed: Metadata) {
        self.metadata = committed;
    }

    /// A change of this table could not be committed, since no copy can be written. Returns whether
    /// that is new. It ends with the next commit: the table that follows begins without it.
    pub fn set_unwritable(&mut self) -> bool {
        !core::mem::replace(&mut self.is_unwritable, true)
    }

    /// The number of metadata copies that can be written, as far as is known.
    fn writable_copies(&self) -> usize {
        match self.is_unwritable {
            true => 0,
            false => self.head().copies.live_count(),
        }
    }

    /// Takes over the sequence that a failed commit reached; for [`GroupTable::instead_of`].
    pub fn set_sequence(&mut self, sequence: u64) {
        self.metadata.head.sequence = sequence;
    }

    /// Whether the creation of the group is not complete yet; see [`GroupTable::activated`].
    pub fn is_initialising(&self) -> bool {
        self.metadata.head.phase == Phase::Initialising
    }

    /// All entries in the order of the table line, including those that left the group; then those
    /// that have joined it since.
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
            // Usually it is its own, and no search is needed.
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

    /// What matters for the I/O of this entry, except where it has [`GroupTable::regions`]. `None`
    /// if there is no such entry.
    ///
    /// Before a write is let through to a disk, it must be recorded durably that it may come: see
    /// [`GroupTable::with_unprotected`].
    pub fn view(&self, entry: usize) -> Option<VolumeView> {
        let volume = self.volume(entry)?;
        let disk = self.disk_of(entry);
        if self.has_regions(entry) && self.log(volume) != Log::Works {
            // Some of its data is gone, and there its disk has something else.
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
