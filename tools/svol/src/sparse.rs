// SPDX-License-Identifier: GPL-2.0

//! A file with what a volume has changed, or with all of it.

mod base;
mod new_file;
mod salvage;

pub(crate) use base::copy_rest;
pub(crate) use new_file::NewFile;

use crate::{diff::Block, output::progress, ranges, spans::Span, store::Store};
use anyhow::Result;
use std::io;

/// A part of a volume that could not be read.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) span: Span,
    /// Why, for its first byte.
    pub(crate) error: io::Error,
}

/// Writes the blocks of a volume of `bytes` to a file. What reads as zeroes is written, too: so
/// only what was not changed stays a hole, and what can't be read, which it returns.
pub(crate) fn copy_changes(
    store: &Store<'_>,
    blocks: &[Block],
    bytes: u64,
    file: &NewFile<'_>,
) -> Result<Vec<Lost>> {
    let size = store.block_bytes();
    let mut buffer = vec![0; usize::try_from(size)?];
    let mut lost = Vec::new();
    let bar = progress("copying", u64::try_from(blocks.len())?);
    for block in blocks {
        for range in ranges::of_record(&block.record, size, bytes) {
            // A range is within its block, so it fits.
            let Some(part) = buffer.get_mut(..usize::try_from(range.bytes)?) else {
                continue;
            };
            if range.zero {
                part.fill(0);
                file.write_at(part, range.start)?;
                continue;
            }
            let within = range
                .start
                .saturating_sub(block.record.bid.saturating_mul(size));
            let from = store
                .layout
                .slot_sector(block.slot)
                .saturating_mul(512)
                .saturating_add(within);
            let read = |offset, buffer: &mut [u8]| store.device.read(offset, buffer);
            salvage::read(&read, from, part, &mut |offset, piece, result| {
                let start = range.start.saturating_add(offset.saturating_sub(from));
                match result {
                    Ok(()) => file.write_at(piece, start)?,
                    Err(error) => push(&mut lost, start, piece, error)?,
                }
                Ok(())
            })?;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(lost)
}

/// Appends a piece that can't be read, joined to the one before if they touch.
fn push(lost: &mut Vec<Lost>, start: u64, piece: &[u8], error: io::Error) -> Result<()> {
    let bytes = u64::try_from(piece.len())?;
    let span = Span { start, bytes };
    let joined = lost.last_mut().is_some_and(|last| last.span.join(span));
    if !joined {
        lost.push(Lost { span, error });
    }
    Ok(())
}
