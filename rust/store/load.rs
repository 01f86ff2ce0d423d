// SPDX-License-Identifier: GPL-2.0

//! How a store is found on its device, and how it is opened.
//!
//! Finding only reads: it is not known yet whether the group will start. Opening writes what the
//! store has to record.

use super::{
    fail::{
        self,
        Failure, //
    },
    format::{
        self,
        NotDurable, //
    },
    full::low_water,
    marks::write_marks,
    queue::Queues,
    Owner,
    Store, //
};
use crate::{
    dm::{
        random_bytes,
        Bufio,
        Device,
        Worker, //
    },
    env::{
        AtomicU64,
        Vec,
        Word, //
    },
    group::Group,
    log,
    members::Members,
    svol_core::{
        attr::Attr,
        block_map::BlockMap,
        changes::Changes,
        deadline::Deadline,
        flag::Flag,
        grace::Grace,
        group::GroupTable,
        health::Health,
        id::Id,
        intents::Intents,
        meta::VolumeRecord,
        slots::Slots,
        store::{
            self,
            entries,
            intent,
            judge,
            judge_again,
            layout,
            least_seen,
            Content,
            Damage,
            Expected,
            Header,
            Layout,
            LoadError,
            OwnerRecord,
            Phase,
            Plan,
            Probe,
            Refusal,
            Source,
            StoredOwner,
            OWNERS, //
        },
        table_line::Features, //
    },
};
use kernel::{
    cpu::nr_cpu_ids,
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

/// A store as found on its device.
pub(crate) struct Found {
    pub(super) entry: usize,
    lid: Id,
    pub(crate) header: Header,
    /// The header has to be written again.
    heal: bool,
    pub(super) layout: Layout,
    slots: Slots,
    pub(super) owners: KVec<StoredOwner>,
    /// Owners with a copy that is damaged or out of date.
    stale_owners: Vec<u16>,
    /// Owners whose marks have to be written as they are in memory.
    stale_marks: Vec<u16>,
    /// Sectors of entries to be rewritten as free ones; ascending.
    stale_entries: Vec<u32>,
}

/// Reads what is on the device of an increments entry. Sleeps for I/O.
///
/// # Errors
///
/// `ENOMEM`. A device that can't be read is not an error, but part of the result.
pub(crate) fn probe(members: &Members, entry: usize) -> Result<Probe> {
    let device = &members.disk(entry).ok_or(ENXIO)?.device;
    members.probe(device, |read| Probe::device(read))
}

/// The event count that a store has seen, if the device holds one of the group with this uuid.
/// Sleeps for I/O.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn seen_events(members: &Members, entry: usize, uuid: &[u8; 16]) -> Result<Option<u64>> {
    if members.disk(entry).is_none() {
        return Ok(None);
    }
    let probe = probe(members, entry)?;
    let header = probe.header();
    let header = header.filter(|header| header.uuid == *uuid && header.phase == Phase::Active);
    Ok(header.map(|header| header.events))
}

/// Returns the device of an increments entry, what the group expects of it, and what it holds.
/// Sleeps for I/O.
fn look<'a>(
    members: &'a Members,
    table: &GroupTable,
    entry: usize,
    events: u64,
) -> Result<(&'a Device, Expected, Probe)> {
    let device = &members.disk(entry).ok_or(ENXIO)?.device;
    let expected = expected(table, entry, device, events)?;
    Ok((device, expected, probe(members, entry)?))
}

/// What the group expects of the device of an increments entry.
fn expected(table: &GroupTable, entry: usize, device: &Device, events: u64) -> Result<Expected> {
    let head = table.head();
    let volume = table.volume(entry).ok_or(EINVAL)?;
    let kept_at = match table.is_kept_store(entry) {
        true => volume.failed_at,
        false => 0,
    };
    Ok(Expected {
        uuid: head.uuid,
        group: head.group,
        lid: volume.lid,
        block_sectors: head.block_sectors,
        sectors: head.sectors,
        events,
        least: least_seen(events, kept_at),
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

/// The header for a store of a group that is being created, if the store still has to be made;
/// checks that the device can take it. Sleeps for I/O.
///
/// # Errors
///
/// The log says what is wrong with the device.
#[inline(never)]
pub(crate) fn new_header(
    members: &Members,
    table: &GroupTable,
    entry: usize,
) -> Result<Option<Header>> {
    let (_, expected, probe) = look(members, table, entry, table.head().events)?;
    let plan = judge(&probe, &expected).map_err(report(table, &expected))?;
    header_to_make(table, &expected, &probe, plan)
}

/// Checks the device of an increments entry that is [to be opened](GroupTable::stores_to_open); if
/// it holds no store, returns the header of the store to be made there first. Writes nothing;
/// sleeps for I/O.
///
/// # Errors
///
/// The log says what is wrong with the device.
pub(crate) fn header_to_open(
    members: &Members,
    table: &GroupTable,
    entry: usize,
) -> Result<Option<Header>> {
    match table.is_new_store(entry) {
        true => new_header(members, table, entry),
        false => header_again(members, table, entry),
    }
}

/// As [`header_to_open`], for one that failed and is to be used again.
#[inline(never)]
fn header_again(members: &Members, table: &GroupTable, entry: usize) -> Result<Option<Header>> {
    let (_, expected, probe) = look(members, table, entry, table.head().events)?;
    // A device that failed before it ever held a store has nothing that is needed.
    let volume = table.volume(entry).filter(|volume| volume.state.formatted);
    let failed_at = volume.map(|volume| volume.failed_at);
    let failed_at = failed_at.filter(|_| table.is_needed_store(entry));
    let plan = judge_again(&probe, &expected, failed_at).map_err(report(table, &expected))?;
    header_to_make(table, &expected, &probe, plan)
}

/// The header of a store that is to be made, if one is.
fn header_to_make(
    table: &GroupTable,
    expected: &Expected,
    probe: &Probe,
    plan: Plan,
) -> Result<Option<Header>> {
    match plan {
        Plan::Use => Ok(None),
        // A crash interrupted the formatting.
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
/// `events` is the event count of the metadata; `force` accepts a store with another event count.
///
/// # Errors
///
/// The log says what is wrong.
#[inline(never)]
pub(crate) fn find(
    members: &Members,
    table: &GroupTable,
    entry: usize,
    events: u64,
    force: bool,
) -> Result<Found> {
    let (device, expected, probe) = look(members, table, entry, events)?;
    match judge(&probe, &expected) {
        Ok(Plan::Use) => (),
        Err(Refusal::Older { .. } | Refusal::Newer { .. }) if force => (),
        Ok(_) => return Err(report(table, &expected)(Refusal::Unfinished)),
        Err(refusal) => return Err(report(table, &expected)(refusal)),
    }
    let Probe::Store(chosen) = probe else {
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
    let mut content = load(members, table, &expected, device, &header, &layout)?;
    let mut owners = KVec::with_capacity(content.owners.len(), GFP_KERNEL)?;
    while let Some(stored) = content.owners.pop() {
        owners.push(stored, GFP_KERNEL)?;
    }
    Ok(Found {
        entry,
        lid: expected.lid,
        header,
        heal: layout.used_sectors() != header.used_sectors
            || chosen.copies.iter().any(|state| state.wants_rewrite()),
        layout,
        slots: content.slots,
        owners,
        stale_owners: content.stale_owners,
        stale_marks: content.stale_marks,
        stale_entries: content.stale_entries,
    })
}

/// Reads what a store holds. Sleeps for I/O.
#[inline(never)]
fn load(
    members: &Members,
    table: &GroupTable,
    expected: &Expected,
    device: &Device,
    header: &Header,
    layout: &Layout,
) -> Result<Content> {
    let mut source = Reading {
        members,
        device,
        group: table.id(),
        lid: &expected.lid,
        reported: Instant::now(),
    };
    Content::load(header, layout, &mut source).map_err(|error| match error {
        LoadError::Source(ENOMEM) => ENOMEM,
        LoadError::Source(error) => {
            log::warning!(
                table.id(),
                "increments {}: what it holds can't be read: error {}; \"-\" for it starts without it",
                expected.lid,
                error.to_errno()
            );
            error
        }
        LoadError::Damage(damage) => {
            source.note(&damage);
            EINVAL
        }
    })
}

/// A store that is being read.
struct Reading<'a> {
    members: &'a Members,
    device: &'a Device,
    group: &'a Id,
    lid: &'a Id,
    /// When progress was last logged.
    reported: Instant<Monotonic>,
}

impl Source for Reading<'_> {
    type Error = Error;

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result {
        self.members
            .io
            .read_pieces(self.device, offset >> 9, buffer)
    }

    fn is_of_device(error: &Error) -> bool {
        fail::is_of_device(*error)
    }

    fn note(&mut self, damage: &Damage) {
        log::notice!(self.group, "increments {}: {damage}", self.lid);
    }

    fn progress(&mut self, segments: u32, of: u32) {
        /// How often progress is logged.
        const REPORT_MS: i64 = 5000;

        if self.reported.elapsed().as_millis() >= REPORT_MS {
            self.reported = Instant::now();
            log::info!(
                self.group,
                "increments {}: {segments} of {of} segments read",
                self.lid
            );
        }
    }
}

impl Found {
    /// Updates the event count in the headers, and repairs what was found damaged. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the device; the log says which one.
    pub(crate) fn note_events(&mut self, members: &Members, group: &Id, events: u64) -> Result {
        self.bring_up_to(members, events)
            .inspect_err(|error| self.say_not_written(group, *error))
    }

    fn say_not_written(&self, group: &Id, error: Error) {
        // If there are too many owners, that was logged already.
        if error != E2BIG {
            let errno = error.to_errno();
            log::warning!(
                group,
                "increments {}: can't be written: error {errno}; \"-\" for it starts without it",
                self.lid
            );
        }
    }

    /// Writes the header with this event count, and everything of which the device has an old or
    /// damaged copy. Sleeps for I/O.
    fn bring_up_to(&mut self, members: &Members, events: u64) -> Result {
        let is_whole = self.stale_owners.is_empty()
            && self.stale_marks.is_empty()
            && self.stale_entries.is_empty();
        if !self.heal && is_whole && self.header.events == events {
            return Ok(());
        }
        let device = &members.disk(self.entry).ok_or(ENXIO)?.device;
        self.free_stale_entries(members, device)?;
        if self.heal {
            // Before the change, so that no copy is ever two steps behind the other one.
            format::write_header_again(members, device, &self.header)?;
            self.heal = false;
        }
        self.header.events = events;
        self.header.used_sectors = self.layout.used_sectors();
        format::write_header(members, device, &mut self.header)?;
        for number in self.stale_owners.iter() {
            let stored = self
                .owners
                .iter()
                .find(|stored| stored.record.number == *number);
            match stored {
                Some(StoredOwner { record, .. }) => {
                    format::write_owner(members, device, self.header.tag, record)?;
                }
                // It was never used. Nothing relies on it, so that the next start may try again.
                None => {
                    let _ = format::clear_owner(members, device, *number);
                }
            }
        }
        self.stale_owners = Vec::new();
        for number in self.stale_marks.iter() {
            let mut owners = self.owners.iter();
            let stored = owners.find(|stored| stored.record.number == *number);
            if let Some(intents) = stored.and_then(|stored| stored.intents.as_ref()) {
                let (tag, regions) = (self.header.tag, intents.regions());
                let is_marked = |region| intents.is_marked(region);
                write_marks(members, device, tag, *number, regions, is_marked)?;
            }
        }
        self.stale_marks = Vec::new();
        Ok(())
    }

    /// Makes damaged entries of slots that the device did not have valid, before the header says
    /// that it has them. If it still has not, they may stay as they are.
    fn free_stale_entries(&mut self, members: &Members, device: &Device) -> Result {
        let numbers = &self.stale_entries;
        let has_slots = |number: &u32| layout::slot_of_entry(*number, 0) < self.layout.slots();
        let (needed, rest) = numbers.split_at(numbers.partition_point(has_slots));
        let (tag, layout) = (self.header.tag, &self.layout);
        let write = |numbers| format::write_free_entries(members, device, tag, layout, numbers);
        write(needed)?;
        match write(rest) {
            Err(NotDurable::Flush(error)) => return Err(error),
            Ok(()) | Err(NotDurable::Write(_)) => (),
        }
        self.stale_entries = Vec::new();
        Ok(())
    }

    /// Records durably that volumes leave which left the group while this store had failed: from
    /// the moment when it is in use again, any start goes on with freeing their blocks. Sleeps for
    /// I/O.
    ///
    /// # Errors
    ///
    /// Those of the device; the log says which one.
    pub(crate) fn let_leave(&mut self, members: &Members, table: &GroupTable) -> Result {
        self.mark_leavers(members, table)
            .inspect_err(|error| self.say_not_written(table.id(), *error))
    }

    /// Records that owners are leaving which the group does not have any more. Sleeps for I/O.
    fn mark_leavers(&mut self, members: &Members, table: &GroupTable) -> Result {
        let device = &members.disk(self.entry).ok_or(ENXIO)?.device;
        for at in 0..self.owners.len() {
            let Some(mut record) = self.owners.get(at).map(|stored| stored.record) else {
                continue;
            };
            let Some(owner) = record.owner.as_mut().filter(|owner| !owner.removing) else {
                continue;
            };
            if self.volume_of(table, &owner.lid).is_some() {
                continue;
            }
            owner.removing = true;
            record.sequence = record.sequence.saturating_add(1);
            format::write_owner(members, device, self.header.tag, &record)?;
            if let Some(stored) = self.owners.get_mut(at) {
                stored.record = record;
            }
        }
        Ok(())
    }

    /// Writes what has to be on the device before the store is used. Sleeps for I/O.
    fn write_before_use(&mut self, members: &Members, table: &GroupTable) -> Result {
        // After a reset, what was read may still be only in the device's cache. A slot that is free
        // only there must not be used.
        members
            .io
            .flush(&members.disk(self.entry).ok_or(ENXIO)?.device)?;
        self.add_owners(members, table)
    }

    /// Gives a number to every volume of the group that keeps its changes here. Sleeps for I/O.
    fn add_owners(&mut self, members: &Members, table: &GroupTable) -> Result {
        for volume in table.volumes() {
            if volume.rlid == Some(self.lid) {
                self.add_owner(members, table, volume)?;
            }
        }
        Ok(())
    }

    /// Gives a number to a volume, and marks if it needs them, unless it has them and stays. Sleeps
    /// for I/O.
    #[inline(never)]
    fn add_owner(
        &mut self,
        members: &Members,
        table: &GroupTable,
        volume: &VolumeRecord,
    ) -> Result {
        // A diverted volume that has, or may get, a disk of its own may become an in-place volume.
        let in_place =
            volume.attr == Attr::Rw || volume.disk.is_some() || volume.health != Health::InSync;
        let number = match self.owners.iter().find(|stored| stored.is(&volume.lid)) {
            Some(stored) => {
                let leaves = stored.record.owner.is_some_and(|owner| owner.removing);
                if !leaves && (!in_place || stored.intents.is_some()) {
                    return Ok(());
                }
                stored.record.number
            }
            None => self.free_number(table)?,
        };
        let sectors = self.header.sectors;
        let old = self.take_out(number);
        let region_shift = old.record.owner.and_then(|owner| owner.region_shift);
        let region_shift = region_shift.or_else(|| in_place.then(|| intent::region_shift(sectors)));
        let owner = store::Owner {
            lid: volume.lid,
            base_generation: self.header.base_generation,
            sectors,
            removing: false,
            region_shift,
        };
        let device = &members.disk(self.entry).ok_or(ENXIO)?.device;
        let tag = self.header.tag;
        let intents = match (region_shift, old.intents) {
            // The volume was about to leave, and stays.
            (Some(_), Some(marks)) => Some(marks),
            (Some(shift), None) => {
                // Before the owner record says that it has marks.
                write_marks(members, device, tag, number, owner.regions(), |_| false)?;
                Some(Intents::new(owner.regions(), shift)?)
            }
            (None, _) => None,
        };
        let record = OwnerRecord {
            number,
            sequence: old.record.sequence.saturating_add(1),
            owner: Some(owner),
        };
        format::write_owner(members, device, tag, &record)?;
        let map = match old.map {
            Some(map) => map,
            None => BlockMap::new(sectors, self.layout.block_shift())?,
        };
        let stored = StoredOwner {
            record,
            map: Some(map),
            intents,
        };
        self.owners.push(stored, GFP_KERNEL)?;
        Ok(())
    }

    /// Takes out what is known of an owner number.
    fn take_out(&mut self, number: u16) -> StoredOwner {
        self.owners
            .iter()
            .position(|stored| stored.record.number == number)
            .and_then(|at| self.owners.remove(at).ok())
            // It was never used.
            .unwrap_or(StoredOwner {
                record: OwnerRecord {
                    number,
                    sequence: 0,
                    owner: None,
                },
                map: None,
                intents: None,
            })
    }

    /// The index of the volume of this name that keeps its changes here. The volume that was here
    /// may have left the group, and another one of the same name, which keeps its changes
    /// elsewhere, may have joined.
    pub(super) fn volume_of(&self, table: &GroupTable, lid: &Id) -> Option<usize> {
        let entry = table.position(lid)?;
        (table.volume(entry)?.rlid == Some(self.lid)).then_some(entry)
    }

    /// An owner number that is free.
    fn free_number(&self, table: &GroupTable) -> Result<u16> {
        let is_used = |number: u16| {
            self.owners
                .iter()
                .any(|stored| stored.record.number == number && stored.record.owner.is_some())
        };
        (1..OWNERS).find(|number| !is_used(*number)).ok_or_else(|| {
            log::notice!(table.id(), "increments {}: too many owners", self.lid);
            E2BIG
        })
    }

    /// The owners as the store uses them; none are left here.
    fn open_owners(&mut self, table: &GroupTable) -> Result<KVec<Owner>> {
        let shift = self.layout.block_shift();
        let mut owners = KVec::with_capacity(self.owners.len(), GFP_KERNEL)?;
        for stored in core::mem::take(&mut self.owners) {
            let owner = stored.record.owner;
            let entry = owner.and_then(|owner| self.volume_of(table, &owner.lid));
            Owner::open(stored, table, entry, shift, &mut owners)?;
        }
        Ok(owners)
    }

    /// Opens the store. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the device, which are logged; `ENOMEM`.
    #[inline(never)]
    pub(crate) fn open(
        mut self,
        home: &Arc<Group>,
        members: &Arc<Members>,
        table: &GroupTable,
        features: &Features,
    ) -> Result<Arc<Worker<Store>>> {
        self.write_before_use(members, table)
            .inspect_err(|error| self.say_not_written(table.id(), *error))?;
        let owners = self.open_owners(table)?;
        self.into_store(owners, home, members, table, features)
    }

    /// The store in use, with these owners.
    #[inline(never)]
    fn into_store(
        self,
        owners: KVec<Owner>,
        home: &Arc<Group>,
        members: &Arc<Members>,
        table: &GroupTable,
        features: &Features,
    ) -> Result<Arc<Worker<Store>>> {
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
            home: home.clone(),
            entry,
            group: *table.id(),
            lid,
            layout,
            on_full: features.on_full,
            low_water: low_water(slots.total(), features.low_water_mark),
            is_low: Flag::new(false),
            opened: Instant::now(),
            slots,
            owners,
            changes: Changes::new(Grace::new(nr_cpu_ids())),
            losses_then: Word::new(0),
            marks_looked_at <- new_mutex!(Instant::now()),
            has_marks: Flag::new(false),
            tag: header.tag,
            mask: entries::mask_of(header.block_sectors),
            commits: AtomicU64::new(0),
            due: Deadline::new(),
            // Some owners may have begun to leave before.
            asked: Flag::new(true),
            free_again_in_ms: Word::new(0),
            retired: Flag::new(false),
            failure: Failure::new(),
            unformatted: Flag::new(false),
            full: Flag::new(false),
            queues <- new_spinlock_irq!(Queues::new()),
            known_events: Word::new(header.events),
            header <- new_mutex!(header),
            entries <- new_mutex!(entries),
            batch <- new_mutex!(batch),
        });
        Arc::pin_init(Worker::new(store), GFP_KERNEL)
    }
}
