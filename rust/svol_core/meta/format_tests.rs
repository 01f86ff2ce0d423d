// SPDX-License-Identifier: GPL-2.0

//! The format, byte by byte, as Documentation/on-disk-format.rst describes it.

#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_meta_format))]
mod tests {
    use super::super::{
        probe::{
            CopyProbe,
            SlotState, //
        },
        BodyError,
        CopyState,
        DiskState,
        Header,
        HeaderError,
        Identity,
        Invalid,
        Metadata,
        Phase,
        RegionRecord,
        VolumeRecord,
        HEADER_BYTES,
        MAX_BODY_BYTES,
        SLOT_BYTES, //
    };
    use crate::{
        env::{
            AllocError,
            Vec, //
        },
        svol_core::{
            attr::Attr,
            health::Health,
            id::{
                Id,
                IdError, //
            },
            samples::Sample, //
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

    impl From<BodyError> for Failed {
        fn from(_: BodyError) -> Self {
            Self
        }
    }

    impl From<IdError> for Failed {
        fn from(_: IdError) -> Self {
            Self
        }
    }

    type Test = Result<(), Failed>;

    fn volume(lid: &[u8], attr: Attr) -> Result<VolumeRecord, Failed> {
        let lid = Id::parse(lid)?;
        Ok(VolumeRecord {
            lid,
            attr,
            rlid: None,
            disk: Some(lid),
            health: Health::InSync,
            state: DiskState::default(),
            disk_sectors: 0x1122,
            failed_at: 0x3344,
        })
    }

    /// Metadata with a different value in each field.
    fn example() -> Result<Metadata, Failed> {
        let mut metadata = Metadata::claim(&Identity {
            uuid: *b"0123456789abcdef",
            group: Id::parse(b"G0")?,
            sectors: 0x0102_0300,
            block_sectors: 16,
            logical_block_bytes: 4096,
            copies: 2,
        });
        metadata.head.sequence = 0x0506;
        metadata.head.events = 0x0708;
        metadata.head.base_generation = 3;
        metadata.head.phase = Phase::Active;
        metadata.head.copies = metadata.head.copies.with(0, CopyState::Lost);

        let mut first = volume(b"A", Attr::Rw)?;
        first.rlid = Some(Id::parse(b"I")?);
        first.state.pristine = true;
        metadata.volumes.try_push(first)?;
        let mut store = volume(b"I", Attr::Increments)?;
        store.state.formatted = true;
        metadata.volumes.try_push(store)?;
        metadata.regions.try_push(RegionRecord {
            lid: first.lid,
            start: 32,
            len: 16,
            attr: Attr::Ro,
        })?;
        metadata.samples.try_push(Sample {
            sub_block: 5,
            checksum: 0x1234_5678,
        })?;
        Ok(metadata)
    }

    /// The header sector as a vector: the test's stack is small.
    fn header(metadata: &Metadata, body: &[u8]) -> Result<Vec<u8>, Failed> {
        let mut sector = Vec::try_with_capacity(HEADER_BYTES)?;
        for _ in 0..HEADER_BYTES {
            sector.try_push(0xee)?;
        }
        let fields: &mut [u8] = &mut sector;
        let fields = fields.try_into().map_err(|_| Failed)?;
        if metadata.encode_header(1, body, fields) {
            Ok(sector)
        } else {
            Err(Failed)
        }
    }

    /// The example with its body and its header, as they are written.
    fn written() -> Result<(Metadata, Vec<u8>, Vec<u8>), Failed> {
        let metadata = example()?;
        let body = metadata.encode_body()?;
        let sector = header(&metadata, &body)?;
        Ok((metadata, body, sector))
    }

    fn has(bytes: &[u8], at: usize, field: &[u8]) -> bool {
        bytes.get(at..).is_some_and(|rest| rest.starts_with(field))
    }

    #[test]
    fn header_fields() -> Test {
        let (_, _, sector) = written()?;
        let fields: [(usize, &[u8]); 20] = [
            (0, b"dm-svolM"),
            (12, &[1, 0, 0, 0]),
            (16, b"0123456789abcdef"),
            (32, b"G0\0"),
            (96, &[6, 5, 0, 0, 0, 0, 0, 0]),
            (104, &[8, 7, 0, 0, 0, 0, 0, 0]),
            (112, &[3, 0, 0, 0, 0, 0, 0, 0]),
            (120, &[0, 3, 2, 1, 0, 0, 0, 0]),
            (128, &[16, 0, 0, 0]),
            (132, &[0, 16, 0, 0]),
            (136, &[2, 0, 0, 0]),
            (140, &[1, 0, 0, 0]),
            (144, &[2, 0, 0, 0]),
            (148, &[2, 0, 0, 0]),
            (152, &[1, 0, 0, 0]),
            (156, &[2, 0, 0, 0]),
            (160, &[1, 0, 0, 0]),
            (164, &[1, 0, 0, 0]),
            (168, &[0x90, 2, 0, 0]),
            (176, &[0; 336]),
        ];
        for (at, field) in fields {
            assert!(has(&sector, at, field));
        }
        Ok(())
    }

    #[test]
    fn body_fields() -> Test {
        let (_, body, _) = written()?;
        assert_eq!(body.len(), 0x290);
        let fields: [(usize, &[u8]); 19] = [
            (0, &[1, 0, 0, 0, 0, 1, 0, 0]),
            (8, b"A\0"),
            (72, b"I\0"),
            (136, b"A\0"),
            (200, &[2, 1, 0, 0]),
            (204, &[1, 0, 0, 0]),
            (208, &[0x22, 0x11, 0, 0, 0, 0, 0, 0]),
            (216, &[0x44, 0x33, 0, 0, 0, 0, 0, 0]),
            (224, &[0; 40]),
            (264, &[1, 0, 0, 0, 0, 1, 0, 0]),
            (272, b"I\0"),
            (464, &[4, 1, 0, 0, 4, 0, 0, 0]),
            (528, &[2, 0, 0, 0, 96, 0, 0, 0]),
            (536, b"A\0"),
            (600, &[32, 0, 0, 0, 0, 0, 0, 0]),
            (608, &[16, 0, 0, 0, 0, 0, 0, 0]),
            (616, &[1, 0, 0, 0]),
            (632, &[3, 0, 0, 0, 16, 0, 0, 0]),
            (
                640,
                &[5, 0, 0, 0, 0, 0, 0, 0, 0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0],
            ),
        ];
        for (at, field) in fields {
            assert!(has(&body, at, field));
        }
        Ok(())
    }

    #[test]
    fn reads_what_it_wrote() -> Test {
        let (metadata, body, sector) = written()?;
        let header = Header::decode(&sector).map_err(|_| Failed)?;
        assert_eq!(header.head, metadata.head);
        assert!(Metadata::decode(&header, &body)? == metadata);
        Ok(())
    }

    /// As many regions as a slot has room for, and one more.
    #[test]
    fn regions_up_to_the_limit() -> Test {
        let mut metadata = example()?;
        let room = MAX_BODY_BYTES.saturating_sub(metadata.encode_body()?.len());
        let mut region = *metadata.regions.first().ok_or(Failed)?;
        let more = room.checked_div(104).ok_or(Failed)?;
        for _ in 0..more {
            region.start = region.start.saturating_add(32);
            metadata.regions.try_push(region)?;
        }
        let body = metadata.encode_body()?;
        assert!(MAX_BODY_BYTES.saturating_sub(body.len()) < 104);
        let sector = header(&metadata, &body)?;
        let header = Header::decode(&sector).map_err(|_| Failed)?;
        assert!(Metadata::decode(&header, &body)? == metadata);

        region.start = region.start.saturating_add(32);
        metadata.regions.try_push(region)?;
        assert_eq!(metadata.encode_body().err(), Some(BodyError::TooLarge));
        Ok(())
    }

    #[test]
    fn no_header_for_a_lost_copy() -> Test {
        let metadata = example()?;
        let mut sector = [0; HEADER_BYTES];
        assert!(!metadata.encode_header(0, &[], &mut sector));
        assert!(!metadata.encode_header(2, &[], &mut sector));
        Ok(())
    }

    #[test]
    fn headers_that_are_none() -> Test {
        let (_, _, mut sector) = written()?;
        assert!(Header::decode(&sector).is_ok());
        if let Some(last) = sector.last_mut() {
            *last = 1;
        }
        assert_eq!(Header::decode(&sector), Err(HeaderError::Checksum));
        if let Some(first) = sector.first_mut() {
            *first = 1;
        }
        assert_eq!(Header::decode(&sector), Err(HeaderError::Magic));
        assert_eq!(Header::decode(&[]), Err(HeaderError::Magic));
        Ok(())
    }

    /// What `check` says after a change of the example.
    fn invalid(change: impl FnOnce(&mut Metadata)) -> Result<Option<Invalid>, Failed> {
        let mut metadata = example()?;
        change(&mut metadata);
        Ok(metadata.check().err())
    }

    /// As [`invalid`], after a change of the first volume.
    fn invalid_volume(change: impl FnOnce(&mut VolumeRecord)) -> Result<Option<Invalid>, Failed> {
        invalid(|metadata| {
            if let Some(first) = metadata.volumes.first_mut() {
                change(first);
            }
        })
    }

    #[test]
    fn things_that_make_no_sense() -> Test {
        assert_eq!(invalid(|_| ())?, None);
        let lost = invalid(|m| m.head.copies = m.head.copies.with(1, CopyState::Lost))?;
        assert_eq!(lost, Some(Invalid::Copies));
        assert_eq!(invalid(|m| m.head.sequence = 0)?, Some(Invalid::Claim));
        assert_eq!(invalid(|m| m.volumes = Vec::new())?, Some(Invalid::Count));
        for region in [(8, 16), (32, 8), (32, 0), (0x0102_0300, 16), (u64::MAX, 16)] {
            let found = invalid(|m| {
                for record in m.regions.iter_mut() {
                    (record.start, record.len) = region;
                }
            })?;
            assert_eq!(found, Some(Invalid::Region));
        }
        for sub_block in [0x0102_0300 / 8, u64::MAX] {
            let found = invalid(|m| {
                for sample in m.samples.iter_mut() {
                    sample.sub_block = sub_block;
                }
            })?;
            assert_eq!(found, Some(Invalid::Sample));
        }
        Ok(())
    }

    #[test]
    fn volumes_that_make_no_sense() -> Test {
        let (a, i, x) = (Id::parse(b"A")?, Id::parse(b"I")?, Id::parse(b"X")?);
        assert_eq!(invalid_volume(|v| v.rlid = Some(a))?, Some(Invalid::Rlid));
        assert_eq!(invalid_volume(|v| v.rlid = Some(x))?, Some(Invalid::Rlid));
        assert_eq!(invalid_volume(|v| v.disk = Some(i))?, Some(Invalid::Disk));
        assert_eq!(invalid_volume(|v| v.disk = Some(x))?, Some(Invalid::Disk));
        assert_eq!(invalid_volume(|v| v.disk = None)?, Some(Invalid::Health));
        for health in [Health::Failed, Health::Degraded, Health::Spare] {
            let found = invalid_volume(|v| v.health = health)?;
            assert_eq!(found, Some(Invalid::Health));
        }
        let stale = invalid_volume(|v| v.state.unprotected = true)?;
        assert_eq!(stale, Some(Invalid::State));
        let formatted = invalid_volume(|v| v.state.formatted = true)?;
        assert_eq!(formatted, Some(Invalid::State));
        let failed = invalid_volume(|v| v.state.failed = true)?;
        assert_eq!(failed, Some(Invalid::Disk));
        Ok(())
    }

    #[test]
    fn twice_the_same_lid() -> Test {
        let mut metadata = example()?;
        metadata.volumes.try_push(volume(b"A", Attr::Ro)?)?;
        assert_eq!(metadata.check().err(), Some(Invalid::Lid));
        Ok(())
    }

    /// Probes a device that is zero except for one byte. Reading at `broken` fails.
    fn probe(byte_at: u64, broken: u64) -> Result<(bool, bool, bool), Failed> {
        let found = CopyProbe::probe(|start, buffer: &mut [u8]| {
            let len = u64::try_from(buffer.len()).unwrap_or(0);
            let inside = |at: u64| at.checked_sub(start).is_some_and(|at| at < len);
            if inside(broken) {
                return Err(());
            }
            buffer.fill(0);
            if inside(byte_at) {
                if let Some(byte) = buffer.first_mut() {
                    *byte = 1;
                }
            }
            Ok(())
        })?;
        let is = |state: SlotState| found.slot(0) == Some(&state);
        Ok((
            is(SlotState::Blank),
            is(SlotState::Foreign),
            is(SlotState::Unreadable),
        ))
    }

    #[test]
    fn blank_foreign_and_unreadable_slots() -> Test {
        const NOWHERE: u64 = u64::MAX;

        let end = u64::try_from(SLOT_BYTES).unwrap_or(0);
        assert_eq!(probe(NOWHERE, NOWHERE)?, (true, false, false));
        for at in [0, 511, 512, 4096, end - 1] {
            assert_eq!(probe(at, NOWHERE)?, (false, true, false));
            assert_eq!(probe(NOWHERE, at)?, (false, false, true));
        }
        // What follows the slot does not matter.
        assert_eq!(probe(end, end + 1)?, (true, false, false));
        Ok(())
    }
}
