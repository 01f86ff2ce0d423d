// SPDX-License-Identifier: GPL-2.0

//! What follows from the health of the entries: which disk serves which volume, and how much may
//! still fail.

use super::{
    change::store_of,
    states::Disk,
    GroupTable, //
};
use crate::svol_core::{
    attr::Attr,
    health::{
        GroupState,
        Health,
        Protection, //
    },
    id::Id,
    meta::VolumeRecord,
    route::Log, //
};

impl GroupTable {
    /// The entries whose disks serve reads of the base image, in the order of the table line.
    ///
    /// Those are the disks of volumes in sync that hold exactly the base image.
    pub fn sources(&self) -> impl Iterator<Item = usize> + '_ {
        self.volumes()
            .iter()
            .enumerate()
            .filter(|(_, volume)| volume.attr.is_volume() && volume.health == Health::InSync)
            .filter_map(|(entry, _)| self.disk_of(entry))
            .filter(|disk| self.volume(*disk).is_some_and(is_pristine))
    }

    /// Whether the disk of `entry` serves reads of the base image.
    pub fn is_source(&self, entry: usize) -> bool {
        self.sources().any(|source| source == entry)
    }

    /// Whether the device of `entry` is written while the group is in use: it has a store, serves a
    /// volume that is written in place, or is being filled. Repairs do not count: the group can do
    /// without them.
    pub fn is_written(&self, entry: usize) -> bool {
        let Some(volume) = self.volume(entry).filter(|volume| !volume.state.removed) else {
            return false;
        };
        if volume.attr == Attr::Increments {
            return !volume.state.failed || self.is_awaited_store(entry);
        }
        let served = self.served_by(entry).and_then(|served| self.volume(served));
        served.is_some_and(|volume| volume.attr == Attr::Rw)
            || self.rebuilds().any(|rebuild| rebuild.target == entry)
    }

    /// Whether the I/O of `entry` can reach all its data. Entries that are not volumes have none.
    pub fn is_served(&self, entry: usize) -> bool {
        let Some(volume) = self.volume(entry) else {
            return false;
        };
        let by_others = || self.sources().next().is_some();
        match (volume.attr, volume.health) {
            (Attr::Spare | Attr::Increments, _) => true,
            // Its own disk is the only one that has its data.
            (attr, Health::Verifying | Health::Diverged) => {
                let is_whole = attr == Attr::Rw || self.log(volume) != Log::Gone;
                volume.disk.is_some() && is_whole
            }
            (Attr::Ro, _) => by_others() && self.log(volume) != Log::Gone,
            (Attr::Rw, Health::Degraded) => by_others() && self.log(volume) != Log::Gone,
            (Attr::Rw, Health::Rebuilding) if volume.disk.is_none() => {
                by_others() && self.log(volume) != Log::Gone
            }
            // Its diverted parts also need the others.
            (Attr::Rw, _) if self.has_regions(entry) => {
                volume.disk.is_some() && by_others() && self.log(volume) != Log::Gone
            }
            (Attr::Rw, _) => volume.disk.is_some(),
        }
    }

    /// The disk of a volume that reads the base image from that disk only, since the disk has not
    /// been compared with the others yet, or holds something else: for this volume, the base image
    /// is what is there.
    pub fn reads_alone(&self, entry: usize) -> Option<usize> {
        let health = self.volume(entry)?.health;
        self.disk_of(entry).filter(|_| health.is_alone())
    }

    /// The first volume whose I/O can't reach all its data.
    pub(super) fn first_not_served(&self) -> Option<usize> {
        (0..self.volumes().len()).find(|entry| !self.is_served(*entry))
    }

    /// The first volume whose I/O can reach all its data now, but could not after a change: then,
    /// `is_served` is false for its entry.
    pub(super) fn first_to_suffer(&self, is_served: impl Fn(usize) -> bool) -> Option<Id> {
        let mut all = self.volumes().iter().enumerate();
        let suffers = |entry| self.is_served(entry) && !is_served(entry);
        all.find(|(entry, _)| suffers(*entry))
            .map(|(_, volume)| volume.lid)
    }

    /// The first volume whose I/O can reach all its data now, but could not in the table `next`. It
    /// may be one that has joined the group and is not in use yet.
    pub fn first_to_lose(&self, next: &Self) -> Option<Id> {
        self.first_to_suffer(|other| next.is_served(other))
    }

    /// Whether the data of `entry` can't be found because its increments volume is gone.
    pub fn is_lost(&self, entry: usize) -> bool {
        let is_lost = |volume| !self.is_served(entry) && self.log(volume) == Log::Gone;
        self.volume(entry).is_some_and(is_lost)
    }

    /// The increments volumes that failed and are to be used again when the table is loaded.
    pub fn awaited_stores(&self) -> impl Iterator<Item = usize> + '_ {
        self.members()
            .filter(|(_, volume)| Disk::of(&volume.state) == Some(Disk::AwaitedStore))
            .map(|(entry, _)| entry)
    }

    /// Whether the group could be started again with the live table line, which has `entries`
    /// entries, as far as that is known here: the group still consists of these, and all increments
    /// volumes in use can be written.
    pub fn may_begin_anew(&self, entries: usize) -> bool {
        let all = self.volumes().iter().enumerate();
        let mut is_in_line = all.map(|(entry, volume)| (entry < entries) != volume.state.removed);
        is_in_line.all(|fits| fits) && !self.has_kept_store()
    }

    /// Whether the increments volume of this entry is one of the [`GroupTable::awaited_stores`].
    pub fn is_awaited_store(&self, entry: usize) -> bool {
        self.awaited_stores().any(|awaited| awaited == entry)
    }

    /// Whether some volume has data in the increments volume of this entry that is nowhere else.
    pub fn is_needed_store(&self, store: usize) -> bool {
        self.users_of(store).any(|entry| self.needs_store(entry))
    }

    /// Whether a volume has data that is in its increments volume and nowhere else.
    fn needs_store(&self, entry: usize) -> bool {
        self.volume(entry).is_some_and(|volume| {
            let lives_on_it = matches!(volume.health, Health::Degraded | Health::Rebuilding);
            volume.attr == Attr::Ro || lives_on_it || self.has_regions(entry)
        })
    }

    /// Whether `entry` is an increments volume that could not be written, and stays in use since
    /// volumes need it, or is one of those volumes.
    fn is_cut_off(&self, entry: usize) -> bool {
        let store = self.volume(entry).and_then(|volume| volume.rlid);
        let store = store.and_then(|store| self.position(&store));
        self.is_kept_store(entry)
            || (store.is_some_and(|store| self.is_kept_store(store)) && self.needs_store(entry))
    }

    /// The health of `entry`, as users see it. A volume that lost its increments is `failed`,
    /// although the disk of a diverted one may work and serve others; so is a diverged volume that
    /// lost its disk. The same goes for an increments volume that fails but is not given up.
    pub fn health(&self, entry: usize) -> Option<Health> {
        let volume = self.volume(entry)?;
        let has_none = volume.health == Health::Diverged && volume.disk.is_none();
        Some(
            match has_none || self.is_lost(entry) || self.is_cut_off(entry) {
                true => Health::Failed,
                false => volume.health,
            },
        )
    }

    /// The entries whose health or protection differs from the table before, which may have had the
    /// entries in another order.
    pub fn news<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = usize> + 'a {
        let is_news = move |(entry, volume): &(usize, &VolumeRecord)| {
            let old = match before.volume(*entry) {
                Some(same) if same.lid == volume.lid => Some(*entry),
                _ => before.position(&volume.lid),
            };
            let old = old.map(|old| (before.health(old), before.protection(old)));
            old != Some((self.health(*entry), self.protection(*entry)))
        };
        self.members().filter(is_news).map(|(entry, _)| entry)
    }

    /// Whether users have to be told how this table differs from the one before.
    pub fn is_news(&self, before: &Self) -> bool {
        self.is_unwritable != before.is_unwritable || self.news(before).next().is_some()
    }

    /// The volumes that name the increments volume of this entry.
    pub fn users_of(&self, store: usize) -> impl Iterator<Item = usize> + '_ {
        let lid = self.volume(store).map(|volume| volume.lid);
        let uses = move |volume: &VolumeRecord| {
            volume.attr.is_volume() && volume.rlid.is_some() && volume.rlid == lid
        };
        let all = self.volumes().iter().enumerate();
        all.filter(move |(_, volume)| !volume.state.removed && uses(volume))
            .map(|(entry, _)| entry)
    }

    /// The state of the increments volume of an entry.
    pub(super) fn log(&self, volume: &VolumeRecord) -> Log {
        let Some(rlid) = &volume.rlid else {
            return Log::None;
        };
        let was_used = self
            .position(rlid)
            .and_then(|store| self.volume(store))
            .is_some_and(|store| store.state.formatted);
        if store_of(volume, self.volumes()).is_some() {
            Log::Works
        } else if was_used {
            Log::Gone
        } else {
            Log::None
        }
    }

    /// Whether `entry` could be rebuilt if its disk died now.
    ///
    /// That takes another source of the base image and, if a volume differs from that, its
    /// increments volume, with no write that bypassed it.
    pub fn protection(&self, entry: usize) -> Protection {
        let Some(volume) = self.volume(entry).filter(|volume| volume.attr.is_volume()) else {
            return Protection::None;
        };
        let own = self.disk_of(entry);
        let others = self.sources().any(|source| Some(source) != own);
        let has_store = store_of(volume, self.volumes()).is_some();
        let unlogged = own
            .and_then(|disk| self.volume(disk))
            .is_some_and(|disk| disk.state.unprotected);
        let logged = match volume.attr {
            Attr::Rw => has_store && !unlogged,
            _ => has_store || volume.rlid.is_none(),
        };
        let own_content = self.reads_alone(entry).is_some() || !self.is_served(entry);
        if others && logged && !own_content && !self.is_cut_off(entry) {
            Protection::Protected
        } else {
            Protection::Unprotected
        }
    }

    /// The redundancy of the group: how many devices, in any role, may be lost without losing
    /// acknowledged data. This is a conservative count:
    ///
    /// It is 0 with fewer than two live metadata copies, with fewer than two disks that hold
    /// exactly the base image, and while any volume
    ///
    /// - is diverted (`ro` with RLID), or a part of it is: what it wrote is only on the increments
    ///   volume;
    /// - is `degraded`, `verifying` or `diverged`: some of its data is on one device only;
    /// - is in place and has failed or is being rebuilt;
    /// - is in place and unprotected.
    ///
    /// Otherwise it is 1. A group has at most two metadata copies, so it is never 2.
    pub fn redundancy(&self) -> u32 {
        let weak = |entry: usize, volume: &VolumeRecord| match (volume.attr, volume.health) {
            (Attr::Spare | Attr::Increments, _) => false,
            (_, Health::Degraded | Health::Verifying | Health::Diverged) => true,
            (Attr::Ro, _) => volume.rlid.is_some(),
            (Attr::Rw, _) if self.has_regions(entry) => true,
            (Attr::Rw, Health::InSync) => self.protection(entry) != Protection::Protected,
            (Attr::Rw, _) => true,
        };
        let any_weak = self
            .volumes()
            .iter()
            .enumerate()
            .any(|(entry, volume)| weak(entry, volume));
        let enough = self.writable_copies() >= 2 && self.sources().count() >= 2;
        u32::from(enough && !any_weak)
    }

    /// The state of the group.
    pub fn state(&self) -> GroupState {
        let hurt = |volume: &VolumeRecord| match (volume.attr, volume.health) {
            // What counts is the volume that it is being filled for.
            (Attr::Spare, Health::Rebuilding) => volume.state.failed,
            (_, Health::Failed | Health::Degraded | Health::Rebuilding | Health::Diverged) => true,
            _ => volume.state.failed,
        };
        let is_cut_off = |(entry, volume): (usize, &VolumeRecord)| {
            volume.attr.is_volume() && self.is_cut_off(entry)
        };
        let is_whole = self.first_not_served().is_none() && !self.members().any(is_cut_off);
        if !self.is_initialising() && !is_whole {
            GroupState::Failed
        } else if self.writable_copies() < self.head().copies.count()
            || self.has_kept_store()
            || self.volumes().iter().any(hurt)
        {
            GroupState::Degraded
        } else {
            GroupState::Clean
        }
    }
}

fn is_pristine(disk: &VolumeRecord) -> bool {
    disk.state.pristine && !disk.state.failed
}
