// SPDX-License-Identifier: GPL-2.0

//! The header of a generation: one sector that describes the body and holds its checksum.

use super::{
    Copies,
    CopyState,
    Head,
    Metadata,
    Phase,
    HEADER_BYTES,
    MAX_BODY_BYTES,
    VERSION, //
};
use crate::svol_core::{
    fields::{
        checksum,
        Reader,
        Writer, //
    },
    table_line::{
        MAX_BLOCK_SECTORS,
        MAX_META_COPIES,
        MIN_BLOCK_SECTORS, //
    }, //
};

/// The first bytes of a header.
const MAGIC: &[u8; 8] = b"dm-svolM";

/// The length of the checksum, which follows the magic.
const CHECKSUM_BYTES: usize = 4;

/// The smallest logical block.
const SECTOR_BYTES: u32 = 512;

/// A decoded header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// The group as a whole.
    pub head: Head,
    /// Which copy this one is, counting from 0.
    pub copy: usize,
    /// The number of volume records.
    pub volumes: u32,
    /// The number of region records.
    pub regions: u32,
    /// The number of base samples.
    pub samples: u32,
    /// The length of the body, in bytes; at most [`MAX_BODY_BYTES`].
    pub body_bytes: usize,
    /// The checksum of the body.
    pub body_checksum: u32,
}

/// Why a sector is not a header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HeaderError {
    /// It does not begin like one.
    Magic,
    /// It begins like one, but its checksum is wrong.
    Checksum,
    /// Its format version is not known to this implementation.
    Version(u32),
    /// Its checksum is right, but it makes no sense.
    Malformed,
}

impl Header {
    /// Reads a header from its sector.
    ///
    /// # Errors
    ///
    /// See [`HeaderError`]; a sector that is too short counts as [`HeaderError::Magic`].
    pub fn decode(sector: &[u8]) -> Result<Self, HeaderError> {
        let (sector, _) = sector
            .split_at_checked(HEADER_BYTES)
            .ok_or(HeaderError::Magic)?;
        let mut fields = Reader::new(sector);
        let magic = fields.array().ok_or(HeaderError::Magic)?;
        if magic != MAGIC {
            return Err(HeaderError::Magic);
        }
        let sum = fields.u32().ok_or(HeaderError::Checksum)?;
        // The checksum was computed with its own field set to zero.
        if sum != checksum(&[magic, &[0; CHECKSUM_BYTES], fields.rest()]) {
            return Err(HeaderError::Checksum);
        }
        match fields.u32() {
            Some(VERSION) => Self::decode_fields(fields).ok_or(HeaderError::Malformed),
            Some(version) => Err(HeaderError::Version(version)),
            None => Err(HeaderError::Malformed),
        }
    }

    fn decode_fields(mut fields: Reader<'_>) -> Option<Self> {
        let uuid = *fields.array()?;
        let group = fields.id()?;
        let sequence = fields.u64()?;
        let events = fields.u64()?;
        let base_generation = fields.u64()?;
        let sectors = fields.u64().filter(|sectors| *sectors > 0)?;
        let block_sectors = fields.u32().filter(|n| {
            n.is_power_of_two() && (MIN_BLOCK_SECTORS..=MAX_BLOCK_SECTORS).contains(n)
        })?;
        let logical_block_bytes = fields
            .u32()
            .filter(|n| n.is_power_of_two() && *n >= SECTOR_BYTES)?;
        let phase = Phase::from_code(small(fields.u32()?)?)?;
        let copy = usize::try_from(fields.u32()?).ok()?;
        let copies = decode_copies(&mut fields, copy)?;
        let volumes = fields.u32()?;
        let regions = fields.u32()?;
        let samples = fields.u32()?;
        let body_bytes = usize::try_from(fields.u32()?)
            .ok()
            .filter(|len| *len <= MAX_BODY_BYTES)?;
        let body_checksum = fields.u32()?;
        fields.zeros(fields.rest().len())?;

        Some(Self {
            head: Head {
                uuid,
                group,
                sequence,
                events,
                base_generation,
                sectors,
                block_sectors,
                logical_block_bytes,
                phase,
                copies,
            },
            copy,
            volumes,
            regions,
            samples,
            body_bytes,
            body_checksum,
        })
    }

    /// Writes a header over `sector`.
    fn encode(&self, sector: &mut [u8; HEADER_BYTES]) -> Option<()> {
        let head = &self.head;
        let (_, rest) = sector.split_at_mut_checked(MAGIC.len().checked_add(CHECKSUM_BYTES)?)?;

        let mut fields = Writer::new(rest);
        fields.u32(VERSION)?;
        fields.bytes(&head.uuid)?;
        fields.id(&head.group)?;
        fields.u64(head.sequence)?;
        fields.u64(head.events)?;
        fields.u64(head.base_generation)?;
        fields.u64(head.sectors)?;
        fields.u32(head.block_sectors)?;
        fields.u32(head.logical_block_bytes)?;
        fields.u32(head.phase.code().into())?;
        fields.u32(u32::try_from(self.copy).ok()?)?;
        fields.u32(u32::try_from(head.copies.count()).ok()?)?;
        for index in 0..MAX_META_COPIES {
            let code = head.copies.state(index).map_or(0, CopyState::code);
            fields.u32(code.into())?;
        }
        fields.u32(self.volumes)?;
        fields.u32(self.regions)?;
        fields.u32(self.samples)?;
        fields.u32(u32::try_from(self.body_bytes).ok()?)?;
        fields.u32(self.body_checksum)?;
        fields.pad();

        let sum = checksum(&[MAGIC, &[0; CHECKSUM_BYTES], rest]);
        let mut fields = Writer::new(sector);
        fields.bytes(MAGIC)?;
        fields.u32(sum)
    }
}

/// Reads the number of copies and their states; copy `own` is the one that is being read.
fn decode_copies(fields: &mut Reader<'_>, own: usize) -> Option<Copies> {
    let count = usize::try_from(fields.u32()?).ok()?;
    if !(1..=MAX_META_COPIES).contains(&count) {
        return None;
    }
    let mut copies = Copies::live(count);
    for index in 0..MAX_META_COPIES {
        let code = small(fields.u32()?)?;
        if index < count {
            copies = copies.with(index, CopyState::from_code(code)?);
        } else if code != 0 {
            return None;
        }
    }
    // A lost copy is not written, so no copy says that it is lost itself.
    (copies.state(own) == Some(CopyState::Live)).then_some(copies)
}

/// A code that is stored in a wider field than it needs.
fn small(value: u32) -> Option<u8> {
    u8::try_from(value).ok()
}

impl Metadata {
    /// Writes the header of copy `copy` (counting from 0) over `sector`, for the body that
    /// [`Metadata::encode_body`] returned.
    ///
    /// Returns whether there is such a live copy, and everything fits; if not, `sector` must not be
    /// used.
    #[must_use]
    pub fn encode_header(&self, copy: usize, body: &[u8], sector: &mut [u8; HEADER_BYTES]) -> bool {
        self.header(copy, body)
            .and_then(|header| header.encode(sector))
            .is_some()
    }

    fn header(&self, copy: usize, body: &[u8]) -> Option<Header> {
        if self.head.copies.state(copy) != Some(CopyState::Live) {
            return None;
        }
        if body.len() > MAX_BODY_BYTES {
            return None;
        }
        Some(Header {
            head: self.head,
            copy,
            volumes: u32::try_from(self.members().count()).ok()?,
            regions: u32::try_from(self.regions.len()).ok()?,
            samples: u32::try_from(self.samples.len()).ok()?,
            body_bytes: body.len(),
            body_checksum: checksum(&[body]),
        })
    }
}
