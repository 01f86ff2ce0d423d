// SPDX-License-Identifier: GPL-2.0

//! Whose turn it is, where one worker does several things one after the other: what can't go on just
//! now neither keeps the others waiting, nor is forgotten.

use crate::env::Word;

/// What can't go on is put off for so long, in milliseconds.
pub const RETRY_MS: u32 = 5000;

/// What goes on makes way after so long for what was put off, in milliseconds: a try may take long, too.
const PATIENCE_MS: u64 = 30_000;

/// Whether one of the things has its turn.
pub struct Turn {
    /// When it was put off, in milliseconds, plus 1; 0 if it is not.
    since: Word,
    /// 1 after the log has said why.
    is_told: Word,
}

impl Default for Turn {
    fn default() -> Self {
        Self::new()
    }
}

impl Turn {
    /// Of what begins.
    pub fn new() -> Self {
        Self {
            since: Word::new(0),
            is_told: Word::new(0),
        }
    }

    /// It begins anew.
    pub fn begin(&self) {
        self.take();
        self.is_told.set(0);
    }

    /// It has its turn.
    pub fn take(&self) {
        self.since.set(0);
    }

    /// It can't go on, as was found at `now`, in milliseconds.
    pub fn put_off(&self, now: u64) {
        self.since.set(now.saturating_add(1));
    }

    /// Whether the log has to say why it can't go on: it says so once.
    pub fn say_once(&self) -> bool {
        self.is_told.swap(1) == 0
    }

    /// For how long it is put off.
    fn waits(&self, now: u64) -> Option<u64> {
        let since = self.since.get().checked_sub(1)?;
        Some(now.saturating_sub(since))
    }
}

/// Which one goes on at `now`, in milliseconds: what was put off for long enough, as the others may take
/// long, or the first one that was not. `None` if there are none, or all have to wait.
pub fn next<'a, T>(all: impl Iterator<Item = (T, &'a Turn)>, now: u64) -> Option<T> {
    let mut longest = None;
    let mut first = None;
    for (it, turn) in all {
        match turn.waits(now) {
            None => first = first.or(Some(it)),
            Some(waits) if waits >= u64::from(RETRY_MS) => match &longest {
                Some((_, known)) if *known >= waits => (),
                _ => longest = Some((it, waits)),
            },
            Some(_) => (),
        }
    }
    longest.map(|(it, _)| it).or(first)
}

/// Whether what goes on has to make way at `now`, in milliseconds.
pub fn has_to_make_way<'a>(mut all: impl Iterator<Item = &'a Turn>, now: u64) -> bool {
    all.any(|turn| turn.waits(now).is_some_and(|waits| waits >= PATIENCE_MS))
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_turns))]
mod tests {
    use super::*;

    fn next_of(turns: &[&Turn], now: u64) -> Option<usize> {
        next(turns.iter().copied().enumerate(), now)
    }

    #[test]
    fn one_that_cannot_go_on_keeps_no_other_waiting() {
        let (a, b, c) = (Turn::new(), Turn::new(), Turn::new());
        let turns = [&a, &b, &c];
        assert_eq!(next_of(&turns, 0), Some(0));
        a.put_off(0);
        assert_eq!(next_of(&turns, 0), Some(1));
        b.put_off(1000);
        assert_eq!(next_of(&turns, 1000), Some(2));
        c.put_off(2000);
        assert_eq!(next_of(&turns, 4999), None);
        assert_eq!(next_of(&[], 4999), None);
    }

    #[test]
    fn none_is_forgotten() {
        let (a, b, c) = (Turn::new(), Turn::new(), Turn::new());
        let turns = [&a, &b, &c];
        c.put_off(0);
        b.put_off(100);
        assert_eq!(next_of(&turns, 4999), Some(0));
        assert_eq!(next_of(&turns, 5000), Some(2));
        // It goes on, and is the first one that can.
        c.take();
        a.put_off(5000);
        assert_eq!(next_of(&turns, 5000), Some(2));
        assert_eq!(next_of(&turns, 5100), Some(1));
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
