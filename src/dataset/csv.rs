//! CSV (RFC 4180). Records are split here, so that each keeps its line number and its limit. Polars
//! then parses them in batches.

use std::io::{BufRead, Cursor};
use std::path::Path;

use polars::prelude::*;
use serde_json::{Map, Value};

use super::ReadOptions;
use super::collect::{Collector, Content, Fault, Record};
use super::container::unreadable;
use super::error::DatasetError;
use super::lines::{ByteReader, Problem, too_long};

/// Bytes of records per polars call.
const BATCH_BYTES: usize = 4 << 20;

/// Reads a CSV file whose first record contains the field names.
pub(super) fn read(
    path: &Path,
    stream: impl BufRead,
    options: &ReadOptions,
    collector: &mut Collector<'_>,
) -> Result<(), Problem> {
    let mut splitter = RecordSplitter { bytes: ByteReader { stream }, line: 1 };
    let header = loop {
        match splitter.next(options.max_row_bytes)? {
            Some(record) if record.blank => collector.blank(),
            Some(record) => break record,
            None => {
                return Err(DatasetError::Empty {
                    path: path.into(),
                    problem: "it has no header line".into(),
                }
                .into());
            }
        }
    };
    if let Some(fault) = header.fault {
        return Err(unreadable(
            path,
            format!("the header in line {} {}", header.line, fault.reason),
            "repair the first line",
        )
        .into());
    }
    let mut batch = CsvBatch { path, header: header.text, pending: Vec::new(), bytes: 0 };
    while let Some(record) = splitter.next(options.max_row_bytes)? {
        if record.blank {
            collector.blank();
            continue;
        }
        let fault = record.fault.or_else(|| {
            let (expected, found) = (header.fields, record.fields);
            let reason = format!(
                "has {found} fields, and the header has {expected}; quote fields that contain \
                 commas"
            );
            (found != expected).then(|| Fault::line(reason))
        });
        batch.bytes += record.text.len();
        batch.pending.push((record.line, fault.map_or(Ok(record.text), Err)));
        if batch.bytes >= BATCH_BYTES || batch.pending.len() >= 10_000 {
            batch.flush(collector)?;
        }
    }
    Ok(batch.flush(collector)?)
}

/// Records that are not yet parsed, in order, including invalid ones.
struct CsvBatch<'a> {
    path: &'a Path,
    header: Vec<u8>,
    pending: Vec<(usize, Result<Vec<u8>, Fault>)>,
    bytes: usize,
}

impl CsvBatch<'_> {
    fn flush(&mut self, collector: &mut Collector<'_>) -> Result<(), DatasetError> {
        let mut text = self.header.clone();
        text.push(b'\n');
        let mut sound = 0;
        for record in self.pending.iter().filter_map(|(_, record)| record.as_ref().ok()) {
            text.extend_from_slice(record);
            text.push(b'\n');
            sound += 1;
        }
        let damaged = |problem: String| {
            unreadable(self.path, problem, "write the file again with a CSV library")
        };
        let frame = if sound == 0 {
            DataFrame::empty()
        } else {
            parse(text).map_err(|error| damaged(error.to_string()))?
        };
        // Polars renames the second of two equal columns like this.
        if let Some((name, _)) =
            frame.get_column_names().iter().find_map(|name| name.split_once("_duplicated_"))
        {
            return Err(damaged(format!("two columns are named `{}`", Fault::shorten(name))));
        }
        if frame.height() != sound {
            return Err(damaged(format!("{sound} records were cut and {} read", frame.height())));
        }
        let columns: Vec<(&str, &StringChunked)> = frame
            .columns()
            .iter()
            .map(|column| Ok((column.name().as_str(), column.str()?)))
            .collect::<PolarsResult<_>>()
            .map_err(|error| damaged(error.to_string()))?;
        let mut index = 0;
        for (line, record) in self.pending.drain(..) {
            let content = record.map(|_| {
                let cell = |column: &StringChunked| {
                    column.get(index).map_or(Value::Null, |text| Value::String(text.to_owned()))
                };
                let fields: Map<String, Value> = columns
                    .iter()
                    .map(|(name, column)| ((*name).to_owned(), cell(column)))
                    .collect();
                index += 1;
                Content::Fields(fields)
            });
            collector.accept(Record { line, content, ends_file: false })?;
        }
        self.bytes = 0;
        Ok(())
    }
}

/// Parses every column as text, to keep the spelling of numbers and dates.
fn parse(text: Vec<u8>) -> PolarsResult<DataFrame> {
    CsvReadOptions::default()
        .with_infer_schema_length(Some(0))
        .with_has_header(true)
        .with_n_threads(Some(1))
        .into_reader_with_file_handle(Cursor::new(text))
        .finish()
}

/// One record, split but not parsed.
struct RawRecord {
    line: usize,
    text: Vec<u8>,
    fields: usize,
    blank: bool,
    fault: Option<Fault>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CsvState {
    Start,
    Plain,
    Quoted,
    /// After a quote inside a quoted field: either its end, or the first of a doubled quote.
    Closing,
}

struct RecordSplitter<R> {
    bytes: ByteReader<R>,
    line: usize,
}

impl<R: BufRead> RecordSplitter<R> {
    /// The next record; at most `limit` bytes of it are kept.
    fn next(&mut self, limit: usize) -> std::io::Result<Option<RawRecord>> {
        let mut record =
            RawRecord { line: self.line, text: Vec::new(), fields: 1, blank: true, fault: None };
        let mut state = CsvState::Start;
        let mut any = false;
        while let Some(byte) = self.bytes.next()? {
            any = true;
            if byte == b'\n' {
                self.line += 1;
                if state != CsvState::Quoted {
                    break;
                }
            }
            record.blank &= byte.is_ascii_whitespace();
            state = match (state, byte) {
                (CsvState::Quoted, b'"') => CsvState::Closing,
                (CsvState::Quoted, _) => CsvState::Quoted,
                (CsvState::Closing, b'"') => CsvState::Quoted,
                (_, b',') => {
                    record.fields += 1;
                    CsvState::Start
                }
                (CsvState::Start, b'"') => CsvState::Quoted,
                (CsvState::Plain, b'"') => {
                    record.fault.get_or_insert_with(|| {
                        Fault::line(
                            "has a quote inside an unquoted field; quote the field, double the \
                             quote",
                        )
                    });
                    CsvState::Plain
                }
                (CsvState::Closing, b'\r') => CsvState::Closing,
                (CsvState::Closing, _) => {
                    record.fault.get_or_insert_with(|| {
                        Fault::line(
                            "has text after a closing quote; double the quotes inside a field",
                        )
                    });
                    CsvState::Plain
                }
                (CsvState::Start | CsvState::Plain, _) => CsvState::Plain,
            };
            if record.text.len() < limit {
                record.text.push(byte);
            } else {
                record.fault = Some(too_long(limit));
            }
        }
        if !any {
            return Ok(None);
        }
        if record.text.last() == Some(&b'\r') {
            record.text.pop();
        }
        if state == CsvState::Quoted {
            record.fault.get_or_insert_with(|| {
                Fault::line(
                    "has a quoted field without an end; close the quote, or download the file \
                     again",
                )
            });
        }
        if record.fault.is_none() {
            record.fault = super::collect::text(&record.text).err();
        }
        Ok(Some(record))
    }
}
