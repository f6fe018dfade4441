//! An engine in a child process, used over its stdin and stdout. There is one process per GPU,
//! because a GPU's driver state, memory and faults belong to a process.
//!
//! A message is its length (eight bytes, little-endian) followed by MessagePack. The child sends
//! [`EngineReply::Ready`] first, then answers one [`EngineCall`] after another until its stdin
//! ends. During training it also reports steps and sends its state.

use std::io::{BufReader, BufWriter, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, anyhow, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Adapter, Checkpoint, Description, Engine, Job, Pieces, Question, Sampling, Trained};
use crate::dataset::Message;
use crate::plan::Recipe;

/// Maximum length of a message, in bytes. Adapters of the largest bases take a few hundred
/// megabytes.
const LONGEST: u64 = 1 << 34;

#[derive(Serialize, Deserialize)]
enum Call {
    CountTokens(Vec<Message>),
    LogProbs(Vec<Vec<Vec<Message>>>),
    Train { jobs: Vec<Job>, recipe: Recipe, state: Option<Vec<u8>> },
    Score { adapter: Option<Adapter>, questions: Vec<Question> },
    Generate { adapter: Option<Adapter>, prompts: Vec<Vec<Message>>, sampling: Sampling },
}

#[derive(Serialize, Deserialize)]
enum Reply {
    Ready {
        description: Box<Description>,
        abreast: usize,
    },
    /// Sent during training.
    Progress(usize),
    State(Vec<u8>),
    Counted(usize, usize),
    LogProbs(Vec<Vec<Pieces>>),
    Trained(Vec<Trained>),
    Scored(Vec<Vec<Option<f64>>>),
    Written(Vec<String>),
    Failed(String),
}

pub(crate) fn send(message: &impl Serialize, to: &mut impl Write) -> Result<()> {
    let bytes = rmp_serde::to_vec(message)?;
    to.write_all(&(bytes.len() as u64).to_le_bytes())?;
    to.write_all(&bytes)?;
    Ok(to.flush()?)
}

/// The next message; `None` if the other side closed its end between two messages.
pub(crate) fn receive<T: DeserializeOwned>(from: &mut impl Read) -> Result<Option<T>> {
    let mut length = [0; 8];
    match from.read(&mut length[..1])? {
        0 => return Ok(None),
        _ => from.read_exact(&mut length[1..])?,
    }
    let length = u64::from_le_bytes(length);
    if length > LONGEST {
        bail!("a message of {length} bytes");
    }
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != length {
        bail!("a message broke off");
    }
    Ok(Some(rmp_serde::from_slice(&bytes)?))
}

/// Answers calls until stdin ends. This is the main loop of the child process. If the engine could
/// not be opened, it sends the reason.
///
/// # Errors
/// Where the parent process is gone or does not follow the protocol.
pub fn serve(
    engine: Result<Box<dyn Engine>>,
    mut from: impl Read,
    to: impl Write + Send,
) -> Result<()> {
    let to = Mutex::new(to);
    let reply =
        |reply: &Reply| send(reply, &mut *to.lock().expect("no thread ends while it writes"));
    let engine = match engine {
        Ok(engine) => engine,
        Err(error) => return reply(&Reply::Failed(format!("{error:#}"))),
    };
    reply(&Reply::Ready { description: Box::new(engine.describe()), abreast: engine.abreast() })?;
    while let Some(call) = receive::<Call>(&mut from)? {
        let answer = match call {
            Call::CountTokens(messages) => {
                engine.count_tokens(&messages).map(|(all, counted)| Reply::Counted(all, counted))
            }
            Call::LogProbs(contexts) => engine.log_probs(&contexts).map(Reply::LogProbs),
            Call::Train { jobs, recipe, state } => {
                engine.train(&jobs, &recipe, &Told { state, reply: &reply }).map(Reply::Trained)
            }
            Call::Score { adapter, questions } => {
                engine.score(adapter.as_ref(), &questions).map(Reply::Scored)
            }
            Call::Generate { adapter, prompts, sampling } => {
                engine.generate(adapter.as_ref(), &prompts, &sampling).map(Reply::Written)
            }
        };
        reply(&answer.unwrap_or_else(|error| Reply::Failed(format!("{error:#}"))))?;
    }
    Ok(())
}

/// A checkpoint that the parent process stores.
struct Told<R> {
    state: Option<Vec<u8>>,
    reply: R,
}

impl<R: Fn(&Reply) -> Result<()> + Sync> Checkpoint for Told<R> {
    fn load(&self) -> Result<Option<Vec<u8>>> {
        Ok(self.state.clone())
    }

    fn save(&self, state: &[u8]) -> Result<()> {
        (self.reply)(&Reply::State(state.to_vec()))
    }

    fn progress(&self, step: usize) {
        // If the parent no longer listens, saving the next state fails as well, and that is
        // reported.
        let _ = (self.reply)(&Reply::Progress(step));
    }
}

/// An engine in its own child process, which ends when this value is dropped.
pub struct Remote {
    /// For error messages: `cuda:1`.
    name: String,
    description: Description,
    abreast: usize,
    process: u32,
    line: Mutex<Line>,
}

struct Line {
    child: Child,
    /// `None` once it is closed.
    to: Option<BufWriter<ChildStdin>>,
    from: BufReader<ChildStdout>,
}

impl Drop for Line {
    fn drop(&mut self) {
        // The process ends when its stdin closes. One that is busy is killed, not waited for.
        self.to = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Remote {
    /// Starts the process, which then loads its base. Several processes may load at the same time.
    ///
    /// # Errors
    /// Where the process cannot be started.
    pub fn start(name: String, command: &mut Command) -> Result<Starting> {
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.with_context(|| format!("starting the process for {name}"))?;
        let to = BufWriter::new(child.stdin.take().context("its stdin was asked for")?);
        let from = BufReader::new(child.stdout.take().context("its stdout was asked for")?);
        Ok(Starting { name, line: Line { child, to: Some(to), from } })
    }

    /// Sends a call and passes each reply to `take` until it returns a result.
    fn ask<T>(&self, call: &Call, mut take: impl FnMut(Reply) -> Result<Option<T>>) -> Result<T> {
        let line = &mut *self
            .line
            .lock()
            .map_err(|_| anyhow!("the process for {} was lost in an earlier call", self.name))?;
        let mut ask = || -> Result<T> {
            send(call, line.to.as_mut().context("its stdin is closed")?)?;
            loop {
                let reply = receive(&mut line.from)?.context("the process has ended")?;
                if let Reply::Failed(why) = reply {
                    bail!("{why}");
                }
                if let Some(taken) = take(reply)? {
                    return Ok(taken);
                }
            }
        };
        ask().with_context(|| self.name.clone())
    }
}

/// A process that is loading its base.
pub struct Starting {
    name: String,
    line: Line,
}

impl Starting {
    /// Waits until the engine is ready.
    ///
    /// # Errors
    /// Where the process cannot open the engine, with its reason.
    pub fn ready(mut self) -> Result<Remote> {
        match receive(&mut self.line.from).with_context(|| self.name.clone())? {
            Some(Reply::Ready { description, abreast }) => {
                let process = self.line.child.id();
                Ok(Remote {
                    name: self.name,
                    description: *description,
                    abreast,
                    process,
                    line: Mutex::new(self.line),
                })
            }
            Some(Reply::Failed(why)) => bail!("{}: {why}", self.name),
            _ => bail!("{}: the process ended before it was ready", self.name),
        }
    }
}

/// The error for a reply that does not belong to the call.
fn unasked<T>() -> Result<T> {
    bail!("the process answers something else than it was asked")
}

impl Engine for Remote {
    fn describe(&self) -> Description {
        self.description.clone()
    }

    fn count_tokens(&self, messages: &[Message]) -> Result<(usize, usize)> {
        self.ask(&Call::CountTokens(messages.to_vec()), |reply| match reply {
            Reply::Counted(all, counted) => Ok(Some((all, counted))),
            _ => unasked(),
        })
    }

    fn log_probs(&self, contexts: &[Vec<Vec<Message>>]) -> Result<Vec<Vec<Pieces>>> {
        self.ask(&Call::LogProbs(contexts.to_vec()), |reply| match reply {
            Reply::LogProbs(log_probs) => Ok(Some(log_probs)),
            _ => unasked(),
        })
    }

    fn abreast(&self) -> usize {
        self.abreast
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.process]
    }

    fn train(
        &self,
        jobs: &[Job],
        recipe: &Recipe,
        checkpoint: &dyn Checkpoint,
    ) -> Result<Vec<Trained>> {
        let call =
            Call::Train { jobs: jobs.to_vec(), recipe: recipe.clone(), state: checkpoint.load()? };
        self.ask(&call, |reply| match reply {
            Reply::Progress(step) => {
                checkpoint.progress(step);
                Ok(None)
            }
            Reply::State(state) => checkpoint.save(&state).map(|()| None),
            Reply::Trained(trained) => Ok(Some(trained)),
            _ => unasked(),
        })
    }

    fn score(
        &self,
        adapter: Option<&Adapter>,
        questions: &[Question],
    ) -> Result<Vec<Vec<Option<f64>>>> {
        self.ask(
            &Call::Score { adapter: adapter.cloned(), questions: questions.to_vec() },
            |reply| match reply {
                Reply::Scored(scores) => Ok(Some(scores)),
                _ => unasked(),
            },
        )
    }

    fn generate(
        &self,
        adapter: Option<&Adapter>,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
    ) -> Result<Vec<String>> {
        let call = Call::Generate {
            adapter: adapter.cloned(),
            prompts: prompts.to_vec(),
            sampling: sampling.clone(),
        };
        self.ask(&call, |reply| match reply {
            Reply::Written(texts) => Ok(Some(texts)),
            _ => unasked(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_as_it_was_sent_and_an_end_is_no_message() {
        let mut pipe = Vec::new();
        send(&Call::CountTokens(Vec::new()), &mut pipe).expect("a vector takes all");
        send(&Reply::Scored(vec![vec![None, Some(-0.5), Some(f64::NEG_INFINITY)]]), &mut pipe)
            .expect("a vector takes all");
        let mut from = &pipe[..];
        assert!(
            matches!(receive(&mut from), Ok(Some(Call::CountTokens(messages))) if messages.is_empty())
        );
        let Ok(Some(Reply::Scored(scores))) = receive(&mut from) else { panic!("scores") };
        assert_eq!(scores, [[None, Some(-0.5), Some(f64::NEG_INFINITY)]]);
        assert!(matches!(receive::<Reply>(&mut from), Ok(None)));
    }

    #[test]
    fn what_breaks_off_or_is_no_message_is_an_error() {
        let mut pipe = Vec::new();
        send(&Reply::Progress(7), &mut pipe).expect("a vector takes all");
        for end in 1..pipe.len() {
            assert!(receive::<Reply>(&mut &pipe[..end]).is_err(), "{end}");
        }
        assert!(receive::<Reply>(&mut &u64::MAX.to_le_bytes()[..]).is_err());
        assert!(receive::<Reply>(&mut &b"Hello there, this is no message."[..]).is_err());
    }
}
