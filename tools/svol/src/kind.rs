// SPDX-License-Identifier: GPL-2.0

//! What a device is, by the magics on it.

use crate::device::Device;
use svol_core::svol_core::{
    meta::{slot_offset, SLOTS},
    store::{
        layout::{header_offset, DATA_SECTOR},
        COPIES,
    },
};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Metadata,
    Increments,
    Unknown,
}

const METADATA: &[u8; 8] = b"dm-svolM";
const INCREMENTS: &[u8; 8] = b"dm-svolI";
/// At the beginning of the data area: what is left of a store that has lost its header.
const ENTRIES: &[u8; 4] = b"dmE1";

impl Kind {
    /// Looks for any magic where there could be one: one of them may be damaged.
    pub(crate) fn of(device: &Device) -> Self {
        let has = |offset: u64, magic: &[u8]| {
            let mut bytes = [0; 8];
            device.read(offset, &mut bytes).is_ok() && bytes.starts_with(magic)
        };
        let has_entries = has(DATA_SECTOR.saturating_mul(512), ENTRIES);
        if has_entries || (0..COPIES).any(|copy| has(header_offset(copy), INCREMENTS)) {
            Self::Increments
        } else if (0..SLOTS).any(|slot| has(slot_offset(slot), METADATA)) {
            Self::Metadata
        } else {
            Self::Unknown
        }
    }
}
