// SPDX-License-Identifier: GPL-2.0

//! What is kept with each bio of a volume.

use crate::svol_core::{
    grace::Ticket,
    table_line::MAX_VOLUMES, //
};

/// An entry of the table line, or none.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub(crate) struct EntryNo(
    /// Its index, plus 1; 0 for none.
    u16,
);

// Nothing is cut off.
const _: () = assert!(MAX_VOLUMES < 1 << 16);

impl EntryNo {
    /// No entry.
    pub(crate) const NONE: Self = Self(0);

    /// The entry with this index. In the fast path, two instructions.
    #[inline]
    pub(crate) fn of(entry: usize) -> Self {
        Self(u16::try_from(entry & 0xffff).map_or(0, |entry| entry.wrapping_add(1)))
    }

    /// The entry with this index, if there is one.
    #[inline]
    pub(crate) fn of_any(entry: Option<usize>) -> Self {
        entry.map_or(Self::NONE, Self::of)
    }

    /// Its index.
    #[inline]
    pub(crate) fn get(self) -> Option<usize> {
        usize::from(self.0).checked_sub(1)
    }
}

/// What has to be done when a bio comes back from a device, besides counting it.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub(crate) enum OnEnd {
    /// Nothing, if there was no error.
    #[default]
    Nothing,
    /// It is a read that measures how fast its disk is.
    Time,
    /// It relied on a block map: that must release this ticket.
    Leave(Ticket),
    /// It was a flush of the store's device: that may have to report earlier losses.
    StoreFlush,
}

/// What a bio does for its volume, where its result is not simply that of one device.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub(crate) enum Role {
    /// Nothing of the kind.
    #[default]
    Plain,
    /// It is a write to the disk and the store of a logged volume; and to the disk of the entry
    /// `also`, if the volume moves there.
    Logged { also: EntryNo },
    /// It is a write of a volume that has no disk yet. It goes to the store, which alone counts,
    /// and if it `fills`, to the disk that is being filled for the volume.
    Kept { fills: bool },
    /// It is the flush of a logged volume's store, and the disk has all the data.
    LogFlush,
    /// It is the flush of a disk that is being filled for its volume.
    FillFlush,
}

/// Per-bio data.
#[derive(Clone, Copy, Default)]
pub(crate) struct InFlight {
    /// The entry whose disk has it, or was the last to have it.
    pub(crate) disk: EntryNo,
    /// The volume it belongs to, if it was parked.
    pub(crate) volume: EntryNo,
    /// What has to be done when it comes back from a device.
    pub(crate) on_end: OnEnd,
    /// What it does for its volume.
    pub(crate) role: Role,

    // Of a write to slots of a store:
    /// The block map changes when it completes.
    pub(crate) is_first: bool,
    /// It completes only after the next commit.
    pub(crate) needs_commit: bool,

    // Of a read:
    /// It goes to its volume's own data, not to just any source of the base image.
    pub(crate) is_own: bool,
    /// The entry whose disk failed to read it. The first such entry; with `is_own`, the last one.
    pub(crate) first: EntryNo,
    /// The number of other ways to read it that were tried.
    pub(crate) tries: u16,

    // What became of a write or flush that is parked now. Several may be true, one after the other:
    /// It has been sent, and waits for something before it completes.
    pub(crate) is_sent: bool,
    /// The disk has its data, but the store failed.
    pub(crate) has_no_log: bool,
    /// The store has its data, but the disk that is being filled failed.
    pub(crate) has_no_disk: bool,
    /// A device refused it as it was, so it is written again.
    pub(crate) is_redone: bool,
    /// How many of its sectors the store's worker has done: it takes several turns for many zeroes.
    pub(crate) done: u32,
    /// When it began to wait for space, in milliseconds since the store was opened; 0 if it does
    /// not wait.
    pub(crate) waits_since: u32,

    // If it is timed, see [`OnEnd::Time`]:
    /// When it was sent to its disk, in ticks of `Bound::ticks`.
    pub(crate) sent: u32,
    /// How many I/Os the disk had in flight then.
    pub(crate) in_flight: u32,
}

impl InFlight {
    /// The ticket that it holds, if it relies on a block map.
    pub(crate) fn ticket(&self) -> Option<Ticket> {
        match self.on_end {
            OnEnd::Leave(ticket) => Some(ticket),
            OnEnd::Nothing | OnEnd::Time | OnEnd::StoreFlush => None,
        }
    }
}
