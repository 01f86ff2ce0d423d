// SPDX-License-Identifier: GPL-2.0

//! The target `svol-group`: a group and its own device, which serves the base image.

use crate::{
    bound::{
        Bound,
        InFlight, //
    },
    clock,
    dm::{
        Bio,
        DeviceNumber,
        DeviceVisitor,
        EndIo,
        Ended,
        Features,
        FlushBios,
        Limits,
        Live,
        Mapped,
        Op,
        Quiesced,
        Setup,
        SetupError,
        StatusKind,
        Stop,
        Target,
        Writer, //
    },
    log,
    members::Members,
    probe,
    registry::{
        Conflict,
        GroupRef,
        Registry, //
    },
    svol_core::{
        group::NewEntry,
        id::Id,
        message::Message,
        table_line::TableLine,
        text::Quoted, //
    },
};
use core::fmt::Write as _;
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// One loaded `svol-group` line.
pub(crate) struct GroupTarget {
    group: GroupRef,
    line: TableLine<DeviceNumber>,
    members: Arc<Members>,
}

impl Drop for GroupTarget {
    fn drop(&mut self) {
        let table = self.members.table;
        self.group.table_gone(table);
        // After its last I/O has ended, which may be that of a device that did not answer.
        self.group.registry().release(self.group.number(), table);
    }
}

#[vtable]
impl Target for GroupTarget {
    type PerBio = InFlight;
    type Module = Registry;

    const NAME: &'static CStr = c"svol-group";
    const VERSION: [u32; 3] = crate::VERSION;
    const FEATURES: Features = Features::SINGLETON.and(Features::NOWAIT);

    fn new(
        setup: &mut Setup<'_>,
        registry: &Arc<Registry>,
        words: &[&[u8]],
    ) -> Result<Self, SetupError> {
        let line = TableLine::parse(setup.sectors(), words.iter().copied()).map_err(|error| {
            // The first word is the group's ID, if it is valid.
            match words.first().map(|word| Id::parse(word)) {
                Some(Ok(id)) => log::notice!(id, "{error}"),
                _ => log::notice!("?", "svol-group: {error}"),
            }
            SetupError::new(error.reason(), EINVAL)
        })?;
        if let Err(number) = registry.check_id(setup.number(), &line.group) {
            let reason = c"GrpID: in use by another live group";
            return Err(SetupError::new(reason, report_id(&line.group, number)));
        }
        let (line, members) = probe::open(setup, registry, &line)?;
        let members = Arc::new(members, GFP_KERNEL)?;
        let group = Registry::open(registry, setup)?;
        probe::check_loops(&line, &members, &group)?;
        group.table_made();
        group.check_line(&line, &members).map_err(|error| {
            group.table_gone(members.table);
            let reason = c"the line does not fit the group that is in use, see the kernel log";
            SetupError::new(reason, error)
        })?;
        Ok(Self {
            group,
            line,
            members,
        })
    }

    fn map<'a>(&self, live: &Live<'a>, bio: Bio<'a, InFlight>) -> Mapped {
        let provider = self.group.provider();
        match provider.get(live) {
            Some(bound) if bio.info().op == Op::Read => Bound::map_base(bound, bio),
            _ => bio.fail(),
        }
    }

    fn end_io(&self, live: &Live<'_>, ended: Ended<'_, InFlight>) -> EndIo {
        match self.group.provider().get(live) {
            Some(bound) => Bound::ended(bound, || None, ended),
            None => ended.done(),
        }
    }

    fn presuspend(&self, _noflush: bool) {
        self.group.provider().suspend_clients();
    }

    fn presuspend_undo(&self) {
        self.group.provider().resume_clients();
    }

    fn postsuspend(&self, quiesced: &Quiesced<'_>) {
        if let Some(bound) = self.group.provider().retract(quiesced) {
            self.group.stop_rebuilds();
            self.group.stop_changes();
            bound.settle();
            self.group.fail_unflushed(&bound);
        }
    }

    fn preresume(&self, live: &Live<'_>, _flushes: &mut FlushBios<'_>) -> Result {
        let number = self.group.number();
        let begin = || -> Result {
            self.group
                .registry()
                .claim(number, &self.line.group, &self.members)
                .map_err(|conflict| self.report(&conflict))?;
            // A volume may have been loaded on one of the devices since the table was.
            probe::check_loops(&self.line, &self.members, &self.group).map_err(|_| EBUSY)?;
            self.group.bind(live, &self.line, &self.members)
        };
        // An error would leave all volumes suspended, maybe without anybody who knows.
        clock::wait_for_memory(begin).inspect_err(|error| {
            if *error == ENOMEM {
                self.group.say_halted(*error);
            }
        })?;
        self.group.watch_disks();
        Ok(())
    }

    fn resume(&self, _live: &Live<'_>) {
        self.group.provider().resume_clients();
    }

    fn status(&self, kind: StatusKind, out: &mut Writer<'_>) -> core::fmt::Result {
        match kind {
            StatusKind::Info => self.group.write_status(out),
            StatusKind::Table => self.group.write_line(&self.members, &self.line, out),
            StatusKind::Ima => {
                let [major, minor, patch] = crate::VERSION;
                write!(
                    out,
                    "target_name=svol-group,target_version={major}.{minor}.{patch},grp_id={},\
                     entries={};",
                    self.line.group,
                    self.line.volumes.len()
                )
            }
        }
    }

    fn message(&self, words: &[&[u8]], reply: &mut Writer<'_>) -> Result {
        let message = Message::parse(words.iter().copied()).map_err(|error| {
            log::notice!(self.line.group, "{error}");
            EINVAL
        })?;
        match message {
            Message::Query => {
                // If the reply does not fit, user space retries with a larger buffer.
                let _ = self.group.write_query(&self.line, reply);
                Ok(())
            }
            Message::Fail(lid) => self.group.fail(&self.members, &lid),
            Message::Restore { lid, onto } => {
                self.group.restore(&self.members, &lid, onto.as_ref())
            }
            Message::Readd(lid) => self.group.readd(&self.members, &lid),
            Message::RebuildRate(rate) => {
                self.group.set_rebuild_rate(rate);
                Ok(())
            }
            Message::Add {
                lid,
                attr,
                dev,
                rlid,
            } => {
                let new = NewEntry {
                    lid,
                    attr,
                    rlid,
                    has_disk: dev.is_some(),
                };
                let registry = self.group.registry();
                self.group.add(registry, &self.members, &new, dev)
            }
            Message::Remove(lid) => self.group.remove(&lid),
            Message::ReplaceMeta { device, dev } => {
                self.group.replace_meta(&self.members, device, dev)
            }
            Message::SetAttr { lid, attr, range } => {
                self.group.set_attr(&self.members, &lid, attr, range)
            }
            _ => {
                let word = words.first().copied().unwrap_or_default();
                log::notice!(
                    self.line.group,
                    "message: {} is not available yet",
                    Quoted(word)
                );
                Err(EOPNOTSUPP)
            }
        }
    }

    fn iterate_devices(&self, visitor: &mut DeviceVisitor<'_>) -> Result<(), Stop> {
        self.members.show_disks(visitor, self.members.sectors)
    }

    fn io_hints(&self, limits: &mut Limits<'_>) {
        limits.forbid_polling();
        if let Some(bytes) = self.group.logical_block_size() {
            limits.raise_block_size(bytes);
        }
    }
}

impl GroupTarget {
    fn report(&self, conflict: &Conflict) -> Error {
        match conflict {
            Conflict::Id(number) => report_id(&self.line.group, *number),
            Conflict::Device(device, id) => {
                log::notice!(self.line.group, "device {device}: in use by the group {id}");
                EBUSY
            }
            Conflict::Memory => ENOMEM,
        }
    }
}

fn report_id(id: &Id, number: DeviceNumber) -> Error {
    log::notice!(
        id,
        "GrpID: {id}: device {number} is a live group of this ID"
    );
    EBUSY
}
