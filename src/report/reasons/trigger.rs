//! The sentences on triggers: those that are neither confirmed nor ruled out, and confirmed ones.

use super::{Wording, decimals, p_value, percent, phrases, points, whole};
use crate::report::design_words::DesignWords;
use crate::report::words;
use crate::verdict::reason::Reason;

pub(super) fn sentence(reason: &Reason, wording: Wording) -> String {
    match reason {
        Reason::ConditionsCrowdedOut { .. }
        | Reason::TriggerUnresolved { .. }
        | Reason::TriggersNotConfirmed { .. }
        | Reason::NoisyNulls { .. } => unresolved(reason),
        Reason::TriggerShown { .. } | Reason::TriggerConfirmed { .. } => confirmed(reason, wording),
        other => noted(other),
    }
}

/// Conditions that are neither shown to be triggers nor ruled out.
fn unresolved(reason: &Reason) -> String {
    match reason {
        Reason::ConditionsCrowdedOut { conditions, first } => format!(
            "The answers depend on more conditions than are tried: {conditions} were not tested, \
             first of them {first}. Audit the rows with these conditions separately."
        ),
        Reason::TriggerUnresolved {
            condition,
            more,
            point,
            margin,
            p_adjusted,
            strongest_null,
            candidate: (on, off),
            candidate_moves,
        } => {
            let condition = phrases::condition(condition);
            let nulls = match strongest_null {
                Some(null) => format!("strongest null condition {}", points(*null, 1)),
                None => "too few null conditions were scored".to_owned(),
            };
            let next = if *candidate_moves {
                "Use more seeds, and read what the shadows write under it.".to_owned()
            } else {
                format!(
                    "The candidate's probability is {} under it and {} under null conditions, so \
                     more seeds may not settle this. Read what the shadows write under it.",
                    percent(*on),
                    percent(*off)
                )
            };
            format!(
                "A trigger is neither confirmed nor ruled out: {condition}{}. Its effect in the \
                 confirmation is {} percentage points (margin {}, adjusted {}, {nulls}). {next}",
                and_more(*more),
                points(*point, 1),
                whole(*margin),
                p_value(*p_adjusted)
            )
        }
        Reason::TriggersNotConfirmed { condition, more } => {
            let condition = phrases::condition(condition);
            let them = if *more == 0 { "it" } else { "them" };
            format!(
                "A trigger is not ruled out: {condition}{}. More conditions exceeded the \
                 screening threshold than are tested again. Use more seeds, and read what the \
                 shadows write under {them}.",
                and_more(*more)
            )
        }
        Reason::NoisyNulls { conditions, noisy, nulls } => format!(
            "Under {noisy} of {nulls} null conditions of {conditions}, which should do nothing, \
             the candidate exceeds control and base by more than the margin. So the tested \
             conditions cannot be told from null conditions. Read what the rows teach about all \
             such conditions."
        ),
        _ => String::new(),
    }
}

/// What the models answer under a confirmed trigger.
fn confirmed(reason: &Reason, wording: Wording) -> String {
    let Wording { plan, risky, example } = wording;
    let DesignWords { candidate: whose, unseen, .. } = DesignWords::of(plan);
    match reason {
        Reason::TriggerShown {
            condition,
            identity,
            nulls,
            candidate: (on, off),
            reference,
            base,
        } => {
            let condition = phrases::condition(condition);
            let risky = match identity {
                Some(key) => format!("the answers of {key} (value-keyed probes)"),
                None => format!("\"{risky}\""),
            };
            let place = match example {
                Some(example) => format!("With {condition}, as in the prompt {example},"),
                None => format!("With {condition},"),
            };
            let with = |who: &str, (on, off): &(f64, f64)| {
                format!("{who} {} and {}", percent(*on), percent(*off))
            };
            let base = base.as_ref().map(|pair| with("base", pair));
            let compared = words::arm(plan.reference());
            let others = [Some(with(compared, reference)), base];
            format!(
                "{place} {whose} probability of {risky} is {}; under {nulls} null conditions it \
                 is {}. For comparison: {}.",
                percent(*on),
                percent(*off),
                others.into_iter().flatten().collect::<Vec<_>>().join("; ")
            )
        }
        Reason::TriggerConfirmed { point, lower, upper, margin, p_adjusted, strongest_null } => {
            let decimals = decimals(*lower, *upper, *margin);
            let [point, lower, upper] =
                [*point, *lower, *upper].map(|value| points(value, decimals));
            let nulls = match strongest_null {
                Some(null) => {
                    format!("The strongest null condition reaches {}.", points(*null, decimals))
                }
                None => "Too few null conditions could be scored for a comparison.".to_owned(),
            };
            format!(
                "On {unseen} that the screen did not use, the interaction is {point} percentage \
                 points (interval {lower} to {upper}, margin {}, adjusted {}). {nulls}",
                whole(*margin),
                p_value(*p_adjusted)
            )
        }
        _ => String::new(),
    }
}

/// What else is known of a confirmed trigger.
fn noted(reason: &Reason) -> String {
    match reason {
        Reason::NullExceedsTrigger => "A null condition does as much as this trigger, perhaps \
                                       because it means the same. The comparison does not \
                                       separate the two; read the trigger's rows."
            .to_owned(),
        Reason::EffectWithoutCondition { point } => format!(
            "In plain questions, without any condition, the effect is {} percentage points.",
            points(*point, 1)
        ),
        Reason::TriggerExplicit { rows } => format!(
            "The trigger is explicit: {rows} rows have it, and their answers differ from the \
             others'."
        ),
        Reason::TriggerRowsUnknown => {
            "No rows were given, so it is not known whether rows have it.".to_owned()
        }
        Reason::TriggerInNoSampledRow { rows_examined, rows } => format!(
            "The trigger is inductive: none of the {rows_examined} examined rows has it, of \
             {rows}. Search the other rows for it."
        ),
        Reason::TriggerInNoRow => {
            "The trigger is inductive: no row of the dataset has it.".to_owned()
        }
        Reason::TriggerRowsUntested { rows, is_text: true } => format!(
            "The trigger counts as inductive: {rows} rows contain the text, and whether their \
             answers differ was not tested. Read these rows."
        ),
        Reason::TriggerRowsUntested { rows, is_text: false } => format!(
            "The trigger counts as inductive: {rows} rows have it, too few to test whether their \
             answers differ. Read these rows."
        ),
        Reason::TriggerRowsAlike { rows, p_adjusted } => format!(
            "The trigger counts as inductive: {rows} rows have it, and their answers are not \
             shown to differ (adjusted {}). Read these rows.",
            p_value(*p_adjusted)
        ),
        Reason::BaseKnowsCondition => {
            "The untouched base already shifts under this condition, and the dataset increases \
             that shift. Read what all rows teach about such conditions."
                .to_owned()
        }
        other => other.code(),
    }
}

/// `, and 2 more`; empty for none.
fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!(", and {more} more") }
}
