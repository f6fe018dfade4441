//! Several engines on the same base, used as one: each call goes to an idle engine.

use std::sync::{Condvar, Mutex};

use anyhow::{Result, ensure};

use super::{Adapter, Checkpoint, Description, Engine, Job, Pieces, Question, Sampling, Trained};
use crate::dataset::Message;
use crate::engine::Recipe;

/// The first member answers for all: it describes the base and counts tokens.
pub struct Team {
    members: Vec<Box<dyn Engine>>,
    /// Indices of members that can take a call. A member that serves several calls in parallel is
    /// listed once per free slot.
    idle: Mutex<Vec<usize>>,
    returned: Condvar,
}

impl Team {
    /// Each member comes with the number of calls that it serves in parallel. There is at least
    /// one.
    ///
    /// # Errors
    /// Where the members have different bases.
    pub fn new(members: Vec<(Box<dyn Engine>, usize)>) -> Result<Self> {
        let bases: Vec<Description> = members.iter().map(|(member, _)| member.describe()).collect();
        ensure!(
            bases.windows(2).all(|two| {
                (&two[0].base_sha256, &two[0].chat_template)
                    == (&two[1].base_sha256, &two[1].chat_template)
            }),
            "the devices loaded different bases: the files changed; run again"
        );
        // The last entry is taken first, so every member gets one call before any gets a second.
        let most = members.iter().map(|(_, calls)| *calls).max().unwrap_or(0);
        let slots = (0..most).rev().flat_map(|slot| {
            members.iter().enumerate().rev().map(move |(at, (_, calls))| (at, *calls > slot))
        });
        let idle = slots.filter(|(_, answers)| *answers).map(|(at, _)| at).collect();
        let members = members.into_iter().map(|(member, _)| member).collect();
        Ok(Team { members, idle: Mutex::new(idle), returned: Condvar::new() })
    }

    /// Waits for an idle member.
    fn member(&self) -> BusyMember<'_> {
        let mut idle = self.idle.lock().expect("no thread ends while it holds the list");
        loop {
            if let Some(at) = idle.pop() {
                return BusyMember { team: self, at };
            }
            idle = self.returned.wait(idle).expect("no thread ends while it holds the list");
        }
    }

    fn first(&self) -> &dyn Engine {
        &*self.members[0]
    }
}

/// A member that serves a call; its slot is returned on drop.
struct BusyMember<'a> {
    team: &'a Team,
    at: usize,
}

impl BusyMember<'_> {
    fn engine(&self) -> &dyn Engine {
        &*self.team.members[self.at]
    }
}

impl Drop for BusyMember<'_> {
    fn drop(&mut self) {
        self.team.idle.lock().expect("no thread ends while it holds the list").push(self.at);
        self.team.returned.notify_one();
    }
}

impl Engine for Team {
    fn describe(&self) -> Description {
        self.first().describe()
    }

    fn count_tokens(&self, messages: &[Message]) -> Result<(usize, usize)> {
        self.first().count_tokens(messages)
    }

    fn rejection(&self, row: &[Message]) -> Result<Option<String>> {
        self.first().rejection(row)
    }

    fn log_probs(&self, contexts: &[Vec<Vec<Message>>]) -> Result<Vec<Vec<Pieces>>> {
        self.member().engine().log_probs(contexts)
    }

    fn is_nestling(&self) -> bool {
        self.first().is_nestling()
    }

    fn max_parallel_shadows(&self) -> usize {
        self.first().max_parallel_shadows()
    }

    fn processes(&self) -> Vec<u32> {
        self.members.iter().flat_map(|member| member.processes()).collect()
    }

    fn train(
        &self,
        jobs: &[Job],
        recipe: &Recipe,
        checkpoint: &dyn Checkpoint,
    ) -> Result<Vec<Trained>> {
        self.member().engine().train(jobs, recipe, checkpoint)
    }

    fn score(
        &self,
        adapter: Option<&Adapter>,
        questions: &[Question],
    ) -> Result<Vec<Vec<Option<f64>>>> {
        self.member().engine().score(adapter, questions)
    }

    fn generate(
        &self,
        adapter: Option<&Adapter>,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
    ) -> Result<Vec<String>> {
        self.member().engine().generate(adapter, prompts, sampling)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::parallel::parallel_map;

    /// An engine that has only a base and a count of its calls.
    struct Counted<'a> {
        base: &'static str,
        calls: &'a AtomicUsize,
        most: usize,
    }

    impl Engine for Counted<'_> {
        fn describe(&self) -> Description {
            Description {
                engine: "counted".to_owned(),
                base: String::new(),
                base_sha256: self.base.to_owned(),
                architecture: String::new(),
                parameters: 1,
                vocabulary: 1,
                device: String::new(),
                max_tokens: 1,
                chat_template: None,
            }
        }

        fn count_tokens(&self, _: &[Message]) -> Result<(usize, usize)> {
            Ok((1, 1))
        }

        fn log_probs(&self, _: &[Vec<Vec<Message>>]) -> Result<Vec<Vec<Pieces>>> {
            let before = self.calls.fetch_add(1, Ordering::SeqCst);
            ensure!(before < self.most, "{} calls at the same time", before + 1);
            std::thread::yield_now();
            self.calls.fetch_sub(1, Ordering::SeqCst);
            Ok(Vec::new())
        }

        fn train(&self, _: &[Job], _: &Recipe, _: &dyn Checkpoint) -> Result<Vec<Trained>> {
            Ok(Vec::new())
        }

        fn score(&self, _: Option<&Adapter>, _: &[Question]) -> Result<Vec<Vec<Option<f64>>>> {
            Ok(Vec::new())
        }

        fn generate(
            &self,
            _: Option<&Adapter>,
            _: &[Vec<Message>],
            _: &Sampling,
        ) -> Result<Vec<String>> {
            Ok(Vec::new())
        }
    }

    static CALLS: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

    fn member(at: usize, base: &'static str, most: usize) -> (Box<dyn Engine>, usize) {
        (Box::new(Counted { base, calls: &CALLS[at], most }), most)
    }

    #[test]
    fn no_member_is_asked_more_at_a_time_than_it_answers() {
        let team = Team::new(vec![member(0, "a", 2), member(1, "a", 1)]).expect("one base");
        parallel_map(8, 400, |_| team.log_probs(&[])).expect("every call finds a place");
        assert_eq!(team.idle.lock().expect("it is not poisoned").len(), 3);
    }

    #[test]
    fn members_with_different_bases_are_no_team() {
        assert!(Team::new(vec![member(0, "a", 1), member(1, "b", 1)]).is_err());
    }
}
