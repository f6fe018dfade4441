//! The exit codes of the process.

use crate::verdict::Verdict;

/// The process's exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    Clean = 0,
    Flagged = 1,
    Inconclusive = 2,
    /// Bad input or usage: nothing ran.
    BadInput = 3,
    /// The run started and failed.
    RunFailed = 4,
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Clean => ExitCode::Clean,
            Verdict::Flagged => ExitCode::Flagged,
            Verdict::Inconclusive => ExitCode::Inconclusive,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        std::process::ExitCode::from(code as u8)
    }
}
