// SPDX-License-Identifier: GPL-2.0

//! `svol check`: looks for everything that is not as the format says.

mod metadata;
mod store;

use crate::{cli::Check, device::Device, finding::Findings, kind::Kind};
use anyhow::Result;

pub(crate) fn run(args: &Check) -> Result<u8> {
    let device = Device::open(&args.device)?;
    let mut findings = Findings::default();
    let kind = Kind::of(&device, &args.device)?;
    match kind {
        Kind::Metadata => metadata::check(&device, &mut findings)?,
        Kind::Increments => store::check(&device, &mut findings)?,
    }
    findings.print(kind, args.json)
}
