// SPDX-License-Identifier: GPL-2.0

//! `sectors`: the numbers of the sectors that hold anything but zeroes.

use crate::args::Args;
use crate::device::{Access, Device};
use crate::error::Result;
use crate::pattern::SECTOR;

pub(crate) fn run(args: Args) -> Result<()> {
    let device = Device::open(&args.finish_one("device")?, Access::Read)?;
    device.for_each_chunk(1 << 20, |at, data| {
        for (index, sector) in data.chunks_exact(SECTOR).enumerate() {
            if sector.iter().any(|byte| *byte != 0) {
                println!("{}", at / SECTOR as u64 + index as u64);
            }
        }
        Ok(())
    })
}
