// SPDX-License-Identifier: GPL-2.0

//! How well things are: of an entry, of its protection, of the group.

use super::words::word_enum;

word_enum! {
    /// The health of one table entry.
    pub enum Health {
        /// All is well.
        InSync = 1, "in-sync";
        /// It is being compared with the others; it reads its own disk only.
        Verifying = 2, "verifying";
        /// Its disk is being filled.
        Rebuilding = 3, "rebuilding";
        /// Its disk differs from the others: it serves itself and nobody else.
        Diverged = 4, "diverged";
        /// Its disk is gone.
        Failed = 5, "failed";
        /// An in-place volume whose disk is gone; nothing is lost, others serve it.
        Degraded = 6, "degraded";
        /// A spare that waits.
        Spare = 7, "spare";
    }
}

word_enum! {
    /// Whether a volume could be rebuilt if its disk died now.
    pub enum Protection {
        /// It could.
        Protected = 1, "protected";
        /// It works, but could not.
        Unprotected = 2, "unprotected";
        /// The question does not arise: not a volume.
        None = 3, "-";
    }
}

word_enum! {
    /// The state of the group as a whole.
    pub enum GroupState {
        /// Nothing failed.
        Clean = 1, "clean";
        /// Something failed, every volume is served.
        Degraded = 2, "degraded";
        /// Some volume is not served.
        Failed = 3, "failed";
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_health))]
mod tests {
    use super::*;

    #[test]
    fn words_and_codes_go_round() {
        for health in Health::ALL {
            assert_eq!(Health::parse(health.word().as_bytes()), Some(*health));
            assert_eq!(Health::from_code(health.code()), Some(*health));
        }
        assert_eq!(Health::from_code(0), None);
        assert_eq!(Health::parse(b"in sync"), None);
    }
}
