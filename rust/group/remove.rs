// SPDX-License-Identifier: GPL-2.0

//! The message `remove`: removes entries from a group that is in use.

use super::{
    Group,
    Name,
    Request,
    OTHER_TABLE, //
};
use crate::{
    bound::Bound,
    log,
    metadata::Homes,
    svol_core::{
        group::{
            GroupTable,
            RemoveError, //
        },
        id::Id, //
    }, //
};
use kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// How often to check, once per millisecond, whether the disks of a removed entry have no I/O left.
pub(super) const REMOVE_LOOKS: usize = 100;

impl Group {
    /// Removes an entry from the group. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// The log says why; nothing has changed.
    #[inline(never)]
    pub(crate) fn remove(&self, lid: &Id) -> Result {
        let homes = self.commits.lock();
        let mut state = self.state.lock();
        let (Some(table), Some(bound), true) = (&state.table, &state.bound, state.is_live) else {
            let name = state.table.as_ref().map(|table| *table.id());
            drop(state);
            if let Some(name) = name {
                log::notice!(name, "message \"remove\": the group is suspended");
            }
            return Err(EAGAIN);
        };
        let request = Request::new(Name::Known(*table.id()), "remove", lid);
        if state.changing.is_some() {
            return Err(request.refuse("another change of the group is under way", EBUSY));
        }
        if let Some(claim) = state.claims.iter().find(|claim| claim.lid == *lid) {
            let number = claim.number;
            return Err(request.refuse(format_args!("loaded by device {number}"), EBUSY));
        }
        if state.tables > 1 {
            // That table's line was checked when it was loaded, and has the entry.
            return Err(request.refuse(OTHER_TABLE, EBUSY));
        }
        let next = table.with_removed(lid).map_err(|error| match error {
            RemoveError::NoMemory => ENOMEM,
            RemoveError::Unknown => request.refuse(error, ENODEV),
            _ => request.refuse(error, EBUSY),
        })?;
        let next = KBox::new(next, GFP_KERNEL)?;
        let entry = table.position(lid).ok_or(ENODEV)?;
        // After a failover it uses the disk of another entry, which is freed by this.
        let disk = table.disk_of(entry).unwrap_or(entry);
        let bound = bound.clone();
        if bound.is_last_source(disk, lid) {
            let why = "its disk is the only one that serves reads of the base";
            return Err(request.refuse(why, EBUSY));
        }
        state.leaving = Some(*lid);
        drop(state);

        // Before it is durable, so that nobody still relies on its disks afterwards.
        let was_read = [entry, disk].map(|disk| (disk, bound.keep_away(disk)));
        let result = self.commit_removal(&bound, &homes, next, lid);
        self.state.lock().leaving = None;
        match result {
            Ok(()) => {
                bound.retire(entry);
                drop(homes);
                // While the disks have I/O, the group does not reuse them, see `is_free`. This is
                // usually short, and the user may have another use for the disks next.
                for _ in 0..REMOVE_LOOKS {
                    if !bound.has_io([entry, disk]) {
                        break;
                    }
                    fsleep(Delta::from_millis(1));
                }
                // Without the lock, which the store's worker may be about to take.
                bound.wait_for_store(entry);
                // A volume may have been waiting for the spare that it lived on.
                self.let_rebuild();
                log::info!(request.name, "{lid}: removed from the group");
                Ok(())
            }
            Err(error) => {
                for (disk, _) in was_read.iter().filter(|(_, was_read)| *was_read) {
                    bound.let_serve(*disk);
                }
                let errno = error.to_errno();
                Err(request.refuse(format_args!("not removed: error {errno}"), error))
            }
        }
    }

    /// The durable part of [`Group::remove`]; under `commits`.
    #[inline(never)]
    fn commit_removal(
        &self,
        bound: &Bound,
        homes: &Homes,
        next: KBox<GroupTable>,
        lid: &Id,
    ) -> Result {
        let place = bound.store_of(lid);
        let Some((store, owner)) = place.filter(|(store, _)| !store.has_failed()) else {
            return self.commit(bound, homes, next);
        };
        // Before the metadata forgets it: otherwise its blocks in the store would have no owner.
        store.announce_leave(owner, true)?;
        self.commit(bound, homes, next).inspect_err(|error| {
            // A start would also find that it stays. After this error, it may find that it has
            // left: its blocks must be released then.
            if *error != EIO {
                let _ = store.announce_leave(owner, false);
            }
        })?;
        store.let_leave(owner);
        Ok(())
    }
}
