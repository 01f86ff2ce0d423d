// SPDX-License-Identifier: GPL-2.0

//! Regions of a volume against a model that knows the attribute of each block.

use proptest::prelude::*;
use svol_core::svol_core::{
    attr::Attr,
    group::{AttrError, GroupTable},
    health::Health,
    id::Id,
    message::Sectors,
    meta::{Header, Identity, Metadata, HEADER_BYTES},
    regions::{Regions, MAX_REGIONS},
    table_line::TableLine,
};

const LINE: &str = "G0 8 1 /m0 5 LV0 ro /sda - LV1 ro /sdb D LV2 rw /sdc D LV3 rw /sdd D \
    D increments /sde - 2 init assume_identical";
const BLOCK: u64 = 8;
/// The last block is cut off.
const SECTORS: u64 = 70 * BLOCK + 3;
const BLOCKS: u64 = 71;

fn group() -> GroupTable {
    let line = TableLine::parse(SECTORS, LINE.split_whitespace().map(str::as_bytes)).unwrap();
    let identity = Identity {
        uuid: [1; 16],
        group: line.group,
        sectors: line.sectors,
        block_sectors: line.block_sectors,
        logical_block_bytes: 512,
        copies: 1,
    };
    let table = GroupTable::new(&identity, &line, |_| 2 * SECTORS).unwrap();
    table.activated(Default::default()).unwrap()
}

fn lid(entry: usize) -> Id {
    Id::parse(format!("LV{entry}").as_bytes()).unwrap()
}

/// Attribute of each block, as routing sees it.
fn attributes(table: &GroupTable, entry: usize) -> Vec<Attr> {
    let regions = Regions::new(true).unwrap();
    assert!(regions.set(&table.borders(entry).unwrap()));
    let main = table.volume(entry).unwrap().attr;
    let mut attributes = vec![];
    let mut sector = 0;
    while sector < SECTORS {
        let (stretch, sectors) = regions.cut(sector, (SECTORS - sector) as u32);
        assert!(sectors > 0 && sector % BLOCK == 0);
        let attr = match stretch.is_diverted {
            true => Attr::Ro,
            false => main,
        };
        for _ in 0..u64::from(sectors).div_ceil(BLOCK) {
            attributes.push(attr);
        }
        sector += u64::from(sectors);
    }
    attributes
}

/// The same, from the metadata as it is on disk.
fn reread(table: &GroupTable) -> Metadata {
    table.metadata().check().unwrap();
    let body = table.metadata().encode_body().unwrap();
    let mut sector = [0; HEADER_BYTES];
    assert!(table.metadata().encode_header(0, &body, &mut sector));
    let header = Header::decode(&sector).unwrap();
    Metadata::decode(&header, &body).unwrap()
}

#[derive(Clone, Debug)]
struct Set {
    entry: usize,
    attr: Attr,
    /// Blocks; the whole volume if there are none.
    range: Option<(u64, u64)>,
}

fn any_set() -> impl Strategy<Value = Set> {
    let range = (0..BLOCKS, 1..=BLOCKS).prop_map(|(at, len)| (at, (at + len).min(BLOCKS)));
    let attr = prop_oneof![Just(Attr::Ro), Just(Attr::Rw)];
    (1..4usize, attr, prop::option::weighted(0.9, range)).prop_map(|(entry, attr, range)| Set {
        entry,
        attr,
        range,
    })
}

proptest! {
    #[test]
    fn every_block_has_the_attribute_that_it_got_last(
        sets in prop::collection::vec(any_set(), 1..60),
    ) {
        let mut table = group();
        let mut model: Vec<Vec<Attr>> = (0..4)
            .map(|entry| vec![table.volume(entry).unwrap().attr; BLOCKS as usize])
            .collect();
        for set in sets {
            let (from, to) = set.range.unwrap_or((0, BLOCKS));
            let sectors = set.range.map(|(from, to)| Sectors {
                start: from * BLOCK,
                len: (to * BLOCK).min(SECTORS) - from * BLOCK,
            });
            let mut wanted = model[set.entry].clone();
            wanted[from as usize..to as usize].fill(set.attr);
            let is_same = wanted == model[set.entry];
            match table.with_attr(&lid(set.entry), set.attr, sectors) {
                Ok(None) => prop_assert!(is_same),
                Ok(Some(next)) => {
                    prop_assert!(!is_same);
                    prop_assert_eq!(next.head().events, table.head().events + 1);
                    model[set.entry] = wanted;
                    table = next;
                }
                Err(AttrError::TooMany) => {
                    let starts = wanted.windows(2).filter(|w| w == &[Attr::Rw, Attr::Ro]);
                    let first = usize::from(wanted[0] == Attr::Ro);
                    prop_assert!(starts.count() + first > MAX_REGIONS);
                }
                Err(error) => prop_assert!(false, "{error}"),
            }
            let read = reread(&table);
            prop_assert_eq!(&*read.regions, &*table.metadata().regions);
            for (entry, blocks) in model.iter().enumerate().skip(1) {
                prop_assert_eq!(&attributes(&table, entry), blocks);
                let is_mixed = blocks.iter().any(|attr| *attr != blocks[0]);
                prop_assert_eq!(table.has_regions(entry), is_mixed);
            }
        }
    }
}

#[test]
fn ranges_are_whole_blocks_inside_the_volume() {
    let table = group();
    let set = |start, len| table.with_attr(&lid(2), Attr::Ro, Some(Sectors { start, len }));
    assert_eq!(set(4, 8), Err(AttrError::Blocks(8)));
    assert_eq!(set(0, 4), Err(AttrError::Blocks(8)));
    assert_eq!(set(0, 0), Err(AttrError::Blocks(8)));
    assert_eq!(set(8, SECTORS), Err(AttrError::TooLong(SECTORS)));
    assert_eq!(set(u64::MAX, u64::MAX), Err(AttrError::TooLong(SECTORS)));
    assert!(set(8, SECTORS - 8).is_ok_and(|next| next.is_some()));
    let range = Some(Sectors { start: 0, len: 8 });
    let refused = table.with_attr(&lid(0), Attr::Rw, range);
    assert_eq!(refused, Err(AttrError::NoParts));
}

/// A part that is written in place makes the volume one that is, when its disk fails.
#[test]
fn a_disk_of_parts_fails() {
    let table = group();
    let range = Some(Sectors { start: 0, len: 8 });
    let mixed = table.with_attr(&lid(1), Attr::Rw, range).unwrap().unwrap();
    assert!(!mixed.volume(1).unwrap().state.pristine);
    let failed = mixed.with_failed_disk(1).unwrap().unwrap();
    failed.metadata().check().unwrap();
    assert!(failed.is_served(1));
    assert_eq!(failed.volume(1).unwrap().health, Health::Degraded);
    let unprotected = mixed.with_unprotected(1).unwrap().unwrap();
    let failed = unprotected.with_failed_disk(1).unwrap().unwrap();
    failed.metadata().check().unwrap();
    assert!(!failed.is_served(1));
}
