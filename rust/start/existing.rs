// SPDX-License-Identifier: GPL-2.0

//! A group that exists already.

use super::{
    box_table,
    commit,
    disks,
    new::Fresh,
    report,
    stores::{
        self,
        ToOpen, //
    },
    Started, //
};
use crate::{
    dead::Dead,
    dm::DeviceNumber,
    log,
    members::Members,
    metadata::{
        self,
        Homes, //
    },
    store::Found,
    svol_core::{
        attr::Attr,
        group::{
            Fates,
            GroupTable, //
        },
        meta::{
            choose::{
                CopyAction,
                Refusal,
                Resume, //
            },
            probe::CopyProbe,
            Metadata, //
        },
        table_line::{
            MetaDevice,
            TableLine, //
        }, //
    }, //
};
use kernel::prelude::*;

/// How much a start raises the event count if there are stores: an older copy of a store is then
/// two events behind, while a store whose header was not updated because of a crash is one behind.
const OPENINGS: u64 = 2;

/// A group that exists already, before it starts.
pub(crate) struct Existing {
    /// What its metadata says.
    chosen: KBox<Metadata>,
    plan: Resume,
    checked: Checked,
    /// If a crash hit between the two commits of a new group: what is still to be done.
    fresh: Option<Fresh>,
}

/// What was found on the devices of a group.
struct Checked {
    table: KBox<GroupTable>,
    /// The table differs from the metadata.
    changed: bool,
    /// The stores in use.
    stores: KVec<Found>,
    to_open: KVec<ToOpen>,
    dead: Dead,
}

impl Existing {
    /// Reads what the metadata says, and checks the devices. Writes nothing; sleeps for I/O.
    #[inline(never)]
    pub(super) fn prepare(
        line: &TableLine<DeviceNumber>,
        members: &Members,
        probes: &mut [CopyProbe],
        plan: Resume,
    ) -> Result<Self> {
        let chosen = take_chosen(probes, &plan)?;
        let checked = check_devices(line, members, &chosen)?;
        let fresh = match checked.table.is_initialising() {
            true => Some(Fresh::prepare(&checked.table, members)?),
            false => None,
        };
        Ok(Self {
            chosen,
            plan,
            checked,
            fresh,
        })
    }

    /// The group table as it will be when the group starts.
    pub(super) fn table(&self) -> &GroupTable {
        &self.checked.table
    }

    /// Makes durable what has changed. Sleeps for I/O.
    #[inline(never)]
    pub(super) fn start(
        self,
        line: &TableLine<DeviceNumber>,
        members: &Members,
    ) -> Result<Started> {
        let Checked {
            mut table,
            changed,
            mut stores,
            to_open,
            dead,
        } = self.checked;
        let told = self.chosen.head.events;

        flush_copies(line, members);
        let (homes, is_lost) = repair_copies(line, members, &self.plan, &self.chosen)?;
        // After all copies have this count, and before it rises again.
        stores::note_events(&mut stores, members, table.id(), told)?;
        if changed {
            table = commit(members, &homes, table, told)?;
        } else if is_lost || self.plan.heal {
            table = commit(members, &homes, box_table(table.recommitted()?)?, told)?;
        }
        if !to_open.is_empty() {
            table = stores::open_again(members, &homes, table, &mut stores, to_open)?;
        }
        let mut openings = 0;
        if let Some(fresh) = self.fresh {
            (table, stores) = fresh.activate(members, &homes, &table)?;
        } else if !stores.is_empty() {
            table = record_opening(members, &homes, table, &mut stores)?;
            openings = OPENINGS;
        }
        say_failed(&table, &dead);
        Ok(Started {
            table,
            homes,
            stores,
            openings,
        })
    }
}

/// Flushes the metadata devices. After a reset, what was read from them may still be in their
/// caches only; after a power cut, a store must not know more events than the metadata.
fn flush_copies(line: &TableLine<DeviceNumber>, members: &Members) {
    for device in (0..line.meta.len()).filter_map(|device| members.meta_device(device)) {
        // The commits that follow detect a failed device.
        let _ = members.io.flush(device);
    }
}

/// Brings the metadata copies up to date that can be written. Returns where they are, and whether
/// one is lost.
#[inline(never)]
fn repair_copies(
    line: &TableLine<DeviceNumber>,
    members: &Members,
    plan: &Resume,
    chosen: &Metadata,
) -> Result<(Homes, bool)> {
    let mut homes = Homes::planned(&plan.plans);
    let mut is_lost = false;
    for (device, action) in plan.plans.iter().enumerate() {
        let Some(action) = action else { continue };
        let device = MetaDevice(device);
        match action.action {
            CopyAction::Rewrite => {
                match metadata::write_copy(members, &homes, action.copy, chosen) {
                    Ok(()) => log::notice!(line.group, "{device}: brought up to date"),
                    Err(ENOMEM) => return Err(ENOMEM),
                    Err(error) => {
                        let errno = error.to_errno();
                        log::warning!(
                            line.group,
                            "{device}: write failed: error {errno}; lost, going on without it"
                        );
                        homes = homes.without(action.copy);
                        is_lost = true;
                    }
                }
            }
            CopyAction::Lose => {
                log::notice!(line.group, "{device}: lost, going on without it");
                is_lost = true;
            }
            CopyAction::Keep | CopyAction::Ignore => (),
        }
    }
    Ok((homes, is_lost))
}

/// Raises the event count by [`OPENINGS`], and tells the stores.
#[inline(never)]
fn record_opening(
    members: &Members,
    homes: &Homes,
    mut table: KBox<GroupTable>,
    stores: &mut KVec<Found>,
) -> Result<KBox<GroupTable>> {
    for _ in 0..OPENINGS {
        let told = table.head().events;
        stores::note_events(stores, members, table.id(), told)?;
        table = commit(members, homes, box_table(table.opened()?)?, told)?;
    }
    stores::note_events(stores, members, table.id(), table.head().events)?;
    Ok(table)
}

/// Logs which disks and increments volumes are not used.
fn say_failed(table: &GroupTable, dead: &Dead) {
    for (entry, volume) in table.volumes().iter().enumerate() {
        let lid = volume.lid;
        let why = match dead.contains(entry) {
            true => "failed from now on",
            false => "missing or failed before",
        };
        match (volume.state.failed, volume.attr) {
            (true, Attr::Increments) => {
                let fates = Fates::new(table, entry);
                log::notice!(table.id(), "increments {lid}: {why}{fates}");
            }
            (true, _) => log::notice!(table.id(), "disk of {lid}: {why}"),
            (false, _) => (),
        }
    }
}

#[inline(never)]
fn take_chosen(probes: &mut [CopyProbe], plan: &Resume) -> Result<KBox<Metadata>> {
    let chosen = probes
        .get_mut(plan.device)
        .and_then(|probe| probe.take(plan.slot))
        .ok_or(EINVAL)?;
    Ok(KBox::new(chosen, GFP_KERNEL)?)
}

/// Checks all devices, and repeats that without those that can't be read until the rest fits.
/// Writes nothing; sleeps for I/O.
#[inline(never)]
fn check_devices(
    line: &TableLine<DeviceNumber>,
    members: &Members,
    chosen: &Metadata,
) -> Result<Checked> {
    let mut dead = Dead::default();
    loop {
        let (table, changed) = bind(line, members, chosen, &dead)?;
        disks::check(&table, members)?;
        let known = dead.len();
        if !table.is_initialising() {
            disks::check_samples(&table, members, &mut dead)?;
            stores::find_dead(&table, members, &mut dead)?;
        }
        if dead.len() > known {
            continue;
        }
        let (events, force) = (chosen.head.events, line.features.force_metadata);
        let stores = stores::find(&table, members, events, force)?;
        let to_open = stores::find_to_open(&table, members)?;
        for found in stores.iter() {
            found.check_disks(members, &table, &mut dead)?;
        }
        if dead.len() == known {
            return Ok(Checked {
                table,
                changed,
                stores,
                to_open,
                dead,
            });
        }
    }
}

/// Checks a line against the known metadata of the group, assuming that all devices are readable.
/// Also checks the increments devices that the group is to use from now on. Returns the group table
/// for the line. Writes nothing; sleeps for I/O.
///
/// # Errors
///
/// The log says what does not fit.
#[inline(never)]
pub(crate) fn check_line(
    line: &TableLine<DeviceNumber>,
    members: &Members,
    known: &Metadata,
) -> Result<KBox<GroupTable>> {
    let copies = known.head.copies.count();
    if copies != line.meta.len() {
        log::notice!(line.group, "{}", Refusal::CopyCount { known: copies });
        return Err(EINVAL);
    }
    let (table, _) = bind(line, members, known, &Dead::default())?;
    disks::check(&table, members)?;
    if !table.is_initialising() {
        stores::find_to_open(&table, members)?;
    }
    Ok(table)
}

/// The group table for a line, and whether it differs from the metadata.
#[inline(never)]
fn bind(
    line: &TableLine<DeviceNumber>,
    members: &Members,
    chosen: &Metadata,
    dead: &Dead,
) -> Result<(KBox<GroupTable>, bool)> {
    let sectors = disks::sectors(members);
    let readable = |entry: usize| (!dead.contains(entry)).then(|| sectors(entry));
    let bound = GroupTable::bind(line, chosen.try_clone()?, readable).map_err(report(line))?;
    Ok((box_table(bound.table)?, bound.changed))
}
