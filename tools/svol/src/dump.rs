// SPDX-License-Identifier: GPL-2.0

//! `svol dump`: what is on a device.

mod metadata;
mod store;

use crate::{cli::Dump, device::Device, kind::Kind, output::unless_unread, CLEAN};
use anyhow::Result;

pub(crate) fn run(args: &Dump) -> Result<u8> {
    let device = Device::open(&args.device)?;
    let printed = match Kind::of(&device, &args.device)? {
        Kind::Metadata => metadata::dump(&device, args),
        Kind::Increments => store::dump(&device, args),
    };
    unless_unread(printed)?;
    Ok(CLEAN)
}
