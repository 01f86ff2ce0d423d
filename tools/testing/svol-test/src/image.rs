// SPDX-License-Identifier: GPL-2.0

//! The expected content of a device: a seed and one version number per sector.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};
use crate::pattern::{self, SECTOR};

/// The version of a sector whose last write failed: it may hold anything that
/// was ever written there, so it is not compared until the next good write.
pub(crate) const UNKNOWN: u32 = u32::MAX;

/// The expected content of a run of sectors.
pub(crate) struct Image {
    seed: u64,
    versions: Vec<u32>,
}

impl Image {
    /// The base image: version 0 everywhere.
    pub(crate) fn base(seed: u64, sectors: u64) -> Self {
        Self {
            seed,
            versions: vec![0; usize::try_from(sectors).unwrap_or(0)],
        }
    }

    /// The image kept in a state file; the base image if there is no such file.
    pub(crate) fn load(seed: u64, sectors: u64, file: Option<&str>) -> Result<Self> {
        let mut image = Self::base(seed, sectors);
        let Some(path) = file.filter(|path| Path::new(path).exists()) else {
            return Ok(image);
        };
        let bytes = fs::read(path).map_err(|e| Error::io(path, &e))?;
        if bytes.len() != image.versions.len() * 4 {
            return Err(Error::new(format!(
                "{path} belongs to a device of another size"
            )));
        }
        for (version, bytes) in image.versions.iter_mut().zip(bytes.chunks_exact(4)) {
            *version = bytes.try_into().map_or(UNKNOWN, u32::from_le_bytes);
        }
        Ok(image)
    }

    /// Writes the state file.
    pub(crate) fn save(&self, path: &str) -> Result<()> {
        let bytes: Vec<u8> = self.versions.iter().flat_map(|v| v.to_le_bytes()).collect();
        fs::write(path, bytes).map_err(|e| Error::io(path, &e))
    }

    /// The whole image as one part.
    pub(crate) fn whole(&mut self) -> Part<'_> {
        Part {
            seed: self.seed,
            first: 0,
            versions: &mut self.versions,
        }
    }

    /// Cuts the image into `count` parts of whole blocks, for one thread each.
    pub(crate) fn parts(&mut self, count: usize, block: usize) -> Vec<Part<'_>> {
        let per_block = (block / SECTOR).max(1);
        let blocks = self.versions.len() / per_block;
        let size = (blocks / count.max(1)).max(1) * per_block;
        let seed = self.seed;
        self.versions
            .chunks_mut(size)
            .take(count)
            .enumerate()
            .map(|(index, versions)| Part {
                seed,
                first: (index * size) as u64,
                versions,
            })
            .collect()
    }
}

/// A part of an image.
pub(crate) struct Part<'a> {
    seed: u64,
    first: u64,
    versions: &'a mut [u32],
}

impl Part<'_> {
    /// The first sector of the part.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Number of sectors.
    pub(crate) fn len(&self) -> usize {
        self.versions.len()
    }

    /// Compares data with the expected content from sector `at` of the part on.
    pub(crate) fn check(&self, at: usize, data: &[u8]) -> Result<()> {
        let expected = self.versions.iter().skip(at);
        for (index, (got, version)) in data.chunks_exact(SECTOR).zip(expected).enumerate() {
            let sector = self.first + (at + index) as u64;
            if *version == UNKNOWN || pattern::matches(got, self.seed, sector, *version) {
                continue;
            }
            return Err(Error::new(format!(
                "sector {sector} (number {index} of a read of {}) should hold version {version} \
                 of seed {}, but holds {}",
                data.len() / SECTOR,
                self.seed,
                pattern::describe(got)
            )));
        }
        Ok(())
    }

    /// Fills data with the next version of each sector from `at` on.
    pub(crate) fn next(&self, at: usize, data: &mut [u8]) {
        let versions = self.versions.iter().skip(at);
        for (index, (out, version)) in data.chunks_exact_mut(SECTOR).zip(versions).enumerate() {
            let sector = self.first + (at + index) as u64;
            pattern::fill(out, self.seed, sector, version.wrapping_add(1));
        }
    }

    /// Notes that the data of [`Self::next`] was written, or that the attempt failed.
    pub(crate) fn written(&mut self, at: usize, sectors: usize, good: bool) {
        for version in self.versions.iter_mut().skip(at).take(sectors) {
            *version = if good {
                version.wrapping_add(1)
            } else {
                UNKNOWN
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_part_checks_and_an_unknown_one_is_skipped() {
        let mut image = Image::base(7, 64);
        let mut parts = image.parts(2, SECTOR);
        assert_eq!(parts.len(), 2);
        let part = &mut parts[1];
        assert_eq!(part.first(), 32);
        let mut data = vec![0; 2 * SECTOR];
        assert!(part.check(3, &data).is_err());
        part.next(3, &mut data);
        assert!(part.check(3, &data).is_err());
        part.written(3, 2, true);
        assert!(part.check(3, &data).is_ok());
        part.written(3, 2, false);
        assert!(part.check(3, &[0xff; 2 * SECTOR]).is_ok());
    }

    #[test]
    fn parts_are_whole_blocks() {
        let mut image = Image::base(1, 100);
        for part in image.parts(3, 4096) {
            assert_eq!(part.first() % 8, 0);
            assert_eq!(part.len() % 8, 0);
        }
    }
}
