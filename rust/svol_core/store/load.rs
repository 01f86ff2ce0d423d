// SPDX-License-Identifier: GPL-2.0

//! Reads a store: its owners, their marks and their blocks.

use super::{
    entries::{
        self,
        Record, //
    },
    intent,
    layout::{
        intent_offset,
        owner_offset,
        slot_of_entry,
        INTENT_BYTES,
        OWNER_TABLE_BYTES,
        SECTOR_ENTRIES,
        SEGMENT_ENTRY_BYTES,
        SEGMENT_ENTRY_SECTORS, //
    },
    CopyState,
    Header,
    Layout,
    Owner,
    OwnerRecord,
    PairError,
    Sector,
    SectorError,
    COPIES,
    OWNERS,
    SECTOR_BYTES, //
};
use crate::{
    env::{
        AllocError,
        Vec, //
    },
    svol_core::{
        block_map::{
            BlockMap,
            Entry, //
        },
        id::Id,
        intents::Intents,
        slots::Slots, //
    },
};
use core::fmt;

/// The device that a store is read from, and the callbacks of its reader.
pub trait Source {
    /// Why something can't be read.
    type Error: From<AllocError>;

    /// Fills a buffer from an offset of the device; both are multiples of 4096, in bytes.
    ///
    /// # Errors
    ///
    /// The range can't be read.
    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Self::Error>;

    /// Whether an error is one of the device: then another copy may be readable. Otherwise the
    /// error says nothing about the device.
    fn is_of_device(_error: &Self::Error) -> bool {
        true
    }

    /// Reports damage by which nothing is lost.
    fn note(&mut self, damage: &Damage);

    /// Reports progress: `segments` segments of entries out of `of` have been read.
    fn progress(&mut self, _segments: u32, _of: u32) {}
}

/// What is wrong with a store. The texts continue a line that begins with its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Damage {
    /// No copy of an owner's sector is usable.
    Owner {
        /// The number of the owner.
        number: u16,
        /// Why.
        error: PairError,
    },
    /// An owner does not have the length of the group.
    OwnerLength {
        /// The number of the owner.
        number: u16,
        /// Its length, in sectors.
        sectors: u64,
    },
    /// A copy of an owner's sector is not usable.
    OwnerCopy {
        /// Where it is, in bytes.
        offset: u64,
        /// What is found.
        state: CopyState,
    },
    /// A sector of a write-intent map is not usable: all its marks count as set.
    Intents {
        /// Where it is, in bytes.
        offset: u64,
        /// What is wrong with it.
        error: SectorError,
    },
    /// A sector of entries is lost.
    Entries {
        /// Where it is, in bytes.
        offset: u64,
        /// What is wrong with it.
        error: SectorError,
    },
    /// A sector of entries is not usable, but the device had no slots for them yet, so nothing is
    /// lost.
    NoEntries {
        /// Where it is, in bytes.
        offset: u64,
        /// What is wrong with it.
        error: SectorError,
    },
    /// An entry contradicts the others.
    Entry {
        /// Where its sector is, in bytes.
        offset: u64,
        /// The slot that it belongs to.
        slot: u32,
        /// What is wrong with it.
        error: EntryError,
    },
}

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EntryError {
    /// Nobody has the number of the owner.
    NoOwner,
    /// The owner has no such block.
    NoBlock,
    /// The block is in another slot as well.
    Twice,
    /// The device has no such slot.
    NoSlot,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner { number, error } => write!(f, "owner {number}: {error}"),
            Self::OwnerLength { number, sectors } => write!(
                f,
                "owner {number}: {sectors} sectors, which is not the length of the group"
            ),
            Self::OwnerCopy { offset, state } => {
                write!(f, "owner at byte {offset}: {state}; the other copy is used")
            }
            Self::Intents { offset, error } => {
                write!(
                    f,
                    "write intents at byte {offset}: {error}; taken as all set"
                )
            }
            Self::Entries { offset, error } => write!(f, "entries at byte {offset}: {error}"),
            Self::NoEntries { offset, error } => {
                write!(
                    f,
                    "entries at byte {offset}: {error}; of slots that the device did not have"
                )
            }
            Self::Entry {
                offset,
                slot,
                error,
            } => write!(f, "entries at byte {offset}: slot {slot}: {error}"),
        }
    }
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoOwner => "no such owner",
            Self::NoBlock => "no such block",
            Self::Twice => "a block that has another slot",
            Self::NoSlot => "no such slot",
        })
    }
}

/// Why a store can't be loaded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LoadError<E> {
    /// Something can't be read, or memory ran out.
    Source(E),
    /// Something is lost.
    Damage(Damage),
}

impl<E: From<AllocError>> From<AllocError> for LoadError<E> {
    fn from(error: AllocError) -> Self {
        Self::Source(error.into())
    }
}

/// What a store has of an owner number that is or was used, as read from its device.
pub struct StoredOwner {
    /// What the table says about it.
    pub record: OwnerRecord,
    /// The blocks of the owner; none if the number was released.
    pub map: Option<BlockMap>,
    /// The marks of an owner that is written in place.
    pub intents: Option<Intents>,
}

impl StoredOwner {
    /// Whether it is the owner of this LID.
    pub fn is(&self, lid: &Id) -> bool {
        self.record.owner.is_some_and(|owner| owner.lid == *lid)
    }
}

/// What a store holds.
pub struct Content {
    /// The slots that are taken, and those that may be taken.
    pub slots: Slots,
    /// The owners.
    pub owners: Vec<StoredOwner>,
    /// The numbers of owners with a copy that has to be rewritten before the next change. Some may
    /// never have been used.
    pub stale_owners: Vec<u16>,
    /// The numbers of owners whose marks have to be rewritten: some were not readable, so they
    /// count as set, but the device may have them otherwise.
    pub stale_marks: Vec<u16>,
    /// Sectors of entries that have to be rewritten, as free ones, before the header says that the
    /// device has slots for them; ascending.
    pub stale_entries: Vec<u32>,
}

impl Content {
    /// Reads all that a store holds. `layout` is that of the device, which may have grown.
    ///
    /// # Errors
    ///
    /// Those of the source; or something is lost, so the store must not be used.
    #[inline(never)]
    pub fn load<S: Source>(
        header: &Header,
        layout: &Layout,
        source: &mut S,
    ) -> Result<Self, LoadError<S::Error>> {
        let mut content = Self {
            slots: Slots::new(layout.slots())?,
            owners: Vec::new(),
            stale_owners: Vec::new(),
            stale_marks: Vec::new(),
            stale_entries: Vec::new(),
        };
        content.read_owners(header, layout, source)?;
        content.read_entries(header, layout, source)?;
        Ok(content)
    }

    /// Reads both copies of the owner table, and the marks of the owners.
    #[inline(never)]
    fn read_owners<S: Source>(
        &mut self,
        header: &Header,
        layout: &Layout,
        source: &mut S,
    ) -> Result<(), LoadError<S::Error>> {
        let mut tables = Vec::try_with_capacity(COPIES)?;
        for copy in 0..COPIES {
            tables.try_push(Table::read(copy, source)?)?;
        }
        for number in 1..OWNERS {
            let sector = |copy: usize| -> Option<&Sector> { tables.get(copy)?.sector(number) };
            let copies = [sector(0), sector(1)];
            if copies == [None; COPIES] {
                let error = tables.iter_mut().find_map(|table| table.error.take());
                return Err(error.map_or_else(|| AllocError.into(), LoadError::Source));
            }
            self.read_owner(header, layout, number, copies, source)?;
        }
        Ok(())
    }

    /// Takes one owner from the copies of its sector; `None` for one that can't be read.
    #[inline(never)]
    fn read_owner<S: Source>(
        &mut self,
        header: &Header,
        layout: &Layout,
        number: u16,
        copies: [Option<&Sector>; COPIES],
        source: &mut S,
    ) -> Result<(), LoadError<S::Error>> {
        let chosen = OwnerRecord::choose(copies, header.tag, number)
            .map_err(|error| LoadError::Damage(Damage::Owner { number, error }))?;
        if chosen.copies.iter().any(|state| state.wants_rewrite()) {
            self.stale_owners.try_push(number)?;
        }
        // Unreadable ones were reported already.
        let is_news = |state: &CopyState| {
            state.is_damage() && *state != CopyState::Damaged(SectorError::Unreadable)
        };
        for (copy, state) in (0..).zip(chosen.copies).filter(|(_, s)| is_news(s)) {
            let offset = owner_offset(copy, number);
            source.note(&Damage::OwnerCopy { offset, state });
        }
        let Some(record) = chosen.value else {
            return Ok(());
        };
        let (map, intents) = match &record.owner {
            Some(owner) if owner.sectors != header.sectors => {
                let sectors = owner.sectors;
                return Err(LoadError::Damage(Damage::OwnerLength { number, sectors }));
            }
            Some(owner) => {
                let (intents, is_whole) = read_intents(header.tag, number, owner, source)?;
                if !is_whole {
                    self.stale_marks.try_push(number)?;
                }
                let map = BlockMap::new(owner.sectors, layout.block_shift())?;
                (Some(map), intents)
            }
            None => (None, None),
        };
        self.owners.try_push(StoredOwner {
            record,
            map,
            intents,
        })?;
        Ok(())
    }

    /// Reads the entries of all segments, and puts them into the maps of their owners.
    #[inline(never)]
    fn read_entries<S: Source>(
        &mut self,
        header: &Header,
        layout: &Layout,
        source: &mut S,
    ) -> Result<(), LoadError<S::Error>> {
        let known = known_slots(header, layout);
        let mut buffer = Vec::try_zeroed(SEGMENT_ENTRY_BYTES)?;
        for segment in 0..header.segments {
            self.read_segment(header, layout, known, segment, &mut buffer, source)?;
            source.progress(segment.saturating_add(1), header.segments);
        }
        self.slots.set_limit(layout.slots_of(header.segments));
        Ok(())
    }

    /// Reads the entries of one segment. Those of slots behind the first `known` ones, which the
    /// device did not have until now, need be neither readable nor valid: then they are stale.
    #[inline(never)]
    fn read_segment<S: Source>(
        &mut self,
        header: &Header,
        layout: &Layout,
        known: u32,
        segment: u32,
        buffer: &mut [u8],
        source: &mut S,
    ) -> Result<(), LoadError<S::Error>> {
        let mask = entries::mask_of(header.block_sectors);
        let begin = layout.segment_offset(segment);
        let first = segment.saturating_mul(SEGMENT_ENTRY_SECTORS);
        let needed = bytes_of(known.saturating_sub(slot_of_entry(first, 0)));
        let mut is_whole = true;
        match source.read(begin, buffer) {
            Err(error) if S::is_of_device(&error) && needed < buffer.len() => {
                let needed = buffer.get_mut(..needed).unwrap_or(&mut []);
                source.read(begin, needed).map_err(LoadError::Source)?;
                is_whole = false;
            }
            other => other.map_err(LoadError::Source)?,
        }
        let mut at = 0;
        for (number, sector) in (first..).zip(buffer.chunks_exact(SECTOR_BYTES)) {
            let offset = layout.entry_offset(number);
            let is_read = is_whole || at < needed;
            // Once is enough.
            let is_news = is_read || at == needed;
            at = at.saturating_add(SECTOR_BYTES);
            let Some(sector) = sector.first_chunk() else {
                continue;
            };
            let checked = match is_read {
                true => entries::check(sector, header.tag, number, mask),
                false => Err(SectorError::Unreadable),
            };
            if let Err(error) = checked {
                if slot_of_entry(number, 0) < known {
                    return Err(LoadError::Damage(Damage::Entries { offset, error }));
                }
                if is_news {
                    source.note(&Damage::NoEntries { offset, error });
                }
                self.stale_entries.try_push(number)?;
                continue;
            }
            for (index, record) in entries::records(sector) {
                let slot = slot_of_entry(number, index);
                self.take_entry(slot, &record)?.map_err(|error| {
                    LoadError::Damage(Damage::Entry {
                        offset,
                        slot,
                        error,
                    })
                })?;
            }
        }
        Ok(())
    }

    /// Puts an entry into its owner's map; the inner error says why that is impossible.
    fn take_entry(
        &mut self,
        slot: u32,
        record: &Record,
    ) -> Result<Result<(), EntryError>, AllocError> {
        let owner = self
            .owners
            .iter()
            .find(|stored| stored.record.number == record.owner);
        let Some(map) = owner.and_then(|stored| stored.map.as_ref()) else {
            return Ok(Err(EntryError::NoOwner));
        };
        if record.bid >= map.blocks() {
            return Ok(Err(EntryError::NoBlock));
        }
        if map.get(record.bid).slot().is_some() {
            return Ok(Err(EntryError::Twice));
        }
        if !self.slots.mark_taken(slot) {
            return Ok(Err(EntryError::NoSlot));
        }
        let entry = Entry::with_slot(slot)
            .with_data(record.data)
            .with_zero(record.zero);
        map.load(record.bid, entry)?;
        Ok(Ok(()))
    }
}

/// The number of slots that may be in use: those of the device as it was when the header was
/// written.
fn known_slots(header: &Header, layout: &Layout) -> u32 {
    match Layout::new(header.block_sectors, header.used_sectors) {
        Ok(before) => before.slots().min(layout.slots()),
        Err(_) => layout.slots(),
    }
}

/// How many bytes the entries of the first `slots` slots of a segment take, in whole units of 4096.
fn bytes_of(slots: u32) -> usize {
    let sectors = slots.div_ceil(SECTOR_ENTRIES).min(SEGMENT_ENTRY_SECTORS);
    let sectors = usize::try_from(sectors).unwrap_or(usize::MAX);
    let bytes = sectors.saturating_mul(SECTOR_BYTES);
    bytes
        .checked_next_multiple_of(UNIT_BYTES)
        .unwrap_or(SEGMENT_ENTRY_BYTES)
}

/// A copy of the owner table.
struct Table<E> {
    sectors: Vec<u8>,
    /// A bit for each unit that can't be read.
    lost: u64,
    /// The error of the last such unit.
    error: Option<E>,
}

/// The unit in which parts are read that can't be read as a whole, in bytes.
const UNIT_BYTES: usize = 4096;

impl<E> Table<E> {
    /// Reads as much of a copy as possible.
    #[inline(never)]
    fn read<S: Source<Error = E>>(copy: usize, source: &mut S) -> Result<Self, LoadError<E>>
    where
        E: From<AllocError>,
    {
        let mut table = Self {
            sectors: Vec::try_zeroed(OWNER_TABLE_BYTES)?,
            lost: 0,
            error: None,
        };
        let begin = owner_offset(copy, 0);
        match source.read(begin, &mut table.sectors) {
            Err(error) if S::is_of_device(&error) => (),
            other => return other.map(|()| table).map_err(LoadError::Source),
        }
        let mut offset = begin;
        for (unit, bytes) in (0u32..).zip(table.sectors.chunks_exact_mut(UNIT_BYTES)) {
            match source.read(offset, bytes) {
                Err(error) if S::is_of_device(&error) => {
                    table.lost |= 1u64.wrapping_shl(unit);
                    table.error = Some(error);
                    let state = CopyState::Damaged(SectorError::Unreadable);
                    source.note(&Damage::OwnerCopy { offset, state });
                }
                other => other.map_err(LoadError::Source)?,
            }
            offset = offset.saturating_add(bytes.len().try_into().unwrap_or(u64::MAX));
        }
        Ok(table)
    }

    /// The sector of an owner, if it can be read.
    fn sector(&self, number: u16) -> Option<&Sector> {
        let at = usize::from(number).checked_mul(SECTOR_BYTES)?;
        let unit = u32::try_from(at.checked_div(UNIT_BYTES)?).ok()?;
        match self.lost.checked_shr(unit)? & 1 {
            0 => self.sectors.get(at..)?.first_chunk(),
            _ => None,
        }
    }
}

// A bit for each unit.
const _: () = assert!(OWNER_TABLE_BYTES <= UNIT_BYTES * 64);

/// Reads the marks of an owner; returns them, and whether all were readable. A damaged sector marks
/// all its regions.
#[inline(never)]
fn read_intents<S: Source>(
    tag: u64,
    number: u16,
    owner: &Owner,
    source: &mut S,
) -> Result<(Option<Intents>, bool), LoadError<S::Error>> {
    let Some(shift) = owner.region_shift else {
        return Ok((None, true));
    };
    let mut is_whole = true;
    let intents = Intents::new(owner.regions(), shift)?;
    let mut buffer = Vec::try_zeroed(INTENT_BYTES)?;
    let offset = intent_offset(number, 0);
    let is_read = match source.read(offset, &mut buffer) {
        Err(error) if S::is_of_device(&error) => {
            let error = SectorError::Unreadable;
            source.note(&Damage::Intents { offset, error });
            false
        }
        other => other.map(|()| true).map_err(LoadError::Source)?,
    };
    for (index, sector) in (0u16..).zip(buffer.chunks_exact(SECTOR_BYTES)) {
        let Some(sector) = sector.first_chunk() else {
            continue;
        };
        let checked = match is_read {
            true => intent::check(sector, tag, number, index),
            false => Err(SectorError::Unreadable),
        };
        is_whole &= checked.is_ok();
        if let (true, Err(error)) = (is_read, checked) {
            let offset = intent_offset(number, index);
            source.note(&Damage::Intents { offset, error });
        }
        let first = u32::from(index).saturating_mul(intent::SECTOR_REGIONS);
        let behind = first
            .saturating_add(intent::SECTOR_REGIONS)
            .min(intents.regions());
        for region in first..behind {
            let (_, mark) = intent::place(region);
            if checked.is_err() || intent::is_marked(sector, mark) {
                intents.mark(region);
            }
        }
    }
    Ok((Some(intents), is_whole))
}
