// SPDX-License-Identifier: GPL-2.0

//! What one volume has changed.

use super::{group::Group, scan::Block, Target};
use crate::{
    marks::Marks,
    output::line,
    ranges::{self, Range},
    spans::Span,
    sparse::{copy_changes, copy_rest},
    store::Store,
    warnings::Warnings,
};
use anyhow::{bail, Result};
use serde::Serialize;
use svol_core::svol_core::store::Owner;

/// What one volume has changed.
#[derive(Serialize)]
pub(super) struct Volume {
    pub(super) lid: String,
    /// Its length, in bytes.
    bytes: u64,
    base_generation: u64,
    /// It is written in place, or may come to be.
    pub(super) in_place: bool,
    removing: bool,
    metadata: Metadata,
    /// The sum of its ranges, in bytes.
    changed_bytes: u64,
    ranges: Vec<Range>,
    /// Where its disk and its increments may differ.
    may_differ: Vec<Span>,
    /// What could not be copied; only known if it was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<Vec<Span>>,
    #[serde(skip)]
    blocks: Vec<Block>,
}

/// Whether the metadata says that the increments have all of it.
#[derive(Clone, Copy, Serialize)]
enum Metadata {
    #[serde(rename = "not looked at")]
    NotGiven,
    #[serde(rename = "agrees")]
    Agrees,
    #[serde(rename = "in doubt")]
    InDoubt,
}

impl Volume {
    /// Puts the blocks of an owner in order.
    pub(super) fn of(
        store: &Store<'_>,
        number: u16,
        owner: &Owner,
        mut blocks: Vec<Block>,
        warnings: &mut Warnings,
    ) -> Result<Self> {
        let lid = owner.lid;
        let bytes = owner.sectors.saturating_mul(512);
        blocks.sort_by_key(|block| (block.record.bid, block.slot));
        let twice = |pair: &[Block]| matches!(pair, [a, b] if a.record.bid == b.record.bid);
        if blocks.windows(2).any(twice) {
            bail!("{lid}: a block is in several slots, see svol check: nobody knows its content");
        }
        if owner.removing {
            warnings.add(format_args!(
                "{lid} is being removed; part of its entries may be given back already"
            ));
        }
        let marks = Marks::of(store, number, owner);
        if marks.regions > 0 {
            warnings.add(format_args!(
                "{lid}: {} regions were being written when the group stopped; there its disk and its increments may differ: in place, the disk may be newer; degraded or rebuilding, the increments are (see svol dump of the metadata)",
                marks.regions
            ));
        }
        let mut list = Vec::new();
        for changed in &blocks {
            for range in ranges::of_record(&changed.record, store.block_bytes(), bytes) {
                ranges::push(&mut list, range);
            }
        }
        Ok(Self {
            lid: lid.to_string(),
            bytes,
            base_generation: owner.base_generation,
            in_place: owner.region_shift.is_some(),
            removing: owner.removing,
            metadata: Metadata::NotGiven,
            changed_bytes: list
                .iter()
                .fold(0, |sum: u64, range| sum.saturating_add(range.bytes)),
            ranges: list,
            may_differ: marks.spans,
            unreadable: None,
            blocks,
        })
    }

    /// Asks the metadata whether that is all of it.
    pub(super) fn ask(&mut self, group: &Group, owner: &Owner, warnings: &mut Warnings) {
        self.metadata = match group.vouches_for(owner, warnings) {
            true => Metadata::Agrees,
            false => Metadata::InDoubt,
        };
    }

    /// Writes what it has changed to a new file; all that it holds, if there is a base image.
    pub(super) fn write(
        &mut self,
        store: &Store<'_>,
        target: Target<'_>,
        warnings: &mut Warnings,
    ) -> Result<()> {
        let Target { file, base } = target;
        file.set_len(self.bytes)?;
        let mut lost = copy_changes(store, &self.blocks, self.bytes, &file)?;
        if let Some(base) = &base {
            lost.extend(copy_rest(base, &self.ranges, self.bytes, &file)?);
        }
        file.publish()?;
        lost.sort_by_key(|part| part.span.start);
        for part in &lost {
            warnings.add(format_args!(
                "{}: {} bytes from {} cannot be read, and are a hole in the file: {}",
                self.lid, part.span.bytes, part.span.start, part.error
            ));
        }
        self.unreadable = Some(lost.into_iter().map(|part| part.span).collect());
        Ok(())
    }

    pub(super) fn print(&self) -> Result<()> {
        line(format_args!(
            "{}: {} of {} bytes changed since split {}",
            self.lid, self.changed_bytes, self.bytes, self.base_generation
        ))?;
        for range in &self.ranges {
            let kind = if range.zero { "zero" } else { "data" };
            line(format_args!("  {} {} {kind}", range.start, range.bytes))?;
        }
        let unreadable = self.unreadable.iter().flatten();
        let others = [
            (self.may_differ.iter().collect::<Vec<_>>(), "marked"),
            (unreadable.collect(), "unreadable"),
        ];
        for (spans, kind) in others {
            for span in spans {
                line(format_args!("  {} {} {kind}", span.start, span.bytes))?;
            }
        }
        Ok(())
    }
}
