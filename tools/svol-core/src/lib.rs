// SPDX-License-Identifier: GPL-2.0

//! The host build of the dm-svol core.
//!
//! The module's pure core (on-disk formats, parsers, group table, routing) lives in
//! `rust/svol_core`. The very same files are compiled here, so that tools and tests on the host
//! share one implementation with the kernel. [`mod@env`] is this side's half of the little that the
//! core asks of its surroundings.

#![no_std]
// A panic in the kernel stops the machine: what could panic, does not pass here.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used,
    )
)]

pub mod env;

// A file that is included by its own path looks for its submodules beside itself, so the folder
// is named instead.
#[path = "../../../rust"]
mod module {
    pub mod svol_core;
}

pub use module::svol_core;
