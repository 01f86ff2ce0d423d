// SPDX-License-Identifier: GPL-2.0

//! What makes a result less than it should be.

use crate::{output::say, AT_RISK, CLEAN};
use std::fmt::Display;

/// Says each warning on standard error, and remembers that there was one.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    count: usize,
}

impl Warnings {
    pub(crate) fn add(&mut self, text: impl Display) {
        say(text);
        self.count = self.count.saturating_add(1);
    }

    /// How many there were.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The exit status that they stand for.
    pub(crate) fn status(&self) -> u8 {
        match self.count {
            0 => CLEAN,
            _ => AT_RISK,
        }
    }
}
