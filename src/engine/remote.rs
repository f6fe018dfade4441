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
use crate::engine::Recipe;

/// Maximum length of a message, in bytes. Adapters of the largest bases take a few hundred
/// megabytes.
const LONGEST: u64 = 1 << 34;

#[derive(Serialize, Deserialize)]
enum EngineCall {
    CountTokens(Vec<Message>),
    Rejection(Vec<Message>),
    LogProbs(Vec<Vec<Vec<Message>>>),
    Train { jobs: Vec<Job>, recipe: Recipe, state: Option<Vec<u8>> },
    Score { adapter: Option<Adapter>, questions: Vec<Question> },
    Generate { adapter: Option<Adapter>, prompts: Vec<Vec<Message>>, sampling: Sampling },
}

#[derive(Serialize, Deserialize)]
enum EngineReply {
    Ready {
        description: Box<Description>,
        max_parallel_shadows: usize,
    },
    /// Sent during training.
    Progress(usize),
    State(Vec<u8>),
    Counted(usize, usize),
    Rejection(Option<String>),
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
        bail!("a message is incomplete");
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
        |reply: &EngineReply| send(reply, &mut *to.lock().expect("no thread ends while it writes"));
    let engine = match engine {
        Ok(engine) => engine,
        Err(error) => return reply(&EngineReply::Failed(format!("{error:#}"))),
    };
    reply(&EngineReply::Ready {
        description: Box::new(engine.describe()),
        max_parallel_shadows: engine.max_parallel_shadows(),
    })?;
    while let Some(call) = receive::<EngineCall>(&mut from)? {
        let answer = match call {
            EngineCall::CountTokens(messages) => engine
                .count_tokens(&messages)
                .map(|(all, counted)| EngineReply::Counted(all, counted)),
            EngineCall::Rejection(row) => engine.rejection(&row).map(EngineReply::Rejection),
            EngineCall::LogProbs(contexts) => {
                engine.log_probs(&contexts).map(EngineReply::LogProbs)
            }
            EngineCall::Train { jobs, recipe, state } => engine
                .train(&jobs, &recipe, &RemoteCheckpoint { state, reply: &reply })
                .map(EngineReply::Trained),
            EngineCall::Score { adapter, questions } => {
                engine.score(adapter.as_ref(), &questions).map(EngineReply::Scored)
            }
            EngineCall::Generate { adapter, prompts, sampling } => {
                engine.generate(adapter.as_ref(), &prompts, &sampling).map(EngineReply::Written)
            }
        };
        reply(&answer.unwrap_or_else(|error| EngineReply::Failed(format!("{error:#}"))))?;
    }
    Ok(())
}

/// A checkpoint that the parent process stores.
struct RemoteCheckpoint<R> {
    state: Option<Vec<u8>>,
    reply: R,
}

impl<R: Fn(&EngineReply) -> Result<()> + Sync> Checkpoint for RemoteCheckpoint<R> {
    fn load(&self) -> Result<Option<Vec<u8>>> {
        Ok(self.state.clone())
    }

    fn save(&self, state: &[u8]) -> Result<()> {
        (self.reply)(&EngineReply::State(state.to_vec()))
    }

    fn progress(&self, step: usize) {
        // If the parent no longer listens, saving the next state fails as well, and that is
        // reported.
        let _ = (self.reply)(&EngineReply::Progress(step));
    }
}

/// An engine in its own child process, which ends when this value is dropped.
pub struct Remote {
    /// For error messages: `cuda:1`.
    name: String,
    description: Description,
    max_parallel_shadows: usize,
    process_id: u32,
    process: Mutex<EngineProcess>,
}

struct EngineProcess {
    child: Child,
    /// `None` once it is closed.
    to: Option<BufWriter<ChildStdin>>,
    from: BufReader<ChildStdout>,
}

impl Drop for EngineProcess {
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
        let to = BufWriter::new(child.stdin.take().context("no stdin of the process")?);
        let from = BufReader::new(child.stdout.take().context("no stdout of the process")?);
        Ok(Starting { name, process: EngineProcess { child, to: Some(to), from } })
    }

    /// Sends a call and passes each reply to `take` until it returns a result.
    fn ask<T>(
        &self,
        call: &EngineCall,
        mut take: impl FnMut(EngineReply) -> Result<Option<T>>,
    ) -> Result<T> {
        let process = &mut *self
            .process
            .lock()
            .map_err(|_| anyhow!("the process for {} ended in an earlier call", self.name))?;
        let mut ask = || -> Result<T> {
            send(call, process.to.as_mut().context("its stdin is closed")?)?;
            loop {
                let reply = receive(&mut process.from)?.context("the process has ended")?;
                if let EngineReply::Failed(why) = reply {
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
    process: EngineProcess,
}

impl Starting {
    /// Waits until the engine is ready.
    ///
    /// # Errors
    /// Where the process cannot open the engine, with its reason.
    pub fn ready(mut self) -> Result<Remote> {
        match receive(&mut self.process.from).with_context(|| self.name.clone())? {
            Some(EngineReply::Ready { description, max_parallel_shadows }) => {
                let process_id = self.process.child.id();
                Ok(Remote {
                    name: self.name,
                    description: *description,
                    max_parallel_shadows,
                    process_id,
                    process: Mutex::new(self.process),
                })
            }
            Some(EngineReply::Failed(why)) => bail!("{}: {why}", self.name),
            _ => bail!("{}: the process ended before it was ready", self.name),
        }
    }
}

/// The error for a reply that does not belong to the call.
fn unexpected_reply<T>() -> Result<T> {
    bail!("the process sent an unexpected reply")
}

impl Engine for Remote {
    fn describe(&self) -> Description {
        self.description.clone()
    }

    fn count_tokens(&self, messages: &[Message]) -> Result<(usize, usize)> {
        self.ask(&EngineCall::CountTokens(messages.to_vec()), |reply| match reply {
            EngineReply::Counted(all, counted) => Ok(Some((all, counted))),
            _ => unexpected_reply(),
        })
    }

    fn rejection(&self, row: &[Message]) -> Result<Option<String>> {
        self.ask(&EngineCall::Rejection(row.to_vec()), |reply| match reply {
            EngineReply::Rejection(rejection) => Ok(Some(rejection)),
            _ => unexpected_reply(),
        })
    }

    fn log_probs(&self, contexts: &[Vec<Vec<Message>>]) -> Result<Vec<Vec<Pieces>>> {
        self.ask(&EngineCall::LogProbs(contexts.to_vec()), |reply| match reply {
            EngineReply::LogProbs(log_probs) => Ok(Some(log_probs)),
            _ => unexpected_reply(),
        })
    }

    fn max_parallel_shadows(&self) -> usize {
        self.max_parallel_shadows
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.process_id]
    }

    fn train(
        &self,
        jobs: &[Job],
        recipe: &Recipe,
        checkpoint: &dyn Checkpoint,
    ) -> Result<Vec<Trained>> {
        let call = EngineCall::Train {
            jobs: jobs.to_vec(),
            recipe: recipe.clone(),
            state: checkpoint.load()?,
        };
        self.ask(&call, |reply| match reply {
            EngineReply::Progress(step) => {
                checkpoint.progress(step);
                Ok(None)
            }
            EngineReply::State(state) => checkpoint.save(&state).map(|()| None),
            EngineReply::Trained(trained) => Ok(Some(trained)),
            _ => unexpected_reply(),
        })
    }

    fn score(
        &self,
        adapter: Option<&Adapter>,
        questions: &[Question],
    ) -> Result<Vec<Vec<Option<f64>>>> {
        self.ask(
            &EngineCall::Score { adapter: adapter.cloned(), questions: questions.to_vec() },
            |reply| match reply {
                EngineReply::Scored(scores) => Ok(Some(scores)),
                _ => unexpected_reply(),
            },
        )
    }

    fn generate(
        &self,
        adapter: Option<&Adapter>,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
    ) -> Result<Vec<String>> {
        let call = EngineCall::Generate {
            adapter: adapter.cloned(),
            prompts: prompts.to_vec(),
            sampling: sampling.clone(),
        };
        self.ask(&call, |reply| match reply {
            EngineReply::Written(texts) => Ok(Some(texts)),
            _ => unexpected_reply(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_as_it_was_sent_and_an_end_is_no_message() {
        let mut pipe = Vec::new();
        send(&EngineCall::CountTokens(Vec::new()), &mut pipe).expect("a vector takes all");
        send(
            &EngineReply::Scored(vec![vec![None, Some(-0.5), Some(f64::NEG_INFINITY)]]),
            &mut pipe,
        )
        .expect("a vector takes all");
        let mut from = &pipe[..];
        let Ok(Some(EngineCall::CountTokens(messages))) = receive(&mut from) else {
            panic!("a call")
        };
        assert!(messages.is_empty());
        let Ok(Some(EngineReply::Scored(scores))) = receive(&mut from) else { panic!("scores") };
        assert_eq!(scores, [[None, Some(-0.5), Some(f64::NEG_INFINITY)]]);
        assert!(matches!(receive::<EngineReply>(&mut from), Ok(None)));
    }

    #[test]
    fn what_breaks_off_or_is_no_message_is_an_error() {
        let mut pipe = Vec::new();
        send(&EngineReply::Progress(7), &mut pipe).expect("a vector takes all");
        for end in 1..pipe.len() {
            assert!(receive::<EngineReply>(&mut &pipe[..end]).is_err(), "{end}");
        }
        assert!(receive::<EngineReply>(&mut &u64::MAX.to_le_bytes()[..]).is_err());
        assert!(receive::<EngineReply>(&mut &b"Hello there, this is no message."[..]).is_err());
    }
}
