// SPDX-License-Identifier: GPL-2.0

//! Stores whose device fails.
//!
//! An error of a single I/O says little: one bad sector fails one write. So the store is only suspected
//! then, and its worker writes the headers again; if they can't be written either, the device is
//! dead. A commit that failed needs no such question, nor does a flush.
//!
//! What follows is in [`crate::group`]: it is made durable that the store has failed. Nothing is
//! written to it any more from then on, and what waits for it ends.

use super::Store;
use crate::{
    dm::Worker,
    env::Word,
    errors::change, //
};
use kernel::prelude::*;

/// It has failed, which is not durable yet.
const FAILING: u64 = 1;
/// It has failed.
const FAILED: u64 = 2;
/// With [`FAILING`]: a user wants that.
const ASKED: u64 = 4;
/// The log has said what there is to say.
const SAID: u64 = 8;
/// It stays in use although it failed, and the metadata says so.
const KEPT: u64 = 16;
/// With [`KEPT`]: it works again, and the metadata is to say that.
const BACK: u64 = 32;

/// What is known of a store's device.
pub(super) struct Failure {
    state: Word,
    /// 1 if it is to be asked whether it still answers.
    suspect: Word,
}

impl Failure {
    /// Nothing.
    pub(super) fn new() -> Self {
        Self {
            state: Word::new(0),
            suspect: Word::new(0),
        }
    }
}

impl Store {
    /// Its device has failed, but that is not durable yet.
    pub(crate) fn is_failing(&self) -> bool {
        self.failure.state.get() & FAILING != 0
    }

    /// It is durable that its device has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.state.get() & FAILED != 0
    }

    /// A user, not an error, says that it has failed.
    pub(crate) fn is_asked(&self) -> bool {
        self.failure.state.get() & ASKED != 0
    }

    /// Its device has failed: a worker of the group sees to that. `asked` says that a user wants it.
    /// Does not sleep.
    pub(crate) fn begin_failure(&self, asked: bool) {
        let why = if asked { ASKED } else { 0 };
        if self.is_retired() {
            return;
        }
        change(&self.failure.state, |state| match state {
            state if state & (FAILING | FAILED) != 0 => state,
            state => (state & (SAID | KEPT)) | FAILING | why,
        });
        self.home.failures().kick();
    }

    /// It is durable now. Does not sleep.
    pub(crate) fn note_failed(&self) {
        change(&self.failure.state, |_| FAILED);
        // No flush passes by the commit, which always fails from now on.
        self.changes.fail();
    }

    /// It stays in use: nothing could replace what it has. Does not sleep.
    pub(crate) fn keep(&self) {
        change(&self.failure.state, |state| state & (FAILED | SAID | KEPT));
    }

    /// The metadata says that it failed, and stays in use. Does not sleep.
    pub(crate) fn note_kept(&self) {
        change(&self.failure.state, |state| state | KEPT);
    }

    /// It stays in use although it failed, but works again, which the metadata does not say yet.
    pub(crate) fn is_back(&self) -> bool {
        self.failure.state.get() & BACK != 0
    }

    /// The metadata says that it works again, or it turned out that it does not. Does not sleep.
    pub(crate) fn note_told(&self, works: bool) {
        let rest = if works { !(BACK | KEPT | SAID) } else { !BACK };
        change(&self.failure.state, |state| state & rest);
    }

    /// Whether the log has to say what becomes of it: it says so once.
    pub(crate) fn say_once(&self) -> bool {
        change(&self.failure.state, |state| state | SAID) & SAID == 0
    }

    /// Its device works. Does not sleep.
    pub(super) fn note_works(&self) {
        let state = self.failure.state.get();
        if state & KEPT != 0 {
            change(&self.failure.state, |state| match state & KEPT {
                0 => state,
                _ => state | BACK,
            });
            self.home.failures().kick();
        } else if state & SAID != 0 {
            change(&self.failure.state, |state| state & !SAID);
        }
    }

    /// Whether its device still takes a write. Sleeps for I/O.
    fn answers(&self) -> bool {
        !matches!(self.write_header_once_more(), Err(error) if is_of_device(error))
    }
}

impl Worker<Store> {
    /// Something could not be read or written. Does not sleep.
    pub(crate) fn suspect(&self) {
        self.failure.suspect.set(1);
        self.kick();
    }

    /// Asks a device that is suspected. Sleeps for I/O.
    pub(super) fn look_at_suspect(&self) {
        let is_known = self.is_failing() || self.is_left_alone();
        if self.failure.suspect.swap(0) != 0 && !is_known && !self.answers() {
            self.begin_failure(false);
        }
    }
}

/// Whether an error says something of the device.
pub(super) fn is_of_device(error: Error) -> bool {
    !(error == ENOMEM || error == EAGAIN || error == ENOSPC)
}
