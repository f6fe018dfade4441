//! Compares every kernel with its composition from burn operations (forward) and with central
//! differences in f64 (backward). Shapes are random and not multiples of a vector. Compiled for
//! tests only; attention has its own file.

mod attention;

use burn::tensor::{Device, Tensor, activation};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::lm::tensor::{from_host, host};
use crate::seed::{self, Purpose};

/// Random cases per test.
const CASES: u64 = 24;

/// Step of a central difference. Its error is of the order of the square, far below f32 precision.
const STEP: f64 = 1e-5;

fn random(case: u64) -> ChaCha8Rng {
    seed::stream(Purpose::Test("kernels-reference"), case)
}

/// Uniform in +-2.
fn values(random: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| random.random::<f32>() * 4.0 - 2.0).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// Asserts equality up to the error of f32 sums, relative to the largest value.
fn assert_close(what: &str, got: &[f32], wanted: &[f64]) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    let largest = wanted.iter().fold(1.0, |top: f64, w| top.max(w.abs()));
    for (at, (&got, &wanted)) in got.iter().zip(wanted).enumerate() {
        assert!(
            (f64::from(got) - wanted).abs() < 5e-6 * largest,
            "{what}[{at}] is {got}, not {wanted}"
        );
    }
}

fn assert_like_burn<const D: usize>(what: &str, got: &[f32], wanted: Tensor<D>) {
    assert_close(what, got, &wide(&host(wanted)));
}

/// `d f / d x` by central differences.
fn differences(x: &[f32], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut x = wide(x);
    (0..x.len())
        .map(|at| {
            let middle = x[at];
            x[at] = middle + STEP;
            let above = f(&x);
            x[at] = middle - STEP;
            let below = f(&x);
            x[at] = middle;
            (above - below) / (2.0 * STEP)
        })
        .collect()
}

/// `sum(a * b)`: what a backward pass with upstream gradient `b` differentiates.
fn along(a: &[f64], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, &b)| a * f64::from(b)).sum()
}

fn plus(a: &[f64], b: &[f32]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, &b)| a + f64::from(b)).collect()
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn rms_norm_f64(x: &[f64], weight: &[f64], epsilon: f64) -> Vec<f64> {
    let width = weight.len();
    x.chunks_exact(width)
        .flat_map(|row| {
            let root = (row.iter().map(|v| v * v).sum::<f64>() / width as f64 + epsilon).sqrt();
            row.iter().zip(weight).map(move |(v, w)| v / root * w).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn sums_and_maxima_hold_at_every_length() {
    for length in 0..100 {
        let mut random = random(length as u64);
        let (a, b) = (values(&mut random, length), values(&mut random, length));
        let products: f64 = wide(&a).iter().zip(wide(&b)).map(|(a, b)| a * b).sum();
        assert_close("dot", &[dot(&a, &b)], &[products]);
        assert_close("sum", &[sum(&a)], &[wide(&a).iter().sum()]);
        assert_close("square_norm", &[square_norm(&a)], &[wide(&a).iter().map(|a| a * a).sum()]);
        assert_eq!(max(&a), a.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let mut y = b.clone();
        add_assign(&mut y, &a);
        assert!(y.iter().zip(a.iter().zip(&b)).all(|(y, (a, b))| *y == b + a));
    }
}

#[test]
fn exp_is_right_to_three_parts_in_ten_million() {
    for at in 0..200_000 {
        let x = -87.0 + 175.0 * (at as f32 / 200_000.0);
        let off = (f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs();
        assert!(off < 3e-7, "exp({x}) is off by {off}");
    }
    assert_eq!(exp(0.0), 1.0);
}

#[test]
fn exp_saturates_and_keeps_nan() {
    for low in [-88.0, -1e30, f32::NEG_INFINITY] {
        assert!((0.0..1e-37).contains(&exp(low)));
    }
    for high in [89.0, 1e30, f32::INFINITY] {
        assert!(exp(high).is_finite() && exp(high) > 1e38);
    }
    assert!(exp(f32::NAN).is_nan());
}

#[test]
fn rms_norm_is_its_composition_and_its_backward_pass_its_derivative() {
    let device = Device::flex();
    for case in 0..CASES {
        let mut random = random(case);
        let (rows, width) = (random.random_range(1..6), random.random_range(1..40));
        let (x, weight) = (values(&mut random, rows * width), values(&mut random, width));
        let epsilon = if case % 2 == 0 { 1e-5 } else { 0.3 };
        let (mut y, mut inverse) = (vec![0.0; x.len()], vec![0.0; rows]);
        rms_norm(&x, &weight, epsilon, &mut y, &mut inverse);

        let tensor: Tensor<2> = from_host(x.clone(), [rows, width], &device);
        let root = tensor.clone().square().mean_dim(1).add_scalar(epsilon).sqrt();
        let weights: Tensor<2> = from_host(weight.clone(), [1, width], &device);
        assert_like_burn("rms_norm", &y, tensor / root.clone() * weights);
        assert_like_burn("inverse", &inverse, root.recip());

        let (dy, dx_before, dw_before) = (
            values(&mut random, x.len()),
            values(&mut random, x.len()),
            values(&mut random, width),
        );
        let (mut dx, mut dweight) = (dx_before.clone(), dw_before.clone());
        rms_norm_backward(&dy, &x, &weight, &inverse, &mut dx, &mut dweight);
        let (epsilon, w64, x64) = (f64::from(epsilon), wide(&weight), wide(&x));
        let wanted = differences(&x, |x| along(&rms_norm_f64(x, &w64, epsilon), &dy));
        assert_close("dx", &dx, &plus(&wanted, &dx_before));
        let wanted = differences(&weight, |w| along(&rms_norm_f64(&x64, w, epsilon), &dy));
        assert_close("dweight", &dweight, &plus(&wanted, &dw_before));

        let mut frozen = dx_before;
        rms_norm_backward(&dy, &x, &weight, &inverse, &mut frozen, &mut []);
        assert_eq!(frozen, dx, "dx does not depend on whether the weight is trained");
    }
}

#[test]
fn rope_is_its_composition_and_rotates_back() {
    let device = Device::flex();
    for case in 0..CASES {
        let mut random = random(case);
        let (rows, heads, half) =
            (random.random_range(1..7), random.random_range(1..4), random.random_range(1..10));
        // Some dimensions of a head may stay unrotated.
        let dim = 2 * half + random.random_range(0..4);
        let (width, longest) = (heads * dim, 12);
        let x = values(&mut random, rows * width);
        let angles = values(&mut random, longest * half);
        let (sin, cos): (Vec<f32>, Vec<f32>) = angles.iter().map(|a| a.sin_cos()).unzip();
        let positions: Vec<u32> =
            (0..rows).map(|_| random.random_range(0..longest as u32)).collect();
        let mut rotated = x.clone();
        rope(&mut rotated, &positions, &cos, &sin, dim, half, 1.0);

        // transformers' `q * cos + rotate_half(q) * sin`, with the halves of the table repeated.
        let table = |values: &[f32]| -> Tensor<3> {
            let picked = positions
                .iter()
                .flat_map(|&p| values[p as usize * half..][..half].repeat(2))
                .collect();
            from_host(picked, [rows, 1, 2 * half], &device)
        };
        let whole: Tensor<3> = from_host(x.clone(), [rows, heads, dim], &device);
        let tensor = whole.clone().narrow(2, 0, 2 * half);
        let (low, high) = (tensor.clone().narrow(2, 0, half), tensor.clone().narrow(2, half, half));
        let rotate_half = Tensor::cat(vec![high.neg(), low], 2);
        let mut wanted = tensor * table(&cos) + rotate_half * table(&sin);
        if dim > 2 * half {
            wanted = Tensor::cat(vec![wanted, whole.narrow(2, 2 * half, dim - 2 * half)], 2);
        }
        assert_like_burn("rope", &rotated, wanted);

        // The map is orthogonal: rotating back is its inverse and its transpose, which is the
        // backward pass.
        let upstream = values(&mut random, x.len());
        let mut back = upstream.clone();
        rope(&mut back, &positions, &cos, &sin, dim, half, -1.0);
        let (left, right) = (along(&wide(&rotated), &upstream), along(&wide(&x), &back));
        assert!((left - right).abs() < 1e-4, "{left} is not {right}");
        rope(&mut rotated, &positions, &cos, &sin, dim, half, -1.0);
        assert_close("x", &rotated, &wide(&x));
    }
}

fn gelu_tanh(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
}

#[test]
fn a_gated_network_is_its_composition_and_its_backward_pass_its_derivative() {
    let device = Device::flex();
    for case in 0..CASES {
        let mut random = random(case);
        let count = random.random_range(1..70);
        let (mut gate, up) = (values(&mut random, count), values(&mut random, count));
        gate.iter_mut().for_each(|g| *g *= 4.0);
        let tensor = |values: &[f32]| -> Tensor<1> { from_host(values.to_vec(), [count], &device) };
        let dout = values(&mut random, count);
        let wanted = [
            (Activation::Silu, activation::silu(tensor(&gate)), silu as fn(f64) -> f64),
            (Activation::GeluTanh, activation::gelu_approximate(tensor(&gate)), gelu_tanh),
        ];
        for (kind, activated, exact) in wanted {
            let mut out = vec![0.0; count];
            gated(kind, &gate, &up, &mut out);
            assert_like_burn("gated", &out, activated * tensor(&up));

            let (mut dgate, mut dup) = (gate.clone(), up.clone());
            gated_backward(kind, &dout, &mut dgate, &mut dup);
            let product = |gate: &[f64], up: &[f64]| -> Vec<f64> {
                gate.iter().zip(up).map(|(&g, u)| exact(g) * u).collect()
            };
            let (g64, u64) = (wide(&gate), wide(&up));
            assert_close(
                "dgate",
                &dgate,
                &differences(&gate, |gate| along(&product(gate, &u64), &dout)),
            );
            assert_close("dup", &dup, &differences(&up, |up| along(&product(&g64, up), &dout)));
        }
    }
    for kind in [Activation::Silu, Activation::GeluTanh] {
        let mut out = [0.0; 3];
        gated(kind, &[-1e4, 1e4, f32::NAN], &[1.0; 3], &mut out);
        assert!(out[0].abs() < 1e-30 && out[1] == 1e4 && out[2].is_nan(), "{out:?}");
    }
}

#[test]
fn a_soft_cap_is_its_composition_and_its_backward_pass_its_derivative() {
    let device = Device::flex();
    for case in 0..CASES {
        let mut random = random(case);
        let (count, cap) = (random.random_range(1..70), random.random_range(0.5..30.0));
        let x: Vec<f32> = values(&mut random, count).iter().map(|x| x * 20.0).collect();
        let mut capped = x.clone();
        softcap(&mut capped, cap);
        let tensor: Tensor<1> = from_host(x.clone(), [count], &device);
        assert_like_burn("softcap", &capped, tensor.div_scalar(cap).tanh().mul_scalar(cap));
        let dout = values(&mut random, count);
        let mut dx = dout.clone();
        softcap_backward(&mut dx, &capped, cap);
        let exact = |x: &[f64]| -> Vec<f64> {
            x.iter().map(|x| f64::from(cap) * (x / f64::from(cap)).tanh()).collect()
        };
        assert_close("dx", &dx, &differences(&x, |x| along(&exact(x), &dout)));
    }
}

/// `ln(sum(exp(x)))` of one row.
fn log_sum_exp_f64(row: &[f64]) -> f64 {
    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    row.iter().map(|x| (x - top).exp()).sum::<f64>().ln() + top
}

#[test]
fn cross_entropy_is_log_softmax_and_its_gradient_its_derivative() {
    let device = Device::flex();
    for case in 0..CASES {
        let mut random = random(case);
        let (rows, width) = (random.random_range(1..6), random.random_range(2..80));
        // Far from zero, where only a shifted exponential does not overflow.
        let shift = if case % 3 == 0 { 500.0 } else { 0.0 };
        let logits: Vec<f32> =
            values(&mut random, rows * width).iter().map(|x| x * 3.0 + shift).collect();
        let targets: Vec<u32> = (0..rows).map(|_| random.random_range(0..width as u32)).collect();
        let weights = values(&mut random, rows);

        let tensor: Tensor<2> = from_host(logits.clone(), [rows, width], &device);
        let log_softmax = host(activation::log_softmax(tensor, 1));
        let wanted: Vec<f64> = targets
            .iter()
            .enumerate()
            .map(|(row, &t)| -f64::from(log_softmax[row * width + t as usize]))
            .collect();
        let mut gradient = logits.clone();
        let losses = cross_entropy(&mut gradient, &targets, &weights);
        let tolerant =
            |losses: &[f32]| losses.iter().map(|l| l / (1.0 + shift / 20.0)).collect::<Vec<_>>();
        let scaled: Vec<f64> = wanted.iter().map(|l| l / (1.0 + f64::from(shift) / 20.0)).collect();
        assert_close("loss", &tolerant(&losses), &scaled);

        let loss = |logits: &[f64]| -> f64 {
            let rows = logits.chunks_exact(width).zip(&targets).zip(&weights);
            rows.map(|((row, &t), &w)| (log_sum_exp_f64(row) - row[t as usize]) * f64::from(w))
                .sum()
        };
        assert_close("dlogits", &gradient, &differences(&logits, loss));
        let totals: Vec<f64> = wide(&logits).chunks_exact(width).map(log_sum_exp_f64).collect();
        assert_close("log_sum_exp", &log_sum_exp(&logits, width), &totals);
    }
    let mut broken = [0.0, f32::NAN, 1.0];
    assert!(cross_entropy(&mut broken, &[0], &[1.0])[0].is_nan(), "a NaN logit is a NaN loss");
    assert!(
        log_sum_exp(&[f32::INFINITY, 0.0], 2)[0].is_nan(),
        "an infinite logit has no probability"
    );
}

#[test]
fn adamw_is_its_composition() {
    let device = Device::flex();
    for case in 0..CASES {
        let mut random = random(case);
        let count = random.random_range(1..70);
        let mut parameter = values(&mut random, count);
        let tensor = |values: &[f32]| -> Tensor<1> { from_host(values.to_vec(), [count], &device) };
        let (mut first, mut second) = (vec![0.0; count], vec![0.0; count]);
        let (mut p, mut m, mut v) = (tensor(&parameter), tensor(&first), tensor(&second));
        for t in 1..=5 {
            let gradient = values(&mut random, count);
            let (beta1, beta2, rate, decay) = (0.9f32, 0.999f32, 0.05f32, 0.1f32);
            let (correction1, correction2) = (1.0 - beta1.powi(t), 1.0 - beta2.powi(t));
            let step = AdamStep {
                learning_rate: rate,
                beta1,
                beta2,
                epsilon: 1e-8,
                weight_decay: decay,
                correction1,
                correction2,
                gradient_scale: 0.5,
            };
            adamw(&mut parameter, &gradient, &mut first, &mut second, step);

            let g = tensor(&gradient).mul_scalar(0.5);
            m = m.mul_scalar(beta1) + g.clone().mul_scalar(1.0 - beta1);
            v = v.mul_scalar(beta2) + g.square().mul_scalar(1.0 - beta2);
            let (fair_m, fair_v) =
                (m.clone().div_scalar(correction1), v.clone().div_scalar(correction2));
            p = p.mul_scalar(1.0 - rate * decay)
                - fair_m.mul_scalar(rate) / fair_v.sqrt().add_scalar(1e-8);
            assert_like_burn("parameter", &parameter, p.clone());
            assert_like_burn("first moment", &first, m.clone());
            assert_like_burn("second moment", &second, v.clone());
        }
    }
}
