// SPDX-License-Identifier: GPL-2.0

//! `svol dump` shows what is there.

mod common;

use common::*;
use serde_json::json;
use svol_core::svol_core::store::layout::owner_offset;

#[test]
fn dump_of_a_store() {
    let mut image = store();
    image.damage(owner_offset(0, 77));
    image.damage(owner_offset(1, 77));
    // Nobody has had this number.
    image.damage(owner_offset(0, 78));
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
    assert_eq!(json["owners"].as_array().unwrap().len(), 3);
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

#[test]
fn dump_of_a_rebuild() {
    let image = group_device(rebuild);
    let run = image.svol(&["dump", "%"]);
    assert_eq!(run.status(), 0, "{}", run.err());
    assert!(run
        .out()
        .contains("\n  rebuild of LV2 onto S0: 2097152 bytes done\n"));
    let json = image.svol(&["dump", "--json", "%"]).json();
    let generation = &json["slots"][1]["generation"];
    assert_eq!(
        generation["rebuilds"],
        json!([{ "lid": "LV2", "target": "S0", "cursor_bytes": 2_097_152 }])
    );
    assert_eq!(generation["volumes"][0]["failed_at"], 0);
    assert_eq!(generation["volumes"][1]["failed_at"], 3);
}
