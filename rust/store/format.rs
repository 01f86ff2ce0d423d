// SPDX-License-Identifier: GPL-2.0

//! Writes the parts of a store other than block entries: headers, owners, segments.

use super::{
    fail,
    Store, //
};
use crate::{
    dm::{
        Device,
        PIECE, //
    },
    env::AllocError,
    log,
    members::Members,
    svol_core::store::{
        entries,
        layout,
        Header,
        Layout,
        OwnerRecord,
        Phase,
        Sector,
        COPIES,
        SECTOR_BYTES, //
    }, //
};
use core::num::TryFromIntError;
use kernel::prelude::*;

/// One more segment is formatted when fewer free slots than this are left.
const AHEAD: u32 = 1024;

/// The unit in which metadata is written, in bytes: every logical block size divides it.
const UNIT: usize = 4096;

/// Why something did not become durable.
pub(super) enum NotDurable {
    /// It could not be written.
    Write(Error),
    /// It was written, but the device could not be flushed: everything else that was in its cache
    /// may be lost, too.
    Flush(Error),
}

impl From<Error> for NotDurable {
    fn from(error: Error) -> Self {
        Self::Write(error)
    }
}

impl From<AllocError> for NotDurable {
    fn from(error: AllocError) -> Self {
        Self::Write(error.into())
    }
}

impl From<TryFromIntError> for NotDurable {
    fn from(error: TryFromIntError) -> Self {
        Self::Write(error.into())
    }
}

impl From<NotDurable> for Error {
    fn from(error: NotDurable) -> Self {
        match error {
            NotDurable::Write(error) | NotDurable::Flush(error) => error,
        }
    }
}

/// Writes from `offset` on, in bytes, and flushes the device. With a single write that also
/// flushes, nobody could tell which of the two failed. Sleeps for I/O.
pub(super) fn write_durable(
    members: &Members,
    device: &Device,
    offset: u64,
    content: &KVec<u8>,
) -> Result<(), NotDurable> {
    members.io.write(device, offset >> 9, content)?;
    members.io.flush(device).map_err(NotDurable::Flush)
}

/// Creates a store on a device that is blank, or that a start interrupted by a crash had begun to
/// format. Sleeps for I/O.
///
/// # Errors
///
/// Those of the device.
#[inline(never)]
pub(crate) fn make(members: &Members, device: &Device, mut header: Header) -> Result {
    header.phase = Phase::Formatting;
    header.segments = 0;
    if header.sequence > 0 {
        // The earlier start may have written only one copy.
        write_header_again(members, device, &header)?;
    }
    write_header(members, device, &mut header)?;
    // Clear owners that a start before a crash may have written.
    let zeroes = KVec::from_elem(0u8, PIECE, GFP_KERNEL)?;
    for copy in 0..COPIES {
        for at in (0..layout::OWNER_TABLE_BYTES).step_by(PIECE) {
            let offset = layout::owner_offset(copy, 0).saturating_add(u64::try_from(at)?);
            members.io.write(device, offset >> 9, &zeroes)?;
        }
    }
    let layout = Layout::new(header.block_sectors, header.used_sectors).map_err(|_| EINVAL)?;
    write_segment(members, device, &layout, header.tag, 0)?;
    header.segments = 1;
    header.phase = Phase::Active;
    write_header(members, device, &mut header)?;
    Ok(())
}

/// Writes both headers, one after the other, with the next sequence. Durable when it returns;
/// sleeps for I/O.
///
/// # Errors
///
/// Those of the device.
pub(super) fn write_header(
    members: &Members,
    device: &Device,
    header: &mut Header,
) -> Result<(), NotDurable> {
    header.sequence = header.sequence.saturating_add(1);
    write_header_again(members, device, header)
}

/// Writes both headers unchanged, to repair a copy. Durable when it returns; sleeps for I/O.
///
/// # Errors
///
/// Those of the device.
pub(super) fn write_header_again(
    members: &Members,
    device: &Device,
    header: &Header,
) -> Result<(), NotDurable> {
    for copy in 0..COPIES {
        let mut sector: Sector = [0; SECTOR_BYTES];
        if !header.encode(copy, &mut sector) {
            return Err(EINVAL.into());
        }
        let mut unit = KVec::with_capacity(UNIT, GFP_KERNEL)?;
        unit.extend_from_slice(&sector, GFP_KERNEL)?;
        unit.resize(UNIT, 0, GFP_KERNEL)?;
        write_durable(members, device, layout::header_offset(copy), &unit)?;
    }
    Ok(())
}

/// Writes an owner to both copies of the table, one after the other. Durable when it returns;
/// sleeps for I/O.
///
/// # Errors
///
/// Those of the device.
pub(super) fn write_owner(
    members: &Members,
    device: &Device,
    tag: u64,
    record: &OwnerRecord,
) -> Result<(), NotDurable> {
    let mut sector: Sector = [0; SECTOR_BYTES];
    if !record.encode(tag, &mut sector) {
        return Err(EINVAL.into());
    }
    write_owner_sector(members, device, record.number, &sector)
}

/// As [`write_owner`], for an owner number that was never used.
///
/// # Errors
///
/// The same.
pub(super) fn clear_owner(
    members: &Members,
    device: &Device,
    number: u16,
) -> Result<(), NotDurable> {
    write_owner_sector(members, device, number, &[0; SECTOR_BYTES])
}

/// Writes the sector of an owner number to both copies of the table. Sleeps for I/O.
fn write_owner_sector(
    members: &Members,
    device: &Device,
    number: u16,
    sector: &Sector,
) -> Result<(), NotDurable> {
    for copy in 0..COPIES {
        let offset = layout::owner_offset(copy, number);
        let unit_bytes = u64::try_from(UNIT)?;
        let within = usize::try_from(offset.checked_rem(unit_bytes).ok_or(EINVAL)?)?;
        let begin = offset.saturating_sub(u64::try_from(within)?);
        // Other owners are in the same unit. If it can't be read, they are taken from the other
        // copy.
        let mut unit = KVec::from_elem(0u8, UNIT, GFP_KERNEL)?;
        let other = layout::owner_offset(1usize.saturating_sub(copy), number);
        let other = other.saturating_sub(u64::try_from(within)?);
        members
            .io
            .read(device, begin >> 9, &mut unit)
            .or_else(|_| members.io.read(device, other >> 9, &mut unit))?;
        unit.get_mut(within..)
            .and_then(|rest| rest.first_chunk_mut())
            .map(|place: &mut Sector| *place = *sector)
            .ok_or(EINVAL)?;
        write_durable(members, device, begin, &unit)?;
    }
    Ok(())
}

// Both are written in whole pieces.
const _: () = assert!(layout::OWNER_TABLE_BYTES % PIECE == 0);
const _: () = assert!(layout::SEGMENT_ENTRY_BYTES % PIECE == 0);

/// Writes the entries of a segment, all free. Durable when it returns.
fn write_segment(
    members: &Members,
    device: &Device,
    layout: &Layout,
    tag: u64,
    segment: u32,
) -> Result<(), NotDurable> {
    let mut content = KVec::from_elem(0u8, PIECE, GFP_KERNEL)?;
    let mut number = segment.saturating_mul(layout::SEGMENT_ENTRY_SECTORS);
    for at in (0..layout::SEGMENT_ENTRY_BYTES).step_by(PIECE) {
        for sector in content.chunks_exact_mut(SECTOR_BYTES) {
            entries::format(sector.first_chunk_mut().ok_or(EINVAL)?, tag, number);
            number = number.saturating_add(1);
        }
        let offset = layout.segment_offset(segment);
        let offset = offset.saturating_add(u64::try_from(at)?);
        members.io.write(device, offset >> 9, &content)?;
    }
    members.io.flush(device).map_err(NotDurable::Flush)
}

/// Writes the sectors of entries with these ascending numbers, all free, in place of damaged ones
/// that nothing relies on. Durable when it returns; sleeps for I/O.
///
/// # Errors
///
/// Those of the device.
pub(super) fn write_free_entries(
    members: &Members,
    device: &Device,
    tag: u64,
    layout: &Layout,
    numbers: &[u32],
) -> Result<(), NotDurable> {
    if numbers.is_empty() {
        return Ok(());
    }
    let per_unit = u32::try_from(UNIT / SECTOR_BYTES)?;
    let unit_of = |number: &u32| number.checked_div(per_unit);
    for numbers in numbers.chunk_by(|one, next| unit_of(one) == unit_of(next)) {
        let unit = numbers.first().and_then(unit_of).ok_or(EINVAL)?;
        let first = unit.saturating_mul(per_unit);
        let offset = layout.entry_offset(first);
        let mut unit = KVec::from_elem(0u8, UNIT, GFP_KERNEL)?;
        // The other sectors of the unit may be in use.
        if numbers.len() < UNIT / SECTOR_BYTES {
            members.io.read(device, offset >> 9, &mut unit)?;
        }
        for (number, sector) in (first..).zip(unit.chunks_exact_mut(SECTOR_BYTES)) {
            if numbers.contains(&number) {
                entries::format(sector.first_chunk_mut().ok_or(EINVAL)?, tag, number);
            }
        }
        members.io.write(device, offset >> 9, &unit)?;
    }
    members.io.flush(device).map_err(NotDurable::Flush)
}

impl Store {
    /// Formats one more segment if slots are about to run out. Sleeps for I/O.
    pub(super) fn format_ahead(&self) {
        if self.slots.ready() >= AHEAD || self.slots.limit() >= self.slots.total() {
            return;
        }
        let Err(error) = self.format_segment() else {
            self.unformatted.set(false);
            return;
        };
        if self.unformatted.raise() {
            let errno = error.to_errno();
            log::warning!(
                self.group,
                "increments {}: no segment formatted: error {errno}",
                self.lid
            );
        }
        if fail::is_of_device(error) {
            self.begin_failure(false);
        }
    }

    /// Formats the next segment, and makes its slots available. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the device; `ENOSPC` if there is no further segment.
    pub(super) fn format_segment(&self) -> Result {
        let mut header = self.header.lock();
        if header.segments >= self.layout.segments() {
            return Err(ENOSPC);
        }
        let (tag, segment) = (header.tag, header.segments);
        let written = self
            .disk()?
            .counted(|device| write_segment(&self.members, device, &self.layout, tag, segment));
        self.or_lose_all(written)?;
        let segments = header.segments.saturating_add(1);
        self.change_header(&mut header, |header| header.segments = segments)?;
        self.slots.set_limit(self.layout.slots_of(segments));
        Ok(())
    }

    /// Records the group's event count in the headers. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub(super) fn note_events(&self, events: u64) -> Result {
        self.change_header(&mut self.header.lock(), |header| header.events = events)
    }

    /// The group's event count as recorded in the headers. Does not sleep.
    pub(crate) fn known_events(&self) -> u64 {
        self.known_events.get()
    }

    /// Writes the headers again, with nothing changed but the sequence, to see whether that works.
    /// Sleeps for I/O.
    pub(super) fn write_header_once_more(&self) -> Result {
        self.change_header(&mut self.header.lock(), |_| ())
    }

    /// Changes the header, on disk and then in memory. What a failed write has left on disk is
    /// unknown, so the next write gets a new sequence. Sleeps for I/O.
    fn change_header(&self, header: &mut Header, change: impl FnOnce(&mut Header)) -> Result {
        let mut next = *header;
        change(&mut next);
        let written = self
            .disk()?
            .counted(|device| write_header(&self.members, device, &mut next));
        let result = self.or_lose_all(written);
        match result {
            Ok(()) => {
                *header = next;
                self.known_events.set(header.events);
            }
            Err(_) => header.sequence = next.sequence,
        }
        result
    }

    /// Handles the result of a durable write to the device: if the flush failed, the device has
    /// failed, and may have lost what volumes wrote; see [`Store::or_lose`]. Does not sleep.
    ///
    /// # Errors
    ///
    /// The same.
    pub(super) fn or_lose_all(&self, written: Result<(), NotDurable>) -> Result {
        let flushed = match written {
            Err(NotDurable::Flush(error)) => Err(error),
            other => return other.map_err(Error::from),
        };
        self.or_lose(flushed).inspect_err(|error| {
            if fail::is_of_device(*error) {
                self.begin_failure(false);
            }
        })
    }
}
