//! Parquet, one row group at a time and only the columns that some format reads.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use polars::prelude::*;

use super::ReadOptions;
use super::collect::{Collector, Content, Fault, Record};
use super::container::unreadable;
use super::error::{self, DatasetError};
use super::formats::{Format, REFUSED};
use super::lines::too_long;
use crate::text::terminal;

/// The needed columns of one row group may take this much, decompressed.
const MAX_GROUP_BYTES: usize = 512 << 20;
/// A column of one row group may hold this many values: repeated ones take no bytes in the file, and sixteen each in memory.
const MAX_GROUP_VALUES: usize = 16 << 20;
/// Rows that are written as JSON at once, and the text that they may hold: values that a file holds once and repeats are written each time.
const BATCH_ROWS: usize = 1024;
const BATCH_BYTES: usize = 64 << 20;

/// Reads one parquet file; records are counted from 1.
pub(super) fn read(path: &Path, options: &ReadOptions, collector: &mut Collector<'_>) -> Result<(), DatasetError> {
    let damaged = |problem: String| {
        unreadable(path, format!("it cannot be read as parquet ({problem})"), "the file is damaged: fetch or write it again")
    };
    let open = || File::open(path).map_err(|source| error::reading(path, source));
    let mut reader = ParquetReader::new(open()?);
    let (metadata, schema) = guarded(|| Ok((reader.get_metadata()?.clone(), reader.schema()?))).map_err(damaged)?;
    let is_read = |column: &str| Format::all_fields().any(|field| field == column);
    let (wanted, others): (Vec<String>, Vec<String>) =
        schema.iter_names().map(ToString::to_string).partition(|column| is_read(column) || REFUSED.contains(&column.as_str()));
    if !wanted.iter().any(|column| is_read(column)) {
        let named: Vec<String> = wanted.iter().chain(&others).take(8).map(|name| terminal(&Fault::shorten(name))).collect();
        return Err(DatasetError::NoFormat { path: path.into(), seen: format!("its columns are {}", named.join(", ")) });
    }
    if let Some(column) = wanted.iter().find(|column| schema.get(column).is_some_and(|field| holds_bytes(field.dtype()))) {
        return Err(unreadable(
            path,
            format!("its column `{column}` holds bytes and not text"),
            "write it again with the column as a string (pyarrow: cast it to pa.string())",
        ));
    }
    // Of each group the reader is told as of a file of its own: it would walk through all earlier ones else.
    let mut alone = FileMetadata { row_groups: Vec::new(), ..(*metadata).clone() };
    let mut start = 0;
    for group in &metadata.row_groups {
        let rows = group.num_rows();
        let too_large = |problem: String| DatasetError::TooLarge {
            path: path.into(),
            problem,
            advice: "write it again with smaller row groups (pyarrow: row_group_size=10000)".into(),
        };
        let columns = || wanted.iter().filter_map(|column| group.columns_under_root_iter(column)).flatten();
        let size = |size: i64| usize::try_from(size).unwrap_or(usize::MAX);
        let bytes = columns().map(|column| size(column.uncompressed_size())).fold(0, usize::saturating_add);
        if bytes > MAX_GROUP_BYTES {
            return Err(too_large(format!("a row group of {bytes} bytes is more than {MAX_GROUP_BYTES}")));
        }
        let values = columns().map(|column| size(column.num_values())).chain([rows]).max().unwrap_or(rows);
        if values > MAX_GROUP_VALUES {
            return Err(too_large(format!("a row group with {values} values in a column is more than {MAX_GROUP_VALUES}")));
        }
        (alone.row_groups, alone.num_rows) = (vec![group.clone()], rows);
        let file = open()?;
        let frame = guarded(|| {
            let mut reader = ParquetReader::new(file);
            reader.set_metadata(Arc::new(alone.clone()));
            reader.with_columns(Some(wanted.clone())).read_parallel(ParallelStrategy::None).finish()
        })
        .map_err(damaged)?;
        if frame.height() != rows {
            return Err(damaged(format!("a row group of {rows} rows gave {}", frame.height())));
        }
        let mut offset = 0;
        while offset < rows {
            let mut batch = frame.slice(offset as i64, BATCH_ROWS);
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
                guarded(|| JsonWriter::new(&mut lines).with_json_format(JsonFormat::JsonLines).finish(&mut batch))
                    .map_err(damaged)?;
                accept(&lines, record, height, options, collector)?.map_or(Ok(()), |problem| Err(damaged(problem)))?;
            }
            offset += height;
        }
        others.iter().for_each(|column| collector.unread(column, rows));
        start += rows;
    }
    Ok(())
}

/// Whether a column holds bytes, which are no text until somebody says in which encoding.
fn holds_bytes(dtype: &ArrowDataType) -> bool {
    match dtype {
        ArrowDataType::Binary | ArrowDataType::LargeBinary | ArrowDataType::BinaryView | ArrowDataType::FixedSizeBinary(_) => {
            true
        }
        ArrowDataType::List(inner) | ArrowDataType::LargeList(inner) => holds_bytes(inner.dtype()),
        ArrowDataType::Struct(fields) => fields.iter().any(|field| holds_bytes(field.dtype())),
        _ => false,
    }
}

/// Bytes of all texts, each counted as often as it stands there.
fn text_bytes(frame: &DataFrame) -> usize {
    fn of(series: &Series) -> usize {
        if let Ok(texts) = series.str() {
            return texts.downcast_iter().map(|chunk| chunk.total_bytes_len()).sum();
        }
        if let Ok(fields) = series.struct_() {
            return fields.fields_as_series().iter().map(of).sum();
        }
        match series.list() {
            Ok(_) => {
                series.explode(ExplodeOptions { empty_as_null: true, keep_nulls: true }).map_or(usize::MAX, |inner| of(&inner))
            }
            Err(_) => 0,
        }
    }
    frame.columns().iter().map(|column| of(column.as_materialized_series())).fold(0, usize::saturating_add)
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
