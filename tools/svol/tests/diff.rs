// SPDX-License-Identifier: GPL-2.0

//! `svol diff` shows what is there, and says what may not be.

mod common;

use common::*;
use serde_json::json;
use svol_core::svol_core::store::{
    intent,
    layout::{intent_offset, owner_offset},
};

#[test]
fn ranges_are_merged() {
    let run = store().svol(&["diff", "%"]);
    assert_eq!(run.status(), 0, "{}", run.err());
    assert_eq!(
        run.out(),
        "LV2: 24576 of 8388608 bytes changed since split 1\n  \
         0 16384 data\n  40960 4096 data\n  45056 4096 zero\n\
         LV3: 4096 of 8388608 bytes changed since split 1\n  4096 4096 data\n"
    );
    let run = store().svol(&["diff", "--json", "--lid", "LV3", "%"]);
    assert_eq!(
        run.json(),
        json!([{
            "lid": "LV3",
            "bytes": 8_388_608,
            "base_generation": 1,
            "in_place": false,
            "removing": false,
            "metadata": "not looked at",
            "changed_bytes": 4096,
            "ranges": [{ "start": 4096, "bytes": 4096, "zero": false }],
            "may_differ": [],
        }])
    );
}

#[test]
fn damage_is_told() {
    let mut image = store();
    image.damage(layout().entry_offset(1));
    let run = image.svol(&["diff", "%"]);
    assert_eq!(run.status(), 2);
    assert!(run.err().contains("slots 32 to 63"));
    assert!(run.out().contains("LV3: 4096"));

    let mut image = store();
    put_entry(&mut image, 100, Some(record(1, 0, 1, 0)));
    let run = image.svol(&["diff", "%"]);
    assert_eq!(run.status(), 4);
    assert!(run.err().contains("in several slots"));
    assert_eq!(image.svol(&["diff", "--lid", "LV3", "%"]).status(), 0);
}

#[test]
fn lost_owners_are_told() {
    let mut image = store();
    image.damage(owner_offset(0, 9));
    // Nobody has had this number.
    let run = image.svol(&["diff", "%"]);
    assert_eq!(run.status(), 0, "{}", run.err());
    image.damage(owner_offset(1, 9));
    let run = image.svol(&["diff", "%"]);
    assert_eq!(run.status(), 2);
    assert!(run.err().contains("owner 9 is lost"));
}

/// Marks regions of LV2.
fn mark(image: &mut Image, regions: &[u32]) {
    let sector = image.sector(intent_offset(1, 0));
    for region in regions {
        intent::set_mark(sector, *region, true);
    }
    intent::seal_sector(sector);
}

#[test]
fn marked_regions_are_shown() {
    const MIB: u64 = 1 << 20;

    let mut image = store();
    mark(&mut image, &[1, 3, 4]);
    let run = image.svol(&["diff", "%"]);
    assert_eq!(run.status(), 2);
    assert!(run.err().contains("LV2: 3 regions"));
    assert!(run.err().contains("in place, the disk may be newer"));
    assert!(run.err().contains("rebuilding, the increments are"));
    assert!(run
        .out()
        .contains("\n  1048576 1048576 marked\n  3145728 2097152 marked\nLV3"));
    let json = image.svol(&["diff", "--json", "--lid", "LV2", "%"]).json();
    assert_eq!(
        json[0]["may_differ"],
        json!([{ "start": MIB, "bytes": MIB }, { "start": 3 * MIB, "bytes": 2 * MIB }])
    );

    // A damaged sector stands for all its regions.
    image.damage(intent_offset(1, 0));
    let run = image.svol(&["diff", "%"]);
    assert_eq!(run.status(), 2);
    assert!(run.out().contains("  0 8388608 marked"));

    // A volume may end within a region.
    let mut image = store();
    let mut short = owner("LV2", true);
    short.sectors = 2048 * 6 + 8;
    put_owner(&mut image, 1, Some(short));
    mark(&mut image, &[6, 7]);
    let run = image.svol(&["diff", "%"]);
    assert!(run.err().contains("LV2: 1 regions"));
    assert!(run.out().contains("  6291456 4096 marked"));
}

#[test]
fn truncated_devices() {
    let mut image = store();
    let end = layout().segment_offset(1);
    image.bytes.truncate(usize::try_from(end).unwrap());
    let words = format!("the device ends at {end}, but the store uses");
    let run = image.svol(&["diff", "%"]);
    assert_eq!(run.status(), 2);
    assert_eq!(run.err().matches(&words).count(), 1);
    assert!(!run.err().contains("something may be missing"));
    assert!(run.out().contains("LV2: 16384 of"));
    let run = image.svol(&["dump", "%"]);
    assert_eq!(run.status(), 0);
    assert!(run.out().contains(&words));
    let json = image.svol(&["dump", "--json", "%"]).json();
    assert_eq!(json["device_bytes"], end);
    assert_eq!(json["damaged_entry_sectors"], 128);

    let mut image = store();
    image.bytes.pop();
    let run = image.svol(&["diff", "%"]);
    assert_eq!(run.status(), 2);
    assert!(run.err().contains("the device ends at"));
}

#[test]
fn stray_entries() {
    for (slot, entry, words) in [
        (100, record(9, 0, 1, 0), "owner 9 (unknown) which nobody"),
        (100, record(3, 0, 1, 0), "owner 3 (unknown) which nobody"),
        (
            100,
            record(1, GROUP_SECTORS / 16, 1, 0),
            "owner 1 (LV2) for blocks behind",
        ),
        (8191, record(1, 99, 1, 0), "owner 1 (LV2) of slots"),
    ] {
        let mut image = store();
        put_entry(&mut image, slot, Some(entry));
        let run = image.svol(&["diff", "%"]);
        assert_eq!(run.status(), 2, "{words}");
        assert!(run.err().contains(words), "{}", run.err());
        assert!(run.out().contains("LV2: 24576 of"));
        // What is nobody's may be anybody's; what is LV2's is not LV3's.
        let run = image.svol(&["diff", "%", "--lid", "LV3"]);
        assert_eq!(run.status(), if entry.owner == 1 { 0 } else { 2 });
    }
}

#[test]
fn volumes_that_are_being_removed() {
    let mut image = store();
    let mut leaving = owner("LV3", false);
    leaving.removing = true;
    put_owner(&mut image, 2, Some(leaving));
    for args in [&["diff", "%"][..], &["diff", "%", "--lid", "LV3"]] {
        let run = image.svol(args);
        assert_eq!(run.status(), 2);
        assert!(run.err().contains("LV3 is being removed"));
        assert!(run.out().contains("LV3: 4096 of"));
    }
    let run = image.svol(&["diff", "--json", "%", "--lid", "LV3"]);
    assert_eq!(run.json()[0]["removing"], true);
}

#[test]
fn what_has_no_changes() {
    let run = store().svol(&["diff", "%", "--lid", "LV7"]);
    assert_eq!(run.status(), 4);
    assert!(run.err().contains("LV7 has nothing"));
    let run = metadata_device().svol(&["diff", "%"]);
    assert_eq!(run.status(), 4);
}

/// Nothing that is on a device makes svol panic, hang, or give a status of its own.
#[test]
fn garbage() {
    let mut seed = 1u32;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from(seed >> 8).unwrap() % below
    };
    let good = store();
    let other = metadata_device();
    for round in 0..60 {
        let from = if round % 3 == 0 { &other } else { &good };
        let mut image = Image::new(0);
        image.bytes.clone_from(&from.bytes);
        for _ in 0..20 {
            let at = random(image.bytes.len().min(3 << 20));
            let len = random(700).min(image.bytes.len() - at);
            let value = u8::try_from(random(256)).unwrap();
            image.bytes[at..at + len].fill(value);
        }
        // The checksum of a header may be right all the same.
        let header = &mut image.bytes[..512];
        header[..8].copy_from_slice(b"dm-svolI");
        header[12] = 1;
        header[8..12].fill(0);
        let sum = !svol_core::env::crc32c(!0, header);
        header[8..12].copy_from_slice(&sum.to_le_bytes());
        if round % 5 == 0 {
            let len = random(image.bytes.len());
            image.bytes.truncate(len);
        }
        for args in [
            &["check", "%"][..],
            &["dump", "--json", "--entries", "%"],
            &["diff", "%"],
        ] {
            let run = image.svol(args);
            assert!([0, 1, 2, 4].contains(&run.status()), "{}", run.err());
            assert!(!run.err().contains("panicked"), "{}", run.err());
        }
    }
}
