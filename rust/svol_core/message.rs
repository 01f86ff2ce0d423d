// SPDX-License-Identifier: GPL-2.0

//! Messages to the group device.
//!
//! ```text
//! query
//! restore <LID> [onto <LID>]
//! fail <LID>
//! readd <LID>
//! rollback <LID>
//! set_attr <LID> ro|rw [<start> <len>]
//! add <LID> <attr> <dev or -> <RLID or ->
//! remove <LID>
//! replace_meta <n> <dev>
//! scrub start [repair]
//! scrub stop
//! rebuild_rate <KiB/s>
//! pair_create <LID>...
//! pair_split <LID>... | all
//! pair_resync <LID>... [reverse]
//! ```
//!
//! Words are lower case, exactly as written here. Only the syntax is checked here: the group
//! decides whether a LID exists and the command makes sense.

use super::{
    args::{
        Flaw,
        Word,
        Words, //
    },
    attr::Attr,
    id::Id,
    table_line::{
        MAX_META_COPIES,
        MAX_VOLUMES, //
    },
    text::{
        parse_u32,
        parse_u64,
        Quoted, //
    }, //
};
use crate::env::{
    AllocError,
    Vec, //
};
use core::fmt;

/// A message.
#[derive(Debug, PartialEq)]
pub enum Message<'a> {
    /// Show the group management table.
    Query,
    /// Bring a failed volume back to health.
    Restore {
        /// The volume.
        lid: Id,
        /// The entry whose disk to use; `None` if the group is to choose.
        onto: Option<Id>,
    },
    /// Treat the disk of an entry as failed.
    Fail(Id),
    /// Use a failed disk again.
    Readd(Id),
    /// Take a volume back to the base image.
    Rollback(Id),
    /// Change the attribute of a volume or of a part of it.
    SetAttr {
        /// The volume.
        lid: Id,
        /// [`Attr::Ro`] or [`Attr::Rw`].
        attr: Attr,
        /// The part; `None` for the whole volume.
        range: Option<Sectors>,
    },
    /// Add an entry to the group.
    Add {
        /// The new entry.
        lid: Id,
        /// Its role.
        attr: Attr,
        /// The path of its device; `None` if it has none.
        dev: Option<&'a [u8]>,
        /// The increments entry that takes its changes.
        rlid: Option<Id>,
    },
    /// Take an entry out of the group.
    Remove(Id),
    /// Write the lost metadata copy to a device.
    ReplaceMeta {
        /// The place of the device among the metadata devices of the table line, counting from 0;
        /// users count from 1.
        device: usize,
        /// The path of that device.
        dev: &'a [u8],
    },
    /// Begin to compare all sources.
    ScrubStart {
        /// Whether differences are repaired.
        repair: bool,
    },
    /// End the comparison.
    ScrubStop,
    /// Set the maximum rate of a rebuild, in KiB/s; 0 for no limit.
    RebuildRate(u32),
    /// Begin to copy the primary volume to these volumes.
    PairCreate(Vec<Id>),
    /// Split these volumes off, all at the same instant.
    PairSplit(Split),
    /// Bring pairs back together.
    PairResync {
        /// The volumes; one if `reverse`.
        lids: Vec<Id>,
        /// Whether the content goes from the volume to the primary volume.
        reverse: bool,
    },
}

/// Which pairs to split.
#[derive(Debug, PartialEq)]
pub enum Split {
    /// All of them.
    All,
    /// Those of these volumes.
    Lids(Vec<Id>),
}

/// A range of sectors.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sectors {
    /// The first sector.
    pub start: u64,
    /// The number of sectors; not zero, and `start + len` fits into 64 bits.
    pub len: u64,
}

impl<'a> Message<'a> {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub fn parse<I>(words: I) -> Result<Self, MessageError<'a>>
    where
        I: IntoIterator<Item = &'a [u8]>,
        I::IntoIter: Clone,
    {
        let words = words.into_iter();
        let mut reader = Words::new(words.clone());
        parse_message(&mut reader).map_err(|flaw| MessageError {
            command: words.clone().next(),
            at: flaw.at,
            problem: flaw.problem,
            word: words.clone().nth(flaw.at),
        })
    }
}

/// What is wrong with a message, and where.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MessageError<'a> {
    /// The first word of the message.
    pub command: Option<&'a [u8]>,
    /// The index of the word, counting from 0; after the last one if a word is missing.
    pub at: usize,
    /// What is wrong with it.
    pub problem: MessageProblem,
    /// The word itself, unless it is missing.
    pub word: Option<&'a [u8]>,
}

/// What is wrong with a word of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MessageProblem {
    /// Memory ran out.
    NoMemory,
    /// There is no word at all.
    Empty,
    /// No command has this name.
    Command,
    /// This word is missing.
    Missing(&'static str),
    /// The word is not an ID.
    Lid,
    /// The word is not an attribute, or not one that is allowed here.
    Attr,
    /// The device is `-`.
    Dev,
    /// A spare or increments volume has no increments volume of its own.
    Rlid,
    /// The word is not a number, or not one that is allowed here.
    Number,
    /// The range is empty, or its end does not fit into 64 bits.
    Range,
    /// The word is not one of these.
    NotOneOf(&'static str),
    /// The LID occurs earlier in the message.
    Twice,
    /// More LIDs than a group can have.
    TooMany,
    /// Only one volume can be copied back.
    ReverseMany,
    /// The message should have ended before this word.
    Trailing,
}

impl fmt::Display for MessageError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use MessageProblem as P;

        match self.command {
            Some(command) if self.at > 0 => write!(f, "message {}: ", Quoted(command))?,
            _ => f.write_str("message: ")?,
        }
        let (before, after) = match self.problem {
            P::NoMemory => return f.write_str("out of memory"),
            P::Empty => return f.write_str("empty"),
            P::Missing(what) => return write!(f, "{what} missing"),
            P::Command => ("unknown command ", ""),
            P::Lid => ("LID ", ""),
            P::Attr => ("attr ", " does not fit here"),
            P::Dev => ("device ", " is none"),
            P::Rlid => (
                "RLID ",
                " is not \"-\", as it has to be for spare and increments",
            ),
            P::Number => ("", " is not a number that fits here"),
            P::Range => ("length ", " makes the range empty or too large"),
            P::NotOneOf(words) => {
                let word = Quoted(self.word.unwrap_or_default());
                return write!(f, "{word} is not {words}");
            }
            P::Twice => ("LID ", " is named twice"),
            P::TooMany => ("LID ", " is one too many"),
            P::ReverseMany => ("", " takes one LID only"),
            P::Trailing => ("unexpected ", ""),
        };
        let word = self.word.unwrap_or_default();
        write!(f, "{before}{}{after}", Quoted(word))?;
        if self.problem == P::Lid {
            if let Err(error) = Id::parse(word) {
                write!(f, " {error}")?;
            }
        }
        Ok(())
    }
}

impl From<AllocError> for Flaw<MessageProblem> {
    fn from(_: AllocError) -> Self {
        Self {
            at: 0,
            problem: MessageProblem::NoMemory,
        }
    }
}

type Parsed<T> = Result<T, Flaw<MessageProblem>>;

fn parse_message<'a, I>(words: &mut Words<'a, I>) -> Parsed<Message<'a>>
where
    I: Iterator<Item = &'a [u8]>,
{
    let command = words.need(MessageProblem::Empty)?;
    let message = match command.text {
        b"query" => Message::Query,
        b"restore" => parse_restore(words)?,
        b"fail" => Message::Fail(need_id(words)?),
        b"readd" => Message::Readd(need_id(words)?),
        b"rollback" => Message::Rollback(need_id(words)?),
        b"set_attr" => parse_set_attr(words)?,
        b"add" => parse_add(words)?,
        b"remove" => Message::Remove(need_id(words)?),
        b"replace_meta" => parse_replace_meta(words)?,
        b"scrub" => parse_scrub(words)?,
        b"rebuild_rate" => {
            let rate = words.need(MessageProblem::Missing("rate in KiB/s"))?;
            let kib = parse_u32(rate.text).ok_or(rate.flaw(MessageProblem::Number))?;
            Message::RebuildRate(kib)
        }
        b"pair_create" => {
            let first = need_lid(words)?;
            Message::PairCreate(parse_lids(first, words)?)
        }
        b"pair_split" => {
            let first = need_lid(words)?;
            Message::PairSplit(match first.text {
                b"all" => Split::All,
                _ => Split::Lids(parse_lids(first, words)?),
            })
        }
        b"pair_resync" => parse_resync(words)?,
        _ => return Err(command.flaw(MessageProblem::Command)),
    };
    words.end(MessageProblem::Trailing)?;
    Ok(message)
}

fn need_lid<'a, I>(words: &mut Words<'a, I>) -> Parsed<Word<'a>>
where
    I: Iterator<Item = &'a [u8]>,
{
    words.need(MessageProblem::Missing("LID"))
}

fn need_id<'a, I>(words: &mut Words<'a, I>) -> Parsed<Id>
where
    I: Iterator<Item = &'a [u8]>,
{
    id(need_lid(words)?)
}

fn id(word: Word<'_>) -> Parsed<Id> {
    Id::parse(word.text).map_err(|_| word.flaw(MessageProblem::Lid))
}

/// Reads a path; the device can't be omitted in a message.
fn need_dev<'a, I>(words: &mut Words<'a, I>) -> Parsed<&'a [u8]>
where
    I: Iterator<Item = &'a [u8]>,
{
    let dev = words.need(MessageProblem::Missing("device"))?;
    match dev.text {
        b"-" | b"" => Err(dev.flaw(MessageProblem::Dev)),
        path => Ok(path),
    }
}

fn parse_restore<'a, I>(words: &mut Words<'a, I>) -> Parsed<Message<'a>>
where
    I: Iterator<Item = &'a [u8]>,
{
    let lid = need_id(words)?;
    let onto = match words.next() {
        None => None,
        Some(word) if word.text == b"onto" => Some(need_id(words)?),
        Some(word) => return Err(word.flaw(MessageProblem::NotOneOf("onto"))),
    };
    Ok(Message::Restore { lid, onto })
}

fn parse_set_attr<'a, I>(words: &mut Words<'a, I>) -> Parsed<Message<'a>>
where
    I: Iterator<Item = &'a [u8]>,
{
    let lid = need_id(words)?;
    let word = words.need(MessageProblem::Missing("attr"))?;
    let attr = Attr::parse(word.text)
        .filter(|attr| attr.is_volume())
        .ok_or(word.flaw(MessageProblem::Attr))?;
    let range = match words.next() {
        None => None,
        Some(word) => {
            let start = parse_u64(word.text).ok_or(word.flaw(MessageProblem::Number))?;
            let word = words.need(MessageProblem::Missing("length"))?;
            let len = parse_u64(word.text).ok_or(word.flaw(MessageProblem::Number))?;
            if len == 0 || start.checked_add(len).is_none() {
                return Err(word.flaw(MessageProblem::Range));
            }
            Some(Sectors { start, len })
        }
    };
    Ok(Message::SetAttr { lid, attr, range })
}

fn parse_add<'a, I>(words: &mut Words<'a, I>) -> Parsed<Message<'a>>
where
    I: Iterator<Item = &'a [u8]>,
{
    let lid = need_id(words)?;
    let word = words.need(MessageProblem::Missing("attr"))?;
    let attr = Attr::parse(word.text).ok_or(word.flaw(MessageProblem::Attr))?;
    let word = words.need(MessageProblem::Missing("device"))?;
    let dev = match word.text {
        b"-" => None,
        b"" => return Err(word.flaw(MessageProblem::Dev)),
        path => Some(path),
    };
    let word = words.need(MessageProblem::Missing("RLID"))?;
    let rlid = match word.text {
        b"-" => None,
        _ if attr.is_volume() => Some(id(word)?),
        _ => return Err(word.flaw(MessageProblem::Rlid)),
    };
    Ok(Message::Add {
        lid,
        attr,
        dev,
        rlid,
    })
}

fn parse_replace_meta<'a, I>(words: &mut Words<'a, I>) -> Parsed<Message<'a>>
where
    I: Iterator<Item = &'a [u8]>,
{
    let word = words.need(MessageProblem::Missing("metadata device"))?;
    let device = parse_u64(word.text)
        .and_then(|device| usize::try_from(device).ok())
        .filter(|device| *device <= MAX_META_COPIES)
        .and_then(|device| device.checked_sub(1))
        .ok_or(word.flaw(MessageProblem::Number))?;
    let dev = need_dev(words)?;
    Ok(Message::ReplaceMeta { device, dev })
}

fn parse_scrub<'a, I>(words: &mut Words<'a, I>) -> Parsed<Message<'a>>
where
    I: Iterator<Item = &'a [u8]>,
{
    let word = words.need(MessageProblem::Missing("start or stop"))?;
    match word.text {
        b"start" => match words.next() {
            None => Ok(Message::ScrubStart { repair: false }),
            Some(word) if word.text == b"repair" => Ok(Message::ScrubStart { repair: true }),
            Some(word) => Err(word.flaw(MessageProblem::NotOneOf("repair"))),
        },
        b"stop" => Ok(Message::ScrubStop),
        _ => Err(word.flaw(MessageProblem::NotOneOf("start or stop"))),
    }
}

fn parse_resync<'a, I>(words: &mut Words<'a, I>) -> Parsed<Message<'a>>
where
    I: Iterator<Item = &'a [u8]>,
{
    let first = need_lid(words)?;
    let lids = parse_lids(first, words)?;
    let reverse = match words.next_if(|text| text == b"reverse") {
        None => false,
        Some(word) if lids.len() > 1 => return Err(word.flaw(MessageProblem::ReverseMany)),
        Some(_) => true,
    };
    Ok(Message::PairResync { lids, reverse })
}

/// Reads LIDs from `first` to the end of the message or to the word `reverse`.
fn parse_lids<'a, I>(first: Word<'a>, words: &mut Words<'a, I>) -> Parsed<Vec<Id>>
where
    I: Iterator<Item = &'a [u8]>,
{
    let mut lids = Vec::new();
    let mut next = Some(first);
    while let Some(word) = next {
        let lid = id(word)?;
        if lids.contains(&lid) {
            return Err(word.flaw(MessageProblem::Twice));
        }
        if lids.len() == MAX_VOLUMES {
            return Err(word.flaw(MessageProblem::TooMany));
        }
        lids.try_push(lid)?;
        next = words.next_if(|text| text != b"reverse");
    }
    Ok(lids)
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_message))]
mod tests {
    use super::super::id::IdError;
    use super::*;

    fn parse(line: &str) -> Result<Message<'_>, MessageError<'_>> {
        let words = line.split(' ').filter(|word| !word.is_empty());
        Message::parse(words.map(str::as_bytes))
    }

    /// What is wrong with a message, and with which of its words.
    fn flaw(line: &str) -> Option<(usize, MessageProblem)> {
        parse(line).err().map(|error| (error.at, error.problem))
    }

    #[test]
    fn good_messages() -> Result<(), IdError> {
        let a = Id::parse(b"A")?;
        let b = Id::parse(b"B")?;
        let range = Sectors { start: 8, len: 16 };

        for (line, message) in [
            ("query", Message::Query),
            ("restore A", Message::Restore { lid: a, onto: None }),
            ("fail A", Message::Fail(a)),
            ("readd A", Message::Readd(a)),
            ("rollback A", Message::Rollback(a)),
            ("remove A", Message::Remove(a)),
            ("scrub start", Message::ScrubStart { repair: false }),
            ("scrub start repair", Message::ScrubStart { repair: true }),
            ("scrub stop", Message::ScrubStop),
            ("rebuild_rate 0", Message::RebuildRate(0)),
            ("pair_split all", Message::PairSplit(Split::All)),
        ] {
            assert_eq!(parse(line), Ok(message));
        }
        let onto = Some(b);
        assert_eq!(
            parse("restore A onto B"),
            Ok(Message::Restore { lid: a, onto })
        );
        let (lid, attr, rlid, path) = (a, Attr::Rw, Some(b), &b"/dev/x"[..]);
        let set = |range| Ok(Message::SetAttr { lid, attr, range });
        assert_eq!(parse("set_attr A rw"), set(None));
        assert_eq!(parse("set_attr A rw 8 16"), set(Some(range)));
        let add = |dev| {
            Ok(Message::Add {
                lid,
                attr,
                dev,
                rlid,
            })
        };
        assert_eq!(parse("add A rw /dev/x B"), add(Some(path)));
        assert_eq!(parse("add A rw - B"), add(None));
        let dev = path;
        let replace = Message::ReplaceMeta { device: 1, dev };
        assert_eq!(parse("replace_meta 2 /dev/x"), Ok(replace));
        Ok(())
    }

    #[test]
    fn pairs() {
        assert!(matches!(parse("pair_create A B"), Ok(Message::PairCreate(l)) if l.len() == 2));
        assert!(matches!(
            parse("pair_split A B C"),
            Ok(Message::PairSplit(Split::Lids(lids))) if lids.len() == 3
        ));
        assert!(matches!(
            parse("pair_resync A B"),
            Ok(Message::PairResync { lids, reverse: false }) if lids.len() == 2
        ));
        assert!(matches!(
            parse("pair_resync A reverse"),
            Ok(Message::PairResync { lids, reverse: true }) if lids.len() == 1
        ));
    }

    #[test]
    fn bad_messages() {
        use MessageProblem::*;

        for (line, at, problem) in [
            ("", 0, Empty),
            ("what", 0, Command),
            ("QUERY", 0, Command),
            ("query x", 1, Trailing),
            ("restore", 1, Missing("LID")),
            ("restore A B", 2, NotOneOf("onto")),
            ("restore A onto", 3, Missing("LID")),
            ("restore A onto B C", 4, Trailing),
            ("fail -", 1, Lid),
            ("fail all", 1, Lid),
            ("set_attr A", 2, Missing("attr")),
            ("set_attr A spare", 2, Attr),
            ("set_attr A ro x", 3, Number),
            ("set_attr A ro 0", 4, Missing("length")),
            ("set_attr A ro 0 0", 4, Range),
            ("set_attr A ro 18446744073709551615 1", 4, Range),
            ("set_attr A ro 0 8 8", 5, Trailing),
            ("add A rx /dev/x -", 2, Attr),
            ("add A rw", 3, Missing("device")),
            ("add A rw /dev/x", 4, Missing("RLID")),
            ("add A spare /dev/x B", 4, Rlid),
            ("replace_meta 0 /dev/x", 1, Number),
            ("replace_meta 3 /dev/x", 1, Number),
            ("replace_meta 1 -", 2, Dev),
            ("scrub", 1, Missing("start or stop")),
            ("scrub pause", 1, NotOneOf("start or stop")),
            ("scrub start now", 2, NotOneOf("repair")),
            ("scrub stop repair", 2, Trailing),
            ("rebuild_rate -1", 1, Number),
            ("pair_create", 1, Missing("LID")),
            ("pair_create all", 1, Lid),
            ("pair_create A reverse", 2, Trailing),
            ("pair_split A A", 2, Twice),
            ("pair_split all A", 2, Trailing),
            ("pair_resync reverse", 1, Lid),
            ("pair_resync A B reverse", 3, ReverseMany),
            ("pair_resync A reverse B", 3, Trailing),
        ] {
            assert_eq!(flaw(line), Some((at, problem)));
        }
    }
}
