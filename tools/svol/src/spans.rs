// SPDX-License-Identifier: GPL-2.0

//! Parts of a volume.

use serde::Serialize;

/// A part of a volume, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) bytes: u64,
}

impl Span {
    /// Grows by another one, if that begins where this one ends. Returns whether it does.
    pub(crate) fn join(&mut self, next: Self) -> bool {
        let touches = self.start.checked_add(self.bytes) == Some(next.start);
        if touches {
            self.bytes = self.bytes.saturating_add(next.bytes);
        }
        touches
    }
}

/// Appends one, joined to the one before if they touch.
pub(crate) fn push(spans: &mut Vec<Span>, span: Span) {
    let joined = spans.last_mut().is_some_and(|last| last.join(span));
    if !joined {
        spans.push(span);
    }
}
