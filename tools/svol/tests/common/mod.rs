// SPDX-License-Identifier: GPL-2.0

//! Images for tests, made with the code of the module.

// Not every test uses everything.
#![allow(dead_code)]

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};
use svol_core::svol_core::{
    attr::Attr,
    health::Health,
    id::Id,
    meta::{
        slot_of, slot_offset, DiskState, Identity, Metadata, Phase as GroupPhase, RebuildRecord,
        VolumeRecord, BODY_OFFSET,
    },
    store::{
        entries::{self, Record},
        intent,
        layout::{
            entry_index_of, entry_sector_of, header_offset, intent_offset, owner_offset,
            INTENT_SECTORS, SEGMENT_ENTRY_SECTORS,
        },
        Header, Layout, Owner, OwnerRecord, Phase,
    },
};

pub(crate) const TAG: u64 = 0x1234_5678;
pub(crate) const BLOCK: u32 = 16;
pub(crate) const GROUP_SECTORS: u64 = 8 << 11;

pub(crate) fn id(text: &str) -> Id {
    Id::parse(text.as_bytes()).unwrap()
}

/// A file that goes away with its owner.
pub(crate) struct Image {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

impl Image {
    pub(crate) fn new(bytes: usize) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);

        let name = format!(
            "svol-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        Self {
            path: std::env::temp_dir().join(name),
            bytes: vec![0; bytes],
        }
    }

    pub(crate) fn sector(&mut self, offset: u64) -> &mut [u8; 512] {
        let at = usize::try_from(offset).unwrap();
        self.bytes[at..].first_chunk_mut().unwrap()
    }

    pub(crate) fn damage(&mut self, offset: u64) {
        self.sector(offset)[100] ^= 1;
    }

    /// Writes the image; gives its path.
    pub(crate) fn write(&self) -> &str {
        fs::write(&self.path, &self.bytes).unwrap();
        self.path.to_str().unwrap()
    }

    /// Runs svol with `%` standing for the image.
    pub(crate) fn svol(&self, args: &[&str]) -> Run {
        self.svol_to(args, Stdio::piped(), Stdio::piped())
    }

    /// The same, with somebody else's output and error.
    pub(crate) fn svol_to(&self, args: &[&str], out: Stdio, err: Stdio) -> Run {
        let path = self.write();
        let args = args.iter().map(|arg| match *arg {
            "%" => path,
            other => other,
        });
        let mut command = Command::new(env!("CARGO_BIN_EXE_svol"));
        let output = command.args(args).stdout(out).stderr(err).output();
        Run(output.unwrap())
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

pub(crate) struct Run(Output);

impl Run {
    pub(crate) fn status(&self) -> i32 {
        // None is a signal: that never is right.
        self.0.status.code().unwrap()
    }

    pub(crate) fn out(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.0.stdout).unwrap()
    }
}

pub(crate) fn layout() -> Layout {
    // One segment and a bit of another.
    Layout::new(BLOCK, (2 << 12) + 4096 * u64::from(BLOCK)).unwrap()
}

pub(crate) fn header() -> Header {
    Header {
        tag: TAG,
        uuid: *b"0123456789abcdef",
        group: id("G0"),
        lid: id("DLV2"),
        sequence: 5,
        events: 7,
        base_generation: 1,
        sectors: GROUP_SECTORS,
        block_sectors: BLOCK,
        used_sectors: layout().used_sectors(),
        segments: 2,
        phase: Phase::Active,
    }
}

pub(crate) fn owner(lid: &str, in_place: bool) -> Owner {
    Owner {
        lid: id(lid),
        base_generation: 1,
        sectors: GROUP_SECTORS,
        removing: false,
        region_shift: in_place.then_some(11),
    }
}

pub(crate) fn put_owner(image: &mut Image, number: u16, owner: Option<Owner>) {
    let record = OwnerRecord {
        number,
        sequence: 3,
        owner,
    };
    for copy in 0..2 {
        let sector = image.sector(owner_offset(copy, number));
        assert!(record.encode(TAG, sector));
    }
    if owner.is_some_and(|owner| owner.region_shift.is_some()) {
        for index in 0..INTENT_SECTORS {
            let sector = image.sector(intent_offset(number, index));
            intent::format(sector, TAG, number, index);
        }
    }
}

/// Puts an entry into the store, and a pattern into its slot.
pub(crate) fn put_entry(image: &mut Image, slot: u32, record: Option<Record>) {
    let sector = image.sector(layout().entry_offset(entry_sector_of(slot)));
    assert!(entries::set(sector, entry_index_of(slot), record.as_ref()));
    entries::seal_sector(sector, 9);
    let at = usize::try_from(layout().slot_sector(slot) * 512).unwrap();
    if let Some(slot_bytes) = image.bytes.get_mut(at..at + BLOCK as usize * 512) {
        slot_bytes.fill(u8::try_from(slot % 251 + 1).unwrap());
    }
}

pub(crate) fn record(owner: u16, bid: u64, data: u16, zero: u16) -> Record {
    Record {
        owner,
        bid,
        data,
        zero,
    }
}

/// A store with the owners LV2 (1, in place) and LV3 (2, diverted).
pub(crate) fn store() -> Image {
    let mut image = Image::new(usize::try_from(layout().used_sectors() * 512).unwrap());
    for copy in 0..2 {
        let sector = image.sector(header_offset(copy));
        assert!(header().encode(copy, sector));
    }
    put_owner(&mut image, 1, Some(owner("LV2", true)));
    put_owner(&mut image, 2, Some(owner("LV3", false)));
    put_owner(&mut image, 3, None);
    for number in 0..2 * SEGMENT_ENTRY_SECTORS {
        let sector = image.sector(layout().entry_offset(number));
        entries::format(sector, TAG, number);
    }
    // LV2: blocks 0 and 1 whole, block 5 its second half zero. LV3: block 0, across the border.
    put_entry(&mut image, 40, Some(record(1, 0, 3, 0)));
    put_entry(&mut image, 2, Some(record(1, 1, 3, 0)));
    put_entry(&mut image, 4096, Some(record(1, 5, 1, 2)));
    put_entry(&mut image, 7, Some(record(2, 0, 2, 0)));
    image
}

pub(crate) fn metadata(sequence: u64) -> Metadata {
    let mut metadata = Metadata::claim(&Identity {
        uuid: *b"0123456789abcdef",
        group: id("G0"),
        sectors: GROUP_SECTORS,
        block_sectors: BLOCK,
        logical_block_bytes: 512,
        copies: 1,
    });
    metadata.head.sequence = sequence;
    metadata.head.events = sequence;
    metadata.head.phase = GroupPhase::Active;
    metadata
        .volumes
        .try_push(VolumeRecord {
            lid: id("LV0"),
            attr: Attr::Ro,
            rlid: None,
            disk: Some(id("LV0")),
            health: Health::InSync,
            state: DiskState::default(),
            disk_sectors: GROUP_SECTORS,
            failed_at: 0,
        })
        .unwrap();
    metadata
}

/// The metadata of the group of [`store`]: LV2 is in place, LV3 diverted; S0 is a spare.
pub(crate) fn group(sequence: u64) -> Metadata {
    let mut metadata = metadata(sequence);
    for (lid, attr, health, rlid) in [
        ("LV2", Attr::Rw, Health::InSync, Some(id("DLV2"))),
        ("LV3", Attr::Ro, Health::InSync, Some(id("DLV2"))),
        ("S0", Attr::Spare, Health::Spare, None),
        ("DLV2", Attr::Increments, Health::InSync, None),
    ] {
        metadata
            .volumes
            .try_push(VolumeRecord {
                lid: id(lid),
                attr,
                rlid,
                disk: Some(id(lid)),
                health,
                state: DiskState {
                    formatted: attr == Attr::Increments,
                    ..DiskState::default()
                },
                disk_sectors: GROUP_SECTORS,
                failed_at: 0,
            })
            .unwrap();
    }
    metadata
}

/// The entry of a LID.
pub(crate) fn entry<'a>(metadata: &'a mut Metadata, lid: &str) -> &'a mut VolumeRecord {
    let at = metadata.position(&id(lid)).unwrap();
    &mut metadata.volumes[at]
}

/// LV2 has lost its disk, and that of S0 is filled for it.
pub(crate) fn rebuild(metadata: &mut Metadata) {
    let volume = entry(metadata, "LV2");
    volume.health = Health::Rebuilding;
    volume.disk = None;
    volume.state.failed = true;
    volume.failed_at = 3;
    entry(metadata, "S0").health = Health::Rebuilding;
    let record = RebuildRecord {
        lid: id("LV2"),
        target: id("S0"),
        cursor: 4096,
    };
    metadata.rebuilds.try_push(record).unwrap();
}

/// A metadata device of [`group`], after a change, in both of its generations.
pub(crate) fn group_device(change: impl Fn(&mut Metadata)) -> Image {
    group_copy(0, change)
}

/// The same, as one of two copies.
pub(crate) fn group_copy(copy: usize, change: impl Fn(&mut Metadata)) -> Image {
    let mut image = Image::new(4 << 20);
    for sequence in [6, 7] {
        let mut metadata = group(sequence);
        change(&mut metadata);
        put_metadata_copy(&mut image, &metadata, copy);
    }
    image
}

pub(crate) fn put_metadata(image: &mut Image, metadata: &Metadata) {
    put_metadata_copy(image, metadata, 0);
}

pub(crate) fn put_metadata_copy(image: &mut Image, metadata: &Metadata, copy: usize) {
    let offset = slot_offset(slot_of(metadata.head.sequence));
    let body = metadata.encode_body().unwrap();
    assert!(metadata.encode_header(copy, &body, image.sector(offset)));
    let at = usize::try_from(offset).unwrap() + BODY_OFFSET;
    image.bytes[at..at + body.len()].copy_from_slice(&body);
}

/// A metadata device with generations 6 and 7.
pub(crate) fn metadata_device() -> Image {
    let mut image = Image::new(4 << 20);
    put_metadata(&mut image, &metadata(6));
    put_metadata(&mut image, &metadata(7));
    image
}
