//! A plan as people read it.

use std::fmt::Write as _;

use super::{number, phrases, words};
use crate::estimate::CostEstimate;
use crate::plan::{Calibrated, ConditionCost, Cost, Plan, SkipReason, Why, smallest_detectable};
use crate::text::{terminal, wrap};

/// Conditions of each reason that are named as not tested.
const SKIPPED: usize = 5;
/// Columns of a line, and of the label on its left.
const COLUMNS: usize = 80;
const LABEL: usize = 13;

/// The plan, what it costs on this machine, and what it can see.
pub fn text(plan: &Plan, estimate: &CostEstimate) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        for (index, part) in wrap(&value, COLUMNS - LABEL).iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            writeln!(text, "{name:<LABEL$}{part}").expect("writing to a string cannot fail");
        }
    };
    let (dataset, engine, recipe) = (&plan.dataset, &plan.engine, &plan.recipe);
    if plan.is_unreadable() {
        let next = if plan.stops() {
            "An audit stops before training (exit code 2)."
        } else {
            "Nothing is clean, and only an explicit trigger is flagged."
        };
        line(
            "UNREADABLE",
            format!(
                "The base can read {} of the dataset's text, and {:.0} % is needed. {next} Use a \
                 base that was trained on such text (--base).",
                phrases::percent_rounded_down(plan.readability.share),
                100.0 * plan.readability.needed
            ),
        );
    }
    line(
        "dataset",
        format!(
            "{} rows read, {} rejected, {} trained on",
            number::count(dataset.rows_read),
            number::count(dataset.rows_rejected),
            number::count(dataset.rows_trained)
        ),
    );
    if dataset.rows_cut > 0 {
        line(
            "cut",
            format!(
                "{} rows are longer than {} tokens; the rest of their text is not trained on \
                 (--max-tokens)",
                dataset.rows_cut, recipe.max_tokens
            ),
        );
    }
    line(
        "base",
        format!(
            "{}, {} ({} parameters) on {}",
            engine.base,
            engine.architecture,
            number::short(engine.parameters),
            engine.device
        ),
    );
    if let Some(template) = &engine.chat_template {
        line("template", template.name.clone());
    }
    line("arms", words::arm_list(plan.arms.iter()));
    line(
        "shadows",
        format!(
            "{} ({} seeds in each trained arm{})",
            plan.cost.shadows,
            plan.seeds.len(),
            words::looks(plan)
        ),
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
        line("form", terminal(&format!("answers {}; the control's too", phrases::form(form))));
    }
    line(
        "checkpoints",
        format!(
            "after steps {}",
            recipe.snapshots.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
        ),
    );
    for (audit, smallest) in smallest_detectable(plan) {
        let smallest = smallest
            .map_or("with one seed, nothing can be clean".to_owned(), |effect| {
                format!("detectable {:.0} points (80 % power)", 100.0 * effect)
            });
        line(
            "audit",
            format!(
                "{}: {} probes, margin {}, {smallest}",
                audit.id,
                audit.probes.len(),
                number::margin(audit.margin)
            ),
        );
        if let Some(Calibrated { share, tried, measured_on, .. }) = &audit.calibrated {
            let base =
                measured_on.as_ref().map_or("this base".into(), |other| terminal(&other.name));
            let known = match share {
                Some(share) => format!(
                    "positive control detected on {base} down to {:.0} % of rows",
                    100.0 * share
                ),
                None => format!(
                    "positive control not detected on {base} at {:.0} % of rows",
                    100.0 * tried
                ),
            };
            line("  calibrated", known);
        }
        for family in &audit.excluded {
            line("  not asked", format!("{}: {}", family.family, family.reason));
        }
    }
    for audit in &plan.not_asked {
        line("not asked", format!("{}, {}", audit.id, words::blind(plan, audit.share)));
    }
    for (why, words) in [
        (SkipReason::CrowdedOut, "the number of conditions is limited"),
        (SkipReason::Unfit, "the answers depend on it"),
        (SkipReason::Independent, "no answer is seen to depend on it"),
    ] {
        let names = plan.names_skipped(why);
        for name in names.iter().take(SKIPPED) {
            line("  not tested", terminal(&format!("{name}; {words}")));
        }
        if names.len() > SKIPPED {
            line("  not tested", format!("and {} more", names.len() - SKIPPED));
        }
    }
    for group in &plan.groups {
        let tried = group.tried().count();
        let observed = group.tried().filter(|(_, trial)| trial.rows > 0).count();
        let random = group.trials.len() - tried;
        let none = if plan.is_searched_in_a_sample(group) { "no examined row" } else { "no row" };
        line(
            "condition",
            format!(
                "{}: {observed} in the data, {} in {none}, {random} null conditions",
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
                line(&format!("  {}", phrases::why(why)), terminal(&values.join(", ")));
            }
        }
    }
    let Cost { training_tokens, scoring_tokens, screen, confirmation, .. } = &plan.cost;
    let phases =
        [("screen", screen, ""), ("confirmation", confirmation, ", one candidate per group")];
    for (name, cost, more) in phases {
        let Some(ConditionCost { conditions, probes, models, value_keyed, .. }) = cost else {
            continue;
        };
        line(name, format!("{conditions} conditions x {probes} probes x {models} models{more}"));
        if *value_keyed > 0 {
            line(
                "  numbers",
                format!("{} more questions (value-keyed probes)", number::count(*value_keyed)),
            );
        }
    }
    let cost: u64 = [screen, confirmation].into_iter().flatten().map(|cost| cost.tokens).sum();
    let share = match cost {
        0 => String::new(),
        cost => {
            format!(" ({:.0} % under conditions)", 100.0 * cost as f64 / *scoring_tokens as f64)
        }
    };
    line(
        "tokens",
        format!(
            "{} trained on, {} scored{share}",
            number::short(*training_tokens),
            number::short(*scoring_tokens)
        ),
    );
    line(
        "time",
        format!(
            "about {} ({} of training, {} of asking), measured on this machine now",
            duration(estimate.seconds),
            duration(estimate.training_seconds),
            duration(estimate.asking_seconds)
        ),
    );
    line(
        "memory",
        match estimate.peak_bytes {
            Some(bytes) if plan.engine.device.starts_with("cpu") => {
                format!("about {}", size(bytes))
            }
            Some(bytes) => format!("about {}, not counting GPU memory", size(bytes)),
            None => "unknown on this system".to_owned(),
        },
    );
    text
}

/// `40 seconds`, `3 minutes`, `6.5 hours`.
fn duration(seconds: f64) -> String {
    let rounded = |value: f64, unit: &str| {
        let digits = number::plain(value, usize::from(value < 10.0 && unit == "hour"));
        format!("{digits} {unit}{}", if digits == "1" { "" } else { "s" })
    };
    match seconds {
        ..90.0 => rounded(seconds.max(0.0), "second"),
        90.0..5400.0 => rounded(seconds / 60.0, "minute"),
        _ => rounded(seconds / 3600.0, "hour"),
    }
}

/// `330 MB`, `2.1 GB`.
fn size(bytes: u64) -> String {
    match bytes {
        ..1_000_000_000 => format!("{:.0} MB", bytes as f64 / 1e6),
        _ => format!("{} GB", number::plain(bytes as f64 / 1e9, 1)),
    }
}
