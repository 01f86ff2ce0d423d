// SPDX-License-Identifier: GPL-2.0

//! Samples of the base image: a few sub-blocks and their checksums, to tell at load whether a disk
//! holds what its LID says. Mirror copies carry no label, so their content has to serve as one.

use super::{
    fields::checksum,
    meta::MAX_SAMPLES, //
};
#[cfg(any(test, CONFIG_KUNIT))]
use crate::env::{
    AllocError,
    Vec, //
};

/// A sub-block, in sectors.
pub const SUB_BLOCK_SECTORS: u64 = 8;

/// A sub-block, in bytes.
pub const SUB_BLOCK_BYTES: usize = 4096;

/// One sub-block of the base image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sample {
    /// Which one: its first sector, divided by [`SUB_BLOCK_SECTORS`].
    pub sub_block: u64,
    /// CRC-32C of its content.
    pub checksum: u32,
}

impl Sample {
    /// Takes a sample: `content` is the content of `sub_block`, [`SUB_BLOCK_BYTES`] long.
    pub fn take(sub_block: u64, content: &[u8]) -> Self {
        Self {
            sub_block,
            checksum: checksum(&[content]),
        }
    }

    /// Whether `content`, read from the same place of some disk, matches the sample.
    pub fn matches(&self, content: &[u8]) -> bool {
        self.checksum == checksum(&[content])
    }

    /// The first sector of the sample.
    pub fn sector(&self) -> u64 {
        self.sub_block.saturating_mul(SUB_BLOCK_SECTORS)
    }
}

/// Those of `samples`, which are in ascending order, that lie entirely before a sector.
pub fn in_front_of(samples: &[Sample], sector: u64) -> &[Sample] {
    let is_behind = |sample: &Sample| sample.sector().saturating_add(SUB_BLOCK_SECTORS) > sector;
    let count = samples.iter().position(is_behind);
    count
        .and_then(|count| samples.get(..count))
        .unwrap_or(samples)
}

/// How many sub-blocks of a stretch are looked at to find one that tells disks apart.
const CANDIDATES: u32 = 16;

/// Whether a sub-block with this content tells the disk from a blank one: not all bytes are equal.
pub fn is_telling(content: &[u8]) -> bool {
    content
        .first()
        .is_some_and(|first| content.iter().any(|byte| byte != first))
}

/// The parts of a group of `sectors` sectors that one sample is taken from each, in ascending
/// order: [`MAX_SAMPLES`] of equal length, or all sub-blocks if there are no more.
pub fn stretches(uuid: &[u8; 16], sectors: u64) -> impl Iterator<Item = Stretch> {
    let sub_blocks = sectors.checked_div(SUB_BLOCK_SECTORS).unwrap_or(0);
    let count = sub_blocks.min(u64::try_from(MAX_SAMPLES).unwrap_or(0));
    let whole = sub_blocks.checked_div(count).unwrap_or(0);
    let rest = sub_blocks.checked_rem(count).unwrap_or(0);
    // `sub_blocks * n / count`, without its overflow.
    let border = move |n: u64| {
        let rest = rest.saturating_mul(n).checked_div(count).unwrap_or(0);
        whole.saturating_mul(n).saturating_add(rest)
    };
    let mut random = Random::new(uuid);
    (0..count).map(move |n| {
        let (start, end) = (border(n), border(n.saturating_add(1)));
        Stretch {
            start,
            len: end.saturating_sub(start),
            is_last: end == sub_blocks,
            tried: 0,
            random: Random(random.next()),
        }
    })
}

/// A part of a group, as an iterator over the sub-blocks that may become its sample, the preferred
/// one first. The same sub-block may come twice.
///
/// These are the first and the last sub-block of the group, and others are picked pseudo-randomly
/// from the uuid. At the beginning of the group they are those at powers of two, since file systems
/// and volume managers have their labels there if they leave the very first one blank.
pub struct Stretch {
    /// Its first sub-block.
    start: u64,
    /// How many sub-blocks it has, at least one.
    len: u64,
    /// It ends where the group does.
    is_last: bool,
    tried: u32,
    random: Random,
}

impl Iterator for Stretch {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let tried = self.tried;
        if tried >= CANDIDATES || u64::from(tried) >= self.len {
            return None;
        }
        self.tried = tried.saturating_add(1);
        let last = self.len.saturating_sub(1);
        let offset = match tried.checked_sub(1) {
            None if self.start == 0 => 0,
            Some(power) if self.start == 0 => (1 << power.min(63)).min(last),
            None if self.is_last => last,
            _ => self.random.next().checked_rem(self.len).unwrap_or(0),
        };
        Some(self.start.saturating_add(offset))
    }
}

/// A pseudo-random number generator: the same seed always gives the same numbers (splitmix64).
struct Random(u64);

impl Random {
    fn new(uuid: &[u8; 16]) -> Self {
        let (low, high) = uuid.split_at(8);
        let half = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
        Self(half(low) ^ half(high).rotate_left(32))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        super::hash::mix(self.0)
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_samples))]
mod tests {
    use super::*;

    const UUID: [u8; 16] = *b"0123456789abcdef";

    /// The preferred sub-blocks.
    fn positions(uuid: &[u8; 16], sectors: u64) -> Result<Vec<u64>, AllocError> {
        let mut positions = Vec::try_with_capacity(MAX_SAMPLES)?;
        for mut stretch in stretches(uuid, sectors) {
            positions.try_push(stretch.next().unwrap_or(u64::MAX))?;
        }
        Ok(positions)
    }

    #[test]
    fn a_large_group_has_the_full_number() -> Result<(), AllocError> {
        for sectors in [17 * 8, 18 * 8 + 7, 2097152, u64::MAX] {
            let chosen = positions(&UUID, sectors)?;
            assert_eq!(chosen.len(), MAX_SAMPLES);
            assert_eq!(chosen.first().copied(), Some(0));
            assert_eq!(chosen.last().copied(), Some(sectors / 8 - 1));
            assert!(chosen.iter().zip(chosen.iter().skip(1)).all(|(a, b)| a < b));
        }
        Ok(())
    }

    #[test]
    fn a_small_group_is_sampled_whole() -> Result<(), AllocError> {
        for (sectors, count) in [(0, 0), (7, 0), (8, 1), (15, 1), (16, 2), (16 * 8 + 7, 16)] {
            let chosen = positions(&UUID, sectors)?;
            assert_eq!(chosen.len(), count);
            assert!(chosen.iter().zip(0..).all(|(chosen, nth)| *chosen == nth));
            for stretch in stretches(&UUID, sectors) {
                assert_eq!(stretch.count(), 1);
            }
        }
        Ok(())
    }

    #[test]
    fn positions_depend_on_the_group() -> Result<(), AllocError> {
        let some = positions(&UUID, 1 << 30)?;
        assert!(*some == *positions(&UUID, 1 << 30)?);
        assert!(*some != *positions(b"fedcba9876543210", 1 << 30)?);
        Ok(())
    }

    #[test]
    fn candidates_lie_in_their_stretch() {
        for sectors in [8, 17 * 8, 18 * 8 + 7, 333 * 8, 2097152, u64::MAX] {
            let mut end = 0;
            for stretch in stretches(&UUID, sectors) {
                assert_eq!(stretch.start, end);
                end += stretch.len;
                let (start, len) = (stretch.start, stretch.len);
                let mut count = 0;
                for candidate in stretch {
                    assert!((start..end).contains(&candidate));
                    count += 1;
                }
                assert_eq!(count, len.min(16));
            }
            assert_eq!(end, sectors / 8);
        }
    }

    #[test]
    fn the_beginning_is_searched_for_labels() {
        let mut first = stretches(&UUID, 1 << 30);
        let labels = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256];
        let found = first.next().is_some_and(|it| it.take(10).eq(labels));
        assert!(found);
    }

    #[test]
    fn blank_content_tells_nothing() {
        assert!(!is_telling(&[]));
        assert!(!is_telling(&[0; 512]));
        assert!(!is_telling(&[0xff; 512]));
        let mut content = [0; 512];
        if let Some(last) = content.last_mut() {
            *last = 1;
        }
        assert!(is_telling(&content));
    }

    #[test]
    fn samples_in_front_of_a_sector() {
        let samples = [0, 3, 9].map(|sub_block| Sample::take(sub_block, b""));
        for (sector, count) in [(0, 0), (7, 0), (8, 1), (31, 1), (32, 2), (79, 2), (80, 3)] {
            assert_eq!(in_front_of(&samples, sector).len(), count);
        }
        assert_eq!(in_front_of(&samples, u64::MAX), samples);
        assert!(in_front_of(&[], 8).is_empty());
    }

    #[test]
    fn samples_know_their_content() {
        let sample = Sample::take(3, b"123456789");
        assert_eq!(sample.checksum, 0xe306_9283);
        assert_eq!(sample.sector(), 24);
        assert!(sample.matches(b"123456789"));
        assert!(!sample.matches(b"123456780"));
    }
}
