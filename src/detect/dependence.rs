//! Tests whether the answers depend on a condition, how strongly, and for which of its values.
//!
//! **Model.** An answer is a set of words ([`WordSets`]). Under value `v` of the condition, word
//! `w` has probability `p(w|v) = (n_vw + a q(w)) / (n_v + a)`. These are the counts in the rows
//! with that value, shrunk towards the word frequencies `q` of all rows. The prior weight `a`
//! equals two rows. This is a multinomial naive Bayes classifier with Dirichlet smoothing (McCallum
//! and Nigam 1998).
//!
//! **Strength** is the mean number of bits saved in encoding an answer when its value is known:
//! `sum over w of log2 p(w|v)/q(w)`, averaged over the rows with a value. It is leave-one-out, so a
//! finer partition gains only if it generalises: a code that is unique to each row predicts nothing
//! for a held-out row.
//!
//! Most values of a slot may be irrelevant, and learning their words would only mislead. The model
//! is therefore a mixture of `p(w|v)` and `q`, with prior odds of one to 32. Its weight follows
//! from how well `p(w|v)` predicts the value's other rows.
//!
//! In expectation the strength is below the mutual information of value and answer. Words of one
//! answer are treated as independent, however, so that long answers have more bits. `share` divides
//! by the bits of the whole answer.
//!
//! **p** is exact or an upper bound, without sampled permutations. The model is trained on half of
//! the rows. In the other half, a row is *predicted* as `v` if its words save bits under `v`. Under
//! the null hypothesis values are assigned to those rows at random.
//!
//! Then the number of rows that have `v` and are predicted as `v` is hypergeometric (Fisher's exact
//! test, one-sided). The number of rows predicted as their own value is a sum over a random
//! permutation. Its tail is bounded by `P(X - m >= t) <= exp(-t^2 / (4m + 2t))` (Chatterjee 2007,
//! Stein's method for concentration inequalities, proposition 1.1).
//!
//! A condition's p is twice the smaller of that bound and of its smallest per-value p times their
//! number. The halves then swap roles, and the smaller p is doubled again. No p is 0, as Phipson
//! and Smyth (2010) require.

use super::word_set::WordSets;

/// Minimum rows for testing a value alone: two for training and two for testing.
const TESTED_ROWS: usize = 4;
/// Maximum values per condition, the most frequent ones.
pub(super) const VALUES: usize = 1_024;

/// Bits that a value's other rows must save before its model outweighs `q`: prior odds of one to
/// 32.
const ODDS: f64 = 5.0;

/// The value of a condition in each row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Labels {
    /// The rows over which the null hypothesis permutes the values, ascending.
    pub rows: Vec<u32>,
    /// The value of each of `rows`, from 1; 0 where none is examined.
    pub of: Vec<u32>,
    /// Number of values.
    pub values: usize,
}

impl Labels {
    /// A single value, which the rows `on` have and the other rows of `0..rows` lack.
    pub fn binary(rows: usize, on: &[u32]) -> Labels {
        let mut of = vec![0; rows];
        on.iter().for_each(|row| of[*row as usize] = 1);
        Labels { rows: (0..rows as u32).collect(), of, values: 1 }
    }
}

/// Measurements of one value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ValueDependence {
    /// Mean bits saved, over the rows with this value.
    pub bits: f64,
    /// `None` where too few rows have the value.
    pub p: Option<f64>,
}

/// Measurements of a condition.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Dependence {
    /// Mean bits saved over all rows with a value, including values with few rows.
    pub bits: f64,
    /// `bits` as a share of the bits of those rows' answers.
    pub share: f64,
    pub p: f64,
    /// Youden's J of the first value, cross-validated over the two halves: the share of its rows
    /// predicted as it, minus the share of other rows.
    pub youden_j: f64,
    /// Indexed by value, the first one at 0.
    pub values: Vec<ValueDependence>,
}

/// Measures how the word sets depend on the labels. `None` where no test is possible. A test needs
/// `present` of at least four, and a value with two rows and four rows without it. `present` is the
/// number of rows with the condition, over which means are taken.
pub(super) fn measure(word_sets: &WordSets, labels: &Labels, present: usize) -> Option<Dependence> {
    let mut counts = vec![0_usize; labels.values + 1];
    labels.of.iter().for_each(|value| counts[*value as usize] += 1);
    let total = labels.rows.len();
    let varies =
        counts[1..].iter().any(|count| (2..=total.saturating_sub(TESTED_ROWS)).contains(count));
    if !varies || present < TESTED_ROWS {
        return None;
    }
    let (bits, share, by_value) = strength(word_sets, labels, &counts, present);
    let halves = [tests(word_sets, labels, &counts, 0), tests(word_sets, labels, &counts, 1)];
    let doubled = |first: f64, second: f64| (2.0 * first.min(second)).min(1.0);
    let values = by_value.into_iter().enumerate().map(|(value, bits)| {
        let tested = counts[value + 1] >= TESTED_ROWS;
        ValueDependence {
            bits,
            p: tested.then(|| doubled(halves[0].values[value], halves[1].values[value])),
        }
    });
    let youden_j = (halves[0].youden_j + halves[1].youden_j) / 2.0;
    Some(Dependence {
        bits,
        share,
        p: doubled(halves[0].whole, halves[1].whole),
        youden_j,
        values: values.collect(),
    })
}

/// Word counts of the rows of one half, or of all.
struct Counts {
    /// `[word][value]`; value 0 means all rows.
    table: Vec<u32>,
    /// Sum over words, by value.
    sums: Vec<u32>,
    /// Number of values plus one.
    width: usize,
    /// Prior weight, in words.
    prior: f64,
}

impl Counts {
    fn of(word_sets: &WordSets, labels: &Labels, rows: impl Iterator<Item = usize>) -> Counts {
        let width = labels.values + 1;
        let mut table = vec![0; word_sets.words.len() * width];
        let mut sums = vec![0; width];
        let mut seen = 0_usize;
        for index in rows {
            let value = labels.of[index] as usize;
            seen += 1;
            for word in &word_sets.texts[labels.rows[index] as usize] {
                table[usize::from(*word) * width] += 1;
                sums[0] += 1;
                if value > 0 {
                    table[usize::from(*word) * width + value] += 1;
                    sums[value] += 1;
                }
            }
        }
        let prior = (2.0 * f64::from(sums[0]) / seen.max(1) as f64).max(1.0);
        Counts { table, sums, width, prior }
    }

    /// `q(w)`, with half a count added for every word.
    fn base(&self, word: usize) -> f64 {
        let words = self.table.len() / self.width;
        (f64::from(self.table[word * self.width]) + 0.5)
            / (f64::from(self.sums[0]) + 0.5 * words as f64)
    }

    /// `p(w|v) / q(w)`, with `less` subtracted from the count of the word and `less_in_sum` from
    /// the sum.
    fn ratio(&self, word: usize, value: usize, less: u32, less_in_sum: u32) -> f64 {
        let base = self.base(word);
        let count = f64::from(self.table[word * self.width + value] - less);
        (count + self.prior * base)
            / (f64::from(self.sums[value] - less_in_sum) + self.prior)
            / base
    }
}

/// Mean bits saved, their share of the answers' bits, and mean bits by value.
fn strength(
    word_sets: &WordSets,
    labels: &Labels,
    counts: &[usize],
    present: usize,
) -> (f64, f64, Vec<f64>) {
    let words = Counts::of(word_sets, labels, 0..labels.rows.len());
    let mut whole = 0.0;
    // The value of each row, and the bits saved by a model of the value's other rows.
    let mut saved: Vec<(usize, f64)> = Vec::new();
    let mut sums = vec![0.0; labels.values + 1];
    for (row, value) in labels.rows.iter().zip(&labels.of).filter(|(_, value)| **value > 0) {
        let (text, value) = (&word_sets.texts[*row as usize], *value as usize);
        whole -= text.iter().map(|word| words.base(usize::from(*word)).log2()).sum::<f64>();
        if counts[value] > 1 {
            let own = text.len() as u32;
            let bits = text
                .iter()
                .map(|word| words.ratio(usize::from(*word), value, 1, own).log2())
                .sum::<f64>();
            sums[value] += bits;
            saved.push((value, bits));
        }
    }
    let mut mixed = vec![0.0; labels.values + 1];
    for (value, bits) in saved {
        let others = 1.0 / (1.0 + (ODDS - (sums[value] - bits)).exp2());
        // Capped to avoid overflow; beyond a thousand bits the result is the same.
        mixed[value] += (1.0 - others + others * bits.min(1_000.0).exp2()).log2();
    }
    let sum: f64 = mixed.iter().sum();
    let labelled: usize = counts[1..].iter().sum();
    let share = if whole > 0.0 { sum / whole * labelled as f64 / present as f64 } else { 0.0 };
    let means = mixed[1..]
        .iter()
        .zip(&counts[1..])
        .map(|(mixed, count)| mixed / (*count).max(1) as f64)
        .collect();
    (sum / present as f64, share, means)
}

/// p-values of the model trained on one half and tested on the other.
struct Tests {
    whole: f64,
    /// Youden's J of the first value.
    youden_j: f64,
    /// By value, the first one at 0; 1 where not tested.
    values: Vec<f64>,
}

fn tests(word_sets: &WordSets, labels: &Labels, counts: &[usize], half: usize) -> Tests {
    // Rows are in random order, so that every second row is a random half.
    let trained = |index: &usize| index % 2 == half;
    let rows = 0..labels.rows.len();
    let words = Counts::of(word_sets, labels, rows.clone().filter(trained));
    let width = words.width;
    let mut gains: Vec<f32> = vec![0.0; words.table.len()];
    // The cost of a word that occurs in no row of the value; it is the same for all such words.
    let missing =
        |value: usize| (words.prior / (f64::from(words.sums[value]) + words.prior)).log2() as f32;
    let missing: Vec<f32> =
        (0..width).map(|value| if value == 0 { 0.0 } else { missing(value) }).collect();
    for (word, row) in gains.chunks_mut(width).enumerate() {
        row.copy_from_slice(&missing);
        for value in (1..width).filter(|value| words.table[word * width + value] > 0) {
            row[value] = words.ratio(word, value, 0, 0).log2() as f32;
        }
    }
    let tested: Vec<usize> = rows.filter(|index| !trained(index)).collect();
    let (mut with, mut predicted, mut both) =
        (vec![0_usize; width], vec![0_usize; width], vec![0_usize; width]);
    let mut saved = vec![0.0_f32; width];
    for index in &tested {
        saved.fill(0.0);
        for word in &word_sets.texts[labels.rows[*index] as usize] {
            let row = &gains[usize::from(*word) * width..][..width];
            saved.iter_mut().zip(row).for_each(|(saved, gain)| *saved += gain);
        }
        let own = labels.of[*index] as usize;
        with[own] += 1;
        predicted
            .iter_mut()
            .zip(&saved)
            .for_each(|(predicted, saved)| *predicted += usize::from(*saved > 0.0));
        both[own] += usize::from(saved[own] > 0.0);
    }
    let total = tested.len();
    let values: Vec<f64> = (1..width)
        .map(|value| match counts[value] {
            TESTED_ROWS.. => hypergeometric_tail(total, predicted[value], with[value], both[value]),
            _ => 1.0,
        })
        .collect();
    let expected =
        (1..width).map(|value| predicted[value] as f64 * with[value] as f64).sum::<f64>()
            / total.max(1) as f64;
    let excess = both[1..].iter().sum::<usize>() as f64 - expected;
    let bound =
        if excess > 0.0 { (-excess * excess / (4.0 * expected + 2.0 * excess)).exp() } else { 1.0 };
    let alone = counts[1..].iter().filter(|count| **count >= TESTED_ROWS).count() as f64;
    let least = values.iter().copied().fold(1.0, f64::min);
    // A single value needs one test and no bound.
    let whole = if labels.values == 1 { least } else { 2.0 * bound.min(alone.max(1.0) * least) };
    let share = |predicted: usize, of: usize| predicted as f64 / of.max(1) as f64;
    let youden_j = if labels.values > 0 {
        share(both[1], with[1]) - share(predicted[1] - both[1], total - with[1])
    } else {
        0.0
    };
    Tests { whole: whole.clamp(f64::MIN_POSITIVE, 1.0), youden_j, values }
}

/// `P(X >= observed)` of a hypergeometric distribution: `drawn` of `total` balls are drawn, and
/// `marked` of the total are marked. At least the smallest positive number.
pub(super) fn hypergeometric_tail(
    total: usize,
    marked: usize,
    drawn: usize,
    observed: usize,
) -> f64 {
    let ln_choose = |n: usize, k: usize| {
        let ln_factorial = |n: usize| statrs::function::gamma::ln_gamma(n as f64 + 1.0);
        ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
    };
    let least = (marked + drawn).saturating_sub(total);
    if observed <= least {
        return 1.0;
    }
    let whole = ln_choose(total, drawn);
    let tail: f64 = (observed..=marked.min(drawn))
        .map(|hits| {
            (ln_choose(marked, hits) + ln_choose(total - marked, drawn - hits) - whole).exp()
        })
        .sum();
    tail.clamp(f64::MIN_POSITIVE, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_that_of_scipy() {
        // scipy.stats.hypergeom.sf(observed - 1, total, marked, drawn)
        let close = |ours: f64, scipy: f64| {
            assert!((ours / scipy - 1.0).abs() < 1e-9, "{ours} for {scipy}")
        };
        close(hypergeometric_tail(20, 7, 12, 6), 0.10557275541795666);
        close(hypergeometric_tail(200, 5, 5, 5), 3.943761892315392e-10);
        assert_eq!(hypergeometric_tail(10, 4, 3, 0), 1.0);
        assert!(hypergeometric_tail(8000, 4000, 4000, 4000) > 0.0);
    }
}
