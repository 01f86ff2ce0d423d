// SPDX-License-Identifier: GPL-2.0

//! Groups that are created, and lines that are loaded for one that exists.

#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_group_load))]
mod tests {
    use super::super::{
        active,
        bind,
        bind_dead,
        health,
        id,
        line,
        metadata,
        new,
        sources,
        Failed,
        Test,
        CLONES,
        FIGURE_9,
        SECTORS,
        WITHOUT_LV0, //
    };
    use crate::{
        env::Vec,
        svol_core::{
            group::{
                BindError,
                GroupTable, //
            },
            health::{
                GroupState,
                Health,
                Protection, //
            },
            meta::Metadata,
            route::Home, //
        }, //
    };

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
}
