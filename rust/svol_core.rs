// SPDX-License-Identifier: GPL-2.0

//! The pure core: what a group is, how it is stored on disk, and where its I/O goes.
//!
//! Nothing here depends on the kernel: no kernel types, no I/O, no locks. The same files are built
//! into the module and, on the host, into tools and tests. The only outside dependency is
//! `crate::env`: a vector whose growth can fail, and CRC-32C.
//!
//! Rules for this code: nothing panics, every allocation can fail, arithmetic is checked or
//! saturates, and stack frames stay small. Functions that move whole lines or tables are not
//! inlined, so that their frames do not add to the caller's.
//!
//! Units: a *sector* is 512 bytes; a *block* is the unit of the increments map, 8 to 128 sectors;
//! a *sub-block* is 4 KiB.

pub mod attr;
pub mod bad_blocks;
pub mod block_map;
pub mod changes;
pub mod counter;
pub mod deadline;
pub mod entry_set;
pub mod fate;
pub mod fault;
pub mod flag;
pub mod flush_request;
pub mod freq;
pub mod grace;
pub mod group;
pub mod hash;
pub mod health;
pub mod id;
pub mod intents;
pub mod log_mode;
pub mod message;
pub mod meta;
pub mod pace;
pub mod redos;
pub mod regions;
pub mod repair_gate;
pub mod route;
pub mod samples;
pub mod select;
pub mod silence;
pub mod slots;
pub mod store;
pub mod store_fate;
pub mod table_line;
pub mod text;
pub mod turns;
pub mod update;
pub mod write_locks;

mod args;
mod fields;
mod vec;
mod words;
