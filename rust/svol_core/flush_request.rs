// SPDX-License-Identifier: GPL-2.0

//! A flush that one thread needs and another one makes: the first must not wait for the device.

use crate::env::Word;

/// A request for a flush. One thread at a time asks, and one at a time meets requests.
pub struct FlushRequest {
    /// The last request: an odd number. An even one while there is none.
    wanted: Word,
    /// The last request that was met.
    met: Word,
}

impl Default for FlushRequest {
    fn default() -> Self {
        Self::new()
    }
}

impl FlushRequest {
    /// No request.
    pub fn new() -> Self {
        Self {
            wanted: Word::new(0),
            met: Word::new(0),
        }
    }

    /// Takes the last request back. Returns whether it was met: by a flush that began after
    /// [`FlushRequest::ask`]. Does not sleep.
    pub fn take(&self) -> bool {
        let wanted = self.wanted.get();
        let is_met = wanted % 2 == 1 && self.met.get() == wanted;
        // A flush that began for it and ends later counts for nothing.
        self.wanted.set((wanted | 1).wrapping_add(1));
        is_met
    }

    /// Asks for a flush of everything that is done by now. Does not sleep.
    pub fn ask(&self) {
        self.wanted.set(self.wanted.get() | 1);
    }

    /// The request that is not met yet, if there is one: [`FlushRequest::meet`] is to be called with
    /// it after a flush that begins from now on. Does not sleep.
    pub fn pending(&self) -> Option<u64> {
        let wanted = self.wanted.get();
        (wanted % 2 == 1 && self.met.get() != wanted).then_some(wanted)
    }

    /// A flush has succeeded that began after [`FlushRequest::pending`] had returned this request.
    /// Does not sleep.
    pub fn meet(&self, request: u64) {
        self.met.set(request);
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_flush_request))]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_met_once() {
        let flush = FlushRequest::new();
        assert_eq!(flush.pending(), None);
        assert!(!flush.take());
        flush.ask();
        assert!(flush.pending().is_some());
        assert!(!flush.take());
        assert_eq!(flush.pending(), None);
        flush.ask();
        if let Some(request) = flush.pending() {
            flush.meet(request);
        }
        assert_eq!(flush.pending(), None);
        assert!(flush.take());
        assert!(!flush.take());
    }

    #[test]
    fn a_late_flush_meets_nothing() {
        let flush = FlushRequest::new();
        flush.ask();
        let late = flush.pending();
        assert!(!flush.take());
        late.into_iter().for_each(|request| flush.meet(request));
        assert!(!flush.take());
        flush.ask();
        assert!(flush.pending().is_some() && !flush.take());
    }
}
