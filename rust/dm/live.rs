// SPDX-License-Identifier: GPL-2.0

//! Evidence of a mapped device's state.

use super::mapped_device::MappedDevice;
use core::{
    marker::PhantomData,
    ops::Deref, //
};

/// Evidence that the mapped device is in use: one of its bios is in flight, or it is being resumed.
///
/// While it exists, no internal suspend of the device completes: dm waits for bios in flight, and
/// `preresume` and `resume` run under the suspend lock that an internal suspend needs. There is one
/// exception: an `end_io` whose bio was parked and has ended elsewhere. A suspend may complete
/// then, but the `end_io` is still in an RCU read section. So what a suspend takes away is freed
/// only after a grace period.
pub(crate) struct Live<'a> {
    pub(super) md: MappedDevice,
    _life: PhantomData<&'a ()>,
}

impl Live<'_> {
    /// # Safety
    ///
    /// `md` must stay in the state that the type is evidence of until the value is gone.
    pub(super) unsafe fn new(md: MappedDevice) -> Self {
        Self {
            md,
            _life: PhantomData,
        }
    }
}

/// Evidence that the mapped device is suspended: none of its bios is in flight, and none will be
/// before the next resume.
pub(crate) struct Quiesced<'a> {
    pub(super) md: MappedDevice,
    _life: PhantomData<&'a ()>,
}

impl Quiesced<'_> {
    /// # Safety
    ///
    /// As for [`Live::new`].
    pub(super) unsafe fn new(md: MappedDevice) -> Self {
        Self {
            md,
            _life: PhantomData,
        }
    }
}

/// A value that stays valid as long as bios of the mapped device are in flight.
///
/// Obtained from a [`super::provider::Provider`] with a [`Live`]. The value is not released before
/// the bios of that device have ended, even if they end after the callback that obtained it.
pub(crate) struct InUse<'a, T: ?Sized>(&'a T);

impl<T: ?Sized> Clone for InUse<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for InUse<'_, T> {}

impl<T: ?Sized> Deref for InUse<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0
    }
}

impl<'a, T> InUse<'a, T> {
    /// # Safety
    ///
    /// `value` must stay valid until no bio is in flight that was lent to a callback of the mapped
    /// device during `'a`.
    pub(super) unsafe fn new(value: &'a T) -> Self {
        Self(value)
    }

    /// A pointer to the value.
    pub(super) fn as_ptr(self) -> *const T {
        self.0
    }

    /// As [`InUse::part`], for a part that always exists.
    pub(crate) fn map<U>(self, f: impl for<'b> FnOnce(&'b T) -> &'b U) -> InUse<'a, U> {
        InUse(f(self.0))
    }

    /// A part of the value.
    ///
    /// The closure can return only parts of the value it is given (or `'static` data), since it has
    /// to work for a value of any lifetime.
    pub(crate) fn part<U>(
        self,
        f: impl for<'b> FnOnce(&'b T) -> Option<&'b U>,
    ) -> Option<InUse<'a, U>> {
        f(self.0).map(InUse)
    }
}
