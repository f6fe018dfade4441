//! The program: parses arguments, executes the command, prints errors and exits.

use std::io::{self, Write};
use std::panic::{UnwindSafe, catch_unwind};

use anyhow::anyhow;
use foretaste::command::{execute, printable};
use foretaste::exit_code::ExitCode;
use foretaste::{cli, run::Failure};

/// burn allocates every result anew. The system allocator's page faults cost a third of a step.
#[cfg(feature = "lm")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let code = match cli::parse(std::env::args_os()) {
        Ok(command) => exit_code_of(|| execute(command)),
        Err(usage) => {
            say(&usage.to_string());
            ExitCode::BadInput
        }
    };
    code.into()
}

fn exit_code_of(work: impl FnOnce() -> Result<ExitCode, Failure> + UnwindSafe) -> ExitCode {
    match catch_unwind(work) {
        Ok(done) => done.unwrap_or_else(|failure| failed(&failure)),
        // A panic has already printed its message on stderr. It counts as a failed run.
        Err(_) => failed(&Failure::RunFailed(anyhow!(
            "this is a bug in foretaste: please report the lines above"
        ))),
    }
}

fn failed(failure: &Failure) -> ExitCode {
    say(&format!("foretaste: {}\n", printable(&format!("{:#}", failure.error()))));
    failure.exit_code()
}

/// Writes to stderr. A closed stderr must not change the exit code.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failed_run() {
        assert_eq!(exit_code_of(|| panic!("a fault of ours")), ExitCode::RunFailed);
        assert_eq!(
            exit_code_of(|| Err(Failure::BadInput(anyhow!("a fault of theirs")))),
            ExitCode::BadInput
        );
        assert_eq!(exit_code_of(|| Ok(ExitCode::Flagged)), ExitCode::Flagged);
    }
}
