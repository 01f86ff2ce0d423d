// SPDX-License-Identifier: GPL-2.0

//! The features of a group: the behaviour that the user can choose.

use super::super::{
    args::{
        Flaw,
        Word,
        Words, //
    },
    id::Id,
    text::{
        parse_u32,
        parse_u64, //
    },
    words::word_enum, //
};
use super::LineProblem;
use core::{
    fmt,
    ops::RangeInclusive, //
};

/// How a new group gets identical disks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Init {
    /// The disk of this volume is copied to the others.
    CopyFrom(Id),
    /// The disks are compared.
    Verify,
    /// The user vouches that they are identical.
    AssumeIdentical,
}

/// What happens to a write for which the increments volume has no room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnFull {
    /// It fails.
    Error,
    /// It waits for room, and fails after a time.
    Queue {
        /// How long, in seconds.
        seconds: u32,
    },
}

impl OnFull {
    /// Whether a write has waited as long as it may, from `since` until `now`, both in milliseconds
    /// of a clock that wraps around after 49 days.
    pub fn is_over(self, since: u32, now: u32) -> bool {
        /// Longer than any write may wait: a larger difference means that `since` is after `now`.
        const HALF: u32 = 1 << 31;

        let Self::Queue { seconds } = self else {
            return true;
        };
        let waited = now.wrapping_sub(since);
        waited < HALF && waited >= seconds.saturating_mul(1000)
    }
}

word_enum! {
    /// Who decides that a spare takes over.
    pub enum Failover {
        /// The group itself.
        Auto = 1, "auto";
        /// The user.
        Manual = 2, "manual";
    }
}

word_enum! {
    /// How a source for a base read is chosen.
    pub enum ReadPolicy {
        /// Streams stay on a disk, other reads go where the fewest I/Os are in flight.
        Adaptive = 1, "adaptive";
        /// The disks take turns.
        RoundRobin = 2, "round-robin";
    }
}

/// The features of a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Features {
    /// `init`: how a new group gets identical disks.
    pub init: Init,
    /// `on_full`: what happens to a write for which there is no room.
    pub on_full: OnFull,
    /// `low_water_mark`: an event is raised when less than this of an increments volume is free,
    /// in percent; 0 for never.
    pub low_water_mark: u8,
    /// `max_errors`: a disk with more errors than this counts as failed.
    pub max_errors: u32,
    /// `failover`: who decides that a spare takes over.
    pub failover: Failover,
    /// `rebuild_rate`: the maximum rate of a rebuild, in KiB/s; 0 for no limit.
    pub rebuild_rate: u32,
    /// `slow_after`: a disk that has not answered for this long gets no new I/O, in milliseconds.
    pub slow_after_ms: u32,
    /// `read_policy`: how a source for a base read is chosen.
    pub read_policy: ReadPolicy,
    /// `allow_unprotected`: in-place volumes may be written without a log.
    pub allow_unprotected: bool,
    /// `force_metadata`: metadata is used even if nothing confirms that it is the newest.
    pub force_metadata: bool,
}

impl Features {
    /// How long `on_full queue` waits if the line does not say, in seconds.
    pub const DEFAULT_QUEUE_SECONDS: u32 = 60;

    /// The features of a line that gives none.
    pub const DEFAULT: Self = Self {
        init: Init::Verify,
        on_full: OnFull::Error,
        low_water_mark: 10,
        max_errors: 20,
        failover: Failover::Auto,
        rebuild_rate: 0,
        slow_after_ms: 2000,
        read_policy: ReadPolicy::Adaptive,
        allow_unprotected: false,
        force_metadata: false,
    };

    /// The times that `on_full queue` accepts, in seconds: up to a day.
    const QUEUE_SECONDS: RangeInclusive<u32> = 1..=86_400;

    /// The times that `slow_after` accepts, in milliseconds: up to an hour.
    const SLOW_AFTER: RangeInclusive<u32> = 1..=3_600_000;

    /// Prints the number of feature arguments and the arguments, each after a space; nothing at
    /// all if every feature has its default value.
    pub(super) fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let mut count = CountSpaces(0);
        self.write_words(&mut count)?;
        if count.0 == 0 {
            return Ok(());
        }
        write!(out, " {}", count.0)?;
        self.write_words(out)
    }

    fn write_words(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let default = Self::DEFAULT;

        if self.init != default.init {
            match self.init {
                Init::CopyFrom(lid) => write!(out, " init copy_from {lid}")?,
                Init::Verify => out.write_str(" init verify")?,
                Init::AssumeIdentical => out.write_str(" init assume_identical")?,
            }
        }
        if self.on_full != default.on_full {
            match self.on_full {
                OnFull::Error => out.write_str(" on_full error")?,
                OnFull::Queue { seconds } => write!(out, " on_full queue {seconds}")?,
            }
        }
        if self.low_water_mark != default.low_water_mark {
            write!(out, " low_water_mark {}", self.low_water_mark)?;
        }
        if self.max_errors != default.max_errors {
            write!(out, " max_errors {}", self.max_errors)?;
        }
        if self.failover != default.failover {
            write!(out, " failover {}", self.failover)?;
        }
        if self.rebuild_rate != default.rebuild_rate {
            write!(out, " rebuild_rate {}", self.rebuild_rate)?;
        }
        if self.slow_after_ms != default.slow_after_ms {
            write!(out, " slow_after {}", self.slow_after_ms)?;
        }
        if self.read_policy != default.read_policy {
            write!(out, " read_policy {}", self.read_policy)?;
        }
        if self.allow_unprotected {
            out.write_str(" allow_unprotected")?;
        }
        if self.force_metadata {
            out.write_str(" force_metadata")?;
        }
        Ok(())
    }
}

impl Default for Features {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Counts words that are each written after one space.
struct CountSpaces(usize);

impl fmt::Write for CountSpaces {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let spaces = text.bytes().filter(|byte| *byte == b' ').count();
        self.0 = self.0.saturating_add(spaces);
        Ok(())
    }
}

/// The features that a line gives; each can be given once.
#[derive(Default)]
pub(super) struct Given {
    init: Option<Init>,
    on_full: Option<OnFull>,
    low_water_mark: Option<u8>,
    max_errors: Option<u32>,
    failover: Option<Failover>,
    rebuild_rate: Option<u32>,
    slow_after_ms: Option<u32>,
    read_policy: Option<ReadPolicy>,
    allow_unprotected: Option<bool>,
    force_metadata: Option<bool>,
}

impl Given {
    /// Reads one feature whose name is `name`, with the values that follow it.
    pub(super) fn parse<'a, I>(
        &mut self,
        name: Word<'a>,
        words: &mut Words<'a, I>,
    ) -> Result<(), Flaw<LineProblem>>
    where
        I: Iterator<Item = &'a [u8]>,
    {
        use LineProblem as P;

        match name.text {
            b"init" => {
                let init = self.parse_init(words)?;
                set(&mut self.init, name, init)
            }
            b"on_full" => {
                let on_full = parse_on_full(words)?;
                set(&mut self.on_full, name, on_full)
            }
            b"low_water_mark" => {
                let percent = value(words, P::LowWaterMarkMissing, P::LowWaterMarkBad, |text| {
                    let percent = parse_u64(text).and_then(|n| u8::try_from(n).ok())?;
                    (percent <= 100).then_some(percent)
                })?;
                set(&mut self.low_water_mark, name, percent)
            }
            b"max_errors" => {
                let errors = value(words, P::MaxErrorsMissing, P::MaxErrorsBad, parse_u32)?;
                set(&mut self.max_errors, name, errors)
            }
            b"failover" => {
                let who = value(words, P::FailoverMissing, P::FailoverBad, Failover::parse)?;
                set(&mut self.failover, name, who)
            }
            b"rebuild_rate" => {
                let rate = value(words, P::RebuildRateMissing, P::RebuildRateBad, parse_u32)?;
                set(&mut self.rebuild_rate, name, rate)
            }
            b"slow_after" => {
                let ms = value(words, P::SlowAfterMissing, P::SlowAfterBad, |text| {
                    parse_u32(text).filter(|ms| Features::SLOW_AFTER.contains(ms))
                })?;
                set(&mut self.slow_after_ms, name, ms)
            }
            b"read_policy" => {
                let (missing, bad) = (P::ReadPolicyMissing, P::ReadPolicyBad);
                let policy = value(words, missing, bad, ReadPolicy::parse)?;
                set(&mut self.read_policy, name, policy)
            }
            b"allow_unprotected" => set(&mut self.allow_unprotected, name, true),
            b"force_metadata" => set(&mut self.force_metadata, name, true),
            _ => Err(name.flaw(P::FeatureUnknown)),
        }
    }

    fn parse_init<'a, I>(&mut self, words: &mut Words<'a, I>) -> Result<Init, Flaw<LineProblem>>
    where
        I: Iterator<Item = &'a [u8]>,
    {
        let how = words.need(LineProblem::InitMissing)?;
        match how.text {
            b"verify" => Ok(Init::Verify),
            b"assume_identical" => Ok(Init::AssumeIdentical),
            b"copy_from" => {
                let lid = words.need(LineProblem::InitLidMissing)?;
                Id::parse(lid.text)
                    .map(Init::CopyFrom)
                    .map_err(|_| lid.flaw(LineProblem::InitLidBad))
            }
            _ => Err(how.flaw(LineProblem::InitBad)),
        }
    }

    /// The features of the group: those given, and defaults for the others.
    pub(super) fn or_default(&self) -> Features {
        let default = Features::DEFAULT;
        Features {
            init: self.init.unwrap_or(default.init),
            on_full: self.on_full.unwrap_or(default.on_full),
            low_water_mark: self.low_water_mark.unwrap_or(default.low_water_mark),
            max_errors: self.max_errors.unwrap_or(default.max_errors),
            failover: self.failover.unwrap_or(default.failover),
            rebuild_rate: self.rebuild_rate.unwrap_or(default.rebuild_rate),
            slow_after_ms: self.slow_after_ms.unwrap_or(default.slow_after_ms),
            read_policy: self.read_policy.unwrap_or(default.read_policy),
            allow_unprotected: self.allow_unprotected.unwrap_or(default.allow_unprotected),
            force_metadata: self.force_metadata.unwrap_or(default.force_metadata),
        }
    }
}

/// Stores a feature, unless it was given before.
fn set<T>(slot: &mut Option<T>, name: Word<'_>, value: T) -> Result<(), Flaw<LineProblem>> {
    if slot.is_some() {
        return Err(name.flaw(LineProblem::FeatureTwice));
    }
    *slot = Some(value);
    Ok(())
}

/// Reads the single value of a feature.
fn value<'a, I, T>(
    words: &mut Words<'a, I>,
    missing: LineProblem,
    bad: LineProblem,
    parse: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<T, Flaw<LineProblem>>
where
    I: Iterator<Item = &'a [u8]>,
{
    let word = words.need(missing)?;
    parse(word.text).ok_or(word.flaw(bad))
}

fn parse_on_full<'a, I>(words: &mut Words<'a, I>) -> Result<OnFull, Flaw<LineProblem>>
where
    I: Iterator<Item = &'a [u8]>,
{
    let what = words.need(LineProblem::OnFullMissing)?;
    match what.text {
        b"error" => Ok(OnFull::Error),
        b"queue" => {
            // No feature's name begins with a digit, so a word that does must be the time.
            let Some(time) = words.next_if(|text| text.first().is_some_and(u8::is_ascii_digit))
            else {
                return Ok(OnFull::Queue {
                    seconds: Features::DEFAULT_QUEUE_SECONDS,
                });
            };
            parse_u32(time.text)
                .filter(|seconds| Features::QUEUE_SECONDS.contains(seconds))
                .map(|seconds| OnFull::Queue { seconds })
                .ok_or(time.flaw(LineProblem::QueueSecondsBad))
        }
        _ => Err(what.flaw(LineProblem::OnFullBad)),
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_features))]
mod tests {
    use super::*;

    #[test]
    fn writes_wait_for_room_as_long_as_they_may() {
        let queue = OnFull::Queue { seconds: 60 };
        for since in [1, 1000, u32::MAX - 60_000, u32::MAX - 1000, u32::MAX] {
            let at = |ms: u32| queue.is_over(since, since.wrapping_add(ms));
            assert!(!at(0) && !at(59_999) && at(60_000) && at(86_400_000));
        }
        // 0 is kept as 1.
        assert!(!queue.is_over(1, 0));
        assert!(OnFull::Error.is_over(1, 1));
    }
}
