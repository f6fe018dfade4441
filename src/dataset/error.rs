//! Errors that make a dataset unreadable as a whole. Every message names the file and the remedy.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::Rejection;

/// An error of the file as a whole. Invalid rows are [`Rejection`]s.
#[derive(Debug, Error)]
pub enum DatasetError {
    /// An error of the operating system.
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
         or give --format", path.display()
    )]
    NoFormat {
        path: PathBuf,
        /// Description of the first row.
        seen: String,
    },
    /// A limit of [`super::ReadOptions`] on the whole file.
    #[error("{}: {problem}; {advice}", path.display())]
    TooLarge { path: PathBuf, problem: String, advice: String },
    /// Too many invalid rows: probably a wrong format.
    #[error(
        "{}: more than {limit} rows cannot be used, the first in line {}: {}; repair the file or \
         give its --format",
        path.display(), first.line, first.reason
    )]
    TooManyRejected { path: PathBuf, limit: usize, first: Rejection },
    /// The base failed on a row, so no row can be examined.
    #[error("{}, line {line}: the base cannot examine the row", path.display())]
    Base { path: PathBuf, line: usize, source: anyhow::Error },
    /// Rows were lost, so no verdict could cover the whole file.
    #[error(
        "{}: {read} rows were read, {used} used and {rejected} rejected, which does not add up; \
         this is a bug in foretaste: please report it with the file", path.display()
    )]
    Unbalanced { path: PathBuf, read: usize, used: usize, rejected: usize },
}

/// Signals, wrapped in an [`io::Error`], that a stream exceeded its limit.
#[derive(Debug, Error)]
#[error("decompresses to more than {limit} bytes")]
pub(super) struct LimitExceeded {
    pub limit: u64,
}

/// Converts an error from reading `path`.
pub(super) fn reading(path: &std::path::Path, source: io::Error) -> DatasetError {
    if let Some(exceeded) = source.get_ref().and_then(|inner| inner.downcast_ref::<LimitExceeded>())
    {
        return DatasetError::TooLarge {
            path: path.into(),
            problem: format!("it {exceeded}"),
            advice: "decompress and check it yourself, or split it".into(),
        };
    }
    if source.kind() == io::ErrorKind::UnexpectedEof {
        return DatasetError::Unreadable {
            path: path.into(),
            problem: "the compressed data ends too early".into(),
            advice: "the file is cut off: download or compress it again".into(),
        };
    }
    DatasetError::Io { path: path.into(), source }
}
