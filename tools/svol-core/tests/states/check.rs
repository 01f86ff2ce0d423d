// SPDX-License-Identifier: GPL-2.0

//! What must be true of a group whatever has happened to it.

use crate::world::{at_half, Content, Halves, Log, World, FAILED, FAILING, HALVES};
use svol_core::svol_core::{
    attr::Attr,
    group::GroupTable,
    health::{GroupState, Health, Protection},
    log_mode::Mode,
    route::{Home, VolumeView},
};

impl World {
    /// Checks all of it; says what is wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.reread();
        self.check_disks()?;
        self.check_reads()?;
        self.check_words()?;
        if self.in_flight() == 0 {
            self.check_losses()?;
        }
        Ok(())
    }

    /// P4, and what a clean source is.
    fn check_disks(&self) -> Result<(), String> {
        for disk in self.members() {
            let state = &self.table.volume(self.at(disk).unwrap()).unwrap().state;
            if state.pristine && self.disks[disk] != [Content::Base; HALVES] {
                return Err(format!("disk {disk} is pristine without the base image"));
            }
        }
        for source in self.table.sources() {
            let disk = self.number(source);
            let state = &self.table.volume(source).unwrap().state;
            if state.unprotected || state.failed || self.served_by(disk).is_none() {
                return Err(format!("disk {disk} must not be a source"));
            }
        }
        for disk in self.sources() {
            if self.disks[disk] != [Content::Base; HALVES] {
                return Err(format!("others read {:?} from {disk}", self.disks[disk]));
            }
            let serves = self.served_by(disk).is_some();
            if self.live.effect.is_none() && !serves {
                return Err(format!("disk {disk} serves nobody, and is read"));
            }
        }
        for rebuild in self.table.rebuilds() {
            let target = self.number(rebuild.target);
            if self.served_by(target).is_some() {
                return Err(format!("disk {target} is filled, and serves"));
            }
            let volume = self.table.volume(rebuild.entry).unwrap();
            let moves = volume.attr.is_volume() && volume.health == Health::InSync;
            if !moves && volume.health != Health::Rebuilding {
                return Err(format!("disk {target} is filled for nobody"));
            }
        }
        Ok(())
    }

    /// P1 to P3, P5: who is served reads what was written last.
    fn check_reads(&self) -> Result<(), String> {
        for volume in self.volumes() {
            let view = self.live.views[volume];
            let sources: Vec<_> = self.sources().collect();
            let diverted = self.live.diverted[volume];
            if !self.reads_right(volume, view, diverted, &sources) {
                return Err(format!("volume {volume} reads something else by {view:?}"));
            }
            let stored = self.view(volume, &self.table);
            let halves = self.diverted(volume, &self.table);
            let sources: Vec<_> = self.table.sources().map(|s| self.number(s)).collect();
            if self.is_served(volume) && !self.reads_right(volume, stored, halves, &sources) {
                return Err(format!("volume {volume} would read something else"));
            }
            let is_here = self.live.here[volume];
            let is_served = is_here && self.is_served(volume) && self.live.effect.is_none();
            if is_served && view == VolumeView::NOWHERE {
                return Err(format!("volume {volume} could be served, and is not"));
            }
            let reads = [0, 1].map(|half| self.view_at(volume, half).reads);
            let needs_base = |reads: &Home| matches!(reads, Home::Base | Home::Overlay);
            if is_served && reads.iter().any(needs_base) {
                let is_read = self.sources().next().is_some();
                if !is_read {
                    return Err(format!("volume {volume} has no source"));
                }
            }
            let is_failing = |disk: usize| self.live.apart[disk] & FAILING != 0;
            let is_held = self.live.modes[volume] == Some(Mode::Held);
            let waits = matches!(view.writes, Home::Logged(disk) if is_failing(disk));
            if is_held && !waits && view != VolumeView::NOWHERE {
                return Err(format!(
                    "volume {volume} waits for a disk that does not fail"
                ));
            }
            let store = self.store_of(volume).unwrap_or(volume);
            if self.live.apart[store] & FAILED != 0 && reads.contains(&Home::Overlay) {
                return Err(format!("volume {volume} reads a store that has failed"));
            }
            let lacks = matches!(self.live.modes[volume], Some(Mode::Disk | Mode::Behind));
            if lacks && view.reads == Home::Overlay {
                return Err(format!("volume {volume} reads a log that lacks something"));
            }
        }
        Ok(())
    }

    /// Whether a volume reads what was written last.
    pub(crate) fn reads_right(
        &self,
        volume: usize,
        view: VolumeView,
        diverted: Halves<bool>,
        sources: &[usize],
    ) -> bool {
        let mut halves = diverted.into_iter().enumerate();
        halves.all(|(half, is_diverted)| {
            let view = at_half(view, is_diverted);
            self.reads_half_right(volume, half, view, sources)
        })
    }

    fn reads_half_right(
        &self,
        volume: usize,
        half: usize,
        view: VolumeView,
        sources: &[usize],
    ) -> bool {
        let wrote = self.wrote[volume][half];
        let is_own = |disk: usize| match self.disks[disk][half] {
            Content::Own(of) => of == volume,
            Content::Base => !wrote,
            _ => false,
        };
        let is_base = || {
            let mut sources = sources.iter();
            sources.all(|source| self.disks[*source][half] == Content::Base)
        };
        match view.reads {
            Home::Disk(disk) | Home::Logged(disk) => is_own(disk),
            Home::Base => !wrote && is_base(),
            Home::Overlay | Home::Kept => {
                let store = self.store_of(volume);
                let has_all = store.is_some() && self.logs[volume][half] == Log::All;
                (has_all || !wrote) && is_base()
            }
            Home::Nowhere => true,
        }
    }

    /// The words of the status.
    fn check_words(&self) -> Result<(), String> {
        let all_served = self.volumes().all(|volume| self.is_served(volume));
        if (self.table.state() == GroupState::Failed) == all_served {
            return Err(format!("the group is {}", self.table.state()));
        }
        for volume in self.volumes() {
            let entry = self.at(volume).unwrap();
            let record = self.table.volume(entry).unwrap();
            let health = self.table.health(entry).unwrap();
            let is_well = match health {
                Health::InSync => self.is_served(volume),
                Health::Degraded => record.attr == Attr::Rw && self.is_served(volume),
                _ => true,
            };
            if !is_well {
                return Err(format!("volume {volume} is said to be {health}"));
            }
            let is_filled = self.target_of(volume).is_some();
            let moves = is_filled && health == Health::InSync;
            if (health == Health::Rebuilding) != is_filled && !moves && health != Health::Failed {
                return Err(format!("volume {volume} is said to be {health}, is not"));
            }
        }
        Ok(())
    }

    /// Redundancy and protection, by losing everything once.
    fn check_losses(&self) -> Result<(), String> {
        let redundancy = self.table.redundancy();
        if redundancy > 0 && self.table.head().copies.live_count() < 2 {
            return Err("redundancy without a second metadata copy".into());
        }
        for lost in self.members() {
            let entry = self.at(lost).unwrap();
            let Some(next) = self.table.with_failed_disk(entry).unwrap() else {
                continue;
            };
            for volume in self.volumes() {
                let survives = self.survives(volume, &next);
                if redundancy > 0 && !survives {
                    return Err(format!("redundant, but {volume} dies with {lost}"));
                }
                let entry = self.at(volume).unwrap();
                let is_protected = self.table.protection(entry) == Protection::Protected;
                if is_protected && self.disk_of(volume) == Some(lost) && !survives {
                    return Err(format!("protected, but {volume} dies with {lost}"));
                }
            }
        }
        Ok(())
    }

    /// Whether a volume is served, by the right data, after a loss.
    fn survives(&self, volume: usize, next: &GroupTable) -> bool {
        let entry = self.at(volume).unwrap();
        let sources: Vec<_> = next.sources().map(|s| self.number(s)).collect();
        let (view, diverted) = (self.view(volume, next), self.diverted(volume, next));
        next.is_served(entry) && self.reads_right(volume, view, diverted, &sources)
    }
}
