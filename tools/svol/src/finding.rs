// SPDX-License-Identifier: GPL-2.0

//! What a check finds.

use crate::{
    kind::Kind,
    output::{json, line, unless_unread},
    AT_RISK, CLEAN, REPAIRABLE,
};
use anyhow::Result;
use serde::Serialize;

/// How bad something is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// No damage: what a crash leaves behind, and a start puts in order.
    Note,
    /// Damage, and another copy makes it good.
    Repairable,
    /// Damage, and what was there may be lost.
    Risk,
}

/// One thing that was found.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// Where it is on the device, in bytes.
    pub(crate) offset: u64,
    /// How long it is, in bytes.
    pub(crate) bytes: u64,
    /// What is wrong.
    pub(crate) what: String,
    /// What that affects.
    pub(crate) affects: String,
}

/// All that was found.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    pub(crate) fn add(
        &mut self,
        severity: Severity,
        (offset, bytes): (u64, u64),
        what: impl Into<String>,
        affects: impl Into<String>,
    ) {
        self.0.push(Finding {
            severity,
            offset,
            bytes,
            what: what.into(),
            affects: affects.into(),
        });
    }

    /// The exit status that they stand for.
    pub(crate) fn status(&self) -> u8 {
        match self.0.iter().map(|finding| finding.severity).max() {
            None | Some(Severity::Note) => CLEAN,
            Some(Severity::Repairable) => REPAIRABLE,
            Some(Severity::Risk) => AT_RISK,
        }
    }

    fn verdict(&self) -> &'static str {
        match self.status() {
            CLEAN => "clean",
            REPAIRABLE => "damaged, nothing is lost",
            _ => "damaged, data is at risk",
        }
    }

    /// Prints them, in the order of their places. Gives the exit status.
    pub(crate) fn print(mut self, kind: Kind, as_json: bool) -> Result<u8> {
        self.0.sort_by_key(|finding| finding.offset);
        unless_unread(self.show(kind, as_json))?;
        Ok(self.status())
    }

    fn show(&self, kind: Kind, as_json: bool) -> Result<()> {
        if as_json {
            return json(&serde_json::json!({
                "kind": kind.word(),
                "verdict": self.verdict(),
                "status": self.status(),
                "findings": self.0,
            }));
        }
        for finding in &self.0 {
            let severity = match finding.severity {
                Severity::Note => "note",
                Severity::Repairable => "repairable",
                Severity::Risk => "risk",
            };
            line(format_args!(
                "{severity}: at {}, {} bytes: {}; {}",
                finding.offset, finding.bytes, finding.what, finding.affects
            ))?;
        }
        line(format_args!("{}: {}", kind.word(), self.verdict()))
    }
}
