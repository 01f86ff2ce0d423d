// SPDX-License-Identifier: GPL-2.0

//! `hold`: keeps a device in exclusive use, as a mount does.

use std::thread;
use std::time::Duration;

use crate::args::Args;
use crate::device::{Access, Device};
use crate::error::Result;
use crate::sys;

pub(crate) fn run(args: Args) -> Result<()> {
    let path = args.finish_one("device")?;
    sys::catch_stop_signals();
    let _device = Device::open(&path, Access::Exclusive)?;
    println!("held");
    while !sys::stopped() {
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
