// SPDX-License-Identifier: GPL-2.0

//! Disks that do not answer: what they were asked to do is done when they answer again, however
//! late that is, and whatever they are used for by then.
//!
//! A write that such a disk has counts as done from the beginning: the store has it, and nobody can
//! tell whether the disk does. If the disk is no longer its volume's own when it answers, the write
//! may come then, over whatever the disk holds.

use crate::{
    events::Broken,
    world::{Content, Effect, Held, World, FAILED, FAILING, HALVES, WRITTEN},
};
use svol_core::svol_core::route::{Home, VolumeView};

impl World {
    pub(crate) fn is_silent(&self, disk: usize) -> bool {
        self.live.held[disk].is_some()
    }

    /// Whether a disk still has reads of the base image.
    pub(crate) fn has_reads(&self, disk: usize) -> bool {
        self.live.held[disk].is_some_and(|held| held.reads)
    }

    /// Whether the base image can be read from a disk that answers.
    pub(crate) fn has_source(&self) -> bool {
        self.sources().any(|source| !self.is_silent(source))
    }

    /// A disk that has I/O stops answering.
    pub(crate) fn fall_silent(&mut self, disk: usize) -> bool {
        let is_well = self.live.here[disk] && self.live.apart[disk] & (FAILING | FAILED) == 0;
        if self.is_silent(disk) || !is_well || self.has_failed(disk) {
            return false;
        }
        let is_copied = |volume: &usize| {
            let has_begun = self.live.effect != Some(Effect::Began(*volume, disk));
            self.target_of(*volume) == Some(disk) && has_begun && !self.live.is_full[*volume]
        };
        let writes = self.volumes().find(is_copied);
        if !self.is_read(disk) && writes.is_none() {
            return false;
        }
        let reads = self.sources().any(|source| source == disk);
        self.live.held[disk] = Some(Held {
            reads,
            writes,
            is_late: false,
        });
        true
    }

    /// It answers.
    pub(crate) fn answer(&mut self, disk: usize) -> bool {
        let Some(held) = self.live.held[disk].take() else {
            return false;
        };
        let content = self.disks[disk];
        let is_right = !held.reads || content == [Content::Base; HALVES];
        assert!(is_right, "others have read {content:?} from {disk}");
        if held.is_late {
            self.disks[disk] = [Content::Junk; HALVES];
        }
        true
    }

    /// It is given up, if what its volume goes on with answers.
    pub(crate) fn give_up(&mut self, disk: usize, broken: Broken) -> bool {
        let is_here = |volume: &usize| match self.live.views[*volume].writes {
            Home::Logged(own) => own == disk && self.live.modes[*volume].is_some(),
            Home::Kept => self.target_of(*volume) == Some(disk),
            _ => false,
        };
        let store = self.volumes().find(is_here).and_then(|v| self.store_of(v));
        let answers = store.is_some_and(|store| self.live.apart[store] == 0);
        let entry = self.at(disk).unwrap();
        let others = |source: usize| source != disk && !self.is_silent(source);
        self.is_silent(disk)
            && answers
            && self.sources().any(others)
            && self.table.with_disk_given_up(entry).is_ok()
            && self.begin_failure(disk, false, broken)
    }

    /// A read of a volume whose disk does not answer, if it may go elsewhere.
    pub(crate) fn read_past(&self, volume: usize, broken: Broken) {
        let view = self.live.views[volume];
        let Home::Disk(disk) = view.reads else {
            return;
        };
        let Some(held) = self.live.held[disk] else {
            return;
        };
        let has_base = self.live.sources[disk] && self.live.apart[disk] & WRITTEN == 0;
        let reads = match (view.writes, self.live.modes[volume]) {
            _ if has_base => Home::Base,
            (Home::Logged(_), Some(mode)) => {
                let may = mode.is_logged() && held.writes != Some(volume);
                if !may && broken != Broken::ReadsPast {
                    return;
                }
                Home::Overlay
            }
            _ => return,
        };
        let sources: Vec<_> = self.sources().collect();
        let diverted = self.live.diverted[volume];
        assert!(
            self.reads_right(volume, VolumeView { reads, ..view }, diverted, &sources),
            "volume {volume} reads something else past its disk"
        );
    }

    /// What a disk has to do for a volume comes late once the volume no longer uses the disk.
    pub(crate) fn notice_late(&mut self, disk: usize) {
        let Some(volume) = self.live.held[disk].and_then(|held| held.writes) else {
            return;
        };
        let writes = self.live.views[volume].writes;
        let is_used = writes == Home::Logged(disk)
            || writes == Home::Disk(disk)
            || self.live.effect == Some(Effect::Rebuilt(volume, disk))
            || self.target_of(volume) == Some(disk);
        if let Some(held) = self.live.held[disk].as_mut().filter(|_| !is_used) {
            held.writes = None;
            held.is_late = true;
        }
    }
}
