// SPDX-License-Identifier: GPL-2.0

//! Where an I/O of a volume goes.
//!
//! A route is worked out in two steps. When the group table changes, each entry is reduced to a
//! [`VolumeView`]: what of attribute and health matters to I/O. For each I/O, [`route`] only looks
//! there.

use super::{
    attr::Attr,
    health::Health, //
};

/// What an I/O wants done.
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
    /// For writes: on the disk of this entry, and in the increments volume besides.
    Logged(usize),
    /// Nowhere: no volume, or not served.
    Nowhere,
}

/// The increments volume of an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Log {
    /// It has none, or one that never held anything and is not there.
    None,
    /// It works.
    Works,
    /// It held something and can't be read.
    Gone,
}

/// What of an entry matters to its I/O.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VolumeView {
    /// Where reads go.
    pub reads: Home,
    /// Where writes go; never to [`Home::Base`]. In [`Home::Overlay`], to the increments volume.
    pub writes: Home,
}

impl VolumeView {
    /// Of an entry whose data is nowhere.
    pub const NOWHERE: Self = Self {
        reads: Home::Nowhere,
        writes: Home::Nowhere,
    };

    /// Of an entry with this attribute and health, whose data is on the disk of the entry `disk`.
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
            (Attr::Ro, _) | (Attr::Rw, Health::Degraded) => overlaid,
            (Attr::Rw, Health::Failed) => Home::Nowhere,
            (Attr::Rw, _) => own,
            (Attr::Spare | Attr::Increments, _) => Home::Nowhere,
        };
        let writes = match (attr, reads) {
            (_, Home::Overlay) => reads,
            (Attr::Rw, Home::Disk(disk)) if log == Log::Works => Home::Logged(disk),
            (Attr::Rw, Home::Disk(_)) if unlogged => reads,
            _ => Home::Nowhere,
        };
        Self { reads, writes }
    }
}

/// Where an I/O goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Route {
    /// To any source of the base image.
    Base,
    /// To the disk of this entry.
    Own(usize),
    /// To the increments volume, for reads where that has the data, else as [`Route::Base`].
    Overlay,
    /// To the disk of this entry, and to the increments volume.
    Logged(usize),
    /// Nowhere: it fails.
    Refuse(Refusal),
}

/// Why an I/O fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// No disk has the data.
    NotServed,
    /// The volume is not written.
    ReadOnly,
    /// No such operation.
    Unknown,
}

/// The route of an I/O on a volume; all of it goes the same way, except in an overlay.
pub fn route(view: &VolumeView, op: Op) -> Route {
    let (home, otherwise) = match op {
        Op::Read => (view.reads, Refusal::NotServed),
        Op::Write | Op::Flush | Op::Discard | Op::WriteZeroes => (view.writes, Refusal::ReadOnly),
        Op::Other => (Home::Nowhere, Refusal::Unknown),
    };
    match home {
        Home::Base => Route::Base,
        Home::Disk(disk) => Route::Own(disk),
        Home::Overlay => Route::Overlay,
        Home::Logged(disk) => Route::Logged(disk),
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
            assert_eq!(route(&view, Op::Read), Route::Base);
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
        ] {
            let view = VolumeView::new(attr, health, disk, Log::Works, false);
            assert_eq!(route(&view, Op::Read), Route::Overlay);
            for op in WRITES {
                assert_eq!(route(&view, op), Route::Overlay);
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
        assert_eq!(route(&view, Op::Read), Route::Own(3));
        assert_eq!(route(&view, Op::Write), Route::Refuse(Refusal::ReadOnly));
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
