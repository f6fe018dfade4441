//! Reads records of text files: the lines of JSON Lines, or the elements of one JSON array. Only
//! one record is in memory at a time.

use std::io::{self, BufRead, Read};

use super::ReadOptions;
use super::collect::{Collector, Content, Fault, Record};
use super::error::DatasetError;

/// An error of the stream or of the dataset.
#[derive(Debug)]
pub(super) enum Problem {
    Io(io::Error),
    Dataset(DatasetError),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Problem::Io(error)
    }
}

impl From<DatasetError> for Problem {
    fn from(error: DatasetError) -> Self {
        Problem::Dataset(error)
    }
}

/// The fault of a row that exceeds the size limit.
pub(super) fn too_long(limit: usize) -> Fault {
    Fault::line(format!("is longer than {limit} bytes; shorten or split it"))
}

/// JSON Lines: one record per line. Lines of white space are not rows.
pub(super) fn read_lines(
    mut stream: impl BufRead,
    options: &ReadOptions,
    collector: &mut Collector<'_>,
) -> Result<(), Problem> {
    let mut buffer = Vec::new();
    for line in 1.. {
        buffer.clear();
        let limit = options.max_row_bytes as u64 + 1;
        if (&mut stream).take(limit).read_until(b'\n', &mut buffer)? == 0 {
            break;
        }
        let terminated = buffer.last() == Some(&b'\n');
        if !terminated && buffer.len() > options.max_row_bytes {
            skip_line(&mut stream)?;
            collector.accept(Record {
                line,
                content: Err(too_long(options.max_row_bytes)),
                ends_file: false,
            })?;
        } else if buffer.iter().all(u8::is_ascii_whitespace) {
            collector.blank();
        } else {
            let row = buffer.trim_ascii_end();
            collector.accept(Record {
                line,
                content: Ok(Content::Json(row)),
                ends_file: !terminated,
            })?;
        }
    }
    Ok(())
}

/// Skips to the end of the line.
fn skip_line(stream: &mut impl BufRead) -> io::Result<()> {
    stream.skip_until(b'\n').map(|_| ())
}

/// JSON array: one record per element, numbered by the line on which it starts. A file that ends
/// inside the array gives a rejection, like a truncated line.
pub(super) fn read_array(
    stream: impl BufRead,
    options: &ReadOptions,
    collector: &mut Collector<'_>,
) -> Result<(), Problem> {
    let mut array = Array {
        line: 1,
        start: 1,
        depth: 0,
        quoted: false,
        escaped: false,
        element: Vec::new(),
        over: false,
        elements: 0,
    };
    let mut opened = false;
    let mut bytes = ByteReader { stream };
    while let Some(byte) = bytes.next()? {
        if byte == b'\n' {
            array.line += 1;
        }
        if !opened {
            // The caller checked that the first byte after white space is `[`.
            opened = byte == b'[';
            continue;
        }
        match byte {
            b',' if array.between() => array.emit(options, collector, false)?,
            b']' if array.between() => {
                if !array.element.is_empty() || array.elements > 0 {
                    array.emit(options, collector, false)?;
                }
                return trailing(&mut bytes, array.line, collector);
            }
            byte if array.element.is_empty() && !array.over && byte.is_ascii_whitespace() => {}
            byte => array.push(byte, options.max_row_bytes),
        }
    }
    let complete = array.between();
    if !array.element.is_empty() || array.over {
        array.emit(options, collector, true)?;
    }
    if complete {
        // The last element is complete, but the rest of the file is missing.
        let fault = Fault::line(
            "the file ends before the array's `]`: download it again, or close the array",
        );
        collector.accept(Record { line: array.line, content: Err(fault), ends_file: true })?;
    }
    Ok(())
}

/// Anything after the array is a single rejection.
fn trailing(
    bytes: &mut ByteReader<impl BufRead>,
    mut line: usize,
    collector: &mut Collector<'_>,
) -> Result<(), Problem> {
    while let Some(byte) = bytes.next()? {
        if byte == b'\n' {
            line += 1;
        } else if !byte.is_ascii_whitespace() {
            let fault = Fault::line(
                "text follows after the array's `]` and was not read; put all rows into one array",
            );
            return Ok(collector.accept(Record { line, content: Err(fault), ends_file: false })?);
        }
    }
    Ok(())
}

/// Parser state inside an array.
struct Array {
    line: usize,
    /// The line on which the element starts.
    start: usize,
    depth: usize,
    quoted: bool,
    escaped: bool,
    element: Vec<u8>,
    /// The element exceeds the limit; its bytes were discarded.
    over: bool,
    elements: usize,
}

impl Array {
    /// Whether the parser is at the array's own level, where commas separate elements.
    fn between(&self) -> bool {
        self.depth == 0 && !self.quoted
    }

    fn push(&mut self, byte: u8, limit: usize) {
        if self.element.is_empty() && !self.over {
            self.start = self.line;
        }
        if self.quoted {
            self.quoted = self.escaped || byte != b'"';
            self.escaped = byte == b'\\' && !self.escaped;
        } else {
            match byte {
                b'"' => self.quoted = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        if self.element.len() == limit {
            self.over = true;
            self.element.clear();
        }
        if !self.over {
            self.element.push(byte);
        }
    }

    fn emit(
        &mut self,
        options: &ReadOptions,
        collector: &mut Collector<'_>,
        ends_file: bool,
    ) -> Result<(), Problem> {
        let (line, content) = match (self.over, self.element.is_empty()) {
            (true, _) => (self.start, Err(too_long(options.max_row_bytes))),
            (false, true) => (
                self.line,
                Err(Fault::line("nothing is before a comma or `]` of the array; delete the comma")),
            ),
            (false, false) => (self.start, Ok(Content::Json(&self.element))),
        };
        collector.accept(Record { line, content, ends_file })?;
        self.element.clear();
        self.over = false;
        self.elements += 1;
        Ok(())
    }
}

/// Iterates over the bytes of a buffered stream, faster than `Read::bytes`.
pub(super) struct ByteReader<R> {
    pub stream: R,
}

impl<R: BufRead> ByteReader<R> {
    pub fn next(&mut self) -> io::Result<Option<u8>> {
        let byte = self.stream.fill_buf()?.first().copied();
        if byte.is_some() {
            self.stream.consume(1);
        }
        Ok(byte)
    }
}
