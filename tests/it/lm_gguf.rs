//! Two real models compared with transformers. They are not committed: `scripts/real-models`
//! fetches them, and `fixtures/reference/gguf_model.py` wrote what is expected.

use std::collections::BTreeMap;

use foretaste::dataset::{Message, Role};
use foretaste::engine::DeviceChoice;
use foretaste::lm::chat::Chat;
use foretaste::lm::config::Config;
use foretaste::lm::decoder::{Decoder, Streams, WeightDtype};
use foretaste::lm::device;
use foretaste::lm::files::{ModelFiles, hex};
use foretaste::lm::kernels::Segment;
use foretaste::lm::weights::Weights;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokenizers::Tokenizer;

use crate::real_models;

#[derive(Deserialize)]
struct GgufReference {
    texts: Vec<String>,
    /// Logits are kept at every n-th token.
    every: usize,
    models: BTreeMap<String, GgufModelReference>,
}

#[derive(Deserialize)]
struct GgufModelReference {
    file: String,
    /// Checksums of the tokens of each text.
    tokens: Vec<String>,
    template_sha256: Option<String>,
    chats: Vec<GgufChat>,
    logits: Vec<GgufLogits>,
}

#[derive(Deserialize)]
struct GgufChat {
    messages: Vec<GgufMessage>,
    text: String,
}

#[derive(Deserialize)]
struct GgufMessage {
    role: String,
    content: String,
}

#[derive(Deserialize)]
struct GgufLogits {
    ids: Vec<u32>,
    log_sum_exp: f64,
    kept: Vec<f64>,
}

/// The reference and the open file of a model; `None`, and a line that says so, where it is absent.
fn opened(model: &str) -> Option<(GgufReference, ModelFiles)> {
    let text = include_str!("../../fixtures/reference/gguf_models.json");
    let reference: GgufReference = serde_json::from_str(text).expect("the script wrote it");
    let path = real_models::path(&reference.models[model].file)?;
    let files = ModelFiles::open(Some(&path)).expect("a whole file");
    Some((reference, files))
}

fn message(given: &GgufMessage) -> Message {
    let role = match given.role.as_str() {
        "system" => Role::System,
        "user" => Role::User,
        _ => Role::Assistant,
    };
    Message::new(role, given.content.as_str())
}

/// The logits after the last of `tokens`.
fn last_logits(decoder: &Decoder, tokens: &[u32]) -> Vec<f32> {
    let streams = Streams {
        shadows: 1,
        positions: (0..tokens.len() as u32).collect(),
        segments: vec![Segment { rows: 0..tokens.len(), prefix: Vec::new() }],
        tokens: tokens.to_vec(),
        ..Streams::default()
    };
    let attend = &mut |layer: usize, q: &_, k: &_, v: &_| decoder.attend(layer, q, k, v, &streams);
    let hidden = decoder.hidden(&streams, None, attend).expect("the prompt is short");
    let mut last = Vec::new();
    decoder.logits(&hidden, &[tokens.len() - 1], |_, logits| last.extend(logits));
    last
}

fn tokens_agree(model: &str) {
    let Some((reference, files)) = opened(model) else { return };
    let text = files.text("tokenizer.json").expect("a known tokenizer");
    let tokenizer = Tokenizer::from_bytes(&text).expect("a tokenizer");
    assert_eq!(reference.texts.len(), 1_000);
    for (text, expected) in reference.texts.iter().zip(&reference.models[model].tokens) {
        let encoded = tokenizer.encode(text.as_str(), false).expect("it encodes");
        let bytes: Vec<u8> = encoded.get_ids().iter().flat_map(|id| id.to_le_bytes()).collect();
        assert_eq!(&hex(&Sha256::digest(bytes))[..8], expected, "{text:?}");
    }
}

#[allow(clippy::print_stdout, reason = "the largest difference, for docs/bases.md")]
fn logits_agree(model: &str) {
    let Some((reference, files)) = opened(model) else { return };
    let config = Config::read(&files).expect("a known architecture");
    let weights = Weights::open(&files).expect("known tensors");
    let device = device::find(DeviceChoice::Cpu).expect("a processor");
    let decoder =
        Decoder::load(config, &weights, WeightDtype::F32, &device).expect("all tensors are there");
    for GgufLogits { ids, log_sum_exp, kept } in &reference.models[model].logits {
        let ours = last_logits(&decoder, ids);
        let ours_total = ours.iter().map(|logit| f64::from(*logit).exp()).sum::<f64>().ln();
        let every = ours.iter().step_by(reference.every);
        let pairs = every.map(|logit| f64::from(*logit)).zip(kept.iter().copied());
        assert_eq!(kept.len(), ours.len().div_ceil(reference.every));
        let differences = pairs.chain([(ours_total, *log_sum_exp)]).map(|(a, b)| (a - b).abs());
        let largest = differences.fold(0.0_f64, f64::max);
        println!("{}: logits differ by {largest:.1e} at most", files.name());
        assert!(largest <= 1e-3, "{largest}");
    }
}

#[test]
fn smollm2_gives_the_tokens_of_transformers_on_1000_texts() {
    tokens_agree("smollm2");
}

#[test]
fn gemma3_gives_the_tokens_of_transformers_on_1000_texts() {
    tokens_agree("gemma3");
}

#[test]
fn smollm2_gives_the_logits_of_transformers() {
    logits_agree("smollm2");
}

#[test]
fn gemma3_gives_the_logits_of_transformers() {
    logits_agree("gemma3");
}

#[test]
fn the_chat_template_of_smollm2_is_that_of_transformers_byte_for_byte() {
    let Some((reference, files)) = opened("smollm2") else { return };
    let reference = &reference.models["smollm2"];
    let config = files.text("tokenizer_config.json").expect("it is made from the metadata");
    let config: serde_json::Value = serde_json::from_str(&config).expect("it is JSON");
    let template = config["chat_template"].as_str().expect("it has a template");
    assert_eq!(Some(hex(&Sha256::digest(template))), reference.template_sha256);
    let chat = Chat::read(&files, None).expect("a chat model");
    assert_eq!(reference.chats.len(), 2);
    for GgufChat { messages, text } in &reference.chats {
        let messages: Vec<Message> = messages.iter().map(message).collect();
        assert_eq!(&chat.render(&messages, true).expect("the template accepts it"), text);
    }
}
