// SPDX-License-Identifier: GPL-2.0

//! The format, byte by byte, as Documentation/on-disk-format.rst describes it.

#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_store))]
mod tests {
    use super::super::{
        entries::{
            self,
            Record, //
        },
        intent,
        judge,
        judge_again,
        layout::{
            self,
            LayoutError, //
        },
        least_seen,
        Chosen,
        CopyState,
        Expected,
        Header,
        Layout,
        Owner,
        OwnerRecord,
        PairError,
        Phase,
        Plan,
        Probe,
        Refusal,
        Sector,
        SectorError,
        SECTOR_BYTES, //
    };
    use crate::{
        env::AllocError,
        svol_core::id::{
            Id,
            IdError, //
        },
    };

    /// Why a test could not be carried out.
    #[derive(Debug)]
    struct Failed;

    impl From<AllocError> for Failed {
        fn from(_: AllocError) -> Self {
            Self
        }
    }

    impl From<IdError> for Failed {
        fn from(_: IdError) -> Self {
            Self
        }
    }

    impl From<LayoutError> for Failed {
        fn from(_: LayoutError) -> Self {
            Self
        }
    }

    type Test = Result<(), Failed>;

    /// Unused bytes have to be overwritten.
    const OLD: Sector = [0xee; SECTOR_BYTES];
    const TAG: u64 = 0x0102_0304_0506_0708;
    const MIB: u64 = 2048;

    fn has(sector: &Sector, fields: &[(usize, &[u8])]) -> bool {
        fields.iter().all(|(at, field)| {
            sector
                .get(*at..)
                .is_some_and(|rest| rest.starts_with(field))
        })
    }

    fn is_zero_from(sector: &Sector, at: usize) -> bool {
        sector.iter().skip(at).all(|byte| *byte == 0)
    }

    fn header() -> Result<Header, Failed> {
        Ok(Header {
            tag: TAG,
            uuid: *b"0123456789abcdef",
            group: Id::parse(b"G0")?,
            lid: Id::parse(b"DLV2")?,
            sequence: 0x11,
            events: 0x22,
            base_generation: 0x33,
            sectors: 0x44,
            block_sectors: 8,
            used_sectors: Layout::new(8, 64 * MIB)?.used_sectors(),
            segments: 2,
            phase: Phase::Active,
        })
    }

    fn owner() -> Result<OwnerRecord, Failed> {
        Ok(OwnerRecord {
            number: 7,
            sequence: 0x11,
            owner: Some(Owner {
                lid: Id::parse(b"LV2")?,
                base_generation: 0x22,
                sectors: 0x33_4455,
                removing: true,
                region_shift: Some(12),
            }),
        })
    }

    #[test]
    fn header_fields() -> Test {
        let mut sector = OLD;
        let header = header()?;
        assert!(header.encode(1, &mut sector));
        assert!(has(
            &sector,
            &[
                (0, b"dm-svolI"),
                (12, &[1, 0, 0, 0, 1, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1]),
                (28, b"0123456789abcdefG0\0"),
                (108, b"DLV2\0"),
                (172, &[0x11, 0, 0, 0, 0, 0, 0, 0, 0x22, 0, 0, 0, 0, 0, 0, 0]),
                (188, &[0x33, 0, 0, 0, 0, 0, 0, 0, 0x44, 0, 0, 0, 0, 0, 0, 0]),
                (204, &[8, 0, 0, 0]),
                (216, &[2, 0, 0, 0, 2, 0, 0, 0]),
            ]
        ));
        assert!(is_zero_from(&sector, 224));
        assert_eq!(Header::decode(&sector, 1), Ok(header));
        assert_eq!(Header::decode(&sector, 0), Err(SectorError::Misplaced));
        Ok(())
    }

    #[test]
    fn senseless_headers_are_not_written() -> Test {
        let good = header()?;
        let bad: [fn(&mut Header); 7] = [
            |header| header.tag = 0,
            |header| header.sequence = 0,
            |header| header.sectors = 0,
            |header| header.block_sectors = 24,
            |header| header.used_sectors = 100,
            |header| header.segments = 0,
            |header| header.segments = 5,
        ];
        for change in bad {
            let mut header = good;
            change(&mut header);
            assert!(!header.encode(0, &mut [0; SECTOR_BYTES]));
        }
        assert!(!good.encode(2, &mut [0; SECTOR_BYTES]));
        Ok(())
    }

    #[test]
    fn owner_fields() -> Test {
        let mut sector = OLD;
        let record = owner()?;
        assert!(record.encode(TAG, &mut sector));
        assert!(has(
            &sector,
            &[
                (0, b"dm-svolO"),
                (12, &[1, 0, 0, 0, 7, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1]),
                (28, b"LV2\0"),
                (92, &[0x22, 0, 0, 0, 0, 0, 0, 0, 0x11, 0, 0, 0, 0, 0, 0, 0]),
                (108, &[2, 0, 0, 0, 1, 0, 0, 0, 12, 0, 0, 0]),
                (120, &[0x55, 0x44, 0x33, 0, 0, 0, 0, 0]),
            ]
        ));
        assert!(is_zero_from(&sector, 128));
        assert_eq!(OwnerRecord::decode(&sector, TAG, 7), Ok(record));
        for (tag, number) in [(TAG + 1, 7), (TAG, 8)] {
            assert_eq!(
                OwnerRecord::decode(&sector, tag, number),
                Err(SectorError::Misplaced)
            );
        }

        let free = OwnerRecord {
            owner: None,
            ..record
        };
        assert!(free.encode(TAG, &mut sector));
        assert!(is_zero_from(&sector, 108));
        assert_eq!(OwnerRecord::decode(&sector, TAG, 7), Ok(free));
        for number in [0, 256] {
            assert!(!OwnerRecord { number, ..record }.encode(TAG, &mut sector));
        }
        Ok(())
    }

    #[test]
    fn entry_fields() {
        let record = Record {
            owner: 9,
            bid: 0x0605_0403_0201,
            data: 0x8001,
            zero: 0x0100,
        };
        let mut sector = OLD;
        entries::format(&mut sector, TAG, 0x0a0b);
        assert!(has(
            &sector,
            &[(0, b"dmE1"), (8, &[8, 7, 6, 5, 4, 3, 2, 1, 0xb, 0xa, 0, 0])]
        ));
        assert!(is_zero_from(&sector, 20));
        assert_eq!(entries::check(&sector, TAG, 0x0a0b, 0), Ok(()));
        assert_eq!(entries::records(&sector).count(), 0);

        assert!(entries::set(&mut sector, 31, Some(&record)));
        assert_eq!(
            entries::check(&sector, TAG, 0x0a0b, 0xffff),
            Err(SectorError::Checksum)
        );
        entries::seal_sector(&mut sector, 0x55);
        assert!(has(
            &sector,
            &[
                (24, &[0x55, 0]),
                (498, &[1, 2, 3, 4, 5, 6, 9, 0, 1, 0x80, 0, 1, 0, 0])
            ]
        ));
        assert_eq!(entries::check(&sector, TAG, 0x0a0b, 0xffff), Ok(()));
        assert_eq!(
            entries::check(&sector, TAG, 0x0a0b, 0x7fff),
            Err(SectorError::Malformed)
        );
        assert_eq!(
            entries::check(&sector, TAG, 0x0a0c, 0xffff),
            Err(SectorError::Misplaced)
        );
        assert_eq!(entries::commit_of(&sector), 0x55);
        assert!(entries::records(&sector).eq([(31, record)]));

        // A slot with nothing in it is free.
        let empty = Record {
            data: 0,
            zero: 0,
            ..record
        };
        assert!(entries::set(&mut sector, 31, Some(&empty)));
        assert!(is_zero_from(&sector, 64));
    }

    #[test]
    fn senseless_entries_are_not_written() {
        let good = Record {
            owner: 1,
            bid: 0,
            data: 1,
            zero: 2,
        };
        let mut sector = OLD;
        entries::format(&mut sector, TAG, 0);
        for bad in [
            Record { owner: 0, ..good },
            Record { owner: 256, ..good },
            Record {
                bid: 1 << 48,
                ..good
            },
            Record { zero: 1, ..good },
        ] {
            assert!(!entries::set(&mut sector, 0, Some(&bad)));
        }
        assert!(!entries::set(&mut sector, 32, Some(&good)));
        assert_eq!(entries::check(&sector, TAG, 0, 0xffff), Ok(()));
        assert_eq!(entries::records(&sector).count(), 0);
    }

    #[test]
    fn masks_of_blocks() {
        for (sectors, mask) in [(8, 1), (16, 3), (32, 0xf), (64, 0xff), (128, 0xffff)] {
            assert_eq!(entries::mask_of(sectors), mask);
        }
    }

    #[test]
    fn marks() {
        let mut sector = OLD;
        intent::format(&mut sector, TAG, 9, 7);
        assert!(has(
            &sector,
            &[(0, b"dmI1"), (8, &[8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 7, 0])]
        ));
        assert!(is_zero_from(&sector, 20));
        intent::set_mark(&mut sector, 0, true);
        intent::set_mark(&mut sector, 9, true);
        intent::set_mark(&mut sector, 3903, true);
        intent::set_mark(&mut sector, 3904, true);
        assert!(has(&sector, &[(24, &[1, 2, 0]), (510, &[0, 0x80])]));
        intent::seal_sector(&mut sector);
        assert_eq!(intent::check(&sector, TAG, 9, 7), Ok(()));
        assert_eq!(
            intent::check(&sector, TAG, 9, 6),
            Err(SectorError::Misplaced)
        );
        assert!(intent::is_marked(&sector, 9) && !intent::is_marked(&sector, 8));
        intent::set_mark(&mut sector, 9, false);
        assert!(!intent::is_marked(&sector, 9) && !intent::is_marked(&sector, 3904));
    }

    #[test]
    fn regions() {
        assert_eq!(intent::region_shift(1), 11);
        assert_eq!(intent::region_shift(31_232 * MIB), 11);
        assert_eq!(intent::region_shift(31_232 * MIB + 1), 12);
        assert_eq!(intent::regions(31_232 * MIB, 11), Some(31_232));
        assert_eq!(intent::regions(MIB + 1, 11), Some(2));
        assert_eq!(intent::regions(1, 10), None);
        assert_eq!(intent::regions(1, 64), None);
        assert_eq!(intent::place(31_231), (7, 3903));
        assert!(intent::regions(u64::MAX, intent::region_shift(u64::MAX)).is_some());
    }

    #[test]
    fn places() -> Test {
        assert_eq!(layout::header_offset(1), 4096);
        assert_eq!(layout::owner_offset(0, 255), (64 << 10) + 255 * 512);
        assert_eq!(layout::owner_offset(1, 1), (192 << 10) + 512);
        assert_eq!(
            layout::intent_offset(255, 7),
            (512 << 10) + (1 << 20) - 4096 + 7 * 512
        );

        let layout = Layout::new(128, 2048 * MIB)?;
        assert_eq!(layout.slot_sector(0), 4096 + 128);
        assert_eq!(layout.slot_sector(4095), 4096 + 128 + 4095 * 128);
        let second = 4096 + 128 + 4096 * 128;
        assert_eq!(layout.segment_offset(1), second * 512);
        assert_eq!(layout.slot_sector(4096), second + 128);
        let slot = 4096 + 33;
        assert_eq!(layout::entry_sector_of(slot), 129);
        assert_eq!(layout::entry_index_of(slot), 1);
        assert_eq!(layout::slot_of_entry(129, 1), slot);
        assert_eq!(layout.entry_offset(129), (second + 1) * 512);
        Ok(())
    }

    #[test]
    fn sizes() -> Test {
        let min = 4096 + 128 + 16 * 128;
        assert_eq!(Layout::new(128, min - 1), Err(LayoutError::TooSmall(min)));
        assert_eq!(Layout::new(128, min)?.slots(), 16);
        assert_eq!(Layout::new(128, min + 127)?.slots(), 16);
        assert_eq!(Layout::new(128, min + 127)?.used_sectors(), min);
        for bad in [0, 4, 24, 256] {
            assert_eq!(Layout::new(bad, 1 << 30), Err(LayoutError::BlockSize));
        }
        // A segment without room for a slot does not count.
        let whole = 4096 + 128 + 4096 * 8;
        for (more, slots, segments) in [(0, 4096, 1), (128 + 7, 4096, 1), (128 + 8, 4097, 2)] {
            let layout = Layout::new(8, whole + more)?;
            assert_eq!((layout.slots(), layout.segments()), (slots, segments));
            assert_eq!(layout.slots_of(1), 4096);
            assert_eq!(layout.slots_of(u32::MAX), slots);
        }
        let layout = Layout::new(8, u64::MAX)?;
        assert_eq!(
            (layout.slots(), layout.segments()),
            ((1 << 30) - 1, 1 << 18)
        );
        Ok(())
    }

    /// The result for an owner with these sequences in the copies of the table; 0 is blank.
    #[inline(never)]
    fn choose(first: u64, second: u64) -> Result<(u64, [CopyState; 2]), Failed> {
        let owner = owner()?;
        let mut sectors = [[0; SECTOR_BYTES]; 2];
        for (sector, sequence) in sectors.iter_mut().zip([first, second]) {
            if sequence > 0 && !(OwnerRecord { sequence, ..owner }).encode(TAG, sector) {
                return Err(Failed);
            }
        }
        let found = OwnerRecord::choose(sectors.each_ref().map(Some), TAG, 7);
        let chosen = found.map_err(|_| Failed)?;
        Ok((chosen.value.ok_or(Failed)?.sequence, chosen.copies))
    }

    #[test]
    fn copies_after_a_crash_and_after_damage() -> Test {
        use CopyState::{Behind, Damaged, Good, Stale};

        let blank = Damaged(SectorError::Blank);
        for (first, second, sequence, copies) in [
            (5, 5, 5, [Good, Good]),
            (6, 5, 6, [Good, Behind]),
            (7, 5, 7, [Good, Stale]),
            (5, 6, 6, [Stale, Good]),
            (1, 0, 1, [Good, Behind]),
            (2, 0, 2, [Good, blank]),
            (0, 1, 1, [blank, Good]),
        ] {
            assert_eq!(choose(first, second)?, (sequence, copies));
        }
        Ok(())
    }

    #[test]
    fn copies_that_cannot_be_used() -> Test {
        let record = owner()?;
        let mut good = OLD;
        assert!(record.encode(TAG, &mut good));
        let lost = [SectorError::Magic, SectorError::Unreadable];
        assert_eq!(
            OwnerRecord::choose([Some(&OLD), None], TAG, 7),
            Err(PairError::Lost(lost))
        );
        let mut other = OLD;
        let free = OwnerRecord {
            owner: None,
            ..record
        };
        assert!(free.encode(TAG, &mut other));
        assert_eq!(
            OwnerRecord::choose([Some(&good), Some(&other)], TAG, 7),
            Err(PairError::Contradiction)
        );
        Ok(())
    }

    /// Most numbers are never used: no damage to one copy of them is a reason to refuse a store.
    #[test]
    fn owners_that_never_were() -> Test {
        use CopyState::{Damaged, Good};

        let record = owner()?;
        let blank = [0; SECTOR_BYTES];
        let never_used = |copies| {
            Ok(Chosen {
                value: None,
                copies,
            })
        };
        let choose = |first, second| OwnerRecord::choose([first, second], TAG, record.number);
        assert_eq!(choose(Some(&blank), Some(&blank)), never_used([Good, Good]));
        let mut good = OLD;
        assert!(record.encode(TAG, &mut good));
        let mut flipped = good;
        if let Some(byte) = flipped.last_mut() {
            *byte ^= 1;
        }
        let mut elsewhere = OLD;
        assert!(record.encode(TAG.wrapping_add(1), &mut elsewhere));
        for (sector, error) in [
            (None, SectorError::Unreadable),
            (Some(&OLD), SectorError::Magic),
            (Some(&flipped), SectorError::Checksum),
            (Some(&elsewhere), SectorError::Misplaced),
        ] {
            assert_eq!(
                choose(Some(&blank), sector),
                never_used([Good, Damaged(error)])
            );
            assert_eq!(
                choose(sector, Some(&blank)),
                never_used([Damaged(error), Good])
            );
        }
        Ok(())
    }

    /// A write may reach copy 0 before it fails. The next write, of something else, gets the next
    /// sequence, and a crash may come between its copies.
    #[test]
    fn copies_after_a_write_that_failed() -> Test {
        let record = owner()?;
        let encoded = |writes: u64, is_free: bool| {
            let mut sector = OLD;
            let next = OwnerRecord {
                sequence: record.sequence.saturating_add(writes),
                owner: record.owner.filter(|_| !is_free),
                ..record
            };
            next.encode(TAG, &mut sector).then_some(sector)
        };
        let choose = |first: &Option<Sector>, second: &Option<Sector>| {
            OwnerRecord::choose([first.as_ref(), second.as_ref()], TAG, 7)
        };
        let (old, failed) = (encoded(0, false), encoded(1, true));
        for (first, second, is_free) in [
            (&failed, &old, true),
            (&encoded(2, false), &old, false),
            (&encoded(2, false), &failed, false),
        ] {
            let chosen = choose(first, second).map_err(|_| Failed)?;
            let record = chosen.value.ok_or(Failed)?;
            assert_eq!(record.owner.is_none(), is_free);
        }
        // With the same sequence, the copies would contradict each other.
        assert_eq!(
            choose(&failed, &encoded(1, false)),
            Err(PairError::Contradiction)
        );
        Ok(())
    }

    #[test]
    fn dead_devices() -> Test {
        let is_dead = |broken: u64| -> Result<bool, Failed> {
            let probe = Probe::device(|offset, buffer| {
                buffer.fill(0);
                match offset < broken {
                    true => Err(()),
                    false => Ok(()),
                }
            })?;
            Ok(probe == Probe::Dead)
        };
        // A device that is readable in part may belong to somebody else.
        assert!(!is_dead(4096)?);
        assert!(is_dead(8192)?);
        assert!(is_dead(NOWHERE)?);
        Ok(())
    }

    /// Probes a device whose first bytes are `sectors`, 4 KiB apart, followed by zeros except for
    /// the byte at `dirt`; the block at `broken` cannot be read.
    #[inline(never)]
    fn probe(sectors: [&Sector; 2], dirt: u64, broken: u64) -> Result<Probe, Failed> {
        let probe = Probe::device(|offset, buffer| {
            buffer.fill(0);
            let len = u64::try_from(buffer.len()).map_err(|_| ())?;
            let within = |at: u64| at.checked_sub(offset).filter(|at| *at < len);
            if within(broken).is_some() {
                return Err(());
            }
            for (at, sector) in [0, 4096].into_iter().zip(sectors) {
                let to = within(at).and_then(|at| usize::try_from(at).ok());
                if let Some(to) = to.and_then(|at| buffer.get_mut(at..)?.get_mut(..SECTOR_BYTES)) {
                    to.copy_from_slice(sector);
                }
            }
            let to = within(dirt).and_then(|at| usize::try_from(at).ok());
            if let Some(byte) = to.and_then(|at| buffer.get_mut(at)) {
                *byte ^= 1;
            }
            Ok(())
        })?;
        Ok(probe)
    }

    const NOWHERE: u64 = u64::MAX;

    #[test]
    fn blank_and_foreign_devices() -> Test {
        let blank = &[0; SECTOR_BYTES];
        assert_eq!(probe([blank; 2], NOWHERE, NOWHERE)?, Probe::Blank);
        let end = 2 << 20;
        for at in [0, 513, 4096, 5000, 8192, end - 1] {
            assert_eq!(probe([blank; 2], at, NOWHERE)?, Probe::Foreign);
            assert_eq!(probe([blank; 2], NOWHERE, at)?, Probe::Unreadable);
        }
        assert_eq!(probe([blank; 2], end, end)?, Probe::Blank);
        Ok(())
    }

    #[test]
    fn stores() -> Test {
        let header = header()?;
        let mut sectors = [OLD; 2];
        for (copy, sector) in sectors.iter_mut().enumerate() {
            assert!(header.encode(copy, sector));
        }
        let [first, second] = &sectors;
        let both = [first, second];
        assert_eq!(probe(both, NOWHERE, NOWHERE)?.header(), Some(&header));
        for (at, other) in [(100, 4096 + 100), (4096 + 100, 100)] {
            assert_eq!(probe(both, at, NOWHERE)?.header(), Some(&header));
            assert_eq!(probe(both, NOWHERE, at)?.header(), Some(&header));
            let lost = probe(both, at, other)?;
            assert!(matches!(lost, Probe::Damaged(PairError::Lost(_))));
        }
        let swapped = probe([second, first], NOWHERE, NOWHERE)?;
        assert!(matches!(swapped, Probe::Damaged(PairError::Lost(_))));
        Ok(())
    }

    #[test]
    fn judgements() -> Test {
        let header = header()?;
        let mut sector = OLD;
        assert!(header.encode(0, &mut sector));
        let found = probe([&sector, &OLD], NOWHERE, NOWHERE)?;
        let good = Expected {
            uuid: header.uuid,
            group: header.group,
            lid: header.lid,
            block_sectors: header.block_sectors,
            sectors: header.sectors,
            events: header.events,
            least: least_seen(header.events, 0),
            device_sectors: header.used_sectors,
            formatted: true,
        };
        let verdict = |expected: Expected| judge(&found, &expected);
        assert_eq!(verdict(good), Ok(Plan::Use));
        let id = Id::parse(b"X")?;
        let uuid = [1; 16];
        assert_eq!(
            verdict(Expected { group: id, ..good }),
            Err(Refusal::Group(header.group))
        );
        assert_eq!(verdict(Expected { uuid, ..good }), Err(Refusal::Uuid));
        assert_eq!(
            verdict(Expected { lid: id, ..good }),
            Err(Refusal::Lid(header.lid))
        );
        let (store, device) = (header.events, header.used_sectors - 1);
        for (group, plan) in [
            (store - 1, None),
            (store, Some(Plan::Use)),
            (store + 1, Some(Plan::Use)),
            (store + 2, None),
        ] {
            let expected = Expected {
                events: group,
                least: least_seen(group, 0),
                ..good
            };
            assert_eq!(verdict(expected).ok(), plan);
        }
        // A store that could not be written, but was kept.
        for (kept_at, plan) in [
            (store, Some(Plan::Use)),
            (store + 2, Some(Plan::Use)),
            (store + 3, None),
        ] {
            let expected = Expected {
                events: store + 100,
                least: least_seen(store + 100, kept_at),
                ..good
            };
            assert_eq!(verdict(expected).ok(), plan);
        }
        assert_eq!(
            verdict(Expected {
                device_sectors: device,
                ..good
            }),
            Err(Refusal::Shrunk {
                device,
                used: device + 1
            })
        );
        let unknown = Expected {
            formatted: false,
            ..good
        };
        assert_eq!(judge(&Probe::Blank, &good), Err(Refusal::Blank));
        assert_eq!(judge(&Probe::Blank, &unknown), Ok(Plan::Format));
        assert_eq!(judge(&Probe::Foreign, &unknown), Err(Refusal::Foreign));
        Ok(())
    }

    /// A store that failed: its content counts only if it was not changed since.
    #[test]
    fn stores_that_come_back() -> Test {
        let header = header()?;
        let mut sector = OLD;
        assert!(header.encode(0, &mut sector));
        let found = probe([&sector, &OLD], NOWHERE, NOWHERE)?;
        let expected = Expected {
            uuid: header.uuid,
            group: header.group,
            lid: header.lid,
            block_sectors: header.block_sectors,
            sectors: header.sectors,
            events: header.events + 100,
            least: least_seen(header.events + 100, 0),
            device_sectors: header.used_sectors,
            formatted: true,
        };
        assert_eq!(judge_again(&found, &expected, None), Ok(Plan::Use));
        for since in [0, 1, 2] {
            let failed_at = Some(header.events + since);
            assert_eq!(judge_again(&found, &expected, failed_at), Ok(Plan::Use));
        }
        assert_eq!(
            judge_again(&found, &expected, Some(header.events + 3)),
            Err(Refusal::Older {
                store: header.events,
                group: header.events + 100
            })
        );
        // It was told the event count before the metadata recorded the rest.
        let told = Expected {
            events: header.events,
            ..expected
        };
        assert_eq!(
            judge_again(&found, &told, Some(header.events)),
            Ok(Plan::Use)
        );
        let older = Expected {
            events: header.events - 1,
            ..expected
        };
        assert!(judge_again(&found, &older, None).is_err());
        let other = Expected {
            uuid: [1; 16],
            ..expected
        };
        assert_eq!(judge_again(&found, &other, None), Err(Refusal::Uuid));
        let blank = |failed_at| judge_again(&Probe::Blank, &expected, failed_at);
        assert_eq!(blank(None), Ok(Plan::Format));
        assert_eq!(blank(Some(1)), Err(Refusal::Blank));
        Ok(())
    }

    #[test]
    fn stores_that_are_being_made() -> Test {
        let header = Header {
            phase: Phase::Formatting,
            segments: 0,
            sequence: 1,
            ..header()?
        };
        let mut sector = OLD;
        assert!(header.encode(0, &mut sector));
        let found = probe([&sector, &[0; SECTOR_BYTES]], NOWHERE, NOWHERE)?;
        let expected = Expected {
            uuid: header.uuid,
            group: header.group,
            lid: header.lid,
            block_sectors: header.block_sectors,
            sectors: header.sectors,
            events: header.events + 10,
            least: least_seen(header.events + 10, 0),
            device_sectors: header.used_sectors,
            formatted: false,
        };
        assert_eq!(judge(&found, &expected), Ok(Plan::FormatAgain));
        let known = Expected {
            formatted: true,
            ..expected
        };
        assert_eq!(judge(&found, &known), Err(Refusal::Unfinished));
        Ok(())
    }
}
