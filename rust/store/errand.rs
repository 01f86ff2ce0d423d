// SPDX-License-Identifier: GPL-2.0

//! What somebody asks the store's worker to do for one owner, and waits for.

use crate::env::Word;
use kernel::time::{
    delay::fsleep,
    Delta,
    Instant,
    Monotonic, //
};

/// How long to sleep before checking again how far the worker is.
const POLL: Delta = Delta::from_millis(1);

/// Nobody asks.
const IDLE: u64 = 0;
/// The worker has been asked.
const ASKED: u64 = 1;
/// The worker is at it.
const BEGUN: u64 = 2;
/// The worker has found that some disk does not answer, and will begin again.
const LATE: u64 = 3;
/// It is done.
const DONE: u64 = 4;
/// It could not be done.
const FAILED: u64 = 5;

/// How an errand ended.
pub(super) enum Outcome {
    /// It is done.
    Done,
    /// It could not be done.
    Failed,
    /// Some disk does not answer, and it is not waited for any longer.
    Late,
}

/// An errand of the store's worker. One caller at a time asks for it and waits.
pub(super) struct Errand(Word);

impl Errand {
    /// Nobody asks.
    pub(super) fn new() -> Self {
        Self(Word::new(IDLE))
    }

    /// Asks for it; the worker has to be woken after that. Does not sleep.
    pub(super) fn ask(&self) {
        self.0.set(ASKED);
    }

    /// Waits until the worker has ended what it was asked for; if some disk does not answer, for
    /// about `patience_ms` milliseconds. Sleeps.
    pub(super) fn wait(&self, patience_ms: i64) -> Outcome {
        let began = Instant::<Monotonic>::now();
        loop {
            match self.0.get() {
                // The worker may begin once more just now; then it is waited for.
                LATE if began.elapsed().as_millis() >= patience_ms
                    && self.0.replace(LATE, IDLE).is_ok() =>
                {
                    return Outcome::Late;
                }
                ASKED | BEGUN | LATE => fsleep(POLL),
                DONE => return Outcome::Done,
                _ => return Outcome::Failed,
            }
        }
    }

    /// For the worker: whether it is to begin, for the first time or once more. Does not sleep.
    pub(super) fn begin(&self) -> bool {
        let is_asked = |how| self.0.replace(how, BEGUN).is_ok();
        is_asked(ASKED) || is_asked(LATE)
    }

    /// For the worker: some disk does not answer, and it will begin again. Does not sleep.
    pub(super) fn put_off(&self) {
        self.0.set(LATE);
    }

    /// For the worker: it is done, or could not be done. Does not sleep.
    pub(super) fn end(&self, is_done: bool) {
        self.0.set(if is_done { DONE } else { FAILED });
    }
}
