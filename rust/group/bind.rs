// SPDX-License-Identifier: GPL-2.0

//! Makes a table of a group live.

use super::{
    claim::may_write,
    commit::{
        box_next,
        commit_and_tell, //
    },
    Comparison,
    Group, //
};
use crate::{
    bound::{
        Bound,
        View,
        Volume, //
    },
    dm::{
        DeviceNumber,
        Live,
        Worker, //
    },
    env::Word,
    log,
    members::{
        EntryCell,
        Members,
        Sources, //
    },
    metadata::{
        Homes,
        Writers, //
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
        Store,
        Teller, //
    },
    svol_core::{
        attr::Attr,
        fate::FateCell,
        flag::Flag,
        group::GroupTable,
        id::Id,
        route::VolumeView,
        select::Selector,
        table_line::{
            ReadPolicy,
            TableLine, //
        },
        turns::Turn, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::Instant, //
};

/// A table that only has to be published.
struct Begun {
    table: KBox<GroupTable>,
    homes: Homes,
    /// See [`Started`].
    openings: u64,
    bound: Arc<Bound>,
}

/// What a new table has replaced.
struct Replaced {
    /// To be dropped without locks.
    bound: Option<Arc<Bound>>,
    table: Option<KBox<GroupTable>>,
    /// Whether users have to hear of the difference.
    is_news: bool,
}

impl Group {
    /// Makes a table live, short of letting bios through. Called by its `preresume`; sleeps for
    /// I/O.
    ///
    /// # Errors
    ///
    /// The log says what is wrong; the volumes stay suspended.
    pub(crate) fn bind(
        self: &Arc<Self>,
        live: &Live<'_>,
        line: &TableLine<DeviceNumber>,
        members: &Arc<Members>,
    ) -> Result {
        // Before taking `commits`: this takes the volumes' suspend locks, under which they take
        // `commits`.
        self.provider.suspend_clients();
        // Old tables are dropped after the lock is released: this ends the workers of their stores,
        // which may be about to take it.
        let (_old, mut new);
        new = None;
        let mut commits = self.commits.lock();
        let known = self.bound().filter(|b| Arc::ptr_eq(&b.members, members));
        match &known {
            // The same table again, after a suspend: its devices have been held all the time.
            Some(bound) if !self.begins_anew(bound) => {
                return self.go_on_as_before(live, bound.clone());
            }
            Some(_) => (),
            None => self.settle_old(),
        }
        if let Some(old) = self.bound() {
            // From here on, nobody else writes what is read now.
            old.rest_tellers();
            old.writers.rest();
        }
        let prepared = match self.prepare(line, members) {
            Ok(prepared) => prepared,
            Err(error) => {
                // Nothing was written. On error, all volumes would wait for what only some need.
                let Some(bound) = known.filter(|_| !self.state.lock().is_outdated) else {
                    return Err(error);
                };
                self.say_as_before();
                return self.go_on_as_before(live, bound);
            }
        };
        let Begun {
            table,
            homes,
            openings,
            bound,
        } = self
            .begin(line, members, prepared, &mut new)
            .inspect_err(|error| {
                // Without memory it is tried again.
                if *error != ENOMEM {
                    self.say_halted(*error);
                }
            })?;
        self.provider.publish(live, bound.clone())?;
        *commits = homes;

        let replaced = self.replace_table(table, bound.clone(), openings);
        _old = replaced.bound;
        bound.go_on();
        self.start_rebuilds(bound.clone(), &line.features);
        if replaced.is_news {
            members.event.raise();
            if let Some(old) = replaced.table {
                self.announce(&bound, &old);
            }
        }
        Ok(())
    }

    /// The group has this table from now on. `openings` is how much its event count rose just
    /// because the stores were opened. Under `commits`; does not sleep for I/O.
    #[inline(never)]
    fn replace_table(&self, table: KBox<GroupTable>, bound: Arc<Bound>, openings: u64) -> Replaced {
        let mut state = self.state.lock();
        let head = table.head();
        let events = head.events;
        state.identity = Some((head.group, head.uuid));
        let has_new_events = state
            .events
            .replace(events)
            .is_some_and(|before| before.saturating_add(openings) != events);
        let is_news = |old: &KBox<GroupTable>| table.is_news(old);
        let is_news = has_new_events || state.table.as_ref().is_some_and(is_news);
        let replaced = Replaced {
            bound: state.bound.replace(bound),
            table: state.table.replace(table),
            is_news,
        };
        let old_added = core::mem::take(&mut state.added);
        state.is_live = true;
        state.is_outdated = false;
        state.wants_anew = false;
        // The new table knows.
        for claim in state.claims.iter_mut() {
            claim.untold = false;
        }
        drop(state);
        drop(old_added);
        replaced
    }

    /// Starts from what was prepared: what a start writes. Whatever happens, `new` holds the new
    /// table, which must be dropped without locks. Sleeps for I/O.
    #[inline(never)]
    fn begin(
        self: &Arc<Self>,
        line: &TableLine<DeviceNumber>,
        members: &Arc<Members>,
        prepared: Prepared,
        new: &mut Option<Arc<Bound>>,
    ) -> Result<Begun> {
        let Started {
            table,
            homes,
            stores,
            openings,
        } = start::start(line, members, prepared)?;
        let bound = self.make_bound(&table, line, members, stores)?;
        let bound = Arc::new(bound, GFP_KERNEL)?;
        *new = Some(bound.clone());
        if let Some(old) = self.bound() {
            bound.inherit_losses(&old);
        }
        self.tell_losses(&bound);
        let table = self.resolve(&bound, &homes, table)?;
        let table = self.resolve_rebuilds(&bound, &homes, table)?;
        Ok(Begun {
            table,
            homes,
            openings,
            bound,
        })
    }

    /// The start failed after it began to write, or for lack of memory: there is no going back to
    /// the table of before. If nobody asked for this start, nobody knows that it has to be repeated.
    pub(crate) fn say_halted(&self, error: Error) {
        let errno = error.to_errno();
        log::warning!(
            self.name(),
            "did not start: error {errno}; all volumes wait until the group is resumed"
        );
    }

    /// Does everything that a start does before it writes. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// The log says what is wrong; nothing has changed.
    #[inline(never)]
    fn prepare(&self, line: &TableLine<DeviceNumber>, members: &Members) -> Result<Prepared> {
        let prepared = start::prepare(line, members)?;
        self.check_writers(prepared.table())?;
        self.begin_writing(prepared.table())?;
        Ok(prepared)
    }

    /// A start is about to write. Loaded volumes must not end up on another group, even if that has
    /// the same names.
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
        // From here on, none can be loaded, either.
        let other = match is_other {
            true => state.table.take(),
            false => None,
        };
        state.is_outdated = true;
        drop(state);
        drop(other);
        Ok(())
    }

    /// Makes a table live again as it was. May sleep until the volumes have no bios in flight.
    fn go_on_as_before(&self, live: &Live<'_>, bound: Arc<Bound>) -> Result {
        self.provider.publish(live, bound.clone())?;
        self.state.lock().is_live = true;
        bound.go_on();
        self.continue_rebuilds(bound);
        Ok(())
    }

    /// Whether a suspended table that is resumed must begin from what is on disk instead of going
    /// on. If so, makes durable what its suspend could not. Sleeps for I/O.
    fn begins_anew(&self, bound: &Bound) -> bool {
        if self.state.lock().is_outdated {
            return true;
        }
        let mut is_settled = self.awaits_store(&bound.members);
        if is_settled {
            // What can't be written now is still in memory: beginning anew would lose it.
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

    /// Whether an increments volume that was taken back can be used, or can get what it lacks, only
    /// after the group begins anew, and nothing is known that would prevent that.
    pub(super) fn awaits_store(&self, members: &Members) -> bool {
        let state = self.state.lock();
        let table = state.table.as_ref();
        table.is_some_and(|table| {
            // Includes one that failed before it ever held a store.
            let mut awaited = table.stores_to_open();
            let is_wanted = state.wants_anew || awaited.any(|entry| members.disk(entry).is_some());
            // A start would wait for a metadata device that does not answer.
            let is_late = state
                .bound
                .as_ref()
                .is_some_and(|bound| bound.writers.are_busy());
            is_wanted && !is_late && table.may_begin_anew(members.disks.len())
        })
    }

    /// Makes durable what the suspend of the old table could not. What can't be written is lost
    /// with that table; users of its volumes must not see older data as if nothing had happened.
    fn settle_old(&self) {
        let Some(old) = self.bound() else {
            return;
        };
        old.settle_again(|lid| self.note_lost(lid));
    }

    /// Brings stores in sync with disks after a crash, before the table is live.
    #[inline(never)]
    fn resolve(
        &self,
        bound: &Bound,
        homes: &Homes,
        mut table: KBox<GroupTable>,
    ) -> Result<KBox<GroupTable>> {
        bound.resolve(|entry| {
            let Some(mut next) = box_next(table.with_unprotected(entry)?)? else {
                return Ok(());
            };
            commit_and_tell(bound, homes, &mut next, table.head().events)?;
            if let Some(volume) = bound.volumes.get(entry) {
                log::warning!(
                    next.id(),
                    "{}: unprotected from now on, its increments volume failed or is full",
                    volume.lid
                );
            }
            table = next;
            Ok(())
        })?;
        Ok(table)
    }

    /// Checks that a table does not make volumes read-only that are loaded for writing.
    pub(super) fn check_writers(&self, table: &GroupTable) -> Result {
        let state = self.state.lock();
        for claim in state.claims.iter().filter(|claim| claim.writers > 0) {
            let view = table
                .position(&claim.lid)
                .and_then(|entry| table.view(entry));
            // The I/O of a volume that cannot be served fails anyway: no reason to stop the others.
            let is_served = table
                .position(&claim.lid)
                .is_none_or(|entry| table.is_served(entry));
            if is_served && !view.is_some_and(|view| may_write(&view)) {
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

    /// Opens the stores of a table, and makes what its fast path needs. Sleeps for I/O.
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
        let mut tellers = KVec::with_capacity(found.len(), GFP_KERNEL)?;
        for found in found {
            let store = found.open(self, members, table, &line.features)?;
            let teller = Teller::worker(store.clone());
            tellers.push(KBox::pin_init(teller, GFP_KERNEL)?, GFP_KERNEL)?;
            stores.push(store, GFP_KERNEL)?;
        }
        let mut volumes = KVec::with_capacity(table.volumes().len(), GFP_KERNEL)?;
        for (entry, record) in table.volumes().iter().enumerate() {
            let volume = Volume {
                lid: record.lid,
                view: View::new(match self.has_lost(&record.lid) {
                    false => table.view(entry).ok_or(EINVAL)?,
                    true => VolumeView::NOWHERE,
                }),
                regions: table.make_regions(entry)?.ok_or(EINVAL)?,
                link: link(table, &stores, entry),
                lost_writes: Flag::new(false),
                stats: self.stats(&record.lid)?,
                selector: new_selector(policy)?,
                fate: FateCell::new(),
                in_doubt: Flag::new(false),
                copied: Word::new(table.rebuild_of(entry).map_or(0, |r| r.cursor)),
                turn: Turn::new(),
                compared: Comparison::new(),
                alone: EntryCell::new(table.reads_alone(entry)),
                verified: Comparison::new(),
            };
            volumes.push(volume, GFP_KERNEL)?;
        }

        // Disks of in-place volumes serve others only if there is no other source: the first write
        // of such a volume would have to wait for reads of others.
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
            tellers,
            writers: Writers::new(members, line.features.slow_after_ms)?,
            sources,
            max_errors: line.features.max_errors,
            made: Instant::now(),
            slow_after_ms: line.features.slow_after_ms,
            failover: line.features.failover,
            selector: new_selector(policy)?,
        })
    }

    /// The counters of an entry; created if there are none yet.
    #[inline(never)]
    pub(super) fn stats(&self, lid: &Id) -> Result<Arc<VolumeStats>> {
        let mut state = self.state.lock();
        if let Some((_, stats)) = state.stats.iter().find(|(known, _)| known == lid) {
            return Ok(stats.clone());
        }
        let stats = Arc::pin_init(VolumeStats::new(), GFP_KERNEL)?;
        state.stats.push((*lid, stats.clone()), GFP_KERNEL)?;
        Ok(stats)
    }
}

/// Makes a selector. In a function of its own, since it is large for the stack.
#[inline(never)]
fn new_selector(policy: ReadPolicy) -> Result<KBox<Selector>> {
    Ok(KBox::new(Selector::new(policy), GFP_KERNEL)?)
}

/// Where an entry keeps its changes.
fn link(table: &GroupTable, stores: &[Arc<Worker<Store>>], entry: usize) -> Option<Link> {
    let lid = &table.volume(entry)?.lid;
    let disk = table.store_of(entry)?;
    let store = stores.iter().position(|store| store.entry() == disk)?;
    let owners = &stores.get(store)?.owners;
    Some(Link {
        store,
        owner: owners.iter().position(|owner| owner.lid == *lid)?,
    })
}
