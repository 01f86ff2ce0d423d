// SPDX-License-Identifier: GPL-2.0

//! The message `set_attr`: changes a volume's attribute while the volume is in use.
//!
//! # Order
//!
//! The volume's I/O is paused all the time. A diverted volume becomes logged in these steps: make
//! durable that its disk no longer serves others; copy everything that the increments volume has to
//! the disk, and flush it; make the new attribute durable; resume I/O. After a crash before the new
//! attribute is durable, the volume is still diverted, and its disk serves nobody. A logged volume
//! becomes diverted as soon as the increments volume is known to have all that the disk has. If a
//! commit fails so that nobody knows which attribute a restart will find, the volume is logged:
//! disk and increments volume then have all of it. Entries stay in both cases: where there is no
//! entry, the disk holds the base image, even in regions that are diverted.
//!
//! A range of a volume is changed in the same way. A volume with any part in place counts as in
//! place, with regions that are diverted.
//!
//! # Locks
//!
//! A worker of the group makes the change while the message waits. The message holds a read lock
//! that keeps the group's table from being replaced. Pausing the volume waits for a lock of the
//! same class, so one thread must not take both. The suspend of the group waits for that read lock,
//! but removal of the group waits for it only after everything is suspended: so commits here check
//! that the table is still live.
//!
//! Pausing the volume takes its suspend lock, under which its `preresume` takes `commits`. So
//! `commits` is taken after it, and released before the volume resumes. It is not held while
//! copying data, while waiting for reads of others, or while waiting for the store's worker, which
//! takes it, too.

use super::{
    claim::cut_off,
    commit::{
        box_next,
        Failed, //
    },
    rebuild::is_usable,
    Group,
    Request, //
};
use crate::{
    base::{
        self,
        Verdict, //
    },
    bound::Bound,
    dm::{
        DeviceNumber,
        Job,
        JobClass,
        Worker, //
    },
    log,
    members::Members,
    overlay::Place,
    svol_core::{
        attr::Attr,
        block_map::Kind,
        group::AttrError,
        id::Id,
        message::Sectors,
        samples::{
            Sample,
            SUB_BLOCK_SECTORS, //
        }, //
    },
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Completion,
        Mutex, //
    }, //
};

/// Makes changes of attributes, one at a time.
#[pin_data]
pub(super) struct Changes {
    #[pin]
    wanted: Mutex<Option<Wanted>>,
}

/// A change, and where to report its outcome.
struct Wanted {
    change: Change,
    outcome: Arc<Outcome>,
}

/// How a change went.
#[pin_data]
struct Outcome {
    #[pin]
    done: Completion,
    /// Set before `done` completes. No other lock is taken under it.
    #[pin]
    result: Mutex<Result>,
}

impl Outcome {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                done <- Completion::new(),
                result <- new_mutex!(Err(EIO)),
            }),
            GFP_KERNEL,
        )
    }
}

impl Changes {
    /// An idle worker.
    pub(super) fn worker() -> impl PinInit<Worker<Self>, Error> {
        let changes = try_pin_init!(Self {
            wanted <- new_mutex!(None),
        }? Error);
        Worker::new(changes)
    }
}

impl Job for Changes {
    const NAME: &'static CStr = c"dm-svol-group";

    fn class() -> &'static JobClass {
        static CLASS: JobClass = JobClass::new();
        &CLASS
    }

    fn run(worker: &Worker<Self>) {
        let wanted = worker.wanted.lock().take();
        let Some(Wanted { change, outcome }) = wanted else {
            return;
        };
        *outcome.result.lock() = change.bound.group.make_change(&change);
        // The change holds a reference to the group, and the group waits for this worker when it is
        // dropped. So drop the change before the message ends, which also holds the group.
        drop(change);
        outcome.done.complete_all();
    }
}

/// A change that has been checked to be possible.
struct Change {
    bound: Arc<Bound>,
    /// The volume's index.
    entry: usize,
    /// The entry of its disk.
    disk: usize,
    lid: Id,
    attr: Attr,
    /// The part to change; `None` for all of the volume.
    range: Option<Sectors>,
    /// The mapped device that has loaded it.
    number: Option<DeviceNumber>,
}

impl Group {
    /// Changes the attribute of a volume, or of a range of it, for a message to the table of these
    /// members. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// The log says why. The volume has not changed, unless the log says so.
    #[inline(never)]
    pub(crate) fn set_attr(
        &self,
        members: &Members,
        lid: &Id,
        attr: Attr,
        range: Option<Sectors>,
    ) -> Result {
        let request = Request::new(self.name(), "set_attr", lid);
        let Some(change) = self.begin_attr(members, &request, attr, range)? else {
            return Ok(());
        };
        let result = self.let_change(change);
        self.state.lock().changing = None;
        match result {
            Ok(()) => match range {
                Some(Sectors { start, len }) => log::info!(
                    self.name(),
                    "{lid}: the attribute of {len} sectors from {start} on is {attr} now"
                ),
                None => log::info!(self.name(), "{lid}: its attribute is {attr} now"),
            },
            Err(error) => {
                let errno = error.to_errno();
                request.refuse(format_args!("failed: error {errno}"), error);
            }
        }
        result
    }

    /// Checks that the change is possible, and keeps out other changes; `None` if there is nothing
    /// to do.
    #[inline(never)]
    fn begin_attr(
        &self,
        members: &Members,
        request: &Request<'_>,
        attr: Attr,
        range: Option<Sectors>,
    ) -> Result<Option<Change>> {
        if self.provider.is_suspended() {
            return Err(request.refuse("the group is suspended", EAGAIN));
        }
        let lid = request.lid;
        let mut state = self.state.lock();
        let (Some(table), Some(bound)) = (&state.table, &state.bound) else {
            return Err(EAGAIN);
        };
        if bound.members.table != members.table {
            return Err(EAGAIN);
        }
        let checked = table.with_attr(lid, attr, range).map(|next| next.is_some());
        let found = table
            .position(lid)
            .and_then(|entry| Some((entry, table.disk_of(entry)?)));
        let view = found.and_then(|(entry, _)| table.view(entry));
        let cut_off = view.and_then(|view| cut_off(bound, lid, &view));
        let bound = bound.clone();
        let claim = state.claims.iter().find(|claim| claim.lid == *lid);
        let claimed = claim.map(|claim| (claim.number, claim.writers > 0));
        let is_busy = state.changing.is_some() || state.leaving.is_some();
        let has_store = found.is_some_and(|(entry, _)| Place::of(&bound, entry).is_some());
        let is_usable = found.is_some_and(|(_, disk)| is_usable(&bound, disk));
        let keeps_source = found.is_some_and(|(_, disk)| keeps_source(&bound, disk, attr));

        match checked {
            Ok(false) => return Ok(None),
            Ok(true) => (),
            Err(error) => {
                let errno = match error {
                    AttrError::NoMemory => ENOMEM,
                    AttrError::Unknown => ENODEV,
                    AttrError::Needed(_) => EBUSY,
                    _ => EINVAL,
                };
                return Err(request.refuse(error, errno));
            }
        }
        let Some((entry, disk)) = found else {
            return Err(ENODEV);
        };
        if is_busy {
            return Err(request.refuse("another change of the group is under way", EBUSY));
        }
        if let Some(why) = cut_off {
            // What it had flushed is in its increments volume, and its disk must not count instead.
            return Err(request.refuse(why, EIO));
        }
        if claimed.is_some_and(|(_, writable)| writable) && !has_store {
            return Err(request.refuse("it is loaded for writing", EBUSY));
        }
        if attr == Attr::Rw && !is_usable {
            return Err(request.refuse("its disk can't be written", EROFS));
        }
        if !keeps_source {
            return Err(request.refuse("no other disk serves reads of the base", EBUSY));
        }
        state.changing = Some(*lid);
        drop(state);
        Ok(Some(Change {
            bound,
            entry,
            disk,
            lid: *lid,
            attr,
            range,
            number: claimed.map(|(number, _)| number),
        }))
    }

    /// Has the worker make a change, and waits for it.
    fn let_change(&self, change: Change) -> Result {
        let outcome = Outcome::new()?;
        let wanted = Wanted {
            change,
            outcome: outcome.clone(),
        };
        *self.changes.wanted.lock() = Some(wanted);
        self.changes.kick();
        outcome.done.wait_for_completion();
        let result = *outcome.result.lock();
        result
    }

    /// Pauses the volume, brings disk and store in the state that the new attribute needs, and
    /// commits. In the worker, with no locks held, so that it may wait for the volume's I/O.
    /// Sleeps.
    #[inline(never)]
    fn make_change(&self, change: &Change) -> Result {
        let paused = match change.number {
            // `None`: it is just being loaded. There may be no I/O to wait for yet, but soon.
            Some(number) => Some(self.provider.pause(number)?.ok_or(EBUSY)?),
            None => None,
        };
        let place = Place::of(&change.bound, change.entry);
        match (place, change.attr) {
            (Some(place), Attr::Rw) => {
                self.check_own_disk(change, place)?;
                self.stop_being_source(change)?;
                place.owner().keep_entries();
                // Before anything is copied: the disk must never be ahead of the increments.
                place.store().settle_owner(place.owner())?;
                // Wait for a repair that began when the disk was last written.
                drop(self.repairs.pause(|disk| disk == change.disk));
                let volume = change.bound.volumes.get(change.entry).ok_or(EINVAL)?;
                let range = match change.range {
                    Some(Sectors { start, len }) => (start, start.saturating_add(len)),
                    None => (0, change.bound.members.sectors),
                };
                let (store, owner) = (place.store(), place.owner());
                store.copy_to_disk(owner, volume, change.disk, range)?;
            }
            (Some(place), _) => {
                // Its disk may have been written since the store was opened.
                place.owner().keep_entries();
                place.store().settle_owner(place.owner())?;
            }
            (None, _) => (),
        }
        self.commit_attr(change)?;
        drop(paused);
        Ok(())
    }

    /// Checks that the disk that a volume is going to be written to holds the base image where the
    /// volume has no changes: the start does not look at the disks of diverted volumes that were
    /// written once. Sleeps for I/O.
    #[inline(never)]
    fn check_own_disk(&self, change: &Change, place: Place<'_>) -> Result {
        let request = Request::new(self.name(), "set_attr", &change.lid);
        let state = self.state.lock();
        let table = state.table.as_ref().ok_or(EAGAIN)?;
        let disk = table.volume(change.disk).ok_or(ENXIO)?;
        if disk.state.pristine || table.reads_alone(change.entry).is_some() {
            return Ok(());
        }
        if change.bound.is_silent(change.disk) {
            return Err(request.refuse("its disk does not answer", EBUSY));
        }
        let mut samples = KVec::new();
        samples.extend_from_slice(&table.metadata().samples, GFP_KERNEL)?;
        drop(state);
        let members = &change.bound.members;
        let disk = members.disk(change.disk).ok_or(ENXIO)?;
        let sectors = u32::try_from(SUB_BLOCK_SECTORS)?;
        let map = &place.owner().map;
        let is_base = |sample: &Sample| map.read_run(sample.sector(), sectors).kind == Kind::Base;
        match base::compare_where(members, disk, &samples, is_base)? {
            Verdict::Same | Verdict::Partly(_) => Ok(()),
            Verdict::Differs(sector) => Err(request.refuse(
                format_args!(
                    "its disk does not hold the base image, see sector {sector}: wrong disk?"
                ),
                EINVAL,
            )),
            Verdict::Unreadable(error) => Err(request.refuse("its disk can't be read", error)),
        }
    }

    /// Makes durable that the disk of a volume no longer serves others.
    fn stop_being_source(&self, change: &Change) -> Result {
        self.wait_for_readers(change).inspect_err(|_| {
            let _commits = self.commits.lock();
            self.let_serve_again(&change.bound, change.disk);
        })
    }

    /// As [`Group::stop_being_source`], but after an error the disk may have been left alone by
    /// others without any need.
    fn wait_for_readers(&self, change: &Change) -> Result {
        while !self.stop_being_source_now(change)? {
            // Without a lock: this may hang, and others must be able to go on.
            change.bound.wait_for_reads(change.disk).map_err(|error| {
                let request = Request::new(self.name(), "set_attr", &change.lid);
                request.refuse("its disk does not answer", error)
            })?;
        }
        Ok(())
    }

    /// As [`Group::stop_being_source`], but does not wait; returns `false` if reads of others are
    /// in flight.
    #[inline(never)]
    fn stop_being_source_now(&self, change: &Change) -> Result<bool> {
        let homes = self.commits.lock();
        let state = self.state.lock();
        let table = state.table.as_ref().filter(|_| state.is_live);
        let table = table.ok_or(EAGAIN)?;
        let next = box_next(table.with_writes(change.entry)?)?;
        drop(state);
        if !change.bound.has_other_source(change.disk) {
            return Err(EBUSY);
        }
        change.bound.keep_away(change.disk);
        if !change.bound.is_left(change.disk) {
            return Ok(false);
        }
        if let Some(next) = next {
            self.commit(&change.bound, &homes, next)?;
        }
        Ok(true)
    }

    /// Makes the new attribute durable, and lets it take effect.
    #[inline(never)]
    fn commit_attr(&self, change: &Change) -> Result {
        let homes = self.commits.lock();
        let state = self.state.lock();
        let table = state.table.as_ref().filter(|_| state.is_live);
        let table = table.ok_or(EAGAIN)?;
        let next = table.with_attr(&change.lid, change.attr, change.range);
        let next = match next {
            Ok(Some(next)) => KBox::new(next, GFP_KERNEL)?,
            Ok(None) => return Ok(()),
            Err(AttrError::NoMemory) => return Err(ENOMEM),
            // Something else has changed meanwhile.
            Err(_) => return Err(EBUSY),
        };
        drop(state);
        if !keeps_source(&change.bound, change.disk, change.attr) {
            return Err(EBUSY);
        }
        let view = next.view(change.entry).ok_or(EINVAL)?;
        let borders = next.borders(change.entry)?;
        let volume = change.bound.volumes.get(change.entry).ok_or(EINVAL)?;
        let done = match self.commit_or_doubt(&change.bound, &homes, next) {
            Ok(()) => Ok(()),
            // A restart may read the disk, which then must have all that is written from now on.
            // The store gets it, too, in case that it does not.
            Err(Failed {
                error,
                in_doubt: Some(next),
            }) if change.attr == Attr::Rw => {
                self.follow_into(next);
                log::warning!(
                    self.name(),
                    "{}: is logged from now on, but a restart may find it as it was",
                    change.lid
                );
                Err(error)
            }
            Err(failed) => return Err(failed.error),
        };

        // Repairs look at the regions, too.
        let _no_repairs = self.repairs.pause(|disk| disk == change.disk);
        let views = self.failures.views();
        let place = Place::of(&change.bound, change.entry);
        // If only its regions change it keeps its view, which may already say that its disk is
        // failing.
        if volume.view.get().writes != view.writes {
            if let Some(place) = place {
                place.owner().set_disk(&views, view.logged_disk());
            }
            volume.view.set(&views, view);
        }
        if let Some(place) = place {
            place.owner().set_has_regions(!borders.is_empty());
        }
        // There is room: the core does not allow more.
        match volume.regions.set(&borders) {
            true => done,
            false => Err(EINVAL),
        }
    }
}

/// Whether some disk still serves reads of the base image once a volume on `disk` has this
/// attribute.
fn keeps_source(bound: &Bound, disk: usize, attr: Attr) -> bool {
    bound.has_other_source(disk) || (attr == Attr::Ro && bound.has_other_source(usize::MAX))
}
