// SPDX-License-Identifier: GPL-2.0

//! Parts of an in-place volume that are diverted.
//!
//! At each *border* a volume changes from in place to diverted, or back. The borders, as sectors in
//! ascending order, describe the regions completely.

use super::vec::{
    try_collect,
    try_words, //
};
use crate::env::{
    AllocError,
    Vec,
    Word, //
};

/// The maximum number of diverted regions of a volume.
pub const MAX_REGIONS: usize = 32;

/// The maximum number of borders of a volume.
const MAX_BORDERS: usize = 2 * MAX_REGIONS;

/// A stretch of a volume with one attribute.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stretch {
    /// It is diverted.
    pub is_diverted: bool,
    /// The sector after its last one; `u64::MAX` if no border follows.
    pub end: u64,
}

/// The regions of a volume, as used by its I/O. They change only while no I/O of the volume is in
/// flight.
pub struct Regions {
    /// How many borders there are.
    count: Word,
    /// The borders, and room for more.
    borders: Vec<Word>,
}

impl Regions {
    /// No regions, and no room for any if `room` is false. May sleep.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn new(room: bool) -> Result<Self, AllocError> {
        let room = if room { MAX_BORDERS } else { 0 };
        Ok(Self {
            count: Word::new(0),
            borders: try_words(room)?,
        })
    }

    /// Replaces the regions, given their borders in ascending order; returns whether there is room
    /// for them, and otherwise changes nothing.
    pub fn set(&self, borders: &[u64]) -> bool {
        let (Ok(count), true) = (
            u64::try_from(borders.len()),
            borders.len() <= self.borders.len(),
        ) else {
            return false;
        };
        for (word, border) in self.borders.iter().zip(borders) {
            word.set(*border);
        }
        self.count.set(count);
        true
    }

    /// Whether nothing of the volume is diverted. Does not sleep.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.count.get() == 0
    }

    /// The stretch that contains the sector. Does not sleep.
    pub fn at(&self, sector: u64) -> Stretch {
        let count = usize::try_from(self.count.get()).unwrap_or(0);
        let borders = self.borders.split_at_checked(count);
        let borders = borders.map_or(&[][..], |(used, _)| used);
        let before = borders.partition_point(|border| border.get() <= sector);
        Stretch {
            is_diverted: before % 2 == 1,
            end: borders.get(before).map_or(u64::MAX, |border| border.get()),
        }
    }

    /// The stretch that contains the sector, and how many of `sectors` from there are in it; at
    /// least 1 if `sectors` is. Does not sleep.
    pub fn cut(&self, sector: u64, sectors: u32) -> (Stretch, u32) {
        let stretch = self.at(sector);
        let left = stretch.end.saturating_sub(sector);
        (
            stretch,
            u32::try_from(left).map_or(sectors, |left| left.min(sectors)),
        )
    }
}

/// A range of sectors: the first one, and the one after the last one.
type Range = (u64, u64);

/// Removes the sectors of a range from `ranges`, which are in ascending order and do not touch each
/// other.
///
/// # Errors
///
/// Memory ran out.
pub fn without(ranges: &[Range], range: Range) -> Result<Vec<Range>, AllocError> {
    let (start, end) = range;
    let mut rest = Vec::try_with_capacity(ranges.len().saturating_add(1))?;
    for (from, to) in ranges.iter().copied() {
        let before = (from, to.min(start));
        let behind = (from.max(end), to);
        for part in [before, behind] {
            if part.0 < part.1 {
                rest.try_push(part)?;
            }
        }
    }
    Ok(rest)
}

/// As [`without`], but adds the sectors of the range.
///
/// # Errors
///
/// Memory ran out.
pub fn with(ranges: &[Range], range: Range) -> Result<Vec<Range>, AllocError> {
    let touches = |other: &Range| other.0 <= range.1 && range.0 <= other.1;
    let (mut start, mut end) = range;
    for other in ranges.iter().filter(|other| touches(other)) {
        start = start.min(other.0);
        end = end.max(other.1);
    }
    let apart = || ranges.iter().copied().filter(|other| !touches(other));
    let before = apart().filter(|other| other.1 < start);
    let behind = apart().filter(|other| other.0 > end);
    try_collect(
        ranges.len().saturating_add(1),
        Iterator::chain(Iterator::chain(before, [(start, end)]), behind),
    )
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_regions))]
mod tests {
    use super::*;

    #[test]
    fn stretches() -> Result<(), AllocError> {
        let regions = Regions::new(true)?;
        let plain = Stretch {
            is_diverted: false,
            end: u64::MAX,
        };
        assert!(regions.is_plain());
        assert_eq!(regions.at(5), plain);
        assert!(regions.set(&[0, 8, 16]));
        assert!(!regions.is_plain());
        let expected = [(0, true, 8), (7, true, 8), (8, false, 16), (15, false, 16)];
        for (sector, is_diverted, end) in expected {
            assert_eq!(regions.at(sector), Stretch { is_diverted, end });
        }
        assert_eq!(regions.cut(6, 8).1, 2);
        assert_eq!(regions.cut(8, 8).1, 8);
        assert_eq!(regions.cut(16, u32::MAX).1, u32::MAX);
        assert!(regions.at(16).is_diverted);
        assert!(!regions.set(&[0; MAX_BORDERS + 1]));
        assert_eq!(regions.at(0).end, 8);
        assert!(regions.set(&[]));
        assert_eq!(regions.at(5), plain);
        assert!(!Regions::new(false)?.set(&[1]));
        Ok(())
    }

    #[test]
    fn ranges() -> Result<(), AllocError> {
        let two = [(8, 16), (32, 40)];
        assert_eq!(*without(&two, (0, 8))?, two);
        assert_eq!(*without(&two, (10, 12))?, [(8, 10), (12, 16), (32, 40)]);
        assert_eq!(*without(&two, (10, 36))?, [(8, 10), (36, 40)]);
        assert!(without(&two, (0, 64))?.is_empty());
        assert_eq!(*with(&two, (0, 4))?, [(0, 4), (8, 16), (32, 40)]);
        assert_eq!(*with(&two, (16, 32))?, [(8, 40)]);
        assert_eq!(*with(&two, (20, 24))?, [(8, 16), (20, 24), (32, 40)]);
        assert_eq!(*with(&two, (12, 48))?, [(8, 48)]);
        assert_eq!(*with(&[], (1, 2))?, [(1, 2)]);
        Ok(())
    }
}
