// SPDX-License-Identifier: GPL-2.0

//! Which metadata a group starts with.
//!
//! The rules of [writing](super#writing) make this possible: the traces of a crash look different
//! from those of damage or of a wrong device.
//!
//! # One copy by itself
//!
//! | slots | the copy is |
//! |---|---|
//! | both blank | blank |
//! | a claim, and no header in the other slot | claimed: blank, but known to be this group's |
//! | a valid generation, and a valid older one or a claim | good |
//! | ... and a header of an older one with a wrong body | good: a commit was cut off |
//! | ... and a header of a *newer* one with a wrong body | good, newest generation damaged |
//! | ... and anything else | good, but something newer may have been there |
//! | a header of an unknown version | of another version |
//! | no valid generation, some slot damaged | broken |
//! | no valid generation, some slot with no header of ours | foreign |
//! | no valid generation, some slot unreadable | unreadable |
//!
//! # All copies together
//!
//! If no copy is good, all have to be blank or claimed, and the group is new. Otherwise the newest
//! generation of a good copy of this group is used, and the other copy is judged by it:
//!
//! | the other copy | the newest says of it: live | lost |
//! |---|---|---|
//! | good, same generation | used | not used |
//! | good, one generation behind | a commit was cut off: rewritten | not used |
//! | good, further behind | refused, or forced: rewritten | not used |
//! | good, says that the newest one is lost | refused; but see below | refused |
//! | good, of another uuid, or a clone | refused | refused |
//! | good, of another GrpID | refused | not used |
//! | blank or claimed | refused; while `initialising`: rewritten | not used |
//! | foreign, or of another version | refused | not used |
//! | missing, unreadable or broken | its loss has to be confirmed, then it is lost | not used |
//!
//! If a copy is one generation behind and says that the newest copy is lost, while the newest copy
//! says that both are live, the newest copy was just being replaced: the older one is rewritten.
//!
//! The newest generation itself may be in doubt, if a slot of its copy is damaged. If the damaged
//! generation is known to be newer, it has to be confirmed that nothing relied on it. If its age is
//! unknown, it is enough that the other copy is good and both its slots are valid: a later
//! generation would be there too, or, had that copy been lost, its loss would be recorded in both
//! slots.
//!
//! Whatever has to be confirmed is confirmed by an increments header that has seen the same event
//! count (or one less: it is written after the metadata), or by `force_metadata`; not by one of an
//! increments volume that has failed or can't be written, which is told of no events. Metadata
//! older than what any increments header has seen is stale, and refused unless forced.
//!
//! Force only overrides age. It never accepts a foreign, blank or contradicting copy as good: for
//! that, the user gives `-` instead of the device.

use super::{
    probe::{
        CopyProbe,
        SlotState, //
    },
    CopyState,
    Metadata,
    Phase,
    VolumeRecord,
    SLOTS, //
};
use crate::svol_core::{
    id::Id,
    table_line::{
        MetaDevice,
        MAX_META_COPIES, //
    }, //
};
use core::fmt;

/// How a group starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Start {
    /// As a new one: no metadata of any group was found.
    Fresh,
    /// As the one that the metadata describes.
    Resume(Resume),
}

/// The start of a group that exists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Resume {
    /// The device with the generation to use, counting from 0 in the table line.
    pub device: usize,
    /// The slot with the generation to use; see [`CopyProbe::take`].
    pub slot: usize,
    /// What to do with each device, in the order of the table line; `None` after the last one.
    pub plans: [Option<CopyPlan>; MAX_META_COPIES],
    /// Whether some slot is damaged or out of date. If so, and no loss is to be recorded, the state
    /// has to be committed once more ([`Metadata::try_next`]) after the rewrite, so that every slot
    /// is valid.
    pub heal: bool,
}

/// What to do with a metadata device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CopyPlan {
    /// The copy on this device. Devices may have been swapped, which is harmless: a copy knows
    /// which one it is.
    pub copy: usize,
    /// What to do with it.
    pub action: CopyAction,
}

/// What to do with a metadata copy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CopyAction {
    /// Use it.
    Keep,
    /// Write the chosen generation to it, then use it.
    Rewrite,
    /// Do not use it, and record its loss.
    Lose,
    /// Do not use it; its loss is recorded already.
    Ignore,
}

/// Why a group does not start. Devices count from 0, in the order of the table line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// No copy can be used, and this one is damaged.
    Damaged(usize),
    /// No copy can be used, and this one cannot be read.
    Unreadable(usize),
    /// No metadata was found, but this device is missing: a new group needs all of them.
    Missing(usize),
    /// This device holds something else.
    Foreign(usize),
    /// This device is blank (or holds no more than a claim), but the group is not new.
    Blank(usize),
    /// This device belongs to another group.
    WrongGroup {
        /// The device.
        device: usize,
        /// The group that it belongs to.
        found: Id,
    },
    /// This device has an unknown format version.
    Version {
        /// The device.
        device: usize,
        /// The version.
        version: u32,
    },
    /// The group has another number of copies.
    CopyCount {
        /// How many the metadata knows.
        known: usize,
    },
    /// The copies have the same GrpID, but are of different groups.
    DifferentGroups,
    /// The copies are clones of one of them.
    Clones,
    /// Each copy was used without the other one.
    SplitBrain,
    /// The copies are of the same generation, but say different things.
    Contradiction,
    /// This device was left behind by the other one.
    Older {
        /// The device.
        device: usize,
        /// Its generation.
        sequence: u64,
        /// The newest generation.
        newest: u64,
    },
    /// The newest generation of this device is damaged, and nothing confirms the one before.
    NewestDamaged(usize),
    /// Without this device it is unknown whether the other one is up to date.
    Unconfirmed {
        /// The device that would be needed.
        device: usize,
        /// What is wrong with it.
        why: Gone,
    },
    /// An increments volume has seen newer metadata.
    Stale {
        /// The event count of the metadata.
        events: u64,
        /// The event count that was seen.
        seen: u64,
    },
}

/// Why a copy cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Gone {
    /// The device is not here.
    Missing,
    /// The device cannot be read.
    Unreadable,
    /// No generation on it is valid.
    Damaged,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::Damaged => "damaged",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Damaged(device) => {
                write!(f, "{} is damaged, none is usable", MetaDevice(device))
            }
            Self::Unreadable(device) => {
                write!(f, "{} can't be read, none is usable", MetaDevice(device))
            }
            Self::Missing(device) => {
                let device = MetaDevice(device);
                write!(f, "{device} is missing: a new group needs all")
            }
            Self::Foreign(device) => {
                let device = MetaDevice(device);
                write!(f, "{device} holds something that is not dm-svol metadata")
            }
            Self::Blank(device) => {
                let device = MetaDevice(device);
                write!(f, "{device} is blank, but the group is not new")
            }
            Self::WrongGroup { device, found } => {
                write!(f, "{} belongs to the group {found}", MetaDevice(device))
            }
            Self::Version { device, version } => {
                let device = MetaDevice(device);
                write!(f, "{device} has the unknown format version {version}")
            }
            Self::CopyCount { known } => {
                write!(f, "#meta: the group has {known} metadata device(s)")
            }
            Self::DifferentGroups => {
                f.write_str("the metadata devices belong to different groups of this name")
            }
            Self::Clones => f.write_str("one metadata device is a clone of the other one"),
            Self::SplitBrain => f.write_str(
                "the metadata devices were used without each other: give \"-\" for the wrong one",
            ),
            Self::Contradiction => f.write_str("the metadata devices contradict each other"),
            Self::Older {
                device,
                sequence,
                newest,
            } => {
                let device = MetaDevice(device);
                write!(
                    f,
                    "{device} is too old: generation {sequence}, newest {newest}"
                )
            }
            Self::NewestDamaged(device) => {
                let device = MetaDevice(device);
                write!(f, "the newest generation on {device} is damaged")
            }
            Self::Unconfirmed { device, why } => {
                let device = MetaDevice(device);
                write!(
                    f,
                    "{device} is {why}, and nothing confirms that the other one is up to date; \
                     force_metadata starts with it"
                )
            }
            Self::Stale { events, seen } => write!(
                f,
                "the metadata is stale: event count {events}, but {seen} was seen"
            ),
        }
    }
}

/// The event counts in the headers of a group's increments volumes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SeenEvents {
    /// The highest of all; if that of the metadata is lower, the metadata is stale.
    pub by_any: Option<u64>,
    /// The highest of those that the newest metadata says are told each event. One that failed is
    /// told no more, and so can't confirm that there is no newer metadata.
    pub by_told: Option<u64>,
}

impl SeenEvents {
    /// Adds the count in the header of the increments volume `lid`; `newest` is the newest
    /// metadata.
    pub fn add(&mut self, newest: &Metadata, lid: &Id, events: u64) {
        self.by_any = self.by_any.max(Some(events));
        // One that stays in use although it can't be written has a `failed_at`.
        let is_told = |volume: &VolumeRecord| !volume.state.failed && volume.failed_at == 0;
        let volume = newest.members().find(|volume| volume.lid == *lid);
        if volume.is_some_and(is_told) {
            self.by_told = self.by_told.max(Some(events));
        }
    }
}

/// Decides how a group starts.
///
/// `probes` are the metadata devices in the order of the table line. `seen` is what the increments
/// volumes of the group say, that of [`newest`]. `force` uses metadata even if nothing confirms
/// that it is the newest.
///
/// # Errors
///
/// The reason why it does not start.
#[inline(never)]
pub fn choose(
    group: &Id,
    probes: &[CopyProbe],
    seen: SeenEvents,
    force: bool,
) -> Result<Start, Refusal> {
    let Some(newest) = find_newest(group, probes) else {
        return start_fresh(group, probes);
    };
    let head = &newest.good.metadata.head;
    if head.copies.count() != probes.len() {
        return Err(Refusal::CopyCount {
            known: head.copies.count(),
        });
    }

    if let Some(seen) = seen.by_any.filter(|seen| !force && *seen > head.events) {
        return Err(Refusal::Stale {
            events: head.events,
            seen,
        });
    }
    let is_latest = |seen: u64| seen.saturating_add(1) >= head.events;
    let confirmed = force || seen.by_told.is_some_and(is_latest);

    let mut plans = [None; MAX_META_COPIES];
    let mut heal = newest.good.doubt != Doubt::None;
    let mut vouched = false;
    for (device, (probe, slot)) in probes.iter().zip(plans.iter_mut()).enumerate() {
        let plan = if device == newest.device {
            CopyPlan {
                copy: newest.good.copy,
                action: CopyAction::Keep,
            }
        } else {
            let other = Other {
                device,
                verdict: judge(probe),
            };
            let judged = judge_other(group, &newest, &other, force, confirmed)?;
            vouched |= judged.vouches;
            heal |= judged.heal;
            judged.plan
        };
        *slot = Some(plan);
    }

    let settled = match newest.good.doubt {
        Doubt::None => true,
        Doubt::Unknown => vouched || confirmed,
        Doubt::Newer(_) => confirmed,
    };
    if !settled {
        return Err(Refusal::NewestDamaged(newest.device));
    }
    Ok(Start::Resume(Resume {
        device: newest.device,
        slot: newest.good.slot,
        plans,
        heal,
    }))
}

/// The newest metadata on the devices: that of the group that would start, since other groups may
/// have had the same GrpID. `None` if no copy is good.
pub fn newest<'a>(group: &Id, probes: &'a [CopyProbe]) -> Option<&'a Metadata> {
    Some(find_newest(group, probes)?.good.metadata)
}

/// Whether the content of a device allows it to become a metadata copy of the group with this uuid:
/// it is blank, or holds metadata of this group.
pub fn may_become_copy(probe: &CopyProbe, uuid: &[u8; 16]) -> bool {
    match judge(probe) {
        Verdict::Blank => true,
        Verdict::Good(Good { metadata, .. }) | Verdict::Claimed(metadata) => {
            metadata.head.uuid == *uuid
        }
        _ => false,
    }
}

/// Whether a copy may have held something newer than its best valid generation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Doubt {
    /// No.
    None,
    /// This newer generation is there, damaged.
    Newer(u64),
    /// That is unknown.
    Unknown,
}

/// The best of a good copy.
#[derive(Clone, Copy)]
struct Good<'a> {
    copy: usize,
    slot: usize,
    metadata: &'a Metadata,
    doubt: Doubt,
}

/// What a copy is, whatever the other one is.
#[derive(Clone, Copy)]
enum Verdict<'a> {
    /// It has a valid generation.
    Good(Good<'a>),
    /// A new group has claimed the device, and has not written a generation yet.
    Claimed(&'a Metadata),
    /// It holds nothing.
    Blank,
    /// It holds something else.
    Foreign,
    /// It is of a format with this version, which is not known here.
    Version(u32),
    /// It is missing, damaged, or can't be read.
    Gone(Gone),
}

/// Judges a copy by itself. If one of its slots is of another version, nothing else counts.
fn judge(probe: &CopyProbe) -> Verdict<'_> {
    let CopyProbe::Present(slots) = probe else {
        return Verdict::Gone(Gone::Missing);
    };
    let any = |test: fn(&SlotState) -> bool| slots.iter().any(test);
    let version = slots.iter().find_map(|slot| match slot {
        SlotState::Version(version) => Some(*version),
        _ => None,
    });
    if let Some(version) = version {
        return Verdict::Version(version);
    }

    match best(slots) {
        Some(good) if good.metadata.head.sequence > 0 => return Verdict::Good(good),
        Some(claim) => {
            // Anything else without a header is the body of a first commit.
            return match slots.get(1) {
                Some(SlotState::Blank | SlotState::Foreign) => Verdict::Claimed(claim.metadata),
                _ => Verdict::Gone(Gone::Damaged),
            };
        }
        None => {}
    }

    if any(|slot| {
        matches!(
            slot,
            SlotState::DamagedHeader | SlotState::DamagedBody { .. }
        )
    }) {
        Verdict::Gone(Gone::Damaged)
    } else if any(|slot| *slot == SlotState::Foreign) {
        Verdict::Foreign
    } else if any(|slot| *slot == SlotState::Unreadable) {
        Verdict::Gone(Gone::Unreadable)
    } else {
        Verdict::Blank
    }
}

/// The newest valid generation of a copy, and whether it is in doubt.
fn best(slots: &[SlotState; SLOTS]) -> Option<Good<'_>> {
    let best = slots
        .iter()
        .enumerate()
        .filter_map(|(slot, state)| match state {
            SlotState::Valid { copy, metadata } => Some(Good {
                copy: *copy,
                slot,
                metadata,
                doubt: Doubt::None,
            }),
            _ => None,
        })
        .max_by_key(|good| good.metadata.head.sequence)?;

    let sequence = best.metadata.head.sequence;
    let doubt = slots
        .iter()
        .find_map(|state| match state {
            SlotState::Valid { .. } => None,
            SlotState::DamagedBody {
                sequence: damaged, ..
            } => (*damaged > sequence).then_some(Doubt::Newer(*damaged)),
            _ => Some(Doubt::Unknown),
        })
        .unwrap_or(Doubt::None);
    Some(Good { doubt, ..best })
}

/// The copy whose generation the group starts with.
struct Newest<'a> {
    device: usize,
    good: Good<'a>,
}

/// The newest generation of the group on all copies.
fn find_newest<'a>(group: &Id, probes: &'a [CopyProbe]) -> Option<Newest<'a>> {
    probes
        .iter()
        .enumerate()
        .filter_map(|(device, probe)| match judge(probe) {
            Verdict::Good(good) if good.metadata.head.group == *group => {
                Some(Newest { device, good })
            }
            _ => None,
        })
        // Of equals, one without doubt; then the first.
        .reduce(|best, next| {
            if rank(&next) > rank(&best) {
                next
            } else {
                best
            }
        })
}

/// By what copies are compared: the greatest is the newest one.
fn rank(newest: &Newest<'_>) -> (u64, bool) {
    let good = &newest.good;
    (good.metadata.head.sequence, good.doubt == Doubt::None)
}

/// Without any good copy of the group: decides whether it may be a new one.
fn start_fresh(group: &Id, probes: &[CopyProbe]) -> Result<Start, Refusal> {
    // The most specific reason comes first.
    let wrong = |device, verdict: &Verdict<'_>| match verdict {
        Verdict::Good(Good { metadata, .. }) | Verdict::Claimed(metadata)
            if metadata.head.group != *group =>
        {
            Some(Refusal::WrongGroup {
                device,
                found: metadata.head.group,
            })
        }
        Verdict::Version(version) => Some(Refusal::Version {
            device,
            version: *version,
        }),
        Verdict::Foreign => Some(Refusal::Foreign(device)),
        _ => None,
    };
    let gone = |device, verdict: &Verdict<'_>| match verdict {
        Verdict::Gone(Gone::Damaged) => Some(Refusal::Damaged(device)),
        Verdict::Gone(Gone::Unreadable) => Some(Refusal::Unreadable(device)),
        _ => None,
    };
    let missing = |device, verdict: &Verdict<'_>| match verdict {
        Verdict::Gone(Gone::Missing) => Some(Refusal::Missing(device)),
        _ => None,
    };
    let find = |test: &dyn Fn(usize, &Verdict<'_>) -> Option<Refusal>| {
        probes
            .iter()
            .enumerate()
            .find_map(|(device, probe)| test(device, &judge(probe)))
    };

    match find(&wrong)
        .or_else(|| find(&gone))
        .or_else(|| find(&missing))
    {
        Some(refusal) => Err(refusal),
        None => Ok(Start::Fresh),
    }
}

/// The copy that is not the newest one.
struct Other<'a> {
    device: usize,
    verdict: Verdict<'a>,
}

/// The verdict on the other copy.
struct Judged {
    plan: CopyPlan,
    /// It proves that nothing newer than the newest generation ever took effect.
    vouches: bool,
    /// One of its slots is damaged or out of date.
    heal: bool,
}

/// Judges the copy that is not the newest one: whether the group may start with it, and what is to
/// be done with it. One that the newest generation calls lost is ignored, unless it is a good one
/// of this group. `confirmed` says that increments volumes prove the newest generation to be that,
/// or that this is forced; otherwise the group does not start without the copy.
fn judge_other(
    group: &Id,
    newest: &Newest<'_>,
    other: &Other<'_>,
    force: bool,
    confirmed: bool,
) -> Result<Judged, Refusal> {
    let device = other.device;
    let head = &newest.good.metadata.head;
    // There are at most two copies, so the other one is the one that is not the newest.
    let copy = 1usize.saturating_sub(newest.good.copy);
    let lost = head.copies.state(copy) == Some(CopyState::Lost);
    let plan = |action| {
        Ok(Judged {
            plan: CopyPlan { copy, action },
            vouches: false,
            heal: action == CopyAction::Rewrite,
        })
    };

    match &other.verdict {
        Verdict::Good(good) if good.metadata.head.group == *group => {
            judge_good(newest, good, device, force, confirmed)
        }
        _ if lost => plan(CopyAction::Ignore),
        Verdict::Good(Good { metadata, .. }) => Err(Refusal::WrongGroup {
            device,
            found: metadata.head.group,
        }),
        Verdict::Claimed(claim) if claim.head.uuid != head.uuid => Err(Refusal::Blank(device)),
        Verdict::Claimed(_) | Verdict::Blank => match head.phase {
            Phase::Initialising => plan(CopyAction::Rewrite),
            Phase::Active => Err(Refusal::Blank(device)),
        },
        Verdict::Foreign => Err(Refusal::Foreign(device)),
        Verdict::Version(version) => Err(Refusal::Version {
            device,
            version: *version,
        }),
        Verdict::Gone(_) if confirmed => plan(CopyAction::Lose),
        Verdict::Gone(why) => Err(Refusal::Unconfirmed { device, why: *why }),
    }
}

/// Judges a good copy of the same GrpID that is not the newest one.
fn judge_good(
    newest: &Newest<'_>,
    other: &Good<'_>,
    device: usize,
    force: bool,
    confirmed: bool,
) -> Result<Judged, Refusal> {
    let head = &newest.good.metadata.head;
    let other_head = &other.metadata.head;
    if other_head.uuid != head.uuid {
        return Err(Refusal::DifferentGroups);
    }
    if other.copy == newest.good.copy {
        return Err(Refusal::Clones);
    }

    let behind = head.sequence.saturating_sub(other_head.sequence);
    let lost = head.copies.state(other.copy) == Some(CopyState::Lost);
    if other_head.copies.state(newest.good.copy) == Some(CopyState::Lost) && (lost || behind != 1) {
        return Err(Refusal::SplitBrain);
    }
    let plan = CopyPlan {
        copy: other.copy,
        action: match behind {
            _ if lost => CopyAction::Ignore,
            0 => CopyAction::Keep,
            _ => CopyAction::Rewrite,
        },
    };
    if lost {
        return Ok(Judged {
            plan,
            vouches: false,
            heal: false,
        });
    }

    if behind == 0 && other.metadata != newest.good.metadata {
        return Err(Refusal::Contradiction);
    }
    // Its own damaged generation may hide that it was only one behind.
    let expected = if other.doubt == Doubt::None { 1 } else { 2 };
    if behind > expected && !force {
        return Err(Refusal::Older {
            device,
            sequence: other_head.sequence,
            newest: head.sequence,
        });
    }
    if let Doubt::Newer(damaged) = other.doubt {
        if damaged > head.sequence && !confirmed {
            return Err(Refusal::NewestDamaged(device));
        }
    }
    Ok(Judged {
        plan,
        vouches: other.doubt == Doubt::None,
        heal: behind > 0 || other.doubt != Doubt::None,
    })
}
