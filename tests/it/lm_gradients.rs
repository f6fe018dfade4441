//! The hand-written backward pass, compared with finite differences of the forward pass on small
//! random models.

use foretaste::lm::config::rope::Rotary;
use foretaste::lm::config::{Biases, Config, Layer};
use foretaste::lm::decoder::{Block, Decoder, Linear, Streams, Target, Trainable};
use foretaste::lm::kernels::Heads;
use foretaste::lm::lora::{HostLora, Projection};
use foretaste::lm::matrix::Matrix;
use foretaste::lm::ops::Ops;
use foretaste::lm::packing::{TokenRow, pack_rows};
use foretaste::lm::tensor::{from_host, host};
use foretaste::seed::{self, Purpose};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::lm::open;

/// A model with grouped queries, heads wider than `hidden / heads`, and no width that is a multiple
/// of a SIMD vector.
fn config(tied: bool, biased: bool) -> Config {
    Config {
        hidden_size: 10,
        intermediate_size: 18,
        layers: vec![Layer { rotary: Some(0), window: None }; 2],
        heads: Heads { query: 4, key_value: 2, dim: 6 },
        vocab_size: 13,
        rotaries: vec![Rotary { inverse_frequencies: vec![1.0, 0.2, 0.04], scale: 1.0 }],
        max_position_embeddings: 64,
        tie_word_embeddings: tied,
        biases: Biases { qkv: biased, o: biased, mlp: biased },
        ..open("mha_tied").decoder().config.clone()
    }
}

fn random_values(random: &mut ChaCha8Rng, count: usize, size: f32) -> Vec<f32> {
    (0..count).map(|_| (random.random::<f32>() * 2.0 - 1.0) * size).collect()
}

/// All weights of a tied model without biases, in the order in which [`gradients`] gives theirs:
/// embedding, blocks, last norm.
fn weights(config: &Config, random: &mut ChaCha8Rng) -> Vec<Vec<f32>> {
    let hidden = config.hidden_size;
    let norm = |random: &mut ChaCha8Rng| {
        random_values(random, hidden, 0.5).iter().map(|w| 1.0 + w).collect::<Vec<_>>()
    };
    let mut weights = vec![random_values(random, config.vocab_size * hidden, 1.0)];
    for _ in &config.layers {
        weights.push(norm(random));
        for projection in Projection::of(config) {
            let (wide, out) = projection.widths(config);
            weights.push(random_values(random, wide * out, 0.6));
        }
        weights.push(norm(random));
    }
    weights.push(norm(random));
    weights
}

/// A model from [`weights`]. A head and biases, if it has any, come from a separate random stream.
fn decoder(config: &Config, weights: &[Vec<f32>]) -> Decoder {
    let device = open("mha_tied").decoder().device.clone();
    let mut random = seed::stream(Purpose::Test("head-and-biases"), 0);
    let matrix = |values: &[f32], shape: [usize; 2]| from_host(values.to_vec(), shape, &device);
    let (vocabulary, hidden) = (config.vocab_size, config.hidden_size);
    let mut weights = weights.iter();
    let mut next = || weights.next().expect("as many weights as a model has").as_slice();
    let embed_tokens: Matrix = matrix(next(), [vocabulary, hidden]).into();
    let mut layers = Vec::new();
    for _ in &config.layers {
        let input_layernorm = next().to_vec();
        let mut projections = Vec::new();
        for projection in Projection::of(config) {
            let (wide, out) = projection.widths(config);
            let bias = projection
                .has_bias(config)
                .then(|| matrix(&random_values(&mut random, out, 0.5), [1, out]));
            projections.push(Linear { weight: matrix(next(), [out, wide]).into(), bias });
        }
        layers.push(Block::plain(input_layernorm, projections, next().to_vec()));
    }
    let norm = next().to_vec();
    let lm_head = match config.tie_word_embeddings {
        true => embed_tokens.clone(),
        false => {
            matrix(&random_values(&mut random, vocabulary * hidden, 1.0), [vocabulary, hidden])
                .into()
        }
    };
    Decoder::assemble(config.clone(), &device, embed_tokens, layers, norm, lm_head)
}

/// Batches of different lengths, so that the shorter streams are padded.
fn batch(config: &Config, random: &mut ChaCha8Rng, shadows: usize) -> (Streams, Vec<Target>) {
    let mut row = |length: usize| TokenRow {
        tokens: (0..length).map(|_| random.random_range(0..config.vocab_size as u32)).collect(),
        supervised: (0..length).map(|at| at % 3 != 1).collect(),
    };
    let batches: Vec<Vec<TokenRow>> =
        (0..shadows).map(|shadow| vec![row(5 + shadow), row(4)]).collect();
    pack_rows(&batches.iter().map(|rows| rows.iter().collect()).collect::<Vec<_>>(), Ops::Fused)
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

/// `x + by * direction`.
fn moved(x: &[f32], direction: &[f32], by: f64) -> Vec<f32> {
    x.iter().zip(direction).map(|(&x, &d)| (f64::from(x) + by * f64::from(d)) as f32).collect()
}

/// Asserts that `gradient` is the derivative of `loss` along random directions. It uses central
/// differences of fourth order. At this step, their error and the f32 noise of the loss are well
/// below the tolerance.
fn assert_derivative(
    what: &str,
    x: &[f32],
    gradient: &[f32],
    random: &mut ChaCha8Rng,
    loss: impl Fn(&[f32]) -> f64,
) {
    const STEP: f64 = 0.002;
    assert_eq!(gradient.len(), x.len(), "{what}");
    let size = norm(gradient);
    assert!(size > 0.1, "{what}: a gradient of {size} is too small to test");
    for _ in 0..2 {
        // Half along the gradient, where the slope is largest, and half in a random direction.
        let across = random_values(random, x.len(), 1.0);
        let length = norm(&across);
        let direction: Vec<f32> = gradient
            .iter()
            .zip(&across)
            .map(|(g, a)| (f64::from(*g) / size + f64::from(*a) / length) as f32)
            .collect();
        let at = |steps: f64| loss(&moved(x, &direction, steps * STEP));
        let numeric = (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * STEP);
        let analytic: f64 =
            gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
        assert!((numeric - analytic).abs() < 2e-3 * size, "{what}: {analytic} is not {numeric}");
    }
}

#[test]
fn the_gradient_of_every_weight_is_the_derivative_of_the_loss() {
    let config = config(true, false);
    let mut random = seed::stream(Purpose::Test("gradient-of-everything"), 0);
    let weights = weights(&config, &mut random);
    let (streams, targets) = batch(&config, &mut random, 1);
    let step = |weights: &[Vec<f32>]| {
        decoder(&config, weights)
            .step(&streams, &targets, Trainable::Everything)
            .expect("a step of a small model")
    };
    let found = step(&weights);
    let mut gradients = vec![found.embed_tokens];
    for block in found.blocks {
        gradients.push(block.input_layernorm);
        gradients.extend(block.weights.into_iter().map(host));
        gradients.push(block.mlp_layernorm);
    }
    gradients.push(found.norm);
    assert_eq!(gradients.len(), weights.len());
    for (at, gradient) in gradients.iter().enumerate() {
        assert_derivative(&format!("weight {at}"), &weights[at], gradient, &mut random, |values| {
            let mut weights = weights.clone();
            weights[at] = values.to_vec();
            step(&weights).losses[0]
        });
    }
}

#[test]
fn the_gradient_of_every_lora_weight_is_the_derivative_of_its_own_shadows_loss() {
    for (tied, biased) in [(true, false), (false, true)] {
        let config = config(tied, biased);
        let mut random = seed::stream(Purpose::Test("gradient-of-lora"), u64::from(tied));
        let decoder = decoder(&config, &weights(&config, &mut random));
        let mut lora = HostLora::fresh(&config, 3, 6.0, &[1, 2]);
        for b in lora.parameters.iter_mut().skip(1).step_by(2) {
            b.values = random_values(&mut random, b.values.len(), 0.5);
        }
        let (streams, targets) = batch(&config, &mut random, 2);
        let step = |lora: &HostLora| {
            decoder
                .step(&streams, &targets, Trainable::Lora(&lora.upload(&decoder.device)))
                .expect("a step of a small model")
        };
        let found = step(&lora);
        let losses = found.losses.clone();
        let gradients: Vec<Vec<f32>> = found
            .blocks
            .into_iter()
            .flat_map(|block| block.lora)
            .flat_map(|pair| pair.into_host())
            .collect();
        assert_eq!(gradients.len(), lora.parameters.len());
        for (at, gradient) in gradients.iter().enumerate() {
            let share = gradient.len() / 2;
            for shadow in 0..2 {
                let range = shadow * share..(shadow + 1) * share;
                let own = &lora.parameters[at].values[range.clone()];
                assert_derivative(
                    &format!("parameter {at} of shadow {shadow}"),
                    own,
                    &gradient[range.clone()],
                    &mut random,
                    |values| {
                        let mut lora = lora.clone();
                        lora.parameters[at].values[range.clone()].copy_from_slice(values);
                        let moved = step(&lora).losses;
                        assert_eq!(
                            moved[1 - shadow],
                            losses[1 - shadow],
                            "the other shadow's loss does not move"
                        );
                        moved[shadow]
                    },
                );
            }
        }
    }
}

#[test]
fn weights_that_have_no_gradient_are_not_trained() {
    let config = config(false, true);
    let mut random = seed::stream(Purpose::Test("no-gradient"), 0);
    let decoder = decoder(&config, &weights(&config, &mut random));
    let (streams, targets) = batch(&config, &mut random, 1);
    let error = decoder
        .step(&streams, &targets, Trainable::Everything)
        .expect_err("biases have no gradient")
        .to_string();
    assert!(error.contains("without biases"), "{error}");
}

#[test]
fn a_prefix_that_is_computed_once_gives_the_gradients_of_rows_that_each_have_their_own() {
    for family in ["mistral", "gemma2", "gemma3", "qwen3", "phi3"] {
        let base = open(family);
        let decoder = base.decoder();
        let mut random = seed::stream(Purpose::Test("shared-prefix"), 0);
        let mut token = |_| random.random_range(0..decoder.config.vocab_size as u32);
        let prefix: Vec<u32> = (0..20).map(&mut token).collect();
        let mut row = |shared: usize, own: usize| {
            let tokens = prefix[..shared].iter().copied().chain((0..own).map(&mut token));
            let tokens: Vec<u32> = tokens.collect();
            let supervised = (0..tokens.len()).map(|at| at >= shared + own / 2).collect();
            TokenRow { tokens, supervised }
        };
        let batches = [vec![row(20, 6), row(20, 3), row(17, 9)], vec![row(0, 5), row(0, 4)]];
        let mut lora = HostLora::fresh(&decoder.config, 3, 6.0, &[1, 2]);
        let mut values = seed::stream(Purpose::Test("shared-prefix-lora"), 0);
        for b in lora.parameters.iter_mut().skip(1).step_by(2) {
            b.values = random_values(&mut values, b.values.len(), 0.5);
        }
        let lora = lora.upload(&decoder.device);
        let step = |ops: Ops| {
            let batches: Vec<Vec<&TokenRow>> =
                batches.iter().map(|rows| rows.iter().collect()).collect();
            let (streams, targets) = pack_rows(&batches, ops);
            let found =
                decoder.step(&streams, &targets, Trainable::Lora(&lora)).expect("a small step");
            let gradients = found.blocks.into_iter().flat_map(|block| block.lora);
            let gradients: Vec<f32> =
                gradients.flat_map(|pair| pair.into_host()).flatten().collect();
            (streams.segments.iter().any(|s| !s.prefix.is_empty()), found.losses, gradients)
        };
        let (shared, losses, gradients) = step(Ops::Fused);
        let (apart, expected_losses, expected) = step(Ops::Composed);
        assert!(shared && !apart, "{family}");
        for (loss, expected) in losses.iter().zip(&expected_losses) {
            assert!((loss - expected).abs() < 1e-5 * expected, "{family}: {loss} {expected}");
        }
        let difference: Vec<f32> = gradients.iter().zip(&expected).map(|(a, b)| a - b).collect();
        assert!(norm(&difference) < 1e-5 * norm(&expected), "{family}: {}", norm(&difference));
    }
}
