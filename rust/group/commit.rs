// SPDX-License-Identifier: GPL-2.0

//! Makes changes of the group durable, and lets them take effect.

use super::Group;
use crate::{
    bound::Bound,
    log,
    metadata::{
        self,
        Homes, //
    },
    svol_core::group::GroupTable, //
};
use kernel::prelude::*;

impl Group {
    /// The next table, to be committed: the current one as changed by `with`, or `None` if that
    /// changes nothing. Under `commits`.
    ///
    /// # Errors
    ///
    /// `ENXIO` if there is no table, `ENOMEM`, or that of `with`.
    #[inline(never)]
    pub(super) fn next_table<E>(
        &self,
        with: impl FnOnce(&GroupTable) -> Result<Option<GroupTable>, E>,
    ) -> Result<Option<KBox<GroupTable>>>
    where
        Error: From<E>,
    {
        let state = self.state.lock();
        let table = state.table.as_ref().ok_or(ENXIO)?;
        box_next(with(table)?)
    }

    /// Commits a table, and replaces the old one with it. `homes` is what `commits` protects:
    /// nobody else changes the group meanwhile. Sleeps for I/O.
    pub(super) fn commit(&self, bound: &Bound, homes: &Homes, next: KBox<GroupTable>) -> Result {
        self.commit_or_doubt(bound, homes, next)
            .map_err(|failed| failed.error)
    }

    /// As [`Group::commit`], but tells whether a change that failed may yet be found after a
    /// restart.
    pub(super) fn commit_or_doubt(
        &self,
        bound: &Bound,
        homes: &Homes,
        mut next: KBox<GroupTable>,
    ) -> Result<(), Failed> {
        let known = self.state.lock().events.unwrap_or(0);
        if let Err(error) = commit_and_tell(bound, homes, &mut next, known) {
            let is_taken_back = error != EIO || self.take_back(bound, homes, &next);
            return Err(Failed {
                error,
                in_doubt: (!is_taken_back).then_some(next),
            });
        }
        // If this fails, it goes on record with the next change.
        if let Ok(Some(mut told)) = with_told_stores(bound, &next) {
            match commit_and_tell(bound, homes, &mut told, next.head().events) {
                Ok(()) => next = told,
                Err(error) => {
                    next.follow(&told);
                    if error == EIO {
                        next.set_unwritable();
                    }
                }
            }
        }
        let mut state = self.state.lock();
        state.events = Some(next.head().events);
        let old = state.table.replace(next);
        drop(state);
        bound.members.event.raise();
        if let Some(old) = old {
            self.announce(bound, &old);
            self.greet_stores(bound, &old);
        }
        if bound.lacking().next().is_some() {
            // That could not be recorded before.
            self.failures.kick();
        }
        Ok(())
    }

    /// As [`Group::commit`], for what is not a change of state; under `commits`.
    pub(super) fn commit_quietly(
        &self,
        bound: &Bound,
        homes: &Homes,
        mut next: KBox<GroupTable>,
    ) -> Result {
        let events = next.head().events;
        commit_and_tell(bound, homes, &mut next, events)
            .inspect_err(|error| self.follow(bound, &next, *error))?;
        // A metadata copy may have been lost.
        let now = next.head().events;
        let mut state = self.state.lock();
        state.events = Some(now);
        let is_news = |old: &KBox<GroupTable>| now != events || next.is_news(old);
        let is_news = state.table.as_ref().is_some_and(is_news);
        let old = state.table.replace(next);
        drop(state);
        if let Some(old) = old.filter(|_| is_news) {
            // An increments volume that does not answer, or the metadata.
            bound.members.event.raise();
            self.announce(bound, &old);
        }
        Ok(())
    }

    /// A commit of `failed` went wrong, and may be found after a crash: the next one must count as
    /// newer. Under `commits`.
    pub(super) fn follow(&self, bound: &Bound, failed: &GroupTable, error: Error) {
        let mut state = self.state.lock();
        let Some(table) = state.table.as_mut() else {
            return;
        };
        table.follow(failed);
        if error == EIO && table.set_unwritable() {
            drop(state);
            bound.members.event.raise();
        }
    }

    /// A change whose commit failed takes effect all the same, since it may be found after a crash.
    /// Under `commits`, right after the commit.
    pub(super) fn follow_into(&self, mut failed: KBox<GroupTable>) {
        let mut state = self.state.lock();
        if let Some(table) = &state.table {
            // As far as that has got by now: see `follow`.
            failed.set_sequence(table.head().sequence);
        }
        failed.set_unwritable();
        let old = state.table.replace(failed);
        drop(state);
        drop(old);
    }

    /// Overwrites a state whose commit `failed`, but which might be found after a crash, with the
    /// current state of the group; under `commits`. Returns whether it will not be found.
    #[inline(never)]
    fn take_back(&self, bound: &Bound, homes: &Homes, failed: &GroupTable) -> bool {
        let old = || -> Result<_> {
            let state = self.state.lock();
            let table = state.table.as_ref().ok_or(ENXIO)?;
            Ok(KBox::new(table.instead_of(failed)?, GFP_KERNEL)?)
        };
        if let Err(error) = old().and_then(|old| self.commit_quietly(bound, homes, old)) {
            self.follow(bound, failed, error);
            log::warning!(
                *failed.id(),
                "after a restart, the change that failed may have happened: error {}",
                error.to_errno()
            );
            return false;
        }
        true
    }
}

/// A commit that failed.
pub(super) struct Failed {
    pub(super) error: Error,
    /// What was to be committed, if a restart may find it.
    pub(super) in_doubt: Option<KBox<GroupTable>>,
}

/// Commits a table, and tells the stores its event count; `told` is the one they were last told.
/// Under `commits`.
pub(super) fn commit_and_tell(
    bound: &Bound,
    homes: &Homes,
    next: &mut GroupTable,
    told: u64,
) -> Result {
    bound.note_late(next, told);
    metadata::commit(&bound.members, homes, &bound.writers, next, told)?;
    bound.tell_events(next);
    Ok(())
}

/// The table after stores that had missed events have seen those of `table`; `None` if there are no
/// such stores.
#[inline(never)]
fn with_told_stores(bound: &Bound, table: &GroupTable) -> Result<Option<KBox<GroupTable>>> {
    let events = table.head().events;
    let is_told = |entry| {
        let store = bound.store_at(entry);
        store.is_some_and(|store| store.known_events() == events)
    };
    // Otherwise each commit would make a copy of the table.
    if !table.has_kept_store() {
        return Ok(None);
    }
    box_next(table.with_stores_told(is_told)?)
}

/// Moves the next table, if there is to be one, to the heap. In a function of its own, since a
/// table is large for the stack.
#[inline(never)]
pub(super) fn box_next(table: Option<GroupTable>) -> Result<Option<KBox<GroupTable>>> {
    Ok(match table {
        Some(table) => Some(KBox::new(table, GFP_KERNEL)?),
        None => None,
    })
}
