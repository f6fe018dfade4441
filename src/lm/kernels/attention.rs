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

impl Segment {
    /// Rows that its last row sees.
    fn seen(&self) -> usize {
        self.prefix.iter().chain([&self.rows]).map(ExactSizeIterator::len).sum()
    }
}

/// The keys (or values) of one head that a segment sees, as `[keys, dim]` and, with columns `stride` apart, transposed.
///
/// Neighbouring segments of a prefix tree see nearly the same rows, so what is here already is not gathered again.
struct Gathered<'a> {
    x: &'a [f32],
    /// The width of a row of `x`, and where in it the head begins.
    width: usize,
    offset: usize,
    dim: usize,
    stride: usize,
    plain: Vec<f32>,
    transposed: Vec<f32>,
    /// The row ranges gathered, in order.
    ranges: Vec<Range<usize>>,
    count: usize,
}

impl<'a> Gathered<'a> {
    /// Room for any of these segments.
    #[inline(always)]
    fn new(x: &'a [f32], width: usize, offset: usize, dim: usize, segments: &[Segment]) -> Self {
        let stride = segments.iter().map(Segment::seen).max().unwrap_or(0);
        let (plain, transposed) = (vec![0f32; stride * dim], vec![0f32; stride * dim]);
        Gathered { x, width, offset, dim, stride, plain, transposed, ranges: Vec::new(), count: 0 }
    }

    /// Holds what `segment` sees, and nothing more.
    #[inline(always)]
    fn gather(&mut self, segment: &Segment) {
        let wanted = || segment.prefix.iter().chain([&segment.rows]);
        let same = wanted().zip(&self.ranges).take_while(|(wanted, held)| wanted == held).count();
        self.ranges.truncate(same);
        self.count = self.ranges.iter().map(ExactSizeIterator::len).sum();
        for range in wanted().skip(same) {
            for row in range.clone() {
                let values = &self.x[row * self.width + self.offset..][..self.dim];
                self.plain[self.count * self.dim..][..self.dim].copy_from_slice(values);
                for (d, value) in values.iter().enumerate() {
                    self.transposed[d * self.stride + self.count] = *value;
                }
                self.count += 1;
            }
            self.ranges.push(range.clone());
        }
    }
}

/// Softmax of `scale * query . key` over the first `scores.len()` keys.
#[inline(always)]
fn probabilities(query: &[f32], keys: &Gathered<'_>, scale: f32, scores: &mut [f32]) {
    scores.fill(0.0);
    let visible = scores.len();
    for (d, q) in query.iter().enumerate() {
        axpy(q * scale, &keys.transposed[d * keys.stride..][..visible], scores);
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
        for shared in 0..heads.key_value {
            let mut keys = Gathered::new(k, narrow, shared * dim, dim, segments);
            let mut values = Gathered::new(v, narrow, shared * dim, dim, segments);
            for segment in segments {
                keys.gather(segment);
                values.gather(segment);
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
        for shared in 0..heads.key_value {
            let mut keys = Gathered::new(k, narrow, shared * dim, dim, segments);
            let mut values = Gathered::new(v, narrow, shared * dim, dim, segments);
            for segment in segments {
                assert!(segment.prefix.is_empty(), "training rows have no prefix");
                let start = segment.rows.start;
                keys.gather(segment);
                values.gather(segment);
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
                            axpy(*g, &values.transposed[d * values.stride..][..i + 1], dp);
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
