// SPDX-License-Identifier: GPL-2.0

//! `digest`: one line per device that changes when any byte of it changes.

use crate::args::Args;
use crate::device::{Access, Device};
use crate::error::Result;
use crate::pattern::{self, SECTOR};

pub(crate) fn run(args: Args) -> Result<()> {
    for path in args.finish()? {
        let device = Device::open(&path, Access::Read)?;
        let mut sum = 0u64;
        device.for_each_chunk(1 << 20, |at, data| {
            for (index, sector) in data.chunks_exact(SECTOR).enumerate() {
                let number = at / SECTOR as u64 + index as u64;
                sum = sum.wrapping_add(pattern::digest(sector, number));
            }
            Ok(())
        })?;
        println!("{path} {sum:016x}");
    }
    Ok(())
}
