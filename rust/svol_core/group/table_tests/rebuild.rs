// SPDX-License-Identifier: GPL-2.0

//! Volumes that get another disk.

#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_group_rebuild))]
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
        FIGURE_9,
        WITHOUT_LV0, //
    };
    use crate::svol_core::{
        attr::Attr,
        group::{
            RemoveError,
            RestoreError, //
        },
        health::{
            GroupState,
            Health, //
        }, //
    };

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
        let moving = moving.with_cursor(2, 512)?.ok_or(Failed)?;
        assert!(moving.metadata().check().is_ok());
        assert_eq!(
            moving.rebuild_of(2).map(|rebuild| rebuild.cursor),
            Some(512)
        );
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
}
