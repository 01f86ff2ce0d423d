// SPDX-License-Identifier: GPL-2.0

//! The devices of one group table, opened.

use crate::{
    dm::{
        self,
        Device,
        DeviceNumber,
        IoClient,
        LegPool, //
    },
    svol_core::table_line::DeviceRole, //
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
    /// I/Os that the disk has and has not answered yet.
    in_flight: Atomic<u32>,
}

impl Disk {
    /// A disk without I/O.
    pub(crate) fn new(device: Device, is_data: bool) -> Self {
        Self {
            device,
            is_data,
            in_flight: Atomic::new(0),
        }
    }

    /// The number of I/Os that the disk has now.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// An I/O goes to the disk. A full barrier.
    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Full);
    }

    /// An I/O came back.
    pub(crate) fn end(&self) {
        // Wraps back what `begin` added.
        self.in_flight.add(u32::MAX, Relaxed);
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
