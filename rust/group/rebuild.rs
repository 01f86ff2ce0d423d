// SPDX-License-Identifier: GPL-2.0

//! Rebuild: volumes whose disk is gone get another one, while they are in use. Others may move to another
//! one before theirs is gone.
//!
//! A worker of the group does it, one volume after the other; it is at work between `preresume` and
//! `postsuspend` of a table. What has to be known after a crash is in the metadata: which disk is
//! being filled, and how far. See [`crate::store`] for volumes that are written meanwhile; of others
//! only the base image is copied.
//!
//! # Locks
//!
//! The worker takes `commits` only while it holds nothing else but a volume that it has paused, and waits
//! for a store's worker with nothing held. It holds no reference to the group's table while it rests.

use super::{
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
    errors, log,
    members::Members,
    metadata::{
        self,
        Homes, //
    },
    overlay::Place,
    store::{
        self,
        CopyError, //
    },
    svol_core::{
        attr::Attr,
        block_map::Kind,
        group::{
            GroupTable,
            Rebuild,
            RestoreError, //
        },
        health::Health,
        id::Id,
        log_mode::{
            Event,
            Mode, //
        },
        route::Home,
        table_line::{
            Failover,
            Features, //
        }, //
    },
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

/// When to try again what failed, in milliseconds.
const RETRY_MS: u32 = 5000;

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
    /// 1 after the log has said that there is nothing to copy from.
    is_stuck: Word,
    /// Sectors that were done since I/O of users went first.
    done: Word,
    /// I/Os that users had had until then.
    ios: Word,
}

impl Rebuilds {
    /// A worker that has nothing to do.
    pub(super) fn worker() -> impl PinInit<Worker<Self>, Error> {
        let rebuilds = try_pin_init!(Self {
            bound <- new_mutex!(None),
            stopped: Word::new(1),
            is_auto: Word::new(0),
            rate: Word::new(0),
            is_stuck: Word::new(0),
            done: Word::new(0),
            ios: Word::new(0),
        }? Error);
        Worker::new(rebuilds)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.get() != 0
    }

    /// Has a part of a volume's disk filled or compared, and moves its cursor by what that returns; 0 if
    /// it is being written just now. I/O of users goes first, as long as some disk `is_busy`; `part` is
    /// told of how many sectors it may do at once. Sleeps.
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
        volume.copied.set(at.saturating_add(u64::from(sectors)));
        self.done.add(u64::from(sectors));
        self.keep_to_rate(began, sectors);
        Ok(())
    }

    /// Lets I/O of users go first, for a while, if enough was done since the last time and they have
    /// any: some disk `is_busy`, or was since. Returns whether they have none. Sleeps.
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

    /// Something halts the work: whether the log has to say so, which it does once.
    pub(super) fn say_once(&self) -> bool {
        self.is_stuck.swap(1) == 0
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

/// What the worker does next.
pub(super) enum Next {
    /// There may be more to do.
    Again,
    /// There is nothing to do.
    Nothing,
    /// It tries again later.
    Later,
}

/// Why the filling of a disk does not go on.
enum Halt {
    /// The worker is to rest.
    Stopped,
    /// Somebody else gave it up.
    Gone,
    /// There is nothing to copy from, or the metadata can't be written.
    Later(Error),
    /// Somebody else is at it, who will be done soon.
    Busy,
    /// The disk that is being filled failed.
    Target,
    /// The increments do not have all that the volume's disk has.
    Differs,
}

impl From<CopyError> for Halt {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Source(error) | CopyError::Target(error @ ENOMEM) => Self::Later(error),
            CopyError::Target(_) => Self::Target,
        }
    }
}

/// A disk that is being filled.
struct Filling<'a> {
    worker: &'a Worker<Rebuilds>,
    bound: &'a Bound,
    volume: &'a Volume,
    /// Where its changes are, if they are to be copied, too.
    place: Option<Place<'a>>,
    /// It has a disk that it writes to, and moves.
    is_in_place: bool,
    rebuild: Rebuild,
    lid: Id,
    target: Id,
}

/// What was read before its turn.
struct Ahead {
    /// The base image.
    content: KVec<u8>,
    /// Where it is, if something was read: from which sector on, and how many.
    place: Option<(u64, u32)>,
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
        let old = self.rebuilds.bound.lock().replace(bound);
        drop(old);
        self.rebuilds.is_stuck.set(0);
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

    /// How far a disk is filled for a volume, or compared with its increments: blocks done, and all.
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

    /// Has a disk filled for a volume that lost its own, or is to have another one. Sleeps for I/O of the
    /// metadata.
    ///
    /// # Errors
    ///
    /// Say in the log why not.
    #[inline(never)]
    pub(crate) fn restore(&self, members: &Members, lid: &Id, onto: Option<&Id>) -> Result {
        let _commits = self.commits.lock();
        let (bound, homes) = self.live_table(members, "restore")?;
        self.refuse_while_changing("restore", lid)?;
        self.begin_restore(&bound, &homes, "restore", lid, onto)
    }

    /// Takes a disk back that had failed, as a spare, or to be filled for its own volume; an increments
    /// volume is in use a moment later. Sleeps for I/O of the metadata and of that device.
    ///
    /// # Errors
    ///
    /// Say in the log why not.
    #[inline(never)]
    pub(crate) fn readd(&self, members: &Members, lid: &Id) -> Result {
        let _commits = self.commits.lock();
        let (bound, homes) = self.live_table(members, "readd")?;
        self.refuse_while_changing("readd", lid)?;
        let refuse = |why: &dyn core::fmt::Display, error: Error| {
            log::notice!(self.name(), "message \"readd\": LID {lid}: {why}");
            Err(error)
        };
        let state = self.state.lock();
        let table = state.table.as_ref().ok_or(ENXIO)?;
        let found = table.position(lid);
        let next = match found {
            Some(entry) => table.with_readded(entry)?,
            None => None,
        };
        let volume = found.and_then(|entry| table.volume(entry));
        let is_store = volume.is_some_and(|volume| volume.attr == Attr::Increments);
        let is_kept = found.is_some_and(|entry| table.is_kept_store(entry));
        let needs_disk = volume.is_some_and(|volume| {
            let has_none = matches!(volume.health, Health::Failed | Health::Degraded);
            volume.attr.is_volume() && volume.disk.is_none() && has_none
        });
        let next = match next {
            Some(next) => Some(KBox::new(next, GFP_KERNEL)?),
            None => None,
        };
        drop(state);
        let Some(entry) = found else {
            return refuse(&"the group has no such entry", ENODEV);
        };
        if let (true, Some(store)) = (is_kept, bound.store_at(entry)) {
            // It was never given up.
            return self
                .tell_store_locked(&bound, store)
                .or_else(|_| refuse(&"its device still can't be written", EIO));
        }
        let Some(next) = next else {
            return refuse(&"its disk did not fail, or is taken back already", EINVAL);
        };
        if !is_usable(&bound, entry) {
            return refuse(&"its disk is not here, or can't be written", ENODEV);
        }
        if bound.has_io([entry]) {
            return refuse(&"its disk has not answered all I/O from before", EBUSY);
        }
        if is_store {
            // Now rather than when it is to be in use, which would fail. The log says what is wrong.
            store::find_again(&bound.members, &next, entry)?;
        }
        self.commit(&bound, &homes, next)?;
        if is_store {
            log::info!(self.name(), "increments {lid}: taken back");
            if let Some(device) = bound.members.event.hold_device() {
                self.refreshes.want(self.provider.clone(), device);
            }
            return Ok(());
        }
        bound.set_apart(entry, errors::WRITTEN);
        log::info!(self.name(), "disk of {lid}: taken back");
        if needs_disk {
            return self.begin_restore(&bound, &homes, "readd", lid, Some(lid));
        }
        self.rebuilds.kick();
        Ok(())
    }

    /// While a volume gets another attribute, its increments are copied to its disk: even if that has
    /// failed meanwhile, it must not be filled with something else.
    pub(super) fn refuse_while_changing(&self, message: &str, lid: &Id) -> Result {
        let is_changing = self.state.lock().changing.is_some();
        if is_changing {
            log::notice!(
                self.name(),
                "message \"{message}\": LID {lid}: another change of the group is under way"
            );
            return Err(EBUSY);
        }
        Ok(())
    }

    /// The live table of these members; under `commits`.
    pub(super) fn live_table(
        &self,
        members: &Members,
        message: &str,
    ) -> Result<(Arc<Bound>, Homes)> {
        let state = self.state.lock();
        let homes = state.homes;
        let bound = state.bound.as_ref().filter(|_| state.is_live).cloned();
        drop(state);
        match bound.filter(|bound| bound.members.table == members.table) {
            Some(bound) => Ok((bound, homes)),
            None => {
                log::notice!(self.name(), "message \"{message}\": the group is suspended");
                Err(EAGAIN)
            }
        }
    }

    /// Under `commits`.
    #[inline(never)]
    fn begin_restore(
        &self,
        bound: &Bound,
        homes: &Homes,
        message: &str,
        lid: &Id,
        onto: Option<&Id>,
    ) -> Result {
        let state = self.state.lock();
        let table = state.table.as_ref().ok_or(ENXIO)?;
        let next = table.with_rebuild(lid, onto, |entry| is_free(bound, entry));
        let next = match next {
            Ok(next) => KBox::new(next, GFP_KERNEL)?,
            Err(error) => {
                drop(state);
                match onto {
                    Some(onto) => log::notice!(
                        self.name(),
                        "message \"{message}\": LID {lid}: {error}: LID {onto}"
                    ),
                    None => log::notice!(self.name(), "message \"{message}\": LID {lid}: {error}"),
                }
                return Err(match error {
                    RestoreError::NoMemory => ENOMEM,
                    RestoreError::Unknown => ENODEV,
                    RestoreError::Rebuilding => EBUSY,
                    RestoreError::NoSpare => ENOSPC,
                    _ => EINVAL,
                });
            }
        };
        let own = table_disk(table, lid);
        drop(state);
        if let Some(own) = own {
            self.prepare_move(bound, message, lid, own)?;
        }
        self.begin_rebuild(bound, homes, next)
    }

    /// A volume that is written in place is about to move: from its disk nobody else reads the base image
    /// any more. Sleeps for I/O.
    fn prepare_move(&self, bound: &Bound, message: &str, lid: &Id, own: usize) -> Result {
        let refuse = |why: &str| {
            log::notice!(self.name(), "message \"{message}\": LID {lid}: {why}");
            Err(EBUSY)
        };
        let Some((_, owner)) = bound.store_of(lid) else {
            return refuse("it is in use without its increments volume");
        };
        if owner.may_differ() {
            return refuse("its disk and its increments may differ since an error");
        }
        if !bound.has_other_source(own) {
            return refuse("no other disk serves reads of the base");
        }
        bound.stop_serving(own);
        Ok(())
    }

    /// Makes durable that a disk is to be filled, and lets the worker do it; under `commits`.
    fn begin_rebuild(&self, bound: &Bound, homes: &Homes, next: KBox<GroupTable>) -> Result {
        // It is the last one.
        let begun = next.rebuilds().last().ok_or(EINVAL)?;
        let lid = next.volume(begun.entry).ok_or(EINVAL)?.lid;
        let target = next.volume(begun.target).ok_or(EINVAL)?.lid;
        let what = match next.disk_of(begun.entry) {
            Some(_) => "move",
            None => "rebuild",
        };
        self.commit(bound, homes, next)?;
        let volume = bound.volumes.get(begun.entry).ok_or(EINVAL)?;
        volume.copied.set(0);
        bound.set_apart(begun.target, errors::WRITTEN);
        if let Some(place) = kept_place(bound, begun.entry) {
            place.owner().begin_fill(begun.target);
        } else if let Some(place) = place_in_place(bound, begun.entry) {
            place.owner().begin_move(begun.target);
        }
        log::info!(
            self.name(),
            "{lid}: {what} onto the disk of {target} begins"
        );
        self.rebuilds.is_stuck.set(0);
        self.rebuilds.kick();
        Ok(())
    }

    /// Does some part of the work.
    fn go_on_rebuilding(&self, worker: &Worker<Rebuilds>, bound: &Bound) -> Next {
        let state = self.state.lock();
        let Some(table) = state.table.as_ref() else {
            return Next::Nothing;
        };
        // Of what was added the device is not here yet.
        let is_here = |rebuild: &Rebuild| rebuild.target < bound.volumes.len();
        let first = table.rebuilds().find(is_here);
        let found = first.and_then(|rebuild| {
            let volume = table.volume(rebuild.entry)?.lid;
            let done = match table.disk_of(rebuild.entry) {
                Some(_) => "moved",
                None => "rebuilt",
            };
            let target = table.volume(rebuild.target)?.lid;
            let is_in_place = table_disk(table, &volume).is_some();
            Some((rebuild, is_in_place, done, volume, target))
        });
        drop(state);
        let Some((rebuild, is_in_place, done, lid, target)) = found else {
            return match self.begin_next(worker, bound) {
                Next::Nothing => self.go_on_comparing(worker, bound),
                next => next,
            };
        };
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
            is_in_place,
            rebuild,
            lid,
            target,
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
                Err(_) => Next::Later,
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
                Err(_) => Next::Later,
            },
            Err(Halt::Busy) => Next::Later,
            Err(Halt::Later(error)) => {
                if worker.say_once() {
                    let errno = error.to_errno();
                    log::warning!(
                        self.name(),
                        "{lid}: rebuild halted, what it needs besides the disk failed: error {errno}"
                    );
                }
                Next::Later
            }
        }
    }

    /// What is done while no disk is to be filled.
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
        let next = match table.with_next_rebuild(|entry| is_free(bound, entry)) {
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
        let entry = filling.rebuild.entry;
        if table.rebuild_of(entry).map(|r| r.target) != Some(filling.rebuild.target) {
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

    /// Brings disks that are being filled in step after a crash, before the table is live.
    #[inline(never)]
    pub(super) fn resolve_rebuilds(
        &self,
        bound: &Bound,
        homes: &Homes,
        mut table: KBox<GroupTable>,
    ) -> Result<KBox<GroupTable>> {
        for entry in 0..bound.volumes.len() {
            let cursor = table.rebuild_of(entry).map_or(0, |rebuild| rebuild.cursor);
            let Some(place) = kept_place(bound, entry).filter(|_| cursor > 0) else {
                continue;
            };
            if place.store().fill_again(bound, place.owner()).is_ok() {
                continue;
            }
            // From the beginning on; and the metadata must not say otherwise later.
            if let Some(next) = table.with_cursor(entry, 0)? {
                let mut next = KBox::new(next, GFP_KERNEL)?;
                let metadata = next.metadata().try_clone()?;
                next.set_metadata(metadata::commit(&bound.members, homes, metadata)?);
                table = next;
            }
            place.owner().restart_fill();
            if let Some(volume) = bound.volumes.get(entry) {
                volume.copied.set(0);
            }
        }
        Ok(table)
    }
}

/// What is read at once, in sectors, of `most` where so many are `left`: less if there is little memory
/// for it in the buffers.
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
fn table_disk(table: &GroupTable, lid: &Id) -> Option<usize> {
    let entry = table.position(lid)?;
    let is_rw = table.volume(entry)?.attr == Attr::Rw;
    table.disk_of(entry).filter(|_| is_rw)
}

/// Whether the disk of an entry is here and can be written, and nobody uses it: a volume may have left it,
/// or have been about to move there.
fn is_free(bound: &Bound, entry: usize) -> bool {
    let mut owners = bound.stores.iter().flat_map(|store| store.owners.iter());
    is_usable(bound, entry)
        && !bound.is_read_still(entry)
        && !owners.any(|owner| owner.moves_to(entry))
}

/// Whether the disk of an entry is here and can be written.
fn is_usable(bound: &Bound, entry: usize) -> bool {
    bound
        .members
        .disk(entry)
        .is_some_and(|disk| disk.may_be_written())
}

impl Filling<'_> {
    /// Fills the disk to its end, and makes it the volume's own.
    fn fill(&self) -> Result<(), Halt> {
        if self.is_in_place && self.place.is_none() {
            // It does no I/O now, and its changes can't be found.
            return Err(Halt::Busy);
        }
        let end = self.bound.members.sectors;
        let mut ahead = Ahead {
            content: KVec::new(),
            place: None,
        };
        let mut buffer = KVec::new();
        let mut saved = Instant::<Monotonic>::now();
        // Whether users wait for a disk that this reads or writes.
        let is_busy = || {
            let store = self.place.map(|place| place.store().entry());
            let used = [Some(self.rebuild.target), store];
            let sources = self.bound.sources.iter();
            self.bound
                .has_io(Iterator::chain(sources, used.into_iter().flatten()))
        };
        while self.volume.copied.get() < end {
            self.check()?;
            self.worker
                .advance(self.bound, self.volume, is_busy, |at, most| {
                    let sectors = chunk(
                        most,
                        end.saturating_sub(at),
                        [&mut buffer, &mut ahead.content],
                    );
                    self.copy(at, sectors, &mut buffer, &mut ahead)
                })?;
            if saved.elapsed().as_millis() >= CHECKPOINT_MS {
                self.checkpoint()?;
                saved = Instant::<Monotonic>::now();
            }
        }
        self.finish()
    }

    /// Whether it may go on.
    fn check(&self) -> Result<(), Halt> {
        if self.worker.is_stopped() {
            return Err(Halt::Stopped);
        }
        let state = self.bound.group.state.lock();
        let now = state
            .table
            .as_ref()
            .and_then(|table| table.rebuild_of(self.rebuild.entry));
        let is_in_place = state
            .table
            .as_ref()
            .is_some_and(|table| table_disk(table, &self.lid).is_some());
        match now {
            Some(rebuild) if rebuild.target != self.rebuild.target => Err(Halt::Gone),
            // It may have lost its disk, and be rebuilt onto the same one.
            Some(_) if is_in_place != self.is_in_place => Err(Halt::Gone),
            Some(_) if self.has_failed() => Err(Halt::Target),
            Some(_) => Ok(()),
            None => Err(Halt::Gone),
        }
    }

    fn has_failed(&self) -> bool {
        self.place.is_some_and(|place| match self.is_in_place {
            true => place.owner().has_move_failed(),
            false => place.owner().has_fill_failed(),
        })
    }

    /// Nothing goes to the disk any more that was being filled, for this volume. Sleeps.
    fn leave(&self) {
        match self.place {
            Some(place) if self.is_in_place => place.store().end_move(place.owner()),
            Some(place) => place.owner().leave_fill(self.rebuild.target),
            None => (),
        }
    }

    /// Copies a chunk, and reads the next one meanwhile; returns its length in sectors, 0 if its beginning
    /// is being written just now.
    fn copy(
        &self,
        at: u64,
        sectors: u32,
        buffer: &mut KVec<u8>,
        ahead: &mut Ahead,
    ) -> Result<u32, Halt> {
        let is_here = ahead.place.take() == Some((at, sectors));
        if is_here {
            core::mem::swap(buffer, &mut ahead.content);
        }
        let next = at.saturating_add(u64::from(sectors));
        let left = self.bound.members.sectors.saturating_sub(next);
        let following = u32::try_from(left).map_or(sectors, |left| sectors.min(left));
        let meanwhile = || self.read_ahead(next, following, ahead);
        if let Some(place) = self.place {
            let (store, owner) = (place.store(), place.owner());
            let to = (buffer, is_here);
            return Ok(store.copy_to_fill(self.bound, owner, at, sectors, to, meanwhile)?);
        }
        if !is_here {
            resize(buffer, sectors).map_err(Halt::Later)?;
            self.bound
                .read_least_used(at, buffer)
                .map_err(CopyError::Source)?;
        }
        self.bound
            .write_disk(self.rebuild.target, at, buffer, meanwhile)
            .map_err(CopyError::Target)?;
        Ok(sectors)
    }

    /// Reads the base image where it is to be copied next. What is not read is read later.
    fn read_ahead(&self, at: u64, sectors: u32, ahead: &mut Ahead) {
        let is_base = self.place.is_none_or(|place| {
            let run = place.owner().map.read_run(at, sectors);
            run.kind == Kind::Base && run.sectors == sectors
        });
        if sectors == 0 || !is_base || self.worker.is_stopped() {
            return;
        }
        let read = resize(&mut ahead.content, sectors)
            .and_then(|()| self.bound.read_least_used(at, &mut ahead.content));
        if read.is_ok() {
            ahead.place = Some((at, sectors));
        }
    }

    /// Makes all in front of the cursor durable; returns the cursor.
    fn make_durable(&self) -> Result<u64, Halt> {
        // Before the flush: what comes later may lack it.
        let cursor = self.volume.copied.get();
        match self.place {
            Some(place) => place.store().sync_owner(place.owner())?,
            None => self
                .bound
                .flush_disk(self.rebuild.target)
                .map_err(CopyError::Target)?,
        }
        match self.has_failed() {
            true => Err(Halt::Target),
            false => Ok(cursor),
        }
    }

    /// Makes durable how far it is.
    #[inline(never)]
    fn checkpoint(&self) -> Result<(), Halt> {
        if self.is_in_place {
            return Ok(());
        }
        let cursor = self.make_durable()?;
        self.bound
            .group
            .commit_cursor(self.bound, &self.rebuild, cursor)
            .map_err(Halt::Later)
    }

    /// The disk holds all: it is the volume's own from now on.
    #[inline(never)]
    fn finish(&self) -> Result<(), Halt> {
        if let (Some(place), true) = (self.place, self.is_in_place) {
            return self.finish_move(place);
        }
        if let Some(place) = self.place {
            place.store().fill_pinned(self.bound, place.owner())?;
        }
        self.make_durable()?;
        self.compare_samples()?;
        self.check()?;
        self.bound
            .group
            .commit_rebuilt(self, || true)
            .map_err(|error| match error {
                EIO if self.has_failed() => Halt::Target,
                EBUSY if self.bound.apart(self.rebuild.target) & errors::FAILING != 0 => {
                    Halt::Target
                }
                error => Halt::Later(error),
            })
    }

    /// As [`Filling::finish`], for a volume that is written in place: its I/O waits meanwhile, so that the
    /// flush makes all durable that was ever written.
    fn finish_move(&self, place: Place<'_>) -> Result<(), Halt> {
        let group = &self.bound.group;
        let paused = match group.loaded_by(&self.lid) {
            Some(number) => match group.provider.pause(number) {
                Ok(Some(paused)) => Some(paused),
                // It is being loaded, or about to be gone.
                Ok(None) => return Err(Halt::Busy),
                // The group is being suspended.
                Err(_) => return Err(Halt::Stopped),
            },
            None => None,
        };
        self.bound
            .flush_disk(self.rebuild.target)
            .map_err(CopyError::Target)?;
        self.check()?;
        if place.owner().mode() != Mode::Both {
            return Err(Halt::Busy);
        }
        if place.owner().may_differ() {
            return Err(Halt::Differs);
        }
        let is_quiet = || paused.is_some() || group.loaded_by(&self.lid).is_none();
        group
            .commit_rebuilt(self, is_quiet)
            .map_err(|error| match error {
                EIO => Halt::Target,
                EBUSY => Halt::Busy,
                ENXIO => Halt::Gone,
                error => Halt::Later(error),
            })
    }

    /// A disk that will serve others must hold what they expect.
    fn compare_samples(&self) -> Result<(), Halt> {
        if self.place.is_some() {
            return Ok(());
        }
        let group = &self.bound.group;
        let state = group.state.lock();
        let mut samples = KVec::new();
        for sample in state.table.iter().flat_map(|t| t.metadata().samples.iter()) {
            samples
                .push(*sample, GFP_KERNEL)
                .map_err(|_| Halt::Later(ENOMEM))?;
        }
        drop(state);
        let members = &self.bound.members;
        let disk = members.disk(self.rebuild.target).ok_or(Halt::Target)?;
        match base::compare(members, disk, &samples) {
            Ok(Comparison::Same) => Ok(()),
            Ok(Comparison::Differs(sector)) => {
                log::warning!(
                    group.name(),
                    "{}: the disk of {} does not hold what was written to it, see sector {sector}",
                    self.lid,
                    self.target
                );
                Err(Halt::Target)
            }
            Ok(Comparison::Partly(_) | Comparison::Unreadable(_)) => Err(Halt::Target),
            Err(error) => Err(Halt::Later(error)),
        }
    }
}

impl Group {
    /// Makes durable how far a disk is filled.
    #[inline(never)]
    fn commit_cursor(&self, bound: &Bound, rebuild: &Rebuild, cursor: u64) -> Result {
        let _commits = self.commits.lock();
        let state = self.state.lock();
        let table = state.table.as_ref().ok_or(ENXIO)?;
        let is_it = |now: Rebuild| now.target == rebuild.target;
        if !table.rebuild_of(rebuild.entry).is_some_and(is_it) {
            return Ok(());
        }
        let next = match table.with_cursor(rebuild.entry, cursor)? {
            Some(next) => KBox::new(next, GFP_KERNEL)?,
            None => return Ok(()),
        };
        let homes = state.homes;
        drop(state);
        self.commit_quietly(bound, &homes, next)
    }

    /// Makes durable that a disk is a volume's own, and lets it take effect. Not unless it `is_quiet`,
    /// and so stays, since a volume that is being loaded waits for `commits` before it writes.
    ///
    /// # Errors
    ///
    /// `EIO` if the disk failed, `EBUSY` if it is not quiet, `ENXIO` if it is not to be filled any more.
    #[inline(never)]
    fn commit_rebuilt(&self, filling: &Filling<'_>, is_quiet: impl FnOnce() -> bool) -> Result {
        let (bound, entry) = (filling.bound, filling.rebuild.entry);
        let _commits = self.commits.lock();
        let state = self.state.lock();
        let table = state.table.as_ref().ok_or(ENXIO)?;
        // Of one that moves, and whether that has the base image: a diverted volume may have written it once.
        let old = table.disk_of(entry);
        let old_serves = old.is_some_and(|old| table.is_source(old));
        let next = match table.with_rebuilt(entry)? {
            Some(next) => KBox::new(next, GFP_KERNEL)?,
            None => return Err(ENXIO),
        };
        let homes = state.homes;
        drop(state);
        let target = filling.rebuild.target;
        if filling.has_failed() {
            return Err(EIO);
        }
        if !is_quiet() {
            return Err(EBUSY);
        }
        let view = next.view(entry).ok_or(EINVAL)?;
        let is_source = next.is_source(target);
        // A disk that may be written any moment serves its own volume only.
        let serves = is_source && filling.place.is_none();
        // Before it is durable, so that somebody serves whichever of the two fails.
        let is_failing = || bound.apart(target) & (errors::FAILING | errors::FAILED) != 0;
        match old {
            Some(_) if filling.is_in_place && is_failing() => return Err(EIO),
            Some(old) if !filling.is_in_place && !bound.hand_over(old, target) => {
                return Err(EBUSY);
            }
            _ => (),
        }
        self.commit(bound, &homes, next)
            .inspect_err(|_| match old.filter(|_| old_serves) {
                Some(old) => {
                    bound.hand_over(target, old);
                }
                None => {
                    bound.keep_away(target);
                }
            })?;
        bound.set_apart(target, if serves { 0 } else { errors::WRITTEN });
        let _views = self.failures.lock();
        if let (Some(place), true) = (filling.place, filling.is_in_place) {
            place.owner().finish_move();
        } else if let Some(place) = filling.place {
            place.owner().end_fill();
            // It was filled while it had no disk.
            let _ = place.owner().advance(Event::DiskIsFilled);
        }
        filling.volume.view.set(view);
        if serves {
            bound.sources.add(target, true);
        }
        Ok(())
    }

    /// As [`Group::commit`], for what is no change of state; under `commits`.
    fn commit_quietly(&self, bound: &Bound, homes: &Homes, mut next: KBox<GroupTable>) -> Result {
        let events = next.head().events;
        let committed = metadata::commit(&bound.members, homes, next.metadata().try_clone()?)?;
        next.set_metadata(committed);
        let now = next.head().events;
        if now != events {
            // A copy was lost.
            bound.note_events(&next);
        }
        let mut state = self.state.lock();
        state.events = Some(now);
        let old = state.table.replace(next);
        drop(state);
        drop(old);
        if now != events {
            // No entry's health has changed, so udev has nothing to hear.
            bound.members.event.raise();
        }
        Ok(())
    }
}
