// SPDX-License-Identifier: GPL-2.0

//! Mutation of lines of words, for table lines and messages alike.

use std::fs;

use crate::error::{Error, Result};
use crate::rng::Rng;

/// Words that parsers stumble over, besides those of the sample lines.
const NASTY: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "7",
    "8",
    "63",
    "64",
    "65",
    "127",
    "128",
    "129",
    "255",
    "256",
    "257",
    "4095",
    "4096",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-1",
    "-0",
    "+1",
    "00",
    "01",
    "0x10",
    "1e3",
    "1.5",
    " ",
    "-",
    "--",
    ".",
    "..",
    "/",
    "//",
    "_",
    "a",
    "all",
    "onto",
    "reverse",
    "ALL",
    "%s",
    "%n",
    "%p%p%p%p",
    "/dev/null",
    "/dev/zero",
    "/dev/mapper/control",
    "/dev/nothing",
    "0:0",
    "1:3",
    "253:0",
    "4095:1048575",
    "99999:99999",
    ":",
    "1:",
    ":1",
    "ro",
    "rw",
    "spare",
    "increments",
    "RO",
    "rw,ro",
    "init",
    "copy_from",
    "verify",
    "assume_identical",
    "on_full",
    "error",
    "queue",
    "low_water_mark",
    "max_errors",
    "failover",
    "auto",
    "manual",
    "rebuild_rate",
    "slow_after",
    "read_policy",
    "adaptive",
    "allow_unprotected",
    "force_metadata",
    "query",
    "restore",
    "fail",
    "readd",
    "rollback",
    "set_attr",
    "add",
    "remove",
    "replace_meta",
    "scrub",
    "start",
    "stop",
    "repair",
    "pair_create",
    "pair_split",
    "pair_resync",
    "\u{e4}\u{f6}",
    "\u{1f4a9}",
    "\\",
    "\"",
    "'",
    "$(id)",
    ";",
    "\t",
    "\u{7f}",
];

/// A line as words; a word may hold any byte but NUL.
pub(crate) type Line = Vec<Vec<u8>>;

/// Splits a text at white space.
pub(crate) fn split(text: &str) -> Line {
    text.split_whitespace()
        .map(|w| w.as_bytes().to_vec())
        .collect()
}

/// Joins words with single spaces.
pub(crate) fn join(line: &Line) -> Vec<u8> {
    line.join(&b' ')
}

/// White space for the kernel's `isspace`: that of Latin-1, with the no-break space.
fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ' | 0xa0)
}

/// The byte that the first word of a message begins with, once `dm_split_args`
/// has cut the message into words and taken the backslashes out that quote the
/// byte behind them. `None`: the message has no words.
pub(crate) fn first_byte(message: &[u8]) -> Option<u8> {
    let at = message.iter().position(|b| !is_space(*b))?;
    match message[at..] {
        [b'\\', quoted, ..] => Some(quoted),
        [first, ..] => Some(first),
        [] => None,
    }
}

/// A line for people: bytes outside printable ASCII escaped, long lines cut.
pub(crate) fn show(bytes: &[u8]) -> String {
    let mut text = bytes.escape_ascii().to_string();
    if text.len() > 600 {
        text.truncate(600);
        text.push_str("...");
    }
    text
}

/// The non-empty lines of a file that are no comments.
pub(crate) fn read_lines(path: &str) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).map_err(|e| Error::io(path, &e))?;
    let lines = text.lines().map(str::trim);
    let lines: Vec<String> = lines
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(str::to_owned)
        .collect();
    if lines.is_empty() {
        return Err(Error::new(format!("{path} holds no lines")));
    }
    Ok(lines)
}

/// Changes lines at random, with the words of all samples as material.
pub(crate) struct Mutator {
    dictionary: Line,
}

impl Mutator {
    /// A mutator that knows the words of these samples.
    pub(crate) fn new<'a>(samples: impl Iterator<Item = &'a str>) -> Self {
        let nasty = NASTY.iter().map(|w| w.as_bytes().to_vec());
        let mut dictionary: Line = samples.flat_map(split).chain(nasty).collect();
        dictionary.sort();
        dictionary.dedup();
        Self { dictionary }
    }

    fn word(&self, rng: &mut Rng) -> Vec<u8> {
        match rng.below(10) {
            0..=5 => self.dictionary[rng.index(self.dictionary.len())].clone(),
            6 => rng.next().to_string().into_bytes(),
            7 => {
                let len = 1 + rng.index(80);
                (0..len).map(|_| 1 + rng.below(255) as u8).collect()
            }
            8 => {
                let letters = b"ABCxyz019_.-";
                let len = 1 + rng.index(70);
                (0..len)
                    .map(|_| letters[rng.index(letters.len())])
                    .collect()
            }
            _ => vec![b'A' + rng.below(26) as u8; 1 << rng.below(13)],
        }
    }

    fn touch(&self, rng: &mut Rng, word: &mut Vec<u8>) {
        let at = rng.index(word.len());
        match rng.below(4) {
            0 => word.insert(at, 1 + rng.below(255) as u8),
            1 if !word.is_empty() => {
                word.remove(at);
            }
            2 => word.extend_from_slice(&self.word(rng)),
            _ => {
                if let Some(byte) = word.get_mut(at) {
                    *byte = (*byte ^ (1 << rng.below(8))).max(1);
                }
            }
        }
    }

    fn step(&self, rng: &mut Rng, line: &mut Line) {
        let at = rng.index(line.len());
        match rng.below(9) {
            0 if !line.is_empty() => {
                line.remove(at);
            }
            1 => line.insert(at, self.word(rng)),
            2 if !line.is_empty() => line.insert(at, line[at].clone()),
            3 => {
                let other = rng.index(line.len());
                if !line.is_empty() {
                    line.swap(at, other);
                }
            }
            4 => {
                if let Some(word) = line.get_mut(at) {
                    self.touch(rng, word);
                }
            }
            5 if rng.percent(20) => line.truncate(at),
            6 if rng.percent(20) => {
                // The same group of words many times over.
                let end = (at + 1 + rng.index(8)).min(line.len());
                let group: Line = line[at.min(end)..end].to_vec();
                for _ in 0..1 << rng.below(8) {
                    line.extend_from_slice(&group);
                }
            }
            7 => line.push(self.word(rng)),
            _ => {
                if let Some(word) = line.get_mut(at) {
                    *word = self.word(rng);
                }
            }
        }
    }

    /// A line made from a sample by up to four changes, now and then by none
    /// or made of random words only.
    pub(crate) fn line(&self, rng: &mut Rng, sample: &str) -> Line {
        if rng.percent(5) {
            let words = rng.index(40);
            return (0..words).map(|_| self.word(rng)).collect();
        }
        let mut line = split(sample);
        for _ in 0..rng.below(5) {
            self.step(rng, &mut line);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_lines() {
        let mutator = Mutator::new(["a b c 1"].into_iter());
        for i in 0..2000 {
            let first = mutator.line(&mut Rng::new(1, i), "a b c 1");
            let again = mutator.line(&mut Rng::new(1, i), "a b c 1");
            assert_eq!(first, again);
            assert!(!join(&first).contains(&0));
        }
    }

    #[test]
    fn the_first_byte_is_the_one_that_dm_sees() {
        assert_eq!(first_byte(b"query"), Some(b'q'));
        assert_eq!(first_byte(b" \t\x0b@x"), Some(b'@'));
        assert_eq!(first_byte(b"\xa0@x"), Some(b'@'));
        assert_eq!(first_byte(b"\\@x"), Some(b'@'));
        assert_eq!(first_byte(b"\\\\@x"), Some(b'\\'));
        assert_eq!(first_byte(b"\\"), Some(b'\\'));
        assert_eq!(first_byte(b"\\ @"), Some(b' '));
        assert_eq!(first_byte(b"\x85@"), Some(0x85));
        assert_eq!(first_byte(b" \xa0\n"), None);
        assert_eq!(first_byte(b""), None);
    }
}
