// SPDX-License-Identifier: GPL-2.0

//! Changes the attribute of volumes, or of parts of them.

use super::{
    regions,
    states::{
        enter,
        mark,
        may,
        DiskEvent,
        Event, //
    },
    GroupTable, //
};
use crate::{
    env::AllocError,
    svol_core::{
        attr::Attr,
        health::Health,
        id::Id,
        message::Sectors,
        regions::MAX_REGIONS,
        route::Log, //
    },
};
use core::fmt;

/// Why a volume can't have the attribute.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AttrError {
    /// Memory ran out.
    NoMemory,
    /// There is no such entry.
    Unknown,
    /// The entry is not a volume.
    NoVolume(Attr),
    /// It is being moved to another disk.
    Moving,
    /// Its health has to be `in-sync`.
    Health(Health),
    /// It has no disk of its own and uses those of others.
    NoDisk,
    /// Its increments volume is gone.
    NoStore,
    /// It has no increments volume, and the group lacks `allow_unprotected`.
    NotAllowed,
    /// Its disk was written without a log.
    Unprotected,
    /// Its disk was written, and it has no increments volume.
    Written,
    /// No disk would be left that can serve this volume.
    Needed(Id),
    /// The range does not consist of whole blocks of this many sectors.
    Blocks(u32),
    /// The range ends after the end of the volume, which has this many sectors.
    TooLong(u64),
    /// Without an increments volume, a part of a volume can't have an attribute of its own.
    NoParts,
    /// The volume would have too many regions.
    TooMany,
}

impl From<AllocError> for AttrError {
    fn from(_: AllocError) -> Self {
        Self::NoMemory
    }
}

impl fmt::Display for AttrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("out of memory"),
            Self::Unknown => f.write_str("the group has no such entry"),
            Self::NoVolume(attr) => write!(f, "the entry is no volume, its attribute is {attr}"),
            Self::Moving => f.write_str("it is being moved to another disk"),
            Self::Health(health) => write!(f, "its health is {health}, not in-sync"),
            Self::NoDisk => f.write_str("it has no disk of its own"),
            Self::NoStore => f.write_str("its increments volume is gone"),
            Self::NotAllowed => {
                f.write_str("it has no increments volume, and allow_unprotected is not given")
            }
            Self::Unprotected => f.write_str("its disk was written without a log"),
            Self::Written => f.write_str("its disk was written, and it has no increments volume"),
            Self::Needed(lid) => write!(f, "no disk would be left that can serve {lid}"),
            Self::Blocks(sectors) => {
                write!(f, "the range is not whole blocks of {sectors} sectors")
            }
            Self::TooLong(sectors) => write!(f, "the range ends behind sector {sectors}, the end"),
            Self::NoParts => {
                f.write_str("it has no increments volume, so its attribute is that of all of it")
            }
            Self::TooMany => write!(f, "it would have more than {MAX_REGIONS} regions"),
        }
    }
}

impl GroupTable {
    /// The group after the volume `lid`, or a range of it, was given the attribute `attr`,
    /// [`Attr::Ro`] or [`Attr::Rw`]. `None` if it has that.
    ///
    /// From then on a volume with an increments volume is diverted to that, or logged. Before any
    /// part of it becomes logged, all that its increments volume has of that part must be copied to
    /// its disk; and before the copying, [`GroupTable::with_writes`] has to be durable.
    ///
    /// # Errors
    ///
    /// See [`AttrError`].
    #[inline(never)]
    pub fn with_attr(
        &self,
        lid: &Id,
        attr: Attr,
        range: Option<Sectors>,
    ) -> Result<Option<Self>, AttrError> {
        let entry = self.position(lid).ok_or(AttrError::Unknown)?;
        let volume = self.volume(entry).ok_or(AttrError::Unknown)?;
        if !volume.attr.is_volume() || !attr.is_volume() {
            return Err(AttrError::NoVolume(volume.attr));
        }
        let range = self.check_range(range)?;
        let Some(wanted) = regions::changed(self.metadata(), volume, attr, range)? else {
            return Ok(None);
        };
        if !may(volume.attr, volume.health, Event::AttrChanges) {
            return Err(AttrError::Health(volume.health));
        }
        if self.rebuild_of(entry).is_some() {
            return Err(AttrError::Moving);
        }
        let disk = self.disk_of(entry).ok_or(AttrError::NoDisk)?;
        let state = self.volume(disk).ok_or(AttrError::NoDisk)?.state;
        match (volume.rlid, attr) {
            (None, _) if !wanted.ranges.is_empty() => return Err(AttrError::NoParts),
            (None, Attr::Rw) if !self.allow_unprotected => return Err(AttrError::NotAllowed),
            (None, Attr::Ro) if !state.pristine => return Err(AttrError::Written),
            (None, _) => (),
            (Some(_), _) if self.log(volume) != Log::Works => return Err(AttrError::NoStore),
            (Some(_), _) if state.unprotected => return Err(AttrError::Unprotected),
            (Some(_), _) => (),
        }
        if wanted.ranges.len() > MAX_REGIONS {
            return Err(AttrError::TooMany);
        }
        let logged = volume.rlid.is_some();
        let regions = wanted.records(self.metadata(), &volume.lid)?;
        let next = self.changed(|metadata| {
            metadata.regions = regions;
            if let (Attr::Rw, true) = (attr, logged) {
                if let Some(record) = metadata.volumes.get_mut(disk) {
                    mark(&mut record.state, DiskEvent::Written);
                }
            }
            match metadata.volumes.get_mut(entry) {
                Some(record) => {
                    record.attr = wanted.attr;
                    enter(record, Event::AttrChanges, None)
                }
                None => false,
            }
        })?;
        let next = next.ok_or(AttrError::Unknown)?;
        // While the increments are being copied to the disk, it serves no others.
        let between = match (attr, logged) {
            (Attr::Rw, true) => self.with_writes(entry)?,
            _ => None,
        };
        let is_served = |other: usize| {
            let served = |table: &Self| table.is_served(other);
            served(&next) && between.as_ref().is_none_or(served)
        };
        match self.first_to_suffer(is_served) {
            Some(other) => Err(AttrError::Needed(other)),
            None => Ok(Some(next)),
        }
    }

    /// The range as its first sector and the one after its last; all sectors if there is none.
    fn check_range(&self, range: Option<Sectors>) -> Result<(u64, u64), AttrError> {
        let head = self.head();
        let Some(Sectors { start, len }) = range else {
            return Ok((0, head.sectors));
        };
        let end = start.saturating_add(len);
        if end > head.sectors {
            return Err(AttrError::TooLong(head.sectors));
        }
        let block = u64::from(head.block_sectors);
        let whole = |sector: u64| sector.checked_rem(block) == Some(0);
        if len == 0 || !whole(start) || !(whole(end) || end == head.sectors) {
            return Err(AttrError::Blocks(head.block_sectors));
        }
        Ok((start, end))
    }
}
