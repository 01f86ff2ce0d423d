// SPDX-License-Identifier: GPL-2.0

//! A hash for numbers.

/// Mixes the bits of `value` so that every bit of it affects every bit of the result.
///
/// This is the final step of splitmix64; it maps no two values to the same one.
pub fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_hash))]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // The first numbers of splitmix64 from the seed 0.
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(0x3c6e_f372_fe94_f82a), 0x6e78_9e6a_a1b9_65f4);
    }
}
