// SPDX-License-Identifier: GPL-2.0

//! The device-mapper control interface (`/dev/mapper/control`), spoken directly:
//! a fuzzer must be able to send what dmsetup would not.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

use crate::error::{Error, Result};
use crate::sys;

const HEADER: usize = 312;
const TARGET_SPEC: usize = 40;
const ANSWER: usize = 64 * 1024;

const DEV_CREATE: u32 = 3;
const DEV_REMOVE: u32 = 4;
const DEV_SUSPEND: u32 = 6;
const TABLE_LOAD: u32 = 9;
const TABLE_CLEAR: u32 = 10;
const TABLE_STATUS: u32 = 12;
const TARGET_MSG: u32 = 14;

const FLAG_SUSPEND: u32 = 1 << 1;
const FLAG_STATUS_TABLE: u32 = 1 << 4;
const FLAG_BUFFER_FULL: u32 = 1 << 8;
const FLAG_QUERY_INACTIVE: u32 = 1 << 12;
const FLAG_DATA_OUT: u32 = 1 << 16;

const AT_DATA_SIZE: usize = 12;
const AT_DATA_START: usize = 16;
const AT_TARGET_COUNT: usize = 20;
const AT_FLAGS: usize = 28;
const AT_NAME: usize = 48;
const NAME_LEN: usize = 128;

/// One target of a table.
pub(crate) struct Target<'a> {
    pub(crate) start: u64,
    pub(crate) len: u64,
    pub(crate) kind: &'a str,
    pub(crate) params: &'a [u8],
}

impl<'a> Target<'a> {
    /// From a line "<start> <len> <type> <params>".
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self> {
        let bad = || Error::new(format!("no table line: {}", line.escape_ascii()));
        let mut words = line.splitn(4, |byte| *byte == b' ');
        let mut word = || words.next().unwrap_or_default();
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| bad());
        Ok(Self {
            start: text(word())?.parse().map_err(|_| bad())?,
            len: text(word())?.parse().map_err(|_| bad())?,
            kind: text(word())?,
            params: word(),
        })
    }
}

/// Which answer of a target is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// STATUSTYPE_INFO of the live table.
    Info,
    /// STATUSTYPE_TABLE of the live table.
    Table,
    /// STATUSTYPE_TABLE of the table that is loaded but not resumed.
    InactiveTable,
}

/// The control device.
pub(crate) struct Control {
    device: File,
    faults: Option<Faults>,
}

/// The kernel's way to have one allocation of this thread fail.
struct Faults {
    file: File,
    next: Cell<u32>,
    hit: Cell<bool>,
}

impl Faults {
    fn write(&self, number: u32) -> io::Result<()> {
        self.file.write_all_at(number.to_string().as_bytes(), 0)
    }

    /// What was left of the number, without a failure any more.
    fn take(&self) -> io::Result<u32> {
        let mut text = [0; 16];
        let len = self.file.read_at(&mut text, 0)?;
        self.write(0)?;
        let text = std::str::from_utf8(text.get(..len).unwrap_or_default()).unwrap_or_default();
        let number = text.trim().parse();
        number.map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
    }
}

fn open(path: &str) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    file.map_err(|e| Error::io(path, &e))
}

impl Control {
    /// Opens the control device.
    pub(crate) fn open() -> Result<Self> {
        Ok(Self {
            device: open("/dev/mapper/control")?,
            faults: None,
        })
    }

    /// Opens the control device, to have allocations fail. Only for the main thread.
    pub(crate) fn open_with_faults() -> Result<Self> {
        Ok(Self {
            device: open("/dev/mapper/control")?,
            faults: Some(Faults {
                file: open("/proc/self/fail-nth")?,
                next: Cell::new(0),
                hit: Cell::new(false),
            }),
        })
    }

    /// Does something while the allocation of this number, from 1 on, fails in the kernel. The flag
    /// says whether there was one.
    pub(crate) fn with_fault<T>(&self, number: u32, what: impl FnOnce(&Self) -> T) -> (T, bool) {
        let Some(faults) = &self.faults else {
            return (what(self), false);
        };
        faults.next.set(number);
        faults.hit.set(false);
        let done = what(self);
        faults.next.set(0);
        (done, faults.hit.get())
    }

    /// The ioctl itself: all memory that the caller needs is there by now.
    fn ioctl(&self, request: u32, words: &mut [u64]) -> io::Result<()> {
        let Some(faults) = self.faults.as_ref().filter(|f| f.next.get() > 0) else {
            return sys::ioctl_words(&self.device, request, words);
        };
        faults.write(faults.next.get())?;
        let done = sys::ioctl_words(&self.device, request, words);
        let left = faults.take()?;
        faults.hit.set(left == 0);
        done
    }

    /// Makes a device without a table.
    pub(crate) fn create(&self, name: &str) -> io::Result<()> {
        self.call(DEV_CREATE, name, 0, 0, &[]).map(|_| ())
    }

    /// Removes a device.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        self.call(DEV_REMOVE, name, 0, 0, &[]).map(|_| ())
    }

    /// Suspends a device, with a flush.
    pub(crate) fn suspend(&self, name: &str) -> io::Result<()> {
        self.call(DEV_SUSPEND, name, FLAG_SUSPEND, 0, &[])
            .map(|_| ())
    }

    /// Resumes a device, which makes a loaded table live.
    pub(crate) fn resume(&self, name: &str) -> io::Result<()> {
        self.call(DEV_SUSPEND, name, 0, 0, &[]).map(|_| ())
    }

    /// Loads a table of one target.
    pub(crate) fn load(&self, name: &str, target: &Target<'_>) -> io::Result<()> {
        let len = (TARGET_SPEC + target.params.len() + 1).next_multiple_of(8);
        let next = u32::try_from(len).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
        let mut data = Vec::with_capacity(len);
        data.extend_from_slice(&target.start.to_ne_bytes());
        data.extend_from_slice(&target.len.to_ne_bytes());
        data.extend_from_slice(&0i32.to_ne_bytes());
        data.extend_from_slice(&next.to_ne_bytes());
        let mut kind = [0u8; 16];
        for (out, byte) in kind.iter_mut().take(15).zip(target.kind.bytes()) {
            *out = byte;
        }
        data.extend_from_slice(&kind);
        data.extend_from_slice(target.params);
        data.resize(len, 0);
        self.call(TABLE_LOAD, name, 0, 1, &data).map(|_| ())
    }

    /// Drops a loaded table.
    pub(crate) fn clear(&self, name: &str) -> io::Result<()> {
        self.call(TABLE_CLEAR, name, 0, 0, &[]).map(|_| ())
    }

    /// The answer of the first target.
    pub(crate) fn status(&self, name: &str, ask: Ask) -> io::Result<Vec<u8>> {
        let flags = match ask {
            Ask::Info => 0,
            Ask::Table => FLAG_STATUS_TABLE,
            Ask::InactiveTable => FLAG_STATUS_TABLE | FLAG_QUERY_INACTIVE,
        };
        let (flags, data) = self.call(TABLE_STATUS, name, flags, 0, &[])?;
        if flags & FLAG_BUFFER_FULL != 0 {
            return Err(io::Error::from_raw_os_error(libc::E2BIG));
        }
        Ok(string_at(&data, TARGET_SPEC))
    }

    /// Sends a message to sector 0; the answer is empty if the target gave none.
    pub(crate) fn message(&self, name: &str, message: &[u8]) -> io::Result<Vec<u8>> {
        let mut data = vec![0; 8];
        data.extend_from_slice(message);
        data.push(0);
        let (flags, answer) = self.call(TARGET_MSG, name, 0, 0, &data)?;
        Ok(if flags & FLAG_DATA_OUT != 0 {
            string_at(&answer, 0)
        } else {
            Vec::new()
        })
    }

    /// One ioctl: gives the flags and the data of the answer.
    fn call(
        &self,
        command: u32,
        name: &str,
        flags: u32,
        targets: u32,
        data: &[u8],
    ) -> io::Result<(u32, Vec<u8>)> {
        let too_big = || io::Error::from_raw_os_error(libc::E2BIG);
        let name_bytes = name.as_bytes();
        if name_bytes.len() >= NAME_LEN {
            return Err(too_big());
        }
        let size = (HEADER + data.len().max(ANSWER)).next_multiple_of(8);
        let size_u32 = u32::try_from(size).map_err(|_| too_big())?;
        let mut bytes = vec![0u8; size];
        let mut put = |at: usize, value: u32| {
            bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        };
        put(0, 4);
        put(AT_DATA_SIZE, size_u32);
        put(AT_DATA_START, HEADER as u32);
        put(AT_TARGET_COUNT, targets);
        put(AT_FLAGS, flags);
        bytes[AT_NAME..AT_NAME + name_bytes.len()].copy_from_slice(name_bytes);
        bytes[HEADER..HEADER + data.len()].copy_from_slice(data);

        let mut words: Vec<u64> = bytes
            .chunks_exact(8)
            .map(|chunk| chunk.try_into().map_or(0, u64::from_ne_bytes))
            .collect();
        let request = (3 << 30) | ((HEADER as u32) << 16) | (0xfd << 8) | command;
        self.ioctl(request, &mut words)?;

        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let get = |at: usize| {
            let field = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
            field.map_or(0, u32::from_ne_bytes)
        };
        let start = get(AT_DATA_START) as usize;
        let end = (get(AT_DATA_SIZE) as usize).min(bytes.len());
        let answer = bytes
            .get(start..end.max(start))
            .unwrap_or_default()
            .to_vec();
        Ok((get(AT_FLAGS), answer))
    }
}

fn string_at(data: &[u8], at: usize) -> Vec<u8> {
    let tail = data.get(at..).unwrap_or_default();
    tail.iter().copied().take_while(|b| *b != 0).collect()
}
