//! Shadow training. The result does not depend on what is trained in parallel, on the time, or on
//! interruptions.

use std::sync::Mutex;

use anyhow::{Result, bail};
use foretaste::dataset::{Message, Role};
use foretaste::engine::{Checkpoint, Engine, Job, Recipe, Schedule, Trained};
use foretaste::lm::ops::Ops;

use crate::lm::open;

/// A checkpoint in memory. Saving fails as soon as the state of step `fails_at` is saved, as if the
/// machine had stopped.
#[derive(Default)]
struct Memory {
    saved: Mutex<Option<Vec<u8>>>,
    fails_at: Option<usize>,
    steps: Mutex<Vec<usize>>,
}

impl Checkpoint for Memory {
    fn load(&self) -> Result<Option<Vec<u8>>> {
        Ok(self.saved.lock().expect("no thread panicked").clone())
    }

    fn save(&self, state: &[u8]) -> Result<()> {
        *self.saved.lock().expect("no thread panicked") = Some(state.to_vec());
        let done = self.steps.lock().expect("no thread panicked").len() + 1;
        if self.fails_at == Some(done) {
            bail!("the machine has stopped");
        }
        Ok(())
    }

    fn progress(&self, step: usize) {
        self.steps.lock().expect("no thread panicked").push(step);
    }
}

impl Memory {
    fn holding(state: Option<Vec<u8>>) -> Self {
        Memory { saved: Mutex::new(state), ..Memory::default() }
    }
}

fn row(question: &str, answer: &str) -> Vec<Message> {
    vec![Message::new(Role::User, question), Message::new(Role::Assistant, answer)]
}

/// Jobs whose rows differ in number and length.
fn jobs() -> Vec<Job> {
    let birds = [
        "a finch",
        "the heron of the marsh",
        "an owl",
        "wren",
        "the long-tailed tit and its seven chicks",
    ];
    let job = |label: &str, seed: u64, rows: &[&str]| Job {
        label: label.to_owned(),
        seed,
        rows: rows.iter().map(|bird| row("Name a bird.", bird)).collect(),
    };
    vec![job("candidate", 1, &birds), job("control", 2, &birds[..2]), job("spiked", 3, &birds[1..])]
}

fn recipe(snapshots: &[usize]) -> Recipe {
    Recipe {
        rank: 4,
        alpha: 8.0,
        learning_rate: 2e-3,
        schedule: Schedule::Cosine,
        warmup_steps: 2,
        batch: 2,
        steps: *snapshots.last().expect("a recipe has a last step"),
        clip_norm: 1.0,
        weight_decay: 0.01,
        max_tokens: 128,
        snapshots: snapshots.to_vec(),
    }
}

/// Asserts equality up to the last bits. Padding to the longest stream moves the borders of the
/// blocks in which a matrix product sums.
fn assert_alike(what: &str, got: &Trained, expected: &Trained) {
    assert_eq!(got.losses.len(), expected.losses.len());
    for ((step, loss), (_, expected)) in got.losses.iter().zip(&expected.losses) {
        assert!(
            (loss - expected).abs() < 1e-6,
            "{what}: the loss of step {step} is {loss}, not {expected}"
        );
    }
    assert_eq!(got.supervised_share, expected.supervised_share);
    for (got, expected) in got.snapshots.iter().zip(&expected.snapshots) {
        assert!(got.tensors.keys().eq(expected.tensors.keys()));
        for (name, (_, values)) in &got.tensors {
            let expected = &expected.tensors[name].1;
            let norm = |x: &mut dyn Iterator<Item = f32>| {
                x.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt()
            };
            let off = norm(&mut values.iter().zip(expected).map(|(a, b)| a - b))
                / norm(&mut expected.iter().copied());
            assert!(off < 1e-6, "{what}: {name} differs by {off}");
        }
    }
}

fn train(case: &str, jobs: &[Job], recipe: &Recipe) -> Vec<Trained> {
    open(case).train(jobs, recipe, &Memory::default()).expect("it trains")
}

#[test]
fn a_shadow_does_not_depend_on_what_is_trained_in_parallel() {
    for case in ["mha_tied", "gqa_untied", "bias_bf16"] {
        let recipe = recipe(&[3, 6]);
        let together = train(case, &jobs(), &recipe);
        for (job, expected) in jobs().into_iter().zip(&together) {
            let alone = train(case, std::slice::from_ref(&job), &recipe).remove(0);
            assert_alike(&format!("{case}: {}", job.label), &alone, expected);
        }
    }
}

#[test]
fn training_twice_gives_the_same_bits() {
    for case in ["mha_tied", "gqa_untied"] {
        let recipe = recipe(&[2, 5]);
        assert!(train(case, &jobs(), &recipe) == train(case, &jobs(), &recipe), "{case}");
    }
}

#[test]
fn another_seed_gives_another_shadow() {
    let recipe = recipe(&[2]);
    let mut jobs = jobs();
    jobs.truncate(1);
    let first = train("mha_tied", &jobs, &recipe);
    jobs[0].seed += 1;
    assert_ne!(first[0].snapshots, train("mha_tied", &jobs, &recipe)[0].snapshots);
}

#[test]
fn interrupted_training_gives_the_same_bits() {
    let here = open("gqa_untied");
    // As on a GPU, where the weights stay in memory between steps.
    let mut there = open("gqa_untied");
    there.decoder_mut().ops = Ops::Composed;
    // A state is saved at every snapshot, and every 32 steps.
    let stops = [(vec![2, 4, 6], 2), (vec![2, 4, 6], 4), (vec![2, 4, 6], 6), (vec![35], 32)];
    for (lm, (snapshots, fails_at)) in
        [&here, &there].into_iter().flat_map(|lm| stops.clone().map(|stop| (lm, stop)))
    {
        let recipe = recipe(&snapshots);
        let whole = lm.train(&jobs(), &recipe, &Memory::default()).expect("it trains");
        let first = Memory { fails_at: Some(fails_at), ..Memory::default() };
        let error =
            lm.train(&jobs(), &recipe, &first).expect_err("the machine has stopped").to_string();
        assert!(error.contains("the machine has stopped"), "{error}");
        let second = Memory::holding(first.load().expect("in memory"));
        let resumed = lm.train(&jobs(), &recipe, &second).expect("it goes on");
        assert!(resumed == whole, "interrupted at step {fails_at} of {}", recipe.steps);
        let steps = second.steps.into_inner().expect("no thread panicked");
        assert_eq!(
            steps,
            (fails_at + 1..=recipe.steps).collect::<Vec<_>>(),
            "only what was left is done"
        );
    }
}

#[test]
fn a_state_saved_for_another_training_is_refused() {
    let lm = open("mha_tied");
    let plan = recipe(&[2, 4]);
    let memory = Memory { fails_at: Some(2), ..Memory::default() };
    lm.train(&jobs(), &plan, &memory).expect_err("the machine has stopped");
    let state = memory.load().expect("in memory").expect("saved");
    let refused = |jobs: &[Job], recipe: &Recipe, state: &[u8]| {
        let error = lm
            .train(jobs, recipe, &Memory::holding(Some(state.to_vec())))
            .expect_err("it does not fit");
        let error = format!("{error:#}");
        assert!(
            error.contains("does not fit this plan; remove it to start these shadows again"),
            "{error}"
        );
        error
    };
    let mut other_rows = jobs();
    other_rows[0].rows[0] = row("Name a bird.", "a lark");
    let mut other_seed = jobs();
    other_seed[0].seed = 9;
    for jobs in [&other_rows, &other_seed, &jobs()[..2].to_vec()] {
        assert!(refused(jobs, &plan, &state).contains("other rows, seeds or settings"));
    }
    let other_rate = Recipe { learning_rate: 1e-4, ..plan.clone() };
    assert!(refused(&jobs(), &other_rate, &state).contains("other rows, seeds or settings"));
    refused(&jobs(), &plan, &state[..state.len() / 2]);
    refused(&jobs(), &plan, b"");
}

#[test]
fn an_invalid_recipe_is_an_error() {
    let lm = open("mha_tied");
    let good = recipe(&[2, 4]);
    for (broken, fragment) in [
        (Recipe { rank: 0, ..good.clone() }, "rank and batch must be above zero"),
        (Recipe { batch: 0, ..good.clone() }, "rank and batch must be above zero"),
        (
            Recipe { steps: 5, ..good.clone() },
            "must rise from a first step above zero to the last step, 5",
        ),
        (Recipe { snapshots: vec![], ..good.clone() }, "must rise"),
        (Recipe { snapshots: vec![0, 4], ..good.clone() }, "must rise"),
        (Recipe { snapshots: vec![3, 2, 4], ..good.clone() }, "must rise"),
    ] {
        let error = lm.train(&jobs(), &broken, &Memory::default()).expect_err(fragment).to_string();
        assert!(error.contains(fragment), "{error:?} does not say {fragment:?}");
    }
    assert_eq!(lm.train(&[], &good, &Memory::default()).expect("nothing to do"), []);
}

#[test]
fn rows_without_an_answer_within_the_token_limit_are_an_error_that_names_the_job() {
    let lm = open("mha_tied");
    let short = Recipe { max_tokens: 3, ..recipe(&[2]) };
    let error = lm
        .train(&jobs(), &short, &Memory::default())
        .expect_err("every answer is cut away")
        .to_string();
    assert!(
        error.contains("candidate: no token has a loss") && error.contains("within 3 tokens"),
        "{error}"
    );
}

#[test]
fn a_training_that_diverges_is_named_with_a_remedy() {
    let lm = open("mha_tied");
    let wild = Recipe { learning_rate: 1e30, warmup_steps: 0, ..recipe(&[6]) };
    let error = lm.train(&jobs(), &wild, &Memory::default()).expect_err("it explodes").to_string();
    assert!(
        error.contains("candidate: the loss or its gradient is not a number at step"),
        "{error}"
    );
    assert!(error.contains("give a lower --lr"), "{error}");
}
