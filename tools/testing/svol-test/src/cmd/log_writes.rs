// SPDX-License-Identifier: GPL-2.0

//! `log-writes`: replays a log of the dm-log-writes target up to any entry,
//! which gives every state that a power cut could have left behind.

use crate::args::Args;
use crate::device::{Access, Device};
use crate::error::{Error, Result};
use crate::pattern::SECTOR;
use crate::sys::{Buffer, Mode};

/// Bytes of an entry before the text of a mark.
const HEADER: u64 = 32;
const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLAG_FLUSH: u64 = 1 << 0;
const FLAG_FUA: u64 = 1 << 1;
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
    /// The text of a mark.
    mark: String,
}

impl Entry {
    /// What it is for those who look for points to stop at.
    fn name(&self) -> Option<String> {
        if self.flags & FLAG_MARK != 0 {
            Some(format!("mark {}", self.mark))
        } else if self.flags & FLAG_FLUSH != 0 {
            Some("flush".to_owned())
        } else if self.flags & FLAG_FUA != 0 {
            Some("fua".to_owned())
        } else {
            None
        }
    }
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
        let text = field(&buffer, 3).min(self.unit - HEADER) as usize;
        let text = buffer.get(HEADER as usize..HEADER as usize + text);
        let entry = Entry {
            sector: field(&buffer, 0),
            sectors: field(&buffer, 1),
            flags: field(&buffer, 2),
            data: self.at + self.unit,
            mark: String::from_utf8_lossy(text.unwrap_or_default())
                .trim_end_matches('\0')
                .to_owned(),
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
    let marks = args.flag("marks");
    let from: u64 = args.opt_or("from", 0)?;
    let entries: Option<u64> = args.opt("entries")?;
    let to: Option<String> = args.opt("to")?;
    let mut log = Log::open(&args.finish_one("log device")?)?;
    if count_only {
        println!("{}", log.entries);
        return Ok(());
    }
    if marks {
        for number in 1..=log.entries {
            if let Some(name) = log.next()?.name() {
                println!("{number} {name}");
            }
        }
        return Ok(());
    }
    let Some(to) = to else {
        return Err(Error::new("--to DEV is needed"));
    };
    let to = Device::open(&to, Access::Write)?;
    for number in 0..entries.unwrap_or(log.entries).min(log.entries) {
        let entry = log.next()?;
        if number >= from {
            log.replay(&entry, &to)?;
        }
    }
    to.flush().map_err(|e| to.error("flush", &e))
}
