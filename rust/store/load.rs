// SPDX-License-Identifier: GPL-2.0

//! How a store is found on its device, and how it is opened.
//!
//! Finding reads and never writes: whether the group starts is not known yet. Opening writes what
//! the store has to learn.

use super::{
    format,
    full::low_water,
    logged::write_marks,
    Owner,
    Queues,
    Store, //
};
use crate::{
    dm::{
        random_bytes,
        Bufio,
        Device,
        ParkedList,
        Worker, //
    },
    env::{
        AtomicU64,
        Word, //
    },
    log,
    members::Members,
    svol_core::{
        attr::Attr,
        block_map::{
            BlockMap,
            Entry, //
        },
        grace::Grace,
        group::GroupTable,
        id::Id,
        intents::Intents,
        route::Home,
        slots::Slots,
        store::{
            self,
            entries,
            intent,
            judge,
            layout,
            Chosen,
            Expected,
            Header,
            Layout,
            OwnerRecord,
            Phase,
            Plan,
            Probe,
            Refusal,
            Sector,
            COPIES,
            OWNERS,
            SECTOR_BYTES, //
        },
        table_line::Features,
        write_locks::WriteLocks, //
    },
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::new_spinlock_irq,
    sync::Arc,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// Where the changes of a volume are kept.
#[derive(Clone, Copy)]
pub(crate) struct Link {
    /// Index of the store in the live table.
    pub(crate) store: usize,
    /// Index of the owner in the store.
    pub(crate) owner: usize,
}

/// An owner as it was found.
pub(super) struct Known {
    pub(super) record: OwnerRecord,
    pub(super) map: Option<BlockMap>,
    pub(super) intents: Option<Intents>,
}

impl Known {
    fn is(&self, lid: &Id) -> bool {
        self.record.owner.is_some_and(|owner| owner.lid == *lid)
    }
}

/// A store as it was found.
pub(crate) struct Found {
    pub(super) entry: usize,
    lid: Id,
    pub(crate) header: Header,
    /// The header has to be written again.
    heal: bool,
    pub(super) layout: Layout,
    slots: Slots,
    pub(super) owners: KVec<Known>,
    /// Owners of which a copy is damaged or older.
    stale_owners: KVec<u16>,
}

/// What is on the device of an increments entry. Sleeps for I/O.
///
/// # Errors
///
/// `ENOMEM`; that the device can't be read is not an error but what was found.
pub(crate) fn probe(members: &Members, entry: usize) -> Result<Probe> {
    let device = &members.disk(entry).ok_or(ENXIO)?.device;
    Ok(Probe::device(|position, buffer: &mut [u8]| -> Result {
        let mut bounce = KVec::from_elem(0u8, buffer.len(), GFP_KERNEL)?;
        members.io.read(device, position >> 9, &mut bounce)?;
        buffer.copy_from_slice(&bounce);
        Ok(())
    })?)
}

/// The event count that a store has seen, if the device holds one of this group. Sleeps for I/O.
pub(crate) fn seen_events(members: &Members, entry: usize, group: &Id) -> Option<u64> {
    let probe = probe(members, entry).ok()?;
    let header = probe.header()?;
    (header.group == *group && header.phase == Phase::Active).then_some(header.events)
}

/// What the group expects of the device of an increments entry.
fn expected(table: &GroupTable, entry: usize, device: &Device, events: u64) -> Result<Expected> {
    let head = table.head();
    let volume = table.volume(entry).ok_or(EINVAL)?;
    Ok(Expected {
        uuid: head.uuid,
        group: head.group,
        lid: volume.lid,
        block_sectors: head.block_sectors,
        sectors: head.sectors,
        events,
        device_sectors: device.sectors(),
        formatted: volume.state.formatted,
    })
}

fn report(table: &GroupTable, expected: &Expected) -> impl Fn(Refusal) -> Error {
    let (group, lid) = (*table.id(), expected.lid);
    move |refusal| {
        log::notice!(group, "increments {lid}: the device {refusal}");
        match refusal {
            Refusal::Unreadable => EIO,
            _ => EINVAL,
        }
    }
}

/// The header for the store of a group that is being made, if it has to be made yet; checks that
/// the device can take it. Sleeps for I/O.
///
/// # Errors
///
/// Say in the log what is wrong with the device.
#[inline(never)]
pub(crate) fn new_header(
    members: &Members,
    table: &GroupTable,
    entry: usize,
) -> Result<Option<Header>> {
    let device = &members.disk(entry).ok_or(ENXIO)?.device;
    let expected = expected(table, entry, device, table.head().events)?;
    let probe = probe(members, entry)?;
    match judge(&probe, &expected).map_err(report(table, &expected))? {
        Plan::Use => Ok(None),
        // A crash cut it off.
        Plan::FormatAgain => Ok(probe.header().copied()),
        Plan::Format => {
            let layout = Layout::new(expected.block_sectors, expected.device_sectors);
            let mut tag = [0; 8];
            random_bytes(&mut tag);
            Ok(Some(Header {
                // Not zero.
                tag: u64::from_le_bytes(tag) | 1,
                uuid: expected.uuid,
                group: expected.group,
                lid: expected.lid,
                sequence: 0,
                events: expected.events,
                base_generation: table.head().base_generation,
                sectors: expected.sectors,
                block_sectors: expected.block_sectors,
                used_sectors: layout.map_err(|_| EINVAL)?.used_sectors(),
                segments: 0,
                phase: Phase::Formatting,
            }))
        }
    }
}

/// Finds the store of an entry and reads its map; writes nothing. Sleeps for I/O.
///
/// `events` is the event count of the metadata; `force` accepts a store that has seen others.
///
/// # Errors
///
/// Say in the log what is wrong.
#[inline(never)]
pub(crate) fn find(
    members: &Members,
    table: &GroupTable,
    entry: usize,
    events: u64,
    force: bool,
) -> Result<Found> {
    let device = &members.disk(entry).ok_or(ENXIO)?.device;
    let expected = expected(table, entry, device, events)?;
    match judge(&probe(members, entry)?, &expected) {
        Ok(Plan::Use) => (),
        Err(Refusal::Older { .. } | Refusal::Newer { .. }) if force => (),
        Ok(_) => return Err(report(table, &expected)(Refusal::Unfinished)),
        Err(refusal) => return Err(report(table, &expected)(refusal)),
    }
    let Probe::Store(chosen) = probe(members, entry)? else {
        return Err(EIO);
    };
    for (copy, state) in chosen
        .copies
        .iter()
        .enumerate()
        .filter(|(_, s)| s.is_damage())
    {
        log::notice!(
            table.id(),
            "increments {}: header at byte {}: {state}; the other copy is used",
            expected.lid,
            layout::header_offset(copy)
        );
    }
    let header = chosen.value;
    let layout = Layout::new(header.block_sectors, expected.device_sectors)
        .map_err(|error| report(table, &expected)(Refusal::Layout(error)))?;
    let mut found = Found {
        entry,
        lid: expected.lid,
        header,
        heal: layout.used_sectors() != header.used_sectors
            || chosen.copies.iter().any(|state| state.wants_rewrite()),
        layout,
        slots: Slots::new(layout.slots())?,
        owners: KVec::new(),
        stale_owners: KVec::new(),
    };
    found.read_owners(members, table, device)?;
    found.read_entries(members, table, device)?;
    Ok(found)
}

impl Found {
    #[inline(never)]
    fn read_owners(&mut self, members: &Members, table: &GroupTable, device: &Device) -> Result {
        let mut tables = KVec::with_capacity(COPIES, GFP_KERNEL)?;
        for copy in 0..COPIES {
            let mut content = KVec::from_elem(0u8, layout::OWNER_TABLE_BYTES, GFP_KERNEL)?;
            let offset = layout::owner_offset(copy, 0);
            members.io.read(device, offset >> 9, &mut content)?;
            tables.push(content, GFP_KERNEL)?;
        }
        for number in 1..OWNERS {
            let at = usize::from(number).saturating_mul(SECTOR_BYTES);
            let sector =
                |copy: usize| -> Option<&Sector> { tables.get(copy)?.get(at..)?.first_chunk() };
            let chosen = OwnerRecord::choose([sector(0), sector(1)], self.header.tag, number)
                .map_err(|error| {
                    log::notice!(
                        table.id(),
                        "increments {}: owner {number}: {error}",
                        self.lid
                    );
                    EINVAL
                })?;
            let Some(Chosen {
                value: record,
                copies,
            }) = chosen
            else {
                continue;
            };
            if copies.iter().any(|state| state.wants_rewrite()) {
                self.stale_owners.push(number, GFP_KERNEL)?;
            }
            for (copy, state) in copies.iter().enumerate().filter(|(_, s)| s.is_damage()) {
                log::notice!(
                    table.id(),
                    "increments {}: owner at byte {}: {state}; the other copy is used",
                    self.lid,
                    layout::owner_offset(copy, number)
                );
            }
            let map = match &record.owner {
                Some(owner) => Some(BlockMap::new(owner.sectors, self.layout.block_shift())?),
                None => None,
            };
            let intents = match &record.owner {
                Some(owner) => self.read_intents(members, table, device, number, owner)?,
                None => None,
            };
            let known = Known {
                record,
                map,
                intents,
            };
            self.owners.push(known, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// The marks of an owner. A damaged sector marks all its regions.
    #[inline(never)]
    fn read_intents(
        &self,
        members: &Members,
        table: &GroupTable,
        device: &Device,
        number: u16,
        owner: &store::Owner,
    ) -> Result<Option<Intents>> {
        let Some(shift) = owner.region_shift else {
            return Ok(None);
        };
        let intents = Intents::new(owner.regions(), shift)?;
        let mut content = KVec::from_elem(0u8, layout::INTENT_BYTES, GFP_KERNEL)?;
        let offset = layout::intent_offset(number, 0);
        members.io.read(device, offset >> 9, &mut content)?;
        for (sector, index) in content.chunks_exact(SECTOR_BYTES).zip(0u16..) {
            let sector: &Sector = sector.first_chunk().ok_or(EINVAL)?;
            let checked = intent::check(sector, self.header.tag, number, index);
            if let Err(error) = checked {
                log::notice!(
                    table.id(),
                    "increments {}: write intents at byte {}: {error}; taken as all set",
                    self.lid,
                    layout::intent_offset(number, index)
                );
            }
            let first = u32::from(index).saturating_mul(intent::SECTOR_REGIONS);
            let behind = first
                .saturating_add(intent::SECTOR_REGIONS)
                .min(intents.regions());
            for region in first..behind {
                let (_, mark) = intent::place(region);
                if checked.is_err() || intent::is_marked(sector, mark) {
                    intents.mark(region);
                }
            }
        }
        Ok(Some(intents))
    }

    #[inline(never)]
    fn read_entries(&mut self, members: &Members, table: &GroupTable, device: &Device) -> Result {
        /// How often the log says how far it is.
        const REPORT_MS: i64 = 5000;

        let mask = entries::mask_of(self.header.block_sectors);
        let mut content = KVec::from_elem(0u8, layout::SEGMENT_ENTRY_BYTES, GFP_KERNEL)?;
        let mut reported: Instant<Monotonic> = Instant::now();
        for segment in 0..self.header.segments {
            let offset = self.layout.segment_offset(segment);
            members.io.read(device, offset >> 9, &mut content)?;
            let first = segment.saturating_mul(layout::SEGMENT_ENTRY_SECTORS);
            for (sector, number) in content.chunks_exact(SECTOR_BYTES).zip(first..) {
                let sector: &Sector = sector.first_chunk().ok_or(EINVAL)?;
                entries::check(sector, self.header.tag, number, mask).map_err(|error| {
                    let position = self.layout.entry_offset(number);
                    log::notice!(
                        table.id(),
                        "increments {}: entries at byte {position}: {error}",
                        self.lid
                    );
                    EINVAL
                })?;
                for (index, record) in entries::records(sector) {
                    let slot = layout::slot_of_entry(number, index);
                    if let Err(what) = self.take_entry(slot, &record)? {
                        let position = self.layout.entry_offset(number);
                        log::notice!(
                            table.id(),
                            "increments {}: entries at byte {position}: slot {slot}: {what}",
                            self.lid
                        );
                        return Err(EINVAL);
                    }
                }
            }
            if reported.elapsed().as_millis() >= REPORT_MS {
                reported = Instant::now();
                log::info!(
                    table.id(),
                    "increments {}: {} of {} segments read",
                    self.lid,
                    segment.saturating_add(1),
                    self.header.segments
                );
            }
        }
        self.slots
            .set_limit(self.layout.slots_of(self.header.segments));
        Ok(())
    }

    /// Puts an entry into its owner's map; the inner error says why it can't be.
    fn take_entry(
        &mut self,
        slot: u32,
        record: &entries::Record,
    ) -> Result<core::result::Result<(), &'static str>> {
        let owner = self
            .owners
            .iter()
            .find(|known| known.record.number == record.owner);
        let Some(map) = owner.and_then(|known| known.map.as_ref()) else {
            return Ok(Err("no such owner"));
        };
        if record.bid >= map.blocks() {
            return Ok(Err("no such block"));
        }
        if map.get(record.bid).slot().is_some() {
            return Ok(Err("a block that has another slot"));
        }
        if !self.slots.mark_taken(slot) {
            return Ok(Err("no such slot"));
        }
        let entry = Entry::with_slot(slot)
            .with_data(record.data)
            .with_zero(record.zero);
        map.load(record.bid, entry)?;
        Ok(Ok(()))
    }

    /// Brings the headers up to an event count, and mends what was found damaged. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub(crate) fn note_events(&mut self, members: &Members, events: u64) -> Result {
        if !self.heal && self.stale_owners.is_empty() && self.header.events == events {
            return Ok(());
        }
        let device = &members.disk(self.entry).ok_or(ENXIO)?.device;
        self.header.events = events;
        self.header.used_sectors = self.layout.used_sectors();
        format::write_header(members, device, &mut self.header)?;
        self.heal = false;
        for number in self.stale_owners.iter() {
            let known = self
                .owners
                .iter_mut()
                .find(|known| known.record.number == *number);
            if let Some(Known { record, .. }) = known {
                record.sequence = record.sequence.saturating_add(1);
                format::write_owner(members, device, self.header.tag, record)?;
            }
        }
        self.stale_owners.clear();
        Ok(())
    }

    /// Gives every volume of the group that keeps its changes here a number. Sleeps for I/O.
    fn add_owners(&mut self, members: &Members, table: &GroupTable) -> Result {
        let device = &members.disk(self.entry).ok_or(ENXIO)?.device;
        for volume in table.volumes() {
            if volume.rlid != Some(self.lid) {
                continue;
            }
            let in_place = volume.attr == Attr::Rw;
            let known = self.owners.iter().position(|known| known.is(&volume.lid));
            let lacks_marks = |known: &Known| in_place && known.intents.is_none();
            if let Some(at) = known {
                if !self.owners.get(at).is_some_and(lacks_marks) {
                    continue;
                }
            }
            let number = match known.and_then(|at| self.owners.get(at)) {
                Some(known) => known.record.number,
                None => self.free_number(table)?,
            };
            let old = self
                .owners
                .iter()
                .position(|known| known.record.number == number)
                .and_then(|at| self.owners.remove(at).ok());
            let (sequence, map) = match old {
                Some(old) => (old.record.sequence, old.map),
                None => (0, None),
            };
            let sectors = self.header.sectors;
            let region_shift = in_place.then(|| intent::region_shift(sectors));
            let owner = store::Owner {
                lid: volume.lid,
                base_generation: self.header.base_generation,
                sectors,
                removing: false,
                region_shift,
            };
            let tag = self.header.tag;
            let intents = match region_shift {
                Some(shift) => {
                    // Before the owner says that it has them.
                    write_marks(members, device, tag, number, owner.regions(), |_| false)?;
                    Some(Intents::new(owner.regions(), shift)?)
                }
                None => None,
            };
            let record = OwnerRecord {
                number,
                sequence: sequence.saturating_add(1),
                owner: Some(owner),
            };
            format::write_owner(members, device, tag, &record)?;
            let map = match map {
                Some(map) => map,
                None => BlockMap::new(sectors, self.layout.block_shift())?,
            };
            let known = Known {
                record,
                map: Some(map),
                intents,
            };
            self.owners.push(known, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// An owner number that is free.
    fn free_number(&self, table: &GroupTable) -> Result<u16> {
        let is_used = |number: u16| {
            self.owners
                .iter()
                .any(|known| known.record.number == number && known.record.owner.is_some())
        };
        (1..OWNERS).find(|number| !is_used(*number)).ok_or_else(|| {
            log::notice!(table.id(), "increments {}: too many owners", self.lid);
            E2BIG
        })
    }

    /// Opens the store. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the device; `ENOMEM`.
    #[inline(never)]
    pub(crate) fn open(
        mut self,
        members: &Arc<Members>,
        table: &GroupTable,
        features: &Features,
    ) -> Result<Pin<KBox<Worker<Store>>>> {
        self.add_owners(members, table)?;
        let shift = self.layout.block_shift();
        let mut owners = KVec::with_capacity(self.owners.len(), GFP_KERNEL)?;
        for known in self.owners {
            let Known {
                record,
                map,
                intents,
            } = known;
            if let (Some(owner), Some(map)) = (record.owner, map) {
                let is_unprotected = |disk: usize| {
                    table
                        .volume(disk)
                        .is_some_and(|volume| volume.state.unprotected)
                };
                let disk =
                    table
                        .position(&owner.lid)
                        .and_then(|entry| match table.view(entry)?.writes {
                            Home::Logged(disk) => Some(disk),
                            _ => None,
                        });
                let owner = Owner {
                    lid: owner.lid,
                    number: record.number,
                    map,
                    locks: WriteLocks::new(shift)?,
                    intents,
                    disk,
                    // What it lacks, later writes do not bring back.
                    unlogged: Word::new(u64::from(disk.is_some_and(is_unprotected))),
                    suspending: Word::new(0),
                };
                owners.push(owner, GFP_KERNEL)?;
            }
        }
        let device = &members.disk(self.entry).ok_or(ENXIO)?.device;
        let Self {
            entry,
            lid,
            header,
            layout,
            slots,
            ..
        } = self;
        let batch = KVec::with_capacity(super::commit::BATCH, GFP_KERNEL)?;
        let entries = Bufio::new(device)?;
        let store = try_pin_init!(Store {
            members: members.clone(),
            entry,
            group: *table.id(),
            lid,
            layout,
            on_full: features.on_full,
            low_water: low_water(slots.total(), features.low_water_mark),
            is_low: Word::new(0),
            opened: Instant::now(),
            slots,
            grace: Grace::new(),
            changing: Grace::new(),
            owners,
            busy: Word::new(0),
            marks_looked_at <- new_mutex!(Instant::now()),
            has_marks: Word::new(0),
            tag: header.tag,
            mask: entries::mask_of(header.block_sectors),
            commits: AtomicU64::new(0),
            full: Word::new(0),
            queues <- new_spinlock_irq!(Queues {
                slow: ParkedList::new(),
                full: ParkedList::new(),
                waiting: ParkedList::new(),
            }),
            header <- new_mutex!(header),
            entries <- new_mutex!(entries),
            batch <- new_mutex!(batch),
        });
        KBox::pin_init(Worker::new(c"dm-svol-store", store), GFP_KERNEL)
    }
}
