// SPDX-License-Identifier: GPL-2.0

//! `files`: changes of small files, each made durable before the next one begins, so that
//! after a power cut it is known what must be there.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::args::Args;
use crate::dm::Control;
use crate::error::{Error, Result};
use crate::rng::Rng;

/// So many files come and go.
const FILES: u64 = 16;
/// A file that is written as a whole is at most this long.
const LONGEST: u64 = 20_000;
/// New content until it gets the name of its file.
const DRAFT: &str = "draft";

/// What the files hold, by their numbers.
type Files = BTreeMap<u64, Vec<u8>>;

#[derive(Debug)]
enum Change {
    Create(Vec<u8>),
    /// From an offset on, within what there is.
    Overwrite(usize, Vec<u8>),
    Append(Vec<u8>),
    /// By another file of that name.
    Replace(Vec<u8>),
    Remove,
}

#[derive(Debug)]
struct Op {
    file: u64,
    change: Change,
}

fn bytes(rng: &mut Rng, len: u64) -> Vec<u8> {
    (0..len).map(|_| rng.next() as u8).collect()
}

impl Op {
    /// The one with that number, from 1 on; it depends on what those before it left.
    fn new(seed: u64, number: u64, files: &Files) -> Self {
        let mut rng = Rng::new(seed, number);
        let file = rng.below(FILES);
        let whole = 1 + rng.below(LONGEST);
        let change = match (files.get(&file), rng.below(10)) {
            (None, _) => Change::Create(bytes(&mut rng, whole)),
            (Some(old), 0..=3) => {
                let at = rng.index(old.len());
                let len = 1 + rng.below((old.len() - at) as u64);
                Change::Overwrite(at, bytes(&mut rng, len))
            }
            (Some(_), 4..=5) => {
                let len = 1 + rng.below(5000);
                Change::Append(bytes(&mut rng, len))
            }
            (Some(_), 6..=8) => Change::Replace(bytes(&mut rng, whole)),
            (Some(_), _) => Change::Remove,
        };
        Self { file, change }
    }

    /// What it makes of the files.
    fn apply(&self, files: &mut Files) {
        let old = files.remove(&self.file);
        let new = match &self.change {
            Change::Create(new) | Change::Replace(new) => new.clone(),
            Change::Append(new) => [old.unwrap_or_default(), new.clone()].concat(),
            Change::Overwrite(at, data) => {
                let mut new = old.unwrap_or_default();
                for (byte, with) in new.iter_mut().skip(*at).zip(data) {
                    *byte = *with;
                }
                new
            }
            Change::Remove => return,
        };
        files.insert(self.file, new);
    }

    /// Does it, and returns when it is durable.
    fn perform(&self, folder: &Path) -> io::Result<()> {
        let path = path_of(folder, self.file);
        match &self.change {
            Change::Create(new) => {
                let mut file = File::create_new(&path)?;
                file.write_all(new)?;
                file.sync_all()?;
            }
            Change::Overwrite(at, data) => {
                let file = OpenOptions::new().write(true).open(&path)?;
                file.write_all_at(data, *at as u64)?;
                return file.sync_data();
            }
            Change::Append(new) => {
                let mut file = OpenOptions::new().append(true).open(&path)?;
                file.write_all(new)?;
                return file.sync_data();
            }
            Change::Replace(new) => {
                let draft = folder.join(DRAFT);
                let mut file = File::create(&draft)?;
                file.write_all(new)?;
                file.sync_all()?;
                fs::rename(&draft, &path)?;
            }
            Change::Remove => fs::remove_file(&path)?,
        }
        File::open(folder)?.sync_all()
    }

    /// Whether a power cut while it was done may leave this of its file.
    fn may_leave(&self, old: Option<&[u8]>, found: Option<&[u8]>) -> bool {
        if old == found {
            return true;
        }
        match (&self.change, old, found) {
            (Change::Create(new), None, Some(found)) => grows_to(found, new),
            (Change::Append(new), Some(old), Some(found)) => found
                .strip_prefix(old)
                .is_some_and(|more| grows_to(more, new)),
            (Change::Overwrite(at, data), Some(old), Some(found)) => {
                let written = *at..*at + data.len();
                let may = |(i, byte): (usize, &u8)| {
                    old.get(i) == Some(byte)
                        || written.contains(&i) && data.get(i - at) == Some(byte)
                };
                found.len() == old.len() && found.iter().enumerate().all(may)
            }
            (Change::Replace(new), _, Some(found)) => found == new,
            (Change::Remove, _, None) => true,
            _ => false,
        }
    }
}

/// What of new content may be there before it is durable: its length may come before its bytes,
/// which are zeroes until then. Never what the blocks held before.
fn grows_to(found: &[u8], new: &[u8]) -> bool {
    found.len() <= new.len() && found.iter().zip(new).all(|(a, b)| a == b || *a == 0)
}

fn path_of(folder: &Path, file: u64) -> PathBuf {
    folder.join(format!("f{file}"))
}

fn write(folder: &Path, seed: u64, count: u64, mark: &str, name: &str) -> Result<()> {
    let control = Control::open()?;
    let mut files = Files::new();
    for number in 1..=count {
        let op = Op::new(seed, number, &files);
        op.perform(folder)
            .map_err(|e| Error::io(format_args!("change {number}, of file {}", op.file), &e))?;
        op.apply(&mut files);
        control
            .message(mark, format!("mark {name}.{number}").as_bytes())
            .map_err(|e| Error::io("mark", &e))?;
    }
    Ok(())
}

/// The files that are there.
fn read(folder: &Path) -> Result<Files> {
    let mut found = Files::new();
    let failed = |e: &io::Error| Error::io(folder.display(), e);
    for entry in fs::read_dir(folder).map_err(|e| failed(&e))? {
        let entry = entry.map_err(|e| failed(&e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == DRAFT {
            continue;
        }
        let number = name.strip_prefix('f').and_then(|n| n.parse().ok());
        let Some(number) = number.filter(|n| *n < FILES) else {
            return Err(Error::new(format!("a file \"{name}\" that nobody made")));
        };
        let content = fs::read(entry.path()).map_err(|e| Error::io(&name, &e))?;
        found.insert(number, content);
    }
    Ok(found)
}

/// In short, for those who read what went wrong.
fn describe(content: Option<&[u8]>, other: Option<&[u8]>) -> String {
    let Some(content) = content else {
        return "nothing".to_owned();
    };
    let pairs = content.iter().zip(other.unwrap_or_default());
    let same = pairs.take_while(|(a, b)| a == b).count();
    format!("{} bytes, the first {same} the same", content.len())
}

fn check(folder: &Path, seed: u64, acked: u64) -> Result<()> {
    let mut files = Files::new();
    for number in 1..=acked {
        Op::new(seed, number, &files).apply(&mut files);
    }
    let next = Op::new(seed, acked + 1, &files);
    let found = read(folder)?;
    for file in 0..FILES {
        let old = files.get(&file).map(Vec::as_slice);
        let new = found.get(&file).map(Vec::as_slice);
        let well = match next.file == file {
            true => next.may_leave(old, new),
            false => old == new,
        };
        if !well {
            return Err(Error::new(format!(
                "after {acked} changes, file {file} is {}; it was {}{}",
                describe(new, old),
                describe(old, new),
                if next.file == file {
                    ", and was being changed"
                } else {
                    ""
                },
            )));
        }
    }
    Ok(())
}

pub(crate) fn run(mut args: Args) -> Result<()> {
    let seed = args.opt_or("seed", 1)?;
    let count: Option<u64> = args.opt("count")?;
    let acked: Option<u64> = args.opt("acked")?;
    let mark: Option<String> = args.opt("mark")?;
    let name: Option<String> = args.opt("name")?;
    let folder = PathBuf::from(args.finish_one("folder")?);
    match (count, acked, mark, name) {
        (Some(count), None, Some(mark), Some(name)) => write(&folder, seed, count, &mark, &name),
        (None, Some(acked), None, None) => check(&folder, seed, acked),
        _ => Err(Error::new(
            "either --count, --mark and --name, or --acked are needed",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(change: Change) -> Op {
        Op { file: 0, change }
    }

    #[test]
    fn all_kinds_come() {
        let mut files = Files::new();
        let mut kinds = [0; 5];
        for number in 1..200 {
            let op = Op::new(7, number, &files);
            kinds[match op.change {
                Change::Create(_) => 0,
                Change::Overwrite(..) => 1,
                Change::Append(_) => 2,
                Change::Replace(_) => 3,
                Change::Remove => 4,
            }] += 1;
            op.apply(&mut files);
        }
        assert!(kinds.iter().all(|n| *n > 5), "{kinds:?}");
    }

    #[test]
    fn what_a_cut_may_leave() {
        let old: Option<&[u8]> = Some(b"abcd");
        let create = op(Change::Create(b"xyz".to_vec()));
        assert!(create.may_leave(None, None));
        assert!(create.may_leave(None, Some(b"x\0")));
        assert!(!create.may_leave(None, Some(b"xa")));
        let append = op(Change::Append(b"ef".to_vec()));
        assert!(append.may_leave(old, Some(b"abcde")));
        assert!(!append.may_leave(old, Some(b"abc")));
        assert!(!append.may_leave(old, Some(b"abcdefg")));
        let overwrite = op(Change::Overwrite(1, b"XY".to_vec()));
        assert!(overwrite.may_leave(old, Some(b"abYd")));
        assert!(!overwrite.may_leave(old, Some(b"XbYd")));
        assert!(!overwrite.may_leave(old, Some(b"a\0Yd")));
        let replace = op(Change::Replace(b"new".to_vec()));
        assert!(replace.may_leave(old, Some(b"new")));
        assert!(!replace.may_leave(old, None));
        assert!(!replace.may_leave(old, Some(b"ne")));
        let remove = op(Change::Remove);
        assert!(remove.may_leave(old, None));
        assert!(!remove.may_leave(old, Some(b"")));
    }
}
