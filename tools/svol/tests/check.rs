// SPDX-License-Identifier: GPL-2.0

//! `svol check` sees each kind of damage, says where it is, and tells by its status how bad it is.

mod common;

use common::*;
use svol_core::svol_core::{
    meta::Metadata,
    store::{
        entries,
        layout::{entry_sector_of, header_offset, intent_offset, owner_offset, SECTOR_ENTRIES},
        Header, OwnerRecord, Phase,
    },
};

const CLEAN: i32 = 0;
const REPAIRABLE: i32 = 1;
const AT_RISK: i32 = 2;
const FAILED: i32 = 4;

/// Checks that one thing is found, at `offset`, with `words` in its text.
#[track_caller]
fn finds(image: &Image, status: i32, offset: u64, words: &str) {
    let run = image.svol(&["check", "%"]);
    let out = run.out();
    let at = format!(": at {offset}, ");
    assert_eq!(run.status(), status, "{out}{}", run.err());
    let found = out
        .lines()
        .any(|line| line.contains(&at) && line.contains(words));
    assert!(found, "no \"{words}\" at {offset}:\n{out}");
    assert_eq!(out.lines().count(), 2, "{out}");
    // JSON says the same.
    let json = image.svol(&["check", "--json", "%"]).json();
    assert_eq!(json["status"], status);
    assert_eq!(json["findings"][0]["offset"], offset);
}

#[track_caller]
fn is_clean(image: &Image) {
    let run = image.svol(&["check", "%"]);
    assert_eq!(run.status(), CLEAN, "{}{}", run.out(), run.err());
    assert_eq!(run.out().lines().count(), 1, "{}", run.out());
}

#[test]
fn clean_devices() {
    is_clean(&store());
    is_clean(&metadata_device());
}

#[test]
fn kinds_are_those_of_dump() {
    for (image, kind) in [(store(), "increments"), (metadata_device(), "metadata")] {
        for command in ["check", "dump"] {
            let json = image.svol(&[command, "--json", "%"]).json();
            assert_eq!(json["kind"], kind);
        }
    }
}

#[test]
fn one_copy_of_the_header() {
    for copy in 0..2 {
        let mut image = store();
        image.damage(header_offset(copy));
        finds(&image, REPAIRABLE, header_offset(copy), "wrong checksum");
        let mut image = store();
        image.sector(header_offset(copy)).fill(0);
        finds(&image, REPAIRABLE, header_offset(copy), "blank");
    }
}

#[test]
fn both_copies_of_the_header() {
    let mut image = store();
    image.damage(header_offset(0));
    image.damage(header_offset(1));
    finds(&image, AT_RISK, 0, "no good copy");
    image.bytes[..8192].fill(0);
    finds(&image, AT_RISK, 0, "no trace");
}

#[test]
fn headers_after_crash_and_lost_write() {
    let newer = |more| Header {
        sequence: header().sequence + more,
        ..header()
    };
    let mut image = store();
    assert!(newer(1).encode(0, image.sector(0)));
    finds(&image, CLEAN, 4096, "after a crash");
    assert!(newer(2).encode(0, image.sector(0)));
    finds(&image, REPAIRABLE, 4096, "a write to it got lost");
    let mut image = store();
    assert!(newer(1).encode(1, image.sector(4096)));
    finds(&image, REPAIRABLE, 0, "a write to it got lost");
    let other = Header { tag: 1, ..newer(1) };
    assert!(other.encode(1, image.sector(4096)));
    finds(&image, AT_RISK, 0, "contradict");
}

#[test]
fn unfinished_store() {
    let mut image = store();
    for copy in 0..2 {
        let header = Header {
            phase: Phase::Formatting,
            ..header()
        };
        assert!(header.encode(copy, image.sector(header_offset(copy))));
    }
    image.damage(layout().entry_offset(0));
    finds(&image, CLEAN, 0, "never finished");
}

#[test]
fn device_too_short() {
    let mut image = store();
    let len = image.bytes.len();
    image.bytes.truncate(len - 512);
    finds(&image, AT_RISK, (len - 512) as u64, "the device ends here");
    // That is said once, not for each sector of entries.
    let end = layout().segment_offset(1) + 1024;
    image.bytes.truncate(usize::try_from(end).unwrap());
    finds(&image, AT_RISK, end, "the device ends here");
}

#[test]
fn owners() {
    for copy in 0..2 {
        let mut image = store();
        image.damage(owner_offset(copy, 2));
        finds(&image, REPAIRABLE, owner_offset(copy, 2), "owner 2");
    }
    // A number that nobody has had.
    for copy in 0..2 {
        let mut image = store();
        image.damage(owner_offset(copy, 9));
        finds(
            &image,
            REPAIRABLE,
            owner_offset(copy, 9),
            &format!("owner 9, copy {copy}"),
        );
    }
    let mut image = store();
    put_owner(&mut image, 9, Some(owner("LV9", false)));
    image.damage(owner_offset(0, 9));
    image.damage(owner_offset(1, 9));
    finds(&image, AT_RISK, owner_offset(0, 9), "owner 9");

    let mut image = store();
    put_owner(&mut image, 9, Some(owner("LV3", false)));
    finds(&image, AT_RISK, owner_offset(0, 9), "LID LV3 of owner 2");

    for sectors in [GROUP_SECTORS - 1, GROUP_SECTORS + 1] {
        let mut image = store();
        let mut other = owner("LV9", false);
        other.sectors = sectors;
        put_owner(&mut image, 9, Some(other));
        finds(
            &image,
            AT_RISK,
            owner_offset(0, 9),
            "not the length of the group",
        );
    }

    let mut image = store();
    let mut leaving = owner("LV9", false);
    leaving.removing = true;
    put_owner(&mut image, 9, Some(leaving));
    finds(&image, CLEAN, owner_offset(0, 9), "being removed");
    finds(&image, CLEAN, owner_offset(0, 9), "or takes it back");

    let mut image = store();
    let first = OwnerRecord {
        number: 9,
        sequence: 1,
        owner: Some(owner("LV9", false)),
    };
    assert!(first.encode(TAG, image.sector(owner_offset(0, 9))));
    finds(&image, CLEAN, owner_offset(1, 9), "after a crash");
}

#[test]
fn entries_without_their_owner() {
    let mut image = store();
    image.damage(owner_offset(0, 2));
    image.damage(owner_offset(1, 2));
    let run = image.svol(&["check", "%"]);
    assert_eq!(run.status(), AT_RISK);
    assert!(run
        .out()
        .contains("1 entries of owner 2 (unknown) whose owner is lost"));
}

#[test]
fn write_intent() {
    let mut image = store();
    image.damage(intent_offset(1, 0));
    finds(&image, REPAIRABLE, intent_offset(1, 0), "owner 1 (LV2)");
    // What has no regions does not count.
    let mut image = store();
    image.damage(intent_offset(1, 1));
    image.damage(intent_offset(2, 0));
    is_clean(&image);
}

#[test]
fn entry_sectors() {
    let mut image = store();
    let offset = layout().entry_offset(entry_sector_of(40));
    image.damage(offset);
    finds(&image, AT_RISK, offset, "wrong checksum; slots 32 to 63");
    // From another store.
    entries::format(image.sector(offset), TAG + 1, 1);
    finds(&image, AT_RISK, offset, "belongs elsewhere");
    // From another place.
    entries::format(image.sector(offset), TAG, 2);
    finds(&image, AT_RISK, offset, "belongs elsewhere");
    image.sector(offset).fill(0);
    finds(&image, AT_RISK, offset, "blank");

    // Where the device ends before the slots do, there is nothing to lose.
    let mut image = store();
    let offset = layout().entry_offset(255);
    image.damage(offset);
    finds(&image, REPAIRABLE, offset, "sector of entries");
}

#[test]
fn senseless_entries() {
    let offset = layout().entry_offset(entry_sector_of(100));
    let refused = "the first one is here; the group refuses the device";
    for (entry, words) in [
        (record(9, 0, 1, 0), "which nobody has"),
        (record(3, 0, 1, 0), "which nobody has"),
        (record(1, GROUP_SECTORS / 16, 1, 0), "behind its end"),
    ] {
        let mut image = store();
        put_entry(&mut image, 100, Some(entry));
        finds(&image, AT_RISK, offset, words);
        finds(&image, AT_RISK, offset, refused);
    }
    let mut image = store();
    put_entry(&mut image, 100, Some(record(1, 0, 1, 0)));
    finds(&image, AT_RISK, offset, "is in slot 100 and in slot 40");
    let mut image = store();
    put_entry(&mut image, 8191, Some(record(1, 99, 1, 0)));
    let offset = layout().entry_offset(255);
    finds(&image, AT_RISK, offset, "that the device has not");
    finds(&image, AT_RISK, offset, refused);
    // A sub-block more than a block has.
    let mut image = store();
    put_entry(&mut image, 100, Some(record(1, 99, 4, 0)));
    let offset = layout().entry_offset(entry_sector_of(100));
    finds(&image, AT_RISK, offset, "contradictory content");
}

/// Between its growth and the next load of the table, the header does not know of the new slots.
#[test]
fn a_device_that_has_grown() {
    let number = layout().slots().div_ceil(SECTOR_ENTRIES);
    let offset = layout().entry_offset(number);
    let grow = |image: &mut Image| {
        let more = 2 * SECTOR_ENTRIES * BLOCK * 512;
        let bytes = image.bytes.len() + usize::try_from(more).unwrap();
        image.bytes.resize(bytes, 0);
    };
    let mut image = store();
    grow(&mut image);
    is_clean(&image);
    put_entry(
        &mut image,
        number * SECTOR_ENTRIES,
        Some(record(1, 99, 1, 0)),
    );
    is_clean(&image);

    let mut image = store();
    image.damage(offset);
    finds(&image, REPAIRABLE, offset, "had no such slots");
    grow(&mut image);
    finds(&image, REPAIRABLE, offset, "had no such slots");
}

#[test]
fn metadata_slots() {
    // Generation 6 is in the first slot, 7 in the second one.
    for (header_at, lost) in [(0, "generation 7"), (1 << 20, "generation 6")] {
        let mut image = metadata_device();
        image.damage(header_at);
        finds(&image, AT_RISK, header_at, "damaged header");
        assert!(image.svol(&["check", "%"]).out().contains(lost));
    }
    let mut image = metadata_device();
    image.damage(4096);
    finds(&image, CLEAN, 0, "a commit was cut off");
    let mut image = metadata_device();
    image.damage((1 << 20) + 4096);
    finds(&image, AT_RISK, 1 << 20, "damaged body of generation 7");
    image.damage(0);
    let run = image.svol(&["check", "%"]);
    assert_eq!(run.status(), AT_RISK);
    assert_eq!(run.out().matches("no generation is left").count(), 2);

    let mut image = Image::new(4 << 20);
    let mut claim: Metadata = metadata(0);
    claim.head.events = 0;
    claim.head.phase = svol_core::svol_core::meta::Phase::Initialising;
    claim.volumes = Default::default();
    put_metadata(&mut image, &claim);
    finds(&image, CLEAN, 0, "never finished");
    // The first commit was cut off in its body.
    image.bytes[(1 << 20) + 4096..][..4096].fill(0xa5);
    finds(&image, CLEAN, 0, "never finished");

    // What a store has left in the unused part of it does not count.
    let mut image = metadata_device();
    entries::format(image.sector(layout().entry_offset(0)), TAG, 0);
    is_clean(&image);
}

#[test]
fn what_cannot_be_checked() {
    let mut image = Image::new(4 << 20);
    assert_eq!(image.svol(&["check", "%"]).status(), FAILED);
    image.bytes.fill(0xa5);
    assert_eq!(image.svol(&["check", "%"]).status(), FAILED);
    // Was blanked, as far as a new group needs it.
    let mut image = store();
    image.bytes[..2 << 20].fill(0);
    for command in ["check", "dump", "diff"] {
        let run = image.svol(&[command, "%"]);
        assert_eq!((run.status(), run.out()), (FAILED, String::new()));
    }
    let err = image.svol(&["check", "%"]).err();
    assert!(err.contains("is blank for dm-svol"), "{err}");
    // A trace of the store is there still.
    put_owner(&mut image, 1, Some(owner("LV2", true)));
    finds(&image, AT_RISK, 0, "no trace of either copy");
    image.bytes.clear();
    assert_eq!(image.svol(&["check", "%"]).status(), FAILED);
    for args in [
        &["check", "/nonexistent"][..],
        &["check", "/dev/null"],
        &["check", "/"],
        &["check"],
        &["chekc", "%"],
        &[],
    ] {
        let run = image.svol(args);
        assert_eq!(run.status(), FAILED, "{args:?}");
        assert!(!run.err().is_empty());
    }
    assert_eq!(image.svol(&["--help"]).status(), CLEAN);
}
