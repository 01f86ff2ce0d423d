// SPDX-License-Identifier: GPL-2.0

//! One group, over all tables of its mapped device.

mod add;
mod announce;
mod attributes;
mod check_line;
mod comparison;
mod fail;
mod fail_store;
mod pauses;
mod protect;
mod rebuild;
mod refresh;
mod replace_meta;
mod restore;
mod verify;

pub(crate) use comparison::Comparison;

use attributes::Changes;
use pauses::Pauses;
use rebuild::Rebuilds;
use refresh::Refreshes;

use crate::{
    bound::{
        Bound,
        Volume, //
    },
    dm::{
        provider::Provider,
        DeviceNumber,
        Live,
        Setup,
        Worker,
        Writer, //
    },
    env::Word,
    errors::{
        Failures,
        Repairs,
        Retries,
        Silences, //
    },
    log,
    members::{
        EntryCell,
        Members,
        Sources, //
    },
    metadata::{
        self,
        Homes, //
    },
    start::{
        self,
        Prepared,
        Started, //
    },
    stats::VolumeStats,
    store::{
        Found,
        Link,
        Store, //
    },
    svol_core::{
        attr::Attr,
        group::{
            Counters,
            GroupTable,
            RemoveError, //
        },
        health::Health,
        id::Id,
        route::{
            Home,
            ViewCell,
            VolumeView, //
        },
        select::Selector,
        table_line::{
            ReadPolicy,
            TableLine,
            VolumeLine, //
        },
        turns::Turn, //
    },
};
use core::fmt::{
    self,
    Write as _, //
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
        Instant, //
    }, //
};

/// Why entries neither join nor leave.
const OTHER_TABLE: &str = "another table is loaded for the group, resume with it or clear it first";

/// How often the disks of an entry that left are looked at until they have no I/O, a millisecond apart.
const REMOVE_LOOKS: usize = 100;

/// One group.
///
/// # Locks
///
/// `commits` before `state`. `commits` is held across metadata I/O, so whatever must answer at once
/// takes only `state`, under which nothing sleeps for I/O.
#[pin_data]
pub(crate) struct Group {
    number: DeviceNumber,
    provider: Arc<Provider<Bound>>,
    /// Held by whoever changes the metadata.
    #[pin]
    commits: Mutex<()>,
    #[pin]
    state: Mutex<State>,
    /// Changes attributes.
    #[pin]
    changes: Worker<Changes>,
    /// Reads that failed.
    #[pin]
    retries: Worker<Retries>,
    /// Disks that failed.
    #[pin]
    failures: Worker<Failures>,
    /// Bad sectors.
    #[pin]
    repairs: Worker<Repairs>,
    /// Disks that do not answer.
    #[pin]
    silences: Worker<Silences>,
    /// Fills disks.
    #[pin]
    rebuilds: Worker<Rebuilds>,
    /// Holds up volumes for that.
    #[pin]
    pauses: Worker<Pauses>,
    /// Has the table loaded again.
    #[pin]
    refreshes: Worker<Refreshes>,
}

/// What is known of a group.
struct State {
    /// Number of `svol-group` tables, live or not.
    tables: usize,
    /// The live table, or the one that was live before a suspend.
    bound: Option<Arc<Bound>>,
    /// The group table that goes with it.
    table: Option<KBox<GroupTable>>,
    /// GrpID and uuid of the group that was live last.
    identity: Option<(Id, [u8; 16])>,
    /// Where its metadata copies are.
    homes: Homes,
    /// The last event count that was seen.
    events: Option<u64>,
    /// Entries that joined the group since the table was loaded; some may have left it again.
    added: KVec<VolumeLine<DeviceNumber>>,
    /// Counters of all entries that there ever were.
    stats: KVec<(Id, Arc<VolumeStats>)>,
    /// Volumes that are loaded.
    claims: KVec<LidClaim>,
    /// The table is live: its devices may be written.
    is_live: bool,
    /// A start has written to the devices, and failed then: `bound` and `table` are not what they hold.
    is_outdated: bool,
    /// It is to begin anew, though with the same devices, when it becomes live the next time.
    wants_anew: bool,
    /// An entry that is about to leave the group: it can't be loaded.
    leaving: Option<Id>,
    /// An entry is about to join the group.
    is_joined: bool,
    /// A volume whose attribute is being changed: it can't be loaded meanwhile.
    changing: Option<Id>,
}

/// A volume that is loaded by a mapped device.
struct LidClaim {
    lid: Id,
    number: DeviceNumber,
    /// Tables, or lines of tables, of that device.
    targets: usize,
    /// One of them was loaded for writing.
    writable: bool,
    /// Changes were lost that its users do not know to be lost: its I/O fails until they are gone.
    lost: bool,
}

/// Why a volume can't be loaded.
pub(crate) struct Refusal {
    /// For the constructor's error.
    pub(crate) reason: &'static CStr,
    /// For the caller of the ioctl.
    pub(crate) error: Error,
    /// For the log.
    pub(crate) detail: Detail,
}

/// The long form of a [`Refusal`].
pub(crate) enum Detail {
    /// The group is not live.
    NotLive,
    /// No such entry.
    Unknown,
    /// The entry is no volume.
    NoVolume(Attr),
    /// The target is longer than the group: target, group in sectors.
    TooLong(u64, u64),
    /// Loaded elsewhere.
    Taken(DeviceNumber),
    /// Not to be written, for this reason.
    ReadOnly(&'static str),
    /// It was added to the group, and its device is not here yet.
    Added,
    /// Its attribute is being changed.
    Changing,
    /// Its last changes could not be written.
    Lost,
    /// Out of memory.
    Memory,
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Detail::NotLive => f.write_str("the group is suspended or not live"),
            Detail::Unknown => f.write_str("the group has no such entry"),
            Detail::NoVolume(attr) => write!(f, "the entry is no volume, its attribute is {attr}"),
            Detail::TooLong(target, group) => {
                write!(f, "{target} sectors, but the group has {group}")
            }
            Detail::Taken(number) => write!(f, "already loaded by device {number}"),
            Detail::ReadOnly(why) => write!(f, "needs a read-only table: {why}"),
            Detail::Added => {
                f.write_str("it was added, load the group's table with it before its own")
            }
            Detail::Changing => f.write_str("its attribute is being changed"),
            Detail::Lost => f.write_str(
                "its last changes are lost; with the volume removed, load the group's table again",
            ),
            Detail::Memory => f.write_str("out of memory"),
        }
    }
}

impl From<kernel::alloc::AllocError> for Refusal {
    fn from(_: kernel::alloc::AllocError) -> Self {
        Self::new(c"Out of memory", ENOMEM, Detail::Memory)
    }
}

impl Refusal {
    fn new(reason: &'static CStr, error: Error, detail: Detail) -> Self {
        Self {
            reason,
            error,
            detail,
        }
    }
}

/// A group's name for log lines.
pub(crate) enum Name {
    /// Its ID.
    Known(Id),
    /// It has none yet.
    Unknown,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Known(id) => write!(f, "{id}"),
            Name::Unknown => f.write_str("?"),
        }
    }
}

impl Group {
    /// The group of the mapped device that a table is loaded for.
    pub(crate) fn new<'a>(setup: &'a Setup<'_>) -> impl PinInit<Self, Error> + 'a {
        try_pin_init!(Self {
            number: setup.number(),
            provider: Arc::pin_init(Provider::new(setup), GFP_KERNEL)?,
            commits <- new_mutex!(()),
            state <- new_mutex!(State {
                tables: 0,
                bound: None,
                table: None,
                identity: None,
                homes: Homes::fresh(0),
                events: None,
                added: KVec::new(),
                stats: KVec::new(),
                claims: KVec::new(),
                is_live: false,
                is_outdated: false,
                wants_anew: false,
                leaving: None,
                is_joined: false,
                changing: None,
            }),
            changes <- Changes::worker(),
            retries <- Retries::worker(),
            failures <- Failures::worker(),
            repairs <- Repairs::worker(),
            silences <- Silences::worker(),
            rebuilds <- Rebuilds::worker(),
            pauses <- Pauses::worker(),
            refreshes <- Refreshes::worker(),
        }? Error)
    }

    /// Number of its mapped device.
    pub(crate) fn number(&self) -> DeviceNumber {
        self.number
    }

    /// Publishes its live table to the volumes.
    pub(crate) fn provider(&self) -> &Arc<Provider<Bound>> {
        &self.provider
    }

    /// Tries failed reads elsewhere.
    pub(crate) fn retries(&self) -> &Worker<Retries> {
        &self.retries
    }

    /// Sees to disks that fail.
    pub(crate) fn failures(&self) -> &Worker<Failures> {
        &self.failures
    }

    /// Writes bad sectors back.
    pub(crate) fn repairs(&self) -> &Worker<Repairs> {
        &self.repairs
    }

    /// Its live table, or the one that was live before a suspend.
    pub(crate) fn bound(&self) -> Option<Arc<Bound>> {
        self.state.lock().bound.clone()
    }

    /// The name for log lines.
    pub(crate) fn name(&self) -> Name {
        match &self.state.lock().table {
            Some(table) => Name::Known(*table.id()),
            None => Name::Unknown,
        }
    }

    /// One more table.
    pub(crate) fn table_made(&self) {
        let mut state = self.state.lock();
        state.tables = state.tables.saturating_add(1);
    }

    /// One table less: forgets it, and lets the volumes fail their I/O if it was the last one.
    pub(crate) fn table_gone(&self, number: u64) {
        let going = self.bound().filter(|bound| bound.members.table == number);
        for owner in going.iter().flat_map(|bound| bound.losers()) {
            // A table that comes later knows nothing of it.
            if self.loaded_by(&owner.lid).is_some() {
                self.note_lost(&owner.lid);
            }
        }
        drop(going);
        let mut state = self.state.lock();
        state.tables = state.tables.saturating_sub(1);
        let last = state.tables == 0;
        let bound = state.bound.take_if(|bound| bound.members.table == number);
        let table = if bound.is_some() {
            state.table.take()
        } else {
            None
        };
        drop(state);
        drop((bound, table));
        if last {
            // They may wait for a group that is not there any more.
            self.provider.resume_clients();
        }
    }

    /// Makes a table live, up to its bios. Called by its `preresume`; sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Say in the log what is wrong; the volumes stay suspended then.
    pub(crate) fn bind(
        self: &Arc<Self>,
        live: &Live<'_>,
        line: &TableLine<DeviceNumber>,
        members: &Arc<Members>,
    ) -> Result {
        // Before the lock: it takes the volumes' suspend locks, under which they take this one.
        self.provider.suspend_clients();
        // Tables that go are dropped after the lock: the workers of their stores, which end then,
        // may be about to take it.
        let (_old, new);
        let _commits = self.commits.lock();
        let known = self.bound().filter(|b| Arc::ptr_eq(&b.members, members));
        match &known {
            // The same table again, after a suspend: its devices were held all the time.
            Some(bound) if !self.begins_anew(bound) => {
                return self.go_on_as_before(live, bound.clone());
            }
            Some(_) => (),
            None => self.settle_old(),
        }
        let prepared = match self.prepare(line, members) {
            Ok(prepared) => prepared,
            Err(error) => {
                // Nothing was written. All volumes would wait for what some of them miss.
                let Some(bound) = known.filter(|_| !self.state.lock().is_outdated) else {
                    return Err(error);
                };
                self.say_as_before();
                return self.go_on_as_before(live, bound);
            }
        };
        let Started {
            table,
            homes,
            stores,
            openings,
        } = start::start(line, members, prepared)?;
        new = Arc::new(self.make_bound(&table, line, members, stores)?, GFP_KERNEL)?;
        let bound = &new;
        if let Some(old) = self.bound() {
            bound.inherit_losses(&old);
        }
        let table = self.resolve(bound, &homes, table)?;
        let table = self.resolve_rebuilds(bound, &homes, table)?;
        self.provider.publish(live, bound.clone())?;

        let mut state = self.state.lock();
        let events = table.head().events;
        state.identity = Some((table.head().group, table.head().uuid));
        let news = state
            .events
            .replace(events)
            .is_some_and(|before| before.saturating_add(openings) != events);
        _old = state.bound.replace(bound.clone());
        let old_table = state.table.replace(table);
        let old_added = core::mem::take(&mut state.added);
        state.homes = homes;
        state.is_live = true;
        state.is_outdated = false;
        state.wants_anew = false;
        drop(state);
        drop((old_table, old_added));
        bound.go_on();
        self.start_rebuilds(bound.clone(), &line.features);
        if news {
            members.event.raise();
        }
        Ok(())
    }

    /// All that a start does before it writes. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Say in the log what is wrong; nothing has changed then.
    #[inline(never)]
    fn prepare(&self, line: &TableLine<DeviceNumber>, members: &Members) -> Result<Prepared> {
        let prepared = start::prepare(line, members)?;
        self.check_writers(prepared.table())?;
        self.begin_writing(prepared.table())?;
        Ok(prepared)
    }

    /// A start is about to write. Volumes that are loaded must not find another group under them, although it
    /// may have the same names.
    fn begin_writing(&self, table: &GroupTable) -> Result {
        let head = table.head();
        let identity = (head.group, head.uuid);
        let mut state = self.state.lock();
        let is_other = state.identity.is_some_and(|known| known != identity);
        if is_other && !state.claims.is_empty() {
            drop(state);
            log::notice!(
                table.id(),
                "this is another group than the one whose volumes are loaded: remove them first"
            );
            return Err(EBUSY);
        }
        // Nor can any be loaded from here on.
        let other = match is_other {
            true => state.table.take(),
            false => None,
        };
        state.is_outdated = true;
        drop(state);
        drop(other);
        Ok(())
    }

    /// Makes a table live once more as it was. Sleeps while volumes' bios need.
    fn go_on_as_before(&self, live: &Live<'_>, bound: Arc<Bound>) -> Result {
        self.provider.publish(live, bound.clone())?;
        self.state.lock().is_live = true;
        bound.go_on();
        self.continue_rebuilds(bound);
        Ok(())
    }

    /// Whether a table that was suspended, and is to be live again, is not to go on but to begin from what is
    /// on disk. Makes all durable then that its suspend could not; sleeps for I/O.
    fn begins_anew(&self, bound: &Bound) -> bool {
        if self.state.lock().is_outdated {
            return true;
        }
        let mut is_settled = self.awaits_store(&bound.members);
        if is_settled {
            // What can't be written now is in memory still: to begin anew would lose it.
            bound.settle_again(|_| is_settled = false);
            if !is_settled {
                self.say_as_before();
            }
        }
        is_settled
    }

    fn say_as_before(&self) {
        log::warning!(
            self.name(),
            "goes on as before: what was taken back is in use after the next load of the group's table"
        );
    }

    /// Whether an increments volume was taken back that is in use, or has what it lacks, only after all is begun
    /// anew, and nothing is known that would keep the group from beginning.
    fn awaits_store(&self, members: &Members) -> bool {
        let state = self.state.lock();
        let table = state.table.as_ref();
        table.is_some_and(|table| {
            // Also one that failed before it ever held a store.
            let mut awaited = Iterator::chain(table.awaited_stores(), table.new_stores());
            let is_wanted = state.wants_anew || awaited.any(|entry| members.disk(entry).is_some());
            is_wanted && table.may_begin_anew(members.disks.len())
        })
    }

    /// Makes durable what the suspend of the old table could not. What can't be written is lost with
    /// that table; its users must not see older data as if nothing had happened.
    fn settle_old(&self) {
        let Some(old) = self.bound() else {
            return;
        };
        old.settle_again(|lid| self.note_lost(lid));
    }

    /// A volume has lost changes that its user takes for written.
    fn note_lost(&self, lid: &Id) {
        let mut state = self.state.lock();
        if let Some(claim) = state.claims.iter_mut().find(|claim| claim.lid == *lid) {
            claim.lost = true;
        }
        drop(state);
        log::warning!(
            self.name(),
            "{lid}: its last changes are lost, they could not be written; its I/O fails until \
             it is removed and the group's table is loaded again"
        );
    }

    /// Whether a volume that is loaded has lost changes.
    fn has_lost(&self, lid: &Id) -> bool {
        let state = self.state.lock();
        state.claims.iter().any(|c| c.lost && c.lid == *lid)
    }

    /// Brings stores in step with disks after a crash, before the table is live.
    #[inline(never)]
    fn resolve(
        &self,
        bound: &Bound,
        homes: &Homes,
        mut table: KBox<GroupTable>,
    ) -> Result<KBox<GroupTable>> {
        bound.resolve(|entry| {
            let Some(next) = table.with_unprotected(entry)? else {
                return Ok(());
            };
            let mut next = KBox::new(next, GFP_KERNEL)?;
            commit_and_tell(bound, homes, &mut next, table.head().events)?;
            if let Some(volume) = bound.volumes.get(entry) {
                log::warning!(
                    next.id(),
                    "{}: unprotected from now on, its increments volume is full",
                    volume.lid
                );
            }
            table = next;
            Ok(())
        })?;
        Ok(table)
    }

    /// A table must not take the leave to write from volumes that are loaded for writing.
    fn check_writers(&self, table: &GroupTable) -> Result {
        let state = self.state.lock();
        for claim in state.claims.iter().filter(|claim| claim.writable) {
            let view = table
                .position(&claim.lid)
                .and_then(|entry| table.view(entry));
            // What has lost its data fails anyway, and is no reason to stop the others.
            let is_lost = table
                .position(&claim.lid)
                .is_some_and(|entry| table.is_lost(entry));
            if !is_lost && !view.is_some_and(|view| may_write(&view)) {
                log::notice!(
                    table.id(),
                    "{}: loaded for writing by device {}, but this table does not let it write",
                    claim.lid,
                    claim.number
                );
                return Err(EBUSY);
            }
        }
        Ok(())
    }

    #[inline(never)]
    fn make_bound(
        self: &Arc<Self>,
        table: &GroupTable,
        line: &TableLine<DeviceNumber>,
        members: &Arc<Members>,
        found: KVec<Found>,
    ) -> Result<Bound> {
        let policy = line.features.read_policy;
        let mut stores = KVec::with_capacity(found.len(), GFP_KERNEL)?;
        for found in found {
            let store = found.open(self, members, table, &line.features)?;
            stores.push(store, GFP_KERNEL)?;
        }
        let mut volumes = KVec::with_capacity(table.volumes().len(), GFP_KERNEL)?;
        for (entry, record) in table.volumes().iter().enumerate() {
            let volume = Volume {
                lid: record.lid,
                view: ViewCell::new(match self.has_lost(&record.lid) {
                    false => table.view(entry).ok_or(EINVAL)?,
                    true => VolumeView::NOWHERE,
                }),
                regions: table.make_regions(entry)?.ok_or(EINVAL)?,
                link: link(table, &stores, entry),
                stats: self.stats(&record.lid)?,
                selector: new_selector(policy)?,
                apart: Word::new(0),
                copied: Word::new(table.rebuild_of(entry).map_or(0, |r| r.cursor)),
                turn: Turn::new(),
                compared: Comparison::new(),
                alone: EntryCell::new(table.reads_alone(entry)),
                verified: Comparison::new(),
            };
            volumes.push(volume, GFP_KERNEL)?;
        }

        // Disks of in-place volumes serve others only if there is nothing else: their first write
        // would have to wait for reads of others.
        let is_ro = |disk: usize| {
            let served = table.served_by(disk).and_then(|entry| table.volume(entry));
            served.is_some_and(|volume| volume.attr == Attr::Ro)
        };
        let sources = Sources::new(table.volumes().len())?;
        for disk in table.sources() {
            sources.add(disk, is_ro(disk));
        }
        Ok(Bound {
            group: self.clone(),
            members: members.clone(),
            volumes,
            stores,
            sources,
            max_errors: line.features.max_errors,
            made: Instant::now(),
            slow_after: line.features.slow_after,
            selector: new_selector(policy)?,
        })
    }

    /// The counters of an entry; made if there are none yet.
    #[inline(never)]
    fn stats(&self, lid: &Id) -> Result<Arc<VolumeStats>> {
        let mut state = self.state.lock();
        if let Some((_, stats)) = state.stats.iter().find(|(known, _)| known == lid) {
            return Ok(stats.clone());
        }
        let stats = Arc::pin_init(VolumeStats::new(), GFP_KERNEL)?;
        state.stats.push((*lid, stats.clone()), GFP_KERNEL)?;
        Ok(stats)
    }

    /// Makes it known, and durable, that a volume will be written without a log. Called by the
    /// volume's `preresume`; sleeps for I/O.
    ///
    /// # Errors
    ///
    /// `EBUSY` if others read the base image from the volume's disk, and have nobody else to ask, or it does not
    /// answer them; `EROFS` if it has no disk and no increments volume to write to; those of the commit.
    pub(crate) fn prepare_writes(&self, bound: &Bound, lid: &Id) -> Result {
        while let Some(disk) = self.prepare_writes_now(bound, lid)? {
            // With nothing held: it may hang, and then others have to go on.
            bound.wait_for_reads(disk).inspect_err(|_| {
                log::notice!(
                    self.name(),
                    "{lid}: can't be written, its disk does not answer reads of the base"
                );
            })?;
        }
        Ok(())
    }

    /// As [`Group::prepare_writes`], if nobody reads the base image from the volume's disk any more; returns the
    /// disk's entry if somebody may.
    #[inline(never)]
    fn prepare_writes_now(&self, bound: &Bound, lid: &Id) -> Result<Option<usize>> {
        let _commits = self.commits.lock();
        let state = self.state.lock();
        let Some(table) = &state.table else {
            return Err(ENXIO);
        };
        let Some(entry) = table.position(lid) else {
            // It was removed from the group; its I/O fails.
            return Ok(None);
        };
        if table
            .view(entry)
            .is_some_and(|view| matches!(view.writes, Home::Overlay | Home::Kept))
        {
            // Nothing but the store will be written.
            return Ok(None);
        }
        if !table.view(entry).is_some_and(|view| may_write(&view)) {
            if !table.is_served(entry) {
                // It writes nowhere, and its users are to see that.
                return Ok(None);
            }
            // It may get a disk while it is in use, and would write there although nobody knows.
            drop(state);
            log::notice!(
                self.name(),
                "{lid}: can't be written, it has no disk and no increments volume"
            );
            return Err(EROFS);
        }
        let disk = table.disk_of(entry);
        let logged =
            matches!(table.view(entry), Some(view) if matches!(view.writes, Home::Logged(_)));
        let next = if logged {
            table.with_writes(entry)?
        } else {
            table.with_unprotected(entry)?
        };
        let next = match next {
            Some(next) => Some(KBox::new(next, GFP_KERNEL)?),
            None => None,
        };
        // Whoever needs the base image would have nobody to ask.
        let is_needed = disk.is_some_and(|disk| {
            let needs_others = table.has_regions(entry);
            bound.is_last_source(disk, lid) || (needs_others && !bound.has_other_source(disk))
        });
        let homes = state.homes;
        drop(state);

        if is_needed {
            log::notice!(
                self.name(),
                "{lid}: can't be written, its disk is the only one that serves reads of the base"
            );
            return Err(EBUSY);
        }
        if let Some(disk) = disk {
            let is_news = bound.keep_away(disk);
            let was_source = bound.sources.iter().any(|source| source == disk);
            // Also if that is no news: a move may have begun while they were under way. But for one that is on
            // record as written that was seen to before.
            if was_source && (is_news || next.is_some()) && bound.has_io([disk]) {
                return Ok(Some(disk));
            }
        }
        let Some(next) = next else {
            return Ok(None);
        };
        self.commit(bound, &homes, next)?;
        if !logged {
            log::notice!(
                self.name(),
                "{lid}: unprotected from now on, it is written without a log"
            );
        }
        Ok(None)
    }

    /// Makes it known, and durable, that a logged volume goes on without a log. Called by the worker
    /// of its store; sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Those of the commit.
    #[inline(never)]
    pub(crate) fn unprotect(&self, bound: &Bound, lid: &Id) -> Result {
        let _commits = self.commits.lock();
        let state = self.state.lock();
        let table = state.table.as_ref().ok_or(ENXIO)?;
        let entry = table.position(lid).ok_or(ENXIO)?;
        if table.disk_of(entry).is_none() {
            // It has failed meanwhile: what the increments volume lacks is nowhere.
            return Err(EIO);
        }
        let next = match table.with_unprotected(entry)? {
            Some(next) => Some(KBox::new(next, GFP_KERNEL)?),
            None => None,
        };
        let homes = state.homes;
        drop(state);
        if let Some(next) = next {
            self.commit(bound, &homes, next)?;
            log::warning!(
                self.name(),
                "{lid}: unprotected from now on, its increments volume failed or is full"
            );
        }
        bound.log_is_given_up(entry)
    }

    /// The table is suspended: waits until no message changes the group any more, and lets none
    /// begin. Sleeps for I/O of the metadata.
    pub(crate) fn stop_changes(&self) {
        self.silences.stop();
        self.repairs.stop();
        self.failures.stop();
        let _commits = self.commits.lock();
        self.state.lock().is_live = false;
    }

    /// Takes an entry out of the group. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Say in the log why not; nothing has changed then.
    #[inline(never)]
    pub(crate) fn remove(&self, lid: &Id) -> Result {
        let commits = self.commits.lock();
        let mut state = self.state.lock();
        let (Some(table), Some(bound), true) = (&state.table, &state.bound, state.is_live) else {
            let name = state.table.as_ref().map(|table| *table.id());
            drop(state);
            if let Some(name) = name {
                log::notice!(name, "message \"remove\": the group is suspended");
            }
            return Err(EAGAIN);
        };
        let group = *table.id();
        let refuse = |why: fmt::Arguments<'_>, error: Error| {
            log::notice!(group, "message \"remove\": LID {lid}: {why}");
            error
        };
        if state.changing.is_some() {
            return Err(refuse(
                format_args!("another change of the group is under way"),
                EBUSY,
            ));
        }
        if let Some(claim) = state.claims.iter().find(|claim| claim.lid == *lid) {
            let number = claim.number;
            return Err(refuse(format_args!("loaded by device {number}"), EBUSY));
        }
        if state.tables > 1 {
            // The line of that has the entry, and fitted when it was loaded.
            return Err(refuse(format_args!("{OTHER_TABLE}"), EBUSY));
        }
        let next = table.with_removed(lid).map_err(|error| match error {
            RemoveError::NoMemory => ENOMEM,
            RemoveError::Unknown => refuse(format_args!("{error}"), ENODEV),
            _ => refuse(format_args!("{error}"), EBUSY),
        })?;
        let next = KBox::new(next, GFP_KERNEL)?;
        let entry = table.position(lid).ok_or(ENODEV)?;
        // After a failover it lives on that of another entry, which is free then.
        let disk = table.disk_of(entry).unwrap_or(entry);
        let bound = bound.clone();
        if bound.is_last_source(disk, lid) {
            let why = format_args!("its disk is the only one that serves reads of the base");
            return Err(refuse(why, EBUSY));
        }
        let homes = state.homes;
        state.leaving = Some(*lid);
        drop(state);

        // Before it is durable: nobody relies on a disk that serves nobody any more.
        let was_read = [entry, disk].map(|disk| (disk, bound.keep_away(disk)));
        let result = self.commit_removal(&bound, &homes, next, lid);
        self.state.lock().leaving = None;
        match result {
            Ok(()) => {
                bound.retire(entry);
                drop(commits);
                // As long as they have I/O the group does not use them, see `is_free`. Mostly that is only a moment,
                // and whoever wants this may have another use for them next.
                for _ in 0..REMOVE_LOOKS {
                    if !bound.has_io([entry, disk]) {
                        break;
                    }
                    fsleep(Delta::from_millis(1));
                }
                // Its worker may be about to take the lock.
                bound.wait_for_store(entry);
                log::info!(group, "{lid}: removed from the group");
                Ok(())
            }
            Err(error) => {
                for (disk, _) in was_read.iter().filter(|(_, was_read)| *was_read) {
                    bound.let_serve(*disk);
                }
                let errno = error.to_errno();
                Err(refuse(format_args!("not removed: error {errno}"), error))
            }
        }
    }

    /// The durable part of [`Group::remove`]; under `commits`.
    #[inline(never)]
    fn commit_removal(
        &self,
        bound: &Bound,
        homes: &Homes,
        next: KBox<GroupTable>,
        lid: &Id,
    ) -> Result {
        let place = bound.store_of(lid);
        let Some((store, owner)) = place.filter(|(store, _)| !store.has_failed()) else {
            return self.commit(bound, homes, next);
        };
        // Before the metadata forgets it: what it has in the store would belong to nobody.
        store.announce_leave(owner, true)?;
        self.commit(bound, homes, next).inspect_err(|_| {
            // A start would find that it stays, too.
            let _ = store.announce_leave(owner, false);
        })?;
        store.let_leave(owner);
        Ok(())
    }

    /// Writes the line of a table of these members: if it is the live one, as it is by now.
    pub(crate) fn write_line(
        &self,
        members: &Members,
        line: &TableLine<DeviceNumber>,
        out: &mut Writer<'_>,
    ) -> fmt::Result {
        let state = self.state.lock();
        let is_live = |bound: &&Arc<Bound>| bound.members.table == members.table;
        let live = state.bound.as_ref().filter(is_live);
        let table = live.and_then(|_| state.table.as_ref());
        let added = table.map_or(&[][..], |_| &state.added);
        let is_removed = |entry| table.is_some_and(|table| table.is_removed(entry));
        line.write(out, added, is_removed, |out, number| {
            write!(out, "{number}")
        })
    }

    /// Commits a table and puts it in the place of the old one; under `commits`.
    fn commit(&self, bound: &Bound, homes: &Homes, mut next: KBox<GroupTable>) -> Result {
        let known = self.state.lock().events.unwrap_or(0);
        commit_and_tell(bound, homes, &mut next, known).inspect_err(|error| {
            if *error == EIO {
                self.take_back(bound, homes, &next);
            }
        })?;
        // What is not on record now is with the next change.
        if let Ok(Some(mut told)) = with_told_stores(bound, &next) {
            if commit_and_tell(bound, homes, &mut told, next.head().events).is_ok() {
                next = told;
            }
        }
        let mut state = self.state.lock();
        state.events = Some(next.head().events);
        let old = state.table.replace(next);
        drop(state);
        bound.members.event.raise();
        if let Some(old) = old {
            self.announce(bound, &old);
            self.greet_stores(bound, &old);
        }
        Ok(())
    }

    /// Writes the state that the group is in over one whose commit `failed`, but which the group
    /// might be found in after a crash; under `commits`.
    #[inline(never)]
    fn take_back(&self, bound: &Bound, homes: &Homes, failed: &GroupTable) {
        let old = || -> Result<_> {
            let state = self.state.lock();
            let table = state.table.as_ref().ok_or(ENXIO)?;
            Ok(KBox::new(table.instead_of(failed)?, GFP_KERNEL)?)
        };
        if let Err(error) = old().and_then(|old| self.commit_quietly(bound, homes, old)) {
            log::warning!(
                *failed.id(),
                "after a restart, the change that failed may have happened: error {}",
                error.to_errno()
            );
        }
    }

    /// Loads a volume for a mapped device.
    ///
    /// # Errors
    ///
    /// Say why not.
    pub(crate) fn claim(
        &self,
        lid: &Id,
        number: DeviceNumber,
        sectors: u64,
        writable: bool,
    ) -> Result<Claimed, Refusal> {
        let mut state = self.state.lock();
        let Some(table) = &state.table else {
            return Err(Refusal::new(
                c"group dev: the group is not live",
                EAGAIN,
                Detail::NotLive,
            ));
        };
        let found = table
            .position(lid)
            .filter(|_| state.leaving != Some(*lid))
            .and_then(|entry| Some((table.volume(entry)?, table.view(entry)?)));
        let Some((volume, view)) = found else {
            return Err(Refusal::new(c"LID: no such entry", ENODEV, Detail::Unknown));
        };
        if state.added.iter().any(|added| added.lid == *lid) {
            return Err(Refusal::new(
                c"LID: in use after the next load of the group's table",
                EAGAIN,
                Detail::Added,
            ));
        }
        if !volume.attr.is_volume() {
            let detail = Detail::NoVolume(volume.attr);
            return Err(Refusal::new(c"LID: not a volume", EINVAL, detail));
        }
        let writes = Writes::of(&view);
        // One whose disk or increments volume is gone may get another one.
        let may_be_logged =
            volume.rlid.is_some() && (volume.disk.is_some() || volume.health != Health::InSync);
        let group_sectors = table.head().sectors;
        if sectors > group_sectors {
            let detail = Detail::TooLong(sectors, group_sectors);
            return Err(Refusal::new(
                c"length: longer than the group",
                EINVAL,
                detail,
            ));
        }
        if writable && !may_write(&view) {
            let why = match (volume.attr, volume.rlid) {
                (Attr::Ro, None) => "it is a read-only volume",
                (Attr::Ro, Some(_)) => "its increments volume is gone",
                _ if volume.health == Health::Degraded => "its disk is gone",
                (_, Some(_)) => "its increments volume is gone",
                _ => "it has no increments volume, and allow_unprotected is not given",
            };
            let detail = Detail::ReadOnly(why);
            return Err(Refusal::new(c"LID: needs a read-only table", EROFS, detail));
        }

        let is_cut_off = state.bound.as_ref().is_some_and(|bound| {
            let served = bound.volumes.iter().find(|volume| volume.lid == *lid);
            served.is_some_and(|served| {
                served.view.get() == VolumeView::NOWHERE && view != VolumeView::NOWHERE
            })
        });
        if state.changing == Some(*lid) {
            return Err(Refusal::new(
                c"LID: its attribute is being changed",
                EAGAIN,
                Detail::Changing,
            ));
        }
        if is_cut_off {
            return Err(Refusal::new(
                c"LID: it has lost changes, load the group's table again",
                EIO,
                Detail::Lost,
            ));
        }
        if let Some(other) = state
            .claims
            .iter()
            .find(|claim| claim.lid == *lid && claim.number != number)
        {
            let detail = Detail::Taken(other.number);
            return Err(Refusal::new(c"LID: already loaded", EBUSY, detail));
        }
        match state.claims.iter_mut().find(|claim| claim.lid == *lid) {
            Some(claim) => {
                claim.targets = claim.targets.saturating_add(1);
                claim.writable |= writable;
            }
            None => state.claims.push(
                LidClaim {
                    lid: *lid,
                    number,
                    targets: 1,
                    writable,
                    lost: false,
                },
                GFP_KERNEL,
            )?,
        }
        Ok(Claimed {
            may_be_logged,
            writes,
        })
    }

    /// The mapped device that a volume is loaded by.
    fn loaded_by(&self, lid: &Id) -> Option<DeviceNumber> {
        let state = self.state.lock();
        let claim = state.claims.iter().find(|claim| claim.lid == *lid);
        claim.map(|claim| claim.number)
    }

    /// Gives up a claim.
    pub(crate) fn unclaim(&self, lid: &Id, number: DeviceNumber) {
        let mut state = self.state.lock();
        let claim = |claim: &&mut LidClaim| claim.lid == *lid && claim.number == number;
        if let Some(claim) = state.claims.iter_mut().find(claim) {
            claim.targets = claim.targets.saturating_sub(1);
        }
        state.claims.retain(|claim| claim.targets > 0);
    }

    /// The logical block size of the group in bytes, once it is known.
    pub(crate) fn logical_block_size(&self) -> Option<u32> {
        let state = self.state.lock();
        Some(state.table.as_ref()?.head().logical_block_bytes)
    }

    /// The size of a block in bytes, once it is known.
    pub(crate) fn block_bytes(&self) -> Option<u32> {
        let state = self.state.lock();
        Some(state.table.as_ref()?.head().block_sectors << 9)
    }

    /// Writes the status of the group.
    pub(crate) fn write_status(&self, out: &mut Writer<'_>) -> fmt::Result {
        let state = self.state.lock();
        let (Some(table), Some(bound)) = (&state.table, &state.bound) else {
            return Ok(());
        };
        table.write_status(out, |entry| match bound.volumes.get(entry) {
            Some(volume) => Counters {
                frequency: volume.stats.frequency(),
                read_errors: volume.stats.read_errors(),
                write_errors: volume.stats.write_errors(),
                repairs: volume.stats.repairs(),
                blocks: Self::rebuild_progress(table, bound, entry).or_else(|| bound.usage(entry)),
            },
            None => Counters::default(),
        })
    }

    /// Writes the group management table.
    pub(crate) fn write_query(
        &self,
        line: &TableLine<DeviceNumber>,
        out: &mut Writer<'_>,
    ) -> fmt::Result {
        let state = self.state.lock();
        let Some(table) = &state.table else {
            return Ok(());
        };
        table.write_query(out, |out, entry| {
            let mut entries = Iterator::chain(line.volumes.iter(), &state.added);
            match entries.nth(entry).and_then(|volume| volume.dev) {
                Some(number) => write!(out, "{number}"),
                None => out.write_str("-"),
            }
        })
    }

    /// Writes the status of a volume.
    pub(crate) fn write_volume_status(&self, lid: &Id, out: &mut Writer<'_>) -> fmt::Result {
        let state = self.state.lock();
        let found = state
            .table
            .as_ref()
            .and_then(|table| Some((table, table.position(lid)?)));
        match found.and_then(|(table, entry)| Some((table, entry, table.volume(entry)?))) {
            Some((table, entry, volume)) => write!(
                out,
                "{lid} {} {} {}",
                volume.attr,
                table.health(entry).unwrap_or(volume.health),
                table.protection(entry)
            ),
            None => write!(out, "{lid} - - -"),
        }
    }
}

/// A selector; apart, since it is large for a stack.
#[inline(never)]
fn new_selector(policy: ReadPolicy) -> Result<KBox<Selector>> {
    Ok(KBox::new(Selector::new(policy), GFP_KERNEL)?)
}

/// Where an entry keeps its changes.
fn link(table: &GroupTable, stores: &[Pin<KBox<Worker<Store>>>], entry: usize) -> Option<Link> {
    let lid = &table.volume(entry)?.lid;
    let disk = table.store_of(entry)?;
    let store = stores.iter().position(|store| store.entry() == disk)?;
    let owners = &stores.get(store)?.owners;
    Some(Link {
        store,
        owner: owners.iter().position(|owner| owner.lid == *lid)?,
    })
}

/// Commits a table, and tells the stores, which were told of the event `told` last; under `commits`.
fn commit_and_tell(bound: &Bound, homes: &Homes, next: &mut GroupTable, told: u64) -> Result {
    metadata::commit(&bound.members, homes, next, told)?;
    bound.note_events(next);
    Ok(())
}

/// A table after stores that missed events before have seen those of `table`; `None` if there are none.
#[inline(never)]
fn with_told_stores(bound: &Bound, table: &GroupTable) -> Result<Option<KBox<GroupTable>>> {
    let events = table.head().events;
    let is_told = |entry| {
        let store = bound.store_at(entry);
        store.is_some_and(|store| store.known_events() == events)
    };
    // Or each commit would make a copy of the table.
    if !table.has_kept_store() {
        return Ok(None);
    }
    Ok(match table.with_stores_told(is_told)? {
        Some(told) => Some(KBox::new(told, GFP_KERNEL)?),
        None => None,
    })
}

/// Whether writes of such a volume go anywhere.
fn may_write(view: &VolumeView) -> bool {
    view.writes != Home::Nowhere
}

/// Where the writes of a volume go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writes {
    /// It is not written.
    Nowhere,
    /// To its disk.
    InPlace,
    /// To an increments volume.
    Diverted,
    /// To both.
    Logged,
}

impl Writes {
    fn of(view: &VolumeView) -> Self {
        match view.writes {
            Home::Disk(_) => Self::InPlace,
            Home::Overlay => Self::Diverted,
            Home::Logged(_) | Home::Kept => Self::Logged,
            Home::Base | Home::Nowhere => Self::Nowhere,
        }
    }
}

/// A volume that was claimed.
pub(crate) struct Claimed {
    /// Where its writes go.
    pub(crate) writes: Writes,
    /// It is logged, or may become so while it is loaded.
    pub(crate) may_be_logged: bool,
}
