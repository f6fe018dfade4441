//! The engine on burn, compared with numbers from transformers and PEFT (fixtures/reference).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use foretaste::dataset::{Message, Role};
use foretaste::engine::{Adapter, DeviceChoice, Engine, Question, Recipe, Sampling, Schedule};
use foretaste::lm::decoder::{Streams, WeightDtype};
use foretaste::lm::kernels::Segment;
use foretaste::lm::lora::HostLora;
use foretaste::lm::ops::Ops;
use foretaste::lm::packing::TokenRow;
use foretaste::lm::train::{Training, learning_rate};
use foretaste::lm::{self, Lm, LmOptions, device, generate};
use foretaste::peft;
use foretaste::peft::widen;
use safetensors::SafeTensors;
use serde_json::Value;

/// Three Llama models, then one folder per family.
const CASES: [&str; 10] = [
    "mha_tied",
    "gqa_untied",
    "bias_bf16",
    "smollm3",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3",
    "phi3",
];

pub fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/reference").join(case)
}

pub fn expected(case: &str) -> Value {
    let text =
        fs::read_to_string(folder(case).join("expected.json")).expect("the reference is committed");
    serde_json::from_str(&text).expect("the reference is JSON")
}

pub fn open(case: &str) -> Lm {
    lm::open(Some(&folder(case)), 1).expect("the reference model opens")
}

/// Every case in two computations in f32: that of a processor, and that of another device, with
/// all but products composed from burn's operations (here on the CPU).
fn every_case_and_computation() -> impl Iterator<Item = (&'static str, Lm)> {
    let composed = CASES.map(|case| {
        let mut lm = open(case);
        lm.decoder_mut().ops = Ops::Composed;
        (case, lm)
    });
    CASES.map(|case| (case, open(case))).into_iter().chain(composed)
}

/// A case with weights and products in bf16: on this processor, if it has products of bf16, and as
/// a GPU computes.
fn in_bf16(case: &str) -> Vec<Lm> {
    let mut as_gpu = open(case);
    *as_gpu.decoder_mut() = as_gpu.decoder().clone().into_bf16();
    as_gpu.decoder_mut().ops = Ops::Composed;
    let options = LmOptions {
        threads: 2,
        dtype: Some(WeightDtype::Bf16),
        place: DeviceChoice::Cpu,
        program: None,
        chat_template: None,
    };
    let here = device::multiplies_bf16(&as_gpu.decoder().device)
        .then(|| lm::open_as(Some(&folder(case)), &options).expect("it opens"));
    here.into_iter().chain([as_gpu]).collect()
}

/// The largest deviation of one kind. `cargo test --release --test it lm:: -- --nocapture` prints
/// all of them.
struct Deviation {
    name: String,
    limit: f64,
    worst: f64,
}

impl Deviation {
    fn new(case: &str, lm: &Lm, what: &str, limit: f64) -> Self {
        let how = if lm.decoder().ops == Ops::Composed {
            "composed".to_owned()
        } else {
            lm.describe().device
        };
        Deviation { name: format!("{case:<10}  {how:<20}  {what:<30}"), limit, worst: 0.0 }
    }

    /// A NaN counts as the largest deviation.
    fn add(&mut self, off: f64) {
        self.worst = if off.is_nan() { f64::INFINITY } else { self.worst.max(off) };
    }

    #[track_caller]
    #[allow(clippy::print_stdout, reason = "the figures are quoted in docs/bases.md")]
    fn assert_below_limit(&self) {
        println!("{}  {:.1e}", self.name, self.worst);
        assert!(
            self.worst < self.limit,
            "{}: {:e} is not below {:e}",
            self.name,
            self.worst,
            self.limit
        );
    }
}

fn messages(value: &Value) -> Vec<Message> {
    let one = |m: &Value| {
        let role = match m["role"].as_str().expect("a role") {
            "system" => Role::System,
            "user" => Role::User,
            _ => Role::Assistant,
        };
        Message::new(role, m["content"].as_str().expect("a content"))
    };
    value.as_array().expect("messages").iter().map(one).collect()
}

pub fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("ids").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("numbers").iter().map(|x| x.as_f64().expect("a number")).collect()
}

fn tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = fs::read(path).expect("the file is committed");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let read = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        (name, (view.shape().to_vec(), widen(view.dtype(), view.data()).expect("f32")))
    };
    file.tensors().into_iter().map(read).collect()
}

fn adapter(folder: &Path, rank: usize, alpha: f64) -> Adapter {
    Adapter {
        rank,
        alpha,
        target_modules: Vec::new(),
        tensors: tensors(&folder.join("adapter_model.safetensors")),
        model: None,
    }
}

pub fn logits(lm: &Lm, tokens: &[u32]) -> Vec<f32> {
    logits_under(lm, None, tokens)
}

fn logits_under(lm: &Lm, adapter: Option<&Adapter>, tokens: &[u32]) -> Vec<f32> {
    let lora = adapter.map(|adapter| {
        let host = HostLora::from_adapters(&lm.decoder().config, &[adapter])
            .expect("it belongs to this base");
        host.upload(&lm.decoder().device)
    });
    let streams = Streams {
        shadows: 1,
        tokens: tokens.to_vec(),
        positions: (0..tokens.len() as u32).collect(),
        segments: vec![Segment { rows: 0..tokens.len(), prefix: Vec::new() }],
        ..Streams::default()
    };
    let decoder = lm.decoder();
    let hidden = decoder
        .hidden(&streams, lora.as_ref(), &mut |layer, q, k, v| {
            decoder.attend(layer, q, k, v, &streams)
        })
        .expect("tokens are in the vocabulary");
    let mut all = Vec::new();
    decoder.logits(&hidden, &(0..tokens.len()).collect::<Vec<_>>(), |_, chunk| all.extend(chunk));
    all
}

#[test]
fn logits_agree_with_transformers() {
    for (case, lm) in every_case_and_computation() {
        let reference = tensors(&folder(case).join("expected.safetensors"));
        let mut deviation = Deviation::new(case, &lm, "logits, largest difference", 1e-4);
        for sequence in expected(case)["logits"].as_array().expect("sequences") {
            let (_, target) = &reference[sequence["tensor"].as_str().expect("a name")];
            let got = logits(&lm, &ids(&sequence["ids"]));
            assert_eq!(got.len(), target.len());
            got.iter().zip(target).for_each(|(a, b)| deviation.add(f64::from((a - b).abs())));
        }
        deviation.assert_below_limit();
    }
}

#[test]
fn with_bf16_products_logits_are_closer_to_f32_than_those_of_transformers_in_bf16() {
    let text = fs::read_to_string(folder("bf16.json")).expect("the reference is committed");
    let bounds: BTreeMap<String, f64> = serde_json::from_str(&text).expect("the reference is JSON");
    for (case, bound) in bounds {
        let reference = tensors(&folder(&case).join("expected.safetensors"));
        for lm in in_bf16(&case) {
            let mut deviation = Deviation::new(&case, &lm, "products in bf16: logits", bound);
            for sequence in expected(&case)["logits"].as_array().expect("sequences") {
                let (_, target) = &reference[sequence["tensor"].as_str().expect("a name")];
                let got = logits(&lm, &ids(&sequence["ids"]));
                got.iter().zip(target).for_each(|(a, b)| deviation.add(f64::from((a - b).abs())));
            }
            deviation.assert_below_limit();
            assert!(deviation.worst > 1e-4, "{case}: no product was computed in bf16");
        }
    }
}

#[test]
fn every_kind_of_peft_adapter_gives_the_same_logits_as_in_peft() {
    let adapters = folder("adapters");
    let reference = tensors(&adapters.join("expected.safetensors"));
    let text =
        fs::read_to_string(adapters.join("expected.json")).expect("the reference is committed");
    let kinds: BTreeMap<String, Value> =
        serde_json::from_str(&text).expect("the reference is JSON");
    assert_eq!(kinds.len(), reference.len());
    for (name, kind) in kinds {
        let lm = open(kind["base"].as_str().expect("a base"));
        let adapter = peft::read(&adapters.join(&name)).expect("a whole adapter");
        let got = logits_under(&lm, Some(&adapter), &ids(&kind["ids"]));
        let worst =
            got.iter().zip(&reference[&name].1).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(
            got.len() == reference[&name].1.len() && worst < 1e-4,
            "{name}: logits differ by {worst}"
        );
    }
}

#[test]
fn templates_ids_and_masks_agree_with_transformers() {
    for case in CASES {
        let lm = open(case);
        for rendering in expected(case)["renderings"].as_array().expect("renderings") {
            let name = &rendering["name"];
            let conversation = messages(&rendering["messages"]);
            let render = |prompt| lm.chat().render(&conversation, prompt).expect("it renders");
            assert_eq!(
                render(false),
                rendering["text"].as_str().expect("a text"),
                "{case}: {name}"
            );
            assert_eq!(
                render(true),
                rendering["text_with_generation_prompt"].as_str().expect("a text"),
                "{case}: {name}"
            );
            let encoded = lm.chat().encode(&conversation).expect("it encodes");
            assert_eq!(encoded.tokens, ids(&rendering["ids"]), "{case}: {name}");
            let mask: Vec<u32> = encoded.supervised.iter().map(|&s| u32::from(s)).collect();
            assert_eq!(mask, ids(&rendering["assistant_mask"]), "{case}: {name}");
            let prompt = lm.chat().encode_prompt(&conversation).expect("it encodes");
            assert_eq!(prompt, ids(&rendering["ids_with_generation_prompt"]), "{case}: {name}");
        }
    }
}

#[test]
fn the_error_of_a_template_contains_the_message_of_the_template() {
    for case in CASES {
        let lm = open(case);
        for refusal in expected(case)["refusals"].as_array().expect("refusals") {
            let error = lm
                .chat()
                .render(&messages(&refusal["messages"]), true)
                .expect_err("it refuses")
                .to_string();
            let target = refusal["error"].as_str().expect("a message");
            assert!(error.contains(target), "{case}: {error:?} does not say {target:?}");
        }
    }
}

#[test]
fn greedy_answers_agree_with_transformers() {
    for case in CASES {
        let lm = open(case);
        let sampling = Sampling { temperature: 0.0, top_p: 1.0, max_tokens: 20, seed: 0 };
        for generation in expected(case)["generations"].as_array().expect("generations") {
            let prompt =
                lm.chat().encode_prompt(&messages(&generation["messages"])).expect("it encodes");
            assert_eq!(prompt, ids(&generation["prompt_ids"]));
            let mut target = ids(&generation["answer_ids"]);
            if target.last().is_some_and(|last| lm.chat().end_tokens.contains(last)) {
                target.pop();
            }
            let got = generate::continue_tokens(
                lm.decoder(),
                None,
                &[prompt],
                &lm.chat().end_tokens,
                &sampling,
            );
            assert_eq!(got.expect("it writes"), [target], "{case}");
        }
    }
}

#[test]
fn option_scores_agree_with_transformers() {
    for (case, lm) in every_case_and_computation() {
        let cases = expected(case)["option_scores"].as_array().expect("scores").clone();
        let options = |c: &Value| -> Vec<String> {
            c["options"]
                .as_array()
                .expect("options")
                .iter()
                .map(|o| o.as_str().expect("a text").to_owned())
                .collect()
        };
        let questions: Vec<Question> = cases
            .iter()
            .map(|c| Question { messages: messages(&c["messages"]), options: options(c) })
            .collect();
        let scores = lm.score(None, &questions).expect("it scores");
        let mut deviation = Deviation::new(case, &lm, "scores of options, nats", 1e-3);
        for (scores, case_) in scores.iter().zip(&cases) {
            for (score, target) in scores.iter().zip(numbers(&case_["log_probs"])) {
                deviation.add((score.expect("scored") - target).abs());
            }
        }
        deviation.assert_below_limit();
    }
}

#[test]
fn a_score_does_not_depend_on_the_other_questions_of_a_call() {
    let lm = open("gqa_untied");
    let cases = expected("gqa_untied")["option_scores"].as_array().expect("scores").clone();
    let questions: Vec<Question> = cases
        .iter()
        .map(|c| Question {
            messages: messages(&c["messages"]),
            options: c["options"]
                .as_array()
                .expect("options")
                .iter()
                .map(|o| o.as_str().expect("a text").to_owned())
                .collect(),
        })
        .collect();
    let together = lm.score(None, &questions).expect("it scores");
    for (question, target) in questions.iter().zip(&together) {
        for (option, target) in question.options.iter().zip(target) {
            let alone =
                Question { messages: question.messages.clone(), options: vec![option.clone()] };
            let got = lm.score(None, &[alone]).expect("it scores")[0][0].expect("scored");
            assert!((got - target.expect("scored")).abs() < 1e-4);
        }
    }
}

fn recipe(case: &Value) -> Recipe {
    let number = |name: &str| case[name].as_f64().expect("a number");
    let steps = number("steps") as usize;
    Recipe {
        rank: number("rank") as usize,
        alpha: number("alpha"),
        learning_rate: number("learning_rate"),
        schedule: if case["schedule"] == "linear" { Schedule::Linear } else { Schedule::Cosine },
        warmup_steps: number("warmup_steps") as usize,
        batch: 3,
        steps,
        clip_norm: number("clip_norm"),
        weight_decay: number("weight_decay"),
        max_tokens: 512,
        snapshots: vec![steps],
    }
}

#[test]
fn ten_training_steps_agree_with_peft() {
    for (case, lm) in every_case_and_computation() {
        for deviation in ten_training_steps(case, &lm) {
            deviation.assert_below_limit();
        }
    }
}

/// Adam's first steps follow the signs of gradients, small ones too, so that rounding shows in the
/// adapters. burn's own bf16 is the measure, as it computes on a GPU.
#[test]
fn with_bf16_products_ten_training_steps_stray_as_little_from_peft_as_with_those_of_burn() {
    for case in CASES {
        let strayed: Vec<[Deviation; 2]> =
            in_bf16(case).iter().map(|lm| ten_training_steps(case, lm)).collect();
        let [.., burn] = &strayed[..] else { panic!("one computation at least") };
        for of in &strayed {
            for (own, burn) in of.iter().zip(burn) {
                let limit = 2.0 * burn.worst;
                Deviation { name: own.name.clone(), limit, worst: own.worst }.assert_below_limit();
            }
            assert!(of[0].worst < 1e-2, "{case}: losses differ by {:e}", of[0].worst);
        }
    }
}

/// How far losses and adapters are from PEFT's, relative.
fn ten_training_steps(case: &str, lm: &Lm) -> [Deviation; 2] {
    let reference = expected(case);
    let recipe = recipe(&reference["case"]);
    let training = &reference["training"];
    // Two shadows with the same start and batches. Each must give PEFT's numbers, whatever is
    // trained in parallel.
    let initial = adapter(&folder(case).join("initial_adapter"), recipe.rank, recipe.alpha);
    let mut shadows = Training::new(
        HostLora::from_adapters(&lm.decoder().config, &[&initial, &initial])
            .expect("the adapter fits"),
    );
    let losses = numbers(&training["losses"]);
    let rates = numbers(&training["learning_rates"]);
    let mut of_losses = Deviation::new(case, lm, "losses of ten steps, relative", 1e-3);
    for (step, batch) in training["batches"].as_array().expect("batches").iter().enumerate() {
        assert!(
            (learning_rate(&recipe, step) - rates[step]).abs() < 1e-9,
            "{case}: learning rate of step {step}"
        );
        let rows: Vec<TokenRow> = batch
            .as_array()
            .expect("rows")
            .iter()
            .map(|row| lm.chat().encode(&messages(row)).expect("it encodes"))
            .map(|r| TokenRow { tokens: r.tokens, supervised: r.supervised })
            .collect();
        let rows: Vec<&TokenRow> = rows.iter().collect();
        let got = shadows.advance(lm.decoder(), &[rows.clone(), rows], &recipe).expect("it trains");
        got.iter().for_each(|loss| of_losses.add((loss - losses[step]).abs() / losses[step]));
    }
    let mut of_adapters = Deviation::new(case, lm, "adapters after them, relative", 1e-3);
    let target = adapter(&folder(case).join("final_adapter"), recipe.rank, recipe.alpha);
    for shadow in 0..2 {
        let got = shadows.lora().adapter(shadow);
        assert_eq!(got.tensors.len(), target.tensors.len());
        for (name, (shape, values)) in &target.tensors {
            let (got_shape, got) = &got.tensors[name];
            assert_eq!(got_shape, shape, "{case}: {name}");
            let norm = |x: &mut dyn Iterator<Item = f32>| {
                x.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt()
            };
            let off = norm(&mut got.iter().zip(values).map(|(a, b)| a - b))
                / norm(&mut values.iter().copied());
            of_adapters.add(off);
        }
    }
    [of_losses, of_adapters]
}

#[test]
fn an_adapter_without_a_tensor_for_the_base_is_an_error() {
    let lm = open("mha_tied");
    let stray = BTreeMap::from([(
        "base_model.model.other.lora_A.weight".to_owned(),
        (vec![1, 1], vec![0.0]),
    )]);
    let stray =
        Adapter { rank: 1, alpha: 1.0, target_modules: Vec::new(), tensors: stray, model: None };
    let question =
        Question { messages: vec![Message::new(Role::User, "hi")], options: vec!["a".to_owned()] };
    let error = lm.score(Some(&stray), &[question]).expect_err("no tensor fits").to_string();
    assert!(error.contains("no tensor of the adapter"), "{error}");
}

#[test]
fn recomputed_and_saved_activations_give_the_same_bits() {
    let lm = open("gqa_untied");
    let reference = expected("gqa_untied");
    let recipe = recipe(&reference["case"]);
    let rows: Vec<TokenRow> = reference["training"]["batches"][0]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| lm.chat().encode(&messages(row)).expect("it encodes"))
        .map(|r| TokenRow { tokens: r.tokens, supervised: r.supervised })
        .collect();
    let initial = adapter(&folder("gqa_untied").join("initial_adapter"), recipe.rank, recipe.alpha);
    let trained = |keep_at_most: usize| {
        let mut decoder = lm.decoder().clone();
        decoder.keep_at_most = keep_at_most;
        let mut training =
            Training::new(HostLora::from_adapters(&decoder.config, &[&initial]).expect("it fits"));
        let losses: Vec<Vec<f64>> = (0..4)
            .map(|_| {
                training.advance(&decoder, &[rows.iter().collect()], &recipe).expect("it trains")
            })
            .collect();
        (losses, training.lora().clone())
    };
    assert!(trained(0) == trained(usize::MAX));
}
