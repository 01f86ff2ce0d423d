// SPDX-License-Identifier: GPL-2.0

//! Queues of bios that wait.

use super::{
    bindings,
    parked::Parked, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// A queue of [`Parked`], linked through the bios: nothing is allocated.
///
/// To be shared with `end_io` it goes into a [`kernel::sync::SpinLockIrq`]. Bios are not to be
/// submitted or ended under that lock: take them out first. Dropping the queue ends what is in it
/// with an I/O error.
///
/// # Invariants
///
/// Either both ends are `None`, or `first` is the first of a chain of bios through `bi_next`, and
/// `last` its last. Every bio in it came out of a [`Parked::into_raw`] and is ours.
pub(crate) struct ParkedList<T, P> {
    ends: Option<(NonNull<bindings::bio>, NonNull<bindings::bio>)>,
    _types: PhantomData<Parked<T, P>>,
}

// SAFETY: It owns what could be sent one by one.
unsafe impl<T, P> Send for ParkedList<T, P> where Parked<T, P>: Send {}

impl<T, P> ParkedList<T, P> {
    /// An empty one.
    pub(crate) const fn new() -> Self {
        Self {
            ends: None,
            _types: PhantomData,
        }
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_none()
    }

    /// Adds a bio behind all others.
    pub(crate) fn push(&mut self, parked: Parked<T, P>) {
        let bio = parked.into_raw();
        // SAFETY: The bio is ours, and nobody uses this field of a bio that is neither in a list
        // nor with the block layer.
        unsafe { (*bio.as_ptr()).bi_next = core::ptr::null_mut() };
        self.link(bio, bio);
    }

    /// Takes the first bio.
    pub(crate) fn pop(&mut self) -> Option<Parked<T, P>> {
        let (first, last) = self.ends?;
        // SAFETY: By the type invariants.
        let next = unsafe { (*first.as_ptr()).bi_next };
        // INVARIANT: The rest of the chain.
        self.ends = NonNull::new(next).map(|next| (next, last));
        // SAFETY: As above; the block layer wants it like this.
        unsafe { (*first.as_ptr()).bi_next = core::ptr::null_mut() };
        // SAFETY: By the type invariants it came from `into_raw`, and it left the chain just now.
        Some(unsafe { Parked::again(first) })
    }

    /// Adds all of `other`, behind all others and in its order.
    pub(crate) fn append(&mut self, mut other: Self) {
        if let Some((first, last)) = other.ends.take() {
            self.link(first, last);
        }
    }

    /// Takes everything.
    pub(crate) fn take(&mut self) -> Self {
        core::mem::take(self)
    }

    /// Adds a chain that is nobody else's.
    fn link(&mut self, first: NonNull<bindings::bio>, last: NonNull<bindings::bio>) {
        // INVARIANT: One chain continues the other.
        self.ends = match self.ends {
            None => Some((first, last)),
            Some((head, tail)) => {
                // SAFETY: `tail` is ours by the type invariants.
                unsafe { (*tail.as_ptr()).bi_next = first.as_ptr() };
                Some((head, last))
            }
        };
    }
}

impl<T, P> Default for ParkedList<T, P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, P> Iterator for ParkedList<T, P> {
    type Item = Parked<T, P>;

    fn next(&mut self) -> Option<Parked<T, P>> {
        self.pop()
    }
}

impl<T, P> Drop for ParkedList<T, P> {
    fn drop(&mut self) {
        while let Some(parked) = self.pop() {
            drop(parked);
        }
    }
}
