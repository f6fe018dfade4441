//! Computes the memory that a parquet file will need, before polars reads it. Nesting comes from
//! the schema, sizes from the page headers. Sizes in the footer may be false; those of the page
//! headers determine the allocation.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::{AddAssign, Range};

use polars_parquet_format::thrift::protocol::TCompactInputProtocol;
use polars_parquet_format::{Encoding, FileMetaData, PageHeader, PageType, SchemaElement};

/// Maximum nesting of a schema; readers are recursive. A list takes two or three levels, and
/// messages with content parts eight.
const MAX_DEPTH: usize = 64;
/// Maximum nodes of a schema; each is copied for every column below it.
const MAX_NODES: usize = 10_000;
/// Maximum bytes of a page header, which contains the minimum and maximum value.
const MAX_HEADER: usize = 64 << 20;
/// Memory per value in addition to its text, also for empty values.
const VALUE_BYTES: u64 = 16;

/// Memory requirements of some pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Declared {
    /// Decompressed bytes.
    pub bytes: u64,
    pub values: u64,
}

impl Declared {
    /// Total bytes in memory.
    pub fn memory(self) -> u64 {
        self.bytes.saturating_add(self.values.saturating_mul(VALUE_BYTES))
    }
}

impl AddAssign for Declared {
    fn add_assign(&mut self, other: Declared) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.values = self.values.saturating_add(other.values);
    }
}

/// Checks the schema in the footer of `file`.
///
/// # Errors
/// A message, where there is no schema, or where it is too deep or too wide.
pub fn check_schema(file: &mut File) -> Result<(), String> {
    let schema = schema(file).map_err(|error| error.to_string())?;
    if schema.len() > MAX_NODES {
        return Err(format!(
            "its schema has {} nodes, and at most {MAX_NODES} are read",
            schema.len()
        ));
    }
    // Remaining children of each open node.
    let mut open: Vec<usize> = Vec::new();
    for element in &schema {
        if let Some(left) = open.last_mut() {
            *left = left.saturating_sub(1);
        }
        open.push(usize::try_from(element.num_children.unwrap_or(0)).unwrap_or(0));
        if open.len() > MAX_DEPTH {
            return Err(format!("its columns are nested more than {MAX_DEPTH} levels deep"));
        }
        while open.last() == Some(&0) {
            open.pop();
        }
    }
    Ok(())
}

/// The schema from the footer: nodes in depth-first order. Empty for a file without a footer, for
/// which polars has a better error message.
fn schema(file: &mut File) -> io::Result<Vec<SchemaElement>> {
    let mut tail = [0; 8];
    let Some(end) = file.seek(SeekFrom::End(0))?.checked_sub(8) else { return Ok(Vec::new()) };
    file.seek(SeekFrom::Start(end))?;
    file.read_exact(&mut tail)?;
    let length = u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]);
    let (b"PAR1", Some(start)) = (&tail[4..], end.checked_sub(length.into())) else {
        return Ok(Vec::new());
    };
    file.seek(SeekFrom::Start(start))?;
    let footer = BufReader::new(file.take(length.into()));
    // The parser charges machine words to the budget: at most one per footer byte, and some for
    // structs.
    let budget = (length as usize).saturating_mul(16);
    let metadata =
        FileMetaData::read_from_in_protocol(&mut TCompactInputProtocol::new(footer, budget));
    metadata.map(|metadata| metadata.schema).map_err(io::Error::other)
}

/// Sums the requirements of the pages of a column chunk, until they exceed `enough` bytes. Only
/// pages that a reader of `values` values reaches are counted.
///
/// # Errors
/// Where the chunk does not contain pages.
pub fn pages(file: &File, chunk: Range<u64>, values: i64, enough: u64) -> io::Result<Declared> {
    let mut reader = BufReader::new(file);
    let mut at = reader.seek(SeekFrom::Start(chunk.start))?;
    let mut declared = Declared::default();
    let (mut first, mut seen, values) = (true, 0, u64::try_from(values).unwrap_or(0));
    while at < chunk.end && (first || seen < values) && declared.memory() <= enough {
        let header = PageHeader::read_from_in_protocol(&mut TCompactInputProtocol::new(
            &mut reader,
            MAX_HEADER,
        ));
        let header = header.map_err(io::Error::other)?;
        let size = |size: i32| {
            u64::try_from(size).map_err(|_| io::Error::other("a page has a negative size"))
        };
        let data = match header.type_ {
            PageType::DATA_PAGE => {
                header.data_page_header.map(|header| (header.num_values, header.encoding))
            }
            PageType::DATA_PAGE_V2 => {
                header.data_page_header_v2.map(|header| (header.num_values, header.encoding))
            }
            _ => None,
        };
        let (in_data, encoding) = data.unwrap_or((0, Encoding::PLAIN));
        let in_dictionary = header.dictionary_page_header.map_or(0, |header| header.num_values);
        let (in_data, in_dictionary, bytes) =
            (size(in_data)?, size(in_dictionary)?, size(header.uncompressed_page_size)?);
        // With this encoding each value may repeat all preceding text.
        let times = if encoding == Encoding::DELTA_BYTE_ARRAY { in_data.max(1) } else { 1 };
        seen += in_data;
        declared +=
            Declared { bytes: bytes.saturating_mul(times), values: in_data + in_dictionary };
        reader.seek_relative(size(header.compressed_page_size)? as i64)?;
        at = reader.stream_position()?;
        first = false;
    }
    Ok(declared)
}
