// SPDX-License-Identifier: GPL-2.0

//! What each sector of a volume may hold, while I/O of many threads is on its way
//! and after a crash.
//!
//! A sector has *candidates*, each of them a value that some write put there. One
//! dies when a write that began after it had ended has ended itself, or when a read
//! shows which one of several it is. A dead candidate may come back in a crash, until a
//! flush that began after its death has ended.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::error::{Error, Result};
use crate::pattern::{self, SECTOR};

/// What a sector can hold: the version of a write, or one of the two below.
pub(crate) type Value = u32;

/// The sector of the base image.
pub(crate) const BASE: Value = 0;

/// Zeroes.
pub(crate) const ZERO: Value = u32::MAX;

/// A moment that has not come yet.
const NEVER: u64 = u64::MAX;

/// Bytes of a candidate in a state file.
const RECORD: usize = 8;

/// In a state file: the candidate is dead, but a crash may bring it back.
const DEAD: u32 = 1;

#[derive(Clone, Copy)]
struct Candidate {
    value: Value,
    began: u64,
    ended: u64,
    died: u64,
    /// Not even a crash brings it back.
    gone: bool,
}

/// What the end of a write says about the values before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// They are replaced.
    Done,
    /// They are replaced, durably (FUA).
    Durable,
    /// They may have been replaced or not: the write failed, or it was a discard.
    Open,
}

/// An operation under way: the moment when it began, which nothing else shares.
#[derive(Clone, Copy)]
pub(crate) struct Ticket(u64);

/// The possible content of a volume.
pub(crate) struct History {
    base: u64,
    own: u64,
    sectors: Vec<Vec<Candidate>>,
    clock: u64,
    version: Value,
    /// When the last flush that succeeded began.
    floor: u64,
    active: BTreeSet<u64>,
}

impl History {
    /// A volume that holds the image of seed `base`; its own writes have seed `own`.
    pub(crate) fn new(base: u64, own: u64, sectors: u64) -> Self {
        let first = Candidate {
            value: BASE,
            began: 0,
            ended: 0,
            died: NEVER,
            gone: false,
        };
        Self {
            base,
            own,
            sectors: vec![vec![first]; usize::try_from(sectors).unwrap_or(0)],
            clock: 0,
            version: 0,
            floor: 0,
            active: BTreeSet::new(),
        }
    }

    /// Number of sectors.
    pub(crate) fn len(&self) -> usize {
        self.sectors.len()
    }

    fn now(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn begin(&mut self) -> Ticket {
        let now = self.now();
        self.active.insert(now);
        Ticket(now)
    }

    /// A version that was never used before.
    pub(crate) fn next_version(&mut self) -> Value {
        self.version += 1;
        self.version
    }

    /// Fills data for a write of this version at a sector.
    pub(crate) fn fill(own: u64, at: usize, version: Value, data: &mut [u8]) {
        for (index, sector) in data.chunks_exact_mut(SECTOR).enumerate() {
            pattern::fill(sector, own, (at + index) as u64, version);
        }
    }

    /// The seed of this volume's own writes.
    pub(crate) fn own(&self) -> u64 {
        self.own
    }

    /// A write, or anything else that may leave one of these values, is about to begin.
    pub(crate) fn begin_write(&mut self, at: usize, count: usize, values: &[Value]) -> Ticket {
        let ticket = self.begin();
        for sector in self.sectors.iter_mut().skip(at).take(count) {
            for value in values {
                sector.push(Candidate {
                    value: *value,
                    began: ticket.0,
                    ended: NEVER,
                    died: NEVER,
                    gone: false,
                });
            }
        }
        ticket
    }

    /// A write has ended.
    pub(crate) fn end_write(&mut self, ticket: Ticket, at: usize, count: usize, end: End) {
        let now = self.now();
        self.active.remove(&ticket.0);
        let oldest = self.active.first().copied().unwrap_or(NEVER);
        let floor = self.floor;
        for sector in self.sectors.iter_mut().skip(at).take(count) {
            for candidate in sector.iter_mut() {
                if candidate.began == ticket.0 {
                    candidate.ended = now;
                } else if candidate.ended < ticket.0 && end != End::Open {
                    candidate.died = candidate.died.min(now);
                    candidate.gone |= end == End::Durable;
                }
            }
            sector.retain(|c| c.died == NEVER || c.died > oldest || !(c.gone || c.died < floor));
        }
    }

    /// A flush is about to begin.
    pub(crate) fn begin_flush(&mut self) -> Ticket {
        self.begin()
    }

    /// A flush has ended.
    pub(crate) fn end_flush(&mut self, ticket: Ticket, good: bool) {
        self.active.remove(&ticket.0);
        if good {
            self.floor = self.floor.max(ticket.0);
        }
    }

    /// A read is about to begin.
    pub(crate) fn begin_read(&mut self) -> Ticket {
        self.begin()
    }

    /// A read failed.
    pub(crate) fn drop_read(&mut self, ticket: Ticket) {
        self.active.remove(&ticket.0);
    }

    /// A read has ended: compares its data with what could be there.
    pub(crate) fn end_read(&mut self, ticket: Ticket, at: usize, data: &[u8]) -> Result<()> {
        self.active.remove(&ticket.0);
        for (index, got) in data.chunks_exact(SECTOR).enumerate() {
            let place = at + index;
            let value = value_of(got, self.base, self.own, place as u64);
            let Some(sector) = self.sectors.get_mut(place) else {
                return Err(Error::new(format!("there is no sector {place}")));
            };
            let found = |c: &Candidate| Some(c.value) == value && c.died > ticket.0;
            if !sector.iter().any(found) {
                return Err(Error::new(format!(
                    "sector {place} (number {index} of a read of {}) holds {}, but may hold \
                     one of: {}",
                    data.len() / SECTOR,
                    pattern::describe(got),
                    describe(sector, ticket.0)
                )));
            }
            // With no write on its way, this is what it holds from now on.
            if sector.iter().all(|c| c.ended < ticket.0) {
                for candidate in sector.iter_mut().filter(|c| Some(c.value) != value) {
                    candidate.died = candidate.died.min(ticket.0);
                }
            }
        }
        Ok(())
    }

    /// The machine went down and came up: what was not flushed is there or not.
    pub(crate) fn crash(&mut self) {
        let floor = self.floor;
        self.active.clear();
        let now = self.now();
        for sector in &mut self.sectors {
            sector.retain(|c| c.died == NEVER || !(c.gone || c.died < floor));
            for candidate in sector.iter_mut() {
                candidate.ended = candidate.ended.min(now);
                candidate.died = NEVER;
            }
        }
    }

    /// Writes a state file. No operation may be under way.
    pub(crate) fn save(&self, path: &str) -> Result<()> {
        let mut bytes = Vec::new();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(u32::try_from(self.len()).unwrap_or(0).to_le_bytes());
        for sector in &self.sectors {
            let kept: Vec<_> = sector
                .iter()
                .filter(|c| c.died == NEVER || !(c.gone || c.died < self.floor))
                .collect();
            bytes.extend((kept.len() as u64).to_le_bytes());
            for candidate in kept {
                let state = if candidate.died == NEVER { 0 } else { DEAD };
                bytes.extend(candidate.value.to_le_bytes());
                bytes.extend(state.to_le_bytes());
            }
        }
        fs::write(path, bytes).map_err(|e| Error::io(path, &e))
    }

    /// The history kept in a state file; a new one if there is no such file.
    pub(crate) fn load(base: u64, own: u64, sectors: u64, file: Option<&str>) -> Result<Self> {
        let mut history = Self::new(base, own, sectors);
        let Some(path) = file.filter(|path| Path::new(path).exists()) else {
            return Ok(history);
        };
        let bytes = fs::read(path).map_err(|e| Error::io(path, &e))?;
        let mut records = bytes.chunks_exact(RECORD).map(|record| {
            let word = |range: std::ops::Range<usize>| {
                let part: Option<[u8; 4]> = record.get(range).and_then(|b| b.try_into().ok());
                part.map_or(0, u32::from_le_bytes)
            };
            (word(0..4), word(4..8))
        });
        let (version, count) = records.next().unwrap_or((0, 0));
        if u64::from(count) != sectors {
            return Err(Error::new(format!(
                "{path} belongs to a device of another size"
            )));
        }
        history.version = version;
        history.clock = 1;
        for sector in &mut history.sectors {
            let (count, _) = records.next().unwrap_or((0, 0));
            *sector = (0..count)
                .filter_map(|_| records.next())
                .map(|(value, state)| Candidate {
                    value,
                    began: 0,
                    ended: 0,
                    died: if state == DEAD { 1 } else { NEVER },
                    gone: false,
                })
                .collect();
        }
        Ok(history)
    }
}

/// The value that a sector holds, if it is one that this volume may hold at all.
fn value_of(got: &[u8], base: u64, own: u64, sector: u64) -> Option<Value> {
    if got.iter().all(|byte| *byte == 0) {
        return Some(ZERO);
    }
    if pattern::matches(got, base, sector, BASE) {
        return Some(BASE);
    }
    let version = pattern::version(got);
    (version != BASE && pattern::matches(got, own, sector, version)).then_some(version)
}

fn describe(sector: &[Candidate], since: u64) -> String {
    let name = |c: &Candidate| match c.value {
        BASE => "the base image".to_owned(),
        ZERO => "zeroes".to_owned(),
        version => format!("version {version}"),
    };
    let names: Vec<_> = sector.iter().filter(|c| c.died > since).map(name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u64 = 7;

    fn data(version: Value) -> Vec<u8> {
        let mut data = vec![0; SECTOR];
        match version {
            BASE => History::fill(1, 0, BASE, &mut data),
            ZERO => {}
            version => History::fill(OWN, 0, version, &mut data),
        }
        data
    }

    fn reads(history: &mut History, version: Value) -> bool {
        let ticket = history.begin_read();
        history.end_read(ticket, 0, &data(version)).is_ok()
    }

    fn writes(history: &mut History, end: End) -> Value {
        let version = history.next_version();
        let ticket = history.begin_write(0, 1, &[version]);
        history.end_write(ticket, 0, 1, end);
        version
    }

    #[test]
    fn a_write_replaces_what_was_there() {
        let mut h = History::new(1, OWN, 1);
        assert!(reads(&mut h, BASE));
        let version = writes(&mut h, End::Done);
        assert!(!reads(&mut h, BASE));
        assert!(!reads(&mut h, ZERO));
        assert!(reads(&mut h, version));
    }

    #[test]
    fn a_write_under_way_may_be_seen_or_not() {
        let mut h = History::new(1, OWN, 1);
        let version = h.next_version();
        let ticket = h.begin_write(0, 1, &[version]);
        assert!(reads(&mut h, BASE));
        assert!(reads(&mut h, version));
        assert!(reads(&mut h, BASE));
        let early = h.begin_read();
        h.end_write(ticket, 0, 1, End::Done);
        assert!(h.end_read(early, 0, &data(BASE)).is_ok());
        assert!(!reads(&mut h, BASE));
    }

    #[test]
    fn what_a_read_shows_stays() {
        let mut h = History::new(1, OWN, 1);
        let ticket = h.begin_write(0, 1, &[BASE, ZERO]);
        h.end_write(ticket, 0, 1, End::Open);
        let failed = writes(&mut h, End::Open);
        assert!(reads(&mut h, ZERO));
        assert!(!reads(&mut h, BASE));
        assert!(!reads(&mut h, failed));
        assert!(reads(&mut h, ZERO));
    }

    #[test]
    fn two_writes_at_a_time_leave_either_but_not_both() {
        let mut h = History::new(1, OWN, 1);
        let (a, b) = (h.next_version(), h.next_version());
        let first = h.begin_write(0, 1, &[a]);
        let second = h.begin_write(0, 1, &[b]);
        h.end_write(second, 0, 1, End::Done);
        h.end_write(first, 0, 1, End::Done);
        assert!(!reads(&mut h, BASE));
        assert!(reads(&mut h, a));
        assert!(!reads(&mut h, b));
    }

    #[test]
    fn a_crash_brings_back_what_was_not_flushed() {
        let mut h = History::new(1, OWN, 1);
        let old = writes(&mut h, End::Done);
        let flush = h.begin_flush();
        h.end_flush(flush, true);
        let new = writes(&mut h, End::Done);
        assert!(reads(&mut h, new));
        h.crash();
        assert!(!reads(&mut h, BASE));
        assert!(reads(&mut h, old));
        assert!(!reads(&mut h, new));
        let durable = writes(&mut h, End::Durable);
        h.crash();
        assert!(!reads(&mut h, old));
        assert!(reads(&mut h, durable));
        writes(&mut h, End::Done);
        let flush = h.begin_flush();
        h.end_flush(flush, false);
        h.crash();
        assert!(reads(&mut h, durable));
    }

    #[test]
    fn a_state_file_keeps_everything() {
        let path = std::env::temp_dir().join(format!("svol-test-{}", std::process::id()));
        let path = path.to_str().unwrap();
        let mut h = History::new(1, OWN, 1);
        let version = writes(&mut h, End::Done);
        h.save(path).unwrap();
        let mut loaded = History::load(1, OWN, 1, Some(path)).unwrap();
        assert!(!reads(&mut loaded, BASE));
        assert!(reads(&mut loaded, version));
        loaded.crash();
        assert!(reads(&mut loaded, BASE));
        assert_eq!(loaded.next_version(), version + 1);
        assert!(History::load(1, OWN, 2, Some(path)).is_err());
        std::fs::remove_file(path).unwrap();
    }
}
