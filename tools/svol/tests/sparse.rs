// SPDX-License-Identifier: GPL-2.0

//! `svol diff --sparse` and `--image` copy what there is, and their file is there only when it is
//! whole.

mod common;

use common::*;
use serde_json::json;
use std::{
    fs,
    os::unix::{fs::MetadataExt, process::ExitStatusExt},
    process::Command,
};
use svol_core::svol_core::samples::Sample;

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

/// A disk of which no sector is like another one, but for zeroes from 2 MiB to 4 MiB. It is longer
/// than the volume.
fn base() -> Image {
    let mut image = Image::new((8 << 20) + 4096);
    for (sector, bytes) in (0u32..).zip(image.bytes.chunks_exact_mut(512)) {
        bytes[..4].copy_from_slice(&sector.to_le_bytes());
        bytes[4..].fill(0xb5);
    }
    image.bytes[2 << 20..4 << 20].fill(0);
    image
}

/// What LV2 of [`store`] holds on [`base`].
fn whole() -> Vec<u8> {
    let mut bytes = base().bytes.clone();
    bytes.truncate(8 << 20);
    bytes[..8192].fill(41);
    bytes[8192..16384].fill(3);
    let block = &mut bytes[5 * 8192..6 * 8192];
    block[..4096].fill(u8::try_from(4096 % 251 + 1).unwrap());
    block[4096..].fill(0);
    bytes
}

/// Makes an image of LV2 in this file.
fn image_args<'a>(path: &'a str, base: &'a Image) -> [&'a str; 8] {
    let base = base.write();
    ["diff", "%", "--lid", "LV2", "--image", path, "--base", base]
}

#[test]
fn images_have_the_rest_of_the_base() {
    let (image, base, file) = (store(), base(), Image::new(0));
    let path = file.path.to_str().unwrap();
    let args = image_args(path, &base);
    let run = image.svol(&args);
    assert_eq!(run.status(), 0, "{}", run.err());
    assert!(fs::read(path).unwrap() == whole());
    // Six of the eight MiB are there, in units of 512.
    assert!(fs::metadata(path).unwrap().blocks() < 7 << 11);
    assert!(run.out().contains("LV2: 24576 of"));
    assert!(!run.out().contains("unreadable"));
    assert!(!exists(&part(path)));

    // It does not overwrite anything either.
    assert_eq!(image.svol(&args).status(), 4);
    // One does not go without the other, nor with a sparse file, and there is room for one volume.
    let base = args[7];
    for args in [
        &["diff", "%", "--lid", "LV2", "--image", "/nonexistent/file"][..],
        &["diff", "%", "--lid", "LV2", "--base", base],
        &[
            "diff", "%", "--lid", "LV2", "--base", base, "--image", "/x/y", "--sparse", "/x/z",
        ],
        &["diff", "%", "--base", base, "--image", "/x/y"],
    ] {
        let run = image.svol(args);
        assert_eq!(run.status(), 4, "{args:?}");
        assert!(!run.err().contains("/x/y.part"), "{}", run.err());
    }
}

#[test]
fn a_base_that_is_another_disk() {
    let sample = |at: u64| {
        let start = usize::try_from(at).unwrap() * 4096;
        Sample::take(at, &base().bytes[start..start + 4096])
    };
    let meta = group_device(|metadata| {
        for at in [0, 700, 2047] {
            metadata.samples.try_push(sample(at)).unwrap();
        }
    });
    let (image, file, mut disk) = (store(), Image::new(0), base());
    let path = file.path.to_str().unwrap();
    let run = |disk: &Image| {
        let args = [&image_args(path, disk)[..], &["--meta", meta.write()]].concat();
        image.svol(&args)
    };
    let made = run(&disk);
    assert_eq!((made.status(), made.err()), (0, String::new()));
    assert!(fs::read(path).unwrap() == whole());
    fs::remove_file(path).unwrap();

    disk.bytes[700 * 4096] ^= 1;
    let refused = run(&disk);
    assert_eq!(refused.status(), 4);
    assert!(refused.err().contains("see byte 2867200: wrong disk?"));
    assert!(!exists(path));
    assert!(!exists(&part(path)));
    disk.bytes.truncate((8 << 20) - 512);
    let refused = run(&disk);
    assert_eq!(refused.status(), 4);
    assert!(refused.err().contains("too short"), "{}", refused.err());
    assert!(!exists(&part(path)));
}

/// Of the changes and of the base alike.
#[test]
fn what_an_image_lacks_is_told() {
    let (mut image, base, file) = (store(), base(), Image::new(0));
    let end = layout().slot_sector(4096) * 512 + 1024;
    image.bytes.truncate(usize::try_from(end).unwrap());
    let path = file.path.to_str().unwrap();
    let run = image.svol(&image_args(path, &base));
    assert_eq!(run.status(), 2, "{}", run.err());
    assert!(run.out().contains("\n  41984 3072 unreadable\n"));
    // What the base has there is older.
    let mut expected = whole();
    expected[41984..45056].fill(0);
    assert!(fs::read(path).unwrap() == expected);
}
