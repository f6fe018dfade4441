//! Attention over segments composed from burn's operations: segments of like length side by side, padded, dense under a mask.

use burn::tensor::{Device, Tensor, activation};

use super::{Ops, picked};
use crate::lm::kernels::{Attention, Heads, Segment};
use crate::lm::tensor::from_host;

/// Scores that are computed at once, of all heads; more would not fit beside a large base.
const SCORES_AT_ONCE: usize = 64 << 20;

/// Some segments side by side: S of them, queries padded to Q rows, keys to K.
struct Batch {
    segments: usize,
    queries: usize,
    keys: usize,
    /// `[S * Q]` and `[S * K]`: rows of the streams, any row where there is padding.
    query_rows: Vec<i32>,
    key_rows: Vec<i32>,
    /// `[S * Q]`: which keys a query sees, from the first on, up to but without the last. Padding sees one.
    first: Vec<f32>,
    end: Vec<f32>,
    /// Where in `[S * Q]` each true query row stands, and where in `[S * K]` each segment's own row.
    places: Vec<usize>,
}

/// Segments in batches of like size, so that little is padded.
fn batches(segments: &[Segment], attention: &Attention) -> Vec<Batch> {
    let seen = |segment: &Segment| segment.prefix.iter().chain([&segment.rows]).map(ExactSizeIterator::len).sum::<usize>();
    let mut sorted: Vec<&Segment> = segments.iter().filter(|segment| !segment.rows.is_empty()).collect();
    sorted.sort_by_key(|segment| (seen(segment), segment.rows.len(), segment.rows.start));
    let mut batches = Vec::new();
    while let Some(last) = sorted.last() {
        let (keys, mut queries, mut count) = (seen(last), 0, 0);
        for segment in sorted.iter().rev() {
            let wider = queries.max(segment.rows.len());
            // Half as long as the longest, and it belongs to another batch.
            if count > 0 && (2 * seen(segment) < keys || (count + 1) * wider * keys * attention.heads.query > SCORES_AT_ONCE) {
                break;
            }
            (queries, count) = (wider, count + 1);
        }
        let own = sorted.split_off(sorted.len() - count);
        batches.push(Batch::of(&own, (queries, keys), attention));
    }
    batches
}

impl Batch {
    fn of(segments: &[&Segment], longest: (usize, usize), attention: &Attention) -> Self {
        // Segments that are none fill the bucket; they ask nothing.
        let [count, queries, keys] = [segments.len(), longest.0, longest.1].map(|size| Ops::Composed.bucket(size));
        let mut batch = Batch {
            segments: count,
            queries,
            keys,
            query_rows: vec![0; count * queries],
            key_rows: vec![0; count * keys],
            first: vec![0.0; count * queries],
            end: vec![1.0; count * queries],
            places: Vec::new(),
        };
        for (at, segment) in segments.iter().enumerate() {
            let before: usize = segment.prefix.iter().map(ExactSizeIterator::len).sum();
            for (key, row) in segment.prefix.iter().chain([&segment.rows]).cloned().flatten().enumerate() {
                batch.key_rows[at * keys + key] = row as i32;
            }
            for (query, row) in segment.rows.clone().enumerate() {
                let (place, visible) = (at * queries + query, before + query + 1);
                batch.query_rows[place] = row as i32;
                batch.end[place] = visible as f32;
                batch.first[place] = attention.window.map_or(0, |window| visible.saturating_sub(window)) as f32;
                batch.places.push(place);
            }
        }
        batch
    }

    /// The rows of the streams whose queries stand at `places`.
    fn rows(&self) -> impl Iterator<Item = usize> {
        self.places.iter().map(|&place| self.query_rows[place] as usize)
    }

    /// `[S, heads, length, dim]` of some rows.
    fn split(&self, x: &Tensor<2>, rows: &[i32], heads: usize, dim: usize) -> Tensor<4> {
        let length = rows.len() / self.segments;
        x.clone().select(0, picked(rows, &x.device())).reshape([self.segments, length, heads, dim]).swap_dims(1, 2)
    }

    fn queries(&self, x: &Tensor<2>, heads: Heads) -> Tensor<4> {
        self.split(x, &self.query_rows, heads.query, heads.dim)
    }

    /// Keys or values, each head as often as query heads share it.
    fn keys(&self, x: &Tensor<2>, heads: Heads) -> Tensor<4> {
        let (group, dim) = (heads.query / heads.key_value, heads.dim);
        let split = self.split(x, &self.key_rows, heads.key_value, dim);
        let shared: Tensor<5> = split.reshape([self.segments, heads.key_value, 1, self.keys, dim]);
        shared.repeat_dim(2, group).reshape([self.segments, heads.query, self.keys, dim])
    }

    /// Probabilities `[S, heads, Q, K]`, and the slope of the bending of scores where there is a cap.
    fn probabilities(&self, q: &Tensor<4>, k: &Tensor<4>, how: &Attention) -> (Tensor<4>, Option<Tensor<4>>) {
        let device = q.device();
        let mut scores = q.clone().matmul(k.clone().swap_dims(2, 3)).mul_scalar(how.scale);
        let mut slope = None;
        if let Some(cap) = how.softcap {
            let bent = scores.div_scalar(cap).tanh();
            slope = Some(bent.clone().square().neg().add_scalar(1.0));
            scores = bent.mul_scalar(cap);
        }
        let bound = |values: &[f32]| -> Tensor<4> { from_host(values.to_vec(), [self.segments, 1, self.queries, 1], &device) };
        let key: Tensor<4> = from_host((0..self.keys).map(|key| key as f32).collect(), [1, 1, 1, self.keys], &device);
        let beyond = (bound(&self.end) - key.clone()).lower_equal_elem(0.0);
        let before = (key - bound(&self.first)).lower_elem(0.0);
        let hidden = beyond.bool_or(before).repeat_dim(1, how.heads.query);
        (activation::softmax(scores.mask_fill(hidden, f32::NEG_INFINITY), 3), slope)
    }

    /// `[S, heads, length, dim]` as the rows at some places.
    fn joined(&self, x: Tensor<4>, places: &[usize], device: &Device) -> Tensor<2> {
        let [segments, heads, length, dim] = x.dims();
        let places: Vec<i32> = places.iter().map(|&place| place as i32).collect();
        x.swap_dims(1, 2).reshape([segments * length, heads * dim]).select(0, picked(&places, device))
    }
}

pub fn forward(q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>, how: Attention, segments: &[Segment]) -> Tensor<2> {
    let ([rows, width], device) = (q.dims(), q.device());
    let (mut parts, mut places) = (Vec::new(), Vec::new());
    for batch in batches(segments, &how) {
        let (probabilities, _) = batch.probabilities(&batch.queries(q, how.heads), &batch.keys(k, how.heads), &how);
        let out = probabilities.matmul(batch.keys(v, how.heads));
        parts.push(batch.joined(out, &batch.places, &device));
        places.extend(batch.rows());
    }
    if parts.is_empty() {
        return Tensor::zeros([rows, width], &device);
    }
    Ops::Composed.spread(parts, &places, rows, &device)
}

/// Of segments without prefixes, whose keys are their own rows.
pub fn backward(dout: Tensor<2>, [q, k, v]: [&Tensor<2>; 3], how: Attention, segments: &[Segment]) -> [Tensor<2>; 3] {
    assert!(segments.iter().all(|segment| segment.prefix.is_empty()), "training rows have no prefixes");
    let (heads, device, rows) = (how.heads, q.device(), q.dims()[0]);
    let group = heads.query / heads.key_value;
    let mut parts: [Vec<Tensor<2>>; 3] = Default::default();
    let mut places = Vec::new();
    for batch in batches(segments, &how) {
        let [queries, douts] = [q, &dout].map(|x| batch.queries(x, heads));
        let [keys, values] = [k, v].map(|x| batch.keys(x, heads));
        let (probabilities, slope) = batch.probabilities(&queries, &keys, &how);
        // Padding asks nothing.
        let asked: Vec<f32> = {
            let mut asked = vec![0.0; batch.segments * batch.queries];
            batch.places.iter().for_each(|&place| asked[place] = 1.0);
            asked
        };
        let asked: Tensor<4> = from_host(asked, [batch.segments, 1, batch.queries, 1], &device);
        let douts = douts * asked;
        let dvalues = probabilities.clone().swap_dims(2, 3).matmul(douts.clone());
        let dprobabilities = douts.matmul(values.swap_dims(2, 3));
        let along = (dprobabilities.clone() * probabilities.clone()).sum_dim(3);
        let mut dscores = probabilities * (dprobabilities - along);
        if let Some(slope) = slope {
            dscores = dscores * slope;
        }
        let dscores = dscores.mul_scalar(how.scale);
        let dqueries = dscores.clone().matmul(keys);
        let dkeys = dscores.swap_dims(2, 3).matmul(queries);
        // What query heads share is summed over them.
        let shared = |x: Tensor<4>| -> Tensor<4> {
            let grouped: Tensor<5> = x.reshape([batch.segments, heads.key_value, group, batch.keys, heads.dim]);
            grouped.sum_dim(2).reshape([batch.segments, heads.key_value, batch.keys, heads.dim])
        };
        // A query's own key stands in the same place of the key rows: there is no prefix before it.
        let own: Vec<usize> =
            batch.places.iter().map(|place| place / batch.queries * batch.keys + place % batch.queries).collect();
        parts[0].push(batch.joined(dqueries, &batch.places, &device));
        parts[1].push(batch.joined(shared(dkeys), &own, &device));
        parts[2].push(batch.joined(shared(dvalues), &own, &device));
        places.extend(batch.rows());
    }
    let shapes = [q, k, v].map(|x| x.dims());
    let mut shapes = shapes.into_iter();
    parts.map(|parts| {
        let shape = shapes.next().expect("three of each");
        if parts.is_empty() { Tensor::zeros(shape, &device) } else { Ops::Composed.spread(parts, &places, rows, &device) }
    })
}
