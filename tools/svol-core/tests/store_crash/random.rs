// SPDX-License-Identifier: GPL-2.0

//! Random lives of a store, each cut off somewhere.

use crate::{
    check::{check_volumes, open, Config, Rule},
    driver::{Driver, Fast, Op, Range},
    world::{Power, Stop, World, STORE},
};
use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestError, TestRng, TestRunner},
};

/// How a life ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The power fails: what is in a cache may be lost. So many sectors of ten survive.
    PowerCut(usize),
    /// The machine starts again, but the devices keep their caches.
    Reset,
}

/// What goes on, and what else meanwhile.
type Event = (Op, Vec<Option<Fast>>);

#[derive(Clone, Debug)]
struct Life {
    events: Vec<Event>,
    /// Steps until it is cut off.
    steps: usize,
    end: End,
    seed: u64,
}

fn any_config() -> impl Strategy<Value = Config> {
    (3u32..5, any::<bool>(), 1usize..6, 0usize..4).prop_map(|(shift, segments, batch, owners)| {
        let mut config = Config::small(match owners {
            0 => &[false],
            1 => &[true],
            2 => &[false, false],
            _ => &[false, true],
        });
        config.block_sectors = 1 << shift;
        // Three regions, the last one short.
        config.sectors = 4107;
        config.areas = [0..20, 4088..4107];
        config.batch = batch;
        let block = u64::from(config.block_sectors);
        config.device_sectors = 4096 + 128 + 16 * block;
        if segments {
            config.device_sectors += (4096 + 4) * block + 128;
            config.spoilt = 6..4096;
        }
        config
    })
}

fn any_range() -> impl Strategy<Value = Range> {
    (any::<bool>(), 0u64..20, 1u32..20, 0u32..3).prop_map(|(high, start, sectors, align)| {
        let (begin, end) = if high { (4088, 4107) } else { (0, 20) };
        let mask = if align == 0 { 0 } else { 7 };
        let sector = ((begin + start) & !mask).min(end - 1);
        let sectors = (sectors + mask as u32) & !(mask as u32);
        Range {
            sector,
            sectors: sectors.min((end - sector) as u32),
        }
    })
}

fn any_fast() -> impl Strategy<Value = Fast> {
    let write = (0usize..2, any_range(), prop::bool::weighted(0.2))
        .prop_map(|(owner, range, fua)| Fast::Write { owner, range, fua });
    let read = (0usize..2, any_range()).prop_map(|(owner, range)| Fast::Read {
        owner,
        sector: range.sector,
    });
    prop_oneof![
        4 => write,
        3 => Just(Fast::EndWrite),
        1 => read,
        1 => Just(Fast::EndRead),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    let fua = prop::bool::weighted(0.3);
    let target = (0usize..2, any_range(), fua);
    let op =
        (0u32..20, target, any_fast()).prop_map(|(kind, (owner, range, fua), fast)| match kind {
            0..5 => Op::Fast(fast),
            5..10 => Op::Write { owner, range, fua },
            10..12 => Op::Zero { owner, range, fua },
            12..14 => Op::Discard { owner, range },
            14..16 => Op::Flush { owner },
            16 => Op::Commit,
            17..19 => Op::ClearIdle,
            _ => Op::Restart,
        });
    let during = prop::collection::vec(prop::option::of(any_fast()), 0..6);
    (op, during)
}

fn any_life() -> impl Strategy<Value = Life> {
    let end = prop_oneof![
        3 => (0usize..=10).prop_map(End::PowerCut),
        1 => Just(End::Reset),
    ];
    (
        prop::collection::vec(any_event(), 1..12),
        0usize..150,
        end,
        any::<u64>(),
    )
        .prop_map(|(events, steps, end, seed)| Life {
            events,
            steps,
            end,
            seed,
        })
}

/// What an owner that is not there, or can't do it, is asked for, is left out.
fn is_possible(config: &Config, op: &Op) -> bool {
    match op {
        Op::Fast(Fast::Write { owner, .. } | Fast::Read { owner, .. })
        | Op::Write { owner, .. }
        | Op::Zero { owner, .. }
        | Op::Flush { owner } => *owner < config.owners.len(),
        Op::Discard { owner, .. } => config.owners.get(*owner) == Some(&false),
        _ => true,
    }
}

fn live(world: &mut World, life: &Life) -> Result<(), Stop> {
    let config = world.config.clone();
    let mut driver = Driver::start(world)?;
    for (op, during) in &life.events {
        if !is_possible(&config, op) {
            continue;
        }
        let possible = |fast: Fast| is_possible(&config, &Op::Fast(fast)).then_some(fast);
        let during: Vec<_> = during.iter().map(|fast| fast.and_then(possible)).collect();
        driver.run(*op, &during)?;
        if let Op::Restart = op {
            driver.stop()?;
            driver = Driver::start(world)?;
        }
        driver.check_reads()?;
    }
    Ok(())
}

/// Lives one after the other, on the same devices.
fn run(config: &Config, lives: &[Life]) -> Result<(), String> {
    let mut world = World::new(config.clone(), 1);
    for life in lives {
        world.power = Power::Steps(life.steps);
        if let Err(Stop::Broken(error)) = live(&mut world, life) {
            return Err(error);
        }
        world.random.0 = life.seed;
        let lasting = match life.end {
            End::PowerCut(tenths) => {
                for device in &mut world.devices {
                    let random = &mut world.random;
                    device.crash(|versions| {
                        let survives = random.below(10) < tenths;
                        usize::from(survives) * (1 + random.below(versions))
                    });
                }
                true
            }
            End::Reset => false,
        };
        restart(&mut world, lasting)?;
    }
    // Whatever was left, the last start brings it in order.
    world.power = Power::On;
    let start = |world: &mut World| Driver::start(world)?.check_reads();
    start(&mut world).map_err(|stop| format!("{stop:?}"))?;
    for device in &mut world.devices {
        device.crash(|_| 0);
    }
    restart(&mut world, true)
}

/// Looks at what a crash left, and takes it for what there is from now on.
pub(crate) fn restart(world: &mut World, lasting: bool) -> Result<(), String> {
    let World {
        config,
        devices,
        model,
        ..
    } = world;
    if let Ok(opened) = open(config, &devices[STORE], model.formatted)? {
        let values = check_volumes(config, devices, model, &opened)?;
        for (owner, values) in values.iter().enumerate() {
            model.restarted(owner, values, lasting);
        }
    }
    Ok(())
}

fn test_config(cases: u32) -> ProptestConfig {
    let wanted = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig::with_cases(wanted.and_then(|text| text.parse().ok()).unwrap_or(cases))
}

proptest! {
    #![proptest_config(test_config(100))]

    #[test]
    fn crashes_lose_nothing(
        config in any_config(),
        lives in prop::collection::vec(any_life(), 1..6),
    ) {
        run(&config, &lives).map_err(TestCaseError::fail)?;
    }
}

/// Who breaks a rule, gets caught.
fn is_caught(rule: Rule) {
    let config = ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        max_shrink_iters: 0,
        ..ProptestConfig::default()
    };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let lives = prop::collection::vec(any_life(), 1..6);
    let counter = std::cell::Cell::new(0);
    let result = TestRunner::new_with_rng(config, random).run(
        &(any_config(), lives),
        |(mut config, lives)| {
            counter.set(counter.get() + 1);
            config.broken = Some(rule);
            run(&config, &lives).map_err(TestCaseError::fail)
        },
    );
    let cases = counter.get();
    match result {
        Err(TestError::Fail(reason, _)) => println!("{rule:?}: case {cases}: {reason}"),
        other => panic!("{rule:?} was broken, and nobody saw it: {other:?}"),
    }
}

macro_rules! caught {
    ($($name:ident: $rule:ident;)*) => {$(
        #[test]
        fn $name() {
            is_caught(Rule::$rule);
        }
    )*};
}

caught! {
    catches_entries_before_data: DataBeforeEntries;
    catches_answers_before_entries: EntriesBeforeAnswer;
    catches_writes_before_marks: MarkBeforeWrite;
    catches_marks_cleared_before_the_flush: FlushBeforeUnmark;
    catches_marks_cleared_before_the_commit: CommitBeforeUnmark;
    catches_copies_written_at_once: OneCopyAfterTheOther;
    catches_segments_counted_before_they_are: EntriesBeforeSegment;
    catches_fua_without_the_disk: DiskFlushForFua;
    catches_resolving_from_a_cache: DiskFlushBeforeResolve;
    catches_mending_by_a_change: MendBeforeChange;
}
