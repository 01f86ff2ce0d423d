// SPDX-License-Identifier: GPL-2.0

//! Load generator, checker and fuzzer for the VM tests of dm-svol.
//!
//! One binary with one file per command, so that the guest starts one process
//! per step: under an emulated CPU every process start is noticeable.

mod args;
mod cmd;
mod device;
mod dm;
mod error;
mod history;
mod image;
mod pattern;
mod rng;
mod status;
mod sys;
mod words;

use std::process::ExitCode;

use args::Args;
use error::Result;

/// A command: its name, what it takes, what it does, and its entry point.
struct Command {
    name: &'static str,
    synopsis: &'static str,
    purpose: &'static str,
    run: fn(Args) -> Result<()>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "fill",
        synopsis: "<dev>... [--seed N]",
        purpose: "write the image of seed N to each device",
        run: cmd::fill::run,
    },
    Command {
        name: "verify",
        synopsis: "<dev>... [--seed N] [--state FILE] [--chunk BYTES]",
        purpose: "read each device in sequence and compare it with the image",
        run: cmd::verify::run,
    },
    Command {
        name: "digest",
        synopsis: "<dev>...",
        purpose: "print a 64-bit digest of each device",
        run: cmd::digest::run,
    },
    Command {
        name: "random-io",
        synopsis: "<dev> [--seed N] [--rng N] [--threads N] [--ops N | --until-signal] \
                   [--min BYTES] [--max BYTES] [--write PERCENT] [--dsync PERCENT] \
                   [--flush PERCENT] [--think MS] [--state FILE] [--allow-errors]",
        purpose: "random aligned direct I/O, every read compared with what was written",
        run: cmd::random_io::run,
    },
    Command {
        name: "steps",
        synopsis: "<dev> <step>... [--seed N] [--own N] [--state FILE] [--chunk SECTORS] \
                   [--buffered | --scattered] [--after-crash] [--allow-errors]",
        purpose: "do what the words say, one by one: write, dsync, zero, punch, discard and \
                  check, each with :<sector>+<count> or for the whole device, and flush; \
                  scattered: each sector is read and written in a page of its own",
        run: cmd::steps::run,
    },
    Command {
        name: "model",
        synopsis: "<dev>... [--seed N] [--rng N] [--own N] [--seconds N] [--crashes N] \
                   [--pause MS] [--threads N] [--max BYTES] [--hot SECTORS] [--events WORDS] \
                   [--state PREFIX] [--no-discard]",
        purpose: "random operations of all kinds on several volumes, compared with a model; asks \
                  by lines \"do <event>\" for reloads, restarts and crashes, and reads \"ok\"",
        run: cmd::model::run,
    },
    Command {
        name: "nowait",
        synopsis: "<dev> [--seed N] [--ops N]",
        purpose: "direct reads with RWF_NOWAIT: right data, EAGAIN, or EOPNOTSUPP for all",
        run: cmd::nowait::run,
    },
    Command {
        name: "write-error",
        synopsis: "<dev> [--sector N]",
        purpose: "try one direct write and print the name of its error (or \"none\")",
        run: cmd::write_error::run,
    },
    Command {
        name: "sectors",
        synopsis: "<dev>",
        purpose: "print the numbers of the sectors that hold anything but zeroes",
        run: cmd::sectors::run,
    },
    Command {
        name: "corrupt",
        synopsis: "<dev> [--sector N] [--byte N]",
        purpose: "flip one bit",
        run: cmd::corrupt::run,
    },
    Command {
        name: "claim",
        synopsis: "<dev>...",
        purpose: "open each device exclusively for a moment: fails if anybody holds it",
        run: cmd::claim::run,
    },
    Command {
        name: "hold",
        synopsis: "<dev>",
        purpose: "open a device exclusively, print \"held\", wait for SIGTERM",
        run: cmd::hold::run,
    },
    Command {
        name: "klog",
        synopsis: "<file>",
        purpose: "copy the kernel log from now on to a file, as \"<level> <text>\"",
        run: cmd::klog::run,
    },
    Command {
        name: "log-writes",
        synopsis: "<log dev> [--count-only | --marks | [--from N] --entries N --to DEV]",
        purpose: "a dm-log-writes log: count its entries, list flushes, FUA writes and marks with \
                  their numbers, or replay the first N entries, but for those of an earlier replay",
        run: cmd::log_writes::run,
    },
    Command {
        name: "files",
        synopsis: "<folder> [--seed N] (--count N --mark DM --name TEXT | --acked N)",
        purpose: "change small files so many times, each time durably, with a mark TEXT.<number> \
                  of a dm-log-writes device after each; or check that a folder holds what the \
                  first N left, after a power cut: of the one that comes next, perhaps a part",
        run: cmd::files::run,
    },
    Command {
        name: "try-lines",
        synopsis: "<dm name> --lines FILE [--messages]",
        purpose: "load each table line (or send each message) and print \"ok\" or its error",
        run: cmd::try_lines::run,
    },
    Command {
        name: "fail-nth",
        synopsis: "<operation> [--before OPERATION]... [--undo OPERATION]... [--same NAME] \
                   [--first N] [--step N]",
        purpose: "an operation on device-mapper devices again and again, while its first, second, \
                  ... allocation fails: an error changes nothing of a group, and it works the next \
                  time. \"create|clear|suspend|resume|remove|status|table NAME\", \"load NAME \
                  TABLE\", \"message NAME TEXT\"",
        run: cmd::fail_nth::run,
    },
    Command {
        name: "fuzz-table",
        synopsis: "<dm name> --lines FILE [--count N] [--rng N] [--start N] [--wipe DEV]...",
        purpose: "load random and mutated table lines",
        run: cmd::fuzz_table::run,
    },
    Command {
        name: "fuzz-message",
        synopsis: "<dm name> --lines FILE [--count N] [--rng N] [--start N]",
        purpose: "send random and mutated messages",
        run: cmd::fuzz_message::run,
    },
];

fn usage() {
    eprintln!("usage: svol-test <command> [arguments]");
    for command in COMMANDS {
        eprintln!("  {} {}", command.name, command.synopsis);
        eprintln!("      {}", command.purpose);
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let Some(name) = words.next() else {
        usage();
        return ExitCode::from(2);
    };
    let Some(command) = COMMANDS.iter().find(|c| c.name == name) else {
        eprintln!("svol-test: unknown command \"{name}\"");
        usage();
        return ExitCode::from(2);
    };
    match Args::parse(words).and_then(command.run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("svol-test {name}: {e}");
            ExitCode::FAILURE
        }
    }
}
