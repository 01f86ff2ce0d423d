// SPDX-License-Identifier: GPL-2.0

//! The status line of a group, checked word by word as the interface states it.

use crate::error::{Error, Result};

const ATTRS: &[&str] = &["ro", "rw", "spare", "increments"];
const STATES: &[&str] = &["clean", "degraded", "failed"];
const HEALTHS: &[&str] = &[
    "in-sync",
    "verifying",
    "rebuilding",
    "diverged",
    "failed",
    "degraded",
    "spare",
];
const PROTECTIONS: &[&str] = &["protected", "unprotected", "-"];

fn one_of(what: &str, word: &str, allowed: &[&str]) -> Result<()> {
    if allowed.contains(&word) {
        Ok(())
    } else {
        Err(Error::new(format!(
            "{what} \"{word}\" is none of {allowed:?}"
        )))
    }
}

fn number(what: &str, word: &str) -> Result<u64> {
    let number = word.parse();
    number.map_err(|_| Error::new(format!("{what} \"{word}\" is no number")))
}

fn progress(word: &str) -> Result<()> {
    if word == "-" {
        return Ok(());
    }
    let Some((done, total)) = word.split_once('/') else {
        return Err(Error::new(format!(
            "blocks \"{word}\" is neither - nor done/total"
        )));
    };
    if number("blocks", done)? > number("blocks", total)? {
        return Err(Error::new(format!(
            "blocks \"{word}\": more done than there are"
        )));
    }
    Ok(())
}

fn volume(fields: &[&str], lids: &[&str]) -> Result<()> {
    let [_, attr, health, protection, disk, rlid, freq, read_errors, write_errors, blocks, ..] =
        fields
    else {
        return Err(Error::new("a volume has fewer than 10 fields"));
    };
    one_of("attr", attr, ATTRS)?;
    one_of("health", health, HEALTHS)?;
    one_of("protection", protection, PROTECTIONS)?;
    for (what, word) in [("disk LID", disk), ("RLID", rlid)] {
        if *word != "-" && !lids.contains(word) {
            return Err(Error::new(format!("{what} \"{word}\" is not in the group")));
        }
    }
    number("freq", freq)?;
    number("read errors", read_errors)?;
    number("write errors", write_errors)?;
    progress(blocks)
}

/// Checks the parameters of a STATUSTYPE_INFO line.
pub(crate) fn check_info(line: &str) -> Result<()> {
    let bad = |why: String| Error::new(format!("{why} in status line: {line}"));
    let words: Vec<&str> = line.split(' ').collect();
    let [_, state, redundancy, events, metadata, volumes, fields, records @ ..] = words.as_slice()
    else {
        return Err(bad("fewer than 7 fields".to_owned()));
    };
    let head = || -> Result<(u64, u64)> {
        one_of("group state", state, STATES)?;
        one_of("redundancy", redundancy, &["0", "1", "2"])?;
        number("event count", events)?;
        one_of("metadata", metadata, &["A", "F", "AA", "AF", "FA", "FF"])?;
        Ok((number("#volumes", volumes)?, number("#fields", fields)?))
    };
    let (volumes, fields) = head().map_err(|e| bad(e.to_string()))?;
    if fields < 10 || volumes.checked_mul(fields) != Some(records.len() as u64) {
        return Err(bad(format!("{} words of records", records.len())));
    }
    let width = usize::try_from(fields).unwrap_or(usize::MAX);
    let records: Vec<&[&str]> = records.chunks(width).collect();
    let lids: Vec<&str> = records.iter().filter_map(|r| r.first().copied()).collect();
    for record in &records {
        volume(record, &lids).map_err(|e| bad(e.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "G0 clean 0 1 A 2 10 LV0 ro in-sync protected LV0 - 0 0 0 - \
                        S0 spare spare - S0 - 3 0 0 1/2";

    #[test]
    fn a_line_of_the_interface_is_accepted() {
        check_info(GOOD).unwrap();
    }

    #[test]
    fn deviations_are_found() {
        for (from, to) in [
            ("clean", "fine"),
            ("A 2", "B 2"),
            ("2 10", "3 10"),
            ("2 10", "2 9"),
            (" 3 ", " x "),
            ("1/2", "3/2"),
            ("LV0 - 0", "LV9 - 0"),
            ("clean 0", "clean  0"),
        ] {
            let line = GOOD.replacen(from, to, 1);
            assert!(check_info(&line).is_err(), "{line}");
        }
    }
}
