// SPDX-License-Identifier: GPL-2.0

//! Health: of an entry, of its protection, of the group.

use super::words::word_enum;

word_enum! {
    /// The health of one table entry.
    pub enum Health {
        /// All is well.
        InSync = 1, "in-sync";
        /// It is being compared with the others; it reads only its own disk.
        Verifying = 2, "verifying";
        /// Its disk is being filled.
        Rebuilding = 3, "rebuilding";
        /// Its disk differs from the others: it serves only itself.
        Diverged = 4, "diverged";
        /// Its disk is gone.
        Failed = 5, "failed";
        /// An in-place volume whose disk is gone; nothing is lost, other disks serve it.
        Degraded = 6, "degraded";
        /// A spare on standby.
        Spare = 7, "spare";
    }
}

impl Health {
    /// Whether a volume with a disk reads the base image from that disk only, whatever others hold.
    pub fn is_alone(self) -> bool {
        matches!(self, Self::Verifying | Self::Diverged)
    }
}

word_enum! {
    /// Whether a volume could be rebuilt if its disk died now.
    pub enum Protection {
        /// It could be rebuilt.
        Protected = 1, "protected";
        /// It works, but could not be rebuilt.
        Unprotected = 2, "unprotected";
        /// Not applicable: it is not a volume.
        None = 3, "-";
    }
}

word_enum! {
    /// The state of the group as a whole.
    pub enum GroupState {
        /// Nothing failed.
        Clean = 1, "clean";
        /// Something failed, but every volume is served.
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
