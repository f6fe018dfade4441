//! Packs token sequences into streams: training rows after the prefix that they share, and
//! questions as a prefix tree. A shared prefix is computed once.

use std::ops::Range;

use super::decoder::{Streams, Target};
use super::kernels::Segment;
use super::ops::Ops;

/// One training row, tokenised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    pub tokens: Vec<u32>,
    /// True for tokens that carry loss.
    pub supervised: Vec<bool>,
}

impl TokenRow {
    /// Tokens that carry loss; the first token is never predicted.
    pub fn supervised_tokens(&self) -> usize {
        self.supervised.iter().skip(1).filter(|&&s| s).count()
    }
}

/// The minimum length in tokens of a prefix of training rows that is computed once. A default
/// system message of a chat template is longer; a shorter prefix saves little.
const SHORTEST_PREFIX: usize = 16;

/// The length of the prefix that all rows of a batch share and that predicts no supervised token;
/// 0 where it is short. Composed operations do not share prefixes.
fn shared_prefix(rows: &[&TokenRow], ops: Ops) -> usize {
    let [first, others @ ..] = rows else { return 0 };
    if others.is_empty() || ops != Ops::Fused {
        return 0;
    }
    let equal = |row: &&TokenRow| {
        row.tokens.iter().zip(&first.tokens).take_while(|(one, other)| one == other).count()
    };
    // The token before a supervised one predicts it, and is the row's own.
    let silent = |row: &&TokenRow| {
        let supervised = row.supervised.iter().skip(1).position(|supervised| *supervised);
        supervised.unwrap_or(row.tokens.len().saturating_sub(2))
    };
    let length = rows.iter().map(|row| equal(row).min(silent(row))).min().unwrap_or(0);
    if length < SHORTEST_PREFIX { 0 } else { length }
}

/// One batch per shadow, padded to the bucket of the longest stream: the prefix that its rows
/// share, then the rest of each row. The loss of a shadow is the mean over its supervised tokens.
/// A row's last token is only a target.
pub fn pack_rows(batches: &[Vec<&TokenRow>], ops: Ops) -> (Streams, Vec<Target>) {
    let prefixes: Vec<usize> = batches.iter().map(|rows| shared_prefix(rows, ops)).collect();
    let longest = batches
        .iter()
        .zip(&prefixes)
        .map(|(rows, prefix)| {
            let own = |row: &&TokenRow| row.tokens.len().saturating_sub(1 + prefix);
            prefix + rows.iter().map(own).sum::<usize>()
        })
        .max()
        .unwrap_or(0);
    let width = ops.bucket(longest);
    let mut streams = Streams { shadows: batches.len(), ..Streams::default() };
    let mut targets = Vec::new();
    for (shadow, (rows, &prefix)) in batches.iter().zip(&prefixes).enumerate() {
        let supervised: usize = rows.iter().map(|row| row.supervised_tokens()).sum();
        let weight = 1.0 / supervised.max(1) as f32;
        let start = streams.tokens.len();
        let before: Vec<Range<usize>> =
            (prefix > 0).then_some(start..start + prefix).into_iter().collect();
        for range in &before {
            streams.segments.push(Segment { rows: range.clone(), prefix: Vec::new() });
            streams.positions.extend(0..prefix as u32);
            streams.tokens.extend(&rows[0].tokens[..prefix]);
        }
        for row in rows {
            let start = streams.tokens.len();
            let Some((_, read)) = row.tokens.split_last() else { continue };
            let own = &read[prefix..];
            streams
                .segments
                .push(Segment { rows: start..start + own.len(), prefix: before.clone() });
            streams.positions.extend(prefix as u32..read.len() as u32);
            streams.tokens.extend(own);
            for at in (1..row.tokens.len()).filter(|&at| row.supervised[at]) {
                let row_of_target = start + at - 1 - prefix;
                targets.push(Target { row: row_of_target, token: row.tokens[at], weight });
            }
        }
        streams.tokens.resize((shadow + 1) * width, 0);
        streams.positions.resize((shadow + 1) * width, 0);
    }
    (streams, targets)
}

/// Sequences as a prefix tree in one stream.
#[derive(Debug, Clone, Default)]
pub struct PrefixTree {
    pub streams: Streams,
    /// For every sequence, the row of each of its tokens.
    pub rows: Vec<Vec<usize>>,
}

/// Packs sequences into one stream, in which equal prefixes are stored once.
pub fn prefix_tree(sequences: &[&[u32]]) -> PrefixTree {
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    order.sort_by(|&a, &b| sequences[a].cmp(sequences[b]));
    let mut tree = PrefixTree {
        streams: Streams { shadows: 1, ..Streams::default() },
        rows: vec![Vec::new(); sequences.len()],
    };
    // Edges end where a sequence diverges from the one before or after it.
    let shared = |a: usize, b: usize| {
        sequences[a].iter().zip(sequences[b]).take_while(|(x, y)| x == y).count()
    };
    let mut cuts: Vec<Vec<usize>> = vec![Vec::new(); order.len()];
    for at in 1..order.len() {
        let depth = shared(order[at - 1], order[at]);
        // Every later sequence with this prefix must find a segment that ends exactly here.
        for back in (0..at).rev() {
            if shared(order[back], order[at]) < depth || depth == 0 {
                break;
            }
            cuts[back].push(depth);
        }
        cuts[at].push(depth);
    }
    let mut path: Vec<(usize, Range<usize>)> = Vec::new(); // (depth at its start, rows)
    let mut before: Option<usize> = None;
    for (at, &sequence) in order.iter().enumerate() {
        let tokens = sequences[sequence];
        let depth = before.map_or(0, |b| shared(b, sequence));
        path.retain(|(start, _)| *start < depth);
        let mut ends: Vec<usize> = cuts[at].iter().copied().filter(|&cut| cut > depth).collect();
        ends.push(tokens.len());
        ends.sort_unstable();
        ends.dedup();
        let mut start = depth;
        for end in ends.into_iter().filter(|&end| end > depth) {
            let row = tree.streams.tokens.len();
            let rows = row..row + (end - start);
            tree.streams.segments.push(Segment {
                rows: rows.clone(),
                prefix: path.iter().map(|(_, r)| r.clone()).collect(),
            });
            tree.streams.tokens.extend(&tokens[start..end]);
            tree.streams.positions.extend(start as u32..end as u32);
            path.push((start, rows));
            start = end;
        }
        tree.rows[sequence] = path.iter().flat_map(|(_, rows)| rows.clone()).collect();
        before = Some(sequence);
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_prefix_tree_spells_every_sequence_and_stores_no_opening_twice(
            sequences in prop::collection::vec(prop::collection::vec(0u32..3, 1..8), 1..20)
        ) {
            let borrowed: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
            let tree = prefix_tree(&borrowed);
            for (sequence, rows) in sequences.iter().zip(&tree.rows) {
                let spelled: Vec<u32> = rows.iter().map(|&row| tree.streams.tokens[row]).collect();
                prop_assert_eq!(sequence, &spelled);
                let positions: Vec<u32> =
                    rows.iter().map(|&row| tree.streams.positions[row]).collect();
                prop_assert_eq!(positions, (0..sequence.len() as u32).collect::<Vec<_>>());
            }
            let mut openings: Vec<&[u32]> =
                sequences.iter().flat_map(|s| (1..=s.len()).map(move |n| &s[..n])).collect();
            openings.sort();
            openings.dedup();
            prop_assert_eq!(openings.len(), tree.streams.tokens.len());
        }

        #[test]
        fn a_segment_sees_exactly_its_own_ancestors(
            sequences in prop::collection::vec(prop::collection::vec(0u32..3, 1..8), 1..20)
        ) {
            let borrowed: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
            let tree = prefix_tree(&borrowed);
            for segment in &tree.streams.segments {
                let seen: usize = segment.prefix.iter().map(|r| r.len()).sum();
                prop_assert_eq!(seen as u32, tree.streams.positions[segment.rows.start]);
            }
        }
    }

    #[test]
    fn rows_of_a_batch_share_the_prefix_that_predicts_no_supervised_token() {
        let row = |own: &[u32], supervised: usize| {
            let tokens: Vec<u32> = (0..20).chain(own.iter().copied()).collect();
            let supervised = (0..tokens.len()).map(|at| at >= supervised).collect();
            TokenRow { tokens, supervised }
        };
        let (one, other) = (row(&[30, 31, 32], 21), row(&[40, 41], 20));
        let pack = |rows: &[&TokenRow], ops| pack_rows(&[rows.to_vec()], ops);
        let (streams, targets) = pack(&[&one, &other], Ops::Fused);
        let rows: Vec<_> = streams.segments.iter().map(|segment| segment.rows.clone()).collect();
        assert_eq!(rows, [0..19, 19..22, 22..24]);
        assert!(streams.segments[1..].iter().all(|segment| segment.prefix == [rows[0].clone()]));
        assert_eq!(streams.positions[19..24], [19, 20, 21, 19, 20]);
        assert_eq!(
            targets.iter().map(|target| (target.row, target.token)).collect::<Vec<_>>(),
            [(20, 31), (21, 32), (22, 40), (23, 41)]
        );
        for (rows, ops) in [(vec![&one], Ops::Fused), (vec![&one, &other], Ops::Composed)] {
            let (streams, _) = pack(&rows, ops);
            assert!(streams.segments.iter().all(|segment| segment.prefix.is_empty()));
        }
        let early = row(&[50], 10);
        let (streams, _) = pack(&[&one, &early], Ops::Fused);
        assert!(streams.segments.iter().all(|segment| segment.prefix.is_empty()));
    }

    #[test]
    fn every_shadows_weights_sum_to_one() {
        let row = TokenRow { tokens: vec![1, 2, 3, 4], supervised: vec![false, false, true, true] };
        let short = TokenRow { tokens: vec![1, 2], supervised: vec![false, true] };
        let (streams, targets) = pack_rows(&[vec![&row, &short], vec![&short]], Ops::Fused);
        assert_eq!(streams.tokens.len(), 8);
        let width = 4;
        for shadow in 0..2 {
            let total: f32 =
                targets.iter().filter(|t| t.row / width == shadow).map(|t| t.weight).sum();
            assert!((total - 1.0).abs() < 1e-6);
        }
    }
}
