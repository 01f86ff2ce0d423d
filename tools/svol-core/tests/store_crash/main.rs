// SPDX-License-Identifier: GPL-2.0

//! An increments store through crashes: whatever a power cut leaves of what was written, every
//! sector holds some value that was written there, and nothing that was flushed is lost.

mod check;
#[path = "../common/mod.rs"]
mod common;
mod device;
mod driver;
mod exhaustive;
mod model;
mod random;
mod world;
