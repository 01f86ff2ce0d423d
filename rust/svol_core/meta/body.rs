// SPDX-License-Identifier: GPL-2.0

//! The body of a generation: records, each with its type and length.
//!
//! A record is an 8-byte frame (type, flags, length of the payload) and a payload whose length is a
//! multiple of 8. A record of an unknown type is skipped if its flags allow that; the next commit
//! drops it. Otherwise the whole generation is refused.

use super::{
    check::Invalid,
    DiskState,
    Header,
    Metadata,
    RebuildRecord,
    RegionRecord,
    VolumeRecord,
    MAX_BODY_BYTES,
    MAX_SAMPLES, //
};
use crate::{
    env::{
        AllocError,
        Vec, //
    },
    svol_core::{
        attr::Attr,
        fields::{
            checksum,
            Reader,
            Writer, //
        },
        health::Health,
        samples::Sample,
        table_line::MAX_VOLUMES, //
    },
};
use core::fmt;

/// The record of one table entry.
const TYPE_VOLUME: u16 = 1;
/// The record of one region.
const TYPE_REGION: u16 = 2;
/// The table of base samples.
const TYPE_SAMPLES: u16 = 3;
/// The record of one disk that is being filled. An implementation that does not know it would
/// neither continue the fill nor keep the filled part in step.
const TYPE_REBUILD: u16 = 4;

/// An implementation that does not know this record may skip it.
const FLAG_COMPATIBLE: u16 = 1 << 0;

const FRAME_BYTES: usize = 8;
const VOLUME_BYTES: usize = 256;
const REGION_BYTES: usize = 96;
const SAMPLE_BYTES: usize = 16;
const REBUILD_BYTES: usize = 160;

const DISK_PRISTINE: u32 = 1 << 0;
const DISK_UNPROTECTED: u32 = 1 << 1;
const DISK_FORMATTED: u32 = 1 << 2;
const DISK_FAILED: u32 = 1 << 3;
const DISK_FLAGS: u32 = DISK_PRISTINE | DISK_UNPROTECTED | DISK_FORMATTED | DISK_FAILED;

/// Why a body cannot be used, or written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyError {
    /// Memory ran out; this says nothing about the body.
    NoMemory,
    /// It is not the body that the header describes.
    Checksum,
    /// A record is cut off, or a field in it makes no sense.
    Malformed,
    /// A record is of an unknown type that must not be skipped.
    UnknownRecord(u16),
    /// There are more records than a slot has room for.
    TooLarge,
    /// The records contradict each other.
    Invalid(Invalid),
}

impl From<AllocError> for BodyError {
    fn from(_: AllocError) -> Self {
        Self::NoMemory
    }
}

impl From<Invalid> for BodyError {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("out of memory"),
            Self::Checksum => f.write_str("wrong checksum"),
            Self::Malformed => f.write_str("malformed record"),
            Self::UnknownRecord(kind) => write!(f, "record of unknown type {kind}"),
            Self::TooLarge => f.write_str("too large"),
            Self::Invalid(invalid) => invalid.fmt(f),
        }
    }
}

impl Metadata {
    /// The body of this generation, the same for every copy.
    ///
    /// # Errors
    ///
    /// The metadata could not be read back, is too large, or memory ran out.
    pub fn encode_body(&self) -> Result<Vec<u8>, BodyError> {
        self.check()?;
        let len = self
            .body_bytes()
            .filter(|len| *len <= MAX_BODY_BYTES)
            .ok_or(BodyError::TooLarge)?;
        let mut body = Vec::try_zeroed(len)?;
        self.encode_records(&mut Writer::new(&mut body))
            .ok_or(BodyError::TooLarge)?;
        Ok(body)
    }

    /// The length of the body, in bytes.
    fn body_bytes(&self) -> Option<usize> {
        let volumes = FRAME_BYTES
            .checked_add(VOLUME_BYTES)?
            .checked_mul(self.members().count())?;
        let regions = FRAME_BYTES
            .checked_add(REGION_BYTES)?
            .checked_mul(self.regions.len())?;
        let samples = match self.samples.len() {
            0 => 0,
            n => SAMPLE_BYTES.checked_mul(n)?.checked_add(FRAME_BYTES)?,
        };
        let rebuilds = FRAME_BYTES
            .checked_add(REBUILD_BYTES)?
            .checked_mul(self.rebuilds.len())?;
        volumes
            .checked_add(regions)?
            .checked_add(samples)?
            .checked_add(rebuilds)
    }

    fn encode_records(&self, fields: &mut Writer<'_>) -> Option<()> {
        for volume in self.members() {
            encode_frame(fields, TYPE_VOLUME, VOLUME_BYTES)?;
            encode_volume(fields, volume)?;
        }
        for region in self.regions.iter() {
            encode_frame(fields, TYPE_REGION, REGION_BYTES)?;
            encode_region(fields, region)?;
        }
        if !self.samples.is_empty() {
            let len = SAMPLE_BYTES.checked_mul(self.samples.len())?;
            encode_frame(fields, TYPE_SAMPLES, len)?;
            for sample in self.samples.iter() {
                fields.u64(sample.sub_block)?;
                fields.u32(sample.checksum)?;
                fields.u32(0)?;
            }
        }
        for rebuild in self.rebuilds.iter() {
            encode_frame(fields, TYPE_REBUILD, REBUILD_BYTES)?;
            encode_rebuild(fields, rebuild)?;
        }
        Some(())
    }

    /// Reads the body that `header` describes.
    ///
    /// # Errors
    ///
    /// See [`BodyError`].
    pub fn decode(header: &Header, body: &[u8]) -> Result<Self, BodyError> {
        if body.len() != header.body_bytes || checksum(&[body]) != header.body_checksum {
            return Err(BodyError::Checksum);
        }
        let mut metadata = Self {
            head: header.head,
            volumes: Vec::new(),
            regions: Vec::new(),
            rebuilds: Vec::new(),
            samples: Vec::new(),
        };

        let mut records = Reader::new(body);
        while !records.is_empty() {
            let record = Record::decode(&mut records).ok_or(BodyError::Malformed)?;
            metadata.decode_record(record)?;
        }

        let counts = [
            (header.volumes, metadata.volumes.len()),
            (header.regions, metadata.regions.len()),
            (header.samples, metadata.samples.len()),
        ];
        if counts
            .iter()
            .any(|(said, found)| usize::try_from(*said) != Ok(*found))
        {
            return Err(Invalid::Count.into());
        }
        metadata.check()?;
        Ok(metadata)
    }

    fn decode_record(&mut self, record: Record<'_>) -> Result<(), BodyError> {
        let mut fields = Reader::new(record.payload);
        match record.kind {
            TYPE_VOLUME => {
                if self.volumes.len() >= MAX_VOLUMES {
                    return Err(Invalid::Count.into());
                }
                let volume = decode_volume(&mut fields).ok_or(BodyError::Malformed)?;
                self.volumes.try_push(volume)?;
            }
            TYPE_REGION => {
                let region = decode_region(&mut fields).ok_or(BodyError::Malformed)?;
                self.regions.try_push(region)?;
            }
            TYPE_SAMPLES => {
                while !fields.is_empty() {
                    if self.samples.len() >= MAX_SAMPLES {
                        return Err(Invalid::Count.into());
                    }
                    let sample = decode_sample(&mut fields).ok_or(BodyError::Malformed)?;
                    self.samples.try_push(sample)?;
                }
            }
            TYPE_REBUILD => {
                if self.rebuilds.len() >= MAX_VOLUMES {
                    return Err(Invalid::Count.into());
                }
                let rebuild = decode_rebuild(&mut fields).ok_or(BodyError::Malformed)?;
                self.rebuilds.try_push(rebuild)?;
            }
            _ if record.flags & FLAG_COMPATIBLE != 0 => return Ok(()),
            kind => return Err(BodyError::UnknownRecord(kind)),
        }
        // Known records have no flags and no extra bytes.
        if record.flags != 0 || !fields.is_empty() {
            return Err(BodyError::Malformed);
        }
        Ok(())
    }
}

struct Record<'a> {
    kind: u16,
    flags: u16,
    payload: &'a [u8],
}

impl<'a> Record<'a> {
    fn decode(fields: &mut Reader<'a>) -> Option<Self> {
        let kind = fields.u16()?;
        let flags = fields.u16()?;
        let len = usize::try_from(fields.u32()?).ok()?;
        if len % 8 != 0 {
            return None;
        }
        let payload = fields.bytes(len)?;
        Some(Self {
            kind,
            flags,
            payload,
        })
    }
}

fn encode_frame(fields: &mut Writer<'_>, kind: u16, len: usize) -> Option<()> {
    fields.u16(kind)?;
    fields.u16(0)?;
    fields.u32(u32::try_from(len).ok()?)
}

fn encode_volume(fields: &mut Writer<'_>, volume: &VolumeRecord) -> Option<()> {
    fields.id(&volume.lid)?;
    fields.id_or_none(volume.rlid.as_ref())?;
    fields.id_or_none(volume.disk.as_ref())?;
    fields.u8(volume.attr.code())?;
    fields.u8(volume.health.code())?;
    fields.zeros(2)?;
    fields.u32(disk_flags(&volume.state))?;
    fields.u64(volume.disk_sectors)?;
    fields.u64(volume.failed_at)?;
    fields.zeros(40)
}

fn decode_volume(fields: &mut Reader<'_>) -> Option<VolumeRecord> {
    let lid = fields.id()?;
    let rlid = fields.id_or_none()?;
    let disk = fields.id_or_none()?;
    let attr = Attr::from_code(fields.u8()?)?;
    let health = Health::from_code(fields.u8()?)?;
    fields.zeros(2)?;
    let state = disk_state(fields.u32()?)?;
    let disk_sectors = fields.u64()?;
    let failed_at = fields.u64()?;
    fields.zeros(40)?;
    Some(VolumeRecord {
        lid,
        attr,
        rlid,
        disk,
        health,
        state,
        disk_sectors,
        failed_at,
    })
}

fn disk_flags(state: &DiskState) -> u32 {
    let flag = |set, flag| if set { flag } else { 0 };
    flag(state.pristine, DISK_PRISTINE)
        | flag(state.unprotected, DISK_UNPROTECTED)
        | flag(state.formatted, DISK_FORMATTED)
        | flag(state.failed, DISK_FAILED)
}

fn disk_state(flags: u32) -> Option<DiskState> {
    let has = |flag| flags & flag != 0;
    (flags & !DISK_FLAGS == 0).then_some(DiskState {
        pristine: has(DISK_PRISTINE),
        unprotected: has(DISK_UNPROTECTED),
        formatted: has(DISK_FORMATTED),
        failed: has(DISK_FAILED),
        removed: false,
    })
}

fn encode_region(fields: &mut Writer<'_>, region: &RegionRecord) -> Option<()> {
    fields.id(&region.lid)?;
    fields.u64(region.start)?;
    fields.u64(region.len)?;
    fields.u8(region.attr.code())?;
    fields.zeros(15)
}

fn decode_region(fields: &mut Reader<'_>) -> Option<RegionRecord> {
    let lid = fields.id()?;
    let start = fields.u64()?;
    let len = fields.u64()?;
    let attr = Attr::from_code(fields.u8()?)?;
    fields.zeros(15)?;
    Some(RegionRecord {
        lid,
        start,
        len,
        attr,
    })
}

fn encode_rebuild(fields: &mut Writer<'_>, rebuild: &RebuildRecord) -> Option<()> {
    fields.id(&rebuild.lid)?;
    fields.id(&rebuild.target)?;
    fields.u64(rebuild.cursor)?;
    fields.zeros(24)
}

fn decode_rebuild(fields: &mut Reader<'_>) -> Option<RebuildRecord> {
    let lid = fields.id()?;
    let target = fields.id()?;
    let cursor = fields.u64()?;
    fields.zeros(24)?;
    Some(RebuildRecord {
        lid,
        target,
        cursor,
    })
}

fn decode_sample(fields: &mut Reader<'_>) -> Option<Sample> {
    let sub_block = fields.u64()?;
    let checksum = fields.u32()?;
    fields.zeros(4)?;
    Some(Sample {
        sub_block,
        checksum,
    })
}
