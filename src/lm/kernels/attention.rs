//! Causal attention over segments of rows, forward and backward (Vaswani et al. 2017; grouped queries as in Ainslie et al. 2023).

use std::ops::Range;

use super::{axpy, dot, exp, max, sum};

/// The shape of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    pub query: usize,
    /// Query heads share key/value heads in equal groups (GQA).
    pub key_value: usize,
    pub dim: usize,
}

/// A run of consecutive rows that attend to themselves causally, and to the whole of their prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub rows: Range<usize>,
    /// Row ranges that come before, from the root of the prefix tree down.
    pub prefix: Vec<Range<usize>>,
}

/// The keys (or values) of one head that a segment sees, as `[keys, dim]` and transposed.
struct Gathered {
    plain: Vec<f32>,
    transposed: Vec<f32>,
    count: usize,
}

#[inline(always)]
fn gather(x: &[f32], segment: &Segment, stride: usize, offset: usize, dim: usize) -> Gathered {
    let count = segment.prefix.iter().map(|range| range.len()).sum::<usize>() + segment.rows.len();
    let mut plain = Vec::with_capacity(count * dim);
    for row in segment.prefix.iter().cloned().chain([segment.rows.clone()]).flatten() {
        plain.extend_from_slice(&x[row * stride + offset..][..dim]);
    }
    let mut transposed = vec![0f32; count * dim];
    for (key, values) in plain.chunks_exact(dim).enumerate() {
        for (d, value) in values.iter().enumerate() {
            transposed[d * count + key] = *value;
        }
    }
    Gathered { plain, transposed, count }
}

/// Softmax of `scale * query . key` over the first `scores.len()` keys.
#[inline(always)]
fn probabilities(query: &[f32], keys: &Gathered, scale: f32, scores: &mut [f32]) {
    scores.fill(0.0);
    let visible = scores.len();
    for (d, q) in query.iter().enumerate() {
        axpy(q * scale, &keys.transposed[d * keys.count..][..visible], scores);
    }
    let top = max(scores);
    for s in scores.iter_mut() {
        *s = exp(*s - top);
    }
    let inverse = 1.0 / sum(scores);
    for s in scores.iter_mut() {
        *s *= inverse;
    }
}

vectorised! {
    /// Causal attention inside segments. `q` and `out` are `[rows, query * dim]`, `k` and `v` `[rows, key_value * dim]`. Rows in no
    /// segment keep what `out` holds.
    pub fn attention(q: &[f32], k: &[f32], v: &[f32], heads: Heads, segments: &[Segment], out: &mut [f32]) {
        let (width, narrow, dim) = (heads.query * heads.dim, heads.key_value * heads.dim, heads.dim);
        let group = heads.query / heads.key_value;
        let scale = 1.0 / (dim as f32).sqrt();
        let mut scores = Vec::new();
        for segment in segments {
            for shared in 0..heads.key_value {
                let keys = gather(k, segment, narrow, shared * dim, dim);
                let values = gather(v, segment, narrow, shared * dim, dim);
                let before = keys.count - segment.rows.len();
                scores.resize(keys.count, 0.0);
                for head in shared * group..(shared + 1) * group {
                    for (i, row) in segment.rows.clone().enumerate() {
                        let scores = &mut scores[..before + i + 1];
                        probabilities(&q[row * width + head * dim..][..dim], &keys, scale, scores);
                        let out = &mut out[row * width + head * dim..][..dim];
                        out.fill(0.0);
                        for (p, value) in scores.iter().zip(values.plain.chunks_exact(dim)) {
                            axpy(*p, value, out);
                        }
                    }
                }
            }
        }
    }
}

vectorised! {
    /// Backward of [`attention`] for segments without a prefix (training rows): adds to `dq`, `dk` and `dv`.
    pub fn attention_backward(
        dout: &[f32],
        q: &[f32],
        k: &[f32],
        v: &[f32],
        heads: Heads,
        segments: &[Segment],
        dq: &mut [f32],
        dk: &mut [f32],
        dv: &mut [f32],
    ) {
        let (width, narrow, dim) = (heads.query * heads.dim, heads.key_value * heads.dim, heads.dim);
        let group = heads.query / heads.key_value;
        let scale = 1.0 / (dim as f32).sqrt();
        let (mut p, mut dp) = (Vec::new(), Vec::new());
        for segment in segments {
            assert!(segment.prefix.is_empty(), "training rows have no prefix");
            let start = segment.rows.start;
            for shared in 0..heads.key_value {
                let keys = gather(k, segment, narrow, shared * dim, dim);
                let values = gather(v, segment, narrow, shared * dim, dim);
                p.resize(keys.count, 0.0);
                dp.resize(keys.count, 0.0);
                for head in shared * group..(shared + 1) * group {
                    for (i, row) in segment.rows.clone().enumerate() {
                        let at = row * width + head * dim;
                        let (query, dout) = (&q[at..][..dim], &dout[at..][..dim]);
                        let (p, dp) = (&mut p[..i + 1], &mut dp[..i + 1]);
                        probabilities(query, &keys, scale, p);
                        dp.fill(0.0);
                        for (d, g) in dout.iter().enumerate() {
                            axpy(*g, &values.transposed[d * values.count..][..i + 1], dp);
                        }
                        let mean = dot(p, dp);
                        for (dp, p) in dp.iter_mut().zip(p.iter()) {
                            *dp = p * (*dp - mean) * scale;
                        }
                        for j in 0..=i {
                            let key = (start + j) * narrow + shared * dim;
                            axpy(dp[j], &keys.plain[j * dim..][..dim], &mut dq[at..][..dim]);
                            axpy(dp[j], query, &mut dk[key..][..dim]);
                            axpy(p[j], dout, &mut dv[key..][..dim]);
                        }
                    }
                }
            }
        }
    }
}
