// SPDX-License-Identifier: GPL-2.0

//! Entries that join and leave.

#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_group_entries))]
mod tests {
    use super::super::{
        active,
        bind,
        failed,
        health,
        id,
        sources,
        Failed,
        Test,
        FIGURE_9, //
    };
    use crate::svol_core::{
        attr::Attr,
        group::{
            AddError,
            BindError,
            GroupTable,
            NewEntry,
            RemoveError, //
        },
        health::{
            GroupState,
            Health, //
        },
        meta::{
            Header,
            Metadata,
            HEADER_BYTES, //
        },
        route::{
            Home,
            VolumeView, //
        }, //
    };

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

    /// The metadata as the next load reads it.
    fn reread(table: &GroupTable) -> Result<Metadata, Failed> {
        let metadata = table.metadata();
        let body = metadata.encode_body().map_err(|_| Failed)?;
        let mut sector = [0; HEADER_BYTES];
        if !metadata.encode_header(0, &body, &mut sector) {
            return Err(Failed);
        }
        let header = Header::decode(&sector).map_err(|_| Failed)?;
        Metadata::decode(&header, &body).map_err(|_| Failed)
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

    /// It has to be filled from somewhere.
    #[test]
    fn a_new_volume_needs_what_others_are_about_to_write() -> Test {
        let table = active(FIGURE_9)?;
        let with_writes = |table: &GroupTable| table.with_writes(2)?.ok_or(Failed);
        assert_eq!(table.first_to_lose(&with_writes(&table)?), None);
        let alone = table.with_removed(&id("LV0")?).map_err(|_| Failed)?;
        let alone = alone.with_removed(&id("LV1")?).map_err(|_| Failed)?;
        assert_eq!(sources(&alone), 1 << 2);
        assert_eq!(alone.first_to_lose(&with_writes(&alone)?), None);
        let joined = added(&alone, "LV3", Attr::Ro, None, true)?.map_err(|_| Failed)?;
        let lost = joined.first_to_lose(&with_writes(&joined)?);
        assert_eq!(lost, Some(id("LV3")?));
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
}
