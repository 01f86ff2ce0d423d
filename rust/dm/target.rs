// SPDX-License-Identifier: GPL-2.0

//! The trait that targets implement, and their construction.

use super::{
    anchor::AnchorWait,
    bindings,
    bio::{
        Bio,
        Mapped, //
    },
    device::{
        device_number,
        Device,
        Mode, //
    },
    ended::{
        EndIo,
        Ended, //
    },
    event::Event,
    limits::{
        DeviceVisitor,
        Limits,
        Stop, //
    },
    live::{
        Live,
        Quiesced, //
    },
    mapped_device::{
        DeviceNumber,
        MappedDevice, //
    },
    provider::Membership,
    writer::Writer, //
};
use core::{
    fmt::Write as _,
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    error::{
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    prelude::*,
    str::NullTerminatedFormatter,
    sync::Arc, //
};

/// Buffer size for a device number as text, with its NUL.
const NUMBER_BYTES: usize = 24;

/// Feature bits of a target type (`DM_TARGET_*`).
#[derive(Clone, Copy)]
pub(crate) struct Features(pub(super) u64);

impl Features {
    /// The target must be alone in its table.
    pub(crate) const SINGLETON: Self = Self(bindings::DM_TARGET_SINGLETON as u64);
    /// `map` never sleeps, so `REQ_NOWAIT` may be passed on.
    pub(crate) const NOWAIT: Self = Self(bindings::DM_TARGET_NOWAIT as u64);

    /// Both sets of features.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Why a constructor failed.
pub(crate) struct SetupError {
    /// For the kernel log; names the argument.
    pub(crate) reason: &'static CStr,
    /// For the caller of the ioctl.
    pub(crate) error: Error,
}

impl SetupError {
    /// An error with its reason.
    pub(crate) fn new(reason: &'static CStr, error: Error) -> Self {
        Self { reason, error }
    }
}

impl From<Error> for SetupError {
    fn from(error: Error) -> Self {
        Self::new(c"Out of memory or internal error", error)
    }
}

impl From<kernel::alloc::AllocError> for SetupError {
    fn from(_: kernel::alloc::AllocError) -> Self {
        Self::new(c"Out of memory", ENOMEM)
    }
}

/// Which status is wanted (`status_type_t`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatusKind {
    /// The state, as `dmsetup status` shows it.
    Info,
    /// The table line, in a form that can be loaded again.
    Table,
    /// For the measurement log of IMA: `key=value` pairs.
    Ima,
}

/// A device-mapper target; one value is one line of a loaded table.
///
/// See [`super`] for the contexts of the callbacks.
#[vtable]
pub(crate) trait Target: Sized + Send + Sync + 'static {
    /// Data kept with each bio in flight; starts as its default.
    type PerBio: Copy + Default + Send;
    /// Module data that all targets share.
    type Module: Send + Sync + 'static;

    /// Name in table lines.
    const NAME: &'static CStr;
    /// Version, for `dmsetup targets`.
    const VERSION: [u32; 3];
    /// Feature bits.
    const FEATURES: Features;

    /// Constructor of a table line; `words` are what follows the target's name. They need not be
    /// UTF-8.
    ///
    /// - May sleep; the mapped device may be in use under another table.
    /// - Must not change the devices: it is not known yet whether the table will become live.
    fn new(
        setup: &mut Setup<'_>,
        module: &Arc<Self::Module>,
        words: &[&[u8]],
    ) -> Result<Self, SetupError>;

    /// Decides where a bio goes.
    ///
    /// - Runs in the submitter's context, on all CPUs at once; must not sleep.
    fn map<'a>(&self, live: &Live<'a>, bio: Bio<'a, Self::PerBio>) -> Mapped;

    /// A bio has ended at the device that it was sent to, or at all of them if there are several.
    ///
    /// - May run in interrupt context; must not sleep.
    fn end_io(&self, live: &Live<'_>, ended: Ended<'_, Self::PerBio>) -> EndIo;

    /// The mapped device is about to be suspended; bios still arrive.
    ///
    /// - May sleep; allocations must not start I/O.
    ///
    /// If `noflush` is true, bios may be requeued with [`Status::REQUEUE`] from now on.
    ///
    /// [`Status::REQUEUE`]: super::Status::REQUEUE
    fn presuspend(&self, _noflush: bool) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The suspend was aborted.
    ///
    /// - As [`Target::presuspend`].
    fn presuspend_undo(&self) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The mapped device is suspended.
    ///
    /// - As [`Target::presuspend`].
    fn postsuspend(&self, _quiesced: &Quiesced<'_>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The table is about to get bios; `flushes` changes the number of bios per flush.
    ///
    /// - As [`Target::presuspend`].
    ///
    /// # Errors
    ///
    /// An error leaves the device suspended, with this table.
    fn preresume(&self, _live: &Live<'_>, _flushes: &mut FlushBios<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The table gets bios from now on.
    ///
    /// - As [`Target::presuspend`].
    fn resume(&self, _live: &Live<'_>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes the status.
    ///
    /// - May sleep, but not for I/O: scripts poll it.
    ///
    /// # Errors
    ///
    /// Only those of the writer: the text does not fit.
    fn status(&self, kind: StatusKind, out: &mut Writer<'_>) -> core::fmt::Result;

    /// Handles a message from user space; a non-empty reply is passed to the sender.
    ///
    /// - May sleep. Any number of messages may run at once.
    ///
    /// # Errors
    ///
    /// Returned by the sender's ioctl.
    fn message(&self, _words: &[&[u8]], _reply: &mut Writer<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Shows the devices that the target may send I/O to.
    ///
    /// - May sleep.
    ///
    /// # Errors
    ///
    /// Those of the visitor, unchanged.
    fn iterate_devices(&self, visitor: &mut DeviceVisitor<'_>) -> Result<(), Stop>;

    /// Adjusts the queue limits, after device-mapper has combined those of the devices.
    ///
    /// - May sleep.
    fn io_hints(&self, _limits: &mut Limits<'_>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// A target under construction.
///
/// # Invariants
///
/// `ti` is the target whose constructor is running.
pub(crate) struct Setup<'a> {
    ti: NonNull<bindings::dm_target>,
    pub(super) anchor: &'a AnchorWait,
    /// All devices opened so far.
    pub(super) devices: KVec<NonNull<bindings::dm_dev>>,
    /// The providers that it is a client of.
    pub(super) memberships: KVec<Membership>,
    /// No other target shares its table.
    is_alone: bool,
}

impl<'a> Setup<'a> {
    /// # Safety
    ///
    /// `ti` must be the target whose constructor is running. After the target is gone, the caller
    /// waits for `anchor`, then drops `memberships`, and closes `devices`. `features` must be those
    /// of its type.
    pub(super) unsafe fn new(
        ti: NonNull<bindings::dm_target>,
        anchor: &'a AnchorWait,
        features: Features,
    ) -> Self {
        // INVARIANT: By the function's contract.
        Self {
            ti,
            anchor,
            devices: KVec::new(),
            memberships: KVec::new(),
            is_alone: features.0 & Features::SINGLETON.0 != 0,
        }
    }

    /// Length of the target in sectors.
    pub(crate) fn sectors(&self) -> u64 {
        // SAFETY: Valid by the type invariants.
        unsafe { (*self.ti.as_ptr()).len }
    }

    /// Whether the table is loaded for writing.
    pub(crate) fn is_writable(&self) -> bool {
        // SAFETY: Valid by the type invariants, with a table.
        let mode = unsafe { bindings::dm_table_get_mode((*self.ti.as_ptr()).table) };
        mode & bindings::DMR_OPEN_WRITE != 0
    }

    /// Number of the mapped device that the table is for.
    pub(crate) fn number(&self) -> DeviceNumber {
        // SAFETY: Valid by the type invariants; the mapped device lives longer than its tables.
        unsafe { self.mapped_device().number() }
    }

    pub(super) fn mapped_device(&self) -> MappedDevice {
        // SAFETY: Valid by the type invariants, with a table.
        unsafe { MappedDevice::of(self.ti.as_ptr()) }
    }

    /// Opens a device by its path or `major:minor`, and claims it for device-mapper. May sleep.
    ///
    /// A target can open each device only once. When a table opens a device again with more rights,
    /// device-mapper replaces the old `dm_dev` and frees it, while the target that opened the
    /// device first still uses it. So a target that may share its table (without
    /// [`Features::SINGLETON`]) has to open with [`Mode::Table`], to which no rights can be added.
    ///
    /// # Errors
    ///
    /// `EBUSY` if something other than device-mapper has claimed it; `EEXIST` if this target has
    /// opened it already; `EINVAL` if it is the mapped device itself, or if a target that may share
    /// its table does not use [`Mode::Table`]; `ENODEV`, `ENOENT`, `ENOTBLK` ... if there is no
    /// such device.
    pub(crate) fn device(&mut self, path: &[u8], mode: Mode) -> Result<Device> {
        if mode != Mode::Table && !self.is_alone {
            return Err(EINVAL);
        }
        let number = device_number(path)?;
        let is_open = |dev: &NonNull<bindings::dm_dev>| {
            // SAFETY: All of `devices` are open.
            let bdev = unsafe { dev.as_ref() }.bdev;
            // SAFETY: An open device's `block_device` is valid.
            DeviceNumber(unsafe { bindings::dmr_bdev_dev(bdev) }) == number
        };
        if self.devices.iter().any(is_open) {
            return Err(EEXIST);
        }
        let mode = match mode {
            Mode::Read => bindings::DMR_OPEN_READ,
            Mode::ReadWrite => bindings::DMR_OPEN_READ | bindings::DMR_OPEN_WRITE,
            // SAFETY: Valid by the type invariants, with a table.
            Mode::Table => unsafe { bindings::dm_table_get_mode((*self.ti.as_ptr()).table) },
        };
        // By its number, since the path may refer to another device by now.
        let mut name = KVec::with_capacity(NUMBER_BYTES, GFP_KERNEL)?;
        name.resize(NUMBER_BYTES, 0, GFP_KERNEL)?;
        let mut text = NullTerminatedFormatter::new(&mut name).ok_or(EINVAL)?;
        write!(text, "{number}").map_err(|_| EINVAL)?;
        // First, so that nothing can fail once the device is open.
        self.devices.reserve(1, GFP_KERNEL)?;

        let mut dev = core::ptr::null_mut();
        // SAFETY: The target is under construction by the type invariants, the name ends with a
        // NUL, and the other arguments are valid for the call.
        to_result(unsafe {
            bindings::dm_get_device(self.ti.as_ptr(), name.as_ptr().cast(), mode, &mut dev)
        })?;
        let dev = NonNull::new(dev).ok_or(ENODEV)?;
        self.devices.push_within_capacity(dev).map_err(|_| ENOMEM)?;
        // SAFETY: The device is closed only after the last holder of the anchor is gone. The
        // `dm_dev` is not replaced: this target opens it once, and other targets in the table, if
        // there can be any, open it with no more rights than the table's.
        Ok(unsafe { Device::from_raw(dev, self.anchor.hold()) })
    }

    /// A handle that raises events of the table.
    pub(crate) fn event(&self) -> Event {
        // SAFETY: A table outlives its targets, and the destructor of this one waits for the
        // anchor.
        unsafe { Event::from_raw((*self.ti.as_ptr()).table, self.anchor.hold()) }
    }

    /// Asks for `count` bios per flush, even if no device below needs flushes. See also
    /// [`FlushBios`].
    pub(crate) fn take_flushes(&mut self, count: u32) {
        // SAFETY: Valid by the type invariants, and ours during construction.
        unsafe {
            (*self.ti.as_ptr()).num_flush_bios = count;
            (*self.ti.as_ptr()).set_flush_supported(true);
        }
    }

    /// Asks for discards, if the devices below support them.
    pub(crate) fn take_discards(&mut self) {
        // SAFETY: Valid by the type invariants, and ours during construction.
        unsafe { (*self.ti.as_ptr()).num_discard_bios = 1 };
    }

    /// Asks for discards, even if the devices below do not support them.
    pub(crate) fn take_all_discards(&mut self) {
        self.take_discards();
        // SAFETY: Valid by the type invariants, and ours during construction.
        unsafe { (*self.ti.as_ptr()).set_discards_supported(true) };
    }

    /// Asks for writes of zeroes, if the devices below support them.
    pub(crate) fn take_write_zeroes(&mut self) {
        // SAFETY: Valid by the type invariants, and ours during construction.
        unsafe { (*self.ti.as_ptr()).num_write_zeroes_bios = 1 };
    }

    pub(super) fn set_per_bio_size(&mut self, bytes: u32) {
        // SAFETY: Valid by the type invariants, and ours during construction.
        unsafe {
            (*self.ti.as_ptr()).per_io_data_size = bytes;
            // Otherwise dm accesses a parked clone after `map`, when it may have ended already.
            (*self.ti.as_ptr()).set_accounts_remapped_io(true);
        }
    }
}

/// The number of bios per flush of a target. It can be changed while the device is suspended.
///
/// # Invariants
///
/// `ti` is a target that is about to be resumed, and gets no bio meanwhile; its constructor asked
/// for `most` bios per flush.
pub(crate) struct FlushBios<'a> {
    ti: NonNull<bindings::dm_target>,
    most: u32,
    _suspended: PhantomData<&'a mut ()>,
}

impl FlushBios<'_> {
    /// # Safety
    ///
    /// While this is in use, the target must get no bio, and nobody else may access it. `most` must
    /// be what its constructor asked for.
    pub(super) unsafe fn from_raw(ti: NonNull<bindings::dm_target>, most: u32) -> Self {
        // INVARIANT: By the function's contract.
        Self {
            ti,
            most,
            _suspended: PhantomData,
        }
    }

    /// Sets it, to at most what the constructor asked for: that is how many bios device-mapper
    /// reserves.
    pub(crate) fn set(&mut self, count: u32) {
        // SAFETY: By the type invariants, the target is valid, and device-mapper, which reads this
        // when it sends a flush, sends none. It has reserved enough bios.
        unsafe { (*self.ti.as_ptr()).num_flush_bios = count.min(self.most) };
    }
}
