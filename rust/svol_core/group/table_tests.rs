// SPDX-License-Identifier: GPL-2.0

//! Tests of the group table, with the group of the patent's figure 9 and others.

mod attributes;
mod commit;
mod entries;
mod fail;
mod load;
mod rebuild;
mod report;

use super::{
    BindError,
    GroupTable, //
};
use crate::{
    env::{
        AllocError,
        Vec, //
    },
    svol_core::{
        health::Health,
        id::Id,
        meta::{
            Identity,
            Metadata, //
        },
        samples::Sample,
        table_line::TableLine, //
    },
};

const FIGURE_9: &str = "G0 128 2 /m0 /m1 5 LV0 ro /sda - LV1 ro /sdb - \
    LV2 rw /sdc DLV2 S0 spare /sdd - DLV2 increments /sde - 2 init assume_identical";
const WITHOUT_LV0: &str = "G0 128 2 /m0 /m1 5 LV0 ro - - LV1 ro /sdb - \
    LV2 rw /sdc DLV2 S0 spare /sdd - DLV2 increments /sde -";
const IN_PLACE: &str = "G0 128 1 /m0 2 LV0 ro /sda - LV1 rw /sdb - \
    3 allow_unprotected init assume_identical";
const CLONES: &str = "G0 128 1 /m0 5 LV0 ro /sda - C1 ro - ST L5 rw /sdc ST S0 spare /sdd - \
    ST increments /sde - 2 init assume_identical";
const CLONES_WITHOUT_STORE: &str = "G0 128 1 /m0 5 LV0 ro /sda - C1 ro - ST L5 rw /sdc ST \
    S0 spare /sdd - ST increments - -";
const CLONES_BY_FORCE: &str = "G0 128 1 /m0 5 LV0 ro /sda - C1 ro - ST L5 rw /sdc ST \
    S0 spare /sdd - ST increments - - 1 force_metadata";
const SECTORS: u64 = 1000;

/// Why a test could not be carried out.
#[derive(Debug)]
struct Failed;

impl From<AllocError> for Failed {
    fn from(_: AllocError) -> Self {
        Self
    }
}

impl From<BindError> for Failed {
    fn from(_: BindError) -> Self {
        Self
    }
}

type Test = Result<(), Failed>;

fn line(text: &str) -> Result<TableLine<&[u8]>, Failed> {
    TableLine::parse(SECTORS, text.split(' ').map(str::as_bytes)).map_err(|_| Failed)
}

/// A group that is loaded for the first time.
fn new(text: &str) -> Result<GroupTable, BindError> {
    let line = line(text).map_err(|_| BindError::NoMemory)?;
    let identity = Identity {
        uuid: [1; 16],
        group: line.group,
        sectors: line.sectors,
        block_sectors: line.block_sectors,
        logical_block_bytes: 512,
        copies: line.meta.len(),
    };
    GroupTable::new(&identity, &line, |_| 2 * SECTORS)
}

fn active(text: &str) -> Result<GroupTable, Failed> {
    let table = new(text)?;
    let mut samples = Vec::new();
    samples.try_push(Sample::take(0, b"base"))?;
    Ok(table.activated(samples)?)
}

fn metadata(text: &str) -> Result<Metadata, Failed> {
    Ok(active(text)?.metadata().try_clone()?)
}

fn bind(text: &str, metadata: Metadata) -> Result<(GroupTable, bool), BindError> {
    let line = line(text).map_err(|_| BindError::NoMemory)?;
    let bound = GroupTable::bind(&line, metadata, |_| Some(2 * SECTORS))?;
    Ok((bound.table, bound.changed))
}

/// As [`bind`], but these disks can't be read.
fn bind_dead(
    text: &str,
    metadata: Metadata,
    dead: &[usize],
) -> Result<(GroupTable, bool), BindError> {
    let line = line(text).map_err(|_| BindError::NoMemory)?;
    let bound = GroupTable::bind(&line, metadata, |entry| {
        (!dead.contains(&entry)).then_some(2 * SECTORS)
    })?;
    Ok((bound.table, bound.changed))
}

fn failed(table: &GroupTable, entry: usize) -> Result<GroupTable, Failed> {
    let failed = table.with_failed_disk(entry)?.ok_or(Failed)?;
    failed.metadata().check().map_err(|_| Failed)?;
    Ok(failed)
}

fn health(table: &GroupTable, entry: usize) -> Option<Health> {
    table.volume(entry).map(|volume| volume.health)
}

fn sources(table: &GroupTable) -> u32 {
    table.sources().fold(0, |set, source| set | (1 << source))
}

fn id(text: &str) -> Result<Id, Failed> {
    Id::parse(text.as_bytes()).map_err(|_| Failed)
}
