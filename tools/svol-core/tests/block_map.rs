// SPDX-License-Identifier: GPL-2.0

//! The block map against a model that knows the content of each sector.

use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use svol_core::{
    env::Wait,
    svol_core::{
        block_map::{BlockMap, Entry, Kind, WriteStep},
        slots::Slots,
    },
};

const SECTORS: u64 = 1003;

#[derive(Clone, Debug)]
enum Op {
    Write(u64, u32),
    Zero(u64, u32),
    Commit(usize),
}

fn any_op() -> impl Strategy<Value = Op> {
    let range = (0..SECTORS, 1..300u32).prop_map(|(at, len)| (at, len.min((SECTORS - at) as u32)));
    let aligned = (0..SECTORS / 8, 1..40u32).prop_map(|(at, len)| {
        let at = at * 8;
        (at, (len * 8).min((SECTORS - at) as u32))
    });
    prop_oneof![
        3 => range.clone().prop_map(|(at, len)| Op::Write(at, len)),
        3 => aligned.clone().prop_map(|(at, len)| Op::Write(at, len)),
        1 => aligned.prop_map(|(at, len)| Op::Zero(at, len)),
        1 => (0..20usize).prop_map(Op::Commit),
    ]
}

struct Volume {
    map: BlockMap,
    slots: Slots,
    shift: u32,
    /// Content of slots by sector; a value tells which write it came from.
    store: HashMap<u64, u32>,
    model: HashMap<u64, u32>,
}

impl Volume {
    fn slot_sector(&self, slot: u32, offset: u32) -> u64 {
        (u64::from(slot) << self.shift) + u64::from(offset)
    }

    fn read(&self, at: u64, len: u32) -> Vec<u32> {
        let mut content = vec![];
        let (mut at, mut left) = (at, len);
        while left > 0 {
            let run = self.map.read_run(at, left);
            assert!(run.sectors >= 1 && run.sectors <= left, "{run:?}");
            for i in 0..run.sectors {
                content.push(match run.kind {
                    Kind::Base => 1_000_000 + (at as u32 + i),
                    Kind::Zero => 0,
                    Kind::Slot { slot, offset } => {
                        self.store[&(self.slot_sector(slot, offset) + u64::from(i))]
                    }
                });
            }
            at += u64::from(run.sectors);
            left -= run.sectors;
        }
        content
    }

    fn write(&mut self, at: u64, len: u32, value: u32) {
        let (mut at, mut left) = (at, len);
        while left > 0 {
            let done = match self.map.write_run(&self.slots, at, left) {
                WriteStep::Run(run) => {
                    for i in 0..run.sectors {
                        let place = self.slot_sector(run.slot, run.offset) + u64::from(i);
                        self.store.insert(place, value);
                    }
                    let changed = self.map.written(at, run.sectors);
                    assert_eq!(changed, run.is_first);
                    run.sectors
                }
                WriteStep::Merge(sectors) => {
                    let sub = at / 8 * 8;
                    let end = (sub + 8).min(SECTORS);
                    let mut content = self.read(sub, (end - sub) as u32);
                    for i in 0..u64::from(sectors) {
                        content[(at + i - sub) as usize] = value;
                    }
                    let bid = sub >> self.shift;
                    let slot = self.map.get(bid).slot().unwrap();
                    let offset = (sub - (bid << self.shift)) as u32;
                    for (i, value) in content.iter().enumerate() {
                        let place = self.slot_sector(slot, offset) + i as u64;
                        self.store.insert(place, *value);
                    }
                    assert!(self.map.written(sub, (end - sub) as u32));
                    sectors
                }
                other => panic!("{other:?}"),
            };
            assert!(done >= 1 && done <= left);
            at += u64::from(done);
            left -= done;
        }
    }
}

proptest! {
    #[test]
    fn reads_what_was_written(shift in 3..=7u32, ops in prop::collection::vec(any_op(), 1..60)) {
        let map = BlockMap::new(SECTORS, shift).unwrap();
        let blocks = map.blocks() as u32;
        let slots = Slots::new(blocks + 5).unwrap();
        slots.set_limit(blocks + 5);
        let mut volume = Volume { map, slots, shift, store: HashMap::new(), model: HashMap::new() };
        // As the committed entries say; what was taken as dirty is there.
        let mut committed = HashMap::new();
        for (number, op) in ops.into_iter().enumerate() {
            let value = number as u32 + 1;
            match op {
                Op::Write(at, len) => {
                    volume.write(at, len, value);
                    for sector in at..at + u64::from(len) {
                        volume.model.insert(sector, value);
                    }
                }
                Op::Zero(at, len) => {
                    // Only blocks with a slot can be zeroed so.
                    volume.write(at, len, value);
                    volume.map.zeroed(at, len);
                    for sector in at..at + u64::from(len) {
                        volume.model.insert(sector, 0);
                    }
                }
                Op::Commit(limit) => {
                    volume.map.take_dirty(limit, |bid, entry| {
                        committed.insert(bid, entry);
                    });
                }
            }
            let expected: Vec<u32> = (0..SECTORS)
                .map(|s| volume.model.get(&s).copied().unwrap_or(1_000_000 + s as u32))
                .collect();
            prop_assert_eq!(volume.read(0, SECTORS as u32), expected);
        }
        // Nothing is forgotten.
        let more = volume.map.take_dirty(usize::MAX, |bid, entry| {
            committed.insert(bid, entry);
        });
        prop_assert!(!more);
        let mut mapped = 0;
        volume.map.for_each(|bid, entry| {
            mapped += 1;
            assert_eq!(committed.get(&bid), Some(&entry), "block {}", bid);
        });
        prop_assert_eq!(mapped, committed.len());
        // The same in parts.
        for limit in [1, 3, mapped.max(1)] {
            let (mut next, mut found) = (0, vec![]);
            while next < volume.map.blocks() {
                let before = found.len();
                next = volume.map.for_some(next, limit, |bid, entry| found.push((bid, entry)));
                prop_assert!(found.len() - before <= limit);
            }
            prop_assert_eq!(found.len(), mapped);
            prop_assert!(found.is_sorted_by_key(|(bid, _)| *bid));
            for (bid, entry) in &found {
                prop_assert_eq!(committed.get(bid), Some(entry));
            }
        }
        prop_assert_eq!(mapped as u32, volume.slots.used());
    }
}

proptest! {
    /// A pass in parts takes all that was marked before, and has an end while others mark blocks.
    #[test]
    fn a_pass_takes_all_that_was_dirty(
        first in prop::collection::btree_set(0..40_000u64, 1..1500),
        then in prop::collection::vec(0..40_000u64, 1..200),
        spread in 0..3u32,
    ) {
        // Close together, or far apart.
        let first: Vec<u64> = first.into_iter().map(|bid| bid >> (spread * 3)).collect();
        let map = BlockMap::new(40_000 * 8, 3).unwrap();
        let mark = |bid: u64| {
            map.make_room(bid, Wait::May).unwrap();
            map.update(bid, |entry| Some(entry.with_dirty(true))).unwrap();
        };
        first.iter().for_each(|bid| mark(*bid));
        let (mut at, mut taken, mut marked) = (0, HashSet::new(), HashSet::new());
        let mut then = then.iter().cycle();
        for round in 0.. {
            // No more than there are pages.
            prop_assert!(round < 80);
            let next = map.take_dirty_from(at, 512, |bid, _| {
                assert!(bid >= at);
                marked.remove(&bid);
                taken.insert(bid);
            });
            let Some(next) = next else { break };
            prop_assert!(next > at);
            at = next;
            for bid in then.by_ref().take(700) {
                mark(*bid);
                marked.insert(*bid);
            }
        }
        prop_assert!(first.iter().all(|bid| taken.contains(bid)));
        // What came behind it is for the next pass.
        let mut rest = HashSet::new();
        let more = map.take_dirty(usize::MAX, |bid, _| {
            rest.insert(bid);
        });
        prop_assert!(!more);
        prop_assert_eq!(rest, marked);
        prop_assert!(!map.is_dirty() && !map.may_be_dirty());
    }
}

/// A large map without anything in it takes several steps.
#[test]
fn large_maps_are_looked_at_in_parts() {
    let map = BlockMap::new(50_000 * 512 * 8, 3).unwrap();
    map.load(40_000 * 512, Entry::with_slot(7).with_data(1))
        .unwrap();
    let (mut next, mut calls, mut found) = (0, 0, vec![]);
    while next < map.blocks() {
        next = map.for_some(next, 10, |bid, _| found.push(bid));
        calls += 1;
    }
    assert_eq!((calls, found), (2, vec![40_000 * 512]));
}
