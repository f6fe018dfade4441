//! Adapters as PEFT and vLLM read them: adapter_config.json and adapter_model.safetensors.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::Adapter;

/// The keys that PEFT needs; the others keep its defaults.
#[derive(Serialize, Deserialize)]
struct Config {
    peft_type: String,
    task_type: String,
    base_model_name_or_path: String,
    r: usize,
    lora_alpha: f64,
    lora_dropout: f64,
    target_modules: Vec<String>,
    bias: String,
    fan_in_fan_out: bool,
    use_rslora: bool,
    inference_mode: bool,
}

/// adapter_config.json.
pub fn config(adapter: &Adapter, base: &str) -> Result<Vec<u8>> {
    let config = Config {
        peft_type: "LORA".to_owned(),
        task_type: "CAUSAL_LM".to_owned(),
        base_model_name_or_path: base.to_owned(),
        r: adapter.rank,
        lora_alpha: adapter.alpha,
        lora_dropout: 0.0,
        target_modules: adapter.target_modules.clone(),
        bias: "none".to_owned(),
        fan_in_fan_out: false,
        use_rslora: false,
        inference_mode: true,
    };
    Ok(serde_json::to_vec_pretty(&config)?)
}

/// adapter_model.safetensors: float32, little endian, names as they are.
pub fn weights(adapter: &Adapter) -> Result<Vec<u8>> {
    let bytes: BTreeMap<&str, (&[usize], Vec<u8>)> = adapter
        .tensors
        .iter()
        .map(|(name, (shape, values))| {
            (name.as_str(), (&shape[..], values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        })
        .collect();
    let mut views = BTreeMap::new();
    for (name, (shape, bytes)) in &bytes {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes);
        views.insert(*name, view.with_context(|| format!("{name}: the shape {shape:?} does not fit its values"))?);
    }
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
    Ok(safetensors::serialize(views, metadata)?)
}

/// The adapter of both files.
pub fn read(config: &[u8], weights: &[u8]) -> Result<Adapter> {
    let config: Config = serde_json::from_slice(config).context("adapter_config.json cannot be read")?;
    let file = SafeTensors::deserialize(weights).context("adapter_model.safetensors cannot be read")?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        ensure!(view.dtype() == Dtype::F32, "{name} is {:?}, but foretaste writes F32: this is not its adapter", view.dtype());
        let (values, _) = view.data().as_chunks::<4>();
        tensors.insert(name, (view.shape().to_vec(), values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()));
    }
    Ok(Adapter { rank: config.r, alpha: config.lora_alpha, target_modules: config.target_modules, tensors })
}

/// SHA-256 of the adapter's safetensors file, in hex.
pub fn adapter_sha256(adapter: &Adapter) -> Result<String> {
    Ok(format!("{:x}", Sha256::digest(weights(adapter)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_reads_back_bit_for_bit() {
        let tensor = |values: &[f32]| (vec![1, values.len()], values.to_vec());
        let adapter = Adapter {
            rank: 1,
            alpha: 2.0,
            target_modules: vec!["q_proj".to_owned()],
            tensors: BTreeMap::from([
                ("base_model.model.b.lora_A.weight".to_owned(), tensor(&[1.0 / 3.0, -0.0, f32::MIN_POSITIVE])),
                ("base_model.model.a.lora_B.weight".to_owned(), tensor(&[1e30])),
            ]),
        };
        let back =
            read(&config(&adapter, "nestling").expect("plain"), &weights(&adapter).expect("shapes fit")).expect("reads back");
        assert_eq!(back, adapter);
        assert_eq!(adapter_sha256(&back).expect("hashes"), adapter_sha256(&adapter).expect("hashes"));
    }
}
