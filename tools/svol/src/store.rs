// SPDX-License-Identifier: GPL-2.0

//! A store on its device, as it is read here.

use crate::device::Device;
use anyhow::{anyhow, bail, Result};
use indicatif::ProgressBar;
use svol_core::svol_core::store::{
    entries::{self, Record},
    intent,
    layout::{
        intent_offset, owner_offset, slot_of_entry, INTENT_BYTES, INTENT_SECTORS,
        OWNER_TABLE_BYTES, SECTOR_ENTRIES, SEGMENT_ENTRY_BYTES, SEGMENT_ENTRY_SECTORS,
    },
    Chosen, Header, Layout, Owner, OwnerRecord, PairError, Probe, Sector, SectorError, COPIES,
    OWNERS, SECTOR_BYTES,
};

/// What the table says of a number.
pub(crate) type OwnerState = Result<Chosen<Option<OwnerRecord>>, PairError>;

/// One sector of entries.
pub(crate) struct EntrySector<'a> {
    /// Where it is, in bytes.
    pub(crate) offset: u64,
    /// The slot of its first entry.
    pub(crate) first_slot: u32,
    /// The device ends before it, or in it.
    pub(crate) is_missing: bool,
    /// The sector, or what is wrong with it.
    pub(crate) sector: Result<&'a Sector, SectorError>,
}

impl EntrySector<'_> {
    /// The entries that are not free, each with its slot.
    pub(crate) fn records(&self) -> impl Iterator<Item = (u32, Record)> + '_ {
        let first = self.first_slot;
        self.sector
            .iter()
            .flat_map(|sector| entries::records(sector))
            .map(move |(index, record)| (first.saturating_add(index), record))
    }
}

pub(crate) struct Store<'a> {
    pub(crate) device: &'a Device,
    pub(crate) header: Chosen<Header>,
    /// As the store was last used.
    pub(crate) layout: Layout,
    /// The slots that a start will find: the device may have grown since then.
    pub(crate) slots: u32,
    /// From number 1 on.
    owners: Vec<OwnerState>,
}

/// Looks at a device. The memory that it takes is small.
pub(crate) fn probe(device: &Device) -> Result<Probe> {
    Probe::device(|offset, buffer| device.read(offset, buffer))
        .map_err(|_| anyhow!("out of memory"))
}

impl<'a> Store<'a> {
    /// Reads header and owner table; an error if the header is lost.
    pub(crate) fn open(device: &'a Device) -> Result<Self> {
        match probe(device)? {
            Probe::Store(header) => Self::with_header(device, header),
            Probe::Version(version) => bail!("increments store of unknown version {version}"),
            Probe::Damaged(error) => bail!("increments store with a damaged header: {error}"),
            Probe::Dead | Probe::Unreadable => bail!("the device cannot be read"),
            Probe::Blank | Probe::Foreign => bail!("no increments store"),
        }
    }

    /// The same, for a header that is known.
    pub(crate) fn with_header(device: &'a Device, header: Chosen<Header>) -> Result<Self> {
        let Header {
            block_sectors,
            used_sectors,
            ..
        } = header.value;
        let layout_of =
            |sectors| Layout::new(block_sectors, sectors).map_err(|error| anyhow!("{error}"));
        let layout = layout_of(used_sectors)?;
        let slots = layout_of(used_sectors.max(device.sectors()))?.slots();
        let tables: [_; COPIES] = [read_table(device, 0), read_table(device, 1)];
        let owners = (1..OWNERS)
            .map(|number| {
                let copies = tables.each_ref().map(|table| {
                    let sector = table.get(usize::from(number)).and_then(Option::as_ref);
                    sector
                });
                OwnerRecord::choose(copies, header.value.tag, number)
            })
            .collect();
        Ok(Self {
            device,
            header,
            layout,
            slots,
            owners,
        })
    }

    /// What the table says of each number.
    pub(crate) fn owner_states(&self) -> impl Iterator<Item = (u16, &OwnerState)> {
        (1..OWNERS).zip(&self.owners)
    }

    /// The owners, each with its number.
    pub(crate) fn owners(&self) -> impl Iterator<Item = (u16, &Owner)> {
        self.owner_states()
            .filter_map(|(number, state)| Some((number, owner_of(state)?)))
    }

    /// The owner of a number.
    pub(crate) fn owner(&self, number: u16) -> Option<&Owner> {
        owner_of(self.owner_state(number)?)
    }

    /// Whether the table can tell who has a number.
    pub(crate) fn is_lost(&self, number: u16) -> bool {
        matches!(self.owner_state(number), Some(Err(_)))
    }

    fn owner_state(&self, number: u16) -> Option<&OwnerState> {
        self.owners.get(usize::from(number).checked_sub(1)?)
    }

    /// The size of a block, in bytes.
    pub(crate) fn block_bytes(&self) -> u64 {
        u64::from(self.layout.block_sectors()).saturating_mul(512)
    }

    /// Says so if the device is too short for what the store uses of it.
    pub(crate) fn cut_short(&self) -> Option<String> {
        let used = self.header.value.used_sectors;
        (used > self.device.sectors()).then(|| {
            format!(
                "the device ends at {}, but the store uses {} bytes: what was behind its end is missing",
                self.device.bytes(),
                used.saturating_mul(512)
            )
        })
    }

    /// The number of steps of [`Self::for_each_sector`].
    pub(crate) fn segments(&self) -> u64 {
        u64::from(self.header.value.segments)
    }

    /// Goes through all sectors of entries, also those that the device has not.
    pub(crate) fn for_each_sector(
        &self,
        bar: &ProgressBar,
        mut visit: impl FnMut(&EntrySector<'_>) -> Result<()>,
    ) -> Result<()> {
        let mask = entries::mask_of(self.layout.block_sectors());
        let mut buffer = vec![0; SEGMENT_ENTRY_BYTES];
        for segment in 0..self.header.value.segments {
            let offset = self.layout.segment_offset(segment);
            let is_behind = offset >= self.device.bytes();
            let bad = if is_behind {
                Vec::new()
            } else {
                self.device.read_sectors(offset, &mut buffer)
            };
            let first = segment.saturating_mul(SEGMENT_ENTRY_SECTORS);
            for (number, (index, bytes)) in
                (first..).zip(buffer.chunks_exact(SECTOR_BYTES).enumerate())
            {
                let offset = self.layout.entry_offset(number);
                let sector = match bytes.first_chunk() {
                    Some(sector) if !is_behind && !bad.contains(&index) => {
                        entries::check(sector, self.header.value.tag, number, mask).map(|()| sector)
                    }
                    _ => Err(SectorError::Unreadable),
                };
                visit(&EntrySector {
                    offset,
                    first_slot: slot_of_entry(number, 0),
                    is_missing: offset.saturating_add(512) > self.device.bytes(),
                    sector,
                })?;
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// The sectors of the write-intent map of an owner that count, each with its offset and the
    /// number of regions in it.
    pub(crate) fn intent(
        &self,
        number: u16,
        owner: &Owner,
    ) -> Vec<(u64, u32, Result<Sector, SectorError>)> {
        let mut buffer = vec![0; INTENT_BYTES];
        let bad = self
            .device
            .read_sectors(intent_offset(number, 0), &mut buffer);
        let mut left = owner.regions();
        let mut sectors = Vec::new();
        for (index, bytes) in (0..INTENT_SECTORS).zip(buffer.chunks_exact(SECTOR_BYTES)) {
            let regions = left.min(intent::SECTOR_REGIONS);
            if regions == 0 {
                break;
            }
            left = left.saturating_sub(regions);
            let sector = match bytes.first_chunk() {
                Some(sector) if !bad.contains(&usize::from(index)) => {
                    intent::check(sector, self.header.value.tag, number, index).map(|()| *sector)
                }
                _ => Err(SectorError::Unreadable),
            };
            sectors.push((intent_offset(number, index), regions, sector));
        }
        sectors
    }
}

/// The slots of a sector, as text.
pub(crate) fn slots_text(first: u32) -> String {
    let last = first.saturating_add(SECTOR_ENTRIES.saturating_sub(1));
    format!("slots {first} to {last}")
}

fn owner_of(state: &OwnerState) -> Option<&Owner> {
    state.as_ref().ok()?.value.as_ref()?.owner.as_ref()
}

/// The sectors of a copy of the owner table; `None` for those that cannot be read.
fn read_table(device: &Device, copy: usize) -> Vec<Option<Sector>> {
    let mut buffer = vec![0; OWNER_TABLE_BYTES];
    let bad = device.read_sectors(owner_offset(copy, 0), &mut buffer);
    buffer
        .chunks_exact(SECTOR_BYTES)
        .enumerate()
        .map(|(index, bytes)| {
            let sector = bytes.first_chunk().copied();
            sector.filter(|_| !bad.contains(&index))
        })
        .collect()
}
