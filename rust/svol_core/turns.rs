// SPDX-License-Identifier: GPL-2.0

//! Decides whose turn it is when one worker has several jobs: a job that can't continue right now
//! neither blocks the others nor is forgotten.

use super::flag::Flag;
use crate::env::Word;

/// How long a job that can't continue is postponed, in milliseconds.
pub const RETRY_MS: u32 = 5000;

/// How long a job may be postponed before the running one makes way for it, in milliseconds: a try
/// may take long, too.
const PATIENCE_MS: u64 = 30_000;

/// The state of one job: whether it may run or is postponed.
pub struct Turn {
    /// When it was postponed, in milliseconds, plus 1; 0 if it is not.
    since: Word,
    /// Whether the reason was logged.
    is_told: Flag,
}

impl Default for Turn {
    fn default() -> Self {
        Self::new()
    }
}

impl Turn {
    /// The state of a new job.
    pub fn new() -> Self {
        Self {
            since: Word::new(0),
            is_told: Flag::new(false),
        }
    }

    /// The job starts over.
    pub fn begin(&self) {
        self.take();
        self.is_told.set(false);
    }

    /// The job has its turn.
    pub fn take(&self) {
        self.since.set(0);
    }

    /// The job turned out at `now`, in milliseconds, to be unable to continue.
    pub fn put_off(&self, now: u64) {
        self.since.set(now.saturating_add(1));
    }

    /// Whether the reason why it can't continue still has to be logged: that is done once.
    pub fn say_once(&self) -> bool {
        self.is_told.raise()
    }

    /// For how long it has been postponed.
    fn waits(&self, now: u64) -> Option<u64> {
        let since = self.since.get().checked_sub(1)?;
        Some(now.saturating_sub(since))
    }
}

/// Which job continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<T> {
    /// This one.
    This(T),
    /// All are postponed.
    Later,
    /// There are none.
    None,
}

/// The job that continues at `now`, in milliseconds: the one postponed longest, if that was long
/// enough, since the others may take long; otherwise the first one that is not postponed.
pub fn next<'a, T>(all: impl Iterator<Item = (T, &'a Turn)>, now: u64) -> Choice<T> {
    let mut longest = None;
    let mut first = None;
    let mut is_any = false;
    for (it, turn) in all {
        is_any = true;
        match turn.waits(now) {
            None => first = first.or(Some(it)),
            Some(waits) if waits >= u64::from(RETRY_MS) => match &longest {
                Some((_, known)) if *known >= waits => (),
                _ => longest = Some((it, waits)),
            },
            Some(_) => (),
        }
    }
    match longest.map(|(it, _)| it).or(first) {
        Some(it) => Choice::This(it),
        None if is_any => Choice::Later,
        None => Choice::None,
    }
}

/// Whether the running job has to make way at `now`, in milliseconds.
pub fn has_to_make_way<'a>(mut all: impl Iterator<Item = &'a Turn>, now: u64) -> bool {
    all.any(|turn| turn.waits(now).is_some_and(|waits| waits >= PATIENCE_MS))
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_turns))]
mod tests {
    use super::*;

    fn next_of(turns: &[&Turn], now: u64) -> Choice<usize> {
        next(turns.iter().copied().enumerate(), now)
    }

    #[test]
    fn one_that_cannot_go_on_keeps_no_other_waiting() {
        let (a, b, c) = (Turn::new(), Turn::new(), Turn::new());
        let turns = [&a, &b, &c];
        assert_eq!(next_of(&turns, 0), Choice::This(0));
        a.put_off(0);
        assert_eq!(next_of(&turns, 0), Choice::This(1));
        b.put_off(1000);
        assert_eq!(next_of(&turns, 1000), Choice::This(2));
        c.put_off(2000);
        assert_eq!(next_of(&turns, 4999), Choice::Later);
        assert_eq!(next_of(&[], 4999), Choice::None);
    }

    #[test]
    fn none_is_forgotten() {
        let (a, b, c) = (Turn::new(), Turn::new(), Turn::new());
        let turns = [&a, &b, &c];
        c.put_off(0);
        b.put_off(100);
        assert_eq!(next_of(&turns, 4999), Choice::This(0));
        assert_eq!(next_of(&turns, 5000), Choice::This(2));
        // It continues, as the first one that can.
        c.take();
        a.put_off(5000);
        assert_eq!(next_of(&turns, 5000), Choice::This(2));
        assert_eq!(next_of(&turns, 5100), Choice::This(1));
    }

    #[test]
    fn what_goes_on_makes_way_now_and_then() {
        let (a, b) = (Turn::new(), Turn::new());
        let has_to = |now| has_to_make_way([&a, &b].into_iter(), now);
        assert!(!has_to(60_000));
        b.put_off(60_000);
        assert!(!has_to(65_000));
        assert!(has_to(90_000));
        b.put_off(90_000);
        assert!(!has_to(90_000));
    }

    #[test]
    fn the_reason_is_told_once() {
        let turn = Turn::new();
        assert!(turn.say_once());
        turn.put_off(7);
        turn.take();
        assert!(!turn.say_once());
        turn.begin();
        assert!(turn.say_once());
    }
}
