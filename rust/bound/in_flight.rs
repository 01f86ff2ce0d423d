// SPDX-License-Identifier: GPL-2.0

//! What is kept with each bio of a volume.

use crate::svol_core::grace::Ticket;

/// Per-bio data.
#[derive(Clone, Copy, Default)]
pub(crate) struct InFlight {
    /// Index of the entry whose disk it was sent to, plus 1; 0 if none.
    pub(crate) disk: u32,
    /// Index of the volume it belongs to, if it was parked.
    pub(crate) volume: u32,
    /// The ticket to release when it completes, if it relies on a block map.
    pub(crate) ticket: Option<Ticket>,
    /// The block map changes when it completes.
    pub(crate) is_first: bool,
    /// It completes only after the next commit.
    pub(crate) needs_commit: bool,
    /// It goes to both a disk and a store.
    pub(crate) is_logged: bool,
    /// It is the flush of a logged volume's store.
    pub(crate) is_log_flush: bool,
    /// It is a flush that was sent to the store's device.
    pub(crate) is_store_flush: bool,
    /// The disk has its data, but the store failed.
    pub(crate) has_no_log: bool,
    /// It goes to its volume's own data, not to just any source of the base image.
    pub(crate) is_own: bool,
    /// It has been sent, and waits for something before it completes.
    pub(crate) is_sent: bool,
    /// Index of the entry whose disk failed to read it, plus 1; 0 if none failed. The first such
    /// entry; with `is_own`, the last one.
    pub(crate) first: u16,
    /// The number of other ways to read it that were tried.
    pub(crate) tries: u16,
    /// Index of the entry to whose disk it also goes, since its volume moves there, plus 1; 0 if
    /// none.
    pub(crate) also: u16,
    /// As logged, but only the store counts: its disk is being filled, or it has none.
    pub(crate) is_kept: bool,
    /// It goes to a disk that is being filled.
    pub(crate) fills: bool,
    /// The store has its data, but the disk that is being filled failed.
    pub(crate) has_no_disk: bool,
    /// When it was sent to its disk, in ticks of `Bound::ticks`, if it is timed; else 0.
    pub(crate) sent: u32,
    /// If it is timed: how many I/Os the disk had in flight then.
    pub(crate) in_flight: u32,
    /// When it began to wait for space, in milliseconds since the store was opened; 0 if it does
    /// not wait.
    pub(crate) waits_since: u32,
}

impl InFlight {
    /// The entry whose disk has it, or was the last to have it.
    pub(crate) fn disk(&self) -> Option<usize> {
        usize::try_from(self.disk).ok()?.checked_sub(1)
    }

    /// The entry to whose disk it also goes.
    pub(crate) fn also(&self) -> Option<usize> {
        usize::from(self.also).checked_sub(1)
    }
}

/// An entry's index as it is stored in [`InFlight`].
pub(crate) fn number(entry: usize) -> u32 {
    // A group has few entries, so nothing is cut off. This is one instruction in the fast path.
    u32::try_from(entry & 0xffff_ffff).map_or(0, |entry| entry.wrapping_add(1))
}
