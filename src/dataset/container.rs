//! Detects the type of a file, by its content first and its name second, and decompresses it within
//! limits.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::collect::Collector;
use super::error::{self, DatasetError, LimitExceeded};
use super::{ReadOptions, csv, lines, parquet};

/// Extensions of possible data files.
const DATA: [&str; 7] = ["jsonl", "json", "csv", "gz", "zst", "arrow", "txt"];
/// Metadata files that libraries write next to shards.
const DESCRIPTIONS: [&str; 3] = ["dataset_info.json", "dataset_infos.json", "state.json"];

/// Decompressed size that is always allowed.
const ALWAYS_ALLOWED: u64 = 64 << 20;
/// Above that, the maximum compression ratio. Text rarely exceeds 20; a dataset with few distinct
/// rows may reach 100.
const MAX_RATIO: u64 = 300;

/// The files to read: `path` itself, or the parquet shards of a folder, ordered by name. A folder
/// with other data files is refused, because a trainer might read those too.
pub(super) fn shards(path: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let io = |source| DatasetError::Io { path: path.into(), source };
    let kind = fs::metadata(path).map_err(io)?.file_type();
    if kind.is_file() {
        return Ok(vec![path.into()]);
    }
    if !kind.is_dir() {
        return Err(unreadable(
            path,
            "it is not an ordinary file",
            "foretaste reads the data twice: save it to a file first",
        ));
    }
    let (mut shards, mut other) = (Vec::new(), None);
    for entry in fs::read_dir(path).map_err(io)? {
        let entry = entry.map_err(io)?.path();
        let name = entry.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        if entry.is_file() && extension == "parquet" {
            shards.push(entry);
        } else if !name.starts_with('.')
            && (entry.is_dir()
                || (DATA.contains(&extension) && !DESCRIPTIONS.contains(&name.as_str())))
        {
            other.get_or_insert(entry);
        }
    }
    if let (Some(other), false) = (&other, shards.is_empty()) {
        return Err(unreadable(
            path,
            format!("the folder also has {}, which is not read", other.display()),
            "give a folder that has only the shards",
        ));
    }
    shards.sort();
    if shards.is_empty() {
        return Err(unreadable(
            path,
            "the folder has no .parquet files",
            "give a file, or a folder of parquet shards",
        ));
    }
    Ok(shards)
}

/// Reads one file into the collector.
pub(super) fn read(
    path: &Path,
    options: &ReadOptions,
    collector: &mut Collector<'_>,
) -> Result<(), DatasetError> {
    let reading = |source| error::reading(path, source);
    collector.next_shard(path);
    let file = File::open(path).map_err(reading)?;
    let length = file.metadata().map_err(reading)?.len();
    if length == 0 {
        return Err(DatasetError::Empty { path: path.into(), problem: "the file is empty".into() });
    }
    let mut raw = BufReader::with_capacity(1 << 16, file);
    let magic = raw.fill_buf().map_err(reading)?;
    if magic.starts_with(b"PAR1") {
        return parquet::read(path, options, collector);
    }
    let limit = decompressed_limit(length, options);
    let compressed =
        magic.starts_with(&[0x1f, 0x8b]) || magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    let failed = |source| {
        if compressed { decompressing(path, source) } else { error::reading(path, source) }
    };
    let mut stream: Box<dyn BufRead> = if magic.starts_with(&[0x1f, 0x8b]) {
        limited(flate2::bufread::MultiGzDecoder::new(raw), limit)
    } else if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        limited(zstd::Decoder::with_buffer(raw).map_err(failed)?, limit)
    } else {
        Box::new(raw)
    };
    let start = stream.fill_buf().map_err(failed)?;
    if let Some((problem, advice)) = refused(start) {
        return Err(unreadable(path, problem, advice));
    }
    if start.starts_with(b"\xef\xbb\xbf") {
        stream.consume(3);
    }
    let start = stream.fill_buf().map_err(failed)?;
    let first = start.iter().find(|byte| !byte.is_ascii_whitespace());
    let result = match first {
        Some(b'[') if !named(path, "jsonl") => lines::read_array(stream, options, collector),
        Some(b'{') => lines::read_lines(stream, options, collector),
        _ if named(path, "csv") => csv::read(path, stream, options, collector),
        _ => lines::read_lines(stream, options, collector),
    };
    result.map_err(|problem| match problem {
        lines::Problem::Dataset(error) => error,
        lines::Problem::Io(source) => failed(source),
    })
}

/// Maximum decompressed size of a file of `length` bytes.
pub(super) fn decompressed_limit(length: u64, options: &ReadOptions) -> u64 {
    options.max_bytes.min(allowed(length))
}

/// Adds advice to a decoder's error.
fn decompressing(path: &Path, source: io::Error) -> DatasetError {
    match error::reading(path, source) {
        DatasetError::Io { path, source } => unreadable(
            &path,
            format!("it cannot be decompressed ({source})"),
            "the file is damaged: download or compress it again",
        ),
        other => other,
    }
}

/// Whether the name ends in `.extension`, ignoring a compression extension.
fn named(path: &Path, extension: &str) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    name.rsplit_once('.').is_some_and(|(_, found)| found == extension)
}

/// Known content that is not a dataset, and the remedy.
fn refused(start: &[u8]) -> Option<(&'static str, &'static str)> {
    match start {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            Some(("it is UTF-16", "save it as UTF-8 (iconv -f UTF-16 -t UTF-8)"))
        }
        [b'P', b'K', 3, 4, ..] => {
            Some(("it is a zip archive", "unpack it and give the file inside"))
        }
        [0x80, 2..=5, ..] => {
            Some(("it is a Python pickle, which can run code", "save the rows as .jsonl"))
        }
        [b'P', b'A', b'R', b'1', ..] => Some((
            "it is a compressed parquet file",
            "decompress it; parquet has its own compression",
        )),
        _ => None,
    }
}

pub(super) fn unreadable(
    path: &Path,
    problem: impl Into<String>,
    advice: impl Into<String>,
) -> DatasetError {
    DatasetError::Unreadable { path: path.into(), problem: problem.into(), advice: advice.into() }
}

/// Maximum decompressed bytes for a number of compressed bytes.
pub(crate) fn allowed(compressed: u64) -> u64 {
    ALWAYS_ALLOWED.max(compressed.saturating_mul(MAX_RATIO))
}

pub(crate) fn limited(inner: impl Read + 'static, limit: u64) -> Box<dyn BufRead> {
    Box::new(BufReader::with_capacity(1 << 16, Limited { inner, left: limit, limit }))
}

/// A stream that fails at its limit instead of ending there.
struct Limited<R> {
    inner: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(length as u64)
            .ok_or_else(|| io::Error::other(LimitExceeded { limit: self.limit }))?;
        Ok(length)
    }
}
