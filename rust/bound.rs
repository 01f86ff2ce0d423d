// SPDX-License-Identifier: GPL-2.0

//! A live group table: everything needed to map a bio without waiting.

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

/// Per-bio data.
#[derive(Clone, Copy, Default)]
pub(crate) struct InFlight {
    /// Index of the entry whose disk it was sent to, plus 1; 0 if none.
    pub(crate) disk: u32,
    /// Index of the volume it belongs to, if it was parked.
    pub(crate) volume: u32,
    /// The ticket to release when it completes, if it relies on a block map.
    pub(crate) ticket: Option<Ticket>,
    /// The block map changes when it completes.
    pub(crate) is_first: bool,
    /// It completes only after the next commit.
    pub(crate) needs_commit: bool,
    /// It goes to both a disk and a store.
    pub(crate) is_logged: bool,
    /// It is the flush of a logged volume's store.
    pub(crate) is_log_flush: bool,
    /// The disk has its data, but the store failed.
    pub(crate) has_no_log: bool,
    /// It goes to its volume's own data, not to just any source of the base image.
    pub(crate) is_own: bool,
    /// It has been sent, and waits for something before it completes.
    pub(crate) is_sent: bool,
    /// Index of the entry whose disk failed to read it, plus 1; 0 if none failed. The first such
    /// entry; with `is_own`, the last one.
    pub(crate) first: u16,
    /// The number of other ways to read it that were tried.
    pub(crate) tries: u16,
    /// Index of the entry to whose disk it also goes, since its volume moves there, plus 1; 0 if
    /// none.
    pub(crate) also: u16,
    /// As logged, but only the store counts: its disk is being filled, or it has none.
    pub(crate) is_kept: bool,
    /// It goes to a disk that is being filled.
    pub(crate) fills: bool,
    /// The store has its data, but the disk that is being filled failed.
    pub(crate) has_no_disk: bool,
    /// When it was sent to its disk, in ticks of [`Bound::ticks`], if it is timed; else 0.
    pub(crate) sent: u32,
    /// If it is timed: how many I/Os the disk had in flight then.
    pub(crate) in_flight: u32,
    /// When it began to wait for space, in milliseconds since the store was opened; 0 if it does
    /// not wait.
    pub(crate) waits_since: u32,
}

impl InFlight {
    /// The entry whose disk has it, or was the last to have it.
    pub(crate) fn disk(&self) -> Option<usize> {
        usize::try_from(self.disk).ok()?.checked_sub(1)
    }

    /// The entry to whose disk it also goes.
    pub(crate) fn also(&self) -> Option<usize> {
        usize::from(self.also).checked_sub(1)
    }
}

/// An entry as seen by mapping.
pub(crate) struct Volume {
    /// The entry's ID.
    pub(crate) lid: Id,
    /// How its I/O is routed, except in its regions.
    pub(crate) view: ViewCell,
    /// Which parts of it are diverted while the others are in place.
    pub(crate) regions: Regions,
    /// Where its changes are kept.
    pub(crate) link: Option<Link>,
    /// Its counters, kept across reloads.
    pub(crate) stats: Arc<VolumeStats>,
    /// Tracks its sequential reads.
    pub(crate) selector: KBox<Selector>,
    /// Not 0 if the base image is no longer read from this entry's disk: [`errors::WRITTEN`],
    /// [`errors::FAILING`], [`errors::FAILED`].
    pub(crate) apart: Word,
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
    pub(crate) stores: KVec<Pin<KBox<Worker<Store>>>>,
    /// Entries whose disks serve reads of the base image.
    pub(crate) sources: Sources,
    /// A disk with more errors than this counts as failed.
    pub(crate) max_errors: u32,
    /// When it was made.
    pub(crate) made: Instant<Monotonic>,
    /// A disk that does not answer for this many milliseconds gets no new reads.
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
                    // It may be logged later, so there is one flush for its disk and one for its
                    // increments volume.
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

    /// Sends a flush to the disk of an entry. If the disk has no write cache, completes it at once,
    /// as the block layer would. Does not sleep.
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

    /// Sends a read of the base image on its way, for the volume that owns the selector. Does not
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
            // Can't happen: it was there a moment ago.
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

    /// Notes when a read is sent to a disk, if it is used to measure how fast the disk is.
    #[inline]
    fn begin_timing(&self, disk: &Disk, bio: &mut Bio<'_, InFlight>) {
        if let Some(in_flight) = disk.is_timed() {
            let data = bio.data_mut();
            data.sent = self.ticks();
            data.in_flight = in_flight;
        }
    }

    /// A timed read has completed.
    fn end_timing(&self, disk: &Disk, ended: &mut Ended<'_, InFlight>) {
        let data = ended.data_mut();
        let (sent, in_flight) = (data.sent, data.in_flight);
        // It may be sent to another disk next.
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

    /// The disk from which a volume reads the base image, if it may read no other. That disk may
    /// not have been compared with others yet. Does not sleep.
    #[inline]
    pub(crate) fn reads_alone(&self, volume: usize) -> Option<usize> {
        self.volumes.get(volume)?.alone.get()
    }

    /// Chooses the next source of the base image for a read, starting at index `from`, and counts
    /// the read there. Returns its index and its entry. Skips the entry `failed`.
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

    /// As [`Bound::begin_next`], but skips sources that are known not to have the data.
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

    /// The disk of an entry was written here, so it may be readable again. Does not sleep.
    #[inline]
    pub(crate) fn forget_bad(&self, entry: usize, sector: u64, sectors: u32) {
        if let Some(disk) = self.members.disk(entry) {
            disk.bad.forget(sector, sectors, self.members.sectors);
        }
    }

    /// The next source, starting at index `from`; see [`Bound::begin_next`].
    fn next_source(&self, from: usize, failed: Option<usize>) -> Option<(usize, usize)> {
        let sources = self.sources.iter().enumerate().skip(from);
        let mut serving = sources.filter(|(_, entry)| {
            let volume = self.volumes.get(*entry);
            Some(*entry) != failed && volume.is_some_and(|volume| volume.apart.get() == 0)
        });
        serving.next()
    }

    /// Reads the base image from the source whose volume is used least, or from another one if that
    /// can't be read. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// `EIO` if a part of it can't be read anywhere.
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

    /// Chooses a disk for a read of the base image, and counts the read there.
    pub(crate) fn begin_read(
        &self,
        selector: &Selector,
        sector: u64,
        sectors: u32,
    ) -> Option<usize> {
        // This terminates: a disk that was refused once is not chosen again.
        loop {
            let entry = self.choose(selector, sector, sectors)?;
            let (volume, disk) = (self.volumes.get(entry)?, self.members.disk(entry)?);
            disk.begin();
            // Check after counting: `keep_away` is set first, then counted reads are waited for.
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

    /// Chooses among the preferred sources, or among `all`. With `bad`, also among those that are
    /// known not to have all of the data, or that do not answer.
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

    /// As [`Bound::send`], for a bio that is already counted on its disk.
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

    /// Sends a write to the disks of two entries at once and, if given, to that of a third, `also`,
    /// at the same sector as the first. Does not sleep; returns the bio if no memory is available
    /// at once.
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
        // Not the store: its count would only help to choose where to read, and there is no choice.
        let counted = || {
            let entries = [Some(entry), also].into_iter().flatten();
            entries.filter_map(|entry| this.members.disk(entry))
        };
        counted().for_each(Disk::begin);
        bio.remap_to_all(pool, (first, sector), (log, second_sector), third)
            .inspect_err(|_| counted().for_each(Disk::end))
    }

    /// As [`Bound::send`], for a parked bio. May sleep until the disk has room for it.
    pub(crate) fn submit(parked: Parked<Self, InFlight>, entry: usize, sector: u64) {
        if let Some(disk) = parked.keep().members.disk(entry) {
            disk.begin();
        }
        Self::submit_begun(parked, entry, sector);
    }

    /// As [`Bound::submit`], for a bio that is already counted on its disk.
    pub(crate) fn submit_begun(mut parked: Parked<Self, InFlight>, entry: usize, sector: u64) {
        parked.data_mut().disk = number(entry);
        parked.submit(|this| Some(&this.members.disk(entry)?.device), sector);
    }

    /// A bio of a volume, or of the group itself, came back from the disk it was sent to. `volume`
    /// says which volume, if that matters. Does not sleep.
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

    /// If `wanted`, from now on returns writes of a volume that wait for space; else stops doing
    /// so. Does not sleep.
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

    /// How full the store of an entry is, if it has one: used slots, and all slots.
    pub(crate) fn usage(&self, entry: usize) -> Option<(u64, u64)> {
        let store = self.stores.iter().find(|store| store.entry() == entry)?;
        Some(store.usage())
    }

    /// Keeps new reads of the base image away from the disk of an entry; returns whether they were
    /// allowed before. If so, this is a full barrier: if the disk is then seen without I/O, no such
    /// read can follow. Does not sleep.
    pub(crate) fn keep_away(&self, entry: usize) -> bool {
        self.volumes.get(entry).is_some_and(|volume| {
            let before = errors::change(&volume.apart, |apart| apart | errors::WRITTEN);
            before & errors::WRITTEN == 0
        })
    }

    /// Undoes [`Bound::keep_away`]. Does not sleep.
    pub(crate) fn let_serve(&self, entry: usize) {
        if let Some(volume) = self.volumes.get(entry) {
            errors::change(&volume.apart, |apart| apart & !errors::WRITTEN);
        }
    }

    /// Waits for reads that were in flight at a [`Bound::keep_away`], as long as the disk answers.
    /// May hang: do not call it with `commits` held. Sleeps for I/O.
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

    /// Whether the disk of an entry serves reads of the base image, or still has I/O from when it
    /// did. Does not sleep.
    pub(crate) fn is_read_still(&self, entry: usize) -> bool {
        let is_source = self.sources.iter().any(|source| source == entry);
        (is_source && self.apart(entry) == 0) || self.has_io([entry])
    }

    /// Whether volumes other than `lid` read the base image, and only from the disk of this entry.
    pub(crate) fn is_last_source(&self, entry: usize, lid: &Id) -> bool {
        let needs_base = |volume: &Volume| {
            let reads_base = matches!(volume.view.get().reads, Home::Base | Home::Overlay);
            volume.lid != *lid && (reads_base || !volume.regions.is_plain())
        };
        self.current_sources().any(|source| source == entry)
            && !self.has_other_source(entry)
            && self.volumes.iter().any(needs_base)
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

    /// Stops using the device of an entry, except for what is under way. Does not sleep.
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

    /// Waits until the retired store of an entry does nothing more. Call it without locks. Sleeps
    /// for I/O.
    pub(crate) fn wait_for_store(&self, entry: usize) {
        if let Some(store) = self.store_at(entry) {
            store.wait_for_end();
        }
    }

    /// Whether reads of the base image find a disk other than that of this entry.
    pub(crate) fn has_other_source(&self, entry: usize) -> bool {
        self.current_sources()
            .any(|source| source != entry && self.apart(source) == 0)
    }

    /// Whether reads of the base image could find a disk other than that of this entry, preferred
    /// or not.
    pub(crate) fn can_spare(&self, entry: usize) -> bool {
        self.next_source(0, Some(entry)).is_some()
    }

    /// The sources over which reads of the base image are spread now: the preferred ones, while
    /// there are any.
    fn current_sources(&self) -> impl Iterator<Item = usize> + '_ {
        let all = || self.sources.all();
        let by_choice = all().any(|(source, preferred)| preferred && self.apart(source) == 0);
        all()
            .filter(move |(_, preferred)| *preferred || !by_choice)
            .map(|(source, _)| source)
    }

    /// What keeps other volumes from reading the disk of an entry; see [`Volume::apart`].
    pub(crate) fn apart(&self, entry: usize) -> u64 {
        self.volumes
            .get(entry)
            .map_or(0, |volume| volume.apart.get())
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

    /// Tells the stores a table's event count, after the metadata has it. A store that can't record
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

    /// Makes everything durable that volumes have written, while no volume is in use. Sleeps for
    /// I/O.
    pub(crate) fn settle(&self) {
        for store in self.stores.iter() {
            store.settle();
        }
    }

    /// Waits until no store's worker runs any more. What was kicked before still runs. Sleeps.
    pub(crate) fn rest(&self) {
        for store in self.stores.iter() {
            store.rest();
        }
    }

    /// Volumes whose disk may have lost writes that have not been reported yet.
    pub(crate) fn losers(&self) -> impl Iterator<Item = &Owner> {
        let owners = self.stores.iter().flat_map(|store| store.owners.iter());
        owners.filter(|owner| owner.has_lost_writes())
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

    /// Continues with unfinished work after a suspend. Does not sleep.
    pub(crate) fn go_on(&self) {
        for store in self.stores.iter() {
            store.kick();
        }
    }
}

/// An entry's index as it is stored in [`InFlight`].
pub(crate) fn number(entry: usize) -> u32 {
    // A group has few entries, so nothing is cut off. This is one instruction in the fast path.
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
