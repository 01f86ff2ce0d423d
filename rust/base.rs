// SPDX-License-Identifier: GPL-2.0

//! Reads samples of disks, to tell whether they hold what they should.

use crate::{
    env,
    members::{
        Disk,
        Members, //
    },
    svol_core::samples::{
        Sample,
        SUB_BLOCK_BYTES,
        SUB_BLOCK_SECTORS, //
    },
};
use kernel::prelude::*;

/// What a look at a disk's samples found.
pub(crate) enum Comparison {
    /// All as expected.
    Same,
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
    for sample in samples {
        match read(members, disk, sample.sub_block) {
            Ok(content) if sample.matches(&content) => (),
            Ok(_) => return Ok(Comparison::Differs(sample.sector())),
            Err(ENOMEM) => return Err(ENOMEM),
            Err(error) => return Ok(Comparison::Unreadable(error)),
        }
    }
    Ok(Comparison::Same)
}

/// Takes samples of a disk at these sub-blocks. Sleeps for I/O.
///
/// # Errors
///
/// `ENOMEM`, or that of a read.
pub(crate) fn take(members: &Members, disk: &Disk, sub_blocks: &[u64]) -> Result<env::Vec<Sample>> {
    let mut samples = env::Vec::try_with_capacity(sub_blocks.len())?;
    for sub_block in sub_blocks {
        let content = read(members, disk, *sub_block)?;
        samples.try_push(Sample::take(*sub_block, &content))?;
    }
    Ok(samples)
}

fn read(members: &Members, disk: &Disk, sub_block: u64) -> Result<KVec<u8>> {
    let mut content = KVec::from_elem(0u8, SUB_BLOCK_BYTES, GFP_KERNEL)?;
    let sector = sub_block.saturating_mul(SUB_BLOCK_SECTORS);
    members.io.read(&disk.device, sector, &mut content)?;
    Ok(content)
}
