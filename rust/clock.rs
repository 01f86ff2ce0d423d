// SPDX-License-Identifier: GPL-2.0

//! Time.

use kernel::time::{
    Instant,
    Monotonic, //
};

/// Milliseconds since a moment. Does not sleep.
pub(crate) fn elapsed_ms(since: Instant<Monotonic>) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(0)
}
