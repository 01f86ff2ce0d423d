// SPDX-License-Identifier: GPL-2.0

//! The target `svol`: one secondary volume of a group.

use crate::{
    bound::{
        Bound,
        InFlight, //
    },
    clock,
    dm::{
        load,
        provider::Client,
        Bio,
        Device,
        DeviceVisitor,
        EndIo,
        Ended,
        Features,
        FlushBios,
        Limits,
        Live,
        Mapped,
        Mode,
        Op,
        Setup,
        SetupError,
        StatusKind,
        Stop,
        Target,
        Writer, //
    },
    group::{
        Refusal,
        WritePath, //
    },
    log,
    registry::{
        GroupRef,
        Registry, //
    },
    svol_core::{
        id::Id,
        table_line::SvolLine,
        text::Quoted, //
    },
};
use core::fmt::Write as _;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// The longest discard of a diverted volume, in sectors: 64 MiB.
const DISCARD_SECTORS: u32 = 128 << 10;

/// Not an entry of the live group table.
const NO_ENTRY: u32 = u32::MAX;

/// One loaded `svol` line.
pub(crate) struct SvolTarget {
    client: Client<Bound>,
    /// Index of the volume in the live group table. Written by `preresume`, while no bio is mapped.
    entry: Atomic<u32>,
    lid: Id,
    /// The table is loaded for writing.
    writable: bool,
    /// Where its writes go.
    writes: WritePath,
    /// Its writes may go to a disk and a store at once, now or later.
    may_be_logged: bool,
    /// Length of this target in sectors.
    sectors: u64,
    group_device: Device,
    _claim: Claim,
}

/// The claim of a mapped device on an LID: only one mapped device at a time can load an LID.
struct Claim {
    group: GroupRef,
    lid: Id,
    number: crate::dm::DeviceNumber,
    writable: bool,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.group.unclaim(&self.lid, self.number, self.writable);
    }
}

impl SvolTarget {
    fn group(&self) -> &GroupRef {
        &self._claim.group
    }
}

#[vtable]
impl Target for SvolTarget {
    type PerBio = InFlight;
    type Module = Registry;

    const NAME: &'static CStr = c"svol";
    const VERSION: [u32; 3] = crate::VERSION;
    const FEATURES: Features = Features::NOWAIT;

    fn new(
        setup: &mut Setup<'_>,
        registry: &Arc<Registry>,
        words: &[&[u8]],
    ) -> Result<Self, SetupError> {
        let line = SvolLine::parse(words.iter().copied()).map_err(|error| {
            log::notice!("?", "svol: {error}");
            SetupError::new(error.reason(), EINVAL)
        })?;
        let lid = line.lid;
        let refuse =
            |who: &dyn core::fmt::Display, reason, error, detail: core::fmt::Arguments<'_>| {
                log::notice!(who, "svol {lid}: {detail}");
                SetupError::new(reason, error)
            };

        let group_device = setup.device(line.group_dev, Mode::Table).map_err(|error| {
            let errno = error.to_errno();
            let path = Quoted(line.group_dev);
            refuse(
                &"?",
                c"group dev: can't be opened",
                error,
                format_args!("group device {path}: can't open: error {errno}"),
            )
        })?;
        let group = Registry::find(registry, group_device.number()).ok_or_else(|| {
            let path = Quoted(line.group_dev);
            refuse(
                &"?",
                c"group dev: not an svol-group",
                EINVAL,
                format_args!("group device {path}: not an svol-group"),
            )
        })?;

        let sectors = setup.sectors();
        let writable = setup.is_writable();
        let volume = group
            .claim(&lid, setup.number(), sectors, writable)
            .map_err(|refusal| {
                let Refusal {
                    reason,
                    error,
                    detail,
                } = refusal;
                refuse(&group.name(), reason, error, format_args!("{detail}"))
            })?;
        let claim = Claim {
            group,
            lid,
            number: setup.number(),
            writable,
        };
        let client = Client::new(setup, claim.group.provider().clone()).map_err(|error| {
            refuse(
                &claim.group.name(),
                c"group dev: the group is suspended",
                error,
                format_args!("the group is suspended or not live"),
            )
        })?;

        // Even if the disks have no write cache: later, flushes are what commits the block map.
        setup.take_flushes(if volume.may_be_logged { 2 } else { 1 });
        if writable {
            setup.take_write_zeroes();
            match volume.writes {
                WritePath::InPlace => setup.take_discards(),
                WritePath::Diverted => setup.take_all_discards(),
                // The disk and the store might disagree on what a discarded range holds.
                WritePath::Logged | WritePath::Nowhere => (),
            }
        }
        Ok(Self {
            client,
            entry: Atomic::new(NO_ENTRY),
            lid,
            writable,
            writes: volume.writes,
            may_be_logged: volume.may_be_logged,
            sectors,
            group_device,
            _claim: claim,
        })
    }

    #[inline(always)]
    fn map<'a>(&self, live: &Live<'a>, bio: Bio<'a, InFlight>) -> Mapped {
        let Some(bound) = self.client.get(live) else {
            // The group is gone: its table was replaced by one of another target.
            return bio.fail();
        };
        if !self.writable {
            match bio.info().op {
                Op::Read => (),
                // Nothing has been written.
                Op::Flush => return bio.complete(),
                _ => return bio.fail(),
            }
        }
        let entry = load::relaxed(&self.entry);
        match usize::try_from(entry) {
            Ok(entry) => Bound::map_volume(bound, entry, bio),
            Err(_) => bio.fail(),
        }
    }

    #[inline(always)]
    fn end_io(&self, live: &Live<'_>, ended: Ended<'_, InFlight>) -> EndIo {
        let entry = || usize::try_from(load::relaxed(&self.entry)).ok();
        match self.client.get(live) {
            Some(bound) => Bound::ended(bound, entry, ended),
            None => ended.done(),
        }
    }

    fn presuspend(&self, noflush: bool) {
        // Bios that wait for space would block the suspend.
        if noflush {
            self.group().set_suspending(&self.lid, true);
        }
    }

    fn presuspend_undo(&self) {
        self.group().set_suspending(&self.lid, false);
    }

    fn preresume(&self, live: &Live<'_>, flushes: &mut FlushBios<'_>) -> Result {
        let entry = match self.client.get(live) {
            Some(bound) => {
                bound.set_suspending(&self.lid, false);
                if self.writable {
                    // An error leaves it suspended, maybe without anybody who knows.
                    clock::wait_for_memory(|| self.group().prepare_writes(&bound, &self.lid))?;
                }
                let entry = bound.position(&self.lid, self.sectors);
                if self.may_be_logged {
                    // Whatever changes this suspends the volume first.
                    let is_diverted = entry.is_some_and(|entry| bound.is_diverted(entry));
                    flushes.set(if is_diverted { 1 } else { 2 });
                }
                entry
            }
            None => None,
        };
        if entry.is_none() {
            // An error would leave the volume suspended and its users waiting forever.
            log::warning!(
                self.group().name(),
                "{}: no longer in the group, all its I/O fails",
                self.lid
            );
        }
        let entry = entry.and_then(|e| u32::try_from(e).ok());
        self.entry.store(entry.unwrap_or(NO_ENTRY), Relaxed);
        Ok(())
    }

    fn status(&self, kind: StatusKind, out: &mut Writer<'_>) -> core::fmt::Result {
        match kind {
            StatusKind::Info => self.group().write_volume_status(&self.lid, out),
            StatusKind::Table => write!(out, "{} {}", self.group_device.number(), self.lid),
            StatusKind::Ima => {
                let [major, minor, patch] = crate::VERSION;
                write!(
                    out,
                    "target_name=svol,target_version={major}.{minor}.{patch},group_dev={},lid={};",
                    self.group_device.number(),
                    self.lid
                )
            }
        }
    }

    fn iterate_devices(&self, visitor: &mut DeviceVisitor<'_>) -> Result<(), Stop> {
        match self.group().bound() {
            Some(bound) => bound.members.show_disks(visitor, self.sectors),
            None => visitor.visit(&self.group_device, 0, self.sectors),
        }
    }

    fn io_hints(&self, limits: &mut Limits<'_>) {
        limits.forbid_polling();
        if let Some(bytes) = self.group().logical_block_size() {
            limits.raise_block_size(bytes);
        }
        if let Some(bound) = self.group().bound() {
            bound.members.raise_limits(limits);
        }
        if self.writable {
            if let (WritePath::Diverted, Some(bytes)) = (self.writes, self.group().block_bytes()) {
                limits.set_discards(bytes, DISCARD_SECTORS);
            }
            if self.may_be_logged {
                limits.require_stable_writes();
            }
        }
    }
}
