// SPDX-License-Identifier: GPL-2.0

//! Whether others may read the disk of an entry, and whether it has failed.

use super::update::update;
use crate::env::Word;

/// It serves only its own volume, which is, or may be, written.
const WRITTEN: u64 = 1;
/// It has failed, but that is not durable yet.
const FAILING: u64 = 2;
/// It has failed, and that is durable.
const FAILED: u64 = 4;
/// With [`FAILING`]: a user asked for it.
const ASKED: u64 = 8;
/// With [`FAILING`]: it has been logged that the failure can't be made durable.
const SAID: u64 = 16;
/// With [`WRITTEN`]: I/O of others that began before has ended.
const LEFT: u64 = 32;

/// What is known of a disk at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Fate(u64);

impl Fate {
    /// Others may read the base image there, if it has that.
    pub fn serves(self) -> bool {
        self.0 == 0
    }

    /// It serves at most its own volume.
    pub fn is_kept_away(self) -> bool {
        self.0 & WRITTEN != 0
    }

    /// As [`Fate::is_kept_away`], and nobody else has I/O there that began before that.
    pub fn is_left(self) -> bool {
        self.0 & LEFT != 0
    }

    /// It has failed, but that is not durable yet.
    pub fn is_failing(self) -> bool {
        self.0 & FAILING != 0
    }

    /// It has failed, and that is durable.
    pub fn has_failed(self) -> bool {
        self.0 & FAILED != 0
    }

    /// It has failed, durably or not.
    pub fn is_gone(self) -> bool {
        self.0 & (FAILING | FAILED) != 0
    }

    /// It fails because a user asked for it.
    pub fn is_asked(self) -> bool {
        self.0 & ASKED != 0
    }
}

/// What is known of a disk; it may be read while it changes.
pub struct FateCell(Word);

impl Default for FateCell {
    fn default() -> Self {
        Self::new()
    }
}

impl FateCell {
    /// A disk that works, and that others may read.
    pub fn new() -> Self {
        Self(Word::new(0))
    }

    /// What is known now.
    #[inline]
    pub fn get(&self) -> Fate {
        Fate(self.0.get())
    }

    /// Others do not read it from now on. Returns whether they did before; if so, this is a full
    /// barrier.
    pub fn keep_away(&self) -> bool {
        update(&self.0, |fate| fate | WRITTEN) & WRITTEN == 0
    }

    /// After [`FateCell::keep_away`], the I/O of others has ended.
    pub fn note_left(&self) {
        update(&self.0, |fate| match fate & WRITTEN {
            0 => fate,
            _ => fate | LEFT,
        });
    }

    /// Undoes [`FateCell::keep_away`].
    pub fn let_serve(&self) {
        update(&self.0, |fate| fate & !(WRITTEN | LEFT));
    }

    /// It begins to fail.
    pub fn begin_failure(&self, is_asked: bool) {
        let why = if is_asked { ASKED } else { 0 };
        update(&self.0, |fate| fate | FAILING | why);
    }

    /// It is durable that it has failed.
    pub fn fail(&self) {
        update(&self.0, |fate| (fate & (WRITTEN | LEFT)) | FAILED);
    }

    /// It stays in use although it failed.
    pub fn keep(&self) {
        update(&self.0, |fate| fate & (WRITTEN | LEFT));
    }

    /// It holds something new, and is in use again: for others as well if it `serves` them. If it
    /// fails just now, that stays so.
    pub fn use_again(&self, serves: bool) {
        let written = if serves { 0 } else { WRITTEN };
        update(&self.0, |fate| (fate & (FAILING | ASKED | SAID)) | written);
    }

    /// Whether it still has to be logged that its failure can't be made durable. True once.
    pub fn say_once(&self) -> bool {
        update(&self.0, |fate| fate | SAID) & SAID == 0
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_fate))]
mod tests {
    use super::*;

    #[test]
    fn others_are_kept_away() {
        let cell = FateCell::new();
        assert!(cell.get().serves());
        assert!(cell.keep_away() && !cell.keep_away());
        assert!(cell.get().is_kept_away() && !cell.get().serves() && !cell.get().is_gone());
        cell.let_serve();
        assert!(cell.get().serves());
    }

    #[test]
    fn others_leave_once() {
        let cell = FateCell::new();
        cell.note_left();
        assert!(!cell.get().is_left() && cell.get().serves());
        cell.keep_away();
        assert!(!cell.get().is_left());
        cell.note_left();
        assert!(cell.get().is_left() && !cell.keep_away());
        cell.begin_failure(false);
        cell.keep();
        assert!(cell.get().is_left());
        // Others may read it, and have to leave again.
        cell.let_serve();
        cell.keep_away();
        assert!(!cell.get().is_left());
        cell.note_left();
        cell.use_again(true);
        assert!(cell.get().serves());
    }

    #[test]
    fn it_fails_or_is_kept() {
        let cell = FateCell::new();
        cell.begin_failure(true);
        let fate = cell.get();
        assert!(fate.is_failing() && fate.is_gone() && fate.is_asked() && !fate.has_failed());
        assert!(cell.say_once() && !cell.say_once());
        cell.keep();
        assert_eq!(cell.get(), Fate::default());
        // Whether others may read it is another matter.
        cell.keep_away();
        cell.begin_failure(false);
        assert!(!cell.get().is_asked() && cell.say_once());
        cell.fail();
        let fate = cell.get();
        assert!(fate.has_failed() && fate.is_gone() && !fate.is_failing() && fate.is_kept_away());
        assert!(cell.say_once());
    }

    #[test]
    fn it_is_used_again() {
        let cell = FateCell::new();
        cell.fail();
        cell.use_again(false);
        assert!(cell.get().is_kept_away() && !cell.get().is_gone());
        cell.use_again(true);
        assert!(cell.get().serves());
        // It fails again while it is being taken into use.
        cell.begin_failure(false);
        cell.use_again(true);
        assert!(cell.get().is_failing());
    }
}
