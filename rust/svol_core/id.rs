// SPDX-License-Identifier: GPL-2.0

//! IDs of groups and volumes.

use core::{
    cmp::Ordering,
    fmt, //
};

/// The longest ID, in bytes.
pub const MAX_ID_BYTES: usize = 63;

/// The size of an ID on disk, in bytes: the text, then zeros, at least one.
pub const DISK_ID_BYTES: usize = 64;

/// Words with a special meaning in messages; no volume may have such a name.
const RESERVED: [&[u8]; 3] = [b"all", b"onto", b"reverse"];

/// The ID of a group (GrpID) or of one of its entries (LID, RLID).
///
/// # Invariants
///
/// `text` holds `len` bytes that form a valid ID, followed by zeros.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Id {
    len: u8,
    text: [u8; MAX_ID_BYTES],
}

/// Why a text is not an ID.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IdError {
    /// No text at all.
    Empty,
    /// More than [`MAX_ID_BYTES`].
    TooLong,
    /// The first byte is neither letter nor digit.
    BadStart,
    /// A byte outside of `A-Za-z0-9_.-`.
    BadByte,
    /// A word that messages use.
    Reserved,
}

impl Id {
    /// Reads an ID: 1 to 63 bytes of `A-Za-z0-9_.-`, the first one a letter or digit, and not one
    /// of the words `all`, `onto` and `reverse`.
    pub fn parse(text: &[u8]) -> Result<Self, IdError> {
        let (first, _) = text.split_first().ok_or(IdError::Empty)?;
        if !first.is_ascii_alphanumeric() {
            return Err(IdError::BadStart);
        }
        if !text.iter().copied().all(is_id_byte) {
            return Err(IdError::BadByte);
        }
        if RESERVED.contains(&text) {
            return Err(IdError::Reserved);
        }

        let mut id = Self {
            len: u8::try_from(text.len()).map_err(|_| IdError::TooLong)?,
            text: [0; MAX_ID_BYTES],
        };
        id.text
            .get_mut(..text.len())
            .ok_or(IdError::TooLong)?
            .copy_from_slice(text);
        // INVARIANT: The text was checked above; bytes that it does not cover are still zero.
        Ok(id)
    }

    /// Reads an ID in its form on disk: padded with zeros.
    pub fn from_disk(field: &[u8; DISK_ID_BYTES]) -> Result<Self, IdError> {
        let len = field
            .iter()
            .position(|byte| *byte == 0)
            .ok_or(IdError::TooLong)?;
        let (text, rest) = field.split_at_checked(len).ok_or(IdError::TooLong)?;
        if rest.iter().any(|byte| *byte != 0) {
            return Err(IdError::BadByte);
        }
        Self::parse(text)
    }

    /// The form on disk: padded with zeros.
    pub fn to_disk(&self) -> [u8; DISK_ID_BYTES] {
        let mut field = [0; DISK_ID_BYTES];
        for (to, from) in field.iter_mut().zip(&self.text) {
            *to = *from;
        }
        field
    }

    /// The text, as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        // By the invariant the range always exists.
        self.text.get(..usize::from(self.len)).unwrap_or(&[])
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // By the invariant the text is ASCII.
        core::str::from_utf8(self.as_bytes()).unwrap_or("")
    }
}

const fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

impl Ord for Id {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty",
            Self::TooLong => "is longer than 63 bytes",
            Self::BadStart => "does not begin with a letter or digit",
            Self::BadByte => "has a byte outside of A-Za-z0-9_.-",
            Self::Reserved => "is a reserved word",
        })
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_id))]
mod tests {
    use super::*;

    #[test]
    fn good_ids() {
        for text in [
            &b"a"[..],
            b"0",
            b"LV0",
            b"a.b_c-d",
            b"ALL",
            b"all2",
            &[b'x'; 63],
        ] {
            assert!(Id::parse(text).is_ok_and(|id| id.as_bytes() == text));
        }
    }

    #[test]
    fn bad_ids() {
        for (text, error) in [
            (&b""[..], IdError::Empty),
            (&[b'x'; 64], IdError::TooLong),
            (&[b'x'; 300], IdError::TooLong),
            (b"-", IdError::BadStart),
            (b".a", IdError::BadStart),
            (b"_a", IdError::BadStart),
            (b"a b", IdError::BadByte),
            (b"a\0", IdError::BadByte),
            (b"a\xff", IdError::BadByte),
            (b"all", IdError::Reserved),
            (b"onto", IdError::Reserved),
            (b"reverse", IdError::Reserved),
        ] {
            assert_eq!(Id::parse(text), Err(error));
        }
    }

    #[test]
    fn disk_form_goes_round() -> Result<(), IdError> {
        for text in [&b"a"[..], b"DLV2", &[b'x'; 63]] {
            let id = Id::parse(text)?;
            assert_eq!(Id::from_disk(&id.to_disk()), Ok(id));
        }
        assert_eq!(Id::from_disk(&[0; 64]), Err(IdError::Empty));
        assert_eq!(Id::from_disk(&[b'x'; 64]), Err(IdError::TooLong));
        Ok(())
    }

    #[test]
    fn bytes_behind_the_end_are_refused() -> Result<(), IdError> {
        let mut field = Id::parse(b"LV0")?.to_disk();
        if let Some(last) = field.last_mut() {
            *last = b'x';
        }
        assert_eq!(Id::from_disk(&field), Err(IdError::BadByte));
        Ok(())
    }

    #[test]
    fn order_is_that_of_the_text() -> Result<(), IdError> {
        assert!(Id::parse(b"b")? > Id::parse(b"aaa")?);
        assert!(Id::parse(b"a")? < Id::parse(b"aa")?);
        Ok(())
    }
}
