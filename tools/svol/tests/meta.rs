// SPDX-License-Identifier: GPL-2.0

//! `svol diff --meta` says what only the metadata knows.

mod common;

use common::*;
use svol_core::svol_core::{
    health::Health,
    meta::{Copies, CopyState, Metadata},
};

fn diff(meta: &Image, args: &[&str]) -> Run {
    let mut all = vec!["diff", "%", "--meta", meta.write()];
    all.extend(args);
    store().svol(&all)
}

#[test]
fn all_is_well() {
    let meta = group_device(|_| ());
    let run = diff(&meta, &[]);
    assert_eq!((run.status(), run.err()), (0, String::new()));
    let json = diff(&meta, &["--json"]).json();
    assert_eq!(json[0]["metadata"], "agrees");
    assert_eq!(json[1]["metadata"], "agrees");

    // A volume that lost its disk has all in its increments.
    let run = diff(&group_device(rebuild), &[]);
    assert_eq!((run.status(), run.err()), (0, String::new()));
}

#[test]
fn without_metadata() {
    let run = store().svol(&["diff", "%"]);
    assert_eq!(run.status(), 0);
    assert!(run.err().contains("note: LV2: "), "{}", run.err());
    assert_eq!(run.err().lines().count(), 1);
    let run = store().svol(&["diff", "%", "--lid", "LV3"]);
    assert_eq!(run.err(), "");
    let run = store().svol(&["diff", "%", "--json"]);
    assert_eq!((run.status(), run.err()), (0, String::new()));
    assert_eq!(run.json()[0]["metadata"], "not looked at");
}

/// LV2 lives on the disk of S0.
fn fail_over(metadata: &mut Metadata) {
    let volume = entry(metadata, "LV2");
    volume.disk = Some(id("S0"));
    volume.state.failed = true;
    let spare = entry(metadata, "S0");
    spare.health = Health::InSync;
    spare.disk = None;
}

fn lose_disk(metadata: &mut Metadata, lid: &str) {
    let volume = entry(metadata, lid);
    volume.health = Health::Failed;
    volume.disk = None;
    volume.state.failed = true;
}

#[test]
fn a_volume_may_lack_something() {
    type Change = fn(&mut Metadata);
    let changes: [(Change, &str); 8] = [
        (
            |metadata| entry(metadata, "LV2").state.unprotected = true,
            "LV2 is unprotected",
        ),
        (
            |metadata| {
                fail_over(metadata);
                entry(metadata, "S0").state.unprotected = true;
            },
            "LV2 is unprotected",
        ),
        (|metadata| lose_disk(metadata, "LV2"), "LV2 is failed"),
        (
            |metadata| entry(metadata, "LV2").health = Health::Diverged,
            "LV2 is diverged",
        ),
        (
            |metadata| entry(metadata, "LV2").health = Health::Verifying,
            "LV2 is verifying",
        ),
        (
            |metadata| entry(metadata, "LV2").rlid = None,
            "LV2 keeps its changes nowhere",
        ),
        (
            |metadata| {
                let other = entry(metadata, "LV2");
                (other.lid, other.disk) = (id("LV7"), Some(id("LV7")));
            },
            "LV2 is not in the group",
        ),
        (
            |metadata| {
                let rlid = Some(id("DLV3"));
                let mut other = *entry(metadata, "DLV2");
                (other.lid, other.disk) = (id("DLV3"), rlid);
                metadata.volumes.try_push(other).unwrap();
                entry(metadata, "LV2").rlid = rlid;
            },
            "LV2 keeps its changes in DLV3",
        ),
    ];
    for (change, words) in changes {
        let meta = group_device(change);
        let run = diff(&meta, &[]);
        assert_eq!(run.status(), 2, "{words}");
        assert!(run.err().contains(words), "{words}: {}", run.err());
        assert_eq!(run.err().lines().count(), 1, "{}", run.err());
        let json = diff(&meta, &["--json"]).json();
        assert_eq!(json[0]["metadata"], "in doubt");
        assert_eq!(json[1]["metadata"], "agrees");
        assert_eq!(diff(&meta, &["--lid", "LV3"]).status(), 0);
    }
    // What it does not change it has from others, and they are compared.
    let clone = |metadata: &mut Metadata| {
        let clone = entry(metadata, "LV3");
        (clone.health, clone.disk) = (Health::Verifying, None);
    };
    let run = diff(&group_device(clone), &[]);
    assert_eq!((run.status(), run.err()), (0, String::new()));
    // Another disk serves it, whatever its own one was.
    let run = diff(&group_device(fail_over), &[]);
    assert_eq!((run.status(), run.err()), (0, String::new()));
}

#[test]
fn the_store_may_lack_something() {
    type Change = fn(&mut Metadata);
    let changes: [(Change, &str); 8] = [
        (|metadata| lose_disk(metadata, "DLV2"), "DLV2 is failed"),
        (
            // To be in use again.
            |metadata| {
                lose_disk(metadata, "DLV2");
                entry(metadata, "DLV2").state.unprotected = true;
            },
            "DLV2 is failed",
        ),
        (
            |metadata| metadata.head.uuid = [7; 16],
            "DLV2 is an increments store of another group with the same GrpID",
        ),
        (
            |metadata| metadata.head.group = id("G1"),
            "belongs to the group G1",
        ),
        (|metadata| metadata.head.events = 9, "DLV2 is an old copy"),
        (
            |metadata| metadata.head.events = 6,
            "DLV2 is newer than the metadata",
        ),
        (
            |metadata| {
                let store = entry(metadata, "DLV2");
                (store.lid, store.disk) = (id("DLV3"), Some(id("DLV3")));
                entry(metadata, "LV2").rlid = Some(id("DLV3"));
                entry(metadata, "LV3").rlid = Some(id("DLV3"));
            },
            "the group has no increments volume DLV2",
        ),
        (
            |metadata| metadata.head.base_generation = 2,
            "LV3 changed split 1, the group has split 2",
        ),
    ];
    for (change, words) in changes {
        let meta = group_device(change);
        let run = diff(&meta, &["--lid", "LV3"]);
        assert_eq!(run.status(), 2, "{words}");
        assert!(run.err().contains(words), "{words}: {}", run.err());
        assert_eq!(run.err().lines().count(), 1, "{}", run.err());
        assert!(run.out().contains("LV3: 4096 of"));
        let json = diff(&meta, &["--json"]).json();
        assert_eq!(json[0]["metadata"], "in doubt");
        assert_eq!(json[1]["metadata"], "in doubt");
    }
}

#[test]
fn two_copies() {
    let both = |metadata: &mut Metadata| metadata.head.copies = Copies::live(2);
    let (mut first, second) = (group_copy(0, both), group_copy(1, both));
    // The store has seen the same events. It would, if it had failed at the next one.
    for one in [&first, &second] {
        let run = diff(one, &[]);
        assert_eq!(run.status(), 2);
        assert!(run.err().contains("give both"), "{}", run.err());
    }
    let alone = group_copy(0, |metadata| {
        metadata.head.copies = Copies::live(2).with(1, CopyState::Lost);
    });
    let run = diff(&alone, &[]);
    assert_eq!((run.status(), run.err()), (0, String::new()));
    let run = diff(&first, &["--meta", second.write()]);
    assert_eq!((run.status(), run.err()), (0, String::new()));

    let run = diff(&first, &["--meta", first.write()]);
    assert_eq!(run.status(), 2);
    assert!(run.err().contains("a clone of the other one"));

    // The newer one counts.
    let mut newer = group(8);
    both(&mut newer);
    newer.head.events = 7;
    entry(&mut newer, "LV2").state.unprotected = true;
    let mut second = second;
    put_metadata_copy(&mut second, &newer, 1);
    let run = diff(&first, &["--meta", second.write()]);
    assert_eq!(run.status(), 2);
    assert!(run.err().contains("LV2 is unprotected"), "{}", run.err());
    // And a damaged one is told.
    second.damage(0);
    let run = diff(&second, &["--meta", first.write()]);
    assert_eq!((run.status(), run.err()), (0, String::new()));
    first.damage(0);
    let run = diff(&second, &["--meta", first.write()]);
    assert_eq!(run.status(), 2);
    assert!(run
        .err()
        .contains("newest generation on metadata device 1 is damaged"));
}

#[test]
fn what_is_no_metadata() {
    assert_eq!(diff(&store(), &[]).status(), 4);
    let meta = group_device(|_| ());
    let path = meta.write();
    let run = diff(&meta, &["--meta", path, "--meta", path]);
    assert_eq!(run.status(), 4);
    let run = store().svol(&["diff", "%", "--meta", "/nonexistent"]);
    assert_eq!(run.status(), 4);
    // It is, and nothing of it can be used.
    let mut meta = meta;
    meta.damage(0);
    meta.damage(1 << 20);
    let run = diff(&meta, &[]);
    assert_eq!(run.status(), 2);
    assert!(run.err().contains("damaged"), "{}", run.err());
    assert!(run.out().contains("LV3: 4096 of"));
}
