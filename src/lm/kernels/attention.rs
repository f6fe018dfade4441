//! Causal attention over segments of rows, forward and backward (Vaswani et al. 2017; grouped
//! queries as in Ainslie et al. 2023).

use std::ops::Range;

use super::{LANES, axpy, dot, exp, max, sum, tanh};

/// The shape of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    pub query: usize,
    /// Query heads share key/value heads in equal groups (GQA).
    pub key_value: usize,
    pub dim: usize,
}

/// The attention parameters of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    pub heads: Heads,
    /// Multiplies every score.
    pub scale: f32,
    /// Scores are soft-capped to `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// A row sees this many of the latest keys, its own included.
    pub window: Option<usize>,
}

impl Attention {
    /// Ordinary attention: scores over the square root of the head's width, and no window.
    pub fn plain(heads: Heads) -> Self {
        Attention { heads, scale: 1.0 / (heads.dim as f32).sqrt(), softcap: None, window: None }
    }

    /// The index of the first key that the last of `visible` keys sees.
    fn first(&self, visible: usize) -> usize {
        self.window.map_or(0, |window| visible.saturating_sub(window))
    }
}

/// Consecutive rows that attend causally to themselves, and to the whole of their prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub rows: Range<usize>,
    /// Row ranges of the prefix, from the root of the prefix tree down.
    pub prefix: Vec<Range<usize>>,
}

impl Segment {
    /// The number of rows in its prefix.
    pub fn before(&self) -> usize {
        self.prefix.iter().map(ExactSizeIterator::len).sum()
    }

    /// The number of rows that its last row sees.
    fn seen(&self) -> usize {
        self.before() + self.rows.len()
    }
}

/// The memory layout of one head's gathered keys or values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `[keys, dim]`
    Rows,
    /// `[keys, dim]`, and `[dim, keys]` as well.
    Both,
}

/// The keys (or values) of one head that a segment sees.
///
/// Neighbouring segments of a prefix tree share most rows; rows that are already here are not
/// gathered again.
struct KvBlock<'a> {
    x: &'a [f32],
    /// The width of a row of `x`, and the head's offset in it.
    width: usize,
    offset: usize,
    dim: usize,
    /// Distance between two dimensions of `transposed`.
    stride: usize,
    plain: Vec<f32>,
    transposed: Vec<f32>,
    /// The gathered row ranges, in order.
    ranges: Vec<Range<usize>>,
    count: usize,
}

impl<'a> KvBlock<'a> {
    /// Allocates memory for any of these segments.
    #[inline(always)]
    fn new(
        x: &'a [f32],
        width: usize,
        offset: usize,
        dim: usize,
        segments: &[Segment],
        layout: Layout,
    ) -> Self {
        let stride = segments.iter().map(Segment::seen).max().unwrap_or(0);
        // A tile is read whole, beyond the last key.
        let transposed = if layout == Layout::Both { stride * dim + KEY_TILE } else { 0 };
        let (plain, transposed) = (vec![0f32; stride * dim], vec![0f32; transposed]);
        KvBlock { x, width, offset, dim, stride, plain, transposed, ranges: Vec::new(), count: 0 }
    }

    /// Gathers exactly what `segment` sees.
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
                if !self.transposed.is_empty() {
                    for (d, value) in values.iter().enumerate() {
                        self.transposed[d * self.stride + self.count] = *value;
                    }
                }
                self.count += 1;
            }
            self.ranges.push(range.clone());
        }
    }
}

/// Queries computed together: each key is loaded once for all of them.
const QUERY_TILE: usize = 4;

/// Keys, or columns of a result, held in registers at a time.
const KEY_TILE: usize = 32;

/// One line of values per query of a tile: scores, probabilities or their gradients.
struct ScoreTile {
    stride: usize,
    values: Vec<f32>,
}

impl ScoreTile {
    #[inline(always)]
    fn new(keys: usize) -> Self {
        // Tiles and lanes are written whole, beyond the last key.
        let stride = keys + KEY_TILE + LANES;
        ScoreTile { stride, values: vec![0.0; QUERY_TILE * stride] }
    }

    #[inline(always)]
    fn line(&self, query: usize) -> &[f32] {
        &self.values[query * self.stride..][..self.stride]
    }

    #[inline(always)]
    fn line_mut(&mut self, query: usize) -> &mut [f32] {
        &mut self.values[query * self.stride..][..self.stride]
    }

    /// Products of `ROWS` vectors, each times `scale`, with the gathered vectors of some keys.
    #[inline(always)]
    fn products<const ROWS: usize>(
        &mut self,
        of: [&[f32]; ROWS],
        scale: f32,
        with: &KvBlock<'_>,
        keys: Range<usize>,
    ) {
        for start in keys.step_by(KEY_TILE) {
            let mut tile = [[0f32; KEY_TILE]; ROWS];
            for d in 0..with.dim {
                let along: &[f32; KEY_TILE] =
                    with.transposed[d * with.stride + start..].first_chunk().expect("a whole tile");
                for (tile, of) in tile.iter_mut().zip(of) {
                    let factor = of[d] * scale;
                    for (sum, x) in tile.iter_mut().zip(along) {
                        *sum = factor.mul_add(*x, *sum);
                    }
                }
            }
            for (query, tile) in tile.iter().enumerate() {
                self.line_mut(query)[start..start + KEY_TILE].copy_from_slice(tile);
            }
        }
    }

    /// Adds to each of the first `ROWS` rows of `out` the sum over `keys`: its line's value times
    /// the key's gathered row.
    #[inline(always)]
    fn add_sums<const ROWS: usize>(
        &self,
        over: &KvBlock<'_>,
        keys: Range<usize>,
        mut out: [&mut [f32]; ROWS],
    ) {
        let dim = over.dim;
        let whole = dim - dim % KEY_TILE;
        for start in (0..whole).step_by(KEY_TILE) {
            let mut tile = [[0f32; KEY_TILE]; ROWS];
            for (tile, out) in tile.iter_mut().zip(&out) {
                tile.copy_from_slice(&out[start..start + KEY_TILE]);
            }
            for key in keys.clone() {
                let x: &[f32; KEY_TILE] =
                    over.plain[key * dim + start..].first_chunk().expect("a whole tile");
                for (query, tile) in tile.iter_mut().enumerate() {
                    let factor = self.values[query * self.stride + key];
                    for (sum, x) in tile.iter_mut().zip(x) {
                        *sum = factor.mul_add(*x, *sum);
                    }
                }
            }
            for (tile, out) in tile.iter().zip(&mut out) {
                out[start..start + KEY_TILE].copy_from_slice(tile);
            }
        }
        for (query, out) in out.iter_mut().enumerate() {
            for key in keys.clone() {
                axpy(
                    self.line(query)[key],
                    &over.plain[key * dim + whole..(key + 1) * dim],
                    &mut out[whole..],
                );
            }
        }
    }
}

/// Softmax of a line's soft-capped scores over `seen`; the other keys of `by_any` get probability
/// 0. With a cap, `slopes` receives the derivative of the cap.
#[inline(always)]
fn masked_softmax(
    line: &mut [f32],
    slopes: &mut [f32],
    softcap: Option<f32>,
    seen: Range<usize>,
    by_any: Range<usize>,
) {
    line[by_any.start..seen.start].fill(0.0);
    // Up to a whole vector: scores beyond `seen` are set to minus infinity, and cleared at the end.
    let end = seen.start + seen.len().next_multiple_of(LANES);
    let scores = &mut line[seen.start..end];
    if let Some(cap) = softcap {
        for (s, slope) in scores.iter_mut().zip(&mut slopes[seen.start..]) {
            let ratio = tanh(*s / cap);
            *s = cap * ratio;
            *slope = 1.0 - ratio * ratio;
        }
    }
    scores[seen.len()..].fill(f32::NEG_INFINITY);
    let top = max(scores);
    for s in scores.iter_mut() {
        *s = exp(*s - top);
    }
    let inverse = 1.0 / sum(scores);
    for s in scores.iter_mut() {
        *s *= inverse;
    }
    line[seen.end..by_any.end].fill(0.0);
}

/// `ROWS` consecutive rows of one head, `[rows, width]`.
#[inline(always)]
fn rows<const ROWS: usize>(x: &[f32], from: usize, width: usize, dim: usize) -> [&[f32]; ROWS] {
    std::array::from_fn(|row| &x[from + row * width..][..dim])
}

/// The same, mutable.
#[inline(always)]
fn rows_mut<const ROWS: usize>(
    x: &mut [f32],
    from: usize,
    width: usize,
    dim: usize,
) -> [&mut [f32]; ROWS] {
    let mut rows = x[from..].chunks_mut(width);
    std::array::from_fn(|_| &mut rows.next().expect("as many rows as queries")[..dim])
}

/// One head's queries of one segment, and their keys and values.
struct Head<'a> {
    attention: Attention,
    keys: &'a KvBlock<'a>,
    values: &'a KvBlock<'a>,
    /// The width of a row of queries, and the head's offset in it.
    width: usize,
    offset: usize,
}

impl Head<'_> {
    /// The range of keys that any of `ROWS` queries sees, where the first query sees the keys up to
    /// `visible`.
    #[inline(always)]
    fn seen<const ROWS: usize>(&self, visible: usize) -> Range<usize> {
        self.attention.first(visible)..visible + ROWS - 1
    }

    /// Probabilities of `ROWS` queries that begin at `row`.
    #[inline(always)]
    fn probabilities<const ROWS: usize>(
        &self,
        q: &[f32],
        row: usize,
        visible: usize,
        p: &mut ScoreTile,
        slopes: &mut ScoreTile,
    ) {
        let queries = rows::<ROWS>(q, row * self.width + self.offset, self.width, self.keys.dim);
        let by_any = self.seen::<ROWS>(visible);
        p.products(queries, self.attention.scale, self.keys, by_any.clone());
        for query in 0..ROWS {
            let seen = self.attention.first(visible + query)..visible + query;
            masked_softmax(
                p.line_mut(query),
                slopes.line_mut(query),
                self.attention.softcap,
                seen,
                by_any.clone(),
            );
        }
    }

    /// Attention output of `ROWS` queries that begin at `row`. The first of them sees the keys up
    /// to `visible`.
    #[inline(always)]
    fn attend<const ROWS: usize>(
        &self,
        q: &[f32],
        row: usize,
        visible: usize,
        [p, slopes]: &mut [ScoreTile; 2],
        out: &mut [f32],
    ) {
        self.probabilities::<ROWS>(q, row, visible, p, slopes);
        let mut out =
            rows_mut::<ROWS>(out, row * self.width + self.offset, self.width, self.values.dim);
        out.iter_mut().for_each(|out| out.fill(0.0));
        p.add_sums(self.values, self.seen::<ROWS>(visible), out);
    }
}

vectorised! {
    /// Causal attention inside segments. `q` and `out` are `[rows, query * dim]` and begin with row
    /// `first`. `k` and `v` are `[rows, key_value * dim]` and begin with row 0. Rows in no segment
    /// keep the values of `out`.
    pub fn attention(
        q: &[f32],
        k: &[f32],
        v: &[f32],
        attention: Attention,
        segments: &[Segment],
        first: usize,
        out: &mut [f32],
    ) {
        let heads = attention.heads;
        let dim = heads.dim;
        let (width, narrow) = (heads.query * dim, heads.key_value * dim);
        let group = heads.query / heads.key_value;
        let most = segments.iter().map(Segment::seen).max().unwrap_or(0);
        let capped = if attention.softcap.is_some() { most } else { 0 };
        let mut tiles = [ScoreTile::new(most), ScoreTile::new(capped)];
        for shared in 0..heads.key_value {
            let mut keys = KvBlock::new(k, narrow, shared * dim, dim, segments, Layout::Both);
            let mut values = KvBlock::new(v, narrow, shared * dim, dim, segments, Layout::Rows);
            for segment in segments {
                keys.gather(segment);
                values.gather(segment);
                let before = keys.count - segment.rows.len();
                for head in shared * group..(shared + 1) * group {
                    let offset = head * dim;
                    let head = Head { attention, keys: &keys, values: &values, width, offset };
                    let mut done = 0;
                    while done < segment.rows.len() {
                        let (row, visible) = (segment.rows.start + done - first, before + done + 1);
                        if segment.rows.len() - done >= QUERY_TILE {
                            head.attend::<QUERY_TILE>(q, row, visible, &mut tiles, out);
                            done += QUERY_TILE;
                        } else {
                            head.attend::<1>(q, row, visible, &mut tiles, out);
                            done += 1;
                        }
                    }
                }
            }
        }
    }
}

/// Gradients of keys and values, `[rows, key_value * dim]`.
struct KvGradients<'a> {
    dk: &'a mut [f32],
    dv: &'a mut [f32],
}

impl KvGradients<'_> {
    /// Adds what `ROWS` queries contribute to the keys and values of one head. `at` is the place of
    /// the head in the row of the first key, and rows are `width` apart.
    #[inline(always)]
    fn add<const ROWS: usize>(
        &mut self,
        (mut at, width): (usize, usize),
        keys: Range<usize>,
        [p, dp]: [&ScoreTile; 2],
        [queries, douts]: [[&[f32]; ROWS]; 2],
    ) {
        for key in keys {
            let dim = queries[0].len();
            let (dk, dv) = (&mut self.dk[at..][..dim], &mut self.dv[at..][..dim]);
            for query in 0..ROWS {
                axpy(dp.line(query)[key], queries[query], dk);
                axpy(p.line(query)[key], douts[query], dv);
            }
            at += width;
        }
    }
}

/// Where the gradients of one head of a segment are added.
struct SegmentGradients<'a> {
    /// Of the segment's own rows, and the segment's first row there.
    own: KvGradients<'a>,
    start: usize,
    /// Of its prefix, from its first key.
    prefix: KvGradients<'a>,
    /// The number of keys in the prefix.
    before: usize,
    /// The width of a row, and the head's offset in it.
    width: usize,
    offset: usize,
}

impl Head<'_> {
    /// Backward of [`Head::attend`].
    #[inline(always)]
    fn attend_backward<const ROWS: usize>(
        &self,
        (q, dout, dq): (&[f32], &[f32], &mut [f32]),
        row: usize,
        visible: usize,
        [p, dp, slopes]: &mut [ScoreTile; 3],
        of: &mut SegmentGradients<'_>,
    ) {
        let (dim, at, seen) =
            (self.keys.dim, row * self.width + self.offset, self.seen::<ROWS>(visible));
        let (queries, douts) =
            (rows::<ROWS>(q, at, self.width, dim), rows::<ROWS>(dout, at, self.width, dim));
        self.probabilities::<ROWS>(q, row, visible, p, slopes);
        dp.products(douts, 1.0, self.values, seen.clone());
        for query in 0..ROWS {
            let (p, dp) = (&p.line(query)[seen.clone()], &mut dp.line_mut(query)[seen.clone()]);
            let mean = dot(p, dp);
            for (dp, p) in dp.iter_mut().zip(p) {
                *dp = p * (*dp - mean) * self.attention.scale;
            }
            if self.attention.softcap.is_some() {
                for (dp, slope) in dp.iter_mut().zip(&slopes.line(query)[seen.clone()]) {
                    *dp *= slope;
                }
            }
        }
        dp.add_sums(self.keys, seen.clone(), rows_mut::<ROWS>(dq, at, self.width, dim));
        let tiles = [&*p, &*dp];
        let (early, late) = (seen.start.min(of.before)..of.before, seen.start.max(of.before));
        let place = |row: usize| (row * of.width + of.offset, of.width);
        of.prefix.add(place(early.start), early, tiles, [queries, douts]);
        let first = of.start + late - of.before;
        of.own.add(place(first), late..seen.end, tiles, [queries, douts]);
    }
}

vectorised! {
    /// Backward of [`attention`]: adds to `dq`, `dk` and `dv`. They, `q` and `dout` begin with row
    /// `first`; `k` and `v` with row 0. `before` receives the gradients of the segments' prefixes:
    /// for each segment in order, those of the keys, then those of the values.
    pub fn attention_backward(
        dout: &[f32],
        q: &[f32],
        k: &[f32],
        v: &[f32],
        attention: Attention,
        segments: &[Segment],
        first: usize,
        dq: &mut [f32],
        dk: &mut [f32],
        dv: &mut [f32],
        before: &mut [f32],
    ) {
        let heads = attention.heads;
        let dim = heads.dim;
        let (width, narrow) = (heads.query * dim, heads.key_value * dim);
        let group = heads.query / heads.key_value;
        let most = segments.iter().map(Segment::seen).max().unwrap_or(0);
        let mut tiles = [most, most, most].map(ScoreTile::new);
        for shared in 0..heads.key_value {
            let mut keys = KvBlock::new(k, narrow, shared * dim, dim, segments, Layout::Both);
            let mut values = KvBlock::new(v, narrow, shared * dim, dim, segments, Layout::Both);
            let mut taken = 0;
            for segment in segments {
                keys.gather(segment);
                values.gather(segment);
                let start = segment.rows.start - first;
                let seen_before = segment.before();
                let prefix = &mut before[taken..][..2 * seen_before * narrow];
                taken += prefix.len();
                let (prefix_dk, prefix_dv) = prefix.split_at_mut(seen_before * narrow);
                let mut gradients = SegmentGradients {
                    own: KvGradients { dk, dv },
                    start,
                    prefix: KvGradients { dk: prefix_dk, dv: prefix_dv },
                    before: seen_before,
                    width: narrow,
                    offset: shared * dim,
                };
                for head in shared * group..(shared + 1) * group {
                    let offset = head * dim;
                    let head = Head { attention, keys: &keys, values: &values, width, offset };
                    let mut done = 0;
                    while done < segment.rows.len() {
                        let (row, visible) = (start + done, seen_before + done + 1);
                        let slices = (q, dout, &mut *dq);
                        if segment.rows.len() - done >= QUERY_TILE {
                            head.attend_backward::<QUERY_TILE>(
                                slices,
                                row,
                                visible,
                                &mut tiles,
                                &mut gradients,
                            );
                            done += QUERY_TILE;
                        } else {
                            head.attend_backward::<1>(
                                slices,
                                row,
                                visible,
                                &mut tiles,
                                &mut gradients,
                            );
                            done += 1;
                        }
                    }
                }
            }
        }
    }
}
