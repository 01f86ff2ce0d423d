// SPDX-License-Identifier: GPL-2.0

//! Lines in the kernel log.
//!
//! A line starts with `dm_svol:`, then the group's ID (or `?` if there is none yet). What was
//! refused is a notice; warnings are for failures of devices. Documentation/dm-svol.rst lists the
//! lines that administrators should know.

/// Something the administrator should know, or did wrong.
macro_rules! notice {
    ($who:expr, $($text:tt)*) => {
        kernel::pr_notice!(
            "{}: {}\n",
            core::format_args!("{}", $who),
            core::format_args!($($text)*)
        )
    };
}

/// Something failed, but the group goes on.
macro_rules! warning {
    ($who:expr, $($text:tt)*) => {
        kernel::pr_warn!(
            "{}: {}\n",
            core::format_args!("{}", $who),
            core::format_args!($($text)*)
        )
    };
}

/// A normal event.
macro_rules! info {
    ($who:expr, $($text:tt)*) => {
        kernel::pr_info!(
            "{}: {}\n",
            core::format_args!("{}", $who),
            core::format_args!($($text)*)
        )
    };
}

pub(crate) use {
    info,
    notice,
    warning, //
};
