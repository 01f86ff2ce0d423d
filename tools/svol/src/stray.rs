// SPDX-License-Identifier: GPL-2.0

//! Entries that are whole, and make no sense in their store.

use crate::store::Store;
use std::fmt;
use svol_core::svol_core::store::entries::Record;

/// Why nobody can use an entry. The texts go on after "entries of owner 9".
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Stray {
    /// The store has no such slot.
    NoSlot,
    /// The table cannot tell who has the number.
    LostOwner,
    /// Nobody has the number.
    NoOwner,
    /// The volume has no such block.
    NoBlock,
}

impl Stray {
    /// Judges the entry of a slot; `None` if nothing is wrong with it.
    pub(crate) fn of(store: &Store<'_>, slot: u32, record: &Record) -> Option<Self> {
        if slot >= store.slots {
            return Some(Self::NoSlot);
        }
        match store.owner(record.owner) {
            None if store.is_lost(record.owner) => Some(Self::LostOwner),
            None => Some(Self::NoOwner),
            Some(owner) if record.bid >= owner.blocks(store.layout.block_sectors()) => {
                Some(Self::NoBlock)
            }
            Some(_) => None,
        }
    }
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSlot => "of slots that the device has not",
            Self::LostOwner => "whose owner is lost",
            Self::NoOwner => "which nobody has",
            Self::NoBlock => "for blocks behind its end",
        })
    }
}
