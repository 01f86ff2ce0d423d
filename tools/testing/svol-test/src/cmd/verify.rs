// SPDX-License-Identifier: GPL-2.0

//! `verify`: compares devices with an image, in one sequential pass.

use crate::args::Args;
use crate::device::{Access, Device};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::pattern::SECTOR;

pub(crate) fn run(mut args: Args) -> Result<()> {
    let seed = args.opt_or("seed", 1)?;
    let chunk = args.opt_or("chunk", 1usize << 20)?;
    let state: Option<String> = args.opt("state")?;
    for path in args.finish()? {
        let device = Device::open(&path, Access::Read)?;
        let mut image = Image::load(seed, device.sectors(), state.as_deref())?;
        let part = image.whole();
        device.for_each_chunk(chunk.next_multiple_of(device.block()), |at, data| {
            let sector = usize::try_from(at / SECTOR as u64).unwrap_or(usize::MAX);
            let checked = part.check(sector, data);
            checked.map_err(|e| Error::new(format!("{path}: {e}")))
        })?;
    }
    Ok(())
}
