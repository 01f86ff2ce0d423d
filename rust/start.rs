// SPDX-License-Identifier: GPL-2.0

//! Turns a table line into a live group.
//!
//! All of this runs in `preresume`. Nothing is written until everything has been checked:
//! [`prepare`] checks, [`start`] writes. The rules in [`crate::svol_core::meta`] say what is
//! written, and in which order.

mod disks;
mod existing;
mod new;
mod stores;

pub(crate) use existing::check_line;

use self::{
    existing::Existing,
    new::New, //
};
use crate::{
    dm::DeviceNumber,
    log,
    members::Members,
    metadata::{
        self,
        Homes,
        Writers, //
    },
    store::{
        self,
        Found, //
    },
    svol_core::{
        attr::Attr,
        group::{
            BindError,
            GroupTable, //
        },
        meta::{
            choose::{
                choose,
                newest,
                SeenEvents,
                Start, //
            },
            probe::CopyProbe, //
        },
        table_line::{
            MetaDevice,
            TableLine, //
        }, //
    }, //
};
use kernel::prelude::*;

/// A table that may become live, and what its devices hold. Nothing has been written yet.
pub(crate) enum Prepared {
    /// Of a group that is being created.
    New(New),
    /// Of an existing group.
    Existing(Existing),
}

impl Prepared {
    /// The group table as it will be when the group starts.
    pub(crate) fn table(&self) -> &GroupTable {
        match self {
            Self::New(new) => new.table(),
            Self::Existing(existing) => existing.table(),
        }
    }
}

/// A table that is ready to become live.
pub(crate) struct Started {
    /// The group table as it is on the metadata devices.
    pub(crate) table: KBox<GroupTable>,
    /// Where the metadata copies are.
    pub(crate) homes: Homes,
    /// How much the event count rose because the stores were opened.
    pub(crate) openings: u64,
    /// The increments stores that were found.
    pub(crate) stores: KVec<Found>,
}

/// Reads the metadata and checks the devices against it. Writes nothing; sleeps for I/O.
///
/// # Errors
///
/// The log says what is wrong.
#[inline(never)]
pub(crate) fn prepare(line: &TableLine<DeviceNumber>, members: &Members) -> Result<Prepared> {
    let mut probes = KVec::with_capacity(line.meta.len(), GFP_KERNEL)?;
    for device in 0..line.meta.len() {
        let probe = metadata::probe(members, device)?;
        report_damage(line, device, &probe);
        probes.push(probe, GFP_KERNEL)?;
    }
    let mut seen = SeenEvents::default();
    if let Some(newest) = newest(&line.group, &probes) {
        for (entry, volume) in line.volumes.iter().enumerate() {
            if volume.attr != Attr::Increments {
                continue;
            }
            if let Some(events) = store::seen_events(members, entry, &newest.head.uuid)? {
                seen.add(newest, &volume.lid, events);
            }
        }
    }
    let start = choose(&line.group, &probes, seen, line.features.force_metadata);
    match start {
        Ok(Start::Fresh) => New::prepare(line, members).map(Prepared::New),
        Ok(Start::Resume(plan)) => {
            Existing::prepare(line, members, &mut probes, plan).map(Prepared::Existing)
        }
        Err(refusal) => {
            log::notice!(line.group, "{refusal}");
            Err(EINVAL)
        }
    }
}

/// Makes durable what has changed. Sleeps for I/O.
///
/// # Errors
///
/// The log says what could not be written.
#[inline(never)]
pub(crate) fn start(
    line: &TableLine<DeviceNumber>,
    members: &Members,
    prepared: Prepared,
) -> Result<Started> {
    match prepared {
        Prepared::New(new) => new.start(line, members),
        Prepared::Existing(existing) => existing.start(line, members),
    }
}

fn report_damage(line: &TableLine<DeviceNumber>, device: usize, probe: &CopyProbe) {
    if let CopyProbe::Present(slots) = probe {
        for (slot, state) in slots.iter().enumerate().filter(|(_, s)| s.is_damage()) {
            log::notice!(line.group, "{}, slot {slot}: {state}", MetaDevice(device));
        }
    }
}

/// Moves a table to the heap, since stack space is scarce.
// Not inlined, so that its stack frame does not add to those of its callers; likewise elsewhere.
#[inline(never)]
fn box_table(table: GroupTable) -> Result<KBox<GroupTable>> {
    Ok(KBox::new(table, GFP_KERNEL)?)
}

/// Makes a table durable. `told` is the last event count that the stores were told.
#[inline(never)]
fn commit(
    members: &Members,
    homes: &Homes,
    mut table: KBox<GroupTable>,
    told: u64,
) -> Result<KBox<GroupTable>> {
    metadata::commit(members, homes, &Writers::none(), &mut table, told)?;
    Ok(table)
}

/// Logs why a line does not fit.
fn report(line: &TableLine<DeviceNumber>) -> impl Fn(BindError) -> Error + '_ {
    move |error| match error {
        BindError::NoMemory => ENOMEM,
        _ => {
            log::notice!(line.group, "{error}");
            EINVAL
        }
    }
}
