// SPDX-License-Identifier: GPL-2.0

//! A sparse file with what a volume has changed.

use crate::{diff::Block, output::progress, ranges, store::Store};
use anyhow::{Context, Result};
use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

/// Writes the blocks of a volume of `bytes` to a new file. What reads as zeroes is written, too:
/// so only what was not changed is a hole. If it fails, there is no file.
pub(crate) fn write(store: &Store<'_>, blocks: &[Block], bytes: u64, path: &Path) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .with_context(context)?;
    let result = fill(store, blocks, bytes, &file).with_context(context);
    if result.is_err() {
        // Half of it would look like all of it. The first error is the one to report.
        let _ = std::fs::remove_file(path);
    }
    result
}

fn fill(store: &Store<'_>, blocks: &[Block], bytes: u64, file: &File) -> Result<()> {
    file.set_len(bytes)?;
    let size = store.block_bytes();
    let mut buffer = vec![0; usize::try_from(size)?];
    let bar = progress("copying", u64::try_from(blocks.len())?);
    for block in blocks {
        for range in ranges::of_record(&block.record, size, bytes) {
            // A range is within its block, so it fits.
            let Some(part) = buffer.get_mut(..usize::try_from(range.bytes)?) else {
                continue;
            };
            if range.zero {
                part.fill(0);
            } else {
                let within = range
                    .start
                    .saturating_sub(block.record.bid.saturating_mul(size));
                let from = store
                    .layout
                    .slot_sector(block.slot)
                    .saturating_mul(512)
                    .saturating_add(within);
                store
                    .device
                    .read(from, part)
                    .with_context(|| format!("cannot read slot {} at {from}", block.slot))?;
            }
            file.write_all_at(part, range.start)?;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    file.sync_all()?;
    Ok(())
}
