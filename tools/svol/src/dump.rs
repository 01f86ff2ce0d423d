// SPDX-License-Identifier: GPL-2.0

//! `svol dump`: what is on a device.

mod metadata;
mod store;

use crate::{cli::Dump, device::Device, kind::Kind, CLEAN};
use anyhow::{bail, Result};

pub(crate) fn run(args: &Dump) -> Result<u8> {
    let device = Device::open(&args.device)?;
    match Kind::of(&device) {
        Kind::Metadata => metadata::dump(&device, args)?,
        Kind::Increments => store::dump(&device, args)?,
        Kind::Unknown => bail!(
            "{} holds neither metadata nor an increments store",
            args.device.display()
        ),
    }
    Ok(CLEAN)
}
