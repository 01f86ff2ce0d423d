// SPDX-License-Identifier: GPL-2.0

//! Changes of the group become durable, and take effect.

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
    /// Commits a table and puts it in the place of the old one; under `commits`.
    pub(super) fn commit(
        &self,
        bound: &Bound,
        homes: &Homes,
        mut next: KBox<GroupTable>,
    ) -> Result {
        let known = self.state.lock().events.unwrap_or(0);
        commit_and_tell(bound, homes, &mut next, known).inspect_err(|error| {
            if *error == EIO {
                self.take_back(bound, homes, &next);
            }
        })?;
        // What is not on record now is with the next change.
        if let Ok(Some(mut told)) = with_told_stores(bound, &next) {
            if commit_and_tell(bound, homes, &mut told, next.head().events).is_ok() {
                next = told;
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
        Ok(())
    }

    /// Writes the state that the group is in over one whose commit `failed`, but which the group
    /// might be found in after a crash; under `commits`.
    #[inline(never)]
    pub(super) fn take_back(&self, bound: &Bound, homes: &Homes, failed: &GroupTable) {
        let old = || -> Result<_> {
            let state = self.state.lock();
            let table = state.table.as_ref().ok_or(ENXIO)?;
            Ok(KBox::new(table.instead_of(failed)?, GFP_KERNEL)?)
        };
        if let Err(error) = old().and_then(|old| self.commit_quietly(bound, homes, old)) {
            log::warning!(
                *failed.id(),
                "after a restart, the change that failed may have happened: error {}",
                error.to_errno()
            );
        }
    }
}

/// Commits a table, and tells the stores, which were told of the event `told` last; under
/// `commits`.
pub(super) fn commit_and_tell(
    bound: &Bound,
    homes: &Homes,
    next: &mut GroupTable,
    told: u64,
) -> Result {
    metadata::commit(&bound.members, homes, next, told)?;
    bound.note_events(next);
    Ok(())
}

/// A table after stores that missed events before have seen those of `table`; `None` if there are
/// none.
#[inline(never)]
pub(super) fn with_told_stores(
    bound: &Bound,
    table: &GroupTable,
) -> Result<Option<KBox<GroupTable>>> {
    let events = table.head().events;
    let is_told = |entry| {
        let store = bound.store_at(entry);
        store.is_some_and(|store| store.known_events() == events)
    };
    // Or each commit would make a copy of the table.
    if !table.has_kept_store() {
        return Ok(None);
    }
    Ok(match table.with_stores_told(is_told)? {
        Some(told) => Some(KBox::new(told, GFP_KERNEL)?),
        None => None,
    })
}
