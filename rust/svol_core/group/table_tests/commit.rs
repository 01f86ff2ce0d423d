// SPDX-License-Identifier: GPL-2.0

//! Commits that fail, and metadata copies that are lost.

#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_group_commit))]
mod tests {
    use super::super::{
        active,
        bind,
        metadata,
        Failed,
        Test,
        FIGURE_9, //
    };
    use crate::svol_core::health::GroupState;

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
}
