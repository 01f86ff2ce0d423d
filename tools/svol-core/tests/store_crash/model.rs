// SPDX-License-Identifier: GPL-2.0

//! What the volumes may hold.

use crate::device::{Sector, SECTOR};
use std::hash::{Hash, Hasher};

/// The value of a sector of zeros.
pub(crate) const ZERO: u64 = 0;
/// The value of a sector of the base image.
pub(crate) const BASE: u64 = 1;

/// What a sector holds for a value. The base image is the same for all owners.
pub(crate) fn content(value: u64, owner: usize, sector: u64) -> Sector {
    if value == ZERO {
        return [0; SECTOR];
    }
    let owner = if value == BASE { 0xff } else { owner as u64 };
    let mut content = [0; SECTOR];
    for words in content.chunks_exact_mut(16) {
        words[..8].copy_from_slice(&value.to_le_bytes());
        words[8..].copy_from_slice(&((sector << 8) | owner).to_le_bytes());
    }
    content
}

/// The value that a sector holds; `None` if it is not of this place.
pub(crate) fn value(found: &Sector, owner: usize, sector: u64) -> Option<u64> {
    let value = u64::from_le_bytes(*found.first_chunk()?);
    (content(value, owner, sector) == *found).then_some(value)
}

/// One write of a sector.
#[derive(Clone, Copy)]
struct Version {
    value: u64,
    /// Tells it from others, and rises.
    serial: u64,
    acknowledged: bool,
}

/// One sector of a volume.
#[derive(Clone)]
struct Cell {
    /// What may be found after a crash, in the order of the writes.
    versions: Vec<Version>,
    /// What may be found in the store besides, until it is brought in step with the disk.
    in_store: Vec<u64>,
}

/// The volumes, as their user knows them.
#[derive(Clone)]
pub(crate) struct Model {
    /// The sectors that are looked at.
    pub(crate) sectors: Vec<u64>,
    /// By owner and sector, in the order of `sectors`.
    cells: Vec<Vec<Cell>>,
    serial: u64,
    /// The store has been made.
    pub(crate) formatted: bool,
}

/// What a flush makes durable.
pub(crate) struct Flush {
    owner: usize,
    /// Versions that can't come back, by sector.
    gone: Vec<Vec<u64>>,
}

impl Model {
    pub(crate) fn new(owners: usize, sectors: Vec<u64>) -> Self {
        let base = Cell {
            versions: vec![Version {
                value: BASE,
                serial: 0,
                acknowledged: true,
            }],
            in_store: Vec::new(),
        };
        Self {
            cells: vec![vec![base; sectors.len()]; owners],
            sectors,
            serial: 0,
            formatted: false,
        }
    }

    fn range(&mut self, owner: usize, sector: u64, sectors: u32) -> &mut [Cell] {
        let end = sector + u64::from(sectors);
        let from = self.sectors.partition_point(|s| *s < sector);
        let to = self.sectors.partition_point(|s| *s < end);
        &mut self.cells[owner][from..to]
    }

    /// A write begins. Gives what [`Self::acknowledge`] wants.
    pub(crate) fn begin(&mut self, owner: usize, sector: u64, sectors: u32, value: u64) -> u64 {
        self.serial += 1;
        let serial = self.serial;
        for cell in self.range(owner, sector, sectors) {
            cell.versions.push(Version {
                value,
                serial,
                acknowledged: false,
            });
        }
        serial
    }

    /// A write has ended; `durable` if that was promised.
    pub(crate) fn acknowledge(
        &mut self,
        owner: usize,
        sector: u64,
        sectors: u32,
        serial: u64,
        durable: bool,
    ) {
        for cell in self.range(owner, sector, sectors) {
            for version in &mut cell.versions {
                version.acknowledged |= version.serial == serial;
            }
            if durable {
                cell.versions.retain(|version| version.serial >= serial);
            }
        }
    }

    pub(crate) fn flush_begins(&self, owner: usize) -> Flush {
        let gone = self.cells[owner]
            .iter()
            .map(|cell| {
                let done = cell.versions.iter().filter(|version| version.acknowledged);
                let mut gone: Vec<_> = done.map(|version| version.serial).collect();
                // The last one is what is durable then.
                let last = gone.pop();
                assert!(last.is_some());
                gone
            })
            .collect();
        Flush { owner, gone }
    }

    pub(crate) fn flush_ends(&mut self, flush: Flush) {
        for (cell, gone) in self.cells[flush.owner].iter_mut().zip(flush.gone) {
            cell.versions
                .retain(|version| !gone.contains(&version.serial));
        }
    }

    /// Tells what is allowed from other states.
    pub(crate) fn digest(&self, to: &mut impl Hasher) {
        self.formatted.hash(to);
        for cell in self.cells.iter().flatten() {
            cell.in_store.hash(to);
            cell.versions.len().hash(to);
            for version in &cell.versions {
                version.value.hash(to);
            }
        }
    }

    /// What is found of a sector, `at` counting in `sectors`: an error if it must not be there.
    pub(crate) fn check(
        &self,
        owner: usize,
        at: usize,
        found: &Sector,
        in_store: bool,
    ) -> Result<u64, String> {
        let sector = self.sectors[at];
        let cell = &self.cells[owner][at];
        let allowed = |value: &u64| {
            cell.versions.iter().any(|version| version.value == *value)
                || in_store && cell.in_store.contains(value)
        };
        let found = value(found, owner, sector);
        found.filter(allowed).ok_or_else(|| {
            let values: Vec<_> = cell.versions.iter().map(|version| version.value).collect();
            let found = found.map_or("another place's data".to_owned(), |value| value.to_string());
            let place = if in_store { " in the store" } else { "" };
            format!("owner {owner}, sector {sector}{place}: {found} is none of {values:?}")
        })
    }

    /// While nothing is in flight, a sector holds what was written last.
    pub(crate) fn check_now(&self, owner: usize, at: usize, found: &Sector) -> Result<(), String> {
        let found = self.check(owner, at, found, false)?;
        let cell = &self.cells[owner][at];
        if cell.versions.iter().all(|version| version.acknowledged) {
            let last = cell.versions.last().map(|version| version.value);
            if last != Some(found) {
                let sector = self.sectors[at];
                return Err(format!(
                    "owner {owner}, sector {sector}: {found} instead of {last:?}"
                ));
            }
        }
        Ok(())
    }

    /// After a crash a volume has `values`; they are durable if `lasting`, and will be otherwise
    /// with the next flush.
    pub(crate) fn restarted(&mut self, owner: usize, values: &[u64], lasting: bool) {
        self.serial += 1;
        for (cell, value) in self.cells[owner].iter_mut().zip(values) {
            let old = cell.versions.iter().map(|version| version.value);
            cell.in_store.extend(old);
            if lasting {
                cell.versions.clear();
            }
            for version in &mut cell.versions {
                version.acknowledged = true;
            }
            cell.versions.push(Version {
                value: *value,
                serial: self.serial,
                acknowledged: true,
            });
        }
    }

    /// The store of an owner was brought in step with its disk.
    pub(crate) fn resolved(&mut self, owner: usize) {
        for cell in &mut self.cells[owner] {
            cell.in_store.clear();
        }
    }
}
