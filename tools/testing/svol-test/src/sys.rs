// SPDX-License-Identifier: GPL-2.0

//! The system calls that std does not wrap: the only file with `unsafe`.

use std::alloc::{alloc_zeroed, dealloc, handle_alloc_error, Layout};
use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

const BLKSSZGET: libc::Ioctl = 0x1268;
const BLKGETSIZE64: libc::Ioctl = 0x8008_1272;
const BLKDISCARD: libc::Ioctl = 0x1277;
const BLKZEROOUT: libc::Ioctl = 0x127f;

/// Bytes aligned for direct I/O.
pub(crate) struct Buffer {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: A buffer owns its memory, as a boxed slice does.
unsafe impl Send for Buffer {}

impl Buffer {
    /// Zeroed memory of `len` bytes, at least one.
    pub(crate) fn new(len: usize) -> Self {
        let layout = match Layout::from_size_align(len.max(1), 4096) {
            Ok(layout) => layout,
            Err(_) => panic!("a buffer of {len} bytes is too large"),
        };
        // SAFETY: The layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        match NonNull::new(start) {
            Some(start) => Self { start, layout },
            None => handle_alloc_error(layout),
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: `start` was allocated with this layout and is freed once.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` points to that many initialised bytes owned by self.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: As in `deref`, and self is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }
}

/// How a read or write is to be done beyond the plain call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing special.
    Plain,
    /// `RWF_NOWAIT`: fail with EAGAIN instead of waiting.
    NoWait,
    /// `RWF_DSYNC`: durable when it returns (FUA where the device has it).
    Dsync,
}

impl Mode {
    fn flags(self) -> libc::c_int {
        match self {
            Mode::Plain => 0,
            Mode::NoWait => libc::RWF_NOWAIT,
            Mode::Dsync => libc::RWF_DSYNC,
        }
    }
}

fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn offset(at: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(at).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))
}

fn count_of(vectors: &[libc::iovec]) -> io::Result<libc::c_int> {
    libc::c_int::try_from(vectors.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// `preadv2` into one buffer.
pub(crate) fn read_at(file: &File, into: &mut [u8], at: u64, mode: Mode) -> io::Result<usize> {
    read_all_at(file, &mut [into], at, mode)
}

/// `preadv2` into several buffers, one vector for each.
pub(crate) fn read_all_at(
    file: &File,
    into: &mut [&mut [u8]],
    at: u64,
    mode: Mode,
) -> io::Result<usize> {
    let vectors: Vec<libc::iovec> = into
        .iter_mut()
        .map(|part| libc::iovec {
            iov_base: part.as_mut_ptr().cast(),
            iov_len: part.len(),
        })
        .collect();
    let count = count_of(&vectors)?;
    let at = offset(at)?;
    // SAFETY: The vectors name writable slices that do not overlap, and outlive the call.
    check(unsafe { libc::preadv2(file.as_raw_fd(), vectors.as_ptr(), count, at, mode.flags()) })
}

/// `pwritev2` from one buffer.
pub(crate) fn write_at(file: &File, from: &[u8], at: u64, mode: Mode) -> io::Result<usize> {
    write_all_at(file, &[from], at, mode)
}

/// `pwritev2` from several buffers, one vector for each.
pub(crate) fn write_all_at(file: &File, from: &[&[u8]], at: u64, mode: Mode) -> io::Result<usize> {
    let vectors: Vec<libc::iovec> = from
        .iter()
        .map(|part| libc::iovec {
            iov_base: part.as_ptr().cast_mut().cast(),
            iov_len: part.len(),
        })
        .collect();
    let count = count_of(&vectors)?;
    let at = offset(at)?;
    // SAFETY: The vectors name readable slices that outlive the call, and a
    // write only reads from them.
    check(unsafe { libc::pwritev2(file.as_raw_fd(), vectors.as_ptr(), count, at, mode.flags()) })
}

/// The size of a block device in bytes.
pub(crate) fn device_size(file: &File) -> io::Result<u64> {
    let mut size = 0u64;
    // SAFETY: BLKGETSIZE64 writes one u64.
    let r = unsafe { libc::ioctl(file.as_raw_fd(), BLKGETSIZE64, &mut size) };
    check(r as isize).map(|_| size)
}

/// The logical block size of a block device in bytes.
pub(crate) fn logical_block(file: &File) -> io::Result<usize> {
    let mut size: libc::c_int = 0;
    // SAFETY: BLKSSZGET writes one int.
    let r = unsafe { libc::ioctl(file.as_raw_fd(), BLKSSZGET, &mut size) };
    check(r as isize)?;
    usize::try_from(size).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Zeroes a range of a block device.
pub(crate) fn zero_range(file: &File, start: u64, len: u64) -> io::Result<()> {
    let range = [start, len];
    // SAFETY: BLKZEROOUT reads two u64.
    let r = unsafe { libc::ioctl(file.as_raw_fd(), BLKZEROOUT, range.as_ptr()) };
    check(r as isize).map(|_| ())
}

/// Discards a range of a block device.
pub(crate) fn discard_range(file: &File, start: u64, len: u64) -> io::Result<()> {
    let range = [start, len];
    // SAFETY: BLKDISCARD reads two u64.
    let r = unsafe { libc::ioctl(file.as_raw_fd(), BLKDISCARD, range.as_ptr()) };
    check(r as isize).map(|_| ())
}

/// Zeroes a range of a block device by `fallocate`, which lets it give the space back.
pub(crate) fn punch_hole(file: &File, start: u64, len: u64) -> io::Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let (start, len) = (offset(start)?, offset(len)?);
    // SAFETY: The call takes numbers only.
    let r = unsafe { libc::fallocate(file.as_raw_fd(), mode, start, len) };
    check(r as isize).map(|_| ())
}

/// A read-write ioctl on 8-byte aligned memory whose own header tells its size.
pub(crate) fn ioctl_words(file: &File, request: u32, words: &mut [u64]) -> io::Result<()> {
    let request = libc::Ioctl::from(request);
    // SAFETY: The caller passes a device-mapper request, whose `data_size`
    // field the `dm` module sets to the length of `words`.
    let r = unsafe { libc::ioctl(file.as_raw_fd(), request, words.as_mut_ptr()) };
    check(r as isize).map(|_| ())
}

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn on_stop(_signal: libc::c_int) {
    STOP.store(true, Ordering::Relaxed);
}

/// From now on SIGTERM and SIGINT only set the flag that [`stopped`] reads.
pub(crate) fn catch_stop_signals() {
    let handler: extern "C" fn(libc::c_int) = on_stop;
    for signal in [libc::SIGTERM, libc::SIGINT] {
        // SAFETY: The handler only stores to an atomic. Without SA_RESTART a
        // blocking call returns EINTR, which is wanted.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as libc::sighandler_t;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

/// True once a stop signal came.
pub(crate) fn stopped() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// The symbolic name of an errno that a storage test can meet.
pub(crate) fn errno_name(e: &io::Error) -> String {
    let name = match e.raw_os_error() {
        Some(libc::EPERM) => "EPERM",
        Some(libc::ENOENT) => "ENOENT",
        Some(libc::EIO) => "EIO",
        Some(libc::ENXIO) => "ENXIO",
        Some(libc::E2BIG) => "E2BIG",
        Some(libc::EAGAIN) => "EAGAIN",
        Some(libc::ENOMEM) => "ENOMEM",
        Some(libc::EACCES) => "EACCES",
        Some(libc::EFAULT) => "EFAULT",
        Some(libc::ENOTBLK) => "ENOTBLK",
        Some(libc::EBUSY) => "EBUSY",
        Some(libc::EEXIST) => "EEXIST",
        Some(libc::ENODEV) => "ENODEV",
        Some(libc::EINVAL) => "EINVAL",
        Some(libc::ENOSPC) => "ENOSPC",
        Some(libc::EROFS) => "EROFS",
        Some(libc::ERANGE) => "ERANGE",
        Some(libc::ENAMETOOLONG) => "ENAMETOOLONG",
        Some(libc::EOVERFLOW) => "EOVERFLOW",
        Some(libc::EOPNOTSUPP) => "EOPNOTSUPP",
        Some(libc::EBADMSG) => "EBADMSG",
        Some(libc::EREMOTEIO) => "EREMOTEIO",
        Some(libc::ESTALE) => "ESTALE",
        Some(libc::EUCLEAN) => "EUCLEAN",
        Some(other) => return format!("errno{other}"),
        None => "EUNKNOWN",
    };
    name.to_owned()
}
