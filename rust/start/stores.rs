// SPDX-License-Identifier: GPL-2.0

//! The increments stores of a group that starts.

use super::{
    box_table,
    commit, //
};
use crate::{
    dead::Dead,
    log,
    members::Members,
    metadata::Homes,
    store::{
        self,
        Found, //
    },
    svol_core::{
        attr::Attr,
        group::GroupTable,
        id::Id,
        store::{
            Header,
            Probe, //
        }, //
    }, //
};
use kernel::prelude::*;

/// A store that failed before and is to be used again, or one of an entry that joined the group.
pub(super) struct ToOpen {
    entry: usize,
    /// Whether the entry joined the group.
    is_new: bool,
    /// If it has to be made first.
    header: Option<Header>,
}

/// Headers, each with its entry, for those stores of a group being created that do not exist yet.
/// Checks that the devices can hold them.
#[inline(never)]
pub(super) fn headers(table: &GroupTable, members: &Members) -> Result<KVec<(usize, Header)>> {
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

/// Reads the stores of a group. `force` accepts them even if they are older or newer than it.
#[inline(never)]
pub(super) fn find(
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

/// Checks the stores that failed and are to be used again, and those that joined the group. Writes
/// nothing; sleeps for I/O.
#[inline(never)]
pub(super) fn find_to_open(table: &GroupTable, members: &Members) -> Result<KVec<ToOpen>> {
    let mut to_open = KVec::new();
    // Without its device, the store has failed again.
    for entry in table.stores_to_open() {
        if members.disk(entry).is_some() {
            let store = ToOpen {
                entry,
                is_new: table.is_new_store(entry),
                header: store::header_to_open(members, table, entry)?,
            };
            to_open.push(store, GFP_KERNEL)?;
        }
    }
    Ok(to_open)
}

/// Finds increments devices that should be in use but can't be read. Sleeps for I/O.
pub(super) fn find_dead(table: &GroupTable, members: &Members, dead: &mut Dead) -> Result {
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

/// Takes into use stores that failed before or are new. Each is told the event count before the
/// metadata says that it is in use: a crash in between leaves a store that is not in use yet, or
/// one that has already seen the event. Sleeps for I/O.
#[inline(never)]
pub(super) fn open_again(
    members: &Members,
    homes: &Homes,
    mut table: KBox<GroupTable>,
    stores: &mut KVec<Found>,
    to_open: KVec<ToOpen>,
) -> Result<KBox<GroupTable>> {
    let mut opened = KVec::with_capacity(to_open.len(), GFP_KERNEL)?;
    for store in to_open {
        let (entry, is_new) = (store.entry, store.is_new);
        match make_usable(members, &table, store) {
            Ok(found) => {
                stores.push(found, GFP_KERNEL)?;
                opened.push((entry, is_new), GFP_KERNEL)?;
            }
            Err(ENOMEM) => return Err(ENOMEM),
            // Start without this store, as before: all volumes wait for this start.
            Err(_) => {
                say_not_opened(&table, entry, is_new);
                if is_new {
                    // Nothing may rely on it.
                    table = give_up_new(members, homes, table, stores, entry)?;
                }
            }
        }
    }
    let told = table.head().events;
    note_events(stores, members, table.id(), told)?;
    let is_open = |entry| opened.iter().any(|(open, _)| *open == entry);
    let table = match table.with_stores_back(is_open)? {
        Some(next) => commit(members, homes, box_table(next)?, told)?,
        None => table,
    };
    for (entry, is_new) in opened {
        say_opened(&table, entry, is_new);
    }
    Ok(table)
}

fn say_opened(table: &GroupTable, entry: usize, is_new: bool) {
    if let Some(volume) = table.volume(entry) {
        let again = if is_new { "" } else { " again" };
        log::info!(table.id(), "increments {}: in use{again}", volume.lid);
    }
}

fn say_not_opened(table: &GroupTable, entry: usize, is_new: bool) {
    if let Some(volume) = table.volume(entry) {
        let what = match is_new {
            true => "not in use",
            false => "not taken back",
        };
        log::warning!(table.id(), "increments {}: {what}", volume.lid);
    }
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
    let told = table.head().events;
    note_events(stores, members, table.id(), told)?;
    match table.with_failed_disk(entry)? {
        Some(next) => commit(members, homes, box_table(next)?, told),
        None => Ok(table),
    }
}

/// Opens a store; makes it first if it has to.
#[inline(never)]
fn make_usable(members: &Members, table: &GroupTable, store: ToOpen) -> Result<Found> {
    let entry = store.entry;
    if let Some(header) = store.header {
        make(members, table, entry, header)?;
    }
    let events = table.head().events;
    let mut found = store::find(members, table, entry, events, true)?;
    found.note_events(members, table.id(), events)?;
    found.let_leave(members, table)?;
    Ok(found)
}

/// Makes the store of an entry; a failure is logged. Sleeps for I/O.
pub(super) fn make(members: &Members, table: &GroupTable, entry: usize, header: Header) -> Result {
    let device = &members.disk(entry).ok_or(ENXIO)?.device;
    let lid = header.lid;
    store::make(members, device, header).inspect_err(|error| {
        let errno = error.to_errno();
        log::warning!(table.id(), "increments {lid}: can't be made: error {errno}");
    })
}

/// Tells the stores an event count of the group, after the metadata has it. Sleeps for I/O.
pub(super) fn note_events(
    stores: &mut KVec<Found>,
    members: &Members,
    group: &Id,
    events: u64,
) -> Result {
    for found in stores.iter_mut() {
        found.note_events(members, group, events)?;
    }
    Ok(())
}
