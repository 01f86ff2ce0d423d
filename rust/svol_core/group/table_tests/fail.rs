// SPDX-License-Identifier: GPL-2.0

//! Disks and increments volumes that fail.

#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_group_fail))]
mod tests {
    use super::super::{
        active,
        bind,
        bind_dead,
        failed,
        health,
        id,
        sources,
        Failed,
        Test,
        CLONES,
        CLONES_BY_FORCE,
        CLONES_WITHOUT_STORE,
        FIGURE_9,
        IN_PLACE, //
    };
    use crate::svol_core::{
        group::{
            BindError,
            FailError,
            GroupTable, //
        },
        health::{
            GroupState,
            Health,
            Protection, //
        },
        id::Id,
        route::{
            Home,
            VolumeView, //
        }, //
    };

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
}
