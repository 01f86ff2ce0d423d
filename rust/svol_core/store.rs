// SPDX-License-Identifier: GPL-2.0

//! Increments store: keeps the changes of volumes, on a device of its own.
//!
//! Documentation/on-disk-format.rst describes the format field by field. In short: a store serves
//! several *owners*, volumes that each have a number in it. Its data area is made of *segments*: a
//! run of sectors with *entries*, then a *slot* of one block for each of them. An entry says which
//! block of which owner, if any, is in the slot, and which of its sub-blocks are valid.
//!
//! Each sector of metadata is self-contained: it has a checksum and says where it belongs, so that
//! every mixture of old and new sectors is a valid state of the store.
//!
//! # Writing
//!
//! The caller does the I/O. These rules make every crash harmless.
//!
//! 1. Whatever has two copies (header, owner table) is written with FUA, first copy 0 and only then
//!    copy 1, and takes effect when both are durable. So the other copy can replace a damaged one:
//!    at worst it lacks a change that had not taken effect.
//! 2. A commit takes the entries that changed and whose data has been written; flushes; writes
//!    their sectors; flushes again. Only then does anything rely on them.
//! 3. A block that is given up and written again before the next commit keeps its slot. So no block
//!    of an owner is ever in two slots, whatever mixture of sectors a crash leaves.
//! 4. A slot is reused only after the commit that freed it.
//! 5. A segment is formatted, then flushed, then counted in the header.

pub mod entries;
#[cfg(any(test, CONFIG_KUNIT))]
mod format_tests;
mod header;
pub mod intent;
mod judge;
pub mod layout;
mod load;
mod owner;
mod pair;
mod probe;
mod sector;

pub use header::{
    Header,
    Phase, //
};
pub use judge::{
    judge,
    judge_again,
    least_seen,
    Expected,
    Plan,
    Refusal, //
};
pub use layout::Layout;
pub use load::{
    Content,
    Damage,
    EntryError,
    LoadError,
    Source,
    StoredOwner, //
};
pub use owner::{
    Owner,
    OwnerRecord, //
};
pub use pair::{
    Chosen,
    CopyState,
    PairError, //
};
pub use probe::Probe;
pub use sector::SectorError;

/// The version of the format.
pub const VERSION: u32 = 1;

/// The unit of integrity, in bytes.
pub const SECTOR_BYTES: usize = 512;

/// A sector, as it is on the device.
pub type Sector = [u8; SECTOR_BYTES];

/// The copies of the header and of the owner table.
pub const COPIES: usize = 2;

/// Owner numbers are below this; 0 is no owner.
pub const OWNERS: u16 = 256;
