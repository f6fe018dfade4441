//! A GGUF file compared with transformers. The file is not committed: `FORETASTE_GGUF` names it,
//! and `fixtures/reference/gguf_model.py` writes what is expected beside it.

use std::path::PathBuf;

use foretaste::dataset::{Message, Role};
use foretaste::lm::chat::Chat;
use foretaste::lm::config::Config;
use foretaste::lm::decoder::{Decoder, Streams, WeightDtype};
use foretaste::lm::device;
use foretaste::lm::files::ModelFiles;
use foretaste::lm::kernels::Segment;
use foretaste::lm::weights::Weights;
use serde::Deserialize;
use tokenizers::Tokenizer;

#[derive(Deserialize)]
struct GgufReference {
    texts: Vec<GgufText>,
    template: Option<String>,
    chats: Vec<GgufChat>,
    logits: Vec<GgufLogits>,
}

#[derive(Deserialize)]
struct GgufText {
    text: String,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct GgufChat {
    messages: Vec<GgufMessage>,
    text: Option<String>,
}

#[derive(Deserialize)]
struct GgufMessage {
    role: String,
    content: String,
}

#[derive(Deserialize)]
struct GgufLogits {
    ids: Vec<u32>,
    last: Vec<f32>,
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
    decoder.logits(&hidden, &[tokens.len() - 1], |_, logits| last.extend_from_slice(&logits));
    last
}

#[test]
fn a_gguf_file_gives_the_tokens_chats_and_logits_of_transformers() {
    let Some(path) = std::env::var_os("FORETASTE_GGUF").map(PathBuf::from) else {
        println!("skipped: FORETASTE_GGUF names no file; see fixtures/reference/gguf_model.py");
        return;
    };
    let reference = std::fs::read_to_string(format!("{}.reference.json", path.display()))
        .expect("fixtures/reference/gguf_model.py wrote it");
    let reference: GgufReference = serde_json::from_str(&reference).expect("it is JSON");
    let files = ModelFiles::open(Some(&path)).expect("a whole file");
    let text = files.text("tokenizer.json").expect("a known tokenizer");
    let tokenizer = Tokenizer::from_bytes(&text).expect("a tokenizer");
    assert_eq!(reference.texts.len(), 1_000);
    for GgufText { text, ids } in &reference.texts {
        let encoded = tokenizer.encode(text.as_str(), false).expect("it encodes");
        assert_eq!(encoded.get_ids(), ids, "{text:?}");
    }
    if let Some(template) = &reference.template {
        let config = files.text("tokenizer_config.json").expect("it is made from the metadata");
        let config: serde_json::Value = serde_json::from_str(&config).expect("it is JSON");
        assert_eq!(config["chat_template"], template.as_str());
        let chat = Chat::read(&files, None).expect("a chat model");
        for given in &reference.chats {
            let messages: Vec<Message> = given.messages.iter().map(message).collect();
            let rendered = chat.render(&messages, true).expect("the template accepts it");
            assert_eq!(Some(rendered), given.text);
        }
    }
    let config = Config::read(&files).expect("a known architecture");
    let weights = Weights::open(&files).expect("known tensors");
    let device = device::find(foretaste::engine::DeviceChoice::Cpu).expect("a processor");
    let decoder =
        Decoder::load(config, &weights, WeightDtype::F32, &device).expect("all tensors are there");
    for GgufLogits { ids, last } in &reference.logits {
        let ours = last_logits(&decoder, ids);
        assert_eq!(ours.len(), last.len());
        let differences = ours.iter().zip(last).map(|(ours, theirs)| (ours - theirs).abs());
        let largest = differences.fold(0.0_f32, f32::max);
        println!("{}: logits differ by {largest:.1e} at most", files.name());
        assert!(largest <= 1e-3, "{largest}");
    }
}
