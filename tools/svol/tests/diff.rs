// SPDX-License-Identifier: GPL-2.0

//! `svol diff` and `svol dump` show what is there.

mod common;

use common::*;
use serde_json::json;
use std::{fs, os::unix::fs::MetadataExt};
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
            "changed_bytes": 4096,
            "ranges": [{ "start": 4096, "bytes": 4096, "zero": false }],
        }])
    );
}

#[test]
fn sparse_files_have_only_the_changes() {
    let image = store();
    let file = Image::new(0);
    let path = file.path.to_str().unwrap();
    let args = ["diff", "%", "--lid", "LV2", "--sparse", path];
    let run = image.svol(&args);
    assert_eq!(run.status(), 0, "{}", run.err());
    let bytes = fs::read(path).unwrap();
    let mut expected = vec![0; 8 << 20];
    expected[..8192].fill(41);
    expected[8192..16384].fill(3);
    let block = &mut expected[5 * 8192..6 * 8192];
    block[..4096].fill(u8::try_from(4096 % 251 + 1).unwrap());
    assert!(bytes == expected);
    // In units of 512: what was changed, and what the file system adds.
    assert!(fs::metadata(path).unwrap().blocks() < 1024);

    // It does not overwrite anything.
    assert_eq!(image.svol(&args).status(), 4);
    // And has room for one volume.
    let run = image.svol(&["diff", "%", "--sparse", "/nonexistent/file"]);
    assert_eq!(run.status(), 4);
    assert!(run.err().contains("--lid"));
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
    let sector = image.sector(intent_offset(1, 0));
    intent::set_mark(sector, 3, true);
    intent::seal_sector(sector);
    let run = image.svol(&["diff", "%"]);
    assert_eq!(run.status(), 2);
    assert!(run.err().contains("LV2: 1 regions"));

    let mut image = store();
    put_entry(&mut image, 100, Some(record(1, 0, 1, 0)));
    let run = image.svol(&["diff", "%"]);
    assert_eq!(run.status(), 4);
    assert!(run.err().contains("in several slots"));
    assert_eq!(image.svol(&["diff", "--lid", "LV3", "%"]).status(), 0);
}

#[test]
fn what_has_no_changes() {
    let run = store().svol(&["diff", "%", "--lid", "LV7"]);
    assert_eq!(run.status(), 4);
    assert!(run.err().contains("LV7 has nothing"));
    let run = metadata_device().svol(&["diff", "%"]);
    assert_eq!(run.status(), 4);
}

#[test]
fn dump_of_a_store() {
    let mut image = store();
    image.damage(owner_offset(0, 77));
    let run = image.svol(&["dump", "--json", "--entries", "%"]);
    assert_eq!(run.status(), 0, "{}", run.err());
    let json = run.json();
    assert_eq!(json["kind"], "increments");
    assert_eq!(json["lid"], "DLV2");
    assert_eq!(json["slots"], layout().slots());
    assert_eq!(json["slots_used"], 4);
    assert_eq!(json["owners"][0]["volume"]["lid"], "LV2");
    assert_eq!(json["owners"][0]["data_bytes"], 5 * 4096);
    assert_eq!(json["owners"][0]["zero_bytes"], 4096);
    assert_eq!(json["owners"][0]["volume"]["regions"], 8);
    assert_eq!(json["owners"][1]["volume"]["in_place"], false);
    assert_eq!(json["owners"][2]["number"], 77);
    assert_eq!(json["entries"][1]["slot"], 7);
    assert_eq!(json["entries"][1]["owner"], 2);
    let run = image.svol(&["dump", "--entries", "%"]);
    assert!(run.out().contains("slot 7 at "));
}

#[test]
fn dump_of_metadata() {
    let mut image = metadata_device();
    let json = image.svol(&["dump", "--json", "%"]).json();
    assert_eq!(json["kind"], "metadata");
    assert_eq!(json["slots"][1]["generation"]["sequence"], 7);
    assert_eq!(
        json["slots"][1]["generation"]["volumes"][0]["attribute"],
        "ro"
    );
    image.damage(0);
    let run = image.svol(&["dump", "%"]);
    assert_eq!(run.status(), 0);
    assert!(run.out().contains("metadata at 0: damaged header"));
    assert!(run.out().contains("entry LV0 ro in-sync"));
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
