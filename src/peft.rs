//! Reads and writes adapters in PEFT's format, which vLLM shares: `adapter_config.json` and
//! `adapter_model.safetensors`. Reads adapters from any trainer.
//!
//! PEFT allows a rank and an alpha per module, and rsLoRA's scale. Here they become a single rank
//! and alpha: lower ranks are padded with zeros, and scales are multiplied into B. The product is
//! unchanged.

mod config;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sha2::{Digest, Sha256};

use crate::engine::Adapter;
use config::{AdapterConfig, Names, Ranks, SavedConfig};
use target::Targets;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// Maximum file sizes: a configuration, and weights of rank 256 for a model of 70 billion
/// parameters.
const LARGEST_CONFIG: u64 = 1 << 20;
const LARGEST_WEIGHTS: u64 = 16 << 30;

/// Maximum tensors per adapter. Two tensors for each of seven projections in a thousand layers are
/// 14,000.
const MOST_TENSORS: usize = 1 << 14;

/// Maximum ratio of an adapter's size, once all modules have the same rank, to the size of its
/// file. Adapters with ranks between 1 and 64 stay far below it.
const MOST_PADDING: usize = 64;

/// Prefix that PEFT adds to module names.
const PREFIX: &str = "base_model.model.";

/// `adapter_config.json`.
pub fn config(adapter: &Adapter, base: &str) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec_pretty(&SavedConfig::new(adapter, base))?)
}

/// `adapter_model.safetensors`: float32, little endian, names unchanged.
pub fn weights(adapter: &Adapter) -> Result<Vec<u8>> {
    let bytes: BTreeMap<&str, (&[usize], Vec<u8>)> = adapter
        .tensors
        .iter()
        .map(|(name, (shape, values))| {
            (
                name.as_str(),
                (&shape[..], values.iter().flat_map(|value| value.to_le_bytes()).collect()),
            )
        })
        .collect();
    let mut views = BTreeMap::new();
    for (name, (shape, bytes)) in &bytes {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes);
        views.insert(
            *name,
            view.with_context(|| format!("{name}: the shape {shape:?} does not fit its values"))?,
        );
    }
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
    Ok(safetensors::serialize(views, metadata)?)
}

/// SHA-256 of the adapter's safetensors file, in hex; that of a finetuned model in its place.
pub fn adapter_sha256(adapter: &Adapter) -> Result<String> {
    if let Some(sha256) = &adapter.model {
        return Ok(sha256.clone());
    }
    Ok(format!("{:x}", Sha256::digest(weights(adapter)?)))
}

/// Reads the adapter in a folder.
///
/// # Errors
/// Where a file is missing, pickled, too large or broken, or the kind of adapter is not supported;
/// see [`parse`].
pub fn read(folder: &Path) -> Result<Adapter> {
    let part = |name: &str, largest: u64| -> Result<Vec<u8>> {
        let path = folder.join(name);
        let about = fs::metadata(&path).with_context(|| {
            format!(
                "{}: missing; a folder that PEFT saved has {CONFIG} and {WEIGHTS}",
                path.display()
            )
        })?;
        ensure!(about.is_file(), "{}: not a file", path.display());
        ensure!(
            about.len() <= largest,
            "{}: {} bytes; an adapter has fewer",
            path.display(),
            about.len()
        );
        fs::read(&path).with_context(|| path.display().to_string())
    };
    let config = part(CONFIG, LARGEST_CONFIG)?;
    if !folder.join(WEIGHTS).exists() && folder.join("adapter_model.bin").exists() {
        bail!(
            "{}: pickled weights are never read; load the adapter with PEFT and save it again \
             with save_pretrained",
            folder.join("adapter_model.bin").display()
        );
    }
    parse(&config, &part(WEIGHTS, LARGEST_WEIGHTS)?).with_context(|| folder.display().to_string())
}

/// Parses the contents of both files.
///
/// # Errors
/// Where a file is broken or the two files do not match. Also where the adapter is not a LoRA or
/// uses an unsupported feature, such as DoRA, `modules_to_save` or biases.
pub fn parse(config: &[u8], weights: &[u8]) -> Result<Adapter> {
    let config = AdapterConfig::read(config)?;
    let targets = Targets::new(&config)?;
    let ranks = Ranks::new(&config)?;
    let file = SafeTensors::deserialize(weights)
        .with_context(|| format!("{WEIGHTS} is not a complete safetensors file"))?;
    ensure!(
        file.len() <= MOST_TENSORS,
        "{WEIGHTS} holds {} tensors; an adapter of a language model has fewer",
        file.len()
    );
    let mut modules: BTreeMap<String, MatrixPair> = BTreeMap::new();
    for (name, view) in file.tensors() {
        let (module, is_a) = split(&name).with_context(|| {
            format!(
                "{WEIGHTS} holds {name:?}, which is no weight of a LoRA on a linear module; \
                 foretaste reads only those"
            )
        })?;
        ensure!(
            targets.matches(module),
            "{WEIGHTS} has weights for {module}, which is no target module of {CONFIG}; the files \
             do not belong together"
        );
        let [rows, columns] = view.shape() else {
            bail!("{name} has the shape {:?}, and a matrix is needed", view.shape())
        };
        let matrix = AdapterMatrix {
            rows: *rows,
            columns: *columns,
            values: widen(view.dtype(), view.data()).context(name.clone())?,
        };
        let pair = modules.entry(module.to_owned()).or_default();
        *if is_a { &mut pair.a } else { &mut pair.b } = Some(matrix);
    }
    ensure!(!modules.is_empty(), "{WEIGHTS} holds no LoRA weights; save the adapter again");
    let modules = modules
        .into_iter()
        .map(|(module, pair)| pair.complete(&config, &ranks, module))
        .collect::<Result<Vec<_>>>()?;
    let largest = modules.iter().map(|module| module.rank).max().unwrap_or(0);
    let numbers = modules
        .iter()
        .map(|module| module.a.columns + module.b.rows)
        .sum::<usize>()
        .saturating_mul(largest);
    let held: usize =
        modules.iter().map(|module| module.a.values.len() + module.b.values.len()).sum();
    ensure!(
        numbers as u64 <= LARGEST_WEIGHTS / 4 && numbers / MOST_PADDING <= held,
        "with all modules at its largest rank, {largest}, the adapter has {numbers} numbers, and \
         {WEIGHTS} holds {held}; give its modules ranks that differ less"
    );
    let mut adapter = uniform(modules);
    if let Some(Names::List(names)) = config.target_modules {
        adapter.target_modules = names;
    }
    Ok(adapter)
}

/// Splits `base_model.model.MODULE.lora_A.weight`. The adapter's name may precede `weight`, as in
/// PEFT's in-memory state dict. The flag tells A from B.
fn split(name: &str) -> Option<(&str, bool)> {
    let inner = name.strip_prefix(PREFIX)?.strip_suffix(".weight")?;
    let inner = inner.strip_suffix(".default").unwrap_or(inner);
    inner
        .strip_suffix(".lora_A")
        .map(|module| (module, true))
        .or_else(|| inner.strip_suffix(".lora_B").map(|module| (module, false)))
}

/// Converts little-endian f32, f16 or bf16 numbers to f32.
///
/// # Errors
/// For any other type.
pub fn widen(dtype: Dtype, data: &[u8]) -> Result<Vec<f32>> {
    let pair = |bytes: &[u8]| [bytes[0], bytes[1]];
    Ok(match dtype {
        Dtype::F32 => {
            data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        }
        Dtype::BF16 => {
            data.chunks_exact(2).map(|bytes| bf16::from_le_bytes(pair(bytes)).to_f32()).collect()
        }
        Dtype::F16 => {
            data.chunks_exact(2).map(|bytes| f16::from_le_bytes(pair(bytes)).to_f32()).collect()
        }
        other => bail!("type {other:?} is not read; convert the weights to f32, f16 or bf16"),
    })
}

struct AdapterMatrix {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

/// One module's matrices: A `[r, in]`, B `[out, r]`.
#[derive(Default)]
struct MatrixPair {
    a: Option<AdapterMatrix>,
    b: Option<AdapterMatrix>,
}

/// A complete module with its rank and alpha.
struct Module {
    name: String,
    rank: usize,
    alpha: f64,
    /// Factor of the product BA.
    scale: f64,
    a: AdapterMatrix,
    b: AdapterMatrix,
}

impl MatrixPair {
    fn complete(self, config: &AdapterConfig, ranks: &Ranks, name: String) -> Result<Module> {
        let (Some(a), Some(b)) = (self.a, self.b) else {
            bail!("{WEIGHTS} has only one of lora_A and lora_B for {name}; save the adapter again")
        };
        let (rank, alpha) = ranks.of(&name)?;
        ensure!(a.columns > 0 && b.rows > 0, "{name}: an empty matrix; save the adapter again");
        ensure!(
            a.rows == rank && b.columns == rank,
            "{name}: {CONFIG} says rank {rank}, and {WEIGHTS} has lora_A of {} rows and lora_B of \
             {} columns; the files do not belong together",
            a.rows,
            b.columns
        );
        let scale = alpha / if config.use_rslora { (rank as f64).sqrt() } else { rank as f64 };
        Ok(Module { name, rank, alpha, scale, a, b })
    }
}

/// Gives all modules the same rank and alpha. Unchanged if they are equal already.
fn uniform(modules: Vec<Module>) -> Adapter {
    let rank = modules.iter().map(|module| module.rank).max().unwrap_or(0);
    let first = modules.first().map_or(0.0, |module| module.alpha);
    let is_plain = |module: &Module| {
        module.rank == rank && module.alpha == first && module.scale == first / rank as f64
    };
    let plain = modules.iter().all(is_plain);
    // With alpha = rank the scale is 1; the original scale is multiplied into B.
    let alpha = if plain { first } else { rank as f64 };
    let mut tensors = BTreeMap::new();
    let (mut target_modules, mut seen) = (Vec::new(), BTreeSet::new());
    for mut module in modules {
        if !plain {
            module
                .b
                .values
                .iter_mut()
                .for_each(|value| *value = (f64::from(*value) * module.scale) as f32);
            let missing = rank - module.rank;
            module.a.values.resize(rank * module.a.columns, 0.0);
            let padded = module
                .b
                .values
                .chunks(module.rank)
                .flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0.0, missing)));
            module.b.values = padded.collect();
        }
        let Module { name, a, b, .. } = module;
        let last = name.rsplit('.').next().unwrap_or(&name).to_owned();
        if seen.insert(last.clone()) {
            target_modules.push(last);
        }
        tensors.insert(format!("{PREFIX}{name}.lora_A.weight"), (vec![rank, a.columns], a.values));
        tensors.insert(format!("{PREFIX}{name}.lora_B.weight"), (vec![b.rows, rank], b.values));
    }
    Adapter { rank, alpha, target_modules, tensors, model: None }
}

#[cfg(test)]
mod tests;
