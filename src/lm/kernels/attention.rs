//! Causal attention over segments of rows, forward and backward (Vaswani et al. 2017; grouped queries as in Ainslie et al. 2023).

use std::ops::Range;

use super::{axpy, dot, exp, max, sum, tanh};

/// The shape of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    pub query: usize,
    /// Query heads share key/value heads in equal groups (GQA).
    pub key_value: usize,
    pub dim: usize,
}

/// How a layer attends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    pub heads: Heads,
    /// Multiplies every score.
    pub scale: f32,
    /// Scores are bent to `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// A row sees so many of the latest keys, its own included.
    pub window: Option<usize>,
}

impl Attention {
    /// The usual attention: scores over the square root of the head's width, and everything seen.
    pub fn plain(heads: Heads) -> Self {
        Attention { heads, scale: 1.0 / (heads.dim as f32).sqrt(), softcap: None, window: None }
    }

    /// The first of so many keys that the last of them sees.
    fn first(&self, visible: usize) -> usize {
        self.window.map_or(0, |window| visible.saturating_sub(window))
    }
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

/// Softmax of the bent scores of a query and the keys from `first` on, as many as there are `scores`. Where there is a cap, `slopes`
/// becomes the derivative of the bending.
#[inline(always)]
fn probabilities(
    query: &[f32],
    keys: &Gathered<'_>,
    attention: &Attention,
    first: usize,
    scores: &mut [f32],
    slopes: &mut [f32],
) {
    scores.fill(0.0);
    let visible = scores.len();
    for (d, q) in query.iter().enumerate() {
        axpy(q * attention.scale, &keys.transposed[d * keys.stride + first..][..visible], scores);
    }
    if let Some(cap) = attention.softcap {
        for (s, slope) in scores.iter_mut().zip(slopes) {
            let bent = tanh(*s / cap);
            *s = cap * bent;
            *slope = 1.0 - bent * bent;
        }
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
    pub fn attention(q: &[f32], k: &[f32], v: &[f32], attention: Attention, segments: &[Segment], out: &mut [f32]) {
        let heads = attention.heads;
        let (width, narrow, dim) = (heads.query * heads.dim, heads.key_value * heads.dim, heads.dim);
        let group = heads.query / heads.key_value;
        let (mut scores, mut slopes) = (Vec::new(), Vec::new());
        for shared in 0..heads.key_value {
            let mut keys = Gathered::new(k, narrow, shared * dim, dim, segments);
            let mut values = Gathered::new(v, narrow, shared * dim, dim, segments);
            for segment in segments {
                keys.gather(segment);
                values.gather(segment);
                let before = keys.count - segment.rows.len();
                scores.resize(keys.count, 0.0);
                slopes.resize(keys.count, 0.0);
                for head in shared * group..(shared + 1) * group {
                    for (i, row) in segment.rows.clone().enumerate() {
                        let visible = before + i + 1;
                        let first = attention.first(visible);
                        let scores = &mut scores[first..visible];
                        probabilities(&q[row * width + head * dim..][..dim], &keys, &attention, first, scores, &mut slopes);
                        let out = &mut out[row * width + head * dim..][..dim];
                        out.fill(0.0);
                        for (p, value) in scores.iter().zip(values.plain[first * dim..].chunks_exact(dim)) {
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
        attention: Attention,
        segments: &[Segment],
        dq: &mut [f32],
        dk: &mut [f32],
        dv: &mut [f32],
    ) {
        let heads = attention.heads;
        let (width, narrow, dim) = (heads.query * heads.dim, heads.key_value * heads.dim, heads.dim);
        let group = heads.query / heads.key_value;
        let (mut p, mut dp, mut slopes) = (Vec::new(), Vec::new(), Vec::new());
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
                slopes.resize(keys.count, 0.0);
                for head in shared * group..(shared + 1) * group {
                    for (i, row) in segment.rows.clone().enumerate() {
                        let at = row * width + head * dim;
                        let (query, dout) = (&q[at..][..dim], &dout[at..][..dim]);
                        let first = attention.first(i + 1);
                        let seen = i + 1 - first;
                        let (p, dp) = (&mut p[..seen], &mut dp[..seen]);
                        probabilities(query, &keys, &attention, first, p, &mut slopes);
                        dp.fill(0.0);
                        for (d, g) in dout.iter().enumerate() {
                            axpy(*g, &values.transposed[d * values.stride + first..][..seen], dp);
                        }
                        let mean = dot(p, dp);
                        for (dp, p) in dp.iter_mut().zip(p.iter()) {
                            *dp = p * (*dp - mean) * attention.scale;
                        }
                        if attention.softcap.is_some() {
                            for (dp, slope) in dp.iter_mut().zip(&slopes) {
                                *dp *= slope;
                            }
                        }
                        for j in 0..seen {
                            let key = (start + first + j) * narrow + shared * dim;
                            axpy(dp[j], &keys.plain[(first + j) * dim..][..dim], &mut dq[at..][..dim]);
                            axpy(dp[j], query, &mut dk[key..][..dim]);
                            axpy(p[j], dout, &mut dv[key..][..dim]);
                        }
                    }
                }
            }
        }
    }
}
