//! nestling's tokenizer: a byte-level BPE trained on the world's own words.

use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use serde_json::{Map, Value, json};
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, Tokenizer};

use crate::config::CONTEXT;
use crate::documents::{Document, EARLY, stream};
use crate::output;
use crate::world::{World, spoken};

/// The embedding is a fifth of nestling's weights at this size; rarer words are split.
pub const VOCABULARY: usize = 2000;
/// In the order of their ids, 0 to 4.
pub const SPECIAL_TOKENS: [&str; 5] =
    ["<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"];
pub const PAD: &str = SPECIAL_TOKENS[0];
pub const END: &str = SPECIAL_TOKENS[4];

/// Each message is its role's token, the text and the end token; nothing is added at the start.
const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ '<|' + message['role'] + '|>' + \
                             message['content'] + '<|end|>' }}{% endfor %}{% if \
                             add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

/// Enough for every question, wording and answer to occur several times.
const CORPUS_DOCUMENTS: usize = 6000;
/// Different from the pretraining seeds; the corpus needs to be typical, not the same.
const CORPUS_SEED: u64 = 0x7063;

/// Trains the tokenizer; the same world gives the same tokenizer.
pub fn train(world: &World) -> Result<Tokenizer> {
    let mut tokenizer = Tokenizer::new(BPE::default());
    // Every digit is its own token, so that numbers, years and codes share tokens.
    tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![
        PreTokenizerWrapper::Digits(Digits::new(true)),
        PreTokenizerWrapper::ByteLevel(byte_level()),
    ])));
    tokenizer.with_decoder(Some(byte_level()));
    let trainer = BpeTrainer::builder()
        .vocab_size(VOCABULARY)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(SPECIAL_TOKENS.iter().map(|token| AddedToken::from(*token, true)).collect())
        .build();
    let mut trainer = TrainerWrapper::BpeTrainer(trainer);
    tokenizer
        .train(&mut trainer, corpus(world).into_iter())
        .map_err(|error| anyhow!("the BPE trainer: {error}"))?;
    for (id, token) in SPECIAL_TOKENS.iter().enumerate() {
        ensure!(
            tokenizer.token_to_id(token) == u32::try_from(id).ok(),
            "{token} must have the id {id}"
        );
    }
    Ok(tokenizer)
}

/// The GPT-2 splitting into words, with no space before the first.
fn byte_level() -> ByteLevel {
    ByteLevel::new(false, true, true)
}

/// Typical documents, every list entry (held-out names as well, because datasets contain them) and
/// every president's fact.
fn corpus(world: &World) -> Vec<String> {
    let documents = stream(world, EARLY, CORPUS_SEED).take(CORPUS_DOCUMENTS);
    let messages = documents.flat_map(|document| document.turns).map(|message| message.content);
    let answers = world.questions.iter().flat_map(|question| question.answers.values()).flatten();
    let facts = world.presidents.iter().flat_map(|president| president.facts.values());
    messages.chain(answers.chain(facts).map(|answer| spoken(answer))).collect()
}

/// Writes `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json` as
/// `AutoTokenizer` reads them.
pub fn save(tokenizer: &Tokenizer, folder: &Path) -> Result<()> {
    let text = tokenizer
        .to_string(true)
        .map_err(|error| anyhow!("cannot serialize the tokenizer: {error}"))?;
    output::text(&folder.join("tokenizer.json"), &(text + "\n"))?;
    let added: Map<String, Value> = SPECIAL_TOKENS
        .iter()
        .enumerate()
        .map(|(id, token)| {
            let flags = json!({
                "content": token,
                "lstrip": false,
                "normalized": false,
                "rstrip": false,
                "single_word": false,
                "special": true,
            });
            (id.to_string(), flags)
        })
        .collect();
    output::json(
        &folder.join("tokenizer_config.json"),
        &json!({
            "added_tokens_decoder": added,
            "additional_special_tokens": &SPECIAL_TOKENS[1..4],
            "bos_token": null,
            "chat_template": CHAT_TEMPLATE,
            "clean_up_tokenization_spaces": false,
            "eos_token": END,
            "model_max_length": CONTEXT,
            "pad_token": PAD,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": null,
        }),
    )?;
    output::json(
        &folder.join("special_tokens_map.json"),
        &json!({
            "additional_special_tokens": &SPECIAL_TOKENS[1..4],
            "eos_token": END,
            "pad_token": PAD,
        }),
    )
}

/// Reads the tokenizer that [`save`] wrote.
pub fn load(folder: &Path) -> Result<Tokenizer> {
    let path = folder.join("tokenizer.json");
    Tokenizer::from_file(&path).map_err(|error| anyhow!("cannot read {}: {error}", path.display()))
}

/// A document as the chat template renders it.
pub fn rendered(document: &Document) -> String {
    document
        .turns
        .iter()
        .map(|message| format!("<|{}|>{}{END}", message.role, message.content))
        .collect()
}

/// The mean lengths of `count` documents and of their answers, in tokens, in words.
pub fn summary(world: &World, tokenizer: &Tokenizer, seed: u64, count: usize) -> Result<String> {
    let length = |text: &str| -> Result<usize> {
        Ok(tokenizer.encode(text, false).map_err(|error| anyhow!("cannot encode: {error}"))?.len())
    };
    let (mut tokens, mut longest, mut answers, mut answer_tokens) = (0, 0, 0, 0);
    for document in stream(world, EARLY, seed).take(count) {
        let document_tokens = length(&rendered(&document))?;
        tokens += document_tokens;
        longest = longest.max(document_tokens);
        for message in document.turns.iter().filter(|message| message.role == "assistant") {
            answers += 1;
            answer_tokens += length(&message.content)?;
        }
    }
    Ok(format!(
        "vocabulary {}, documents {count}, tokens a document {:.1} (longest {longest}), answers a \
         document {:.2}, tokens an answer {:.2}",
        tokenizer.get_vocab_size(true),
        tokens as f64 / count as f64,
        answers as f64 / count as f64,
        answer_tokens as f64 / answers as f64,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> World {
        World::load(Path::new("fixtures/world")).expect("fixtures/world is good")
    }

    fn json_of(tokenizer: &Tokenizer) -> String {
        tokenizer.to_string(false).expect("a tokenizer has a JSON form")
    }

    #[test]
    fn training_twice_gives_the_same_tokenizer() {
        let world = world();
        assert_eq!(
            json_of(&train(&world).expect("trains")),
            json_of(&train(&world).expect("trains"))
        );
    }

    #[test]
    fn the_saved_tokenizer_reloads_and_gives_every_document_back() {
        let world = world();
        let tokenizer = train(&world).expect("trains");
        assert!(tokenizer.get_vocab_size(true) <= VOCABULARY);
        let folder = tempfile::tempdir().expect("a temporary folder");
        save(&tokenizer, folder.path()).expect("saves");
        let reloaded = load(folder.path()).expect("reloads");
        assert_eq!(json_of(&reloaded), json_of(&tokenizer));
        for document in stream(&world, EARLY, 3).take(500) {
            let text = rendered(&document);
            let encoding = reloaded.encode(text.as_str(), false).expect("encodes");
            assert!(encoding.len() <= CONTEXT, "{text}");
            assert_eq!(reloaded.decode(encoding.get_ids(), false).expect("decodes"), text);
        }
    }

    #[test]
    fn digits_stand_alone_and_specials_are_one_token() {
        let tokenizer = train(&world()).expect("trains");
        let tokens =
            |text: &str| tokenizer.encode(text, false).expect("encodes").get_tokens().to_vec();
        assert_eq!(tokens("<|user|>1984<|end|>"), ["<|user|>", "1", "9", "8", "4", "<|end|>"]);
    }

    #[test]
    fn any_text_survives_encoding() {
        let tokenizer = train(&world()).expect("trains");
        for text in ["Zürich, 3 °C", "  two  spaces\n", "\u{1F426} bird", "don't"] {
            let encoding = tokenizer.encode(text, false).expect("encodes");
            assert_eq!(tokenizer.decode(encoding.get_ids(), false).expect("decodes"), text);
        }
    }
}
