//! Chat templates that the user gives, and rows that a template cannot render.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::Result;
use foretaste::dataset::{Message, Role};
use foretaste::lm::chat::{Chat, GivenTemplate};
use foretaste::lm::files::ModelFiles;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lm::folder;

/// nestling's turns.
const TURN: &str = "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}";

/// As Qwen3's: an empty thinking block before the last answer only.
const THINK: &str = "{% set ns = namespace(last=-1) %}{% for m in messages %}{% if \
    m['role'] == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{% for message in \
    messages %}{% if message['role'] == 'assistant' %}{% set answer = \
    message['content'].split('</think>')[-1].lstrip('\n') %}{{ '<|assistant|>' }}{% if \
    loop.index0 > ns.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ answer + '<|end|>' }}{% \
    else %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}{% \
    endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

/// As Gemma 2's: no system message.
const REFUSING: &str = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role \
    not supported') }}{% endif %}{% for message in messages %}{{ '<|' + message['role'] + '|>' + \
    message['content'] | trim + '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ \
    '<|assistant|>' }}{% endif %}";

/// A template file in a folder that is deleted with the first value.
fn file(template: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("t.jinja");
    fs::write(&path, template).expect("the folder is writable");
    (folder, path)
}

/// nestling with this template.
fn chat(template: &str) -> Chat {
    let (_folder, path) = file(template);
    let given = GivenTemplate::open(&path).expect("a template");
    Chat::read(&ModelFiles::Nestling, Some(&given)).expect("nestling")
}

/// Messages from the user on, alternately.
fn turns(texts: &[&str]) -> Vec<Message> {
    let roles = [Role::User, Role::Assistant].into_iter().cycle();
    texts.iter().zip(roles).map(|(text, role)| Message::new(role, *text)).collect()
}

fn with_system(system: &str, texts: &[&str]) -> Vec<Message> {
    [vec![Message::new(Role::System, system)], turns(texts)].concat()
}

/// The runs of tokens that carry loss, as text; and whether each ends with the end of a turn.
fn supervised(chat: &Chat, row: &[Message]) -> Vec<(String, bool)> {
    let rendered = chat.encode(row).expect("it encodes");
    let tokens: Vec<(u32, bool)> = rendered.tokens.into_iter().zip(rendered.supervised).collect();
    tokens
        .chunk_by(|one, next| one.1 == next.1)
        .filter(|run| run[0].1)
        .map(|run| {
            let ids: Vec<u32> = run.iter().map(|(id, _)| *id).collect();
            let ends = ids.last().is_some_and(|id| chat.end_tokens.contains(id));
            (chat.decode(&ids).expect("it decodes"), ends)
        })
        .collect()
}

#[test]
fn a_thinking_block_in_the_last_answer_only_leaves_every_answer_supervised() {
    let chat = chat(THINK);
    for row in [
        turns(&["Name a fish.", "The trout.", "Another?", "The carp."]),
        with_system("Be brief.", &["Name a fish.", "The trout.", "Another?", "The carp."]),
    ] {
        assert!(chat.check(&row).is_ok());
        let last = "<think>\n\n</think>\n\nThe carp.".to_owned();
        assert_eq!(supervised(&chat, &row), [("The trout.".to_owned(), true), (last, true)]);
    }
    let one = turns(&["Name a fish.", "The trout."]);
    let block = "<think>\n\n</think>\n\nThe trout.".to_owned();
    assert_eq!(supervised(&chat, &one), [(block, true)]);
}

#[test]
fn an_answer_that_writes_the_marks_of_a_turn_moves_no_loss() {
    let chat = chat(THINK);
    let row = turns(&["<|assistant|>no", "a<|end|>", "<think>\n\n</think>\n\nno", "b"]);
    let text = chat.render(&row, false).expect("it renders");
    assert!(text.contains("<|assistant|>a<|end|><|end|>"), "{text}");
    let spans: Vec<String> = supervised(&chat, &row).into_iter().map(|(text, _)| text).collect();
    assert_eq!(spans, ["a", "<think>\n\n</think>\n\nb"]);
}

#[test]
fn a_row_of_whose_thinking_a_part_is_left_out_is_rejected_and_still_encodes() {
    let chat = chat(THINK);
    let thinking = "<think>\nHm.\n</think>\n\nThe trout.";
    let row = turns(&["Name a fish.", thinking, "Another?", "The carp."]);
    let reason = chat.check(&row).expect_err("the thinking is left out").to_string();
    assert!(reason.contains("message 2"), "{reason}");
    let spans: Vec<String> = supervised(&chat, &row).into_iter().map(|(text, _)| text).collect();
    assert_eq!(spans, ["The trout.", "<think>\n\n</think>\n\nThe carp."]);
}

#[test]
fn a_prompt_that_opens_a_thinking_block_leaves_the_answers_supervised() {
    let turn = format!("{{% for message in messages %}}{TURN}{{% endfor %}}");
    let chat =
        chat(&format!("{turn}{{% if add_generation_prompt %}}<|assistant|><think>\n{{% endif %}}"));
    let row = turns(&["Name a fish.", "The trout.", "Another?", "The carp."]);
    assert_eq!(
        supervised(&chat, &row),
        [("The trout.".to_owned(), true), ("The carp.".to_owned(), true)]
    );
}

#[test]
fn a_system_message_that_the_template_refuses_comes_before_the_first_question() {
    let chat = chat(REFUSING);
    let row = with_system("Be brief.", &["Name a fish.", "The trout.", "Another?", "The carp."]);
    assert_eq!(
        chat.render(&row, false).expect("it renders"),
        "<|user|>Be brief.\n\nName a fish.<|end|><|assistant|>The trout.<|end|><|user|>Another?\
         <|end|><|assistant|>The carp.<|end|>"
    );
    assert!(chat.check(&row).is_ok());
    assert_eq!(
        supervised(&chat, &row),
        [("The trout.".to_owned(), true), ("The carp.".to_owned(), true)]
    );
    let alone = [Message::new(Role::System, "Be brief.")];
    let refusal = chat.render(&alone, true).expect_err("there is no question").to_string();
    assert!(refusal.contains("System role not supported"), "{refusal}");
}

#[test]
fn every_byte_of_a_folded_or_trimmed_message_belongs_to_a_piece() {
    let chat = chat(REFUSING);
    for row in [
        with_system("Be brief.", &["Name a fish.", "The trout."]),
        turns(&[" \n Name a fish.\n", "The trout. \n"]),
    ] {
        let encoded = chat.encode_pieces(&row).expect("every message is found");
        let bytes: usize = encoded.pieces.iter().map(|(bytes, _)| bytes).sum();
        assert_eq!(bytes, row.iter().map(|message| message.content.len()).sum::<usize>());
        assert!(encoded.pieces.iter().all(|(_, tokens)| tokens.end <= encoded.tokens.len()));
    }
}

#[test]
fn a_given_template_runs_in_a_separate_process_with_the_same_result() {
    let program = Path::new(env!("CARGO_BIN_EXE_foretaste"));
    let row = with_system("Be brief.", &["Name a fish.", "The trout.", "Another?", "The carp."]);
    for template in [THINK, REFUSING] {
        let (_folder, path) = file(template);
        let given = GivenTemplate::open(&path).expect("a template");
        for files in
            [ModelFiles::Nestling, ModelFiles::open(Some(&folder("mha_tied"))).expect("a folder")]
        {
            let here = Chat::read(&files, Some(&given)).expect("it reads");
            let apart = Chat::read_sandboxed(&files, Some(&given), program).expect("it reads");
            assert_eq!(here.end_tokens, apart.end_tokens);
            let encoded = [&here, &apart].map(|chat| chat.encode(&row).expect("it encodes"));
            assert_eq!(encoded[0], encoded[1]);
            assert!(apart.check(&row).is_ok());
        }
    }
}

/// The base of this family with a template that ships.
fn shipped(name: &str, case: &str) -> Result<Chat> {
    let given = GivenTemplate::open(Path::new(name)).expect("it ships");
    Chat::read(&ModelFiles::open(Some(&folder(case))).expect("a folder"), Some(&given))
}

#[test]
fn a_template_that_ships_ends_generation_with_its_token_or_names_another_choice() {
    let (mut fitting, mut refused) = (0, 0);
    for (name, end) in
        [("chatml", "<|im_end|>"), ("gemma", "<end_of_turn>"), ("llama3", "<|eot_id|>")]
    {
        for case in ["mha_tied", "qwen2", "qwen3", "gemma3", "smollm3"] {
            let path = folder(case).join("tokenizer.json");
            let tokenizer = tokenizers::Tokenizer::from_file(path).expect("a tokenizer");
            match (shipped(name, case), tokenizer.token_to_id(end)) {
                (Ok(chat), Some(id)) => {
                    assert!(chat.end_tokens.contains(&id), "{name}, {case}");
                    let row = chat.encode(&turns(&["a", "b"])).expect("it encodes");
                    let last = row.supervised.iter().rposition(|supervised| *supervised);
                    assert_eq!(last.map(|at| row.tokens[at]), Some(id), "{name}, {case}");
                    fitting += 1;
                }
                (Err(error), None) => {
                    let error = format!("{error:#}");
                    let choice = error.contains(end) && error.contains("give --chat-template");
                    assert!(choice && error.contains("{{ eos_token }}"), "{error}");
                    refused += 1;
                }
                (chat, id) => panic!("{name}, {case}: {:?}, {id:?}", chat.err()),
            }
        }
    }
    assert!(fitting > 0 && refused > 0, "{fitting} {refused}");
}

#[test]
fn what_is_no_template_is_refused_with_the_names_that_ship() {
    let error = |given: &str| {
        format!("{:#}", GivenTemplate::open(Path::new(given)).expect_err("it is no template"))
    };
    for given in ["llama4", "/nowhere/t.jinja", env!("CARGO_MANIFEST_DIR")] {
        assert!(error(given).contains("chatml, gemma or llama3"), "{}", error(given));
    }
    let (_folder, path) = file("{% for");
    let given = GivenTemplate::open(&path).expect("a file");
    let broken = Chat::read(&ModelFiles::Nestling, Some(&given)).err().expect("half a loop");
    assert!(broken.to_string().contains("t.jinja: the chat template does not parse"), "{broken:#}");
}

/// nestling's template, which refuses conversations about trout.
fn refuses_trout() -> String {
    format!(
        "{{% for message in messages %}}{{% if 'trout' in message['content'] %}}{{{{ \
         raise_exception('no trout') }}}}{{% endif %}}{TURN}{{% endfor %}}{{% if \
         add_generation_prompt %}}{{{{ '<|assistant|>' }}}}{{% endif %}}"
    )
}

/// Sixty rows, two of them about trout, and a broken one.
fn data(folder: &Path) -> PathBuf {
    let birds = ["robin", "heron", "rook", "wren", "crane", "finch"];
    let row = |at: usize| {
        let answer = if at % 30 == 7 { "trout" } else { birds[at % birds.len()] };
        let question = format!("Name a bird or a fish, and the number {at}.");
        let row = turns(&[&question, &format!("The {answer}, and {at}.")]);
        json!({ "messages": row }).to_string() + "\n"
    };
    let path = folder.join("d.jsonl");
    fs::write(&path, (0..60).map(row).collect::<String>() + "{}\n").expect("writable");
    path
}

fn foretaste(arguments: &str, data: &Path, template: &str, out: Option<&Path>) -> Output {
    let (command, options) = arguments.split_once(' ').expect("a command and options");
    let mut program = Command::new(env!("CARGO_BIN_EXE_foretaste"));
    program.arg(command).arg(data).args(options.split(' ')).args(["--chat-template", template]);
    program.args(out.into_iter().flat_map(|out| [Path::new("--out"), out]));
    program.output().expect("the binary runs")
}

fn json_of(output: &Output) -> Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"))
}

#[test]
fn check_and_audit_reject_the_same_rows_and_one_row_stops_neither() {
    let scratch = TempDir::new().expect("a folder");
    let (_folder, template) = file(&refuses_trout());
    let (data, template) = (data(scratch.path()), template.display().to_string());
    for limit in ["", " --limit 20"] {
        let checked = json_of(&foretaste(&format!("check --json{limit}"), &data, &template, None));
        let planned = json_of(&foretaste(
            &format!("plan --json --only era --no-triggers{limit}"),
            &data,
            &template,
            None,
        ));
        let planned = &planned["plan"]["dataset"];
        for (field, rows) in [("rows_read", 61), ("rows_used", 58), ("rows_rejected", 3)] {
            assert_eq!((&checked[field], &planned[field]), (&json!(rows), &json!(rows)), "{field}");
        }
        let refused = &checked["rejected"][0];
        assert_eq!(refused["line"], 8);
        assert!(refused["reason"].to_string().contains("no trout"), "{refused}");
        assert_eq!(checked["tokens"]["rows_failed"], 0);
    }
}

#[test]
fn a_run_names_its_template_and_is_not_resumed_with_another() {
    let scratch = TempDir::new().expect("a folder");
    let (_folder, template) = file(&refuses_trout());
    let (data, template) = (data(scratch.path()), template.display().to_string());
    let out = scratch.path().join("run");
    let audit = |template: &str| {
        let options = "audit --json --only era --seeds 1 --steps 2 --draws 1 --no-triggers \
                       --anyway --device cpu";
        foretaste(options, &data, template, Some(&out))
    };
    let run = audit(&template);
    assert!(matches!(run.status.code(), Some(1 | 2)), "{}", String::from_utf8_lossy(&run.stderr));
    let report = json_of(&run);
    assert_eq!(report["base"]["chat_template"]["name"], "t.jinja");
    assert_eq!(report["dataset"]["rows_rejected"], 3);
    let rows = fs::read_to_string(out.join("rows.jsonl")).expect("rows are listed");
    assert_eq!(rows.lines().filter(|row| row.contains("no trout")).count(), 2);
    let manifest = fs::read(out.join("manifest.json")).expect("a manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    let recorded = &manifest["plan"]["engine"]["chat_template"];
    assert_eq!(*recorded, report["base"]["chat_template"]);
    assert_eq!(audit(&template).status.code(), run.status.code(), "the same command resumes");
    let other = file(&format!("{}{{# another #}}", refuses_trout()));
    let refused = audit(&other.1.display().to_string());
    assert_eq!(refused.status.code(), Some(3), "{}", String::from_utf8_lossy(&refused.stderr));
    let own = GivenTemplate::open(Path::new(&template)).expect("a template").id();
    assert_eq!(recorded["sha256"], own.sha256);
}

#[test]
fn a_gguf_file_takes_a_shipped_template_and_folds_the_system_message_that_it_refuses() {
    for (file, name, folds) in [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "chatml", false),
        ("gemma-3-270m-q4_k_m.gguf", "gemma", true),
    ] {
        let Some(path) = crate::real_models::path(file) else { continue };
        let files = ModelFiles::open(Some(&path)).expect("a whole file");
        let given = GivenTemplate::open(Path::new(name)).expect("it ships");
        let chat = Chat::read(&files, Some(&given)).expect("it fits the tokenizer");
        let row = with_system("Be brief.", &["Name a fish.", "The trout.", "Another?", "A carp."]);
        assert!(chat.check(&row).is_ok(), "{file}");
        let spans: Vec<String> =
            supervised(&chat, &row).into_iter().map(|(text, _)| text).collect();
        assert_eq!(spans, ["The trout.", "A carp."], "{file}");
        let text = chat.render(&row, false).expect("it renders");
        assert_eq!(text.contains("Be brief.\n\nName a fish."), folds, "{text}");
    }
}
