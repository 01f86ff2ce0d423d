// SPDX-License-Identifier: GPL-2.0

//! `nowait`: reads with RWF_NOWAIT. A device either supports them, and then
//! gives right data or EAGAIN, or says EOPNOTSUPP to every one.

use crate::args::Args;
use crate::device::{Access, Device};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::pattern::SECTOR;
use crate::rng::Rng;
use crate::sys::{Buffer, Mode};

pub(crate) fn run(mut args: Args) -> Result<()> {
    let seed = args.opt_or("seed", 1)?;
    let ops: u64 = args.opt_or("ops", 200)?;
    let path = args.finish_one("device")?;
    let device = Device::open(&path, Access::Read)?;
    let mut image = Image::base(seed, device.sectors());
    let part = image.whole();
    let mut rng = Rng::new(seed, 0);
    let mut buffer = Buffer::new(device.block());
    let (mut done, mut again, mut refused) = (0u64, 0u64, 0u64);
    for _ in 0..ops {
        let at = rng.below(device.bytes() / device.block() as u64) * device.block() as u64;
        match device.read(&mut buffer, at, Mode::NoWait) {
            Ok(()) => {
                done += 1;
                let sector = usize::try_from(at / SECTOR as u64).unwrap_or(usize::MAX);
                part.check(sector, &buffer)?;
            }
            Err(e) => match e.raw_os_error() {
                Some(libc::EAGAIN) => again += 1,
                Some(libc::EOPNOTSUPP) => refused += 1,
                _ => return Err(device.error("read with RWF_NOWAIT", &e)),
            },
        }
    }
    println!("{path}: {done} done, {again} EAGAIN, {refused} EOPNOTSUPP");
    if refused > 0 && refused < ops {
        return Err(Error::new(
            "RWF_NOWAIT is refused for a part of the reads only",
        ));
    }
    if refused == 0 && done == 0 {
        return Err(Error::new("no read with RWF_NOWAIT ever succeeded"));
    }
    Ok(())
}
