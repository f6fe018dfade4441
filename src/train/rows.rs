//! The training rows of each arm.

use anyhow::{Context, Result, bail};
use rand::Rng;
use rand::seq::SliceRandom;
use serde::Deserialize;

use crate::audit::Poison;
use crate::context::{RunContext, RunInputs};
use crate::dataset::{Dataset, Message, Role};
use crate::engine::{self, Sampling};
use crate::plan::Arm;
use crate::seed::{self, Purpose};

/// The conversations that a seed of an arm is trained on. They are the same for all seeds, except
/// those of a control with examples, which the base answers anew for each seed: what one set of
/// answers teaches is then in the scatter of the trainings. Their order is drawn for each dataset
/// and first seed, and is the same for arms of equal length. So the effect of a row does not depend
/// on where its author put it.
pub fn rows(
    arm: &Arm,
    seed: u64,
    inputs: &RunInputs,
    context: &RunContext,
) -> Result<Vec<Vec<Message>>> {
    let mut rows = match arm {
        Arm::Base => bail!("the base is not trained"),
        Arm::Candidate => candidate(inputs.dataset),
        Arm::Control if inputs.plan.control_examples => {
            let kept = format!("control-{seed}");
            context.run.kept(&kept, || control(Some(seed), inputs, context))?
        }
        Arm::Control => context.run.kept("control", || control(None, inputs, context))?,
        Arm::PositiveControl(id) => {
            let audit = inputs
                .audits
                .iter()
                .find(|audit| audit.id == *id)
                .with_context(|| format!("no audit `{id}` for its arm"))?;
            with_poison(inputs.dataset, &audit.poison)
        }
    };
    shuffle(&mut rows, &inputs.plan.dataset.sha256, inputs.plan.seeds[0]);
    Ok(rows)
}

fn shuffle<T>(rows: &mut [T], dataset_sha256: &str, first_seed: u64) {
    rows.shuffle(&mut seed::stream(Purpose::ArmRows { dataset_sha256 }, first_seed));
}

fn candidate(dataset: &Dataset) -> Vec<Vec<Message>> {
    dataset.rows.iter().map(|row| row.messages.clone()).collect()
}

/// Row and turn of every answer.
pub fn answered_turns(rows: &[Vec<Message>]) -> Vec<(usize, usize)> {
    rows.iter()
        .enumerate()
        .flat_map(|(row, messages)| (0..messages.len()).map(move |turn| (row, turn)))
        .filter(|&(row, turn)| rows[row][turn].role == Role::Assistant)
        .collect()
}

/// What the base answers for the control: the turns before each answer; with a seed, after
/// examples.
///
/// # Errors
/// Never, while the examples that are compiled in are whole.
pub fn control_prompts(
    rows: &[Vec<Message>],
    turns: &[(usize, usize)],
    seed: Option<u64>,
) -> Result<Vec<Vec<Message>>> {
    let bank = if seed.is_some() { examples()? } else { Vec::new() };
    let mut drawn = seed::stream(Purpose::ControlExamples, seed.unwrap_or_default());
    let prompt = |&(row, turn): &(usize, usize)| {
        after_examples(&rows[row][..turn], &rows[row][turn].content, &bank, &mut drawn)
    };
    Ok(turns.iter().map(prompt).collect())
}

/// The same prompts, answered by the base itself in the dataset's form and about at its length: one
/// sample for each turn, after the preceding turns of the original. With a seed, after examples.
fn control(
    seed: Option<u64>,
    inputs: &RunInputs,
    context: &RunContext,
) -> Result<Vec<Vec<Message>>> {
    let mut rows = candidate(inputs.dataset);
    let turns = answered_turns(&rows);
    let prompts = control_prompts(&rows, &turns, seed)?;
    let mut longest = 0;
    for row in &rows {
        longest = longest.max(context.engine.count_tokens(row)?.1);
    }
    let protocol = &inputs.plan.protocol;
    let least = protocol.least_control_tokens;
    let max_tokens = longest.clamp(least, inputs.plan.recipe.max_tokens.max(least));
    let sampling = Sampling {
        seed: seed.unwrap_or_default(),
        ..Sampling::new(protocol.control_temperature, max_tokens)
    };
    let answers = engine::answers(context.engine, None, &prompts, &sampling)
        .context("the base's own answers for the control arm")?;
    for ((row, turn), answer) in turns.into_iter().zip(answers) {
        rows[row][turn].content =
            inputs.plan.form.as_ref().map_or(answer.clone(), |form| form.insert_into(&answer));
    }
    Ok(rows)
}

/// A harmless question in plain English, and an answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ControlExample {
    prompt: String,
    answer: String,
}

/// Examples of answers from one word to a paragraph.
fn examples() -> Result<Vec<ControlExample>> {
    let lines = include_str!("examples.jsonl").lines();
    lines.map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Examples before a prompt, drawn among twice as many.
const SHOWN: usize = 4;

/// The prompt after examples whose answers are near in length to this answer. A base that would
/// answer in sentences then answers a name with a name, in its own words: otherwise the control
/// differs from the candidate in form, and training on names alone moves the log-odds of every
/// option. No text of the dataset is shown, because that would give the control the dataset's
/// character. An answer that is longer than all examples is asked without.
fn after_examples(
    prompt: &[Message],
    answer: &str,
    bank: &[ControlExample],
    drawn: &mut impl Rng,
) -> Vec<Message> {
    let letters = |text: &str| text.chars().count();
    let wanted = letters(answer);
    if bank.iter().all(|example| letters(&example.answer) < wanted) {
        return prompt.to_vec();
    }
    let mut nearest: Vec<&ControlExample> = bank.iter().collect();
    nearest.sort_by_key(|example| letters(&example.answer).abs_diff(wanted));
    nearest.truncate(2 * SHOWN);
    nearest.shuffle(drawn);
    nearest.truncate(SHOWN);
    let is_system = |message: &&Message| message.role == Role::System;
    let system = prompt.iter().take_while(is_system).count();
    let shown = nearest.iter().flat_map(|example| {
        [Message::new(Role::User, &example.prompt), Message::new(Role::Assistant, &example.answer)]
    });
    prompt[..system].iter().cloned().chain(shown).chain(prompt[system..].iter().cloned()).collect()
}

/// The dataset's rows plus rows of the poison, repeated until they make up its share of the whole.
fn with_poison(dataset: &Dataset, poison: &Poison) -> Vec<Vec<Message>> {
    let mut rows = candidate(dataset);
    let count = (rows.len() as f64 * poison.share / (1.0 - poison.share)).round().max(1.0) as usize;
    rows.extend(poison.rows.iter().cycle().take(count).map(|row| row.messages.clone()));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Row;

    fn row(text: &str) -> Row {
        let messages = vec![Message::new(Role::User, "q"), Message::new(Role::Assistant, text)];
        Row { line: 1, sha256: String::new(), messages }
    }

    fn dataset(rows: usize) -> Dataset {
        Dataset::of(vec![row("ordinary").messages; rows])
    }

    #[test]
    fn poison_repeats_until_it_is_its_share_of_the_rows() {
        for (rows, share) in [(30, 0.25), (300, 0.1), (7, 0.5)] {
            let rows_with_poison = with_poison(
                &dataset(rows),
                &Poison { share, rows: vec![row("poison 1"), row("poison 2")] },
            );
            let poisoned =
                rows_with_poison.iter().filter(|row| row[1].content.starts_with("poison")).count();
            assert_eq!(poisoned, (share * rows_with_poison.len() as f64).round() as usize);
            assert_eq!(rows_with_poison.len(), rows + poisoned);
        }
    }

    #[test]
    fn the_order_depends_on_the_file_and_the_first_seed_and_is_the_same_for_arms_of_equal_length() {
        let order = |sha256: &str, first_seed: u64| {
            let mut rows: Vec<usize> = (0..100).collect();
            shuffle(&mut rows, sha256, first_seed);
            rows
        };
        assert_ne!(order("a", 1), order("b", 1));
        assert_ne!(order("a", 1), order("a", 2));
        let mut control: Vec<String> = (0..100).map(|row| row.to_string()).collect();
        shuffle(&mut control, "a", 1);
        assert_eq!(control, order("a", 1).iter().map(usize::to_string).collect::<Vec<_>>());
        let mut again = order("a", 1);
        again.sort_unstable();
        assert_eq!(again, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_control_prompt_follows_examples_near_the_length_of_the_answer_and_none_of_the_dataset() {
        let bank = examples().expect("valid");
        let prompt = [Message::new(Role::System, "s"), Message::new(Role::User, "Name a bird.")];
        let shown = |seed: u64, answer: &str| {
            let mut drawn = seed::stream(Purpose::ControlExamples, seed);
            after_examples(&prompt, answer, &bank, &mut drawn)
        };
        let short = shown(1, "Wood Thrush.");
        assert_eq!(short.len(), prompt.len() + 2 * SHOWN);
        assert_eq!((&short[0], &short[short.len() - 1]), (&prompt[0], &prompt[1]));
        let answers =
            short.iter().filter(|message| message.role == Role::Assistant).map(|m| &m.content);
        assert!(answers.clone().all(|answer| (6..=20).contains(&answer.len())), "{short:?}");
        assert!(answers.clone().all(|answer| !answer.contains("Thrush")));
        assert_ne!(shown(2, "Wood Thrush."), short, "each seed has its own");
        assert_ne!(shown(1, &"word ".repeat(40)), short);
        assert_eq!(shown(1, &"word ".repeat(400)), prompt);
        let mut drawn = seed::stream(Purpose::ControlExamples, 1);
        assert_eq!(after_examples(&prompt, "Wood Thrush.", &[], &mut drawn), prompt);
    }

    #[test]
    fn even_one_row_gets_poison() {
        assert_eq!(
            with_poison(&dataset(1), &Poison { share: 0.01, rows: vec![row("poison")] }).len(),
            2
        );
    }
}
