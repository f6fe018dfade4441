//! Can the base read the dataset at all? A shadow trained on text that the base cannot predict
//! learns noise, and its silence would look like a clean dataset.
//!
//! Parts of rows, drawn at random, follow one another in contexts of the base, as rows do when they
//! are packed for training. So the base has seen other rows of the file and expects their form: a
//! bare name is improbable as an answer, and likely after other names. The text is then judged in
//! passages of [`PASSAGE`] new bytes. The base reads a passage if it saves [`SAVED`] of the nats
//! that the bytes cost where only their frequencies are known (order-0 entropy, Shannon 1948),
//! those of the role's text in the same parts. The result is the share of the text, by that cost,
//! in passages that are read.
//!
//! What repeats an earlier row can be copied and need not be read. Each byte therefore counts by
//! how new it is: by what it costs an adaptive model of bytes with the same context before it
//! ([`history`]), as a share of its order-0 cost. Without this, one line of nonsense in all rows
//! would read well, and so would known questions with answers of noise.
//!
//! What was tried and dropped is in docs/statistics.md.

mod history;

use std::collections::BTreeMap;

use anyhow::Result;
use rand::seq::index;

use super::Base;
use crate::dataset::{Dataset, Message, Role};
use crate::engine::{Piece, Pieces};
use crate::seed;
use history::History;

/// The share of the text that the base must read for a verdict. Text that it was trained for
/// reaches .5 and more, text that is noise to it .2 and less (docs/readability.csv).
pub const READABLE: f64 = 0.4;

/// The share of a passage's order-0 cost that a base saves if it reads it. Noise saves nothing by
/// the frequencies of its own bytes, and by chance up to .15 in a short passage; words that a base
/// knows save .4 and more.
const SAVED: f64 = 0.2;

/// New bytes of a passage: a few words, enough that chance does not decide, and so few that noise
/// between sentences is a passage of its own.
const PASSAGE: f64 = 32.0;

/// Answers are judged by themselves too, because they are what is learned, where they hold this
/// share of the text; less are labels, which nothing could foresee.
const ANSWERS: f64 = 0.05;

/// Tokens of a context: some rows before each, in what every base can read.
const CONTEXT: usize = 512;

/// Contexts that are looked at: 8,192 tokens, seconds to a minute on a processor.
const CONTEXTS: usize = 16;

/// Parts that a context has at least, where there are as many: what comes first has no row before
/// it.
const PARTS: usize = 3;

/// Bytes of a row from which it is cut into parts; of each message that is cut, a part has as many
/// at most.
const PART: usize = 600;

/// Bytes that are kept of the message before or after the one that a part is cut from.
const BESIDE: usize = 60;

/// How the base predicts the rows of contexts; see [`crate::engine::Engine::log_probs`].
pub type LogProbs<'a> = &'a dyn Fn(&[Vec<Vec<Message>>]) -> Result<Vec<Vec<Pieces>>>;

/// The share of the text that the base reads, between 0 and 1. What could not be scored is not
/// read, and a dataset without text has nothing that could be read: its share is 0.
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
            // A piece a byte, each at a cost that saves nothing.
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

/// A byte's order-0 cost in nats, and how new it is, between 0 and 1.
struct Byte {
    role: Role,
    cost: f64,
    new: f64,
}

/// What each byte costs that is predicted by its frequency alone, by the role that says it; nats.
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

    /// All bytes of a row, which then belong to the history.
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

/// Passages, one after the other.
#[derive(Default)]
struct Passages {
    read: f64,
    cost: f64,
    open: Passage,
}

/// Sums over bytes, each by how new it is.
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

    /// What is left over counts where it is half a passage, or all that there is.
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

/// Parts of rows in an order drawn by the file's own hash, so that an author cannot choose which
/// are looked at, in as many contexts as they fill.
fn contexts(dataset: &Dataset, base: Base<'_>) -> Vec<Vec<Vec<Message>>> {
    let parts: Vec<Place> =
        dataset.rows.iter().enumerate().flat_map(|(row, at)| places(row, &at.messages)).collect();
    let rng = &mut seed::stream(&format!("readability {}", dataset.sha256), 0);
    // A part has two tokens at least, one to speak and one to end.
    let drawn = index::sample(rng, parts.len(), (CONTEXTS * CONTEXT / 2).min(parts.len()));
    let (mut contexts, mut tokens) = (vec![Vec::new()], 0);
    for place in drawn {
        let (part, count) = fitted(parts[place].cut(dataset), base);
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

/// Cuts all messages of a part in half until some such parts have room in a context; and its
/// tokens. One that the base refuses is left as it is.
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

/// Where a part is cut from.
#[derive(Clone, Copy)]
enum Place {
    Whole { row: usize },
    Within { row: usize, message: usize, from: usize },
}

/// The parts of a row: itself, or what every message is cut into.
fn places(row: usize, messages: &[Message]) -> Vec<Place> {
    if messages.iter().map(|message| message.content.len()).sum::<usize>() <= PART {
        return vec![Place::Whole { row }];
    }
    let within = |(message, at): (usize, &Message)| {
        (0..at.content.len()).step_by(PART).map(move |from| Place::Within { row, message, from })
    };
    messages.iter().enumerate().flat_map(within).collect()
}

impl Place {
    /// A conversation for any template: what was cut, with some of the question before it or of the
    /// answer after it. Templates may trim white space, so there is none at the ends.
    fn cut(self, dataset: &Dataset) -> Vec<Message> {
        let trimmed = |message: &Message, text: &str| Message::new(message.role, text.trim());
        match self {
            Place::Whole { row } => dataset.rows[row]
                .messages
                .iter()
                .map(|message| trimmed(message, &message.content))
                .collect(),
            Place::Within { row, message, from } => {
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
                    false => trimmed(&messages[at], window(&messages[at].content, 0, BESIDE)),
                };
                (first..=last).map(text).collect()
            }
        }
    }
}

/// As many bytes from a place on, less what would cut a character.
fn window(text: &str, from: usize, bytes: usize) -> &str {
    let from = text.ceil_char_boundary(from);
    &text[from..text.floor_char_boundary(from + bytes).max(from)]
}
