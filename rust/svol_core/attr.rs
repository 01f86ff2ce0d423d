// SPDX-License-Identifier: GPL-2.0

//! The attribute of a table entry: its role in the group.

use super::words::word_enum;

word_enum! {
    /// The role of an entry.
    pub enum Attr {
        /// A secondary volume that keeps the base image; its writes, if any, are diverted.
        Ro = 1, "ro";
        /// A secondary volume that is written in place.
        Rw = 2, "rw";
        /// A disk that stands by to replace a failed one.
        Spare = 3, "spare";
        /// A store for the changes of other volumes.
        Increments = 4, "increments";
    }
}

impl Attr {
    /// Whether such an entry is a secondary volume, so that users can do I/O on it.
    pub const fn is_volume(self) -> bool {
        matches!(self, Self::Ro | Self::Rw)
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_attr))]
mod tests {
    use super::*;

    #[test]
    fn words_and_codes_go_round() {
        for attr in Attr::ALL {
            assert_eq!(Attr::parse(attr.word().as_bytes()), Some(*attr));
            assert_eq!(Attr::from_code(attr.code()), Some(*attr));
        }
    }

    #[test]
    fn nothing_else_is_an_attribute() {
        assert_eq!(Attr::parse(b""), None);
        assert_eq!(Attr::parse(b"RO"), None);
        assert_eq!(Attr::parse(b"ro "), None);
        assert_eq!(Attr::from_code(0), None);
        assert_eq!(Attr::from_code(5), None);
    }
}
