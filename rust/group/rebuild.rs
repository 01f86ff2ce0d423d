// SPDX-License-Identifier: GPL-2.0

//! Rebuild: volumes whose disk is gone get another one, while they are in use. Others may move to
//! another one before theirs is gone.
//!
//! A worker of the group does it, one volume after the other, but for those that can't go on just
//! now; it is at work between `preresume` and `postsuspend` of a table. What has to be known after
//! a crash is in the metadata: which disk is being filled, and how far. See [`crate::store`] for
//! volumes that are written meanwhile; of others only the base image is copied.
//!
//! # Locks
//!
//! The worker takes `commits` only while it holds nothing else but a volume that it has paused, and
//! waits for a store's worker with nothing held. It holds no reference to the group's table while
//! it rests.

mod filling;

use super::{
    commit::commit_and_tell,
    protect,
    Group, //
};
use crate::{
    base::{
        self,
        Comparison, //
    },
    bound::{
        Bound,
        Volume, //
    },
    dm::{
        Job,
        JobClass,
        Worker, //
    },
    env::Word,
    log,
    members::EntryCell,
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
        samples,
        table_line::{
            Failover,
            Features, //
        },
        turns::{
            self,
            Turn,
            RETRY_MS, //
        }, //
    },
};
use filling::{
    Filling,
    Halt, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// What is copied at once, in sectors, if there is memory for it, while nobody waits for the disks.
const LARGE_SECTORS: u32 = 2048;
/// The same while somebody does.
const CHUNK_SECTORS: u32 = 512;
/// What is copied at once if there is little memory.
const SMALL_SECTORS: u32 = 64;

/// How often the metadata is told how far a disk is filled, in milliseconds.
const CHECKPOINT_MS: i64 = 5000;

/// A chunk waits for I/O of users so long at most, in milliseconds.
const YIELD_MS: u32 = 100;
/// Or until they had so many I/Os: of a hundred, less than one has to wait for a chunk.
const YIELD_IOS: u64 = 256;

/// Fills disks.
#[pin_data]
pub(super) struct Rebuilds {
    /// The table that is live. No other lock is taken under it.
    #[pin]
    bound: Mutex<Option<Arc<Bound>>>,
    /// 1 while it is not to work.
    stopped: Word,
    /// 1 if it decides by itself that a disk is to be filled.
    is_auto: Word,
    /// The fastest rate in KiB/s; 0 for no limit.
    rate: Word,
    /// Sectors that were done since I/O of users went first.
    done: Word,
    /// I/Os that users had had until then.
    ios: Word,
    /// The entry whose disk is being filled just now; changes to one under `commits`.
    active: EntryCell,
}

impl Rebuilds {
    /// A worker that has nothing to do.
    pub(super) fn worker() -> impl PinInit<Worker<Self>, Error> {
        let rebuilds = try_pin_init!(Self {
            bound <- new_mutex!(None),
            stopped: Word::new(1),
            is_auto: Word::new(0),
            rate: Word::new(0),
            done: Word::new(0),
            ios: Word::new(0),
            active: EntryCell::new(None),
        }? Error);
        Worker::new(rebuilds)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.get() != 0
    }

    /// Has a part of a volume's disk filled or compared, and moves its cursor by what that returns;
    /// 0 if it is being written just now. I/O of users goes first, as long as some disk `is_busy`;
    /// `part` is told of how many sectors it may do at once. A cursor that others moved meanwhile
    /// stays where it is. Sleeps.
    ///
    /// # Errors
    ///
    /// That of `part`.
    pub(super) fn advance<E>(
        &self,
        bound: &Bound,
        volume: &Volume,
        is_busy: impl Fn() -> bool,
        part: impl FnOnce(u64, u32) -> Result<u32, E>,
    ) -> Result<(), E> {
        let began = Instant::<Monotonic>::now();
        let most = match self.give_way(bound, is_busy) {
            true => LARGE_SECTORS,
            false => CHUNK_SECTORS,
        };
        let at = volume.copied.get();
        let sectors = part(at, most)?;
        if sectors == 0 {
            fsleep(Delta::from_micros(100));
        }
        // Not if it begins anew, on another disk or the same one.
        let end = at.saturating_add(u64::from(sectors));
        let _ = volume.copied.replace(at, end);
        self.done.add(u64::from(sectors));
        self.keep_to_rate(began, sectors);
        Ok(())
    }

    /// Lets I/O of users go first, for a while, if enough was done since the last time and they
    /// have any: some disk `is_busy`, or was since. Returns whether they have none. Sleeps.
    fn give_way(&self, bound: &Bound, is_busy: impl Fn() -> bool) -> bool {
        if self.done.get() < u64::from(CHUNK_SECTORS) {
            return false;
        }
        self.done.set(0);
        let begin = bound.user_ios();
        let mut last = self.ios.swap(begin);
        let mut now = begin;
        for waited in 0..YIELD_MS {
            let is_quiet = now == last && !is_busy();
            if is_quiet || self.is_stopped() || now.saturating_sub(begin) >= YIELD_IOS {
                return is_quiet && waited == 0;
            }
            fsleep(Delta::from_millis(1));
            last = now;
            now = bound.user_ios();
            self.ios.set(now);
        }
        false
    }

    /// Waits until so many sectors may have been copied since `began`. Sleeps.
    fn keep_to_rate(&self, began: Instant<Monotonic>, sectors: u32) {
        while !self.is_stopped() {
            let rate = self.rate.get();
            let kib_ms = (u64::from(sectors) >> 1).saturating_mul(1000);
            let wanted = i64::try_from(kib_ms.checked_div(rate).unwrap_or(0)).unwrap_or(i64::MAX);
            let left = wanted.saturating_sub(began.elapsed().as_millis());
            if left <= 0 {
                return;
            }
            fsleep(Delta::from_millis(left.min(20)));
        }
    }
}

impl Job for Rebuilds {
    const NAME: &'static CStr = c"dm-svol-rebuild";

    fn class() -> &'static JobClass {
        static CLASS: JobClass = JobClass::new();
        &CLASS
    }

    fn run(worker: &Worker<Self>) {
        let Some(bound) = worker.bound.lock().clone() else {
            return;
        };
        while !worker.is_stopped() {
            match bound.group.go_on_rebuilding(worker, &bound) {
                Next::Again => (),
                Next::Nothing => return,
                Next::Later => {
                    worker.kick_in(RETRY_MS);
                    return;
                }
            }
        }
    }
}

/// A disk that is to be filled.
#[derive(Clone, Copy)]
struct Due {
    rebuild: Rebuild,
    /// For a volume that has a disk which it writes to, and moves.
    is_in_place: bool,
    /// What the volume wrote is to be copied, too.
    needs_increments: bool,
    /// What the log says when that is done.
    done: &'static str,
    lid: Id,
    target: Id,
}

/// What the worker does next.
pub(super) enum Next {
    /// There may be more to do.
    Again,
    /// There is nothing to do.
    Nothing,
    /// It tries again later.
    Later,
}

impl Group {
    /// Lets rebuilds of a table go on that is live now. Does not sleep for I/O.
    pub(super) fn start_rebuilds(&self, bound: Arc<Bound>, features: &Features) {
        let auto = features.failover == Failover::Auto;
        self.rebuilds.is_auto.set(u64::from(auto));
        self.rebuilds.rate.set(u64::from(features.rebuild_rate));
        self.continue_rebuilds(bound);
    }

    /// As [`Group::start_rebuilds`], after a suspend.
    pub(super) fn continue_rebuilds(&self, bound: Arc<Bound>) {
        for volume in bound.volumes.iter() {
            volume.turn.begin();
        }
        let old = self.rebuilds.bound.lock().replace(bound);
        drop(old);
        self.rebuilds.stopped.set(0);
        self.rebuilds.kick();
    }

    /// The table is suspended: rebuilds rest when this returns, and the metadata knows how far they
    /// are. Sleeps for I/O.
    pub(crate) fn stop_rebuilds(&self) {
        self.rebuilds.stopped.set(1);
        // Before the wait: a run that is kicked later finds none.
        let bound = self.rebuilds.bound.lock().take();
        self.rebuilds.rest();
        drop(bound);
    }

    /// A disk has failed: looks for one to be filled. Does not sleep.
    pub(super) fn let_rebuild(&self) {
        self.rebuilds.kick();
    }

    /// Sets the fastest rate of rebuilds, in KiB/s; 0 for no limit.
    pub(crate) fn set_rebuild_rate(&self, rate: u32) {
        self.rebuilds.rate.set(u64::from(rate));
    }

    /// How far a disk is filled for a volume, or compared with its increments: blocks done, and
    /// all.
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

    /// Makes durable that a disk is to be filled, and lets the worker do it; under `commits`.
    ///
    /// # Errors
    ///
    /// `EBUSY` while the worker still has to do with the last one of that volume; those of the
    /// commit.
    pub(super) fn begin_rebuild(
        &self,
        bound: &Bound,
        homes: &Homes,
        next: KBox<GroupTable>,
    ) -> Result {
        // It is the last one.
        let begun = next.rebuilds().last().ok_or(EINVAL)?;
        let lid = next.volume(begun.entry).ok_or(EINVAL)?.lid;
        let target = next.volume(begun.target).ok_or(EINVAL)?.lid;
        let what = match next.disk_of(begun.entry) {
            Some(_) => "move",
            None => "rebuild",
        };
        if self.rebuilds.active.get() == Some(begun.entry) {
            // It may wait for a disk that does not answer. What it does next would count for the
            // new one.
            log::notice!(
                self.name(),
                "{lid}: what was begun before has not ended yet"
            );
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

    /// Does some part of the work.
    fn go_on_rebuilding(&self, worker: &Worker<Rebuilds>, bound: &Bound) -> Next {
        // A filling that is durable may not be there yet in all that knows of it.
        let commits = self.commits.lock();
        let state = self.state.lock();
        let Some(table) = state.table.as_ref() else {
            return Next::Nothing;
        };
        let first = turns::next(to_fill(table, bound), bound.age_ms());
        let any_waits = first.is_none() && to_fill(table, bound).next().is_some();
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
            Next::Nothing if any_waits => Next::Later,
            next => next,
        }
    }

    /// As [`Group::go_on_rebuilding`], with what was `found` to be done.
    fn go_on_with(&self, worker: &Worker<Rebuilds>, bound: &Bound, found: Option<Due>) -> Next {
        let Some(due) = found else {
            return match self.begin_next(worker, bound) {
                Next::Nothing => self.go_on_comparing(worker, bound),
                next => next,
            };
        };
        let Due {
            rebuild,
            is_in_place,
            done,
            lid,
            target,
            ..
        } = due;
        let Some(volume) = bound.volumes.get(rebuild.entry) else {
            return Next::Nothing;
        };
        let filling = Filling {
            worker,
            bound,
            volume,
            place: match is_in_place {
                true => place_in_place(bound, rebuild.entry),
                false => kept_place(bound, rebuild.entry),
            },
            due,
        };
        volume.turn.take();
        // It does not keep others waiting.
        let put_off = || {
            volume.turn.put_off(bound.age_ms());
            Next::Again
        };
        match filling.fill() {
            Ok(()) => {
                log::info!(
                    self.name(),
                    "{lid}: {done}, its disk is that of {target} from now on"
                );
                Next::Again
            }
            Err(Halt::Stopped) => {
                if filling.checkpoint().is_err() {
                    // It goes on from an earlier place then.
                    log::notice!(self.name(), "{lid}: how far it is rebuilt is not on record");
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
            Err(Halt::Differs) => match self.stop_rebuild(bound, &filling) {
                Ok(()) => {
                    log::warning!(
                        self.name(),
                        "{lid}: not moved, its disk and its increments may differ since an error"
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

    /// What is done while no disk can be filled.
    fn go_on_comparing(&self, worker: &Worker<Rebuilds>, bound: &Bound) -> Next {
        match self.go_on_verifying(worker, bound) {
            Next::Again => Next::Again,
            Next::Nothing => self.go_on_protecting(worker, bound),
            Next::Later => match self.go_on_protecting(worker, bound) {
                Next::Nothing => Next::Later,
                next => next,
            },
        }
    }

    /// Begins the next rebuild, if there is one and it may.
    #[inline(never)]
    fn begin_next(&self, worker: &Worker<Rebuilds>, bound: &Bound) -> Next {
        if worker.is_auto.get() == 0 {
            return Next::Nothing;
        }
        let _commits = self.commits.lock();
        let state = self.state.lock();
        if !state.is_live || state.changing.is_some() || state.leaving.is_some() {
            return Next::Later;
        }
        let Some(table) = state.table.as_ref() else {
            return Next::Nothing;
        };
        // Of one whose last changes are lost, nobody has what it had before.
        let may_begin =
            |entry| kept_place(bound, entry).is_some() || !table.needs_increments(entry);
        let next = match table.with_next_rebuild(may_begin, |entry| is_free(bound, entry)) {
            Ok(Some(next)) => KBox::new(next, GFP_KERNEL),
            Ok(None) => return Next::Nothing,
            Err(_) => return Next::Later,
        };
        let homes = state.homes;
        drop(state);
        match next
            .map_err(Error::from)
            .and_then(|next| self.begin_rebuild(bound, &homes, next))
        {
            Ok(()) => Next::Again,
            Err(_) => Next::Later,
        }
    }

    /// A disk that was being filled for a volume, or became its own a moment ago, failed; that is
    /// durable when it returns, and nothing goes there any more. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// `EIO` if nobody else has what it holds; those of the commit.
    #[inline(never)]
    pub(crate) fn give_up_disk(&self, bound: &Bound, entry: usize, disk: usize) -> Result {
        let _commits = self.commits.lock();
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
        let next = match table.with_failed_disk(disk)? {
            Some(next) => KBox::new(next, GFP_KERNEL)?,
            None => return Ok(()),
        };
        if table.is_served(entry) && !next.is_served(entry) {
            return Err(EIO);
        }
        let homes = state.homes;
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

    /// The disk is not filled any more; that is durable when it returns. Sleeps for I/O.
    #[inline(never)]
    fn stop_rebuild(&self, bound: &Bound, filling: &Filling<'_>) -> Result {
        let _commits = self.commits.lock();
        let state = self.state.lock();
        let table = state.table.as_ref().ok_or(ENXIO)?;
        let entry = filling.due.rebuild.entry;
        if table.rebuild_of(entry).map(|r| r.target) != Some(filling.due.rebuild.target) {
            return Ok(());
        }
        let next = match table.with_rebuild_stopped(entry)? {
            Some(next) => KBox::new(next, GFP_KERNEL)?,
            None => return Ok(()),
        };
        let homes = state.homes;
        drop(state);
        self.commit(bound, &homes, next)
    }

    /// Brings disks that are being filled in step after a crash, before the table is live. One that
    /// does not hold what was copied to it is filled from its beginning: it may be another one
    /// since then.
    #[inline(never)]
    pub(super) fn resolve_rebuilds(
        &self,
        bound: &Bound,
        homes: &Homes,
        mut table: KBox<GroupTable>,
    ) -> Result<KBox<GroupTable>> {
        for entry in 0..bound.volumes.len() {
            let rebuild = table.rebuild_of(entry);
            let Some(rebuild) = rebuild.filter(|rebuild| rebuild.cursor > 0) else {
                continue;
            };
            let place = kept_place(bound, entry);
            if !holds_copied(bound, &table, &rebuild, place)? {
                let name = |entry: usize| bound.volumes.get(entry).map(|volume| volume.lid);
                if let (Some(lid), Some(target)) = (name(entry), name(rebuild.target)) {
                    log::notice!(
                        table.id(),
                        "{lid}: the disk of {target} does not hold what was copied to it, and is filled \
                         from its beginning"
                    );
                }
            } else if place
                .is_none_or(|place| place.store().fill_again(bound, place.owner()).is_ok())
            {
                continue;
            }
            // From the beginning on; and the metadata must not say otherwise later.
            if let Some(next) = table.with_cursor(entry, 0)? {
                let mut next = KBox::new(next, GFP_KERNEL)?;
                // No event, but that a copy may be lost.
                commit_and_tell(bound, homes, &mut next, table.head().events)?;
                table = next;
            }
            if let Some(place) = place {
                place.owner().restart_fill();
            }
            if let Some(volume) = bound.volumes.get(entry) {
                volume.copied.set(0);
            }
        }
        Ok(table)
    }
}

/// Whether the disk that is being filled holds what was copied to it, by samples; what can't be
/// read counts as not there. `place` is where the volume's changes are, if they were copied, too.
/// Sleeps for I/O.
///
/// # Errors
///
/// `ENOMEM`, or that the disk is not here.
#[inline(never)]
fn holds_copied(
    bound: &Bound,
    table: &GroupTable,
    rebuild: &Rebuild,
    place: Option<Place<'_>>,
) -> Result<bool> {
    let found = match place {
        Some(place) => place
            .store()
            .compare_filled(table, place.owner(), rebuild)?,
        None => {
            let disk = bound.members.disk(rebuild.target).ok_or(ENXIO)?;
            let samples = samples::in_front_of(&table.metadata().samples, rebuild.cursor);
            base::compare(&bound.members, disk, samples)?
        }
    };
    Ok(matches!(found, Comparison::Same))
}

/// What is read at once, in sectors, of `most` where so many are `left`: less if there is little
/// memory for it in the buffers.
pub(super) fn chunk<const N: usize>(most: u32, left: u64, mut buffers: [&mut KVec<u8>; N]) -> u32 {
    let most = most.min(u32::try_from(left).unwrap_or(u32::MAX));
    let mut has_room = |sectors: u32| {
        buffers.iter_mut().all(|buffer| {
            let missing = bytes(sectors).saturating_sub(buffer.len());
            buffer.reserve(missing, GFP_KERNEL | __GFP_NOWARN).is_ok()
        })
    };
    [most, CHUNK_SECTORS]
        .into_iter()
        .find(|sectors| *sectors <= most && has_room(*sectors))
        .unwrap_or(SMALL_SECTORS.min(most))
}

fn bytes(sectors: u32) -> usize {
    usize::try_from(sectors).map_or(0, |sectors| sectors << 9)
}

/// Makes a buffer so many sectors long.
pub(super) fn resize(buffer: &mut KVec<u8>, sectors: u32) -> Result {
    Ok(buffer.resize(bytes(sectors), 0, GFP_KERNEL)?)
}

/// The disks that are to be filled; of what was added the device is not here yet.
fn to_fill<'a>(
    table: &'a GroupTable,
    bound: &'a Bound,
) -> impl Iterator<Item = (Rebuild, &'a Turn)> + 'a {
    let here = table
        .rebuilds()
        .filter(move |rebuild| rebuild.target < bound.volumes.len());
    here.filter_map(move |rebuild| Some((rebuild, &bound.volumes.get(rebuild.entry)?.turn)))
}

/// Where the changes of a volume are that has no disk yet.
fn kept_place(bound: &Bound, entry: usize) -> Option<Place<'_>> {
    let view = bound.volumes.get(entry)?.view.get();
    Place::of(bound, entry).filter(|_| view.writes == Home::Kept)
}

/// Where the changes of a volume are that is written in place.
fn place_in_place(bound: &Bound, entry: usize) -> Option<Place<'_>> {
    let view = bound.volumes.get(entry)?.view.get();
    Place::of(bound, entry).filter(|_| matches!(view.writes, Home::Logged(_)))
}

/// The disk of a volume, if it is written in place.
pub(super) fn table_disk(table: &GroupTable, lid: &Id) -> Option<usize> {
    let entry = table.position(lid)?;
    let is_rw = table.volume(entry)?.attr == Attr::Rw;
    table.disk_of(entry).filter(|_| is_rw)
}

/// Whether the disk of an entry is here and can be written, and nobody uses it: a volume may have
/// left it, or have been about to move there.
pub(super) fn is_free(bound: &Bound, entry: usize) -> bool {
    let mut owners = bound.stores.iter().flat_map(|store| store.owners.iter());
    is_usable(bound, entry)
        && !bound.is_read_still(entry)
        && !owners.any(|owner| owner.moves_to(entry))
}

/// Whether the disk of an entry is here and can be written.
pub(super) fn is_usable(bound: &Bound, entry: usize) -> bool {
    bound
        .members
        .disk(entry)
        .is_some_and(|disk| disk.may_be_written())
}
