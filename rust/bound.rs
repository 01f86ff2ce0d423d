// SPDX-License-Identifier: GPL-2.0

//! A live group table: what mapping a bio needs, and nothing that could make it wait.

use crate::{
    dm::{
        current_cpu,
        Bio,
        EndIo,
        Ended,
        InUse,
        Mapped,
        Op,
        Parked,
        Worker, //
    },
    env::Word,
    errors,
    group::{
        Comparison,
        Group, //
    },
    log, logged,
    members::{
        Disk,
        EntryCell,
        Members,
        Sources, //
    },
    overlay::{
        self,
        Place, //
    },
    parts::Of,
    stats::VolumeStats,
    store::{
        Link,
        Owner,
        Store, //
    },
    svol_core::{
        grace::Ticket,
        group::GroupTable,
        id::Id,
        pace::TIMED_SECTORS,
        regions::Regions,
        route::{
            self,
            Home,
            Route,
            ViewCell,
            VolumeView, //
        },
        select::{
            Selector,
            Source, //
        },
        turns::Turn, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// What is kept with each bio in flight.
#[derive(Clone, Copy, Default)]
pub(crate) struct InFlight {
    /// Index of the entry whose disk has it, plus 1; 0 if none has.
    pub(crate) disk: u32,
    /// Index of the volume that it belongs to, if it was parked.
    pub(crate) volume: u32,
    /// To be given back when it has ended, if it relies on a block map.
    pub(crate) ticket: Option<Ticket>,
    /// The block map changes when it has ended.
    pub(crate) is_first: bool,
    /// It is answered after the next commit only.
    pub(crate) needs_commit: bool,
    /// It goes to a disk and to a store.
    pub(crate) is_logged: bool,
    /// It is the flush of a logged volume's store.
    pub(crate) is_log_flush: bool,
    /// It is on its disk, and the store failed.
    pub(crate) has_no_log: bool,
    /// It goes where its volume has its own data, not to any source of the base image.
    pub(crate) is_own: bool,
    /// It was sent, and waits for something before it is answered.
    pub(crate) is_sent: bool,
    /// Index of the entry whose disk could not read it, plus 1; 0 if none failed. The first one of
    /// them; with `is_own`, the last one.
    pub(crate) first: u16,
    /// So many other ways to read it were looked at.
    pub(crate) tries: u16,
    /// Index of the entry whose disk has it besides, since its volume moves there, plus 1; 0 if none has.
    pub(crate) also: u16,
    /// As logged, but the store alone counts: its disk is being filled, or there is none.
    pub(crate) is_kept: bool,
    /// It goes to a disk that is being filled.
    pub(crate) fills: bool,
    /// It is in the store, and the disk that is being filled failed.
    pub(crate) has_no_disk: bool,
    /// When it was sent to its disk, in ticks of [`Bound::ticks`], if it is timed; else 0.
    pub(crate) sent: u32,
    /// With that: how many I/Os the disk had then.
    pub(crate) in_flight: u32,
    /// When it began to wait for space, in milliseconds since the store was opened; 0 if it does
    /// not.
    pub(crate) waits_since: u32,
}

impl InFlight {
    /// The entry whose disk has it, or had it last.
    pub(crate) fn disk(&self) -> Option<usize> {
        usize::try_from(self.disk).ok()?.checked_sub(1)
    }

    /// The entry whose disk has it besides.
    pub(crate) fn also(&self) -> Option<usize> {
        usize::from(self.also).checked_sub(1)
    }
}

/// One entry as mapping sees it.
pub(crate) struct Volume {
    /// The entry's ID.
    pub(crate) lid: Id,
    /// How its I/O is routed, but in its regions.
    pub(crate) view: ViewCell,
    /// Which parts of it are diverted although the others are in place.
    pub(crate) regions: Regions,
    /// Where its changes are kept.
    pub(crate) link: Option<Link>,
    /// Its counters, kept over reloads.
    pub(crate) stats: Arc<VolumeStats>,
    /// Where its sequential reads stand.
    pub(crate) selector: KBox<Selector>,
    /// Not 0 if nobody reads the base image from the disk of this entry any more: [`errors::WRITTEN`],
    /// [`errors::FAILING`], [`errors::FAILED`].
    pub(crate) apart: Word,
    /// While a disk is being filled for it, or compared with its increments: so many sectors are done.
    pub(crate) copied: Word,
    /// Whether that can go on.
    pub(crate) turn: Turn,
    /// What that comparison has come across.
    pub(crate) compared: Comparison,
    /// The entry whose disk alone it reads the base image from; none if it reads any source. See
    /// [`GroupTable::reads_alone`].
    pub(crate) alone: EntryCell,
    /// What the comparison with the base image has come across.
    pub(crate) verified: Comparison,
}

impl Volume {
    /// How I/O is routed that begins at a sector. Does not sleep.
    #[inline]
    pub(crate) fn view_at(&self, sector: u64) -> VolumeView {
        let view = self.view.get();
        if self.regions.is_plain() || view == VolumeView::NOWHERE {
            return view;
        }
        match self.regions.at(sector).is_diverted {
            // Whether it has a disk or not: what was written there never went to that.
            true => VolumeView::DIVERTED,
            false => view,
        }
    }

    /// How such an I/O is routed. A flush is one of what is in place: that takes two, and one of them is
    /// all that the rest needs.
    pub(crate) fn view_of(&self, op: Op, sector: u64) -> VolumeView {
        match op {
            Op::Flush => self.view.get(),
            _ => self.view_at(sector),
        }
    }

    /// Whether its own disk has all that such an I/O is to write, or to make durable.
    pub(crate) fn is_on_disk(&self, op: Op, sector: u64) -> bool {
        matches!(self.view_of(op, sector).writes, Home::Logged(_))
            && (op != Op::Flush || self.regions.is_plain())
    }

    /// Leaves of a bio what is routed in one way, and says how.
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
    /// The group. This makes a cycle, which ends when the group forgets its table.
    pub(crate) group: Arc<Group>,
    /// The devices.
    pub(crate) members: Arc<Members>,
    /// All entries, in the order of the line.
    pub(crate) volumes: KVec<Volume>,
    /// The increments stores that are here.
    pub(crate) stores: KVec<Pin<KBox<Worker<Store>>>>,
    /// Entries whose disks serve reads of the base image.
    pub(crate) sources: Sources,
    /// A disk with more errors than this has failed.
    pub(crate) max_errors: u32,
    /// When it was made.
    pub(crate) made: Instant<Monotonic>,
    /// A disk that does not answer for so many milliseconds gets no new reads.
    pub(crate) slow_after: u32,
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

    /// Sends a volume's bio on its way. Does not sleep.
    #[inline(always)]
    pub(crate) fn map_volume(
        this: InUse<'_, Self>,
        entry: usize,
        mut bio: Bio<'_, InFlight>,
    ) -> Mapped {
        let bound: &Self = &this;
        let Some(volume) = bound.volumes.get(entry) else {
            return bio.fail();
        };
        volume.stats.count_io(current_cpu());
        let op = operation(bio.info().op);
        let route = match volume.regions.is_plain() {
            true => volume.view.route(op),
            false => route::route(&volume.cut(&mut bio), op),
        };
        let info = bio.info();
        match route {
            Route::Base => Self::send_read(this, &volume.selector, bio),
            Route::Own(disk) => {
                let Some(own) = this.part(|bound| bound.members.disk(disk)) else {
                    return bio.fail();
                };
                bio.data_mut().is_own = true;
                match info.op {
                    Op::Read if own.bad.touches(info.sector, info.sectors) => {
                        bio = match errors::read_elsewhere(this, entry, disk, bio) {
                            Ok(mapped) => return mapped,
                            Err(bio) => bio,
                        };
                    }
                    // It may be logged later, and has one flush for its disk and one for its increments
                    // volume.
                    Op::Flush if info.flush > 0 => return bio.complete(),
                    Op::Flush => return Self::send_flush(this, disk, bio),
                    _ => (),
                }
                own.begin();
                Self::send_begun(own, disk, info.sector, bio)
            }
            Route::Overlay => overlay::map(this, entry, bio),
            Route::Logged(disk) => logged::map(this, entry, disk, bio),
            Route::Kept => logged::map_kept(this, entry, bio),
            Route::Refuse(_) => bio.fail(),
        }
    }

    /// Sends a flush to the disk of an entry; of one without a cache it is done at once, as the block layer
    /// would say. Does not sleep.
    pub(crate) fn send_flush(
        this: InUse<'_, Self>,
        entry: usize,
        bio: Bio<'_, InFlight>,
    ) -> Mapped {
        match this.members.disk(entry) {
            Some(disk) if !disk.device.has_write_cache() => bio.complete(),
            _ => Self::send(this, entry, 0, bio),
        }
    }

    /// Sends a read of the base image on its way. Does not sleep.
    pub(crate) fn map_base(this: InUse<'_, Self>, bio: Bio<'_, InFlight>) -> Mapped {
        let bound: &Self = &this;
        Self::send_read(this, &bound.selector, bio)
    }

    /// Sends a read of the base image on its way, for the volume whose selector it is. Does not
    /// sleep.
    pub(crate) fn send_read(
        this: InUse<'_, Self>,
        selector: &Selector,
        mut bio: Bio<'_, InFlight>,
    ) -> Mapped {
        let info = bio.info();
        let Some(entry) = this.begin_read(selector, info.sector, info.sectors) else {
            return bio.fail();
        };
        match this.part(|bound| bound.members.disk(entry)) {
            Some(disk) => {
                if info.sectors <= TIMED_SECTORS {
                    this.begin_timing(&disk, &mut bio);
                }
                Self::send_begun(disk, entry, info.sector, bio)
            }
            // It was there a moment ago.
            None => bio.fail(),
        }
    }

    /// Milliseconds since the table was made.
    pub(crate) fn age_ms(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_millis()).unwrap_or(0)
    }

    /// Time since the table was made, in units of 256 ns; wraps after 18 minutes. Never 0.
    fn ticks(&self) -> u32 {
        let [_, a, b, c, d, ..] = self.made.elapsed().as_nanos().to_le_bytes();
        u32::from_le_bytes([a, b, c, d]).max(1)
    }

    /// Notes when a read was sent to a disk, if that is to show how fast the disk is.
    #[inline]
    fn begin_timing(&self, disk: &Disk, bio: &mut Bio<'_, InFlight>) {
        if let Some(in_flight) = disk.is_timed() {
            let data = bio.data_mut();
            data.sent = self.ticks();
            data.in_flight = in_flight;
        }
    }

    /// A read that was timed came back.
    fn end_timing(&self, disk: &Disk, ended: &mut Ended<'_, InFlight>) {
        let data = ended.data_mut();
        let (sent, in_flight) = (data.sent, data.in_flight);
        // It may be sent to another disk.
        data.sent = 0;
        if !ended.status().is_error() {
            disk.pace.note(self.ticks().wrapping_sub(sent), in_flight);
        }
    }

    /// As [`Bound::send_read`], for a volume by its index.
    pub(crate) fn send_base(
        this: InUse<'_, Self>,
        volume: usize,
        mut bio: Bio<'_, InFlight>,
    ) -> Mapped {
        let bound: &Self = &this;
        if let Some(disk) = bound.reads_alone(volume) {
            bio.data_mut().is_own = true;
            let sector = bio.info().sector;
            return Self::send(this, disk, sector, bio);
        }
        match bound.volumes.get(volume) {
            Some(volume) => Self::send_read(this, &volume.selector, bio),
            None => bio.fail(),
        }
    }

    /// The disk that a volume reads the base image from if it is the only one; that may be a disk that
    /// nobody has compared with others. Does not sleep.
    #[inline]
    pub(crate) fn reads_alone(&self, volume: usize) -> Option<usize> {
        self.volumes.get(volume)?.alone.get()
    }

    /// Chooses the next source of the base image for a read, on from the one with this index, and
    /// counts the read there; returns its index and its entry. That of the entry `failed` does not
    /// count.
    pub(crate) fn begin_next(
        &self,
        mut from: usize,
        failed: Option<usize>,
    ) -> Option<(usize, usize)> {
        loop {
            let (index, entry) = self.next_source(from, failed)?;
            let (volume, disk) = (self.volumes.get(entry)?, self.members.disk(entry)?);
            disk.begin();
            // After that, as in `begin_read`.
            if volume.apart.get() == 0 {
                return Some((index, entry));
            }
            disk.end();
            from = index.saturating_add(1);
        }
    }

    /// As [`Bound::begin_next`], without those that are known not to have it.
    pub(crate) fn begin_next_good(
        &self,
        mut from: usize,
        failed: Option<usize>,
        sector: u64,
        sectors: u32,
    ) -> Option<(usize, usize)> {
        loop {
            let (index, entry) = self.begin_next(from, failed)?;
            let disk = self.members.disk(entry)?;
            if !disk.bad.touches(sector, sectors) {
                return Some((index, entry));
            }
            disk.end();
            from = index.saturating_add(1);
        }
    }

    /// Whether the disk of an entry does not answer. Does not sleep.
    pub(crate) fn is_silent(&self, entry: usize) -> bool {
        let disk = self.members.disk(entry);
        disk.is_some_and(|disk| disk.bad.is_silent())
    }

    /// The disk of an entry was written here: it may have it again. Does not sleep.
    #[inline]
    pub(crate) fn forget_bad(&self, entry: usize, sector: u64, sectors: u32) {
        if let Some(disk) = self.members.disk(entry) {
            disk.bad.forget(sector, sectors, self.members.sectors);
        }
    }

    /// The next source from the one with this index on; see [`Bound::begin_next`].
    fn next_source(&self, from: usize, failed: Option<usize>) -> Option<(usize, usize)> {
        let sources = self.sources.iter().enumerate().skip(from);
        let mut serving = sources.filter(|(_, entry)| {
            let volume = self.volumes.get(*entry);
            Some(*entry) != failed && volume.is_some_and(|volume| volume.apart.get() == 0)
        });
        serving.next()
    }

    /// Reads the base image from the source whose volume is used least; from another one if it can't
    /// be read. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// `EIO` if there is a part of it that nobody can read.
    pub(crate) fn read_least_used(&self, sector: u64, content: &mut KVec<u8>) -> Result {
        let sectors = u32::try_from(content.len() >> 9)?;
        let is_bad = |entry| {
            let disk = self.members.disk(entry);
            disk.is_some_and(|disk| disk.bad.touches(sector, sectors))
        };
        let mut tried = 0u64;
        loop {
            let next = self
                .sources
                .iter()
                .enumerate()
                .take(64)
                .filter(|(index, _)| tried & (1 << *index) == 0)
                .filter(|(_, entry)| !is_bad(*entry))
                .filter_map(|(index, entry)| Some((index, entry, self.volumes.get(entry)?)))
                .min_by_key(|(_, _, volume)| volume.stats.frequency());
            let Some((index, entry, volume)) = next else {
                // No disk has all of it.
                return self.read_parts(Of::Base, sector, content);
            };
            tried |= 1 << index;
            let Some(disk) = self.members.disk(entry) else {
                continue;
            };
            let mut result = Err(EIO);
            disk.begin();
            // As in `begin_read`.
            if volume.apart.get() == 0 {
                result = self.members.io.read(&disk.device, sector, content);
                if result.is_err() {
                    self.count_error(entry, true);
                    self.group.repairs().push(entry, sector, sectors);
                }
            }
            disk.end();
            if result.is_ok() {
                return result;
            }
        }
    }

    /// Writes to the disk of an entry, and does something else `meanwhile`. Sleeps for I/O.
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
        // Nobody takes it for free, or back, while it may still be written.
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

    /// Chooses a disk for a read of the base image, and counts the read there.
    pub(crate) fn begin_read(
        &self,
        selector: &Selector,
        sector: u64,
        sectors: u32,
    ) -> Option<usize> {
        // Ends: a disk that was refused once is not chosen again.
        loop {
            let entry = self.choose(selector, sector, sectors)?;
            let (volume, disk) = (self.volumes.get(entry)?, self.members.disk(entry)?);
            disk.begin();
            // After that: who keeps reads away says so first, then waits for those that are counted.
            if volume.apart.get() == 0 {
                return Some(entry);
            }
            disk.end();
        }
    }

    fn choose(&self, selector: &Selector, sector: u64, sectors: u32) -> Option<usize> {
        let of = |all, bad| self.choose_of(all, bad, selector, sector, sectors);
        of(false, false)
            .or_else(|| of(true, false))
            .or_else(|| of(true, true))
    }

    /// Chooses among the sources that serve by choice, or among `all`; with `bad`, among those, too,
    /// that are known not to have all of it, or do not answer.
    fn choose_of(
        &self,
        all: bool,
        bad: bool,
        selector: &Selector,
        sector: u64,
        sectors: u32,
    ) -> Option<usize> {
        selector.choose(current_cpu(), sector, sectors, self.sources.len(), |i| {
            let (entry, is_preferred) = self.sources.get(i)?;
            if !(all || is_preferred) || self.volumes.get(entry)?.apart.get() != 0 {
                return None;
            }
            let disk = self.members.disk(entry)?;
            if !bad && disk.bad.touches(sector, sectors) {
                return None;
            }
            Some(Source {
                entry,
                in_flight: disk.in_flight(),
                pace: disk.pace.get(),
            })
        })
    }

    /// Sends a bio to a place on the disk of an entry. Does not sleep.
    #[inline(always)]
    pub(crate) fn send(
        this: InUse<'_, Self>,
        entry: usize,
        sector: u64,
        bio: Bio<'_, InFlight>,
    ) -> Mapped {
        let Some(disk) = this.part(|bound| bound.members.disk(entry)) else {
            return bio.fail();
        };
        disk.begin();
        Self::send_begun(disk, entry, sector, bio)
    }

    /// As [`Bound::send`], for a bio that its disk has been told of.
    #[inline(always)]
    fn send_begun(
        disk: InUse<'_, Disk>,
        entry: usize,
        sector: u64,
        mut bio: Bio<'_, InFlight>,
    ) -> Mapped {
        bio.data_mut().disk = number(entry);
        bio.remap(disk.map(|disk| &disk.device), sector)
    }

    /// Sends a write to the disks of two entries at once, and to that of a third, `also`, at the place of the
    /// first. Does not sleep; gives the bio back if there is no memory at once.
    pub(crate) fn send_both<'a>(
        this: InUse<'_, Self>,
        entry: usize,
        sector: u64,
        second: usize,
        second_sector: u64,
        also: Option<usize>,
        mut bio: Bio<'a, InFlight>,
    ) -> Result<Mapped, Bio<'a, InFlight>> {
        let device = |entry: usize| {
            this.part(|bound| bound.members.disk(entry))
                .and_then(|disk| disk.part(|disk| Some(&disk.device)))
        };
        let pool = this.part(|bound| Some(&*bound.members.legs));
        let (Some(first), Some(log), Some(pool)) = (device(entry), device(second), pool) else {
            return Err(bio);
        };
        let third = match also {
            Some(also) => match device(also) {
                Some(device) => Some((device, sector)),
                None => return Err(bio),
            },
            None => None,
        };
        let data = bio.data_mut();
        data.disk = number(entry);
        data.also = also.map_or(0, errors::short_number);
        // The store's count is for reads, which have no choice there.
        let counted = || {
            let entries = [Some(entry), also].into_iter().flatten();
            entries.filter_map(|entry| this.members.disk(entry))
        };
        counted().for_each(Disk::begin);
        bio.remap_to_all(pool, (first, sector), (log, second_sector), third)
            .inspect_err(|_| counted().for_each(Disk::end))
    }

    /// As [`Bound::send`], for a bio that was parked. May sleep, until the disk has room for it.
    pub(crate) fn submit(parked: Parked<Self, InFlight>, entry: usize, sector: u64) {
        if let Some(disk) = parked.keep().members.disk(entry) {
            disk.begin();
        }
        Self::submit_begun(parked, entry, sector);
    }

    /// As [`Bound::submit`], for a bio that its disk has been told of.
    pub(crate) fn submit_begun(mut parked: Parked<Self, InFlight>, entry: usize, sector: u64) {
        parked.data_mut().disk = number(entry);
        parked.submit(|this| Some(&this.members.disk(entry)?.device), sector);
    }

    /// A bio of a volume, or of the group itself, came back from the disk that it was sent to. Does
    /// not sleep. `volume` says of which one, if that matters.
    #[inline(always)]
    pub(crate) fn ended(
        this: InUse<'_, Self>,
        volume: impl FnOnce() -> Option<usize>,
        mut ended: Ended<'_, InFlight>,
    ) -> EndIo {
        let bound: &Self = &this;
        if let Some(entry) = ended.data().disk() {
            if let Some(disk) = bound.members.disk(entry) {
                disk.end();
                if ended.data().sent != 0 {
                    bound.end_timing(disk, &mut ended);
                }
            }
            if ended.status().is_error() {
                return errors::ended(this, volume(), entry, ended);
            }
        }
        if ended.data().ticket.is_none() {
            return ended.done();
        }
        match volume() {
            Some(volume) => overlay::ended(this, volume, ended),
            None => ended.done(),
        }
    }

    /// From now on, or no longer, gives writes of a volume back that wait for space. Does not sleep.
    pub(crate) fn give_back(&self, lid: &Id, wanted: bool) {
        let place = self
            .volumes
            .iter()
            .position(|volume| volume.lid == *lid)
            .and_then(|volume| Place::of(self, volume));
        if let Some(place) = place {
            place.owner().set_suspending(wanted);
            if wanted {
                place.store().kick();
            }
        }
    }

    /// How full the store of an entry is, if that is a store: slots taken, and all slots.
    pub(crate) fn usage(&self, entry: usize) -> Option<(u64, u64)> {
        let store = self.stores.iter().find(|store| store.entry() == entry)?;
        Some(store.usage())
    }

    /// Keeps new reads of the base image away from the disk of an entry; returns whether that is news. A full
    /// barrier, if so: who sees no I/O of the disk after that will see none of the kind. Does not sleep.
    pub(crate) fn keep_away(&self, entry: usize) -> bool {
        self.volumes.get(entry).is_some_and(|volume| {
            let before = errors::change(&volume.apart, |apart| apart | errors::WRITTEN);
            before & errors::WRITTEN == 0
        })
    }

    /// Takes [`Bound::keep_away`] back. Does not sleep.
    pub(crate) fn let_serve(&self, entry: usize) {
        if let Some(volume) = self.volumes.get(entry) {
            errors::change(&volume.apart, |apart| apart & !errors::WRITTEN);
        }
    }

    /// Waits for reads that were under way at a [`Bound::keep_away`], as long as the disk answers. It may hang:
    /// not to be called with `commits` held. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it does not answer.
    pub(crate) fn wait_for_reads(&self, entry: usize) -> Result {
        let Some(disk) = self.members.disk(entry) else {
            return Ok(());
        };
        while disk.in_flight() > 0 {
            if disk.bad.is_silent() {
                return Err(EBUSY);
            }
            fsleep(Delta::from_micros(100));
        }
        Ok(())
    }

    /// I/Os that users of the volumes had until now. Does not sleep.
    pub(crate) fn user_ios(&self) -> u64 {
        let volumes = self.volumes.iter();
        volumes.fold(0, |sum, volume| sum.wrapping_add(volume.stats.ios()))
    }

    /// Whether a disk of these entries has I/O. Does not sleep.
    pub(crate) fn has_io(&self, entries: impl IntoIterator<Item = usize>) -> bool {
        let disk = |entry| self.members.disk(entry);
        let mut entries = entries.into_iter();
        entries.any(|entry| disk(entry).is_some_and(|disk| disk.in_flight() > 0))
    }

    /// Whether the disk of an entry is read by whoever reads the base image, or has I/O left from when it
    /// was. Does not sleep.
    pub(crate) fn is_read_still(&self, entry: usize) -> bool {
        let is_source = self.sources.iter().any(|source| source == entry);
        (is_source && self.apart(entry) == 0) || self.has_io([entry])
    }

    /// Whether others than `lid` read the base image, and only from the disk of this entry.
    pub(crate) fn is_last_source(&self, entry: usize, lid: &Id) -> bool {
        let needs_base = |volume: &Volume| {
            let reads_base = matches!(volume.view.get().reads, Home::Base | Home::Overlay);
            volume.lid != *lid && (reads_base || !volume.regions.is_plain())
        };
        self.current_sources().any(|source| source == entry)
            && !self.has_other_source(entry)
            && self.volumes.iter().any(needs_base)
    }

    /// Whether all that a volume writes goes to its increments volume alone, until its attribute changes.
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

    /// Whether a store has anything yet of a volume of this name, which may have left the group.
    pub(crate) fn has_blocks_of(&self, lid: &Id) -> bool {
        self.stores.iter().any(|store| store.has_blocks_of(lid))
    }

    /// Uses the device of an entry for nothing any more, but what it is doing now. Does not sleep.
    pub(crate) fn retire(&self, entry: usize) {
        if let Some(volume) = self.volumes.get(entry) {
            let _views = self.group.failures().lock();
            errors::change(&volume.apart, |apart| apart | errors::WRITTEN);
            volume.view.set(VolumeView::NOWHERE);
        }
        for store in self.stores.iter().filter(|store| store.entry() == entry) {
            store.retire();
        }
    }

    /// Waits until the store of an entry that was retired does nothing any more. Under no locks. Sleeps for I/O.
    pub(crate) fn wait_for_store(&self, entry: usize) {
        if let Some(store) = self.store_at(entry) {
            store.wait_for_end();
        }
    }

    /// Whether reads of the base image find a disk, not counting that of this entry.
    pub(crate) fn has_other_source(&self, entry: usize) -> bool {
        self.current_sources()
            .any(|source| source != entry && self.apart(source) == 0)
    }

    /// Whether reads of the base image could find a disk without that of this entry, although none that
    /// serves them by choice.
    pub(crate) fn can_spare(&self, entry: usize) -> bool {
        self.next_source(0, Some(entry)).is_some()
    }

    /// The sources that reads of the base image are spread over now: those by choice, while there are
    /// any.
    fn current_sources(&self) -> impl Iterator<Item = usize> + '_ {
        let all = || self.sources.all();
        let by_choice = all().any(|(source, preferred)| preferred && self.apart(source) == 0);
        all()
            .filter(move |(_, preferred)| *preferred || !by_choice)
            .map(|(source, _)| source)
    }

    /// What keeps others from the disk of an entry; see [`Volume::apart`].
    pub(crate) fn apart(&self, entry: usize) -> u64 {
        self.volumes
            .get(entry)
            .map_or(0, |volume| volume.apart.get())
    }

    /// Brings stores in step with disks after a crash; calls `full` for a volume whose store has no
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

    /// Tells the stores of a table's event count, after the metadata has it. One that fails to take
    /// it has failed. Sleeps for I/O.
    pub(crate) fn note_events(&self, table: &GroupTable) {
        for store in self.stores.iter() {
            let record = table.volume(store.entry());
            if record.is_some_and(|record| record.state.failed) {
                continue;
            }
            if let Err(error) = store.note_events(table.head().events) {
                if error == ENOMEM {
                    log::warning!(
                        store.group(),
                        "increments {}: its headers were not brought up to date: out of memory",
                        store.lid()
                    );
                } else {
                    store.begin_failure(false);
                }
            }
        }
    }

    /// The store on the disk of an entry.
    pub(crate) fn store_at(&self, entry: usize) -> Option<&Worker<Store>> {
        let store = self.stores.iter().find(|store| store.entry() == entry)?;
        Some(store)
    }

    /// Makes all that volumes have written durable, while no volume is in use. Sleeps for I/O.
    pub(crate) fn settle(&self) {
        for store in self.stores.iter() {
            store.settle();
        }
    }

    /// Returns when no store's worker runs any more. What was kicked runs before. Sleeps.
    pub(crate) fn rest(&self) {
        for store in self.stores.iter() {
            store.rest();
        }
    }

    /// Volumes whose disk may have lost what they wrote, which nobody was told yet.
    pub(crate) fn losers(&self) -> impl Iterator<Item = &Owner> {
        let owners = self.stores.iter().flat_map(|store| store.owners.iter());
        owners.filter(|owner| owner.has_lost_writes())
    }

    /// Tries again what [`Bound::settle`] could not do, and calls `lost` for each volume whose last
    /// changes can't be written. Sleeps for I/O.
    pub(crate) fn settle_again(&self, mut lost: impl FnMut(&Id)) {
        for store in self.stores.iter().filter(|store| !store.is_retired()) {
            if store.settle_map().is_err() {
                store.unsettled().for_each(|owner| lost(&owner.lid));
            }
        }
    }

    /// What disks and stores lost under the table before, and nobody was told, whoever asks for a flush next is
    /// told. Does not sleep.
    pub(crate) fn inherit_losses(&self, old: &Self) {
        for lost in old.losers() {
            if let Some((_, owner)) = self.store_of(&lost.lid) {
                owner.lose_writes();
            }
        }
        let stores = old.stores.iter().filter(|store| !store.is_retired());
        for owner in stores.flat_map(|store| store.untold()) {
            if let Some((_, owner)) = self.store_of(&owner.lid) {
                owner.forget_told();
            }
        }
    }

    /// Goes on with what was left undone, after a suspend. Does not sleep.
    pub(crate) fn go_on(&self) {
        for store in self.stores.iter() {
            store.kick();
        }
    }
}

/// An entry's index as it is kept with bios.
pub(crate) fn number(entry: usize) -> u32 {
    // A group has few entries, so nothing is cut off. This is one instruction, in the fast path.
    u32::try_from(entry & 0xffff_ffff).map_or(0, |entry| entry.wrapping_add(1))
}

pub(crate) fn operation(op: Op) -> route::Op {
    match op {
        Op::Read => route::Op::Read,
        Op::Write => route::Op::Write,
        Op::Flush => route::Op::Flush,
        Op::Discard => route::Op::Discard,
        Op::WriteZeroes => route::Op::WriteZeroes,
        Op::Other => route::Op::Other,
    }
}
