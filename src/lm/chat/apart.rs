//! Tokenizer and chat template of an untrusted base, read and run in a child process.
//!
//! Both are untrusted programs. A template can print a value that contains itself, a normalizer can
//! expand one letter to gigabytes, and a stack overflow ends its process. So the child process may
//! crash: it has little memory, a few seconds per call, and no other data. Messages use the format
//! of [`crate::engine::remote`].

use std::borrow::Cow;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use super::local::{LocalChat, read_tokenizer};
use super::{EncodedPieces, GivenTemplate, Rendered, deep};
use crate::dataset::Message;
use crate::engine::remote::{receive, send};
use crate::guard::guarded;
use crate::lm::files::ModelFiles;

/// Time limit for reading `tokenizer.json`. One with 250,000 tokens takes one or two seconds.
const READING_LIMIT: Duration = Duration::from_secs(60);

/// Time limit for one call. A conversation takes a millisecond.
const CALL_LIMIT: Duration = Duration::from_secs(4);

/// Bytes of input that extend a call's time limit by one second. The slowest tokenizers read a
/// megabyte per second.
const BYTES_A_SECOND: usize = 64 << 10;

/// Memory limit of the process in bytes, and the addition per byte of the tokenizer's file. Gemma
/// 3's tokenizer (33 MB) takes half a gigabyte.
const MEMORY: u64 = 512 << 20;
const MEMORY_A_BYTE: u64 = 32;

#[derive(Serialize, Deserialize)]
enum ChatCall<'a> {
    Render(Cow<'a, [Message]>, bool),
    Check(Cow<'a, [Message]>),
    Encode(Cow<'a, [Message]>),
    EncodePrompt(Cow<'a, [Message]>),
    EncodePieces(Cow<'a, [Message]>),
    Decode(Cow<'a, [u32]>),
}

#[derive(Serialize, Deserialize)]
enum ChatReply {
    /// The tokenizer was read; the template is next.
    Read,
    Ready {
        end_tokens: Vec<u32>,
        highest_token: usize,
    },
    Checked,
    Rendered(Rendered),
    EncodedPieces(EncodedPieces),
    Tokens(Vec<u32>),
    Text(String),
    Failed(String),
}

/// The process, as seen by the parent.
pub struct SandboxedChat {
    /// For error messages: the folder.
    name: String,
    process: Mutex<ChatProcess>,
}

struct ChatProcess {
    child: Child,
    to: Option<BufWriter<ChildStdin>>,
    /// Its replies, received by a thread, so that waiting for them can time out.
    answers: Receiver<ChatReply>,
    /// Why the process no longer responds.
    ended: Option<String>,
}

impl Drop for ChatProcess {
    fn drop(&mut self) {
        self.to = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl SandboxedChat {
    /// Starts the process, sends it the given template, and waits until it has read the files. Also
    /// returns the tokens that end an answer, and the largest token id plus one.
    ///
    /// # Errors
    /// Where it cannot be started, and the errors of reading the files.
    pub fn start(
        files: &ModelFiles,
        template: Option<&GivenTemplate>,
        command: &mut Command,
    ) -> Result<(Self, Vec<u32>, usize)> {
        // Its errors come as messages. Only the Rust runtime writes to stderr, about stack overflow
        // or failed allocations.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // Memory that the allocator reserves but does not use must not count. Without free memory,
        // a backtrace cannot be made.
        command.env("MIMALLOC_ARENA_EAGER_COMMIT", "0").env("RUST_BACKTRACE", "0");
        let started = command.spawn();
        let mut child =
            started.context("cannot start the process for the tokenizer and the chat template")?;
        let mut to = BufWriter::new(child.stdin.take().context("no stdin of the process")?);
        let mut from = BufReader::new(child.stdout.take().context("no stdout of the process")?);
        let (answer, answers) = channel();
        thread::spawn(move || {
            while let Ok(Some(reply)) = receive(&mut from)
                && answer.send(reply).is_ok()
            {}
        });
        // If the process is gone, the missing answer reports it.
        let _ = send(&template, &mut to);
        let mut process = ChatProcess { child, to: Some(to), answers, ended: None };
        let name = files.display("");
        match process.answer(READING_LIMIT).with_context(|| name.clone())? {
            ChatReply::Read => {}
            _ => return unexpected_reply(),
        }
        match process.answer(CALL_LIMIT).with_context(|| name.clone())? {
            ChatReply::Ready { end_tokens, highest_token } => Ok((
                SandboxedChat { name, process: Mutex::new(process) },
                end_tokens,
                highest_token,
            )),
            _ => unexpected_reply(),
        }
    }

    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        match self.ask(&ChatCall::Render(messages.into(), add_generation_prompt))? {
            ChatReply::Text(text) => Ok(text),
            _ => unexpected_reply(),
        }
    }

    pub fn check(&self, row: &[Message]) -> Result<()> {
        match self.ask(&ChatCall::Check(row.into()))? {
            ChatReply::Checked => Ok(()),
            _ => unexpected_reply(),
        }
    }

    pub fn encode(&self, messages: &[Message]) -> Result<Rendered> {
        match self.ask(&ChatCall::Encode(messages.into()))? {
            ChatReply::Rendered(rendered) => Ok(rendered),
            _ => unexpected_reply(),
        }
    }

    pub fn encode_pieces(&self, messages: &[Message]) -> Result<EncodedPieces> {
        match self.ask(&ChatCall::EncodePieces(messages.into()))? {
            ChatReply::EncodedPieces(encoded) => Ok(encoded),
            _ => unexpected_reply(),
        }
    }

    pub fn encode_prompt(&self, messages: &[Message]) -> Result<Vec<u32>> {
        match self.ask(&ChatCall::EncodePrompt(messages.into()))? {
            ChatReply::Tokens(tokens) => Ok(tokens),
            _ => unexpected_reply(),
        }
    }

    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        match self.ask(&ChatCall::Decode(tokens.into()))? {
            ChatReply::Text(text) => Ok(text),
            _ => unexpected_reply(),
        }
    }

    /// # Errors
    /// Why the process ended, if it did.
    pub fn alive(&self) -> Result<()> {
        self.process()?.ended.as_ref().map_or(Ok(()), |why| Err(anyhow!("{}: {why}", self.name)))
    }

    fn process(&self) -> Result<MutexGuard<'_, ChatProcess>> {
        self.process
            .lock()
            .map_err(|_| anyhow!("{}: its process ended in an earlier call", self.name))
    }

    fn ask(&self, call: &ChatCall<'_>) -> Result<ChatReply> {
        let mut process = self.process()?;
        if let Some(why) = &process.ended {
            bail!("{}: {why}", self.name);
        }
        if let Some(to) = &mut process.to {
            // If the process is gone, the missing answer reports it.
            let _ = send(call, to);
        }
        process.answer(CALL_LIMIT + Duration::from_secs((length(call) / BYTES_A_SECOND) as u64))
    }
}

impl ChatProcess {
    /// The next reply. If it does not arrive in time, the process is killed.
    fn answer(&mut self, limit: Duration) -> Result<ChatReply> {
        let what = match self.answers.recv_timeout(limit) {
            Ok(ChatReply::Failed(why)) => bail!("{why}"),
            Ok(reply) => return Ok(reply),
            Err(RecvTimeoutError::Timeout) => "took too long",
            Err(RecvTimeoutError::Disconnected) => "took too much memory, or ended its process",
        };
        let _ = self.child.kill();
        let why = format!(
            "its tokenizer or chat template {what}; it is damaged or hostile: download the base \
             again from its publisher, or use another one"
        );
        self.ended = Some(why.clone());
        bail!(why)
    }
}

fn unexpected_reply<T>() -> Result<T> {
    bail!("the process for the chat template sent an unexpected reply")
}

/// Receives the given template, if any, and reads the other files of the base (by default
/// nestling). Then answers calls until stdin ends: the main loop of the child process.
///
/// # Errors
/// Where the parent process is gone or does not follow the protocol.
pub fn serve(base: Option<&Path>, from: impl Read + Send, to: impl Write + Send) -> Result<()> {
    // A GGUF file holds its tokenizer.
    let tokenizer = base.map(|base| match base.is_file() {
        true => base.to_path_buf(),
        false => base.join("tokenizer.json"),
    });
    limit_memory(tokenizer.as_deref())?;
    deep(|| work(base, from, to))
}

/// Size of a call's input in bytes.
fn length(call: &ChatCall<'_>) -> usize {
    match call {
        ChatCall::Render(messages, _)
        | ChatCall::Check(messages)
        | ChatCall::Encode(messages)
        | ChatCall::EncodePrompt(messages)
        | ChatCall::EncodePieces(messages) => {
            messages.iter().map(|message| message.content.len()).sum()
        }
        ChatCall::Decode(tokens) => tokens.len() * size_of::<u32>(),
    }
}

fn work(base: Option<&Path>, mut from: impl Read, mut to: impl Write) -> Result<()> {
    let template: Option<GivenTemplate> = receive(&mut from)?.context("no template is sent")?;
    let failed = |error: anyhow::Error| ChatReply::Failed(format!("{error:#}"));
    let read = ModelFiles::open(base).and_then(|files| Ok((read_tokenizer(&files)?, files)));
    let (tokenizer, files) = match read {
        Ok(read) => read,
        Err(error) => return send(&failed(error), &mut to),
    };
    send(&ChatReply::Read, &mut to)?;
    let read = || LocalChat::read(&files, template.as_ref(), tokenizer);
    let local = match guarded("the chat template", read) {
        Ok(local) => local,
        Err(error) => return send(&failed(error), &mut to),
    };
    let ready = || {
        Ok(ChatReply::Ready {
            end_tokens: local.end_tokens(),
            highest_token: local.highest_token(),
        })
    };
    send(&guarded("the chat template", ready).unwrap_or_else(failed), &mut to)?;
    while let Some(call) = receive::<ChatCall<'static>>(&mut from)? {
        let reply = guarded("the chat template", || match &call {
            ChatCall::Render(messages, prompt) => {
                local.render(messages, *prompt).map(ChatReply::Text)
            }
            ChatCall::Check(row) => local.check(row).map(|()| ChatReply::Checked),
            ChatCall::Encode(messages) => local.encode(messages).map(ChatReply::Rendered),
            ChatCall::EncodePieces(messages) => {
                local.encode_pieces(messages).map(ChatReply::EncodedPieces)
            }
            ChatCall::EncodePrompt(messages) => {
                local.encode_prompt(messages).map(ChatReply::Tokens)
            }
            ChatCall::Decode(tokens) => local.decode(tokens).map(ChatReply::Text),
        });
        send(&reply.unwrap_or_else(failed), &mut to)?;
    }
    Ok(())
}

/// Limits the memory of this process, if the system supports it. No core dump is written.
fn limit_memory(tokenizer: Option<&Path>) -> Result<()> {
    #[cfg(unix)]
    {
        let about = tokenizer.and_then(|tokenizer| std::fs::metadata(tokenizer).ok());
        let size = about.map_or(0, |about| about.len());
        let most = MEMORY + MEMORY_A_BYTE * size.min(crate::lm::files::LARGEST_TEXT);
        rlimit::setrlimit(rlimit::Resource::DATA, most, most)?;
        rlimit::setrlimit(rlimit::Resource::CORE, 0, 0)?;
    }
    Ok(())
}
