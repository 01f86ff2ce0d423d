// SPDX-License-Identifier: GPL-2.0

//! Device-mapper events, and uevents for udev.

use super::{
    anchor::Anchor,
    bindings,
    mapped_device::{
        HeldDevice,
        MappedDevice, //
    }, //
};
use core::{
    fmt::{
        self,
        Write as _, //
    },
    ptr, //
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::Arc, //
};

/// Raises events of one table, from any context that may sleep.
///
/// # Invariants
///
/// `table` is valid as long as the anchor is held.
pub(crate) struct Event {
    table: *mut bindings::dm_table,
    _anchor: Arc<Anchor>,
}

// SAFETY: The table is not tied to a thread: any thread may call `dm_table_event`,
// `dm_table_get_md` and `kobject_uevent_env`, also several at once. Any thread may also hold and
// drop the anchor.
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

    /// Holds the table's mapped device; `None` if it is about to be removed. Does not sleep.
    pub(crate) fn hold_device(&self) -> Option<HeldDevice> {
        // SAFETY: The table is valid by the type invariants, and its device lives as long as the
        // table.
        unsafe { MappedDevice(bindings::dm_table_get_md(self.table)).hold() }
    }

    /// Raises an event: increments the device's event number and wakes `dmsetup wait`. May sleep.
    pub(crate) fn raise(&self) {
        // SAFETY: The table is valid by the type invariants.
        unsafe { bindings::dm_table_event(self.table) };
    }

    /// Sends udev a `change` event of the mapped device with these variables, each a name and a
    /// value. May sleep for memory, but not for I/O if the caller must not.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` for a NUL in a variable.
    pub(crate) fn send_change(&self, variables: &[(&str, &dyn fmt::Display)]) -> Result {
        let mut text = Text(KVec::new());
        let mut starts = KVec::with_capacity(variables.len(), GFP_KERNEL)?;
        for (name, value) in variables {
            starts.push(text.0.len(), GFP_KERNEL)?;
            write!(text, "{name}={value}").map_err(|_| ENOMEM)?;
            text.0.push(0, GFP_KERNEL)?;
        }
        if text.0.iter().filter(|byte| **byte == 0).count() != variables.len() {
            return Err(EINVAL);
        }
        // The addresses stay valid: nothing is added to the text any more.
        let mut pointers = KVec::with_capacity(variables.len().saturating_add(1), GFP_KERNEL)?;
        for start in starts {
            let variable = text.0.get_mut(start..).ok_or(EINVAL)?;
            pointers.push(variable.as_mut_ptr().cast(), GFP_KERNEL)?;
        }
        pointers.push(ptr::null_mut(), GFP_KERNEL)?;
        // SAFETY: The table is valid by the type invariants. The array ends with a null pointer,
        // and each string in it with a NUL; the call does not keep them.
        to_result(unsafe { bindings::dmr_send_change(self.table, pointers.as_mut_ptr()) })
    }
}

/// Growable text; an error means that memory ran out.
struct Text(KVec<u8>);

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let added = self.0.extend_from_slice(text.as_bytes(), GFP_KERNEL);
        added.map_err(|_| fmt::Error)
    }
}
