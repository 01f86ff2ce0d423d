// SPDX-License-Identifier: GPL-2.0

//! `write-error`: tells how a device answers a write that it should refuse.

use crate::args::Args;
use crate::device::{Access, Device};
use crate::error::Result;
use crate::pattern::{self, SECTOR};
use crate::sys::{self, Buffer, Mode};

pub(crate) fn run(mut args: Args) -> Result<()> {
    let first: u64 = args.opt_or("sector", 0)?;
    let path = args.finish_one("device")?;
    let device = Device::open(&path, Access::Write)?;
    let mut buffer = Buffer::new(device.block());
    for (index, sector) in buffer.chunks_exact_mut(SECTOR).enumerate() {
        pattern::fill(sector, u64::MAX, first + index as u64, 0);
    }
    match device.write(&buffer, first * SECTOR as u64, Mode::Plain) {
        Ok(()) => println!("none"),
        Err(e) => println!("{}", sys::errno_name(&e)),
    }
    Ok(())
}
