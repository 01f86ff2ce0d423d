// SPDX-License-Identifier: GPL-2.0

//! New groups whose disks are compared: in any order of verdicts, writes, failures and starts,
//! nobody is served by a disk that was not found to hold the base image.

mod common;

use common::id;
use proptest::prelude::*;
use svol_core::{
    env::Vec as CoreVec,
    svol_core::{
        attr::Attr,
        group::GroupTable,
        health::{Health, Protection},
        meta::Identity,
        route::Home,
        samples::Sample,
        table_line::TableLine,
    },
};

const SECTORS: u64 = 1024;
const VOLUMES: usize = 6;
/// The disk of C3 is not here; W5 is written without a log.
const ENTRIES: &str =
    "LV0 ro /d0 - C1 ro /d1 ST L2 rw /d2 ST C3 ro - ST LV4 ro /d4 - W5 rw /d5 - ST increments /st -";
const IN_PLACE: &str = "L0 rw /d0 ST L1 rw /d1 ST C2 ro - ST ST increments /st -";
const REFERENCE: usize = 0;
const NO_DISK: usize = 3;

fn parse(entries: &str, rest: &str) -> TableLine<&'static [u8]> {
    let count = entries.split(' ').count() / 4;
    let text: &'static str =
        Box::leak(format!("G0 128 2 /m0 /m1 {count} {entries}{rest}").into_boxed_str());
    TableLine::parse(SECTORS, text.split(' ').map(str::as_bytes)).unwrap()
}

fn new_group(entries: &str, rest: &str) -> GroupTable {
    let line = parse(entries, rest);
    let identity = Identity {
        uuid: [1; 16],
        group: line.group,
        sectors: SECTORS,
        block_sectors: line.block_sectors,
        logical_block_bytes: 512,
        copies: 2,
    };
    let table = GroupTable::new(&identity, &line, |_| SECTORS).unwrap();
    let mut samples = CoreVec::new();
    samples.try_push(Sample::take(0, b"base")).unwrap();
    table.activated(samples).unwrap()
}

#[derive(Clone, Debug)]
enum Event {
    Verified(usize),
    Differs(usize),
    /// It is loaded for writing.
    Opened(usize),
    GivenUp(usize),
    Start,
}

fn events() -> impl Strategy<Value = Event> {
    let volume = 0..VOLUMES;
    prop_oneof![
        4 => volume.clone().prop_map(Event::Verified),
        2 => volume.clone().prop_map(Event::Differs),
        2 => volume.clone().prop_map(Event::Opened),
        1 => volume.prop_map(Event::GivenUp),
        1 => Just(Event::Start),
    ]
}

/// What was found of a disk.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Found {
    Nothing,
    Base,
    Other,
}

struct World {
    table: GroupTable,
    found: [Found; VOLUMES],
    written: [bool; VOLUMES],
}

impl World {
    fn new() -> Self {
        let mut found = [Found::Nothing; VOLUMES];
        found[REFERENCE] = Found::Base;
        Self {
            table: new_group(ENTRIES, " 1 allow_unprotected"),
            found,
            written: [false; VOLUMES],
        }
    }

    fn apply(&mut self, event: &Event) {
        let next = match *event {
            Event::Verified(volume) => {
                let due = self.table.verification_of(volume);
                let next = self.table.with_verified(volume).unwrap();
                assert_eq!(due.is_some(), next.is_some());
                if due.is_some_and(|due| !due.is_pointless) {
                    self.found[volume] = Found::Base;
                }
                next
            }
            Event::Differs(volume) => {
                let next = self.table.with_diverged(volume).unwrap();
                if next.is_some() {
                    self.found[volume] = Found::Other;
                }
                next
            }
            Event::Opened(volume) => {
                let next = match self.table.view(volume).unwrap().writes {
                    Home::Logged(_) => self.table.with_writes(volume).unwrap(),
                    Home::Disk(_) => self.table.with_unprotected(volume).unwrap(),
                    _ => None,
                };
                // The module lets nobody write the last disk that others need.
                let next = next.filter(|next| next.sources().next().is_some());
                self.written[volume] |= next.is_some();
                next
            }
            Event::GivenUp(volume) => {
                let next = self.table.with_disk_given_up(volume).ok();
                if next.is_some() {
                    // Nobody lost anything: others have it.
                    assert_ne!(self.found[volume], Found::Other);
                    assert!(self.table.reads_alone(volume).is_none());
                }
                next
            }
            Event::Start => {
                let line = parse(ENTRIES, " 1 allow_unprotected");
                let metadata = self.table.metadata().try_clone().unwrap();
                Some(
                    GroupTable::bind(&line, metadata, |_| Some(SECTORS))
                        .unwrap()
                        .table,
                )
            }
        };
        if let Some(next) = next {
            next.metadata().check().unwrap();
            self.table = next;
        }
    }

    fn check(&self) {
        for source in self.table.sources() {
            assert_eq!(self.found[source], Found::Base, "{source} is a source");
            assert!(!self.written[source]);
        }
        for volume in 0..VOLUMES {
            let record = self.table.volume(volume).unwrap();
            let view = self.table.view(volume).unwrap();
            let is_alone = matches!(record.health, Health::Verifying | Health::Diverged);
            assert_eq!(self.table.reads_alone(volume), is_alone.then_some(volume));
            assert!(self.table.is_served(volume) || self.table.sources().next().is_none());
            if is_alone {
                assert_eq!(self.table.protection(volume), Protection::Unprotected);
                assert_eq!(self.table.redundancy(), 0);
                assert_ne!(view.reads, Home::Base);
                assert!(self
                    .table
                    .with_rebuild(&record.lid, None, |_| true)
                    .is_err());
            }
            match self.found[volume] {
                Found::Other => assert_eq!(record.health, Health::Diverged),
                Found::Base => assert!(!is_alone),
                Found::Nothing => (),
            }
        }
    }
}

proptest! {
    #[test]
    fn only_what_was_compared_serves_others(events in prop::collection::vec(events(), 0..40)) {
        let mut world = World::new();
        world.check();
        for event in &events {
            world.apply(event);
            world.check();
        }
    }
}

#[test]
fn how_a_group_begins() {
    let table = new_group(ENTRIES, " 3 init verify allow_unprotected");
    let healths: Vec<_> = table.volumes().iter().map(|volume| volume.health).collect();
    use Health::{InSync, Verifying};
    // One without a disk has nothing to compare.
    assert_eq!(
        healths,
        [InSync, Verifying, Verifying, InSync, Verifying, Verifying, InSync]
    );
    assert_eq!(table.disk_of(NO_DISK), None);
    assert_eq!(table.view(NO_DISK).unwrap().reads, Home::Overlay);
    assert_eq!(table.view(4).unwrap().reads, Home::Disk(4));
    let due: Vec<_> = table.verifications().map(|due| due.entry).collect();
    assert_eq!(due, [1, 2, 4, 5]);

    let table = new_group(IN_PLACE, "");
    assert_eq!(table.sources().collect::<Vec<_>>(), [0]);
    assert_eq!(table.volume(1).unwrap().health, Verifying);
    let table = table.with_verified(1).unwrap().unwrap();
    assert_eq!(table.sources().collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn what_is_not_compared_is_not_failed_over() {
    let table = new_group(ENTRIES, " 1 allow_unprotected");
    for volume in [1, 2, 4, 5] {
        let next = table.with_failed_disk(volume).unwrap().unwrap();
        next.metadata().check().unwrap();
        assert!(!next.is_served(volume));
        assert_eq!(next.health(volume), Some(Health::Failed));
        assert_eq!(next.view(volume).unwrap().reads, Home::Nowhere);
        let lid = next.volume(volume).unwrap().lid;
        assert!(next.with_rebuild(&lid, None, |_| true).is_err());
    }
    // The others do not need the reference for what they hold.
    let next = table.with_failed_disk(REFERENCE).unwrap().unwrap();
    for volume in [1, 2, 4, 5] {
        assert!(next.is_served(volume));
        assert!(
            next.volume(volume).unwrap().attr == Attr::Rw || next.position(&id("ST")).is_some()
        );
    }
}
