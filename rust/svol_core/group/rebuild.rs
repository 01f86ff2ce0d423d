// SPDX-License-Identifier: GPL-2.0

//! Rebuilds: volumes whose disk is gone get another one, and others may move to another one.
//!
//! The steps, each durable before the next one: the metadata records which disk is being filled for
//! which volume; the disk is filled, and from time to time the metadata records how far; the volume
//! gets the disk. Until then it is served by its siblings and its increments. A volume that moves
//! is served as before, and its old disk is free at the end; if that disk fails meanwhile, the
//! volume becomes one whose disk is gone.

use super::{
    change,
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
    env::{
        AllocError,
        Vec, //
    },
    svol_core::{
        attr::Attr,
        health::Health,
        id::Id,
        meta::{
            Metadata,
            RebuildRecord,
            VolumeRecord, //
        },
        route::Log,
        vec::try_copy, //
    },
};
use core::fmt;

/// A disk that is being filled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rebuild {
    /// The index of the volume.
    pub entry: usize,
    /// The index of the entry whose disk is being filled.
    pub target: usize,
    /// How many sectors from its beginning are done, durably.
    pub cursor: u64,
}

/// Why a volume can't be rebuilt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RestoreError {
    /// Memory ran out.
    NoMemory,
    /// There is no such entry.
    Unknown,
    /// The entry is not a volume.
    NoVolume(Attr),
    /// It is being rebuilt already.
    Rebuilding,
    /// Nothing is wrong with it.
    Healthy(Health),
    /// Nothing is wrong with it, and it is written without a log: it can't move.
    NoLog,
    /// Nothing is wrong with it, and no other disk has the base image, which a move needs.
    NoSource,
    /// Nothing is wrong with it, and it has no disk of its own.
    NoDisk,
    /// Its data is lost, or not here.
    Lost,
    /// No disk is free that could take it.
    NoSpare,
    /// The disk that was named can't take it.
    Target(TargetFlaw),
}

/// Why a disk can't take a volume.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TargetFlaw {
    /// There is no such entry.
    Unknown,
    /// It is an increments volume.
    Increments,
    /// It failed, is not here, or still has I/O from before.
    Failed,
    /// It serves this volume.
    Serves(Id),
    /// It is being filled for this volume.
    Filled(Id),
    /// It is smaller than the group.
    TooSmall,
}

impl From<AllocError> for RestoreError {
    fn from(_: AllocError) -> Self {
        Self::NoMemory
    }
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("out of memory"),
            Self::Unknown => f.write_str("the group has no such entry"),
            Self::NoVolume(attr) => write!(f, "the entry is no volume, its attribute is {attr}"),
            Self::Rebuilding => f.write_str("it is being rebuilt already"),
            Self::Healthy(health) => write!(f, "its health is {health}"),
            Self::NoLog => f.write_str("it is in-sync, and written without an increments volume"),
            Self::NoSource => f.write_str("it is in-sync, and no other disk has the base image"),
            Self::NoDisk => f.write_str("it is in-sync, and has no disk of its own"),
            Self::Lost => f.write_str("what it held is lost, or not here"),
            Self::NoSpare => f.write_str("no spare is free that is large enough"),
            Self::Target(flaw) => flaw.fmt(f),
        }
    }
}

impl fmt::Display for TargetFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("the group has no such entry"),
            Self::Increments => f.write_str("it is an increments volume"),
            Self::Failed => f.write_str("its disk failed, is not here, or has I/O from before"),
            Self::Serves(lid) => write!(f, "its disk serves {lid}"),
            Self::Filled(lid) => write!(f, "its disk is being filled for {lid}"),
            Self::TooSmall => f.write_str("its disk is smaller than the group"),
        }
    }
}

impl GroupTable {
    /// The disks that are being filled.
    pub fn rebuilds(&self) -> impl Iterator<Item = Rebuild> + '_ {
        self.metadata().rebuilds.iter().filter_map(|record| {
            Some(Rebuild {
                entry: self.position(&record.lid)?,
                target: self.position(&record.target)?,
                cursor: record.cursor,
            })
        })
    }

    /// The disk that is being filled for the volume with this index.
    pub fn rebuild_of(&self, entry: usize) -> Option<Rebuild> {
        self.rebuilds().find(|rebuild| rebuild.entry == entry)
    }

    /// The group after a disk was chosen to be filled for the volume `lid`: that of the entry
    /// `onto`, or a free one. `is_here` tells whether the disk of an entry can be used. A volume
    /// that has a disk moves; if it is written in place, that disk no longer serves others.
    ///
    /// # Errors
    ///
    /// See [`RestoreError`].
    #[inline(never)]
    pub fn with_rebuild(
        &self,
        lid: &Id,
        onto: Option<&Id>,
        is_here: impl Fn(usize) -> bool,
    ) -> Result<Self, RestoreError> {
        let entry = self.position(lid).ok_or(RestoreError::Unknown)?;
        self.check_rebuild(entry)?;
        let is_here = |target: usize| match self.check_target(target) {
            Ok(()) if !is_here(target) => Err(TargetFlaw::Failed),
            other => other,
        };
        let target = match onto {
            Some(onto) => {
                let target = self
                    .position(onto)
                    .ok_or(RestoreError::Target(TargetFlaw::Unknown))?;
                is_here(target).map_err(RestoreError::Target)?;
                target
            }
            None => self
                .candidates(entry)
                .find(|target| is_here(*target).is_ok())
                .ok_or(RestoreError::NoSpare)?,
        };
        let record = RebuildRecord {
            lid: *lid,
            target: self.volume(target).ok_or(RestoreError::Unknown)?.lid,
            cursor: 0,
        };
        let mut rebuilds = try_copy(&self.metadata().rebuilds, 1)?;
        rebuilds.try_push(record)?;
        let next = self.changed(|metadata| {
            metadata.rebuilds = rebuilds;
            begin(metadata, entry, target)
        })?;
        next.ok_or(RestoreError::Unknown)
    }

    /// Whether a disk that is filled for this volume needs the data of its increments volume in
    /// addition to the base image.
    pub fn needs_increments(&self, entry: usize) -> bool {
        let is_rw = self.volume(entry).is_some_and(|v| v.attr == Attr::Rw);
        is_rw && self.store_of(entry).is_some()
    }

    /// The group after a rebuild was begun for the first volume that needs it and can be rebuilt;
    /// `rw` volumes come first. `None` if there is none. `may_begin` tells whether the data that an
    /// entry wrote is here to be copied, `is_here` whether its disk can be used.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn with_next_rebuild(
        &self,
        may_begin: impl Fn(usize) -> bool,
        is_here: impl Fn(usize) -> bool,
    ) -> Result<Option<Self>, AllocError> {
        for attr in [Attr::Rw, Attr::Ro] {
            // Volumes move only on request.
            let needs = |(entry, v): &(usize, &VolumeRecord)| {
                v.attr == attr && v.health != Health::InSync && may_begin(*entry)
            };
            for (_, volume) in self.members().filter(needs) {
                match self.with_rebuild(&volume.lid, None, &is_here) {
                    Ok(next) => return Ok(Some(next)),
                    Err(RestoreError::NoMemory) => return Err(AllocError),
                    Err(_) => (),
                }
            }
        }
        Ok(None)
    }

    /// Whether the volume with this index can be rebuilt now.
    fn check_rebuild(&self, entry: usize) -> Result<(), RestoreError> {
        let volume = self.volume(entry).ok_or(RestoreError::Unknown)?;
        match (volume.attr, volume.health) {
            (Attr::Spare | Attr::Increments, _) => Err(RestoreError::NoVolume(volume.attr)),
            (_, Health::Rebuilding) => Err(RestoreError::Rebuilding),
            _ if self.rebuild_of(entry).is_some() => Err(RestoreError::Rebuilding),
            (_, Health::InSync) if volume.disk.is_none() => Err(RestoreError::NoDisk),
            (Attr::Rw, Health::InSync) => self.check_move(entry),
            (attr, health) if may(attr, health, Event::FillBegins) && self.is_served(entry) => {
                Ok(())
            }
            (_, Health::Failed | Health::Degraded | Health::InSync) => Err(RestoreError::Lost),
            (_, health) => Err(RestoreError::Healthy(health)),
        }
    }

    /// Whether a healthy volume that is written in place can move: the other disk is filled from
    /// the base image and the increments.
    fn check_move(&self, entry: usize) -> Result<(), RestoreError> {
        let own = self.disk_of(entry).ok_or(RestoreError::NoDisk)?;
        let is_unlogged = self.volume(own).is_none_or(|disk| disk.state.unprotected);
        if is_unlogged || self.store_of(entry).is_none() {
            return Err(RestoreError::NoLog);
        }
        match self.sources().any(|source| source != own) {
            true => Ok(()),
            false => Err(RestoreError::NoSource),
        }
    }

    /// Whether the disk of an entry can be filled for a volume.
    fn check_target(&self, target: usize) -> Result<(), TargetFlaw> {
        let volume = self.volume(target).ok_or(TargetFlaw::Unknown)?;
        if volume.attr == Attr::Increments {
            return Err(TargetFlaw::Increments);
        }
        // The disk of an added entry is not here yet.
        if volume.state.failed || volume.state.removed || volume.disk_sectors == 0 {
            return Err(TargetFlaw::Failed);
        }
        if volume.disk_sectors < self.head().sectors {
            return Err(TargetFlaw::TooSmall);
        }
        let fills = |record: &&RebuildRecord| record.target == volume.lid;
        if let Some(record) = self.metadata().rebuilds.iter().find(fills) {
            return Err(TargetFlaw::Filled(record.lid));
        }
        // A spare's disk serves the spare itself until it serves a volume.
        let is_own = |lid: &Id| *lid == volume.lid && volume.attr == Attr::Spare;
        match self
            .metadata()
            .members()
            .find(|user| user.disk == Some(volume.lid) && !is_own(&user.lid))
        {
            Some(user) => Err(TargetFlaw::Serves(user.lid)),
            None => Ok(()),
        }
    }

    /// Entries whose disks may be chosen for a volume automatically: its own, and spares.
    fn candidates(&self, entry: usize) -> impl Iterator<Item = usize> + '_ {
        let is_spare = |entry: &usize| self.volume(*entry).is_some_and(|v| v.attr == Attr::Spare);
        let spares = (0..self.volumes().len()).filter(is_spare);
        core::iter::once(entry).chain(spares)
    }

    /// The group after `cursor` sectors of the disk that is being filled for a volume are durable.
    /// This is no change of state: the event count stays. `None` if there is no such rebuild, or
    /// nothing is new.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn with_cursor(&self, entry: usize, cursor: u64) -> Result<Option<Self>, AllocError> {
        let mut next = self.recommitted()?;
        let cursor = cursor.min(self.head().sectors);
        let Some(lid) = self.volume(entry).map(|volume| volume.lid) else {
            return Ok(None);
        };
        let mut rebuilds = next.metadata.rebuilds.iter_mut();
        match rebuilds.find(|record| record.lid == lid) {
            Some(record) if record.cursor != cursor => record.cursor = cursor,
            _ => return Ok(None),
        }
        Ok(Some(next))
    }

    /// The group after the disk that was being filled for a volume holds all its data: it becomes
    /// the volume's disk, and the old one, if any, is free. `None` if there is no such rebuild.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn with_rebuilt(&self, entry: usize) -> Result<Option<Self>, AllocError> {
        let Some(rebuild) = self.rebuild_of(entry) else {
            return Ok(None);
        };
        // The disk of a volume that is diverted, or was never written, holds the base image.
        let pristine = self
            .volume(entry)
            .is_some_and(|volume| volume.attr == Attr::Ro || self.log(volume) == Log::None);
        let old = self.volume(entry).and_then(|volume| volume.disk);
        self.changed(|metadata| {
            if end(metadata, rebuild.entry, Event::Filled).is_none() {
                return false;
            }
            if let Some(old) = old {
                change::free_disk(metadata, &old);
            }
            let Some(target) = metadata.volumes.get_mut(rebuild.target) else {
                return false;
            };
            let filled = match pristine {
                true => DiskEvent::FilledWithBase,
                false => DiskEvent::Filled,
            };
            mark(&mut target.state, filled);
            true
        })
    }

    /// The group after the fill of a disk for a volume was given up. The disk is free, its content
    /// worthless. `None` if there is no such rebuild.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn with_rebuild_stopped(&self, entry: usize) -> Result<Option<Self>, AllocError> {
        self.changed(|metadata| end(metadata, entry, Event::FillEnds).is_some())
    }

    /// The group after a failed disk was taken back: it is free, its content worthless. An
    /// increments volume is used again only when the table is loaded again. `None` if the disk of
    /// this entry did not fail, or was taken back already.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn with_readded(&self, entry: usize) -> Result<Option<Self>, AllocError> {
        self.changed(|metadata| match metadata.volumes.get_mut(entry) {
            Some(volume) => {
                let is_news = mark(&mut volume.state, DiskEvent::Readded);
                if is_news && volume.attr == Attr::Spare {
                    enter(volume, Event::Readded, None);
                }
                is_news
            }
            None => false,
        })
    }
}

/// The disk of `target` begins to be filled for a volume.
fn begin(metadata: &mut Metadata, entry: usize, target: usize) -> bool {
    let moving = metadata.volumes.get(entry).filter(|v| v.attr == Attr::Rw);
    if let Some(own) = moving.and_then(|volume| volume.disk) {
        let mut disks = metadata.volumes.iter_mut();
        if let Some(disk) = disks.find(|disk| disk.lid == own) {
            mark(&mut disk.state, DiskEvent::Written);
        }
    }
    let Some(disk) = metadata.volumes.get_mut(target) else {
        return false;
    };
    mark(&mut disk.state, DiskEvent::FillBegins);
    if disk.attr == Attr::Spare && !enter(disk, Event::FillBegins, None) {
        return false;
    }
    let mut volumes = metadata.volumes.iter_mut();
    volumes
        .nth(entry)
        .is_some_and(|volume| enter(volume, Event::FillBegins, None))
}

/// Gives up the fill for the volume with this index, if there is one.
pub(super) fn stop(metadata: &mut Metadata, entry: usize) {
    let _ = end(metadata, entry, Event::FillEnds);
}

/// Ends the fill for a volume, because it is complete or given up. Returns the volume's LID.
fn end(metadata: &mut Metadata, entry: usize, event: Event) -> Option<Id> {
    let lid = metadata.volumes.get(entry)?.lid;
    let at = metadata.rebuilds.iter().position(|r| r.lid == lid)?;
    let target = metadata.rebuilds.get(at)?.target;
    enter(metadata.volumes.get_mut(entry)?, event, Some(target));
    take_out(&mut metadata.rebuilds, at);
    let mut disks = metadata.volumes.iter_mut();
    if let Some(disk) = disks.find(|disk| disk.lid == target && disk.attr == Attr::Spare) {
        // A spare that has failed meanwhile stays failed.
        enter(disk, event, None);
    }
    Some(lid)
}

fn take_out(rebuilds: &mut Vec<RebuildRecord>, at: usize) {
    let last = rebuilds.len().saturating_sub(1);
    if at < last {
        rebuilds.swap(at, last);
    }
    rebuilds.pop();
}

/// The disk of the entry `lid` failed: ends the rebuilds that can't go on without it.
pub(super) fn stop_needing(metadata: &mut Metadata, lid: &Id) {
    // A store may serve several volumes.
    while let Some(entry) = metadata.rebuilds.iter().find_map(|record| {
        let entry = metadata.volumes.iter().position(|v| v.lid == record.lid)?;
        let stored = metadata.volumes.get(entry)?.rlid == Some(*lid);
        (stored || record.target == *lid).then_some(entry)
    }) {
        if end(metadata, entry, Event::FillEnds).is_none() {
            return;
        }
    }
}
