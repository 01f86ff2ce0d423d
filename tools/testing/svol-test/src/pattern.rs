// SPDX-License-Identifier: GPL-2.0

//! What a sector holds: a function of seed, sector number and version.
//!
//! The expected content of a device is then one small number per sector, and a
//! wrong sector tells where its content really belongs.

use crate::rng::{mix, STEP};

/// Bytes in a sector.
pub(crate) const SECTOR: usize = 512;

/// The first word of every sector that this tool wrote.
const MAGIC: u64 = 0x7476_6f6c_7465_7374;

const WORDS: usize = SECTOR / 8;
const HEADER_WORDS: usize = 4;

fn word(seed: u64, sector: u64, version: u32, index: usize) -> u64 {
    match index {
        0 => MAGIC,
        1 => seed,
        2 => sector,
        3 => u64::from(version),
        _ => {
            let key = seed ^ sector.wrapping_mul(STEP) ^ (u64::from(version) << 40);
            // One multiplication for each word keeps emulated CPUs busy enough.
            (key ^ index as u64)
                .wrapping_mul(0x2545_f491_4f6c_dd1d)
                .rotate_left(23)
        }
    }
}

/// Fills one sector.
pub(crate) fn fill(sector_bytes: &mut [u8], seed: u64, sector: u64, version: u32) {
    for (index, out) in sector_bytes.chunks_exact_mut(8).enumerate() {
        out.copy_from_slice(&word(seed, sector, version, index).to_le_bytes());
    }
}

/// True if the sector holds exactly this content.
pub(crate) fn matches(sector_bytes: &[u8], seed: u64, sector: u64, version: u32) -> bool {
    sector_bytes.len() == SECTOR
        && sector_bytes
            .chunks_exact(8)
            .enumerate()
            .all(|(index, got)| *got == word(seed, sector, version, index).to_le_bytes())
}

/// The version that a sector claims to be.
pub(crate) fn version(sector_bytes: &[u8]) -> u32 {
    let word = sector_bytes.get(24..28).and_then(|b| b.try_into().ok());
    word.map_or(0, u32::from_le_bytes)
}

/// Says in words what a sector holds.
pub(crate) fn describe(sector_bytes: &[u8]) -> String {
    if sector_bytes.iter().all(|b| *b == 0) {
        return "zeroes".to_owned();
    }
    let mut header = [0u64; HEADER_WORDS];
    for (out, bytes) in header.iter_mut().zip(sector_bytes.chunks_exact(8)) {
        if let Ok(bytes) = bytes.try_into() {
            *out = u64::from_le_bytes(bytes);
        }
    }
    let [magic, seed, sector, version] = header;
    if magic != MAGIC {
        return format!(
            "unknown data starting {:02x?}",
            sector_bytes.get(..16).unwrap_or_default()
        );
    }
    let good = (0..WORDS)
        .zip(sector_bytes.chunks_exact(8))
        .filter(|(i, got)| **got == word(seed, sector, version as u32, *i).to_le_bytes())
        .count();
    let torn = if good == WORDS {
        String::new()
    } else {
        format!(", only {good} of {WORDS} words right")
    };
    format!("sector {sector} version {version} of seed {seed}{torn}")
}

/// A hash of a sector's position and content that is zero for a sector of
/// zeroes; the digest of a device is the sum over its sectors.
pub(crate) fn digest(sector_bytes: &[u8], sector: u64) -> u64 {
    let mut sum = 0u64;
    for (index, bytes) in sector_bytes.chunks_exact(8).enumerate() {
        if let Ok(bytes) = bytes.try_into() {
            let w = u64::from_le_bytes(bytes);
            sum = sum.wrapping_add(w.wrapping_mul(STEP.wrapping_mul(2 * index as u64 + 1)));
            sum ^= w.rotate_left(index as u32);
        }
    }
    if sum == 0 {
        0
    } else {
        mix(sum ^ sector.wrapping_mul(STEP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_depends_on_everything() {
        let mut a = [0u8; SECTOR];
        fill(&mut a, 1, 2, 3);
        assert!(matches(&a, 1, 2, 3));
        for (seed, sector, version) in [(2, 2, 3), (1, 3, 3), (1, 2, 4)] {
            assert!(!matches(&a, seed, sector, version));
        }
        assert_eq!(describe(&a), "sector 2 version 3 of seed 1");
        a[511] ^= 1;
        assert!(!matches(&a, 1, 2, 3));
        assert!(describe(&a).contains("63 of 64"));
        assert_eq!(describe(&[0; SECTOR]), "zeroes");
    }

    #[test]
    fn digest_sees_content_and_place() {
        let mut a = [0u8; SECTOR];
        assert_eq!(digest(&a, 5), 0);
        fill(&mut a, 1, 2, 3);
        assert_ne!(digest(&a, 2), digest(&a, 3));
        let before = digest(&a, 2);
        a[100] ^= 1;
        assert_ne!(digest(&a, 2), before);
    }
}
