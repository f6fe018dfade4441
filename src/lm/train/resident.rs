//! LoRA weights and their moments in GPU memory, where they stay between steps. For K shadows of a
//! large base they are hundreds of megabytes; copying them to the host and back would take longer
//! than the step. On the CPU the optimiser works in place ([`super::Training`]).

use burn::tensor::{Device, Tensor};

use super::AdamStep;
use crate::lm::decoder::Gradients;
use crate::lm::lora::{HostLora, HostParameter, Lora, LoraPair};
use crate::lm::tensor::{from_host, host};

/// All `[K, P]`: the parameters of each shadow concatenated in the order of
/// [`HostLora::parameters`], zero-padded to a multiple of [`PART`].
pub struct Resident {
    values: Tensor<2>,
    first: Tensor<2>,
    second: Tensor<2>,
}

/// A gradient's squares are summed in parts of this size, in parallel: a GPU would sum one long row
/// sequentially.
const PART: usize = 1024;

impl Resident {
    /// Copies weights and moments from the host, where each parameter is `[K, in, r]` or
    /// `[K, r, out]`.
    pub fn upload(
        lora: &HostLora,
        first: &[Vec<f32>],
        second: &[Vec<f32>],
        device: &Device,
    ) -> Self {
        let together = |parameters: &[&[f32]]| {
            let each = |shadow: usize| {
                parameters
                    .iter()
                    .flat_map(move |values| share(values, shadow, lora.shadows))
                    .copied()
            };
            let size: usize = parameters.iter().map(|values| values.len() / lora.shadows).sum();
            let width = size.next_multiple_of(PART);
            let padded = |shadow: usize| each(shadow).chain(std::iter::repeat_n(0.0, width - size));
            from_host((0..lora.shadows).flat_map(padded).collect(), [lora.shadows, width], device)
        };
        let values: Vec<&[f32]> =
            lora.parameters.iter().map(|parameter| parameter.values.as_slice()).collect();
        let [first, second] =
            [first, second].map(|moments| moments.iter().map(Vec::as_slice).collect::<Vec<_>>());
        Resident { values: together(&values), first: together(&first), second: together(&second) }
    }

    /// The weights as LoRA pairs.
    pub fn lora(&self, host: &HostLora) -> Lora {
        let mut at = 0;
        let mut next = |parameter: &HostParameter| -> Tensor<3> {
            let [rows, columns] = parameter.shape;
            at += rows * columns;
            self.values.clone().narrow(1, at - rows * columns, rows * columns).reshape([
                host.shadows,
                rows,
                columns,
            ])
        };
        let pairs: Vec<LoraPair> = host
            .parameters
            .chunks_exact(2)
            .map(|pair| LoraPair { a: next(&pair[0]), b: next(&pair[1]) })
            .collect();
        let pairs = pairs.chunks(host.projections.len()).map(<[LoraPair]>::to_vec).collect();
        Lora { shadows: host.shadows, rank: host.rank, alpha: host.alpha, pairs }
    }

    /// AdamW, as [`crate::lm::kernels::adamw`], clipped per shadow. Returns the square of every
    /// shadow's gradient norm. `step` gives a shadow's AdamW step for its squared norm.
    pub fn update(&mut self, gradients: Gradients, step: impl Fn(f64) -> AdamStep) -> Vec<f64> {
        let ([shadows, width], device) = (self.values.dims(), self.values.device());
        let flat = |gradient: Tensor<3>| -> Tensor<2> {
            let [_, rows, columns] = gradient.dims();
            gradient.reshape([shadows, rows * columns])
        };
        let pairs = gradients.blocks.into_iter().flat_map(|block| block.lora);
        let mut parts: Vec<Tensor<2>> =
            pairs.flat_map(|pair| [flat(pair.a), flat(pair.b)]).collect();
        let size: usize = parts.iter().map(|part| part.dims()[1]).sum();
        if size < width {
            parts.push(Tensor::zeros([shadows, width - size], &device));
        }
        let gradient = Tensor::cat(parts, 1);
        let squares = gradient.clone().square().reshape([shadows * width / PART, PART]).sum_dim(1);
        let norms: Vec<f64> = host(squares)
            .chunks_exact(width / PART)
            .map(|of| of.iter().copied().map(f64::from).sum())
            .collect();
        let steps: Vec<AdamStep> = norms.iter().map(|&norm| step(norm)).collect();
        let scale: Tensor<2> = from_host(
            steps.iter().map(|step| step.gradient_scale).collect(),
            [shadows, 1],
            &device,
        );
        // Shadows differ only in the clipping factor.
        let of = steps[0];
        let gradient = gradient * scale;
        self.first =
            self.first.clone().mul_scalar(of.beta1) + gradient.clone().mul_scalar(1.0 - of.beta1);
        self.second =
            self.second.clone().mul_scalar(of.beta2) + gradient.square().mul_scalar(1.0 - of.beta2);
        let root = self
            .second
            .clone()
            .sqrt()
            .mul_scalar(1.0 / of.correction2.sqrt())
            .add_scalar(of.epsilon);
        let moved = (self.first.clone() / root).mul_scalar(of.learning_rate / of.correction1);
        self.values =
            self.values.clone().mul_scalar(1.0 - of.learning_rate * of.weight_decay) - moved;
        norms
    }

    /// Copies weights and moments to the host.
    pub fn download(&self, lora: &mut HostLora, first: &mut [Vec<f32>], second: &mut [Vec<f32>]) {
        let shadows = lora.shadows;
        let apart = |tensor: &Tensor<2>, parameters: &mut dyn Iterator<Item = &mut Vec<f32>>| {
            let values = host(tensor.clone());
            let (width, mut at) = (values.len() / shadows, 0);
            for parameter in parameters {
                let size = parameter.len() / shadows;
                for (shadow, share) in parameter.chunks_exact_mut(size).enumerate() {
                    share.copy_from_slice(&values[shadow * width + at..][..size]);
                }
                at += size;
            }
        };
        apart(&self.values, &mut lora.parameters.iter_mut().map(|parameter| &mut parameter.values));
        apart(&self.first, &mut first.iter_mut());
        apart(&self.second, &mut second.iter_mut());
    }
}

/// One shadow's part of a parameter.
fn share(values: &[f32], shadow: usize, shadows: usize) -> &[f32] {
    let size = values.len() / shadows;
    &values[shadow * size..][..size]
}
