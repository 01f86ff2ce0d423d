// SPDX-License-Identifier: GPL-2.0

//! `corrupt`: flips one bit of a device, as a bad disk or cable may do.

use crate::args::Args;
use crate::device::{Access, Device};
use crate::error::{Error, Result};
use crate::pattern::SECTOR;
use crate::sys::{Buffer, Mode};

pub(crate) fn run(mut args: Args) -> Result<()> {
    let sector: u64 = args.opt_or("sector", 0)?;
    let byte: usize = args.opt_or("byte", 0)?;
    let device = Device::open(&args.finish_one("device")?, Access::Write)?;
    let block = device.block();
    let place = sector * SECTOR as u64;
    let start = place / block as u64 * block as u64;
    let mut buffer = Buffer::new(block);
    let read = device.read(&mut buffer, start, Mode::Plain);
    read.map_err(|e| device.error("read", &e))?;
    let at = usize::try_from(place - start).unwrap_or(0) + byte;
    match buffer.get_mut(at) {
        Some(byte) => *byte ^= 1,
        None => return Err(Error::new(format!("no byte {byte} in a sector"))),
    }
    let written = device.write(&buffer, start, Mode::Plain);
    written.map_err(|e| device.error("write", &e))?;
    device.flush().map_err(|e| device.error("flush", &e))
}
