// SPDX-License-Identifier: GPL-2.0

//! `claim`: proves that nobody holds the devices any more.

use crate::args::Args;
use crate::device::{Access, Device};
use crate::error::Result;

pub(crate) fn run(args: Args) -> Result<()> {
    for path in args.finish()? {
        Device::open(&path, Access::Exclusive)?;
    }
    Ok(())
}
