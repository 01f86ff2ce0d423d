// SPDX-License-Identifier: GPL-2.0

//! One group, over all tables of its mapped device.

mod add;
mod announce;
mod attributes;
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
mod restore;
mod status;
mod verify;
mod writes;

pub(crate) use claim::{
    Refusal,
    Writes, //
};
pub(crate) use comparison::Comparison;
pub(crate) use status::Name;

use attributes::Changes;
use claim::LidClaim;
use pauses::Pauses;
use rebuild::Rebuilds;
use refresh::Refreshes;

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

/// Why entries neither join nor leave.
const OTHER_TABLE: &str = "another table is loaded for the group, resume with it or clear it first";

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

    /// The table is suspended: waits until no message changes the group any more, and lets none
    /// begin. Sleeps for I/O of the metadata.
    pub(crate) fn stop_changes(&self) {
        self.silences.stop();
        self.repairs.stop();
        self.failures.stop();
        let _commits = self.commits.lock();
        self.state.lock().is_live = false;
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
