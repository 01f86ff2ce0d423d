// SPDX-License-Identifier: GPL-2.0

//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Looks at metadata and increments devices of dm-svol that are not in use.
#[derive(Parser)]
#[command(name = "svol", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Shows what is on a metadata or increments device.
    Dump(Dump),
    /// Checks a metadata or increments device, without writing to it.
    ///
    /// Exit status: 0 all is well; 1 damaged, but there is another copy of it; 2 data is at risk;
    /// 4 it could not be checked.
    Check(Check),
    /// Shows what volumes have changed, from their increments device.
    ///
    /// Exit status: 0 all is well; 2 something may be missing, or out of date; 4 it could not be
    /// done.
    Diff(Diff),
}

#[derive(Args)]
pub(crate) struct Dump {
    /// The device, or a file with an image of it.
    pub(crate) device: PathBuf,
    /// Shows it as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Shows each entry of an increments device.
    #[arg(long)]
    pub(crate) entries: bool,
}

#[derive(Args)]
pub(crate) struct Check {
    /// The device, or a file with an image of it.
    pub(crate) device: PathBuf,
    /// Shows the findings as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Diff {
    /// The increments device, or a file with an image of it.
    pub(crate) device: PathBuf,
    /// Only this volume.
    #[arg(long)]
    pub(crate) lid: Option<String>,
    /// Shows the ranges as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Writes what the volume has changed to a new sparse file, as large as the volume.
    #[arg(long, value_name = "FILE")]
    pub(crate) sparse: Option<PathBuf>,
    /// Writes the whole volume to a new file: what it has changed, and the rest from --base.
    #[arg(
        long,
        value_name = "FILE",
        requires = "base",
        conflicts_with = "sparse"
    )]
    pub(crate) image: Option<PathBuf>,
    /// A disk that holds the base image, or a file with an image of it. With --meta, samples of it
    /// are checked.
    #[arg(long, value_name = "DEVICE", requires = "image")]
    pub(crate) base: Option<PathBuf>,
    /// Metadata device of the group: it knows whether a volume wrote without increments. Once for
    /// each copy.
    #[arg(long, value_name = "DEVICE")]
    pub(crate) meta: Vec<PathBuf>,
}
