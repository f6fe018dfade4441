//! Compares attention over segments with dense attention under a mask.

use super::*;
use crate::lm::packing::prefix_tree;

/// `visible[row][key]`, according to segments and window.
fn visible(rows: usize, segments: &[Segment], window: Option<usize>) -> Vec<Vec<bool>> {
    let mut visible = vec![vec![false; rows]; rows];
    for segment in segments {
        for row in segment.rows.clone() {
            let keys: Vec<usize> = segment
                .prefix
                .iter()
                .cloned()
                .flatten()
                .chain(segment.rows.start..row + 1)
                .collect();
            for key in keys.iter().rev().take(window.unwrap_or(usize::MAX)) {
                visible[row][*key] = true;
            }
        }
    }
    visible
}

/// A random attention: half have a cap, 60 % a window.
fn any_attention(random: &mut ChaCha8Rng) -> Attention {
    let key_value = random.random_range(1..4);
    let heads = Heads {
        query: key_value * random.random_range(1..4),
        key_value,
        dim: random.random_range(1..12),
    };
    Attention {
        heads,
        scale: random.random_range(0.1..1.0),
        softcap: random.random_bool(0.5).then(|| random.random_range(0.5..4.0)),
        window: random.random_bool(0.6).then(|| random.random_range(1..5)),
    }
}

/// Dense masked attention from burn operations: `[rows, query * dim]`.
fn dense(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    attention: &Attention,
    visible: &[Vec<bool>],
) -> Tensor<2> {
    let heads = attention.heads;
    let device = Device::flex();
    let rows = visible.len();
    let group = heads.query / heads.key_value;
    let split = |x: &[f32], count: usize| -> Tensor<3> {
        let x: Tensor<3> = from_host(x.to_vec(), [rows, count, heads.dim], &device);
        x.swap_dims(0, 1)
    };
    // Each key/value head is repeated `group` times, as in transformers' `repeat_kv`.
    let repeated = |x: &[f32]| -> Tensor<3> {
        let x: Tensor<4> = split(x, heads.key_value).reshape([heads.key_value, 1, rows, heads.dim]);
        x.repeat_dim(1, group).reshape([heads.query, rows, heads.dim])
    };
    let mask = visible.iter().flatten().map(|&sees| if sees { 0.0 } else { -1e9 }).collect();
    let mask: Tensor<3> = from_host(mask, [1, rows, rows], &device);
    let mut scores =
        split(q, heads.query).matmul(repeated(k).swap_dims(1, 2)).mul_scalar(attention.scale);
    if let Some(cap) = attention.softcap {
        scores = scores.div_scalar(cap).tanh().mul_scalar(cap);
    }
    activation::softmax(scores + mask, 2)
        .matmul(repeated(v))
        .swap_dims(0, 1)
        .reshape([rows, heads.query * heads.dim])
}

/// The same in f64, for central differences.
fn dense_f64(
    q: &[f64],
    k: &[f64],
    v: &[f64],
    attention: &Attention,
    visible: &[Vec<bool>],
) -> Vec<f64> {
    let heads = attention.heads;
    let (width, narrow, dim) = (heads.query * heads.dim, heads.key_value * heads.dim, heads.dim);
    let mut out = vec![0.0; q.len()];
    for (row, sees) in visible.iter().enumerate() {
        for head in 0..heads.query {
            let (at, shared) =
                (row * width + head * dim, head / (heads.query / heads.key_value) * dim);
            let keys: Vec<usize> = (0..visible.len()).filter(|&key| sees[key]).collect();
            let weights: Vec<f64> = keys
                .iter()
                .map(|key| {
                    (0..dim).map(|d| q[at + d] * k[key * narrow + shared + d]).sum::<f64>()
                        * f64::from(attention.scale)
                })
                .map(|score| {
                    attention
                        .softcap
                        .map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
                        .exp()
                })
                .collect();
            let total: f64 = weights.iter().sum();
            for (key, weight) in keys.iter().zip(weights) {
                for d in 0..dim {
                    out[at + d] += weight / total * v[key * narrow + shared + d];
                }
            }
        }
    }
    out
}

#[test]
fn attention_over_a_prefix_tree_is_dense_attention_under_its_mask() {
    for case in 0..CASES {
        let mut random = random(case);
        let sequences: Vec<Vec<u32>> = (0..random.random_range(1..8))
            .map(|_| (0..random.random_range(1..10)).map(|_| random.random_range(0..2)).collect())
            .collect();
        let borrowed: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
        let tree = prefix_tree(&borrowed);
        let (rows, how) = (tree.streams.tokens.len(), any_attention(&mut random));
        let heads = how.heads;
        let (wide, narrow) = (heads.query * heads.dim, heads.key_value * heads.dim);
        let q = values(&mut random, rows * wide);
        let (k, v) = (values(&mut random, rows * narrow), values(&mut random, rows * narrow));
        let mut out = vec![f32::NAN; q.len()];
        attention(&q, &k, &v, how, &tree.streams.segments, 0, &mut out);
        let sees = visible(rows, &tree.streams.segments, how.window);
        assert_like_burn("attention", &out, dense(&q, &k, &v, &how, &sees));
        let visible = visible(rows, &tree.streams.segments, None);
        // Each sequence sees exactly the rows of its own causal triangle.
        for (sequence, places) in sequences.iter().zip(&tree.rows) {
            for (at, &row) in places.iter().enumerate() {
                let sees: Vec<usize> = (0..rows).filter(|&key| visible[row][key]).collect();
                let mut wanted = places[..=at].to_vec();
                wanted.sort_unstable();
                assert_eq!(sees, wanted, "{sequence:?}");
            }
        }
    }
}

#[test]
fn rows_in_no_segment_are_left_alone() {
    let heads = Heads { query: 2, key_value: 1, dim: 3 };
    let mut random = random(0);
    let (q, k, v) = (values(&mut random, 24), values(&mut random, 12), values(&mut random, 12));
    let mut out = vec![7.0; 24];
    attention(
        &q,
        &k,
        &v,
        Attention::plain(heads),
        &[Segment { rows: 1..3, prefix: Vec::new() }],
        0,
        &mut out,
    );
    assert!(out[..6].iter().chain(&out[18..]).all(|&x| x == 7.0));
    assert!(out[6..18].iter().all(|&x| x != 7.0));
}

#[test]
fn attention_backward_is_the_derivative() {
    for case in 0..CASES {
        let mut random = random(case);
        let how = any_attention(&mut random);
        let heads = how.heads;
        // Segments end to end, half of the time after a prefix, then a row of padding.
        let mut segments = Vec::new();
        let mut rows = 0;
        let mut prefix = Vec::new();
        for _ in 0..random.random_range(1..4) {
            let length = random.random_range(1..6);
            segments.push(Segment { rows: rows..rows + length, prefix: prefix.clone() });
            rows += length;
            if case % 2 == 0 && prefix.is_empty() {
                prefix.push(0..rows);
            }
        }
        rows += 1;
        let visible = visible(rows, &segments, how.window);
        let (wide_, narrow) = (heads.query * heads.dim, heads.key_value * heads.dim);
        let q = values(&mut random, rows * wide_);
        let (k, v) = (values(&mut random, rows * narrow), values(&mut random, rows * narrow));
        let dout = values(&mut random, q.len());
        let before = (
            values(&mut random, q.len()),
            values(&mut random, k.len()),
            values(&mut random, v.len()),
        );
        let (mut dq, mut dk, mut dv) = before.clone();
        let keys: usize = segments.iter().map(Segment::before).sum();
        let mut parts = vec![0.0; 2 * keys * narrow];
        attention_backward(
            &dout, &q, &k, &v, how, &segments, 0, &mut dq, &mut dk, &mut dv, &mut parts,
        );
        // A prefix begins with row 0.
        let mut parts = parts.as_slice();
        for segment in &segments {
            for gradients in [&mut dk, &mut dv] {
                let (part, rest) = parts.split_at(segment.before() * narrow);
                gradients.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
                parts = rest;
            }
        }

        let (q64, k64, v64) = (wide(&q), wide(&k), wide(&v));
        let wanted = differences(&q, |q| along(&dense_f64(q, &k64, &v64, &how, &visible), &dout));
        assert_close("dq", &dq, &plus(&wanted, &before.0));
        let wanted = differences(&k, |k| along(&dense_f64(&q64, k, &v64, &how, &visible), &dout));
        assert_close("dk", &dk, &plus(&wanted, &before.1));
        let wanted = differences(&v, |v| along(&dense_f64(&q64, &k64, v, &how, &visible), &dout));
        assert_close("dv", &dv, &plus(&wanted, &before.2));
    }
}
