// SPDX-License-Identifier: GPL-2.0

//! What follows from the state of a group: its redundancy, what is written, what users are told.

#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_group_report))]
mod tests {
    use super::super::{
        active,
        failed,
        id,
        new,
        Failed,
        Test,
        FIGURE_9, //
    };
    use crate::svol_core::{
        group::{
            Counters,
            GroupTable, //
        },
        health::Protection, //
    };
    use core::fmt;

    /// Compares what is written with the expected text.
    struct Expect<'a>(&'a str);

    impl fmt::Write for Expect<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(text).ok_or(fmt::Error)?;
            Ok(())
        }
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
