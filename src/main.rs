//! Parse, do, say what went wrong, exit.

#![allow(clippy::print_stderr, reason = "this is the edge, and errors go to stderr")]

use std::panic::catch_unwind;

use anyhow::anyhow;
use foretaste::command::{execute, printable};
use foretaste::exit_code::ExitCode;
use foretaste::{cli, run::Failure};

/// Every result of burn is freshly allocated; with the system allocator page faults take a third of a training step.
#[cfg(feature = "lm")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let code = match cli::parse(std::env::args_os()) {
        // A panic has said why on stderr already. It is a failed run to whoever reads the exit code.
        Ok(command) => match catch_unwind(|| execute(command)) {
            Ok(done) => done.unwrap_or_else(|failure| failed(&failure)),
            Err(_) => failed(&Failure::RunFailed(anyhow!("this should not have happened: please report the lines above"))),
        },
        Err(usage) => {
            eprint!("{usage}");
            ExitCode::BadInput
        }
    };
    code.into()
}

fn failed(failure: &Failure) -> ExitCode {
    eprintln!("foretaste: {}", printable(&format!("{:#}", failure.error())));
    if matches!(failure, Failure::RunFailed(_)) {
        eprintln!("No verdict was reached. The same command goes on from what was finished.");
    }
    failure.exit_code()
}
