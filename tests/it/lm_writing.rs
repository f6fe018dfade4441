//! Written answers: the cache, the seeds and the sampling.

use foretaste::engine::Sampling;
use foretaste::lm::Lm;
use foretaste::lm::generate::continue_tokens;

use crate::lm::{expected, ids, logits, open};

const GREEDY: Sampling = Sampling { temperature: 0.0, top_p: 1.0, max_tokens: 24, seed: 0 };

/// The tokens of every reference conversation that an answer follows.
fn prompts(case: &str) -> Vec<Vec<u32>> {
    let renderings = expected(case)["renderings"].as_array().expect("renderings").clone();
    renderings
        .iter()
        .map(|r| ids(&r["ids_with_generation_prompt"]))
        .filter(|ids| !ids.is_empty() && ids.len() < 150)
        .collect()
}

fn write(lm: &Lm, prompts: &[Vec<u32>], sampling: &Sampling) -> Vec<Vec<u32>> {
    continue_tokens(lm.decoder(), None, prompts, &lm.chat().end_tokens, sampling)
        .expect("it writes")
}

/// The logits after the last token.
fn last_logits(lm: &Lm, tokens: &[u32]) -> Vec<f32> {
    let all = logits(lm, tokens);
    all[all.len() - lm.decoder().config.vocab_size..].to_vec()
}

fn argmax(logits: &[f32]) -> u32 {
    (0..logits.len()).fold(0, |best, at| if logits[at] > logits[best] { at } else { best }) as u32
}

/// Probability of every token.
fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let weights: Vec<f64> = logits.iter().map(|&x| (f64::from(x) / temperature).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|w| w / total).collect()
}

#[test]
fn the_cache_does_not_change_answers() {
    for case in ["mha_tied", "gqa_untied", "bias_bf16"] {
        let lm = open(case);
        // Prompts of different lengths in one batch. Those that end early do not affect the others.
        let prompts = prompts(case);
        assert!(prompts.len() > 2);
        for (prompt, written) in prompts.iter().zip(write(&lm, &prompts, &GREEDY)) {
            let mut tokens = prompt.clone();
            let mut expected = Vec::new();
            while expected.len() < GREEDY.max_tokens {
                let next = argmax(&last_logits(&lm, &tokens));
                if lm.chat().end_tokens.contains(&next) {
                    break;
                }
                tokens.push(next);
                expected.push(next);
            }
            assert_eq!(written, expected, "{case}");
        }
    }
}

#[test]
fn equal_seeds_write_equal_answers_and_other_seeds_do_not() {
    let lm = open("gqa_untied");
    let prompts = prompts("gqa_untied");
    let sampling = Sampling { temperature: 1.0, ..GREEDY };
    let first = write(&lm, &prompts, &sampling);
    assert_eq!(first, write(&lm, &prompts, &sampling));
    assert_ne!(first, write(&lm, &prompts, &Sampling { seed: 1, ..sampling.clone() }));
    // Equal prompts have separate random streams.
    let twice = write(&lm, &[prompts[0].clone(), prompts[0].clone()], &sampling);
    assert_ne!(twice[0], twice[1]);
}

#[test]
fn a_tiny_nucleus_and_a_low_temperature_are_greedy() {
    let lm = open("mha_tied");
    let prompts = prompts("mha_tied");
    let greedy = write(&lm, &prompts, &GREEDY);
    for sampling in [
        Sampling { temperature: 1.0, top_p: 1e-9, ..GREEDY },
        Sampling { temperature: 1e-6, ..GREEDY },
    ] {
        assert_eq!(write(&lm, &prompts, &sampling), greedy, "{sampling:?}");
    }
}

#[test]
fn token_frequencies_agree_with_their_probabilities() {
    const DRAWS: usize = 2000;
    let lm = open("gqa_untied");
    let prompt = prompts("gqa_untied").remove(0);
    let logits = last_logits(&lm, &prompt);
    for temperature in [0.5, 1.0] {
        let probabilities = softmax(&logits, temperature);
        let sampling = Sampling { temperature, top_p: 1.0, max_tokens: 1, seed: 3 };
        let drawn = write(&lm, &vec![prompt.clone(); DRAWS], &sampling);
        let best = argmax(&logits);
        let seen = drawn.iter().filter(|tokens| tokens.first() == Some(&best)).count() as f64
            / DRAWS as f64;
        let p = probabilities[best as usize];
        // Five standard errors: about one false alarm in two million seeds. The seed is fixed.
        let allowed = 5.0 * (p * (1.0 - p) / DRAWS as f64).sqrt();
        assert!((seen - p).abs() < allowed, "temperature {temperature}: {seen} is not {p}");
    }
}

#[test]
fn only_tokens_of_the_nucleus_are_sampled() {
    let lm = open("gqa_untied");
    let prompt = prompts("gqa_untied").remove(0);
    let probabilities = softmax(&last_logits(&lm, &prompt), 1.0);
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    let mut mass = 0.0;
    let nucleus: Vec<u32> = order
        .iter()
        .take_while(|&&token| {
            let in_nucleus = mass < 0.3;
            mass += probabilities[token];
            in_nucleus
        })
        .map(|&token| token as u32)
        .collect();
    let sampling = Sampling { temperature: 1.0, top_p: 0.3, max_tokens: 1, seed: 5 };
    let mut seen: Vec<u32> = write(&lm, &vec![prompt; 1000], &sampling).concat();
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.iter().all(|token| nucleus.contains(token)), "{seen:?} leaves {nucleus:?}");
    assert!(seen.len() > 1, "more than one token was drawn");
}

#[test]
fn an_answer_ends_at_the_context_limit() {
    let lm = open("mha_tied");
    let longest = lm.decoder().config.max_position_embeddings;
    let prompt = |length: usize| (0..length as u32).map(|at| 10 + at % 50).collect::<Vec<_>>();
    let endless = |prompt: Vec<u32>| {
        let sampling = Sampling { max_tokens: 1000, ..GREEDY };
        continue_tokens(lm.decoder(), None, &[prompt], &[], &sampling)
            .expect("it writes")
            .remove(0)
            .len()
    };
    assert_eq!(endless(prompt(longest - 3)), 3);
    assert_eq!(endless(prompt(longest - 1)), 1);
    assert_eq!(endless(prompt(longest)), 0);
    assert_eq!(endless(prompt(longest + 5)), 0);
    assert_eq!(endless(Vec::new()), 0);
}
