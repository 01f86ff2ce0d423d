// SPDX-License-Identifier: GPL-2.0

//! What several tests need.

// Not every test uses everything.
#![allow(dead_code)]

use proptest::prelude::*;
use svol_core::{
    env::Vec as CoreVec,
    svol_core::{
        attr::Attr,
        health::Health,
        id::Id,
        meta::{
            Copies, CopyState, DiskState, Head, Metadata, Phase, RegionRecord, VolumeRecord,
            MAX_SAMPLES,
        },
        samples::Sample,
    },
};

pub(crate) fn core_vec<T>(values: impl IntoIterator<Item = T>) -> CoreVec<T> {
    let mut vec = CoreVec::new();
    for value in values {
        vec.try_push(value).unwrap();
    }
    vec
}

pub(crate) fn id(text: &str) -> Id {
    Id::parse(text.as_bytes()).unwrap()
}

/// Any ID.
pub(crate) fn any_id() -> impl Strategy<Value = Id> {
    "[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
        .prop_filter_map("reserved", |text| Id::parse(text.as_bytes()).ok())
}

/// One of a few IDs, so that they meet.
pub(crate) fn some_id() -> impl Strategy<Value = Id> {
    (0..8u32).prop_map(|n| id(&format!("L{n}")))
}

fn volume(number: usize, kind: u8, bits: u8, disk_sectors: u64) -> VolumeRecord {
    let lid = id(&format!("V{number}"));
    let bit = |n: u8| (bits >> n) & 1 == 1;
    let attr = match (number, kind % 4) {
        (0, _) => Attr::Increments,
        (_, 0) => Attr::Ro,
        (_, 1) => Attr::Rw,
        (_, 2) => Attr::Spare,
        _ => Attr::Increments,
    };
    let failed = bit(0);
    let state = DiskState {
        pristine: bit(1) && !failed && attr != Attr::Increments,
        unprotected: !bit(1) && bit(2) && attr != Attr::Increments,
        formatted: bit(3) && attr == Attr::Increments,
        failed,
        removed: false,
    };
    let health = match (failed, attr) {
        (true, Attr::Rw) if bit(4) => Health::Degraded,
        (true, _) => Health::Failed,
        (false, Attr::Spare) => Health::Spare,
        (false, Attr::Ro | Attr::Rw) if bit(5) => Health::Verifying,
        (false, _) => Health::InSync,
    };
    VolumeRecord {
        lid,
        attr,
        rlid: (attr.is_volume() && bit(6)).then(|| id("V0")),
        disk: (!failed).then_some(lid),
        health,
        state,
        disk_sectors,
        failed_at: u64::from(bits),
    }
}

/// Metadata that makes sense.
pub(crate) fn any_metadata() -> impl Strategy<Value = Metadata> {
    (
        any::<[u8; 16]>(),
        any_id(),
        1..u64::MAX,
        any::<[u64; 2]>(),
        (1u64..100_000, 3u32..8),
        any::<(bool, bool, bool)>(),
        prop::collection::vec(any::<(u8, u8, u64)>(), 1..20),
        prop::collection::vec((any::<u8>(), 1u64..4), 0..20),
        prop::collection::vec(any::<u32>(), 0..=MAX_SAMPLES),
    )
        .prop_map(
            |(
                uuid,
                group,
                sequence,
                numbers,
                (blocks, shift),
                flags,
                volumes,
                regions,
                samples,
            )| {
                let block = 1u64 << shift;
                let sectors = blocks * block;
                let (two, lost, active) = flags;
                let copies = Copies::live(if two { 2 } else { 1 });
                let volumes: Vec<_> = volumes
                    .into_iter()
                    .enumerate()
                    .map(|(i, (kind, bits, size))| volume(i, kind, bits, size))
                    .collect();
                let regions = match volumes.iter().find(|volume| volume.attr.is_volume()) {
                    None => Vec::new(),
                    Some(volume) => {
                        let mut start = 0;
                        let mut list = Vec::new();
                        for (gap, len) in regions {
                            start += u64::from(gap) * block;
                            if start + len * block > sectors {
                                break;
                            }
                            list.push(RegionRecord {
                                lid: volume.lid,
                                start,
                                len: len * block,
                                attr: Attr::Rw,
                            });
                            start += len * block;
                        }
                        list
                    }
                };
                let samples = samples
                    .into_iter()
                    .enumerate()
                    .map(|(i, checksum)| Sample {
                        sub_block: i as u64,
                        checksum,
                    })
                    .filter(|sample| sample.sub_block < sectors / 8);
                Metadata {
                    head: Head {
                        uuid,
                        group,
                        sequence,
                        events: numbers[0],
                        base_generation: numbers[1],
                        sectors,
                        block_sectors: 1 << shift,
                        logical_block_bytes: 512,
                        phase: if active {
                            Phase::Active
                        } else {
                            Phase::Initialising
                        },
                        copies: if two && lost {
                            copies.with(1, CopyState::Lost)
                        } else {
                            copies
                        },
                    },
                    samples: core_vec(samples),
                    volumes: core_vec(volumes),
                    regions: core_vec(regions),
                    rebuilds: CoreVec::new(),
                }
            },
        )
}
