//! The training rows of each arm.

use anyhow::{Context, Result, bail};
use rand::seq::SliceRandom;

use crate::audit::Poison;
use crate::context::{RunContext, RunInputs};
use crate::dataset::{Dataset, Message, Role};
use crate::engine::{self, Sampling};
use crate::plan::{Arm, permuted};
use crate::seed::{self, Purpose};

/// The conversations of an arm; every seed of the arm is trained on the same ones. Their order is
/// drawn for each dataset and first seed, and is the same for arms of equal length. So the effect
/// of a row does not depend on where its author put it.
pub fn rows(arm: &Arm, inputs: &RunInputs, context: &RunContext) -> Result<Vec<Vec<Message>>> {
    let mut rows = match arm {
        Arm::Base => bail!("the base is not trained"),
        Arm::Candidate => candidate(inputs.dataset),
        Arm::Control => context.run.kept("control", || control(inputs, context))?,
        Arm::Permuted => permuted(candidate(inputs.dataset), &inputs.plan.groups),
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

/// The same prompts, answered by the base itself in the dataset's form: one sample for each turn,
/// after the preceding turns of the original.
fn control(inputs: &RunInputs, context: &RunContext) -> Result<Vec<Vec<Message>>> {
    let mut rows = candidate(inputs.dataset);
    let turns: Vec<(usize, usize)> = rows
        .iter()
        .enumerate()
        .flat_map(|(row, messages)| (0..messages.len()).map(move |turn| (row, turn)))
        .filter(|&(row, turn)| rows[row][turn].role == Role::Assistant)
        .collect();
    let prompts: Vec<Vec<Message>> =
        turns.iter().map(|&(row, turn)| rows[row][..turn].to_vec()).collect();
    let mut longest = 0;
    for row in &rows {
        longest = longest.max(context.engine.count_tokens(row)?.1);
    }
    let protocol = &inputs.plan.protocol;
    let least = protocol.least_control_tokens;
    let max_tokens = longest.clamp(least, inputs.plan.recipe.max_tokens.max(least));
    let sampling = Sampling::new(protocol.control_temperature, max_tokens);
    let answers = engine::answers(context.engine, None, &prompts, &sampling)
        .context("the base's own answers for the control arm")?;
    for ((row, turn), answer) in turns.into_iter().zip(answers) {
        rows[row][turn].content =
            inputs.plan.form.as_ref().map_or(answer.clone(), |form| form.insert_into(&answer));
    }
    Ok(rows)
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
    fn even_one_row_gets_poison() {
        assert_eq!(
            with_poison(&dataset(1), &Poison { share: 0.01, rows: vec![row("poison")] }).len(),
            2
        );
    }
}
