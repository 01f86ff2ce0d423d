// SPDX-License-Identifier: GPL-2.0

//! Checks that a table line fits a group that is in use before it replaces the line that works.

use super::Group;
use crate::{
    dm::DeviceNumber,
    log,
    members::Members,
    start,
    svol_core::table_line::TableLine, //
};
use kernel::prelude::*;

impl Group {
    /// If the group is in use, checks a line against what is known of it: a refused resume would
    /// leave all its volumes waiting. The resume checks the contents of disks, and rechecks what
    /// may have changed by then. Called by the constructor after the table has been counted: from
    /// then on no entry can join or leave the group. Sleeps for I/O, without a lock.
    ///
    /// # Errors
    ///
    /// The log says why it does not fit.
    #[inline(never)]
    pub(crate) fn check_line(&self, line: &TableLine<DeviceNumber>, members: &Members) -> Result {
        let state = self.state.lock();
        if state.leaving.is_some() || state.is_joining {
            drop(state);
            log::notice!(line.group, "an entry joins or leaves the group just now");
            return Err(EAGAIN);
        }
        let other = state.identity.filter(|(group, _)| *group != line.group);
        if let (Some((group, _)), false) = (other, state.claims.is_empty()) {
            drop(state);
            log::notice!(
                line.group,
                "volumes of the group {group} are loaded: remove them first"
            );
            return Err(EBUSY);
        }
        let known = match &state.table {
            // A start that failed has written something newer, and all volumes wait anyway.
            Some(_) if state.is_outdated => return Ok(()),
            Some(table) if *table.id() == line.group => table.metadata().as_read_again()?,
            _ => return Ok(()),
        };
        drop(state);
        let table = start::check_line(line, members, &known)?;
        self.check_writers(&table)
    }
}
