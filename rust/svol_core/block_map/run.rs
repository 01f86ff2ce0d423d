// SPDX-License-Identifier: GPL-2.0

//! Finds the longest part of an I/O, from its beginning, that goes to one place.

use super::{
    BlockMap,
    Entry, //
};
use crate::{
    env::Wait,
    svol_core::slots::{
        NoSlot,
        Slots, //
    }, //
};

/// Sectors of a sub-block, as a shift.
const SUB_SHIFT: u32 = 3;

/// Slots of a segment, as a shift: between segments there is a gap on the device.
const SEGMENT_SHIFT: u32 = 12;

/// Where the data of a run is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// In the base image, at its own place.
    Base,
    /// Nowhere: it reads as zeroes.
    Zero,
    /// In the store, starting at this place.
    Slot {
        /// The slot of the first block.
        slot: u32,
        /// Sectors from the beginning of the slot.
        offset: u32,
    },
}

/// A run to read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReadRun {
    /// Where it is.
    pub kind: Kind,
    /// Its length in sectors; at least 1, unless nothing was requested.
    pub sectors: u32,
}

/// A run to write to slots.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WriteRun {
    /// The slot of the first block.
    pub slot: u32,
    /// Sectors from the beginning of the slot.
    pub offset: u32,
    /// Its length in sectors.
    pub sectors: u32,
    /// Writing it changes the map: call [`BlockMap::written`] afterwards.
    pub is_first: bool,
    /// Some of its blocks are waiting for a commit.
    pub is_dirty: bool,
}

/// What to do first for a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WriteStep {
    /// Write a run.
    Run(WriteRun),
    /// Merge this many sectors with the existing data: they are a part of a sub-block that is not
    /// in the slot.
    Merge(u32),
    /// Wait until the first block is no longer frozen.
    Frozen,
    /// The map has no room for the first block, and memory for it can't be had without waiting.
    NoRoom,
    /// No slot for the first block.
    NoSlot(NoSlot),
}

/// A part of an I/O inside one block, in sectors from the beginning of the block.
#[derive(Clone, Copy)]
struct Part {
    from: u32,
    to: u32,
    /// Where the volume ends, if it does inside the block; the end of the block otherwise.
    end: u32,
}

impl Part {
    /// The sub-blocks that it covers entirely; for a sub-block that the end of the volume cuts
    /// short, only the part inside the volume counts.
    fn whole(self) -> u16 {
        let first = self.from.div_ceil(1 << SUB_SHIFT);
        let last = if self.to == self.end {
            self.to.div_ceil(1 << SUB_SHIFT)
        } else {
            self.to >> SUB_SHIFT
        };
        ones(last) & !ones(first)
    }

    fn first_sub(self) -> u32 {
        self.from >> SUB_SHIFT
    }

    fn last_sub(self) -> u32 {
        self.to.saturating_sub(1) >> SUB_SHIFT
    }

    /// The end of its first sub-block.
    fn first_sub_end(self) -> u32 {
        self.first_sub()
            .saturating_add(1)
            .saturating_mul(1 << SUB_SHIFT)
            .min(self.to)
    }

    /// The end of what can be written to the slot of `entry` as it is, from the beginning.
    fn writable(self, entry: Entry) -> u32 {
        let there = entry.data() | self.whole();
        if bit(self.first_sub()) & there == 0 {
            self.from
        } else if bit(self.last_sub()) & there == 0 {
            self.last_sub() << SUB_SHIFT
        } else {
            self.to
        }
    }
}

impl BlockMap {
    /// The first run of `sectors` from `sector` on that has its data in one place.
    pub fn read_run(&self, sector: u64, sectors: u32) -> ReadRun {
        let mut run: Option<(Kind, u32)> = None;
        let mut total = 0u32;
        for (bid, part) in self.parts(sector, sectors) {
            let entry = self.get(bid);
            let (kind, to) = stretch(entry, part);
            let last_slot = entry.slot();
            match run {
                None => run = Some((kind, last_slot.unwrap_or(0))),
                Some((first, slot)) if goes_on(first, slot, kind) => {
                    run = Some((first, last_slot.unwrap_or(slot)));
                }
                Some(_) => break,
            }
            total = total.saturating_add(to.saturating_sub(part.from));
            if to < self.block_sectors() {
                break;
            }
        }
        ReadRun {
            kind: run.map_or(Kind::Base, |(kind, _)| kind),
            sectors: total.min(sectors),
        }
    }

    /// What to do first to write `sectors` from `sector` on. Allocates slots for blocks that have
    /// none. Does not sleep.
    pub fn write_run(&self, slots: &Slots, sector: u64, sectors: u32) -> WriteStep {
        let mut run: Option<WriteRun> = None;
        let mut before = None;
        for (bid, part) in self.parts(sector, sectors) {
            let entry = match self.slot_for(slots, bid, before) {
                Ok(entry) => entry,
                Err(step) if run.is_none() => return step,
                Err(_) => break,
            };
            let Some(slot) = entry.slot() else { break };
            if before.is_some_and(|before| !follows(before, slot)) {
                break;
            }
            let to = part.writable(entry);
            if to == part.from {
                if run.is_none() {
                    return WriteStep::Merge(part.first_sub_end().saturating_sub(part.from));
                }
                break;
            }
            let is_first = Part { to, ..part }.whole() & !entry.data() != 0;
            let now = run.get_or_insert(WriteRun {
                slot,
                offset: part.from,
                sectors: 0,
                is_first: false,
                is_dirty: false,
            });
            now.sectors = now.sectors.saturating_add(to.saturating_sub(part.from));
            now.is_first |= is_first;
            now.is_dirty |= entry.is_dirty();
            before = Some(slot);
            if to < part.to {
                break;
            }
        }
        run.map_or(WriteStep::NoRoom, WriteStep::Run)
    }

    /// The entry of a block that is about to be written, with a slot; if one has to be allocated,
    /// the one after `before`.
    fn slot_for(&self, slots: &Slots, bid: u64, before: Option<u32>) -> Result<Entry, WriteStep> {
        let entry = self.get(bid);
        if entry.is_frozen() {
            return Err(WriteStep::Frozen);
        }
        if entry.slot().is_some() {
            return Ok(entry);
        }
        self.make_room(bid, Wait::Not)
            .map_err(|_| WriteStep::NoRoom)?;
        let slot = match before {
            Some(before) => {
                let next = before.saturating_add(1);
                if !follows(before, next) || !slots.take_this(next) {
                    return Err(WriteStep::NoSlot(NoSlot::NotAtOnce));
                }
                next
            }
            None => slots.take().map_err(WriteStep::NoSlot)?,
        };
        let put = |entry: Entry| {
            (entry.slot().is_none() && !entry.is_frozen()).then(|| entry.moved_to(Some(slot)))
        };
        match self.update(bid, put) {
            Some((_, entry)) => Ok(entry),
            None => {
                // Another thread was faster.
                slots.free(slot);
                let entry = self.get(bid);
                if entry.is_frozen() {
                    Err(WriteStep::Frozen)
                } else if entry.slot().is_none() {
                    // Another thread is about to publish the page.
                    Err(WriteStep::NoRoom)
                } else {
                    Ok(entry)
                }
            }
        }
    }

    /// A range was written to its slots: the sub-blocks that it covers entirely are valid from now
    /// on. Returns whether that changed the map. Does not sleep.
    pub fn written(&self, sector: u64, sectors: u32) -> bool {
        self.mark(sector, sectors, Entry::with_data)
    }

    /// The sub-blocks that a range covers entirely read as zeroes from now on, where the block has
    /// a slot. Returns whether that changed the map. Does not sleep.
    pub fn zeroed(&self, sector: u64, sectors: u32) -> bool {
        self.mark(sector, sectors, Entry::with_zero)
    }

    fn mark(&self, sector: u64, sectors: u32, with: impl Fn(Entry, u16) -> Entry) -> bool {
        let mut changed = false;
        for (bid, part) in self.parts(sector, sectors) {
            let whole = part.whole();
            changed |= self
                .update(bid, |entry| {
                    entry.slot()?;
                    let new = with(entry, whole);
                    (new != entry).then(|| new.with_dirty(true))
                })
                .is_some();
        }
        changed
    }

    fn block_sectors(&self) -> u32 {
        1 << self.block_shift
    }

    /// The parts of a range, block by block.
    fn parts(&self, sector: u64, sectors: u32) -> impl Iterator<Item = (u64, Part)> + '_ {
        let size = u64::from(self.block_sectors());
        let end = sector.saturating_add(u64::from(sectors)).min(self.sectors);
        let mut at = sector;
        core::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let bid = at >> self.block_shift;
            let begin = bid << self.block_shift;
            let within = |sector: u64| {
                // At most the size of a block.
                u32::try_from(sector.saturating_sub(begin).min(size)).unwrap_or(0)
            };
            let part = Part {
                from: within(at),
                to: within(end),
                end: within(self.sectors),
            };
            at = begin.saturating_add(size);
            Some((bid, part))
        })
    }
}

/// Where the data of a part begins, and up to where it stays in that place.
fn stretch(entry: Entry, part: Part) -> (Kind, u32) {
    let sub = part.first_sub();
    let (data, zero) = (entry.data(), entry.zero());
    let (kind, mask) = match entry.slot() {
        Some(slot) if data & bit(sub) != 0 => (
            Kind::Slot {
                slot,
                offset: part.from,
            },
            data,
        ),
        Some(_) if zero & bit(sub) != 0 => (Kind::Zero, zero),
        _ => (Kind::Base, !(data | zero)),
    };
    let same = mask.checked_shr(sub).unwrap_or(0).trailing_ones();
    let to = sub.saturating_add(same).saturating_mul(1 << SUB_SHIFT);
    (kind, to.min(part.to))
}

/// Whether a run of kind `first` whose last block is in `slot` continues with `next`.
fn goes_on(first: Kind, slot: u32, next: Kind) -> bool {
    match (first, next) {
        (Kind::Base, Kind::Base) | (Kind::Zero, Kind::Zero) => true,
        (Kind::Slot { .. }, Kind::Slot { slot: next, .. }) => follows(slot, next),
        _ => false,
    }
}

/// Whether `next` directly follows `slot` on the device.
fn follows(slot: u32, next: u32) -> bool {
    slot.checked_add(1) == Some(next) && slot >> SEGMENT_SHIFT == next >> SEGMENT_SHIFT
}

fn bit(sub: u32) -> u16 {
    1u16.checked_shl(sub).unwrap_or(0)
}

/// The lowest `n` bits.
fn ones(n: u32) -> u16 {
    u16::MAX
        .checked_shl(n)
        .map_or(u16::MAX, |above: u16| !above)
}
