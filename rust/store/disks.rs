// SPDX-License-Identifier: GPL-2.0

//! Checks that the disks of logged volumes hold what their increments say, before anything is
//! written: disks get swapped, and a written one has no label. Disks that are being filled for such
//! volumes are checked up to the cursor.

use super::{
    load::Found,
    Owner,
    Store, //
};
use crate::{
    base::{
        self,
        Unread,
        Verdict, //
    },
    dead::Dead,
    log,
    members::Members,
    svol_core::{
        block_map::{
            BlockMap,
            Kind, //
        },
        group::{
            GroupTable,
            Rebuild, //
        },
        intents::Intents,
        samples::{
            self,
            Sample,
            SUB_BLOCK_BYTES,
            SUB_BLOCK_SECTORS, //
        },
        store::Layout, //
    },
};
use kernel::prelude::*;

/// How many blocks of each volume are checked.
const LOOKS: usize = 16;

impl Found {
    /// Compares samples of each logged volume's disk with its increments, and with the base image
    /// where it was never written. A disk counts as dead if it can't be read at half of the places,
    /// or if it can't be flushed where a crash left marks. Writes nothing; sleeps for I/O.
    ///
    /// # Errors
    ///
    /// The log says which disk is wrong.
    #[inline(never)]
    pub(crate) fn check_disks(
        &self,
        members: &Members,
        table: &GroupTable,
        dead: &mut Dead,
    ) -> Result {
        for stored in self.owners.iter() {
            let (Some(owner), Some(map)) = (&stored.record.owner, &stored.map) else {
                continue;
            };
            let disk = self
                .volume_of(table, &owner.lid)
                .and_then(|entry| table.view(entry))
                .and_then(|view| view.logged_disk());
            let is_sound = |disk: &usize| {
                table
                    .volume(*disk)
                    .is_some_and(|volume| !volume.state.unprotected)
            };
            let Some(disk) = disk.filter(is_sound) else {
                continue;
            };
            let look = Look {
                members,
                table,
                volume: table.served_by(disk).ok_or(EINVAL)?,
                disk,
                end: members.sectors,
                map,
                intents: stored.intents.as_ref(),
                store: self.entry,
                layout: &self.layout,
            };
            match look.first_difference()? {
                Verdict::Same | Verdict::Partly(_) => (),
                Verdict::Unreadable(error) => dead.add(table, disk, error)?,
                Verdict::Differs(sector) => {
                    log::notice!(
                        table.id(),
                        "disk of {}: does not hold what its increments say, see sector {sector}: wrong disk?",
                        owner.lid
                    );
                    return Err(EINVAL);
                }
            }
        }
        Ok(())
    }
}

impl Store {
    /// Compares samples of the disk that is being filled for a volume, up to its cursor. Nobody
    /// uses the volume meanwhile. Writes nothing; sleeps for I/O.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or the error for a missing disk.
    #[inline(never)]
    pub(crate) fn compare_filled(
        &self,
        table: &GroupTable,
        owner: &Owner,
        rebuild: &Rebuild,
    ) -> Result<Verdict> {
        let look = Look {
            members: &self.members,
            table,
            volume: rebuild.entry,
            disk: rebuild.target,
            end: rebuild.cursor,
            map: &owner.map,
            intents: owner.intents.as_ref(),
            store: self.entry,
            layout: &self.layout,
        };
        look.first_difference()
    }
}

/// A check of a volume's disk against what its increments say.
struct Look<'a> {
    members: &'a Members,
    table: &'a GroupTable,
    /// The volume's index.
    volume: usize,
    /// The entry of the disk.
    disk: usize,
    /// How many sectors of it are checked, from the beginning.
    end: u64,
    map: &'a BlockMap,
    intents: Option<&'a Intents>,
    /// The entry of the store.
    store: usize,
    layout: &'a Layout,
}

impl Look<'_> {
    /// Compares samples of the disk: those of the base image, unless the disk is known to hold
    /// something else or its content is not known yet; and those of what the store has.
    #[inline(never)]
    fn first_difference(&self) -> Result<Verdict> {
        let (members, table, map) = (self.members, self.table, self.map);
        let disk = members.disk(self.disk).ok_or(ENXIO)?;
        let device = &disk.device;
        if self.has_marks() {
            // What is compared after a crash is made durable first.
            if let Err(error) = members.io.flush(device) {
                return Ok(Verdict::Unreadable(error));
            }
        }
        let mut unread = Unread::new();
        let samples = match table.reads_alone(self.volume) {
            None => samples::in_front_of(&table.metadata().samples, self.end),
            Some(_) => &[],
        };
        let sectors = u32::try_from(SUB_BLOCK_SECTORS)?;
        let is_base = |sample: &Sample| {
            let sector = sample.sector();
            map.read_run(sector, sectors).kind == Kind::Base && !self.is_open(sector)
        };
        let differs = base::first_difference(members, disk, samples, is_base, &mut unread)?;
        if let Some(sector) = differs {
            return Ok(Verdict::Differs(sector));
        }

        // In diverted regions, the disk need not have what the store has. But wherever the store
        // has nothing, it has the base image, in these regions, too.
        let regions = table.make_regions(self.volume)?.ok_or(EINVAL)?;
        let store = &members.disk(self.store).ok_or(ENXIO)?.device;
        let mut here = KVec::from_elem(0u8, SUB_BLOCK_BYTES, GFP_KERNEL)?;
        let mut there = KVec::from_elem(0u8, SUB_BLOCK_BYTES, GFP_KERNEL)?;
        for bid in looks(map, self.end)? {
            let entry = map.get(bid);
            let (Some(slot), sub) = (entry.slot(), entry.data().trailing_zeros()) else {
                continue;
            };
            let offset = u64::from(sub).saturating_mul(SUB_BLOCK_SECTORS);
            let sector = (bid << map.block_shift()).saturating_add(offset);
            let end = sector.saturating_add(SUB_BLOCK_SECTORS);
            let is_diverted = || regions.at(sector).is_diverted;
            if sub >= u16::BITS || end > self.end || self.is_open(sector) || is_diverted() {
                continue;
            }
            let home = self.layout.slot_sector(slot).saturating_add(offset);
            match members.io.read(store, home, &mut there) {
                Ok(()) => (),
                Err(ENOMEM) => return Err(ENOMEM),
                // Says nothing about the disk.
                Err(_) => continue,
            }
            match members.io.read(device, sector, &mut here) {
                Ok(()) if *here == *there => unread.looked_at(),
                Ok(()) => return Ok(Verdict::Differs(sector)),
                Err(ENOMEM) => return Err(ENOMEM),
                Err(error) => unread.failed(sector, error),
            }
        }
        Ok(unread.judge())
    }

    /// Whether a crash may have left disk and increments different here.
    fn is_open(&self, sector: u64) -> bool {
        let marked = |intents: &Intents| intents.is_marked(intents.span(sector, 1).0);
        self.intents.is_some_and(marked)
    }

    /// Whether a crash may have left them different anywhere.
    fn has_marks(&self) -> bool {
        let any = |intents: &Intents| intents.marked().next().is_some();
        self.intents.is_some_and(any)
    }
}

/// The blocks to check, spread over all that the map has before a sector.
fn looks(map: &BlockMap, end: u64) -> Result<KVec<u64>> {
    let is_meant = |bid: u64| (bid << map.block_shift()) < end;
    let mut count = 0usize;
    map.for_each(|bid, _| count = count.saturating_add(usize::from(is_meant(bid))));
    let step = (count / LOOKS).max(1);
    let mut bids = KVec::with_capacity(LOOKS, GFP_KERNEL)?;
    let mut index = 0usize;
    map.for_each(|bid, _| {
        if !is_meant(bid) {
            return;
        }
        if index.checked_rem(step) == Some(0) && bids.len() < LOOKS {
            // There is room.
            let _ = bids.push_within_capacity(bid);
        }
        index = index.saturating_add(1);
    });
    Ok(bids)
}
