// SPDX-License-Identifier: GPL-2.0

//! Reads and writes the metadata copies of a group. Their contents are defined by the core.

use crate::{
    dm::{
        Device,
        PIECE, //
    },
    log,
    members::Members,
    svol_core::{
        group::GroupTable,
        meta::{
            choose::{
                CopyAction,
                CopyPlan, //
            },
            probe::CopyProbe,
            slot_of,
            slot_offset,
            BodyError,
            CopyState,
            Metadata,
            BODY_OFFSET,
            HEADER_BYTES,
            SLOTS, //
        },
        table_line::{
            MetaDevice,
            MAX_META_COPIES, //
        }, //
    },
};
use kernel::prelude::*;

/// Bytes of one write.
const CHUNK_BYTES: usize = PIECE;

/// Which device of the line has which copy; devices may have been reordered.
#[derive(Clone, Copy)]
pub(crate) struct Homes([Option<usize>; MAX_META_COPIES]);

impl Homes {
    /// For a new group: copies are numbered like the devices of the line.
    pub(crate) fn fresh(count: usize) -> Self {
        let mut homes = [None; MAX_META_COPIES];
        for (device, home) in homes.iter_mut().take(count).enumerate() {
            *home = Some(device);
        }
        Self(homes)
    }

    /// For an existing group. A copy that is to be lost has no device.
    pub(crate) fn planned(plans: &[Option<CopyPlan>; MAX_META_COPIES]) -> Self {
        let mut homes = [None; MAX_META_COPIES];
        for (device, plan) in plans.iter().enumerate() {
            let plan = plan.filter(|plan| plan.action != CopyAction::Lose);
            if let Some(home) = plan.and_then(|plan| homes.get_mut(plan.copy)) {
                *home = Some(device);
            }
        }
        Self(homes)
    }

    /// The same, with a copy on another device of the line.
    pub(crate) fn with(mut self, copy: usize, device: usize) -> Self {
        if let Some(home) = self.0.get_mut(copy) {
            *home = Some(device);
        }
        self
    }

    /// The same, without the device of a copy, which is to be lost.
    pub(crate) fn without(mut self, copy: usize) -> Self {
        if let Some(home) = self.0.get_mut(copy) {
            *home = None;
        }
        self
    }

    /// The device of a copy, counting from 0 in the line.
    pub(crate) fn position(&self, copy: usize) -> Option<usize> {
        self.0.get(copy).copied().flatten()
    }

    fn device<'a>(&self, members: &'a Members, copy: usize) -> Option<&'a Device> {
        members.meta_device(self.position(copy)?)
    }
}

/// Probes a metadata device, counting from 0 in the line; [`CopyProbe::Missing`] if the line says
/// `-`. Sleeps for I/O.
///
/// # Errors
///
/// `ENOMEM`. An unreadable device is not an error but a result.
pub(crate) fn probe(members: &Members, device: usize) -> Result<CopyProbe> {
    let Some(device) = members.meta_device(device) else {
        return Ok(CopyProbe::Missing);
    };
    members.probe(device, |read| CopyProbe::probe(read))
}

/// Writes a table's metadata to all live copies; then updates the table to match what is on disk.
/// Sleeps for I/O.
///
/// A copy that has no device, or can't be written, is recorded as lost in the others: twice, so
/// that both slots say so. This is the only place where that happens. `told` is the last event
/// count that the stores were told: see [`Metadata::lose_copy`].
///
/// # Errors
///
/// `EIO` if no live copy is left, or if memory runs out after some copy was written: it is then
/// unknown which state the devices hold, and the old table must be committed
/// [`GroupTable::instead_of`] this one; `ENOMEM`; `E2BIG` or `EINVAL` if it can't be encoded. The
/// state of the table stays as it was.
pub(crate) fn commit(
    members: &Members,
    homes: &Homes,
    table: &mut GroupTable,
    told: u64,
) -> Result {
    let mut metadata = table.metadata().try_clone()?;
    let result = commit_metadata(members, homes, &mut metadata, told);
    match result {
        Ok(()) => table.set_metadata(metadata),
        Err(_) => table.set_sequence(metadata.head.sequence),
    }
    result
}

#[inline(never)]
fn commit_metadata(members: &Members, homes: &Homes, metadata: &mut Metadata, told: u64) -> Result {
    // The state must be written once more, as the next generation.
    let mut again = false;
    for copy in live_copies(metadata) {
        if homes.device(members, copy).is_none() {
            lose(metadata, copy, told)?;
            again = true;
        }
    }
    let mut is_begun = false;
    loop {
        let written = write_live(members, homes, metadata).map_err(|error| match is_begun {
            // Whatever ends it now, it may be found after a crash.
            true => EIO,
            false => error,
        })?;
        is_begun = true;
        match written {
            Written {
                lost: Some(copy),
                any,
            } => {
                lose(metadata, copy, told)?;
                if any {
                    // Otherwise the sequence stays: the next one would overwrite the last good
                    // generation of the other copy.
                    metadata.head.sequence = metadata.head.sequence.saturating_add(1);
                }
                again = true;
            }
            Written { lost: None, .. } if again => {
                again = false;
                metadata.head.sequence = metadata.head.sequence.saturating_add(1);
            }
            Written { lost: None, .. } => return Ok(()),
        }
    }
}

fn live_copies(metadata: &Metadata) -> impl Iterator<Item = usize> {
    let copies = metadata.head.copies;
    (0..copies.count()).filter(move |copy| copies.state(*copy) == Some(CopyState::Live))
}

fn lose(metadata: &mut Metadata, copy: usize, told: u64) -> Result {
    // Called only for live copies, so only the last one can't be lost.
    metadata.lose_copy(copy, told).then_some(()).ok_or(EIO)
}

/// The result of one round of writing.
struct Written {
    /// At least one copy has the generation.
    any: bool,
    /// A copy that could not be written; the last one if there are several.
    lost: Option<usize>,
}

#[inline(never)]
fn write_live(members: &Members, homes: &Homes, metadata: &Metadata) -> Result<Written> {
    let body = body(metadata)?;
    // Even a generation that only one copy has is the newest one: memory must not run out halfway.
    let mut buffer = buffer()?;
    let mut written = Written {
        any: false,
        lost: None,
    };
    for copy in live_copies(metadata) {
        match write(members, homes, copy, metadata, &body, &mut buffer) {
            Ok(()) => written.any = true,
            // Says nothing about the copy.
            Err(ENOMEM) => return Err(ENOMEM),
            Err(error) => {
                let device = MetaDevice(homes.position(copy).unwrap_or(copy));
                log::warning!(
                    metadata.head.group,
                    "{device}: write failed: error {}",
                    error.to_errno()
                );
                written.lost = Some(copy);
            }
        }
    }
    Ok(written)
}

/// Writes a generation to one copy, although others may have it already. Sleeps for I/O.
///
/// # Errors
///
/// As [`commit`], but no copy is given up.
pub(crate) fn write_copy(
    members: &Members,
    homes: &Homes,
    copy: usize,
    metadata: &Metadata,
) -> Result {
    write(
        members,
        homes,
        copy,
        metadata,
        &body(metadata)?,
        &mut buffer()?,
    )
}

/// Erases the headers of a copy: nothing it held counts from then on. Sleeps for I/O.
///
/// # Errors
///
/// `ENXIO` if it has no device; `ENOMEM`; errors of the device.
pub(crate) fn erase(members: &Members, homes: &Homes, copy: usize) -> Result {
    let device = homes.device(members, copy).ok_or(ENXIO)?;
    let zeros = KVec::from_elem(0u8, BODY_OFFSET, GFP_KERNEL)?;
    for slot in 0..SLOTS {
        members
            .io
            .write_durable(device, slot_offset(slot) >> 9, &zeros)?;
    }
    Ok(())
}

fn body(metadata: &Metadata) -> Result<KVec<u8>> {
    let body = metadata.encode_body().map_err(|error| match error {
        BodyError::NoMemory => ENOMEM,
        BodyError::TooLarge => E2BIG,
        _ => EINVAL,
    })?;
    let mut bytes = KVec::with_capacity(body.len(), GFP_KERNEL)?;
    bytes.extend_from_slice(&body, GFP_KERNEL)?;
    Ok(bytes)
}

/// Memory for one write.
fn buffer() -> Result<KVec<u8>> {
    Ok(KVec::with_capacity(CHUNK_BYTES, GFP_KERNEL)?)
}

/// Writes one copy. The order makes a crash harmless: body, flush, header as one block with FUA.
/// `buffer` has room for one write.
#[inline(never)]
fn write(
    members: &Members,
    homes: &Homes,
    copy: usize,
    metadata: &Metadata,
    body: &KVec<u8>,
    buffer: &mut KVec<u8>,
) -> Result {
    let device = homes.device(members, copy).ok_or(ENXIO)?;
    let start = slot_offset(slot_of(metadata.head.sequence));

    let mut position = start.saturating_add(u64::try_from(BODY_OFFSET)?);
    // Whole 4 KiB blocks, which every logical block size divides.
    for part in body.chunks(CHUNK_BYTES) {
        let padded = part.len().next_multiple_of(BODY_OFFSET);
        fill(buffer, part, padded)?;
        members.io.write(device, position >> 9, buffer)?;
        position = position.saturating_add(u64::try_from(padded)?);
    }

    let mut sector = [0; HEADER_BYTES];
    if !metadata.encode_header(copy, body, &mut sector) {
        return Err(EINVAL);
    }
    let block = usize::try_from(device.logical_block_size())?.max(HEADER_BYTES);
    fill(buffer, &sector, block)?;
    members.io.write_durable(device, start >> 9, buffer)
}

/// Puts `content` into a buffer, and zeroes behind it up to `bytes`.
fn fill(buffer: &mut KVec<u8>, content: &[u8], bytes: usize) -> Result {
    buffer.clear();
    buffer.extend_from_slice(content, GFP_KERNEL)?;
    Ok(buffer.resize(bytes, 0, GFP_KERNEL)?)
}
