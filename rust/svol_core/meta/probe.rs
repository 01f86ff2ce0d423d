// SPDX-License-Identifier: GPL-2.0

//! What is found on a metadata device.

use super::{
    slot_of,
    slot_offset,
    BodyError,
    Header,
    HeaderError,
    Metadata,
    BODY_OFFSET,
    SLOTS,
    SLOT_BYTES, //
};
use crate::{
    env::{
        AllocError,
        Vec, //
    },
    svol_core::fields::is_zero, //
};
use core::fmt;

/// What is found in one slot.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there are four at most")]
pub enum SlotState {
    /// Only zeros.
    Blank,
    /// Something, but nothing that begins like a header.
    Foreign,
    /// It could not be read.
    Unreadable,
    /// A generation in a version of the format that this implementation does not know.
    Version(u32),
    /// The header is damaged; its generation is unknown.
    DamagedHeader,
    /// The header is valid, but the body is not the one that it describes.
    DamagedBody {
        /// The generation in the header.
        sequence: u64,
        /// What is wrong with the body.
        error: BodyError,
    },
    /// A valid generation.
    Valid {
        /// Which copy it claims to be, counting from 0.
        copy: usize,
        /// The generation.
        metadata: Metadata,
    },
}

/// What is found on one metadata device.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there are two at most")]
pub enum CopyProbe {
    /// The device is not here.
    Missing,
    /// What its slots hold.
    Present([SlotState; SLOTS]),
}

impl SlotState {
    /// Whether this is damage, which is worth a line in the log, as opposed to a slot that is
    /// blank, valid or foreign.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Unreadable | Self::DamagedHeader | Self::DamagedBody { .. }
        )
    }
}

impl fmt::Display for SlotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("blank"),
            Self::Foreign => f.write_str("not dm-svol metadata"),
            Self::Unreadable => f.write_str("unreadable"),
            Self::Version(version) => write!(f, "unknown format version {version}"),
            Self::DamagedHeader => f.write_str("damaged header"),
            Self::DamagedBody { sequence, error } => {
                write!(f, "damaged body of generation {sequence}: {error}")
            }
            Self::Valid { metadata, .. } => {
                write!(f, "generation {}", metadata.head.sequence)
            }
        }
    }
}

/// How much is read at once when checking for zeros, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

impl CopyProbe {
    /// Reads both slots of a device.
    ///
    /// `read` fills a buffer from a position of the device, in bytes. Positions and lengths are
    /// multiples of 4096. Its error means that the range cannot be read.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    #[inline(never)]
    pub fn probe<E>(
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<Self, AllocError> {
        let mut buffer = Buffer(Vec::new());
        let first = probe_slot(0, &mut buffer, &mut read)?;
        let second = probe_slot(1, &mut buffer, &mut read)?;
        Ok(Self::Present([first, second]))
    }

    /// What the slot holds; `None` if the device is not here, or there is no such slot.
    pub fn slot(&self, slot: usize) -> Option<&SlotState> {
        match self {
            Self::Missing => None,
            Self::Present(slots) => slots.get(slot),
        }
    }

    /// Takes the generation out of `slot`, if there is one.
    pub fn take(&mut self, slot: usize) -> Option<Metadata> {
        let Self::Present(slots) = self else {
            return None;
        };
        match core::mem::replace(slots.get_mut(slot)?, SlotState::Blank) {
            SlotState::Valid { metadata, .. } => Some(metadata),
            _ => None,
        }
    }
}

/// A buffer that grows as needed.
struct Buffer(Vec<u8>);

impl Buffer {
    fn bytes(&mut self, len: usize) -> Result<&mut [u8], AllocError> {
        while self.0.len() < len {
            self.0.try_push(0)?;
        }
        self.0.get_mut(..len).ok_or(AllocError)
    }
}

#[inline(never)]
fn probe_slot<E>(
    slot: usize,
    buffer: &mut Buffer,
    read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<SlotState, AllocError> {
    let start = slot_offset(slot);
    let head = buffer.bytes(BODY_OFFSET)?;
    if read(start, head).is_err() {
        return Ok(SlotState::Unreadable);
    }

    let header = match Header::decode(head) {
        Ok(header) if slot_of(header.head.sequence) == slot => header,
        // No commit writes a header to the wrong slot.
        Ok(_) | Err(HeaderError::Checksum | HeaderError::Malformed) => {
            return Ok(SlotState::DamagedHeader)
        }
        Err(HeaderError::Version(version)) => return Ok(SlotState::Version(version)),
        Err(HeaderError::Magic) if is_zero(head) => return probe_rest(start, buffer, read),
        Err(HeaderError::Magic) => return Ok(SlotState::Foreign),
    };

    let body_bytes = header.body_bytes;
    let sequence = header.head.sequence;
    let body = buffer.bytes(body_bytes.next_multiple_of(BODY_OFFSET))?;
    if !body.is_empty() && read(at(start, BODY_OFFSET), body).is_err() {
        return Ok(SlotState::Unreadable);
    }
    let body = body.get(..body_bytes).unwrap_or(&[]);
    match Metadata::decode(&header, body) {
        Ok(metadata) => Ok(SlotState::Valid {
            copy: header.copy,
            metadata,
        }),
        Err(BodyError::NoMemory) => Err(AllocError),
        Err(error) => Ok(SlotState::DamagedBody { sequence, error }),
    }
}

/// Checks what follows a header block of zeros.
fn probe_rest<E>(
    start: u64,
    buffer: &mut Buffer,
    read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<SlotState, AllocError> {
    let chunk = buffer.bytes(CHUNK_BYTES)?;
    for offset in (0..SLOT_BYTES).step_by(CHUNK_BYTES) {
        if read(at(start, offset), chunk).is_err() {
            return Ok(SlotState::Unreadable);
        }
        if !is_zero(chunk) {
            return Ok(SlotState::Foreign);
        }
    }
    Ok(SlotState::Blank)
}

fn at(start: u64, offset: usize) -> u64 {
    // Both are within the first two MiB.
    start.saturating_add(u64::try_from(offset).unwrap_or(0))
}
