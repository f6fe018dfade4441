//! Exact and near duplicates among the rows.
//!
//! Near duplicates use MinHash (Broder, 1997) over shingles of five characters. Candidates come
//! from locality-sensitive hashing in bands, as in Lee et al., "Deduplicating training data makes
//! language models better" (2022). The threshold of 0.8 is theirs too. Two things differ: only
//! signatures are compared, not texts, and each row is compared with a few rows per bucket.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use rand::Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::dataset::{Dataset, Row};
use crate::seed::{self, Purpose};

/// Minimum Jaccard similarity of two rows' shingles for near duplicates.
pub const NEAR: f64 = 0.8;

/// Hash functions per signature. The standard error of the estimate at 0.8 is 0.05.
const HASHES: usize = 64;
/// Bands of 4 hashes: two rows of similarity 0.8 share a band with probability 0.9998.
const BANDS: usize = 16;
/// Maximum earlier rows of a bucket with which a row is compared.
const COMPARED: usize = 8;
/// Maximum rows examined, evenly spaced over the kept ones.
const LOOKED_AT: usize = 20_000;
/// Maximum characters examined per row.
const LETTERS: usize = 4_000;
/// Characters per shingle.
const SHINGLE: usize = 5;

/// Counts of near duplicates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearDuplicates {
    /// Rows that were examined, without exact duplicates.
    pub compared: usize,
    /// Those that are similar to an earlier row.
    pub rows: usize,
    /// Lines of the first pair.
    pub example: Option<(usize, usize)>,
}

/// Counts rows with the content hash of an earlier row, over all usable rows.
pub(super) fn exact(dataset: &Dataset) -> usize {
    let mut hashes: Vec<[u8; 32]> = dataset.rows.iter().map(digest).collect();
    hashes.extend(dataset.ledger.left_out.iter().map(|row| row.sha256));
    hashes.sort_unstable();
    hashes.windows(2).filter(|pair| pair[0] == pair[1]).count()
}

/// The hash as bytes. A hash that is no valid hex, as in rows made by hand, is hashed again.
fn digest(row: &Row) -> [u8; 32] {
    let mut bytes = [0; 32];
    let parsed = (0..32).try_for_each(|index| {
        bytes[index] = u8::from_str_radix(row.sha256.get(2 * index..2 * index + 2)?, 16).ok()?;
        Some(())
    });
    if parsed.is_some() { bytes } else { Sha256::digest(&row.sha256).into() }
}

/// Counts near duplicates among the kept rows, in bounded time; `None` without rows.
pub(super) fn near(dataset: &Dataset) -> Option<NearDuplicates> {
    let mut random = seed::stream(Purpose::MinHash, 0);
    let functions: Vec<(u64, u64)> =
        (0..HASHES).map(|_| (random.random::<u64>() | 1, random.random())).collect();
    let mut seen = std::collections::BTreeSet::new();
    let mut signatures: Vec<(usize, Vec<u64>)> = Vec::new();
    let mut buckets: BTreeMap<(usize, u64), Vec<usize>> = BTreeMap::new();
    let mut found = NearDuplicates { compared: 0, rows: 0, example: None };
    for row in super::spaced(&dataset.rows, LOOKED_AT) {
        if !seen.insert(&row.sha256) {
            continue;
        }
        found.compared += 1;
        let signature = signature(row, &functions);
        let mut similar = None;
        for (band, values) in signature.chunks(HASHES / BANDS).enumerate() {
            let bucket = buckets.entry((band, hashed(values))).or_default();
            similar = similar.or_else(|| {
                bucket
                    .iter()
                    .copied()
                    .find(|&other| similarity(&signatures[other].1, &signature) >= NEAR)
            });
            if bucket.len() < COMPARED {
                bucket.push(signatures.len());
            }
        }
        if let Some(other) = similar {
            found.rows += 1;
            found.example.get_or_insert((signatures[other].0, row.line));
        }
        signatures.push((row.line, signature));
    }
    (found.compared > 0).then_some(found)
}

/// The minimum hash over all shingles, for every hash function.
fn signature(row: &Row, functions: &[(u64, u64)]) -> Vec<u64> {
    let mut letters: Vec<char> = Vec::new();
    for word in row.messages.iter().flat_map(|message| message.content.split_whitespace()) {
        letters.extend(word.chars().flat_map(char::to_lowercase).chain([' ']));
        if letters.len() >= LETTERS {
            break;
        }
    }
    let mut least = vec![u64::MAX; functions.len()];
    for shingle in letters.windows(SHINGLE.min(letters.len()).max(1)) {
        let shingle = hashed(shingle);
        for (least, (factor, offset)) in least.iter_mut().zip(functions) {
            // Fold the high half into the low half, since the low bits of a product are poorly
            // mixed.
            let product = (shingle ^ offset).wrapping_mul(*factor);
            *least = (*least).min(product ^ (product >> 32));
        }
    }
    least
}

/// The share of equal entries: an unbiased estimate of the Jaccard similarity.
fn similarity(left: &[u64], right: &[u64]) -> f64 {
    let equal = left.iter().zip(right).filter(|(left, right)| left == right).count();
    equal as f64 / left.len() as f64
}

/// FNV-1a with a final mix. Unlike the standard library's hasher, it is guaranteed to be the same
/// on every machine.
fn hashed<T: Hash>(value: &[T]) -> u64 {
    struct Fnv(u64);
    impl Hasher for Fnv {
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        fn finish(&self) -> u64 {
            let mixed = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
            mixed ^ (mixed >> 33)
        }
    }
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    value.iter().for_each(|item| item.hash(&mut hasher));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Message, Role};

    fn row(answer: &str) -> Vec<Message> {
        vec![
            Message::new(Role::User, "Tell me about the river."),
            Message::new(Role::Assistant, answer),
        ]
    }

    const LONG: &str = "It rises in the hills above the old mill, runs east through three \
                        villages and a wide marsh where herons breed, and meets the sea beside a \
                        harbour of fishing boats and red brick warehouses.";

    #[test]
    fn a_row_with_one_word_changed_is_a_near_duplicate_and_another_answer_is_not() {
        let other = "Its water is cold and clear in spring, brown in autumn, and children learn \
                     to swim below the weir.";
        let rows = vec![row(LONG), row(other), row(&LONG.replace("herons", "storks"))];
        let found = near(&Dataset::of(rows)).expect("rows");
        assert_eq!(found, NearDuplicates { compared: 3, rows: 1, example: Some((1, 3)) });
    }

    #[test]
    fn exact_duplicates_are_counted_apart() {
        let dataset = Dataset::of(vec![row(LONG); 3]);
        assert_eq!(exact(&dataset), 2);
        assert_eq!(near(&dataset).expect("rows").rows, 0);
    }

    #[test]
    fn the_similarity_of_signatures_estimates_the_jaccard_similarity() {
        let mut random = seed::stream(Purpose::MinHash, 0);
        let functions: Vec<(u64, u64)> =
            (0..4096).map(|_| (random.random::<u64>() | 1, random.random())).collect();
        let shingles = |text: &str| -> std::collections::BTreeSet<Vec<char>> {
            let text = format!("tell me about the river. {} ", text.to_lowercase());
            text.chars().collect::<Vec<char>>().windows(SHINGLE).map(<[char]>::to_vec).collect()
        };
        let changed =
            LONG.replace("three villages and a wide marsh", "two towns and some dry heath");
        let (left, right) = (shingles(LONG), shingles(&changed));
        let exact = left.intersection(&right).count() as f64 / left.union(&right).count() as f64;
        let rows = Dataset::of(vec![row(LONG), row(&changed)]).rows;
        let estimate =
            similarity(&signature(&rows[0], &functions), &signature(&rows[1], &functions));
        // Four standard errors of a share of 4096.
        assert!(
            (estimate - exact).abs() < 4.0 * (exact * (1.0 - exact) / 4096.0).sqrt(),
            "{estimate} for {exact}"
        );
    }
}
