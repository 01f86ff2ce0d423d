// SPDX-License-Identifier: GPL-2.0

//! Which disks serve reads of the base image.

use super::{
    Bound,
    Volume, //
};
use crate::{
    dm::current_cpu,
    parts::Of,
    svol_core::{
        id::Id,
        route::Home,
        select::{
            Selector,
            Source, //
        }, //
    }, //
};
use kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

impl Bound {
    /// The disk from which a volume reads the base image, if it may read no other. That disk may
    /// not have been compared with others yet. Does not sleep.
    #[inline]
    pub(crate) fn reads_alone(&self, volume: usize) -> Option<usize> {
        self.volumes.get(volume)?.alone.get()
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
            if volume.fate.get().serves() {
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
            if !(all || is_preferred) || !self.volumes.get(entry)?.fate.get().serves() {
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
            if volume.fate.get().serves() {
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

    /// The next source, starting at index `from`; see [`Bound::begin_next`].
    fn next_source(&self, from: usize, failed: Option<usize>) -> Option<(usize, usize)> {
        let sources = self.sources.iter().enumerate().skip(from);
        let mut serving = sources.filter(|(_, entry)| {
            let volume = self.volumes.get(*entry);
            Some(*entry) != failed && volume.is_some_and(|volume| volume.fate.get().serves())
        });
        serving.next()
    }

    /// How often the volume is used that lives on the disk of an entry.
    fn frequency_on(&self, entry: usize) -> u64 {
        let volume = self.group.served_by(entry);
        let volume = volume.and_then(|volume| self.volumes.get(volume));
        volume.map_or(0, |volume| volume.stats.frequency())
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
                .min_by_key(|(_, entry, _)| self.frequency_on(*entry));
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
            if volume.fate.get().serves() {
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

    /// After a [`Bound::keep_away`], whether all I/O of others on the disk has ended that began
    /// before: only then may its own volume be written in place. Does not sleep.
    pub(crate) fn is_left(&self, entry: usize) -> bool {
        let is_source = self.sources.has(entry);
        let Some(volume) = self.volumes.get(entry).filter(|_| is_source) else {
            return true;
        };
        if !volume.fate.get().is_left() {
            if self.has_io([entry]) {
                return false;
            }
            volume.fate.note_left();
        }
        true
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

    /// Whether the disk of an entry serves reads of the base image, or still has I/O from when it
    /// did. Does not sleep.
    pub(crate) fn is_read_still(&self, entry: usize) -> bool {
        self.serves_base(entry) || self.has_io([entry])
    }

    /// Whether reads of the base image may go to the disk of an entry. Does not sleep.
    pub(crate) fn serves_base(&self, entry: usize) -> bool {
        self.sources.has(entry) && self.fate(entry).serves()
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

    /// Whether reads of the base image find a disk other than that of this entry.
    pub(crate) fn has_other_source(&self, entry: usize) -> bool {
        self.current_sources()
            .any(|source| source != entry && self.fate(source).serves())
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
        let by_choice = all().any(|(source, preferred)| preferred && self.fate(source).serves());
        all()
            .filter(move |(_, preferred)| *preferred || !by_choice)
            .map(|(source, _)| source)
    }
}
