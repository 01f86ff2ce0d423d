// SPDX-License-Identifier: GPL-2.0

//! Blocks that are frozen: writes that find one go to the worker's queue. So nobody else writes to
//! a block of a diverted volume while the worker merges into it or frees it.

use super::{
    Owner,
    Store, //
};
use crate::svol_core::block_map::Entry;
use kernel::prelude::*;

impl Store {
    /// Holds back writes of these blocks of an owner, and waits until all I/O that began before has
    /// ended; if that fails, nothing is held back. For the worker. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of [`Store::wait_for_ios`]; `EIO` if there is no such block.
    pub(super) fn freeze(&self, owner: &Owner, bids: &[u64]) -> Result {
        for bid in bids {
            let frozen = |entry: Entry| Some(entry.with_frozen(true));
            owner.map.update(*bid, frozen).ok_or(EIO)?;
        }
        self.wait_for_ios(owner)
            .inspect_err(|_| self.thaw(owner, bids))
    }

    /// Lets writes of these blocks proceed; those that came meanwhile are in the worker's queue.
    pub(super) fn thaw(&self, owner: &Owner, bids: &[u64]) {
        for bid in bids {
            let thawed = |entry: Entry| Some(entry.with_frozen(false));
            owner.map.update(*bid, thawed);
        }
    }
}
