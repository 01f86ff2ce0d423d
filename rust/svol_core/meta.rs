// SPDX-License-Identifier: GPL-2.0

//! Group metadata: what a group records about itself, on one or two devices.
//!
//! Documentation/on-disk-format.rst describes the format field by field. In short: a device holds
//! one *copy*. A copy has two *slots*, and a slot holds one *generation*: a body of records, and
//! a header sector that names the body by length and checksum. Generation `n` lives in slot
//! `n % 2` of each copy.
//!
//! # Writing
//!
//! The caller does the I/O. These rules make every crash harmless; [`choose`] relies on them.
//!
//! 1. A commit writes, to each live copy, the body, then a flush, then the header as one sector
//!    with FUA. So a valid header means that its body is durable, and a crash only ever destroys
//!    the older of two generations.
//! 2. A generation is complete on every live copy before the next one begins, and before the change
//!    that it records takes effect. A commit that failed on every copy is retried as it is, with
//!    the same sequence: the next one would overwrite the last good generation, and an earlier one
//!    would count as older than what the copies may hold.
//! 3. The loss of a copy is committed twice, so that both slots of the survivor record it. Only
//!    then does anything rely on it, so no single damaged sector can make a lost copy look live.
//! 4. A new group first *claims* each copy (see [`Metadata::claim`]), then commits generation 1,
//!    `initialising`, and, once all is set up, generation 2, `active`.
//! 5. After a start that rewrites copies, the chosen generation itself is written to them before
//!    a new one begins.
//!
//! # Replacing a copy
//!
//! A copy whose loss is recorded can be recreated while the group is in use:
//!
//! 1. its headers, if it has any, are overwritten: it now belongs to no group;
//! 2. if the next generation does not belong to slot 1, the state is committed once more;
//! 3. the copy is claimed, in slot 0;
//! 4. the generation in which it is live again is written to it, then committed to all;
//! 5. the state is committed once more, so that both its slots are valid.
//!
//! If a crash comes before the header of step 4, the copy is ignored, since the survivor records
//! its loss in both slots. After that it is the newest copy, and the survivor is one generation
//! behind, which is how [`choose`] knows that neither went on without the other. If step 4 fails,
//! its headers are overwritten again before anything else is committed.

mod body;
mod check;
pub mod choose;
#[cfg(any(test, CONFIG_KUNIT))]
mod choose_tests;
#[cfg(any(test, CONFIG_KUNIT))]
mod format_tests;
mod header;
pub mod probe;

pub use body::BodyError;
pub use check::Invalid;
pub use header::{
    Header,
    HeaderError, //
};

use super::{
    attr::Attr,
    health::Health,
    id::Id,
    samples::Sample,
    table_line::MAX_META_COPIES,
    vec::{
        try_collect,
        try_copy, //
    },
    words::word_enum, //
};
use crate::env::{
    AllocError,
    Vec, //
};

/// The version of the format.
pub const VERSION: u32 = 1;

/// The slots of a copy.
pub const SLOTS: usize = 2;

/// The distance between the slots of a copy, in bytes; the first one is at the beginning.
pub const SLOT_DISTANCE: u64 = 1 << 20;

/// The size of a slot, in bytes.
pub const SLOT_BYTES: usize = 512 << 10;

/// The size of a header, in bytes: one sector, so that it is written as a whole or not at all.
pub const HEADER_BYTES: usize = 512;

/// Where the body begins, in bytes from the beginning of its slot.
pub const BODY_OFFSET: usize = 4096;

/// The largest body, in bytes.
pub const MAX_BODY_BYTES: usize = SLOT_BYTES - BODY_OFFSET;

/// The smallest metadata device, in sectors: 4 MiB.
pub const MIN_DEVICE_SECTORS: u64 = 8192;

/// The maximum number of base samples.
pub const MAX_SAMPLES: usize = 16;

/// The slot of generation `sequence`.
pub const fn slot_of(sequence: u64) -> usize {
    if sequence % 2 == 0 {
        0
    } else {
        1
    }
}

/// The position of a slot on its device, in bytes.
pub const fn slot_offset(slot: usize) -> u64 {
    if slot == 0 {
        0
    } else {
        SLOT_DISTANCE
    }
}

word_enum! {
    /// How far a group has come.
    pub enum Phase {
        /// It is being created; its members may still be blank.
        Initialising = 1, "initialising";
        /// It is in use.
        Active = 2, "active";
    }
}

word_enum! {
    /// The state of a metadata copy; its word is its letter in the status line.
    pub enum CopyState {
        /// It gets every commit.
        Live = 1, "A";
        /// It failed, or was not there, and is out of date.
        Lost = 2, "F";
    }
}

/// The metadata copies of a group and their states.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Copies([Option<CopyState>; MAX_META_COPIES]);

impl Copies {
    /// `count` live copies: at least one, at most [`MAX_META_COPIES`].
    pub fn live(count: usize) -> Self {
        let mut copies = Self([None; MAX_META_COPIES]);
        for state in copies.0.iter_mut().take(count.max(1)) {
            *state = Some(CopyState::Live);
        }
        copies
    }

    /// The number of copies, live or lost.
    pub fn count(&self) -> usize {
        self.0.iter().flatten().count()
    }

    /// The number of live copies.
    pub fn live_count(&self) -> usize {
        self.states()
            .filter(|state| *state == CopyState::Live)
            .count()
    }

    /// The state of copy `index`, counting from 0.
    pub fn state(&self, index: usize) -> Option<CopyState> {
        self.0.get(index).copied().flatten()
    }

    /// The states, in the order of the copies.
    pub fn states(&self) -> impl Iterator<Item = CopyState> + '_ {
        self.0.iter().copied().flatten()
    }

    /// The same copies, with copy `index` in another state. No effect if there is no such copy.
    pub fn with(mut self, index: usize, state: CopyState) -> Self {
        if let Some(slot @ Some(_)) = self.0.get_mut(index) {
            *slot = Some(state);
        }
        self
    }
}

/// What the header says about a generation as a whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// Tells this group from all others, even those with the same GrpID.
    pub uuid: [u8; 16],
    /// The GrpID.
    pub group: Id,
    /// The generation: rises by one with every commit; 0 is a claim.
    pub sequence: u64,
    /// The event count: rises by one with every change of state.
    pub events: u64,
    /// The split that the base image comes from.
    pub base_generation: u64,
    /// The length of the group, in sectors.
    pub sectors: u64,
    /// The size of a block, in sectors.
    pub block_sectors: u32,
    /// The logical block size of the group, in bytes: a power of two, at least 512.
    pub logical_block_bytes: u32,
    /// How far the group has come.
    pub phase: Phase,
    /// The metadata copies.
    pub copies: Copies,
}

/// What a group is given when it is created, and never changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Identity {
    /// Random bytes: they tell this group from all others.
    pub uuid: [u8; 16],
    /// The GrpID.
    pub group: Id,
    /// The length of the group, in sectors.
    pub sectors: u64,
    /// The size of a block, in sectors.
    pub block_sectors: u32,
    /// The logical block size of the group, in bytes.
    pub logical_block_bytes: u32,
    /// The number of metadata copies.
    pub copies: usize,
}

/// What the metadata records about one table entry: about its LID, and about the disk that the
/// table lists for it. After a failover, that disk need not be the one that serves the LID.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VolumeRecord {
    /// The LID.
    pub lid: Id,
    /// The role of the entry.
    pub attr: Attr,
    /// The increments entry that takes its changes.
    pub rlid: Option<Id>,
    /// The entry whose disk serves this LID; `None` if other disks have to serve it, or if its own
    /// disk serves another LID.
    pub disk: Option<Id>,
    /// The health of the LID.
    pub health: Health,
    /// What is known about the disk that is listed for this entry.
    pub state: DiskState,
    /// The size of that disk when it was last bound, in sectors.
    pub disk_sectors: u64,
    /// The event count when it was recorded that the disk failed; 0 if it never did. It tells an
    /// outdated copy of an increments volume from the one that failed. It is 0 for one that is in
    /// use, unless that one could not be written but was kept.
    pub failed_at: u64,
}

/// What is known about a disk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DiskState {
    /// It holds exactly the base image.
    pub pristine: bool,
    /// It was, or may have been, written without a log. For an increments volume that failed: it is
    /// to be used again when the table is loaded the next time.
    pub unprotected: bool,
    /// It holds an increments store.
    pub formatted: bool,
    /// It failed or was missing; its content is stale until it is added again.
    pub failed: bool,
    /// Its entry left the group. It keeps its place in the live table until another table is
    /// loaded, and is never written to disk.
    pub removed: bool,
}

/// A range of a volume that has an attribute of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RegionRecord {
    /// The volume.
    pub lid: Id,
    /// The first sector; a multiple of the block size.
    pub start: u64,
    /// The number of sectors; a multiple of the block size, or up to the end of the group.
    pub len: u64,
    /// [`Attr::Ro`] or [`Attr::Rw`].
    pub attr: Attr,
}

/// A volume whose disk is being filled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RebuildRecord {
    /// The volume.
    pub lid: Id,
    /// The entry whose disk is being filled.
    pub target: Id,
    /// How many sectors from the beginning of that disk hold, durably, what the volume holds, except
    /// where its increments volume has marks.
    pub cursor: u64,
}

/// One generation of the metadata.
#[derive(Debug, PartialEq)]
pub struct Metadata {
    /// The group as a whole.
    pub head: Head,
    /// The entries of the table.
    pub volumes: Vec<VolumeRecord>,
    /// The ranges with an attribute of their own, ordered by LID and first sector.
    pub regions: Vec<RegionRecord>,
    /// The disks that are being filled.
    pub rebuilds: Vec<RebuildRecord>,
    /// Samples of the base image, in ascending order.
    pub samples: Vec<Sample>,
}

impl Metadata {
    /// The generation that claims a blank copy for a group: generation 0, without a body.
    ///
    /// Only its header is written, to slot 0: one sector, so the device is either blank or claimed.
    /// From then on, a torn first commit is known to belong to this group.
    pub fn claim(identity: &Identity) -> Self {
        Self {
            head: Head {
                uuid: identity.uuid,
                group: identity.group,
                sequence: 0,
                events: 0,
                base_generation: 1,
                sectors: identity.sectors,
                block_sectors: identity.block_sectors,
                logical_block_bytes: identity.logical_block_bytes,
                phase: Phase::Initialising,
                copies: Copies::live(identity.copies),
            },
            volumes: Vec::new(),
            regions: Vec::new(),
            rebuilds: Vec::new(),
            samples: Vec::new(),
        }
    }

    /// The metadata as it would be read back: without the entries that left the group.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn as_read_again(&self) -> Result<Self, AllocError> {
        Ok(Self {
            volumes: try_collect(self.volumes.len(), self.members().copied())?,
            ..self.try_clone()?
        })
    }

    /// A separate copy.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn try_clone(&self) -> Result<Self, AllocError> {
        Ok(Self {
            head: self.head,
            volumes: try_copy(&self.volumes, 0)?,
            regions: try_copy(&self.regions, 0)?,
            rebuilds: try_copy(&self.rebuilds, 0)?,
            samples: try_copy(&self.samples, 0)?,
        })
    }

    /// The same state as the next generation: for committing it a second time.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn try_next(&self) -> Result<Self, AllocError> {
        let mut next = self.try_clone()?;
        next.head.sequence = next.head.sequence.saturating_add(1);
        Ok(next)
    }

    /// Records that metadata copy `copy`, counting from 0, is lost: a change of state, to be
    /// committed twice (see [writing](self#writing)). Returns whether that is new; nothing changes
    /// if it was known, or there is no such copy, or it is the last live one.
    ///
    /// `told` is the last event count that the increments volumes were told. The count must not
    /// rise by more than one before they are told again, or a crash would make them look outdated.
    /// So if the loss is found while another change is being written, both count as one event.
    pub fn lose_copy(&mut self, copy: usize, told: u64) -> bool {
        let copies = self.head.copies.with(copy, CopyState::Lost);
        if copies == self.head.copies || copies.live_count() == 0 {
            return false;
        }
        self.head.copies = copies;
        if self.head.events <= told {
            self.head.events = self.head.events.saturating_add(1);
        }
        true
    }

    /// Records that metadata copy `copy`, counting from 0, is live again: a change of state, for
    /// [replacing](self#replacing-a-copy) it. Returns whether that is new.
    pub fn revive_copy(&mut self, copy: usize) -> bool {
        let copies = self.head.copies.with(copy, CopyState::Live);
        let is_news = copies != self.head.copies;
        self.head.copies = copies;
        is_news
    }

    /// The identity with which this group's copies are claimed.
    pub fn identity(&self) -> Identity {
        let head = &self.head;
        Identity {
            uuid: head.uuid,
            group: head.group,
            sectors: head.sectors,
            block_sectors: head.block_sectors,
            logical_block_bytes: head.logical_block_bytes,
            copies: head.copies.count(),
        }
    }

    /// The index of the entry `lid`.
    pub fn position(&self, lid: &Id) -> Option<usize> {
        self.volumes
            .iter()
            .position(|volume| volume.lid == *lid && !volume.state.removed)
    }

    /// The entries that are in the group, and so will be in its next generation.
    pub fn members(&self) -> impl Iterator<Item = &VolumeRecord> {
        self.volumes.iter().filter(|volume| !volume.state.removed)
    }
}
