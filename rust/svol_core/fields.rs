// SPDX-License-Identifier: GPL-2.0

//! Building blocks of the on-disk formats: sequential little-endian fields, which can't run past
//! the end; and the checksum.

use super::id::{
    Id,
    IdError,
    DISK_ID_BYTES, //
};
use crate::env;

/// Reads fields; returns `None` when the bytes are used up.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(field)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(field)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|field| u8::from_le_bytes(*field))
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(|field| u16::from_le_bytes(*field))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(|field| u32::from_le_bytes(*field))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(|field| u64::from_le_bytes(*field))
    }

    /// An ID that must be present.
    pub(super) fn id(&mut self) -> Option<Id> {
        Id::from_disk(self.array::<DISK_ID_BYTES>()?).ok()
    }

    /// An ID, or zeros for none.
    pub(super) fn id_or_none(&mut self) -> Option<Option<Id>> {
        match Id::from_disk(self.array::<DISK_ID_BYTES>()?) {
            Ok(id) => Some(Some(id)),
            Err(IdError::Empty) => Some(None),
            Err(_) => None,
        }
    }

    /// Reserved bytes: `None` unless they are zero, since a later format may give them a meaning.
    pub(super) fn zeros(&mut self, len: usize) -> Option<()> {
        self.bytes(len).filter(|field| is_zero(field)).map(|_| ())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }
}

/// Writes fields over a buffer; returns `None` when it is full.
pub(super) struct Writer<'a>(&'a mut [u8]);

impl<'a> Writer<'a> {
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&mut self, field: &[u8]) -> Option<()> {
        let rest = core::mem::take(&mut self.0);
        let (to, rest) = rest.split_at_mut_checked(field.len())?;
        to.copy_from_slice(field);
        self.0 = rest;
        Some(())
    }

    pub(super) fn u8(&mut self, value: u8) -> Option<()> {
        self.bytes(&[value])
    }

    pub(super) fn u16(&mut self, value: u16) -> Option<()> {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> Option<()> {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> Option<()> {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn id(&mut self, id: &Id) -> Option<()> {
        self.bytes(&id.to_disk())
    }

    pub(super) fn id_or_none(&mut self, id: Option<&Id>) -> Option<()> {
        match id {
            Some(id) => self.id(id),
            None => self.zeros(DISK_ID_BYTES),
        }
    }

    pub(super) fn zeros(&mut self, len: usize) -> Option<()> {
        let rest = core::mem::take(&mut self.0);
        let (to, rest) = rest.split_at_mut_checked(len)?;
        to.fill(0);
        self.0 = rest;
        Some(())
    }

    /// Fills the rest with zeros.
    pub(super) fn pad(self) {
        self.0.fill(0);
    }
}

/// Whether all bytes are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    const ZEROES: [u8; 64] = [0; 64];

    // Compares many bytes at once.
    bytes
        .chunks(ZEROES.len())
        .all(|chunk| ZEROES.starts_with(chunk))
}

/// The checksum of the formats: CRC-32C in its usual form, inverted before and after.
pub(super) fn checksum(parts: &[&[u8]]) -> u32 {
    !parts.iter().fold(!0, |sum, part| env::crc32c(sum, part))
}
