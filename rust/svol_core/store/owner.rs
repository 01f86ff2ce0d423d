// SPDX-License-Identifier: GPL-2.0

//! The owner table of a store: whose changes it keeps.

use super::{
    intent,
    pair::{
        choose,
        Chosen,
        Copied,
        CopyState,
        PairError, //
    },
    sector::{
        body,
        open_version,
        seal, //
    },
    Sector,
    SectorError,
    COPIES,
    OWNERS,
    VERSION, //
};
use crate::svol_core::{
    fields::Reader,
    id::{
        Id,
        DISK_ID_BYTES, //
    }, //
};

/// The first bytes of an owner's sector.
const MAGIC: &[u8; 8] = b"dm-svolO";

const STATE_FREE: u32 = 0;
const STATE_ACTIVE: u32 = 1;
const STATE_REMOVING: u32 = 2;

/// It is written in place, so it has a write-intent map.
const FLAG_IN_PLACE: u32 = 1 << 0;

/// One volume whose changes a store keeps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Owner {
    /// The LID.
    pub lid: Id,
    /// The split that its changes are based on.
    pub base_generation: u64,
    /// Its length, in sectors.
    pub sectors: u64,
    /// Whether its entries are being released; a start finishes that.
    pub removing: bool,
    /// For a volume that is written in place, and so has a write-intent map: the size of a region
    /// of that map in sectors, as a shift; see [`intent::region_shift`].
    pub region_shift: Option<u32>,
}

/// What the owner table says about one number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OwnerRecord {
    /// The number: at least 1, below [`OWNERS`].
    pub number: u16,
    /// Rises by one each time it is written; not zero.
    pub sequence: u64,
    /// Who has the number; `None` if it was released.
    pub owner: Option<Owner>,
}

impl Owner {
    /// The number of its blocks of `block_sectors`. BIDs are below it.
    pub fn blocks(&self, block_sectors: u32) -> u64 {
        self.sectors.div_ceil(u64::from(block_sectors.max(1)))
    }

    /// The number of regions of its write-intent map; 0 if it has none.
    pub fn regions(&self) -> u32 {
        self.region_shift
            .and_then(|shift| intent::regions(self.sectors, shift))
            .unwrap_or(0)
    }

    fn makes_sense(&self) -> bool {
        self.sectors != 0
            && self
                .region_shift
                .is_none_or(|shift| intent::regions(self.sectors, shift).is_some())
    }
}

impl Copied for OwnerRecord {
    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn is_same_thing(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl OwnerRecord {
    /// Reads what the table says about owner `number` of the store `tag`: `copies` are the sectors
    /// from both copies of the table, `None` for one that could not be read.
    ///
    /// The value is `None` for a number that was never used: both copies are blank, or one of them
    /// is and the other one is damaged, since nothing relies on an owner before both copies have
    /// it.
    ///
    /// # Errors
    ///
    /// See [`PairError`]. Entries of this number may be anybody's.
    #[inline(never)]
    pub fn choose(
        copies: [Option<&Sector>; COPIES],
        tag: u64,
        number: u16,
    ) -> Result<Chosen<Option<Self>>, PairError> {
        let [first, second] = copies.map(|sector| {
            sector
                .ok_or(SectorError::Unreadable)
                .and_then(|sector| Self::decode(sector, tag, number))
        });
        let never_used = |copies| Chosen {
            value: None,
            copies,
        };
        match choose(first, second) {
            Ok(Some(Chosen { value, copies })) => Ok(Chosen {
                value: Some(value),
                copies,
            }),
            Ok(None) => Ok(never_used([CopyState::Good; COPIES])),
            Err(PairError::Lost(errors)) if errors.contains(&SectorError::Blank) => {
                Ok(never_used(errors.map(|error| match error {
                    SectorError::Blank => CopyState::Good,
                    error => CopyState::Damaged(error),
                })))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the sector of owner `number` of the store `tag`. Both copies of the table have the
    /// same sectors.
    ///
    /// A number that was never used is [`SectorError::Blank`], in both copies.
    ///
    /// # Errors
    ///
    /// See [`SectorError`].
    #[inline(never)]
    pub fn decode(sector: &Sector, tag: u64, number: u16) -> Result<Self, SectorError> {
        let mut fields = open_version(sector, MAGIC)?;
        let place = fields.u32().zip(fields.u64());
        if place != Some((number.into(), tag)) {
            return Err(SectorError::Misplaced);
        }
        Self::decode_fields(fields, number)
            .filter(Self::makes_sense)
            .ok_or(SectorError::Malformed)
    }

    fn decode_fields(mut fields: Reader<'_>, number: u16) -> Option<Self> {
        let lid = fields.id_or_none()?;
        let base_generation = fields.u64()?;
        let sequence = fields.u64()?;
        let state = fields.u32()?;
        let flags = fields.u32()?;
        let shift = fields.u32()?;
        let sectors = fields.u64()?;
        fields.zeros(fields.rest().len())?;

        let region_shift = match (flags, shift) {
            (0, 0) => None,
            (FLAG_IN_PLACE, shift) => Some(shift),
            _ => return None,
        };
        let owner = match (state, lid) {
            (STATE_FREE, None) => {
                // A free number has no other fields set.
                if (base_generation, sectors, region_shift) != (0, 0, None) {
                    return None;
                }
                None
            }
            (STATE_ACTIVE | STATE_REMOVING, Some(lid)) => Some(Owner {
                lid,
                base_generation,
                sectors,
                removing: state == STATE_REMOVING,
                region_shift,
            }),
            _ => return None,
        };
        Some(Self {
            number,
            sequence,
            owner,
        })
    }

    fn makes_sense(&self) -> bool {
        (1..OWNERS).contains(&self.number)
            && self.sequence != 0
            && self.owner.as_ref().is_none_or(Owner::makes_sense)
    }

    /// Writes the sector over `sector`, the same for both copies of the table.
    ///
    /// Returns whether it can be read back; if not, `sector` must not be used.
    #[must_use]
    #[inline(never)]
    pub fn encode(&self, tag: u64, sector: &mut Sector) -> bool {
        if !self.makes_sense() {
            return false;
        }
        let written = self.encode_fields(tag, sector).is_some();
        seal(sector, MAGIC);
        written
    }

    fn encode_fields(&self, tag: u64, sector: &mut Sector) -> Option<()> {
        let owner = self.owner.as_ref();
        let state = match owner {
            None => STATE_FREE,
            Some(Owner { removing: true, .. }) => STATE_REMOVING,
            Some(_) => STATE_ACTIVE,
        };
        let region_shift = owner.and_then(|owner| owner.region_shift);

        let mut fields = body(sector, MAGIC);
        fields.u32(VERSION)?;
        fields.u32(self.number.into())?;
        fields.u64(tag)?;
        match owner {
            Some(owner) => fields.id(&owner.lid)?,
            None => fields.zeros(DISK_ID_BYTES)?,
        }
        fields.u64(owner.map_or(0, |owner| owner.base_generation))?;
        fields.u64(self.sequence)?;
        fields.u32(state)?;
        fields.u32(region_shift.map_or(0, |_| FLAG_IN_PLACE))?;
        fields.u32(region_shift.unwrap_or(0))?;
        fields.u64(owner.map_or(0, |owner| owner.sectors))?;
        fields.pad();
        Some(())
    }
}
