// SPDX-License-Identifier: GPL-2.0

//! The part of a volume that it has not changed.

use super::{push, salvage, Lost, NewFile};
use crate::{
    device::Device,
    output::progress,
    ranges::{gaps, Range},
};
use anyhow::Result;

/// How much is read at once, and is a hole if it has zeroes only, in bytes.
const CHUNK_BYTES: u64 = 1 << 20;

/// Copies all of a volume of `bytes` but these ranges from a disk with the base image to a file
/// that has holes there. What can't be read stays a hole; it is returned.
pub(crate) fn copy_rest(
    base: &Device,
    ranges: &[Range],
    bytes: u64,
    file: &NewFile<'_>,
) -> Result<Vec<Lost>> {
    let mut buffer = vec![0; usize::try_from(CHUNK_BYTES)?];
    let mut lost = Vec::new();
    let bar = progress("copying the base image", bytes);
    for gap in gaps(ranges, bytes) {
        let end = gap.start.saturating_add(gap.bytes);
        let mut at = gap.start;
        while at < end {
            let behind = CHUNK_BYTES.saturating_sub(at % CHUNK_BYTES);
            let some = end.saturating_sub(at).min(behind);
            let Some(part) = buffer.get_mut(..usize::try_from(some)?) else {
                break;
            };
            let read = |offset, buffer: &mut [u8]| base.read(offset, buffer);
            salvage::read(&read, at, part, &mut |start, piece, result| {
                match result {
                    Ok(()) if piece.iter().all(|byte| *byte == 0) => {}
                    Ok(()) => file.write_at(piece, start)?,
                    Err(error) => push(&mut lost, start, piece, error)?,
                }
                Ok(())
            })?;
            at = at.saturating_add(some);
            bar.set_position(at);
        }
    }
    bar.finish_and_clear();
    Ok(lost)
}
