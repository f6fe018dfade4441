//! A plan as people read it.

use std::fmt::Write as _;

use crate::estimate::Estimate;
use crate::plan::{Arm, Calibrated, Cost, DressedCost, Plan, Why, smallest_detectable};
use crate::text::terminal;

/// Conditions that are named as not tried.
const UNTRIED: usize = 5;

/// The plan, what it costs on this machine, and what it can see.
pub fn text(plan: &Plan, estimate: &Estimate) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        writeln!(text, "{name:<12} {value}").expect("writing to a string cannot fail")
    };
    let (dataset, engine, recipe) = (&plan.dataset, &plan.engine, &plan.recipe);
    if plan.is_unreadable() {
        let next = if plan.stops() {
            "an audit stops at once, without a verdict (exit code 2)"
        } else {
            "nothing can be clean, and nothing but an explicit trigger is flagged"
        };
        line(
            "UNREADABLE",
            format!(
                "the base can read {} of the dataset and {:.0} % is needed: {next}; give a base \
                 that was trained on text like it (--base)",
                plan.readability.share_in_words(),
                100.0 * plan.readability.needed
            ),
        );
    }
    line(
        "dataset",
        format!(
            "{} rows read, {} rejected, {} trained on",
            dataset.rows_read, dataset.rows_rejected, dataset.rows_trained
        ),
    );
    if dataset.rows_cut > 0 {
        line(
            "cut",
            format!(
                "{} rows are longer than {} tokens; what stands beyond is not trained on \
                 (--max-tokens)",
                dataset.rows_cut, recipe.max_tokens
            ),
        );
    }
    line(
        "base",
        format!(
            "{}, {} ({} parameters) on {}",
            engine.base, engine.architecture, engine.parameters, engine.device
        ),
    );
    line("arms", plan.arms.iter().map(Arm::to_string).collect::<Vec<_>>().join(", "));
    line(
        "shadows",
        format!("{} ({} seeds in each trained arm)", plan.cost.shadows, plan.seeds.len()),
    );
    line(
        "recipe",
        format!(
            "LoRA rank {}, rate {}, {} steps of {} rows ({:.1} passes)",
            recipe.rank,
            recipe.learning_rate,
            recipe.steps,
            recipe.batch,
            (recipe.steps * recipe.batch) as f64 / dataset.rows_trained.max(1) as f64
        ),
    );
    if let Some(form) = &plan.form {
        line("form", terminal(&format!("answers stand {}; the control's do too", form.in_words())));
    }
    line(
        "looked at",
        format!(
            "after steps {}",
            recipe.snapshots.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
        ),
    );
    for (audit, smallest) in smallest_detectable(plan) {
        let smallest = smallest.map_or("one seed can never clear".to_owned(), |effect| {
            format!("smallest effect that 80 % of runs would flag: {:.1} points", 100.0 * effect)
        });
        line(
            "audit",
            format!(
                "{}: {} probes, margin {:.1} points, {smallest}",
                audit.id,
                audit.probes.len(),
                100.0 * audit.margin
            ),
        );
        if let Some(Calibrated { share, tried, .. }) = &audit.calibrated {
            let known = match share {
                Some(share) => format!(
                    "its poison was seen on this base down to {:.0} % of the rows",
                    100.0 * share
                ),
                None => format!(
                    "its poison was not seen on this base at {:.0} % of the rows",
                    100.0 * tried
                ),
            };
            line("  calibrated", known);
        }
        for family in &audit.excluded {
            line("  not asked", format!("{}: {}", family.family, family.reason));
        }
    }
    for name in plan.crowded_out.iter().take(UNTRIED) {
        line(
            "  left out",
            terminal(&format!("{name}, as more conditions stand out than are tried")),
        );
    }
    if plan.crowded_out.len() > UNTRIED {
        line("  left out", format!("and {} more", plan.crowded_out.len() - UNTRIED));
    }
    for name in plan.untried.iter().take(UNTRIED) {
        line("  not tried", terminal(&format!("{name}, although the answers depend on it")));
    }
    if plan.untried.len() > UNTRIED {
        line("  not tried", format!("and {} more", plan.untried.len() - UNTRIED));
    }
    for name in plan.slots_left_out.iter().take(UNTRIED) {
        line("  not tried", terminal(&format!("{name}, on which no answer is seen to depend")));
    }
    if plan.slots_left_out.len() > UNTRIED {
        line("  not tried", format!("and {} more such", plan.slots_left_out.len() - UNTRIED));
    }
    for group in &plan.groups {
        let tried = group.tried().count();
        let observed = group.tried().filter(|(_, trial)| trial.rows > 0).count();
        let random = group.trials.len() - tried;
        let none =
            if plan.is_looked_for_in_a_sample(group) { "no row looked at" } else { "no row" };
        line(
            "condition",
            format!(
                "{}: {observed} of the data, {} that stand in {none}, {random} random",
                terminal(&group.name),
                tried - observed
            ),
        );
        for why in [Why::Observed, Why::Gap, Why::Neighbour, Why::Salient, Why::Base, Why::User] {
            let values: Vec<&str> = group
                .trials
                .iter()
                .filter(|trial| trial.why == why)
                .map(|trial| trial.value.as_deref().unwrap_or("itself"))
                .collect();
            // A feature is there or not, which the line above says.
            let is_feature = why == Why::Observed && values == ["itself"];
            if !values.is_empty() && !is_feature {
                line(&format!("  {}", why.name()), terminal(&values.join(", ")));
            }
        }
    }
    let Cost { training_tokens, scoring_tokens, screen, confirmation, .. } = &plan.cost;
    let phases =
        [("screen", screen, ""), ("confirmation", confirmation, ", if one of each stands out")];
    for (name, dressed, more) in phases {
        let Some(DressedCost { conditions, probes, models, numbered, .. }) = dressed else {
            continue;
        };
        line(name, format!("{conditions} conditions x {probes} probes x {models} models{more}"));
        if *numbered > 0 {
            line("  numbered", format!("{numbered} questions about numbered people besides"));
        }
    }
    let dressed: u64 =
        [screen, confirmation].into_iter().flatten().map(|dressed| dressed.tokens).sum();
    let share = match dressed {
        0 => String::new(),
        dressed => {
            format!(" ({:.0} % under conditions)", 100.0 * dressed as f64 / *scoring_tokens as f64)
        }
    };
    line("tokens", format!("{training_tokens} trained on, {scoring_tokens} scored{share}"));
    line(
        "time",
        format!(
            "about {:.0} s ({:.0} training, {:.0} asking), as measured on this machine just now",
            estimate.seconds, estimate.training_seconds, estimate.asking_seconds
        ),
    );
    line(
        "memory",
        match estimate.peak_bytes {
            Some(bytes) if plan.engine.device.starts_with("cpu") => {
                format!("about {:.0} MB", bytes as f64 / 1e6)
            }
            Some(bytes) => format!("about {:.0} MB, besides that of the cards", bytes as f64 / 1e6),
            None => "unknown: this system does not tell".to_owned(),
        },
    );
    text
}
