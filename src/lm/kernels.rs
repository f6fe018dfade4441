//! The element-wise work of a decoder, as fused functions of slices.
//!
//! burn's CPU backend runs element-wise operations one by one, as scalar loops. A decoder spends
//! more time there than in its matrix products. Each function here is one pass over memory,
//! compiled for the CPU's vector instructions. The order of every sum is fixed, so results have the
//! same bits from run to run and for every vector width. Products are added with one rounding
//! (`mul_add`). A CPU without that instruction gives the same bits, slowly.
//!
//! `kernels/reference.rs` compares each function with its composition from burn operations, and
//! each backward pass with central differences in f64. `tests/it/lm.rs` compares the whole model
//! with transformers and PEFT.

#![allow(
    unsafe_code,
    reason = "functions compiled for other vector instructions are called after asking the \
              processor"
)]

/// Compiles a function three times (AVX-512, AVX2 with FMA, the target's default) and chooses at
/// run time.
macro_rules! vectorised {
    (
        $(#[$doc:meta])*
        pub fn $name:ident($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block
    ) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments, reason = "slices in, slices out")]
        pub fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn body($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx2,fma")]
                #[allow(clippy::too_many_arguments, reason = "as above")]
                fn avx512($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments, reason = "as above")]
                fn avx2($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    if is_x86_feature_detected!("avx512f") {
                        // SAFETY: the CPU reports that it supports these instructions.
                        return unsafe { avx512($($arg),*) };
                    }
                    // SAFETY: as above.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}

mod attention;
#[cfg(test)]
mod reference;

pub use attention::{Attention, Heads, Segment, attention, attention_backward};

/// Lanes of a sum; the partial sums are added in a fixed tree at the end.
const LANES: usize = 16;

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_rest, b_rest) = (a_chunks.remainder(), b_chunks.remainder());
    for (x, y) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] = x[lane].mul_add(y[lane], sums[lane]);
        }
    }
    for (lane, (x, y)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[lane] = x.mul_add(*y, sums[lane]);
    }
    fold(sums)
}

#[inline(always)]
fn sum(a: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let chunks = a.chunks_exact(LANES);
    let rest = chunks.remainder();
    for x in chunks {
        for lane in 0..LANES {
            sums[lane] += x[lane];
        }
    }
    for (lane, x) in rest.iter().enumerate() {
        sums[lane] += x;
    }
    fold(sums)
}

#[inline(always)]
fn max(a: &[f32]) -> f32 {
    let mut tops = [f32::NEG_INFINITY; LANES];
    let chunks = a.chunks_exact(LANES);
    let rest = chunks.remainder();
    for x in chunks {
        for lane in 0..LANES {
            tops[lane] = if x[lane] > tops[lane] { x[lane] } else { tops[lane] };
        }
    }
    rest.iter().chain(&tops).fold(f32::NEG_INFINITY, |top, &x| if x > top { x } else { top })
}

#[inline(always)]
fn fold(mut sums: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

/// `y += a * x`.
#[inline(always)]
fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = a.mul_add(*x, *y);
    }
}

/// e^x with a relative error of about 2e-7, without branches: Cody-Waite reduction and a polynomial
/// (as in Cephes' expf).
#[inline(always)]
fn exp(x: f32) -> f32 {
    // 1.5 * 2^23: adding it rounds to an integer, which then is in the low bits.
    const SHIFT: f32 = 12_582_912.0;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, SHIFT);
    let n = shifted - SHIFT;
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4f32;
    p = p.mul_add(r, 1.398_199_9e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 1.666_666_5e-1);
    p = p.mul_add(r, 5e-1);
    let p = p.mul_add(r * r, r) + 1.0;
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000))
}

/// The sigmoid.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The hyperbolic tangent, to about 1e-7.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    2.0 * sigmoid(2.0 * x) - 1.0
}

vectorised! {
    /// `y += x`, of equal lengths.
    pub fn add_assign(y: &mut [f32], x: &[f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }
}

vectorised! {
    /// RMSNorm: `y = x / rms(x) * weight`, row by row. `x` and `y` are `[rows, width]`; `inverse`
    /// `[rows]` receives 1/rms.
    pub fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, y: &mut [f32], inverse: &mut [f32]) {
        let width = weight.len();
        for ((x, y), inverse) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(inverse) {
            let scale = 1.0 / (dot(x, x) / width as f32 + epsilon).sqrt();
            *inverse = scale;
            for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
                *y = x * scale * w;
            }
        }
    }
}

vectorised! {
    /// Backward of [`rms_norm`]: adds to `dx` `[rows, width]` and to `dweight` `[width]` (skipped
    /// if empty).
    pub fn rms_norm_backward(
        dy: &[f32],
        x: &[f32],
        weight: &[f32],
        inverse: &[f32],
        dx: &mut [f32],
        dweight: &mut [f32],
    ) {
        let width = weight.len();
        let mut weighted = vec![0f32; width];
        let inputs = dy.chunks_exact(width).zip(x.chunks_exact(width));
        for (((dy, x), dx), &scale) in inputs.zip(dx.chunks_exact_mut(width)).zip(inverse) {
            for ((g, dy), w) in weighted.iter_mut().zip(dy).zip(weight) {
                *g = dy * w;
            }
            let along = dot(&weighted, x) * scale * scale * scale / width as f32;
            for ((dx, g), x) in dx.iter_mut().zip(&weighted).zip(x) {
                *dx += g * scale - x * along;
            }
            for ((dw, dy), x) in dweight.iter_mut().zip(dy).zip(x) {
                *dw += dy * x * scale;
            }
        }
    }
}

vectorised! {
    /// Rotary embedding in Hugging Face's half-split form, in place. `x` is
    /// `[rows, heads * head_dim]`; `cos` and `sin` are `[positions, half]`. The first `2 * half`
    /// dimensions of a head are rotated. `direction` 1 rotates; -1 rotates back (the backward
    /// pass).
    pub fn rope(
        x: &mut [f32],
        positions: &[u32],
        cos: &[f32],
        sin: &[f32],
        head_dim: usize,
        half: usize,
        direction: f32,
    ) {
        let width = x.len() / positions.len().max(1);
        for (row, &position) in x.chunks_exact_mut(width).zip(positions) {
            let at = position as usize * half;
            let (cos, sin) = (&cos[at..at + half], &sin[at..at + half]);
            for head in row.chunks_exact_mut(head_dim) {
                let (low, high) = head[..2 * half].split_at_mut(half);
                for i in 0..half {
                    let (a, b, s) = (low[i], high[i], sin[i] * direction);
                    low[i] = a * cos[i] - b * s;
                    high[i] = b * cos[i] + a * s;
                }
            }
        }
    }
}

/// The activation of the gated MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `g * sigmoid(g)`
    Silu,
    /// GELU in its tanh approximation (Hendrycks & Gimpel 2016).
    GeluTanh,
}

/// The GELU is `g * sigmoid(2u)`, where `u = sqrt(2/pi) (g + 0.044715 g^3)`. Returns `2u` and its
/// derivative.
#[inline(always)]
fn gelu_argument(g: f32) -> (f32, f32) {
    const TWICE_ROOT: f32 = 1.595_769;
    const CUBE: f32 = 0.044_715;
    (TWICE_ROOT * (g + CUBE * g * g * g), TWICE_ROOT * (1.0 + 3.0 * CUBE * g * g))
}

vectorised! {
    /// `out = activation(gate) * up`.
    pub fn gated(activation: Activation, gate: &[f32], up: &[f32], out: &mut [f32]) {
        match activation {
            Activation::Silu => {
                for ((out, &g), &u) in out.iter_mut().zip(gate).zip(up) {
                    *out = g / (1.0 + exp(-g)) * u;
                }
            }
            Activation::GeluTanh => {
                for ((out, &g), &u) in out.iter_mut().zip(gate).zip(up) {
                    *out = g * sigmoid(gelu_argument(g).0) * u;
                }
            }
        }
    }
}

vectorised! {
    /// Backward of [`gated`]: the gradients replace `gate` and `up`.
    pub fn gated_backward(activation: Activation, dout: &[f32], gate: &mut [f32], up: &mut [f32]) {
        match activation {
            Activation::Silu => {
                for ((&d, gate), up) in dout.iter().zip(gate.iter_mut()).zip(up.iter_mut()) {
                    let (g, u) = (*gate, *up);
                    let s = sigmoid(g);
                    *gate = d * u * s * (1.0 + g * (1.0 - s));
                    *up = d * g * s;
                }
            }
            Activation::GeluTanh => {
                for ((&d, gate), up) in dout.iter().zip(gate.iter_mut()).zip(up.iter_mut()) {
                    let (g, u) = (*gate, *up);
                    let (argument, slope) = gelu_argument(g);
                    let s = sigmoid(argument);
                    *gate = d * u * s * (1.0 + g * (1.0 - s) * slope);
                    *up = d * g * s;
                }
            }
        }
    }
}

vectorised! {
    /// Soft-caps values to `cap * tanh(value / cap)`, in place.
    pub fn softcap(values: &mut [f32], cap: f32) {
        for value in values {
            *value = cap * tanh(*value / cap);
        }
    }
}

vectorised! {
    /// Backward of [`softcap`]: multiplies `gradient` by the derivative, computed from the capped
    /// values.
    pub fn softcap_backward(gradient: &mut [f32], capped: &[f32], cap: f32) {
        for (g, capped) in gradient.iter_mut().zip(capped) {
            let share = capped / cap;
            *g *= 1.0 - share * share;
        }
    }
}

vectorised! {
    /// Softmax cross-entropy, row by row. `logits` `[rows, vocabulary]` becomes the gradient
    /// `weight * (p - onehot)`. Returns the unweighted loss of every row, in nats.
    pub fn cross_entropy(logits: &mut [f32], targets: &[u32], weights: &[f32]) -> Vec<f32> {
        let width = logits.len() / targets.len().max(1);
        let mut losses = Vec::with_capacity(targets.len());
        for ((row, &target), &weight) in logits.chunks_exact_mut(width).zip(targets).zip(weights) {
            let top = max(row);
            let right = row[target as usize];
            for x in row.iter_mut() {
                *x = exp(*x - top);
            }
            let total = sum(row);
            losses.push(total.ln() + top - right);
            let scale = weight / total;
            for x in row.iter_mut() {
                *x *= scale;
            }
            row[target as usize] -= weight;
        }
        losses
    }
}

vectorised! {
    /// `ln(sum(exp(row)))` of every row of `[rows, vocabulary]`, in nats.
    pub fn log_sum_exp(logits: &[f32], width: usize) -> Vec<f32> {
        // Loops instead of iterator adapters: closures called by adapters are not compiled for the
        // vector instructions.
        let mut all = Vec::with_capacity(logits.len() / width);
        for row in logits.chunks_exact(width) {
            let top = max(row);
            let (chunks, rest) = row.as_chunks::<LANES>();
            let mut sums = [0f32; LANES];
            for chunk in chunks {
                for (sum, x) in sums.iter_mut().zip(chunk) {
                    *sum += exp(*x - top);
                }
            }
            for (sum, x) in sums.iter_mut().zip(rest) {
                *sum += exp(*x - top);
            }
            all.push(fold(sums).ln() + top);
        }
        all
    }
}

/// AdamW's constants for one step, bias corrections included.
#[derive(Debug, Clone, Copy)]
pub struct AdamStep {
    pub learning_rate: f32,
    pub beta1: f32,
    pub beta2: f32,
    pub epsilon: f32,
    pub weight_decay: f32,
    /// `1 - beta^t`.
    pub correction1: f32,
    pub correction2: f32,
    /// The gradient is multiplied by this first (clipping).
    pub gradient_scale: f32,
}

vectorised! {
    /// One AdamW update, in place, as in PyTorch (Loshchilov & Hutter 2019): decay first, then the
    /// step.
    pub fn adamw(
        parameter: &mut [f32],
        gradient: &[f32],
        first: &mut [f32],
        second: &mut [f32],
        step: AdamStep,
    ) {
        let decay = 1.0 - step.learning_rate * step.weight_decay;
        let size = step.learning_rate / step.correction1;
        let root = 1.0 / step.correction2.sqrt();
        for (((p, g), m), v) in parameter.iter_mut().zip(gradient).zip(first).zip(second) {
            let g = g * step.gradient_scale;
            *m = step.beta1 * *m + (1.0 - step.beta1) * g;
            *v = step.beta2 * *v + (1.0 - step.beta2) * g * g;
            *p = *p * decay - size * *m / ((*v).sqrt() * root + step.epsilon);
        }
    }
}

vectorised! {
    /// The sum of squares.
    pub fn square_norm(x: &[f32]) -> f32 {
        dot(x, x)
    }
}
