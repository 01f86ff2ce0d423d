// SPDX-License-Identifier: GPL-2.0

//! Time.

use kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// The first and the longest wait for memory, in milliseconds.
const MEMORY_MS: (i64, i64) = (10, 1280);

/// Milliseconds since a moment. Does not sleep.
pub(crate) fn elapsed_ms(since: Instant<Monotonic>) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(0)
}

/// Does what nobody else would try again, again and again while there is no memory for it, for some
/// seconds. Sleeps.
///
/// # Errors
///
/// Those of `what`.
pub(crate) fn wait_for_memory(mut what: impl FnMut() -> Result) -> Result {
    let (mut wait, longest) = MEMORY_MS;
    loop {
        match what() {
            Err(ENOMEM) if wait <= longest => fsleep(Delta::from_millis(wait)),
            result => return result,
        }
        wait = wait.saturating_mul(2);
    }
}
