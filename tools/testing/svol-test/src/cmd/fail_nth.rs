// SPDX-License-Identifier: GPL-2.0

//! `fail-nth`: an operation of device-mapper again and again, each time with another allocation of
//! the kernel that fails, until it has no more of them.

use std::collections::BTreeMap;
use std::io;

use crate::args::Args;
use crate::dm::{Ask, Control, Target};
use crate::error::{Error, Result};
use crate::sys;

/// More allocations than anything has that ends.
const MOST: u32 = 100_000;

/// "load G0 0 8 svol-group ...": what to do, with which device, and more.
struct Operation<'a> {
    text: &'a str,
    what: &'a str,
    name: &'a str,
    rest: &'a str,
}

impl<'a> Operation<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let mut words = text.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default();
        let operation = Self {
            text,
            what: word(),
            name: word(),
            rest: word(),
        };
        let takes_more = match operation.what {
            "create" | "clear" | "suspend" | "resume" | "remove" | "status" | "table" => false,
            "load" | "message" => true,
            _ => return Err(Error::new(format!("no operation: {text}"))),
        };
        if operation.name.is_empty() || operation.rest.is_empty() == takes_more {
            return Err(Error::new(format!("no operation: {text}")));
        }
        Ok(operation)
    }

    fn run(&self, control: &Control) -> Result<io::Result<()>> {
        let name = self.name;
        Ok(match self.what {
            "create" => control.create(name),
            "clear" => control.clear(name),
            "suspend" => control.suspend(name),
            "resume" => control.resume(name),
            "remove" => control.remove(name),
            "status" => control.status(name, Ask::Info).map(|_| ()),
            "table" => control.status(name, Ask::Table).map(|_| ()),
            "load" => control.load(name, &Target::parse(self.rest.as_bytes())?),
            _ => control.message(name, self.rest.as_bytes()).map(|_| ()),
        })
    }

    /// It has to work.
    fn must(&self, control: &Control) -> Result<()> {
        self.run(control)?.map_err(|e| Error::io(self.text, &e))
    }
}

/// What an error must not change of a group: its table, and the state in its status. What counts
/// I/O and errors is left out.
fn snapshot(control: &Control, name: &str) -> Result<Vec<String>> {
    let ask = |ask| {
        let answer = control.status(name, ask).map_err(|e| Error::io(name, &e))?;
        Ok::<_, Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    let mut lines = vec![ask(Ask::Table)?];
    let status = ask(Ask::Info)?;
    let words: Vec<&str> = status.split(' ').collect();
    let (head, records) = words.split_at(7.min(words.len()));
    lines.push(head.join(" "));
    let width = head.last().and_then(|w| w.parse().ok()).unwrap_or(0);
    for record in records.chunks(usize::max(width, 1)) {
        lines.push(record.get(..6).unwrap_or(record).join(" "));
    }
    Ok(lines)
}

/// Operations that have to work, one after the other.
fn all_must(control: &Control, operations: &[Operation<'_>]) -> Result<()> {
    operations.iter().try_for_each(|o| o.must(control))
}

fn parse_all(texts: &[String]) -> Result<Vec<Operation<'_>>> {
    texts.iter().map(|text| Operation::parse(text)).collect()
}

struct Job<'a> {
    operation: Operation<'a>,
    before: Vec<Operation<'a>>,
    undo: Vec<Operation<'a>>,
    same: Option<String>,
}

impl Job<'_> {
    /// Once, while the allocation of that number fails. Gives the result, or nothing if it has no
    /// such allocation.
    fn once(&self, control: &Control, number: u32) -> Result<Option<io::Result<()>>> {
        all_must(control, &self.before)?;
        let state = || {
            let same = self.same.as_ref();
            same.map(|name| snapshot(control, name)).transpose()
        };
        let was = state()?;
        let (done, hit) = control.with_fault(number, |c| self.operation.run(c));
        let done = done?;
        if let Err(e) = &done {
            if !hit {
                return Err(Error::io(self.operation.text, e));
            }
            let is = state()?;
            if was != is {
                return Err(Error::new(format!(
                    "{}, changes something: {was:?} is {is:?}",
                    sys::errno_name(e)
                )));
            }
            // What it was about may be gone with it, as a table that did not become live.
            if self.operation.run(control)?.is_err() {
                all_must(control, &self.before)?;
                self.operation.must(control)?;
            }
        }
        all_must(control, &self.undo)?;
        Ok(hit.then_some(done))
    }
}

pub(crate) fn run(mut args: Args) -> Result<()> {
    let (before, undo) = (args.all("before"), args.all("undo"));
    let same = args.opt("same")?;
    let step: u32 = args.opt_or("step", 1)?;
    let first: u32 = args.opt_or("first", 1)?;
    let text = args.finish_one("operation")?;
    let job = Job {
        operation: Operation::parse(&text)?,
        before: parse_all(&before)?,
        undo: parse_all(&undo)?,
        same,
    };
    let control = Control::open_with_faults()?;
    let mut results: BTreeMap<String, u32> = BTreeMap::new();
    let mut number = first.max(1);
    while number < MOST {
        let done = job
            .once(&control, number)
            .map_err(|e| Error::new(format!("allocation {number} of \"{text}\": {e}")))?;
        let Some(done) = done else {
            break;
        };
        let result = done.map_or_else(|e| sys::errno_name(&e), |()| "ok".to_owned());
        *results.entry(result).or_default() += 1;
        number += step.max(1);
    }
    let results: Vec<_> = results.iter().map(|(r, n)| format!("{n} {r}")).collect();
    println!("fewer than {number} allocations: {}", results.join(", "));
    Ok(())
}
