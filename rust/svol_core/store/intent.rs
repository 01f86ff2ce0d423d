// SPDX-License-Identifier: GPL-2.0

//! The write-intent map of an owner that is written in place: the regions in which disk and store
//! may differ after a crash.
//!
//! A region is marked before its first write, and the mark is durable before that write begins. A
//! damaged sector of the map counts as if all its regions were marked.

use super::{
    layout::INTENT_SECTORS,
    sector::{
        body,
        open,
        seal, //
    },
    Sector,
    SectorError, //
};

/// The first bytes of a sector of the map.
const MAGIC: &[u8; 4] = b"dmI1";

/// Where the marks begin in a sector, in bytes.
const MARKS_AT: usize = 24;

/// The number of marks in a sector.
pub const SECTOR_REGIONS: u32 = 3904;

/// The maximum number of regions of an owner.
pub const MAX_REGIONS: u32 = 31_232;

/// The smallest region in sectors, as a shift: 1 MiB.
const MIN_SHIFT: u32 = 11;

/// The size of a region for a volume of `sectors`, in sectors, as a shift: the smallest size for
/// which the map has enough marks.
pub fn region_shift(sectors: u64) -> u32 {
    (MIN_SHIFT..u64::BITS)
        .find(|shift| regions(sectors, *shift).is_some())
        .unwrap_or(u64::BITS.saturating_sub(1))
}

/// The number of regions of `1 << shift` sectors in a volume of `sectors`; `None` if they are too
/// small or too many.
pub fn regions(sectors: u64, shift: u32) -> Option<u32> {
    if shift < MIN_SHIFT {
        return None;
    }
    let count = sectors.div_ceil(1u64.checked_shl(shift)?);
    u32::try_from(count)
        .ok()
        .filter(|count| *count <= MAX_REGIONS)
}

/// Where the mark of a region is: which sector of the owner's map, and which mark of it.
pub fn place(region: u32) -> (u16, u32) {
    let sector = u16::try_from(region / SECTOR_REGIONS).unwrap_or(u16::MAX);
    (sector, region % SECTOR_REGIONS)
}

/// Makes `sector` the sector `number` of the map of `owner`, without any mark, and seals it.
pub fn format(sector: &mut Sector, tag: u64, owner: u16, number: u16) {
    let mut fields = body(sector, MAGIC);
    // All this fits into a sector.
    let _ = fields.u64(tag);
    let _ = fields.u16(owner);
    let _ = fields.u16(number);
    fields.pad();
    seal_sector(sector);
}

/// Checks that this is the sector `number` of the map of `owner`, in the store `tag`.
///
/// # Errors
///
/// See [`SectorError`].
pub fn check(sector: &Sector, tag: u64, owner: u16, number: u16) -> Result<(), SectorError> {
    let mut fields = open(sector, MAGIC)?;
    let place = (fields.u64(), fields.u16(), fields.u16());
    if place != (Some(tag), Some(owner), Some(number)) || number >= INTENT_SECTORS {
        return Err(SectorError::Misplaced);
    }
    fields.zeros(4).ok_or(SectorError::Malformed)
}

/// Whether there is a mark; `mark` is below [`SECTOR_REGIONS`].
pub fn is_marked(sector: &Sector, mark: u32) -> bool {
    byte_of(mark)
        .and_then(|at| sector.get(at))
        .is_some_and(|byte| byte & bit_of(mark) != 0)
}

/// Sets or clears a mark; [`seal_sector`] has to follow. `mark` is below [`SECTOR_REGIONS`].
pub fn set_mark(sector: &mut Sector, mark: u32, marked: bool) {
    if let Some(byte) = byte_of(mark).and_then(|at| sector.get_mut(at)) {
        if marked {
            *byte |= bit_of(mark);
        } else {
            *byte &= !bit_of(mark);
        }
    }
}

/// Updates the checksum after changes.
pub fn seal_sector(sector: &mut Sector) {
    seal(sector, MAGIC);
}

fn byte_of(mark: u32) -> Option<usize> {
    usize::try_from(mark / u8::BITS).ok()?.checked_add(MARKS_AT)
}

fn bit_of(mark: u32) -> u8 {
    1u8.wrapping_shl(mark)
}
