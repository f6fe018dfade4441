//! GGUF files, versions 2 and 3: metadata and the places of tensors, checked before they are used.
//!
//! The file is hostile. Every count, length and offset is compared with the bytes that are there
//! before anything is allocated, so reading takes time and memory in proportion to the metadata,
//! which has at most [`LARGEST_METADATA`] bytes. The format is described in ggml's `docs/gguf.md`.

pub mod config;
pub mod dequantise;
pub mod tensors;
pub mod tokenizer;

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};

use dequantise::TensorType;

/// Maximum size of everything before the tensors, in bytes. A vocabulary of 262,144 tokens with
/// its scores takes 8 MB.
pub const LARGEST_METADATA: usize = 64 << 20;

/// Maximum number of metadata entries. Released files have about 40.
const MOST_ENTRIES: u64 = 1 << 12;

/// Maximum number of items in all lists together. A vocabulary of 262,144 tokens has a million.
const MOST_ITEMS: usize = 1 << 22;

/// Maximum number of tensors. A model of 128 layers has about 1,500.
const MOST_TENSORS: u64 = 1 << 16;

/// Maximum length in bytes of the name of an entry or of a tensor.
const LONGEST_NAME: usize = 256;

/// Alignment of tensors in bytes where `general.alignment` is missing.
const ALIGNMENT: u64 = 32;

/// The contents of a file without the tensors' bytes.
#[derive(Debug)]
pub struct Gguf {
    metadata: BTreeMap<String, MetaValue>,
    pub tensors: BTreeMap<String, TensorInfo>,
}

/// Where a tensor is stored, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    pub kind: TensorType,
    /// Row-major: the last dimension varies fastest. The file has them in the opposite order.
    pub shape: Vec<usize>,
    /// Byte range in the file.
    pub bytes: Range<usize>,
}

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum MetaValue {
    Integer(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    Integers(Vec<i64>),
    Floats(Vec<f32>),
    Bools(Vec<bool>),
    Texts(Vec<String>),
}

impl MetaValue {
    fn kind(&self) -> &'static str {
        match self {
            MetaValue::Integer(_) => "an integer",
            MetaValue::Float(_) => "a number",
            MetaValue::Bool(_) => "true or false",
            MetaValue::Text(_) => "a text",
            MetaValue::Integers(_) => "a list of integers",
            MetaValue::Floats(_) => "a list of numbers",
            MetaValue::Bools(_) => "a list of true or false",
            MetaValue::Texts(_) => "a list of texts",
        }
    }
}

impl Gguf {
    /// Reads the header, the metadata and the places of the tensors.
    ///
    /// # Errors
    /// Where the file is no GGUF file of version 2 or 3, is cut off, or contradicts itself.
    pub fn read(file: &[u8]) -> Result<Self> {
        let before_tensors = &file[..file.len().min(LARGEST_METADATA)];
        let mut reader =
            MetaReader { bytes: before_tensors, at: 0, whole: file.len(), items: MOST_ITEMS };
        ensure!(reader.take(4)? == b"GGUF", "not a GGUF file; download it again");
        match reader.number::<u32, 4>(u32::from_le_bytes)? {
            2 | 3 => {}
            1 => {
                bail!("a GGUF file of version 1; convert the model again with a current llama.cpp")
            }
            big if big.swap_bytes() <= 3 => {
                bail!("a big-endian GGUF file; convert it with gguf-convert-endian")
            }
            other => bail!("a GGUF file of version {other}; foretaste reads versions 2 and 3"),
        }
        let tensors = reader.number(u64::from_le_bytes)?;
        let entries = reader.number(u64::from_le_bytes)?;
        ensure!(tensors <= MOST_TENSORS, "it claims {tensors} tensors; no model has so many");
        ensure!(entries <= MOST_ENTRIES, "it claims {entries} entries; no model has so many");
        let mut metadata = BTreeMap::new();
        for _ in 0..entries {
            let name = reader.name()?;
            let value = reader.value().with_context(|| name.clone())?;
            ensure!(
                metadata.insert(name.clone(), value).is_none(),
                "two entries are named {name:?}; download the file again"
            );
        }
        let mut gguf = Gguf { metadata, tensors: BTreeMap::new() };
        if let Some(parts) = gguf.integer("split.count")?
            && parts > 1
        {
            bail!("one of {parts} parts of a model; join them with llama-gguf-split --merge");
        }
        let alignment = gguf.integer("general.alignment")?.unwrap_or(ALIGNMENT);
        ensure!(
            alignment > 0 && alignment <= 1 << 20 && alignment.is_multiple_of(8),
            "general.alignment {alignment} must be a multiple of 8 up to 1048576"
        );
        let mut places = Vec::new();
        for _ in 0..tensors {
            let name = reader.name()?;
            let place = reader.tensor(alignment).with_context(|| name.clone())?;
            places.push((name, place));
        }
        let start = (reader.at as u64).next_multiple_of(alignment);
        for (name, (kind, shape, bytes)) in places {
            let bytes = range(start, bytes, file.len()).with_context(|| {
                format!("{name}: its bytes are not all in the file; download it again")
            })?;
            ensure!(
                gguf.tensors.insert(name.clone(), TensorInfo { kind, shape, bytes }).is_none(),
                "two tensors are named {name:?}; download the file again"
            );
        }
        gguf.tensors_are_apart()?;
        Ok(gguf)
    }

    /// Shared bytes would let a small file ask for much memory.
    fn tensors_are_apart(&self) -> Result<()> {
        let mut places: Vec<(&Range<usize>, &str)> =
            self.tensors.iter().map(|(name, tensor)| (&tensor.bytes, name.as_str())).collect();
        places.sort_by_key(|(bytes, _)| (bytes.start, bytes.end));
        for pair in places.windows(2) {
            let [(one, name), (next, other)] = pair else { continue };
            ensure!(
                one.end <= next.start,
                "the tensors {name} and {other} share bytes; download the file again"
            );
        }
        Ok(())
    }

    pub fn has(&self, name: &str) -> bool {
        self.metadata.contains_key(name)
    }

    fn get<'a, T>(
        &'a self,
        name: &str,
        expected: &str,
        read: impl Fn(&'a MetaValue) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.metadata.get(name) else { return Ok(None) };
        read(value).map(Some).with_context(|| {
            format!("{name} is {}, and {expected} is needed; fix the file", value.kind())
        })
    }

    /// A whole number from zero on.
    ///
    /// # Errors
    /// Where the entry is of another type or negative.
    pub fn integer(&self, name: &str) -> Result<Option<u64>> {
        self.get(name, "a whole number from 0 on", |value| match value {
            MetaValue::Integer(number) => u64::try_from(*number).ok(),
            _ => None,
        })
    }

    /// A finite number.
    ///
    /// # Errors
    /// Where the entry is of another type or not finite.
    pub fn float(&self, name: &str) -> Result<Option<f64>> {
        self.get(name, "a finite number", |value| match value {
            MetaValue::Float(number) if number.is_finite() => Some(*number),
            MetaValue::Integer(number) => Some(*number as f64),
            _ => None,
        })
    }

    /// True or false.
    ///
    /// # Errors
    /// Where the entry is of another type.
    pub fn bool(&self, name: &str) -> Result<Option<bool>> {
        self.get(name, "true or false", |value| match value {
            MetaValue::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    /// A text.
    ///
    /// # Errors
    /// Where the entry is of another type.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        self.get(name, "a text", |value| match value {
            MetaValue::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// A list of texts.
    ///
    /// # Errors
    /// Where the entry is of another type.
    pub fn texts(&self, name: &str) -> Result<Option<&[String]>> {
        self.get(name, "a list of texts", |value| match value {
            MetaValue::Texts(texts) => Some(texts.as_slice()),
            _ => None,
        })
    }

    /// A list of integers.
    ///
    /// # Errors
    /// Where the entry is of another type.
    pub fn integers(&self, name: &str) -> Result<Option<&[i64]>> {
        self.get(name, "a list of integers", |value| match value {
            MetaValue::Integers(numbers) => Some(numbers.as_slice()),
            _ => None,
        })
    }

    /// A list of floats.
    ///
    /// # Errors
    /// Where the entry is of another type.
    pub fn floats(&self, name: &str) -> Result<Option<&[f32]>> {
        self.get(name, "a list of numbers", |value| match value {
            MetaValue::Floats(numbers) => Some(numbers.as_slice()),
            _ => None,
        })
    }

    /// A list of truth values.
    ///
    /// # Errors
    /// Where the entry is of another type.
    pub fn bools(&self, name: &str) -> Result<Option<&[bool]>> {
        self.get(name, "a list of true or false", |value| match value {
            MetaValue::Bools(flags) => Some(flags.as_slice()),
            _ => None,
        })
    }
}

/// Bytes `part`, counted from `start`, as a range of a file of `length` bytes.
fn range(start: u64, part: Range<u64>, length: usize) -> Option<Range<usize>> {
    let from = usize::try_from(start.checked_add(part.start)?).ok()?;
    let to = usize::try_from(start.checked_add(part.end)?).ok()?;
    (from <= to && to <= length).then_some(from..to)
}

/// Reads the part before the tensors from its start to its end.
struct MetaReader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Bytes of the whole file.
    whole: usize,
    /// Items that further lists may have.
    items: usize,
}

impl<'a> MetaReader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..length) else {
            if self.whole > LARGEST_METADATA {
                bail!("more than {LARGEST_METADATA} bytes of metadata; no model has so many");
            }
            bail!(
                "cut off: {length} bytes are needed at byte {} and {} are left; download it again",
                self.at,
                rest.len()
            );
        };
        self.at += length;
        Ok(taken)
    }

    fn number<T, const N: usize>(&mut self, read: impl Fn([u8; N]) -> T) -> Result<T> {
        let bytes = self.take(N)?;
        Ok(read(bytes.try_into().context("take gives as many bytes as are asked for")?))
    }

    fn length(&mut self) -> Result<usize> {
        let length = self.number(u64::from_le_bytes)?;
        // A length beyond the address space is beyond the file.
        Ok(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn string(&mut self) -> Result<String> {
        let length = self.length()?;
        let at = self.at;
        let text = std::str::from_utf8(self.take(length)?)
            .with_context(|| format!("the text at byte {at} is not UTF-8; download it again"))?;
        Ok(text.to_owned())
    }

    fn name(&mut self) -> Result<String> {
        let at = self.at;
        let name = self.string()?;
        ensure!(
            !name.is_empty() && name.len() <= LONGEST_NAME,
            "the name at byte {at} has {} bytes; between 1 and {LONGEST_NAME} are read",
            name.len()
        );
        Ok(name)
    }

    fn value(&mut self) -> Result<MetaValue> {
        Ok(match self.number(u32::from_le_bytes)? {
            0 => MetaValue::Integer(self.number(u8::from_le_bytes)?.into()),
            1 => MetaValue::Integer(self.number(i8::from_le_bytes)?.into()),
            2 => MetaValue::Integer(self.number(u16::from_le_bytes)?.into()),
            3 => MetaValue::Integer(self.number(i16::from_le_bytes)?.into()),
            4 => MetaValue::Integer(self.number(u32::from_le_bytes)?.into()),
            5 => MetaValue::Integer(self.number(i32::from_le_bytes)?.into()),
            6 => MetaValue::Float(self.number(f32::from_le_bytes)?.into()),
            7 => MetaValue::Bool(self.bool()?),
            8 => MetaValue::Text(self.string()?),
            9 => self.array()?,
            10 => MetaValue::Integer(self.number(u64::from_le_bytes)?.into()),
            11 => MetaValue::Integer(self.number(i64::from_le_bytes)?.into()),
            12 => MetaValue::Float(self.number(f64::from_le_bytes)?),
            other => bail!("type {other} is not one of GGUF's; download the file again"),
        })
    }

    fn bool(&mut self) -> Result<bool> {
        match self.take(1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            other => bail!("{other:?} is neither true nor false; download the file again"),
        }
    }

    /// A list. Lists of lists are not read: no entry of a language model is one.
    fn array(&mut self) -> Result<MetaValue> {
        let kind = self.number(u32::from_le_bytes)?;
        let count = self.length()?;
        let left = self.items.checked_sub(count);
        self.items = left.with_context(|| {
            format!("a list of {count} items; all lists together may have {MOST_ITEMS}")
        })?;
        Ok(match kind {
            0 => MetaValue::Integers(self.list(count, |n| u8::from_le_bytes(n).into())?),
            1 => MetaValue::Integers(self.list(count, |n| i8::from_le_bytes(n).into())?),
            2 => MetaValue::Integers(self.list(count, |n| u16::from_le_bytes(n).into())?),
            3 => MetaValue::Integers(self.list(count, |n| i16::from_le_bytes(n).into())?),
            4 => MetaValue::Integers(self.list(count, |n| u32::from_le_bytes(n).into())?),
            5 => MetaValue::Integers(self.list(count, |n| i32::from_le_bytes(n).into())?),
            6 => MetaValue::Floats(self.list(count, f32::from_le_bytes)?),
            7 => MetaValue::Bools(self.list(count, |[byte]| byte != 0)?),
            8 => {
                // Each text takes its length at least, so the loop ends at the end of the file.
                let mut texts = Vec::new();
                for _ in 0..count {
                    texts.push(self.string()?);
                }
                MetaValue::Texts(texts)
            }
            9 => bail!("a list of lists, which no language model needs; download the file again"),
            10 => MetaValue::Integers(self.list(count, |n| u64::from_le_bytes(n) as i64)?),
            11 => MetaValue::Integers(self.list(count, i64::from_le_bytes)?),
            12 => MetaValue::Floats(self.list(count, |n| f64::from_le_bytes(n) as f32)?),
            other => bail!("type {other} is not one of GGUF's; download the file again"),
        })
    }

    fn list<T, const N: usize>(
        &mut self,
        count: usize,
        read: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        let bytes = self.take(count.saturating_mul(N))?;
        Ok(bytes.as_chunks::<N>().0.iter().map(|item| read(*item)).collect())
    }

    /// A tensor's type, its shape and its bytes, counted from the first tensor's.
    fn tensor(&mut self, alignment: u64) -> Result<(TensorType, Vec<usize>, Range<u64>)> {
        let rank = self.number(u32::from_le_bytes)?;
        ensure!((1..=4).contains(&rank), "{rank} dimensions; between 1 and 4 are read");
        let mut shape = Vec::new();
        let mut numbers = 1_u64;
        for _ in 0..rank {
            let size = self.number(u64::from_le_bytes)?;
            numbers = numbers
                .checked_mul(size)
                .filter(|n| *n > 0 && *n < 1 << 48)
                .with_context(|| format!("a dimension of {size}; download the file again"))?;
            shape.push(usize::try_from(size).context("a dimension beyond this machine's memory")?);
        }
        let kind = TensorType::parse(self.number(u32::from_le_bytes)?)?;
        let (block, size) = kind.block();
        ensure!(
            shape[0].is_multiple_of(block),
            "a row of {} numbers is no multiple of a block of {kind:?}, {block}",
            shape[0]
        );
        shape.reverse();
        let start = self.number(u64::from_le_bytes)?;
        ensure!(
            start.is_multiple_of(alignment),
            "offset {start} is no multiple of {alignment}; download the file again"
        );
        let end = start.checked_add(numbers / block as u64 * size as u64);
        Ok((kind, shape, start..end.context("an offset beyond any file; download it again")?))
    }
}

#[cfg(test)]
mod tests;
