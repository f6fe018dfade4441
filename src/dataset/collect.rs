//! Turns records into rows and rejections, within the memory budget.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::error::DatasetError;
use super::fields::kind;
use super::formats::Format;
use super::{
    Dataset, Ledger, LeftOut, Message, ReadOptions, Rejection, Role, Row, RowRejection,
    conversation, digest, json,
};
use crate::text::terminal;

/// Number of objects without a known format after which the file is refused.
const MAX_UNRECOGNISED: usize = 1000;
/// Maximum unread fields that are named; the others share one name.
const NAMED_FIELDS: usize = 50;

/// The problem of one record.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    /// Empty where the whole record is invalid.
    pub field: String,
    pub reason: String,
}

impl Fault {
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Fault { field: field.into(), reason: reason.into() }
    }

    /// A fault of the whole record.
    pub fn line(reason: impl Into<String>) -> Self {
        Fault::new("", reason)
    }

    /// An untrusted name, shortened for a message.
    pub fn shorten(name: &str) -> String {
        if name.chars().count() <= 40 {
            name.to_owned()
        } else {
            name.chars().take(39).chain(['…']).collect()
        }
    }
}

/// One record as found by a container.
pub(super) struct Record<'a> {
    /// Line or record number within the shard, from 1.
    pub line: usize,
    pub content: Result<Content<'a>, Fault>,
    /// Whether the file ends here, without a line break.
    pub ends_file: bool,
}

/// The content of a record, as text or parsed.
pub(super) enum Content<'a> {
    Json(&'a [u8]),
    Fields(Map<String, Value>),
}

/// Collects records and builds the dataset.
pub(super) struct Collector<'a> {
    path: PathBuf,
    sha256: String,
    options: &'a ReadOptions,
    /// Why the base cannot use a row.
    rejection: &'a RowRejection<'a>,
    format: Option<Format>,
    /// Number of objects without a known format so far, and a description of the first.
    unrecognised: usize,
    seen: String,
    /// Added to line numbers: the last line of earlier shards.
    offset: usize,
    last_line: usize,
    /// Number of earlier rows that start on the same line; a JSON array may be on one line.
    before_on_line: usize,
    /// The file's name, if it is one of several shards.
    shard: Option<String>,
    rows_read: usize,
    kept: BTreeMap<[u8; 32], Row>,
    kept_bytes: usize,
    /// The smallest key outside the sample; no larger key is kept.
    cut: Option<[u8; 32]>,
    ledger: Ledger,
    rejected: Vec<Rejection>,
}

impl<'a> Collector<'a> {
    pub fn new(
        path: &Path,
        sha256: String,
        options: &'a ReadOptions,
        rejection: &'a RowRejection<'a>,
    ) -> Self {
        Collector {
            path: path.into(),
            sha256,
            options,
            rejection,
            format: options.format,
            unrecognised: 0,
            seen: "no row is a JSON object".into(),
            offset: 0,
            last_line: 0,
            before_on_line: 0,
            shard: None,
            rows_read: 0,
            kept: BTreeMap::new(),
            kept_bytes: 0,
            cut: None,
            ledger: Ledger::default(),
            rejected: Vec::new(),
        }
    }

    /// Starts a new shard. Line numbers continue from the last one, and rejections name the shard.
    pub fn next_shard(&mut self, path: &Path) {
        self.offset = self.last_line;
        self.shard = (path != self.path)
            .then(|| path.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }

    /// Counts a line that is not a row.
    pub fn blank(&mut self) {
        self.ledger.blank_lines += 1;
    }

    /// Records that all of `rows` have a value in `field` that is not read.
    pub fn unread(&mut self, field: &str, rows: usize) {
        let fields = &mut self.ledger.unread_fields;
        let name = Fault::shorten(field);
        let name = if fields.len() < NAMED_FIELDS || fields.contains_key(&name) {
            name
        } else {
            "(others)".into()
        };
        *fields.entry(name).or_default() += rows;
    }

    /// Turns one record into a row or a rejection.
    ///
    /// # Errors
    /// Where the file as a whole exceeds a limit or is no dataset.
    pub fn accept(&mut self, record: Record<'_>) -> Result<(), DatasetError> {
        if self.rows_read == self.options.max_rows {
            return Err(DatasetError::TooLarge {
                path: self.path.clone(),
                problem: format!("it has more than {} rows", self.options.max_rows),
                advice: "split it, and audit the parts".into(),
            });
        }
        self.rows_read += 1;
        let line = self.offset + record.line;
        self.before_on_line = if line == self.last_line { self.before_on_line + 1 } else { 0 };
        self.last_line = line;
        let examined = record.content.and_then(|content| self.examine(content, record.ends_file));
        let rejection =
            match &examined {
                Ok(messages) => (self.rejection)(messages).map_err(|source| {
                    DatasetError::Base { path: self.path.clone(), line, source }
                })?,
                Err(_) => None,
            };
        let examined = match rejection {
            Some(reason) => Err(Fault::line(reason)),
            None => examined,
        };
        match examined {
            Ok(messages) => self.keep(line, messages),
            Err(mut fault) => {
                if let Some(shard) = &self.shard {
                    fault.reason = format!("{} (record {} of {shard})", fault.reason, record.line);
                } else if self.before_on_line > 0 {
                    fault.reason = format!("{} (row {} of the file)", fault.reason, self.rows_read);
                }
                self.reject(line, fault)?;
            }
        }
        if self.format.is_none() && self.unrecognised >= MAX_UNRECOGNISED {
            Err(self.no_format())
        } else {
            Ok(())
        }
    }

    fn examine(&mut self, content: Content<'_>, ends_file: bool) -> Result<Vec<Message>, Fault> {
        let fields = match content {
            Content::Fields(fields) => fields,
            Content::Json(bytes) => {
                match json::parse(text(bytes)?, self.options.max_depth, ends_file)? {
                    Value::Object(fields) => fields,
                    other => {
                        return Err(Fault::line(format!(
                            "the row is {}, not an object; write one JSON object a row",
                            kind(&other)
                        )));
                    }
                }
            }
        };
        let Some(format) = self.format.or_else(|| Format::detect(&fields, self.options.max_depth))
        else {
            let names: Vec<String> =
                fields.keys().take(8).map(|name| Fault::shorten(name)).collect();
            let names = if names.is_empty() { "no fields".into() } else { names.join(", ") };
            if self.unrecognised == 0 {
                let pairs = fields.contains_key("chosen") && fields.contains_key("rejected");
                let advice = if pairs {
                    "; for preference pairs, give the chosen answer as `completion`"
                } else {
                    ""
                };
                self.seen = format!("the first row has {}{advice}", terminal(&names));
            }
            self.unrecognised += 1;
            return Err(Fault::line(format!(
                "has no fields of a known format ({names}); give it the fields of the other rows"
            )));
        };
        self.format = Some(format);
        let turns = format.turns(&fields, self.options.max_depth)?;
        let messages = conversation::check(turns)?;
        for name in format.unread(&fields, &messages, self.options)? {
            self.unread(&name, 1);
        }
        Ok(messages)
    }

    fn reject(&mut self, line: usize, fault: Fault) -> Result<(), DatasetError> {
        self.rejected.push(Rejection { line, field: fault.field, reason: fault.reason });
        if self.rejected.len() > self.options.max_rejected {
            let first = self.rejected.swap_remove(0);
            let first = Rejection { reason: terminal(&first.reason), ..first };
            return Err(DatasetError::TooManyRejected {
                path: self.path.clone(),
                limit: self.options.max_rejected,
                first,
            });
        }
        Ok(())
    }

    /// Keeps the row if its key is among the smallest ones that fit the budget. The result does not
    /// depend on the order of arrival: it is the longest prefix, in key order, that fits.
    fn keep(&mut self, line: usize, messages: Vec<Message>) {
        let content = digest::content_digest(&messages);
        let key = digest::sample_key(
            &self.sha256,
            self.options.seed,
            &content,
            (line, self.before_on_line),
        );
        if self.cut.is_some_and(|cut| key >= cut) {
            self.leave_out(line, content);
            return;
        }
        let row = Row { line, sha256: digest::hex(&content), messages };
        self.kept_bytes += bytes(&row);
        self.kept.insert(key, row);
        while self.kept.len() > self.options.limit.unwrap_or(usize::MAX)
            || self.kept_bytes > self.options.max_kept_bytes
        {
            let Some((key, row)) = self.kept.pop_last() else { break };
            self.cut = Some(key);
            self.kept_bytes -= bytes(&row);
            self.leave_out(row.line, digest::content_digest(&row.messages));
        }
    }

    fn leave_out(&mut self, line: usize, sha256: [u8; 32]) {
        self.ledger.left_out.push(LeftOut { line, sha256 });
    }

    fn no_format(&self) -> DatasetError {
        DatasetError::NoFormat { path: self.path.clone(), seen: self.seen.clone() }
    }

    /// Builds the dataset.
    ///
    /// # Errors
    /// Where there were no rows, or none with a known format; and where a row was lost.
    pub fn finish(mut self) -> Result<Dataset, DatasetError> {
        if self.rows_read == 0 {
            return Err(DatasetError::Empty { path: self.path, problem: "it has no rows".into() });
        }
        let Some(format) = self.format else {
            // The first rejection is more informative than a missing format.
            if let (0, Some(first)) = (self.unrecognised, self.rejected.first()) {
                self.seen = format!("line {}: {}", first.line, terminal(&first.reason));
            }
            return Err(self.no_format());
        };
        self.ledger.left_out.sort_by_key(|row| row.line);
        let mut rows: Vec<Row> = self.kept.into_values().collect();
        rows.sort_by_key(|row| row.line);
        let (read, used, rejected) =
            (self.rows_read, rows.len() + self.ledger.left_out.len(), self.rejected.len());
        if read != used + rejected {
            return Err(DatasetError::Unbalanced { path: self.path, read, used, rejected });
        }
        Ok(Dataset {
            source: self.path.display().to_string(),
            format: format.name().into(),
            sha256: self.sha256,
            rows_read: read,
            rows_used: used,
            rows,
            rejected: self.rejected,
            ledger: self.ledger,
        })
    }
}

/// The record as text. NUL bytes and invalid UTF-8 are rejected, since later stages cannot process
/// them.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Fault> {
    if let Some(column) = bytes.iter().position(|byte| *byte == 0) {
        return Err(Fault::line(format!("holds a NUL byte at byte {}; remove it", column + 1)));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        Fault::line(format!(
            "is not UTF-8 at byte {}; save the file as UTF-8 (iconv -t UTF-8)",
            error.valid_up_to() + 1
        ))
    })
}

/// Approximate memory of a row: its texts, and a constant for fixed parts and allocator overhead.
fn bytes(row: &Row) -> usize {
    let (mut before, mut all) = (0, 256);
    for message in &row.messages {
        // The control's prompts repeat all messages before each answer.
        all += if message.role == Role::Assistant { before } else { 0 };
        before += 64 + message.content.len();
    }
    all + before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_row_is_an_error_of_the_dataset() {
        let options = ReadOptions::default();
        let with = |lost: usize| {
            let mut collector =
                Collector::new(Path::new("a.jsonl"), String::new(), &options, &|_| Ok(None));
            let row = br#"{"prompt":"a","completion":"b"}"#;
            for line in [1, 1, 2] {
                let record = Record { line, content: Ok(Content::Json(row)), ends_file: false };
                collector.accept(record).expect("a row");
            }
            (0..lost).for_each(|_| drop(collector.kept.pop_first()));
            collector.finish()
        };
        assert!(matches!(with(0), Ok(dataset) if dataset.rows.len() == 3));
        assert!(matches!(
            with(1),
            Err(DatasetError::Unbalanced { read: 3, used: 2, rejected: 0, .. })
        ));
    }
}
