// SPDX-License-Identifier: GPL-2.0

//! A group in use: its table, what the module keeps in memory besides, and what the devices really
//! hold.
//!
//! Entries are known here by their number in the shape, which stays when others leave the group.

use crate::common::id;
use std::sync::OnceLock;
use svol_core::{
    env::Vec as CoreVec,
    svol_core::{
        attr::Attr,
        group::{BoundTable, GroupTable, NewEntry},
        id::Id,
        log_mode::{self, Mode},
        meta::{Header, Identity, Metadata, HEADER_BYTES},
        route::{Home, VolumeView},
        samples::Sample,
        table_line::TableLine,
    },
};

/// The length of a group, in sectors, and how far a fill is after its first half.
pub(crate) const SECTORS: u64 = 1024;
pub(crate) const MIDDLE: u64 = 512;

/// A volume has two halves, the second of which may get an attribute of its own.
pub(crate) const HALVES: usize = 2;
pub(crate) type Halves<T> = [T; HALVES];

/// The most entries of a shape.
pub(crate) const MOST: usize = 7;

/// As [`Live::apart`] has them.
pub(crate) const WRITTEN: u8 = 1;
pub(crate) const FAILING: u8 = 2;
pub(crate) const FAILED: u8 = 4;
pub(crate) const ASKED: u8 = 8;

/// What a group is made of.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// LID, attribute and RLID of each entry.
    pub(crate) entries: &'static [(&'static str, &'static str, &'static str)],
    /// What follows them in the first line, and in later ones.
    pub(crate) init: &'static str,
    pub(crate) features: &'static str,
    /// The number of metadata copies, and whether they may fail.
    pub(crate) copies: usize,
    pub(crate) copies_fail: bool,
    /// Two entries that are the same but for their names.
    pub(crate) twins: Option<(usize, usize)>,
    /// Whether entries may leave it.
    pub(crate) shrinks: bool,
    /// So many of its last entries are not in it at first, and may join it.
    pub(crate) joins: usize,
    /// Whether halves of volumes may be diverted while others are in place.
    pub(crate) in_parts: bool,
    /// Whether disks may stop answering.
    pub(crate) falls_silent: bool,
    /// The LIDs, once they are needed.
    pub(crate) lids: OnceLock<Vec<Id>>,
}

/// What a disk holds in a half.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Content {
    Base,
    /// What this volume reads now, which has been written.
    Own(usize),
    /// What it read once; all that was written since is in its increments volume.
    Older(usize),
    /// As far as the cursor, what it reads now.
    Part(usize),
    Junk,
}

/// What an increments volume has of a half of a volume.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Log {
    /// All that it wrote.
    All,
    /// Less than that.
    Lacks,
}

/// A change is durable, and this follows from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Effect {
    /// The disk of an entry has failed.
    DiskFailed(usize),
    StoreFailed(usize),
    /// A volume goes on without its log.
    LogGivenUp(usize),
    /// A disk begins to be filled for a volume.
    Began(usize, usize),
    Rebuilt(usize, usize),
    Readded(usize),
    LogIsWhole(usize),
    Attr(usize),
    Removed(usize),
}

/// An attribute that is being changed: of which volume, on which disk, to what, and how far that
/// is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Changing {
    pub(crate) volume: usize,
    pub(crate) disk: usize,
    pub(crate) attr: Attr,
    /// Only of the second half.
    pub(crate) in_part: bool,
    pub(crate) step: u8,
}

/// What a disk has to do that does not answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Held {
    /// Reads of the base image.
    pub(crate) reads: bool,
    /// A write of this volume, or of what is copied for it.
    pub(crate) writes: Option<usize>,
    /// A write of a volume that no longer uses the disk.
    pub(crate) is_late: bool,
}

/// What the module has in memory.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    /// What keeps others from a disk; of a store, whether it fails.
    pub(crate) apart: [u8; MOST],
    /// The disks that serve reads of the base image while nothing keeps others from them.
    pub(crate) sources: [bool; MOST],
    pub(crate) views: [VolumeView; MOST],
    /// Which halves are diverted while the other one is in place.
    pub(crate) diverted: [Halves<bool>; MOST],
    /// Of a volume that has an owner in a store that was here when the table was loaded.
    pub(crate) modes: [Option<Mode>; MOST],
    /// It is loaded for writing.
    pub(crate) opened: [bool; MOST],
    /// Its device is in use: not that of an entry that has joined the group since the table was
    /// loaded.
    pub(crate) here: [bool; MOST],
    /// The disk that is being filled for it is done to the end.
    pub(crate) is_full: [bool; MOST],
    /// That disk was left out of a write, since it did not answer.
    pub(crate) lacks: [bool; MOST],
    /// For disks that do not answer.
    pub(crate) held: [Option<Held>; MOST],
    pub(crate) changing: Option<Changing>,
    /// What is durable and not in effect. Meanwhile nothing else becomes durable.
    pub(crate) effect: Option<Effect>,
}

/// A group, and what its devices really hold.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) shape: &'static Shape,
    pub(crate) table: GroupTable,
    pub(crate) live: Live,
    pub(crate) disks: [Halves<Content>; MOST],
    pub(crate) logs: [Halves<Log>; MOST],
    /// The volume has acknowledged data.
    pub(crate) wrote: [Halves<bool>; MOST],
    /// It left the group, and its store still has blocks of it.
    pub(crate) leaves: [bool; MOST],
}

impl Shape {
    pub(crate) fn number(&self, lid: &Id) -> usize {
        self.lids().iter().position(|other| other == lid).unwrap()
    }

    fn lids(&self) -> &[Id] {
        let lids = || self.entries.iter().map(|entry| id(entry.0)).collect();
        self.lids.get_or_init(lids)
    }

    pub(crate) fn lid(&self, number: usize) -> Id {
        self.lids()[number]
    }

    /// The increments entry that an entry names.
    pub(crate) fn store(&self, number: usize) -> Option<usize> {
        let rlid = self.entries[number].2;
        self.entries.iter().position(|(lid, ..)| *lid == rlid)
    }

    /// As the message `add` has it.
    pub(crate) fn new_entry(&self, number: usize, has_disk: bool) -> NewEntry {
        let (_, attr, rlid) = self.entries[number];
        NewEntry {
            lid: self.lid(number),
            attr: Attr::parse(attr.as_bytes()).unwrap(),
            rlid: (rlid != "-").then(|| id(rlid)),
            has_disk,
        }
    }

    fn line(&self, is_here: impl Fn(usize) -> bool, is_member: impl Fn(usize) -> bool) -> String {
        let members = (0..self.entries.len()).filter(|number| is_member(*number));
        let mut text = format!("G0 128 {}", self.copies);
        for copy in 0..self.copies {
            text += &format!(" /m{copy}");
        }
        text += &format!(" {}", members.clone().count());
        for number in members {
            let (lid, attr, rlid) = self.entries[number];
            let dev = match is_here(number) {
                true => format!("/d{number}"),
                false => "-".into(),
            };
            text += &format!(" {lid} {attr} {dev} {rlid}");
        }
        text
    }
}

fn parse(text: &str) -> TableLine<&[u8]> {
    TableLine::parse(SECTORS, text.split(' ').map(str::as_bytes)).unwrap()
}

impl World {
    /// A new group, in use.
    pub(crate) fn new(shape: &'static Shape) -> Self {
        let first = shape.entries.len() - shape.joins;
        let text = shape.line(|_| true, |number| number < first) + shape.init;
        let line = parse(&text);
        let identity = Identity {
            uuid: [1; 16],
            group: line.group,
            sectors: SECTORS,
            block_sectors: line.block_sectors,
            logical_block_bytes: 512,
            copies: shape.copies,
        };
        let table = GroupTable::new(&identity, &line, |_| SECTORS).unwrap();
        let mut samples = CoreVec::new();
        samples.try_push(Sample::take(0, b"base")).unwrap();
        let mut disks = [[Content::Junk; HALVES]; MOST];
        let table = table.activated(samples).unwrap();
        for (disk, volume) in disks.iter_mut().zip(table.volumes()) {
            // Others are to be filled.
            if volume.attr.is_volume() && volume.disk.is_some() {
                *disk = [Content::Base; HALVES];
            }
        }
        let mut world = Self {
            shape,
            live: Live::of(shape, &table),
            table,
            disks,
            logs: [[Log::All; HALVES]; MOST],
            wrote: [[false; HALVES]; MOST],
            leaves: [false; MOST],
        };
        world.forget();
        world
    }

    pub(crate) fn try_clone(&self) -> Self {
        let mut table = self.table.recommitted().unwrap();
        table.set_metadata(self.table.metadata().try_clone().unwrap());
        Self {
            shape: self.shape,
            table,
            live: self.live.clone(),
            disks: self.disks,
            logs: self.logs,
            wrote: self.wrote,
            leaves: self.leaves,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shape.entries.len()
    }

    /// The index of an entry in the table, if it is in the group.
    pub(crate) fn at(&self, number: usize) -> Option<usize> {
        let lid = self.shape.lid(number);
        // Mostly it is in its place.
        match self.table.volume(number) {
            Some(volume) if volume.lid == lid && !volume.state.removed => Some(number),
            _ => self.table.position(&lid),
        }
    }

    /// The number of an entry of the table.
    pub(crate) fn number(&self, entry: usize) -> usize {
        self.shape.number(&self.table.volume(entry).unwrap().lid)
    }

    /// The entries that are in the group.
    pub(crate) fn members(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).filter(|number| self.at(*number).is_some())
    }

    /// The volumes that are in the group.
    pub(crate) fn volumes(&self) -> impl Iterator<Item = usize> + '_ {
        self.members()
            .filter(|number| self.attr(*number).is_some_and(Attr::is_volume))
    }

    pub(crate) fn attr(&self, number: usize) -> Option<Attr> {
        Some(self.table.volume(self.at(number)?)?.attr)
    }

    pub(crate) fn is_served(&self, number: usize) -> bool {
        self.at(number)
            .is_some_and(|entry| self.table.is_served(entry))
    }

    /// The disk that serves an entry.
    pub(crate) fn disk_of(&self, number: usize) -> Option<usize> {
        let disk = self.table.disk_of(self.at(number)?)?;
        Some(self.number(disk))
    }

    /// The volume that a disk serves.
    pub(crate) fn served_by(&self, disk: usize) -> Option<usize> {
        let volume = self.table.served_by(self.at(disk)?)?;
        Some(self.number(volume))
    }

    /// The disk that is being filled for a volume.
    pub(crate) fn target_of(&self, number: usize) -> Option<usize> {
        Some(self.number(self.table.rebuild_of(self.at(number)?)?.target))
    }

    /// The increments entry that a volume names.
    pub(crate) fn store_of(&self, number: usize) -> Option<usize> {
        let rlid = self.table.volume(self.at(number)?)?.rlid?;
        Some(self.shape.number(&rlid))
    }

    pub(crate) fn has_failed(&self, number: usize) -> bool {
        let entry = self.at(number).and_then(|entry| self.table.volume(entry));
        entry.is_some_and(|volume| volume.state.failed)
    }

    /// The disks that reads of the base image go to now.
    pub(crate) fn sources(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).filter(|disk| self.live.sources[*disk] && self.live.apart[*disk] == 0)
    }

    /// How the table would have a volume's I/O go, with numbers instead of indices.
    pub(crate) fn view(&self, number: usize, table: &GroupTable) -> VolumeView {
        let entry = table.position(&self.shape.lid(number)).unwrap();
        numbered(self.shape, table, entry)
    }

    /// The same for a half of it, as it is now.
    pub(crate) fn view_at(&self, volume: usize, half: usize) -> VolumeView {
        at_half(self.live.views[volume], self.live.diverted[volume][half])
    }

    /// Which halves of a volume a table has diverted while the other one is in place.
    pub(crate) fn diverted(&self, number: usize, table: &GroupTable) -> Halves<bool> {
        let entry = table.position(&self.shape.lid(number)).unwrap();
        diverted(table, entry)
    }

    /// Whether a volume has written anything.
    pub(crate) fn wrote_any(&self, volume: usize) -> bool {
        self.wrote[volume].contains(&true)
    }

    /// How many things are under way.
    pub(crate) fn in_flight(&self) -> usize {
        // A disk that is given up is one thing.
        let disks = self.live.apart.iter().zip(self.live.held);
        let failing = disks.filter(|(bits, held)| **bits & FAILING != 0 || held.is_some());
        failing.count()
            + usize::from(self.live.changing.is_some())
            + usize::from(self.live.effect.is_some())
    }

    /// A change becomes durable.
    pub(crate) fn commit(&mut self, next: GroupTable) {
        let metadata = self.table.metadata();
        assert_eq!(next.head().sequence, metadata.head.sequence + 1);
        self.table = next;
    }

    /// What a start would read.
    pub(crate) fn reread(&self) -> Metadata {
        let metadata = self.table.metadata();
        metadata.check().unwrap();
        let body = metadata.encode_body().unwrap();
        let mut sector = [0; HEADER_BYTES];
        assert!(metadata.encode_header(0, &body, &mut sector));
        let header = Header::decode(&sector).unwrap();
        Metadata::decode(&header, &body).unwrap()
    }

    /// What a start makes of the metadata; without the device of one entry, if any.
    pub(crate) fn restarted(&self, missing: Option<usize>) -> Option<BoundTable> {
        let is_here = |number: usize| Some(number) != missing;
        let text = self.shape.line(is_here, |number| self.at(number).is_some());
        let text = text + self.shape.features;
        GroupTable::bind(&parse(&text), self.reread(), |_| Some(SECTORS)).ok()
    }

    /// The group is loaded again, after a crash or not.
    pub(crate) fn restart(&mut self, table: GroupTable, missing: Option<usize>) {
        self.table = table;
        self.take_back(missing);
        let lacks = self.live.lacks;
        self.live = Live::of(self.shape, &self.table);
        for rebuild in self.table.rebuilds() {
            let (volume, target) = (self.number(rebuild.entry), self.number(rebuild.target));
            for half in 0..HALVES {
                // What it lacks is marked, and copied again. In a diverted half, the store counts.
                let may_be_older = lacks[volume] || self.live.diverted[volume][half];
                let content = &mut self.disks[target][half];
                let is_right = match *content {
                    Content::Base | Content::Part(_) => true,
                    Content::Own(of) => of == volume,
                    Content::Older(of) => of == volume && may_be_older,
                    Content::Junk => false,
                };
                *content = match is_right && rebuild.cursor > 0 {
                    true => Content::Part(volume),
                    false => Content::Junk,
                };
            }
        }
    }

    /// Stores that are awaited, or joined the group, are in use from now on. A new one has nothing
    /// of any volume.
    fn take_back(&mut self, missing: Option<usize>) {
        for entry in 0..self.table.volumes().len() {
            let store = self.number(entry);
            if Some(store) == missing || !self.table.stores_to_open().any(|s| s == entry) {
                continue;
            }
            let is_new = self.table.is_new_store(entry);
            let is_needed = self.table.is_needed_store(entry) && !is_new;
            for volume in 0..self.len() {
                let is_new = self.store_of(volume) == Some(store) && !is_needed;
                for half in (0..HALVES).filter(|half| is_new && self.wrote[volume][*half]) {
                    self.logs[volume][half] = Log::Lacks;
                }
            }
            let next = self.table.with_stores_back(|other| other == entry).unwrap();
            self.commit(next.unwrap());
        }
    }

    /// What does not matter is the same in all worlds, so that there are fewer of them.
    pub(crate) fn forget(&mut self) {
        for number in 0..self.len() {
            self.notice_late(number);
            let is_data = self.attr(number) != Some(Attr::Increments);
            let apart = &mut self.live.apart[number];
            if is_data && *apart & (WRITTEN | FAILED) != 0 {
                // Whatever keeps others away.
                self.live.sources[number] = false;
                *apart &= FAILING;
            }
            if is_data {
                *apart &= !ASKED;
            }
            let fills = self
                .volumes()
                .find(|volume| self.target_of(*volume) == Some(number));
            let is_used = self.served_by(number).is_some();
            let half = fills
                .and_then(|volume| self.table.rebuild_of(self.at(volume)?))
                .is_some_and(|rebuild| rebuild.cursor > 0);
            let is_full = fills.is_some_and(|volume| self.live.is_full[volume]);
            // It still answers until nobody asks any more.
            let is_asked = self.live.effect == Some(Effect::DiskFailed(number));
            let is_worth = (is_used || half || is_full) && !self.has_failed(number);
            let is_worth = is_worth || self.has_reads(number);
            // Its volume has another disk as soon as that is in effect.
            let reads = |view: &VolumeView| view.reads == Home::Disk(number);
            let is_left = matches!(self.live.effect, Some(Effect::Rebuilt(..)))
                && self.live.views.iter().any(reads);
            if !is_asked && !is_worth && !is_left {
                self.disks[number] = [Content::Junk; HALVES];
            }
            if self.at(number).is_none() {
                let store = self.shape.store(number);
                self.leaves[number] &= store.is_some_and(|store| self.at(store).is_some());
                self.wrote[number] = [false; HALVES];
                self.logs[number] = [Log::All; HALVES];
                self.live.opened[number] = false;
                self.live.modes[number] = None;
                self.live.here[number] = false;
                self.live.diverted[number] = [false; HALVES];
                self.live.held[number] = None;
            }
            if fills.is_none() && self.target_of(number).is_none() {
                self.live.is_full[number] = false;
            }
            if self.target_of(number).is_none() {
                self.live.lacks[number] = false;
            }
        }
    }

    /// All that matters, in few bytes; `order` tells which entry comes where. Without what is in
    /// memory only, if that is not wanted.
    pub(crate) fn key(&self, order: &[usize], with_live: bool) -> Vec<u8> {
        let place = |number: usize| {
            let place = order.iter().position(|other| *other == number).unwrap();
            u8::try_from(place).unwrap()
        };
        let of = |lid: Option<Id>| lid.map_or(0xff, |lid| place(self.shape.number(&lid)));
        let mut key = Vec::with_capacity(12 * order.len() + 16);
        let live = &self.live;
        for number in order.iter().copied() {
            match self.at(number).and_then(|entry| self.table.volume(entry)) {
                None => {
                    // Nobody can take the place of an entry that the live table still has.
                    let lid = self.shape.lid(number);
                    let matters = with_live && self.shape.joins > 0;
                    let still = matters && self.table.volumes().iter().any(|v| v.lid == lid);
                    key.push(0xf0 + u8::from(still) * 2 + u8::from(self.leaves[number]));
                }
                Some(volume) => {
                    let bits = [
                        volume.state.pristine,
                        volume.state.unprotected,
                        volume.state.formatted,
                        volume.state.failed,
                        live.sources[number] && with_live,
                        live.opened[number] && with_live,
                        live.is_full[number] && with_live,
                        self.wrote[number][0],
                    ];
                    let bits = bits.iter().fold(0, |all, bit| all * 2 + u8::from(*bit));
                    key.extend([volume.attr.code(), volume.health.code(), bits]);
                    key.push(of(volume.disk));
                }
            }
            if self.shape.falls_silent {
                key.push(u8::from(live.lacks[number]));
            }
            if with_live && self.shape.falls_silent {
                key.extend(live.held[number].map_or([0xff; 2], |held| {
                    let bits = u8::from(held.reads) * 2 + u8::from(held.is_late);
                    [bits, held.writes.map_or(0xff, place)]
                }));
            }
            if with_live {
                key.push(live.apart[number]);
                let mode = live.modes[number].map_or(9, |mode| mode as u8);
                key.push(mode + if live.here[number] { 0 } else { 0x10 });
                for home in [live.views[number].reads, live.views[number].writes] {
                    key.push(match home {
                        Home::Nowhere => 0,
                        Home::Base => 1,
                        Home::Overlay => 2,
                        Home::Kept => 3,
                        Home::Disk(disk) => 0x10 + place(disk),
                        Home::Logged(disk) => 0x20 + place(disk),
                    });
                }
            }
            // Otherwise they are the same.
            let halves = if self.shape.in_parts { HALVES } else { 1 };
            for half in 0..halves {
                key.push(self.logs[number][half] as u8);
                key.push(match self.disks[number][half] {
                    Content::Base => 0,
                    Content::Junk => 1,
                    Content::Own(volume) => 0x10 + place(volume),
                    Content::Older(volume) => 0x20 + place(volume),
                    Content::Part(volume) => 0x30 + place(volume),
                });
            }
            if self.shape.in_parts {
                let bits = |halves: Halves<bool>| u8::from(halves[0]) * 2 + u8::from(halves[1]);
                let entry = self.at(number);
                let known = entry.map_or([false; HALVES], |entry| diverted(&self.table, entry));
                let now = if with_live {
                    live.diverted[number]
                } else {
                    known
                };
                key.extend([known, now, self.wrote[number]].map(bits));
            }
        }
        for rebuild in self.table.metadata().rebuilds.iter() {
            key.extend([of(Some(rebuild.lid)), of(Some(rebuild.target))]);
            key.push(u8::from(rebuild.cursor > 0));
        }
        let copies = &self.table.head().copies;
        key.push(u8::try_from(copies.live_count()).unwrap());
        if !with_live {
            return key;
        }
        if let Some(change) = &live.changing {
            let (volume, disk) = (place(change.volume), place(change.disk));
            let in_part = u8::from(change.in_part);
            key.extend([0xf0, volume, disk, change.attr.code(), change.step, in_part]);
        }
        let (kind, one, two) = match live.effect {
            None => return key,
            Some(Effect::DiskFailed(disk)) => (0, disk, disk),
            Some(Effect::StoreFailed(store)) => (1, store, store),
            Some(Effect::LogGivenUp(volume)) => (2, volume, volume),
            Some(Effect::Began(volume, target)) => (3, volume, target),
            Some(Effect::Rebuilt(volume, target)) => (4, volume, target),
            Some(Effect::Readded(disk)) => (5, disk, disk),
            Some(Effect::Attr(volume)) => (6, volume, volume),
            Some(Effect::Removed(entry)) => (7, entry, entry),
            Some(Effect::LogIsWhole(volume)) => (8, volume, volume),
        };
        key.extend([0xf1, kind, place(one), place(two)]);
        key
    }
}

/// How a table would have the I/O of an entry go, with numbers instead of indices.
fn numbered(shape: &Shape, table: &GroupTable, entry: usize) -> VolumeView {
    let number = |home: Home| match home {
        Home::Disk(disk) => Home::Disk(shape.number(&table.volume(disk).unwrap().lid)),
        Home::Logged(disk) => Home::Logged(shape.number(&table.volume(disk).unwrap().lid)),
        other => other,
    };
    let view = table.view(entry).unwrap();
    VolumeView {
        reads: number(view.reads),
        writes: number(view.writes),
    }
}

/// The same for a half, if that is diverted or not while the other one is in place.
pub(crate) fn at_half(view: VolumeView, is_diverted: bool) -> VolumeView {
    match is_diverted && view != VolumeView::NOWHERE {
        true => VolumeView::DIVERTED,
        false => view,
    }
}

/// The halves of an entry that are diverted while the other one is in place.
fn diverted(table: &GroupTable, entry: usize) -> Halves<bool> {
    [0, MIDDLE].map(|at| {
        let mut regions = table.regions(entry);
        regions.any(|region| (region.start..region.start + region.len).contains(&at))
    })
}

impl Live {
    /// As the module begins with a table.
    fn of(shape: &Shape, table: &GroupTable) -> Self {
        let mut live = Self {
            apart: [0; MOST],
            sources: [false; MOST],
            views: [VolumeView::NOWHERE; MOST],
            diverted: [[false; HALVES]; MOST],
            modes: [None; MOST],
            opened: [false; MOST],
            here: [false; MOST],
            is_full: [false; MOST],
            lacks: [false; MOST],
            held: [None; MOST],
            changing: None,
            effect: None,
        };
        let number = |entry: usize| shape.number(&table.volume(entry).unwrap().lid);
        for source in table.sources() {
            live.sources[number(source)] = true;
        }
        for (entry, volume) in table.volumes().iter().enumerate() {
            let view = numbered(shape, table, entry);
            live.views[number(entry)] = view;
            live.diverted[number(entry)] = diverted(table, entry);
            live.here[number(entry)] = true;
            if table.store_of(entry).is_none() {
                continue;
            }
            let is_unprotected = |disk: usize| table.volume(disk).unwrap().state.unprotected;
            live.modes[number(entry)] = Some(match table.disk_of(entry) {
                _ if view.writes == Home::Kept => Mode::Store,
                Some(disk) if volume.attr == Attr::Rw && is_unprotected(disk) => Mode::Behind,
                _ => Mode::Both,
            });
        }
        live
    }

    /// As the module does it: nothing has changed if that can't happen now.
    pub(crate) fn advance(&mut self, volume: usize, event: log_mode::Event) -> Option<Mode> {
        let next = self.modes[volume]?.after(event)?;
        self.modes[volume] = Some(next);
        Some(next)
    }
}
