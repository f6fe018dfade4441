//! `tokenizer.json` and `tokenizer_config.json` from the metadata of a GGUF file.
//!
//! The file has the vocabulary, and either merges or scores. It names its pre-tokenizer by a word;
//! the patterns are those of the models' own `tokenizer.json`.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::Gguf;

/// Maximum sum of the squared lengths of all tokens, in bytes, where merges follow from scores. It
/// bounds the time to find merges, and their size. Gemma 3's vocabulary has 22 million.
const MOST_SPLITTING: u64 = 1 << 27;

/// Types of tokens in `tokenizer.ggml.token_type`.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const GPT4O: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// How text is cut before merging.
#[derive(Debug, Clone, Copy)]
enum PreTokenizer {
    /// The pattern of GPT-2.
    Gpt2,
    /// Digits one by one, then the pattern of GPT-2.
    Digits,
    /// A pattern of its own. `whole`: a piece that is a token is not merged from its letters.
    Pattern { pattern: &'static str, whole: bool },
}

/// Every known value of `tokenizer.ggml.pre` for byte-level vocabularies.
const PRE_TOKENIZERS: [(&str, PreTokenizer); 13] = [
    ("default", PreTokenizer::Gpt2),
    ("gpt-2", PreTokenizer::Gpt2),
    ("smollm", PreTokenizer::Digits),
    ("starcoder", PreTokenizer::Digits),
    ("refact", PreTokenizer::Digits),
    ("command-r", PreTokenizer::Digits),
    ("llama-bpe", PreTokenizer::Pattern { pattern: LLAMA3, whole: true }),
    ("llama3", PreTokenizer::Pattern { pattern: LLAMA3, whole: true }),
    ("llama-v3", PreTokenizer::Pattern { pattern: LLAMA3, whole: true }),
    ("qwen2", PreTokenizer::Pattern { pattern: QWEN2, whole: false }),
    ("deepseek-r1-qwen", PreTokenizer::Pattern { pattern: QWEN2, whole: false }),
    ("tekken", PreTokenizer::Pattern { pattern: TEKKEN, whole: true }),
    ("gpt-4o", PreTokenizer::Pattern { pattern: GPT4O, whole: false }),
];

/// The text of `tokenizer.json`.
///
/// # Errors
/// Where entries are missing or of another type, or the kind of tokenizer is unknown.
pub fn tokenizer(gguf: &Gguf) -> Result<String> {
    let tokens = gguf
        .texts("tokenizer.ggml.tokens")?
        .context("tokenizer.ggml.tokens is missing; convert the model again")?;
    let types = gguf.integers("tokenizer.ggml.token_type")?.unwrap_or_default();
    ensure!(
        types.is_empty() || types.len() == tokens.len(),
        "{} tokens and {} types of tokens; download the file again",
        tokens.len(),
        types.len()
    );
    match gguf.text("tokenizer.ggml.model")?.unwrap_or_default() {
        "gpt2" => byte_level(gguf, tokens, types),
        "llama" => sentence_piece(gguf, tokens, types),
        other => {
            bail!("tokenizer.ggml.model {other:?} is not read; foretaste knows gpt2 and llama")
        }
    }
}

/// Byte-level BPE: each letter of a token is a byte, and the file has the merges.
fn byte_level(gguf: &Gguf, tokens: &[String], types: &[i64]) -> Result<String> {
    let name = gguf.text("tokenizer.ggml.pre")?.unwrap_or("default");
    let found = PRE_TOKENIZERS.iter().find(|(known, _)| *known == name);
    let (_, pre_tokenizer) = found.with_context(|| {
        let known: Vec<&str> = PRE_TOKENIZERS.iter().map(|(name, _)| *name).collect();
        format!("tokenizer.ggml.pre {name:?} is not read; foretaste knows {}", known.join(", "))
    })?;
    let bytes = |use_regex: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": use_regex
        })
    };
    let (steps, whole) = match pre_tokenizer {
        PreTokenizer::Gpt2 => (vec![bytes(true)], false),
        PreTokenizer::Digits => {
            (vec![json!({"type": "Digits", "individual_digits": true}), bytes(true)], false)
        }
        PreTokenizer::Pattern { pattern, whole } => {
            let split = json!({
                "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
                "invert": false
            });
            (vec![split, bytes(false)], *whole)
        }
    };
    let merges = gguf
        .texts("tokenizer.ggml.merges")?
        .context("tokenizer.ggml.merges is missing; convert the model again")?;
    let merges: Vec<(&str, &str)> = merges
        .iter()
        .map(|merge| {
            merge
                .split_once(' ')
                .with_context(|| format!("tokenizer.ggml.merges has {merge:?}, which is no pair"))
        })
        .collect::<Result<_>>()?;
    let names: Vec<&str> = tokens.iter().map(String::as_str).collect();
    TokenizerFile {
        added: added_tokens(gguf, &names, tokens, types)?,
        // Qwen's own tokenizer composes letters and accents first.
        normalizer: if name == "qwen2" { json!({"type": "NFC"}) } else { Value::Null },
        pre_tokenizer: json!({"type": "Sequence", "pretokenizers": steps}),
        post_processor: beginning(gguf, tokens, false)?,
        decoder: bytes(true),
        model: json!({
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": whole
        }),
        vocabulary: vocabulary(&names),
        merges,
    }
    .text()
}

/// SentencePiece's BPE: ▁ is a space, and the best score is merged first.
fn sentence_piece(gguf: &Gguf, tokens: &[String], types: &[i64]) -> Result<String> {
    let architecture = gguf.text("general.architecture")?.unwrap_or_default();
    let gemma = architecture.starts_with("gemma");
    // The converter writes Gemma's tokens of several spaces as spaces.
    let blank = |token: &str| !token.is_empty() && token.bytes().all(|byte| byte == b' ');
    let spelled: Vec<String> = tokens
        .iter()
        .map(|token| match gemma && blank(token) {
            true => token.replace(' ', "▁"),
            false => token.clone(),
        })
        .collect();
    let names: Vec<&str> = spelled.iter().map(String::as_str).collect();
    let vocabulary = vocabulary(&names);
    let scores = gguf.floats("tokenizer.ggml.scores")?.unwrap_or_default();
    let merges = match gguf.texts("tokenizer.ggml.merges")? {
        Some(merges) => {
            let pairs = merges.iter().map(|merge| {
                merge.split_once(' ').with_context(|| {
                    format!("tokenizer.ggml.merges has {merge:?}, which is no pair")
                })
            });
            pairs.collect::<Result<_>>()?
        }
        // Gemma's scores do not follow the order of its merges; that of its tokens does.
        None if gemma => merges(&names, &vocabulary, |id| -(id as f64))?,
        None => {
            ensure!(
                scores.len() == tokens.len(),
                "{} tokens and {} scores; download the file again",
                tokens.len(),
                scores.len()
            );
            merges(&names, &vocabulary, |id| f64::from(scores[id]))?
        }
    };
    let prefix = !gemma && gguf.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let (normalizer, pre_tokenizer) = if gemma {
        let split = json!({
            "type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious",
            "invert": false
        });
        (spaces, split)
    } else if architecture == "phi3" && prefix {
        let prepend = json!({"type": "Prepend", "prepend": "▁"});
        (json!({"type": "Sequence", "normalizers": [prepend, spaces]}), Value::Null)
    } else {
        let scheme = if prefix { "first" } else { "never" };
        let metaspace = json!({
            "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false
        });
        (Value::Null, metaspace)
    };
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let unknown = named_token(gguf, tokens, "unknown_token_id")?;
    TokenizerFile {
        added: added_tokens(gguf, &names, tokens, types)?,
        normalizer,
        pre_tokenizer,
        post_processor: beginning(gguf, tokens, true)?,
        decoder: json!({"type": "Sequence", "decoders": decoders}),
        model: json!({
            "type": "BPE", "dropout": null, "unk_token": unknown.map(|(_, text)| text),
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
            "byte_fallback": true, "ignore_merges": false
        }),
        vocabulary,
        merges,
    }
    .text()
}

/// Every token with its id. Of equal tokens, the last counts.
fn vocabulary<'a>(tokens: &[&'a str]) -> BTreeMap<&'a str, usize> {
    tokens.iter().enumerate().map(|(id, token)| (*token, id)).collect()
}

/// All pairs of tokens that make a token: the highest score first, then the longer first part,
/// then the longer second part; lengths are in characters.
fn merges<'a>(
    tokens: &[&'a str],
    vocabulary: &BTreeMap<&'a str, usize>,
    score: impl Fn(usize) -> f64,
) -> Result<Vec<(&'a str, &'a str)>> {
    let work: u64 = tokens.iter().map(|token| (token.len() as u64).pow(2)).sum();
    ensure!(
        work <= MOST_SPLITTING,
        "the tokens are too long to find their merges; use a file with tokenizer.ggml.merges"
    );
    let bytes: Vec<Vec<u8>> = tokens.iter().map(|token| token.as_bytes().to_vec()).collect();
    let reversed: Vec<Vec<u8>> = tokens.iter().map(|token| token.bytes().rev().collect()).collect();
    let (starts, ends) = (beginnings(&bytes), beginnings(&reversed));
    let mut found: Vec<(f64, usize, usize, &str, &str)> = Vec::new();
    for (id, token) in tokens.iter().enumerate() {
        if vocabulary.get(token) != Some(&id) {
            continue;
        }
        let score = score(id);
        ensure!(!score.is_nan(), "the score of token {id} is not a number");
        for &at in &starts[id] {
            // Lengths ascend.
            if ends[id].binary_search(&(token.len() - at)).is_ok() {
                let (left, right) = token.split_at(at);
                found.push((score, left.chars().count(), right.chars().count(), left, right));
            }
        }
    }
    // The sort is stable, so that equal pairs stay in the order of their tokens.
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)).then(b.2.cmp(&a.2)));
    Ok(found.into_iter().map(|(_, _, _, left, right)| (left, right)).collect())
}

/// For each text, the lengths of the shorter texts among `texts` that it begins with, ascending.
fn beginnings(texts: &[Vec<u8>]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|id| &texts[*id]);
    let mut all = vec![Vec::new(); texts.len()];
    // In sorted order, a text follows all of its beginnings, and all texts between have them too.
    let mut stack: Vec<usize> = Vec::new();
    for id in order {
        while let Some(top) = stack.last()
            && (!texts[id].starts_with(&texts[*top]) || texts[*top].len() == texts[id].len())
        {
            stack.pop();
        }
        all[id] = stack.iter().map(|id| texts[*id].len()).filter(|length| *length > 0).collect();
        stack.push(id);
    }
    all
}

/// The token whose id is an entry of the metadata.
fn named_token<'a>(
    gguf: &Gguf,
    tokens: &'a [String],
    name: &str,
) -> Result<Option<(usize, &'a str)>> {
    let key = format!("tokenizer.ggml.{name}");
    let Some(id) = gguf.integer(&key)? else { return Ok(None) };
    let token = usize::try_from(id).ok().and_then(|id| Some((id, tokens.get(id)?.as_str())));
    token.map(Some).with_context(|| {
        format!("{key} is {id} and there are {} tokens; convert the model again", tokens.len())
    })
}

/// Tokens that are found in text before anything else: control tokens and those with a role, which
/// are special, and the model's own words.
fn added_tokens(
    gguf: &Gguf,
    names: &[&str],
    tokens: &[String],
    types: &[i64],
) -> Result<Vec<Value>> {
    let mut roles = Vec::new();
    for name in ["bos_token_id", "eos_token_id", "unknown_token_id", "padding_token_id"] {
        roles.extend(named_token(gguf, tokens, name)?.map(|(id, _)| id));
    }
    let kind = |id: usize| match types.get(id) {
        Some(&(CONTROL | UNKNOWN)) => Some(true),
        _ if roles.contains(&id) => Some(true),
        // A token that was spelled anew, such as Gemma's spaces, is merged from its parts.
        Some(&USER_DEFINED) if names[id] == tokens[id] => Some(false),
        _ => None,
    };
    let added = names.iter().enumerate().filter(|(_, token)| !token.is_empty());
    Ok(added
        .filter_map(|(id, token)| {
            Some(json!({
                "id": id, "content": token, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": kind(id)?
            }))
        })
        .collect())
}

/// The post-processor that puts the beginning of text before a text, where the file asks for one.
fn beginning(gguf: &Gguf, tokens: &[String], usual: bool) -> Result<Value> {
    let asked = gguf.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(usual);
    let Some((id, bos)) = named_token(gguf, tokens, "bos_token_id")?.filter(|_| asked) else {
        return Ok(Value::Null);
    };
    let special = json!({"SpecialToken": {"id": bos, "type_id": 0}});
    let sequence = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
    Ok(json!({
        "type": "TemplateProcessing",
        "single": [special, sequence("A")],
        "pair": [special, sequence("A"), special, sequence("B")],
        "special_tokens": {bos: {"id": bos, "ids": [id], "tokens": [bos]}},
    }))
}

/// The parts of `tokenizer.json`.
struct TokenizerFile<'a> {
    added: Vec<Value>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    /// The model without its vocabulary and merges.
    model: Value,
    vocabulary: BTreeMap<&'a str, usize>,
    merges: Vec<(&'a str, &'a str)>,
}

impl TokenizerFile<'_> {
    /// The file. Vocabulary and merges are written as text at once; as JSON values they would take
    /// ten times the memory.
    fn text(self) -> Result<String> {
        let file = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": self.added,
            "normalizer": self.normalizer,
            "pre_tokenizer": self.pre_tokenizer,
            "post_processor": self.post_processor,
            "decoder": self.decoder,
        });
        let mut text = file.to_string();
        let mut model = self.model.to_string();
        text.truncate(text.len() - 1);
        model.truncate(model.len() - 1);
        write!(
            text,
            ",\"model\":{model},\"vocab\":{},\"merges\":{}}}}}",
            serde_json::to_string(&self.vocabulary)?,
            serde_json::to_string(&self.merges)?
        )?;
        Ok(text)
    }
}

/// `tokenizer_config.json`: special tokens and the chat template.
///
/// # Errors
/// Where entries are of another type, or name tokens that do not exist.
pub fn tokenizer_config(gguf: &Gguf) -> Result<Value> {
    let tokens = gguf.texts("tokenizer.ggml.tokens")?.unwrap_or_default();
    let mut config = json!({});
    for (ours, theirs) in [
        ("bos_token", "bos_token_id"),
        ("eos_token", "eos_token_id"),
        ("unk_token", "unknown_token_id"),
        ("pad_token", "padding_token_id"),
    ] {
        if let Some((_, token)) = named_token(gguf, tokens, theirs)? {
            config[ours] = token.into();
        }
    }
    if let Some(template) = gguf.text("tokenizer.chat_template")? {
        config["chat_template"] = template.into();
    }
    Ok(config)
}
