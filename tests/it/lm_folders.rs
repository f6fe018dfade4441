//! Broken and hostile model folders: a valid folder with one defect each, and the words that the
//! error must contain.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Result;
use foretaste::dataset::{Message, Role};
use foretaste::engine::{Checkpoint, Engine, Job, Question, Recipe, Sampling, Schedule};
use foretaste::lm::config::LONGEST;
use foretaste::lm::{self, Lm};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lm::folder;

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A copy of the reference folder after `breakage`.
fn broken(breakage: impl FnOnce(&Path)) -> TempDir {
    let copy = TempDir::new().expect("a temporary folder");
    for name in [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        WEIGHTS,
    ] {
        fs::copy(folder("mha_tied").join(name), copy.path().join(name))
            .expect("the reference is committed");
    }
    breakage(copy.path());
    copy
}

fn opened(breakage: impl FnOnce(&Path)) -> Result<Lm> {
    lm::open(Some(broken(breakage).path()), 1)
}

/// Asserts that the folder does not open, and that the error contains `fragment`.
fn assert_refused(what: &str, breakage: impl FnOnce(&Path), fragment: &str) {
    let Err(error) = opened(breakage) else { panic!("{what}: the folder opened") };
    let error = format!("{error:#}");
    assert!(error.contains(fragment), "{what}: {error:?} does not say {fragment:?}");
}

fn remove(folder: &Path, name: &str) {
    fs::remove_file(folder.join(name)).expect("the file was copied");
}

fn write(folder: &Path, name: &str, contents: impl AsRef<[u8]>) {
    fs::write(folder.join(name), contents).expect("the folder is writable");
}

/// Changes some fields of a JSON file; null removes one.
fn edit(folder: &Path, name: &str, changes: Value) {
    let text = fs::read_to_string(folder.join(name)).expect("the file was copied");
    let mut json: Value = serde_json::from_str(&text).expect("the reference is JSON");
    let fields = json.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => drop(fields.remove(name)),
            value => drop(fields.insert(name.clone(), value.clone())),
        }
    }
    write(folder, name, json.to_string());
}

/// Type, shape and bytes of a tensor in a file.
type RawTensor = (Dtype, Vec<usize>, Vec<u8>);

/// Rewrites the weights. The file remains a valid safetensors file.
fn rewrite_weights(folder: &Path, change: impl FnOnce(&mut BTreeMap<String, RawTensor>)) {
    let bytes = fs::read(folder.join(WEIGHTS)).expect("the file was copied");
    let file = SafeTensors::deserialize(&bytes).expect("the reference is whole");
    let raw = |view: TensorView<'_>| (view.dtype(), view.shape().to_vec(), view.data().to_vec());
    let mut tensors: BTreeMap<String, RawTensor> =
        file.tensors().into_iter().map(|(name, view)| (name, raw(view))).collect();
    change(&mut tensors);
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        (name, TensorView::new(*dtype, shape.clone(), data).expect("shape and bytes agree"))
    });
    write(folder, WEIGHTS, safetensors::serialize(views, None).expect("it serialises"));
}

fn nan_norm(folder: &Path) {
    rewrite_weights(folder, |tensors| {
        let norm = tensors.get_mut("model.norm.weight").expect("a model has a last norm");
        norm.2 = f32::NAN.to_le_bytes().repeat(32);
    });
}

/// A safetensors file with this header.
fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn the_unchanged_copy_opens() {
    assert!(opened(|_| {}).is_ok());
}

#[test]
fn missing_files_and_folders_in_place_of_files_are_named() {
    for name in ["config.json", "tokenizer.json"] {
        assert_refused("missing", |f| remove(f, name), &format!("{name}: missing"));
        assert_refused("not text", |f| write(f, name, b"\xff\xfe"), &format!("{name}: not UTF-8"));
        assert_refused("not JSON", |f| write(f, name, "{ \"oh"), name);
        assert_refused("JSON of something else", |f| write(f, name, "[]"), name);
        assert_refused("deep", |f| write(f, name, "[".repeat(1 << 20)), name);
        let swap = |f: &Path| {
            remove(f, name);
            fs::create_dir(f.join(name)).expect("the name is free");
        };
        assert_refused("a folder", swap, &format!("{name}: not a file"));
    }
    for name in ["tokenizer_config.json", "generation_config.json"] {
        assert_refused("not JSON", |f| write(f, name, "{ \"oh"), name);
    }
    let missing =
        lm::open(Some(Path::new("/nowhere/at/all")), 1).err().expect("no such folder").to_string();
    assert!(missing.contains("--base takes a Hugging Face model folder"), "{missing}");
    let gguf = lm::open(Some(Path::new("model.GGUF")), 1).err().expect("no file").to_string();
    assert!(gguf.contains("model.GGUF: missing"), "{gguf}");
}

#[cfg(unix)]
#[test]
fn an_endless_device_is_not_read() {
    for name in ["config.json", WEIGHTS] {
        let swap = |f: &Path| {
            remove(f, name);
            std::os::unix::fs::symlink("/dev/zero", f.join(name)).expect("the name is free");
        };
        let Err(error) = opened(swap) else { panic!("{name}: a device was read") };
        assert!(
            format!("{error:#}").contains("model.safetensors")
                || format!("{error:#}").contains("not a file")
        );
    }
}

#[test]
fn weights_that_contradict_their_header_are_refused() {
    assert_refused("none", |f| remove(f, WEIGHTS), "the weights must be safetensors");
    let pickled = |f: &Path| {
        fs::rename(f.join(WEIGHTS), f.join("pytorch_model.bin")).expect("the file was copied")
    };
    assert_refused("pickled", pickled, "pickled weights are never read; convert them");

    let whole = "not a whole safetensors file; download it again";
    let bytes = fs::read(folder("mha_tied").join(WEIGHTS)).expect("the reference is committed");
    for length in [0, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        assert_refused("truncated", |f| write(f, WEIGHTS, &bytes[..length]), whole);
    }
    assert_refused("longer", |f| write(f, WEIGHTS, [bytes.as_slice(), b"x"].concat()), whole);
    for claimed in [10u64 << 30, u64::MAX, u64::MAX - 7, bytes.len() as u64, 90 << 20] {
        let lie = [&claimed.to_le_bytes(), &bytes[8..]].concat();
        assert_refused("a header that lies about its length", |f| write(f, WEIGHTS, &lie), whole);
    }
    assert_refused(
        "a header that is no JSON",
        |f| write(f, WEIGHTS, with_header("nonsense", b"")),
        whole,
    );
    let far = concat!(
        r#"{"model.norm.weight": {"dtype": "F32", "shape": [32], "#,
        r#""data_offsets": [0, 10737418240]}}"#
    );
    assert_refused(
        "a tensor of 10 GB that is not there",
        |f| write(f, WEIGHTS, with_header(far, b"")),
        whole,
    );
    let huge =
        r#"{"a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 8]}}"#;
    assert_refused(
        "a shape that overflows",
        |f| write(f, WEIGHTS, with_header(huge, &[0; 8])),
        whole,
    );
    let strange = r#"{"a": {"dtype": "F1", "shape": [1], "data_offsets": [0, 1]}}"#;
    assert_refused("an unknown type", |f| write(f, WEIGHTS, with_header(strange, &[0])), whole);
}

#[test]
fn weights_that_do_not_fit_the_configuration_are_refused() {
    let norm = "model.norm.weight";
    let set = |dtype: Dtype, shape: Vec<usize>, bytes: usize| {
        move |f: &Path| {
            rewrite_weights(f, |tensors| {
                drop(tensors.insert(norm.to_owned(), (dtype, shape, vec![0; bytes])))
            })
        }
    };
    assert_refused(
        "integers",
        set(Dtype::I64, vec![32], 256),
        "model.norm.weight: type I64 is not read; convert",
    );
    assert_refused(
        "eight bits",
        set(Dtype::F8_E4M3, vec![32], 32),
        "type F8_E4M3 is not read; convert",
    );
    assert_refused("a wide one", set(Dtype::F64, vec![32], 256), "type F64 is not read; convert");
    let shape = "model.norm.weight has shape [31], and config.json asks for [32]; the files do \
                 not belong together";
    assert_refused("another shape", set(Dtype::F32, vec![31], 124), shape);
    assert_refused("another rank", set(Dtype::F32, vec![1, 32], 128), "has shape [1, 32]");
    let drop_norm = |f: &Path| rewrite_weights(f, |tensors| drop(tensors.remove(norm)));
    assert_refused(
        "no such tensor",
        drop_norm,
        "no tensor \"model.norm.weight\", which config.json asks for",
    );
    let untied = |f: &Path| edit(f, "config.json", json!({"tie_word_embeddings": false}));
    assert_refused("no head", untied, "no tensor \"lm_head.weight\"");
    let biased = |f: &Path| edit(f, "config.json", json!({"attention_bias": true}));
    assert_refused("no bias", biased, "no tensor \"model.layers.0.self_attn.q_proj.bias\"");
}

#[test]
fn an_index_that_names_outside_or_missing_files_is_refused() {
    let indexed = |map: Value| {
        move |f: &Path| {
            fs::rename(f.join(WEIGHTS), f.join("model-1.safetensors"))
                .expect("the file was copied");
            write(f, INDEX, json!({ "weight_map": map }).to_string());
        }
    };
    assert!(opened(indexed(json!({"model.norm.weight": "model-1.safetensors"}))).is_ok());
    for outside in [
        "../model-1.safetensors",
        "/etc/passwd",
        "a/../../b",
        "..",
        "sub/model.safetensors",
        "..\\x",
    ] {
        let fragment = "weight files must be in the folder itself";
        assert_refused(outside, indexed(json!({"model.norm.weight": outside})), fragment);
    }
    let two = json!({
        "model.norm.weight": "model-1.safetensors", "lm_head.weight": "model-2.safetensors"
    });
    assert_refused("a shard is missing", indexed(two), "model-2.safetensors: missing");
    assert_refused("nothing", indexed(json!({})), "no tensor \"model.embed_tokens.weight\"");
    assert_refused("an empty name", indexed(json!({"model.norm.weight": ""})), "not a file");
    assert_refused(
        "itself",
        indexed(json!({"model.norm.weight": INDEX})),
        "not a whole safetensors file",
    );
    assert_refused("numbers", indexed(json!({"model.norm.weight": 1})), INDEX);
}

#[test]
fn impossible_configurations_are_refused() {
    let million = 1_000_000;
    for (changes, fragment) in [
        (
            json!({"architectures": ["GPT2LMHeadModel"]}),
            "\"GPT2LMHeadModel\" is not one that foretaste computes; it knows LlamaForCausalLM",
        ),
        (json!({"architectures": null}), "it knows LlamaForCausalLM"),
        (json!({"architectures": []}), "it knows LlamaForCausalLM"),
        (json!({"hidden_act": "gelu"}), "hidden_act \"gelu\""),
        (json!({"vocab_size": 100}), "the tokenizer has tokens up to 360 and the model embeds 100"),
        (json!({"num_attention_heads": 0}), "num_attention_heads 0 must lie between 1 and"),
        (
            json!({"num_attention_heads": 1_000_000_000_000_000_000u64}),
            "num_attention_heads 1000000000000000000 must lie",
        ),
        (
            json!({"num_key_value_heads": 0}),
            "num_attention_heads 4 is no multiple of num_key_value_heads 0",
        ),
        (
            json!({"num_key_value_heads": 3}),
            "num_attention_heads 4 is no multiple of num_key_value_heads 3",
        ),
        (
            json!({"num_key_value_heads": 8}),
            "num_attention_heads 4 is no multiple of num_key_value_heads 8",
        ),
        (
            json!({"num_key_value_heads": 2}),
            "k_proj.weight has shape [32, 32], and config.json asks for [16, 32]",
        ),
        (json!({"head_dim": 7}), "head_dim 7 must be even"),
        (json!({"head_dim": 0}), "head_dim 0 must be even"),
        (json!({"head_dim": 1u64 << 62}), "head_dim 4611686018427387904 must be even"),
        (
            json!({"head_dim": null, "num_attention_heads": 64, "num_key_value_heads": 64}),
            "head_dim 0 must be even",
        ),
        (
            json!({"head_dim": 16}),
            "q_proj.weight has shape [32, 32], and config.json asks for [64, 32]",
        ),
        (
            json!({"num_hidden_layers": million}),
            "num_hidden_layers 1000000 must lie between 1 and 1000",
        ),
        (json!({"num_hidden_layers": 0}), "num_hidden_layers 0 must lie"),
        (json!({"num_hidden_layers": 900}), "no tensor \"model.layers.2."),
        (json!({"hidden_size": 0}), "hidden_size 0 must lie"),
        (json!({"hidden_size": -1}), "config.json"),
        (json!({"hidden_size": "32"}), "config.json"),
        (json!({"intermediate_size": 0}), "intermediate_size 0 must lie"),
        (
            json!({"intermediate_size": 1025}),
            "intermediate_size is 1025, more than 32 times hidden_size 32",
        ),
        (
            json!({"num_attention_heads": 129, "num_key_value_heads": 1, "head_dim": 8}),
            "num_attention_heads * head_dim is 1032",
        ),
        (
            json!({"vocab_size": 1 << 24, "hidden_size": 1 << 20}),
            "has shape [360, 32], and config.json asks for [16777216, 1048576]",
        ),
        (json!({"vocab_size": 1u64 << 40}), "vocab_size 1099511627776 must lie"),
        (json!({"max_position_embeddings": 0}), "max_position_embeddings is 0"),
        (json!({"rms_norm_eps": -1.0}), "rms_norm_eps -1 must lie between 0 and 1"),
        (json!({"rope_theta": 0.0}), "rope_theta 0 must be above zero"),
        (
            json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}),
            "rope_scaling of type \"yarn\" is not computed; foretaste knows",
        ),
        (
            json!({"rope_scaling": {"rope_type": "linear"}}),
            "rope_scaling of type linear needs `factor`",
        ),
        (json!({"rope_scaling": {"type": "linear", "factor": 0.0}}), "factor 0 must be above zero"),
        (
            json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}),
            "llama3 needs `low_freq_factor`",
        ),
        (
            json!({"rope_scaling": {
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 64
            }}),
            "low_freq_factor 4 must be below high_freq_factor 4",
        ),
    ] {
        assert_refused(&changes.to_string(), |f| edit(f, "config.json", changes.clone()), fragment);
    }
}

#[test]
fn a_billion_positions_need_no_memory() {
    let lm = opened(|f| edit(f, "config.json", json!({"max_position_embeddings": 1_000_000_000})))
        .expect("it opens");
    assert_eq!(lm.describe().max_tokens, LONGEST);
}

#[test]
fn templates_that_are_missing_or_do_not_parse_are_refused() {
    let template = |template: Value| {
        move |f: &Path| edit(f, "tokenizer_config.json", json!({ "chat_template": template }))
    };
    let missing = "no chat template, and no chat_template.jinja; use a chat or instruct model, or \
                   give the template that you train with: --chat-template chatml, gemma or llama3";
    assert_refused("none", template(Value::Null), missing);
    assert_refused("a number", template(json!(7)), missing);
    assert_refused("no file", |f| remove(f, "tokenizer_config.json"), missing);
    assert_refused(
        "half a loop",
        template(json!("{% for m in messages %}")),
        "the chat template does not parse",
    );
    assert_refused(
        "deep",
        template(json!("{{ ".to_owned() + &"(".repeat(100_000))),
        "the chat template does not parse",
    );
    let file = |f: &Path| write(f, "chat_template.jinja", "{{ 1 +");
    assert_refused(
        "a file counts before the configuration",
        file,
        "the chat template does not parse",
    );
    let endless = |f: &Path| {
        edit(
            f,
            "tokenizer_config.json",
            json!({"chat_template": "{{ messages[0].content }}", "eos_token": null}),
        );
        remove(f, "generation_config.json");
    };
    assert_refused(
        "no end",
        endless,
        "no end-of-turn token is known; give it there as eos_token_id",
    );
}

#[test]
fn templates_without_a_bound_on_time_or_size_are_stopped() {
    let grow = |what: &str| {
        format!(
            "{{% set ns = namespace(a='aaaa') %}}{{% for i in range(20000) %}}{{% set ns.a = \
             {what} %}}{{% endfor %}}"
        )
    };
    for (template, fragment) in [
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
                .to_owned(),
            "the chat template took more than 250000 steps",
        ),
        (
            "{% for a in range(99999) %}{% for m in range(9999) %}text{% endfor %}{% endfor %}"
                .to_owned(),
            "took more than",
        ),
        (grow("ns.a ~ ns.a"), "took more than"),
        (grow("ns.a + ns.a"), "took more than"),
        (grow("ns.a.replace('a', 'aaaa')"), "took more than"),
        (grow("ns.a | replace('a', 'aaaa')"), "took more than"),
        (grow("ns.a * 1000"), "the chat template"),
        (grow("[ns.a, ns.a]") + "{{ ns.a | tojson }}", "tojson writes at most"),
        ("{{ ('a\n' * 9999) | indent(' ' * 9999) }}".to_owned(), "indent writes at most"),
        ("{{ ('a\n' * 99999) | indent(9999) }}".to_owned(), "indent writes at most"),
        (
            "{{ 'a'.isascii() }}{% set a = 'a' * 90000000 %}{% for i in range(99999) %}{{ \
             a.isascii() }}{% endfor %}"
                .to_owned(),
            "took more than",
        ),
        (
            "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}".to_owned(),
            "the chat template \
             refuses this conversation",
        ),
        ("{{ undefined_function() }}".to_owned(), "the chat template refuses this conversation"),
        ("{{ raise_exception('no such role') }}".to_owned(), "no such role"),
    ] {
        let lm = opened(|f| edit(f, "tokenizer_config.json", json!({ "chat_template": template })))
            .expect("it parses");
        let error = lm.count_tokens(&[Message::new(Role::User, "hi")]).expect_err(&template);
        let error = format!("{error:#}");
        assert!(error.contains(fragment), "{template}: {error:?} does not say {fragment:?}");
    }
    // Wide and deep, but within the limits.
    for template in [
        "{{ {'a': [1]} | tojson(indent=9999999999) }}".to_owned(),
        grow("[ns.a]"),
        grow("[ns.a]") + "{{ ns.a }}",
    ] {
        let lm = opened(|f| edit(f, "tokenizer_config.json", json!({ "chat_template": template })))
            .expect("it parses");
        assert!(lm.count_tokens(&[Message::new(Role::User, "hi")]).is_ok(), "{template}");
    }
}

#[test]
fn a_conversation_that_the_template_refuses_is_not_scored_and_the_others_are() {
    let template = "{% for message in messages %}{% if message.content == 'be brief' %}{{ \
                    raise_exception('no orders') }}{% endif %}{{ message.content }}{% endfor %}";
    let lm = opened(|f| edit(f, "tokenizer_config.json", json!({ "chat_template": template })))
        .expect("it parses");
    let plain = vec![Message::new(Role::User, "hi"), Message::new(Role::Assistant, "good day")];
    let refused = [vec![Message::new(Role::System, "be brief")], plain.clone()].concat();
    let contexts = [vec![plain.clone(), refused, plain.clone()], vec![plain.clone(), plain]];
    let scores = lm.log_probs(&contexts).expect("the others are scored");
    assert!(
        scores[0][0].is_some() && scores[0][1].is_none() && scores[0][2].is_some(),
        "{scores:?}"
    );
    assert_eq!(
        scores[0][2], scores[1][1],
        "a refused row leaves nothing in the context of the next"
    );
}

#[test]
fn a_template_with_an_empty_tag_is_an_error() {
    let Err(error) =
        opened(|f| edit(f, "tokenizer_config.json", json!({ "chat_template": "{%} and more %}" })))
    else {
        panic!("it does not parse")
    };
    assert!(format!("{error:#}").contains("template"), "{error:#}");
}

/// A checkpoint that saves nothing.
struct NoCheckpoint;

impl Checkpoint for NoCheckpoint {
    fn load(&self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn save(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn progress(&self, _: usize) {}
}

#[test]
fn nan_weights_give_no_training_and_no_answer() {
    let lm = opened(nan_norm).expect("it opens");
    let prompt = vec![Message::new(Role::User, "hi")];
    let question =
        Question { messages: prompt.clone(), options: vec!["a".to_owned(), "b".to_owned()] };
    assert_eq!(lm.score(None, &[question]).expect("it scores"), [[None, None]]);
    for temperature in [0.0, 1.0] {
        let sampling = Sampling { temperature, top_p: 1.0, max_tokens: 4, seed: 0 };
        let error = lm
            .generate(None, std::slice::from_ref(&prompt), &sampling)
            .expect_err("no probabilities to sample from")
            .to_string();
        assert!(error.contains("logits are not numbers; check the weights"), "{error}");
    }
    let mut row = prompt;
    row.push(Message::new(Role::Assistant, "hello"));
    let job = Job { label: "control, seed 2".to_owned(), seed: 2, rows: vec![row] };
    let recipe = Recipe {
        rank: 2,
        alpha: 2.0,
        learning_rate: 1e-3,
        schedule: Schedule::Linear,
        warmup_steps: 0,
        batch: 1,
        steps: 2,
        clip_norm: 1.0,
        weight_decay: 0.0,
        max_tokens: 64,
        snapshots: vec![2],
    };
    let error = lm.train(&[job], &recipe, &NoCheckpoint).expect_err("the loss is NaN").to_string();
    let expected = "control, seed 2: the loss or its gradient is not a number at step 1; give a \
                    lower --lr (now 0.001)";
    assert!(error.contains(expected) && error.contains("check the base's weights"), "{error}");
}
