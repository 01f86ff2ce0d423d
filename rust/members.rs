// SPDX-License-Identifier: GPL-2.0

//! The devices of one group table, opened.

use crate::{
    dm::{
        self,
        load,
        Device,
        DeviceNumber,
        IoClient,
        LegPool, //
    },
    env::Word,
    svol_core::{
        bad_blocks::BadBlocks,
        pace::Pace,
        table_line::DeviceRole, //
    },
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    }, //
};

/// One entry's disk.
///
/// The count stands in a cache line of its own: with all readers of all volumes it is the most
/// written word of the module.
#[repr(align(64))]
pub(crate) struct Disk {
    /// The device.
    pub(crate) device: Device,
    /// It may serve volumes, now or after a failover: not an increments volume.
    is_data: bool,
    /// It was opened for writing.
    is_writable: bool,
    /// What of it is not to be asked for. Known as long as the table.
    pub(crate) bad: KBox<BadBlocks>,
    /// I/Os that the disk has and has not answered yet, in the lower half; and how many it has
    /// answered, which may wrap.
    ios: Atomic<u64>,
    /// How fast it answers, in ticks of [`Bound::ticks`].
    ///
    /// [`Bound::ticks`]: crate::bound::Bound::ticks
    pub(crate) pace: Pace,
}

/// One answer of so many is timed on a busy disk; a power of two.
const TIMED: u32 = 16;

/// Zeroes that count as one I/O, in sectors: a disk that writes them one by one has to answer in time.
const ZERO_SECTORS: u64 = 1 << 15;

/// An answer, in [`Disk::ios`].
const ANSWER: u64 = 1 << 32;

impl Disk {
    /// A disk without I/O.
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
            ios: Atomic::new(0),
            pace: Pace::new(),
        })
    }

    /// Whether it can be written.
    pub(crate) fn may_be_written(&self) -> bool {
        self.is_writable && !self.device.is_read_only()
    }

    /// The number of I/Os that the disk has now.
    pub(crate) fn in_flight(&self) -> u32 {
        low_half(load::relaxed(&self.ios))
    }

    /// The number of I/Os that the disk has now, and that it has answered so far.
    pub(crate) fn progress(&self) -> (u32, u32) {
        let ios = load::relaxed(&self.ios);
        (low_half(ios), low_half(ios >> 32))
    }

    /// The number of I/Os that the disk has, if the one that began just now is to be timed: one that is
    /// alone, and some of the others, as that takes time, too.
    pub(crate) fn is_timed(&self) -> Option<u32> {
        let (in_flight, answers) = self.progress();
        (in_flight <= 1 || answers & (TIMED - 1) == 0).then_some(in_flight)
    }

    /// Counts an I/O of our own, until that is dropped.
    pub(crate) fn count_io(&self) -> CountedIo<'_> {
        self.begin();
        CountedIo(self)
    }

    /// An I/O goes to the disk. A full barrier.
    pub(crate) fn begin(&self) {
        self.ios.fetch_add(1, Full);
    }

    /// An I/O came back.
    pub(crate) fn end(&self) {
        // One more answer, and without what `begin` added: the lower half is not 0.
        self.ios.add(ANSWER - 1, Relaxed);
    }
}

/// An I/O that is under way; see [`Disk::count_io`].
pub(crate) struct CountedIo<'a>(&'a Disk);

impl Drop for CountedIo<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn low_half(word: u64) -> u32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The index of an entry, or none; others may look while it changes.
pub(crate) struct EntryCell {
    /// The index, plus 1; 0 for none.
    word: Word,
}

impl EntryCell {
    /// One that holds this.
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

    /// It holds this from now on.
    pub(crate) fn set(&self, entry: Option<usize>) {
        let number = entry.and_then(|entry| u64::try_from(entry.checked_add(1)?).ok());
        self.word.set(number.unwrap_or(0));
    }
}

/// Entries whose disks serve reads of the base image: more may come while others look.
pub(crate) struct Sources {
    /// [`PREFERRED`] and the entry.
    entries: KVec<Word>,
    count: Word,
}

/// Of a disk that serves others by choice; those without it do so while there is no other one.
const PREFERRED: u64 = 1 << 32;

impl Sources {
    /// None yet; there is room for as many.
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

    /// One more, and whether it serves others by choice; for one caller at a time.
    pub(crate) fn add(&self, entry: usize, preferred: bool) {
        let place = self.iter().position(|known| known == entry);
        let index = place.unwrap_or_else(|| self.len());
        if let (Some(slot), Ok(entry)) = (self.entries.get(index), u64::try_from(entry)) {
            slot.set(if preferred { entry | PREFERRED } else { entry });
        }
        if place.is_none() {
            // After that: whoever sees it finds the entry.
            let count = index.saturating_add(1);
            self.count.set(u64::try_from(count).unwrap_or(0));
        }
    }

    /// How many there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.count.get()).unwrap_or(0)
    }

    /// One of them, and whether it serves others by choice.
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

    /// All of them, and whether each serves others by choice.
    pub(crate) fn all(&self) -> impl Iterator<Item = (usize, bool)> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

/// All devices that one table line names, in its order, `None` for `-`.
pub(crate) struct Members {
    /// Tells the members of one table from those of another.
    pub(crate) table: u64,
    /// Length of the group in sectors.
    pub(crate) sectors: u64,
    /// Metadata devices.
    pub(crate) meta: KVec<Option<Device>>,
    /// Disks by entry: S-VOLs, spares and increments volumes.
    pub(crate) disks: KVec<Option<Disk>>,
    /// For I/O of the group's own.
    pub(crate) io: IoClient,
    /// For writes that go to two disks.
    pub(crate) legs: Pin<KBox<LegPool>>,
    /// Raises the group's events.
    pub(crate) event: dm::Event,
}

impl Members {
    /// Flushes a disk; counted among its I/Os meanwhile. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the disk.
    pub(crate) fn flush(&self, disk: &Disk) -> Result {
        let _counted = disk.count_io();
        self.io.flush(&disk.device)
    }

    /// Writes zeroes to a disk, part by part, each counted among its I/Os: nobody takes the disk for free
    /// while they may still come. Sleeps for I/O.
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

    /// The disk of an entry, if the line names one.
    pub(crate) fn disk(&self, entry: usize) -> Option<&Disk> {
        self.disks.get(entry)?.as_ref()
    }

    /// The smallest unit of I/O that all disks of volumes take, in bytes.
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

    /// Shows device-mapper all disks that may serve volumes, spares too: a volume keeps its limits
    /// when it moves. `sectors` of each from its beginning.
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

    /// Makes the limits those of increments volumes, too, where I/O of a volume goes as it came: what
    /// can't be made right by splitting it. Their logical block size is not larger than the group's.
    pub(crate) fn raise_limits(&self, limits: &mut dm::Limits<'_>) {
        self.disks
            .iter()
            .flatten()
            .filter(|disk| !disk.is_data)
            .for_each(|disk| limits.raise_alignment(&disk.device));
    }
}
