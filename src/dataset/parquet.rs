//! Parquet, one row group at a time and only the columns that some format reads.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use polars::prelude::*;

use super::ReadOptions;
use super::collect::{Collector, Content, Record};
use super::container::unreadable;
use super::error::{self, DatasetError};
use super::formats::Format;
use super::lines::too_long;

/// The needed columns of one row group may take this much, decompressed.
const MAX_GROUP_BYTES: usize = 512 << 20;
/// Rows that are written as JSON at once.
const BATCH_ROWS: usize = 1024;

/// Reads one parquet file; records are counted from 1.
pub(super) fn read(path: &Path, options: &ReadOptions, collector: &mut Collector<'_>) -> Result<(), DatasetError> {
    let damaged = |problem: String| {
        unreadable(path, format!("it cannot be read as parquet ({problem})"), "the file is damaged: fetch or write it again")
    };
    let open = || File::open(path).map_err(|source| error::reading(path, source));
    let mut reader = ParquetReader::new(open()?);
    let (metadata, columns) = guarded(|| {
        let schema = reader.schema()?;
        let columns: Vec<String> = schema.iter_names().map(ToString::to_string).collect();
        Ok((reader.get_metadata()?.clone(), columns))
    })
    .map_err(damaged)?;
    let (wanted, others): (Vec<String>, Vec<String>) =
        columns.into_iter().partition(|column| Format::all_fields().any(|field| field == column));
    if wanted.is_empty() {
        return Err(DatasetError::NoFormat { path: path.into(), seen: format!("its columns are {}", others.join(", ")) });
    }
    let mut start = 0;
    for group in &metadata.row_groups {
        let rows = group.num_rows();
        let bytes: usize = (wanted.iter())
            .filter_map(|column| group.columns_under_root_iter(column))
            .flatten()
            .map(|column| usize::try_from(column.uncompressed_size()).unwrap_or(usize::MAX))
            .fold(0, usize::saturating_add);
        if bytes > MAX_GROUP_BYTES {
            return Err(DatasetError::TooLarge {
                path: path.into(),
                problem: format!("a row group of {bytes} bytes is more than {MAX_GROUP_BYTES}"),
                advice: "write it again with smaller row groups (pyarrow: row_group_size=10000)".into(),
            });
        }
        let file = open()?;
        let frame = guarded(|| {
            ParquetReader::new(file)
                .with_slice(Some((start, rows)))
                .with_columns(Some(wanted.clone()))
                .read_parallel(ParallelStrategy::None)
                .finish()
        })
        .map_err(damaged)?;
        if frame.height() != rows {
            return Err(damaged(format!("a row group of {rows} rows gave {}", frame.height())));
        }
        for offset in (0..rows).step_by(BATCH_ROWS) {
            let mut batch = frame.slice(offset as i64, BATCH_ROWS);
            let mut lines = Vec::new();
            guarded(|| JsonWriter::new(&mut lines).with_json_format(JsonFormat::JsonLines).finish(&mut batch))
                .map_err(damaged)?;
            accept(&lines, start + offset, batch.height(), options, collector)?
                .map_or(Ok(()), |problem| Err(damaged(problem)))?;
        }
        others.iter().for_each(|column| collector.unread(column, rows));
        start += rows;
    }
    Ok(())
}

/// The records of one batch; the message where their number is not `rows`.
fn accept(
    lines: &[u8],
    before: usize,
    rows: usize,
    options: &ReadOptions,
    collector: &mut Collector<'_>,
) -> Result<Option<String>, DatasetError> {
    let mut count = 0;
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        count += 1;
        let content =
            if line.len() > options.max_row_bytes { Err(too_long(options.max_row_bytes)) } else { Ok(Content::Json(line)) };
        collector.accept(Record { line: before + count, content, ends_file: false })?;
    }
    Ok((count != rows).then(|| format!("{rows} rows gave {count} records")))
}

/// Runs polars on a hostile file: its panics become messages too.
fn guarded<T>(work: impl FnOnce() -> PolarsResult<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned()),
        Err(_) => Err("the parquet reader gave up".into()),
    }
}
