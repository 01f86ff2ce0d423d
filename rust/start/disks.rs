// SPDX-License-Identifier: GPL-2.0

//! Checks of the disks: that they fit the group, and hold its base image.

use crate::{
    base::{
        self,
        Verdict, //
    },
    dead::Dead,
    dm::DeviceNumber,
    env,
    log,
    members::{
        Disk,
        Members, //
    },
    svol_core::{
        attr::Attr,
        group::GroupTable,
        health::Health,
        meta::Identity,
        samples::{
            self,
            Sample, //
        },
        table_line::TableLine, //
    }, //
};
use kernel::prelude::*;

/// The smallest logical block size in bytes.
const SECTOR_BYTES: u32 = 512;

/// The size of each entry's device in sectors; 0 if it is not here.
pub(super) fn sectors(members: &Members) -> impl Fn(usize) -> u64 + '_ {
    |entry| members.disk(entry).map_or(0, |disk| disk.device.sectors())
}

/// The largest logical block size of the volumes' disks, in bytes. A new group keeps this size.
pub(super) fn volumes_block_size(line: &TableLine<DeviceNumber>, members: &Members) -> u32 {
    line.volumes
        .iter()
        .enumerate()
        .filter(|(_, volume)| volume.attr != Attr::Spare)
        .filter_map(|(entry, _)| members.disk(entry))
        .fold(SECTOR_BYTES, |largest, disk| {
            largest.max(disk.device.logical_block_size())
        })
}

/// Checks that the devices fit the table, apart from what they hold.
pub(super) fn check(table: &GroupTable, members: &Members) -> Result {
    check_block_sizes(table, members)?;
    check_writable(table, members)
}

/// Volumes of the group's length must consist of whole logical blocks.
pub(super) fn check_length(identity: &Identity) -> Result {
    let bytes = identity.logical_block_bytes;
    let rest = identity.sectors.checked_rem(u64::from(bytes >> 9));
    if rest.is_some_and(|rest| rest > 0) {
        log::notice!(
            identity.group,
            "length: {} sectors are no whole number of logical blocks of {bytes} bytes, which some \
             device has",
            identity.sectors
        );
        return Err(EINVAL);
    }
    Ok(())
}

/// A volume's logical block size must not grow when it moves to another disk.
fn check_block_sizes(table: &GroupTable, members: &Members) -> Result {
    let group = table.head().logical_block_bytes;
    for (entry, volume) in table.volumes().iter().enumerate() {
        let Some(disk) = members.disk(entry) else {
            continue;
        };
        let bytes = disk.device.logical_block_size();
        if bytes > group {
            log::notice!(
                table.id(),
                "disk of {}: logical blocks of {bytes} bytes, the group's are of {group}",
                volume.lid
            );
            return Err(EINVAL);
        }
    }
    Ok(())
}

/// Checks that every device that will be written to is writable. The line gives the entries'
/// original attributes: an entry that is now written may say `ro` there, so its device may have
/// been opened read-only.
fn check_writable(table: &GroupTable, members: &Members) -> Result {
    for (entry, volume) in table.volumes().iter().enumerate() {
        let is_read_only = |disk: &Disk| !disk.may_be_written();
        if table.is_written(entry) && members.disk(entry).is_some_and(is_read_only) {
            let what = match volume.attr {
                Attr::Increments => "increments",
                _ => "disk of",
            };
            log::notice!(
                table.id(),
                "{what} {}: read-only, but it is to be written",
                volume.lid
            );
            return Err(EACCES);
        }
    }
    Ok(())
}

/// Takes samples of the base image and makes sure that all volumes match them.
#[inline(never)]
pub(super) fn take_samples(table: &GroupTable, members: &Members) -> Result<env::Vec<Sample>> {
    flush_base(table, members)?;
    let head = table.head();
    let mut first: Option<(usize, env::Vec<Sample>)> = None;
    for (entry, volume) in table.volumes().iter().enumerate() {
        let in_sync = volume.attr.is_volume() && volume.health == Health::InSync;
        let Some(disk) = members.disk(entry).filter(|_| in_sync) else {
            continue;
        };
        let Some((_, samples)) = &first else {
            let stretches = samples::stretches(&head.uuid, head.sectors);
            let taken = base::take(members, disk, stretches).inspect_err(|error| {
                let errno = error.to_errno();
                log::notice!(
                    table.id(),
                    "disk of {}: can't be read: error {errno}",
                    volume.lid
                );
            })?;
            first = Some((entry, taken));
            continue;
        };
        expect_same(table, entry, base::compare(members, disk, samples)?)?;
    }
    if first.is_none() {
        log::notice!(table.id(), "init: no volume has a disk with the base image");
    }
    first.map(|(_, samples)| samples).ok_or(EINVAL)
}

/// Flushes the disks that will be known to hold the base image. Whoever put that there may have
/// left it in their caches, and nobody flushes such a disk later.
fn flush_base(table: &GroupTable, members: &Members) -> Result {
    for (entry, volume) in table.volumes().iter().enumerate() {
        let has_base = matches!(volume.health, Health::InSync | Health::Verifying);
        let is_due = volume.attr.is_volume() && has_base;
        let Some(disk) = members.disk(entry).filter(|_| is_due) else {
            continue;
        };
        members.flush(disk).inspect_err(|error| {
            let errno = error.to_errno();
            log::notice!(
                table.id(),
                "disk of {}: can't be flushed: error {errno}",
                volume.lid
            );
        })?;
    }
    Ok(())
}

/// Makes sure that every pristine disk holds the base image, except disks that will be compared
/// anyway, and disks that can't be read.
pub(super) fn check_samples(table: &GroupTable, members: &Members, dead: &mut Dead) -> Result {
    for (entry, volume) in table.volumes().iter().enumerate() {
        let has_base = volume.state.pristine && volume.health != Health::Verifying;
        let Some(disk) = members.disk(entry).filter(|_| has_base) else {
            continue;
        };
        let samples = &table.metadata().samples;
        match base::compare(members, disk, samples)? {
            Verdict::Unreadable(error) => dead.add(table, entry, error)?,
            found => expect_same(table, entry, found)?,
        }
    }
    Ok(())
}

/// Refuses the line if a disk does not hold the base image, or can't be read; the log says so.
fn expect_same(table: &GroupTable, entry: usize, found: Verdict) -> Result {
    let lid = table.volume(entry).map_or(*table.id(), |volume| volume.lid);
    match found {
        Verdict::Same => Ok(()),
        Verdict::Partly(sector) => {
            log::notice!(
                table.id(),
                "disk of {lid}: sector {sector} can't be read; all other samples match the base image"
            );
            Ok(())
        }
        Verdict::Differs(sector) => {
            log::notice!(
                table.id(),
                "disk of {lid}: does not hold the base image, see sector {sector}: wrong disk?"
            );
            Err(EINVAL)
        }
        Verdict::Unreadable(error) => {
            let errno = error.to_errno();
            log::notice!(table.id(), "disk of {lid}: can't be read: error {errno}");
            Err(error)
        }
    }
}
