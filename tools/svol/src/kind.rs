// SPDX-License-Identifier: GPL-2.0

//! What a device is, by the magics on it.

use crate::{device::Device, store::probe};
use anyhow::{anyhow, bail, Result};
use std::{io, path::Path};
use svol_core::svol_core::{
    meta::{slot_offset, SLOTS},
    store::{
        layout::{header_offset, DATA_SECTOR},
        Probe, COPIES,
    },
};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Metadata,
    Increments,
}

const METADATA: &[u8] = b"dm-svolM";
const INCREMENTS: &[u8] = b"dm-svolI";
/// At the beginning of the data area: what is left of a store that has lost its header.
const ENTRIES: &[u8] = b"dmE1";

impl Kind {
    /// Looks for any magic where there could be one: one of them may be damaged. An error if there
    /// is none that counts.
    pub(crate) fn of(device: &Device, path: &Path) -> Result<Self> {
        match find(|offset, buffer| device.read(offset, buffer)) {
            // As for the module, whatever comes behind the part that has to be blank.
            Ok(Some(Self::Increments)) if matches!(probe(device)?, Probe::Blank) => bail!(
                "{} is blank for dm-svol: it is zero before {}, what comes then is left of an increments store",
                path.display(),
                DATA_SECTOR.saturating_mul(512)
            ),
            Ok(Some(kind)) => Ok(kind),
            Ok(None) => bail!(
                "{} holds neither metadata nor an increments store",
                path.display()
            ),
            Err((offset, error)) => {
                let path = path.display();
                Err(anyhow!(error).context(format!("cannot read {path} at {offset}")))
            }
        }
    }

    /// The word for it in JSON.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Increments => "increments",
        }
    }
}

/// The kind that the first magic stands for. Without any: the first place that cannot be read,
/// since there one may be.
fn find(read: impl Fn(u64, &mut [u8]) -> io::Result<()>) -> Result<Option<Kind>, (u64, io::Error)> {
    let headers = (0..COPIES).map(|copy| (Kind::Increments, header_offset(copy), INCREMENTS));
    let slots = (0..SLOTS).map(|slot| (Kind::Metadata, slot_offset(slot), METADATA));
    // The last one, because a metadata device may have anything there: that part of it is not used.
    let entries = (Kind::Increments, DATA_SECTOR.saturating_mul(512), ENTRIES);

    let mut unread = None;
    for (kind, offset, magic) in headers.chain(slots).chain([entries]) {
        let mut bytes = [0; 8];
        match read(offset, &mut bytes) {
            Ok(()) if bytes.starts_with(magic) => return Ok(Some(kind)),
            Ok(()) => {}
            // What is too short to have something there has nothing there.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => {
                unread.get_or_insert((offset, error));
            }
        }
    }
    unread.map_or(Ok(None), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRIES_AT: u64 = 2 << 20;

    /// Reads a device with these magics; what is at `bad` and behind cannot be read.
    fn found(magics: &[(u64, &[u8])], bad: u64) -> Result<Option<Kind>, u64> {
        let kind = find(|offset, buffer| {
            if offset >= bad {
                return Err(io::Error::other("bad"));
            }
            buffer.fill(0);
            for (at, magic) in magics {
                if *at == offset {
                    buffer[..magic.len()].copy_from_slice(magic);
                }
            }
            Ok(())
        });
        kind.map_err(|(offset, _)| offset)
    }

    #[test]
    fn what_cannot_be_read_may_have_a_magic() {
        assert_eq!(found(&[], u64::MAX), Ok(None));
        assert_eq!(found(&[], 4096), Err(4096));
        assert_eq!(found(&[], 0), Err(0));
        assert_eq!(found(&[(0, INCREMENTS)], 4096), Ok(Some(Kind::Increments)));
        assert_eq!(found(&[(0, METADATA)], 1 << 20), Ok(Some(Kind::Metadata)));
    }

    #[test]
    fn what_lies_in_the_unused_part_of_metadata() {
        let old = (ENTRIES_AT, ENTRIES);
        assert_eq!(found(&[old], u64::MAX), Ok(Some(Kind::Increments)));
        assert_eq!(
            found(&[(1 << 20, METADATA), old], u64::MAX),
            Ok(Some(Kind::Metadata))
        );
    }
}
