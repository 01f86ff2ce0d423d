// SPDX-License-Identifier: GPL-2.0

//! Does to the devices, step by step, what the module does: rust/overlay.rs, rust/logged.rs and
//! rust/store/.
//!
//! What the module's worker does, is done here by whoever needs it. Between two steps of that the
//! script lets I/O of the fast path begin and end.

use crate::{
    check::{open, read_overlay, Config, Opened, Rule, EVENTS},
    device::{Sector, SECTOR},
    model::{content, value, ZERO},
    world::{Power, Stop, World, DISK, STORE},
};
use std::collections::{BTreeMap, VecDeque};
use svol_core::{
    env::Wait,
    svol_core::{
        block_map::{BlockMap, Entry, Kind, WriteRun, WriteStep},
        intents::Intents,
        slots::{NoSlot, Slots},
        store::{
            entries::{self, Record},
            intent, layout, Header, Layout, Owner as OwnerFields, OwnerRecord, Phase, COPIES,
        },
        write_locks::WriteLocks,
    },
};

/// Sectors of a sub-block.
const SUB: u64 = 8;

type Done = Result<(), Stop>;

/// I/O of the fast path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fast {
    Write {
        owner: usize,
        range: Range,
        fua: bool,
    },
    EndWrite,
    Read {
        owner: usize,
        sector: u64,
    },
    EndRead,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Fast(Fast),
    /// A write from its beginning to its end.
    Write {
        owner: usize,
        range: Range,
        fua: bool,
    },
    Zero {
        owner: usize,
        range: Range,
        fua: bool,
    },
    Discard {
        owner: usize,
        range: Range,
    },
    Flush {
        owner: usize,
    },
    /// The timer.
    Commit,
    ClearIdle,
    /// A clean stop, and a start.
    Restart,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) sector: u64,
    pub(crate) sectors: u32,
}

impl Range {
    fn end(self) -> u64 {
        self.sector + u64::from(self.sectors)
    }

    fn behind(self, done: u32) -> Self {
        Self {
            sector: self.sector + u64::from(done),
            sectors: self.sectors - done,
        }
    }

    fn meets(self, other: Self) -> bool {
        self.sector < other.end() && other.sector < self.end()
    }
}

struct Owner {
    number: u16,
    map: BlockMap,
    locks: WriteLocks,
    intents: Option<Intents>,
}

/// A write that is with the devices.
struct InFlight {
    owner: usize,
    range: Range,
    run: WriteRun,
    serial: u64,
    fua: bool,
    needs_commit: bool,
}

struct Reader {
    owner: usize,
    sector: u64,
    /// Where it is in the store.
    place: u64,
}

/// A write that is answered by the next commit.
struct Waiter {
    owner: usize,
    range: Range,
    serial: u64,
}

/// What is written.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// From some sector on.
    Bytes(&'a [u8], u32),
    Zeroes,
}

impl Source<'_> {
    fn behind(self, sectors: u32) -> Self {
        match self {
            Self::Bytes(bytes, skip) => Self::Bytes(bytes, skip + sectors),
            Self::Zeroes => Self::Zeroes,
        }
    }

    fn bytes(self, sectors: u32) -> Vec<u8> {
        let len = sectors as usize * SECTOR;
        match self {
            Self::Bytes(bytes, skip) => bytes[skip as usize * SECTOR..][..len].to_vec(),
            Self::Zeroes => vec![0; len],
        }
    }
}

/// The module, from a start to a crash.
pub(crate) struct Driver<'w> {
    world: &'w mut World,
    header: Header,
    layout: Layout,
    slots: Slots,
    owners: Vec<Owner>,
    /// Cached sectors of entries, by 4 KiB, and whether they have changed.
    units: BTreeMap<u64, (Vec<u8>, bool)>,
    dirty: bool,
    committing: bool,
    commits: u64,
    in_flight: Vec<InFlight>,
    readers: Vec<Reader>,
    waiting: Vec<Waiter>,
    /// What the worker is writing.
    slow: Vec<(usize, Range)>,
    script: VecDeque<Option<Fast>>,
}

impl<'w> Driver<'w> {
    /// Starts the group.
    pub(crate) fn start(world: &'w mut World) -> Result<Self, Stop> {
        let config = world.config.clone();
        let mut again = true;
        let opened = loop {
            match open(&config, &world.devices[STORE], world.model.formatted)? {
                Ok(opened) => break opened,
                Err(_) if !std::mem::take(&mut again) => {
                    return Err("a new store is none".to_owned().into())
                }
                Err(header) => make(world, header)?,
            }
        };
        let Opened {
            header,
            mend,
            layout,
            mut content,
        } = opened;
        // The metadata remembers it.
        world.model.formatted = true;
        let mut driver = Driver {
            world,
            header,
            layout,
            slots: content.slots,
            owners: Vec::new(),
            units: BTreeMap::new(),
            dirty: false,
            committing: false,
            commits: 0,
            in_flight: Vec::new(),
            readers: Vec::new(),
            waiting: Vec::new(),
            slow: Vec::new(),
            script: VecDeque::new(),
        };
        for slot in config.spoilt.clone() {
            driver.slots.mark_taken(slot);
        }
        let mut known = Vec::new();
        while let Some(one) = content.owners.pop() {
            known.push(one);
        }
        if mend || !content.stale_owners.is_empty() {
            let at_once = driver.breaks(Rule::MendBeforeChange);
            if mend && !at_once {
                write_header(driver.world, &driver.header)?;
            }
            driver.header.sequence += 1;
            write_header(driver.world, &driver.header)?;
            for number in content.stale_owners.iter() {
                let stale = known.iter_mut().find(|one| one.record.number == *number);
                let record = &mut stale.unwrap().record;
                record.sequence += u64::from(at_once);
                write_owner(driver.world, driver.header.tag, record)?;
            }
        }
        if !driver.breaks(Rule::FlushBeforeOpen) {
            driver.world.flush(STORE)?;
        }
        for (owner, in_place) in config.owners.iter().enumerate() {
            let lid = Config::lid(owner);
            let at = known.iter().position(|one| one.is(&lid));
            let owner = match at.map(|at| known.remove(at)) {
                Some(one) => Owner {
                    number: one.record.number,
                    map: one.map.unwrap(),
                    locks: WriteLocks::new(layout.block_shift()).unwrap(),
                    intents: one.intents,
                },
                None => driver.add_owner(owner, *in_place)?,
            };
            driver.owners.push(owner);
        }
        for owner in 0..driver.owners.len() {
            driver.resolve(owner)?;
            driver.world.model.resolved(owner);
        }
        Ok(driver)
    }

    fn breaks(&self, rule: Rule) -> bool {
        self.world.config.broken == Some(rule)
    }

    fn add_owner(&mut self, owner: usize, in_place: bool) -> Result<Owner, Stop> {
        let sectors = self.world.config.sectors;
        let shift = in_place.then(|| intent::region_shift(sectors));
        let fields = OwnerFields {
            lid: Config::lid(owner),
            base_generation: 1,
            sectors,
            removing: false,
            region_shift: shift,
        };
        let number = owner as u16 + 1;
        let intents = match shift {
            Some(shift) => {
                self.write_marks(number, fields.regions(), |_| false)?;
                Some(Intents::new(fields.regions(), shift).unwrap())
            }
            None => None,
        };
        let record = OwnerRecord {
            number,
            sequence: 1,
            owner: Some(fields),
        };
        write_owner(self.world, self.header.tag, &record)?;
        let block_shift = self.layout.block_shift();
        Ok(Owner {
            number,
            map: BlockMap::new(sectors, block_shift).unwrap(),
            locks: WriteLocks::new(block_shift).unwrap(),
            intents,
        })
    }

    /// Does one thing; `during` goes on meanwhile.
    pub(crate) fn run(&mut self, op: Op, during: &[Option<Fast>]) -> Done {
        self.script = during.iter().copied().collect();
        match op {
            Op::Fast(fast) => self.fast(fast)?,
            Op::Write { owner, range, fua } => self.whole_write(owner, range, fua)?,
            Op::Zero { owner, range, fua } => {
                self.end_overlapping(owner, range)?;
                self.slowly(owner, Source::Zeroes, range, ZERO, fua)?;
            }
            Op::Discard { owner, range } => {
                self.end_overlapping(owner, range)?;
                self.format_ahead()?;
                self.discard(owner, range)?;
            }
            Op::Flush { owner } => self.flush(owner)?,
            Op::Commit => self.commit_if_due(false)?,
            Op::ClearIdle => {
                for owner in 0..self.owners.len() {
                    self.clear_marks(owner)?;
                }
            }
            Op::Restart => (),
        }
        self.script.clear();
        Ok(())
    }

    /// From now on each step is looked at.
    pub(crate) fn watch(&mut self) {
        self.world.power = Power::Watched;
    }

    /// The power fails after so many steps more.
    pub(crate) fn cut_after(&mut self, steps: usize) {
        self.world.power = Power::Steps(steps);
    }

    /// Looks at what a power cut would leave now.
    pub(crate) fn look(&mut self) -> Done {
        Ok(self.world.look()?)
    }

    /// A clean stop.
    pub(crate) fn stop(mut self) -> Done {
        self.wait_for_others()?;
        self.commit_if_due(false)?;
        for _ in 0..2 {
            for owner in 0..self.owners.len() {
                self.clear_marks(owner)?;
            }
        }
        Ok(())
    }

    /// What its users read now.
    pub(crate) fn check_reads(&self) -> Done {
        for owner in 0..self.owners.len() {
            for at in 0..self.world.model.sectors.len() {
                let sector = self.world.model.sectors[at];
                let found = self.read(owner, sector);
                self.world.model.check_now(owner, at, &found)?;
            }
        }
        Ok(())
    }

    fn read(&self, owner: usize, sector: u64) -> Sector {
        if self.is_logged(owner) {
            let mut found = [0; SECTOR];
            self.world.read(DISK, sector, &mut found);
            return found;
        }
        let map = &self.owners[owner].map;
        read_overlay(&self.world.devices, &self.layout, map, sector)
    }

    fn is_logged(&self, owner: usize) -> bool {
        self.owners[owner].intents.is_some()
    }

    // The fast path.

    fn fast(&mut self, fast: Fast) -> Done {
        match fast {
            Fast::Write { owner, range, fua } => {
                if !self.overlaps(owner, range) {
                    let bytes = self.new_content(owner, range);
                    // What can't be done at once is left out.
                    self.begin_write(owner, range, fua, &bytes)?;
                }
            }
            Fast::EndWrite if !self.in_flight.is_empty() => self.end_write(0)?,
            Fast::Read { owner, sector } if !self.is_logged(owner) => {
                if let Kind::Slot { slot, offset } = self.owners[owner].map.read_run(sector, 1).kind
                {
                    self.readers.push(Reader {
                        owner,
                        sector,
                        place: self.layout.slot_sector(slot) + u64::from(offset),
                    });
                }
            }
            Fast::EndRead if !self.readers.is_empty() => self.end_read(0)?,
            _ => (),
        }
        Ok(())
    }

    fn new_content(&mut self, owner: usize, range: Range) -> Vec<u8> {
        self.world.values += 1;
        let new = self.world.values;
        let sectors = range.sector..range.end();
        sectors
            .flat_map(|sector| content(new, owner, sector))
            .collect()
    }

    fn overlaps(&self, owner: usize, range: Range) -> bool {
        let in_flight = self
            .in_flight
            .iter()
            .map(|other| (other.owner, other.range));
        let waiting = self.waiting.iter().map(|other| (other.owner, other.range));
        in_flight
            .chain(waiting)
            .chain(self.slow.iter().copied())
            .any(|(other, its_range)| other == owner && its_range.meets(range))
    }

    /// Nobody writes the same sectors at once; those that begin while others end are waited for,
    /// too.
    fn end_overlapping(&mut self, owner: usize, range: Range) -> Done {
        while self.overlaps(owner, range) {
            self.wait_for_others()?;
            self.commit_if_due(false)?;
        }
        Ok(())
    }

    /// Returns how many sectors are on their way: 0 if the worker has to do it.
    fn begin_write(
        &mut self,
        owner: usize,
        range: Range,
        fua: bool,
        bytes: &[u8],
    ) -> Result<u32, Stop> {
        let this = &self.owners[owner];
        let sectors = match &this.intents {
            None => range.sectors,
            Some(intents) if intents.touch(range.sector, range.sectors) => {
                this.locks.take(range.sector, range.sectors)
            }
            Some(_) => 0,
        };
        let step = match sectors {
            0 => WriteStep::Frozen,
            _ => this.map.write_run(&self.slots, range.sector, sectors),
        };
        let logged = this.intents.is_some();
        let WriteStep::Run(run) = step else {
            if logged {
                this.locks.release(range.sector, sectors);
            }
            return Ok(0);
        };
        if logged {
            let rest = range.sector + u64::from(run.sectors);
            this.locks.release(rest, sectors - run.sectors);
        }
        let range = Range {
            sectors: run.sectors,
            ..range
        };
        let bytes = &bytes[..range.sectors as usize * SECTOR];
        let new = value(bytes.first_chunk().unwrap(), owner, range.sector).unwrap();
        let serial = self
            .world
            .model
            .begin(owner, range.sector, range.sectors, new);
        self.in_flight.push(InFlight {
            owner,
            range,
            run,
            serial,
            fua,
            needs_commit: fua && (run.is_first || run.is_dirty || self.dirty || self.committing),
        });
        // Either leg may be the first one.
        let store = self.run_sector(&run);
        let disk_first = new % 2 == 0;
        if logged && disk_first {
            self.world.write(DISK, range.sector, bytes)?;
        }
        self.world.write(STORE, store, bytes)?;
        if logged && !disk_first {
            self.world.write(DISK, range.sector, bytes)?;
        }
        Ok(range.sectors)
    }

    fn end_write(&mut self, index: usize) -> Done {
        let InFlight {
            owner,
            range,
            run,
            serial,
            fua,
            needs_commit,
        } = self.in_flight.remove(index);
        let sectors = u64::from(range.sectors);
        let logged = self.is_logged(owner);
        if fua {
            let store = self.run_sector(&run);
            self.world.devices[STORE].harden(store, sectors);
            if logged {
                self.world.devices[DISK].harden(range.sector, sectors);
            }
        }
        let this = &self.owners[owner];
        if run.is_first && this.map.written(range.sector, range.sectors) {
            self.dirty = true;
        }
        if logged {
            this.locks.release(range.sector, range.sectors);
        }
        if needs_commit {
            self.waiting.push(Waiter {
                owner,
                range,
                serial,
            });
        } else {
            let model = &mut self.world.model;
            model.acknowledge(owner, range.sector, range.sectors, serial, fua);
        }
        Ok(())
    }

    fn end_read(&mut self, index: usize) -> Done {
        let reader = self.readers.remove(index);
        let mut found = [0; SECTOR];
        self.world.read(STORE, reader.place, &mut found);
        match value(&found, reader.owner, reader.sector) {
            Some(_) => Ok(()),
            None => Err(Stop::Broken(format!(
                "a read of sector {} finds another place's data",
                reader.sector
            ))),
        }
    }

    fn run_sector(&self, run: &WriteRun) -> u64 {
        self.layout.slot_sector(run.slot) + u64::from(run.offset)
    }

    /// All I/O ends that has begun.
    fn wait_for_others(&mut self) -> Done {
        while !self.in_flight.is_empty() {
            self.end_write(0)?;
        }
        while !self.readers.is_empty() {
            self.end_read(0)?;
        }
        Ok(())
    }

    fn whole_write(&mut self, owner: usize, range: Range, fua: bool) -> Done {
        self.end_overlapping(owner, range)?;
        let bytes = self.new_content(owner, range);
        let mut done = 0;
        while done < range.sectors {
            let left = range.behind(done);
            let from = done as usize * SECTOR;
            let sectors = self.begin_write(owner, left, fua, &bytes[from..])?;
            if sectors > 0 {
                self.end_write(self.in_flight.len() - 1)?;
                done += sectors;
                continue;
            }
            let new = value(bytes.first_chunk().unwrap(), owner, range.sector).unwrap();
            self.slowly(owner, Source::Bytes(&bytes, done), left, new, fua)?;
            done = range.sectors;
        }
        if fua {
            self.commit_if_due(false)?;
        }
        Ok(())
    }

    // The worker.

    /// Between two steps of the worker.
    fn pause(&mut self) -> Done {
        match self.script.pop_front().flatten() {
            Some(fast) => self.fast(fast),
            None => Ok(()),
        }
    }

    fn write_device(&mut self, device: usize, sector: u64, bytes: &[u8]) -> Done {
        self.pause()?;
        self.world.write(device, sector, bytes)
    }

    fn flush_device(&mut self, device: usize) -> Done {
        self.pause()?;
        self.world.flush(device)
    }

    fn slowly(
        &mut self,
        owner: usize,
        source: Source<'_>,
        range: Range,
        new: u64,
        fua: bool,
    ) -> Done {
        self.format_ahead()?;
        let model = &mut self.world.model;
        let serial = model.begin(owner, range.sector, range.sectors, new);
        self.slow.push((owner, range));
        let result = if self.is_logged(owner) {
            self.write_logged(owner, source, range)
        } else {
            self.write(owner, false, source, range)
        };
        self.slow.pop();
        result?;
        if !fua {
            let model = &mut self.world.model;
            model.acknowledge(owner, range.sector, range.sectors, serial, false);
            return Ok(());
        }
        if self.is_logged(owner) && !self.breaks(Rule::DiskFlushForFua) {
            self.flush_device(DISK)?;
        }
        self.waiting.push(Waiter {
            owner,
            range,
            serial,
        });
        self.commit_if_due(false)
    }

    fn write_logged(&mut self, owner: usize, source: Source<'_>, range: Range) -> Done {
        self.mark(owner, range)?;
        let mut done = 0;
        while done < range.sectors {
            let left = range.behind(done);
            let sectors = self.owners[owner].locks.take(left.sector, left.sectors);
            if sectors == 0 {
                // It would wait for those that are under way.
                self.wait_for_others()?;
                continue;
            }
            let part = Range { sectors, ..left };
            self.write(owner, true, source.behind(done), part)?;
            self.owners[owner].locks.release(part.sector, sectors);
            done += sectors;
        }
        Ok(())
    }

    fn write(&mut self, owner: usize, disk: bool, source: Source<'_>, range: Range) -> Done {
        let mut done = 0;
        while done < range.sectors {
            let left = range.behind(done);
            let map = &self.owners[owner].map;
            let step = map.write_run(&self.slots, left.sector, left.sectors);
            let source = source.behind(done);
            done += match step {
                WriteStep::Run(run) => {
                    let part = Range {
                        sectors: run.sectors,
                        ..left
                    };
                    self.write_run(owner, disk, source, part, &run)?
                }
                WriteStep::Merge(sectors) => {
                    self.merge(owner, disk, source, Range { sectors, ..left })?;
                    sectors
                }
                step => {
                    self.make_way(owner, left.sector, step)?;
                    0
                }
            };
        }
        Ok(())
    }

    fn write_run(
        &mut self,
        owner: usize,
        disk: bool,
        source: Source<'_>,
        range: Range,
        run: &WriteRun,
    ) -> Result<u32, Stop> {
        let mut sectors = range.sectors;
        if let Source::Zeroes = source {
            let whole = self.whole_sub_blocks(range);
            if whole > 0 {
                if disk {
                    let zeroes = source.bytes(whole);
                    self.write_device(DISK, range.sector, &zeroes)?;
                }
                if self.owners[owner].map.zeroed(range.sector, whole) {
                    self.dirty = true;
                }
                return Ok(whole);
            }
            sectors = sectors.min((SUB - range.sector % SUB) as u32);
        }
        let bytes = source.bytes(sectors);
        if disk {
            self.write_device(DISK, range.sector, &bytes)?;
        }
        self.write_device(STORE, self.run_sector(run), &bytes)?;
        if self.owners[owner].map.written(range.sector, sectors) {
            self.dirty = true;
        }
        Ok(sectors)
    }

    fn whole_sub_blocks(&self, range: Range) -> u32 {
        if range.sector % SUB != 0 {
            return 0;
        }
        let cut = if range.end() >= self.world.config.sectors {
            0
        } else {
            range.end() % SUB
        };
        range.sectors.saturating_sub(cut as u32)
    }

    fn merge(&mut self, owner: usize, disk: bool, source: Source<'_>, range: Range) -> Done {
        if disk {
            return self.merge_quiet(owner, disk, source, range);
        }
        let bid = range.sector >> self.layout.block_shift();
        self.freeze(owner, &[bid])?;
        self.merge_quiet(owner, disk, source, range)?;
        self.thaw(owner, &[bid]);
        Ok(())
    }

    fn merge_quiet(&mut self, owner: usize, disk: bool, source: Source<'_>, range: Range) -> Done {
        let shift = self.layout.block_shift();
        let within = (range.sector % SUB) as usize;
        let begin = range.sector - within as u64;
        let end = (begin + SUB).min(self.world.config.sectors);
        let bid = begin >> shift;
        let slot = self.owners[owner].map.get(bid).slot().unwrap();
        let home = self.layout.slot_sector(slot) + begin - (bid << shift);
        let mut bytes: Vec<u8> = (begin..end)
            .flat_map(|sector| self.read(owner, sector))
            .collect();
        let part = source.bytes(range.sectors);
        bytes[within * SECTOR..][..part.len()].copy_from_slice(&part);
        if disk {
            self.write_device(DISK, range.sector, &part)?;
        }
        self.write_device(STORE, home, &bytes)?;
        let sectors = (end - begin) as u32;
        if self.owners[owner].map.written(begin, sectors) {
            self.dirty = true;
        }
        Ok(())
    }

    fn make_way(&mut self, owner: usize, sector: u64, step: WriteStep) -> Done {
        let bid = sector >> self.layout.block_shift();
        let map = &self.owners[owner].map;
        match step {
            WriteStep::NoRoom => {
                map.make_room(bid, Wait::May).unwrap();
                Ok(())
            }
            WriteStep::NoSlot(NoSlot::Unformatted) => self.format_segment(),
            WriteStep::NoSlot(_) => match self.slots.take_any() {
                Ok(slot) => {
                    let put =
                        |entry: Entry| entry.slot().is_none().then(|| entry.moved_to(Some(slot)));
                    if map.update(bid, put).is_none() {
                        self.slots.free(slot);
                    }
                    Ok(())
                }
                Err(NoSlot::Unformatted) => self.format_segment(),
                Err(error) => Err(Stop::Broken(format!("{error:?}"))),
            },
            _ => Err(Stop::Broken("frozen".to_owned())),
        }
    }

    fn freeze(&mut self, owner: usize, bids: &[u64]) -> Done {
        for bid in bids {
            let map = &self.owners[owner].map;
            map.update(*bid, |entry| Some(entry.with_frozen(true)));
        }
        self.wait_for_others()
    }

    fn thaw(&mut self, owner: usize, bids: &[u64]) {
        for bid in bids {
            let map = &self.owners[owner].map;
            map.update(*bid, |entry| Some(entry.with_frozen(false)));
        }
    }

    fn discard(&mut self, owner: usize, range: Range) -> Done {
        let map = &self.owners[owner].map;
        let shift = self.layout.block_shift();
        let first = range.sector.div_ceil(1 << shift);
        let last = if range.end() >= self.world.config.sectors {
            map.blocks()
        } else {
            range.end() >> shift
        };
        let bids: Vec<u64> = (first..last)
            .filter(|bid| map.get(*bid).slot().is_some())
            .collect();
        if bids.is_empty() {
            return Ok(());
        }
        // What is not given back stays as it is.
        let mut serials = Vec::new();
        for bid in &bids {
            let begin = bid << shift;
            let end = (begin + (1 << shift)).min(self.world.config.sectors);
            let sectors = (end - begin) as u32;
            let model = &mut self.world.model;
            let serial = model.begin(owner, begin, sectors, crate::model::BASE);
            serials.push((begin, sectors, serial));
        }
        self.free(owner, &bids)?;
        for (begin, sectors, serial) in serials {
            let model = &mut self.world.model;
            model.acknowledge(owner, begin, sectors, serial, true);
        }
        Ok(())
    }

    fn free(&mut self, owner: usize, bids: &[u64]) -> Done {
        self.freeze(owner, bids)?;
        // Reads are not held back.
        self.pause()?;
        let mut slots = Vec::new();
        for bid in bids {
            let out = |entry: Entry| Some(entry.moved_to(None).with_dirty(false));
            let map = &self.owners[owner].map;
            slots.extend(map.update(*bid, out).and_then(|(old, _)| old.slot()));
        }
        let early = self.breaks(Rule::FreedBeforeReused);
        if early {
            slots.iter().for_each(|slot| self.slots.free(*slot));
        }
        for slot in &slots {
            self.write_record(*slot, None);
        }
        self.write_dirty()?;
        if !self.breaks(Rule::ReadersBeforeReused) {
            self.wait_for_others()?;
        }
        if !early {
            slots.iter().for_each(|slot| self.slots.free(*slot));
        }
        self.thaw(owner, bids);
        Ok(())
    }

    // Commits.

    fn flush(&mut self, owner: usize) -> Done {
        let flush = self.world.model.flush_begins(owner);
        if self.is_logged(owner) {
            self.flush_device(DISK)?;
        }
        if self.dirty || self.committing {
            self.commit_if_due(true)?;
        } else {
            self.flush_device(STORE)?;
        }
        self.world.model.flush_ends(flush);
        Ok(())
    }

    fn commit_if_due(&mut self, waited_for: bool) -> Done {
        self.format_ahead()?;
        let waiting = std::mem::take(&mut self.waiting);
        if waited_for || !waiting.is_empty() || self.dirty {
            // If the power fails, nobody gets an answer.
            self.commit()?;
        }
        for waiter in waiting {
            let Range { sector, sectors } = waiter.range;
            let model = &mut self.world.model;
            model.acknowledge(waiter.owner, sector, sectors, waiter.serial, true);
        }
        Ok(())
    }

    fn commit(&mut self) -> Done {
        self.dirty = false;
        self.committing = true;
        self.commits += 1;
        loop {
            let mut batch = Vec::new();
            let mut more = false;
            for owner in &self.owners {
                let room = self.world.config.batch - batch.len();
                let number = owner.number;
                more |= owner
                    .map
                    .take_dirty(room, |bid, entry| batch.push((number, bid, entry)));
            }
            self.write_changes(&batch)?;
            if !more {
                break;
            }
        }
        self.committing = false;
        Ok(())
    }

    fn write_changes(&mut self, batch: &[(u16, u64, Entry)]) -> Done {
        if !self.breaks(Rule::DataBeforeEntries) {
            self.flush_device(STORE)?;
        }
        if batch.is_empty() {
            return Ok(());
        }
        for (owner, bid, entry) in batch {
            let Some(slot) = entry.slot() else { continue };
            let record = Record {
                bid: *bid,
                owner: *owner,
                data: entry.data(),
                zero: entry.zero(),
            };
            self.write_record(slot, Some(&record));
        }
        self.write_dirty()
    }

    fn write_record(&mut self, slot: u32, record: Option<&Record>) {
        let offset = self.layout.entry_offset(layout::entry_sector_of(slot));
        let (unit, within) = (offset / 4096, (offset % 4096) as usize);
        let world = &self.world;
        let (bytes, dirty) = self.units.entry(unit).or_insert_with(|| {
            let mut bytes = vec![0; 4096];
            world.read(STORE, unit * 8, &mut bytes);
            (bytes, false)
        });
        *dirty = true;
        let sector = bytes[within..].first_chunk_mut().unwrap();
        assert!(entries::set(sector, layout::entry_index_of(slot), record));
        entries::seal_sector(sector, self.commits);
    }

    /// As dm-bufio does it: all that has changed, then a flush.
    fn write_dirty(&mut self) -> Done {
        let dirty: Vec<(u64, Vec<u8>)> = self
            .units
            .iter_mut()
            .filter_map(|(unit, (bytes, dirty))| {
                std::mem::take(dirty).then(|| (*unit, bytes.clone()))
            })
            .collect();
        for (unit, bytes) in dirty {
            self.write_device(STORE, unit * 8, &bytes)?;
        }
        if self.breaks(Rule::EntriesBeforeAnswer) {
            return Ok(());
        }
        self.flush_device(STORE)
    }

    // Segments.

    fn format_ahead(&mut self) -> Done {
        if self.slots.ready() < 1024 && self.slots.limit() < self.slots.total() {
            self.format_segment()?;
        }
        Ok(())
    }

    fn format_segment(&mut self) -> Done {
        let mut next = self.header;
        next.segments += 1;
        next.sequence += 1;
        assert!(next.segments <= self.layout.segments());
        let skip_flush = self.breaks(Rule::EntriesBeforeSegment);
        let (tag, segment) = (next.tag, self.header.segments);
        if skip_flush {
            // The header is written with a flush, so it has to come first to do harm.
            write_header(self.world, &next)?;
        }
        write_segment(self.world, &self.layout, tag, segment)?;
        if !skip_flush {
            write_header(self.world, &next)?;
        }
        self.header = next;
        self.slots.set_limit(self.layout.slots_of(next.segments));
        Ok(())
    }

    // Marks.

    fn mark(&mut self, owner: usize, range: Range) -> Done {
        let this = &self.owners[owner];
        let intents = this.intents.as_ref().unwrap();
        if intents.touch(range.sector, range.sectors) {
            return Ok(());
        }
        let (first, last) = intents.to_mark(range.sector, range.sectors);
        if !self.breaks(Rule::MarkBeforeWrite) {
            let marked: Vec<u32> = (0..intents.regions())
                .filter(|region| (first..=last).contains(region) || intents.is_marked(*region))
                .collect();
            let (number, regions) = (this.number, intents.regions());
            self.pause()?;
            self.write_marks(number, regions, |region| marked.contains(&region))?;
        }
        let intents = self.owners[owner].intents.as_ref().unwrap();
        for region in first..=last {
            intents.mark_ahead(region);
        }
        let (first, last) = intents.span(range.sector, range.sectors);
        for region in first..=last {
            intents.mark(region);
        }
        Ok(())
    }

    fn write_marks(&mut self, number: u16, regions: u32, marked: impl Fn(u32) -> bool) -> Done {
        let mut bytes = vec![0; layout::INTENT_BYTES];
        for (index, sector) in (0..).zip(bytes.chunks_exact_mut(SECTOR)) {
            let sector = sector.first_chunk_mut().unwrap();
            intent::format(sector, self.header.tag, number, index);
            for region in (0..regions).filter(|region| marked(*region)) {
                let (place, mark) = intent::place(region);
                if place == index {
                    intent::set_mark(sector, mark, true);
                }
            }
            intent::seal_sector(sector);
        }
        let sector = layout::intent_offset(number, 0) / 512;
        self.world.write_durable(STORE, sector, &bytes)
    }

    fn clear_marks(&mut self, owner: usize) -> Done {
        let this = &self.owners[owner];
        let Some(intents) = &this.intents else {
            return Ok(());
        };
        let mut idle = false;
        intents.take_idle(|_| idle = true);
        if !idle {
            return Ok(());
        }
        self.wait_for_others()?;
        if !self.breaks(Rule::FlushBeforeUnmark) {
            self.flush_device(DISK)?;
        }
        if !self.breaks(Rule::CommitBeforeUnmark) {
            self.commit()?;
        }
        self.write_marks_of(owner)
    }

    fn write_marks_of(&mut self, owner: usize) -> Done {
        let this = &self.owners[owner];
        let intents = this.intents.as_ref().unwrap();
        let (number, regions) = (this.number, intents.regions());
        let marked: Vec<u32> = intents.marked().collect();
        self.pause()?;
        self.write_marks(number, regions, |region| marked.contains(&region))
    }

    /// Brings the store in step with the disk.
    fn resolve(&mut self, owner: usize) -> Done {
        let Some(intents) = &self.owners[owner].intents else {
            return Ok(());
        };
        let extent = |region| intents.extent(region);
        let marked: Vec<(u64, u64)> = intents.marked().map(extent).collect();
        if marked.is_empty() {
            return Ok(());
        }
        if !self.breaks(Rule::DiskFlushBeforeResolve) {
            self.world.flush(DISK)?;
        }
        // Elsewhere nothing was ever written.
        let mut subs: Vec<u64> = self.world.model.sectors.iter().map(|s| s / SUB).collect();
        subs.dedup();
        for sub in subs {
            let begin = sub * SUB;
            if !marked
                .iter()
                .any(|(first, end)| (*first..*end).contains(&begin))
            {
                continue;
            }
            let end = (begin + SUB).min(self.world.config.sectors);
            let sectors = (end - begin) as u32;
            let mut here = vec![0; sectors as usize * SECTOR];
            self.world.read(DISK, begin, &mut here);
            let map = &self.owners[owner].map;
            let known: Vec<u8> = (begin..end)
                .flat_map(|sector| read_overlay(&self.world.devices, &self.layout, map, sector))
                .collect();
            if here != known {
                let range = Range {
                    sector: begin,
                    sectors,
                };
                self.write(owner, false, Source::Bytes(&here, 0), range)?;
            }
        }
        self.commit()?;
        let this = &self.owners[owner];
        let intents = this.intents.as_ref().unwrap();
        for _ in 0..2 {
            intents.take_idle(|_| ());
        }
        let (number, regions) = (this.number, intents.regions());
        self.write_marks(number, regions, |_| false)
    }
}

/// Makes the store.
fn make(world: &mut World, header: Option<Header>) -> Done {
    let config = world.config.clone();
    let expected = config.expected(false);
    let layout = Layout::new(config.block_sectors, config.device_sectors).unwrap();
    let mut header = match header {
        Some(header) => {
            if config.broken != Some(Rule::MendBeforeChange) {
                write_header(world, &header)?;
            }
            header
        }
        None => Header {
            tag: 0x1234_5678_9abc,
            uuid: expected.uuid,
            group: expected.group,
            lid: expected.lid,
            sequence: 0,
            events: EVENTS,
            base_generation: 1,
            sectors: config.sectors,
            block_sectors: config.block_sectors,
            used_sectors: layout.used_sectors(),
            segments: 0,
            phase: Phase::Formatting,
        },
    };
    header.phase = Phase::Formatting;
    header.segments = 0;
    header.sequence += 1;
    write_header(world, &header)?;
    let zeroes = vec![0; layout::OWNER_TABLE_BYTES];
    for copy in 0..COPIES {
        world.write(STORE, layout::owner_offset(copy, 0) / 512, &zeroes)?;
    }
    write_segment(world, &layout, header.tag, 0)?;
    header.segments = 1;
    header.phase = Phase::Active;
    header.sequence += 1;
    write_header(world, &header)
}

/// Writes both copies.
fn write_header(world: &mut World, header: &Header) -> Done {
    let copies = (0..COPIES).map(|copy| {
        let mut unit = vec![0; 4096];
        assert!(header.encode(copy, unit.first_chunk_mut().unwrap()));
        (layout::header_offset(copy) / 512, unit)
    });
    write_copies(world, copies.collect())
}

/// Writes both copies.
fn write_owner(world: &mut World, tag: u64, record: &OwnerRecord) -> Done {
    let copies = (0..COPIES).map(|copy| {
        let offset = layout::owner_offset(copy, record.number);
        let begin = offset / 4096 * 4096;
        let mut unit = vec![0; 4096];
        world.read(STORE, begin / 512, &mut unit);
        let at = (offset - begin) as usize;
        assert!(record.encode(tag, unit[at..].first_chunk_mut().unwrap()));
        (begin / 512, unit)
    });
    let copies = copies.collect();
    write_copies(world, copies)
}

fn write_copies(world: &mut World, copies: Vec<(u64, Vec<u8>)>) -> Done {
    for (sector, unit) in copies {
        if world.config.broken == Some(Rule::OneCopyAfterTheOther) {
            world.write(STORE, sector, &unit)?;
        } else {
            world.write_durable(STORE, sector, &unit)?;
        }
    }
    Ok(())
}

fn write_segment(world: &mut World, layout: &Layout, tag: u64, segment: u32) -> Done {
    let mut bytes = vec![0; layout::SEGMENT_ENTRY_BYTES];
    let first = segment * layout::SEGMENT_ENTRY_SECTORS;
    for (number, sector) in (first..).zip(bytes.chunks_exact_mut(SECTOR)) {
        entries::format(sector.first_chunk_mut().unwrap(), tag, number);
    }
    world.write(STORE, layout.segment_offset(segment) / 512, &bytes)?;
    world.flush(STORE)
}
