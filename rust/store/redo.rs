// SPDX-License-Identifier: GPL-2.0

//! Writes that a device refused as they were, and that the worker does once more; see
//! [`crate::logged`].
//!
//! Until such a write of a logged volume has ended, disk and store may differ where it goes,
//! although its write locks are free: no marks are taken back there, and nobody takes what the disk
//! has for the base image.

use super::Owner;
use crate::{
    bound::{
        Bound,
        InFlight, //
    },
    dm::Parked,
    overlay::Place,
    svol_core::route::Home,
};

impl Owner {
    /// A device refused a write as it was, and all of it is about to be written again. To be called
    /// before the write's locks and ticket are released. Does not sleep.
    pub(crate) fn begin_redo(&self, sector: u64, sectors: u32) {
        self.redos.begin(sector, sectors);
    }

    /// Whether a write near these sectors is about to be written again. What [`end`] pins
    /// is seen by those who ask this first. Does not sleep.
    pub(crate) fn has_redos(&self, sector: u64, sectors: u32) -> bool {
        self.redos.is_any(sector, sectors)
    }
}

/// A write that had to be written again has ended. Does not sleep.
pub(super) fn end(parked: &mut Parked<Bound, InFlight>, is_done: bool) {
    parked.data_mut().is_redone = false;
    let (bound, info) = (parked.keep(), parked.info());
    let volume = parked.data().volume.get();
    let Some(place) = volume.and_then(|volume| Place::of(bound, volume)) else {
        return;
    };
    let owner = place.owner();
    // A diverted write never went to the disk.
    let is_diverted = volume
        .and_then(|volume| bound.volumes.get(volume))
        .is_some_and(|volume| volume.view_at(info.sector).writes == Home::Overlay);
    if !is_done && !is_diverted {
        // One of the two may have it since the first time.
        if let Some(intents) = &owner.intents {
            intents.pin(info.sector, info.sectors);
        }
        if let Some(disk) = owner.disk() {
            owner.note_fill_ahead(disk);
        }
        bound.record_lacks(owner);
    }
    owner.redos.end(info.sector, info.sectors);
}
