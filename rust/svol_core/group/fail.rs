// SPDX-License-Identifier: GPL-2.0

//! Disks that fail while the group is in use.

use super::GroupTable;
use crate::{
    env::AllocError,
    svol_core::{attr::Attr, id::Id},
};
use core::fmt;

/// Why a disk can't be given up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FailError {
    /// Memory ran out.
    NoMemory,
    /// There is no such entry.
    Unknown,
    /// It has no disk.
    NoDisk,
    /// It has failed already.
    Known,
    /// The remaining disks could not serve this volume.
    Needed(Id),
}

impl From<AllocError> for FailError {
    fn from(_: AllocError) -> Self {
        Self::NoMemory
    }
}

impl fmt::Display for FailError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("out of memory"),
            Self::Unknown => f.write_str("the group has no such entry"),
            Self::NoDisk => f.write_str("it has no disk"),
            Self::Known => f.write_str("its disk has failed already"),
            Self::Needed(lid) => write!(f, "without it nobody can serve {lid}"),
        }
    }
}

impl GroupTable {
    /// The entry whose disk is meant when users name this entry: the one that serves it, or its own
    /// if it is no volume or its own disk is being filled. There is no other way to name that disk,
    /// and the disk that serves it then belongs to another entry.
    ///
    /// # Errors
    ///
    /// [`FailError::Unknown`], [`FailError::NoDisk`].
    pub fn disk_meant(&self, lid: &Id) -> Result<usize, FailError> {
        let entry = self.position(lid).ok_or(FailError::Unknown)?;
        let volume = self.volume(entry).ok_or(FailError::Unknown)?;
        if self.rebuilds().any(|rebuild| rebuild.target == entry) {
            return Ok(entry);
        }
        match volume.attr {
            Attr::Spare | Attr::Increments => Ok(entry),
            Attr::Ro | Attr::Rw => self.disk_of(entry).ok_or(match volume.state.failed {
                true => FailError::Known,
                false => FailError::NoDisk,
            }),
        }
    }

    /// The group after the disk that is listed for `entry` was given up. Whatever was served before
    /// must still be served: a disk that nothing replaces is of more use than none.
    ///
    /// # Errors
    ///
    /// See [`FailError`].
    #[inline(never)]
    pub fn with_disk_given_up(&self, entry: usize) -> Result<Self, FailError> {
        let volume = self.volume(entry).ok_or(FailError::Unknown)?;
        if volume.state.removed {
            return Err(FailError::Unknown);
        }
        let next = self.with_failed_disk(entry)?.ok_or(FailError::Known)?;
        match self.first_to_lose(&next) {
            Some(other) => Err(FailError::Needed(other)),
            None => Ok(next),
        }
    }
}

/// What happens to the volumes of an increments volume that has failed, for the log.
pub struct Fates<'a> {
    table: &'a GroupTable,
    store: usize,
}

impl<'a> Fates<'a> {
    /// For the increments volume that is the entry `store`.
    pub fn new(table: &'a GroupTable, store: usize) -> Self {
        Self { table, store }
    }
}

impl fmt::Display for Fates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in self.table.users_of(self.store) {
            if let Some(volume) = self.table.volume(entry) {
                let what = match self.table.is_served(entry) {
                    true => "goes on, unprotected",
                    false => "fails",
                };
                write!(f, "; {} {what}", volume.lid)?;
            }
        }
        Ok(())
    }
}
