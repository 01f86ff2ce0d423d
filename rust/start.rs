// SPDX-License-Identifier: GPL-2.0

//! Turns a table line into a live group.
//!
//! All of this runs in `preresume`. Nothing is written until everything has been checked:
//! [`prepare`] checks, [`start`] writes. The rules in [`crate::svol_core::meta`] say what is
//! written, and in which order.

use crate::{
    base::{
        self,
        Comparison, //
    },
    dead::Dead,
    dm::{
        random_bytes,
        DeviceNumber, //
    },
    env, log,
    members::{
        Disk,
        Members, //
    },
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
            Fates,
            GroupTable, //
        },
        health::Health,
        meta::{
            choose::{
                choose,
                newest_uuid,
                CopyAction,
                Resume,
                Start, //
            },
            probe::CopyProbe,
            Identity,
            Metadata, //
        },
        samples,
        store::{
            Header,
            Probe, //
        },
        table_line::{
            MetaDevice,
            TableLine, //
        }, //
    },
};
use kernel::prelude::*;

/// How much a start raises the event count if there are stores; see [`resume`].
const OPENINGS: u32 = 2;

/// The smallest logical block size in bytes.
const SECTOR_BYTES: u32 = 512;

/// A table that may become live, and what its devices hold. Nothing has been written yet.
pub(crate) struct Prepared {
    table: KBox<GroupTable>,
    /// For a group that is being created: the headers of the stores to create with it, and samples
    /// of its base image.
    fresh: Option<Fresh>,
    /// For an existing group.
    found: Option<Remembered>,
}

type Fresh = (KVec<(usize, Header)>, env::Vec<samples::Sample>);

/// What was found of an existing group.
struct Remembered {
    /// What its metadata says.
    chosen: KBox<Metadata>,
    plan: Resume,
    /// The table differs from the metadata.
    changed: bool,
    stores: KVec<Found>,
    /// See [`find_again`].
    back: KVec<(usize, Option<Header>)>,
    dead: Dead,
}

impl Prepared {
    /// The group table as it will be when the group starts.
    pub(crate) fn table(&self) -> &GroupTable {
        &self.table
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
    let mut seen = None;
    if let Some(uuid) = newest_uuid(&line.group, &probes) {
        for (entry, volume) in line.volumes.iter().enumerate() {
            if volume.attr == Attr::Increments {
                seen = seen.max(store::seen_events(members, entry, &uuid)?);
            }
        }
    }
    let start = choose(&line.group, &probes, seen, line.features.force_metadata);
    match start {
        Ok(Start::Fresh) => prepare_new(line, members),
        Ok(Start::Resume(plan)) => prepare_known(line, members, &mut probes, plan),
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
    let Prepared {
        table,
        fresh,
        found,
    } = prepared;
    match (found, fresh) {
        (Some(found), fresh) => resume(line, members, table, fresh, found),
        (None, Some(fresh)) => initialise(line, members, table, fresh),
        // Can't happen.
        (None, None) => Err(EINVAL),
    }
}

fn report_damage(line: &TableLine<DeviceNumber>, device: usize, probe: &CopyProbe) {
    if let CopyProbe::Present(slots) = probe {
        for (slot, state) in slots.iter().enumerate().filter(|(_, s)| s.is_damage()) {
            log::notice!(line.group, "{}, slot {slot}: {state}", MetaDevice(device));
        }
    }
}

/// Prepares a new group, since no metadata was found.
// Not inlined, so that its stack frame does not add to those of its callers; likewise below.
#[inline(never)]
fn prepare_new(line: &TableLine<DeviceNumber>, members: &Members) -> Result<Prepared> {
    let mut identity = Identity {
        uuid: [0; 16],
        group: line.group,
        sectors: line.sectors,
        block_sectors: line.block_sectors,
        logical_block_bytes: volumes_block_size(line, members),
        copies: line.meta.len(),
    };
    random_bytes(&mut identity.uuid);
    let table = GroupTable::new(&identity, line, disk_sectors(members)).map_err(report(line))?;
    check_block_sizes(&table, members)?;
    check_writable(&table, members)?;
    let headers = new_stores(&table, members)?;
    let samples = take_samples(&table, members)?;
    Ok(Prepared {
        table: boxed(table)?,
        fresh: Some((headers, samples)),
        found: None,
    })
}

/// Starts a group that is loaded for the first time.
#[inline(never)]
fn initialise(
    line: &TableLine<DeviceNumber>,
    members: &Members,
    table: KBox<GroupTable>,
    (headers, samples): Fresh,
) -> Result<Started> {
    let homes = Homes::fresh(line.meta.len());
    let claim = Metadata::claim(&table.metadata().identity());
    for copy in 0..line.meta.len() {
        metadata::write_copy(members, &homes, copy, &claim).inspect_err(|error| {
            let (device, errno) = (MetaDevice(copy), error.to_errno());
            log::warning!(line.group, "{device}: write failed: error {errno}");
        })?;
    }
    // There are no stores yet.
    let table = commit(members, &homes, table, 0)?;
    let (table, stores) = activate(members, &homes, &table, headers, samples)?;
    log::info!(line.group, "new group of {} entries", line.volumes.len());
    Ok(Started {
        table,
        homes,
        stores,
        openings: 0,
    })
}

/// Headers, each with its entry, for those stores of a group being created that do not exist yet.
/// Checks that the devices can hold them.
#[inline(never)]
fn new_stores(table: &GroupTable, members: &Members) -> Result<KVec<(usize, Header)>> {
    let mut headers = KVec::new();
    for (entry, volume) in table.volumes().iter().enumerate() {
        if volume.attr != Attr::Increments || members.disk(entry).is_none() {
            continue;
        }
        if let Some(header) = store::new_header(members, table, entry)? {
            headers.push((entry, header), GFP_KERNEL)?;
        }
    }
    Ok(headers)
}

/// The last steps of creating a group.
#[inline(never)]
fn activate(
    members: &Members,
    homes: &Homes,
    table: &GroupTable,
    headers: KVec<(usize, Header)>,
    samples: env::Vec<samples::Sample>,
) -> Result<(KBox<GroupTable>, KVec<Found>)> {
    for (entry, header) in headers {
        make_store(members, table, entry, header)?;
    }
    let told = table.head().events;
    let table = commit(members, homes, boxed(table.activated(samples)?)?, told)?;
    let mut stores = find_stores(&table, members, table.head().events, true)?;
    note_events(&mut stores, members, &table)?;
    Ok((table, stores))
}

/// Reads the stores of a group. `force` accepts them even if they are older or newer than it.
#[inline(never)]
fn find_stores(
    table: &GroupTable,
    members: &Members,
    events: u64,
    force: bool,
) -> Result<KVec<Found>> {
    let mut stores = KVec::new();
    for (entry, volume) in table.volumes().iter().enumerate() {
        let state = &volume.state;
        let is_here = members.disk(entry).is_some() && state.formatted && !state.failed;
        if volume.attr == Attr::Increments && is_here {
            stores.push(
                store::find(members, table, entry, events, force)?,
                GFP_KERNEL,
            )?;
        }
    }
    Ok(stores)
}

/// Checks the stores that failed and are to be used again, and those that joined the group. Returns
/// each with its header if it has to be created first. Writes nothing.
#[inline(never)]
fn find_again(table: &GroupTable, members: &Members) -> Result<KVec<(usize, Option<Header>)>> {
    let mut back = KVec::new();
    // Without its device, the store has failed again.
    for entry in table.awaited_stores() {
        if members.disk(entry).is_some() {
            let header = store::find_again(members, table, entry)?;
            back.push((entry, header), GFP_KERNEL)?;
        }
    }
    for entry in table.new_stores() {
        if members.disk(entry).is_some() {
            let header = store::new_header(members, table, entry)?;
            back.push((entry, header), GFP_KERNEL)?;
        }
    }
    Ok(back)
}

/// Takes into use stores that failed before or are new. Each is told the event count before the
/// metadata says that it is in use: a crash in between leaves a store that is not in use yet, or
/// one that has already seen the event.
#[inline(never)]
fn take_back(
    members: &Members,
    homes: &Homes,
    mut table: KBox<GroupTable>,
    stores: &mut KVec<Found>,
    back: KVec<(usize, Option<Header>)>,
) -> Result<KBox<GroupTable>> {
    let mut entries = KVec::with_capacity(back.len(), GFP_KERNEL)?;
    for (entry, header) in back {
        let is_new = table.new_stores().any(|new| new == entry);
        match make_usable(members, &table, entry, header) {
            Ok(found) => stores.push(found, GFP_KERNEL)?,
            Err(ENOMEM) => return Err(ENOMEM),
            Err(_) => {
                // Start without this store, as before: all volumes wait for this start.
                let what = if is_new {
                    "not in use"
                } else {
                    "not taken back"
                };
                if let Some(volume) = table.volume(entry) {
                    log::warning!(table.id(), "increments {}: {what}", volume.lid);
                }
                if is_new {
                    // Nothing may rely on it.
                    table = give_up_new(members, homes, table, stores, entry)?;
                }
                continue;
            }
        }
        entries.push((entry, is_new), GFP_KERNEL)?;
    }
    note_events(stores, members, &table)?;
    let told = table.head().events;
    let table =
        match table.with_stores_back(|entry| entries.iter().any(|(back, _)| *back == entry))? {
            Some(next) => commit(members, homes, boxed(next)?, told)?,
            None => table,
        };
    for (entry, is_new) in entries {
        if let Some(volume) = table.volume(entry) {
            let again = if is_new { "" } else { " again" };
            log::info!(table.id(), "increments {}: in use{again}", volume.lid);
        }
    }
    Ok(table)
}

/// Records that the device of a new increments volume failed before it held a store.
#[inline(never)]
fn give_up_new(
    members: &Members,
    homes: &Homes,
    table: KBox<GroupTable>,
    stores: &mut KVec<Found>,
    entry: usize,
) -> Result<KBox<GroupTable>> {
    note_events(stores, members, &table)?;
    let told = table.head().events;
    match table.with_failed_disk(entry)? {
        Some(next) => commit(members, homes, boxed(next)?, told),
        None => Ok(table),
    }
}

/// Opens the store of an entry that failed before or is new. Creates it first if given a header.
#[inline(never)]
fn make_usable(
    members: &Members,
    table: &GroupTable,
    entry: usize,
    header: Option<Header>,
) -> Result<Found> {
    if let Some(header) = header {
        make_store(members, table, entry, header)?;
    }
    let events = table.head().events;
    let mut found = store::find(members, table, entry, events, true)?;
    found.note_events(members, table.id(), events)?;
    found.let_leave(members, table)?;
    Ok(found)
}

/// Creates the store of an entry; a failure is logged.
fn make_store(members: &Members, table: &GroupTable, entry: usize, header: Header) -> Result {
    let device = &members.disk(entry).ok_or(ENXIO)?.device;
    let lid = header.lid;
    store::make(members, device, header).inspect_err(|error| {
        let errno = error.to_errno();
        log::warning!(table.id(), "increments {lid}: can't be made: error {errno}");
    })
}

/// Tells the stores the group's event count, after the metadata has it.
fn note_events(stores: &mut KVec<Found>, members: &Members, table: &GroupTable) -> Result {
    for found in stores.iter_mut() {
        found.note_events(members, table.id(), table.head().events)?;
    }
    Ok(())
}

/// Prepares an existing group: what the metadata says, and what is found on its devices.
#[inline(never)]
fn prepare_known(
    line: &TableLine<DeviceNumber>,
    members: &Members,
    probes: &mut [CopyProbe],
    plan: Resume,
) -> Result<Prepared> {
    let chosen = take_chosen(probes, &plan)?;
    let mut dead = Dead::default();
    let Looked {
        table,
        changed,
        stores,
        back,
    } = look(line, members, &chosen, &mut dead)?;
    let fresh = if table.is_initialising() {
        // A crash hit between the two commits of a new group.
        let headers = new_stores(&table, members)?;
        Some((headers, take_samples(&table, members)?))
    } else {
        None
    };
    Ok(Prepared {
        table,
        fresh,
        found: Some(Remembered {
            chosen,
            plan,
            changed,
            stores,
            back,
            dead,
        }),
    })
}

/// Starts an existing group.
#[inline(never)]
fn resume(
    line: &TableLine<DeviceNumber>,
    members: &Members,
    mut table: KBox<GroupTable>,
    fresh: Option<Fresh>,
    found: Remembered,
) -> Result<Started> {
    let Remembered {
        chosen,
        plan,
        changed,
        mut stores,
        back,
        dead,
    } = found;
    let known = chosen.head.events;
    let mut openings = 0u64;

    let mut homes = Homes::planned(&plan.plans);
    // After a reset, what was read from the devices may still be in their caches only. After a
    // power cut, a store must not know more events than the metadata.
    for device in (0..line.meta.len()).filter_map(|device| members.meta_device(device)) {
        // The commits that follow detect a failed device.
        let _ = members.io.flush(device);
    }
    let mut lost = false;
    for (device, action) in plan.plans.iter().enumerate() {
        let Some(action) = action else { continue };
        let device = MetaDevice(device);
        match action.action {
            CopyAction::Rewrite => {
                match metadata::write_copy(members, &homes, action.copy, &chosen) {
                    Ok(()) => log::notice!(line.group, "{device}: brought up to date"),
                    Err(ENOMEM) => return Err(ENOMEM),
                    Err(error) => {
                        let errno = error.to_errno();
                        log::warning!(
                            line.group,
                            "{device}: write failed: error {errno}; lost, going on without it"
                        );
                        homes = homes.without(action.copy);
                        lost = true;
                    }
                }
            }
            CopyAction::Lose => {
                log::notice!(line.group, "{device}: lost, going on without it");
                lost = true;
            }
            CopyAction::Keep | CopyAction::Ignore => (),
        }
    }
    for found in stores.iter_mut() {
        // After all copies have this count, and before it rises again.
        found.note_events(members, table.id(), known)?;
    }
    if changed {
        table = commit(members, &homes, table, known)?;
    } else if lost || plan.heal {
        table = commit(members, &homes, boxed(table.recommitted()?)?, known)?;
    }
    if !back.is_empty() {
        table = take_back(members, &homes, table, &mut stores, back)?;
    }
    if let Some((headers, samples)) = fresh {
        (table, stores) = activate(members, &homes, &table, headers, samples)?;
    } else if !stores.is_empty() {
        // Twice: an older copy of a store is then two events behind, while a store whose header was
        // not updated because of a crash is one behind.
        for _ in 0..OPENINGS {
            openings = openings.saturating_add(1);
            note_events(&mut stores, members, &table)?;
            let told = table.head().events;
            table = commit(members, &homes, boxed(table.opened()?)?, told)?;
        }
        note_events(&mut stores, members, &table)?;
    }
    for (entry, volume) in table.volumes().iter().enumerate() {
        let lid = volume.lid;
        let why = match dead.contains(entry) {
            true => "failed from now on",
            false => "missing or failed before",
        };
        match (volume.state.failed, volume.attr) {
            (true, Attr::Increments) => {
                let fates = Fates::new(&table, entry);
                log::notice!(line.group, "increments {lid}: {why}{fates}");
            }
            (true, _) => log::notice!(line.group, "disk of {lid}: {why}"),
            (false, _) => (),
        }
    }
    Ok(Started {
        table,
        homes,
        stores,
        openings,
    })
}

/// What [`look`] found on the devices of an existing group.
struct Looked {
    table: KBox<GroupTable>,
    /// The table differs from the metadata.
    changed: bool,
    stores: KVec<Found>,
    /// See [`find_again`].
    back: KVec<(usize, Option<Header>)>,
}

/// Checks all devices, and repeats that without those that can't be read until the rest fits.
/// Writes nothing; sleeps for I/O.
#[inline(never)]
fn look(
    line: &TableLine<DeviceNumber>,
    members: &Members,
    chosen: &Metadata,
    dead: &mut Dead,
) -> Result<Looked> {
    loop {
        let (table, changed) = bind(line, members, chosen, dead)?;
        check_block_sizes(&table, members)?;
        check_writable(&table, members)?;
        let known = dead.len();
        if !table.is_initialising() {
            check_samples(&table, members, dead)?;
            find_dead_stores(&table, members, dead)?;
        }
        if dead.len() > known {
            continue;
        }
        let (events, force) = (chosen.head.events, line.features.force_metadata);
        let stores = find_stores(&table, members, events, force)?;
        let back = find_again(&table, members)?;
        for found in stores.iter() {
            found.check_disks(members, &table, dead)?;
        }
        if dead.len() == known {
            return Ok(Looked {
                table,
                changed,
                stores,
                back,
            });
        }
    }
}

/// Finds increments devices that should be in use but can't be read. Sleeps for I/O.
fn find_dead_stores(table: &GroupTable, members: &Members, dead: &mut Dead) -> Result {
    for (entry, volume) in table.volumes().iter().enumerate() {
        let state = &volume.state;
        let is_used = !state.failed || table.is_awaited_store(entry);
        let is_store = volume.attr == Attr::Increments && !state.removed && is_used;
        if is_store && members.disk(entry).is_some() && store::probe(members, entry)? == Probe::Dead
        {
            dead.add(table, entry, EIO)?;
        }
    }
    Ok(())
}

#[inline(never)]
fn take_chosen(probes: &mut [CopyProbe], plan: &Resume) -> Result<KBox<Metadata>> {
    let chosen = probes
        .get_mut(plan.device)
        .and_then(|probe| probe.take(plan.slot))
        .ok_or(EINVAL)?;
    Ok(KBox::new(chosen, GFP_KERNEL)?)
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
    let (table, _) = bind(line, members, known, &Dead::default())?;
    check_block_sizes(&table, members)?;
    check_writable(&table, members)?;
    if !table.is_initialising() {
        find_again(&table, members)?;
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
    let sectors = disk_sectors(members);
    let readable = |entry: usize| (!dead.contains(entry)).then(|| sectors(entry));
    let bound = GroupTable::bind(line, chosen.try_clone()?, readable).map_err(report(line))?;
    Ok((boxed(bound.table)?, bound.changed))
}

/// Moves a table to the heap, since stack space is scarce.
#[inline(never)]
fn boxed(table: GroupTable) -> Result<KBox<GroupTable>> {
    Ok(KBox::new(table, GFP_KERNEL)?)
}

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

fn report(line: &TableLine<DeviceNumber>) -> impl Fn(BindError) -> Error + '_ {
    move |error| match error {
        BindError::NoMemory => ENOMEM,
        _ => {
            log::notice!(line.group, "{error}");
            EINVAL
        }
    }
}

fn disk_sectors(members: &Members) -> impl Fn(usize) -> u64 + '_ {
    |entry| members.disk(entry).map_or(0, |disk| disk.device.sectors())
}

/// The largest logical block size of the volumes' disks, in bytes. A new group keeps this size.
fn volumes_block_size(line: &TableLine<DeviceNumber>, members: &Members) -> u32 {
    line.volumes
        .iter()
        .enumerate()
        .filter(|(_, volume)| volume.attr != Attr::Spare)
        .filter_map(|(entry, _)| members.disk(entry))
        .fold(SECTOR_BYTES, |largest, disk| {
            largest.max(disk.device.logical_block_size())
        })
}

/// A volume's logical block size must not grow when it moves to another disk.
fn check_block_sizes(table: &GroupTable, members: &Members) -> Result {
    let group = table.head().logical_block_bytes;
    for (entry, volume) in table.volumes().iter().enumerate() {
        let Some(disk) = members.disk(entry) else {
            continue;
        };
        let bytes = disk.device.logical_block_size();
        if bytes > group {
            log::notice!(
                table.id(),
                "disk of {}: logical blocks of {bytes} bytes, the group's are of {group}",
                volume.lid
            );
            return Err(EINVAL);
        }
    }
    Ok(())
}

/// Checks that every device that will be written to is writable. The line gives the entries'
/// original attributes: an entry that is now written may say `ro` there, so its device may have
/// been opened read-only.
fn check_writable(table: &GroupTable, members: &Members) -> Result {
    for (entry, volume) in table.volumes().iter().enumerate() {
        let is_read_only = |disk: &Disk| !disk.may_be_written();
        if table.is_written(entry) && members.disk(entry).is_some_and(is_read_only) {
            let what = match volume.attr {
                Attr::Increments => "increments",
                _ => "disk of",
            };
            log::notice!(
                table.id(),
                "{what} {}: read-only, but it is to be written",
                volume.lid
            );
            return Err(EACCES);
        }
    }
    Ok(())
}

/// Takes samples of the base image and makes sure that all volumes match them.
#[inline(never)]
fn take_samples(table: &GroupTable, members: &Members) -> Result<env::Vec<samples::Sample>> {
    flush_base(table, members)?;
    let head = table.head();
    let positions = samples::positions(&head.uuid, head.sectors)?;
    let mut first: Option<(usize, env::Vec<samples::Sample>)> = None;
    for (entry, volume) in table.volumes().iter().enumerate() {
        let in_sync = volume.attr.is_volume() && volume.health == Health::InSync;
        let Some(disk) = members.disk(entry).filter(|_| in_sync) else {
            continue;
        };
        let Some((_, samples)) = &first else {
            let taken = base::take(members, disk, &positions).inspect_err(|error| {
                let errno = error.to_errno();
                log::notice!(
                    table.id(),
                    "disk of {}: can't be read: error {errno}",
                    volume.lid
                );
            })?;
            first = Some((entry, taken));
            continue;
        };
        expect_same(table, entry, base::compare(members, disk, samples)?)?;
    }
    if first.is_none() {
        log::notice!(table.id(), "init: no volume has a disk with the base image");
    }
    first.map(|(_, samples)| samples).ok_or(EINVAL)
}

/// Flushes the disks that will be known to hold the base image. Whoever put that there may have left
/// it in their caches, and nobody flushes such a disk later.
fn flush_base(table: &GroupTable, members: &Members) -> Result {
    for (entry, volume) in table.volumes().iter().enumerate() {
        let has_base = matches!(volume.health, Health::InSync | Health::Verifying);
        let is_due = volume.attr.is_volume() && has_base;
        let Some(disk) = members.disk(entry).filter(|_| is_due) else {
            continue;
        };
        members.flush(disk).inspect_err(|error| {
            let errno = error.to_errno();
            log::notice!(
                table.id(),
                "disk of {}: can't be flushed: error {errno}",
                volume.lid
            );
        })?;
    }
    Ok(())
}

/// Makes sure that every pristine disk holds the base image, except disks that will be compared
/// anyway, and disks that can't be read.
fn check_samples(table: &GroupTable, members: &Members, dead: &mut Dead) -> Result {
    for (entry, volume) in table.volumes().iter().enumerate() {
        let has_base = volume.state.pristine && volume.health != Health::Verifying;
        let Some(disk) = members.disk(entry).filter(|_| has_base) else {
            continue;
        };
        let samples = &table.metadata().samples;
        match base::compare(members, disk, samples)? {
            Comparison::Unreadable(error) => dead.add(table, entry, error)?,
            found => expect_same(table, entry, found)?,
        }
    }
    Ok(())
}

fn expect_same(table: &GroupTable, entry: usize, found: Comparison) -> Result {
    let lid = table.volume(entry).map_or(*table.id(), |volume| volume.lid);
    match found {
        Comparison::Same => Ok(()),
        Comparison::Partly(sector) => {
            log::notice!(
                table.id(),
                "disk of {lid}: sector {sector} can't be read; all other samples match the base image"
            );
            Ok(())
        }
        Comparison::Differs(sector) => {
            log::notice!(
                table.id(),
                "disk of {lid}: does not hold the base image, see sector {sector}: wrong disk?"
            );
            Err(EINVAL)
        }
        Comparison::Unreadable(error) => {
            let errno = error.to_errno();
            log::notice!(table.id(), "disk of {lid}: can't be read: error {errno}");
            Err(error)
        }
    }
}
