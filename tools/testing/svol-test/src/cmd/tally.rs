// SPDX-License-Identifier: GPL-2.0

//! Counts of the errors that a fuzz run met.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use crate::error::{Error, Result};
use crate::sys;

/// Errors that no input may cause: they mean a defect, not a refusal.
const NEVER: &[i32] = &[libc::EFAULT, libc::ENOSYS, libc::ENOTTY];

/// How often each error came.
#[derive(Default)]
pub(crate) struct Tally(BTreeMap<String, u64>);

impl Tally {
    /// Counts an error; fails if it is one that must never come.
    pub(crate) fn count(&mut self, e: &io::Error) -> Result<()> {
        *self.0.entry(sys::errno_name(e)).or_default() += 1;
        match e.raw_os_error() {
            Some(n) if !NEVER.contains(&n) => Ok(()),
            _ => Err(Error::new(format!("unexpected error: {e}"))),
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in &self.0 {
            write!(f, " {name} {count}")?;
        }
        Ok(())
    }
}
