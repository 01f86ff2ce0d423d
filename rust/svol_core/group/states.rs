// SPDX-License-Identifier: GPL-2.0

//! All that can become of an entry and of a disk, in two tables.
//!
//! [`ENTRIES`] has the health of entries, and which disk serves them; [`DISKS`] what is known of the
//! disk that is listed for an entry. Whoever changes the group changes these two only by the rows
//! here: [`enter`] and [`mark`] do what a row says, and nothing where there is none. Not in them: how
//! an entry begins, and that it leaves the group, which it may from any state.
//! Documentation/architecture.rst shows the same rows; a test compares the two.
//!
//! Where the writes of a logged volume go while such a change is not durable yet is a third table:
//! [`crate::svol_core::log_mode`].

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
    /// The disk that serves it fails, and others have all that it held.
    DiskFails,
    /// The disk that serves it fails, and nobody else has all that it held. Also if a spare or an
    /// increments volume fails.
    DiskIsLost,
    /// The disk that serves it fails while another one is being filled for it, which goes on.
    DiskFailsMeanwhile,
    /// A disk begins to be filled for it, perhaps while it has one; of a spare: its own begins to be
    /// filled.
    FillBegins,
    /// The filling is given up.
    FillEnds,
    /// The disk is filled: it is the volume's own; of a spare: its own serves a volume.
    Filled,
    /// Its own disk, which had failed, is taken back; of an increments volume: it is in use again.
    Readded,
    /// The volume that its disk serves leaves the group, or has another disk.
    Freed,
    /// Its disk is compared, and holds the base image, but for what it wrote itself. Also if it may have
    /// been written without a log, so that nobody can tell: such a disk serves nobody else.
    Verified,
    /// Its disk is compared, and holds something else.
    Differs,
    /// The volume gets another attribute.
    AttrChanges,
}

/// Which disk serves an entry after an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Serving {
    /// The same as before, or none as before.
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
    /// The attributes that it is for.
    pub attrs: &'static [Attr],
    /// The healths that it is for.
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
/// The healths of a volume whose disk alone has what it holds.
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

/// What becomes of the health of an entry.
#[rustfmt::skip]
pub const ENTRIES: &[EntryRow] = &{
    use Attr::{Increments, Ro, Rw, Spare};
    use Event::*;
    use Health::{Degraded, Diverged, Failed, InSync, Rebuilding, Verifying};
    use Serving::{Filled as New, Nobody, Own, Same};
    [
        // In-place volumes live on siblings and increments. One that is not compared yet, or
        // diverged, can't: they have something else. It stays diverged, so that nobody fills a disk
        // with that for it.
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
        // It moves, and its disk serves it until then. If that fails, the rest is a rebuild of one
        // that nobody writes in place; another one begins anew.
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

/// What is known of a disk: [`DiskState`], as one of those that make sense.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Disk {
    /// It holds what its volume wrote with a log; or nothing of worth, if it serves none.
    Plain,
    /// It holds exactly the base image. While its volume is `verifying`: nothing was written to it since
    /// the group was made.
    Pristine,
    /// It was, or may have been, written without a log.
    Unprotected,
    /// It failed.
    Failed,
    /// It holds an increments store.
    Store,
    /// It failed, and held an increments store.
    FailedStore,
    /// As that, but it is to be in use again when the table begins anew.
    AwaitedStore,
}

/// What happens to a disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DiskEvent {
    /// The group is made: it has the base image.
    HasBase,
    /// The group is made, or the entry is new: it has an empty store.
    HasStore,
    /// It is compared with the base image, and holds something else.
    Differs,
    /// It may be written from now on, with a log.
    Written,
    /// It may be written from now on, without a log.
    Unlogged,
    /// The log of its volume is lost.
    LogIsLost,
    /// The log of its volume has all again that it was written.
    LogIsWhole,
    /// It begins to be filled.
    FillBegins,
    /// It is filled with the base image, and nothing else.
    FilledWithBase,
    /// It is filled with what a volume has.
    Filled,
    /// Its volume leaves the group, or has another disk.
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
    /// What was known of it.
    pub from: &'static [Disk],
    /// What happens.
    pub event: DiskEvent,
    /// What is known of it after that.
    pub to: Disk,
}

const fn disk(from: &'static [Disk], event: DiskEvent, to: Disk) -> DiskRow {
    DiskRow { from, event, to }
}

/// What becomes of a disk.
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
        // A pristine one was never written: nothing of it is missing.
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

/// Whether that can happen to an entry of this attribute and health.
pub(super) fn may(attr: Attr, health: Health, event: Event) -> bool {
    find(attr, health, event).is_some()
}

/// Lets an event happen to an entry; `filled` is the disk that was filled for it. Returns whether
/// that can happen; nothing has changed if not.
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

/// Lets an event happen to a disk. Returns whether something has changed.
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
    /// What is known of a disk; `None` of an entry that left the group, or if it makes no sense.
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

    /// As it is written down.
    pub fn state(self) -> DiskState {
        DiskState {
            pristine: self == Self::Pristine,
            // Nothing else of an increments volume could be meant.
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
