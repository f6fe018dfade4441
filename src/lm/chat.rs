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
mod json;
mod local;
mod python;
mod sections;
mod spans;
mod template;

use apart::Apart;
pub use apart::serve;
use local::{Local, read_tokenizer};
pub use template::deep;

/// The hidden command of foretaste that calls [`serve`]; its argument is the folder.
const COMMAND: &str = "serve-chat";

/// The tokenizer and the chat template of a model.
pub struct Chat {
    /// Tokens that end an answer.
    pub end_tokens: Vec<u32>,
    /// The largest token id plus one.
    pub highest_token: usize,
    runs: Runs,
}

/// Where tokenizer and template run.
enum Runs {
    Here(Box<Local>),
    Apart(Apart),
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
pub struct Spelled {
    pub tokens: Vec<u32>,
    /// The bytes of all messages in order, in pieces: the length of each piece in bytes, and the
    /// tokens that encode it.
    pub pieces: Vec<(usize, Range<usize>)>,
}

impl Chat {
    /// Reads tokenizer and template into this process. Hostile files can exhaust its memory or
    /// crash it.
    ///
    /// # Errors
    /// Where a file is missing or damaged, there is no template, it does not parse, or no
    /// end-of-turn token is known.
    pub fn read(files: &ModelFiles) -> Result<Self> {
        let (local, end_tokens) = deep(|| {
            let local = Local::read(files, read_tokenizer(files)?)?;
            let end_tokens = local.end_tokens();
            Ok((local, end_tokens))
        })?;
        Self::new(files, end_tokens, local.highest_token(), Runs::Here(Box::new(local)))
    }

    /// Lets a child process read and run the tokenizer and template of a folder.
    ///
    /// # Errors
    /// As [`Self::read`]; and where the process cannot be started, or exceeds its time or memory
    /// limit.
    pub fn read_apart(files: &ModelFiles, folder: &Path, program: &Path) -> Result<Self> {
        let (apart, end_tokens, highest_token) =
            Apart::start(files, Command::new(program).arg(COMMAND).arg(folder))?;
        Self::new(files, end_tokens, highest_token, Runs::Apart(apart))
    }

    fn new(
        files: &ModelFiles,
        end_tokens: Vec<u32>,
        highest_token: usize,
        runs: Runs,
    ) -> Result<Self> {
        ensure!(
            !end_tokens.is_empty(),
            "{}: no end-of-turn token is known; name it there as eos_token_id",
            files.display("generation_config.json")
        );
        Ok(Chat { end_tokens, highest_token, runs })
    }

    /// The conversation as text.
    ///
    /// # Errors
    /// Where the template refuses it or runs too long.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        match &self.runs {
            Runs::Here(local) => deep(|| local.render(messages, add_generation_prompt)),
            Runs::Apart(apart) => apart.render(messages, add_generation_prompt),
        }
    }

    /// A conversation's tokens, and which of them belong to assistant messages.
    ///
    /// # Errors
    /// Where the template refuses it, or rewrites it so that answers cannot be found in the
    /// rendered text.
    pub fn encode(&self, messages: &[Message]) -> Result<Rendered> {
        match &self.runs {
            Runs::Here(local) => deep(|| local.encode(messages)),
            Runs::Apart(apart) => apart.encode(messages),
        }
    }

    /// A conversation's tokens, and the pieces of its messages that they encode.
    ///
    /// # Errors
    /// Where the template refuses it, or changes a message.
    pub fn spell(&self, messages: &[Message]) -> Result<Spelled> {
        match &self.runs {
            Runs::Here(local) => deep(|| local.spell(messages)),
            Runs::Apart(apart) => apart.spell(messages),
        }
    }

    /// The tokens of a conversation that an assistant's answer follows.
    ///
    /// # Errors
    /// Where the template refuses it.
    pub fn encode_prompt(&self, messages: &[Message]) -> Result<Vec<u32>> {
        match &self.runs {
            Runs::Here(local) => deep(|| local.encode_prompt(messages)),
            Runs::Apart(apart) => apart.encode_prompt(messages),
        }
    }

    /// The text of an answer, without special tokens.
    ///
    /// # Errors
    /// Where the tokenizer fails.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        match &self.runs {
            Runs::Here(local) => local.decode(tokens),
            Runs::Apart(apart) => apart.decode(tokens),
        }
    }

    /// Checks that tokenizer and template still respond. A single refused conversation does not
    /// show this.
    ///
    /// # Errors
    /// The reason why they do not.
    pub fn alive(&self) -> Result<()> {
        match &self.runs {
            Runs::Here(_) => Ok(()),
            Runs::Apart(apart) => apart.alive(),
        }
    }
}
