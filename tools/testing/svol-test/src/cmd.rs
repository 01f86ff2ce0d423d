// SPDX-License-Identifier: GPL-2.0

//! The commands, one file each.

pub(crate) mod claim;
pub(crate) mod corrupt;
pub(crate) mod digest;
pub(crate) mod fail_nth;
pub(crate) mod files;
pub(crate) mod fill;
pub(crate) mod fuzz_message;
pub(crate) mod fuzz_table;
pub(crate) mod hold;
pub(crate) mod klog;
pub(crate) mod log_writes;
pub(crate) mod model;
pub(crate) mod nowait;
pub(crate) mod random_io;
pub(crate) mod sectors;
pub(crate) mod steps;
pub(crate) mod tally;
pub(crate) mod try_lines;
pub(crate) mod verify;
pub(crate) mod write_error;
