// SPDX-License-Identifier: GPL-2.0

//! The status output of a group.

use super::Group;
use crate::{
    bound::Bound,
    dm::{
        DeviceNumber,
        Writer, //
    },
    members::Members,
    svol_core::{
        group::Counters,
        id::Id,
        table_line::TableLine, //
    }, //
};
use core::fmt::{
    self,
    Write as _, //
};
use kernel::sync::Arc;

/// A group's name for log lines.
pub(crate) enum Name {
    /// Its ID.
    Known(Id),
    /// It has none yet.
    Unknown,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Known(id) => write!(f, "{id}"),
            Name::Unknown => f.write_str("?"),
        }
    }
}

impl Group {
    /// Writes the line of the table of these members; for the live one, with entries that have
    /// since been added or removed.
    pub(crate) fn write_line(
        &self,
        members: &Members,
        line: &TableLine<DeviceNumber>,
        out: &mut Writer<'_>,
    ) -> fmt::Result {
        let state = self.state.lock();
        let is_live = |bound: &&Arc<Bound>| bound.members.table == members.table;
        let live = state.bound.as_ref().filter(is_live);
        let table = live.and_then(|_| state.table.as_ref());
        let added = table.map_or(&[][..], |_| &state.added);
        let is_removed = |entry| table.is_some_and(|table| table.is_removed(entry));
        line.write(out, added, is_removed, |out, number| {
            write!(out, "{number}")
        })
    }

    /// Writes the status of the group.
    pub(crate) fn write_status(&self, out: &mut Writer<'_>) -> fmt::Result {
        let state = self.state.lock();
        let (Some(table), Some(bound)) = (&state.table, &state.bound) else {
            return Ok(());
        };
        table.write_status(out, |entry| match bound.volumes.get(entry) {
            Some(volume) => Counters {
                frequency: volume.stats.frequency(),
                read_errors: volume.stats.read_errors(),
                write_errors: volume.stats.write_errors(),
                repairs: volume.stats.repairs(),
                blocks: Self::rebuild_progress(table, bound, entry).or_else(|| bound.usage(entry)),
            },
            None => Counters::default(),
        })
    }

    /// Writes the group management table.
    pub(crate) fn write_query(
        &self,
        line: &TableLine<DeviceNumber>,
        out: &mut Writer<'_>,
    ) -> fmt::Result {
        let state = self.state.lock();
        let Some(table) = &state.table else {
            return Ok(());
        };
        table.write_query(out, |out, entry| {
            let mut entries = Iterator::chain(line.volumes.iter(), &state.added);
            match entries.nth(entry).and_then(|volume| volume.dev) {
                Some(number) => write!(out, "{number}"),
                None => out.write_str("-"),
            }
        })
    }

    /// Writes the status of a volume.
    pub(crate) fn write_volume_status(&self, lid: &Id, out: &mut Writer<'_>) -> fmt::Result {
        let state = self.state.lock();
        let found = state
            .table
            .as_ref()
            .and_then(|table| Some((table, table.position(lid)?)));
        match found.and_then(|(table, entry)| Some((table, entry, table.volume(entry)?))) {
            Some((table, entry, volume)) => write!(
                out,
                "{lid} {} {} {}",
                volume.attr,
                table.health(entry).unwrap_or(volume.health),
                table.protection(entry)
            ),
            None => write!(out, "{lid} - - -"),
        }
    }
}
