// SPDX-License-Identifier: GPL-2.0

//! A group. It outlives the tables of its mapped device.

mod add;
mod announce;
mod attributes;
mod background;
mod bind;
mod check_line;
mod claim;
mod commit;
mod comparison;
mod fail;
mod fail_store;
mod pauses;
mod protect;
mod rebuild;
mod refresh;
mod remove;
mod replace_meta;
mod request;
mod restore;
mod status;
mod verify;
mod writes;

pub(crate) use claim::{
    Refusal,
    WritePath, //
};
pub(crate) use comparison::Comparison;
pub(crate) use status::Name;

use attributes::Changes;
use background::Rebuilds;
use claim::LidClaim;
use pauses::Pauses;
use refresh::Refreshes;
use request::Request;

use crate::{
    bound::Bound,
    dm::{
        provider::Provider,
        DeviceNumber,
        Setup,
        Worker, //
    },
    errors::{
        Failures,
        GiveUps,
        Repairs,
        Retries,
        Silences, //
    },
    metadata::Homes,
    stats::VolumeStats,
    svol_core::{
        group::GroupTable,
        id::Id,
        table_line::VolumeLine, //
    }, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// Why entries can neither join nor leave the group.
const OTHER_TABLE: &str = "another table is loaded for the group, resume with it or clear it first";

/// One group.
///
/// # Locks
///
/// `commits` before `state`. `commits` is held across metadata I/O. Code that must return at once
/// takes only `state`, which is never held across I/O.
#[pin_data]
pub(crate) struct Group {
    number: DeviceNumber,
    provider: Arc<Provider<Bound>>,
    /// The devices of the metadata copies. Locked while the metadata is changed: there is no commit
    /// without it.
    #[pin]
    commits: Mutex<Homes>,
    #[pin]
    state: Mutex<State>,
    /// Changes attributes.
    #[pin]
    changes: Worker<Changes>,
    /// Retries failed reads.
    #[pin]
    retries: Worker<Retries>,
    /// Handles failed disks.
    #[pin]
    failures: Worker<Failures>,
    /// Repairs bad sectors.
    #[pin]
    repairs: Worker<Repairs>,
    /// Watches for disks that do not answer.
    #[pin]
    silences: Worker<Silences>,
    /// Gives up disks that do not answer for long.
    #[pin]
    give_ups: Worker<GiveUps>,
    /// Fills and compares disks.
    #[pin]
    rebuilds: Worker<Rebuilds>,
    /// Pauses volumes for a rebuild.
    #[pin]
    pauses: Worker<Pauses>,
    /// Suspends and resumes the group, to reload its table.
    #[pin]
    refreshes: Worker<Refreshes>,
}

/// The state of a group.
struct State {
    /// Number of `svol-group` tables, live or not.
    tables: usize,
    /// The live table, or the one that was live before a suspend.
    bound: Option<Arc<Bound>>,
    /// The group table that belongs to `bound`.
    table: Option<KBox<GroupTable>>,
    /// GrpID and uuid of the group that was last live.
    identity: Option<(Id, [u8; 16])>,
    /// The last event count seen.
    events: Option<u64>,
    /// Entries that joined the group since the table was loaded; some may have left again.
    added: KVec<VolumeLine<DeviceNumber>>,
    /// Counters of all entries there have ever been.
    stats: KVec<(Id, Arc<VolumeStats>)>,
    /// Loaded volumes.
    claims: KVec<LidClaim>,
    /// The table is live: its devices may be written to.
    is_live: bool,
    /// A start failed after writing to the devices: `bound` and `table` no longer match them.
    is_outdated: bool,
    /// The next resume must begin from what is on disk, although the devices are the same.
    wants_anew: bool,
    /// An entry that is about to leave the group: it can't be loaded.
    leaving: Option<Id>,
    /// An entry is about to join the group.
    is_joining: bool,
    /// A volume whose attribute is being changed: it can't be loaded until that is done.
    changing: Option<Id>,
}

impl Group {
    /// Makes the group of the mapped device for which a table is being loaded.
    pub(crate) fn new<'a>(setup: &'a Setup<'_>) -> impl PinInit<Self, Error> + 'a {
        try_pin_init!(Self {
            number: setup.number(),
            provider: Arc::pin_init(Provider::new(setup), GFP_KERNEL)?,
            commits <- new_mutex!(Homes::fresh(0)),
            state <- new_mutex!(State {
                tables: 0,
                bound: None,
                table: None,
                identity: None,
                events: None,
                added: KVec::new(),
                stats: KVec::new(),
                claims: KVec::new(),
                is_live: false,
                is_outdated: false,
                wants_anew: false,
                leaving: None,
                is_joining: false,
                changing: None,
            }),
            changes <- Changes::worker(),
            retries <- Retries::worker(),
            failures <- Failures::worker(),
            repairs <- Repairs::worker(),
            silences <- Silences::worker(),
            give_ups <- GiveUps::worker(),
            rebuilds <- Rebuilds::worker(),
            pauses <- Pauses::worker(),
            refreshes <- Refreshes::worker(),
        }? Error)
    }

    /// The number of its mapped device.
    pub(crate) fn number(&self) -> DeviceNumber {
        self.number
    }

    /// The provider that publishes the live table to the volumes.
    pub(crate) fn provider(&self) -> &Arc<Provider<Bound>> {
        &self.provider
    }

    /// The worker that retries failed reads on other disks.
    pub(crate) fn retries(&self) -> &Worker<Retries> {
        &self.retries
    }

    /// The worker that handles failing disks.
    pub(crate) fn failures(&self) -> &Worker<Failures> {
        &self.failures
    }

    /// The worker that gives up disks.
    pub(crate) fn give_ups(&self) -> &Worker<GiveUps> {
        &self.give_ups
    }

    /// The worker that repairs bad sectors.
    pub(crate) fn repairs(&self) -> &Worker<Repairs> {
        &self.repairs
    }

    /// The live table, or the one that was live before a suspend.
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

    /// Counts a new table.
    pub(crate) fn table_made(&self) {
        let mut state = self.state.lock();
        state.tables = state.tables.saturating_add(1);
    }

    /// A table is gone: forgets it. If it was the last one, lets the volumes fail their I/O.
    pub(crate) fn table_gone(&self, number: u64) {
        let going = self.bound().filter(|bound| bound.members.table == number);
        for lid in going.iter().flat_map(|bound| bound.with_lost_writes()) {
            // A later table can't know about it.
            if self.loaded_by(lid).is_some() {
                self.note_lost(lid);
            }
        }
        for owner in going.iter().flat_map(|bound| bound.untold()) {
            self.note_untold(&owner.lid);
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
            // They may be waiting for a group that no longer exists.
            self.provider.resume_clients();
        }
    }

    /// The table is suspended: waits for messages that are changing the group, and lets no other
    /// begin. Sleeps for metadata I/O.
    pub(crate) fn stop_changes(&self) {
        self.silences.stop();
        self.give_ups.stop();
        self.repairs.stop();
        self.failures.stop();
        let _commits = self.commits.lock();
        self.state.lock().is_live = false;
    }

    /// As [`Bound::set_suspending`]. Leaves a table alone that is suspended: nothing waits there.
    /// Does not sleep for I/O.
    pub(crate) fn set_suspending(&self, lid: &Id, suspending: bool) {
        let state = self.state.lock();
        // Under the lock: a suspend stops the stores after it has taken it.
        let is_meant = state.is_live || !suspending;
        if let Some(bound) = state.bound.as_ref().filter(|_| is_meant) {
            bound.set_suspending(lid, suspending);
        }
    }

    /// The volume that lives on the disk of an entry.
    pub(crate) fn served_by(&self, disk: usize) -> Option<usize> {
        self.state.lock().table.as_ref()?.served_by(disk)
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
}
