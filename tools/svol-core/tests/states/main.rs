// SPDX-License-Identifier: GPL-2.0

//! The states of small groups, all of them: every event in every state, with two things under way
//! at a time, and a restart between any two steps.
//!
//! Groups that have too many states are gone through as deep as time allows; with `--ignored`, to
//! the end.

#[path = "../common/mod.rs"]
mod common;

mod check;
mod events;
mod silence;
mod world;

use events::{events, Broken, Event};
use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hasher};
use std::sync::OnceLock;
use svol_core::svol_core::{
    attr::Attr,
    group::states::{EntryRow, Event as Transition, DISKS, ENTRIES},
    health::Health,
};
use world::{Shape, World};

/// However deep.
const ALL: usize = usize::MAX;

/// How a group came to be: where the events are that led to a state.
struct Step {
    before: usize,
    event: Event,
}

/// What was seen.
struct Seen {
    states: usize,
    deepest: usize,
    events: usize,
    /// Rows of the table of transitions, a bit each.
    rows: u32,
}

/// Goes through all states of a group.
fn explore(
    shape: &'static Shape,
    depth: usize,
    most: usize,
    broken: Broken,
) -> Result<Seen, String> {
    let mut known = HashSet::with_hasher(BuildHasherDefault::<First>::default());
    let mut durable = known.clone();
    let mut steps: Vec<Step> = Vec::new();
    let mut queue = VecDeque::new();
    let first = World::new(shape);
    known.insert(key(&first, true));
    queue.push_back((first, usize::MAX, 0));
    let mut seen = Seen {
        states: 1,
        deepest: 0,
        events: 0,
        rows: 0,
    };
    while let Some((world, step, far)) = queue.pop_front() {
        if far >= depth {
            continue;
        }
        let mut spare = None;
        // What a start makes of it depends on what is durable alone.
        let may_restart = durable.insert(key(&world, false));
        for event in events(&world) {
            if matches!(event, Event::Restart(_)) && !may_restart {
                continue;
            }
            let mut next: World = spare.take().unwrap_or_else(|| world.try_clone());
            let fails = |why: String| {
                let mut story = vec![format!("{event:?}")];
                let mut at = step;
                while let Some(step) = steps.get(at) {
                    story.push(format!("{:?}", step.event));
                    at = step.before;
                }
                story.reverse();
                format!("{}: {why}, after {}", shape.name, story.join(", "))
            };
            let applied = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                next.apply(event, most, broken)
            }));
            let could = applied.map_err(|why| {
                let why = why.downcast_ref::<String>().cloned();
                fails(why.unwrap_or_else(|| "a panic".into()))
            })?;
            if !could {
                // What can't happen leaves no trace.
                spare = Some(next);
                if event == Event::Restart(None) {
                    return Err(fails("it can't be started".into()));
                }
                continue;
            }
            seen.events += 1;
            going_on(&world, &next, event).map_err(fails)?;
            seen.rows |= rows(&world, &next).map_err(fails)?;
            next.forget();
            if known.insert(key(&next, true)) {
                next.check().map_err(fails)?;
                seen.states += 1;
                seen.deepest = far + 1;
                steps.push(Step {
                    before: step,
                    event,
                });
                queue.push_back((next, steps.len() - 1, far + 1));
            }
        }
    }
    Ok(seen)
}

/// P5, P7: what is served stays so, unless a start lacks a device; what is being filled stays so.
fn going_on(before: &World, after: &World, event: Event) -> Result<(), String> {
    if matches!(event, Event::Restart(Some(_))) {
        return Ok(());
    }
    for volume in before.volumes() {
        let stays = after.at(volume).is_some();
        if stays && before.is_served(volume) && !after.is_served(volume) {
            return Err(format!("volume {volume} was served, and is not"));
        }
        let is_restart = event == Event::Restart(None);
        if is_restart && before.target_of(volume) != after.target_of(volume) {
            return Err(format!("volume {volume} was being rebuilt, and is not"));
        }
    }
    Ok(())
}

/// The rows of the core's table that have led from one state to the other.
fn rows(before: &World, after: &World) -> Result<u32, String> {
    let mut rows = 0;
    for number in before.members() {
        let record = |world: &World| {
            let volume = *world.table.volume(world.at(number)?)?;
            Some((volume.attr, volume.health, volume.disk))
        };
        let (Some((attr, from, disk)), Some((_, to, then))) = (record(before), record(after))
        else {
            continue;
        };
        let leads =
            |row: &EntryRow| row.attrs.contains(&attr) && row.from.contains(&from) && row.to == to;
        let found = ENTRIES.iter().enumerate().filter(|(_, row)| leads(row));
        if from == to && disk == then && before.attr(number) == after.attr(number) {
            continue;
        }
        let found = found.fold(0, |all, (row, _)| all | (1 << row));
        if found == 0 {
            return Err(format!("{number} goes from {from} to {to}"));
        }
        rows |= found;
    }
    Ok(rows)
}

/// A key is hashed already.
#[derive(Default)]
struct First(u64);

impl Hasher for First {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes
            .iter()
            .take(8)
            .fold(0, |all, byte| (all << 8) | u64::from(*byte));
    }
}

/// What tells a state from others.
fn key(world: &World, with_live: bool) -> u128 {
    let mut order: Vec<usize> = (0..world.len()).collect();
    let mut key = world.key(&order, with_live);
    if let Some((one, two)) = world.shape.twins {
        order.swap(one, two);
        key = key.min(world.key(&order, with_live));
    }
    let half = |salt: u8| {
        let mut hasher = BuildHasherDefault::<DefaultHasher>::default().build_hasher();
        hasher.write_u8(salt);
        hasher.write(&key);
        u128::from(hasher.finish())
    };
    (half(1) << 64) | half(2)
}

/// LID, attribute and RLID of each entry.
type Entries = &'static [(&'static str, &'static str, &'static str)];

const SPARE: (&str, &str, &str) = ("S0", "spare", "-");
const STORE: (&str, &str, &str) = ("DLV", "increments", "-");

/// That of the patent.
const FIGURE_9: Entries = &[
    ("LV0", "ro", "-"),
    ("LV1", "ro", "-"),
    ("LV2", "rw", "DLV"),
    SPARE,
    STORE,
];

fn shape(name: &'static str, entries: Entries) -> Shape {
    Shape {
        name,
        entries,
        init: " 2 init assume_identical",
        features: "",
        copies: 2,
        copies_fail: false,
        twins: None,
        shrinks: false,
        joins: 0,
        in_parts: false,
        falls_silent: false,
        lids: OnceLock::new(),
    }
}

fn figure_9() -> Shape {
    Shape {
        twins: Some((0, 1)),
        ..shape("figure-9", FIGURE_9)
    }
}

fn one_sibling() -> Shape {
    let entries = &[("LV0", "ro", "-"), ("LV1", "rw", "DLV"), SPARE, STORE];
    Shape {
        copies_fail: true,
        ..shape("one-sibling", entries)
    }
}

fn diverted() -> Shape {
    let entries = &[
        ("LV0", "ro", "-"),
        ("LV1", "ro", "DLV"),
        ("LV2", "rw", "DLV"),
        STORE,
    ];
    shape("diverted", entries)
}

fn in_place_only() -> Shape {
    let entries = &[("LV0", "rw", "DLV"), ("LV1", "rw", "DLV"), SPARE, STORE];
    Shape {
        twins: Some((0, 1)),
        ..shape("in-place-only", entries)
    }
}

/// One whose volumes may be written without a log.
fn shape_without_logs(name: &'static str, entries: Entries) -> Shape {
    Shape {
        init: " 3 init assume_identical allow_unprotected",
        features: " 1 allow_unprotected",
        ..shape(name, entries)
    }
}

fn without_a_log() -> Shape {
    let entries = &[("LV0", "ro", "-"), ("LV1", "rw", "-"), SPARE];
    Shape {
        shrinks: true,
        ..shape_without_logs("without-a-log", entries)
    }
}

fn copied() -> Shape {
    Shape {
        name: "copied",
        init: " 3 init copy_from LV0",
        copies_fail: false,
        ..one_sibling()
    }
}

fn shrinking() -> Shape {
    Shape {
        name: "shrinking",
        shrinks: true,
        ..figure_9()
    }
}

/// All but the first volume joins it.
fn joining() -> Shape {
    let entries = &[("LV0", "ro", "-"), ("LV1", "rw", "DLV"), SPARE, STORE];
    Shape {
        joins: 3,
        ..shape_without_logs("joining", entries)
    }
}

/// Volumes join one that has a store, and leave it.
fn clones() -> Shape {
    let entries = &[
        ("LV0", "ro", "-"),
        ("LV1", "rw", "DLV"),
        STORE,
        ("LV2", "ro", "DLV"),
        ("LV3", "ro", "-"),
    ];
    Shape {
        shrinks: true,
        joins: 2,
        ..shape("clones", entries)
    }
}

fn in_parts() -> Shape {
    Shape {
        name: "in-parts",
        copies_fail: false,
        in_parts: true,
        ..one_sibling()
    }
}

fn silent() -> Shape {
    Shape {
        name: "silent",
        copies_fail: false,
        falls_silent: true,
        ..one_sibling()
    }
}

/// Goes through a group, and prints what was seen; returns the rows that were used.
fn see(shape: Shape, depth: usize) -> u32 {
    let began = std::time::Instant::now();
    let shape = Box::leak(Box::new(shape));
    match explore(shape, depth, 2, Broken::Nothing) {
        Ok(seen) => {
            println!(
                "{}: {} states, {} events, {} steps deep, {:?}",
                shape.name,
                seen.states,
                seen.events,
                seen.deepest,
                began.elapsed()
            );
            seen.rows
        }
        Err(why) => panic!("{why}"),
    }
}

#[test]
fn every_state() {
    let used = [
        see(one_sibling(), ALL),
        see(without_a_log(), ALL),
        see(copied(), 16),
        see(in_place_only(), 14),
        see(diverted(), 10),
        see(shrinking(), 8),
        see(figure_9(), 9),
    ];
    let used = used.iter().fold(0, |all, rows| all | rows);
    let unused = ENTRIES
        .iter()
        .enumerate()
        .filter(|(row, _)| used & (1 << row) == 0);
    for (_, row) in unused {
        let is_expected = match row.event {
            // Nobody gives up what is nowhere else, neither in use nor at a start.
            Transition::DiskIsLost => row.attrs != [Attr::Spare] && row.attrs != [Attr::Increments],
            // Nor what is alone with its disk.
            Transition::DiskFails => row.from == [Health::Verifying, Health::Diverged],
            // These groups were made from disks that nobody compares: see tests/verify.rs.
            Transition::Verified | Transition::Differs => true,
            // Only with the disk that is filled, as it is now.
            Transition::FillEnds => row.attrs == [Attr::Spare],
            _ => false,
        };
        assert!(is_expected, "never used: {row:?}");
    }
}

/// Entries join groups.
#[test]
fn what_joins() {
    see(joining(), 12);
    see(clones(), 7);
}

/// Volumes are partly in place and partly diverted.
#[test]
fn what_is_in_parts() {
    see(in_parts(), 9);
}

/// Disks do not answer.
#[test]
fn what_is_silent() {
    see(silent(), 10);
}

/// Takes some minutes and much memory.
#[test]
#[ignore]
fn every_state_of_larger_groups() {
    see(in_place_only(), ALL);
    see(figure_9(), ALL);
    see(diverted(), ALL);
    see(shrinking(), 14);
    see(joining(), ALL);
    see(clones(), 12);
    see(in_parts(), ALL);
    see(silent(), ALL);
}

/// A group, and what is found there if it is broken.
type Case = (fn() -> Shape, &'static [Broken]);

/// Each order that the module keeps to is needed.
#[test]
fn what_is_broken_is_found() {
    let cases: [Case; 5] = [
        (
            one_sibling,
            &[
                Broken::FailsTooEarly,
                Broken::UnloggedTooEarly,
                Broken::FinishesTooEarly,
                Broken::GoesOnServing,
                Broken::GoesOnReading,
                Broken::LeavesBehind,
                Broken::CopiesNothing,
                Broken::ComparesNothing,
                Broken::TrustsStores,
            ],
        ),
        (joining, &[Broken::UsesTooEarly, Broken::ComparesNothing]),
        (clones, &[Broken::InheritsBlocks]),
        (
            in_parts,
            &[
                Broken::CopiesNothing,
                Broken::ServesWhileCopied,
                Broken::DivertsTooEarly,
                Broken::ComparesDiverted,
            ],
        ),
        (
            silent,
            &[
                Broken::WritesUnderReads,
                Broken::FillsTooEarly,
                Broken::ReadsPast,
                Broken::ForgetsSkipped,
            ],
        ),
    ];
    for (shape, all) in cases {
        for broken in all {
            let shape = Box::leak(Box::new(shape()));
            match explore(shape, ALL, 2, *broken) {
                Ok(_) => panic!("{broken:?} is not found"),
                Err(why) => println!("{broken:?}: {why}"),
            }
        }
    }
}

/// "DiskFails" as "disk fails".
fn words(name: impl std::fmt::Debug) -> String {
    let mut words = String::new();
    for char in format!("{name:?}").chars() {
        if char.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(char.to_lowercase());
    }
    words
}

fn list<T>(values: &[T], word: impl Fn(&T) -> String) -> String {
    values.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// Documentation/architecture.rst has the rows of the core, and no others.
#[test]
fn the_tables_are_documented() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../Documentation/architecture.rst"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let entries = ENTRIES.iter().map(|row| {
        format!(
            "\"{}\", \"{}\", \"{}\", \"{}\", \"{}\"",
            list(row.attrs, |attr| attr.to_string()),
            list(row.from, |health| health.to_string()),
            words(row.event),
            row.to,
            words(row.serving)
        )
    });
    let disks = DISKS.iter().map(|row| {
        format!(
            "\"{}\", \"{}\", \"{}\"",
            list(row.from, |disk| words(disk)),
            words(row.event),
            words(row.to)
        )
    });
    let wanted: Vec<_> = entries.chain(disks).collect();
    let lines = text.lines().filter_map(|line| line.strip_prefix("   "));
    let written: Vec<_> = lines.filter(|line| line.starts_with('"')).collect();
    assert!(wanted == written, "write:\n   {}", wanted.join("\n   "));
}
