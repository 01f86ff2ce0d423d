// SPDX-License-Identifier: GPL-2.0

//! Discards of diverted volumes.

use super::{
    slow::Slow,
    write::Range, //
};
use crate::svol_core::block_map::Entry;
use kernel::prelude::*;

/// How many blocks a discard releases at once.
const DISCARD_BLOCKS: usize = 256;

impl Slow<'_> {
    /// Releases the blocks that a discard covers entirely; others stay as they are.
    pub(super) fn discard(&self, range: Range) -> Result {
        let shift = self.map().block_shift();
        let end = range.sector.saturating_add(u64::from(range.sectors));
        let mut bid = range.sector.div_ceil(1 << shift);
        let last = if end >= self.bound.members.sectors {
            self.map().blocks()
        } else {
            end >> shift
        };
        let mut bids = KVec::with_capacity(DISCARD_BLOCKS, GFP_KERNEL)?;
        while bid < last {
            bids.clear();
            while bid < last && bids.len() < DISCARD_BLOCKS {
                if self.map().get(bid).slot().is_some() {
                    bids.push(bid, GFP_KERNEL)?;
                }
                bid = bid.saturating_add(1);
            }
            if !bids.is_empty() {
                self.free(&bids)?;
            }
        }
        Ok(())
    }

    /// Takes blocks out of the map, and releases their slots once nothing relies on them.
    fn free(&self, bids: &[u64]) -> Result {
        let mut slots = KVec::with_capacity(bids.len(), GFP_KERNEL)?;
        let mut freed = KVec::with_capacity(bids.len(), GFP_KERNEL)?;
        self.store.freeze(self.owner, bids)?;
        for bid in bids {
            let out = |entry: Entry| Some(entry.moved_to(None).with_dirty(false));
            let old = self.map().update(*bid, out).map(|(old, _)| old);
            if let Some((old, slot)) = old.and_then(|old| Some((old, old.slot()?))) {
                // There is room.
                let _ = slots.push_within_capacity(slot);
                let _ = freed.push_within_capacity((*bid, old));
            }
        }
        // Then wait for reads that found a slot before.
        let result = self
            .store
            .write_free(&mut slots)
            .and_then(|()| self.store.wait_for_ios(self.owner));
        if result.is_ok() {
            for slot in &slots {
                self.store.slots.free(*slot);
            }
        } else {
            // Their entries may still be on disk, and no block may ever have two slots.
            for (bid, old) in &freed {
                self.map().update(*bid, |_| Some(old.with_dirty(true)));
                self.store.note_change();
            }
        }
        self.store.thaw(self.owner, bids);
        result
    }
}
