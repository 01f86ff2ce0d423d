// SPDX-License-Identifier: GPL-2.0

//! Stores whose device fails.
//!
//! An error of a single I/O says little: one bad sector fails one write. So such an error only
//! makes the store suspect, and its worker writes the headers again; if that fails, too, the device
//! is dead. A failed commit or flush needs no such check.
//!
//! What follows is in [`crate::group`]: the failure is made durable. From then on nothing more is
//! written to the store, and whatever waits for it ends.

use super::{
    patience::LATER,
    Store, //
};
use crate::{
    dm::Worker,
    env::Word,
    svol_core::update::update, //
};
use kernel::prelude::*;

/// It has failed, but that is not durable yet.
const FAILING: u64 = 1;
/// It has failed.
const FAILED: u64 = 2;
/// With [`FAILING`]: at a user's request.
const ASKED: u64 = 4;
/// The outcome was logged.
const SAID: u64 = 8;
/// It stays in use although it failed, and the metadata records that.
const KEPT: u64 = 16;
/// With [`KEPT`]: it works again, which the metadata has to record.
const BACK: u64 = 32;

/// What is known about a store's device.
pub(super) struct Failure {
    state: Word,
    /// 1 if the device has to be checked.
    suspect: Word,
}

impl Failure {
    /// Nothing is known yet.
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

    /// The failure was requested by a user, not caused by an error.
    pub(crate) fn is_asked(&self) -> bool {
        self.failure.state.get() & ASKED != 0
    }

    /// Its device has failed: a worker of the group handles that. `asked` says that a user
    /// requested it. Does not sleep.
    pub(crate) fn begin_failure(&self, asked: bool) {
        let why = if asked { ASKED } else { 0 };
        if self.is_retired() {
            return;
        }
        update(&self.failure.state, |state| match state {
            state if state & (FAILING | FAILED) != 0 => state,
            state => (state & (SAID | KEPT)) | FAILING | why,
        });
        self.home.failures().kick();
    }

    /// The failure is durable now. Does not sleep.
    pub(crate) fn note_failed(&self) {
        update(&self.failure.state, |_| FAILED);
        // Every flush waits for a commit, which always fails from now on.
        self.changes.fail();
    }

    /// It stays in use: its data could not be replaced. Does not sleep.
    pub(crate) fn keep(&self) {
        update(&self.failure.state, |state| state & (FAILED | SAID | KEPT));
    }

    /// The metadata records that it failed and stays in use. Does not sleep.
    pub(crate) fn note_kept(&self) {
        update(&self.failure.state, |state| state | KEPT);
    }

    /// It stays in use although it failed, and nothing has shown yet that it works again.
    pub(crate) fn is_kept(&self) -> bool {
        self.failure.state.get() & (KEPT | BACK) == KEPT
    }

    /// It stayed in use although it failed, and now works again, which the metadata does not record
    /// yet.
    pub(crate) fn is_back(&self) -> bool {
        self.failure.state.get() & BACK != 0
    }

    /// The metadata records that it works again, or it turned out that it does not. Does not sleep.
    pub(crate) fn note_told(&self, works: bool) {
        let rest = if works { !(BACK | KEPT | SAID) } else { !BACK };
        update(&self.failure.state, |state| state & rest);
    }

    /// Whether the outcome still has to be logged: that is done once.
    pub(crate) fn say_once(&self) -> bool {
        update(&self.failure.state, |state| state | SAID) & SAID == 0
    }

    /// Its device works. Does not sleep.
    pub(crate) fn note_works(&self) {
        let state = self.failure.state.get();
        if state & KEPT != 0 {
            update(&self.failure.state, |state| match state & KEPT {
                0 => state,
                _ => state | BACK,
            });
            self.home.failures().kick();
        } else if state & SAID != 0 {
            update(&self.failure.state, |state| state & !SAID);
        }
    }

    /// Whether its device still takes a write. Sleeps for I/O.
    fn answers(&self) -> bool {
        !matches!(self.write_header_once_more(), Err(error) if is_of_device(error))
    }
}

impl Worker<Store> {
    /// A read or write of the store failed. Does not sleep.
    pub(crate) fn suspect(&self) {
        self.failure.suspect.set(1);
        self.kick();
    }

    /// Checks a suspect device. Sleeps for I/O.
    pub(super) fn look_at_suspect(&self) {
        let is_known = self.is_failing() || self.is_left_alone();
        if self.failure.suspect.swap(0) != 0 && !is_known && !self.answers() {
            self.begin_failure(false);
        }
    }
}

/// Whether an error says something about the device.
pub(super) fn is_of_device(error: Error) -> bool {
    !(error == ENOMEM || error == EAGAIN || error == ENOSPC || error == LATER)
}
