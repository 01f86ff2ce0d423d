// SPDX-License-Identifier: GPL-2.0

//! Where the disk of a volume and its increments may differ.

use crate::{
    spans::{self, Span},
    store::Store,
};
use svol_core::svol_core::store::{intent, Owner};

/// The marks of an owner.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// How many regions are marked.
    pub(crate) regions: u64,
    /// Where they are, each as long as it can be.
    pub(crate) spans: Vec<Span>,
}

impl Marks {
    /// Reads those of owner `number`.
    pub(crate) fn of(store: &Store<'_>, number: u16, owner: &Owner) -> Self {
        let size = region_bytes(owner);
        let end = owner.sectors.saturating_mul(512);
        let mut marks = Self::default();
        let mut first = 0u64;
        for (_, regions, sector) in store.intent(number, owner) {
            // A damaged sector stands for marks on all its regions.
            let is_marked = |mark| match &sector {
                Ok(sector) => intent::is_marked(sector, mark),
                Err(_) => true,
            };
            for mark in (0..regions).filter(|mark| is_marked(*mark)) {
                let start = first.saturating_add(mark.into()).saturating_mul(size);
                marks.regions = marks.regions.saturating_add(1);
                let span = Span {
                    start,
                    bytes: end.saturating_sub(start).min(size),
                };
                spans::push(&mut marks.spans, span);
            }
            first = first.saturating_add(regions.into());
        }
        marks
    }
}

/// The size of a region, in bytes; 0 for a volume that has none.
pub(crate) fn region_bytes(owner: &Owner) -> u64 {
    owner
        .region_shift
        .and_then(|shift| 512u64.checked_mul(1u64.checked_shl(shift)?))
        .unwrap_or(0)
}
