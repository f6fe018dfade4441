//! Chat templates rendered as transformers renders them (fixtures/reference/templates,
//! make_templates.py).

use std::fs;
use std::path::{Path, PathBuf};

use foretaste::dataset::{Message, Role};
use foretaste::lm::chat::Chat;
use foretaste::lm::files::ModelFiles;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lm::folder;

fn templates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/reference/templates")
}

/// A model folder with this template and the beginning and end tokens of the reference.
pub fn chat(template: &str) -> Chat {
    let copy = TempDir::new().expect("a temporary folder");
    for name in ["config.json", "generation_config.json", "tokenizer.json"] {
        fs::copy(folder("mha_tied").join(name), copy.path().join(name))
            .expect("the reference is committed");
    }
    let config = json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}});
    fs::write(copy.path().join("tokenizer_config.json"), config.to_string())
        .expect("the folder is writable");
    fs::write(copy.path().join("chat_template.jinja"), template).expect("the folder is writable");
    let files = ModelFiles::open(Some(copy.path())).expect("a folder");
    Chat::read(&files, None).expect("a whole folder")
}

fn messages(conversation: &Value) -> Vec<Message> {
    let one = |message: &Value| {
        let role = match message["role"].as_str().expect("a role") {
            "system" => Role::System,
            "user" => Role::User,
            _ => Role::Assistant,
        };
        Message::new(role, message["content"].as_str().expect("a content"))
    };
    conversation.as_array().expect("messages").iter().map(one).collect()
}

#[test]
fn templates_with_every_construct_of_the_families_render_byte_for_byte() {
    let text =
        fs::read_to_string(templates().join("expected.json")).expect("the reference is committed");
    let expected: Value = serde_json::from_str(&text).expect("the reference is JSON");
    let conversations = expected["conversations"].as_array().expect("conversations");
    let mut wrong = Vec::new();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lm/chat/templates");
    let cases = [("rendered", templates()), ("shipped", shipped)].into_iter().flat_map(
        |(field, folder)| {
            let cases = expected[field].as_object().expect("templates").iter();
            cases.map(move |(name, results)| (name, folder.join(format!("{name}.jinja")), results))
        },
    );
    for (name, path, results) in cases {
        let source = fs::read_to_string(path).expect("the template is committed");
        let chat = chat(&source);
        for (index, (conversation, expected)) in
            conversations.iter().zip(results.as_array().expect("results")).enumerate()
        {
            let rendered = chat
                .render(&messages(conversation), index % 2 == 0)
                .map_err(|error| error.to_string());
            let refusal = || expected["refusal"].as_str().expect("it is text or a refusal");
            let text = expected["text"].as_str().or_else(|| expected["folded"].as_str());
            let agrees = match (&rendered, text) {
                (Ok(rendered), Some(text)) => rendered == text,
                (Err(error), None) => error.contains(refusal()),
                _ => false,
            };
            if !agrees {
                wrong.push(format!("{name}, conversation {index}:\n  {rendered:?}\n  {expected}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} renderings differ, for instance\n{}",
        wrong.len(),
        wrong[..wrong.len().min(400)].join("\n")
    );
}
