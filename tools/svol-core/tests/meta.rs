// SPDX-License-Identifier: GPL-2.0

//! Metadata on disk: what is written is read back, and nothing else is.

mod common;

use common::any_metadata;
use proptest::prelude::*;
use svol_core::svol_core::meta::{
    BodyError, Header, HeaderError, Metadata, BODY_OFFSET, HEADER_BYTES,
};

fn encode(metadata: &Metadata) -> (Vec<u8>, [u8; HEADER_BYTES]) {
    let body = metadata.encode_body().unwrap().to_vec();
    let mut sector = [0xee; HEADER_BYTES];
    assert!(metadata.encode_header(0, &body, &mut sector));
    (body, sector)
}

proptest! {
    #[test]
    fn goes_round(metadata in any_metadata()) {
        let (body, sector) = encode(&metadata);
        let header = Header::decode(&sector).unwrap();
        prop_assert_eq!(header.copy, 0);
        prop_assert_eq!(Metadata::decode(&header, &body), Ok(metadata));
    }

    #[test]
    fn the_length_of_the_sector_does_not_matter(metadata in any_metadata()) {
        let (_, sector) = encode(&metadata);
        let mut block = sector.to_vec();
        block.resize(BODY_OFFSET, 0);
        prop_assert_eq!(Header::decode(&block), Header::decode(&sector));
        prop_assert_eq!(Header::decode(&sector[..511]), Err(HeaderError::Magic));
    }

    /// CRC-32C finds every error of up to 32 bits in a row.
    #[test]
    fn damage_is_seen(
        metadata in any_metadata(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255u8,
    ) {
        let (mut body, mut sector) = encode(&metadata);
        let header = Header::decode(&sector).unwrap();
        let i = at.index(HEADER_BYTES);
        sector[i] ^= flip;
        prop_assert!(matches!(
            Header::decode(&sector),
            Err(HeaderError::Magic | HeaderError::Checksum)
        ));
        let i = at.index(body.len());
        body[i] ^= flip;
        prop_assert_eq!(Metadata::decode(&header, &body), Err(BodyError::Checksum));
    }

    /// A body with the right checksum and any content gives an error or something that can be
    /// written again.
    #[test]
    fn content_may_be_anything(
        metadata in any_metadata(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let (mut body, _) = encode(&metadata);
        for (at, value) in changes {
            let i = at.index(body.len());
            body[i] = value;
        }
        if cut.index(4) == 0 {
            body.truncate(cut.index(body.len()));
        }
        let mut sector = [0; HEADER_BYTES];
        prop_assert!(metadata.encode_header(0, &body, &mut sector));
        let header = Header::decode(&sector).unwrap();
        if let Ok(decoded) = Metadata::decode(&header, &body) {
            let (again, _) = encode(&decoded);
            let mut sector = [0; HEADER_BYTES];
            prop_assert!(decoded.encode_header(0, &again, &mut sector));
            let header = Header::decode(&sector).unwrap();
            prop_assert_eq!(Metadata::decode(&header, &again), Ok(decoded));
        }
    }

    #[test]
    fn noise_is_no_header(noise in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert_eq!(Header::decode(&noise), Err(HeaderError::Magic));
    }
}

/// Records of a later format are passed over or refused, as they say.
#[test]
fn unknown_records() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};

    let mut runner = TestRunner::deterministic();
    let metadata = any_metadata().new_tree(&mut runner).unwrap().current();
    let (body, _) = encode(&metadata);
    for (flags, len) in [(1u8, 0u8), (1, 8), (0, 8), (1, 7)] {
        let mut longer = body.clone();
        longer.extend([77, 0, flags, 0, len, 0, 0, 0]);
        longer.extend(vec![5; usize::from(len)]);
        let mut sector = [0; HEADER_BYTES];
        assert!(metadata.encode_header(0, &longer, &mut sector));
        let header = Header::decode(&sector).unwrap();
        let expected = match (flags, len) {
            (_, 7) => Err(BodyError::Malformed),
            (0, _) => Err(BodyError::UnknownRecord(77)),
            _ => Ok(metadata.try_clone().unwrap()),
        };
        assert_eq!(Metadata::decode(&header, &longer), expected);
    }
}
