// SPDX-License-Identifier: GPL-2.0

//! Device-mapper events.

use super::{
    anchor::Anchor,
    bindings, //
};
use kernel::sync::Arc;

/// Raises events of one table, from anywhere that may sleep.
///
/// # Invariants
///
/// `table` is valid as long as the anchor is held.
pub(crate) struct Event {
    table: *mut bindings::dm_table,
    _anchor: Arc<Anchor>,
}

// SAFETY: `dm_table_event` may be called by any thread.
unsafe impl Send for Event {}
// SAFETY: As for `Send`.
unsafe impl Sync for Event {}

impl Event {
    /// # Safety
    ///
    /// `table` must stay valid while `anchor` is held.
    pub(super) unsafe fn from_raw(table: *mut bindings::dm_table, anchor: Arc<Anchor>) -> Self {
        // INVARIANT: By the function's contract.
        Self {
            table,
            _anchor: anchor,
        }
    }

    /// Raises an event: wakes `dmsetup wait` and raises the device's event number. May sleep.
    pub(crate) fn raise(&self) {
        // SAFETY: The table is valid by the type invariants.
        unsafe { bindings::dm_table_event(self.table) };
    }
}
