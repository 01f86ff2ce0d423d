// SPDX-License-Identifier: GPL-2.0

//! Rebuild: gives volumes whose disk is gone another disk while they are in use. Volumes can also
//! be moved to another disk before theirs is gone.
//!
//! The worker (see [`super::background`]) rebuilds one volume after the other, skipping those that
//! can't make progress. The metadata records what must be known after a crash: which disk is being
//! filled, and how far. See [`crate::store`] for volumes that are written meanwhile; for other
//! volumes only the base image is copied.

mod after_crash;
mod doubt;
mod filling;

use super::{
    background::{
        Next,
        Rebuilds, //
    },
    commit::box_next,
    protect,
    Group, //
};
use crate::{
    bound::Bound,
    dm::Worker,
    log,
    metadata::Homes,
    overlay::Place,
    svol_core::{
        attr::Attr,
        group::{
            GroupTable,
            Rebuild, //
        },
        id::Id,
        route::Home,
        turns::{
            self,
            Choice,
            Turn, //
        }, //
    },
};
use core::cell::Cell;
use filling::{
    Filling,
    Halt, //
};
use kernel::prelude::*;

/// A disk to fill.
#[derive(Clone, Copy)]
struct Due {
    rebuild: Rebuild,
    /// The volume is written in place, and moves away from its own disk.
    is_in_place: bool,
    /// What the volume wrote must be copied, too.
    needs_increments: bool,
    /// How the log describes completion.
    done: &'static str,
    lid: Id,
    target: Id,
}

impl Group {
    /// How far a disk is filled for a volume, or how far its disk is compared: blocks done, and all
    /// blocks.
    pub(super) fn rebuild_progress(
        table: &GroupTable,
        bound: &Bound,
        entry: usize,
    ) -> Option<(u64, u64)> {
        let done = bound.volumes.get(entry)?.copied.get();
        let is_compared =
            protect::is_compared(bound, entry) || table.verification_of(entry).is_some();
        if !is_compared {
            table.rebuild_of(entry)?;
        }
        let (sectors, block) = (table.head().sectors, u64::from(table.head().block_sectors));
        let all = sectors.div_ceil(block);
        Some(match done >= sectors {
            true => (all, all),
            false => (done.checked_div(block)?, all),
        })
    }

    /// Makes durable that a disk is to be filled, and lets the worker fill it; under `commits`.
    ///
    /// # Errors
    ///
    /// `EBUSY` while the worker is not yet done with the last rebuild of that volume; those of the
    /// commit.
    pub(super) fn begin_rebuild(
        &self,
        bound: &Bound,
        homes: &Homes,
        next: KBox<GroupTable>,
    ) -> Result {
        // The new rebuild is the last one.
        let begun = next.rebuilds().last().ok_or(EINVAL)?;
        let lid = next.volume(begun.entry).ok_or(EINVAL)?.lid;
        let target = next.volume(begun.target).ok_or(EINVAL)?.lid;
        let what = match next.disk_of(begun.entry) {
            Some(_) => "move",
            None => "rebuild",
        };
        let in_place = place_in_place(bound, begun.entry);
        let is_moving_still = in_place.is_some_and(|place| place.owner().moving_to().is_some());
        if self.rebuilds.active.get() == Some(begun.entry) || is_moving_still {
            // The worker may wait for a disk that does not answer. What it does next would count
            // for the new rebuild.
            log::notice!(
                self.name(),
                "{lid}: what was begun before has not ended yet"
            );
            self.rebuilds.kick();
            return Err(EBUSY);
        }
        self.commit(bound, homes, next)?;
        let volume = bound.volumes.get(begun.entry).ok_or(EINVAL)?;
        volume.copied.set(0);
        volume.turn.begin();
        bound.use_again(begun.target, false);
        if let Some(place) = kept_place(bound, begun.entry) {
            place.owner().begin_fill(begun.target);
        } else if let Some(place) = place_in_place(bound, begun.entry) {
            place.owner().begin_move(begun.target);
        }
        log::info!(
            self.name(),
            "{lid}: {what} onto the disk of {target} begins"
        );
        self.rebuilds.kick();
        Ok(())
    }

    /// Ends moves that were given up while the worker did something else, or that did not end then:
    /// until they do, the disk that was being filled is not free. Returns whether all have ended:
    /// not if a disk does not answer. Sleeps for I/O.
    #[inline(never)]
    fn end_moves(&self, bound: &Bound) -> bool {
        let mut all = true;
        for (entry, volume) in bound.volumes.iter().enumerate() {
            self.end_doubt(bound, entry, volume);
            let place = Place::of(bound, entry);
            let moving = place.and_then(|place| Some((place, place.owner().moving_to()?)));
            let Some((place, target)) = moving else {
                continue;
            };
            let state = self.state.lock();
            let goes_on = state.table.as_ref().is_some_and(|table| {
                let rebuild = table.rebuild_of(entry);
                rebuild.is_some_and(|rebuild| rebuild.target == target)
                    && table_disk(table, &volume.lid).is_some()
            });
            drop(state);
            if !goes_on {
                all &= place.store().end_move(place.owner());
            }
        }
        all
    }

    /// Flushes the disks that volumes move to, where their stores need that to clear marks. Sleeps
    /// for I/O.
    fn flush_moves(&self, bound: &Bound) {
        let places = (0..bound.volumes.len()).filter_map(|entry| Place::of(bound, entry));
        for owner in places.map(|place| place.owner()) {
            let wanted = owner.moving_to().zip(owner.wanted_move_flush());
            let Some((target, request)) = wanted.filter(|(target, _)| !is_hung(bound, *target))
            else {
                continue;
            };
            match bound.flush_disk(target) {
                Ok(()) => owner.note_move_flushed(request),
                Err(_) => owner.note_move_failed(),
            }
        }
    }

    /// Does part of the worker's work.
    pub(super) fn go_on_rebuilding(&self, worker: &Worker<Rebuilds>, bound: &Bound) -> Next {
        let is_moving_still = !self.end_moves(bound);
        self.flush_moves(bound);
        // Under `commits`: a rebuild that is already durable may not have taken effect everywhere.
        let commits = self.commits.lock();
        let state = self.state.lock();
        let Some(table) = state.table.as_ref() else {
            return Next::Nothing;
        };
        let (first, is_any_put_off) = match turns::next(to_fill(table, bound), bound.age_ms()) {
            Choice::This(rebuild) => (Some(rebuild), false),
            Choice::Later => (None, true),
            Choice::None => (None, false),
        };
        let found = first.and_then(|rebuild| {
            let volume = table.volume(rebuild.entry)?.lid;
            let done = match table.disk_of(rebuild.entry) {
                Some(_) => "moved",
                None => "rebuilt",
            };
            let target = table.volume(rebuild.target)?.lid;
            Some(Due {
                rebuild,
                is_in_place: table_disk(table, &volume).is_some(),
                needs_increments: table.needs_increments(rebuild.entry),
                done,
                lid: volume,
                target,
            })
        });
        drop(state);
        worker.active.set(first.map(|rebuild| rebuild.entry));
        drop(commits);
        let next = self.go_on_with(worker, bound, found);
        worker.active.set(None);
        match next {
            Next::Nothing if is_any_put_off || is_moving_still => Next::Later,
            next => next,
        }
    }

    /// As [`Group::go_on_rebuilding`], with the rebuild that was `found`, if any.
    fn go_on_with(&self, worker: &Worker<Rebuilds>, bound: &Bound, found: Option<Due>) -> Next {
        let Some(due) = found else {
            let begun = self.begin_next(worker, bound);
            if matches!(begun, Next::Again) {
                return begun;
            }
            return match self.go_on_comparing(worker, bound) {
                Next::Nothing => begun,
                next => next,
            };
        };
        let entry = due.rebuild.entry;
        let Some(volume) = bound.volumes.get(entry) else {
            return Next::Nothing;
        };
        let filling = Filling {
            worker,
            bound,
            volume,
            place: match due.is_in_place {
                true => place_in_place(bound, entry),
                false => kept_place(bound, entry),
            },
            due,
        };
        volume.turn.take();
        let filled = filling.fill();
        self.after_filling(&filling, filled)
    }

    /// Decides what the worker does after it has filled a disk, or a part of it.
    fn after_filling(&self, filling: &Filling<'_>, filled: Result<(), Halt>) -> Next {
        let (bound, volume) = (filling.bound, filling.volume);
        let Due {
            rebuild,
            is_in_place,
            done,
            lid,
            target,
            ..
        } = filling.due;
        // It must not delay others.
        let put_off = || {
            volume.turn.put_off(bound.age_ms());
            Next::Again
        };
        match filled {
            Ok(()) => {
                log::info!(
                    self.name(),
                    "{lid}: {done}, its disk is that of {target} from now on"
                );
                Next::Again
            }
            Err(Halt::Stopped) => {
                if filling.checkpoint().is_err() {
                    // It will then go on from an earlier place.
                    log::notice!(
                        self.name(),
                        "{lid}: the progress of its rebuild could not be recorded"
                    );
                }
                Next::Nothing
            }
            Err(Halt::Turn) => Next::Again,
            Err(Halt::Gone) => {
                filling.leave();
                Next::Again
            }
            Err(Halt::Target) => match self.give_up_disk(bound, rebuild.entry, rebuild.target) {
                Ok(()) => {
                    if is_in_place {
                        filling.leave();
                    }
                    Next::Again
                }
                Err(_) => put_off(),
            },
            Err(Halt::Differs) => match self.stop_rebuild(bound, filling) {
                Ok(()) => {
                    log::warning!(
                        self.name(),
                        "{lid}: not moved, the disks that have its data may differ since an error"
                    );
                    filling.leave();
                    Next::Again
                }
                Err(_) => put_off(),
            },
            Err(Halt::Busy) => put_off(),
            Err(Halt::Later(error)) => {
                if volume.turn.say_once() {
                    let errno = error.to_errno();
                    log::warning!(
                        self.name(),
                        "{lid}: rebuild halted, what it needs besides the disk failed: error {errno}"
                    );
                }
                put_off()
            }
        }
    }

    /// Begins the next rebuild, if there is one and it is allowed.
    #[inline(never)]
    fn begin_next(&self, worker: &Worker<Rebuilds>, bound: &Bound) -> Next {
        if !worker.is_auto.is_set() {
            return Next::Nothing;
        }
        let homes = self.commits.lock();
        let state = self.state.lock();
        if !state.is_live || state.changing.is_some() || state.leaving.is_some() {
            return Next::Later;
        }
        let Some(table) = state.table.as_ref() else {
            return Next::Nothing;
        };
        // If a volume's last changes are lost, its increments can't be copied.
        let may_begin =
            |entry| kept_place(bound, entry).is_some() || !table.needs_increments(entry);
        // A disk that a volume has left may have reads in flight. Nobody says when they end.
        let is_free_soon = Cell::new(false);
        let is_here = |entry| {
            let is_free = is_free(bound, entry);
            is_free_soon.set(is_free_soon.get() || (!is_free && is_usable(bound, entry)));
            is_free
        };
        let next = match table.with_next_rebuild(may_begin, is_here) {
            Ok(Some(next)) => KBox::new(next, GFP_KERNEL),
            Ok(None) if is_free_soon.get() => return Next::Later,
            Ok(None) => return Next::Nothing,
            Err(_) => return Next::Later,
        };
        drop(state);
        match next
            .map_err(Error::from)
            .and_then(|next| self.begin_rebuild(bound, &homes, next))
        {
            Ok(()) => Next::Again,
            Err(_) => Next::Later,
        }
    }

    /// A disk that was being filled for a volume, or became its own a moment ago, has failed: makes
    /// that durable. When this returns, nothing goes to the disk any more. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// `EIO` if its data is nowhere else; those of the commit.
    #[inline(never)]
    pub(crate) fn give_up_disk(&self, bound: &Bound, entry: usize, disk: usize) -> Result {
        let homes = self.commits.lock();
        let state = self.state.lock();
        let table = state.table.as_ref().ok_or(ENXIO)?;
        if table.volume(disk).is_none_or(|volume| volume.state.failed) {
            drop(state);
            if let Some(place) = Place::of(bound, entry) {
                place.owner().leave_fill(disk);
            }
            return Ok(());
        }
        let fills = table.rebuild_of(entry).is_some_and(|r| r.target == disk);
        if !fills && table.disk_of(entry) != Some(disk) {
            return Ok(());
        }
        let Some(next) = box_next(table.with_failed_disk(disk)?)? else {
            return Ok(());
        };
        if table.is_served(entry) && !next.is_served(entry) {
            return Err(EIO);
        }
        drop(state);
        let lid = next.volume(entry).ok_or(EINVAL)?.lid;
        let target = next.volume(disk).ok_or(EINVAL)?.lid;
        let stays = next.disk_of(entry).is_some();
        self.commit(bound, &homes, next)?;
        bound.failure_is_durable(disk);
        if let Some(place) = Place::of(bound, entry).filter(|_| !stays) {
            place.owner().stop_fill();
        }
        log::warning!(
            self.name(),
            "{lid}: the disk of {target} failed while it was being filled"
        );
        self.rebuilds.kick();
        Ok(())
    }

    /// Makes durable that the disk is no longer filled. Sleeps for I/O.
    #[inline(never)]
    fn stop_rebuild(&self, bound: &Bound, filling: &Filling<'_>) -> Result {
        let homes = self.commits.lock();
        let Rebuild { entry, target, .. } = filling.due.rebuild;
        let next = self.next_table(|table| {
            let now = table.rebuild_of(entry).map(|rebuild| rebuild.target);
            match now == Some(target) {
                true => table.with_rebuild_stopped(entry),
                false => Ok(None),
            }
        })?;
        match next {
            Some(next) => self.commit(bound, &homes, next),
            None => Ok(()),
        }
    }
}

/// The disks to fill. Skips added entries, whose devices are not here yet.
fn to_fill<'a>(
    table: &'a GroupTable,
    bound: &'a Bound,
) -> impl Iterator<Item = (Rebuild, &'a Turn)> + 'a {
    let here = table
        .rebuilds()
        .filter(move |rebuild| rebuild.target < bound.volumes.len());
    here.filter_map(move |rebuild| Some((rebuild, &bound.volumes.get(rebuild.entry)?.turn)))
}

/// Where the changes of a volume are, if it has no disk yet.
fn kept_place(bound: &Bound, entry: usize) -> Option<Place<'_>> {
    let view = bound.volumes.get(entry)?.view.get();
    Place::of(bound, entry).filter(|_| view.writes == Home::Kept)
}

/// Where the changes of a volume are, if it is written in place.
fn place_in_place(bound: &Bound, entry: usize) -> Option<Place<'_>> {
    let volume = bound.volumes.get(entry)?;
    let is_logged = matches!(volume.view.get().writes, Home::Logged(_));
    Place::of(bound, entry).filter(|_| is_logged || volume.in_doubt.is_set())
}

/// The disk of a volume, if it is written in place.
pub(super) fn table_disk(table: &GroupTable, lid: &Id) -> Option<usize> {
    let entry = table.position(lid)?;
    let is_rw = table.volume(entry)?.attr == Attr::Rw;
    table.disk_of(entry).filter(|_| is_rw)
}

/// Whether the disk of an entry is here, can be written, and is not in use: a volume that left it
/// may still have reads there, or a volume may still be moving to it.
pub(super) fn is_free(bound: &Bound, entry: usize) -> bool {
    let mut owners = bound.stores.iter().flat_map(|store| store.owners.iter());
    is_usable(bound, entry)
        && !bound.is_read_still(entry)
        && !owners.any(|owner| owner.moves_to(entry))
}

/// Whether a disk does not answer something. After a long flush of our own it counts as silent for
/// a while, but has nothing in flight.
fn is_hung(bound: &Bound, disk: usize) -> bool {
    bound.is_silent(disk) && bound.has_io([disk])
}

/// Whether the disk of an entry is here and can be written.
pub(super) fn is_usable(bound: &Bound, entry: usize) -> bool {
    bound
        .members
        .disk(entry)
        .is_some_and(|disk| disk.may_be_written())
}
