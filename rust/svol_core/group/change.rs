// SPDX-License-Identifier: GPL-2.0

//! Changes of a group: each produces a new table, to be committed before it takes effect.

use super::{
    rebuild,
    states::{
        enter,
        mark,
        Disk,
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
            Phase,
            VolumeRecord, //
        },
        samples::Sample, //
    },
};

impl GroupTable {
    /// The group after it was created: `active`, with `samples` of its base image.
    ///
    /// From now on, the disks of all volumes in sync are known to hold the base image, and the
    /// increments volumes to hold a store. Disks that are still to be compared are marked, too:
    /// they hold the base image if the comparison says so and nobody writes them; see
    /// [`GroupTable::sources`].
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn activated(&self, samples: Vec<Sample>) -> Result<Self, AllocError> {
        let mut next = self.next_state()?;
        next.metadata.head.phase = Phase::Active;
        next.metadata.samples = samples;
        for volume in next.metadata.volumes.iter_mut() {
            let own = volume.disk == Some(volume.lid);
            let has_base = matches!(volume.health, Health::InSync | Health::Verifying);
            if own && volume.attr.is_volume() && has_base {
                mark(&mut volume.state, DiskEvent::HasBase);
            }
            if volume.attr == Attr::Increments {
                mark(&mut volume.state, DiskEvent::HasStore);
            }
        }
        Ok(next)
    }

    /// The group after the disk that is listed for `entry` failed. `None` if that is known already,
    /// or there is no such entry.
    ///
    /// From then on, other disks serve what the disk served; if there are none, that is lost: see
    /// [`GroupTable::state`] of the new table.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn with_failed_disk(&self, entry: usize) -> Result<Option<Self>, AllocError> {
        self.changed(|metadata| {
            let event = metadata.head.events;
            fail_disk(metadata, entry, event)
        })
    }

    /// The group after the disk that serves `entry` may have been written without a log. `None` if
    /// that is known already, or no disk serves it.
    ///
    /// Such a disk no longer holds the base image and never serves others.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn with_unprotected(&self, entry: usize) -> Result<Option<Self>, AllocError> {
        let mut next = self.with_disk_marked(entry, DiskEvent::Unlogged)?;
        if let Some(next) = &mut next {
            // A disk that it was moving to would lack what is written now.
            rebuild::stop(&mut next.metadata, entry);
        }
        Ok(next)
    }

    /// The group after the disk that serves `entry` may have been written, with a log. `None` if
    /// that is known already, or no disk serves it.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn with_writes(&self, entry: usize) -> Result<Option<Self>, AllocError> {
        self.with_disk_marked(entry, DiskEvent::Written)
    }

    /// The group after the increments volume of `entry` has again all that the volume wrote: the
    /// disk that serves it is as good as any that was written with a log. `None` if nothing was
    /// missing.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn with_whole_log(&self, entry: usize) -> Result<Option<Self>, AllocError> {
        self.with_disk_marked(entry, DiskEvent::LogIsWhole)
    }

    /// The group after an event of the disk that serves `entry`. `None` if the event changes
    /// nothing, or no disk serves it; in that case no memory is allocated.
    fn with_disk_marked(&self, entry: usize, event: DiskEvent) -> Result<Option<Self>, AllocError> {
        let Some(disk) = self.disk_of(entry) else {
            return Ok(None);
        };
        let state = self.volume(disk).map(|volume| volume.state);
        if !state.is_some_and(|mut state| mark(&mut state, event)) {
            return Ok(None);
        }
        self.changed(|metadata| {
            let mut volumes = metadata.volumes.iter_mut();
            volumes
                .nth(disk)
                .is_some_and(|volume| mark(&mut volume.state, event))
        })
    }

    /// The group after awaited or new increments volumes came into use: those with an entry for
    /// which `is_open` is true. `None` if there are none.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn with_stores_back(
        &self,
        is_open: impl Fn(usize) -> bool,
    ) -> Result<Option<Self>, AllocError> {
        self.changed(|metadata| {
            let mut any = false;
            for (entry, volume) in metadata.volumes.iter_mut().enumerate() {
                if volume.attr != Attr::Increments || !is_open(entry) {
                    continue;
                }
                let state = &mut volume.state;
                if mark(state, DiskEvent::Opened) || mark(state, DiskEvent::HasStore) {
                    // A new one may have failed before it ever held a store.
                    enter(volume, Event::Readded, None);
                    volume.failed_at = 0;
                    any = true;
                }
            }
            any
        })
    }

    /// The group after its increments stores were opened and told its event count: what they hold
    /// may change from now on.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn opened(&self) -> Result<Self, AllocError> {
        let mut next = self.next_state()?;
        forget_kept(&mut next.metadata, |_| true);
        Ok(next)
    }

    /// The group after the increments volume `entry` could not be written, but stays in use since
    /// volumes need it: it may not have seen any event after `told`, the last one that it knows.
    /// `None` if that is known already, or it failed, or holds no store.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn with_kept_store(&self, entry: usize, told: u64) -> Result<Option<Self>, AllocError> {
        self.changed(|metadata| keep_store(metadata, entry, told))
    }

    /// As [`GroupTable::with_kept_store`], for a table that is about to be committed: records that
    /// along with what else has changed. Returns whether that is new.
    pub fn keep_store(&mut self, entry: usize, told: u64) -> bool {
        keep_store(&mut self.metadata, entry, told)
    }

    /// Whether the increments volume `entry` is in use, but may not have seen all events.
    pub fn is_kept_store(&self, entry: usize) -> bool {
        self.volume(entry).is_some_and(is_kept)
    }

    /// Whether there is such an increments volume.
    pub fn has_kept_store(&self) -> bool {
        self.volumes().iter().any(is_kept)
    }

    /// The group after the increments volumes with an entry for which `is_told` is true have seen
    /// all events again. `None` if none of them was marked otherwise.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn with_stores_told(
        &self,
        is_told: impl Fn(usize) -> bool,
    ) -> Result<Option<Self>, AllocError> {
        self.changed(|metadata| forget_kept(metadata, is_told))
    }

    /// The same state as the next generation: for committing it a second time.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn recommitted(&self) -> Result<Self, AllocError> {
        Ok(Self {
            metadata: self.metadata.try_next()?,
            allow_unprotected: self.allow_unprotected,
            is_unwritable: false,
        })
    }

    /// The same state, to be written over a later one whose commit `failed`, but which may be on
    /// disk all the same. It has the same sequence as that one, since the other slot may hold the
    /// last valid generation.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn instead_of(&self, failed: &Self) -> Result<Self, AllocError> {
        let mut next = self.recommitted()?;
        next.metadata.head.sequence = failed.metadata.head.sequence;
        Ok(next)
    }

    /// Takes over how far the sequence rose when the commit of a later state `failed`: a copy may
    /// have that generation, and the next one must not count as older.
    pub fn follow(&mut self, failed: &Self) {
        let reached = failed.metadata.head.sequence.saturating_sub(1);
        let sequence = &mut self.metadata.head.sequence;
        *sequence = reached.max(*sequence);
    }

    /// The group after metadata copy `copy`, counting from 0, was recreated. `None` if it is not
    /// lost, or there is no such copy.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn with_copy(&self, copy: usize) -> Result<Option<Self>, AllocError> {
        self.changed(|metadata| metadata.revive_copy(copy))
    }

    /// The next generation, after a change of state.
    pub(super) fn next_state(&self) -> Result<Self, AllocError> {
        let mut next = self.recommitted()?;
        let events = &mut next.metadata.head.events;
        *events = events.saturating_add(1);
        Ok(next)
    }

    pub(super) fn changed(
        &self,
        change: impl FnOnce(&mut Metadata) -> bool,
    ) -> Result<Option<Self>, AllocError> {
        let mut next = self.next_state()?;
        Ok(change(&mut next.metadata).then_some(next))
    }
}

/// Whether an entry has a store that is in use.
fn is_store(volume: &VolumeRecord) -> bool {
    volume.attr == Attr::Increments && Disk::of(&volume.state) == Some(Disk::Store)
}

/// Whether it has a store that is in use, but may not have seen all events.
fn is_kept(volume: &VolumeRecord) -> bool {
    is_store(volume) && volume.failed_at != 0
}

/// Records that a store may not have seen any event after `told`. Returns whether that is new.
fn keep_store(metadata: &mut Metadata, entry: usize, told: u64) -> bool {
    let events = metadata.head.events;
    let volume = metadata.volumes.get_mut(entry);
    let Some(volume) = volume.filter(|volume| is_store(volume) && volume.failed_at == 0) else {
        return false;
    };
    // See `store::least_seen`.
    volume.failed_at = events.min(told.saturating_add(2));
    true
}

/// Records that stores have seen all events. From now on, an older copy of one counts as outdated.
fn forget_kept(metadata: &mut Metadata, is_told: impl Fn(usize) -> bool) -> bool {
    let mut any = false;
    for (entry, volume) in metadata.volumes.iter_mut().enumerate() {
        if is_kept(volume) && is_told(entry) {
            volume.failed_at = 0;
            any = true;
        }
    }
    any
}

/// Records that the disk of `entry` failed, as the event with this count; returns whether that is
/// new.
pub(super) fn fail_disk(metadata: &mut Metadata, entry: usize, event: u64) -> bool {
    let Some(disk) = metadata.volumes.get_mut(entry) else {
        return false;
    };
    let before = disk.state;
    let lid = disk.lid;
    // From now on, its content is unknown.
    let was_failed = before.failed;
    if !mark(&mut disk.state, DiskEvent::Fails) {
        return false;
    }
    // A kept one has not been written since the event recorded for it.
    let was_kept = disk.attr == Attr::Increments && disk.failed_at != 0;
    if !was_failed && !was_kept {
        disk.failed_at = event;
    }
    if disk.attr == Attr::Spare {
        // Even if it serves a volume now.
        enter(disk, Event::DiskIsLost, None);
    }
    let is_store = disk.attr == Attr::Increments;
    rebuild::stop_needing(metadata, &lid);
    if is_store {
        give_up_logs(metadata, &lid);
    }

    let Some(served) = metadata
        .volumes
        .iter()
        .position(|volume| volume.disk == Some(lid))
    else {
        return true;
    };
    let logged = metadata
        .volumes
        .get(served)
        .is_some_and(|volume| has_usable_log(volume, &metadata.volumes));
    let Some(volume) = metadata.volumes.get(served) else {
        return true;
    };
    // Nothing is lost if nothing was ever written, or if all of it is in the log.
    let kept = before.pristine || (logged && !before.unprotected);
    let moves = metadata
        .rebuilds
        .iter()
        .any(|record| record.lid == volume.lid);
    let event = match (moves, kept) {
        (true, _) if volume.attr == Attr::Ro => Event::DiskFailsMeanwhile,
        (_, true) => Event::DiskFails,
        (_, false) => Event::DiskIsLost,
    };
    if event != Event::DiskFailsMeanwhile {
        // In-place writes now take another path, so a fill of another disk has to start over.
        rebuild::stop(metadata, served);
    }
    if let Some(volume) = metadata.volumes.get_mut(served) {
        enter(volume, event, None);
    }
    true
}

/// The disk of the entry `lid` no longer serves anybody: it is free again.
pub(super) fn free_disk(metadata: &mut Metadata, lid: &Id) {
    let mut disks = metadata.volumes.iter_mut();
    if let Some(disk) = disks.find(|disk| disk.lid == *lid && !disk.state.removed) {
        mark(&mut disk.state, DiskEvent::Freed);
        if disk.attr == Attr::Spare {
            enter(disk, Event::Freed, None);
        }
    }
}

/// The increments volume `store` is gone: the volumes whose log it kept are written without one
/// from now on. Disks that were never written are not marked yet: they still hold the base image.
fn give_up_logs(metadata: &mut Metadata, store: &Id) {
    for entry in 0..metadata.volumes.len() {
        let disk = metadata
            .volumes
            .get(entry)
            .filter(|volume| volume.attr == Attr::Rw && volume.rlid == Some(*store))
            .and_then(|volume| volume.disk);
        let Some(disk) = disk else {
            continue;
        };
        let mut disks = metadata.volumes.iter_mut();
        if let Some(disk) = disks.find(|volume| volume.lid == disk) {
            mark(&mut disk.state, DiskEvent::LogIsLost);
        }
    }
}

/// Whether all that was ever written to `volume` is in its increments volume.
fn has_usable_log(volume: &VolumeRecord, volumes: &[VolumeRecord]) -> bool {
    store_of(volume, volumes).is_some_and(|store| store.state.formatted)
}

/// The increments entry of `volume`, if its device works.
pub(super) fn store_of<'a>(
    volume: &VolumeRecord,
    volumes: &'a [VolumeRecord],
) -> Option<&'a VolumeRecord> {
    let rlid: Id = volume.rlid?;
    volumes
        .iter()
        .find(|store| store.lid == rlid)
        .filter(|store| store.health == Health::InSync && store.disk.is_some())
}
