// SPDX-License-Identifier: GPL-2.0

//! Judges whether the store found on an increments device is the one that the group expects there.

use super::{
    layout::LayoutError,
    Header,
    Layout,
    PairError,
    Phase,
    Probe, //
};
use crate::svol_core::id::Id;
use core::fmt;

/// What the group expects of an increments device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expected {
    /// The uuid of the group.
    pub uuid: [u8; 16],
    /// The GrpID.
    pub group: Id,
    /// The LID of the store.
    pub lid: Id,
    /// The size of a block, in sectors.
    pub block_sectors: u32,
    /// The length of the group, in sectors.
    pub sectors: u64,
    /// The event count of the metadata.
    pub events: u64,
    /// The event count that the store must have seen at least, see [`least_seen`]. One that has
    /// seen less is an old copy.
    pub least: u64,
    /// The length of the device, in sectors.
    pub device_sectors: u64,
    /// Whether the metadata records a store there.
    pub formatted: bool,
}

/// What to do with an increments device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Plan {
    /// It is blank: make a store.
    Format,
    /// The creation of the store was interrupted: repeat it, but with the same tag and the next
    /// sequence, since a new tag in one copy of the header would contradict the other copy.
    FormatAgain,
    /// Use the store.
    Use,
}

/// Why an increments device is refused. The texts continue a sentence that begins with the name of
/// the device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// It is blank, but the metadata records a store.
    Blank,
    /// It holds something that is not a store.
    Foreign,
    /// It cannot be read.
    Unreadable,
    /// It holds a store whose header is lost.
    Damaged(PairError),
    /// Its format has an unknown version.
    Version(u32),
    /// It belongs to the group of this GrpID.
    Group(Id),
    /// It belongs to another group of the same GrpID.
    Uuid,
    /// It is the store of this LID.
    Lid(Id),
    /// Its blocks have this many sectors.
    BlockSectors(u32),
    /// It is for a group of this many sectors.
    Sectors(u64),
    /// The metadata records a store that is in use, but this one was never finished.
    Unfinished,
    /// It last saw an older state of the group.
    Older {
        /// The event count of the store.
        store: u64,
        /// The event count of the metadata.
        group: u64,
    },
    /// It has seen a newer state of the group than the metadata.
    Newer {
        /// The event count of the store.
        store: u64,
        /// The event count of the metadata.
        group: u64,
    },
    /// The device is shorter than the part of it that the store may use.
    Shrunk {
        /// The length of the device, in sectors.
        device: u64,
        /// What the store may use, in sectors.
        used: u64,
    },
    /// There can be no store on such a device.
    Layout(LayoutError),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("is blank, but the group remembers an increments store"),
            Self::Foreign => f.write_str("is neither blank nor an increments store"),
            Self::Unreadable => f.write_str("cannot be read"),
            Self::Damaged(error) => {
                write!(f, "is an increments store with a damaged header: {error}")
            }
            Self::Version(version) => {
                write!(f, "is an increments store of unknown version {version}")
            }
            Self::Group(group) => write!(f, "is an increments store of group {group}"),
            Self::Uuid => {
                f.write_str("is an increments store of another group with the same GrpID")
            }
            Self::Lid(lid) => write!(f, "is the increments store of {lid}"),
            Self::BlockSectors(sectors) => {
                write!(f, "is an increments store with blocks of {sectors} sectors")
            }
            Self::Sectors(sectors) => {
                write!(f, "is an increments store for a group of {sectors} sectors")
            }
            Self::Unfinished => f.write_str(
                "is an increments store that was never finished, but the group remembers a whole one",
            ),
            Self::Older { store, group } => write!(
                f,
                "is an old copy of the increments store: event count {store}, that of the group is {group}"
            ),
            Self::Newer { store, group } => write!(
                f,
                "is newer than the metadata: event count {store}, that of the group is {group}"
            ),
            Self::Shrunk { device, used } => write!(
                f,
                "has {device} sectors, but the increments store uses {used}"
            ),
            Self::Layout(error) => error.fmt(f),
        }
    }
}

/// The event count that a store must have seen at least, if the metadata is at `events`. `kept_at`
/// is not 0 if its device could not be written from some event on, but was kept in use: then it is
/// the event count with which that was recorded.
pub const fn least_seen(events: u64, kept_at: u64) -> u64 {
    match kept_at {
        // The metadata is written first.
        0 => events.saturating_sub(1),
        // It was told at least of the event before that, or of the one before.
        kept_at => kept_at.saturating_sub(2),
    }
}

/// Judges what was found on a device.
///
/// # Errors
///
/// The device must not be used; nothing may be written to it.
#[inline(never)]
pub fn judge(probe: &Probe, expected: &Expected) -> Result<Plan, Refusal> {
    match probe {
        Probe::Blank if expected.formatted => Err(Refusal::Blank),
        Probe::Blank => Layout::new(expected.block_sectors, expected.device_sectors)
            .map(|_| Plan::Format)
            .map_err(Refusal::Layout),
        Probe::Foreign => Err(Refusal::Foreign),
        Probe::Dead | Probe::Unreadable => Err(Refusal::Unreadable),
        Probe::Damaged(error) => Err(Refusal::Damaged(*error)),
        Probe::Version(version) => Err(Refusal::Version(*version)),
        Probe::Store(chosen) => judge_header(&chosen.value, expected),
    }
}

/// Judges what was found on a device that is to be used again after it failed. Its content matters
/// only for volumes that have no other copy of it: if there are such volumes, `failed_at` is the
/// event count when the failure was recorded. Other volumes are compared with it afterwards.
///
/// # Errors
///
/// As [`judge`].
#[inline(never)]
pub fn judge_again(
    probe: &Probe,
    expected: &Expected,
    failed_at: Option<u64>,
) -> Result<Plan, Refusal> {
    let again = Expected {
        formatted: failed_at.is_some(),
        least: match failed_at {
            Some(failed_at) => least_seen(expected.events, failed_at),
            None => 0,
        },
        ..*expected
    };
    judge(probe, &again)
}

/// Judges a store by its header: first whose it is, then whether the device has all of it, then
/// whether it has seen the events that it must have seen.
fn judge_header(header: &Header, expected: &Expected) -> Result<Plan, Refusal> {
    // Check first whose store it is: for somebody else's store, nothing else matters.
    if header.group != expected.group {
        return Err(Refusal::Group(header.group));
    }
    if header.uuid != expected.uuid {
        return Err(Refusal::Uuid);
    }
    if header.lid != expected.lid {
        return Err(Refusal::Lid(header.lid));
    }
    if header.block_sectors != expected.block_sectors {
        return Err(Refusal::BlockSectors(header.block_sectors));
    }
    if header.sectors != expected.sectors {
        return Err(Refusal::Sectors(header.sectors));
    }
    if header.used_sectors > expected.device_sectors {
        return Err(Refusal::Shrunk {
            device: expected.device_sectors,
            used: header.used_sectors,
        });
    }
    if header.phase == Phase::Formatting {
        // It is not a member yet, so it was not told of events.
        return if expected.formatted {
            Err(Refusal::Unfinished)
        } else {
            Ok(Plan::FormatAgain)
        };
    }
    let (store, group) = (header.events, expected.events);
    if store > group {
        Err(Refusal::Newer { store, group })
    } else if store < expected.least {
        Err(Refusal::Older { store, group })
    } else {
        Ok(Plan::Use)
    }
}
