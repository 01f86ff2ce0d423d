// SPDX-License-Identifier: GPL-2.0

//! A live group table: what mapping a bio needs, and nothing that could make it wait.

use crate::{
    dm::{
        current_cpu,
        Bio,
        BioInfo,
        Ended,
        InUse,
        Mapped,
        Op, //
    },
    members::Members,
    stats::VolumeStats,
    svol_core::{
        id::Id,
        route::{
            self,
            Route,
            VolumeView, //
        },
        select::{
            Selector,
            Source, //
        }, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// What is kept with each bio in flight.
#[derive(Clone, Copy, Default)]
pub(crate) struct InFlight {
    /// Index of the entry whose disk has it, plus 1; 0 if none has.
    disk: u32,
}

/// One entry as mapping sees it.
pub(crate) struct Volume {
    /// The entry's ID.
    pub(crate) lid: Id,
    /// How its I/O is routed.
    pub(crate) view: VolumeView,
    /// Its counters, kept over reloads.
    pub(crate) stats: Arc<VolumeStats>,
    /// Where its sequential reads stand.
    pub(crate) selector: KBox<Selector>,
}

/// A live group table.
pub(crate) struct Bound {
    /// The devices.
    pub(crate) members: Arc<Members>,
    /// All entries, in the order of the line.
    pub(crate) volumes: KVec<Volume>,
    /// Entries whose disks serve reads of the base image.
    pub(crate) sources: KVec<usize>,
    /// For reads of the group's own device.
    pub(crate) selector: KBox<Selector>,
}

impl Bound {
    /// The index of a volume that is at least `sectors` long.
    pub(crate) fn position(&self, lid: &Id, sectors: u64) -> Option<usize> {
        if sectors > self.members.sectors {
            return None;
        }
        self.volumes.iter().position(|v| v.lid == *lid)
    }

    /// Sends a volume's bio on its way. Does not sleep.
    pub(crate) fn map_volume<'a>(
        this: InUse<'_, Self>,
        entry: usize,
        bio: Bio<'a, InFlight>,
    ) -> Mapped<'a> {
        let bound: &Self = &this;
        let Some(volume) = bound.volumes.get(entry) else {
            return bio.fail();
        };
        let info = bio.info();
        let disk = match route::route(&volume.view, operation(info.op)) {
            Route::Base => bound.choose(&volume.selector, info),
            Route::Own(disk) => Some(disk),
            Route::Refuse(_) => None,
        };
        volume.stats.count_io(current_cpu());
        Self::send(this, disk, bio)
    }

    /// Sends a read of the base image on its way. Does not sleep.
    pub(crate) fn map_base<'a>(this: InUse<'_, Self>, bio: Bio<'a, InFlight>) -> Mapped<'a> {
        let disk = this.choose(&this.selector, bio.info());
        Self::send(this, disk, bio)
    }

    fn choose(&self, selector: &Selector, info: BioInfo) -> Option<usize> {
        selector.choose(
            current_cpu(),
            info.sector,
            info.sectors,
            self.sources.len(),
            |i| {
                let entry = *self.sources.get(i)?;
                let disk = self.members.disk(entry)?;
                Some(Source {
                    entry,
                    in_flight: disk.in_flight(),
                })
            },
        )
    }

    fn send<'a>(
        this: InUse<'_, Self>,
        entry: Option<usize>,
        mut bio: Bio<'a, InFlight>,
    ) -> Mapped<'a> {
        let Some(entry) = entry else {
            return bio.fail();
        };
        let Some(disk) = this.part(|bound| bound.members.disk(entry)) else {
            return bio.fail();
        };
        let Some(device) = disk.part(|disk| Some(&disk.device)) else {
            return bio.fail();
        };
        disk.begin();
        bio.data_mut().disk = u32::try_from(entry.saturating_add(1)).unwrap_or(0);
        let sector = bio.info().sector;
        bio.remap(device, sector)
    }

    /// A bio came back from the disk that it was sent to. Does not sleep.
    pub(crate) fn ended(&self, bio: &Ended<'_, InFlight>) {
        let Some(entry) = bio
            .data()
            .disk
            .checked_sub(1)
            .and_then(|e| usize::try_from(e).ok())
        else {
            return;
        };
        if let Some(disk) = self.members.disk(entry) {
            disk.end();
        }
        if bio.status().is_error() {
            if let Some(volume) = self.volumes.get(entry) {
                volume.stats.count_error(bio.info().op == Op::Read);
            }
        }
    }
}

fn operation(op: Op) -> route::Op {
    match op {
        Op::Read => route::Op::Read,
        Op::Write => route::Op::Write,
        Op::Flush => route::Op::Flush,
        Op::Discard => route::Op::Discard,
        Op::WriteZeroes => route::Op::WriteZeroes,
        Op::Other => route::Op::Other,
    }
}
