// SPDX-License-Identifier: GPL-2.0

//! Targets that send their bios to devices of another target.
//!
//! For example, a thin volume sends its bios to the data device of its pool: the pool's table has
//! the device open, the thin volume's does not. Before the pool's table is exchanged, the bios of
//! all its thin volumes must have ended, and those don't pass through the pool.
//!
//! A [`Provider`] belongs to the mapped device that has the devices open, the owner. It publishes a
//! value to the targets that are [`Client`]s. [`Provider::retract`] suspends every client's mapped
//! device inside the kernel (`dm_internal_suspend_noflush`) and then takes the value back, so that
//! no bio is left that could use it. Until [`Provider::resume_clients`] the clients' bios wait.
//!
//! # Locks
//!
//! `clients` is a leaf: nothing sleeps for I/O and no other lock is taken under it. In particular
//! it is not held while a client's mapped device is suspended, which takes that device's suspend
//! lock and waits for its bios; an entry is marked busy instead.

use super::{
    anchor::Anchor,
    bindings,
    live::{
        InUse,
        Live,
        Quiesced, //
    },
    load,
    mapped_device::{
        DeviceNumber,
        HeldDevice,
        MappedDevice, //
    },
    sys::NoIo,
    target::Setup, //
};
use kernel::{
    new_condvar,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full, //
        },
        Arc,
        CondVar,
        Mutex,
        MutexGuard, //
    }, //
};

/// A client's mapped device.
struct Entry {
    md: MappedDevice,
    /// Targets of this device, in any of its tables, that are clients.
    targets: usize,
    /// It was suspended by the provider.
    suspended: bool,
    /// It is being suspended or resumed; its targets' destructors must wait.
    busy: bool,
}

/// What a [`Provider`] knows about its clients.
struct Clients {
    entries: KVec<Entry>,
    /// New clients are refused.
    suspended: bool,
    /// The owner is being suspended and resumed by [`Provider::cycle`], which handles the clients
    /// itself.
    cycling: bool,
    /// Clients may run after that.
    may_run: bool,
}

/// Publishes a value of one target to others.
///
/// A value that is still published when the provider is dropped is never freed: bios of the owner
/// might use it.
///
/// # Invariants
///
/// `published` is null or what `Arc::into_raw` returned, and then a reference is held for it. It is
/// changed only while every client is suspended; from a value to null also only while the owner is
/// suspended.
#[pin_data]
pub(crate) struct Provider<T: Send + Sync + 'static> {
    owner: MappedDevice,
    published: Atomic<*mut T>,
    #[pin]
    clients: Mutex<Clients>,
    /// Signalled when an entry is no longer busy.
    #[pin]
    idle: CondVar,
}

/// Whether clients should be suspended or running.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Suspended,
    Running,
}

impl<T: Send + Sync + 'static> Provider<T> {
    /// A provider of the mapped device whose target is under construction; nothing is published.
    pub(crate) fn new(setup: &Setup<'_>) -> impl PinInit<Self> {
        let owner = setup.mapped_device();
        pin_init!(Self {
            owner,
            published: Atomic::new(core::ptr::null_mut()),
            clients <- new_mutex!(Clients {
                entries: KVec::new(),
                suspended: true,
                cycling: false,
                may_run: false,
            }),
            idle <- new_condvar!(),
        })
    }

    /// Publishes a value to the clients, which stay suspended.
    ///
    /// Suspends clients that are not suspended yet. May sleep. Call it from the owner's
    /// `preresume`.
    ///
    /// # Errors
    ///
    /// `EBUSY` if a value is published, `EINVAL` if `live` is not the owner's.
    pub(crate) fn publish(&self, live: &Live<'_>, value: Arc<T>) -> Result {
        if live.md != self.owner {
            return Err(EINVAL);
        }
        let _quiet = self.quiet();
        if !load::acquire(&self.published).is_null() {
            return Err(EBUSY);
        }
        // The order `Full` is more than the needed release.
        // INVARIANT: All clients are suspended, and the reference is ours to give.
        self.published.xchg(Arc::into_raw(value).cast_mut(), Full);
        Ok(())
    }

    /// Takes the published value back. May sleep until clients' bios have ended.
    ///
    /// Call it from the owner's `postsuspend`; clients are suspended afterwards.
    pub(crate) fn retract(&self, quiesced: &Quiesced<'_>) -> Option<Arc<T>> {
        if quiesced.md != self.owner {
            return None;
        }
        let quiet = self.quiet();
        // INVARIANT: All clients and the owner are suspended.
        let old = self.published.xchg(core::ptr::null_mut(), Full);
        drop(quiet);
        if old.is_null() {
            return None;
        }
        // An `end_io` may still be running that parked its bio, if somebody ended that bio at once.
        // SAFETY: May sleep here.
        unsafe { bindings::synchronize_rcu_expedited() };
        // SAFETY: It was made by `Arc::into_raw`, by the type invariants, and the reference that
        // was held for it is handed on.
        Some(unsafe { Arc::from_raw(old) })
    }

    /// Suspends all clients; returns when none of their bios is in flight. May sleep.
    ///
    /// For the owner's `presuspend`, so that clients' bios have ended before the owner's devices
    /// are flushed. [`Provider::retract`] also does this.
    pub(crate) fn suspend_clients(&self) {
        let mut clients = self.clients.lock();
        clients.may_run = false;
        clients.suspended = true;
        drop(clients);
        self.turn(Wanted::Suspended);
    }

    /// Resumes all clients, which calls their `preresume` and `resume`. May sleep.
    ///
    /// For the owner's `resume`, or when the owner is gone for good.
    pub(crate) fn resume_clients(&self) {
        let mut clients = self.clients.lock();
        if clients.cycling {
            clients.may_run = true;
            return;
        }
        drop(clients);
        self.turn_all(Wanted::Running);
    }

    /// Suspends and resumes the owner inside the kernel, without flushes of its own, so that its
    /// hooks are called; `device` is the owner. May sleep until bios of the owner and its clients
    /// have ended. One caller at a time.
    ///
    /// Only for a worker that the owner never waits for: not in a hook, a message, or a removal. If
    /// the owner's user has suspended it, it stays suspended, and nothing happens.
    ///
    /// The clients are suspended before the owner and resumed after it, so that two suspend locks
    /// are never held at once: here, unlike in a user's suspend, lockdep can't tell them apart.
    pub(crate) fn cycle(&self, device: &HeldDevice) {
        let md = device.0;
        if md != self.owner {
            return;
        }
        let mut clients = self.clients.lock();
        if clients.suspended {
            return;
        }
        clients.cycling = true;
        clients.may_run = true;
        drop(clients);
        self.turn_all(Wanted::Suspended);
        let noio = NoIo::enter();
        // SAFETY: The device lives, since it is held. Suspend and resume are paired.
        unsafe {
            bindings::dm_internal_suspend_noflush(md.0);
            bindings::dm_internal_resume(md.0);
        }
        drop(noio);
        let mut clients = self.clients.lock();
        clients.cycling = false;
        // From here on, the owner's user may suspend it again, and the later request must win. So
        // this is decided now, under the lock.
        let may_run = clients.may_run;
        clients.suspended = !may_run;
        drop(clients);
        if may_run {
            self.turn(Wanted::Running);
        }
    }

    /// Suspends the clients on one mapped device; returns when none of their bios is in flight.
    /// `None` if there are none. May sleep until their bios have ended.
    ///
    /// Until the guard is dropped, the device's tables and the owner's suspend wait, and no
    /// allocation of this thread starts I/O. A lock that clients' `preresume` takes must be
    /// released before the guard.
    ///
    /// # Errors
    ///
    /// `EAGAIN` while all clients are suspended.
    pub(crate) fn pause(&self, number: DeviceNumber) -> Result<Option<Paused<'_, T>>> {
        let mut clients = self.clients.lock();
        let md = loop {
            if clients.suspended {
                return Err(EAGAIN);
            }
            // SAFETY: The devices of entries live: they have targets that are clients.
            let is_it = |entry: &&mut Entry| unsafe { entry.md.number() } == number;
            let Some(entry) = clients.entries.iter_mut().find(is_it) else {
                return Ok(None);
            };
            if !entry.busy {
                entry.busy = true;
                break entry.md;
            }
            self.idle.wait(&mut clients);
        };
        drop(clients);
        let noio = NoIo::enter();
        // SAFETY: The device lives: it has a target that is a client, whose destructor waits while
        // the entry is busy. The guard resumes it.
        unsafe { bindings::dm_internal_suspend_noflush(md.0) };
        Ok(Some(Paused {
            provider: self,
            md,
            _noio: noio,
        }))
    }

    /// Whether all clients are suspended, or are being suspended.
    pub(crate) fn is_suspended(&self) -> bool {
        self.clients.lock().suspended
    }

    /// Suspends all clients and keeps them suspended while the guard is held.
    fn quiet(&self) -> MutexGuard<'_, Clients> {
        loop {
            self.turn_all(Wanted::Suspended);
            let clients = self.clients.lock();
            // A concurrent resume may have resumed some of them.
            if clients.entries.iter().all(|e| e.suspended && !e.busy) {
                return clients;
            }
        }
    }

    fn turn_all(&self, wanted: Wanted) {
        self.clients.lock().suspended = wanted == Wanted::Suspended;
        self.turn(wanted);
    }

    /// Suspends or resumes all clients as wanted, unless somebody else wants the opposite
    /// meanwhile.
    fn turn(&self, wanted: Wanted) {
        let suspend = wanted == Wanted::Suspended;
        loop {
            let mut clients = self.clients.lock();
            if clients.suspended != suspend {
                break;
            }
            let Some(entry) = clients
                .entries
                .iter_mut()
                .find(|e| e.suspended != suspend && !e.busy)
            else {
                if clients.entries.iter().any(|e| e.busy) {
                    self.idle.wait(&mut clients);
                    continue;
                }
                break;
            };
            entry.busy = true;
            entry.suspended = suspend;
            let md = entry.md;
            drop(clients);

            // SAFETY: The device lives: it has a target that is a client, whose destructor waits
            // while the entry is busy. Suspends and resumes are paired by `suspended`.
            unsafe {
                match wanted {
                    Wanted::Suspended => bindings::dm_internal_suspend_noflush(md.0),
                    Wanted::Running => bindings::dm_internal_resume(md.0),
                }
            }

            let mut clients = self.clients.lock();
            if let Some(entry) = clients.entries.iter_mut().find(|e| e.md == md) {
                entry.busy = false;
            }
            drop(clients);
            self.idle.notify_all();
        }
    }

    /// The published value, for use by the owner's own bios.
    ///
    /// Also returns `None` if `live` is not the owner's.
    pub(crate) fn get<'a>(&'a self, live: &'a Live<'_>) -> Option<InUse<'a, T>> {
        if live.md != self.owner {
            return None;
        }
        // SAFETY: `live` shows that the owner is not suspended, and does so for `'a`.
        unsafe { self.published() }
    }

    /// # Safety
    ///
    /// The owner or one of the clients must be live for `'a`.
    unsafe fn published<'a>(&'a self) -> Option<InUse<'a, T>> {
        // SAFETY: By the type invariants it is null or valid, and the value is retracted only when
        // the owner and all clients are suspended: not within `'a`, nor before the last bio of the
        // live one has ended.
        unsafe {
            load::acquire(&self.published)
                .as_ref()
                .map(|value| InUse::new(value))
        }
    }
}

/// Keeps the clients of a mapped device suspended; see [`Provider::pause`].
pub(crate) struct Paused<'a, T: Send + Sync + 'static> {
    provider: &'a Provider<T>,
    md: MappedDevice,
    _noio: NoIo,
}

impl<T: Send + Sync + 'static> Drop for Paused<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The device lives while its entry is busy, and `Provider::pause` suspended it.
        unsafe { bindings::dm_internal_resume(self.md.0) };
        let mut clients = self.provider.clients.lock();
        if let Some(entry) = clients.entries.iter_mut().find(|e| e.md == self.md) {
            entry.busy = false;
        }
        drop(clients);
        self.provider.idle.notify_all();
    }
}

/// What a provider does for a client's target, whatever it publishes.
trait Leave: Send + Sync {
    /// One target of this mapped device is no longer a client. May sleep.
    fn leave(&self, md: MappedDevice);
}

impl<T: Send + Sync + 'static> Leave for Provider<T> {
    fn leave(&self, md: MappedDevice) {
        let mut clients = self.clients.lock();
        loop {
            let Some(at) = clients.entries.iter().position(|e| e.md == md) else {
                return;
            };
            let Some(entry) = clients.entries.get_mut(at) else {
                return;
            };
            if entry.busy {
                self.idle.wait(&mut clients);
                continue;
            }
            entry.targets = entry.targets.saturating_sub(1);
            if entry.targets > 0 {
                return;
            }
            let suspended = entry.suspended;
            // `at` is in range: it was found under this lock.
            let _ = clients.entries.remove(at);
            drop(clients);
            if suspended {
                // The device may continue without us, with another table.
                // SAFETY: The device lives, since the destructor of one of its targets runs; it was
                // suspended by us, once.
                unsafe { bindings::dm_internal_resume(md.0) };
            }
            return;
        }
    }
}

/// A target's membership in a provider. It belongs to the instance: bios may use the published
/// value as long as the target lives, whatever the target does with its [`Client`].
pub(super) struct Membership {
    provider: Arc<dyn Leave>,
    md: MappedDevice,
}

impl Drop for Membership {
    /// In the target's destructor, or when its constructor has failed.
    fn drop(&mut self) {
        self.provider.leave(self.md);
    }
}

/// A target's access to what a provider publishes. The target's destructor waits until the last of
/// these is dropped, and then ends the membership.
pub(crate) struct Client<T: Send + Sync + 'static> {
    provider: Arc<Provider<T>>,
    md: MappedDevice,
    _anchor: Arc<Anchor>,
}

impl<T: Send + Sync + 'static> Client<T> {
    /// Makes the target under construction a client. May sleep.
    ///
    /// # Errors
    ///
    /// `EAGAIN` while the provider's clients are suspended; `ENOMEM`; `EINVAL` if it is the
    /// owner's own target.
    pub(crate) fn new(setup: &mut Setup<'_>, provider: Arc<Provider<T>>) -> Result<Self> {
        let md = setup.mapped_device();
        if md == provider.owner {
            return Err(EINVAL);
        }
        // First, so that nothing can fail once the target is a client.
        setup.memberships.reserve(1, GFP_KERNEL)?;
        let mut clients = provider.clients.lock();
        if clients.suspended {
            return Err(EAGAIN);
        }
        match clients.entries.iter_mut().find(|e| e.md == md) {
            Some(entry) => entry.targets += 1,
            None => clients.entries.push(
                Entry {
                    md,
                    targets: 1,
                    suspended: false,
                    busy: false,
                },
                GFP_KERNEL,
            )?,
        }
        drop(clients);
        let membership = Membership {
            provider: provider.clone(),
            md,
        };
        setup
            .memberships
            .push_within_capacity(membership)
            .map_err(|_| ENOMEM)?;
        Ok(Self {
            provider,
            md,
            _anchor: setup.anchor.hold(),
        })
    }

    /// The published value, valid as long as `live`, which must be this target's own.
    pub(crate) fn get<'a>(&'a self, live: &'a Live<'_>) -> Option<InUse<'a, T>> {
        if live.md != self.md {
            return None;
        }
        // SAFETY: The membership lasts as long as this does. So `live` shows that a client is not
        // suspended, and does so for `'a`.
        unsafe { self.provider.published() }
    }
}
