// SPDX-License-Identifier: GPL-2.0

//! `svol diff`: what volumes have changed since the split.

use crate::{
    cli::Diff,
    device::Device,
    output::{json, line, progress},
    ranges::{self, Range},
    sparse,
    store::{slots_text, Store},
    AT_RISK, CLEAN,
};
use anyhow::{bail, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use svol_core::svol_core::store::{entries::Record, Phase};

/// A block that a volume has changed.
pub(crate) struct Block {
    pub(crate) record: Record,
    pub(crate) slot: u32,
}

/// What one volume has changed.
#[derive(Serialize)]
struct Volume {
    lid: String,
    /// Its length, in bytes.
    bytes: u64,
    base_generation: u64,
    /// The sum of its ranges, in bytes.
    changed_bytes: u64,
    ranges: Vec<Range>,
}

pub(crate) fn run(args: &Diff) -> Result<u8> {
    let device = Device::open(&args.device)?;
    let store = Store::open(&device)?;
    if store.header.value.phase == Phase::Formatting {
        bail!("the increments store was never finished");
    }
    let mut status = CLEAN;
    let mut warn = |text: String| {
        eprintln!("svol: {text}");
        status = AT_RISK;
    };
    let lost = store.owner_states().filter(|(_, state)| state.is_err());
    for (number, _) in lost {
        warn(format!("owner {number} is lost, see svol check"));
    }

    let mut changes: BTreeMap<u16, Vec<Block>> = store
        .owners()
        .filter(|(_, owner)| {
            let name = owner.lid.to_string();
            !owner.removing && args.lid.as_ref().is_none_or(|lid| *lid == name)
        })
        .map(|(number, _)| (number, Vec::new()))
        .collect();
    if let (Some(lid), true) = (&args.lid, changes.is_empty()) {
        bail!("{lid} has nothing in this increments store");
    }
    if args.sparse.is_some() && changes.len() != 1 {
        bail!(
            "a sparse file has room for one volume, this increments store has {}: choose with --lid",
            changes.len()
        );
    }

    store.for_each_sector(&progress("entries", store.segments()), |sector| {
        if let Err(error) = sector.sector {
            if sector.first_slot < store.layout.slots() {
                let slots = slots_text(sector.first_slot);
                warn(format!(
                    "entries of {slots}, at {}: {error}; something may be missing",
                    sector.offset
                ));
            }
        }
        for (slot, record) in sector.records() {
            if let Some(blocks) = changes.get_mut(&record.owner) {
                if slot < store.layout.slots() {
                    blocks.push(Block { record, slot });
                }
            }
        }
        Ok(())
    })?;

    let block = store.block_bytes();
    let mut volumes = Vec::new();
    for (number, mut blocks) in changes {
        let Some(owner) = store.owner(number) else {
            continue;
        };
        let bytes = owner.sectors.saturating_mul(512);
        blocks.sort_by_key(|block| (block.record.bid, block.slot));
        let twice = |pair: &[Block]| matches!(pair, [a, b] if a.record.bid == b.record.bid);
        if blocks.windows(2).any(twice) {
            bail!(
                "{}: a block is in several slots, see svol check: nobody knows its content",
                owner.lid
            );
        }
        let marked = store.marked_regions(number, owner);
        if marked > 0 {
            warn(format!(
                "{}: {marked} regions were being written when the group stopped; there its disk may be newer than the increments",
                owner.lid
            ));
        }
        let mut list = Vec::new();
        for changed in &blocks {
            for range in ranges::of_record(&changed.record, block, bytes) {
                ranges::push(&mut list, range);
            }
        }
        if let Some(path) = &args.sparse {
            sparse::write(&store, &blocks, bytes, path)?;
        }
        volumes.push(Volume {
            lid: owner.lid.to_string(),
            bytes,
            base_generation: owner.base_generation,
            changed_bytes: list
                .iter()
                .fold(0, |sum: u64, range| sum.saturating_add(range.bytes)),
            ranges: list,
        });
    }
    print(&volumes, args)?;
    Ok(status)
}

fn print(volumes: &[Volume], args: &Diff) -> Result<()> {
    if args.json {
        return json(&volumes);
    }
    for volume in volumes {
        line(format_args!(
            "{}: {} of {} bytes changed since split {}",
            volume.lid, volume.changed_bytes, volume.bytes, volume.base_generation
        ))?;
        for range in &volume.ranges {
            let kind = if range.zero { "zero" } else { "data" };
            line(format_args!("  {} {} {kind}", range.start, range.bytes))?;
        }
    }
    Ok(())
}
