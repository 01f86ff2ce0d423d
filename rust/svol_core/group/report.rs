// SPDX-License-Identifier: GPL-2.0

//! What users see of a group: the status line and the group management table.

use super::GroupTable;
use crate::svol_core::{
    meta::{
        CopyState,
        RegionRecord,
        VolumeRecord, //
    },
    text::Width, //
};
use core::fmt::{
    self,
    Write, //
};

/// The fields of an entry in the status line.
const STATUS_FIELDS: u32 = 11;

/// The counters of an entry.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// I/Os per second, a decaying average.
    pub frequency: u64,
    /// Failed reads of the disk.
    pub read_errors: u64,
    /// Failed writes of the disk.
    pub write_errors: u64,
    /// Blocks: used and total for an increments volume; done and total while a copy or comparison
    /// runs.
    pub blocks: Option<(u64, u64)>,
    /// Bad sub-blocks of the disk that were repaired.
    pub repairs: u64,
}

impl GroupTable {
    /// Writes the status line; `counters` returns the counters of an entry.
    ///
    /// ```text
    /// <GrpID> <group state> <redundancy> <event count> <metadata> <#volumes> <#fields per volume>
    ///     {<LID> <attr> <health> <protection> <disk LID|-> <RLID|-> <freq> <read errors>
    ///     <write errors> <blocks> <repairs>}+
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write_status(
        &self,
        out: &mut dyn Write,
        mut counters: impl FnMut(usize) -> Counters,
    ) -> fmt::Result {
        let head = self.head();
        let (state, redundancy) = (self.state(), self.redundancy());
        write!(out, "{} {state} {redundancy} {} ", head.group, head.events)?;
        self.write_copies(out)?;
        write!(out, " {} {STATUS_FIELDS}", self.members().count())?;
        for (entry, volume) in self.members() {
            write!(out, " {} {}", volume.lid, volume.attr)?;
            let health = self.health(entry).unwrap_or(volume.health);
            write!(out, " {health} {} ", self.protection(entry))?;
            write_or_dash(out, volume.disk)?;
            out.write_char(' ')?;
            write_or_dash(out, volume.rlid)?;

            let counted = counters(entry);
            write!(out, " {}", counted.frequency)?;
            write!(out, " {} {}", counted.read_errors, counted.write_errors)?;
            match counted.blocks {
                Some((some, all)) => write!(out, " {some}/{all}")?,
                None => out.write_str(" -")?,
            }
            write!(out, " {}", counted.repairs)?;
        }
        Ok(())
    }

    /// The entries that are in the group, each with its index.
    pub(super) fn members(&self) -> impl Iterator<Item = (usize, &VolumeRecord)> {
        let entries = self.volumes().iter().enumerate();
        entries.filter(|(_, volume)| !volume.state.removed)
    }

    /// A letter per metadata copy.
    fn write_copies(&self, out: &mut dyn Write) -> fmt::Result {
        self.head()
            .copies
            .states()
            .try_for_each(|state| match self.is_unwritable {
                true => out.write_str(CopyState::Lost.word()),
                false => out.write_str(state.word()),
            })
    }

    /// Writes the group management table, in human-readable form; `pid` writes the name of the
    /// device that is the disk of an entry. The last line has no newline.
    ///
    /// # Errors
    ///
    /// Those of `out` and `pid`.
    pub fn write_query<F>(&self, out: &mut dyn Write, mut pid: F) -> fmt::Result
    where
        F: FnMut(&mut dyn Write, usize) -> fmt::Result,
    {
        let head = self.head();
        write!(out, "GrpID {}, {}", head.group, self.state())?;
        write!(out, ", redundancy {}, metadata ", self.redundancy())?;
        self.write_copies(out)?;
        write!(out, ", event count {}", head.events)?;

        let mut widths = [0; Column::ALL.len()];
        for (column, width) in Column::ALL.iter().zip(widths.iter_mut()) {
            *width = column.title().len();
            for (entry, _) in self.members() {
                let mut cell = Width::default();
                self.write_cell(&mut cell, entry, *column, &mut pid)?;
                *width = cell.chars().max(*width);
            }
        }

        let mut line = Line::begin(out)?;
        for (column, width) in Column::ALL.iter().zip(widths) {
            line.cell(width, |out| out.write_str(column.title()))?;
        }
        for (entry, _) in self.members() {
            let mut line = Line::begin(out)?;
            for (column, width) in Column::ALL.iter().zip(widths) {
                line.cell(width, |out| self.write_cell(out, entry, *column, &mut pid))?;
            }
        }
        for region in self.metadata().regions.iter() {
            let RegionRecord {
                lid,
                start,
                len,
                attr,
            } = region;
            write!(out, "\nregion of {lid}: {attr} {start} {len}")?;
        }
        Ok(())
    }

    fn write_cell<F>(
        &self,
        out: &mut dyn Write,
        entry: usize,
        column: Column,
        pid: &mut F,
    ) -> fmt::Result
    where
        F: FnMut(&mut dyn Write, usize) -> fmt::Result,
    {
        let Some(volume) = self.volume(entry) else {
            return Ok(());
        };
        match column {
            Column::Lid => write!(out, "{}", volume.lid),
            Column::Attribute => write!(out, "{}", volume.attr),
            Column::Disk => write_or_dash(out, volume.disk),
            Column::Pid => match self.disk_of(entry) {
                Some(disk) => pid(out, disk),
                None => out.write_str("-"),
            },
            Column::RecoveryLid => write_or_dash(out, volume.rlid),
            Column::Health => {
                write!(out, "{}", self.health(entry).unwrap_or(volume.health))
            }
            Column::Protection => write!(out, "{}", self.protection(entry)),
        }
    }
}

/// A column of the group management table.
#[derive(Clone, Copy)]
enum Column {
    Lid,
    Attribute,
    Disk,
    Pid,
    RecoveryLid,
    Health,
    Protection,
}

impl Column {
    const ALL: [Self; 7] = [
        Self::Lid,
        Self::Attribute,
        Self::Disk,
        Self::Pid,
        Self::RecoveryLid,
        Self::Health,
        Self::Protection,
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::Lid => "LID",
            Self::Attribute => "attribute",
            Self::Disk => "disk",
            Self::Pid => "PID",
            Self::RecoveryLid => "recovery LID",
            Self::Health => "health",
            Self::Protection => "protection",
        }
    }
}

/// A line of cells, two spaces between them and none at its end.
struct Line<'a> {
    out: &'a mut dyn Write,
    /// Spaces to write before the next cell.
    gap: usize,
}

impl<'a> Line<'a> {
    fn begin(out: &'a mut dyn Write) -> Result<Self, fmt::Error> {
        out.write_char('\n')?;
        Ok(Self { out, gap: 0 })
    }

    fn cell(
        &mut self,
        width: usize,
        mut write: impl FnMut(&mut dyn Write) -> fmt::Result,
    ) -> fmt::Result {
        for _ in 0..self.gap {
            self.out.write_char(' ')?;
        }
        let mut used = Width::default();
        write(&mut used)?;
        write(self.out)?;
        self.gap = width.saturating_sub(used.chars()).saturating_add(2);
        Ok(())
    }
}

fn write_or_dash<T: fmt::Display>(out: &mut dyn Write, value: Option<T>) -> fmt::Result {
    match value {
        Some(value) => write!(out, "{value}"),
        None => out.write_str("-"),
    }
}
