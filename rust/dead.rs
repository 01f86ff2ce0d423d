// SPDX-License-Identifier: GPL-2.0

//! Devices that can't be read when a group starts.

use crate::{
    log,
    svol_core::{
        attr::Attr,
        group::GroupTable, //
    }, //
};
use kernel::prelude::*;

/// Entries whose devices can't be read at this start: they count as missing.
#[derive(Default)]
pub(crate) struct Dead(KVec<usize>);

impl Dead {
    /// Whether the device of an entry can't be read.
    pub(crate) fn contains(&self, entry: usize) -> bool {
        self.0.contains(&entry)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds an entry, and logs it. Sleeps for memory.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn add(&mut self, table: &GroupTable, entry: usize, error: Error) -> Result {
        if self.contains(entry) {
            return Ok(());
        }
        if let Some(volume) = table.volume(entry) {
            let what = match volume.attr {
                Attr::Increments => "increments",
                _ => "disk of",
            };
            let errno = error.to_errno();
            log::warning!(
                table.id(),
                "{what} {}: can't be read: error {errno}; counts as missing",
                volume.lid
            );
        }
        Ok(self.0.push(entry, GFP_KERNEL)?)
    }
}
