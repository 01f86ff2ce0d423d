// SPDX-License-Identifier: GPL-2.0

//! The marks that say where disk and store of a logged volume may differ after a crash.
//!
//! A mark is durable before the first write of its region. It is cleared when the region has not
//! been written for a while: first in memory, so that no new write finds it; then the writes that
//! did find it end, the disk is flushed, and the store is committed; only then is the mark cleared
//! on disk. While the volume moves, the disk that it moves to is flushed, too: see
//! [`super::moving`].

use super::{
    fail,
    format::{
        self,
        NotDurable, //
    },
    leave,
    patience::LATER,
    slow::Slow,
    write::Range,
    Owner,
    Store, //
};
use crate::{
    dm::{
        Device,
        Worker, //
    },
    log,
    members::Members,
    svol_core::{
        log_mode::Mode,
        store::{
            intent,
            layout,
            Sector,
            SECTOR_BYTES, //
        }, //
    },
};
use kernel::{
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// How long a region keeps its mark after its last write: between this and twice this, in
/// milliseconds. Once more as long while the volume moves.
pub(super) const IDLE_MS: u32 = 5000;

/// Writes an owner's marks, as given by `is_marked`, to all of its sectors of the map. Durable when
/// it returns; sleeps for I/O.
pub(super) fn write_marks(
    members: &Members,
    device: &Device,
    tag: u64,
    owner: u16,
    regions: u32,
    is_marked: impl Fn(u32) -> bool,
) -> Result<(), NotDurable> {
    let mut content = KVec::from_elem(0u8, layout::INTENT_BYTES, GFP_KERNEL)?;
    let mut sectors = content.chunks_exact_mut(SECTOR_BYTES);
    for number in 0..layout::INTENT_SECTORS {
        let sector: &mut Sector = sectors
            .next()
            .and_then(|sector| sector.first_chunk_mut())
            .ok_or(EINVAL)?;
        intent::format(sector, tag, owner, number);
        let first = u32::from(number).saturating_mul(intent::SECTOR_REGIONS);
        let behind = first.saturating_add(intent::SECTOR_REGIONS).min(regions);
        for region in (first..behind).filter(|region| is_marked(*region)) {
            intent::set_mark(sector, intent::place(region).1, true);
        }
        intent::seal_sector(sector);
    }
    format::write_durable(members, device, layout::intent_offset(owner, 0), &content)
}

impl Slow<'_> {
    /// Makes the marks of a range durable, and those of some neighbours.
    pub(super) fn mark(&self, range: Range) -> Result {
        let intents = self.owner.intents.as_ref().ok_or(EIO)?;
        if intents.touch(range.sector, range.sectors) {
            return Ok(());
        }
        let (first, last) = intents.to_mark(range.sector, range.sectors);
        self.store
            .write_marks_of(self.owner, |region| {
                (first..=last).contains(&region) || intents.is_marked(region)
            })
            .inspect_err(|error| {
                if fail::is_of_device(*error) {
                    self.store.suspect();
                }
            })?;
        for region in first..=last {
            intents.mark_ahead(region);
        }
        let (first, last) = intents.span(range.sector, range.sectors);
        for region in first..=last {
            intents.mark(region);
        }
        self.store.has_marks.set(true);
        Ok(())
    }
}

impl Worker<Store> {
    /// Clears the marks of regions that are no longer written. Sleeps for I/O.
    pub(super) fn clear_idle_marks(&self) {
        let mut last = self.marks_looked_at.lock();
        if last.elapsed().as_millis() < i64::from(IDLE_MS) {
            return;
        }
        *last = Instant::<Monotonic>::now();
        drop(last);
        let mut left = false;
        for owner in self.owners.iter() {
            if !self.is_answering(owner) {
                // A flush would wait for its disk, and everyone else for the flush.
                left = true;
                continue;
            }
            match self.clear_marks(owner) {
                Ok(more) => left |= more,
                Err(LATER) => left = true,
                Err(error) => {
                    left = true;
                    self.say_marks_stay(owner, error);
                }
            }
        }
        self.has_marks.set(left);
    }

    /// Whether the disk of an owner has answered anything since the last call, or has nothing to
    /// answer.
    fn is_answering(&self, owner: &Owner) -> bool {
        let Some(disk) = owner.disk().and_then(|disk| self.members.disk(disk)) else {
            return true;
        };
        let (in_flight, answers) = disk.progress();
        let before = owner.answers.swap(u64::from(answers));
        !disk.bad.is_silent() && (in_flight == 0 || before != u64::from(answers))
    }

    /// Clears an owner's idle marks; returns whether there are marks left. All marks stay if the
    /// store may have lost data that the disk has, or the other way round: then the volume goes on
    /// without its log, or without its disk, or a start compares the two.
    pub(super) fn clear_marks(&self, owner: &Owner) -> Result<bool> {
        let Some(intents) = &owner.intents else {
            return Ok(false);
        };
        if owner.leaving.get() != leave::STAYS {
            return Ok(false);
        }
        let (losses, lost) = (owner.disk_losses(), self.changes.losses());
        // If so, that came after the writes that had begun before the last call. Regions that are
        // idle now were not written since, unless a write is about to touch them.
        let is_moved = owner.moving.flush.take();
        let mut idle = KVec::new();
        let mut left = intents.take_idle(|region| {
            if idle.push(region, GFP_KERNEL).is_err() {
                intents.mark(region);
            }
        });
        if idle.is_empty() && !owner.has_old_marks.is_set() {
            return Ok(left);
        }
        let durable = self.make_durable(owner);
        let has_lost = owner.disk_losses() != losses;
        // Its disk may have lost something even though this flush succeeded: if another flush has
        // failed just before, that is not yet on record.
        let lacks = owner.log_lacks() || self.changes.losses() != lost;
        let is_in_doubt = self.may_have_lost(owner) || owner.mode() == Mode::Held || lacks;
        if durable.is_err() || has_lost || is_in_doubt {
            // They are still marked on disk.
            for region in idle {
                intents.mark(region);
                if has_lost || lacks {
                    // Not marked when that was noted.
                    intents.pin_region(region);
                }
                left = true;
            }
            if lacks {
                owner.note_log_lost();
            }
            return durable.map(|()| left);
        }
        let moves = owner.has_begun_to_move();
        let is_moved = is_moved && !owner.does_move_lack();
        if moves {
            owner.moving.flush.ask();
        }
        let mut any = owner.has_old_marks.is_set();
        for region in idle {
            if moves && (!is_moved || intents.is_touched(region)) {
                // It is still marked on disk.
                intents.mark_ahead(region);
                left = true;
                continue;
            }
            any = true;
            // A write that was in flight may be about to be written again, or have failed on one
            // side.
            let (begin, end) = intents.extent(region);
            let sectors = u32::try_from(end.saturating_sub(begin)).unwrap_or(u32::MAX);
            if owner.has_redos(begin, sectors) {
                intents.mark(region);
                left = true;
            }
            left |= intents.mark_if_pinned(region);
        }
        if !any {
            return Ok(left);
        }
        let result = self.write_marks_of(owner, |region| intents.is_marked(region));
        // After a failure, some marks are on disk and some are not. Writes mark their regions
        // again, and an extra mark on disk does no harm.
        owner.has_old_marks.set(result.is_err());
        result.map(|()| left)
    }

    /// Makes all of an owner's writes that have begun durable, on both devices if there are two.
    fn make_durable(&self, owner: &Owner) -> Result {
        self.wait_for_ios(owner)?;
        self.flush_disk_of(owner)?;
        self.commit()
    }

    fn say_marks_stay(&self, owner: &Owner, error: Error) {
        log::warning!(
            self.group(),
            "{}: its write-intent marks in {} can't be taken back: error {}; tried again later",
            owner.lid,
            self.lid(),
            error.to_errno()
        );
    }

    /// Clears all marks, while no volume is in use. Sleeps for I/O.
    pub(super) fn clear_all_marks(&self) {
        for owner in self.owners.iter() {
            // Twice: the first time, they still count as just written.
            for _ in 0..2 {
                self.flush_move(owner);
                match self.clear_marks(owner) {
                    Ok(_) | Err(LATER) => (),
                    Err(error) => self.say_marks_stay(owner, error),
                }
            }
        }
    }
}

impl Store {
    /// Writes the marks of an owner, as [`write_marks`].
    pub(super) fn write_marks_of(&self, owner: &Owner, is_marked: impl Fn(u32) -> bool) -> Result {
        let regions = owner
            .intents
            .as_ref()
            .map_or(0, |intents| intents.regions());
        let (members, number) = (&self.members, owner.number);
        self.or_lose_all(
            self.disk()?.counted(|device| {
                write_marks(members, device, self.tag, number, regions, is_marked)
            }),
        )
    }
}
