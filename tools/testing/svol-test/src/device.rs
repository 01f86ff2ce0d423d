// SPDX-License-Identifier: GPL-2.0

//! A block device opened for direct I/O.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use crate::error::{Error, Result};
use crate::pattern::SECTOR;
use crate::sys::{self, Mode};

/// Bytes in a page.
const PAGE: usize = 4096;

/// How to open a device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    /// Read and write, and nobody else may hold the device.
    Exclusive,
}

/// An open block device.
pub(crate) struct Device {
    path: String,
    file: File,
    bytes: u64,
    block: usize,
}

impl Device {
    /// Opens the device with O_DIRECT.
    pub(crate) fn open(path: &str, access: Access) -> Result<Self> {
        Self::open_with(path, access, libc::O_DIRECT)
    }

    /// Opens the device for I/O through the page cache.
    pub(crate) fn open_buffered(path: &str, access: Access) -> Result<Self> {
        Self::open_with(path, access, 0)
    }

    fn open_with(path: &str, access: Access, flags: libc::c_int) -> Result<Self> {
        let flags = match access {
            Access::Exclusive => flags | libc::O_EXCL,
            Access::Read | Access::Write => flags,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(access != Access::Read)
            .custom_flags(flags)
            .open(path)
            .map_err(|e| Error::io(path, &e))?;
        let bytes = sys::device_size(&file).map_err(|e| Error::io(path, &e))?;
        let block = sys::logical_block(&file).map_err(|e| Error::io(path, &e))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            bytes,
            block,
        })
    }

    /// The path it was opened by.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Size in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Size in sectors of 512 bytes.
    pub(crate) fn sectors(&self) -> u64 {
        self.bytes / SECTOR as u64
    }

    /// Logical block size in bytes.
    pub(crate) fn block(&self) -> usize {
        self.block
    }

    /// Reads exactly this range; a short read is an error.
    pub(crate) fn read(&self, into: &mut [u8], at: u64, mode: Mode) -> io::Result<()> {
        let wanted = into.len();
        whole(sys::read_at(&self.file, into, at, mode)?, wanted)
    }

    /// Writes exactly this range; a short write is an error.
    pub(crate) fn write(&self, from: &[u8], at: u64, mode: Mode) -> io::Result<()> {
        whole(sys::write_at(&self.file, from, at, mode)?, from.len())
    }

    /// As [`Self::read`], with each sector in a vector and a page of its own.
    pub(crate) fn read_scattered(&self, into: &mut [u8], at: u64, mode: Mode) -> io::Result<()> {
        let mut pages = sys::Buffer::new(into.len() / SECTOR * PAGE);
        let mut parts: Vec<&mut [u8]> = pages
            .chunks_exact_mut(PAGE)
            .map(|page| &mut page[..SECTOR])
            .collect();
        let done = sys::read_all_at(&self.file, &mut parts, at, mode)?;
        for (page, sector) in pages.chunks_exact(PAGE).zip(into.chunks_exact_mut(SECTOR)) {
            sector.copy_from_slice(&page[..SECTOR]);
        }
        whole(done, into.len())
    }

    /// As [`Self::write`], with each sector in a vector and a page of its own: devices that take
    /// whole pages can't take it as it is.
    pub(crate) fn write_scattered(&self, from: &[u8], at: u64, mode: Mode) -> io::Result<()> {
        let mut pages = sys::Buffer::new(from.len() / SECTOR * PAGE);
        for (page, sector) in pages.chunks_exact_mut(PAGE).zip(from.chunks_exact(SECTOR)) {
            page[..SECTOR].copy_from_slice(sector);
        }
        let parts: Vec<&[u8]> = pages
            .chunks_exact(PAGE)
            .map(|page| &page[..SECTOR])
            .collect();
        whole(sys::write_all_at(&self.file, &parts, at, mode)?, from.len())
    }

    /// Flushes the device's cache.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Zeroes a range.
    pub(crate) fn zero(&self, start: u64, len: u64) -> io::Result<()> {
        sys::zero_range(&self.file, start, len)
    }

    /// Discards a range.
    pub(crate) fn discard(&self, start: u64, len: u64) -> io::Result<()> {
        sys::discard_range(&self.file, start, len)
    }

    /// Zeroes a range and gives its space back.
    pub(crate) fn punch(&self, start: u64, len: u64) -> io::Result<()> {
        sys::punch_hole(&self.file, start, len)
    }

    /// An error with the device's name in front.
    pub(crate) fn error(&self, doing: &str, e: &io::Error) -> Error {
        Error::new(format!(
            "{}: {doing}: {} ({e})",
            self.path,
            sys::errno_name(e)
        ))
    }

    /// Calls `each` with every chunk of the device in sequence.
    pub(crate) fn for_each_chunk(
        &self,
        chunk: usize,
        mut each: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut buffer = sys::Buffer::new(chunk);
        let mut at = 0;
        while at < self.bytes {
            let len = chunk_len(chunk, self.bytes - at);
            let part = &mut buffer[..len];
            self.read(part, at, Mode::Plain)
                .map_err(|e| self.error(&format!("read of {len} bytes at {at}"), &e))?;
            each(at, part)?;
            at += len as u64;
        }
        Ok(())
    }
}

/// The length of the next chunk when `left` bytes are left.
pub(crate) fn chunk_len(chunk: usize, left: u64) -> usize {
    usize::try_from(left).map_or(chunk, |left| left.min(chunk))
}

fn whole(done: usize, wanted: usize) -> io::Result<()> {
    if done == wanted {
        Ok(())
    } else {
        let message = format!("{done} of {wanted} bytes done");
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, message))
    }
}
