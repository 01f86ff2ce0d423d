// SPDX-License-Identifier: GPL-2.0

//! Bios that came back from their devices.

use super::{
    bindings,
    bio::BioInfo,
    cell::{
        Cell,
        State, //
    },
    live::InUse,
    parked::Parked,
    status::Status, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    ffi::c_int,
    sync::rcu, //
};

/// A bio that came back, lent to [`super::Target::end_io`].
///
/// # Invariants
///
/// `bio` is the clone of the end_io callback that is running, `cell` is its cell, and no device has
/// the clone, nor another one that shares its pages.
pub(crate) struct Ended<'a, P> {
    bio: NonNull<bindings::bio>,
    cell: NonNull<Cell<P>>,
    status: Status,
    _life: PhantomData<&'a mut Cell<P>>,
}

/// What becomes of a bio that came back.
#[must_use]
pub(crate) struct EndIo<'a> {
    code: c_int,
    status: Status,
    /// Held when the bio was parked: others may end it while `end_io` is still running, and what
    /// `end_io` uses has to stay.
    _guard: Option<rcu::Guard>,
    // Of this callback, not of another one.
    _life: PhantomData<&'a mut ()>,
}

impl EndIo<'_> {
    /// What to return to dm, and the status to end the bio with.
    pub(super) fn code(&self) -> (c_int, Status) {
        (self.code, self.status)
    }
}

impl<'a, P> Ended<'a, P> {
    /// # Safety
    ///
    /// To be called by the end_io callback, once, when the last device has answered, with the clone
    /// that it got, and its cell. The caller uses neither afterwards.
    pub(super) unsafe fn from_raw(
        bio: NonNull<bindings::bio>,
        cell: NonNull<Cell<P>>,
        status: Status,
    ) -> Self {
        // INVARIANT: By the function's contract.
        Self {
            bio,
            cell,
            status,
            _life: PhantomData,
        }
    }

    fn cell(&self) -> &Cell<P> {
        // SAFETY: No device has the bio any more, by the type invariants: the cell is ours.
        unsafe { self.cell.as_ref() }
    }

    /// Its fields, as they were in `map`.
    pub(crate) fn info(&self) -> BioInfo {
        self.cell().header.info
    }

    /// The target's data.
    pub(crate) fn data(&self) -> &P {
        &self.cell().user
    }

    /// The target's data, for when it is parked.
    pub(crate) fn data_mut(&mut self) -> &mut P {
        // SAFETY: As in `cell`.
        unsafe { &mut self.cell.as_mut().user }
    }

    /// How it ended; of two devices, the first one's error before the second one's.
    pub(crate) fn status(&self) -> Status {
        self.status
    }

    /// How it ended on one of two devices, counting from 0; `None` if it was sent to one only.
    pub(crate) fn leg_status(&self, leg: usize) -> Option<Status> {
        match self.cell().header.state {
            State::Joined => self.cell().header.leg_status.get(leg).copied(),
            _ => None,
        }
    }

    /// Ends it with the status that it has.
    pub(crate) fn done(self) -> EndIo<'a> {
        let status = self.status;
        self.end(status)
    }

    /// Ends it with another status.
    pub(crate) fn end(self, status: Status) -> EndIo<'a> {
        EndIo {
            code: bindings::DM_ENDIO_DONE as c_int,
            status,
            _guard: None,
            _life: PhantomData,
        }
    }

    /// Keeps it: what its sender wanted is done or is to be tried again, and its end has to wait.
    ///
    /// As [`super::Bio::park`].
    pub(crate) fn park<T: Sync>(self, keep: InUse<'_, T>) -> (EndIo<'a>, Parked<T, P>)
    where
        P: Send,
    {
        let end_io = EndIo {
            code: bindings::DM_ENDIO_INCOMPLETE as c_int,
            status: self.status,
            // Before anybody else can have it.
            _guard: Some(rcu::read_lock()),
            _life: PhantomData,
        };
        // SAFETY: No device has the bio, it is in flight and its cell is initialised, by the type
        // invariants. `DM_ENDIO_INCOMPLETE` leaves it to us, and neither it nor its cell is used
        // here any more.
        let parked = unsafe { Parked::from_raw(self.bio, keep) };
        (end_io, parked)
    }
}
