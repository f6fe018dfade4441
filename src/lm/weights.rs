//! Weights from safetensors, one file or shards, or from a GGUF file. They are checked against the
//! configuration before they are copied.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::decoder::WeightDtype;
use super::files::{FileBytes, GgufModel, ModelFiles};
use super::gguf::config::GgufArchitecture;
use super::gguf::dequantise::TensorType;
use super::gguf::tensors::{NamedTensor, StoredAs, tensors, values};
use super::matrix::StoredMatrix;
use crate::peft::widen;

/// The open weight files of a model.
pub struct Weights {
    files: Vec<(String, Arc<FileBytes>)>,
    locations: BTreeMap<String, TensorLocation>,
}

/// Where a tensor is stored.
struct TensorLocation {
    /// Index into [`Weights::files`].
    file: usize,
    encoding: Encoding,
    shape: Vec<usize>,
    /// Byte range in the file.
    bytes: Range<usize>,
}

/// How a tensor's values are stored.
enum Encoding {
    Safetensors(Dtype),
    Gguf(NamedTensor),
}

impl TensorLocation {
    /// Whether the file has the values as they are in the model, row by row, in bf16.
    fn is_bf16(&self) -> bool {
        match &self.encoding {
            Encoding::Safetensors(dtype) => *dtype == Dtype::BF16,
            Encoding::Gguf(tensor) => {
                tensor.info.kind == TensorType::BF16 && tensor.stored_as == StoredAs::Unchanged
            }
        }
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Maps the weight files: `model.safetensors`, or the shards that
    /// `model.safetensors.index.json` lists.
    ///
    /// # Errors
    /// Where a file is missing, truncated, or inconsistent with its header.
    pub fn open(files: &ModelFiles) -> Result<Self> {
        if let ModelFiles::Gguf(model) = files {
            return Self::of_gguf(model).with_context(|| files.display(""));
        }
        let names = Self::file_names(files)?;
        let mut weights = Weights { files: Vec::new(), locations: BTreeMap::new() };
        for name in names {
            let bytes = files.map(&name)?;
            let place = files.display(&name);
            // Also checks that every tensor lies within the file.
            let (header, metadata) =
                SafeTensors::read_metadata(bytes.as_ref()).with_context(|| {
                    format!("{place}: not a whole safetensors file; download it again")
                })?;
            let start = header + size_of::<u64>();
            for (tensor, info) in metadata.tensors() {
                let bytes = start + info.data_offsets.0..start + info.data_offsets.1;
                let location = TensorLocation {
                    file: weights.files.len(),
                    encoding: Encoding::Safetensors(info.dtype),
                    shape: info.shape.clone(),
                    bytes,
                };
                weights.locations.insert(tensor, location);
            }
            weights.files.push((place, Arc::new(bytes)));
        }
        Ok(weights)
    }

    fn of_gguf(model: &GgufModel) -> Result<Self> {
        let architecture = GgufArchitecture::of(&model.contents)?;
        let place = |tensor: NamedTensor| TensorLocation {
            file: 0,
            shape: tensor.info.shape.clone(),
            bytes: tensor.info.bytes.clone(),
            encoding: Encoding::Gguf(tensor),
        };
        let named = tensors(&model.contents, architecture)?;
        Ok(Weights {
            files: vec![(model.path().display().to_string(), Arc::clone(&model.bytes))],
            locations: named.into_iter().map(|(name, tensor)| (name, place(tensor))).collect(),
        })
    }

    /// The names of the weight files, sorted; none for a GGUF file, which is all of the model.
    ///
    /// # Errors
    /// Where there are none, or only pickles.
    pub fn file_names(files: &ModelFiles) -> Result<Vec<String>> {
        if let ModelFiles::Gguf(_) = files {
            return Ok(Vec::new());
        }
        const INDEX: &str = "model.safetensors.index.json";
        if files.has("model.safetensors") {
            return Ok(vec!["model.safetensors".to_owned()]);
        }
        if files.has(INDEX) {
            let index: Index =
                serde_json::from_str(&files.text(INDEX)?).with_context(|| files.display(INDEX))?;
            let mut names: Vec<String> = index.weight_map.into_values().collect();
            names.sort();
            names.dedup();
            return Ok(names);
        }
        if files.has("pytorch_model.bin") {
            bail!(
                "{}: pickled weights are never read; convert them with transformers' \
                 save_pretrained(safe_serialization=True)",
                files.display("pytorch_model.bin")
            );
        }
        bail!(
            "{}: missing, and no {INDEX} either; the weights must be safetensors",
            files.display("model.safetensors")
        )
    }

    /// Bytes of all tensors in a dtype.
    pub fn bytes(&self, dtype: WeightDtype) -> u64 {
        let size = |location: &TensorLocation| {
            let is_bf16 = dtype == WeightDtype::Bf16 && location.shape.len() == 2;
            let number = if is_bf16 { size_of::<u16>() } else { size_of::<f32>() };
            location.shape.iter().product::<usize>() as u64 * number as u64
        };
        self.locations.values().map(size).sum()
    }

    pub fn has(&self, name: &str) -> bool {
        self.locations.contains_key(name)
    }

    /// One tensor, widened to f32, row-major.
    ///
    /// # Errors
    /// Where it is missing, has another shape, or is of a type that is not read.
    pub fn load(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let (file, bytes, location) = self.location(name, shape)?;
        let stored = bytes.as_ref().as_ref();
        let wide = match &location.encoding {
            Encoding::Safetensors(dtype) => widen(*dtype, &stored[location.bytes.clone()]),
            Encoding::Gguf(tensor) => values(stored, tensor),
        };
        let wide = wide.with_context(|| format!("{file}: {name}"))?;
        // The values are copied, so the mapped pages are no longer needed.
        bytes.forget(location.bytes.clone());
        Ok(wide)
    }

    /// One matrix as it is stored, if it is bf16; otherwise `None`.
    ///
    /// # Errors
    /// Where it is missing or has another shape.
    pub fn stored(&self, name: &str, shape: [usize; 2]) -> Result<Option<StoredMatrix>> {
        let (_, file, location) = self.location(name, &shape)?;
        Ok(location.is_bf16().then(|| StoredMatrix {
            file: Arc::clone(file),
            bytes: location.bytes.clone(),
            shape,
        }))
    }

    fn location(
        &self,
        name: &str,
        shape: &[usize],
    ) -> Result<(&str, &Arc<FileBytes>, &TensorLocation)> {
        let location = self.locations.get(name).with_context(|| {
            format!(
                "the weights have no tensor {name:?}, which config.json asks \
                                      for; download them again"
            )
        })?;
        let (file, bytes) = &self.files[location.file];
        ensure!(
            location.shape == shape,
            "{file}: {name} has shape {:?}, and config.json asks for {shape:?}; the files do not \
             belong together",
            location.shape
        );
        Ok((file, bytes, location))
    }
}
