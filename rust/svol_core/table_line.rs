// SPDX-License-Identifier: GPL-2.0

//! The arguments of the targets, as written in a device-mapper table.
//!
//! ```text
//! svol-group <GrpID> <block sectors> <#meta> <meta dev>{1,2}
//!     <#volumes> {<LID> <attr> <dev or -> <RLID or ->}+ [<#feature args> <feature args>]
//! svol <group dev> <LID>
//! ```
//!
//! The type parameter of a parsed line represents a device: first the path that the user wrote,
//! then, after [`TableLine::map_devices`], whatever the caller opened for it. A printed line reads
//! back as an equal line.

mod error;
mod features;
mod parse;

pub use error::{
    LineError,
    LineProblem, //
};
pub use features::{
    Failover,
    Features,
    Init,
    OnFull,
    ReadPolicy, //
};

use super::{
    attr::Attr,
    id::Id, //
};
use crate::env::{
    AllocError,
    Vec, //
};
use core::fmt;

/// The smallest block, in sectors.
pub const MIN_BLOCK_SECTORS: u32 = 8;

/// The largest block, in sectors.
pub const MAX_BLOCK_SECTORS: u32 = 128;

/// The maximum number of metadata copies of a group.
pub const MAX_META_COPIES: usize = 2;

/// The maximum number of entries of a group.
pub const MAX_VOLUMES: usize = 256;

/// The arguments of `svol-group`; `D` stands for a device.
#[derive(Debug, PartialEq)]
pub struct TableLine<D> {
    /// The ID of the group.
    pub group: Id,
    /// The length of the target, in sectors; not zero.
    pub sectors: u64,
    /// The size of a block, in sectors: a power of two from [`MIN_BLOCK_SECTORS`] to
    /// [`MAX_BLOCK_SECTORS`].
    pub block_sectors: u32,
    /// The metadata devices, 1 or [`MAX_META_COPIES`]; `None` for one that is not here. At least
    /// one is.
    pub meta: Vec<Option<D>>,
    /// The entries, 1 to [`MAX_VOLUMES`], in the order of the line.
    pub volumes: Vec<VolumeLine<D>>,
    /// The features, with defaults for those that the line does not give.
    pub features: Features,
}

/// One entry of the line.
#[derive(Debug, PartialEq)]
pub struct VolumeLine<D> {
    /// The ID of the entry; no other entry has it.
    pub lid: Id,
    /// Its role.
    pub attr: Attr,
    /// Its device; `None` if it is not here.
    pub dev: Option<D>,
    /// The increments entry of the same line that takes its changes.
    pub rlid: Option<Id>,
}

/// What a device of the line is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeviceRole {
    /// A metadata copy, counting from 0.
    Meta(usize),
    /// The disk of an entry, counting from 0.
    Volume(usize),
}

/// The name of a metadata device for people: they count from one, the code from zero.
#[derive(Clone, Copy)]
pub struct MetaDevice(pub usize);

impl fmt::Display for MetaDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "metadata device {}", self.0.saturating_add(1))
    }
}

impl<D> TableLine<D> {
    /// The same line with other devices: `open` is called for each device that is here, metadata
    /// first, and returns what represents it from now on.
    ///
    /// # Errors
    ///
    /// The first error of `open`; what was opened before is dropped.
    #[inline(never)]
    pub fn map_devices<E, Error>(
        &self,
        mut open: impl FnMut(&D, DeviceRole) -> Result<E, Error>,
    ) -> Result<TableLine<E>, Error>
    where
        Error: From<AllocError>,
    {
        let mut meta = Vec::try_with_capacity(self.meta.len())?;
        for (i, dev) in self.meta.iter().enumerate() {
            let opened = match dev {
                Some(dev) => Some(open(dev, DeviceRole::Meta(i))?),
                None => None,
            };
            meta.try_push(opened)?;
        }

        let mut volumes = Vec::try_with_capacity(self.volumes.len())?;
        for (i, volume) in self.volumes.iter().enumerate() {
            let opened = match &volume.dev {
                Some(dev) => Some(open(dev, DeviceRole::Volume(i))?),
                None => None,
            };
            volumes.try_push(VolumeLine {
                lid: volume.lid,
                attr: volume.attr,
                dev: opened,
                rlid: volume.rlid,
            })?;
        }

        Ok(TableLine {
            group: self.group,
            sectors: self.sectors,
            block_sectors: self.block_sectors,
            meta,
            volumes,
            features: self.features,
        })
    }

    /// The index of the entry `lid`.
    pub fn position(&self, lid: &Id) -> Option<usize> {
        self.volumes.iter().position(|volume| volume.lid == *lid)
    }

    /// Prints the arguments; `dev` prints a device, as a word without spaces.
    ///
    /// Features that have their default value are omitted, and so are entries for which
    /// `is_removed` says that they left the group. Entries that were `added` to the group come
    /// after those of the line.
    ///
    /// # Errors
    ///
    /// Those of `out` and `dev`.
    pub fn write<F>(
        &self,
        out: &mut dyn fmt::Write,
        added: &[VolumeLine<D>],
        is_removed: impl Fn(usize) -> bool,
        mut dev: F,
    ) -> fmt::Result
    where
        F: FnMut(&mut dyn fmt::Write, &D) -> fmt::Result,
    {
        let mut dev_or_dash = |out: &mut dyn fmt::Write, device: &Option<D>| match device {
            Some(device) => dev(out, device),
            None => out.write_str("-"),
        };

        write!(out, "{} {}", self.group, self.block_sectors)?;
        write!(out, " {}", self.meta.len())?;
        for device in self.meta.iter() {
            out.write_str(" ")?;
            dev_or_dash(out, device)?;
        }
        let entries = || {
            let entries = Iterator::chain(self.volumes.iter(), added).enumerate();
            entries.filter(|(entry, _)| !is_removed(*entry))
        };
        write!(out, " {}", entries().count())?;
        for (_, volume) in entries() {
            write!(out, " {} {} ", volume.lid, volume.attr)?;
            dev_or_dash(out, &volume.dev)?;
            match &volume.rlid {
                Some(rlid) => write!(out, " {rlid}")?,
                None => out.write_str(" -")?,
            }
        }
        self.features.write(out)
    }
}

/// The arguments of `svol`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SvolLine<'a> {
    /// The path of the group's device.
    pub group_dev: &'a [u8],
    /// The volume of that group.
    pub lid: Id,
}
