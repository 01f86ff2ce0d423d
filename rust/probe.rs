// SPDX-License-Identifier: GPL-2.0

//! Opens the devices of a group's table line and checks whether they fit.
//!
//! Does not read from them or write to them: it is not known yet whether the table will ever be
//! live.

use crate::{
    dm::{
        device_number,
        Device,
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

impl<D> Which<'_, D> {
    /// The attribute of its entry; none if it is a metadata device.
    fn attr(&self) -> Option<Attr> {
        match self.role {
            DeviceRole::Meta(_) => None,
            DeviceRole::Volume(i) => self.line.volumes.get(i).map(|volume| volume.attr),
        }
    }
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

/// A device that the line names, and that is to be opened.
struct Named<'a> {
    which: Which<'a, &'a [u8]>,
    path: &'a [u8],
    /// See [`Which::attr`].
    attr: Option<Attr>,
}

impl Named<'_> {
    /// Logs why the line is refused: `reason` is for the caller of the ioctl, `detail` for the log.
    fn refuse(
        &self,
        reason: &'static CStr,
        error: Error,
        detail: fmt::Arguments<'_>,
    ) -> SetupError {
        let which = &self.which;
        log::notice!(which.line.group, "{which}: {}: {detail}", Quoted(self.path));
        SetupError::new(reason, error)
    }

    fn cant_open(&self, error: Error) -> SetupError {
        let errno = error.to_errno();
        self.refuse(
            unusable(self.attr),
            error,
            format_args!("can't open: error {errno}"),
        )
    }

    /// Finds out its number, and checks that neither another group uses it nor this line, of which
    /// `members` have been opened so far. May sleep for whatever serves the path.
    fn number(
        &self,
        setup: &Setup<'_>,
        registry: &Registry,
        members: &Members,
    ) -> Result<DeviceNumber, SetupError> {
        let number = device_number(self.path).map_err(|error| self.cant_open(error))?;
        if let Some((_, role)) = members.numbers().find(|(n, _)| *n == number) {
            let other = Which { role, ..self.which };
            return Err(self.refuse(
                named_before(self.attr),
                EINVAL,
                format_args!("the same device as {other}"),
            ));
        }
        if let Err(group) = registry.check_device(setup.number(), number) {
            return Err(self.refuse(
                busy(self.attr),
                EBUSY,
                format_args!("in use by the group {group}"),
            ));
        }
        Ok(number)
    }

    /// Whether it is the disk of a read-only volume. Only repair and rebuild ever write to that, so
    /// it may be read-only, too.
    fn may_be_read_only(&self) -> bool {
        self.attr == Some(Attr::Ro)
    }

    /// Opens it; returns it, and whether it may be written to. May sleep for it.
    fn open(&self, setup: &mut Setup<'_>) -> Result<(Device, bool), SetupError> {
        let opened = match setup.device(self.path, Mode::ReadWrite) {
            Err(_) if self.may_be_read_only() => {
                let device = setup.device(self.path, Mode::Read);
                device.map(|device| (device, false))
            }
            device => device.map(|device| (device, true)),
        };
        opened.map_err(|error| match error {
            EBUSY => self.refuse(busy(self.attr), EBUSY, format_args!("in use")),
            error => self.cant_open(error),
        })
    }

    /// Checks that it is as the group needs it, by what the kernel knows of it.
    fn check(&self, device: &Device) -> Result<(), SetupError> {
        let needed = match self.attr {
            None => meta::MIN_DEVICE_SECTORS,
            Some(Attr::Increments) => MIN_INCREMENTS_SECTORS,
            Some(_) => self.which.line.sectors,
        };
        if device.sectors() < needed {
            return Err(self.refuse(
                too_small(self.attr),
                EINVAL,
                format_args!("{} sectors, needs {needed}", device.sectors()),
            ));
        }
        let block = device.logical_block_size();
        if block > MAX_LOGICAL_BLOCK || needed.checked_rem(u64::from(block >> 9)) != Some(0) {
            return Err(self.refuse(
                bad_block_size(self.attr),
                EINVAL,
                format_args!("logical blocks of {block} bytes"),
            ));
        }
        if !self.may_be_read_only() && device.is_read_only() {
            return Err(self.refuse(unusable(self.attr), EACCES, format_args!("read-only")));
        }
        Ok(())
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
        let named = Named {
            attr: which.attr(),
            which,
            path,
        };
        let number = named.number(setup, registry, &members)?;
        let (device, is_writable) = named.open(setup)?;
        named.check(&device)?;
        match role {
            DeviceRole::Meta(i) => {
                if let Some(slot) = members.meta.get_mut(i) {
                    *slot = Some(device);
                }
            }
            DeviceRole::Volume(i) => {
                if let Some(slot) = members.disks.get_mut(i) {
                    let is_data = named.attr != Some(Attr::Increments);
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
            return Err(SetupError::new(busy(which.attr()), EBUSY));
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
