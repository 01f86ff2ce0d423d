// SPDX-License-Identifier: GPL-2.0

//! Tests of the group table, with the group of the patent's figure 9 and others.

#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_group))]
mod tests {
    use super::super::{
        AddError,
        AttrError,
        BindError,
        Counters,
        FailError,
        GroupTable,
        NewEntry,
        RemoveError,
        RestoreError, //
    };
    use crate::{
        env::{
            AllocError,
            Vec, //
        },
        svol_core::{
            attr::Attr,
            health::{
                GroupState,
                Health,
                Protection, //
            },
            id::Id,
            meta::{
                Header,
                Identity,
                Metadata,
                HEADER_BYTES, //
            },
            route::{
                Home,
                VolumeView, //
            },
            samples::Sample,
            table_line::TableLine, //
        },
    };
    use core::fmt;

    const FIGURE_9: &str = "G0 128 2 /m0 /m1 5 LV0 ro /sda - LV1 ro /sdb - \
        LV2 rw /sdc DLV2 S0 spare /sdd - DLV2 increments /sde - 2 init assume_identical";
    const WITHOUT_LV0: &str = "G0 128 2 /m0 /m1 5 LV0 ro - - LV1 ro /sdb - \
        LV2 rw /sdc DLV2 S0 spare /sdd - DLV2 increments /sde -";
    const IN_PLACE: &str = "G0 128 1 /m0 2 LV0 ro /sda - LV1 rw /sdb - \
        3 allow_unprotected init assume_identical";
    const CLONES: &str = "G0 128 1 /m0 5 LV0 ro /sda - C1 ro - ST L5 rw /sdc ST S0 spare /sdd - \
        ST increments /sde - 2 init assume_identical";
    const CLONES_WITHOUT_STORE: &str = "G0 128 1 /m0 5 LV0 ro /sda - C1 ro - ST L5 rw /sdc ST \
        S0 spare /sdd - ST increments - -";
    const CLONES_BY_FORCE: &str = "G0 128 1 /m0 5 LV0 ro /sda - C1 ro - ST L5 rw /sdc ST \
        S0 spare /sdd - ST increments - - 1 force_metadata";
    const SECTORS: u64 = 1000;

    /// Why a test could not be carried out.
    #[derive(Debug)]
    struct Failed;

    impl From<AllocError> for Failed {
        fn from(_: AllocError) -> Self {
            Self
        }
    }

    impl From<BindError> for Failed {
        fn from(_: BindError) -> Self {
            Self
        }
    }

    type Test = Result<(), Failed>;

    fn line(text: &str) -> Result<TableLine<&[u8]>, Failed> {
        TableLine::parse(SECTORS, text.split(' ').map(str::as_bytes)).map_err(|_| Failed)
    }

    /// A group that is loaded for the first time.
    fn new(text: &str) -> Result<GroupTable, BindError> {
        let line = line(text).map_err(|_| BindError::NoMemory)?;
        let identity = Identity {
            uuid: [1; 16],
            group: line.group,
            sectors: line.sectors,
            block_sectors: line.block_sectors,
            logical_block_bytes: 512,
            copies: line.meta.len(),
        };
        GroupTable::new(&identity, &line, |_| 2 * SECTORS)
    }

    fn active(text: &str) -> Result<GroupTable, Failed> {
        let table = new(text)?;
        let mut samples = Vec::new();
        samples.try_push(Sample::take(0, b"base"))?;
        Ok(table.activated(samples)?)
    }

    fn metadata(text: &str) -> Result<Metadata, Failed> {
        Ok(active(text)?.metadata().try_clone()?)
    }

    fn bind(text: &str, metadata: Metadata) -> Result<(GroupTable, bool), BindError> {
        let line = line(text).map_err(|_| BindError::NoMemory)?;
        let bound = GroupTable::bind(&line, metadata, |_| Some(2 * SECTORS))?;
        Ok((bound.table, bound.changed))
    }

    /// As [`bind`], but these disks can't be read.
    fn bind_dead(
        text: &str,
        metadata: Metadata,
        dead: &[usize],
    ) -> Result<(GroupTable, bool), BindError> {
        let line = line(text).map_err(|_| BindError::NoMemory)?;
        let bound = GroupTable::bind(&line, metadata, |entry| {
            (!dead.contains(&entry)).then_some(2 * SECTORS)
        })?;
        Ok((bound.table, bound.changed))
    }

    fn failed(table: &GroupTable, entry: usize) -> Result<GroupTable, Failed> {
        let failed = table.with_failed_disk(entry)?.ok_or(Failed)?;
        failed.metadata().check().map_err(|_| Failed)?;
        Ok(failed)
    }

    fn health(table: &GroupTable, entry: usize) -> Option<Health> {
        table.volume(entry).map(|volume| volume.health)
    }

    fn sources(table: &GroupTable) -> u32 {
        table.sources().fold(0, |set, source| set | (1 << source))
    }

    /// Compares what is written with the expected text.
    struct Expect<'a>(&'a str);

    impl fmt::Write for Expect<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(text).ok_or(fmt::Error)?;
            Ok(())
        }
    }

    fn id(text: &str) -> Result<Id, Failed> {
        Id::parse(text.as_bytes()).map_err(|_| Failed)
    }

    #[test]
    fn a_new_group() -> Test {
        let table = new(FIGURE_9)?;
        assert!(table.is_initialising());
        assert_eq!(table.head().sequence, 1);
        assert!(table.metadata().check().is_ok());
        // There is no base image yet.
        assert_eq!(sources(&table), 0);

        let table = table.activated(Vec::new())?;
        assert!(!table.is_initialising());
        assert_eq!(table.head().sequence, 2);
        assert!(table.metadata().check().is_ok());
        assert_eq!(sources(&table), 0b111);
        Ok(())
    }

    #[test]
    fn a_new_group_needs_all_disks() -> Test {
        let refused = new(WITHOUT_LV0).err();
        assert_eq!(refused, Some(BindError::NotHere(id("LV0")?)));
        Ok(())
    }

    #[test]
    fn figure_9_is_clean() -> Test {
        let table = active(FIGURE_9)?;
        assert_eq!(table.state(), GroupState::Clean);
        assert_eq!(table.redundancy(), 1);
        for entry in 0..3 {
            assert_eq!(table.protection(entry), Protection::Protected);
        }
        for entry in 3..5 {
            assert_eq!(table.protection(entry), Protection::None);
        }
        Ok(())
    }

    #[test]
    fn lines_that_do_not_fit() -> Test {
        let lv9 = id("LV9")?;
        for (text, error) in [
            (
                "G0 64 2 /m0 /m1 2 LV0 ro /a - LV1 ro /b -",
                BindError::BlockSectors {
                    known: 128,
                    line: 64,
                },
            ),
            ("G0 128 2 /m0 /m1 1 LV9 ro /a -", BindError::Unknown(lv9)),
            (
                "G0 128 2 /m0 /m1 1 LV0 ro /a -",
                BindError::Unlisted(id("LV1")?),
            ),
        ] {
            assert_eq!(bind(text, metadata(FIGURE_9)?).err(), Some(error));
        }
        let mut longer = line(FIGURE_9)?;
        longer.sectors = SECTORS + 1;
        let (known, line) = (SECTORS, SECTORS + 1);
        let error = GroupTable::bind(&longer, metadata(FIGURE_9)?, |_| Some(2 * SECTORS)).err();
        assert_eq!(error, Some(BindError::Sectors { known, line }));
        Ok(())
    }

    #[test]
    fn a_line_in_another_order() -> Test {
        let text = "G0 128 2 /m0 /m1 5 DLV2 increments /e - LV1 ro /b - \
            LV0 ro /a - S0 spare /d - LV2 rw /c DLV2";
        let (table, changed) = bind(text, metadata(FIGURE_9)?)?;
        assert!(!changed);
        assert_eq!(table.position(&id("LV2")?), Some(4));
        assert_eq!(table.disk_of(4), Some(4));
        assert_eq!(sources(&table), 0b10110);
        Ok(())
    }

    #[test]
    fn the_metadata_knows_better() -> Test {
        // Roles in the line count only when the group is created; here they are wrong.
        let text = "G0 128 2 /m0 /m1 5 LV0 ro /a - LV1 ro /b - LV2 ro /c - \
            S0 increments /d - DLV2 spare /e -";
        let (table, changed) = bind(text, metadata(FIGURE_9)?)?;
        assert!(!changed);
        assert!(*table.metadata() == metadata(FIGURE_9)?);
        Ok(())
    }

    #[test]
    fn sizes_of_devices() -> Test {
        let line = line(FIGURE_9)?;
        let bound = GroupTable::bind(&line, metadata(FIGURE_9)?, |_| Some(3 * SECTORS))?;
        assert!(bound.changed);
        assert_eq!(bound.table.head().events, metadata(FIGURE_9)?.head.events);
        // Disks may be replaced by smaller ones, but a store must not lose its end.
        let error = GroupTable::bind(&line, metadata(FIGURE_9)?, |_| Some(SECTORS)).err();
        let (lid, known, found) = (id("DLV2")?, 2 * SECTORS, SECTORS);
        assert_eq!(error, Some(BindError::Shrunk { lid, known, found }));
        Ok(())
    }

    #[test]
    fn a_missing_read_only_disk() -> Test {
        let (table, changed) = bind(WITHOUT_LV0, metadata(FIGURE_9)?)?;
        assert!(changed);
        assert_eq!(table.head().sequence, 3);
        assert_eq!(table.head().events, 3);
        assert_eq!(health(&table, 0), Some(Health::Failed));
        assert_eq!(table.disk_of(0), None);
        assert_eq!(sources(&table), 0b110);
        assert_eq!(table.state(), GroupState::Degraded);
        assert_eq!(table.redundancy(), 1);
        assert!(table.view(0).is_some_and(|view| view.reads == Home::Base));

        // It comes back, but is stale.
        let (again, changed) = bind(FIGURE_9, table.metadata().try_clone()?)?;
        assert!(!changed);
        assert_eq!(sources(&again), 0b110);
        assert_eq!(health(&again, 0), Some(Health::Failed));
        Ok(())
    }

    fn added(
        table: &GroupTable,
        lid: &str,
        attr: Attr,
        rlid: Option<&str>,
        has_disk: bool,
    ) -> Result<Result<GroupTable, AddError>, Failed> {
        let rlid = match rlid {
            Some(rlid) => Some(id(rlid)?),
            None => None,
        };
        Ok(table.with_added(&NewEntry {
            lid: id(lid)?,
            attr,
            rlid,
            has_disk,
        }))
    }

    #[test]
    fn what_is_written() -> Test {
        let written = |table: &GroupTable| -> u32 {
            let all = 0..table.volumes().len();
            let written = all.filter(|entry| table.is_written(*entry));
            written.fold(0, |set, entry| set | (1 << entry))
        };
        let table = active(FIGURE_9)?;
        assert_eq!(written(&table), 0b10100);
        // LV2 lives on other disks, then on the spare.
        let table = failed(&table, 2)?;
        assert_eq!(written(&table), 0b10000);
        let table = table
            .with_rebuild(&id("LV2")?, None, |_| true)
            .map_err(|_| Failed)?;
        assert_eq!(written(&table), 0b11000);
        let table = table.with_rebuilt(2)?.ok_or(Failed)?;
        assert_eq!(written(&table), 0b11000);
        let table = failed(&table, 4)?;
        assert_eq!(written(&table), 0b01000);
        let table = table.with_readded(4)?.ok_or(Failed)?;
        assert_eq!(written(&table), 0b11000);
        // Volumes that become copies of another disk: their disks are filled.
        let copied = new("G0 128 1 /m0 2 LV0 ro /sda - LV1 ro /sdb - 3 init copy_from LV0")?;
        assert_eq!(written(&copied), 0b10);
        Ok(())
    }

    /// It was added, but its device was missing when the table was loaded.
    #[test]
    fn a_store_that_failed_before_it_was_made() -> Test {
        let table = active(FIGURE_9)?;
        let table = added(&table, "D3", Attr::Increments, None, true)?.map_err(|_| Failed)?;
        let table = added(&table, "C1", Attr::Ro, Some("D3"), false)?.map_err(|_| Failed)?;
        const WITHOUT: &str = "G0 128 2 /m0 /m1 7 LV0 ro /sda - LV1 ro /sdb - \
            LV2 rw /sdc DLV2 S0 spare /sdd - DLV2 increments /sde - D3 increments - - C1 ro - D3";
        const WITH: &str = "G0 128 2 /m0 /m1 7 LV0 ro /sda - LV1 ro /sdb - \
            LV2 rw /sdc DLV2 S0 spare /sdd - DLV2 increments /sde - D3 increments /sdf - C1 ro - D3";
        let (table, _) = bind(WITHOUT, table.metadata().try_clone()?)?;
        assert_eq!(health(&table, 5), Some(Health::Failed));
        assert!(table.view(6).is_some_and(|view| view.reads == Home::Base));
        let (table, _) = bind(WITH, table.metadata().try_clone()?)?;
        assert_eq!(health(&table, 5), Some(Health::Failed));
        assert!(table.new_stores().next().is_none());

        let table = table.with_readded(5)?.ok_or(Failed)?;
        assert!(table.new_stores().eq([5]));
        let table = table.with_stores_back(|entry| entry == 5)?.ok_or(Failed)?;
        assert!(table.metadata().check().is_ok());
        assert_eq!(health(&table, 5), Some(Health::InSync));
        assert!(table.volume(5).is_some_and(|store| store.failed_at == 0));
        assert!(table
            .view(6)
            .is_some_and(|view| view == VolumeView::DIVERTED));
        assert_eq!(table.state(), GroupState::Clean);
        Ok(())
    }

    #[test]
    fn whether_a_table_may_begin_anew() -> Test {
        let table = active(FIGURE_9)?;
        let entries = table.volumes().len();
        assert!(table.may_begin_anew(entries));
        // The live line lacks an entry that joined, or has one that left.
        let joined = added(&table, "C9", Attr::Ro, Some("DLV2"), false)?.map_err(|_| Failed)?;
        assert!(!joined.may_begin_anew(entries));
        let left = table.with_removed(&id("S0")?).map_err(|_| Failed)?;
        assert!(!left.may_begin_anew(entries));
        // It joined and left again.
        let over = joined.with_removed(&id("C9")?).map_err(|_| Failed)?;
        assert!(over.may_begin_anew(entries));
        // A start would have to tell the store of an event, but the store can't be written.
        let kept = table.with_kept_store(4, 1)?.ok_or(Failed)?;
        assert!(!kept.may_begin_anew(entries));
        Ok(())
    }

    #[test]
    fn entries_join_the_group() -> Test {
        let table = active(FIGURE_9)?;
        let next = added(&table, "LV3", Attr::Rw, Some("DLV2"), true)?.map_err(|_| Failed)?;
        assert_eq!(next.head().events, table.head().events + 1);
        assert_eq!(next.volumes().len(), 6);
        assert_eq!(next.health(5), Some(Health::Rebuilding));
        assert_eq!(next.rebuild_of(5).map(|rebuild| rebuild.target), Some(5));
        assert!(next.is_served(5) && !next.sources().any(|source| source == 5));
        // Nobody fills its disk yet, so it may leave again: in a single change, or a commit would
        // skip a generation.
        let gone = next.with_removed(&id("LV3")?).map_err(|_| Failed)?;
        assert_eq!(gone.head().sequence, next.head().sequence + 1);
        assert_eq!(gone.head().events, next.head().events + 1);
        assert!(gone.rebuilds().next().is_none() && gone.metadata().check().is_ok());
        let next = added(&next, "DLV3", Attr::Increments, None, true)?.map_err(|_| Failed)?;
        assert!(next.new_stores().eq([6]));
        let next = added(&next, "C1", Attr::Ro, Some("DLV3"), false)?.map_err(|_| Failed)?;
        let next = added(&next, "S1", Attr::Spare, None, true)?.map_err(|_| Failed)?;
        assert_eq!(next.health(7), Some(Health::InSync));
        assert_eq!(next.health(8), Some(Health::Spare));
        let known = next.metadata().try_clone()?;
        assert!(known.check().is_ok());

        // Old lines lack them. A line that has them matches; only the sizes are new.
        let error = bind(FIGURE_9, next.metadata().try_clone()?).err();
        assert_eq!(error, Some(BindError::Unlisted(id("LV3")?)));
        const EXTENDED: &str = "G0 128 2 /m0 /m1 9 LV0 ro /sda - LV1 ro /sdb - \
            LV2 rw /sdc DLV2 S0 spare /sdd - DLV2 increments /sde - LV3 rw /sdf DLV2 \
            DLV3 increments /sdg - C1 ro - DLV3 S1 spare /sdh -";
        let (bound, changed) = bind(EXTENDED, known)?;
        assert!(changed);
        assert_eq!(bound.health(7), Some(Health::InSync));
        let opened = bound.with_stores_back(|entry| entry == 6)?.ok_or(Failed)?;
        assert!(opened.new_stores().next().is_none());
        assert!(opened.volume(6).is_some_and(|store| store.state.formatted));
        let filled = opened.with_rebuilt(5)?.ok_or(Failed)?;
        assert_eq!(filled.health(5), Some(Health::InSync));
        Ok(())
    }

    #[test]
    fn entries_that_cannot_join() -> Test {
        let table = active(FIGURE_9)?;
        let why = |lid: &str, attr: Attr, rlid: Option<&str>, has_disk: bool| {
            Ok::<_, Failed>(added(&table, lid, attr, rlid, has_disk)?.err())
        };
        let (lv0, dlv2) = (id("LV0")?, id("DLV2")?);
        assert_eq!(why("LV0", Attr::Ro, None, true)?, Some(AddError::Known));
        assert_eq!(why("LV3", Attr::Ro, None, false)?, Some(AddError::NoDisk));
        assert_eq!(
            why("LV3", Attr::Rw, Some("DLV2"), false)?,
            Some(AddError::NoDisk)
        );
        assert_eq!(
            why("LV3", Attr::Rw, None, true)?,
            Some(AddError::NoIncrements)
        );
        assert_eq!(
            why("LV3", Attr::Rw, Some("LV0"), true)?,
            Some(AddError::Rlid(lv0))
        );
        let failed = failed(&table, 4)?;
        let error = added(&failed, "LV3", Attr::Rw, Some("DLV2"), true)?.err();
        assert_eq!(error, Some(AddError::StoreFailed(dlv2)));
        let left = table.with_removed(&id("S0")?).map_err(|_| Failed)?;
        let error = added(&left, "S0", Attr::Spare, None, true)?.err();
        assert_eq!(error, Some(AddError::Left));
        Ok(())
    }

    #[test]
    fn a_disk_that_cannot_be_read_counts_as_missing() -> Test {
        let written = || -> Result<Metadata, Failed> {
            let table = active(FIGURE_9)?.with_writes(2)?.ok_or(Failed)?;
            Ok(table.metadata().try_clone()?)
        };
        for entry in 0..5 {
            let mut missing = line(FIGURE_9)?;
            if let Some(volume) = missing.volumes.get_mut(entry) {
                volume.dev = None;
            }
            let missing = GroupTable::bind(&missing, written()?, |_| Some(2 * SECTORS))?;
            let (dead, changed) = bind_dead(FIGURE_9, written()?, &[entry])?;
            assert!(changed && missing.changed);
            assert!(dead == missing.table);
            assert_eq!(dead.state(), GroupState::Degraded);
            assert!(dead.volume(entry).is_some_and(|disk| disk.state.failed));
            assert_eq!(dead.head().events, written()?.head.events + 1);

            // After that, it is known.
            let metadata = dead.metadata().try_clone()?;
            assert_eq!(bind(FIGURE_9, metadata)?, (dead, false));
        }
        Ok(())
    }

    #[test]
    fn a_disk_that_cannot_be_read_is_needed() -> Test {
        let refused = |dead: &[usize]| -> Result<Option<BindError>, Failed> {
            let table = active(FIGURE_9)?.with_writes(2)?.ok_or(Failed)?;
            let metadata = table.metadata().try_clone()?;
            Ok(bind_dead(FIGURE_9, metadata, dead).err())
        };
        assert_eq!(refused(&[0, 2])?, None);
        assert_eq!(refused(&[0, 1])?, Some(BindError::NotServed(id("LV0")?)));
        assert_eq!(refused(&[2, 4])?, Some(BindError::Lost(id("LV2")?)));

        // Force only applies to what the line leaves out.
        let mut by_force = line(CLONES)?;
        by_force.features.force_metadata = true;
        let bound = GroupTable::bind(&by_force, metadata(CLONES)?, |entry| {
            (entry != 4).then_some(2 * SECTORS)
        });
        assert_eq!(bound.err(), Some(BindError::Lost(id("C1")?)));
        Ok(())
    }

    #[test]
    fn disk_after_disk_fails() -> Test {
        let table = failed(&active(FIGURE_9)?, 0)?;
        assert!(table.with_failed_disk(0)?.is_none());
        assert!(table.with_failed_disk(9)?.is_none());
        let table = failed(&table, 2)?;
        assert_eq!(health(&table, 2), Some(Health::Degraded));
        assert!(table
            .view(2)
            .is_some_and(|view| view.reads == Home::Overlay));
        assert_eq!(table.state(), GroupState::Degraded);
        assert_eq!(table.redundancy(), 0);
        assert_eq!(table.protection(1), Protection::Unprotected);
        let table = failed(&table, 1)?;
        assert_eq!(table.state(), GroupState::Failed);
        assert_eq!(sources(&table), 0);
        Ok(())
    }

    #[test]
    fn no_copy_can_be_written() -> Test {
        let mut table = active(FIGURE_9)?;
        assert!(table.set_unwritable() && !table.set_unwritable());
        assert_eq!(
            (table.state(), table.redundancy()),
            (GroupState::Degraded, 0)
        );
        let next = table.recommitted()?;
        assert_eq!((next.state(), next.redundancy()), (GroupState::Clean, 1));
        Ok(())
    }

    #[test]
    fn spare_and_increments_fail() -> Test {
        let table = failed(&active(FIGURE_9)?, 3)?;
        assert_eq!(health(&table, 3), Some(Health::Failed));
        assert_eq!(table.state(), GroupState::Degraded);
        assert_eq!(table.redundancy(), 1);
        let table = failed(&table, 4)?;
        assert_eq!(health(&table, 4), Some(Health::Failed));
        assert_eq!(table.protection(2), Protection::Unprotected);
        assert_eq!(table.redundancy(), 0);
        Ok(())
    }

    #[test]
    fn disks_are_given_up_while_others_serve() -> Test {
        let table = active(FIGURE_9)?;
        assert_eq!(table.disk_meant(&id("LV2")?), Ok(2));
        assert_eq!(table.disk_meant(&id("S0")?), Ok(3));
        assert_eq!(table.disk_meant(&id("LV9")?), Err(FailError::Unknown));
        let refused = |table: &GroupTable, entry| table.with_disk_given_up(entry).err();
        assert_eq!(refused(&table, 9), Some(FailError::Unknown));

        let give_up =
            |table: &GroupTable, entry| table.with_disk_given_up(entry).map_err(|_| Failed);
        let table = give_up(&table, 2)?;
        assert_eq!(health(&table, 2), Some(Health::Degraded));
        assert_eq!(table.disk_meant(&id("LV2")?), Err(FailError::Known));
        assert_eq!(refused(&table, 2), Some(FailError::Known));
        let table = give_up(&table, 3)?;
        let table = give_up(&table, 0)?;
        assert_eq!(table.state(), GroupState::Degraded);
        assert_eq!(refused(&table, 1), Some(FailError::Needed(id("LV0")?)));

        // A disk that was written without a log has data that is nowhere else.
        let table = active(FIGURE_9)?;
        let table = table.with_unprotected(2)?.ok_or(Failed)?;
        assert_eq!(refused(&table, 2), Some(FailError::Needed(id("LV2")?)));
        Ok(())
    }

    #[test]
    fn a_disk_that_is_being_filled_is_given_up() -> Test {
        let (lv2, s0) = (id("LV2")?, id("S0")?);
        let rebuild = |table: &GroupTable, onto: &Id| {
            let next = table.with_rebuild(&lv2, Some(onto), |_| true);
            next.map_err(|_| Failed)
        };
        let give_up =
            |table: &GroupTable, entry| table.with_disk_given_up(entry).map_err(|_| Failed);
        // The disk of a volume that has no other disk.
        let table = active(FIGURE_9)?.with_writes(2)?.ok_or(Failed)?;
        let table = failed(&table, 2)?.with_readded(2)?.ok_or(Failed)?;
        assert_eq!(table.disk_meant(&lv2), Err(FailError::NoDisk));
        let filled = rebuild(&table, &lv2)?;
        assert_eq!(filled.disk_meant(&lv2), Ok(2));
        let stopped = give_up(&filled, 2)?;
        assert_eq!(health(&stopped, 2), Some(Health::Degraded));
        assert_eq!(stopped.rebuild_of(2), None);
        assert_eq!(stopped.disk_meant(&lv2), Err(FailError::Known));

        // It lives on the spare, and moves back.
        let lives = rebuild(&table, &s0)?.with_rebuilt(2)?.ok_or(Failed)?;
        assert_eq!(lives.disk_meant(&lv2), Ok(3));
        let moving = rebuild(&lives, &lv2)?;
        assert_eq!(moving.disk_meant(&lv2), Ok(2));
        assert_eq!(moving.disk_meant(&s0), Ok(3));
        let stays = give_up(&moving, 2)?;
        assert_eq!((stays.disk_of(2), stays.rebuild_of(2)), (Some(3), None));
        assert_eq!(health(&stays, 2), Some(Health::InSync));
        Ok(())
    }

    #[test]
    fn an_increments_volume_fails() -> Test {
        // Nothing was written, so the disk is still a source.
        let table = active(FIGURE_9)?;
        let table = table.with_disk_given_up(4).map_err(|_| Failed)?;
        assert_eq!(table.state(), GroupState::Degraded);
        assert_eq!(sources(&table), 0b111);
        assert_eq!(table.protection(2), Protection::Unprotected);
        let in_place = |table: &GroupTable| table.view(2).map(|view| view.writes);
        assert_eq!(in_place(&table), Some(Home::Disk(2)));
        assert!(table.with_unprotected(2)?.is_some());

        // Written data no longer has a log, and the same commit records that.
        let table = active(FIGURE_9)?.with_writes(2)?.ok_or(Failed)?;
        let table = failed(&table, 4)?;
        assert!(table.volume(2).is_some_and(|disk| disk.state.unprotected));
        assert_eq!(table.health(2), Some(Health::InSync));
        assert_eq!(table.health(4), Some(Health::Failed));
        assert!(table.with_unprotected(2)?.is_none());
        assert_eq!(table.with_disk_given_up(4), Err(FailError::Known));
        assert_eq!(
            table.with_disk_given_up(2),
            Err(FailError::Needed(id("LV2")?))
        );
        // It is not trusted when it comes back.
        let line = "G0 128 2 /m0 /m1 5 LV0 ro /sda - LV1 ro /sdb - \
            LV2 rw /sdc DLV2 S0 spare /sdd - DLV2 increments /sde -";
        let (bound, changed) = bind(line, table.metadata().try_clone()?)?;
        assert!(!changed);
        assert_eq!(bound.health(4), Some(Health::Failed));
        assert_eq!(in_place(&bound), Some(Home::Disk(2)));
        // The same if it is missing at a start.
        let table = active(FIGURE_9)?.with_writes(2)?.ok_or(Failed)?;
        let line = "G0 128 2 /m0 /m1 5 LV0 ro /sda - LV1 ro /sdb - \
            LV2 rw /sdc DLV2 S0 spare /sdd - DLV2 increments - -";
        let (bound, changed) = bind(line, table.metadata().try_clone()?)?;
        assert!(changed);
        assert!(bound.volume(2).is_some_and(|disk| disk.state.unprotected));
        Ok(())
    }

    #[test]
    fn an_increments_volume_fails_that_is_needed() -> Test {
        let table = active(CLONES)?;
        let table = table.with_writes(2)?.ok_or(Failed)?;
        assert_eq!(
            table.with_disk_given_up(4),
            Err(FailError::Needed(id("C1")?))
        );
        let lost = failed(&table, 4)?;
        assert_eq!(lost.state(), GroupState::Failed);
        assert_eq!(lost.health(1), Some(Health::Failed));
        assert_eq!(lost.health(2), Some(Health::InSync));
        assert!(lost.view(1).is_some_and(|v| v == VolumeView::NOWHERE));
        assert_eq!(sources(&lost), 0b1);
        // The others start without it.
        assert!(bind(CLONES_WITHOUT_STORE, lost.metadata().try_clone()?).is_ok());
        // A loss that is not recorded yet is accepted only by force.
        let before = || table.metadata().try_clone();
        assert_eq!(
            bind(CLONES_WITHOUT_STORE, before()?).err(),
            Some(BindError::Lost(id("C1")?))
        );
        let (bound, _) = bind(CLONES_BY_FORCE, before()?)?;
        assert_eq!(bound.health(1), Some(Health::Failed));

        // A volume whose disk is gone, and one that is being rebuilt.
        let degraded = failed(&table, 2)?;
        assert_eq!(degraded.health(2), Some(Health::Degraded));
        assert_eq!(failed(&degraded, 4)?.health(2), Some(Health::Failed));
        let rebuilding = degraded.with_rebuild(&id("L5")?, None, |_| true);
        let rebuilding = rebuilding.map_err(|_| Failed)?;
        let lost = failed(&rebuilding, 4)?;
        assert_eq!(lost.health(2), Some(Health::Failed));
        assert_eq!(lost.rebuilds().count(), 0);
        Ok(())
    }

    /// It is not given up, but may miss events from now on; volumes that need it are not healthy.
    #[test]
    fn an_increments_volume_is_kept() -> Test {
        let table = active(CLONES)?;
        let told = table.head().events;
        assert!(table.with_kept_store(0, told)?.is_none());
        let kept = table.with_kept_store(4, told)?.ok_or(Failed)?;
        assert!(kept.metadata().check().is_ok());
        let failed_at = |table: &GroupTable| table.volume(4).map(|store| store.failed_at);
        assert_eq!(failed_at(&kept), Some(told + 1));
        assert!(kept.with_kept_store(4, told)?.is_none());
        let of = |table: &GroupTable| [0, 1, 2, 4].map(|entry| table.health(entry));
        let (well, failed_now) = (Some(Health::InSync), Some(Health::Failed));
        assert_eq!(of(&kept), [well, failed_now, well, failed_now]);
        assert_eq!(kept.state(), GroupState::Failed);
        assert_eq!(kept.protection(1), Protection::Unprotected);
        assert!(kept.is_served(1) && kept.news(&table).count() == 2);

        // It knows less than it should have been told.
        let late = table.recommitted()?.opened()?.opened()?.opened()?;
        let late = late.with_kept_store(4, told)?.ok_or(Failed)?;
        assert_eq!(failed_at(&late), Some(told + 2));
        let mut late = table.opened()?.opened()?;
        assert!(late.keep_store(4, told) && !late.keep_store(4, told) && !late.keep_store(0, told));
        assert_eq!(
            (failed_at(&late), late.is_kept_store(4)),
            (Some(told + 2), true)
        );

        // It finally fails, or comes back in one of two ways.
        let gone = bind_dead(CLONES_BY_FORCE, kept.metadata().try_clone()?, &[])?.0;
        assert_eq!(
            (failed_at(&gone), gone.is_kept_store(4)),
            (Some(told + 1), false)
        );
        assert!(kept.with_stores_told(|_| false)?.is_none());
        let back = kept.with_stores_told(|entry| entry == 4)?.ok_or(Failed)?;
        for back in [back, kept.opened()?] {
            assert_eq!((of(&back), failed_at(&back)), ([well; 4], Some(0)));
            assert_eq!(back.state(), GroupState::Clean);
        }
        Ok(())
    }

    #[test]
    fn unlogged_writes() -> Test {
        let table = active(IN_PLACE)?;
        assert_eq!(table.protection(1), Protection::Unprotected);
        assert_eq!(sources(&table), 0b11);
        let table = table.with_unprotected(1)?.ok_or(Failed)?;
        assert!(table
            .view(1)
            .is_some_and(|view| view.writes == Home::Disk(1)));
        assert!(table.metadata().check().is_ok());
        assert!(table.with_unprotected(1)?.is_none());
        assert_eq!(sources(&table), 0b1);

        // The user no longer allows it.
        let text = "G0 128 1 /m0 2 LV0 ro /sda - LV1 ro /sdb -";
        let (bound, _) = bind(text, table.metadata().try_clone()?)?;
        assert!(bound
            .view(1)
            .is_some_and(|view| view.writes == Home::Nowhere));

        // Data that is only on that disk can't be served without it.
        let text = "G0 128 1 /m0 2 LV0 ro /sda - LV1 ro - -";
        let error = bind(text, table.metadata().try_clone()?).err();
        assert_eq!(error, Some(BindError::NotServed(id("LV1")?)));
        assert_eq!(failed(&table, 1)?.state(), GroupState::Failed);
        let text = "G0 128 1 /m0 2 LV0 ro - - LV1 ro /sdb -";
        let error = bind(text, table.metadata().try_clone()?).err();
        assert_eq!(error, Some(BindError::NotServed(id("LV0")?)));

        // By force, the others start, and from then on no force is needed. Something has to be
        // left.
        let text = "G0 128 1 /m0 2 LV0 ro /sda - LV1 ro - - 1 force_metadata";
        let (bound, _) = bind(text, table.metadata().try_clone()?)?;
        assert_eq!(bound.health(1), Some(Health::Failed));
        let text = "G0 128 1 /m0 2 LV0 ro /sda - LV1 ro - -";
        assert!(bind(text, bound.metadata().try_clone()?).is_ok());
        let text = "G0 128 1 /m0 2 LV0 ro - - LV1 ro - - 1 force_metadata";
        let error = bind(text, table.metadata().try_clone()?).err();
        assert_eq!(error, Some(BindError::NotServed(id("LV0")?)));
        Ok(())
    }

    #[test]
    fn a_disk_and_its_increments_are_missing() -> Test {
        let written = |text| -> Result<_, Failed> {
            let table = active(text)?;
            let entry = table.position(&id("L1")?).ok_or(Failed)?;
            table.with_writes(entry)?.ok_or(Failed)
        };
        // In any order in the line.
        for (all, missing) in [
            (
                "G0 128 1 /m0 3 LV0 ro /sda - L1 rw /sdb ST ST increments /sdc - \
                    2 init assume_identical",
                "G0 128 1 /m0 3 LV0 ro /sda - L1 rw - ST ST increments - - 1 force_metadata",
            ),
            (
                "G0 128 1 /m0 3 LV0 ro /sda - ST increments /sdc - L1 rw /sdb ST \
                    2 init assume_identical",
                "G0 128 1 /m0 3 LV0 ro /sda - ST increments - - L1 rw - ST 1 force_metadata",
            ),
        ] {
            let table = written(all)?;
            let entry = table.position(&id("L1")?).ok_or(Failed)?;
            let store = table.position(&id("ST")?).ok_or(Failed)?;
            let (forced, _) = bind(missing, table.metadata().try_clone()?)?;
            assert_eq!(forced.health(entry), Some(Health::Failed));
            // Flushed data is back together with the increments.
            let back = forced.with_readded(store)?.ok_or(Failed)?;
            let back = back.with_stores_back(|_| true)?.ok_or(Failed)?;
            assert!(back.is_served(entry));
        }
        Ok(())
    }

    #[test]
    fn another_disk_lives_on_that_of_a_clone() -> Test {
        let text = "G0 128 1 /m0 4 LV0 ro /sda - LV1 ro /sdb - C1 ro /sdd ST ST increments /sde -";
        let mut given = metadata(
            "G0 128 1 /m0 4 LV0 ro /sda - LV1 ro /sdb - C1 ro - ST \
            ST increments /sde - 2 init assume_identical",
        )?;
        let (table, _) = bind(text, given.try_clone()?)?;
        let moving = table.with_rebuild(&id("LV1")?, Some(&id("C1")?), |_| true);
        let moved = moving.map_err(|_| Failed)?.with_rebuilt(1)?.ok_or(Failed)?;
        given = moved.metadata().try_clone()?;
        let text = "G0 128 1 /m0 4 LV0 ro /sda - LV1 ro /sdb - C1 ro - ST ST increments /sde -";
        let (bound, changed) = bind(text, given)?;
        assert!(changed);
        assert_eq!(bound.disk_of(1), None);
        Ok(())
    }

    #[test]
    fn lost_metadata_copies() -> Test {
        let mut metadata = metadata(FIGURE_9)?;
        let events = metadata.head.events;
        assert!(!metadata.lose_copy(2, events));
        let mut changed = metadata.try_next()?;
        changed.head.events += 1;
        assert!(metadata.lose_copy(0, events));
        assert_eq!(metadata.head.events, events + 1);
        // Found as part of another event.
        assert!(changed.lose_copy(0, events));
        assert_eq!(changed.head.events, events + 1);
        assert!(!metadata.lose_copy(0, events));
        // The last one stays.
        assert!(!metadata.lose_copy(1, events));
        assert_eq!(metadata.head.events, events + 1);

        let (table, changed) = bind(FIGURE_9, metadata)?;
        assert!(!changed);
        assert_eq!(table.state(), GroupState::Degraded);
        assert_eq!(table.redundancy(), 0);

        let second = table.recommitted()?;
        assert_eq!(second.head().sequence, table.head().sequence + 1);
        assert_eq!(second.head().events, table.head().events);
        Ok(())
    }

    #[test]
    fn a_commit_that_failed_does_not_count_as_newer() -> Test {
        let mut table = active(FIGURE_9)?;
        let (sequence, events) = (table.head().sequence, table.head().events);
        let mut failed = table.with_disk_given_up(0).map_err(|_| Failed)?;
        // It may have gone to a slot whose generation nobody needs any more.
        table.follow(&failed);
        assert_eq!(table.head().sequence, sequence);
        // One copy had it; then came the next generation, without the other copy.
        failed.set_sequence(sequence + 2);
        table.follow(&failed);
        table.follow(&failed);
        assert_eq!(table.head().events, events);
        let next = table.recommitted()?;
        assert_eq!(next.head().sequence, failed.head().sequence);
        assert_eq!(
            table.instead_of(&failed)?.head().sequence,
            failed.head().sequence
        );
        Ok(())
    }

    /// The metadata as the next load reads it.
    fn reread(table: &GroupTable) -> Result<Metadata, Failed> {
        let metadata = table.metadata();
        let body = metadata.encode_body().map_err(|_| Failed)?;
        let mut sector = [0; HEADER_BYTES];
        assert!(metadata.encode_header(0, &body, &mut sector));
        let header = Header::decode(&sector).map_err(|_| Failed)?;
        Metadata::decode(&header, &body).map_err(|_| Failed)
    }

    #[test]
    fn entries_leave() -> Test {
        let table = active(FIGURE_9)?;
        let without = table.with_removed(&id("LV0")?).map_err(|_| Failed)?;
        assert!(without.metadata().check().is_ok());
        assert_eq!(without.head().events, table.head().events + 1);
        // Others keep their places, and it can't be found.
        assert!(without.is_removed(0) && !without.is_removed(1));
        assert_eq!(without.position(&id("LV0")?), None);
        assert_eq!(without.position(&id("LV2")?), Some(2));
        assert_eq!(sources(&without), 0b110);
        assert_eq!(without.state(), GroupState::Clean);

        let text = "G0 128 2 /m0 /m1 4 LV1 ro /sdb - LV2 rw /sdc DLV2 S0 spare /sdd - \
            DLV2 increments /sde -";
        let (bound, changed) = bind(text, reread(&without)?)?;
        assert!(!changed);
        assert_eq!(bound.volumes().len(), 4);
        let error = bind(FIGURE_9, reread(&without)?).err();
        assert_eq!(error, Some(BindError::Unknown(id("LV0")?)));

        let error = without.with_removed(&id("LV0")?).err();
        assert_eq!(error, Some(RemoveError::Unknown));
        let error = without.with_removed(&id("DLV2")?).err();
        assert_eq!(error, Some(RemoveError::Keeps(id("LV2")?)));
        let without = without.with_removed(&id("LV2")?).map_err(|_| Failed)?;
        let without = without.with_removed(&id("DLV2")?).map_err(|_| Failed)?;
        let without = without.with_removed(&id("S0")?).map_err(|_| Failed)?;
        assert_eq!(reread(&without)?.volumes.len(), 1);
        let error = without.with_removed(&id("LV1")?).err();
        assert_eq!(error, Some(RemoveError::Last));
        Ok(())
    }

    #[test]
    fn entries_that_others_need_stay() -> Test {
        let text = "G0 128 1 /m0 3 LV0 ro /a I0 LV1 ro - I0 I0 increments /i - \
            2 init assume_identical";
        let table = active(text)?;
        let error = table.with_removed(&id("LV0")?).err();
        assert_eq!(error, Some(RemoveError::Needed(id("LV1")?)));
        let table = table.with_removed(&id("LV1")?).map_err(|_| Failed)?;
        // A line needs a volume.
        let error = table.with_removed(&id("LV0")?).err();
        assert_eq!(error, Some(RemoveError::Last));
        Ok(())
    }

    #[test]
    fn diverted_volumes_have_no_second_home() -> Test {
        let text = "G0 128 2 /m0 /m1 3 LV0 ro /a I0 LV1 ro /b - I0 increments /i - \
            2 init assume_identical";
        let table = active(text)?;
        assert_eq!(table.redundancy(), 0);
        assert_eq!(table.protection(0), Protection::Protected);
        Ok(())
    }

    #[test]
    fn status_line() -> Test {
        let mut expected = Expect(
            "G0 clean 1 2 AA 5 11 \
            LV0 ro in-sync protected LV0 - 7 0 0 - 0 \
            LV1 ro in-sync protected LV1 - 7 0 0 - 5 \
            LV2 rw in-sync protected LV2 DLV2 7 1 2 - 0 \
            S0 spare spare - S0 - 7 0 0 - 0 \
            DLV2 increments in-sync - DLV2 - 7 0 0 3/9 0",
        );
        let written = active(FIGURE_9)?.write_status(&mut expected, |entry| Counters {
            frequency: 7,
            read_errors: u64::from(entry == 2),
            write_errors: if entry == 2 { 2 } else { 0 },
            blocks: (entry == 4).then_some((3, 9)),
            repairs: if entry == 1 { 5 } else { 0 },
        });
        assert!(written.is_ok() && expected.0.is_empty());
        Ok(())
    }

    #[test]
    fn logged_and_diverted() -> Test {
        let (lv0, lv2) = (id("LV0")?, id("LV2")?);
        let table = active(FIGURE_9)?;
        assert_eq!(table.with_attr(&lv2, Attr::Rw, None), Ok(None));
        let diverted = table.with_attr(&lv2, Attr::Ro, None).ok().flatten();
        let diverted = diverted.ok_or(Failed)?;
        assert!(diverted.metadata().check().is_ok());
        assert_eq!(diverted.head().events, table.head().events + 1);
        // Nothing was written to its disk.
        assert_eq!(sources(&diverted), 0b111);
        assert_eq!(
            diverted.view(2).map(|view| view.writes),
            Some(Home::Overlay)
        );

        let logged = diverted.with_attr(&lv2, Attr::Rw, None).ok().flatten();
        let logged = logged.ok_or(Failed)?;
        assert_eq!(sources(&logged), 0b011);
        assert_eq!(
            logged.view(2).map(|view| view.writes),
            Some(Home::Logged(2))
        );
        let again = logged.with_attr(&lv2, Attr::Ro, None).ok().flatten();
        assert_eq!(sources(&again.ok_or(Failed)?), 0b011);

        let unprotected = logged.with_unprotected(2)?.ok_or(Failed)?;
        let refused = unprotected.with_attr(&lv2, Attr::Ro, None);
        assert_eq!(refused, Err(AttrError::Unprotected));
        let no_store = failed(&table, 4)?.with_attr(&lv2, Attr::Ro, None);
        assert_eq!(no_store, Err(AttrError::NoStore));
        let refused = table.with_attr(&lv0, Attr::Rw, None);
        assert_eq!(refused, Err(AttrError::NotAllowed));
        let refused = table.with_attr(&id("S0")?, Attr::Rw, None);
        assert_eq!(refused, Err(AttrError::NoVolume(Attr::Spare)));
        let refused = table.with_attr(&id("LV9")?, Attr::Rw, None);
        assert_eq!(refused, Err(AttrError::Unknown));
        Ok(())
    }

    #[test]
    fn attributes_need_a_source() -> Test {
        let lv2 = id("LV2")?;
        let table = active(FIGURE_9)?;
        let alone = failed(&failed(&table, 0)?, 1)?;
        // Its own disk is the only one with the base: that is enough as long as it is not written.
        let diverted = alone.with_attr(&lv2, Attr::Ro, None).ok().flatten();
        let diverted = diverted.ok_or(Failed)?;
        assert!(matches!(
            diverted.with_attr(&lv2, Attr::Rw, None),
            Err(AttrError::Needed(_))
        ));
        Ok(())
    }

    #[test]
    fn attributes_without_a_log() -> Test {
        let (lv0, lv1) = (id("LV0")?, id("LV1")?);
        let table = active(IN_PLACE)?;
        let table = table.with_attr(&lv1, Attr::Ro, None).ok().flatten();
        let table = table.ok_or(Failed)?;
        assert_eq!(sources(&table), 0b11);
        let table = table.with_attr(&lv0, Attr::Rw, None).ok().flatten();
        let table = table.ok_or(Failed)?;
        assert_eq!(table.view(0).map(|view| view.writes), Some(Home::Disk(0)));
        let written = table.with_unprotected(0)?.ok_or(Failed)?;
        let refused = written.with_attr(&lv0, Attr::Ro, None);
        assert_eq!(refused, Err(AttrError::Written));
        Ok(())
    }

    #[test]
    fn a_volume_moves_that_is_well() -> Test {
        let lv0 = id("LV0")?;
        let table = active(FIGURE_9)?;
        assert!(table.with_next_rebuild(|_| true, |_| true)?.is_none());
        let moving = table.with_rebuild(&lv0, None, |_| true);
        let moving = moving.map_err(|_| Failed)?;
        assert!(moving.metadata().check().is_ok());
        assert_eq!(moving.rebuild_of(0).map(|rebuild| rebuild.target), Some(3));
        assert_eq!(health(&moving, 0), Some(Health::InSync));
        assert_eq!(moving.state(), GroupState::Clean);
        assert_eq!((moving.redundancy(), sources(&moving)), (1, 0b111));
        let again = moving.with_rebuild(&lv0, None, |_| true);
        assert_eq!(again, Err(RestoreError::Rebuilding));
        let refused = moving.with_attr(&lv0, Attr::Rw, None);
        assert!(refused.is_err());
        assert_eq!(moving.with_removed(&lv0), Err(RemoveError::Rebuilding(lv0)));

        // The move completes.
        let moved = moving.with_rebuilt(0)?.ok_or(Failed)?;
        assert!(moved.metadata().check().is_ok());
        assert_eq!((moved.disk_of(0), sources(&moved)), (Some(3), 0b1110));
        assert!(moved.volume(0).is_some_and(|disk| !disk.state.pristine));
        // And back to its own disk, which is chosen automatically.
        let back = moved.with_rebuild(&lv0, None, |_| true);
        let back = back.map_err(|_| Failed)?.with_rebuilt(0)?.ok_or(Failed)?;
        assert!(back.metadata().check().is_ok());
        assert_eq!((back.disk_of(0), sources(&back)), (Some(0), 0b111));
        assert_eq!(health(&back, 3), Some(Health::Spare));

        // If its old disk fails, the move becomes a rebuild; if the new one fails, nothing has
        // changed.
        let rebuilding = failed(&moving, 0)?;
        assert_eq!(health(&rebuilding, 0), Some(Health::Rebuilding));
        assert_eq!(rebuilding.rebuild_of(0), moving.rebuild_of(0));
        let stays = failed(&moving, 3)?;
        assert_eq!(health(&stays, 0), Some(Health::InSync));
        assert_eq!((stays.disk_of(0), stays.rebuild_of(0)), (Some(0), None));
        let (bound, _) = bind(WITHOUT_LV0, moving.metadata().try_clone()?)?;
        assert_eq!(health(&bound, 0), Some(Health::Rebuilding));
        Ok(())
    }

    #[test]
    fn what_is_not_here_to_be_copied_is_not_rebuilt() -> Test {
        let table = failed(&active(FIGURE_9)?, 0)?;
        let table = failed(&table.with_writes(2)?.ok_or(Failed)?, 2)?;
        let begun = |may_begin: fn(usize) -> bool| {
            let next = table.with_next_rebuild(may_begin, |_| true);
            next.map(|next| next.and_then(|next| next.rebuilds().last().map(|r| r.entry)))
        };
        assert_eq!(begun(|_| true), Ok(Some(2)));
        assert_eq!(begun(|entry| entry != 2), Ok(Some(0)));
        assert_eq!(begun(|_| false), Ok(None));
        // A volume that is not written has nothing but the base image.
        assert!(table.needs_increments(2));
        assert!(!table.needs_increments(0));
        assert!(!failed(&table, 4)?.needs_increments(2));
        Ok(())
    }

    #[test]
    fn a_volume_moves_that_is_written_in_place() -> Test {
        let lv2 = id("LV2")?;
        let table = active(FIGURE_9)?.with_writes(2)?.ok_or(Failed)?;
        let moving = table.with_rebuild(&lv2, None, |_| true);
        let moving = moving.map_err(|_| Failed)?;
        assert!(moving.metadata().check().is_ok());
        assert_eq!(moving.rebuild_of(2).map(|rebuild| rebuild.target), Some(3));
        assert_eq!(health(&moving, 2), Some(Health::InSync));
        assert_eq!((moving.redundancy(), sources(&moving)), (1, 0b11));
        assert_eq!(moving.view(2), table.view(2));
        assert!(moving.with_cursor(2, 512)?.is_none());
        let moved = moving.with_rebuilt(2)?.ok_or(Failed)?;
        assert!(moved.metadata().check().is_ok());
        assert_eq!((moved.disk_of(2), sources(&moved)), (Some(3), 0b11));
        assert!(moved.served_by(2).is_none());

        // Without its old disk, it is like any other volume that has lost its disk; without the new
        // one, or its log, it stays where it is.
        let degraded = failed(&moving, 2)?;
        assert_eq!(health(&degraded, 2), Some(Health::Degraded));
        assert_eq!(
            (degraded.rebuild_of(2), health(&degraded, 3)),
            (None, Some(Health::Spare))
        );
        for stays in [
            failed(&moving, 3)?,
            failed(&moving, 4)?,
            moving.with_unprotected(2)?.ok_or(Failed)?,
        ] {
            assert!(stays.metadata().check().is_ok());
            assert_eq!(health(&stays, 2), Some(Health::InSync));
            assert_eq!((stays.disk_of(2), stays.rebuild_of(2)), (Some(2), None));
        }

        // Not moved: without a log, or if no other disk has the base image.
        let unprotected = table.with_unprotected(2)?.ok_or(Failed)?;
        let refused = unprotected.with_rebuild(&lv2, None, |_| true);
        assert_eq!(refused, Err(RestoreError::NoLog));
        let alone = failed(&failed(&active(FIGURE_9)?, 0)?, 1)?;
        let refused = alone.with_rebuild(&lv2, None, |_| true);
        assert_eq!(refused, Err(RestoreError::NoSource));
        Ok(())
    }

    #[test]
    fn management_table() -> Test {
        let mut expected = Expect(
            "GrpID G0, degraded, redundancy 1, metadata AA, event count 3\n\
            LID   attribute   disk  PID  recovery LID  health   protection\n\
            LV0   ro          -     -    -             failed   protected\n\
            LV1   ro          LV1   8:1  -             in-sync  protected\n\
            LV2   rw          LV2   8:2  DLV2          in-sync  protected\n\
            S0    spare       S0    8:3  -             spare    -\n\
            DLV2  increments  DLV2  8:4  -             in-sync  -",
        );
        let table = failed(&active(FIGURE_9)?, 0)?;
        let written = table.write_query(&mut expected, |out, disk| write!(out, "8:{disk}"));
        assert!(written.is_ok() && expected.0.is_empty());
        Ok(())
    }
}
