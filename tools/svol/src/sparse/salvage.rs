// SPDX-License-Identifier: GPL-2.0

//! Reading from a device that has bad sectors.

use anyhow::Result;
use std::io;

/// What can't be read at once is read in parts of this size, then of the next one: a sub-block, a
/// sector. All are multiples of the one behind.
const PARTS: [usize; 2] = [4096, 512];

/// Reads from an offset of a device with `read`. `each` gets one part after the other: its offset,
/// its bytes, and whether they could be read.
pub(super) fn read(
    read: &impl Fn(u64, &mut [u8]) -> io::Result<()>,
    offset: u64,
    buffer: &mut [u8],
    each: &mut impl FnMut(u64, &[u8], io::Result<()>) -> Result<()>,
) -> Result<()> {
    let result = read(offset, buffer);
    let part = PARTS.into_iter().find(|part| *part < buffer.len());
    let (Err(_), Some(part)) = (&result, part) else {
        return each(offset, buffer, result);
    };
    let mut at = offset;
    for piece in buffer.chunks_mut(part) {
        self::read(read, at, piece, each)?;
        at = at.saturating_add(u64::try_from(piece.len())?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found where `bad` sectors can't be read: the parts, and whether they could be read.
    fn parts(len: usize, bad: &[u64]) -> Vec<(u64, usize, bool)> {
        let device = |offset: u64, buffer: &mut [u8]| {
            let end = offset + buffer.len() as u64;
            if bad.iter().any(|at| offset < at + 512 && *at < end) {
                return Err(io::Error::other("bad"));
            }
            buffer.fill(7);
            Ok(())
        };
        let mut found = Vec::new();
        read(
            &device,
            8192,
            &mut vec![0; len],
            &mut |at, bytes, result| {
                assert!(result.is_err() || bytes.iter().all(|byte| *byte == 7));
                found.push((at, bytes.len(), result.is_ok()));
                Ok(())
            },
        )
        .unwrap();
        found
    }

    #[test]
    fn only_what_is_bad_is_lost() {
        assert_eq!(parts(65536, &[]), [(8192, 65536, true)]);
        let found = parts(12288, &[8192 + 4096 + 512]);
        let mut expected = vec![(8192, 4096, true)];
        expected.extend((0..8).map(|n| (12288 + n * 512, 512, n != 1)));
        expected.push((16384, 4096, true));
        assert_eq!(found, expected);
        assert_eq!(parts(512, &[8192]), [(8192, 512, false)]);
        // The last part may be a short one.
        assert_eq!(parts(4608, &[8192 + 4096])[1], (12288, 512, false));
    }
}
