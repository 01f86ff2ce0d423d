// SPDX-License-Identifier: GPL-2.0

//! How bios end.

use super::bindings;

/// How a bio ended (`blk_status_t`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(pub(super) bindings::blk_status_t);

impl Status {
    /// Success.
    pub(crate) const OK: Self = Self(bindings::DMR_STS_OK);
    /// Some I/O error: `EIO`.
    pub(crate) const IOERR: Self = Self(bindings::DMR_STS_IOERR);
    /// No space left: `ENOSPC`.
    pub(crate) const NOSPC: Self = Self(bindings::DMR_STS_NOSPC);
    /// The medium is bad at this place, the device as such may be well: `ENODATA`.
    pub(crate) const MEDIUM: Self = Self(bindings::DMR_STS_MEDIUM);
    /// The device can't do this: `EOPNOTSUPP`.
    pub(crate) const NOTSUPP: Self = Self(bindings::DMR_STS_NOTSUPP);
    /// The device refuses this kind of request, which is no reason to distrust it: `EREMOTEIO`.
    pub(crate) const TARGET: Self = Self(bindings::DMR_STS_TARGET);
    /// Data and checksum differ: `EILSEQ`.
    pub(crate) const PROTECTION: Self = Self(bindings::DMR_STS_PROTECTION);
    /// The request came at a bad moment, and its sender does not want to wait: `EAGAIN`.
    pub(crate) const AGAIN: Self = Self(bindings::DMR_STS_AGAIN);
    /// Memory ran out: `ENOMEM`.
    pub(crate) const RESOURCE: Self = Self(bindings::DMR_STS_RESOURCE);
    /// To be sent again after a noflush suspend. At any other time device-mapper makes an I/O
    /// error of it: this is no way to retry.
    pub(crate) const REQUEUE: Self = Self(bindings::DMR_STS_DM_REQUEUE);

    /// Whether it failed.
    pub(crate) fn is_error(self) -> bool {
        self != Self::OK
    }

    /// The first error of two results, or success.
    pub(super) fn or(self, other: Self) -> Self {
        if self.is_error() {
            self
        } else {
            other
        }
    }
}
