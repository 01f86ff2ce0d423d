// SPDX-License-Identifier: GPL-2.0

//! Shows a metadata device.

use crate::{
    cli::Dump,
    device::Device,
    kind::Kind,
    output::{hex, json, line},
};
use anyhow::{anyhow, Result};
use serde::Serialize;
use svol_core::svol_core::meta::{
    probe::{CopyProbe, SlotState},
    slot_offset, DiskState, Metadata, SLOTS,
};

#[derive(Serialize)]
struct Contents {
    kind: &'static str,
    slots: Vec<Slot>,
}

#[derive(Serialize)]
struct Slot {
    offset: u64,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<Generation>,
}

#[derive(Serialize)]
struct Generation {
    sequence: u64,
    copy: usize,
    copies: Vec<&'static str>,
    group: String,
    uuid: String,
    phase: &'static str,
    event_count: u64,
    base_generation: u64,
    bytes: u64,
    block_bytes: u64,
    logical_block_bytes: u32,
    volumes: Vec<Volume>,
    regions: Vec<Region>,
    rebuilds: Vec<Rebuild>,
    samples: Vec<Sample>,
}

#[derive(Serialize)]
struct Volume {
    lid: String,
    attribute: &'static str,
    recovery_lid: Option<String>,
    disk: Option<String>,
    health: &'static str,
    disk_state: Vec<&'static str>,
    disk_bytes: u64,
    /// The event count when it was recorded that the disk failed; 0 if it never did.
    failed_at: u64,
}

#[derive(Serialize)]
struct Region {
    lid: String,
    start: u64,
    bytes: u64,
    attribute: &'static str,
}

#[derive(Serialize)]
struct Rebuild {
    lid: String,
    /// The entry whose disk is being filled.
    target: String,
    /// So much of that disk is done, from its beginning.
    cursor_bytes: u64,
}

#[derive(Serialize)]
struct Sample {
    start: u64,
    checksum: String,
}

pub(super) fn dump(device: &Device, args: &Dump) -> Result<()> {
    let probe = CopyProbe::probe(|offset, buffer| device.read(offset, buffer))
        .map_err(|_| anyhow!("out of memory"))?;
    let slots = (0..SLOTS)
        .filter_map(|slot| {
            let state = probe.slot(slot)?;
            Some(Slot {
                offset: slot_offset(slot),
                state: match state {
                    SlotState::Valid { .. } => "valid".to_owned(),
                    other => other.to_string(),
                },
                generation: match state {
                    SlotState::Valid { copy, metadata } => Some(generation(*copy, metadata)),
                    _ => None,
                },
            })
        })
        .collect();
    let all = Contents {
        kind: Kind::Metadata.word(),
        slots,
    };
    if args.json {
        json(&all)
    } else {
        print(&all)
    }
}

fn bytes(sectors: u64) -> u64 {
    sectors.saturating_mul(512)
}

fn generation(copy: usize, metadata: &Metadata) -> Generation {
    let head = &metadata.head;
    Generation {
        sequence: head.sequence,
        copy,
        copies: head.copies.states().map(|state| state.word()).collect(),
        group: head.group.to_string(),
        uuid: hex(&head.uuid),
        phase: head.phase.word(),
        event_count: head.events,
        base_generation: head.base_generation,
        bytes: bytes(head.sectors),
        block_bytes: bytes(head.block_sectors.into()),
        logical_block_bytes: head.logical_block_bytes,
        volumes: metadata
            .volumes
            .iter()
            .map(|volume| Volume {
                lid: volume.lid.to_string(),
                attribute: volume.attr.word(),
                recovery_lid: volume.rlid.map(|lid| lid.to_string()),
                disk: volume.disk.map(|lid| lid.to_string()),
                health: volume.health.word(),
                disk_state: words(&volume.state),
                disk_bytes: bytes(volume.disk_sectors),
                failed_at: volume.failed_at,
            })
            .collect(),
        regions: metadata
            .regions
            .iter()
            .map(|region| Region {
                lid: region.lid.to_string(),
                start: bytes(region.start),
                bytes: bytes(region.len),
                attribute: region.attr.word(),
            })
            .collect(),
        rebuilds: metadata
            .rebuilds
            .iter()
            .map(|rebuild| Rebuild {
                lid: rebuild.lid.to_string(),
                target: rebuild.target.to_string(),
                cursor_bytes: bytes(rebuild.cursor),
            })
            .collect(),
        samples: metadata
            .samples
            .iter()
            .map(|sample| Sample {
                start: bytes(sample.sector()),
                checksum: format!("{:08x}", sample.checksum),
            })
            .collect(),
    }
}

fn words(state: &DiskState) -> Vec<&'static str> {
    [
        (state.pristine, "pristine"),
        (state.unprotected, "unprotected"),
        (state.formatted, "formatted"),
        (state.failed, "failed"),
    ]
    .into_iter()
    .filter_map(|(set, word)| set.then_some(word))
    .collect()
}

fn print(all: &Contents) -> Result<()> {
    for slot in &all.slots {
        line(format_args!("metadata at {}: {}", slot.offset, slot.state))?;
        if let Some(generation) = &slot.generation {
            print_generation(generation)?;
        }
    }
    Ok(())
}

fn print_generation(generation: &Generation) -> Result<()> {
    let none = || "-".to_owned();
    line(format_args!(
        "  generation {}, copy {} of {} ({})",
        generation.sequence,
        generation.copy,
        generation.copies.len(),
        generation.copies.concat()
    ))?;
    line(format_args!(
        "  group {}, uuid {}, {}, event count {}, split {}",
        generation.group,
        generation.uuid,
        generation.phase,
        generation.event_count,
        generation.base_generation
    ))?;
    line(format_args!(
        "  {} bytes, blocks of {}, logical blocks of {}",
        generation.bytes, generation.block_bytes, generation.logical_block_bytes
    ))?;
    for volume in &generation.volumes {
        line(format_args!(
            "  entry {} {} {}, recovery LID {}, disk {} ({} bytes) {}",
            volume.lid,
            volume.attribute,
            volume.health,
            volume.recovery_lid.clone().unwrap_or_else(none),
            volume.disk.clone().unwrap_or_else(none),
            volume.disk_bytes,
            volume.disk_state.join(" ")
        ))?;
    }
    for region in &generation.regions {
        line(format_args!(
            "  region of {}: {} {} {}",
            region.lid, region.start, region.bytes, region.attribute
        ))?;
    }
    for rebuild in &generation.rebuilds {
        line(format_args!(
            "  rebuild of {} onto {}: {} bytes done",
            rebuild.lid, rebuild.target, rebuild.cursor_bytes
        ))?;
    }
    for sample in &generation.samples {
        line(format_args!(
            "  base sample at {}: {}",
            sample.start, sample.checksum
        ))?;
    }
    Ok(())
}
