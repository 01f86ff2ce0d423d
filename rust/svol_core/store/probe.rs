// SPDX-License-Identifier: GPL-2.0

//! What is found on an increments device.

use super::{
    layout::{
        header_offset,
        DATA_SECTOR, //
    },
    pair::{
        choose,
        Copied, //
    },
    Chosen,
    Header,
    PairError,
    SectorError,
    COPIES, //
};
use crate::{
    env::{
        AllocError,
        Vec, //
    },
    svol_core::fields::is_zero, //
};

/// How much is read at once, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// The unit of reading, in bytes.
const READ_BYTES: usize = 4096;

/// What is found on a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Probe {
    /// Only zeros where a store would have its metadata.
    Blank,
    /// Something else, with no trace of a header.
    Foreign,
    /// It cannot be read: no copy of the header is readable.
    Dead,
    /// A part of it cannot be read, and the rest has no header.
    Unreadable,
    /// A store without a header that can be trusted.
    Damaged(PairError),
    /// A store in a version of the format that this implementation does not know.
    Version(u32),
    /// A store: its header, and the state of both copies of it.
    Store(Chosen<Header>),
}

impl Copied for Header {
    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn is_same_thing(&self, other: &Self) -> bool {
        self.tag == other.tag && self.uuid == other.uuid && self.lid == other.lid
    }
}

impl Probe {
    /// Reads a device.
    ///
    /// `read` fills a buffer from an offset of the device. Offsets and lengths are multiples of
    /// 4096. Its error means that the range cannot be read.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    #[inline(never)]
    pub fn device<E>(
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<Self, AllocError> {
        let mut buffer = Vec::try_zeroed(CHUNK_BYTES)?;
        let mut copy = |copy: usize| {
            let block = buffer.get_mut(..READ_BYTES).unwrap_or_default();
            read(header_offset(copy), block).map_err(|_| SectorError::Unreadable)?;
            let sector = block.first_chunk().ok_or(SectorError::Unreadable)?;
            match Header::decode(sector, copy) {
                // Other formats may leave the first sector unused.
                Err(SectorError::Blank) if !is_zero(block) => Err(SectorError::Magic),
                other => other,
            }
        };
        let found = choose(copy(0), copy(1));
        Ok(match found {
            Ok(Some(chosen)) => Self::Store(chosen),
            Ok(None) => probe_rest(&mut buffer, &mut read),
            Err(PairError::Version(version)) => Self::Version(version),
            Err(PairError::Lost(errors)) => without_header(errors),
            Err(error) => Self::Damaged(error),
        })
    }

    /// The header, if there is a store.
    pub fn header(&self) -> Option<&Header> {
        match self {
            Self::Store(chosen) => Some(&chosen.value),
            _ => None,
        }
    }
}

/// No copy of the header is good, and not both are blank.
fn without_header(errors: [SectorError; COPIES]) -> Probe {
    let is_trace = |error: &SectorError| {
        !matches!(
            error,
            SectorError::Blank | SectorError::Magic | SectorError::Unreadable
        )
    };
    if errors == [SectorError::Unreadable; COPIES] {
        Probe::Dead
    } else if errors.iter().any(is_trace) {
        Probe::Damaged(PairError::Lost(errors))
    } else if errors.contains(&SectorError::Unreadable) {
        Probe::Unreadable
    } else {
        Probe::Foreign
    }
}

/// Checks everything before the data area.
fn probe_rest<E>(
    chunk: &mut [u8],
    read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Probe {
    for offset in (0..DATA_SECTOR.saturating_mul(512)).step_by(CHUNK_BYTES) {
        if read(offset, chunk).is_err() {
            return Probe::Unreadable;
        }
        if !is_zero(chunk) {
            return Probe::Foreign;
        }
    }
    Probe::Blank
}
