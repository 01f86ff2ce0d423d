// SPDX-License-Identifier: GPL-2.0

//! `svol diff --sparse` copies what there is, and its file is there only when it is whole.

mod common;

use common::*;
use serde_json::json;
use std::{
    fs,
    os::unix::{fs::MetadataExt, process::ExitStatusExt},
    process::Command,
};

fn part(path: &str) -> String {
    format!("{path}.part")
}

fn exists(path: &str) -> bool {
    fs::exists(path).unwrap()
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
    fs::write(path, "mine").unwrap();
    assert_eq!(image.svol(&args).status(), 4);
    assert_eq!(fs::read(path).unwrap(), b"mine");
    assert!(!exists(&part(path)));
    // And has room for one volume.
    let run = image.svol(&["diff", "%", "--sparse", "/nonexistent/file"]);
    assert_eq!(run.status(), 4);
    assert!(run.err().contains("--lid"));
}

#[test]
fn what_cannot_be_read_is_a_hole() {
    let mut image = store();
    // Two sectors of a block of LV2 are left.
    let end = layout().slot_sector(4096) * 512 + 1024;
    image.bytes.truncate(usize::try_from(end).unwrap());
    let file = Image::new(0);
    let path = file.path.to_str().unwrap();
    let args = ["diff", "%", "--lid", "LV2", "--sparse", path];
    let run = image.svol(&args);
    assert_eq!(run.status(), 2, "{}", run.err());
    assert!(
        run.err()
            .contains("LV2: 3072 bytes from 41984 cannot be read"),
        "{}",
        run.err()
    );
    assert!(!run.err().contains("cannot write"));
    assert!(run.out().contains("\n  41984 3072 unreadable\n"));
    let bytes = fs::read(path).unwrap();
    let mut expected = vec![0; 8 << 20];
    expected[..8192].fill(41);
    expected[8192..16384].fill(3);
    expected[40960..41984].fill(u8::try_from(4096 % 251 + 1).unwrap());
    assert!(bytes == expected);

    fs::remove_file(path).unwrap();
    let run = image.svol(&["diff", "%", "--lid", "LV2", "--sparse", path, "--json"]);
    assert_eq!(
        run.json()[0]["unreadable"],
        json!([{ "start": 41984, "bytes": 3072 }])
    );
}

#[test]
fn nothing_is_left_of_what_failed() {
    let mut image = store();
    put_entry(&mut image, 100, Some(record(1, 0, 1, 0)));
    let file = Image::new(0);
    let path = file.path.to_str().unwrap();
    let run = image.svol(&["diff", "%", "--lid", "LV2", "--sparse", path]);
    assert_eq!(run.status(), 4);
    assert!(!exists(path));
    assert!(!exists(&part(path)));
}

#[test]
fn half_a_file_does_not_look_like_a_whole_one() {
    let image = store();
    let file = Image::new(0);
    let path = file.path.to_str().unwrap();
    let args = ["diff", "%", "--lid", "LV2", "--sparse", path];
    // It may not write a file of that size, and is killed when it tries.
    let status = Command::new("sh")
        .args(["-c", "ulimit -c 0; ulimit -f 1; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_svol"))
        .args(args.map(|arg| if arg == "%" { image.write() } else { arg }))
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(libc::SIGXFSZ));
    assert!(!exists(path));
    assert!(exists(&part(path)));

    // What is left of that is not overwritten either.
    let run = image.svol(&args);
    assert_eq!(run.status(), 4);
    assert!(run.err().contains(".part"), "{}", run.err());
    assert!(!exists(path));
    fs::remove_file(part(path)).unwrap();
    assert_eq!(image.svol(&args).status(), 0);
    assert!(exists(path));
    assert!(!exists(&part(path)));
}
