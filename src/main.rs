//! Parse, do, say what went wrong, exit.

#![allow(clippy::print_stderr, reason = "this is the edge, and errors go to stderr")]

use std::panic::{UnwindSafe, catch_unwind};

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
        Ok(command) => exit_code_of(|| execute(command)),
        Err(usage) => {
            eprint!("{usage}");
            ExitCode::BadInput
        }
    };
    code.into()
}

fn exit_code_of(work: impl FnOnce() -> Result<ExitCode, Failure> + UnwindSafe) -> ExitCode {
    match catch_unwind(work) {
        Ok(done) => done.unwrap_or_else(|failure| failed(&failure)),
        // A panic has said why on stderr already. It is a failed run to whoever reads the exit code.
        Err(_) => failed(&Failure::RunFailed(anyhow!("this should not have happened: please report the lines above"))),
    }
}

fn failed(failure: &Failure) -> ExitCode {
    eprintln!("foretaste: {}", printable(&format!("{:#}", failure.error())));
    if matches!(failure, Failure::RunFailed(_)) {
        eprintln!("No verdict was reached. The same command goes on from what was finished.");
    }
    failure.exit_code()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failed_run() {
        assert_eq!(exit_code_of(|| panic!("a fault of ours")), ExitCode::RunFailed);
        assert_eq!(exit_code_of(|| Err(Failure::BadInput(anyhow!("a fault of theirs")))), ExitCode::BadInput);
        assert_eq!(exit_code_of(|| Ok(ExitCode::Flagged)), ExitCode::Flagged);
    }
}
