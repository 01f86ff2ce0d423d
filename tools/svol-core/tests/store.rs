// SPDX-License-Identifier: GPL-2.0

//! Increments stores on disk: what is written is read back, nothing else is, and nothing lies on
//! top of anything else.

mod common;

use common::any_id;
use proptest::prelude::*;
use svol_core::svol_core::store::{
    entries::{self, Record},
    intent,
    layout::{self, DATA_SECTOR, INTENT_SECTORS, SECTOR_ENTRIES, SEGMENT_SLOTS},
    CopyState, Header, Layout, Owner, OwnerRecord, PairError, Phase, Probe, Sector, SectorError,
    OWNERS, SECTOR_BYTES,
};

fn any_layout() -> impl Strategy<Value = (u32, u64)> {
    (3u32..8, 0u64..4 << 20, any::<bool>()).prop_map(|(shift, more, huge)| {
        let block = 1 << shift;
        let more = if huge { more << 16 } else { more };
        (block, layout::min_device_sectors(block) + more)
    })
}

fn any_header() -> impl Strategy<Value = Header> {
    (
        (1..u64::MAX, any::<[u8; 16]>(), any_id(), any_id()),
        (1..u64::MAX, any::<[u64; 2]>(), 1..u64::MAX),
        any_layout(),
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(
            |(
                (tag, uuid, group, lid),
                (sequence, [events, base_generation], sectors),
                (block_sectors, device),
                segments,
                active,
            )| {
                let layout = Layout::new(block_sectors, device).unwrap();
                let segments = 1 + segments.index(layout.segments() as usize) as u32;
                Header {
                    tag,
                    uuid,
                    group,
                    lid,
                    sequence,
                    events,
                    base_generation,
                    sectors,
                    block_sectors,
                    used_sectors: layout.used_sectors(),
                    segments,
                    phase: if active {
                        Phase::Active
                    } else {
                        Phase::Formatting
                    },
                }
            },
        )
}

fn any_owner() -> impl Strategy<Value = OwnerRecord> {
    let owner = (
        any_id(),
        any::<u64>(),
        1..u64::MAX,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(lid, base_generation, sectors, removing, in_place)| Owner {
                lid,
                base_generation,
                sectors,
                removing,
                region_shift: in_place.then(|| intent::region_shift(sectors)),
            },
        );
    (1..OWNERS, 1..u64::MAX, prop::option::of(owner)).prop_map(|(number, sequence, owner)| {
        OwnerRecord {
            number,
            sequence,
            owner,
        }
    })
}

fn any_record() -> impl Strategy<Value = Record> {
    (
        1..OWNERS,
        0..entries::MAX_BLOCKS,
        any::<u16>(),
        any::<u16>(),
    )
        .prop_filter_map("free", |(owner, bid, data, zero)| {
            let zero = zero & !data;
            (data | zero != 0).then_some(Record {
                owner,
                bid,
                data,
                zero,
            })
        })
}

type Slots = Vec<Option<Record>>;

fn any_slots() -> impl Strategy<Value = Slots> {
    prop::collection::vec(prop::option::of(any_record()), SECTOR_ENTRIES as usize)
}

fn entry_sector(tag: u64, number: u32, slots: &Slots) -> Sector {
    let mut sector = [0xee; SECTOR_BYTES];
    entries::format(&mut sector, tag, number);
    for (index, record) in (0..).zip(slots) {
        assert!(entries::set(&mut sector, index, record.as_ref()));
    }
    entries::seal_sector(&mut sector, 77);
    sector
}

/// Any sector that some reader takes for its own, with that reader.
type Check = fn(&Sector, u64) -> Result<(), SectorError>;

fn any_sector() -> impl Strategy<Value = (Sector, u64, Check)> {
    let header = any_header().prop_map(|header| {
        let mut sector = [0xee; SECTOR_BYTES];
        assert!(header.encode(1, &mut sector));
        let check: Check = |sector, _| Header::decode(sector, 1).map(|_| ());
        (sector, 0, check)
    });
    let owner = (any_owner(), any::<u64>()).prop_map(|(mut record, tag)| {
        record.number = 3;
        let mut sector = [0xee; SECTOR_BYTES];
        assert!(record.encode(tag, &mut sector));
        let check: Check = |sector, tag| OwnerRecord::decode(sector, tag, 3).map(|_| ());
        (sector, tag, check)
    });
    let slots = (any::<u64>(), any_slots()).prop_map(|(tag, slots)| {
        let check: Check = |sector, tag| entries::check(sector, tag, 9, 0xffff);
        (entry_sector(tag, 9, &slots), tag, check)
    });
    let marks = (
        any::<u64>(),
        prop::collection::vec(0..intent::SECTOR_REGIONS, 0..50),
    )
        .prop_map(|(tag, marks)| {
            let mut sector = [0xee; SECTOR_BYTES];
            intent::format(&mut sector, tag, 3, 4);
            for mark in marks {
                intent::set_mark(&mut sector, mark, true);
            }
            intent::seal_sector(&mut sector);
            let check: Check = |sector, tag| intent::check(sector, tag, 3, 4);
            (sector, tag, check)
        });
    prop_oneof![header, owner, slots, marks]
}

proptest! {
    #[test]
    fn headers_go_round(header in any_header(), copy in 0..2usize) {
        let mut sector = [0xee; SECTOR_BYTES];
        prop_assert!(header.encode(copy, &mut sector));
        prop_assert_eq!(Header::decode(&sector, copy), Ok(header));
        prop_assert_eq!(Header::decode(&sector, 1 - copy), Err(SectorError::Misplaced));
    }

    #[test]
    fn owners_go_round(record in any_owner(), tag in any::<u64>()) {
        let mut sector = [0xee; SECTOR_BYTES];
        prop_assert!(record.encode(tag, &mut sector));
        prop_assert_eq!(OwnerRecord::decode(&sector, tag, record.number), Ok(record));
    }

    #[test]
    fn entries_go_round(
        tag in any::<u64>(),
        number in any::<u32>(),
        slots in any_slots(),
        change in (0..SECTOR_ENTRIES, prop::option::of(any_record())),
    ) {
        let mut sector = entry_sector(tag, number, &slots);
        prop_assert_eq!(entries::check(&sector, tag, number, 0xffff), Ok(()));
        for (index, record) in (0..).zip(&slots) {
            prop_assert_eq!(entries::get(&sector, index), *record);
        }
        // A change in place gives what writing it all anew gives.
        let (index, record) = change;
        prop_assert!(entries::set(&mut sector, index, record.as_ref()));
        entries::seal_sector(&mut sector, 77);
        let mut slots = slots;
        slots[index as usize] = record;
        prop_assert_eq!(sector, entry_sector(tag, number, &slots));
    }

    #[test]
    fn marks_go_round(marks in prop::collection::btree_set(0..intent::MAX_REGIONS, 0..100)) {
        let mut sectors = [[0xee; SECTOR_BYTES]; INTENT_SECTORS as usize];
        for (number, sector) in (0..).zip(&mut sectors) {
            intent::format(sector, 1, 2, number);
        }
        for region in &marks {
            let (sector, mark) = intent::place(*region);
            intent::set_mark(&mut sectors[usize::from(sector)], mark, true);
        }
        for region in 0..intent::MAX_REGIONS {
            let (sector, mark) = intent::place(region);
            prop_assert_eq!(
                intent::is_marked(&sectors[usize::from(sector)], mark),
                marks.contains(&region)
            );
        }
    }

    /// CRC-32C finds every error of up to 32 bits in a row; a sector of zeros is none of ours.
    #[test]
    fn damage_is_seen(
        (sector, tag, check) in any_sector(),
        at in 0..SECTOR_BYTES,
        flip in 1..=255u8,
    ) {
        prop_assert_eq!(check(&sector, tag), Ok(()));
        let mut flipped = sector;
        flipped[at] ^= flip;
        prop_assert!(matches!(
            check(&flipped, tag),
            Err(SectorError::Magic | SectorError::Checksum)
        ));
        prop_assert_eq!(check(&[0; SECTOR_BYTES], tag), Err(SectorError::Blank));
    }

    /// What is whole but elsewhere is not taken.
    #[test]
    fn strangers_are_seen((sector, tag, check) in any_sector(), other in any::<u64>()) {
        prop_assume!(tag != other && tag != 0);
        prop_assert_eq!(check(&sector, other), Err(SectorError::Misplaced));
    }

    /// A right checksum over any content gives an error or something within bounds.
    #[test]
    fn content_may_be_anything(
        (sector, tag, check) in any_sector(),
        changes in prop::collection::vec((12..SECTOR_BYTES, any::<u8>()), 1..8),
        mask in any::<u16>(),
    ) {
        let mut sector = sector;
        for (at, value) in changes {
            sector[at] = value;
        }
        let magic = if sector.starts_with(b"dm-svol") { 8 } else { 4 };
        sector[magic..magic + 4].fill(0);
        let sum = !svol_core::env::crc32c(!0, &sector);
        sector[magic..magic + 4].copy_from_slice(&sum.to_le_bytes());
        let _ = check(&sector, tag);

        for copy in 0..3 {
            if let Ok(header) = Header::decode(&sector, copy) {
                prop_assert!(header.encode(copy, &mut [0; SECTOR_BYTES]));
            }
        }
        if let Ok(record) = OwnerRecord::decode(&sector, tag, 3) {
            prop_assert!(record.encode(tag, &mut [0; SECTOR_BYTES]));
            if let Some(owner) = record.owner {
                prop_assert!(owner.regions() <= intent::MAX_REGIONS);
            }
        }
        if entries::check(&sector, tag, 9, mask).is_ok() {
            for (index, record) in entries::records(&sector) {
                prop_assert!(index < SECTOR_ENTRIES && record.bid < entries::MAX_BLOCKS);
                prop_assert!((1..OWNERS).contains(&record.owner));
                prop_assert!(record.data & record.zero == 0);
                prop_assert!(record.data | record.zero != 0);
                prop_assert!((record.data | record.zero) & !mask == 0);
            }
        }
    }

    #[test]
    fn noise_is_nothing(
        noise in prop::collection::vec(any::<u8>(), SECTOR_BYTES),
        number in any::<u32>(),
    ) {
        let sector: Sector = noise.try_into().unwrap();
        prop_assert_eq!(Header::decode(&sector, 0), Err(SectorError::Magic));
        prop_assert_eq!(OwnerRecord::decode(&sector, 1, 1), Err(SectorError::Magic));
        prop_assert_eq!(entries::check(&sector, 1, number, 1), Err(SectorError::Magic));
        prop_assert_eq!(intent::check(&sector, 1, 1, 1), Err(SectorError::Magic));
        // Nobody should ask, but if so:
        let _ = entries::get(&sector, number);
        let _ = intent::is_marked(&sector, number);
        let mut sector = sector;
        intent::set_mark(&mut sector, number, true);
        let _ = entries::set(&mut sector, number, None);
    }

    /// Slots and entries lie apart, within the device, behind the other metadata.
    #[test]
    fn nothing_overlaps(
        (block, device) in any_layout(),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..20),
    ) {
        let layout = Layout::new(block, device).unwrap();
        let block = u64::from(block);
        prop_assert!(layout.used_sectors() <= device);
        prop_assert_eq!(Layout::new(layout.block_sectors(), layout.used_sectors()), Ok(layout));
        let count = layout.slots() as usize;
        let near = [0, 4095, 4096, 4097, 8191, 8192, count - 1].map(|slot| slot.min(count - 1));
        let mut slots: Vec<_> = picks.iter().map(|pick| pick.index(count)).chain(near).collect();
        slots.sort_unstable();
        slots.dedup();
        for pair in slots.windows(2) {
            let (a, b) = (pair[0] as u32, pair[1] as u32);
            prop_assert!(layout.slot_sector(a) + block <= layout.slot_sector(b));
            if a / SEGMENT_SLOTS != b / SEGMENT_SLOTS {
                // The later segment's entries lie between.
                let entries = layout.segment_offset(b / SEGMENT_SLOTS) / 512;
                prop_assert!(layout.slot_sector(a) + block <= entries);
                prop_assert!(entries + 128 <= layout.slot_sector(b));
            }
        }
        for slot in slots {
            let slot = slot as u32;
            let (sector, index) = (layout::entry_sector_of(slot), layout::entry_index_of(slot));
            prop_assert_eq!(layout::slot_of_entry(sector, index), slot);
            let segment = layout.segment_offset(layout::segment_of(slot));
            let entry = layout.entry_offset(sector);
            prop_assert!(segment <= entry && entry < segment + (64 << 10));
            prop_assert!(segment >= DATA_SECTOR * 512);
            prop_assert!(entry + 512 <= layout.slot_sector(slot) * 512);
            prop_assert!(layout.slot_sector(slot) + block <= device);
        }
    }

    /// A device that grows keeps what it has where it is.
    #[test]
    fn growth_moves_nothing((block, device) in any_layout(), more in 0u64..1 << 24) {
        let old = Layout::new(block, device).unwrap();
        let new = Layout::new(block, device + more).unwrap();
        prop_assert!(old.slots() <= new.slots() && old.segments() <= new.segments());
        let grown = u64::from(new.slots() - old.slots());
        prop_assert!(grown <= more / u64::from(block) + 1);
        for slot in [0, old.slots() / 2, old.slots() - 1] {
            prop_assert_eq!(old.slot_sector(slot), new.slot_sector(slot));
            let sector = layout::entry_sector_of(slot);
            prop_assert_eq!(old.entry_offset(sector), new.entry_offset(sector));
        }
        for segment in 0..old.segments().min(9) {
            prop_assert_eq!(old.slots_of(segment), new.slots_of(segment));
        }
    }

    /// Whatever the crash or the one damage, the header is the old or the new one.
    #[test]
    fn headers_survive(
        header in any_header(),
        written in 0..3usize,
        damaged in prop::option::of((0..2usize, 0..SECTOR_BYTES, 1..=255u8)),
    ) {
        let old = Header { sequence: header.sequence.min(u64::MAX - 1), ..header };
        let new = Header { sequence: old.sequence + 1, events: !header.events, ..header };
        let mut device = vec![0; 8192];
        for copy in 0..2 {
            let header = if copy < written { new } else { old };
            let sector = device[copy * 4096..].first_chunk_mut().unwrap();
            prop_assert!(header.encode(copy, sector));
        }
        if let Some((copy, at, flip)) = damaged {
            device[copy * 4096 + at] ^= flip;
        }
        let probe = Probe::device(|offset, buffer| {
            let offset = usize::try_from(offset).unwrap();
            let from = device.get(offset..offset + buffer.len()).ok_or(())?;
            buffer.copy_from_slice(from);
            Ok::<_, ()>(())
        });
        let Ok(Probe::Store(chosen)) = probe else {
            return Err(TestCaseError::fail(format!("{probe:?}")));
        };
        prop_assert_eq!(chosen.copies.iter().any(|copy| copy.is_damage()), damaged.is_some());
        let wants_rewrite = chosen.copies.iter().any(|copy| copy.wants_rewrite());
        prop_assert_eq!(wants_rewrite, damaged.is_some() || written == 1);
        // What is durable in both copies may have taken effect.
        match written {
            0 => prop_assert_eq!(chosen.value, old),
            1 => prop_assert!(chosen.value == old || chosen.value == new),
            _ => prop_assert_eq!(chosen.value, new),
        }
    }
}

#[test]
fn copies_of_two_stores_contradict() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};

    let mut runner = TestRunner::deterministic();
    let header = any_header().new_tree(&mut runner).unwrap().current();
    let mut sectors = [[0; SECTOR_BYTES]; 2];
    assert!(header.encode(0, &mut sectors[0]));
    let other = Header {
        tag: header.tag ^ 2,
        ..header
    };
    assert!(other.encode(1, &mut sectors[1]));
    let probe = Probe::device(|offset, buffer| {
        buffer[..SECTOR_BYTES].copy_from_slice(&sectors[offset as usize / 4096]);
        Ok::<_, ()>(())
    });
    assert_eq!(probe, Ok(Probe::Damaged(PairError::Contradiction)));
    assert!(!CopyState::Behind.is_damage());
}
