// SPDX-License-Identifier: GPL-2.0

//! `fill`: writes an image to devices.

use crate::args::Args;
use crate::device::{chunk_len, Access, Device};
use crate::error::Result;
use crate::pattern::{self, SECTOR};
use crate::sys::{Buffer, Mode};

const CHUNK: usize = 1 << 20;

pub(crate) fn run(mut args: Args) -> Result<()> {
    let seed = args.opt_or("seed", 1)?;
    let paths = args.finish()?;
    let devices: Vec<Device> = paths
        .iter()
        .map(|path| Device::open(path, Access::Write))
        .collect::<Result<_>>()?;
    let longest = devices.iter().map(Device::bytes).max().unwrap_or(0);
    let mut buffer = Buffer::new(CHUNK);
    let mut at = 0;
    while at < longest {
        // The content depends on seed and place only: made once for all devices.
        for (index, sector) in buffer.chunks_exact_mut(SECTOR).enumerate() {
            pattern::fill(sector, seed, at / SECTOR as u64 + index as u64, 0);
        }
        for device in devices.iter().filter(|d| d.bytes() > at) {
            let part = &buffer[..chunk_len(CHUNK, device.bytes() - at)];
            device
                .write(part, at, Mode::Plain)
                .map_err(|e| device.error(&format!("write at {at}"), &e))?;
        }
        at += CHUNK as u64;
    }
    for device in &devices {
        device.flush().map_err(|e| device.error("flush", &e))?;
    }
    Ok(())
}
