// SPDX-License-Identifier: GPL-2.0

//! `log-writes`: replays a log of the dm-log-writes target up to any entry,
//! which gives every state that a power cut could have left behind.

use crate::args::Args;
use crate::device::{Access, Device};
use crate::error::{Error, Result};
use crate::pattern::SECTOR;
use crate::sys::{Buffer, Mode};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLAG_DISCARD: u64 = 1 << 2;
const FLAG_MARK: u64 = 1 << 3;

fn field(bytes: &[u8], index: usize) -> u64 {
    let field = bytes.get(index * 8..index * 8 + 8);
    field
        .and_then(|b| b.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

/// One entry of the log, with the place of its data in the log.
struct Entry {
    sector: u64,
    sectors: u64,
    flags: u64,
    data: u64,
}

/// Walks over the entries; places and lengths are in units of the log's sector size.
struct Log {
    device: Device,
    unit: u64,
    entries: u64,
    at: u64,
}

impl Log {
    fn open(path: &str) -> Result<Self> {
        let device = Device::open(path, Access::Read)?;
        let mut buffer = Buffer::new(device.block().max(SECTOR));
        device
            .read(&mut buffer, 0, Mode::Plain)
            .map_err(|e| device.error("read of the super block", &e))?;
        if field(&buffer, 0) != MAGIC || field(&buffer, 1) != 1 {
            return Err(Error::new(format!("{path} holds no dm-log-writes log")));
        }
        let entries = field(&buffer, 2);
        let unit = field(&buffer, 3) & 0xffff_ffff;
        if unit < SECTOR as u64 || !unit.is_power_of_two() {
            return Err(Error::new(format!("{path}: sector size {unit}")));
        }
        Ok(Self {
            device,
            unit,
            entries,
            at: unit,
        })
    }

    fn next(&mut self) -> Result<Entry> {
        let mut buffer = Buffer::new(self.unit as usize);
        self.device
            .read(&mut buffer, self.at, Mode::Plain)
            .map_err(|e| self.device.error("read of an entry", &e))?;
        let entry = Entry {
            sector: field(&buffer, 0),
            sectors: field(&buffer, 1),
            flags: field(&buffer, 2),
            data: self.at + self.unit,
        };
        self.at += self.unit;
        if entry.flags & FLAG_DISCARD == 0 {
            self.at += entry.sectors * self.unit;
        }
        Ok(entry)
    }

    fn replay(&self, entry: &Entry, to: &Device) -> Result<()> {
        if entry.flags & FLAG_MARK != 0 || entry.sectors == 0 {
            return Ok(());
        }
        let place = entry.sector * self.unit;
        let len = entry.sectors * self.unit;
        if entry.flags & FLAG_DISCARD != 0 {
            return to.zero(place, len).map_err(|e| to.error("discard", &e));
        }
        let mut buffer = Buffer::new(len as usize);
        self.device
            .read(&mut buffer, entry.data, Mode::Plain)
            .map_err(|e| self.device.error("read of data", &e))?;
        to.write(&buffer, place, Mode::Plain)
            .map_err(|e| to.error("write", &e))
    }
}

pub(crate) fn run(mut args: Args) -> Result<()> {
    let count_only = args.flag("count-only");
    let entries: Option<u64> = args.opt("entries")?;
    let to: Option<String> = args.opt("to")?;
    let mut log = Log::open(&args.finish_one("log device")?)?;
    if count_only {
        println!("{}", log.entries);
        return Ok(());
    }
    let Some(to) = to else {
        return Err(Error::new("--to DEV is needed"));
    };
    let to = Device::open(&to, Access::Write)?;
    for _ in 0..entries.unwrap_or(log.entries).min(log.entries) {
        let entry = log.next()?;
        log.replay(&entry, &to)?;
    }
    to.flush().map_err(|e| to.error("flush", &e))
}
