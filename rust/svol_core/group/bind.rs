// SPDX-License-Identifier: GPL-2.0

//! Combines a table line and metadata into a group table.

use super::{
    change,
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
            Identity,
            Metadata,
            RebuildRecord,
            VolumeRecord, //
        },
        table_line::{
            Init,
            TableLine, //
        }, //
    },
};
use core::fmt;

/// A group table that matches a line.
#[derive(Debug, PartialEq)]
pub struct BoundTable {
    /// The group table.
    pub table: GroupTable,
    /// Whether it differs from the stored metadata, so that it has to be committed before the group
    /// starts.
    pub changed: bool,
}

/// Why a line and metadata do not go together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BindError {
    /// Memory ran out.
    NoMemory,
    /// The line has another length.
    Sectors {
        /// The length that the metadata knows, in sectors.
        known: u64,
        /// The length of the line, in sectors.
        line: u64,
    },
    /// The line has another block size.
    BlockSectors {
        /// The size that the metadata knows, in sectors.
        known: u32,
        /// The size in the line, in sectors.
        line: u32,
    },
    /// The group has no such entry, or no longer has it.
    Unknown(Id),
    /// The line lacks this entry.
    Unlisted(Id),
    /// A new group needs this disk.
    NotHere(Id),
    /// The increments device is smaller than it was.
    Shrunk {
        /// The entry.
        lid: Id,
        /// Its size before, in sectors.
        known: u64,
        /// Its size now, in sectors.
        found: u64,
    },
    /// The remaining disks cannot serve this volume.
    NotServed(Id),
    /// This volume has changes in an increments volume that is missing.
    Lost(Id),
    /// The disks are to be filled from that of a volume that is not in the line.
    SourceUnknown(Id),
    /// The disks are to be filled from that of a volume that has no disk.
    SourceNotHere(Id),
    /// The other disks are to be filled from that of a volume that may be written meanwhile.
    SourceIsWritten(Id),
    /// A disk is to be filled for a volume that has nowhere to write to meanwhile.
    NoIncrements(Id),
}

impl From<AllocError> for BindError {
    fn from(_: AllocError) -> Self {
        Self::NoMemory
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("out of memory"),
            Self::Sectors { known, line } => {
                write!(f, "length: {line} sectors, but the group has {known}")
            }
            Self::BlockSectors { known, line } => {
                write!(f, "block sectors: {line}, but the group has {known}")
            }
            Self::Unknown(lid) => write!(f, "LID {lid}: unknown to the group, or removed from it"),
            Self::Unlisted(lid) => write!(f, "LID {lid}: in the group, but not in the line"),
            Self::NotHere(lid) => write!(f, "LID {lid}: a new group needs its device"),
            Self::Shrunk { lid, known, found } => {
                write!(f, "LID {lid}: device had {known} sectors, has {found} now")
            }
            Self::NotServed(lid) => write!(
                f,
                "LID {lid}: no disk is left that can serve it (\"-\" for what is gone and \
                 force_metadata start the group without {lid})"
            ),
            Self::Lost(lid) => write!(
                f,
                "LID {lid}: its increments volume is missing (\"-\" for that and force_metadata \
                 start the group without {lid})"
            ),
            Self::SourceUnknown(lid) => {
                write!(
                    f,
                    "init copy_from: {lid} is not an ro or rw volume of this line"
                )
            }
            Self::SourceNotHere(lid) => write!(f, "init copy_from: {lid} has no device"),
            Self::SourceIsWritten(lid) => {
                write!(
                    f,
                    "init copy_from: {lid} is not ro, its disk may be written meanwhile"
                )
            }
            Self::NoIncrements(lid) => {
                write!(f, "init copy_from: {lid} is rw and has no increments volume to write to meanwhile")
            }
        }
    }
}

impl GroupTable {
    /// A new group, as generation 1, `initialising`. `disk_sectors` tells the size of an entry's
    /// disk, in sectors.
    ///
    /// The health of its volumes shows how the group gets identical disks; see [`Init`]. Disks that
    /// have to become copies of another one are rebuilt, as if their volumes had lost them. Disks
    /// that have to be compared serve only their own volumes until that is done.
    ///
    /// # Errors
    ///
    /// A disk is not here, can't be filled or can't be the source; or memory ran out.
    #[inline(never)]
    pub fn new<D>(
        identity: &Identity,
        line: &TableLine<D>,
        disk_sectors: impl Fn(usize) -> u64,
    ) -> Result<Self, BindError> {
        check_source(line)?;
        let mut metadata = Metadata::claim(identity);
        metadata.head.sequence = 1;
        metadata.head.events = 1;
        metadata.volumes = Vec::try_with_capacity(line.volumes.len())?;
        metadata.rebuilds = Vec::try_with_capacity(line.volumes.len())?;
        let reference = reference(line);
        for (entry, volume) in line.volumes.iter().enumerate() {
            // A diverted clone needs no disk: it reads those of others.
            let is_clone = volume.attr == Attr::Ro && volume.rlid.is_some();
            if volume.dev.is_none() && !is_clone {
                return Err(BindError::NotHere(volume.lid));
            }
            let mut health = match reference == Some(entry) {
                true => Health::InSync,
                false => first_health(volume.attr, &volume.lid, &line.features.init),
            };
            let mut disk = volume.dev.is_some().then_some(volume.lid);
            match (health, &line.features.init, disk) {
                (Health::InSync, Init::CopyFrom(source), _)
                    if *source == volume.lid && volume.attr != Attr::Ro =>
                {
                    return Err(BindError::SourceIsWritten(volume.lid));
                }
                (Health::Rebuilding | Health::Verifying, _, None) => health = Health::InSync,
                (Health::Rebuilding, _, Some(target)) => {
                    if volume.attr == Attr::Rw && volume.rlid.is_none() {
                        return Err(BindError::NoIncrements(volume.lid));
                    }
                    disk = None;
                    metadata.rebuilds.try_push(RebuildRecord {
                        lid: volume.lid,
                        target,
                        cursor: 0,
                    })?;
                }
                _ => (),
            }
            metadata.volumes.try_push(VolumeRecord {
                lid: volume.lid,
                attr: volume.attr,
                rlid: volume.rlid,
                disk,
                health,
                state: DiskState::default(),
                disk_sectors: disk_sectors(entry),
                failed_at: 0,
            })?;
        }
        Ok(Self {
            metadata,
            allow_unprotected: line.features.allow_unprotected,
            is_unwritable: false,
        })
    }

    /// The group as recorded in `metadata`, with the disks of a line. `disk_sectors` tells the size
    /// of an entry's disk, in sectors, if that is here; `None` if it can't be read.
    ///
    /// Attributes, roles and health come from the metadata. Disks that are not here, or can't be
    /// read, count as failed from now on.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    #[inline(never)]
    pub fn bind<D>(
        line: &TableLine<D>,
        mut metadata: Metadata,
        disk_sectors: impl Fn(usize) -> Option<u64>,
    ) -> Result<BoundTable, BindError> {
        check_shape(line, &metadata)?;
        metadata.volumes = in_line_order(line, &metadata)?;

        let is_dead = |entry: usize| disk_sectors(entry).is_none();
        let resized = note_sizes(line, &mut metadata, &disk_sectors)?;
        let mut table = Self {
            metadata,
            allow_unprotected: line.features.allow_unprotected,
            is_unwritable: false,
        };
        // A volume that was not served before must not keep the others from starting. While the
        // group is being created, there is no base yet to be served from.
        let mut was_idle = Vec::try_with_capacity(line.volumes.len())?;
        for entry in 0..line.volumes.len() {
            was_idle.try_push(!table.is_initialising() && !table.is_served(entry))?;
        }
        let next_event = table.metadata.head.events.saturating_add(1);
        let (mut failed, mut any_dead) = (false, false);
        // Increments volumes last: a volume that loses its disk, too, is then degraded, as in a
        // group that lost first the disk and then the increments, and comes back with its
        // increments.
        for stores in [false, true] {
            for (entry, volume) in line.volumes.iter().enumerate() {
                if table.is_increments(entry) != stores {
                    continue;
                }
                let is_dead = volume.dev.is_some() && is_dead(entry);
                let is_gone = volume.dev.is_none() && !table.needs_no_disk(entry);
                any_dead |= is_dead;
                failed |= (is_gone || is_dead)
                    && change::fail_disk(&mut table.metadata, entry, next_event);
            }
        }
        let changed = resized || failed;
        let head = &mut table.metadata.head;
        if changed {
            head.sequence = head.sequence.saturating_add(1);
        }
        if failed {
            head.events = next_event;
        }

        if !table.is_initialising() || failed {
            // What can't be read now may be readable later: to go on without it, the line has to
            // leave it out.
            let is_forced = line.features.force_metadata && !any_dead && table.serves_anything();
            let mut refused = (0..was_idle.len()).filter(|entry| !table.is_served(*entry));
            let refused =
                refused.find(|entry| !is_forced && was_idle.get(*entry).is_none_or(|idle| !idle));
            if let Some(entry) = refused {
                return Err(table.why_not_served(entry));
            }
        }
        Ok(BoundTable { table, changed })
    }

    fn is_increments(&self, entry: usize) -> bool {
        let volume = self.volume(entry);
        volume.is_some_and(|volume| volume.attr == Attr::Increments)
    }

    /// Whether nothing is lost without the disk that is listed for an entry: the volume lives on
    /// other entries' disks, and no other volume lives on this one.
    fn needs_no_disk(&self, entry: usize) -> bool {
        let Some(volume) = self.volume(entry) else {
            return false;
        };
        let lives_on_others = volume.disk.is_none() && volume.health == Health::InSync;
        let is_used = self.volumes().iter().any(|v| v.disk == Some(volume.lid))
            || self.rebuilds().any(|rebuild| rebuild.target == entry);
        volume.attr.is_volume() && lives_on_others && !is_used
    }

    fn serves_anything(&self) -> bool {
        let volumes = self.volumes().iter().enumerate();
        let mut volumes = volumes.filter(|(_, volume)| volume.attr.is_volume());
        volumes.any(|(entry, _)| self.is_served(entry))
    }

    fn why_not_served(&self, entry: usize) -> BindError {
        let lid = self.volume(entry).map_or(*self.id(), |volume| volume.lid);
        match self.is_lost(entry) {
            true => BindError::Lost(lid),
            false => BindError::NotServed(lid),
        }
    }
}

/// The volume whose disk the others are compared with, if they are compared: the first `ro` one, or
/// else the first one.
fn reference<D>(line: &TableLine<D>) -> Option<usize> {
    let first = |attr: Attr| {
        let mut volumes = line.volumes.iter();
        volumes.position(|volume| volume.attr == attr && volume.dev.is_some())
    };
    match line.features.init {
        Init::Verify => first(Attr::Ro).or_else(|| first(Attr::Rw)),
        _ => None,
    }
}

/// If the disks are to be filled from another one, checks that that one is here.
fn check_source<D>(line: &TableLine<D>) -> Result<(), BindError> {
    let Init::CopyFrom(lid) = line.features.init else {
        return Ok(());
    };
    let mut volumes = line.volumes.iter();
    match volumes.find(|volume| volume.lid == lid && volume.attr.is_volume()) {
        Some(source) if source.dev.is_some() => Ok(()),
        Some(_) => Err(BindError::SourceNotHere(lid)),
        None => Err(BindError::SourceUnknown(lid)),
    }
}

fn first_health(attr: Attr, lid: &Id, init: &Init) -> Health {
    match (attr, init) {
        (Attr::Increments, _) => Health::InSync,
        (Attr::Spare, _) => Health::Spare,
        (_, Init::AssumeIdentical) => Health::InSync,
        (_, Init::Verify) => Health::Verifying,
        (_, Init::CopyFrom(source)) if source == lid => Health::InSync,
        (_, Init::CopyFrom(_)) => Health::Rebuilding,
    }
}

/// Checks that line and metadata describe the same group with the same entries.
fn check_shape<D>(line: &TableLine<D>, metadata: &Metadata) -> Result<(), BindError> {
    let head = &metadata.head;
    if line.sectors != head.sectors {
        return Err(BindError::Sectors {
            known: head.sectors,
            line: line.sectors,
        });
    }
    if line.block_sectors != head.block_sectors {
        return Err(BindError::BlockSectors {
            known: head.block_sectors,
            line: line.block_sectors,
        });
    }
    for volume in line.volumes.iter() {
        if metadata.position(&volume.lid).is_none() {
            return Err(BindError::Unknown(volume.lid));
        }
    }
    for record in metadata.volumes.iter() {
        if line.position(&record.lid).is_none() {
            return Err(BindError::Unlisted(record.lid));
        }
    }
    Ok(())
}

/// The records in the order of the line, which has the same entries.
fn in_line_order<D>(
    line: &TableLine<D>,
    metadata: &Metadata,
) -> Result<Vec<VolumeRecord>, BindError> {
    let mut records = Vec::try_with_capacity(line.volumes.len())?;
    for volume in line.volumes.iter() {
        let record = metadata
            .volumes
            .iter()
            .find(|record| record.lid == volume.lid)
            .ok_or(BindError::Unknown(volume.lid))?;
        records.try_push(*record)?;
    }
    Ok(records)
}

/// Records the sizes of the disks that are here; returns whether any size has changed.
fn note_sizes<D>(
    line: &TableLine<D>,
    metadata: &mut Metadata,
    disk_sectors: impl Fn(usize) -> Option<u64>,
) -> Result<bool, BindError> {
    let mut changed = false;
    let records = metadata.volumes.iter_mut();
    for (entry, (record, volume)) in records.zip(line.volumes.iter()).enumerate() {
        let Some(found) = disk_sectors(entry).filter(|_| volume.dev.is_some()) else {
            continue;
        };
        // A failed one may have been replaced by a smaller one.
        let is_store = record.attr == Attr::Increments && !record.state.failed;
        if is_store && found < record.disk_sectors {
            return Err(BindError::Shrunk {
                lid: record.lid,
                known: record.disk_sectors,
                found,
            });
        }
        changed |= record.disk_sectors != found;
        record.disk_sectors = found;
    }
    Ok(changed)
}
