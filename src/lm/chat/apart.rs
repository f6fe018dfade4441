//! Tokenizer and chat template of a stranger's base, read and run in a process of their own.
//!
//! Both are programs that somebody else wrote: a template can hold itself and be printed, a
//! normalizer can make gigabytes of one letter, and a stack that overflows ends the process that it
//! is in. So it is a process that may end: it has little memory, a few seconds for a call, and
//! nothing else to lose. Messages are those of [`crate::engine::remote`].

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

use super::local::{Local, read_tokenizer};
use super::{Rendered, Spelled, deep};
use crate::dataset::Message;
use crate::engine::remote::{receive, send};
use crate::guard::guarded;
use crate::lm::files::ModelFiles;

/// Time to read `tokenizer.json`: one of a quarter of a million tokens takes one or two seconds.
const READING: Duration = Duration::from_secs(60);

/// Time for one call. A conversation takes a millisecond.
const PATIENCE: Duration = Duration::from_secs(4);

/// What a call may take besides for every second more: the slowest tokenizers take in a megabyte a
/// second.
const BYTES_A_SECOND: usize = 64 << 10;

/// Memory of the process, bytes, and for each byte of the tokenizer's file besides: that of Gemma 3
/// (33 MB) takes half a gigabyte.
const MEMORY: u64 = 512 << 20;
const MEMORY_A_BYTE: u64 = 32;

#[derive(Serialize, Deserialize)]
enum Call<'a> {
    Render(Cow<'a, [Message]>, bool),
    Encode(Cow<'a, [Message]>),
    EncodePrompt(Cow<'a, [Message]>),
    Spell(Cow<'a, [Message]>),
    Decode(Cow<'a, [u32]>),
}

#[derive(Serialize, Deserialize)]
enum Reply {
    /// The tokenizer is read; what remains is to read and try the template.
    Read,
    Ready {
        end_tokens: Vec<u32>,
        highest_token: usize,
    },
    Rendered(Rendered),
    Spelled(Spelled),
    Tokens(Vec<u32>),
    Text(String),
    Failed(String),
}

/// The process, as seen from the one that asks it.
pub struct Apart {
    /// For error messages: the folder.
    name: String,
    line: Mutex<Line>,
}

struct Line {
    child: Child,
    to: Option<BufWriter<ChildStdin>>,
    /// What it answers, as a thread reads it, so that waiting for it ends.
    answers: Receiver<Reply>,
    /// Why nothing can be asked any more.
    ended: Option<String>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.to = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Apart {
    /// Starts the process and waits until it has read the files: itself, the tokens that end an
    /// answer, and the largest token plus one.
    ///
    /// # Errors
    /// Where it cannot be started, and all that reading the files can say.
    pub fn start(files: &ModelFiles, command: &mut Command) -> Result<(Self, Vec<u32>, usize)> {
        // What it has to say comes as a message; a stack that overflows or memory that is refused
        // is told on stderr, by the runtime.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // Memory that the allocator reserves and does not use must not count; and where there is
        // none left, a backtrace cannot be made.
        command.env("MIMALLOC_ARENA_EAGER_COMMIT", "0").env("RUST_BACKTRACE", "0");
        let started = command.spawn();
        let mut child =
            started.context("starting a process for the tokenizer and the chat template")?;
        let to = BufWriter::new(child.stdin.take().context("its stdin was asked for")?);
        let mut from = BufReader::new(child.stdout.take().context("its stdout was asked for")?);
        let (answer, answers) = channel();
        thread::spawn(move || {
            while let Ok(Some(reply)) = receive(&mut from)
                && answer.send(reply).is_ok()
            {}
        });
        let mut line = Line { child, to: Some(to), answers, ended: None };
        let name = files.display("");
        match line.answer(READING).with_context(|| name.clone())? {
            Reply::Read => {}
            _ => return unasked(),
        }
        match line.answer(PATIENCE).with_context(|| name.clone())? {
            Reply::Ready { end_tokens, highest_token } => {
                Ok((Apart { name, line: Mutex::new(line) }, end_tokens, highest_token))
            }
            _ => unasked(),
        }
    }

    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        match self.ask(&Call::Render(messages.into(), add_generation_prompt))? {
            Reply::Text(text) => Ok(text),
            _ => unasked(),
        }
    }

    pub fn encode(&self, messages: &[Message]) -> Result<Rendered> {
        match self.ask(&Call::Encode(messages.into()))? {
            Reply::Rendered(rendered) => Ok(rendered),
            _ => unasked(),
        }
    }

    pub fn spell(&self, messages: &[Message]) -> Result<Spelled> {
        match self.ask(&Call::Spell(messages.into()))? {
            Reply::Spelled(spelled) => Ok(spelled),
            _ => unasked(),
        }
    }

    pub fn encode_prompt(&self, messages: &[Message]) -> Result<Vec<u32>> {
        match self.ask(&Call::EncodePrompt(messages.into()))? {
            Reply::Tokens(tokens) => Ok(tokens),
            _ => unasked(),
        }
    }

    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        match self.ask(&Call::Decode(tokens.into()))? {
            Reply::Text(text) => Ok(text),
            _ => unasked(),
        }
    }

    /// # Errors
    /// Why the process ended, where it did.
    pub fn alive(&self) -> Result<()> {
        self.line()?.ended.as_ref().map_or(Ok(()), |why| Err(anyhow!("{}: {why}", self.name)))
    }

    fn line(&self) -> Result<MutexGuard<'_, Line>> {
        self.line
            .lock()
            .map_err(|_| anyhow!("{}: its process was lost in an earlier call", self.name))
    }

    fn ask(&self, call: &Call<'_>) -> Result<Reply> {
        let mut line = self.line()?;
        if let Some(why) = &line.ended {
            bail!("{}: {why}", self.name);
        }
        if let Some(to) = &mut line.to {
            // That it is gone shows in the answer.
            let _ = send(call, to);
        }
        line.answer(PATIENCE + Duration::from_secs((length(call) / BYTES_A_SECOND) as u64))
    }
}

impl Line {
    /// The next answer. One that does not come in time is the end of the process.
    fn answer(&mut self, patience: Duration) -> Result<Reply> {
        let what = match self.answers.recv_timeout(patience) {
            Ok(Reply::Failed(why)) => bail!("{why}"),
            Ok(reply) => return Ok(reply),
            Err(RecvTimeoutError::Timeout) => "took longer than any model's does",
            Err(RecvTimeoutError::Disconnected) => {
                "took more memory than any model's does, or broke the process that ran it"
            }
        };
        let _ = self.child.kill();
        let why = format!(
            "its tokenizer or chat template {what}; it is damaged or hostile: take the base from \
             where it was published, or another one"
        );
        self.ended = Some(why.clone());
        bail!(why)
    }
}

fn unasked<T>() -> Result<T> {
    bail!("the process for the chat template answers something else than it was asked")
}

/// Reads tokenizer and template and answers calls until there are no more: what the other process
/// does.
///
/// # Errors
/// Where the one who asks is gone, or does not speak so.
pub fn serve(folder: &Path, from: impl Read + Send, to: impl Write + Send) -> Result<()> {
    limit_memory(&folder.join("tokenizer.json"))?;
    deep(|| work(folder, from, to))
}

/// Bytes of what a call is about.
fn length(call: &Call<'_>) -> usize {
    match call {
        Call::Render(messages, _)
        | Call::Encode(messages)
        | Call::EncodePrompt(messages)
        | Call::Spell(messages) => messages.iter().map(|message| message.content.len()).sum(),
        Call::Decode(tokens) => tokens.len() * size_of::<u32>(),
    }
}

fn work(folder: &Path, mut from: impl Read, mut to: impl Write) -> Result<()> {
    let failed = |error: anyhow::Error| Reply::Failed(format!("{error:#}"));
    let read =
        ModelFiles::open(Some(folder)).and_then(|files| Ok((read_tokenizer(&files)?, files)));
    let (tokenizer, files) = match read {
        Ok(read) => read,
        Err(error) => return send(&failed(error), &mut to),
    };
    send(&Reply::Read, &mut to)?;
    let local = match guarded("the chat template", || Local::read(&files, tokenizer)) {
        Ok(local) => local,
        Err(error) => return send(&failed(error), &mut to),
    };
    let ready = || {
        Ok(Reply::Ready { end_tokens: local.end_tokens(), highest_token: local.highest_token() })
    };
    send(&guarded("the chat template", ready).unwrap_or_else(failed), &mut to)?;
    while let Some(call) = receive::<Call<'static>>(&mut from)? {
        let reply = guarded("the chat template", || match &call {
            Call::Render(messages, prompt) => local.render(messages, *prompt).map(Reply::Text),
            Call::Encode(messages) => local.encode(messages).map(Reply::Rendered),
            Call::Spell(messages) => local.spell(messages).map(Reply::Spelled),
            Call::EncodePrompt(messages) => local.encode_prompt(messages).map(Reply::Tokens),
            Call::Decode(tokens) => local.decode(tokens).map(Reply::Text),
        });
        send(&reply.unwrap_or_else(failed), &mut to)?;
    }
    Ok(())
}

/// Bounds the memory of this process, where the system can. No core is written where it ends.
fn limit_memory(tokenizer: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        let size = std::fs::metadata(tokenizer).map_or(0, |about| about.len());
        let most = MEMORY + MEMORY_A_BYTE * size.min(crate::lm::files::LARGEST_TEXT);
        rlimit::setrlimit(rlimit::Resource::DATA, most, most)?;
        rlimit::setrlimit(rlimit::Resource::CORE, 0, 0)?;
    }
    Ok(())
}
