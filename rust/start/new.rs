// SPDX-License-Identifier: GPL-2.0

//! A group that is loaded for the first time.

use super::{
    box_table,
    commit,
    disks,
    report,
    stores,
    Started, //
};
use crate::{
    dm::{
        random_bytes,
        DeviceNumber, //
    },
    env,
    log,
    members::Members,
    metadata::{
        self,
        Homes, //
    },
    store::Found,
    svol_core::{
        group::GroupTable,
        meta::{
            Identity,
            Metadata, //
        },
        samples::Sample,
        store::Header,
        table_line::{
            MetaDevice,
            TableLine, //
        }, //
    }, //
};
use kernel::prelude::*;

/// What a group that is being created begins with.
pub(super) struct Fresh {
    /// Headers of the stores that do not exist yet, each with its entry.
    headers: KVec<(usize, Header)>,
    /// Samples of the base image.
    samples: env::Vec<Sample>,
}

impl Fresh {
    /// Checks that the devices can hold the stores, and that all volumes have the same base image.
    pub(super) fn prepare(table: &GroupTable, members: &Members) -> Result<Self> {
        Ok(Self {
            headers: stores::headers(table, members)?,
            samples: disks::take_samples(table, members)?,
        })
    }

    /// The last steps of creating a group: makes its stores. Returns its table and its stores.
    #[inline(never)]
    pub(super) fn activate(
        self,
        members: &Members,
        homes: &Homes,
        table: &GroupTable,
    ) -> Result<(KBox<GroupTable>, KVec<Found>)> {
        for (entry, header) in self.headers {
            stores::make(members, table, entry, header)?;
        }
        let told = table.head().events;
        let next = box_table(table.activated(self.samples)?)?;
        let table = commit(members, homes, next, told)?;
        let events = table.head().events;
        let mut found = stores::find(&table, members, events, true)?;
        stores::note_events(&mut found, members, table.id(), events)?;
        Ok((table, found))
    }
}

/// A group for which no metadata was found.
pub(crate) struct New {
    table: KBox<GroupTable>,
    fresh: Fresh,
}

impl New {
    /// Checks its devices. Writes nothing; sleeps for I/O.
    #[inline(never)]
    pub(super) fn prepare(line: &TableLine<DeviceNumber>, members: &Members) -> Result<Self> {
        let mut identity = Identity {
            uuid: [0; 16],
            group: line.group,
            sectors: line.sectors,
            block_sectors: line.block_sectors,
            logical_block_bytes: disks::volumes_block_size(line, members),
            copies: line.meta.len(),
        };
        disks::check_length(&identity)?;
        random_bytes(&mut identity.uuid);
        let table =
            GroupTable::new(&identity, line, disks::sectors(members)).map_err(report(line))?;
        let table = box_table(table)?;
        disks::check(&table, members)?;
        let fresh = Fresh::prepare(&table, members)?;
        Ok(Self { table, fresh })
    }

    /// The group table as it will be when the group starts.
    pub(super) fn table(&self) -> &GroupTable {
        &self.table
    }

    /// Creates it. Sleeps for I/O.
    #[inline(never)]
    pub(super) fn start(
        self,
        line: &TableLine<DeviceNumber>,
        members: &Members,
    ) -> Result<Started> {
        let homes = Homes::fresh(line.meta.len());
        let claim = Metadata::claim(&self.table.metadata().identity());
        for copy in 0..line.meta.len() {
            metadata::write_copy(members, &homes, copy, &claim).inspect_err(|error| {
                let (device, errno) = (MetaDevice(copy), error.to_errno());
                log::warning!(line.group, "{device}: write failed: error {errno}");
            })?;
        }
        // There are no stores yet.
        let table = commit(members, &homes, self.table, 0)?;
        let (table, stores) = self.fresh.activate(members, &homes, &table)?;
        log::info!(line.group, "new group of {} entries", line.volumes.len());
        Ok(Started {
            table,
            homes,
            stores,
            openings: 0,
        })
    }
}
