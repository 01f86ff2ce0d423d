// SPDX-License-Identifier: GPL-2.0

//! Command-line arguments: plain words, `--name value` pairs and flags.

use std::str::FromStr;

use crate::error::{Error, Result};

/// Options that stand alone; every other option takes one value.
const FLAGS: &[&str] = &[
    "after-crash",
    "allow-errors",
    "buffered",
    "count-only",
    "marks",
    "messages",
    "no-discard",
    "scattered",
    "until-signal",
];

/// The arguments of one command. Every option must be taken by the command:
/// what is left over at [`Args::finish`] is an error.
pub(crate) struct Args {
    words: Vec<String>,
    options: Vec<(String, String)>,
    flags: Vec<String>,
}

impl Args {
    /// Splits the words into options and plain words.
    pub(crate) fn parse(input: impl Iterator<Item = String>) -> Result<Self> {
        let mut args = Args {
            words: Vec::new(),
            options: Vec::new(),
            flags: Vec::new(),
        };
        let mut input = input;
        while let Some(word) = input.next() {
            let Some(name) = word.strip_prefix("--") else {
                args.words.push(word);
                continue;
            };
            if FLAGS.contains(&name) {
                args.flags.push(name.to_owned());
            } else {
                let value = input
                    .next()
                    .ok_or_else(|| Error::new(format!("--{name} needs a value")))?;
                args.options.push((name.to_owned(), value));
            }
        }
        Ok(args)
    }

    /// Takes the value of an option that may be given once.
    pub(crate) fn opt<T: FromStr>(&mut self, name: &str) -> Result<Option<T>> {
        let mut values = self.all(name);
        if values.len() > 1 {
            return Err(Error::new(format!("--{name} is given twice")));
        }
        let Some(text) = values.pop() else {
            return Ok(None);
        };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Error::new(format!("--{name} {text}: bad value"))),
        }
    }

    /// Takes the value of an option, or its default.
    pub(crate) fn opt_or<T: FromStr>(&mut self, name: &str, default: T) -> Result<T> {
        Ok(self.opt(name)?.unwrap_or(default))
    }

    /// Takes all values of an option that may be repeated.
    pub(crate) fn all(&mut self, name: &str) -> Vec<String> {
        let (taken, kept) = std::mem::take(&mut self.options)
            .into_iter()
            .partition(|(n, _)| n == name);
        self.options = kept;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// Takes a flag.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.flags.len();
        self.flags.retain(|f| f != name);
        self.flags.len() < before
    }

    /// The plain words, once every option was taken.
    pub(crate) fn finish(self) -> Result<Vec<String>> {
        let options = self.options.into_iter().map(|(name, _)| name);
        if let Some(name) = options.chain(self.flags).next() {
            return Err(Error::new(format!("unknown option --{name}")));
        }
        Ok(self.words)
    }

    /// The single plain word of a command that takes exactly one.
    pub(crate) fn finish_one(self, what: &str) -> Result<String> {
        let words = self.finish()?;
        match <[String; 1]>::try_from(words) {
            Ok([word]) => Ok(word),
            Err(_) => Err(Error::new(format!("exactly one {what} is needed"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Args {
        Args::parse(text.split_whitespace().map(str::to_owned)).unwrap()
    }

    #[test]
    fn options_and_words_mix() {
        let mut a = args("/dev/a --seed 7 --allow-errors /dev/b");
        assert_eq!(a.opt_or("seed", 0u64).unwrap(), 7);
        assert!(a.flag("allow-errors"));
        assert_eq!(a.finish().unwrap(), ["/dev/a", "/dev/b"]);
    }

    #[test]
    fn leftovers_and_bad_values_are_errors() {
        assert!(args("--seed 7").finish().is_err());
        assert!(args("--seed x").opt::<u64>("seed").is_err());
        assert!(args("--seed 1 --seed 2").opt::<u64>("seed").is_err());
        assert!(Args::parse(["--seed".to_owned()].into_iter()).is_err());
    }
}
