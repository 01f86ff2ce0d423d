// SPDX-License-Identifier: GPL-2.0

//! Writes a lost metadata copy to another device, or to its own once more.
//!
//! For the order, and what a crash leaves behind, see [`crate::svol_core::meta`].

use super::{
    commit::box_next,
    Group, //
};
use crate::{
    bound::Bound,
    dm::device_number,
    log,
    members::Members,
    metadata::{
        self,
        Homes, //
    },
    svol_core::{
        group::GroupTable,
        meta::{
            choose::may_become_copy,
            slot_of,
            CopyState,
            Metadata, //
        },
        table_line::MetaDevice,
        text::Quoted, //
    },
};
use kernel::prelude::*;

/// The generation that brings a copy back goes to this slot, so that the claim stays in the other.
const SLOT: usize = 1;

impl Group {
    /// Writes the lost metadata copy to a metadata device of the live line, counting from 0, for a
    /// message to the table of these members. `path` names that device again, since its contents
    /// are overwritten. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// The log says why; the group still has the copies it had.
    #[inline(never)]
    pub(crate) fn replace_meta(&self, members: &Members, device: usize, path: &[u8]) -> Result {
        let number = device_number(path);
        let mut homes = self.commits.lock();
        let bound = self.live_table(members, "replace_meta")?;
        let name = self.name();
        let place = MetaDevice(device);
        let refuse = |why: core::fmt::Arguments<'_>, error: Error| {
            log::notice!(name, "message \"replace_meta\": {place}: {why}");
            error
        };

        let number = number.map_err(|error| {
            let errno = error.to_errno();
            refuse(format_args!("{}: error {errno}", Quoted(path)), error)
        })?;
        let listed = members
            .meta_device(device)
            .ok_or_else(|| refuse(format_args!("the table line has none there"), EINVAL))?
            .number();
        if listed != number {
            return Err(refuse(
                format_args!(
                    "the table line has device {listed} there, not {number}: load a line with it first"
                ),
                EINVAL,
            ));
        }
        if bound.writers.is_busy(device) {
            let why = format_args!("it has not answered all I/O from before");
            return Err(refuse(why, EBUSY));
        }
        let (copy, next) = self
            .with_lost_copy(&homes, device)
            .map_err(|error| match error {
                EBUSY => refuse(format_args!("it has a copy that is in use"), error),
                ENOENT => refuse(format_args!("no copy is lost"), EINVAL),
                _ => error,
            })?;
        let probe = metadata::probe(members, device)?;
        if !may_become_copy(&probe, &next.head().uuid) {
            let why = format_args!("it holds something else, or can't be read: wipe it first");
            return Err(refuse(why, EINVAL));
        }
        drop(probe);

        self.write_lost_copy(&bound, &mut homes, copy, device, next)
            .inspect_err(|error| {
                let errno = error.to_errno();
                refuse(
                    format_args!("the copy can't be written: error {errno}"),
                    *error,
                );
            })?;
        log::info!(name, "{place}: has a copy of the metadata again");
        Ok(())
    }

    /// The lost copy, and the group table with it. `EBUSY` if the device holds another copy that is
    /// live, `ENOENT` if no copy is lost.
    fn with_lost_copy(&self, homes: &Homes, device: usize) -> Result<(usize, KBox<GroupTable>)> {
        let state = self.state.lock();
        let table = state.table.as_ref().ok_or(ENXIO)?;
        let copies = table.head().copies;
        let is_live = |copy: &usize| copies.state(*copy) == Some(CopyState::Live);
        let mut live = (0..copies.count()).filter(is_live);
        if live.any(|copy| homes.position(copy) == Some(device)) {
            return Err(EBUSY);
        }
        let copy = (0..copies.count())
            .find(|copy| !is_live(copy))
            .ok_or(ENOENT)?;
        let next = box_next(table.with_copy(copy)?)?.ok_or(ENOENT)?;
        Ok((copy, next))
    }

    /// The steps of [`Group::replace_meta`].
    #[inline(never)]
    fn write_lost_copy(
        &self,
        bound: &Bound,
        commits: &mut Homes,
        copy: usize,
        device: usize,
        mut next: KBox<GroupTable>,
    ) -> Result {
        let members = &bound.members;
        let homes = &commits.with(copy, device);
        let claim = Metadata::claim(&next.metadata().identity());
        metadata::erase(members, homes, copy)?;
        if slot_of(next.head().sequence) != SLOT {
            self.commit_again(bound, homes)?;
            let again = self.next_table(|table| table.with_copy(copy))?;
            next = again.ok_or(ENOENT)?;
        }
        metadata::write_copy(members, homes, copy, &claim)?;
        let written = metadata::write_copy(members, homes, copy, next.metadata())
            .and_then(|()| self.commit(bound, homes, next));
        if written.is_err() {
            // Its state was never in effect. If it can't be erased, it can't be read, either.
            if !bound.writers.is_busy(device) {
                let _ = metadata::erase(members, homes, copy);
            }
            return written;
        }
        *commits = *homes;
        // This makes both of its slots whole.
        self.commit_again(bound, homes)?;
        let state = self.state.lock();
        let copies = state.table.as_ref().map(|table| table.head().copies);
        match copies.and_then(|copies| copies.state(copy)) {
            Some(CopyState::Live) => Ok(()),
            _ => Err(EIO),
        }
    }

    /// Commits the current state once more.
    fn commit_again(&self, bound: &Bound, homes: &Homes) -> Result {
        let state = self.state.lock();
        let table = state.table.as_ref().ok_or(ENXIO)?;
        let next = KBox::new(table.recommitted()?, GFP_KERNEL)?;
        drop(state);
        self.commit(bound, homes, next)
    }
}
