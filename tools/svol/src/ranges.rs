// SPDX-License-Identifier: GPL-2.0

//! What a volume has changed.

use crate::spans::Span;
use serde::Serialize;
use svol_core::svol_core::store::entries::Record;

/// A sub-block, in bytes.
const SUB_BLOCK: u64 = 4096;

/// A range of a volume, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) bytes: u64,
    /// It reads as zeroes; otherwise the store has its content.
    pub(crate) zero: bool,
}

/// The ranges of one entry, within a volume of `end` bytes, with blocks of `block` bytes: each as
/// long as it can be.
pub(crate) fn of_record(record: &Record, block: u64, end: u64) -> impl Iterator<Item = Range> {
    let base = record.bid.saturating_mul(block);
    let Record { data, zero, .. } = *record;
    let mut bit = 0;
    std::iter::from_fn(move || {
        let of = |mask: u16, bit: u32| mask.checked_shr(bit).unwrap_or(0) & 1 == 1;
        while bit < u16::BITS && !of(data | zero, bit) {
            bit = bit.saturating_add(1);
        }
        let (first, is_zero) = (bit, of(zero, bit));
        let mask = if is_zero { zero } else { data };
        while bit < u16::BITS && of(mask, bit) {
            bit = bit.saturating_add(1);
        }
        let at = |bit: u32| base.saturating_add(u64::from(bit).saturating_mul(SUB_BLOCK));
        let (start, stop) = (at(first), at(bit).min(end));
        (start < stop).then(|| Range {
            start,
            bytes: stop.saturating_sub(start),
            zero: is_zero,
        })
    })
}

/// Appends a range, joined to the one before if they touch and are alike.
pub(crate) fn push(ranges: &mut Vec<Range>, range: Range) {
    match ranges.last_mut() {
        Some(last)
            if last.zero == range.zero
                && last.start.checked_add(last.bytes) == Some(range.start) =>
        {
            last.bytes = last.bytes.saturating_add(range.bytes);
        }
        _ => ranges.push(range),
    }
}

/// What lies between ranges, which are in order, within a volume of `end` bytes.
pub(crate) fn gaps(ranges: &[Range], end: u64) -> impl Iterator<Item = Span> + '_ {
    let ends = ranges
        .iter()
        .map(|range| range.start.saturating_add(range.bytes));
    let starts = ranges.iter().map(|range| range.start);
    let gaps = std::iter::once(0).chain(ends).zip(starts.chain([end]));
    gaps.filter(|(start, end)| start < end)
        .map(|(start, end)| Span {
            start,
            bytes: end.saturating_sub(start),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_between_ranges() {
        let gaps = |ranges: &[(u64, u64)], end| -> Vec<_> {
            let ranges: Vec<_> = ranges
                .iter()
                .map(|(start, bytes)| Range {
                    start: *start,
                    bytes: *bytes,
                    zero: false,
                })
                .collect();
            super::gaps(&ranges, end)
                .map(|gap| (gap.start, gap.bytes))
                .collect()
        };
        assert_eq!(gaps(&[], 512), [(0, 512)]);
        assert!(gaps(&[(0, 512)], 512).is_empty());
        assert_eq!(gaps(&[(0, 8), (8, 8), (32, 8)], 64), [(16, 16), (40, 24)]);
        assert_eq!(gaps(&[(16, 8), (56, 8)], 64), [(0, 16), (24, 32)]);
    }

    #[test]
    fn ranges_of_blocks() {
        let record = |bid, data, zero| Record {
            owner: 1,
            bid,
            data,
            zero,
        };
        let mut ranges = Vec::new();
        for record in [
            record(0, 0x8001, 0x0006),
            record(1, 0x0001, 0),
            record(2, 0xffff, 0),
        ] {
            for range in of_record(&record, 65536, 2 * 65536 + 512) {
                push(&mut ranges, range);
            }
        }
        let expected = [
            (0, 4096, false),
            (4096, 8192, true),
            (15 * 4096, 8192, false),
            (131_072, 512, false),
        ];
        assert_eq!(
            ranges,
            expected.map(|(start, bytes, zero)| Range { start, bytes, zero })
        );
    }
}
