// SPDX-License-Identifier: GPL-2.0

//! Mapped devices load volumes of a group; only one at a time can load a given volume.

use super::{
    Group,
    State, //
};
use crate::{
    bound::Bound,
    dm::DeviceNumber,
    log,
    svol_core::{
        attr::Attr,
        health::Health,
        id::Id,
        meta::VolumeRecord,
        route::{
            Home,
            VolumeView, //
        }, //
    }, //
};
use core::fmt;
use kernel::prelude::*;

/// A volume that a mapped device has loaded.
pub(super) struct LidClaim {
    pub(super) lid: Id,
    pub(super) number: DeviceNumber,
    /// The number of targets for it in tables of that device.
    pub(super) targets: usize,
    /// How many of them were loaded for writing.
    pub(super) writers: usize,
    /// Changes were lost without its users knowing: its I/O fails until it is no longer loaded.
    pub(super) lost: bool,
    /// Its increments volume may have lost changes under a table that is gone: the next flush has
    /// to report that.
    pub(super) untold: bool,
}

/// Why a volume gets no I/O although it could by the group's table; nothing can be done with it
/// meanwhile. See [`cut_off`].
#[derive(Clone, Copy)]
pub(crate) enum CutOff {
    /// Its last changes could not be written.
    Lost,
    /// A restart may find it on either of two disks.
    InDoubt,
}

impl CutOff {
    /// For a constructor's error.
    fn reason(self) -> &'static CStr {
        match self {
            CutOff::Lost => c"LID: it has lost changes, load the group's table again",
            CutOff::InDoubt => c"LID: a restart may find it on either of two disks",
        }
    }
}

impl fmt::Display for CutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CutOff::Lost => {
                "its last changes are lost; with the volume removed, load the group's table again"
            }
            CutOff::InDoubt => {
                "a restart may find it on either disk; mend the metadata devices, then load the \
                 group's table again"
            }
        })
    }
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
    /// The entry is not a volume.
    NoVolume(Attr),
    /// The target is longer than the group: lengths of target and group in sectors.
    TooLong(u64, u64),
    /// Already loaded by another device, which has this number.
    Taken(DeviceNumber),
    /// The group itself uses the mapped device.
    Member,
    /// It can't be written, for this reason.
    ReadOnly(&'static str),
    /// It was added to the group, but its device is not here yet.
    Added,
    /// Its attribute is being changed.
    Changing,
    /// It gets no I/O.
    CutOff(CutOff),
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
            Detail::Member => f.write_str("the group itself uses this mapped device"),
            Detail::ReadOnly(why) => write!(f, "needs a read-only table: {why}"),
            Detail::Added => {
                f.write_str("it was added, load the group's table with it before its own")
            }
            Detail::Changing => f.write_str("its attribute is being changed"),
            Detail::CutOff(why) => why.fmt(f),
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
    pub(super) fn new(reason: &'static CStr, error: Error, detail: Detail) -> Self {
        Self {
            reason,
            error,
            detail,
        }
    }
}

/// A claimed volume.
pub(crate) struct Claimed {
    /// Where its writes go.
    pub(crate) writes: WritePath,
    /// It is logged, or may become so while it is loaded.
    pub(crate) may_be_logged: bool,
}

/// Where the writes of a volume go when it is loaded. This decides how it takes discards.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WritePath {
    /// The volume is not written.
    Nowhere,
    /// To its disk.
    InPlace,
    /// To an increments volume.
    Diverted,
    /// To both.
    Logged,
}

impl WritePath {
    pub(super) fn of(view: &VolumeView) -> Self {
        match view.writes {
            Home::Disk(_) => Self::InPlace,
            Home::Overlay => Self::Diverted,
            Home::Logged(_) | Home::Kept => Self::Logged,
            Home::Base | Home::Nowhere => Self::Nowhere,
        }
    }
}

impl State {
    /// Checks whether a mapped device can load a volume, see [`Group::claim`]. Does not sleep.
    #[inline(never)]
    fn check_claim(
        &self,
        lid: &Id,
        number: DeviceNumber,
        sectors: u64,
        writable: bool,
    ) -> Result<Claimed, Refusal> {
        let Some(table) = &self.table else {
            return Err(Refusal::new(
                c"group dev: the group is not live",
                EAGAIN,
                Detail::NotLive,
            ));
        };
        let found = table
            .position(lid)
            .filter(|_| self.leaving != Some(*lid))
            .and_then(|entry| Some((table.volume(entry)?, table.view(entry)?)));
        let Some((volume, view)) = found else {
            return Err(Refusal::new(c"LID: no such entry", ENODEV, Detail::Unknown));
        };
        if self.added.iter().any(|added| added.lid == *lid) {
            return Err(Refusal::new(
                c"LID: in use after the next load of the group's table",
                EAGAIN,
                Detail::Added,
            ));
        }
        check_use(volume, &view, sectors, table.head().sectors, writable)?;
        self.check_others(lid, number, &view)?;
        // If its disk or increments volume is gone, it may get another one.
        let may_be_logged =
            volume.rlid.is_some() && (volume.disk.is_some() || volume.health != Health::InSync);
        Ok(Claimed {
            may_be_logged,
            writes: WritePath::of(&view),
        })
    }

    /// Checks that nobody else uses the mapped device or the volume in a way that this would
    /// disturb.
    fn check_others(
        &self,
        lid: &Id,
        number: DeviceNumber,
        view: &VolumeView,
    ) -> Result<(), Refusal> {
        let bound = self.bound.as_ref();
        if bound.is_some_and(|bound| bound.members.has(number)) {
            return Err(Refusal::new(
                c"group dev: its group uses this device",
                EBUSY,
                Detail::Member,
            ));
        }
        if self.changing == Some(*lid) {
            return Err(Refusal::new(
                c"LID: its attribute is being changed",
                EAGAIN,
                Detail::Changing,
            ));
        }
        if let Some(why) = bound.and_then(|bound| cut_off(bound, lid, view)) {
            return Err(Refusal::new(why.reason(), EIO, Detail::CutOff(why)));
        }
        let is_other = |claim: &&LidClaim| claim.lid == *lid && claim.number != number;
        if let Some(other) = self.claims.iter().find(is_other) {
            let detail = Detail::Taken(other.number);
            return Err(Refusal::new(c"LID: already loaded", EBUSY, detail));
        }
        Ok(())
    }

    /// Counts one more target of a mapped device for a volume.
    fn note_claim(
        &mut self,
        lid: &Id,
        number: DeviceNumber,
        writable: bool,
    ) -> Result<(), Refusal> {
        let writers = usize::from(writable);
        match self.claims.iter_mut().find(|claim| claim.lid == *lid) {
            Some(claim) => {
                claim.targets = claim.targets.saturating_add(1);
                claim.writers = claim.writers.saturating_add(writers);
            }
            None => self.claims.push(
                LidClaim {
                    lid: *lid,
                    number,
                    targets: 1,
                    writers,
                    lost: false,
                    untold: false,
                },
                GFP_KERNEL,
            )?,
        }
        Ok(())
    }
}

/// Checks that an entry is a volume which can be used by a target of `sectors` sectors, for writing
/// if it is `writable`.
fn check_use(
    volume: &VolumeRecord,
    view: &VolumeView,
    sectors: u64,
    group_sectors: u64,
    writable: bool,
) -> Result<(), Refusal> {
    if !volume.attr.is_volume() {
        let detail = Detail::NoVolume(volume.attr);
        return Err(Refusal::new(c"LID: not a volume", EINVAL, detail));
    }
    if sectors > group_sectors {
        let detail = Detail::TooLong(sectors, group_sectors);
        return Err(Refusal::new(
            c"length: longer than the group",
            EINVAL,
            detail,
        ));
    }
    if writable && !may_write(view) {
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
    Ok(())
}

impl Group {
    /// Loads a volume for a mapped device: a target of `sectors` sectors, for writing if it is
    /// `writable`. Only one mapped device at a time can load it. Does not sleep for I/O.
    ///
    /// # Errors
    ///
    /// Why the volume can't be loaded.
    pub(crate) fn claim(
        &self,
        lid: &Id,
        number: DeviceNumber,
        sectors: u64,
        writable: bool,
    ) -> Result<Claimed, Refusal> {
        let mut state = self.state.lock();
        let claimed = state.check_claim(lid, number, sectors, writable)?;
        state.note_claim(lid, number, writable)?;
        Ok(claimed)
    }

    /// The mapped device that has loaded a volume.
    pub(super) fn loaded_by(&self, lid: &Id) -> Option<DeviceNumber> {
        let state = self.state.lock();
        let claim = state.claims.iter().find(|claim| claim.lid == *lid);
        claim.map(|claim| claim.number)
    }

    /// The volume that a mapped device has loaded.
    pub(crate) fn loaded_on(&self, number: DeviceNumber) -> Option<Id> {
        let state = self.state.lock();
        let claim = state.claims.iter().find(|claim| claim.number == number);
        claim.map(|claim| claim.lid)
    }

    /// Releases a claim, which was one for writing or not.
    pub(crate) fn unclaim(&self, lid: &Id, number: DeviceNumber, writable: bool) {
        let mut state = self.state.lock();
        let claim = |claim: &&mut LidClaim| claim.lid == *lid && claim.number == number;
        if let Some(claim) = state.claims.iter_mut().find(claim) {
            claim.targets = claim.targets.saturating_sub(1);
            claim.writers = claim.writers.saturating_sub(usize::from(writable));
        }
        state.claims.retain(|claim| claim.targets > 0);
    }

    /// A volume has lost changes that its users believe to be written.
    pub(super) fn note_lost(&self, lid: &Id) {
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

    /// Its increments volume may have lost changes of a volume, and the table that knows goes away.
    pub(super) fn note_untold(&self, lid: &Id) {
        let mut state = self.state.lock();
        if let Some(claim) = state.claims.iter_mut().find(|claim| claim.lid == *lid) {
            claim.untold = true;
        }
    }

    /// Has the next flush of each volume report what it may have lost under a table that is gone.
    pub(super) fn tell_losses(&self, bound: &Bound) {
        let state = self.state.lock();
        for claim in state.claims.iter().filter(|claim| claim.untold) {
            if let Some((_, owner)) = bound.store_of(&claim.lid) {
                owner.forget_told();
            }
        }
    }

    /// Whether a loaded volume has lost changes.
    pub(super) fn has_lost(&self, lid: &Id) -> bool {
        let state = self.state.lock();
        state.claims.iter().any(|c| c.lost && c.lid == *lid)
    }
}

/// Why a volume gets no I/O although it has this view in the group's table, if that is so. Does not
/// sleep.
pub(super) fn cut_off(bound: &Bound, lid: &Id, view: &VolumeView) -> Option<CutOff> {
    let served = bound.volumes.iter().find(|volume| volume.lid == *lid)?;
    let is_nowhere = || served.view.get() == VolumeView::NOWHERE;
    if !is_nowhere() || *view == VolumeView::NOWHERE {
        return None;
    }
    if served.in_doubt.is_set() {
        return Some(CutOff::InDoubt);
    }
    // Its doubt may just have ended.
    is_nowhere().then_some(CutOff::Lost)
}

/// Whether a volume with this view can be written.
pub(super) fn may_write(view: &VolumeView) -> bool {
    view.writes != Home::Nowhere
}
