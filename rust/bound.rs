// SPDX-License-Identifier: GPL-2.0

//! A live group table: everything needed to map a bio without waiting.

mod events;
mod fate;
mod in_flight;
mod map;
mod sources;

pub(crate) use in_flight::{
    EntryNo,
    InFlight,
    OnEnd,
    Role, //
};
pub(crate) use map::operation;

use crate::{
    clock::elapsed_ms,
    dm::{
        Bio,
        Op,
        Worker, //
    },
    env::Word,
    errors::Views,
    group::{
        Comparison,
        Group, //
    },
    members::{
        EntryCell,
        Members,
        Sources, //
    },
    metadata::Writers,
    overlay::Place,
    stats::VolumeStats,
    store::{
        Link,
        Owner,
        Store,
        Teller, //
    },
    svol_core::{
        fate::FateCell,
        flag::Flag,
        group::GroupTable,
        id::Id,
        regions::Regions,
        route::{
            self,
            Home,
            Route,
            ViewCell,
            VolumeView, //
        },
        select::Selector,
        store::OWNERS,
        table_line::Failover,
        turns::Turn, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// How a volume's I/O is routed.
pub(crate) struct View(ViewCell);

impl View {
    /// With a first value.
    pub(crate) fn new(view: VolumeView) -> Self {
        Self(ViewCell::new(view))
    }

    /// The view. Does not sleep.
    #[inline]
    pub(crate) fn get(&self) -> VolumeView {
        self.0.get()
    }

    /// See [`ViewCell::route`]. Does not sleep.
    #[inline]
    pub(crate) fn route(&self, op: route::Op) -> Route {
        self.0.route(op)
    }

    /// Changes it. Does not sleep.
    pub(crate) fn set(&self, _: &Views<'_>, view: VolumeView) {
        self.0.set(view);
    }

    /// Changes where reads go. Does not sleep.
    pub(crate) fn set_reads(&self, views: &Views<'_>, reads: Home) {
        let view = VolumeView {
            reads,
            ..self.get()
        };
        self.set(views, view);
    }
}

/// An entry as seen by mapping.
pub(crate) struct Volume {
    /// The entry's ID.
    pub(crate) lid: Id,
    /// How its I/O is routed, except in its regions.
    pub(crate) view: View,
    /// Which parts of it are diverted while the others are in place.
    pub(crate) regions: Regions,
    /// Where its changes are kept.
    pub(crate) link: Option<Link>,
    /// Whether its disk may have lost writes under an earlier table, and this one has no store for
    /// it: its next flush fails.
    pub(crate) lost_writes: Flag,
    /// Its counters, kept across reloads.
    pub(crate) stats: Arc<VolumeStats>,
    /// Tracks its sequential reads.
    pub(crate) selector: KBox<Selector>,
    /// Whether the base image is read from this entry's disk, and whether the disk has failed.
    pub(crate) fate: FateCell,
    /// Whether it has no I/O because nobody knows which of two disks is its own.
    pub(crate) in_doubt: Flag,
    /// The number of sectors done while a disk is being filled for it, or its disk is compared.
    pub(crate) copied: Word,
    /// Its turn in that work.
    pub(crate) turn: Turn,
    /// What the comparison with its increments has found.
    pub(crate) compared: Comparison,
    /// The only entry from whose disk it reads the base image; none if it reads any source. See
    /// [`GroupTable::reads_alone`].
    pub(crate) alone: EntryCell,
    /// What the comparison with the base image has found.
    pub(crate) verified: Comparison,
}

impl Volume {
    /// How I/O that begins at a sector is routed. Does not sleep.
    #[inline]
    pub(crate) fn view_at(&self, sector: u64) -> VolumeView {
        let view = self.view.get();
        if self.regions.is_plain() || view == VolumeView::NOWHERE {
            return view;
        }
        match self.regions.at(sector).is_diverted {
            // Whether it has a disk or not: writes to this region never went to the disk.
            true => VolumeView::DIVERTED,
            false => view,
        }
    }

    /// How such an I/O is routed. A flush is routed as for the parts in place: those need two
    /// flushes, and one of the two is all that the other parts need.
    pub(crate) fn view_of(&self, op: Op, sector: u64) -> VolumeView {
        match op {
            Op::Flush => self.view.get(),
            _ => self.view_at(sector),
        }
    }

    /// Whether its own disk holds all that such an I/O writes or makes durable.
    pub(crate) fn is_on_disk(&self, op: Op, sector: u64) -> bool {
        matches!(self.view_of(op, sector).writes, Home::Logged(_))
            && (op != Op::Flush || self.regions.is_plain())
    }

    /// Cuts a bio to the part that is routed in one way, and returns that route.
    #[inline(never)]
    fn cut(&self, bio: &mut Bio<'_, InFlight>) -> VolumeView {
        let info = bio.info();
        if matches!(
            info.op,
            Op::Read | Op::Write | Op::Discard | Op::WriteZeroes
        ) {
            bio.accept(self.regions.cut(info.sector, info.sectors).1);
        }
        self.view_of(info.op, info.sector)
    }
}

/// A live group table.
pub(crate) struct Bound {
    /// The group. This makes a reference cycle, which is broken when the group forgets its table.
    pub(crate) group: Arc<Group>,
    /// The devices.
    pub(crate) members: Arc<Members>,
    /// All entries, in the order of the line.
    pub(crate) volumes: KVec<Volume>,
    /// The increments stores that are open.
    pub(crate) stores: KVec<Arc<Worker<Store>>>,
    /// For each of them, what tells it of events.
    pub(crate) tellers: KVec<Pin<KBox<Worker<Teller>>>>,
    /// What writes the metadata copies.
    pub(crate) writers: Writers,
    /// Entries whose disks serve reads of the base image.
    pub(crate) sources: Sources,
    /// A disk with more errors than this counts as failed.
    pub(crate) max_errors: u32,
    /// When it was made.
    pub(crate) made: Instant<Monotonic>,
    /// A disk that does not answer for this many milliseconds gets no new reads.
    pub(crate) slow_after_ms: u32,
    /// Whether failures that no error shows are decided here, and not by a user.
    pub(crate) failover: Failover,
    /// For reads of the group's own device.
    pub(crate) selector: KBox<Selector>,
}

impl Bound {
    /// The index of a volume that is at least `sectors` long.
    pub(crate) fn position(&self, lid: &Id, sectors: u64) -> Option<usize> {
        if sectors > self.members.sectors {
            return None;
        }
        self.volumes.iter().position(|v| v.lid == *lid)
    }

    /// Milliseconds since the table was made.
    pub(crate) fn age_ms(&self) -> u64 {
        elapsed_ms(self.made)
    }

    /// Time since the table was made, in units of 256 ns; wraps after 18 minutes. Never 0.
    fn ticks(&self) -> u32 {
        let [_, a, b, c, d, ..] = self.made.elapsed().as_nanos().to_le_bytes();
        u32::from_le_bytes([a, b, c, d]).max(1)
    }

    /// Whether the disk of an entry does not answer. Does not sleep.
    pub(crate) fn is_silent(&self, entry: usize) -> bool {
        let disk = self.members.disk(entry);
        disk.is_some_and(|disk| disk.bad.is_silent())
    }

    /// The disk of an entry was written here, so it may be readable again. Does not sleep.
    #[inline]
    pub(crate) fn forget_bad(&self, entry: usize, sector: u64, sectors: u32) {
        if let Some(disk) = self.members.disk(entry) {
            disk.bad.forget(sector, sectors, self.members.sectors);
        }
    }

    /// Writes to the disk of an entry, and runs `meanwhile` during the I/O. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the disk.
    pub(crate) fn write_disk(
        &self,
        entry: usize,
        sector: u64,
        content: &KVec<u8>,
        meanwhile: impl FnOnce(),
    ) -> Result {
        let disk = self.members.disk(entry).ok_or(ENXIO)?;
        // Counted, so that the disk is neither taken for free nor taken back during the write.
        let _counted = disk.count_io();
        let io = &self.members.io;
        let result = io.write_while(&disk.device, sector, content, meanwhile);
        match result {
            Ok(()) => self.forget_bad(entry, sector, u32::try_from(content.len() >> 9)?),
            Err(_) => self.count_error(entry, false),
        }
        result
    }

    /// Flushes the disk of an entry. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the disk.
    pub(crate) fn flush_disk(&self, entry: usize) -> Result {
        let disk = self.members.disk(entry).ok_or(ENXIO)?;
        self.members.flush(disk)
    }

    /// While a volume is being suspended, its writes do not wait for space: device-mapper gets them
    /// back, and sends them again after the suspend. Does not sleep.
    pub(crate) fn set_suspending(&self, lid: &Id, suspending: bool) {
        let place = self
            .volumes
            .iter()
            .position(|volume| volume.lid == *lid)
            .and_then(|volume| Place::of(self, volume));
        if let Some(place) = place {
            place.owner().set_suspending(suspending);
            if suspending {
                place.store().kick();
            }
        }
    }

    /// How full the store of an entry is, if it has one: used slots, and all slots.
    pub(crate) fn usage(&self, entry: usize) -> Option<(u64, u64)> {
        let store = self.stores.iter().find(|store| store.entry() == entry)?;
        Some(store.usage())
    }

    /// The number of user I/Os on all volumes so far. Does not sleep.
    pub(crate) fn user_ios(&self) -> u64 {
        let volumes = self.volumes.iter();
        volumes.fold(0, |sum, volume| sum.wrapping_add(volume.stats.ios()))
    }

    /// Whether a disk of these entries has I/O in flight. Does not sleep.
    pub(crate) fn has_io(&self, entries: impl IntoIterator<Item = usize>) -> bool {
        let disk = |entry| self.members.disk(entry);
        let mut entries = entries.into_iter();
        entries.any(|entry| disk(entry).is_some_and(|disk| disk.in_flight() > 0))
    }

    /// Whether all writes of a volume go only to its increments volume until its attribute changes.
    pub(crate) fn is_diverted(&self, entry: usize) -> bool {
        self.volumes.get(entry).is_some_and(|volume| {
            volume.view.get().writes == Home::Overlay && volume.regions.is_plain()
        })
    }

    /// The store that keeps a volume's changes.
    pub(crate) fn store_of(&self, lid: &Id) -> Option<(&Worker<Store>, &Owner)> {
        self.stores
            .iter()
            .find_map(|store| Some((&**store, store.owner(lid)?)))
    }

    /// Whether a store still has blocks of a volume of this name, which may have left the group.
    pub(crate) fn has_blocks_of(&self, lid: &Id) -> bool {
        self.stores.iter().any(|store| store.has_blocks_of(lid))
    }

    /// Whether an increments volume has a number left for each volume of this table that names it.
    pub(crate) fn has_numbers(&self, rlid: &Id, table: &GroupTable) -> bool {
        let leavers = self.store_named(rlid).map_or(0, Store::leavers);
        let users = table.metadata().members();
        let users = users.filter(|volume| volume.rlid == Some(*rlid)).count();
        // Number 0 is that of no volume.
        users.saturating_add(leavers) < usize::from(OWNERS)
    }

    /// Waits until the retired store of an entry does nothing more. Call it without locks. Sleeps
    /// for I/O.
    pub(crate) fn wait_for_store(&self, entry: usize) {
        if let (Some(store), Some(teller)) = (self.store_at(entry), self.teller_of(entry)) {
            teller.rest();
            store.wait_for_end();
        }
    }

    /// Brings stores in sync with disks after a crash. Calls `full` for a volume whose store has no
    /// room for that. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the devices.
    pub(crate) fn resolve(&self, mut full: impl FnMut(usize) -> Result) -> Result {
        for (entry, volume) in self.volumes.iter().enumerate() {
            let (Home::Logged(disk), Some(link)) = (volume.view.get().writes, volume.link) else {
                continue;
            };
            let Some(store) = self.stores.get(link.store) else {
                continue;
            };
            match store.resolve(self, entry, disk) {
                Err(ENOSPC) => full(entry)?,
                other => other?,
            }
        }
        Ok(())
    }

    /// The store of an increments volume.
    fn store_named(&self, rlid: &Id) -> Option<&Store> {
        let store = self.stores.iter().find(|store| store.lid() == rlid)?;
        Some(store)
    }

    /// The store on the disk of an entry.
    pub(crate) fn store_at(&self, entry: usize) -> Option<&Worker<Store>> {
        let store = self.stores.iter().find(|store| store.entry() == entry)?;
        Some(store)
    }

    /// Makes everything durable that volumes have written, while no volume is in use. Sleeps for
    /// I/O.
    pub(crate) fn settle(&self) {
        self.rest_tellers();
        for store in self.stores.iter() {
            store.settle();
        }
    }

    /// Waits until no store's worker runs any more. What was kicked before still runs. Sleeps.
    pub(crate) fn rest(&self) {
        self.rest_tellers();
        for store in self.stores.iter() {
            store.rest();
        }
    }

    /// Volumes whose disk may have lost writes that have not been reported yet.
    pub(crate) fn with_lost_writes(&self) -> impl Iterator<Item = &Id> {
        let owners = self.stores.iter().flat_map(|store| store.owners.iter());
        let owners = owners.filter(|owner| owner.has_lost_writes());
        let volumes = self.volumes.iter();
        let volumes = volumes.filter(|volume| volume.lost_writes.is_set());
        Iterator::chain(
            owners.map(|owner| &owner.lid),
            volumes.map(|volume| &volume.lid),
        )
    }

    /// Volumes whose store may have lost writes that have not been reported yet.
    pub(crate) fn untold(&self) -> impl Iterator<Item = &Owner> {
        let stores = self.stores.iter().filter(|store| !store.is_retired());
        stores.flat_map(|store| store.untold())
    }

    /// Retries what [`Bound::settle`] could not do, and calls `lost` for each volume whose last
    /// changes can't be written. Sleeps for I/O.
    pub(crate) fn settle_again(&self, mut lost: impl FnMut(&Id)) {
        for store in self.stores.iter().filter(|store| !store.is_retired()) {
            if store.settle_map().is_err() {
                store.unsettled().for_each(|owner| lost(&owner.lid));
            }
        }
    }

    /// Takes over losses of disks and stores under the old table that have not been reported: the
    /// next flush reports them. Does not sleep.
    pub(crate) fn inherit_losses(&self, old: &Self) {
        for lost in old.with_lost_writes() {
            match self.store_of(lost) {
                Some((_, owner)) => owner.lose_writes(),
                None => {
                    let mut volumes = self.volumes.iter();
                    if let Some(volume) = volumes.find(|volume| volume.lid == *lost) {
                        volume.lost_writes.set(true);
                    }
                }
            }
        }
        for owner in old.untold() {
            if let Some((_, owner)) = self.store_of(&owner.lid) {
                owner.forget_told();
            }
        }
    }

    /// Continues with unfinished work after a suspend. Does not sleep.
    pub(crate) fn go_on(&self) {
        for store in self.stores.iter() {
            store.kick();
        }
    }
}
