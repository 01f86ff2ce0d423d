// SPDX-License-Identifier: GPL-2.0

//! Whether the device of an increments store has failed, and what of that the metadata records.

use super::update::update;
use crate::env::Word;

/// It has failed, but that is not durable yet.
const FAILING: u64 = 1;
/// It has failed, and that is durable.
const FAILED: u64 = 2;
/// With [`FAILING`]: a user asked for it.
const ASKED: u64 = 4;
/// The outcome was logged.
const SAID: u64 = 8;
/// It stays in use although it failed, and the metadata records that.
const KEPT: u64 = 16;
/// With [`KEPT`]: it works again, which the metadata has to record.
const BACK: u64 = 32;

/// What is known of the device of a store at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StoreFate(u64);

impl StoreFate {
    /// It has failed, but that is not durable yet.
    pub fn is_failing(self) -> bool {
        self.0 & FAILING != 0
    }

    /// It has failed, and that is durable.
    pub fn has_failed(self) -> bool {
        self.0 & FAILED != 0
    }

    /// It fails because a user asked for it.
    pub fn is_asked(self) -> bool {
        self.0 & ASKED != 0
    }

    /// It stays in use although it failed, and nothing has shown yet that it works again.
    pub fn is_kept(self) -> bool {
        self.0 & (KEPT | BACK) == KEPT
    }

    /// It stayed in use although it failed, and now works again, which the metadata does not record
    /// yet.
    pub fn is_back(self) -> bool {
        self.0 & BACK != 0
    }
}

/// What is known of the device of a store; it may be read while it changes.
pub struct StoreFateCell(Word);

impl Default for StoreFateCell {
    fn default() -> Self {
        Self::new()
    }
}

impl StoreFateCell {
    /// A device that works.
    pub fn new() -> Self {
        Self(Word::new(0))
    }

    /// What is known now.
    pub fn get(&self) -> StoreFate {
        StoreFate(self.0.get())
    }

    /// It begins to fail, unless it does so already or has failed.
    pub fn begin_failure(&self, is_asked: bool) {
        let why = if is_asked { ASKED } else { 0 };
        update(&self.0, |fate| match fate & (FAILING | FAILED) {
            0 => (fate & (SAID | KEPT)) | FAILING | why,
            _ => fate,
        });
    }

    /// It is durable that it has failed.
    pub fn fail(&self) {
        update(&self.0, |_| FAILED);
    }

    /// It stays in use although it fails.
    pub fn keep(&self) {
        update(&self.0, |fate| fate & (FAILED | SAID | KEPT));
    }

    /// The metadata records that it failed and stays in use.
    pub fn note_kept(&self) {
        update(&self.0, |fate| fate | KEPT);
    }

    /// It works. Returns whether the metadata still has to record that.
    pub fn note_works(&self) -> bool {
        let fate = self.0.get();
        if fate & KEPT != 0 {
            update(&self.0, |fate| match fate & KEPT {
                0 => fate,
                _ => fate | BACK,
            });
            return true;
        }
        // Usually it was not, and a write would take the cache line away from other CPUs.
        if fate & SAID != 0 {
            update(&self.0, |fate| fate & !SAID);
        }
        false
    }

    /// The metadata records that it works again, or it turned out that it does not.
    pub fn note_told(&self, works: bool) {
        let rest = if works { !(BACK | KEPT | SAID) } else { !BACK };
        update(&self.0, |fate| fate & rest);
    }

    /// Whether the outcome still has to be logged. True once.
    pub fn say_once(&self) -> bool {
        update(&self.0, |fate| fate | SAID) & SAID == 0
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_store_fate))]
mod tests {
    use super::*;

    #[test]
    fn it_fails() {
        let cell = StoreFateCell::new();
        assert_eq!(cell.get(), StoreFate::default());
        cell.begin_failure(true);
        let fate = cell.get();
        assert!(fate.is_failing() && fate.is_asked() && !fate.has_failed() && !fate.is_kept());
        // It fails only once, and for the first reason.
        cell.begin_failure(false);
        assert_eq!(cell.get(), fate);
        cell.fail();
        let fate = cell.get();
        assert!(fate.has_failed() && !fate.is_failing() && !fate.is_asked());
        cell.begin_failure(true);
        cell.keep();
        assert!(!cell.note_works());
        assert_eq!(cell.get(), fate);
    }

    #[test]
    fn it_is_kept_until_it_works() {
        let cell = StoreFateCell::new();
        cell.begin_failure(false);
        assert!(!cell.get().is_asked());
        cell.keep();
        // The metadata says nothing of that, so it need not say that it works, either.
        assert!(!cell.get().is_failing() && !cell.get().is_kept() && !cell.note_works());
        assert_eq!(cell.get(), StoreFate::default());
        cell.note_kept();
        assert!(cell.get().is_kept() && !cell.get().is_back());
        assert!(cell.note_works());
        assert!(cell.get().is_back() && !cell.get().is_kept());
        // It was a mistake.
        cell.note_told(false);
        assert!(cell.get().is_kept() && !cell.get().is_back());
        assert!(cell.note_works());
        cell.note_told(true);
        assert_eq!(cell.get(), StoreFate::default());
    }

    #[test]
    fn a_kept_one_fails_again() {
        let cell = StoreFateCell::new();
        cell.note_kept();
        assert!(cell.note_works());
        cell.begin_failure(false);
        let fate = cell.get();
        assert!(fate.is_failing() && fate.is_kept() && !fate.is_back());
        cell.keep();
        assert!(cell.get().is_kept() && !cell.get().is_failing());
        cell.begin_failure(true);
        cell.fail();
        assert!(!cell.get().is_kept() && cell.get().has_failed());
    }

    #[test]
    fn the_outcome_is_said_once() {
        let cell = StoreFateCell::new();
        cell.begin_failure(false);
        assert!(cell.say_once() && !cell.say_once());
        // However often it fails, until it works.
        cell.keep();
        cell.begin_failure(false);
        assert!(!cell.say_once());
        cell.keep();
        assert!(!cell.note_works() && cell.say_once());
        // If the metadata has to record that, only then.
        cell.note_kept();
        assert!(cell.note_works() && !cell.say_once());
        cell.note_told(true);
        assert!(cell.say_once());
    }
}
