//! Conversations as token ids, and back. The embedded base is tokenised in this process. A base
//! from a folder is untrusted: if the caller names a program, its tokenizer and template run in a
//! separate process.

use std::ops::Range;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::files::ModelFiles;
use crate::dataset::Message;

mod apart;
mod given;
mod json;
mod local;
mod python;
mod sections;
mod spans;
mod template;

use apart::SandboxedChat;
pub use apart::serve;
pub use given::{GivenTemplate, SHIPPED_NAMES};
use local::{LocalChat, read_tokenizer};
pub use template::deep;

/// The hidden command of foretaste that calls [`serve`]; its argument is the folder or the file.
const COMMAND: &str = "serve-chat";

/// The tokenizer and the chat template of a model.
pub struct Chat {
    /// Tokens that end an answer.
    pub end_tokens: Vec<u32>,
    /// The largest token id plus one.
    pub highest_token: usize,
    backend: ChatBackend,
}

/// Where tokenizer and template run.
enum ChatBackend {
    Local(Box<LocalChat>),
    Sandboxed(SandboxedChat),
}

/// A rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendered {
    pub tokens: Vec<u32>,
    /// True for tokens of an assistant's answer, its end-of-turn token included.
    pub supervised: Vec<bool>,
}

/// A rendered conversation, and the tokens that encode its messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncodedPieces {
    pub tokens: Vec<u32>,
    /// The bytes of all messages in order, in pieces: the length of each piece in bytes, and the
    /// tokens that encode it.
    pub pieces: Vec<(usize, Range<usize>)>,
}

impl Chat {
    /// Reads tokenizer and template into this process, the template from `given` if there is one.
    /// Hostile files can exhaust its memory or crash it.
    ///
    /// # Errors
    /// Where a file is missing or damaged, there is no template, it does not parse, or no
    /// end-of-turn token is known.
    pub fn read(files: &ModelFiles, given: Option<&GivenTemplate>) -> Result<Self> {
        let (local, end_tokens) = deep(|| {
            let local = LocalChat::read(files, given, read_tokenizer(files)?)?;
            let end_tokens = local.end_tokens();
            Ok((local, end_tokens))
        })?;
        Self::new(files, end_tokens, local.highest_token(), ChatBackend::Local(Box::new(local)))
    }

    /// Lets a child process read and run the tokenizer and the template of a base.
    ///
    /// # Errors
    /// As [`Self::read`]; and where the process cannot be started, or exceeds its time or memory
    /// limit.
    pub fn read_sandboxed(
        files: &ModelFiles,
        given: Option<&GivenTemplate>,
        program: &Path,
    ) -> Result<Self> {
        let (sandboxed, end_tokens, highest_token) = SandboxedChat::start(
            files,
            given,
            Command::new(program).arg(COMMAND).args(files.path()),
        )?;
        Self::new(files, end_tokens, highest_token, ChatBackend::Sandboxed(sandboxed))
    }

    fn new(
        files: &ModelFiles,
        end_tokens: Vec<u32>,
        highest_token: usize,
        backend: ChatBackend,
    ) -> Result<Self> {
        ensure!(
            !end_tokens.is_empty(),
            "{}: no end-of-turn token is known; give it there as eos_token_id",
            files.display("generation_config.json")
        );
        Ok(Chat { end_tokens, highest_token, backend })
    }

    /// The conversation as text.
    ///
    /// # Errors
    /// Where the template refuses it or runs too long.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        match &self.backend {
            ChatBackend::Local(local) => deep(|| local.render(messages, add_generation_prompt)),
            ChatBackend::Sandboxed(sandboxed) => sandboxed.render(messages, add_generation_prompt),
        }
    }

    /// Checks that a row of a dataset can be trained on: the template renders it, its answers are
    /// found in the text, and they are there whole.
    ///
    /// # Errors
    /// The reason why it cannot.
    pub fn check(&self, row: &[Message]) -> Result<()> {
        match &self.backend {
            ChatBackend::Local(local) => deep(|| local.check(row)),
            ChatBackend::Sandboxed(sandboxed) => sandboxed.check(row),
        }
    }

    /// A conversation's tokens, and which of them belong to assistant messages.
    ///
    /// # Errors
    /// Where the template refuses it, or rewrites it so that answers cannot be found in the
    /// rendered text.
    pub fn encode(&self, messages: &[Message]) -> Result<Rendered> {
        match &self.backend {
            ChatBackend::Local(local) => deep(|| local.encode(messages)),
            ChatBackend::Sandboxed(sandboxed) => sandboxed.encode(messages),
        }
    }

    /// A conversation's tokens, and the pieces of its messages that they encode.
    ///
    /// # Errors
    /// Where the template refuses it, or changes a message.
    pub fn encode_pieces(&self, messages: &[Message]) -> Result<EncodedPieces> {
        match &self.backend {
            ChatBackend::Local(local) => deep(|| local.encode_pieces(messages)),
            ChatBackend::Sandboxed(sandboxed) => sandboxed.encode_pieces(messages),
        }
    }

    /// The tokens of a conversation that an assistant's answer follows.
    ///
    /// # Errors
    /// Where the template refuses it.
    pub fn encode_prompt(&self, messages: &[Message]) -> Result<Vec<u32>> {
        match &self.backend {
            ChatBackend::Local(local) => deep(|| local.encode_prompt(messages)),
            ChatBackend::Sandboxed(sandboxed) => sandboxed.encode_prompt(messages),
        }
    }

    /// The text of an answer, without special tokens.
    ///
    /// # Errors
    /// Where the tokenizer fails.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        match &self.backend {
            ChatBackend::Local(local) => local.decode(tokens),
            ChatBackend::Sandboxed(sandboxed) => sandboxed.decode(tokens),
        }
    }

    /// Checks that tokenizer and template still respond. A single refused conversation does not
    /// show this.
    ///
    /// # Errors
    /// The reason why they do not.
    pub fn alive(&self) -> Result<()> {
        match &self.backend {
            ChatBackend::Local(_) => Ok(()),
            ChatBackend::Sandboxed(sandboxed) => sandboxed.alive(),
        }
    }
}
