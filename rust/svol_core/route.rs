// SPDX-License-Identifier: GPL-2.0

//! Where an I/O of a volume goes.
//!
//! Routing has two steps. When the group table changes, each entry is reduced to a [`VolumeView`]:
//! the parts of attribute and health that matter to I/O. For each I/O, [`route`] reads only that.

use super::{
    attr::Attr,
    health::Health, //
};
use crate::env::Word;

/// The operation of an I/O.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Op {
    /// Read data.
    Read,
    /// Write data.
    Write,
    /// Make completed writes durable.
    Flush,
    /// Forget data.
    Discard,
    /// Write zeroes.
    WriteZeroes,
    /// Anything else.
    Other,
}

/// Where a volume's data is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Home {
    /// The base image: on any of the group's sources.
    Base,
    /// On the disk of this entry.
    Disk(usize),
    /// The base image, except for what the increments volume has.
    Overlay,
    /// For writes: on the disk of this entry, and also in the increments volume.
    Logged(usize),
    /// For writes: in the increments volume, with overlapping writes serialized; and on a disk that
    /// is being filled, up to its cursor.
    Kept,
    /// Nowhere: not a volume, or not served.
    Nowhere,
}

/// The increments volume of an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Log {
    /// It has none, or one that never held anything and is missing.
    None,
    /// It works.
    Works,
    /// It held data and can't be read.
    Gone,
}

/// The parts of an entry's state that matter to its I/O.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VolumeView {
    /// Where reads go.
    pub reads: Home,
    /// Where writes go; never to [`Home::Base`]. In [`Home::Overlay`], to the increments volume.
    pub writes: Home,
}

impl VolumeView {
    /// For an entry whose data is nowhere.
    pub const NOWHERE: Self = Self {
        reads: Home::Nowhere,
        writes: Home::Nowhere,
    };

    /// For data that is diverted into an increments volume.
    pub const DIVERTED: Self = Self {
        reads: Home::Overlay,
        writes: Home::Overlay,
    };

    /// The entry of the disk, if the volume is written in place with a log.
    pub fn logged_disk(&self) -> Option<usize> {
        match self.writes {
            Home::Logged(disk) => Some(disk),
            _ => None,
        }
    }

    /// For an entry with this attribute and health, whose data is on the disk of the entry `disk`.
    ///
    /// `unlogged` says whether writes may go in place without an increments volume.
    pub fn new(attr: Attr, health: Health, disk: Option<usize>, log: Log, unlogged: bool) -> Self {
        let own = disk.map_or(Home::Nowhere, Home::Disk);
        let overlaid = match log {
            Log::None => Home::Base,
            Log::Works => Home::Overlay,
            Log::Gone => Home::Nowhere,
        };
        let reads = match (attr, health) {
            // The content of its disk is its base image; see `GroupTable::reads_alone`.
            (Attr::Ro, Health::Verifying | Health::Diverged) => match (disk, overlaid) {
                (Some(_), Home::Base) => own,
                (Some(_), overlaid) => overlaid,
                (None, _) => Home::Nowhere,
            },
            (Attr::Ro, _) | (Attr::Rw, Health::Degraded) => overlaid,
            (Attr::Rw, Health::Rebuilding) if disk.is_none() => overlaid,
            (Attr::Rw, Health::Failed) => Home::Nowhere,
            (Attr::Rw, _) => own,
            (Attr::Spare | Attr::Increments, _) => Home::Nowhere,
        };
        let writes = match (attr, reads) {
            (Attr::Rw, Home::Overlay) => Home::Kept,
            (_, Home::Overlay) => reads,
            (Attr::Rw, Home::Disk(disk)) if log == Log::Works => Home::Logged(disk),
            // It stays in use, although it could not be rebuilt.
            (Attr::Rw, Home::Disk(_)) if unlogged || log == Log::Gone => reads,
            _ => Home::Nowhere,
        };
        Self { reads, writes }
    }
}

/// Bits of a [`Home`] in a [`ViewCell`], and of the entry's index in it.
const HOME_BITS: u32 = 32;
const ENTRY_BITS: u32 = 24;

/// A [`VolumeView`] that can be replaced, even while I/O of the volume is in flight: a reader sees
/// either the old or the new view, never a mixture. One writer at a time.
pub struct ViewCell(Word);

impl ViewCell {
    /// A cell with this view.
    pub fn new(view: VolumeView) -> Self {
        Self(Word::new(pack(view)))
    }

    /// The view. Does not sleep.
    #[inline]
    pub fn get(&self) -> VolumeView {
        let word = self.0.get();
        VolumeView {
            reads: unpack_home(word),
            writes: unpack_home(word >> HOME_BITS),
        }
    }

    /// The route of an I/O, as [`route`] of the view. Does not sleep.
    #[inline]
    pub fn route(&self, op: Op) -> Route {
        let word = self.0.get();
        to(op, || unpack_home(word), || unpack_home(word >> HOME_BITS))
    }

    /// Replaces the view.
    pub fn set(&self, view: VolumeView) {
        self.0.set(pack(view));
    }
}

fn pack(view: VolumeView) -> u64 {
    pack_home(view.reads) | (pack_home(view.writes) << HOME_BITS)
}

fn pack_home(home: Home) -> u64 {
    let (kind, entry) = match home {
        Home::Nowhere => (0, 0),
        Home::Base => (1, 0),
        Home::Disk(entry) => (2, entry),
        Home::Overlay => (3, 0),
        Home::Logged(entry) => (4, entry),
        Home::Kept => (5, 0),
    };
    match u64::try_from(entry) {
        Ok(entry) if entry >> ENTRY_BITS == 0 => (kind << ENTRY_BITS) | entry,
        // A group has far fewer entries.
        _ => 0,
    }
}

#[inline]
fn unpack_home(word: u64) -> Home {
    let entry = usize::try_from(word & ((1 << ENTRY_BITS) - 1)).unwrap_or(usize::MAX);
    match (word >> ENTRY_BITS) & 0xff {
        1 => Home::Base,
        2 => Home::Disk(entry),
        3 => Home::Overlay,
        4 => Home::Logged(entry),
        5 => Home::Kept,
        _ => Home::Nowhere,
    }
}

/// Where an I/O goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Route {
    /// To any source of the base image.
    Base,
    /// To the disk of this entry.
    Own(usize),
    /// To the increments volume; reads only where that has the data, otherwise as [`Route::Base`].
    Overlay,
    /// To the disk of this entry, and to the increments volume.
    Logged(usize),
    /// To the increments volume, and to a disk that is being filled.
    Kept,
    /// Nowhere: it fails.
    Refuse(Refusal),
}

/// Why an I/O fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// No disk has the data.
    NotServed,
    /// The volume can't be written.
    ReadOnly,
    /// No such operation.
    Unknown,
}

/// The route of an I/O on a volume; all of it takes the same route, except in an overlay.
pub fn route(view: &VolumeView, op: Op) -> Route {
    to(op, || view.reads, || view.writes)
}

/// The route of an I/O, given where reads and writes go.
#[inline]
fn to(op: Op, reads: impl FnOnce() -> Home, writes: impl FnOnce() -> Home) -> Route {
    let (home, otherwise) = match op {
        Op::Read => (reads(), Refusal::NotServed),
        Op::Write | Op::Flush | Op::Discard | Op::WriteZeroes => (writes(), Refusal::ReadOnly),
        Op::Other => (Home::Nowhere, Refusal::Unknown),
    };
    match home {
        Home::Base => Route::Base,
        Home::Disk(disk) => Route::Own(disk),
        Home::Overlay => Route::Overlay,
        Home::Logged(disk) => Route::Logged(disk),
        Home::Kept => Route::Kept,
        Home::Nowhere => Route::Refuse(otherwise),
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_route))]
mod tests {
    use super::*;

    const WRITES: [Op; 4] = [Op::Write, Op::Flush, Op::Discard, Op::WriteZeroes];

    #[test]
    fn read_only_volumes_read_the_base() {
        for health in Health::ALL {
            let view = VolumeView::new(Attr::Ro, *health, Some(3), Log::None, true);
            let way = match health {
                Health::Verifying | Health::Diverged => Route::Own(3),
                _ => Route::Base,
            };
            assert_eq!(route(&view, Op::Read), way);
            for op in WRITES {
                assert_eq!(route(&view, op), Route::Refuse(Refusal::ReadOnly));
            }
        }
    }

    #[test]
    fn in_place_volumes_use_their_disk() {
        let view = VolumeView::new(Attr::Rw, Health::InSync, Some(3), Log::None, true);
        assert_eq!(route(&view, Op::Read), Route::Own(3));
        for op in WRITES {
            assert_eq!(route(&view, op), Route::Own(3));
        }
        let view = VolumeView::new(Attr::Rw, Health::InSync, Some(3), Log::None, false);
        assert_eq!(route(&view, Op::Read), Route::Own(3));
        assert_eq!(route(&view, Op::Write), Route::Refuse(Refusal::ReadOnly));
    }

    #[test]
    fn a_degraded_volume_is_served_by_its_siblings() {
        let view = VolumeView::new(Attr::Rw, Health::Degraded, None, Log::None, true);
        assert_eq!(route(&view, Op::Read), Route::Base);
        assert_eq!(route(&view, Op::Write), Route::Refuse(Refusal::ReadOnly));
    }

    #[test]
    fn diverted_writes() {
        for (attr, health, disk) in [
            (Attr::Ro, Health::InSync, Some(1)),
            (Attr::Ro, Health::Failed, None),
            (Attr::Rw, Health::Degraded, None),
            (Attr::Rw, Health::Rebuilding, None),
        ] {
            let view = VolumeView::new(attr, health, disk, Log::Works, false);
            assert_eq!(route(&view, Op::Read), Route::Overlay);
            // Writes of a volume that gets a disk again have to keep their order.
            let way = match attr {
                Attr::Rw => Route::Kept,
                _ => Route::Overlay,
            };
            for op in WRITES {
                assert_eq!(route(&view, op), way);
            }
            let view = VolumeView::new(attr, health, disk, Log::Gone, true);
            assert_eq!(route(&view, Op::Read), Route::Refuse(Refusal::NotServed));
            assert_eq!(route(&view, Op::Write), Route::Refuse(Refusal::ReadOnly));
        }
    }

    #[test]
    fn logged_writes() {
        let view = VolumeView::new(Attr::Rw, Health::InSync, Some(3), Log::Works, false);
        assert_eq!(route(&view, Op::Read), Route::Own(3));
        for op in WRITES {
            assert_eq!(route(&view, op), Route::Logged(3));
        }
        let view = VolumeView::new(Attr::Rw, Health::InSync, Some(3), Log::Gone, false);
        for op in WRITES.into_iter().chain([Op::Read]) {
            assert_eq!(route(&view, op), Route::Own(3));
        }
    }

    #[test]
    fn cells_keep_views() {
        let homes = [
            Home::Nowhere,
            Home::Base,
            Home::Disk(0),
            Home::Disk(255),
            Home::Overlay,
            Home::Logged(7),
            Home::Kept,
        ];
        let cell = ViewCell::new(VolumeView::NOWHERE);
        assert_eq!(cell.get(), VolumeView::NOWHERE);
        for reads in homes {
            for writes in homes {
                let view = VolumeView { reads, writes };
                cell.set(view);
                assert_eq!(cell.get(), view);
            }
        }
    }

    #[test]
    fn nothing_to_serve() {
        let failed = VolumeView::new(Attr::Rw, Health::Failed, Some(1), Log::None, true);
        let no_disk = VolumeView::new(Attr::Rw, Health::InSync, None, Log::None, true);
        for view in [failed, no_disk] {
            assert_eq!(route(&view, Op::Read), Route::Refuse(Refusal::NotServed));
        }
        for attr in [Attr::Spare, Attr::Increments] {
            let view = VolumeView::new(attr, Health::InSync, Some(1), Log::None, true);
            assert_eq!(route(&view, Op::Read), Route::Refuse(Refusal::NotServed));
            assert_eq!(route(&view, Op::Other), Route::Refuse(Refusal::Unknown));
        }
    }
}
