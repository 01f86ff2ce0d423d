// SPDX-License-Identifier: GPL-2.0

//! Anchors: a target instance's destructor waits until all of them are gone.

use kernel::prelude::*;
use kernel::sync::{
    Arc,
    Completion, //
};

/// Held by everything that uses a target instance from outside of its callbacks.
///
/// When the last one is dropped, the instance's destructor continues.
pub(super) struct Anchor {
    released: Arc<Completion>,
}

impl Drop for Anchor {
    fn drop(&mut self) {
        self.released.complete_all();
    }
}

/// The destructor's end of an [`Anchor`].
pub(super) struct AnchorWait {
    anchor: Arc<Anchor>,
    released: Arc<Completion>,
}

impl AnchorWait {
    /// Makes an anchor. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new() -> Result<Self> {
        let released = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
        let anchor = Arc::new(
            Anchor {
                released: released.clone(),
            },
            GFP_KERNEL,
        )?;
        Ok(Self { anchor, released })
    }

    /// Adds a holder.
    pub(super) fn hold(&self) -> Arc<Anchor> {
        self.anchor.clone()
    }

    /// Waits until every holder is gone. May sleep.
    pub(super) fn wait(self) {
        let Self { anchor, released } = self;
        drop(anchor);
        released.wait_for_completion();
    }
}
