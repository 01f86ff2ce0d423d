// SPDX-License-Identifier: GPL-2.0

//! Nobody has to read what svol says: its status is the same.

mod common;

use common::*;
use std::{
    fs::OpenOptions,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::Stdio,
};
use svol_core::svol_core::{meta::SLOT_DISTANCE, store::layout::header_offset};

/// A pipe whose reader has gone.
fn closed() -> Stdio {
    let (ours, _) = UnixStream::pair().unwrap();
    OwnedFd::from(ours).into()
}

/// Something that takes nothing more.
fn full() -> Stdio {
    let file = OpenOptions::new().write(true).open("/dev/full");
    file.unwrap().into()
}

#[test]
fn the_status_needs_no_reader() {
    let mut lost = store();
    lost.damage(layout().entry_offset(1));
    let mut repairable = store();
    repairable.damage(header_offset(1));
    let mut metadata = metadata_device();
    metadata.damage(SLOT_DISTANCE);
    for (image, args, status) in [
        (&lost, &["check", "%"][..], 2),
        (&lost, &["check", "--json", "%"], 2),
        (&lost, &["diff", "%"], 2),
        (&lost, &["diff", "--json", "%"], 2),
        (&lost, &["dump", "--entries", "%"], 0),
        (&lost, &["dump", "--json", "--entries", "%"], 0),
        (&repairable, &["check", "%"], 1),
        (&metadata, &["check", "%"], 2),
        (&metadata, &["dump", "%"], 0),
        (&metadata, &["diff", "%"], 4),
        (&metadata, &["chekc", "%"], 4),
    ] {
        let run = image.svol_to(args, closed(), Stdio::null());
        assert_eq!(run.status(), status, "{args:?}, no reader of the output");
        for err in [closed(), full()] {
            let run = image.svol_to(args, Stdio::null(), err);
            assert_eq!(run.status(), status, "{args:?}, no reader of the errors");
        }
    }
    // A reader that is there and does not get it all is another matter.
    for args in [&["check", "%"][..], &["check", "--json", "%"]] {
        let run = lost.svol_to(args, full(), Stdio::piped());
        assert_eq!(run.status(), 4, "{args:?}: {}", run.err());
    }
}
