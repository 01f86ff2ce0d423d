// SPDX-License-Identifier: GPL-2.0

//! Where everything is on the device of a store.
//!
//! An *offset* is a position in bytes, a *sector* is one in sectors of 512 bytes.

use super::{
    COPIES,
    OWNERS,
    SECTOR_BYTES, //
};
use crate::svol_core::{
    block_map::MAX_SLOTS,
    table_line::{
        MAX_BLOCK_SECTORS,
        MIN_BLOCK_SECTORS, //
    }, //
};
use core::fmt;

/// The sectors before the data area: 2 MiB. They are zero on a blank device.
pub const DATA_SECTOR: u64 = 4096;

/// The sectors with entries at the beginning of a segment.
pub const SEGMENT_ENTRY_SECTORS: u32 = 128;

/// The slots of a segment; the last segment may have fewer.
pub const SEGMENT_SLOTS: u32 = 4096;

/// The entries of a sector.
pub const SECTOR_ENTRIES: u32 = 32;

/// The sectors of an owner in the write-intent map.
pub const INTENT_SECTORS: u16 = 8;

/// The minimum number of slots of a store.
const MIN_SLOTS: u64 = 16;

const SEGMENT_SHIFT: u32 = SEGMENT_SLOTS.trailing_zeros();
const ENTRY_SHIFT: u32 = SECTOR_ENTRIES.trailing_zeros();

const SECTOR: u64 = 512;
const HEADER_DISTANCE: u64 = 4096;
const OWNERS_OFFSET: u64 = 64 << 10;
const OWNERS_DISTANCE: u64 = 128 << 10;
const INTENT_OFFSET: u64 = 512 << 10;
const INTENT_DISTANCE: u64 = 4096;

/// The length of the owner table, in bytes.
pub const OWNER_TABLE_BYTES: usize = 256 * SECTOR_BYTES;

/// The length of the write-intent map of one owner, in bytes.
pub const INTENT_BYTES: usize = 8 * SECTOR_BYTES;

/// The length of the entries of one segment, in bytes.
pub const SEGMENT_ENTRY_BYTES: usize = 128 * SECTOR_BYTES;

/// The offset of a copy of the header; `copy` is 0 or 1.
pub fn header_offset(copy: usize) -> u64 {
    if copy == 0 {
        0
    } else {
        HEADER_DISTANCE
    }
}

/// The offset of the sector of owner `number` in a copy of the owner table; of the table itself
/// for number 0. `copy` is 0 or 1, `number` below [`OWNERS`].
pub fn owner_offset(copy: usize, number: u16) -> u64 {
    let table = if copy == 0 { 0 } else { OWNERS_DISTANCE };
    OWNERS_OFFSET
        .saturating_add(table)
        .saturating_add(u64::from(number).saturating_mul(SECTOR))
}

/// The offset of a sector of an owner's write-intent map; of the map itself for sector 0.
/// `number` is below [`OWNERS`], `sector` below [`INTENT_SECTORS`].
pub fn intent_offset(number: u16, sector: u16) -> u64 {
    INTENT_OFFSET
        .saturating_add(u64::from(number).saturating_mul(INTENT_DISTANCE))
        .saturating_add(u64::from(sector).saturating_mul(SECTOR))
}

/// The length of the smallest device for a store with blocks of `block_sectors`, in sectors.
pub fn min_device_sectors(block_sectors: u32) -> u64 {
    DATA_SECTOR
        .saturating_add(u64::from(SEGMENT_ENTRY_SECTORS))
        .saturating_add(u64::from(block_sectors).saturating_mul(MIN_SLOTS))
}

/// The number of the sector with the entry of a slot, counted across all segments.
pub fn entry_sector_of(slot: u32) -> u32 {
    slot >> ENTRY_SHIFT
}

/// The place of the entry of a slot within its sector, below [`SECTOR_ENTRIES`].
pub fn entry_index_of(slot: u32) -> u32 {
    slot % SECTOR_ENTRIES
}

/// The slot of an entry: the reverse of [`entry_sector_of`] and [`entry_index_of`].
pub fn slot_of_entry(entry_sector: u32, index: u32) -> u32 {
    entry_sector
        .saturating_mul(SECTOR_ENTRIES)
        .saturating_add(index)
}

/// The segment of a slot.
pub fn segment_of(slot: u32) -> u32 {
    slot >> SEGMENT_SHIFT
}

/// The positions of everything in a store, for a device of a given size.
///
/// A device that grows gets more slots; existing ones stay where they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Layout {
    /// The size of a block in sectors, as a shift.
    block_shift: u32,
    slots: u32,
}

/// Why there can be no store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LayoutError {
    /// The size of a block is not a power of two from 8 to 128 sectors.
    BlockSize,
    /// The device has less than this many sectors.
    TooSmall(u64),
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlockSize => f.write_str("block size is no power of two from 8 to 128 sectors"),
            Self::TooSmall(sectors) => {
                write!(
                    f,
                    "device is too small for a store: it takes {sectors} sectors"
                )
            }
        }
    }
}

impl Layout {
    /// A store with blocks of `block_sectors` on a device of `device_sectors`.
    ///
    /// # Errors
    ///
    /// See [`LayoutError`].
    pub fn new(block_sectors: u32, device_sectors: u64) -> Result<Self, LayoutError> {
        if !block_sectors.is_power_of_two()
            || !(MIN_BLOCK_SECTORS..=MAX_BLOCK_SECTORS).contains(&block_sectors)
        {
            return Err(LayoutError::BlockSize);
        }
        let min = min_device_sectors(block_sectors);
        if device_sectors < min {
            return Err(LayoutError::TooSmall(min));
        }
        let block = u64::from(block_sectors);
        let entries = u64::from(SEGMENT_ENTRY_SECTORS);
        let segment = block
            .saturating_mul(u64::from(SEGMENT_SLOTS))
            .saturating_add(entries);
        let data = device_sectors.saturating_sub(DATA_SECTOR);
        // Neither divisor is zero.
        let whole = data.checked_div(segment).unwrap_or(0);
        let rest = data
            .checked_rem(segment)
            .unwrap_or(0)
            .saturating_sub(entries)
            .checked_div(block)
            .unwrap_or(0);
        let slots = whole
            .saturating_mul(u64::from(SEGMENT_SLOTS))
            .saturating_add(rest);
        Ok(Self {
            block_shift: block_sectors.trailing_zeros(),
            slots: u32::try_from(slots).unwrap_or(u32::MAX).min(MAX_SLOTS),
        })
    }

    /// The size of a block in sectors, as a shift.
    pub fn block_shift(&self) -> u32 {
        self.block_shift
    }

    /// The size of a block, in sectors.
    pub fn block_sectors(&self) -> u32 {
        // At most 128, see `new`.
        1u32.wrapping_shl(self.block_shift)
    }

    /// The number of slots.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// The number of segments.
    pub fn segments(&self) -> u32 {
        self.slots.div_ceil(SEGMENT_SLOTS)
    }

    /// The number of slots of the first `segments` segments.
    pub fn slots_of(&self, segments: u32) -> u32 {
        segments.saturating_mul(SEGMENT_SLOTS).min(self.slots)
    }

    /// The number of sectors that the store can use: up to the end of its last slot.
    pub fn used_sectors(&self) -> u64 {
        // There is a slot: the device is not too small.
        self.slot_sector(self.slots.saturating_sub(1))
            .saturating_add(u64::from(self.block_sectors()))
    }

    /// The first sector of a slot. For a slot that the store does not have, it is somewhere after
    /// the end. Cheap enough to call for each I/O.
    pub fn slot_sector(&self, slot: u32) -> u64 {
        // The entries of this segment and of those before it, then all the slots before this one.
        // None of this comes near an overflow: slots have 32 bits, and the shift is at most 7.
        let entries = u64::from(segment_of(slot))
            .wrapping_add(1)
            .wrapping_mul(u64::from(SEGMENT_ENTRY_SECTORS));
        u64::from(slot)
            .wrapping_shl(self.block_shift)
            .wrapping_add(entries)
            .wrapping_add(DATA_SECTOR)
    }

    /// The offset of a segment, which begins with its entries.
    pub fn segment_offset(&self, segment: u32) -> u64 {
        let entries = u64::from(SEGMENT_ENTRY_SECTORS);
        let slots = u64::from(SEGMENT_SLOTS).saturating_mul(u64::from(self.block_sectors()));
        u64::from(segment)
            .saturating_mul(slots.saturating_add(entries))
            .saturating_add(DATA_SECTOR)
            .saturating_mul(SECTOR)
    }

    /// The offset of the sector `entry_sector` of entries; see [`entry_sector_of`].
    pub fn entry_offset(&self, entry_sector: u32) -> u64 {
        let within = u64::from(entry_sector % SEGMENT_ENTRY_SECTORS);
        self.segment_offset(entry_sector / SEGMENT_ENTRY_SECTORS)
            .saturating_add(within.saturating_mul(SECTOR))
    }
}

// The literal numbers above have to match these constants.
const _: () = assert!(COPIES == 2 && OWNERS == 256 && INTENT_SECTORS == 8);
