// SPDX-License-Identifier: GPL-2.0

//! What the lock-free parts promise each other, in all orders that a model checker finds in which a
//! thread is interrupted a few times. It knows most of what the kernel's memory model allows, not
//! all. Built with `--cfg loom` only: `make check TEST=host`.
//!
//! The content of a slot is a cell that must not be read and written at once: a device would mix
//! the two. Who waits in the kernel by sleeping yields here.

#![cfg(loom)]

use loom::{
    cell::UnsafeCell,
    model::Builder,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
};
use std::sync::{
    atomic::{AtomicUsize, Ordering::Relaxed},
    Arc,
};
use svol_core::{
    env::Wait,
    svol_core::{
        block_map::{BlockMap, Entry, Kind, WriteStep},
        changes::{Changes, Told},
        deadline::Deadline,
        flush_request::FlushRequest,
        grace::{Grace, Ticket},
        intents::Intents,
        repair_gate::RepairGate,
        slots::Slots,
        write_locks::WriteLocks,
    },
};

/// Sectors of a sub-block.
const SUB: u32 = 8;

/// Sectors of a block in these tests, as a shift.
const BLOCK_SHIFT: u32 = 4;
const BLOCK: u32 = 1 << BLOCK_SHIFT;

/// All orders in which a thread is interrupted at most so often where it need not be.
fn check(preemptions: usize, test: impl Fn() + Send + Sync + 'static) {
    let orders = Arc::new(AtomicUsize::new(0));
    let count = orders.clone();
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        count.fetch_add(1, Relaxed);
        test();
    });
    let orders = orders.load(Relaxed);
    println!("{orders} orders");
    assert!(orders > 1);
}

/// What a slot holds: the device sees who reads and who writes.
struct Content(UnsafeCell<()>);

impl Content {
    fn new() -> Self {
        Self(UnsafeCell::new(()))
    }

    fn read(&self) {
        self.0.with(|_| ());
    }

    fn write(&self) {
        self.0.with_mut(|_| ());
    }
}

/// A store with one volume.
struct Store {
    map: BlockMap,
    slots: Slots,
    grace: Grace,
    /// Of each slot, by sub-block.
    content: Vec<[Content; 2]>,
}

impl Store {
    fn new(blocks: u64, slots: u32) -> Self {
        let map = BlockMap::new(blocks << BLOCK_SHIFT, BLOCK_SHIFT).unwrap();
        for bid in 0..blocks {
            map.make_room(bid, Wait::May).unwrap();
        }
        let store = Self {
            map,
            slots: Slots::new(slots).unwrap(),
            grace: Grace::new(2),
            content: (0..slots)
                .map(|_| [Content::new(), Content::new()])
                .collect(),
        };
        store.slots.set_limit(slots);
        store
    }

    fn content(&self, slot: u32, offset: u32) -> &Content {
        &self.content[slot as usize][(offset / SUB) as usize]
    }

    /// A block is in this slot, and all of it was written.
    fn load(&self, bid: u64, slot: u32) {
        assert!(self.slots.take_this(slot));
        let entry = Entry::with_slot(slot).with_data(3);
        self.map.load(bid, entry).unwrap();
    }

    fn read(&self, cpu: u32, sector: u64) {
        let ticket = self.grace.enter(cpu);
        if let Kind::Slot { slot, offset } = self.map.read_run(sector, 1).kind {
            self.content(slot, offset).read();
        }
        self.grace.leave(ticket);
    }

    /// Writes one sub-block; returns whether that was possible at once.
    fn write(&self, cpu: u32, sector: u64) -> bool {
        let ticket = self.grace.enter(cpu);
        let step = self.map.write_run(&self.slots, sector, SUB);
        if let WriteStep::Run(run) = step {
            assert_eq!(run.sectors, SUB);
            self.content(run.slot, run.offset).write();
            if run.is_first {
                self.map.written(sector, SUB);
            }
        }
        self.grace.leave(ticket);
        matches!(step, WriteStep::Run(_))
    }

    fn wait_for_others(&self) {
        for _ in 0..2 {
            self.turn();
        }
    }

    fn turn(&self) {
        self.grace.turn();
        while !self.grace.is_over() {
            thread::yield_now();
        }
    }

    fn set_frozen(&self, bid: u64, frozen: bool) {
        let done = self
            .map
            .update(bid, |entry| Some(entry.with_frozen(frozen)));
        assert!(done.is_some());
    }

    /// Gives a block's slot back, as a discard does; `wait` is called before the slot is free.
    fn free(&self, bid: u64, wait: impl FnOnce(&Self)) {
        self.set_frozen(bid, true);
        self.wait_for_others();
        let out = |entry: Entry| Some(entry.moved_to(None).with_dirty(false));
        let slot = self.map.update(bid, out).and_then(|(old, _)| old.slot());
        // Here its entry goes on disk.
        wait(self);
        if let Some(slot) = slot {
            self.slots.free(slot);
        }
        self.set_frozen(bid, false);
    }
}

/// Who reads a slot that is being freed does not see what its next block is.
fn read_while_reused(wait: fn(&Store)) {
    check(3, move || {
        let store = Arc::new(Store::new(2, 1));
        store.load(0, 0);
        let other = store.clone();
        let reader = thread::spawn(move || other.read(1, 0));
        store.free(0, wait);
        // There is but one slot.
        assert!(store.write(0, u64::from(BLOCK)));
        reader.join().unwrap();
    });
}

#[test]
fn no_slot_is_reused_under_a_reader() {
    read_while_reused(Store::wait_for_others);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn catches_slots_reused_under_a_reader() {
    read_while_reused(|_| ());
}

/// The turns of two frees in a row must not take a reader of the second for one that was waited
/// for.
fn read_while_two_are_freed(turns: u32) {
    check(3, move || {
        let store = Arc::new(Store::new(2, 2));
        store.load(0, 0);
        store.load(1, 1);
        let other = store.clone();
        let reader = thread::spawn(move || other.read(0, u64::from(BLOCK)));
        for bid in 0..2 {
            let out = |entry: Entry| Some(entry.moved_to(None));
            store.map.update(bid, out).unwrap();
            for _ in 0..turns {
                store.turn();
            }
        }
        store.content(1, 0).write();
        reader.join().unwrap();
    });
}

#[test]
fn two_turns_are_enough() {
    read_while_two_are_freed(2);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn catches_one_turn_only() {
    read_while_two_are_freed(1);
}

/// Who finds a block in a slot finds what was written there.
#[test]
fn a_first_write_shows_when_it_is_done() {
    check(3, || {
        let store = Arc::new(Store::new(1, 1));
        let other = store.clone();
        let reader = thread::spawn(move || {
            other.read(1, 0);
            other.read(1, 8);
        });
        assert!(store.write(0, 0));
        reader.join().unwrap();
        assert_eq!(store.map.get(0).data(), 1);
    });
}

/// The same, if the map is changed first.
#[test]
#[should_panic(expected = "Causality violation")]
fn catches_maps_changed_before_the_write() {
    check(3, || {
        let store = Arc::new(Store::new(1, 1));
        let other = store.clone();
        let reader = thread::spawn(move || other.read(1, 0));
        if let WriteStep::Run(run) = store.map.write_run(&store.slots, 0, SUB) {
            store.map.written(0, SUB);
            store.content(run.slot, run.offset).write();
        }
        reader.join().unwrap();
    });
}

/// Two first writes of one block, in two sub-blocks: one slot has both.
#[test]
fn two_first_writes_share_a_slot() {
    check(3, || {
        let store = Arc::new(Store::new(1, 2));
        let other = store.clone();
        let writer = thread::spawn(move || other.write(1, 8));
        assert!(store.write(0, 0));
        assert!(writer.join().unwrap());
        let entry = store.map.get(0);
        assert_eq!((entry.data(), entry.zero()), (3, 0));
        assert_eq!(store.slots.used(), 1);
        assert!(entry.is_dirty());
    });
}

/// The same, where even the page of the map has to be made by whoever is faster.
#[test]
fn two_first_writes_of_a_page() {
    check(3, || {
        let mut store = Store::new(1, 2);
        store.map = BlockMap::new(16, BLOCK_SHIFT).unwrap();
        let store = Arc::new(store);
        let other = store.clone();
        let writer = thread::spawn(move || other.write(1, 8));
        // The page may be about to show only.
        let here = store.write(0, 0);
        let there = writer.join().unwrap();
        assert!(here || there);
        let entry = store.map.get(0);
        assert_eq!(entry.data(), u16::from(here) | u16::from(there) << 1);
        assert_eq!(store.slots.used(), 1);
    });
}

/// A write beside a discard goes before it or after it: no slot is lost, and none has two blocks.
#[test]
fn a_write_beside_a_discard() {
    check(3, || {
        let store = Arc::new(Store::new(1, 1));
        store.load(0, 0);
        let other = store.clone();
        let writer = thread::spawn(move || other.write(1, 0));
        store.free(0, Store::wait_for_others);
        writer.join().unwrap();
        let entry = store.map.get(0);
        assert_eq!(store.slots.used(), u32::from(entry.slot().is_some()));
        assert!(!entry.is_frozen());
        // What was there before is gone.
        assert_eq!(entry.data() & 2, 0);
    });
}

/// While a block is frozen, nobody writes to it.
fn write_while_merged(wait: fn(&Store)) {
    check(3, move || {
        let store = Arc::new(Store::new(1, 1));
        store.load(0, 0);
        let other = store.clone();
        let writer = thread::spawn(move || other.write(1, 0));
        store.set_frozen(0, true);
        wait(&store);
        store.content(0, 0).write();
        store.map.written(0, SUB);
        store.set_frozen(0, false);
        writer.join().unwrap();
    });
}

#[test]
fn no_write_meets_a_merge() {
    write_while_merged(Store::wait_for_others);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn catches_merges_that_do_not_wait() {
    write_while_merged(|_| ());
}

/// A commit that begins after a change writes it; one that is under way may.
#[test]
fn no_change_is_left_out_of_all_commits() {
    check(3, || {
        let store = Arc::new(Store::new(1, 1));
        assert!(store.slots.take_this(0));
        store.map.load(0, Entry::with_slot(0)).unwrap();
        let other = store.clone();
        let writer = thread::spawn(move || assert!(other.map.written(8, SUB)));
        let mut on_disk = Entry::EMPTY;
        assert!(store.map.written(0, SUB));
        store.map.take_dirty(8, |_, entry| on_disk = entry);
        // The one before is the commit of this one.
        assert_eq!(on_disk.data() & 1, 1);
        writer.join().unwrap();
        store.map.take_dirty(8, |_, entry| on_disk = entry);
        assert_eq!(on_disk.data(), 3);
        assert!(!store.map.is_dirty());
    });
}

/// A pass that goes on behind a block leaves its mark to the next one.
#[test]
fn no_change_is_left_out_by_a_pass_in_parts() {
    check(2, || {
        // Each in a page of its own.
        let store = Arc::new(Store::new(4, 2));
        for (bid, slot) in [(0, 0), (2, 1)] {
            assert!(store.slots.take_this(slot));
            store.map.load(bid, Entry::with_slot(slot)).unwrap();
        }
        let other = store.clone();
        let writer = thread::spawn(move || other.map.written(0, SUB));
        let mut taken = 0;
        store.map.written(u64::from(2 * BLOCK), SUB);
        store.map.take_dirty_from(2, 8, |bid, _| taken |= 1 << bid);
        assert_eq!(taken, 4);
        writer.join().unwrap();
        store.map.take_dirty(8, |bid, _| taken |= 1 << bid);
        assert_eq!(taken, 5);
    });
}

/// A write that found its sub-block written already is done; a flush after it waits for a commit,
/// unless there was one.
fn flush_after_two_writes(is_committed: bool) {
    let preemptions = if is_committed { 2 } else { 3 };
    check(preemptions, move || {
        let store = Arc::new(Store::new(1, 1));
        assert!(store.slots.take_this(0));
        store.map.load(0, Entry::with_slot(0)).unwrap();
        let changes = Arc::new(Changes::new(Grace::new(2)));
        let on_disk = Arc::new(AtomicBool::new(false));
        let (other, noted) = (store.clone(), changes.clone());
        let writer = thread::spawn(move || {
            noted.note(1, || other.map.written(0, SUB));
        });
        let (other, noted, done) = (store.clone(), changes.clone(), on_disk.clone());
        let committer = is_committed.then(|| {
            thread::spawn(move || {
                noted.begin_commit();
                for _ in 0..2 {
                    noted.noting().turn();
                    while !noted.noting().is_over() {
                        thread::yield_now();
                    }
                }
                other.map.take_dirty(8, |_, _| done.store(true, SeqCst));
                noted.end_commit(true);
            })
        });
        changes.note(0, || store.map.written(0, SUB));
        assert!(changes.is_busy() || on_disk.load(SeqCst));
        writer.join().unwrap();
        if let Some(committer) = committer {
            committer.join().unwrap();
        }
    });
}

#[test]
fn a_flush_sees_what_waits_for_a_commit() {
    flush_after_two_writes(false);
}

#[test]
fn a_flush_sees_what_a_commit_has_taken() {
    flush_after_two_writes(true);
}

/// A flush that finds nothing to wait for is told of what a commit before has lost, even if the one after
/// that went well.
fn flush_after_a_loss(lose_first: bool) {
    check(3, move || {
        let changes = Arc::new(Changes::new(Grace::new(2)));
        let is_lost = Arc::new(AtomicBool::new(false));
        changes.note(0, || true);
        let (other, lost) = (changes.clone(), is_lost.clone());
        let committer = thread::spawn(move || {
            other.begin_commit();
            lost.store(true, SeqCst);
            if lose_first {
                other.lose();
            }
            other.end_commit(false);
            other.begin_commit();
            other.end_commit(true);
            if !lose_first {
                other.lose();
            }
        });
        // In this order, as a flush looks.
        while changes.is_busy() {
            thread::yield_now();
        }
        let passes = !changes.is_untold(&Told::new());
        assert!(!(passes && is_lost.load(SeqCst)));
        committer.join().unwrap();
        assert!(changes.is_untold(&Told::new()));
    });
}

#[test]
fn a_flush_is_told_of_a_loss() {
    flush_after_a_loss(true);
}

#[test]
#[should_panic(expected = "passes")]
fn catches_losses_that_show_too_late() {
    flush_after_a_loss(false);
}

/// The device loses something while a volume is told of something else that it lost: the volume has to be
/// told again.
fn losses_at_once(tell: impl Fn(&Changes, &Told) + Copy + Send + Sync + 'static) {
    check(3, move || {
        let shared = Arc::new((Changes::new(Grace::new(2)), Told::new()));
        let other = shared.clone();
        let loser = thread::spawn(move || other.0.lose());
        tell(&shared.0, &shared.1);
        loser.join().unwrap();
        assert!(shared.0.is_untold(&shared.1), "swallowed");
    });
}

#[test]
fn each_loss_is_told() {
    losses_at_once(Changes::lose_and_tell);
}

#[test]
#[should_panic(expected = "swallowed")]
fn catches_a_loss_that_is_swallowed() {
    losses_at_once(|changes, told| {
        changes.lose();
        told.set(changes.losses());
    });
}

/// Two want a worker to run, one of them sooner: the timer is set to that.
#[test]
fn the_earliest_deadline_counts() {
    check(3, || {
        let shared = Arc::new((Deadline::new(), AtomicU64::new(0)));
        let by = |shared: &(Deadline, AtomicU64), at: u64| {
            shared.0.by(at, |at| {
                shared.1.swap(at, SeqCst);
            });
        };
        let other = shared.clone();
        let first = thread::spawn(move || by(&other, 1000));
        by(&shared, 50);
        first.join().unwrap();
        assert_eq!(shared.1.load(SeqCst), 50);
    });
}

/// Who finds that a run was asked for already leaves its work to that.
fn work_beside_a_run(look_first: bool) {
    check(3, move || {
        let shared = Arc::new((Deadline::new(), AtomicU64::new(0), AtomicBool::new(false)));
        shared.0.by(40, |_| ());
        let other = shared.clone();
        let runner = thread::spawn(move || {
            let (deadline, _, work) = &*other;
            let early = look_first && work.load(Relaxed);
            deadline.clear();
            if look_first {
                early
            } else {
                work.load(Relaxed)
            }
        });
        let (deadline, timer, work) = &*shared;
        work.store(true, Relaxed);
        deadline.by(50, |at| {
            timer.swap(at, SeqCst);
        });
        assert!(runner.join().unwrap() || timer.load(SeqCst) == 50);
    });
}

#[test]
fn no_work_is_left_to_a_run_that_has_begun() {
    work_beside_a_run(false);
}

#[test]
#[should_panic(expected = "runner")]
fn catches_runs_that_look_first() {
    work_beside_a_run(true);
}

/// Writes of a logged volume that overlap do not go on at once.
#[test]
fn overlapping_writes_wait_for_each_other() {
    check(3, || {
        let locks = WriteLocks::new(BLOCK_SHIFT).unwrap();
        let shared = Arc::new((locks, [Content::new(), Content::new()]));
        let write = |shared: &(WriteLocks, [Content; 2]), sector: u64, sectors: u32| {
            let (locks, content) = shared;
            let taken = locks.take(sector, sectors);
            if taken > 0 {
                let last = (sector + u64::from(taken) - 1) / u64::from(SUB);
                for sub in sector / u64::from(SUB)..=last {
                    content[sub as usize].write();
                }
                locks.release(sector, taken);
            }
            taken
        };
        let other = shared.clone();
        let first = thread::spawn(move || write(&other, 4, 8));
        let taken = write(&shared, 0, BLOCK);
        let other = first.join().unwrap();
        // One of them comes through, at least.
        assert!(taken == BLOCK || other == SUB);
        assert_eq!(shared.0.take(0, BLOCK), BLOCK);
    });
}

/// A mark on disk is not cleared while a write relies on it.
fn write_while_marks_are_cleared(wait: fn(&Grace)) {
    check(3, move || {
        let shared = Arc::new((Intents::new(1, 11).unwrap(), Grace::new(2), Content::new()));
        shared.0.mark(0);
        // Not written since.
        shared.0.take_idle(|_| ());
        let other = shared.clone();
        let writer = thread::spawn(move || {
            let (intents, grace, on_disk) = &*other;
            let ticket: Ticket = grace.enter(1);
            if intents.touch(0, 8) {
                // It has to stand there as long as this takes.
                on_disk.read();
            }
            grace.leave(ticket);
        });
        let (intents, grace, on_disk) = &*shared;
        let mut idle = false;
        intents.take_idle(|_| idle = true);
        if idle {
            wait(grace);
            on_disk.write();
        }
        writer.join().unwrap();
    });
}

#[test]
fn no_mark_is_cleared_under_a_write() {
    write_while_marks_are_cleared(wait_for_writers);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn catches_marks_cleared_under_a_write() {
    write_while_marks_are_cleared(|_| ());
}

/// Waits until nobody relies on what was before.
fn wait_for_writers(grace: &Grace) {
    for _ in 0..2 {
        grace.turn();
        while !grace.is_over() {
            thread::yield_now();
        }
    }
}

/// A write goes to a disk with a cache, which another worker flushes when it is asked to. Its mark is
/// cleared only if it was flushed.
fn write_while_a_flush_is_asked_for(wait: fn(&Grace)) {
    check(2, move || {
        let marks = (Intents::new(1, 11).unwrap(), Grace::new(2));
        marks.0.mark_ahead(0);
        let disk = (AtomicU64::new(0), AtomicU64::new(0));
        let shared = Arc::new((marks, FlushRequest::new(), disk));
        let others = [shared.clone(), shared.clone()];
        let [one, other] = others;
        let writer = thread::spawn(move || {
            let ((intents, grace), _, (cache, _)) = &*one;
            let ticket: Ticket = grace.enter(1);
            if intents.touch(0, 8) {
                cache.store(1, SeqCst);
            }
            grace.leave(ticket);
        });
        let flusher = thread::spawn(move || {
            let (_, flush, (cache, medium)) = &*other;
            if let Some(request) = flush.pending() {
                medium.store(cache.load(SeqCst), SeqCst);
                flush.meet(request);
            }
        });
        let ((intents, grace), flush, (cache, medium)) = &*shared;
        let mut is_cleared = false;
        for _ in 0..3 {
            let is_flushed = flush.take();
            let mut is_idle = false;
            intents.take_idle(|_| is_idle = true);
            if !is_idle {
                continue;
            }
            wait(grace);
            flush.ask();
            is_cleared |= is_flushed && !intents.is_touched(0);
            if !is_cleared {
                intents.mark_ahead(0);
            }
        }
        writer.join().unwrap();
        flusher.join().unwrap();
        if is_cleared {
            assert_eq!(cache.load(SeqCst), medium.load(SeqCst), "not flushed");
        }
    });
}

#[test]
fn no_mark_is_cleared_before_a_flush() {
    write_while_a_flush_is_asked_for(wait_for_writers);
}

#[test]
#[should_panic(expected = "not flushed")]
fn catches_a_flush_asked_for_too_early() {
    write_while_a_flush_is_asked_for(|_| ());
}

/// Nobody changes what a repair relies on while that goes on, be it by waiting for it or by letting
/// none begin.
fn change_while_a_disk_is_repaired(wait: fn(&RepairGate)) {
    check(3, move || {
        let shared = Arc::new((RepairGate::new(), Content::new()));
        let other = shared.clone();
        let worker = thread::spawn(move || {
            let (gate, relied_on) = &*other;
            for _ in 0..2 {
                if gate.begin(1) {
                    relied_on.read();
                    gate.end();
                }
            }
        });
        let (gate, relied_on) = &*shared;
        gate.pause();
        wait(gate);
        relied_on.write();
        gate.go_on();
        worker.join().unwrap();
        assert!(gate.begin(1));
    });
}

#[test]
fn no_change_under_a_repair() {
    change_while_a_disk_is_repaired(|gate| {
        while gate.now() == Some(1) {
            thread::yield_now();
        }
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn catches_a_change_under_a_repair() {
    change_while_a_disk_is_repaired(|_| ());
}

/// A repair of another disk is not waited for.
#[test]
fn others_are_not_waited_for() {
    check(3, || {
        let gate = Arc::new(RepairGate::new());
        let other = gate.clone();
        let worker = thread::spawn(move || other.begin(2));
        gate.pause();
        assert!(gate.now() != Some(1));
        gate.go_on();
        worker.join().unwrap();
    });
}
