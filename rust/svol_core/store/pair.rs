// SPDX-License-Identifier: GPL-2.0

//! Chooses which of two copies counts.
//!
//! A change is written to copy 0 and then to copy 1, and takes effect when both are durable. So all
//! that a crash can do is leave copy 1 one change behind, or blank if it was the first change.
//! Anything else is damage, which the other copy repairs.

use super::{
    SectorError,
    COPIES, //
};
use core::fmt;

/// The state of one of two copies, of which at least one counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CopyState {
    /// It counts, or is the same as the one that counts.
    Good,
    /// A crash came before it was written: harmless.
    Behind,
    /// It is older than a crash could leave it: a write to it got lost.
    Stale,
    /// It cannot be used.
    Damaged(SectorError),
}

impl CopyState {
    /// Whether the copy has to be rewritten before the next change.
    pub fn wants_rewrite(self) -> bool {
        self != Self::Good
    }

    /// Whether the state is worth a line in the log: a crash does not cause it.
    pub fn is_damage(self) -> bool {
        matches!(self, Self::Stale | Self::Damaged(_))
    }
}

impl fmt::Display for CopyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.write_str("good"),
            Self::Behind => f.write_str("one write behind after a crash"),
            Self::Stale => f.write_str("out of date: a write to it got lost"),
            Self::Damaged(error) => error.fmt(f),
        }
    }
}

/// Why no copy counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PairError {
    /// What is wrong with each copy.
    Lost([SectorError; COPIES]),
    /// Some copy is of a version of the format that this implementation does not know.
    Version(u32),
    /// The copies have the same age but differ, or are not copies of the same thing.
    Contradiction,
}

impl fmt::Display for PairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost([first, second]) => write!(f, "no good copy (0: {first}; 1: {second})"),
            Self::Version(version) => SectorError::Version(*version).fmt(f),
            Self::Contradiction => f.write_str("the copies contradict each other"),
        }
    }
}

/// The copy that counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Chosen<T> {
    /// What it says.
    pub value: T,
    /// The state of both copies.
    pub copies: [CopyState; COPIES],
}

/// What can exist in two copies, and how these are compared.
pub(super) trait Copied: PartialEq {
    /// Rises by one with each write.
    fn sequence(&self) -> u64;

    /// Whether both are copies of the same thing, of the same or of different age.
    fn is_same_thing(&self, other: &Self) -> bool;
}

/// Chooses the copy that counts; `None` if both are blank.
pub(super) fn choose<T: Copied>(
    first: Result<T, SectorError>,
    second: Result<T, SectorError>,
) -> Result<Option<Chosen<T>>, PairError> {
    let chosen = match (first, second) {
        // How a later version judges the other copy is unknown here.
        (Err(SectorError::Version(version)), _) | (_, Err(SectorError::Version(version))) => {
            return Err(PairError::Version(version))
        }
        (Err(SectorError::Blank), Err(SectorError::Blank)) => return Ok(None),
        (Err(first), Err(second)) => return Err(PairError::Lost([first, second])),
        (Ok(value), Err(error)) => {
            let second = if error == SectorError::Blank && value.sequence() == 1 {
                CopyState::Behind
            } else {
                CopyState::Damaged(error)
            };
            Chosen {
                value,
                copies: [CopyState::Good, second],
            }
        }
        (Err(error), Ok(value)) => Chosen {
            value,
            copies: [CopyState::Damaged(error), CopyState::Good],
        },
        (Ok(first), Ok(second)) => choose_of_good(first, second)?,
    };
    Ok(Some(chosen))
}

fn choose_of_good<T: Copied>(first: T, second: T) -> Result<Chosen<T>, PairError> {
    if !first.is_same_thing(&second) {
        return Err(PairError::Contradiction);
    }
    let ahead = first.sequence().checked_sub(second.sequence());
    let (value, copies) = match ahead {
        Some(0) if first != second => return Err(PairError::Contradiction),
        Some(0) => (first, [CopyState::Good; COPIES]),
        Some(1) => (first, [CopyState::Good, CopyState::Behind]),
        Some(_) => (first, [CopyState::Good, CopyState::Stale]),
        None => (second, [CopyState::Stale, CopyState::Good]),
    };
    Ok(Chosen { value, copies })
}
