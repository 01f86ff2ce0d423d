// SPDX-License-Identifier: GPL-2.0

//! `svol check`: looks for everything that is not as the format says.

mod metadata;
mod store;

use crate::{cli::Check, device::Device, finding::Findings, kind::Kind};
use anyhow::Result;

pub(crate) fn run(args: &Check) -> Result<u8> {
    let device = Device::open(&args.device)?;
    let mut findings = Findings::default();
    let kind = match Kind::of(&device, &args.device)? {
        Kind::Metadata => {
            metadata::check(&device, &mut findings)?;
            "metadata"
        }
        Kind::Increments => {
            store::check(&device, &mut findings)?;
            "increments store"
        }
    };
    findings.print(kind, args.json)
}
