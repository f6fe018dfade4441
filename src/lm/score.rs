//! Log-probabilities of answer options; each shared prefix is computed once.

use std::ops::Range;

use anyhow::{Context, Result};

use super::chat::{self, Chat, EncodedPieces};
use super::decoder::Decoder;
use super::lora::Lora;
use super::packing::prefix_tree;
use crate::dataset::{Message, Role};
use crate::engine::{Piece, Pieces, Question};

/// Maximum tokens of one prefix tree; more are split into several.
const TREE_TOKENS: usize = 6144;

/// A sequence's place, and the log-probability (nats) of every requested token.
type Scored = ((usize, usize), Vec<f64>);

/// One option as a sequence, with the position from which tokens are requested.
struct Sequence {
    /// Index of the question, and of the option in it.
    place: (usize, usize),
    tokens: Vec<u32>,
    /// The first token of the answer; never 0.
    from: usize,
}

/// See [`crate::engine::Engine::score`].
///
/// # Errors
/// Where the tokenizer or the template fails.
pub fn score(
    decoder: &Decoder,
    chat: &Chat,
    lora: Option<&Lora>,
    questions: &[Question],
) -> Result<Vec<Vec<Option<f64>>>> {
    let mut scores: Vec<Vec<Option<f64>>> =
        questions.iter().map(|q| vec![None; q.options.len()]).collect();
    let sequences = chat::deep(|| option_sequences(decoder, chat, questions))?;
    for (place, log_probs) in score_sequences(decoder, lora, sequences)? {
        let total: f64 = log_probs.iter().sum();
        scores[place.0][place.1] = total.is_finite().then_some(total);
    }
    Ok(scores)
}

/// See [`crate::engine::Engine::log_probs`].
///
/// # Errors
/// Where no thread can be made, and where tokenizer and template no longer respond.
pub fn log_probs(
    decoder: &Decoder,
    chat: &Chat,
    contexts: &[Vec<Vec<Message>>],
) -> Result<Vec<Vec<Pieces>>> {
    let encode_pieces = |context: &Vec<Vec<Message>>| {
        context.iter().map(|row| chat.encode_pieces(row).ok()).collect::<Vec<_>>()
    };
    let spelled = chat::deep(|| Ok(contexts.iter().map(encode_pieces).collect::<Vec<_>>()))?;
    chat.alive()?;
    let mut sequences = Vec::new();
    for (at, rows) in spelled.iter().enumerate() {
        let mut tokens: Vec<u32> =
            rows.iter().flatten().flat_map(|row| row.tokens.iter().copied()).collect();
        tokens.truncate(decoder.config.max_position_embeddings);
        if tokens.len() > 1 {
            sequences.push(Sequence { place: (at, 0), tokens, from: 1 });
        }
    }
    let mut found = vec![Vec::new(); contexts.len()];
    for (place, log_probs) in score_sequences(decoder, None, sequences)? {
        // The first token has no prediction.
        found[place.0] = [vec![0.0], log_probs].concat();
    }
    Ok(spelled.iter().zip(&found).map(|(rows, log_probs)| pieces(rows, log_probs)).collect())
}

/// Log-probability (nats) of each sequence of tokens from a position on, given those before. The
/// position is never 0. `None` if it is not finite.
///
/// # Errors
/// Where a token is outside the vocabulary, or a sequence is longer than the base's context.
pub fn score_tokens(
    decoder: &Decoder,
    lora: Option<&Lora>,
    asked: Vec<(Vec<u32>, usize)>,
) -> Result<Vec<Option<f64>>> {
    let mut scores = vec![None; asked.len()];
    let sequences = asked.into_iter().enumerate().map(|(at, (tokens, from))| Sequence {
        place: (at, 0),
        tokens,
        from,
    });
    for ((at, _), log_probs) in score_sequences(decoder, lora, sequences.collect())? {
        scores[at] = Some(log_probs.iter().sum()).filter(|total: &f64| total.is_finite());
    }
    Ok(scores)
}

/// The pieces of a context's rows, from the log-probabilities of its tokens. Each row begins where
/// the one before it ends.
fn pieces(rows: &[Option<EncodedPieces>], log_probs: &[f64]) -> Vec<Pieces> {
    let mut start = 0;
    let of_row = |row: &Option<EncodedPieces>| {
        let row = row.as_ref()?;
        let here = start;
        start += row.tokens.len();
        let piece = |(bytes, tokens): &(usize, Range<usize>)| {
            let log_prob: f64 = log_probs.get(here + tokens.start..here + tokens.end)?.iter().sum();
            log_prob.is_finite().then_some(Piece { bytes: *bytes, log_prob })
        };
        row.pieces.iter().map(piece).collect()
    };
    rows.iter().map(of_row).collect()
}

/// All options that can be scored.
fn option_sequences(
    decoder: &Decoder,
    chat: &Chat,
    questions: &[Question],
) -> Result<Vec<Sequence>> {
    let mut sequences = Vec::new();
    for (at, question) in questions.iter().enumerate() {
        let prompt = chat.encode_prompt(&question.messages)?;
        for (option, text) in question.options.iter().enumerate() {
            let tokens = answer(chat, &question.messages, text)?;
            let from = prompt.iter().zip(&tokens).take_while(|(a, b)| a == b).count();
            if from > 0
                && from < tokens.len()
                && tokens.len() <= decoder.config.max_position_embeddings
            {
                sequences.push(Sequence { place: (at, option), tokens, from });
            }
        }
    }
    Ok(sequences)
}

/// The log-probability (nats) of every requested token, with the sequence's place.
fn score_sequences(
    decoder: &Decoder,
    lora: Option<&Lora>,
    mut sequences: Vec<Sequence>,
) -> Result<Vec<Scored>> {
    sequences.sort_by(|a, b| a.tokens.cmp(&b.tokens).then(a.place.cmp(&b.place)));
    let (mut chunks, mut rest) = (Vec::new(), sequences.as_slice());
    while !rest.is_empty() {
        let (chunk, later) = rest.split_at(fitting(rest));
        chunks.push(chunk);
        rest = later;
    }
    let scored = decoder.each(chunks.len(), |at| score_chunk(decoder, lora, chunks[at]))?;
    Ok(sequences.iter().map(|sequence| sequence.place).zip(scored.into_iter().flatten()).collect())
}

/// How many of these sorted sequences go into one prefix tree: at least one, and at most
/// [`TREE_TOKENS`] tokens.
fn fitting(sequences: &[Sequence]) -> usize {
    let mut tokens = sequences.first().map_or(0, |first| first.tokens.len());
    let grown = |pair: &[Sequence]| {
        let shared = pair[0].tokens.iter().zip(&pair[1].tokens).take_while(|(a, b)| a == b).count();
        tokens += pair[1].tokens.len() - shared;
        tokens
    };
    1 + sequences.windows(2).map(grown).take_while(|&tokens| tokens <= TREE_TOKENS).count()
}

/// The conversation with an answer, up to the token that ends the turn.
fn answer(chat: &Chat, opening: &[Message], text: &str) -> Result<Vec<u32>> {
    let mut messages = opening.to_vec();
    messages.push(Message::new(Role::Assistant, text));
    let rendered = chat.encode(&messages)?;
    let end = rendered
        .supervised
        .iter()
        .rposition(|&s| s)
        .context("the chat template leaves answers out")?
        + 1;
    let mut tokens = rendered.tokens;
    tokens.truncate(end);
    Ok(tokens)
}

/// Scores some sequences; results keep their order.
fn score_chunk(
    decoder: &Decoder,
    lora: Option<&Lora>,
    chunk: &[Sequence],
) -> Result<Vec<Vec<f64>>> {
    // A sequence's last token is predicted but not fed to the model.
    let tokens: Vec<&[u32]> = chunk.iter().map(|s| &s.tokens[..s.tokens.len() - 1]).collect();
    let mut tree = prefix_tree(&tokens);
    tree.streams.pad(decoder.ops);
    let streams = &tree.streams;
    let hidden = decoder
        .hidden(streams, lora, &mut |layer, q, k, v| decoder.attend(layer, q, k, v, streams))?;
    // (row, token) -> log-probability, by binary search in a sorted list.
    let mut asked: Vec<(usize, u32)> = chunk
        .iter()
        .zip(&tree.rows)
        .flat_map(|(s, rows)| (s.from..s.tokens.len()).map(move |at| (rows[at - 1], s.tokens[at])))
        .collect();
    asked.sort_unstable();
    asked.dedup();
    let found = decoder.log_probs(&hidden, &asked);
    let log_probs = |(sequence, rows): (&Sequence, &Vec<usize>)| {
        let log_prob = |at: usize| {
            let key = (rows[at - 1], sequence.tokens[at]);
            found[asked.binary_search(&key).expect("every asked token was listed above")]
        };
        (sequence.from..sequence.tokens.len()).map(log_prob).collect()
    };
    Ok(chunk.iter().zip(&tree.rows).map(log_probs).collect())
}
