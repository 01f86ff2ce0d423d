// SPDX-License-Identifier: GPL-2.0

//! Small helpers for text that comes from users.

use core::fmt;

/// Reads a decimal number: digits only, no sign, no spaces.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// As [`parse_u64`], for numbers that fit into 32 bits.
pub fn parse_u32(text: &[u8]) -> Option<u32> {
    parse_u64(text).and_then(|value| u32::try_from(value).ok())
}

/// A word from the user, in quotes, made fit for a log line: unprintable bytes are escaped, and a
/// long word is cut.
pub struct Quoted<'a>(pub &'a [u8]);

/// How much of a word is shown, in bytes.
const SHOWN_BYTES: usize = 80;

/// How long it may be with its escapes, in characters: a log line has room for two words.
const SHOWN_CHARS: usize = 160;

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = 0usize;
        let mut shown = 0usize;
        f.write_str("\"")?;
        for byte in self.0.iter().take(SHOWN_BYTES) {
            let escaped = byte.escape_ascii();
            chars = chars.saturating_add(escaped.len());
            if chars > SHOWN_CHARS {
                break;
            }
            write!(f, "{escaped}")?;
            shown = shown.saturating_add(1);
        }
        f.write_str("\"")?;
        if shown < self.0.len() {
            f.write_str("...")?;
        }
        Ok(())
    }
}

/// Counts the characters written, to find out how wide a text is.
#[derive(Default)]
pub struct Width(usize);

impl Width {
    /// The number of characters written so far.
    pub fn chars(&self) -> usize {
        self.0
    }
}

impl fmt::Write for Width {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.saturating_add(text.chars().count());
        Ok(())
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_text))]
mod tests {
    use super::*;
    use core::fmt::Write;

    #[test]
    fn numbers() {
        assert_eq!(parse_u64(b"0"), Some(0));
        assert_eq!(parse_u64(b"007"), Some(7));
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u32(b"4294967295"), Some(u32::MAX));
    }

    #[test]
    fn no_numbers() {
        for text in [
            &b""[..],
            b"+1",
            b"-1",
            b" 1",
            b"1 ",
            b"0x1",
            b"1.0",
            b"a",
            b"/",
            b":",
        ] {
            assert_eq!(parse_u64(text), None);
        }
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u32(b"4294967296"), None);
    }

    #[test]
    fn widths() {
        let mut width = Width::default();
        assert!(write!(width, "{}", Quoted(b"a\n\xff")).is_ok());
        // Quotes, `a`, `\n` and `\xff`.
        assert_eq!(width.chars(), 9);

        let mut width = Width::default();
        assert!(write!(width, "{}", Quoted(&[b'x'; 81])).is_ok());
        assert_eq!(width.chars(), 85);
    }
}
