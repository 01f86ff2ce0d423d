// SPDX-License-Identifier: GPL-2.0

//! The header of a store: which group it belongs to, and how far it is formatted.

use super::{
    sector::{
        body,
        open_version,
        seal, //
    },
    Layout,
    Sector,
    SectorError,
    COPIES,
    VERSION, //
};
use crate::svol_core::{
    fields::Reader,
    id::Id,
    words::word_enum, //
};

/// The first bytes of a header.
pub(super) const MAGIC: &[u8; 8] = b"dm-svolI";

word_enum! {
    /// How far a store has come.
    pub enum Phase {
        /// It is being created; nothing in it counts yet.
        Formatting = 1, "formatting";
        /// It is in use.
        Active = 2, "active";
    }
}

/// A header. The copies in a store differ only in their number and, for a moment, in their age.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// Tells the sectors of this store from those of an older one on the same device; not zero.
    pub tag: u64,
    /// The uuid of the group.
    pub uuid: [u8; 16],
    /// The GrpID.
    pub group: Id,
    /// The LID of the store.
    pub lid: Id,
    /// Rises by one each time the header is written; not zero.
    pub sequence: u64,
    /// The event count of the group, as the store knows it.
    pub events: u64,
    /// The split that the base image comes from.
    pub base_generation: u64,
    /// The length of the group, in sectors.
    pub sectors: u64,
    /// The size of a block, in sectors.
    pub block_sectors: u32,
    /// How many sectors of the device may be in use: [`Layout::used_sectors`].
    pub used_sectors: u64,
    /// How many segments are formatted; the others have no entries yet.
    pub segments: u32,
    /// How far the store has come.
    pub phase: Phase,
}

impl Header {
    /// Reads copy `copy` (counting from 0) from its sector.
    ///
    /// # Errors
    ///
    /// See [`SectorError`].
    #[inline(never)]
    pub fn decode(sector: &Sector, copy: usize) -> Result<Self, SectorError> {
        let mut fields = open_version(sector, MAGIC)?;
        let number = fields.u32().ok_or(SectorError::Malformed)?;
        if usize::try_from(number).ok() != Some(copy) || copy >= COPIES {
            return Err(SectorError::Misplaced);
        }
        Self::decode_fields(fields)
            .filter(Self::makes_sense)
            .ok_or(SectorError::Malformed)
    }

    fn decode_fields(mut fields: Reader<'_>) -> Option<Self> {
        let header = Self {
            tag: fields.u64()?,
            uuid: *fields.array()?,
            group: fields.id()?,
            lid: fields.id()?,
            sequence: fields.u64()?,
            events: fields.u64()?,
            base_generation: fields.u64()?,
            sectors: fields.u64()?,
            block_sectors: fields.u32()?,
            used_sectors: fields.u64()?,
            segments: fields.u32()?,
            phase: Phase::from_code(u8::try_from(fields.u32()?).ok()?)?,
        };
        fields.zeros(fields.rest().len())?;
        Some(header)
    }

    fn makes_sense(&self) -> bool {
        self.tag != 0
            && self.sequence != 0
            && self.sectors != 0
            && Layout::new(self.block_sectors, self.used_sectors).is_ok_and(|layout| {
                layout.used_sectors() == self.used_sectors
                    && self.segments <= layout.segments()
                    && (self.segments > 0 || self.phase == Phase::Formatting)
            })
    }

    /// Writes copy `copy` (counting from 0) over `sector`.
    ///
    /// Returns whether it can be read back; if not, `sector` must not be used.
    #[must_use]
    #[inline(never)]
    pub fn encode(&self, copy: usize, sector: &mut Sector) -> bool {
        if copy >= COPIES || !self.makes_sense() {
            return false;
        }
        let written = self.encode_fields(copy, sector).is_some();
        seal(sector, MAGIC);
        written
    }

    fn encode_fields(&self, copy: usize, sector: &mut Sector) -> Option<()> {
        let mut fields = body(sector, MAGIC);
        fields.u32(VERSION)?;
        fields.u32(u32::try_from(copy).ok()?)?;
        fields.u64(self.tag)?;
        fields.bytes(&self.uuid)?;
        fields.id(&self.group)?;
        fields.id(&self.lid)?;
        fields.u64(self.sequence)?;
        fields.u64(self.events)?;
        fields.u64(self.base_generation)?;
        fields.u64(self.sectors)?;
        fields.u32(self.block_sectors)?;
        fields.u64(self.used_sectors)?;
        fields.u32(self.segments)?;
        fields.u32(self.phase.code().into())?;
        fields.pad();
        Some(())
    }
}
