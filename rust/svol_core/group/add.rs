// SPDX-License-Identifier: GPL-2.0

//! Entries join the group.
//!
//! From then on, they are in the metadata, and every table line has to list them; they come into
//! use when such a line is loaded, since devices come with lines. The content of their devices does
//! not count: a volume's disk is filled as if the volume had lost its disk, and an increments
//! volume has to be blank.

use super::GroupTable;
use crate::{
    env::AllocError,
    svol_core::{
        attr::Attr,
        health::Health,
        id::Id,
        meta::{
            DiskState,
            RebuildRecord,
            VolumeRecord, //
        },
        table_line::MAX_VOLUMES,
        vec::try_copy, //
    },
};
use core::fmt;

/// An entry that is to join the group.
#[derive(Clone, Copy, Debug)]
pub struct NewEntry {
    /// Its LID.
    pub lid: Id,
    /// Its role.
    pub attr: Attr,
    /// The increments entry that takes its changes.
    pub rlid: Option<Id>,
    /// It has a disk of its own.
    pub has_disk: bool,
}

/// Why an entry can't join the group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AddError {
    /// Memory ran out.
    NoMemory,
    /// The group has an entry with this LID.
    Known,
    /// An entry with this LID left the group, but the live table still has it.
    Left,
    /// The group has the maximum number of entries.
    TooMany,
    /// Only a diverted volume can be without a disk.
    NoDisk,
    /// Without an increments volume, it could not be written before its disk is filled.
    NoIncrements,
    /// There is no increments entry with this LID.
    Rlid(Id),
    /// That increments volume failed.
    StoreFailed(Id),
    /// No disk is left that has the base image.
    NoSource,
}

impl From<AllocError> for AddError {
    fn from(_: AllocError) -> Self {
        Self::NoMemory
    }
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("out of memory"),
            Self::Known => f.write_str("the group has such an entry"),
            Self::Left => {
                f.write_str("an entry of this name left the group, load the group's table first")
            }
            Self::TooMany => write!(f, "the group has {MAX_VOLUMES} entries, which is the most"),
            Self::NoDisk => {
                f.write_str("device: only an ro volume with an RLID can be without one")
            }
            Self::NoIncrements => f.write_str("RLID: an rw volume needs one"),
            Self::Rlid(rlid) => write!(f, "RLID {rlid}: no increments volume of the group"),
            Self::StoreFailed(rlid) => write!(f, "RLID {rlid}: it failed"),
            Self::NoSource => f.write_str("no disk is left that has the base image"),
        }
    }
}

impl GroupTable {
    /// The group with one more entry, after all others.
    ///
    /// # Errors
    ///
    /// See [`AddError`].
    #[inline(never)]
    pub fn with_added(&self, new: &NewEntry) -> Result<Self, AddError> {
        self.check_added(new)?;
        let is_filled = new.attr.is_volume() && new.has_disk;
        let record = VolumeRecord {
            lid: new.lid,
            attr: new.attr,
            rlid: new.rlid,
            disk: (!new.attr.is_volume()).then_some(new.lid),
            health: match new.attr {
                Attr::Spare => Health::Spare,
                _ if is_filled => Health::Rebuilding,
                _ => Health::InSync,
            },
            state: DiskState::default(),
            // Unknown until the disk is here.
            disk_sectors: 0,
            failed_at: 0,
        };
        let metadata = self.metadata();
        let mut volumes = try_copy(&metadata.volumes, 1)?;
        volumes.try_push(record)?;
        let mut rebuilds = try_copy(&metadata.rebuilds, 1)?;
        if is_filled {
            rebuilds.try_push(RebuildRecord {
                lid: new.lid,
                target: new.lid,
                cursor: 0,
            })?;
        }
        let mut next = self.next_state()?;
        next.metadata.volumes = volumes;
        next.metadata.rebuilds = rebuilds;
        let entry = next.position(&new.lid).ok_or(AddError::Known)?;
        match new.attr.is_volume() && !next.is_served(entry) {
            true => Err(AddError::NoSource),
            false => Ok(next),
        }
    }

    fn check_added(&self, new: &NewEntry) -> Result<(), AddError> {
        let has_it = |volume: &&VolumeRecord| volume.lid == new.lid;
        if let Some(known) = self.volumes().iter().find(has_it) {
            return Err(match known.state.removed {
                true => AddError::Left,
                false => AddError::Known,
            });
        }
        if self.members().count() >= MAX_VOLUMES {
            return Err(AddError::TooMany);
        }
        let is_clone = new.attr == Attr::Ro && new.rlid.is_some();
        if !new.has_disk && !is_clone {
            return Err(AddError::NoDisk);
        }
        let Some(rlid) = new.rlid else {
            return match new.attr {
                Attr::Rw => Err(AddError::NoIncrements),
                _ => Ok(()),
            };
        };
        let store = self
            .metadata()
            .members()
            .find(|store| store.lid == rlid && store.attr == Attr::Increments)
            .filter(|_| new.attr.is_volume())
            .ok_or(AddError::Rlid(rlid))?;
        match store.state.failed || store.disk.is_none() {
            true => Err(AddError::StoreFailed(rlid)),
            false => Ok(()),
        }
    }

    /// The increments volumes that joined the group and hold no store yet.
    pub fn new_stores(&self) -> impl Iterator<Item = usize> + '_ {
        let is_new = |volume: &VolumeRecord| {
            volume.attr == Attr::Increments && !volume.state.formatted && !volume.state.failed
        };
        // In a group that is being created, stores are made with it.
        let is_active = !self.is_initialising();
        self.members()
            .filter(move |(_, volume)| is_active && is_new(volume))
            .map(|(entry, _)| entry)
    }

    /// The increments volumes that come into use with the next start: those that failed before, and
    /// the [`GroupTable::new_stores`].
    pub fn stores_to_open(&self) -> impl Iterator<Item = usize> + '_ {
        Iterator::chain(self.awaited_stores(), self.new_stores())
    }

    /// Whether the increments volume of this entry is one of the [`GroupTable::new_stores`].
    pub fn is_new_store(&self, entry: usize) -> bool {
        self.new_stores().any(|new| new == entry)
    }
}
