// SPDX-License-Identifier: GPL-2.0

//! Regions in the group table: the parts of in-place volumes that are diverted.
//!
//! A volume is `rw` if any part of it is written in place, so everything about in-place volumes
//! applies to it; only volumes without such a part are `ro`. The metadata lists the diverted parts,
//! which do not touch each other.

use super::GroupTable;
use crate::{
    env::{
        AllocError,
        Vec, //
    },
    svol_core::{
        attr::Attr,
        id::Id,
        meta::{
            Metadata,
            RegionRecord,
            VolumeRecord, //
        },
        regions::{
            with,
            without,
            Regions, //
        },
        vec::{
            try_collect,
            try_copy, //
        }, //
    },
};

/// The attribute of a volume and of its parts.
pub(super) struct Wanted {
    pub(super) attr: Attr,
    /// The diverted parts of an in-place volume: first sector and the one after the last.
    pub(super) ranges: Vec<(u64, u64)>,
}

impl Wanted {
    /// The regions of all volumes, if the volume `lid` gets these.
    pub(super) fn records(
        &self,
        metadata: &Metadata,
        lid: &Id,
    ) -> Result<Vec<RegionRecord>, AllocError> {
        let old = &metadata.regions;
        let room = old.len().saturating_add(self.ranges.len());
        let before = old.iter().filter(|region| region.lid < *lid).copied();
        let its = self.ranges.iter().map(|(start, end)| RegionRecord {
            lid: *lid,
            start: *start,
            len: end.saturating_sub(*start),
            attr: Attr::Ro,
        });
        let behind = old.iter().filter(|region| region.lid > *lid).copied();
        try_collect(room, Iterator::chain(Iterator::chain(before, its), behind))
    }
}

/// How a volume changes when a range gets an attribute; `None` if the range has it already.
pub(super) fn changed(
    metadata: &Metadata,
    volume: &VolumeRecord,
    attr: Attr,
    range: (u64, u64),
) -> Result<Option<Wanted>, AllocError> {
    let all = (0, metadata.head.sectors);
    let old = match volume.attr {
        Attr::Ro => try_copy(&[all], 0)?,
        _ => try_collect(0, of(metadata, volume).map(extent))?,
    };
    let ranges = if attr == Attr::Ro {
        with(&old, range)?
    } else {
        without(&old, range)?
    };
    if *ranges == *old {
        return Ok(None);
    }
    Ok(Some(match ranges.first() {
        Some(first) if *first == all => Wanted {
            attr: Attr::Ro,
            ranges: Vec::new(),
        },
        _ => Wanted {
            attr: Attr::Rw,
            ranges,
        },
    }))
}

/// The first sector of a region, and the one after its last.
fn extent(region: &RegionRecord) -> (u64, u64) {
    (region.start, region.start.saturating_add(region.len))
}

/// The regions of a volume.
fn of<'a>(
    metadata: &'a Metadata,
    volume: &'a VolumeRecord,
) -> impl Iterator<Item = &'a RegionRecord> {
    let mine = move |region: &&RegionRecord| region.lid == volume.lid && region.attr == Attr::Ro;
    metadata.regions.iter().filter(mine)
}

impl GroupTable {
    /// The diverted parts of an in-place volume.
    pub fn regions(&self, entry: usize) -> impl Iterator<Item = &RegionRecord> {
        self.volume(entry)
            .filter(|volume| volume.attr == Attr::Rw)
            .into_iter()
            .flat_map(|volume| of(self.metadata(), volume))
    }

    /// Whether parts of an in-place volume are diverted.
    pub fn has_regions(&self, entry: usize) -> bool {
        self.regions(entry).next().is_some()
    }

    /// The diverted parts of an entry in the form that its I/O uses, with room for more if it may
    /// get some. `None` if there are more than a volume may have.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn make_regions(&self, entry: usize) -> Result<Option<Regions>, AllocError> {
        let may_have = self
            .volume(entry)
            .is_some_and(|volume| volume.attr.is_volume() && volume.rlid.is_some());
        let regions = Regions::new(may_have)?;
        Ok(regions.set(&self.borders(entry)?).then_some(regions))
    }

    /// The borders of the diverted parts of an entry, for [`Regions`].
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn borders(&self, entry: usize) -> Result<Vec<u64>, AllocError> {
        let ends = |region| {
            let (first, end) = extent(region);
            [first, end]
        };
        try_collect(0, self.regions(entry).flat_map(ends))
    }
}
