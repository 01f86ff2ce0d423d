// SPDX-License-Identifier: GPL-2.0

//! The blocks that volumes have changed.

use crate::{
    output::progress,
    store::{slots_text, Store},
    stray::Stray,
    warnings::Warnings,
};
use anyhow::Result;
use std::collections::BTreeMap;
use svol_core::svol_core::store::entries::Record;

/// A block that a volume has changed.
pub(crate) struct Block {
    pub(crate) record: Record,
    pub(crate) slot: u32,
}

/// The blocks of each owner that is of interest.
pub(super) type Changes = BTreeMap<u16, Vec<Block>>;

/// Adds the blocks of the owners in `changes`. Warns of what may be theirs and is left out.
pub(super) fn scan(
    store: &Store<'_>,
    changes: &mut Changes,
    warnings: &mut Warnings,
) -> Result<()> {
    let mut strays: BTreeMap<(u16, Stray), u64> = BTreeMap::new();
    let bar = progress("entries", store.segments());
    store.for_each_sector(&bar, |sector| {
        if let Err(error) = sector.sector {
            // What the device has not is told as a whole.
            if !sector.is_missing && sector.first_slot < store.layout.slots() {
                let (slots, offset) = (slots_text(sector.first_slot), sector.offset);
                bar.suspend(|| {
                    warnings.add(format_args!(
                        "entries of {slots}, at {offset}: {error}; something may be missing"
                    ));
                });
            }
        }
        for (slot, record) in sector.records() {
            let owner = record.owner;
            match (Stray::of(store, slot, &record), changes.get_mut(&owner)) {
                (None, Some(blocks)) => blocks.push(Block { record, slot }),
                // Nobody asked for it, or it is told already.
                (None, None) | (Some(Stray::LostOwner), _) => {}
                (Some(_), None) if store.owner(owner).is_some() => {}
                (Some(stray), _) => {
                    let count = strays.entry((owner, stray)).or_default();
                    *count = count.saturating_add(1);
                }
            }
        }
        Ok(())
    })?;
    for ((number, stray), count) in strays {
        let name = store
            .owner(number)
            .map_or("unknown", |owner| owner.lid.as_str());
        warnings.add(format_args!(
            "{count} entries of owner {number} ({name}) {stray} are left out, see svol check"
        ));
    }
    Ok(())
}
