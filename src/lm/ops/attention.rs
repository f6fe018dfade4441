//! Attention over segments, composed of burn operations: segments of similar length are padded into
//! one batch, with a dense mask.

use burn::tensor::{Device, Int, Tensor, activation};

use super::{Ops, index_tensor, inverse_index};
use crate::lm::kernels::{self, Attention, Heads, Segment};
use crate::lm::tensor::from_host;

/// Maximum number of attention scores, over all heads, computed at a time. More would not fit into
/// memory beside a large base.
const SCORES_AT_ONCE: usize = 64 << 20;

/// Segments padded for a device. All layers with the same window share one.
#[derive(Debug)]
pub struct PaddedSegments {
    batches: Vec<SegmentBatch>,
    /// For every row of the streams, its row in the concatenated output of the batches.
    rows: Tensor<1, Int>,
}

/// A batch of S segments, with queries padded to Q rows and keys to K rows.
#[derive(Debug)]
struct SegmentBatch {
    segments: usize,
    keys: usize,
    /// `[S * Q]` and `[S * K]`: rows of the streams; padding refers to an arbitrary row.
    query_rows: Tensor<1, Int>,
    key_rows: Tensor<1, Int>,
    /// `[S, 1, Q, K]`: zero where a query sees a key, else minus infinity. A padding query sees one
    /// key, because softmax over none is NaN.
    mask: Tensor<4>,
    /// `[S, 1, Q, 1]`: one for queries, zero for padding.
    valid: Tensor<4>,
    /// Index of each query in `[S * Q]`, and of its own key in `[S * K]`. The second assumes that
    /// segments have no prefix.
    query_index: Tensor<1, Int>,
    own_key_index: Tensor<1, Int>,
}

impl PaddedSegments {
    /// For streams with `rows` rows.
    pub fn of(segments: &[Segment], rows: usize, attention: &Attention, device: &Device) -> Self {
        let mut stream_rows = Vec::new();
        let batches = batches(segments, attention)
            .iter()
            .map(|own| SegmentBatch::of(own, attention, device, &mut stream_rows))
            .collect();
        PaddedSegments { batches, rows: index_tensor(&inverse_index(&stream_rows, rows), device) }
    }

    /// Moves the outputs of the batches to the rows of the streams; rows in no segment are zero.
    fn gather_rows(&self, mut parts: Vec<Tensor<2>>, width: usize, device: &Device) -> Tensor<2> {
        parts.push(Tensor::zeros([1, width], device));
        Tensor::cat(parts, 0).select(0, self.rows.clone())
    }
}

/// The number of keys that a segment sees.
fn key_count(segment: &Segment) -> usize {
    segment.prefix.iter().chain([&segment.rows]).map(ExactSizeIterator::len).sum()
}

/// Groups segments of similar size into batches, which limits padding.
fn batches<'a>(segments: &'a [Segment], attention: &Attention) -> Vec<Vec<&'a Segment>> {
    let mut sorted: Vec<&Segment> =
        segments.iter().filter(|segment| !segment.rows.is_empty()).collect();
    sorted.sort_by_key(|segment| (key_count(segment), segment.rows.len(), segment.rows.start));
    let mut batches = Vec::new();
    while let Some(last) = sorted.last() {
        let (keys, mut queries, mut count) = (key_count(last), 0, 0);
        for segment in sorted.iter().rev() {
            let wider = queries.max(segment.rows.len());
            // A segment less than half as long as the longest goes into another batch.
            if count > 0
                && (2 * key_count(segment) < keys
                    || (count + 1) * wider * keys * attention.heads.query > SCORES_AT_ONCE)
            {
                break;
            }
            (queries, count) = (wider, count + 1);
        }
        batches.push(sorted.split_off(sorted.len() - count));
    }
    batches
}

impl SegmentBatch {
    /// Appends to `rows` the stream row of each query in `query_index`.
    fn of(
        segments: &[&Segment],
        attention: &Attention,
        device: &Device,
        rows: &mut Vec<usize>,
    ) -> Self {
        let longest = |length: &dyn Fn(&Segment) -> usize| {
            segments.iter().map(|segment| length(segment)).max().unwrap_or(0)
        };
        // Empty segments fill the bucket; they have no queries.
        let [count, queries, keys] =
            [segments.len(), longest(&|segment| segment.rows.len()), longest(&key_count)]
                .map(|size| Ops::Composed.bucket(size));
        let (mut query_rows, mut key_rows) = (vec![0; count * queries], vec![0; count * keys]);
        let (mut query_index, mut own_keys) = (Vec::new(), Vec::new());
        let mut mask = vec![f32::NEG_INFINITY; count * queries * keys];
        mask.iter_mut().step_by(keys).for_each(|first| *first = 0.0);
        let mut valid = vec![0.0; count * queries];
        for (at, segment) in segments.iter().enumerate() {
            let before: usize = segment.prefix.iter().map(ExactSizeIterator::len).sum();
            for (key, row) in
                segment.prefix.iter().chain([&segment.rows]).cloned().flatten().enumerate()
            {
                key_rows[at * keys + key] = row as i32;
            }
            for (query, row) in segment.rows.clone().enumerate() {
                let (place, visible) = (at * queries + query, before + query + 1);
                let first = attention.window.map_or(0, |window| visible.saturating_sub(window));
                let mask = &mut mask[place * keys..][..keys];
                mask[0] = f32::NEG_INFINITY;
                mask[first..visible].fill(0.0);
                query_rows[place] = row as i32;
                valid[place] = 1.0;
                query_index.push(place as i32);
                own_keys.push((at * keys + query) as i32);
                rows.push(row);
            }
        }
        SegmentBatch {
            segments: count,
            keys,
            query_rows: index_tensor(&query_rows, device),
            key_rows: index_tensor(&key_rows, device),
            mask: from_host(mask, [count, 1, queries, keys], device),
            valid: from_host(valid, [count, 1, queries, 1], device),
            query_index: index_tensor(&query_index, device),
            own_key_index: index_tensor(&own_keys, device),
        }
    }

    /// `[S, heads, length, dim]` of the given rows.
    fn split_heads(
        &self,
        x: &Tensor<2>,
        rows: &Tensor<1, Int>,
        heads: usize,
        dim: usize,
    ) -> Tensor<4> {
        let length = rows.dims()[0] / self.segments;
        x.clone()
            .select(0, rows.clone())
            .reshape([self.segments, length, heads, dim])
            .swap_dims(1, 2)
    }

    fn queries(&self, x: &Tensor<2>, heads: Heads) -> Tensor<4> {
        self.split_heads(x, &self.query_rows, heads.query, heads.dim)
    }

    /// Keys or values, each head repeated for every query head that shares it.
    fn keys(&self, x: &Tensor<2>, heads: Heads) -> Tensor<4> {
        let (group, dim) = (heads.query / heads.key_value, heads.dim);
        let split = self.split_heads(x, &self.key_rows, heads.key_value, dim);
        if group == 1 {
            return split;
        }
        let shared: Tensor<5> = split.reshape([self.segments, heads.key_value, 1, self.keys, dim]);
        shared.repeat_dim(2, group).reshape([self.segments, heads.query, self.keys, dim])
    }

    /// Probabilities `[S, heads, Q, K]`, and the derivative of the soft cap if there is one.
    fn probabilities(
        &self,
        q: &Tensor<4>,
        k: &Tensor<4>,
        how: &Attention,
    ) -> (Tensor<4>, Option<Tensor<4>>) {
        let mut scores = q.clone().matmul(k.clone().swap_dims(2, 3)).mul_scalar(how.scale);
        let mut slope = None;
        if let Some(cap) = how.softcap {
            let ratio = scores.div_scalar(cap).tanh();
            slope = Some(ratio.clone().square().neg().add_scalar(1.0));
            scores = ratio.mul_scalar(cap);
        }
        (activation::softmax(scores + self.mask.clone(), 3), slope)
    }
}

/// `[S, heads, length, dim]` as the rows at the given indices.
fn merge_heads(x: Tensor<4>, index: &Tensor<1, Int>) -> Tensor<2> {
    let [segments, heads, length, dim] = x.dims();
    x.swap_dims(1, 2).reshape([segments * length, heads * dim]).select(0, index.clone())
}

pub fn forward(
    q: &Tensor<2>,
    k: &Tensor<2>,
    v: &Tensor<2>,
    how: Attention,
    padded: &PaddedSegments,
) -> Tensor<2> {
    let part = |batch: &SegmentBatch| {
        let (probabilities, _) =
            batch.probabilities(&batch.queries(q, how.heads), &batch.keys(k, how.heads), &how);
        merge_heads(probabilities.matmul(batch.keys(v, how.heads)), &batch.query_index)
    };
    padded.gather_rows(padded.batches.iter().map(part).collect(), q.dims()[1], &q.device())
}

/// Adds gradients that segments have for their prefixes, as `kernels::attention_backward` returns
/// them, to the rows of the prefixes, `[rows, width]`.
pub fn add_to_prefixes(
    segments: &[Segment],
    parts: &[f32],
    width: usize,
    [dk, dv]: [&mut Vec<f32>; 2],
) {
    let mut taken = 0;
    for segment in segments {
        for gradients in [&mut *dk, &mut *dv] {
            for rows in &segment.prefix {
                let length = rows.len() * width;
                let part = &parts[taken..taken + length];
                kernels::add_assign(&mut gradients[rows.start * width..][..length], part);
                taken += length;
            }
        }
    }
}

/// For segments without prefixes, whose keys are their own rows.
pub fn backward(
    dout: &Tensor<2>,
    [q, k, v]: [&Tensor<2>; 3],
    how: Attention,
    padded: &PaddedSegments,
) -> [Tensor<2>; 3] {
    let (heads, device) = (how.heads, q.device());
    let group = heads.query / heads.key_value;
    let mut parts: [Vec<Tensor<2>>; 3] = Default::default();
    for batch in &padded.batches {
        let [queries, douts] = [q, dout].map(|x| batch.queries(x, heads));
        let [keys, values] = [k, v].map(|x| batch.keys(x, heads));
        let (probabilities, slope) = batch.probabilities(&queries, &keys, &how);
        // Padding has no gradient.
        let douts = douts * batch.valid.clone();
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
        // Gradients of shared heads are summed over the query heads.
        let shared = |x: Tensor<4>| -> Tensor<4> {
            if group == 1 {
                return x;
            }
            let grouped: Tensor<5> =
                x.reshape([batch.segments, heads.key_value, group, batch.keys, heads.dim]);
            grouped.sum_dim(2).reshape([batch.segments, heads.key_value, batch.keys, heads.dim])
        };
        parts[0].push(merge_heads(dqueries, &batch.query_index));
        parts[1].push(merge_heads(shared(dkeys), &batch.own_key_index));
        parts[2].push(merge_heads(shared(dvalues), &batch.own_key_index));
    }
    let [of_q, of_k, of_v] = parts;
    [(of_q, q), (of_k, k), (of_v, v)]
        .map(|(parts, x)| padded.gather_rows(parts, x.dims()[1], &device))
}
