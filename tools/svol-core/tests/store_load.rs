// SPDX-License-Identifier: GPL-2.0

//! Stores that are read from devices with bad sectors: what has a second copy, or can be done
//! without, is no reason to refuse them.

mod common;

use common::id;
use svol_core::{
    env::AllocError,
    svol_core::store::{
        entries, intent, layout, Content, Damage, Header, Layout, LoadError, Owner, OwnerRecord,
        Phase, Sector, Source, SECTOR_BYTES,
    },
};

const TAG: u64 = 77;
const BLOCK: u32 = 8;
const UNIT: u64 = 4096;
/// Of volumes: three regions.
const SECTORS: u64 = 3 << 11;

#[derive(Debug, PartialEq)]
enum Error {
    Memory,
    Device,
}

impl From<AllocError> for Error {
    fn from(_: AllocError) -> Self {
        Self::Memory
    }
}

/// A device in memory; some units of it can't be read.
struct Device {
    bytes: Vec<u8>,
    bad: Vec<u64>,
    /// What a read of those gives.
    error: fn() -> Error,
    notes: Vec<Damage>,
}

impl Source for Device {
    type Error = Error;

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let range = offset..offset + buffer.len() as u64;
        if self.bad.iter().any(|bad| range.contains(bad)) {
            return Err((self.error)());
        }
        buffer.copy_from_slice(&self.bytes[range.start as usize..range.end as usize]);
        Ok(())
    }

    fn is_of_device(error: &Error) -> bool {
        *error == Error::Device
    }

    fn note(&mut self, damage: &Damage) {
        self.notes.push(*damage);
    }
}

fn layout() -> Layout {
    Layout::new(BLOCK, layout::min_device_sectors(BLOCK)).unwrap()
}

fn header() -> Header {
    Header {
        tag: TAG,
        uuid: [1; 16],
        group: id("G0"),
        lid: id("D0"),
        sequence: 1,
        events: 1,
        base_generation: 1,
        sectors: SECTORS,
        block_sectors: BLOCK,
        used_sectors: layout().used_sectors(),
        segments: 1,
        phase: Phase::Active,
    }
}

impl Device {
    /// One that is whole, with the owners 1 to 9, which are in two units of the table. None has
    /// marks.
    fn new() -> Self {
        let mut device = Self {
            bytes: vec![0; layout().used_sectors() as usize * SECTOR_BYTES],
            bad: Vec::new(),
            error: || Error::Device,
            notes: Vec::new(),
        };
        for number in 1..10 {
            device.put_owner(number, SECTORS);
            for index in 0..layout::INTENT_SECTORS {
                let sector = device.sector(layout::intent_offset(number, index));
                intent::format(sector, TAG, number, index);
            }
        }
        for number in 0..layout::SEGMENT_ENTRY_SECTORS {
            let sector = device.sector(layout().entry_offset(number));
            entries::format(sector, TAG, number);
        }
        device
    }

    fn put_owner(&mut self, number: u16, sectors: u64) {
        let record = OwnerRecord {
            number,
            sequence: 5,
            owner: Some(Owner {
                lid: id(&format!("V{number}")),
                base_generation: 1,
                sectors,
                removing: false,
                region_shift: Some(11),
            }),
        };
        for copy in 0..2 {
            let sector = self.sector(layout::owner_offset(copy, number));
            assert!(record.encode(TAG, sector));
        }
    }

    fn sector(&mut self, offset: u64) -> &mut Sector {
        self.bytes[offset as usize..].first_chunk_mut().unwrap()
    }

    fn load(&mut self) -> Result<Content, LoadError<Error>> {
        self.load_as(&layout())
    }

    fn load_as(&mut self, layout: &Layout) -> Result<Content, LoadError<Error>> {
        Content::load(&header(), layout, self)
    }
}

fn refused(result: Result<Content, LoadError<Error>>) -> LoadError<Error> {
    result.err().expect("it is not to be used")
}

#[test]
fn what_is_whole_is_read() {
    let mut device = Device::new();
    let content = device.load().unwrap();
    assert_eq!(content.owners.len(), 9);
    assert!(content.stale_owners.is_empty() && content.stale_marks.is_empty());
    assert!(device.notes.is_empty());
}

#[test]
fn the_other_copy_of_the_owners_counts() {
    for copy in 0..2 {
        for (unit, stale) in [(0, 1..8), (1, 8..16), (31, 248..256)] {
            let mut device = Device::new();
            device.bad = vec![layout::owner_offset(copy, 0) + unit * UNIT];
            let content = device.load().unwrap();
            assert_eq!(content.owners.len(), 9);
            assert!(content.stale_owners.iter().copied().eq(stale));
            let offset = device.bad[0];
            assert!(
                matches!(device.notes[..], [Damage::OwnerCopy { offset: at, .. }] if at == offset)
            );
        }
    }
}

/// Nobody has the number, and it is not worth more than a line, and a write.
#[test]
fn damage_to_a_copy_of_an_owner_that_never_was() {
    for copy in 0..2 {
        let mut device = Device::new();
        let offset = layout::owner_offset(copy, 100);
        device.sector(offset)[40] ^= 1;
        let content = device.load().unwrap();
        assert_eq!(content.owners.len(), 9);
        assert_eq!(content.stale_owners[..], [100]);
        assert!(matches!(device.notes[..], [Damage::OwnerCopy { offset: at, .. }] if at == offset));
        // With the other one damaged, too, it may have been anybody's.
        device.sector(layout::owner_offset(1 - copy, 100))[40] ^= 1;
        assert!(matches!(
            refused(device.load()),
            LoadError::Damage(Damage::Owner { number: 100, .. })
        ));
    }
}

#[test]
fn bad_sectors_of_both_copies() {
    let mut device = Device::new();
    let unit = |copy, unit: u64| layout::owner_offset(copy, 0) + unit * UNIT;
    device.bad = vec![unit(0, 0), unit(1, 1), unit(1, 7)];
    assert_eq!(device.load().unwrap().owners.len(), 9);
    device.bad.push(unit(0, 7));
    assert_eq!(refused(device.load()), LoadError::Source(Error::Device));
}

/// Writes beyond the end of a map could never be done, and a map may be far too large for memory.
#[test]
fn owners_are_as_long_as_the_group() {
    for sectors in [SECTORS - 1, SECTORS + 1] {
        let mut device = Device::new();
        device.put_owner(4, sectors);
        assert_eq!(
            refused(device.load()),
            LoadError::Damage(Damage::OwnerLength { number: 4, sectors })
        );
    }
}

#[test]
fn marks_that_cannot_be_read_are_all_set() {
    let mut device = Device::new();
    device.bad = vec![layout::intent_offset(3, 0)];
    let content = device.load().unwrap();
    for owner in content.owners.iter() {
        let intents = owner.intents.as_ref().unwrap();
        let expected = if owner.record.number == 3 { 3 } else { 0 };
        assert_eq!(intents.marked().count(), expected);
    }
    assert_eq!(content.stale_marks[..], [3]);
    assert!(matches!(device.notes[..], [Damage::Intents { .. }]));
}

#[test]
fn memory_that_runs_out_says_nothing_of_the_device() {
    for bad in [layout::owner_offset(0, 0), layout::intent_offset(3, 0)] {
        let mut device = Device::new();
        device.bad = vec![bad];
        device.error = || Error::Memory;
        assert_eq!(refused(device.load()), LoadError::Source(Error::Memory));
        assert!(device.notes.is_empty());
    }
}

#[test]
fn damage_behind_the_last_slot_is_none() {
    // There are 16 slots: all their entries are in the first sector.
    for (number, is_lost) in [(0, true), (1, false), (127, false)] {
        // The device may have grown since.
        for layout in [layout(), Layout::new(BLOCK, 1 << 16).unwrap()] {
            let mut device = Device::new();
            let offset = layout.entry_offset(number);
            device.sector(offset)[100] ^= 1;
            match is_lost {
                true => assert!(matches!(
                    refused(device.load_as(&layout)),
                    LoadError::Damage(Damage::Entries { offset: at, .. }) if at == offset
                )),
                false => {
                    let content = device.load_as(&layout).unwrap();
                    assert_eq!(content.owners.len(), 9);
                    assert_eq!(content.stale_entries[..], [number]);
                    assert!(matches!(device.notes[..], [Damage::NoEntries { .. }]));
                }
            }
        }
    }
}

#[test]
fn entries_behind_the_last_slot_need_not_be_readable() {
    // A unit has eight sectors.
    for (number, is_lost) in [(0, true), (7, true), (8, false), (127, false)] {
        let mut device = Device::new();
        device.bad = vec![layout().entry_offset(number)];
        match is_lost {
            true => assert_eq!(refused(device.load()), LoadError::Source(Error::Device)),
            false => {
                let content = device.load().unwrap();
                assert_eq!(content.owners.len(), 9);
                // Nobody looks which of them can be read.
                assert!(content.stale_entries.iter().copied().eq(8..128));
                assert!(matches!(device.notes[..], [Damage::NoEntries { .. }]));
            }
        }
        device.error = || Error::Memory;
        assert_eq!(refused(device.load()), LoadError::Source(Error::Memory));
    }
}
