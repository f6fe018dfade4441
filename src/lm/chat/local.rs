//! Tokenizer and chat template, run in this process. The template is rendered as in transformers,
//! and the response mask comes from the rendered text.

use std::ops::Range;

use anyhow::{Context, Result, anyhow, bail, ensure};
use minijinja::{Environment, ErrorKind, Value, context};
use serde::Deserialize;
use tokenizers::Tokenizer;

use super::super::files::ModelFiles;
use super::sections::Sections;
use super::spans::WrittenMessage;
use super::template::{FUEL, environment};
use super::{EncodedPieces, GivenTemplate, Rendered, SHIPPED_NAMES, spans};
use crate::dataset::{Message, Role};
use crate::guard::guarded;

/// The tokenizer and the chat template of a model.
pub struct LocalChat {
    sections: Sections,
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
    /// The end-of-text tokens that the folder or the given template names.
    named_ends: Vec<u32>,
    /// The template refuses system messages, so they come before the first question.
    folds_system: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TokenizerConfig {
    chat_template: Option<serde_json::Value>,
    bos_token: Option<serde_json::Value>,
    eos_token: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GenerationConfig {
    eos_token_id: Option<serde_json::Value>,
}

/// `tokenizer.json`, without padding and truncation.
///
/// # Errors
/// Where the file is missing or damaged.
pub fn read_tokenizer(files: &ModelFiles) -> Result<Tokenizer> {
    let text = files.text("tokenizer.json")?;
    let read = || {
        let mut tokenizer =
            Tokenizer::from_bytes(text).map_err(|e| anyhow!("{e}; download it again"))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| anyhow!("{e}"))?;
        Ok(tokenizer)
    };
    guarded("the tokenizer", read).with_context(|| files.display("tokenizer.json"))
}

impl LocalChat {
    /// Reads the tokenizer's settings and the template, unless one is given.
    ///
    /// # Errors
    /// Where a file is missing or damaged, there is no template, it does not parse, or the
    /// tokenizer does not have its end-of-turn token.
    pub fn read(
        files: &ModelFiles,
        given: Option<&GivenTemplate>,
        tokenizer: Tokenizer,
    ) -> Result<Self> {
        let config: TokenizerConfig = match files.has("tokenizer_config.json") {
            true => serde_json::from_str(&files.text("tokenizer_config.json")?)
                .with_context(|| files.display("tokenizer_config.json"))?,
            false => TokenizerConfig::default(),
        };
        let template = match given {
            Some(given) => given.text.clone(),
            None if files.has("chat_template.jinja") => files.text("chat_template.jinja")?,
            None => config.chat_template.as_ref().and_then(template_text).with_context(|| {
                format!(
                    "{}: no chat template, and no chat_template.jinja; use a chat or instruct \
                     model, or give the template that you train with: --chat-template \
                     {SHIPPED_NAMES}, or a Jinja file",
                    files.display("tokenizer_config.json")
                )
            })?,
        };
        let environment = environment(template).with_context(|| match given {
            Some(given) => format!("{}: the chat template does not parse; fix it", given.name),
            None => format!("{}: the chat template does not parse; fix it", files.display("")),
        })?;
        let bos_token = config.bos_token.as_ref().and_then(token_text).unwrap_or_default();
        let eos_token = config.eos_token.as_ref().and_then(token_text).unwrap_or_default();
        let mut named_ends = Vec::new();
        if files.has("generation_config.json") {
            let config: GenerationConfig =
                serde_json::from_str(&files.text("generation_config.json")?)
                    .with_context(|| files.display("generation_config.json"))?;
            match config.eos_token_id {
                Some(serde_json::Value::Array(ids)) => {
                    named_ends.extend(ids.iter().filter_map(token_id))
                }
                Some(id) => named_ends.extend(token_id(&id)),
                None => {}
            }
        }
        named_ends.extend(tokenizer.token_to_id(&eos_token));
        if let Some(given) = given {
            named_ends.extend(given.end_token(&tokenizer)?);
        }
        let mut chat = LocalChat {
            sections: Sections::new(tokenizer),
            environment,
            bos_token,
            eos_token,
            named_ends,
            folds_system: false,
        };
        chat.folds_system = chat.refuses_system_messages();
        Ok(chat)
    }

    /// Whether the template refuses a conversation because of its system message.
    fn refuses_system_messages(&self) -> bool {
        let turns = [
            Message::new(Role::System, "a"),
            Message::new(Role::User, "b"),
            Message::new(Role::Assistant, "c"),
        ];
        self.render(&turns, false).is_err() && self.render(&turns[1..], false).is_ok()
    }

    /// The end-of-text tokens that the folder names, and the token that the template puts after an
    /// answer.
    pub fn end_tokens(&self) -> Vec<u32> {
        let mut tokens = self.named_ends.clone();
        let probe = [Message::new(Role::User, "a"), Message::new(Role::Assistant, "b")];
        if let Ok(rendered) = self.encode(&probe) {
            let last = rendered.supervised.iter().rposition(|&s| s);
            tokens.extend(last.map(|at| rendered.tokens[at]).filter(|&id| self.is_special(id)));
        }
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    }

    fn is_special(&self, id: u32) -> bool {
        self.sections
            .tokenizer()
            .get_added_tokens_decoder()
            .get(&id)
            .is_some_and(|token| token.special)
    }

    /// The largest token id plus one.
    pub fn highest_token(&self) -> usize {
        self.sections.tokenizer().get_vocab(true).values().max().map_or(0, |&id| id as usize + 1)
    }

    /// The conversation as text. If the template refuses system messages, the system message and an
    /// empty line come before the first question.
    ///
    /// # Errors
    /// Where the template refuses it or runs too long.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let folded = match messages {
            [first, second, rest @ ..]
                if self.folds_system && (first.role, second.role) == (Role::System, Role::User) =>
            {
                let question = format!("{}\n\n{}", first.content, second.content);
                [&[Message::new(Role::User, question)], rest].concat()
            }
            _ => Vec::new(),
        };
        let messages = if folded.is_empty() { messages } else { &folded };
        let template = self
            .environment
            .get_template("chat")
            .context("the template was added when the chat was read")?;
        let messages: Vec<Value> = messages
            .iter()
            .map(|m| context! { role => m.role.as_str(), content => m.content.as_str() })
            .collect();
        let given = context! {
            messages => messages,
            add_generation_prompt => add_generation_prompt,
            bos_token => self.bos_token.as_str(),
            eos_token => self.eos_token.as_str(),
            // Defined as none, because templates test them for none.
            tools => Value::from(()),
            documents => Value::from(()),
        };
        template.render(given).map_err(|error| match error.kind() {
            ErrorKind::OutOfFuel => {
                anyhow!(
                    "the chat template took more than {FUEL} steps on this conversation; shorten \
                     it, or fix the template"
                )
            }
            _ => anyhow!("the chat template refuses this conversation: {error}"),
        })
    }

    /// Checks that a row of a dataset can be trained on.
    ///
    /// # Errors
    /// The reason why it cannot.
    pub fn check(&self, row: &[Message]) -> Result<()> {
        let text = self.render(row, false)?;
        let spans = spans::spans(self, row, &text)?;
        match spans::incomplete(row, &text, &spans) {
            None => Ok(()),
            Some(answer) => bail!(
                "the chat template leaves out text of message {}, such as the thinking of an \
                 earlier turn; remove that text, or give the template that you train with \
                 (--chat-template)",
                answer + 1
            ),
        }
    }

    /// A conversation's tokens, and which of them belong to assistant messages.
    ///
    /// # Errors
    /// Where the template refuses it, or rewrites it so that answers cannot be found in the
    /// rendered text.
    pub fn encode(&self, messages: &[Message]) -> Result<Rendered> {
        let text = self.render(messages, false)?;
        let spans = spans::spans(self, messages, &text)?;
        let encoded = self.sections.encode(&text)?;
        let supervised = encoded
            .offsets
            .iter()
            .map(|&(start, end)| {
                end > start && spans.iter().any(|span| span.start <= start && start < span.end)
            })
            .collect();
        Ok(Rendered { tokens: encoded.ids, supervised })
    }

    /// A conversation's tokens, and the pieces of its messages that they encode.
    ///
    /// # Errors
    /// Where the template refuses it, or changes a message.
    pub fn encode_pieces(&self, messages: &[Message]) -> Result<EncodedPieces> {
        let text = self.render(messages, false)?;
        let encoded = self.sections.encode(&text)?;
        let mut pieces: Vec<(usize, Range<usize>)> = Vec::new();
        for WrittenMessage { trimmed: (before, after), span } in
            spans::contents(self, messages, &text)?
        {
            // White space that is left out has no tokens, and costs nothing to predict.
            let first = encoded.offsets.partition_point(|(_, end)| *end <= span.start);
            pieces.extend((before > 0).then_some((before, first..first)));
            let mut written = span.start;
            for (at, &(start, end)) in encoded.offsets.iter().enumerate() {
                if end <= span.start || start >= span.end || start == end {
                    continue;
                }
                let until = end.min(span.end);
                match pieces.last_mut() {
                    // One of several tokens of the same character.
                    Some((_, tokens)) if until <= written && written > span.start => {
                        tokens.end = at + 1
                    }
                    _ => pieces.push((until - written, at..at + 1)),
                }
                written = written.max(until);
            }
            ensure!(written == span.end, "the tokenizer drops part of a message");
            let next = pieces.last().map_or(first, |(_, tokens)| tokens.end);
            pieces.extend((after > 0).then_some((after, next..next)));
        }
        Ok(EncodedPieces { tokens: encoded.ids, pieces })
    }

    /// The tokens of a conversation that an assistant's answer follows.
    ///
    /// # Errors
    /// Where the template refuses it.
    pub fn encode_prompt(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let text = self.render(messages, true)?;
        Ok(self.sections.encode(&text)?.ids)
    }

    /// The text of an answer, without special tokens.
    ///
    /// # Errors
    /// Where the tokenizer fails.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        let decode = || {
            self.sections
                .tokenizer()
                .decode(tokens, true)
                .map_err(|e| anyhow!("the tokenizer failed: {e}"))
        };
        guarded("the tokenizer", decode)
    }
}

/// `chat_template` is a text, or a list of named ones of which `default` is used.
fn template_text(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Array(named) => {
            let default =
                named.iter().find(|t| t["name"] == "default").or_else(|| named.first())?;
            default["template"].as_str().map(str::to_owned)
        }
        _ => None,
    }
}

fn token_id(value: &serde_json::Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}

/// A special token is a text, or an object with its `content`.
fn token_text(value: &serde_json::Value) -> Option<String> {
    value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned)
}
