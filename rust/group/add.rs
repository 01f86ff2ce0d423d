// SPDX-License-Identifier: GPL-2.0

//! The message `add`: adds entries to the group.
//!
//! This writes only their record in the metadata. The table that is loaded next names their
//! devices. Then the contents of the devices are checked, and one that does not fit is refused like
//! any other.

use super::{
    Group,
    Request,
    OTHER_TABLE, //
};
use crate::{
    dm::{
        find_device,
        DeviceNumber, //
    },
    log,
    members::Members,
    registry::Registry,
    svol_core::{
        group::{
            AddError,
            NewEntry, //
        },
        id::Id,
        table_line::VolumeLine,
        text::Quoted, //
    },
};
use kernel::prelude::*;

impl Group {
    /// Adds an entry to the group, for a message to the table of these members; `path` is its
    /// device. It is in use after the next load of the table. Sleeps for metadata I/O.
    ///
    /// # Errors
    ///
    /// The log says why; nothing has changed.
    #[inline(never)]
    pub(crate) fn add(
        &self,
        registry: &Registry,
        members: &Members,
        new: &NewEntry,
        path: Option<&[u8]>,
    ) -> Result {
        // Before the locks: this may sleep for whatever serves the path.
        let number = path.map(|path| (path, find_device(path)));
        let homes = self.commits.lock();
        let bound = self.live_table(members, "add")?;
        let request = Request::new(self.name(), "add", &new.lid);
        self.refuse_while_changing(&request)?;
        let dev = match number {
            None => None,
            Some((_, Ok(number))) => Some(number),
            Some((path, Err(error))) => {
                let (path, errno) = (Quoted(path), error.to_errno());
                return Err(request.refuse(format_args!("device {path}: error {errno}"), error));
            }
        };
        if let Some(number) = dev {
            self.check_new_device(registry, members, &request, number)?;
        }
        let mut state = self.state.lock();
        if state.tables > 1 {
            // That table's line was checked when it was loaded, and lacks the entry.
            return Err(request.refuse(OTHER_TABLE, EBUSY));
        }
        let table = state.table.as_ref().ok_or(ENXIO)?;
        let next = table.with_added(new).map_err(|error| match error {
            AddError::NoMemory => ENOMEM,
            AddError::Known => request.refuse(error, EEXIST),
            AddError::Left => request.refuse(error, EBUSY),
            AddError::StoreFailed(_) | AddError::NoSource => request.refuse(error, EIO),
            _ => request.refuse(error, EINVAL),
        })?;
        if bound.has_blocks_of(&new.lid) {
            // The new volume would get them.
            let why = "the blocks of a volume of this name are given back still; try again later";
            return Err(request.refuse(why, EBUSY));
        }
        if let Some(rlid) = new.rlid.filter(|rlid| !bound.has_numbers(rlid, &next)) {
            // The next start could not give it a number.
            return Err(request.refuse(
                format_args!(
                    "RLID {rlid}: it has too many volumes while blocks of others are given back \
                     still; try again later"
                ),
                EBUSY,
            ));
        }
        let next = KBox::new(next, GFP_KERNEL)?;
        state.added.reserve(1, GFP_KERNEL)?;
        state.is_joining = true;
        drop(state);
        let result = self.commit(&bound, &homes, next);
        self.state.lock().is_joining = false;
        result.inspect_err(|error| {
            let errno = error.to_errno();
            request.refuse(format_args!("not added: error {errno}"), *error);
        })?;
        let line = VolumeLine {
            lid: new.lid,
            attr: new.attr,
            dev,
            rlid: new.rlid,
        };
        // There is room: it was reserved above.
        let _ = self.state.lock().added.push_within_capacity(line);
        log::info!(
            request.name,
            "{}: added, in use when the group's table is loaded with it",
            new.lid
        );
        Ok(())
    }

    /// Checks that nobody uses the device of a new entry yet: this group, one of its volumes, or
    /// another group. Does not sleep for I/O.
    fn check_new_device(
        &self,
        registry: &Registry,
        members: &Members,
        request: &Request<'_>,
        number: DeviceNumber,
    ) -> Result {
        if number == self.number || self.has_device(members, number) {
            return Err(request.refuse(
                format_args!("device {number}: the group uses it already"),
                EBUSY,
            ));
        }
        if let Some(lid) = self.loaded_on(number) {
            return Err(request.refuse(
                format_args!("device {number}: it is the volume {lid} of this group"),
                EBUSY,
            ));
        }
        if let Err(id) = registry.check_device(self.number, number) {
            return Err(request.refuse(
                format_args!("device {number}: in use by the group {id}"),
                EBUSY,
            ));
        }
        Ok(())
    }

    /// Whether the live table, or an entry that was added to it, uses this device.
    fn has_device(&self, members: &Members, number: DeviceNumber) -> bool {
        let state = self.state.lock();
        let mut added = state.added.iter();
        members.has(number)
            || added.any(|line| line.dev == Some(number) && has_entry(&state, &line.lid))
    }
}

/// Whether an entry that was added is still in the group.
fn has_entry(state: &super::State, lid: &Id) -> bool {
    let table = state.table.as_ref();
    table.is_some_and(|table| table.position(lid).is_some())
}
