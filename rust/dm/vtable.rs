// SPDX-License-Identifier: GPL-2.0

//! Registration of a target type, and the C callbacks that call its methods.

use super::{
    anchor::AnchorWait,
    args::{
        set_error,
        words,
        OwnedWords, //
    },
    bindings,
    bio::{
        Bio,
        Status, //
    },
    cell::{
        Cell,
        Ending,
        Head, //
    },
    ended::{
        Ended, //
    },
    limits::{
        DeviceVisitor,
        Limits,
        Stop, //
    },
    live::{
        Live,
        Quiesced, //
    },
    mapped_device::MappedDevice,
    provider::Membership,
    sys::NoIo,
    target::{
        FlushBios,
        Setup,
        SetupError,
        StatusKind,
        Target, //
    },
    writer::Writer,
};
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    ffi::{
        c_char,
        c_int,
        c_uint,
        c_void, //
    },
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

/// A registered target type. Dropping it unregisters the type.
///
/// # Invariants
///
/// `kind` comes from [`KBox::into_raw`], and is registered with device-mapper.
pub(crate) struct Registration<T: Target> {
    kind: NonNull<Kind<T>>,
    this: &'static ThisModule,
}

/// What `ti->type` points to.
#[repr(C)]
struct Kind<T: Target> {
    /// First, so that a pointer to it is one to all of this.
    kind: Opaque<bindings::target_type>,
    module: Arc<T::Module>,
}

// SAFETY: A target type may be unregistered by another thread than the one that registered it.
unsafe impl<T: Target> Send for Registration<T> {}
// SAFETY: There are no methods on `&Registration`.
unsafe impl<T: Target> Sync for Registration<T> {}

impl<T: Target> Registration<T> {
    /// Registers the target. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` if there is a target of this name; `ENOMEM`.
    pub(crate) fn new(this: &'static ThisModule, module: Arc<T::Module>) -> Result<Self> {
        let kind = Kind {
            kind: Opaque::new(Vtable::<T>::build(this)),
            module,
        };
        let kind = KBox::into_raw(KBox::new(kind, GFP_KERNEL)?);
        // SAFETY: The target type is valid, and stays so while it is registered.
        let registered = to_result(unsafe { bindings::dm_register_target((*kind).kind.get()) });
        if let Err(error) = registered {
            // SAFETY: It came from a box, and nobody else knows it.
            drop(unsafe { KBox::from_raw(kind) });
            return Err(error);
        }
        // INVARIANT: It is registered, and came from a box.
        Ok(Self {
            kind: NonNull::new(kind).ok_or(EINVAL)?,
            this,
        })
    }

    /// Whether the module is being unloaded: it has no users and gets no new ones.
    fn is_unloaded(&self) -> bool {
        let module = self.this.as_ptr();
        // SAFETY: The module whose code runs here is valid.
        !module.is_null() && unsafe { (*module).state } == bindings::module_state_MODULE_STATE_GOING
    }
}

impl<T: Target> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: It is registered, by the type invariants.
        unsafe { bindings::dm_unregister_target((*self.kind.as_ptr()).kind.get()) };
        // Tables point to it, also those that are being made, and each holds a reference to the
        // module. If the module is not unloaded, there may be some; then it has to stay for good.
        if self.is_unloaded() {
            // SAFETY: It came from a box. There are no tables, and it is registered no more.
            drop(unsafe { KBox::from_raw(self.kind.as_ptr()) });
        }
    }
}

/// What `dm_target::private` points to.
struct Instance<T> {
    target: T,
    /// The mapped device, cached because each bio needs it.
    md: MappedDevice,
    /// How many bios per flush its constructor asked for.
    most_flushes: u32,
    holdings: Holdings,
}

/// What a target has besides its value; both outlive all that holds the anchor.
struct Holdings {
    anchor: AnchorWait,
    memberships: KVec<Membership>,
    devices: KVec<NonNull<bindings::dm_dev>>,
}

/// Waits until nobody uses what a target has, then ends its memberships and closes its devices.
///
/// # Safety
///
/// The devices must have been opened for `ti` by [`Setup::device`] with the anchor, and not be
/// closed yet. The target's value must be gone, and no bio of the target in flight.
unsafe fn close(ti: *mut bindings::dm_target, holdings: Holdings) {
    let Holdings {
        anchor,
        memberships,
        devices,
    } = holdings;
    anchor.wait();
    drop(memberships);
    for dev in devices {
        // SAFETY: Opened for this target, by the function's contract, and in use no more.
        unsafe { bindings::dm_put_device(ti, dev.as_ptr()) };
    }
}

struct Vtable<T: Target>(core::marker::PhantomData<T>);

impl<T: Target> Vtable<T> {
    fn build(this: &'static ThisModule) -> bindings::target_type {
        let mut kind: bindings::target_type = pin_init::zeroed();
        kind.features = T::FEATURES.0;
        kind.name = T::NAME.as_char_ptr();
        kind.module = this.as_ptr();
        kind.version = T::VERSION;
        kind.ctr = Some(Self::ctr);
        kind.dtr = Some(Self::dtr);
        kind.map = Some(Self::map);
        kind.status = Some(Self::status);
        kind.iterate_devices = Some(Self::iterate_devices);
        // Always: clones with legs wait for them in this callback.
        kind.end_io = Some(Self::end_io);
        if T::HAS_PRESUSPEND {
            kind.presuspend = Some(Self::presuspend);
        }
        if T::HAS_PRESUSPEND_UNDO {
            kind.presuspend_undo = Some(Self::presuspend_undo);
        }
        if T::HAS_POSTSUSPEND {
            kind.postsuspend = Some(Self::postsuspend);
        }
        if T::HAS_PRERESUME {
            kind.preresume = Some(Self::preresume);
        }
        if T::HAS_RESUME {
            kind.resume = Some(Self::resume);
        }
        if T::HAS_MESSAGE {
            kind.message = Some(Self::message);
        }
        if T::HAS_IO_HINTS {
            kind.io_hints = Some(Self::io_hints);
        }
        kind
    }

    /// # Safety
    ///
    /// `ti` must be a target that [`Self::ctr`] made, and its destructor not have run.
    unsafe fn target<'a>(ti: *mut bindings::dm_target) -> &'a T {
        // SAFETY: `ctr` stored an `Instance<T>`, which `dtr` frees.
        unsafe { &(*(*ti).private.cast::<Instance<T>>()).target }
    }

    /// # Safety
    ///
    /// As for [`Self::target`].
    unsafe fn md(ti: *mut bindings::dm_target) -> MappedDevice {
        // SAFETY: As in `target`.
        unsafe { (*(*ti).private.cast::<Instance<T>>()).md }
    }

    /// # Safety
    ///
    /// To be called by device-mapper's core as a constructor of the type's targets.
    unsafe extern "C" fn ctr(
        ti: *mut bindings::dm_target,
        argc: c_uint,
        argv: *mut *mut c_char,
    ) -> c_int {
        // Suspends, and I/O that is held up, wait for locks that it takes. So its allocations must
        // not wait for I/O.
        let _noio = NoIo::enter();
        // SAFETY: `ti` is under construction; dm passes words that live as long as the call.
        match unsafe { Self::construct(ti, argc, argv) } {
            Ok(()) => 0,
            Err(failure) => {
                // SAFETY: `ti` is under construction.
                unsafe { set_error(ti, failure.reason) };
                failure.error.to_errno()
            }
        }
    }

    /// # Safety
    ///
    /// `raw` must be a target under construction, of this type, and `argc` and `argv` its words.
    unsafe fn construct(
        raw: *mut bindings::dm_target,
        argc: c_uint,
        argv: *mut *mut c_char,
    ) -> Result<(), SetupError> {
        let ti = NonNull::new(raw).ok_or(EINVAL)?;
        // SAFETY: By the function's contract.
        let words = unsafe { words(argc, argv) }?;
        // SAFETY: `type` points at the first field of a `Kind<T>`, which stays while there are
        // tables, or some are being made.
        let kind = unsafe { &*(*raw).type_.cast::<Kind<T>>() };
        let anchor = AnchorWait::new()?;
        let slot = KBox::<Instance<T>>::new_uninit(GFP_KERNEL)?;

        // SAFETY: `ti` is under construction; `close` below, or in `dtr`, closes the devices.
        let mut setup = unsafe { Setup::new(ti, &anchor, T::FEATURES) };
        setup.set_per_bio_size(u32::try_from(Cell::<T::PerBio>::BYTES).map_err(|_| EINVAL)?);
        let result = T::new(&mut setup, &kind.module, &words);
        let devices = core::mem::take(&mut setup.devices);
        let memberships = core::mem::take(&mut setup.memberships);
        let holdings = Holdings {
            anchor,
            memberships,
            devices,
        };
        match result {
            Ok(target) => {
                let instance = KBox::write(
                    slot,
                    Instance {
                        target,
                        // SAFETY: A target under construction is in a table.
                        md: unsafe { MappedDevice::of(raw) },
                        // SAFETY: Valid, and ours during construction.
                        most_flushes: unsafe { (*raw).num_flush_bios },
                        holdings,
                    },
                );
                // SAFETY: `ti` is valid, and `private` is the target's own.
                unsafe { (*raw).private = KBox::into_raw(instance).cast() };
                Ok(())
            }
            Err(failure) => {
                // SAFETY: The devices are those that this setup opened. There is no value, and a
                // target under construction gets no bios.
                unsafe { close(raw, holdings) };
                Err(failure)
            }
        }
    }

    /// # Safety
    ///
    /// To be called by device-mapper's core, once, for a target that [`Self::ctr`] made.
    unsafe extern "C" fn dtr(ti: *mut bindings::dm_target) {
        // SAFETY: `ctr` stored the box there, and nobody uses it any more.
        let instance = unsafe { KBox::from_raw((*ti).private.cast::<Instance<T>>()) };
        let Instance {
            target, holdings, ..
        } = KBox::into_inner(instance);
        drop(target);
        // SAFETY: The devices are those that the constructor opened. The value is gone, and so are
        // all bios: dm never destroys a table that has some in flight.
        unsafe { close(ti, holdings) };
    }

    /// # Safety
    ///
    /// To be called by device-mapper's core with a live target and a clone for it.
    unsafe extern "C" fn map(ti: *mut bindings::dm_target, raw: *mut bindings::bio) -> c_int {
        // SAFETY: dm never passes a null bio.
        let raw = unsafe { NonNull::new_unchecked(raw) };
        // SAFETY: These are the callback's own arguments.
        let bio = unsafe { Bio::from_raw(ti, raw) };
        // SAFETY: A bio of the device is in flight until this returns.
        let live = unsafe { Live::new(Self::md(ti)) };
        // SAFETY: `ti` is live.
        unsafe { Self::target(ti) }.map(&live, bio).code()
    }

    /// # Safety
    ///
    /// To be called by device-mapper's core with a clone that `map` kept or remapped.
    unsafe extern "C" fn end_io(
        ti: *mut bindings::dm_target,
        raw: *mut bindings::bio,
        error: *mut bindings::blk_status_t,
    ) -> c_int {
        // SAFETY: dm never passes a null bio.
        let raw = unsafe { NonNull::new_unchecked(raw) };
        // SAFETY: A clone for this target.
        let cell = unsafe { Cell::<T::PerBio>::of(raw) };
        // SAFETY: `map` initialised the cell of this clone.
        let head = unsafe { &raw mut (*cell.as_ptr()).head };
        // SAFETY: dm passes a valid status.
        let mut status = unsafe { *error };
        // SAFETY: It does not change while a device has the clone.
        let ending = unsafe { (*head).ending };
        if ending != Ending::Told {
            if ending == Ending::Decided {
                return bindings::DM_ENDIO_DONE as c_int;
            }
            // SAFETY: The clone has legs, and ends, or a copy ended last.
            let Some(all) = (unsafe { Head::clone_ended(head, status) }) else {
                return bindings::DM_ENDIO_INCOMPLETE as c_int;
            };
            status = all;
            // SAFETY: dm passes a valid pointer.
            unsafe { *error = status };
        }
        // SAFETY: A bio of the device is in flight until dm ends it, after this; if it is parked,
        // the RCU read section in the returned `EndIo` takes its place.
        let live = unsafe { Live::new(Self::md(ti)) };
        // SAFETY: These are the callback's own arguments.
        let ended = unsafe { Ended::from_raw(raw, cell, Status(status)) };
        // SAFETY: `ti` is live.
        let target = unsafe { Self::target(ti) };
        target.end_io(&live, ended).code()
    }

    /// # Safety
    ///
    /// To be called by device-mapper's core under the device's suspend lock.
    unsafe extern "C" fn presuspend(ti: *mut bindings::dm_target) {
        let _noio = NoIo::enter();
        // SAFETY: `ti` is live.
        let noflush = unsafe { bindings::dm_noflush_suspending(ti) } != 0;
        // SAFETY: `ti` is live.
        unsafe { Self::target(ti) }.presuspend(noflush);
    }

    /// # Safety
    ///
    /// As for [`Self::presuspend`].
    unsafe extern "C" fn presuspend_undo(ti: *mut bindings::dm_target) {
        let _noio = NoIo::enter();
        // SAFETY: `ti` is live.
        unsafe { Self::target(ti) }.presuspend_undo();
    }

    /// # Safety
    ///
    /// As for [`Self::presuspend`].
    unsafe extern "C" fn postsuspend(ti: *mut bindings::dm_target) {
        let _noio = NoIo::enter();
        // SAFETY: For a suspend, dm waited for all bios and holds new ones back until a resume,
        // which needs the lock that the caller holds. For a removal it does not wait, but nobody
        // has the device open, and a bio can only be in flight while somebody does. A bio that has
        // just ended may still have callbacks running: a reference to `dm_io` covers `map`, and the
        // RCU read section that comes with a parked bio covers `end_io`.
        let quiesced = unsafe { Quiesced::new(Self::md(ti)) };
        // SAFETY: `ti` is live.
        unsafe { Self::target(ti) }.postsuspend(&quiesced);
    }

    /// # Safety
    ///
    /// As for [`Self::presuspend`].
    unsafe extern "C" fn preresume(ti: *mut bindings::dm_target) -> c_int {
        let _noio = NoIo::enter();
        // SAFETY: The caller resumes the device and holds the suspend lock.
        let live = unsafe { Live::new(Self::md(ti)) };
        let Some(raw) = NonNull::new(ti) else {
            return ENXIO.to_errno();
        };
        // SAFETY: As in `target`.
        let most = unsafe { (*(*ti).private.cast::<Instance<T>>()).most_flushes };
        // SAFETY: The device is suspended until this returns, and its suspend lock is held.
        let mut flushes = unsafe { FlushBios::from_raw(raw, most) };
        // SAFETY: `ti` is live.
        match unsafe { Self::target(ti) }.preresume(&live, &mut flushes) {
            Ok(()) => 0,
            Err(error) => error.to_errno(),
        }
    }

    /// # Safety
    ///
    /// As for [`Self::presuspend`].
    unsafe extern "C" fn resume(ti: *mut bindings::dm_target) {
        let _noio = NoIo::enter();
        // SAFETY: The caller resumes the device and holds the suspend lock.
        let live = unsafe { Live::new(Self::md(ti)) };
        // SAFETY: `ti` is live.
        unsafe { Self::target(ti) }.resume(&live);
    }

    /// # Safety
    ///
    /// To be called by device-mapper's core with a constructed target and a buffer.
    unsafe extern "C" fn status(
        ti: *mut bindings::dm_target,
        kind: bindings::status_type_t,
        _flags: c_uint,
        result: *mut c_char,
        maxlen: c_uint,
    ) {
        let kind = match kind {
            bindings::status_type_t_STATUSTYPE_INFO => StatusKind::Info,
            bindings::status_type_t_STATUSTYPE_TABLE => StatusKind::Table,
            _ => StatusKind::Ima,
        };
        // SAFETY: dm passes a buffer of that length, for this call alone.
        let mut out = unsafe { Writer::from_raw(result, maxlen) };
        // Text that does not fit fills the buffer; dm notices that.
        // SAFETY: `ti` is constructed.
        let _ = unsafe { Self::target(ti) }.status(kind, &mut out);
    }

    /// # Safety
    ///
    /// To be called by device-mapper's core with a target of the live table.
    unsafe extern "C" fn message(
        ti: *mut bindings::dm_target,
        argc: c_uint,
        argv: *mut *mut c_char,
        result: *mut c_char,
        maxlen: c_uint,
    ) -> c_int {
        /// Return value of a message that has a reply.
        const REPLY: c_int = 1;

        // As in `ctr`.
        let _noio = NoIo::enter();
        // The reply goes to the buffer that holds the words, so they are copied out first.
        // SAFETY: dm passes words that live as long as nothing is written to the buffer.
        let words = match unsafe { words(argc, argv) }.and_then(|words| OwnedWords::copy(&words)) {
            Ok(words) => words,
            Err(error) => return error.to_errno(),
        };
        // SAFETY: dm passes a buffer of that length, and the original words are used no more.
        let mut reply = unsafe { Writer::from_raw(result, maxlen) };
        // SAFETY: `ti` is constructed.
        let target = unsafe { Self::target(ti) };
        match words
            .words()
            .and_then(|words| target.message(&words, &mut reply))
        {
            Ok(()) if reply.is_empty() => 0,
            Ok(()) => REPLY,
            Err(error) => error.to_errno(),
        }
    }

    /// # Safety
    ///
    /// To be called by device-mapper's core with a constructed target.
    unsafe extern "C" fn iterate_devices(
        ti: *mut bindings::dm_target,
        callout: bindings::iterate_devices_callout_fn,
        data: *mut c_void,
    ) -> c_int {
        // SAFETY: These are the callback's own arguments.
        let mut visitor = unsafe { DeviceVisitor::from_raw(ti, callout, data) };
        // SAFETY: `ti` is constructed.
        match unsafe { Self::target(ti) }.iterate_devices(&mut visitor) {
            Ok(()) => 0,
            Err(Stop(code)) => code,
        }
    }

    /// # Safety
    ///
    /// To be called by device-mapper's core with a constructed target and valid limits.
    unsafe extern "C" fn io_hints(
        ti: *mut bindings::dm_target,
        limits: *mut bindings::queue_limits,
    ) {
        // SAFETY: These are the callback's own arguments.
        let mut limits = unsafe { Limits::from_raw(limits) };
        // SAFETY: `ti` is constructed.
        unsafe { Self::target(ti) }.io_hints(&mut limits);
    }
}
