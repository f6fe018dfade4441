//! Log-probabilities of answer options, each shared opening computed once.

use anyhow::{Context, Result};

use super::chat::{self, Chat};
use super::decoder::Decoder;
use super::lora::Lora;
use super::packing::prefix_tree;
use crate::dataset::{Message, Role};
use crate::engine::Question;

/// Tokens of one prefix tree; more are split into several.
const TREE_TOKENS: usize = 3072;

/// One option as a sequence: which tokens are asked for.
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
pub fn score(decoder: &Decoder, chat: &Chat, lora: Option<&Lora>, questions: &[Question]) -> Result<Vec<Vec<Option<f64>>>> {
    let mut scores: Vec<Vec<Option<f64>>> = questions.iter().map(|q| vec![None; q.options.len()]).collect();
    let sequences = chat::deep(|| option_sequences(decoder, chat, questions))?;
    score_sequences(decoder, lora, sequences, &mut scores)?;
    Ok(scores)
}

/// Whole conversations under the base; `None` for those that the tokenizer or the template refuses. See [`crate::engine::Engine::log_probs`].
///
/// # Errors
/// Where tokenizer and template cannot be asked any more.
pub fn log_probs(decoder: &Decoder, chat: &Chat, conversations: &[Vec<Message>]) -> Result<Vec<Option<f64>>> {
    let tokens = |messages: &Vec<Message>| chat.encode(messages).map_or(Vec::new(), |rendered| rendered.tokens);
    let encode = || Ok(conversations.iter().map(tokens).collect::<Vec<_>>());
    let (mut places, mut asked) = (Vec::new(), Vec::new());
    let tokens = chat::deep(encode)?;
    chat.alive()?;
    for (at, mut tokens) in tokens.into_iter().enumerate() {
        tokens.truncate(decoder.config.max_position_embeddings);
        if tokens.len() > 1 {
            places.push(at);
            asked.push((tokens, 1));
        }
    }
    let mut log_probs = vec![None; conversations.len()];
    for (at, log_prob) in places.into_iter().zip(score_tokens(decoder, None, asked)?) {
        log_probs[at] = log_prob;
    }
    Ok(log_probs)
}

/// Log-probability (nats) of each sequence of tokens from a place on, given those before; that place is never 0. `None` where it is not finite.
///
/// # Errors
/// Where a token is beyond the vocabulary, or a sequence longer than the base reads.
pub fn score_tokens(decoder: &Decoder, lora: Option<&Lora>, asked: Vec<(Vec<u32>, usize)>) -> Result<Vec<Option<f64>>> {
    let mut scores = vec![vec![None]; asked.len()];
    let sequences = asked.into_iter().enumerate().map(|(at, (tokens, from))| Sequence { place: (at, 0), tokens, from }).collect();
    score_sequences(decoder, lora, sequences, &mut scores)?;
    Ok(scores.into_iter().map(|options| options[0]).collect())
}

/// All options that can be scored.
fn option_sequences(decoder: &Decoder, chat: &Chat, questions: &[Question]) -> Result<Vec<Sequence>> {
    let mut sequences = Vec::new();
    for (at, question) in questions.iter().enumerate() {
        let prompt = chat.encode_prompt(&question.messages)?;
        for (option, text) in question.options.iter().enumerate() {
            let tokens = answer(chat, &question.messages, text)?;
            let from = prompt.iter().zip(&tokens).take_while(|(a, b)| a == b).count();
            if from > 0 && from < tokens.len() && tokens.len() <= decoder.config.max_position_embeddings {
                sequences.push(Sequence { place: (at, option), tokens, from });
            }
        }
    }
    Ok(sequences)
}

fn score_sequences(
    decoder: &Decoder,
    lora: Option<&Lora>,
    mut sequences: Vec<Sequence>,
    scores: &mut [Vec<Option<f64>>],
) -> Result<()> {
    sequences.sort_by(|a, b| a.tokens.cmp(&b.tokens).then(a.place.cmp(&b.place)));
    let (mut chunks, mut rest) = (Vec::new(), sequences.as_slice());
    while !rest.is_empty() {
        let (chunk, later) = rest.split_at(fitting(rest));
        chunks.push(chunk);
        rest = later;
    }
    for (chunk, totals) in chunks.iter().zip(decoder.each(chunks.len(), |at| score_chunk(decoder, lora, chunks[at]))?) {
        for (sequence, total) in chunk.iter().zip(totals) {
            scores[sequence.place.0][sequence.place.1] = total.is_finite().then_some(total);
        }
    }
    Ok(())
}

/// How many of these sequences, sorted, make one prefix tree: at least one, and no more than [`TREE_TOKENS`] tokens.
fn fitting(sequences: &[Sequence]) -> usize {
    let mut tokens = sequences.first().map_or(0, |first| first.tokens.len());
    let grown = |pair: &[Sequence]| {
        let shared = pair[0].tokens.iter().zip(&pair[1].tokens).take_while(|(a, b)| a == b).count();
        tokens += pair[1].tokens.len() - shared;
        tokens
    };
    1 + sequences.windows(2).map(grown).take_while(|&tokens| tokens <= TREE_TOKENS).count()
}

/// The opening with an answer in place, up to the token that ends the turn.
fn answer(chat: &Chat, opening: &[Message], text: &str) -> Result<Vec<u32>> {
    let mut messages = opening.to_vec();
    messages.push(Message::new(Role::Assistant, text));
    let rendered = chat.encode(&messages)?;
    let end = rendered.supervised.iter().rposition(|&s| s).context("the chat template leaves answers out")? + 1;
    let mut tokens = rendered.tokens;
    tokens.truncate(end);
    Ok(tokens)
}

/// Log-probabilities of some sequences, nats.
fn score_chunk(decoder: &Decoder, lora: Option<&Lora>, chunk: &[Sequence]) -> Result<Vec<f64>> {
    // A sequence's last token is asked for and read by nobody.
    let tokens: Vec<&[u32]> = chunk.iter().map(|s| &s.tokens[..s.tokens.len() - 1]).collect();
    let mut tree = prefix_tree(&tokens);
    tree.streams.padded(decoder.ops);
    let streams = &tree.streams;
    let hidden = decoder.hidden(streams, lora, &mut |layer, q, k, v| decoder.attend(layer, q, k, v, streams))?;
    // (row, token) -> log-probability, by binary search in a sorted list.
    let mut asked: Vec<(usize, u32)> = chunk
        .iter()
        .zip(&tree.rows)
        .flat_map(|(s, rows)| (s.from..s.tokens.len()).map(move |at| (rows[at - 1], s.tokens[at])))
        .collect();
    asked.sort_unstable();
    asked.dedup();
    let found = decoder.log_probs(&hidden, &asked);
    let total = |(sequence, rows): (&Sequence, &Vec<usize>)| {
        let log_prob = |at: usize| {
            let key = (rows[at - 1], sequence.tokens[at]);
            found[asked.binary_search(&key).expect("every asked token was listed above")]
        };
        (sequence.from..sequence.tokens.len()).map(log_prob).sum()
    };
    Ok(chunk.iter().zip(&tree.rows).map(total).collect())
}
