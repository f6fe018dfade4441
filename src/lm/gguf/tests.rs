//! Tests the reader with files made here, honest and hostile.

use proptest::prelude::*;
use serde_json::Value;

use super::config::{GgufArchitecture, config, generation_config};
use super::dequantise::{TYPES, dequantise};
use super::tensors::{tensors, values};
use super::tokenizer::{tokenizer, tokenizer_config};
use super::*;

const BLOCKS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/reference/gguf_blocks.json"));

/// Writes a file from its parts.
#[derive(Default, Clone)]
struct GgufFile {
    entries: Vec<(String, Vec<u8>)>,
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

fn text_bytes(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl GgufFile {
    fn entry(mut self, name: &str, kind: u32, value: &[u8]) -> Self {
        self.entries.push((name.to_owned(), [&kind.to_le_bytes()[..], value].concat()));
        self
    }

    fn number(self, name: &str, number: u32) -> Self {
        self.entry(name, 4, &number.to_le_bytes())
    }

    fn text(self, name: &str, text: &str) -> Self {
        self.entry(name, 8, &text_bytes(text))
    }

    fn texts(self, name: &str, texts: &[&str]) -> Self {
        let mut value = 8_u32.to_le_bytes().to_vec();
        value.extend((texts.len() as u64).to_le_bytes());
        texts.iter().for_each(|text| value.extend(text_bytes(text)));
        self.entry(name, 9, &value)
    }

    fn integers(self, name: &str, numbers: &[i32]) -> Self {
        let mut value = 5_u32.to_le_bytes().to_vec();
        value.extend((numbers.len() as u64).to_le_bytes());
        numbers.iter().for_each(|number| value.extend(number.to_le_bytes()));
        self.entry(name, 9, &value)
    }

    /// A tensor in f32; `shape` as in a checkpoint.
    fn tensor(mut self, name: &str, shape: &[usize], numbers: &[f32]) -> Self {
        let sizes = shape.iter().rev().map(|size| *size as u64).collect();
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.tensors.push((name.to_owned(), sizes, 0, bytes));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(3_u32.to_le_bytes());
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.entries.len() as u64).to_le_bytes());
        for (name, value) in &self.entries {
            file.extend(text_bytes(name));
            file.extend(value);
        }
        let mut data = Vec::new();
        for (name, sizes, kind, bytes) in &self.tensors {
            file.extend(text_bytes(name));
            file.extend((sizes.len() as u32).to_le_bytes());
            sizes.iter().for_each(|size| file.extend(size.to_le_bytes()));
            file.extend(kind.to_le_bytes());
            file.extend((data.len() as u64).to_le_bytes());
            data.extend(bytes);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(data);
        file
    }
}

/// A Llama of one head of 4 numbers with the letters a and b.
fn llama() -> GgufFile {
    let mut file = GgufFile::default()
        .text("general.architecture", "llama")
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "smollm")
        .texts("tokenizer.ggml.tokens", &["<end>", "a", "b", "ab"])
        .integers("tokenizer.ggml.token_type", &[3, 1, 1, 1])
        .texts("tokenizer.ggml.merges", &["a b"])
        .text("tokenizer.chat_template", "{{ messages[0].content }}")
        .number("tokenizer.ggml.eos_token_id", 0)
        .entry("llama.attention.layer_norm_rms_epsilon", 6, &1e-5_f32.to_le_bytes());
    for (name, number) in [
        ("embedding_length", 4),
        ("feed_forward_length", 8),
        ("block_count", 1),
        ("context_length", 64),
        ("attention.head_count", 1),
    ] {
        file = file.number(&format!("llama.{name}"), number);
    }
    let rows: Vec<f32> = (0..16).map(|number| number as f32).collect();
    file.tensor("token_embd.weight", &[4, 4], &rows).tensor("blk.0.attn_q.weight", &[4, 4], &rows)
}

/// Everything that opening a base reads, as text.
fn read_all(bytes: &[u8]) -> Result<String> {
    let gguf = Gguf::read(bytes)?;
    let config = config(&gguf, bytes)?;
    let mut all = config.to_string();
    all += &tokenizer(&gguf)?;
    all += &tokenizer_config(&gguf)?.to_string();
    all += &generation_config(&gguf)?.to_string();
    for (name, tensor) in tensors(&gguf, GgufArchitecture::of(&gguf)?)? {
        all += &format!("{name} {:?}", values(bytes, &tensor)?);
    }
    Ok(all)
}

fn error(bytes: &[u8]) -> String {
    format!("{:#}", read_all(bytes).expect_err("the file is broken"))
}

#[test]
fn every_type_is_dequantised_to_the_same_bits_as_by_ggufs_python_package() {
    let cases: Vec<Value> = serde_json::from_str(BLOCKS).expect("the fixture is JSON");
    assert_eq!(cases.len(), TYPES.len());
    let unhex = |text: &str| -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("it is hex");
        (0..text.len()).step_by(2).map(digit).collect()
    };
    for case in cases {
        let name = case["type"].as_str().expect("a name");
        let (_, kind) = TYPES
            .into_iter()
            .find(|(_, kind)| format!("{kind:?}") == name)
            .expect("a type that is read");
        let bytes = unhex(case["bytes"].as_str().expect("a text"));
        let bits: String = dequantise(kind, &bytes)
            .expect("whole blocks")
            .iter()
            .map(|number| format!("{:08x}", number.to_bits()))
            .collect();
        assert_eq!(bits, case["bits"].as_str().expect("a text"), "{name}");
    }
}

#[test]
fn a_whole_file_gives_the_files_of_a_model_folder() {
    let bytes = llama().bytes();
    let gguf = Gguf::read(&bytes).expect("the file is whole");
    let config = config(&gguf, &bytes).expect("the metadata is whole");
    assert_eq!(config["architectures"][0], "LlamaForCausalLM");
    assert_eq!(config["vocab_size"], 4);
    assert_eq!(config["tie_word_embeddings"], true);
    assert_eq!(config["num_key_value_heads"], 1);
    let config = tokenizer_config(&gguf).expect("the metadata is whole");
    assert_eq!(config["chat_template"], "{{ messages[0].content }}");
    assert_eq!(config["eos_token"], "<end>");
    let text = tokenizer(&gguf).expect("the vocabulary is whole");
    let tokenizer = tokenizers::Tokenizer::from_bytes(&text).expect("a tokenizer");
    assert_eq!(tokenizer.encode("ab<end>ba", false).expect("it encodes").get_ids(), [3, 0, 2, 1]);
}

#[test]
fn the_rows_of_queries_are_put_back_in_the_order_of_transformers() {
    let bytes = llama().bytes();
    let gguf = Gguf::read(&bytes).expect("the file is whole");
    let named = tensors(&gguf, GgufArchitecture::Llama).expect("its tensors are known");
    let queries = &named["model.layers.0.self_attn.q_proj.weight"];
    let rows: Vec<f32> = values(&bytes, queries).expect("whole").into_iter().step_by(4).collect();
    // Rows 0 to 3 start with 0, 4, 8, 12; the file has them as 0, 2, 1, 3 of the checkpoint.
    assert_eq!(rows, [0.0, 8.0, 4.0, 12.0]);
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = llama().bytes();
    for length in 0..bytes.len() {
        assert!(read_all(&bytes[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn lying_counts_lengths_and_offsets_are_errors_that_name_the_place() {
    let huge = u64::MAX.to_le_bytes();
    let list = |kind: u32, count: u64| [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
    let mut nested = Vec::new();
    for _ in 0..10_000 {
        nested.extend(list(9, 1));
    }
    let twice = llama().text("general.architecture", "llama");
    let mut overlapping = llama().bytes();
    let name = b"blk.0.attn_q.weight";
    let at = overlapping.windows(name.len()).position(|part| part == name).expect("it is there");
    // After the name: rank, two sizes, type, and the offset.
    overlapping[at + name.len() + 24..][..8].fill(0);
    let cases: [(Vec<u8>, &str); 11] = [
        (llama().entry("long", 8, &huge).bytes(), "long: cut off"),
        (llama().entry("many", 9, &list(8, u64::MAX)).bytes(), "many: a list of 184"),
        (llama().entry("wide", 9, &list(12, 1 << 21)).bytes(), "wide: cut off"),
        (llama().entry("deep", 9, &nested).bytes(), "deep: a list of lists"),
        (llama().entry("odd", 77, &[]).bytes(), "odd: type 77"),
        (twice.bytes(), "two entries are named"),
        (overlapping, "share bytes"),
        (llama().tensor("blk.0.attn_sinks.weight", &[1], &[0.0]).bytes(), "attn_sinks"),
        (llama().number("general.alignment", 0).bytes(), "general.alignment 0"),
        (llama().number("split.count", 3).bytes(), "one of 3 parts"),
        (llama().number("llama.expert_count", 8).bytes(), "mixture of experts"),
    ];
    for (bytes, expected) in cases {
        let error = error(&bytes);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn an_unknown_architecture_tokenizer_or_type_is_refused_with_the_known_ones() {
    let replaced = |from: &str, to: &str| {
        let mut file = llama();
        for (_, value) in &mut file.entries {
            if value.ends_with(&text_bytes(from)) {
                *value = [&8_u32.to_le_bytes()[..], &text_bytes(to)].concat();
            }
        }
        file.bytes()
    };
    assert!(error(&replaced("smollm", "nonesuch")).contains("llama-bpe, llama3"));
    assert!(error(&replaced("gpt2", "bert")).contains("gpt2 and llama"));
    assert!(error(&replaced("llama", "mamba")).contains("llama, qwen2, qwen3, gemma3, phi3"));
    let mut file = llama();
    file.tensors[0].2 = 10;
    assert!(error(&file.bytes()).contains("Q6_K"));
}

#[test]
fn a_vocabulary_whose_merges_would_take_all_memory_is_refused() {
    let long: Vec<String> = (1..1_000).map(|length| "a".repeat(length)).collect();
    let tokens: Vec<&str> = long.iter().map(String::as_str).collect();
    let file = GgufFile::default()
        .text("general.architecture", "gemma3")
        .text("tokenizer.ggml.model", "llama")
        .texts("tokenizer.ggml.tokens", &tokens);
    let gguf = Gguf::read(&file.bytes()).expect("the file is whole");
    let error = tokenizer(&gguf).expect_err("too much").to_string();
    assert!(error.contains("too long"), "{error}");
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = llama().bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = read_all(&bytes);
    }

    #[test]
    fn random_bytes_after_the_header_never_panic(
        rest in prop::collection::vec(any::<u8>(), 0..400),
        tensors in 0_u64..4,
        entries in 0_u64..4,
    ) {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(entries.to_le_bytes());
        bytes.extend(rest);
        let _ = read_all(&bytes);
    }
}
