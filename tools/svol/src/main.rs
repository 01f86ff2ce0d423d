// SPDX-License-Identifier: GPL-2.0

//! Looks at dm-svol devices while they are not in use: shows what is on them, checks it, and tells
//! what a volume has changed. It only ever reads them.
//!
//! The formats are those of the module: both are built from the same files.

// Whatever is on a device: it may be damaged in any way.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used,
    )
)]

mod check;
mod cli;
mod device;
mod diff;
mod dump;
mod finding;
mod kind;
mod marks;
mod output;
mod ranges;
mod spans;
mod sparse;
mod store;
mod stray;
mod warnings;

use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;

/// Nothing to complain of.
const CLEAN: u8 = 0;
/// Something is damaged, and nothing is lost: there is another copy of it.
const REPAIRABLE: u8 = 1;
/// Something is damaged, and what it said may be lost.
const AT_RISK: u8 = 2;
/// It could not be done: wrong arguments, no such device, device in use, disk full.
const FAILED: u8 = 4;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // Help and version come here too.
            return ExitCode::from(if error.use_stderr() { FAILED } else { CLEAN });
        }
    };
    let result = match &cli.command {
        Command::Dump(args) => dump::run(args),
        Command::Check(args) => check::run(args),
        Command::Diff(args) => diff::run(args),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            output::say(format_args!("{error:#}"));
            ExitCode::from(FAILED)
        }
    }
}
