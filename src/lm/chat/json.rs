//! `tojson` as transformers provides it to templates: Python's `json.dumps`, without HTML escapes,
//! in bounded memory.

use std::fmt::Display;
use std::io::{self, Write};

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Value};
use serde::Serialize;

/// The longest text that `tojson` writes, in bytes.
const LONGEST: usize = 16 << 20;

/// The largest indentation that `tojson` accepts, in spaces.
const LARGEST_INDENT: usize = 64;

/// The filter, with the options of `json.dumps` that transformers passes on.
pub fn tojson(value: Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let (item, key) = match options.get::<Option<Vec<String>>>("separators")?.as_deref() {
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => {
            return Err(Error::new(ErrorKind::InvalidOperation, "tojson takes two separators"));
        }
    };
    let format = JsonDumps {
        indent: indent.map(|width| width.min(LARGEST_INDENT)),
        item,
        key,
        is_ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        depth: 0,
        has_items: false,
    };
    let sorted = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let bytes = if sorted {
        // Sorted by way of text, whose size is bounded. A value that contains itself has no bound.
        let plain = written(&value, serde_json::ser::CompactFormatter)?;
        let tree: serde_json::Value = serde_json::from_slice(&plain).map_err(|e| broken(&e))?;
        written(&Sorted(&tree), format)?
    } else {
        written(&value, format)?
    };
    Ok(Value::from_safe_string(String::from_utf8(bytes).map_err(|e| broken(&e))?))
}

fn broken(error: &dyn Display) -> Error {
    Error::new(ErrorKind::BadSerialization, error.to_string())
}

fn written(
    value: &impl Serialize,
    format: impl serde_json::ser::Formatter,
) -> Result<Vec<u8>, Error> {
    let mut out = Bounded(Vec::new());
    value
        .serialize(&mut serde_json::Serializer::with_formatter(&mut out, format))
        .map_err(|e| broken(&e))?;
    Ok(out.0)
}

/// A JSON tree whose keys are sorted.
struct Sorted<'a>(&'a serde_json::Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            serde_json::Value::Array(items) => serializer.collect_seq(items.iter().map(Sorted)),
            serde_json::Value::Object(fields) => {
                let mut fields: Vec<_> =
                    fields.iter().map(|(name, value)| (name, Sorted(value))).collect();
                fields.sort_by_key(|(name, _)| *name);
                serializer.collect_map(fields)
            }
            other => other.serialize(serializer),
        }
    }
}

/// Text of limited size: a small value can contain itself often enough to fill any memory when it
/// is written.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST {
            return Err(io::Error::other(format!("tojson writes at most {LONGEST} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The layout of `json.dumps`.
struct JsonDumps {
    /// Spaces per level; `None` writes one line.
    indent: Option<usize>,
    /// Between items, and between a key and its value.
    item: String,
    key: String,
    /// Non-ASCII letters are escaped as UTF-16.
    is_ascii: bool,
    depth: usize,
    has_items: bool,
}

impl JsonDumps {
    fn line(&self, writer: &mut (impl Write + ?Sized)) -> io::Result<()> {
        let Some(width) = self.indent else { return Ok(()) };
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(&vec![b' '; width]))
    }

    fn open(&mut self, writer: &mut (impl Write + ?Sized), bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.has_items = false;
        writer.write_all(bracket)
    }

    fn close(&mut self, writer: &mut (impl Write + ?Sized), bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.has_items {
            self.line(writer)?;
        }
        self.has_items = true;
        writer.write_all(bracket)
    }

    fn next(&mut self, writer: &mut (impl Write + ?Sized), first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(self.item.as_bytes())?;
        }
        self.has_items = true;
        self.line(writer)
    }
}

impl serde_json::ser::Formatter for JsonDumps {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.next(writer, first)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.next(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.key.as_bytes())
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if !self.is_ascii || fragment.is_ascii() {
            return writer.write_all(fragment.as_bytes());
        }
        for letter in fragment.chars() {
            if letter.is_ascii() {
                writer.write_all(&[letter as u8])?;
            } else {
                letter
                    .encode_utf16(&mut [0; 2])
                    .iter()
                    .try_for_each(|unit| write!(writer, "\\u{unit:04x}"))?;
            }
        }
        Ok(())
    }
}
