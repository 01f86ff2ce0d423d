// SPDX-License-Identifier: GPL-2.0

//! A device, or an image of one, that is only read.

use anyhow::{bail, Context, Result};
use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom},
    os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt},
    path::Path,
};
use svol_core::svol_core::store::SECTOR_BYTES;

pub(crate) struct Device {
    file: File,
    bytes: u64,
}

impl Device {
    /// Opens it. A block device that anybody uses is refused: what it holds may change at any
    /// moment.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let context = || format!("cannot open {}", path.display());
        let kind = std::fs::metadata(path).with_context(context)?.file_type();
        let is_block = kind.is_block_device();
        if !is_block && !kind.is_file() {
            bail!("{} is neither a block device nor a file", path.display());
        }
        let mut options = OpenOptions::new();
        options.read(true);
        if is_block {
            options.custom_flags(libc::O_EXCL);
        }
        let mut file = options.open(path).map_err(|error| {
            let in_use = error.raw_os_error() == Some(libc::EBUSY);
            let error = anyhow::Error::new(error).context(context());
            if in_use {
                error.context("the device is in use; stop its group, or unmount it, first")
            } else {
                error
            }
        })?;
        // Somebody may have put something else there meanwhile.
        if file.metadata().with_context(context)?.file_type() != kind {
            bail!("{} has just changed", path.display());
        }
        let bytes = file.seek(SeekFrom::End(0)).with_context(context)?;
        Ok(Self { file, bytes })
    }

    /// Its length, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its length, in sectors.
    pub(crate) fn sectors(&self) -> u64 {
        self.bytes / 512
    }

    /// Fills a buffer.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let result = self.file.read_exact_at(buffer, offset);
        result.map_err(|error| match error.kind() {
            // Its own text is about buffers.
            io::ErrorKind::UnexpectedEof => {
                io::Error::new(error.kind(), format!("the device ends at {}", self.bytes))
            }
            _ => error,
        })
    }

    /// Fills a buffer that is sectors long; gives those that cannot be read.
    pub(crate) fn read_sectors(&self, offset: u64, buffer: &mut [u8]) -> Vec<usize> {
        let mut bad = Vec::new();
        if self.read(offset, buffer).is_err() {
            let mut at = offset;
            for (index, sector) in buffer.chunks_mut(SECTOR_BYTES).enumerate() {
                if self.read(at, sector).is_err() {
                    sector.fill(0);
                    bad.push(index);
                }
                at = at.saturating_add(512);
            }
        }
        bad
    }
}
