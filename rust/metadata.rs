// SPDX-License-Identifier: GPL-2.0

//! Reads and writes the metadata copies of a group. Their contents are defined by the core.

mod writer;

pub(crate) use writer::Writers;

use crate::{
    dm::{
        Device,
        IoClient,
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
use kernel::{
    prelude::*,
    sync::Arc, //
};

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

/// Writes a table's metadata to all live copies, one after the other; then updates the table to
/// match what is on disk. Sleeps for I/O.
///
/// A copy that has no device, can't be written, or does not answer for long although another one
/// can be written, is recorded as lost in the others: twice, so that both slots say so. This is the
/// only place where that happens. `told` is the last event count that the stores were told: see
/// [`Metadata::lose_copy`].
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
    writers: &Writers,
    table: &mut GroupTable,
    told: u64,
) -> Result {
    let mut metadata = table.metadata().try_clone()?;
    let result = commit_metadata(members, homes, writers, &mut metadata, told);
    match result {
        Ok(()) => table.set_metadata(metadata),
        Err(_) => table.set_sequence(metadata.head.sequence),
    }
    result
}

/// As [`commit`], without the table: writes generations until one is on all copies that it says are
/// live.
#[inline(never)]
fn commit_metadata(
    members: &Members,
    homes: &Homes,
    writers: &Writers,
    metadata: &mut Metadata,
    told: u64,
) -> Result {
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
        let written =
            write_live(members, homes, writers, metadata).map_err(|error| match is_begun {
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

impl Written {
    /// A copy was written, or not: `ETIMEDOUT` if its device does not answer.
    fn note(&mut self, metadata: &Metadata, homes: &Homes, copy: usize, result: Result) {
        let group = metadata.head.group;
        let place = MetaDevice(homes.position(copy).unwrap_or(copy));
        match result {
            Ok(()) => {
                self.any = true;
                return;
            }
            Err(ETIMEDOUT) => log::warning!(group, "{place}: no answer for long, given up"),
            Err(error) => {
                let errno = error.to_errno();
                log::warning!(group, "{place}: write failed: error {errno}");
            }
        }
        self.lost = Some(copy);
    }
}

/// Writes one generation to all live copies, those without a worker by itself. A copy whose device
/// is late is left to its worker, and waited for only until the others are done and a bit longer.
#[inline(never)]
fn write_live(
    members: &Members,
    homes: &Homes,
    writers: &Writers,
    metadata: &Metadata,
) -> Result<Written> {
    // Even a generation that only one copy has is the newest one: memory must not run out halfway.
    let mut buffer = buffer()?;
    let mut generations = [const { None }; MAX_META_COPIES];
    let body = body(metadata)?;
    for copy in live_copies(metadata) {
        let generation = generations.get_mut(copy).ok_or(EINVAL)?;
        *generation = Some(Generation::new(metadata, copy, body.clone())?);
    }
    let mut written = Written {
        any: false,
        lost: None,
    };
    let mut late = [None; MAX_META_COPIES];
    for ((copy, generation), late) in generations.into_iter().enumerate().zip(late.iter_mut()) {
        let Some(generation) = generation else {
            continue;
        };
        match homes.position(copy).and_then(|device| writers.of(device)) {
            Some(writer) => match writer.write(generation, writers.patience_ms) {
                Some(result) => written.note(metadata, homes, copy, result),
                None => *late = Some((copy, writer)),
            },
            None => {
                let device = homes.device(members, copy).ok_or(ENXIO)?;
                let result = generation.write(&members.io, device, &mut buffer);
                written.note(metadata, homes, copy, result);
            }
        }
    }
    let any = written.any;
    writer::wait_for_late(&mut late, writers.grace_ms, any, |copy, result| {
        written.note(metadata, homes, copy, result);
        written.any
    });
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
    let device = homes.device(members, copy).ok_or(ENXIO)?;
    Generation::new(metadata, copy, body(metadata)?)?.write(&members.io, device, &mut buffer()?)
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

fn body(metadata: &Metadata) -> Result<Arc<KVec<u8>>> {
    let body = metadata.encode_body().map_err(|error| match error {
        BodyError::NoMemory => ENOMEM,
        BodyError::TooLarge => E2BIG,
        _ => EINVAL,
    })?;
    let mut bytes = KVec::with_capacity(body.len(), GFP_KERNEL)?;
    bytes.extend_from_slice(&body, GFP_KERNEL)?;
    Ok(Arc::new(bytes, GFP_KERNEL)?)
}

/// Memory for one write.
fn buffer() -> Result<KVec<u8>> {
    Ok(KVec::with_capacity(CHUNK_BYTES, GFP_KERNEL)?)
}

/// One generation of a copy, as it goes to a device.
struct Generation {
    /// Where its slot begins, in bytes.
    start: u64,
    header: [u8; HEADER_BYTES],
    body: Arc<KVec<u8>>,
}

impl Generation {
    fn new(metadata: &Metadata, copy: usize, body: Arc<KVec<u8>>) -> Result<Self> {
        let mut header = [0; HEADER_BYTES];
        if !metadata.encode_header(copy, &body, &mut header) {
            return Err(EINVAL);
        }
        Ok(Self {
            start: slot_offset(slot_of(metadata.head.sequence)),
            header,
            body,
        })
    }

    /// Writes it. The order makes a crash harmless: body, flush, header as one block with FUA.
    /// `buffer` has room for one write: nothing is allocated. Sleeps for I/O.
    #[inline(never)]
    fn write(&self, io: &IoClient, device: &Device, buffer: &mut KVec<u8>) -> Result {
        let mut position = self.start.saturating_add(u64::try_from(BODY_OFFSET)?);
        // Whole 4 KiB blocks, which every logical block size divides.
        for part in self.body.chunks(CHUNK_BYTES) {
            let padded = part.len().next_multiple_of(BODY_OFFSET);
            fill(buffer, part, padded)?;
            io.write(device, position >> 9, buffer)?;
            position = position.saturating_add(u64::try_from(padded)?);
        }
        let block = usize::try_from(device.logical_block_size())?.max(HEADER_BYTES);
        fill(buffer, &self.header, block)?;
        io.write_durable(device, self.start >> 9, buffer)
    }
}

/// Puts `content` into a buffer, and zeroes behind it up to `bytes`.
fn fill(buffer: &mut KVec<u8>, content: &[u8], bytes: usize) -> Result {
    buffer.clear();
    buffer.extend_from_slice(content, GFP_KERNEL)?;
    Ok(buffer.resize(bytes, 0, GFP_KERNEL)?)
}
