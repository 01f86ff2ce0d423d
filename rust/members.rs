// SPDX-License-Identifier: GPL-2.0

//! The opened devices of one group table.

use crate::{
    dm::{
        self,
        Device,
        DeviceNumber,
        IoClient,
        LegPool,
        Traffic, //
    },
    env::{
        AllocError,
        Word, //
    },
    svol_core::{
        bad_blocks::BadBlocks,
        pace::Pace,
        table_line::DeviceRole, //
    },
};
use kernel::prelude::*;

/// One entry's disk.
///
/// The count of I/Os has a cache line of its own: written for every read of every volume, it is the
/// most frequently written word of the module.
#[repr(align(64))]
pub(crate) struct Disk {
    /// The device.
    pub(crate) device: Device,
    /// It may serve volumes, now or after a failover: it is not an increments volume.
    is_data: bool,
    /// It was opened for writing.
    is_writable: bool,
    /// Which places of it should not be read. Kept as long as the table.
    pub(crate) bad: KBox<BadBlocks>,
    /// Its I/Os.
    pub(crate) traffic: Traffic,
    /// How fast it completes I/O, in ticks of [`Bound::ticks`].
    ///
    /// [`Bound::ticks`]: crate::bound::Bound::ticks
    pub(crate) pace: Pace,
}

/// On a busy disk, one completion in this many is timed; a power of two.
const TIMED: u32 = 16;

/// The most zeroes written as one I/O, in sectors: a disk that writes zeroes block by block must
/// still answer in time.
const ZERO_SECTORS: u64 = 1 << 15;

impl Disk {
    /// A disk with no I/O in flight.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(device: Device, is_data: bool, is_writable: bool) -> Result<Self> {
        Ok(Self {
            device,
            is_data,
            is_writable,
            bad: KBox::new(BadBlocks::new(), GFP_KERNEL)?,
            traffic: Traffic::new(),
            pace: Pace::new(),
        })
    }

    /// Whether it can be written.
    pub(crate) fn may_be_written(&self) -> bool {
        self.is_writable && !self.device.is_read_only()
    }

    /// The number of I/Os in flight on the disk.
    pub(crate) fn in_flight(&self) -> u32 {
        self.traffic.in_flight()
    }

    /// The number of I/Os in flight on the disk, and the number completed so far.
    pub(crate) fn progress(&self) -> (u32, u32) {
        self.traffic.progress()
    }

    /// The number of I/Os in flight on the disk, if the one that has just begun is to be timed: one
    /// that is alone, and some of the others, since timing has a cost, too.
    pub(crate) fn is_timed(&self) -> Option<u32> {
        let (in_flight, answers) = self.progress();
        (in_flight <= 1 || answers & (TIMED - 1) == 0).then_some(in_flight)
    }

    /// Counts an I/O of our own until the guard is dropped.
    pub(crate) fn count_io(&self) -> CountedIo<'_> {
        self.begin();
        CountedIo(self)
    }

    /// Counts what `io` does with the device as an I/O of our own. Sleeps as that does.
    pub(crate) fn counted<R>(&self, io: impl FnOnce(&Device) -> R) -> R {
        let _counted = self.count_io();
        io(&self.device)
    }

    /// Counts an I/O that goes to the disk. A full barrier.
    pub(crate) fn begin(&self) {
        self.traffic.begin();
    }

    /// An I/O has completed.
    pub(crate) fn end(&self) {
        self.traffic.end();
    }
}

/// An I/O in flight; see [`Disk::count_io`].
pub(crate) struct CountedIo<'a>(&'a Disk);

impl Drop for CountedIo<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The index of an entry, or none; it may be read while it changes.
pub(crate) struct EntryCell {
    /// The index, plus 1; 0 for none.
    word: Word,
}

impl EntryCell {
    /// A cell that holds `entry`.
    pub(crate) fn new(entry: Option<usize>) -> Self {
        let cell = Self { word: Word::new(0) };
        cell.set(entry);
        cell
    }

    /// What it holds.
    #[inline]
    pub(crate) fn get(&self) -> Option<usize> {
        usize::try_from(self.word.get()).ok()?.checked_sub(1)
    }

    /// Replaces what it holds.
    pub(crate) fn set(&self, entry: Option<usize>) {
        let number = entry.and_then(|entry| u64::try_from(entry.checked_add(1)?).ok());
        self.word.set(number.unwrap_or(0));
    }
}

/// Entries whose disks serve reads of the base image. Entries may be added while it is read.
pub(crate) struct Sources {
    /// Each an entry, with [`PREFERRED`] or not.
    entries: KVec<Word>,
    count: Word,
}

/// The flag of a preferred source. The others serve only while there is no preferred one.
const PREFERRED: u64 = 1 << 32;

impl Sources {
    /// No entries yet, with room for `room` of them.
    pub(crate) fn new(room: usize) -> Result<Self> {
        let mut entries = KVec::with_capacity(room, GFP_KERNEL)?;
        for _ in 0..room {
            entries.push(Word::new(0), GFP_KERNEL)?;
        }
        Ok(Self {
            entries,
            count: Word::new(0),
        })
    }

    /// Adds an entry, or changes whether it is preferred. One caller at a time.
    pub(crate) fn add(&self, entry: usize, preferred: bool) {
        let place = self.iter().position(|known| known == entry);
        let index = place.unwrap_or_else(|| self.len());
        if let (Some(slot), Ok(entry)) = (self.entries.get(index), u64::try_from(entry)) {
            slot.set(if preferred { entry | PREFERRED } else { entry });
        }
        if place.is_none() {
            // After the entry is set: whoever sees the new count finds the entry.
            let count = index.saturating_add(1);
            self.count.set(u64::try_from(count).unwrap_or(0));
        }
    }

    /// How many there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.count.get()).unwrap_or(0)
    }

    /// One of them, and whether it is preferred.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<(usize, bool)> {
        let word = self.entries.get(index)?.get();
        let entry = usize::try_from(word & !PREFERRED).ok()?;
        Some((entry, word & PREFERRED != 0))
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.all().map(|(entry, _)| entry)
    }

    /// Whether an entry is one of them.
    pub(crate) fn has(&self, entry: usize) -> bool {
        self.iter().any(|source| source == entry)
    }

    /// All of them, each with whether it is preferred.
    pub(crate) fn all(&self) -> impl Iterator<Item = (usize, bool)> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

/// All devices that one table line names, in its order; `None` for `-`.
pub(crate) struct Members {
    /// Identifies the table that these members belong to.
    pub(crate) table: u64,
    /// Length of the group in sectors.
    pub(crate) sectors: u64,
    /// Metadata devices.
    pub(crate) meta: KVec<Option<Device>>,
    /// Disks by entry: S-VOLs, spares and increments volumes.
    pub(crate) disks: KVec<Option<Disk>>,
    /// For the group's own I/O.
    pub(crate) io: IoClient,
    /// For writes that go to two disks.
    pub(crate) legs: Pin<KBox<LegPool>>,
    /// Raises the group's events.
    pub(crate) event: dm::Event,
}

impl Members {
    /// Lets `probe` look at a device through a function that reads from a position in bytes.
    /// Running out of memory says nothing about the device: it is not taken for a range that can't
    /// be read. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn probe<P>(
        &self,
        device: &Device,
        probe: impl FnOnce(&mut dyn FnMut(u64, &mut [u8]) -> Result) -> Result<P, AllocError>,
    ) -> Result<P> {
        let mut is_short = false;
        let probe = probe(&mut |position, buffer| {
            let result = self.io.read_pieces(device, position >> 9, buffer);
            is_short |= result == Err(ENOMEM);
            result
        })?;
        match is_short {
            true => Err(ENOMEM),
            false => Ok(probe),
        }
    }

    /// Flushes a disk; counted among its I/Os meanwhile. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the disk.
    pub(crate) fn flush(&self, disk: &Disk) -> Result {
        disk.counted(|device| self.io.flush(device))
    }

    /// Writes zeroes to a disk, part by part. Each part is counted among its I/Os, so that the disk
    /// is not taken for free while it may still be written. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the disk.
    pub(crate) fn write_zeroes(&self, disk: &Disk, sector: u64, sectors: u64) -> Result {
        let mut done = 0;
        while done < sectors {
            let now = ZERO_SECTORS.min(sectors.saturating_sub(done));
            let _counted = disk.count_io();
            self.io
                .write_zeroes(&disk.device, sector.saturating_add(done), now)?;
            done = done.saturating_add(now);
        }
        Ok(())
    }

    /// The numbers of all devices, and what they are for.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = (DeviceNumber, DeviceRole)> + '_ {
        let meta = self.meta.iter().enumerate().filter_map(|(i, device)| {
            let device = device.as_ref()?;
            Some((device.number(), DeviceRole::Meta(i)))
        });
        let disks = self.disks.iter().enumerate().filter_map(|(i, disk)| {
            let disk = disk.as_ref()?;
            Some((disk.device.number(), DeviceRole::Volume(i)))
        });
        Iterator::chain(meta, disks)
    }

    /// Whether one of the devices has this number.
    pub(crate) fn has(&self, number: DeviceNumber) -> bool {
        self.numbers().any(|(known, _)| known == number)
    }

    /// The disk of an entry, if the line names one.
    pub(crate) fn disk(&self, entry: usize) -> Option<&Disk> {
        self.disks.get(entry)?.as_ref()
    }

    /// The smallest unit of I/O that all disks of volumes support, in bytes.
    pub(crate) fn logical_block_bytes(&self) -> u32 {
        let disks = self.disks.iter().flatten().filter(|disk| disk.is_data);
        disks
            .map(|disk| disk.device.logical_block_size())
            .max()
            .unwrap_or(0)
    }

    /// A metadata device, counting from 0, if the line names one.
    pub(crate) fn meta_device(&self, device: usize) -> Option<&Device> {
        self.meta.get(device)?.as_ref()
    }

    /// Shows device-mapper all disks that may serve volumes, including spares: a volume keeps its
    /// limits when it moves. Shows `sectors` of each disk, from its beginning.
    pub(crate) fn show_disks(
        &self,
        visitor: &mut dm::DeviceVisitor<'_>,
        sectors: u64,
    ) -> Result<(), dm::Stop> {
        self.disks
            .iter()
            .flatten()
            .filter(|disk| disk.is_data)
            .try_for_each(|disk| visitor.visit(&disk.device, 0, sectors))
    }

    /// Applies the limits of increments volumes, too, where I/O of a volume is passed on unchanged
    /// and splitting it would not help. Their logical block size is never larger than the group's.
    pub(crate) fn raise_limits(&self, limits: &mut dm::Limits<'_>) {
        self.disks
            .iter()
            .flatten()
            .filter(|disk| !disk.is_data)
            .for_each(|disk| limits.raise_alignment(&disk.device));
    }
}
