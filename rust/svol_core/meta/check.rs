// SPDX-License-Identifier: GPL-2.0

//! Consistency checks of metadata, made before it is written and after it was read, so that the
//! rest of the core can rely on them.

use super::{
    DiskState,
    Metadata,
    Phase,
    RebuildRecord,
    VolumeRecord,
    MAX_SAMPLES, //
};
use crate::svol_core::{
    attr::Attr,
    health::Health,
    id::Id,
    samples::SUB_BLOCK_SECTORS,
    table_line::MAX_VOLUMES, //
};
use core::fmt;

/// What does not make sense.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Invalid {
    /// There are too few or too many records of some kind.
    Count,
    /// No metadata copy is live.
    Copies,
    /// A claim holds more than a claim.
    Claim,
    /// Two entries have the same LID.
    Lid,
    /// An RLID names no increments entry, or a spare or increments entry has one.
    Rlid,
    /// A LID is served by a disk that cannot serve it.
    Disk,
    /// An entry has a health that such an entry cannot have.
    Health,
    /// What is known about a disk contradicts itself.
    State,
    /// A region is out of range, not whole blocks, out of order, or belongs to no volume.
    Region,
    /// A disk is being filled that can't be filled, or for a volume that needs none.
    Rebuild,
    /// The samples are out of range or out of order.
    Sample,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Count => "wrong number of records",
            Self::Copies => "no live metadata copy",
            Self::Claim => "claim with content",
            Self::Lid => "LID used twice",
            Self::Rlid => "RLID that is no increments entry",
            Self::Disk => "LID with an impossible disk",
            Self::Health => "impossible health",
            Self::State => "contradictory disk state",
            Self::Region => "impossible region",
            Self::Rebuild => "impossible rebuild",
            Self::Sample => "impossible base sample",
        })
    }
}

impl Metadata {
    /// Checks that this metadata makes sense.
    ///
    /// # Errors
    ///
    /// The first thing that does not.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.head.copies.live_count() == 0 {
            return Err(Invalid::Copies);
        }
        if self.head.sequence == 0 {
            return self.check_claim();
        }
        if !(1..=MAX_VOLUMES).contains(&self.members().count()) || self.samples.len() > MAX_SAMPLES
        {
            return Err(Invalid::Count);
        }
        for (i, volume) in self.volumes.iter().enumerate() {
            if volume.state.removed {
                continue;
            }
            let (before, _) = self.volumes.split_at_checked(i).ok_or(Invalid::Count)?;
            self.check_volume(volume, before)?;
        }
        self.check_regions()?;
        self.check_rebuilds()?;
        self.check_samples()
    }

    fn check_claim(&self) -> Result<(), Invalid> {
        let records = [
            self.volumes.len(),
            self.regions.len(),
            self.rebuilds.len(),
            self.samples.len(),
        ];
        if records == [0; 4] && self.head.phase == Phase::Initialising {
            Ok(())
        } else {
            Err(Invalid::Claim)
        }
    }

    fn find(&self, lid: &Id) -> Option<&VolumeRecord> {
        self.members().find(|volume| volume.lid == *lid)
    }

    fn check_volume(&self, volume: &VolumeRecord, before: &[VolumeRecord]) -> Result<(), Invalid> {
        if before.iter().any(|other| other.lid == volume.lid) {
            return Err(Invalid::Lid);
        }
        if let Some(rlid) = &volume.rlid {
            let store = self.find(rlid).ok_or(Invalid::Rlid)?;
            if !volume.attr.is_volume() || store.attr != Attr::Increments {
                return Err(Invalid::Rlid);
            }
        }
        if let Some(disk) = &volume.disk {
            let shared = before.iter().any(|other| other.disk == volume.disk);
            let owner = self.find(disk).ok_or(Invalid::Disk)?;
            let own = *disk == volume.lid;
            // Only volumes move to other disks, and never to an increments device.
            let fits = own || (volume.attr.is_volume() && owner.attr != Attr::Increments);
            if shared || owner.state.failed || !fits {
                return Err(Invalid::Disk);
            }
        }
        check_health(volume)?;
        let is_idle = || !self.members().any(|v| v.disk == Some(volume.lid));
        if volume.attr == Attr::Spare && volume.health == Health::InSync && is_idle() {
            return Err(Invalid::Health);
        }
        let is_filled = || self.rebuilds.iter().any(|r| r.lid == volume.lid);
        let needs_filling = volume.health == Health::Rebuilding && volume.disk.is_none();
        if volume.attr.is_volume() && needs_filling && !is_filled() {
            return Err(Invalid::Rebuild);
        }
        check_state(&volume.state, volume.attr)
    }

    fn check_rebuilds(&self) -> Result<(), Invalid> {
        for (i, rebuild) in self.rebuilds.iter().enumerate() {
            let (before, _) = self.rebuilds.split_at_checked(i).ok_or(Invalid::Rebuild)?;
            let meets =
                |other: &RebuildRecord| other.lid == rebuild.lid || other.target == rebuild.target;
            let volume = self.find(&rebuild.lid).ok_or(Invalid::Rebuild)?;
            let target = self.find(&rebuild.target).ok_or(Invalid::Rebuild)?;
            let waits = match (volume.health, volume.disk) {
                (Health::Rebuilding, None) => volume.attr.is_volume(),
                // The volume moves.
                (Health::InSync, Some(_)) => volume.attr.is_volume(),
                _ => false,
            };
            // A spare's disk serves the spare itself until it serves a volume.
            let is_own = |user: &VolumeRecord| user.lid == target.lid && user.attr == Attr::Spare;
            let is_used = self
                .members()
                .any(|user| user.disk == Some(target.lid) && !is_own(user));
            let is_free =
                target.attr != Attr::Increments && !target.state.failed && !target.state.pristine;
            let fits = rebuild.cursor <= self.head.sectors;
            if before.iter().any(meets) || !waits || is_used || !is_free || !fits {
                return Err(Invalid::Rebuild);
            }
        }
        Ok(())
    }

    fn check_regions(&self) -> Result<(), Invalid> {
        let sectors = self.head.sectors;
        let block = u64::from(self.head.block_sectors);
        let whole = |sector: u64| sector.checked_rem(block) == Some(0);

        let mut before: Option<(&Id, u64)> = None;
        for region in self.regions.iter() {
            let end = region
                .start
                .checked_add(region.len)
                .filter(|end| *end <= sectors)
                .ok_or(Invalid::Region)?;
            let known = self
                .find(&region.lid)
                .is_some_and(|volume| volume.attr.is_volume());
            let blocks = whole(region.start) && (whole(end) || end == sectors);
            let ordered = before.is_none_or(|before| before <= (&region.lid, region.start));
            if !known || !region.attr.is_volume() || region.len == 0 || !blocks || !ordered {
                return Err(Invalid::Region);
            }
            before = Some((&region.lid, end));
        }
        Ok(())
    }

    fn check_samples(&self) -> Result<(), Invalid> {
        // Both sides round down: a sample is a whole sub-block of the group.
        let sub_blocks = self.head.sectors.checked_div(SUB_BLOCK_SECTORS);
        let in_range = self
            .samples
            .iter()
            .all(|sample| sub_blocks.is_some_and(|n| sample.sub_block < n));
        let in_order = self
            .samples
            .iter()
            .zip(self.samples.iter().skip(1))
            .all(|(a, b)| a.sub_block < b.sub_block);
        if in_range && in_order {
            Ok(())
        } else {
            Err(Invalid::Sample)
        }
    }
}

fn check_health(volume: &VolumeRecord) -> Result<(), Invalid> {
    let possible = match volume.health {
        Health::InSync | Health::Rebuilding | Health::Failed => true,
        Health::Verifying | Health::Diverged => volume.attr.is_volume(),
        Health::Degraded => volume.attr == Attr::Rw,
        Health::Spare => volume.attr == Attr::Spare,
    };
    // An entry that is healthy, or reads only its own disk, has to have a disk.
    let has_disk = match volume.health {
        Health::Failed | Health::Degraded => volume.disk.is_none(),
        // A diverged one that lost its disk stays diverged.
        Health::Rebuilding | Health::Diverged => true,
        // A spare that serves a volume has no disk for itself.
        Health::InSync if volume.attr == Attr::Spare => volume.disk.is_none(),
        // A diverted clone may live on the disks of others from the beginning.
        _ => volume.disk.is_some() || (volume.attr == Attr::Ro && volume.rlid.is_some()),
    };
    if possible && has_disk {
        Ok(())
    } else {
        Err(Invalid::Health)
    }
}

fn check_state(state: &DiskState, attr: Attr) -> Result<(), Invalid> {
    let store = attr == Attr::Increments;
    // A failed store that is to be used again at the next load.
    let awaited = store && state.formatted && state.failed;
    let base_on_store = store && (state.pristine || (state.unprotected && !awaited));
    let stale_base = state.pristine && (state.unprotected || state.failed);
    if base_on_store || stale_base || (state.formatted && !store) {
        Err(Invalid::State)
    } else {
        Ok(())
    }
}
