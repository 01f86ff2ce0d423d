// SPDX-License-Identifier: GPL-2.0

//! What a failed I/O says about the disk that it went to.

use super::route::Op;

/// How a disk answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// It does not support the operation; maybe because the device behind it is gone.
    Unsupported,
    /// The request is not as it has to be for this disk.
    Invalid,
    /// It did not say why it failed the request, the content of which is not aligned in memory as
    /// this disk wants it.
    Unaligned,
    /// It would have had to wait, but was asked not to.
    Again,
    /// It would have taken longer than the user allows.
    Late,
    /// Somebody else has reserved it.
    Conflict,
    /// It refused the command.
    Target,
    /// It has lost the data, or has damaged data.
    Medium,
    /// It is gone, or does not answer.
    Gone,
    /// Anything else.
    Other,
}

/// How to react to an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reaction {
    /// The user gets the answer: it says nothing about the disk.
    PassOn,
    /// The same is done with other memory: the disk does not take the request as it is, which says
    /// nothing about the disk.
    Otherwise,
    /// The data is read elsewhere. The disk may have lost only this data; this counts as an error.
    Elsewhere,
    /// The disk can no longer be relied on.
    Fail,
}

impl Reaction {
    /// Whether the answer counts as an error of the disk.
    pub fn is_of_disk(self) -> bool {
        matches!(self, Self::Elsewhere | Self::Fail)
    }
}

/// How to react to an answer for an operation.
pub fn judge(op: Op, answer: Answer) -> Reaction {
    // The problem is the request, not the disk.
    match answer {
        Answer::Invalid | Answer::Unaligned if matches!(op, Op::Read | Op::Write) => {
            return Reaction::Otherwise;
        }
        Answer::Invalid | Answer::Unaligned | Answer::Again | Answer::Late => {
            return Reaction::PassOn;
        }
        _ => (),
    }
    match op {
        Op::Read if answer == Answer::Gone => Reaction::Fail,
        Op::Read => Reaction::Elsewhere,
        // All disks can read, write and flush. After a failure, the disk may hold old or new data.
        Op::Write | Op::Flush => Reaction::Fail,
        // Disks often report only now that they do not support it: then the caller writes zeroes
        // instead.
        Op::WriteZeroes if matches!(answer, Answer::Unsupported | Answer::Target) => {
            Reaction::PassOn
        }
        Op::WriteZeroes => Reaction::Fail,
        // Nobody relies on a discard.
        Op::Discard | Op::Other if answer == Answer::Gone => Reaction::Fail,
        Op::Discard | Op::Other => Reaction::PassOn,
    }
}

/// How long until half of the errors are forgotten, in milliseconds: an hour.
const HALF_LIFE_MS: u64 = 3_600_000;

/// The errors of a disk, which age.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ErrorCount {
    count: u32,
    /// When it was last halved, in milliseconds.
    since_ms: u64,
}

impl ErrorCount {
    /// No errors.
    pub const fn new() -> Self {
        Self {
            count: 0,
            since_ms: 0,
        }
    }

    /// Adds an error at `now_ms` on some clock; returns the number of errors.
    pub fn add(&mut self, now_ms: u64) -> u32 {
        let ages = now_ms.saturating_sub(self.since_ms) / HALF_LIFE_MS;
        if ages > 0 {
            let shift = u32::try_from(ages).unwrap_or(u32::MAX);
            self.count = self.count.checked_shr(shift).unwrap_or(0);
            self.since_ms = now_ms;
        }
        self.count = self.count.saturating_add(1);
        self.count
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_fault))]
mod tests {
    use super::*;

    const ANSWERS: [Answer; 10] = [
        Answer::Unsupported,
        Answer::Invalid,
        Answer::Unaligned,
        Answer::Again,
        Answer::Late,
        Answer::Conflict,
        Answer::Target,
        Answer::Medium,
        Answer::Gone,
        Answer::Other,
    ];

    #[test]
    fn every_answer() {
        use Reaction::{
            Elsewhere,
            Fail,
            Otherwise,
            PassOn, //
        };
        // In the order of `ANSWERS`.
        let expected = [
            (
                Op::Read,
                [
                    Elsewhere, Otherwise, Otherwise, PassOn, PassOn, Elsewhere, Elsewhere,
                    Elsewhere, Fail, Elsewhere,
                ],
            ),
            (
                Op::Write,
                [
                    Fail, Otherwise, Otherwise, PassOn, PassOn, Fail, Fail, Fail, Fail, Fail,
                ],
            ),
            (
                Op::Flush,
                [
                    Fail, PassOn, PassOn, PassOn, PassOn, Fail, Fail, Fail, Fail, Fail,
                ],
            ),
            (
                Op::WriteZeroes,
                [
                    PassOn, PassOn, PassOn, PassOn, PassOn, Fail, PassOn, Fail, Fail, Fail,
                ],
            ),
            (
                Op::Discard,
                [
                    PassOn, PassOn, PassOn, PassOn, PassOn, PassOn, PassOn, PassOn, Fail, PassOn,
                ],
            ),
            (
                Op::Other,
                [
                    PassOn, PassOn, PassOn, PassOn, PassOn, PassOn, PassOn, PassOn, Fail, PassOn,
                ],
            ),
        ];
        for (op, reactions) in expected {
            for (answer, reaction) in ANSWERS.into_iter().zip(reactions) {
                assert_eq!((op, answer, judge(op, answer)), (op, answer, reaction));
            }
        }
    }

    #[test]
    fn errors_age() {
        let mut errors = ErrorCount::new();
        for count in 1..=20 {
            assert_eq!(errors.add(1000), count);
        }
        assert_eq!(errors.add(HALF_LIFE_MS - 1), 21);
        assert_eq!(errors.add(HALF_LIFE_MS), 11);
        assert_eq!(errors.add(2 * HALF_LIFE_MS), 6);
        assert_eq!(errors.add(5 * HALF_LIFE_MS), 1);
        assert_eq!(errors.add(u64::MAX), 1);
        // A clock that goes back.
        assert_eq!(errors.add(0), 2);
    }
}
