// SPDX-License-Identifier: GPL-2.0

//! All short histories of two small blocks, cut off at every step, with every subset of what was
//! not flushed.

use crate::{
    check::{Config, Rule},
    driver::{Driver, Fast, Op, Range},
    random::restart,
    world::{Power, Stop, World},
};

type Event = (Op, Vec<Option<Fast>>);

/// Each volume ends with a block of two sectors.
const BLOCK: Range = Range {
    sector: 8,
    sectors: 2,
};

const PART: Range = Range {
    sector: 8,
    sectors: 1,
};

fn config(owners: &[bool]) -> Config {
    let mut config = Config::small(owners);
    config.areas = [8..10, 0..0];
    config
}

fn begin(owner: usize) -> Fast {
    Fast::Write {
        owner,
        range: BLOCK,
        fua: false,
    }
}

/// What may happen to a volume, and what meanwhile to the other one.
fn events(owner: usize, in_place: bool, other: usize) -> Vec<Event> {
    let alone = |op| (op, Vec::new());
    let write = |range, fua| Op::Write { owner, range, fua };
    let read = Fast::Read { owner, sector: 8 };
    let mut events = vec![
        alone(write(BLOCK, false)),
        alone(write(PART, false)),
        alone(write(PART, true)),
        alone(Op::Fast(begin(owner))),
        alone(Op::Zero {
            owner,
            range: BLOCK,
            fua: false,
        }),
        (
            Op::Flush { owner },
            vec![Some(begin(other)), Some(Fast::EndWrite)],
        ),
    ];
    if !in_place {
        events.push((
            Op::Discard {
                owner,
                range: BLOCK,
            },
            vec![Some(read), Some(begin(other)), Some(Fast::EndWrite)],
        ));
    }
    events
}

fn alphabet(config: &Config) -> Vec<Event> {
    let count = config.owners.len();
    let mut alphabet: Vec<Event> = config
        .owners
        .iter()
        .enumerate()
        .flat_map(|(owner, in_place)| events(owner, *in_place, (owner + 1) % count))
        .collect();
    let between = vec![None, Some(begin(0)), Some(Fast::EndWrite)];
    alphabet.push((Op::Commit, between));
    alphabet.push((Op::Fast(Fast::EndWrite), Vec::new()));
    if config.owners.contains(&true) {
        alphabet.push((Op::ClearIdle, Vec::new()));
    } else {
        alphabet.push((Op::Fast(Fast::EndRead), Vec::new()));
    }
    alphabet
}

/// A store that was made and never used; that is looked at too.
fn made(config: &Config) -> Result<World, String> {
    let mut world = World::new(config.clone(), 1);
    world.power = Power::Watched;
    drop(Driver::start(&mut world).map_err(broken)?);
    world.look()?;
    world.power = Power::On;
    world.before = world.devices.clone();
    Ok(world)
}

fn broken(stop: Stop) -> String {
    match stop {
        Stop::Broken(error) => error,
        Stop::Crashed => unreachable!(),
    }
}

/// Goes through all histories of `depth` events.
fn all(made: &mut World, depth: usize) -> Result<(), String> {
    let alphabet = alphabet(&made.config);
    let mut history = vec![0; depth];
    loop {
        let mut world = World {
            // The clone of an empty one costs nothing.
            seen: std::mem::take(&mut made.seen),
            ..made.clone()
        };
        run(&mut world, &alphabet, &history).map_err(|stop| {
            let ops: Vec<_> = history.iter().map(|index| &alphabet[*index]).collect();
            format!("{}: {ops:?}", broken(stop))
        })?;
        made.seen = world.seen;
        // The next one, as numbers are counted.
        let Some(at) = history.iter().rposition(|index| index + 1 < alphabet.len()) else {
            return Ok(());
        };
        history[at] += 1;
        history[at + 1..].fill(0);
    }
}

/// Only the last event is looked at: what comes before it is a history of its own.
fn run(world: &mut World, alphabet: &[Event], history: &[usize]) -> Result<(), Stop> {
    let mut driver = Driver::start(world)?;
    for (at, index) in history.iter().enumerate() {
        if at + 1 == history.len() {
            driver.watch();
        }
        let (op, during) = &alphabet[*index];
        driver.run(*op, during)?;
        driver.check_reads()?;
    }
    driver.look()
}

/// More events take far longer: `STORE_CRASH_EVENTS=3` a minute, 4 a quarter of an hour.
fn all_up_to(owners: &[bool], depth: usize) {
    let wanted = std::env::var("STORE_CRASH_EVENTS").ok();
    let depth = wanted.and_then(|text| text.parse().ok()).unwrap_or(depth);
    let begin = std::time::Instant::now();
    let mut made = made(&config(owners)).unwrap();
    for depth in 1..=depth {
        if let Err(error) = all(&mut made, depth) {
            panic!("{error}");
        }
        let states = made.seen.len();
        println!("{depth} events: {states} states, {:?}", begin.elapsed());
    }
}

#[test]
fn all_of_two_diverted() {
    all_up_to(&[false, false], 2);
}

#[test]
fn all_of_diverted_and_logged() {
    all_up_to(&[false, true], 2);
}

/// Who breaks a rule, gets caught in this history.
fn is_caught(rule: Rule, history: &[Event]) {
    let mut config = config(&[false, false]);
    let mut run_history = || {
        let mut world = World::new(config.clone(), 1);
        let indices: Vec<usize> = (0..history.len()).collect();
        run(&mut world, history, &indices)?;
        config.broken = Some(rule);
        let mut world = World::new(config.clone(), 1);
        run(&mut world, history, &indices)
    };
    match run_history() {
        Err(Stop::Broken(error)) if config.broken.is_some() => println!("{rule:?}: {error}"),
        other => panic!("{rule:?} was broken, and nobody saw it: {other:?}"),
    }
}

fn write(owner: usize) -> Event {
    let write = Op::Write {
        owner,
        range: BLOCK,
        fua: false,
    };
    (write, Vec::new())
}

fn discard(during: &[Option<Fast>]) -> Event {
    let discard = Op::Discard {
        owner: 0,
        range: BLOCK,
    };
    (discard, during.to_vec())
}

#[test]
fn catches_slots_reused_too_early() {
    let flush = (Op::Flush { owner: 0 }, Vec::new());
    let during = [None, Some(begin(1))];
    is_caught(
        Rule::FreedBeforeReused,
        &[write(0), flush, discard(&during)],
    );
}

#[test]
fn catches_slots_reused_under_readers() {
    let read = Fast::Read {
        owner: 0,
        sector: 8,
    };
    let end_read = (Op::Fast(Fast::EndRead), Vec::new());
    is_caught(
        Rule::ReadersBeforeReused,
        &[write(0), discard(&[Some(read)]), write(1), end_read],
    );
}

/// A slot that is free in a cache only, of which a start after a reset knows nothing.
#[test]
fn catches_starting_from_a_cache() {
    let after_reset = |rule: Option<Rule>, steps: usize| {
        let mut config = config(&[false, false]);
        config.broken = rule;
        let mut world = World::new(config, 1);
        let flush = (Op::Flush { owner: 0 }, Vec::new());
        run(&mut world, &[write(0), flush], &[0, 1])?;
        world.power = Power::On;
        let mut driver = Driver::start(&mut world)?;
        driver.cut_after(steps);
        let (op, during) = discard(&[]);
        if let Err(stop @ Stop::Broken(_)) = driver.run(op, &during) {
            return Err(stop);
        }
        world.power = Power::On;
        restart(&mut world, false)?;
        run(&mut world, &[write(1)], &[0])
    };
    for steps in 0..4 {
        after_reset(None, steps).unwrap();
    }
    let broken = (0..4).find_map(|steps| after_reset(Some(Rule::FlushBeforeOpen), steps).err());
    match broken {
        Some(Stop::Broken(error)) => println!("{error}"),
        other => panic!("nobody saw it: {other:?}"),
    }
}
