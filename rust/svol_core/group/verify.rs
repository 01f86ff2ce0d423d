// SPDX-License-Identifier: GPL-2.0

//! New groups whose disks are compared.
//!
//! One volume is the reference: what its disk holds is the base image. Each other one is
//! `verifying`, and uses only its own disk, until that has been compared to its end. The progress
//! of a comparison is not recorded: it starts over, volume by volume, when the group is loaded
//! again.

use super::{
    states::{
        enter,
        mark,
        DiskEvent,
        Event, //
    },
    GroupTable, //
};
use crate::{
    env::AllocError,
    svol_core::health::Health, //
};

/// A volume whose disk has to be compared with the base image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Verification {
    /// The index of the volume.
    pub entry: usize,
    /// The index of the entry whose disk it is.
    pub disk: usize,
    /// The disk may have been written without a log: nobody can tell what it held before, and it
    /// serves nobody else in any case.
    pub is_pointless: bool,
}

impl GroupTable {
    /// The volumes whose disks have to be compared, in the order of the table line.
    pub fn verifications(&self) -> impl Iterator<Item = Verification> + '_ {
        let all = self.volumes().iter().enumerate();
        all.filter(|(_, volume)| !volume.state.removed && volume.health == Health::Verifying)
            .filter_map(|(entry, _)| {
                let disk = self.disk_of(entry)?;
                Some(Verification {
                    entry,
                    disk,
                    is_pointless: self.volume(disk)?.state.unprotected,
                })
            })
    }

    /// The comparison that is due for this volume.
    pub fn verification_of(&self, entry: usize) -> Option<Verification> {
        self.verifications().find(|due| due.entry == entry)
    }

    /// The group after the disk of a volume was compared to its end: it holds the base image,
    /// except for what the volume wrote, or the comparison had no point. `None` if that is known
    /// already.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn with_verified(&self, entry: usize) -> Result<Option<Self>, AllocError> {
        self.changed(|metadata| {
            let volume = metadata.volumes.get_mut(entry);
            volume.is_some_and(|volume| enter(volume, Event::Verified, None))
        })
    }

    /// The group after the disk of a volume was found to differ from the base image where the
    /// volume never wrote: it uses only its own disk from now on. `None` if that is known already,
    /// or the comparison had no point.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn with_diverged(&self, entry: usize) -> Result<Option<Self>, AllocError> {
        let Some(due) = self.verification_of(entry).filter(|due| !due.is_pointless) else {
            return Ok(None);
        };
        self.changed(|metadata| {
            if let Some(disk) = metadata.volumes.get_mut(due.disk) {
                // Has no effect if it was written.
                mark(&mut disk.state, DiskEvent::Differs);
            }
            let volume = metadata.volumes.get_mut(entry);
            volume.is_some_and(|volume| enter(volume, Event::Differs, None))
        })
    }
}
