//! The command line: one file per command. Data goes to stdout, everything else to stderr.
//!
//! Exit status: 0 done (and the gate passed, where one was asked), 1 the gate did not pass, a test
//! failed or a dataset is not what it says, 2 an error.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::redact::fit_to_show;

mod check;
mod config;
mod counterexamples;
mod diff;
mod doc;
mod export;
mod forget;
mod gate;
mod ingest;
mod layers;
mod redact;
mod review;
mod run;
mod runs;
mod show;
mod terminal;
mod test;
mod verify;
mod why;

/// Turns a coding agent's own sessions into a better local model, and refuses to ship a worse one.
#[derive(Debug, Parser)]
#[command(name = "proto", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Check(check::Check),
    Test(test::Test),
    Doc(doc::Doc),
    Config(config::Config),
    Export(export::Export),
    Ingest(ingest::Ingest),
    Redact(redact::Redact),
    Show(show::Show),
    Review(review::Review),
    Counterexamples(counterexamples::Counterexamples),
    Runs(runs::Runs),
    Diff(diff::Diff),
    Verify(verify::Verify),
    Why(why::Why),
    Forget(forget::Forget),
    Gate(gate::Gate),
}

/// How a command ended when nothing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Done; where there was a gate, it passed.
    Done,
    /// The gate did not pass, a test failed, or a dataset is not what it says.
    NotPassed,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(run) => run.execute(),
        Command::Check(check) => check.execute(),
        Command::Test(test) => test.execute(),
        Command::Doc(doc) => doc.execute(),
        Command::Config(config) => config.execute(),
        Command::Export(export) => export.execute(),
        Command::Ingest(ingest) => ingest.execute(),
        Command::Redact(redact) => redact.execute(),
        Command::Show(show) => show.execute(),
        Command::Review(review) => review.execute(),
        Command::Counterexamples(sheet) => sheet.execute(),
        Command::Runs(runs) => runs.execute(),
        Command::Diff(diff) => diff.execute(),
        Command::Verify(verify) => verify.execute(),
        Command::Why(why) => why.execute(),
        Command::Forget(forget) => forget.execute(),
        Command::Gate(gate) => gate.execute(),
    };
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::NotPassed) => ExitCode::from(1),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // An error may quote what a script threw, and that may be anything.
            eprintln!("error: {}", fit_to_show(&format!("{error:#}")));
            ExitCode::from(2)
        }
    }
}

/// Writes data to stdout; a reader that went away is noticed instead of panicking.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// `proto doc | head` ends early, and that is fine.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
