// SPDX-License-Identifier: GPL-2.0

//! Sectors of entries: which block is in which slot, and which parts of it are valid.
//!
//! They are changed in place, in their on-disk form. So a cached sector is written as it is, and no
//! tables are converted.

use super::{
    layout::SECTOR_ENTRIES,
    sector::{
        body,
        open,
        seal, //
    },
    Sector,
    SectorError,
    OWNERS, //
};
use crate::svol_core::fields::{
    Reader,
    Writer, //
};

/// The first bytes of a sector of entries.
const MAGIC: &[u8; 4] = b"dmE1";

/// Where the commit number is, in bytes.
const COMMIT_AT: usize = 24;

/// Where the entries begin, in bytes.
const ENTRIES_AT: usize = 64;

/// The size of an entry, in bytes.
const ENTRY_BYTES: usize = 14;

/// BIDs are below this.
pub const MAX_BLOCKS: u64 = 1 << 48;

/// The content of an entry: which block of which owner its slot has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Record {
    /// The number of the owner: at least 1, below [`OWNERS`].
    pub owner: u16,
    /// The BID, below [`MAX_BLOCKS`].
    pub bid: u64,
    /// The sub-blocks that are in the slot, a bit each.
    pub data: u16,
    /// The sub-blocks that read as zeroes, a bit each. None is in both masks.
    pub zero: u16,
}

/// The bits that the masks of entries may have: one for each sub-block of a block of
/// `block_sectors`.
pub fn mask_of(block_sectors: u32) -> u16 {
    // Blocks have up to 16 sub-blocks of 8 sectors.
    u16::MAX
        .checked_shr(16u32.saturating_sub(block_sectors / 8))
        .unwrap_or(0)
}

/// Makes `sector` the sector `number` of entries (numbered across all segments), with all of them
/// free, and seals it.
pub fn format(sector: &mut Sector, tag: u64, number: u32) {
    let mut fields = body(sector, MAGIC);
    // All this fits into a sector.
    let _ = fields.u64(tag);
    let _ = fields.u32(number);
    fields.pad();
    seal(sector, MAGIC);
}

/// Checks that this is the sector `number` of entries in the store `tag`, and that all entries
/// make sense in it; `mask` is that of [`mask_of`].
///
/// Whether there is such an owner, and whether it has such a block, is left to the caller.
///
/// # Errors
///
/// See [`SectorError`].
pub fn check(sector: &Sector, tag: u64, number: u32, mask: u16) -> Result<(), SectorError> {
    let mut fields = open(sector, MAGIC)?;
    if (fields.u64(), fields.u32()) != (Some(tag), Some(number)) {
        return Err(SectorError::Misplaced);
    }
    check_fields(fields, mask).ok_or(SectorError::Malformed)
}

fn check_fields(mut fields: Reader<'_>, mask: u16) -> Option<()> {
    fields.zeros(4)?;
    fields.u64()?;
    fields.zeros(32)?;
    while !fields.is_empty() {
        let bytes: &[u8; ENTRY_BYTES] = fields.array()?;
        let (record, reserved) = decode(bytes)?;
        let free = record.owner == 0 && record.bid == 0 && record.data | record.zero == 0;
        let used = (1..OWNERS).contains(&record.owner)
            && record.data & record.zero == 0
            && record.data | record.zero != 0
            && (record.data | record.zero) & !mask == 0;
        if reserved != 0 || !(free || used) {
            return None;
        }
    }
    Some(())
}

fn decode(bytes: &[u8; ENTRY_BYTES]) -> Option<(Record, u16)> {
    let mut fields = Reader::new(bytes);
    let [a, b, c, d, e, f] = *fields.array()?;
    let record = Record {
        bid: u64::from_le_bytes([a, b, c, d, e, f, 0, 0]),
        owner: fields.u16()?,
        data: fields.u16()?,
        zero: fields.u16()?,
    };
    Some((record, fields.u16()?))
}

/// The number of the commit that wrote the sector; 0 if it was only formatted.
pub fn commit_of(sector: &Sector) -> u64 {
    sector
        .get(COMMIT_AT..)
        .and_then(|bytes| Reader::new(bytes).u64())
        .unwrap_or(0)
}

/// The entry `index`; `None` if its slot is free. `index` is below [`SECTOR_ENTRIES`].
pub fn get(sector: &Sector, index: u32) -> Option<Record> {
    let bytes = sector.get(offset(index)?..)?.first_chunk()?;
    let (record, _) = decode(bytes)?;
    (record.owner != 0).then_some(record)
}

/// Changes the entry `index`, without the checksum: [`seal_sector`] has to follow. `None`, or an
/// entry with nothing in its masks, makes the slot free.
///
/// Returns whether there is such an entry, and `record` is valid for it; otherwise nothing has
/// changed.
#[must_use]
pub fn set(sector: &mut Sector, index: u32, record: Option<&Record>) -> bool {
    set_entry(sector, index, record).is_some()
}

fn set_entry(sector: &mut Sector, index: u32, record: Option<&Record>) -> Option<()> {
    let record = record.filter(|record| record.data | record.zero != 0);
    if record.is_some_and(|record| {
        record.bid >= MAX_BLOCKS
            || !(1..OWNERS).contains(&record.owner)
            || record.data & record.zero != 0
    }) {
        return None;
    }
    let bytes: &mut [u8; ENTRY_BYTES] = sector.get_mut(offset(index)?..)?.first_chunk_mut()?;
    let mut fields = Writer::new(bytes);
    if let Some(record) = record {
        let [a, b, c, d, e, f, _, _] = record.bid.to_le_bytes();
        fields.bytes(&[a, b, c, d, e, f])?;
        fields.u16(record.owner)?;
        fields.u16(record.data)?;
        fields.u16(record.zero)?;
    }
    fields.pad();
    Some(())
}

/// Updates the number of the commit and the checksum after changes.
pub fn seal_sector(sector: &mut Sector, commit: u64) {
    if let Some(bytes) = sector.get_mut(COMMIT_AT..) {
        let _ = Writer::new(bytes).u64(commit);
    }
    seal(sector, MAGIC);
}

/// The entries that are not free, each with its index.
pub fn records(sector: &Sector) -> impl Iterator<Item = (u32, Record)> + '_ {
    (0..SECTOR_ENTRIES).filter_map(|index| get(sector, index).map(|record| (index, record)))
}

/// The position of an entry in its sector, in bytes.
fn offset(index: u32) -> Option<usize> {
    if index >= SECTOR_ENTRIES {
        return None;
    }
    usize::try_from(index)
        .ok()?
        .checked_mul(ENTRY_BYTES)?
        .checked_add(ENTRIES_AT)
}
