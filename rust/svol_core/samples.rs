// SPDX-License-Identifier: GPL-2.0

//! Samples of the base image: a few sub-blocks and their checksums, to tell at load whether a disk
//! holds what its LID says. Mirror copies carry no label, so their content has to serve as one.

use super::{
    fields::checksum,
    meta::MAX_SAMPLES, //
};
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

/// Where to take the samples of a group of `sectors` sectors: the first and the last whole
/// sub-block, and in between one from each of the equal stretches, picked pseudo-randomly from
/// `uuid`; [`MAX_SAMPLES`] in total, or all sub-blocks if there are no more. In ascending order.
///
/// # Errors
///
/// Memory ran out.
pub fn positions(uuid: &[u8; 16], sectors: u64) -> Result<Vec<u64>, AllocError> {
    let sub_blocks = sectors.checked_div(SUB_BLOCK_SECTORS).unwrap_or(0);
    let mut chosen = Vec::try_with_capacity(MAX_SAMPLES)?;
    let most = u64::try_from(MAX_SAMPLES).unwrap_or(0);
    if sub_blocks <= most {
        for sub_block in 0..sub_blocks {
            chosen.try_push(sub_block)?;
        }
        return Ok(chosen);
    }

    let mut random = Random::new(uuid);
    let whole = sub_blocks.checked_div(most).unwrap_or(0);
    let rest = sub_blocks.checked_rem(most).unwrap_or(0);
    // `sub_blocks * n / most`, without its overflow.
    let border = |n: u64| {
        let rest = rest.saturating_mul(n).checked_div(most).unwrap_or(0);
        whole.saturating_mul(n).saturating_add(rest)
    };
    for n in 0..most {
        let start = border(n);
        let end = border(n.saturating_add(1));
        let drawn = random.next().checked_rem(end.saturating_sub(start));
        let sub_block = match n {
            0 => start,
            _ if end == sub_blocks => end.saturating_sub(1),
            _ => start.saturating_add(drawn.unwrap_or(0)),
        };
        chosen.try_push(sub_block)?;
    }
    Ok(chosen)
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
            assert_eq!(positions(&UUID, sectors)?.len(), count);
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
