// SPDX-License-Identifier: GPL-2.0

//! What can be wrong with a table line.

use super::super::{
    id::Id,
    text::Quoted, //
};
use core::{
    ffi::CStr,
    fmt, //
};

/// What is wrong with a table line, and where.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LineError<'a> {
    /// The index of the argument, counting from 0; after the last one if an argument is missing.
    pub at: usize,
    /// What is wrong with it.
    pub problem: LineProblem,
    /// The argument itself, unless it is missing.
    pub word: Option<&'a [u8]>,
    /// The entry that it belongs to: its index, counting from 0, and its LID, if there is one.
    pub volume: Option<(usize, Option<&'a [u8]>)>,
}

impl LineError<'_> {
    /// A short text that names the argument, for device-mapper's own message.
    pub const fn reason(&self) -> &'static CStr {
        self.problem.reason()
    }
}

/// The full text, for the log: entry, argument, problem, the word that was found.
impl fmt::Display for LineError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((index, lid)) = self.volume {
            // People count from one.
            write!(f, "volume {}", index.saturating_add(1))?;
            if let Some(lid) = lid {
                match Id::parse(lid) {
                    Ok(lid) => write!(f, " ({lid})")?,
                    Err(_) => write!(f, " ({})", Quoted(lid))?,
                }
            }
            f.write_str(": ")?;
        }
        f.write_str(self.reason().to_str().unwrap_or_default())?;
        let Some(word) = self.word else {
            return Ok(());
        };
        write!(f, ": {}", Quoted(word))?;
        if self.problem.is_about_an_id() {
            if let Err(error) = Id::parse(word) {
                write!(f, " {error}")?;
            }
        }
        write!(f, " (argument {})", self.at.saturating_add(1))
    }
}

macro_rules! problems {
    ( $( $(#[$meta:meta])* $variant:ident = $reason:literal; )+ ) => {
        /// What is wrong with an argument.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum LineProblem {
            $( $(#[$meta])* $variant, )+
        }

        impl LineProblem {
            /// A short text that begins with the name of the argument.
            pub const fn reason(self) -> &'static CStr {
                match self {
                    $( Self::$variant => $reason, )+
                }
            }
        }
    };
}

problems! {
    /// Memory ran out.
    NoMemory = c"out of memory";
    /// The target has no sectors.
    Length = c"length: zero";

    /// There is no GrpID.
    GroupMissing = c"GrpID: missing";
    /// The GrpID is not a valid ID.
    GroupBad = c"GrpID: not a valid ID";
    /// There is no block size.
    BlockSectorsMissing = c"block sectors: missing";
    /// The block size is not one of the possible ones.
    BlockSectorsBad = c"block sectors: not a power of two from 8 to 128";
    /// There is no count of metadata devices.
    MetaCountMissing = c"#meta: missing";
    /// The count of metadata devices is impossible.
    MetaCountBad = c"#meta: not 1 or 2";
    /// There is no metadata device.
    MetaDevMissing = c"meta dev: missing";
    /// The path occurs earlier in the line.
    MetaDevTwice = c"meta dev: named before";
    /// No metadata device is here.
    MetaDevNone = c"meta dev: all are \"-\"";

    /// There is no count of volumes.
    VolumeCountMissing = c"#volumes: missing";
    /// The count of volumes is impossible.
    VolumeCountBad = c"#volumes: not a number from 1 to 256";
    /// No entry is a volume that could be used.
    NoVolume = c"#volumes: none of them is ro or rw";
    /// There is no LID.
    LidMissing = c"LID: missing";
    /// The LID is not a valid ID.
    LidBad = c"LID: not a valid ID";
    /// The LID occurs earlier in the line.
    LidTwice = c"LID: used before";
    /// There is no attribute.
    AttrMissing = c"attr: missing";
    /// The word is not an attribute.
    AttrBad = c"attr: not ro, rw, spare or increments";
    /// There is no device.
    DevMissing = c"dev: missing";
    /// The path occurs earlier in the line.
    DevTwice = c"dev: named before";
    /// There is no RLID.
    RlidMissing = c"RLID: missing";
    /// The RLID is neither ID nor `-`.
    RlidBad = c"RLID: not a valid ID";
    /// No entry has this LID.
    RlidUnknown = c"RLID: no such entry";
    /// The entry with this LID is not an increments volume.
    RlidNotIncrements = c"RLID: not an increments entry";
    /// A spare has no changes to keep.
    RlidOnSpare = c"RLID: not \"-\" for a spare";
    /// An increments volume does not log into another.
    RlidOnIncrements = c"RLID: not \"-\" for an increments entry";
    /// In-place writes without a log must be enabled.
    RlidNeeded = c"RLID: \"-\" for rw needs the feature allow_unprotected";

    /// The count of feature arguments is not a number.
    FeatureCountBad = c"#feature args: not a number";
    /// The count is larger than what follows.
    FeatureCountHigh = c"#feature args: more than there are";
    /// The count is smaller than what follows.
    FeatureCountLow = c"#feature args: fewer than there are";
    /// No feature has this name.
    FeatureUnknown = c"feature args: unknown feature";
    /// The feature occurs earlier in the line.
    FeatureTwice = c"feature args: given before";
    /// `init` has no value.
    InitMissing = c"init: missing";
    /// The value of `init` is not a known one.
    InitBad = c"init: not copy_from, verify or assume_identical";
    /// `init copy_from` has no LID.
    InitLidMissing = c"init copy_from: missing LID";
    /// The LID of `init copy_from` is not a valid ID.
    InitLidBad = c"init copy_from: not a valid ID";
    /// `on_full` has no value.
    OnFullMissing = c"on_full: missing";
    /// The value of `on_full` is not a known one.
    OnFullBad = c"on_full: not error or queue";
    /// The time of `on_full queue` is impossible.
    QueueSecondsBad = c"on_full queue: not a number of seconds from 1 to 86400";
    /// `low_water_mark` has no value.
    LowWaterMarkMissing = c"low_water_mark: missing";
    /// The value of `low_water_mark` is impossible.
    LowWaterMarkBad = c"low_water_mark: not a percentage from 0 to 100";
    /// `max_errors` has no value.
    MaxErrorsMissing = c"max_errors: missing";
    /// The value of `max_errors` is impossible.
    MaxErrorsBad = c"max_errors: not a number below 2^32";
    /// `failover` has no value.
    FailoverMissing = c"failover: missing";
    /// The value of `failover` is not a known one.
    FailoverBad = c"failover: not auto or manual";
    /// `rebuild_rate` has no value.
    RebuildRateMissing = c"rebuild_rate: missing";
    /// The value of `rebuild_rate` is impossible.
    RebuildRateBad = c"rebuild_rate: not a number of KiB/s below 2^32";
    /// `slow_after` has no value.
    SlowAfterMissing = c"slow_after: missing";
    /// The value of `slow_after` is impossible.
    SlowAfterBad = c"slow_after: not a number of ms from 1 to 3600000";
    /// `read_policy` has no value.
    ReadPolicyMissing = c"read_policy: missing";
    /// The value of `read_policy` is not a known one.
    ReadPolicyBad = c"read_policy: not adaptive or round-robin";

    /// `svol` has no group device.
    GroupDevMissing = c"group dev: missing";
    /// `svol` has more than two arguments.
    SvolTrailing = c"LID: more arguments behind it";
}

impl LineProblem {
    /// Whether the word should have been an ID.
    const fn is_about_an_id(self) -> bool {
        matches!(
            self,
            Self::GroupBad | Self::LidBad | Self::RlidBad | Self::InitLidBad
        )
    }
}
