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

/// What comparing a disk with samples has shown.
pub(crate) enum Verdict {
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
pub(crate) fn compare(members: &Members, disk: &Disk, samples: &[Sample]) -> Result<Verdict> {
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
) -> Result<Verdict> {
    let mut unread = Unread::of(samples.len());
    let differs = first_difference(members, disk, samples, is_base, &mut unread)?;
    Ok(differs.map_or_else(|| unread.judge(), Verdict::Differs))
}

/// The first sector of the first sample that the disk does not hold, if `is_base` says that it has
/// the base image there. Samples that can't be read are counted in `unread`; once that is hopeless,
/// none are read any more. Sleeps for I/O.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn first_difference(
    members: &Members,
    disk: &Disk,
    samples: &[Sample],
    is_base: impl Fn(&Sample) -> bool,
    unread: &mut Unread,
) -> Result<Option<u64>> {
    for sample in samples {
        match read(members, disk, sample.sub_block) {
            // Readability counts at every place: after a crash, the disk may have the base image at
            // none of them.
            Ok(content) if !is_base(sample) || sample.matches(&content) => unread.looked_at(),
            Ok(_) => return Ok(Some(sample.sector())),
            Err(ENOMEM) => return Err(ENOMEM),
            Err(error) => unread.failed(sample.sector(), error),
        }
        if unread.is_hopeless() {
            break;
        }
    }
    Ok(None)
}

/// Counts the places of a disk that could not be read when the disk was checked. Single bad sectors
/// say nothing about whose disk it is.
pub(crate) struct Unread {
    /// How many places are looked at, if that is known from the beginning.
    of: Option<usize>,
    looked_at: usize,
    failed: usize,
    /// The first place that failed, and its error.
    first: Option<(u64, Error)>,
}

impl Unread {
    /// None so far, of so many places.
    pub(crate) fn of(places: usize) -> Self {
        Self {
            of: Some(places),
            ..Self::new()
        }
    }

    /// None so far. How many places will be looked at is not known yet.
    pub(crate) fn new() -> Self {
        Self {
            of: None,
            looked_at: 0,
            failed: 0,
            first: None,
        }
    }

    /// Counts a place that could be read.
    pub(crate) fn looked_at(&mut self) {
        self.looked_at = self.looked_at.saturating_add(1);
    }

    /// Counts the place at this sector, which could not be read.
    pub(crate) fn failed(&mut self, sector: u64, error: Error) {
        self.failed = self.failed.saturating_add(1);
        self.first.get_or_insert((sector, error));
    }

    /// Whether it is certain that at least half of all places can't be read.
    fn is_hopeless(&self) -> bool {
        self.of.is_some_and(|of| self.has_failed_half(of))
    }

    fn has_failed_half(&self, of: usize) -> bool {
        self.failed > 0 && self.failed >= of.saturating_sub(self.failed)
    }

    /// What that says about a disk that differs nowhere: it can't be read if that failed at half of
    /// all places, or more.
    pub(crate) fn judge(&self) -> Verdict {
        let all = self.looked_at.saturating_add(self.failed);
        match self.first {
            None => Verdict::Same,
            Some((_, error)) if self.has_failed_half(all) => Verdict::Unreadable(error),
            Some((sector, _)) => Verdict::Partly(sector),
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
