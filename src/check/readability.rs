//! Can the base read the dataset at all? A shadow trained on text that the base cannot predict learns noise, and its silence would
//! look like a clean dataset.
//!
//! The base is asked how likely it finds the text. What it needs, in bits a byte, is compared with what the text needs when
//! nothing but the frequencies of its bytes is known (its order-0 entropy, Shannon 1948): the share of that which the base saves is
//! what it can read. Ordinary prose under a model that knows its language comes out at .7 and more, lists of rare names inside known
//! sentences in the middle, and a foreign language, or letters without words (base64, keys), near 0, whatever the size of the
//! vocabulary: such text costs the base as much as bytes drawn at random.
//!
//! Counting tokens a word instead was tried first and dropped: under a small vocabulary it calls every rare name unreadable.

use anyhow::Result;
use rand::seq::index;

use crate::dataset::{Dataset, Message};
use crate::seed;

/// Rows that are looked at, drawn from the kept ones by the file's own hash, so that an author cannot choose which.
const LOOKED_AT: usize = 400;

/// Log-probabilities of whole conversations, nats; `None` where one could not be scored.
pub type LogProbs<'a> = &'a dyn Fn(&[Vec<Message>]) -> Result<Vec<Option<f64>>>;

/// The share of the text's order-0 information that the base predicts, between 0 and 1. A row that could not be scored saves
/// nothing, and a dataset without text has nothing that could be read: its share is 0.
///
/// # Errors
/// Where the base fails.
pub fn readability(dataset: &Dataset, log_probs: LogProbs<'_>) -> Result<f64> {
    let rng = &mut seed::stream(&format!("readability {}", dataset.sha256), 0);
    let drawn = index::sample(rng, dataset.rows.len(), LOOKED_AT.min(dataset.rows.len()));
    let rows: Vec<Vec<Message>> = drawn.into_iter().map(|row| dataset.rows[row].messages.clone()).collect();
    let mut counts = [0u64; 256];
    for byte in rows.iter().flatten().flat_map(|message| message.content.bytes()) {
        counts[usize::from(byte)] += 1;
    }
    let bytes: u64 = counts.iter().sum();
    let entropy = |count: u64| -(count as f64 / bytes as f64).ln();
    let costs = counts.map(|count| if count == 0 { 0.0 } else { entropy(count) });
    let order_0 = |row: &Vec<Message>| {
        row.iter().flat_map(|message| message.content.bytes()).map(|byte| costs[usize::from(byte)]).sum::<f64>()
    };
    let (mut alone, mut under_base) = (0.0, 0.0);
    for (row, log_prob) in rows.iter().zip(log_probs(&rows)?) {
        let cost = order_0(row);
        alone += cost;
        under_base += log_prob.map_or(cost, |log_prob| -log_prob);
    }
    Ok(if alone > 0.0 { (1.0 - under_base / alone).clamp(0.0, 1.0) } else { 0.0 })
}
