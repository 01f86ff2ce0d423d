// SPDX-License-Identifier: GPL-2.0

//! What the log says about a message to the group that is refused.

use super::Name;
use crate::{
    log,
    svol_core::id::Id, //
};
use core::fmt;
use kernel::prelude::*;

/// A message about an entry of the group.
pub(super) struct Request<'a> {
    /// The group's.
    pub(super) name: Name,
    message: &'static str,
    pub(super) lid: &'a Id,
}

impl<'a> Request<'a> {
    pub(super) fn new(name: Name, message: &'static str, lid: &'a Id) -> Self {
        Self { name, message, lid }
    }

    /// Logs why it is refused, or what has failed; returns the error. Does not sleep.
    #[inline(never)]
    pub(super) fn refuse(&self, why: impl fmt::Display, error: Error) -> Error {
        let Self { name, message, lid } = self;
        log::notice!(name, "message \"{message}\": LID {lid}: {why}");
        error
    }
}
