// SPDX-License-Identifier: GPL-2.0

//! The common parts of all sectors of a store: a magic, a checksum, and a place.

use super::{
    Sector,
    VERSION, //
};
use crate::svol_core::fields::{
    checksum,
    is_zero,
    Reader,
    Writer, //
};
use core::fmt;

/// The content of the checksum field while the checksum is computed.
const NO_CHECKSUM: [u8; 4] = [0; 4];

/// Why a sector is not what it should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SectorError {
    /// It holds only zeros.
    Blank,
    /// It could not be read.
    Unreadable,
    /// It does not begin like such a sector.
    Magic,
    /// It begins like one, but its checksum is wrong.
    Checksum,
    /// It is of a version of the format that this implementation does not know.
    Version(u32),
    /// It is valid, but belongs to another store, or to another place.
    Misplaced,
    /// Its checksum is right, but it makes no sense.
    Malformed,
}

impl fmt::Display for SectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("blank"),
            Self::Unreadable => f.write_str("unreadable"),
            Self::Magic => f.write_str("wrong magic"),
            Self::Checksum => f.write_str("wrong checksum"),
            Self::Version(version) => write!(f, "unknown format version {version}"),
            Self::Misplaced => f.write_str("belongs elsewhere"),
            Self::Malformed => f.write_str("contradictory content"),
        }
    }
}

/// Checks magic and checksum; returns what follows them.
pub(super) fn open<'a, const N: usize>(
    sector: &'a Sector,
    magic: &[u8; N],
) -> Result<Reader<'a>, SectorError> {
    let mut fields = Reader::new(sector);
    if fields.array() != Some(magic) {
        return Err(if is_zero(sector) {
            SectorError::Blank
        } else {
            SectorError::Magic
        });
    }
    let sum = fields.u32().ok_or(SectorError::Checksum)?;
    if sum != checksum(&[magic, &NO_CHECKSUM, fields.rest()]) {
        return Err(SectorError::Checksum);
    }
    Ok(fields)
}

/// As [`open`], for sectors that have a version after the checksum.
pub(super) fn open_version<'a>(
    sector: &'a Sector,
    magic: &[u8; 8],
) -> Result<Reader<'a>, SectorError> {
    let mut fields = open(sector, magic)?;
    match fields.u32() {
        Some(VERSION) => Ok(fields),
        Some(version) => Err(SectorError::Version(version)),
        None => Err(SectorError::Malformed),
    }
}

/// Writes magic and checksum over the first bytes; the checksum covers the rest as it is.
pub(super) fn seal(sector: &mut Sector, magic: &[u8]) {
    // Shorter than a sector, so the split always succeeds.
    let Some((head, rest)) =
        sector.split_at_mut_checked(magic.len().saturating_add(NO_CHECKSUM.len()))
    else {
        return;
    };
    let sum = checksum(&[magic, &NO_CHECKSUM, rest]);
    let mut fields = Writer::new(head);
    let _ = fields.bytes(magic);
    let _ = fields.u32(sum);
}

/// The part after magic and checksum, to be written before [`seal`].
pub(super) fn body<'a>(sector: &'a mut Sector, magic: &[u8]) -> Writer<'a> {
    let at = magic.len().saturating_add(NO_CHECKSUM.len());
    Writer::new(sector.get_mut(at..).unwrap_or_default())
}
