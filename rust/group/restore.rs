// SPDX-License-Identifier: GPL-2.0

//! The messages `restore` and `readd`: give a volume another disk, and take back a disk or an
//! increments volume that had failed.

use super::{
    commit::box_next,
    rebuild::{
        is_free,
        is_usable,
        table_disk, //
    },
    Group,
    Request, //
};
use crate::{
    bound::Bound,
    log,
    members::Members,
    metadata::Homes,
    store,
    svol_core::{
        attr::Attr,
        group::RestoreError,
        health::Health,
        id::Id, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

impl Group {
    /// Has a disk filled for a volume that lost its own, or that is to move. Sleeps for metadata
    /// I/O.
    ///
    /// # Errors
    ///
    /// The log says why.
    #[inline(never)]
    pub(crate) fn restore(&self, members: &Members, lid: &Id, onto: Option<&Id>) -> Result {
        let homes = self.commits.lock();
        let bound = self.live_table(members, "restore")?;
        let request = Request::new(self.name(), "restore", lid);
        self.refuse_while_changing(&request)?;
        self.begin_restore(&bound, &homes, &request, onto)
    }

    /// Takes back a disk that had failed, as a spare or to be filled for its own volume. An
    /// increments volume is in use a moment later, if a start from what is on disk can be expected
    /// to succeed. Sleeps for I/O of the metadata and of that device.
    ///
    /// # Errors
    ///
    /// The log says why.
    #[inline(never)]
    pub(crate) fn readd(&self, members: &Members, lid: &Id) -> Result {
        self.look_at_store(members, lid)?;
        let homes = self.commits.lock();
        let bound = self.live_table(members, "readd")?;
        let request = Request::new(self.name(), "readd", lid);
        self.refuse_while_changing(&request)?;
        let state = self.state.lock();
        let table = state.table.as_ref().ok_or(ENXIO)?;
        let found = table.position(lid);
        let next = box_next(match found {
            Some(entry) => table.with_readded(entry)?,
            None => None,
        })?;
        let volume = found.and_then(|entry| table.volume(entry));
        let is_store = volume.is_some_and(|volume| volume.attr == Attr::Increments);
        let is_kept = found.is_some_and(|entry| table.is_kept_store(entry));
        let needs_disk = volume.is_some_and(|volume| {
            let has_none = matches!(volume.health, Health::Failed | Health::Degraded);
            volume.attr.is_volume() && volume.disk.is_none() && has_none
        });
        drop(state);
        let Some(entry) = found else {
            return Err(request.refuse("the group has no such entry", ENODEV));
        };
        let store = bound.store_at(entry);
        let has_unlogged = store.is_some_and(|store| store.has_unlogged());
        if let (true, Some(store)) = (is_kept || has_unlogged, store) {
            // The store was never given up.
            self.tell_store_locked(&bound, &homes, store)
                .map_err(|_| request.refuse("its device still can't be written", EIO))?;
            if has_unlogged {
                self.state.lock().wants_anew = true;
                self.begin_anew(&bound);
            }
            return Ok(());
        }
        let Some(next) = next else {
            let why = "its disk did not fail, or is taken back already";
            return Err(request.refuse(why, EINVAL));
        };
        if !is_usable(&bound, entry) {
            let why = "its disk is not here, or can't be written: load a line that has it first";
            return Err(request.refuse(why, ENODEV));
        }
        if bound.has_io([entry]) {
            return Err(request.refuse("its disk has not answered all I/O from before", EBUSY));
        }
        self.commit(&bound, &homes, next)?;
        if let Some(volume) = bound.volumes.get(entry) {
            volume.stats.forget_errors();
        }
        if is_store {
            // It has to wait if the live line no longer fits, or another increments volume can't be
            // written: a start would be refused, and all volumes would wait.
            let when = match self.awaits_store(&bound.members) {
                true => "",
                false => ", in use after the next load of the group's table",
            };
            log::info!(self.name(), "increments {lid}: taken back{when}");
            self.begin_anew(&bound);
            return Ok(());
        }
        bound.use_again(entry, false);
        log::info!(self.name(), "disk of {lid}: taken back");
        if needs_disk {
            // It is taken back in any case; the log says why it is not filled.
            let _ = self.begin_restore(&bound, &homes, &request, Some(lid));
        }
        self.rebuilds.kick();
        Ok(())
    }

    /// Checks the device of an increments volume that is to be taken back: later, the start that
    /// uses it would fail. Without `commits`, since the device may hang. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// The log says what is wrong.
    fn look_at_store(&self, members: &Members, lid: &Id) -> Result {
        let bound = self.live_table(members, "readd")?;
        let state = self.state.lock();
        let table = state.table.as_ref().ok_or(ENXIO)?;
        let store = table.position(lid).filter(|entry| {
            let volume = table.volume(*entry);
            volume.is_some_and(|volume| volume.attr == Attr::Increments)
        });
        // If there is nothing to look at, `readd` finds out.
        let Some(entry) = store.filter(|e| is_usable(&bound, *e) && !bound.has_io([*e])) else {
            return Ok(());
        };
        let Some(next) = box_next(table.with_readded(entry)?)? else {
            return Ok(());
        };
        drop(state);
        store::header_to_open(&bound.members, &next, entry)?;
        Ok(())
    }

    /// Has the table begin anew soon with the same devices; if that is not possible now, it happens
    /// with the next load of the group's table. Does not sleep for I/O.
    fn begin_anew(&self, bound: &Bound) {
        if !self.awaits_store(&bound.members) {
            return;
        }
        if let Some(device) = bound.members.event.hold_device() {
            self.refreshes.want(self.provider.clone(), device);
        }
    }

    /// Refuses a message while a volume's attribute is being changed: its increments are being
    /// copied to its disk, which must not be filled with something else, even if it has failed
    /// meanwhile.
    pub(super) fn refuse_while_changing(&self, request: &Request<'_>) -> Result {
        let is_changing = self.state.lock().changing.is_some();
        match is_changing {
            true => Err(request.refuse("another change of the group is under way", EBUSY)),
            false => Ok(()),
        }
    }

    /// The live table of these members; under `commits`, so that it stays that.
    pub(super) fn live_table(&self, members: &Members, message: &str) -> Result<Arc<Bound>> {
        let state = self.state.lock();
        let bound = state.bound.as_ref().filter(|_| state.is_live).cloned();
        drop(state);
        match bound.filter(|bound| bound.members.table == members.table) {
            Some(bound) => Ok(bound),
            None => {
                log::notice!(self.name(), "message \"{message}\": the group is suspended");
                Err(EAGAIN)
            }
        }
    }

    /// Begins a rebuild or a move for a message; under `commits`.
    #[inline(never)]
    fn begin_restore(
        &self,
        bound: &Bound,
        homes: &Homes,
        request: &Request<'_>,
        onto: Option<&Id>,
    ) -> Result {
        let lid = request.lid;
        let state = self.state.lock();
        let table = state.table.as_ref().ok_or(ENXIO)?;
        let next = table.with_rebuild(lid, onto, |entry| is_free(bound, entry));
        let next = match next {
            Ok(next) => KBox::new(next, GFP_KERNEL)?,
            Err(error) => {
                drop(state);
                let errno = match error {
                    RestoreError::NoMemory => ENOMEM,
                    RestoreError::Unknown => ENODEV,
                    RestoreError::Rebuilding => EBUSY,
                    RestoreError::NoSpare => ENOSPC,
                    _ => EINVAL,
                };
                return Err(match (error, onto) {
                    (RestoreError::Target(flaw), Some(onto)) => {
                        request.refuse(format_args!("onto LID {onto}: {flaw}"), errno)
                    }
                    _ => request.refuse(error, errno),
                });
            }
        };
        let own = table_disk(table, lid);
        drop(state);
        let kept_away = match own {
            Some(own) => self.prepare_move(bound, request, own)?.then_some(own),
            None => None,
        };
        self.begin_rebuild(bound, homes, next).inspect_err(|_| {
            if let Some(own) = kept_away {
                bound.let_serve(own);
            }
        })
    }

    /// A volume that is written in place is about to move: keeps new reads of others away from its
    /// disk. Reads in flight need not be waited for: the move adds no writes there. Returns whether
    /// the reads were allowed before. Does not sleep.
    fn prepare_move(&self, bound: &Bound, request: &Request<'_>, own: usize) -> Result<bool> {
        let Some((_, owner)) = bound.store_of(request.lid) else {
            return Err(request.refuse("it is in use without its increments volume", EBUSY));
        };
        if owner.may_differ() {
            let why = "its disk and its increments may differ since an error";
            return Err(request.refuse(why, EBUSY));
        }
        if !bound.has_other_source(own) {
            return Err(request.refuse("no other disk serves reads of the base", EBUSY));
        }
        Ok(bound.keep_away(own))
    }
}
