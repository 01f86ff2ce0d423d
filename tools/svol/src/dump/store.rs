// SPDX-License-Identifier: GPL-2.0

//! Shows an increments device.

use crate::{
    cli::Dump,
    device::Device,
    kind::Kind,
    marks::{region_bytes, Marks},
    output::{hex, json, line, progress},
    store::Store,
};
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use svol_core::svol_core::store::{entries, layout::header_offset, Phase};

#[derive(Serialize)]
struct Contents {
    kind: &'static str,
    copies: Vec<HeaderCopy>,
    group: String,
    uuid: String,
    lid: String,
    tag: String,
    phase: &'static str,
    sequence: u64,
    event_count: u64,
    base_generation: u64,
    group_bytes: u64,
    block_bytes: u64,
    used_bytes: u64,
    device_bytes: u64,
    /// What is wrong with that.
    #[serde(skip_serializing_if = "Option::is_none")]
    cut_short: Option<String>,
    segments: u32,
    segments_formatted: u32,
    slots: u32,
    slots_used: u64,
    damaged_entry_sectors: u64,
    owners: Vec<OwnerOf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<EntryOf>>,
}

#[derive(Serialize)]
struct HeaderCopy {
    offset: u64,
    state: String,
}

#[derive(Serialize)]
struct OwnerOf {
    number: u16,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume: Option<Volume>,
    slots_used: u64,
    data_bytes: u64,
    zero_bytes: u64,
}

#[derive(Serialize)]
struct Volume {
    lid: String,
    bytes: u64,
    base_generation: u64,
    in_place: bool,
    region_bytes: u64,
    regions: u32,
    regions_marked: u64,
}

#[derive(Clone, Copy, Serialize)]
struct EntryOf {
    slot: u32,
    offset: u64,
    owner: u16,
    block: u64,
    data: u16,
    zero: u16,
    commit: u64,
}

/// What the entries of an owner come to: slots, and sub-blocks of each kind.
#[derive(Clone, Copy, Default)]
struct Sum {
    slots: u64,
    data: u64,
    zero: u64,
}

pub(super) fn dump(device: &Device, args: &Dump) -> Result<()> {
    let store = Store::open(device)?;
    let header = store.header.value;
    let mut list = args.entries.then(Vec::new);
    let mut sums: BTreeMap<u16, Sum> = BTreeMap::new();
    let mut damaged = 0u64;
    // Until it is finished, there is nothing in it.
    if header.phase == Phase::Active {
        store.for_each_sector(&progress("entries", store.segments()), |sector| {
            let Ok(bytes) = sector.sector else {
                damaged = damaged.saturating_add(1);
                return Ok(());
            };
            for (slot, record) in sector.records() {
                let sum = sums.entry(record.owner).or_default();
                sum.slots = sum.slots.saturating_add(1);
                sum.data = sum.data.saturating_add(record.data.count_ones().into());
                sum.zero = sum.zero.saturating_add(record.zero.count_ones().into());
                if let Some(list) = &mut list {
                    list.push(EntryOf {
                        slot,
                        offset: store.layout.slot_sector(slot).saturating_mul(512),
                        owner: record.owner,
                        block: record.bid,
                        data: record.data,
                        zero: record.zero,
                        commit: entries::commit_of(bytes),
                    });
                }
            }
            Ok(())
        })?;
    }
    let contents = Contents {
        kind: Kind::Increments.word(),
        copies: header_copies(&store),
        group: header.group.to_string(),
        uuid: hex(&header.uuid),
        lid: header.lid.to_string(),
        tag: format!("{:016x}", header.tag),
        phase: header.phase.word(),
        sequence: header.sequence,
        event_count: header.events,
        base_generation: header.base_generation,
        group_bytes: header.sectors.saturating_mul(512),
        block_bytes: store.block_bytes(),
        used_bytes: header.used_sectors.saturating_mul(512),
        device_bytes: device.bytes(),
        cut_short: store.cut_short(),
        segments: store.layout.segments(),
        segments_formatted: header.segments,
        slots: store.layout.slots(),
        slots_used: sums.values().map(|sum| sum.slots).sum(),
        damaged_entry_sectors: damaged,
        owners: owners(&store, &sums),
        entries: list,
    };
    if args.json {
        json(&contents)
    } else {
        print(&contents)
    }
}

fn header_copies(store: &Store<'_>) -> Vec<HeaderCopy> {
    let copies = store.header.copies.iter().enumerate();
    copies
        .map(|(copy, state)| HeaderCopy {
            offset: header_offset(copy),
            state: state.to_string(),
        })
        .collect()
}

fn owners(store: &Store<'_>, sums: &BTreeMap<u16, Sum>) -> Vec<OwnerOf> {
    store
        .owner_states()
        .filter_map(|(number, state)| {
            let sum = sums.get(&number).copied();
            let owner = store.owner(number);
            let text = match (state, owner) {
                (Err(error), _) => error.to_string(),
                (_, Some(owner)) if owner.removing => "removing".to_owned(),
                (_, Some(_)) => "active".to_owned(),
                // A number that nobody has is worth a line only if something says it has.
                (Ok(_), None) => sum.map(|_| "free".to_owned())?,
            };
            let sum = sum.unwrap_or_default();
            let bytes = |sub_blocks: u64| sub_blocks.saturating_mul(4096);
            Some(OwnerOf {
                number,
                state: text,
                volume: owner.map(|owner| Volume {
                    lid: owner.lid.to_string(),
                    bytes: owner.sectors.saturating_mul(512),
                    base_generation: owner.base_generation,
                    in_place: owner.region_shift.is_some(),
                    region_bytes: region_bytes(owner),
                    regions: owner.regions(),
                    regions_marked: Marks::of(store, number, owner).regions,
                }),
                slots_used: sum.slots,
                data_bytes: bytes(sum.data),
                zero_bytes: bytes(sum.zero),
            })
        })
        .collect()
}

fn print(all: &Contents) -> Result<()> {
    for copy in &all.copies {
        line(format_args!("header at {}: {}", copy.offset, copy.state))?;
    }
    line(format_args!(
        "increments store {} of group {}, uuid {}, tag {}",
        all.lid, all.group, all.uuid, all.tag
    ))?;
    line(format_args!(
        "{}, header {}, event count {}, split {}",
        all.phase, all.sequence, all.event_count, all.base_generation
    ))?;
    line(format_args!(
        "group of {} bytes, blocks of {}, {} bytes of the device in use",
        all.group_bytes, all.block_bytes, all.used_bytes
    ))?;
    line(format_args!(
        "{} of {} slots used, {} of {} segments formatted, {} damaged sectors of entries",
        all.slots_used, all.slots, all.segments_formatted, all.segments, all.damaged_entry_sectors
    ))?;
    if let Some(text) = &all.cut_short {
        line(text)?;
    }
    for owner in &all.owners {
        line(format_args!(
            "owner {}: {}, {} slots, {} bytes of data, {} of zeroes",
            owner.number, owner.state, owner.slots_used, owner.data_bytes, owner.zero_bytes
        ))?;
        let Some(volume) = &owner.volume else {
            continue;
        };
        line(format_args!(
            "  LID {}, {} bytes, split {}",
            volume.lid, volume.bytes, volume.base_generation
        ))?;
        if volume.in_place {
            line(format_args!(
                "  in place: {} of {} regions of {} bytes may differ from the disk",
                volume.regions_marked, volume.regions, volume.region_bytes
            ))?;
        }
    }
    for entry in all.entries.iter().flatten() {
        line(format_args!(
            "slot {} at {}: owner {} block {} data {:04x} zero {:04x} commit {}",
            entry.slot,
            entry.offset,
            entry.owner,
            entry.block,
            entry.data,
            entry.zero,
            entry.commit
        ))?;
    }
    Ok(())
}
