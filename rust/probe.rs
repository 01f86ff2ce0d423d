// SPDX-License-Identifier: GPL-2.0

//! Opens the devices of a group's table line and checks whether they fit.
//!
//! Does not read from them or write to them: it is not known yet whether the table will ever be
//! live.

use crate::{
    dm::{
        device_number,
        DeviceNumber,
        IoClient,
        LegPool,
        Mode,
        Setup,
        SetupError, //
    },
    group::Group,
    log,
    members::{
        Disk,
        Members, //
    },
    registry::Registry,
    svol_core::{
        attr::Attr,
        meta,
        table_line::{
            DeviceRole,
            MetaDevice,
            TableLine, //
        },
        text::Quoted, //
    },
};
use core::fmt;
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// Smallest increments volume in sectors (4 MiB).
const MIN_INCREMENTS_SECTORS: u64 = 8192;

/// Largest logical block size that the metadata format supports, in bytes.
const MAX_LOGICAL_BLOCK: u32 = 4096;

/// The next table's number.
static TABLES: Atomic<u64> = Atomic::new(0);

/// Names a device of the line for the user, counting from one.
struct Which<'a, D> {
    line: &'a TableLine<D>,
    role: DeviceRole,
}

impl<D> fmt::Display for Which<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.role {
            DeviceRole::Meta(i) => write!(f, "{}", MetaDevice(i)),
            DeviceRole::Volume(i) => {
                write!(f, "volume {}", i.saturating_add(1))?;
                match self.line.volumes.get(i) {
                    Some(volume) => write!(f, " ({}): dev", volume.lid),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Opens and checks all devices that the line names.
///
/// # Errors
///
/// The error names the device; details are logged.
pub(crate) fn open(
    setup: &mut Setup<'_>,
    registry: &Registry,
    line: &TableLine<&[u8]>,
) -> Result<(TableLine<DeviceNumber>, Members), SetupError> {
    let mut members = Members {
        table: TABLES.fetch_add(1, Relaxed),
        sectors: line.sectors,
        meta: KVec::with_capacity(line.meta.len(), GFP_KERNEL)?,
        disks: KVec::with_capacity(line.volumes.len(), GFP_KERNEL)?,
        io: IoClient::new()?,
        legs: KBox::pin_init(LegPool::new(), GFP_KERNEL)?,
        event: setup.event(),
    };
    for _ in line.meta.iter() {
        members.meta.push(None, GFP_KERNEL)?;
    }
    for _ in line.volumes.iter() {
        members.disks.push(None, GFP_KERNEL)?;
    }

    let opened = line.map_devices(|path, role| -> Result<DeviceNumber, SetupError> {
        let which = Which { line, role };
        let refuse = |reason, error, detail: fmt::Arguments<'_>| {
            log::notice!(line.group, "{which}: {}: {detail}", Quoted(path));
            Err(SetupError::new(reason, error))
        };
        let attr = match role {
            DeviceRole::Meta(_) => None,
            DeviceRole::Volume(i) => line.volumes.get(i).map(|v| v.attr),
        };

        let cant_open = |error: Error| {
            let errno = error.to_errno();
            refuse(
                unusable(attr),
                error,
                format_args!("can't open: error {errno}"),
            )
        };

        let number = match device_number(path) {
            Ok(number) => number,
            Err(error) => return cant_open(error),
        };
        if let Some((_, role)) = members.numbers().find(|(n, _)| *n == number) {
            let other = Which { line, role };
            return refuse(
                named_before(attr),
                EINVAL,
                format_args!("the same device as {other}"),
            );
        }
        if let Err(group) = registry.check_device(setup.number(), number) {
            return refuse(
                busy(attr),
                EBUSY,
                format_args!("in use by the group {group}"),
            );
        }

        // Only repair and rebuild ever write to the disk of a read-only volume, so the disk may be
        // read-only, too.
        let is_ro = attr == Some(Attr::Ro);
        let device = match setup.device(path, Mode::ReadWrite) {
            Err(_) if is_ro => setup.device(path, Mode::Read).map(|device| (device, false)),
            device => device.map(|device| (device, true)),
        };
        let (device, is_writable) = match device {
            Ok(opened) => opened,
            Err(EBUSY) => return refuse(busy(attr), EBUSY, format_args!("in use")),
            Err(error) => return cant_open(error),
        };

        let needed = match attr {
            None => meta::MIN_DEVICE_SECTORS,
            Some(Attr::Increments) => MIN_INCREMENTS_SECTORS,
            Some(_) => line.sectors,
        };
        if device.sectors() < needed {
            return refuse(
                too_small(attr),
                EINVAL,
                format_args!("{} sectors, needs {needed}", device.sectors()),
            );
        }
        let block = device.logical_block_size();
        if block > MAX_LOGICAL_BLOCK || needed.checked_rem(u64::from(block >> 9)) != Some(0) {
            return refuse(
                bad_block_size(attr),
                EINVAL,
                format_args!("logical blocks of {block} bytes"),
            );
        }
        if !is_ro && device.is_read_only() {
            return refuse(unusable(attr), EACCES, format_args!("read-only"));
        }

        match role {
            DeviceRole::Meta(i) => {
                if let Some(slot) = members.meta.get_mut(i) {
                    *slot = Some(device);
                }
            }
            DeviceRole::Volume(i) => {
                if let Some(slot) = members.disks.get_mut(i) {
                    let is_data = attr != Some(Attr::Increments);
                    *slot = Some(Disk::new(device, is_data, is_writable)?);
                }
            }
        }
        Ok(number)
    })?;
    Ok((opened, members))
}

fn named_before(attr: Option<Attr>) -> &'static CStr {
    match attr {
        None => c"meta dev: named before",
        Some(_) => c"dev: named before",
    }
}

/// Checks that the group does not use the devices of its own volumes: it would wait for itself.
///
/// # Errors
///
/// The error names the device; details are logged.
pub(crate) fn check_loops(
    line: &TableLine<DeviceNumber>,
    members: &Members,
    group: &Group,
) -> Result<(), SetupError> {
    for (number, role) in members.numbers() {
        if let Some(lid) = group.loaded_on(number) {
            let which = Which { line, role };
            log::notice!(
                line.group,
                "{which}: {number} is the volume {lid} of this group"
            );
            let attr = match role {
                DeviceRole::Meta(_) => None,
                DeviceRole::Volume(i) => line.volumes.get(i).map(|volume| volume.attr),
            };
            return Err(SetupError::new(busy(attr), EBUSY));
        }
    }
    Ok(())
}

fn busy(attr: Option<Attr>) -> &'static CStr {
    match attr {
        None => c"meta dev: in use",
        Some(Attr::Increments) => c"dev: increments device in use",
        Some(_) => c"dev: in use",
    }
}

fn unusable(attr: Option<Attr>) -> &'static CStr {
    match attr {
        None => c"meta dev: can't be opened for writing",
        Some(Attr::Increments) => c"dev: increments device can't be opened for writing",
        Some(_) => c"dev: can't be opened",
    }
}

fn bad_block_size(attr: Option<Attr>) -> &'static CStr {
    match attr {
        None => c"meta dev: logical block size does not fit the group",
        Some(_) => c"dev: logical block size does not fit the group",
    }
}

fn too_small(attr: Option<Attr>) -> &'static CStr {
    match attr {
        None => c"meta dev: too small",
        Some(Attr::Increments) => c"dev: increments device too small",
        Some(_) => c"dev: smaller than the group",
    }
}
