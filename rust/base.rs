// SPDX-License-Identifier: GPL-2.0

//! Reads samples of disks to check that they hold what they should.

use crate::{
    env,
    members::{
        Disk,
        Members, //
    },
    svol_core::{
        meta::MAX_SAMPLES,
        samples::{
            is_telling,
            Sample,
            Stretch,
            SUB_BLOCK_BYTES,
            SUB_BLOCK_SECTORS, //
        }, //
    },
};
use kernel::prelude::*;

/// The result of comparing a disk with samples.
pub(crate) enum Comparison {
    /// All as expected.
    Same,
    /// As expected where it can be read: most samples can be read, but the one at this sector
    /// can't.
    Partly(u64),
    /// The sub-block at this sector differs.
    Differs(u64),
    /// The disk can't be read.
    Unreadable(Error),
}

/// Compares a disk with samples of the base image. Sleeps for I/O.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn compare(members: &Members, disk: &Disk, samples: &[Sample]) -> Result<Comparison> {
    compare_where(members, disk, samples, |_| true)
}

/// As [`compare`]; but the disk may hold anything where `is_base` denies that it has the base
/// image.
///
/// # Errors
///
/// The same.
pub(crate) fn compare_where(
    members: &Members,
    disk: &Disk,
    samples: &[Sample],
    is_base: impl Fn(&Sample) -> bool,
) -> Result<Comparison> {
    let mut unread = Unread::default();
    for sample in samples {
        match read(members, disk, sample.sub_block) {
            Ok(content) if !is_base(sample) || sample.matches(&content) => unread.looked_at(),
            Ok(_) => return Ok(Comparison::Differs(sample.sector())),
            Err(ENOMEM) => return Err(ENOMEM),
            Err(error) => unread.failed(sample.sector(), error),
        }
        if let (true, Some(error)) = (unread.is_hopeless(samples.len()), unread.error) {
            return Ok(Comparison::Unreadable(error));
        }
    }
    Ok(unread.sector.map_or(Comparison::Same, Comparison::Partly))
}

/// Counts the places of a disk that could not be read when the disk was checked. Single bad sectors
/// say nothing about whose disk it is.
#[derive(Default)]
pub(crate) struct Unread {
    looked_at: usize,
    failed: usize,
    /// The first such place.
    pub(crate) sector: Option<u64>,
    error: Option<Error>,
}

impl Unread {
    /// Counts a place that could be read.
    pub(crate) fn looked_at(&mut self) {
        self.looked_at = self.looked_at.saturating_add(1);
    }

    /// Counts the place at this sector, which could not be read.
    pub(crate) fn failed(&mut self, sector: u64, error: Error) {
        self.failed = self.failed.saturating_add(1);
        self.sector.get_or_insert(sector);
        self.error.get_or_insert(error);
    }

    /// Whether at least half of `of` places can't be read.
    fn is_hopeless(&self, of: usize) -> bool {
        self.failed > 0 && self.failed >= of.saturating_sub(self.failed)
    }

    /// Called after the last place.
    ///
    /// # Errors
    ///
    /// That of the first such place, if at least half of all places could not be read.
    pub(crate) fn judge(&self) -> Result {
        let all = self.looked_at.saturating_add(self.failed);
        match self.error {
            Some(error) if self.is_hopeless(all) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Takes samples of a disk, preferably of sub-blocks that tell it from a blank one. Sleeps for I/O.
///
/// # Errors
///
/// `ENOMEM`, or the error of a read.
pub(crate) fn take(
    members: &Members,
    disk: &Disk,
    stretches: impl Iterator<Item = Stretch>,
) -> Result<env::Vec<Sample>> {
    let mut samples = env::Vec::try_with_capacity(MAX_SAMPLES)?;
    for stretch in stretches {
        samples.try_push(take_one(members, disk, stretch)?)?;
    }
    Ok(samples)
}

/// Takes the sample of a stretch. Places that can't be read do no harm as long as another one can.
fn take_one(members: &Members, disk: &Disk, stretch: Stretch) -> Result<Sample> {
    let mut first = Err(EIO);
    for sub_block in stretch {
        match read(members, disk, sub_block) {
            Ok(content) => {
                let sample = Sample::take(sub_block, &content);
                if is_telling(&content) {
                    return Ok(sample);
                }
                first = first.or(Ok(sample));
            }
            Err(ENOMEM) => return Err(ENOMEM),
            Err(error) => first = first.map_err(|_| error),
        }
    }
    first
}

fn read(members: &Members, disk: &Disk, sub_block: u64) -> Result<KVec<u8>> {
    let mut content = KVec::from_elem(0u8, SUB_BLOCK_BYTES, GFP_KERNEL)?;
    let sector = sub_block.saturating_mul(SUB_BLOCK_SECTORS);
    members.io.read(&disk.device, sector, &mut content)?;
    Ok(content)
}
