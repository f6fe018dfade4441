//! Reads parquet, one row group at a time, and only columns that some format or trainer reads.

mod declared;

use std::fs::File;
use std::path::Path;

use polars::prelude::*;

use super::collect::{Collector, Content, Fault, Record};
use super::container::{decompressed_limit, unreadable};
use super::error::{self, DatasetError};
use super::formats::Format;
use super::lines::too_long;
use super::{ReadOptions, trainers};
use crate::guard::guarded;
use crate::text::terminal;
use declared::Declared;

/// Maximum decompressed memory of the needed columns of one row group.
const MAX_GROUP_BYTES: u64 = 512 << 20;
/// Maximum rows, and bytes of their text, that are converted to JSON at once. A dictionary value
/// that the file stores once is written for each row.
const BATCH_ROWS: usize = 1024;
const BATCH_BYTES: usize = 64 << 20;

/// Reads one parquet file; records are numbered from 1.
pub(super) fn read(
    path: &Path,
    options: &ReadOptions,
    collector: &mut Collector<'_>,
) -> Result<(), DatasetError> {
    let damaged = |problem: String| {
        unreadable(
            path,
            format!("it cannot be read as parquet ({problem})"),
            "the file is damaged: download or write it again",
        )
    };
    let open = || File::open(path).map_err(|source| error::reading(path, source));
    let mut file = open()?;
    let length = file.metadata().map_err(|source| error::reading(path, source))?.len();
    polars(|| declared::check_schema(&mut file)).and_then(|checked| checked).map_err(damaged)?;
    let mut reader = ParquetReader::new(open()?);
    let (metadata, schema) = polars(|| Ok((reader.get_metadata()?.clone(), reader.schema()?)))
        .and_then(first_line)
        .map_err(damaged)?;
    let is_read = |column: &str| Format::all_fields().any(|field| field == column);
    let (read_columns, others): (Vec<String>, Vec<String>) = schema
        .iter_names()
        .map(ToString::to_string)
        .partition(|column| is_read(column) || trainers::is_interpreted(column));
    if !read_columns.iter().any(|column| is_read(column)) {
        let named: Vec<String> = read_columns
            .iter()
            .chain(&others)
            .take(8)
            .map(|name| terminal(&Fault::shorten(name)))
            .collect();
        return Err(DatasetError::NoFormat {
            path: path.into(),
            seen: format!("its columns are {}", named.join(", ")),
        });
    }
    if let Some(column) = read_columns
        .iter()
        .find(|column| schema.get(column).is_some_and(|field| holds_bytes(field.dtype())))
    {
        let advice = match is_read(column) {
            true => "write it again with the column as a string (pyarrow: cast it to pa.string())",
            false => {
                "only text can be tested: write it again without the column, if your training does \
                 not use it"
            }
        };
        let column = terminal(&Fault::shorten(column));
        return Err(unreadable(path, format!("its column `{column}` has bytes, not text"), advice));
    }
    // Each group is read as a file of its own; otherwise the reader would iterate over all earlier
    // groups.
    let mut alone = FileMetadata { row_groups: Vec::new(), ..(*metadata).clone() };
    let mut start = 0;
    let mut in_all = Declared::default();
    for group in &metadata.row_groups {
        let rows = group.num_rows();
        let mut in_group = Declared::default();
        for column in &read_columns {
            let Some(chunks) = group.columns_under_root_iter(column) else {
                // Polars fills the missing column with nulls.
                in_group += Declared { bytes: 0, values: rows as u64 };
                continue;
            };
            for chunk in chunks {
                let pages = || {
                    declared::pages(&file, chunk.byte_range(), chunk.num_values(), MAX_GROUP_BYTES)
                };
                in_group += polars(pages)
                    .and_then(|pages| pages.map_err(|error| error.to_string()))
                    .map_err(damaged)?;
            }
        }
        in_all += in_group;
        // Repeated values take almost no space in the file. One group may always use the full group
        // limit.
        let limit = decompressed_limit(length, options);
        for (needed, limit) in [
            (in_group.memory(), MAX_GROUP_BYTES),
            (in_all.bytes, limit),
            (in_all.memory(), limit.max(MAX_GROUP_BYTES)),
        ] {
            if needed > limit {
                return Err(DatasetError::TooLarge {
                    path: path.into(),
                    problem: format!(
                        "its {length} bytes declare texts of {needed} bytes where at most {limit} \
                         are read"
                    ),
                    advice: "write it again with smaller row groups (pyarrow: \
                             row_group_size=10000) and not as DELTA_BYTE_ARRAY"
                        .into(),
                });
            }
        }
        (alone.row_groups, alone.num_rows) = (vec![group.clone()], rows);
        let group_file = open()?;
        let frame = polars(|| {
            let mut reader = ParquetReader::new(group_file);
            reader.set_metadata(Arc::new(alone.clone()));
            reader
                .with_columns(Some(read_columns.clone()))
                .read_parallel(ParallelStrategy::None)
                .finish()
        })
        .and_then(first_line)
        .map_err(damaged)?;
        if frame.height() != rows {
            return Err(damaged(format!("a row group of {rows} rows gave {}", frame.height())));
        }
        let mut offset = 0;
        while offset < rows {
            let mut batch = frame.slice(offset as i64, BATCH_ROWS);
            // The frame's height comes from the file's metadata; its columns may be shorter.
            if let Some(column) = batch
                .columns()
                .iter()
                .find(|column| column.len() != batch.height() || column.is_empty())
            {
                return Err(damaged(format!(
                    "a row group of {rows} rows has fewer values of `{}`",
                    column.name()
                )));
            }
            while batch.height() > 1 && text_bytes(&batch) > BATCH_BYTES {
                batch = batch.head(Some(batch.height() / 2));
            }
            let height = batch.height();
            let record = start + offset;
            if text_bytes(&batch) > BATCH_BYTES {
                let content = Err(too_long(options.max_row_bytes));
                collector.accept(Record { line: record + 1, content, ends_file: false })?;
            } else {
                let mut lines = Vec::new();
                polars(|| {
                    JsonWriter::new(&mut lines)
                        .with_json_format(JsonFormat::JsonLines)
                        .finish(&mut batch)
                })
                .and_then(first_line)
                .map_err(damaged)?;
                accept(&lines, record, height, options, collector)?
                    .map_or(Ok(()), |problem| Err(damaged(problem)))?;
            }
            offset += height;
        }
        others.iter().for_each(|column| collector.unread(column, rows));
        start += rows;
    }
    Ok(())
}

/// Whether a column contains bytes, whose text encoding is unknown.
fn holds_bytes(dtype: &ArrowDataType) -> bool {
    match dtype {
        ArrowDataType::Binary
        | ArrowDataType::LargeBinary
        | ArrowDataType::BinaryView
        | ArrowDataType::FixedSizeBinary(_) => true,
        ArrowDataType::List(inner)
        | ArrowDataType::LargeList(inner)
        | ArrowDataType::FixedSizeList(inner, _)
        | ArrowDataType::Map(inner, _) => holds_bytes(inner.dtype()),
        ArrowDataType::Struct(fields) => fields.iter().any(|field| holds_bytes(field.dtype())),
        _ => false,
    }
}

/// Total bytes of all texts, with repeated values counted each time.
fn text_bytes(frame: &DataFrame) -> usize {
    fn of(series: &Series) -> usize {
        if let Ok(texts) = series.str() {
            return texts.downcast_iter().map(|chunk| chunk.total_bytes_len()).sum();
        }
        if let Ok(fields) = series.struct_() {
            return fields.fields_as_series().iter().map(of).sum();
        }
        match series.list() {
            Ok(_) => series
                .explode(ExplodeOptions { empty_as_null: true, keep_nulls: true })
                .map_or(usize::MAX, |inner| of(&inner)),
            Err(_) => 0,
        }
    }
    frame
        .columns()
        .iter()
        .map(|column| of(column.as_materialized_series()))
        .fold(0, usize::saturating_add)
}

/// Passes the records of one batch to the collector. Returns a message if their number is not
/// `rows`.
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
        let content = if line.len() > options.max_row_bytes {
            Err(too_long(options.max_row_bytes))
        } else {
            Ok(Content::Json(line))
        };
        collector.accept(Record { line: before + count, content, ends_file: false })?;
    }
    Ok((count != rows).then(|| format!("{rows} rows gave {count} records")))
}

/// Runs polars on an untrusted file and turns its panics into messages.
fn polars<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    guarded("the file", || Ok(work())).map_err(|_| "the parquet reader failed".into())
}

/// The first line of a polars error message.
fn first_line<T>(result: PolarsResult<T>) -> Result<T, String> {
    result.map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
}
