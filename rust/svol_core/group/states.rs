// SPDX-License-Identifier: GPL-2.0

//! The state transitions of entries and of disks, in two tables.
//!
//! [`ENTRIES`] covers the health of entries, and which disk serves them; [`DISKS`] covers what is
//! known about the disk that is listed for an entry. A change of the group changes these two only
//! by the rows here: [`enter`] and [`mark`] do what a row says, and do nothing if there is no row.
//! The tables leave out how an entry begins, and that it leaves the group, which it may do from any
//! state. Documentation/architecture.rst shows the same rows; a test compares the two.
//!
//! A third table says where the writes of a logged volume go while such a change is not durable
//! yet: [`crate::svol_core::log_mode`].

use crate::svol_core::{
    attr::Attr,
    health::Health,
    id::Id,
    meta::{
        DiskState,
        VolumeRecord, //
    }, //
};

/// What happens to an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// The disk that serves it fails, and other disks have everything that it held.
    DiskFails,
    /// The disk that serves it fails, and no others have everything that it held. Also used when a
    /// spare or an increments volume fails.
    DiskIsLost,
    /// The disk that serves it fails while another one is being filled for it; the fill goes on.
    DiskFailsMeanwhile,
    /// A disk begins to be filled for it, perhaps while it has one. For a spare: its own disk
    /// begins to be filled.
    FillBegins,
    /// The fill is given up.
    FillEnds,
    /// The disk is filled, and now serves the volume. For a spare: its own disk now serves a
    /// volume.
    Filled,
    /// Its own disk, which had failed, is taken back. For an increments volume: it is in use again.
    Readded,
    /// The volume that its disk serves leaves the group, or gets another disk.
    Freed,
    /// Its disk was compared, and holds the base image, except for what the volume itself wrote.
    /// Also used if it may have been written without a log, so that nobody can tell: such a disk
    /// serves nobody else.
    Verified,
    /// Its disk was compared, and holds something else.
    Differs,
    /// The volume gets another attribute.
    AttrChanges,
}

/// Which disk serves an entry after an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Serving {
    /// The same as before, or still none.
    Same,
    /// None.
    Nobody,
    /// Its own.
    Own,
    /// The one that was filled.
    Filled,
}

/// A row of [`ENTRIES`].
#[derive(Debug)]
pub struct EntryRow {
    /// The attributes that it applies to.
    pub attrs: &'static [Attr],
    /// The healths that it applies to.
    pub from: &'static [Health],
    /// What happens.
    pub event: Event,
    /// The health after it.
    pub to: Health,
    /// The disk after it.
    pub serving: Serving,
}

const VOLUMES: &[Attr] = &[Attr::Ro, Attr::Rw];
/// The healths of a volume that a disk serves.
const SERVED: &[Health] = &[Health::InSync, Health::Rebuilding];
/// The healths of a volume whose data is only on its own disk.
const ALONE: &[Health] = &[Health::Verifying, Health::Diverged];

const fn row(
    attrs: &'static [Attr],
    from: &'static [Health],
    event: Event,
    to: Health,
    serving: Serving,
) -> EntryRow {
    EntryRow {
        attrs,
        from,
        event,
        to,
        serving,
    }
}

/// The transitions of an entry's health.
#[rustfmt::skip]
pub const ENTRIES: &[EntryRow] = &{
    use Attr::{Increments, Ro, Rw, Spare};
    use Event::*;
    use Health::{Degraded, Diverged, Failed, InSync, Rebuilding, Verifying};
    use Serving::{Filled as New, Nobody, Own, Same};
    [
        // In-place volumes can go on from siblings and increments. One that is not compared yet, or
        // has diverged, can't: the others have something else. It stays diverged, so that nobody
        // fills a disk with their data for it.
        row(&[Rw], SERVED, DiskFails, Degraded, Nobody),
        row(VOLUMES, ALONE, DiskFails, Diverged, Nobody),
        row(VOLUMES, ALONE, DiskIsLost, Diverged, Nobody),
        row(&[Rw], SERVED, DiskIsLost, Failed, Nobody),
        row(&[Ro], SERVED, DiskFails, Failed, Nobody),
        row(&[Ro], SERVED, DiskIsLost, Failed, Nobody),
        row(&[Rw], &[Degraded], FillBegins, Rebuilding, Same),
        row(&[Ro], &[Failed], FillBegins, Rebuilding, Same),
        row(&[Rw], &[Rebuilding], FillEnds, Degraded, Same),
        row(&[Ro], &[Rebuilding], FillEnds, Failed, Same),
        row(VOLUMES, &[Rebuilding], Filled, InSync, New),
        // It moves, and its disk serves it until the move ends. If that disk fails, the rest is a
        // rebuild if the volume is not written in place; otherwise the fill starts over.
        row(VOLUMES, &[InSync], FillBegins, InSync, Same),
        row(VOLUMES, &[InSync], FillEnds, InSync, Same),
        row(VOLUMES, &[InSync], Filled, InSync, New),
        row(&[Ro], &[InSync], DiskFailsMeanwhile, Rebuilding, Nobody),
        row(VOLUMES, &[Verifying], Verified, InSync, Same),
        row(VOLUMES, &[Verifying], Differs, Diverged, Same),
        row(VOLUMES, &[InSync], AttrChanges, InSync, Same),
        row(&[Spare], &[Health::Spare], FillBegins, Rebuilding, Same),
        row(&[Spare], &[Rebuilding], FillEnds, Health::Spare, Same),
        row(&[Spare], &[Rebuilding], Filled, InSync, Nobody),
        row(&[Spare], &[InSync], Freed, Health::Spare, Own),
        row(&[Spare], &[Health::Spare, Rebuilding, InSync], DiskIsLost, Failed, Nobody),
        row(&[Spare], &[Failed], Readded, Health::Spare, Own),
        row(&[Increments], &[InSync], DiskIsLost, Failed, Nobody),
        row(&[Increments], &[Failed], Readded, InSync, Own),
    ]
};

/// What is known about a disk: the combinations of [`DiskState`] that make sense.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Disk {
    /// It holds what its volume wrote with a log; or nothing of value, if it serves none.
    Plain,
    /// It holds exactly the base image. While its volume is `verifying`: nothing has been written
    /// to it since the group was created.
    Pristine,
    /// It was, or may have been, written without a log.
    Unprotected,
    /// It failed.
    Failed,
    /// It holds an increments store.
    Store,
    /// It failed, and held an increments store.
    FailedStore,
    /// As [`Disk::FailedStore`], but it is to be used again when the table is loaded again.
    AwaitedStore,
}

/// What happens to a disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DiskEvent {
    /// The group is created: the disk has the base image.
    HasBase,
    /// The group is created, or the entry is new: the disk has an empty store.
    HasStore,
    /// It was compared with the base image, and holds something else.
    Differs,
    /// It may be written from now on, with a log.
    Written,
    /// It may be written from now on, without a log.
    Unlogged,
    /// The log of its volume is lost.
    LogIsLost,
    /// The log of its volume again has everything that was written to the disk.
    LogIsWhole,
    /// It begins to be filled.
    FillBegins,
    /// It is filled with the base image, and nothing else.
    FilledWithBase,
    /// It is filled with the data of a volume.
    Filled,
    /// Its volume leaves the group, or gets another disk.
    Freed,
    /// It fails.
    Fails,
    /// It is taken back after it had failed.
    Readded,
    /// It is in use again.
    Opened,
}

/// A row of [`DISKS`].
#[derive(Debug)]
pub struct DiskRow {
    /// What was known about it.
    pub from: &'static [Disk],
    /// What happens.
    pub event: DiskEvent,
    /// What is known about it after that.
    pub to: Disk,
}

const fn disk(from: &'static [Disk], event: DiskEvent, to: Disk) -> DiskRow {
    DiskRow { from, event, to }
}

/// The transitions of a disk's state.
#[rustfmt::skip]
pub const DISKS: &[DiskRow] = &{
    use Disk::{AwaitedStore, Failed as Dead, FailedStore, Plain, Pristine, Store, Unprotected};
    use DiskEvent::*;
    [
        disk(&[Plain], HasBase, Pristine),
        disk(&[Plain], HasStore, Store),
        disk(&[Pristine], Differs, Plain),
        disk(&[Pristine], Written, Plain),
        disk(&[Plain, Pristine], Unlogged, Unprotected),
        // A pristine one was never written, so the log lacked nothing of it.
        disk(&[Plain], LogIsLost, Unprotected),
        disk(&[Unprotected], LogIsWhole, Plain),
        disk(&[Plain, Pristine, Unprotected], FillBegins, Plain),
        disk(&[Plain], FilledWithBase, Pristine),
        disk(&[Plain], Filled, Plain),
        disk(&[Plain, Pristine, Unprotected], Freed, Plain),
        disk(&[Plain, Pristine, Unprotected], Fails, Dead),
        disk(&[Store, AwaitedStore], Fails, FailedStore),
        disk(&[Dead], Readded, Plain),
        disk(&[FailedStore], Readded, AwaitedStore),
        disk(&[AwaitedStore], Opened, Store),
    ]
};

/// The row for an entry of this attribute and health.
fn find(attr: Attr, health: Health, event: Event) -> Option<&'static EntryRow> {
    ENTRIES
        .iter()
        .find(|row| row.event == event && row.attrs.contains(&attr) && row.from.contains(&health))
}

/// Whether this event can happen to an entry of this attribute and health.
pub(super) fn may(attr: Attr, health: Health, event: Event) -> bool {
    find(attr, health, event).is_some()
}

/// Applies an event to an entry; `filled` is the disk that was filled for it. Returns whether the
/// event can happen; if not, nothing has changed.
pub(super) fn enter(volume: &mut VolumeRecord, event: Event, filled: Option<Id>) -> bool {
    let Some(row) = find(volume.attr, volume.health, event) else {
        return false;
    };
    volume.health = row.to;
    volume.disk = match row.serving {
        Serving::Same => volume.disk,
        Serving::Nobody => None,
        Serving::Own => Some(volume.lid),
        Serving::Filled => filled,
    };
    true
}

/// Applies an event to a disk. Returns whether anything has changed.
pub(super) fn mark(state: &mut DiskState, event: DiskEvent) -> bool {
    let Some(from) = Disk::of(state) else {
        return false;
    };
    let found = DISKS
        .iter()
        .find(|row| row.event == event && row.from.contains(&from));
    let Some(row) = found else {
        return false;
    };
    *state = row.to.state();
    row.to != from
}

impl Disk {
    /// What is known about a disk; `None` for an entry that left the group, or if the combination
    /// makes no sense.
    pub fn of(state: &DiskState) -> Option<Self> {
        let bits = (
            state.failed,
            state.formatted,
            state.unprotected,
            state.pristine,
        );
        match bits {
            _ if state.removed => None,
            (false, false, false, false) => Some(Self::Plain),
            (false, false, false, true) => Some(Self::Pristine),
            (false, false, true, false) => Some(Self::Unprotected),
            // Whatever was known before.
            (true, false, _, false) => Some(Self::Failed),
            (false, true, false, false) => Some(Self::Store),
            (true, true, false, false) => Some(Self::FailedStore),
            (true, true, true, false) => Some(Self::AwaitedStore),
            _ => None,
        }
    }

    /// As it is stored in the metadata.
    pub fn state(self) -> DiskState {
        DiskState {
            pristine: self == Self::Pristine,
            // For an increments volume, it can mean nothing else.
            unprotected: matches!(self, Self::Unprotected | Self::AwaitedStore),
            formatted: matches!(self, Self::Store | Self::FailedStore | Self::AwaitedStore),
            failed: matches!(self, Self::Failed | Self::FailedStore | Self::AwaitedStore),
            removed: false,
        }
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_states))]
mod tests {
    use super::*;

    #[test]
    fn no_two_rows_for_one_event() {
        for attr in Attr::ALL {
            for health in Health::ALL {
                for row in ENTRIES {
                    let is_for =
                        |row: &&EntryRow| row.attrs.contains(attr) && row.from.contains(health);
                    let same = ENTRIES.iter().filter(|other| other.event == row.event);
                    assert!(same.filter(is_for).count() <= 1);
                }
            }
        }
        for row in DISKS {
            for from in row.from {
                let same = |other: &&DiskRow| other.event == row.event && other.from.contains(from);
                assert_eq!(DISKS.iter().filter(same).count(), 1);
            }
        }
    }

    #[test]
    fn disks_are_written_down_and_read_again() {
        for row in DISKS {
            for known in row.from.iter().chain([&row.to]) {
                assert_eq!(Disk::of(&known.state()), Some(*known));
            }
        }
        let mut removed = DiskState {
            removed: true,
            ..DiskState::default()
        };
        assert_eq!(Disk::of(&removed), None);
        assert!(!mark(&mut removed, DiskEvent::Fails));
    }

    #[test]
    fn a_disk_that_failed_serves_nobody() {
        for row in ENTRIES {
            if matches!(
                row.event,
                Event::DiskFails | Event::DiskIsLost | Event::DiskFailsMeanwhile
            ) {
                assert_eq!(row.serving, Serving::Nobody);
            }
        }
    }
}
