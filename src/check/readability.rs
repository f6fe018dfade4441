//! Readability: the share of a dataset's text that the base can predict. A shadow trained on
//! unpredictable text learns noise, and its lack of effect would look like a clean dataset.
//!
//! Randomly drawn parts of rows are concatenated into contexts, like packed training rows. So the
//! base has seen other rows and expects their form. A bare name, for example, is improbable as an
//! answer but likely after other names.
//!
//! The text is evaluated in passages of [`PASSAGE`] new bytes. The base reads a passage if its
//! negative log-likelihood is lower than the order-0 entropy (Shannon 1948) by at least the share
//! [`SAVED`]. Byte frequencies are estimated per role from the drawn parts. The result is the share
//! of the text, weighted by order-0 cost, in passages that are read.
//!
//! Text that repeats an earlier row can be predicted by copying. Each byte is therefore weighted by
//! its novelty: its cost under an adaptive byte model with the same context ([`history`]), divided
//! by its order-0 cost. Otherwise one line of nonsense repeated in all rows would count as
//! readable. So would known questions with random answers.
//!
//! Alternatives that were tried are described in docs/statistics.md.

mod history;

use std::collections::BTreeMap;

use anyhow::Result;
use rand::seq::index;

use super::Base;
use crate::dataset::{Dataset, Message, Role};
use crate::engine::{Piece, Pieces};
use crate::seed::{self, Purpose};
use history::History;

/// Minimum share of a passage's order-0 cost that the base must save. Noise saves nothing on
/// average, and by chance up to 0.15 in a short passage. Known words save 0.4 and more.
const SAVED: f64 = 0.2;

/// New bytes per passage, a few words. Longer passages are less affected by chance; shorter ones
/// separate noise between sentences.
const PASSAGE: f64 = 32.0;

/// Minimum share of answers in the text for which answers are also evaluated alone, because they
/// are what is learned. Below it they are labels, which no model could predict.
const ANSWERS: f64 = 0.05;

/// Tokens per context. Most parts follow some other rows, and every base accepts this length.
const CONTEXT: usize = 512;

/// Maximum contexts: 8,192 tokens, seconds to a minute on a CPU.
const CONTEXTS: usize = 16;

/// Minimum parts per context, if there are enough. The first part of a context has no row before
/// it.
const PARTS: usize = 3;

/// Rows of more bytes are split into parts. A part has at most this many bytes of the message that
/// is split.
const PART: usize = 600;

/// Bytes kept of the message before or after the split one.
const NEIGHBOUR: usize = 60;

/// Log-probabilities of the rows of contexts under the base; see
/// [`crate::engine::Engine::log_probs`].
pub type LogProbs<'a> = &'a dyn Fn(&[Vec<Vec<Message>>]) -> Result<Vec<Vec<Pieces>>>;

/// The share of the text that the base reads, between 0 and 1. Text that could not be scored counts
/// as not read. A dataset without text has share 0.
///
/// # Errors
/// Where the base fails.
pub fn readability(dataset: &Dataset, base: Base<'_>) -> Result<f64> {
    let contexts = contexts(dataset, base);
    let costs = Costs::of(&contexts);
    let (mut all, mut answers) = (Passages::default(), Passages::default());
    for (rows, scored) in contexts.iter().zip((base.log_probs)(&contexts)?) {
        let mut history = History::new();
        for (row, pieces) in rows.iter().zip(scored) {
            let bytes = costs.bytes(row, &mut history);
            // One piece per byte, with infinite cost.
            let unread = || vec![Piece { bytes: 1, log_prob: f64::NEG_INFINITY }; bytes.len()];
            let pieces = pieces.filter(|pieces| {
                pieces.iter().map(|piece| piece.bytes).sum::<usize>() == bytes.len()
            });
            let mut rest = &bytes[..];
            for piece in pieces.unwrap_or_else(unread) {
                let (of_piece, later) = rest.split_at(piece.bytes);
                rest = later;
                all.add(of_piece, piece.log_prob);
                if of_piece.iter().all(|byte| byte.role == Role::Assistant) {
                    answers.add(of_piece, piece.log_prob);
                }
            }
        }
    }
    let (all, answers) = (all.finish(), answers.finish());
    let counted = answers.cost >= ANSWERS * all.cost;
    Ok(if counted { all.share().min(answers.share()) } else { all.share() })
}

/// A byte's order-0 cost in nats, and its novelty between 0 and 1.
struct Byte {
    role: Role,
    cost: f64,
    new: f64,
}

/// Order-0 cost of each byte value by role, in nats.
struct Costs(BTreeMap<Role, [f64; 256]>);

impl Costs {
    fn of(contexts: &[Vec<Vec<Message>>]) -> Self {
        let mut counts: BTreeMap<Role, [u64; 256]> = BTreeMap::new();
        for message in contexts.iter().flatten().flatten() {
            let counts = counts.entry(message.role).or_insert([0; 256]);
            message.content.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
        }
        let costs = |counts: [u64; 256]| {
            let all = counts.iter().sum::<u64>() as f64;
            counts.map(|count| if count == 0 { 0.0 } else { (all / count as f64).ln() })
        };
        Costs(counts.into_iter().map(|(role, counts)| (role, costs(counts))).collect())
    }

    /// The bytes of a row. They are added to the history.
    fn bytes(&self, row: &[Message], history: &mut History) -> Vec<Byte> {
        let mut bytes = Vec::new();
        for message in row {
            let costs = &self.0[&message.role];
            for byte in message.content.bytes() {
                let cost = costs[usize::from(byte)];
                let adaptive = history.cost(Some(byte), cost);
                let role = message.role;
                bytes.push(Byte {
                    role,
                    cost,
                    new: if cost > 0.0 { (adaptive / cost).min(1.0) } else { 0.0 },
                });
            }
            history.cost(None, 0.0);
        }
        bytes
    }
}

/// Accumulates consecutive passages.
#[derive(Default)]
struct Passages {
    read: f64,
    cost: f64,
    open: Passage,
}

/// Sums over bytes, weighted by novelty.
#[derive(Default)]
struct Passage {
    new: f64,
    cost: f64,
    under_base: f64,
}

impl Passages {
    fn add(&mut self, bytes: &[Byte], log_prob: f64) {
        let new = bytes.iter().map(|byte| byte.new).sum::<f64>();
        let open = &mut self.open;
        open.new += new;
        open.cost +=
            new / bytes.len().max(1) as f64 * bytes.iter().map(|byte| byte.cost).sum::<f64>();
        if new > 0.0 {
            open.under_base -= new / bytes.len() as f64 * log_prob;
        }
        if open.new >= PASSAGE {
            self.close();
        }
    }

    fn close(&mut self) {
        let passage = std::mem::take(&mut self.open);
        self.cost += passage.cost;
        if passage.under_base <= (1.0 - SAVED) * passage.cost {
            self.read += passage.cost;
        }
    }

    /// The remainder counts if it is at least half a passage, or all there is.
    fn finish(mut self) -> Self {
        if self.open.new >= PASSAGE / 2.0 || self.cost == 0.0 {
            self.close();
        }
        self
    }

    fn share(&self) -> f64 {
        if self.cost > 0.0 { self.read / self.cost } else { 0.0 }
    }
}

/// Groups parts of rows into contexts. The order is drawn from the file's hash, so that an author
/// cannot choose which parts are examined.
fn contexts(dataset: &Dataset, base: Base<'_>) -> Vec<Vec<Vec<Message>>> {
    let parts: Vec<PartSource> =
        dataset.rows.iter().enumerate().flat_map(|(row, at)| parts_of(row, &at.messages)).collect();
    let rng = &mut seed::stream(Purpose::Readability { dataset_sha256: &dataset.sha256 }, 0);
    // A part has at least two tokens: one of text and one end token.
    let drawn = index::sample(rng, parts.len(), (CONTEXTS * CONTEXT / 2).min(parts.len()));
    let (mut contexts, mut tokens) = (vec![Vec::new()], 0);
    for index in drawn {
        let (part, count) = fitted(parts[index].cut(dataset), base);
        if tokens + count > CONTEXT && tokens > 0 {
            if contexts.len() == CONTEXTS {
                break;
            }
            contexts.push(Vec::new());
            tokens = 0;
        }
        tokens += count;
        contexts.last_mut().expect("there is always one").push(part);
    }
    contexts
}

/// Halves all messages of a part until [`PARTS`] such parts fit in a context. Returns the part and
/// its number of tokens. A part that the base refuses is returned unchanged.
fn fitted(mut part: Vec<Message>, base: Base<'_>) -> (Vec<Message>, usize) {
    loop {
        let tokens = (base.count_tokens)(&part).map_or(0, |(tokens, _)| tokens);
        let longest = part.iter().map(|message| message.content.len()).max().unwrap_or(0);
        if tokens <= CONTEXT / PARTS || longest < 2 * PASSAGE as usize {
            return (part, tokens);
        }
        for message in &mut part {
            message.content =
                window(&message.content, 0, message.content.len().div_ceil(2)).to_owned();
        }
    }
}

/// Source of a part.
#[derive(Clone, Copy)]
enum PartSource {
    Whole { row: usize },
    Within { row: usize, message: usize, from: usize },
}

/// The parts of a row: the whole row, or the pieces of its messages.
fn parts_of(row: usize, messages: &[Message]) -> Vec<PartSource> {
    if messages.iter().map(|message| message.content.len()).sum::<usize>() <= PART {
        return vec![PartSource::Whole { row }];
    }
    let within = |(message, at): (usize, &Message)| {
        (0..at.content.len()).step_by(PART).map(move |from| PartSource::Within {
            row,
            message,
            from,
        })
    };
    messages.iter().enumerate().flat_map(within).collect()
}

impl PartSource {
    /// A conversation that any template accepts: the piece, with the beginning of the question
    /// before it or the answer after it. Trimmed, since templates may trim white space.
    fn cut(self, dataset: &Dataset) -> Vec<Message> {
        let trimmed = |message: &Message, text: &str| Message::new(message.role, text.trim());
        match self {
            PartSource::Whole { row } => dataset.rows[row]
                .messages
                .iter()
                .map(|message| trimmed(message, &message.content))
                .collect(),
            PartSource::Within { row, message, from } => {
                let messages = &dataset.rows[row].messages;
                let first = messages[..=message]
                    .iter()
                    .rposition(|message| message.role == Role::User)
                    .unwrap_or(0);
                let last =
                    messages[message..].iter().position(|message| message.role == Role::Assistant);
                let last = message + last.unwrap_or(messages.len() - 1 - message);
                let text = |at: usize| match at == message {
                    true => trimmed(&messages[at], window(&messages[at].content, from, PART)),
                    false => trimmed(&messages[at], window(&messages[at].content, 0, NEIGHBOUR)),
                };
                (first..=last).map(text).collect()
            }
        }
    }
}

/// At most `bytes` bytes from `from` on, at character boundaries.
fn window(text: &str, from: usize, bytes: usize) -> &str {
    let from = text.ceil_char_boundary(from);
    &text[from..text.floor_char_boundary(from + bytes).max(from)]
}
