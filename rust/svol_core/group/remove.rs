// SPDX-License-Identifier: GPL-2.0

//! Entries leave the group.

use super::{
    change,
    rebuild,
    GroupTable, //
};
use crate::{
    env::{
        AllocError,
        Vec, //
    },
    svol_core::{
        attr::Attr,
        health::Health,
        id::Id,
        meta::{
            DiskState,
            Metadata,
            RebuildRecord,
            RegionRecord,
            VolumeRecord, //
        },
        vec::try_collect, //
    },
};
use core::fmt;

/// Why an entry can't leave the group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RemoveError {
    /// Memory ran out.
    NoMemory,
    /// There is no such entry.
    Unknown,
    /// No volume would be left.
    Last,
    /// It keeps the changes of this volume.
    Keeps(Id),
    /// Its disk serves this volume.
    Serves(Id),
    /// It is being rebuilt, or its disk is being filled for this volume.
    Rebuilding(Id),
    /// The remaining entries could not serve this volume.
    Needed(Id),
}

impl From<AllocError> for RemoveError {
    fn from(_: AllocError) -> Self {
        Self::NoMemory
    }
}

impl fmt::Display for RemoveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("out of memory"),
            Self::Unknown => f.write_str("the group has no such entry"),
            Self::Last => f.write_str("it is the last volume of the group"),
            Self::Keeps(lid) => write!(f, "it keeps the changes of {lid}"),
            Self::Serves(lid) => write!(f, "its disk serves {lid}"),
            Self::Rebuilding(lid) => write!(f, "{lid} is being rebuilt"),
            Self::Needed(lid) => write!(f, "without it, no disk is left that can serve {lid}"),
        }
    }
}

impl GroupTable {
    /// The group without an entry. The entry keeps its index until another table is loaded, but can
    /// no longer be found by its LID.
    ///
    /// # Errors
    ///
    /// See [`RemoveError`].
    #[inline(never)]
    pub fn with_removed(&self, lid: &Id) -> Result<Self, RemoveError> {
        let entry = self.position(lid).ok_or(RemoveError::Unknown)?;
        // A line without any volume would be refused.
        let is_other = |other: &&VolumeRecord| other.attr.is_volume() && other.lid != *lid;
        if !self.metadata().members().any(|volume| is_other(&volume)) {
            return Err(RemoveError::Last);
        }
        for volume in self.metadata().members().filter(|v| v.lid != *lid) {
            if volume.rlid == Some(*lid) {
                return Err(RemoveError::Keeps(volume.lid));
            }
            if volume.disk == Some(*lid) {
                return Err(RemoveError::Serves(volume.lid));
            }
        }
        // The disk of an added entry is not here yet, so nobody is filling it.
        let is_filled = self.volume(entry).is_some_and(|v| v.disk_sectors > 0);
        let in_the_way = |rebuild: &&RebuildRecord| match rebuild.lid == *lid {
            true => is_filled,
            false => rebuild.target == *lid,
        };
        if let Some(rebuild) = self.metadata().rebuilds.iter().find(in_the_way) {
            return Err(RemoveError::Rebuilding(rebuild.lid));
        }
        let regions = other_regions(self.metadata(), lid)?;
        let next = self.changed(|metadata| {
            metadata.regions = regions;
            rebuild::stop(metadata, entry);
            remove(metadata, entry)
        })?;
        let next = next.ok_or(RemoveError::Unknown)?;
        match self.first_to_lose(&next) {
            Some(other) => Err(RemoveError::Needed(other)),
            None => Ok(next),
        }
    }
}

/// Turns a record into one that is no longer part of the group.
fn remove(metadata: &mut Metadata, entry: usize) -> bool {
    let Some(volume) = metadata.volumes.get_mut(entry) else {
        return false;
    };
    let disk = volume.disk;
    volume.attr = Attr::Spare;
    volume.rlid = None;
    volume.disk = None;
    volume.health = Health::Spare;
    volume.state = DiskState {
        removed: true,
        ..DiskState::default()
    };
    // A disk of another entry that served it is free again.
    if let Some(disk) = disk {
        change::free_disk(metadata, &disk);
    }
    true
}

fn other_regions(metadata: &Metadata, lid: &Id) -> Result<Vec<RegionRecord>, AllocError> {
    let others = metadata.regions.iter().filter(|region| region.lid != *lid);
    try_collect(metadata.regions.len(), others.copied())
}
