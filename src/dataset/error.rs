//! Why a dataset as a whole cannot be read. Every message names the file and says what to do.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::Rejection;

/// A fault of the file as a whole; faults of single rows are [`Rejection`]s.
#[derive(Debug, Error)]
pub enum DatasetError {
    /// The operating system would not.
    #[error("{}: cannot be read; check the path and its permissions", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// Not an ordinary file or a folder of parquet shards.
    #[error("{}: {problem}; {advice}", path.display())]
    Unreadable { path: PathBuf, problem: String, advice: String },
    /// No bytes, or no rows.
    #[error("{}: {problem}; give a file with at least one row", path.display())]
    Empty { path: PathBuf, problem: String },
    /// No row had the fields of any format.
    #[error(
        "{}: no row has the fields of a known format ({seen}); rows need `messages`, `prompt` and \
         `completion`, `instruction` and `output`, `conversations`, or `text`: rename the fields, \
         or say which it is with --format", path.display()
    )]
    NoFormat {
        path: PathBuf,
        /// What the first row looked like.
        seen: String,
    },
    /// A limit of [`super::ReadOptions`] on the whole file.
    #[error("{}: {problem}; {advice}", path.display())]
    TooLarge { path: PathBuf, problem: String, advice: String },
    /// So many rows are bad that the file is not what it is taken for.
    #[error(
        "{}: more than {limit} rows cannot be used, the first in line {}: {}; repair the file or \
         give its --format",
        path.display(), first.line, first.reason
    )]
    TooManyRejected { path: PathBuf, limit: usize, first: Rejection },
    /// Rows were lost on the way, so that no verdict would be about the whole file.
    #[error(
        "{}: {read} rows were read, {used} used and {rejected} rejected, which does not add up; \
         this is a defect of foretaste: please report it with the file", path.display()
    )]
    Unbalanced { path: PathBuf, read: usize, used: usize, rejected: usize },
}

/// Says that a stream grew past its limit, through [`io::Error`].
#[derive(Debug, Error)]
#[error("decompresses to more than {limit} bytes")]
pub(super) struct Bomb {
    pub limit: u64,
}

/// The right error for a failed read of `path`.
pub(super) fn reading(path: &std::path::Path, source: io::Error) -> DatasetError {
    if let Some(bomb) = source.get_ref().and_then(|inner| inner.downcast_ref::<Bomb>()) {
        return DatasetError::TooLarge {
            path: path.into(),
            problem: format!("it {bomb}"),
            advice: "decompress it yourself and look at what comes out, or split it".into(),
        };
    }
    if source.kind() == io::ErrorKind::UnexpectedEof {
        return DatasetError::Unreadable {
            path: path.into(),
            problem: "the compressed data ends too early".into(),
            advice: "the file is cut off: fetch or compress it again".into(),
        };
    }
    DatasetError::Io { path: path.into(), source }
}
