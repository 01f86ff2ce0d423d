// SPDX-License-Identifier: GPL-2.0

//! Disks fail, come back and are filled, in any order: whoever can be served is served, by disks
//! that hold what they should.

mod common;

use common::id;
use proptest::prelude::*;
use svol_core::{
    env::Vec as CoreVec,
    svol_core::{
        attr::Attr,
        group::{BindError, GroupTable, RestoreError, TargetFlaw},
        health::Health,
        meta::{Header, Identity, Metadata, HEADER_BYTES},
        route::Home,
        samples::Sample,
        table_line::TableLine,
    },
};

const SECTORS: u64 = 1000;
const ENTRIES: usize = 8;
/// LV0 and LV1 are read, L2 and L3 written with a log, C4 is diverted; then two spares and a store.
const LIDS: [&str; ENTRIES] = ["LV0", "LV1", "L2", "L3", "C4", "S5", "S6", "ST"];
const STORE: usize = 7;

/// A line that lacks the disks in the set.
fn line(missing: u32) -> String {
    let mut text = String::from("G0 128 1 /m0 8");
    for (entry, lid) in LIDS.iter().enumerate() {
        let dev = match (missing >> entry) & 1 {
            0 => format!("/d{entry}"),
            _ => "-".into(),
        };
        let attr = ["ro", "ro", "rw", "rw", "ro", "spare", "spare", "increments"][entry];
        let rlid = if (2..5).contains(&entry) { "ST" } else { "-" };
        text += &format!(" {lid} {attr} {dev} {rlid}");
    }
    text + " 2 init assume_identical"
}

fn parse(text: &str) -> TableLine<&[u8]> {
    TableLine::parse(SECTORS, text.split(' ').map(str::as_bytes)).unwrap()
}

/// What a disk holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Content {
    Base,
    /// What this volume has written, over the base.
    Own(usize),
    Junk,
}

/// A group, and what its disks really hold.
struct World {
    table: GroupTable,
    disks: [Content; ENTRIES],
}

impl World {
    fn new() -> Self {
        Self::made(&line(0))
    }

    /// A new group whose other disks are to be filled with what is on that of LV0.
    fn copied() -> Self {
        let mut world =
            Self::made(&line(0).replace("2 init assume_identical", "3 init copy_from LV0"));
        world.disks[1..5].fill(Content::Junk);
        world
    }

    fn made(text: &str) -> Self {
        let line = parse(text);
        let identity = Identity {
            uuid: [1; 16],
            group: line.group,
            sectors: SECTORS,
            block_sectors: line.block_sectors,
            logical_block_bytes: 512,
            copies: 1,
        };
        let table = GroupTable::new(&identity, &line, |_| SECTORS).unwrap();
        let mut samples = CoreVec::new();
        samples.try_push(Sample::take(0, b"base")).unwrap();
        let mut disks = [Content::Base; ENTRIES];
        disks[5] = Content::Junk;
        disks[6] = Content::Junk;
        Self {
            table: table.activated(samples).unwrap(),
            disks,
        }
    }

    fn become_(&mut self, next: Option<GroupTable>) {
        if let Some(next) = next {
            assert_eq!(next.head().sequence, self.table.head().sequence + 1);
            self.table = next;
        }
        self.check();
    }

    /// What a start would read.
    fn reread(&self) -> Metadata {
        let metadata = self.table.metadata();
        let body = metadata.encode_body().unwrap();
        let mut sector = [0; HEADER_BYTES];
        assert!(metadata.encode_header(0, &body, &mut sector));
        let header = Header::decode(&sector).unwrap();
        let read = Metadata::decode(&header, &body).unwrap();
        assert_eq!(&read, metadata);
        read
    }

    fn check(&self) {
        let table = &self.table;
        table.metadata().check().unwrap();
        self.reread();
        for source in table.sources() {
            assert_eq!(self.disks[source], Content::Base, "source {source}");
        }
        for (entry, volume) in table.volumes().iter().enumerate() {
            if !volume.attr.is_volume() {
                continue;
            }
            let view = table.view(entry).unwrap();
            if let Home::Disk(disk) = view.reads {
                let content = self.disks[disk];
                assert!(content == Content::Own(entry) || content == Content::Base);
                assert!(!table.volume(disk).unwrap().state.failed);
                assert_eq!(table.served_by(disk), Some(entry));
            }
            // All that was written is in the store, or nothing was.
            let has_store = table.store_of(entry).is_some();
            let has_disk = volume.attr == Attr::Rw && table.disk_of(entry).is_some();
            let can = has_disk || (table.sources().next().is_some() && has_store);
            assert!(!can || table.is_served(entry), "{entry} of {table:?}");
        }
        for rebuild in table.rebuilds() {
            assert!(table.served_by(rebuild.target).is_none());
            let volume = table.volume(rebuild.entry).unwrap();
            let moves = volume.disk.is_some();
            assert_eq!(volume.health == Health::InSync, moves);
            assert!(moves || volume.health == Health::Rebuilding);
        }
    }

    fn fill(&mut self, entry: usize) {
        let old = self.table.disk_of(entry);
        let Some(rebuild) = self.table.rebuild_of(entry) else {
            assert!(self.table.with_rebuilt(entry).unwrap().is_none());
            return;
        };
        if !self.table.is_served(entry) {
            return;
        }
        self.disks[rebuild.target] = match self.table.volume(entry).unwrap().attr {
            Attr::Rw => Content::Own(entry),
            _ => Content::Base,
        };
        let next = self.table.with_rebuilt(entry).unwrap();
        assert!(next.is_some());
        self.become_(next);
        let volume = self.table.volume(entry).unwrap();
        assert_eq!(volume.health, Health::InSync);
        assert_eq!(self.table.disk_of(entry), Some(rebuild.target));
        if let Some(old) = old {
            assert_eq!(self.table.served_by(old), None);
            assert!(self.table.sources().all(|source| source != old));
            self.disks[old] = Content::Junk;
        }
    }

    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Fail(entry) => {
                let next = self.table.with_failed_disk(entry).unwrap();
                self.become_(next);
            }
            Event::Readd(entry) => {
                if self.table.volume(entry).unwrap().state.failed && entry != STORE {
                    self.disks[entry] = Content::Junk;
                }
                let next = self.table.with_readded(entry).unwrap();
                self.become_(next);
            }
            Event::Write(entry) => {
                if let Some(Home::Logged(disk)) = self.table.view(entry).map(|v| v.writes) {
                    let next = self.table.with_writes(entry).unwrap();
                    self.become_(next);
                    self.disks[disk] = Content::Own(entry);
                }
            }
            Event::Next => {
                let next = self.table.with_next_rebuild(|_| true, |_| true).unwrap();
                if next.is_none() {
                    // Whoever waits for a disk finds none.
                    let healthy = |entry: usize| {
                        let health = self.table.volume(entry).unwrap().health;
                        health == Health::InSync
                    };
                    for (_, lid) in LIDS[..5].iter().enumerate().filter(|(e, _)| !healthy(*e)) {
                        assert!(self.table.with_rebuild(&id(lid), None, |_| true).is_err());
                    }
                }
                self.begin(next);
            }
            Event::Restore(entry, onto) => {
                let (lid, onto) = (id(LIDS[entry]), id(LIDS[onto]));
                let next = self.table.with_rebuild(&lid, Some(&onto), |_| true);
                self.begin(next.ok());
            }
            Event::Cursor(entry, cursor) => {
                let events = self.table.head().events;
                let next = self.table.with_cursor(entry, cursor).unwrap();
                self.become_(next);
                assert_eq!(self.table.head().events, events);
            }
            Event::Fill(entry) => self.fill(entry),
            Event::Stop(entry) => {
                let next = self.table.with_rebuild_stopped(entry).unwrap();
                self.become_(next);
            }
            Event::Reload(missing) => {
                let text = line(missing);
                let bound = GroupTable::bind(&parse(&text), self.reread(), |_| Some(SECTORS));
                if let Ok(bound) = bound {
                    self.table = bound.table;
                    self.check();
                }
            }
        }
    }

    fn begin(&mut self, next: Option<GroupTable>) {
        if let Some(next) = next {
            let begun = next.rebuilds().last().unwrap();
            self.disks[begun.target] = Content::Junk;
            self.become_(Some(next));
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    Fail(usize),
    Readd(usize),
    Write(usize),
    Next,
    Restore(usize, usize),
    Cursor(usize, u64),
    Fill(usize),
    Stop(usize),
    Reload(u32),
}

fn events() -> impl Strategy<Value = Event> {
    let entry = 0..ENTRIES;
    prop_oneof![
        4 => entry.clone().prop_map(Event::Fail),
        3 => entry.clone().prop_map(Event::Readd),
        3 => entry.clone().prop_map(Event::Write),
        4 => Just(Event::Next),
        2 => (entry.clone(), entry.clone()).prop_map(|(a, b)| Event::Restore(a, b)),
        2 => (entry.clone(), 0..2 * SECTORS).prop_map(|(a, b)| Event::Cursor(a, b)),
        6 => entry.clone().prop_map(Event::Fill),
        1 => entry.clone().prop_map(Event::Stop),
        3 => (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(a, b, c)| Event::Reload(a & b & c)),
    ]
}

proptest! {
    #[test]
    fn whoever_can_be_served_is_served(
        copied: bool,
        events in prop::collection::vec(events(), 0..60),
    ) {
        let mut world = if copied { World::copied() } else { World::new() };
        world.check();
        for event in &events {
            world.apply(event);
        }
    }
}

#[test]
fn a_life_of_a_volume() {
    let mut world = World::new();
    let restore = |world: &World, lid, onto: Option<&str>| {
        let onto = onto.map(id);
        world
            .table
            .with_rebuild(&id(lid), onto.as_ref(), |_| true)
            .err()
    };
    assert_eq!(restore(&world, "XX", None), Some(RestoreError::Unknown));
    assert_eq!(restore(&world, "L2", None), None);
    let spare = Some(RestoreError::NoVolume(Attr::Spare));
    assert_eq!(restore(&world, "S5", None), spare);
    world.apply(&Event::Write(2));
    world.apply(&Event::Fail(2));
    for (onto, flaw) in [
        ("XX", TargetFlaw::Unknown),
        ("ST", TargetFlaw::Increments),
        ("L2", TargetFlaw::Failed),
        ("LV1", TargetFlaw::Serves(id("LV1"))),
    ] {
        let wanted = RestoreError::Target(flaw);
        assert_eq!(restore(&world, "L2", Some(onto)), Some(wanted));
    }
    world.apply(&Event::Next);
    assert_eq!(restore(&world, "L2", None), Some(RestoreError::Rebuilding));
    let rebuild = world.table.rebuild_of(2).unwrap();
    assert_eq!((rebuild.target, rebuild.cursor), (5, 0));
    assert_eq!(world.table.volume(5).unwrap().health, Health::Rebuilding);
    world.apply(&Event::Cursor(2, 128));
    // The spare is lost, and another one taken.
    world.apply(&Event::Reload((1 << 2) | (1 << 5)));
    assert_eq!(world.table.volume(2).unwrap().health, Health::Degraded);
    assert_eq!(world.table.volume(5).unwrap().health, Health::Failed);
    world.apply(&Event::Next);
    world.apply(&Event::Cursor(2, 256));
    world.apply(&Event::Reload(1 << 2));
    assert_eq!(world.table.rebuild_of(2).unwrap().cursor, 256);
    world.apply(&Event::Fill(2));
    assert_eq!(world.table.disk_of(2), Some(6));
    assert_eq!(world.table.view(2).unwrap().writes, Home::Logged(6));
    assert_eq!(world.table.volume(6).unwrap().health, Health::InSync);
    // That one is lost, too, and its own comes back.
    world.apply(&Event::Fail(6));
    assert_eq!(world.table.volume(2).unwrap().health, Health::Degraded);
    assert_eq!(restore(&world, "L2", None), Some(RestoreError::NoSpare));
    world.apply(&Event::Readd(2));
    world.apply(&Event::Restore(2, 2));
    world.apply(&Event::Fill(2));
    assert_eq!(world.table.disk_of(2), Some(2));
    // Without its increments there is nothing to rebuild from.
    world.apply(&Event::Fail(2));
    world.apply(&Event::Fail(STORE));
    assert_eq!(restore(&world, "L2", None), Some(RestoreError::Lost));
}

#[test]
fn disks_are_filled_from_the_first_one() {
    let mut world = World::copied();
    world.check();
    assert_eq!(world.table.rebuilds().count(), 4);
    let sources = |world: &World| world.table.sources().collect::<Vec<_>>();
    assert_eq!(sources(&world), [0]);
    // It is written meanwhile: to its increments.
    assert_eq!(world.table.view(2).unwrap().writes, Home::Kept);
    world.apply(&Event::Fill(1));
    assert_eq!(sources(&world), [0, 1]);
    world.apply(&Event::Fill(2));
    world.apply(&Event::Write(2));
    assert_eq!(world.table.view(2).unwrap().writes, Home::Logged(2));
    // What is not filled yet goes on from another one.
    world.apply(&Event::Fail(0));
    for entry in [3, 4] {
        world.apply(&Event::Cursor(entry, 128));
        world.apply(&Event::Reload(1));
        world.apply(&Event::Fill(entry));
        assert_eq!(world.table.disk_of(entry), Some(entry));
    }
}

#[test]
fn what_can_not_be_filled_is_refused() {
    let made = |text: &str| {
        let line = parse(text);
        let identity = Identity {
            uuid: [1; 16],
            group: line.group,
            sectors: SECTORS,
            block_sectors: line.block_sectors,
            logical_block_bytes: 512,
            copies: 1,
        };
        GroupTable::new(&identity, &line, |_| SECTORS).err()
    };
    let volumes = "G0 128 1 /m0 3 LV0 ro /d0 - L1 rw /d1 ST ST increments /d2 -";
    let copied = |from| made(&format!("{volumes} 3 init copy_from {from}"));
    assert_eq!(copied("LV0"), None);
    assert_eq!(copied("LV9"), Some(BindError::SourceUnknown(id("LV9"))));
    assert_eq!(copied("ST"), Some(BindError::SourceUnknown(id("ST"))));
    let written = BindError::SourceIsWritten(id("L1"));
    assert_eq!(copied("L1"), Some(written));
    let clone = volumes.replace("LV0 ro /d0 -", "LV0 ro - ST");
    assert_eq!(
        made(&format!("{clone} 3 init copy_from LV0")),
        Some(BindError::SourceNotHere(id("LV0")))
    );
    let bare = "G0 128 1 /m0 2 LV0 ro /d0 - L1 rw /d1 - 4 init copy_from LV0 allow_unprotected";
    assert_eq!(made(bare), Some(BindError::NoIncrements(id("L1"))));
}
