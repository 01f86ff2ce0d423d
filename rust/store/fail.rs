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
    svol_core::{
        flag::Flag,
        store_fate::StoreFateCell, //
    }, //
};
use kernel::prelude::*;

/// What is known about a store's device.
pub(super) struct Failure {
    fate: StoreFateCell,
    /// Whether the device has to be checked.
    suspect: Flag,
}

impl Failure {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        Self {
            fate: StoreFateCell::new(),
            suspect: Flag::new(false),
        }
    }
}

impl Store {
    /// Its device has failed, but that is not durable yet.
    pub(crate) fn is_failing(&self) -> bool {
        self.failure.fate.get().is_failing()
    }

    /// It is durable that its device has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.fate.get().has_failed()
    }

    /// The failure was requested by a user, not caused by an error.
    pub(crate) fn is_asked(&self) -> bool {
        self.failure.fate.get().is_asked()
    }

    /// Its device has failed: a worker of the group handles that. `asked` says that a user
    /// requested it. Does not sleep.
    pub(crate) fn begin_failure(&self, asked: bool) {
        if self.is_retired() {
            return;
        }
        self.failure.fate.begin_failure(asked);
        self.home.failures().kick();
    }

    /// The failure is durable now. Does not sleep.
    pub(crate) fn note_failed(&self) {
        self.failure.fate.fail();
        // Every flush waits for a commit, which always fails from now on.
        self.changes.fail();
    }

    /// It stays in use: its data could not be replaced. Does not sleep.
    pub(crate) fn keep(&self) {
        self.failure.fate.keep();
    }

    /// The metadata records that it failed and stays in use. Does not sleep.
    pub(crate) fn note_kept(&self) {
        self.failure.fate.note_kept();
    }

    /// It stays in use although it failed, and nothing has shown yet that it works again.
    pub(crate) fn is_kept(&self) -> bool {
        self.failure.fate.get().is_kept()
    }

    /// It stayed in use although it failed, and now works again, which the metadata does not record
    /// yet.
    pub(crate) fn is_back(&self) -> bool {
        self.failure.fate.get().is_back()
    }

    /// The metadata records that it works again, or it turned out that it does not. Does not sleep.
    pub(crate) fn note_told(&self, works: bool) {
        self.failure.fate.note_told(works);
    }

    /// Whether the outcome still has to be logged: that is done once.
    pub(crate) fn say_once(&self) -> bool {
        self.failure.fate.say_once()
    }

    /// Its device works. Does not sleep.
    pub(crate) fn note_works(&self) {
        if self.failure.fate.note_works() {
            self.home.failures().kick();
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
        self.failure.suspect.set(true);
        self.kick();
    }

    /// Checks a suspect device. Sleeps for I/O.
    pub(super) fn look_at_suspect(&self) {
        let is_known = self.is_failing() || self.is_left_alone();
        if self.failure.suspect.take() && !is_known && !self.answers() {
            self.begin_failure(false);
        }
    }
}

/// Whether an error says something about the device.
pub(super) fn is_of_device(error: Error) -> bool {
    !(error == ENOMEM || error == EAGAIN || error == ENOSPC || error == LATER)
}
