// SPDX-License-Identifier: GPL-2.0

//! Table lines: what is printed reads back, and whatever is read makes no trouble.

mod common;

use common::{any_id, some_id};
use proptest::prelude::*;
use svol_core::svol_core::{
    id::Id,
    table_line::{LineError, SvolLine, TableLine},
};

const LID_NAMES: usize = 8;

/// Features, each at most once, as words.
fn features() -> impl Strategy<Value = String> {
    let feature = prop_oneof![
        Just("init verify".to_string()),
        Just("init assume_identical".to_string()),
        Just("on_full error".to_string()),
        Just("on_full queue".to_string()),
        (1..=86_400u32).prop_map(|n| format!("on_full queue {n}")),
        (0..=100u8).prop_map(|n| format!("low_water_mark {n}")),
        any::<u32>().prop_map(|n| format!("max_errors {n}")),
        Just("failover manual".to_string()),
        Just("failover auto".to_string()),
        any::<u32>().prop_map(|n| format!("rebuild_rate {n}")),
        (1..=3_600_000u32).prop_map(|n| format!("slow_after {n}")),
        Just("read_policy round-robin".to_string()),
        Just("force_metadata".to_string()),
    ];
    prop::collection::vec(feature, 0..6).prop_map(|list| {
        let mut names: Vec<String> = Vec::new();
        let mut words = String::from("allow_unprotected");
        for feature in list {
            let name = feature.split(' ').next().unwrap().to_string();
            if !names.contains(&name) {
                names.push(name);
                words = format!("{words} {feature}");
            }
        }
        words
    })
}

/// A good line.
fn good_line() -> impl Strategy<Value = String> {
    (
        any_id(),
        3u32..8,
        prop_oneof![
            Just("1 /m0"),
            Just("2 /m0 /m1"),
            Just("2 - /m1"),
            Just("2 /m0 -")
        ],
        prop::collection::vec((0..3usize, any::<bool>(), any::<bool>()), 0..LID_NAMES),
        features(),
    )
        .prop_map(|(group, shift, meta, volumes, features)| {
            let mut line = format!("{group} {} {meta} {}", 1u32 << shift, volumes.len() + 2);
            line += " First ro /first - Store increments - -";
            for (i, (attr, here, logged)) in volumes.into_iter().enumerate() {
                let attr = ["ro", "rw", "spare"][attr];
                let dev = if here { format!("/d{i}") } else { "-".into() };
                let rlid = if logged && attr != "spare" {
                    "Store"
                } else {
                    "-"
                };
                line += &format!(" L{i} {attr} {dev} {rlid}");
            }
            let count = features.split(' ').count();
            format!("{line} {count} {features}")
        })
}

fn parse(line: &str) -> Result<TableLine<&[u8]>, LineError<'_>> {
    TableLine::parse(4096, line.split(' ').map(str::as_bytes))
}

fn print(line: &TableLine<&[u8]>) -> String {
    let mut text = String::new();
    line.write(
        &mut text,
        &[],
        |_| false,
        |out, dev| out.write_str(std::str::from_utf8(dev).unwrap()),
    )
    .unwrap();
    text
}

/// A word that means something somewhere, or nothing anywhere.
fn word() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::sample::select(vec![
            "0", "1", "2", "3", "8", "128", "257", "18446744073709551616", "-", "ro", "rw",
            "spare", "increments", "init", "verify", "copy_from", "on_full", "queue", "error",
            "low_water_mark", "max_errors", "failover", "auto", "rebuild_rate", "slow_after",
            "read_policy", "allow_unprotected", "force_metadata", "all", "/m0", "/d0", "",
        ])
        .prop_map(|word| word.as_bytes().to_vec()),
        2 => some_id().prop_map(|id| id.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

/// What an error says is about the line that it was found in.
fn check_error(error: &LineError<'_>, words: &[&[u8]]) {
    assert!(error.at <= words.len());
    assert!(error.word.is_none_or(|word| words[error.at] == word));
    let reason = error.reason().to_str().unwrap();
    assert!(!reason.is_empty());
    let text = error.to_string();
    assert!(text.contains(reason));
    assert!(
        text.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
        "{text}"
    );
    assert!(text.len() < 600);
}

proptest! {
    #[test]
    fn goes_round(text in good_line()) {
        let line = parse(&text).unwrap();
        let printed = print(&line);
        prop_assert_eq!(parse(&printed).unwrap(), line);
        prop_assert_eq!(print(&parse(&printed).unwrap()), printed);
    }

    #[test]
    fn mutated_lines(
        text in good_line(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..4u8, word()), 1..5),
    ) {
        let mut words: Vec<Vec<u8>> = text.split(' ').map(|w| w.as_bytes().to_vec()).collect();
        for (at, kind, word) in changes {
            let i = at.index(words.len());
            match kind {
                0 => words[i] = word,
                1 => words.insert(i, word),
                2 if words.len() > 1 => drop(words.remove(i)),
                _ => words.swap(0, i),
            }
        }
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        if let Err(error) = TableLine::parse(1, words.iter().copied()) {
            check_error(&error, &words);
        }
    }

    #[test]
    fn random_lines(words in prop::collection::vec(word(), 0..40)) {
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        if let Err(error) = TableLine::parse(1, words.iter().copied()) {
            check_error(&error, &words);
        }
        if let Err(error) = SvolLine::parse(words.iter().copied()) {
            check_error(&error, &words);
        }
    }

    #[test]
    fn devices_are_mapped_in_order(text in good_line()) {
        let line = parse(&text).unwrap();
        let mut opened = Vec::new();
        let mapped = line.map_devices(|path, role| {
            opened.push(role);
            Ok::<_, svol_core::env::AllocError>(path.len())
        });
        let mapped = mapped.unwrap();
        let here = line.meta.iter().flatten().count()
            + line.volumes.iter().filter(|volume| volume.dev.is_some()).count();
        prop_assert_eq!(opened.len(), here);
        for (before, after) in line.volumes.iter().zip(mapped.volumes.iter()) {
            prop_assert_eq!(before.dev.map(<[u8]>::len), after.dev);
        }
    }

    #[test]
    fn ids_go_round(id in any_id()) {
        prop_assert_eq!(Id::parse(id.to_string().as_bytes()), Ok(id));
        prop_assert_eq!(Id::from_disk(&id.to_disk()), Ok(id));
    }
}
