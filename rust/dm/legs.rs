// SPDX-License-Identifier: GPL-2.0

//! Bios that go to two devices at once.
//!
//! The first leg is device-mapper's own clone, the second one a clone of that. Whichever ends last
//! makes the bio come to `end_io`; the other one only leaves its status behind. Both of them see who
//! is last by counting down one number.

use super::{
    bindings,
    cell::{
        Cell,
        State, //
    },
    device::Device,
    status::Status, //
};
use core::ptr::{
    addr_of,
    addr_of_mut,
    NonNull, //
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::atomic::{
        Full,
        Relaxed, //
    },
    types::Opaque, //
};

/// Second legs that are there even when memory is short.
const RESERVE: u32 = 16;

/// Where second legs come from.
///
/// # Invariants
///
/// `set` is initialised.
#[pin_data(PinnedDrop)]
pub(crate) struct LegPool {
    #[pin]
    set: Opaque<bindings::bio_set>,
}

// SAFETY: A set of bios may be used and given up by any thread.
unsafe impl Send for LegPool {}
// SAFETY: Any number of threads may allocate from a set at once.
unsafe impl Sync for LegPool {}

impl LegPool {
    /// Makes a pool. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // INVARIANT: It is initialised unless that fails.
            set <- Opaque::try_ffi_init(|slot: *mut bindings::bio_set| {
                // SAFETY: The slot is ours to write, and zeroes are what the function expects.
                unsafe { slot.write_bytes(0, 1) };
                // Clones share the vector of what they are cloned from: no vectors are needed.
                // SAFETY: As above; the set is pinned.
                to_result(unsafe { bindings::bioset_init(slot, RESERVE, 0, 0) })
            }),
        }? Error)
    }
}

#[pinned_drop]
impl PinnedDrop for LegPool {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: It is initialised by the type invariants, and it is used no more: a leg goes back
        // before its bio ends, and what a bio uses stays until then.
        unsafe { bindings::bioset_exit(self.set.get()) };
    }
}

/// Whether to wait for memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Fail instead.
    Never,
    /// Until a leg of the reserve comes back.
    May,
}

/// Clones the bio and sends the clone to a device. The bio has two legs then, and the caller has to
/// send it, too. Returns `false`, and nothing has happened, if there is no memory.
///
/// # Safety
///
/// - `bio` must be a clone of device-mapper in flight, as it was in `map`, that is the caller's to
///   submit, and its cell a `Cell<P>` that is initialised. Nobody has a reference to the cell that
///   is used again.
/// - `pool` and `device` must stay until the bio has ended.
pub(super) unsafe fn send_second<P>(
    bio: NonNull<bindings::bio>,
    pool: &LegPool,
    device: &Device,
    sector: u64,
    wait: Wait,
) -> bool {
    // SAFETY: The bio, the device and the set are valid by the function's contract.
    let leg = unsafe {
        bindings::dmr_bio_clone(
            bio.as_ptr(),
            device.bdev(),
            pool.set.get(),
            wait == Wait::May,
        )
    };
    if leg.is_null() {
        return false;
    }
    // SAFETY: The bio has an initialised cell by the function's contract, and no device has it.
    let header = unsafe { addr_of_mut!((*Cell::<P>::of(bio).as_ptr()).header) };
    // SAFETY: As above.
    unsafe {
        (*header).state = State::Legs;
        (*header).legs_left.store(2, Relaxed);
    }
    // SAFETY: The leg is new and ours; the device stays until it has ended, since the bio does not
    // end before it.
    unsafe {
        (*leg).bi_iter.bi_sector = sector;
        (*leg).bi_private = bio.as_ptr().cast();
        (*leg).bi_end_io = Some(second_ended::<P>);
        bindings::submit_bio_noacct(leg);
    }
    true
}

/// Which of two devices.
#[derive(Clone, Copy)]
enum Leg {
    First,
    Second,
}

impl Leg {
    /// Its place in [`Header::leg_status`](super::cell::Header).
    const fn index(self) -> usize {
        match self {
            Leg::First => 0,
            Leg::Second => 1,
        }
    }
}

/// One leg ended; returns whether it was the last one. If it was not, the bio is not to be touched
/// any more.
///
/// # Safety
///
/// `cell` must be the cell of a bio with two legs, and this one not have been counted yet.
unsafe fn leave<P>(cell: NonNull<Cell<P>>, leg: Leg, status: Status) -> bool {
    // SAFETY: The cell is initialised by the function's contract, and stays until both legs were
    // counted. The other leg writes another element, and no reference to all of it is made before
    // both have.
    let header = unsafe { addr_of_mut!((*cell.as_ptr()).header) };
    // SAFETY: As above.
    unsafe {
        addr_of_mut!((*header).leg_status)
            .cast::<Status>()
            .add(leg.index())
            .write(status)
    };
    // Full order: the last one sees what the other one wrote.
    // SAFETY: As above; the count is atomic.
    let last = unsafe { (*addr_of!((*header).legs_left)).fetch_sub(1, Full) } == 1;
    if last {
        // SAFETY: As above, and nobody else is left.
        unsafe { (*header).state = State::Joined };
    }
    last
}

/// What it means that a clone ended.
pub(super) enum Came {
    /// No device has the bio any more, and it ended like this.
    Back(Status),
    /// The target has ended it.
    Finished,
    /// Another device has it still: it is not to be touched any more.
    Halfway,
}

/// A clone of device-mapper ended.
///
/// # Safety
///
/// To be called by the end_io callback, once each time, with the cell of its clone.
pub(super) unsafe fn first_ended<P>(cell: NonNull<Cell<P>>, status: Status) -> Came {
    // SAFETY: `map` wrote the cell. While the bio is with devices this field changes only when the
    // last leg has ended: then this callback is that leg, or comes after it.
    let state = unsafe { (*addr_of!((*cell.as_ptr()).header)).state };
    match state {
        State::Single => return Came::Back(status),
        State::Finished => return Came::Finished,
        State::Legs => {
            // SAFETY: This is the first leg, and it is counted here alone: the next time that the
            // callback comes for this bio, the state is another one.
            if !unsafe { leave(cell, Leg::First, status) } {
                return Came::Halfway;
            }
        }
        State::Joined => (),
    }
    // SAFETY: Both legs have left.
    let [first, second] = unsafe { (*addr_of!((*cell.as_ptr()).header)).leg_status };
    Came::Back(first.or(second))
}

/// The second leg ended.
///
/// # Safety
///
/// To be called by the block layer with a bio that [`send_second`] made.
unsafe extern "C" fn second_ended<P>(leg: *mut bindings::bio) {
    // SAFETY: `send_second` put the bio there.
    let (bio, status) = unsafe { ((*leg).bi_private.cast::<bindings::bio>(), (*leg).bi_status) };
    // Before the bio can end, and the pool be gone.
    // SAFETY: The leg is ours, and ended.
    unsafe { bindings::bio_put(leg) };
    // SAFETY: `send_second` put a valid pointer there, and the bio has not ended: a leg is left.
    let bio = unsafe { NonNull::new_unchecked(bio) };
    // SAFETY: The bio is a clone of dm with a cell of this type.
    let cell = unsafe { Cell::<P>::of(bio) };
    // SAFETY: The bio has two legs, and this is the one end of the second.
    if unsafe { leave(cell, Leg::Second, Status(status)) } {
        // The callback comes again, and finds both legs joined.
        // SAFETY: The first leg ended before, and dm left the bio to us.
        unsafe { bindings::bio_endio(bio.as_ptr()) };
    }
}
