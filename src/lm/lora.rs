//! Low-rank adapters for K shadows at once (Hu et al. 2021, arXiv 2106.09685), in activation space:
//! `y = x W^T + scale * (x A) B`.
//!
//! The weights have a leading shadow axis: A is `[K, in, r]` and B `[K, r, out]`. K shadows share
//! one pass over the frozen base. Their gradients stay separate because their parameters are
//! separate.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use burn::tensor::{Device, Tensor};
use rand::Rng;

use super::config::Config;
use super::tensor::{from_host, host};
use crate::engine::Adapter;
use crate::seed::{self, Purpose};

/// The projections of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Projection {
    Q,
    K,
    V,
    /// Queries, keys and values in one matrix.
    Qkv,
    O,
    Gate,
    Up,
    /// Gate and up in one matrix.
    GateUp,
    Down,
}

impl Projection {
    /// The projections of a base, in the order in which a block uses them.
    pub fn of(config: &Config) -> &'static [Projection] {
        use Projection::{Down, Gate, GateUp, K, O, Q, Qkv, Up, V};
        if config.fused { &[Qkv, O, GateUp, Down] } else { &[Q, K, V, O, Gate, Up, Down] }
    }

    /// The module's path inside a layer, as in the checkpoint.
    pub fn path(self) -> &'static str {
        match self {
            Projection::Q => "self_attn.q_proj",
            Projection::K => "self_attn.k_proj",
            Projection::V => "self_attn.v_proj",
            Projection::Qkv => "self_attn.qkv_proj",
            Projection::O => "self_attn.o_proj",
            Projection::Gate => "mlp.gate_proj",
            Projection::Up => "mlp.up_proj",
            Projection::GateUp => "mlp.gate_up_proj",
            Projection::Down => "mlp.down_proj",
        }
    }

    /// (in, out) widths.
    pub fn widths(self, config: &Config) -> (usize, usize) {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        match self {
            Projection::Q => (hidden, config.query_width()),
            Projection::K | Projection::V => (hidden, config.key_value_width()),
            Projection::Qkv => (hidden, config.query_width() + 2 * config.key_value_width()),
            Projection::O => (config.query_width(), hidden),
            Projection::Gate | Projection::Up => (hidden, inner),
            Projection::GateUp => (hidden, 2 * inner),
            Projection::Down => (inner, hidden),
        }
    }

    /// Whether the configuration gives it a bias.
    pub fn has_bias(self, config: &Config) -> bool {
        match self {
            Projection::Q | Projection::K | Projection::V | Projection::Qkv => config.biases.qkv,
            Projection::O => config.biases.o,
            Projection::Gate | Projection::Up | Projection::GateUp | Projection::Down => {
                config.biases.mlp
            }
        }
    }
}

/// A and B of one projection, for K shadows.
#[derive(Debug, Clone)]
pub struct LoraPair {
    /// `[K, in, r]`
    pub a: Tensor<3>,
    /// `[K, r, out]`
    pub b: Tensor<3>,
}

/// All LoRA weights of K shadows: `pairs[layer][projection]`, projections in the order of
/// [`Projection::of`].
#[derive(Debug, Clone)]
pub struct Lora {
    pub shadows: usize,
    pub rank: usize,
    pub alpha: f64,
    pub pairs: Vec<Vec<LoraPair>>,
}

impl Lora {
    /// `alpha / r`.
    pub fn scale(&self) -> f32 {
        (self.alpha / self.rank as f64) as f32
    }
}

/// One LoRA parameter on the host: the shape of one shadow's matrix, and the values of all K,
/// shadow by shadow.
#[derive(Debug, Clone, PartialEq)]
pub struct HostParameter {
    pub shape: [usize; 2],
    pub values: Vec<f32>,
}

/// All LoRA parameters on the host, in the optimiser's order: layer by layer, projection by
/// projection, A before B.
#[derive(Debug, Clone, PartialEq)]
pub struct HostLora {
    pub shadows: usize,
    pub rank: usize,
    pub alpha: f64,
    pub layers: usize,
    /// Those of every layer.
    pub projections: &'static [Projection],
    pub parameters: Vec<HostParameter>,
}

impl HostLora {
    /// Initial weights, as in PEFT: A uniform in +-1/sqrt(in) (Kaiming with a = sqrt 5), B zero.
    /// Shadow k depends on `seeds[k]` alone.
    pub fn fresh(config: &Config, rank: usize, alpha: f64, seeds: &[u64]) -> Self {
        let stream = |&seed: &u64| seed::stream(Purpose::LoraWeights, seed);
        let mut streams: Vec<_> = seeds.iter().map(stream).collect();
        let mut host = HostLora::zeros(config, rank, alpha, seeds.len());
        for a in host.parameters.iter_mut().step_by(2) {
            let bound = 1.0 / (a.shape[0] as f32).sqrt();
            let share = a.shape[0] * a.shape[1];
            for (values, stream) in a.values.chunks_exact_mut(share).zip(&mut streams) {
                values.fill_with(|| (stream.random::<f32>() * 2.0 - 1.0) * bound);
            }
        }
        host
    }

    fn zeros(config: &Config, rank: usize, alpha: f64, shadows: usize) -> Self {
        let projections = Projection::of(config);
        let shapes = config.layers.iter().flat_map(|_| projections).flat_map(|projection| {
            let (wide, out) = projection.widths(config);
            [[wide, rank], [rank, out]]
        });
        let parameters = shapes
            .map(|shape| HostParameter { shape, values: vec![0.0; shadows * shape[0] * shape[1]] })
            .collect();
        HostLora { shadows, rank, alpha, layers: config.layers.len(), projections, parameters }
    }

    /// The weights as tensors on a device.
    pub fn upload(&self, device: &Device) -> Lora {
        let tensors: Vec<Tensor<3>> = self
            .parameters
            .iter()
            .map(|p| from_host(p.values.clone(), [self.shadows, p.shape[0], p.shape[1]], device))
            .collect();
        let mut tensors = tensors.into_iter();
        let mut next = || tensors.next().expect("two parameters a projection");
        let pairs = (0..self.layers)
            .map(|_| self.projections.iter().map(|_| LoraPair { a: next(), b: next() }).collect())
            .collect();
        Lora { shadows: self.shadows, rank: self.rank, alpha: self.alpha, pairs }
    }

    /// The name that PEFT gives a parameter.
    fn tensor_name(&self, at: usize) -> String {
        let (module, letter) = (at / 2, if at.is_multiple_of(2) { "A" } else { "B" });
        let (layer, projection) =
            (module / self.projections.len(), self.projections[module % self.projections.len()]);
        format!("base_model.model.model.layers.{layer}.{}.lora_{letter}.weight", projection.path())
    }

    /// One shadow's weights in PEFT's form (`lora_A.weight` `[r, in]`, `lora_B.weight` `[out, r]`).
    pub fn adapter(&self, shadow: usize) -> Adapter {
        let mut tensors = BTreeMap::new();
        for (at, parameter) in self.parameters.iter().enumerate() {
            let [rows, columns] = parameter.shape;
            let share = &parameter.values[shadow * rows * columns..][..rows * columns];
            tensors.insert(
                self.tensor_name(at),
                (vec![columns, rows], transpose(share, rows, columns)),
            );
        }
        let modules = self
            .projections
            .iter()
            .map(|p| p.path().rsplit('.').next().expect("a path has a last part").to_owned());
        Adapter {
            rank: self.rank,
            alpha: self.alpha,
            target_modules: modules.collect(),
            tensors,
            model: None,
        }
    }

    /// PEFT adapters of equal rank as K shadows. Projections that an adapter lacks get zeros.
    ///
    /// # Errors
    /// Where a shape does not fit the base, a tensor belongs to no module of the base, or nothing
    /// fits.
    pub fn from_adapters(config: &Config, adapters: &[&Adapter]) -> Result<Self> {
        let first = adapters.first().context("no adapter given")?;
        // The tensors that are already in memory bound the rank, before anything of that size is
        // allocated.
        let largest =
            first.tensors.values().flat_map(|(shape, _)| shape).max().copied().unwrap_or(0);
        ensure!(!first.tensors.is_empty(), "the adapter has no tensors; save it again");
        ensure!(
            (1..=largest).contains(&first.rank),
            "the adapter's configuration has rank {}, and none of its tensors has; its \
             configuration and its weights do not belong together",
            first.rank
        );
        let mut host = HostLora::zeros(config, first.rank, first.alpha, adapters.len());
        for (shadow, adapter) in adapters.iter().enumerate() {
            ensure!(
                adapter.rank == first.rank && adapter.alpha == first.alpha,
                "adapters of different ranks or alphas cannot run in one batch"
            );
            let mut placed = 0;
            let names: Vec<String> =
                (0..host.parameters.len()).map(|at| host.tensor_name(at)).collect();
            for (name, parameter) in names.into_iter().zip(&mut host.parameters) {
                let Some((shape, values)) = adapter.tensors.get(&name) else { continue };
                let [rows, columns] = parameter.shape;
                ensure!(
                    shape == &[columns, rows] && values.len() == rows * columns,
                    "adapter tensor {name} has shape {shape:?}, and this base needs [{columns}, \
                     {rows}]"
                );
                parameter.values[shadow * rows * columns..][..rows * columns]
                    .copy_from_slice(&transpose(values, columns, rows));
                placed += 1;
            }
            ensure!(placed > 0, "no tensor of the adapter fits a module of this base");
            ensure!(
                placed == adapter.tensors.len(),
                "{} tensors of the adapter fit no module of this base",
                adapter.tensors.len() - placed
            );
        }
        Ok(host)
    }
}

fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for column in 0..columns {
        out.extend((0..rows).map(|row| values[row * columns + column]));
    }
    out
}

/// The gradients of one projection's LoRA weights.
#[derive(Debug, Clone)]
pub struct LoraGradient {
    /// `[K, in, r]`
    pub a: Tensor<3>,
    /// `[K, r, out]`
    pub b: Tensor<3>,
}

impl LoraGradient {
    /// A's and B's gradients on the host.
    pub fn into_host(self) -> [Vec<f32>; 2] {
        [host(self.a), host(self.b)]
    }
}
