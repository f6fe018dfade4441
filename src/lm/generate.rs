//! Text generation with a key/value cache.

use anyhow::{Result, ensure};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::chat::{self, Chat};
use super::decoder::{Decoder, Streams};
use super::kernels::{self, Attention, Segment};
use super::lora::Lora;
use super::ops::threads;
use super::tensor::{from_host, with_values};
use crate::dataset::Message;
use crate::engine::Sampling;
use crate::seed::{self, Purpose};

/// Conversations generated in parallel. For a large base, the batch size at which its products are
/// fast.
const AT_ONCE: usize = 64;
const AT_ONCE_LARGE: usize = 128;

/// Prompt tokens read in one pass; the memory of a pass grows with them.
const PROMPT_TOKENS_AT_ONCE: usize = 1 << 13;

/// Keys and values of one conversation, layer by layer, `[tokens, key/value width]` each.
struct KvCache {
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

impl KvCache {
    fn empty(layers: usize) -> Self {
        KvCache { keys: vec![Vec::new(); layers], values: vec![Vec::new(); layers] }
    }
}

/// The state of one conversation.
struct Generation {
    cache: KvCache,
    length: usize,
    written: Vec<u32>,
    random: ChaCha8Rng,
    done: bool,
}

/// See [`crate::engine::Engine::generate`].
///
/// # Errors
/// Where the tokenizer or the template fails, or the model's logits are not numbers.
pub fn generate(
    decoder: &Decoder,
    chat: &Chat,
    lora: Option<&Lora>,
    prompts: &[Vec<Message>],
    sampling: &Sampling,
) -> Result<Vec<String>> {
    let encode =
        || prompts.iter().map(|messages| chat.encode_prompt(messages)).collect::<Result<Vec<_>>>();
    let tokens = chat::deep(encode)?;
    let written = continue_tokens(decoder, lora, &tokens, &chat.end_tokens, sampling)?;
    written.iter().map(|tokens| chat.decode(tokens)).collect()
}

/// Continues token sequences. The result excludes the end token. A prompt that fills the base's
/// context gets an empty continuation.
///
/// # Errors
/// Where a token is outside the vocabulary, or the model's logits are not numbers.
pub fn continue_tokens(
    decoder: &Decoder,
    lora: Option<&Lora>,
    prompts: &[Vec<u32>],
    end_tokens: &[u32],
    sampling: &Sampling,
) -> Result<Vec<Vec<u32>>> {
    let longest = decoder.config.max_position_embeddings;
    let mut results = vec![Vec::new(); prompts.len()];
    let fitting: Vec<usize> =
        (0..prompts.len()).filter(|&at| (1..longest).contains(&prompts[at].len())).collect();
    let (mut groups, mut rest) = (Vec::new(), fitting.as_slice());
    while !rest.is_empty() {
        let (group, later) = rest.split_at(group_size(
            rest,
            prompts,
            if decoder.is_small() { AT_ONCE } else { AT_ONCE_LARGE },
        ));
        groups.push(group);
        rest = later;
    }
    let written = decoder.each(groups.len(), |group| {
        continue_group(decoder, lora, groups[group], prompts, end_tokens, sampling)
    })?;
    for (&at, written) in groups.into_iter().flatten().zip(written.into_iter().flatten()) {
        results[at] = written;
    }
    Ok(results)
}

/// Continues some of the prompts in parallel.
fn continue_group(
    decoder: &Decoder,
    lora: Option<&Lora>,
    group: &[usize],
    prompts: &[Vec<u32>],
    end_tokens: &[u32],
    sampling: &Sampling,
) -> Result<Vec<Vec<u32>>> {
    let longest = decoder.config.max_position_embeddings;
    let mut generations: Vec<Generation> = group
        .iter()
        .map(|&at| Generation {
            cache: KvCache::empty(decoder.config.layers.len()),
            length: 0,
            written: Vec::new(),
            random: seed::stream(Purpose::Sample { prompt: at }, sampling.seed),
            done: sampling.max_tokens == 0,
        })
        .collect();
    let mut next: Vec<Vec<u32>> = group.iter().map(|&at| prompts[at].clone()).collect();
    while generations.iter().any(|w| !w.done) {
        let logits = advance(decoder, lora, &mut generations, &next)?;
        let conversations = generations.par_iter_mut().zip(&mut next).zip(logits);
        conversations.try_for_each(|((generation, next), logits)| {
            next.clear();
            let Some(logits) = logits else { return Ok(()) };
            ensure!(
                logits.iter().all(|logit| logit.is_finite()),
                "the model's logits are not numbers; check the weights of the base and of the \
                 adapter, and train the adapter with a lower learning rate"
            );
            let token = sample_token(&logits, sampling, &mut generation.random);
            if end_tokens.contains(&token) {
                generation.done = true;
                return Ok(());
            }
            generation.written.push(token);
            next.push(token);
            generation.done =
                generation.written.len() >= sampling.max_tokens || generation.length + 1 >= longest;
            Ok(())
        })?;
    }
    Ok(generations.into_iter().map(|generation| generation.written).collect())
}

/// How many of these prompts are continued in parallel: at least one.
fn group_size(which: &[usize], prompts: &[Vec<u32>], most: usize) -> usize {
    let mut tokens = 0;
    let fits = |&&at: &&usize| {
        tokens += prompts[at].len();
        tokens <= PROMPT_TOKENS_AT_ONCE
    };
    which.iter().take(most).take_while(fits).count().max(1)
}

/// Feeds every unfinished conversation its next tokens; returns the logits of its last token.
fn advance(
    decoder: &Decoder,
    lora: Option<&Lora>,
    generations: &mut [Generation],
    next: &[Vec<u32>],
) -> Result<Vec<Option<Vec<f32>>>> {
    let mut streams = Streams { shadows: 1, ..Streams::default() };
    let (mut last, mut indices, mut caches) = (Vec::new(), Vec::new(), Vec::new());
    let count = generations.len();
    for (at, (generation, tokens)) in
        generations.iter_mut().zip(next).enumerate().filter(|(_, (w, _))| !w.done)
    {
        let start = streams.tokens.len();
        streams.segments.push(Segment { rows: start..start + tokens.len(), prefix: Vec::new() });
        streams
            .positions
            .extend((generation.length..generation.length + tokens.len()).map(|p| p as u32));
        streams.tokens.extend(tokens);
        generation.length += tokens.len();
        last.push(streams.tokens.len() - 1);
        indices.push(at);
        caches.push(&mut generation.cache);
    }
    streams.pad(decoder.ops);
    let hidden = decoder.hidden(&streams, lora, &mut |layer, q, k, v| {
        let attention = decoder.config.attention(layer);
        let shape = q.dims();
        let mut out = vec![0.0; shape[0] * shape[1]];
        let mut attend = |q: &[f32], k: &[f32], v: &[f32]| {
            let mut rest = out.as_mut_slice();
            let mut own = Vec::new();
            for (segment, cache) in streams.segments.iter().zip(&mut caches) {
                let (out, later) = rest.split_at_mut(segment.rows.len() * shape[1]);
                own.push((segment, &mut **cache, out));
                rest = later;
            }
            threads::for_each(own, |(segment, cache, out)| {
                attend_cached(layer, q, k, v, attention, segment, cache, out)
            });
        };
        with_values(q, |q| with_values(k, |k| with_values(v, |v| attend(q, k, v))));
        from_host(out, shape, &decoder.device)
    })?;
    let mut logits = vec![None; count];
    let vocabulary = decoder.config.vocab_size;
    decoder.logits(&hidden, &last, |first, values| {
        for (at, row) in values.chunks_exact(vocabulary).enumerate() {
            logits[indices[first + at]] = Some(row.to_vec());
        }
    });
    Ok(logits)
}

/// Appends a segment's keys and values to the cache and attends over the whole cache; `out` holds
/// the segment's rows.
#[allow(clippy::too_many_arguments, reason = "slices in, slices out")]
fn attend_cached(
    layer: usize,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    attention: Attention,
    segment: &Segment,
    cache: &mut KvCache,
    out: &mut [f32],
) {
    let heads = attention.heads;
    let (width, narrow) = (heads.query * heads.dim, heads.key_value * heads.dim);
    let rows = segment.rows.clone();
    let before = cache.keys[layer].len() / narrow;
    cache.keys[layer].extend_from_slice(&k[rows.start * narrow..rows.end * narrow]);
    cache.values[layer].extend_from_slice(&v[rows.start * narrow..rows.end * narrow]);
    // The new queries come after the cached rows.
    let placed = Segment {
        rows: before..before + rows.len(),
        prefix: (before > 0).then_some(0..before).into_iter().collect(),
    };
    let q = &q[rows.start * width..rows.end * width];
    kernels::attention(
        q,
        &cache.keys[layer],
        &cache.values[layer],
        attention,
        &[placed],
        before,
        out,
    );
}

/// Greedy at temperature 0 (the first of equals), else nucleus sampling (Holtzman et al. 2020).
fn sample_token(logits: &[f32], sampling: &Sampling, random: &mut ChaCha8Rng) -> u32 {
    let best = logits
        .iter()
        .enumerate()
        .fold(0, |best, (at, &x)| if x > logits[best] { at } else { best });
    if sampling.temperature <= 0.0 {
        return best as u32;
    }
    let top = f64::from(logits[best]);
    let weights: Vec<f64> =
        logits.iter().map(|&x| ((f64::from(x) - top) / sampling.temperature).exp()).collect();
    let total: f64 = weights.iter().sum();
    let kept = if sampling.top_p < 1.0 {
        token_at_mass(&weights, sampling.top_p * total).1
    } else {
        total
    };
    token_at_mass(&weights, random.random::<f64>() * kept).0
}

/// Sums the weights from the largest down (the first of equals first). Returns the token at which
/// the sum exceeds `point`, and that sum. Uses quickselect instead of a full sort.
fn token_at_mass(weights: &[f64], point: f64) -> (u32, f64) {
    /// At most this many are sorted.
    const SORTED_AT_MOST: usize = 32;
    let falling =
        |a: &u32, b: &u32| weights[*b as usize].total_cmp(&weights[*a as usize]).then(a.cmp(b));
    let sum = |tokens: &[u32]| tokens.iter().map(|&token| weights[token as usize]).sum::<f64>();
    let mut tokens: Vec<u32> = (0..weights.len() as u32).collect();
    let mut among = tokens.as_mut_slice();
    let mut before = 0.0;
    while among.len() > SORTED_AT_MOST {
        let middle = among.len() / 2;
        among.select_nth_unstable_by(middle, falling);
        let (larger, smaller) = among.split_at_mut(middle);
        let with_larger = before + sum(larger);
        if with_larger > point {
            among = larger;
        } else {
            (among, before) = (smaller, with_larger);
        }
    }
    among.sort_unstable_by(falling);
    let (last, others) = among.split_last().expect("a vocabulary has tokens");
    for &token in others {
        before += weights[token as usize];
        if before > point {
            return (token, before);
        }
    }
    (*last, before + weights[*last as usize])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, prop_assert_eq, proptest};

    use super::*;

    /// As in the paper: sort all, keep the fewest that reach `top_p`, and sample among them.
    fn by_sorting(logits: &[f32], sampling: &Sampling, random: &mut ChaCha8Rng) -> u32 {
        let top = f64::from(logits.iter().copied().fold(f32::MIN, f32::max));
        let weight = |(at, logit): (usize, &f32)| {
            (at, ((f64::from(*logit) - top) / sampling.temperature).exp())
        };
        let mut weighted: Vec<(usize, f64)> = logits.iter().enumerate().map(weight).collect();
        let total: f64 = weighted.iter().map(|(_, w)| w).sum();
        weighted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut reached = 0.0;
        let short = |(_, weight): &(usize, f64)| {
            let before = reached;
            reached += weight;
            before < sampling.top_p * total
        };
        let kept: Vec<(usize, f64)> = weighted.into_iter().take_while(short).collect();
        let mut point = Rng::random::<f64>(random) * kept.iter().map(|(_, w)| w).sum::<f64>();
        for (token, weight) in &kept {
            point -= weight;
            if point < 0.0 {
                return *token as u32;
            }
        }
        kept[kept.len() - 1].0 as u32
    }

    proptest! {
        #[test]
        fn the_token_that_is_drawn_is_that_of_a_full_sort(
            // Halves, so that equal values occur. No count of so few equal values gives exactly one
            // of these shares, which rounding would decide.
            halves in prop::collection::vec(-8i32..8, 1..400),
            seed: u64,
            top_p in prop::sample::select(vec![0.3171, 0.9173, 1.0]),
        ) {
            let logits: Vec<f32> = halves.iter().map(|half| *half as f32 / 2.0).collect();
            let sampling = Sampling { temperature: 0.8, top_p, max_tokens: 1, seed: 0 };
            let random = || seed::stream(Purpose::Test("pick"), seed);
            prop_assert_eq!(
                sample_token(&logits, &sampling, &mut random()),
                by_sorting(&logits, &sampling, &mut random())
            );
        }
    }
}
