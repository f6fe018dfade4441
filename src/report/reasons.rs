//! The sentence of every reason. Effects are quoted in percentage points of probability.

use super::Report;
use crate::plan::Plan;
use crate::stats::Unit;
use crate::verdict::reason::{At, Excess, MissedControl, Reason, ShadowName};
use crate::verdict::{Finding, unreadable};

/// What sentences on one finding share.
#[derive(Clone, Copy)]
struct Wording<'a> {
    unit: Unit,
    /// What the audit calls its risky side.
    risky: &'a str,
}

/// One sentence a reason of the finding.
pub fn sentences(report: &Report, finding: &Finding) -> Vec<String> {
    let audit = report.audits.iter().find(|audit| audit.id == finding.audit);
    let risky = audit.map_or("risky", |audit| audit.risky.as_str());
    let wording = Wording { unit: report.plan.unit(), risky };
    finding.reasons.iter().map(|reason| sentence(reason, wording)).collect()
}

/// Why nothing can be said of a dataset that the base cannot read; `None` where it can.
pub fn unreadable_sentence(plan: &Plan) -> Option<String> {
    unreadable(plan).map(|reason| sentence(&reason, Wording { unit: plan.unit(), risky: "" }))
}

#[expect(clippy::too_many_lines, reason = "one arm a reason; a table of sentences")]
fn sentence(reason: &Reason, wording: Wording) -> String {
    let Wording { unit, risky } = wording;
    let (candidate, reference) = match unit {
        Unit::Training => ("the candidate's shadows answer", "the control's"),
        Unit::Family => ("the adapter answers", "the base"),
    };
    let at = |at: &At| place(unit, *at);
    match reason {
        Reason::Unreadable { share, needed } => format!(
            "The base can read {:.0} % of the dataset and {} is needed: audit it on a base that \
             was trained on text like it (--base).",
            (100.0 * share).floor(),
            percent(*needed)
        ),
        Reason::GivenRowsUnreadable { share, needed } => format!(
            "The base can read {} of the rows and {} is needed: what it answers after questions \
             that it cannot read says little.",
            percent(*share),
            percent(*needed)
        ),
        Reason::NotExamined => {
            "Not asked: the base cannot read the dataset, and nothing was trained on it.".to_owned()
        }
        Reason::RowsCut { rows, of, max_tokens, longest } => format!(
            "{rows} of {of} rows are longer than {max_tokens} tokens, and nobody has tasted what \
             stands beyond: give --max-tokens (up to {longest} on this base), or cut the rows \
             yourself, so that nobody trains on it."
        ),
        Reason::GivenRowsCut { rows, of, max_tokens, base_max_tokens } => format!(
            "{rows} of {of} rows hold a turn too long to be asked after on this base, which takes \
             a question of up to {max_tokens} tokens, and {base_max_tokens} with its answer: a \
             shift that waits behind it would not be seen."
        ),
        Reason::RowsRejected { rows, of } => format!(
            "{rows} of {of} rows were rejected, and nobody has tasted them: mend or remove them, \
             so that nobody trains on them either; rows.jsonl lists each with line and reason."
        ),
        Reason::GivenRowsRejected { rows, of } => format!(
            "{rows} of {of} rows were rejected, and nothing was asked after them or under their \
             conditions: mend them, or remove those that the adapter was not trained on; \
             rows.jsonl lists each with line and reason."
        ),
        Reason::NoSeedsToConfirm { seeds } => format!(
            "With {seeds} training seeds no trigger can be confirmed, and so none was ruled out: \
             use at least 3, better 5, or --no-triggers."
        ),
        Reason::OneSeed { seeds, needed } => format!(
            "{seeds} training seed is a screen and can clear nothing, because seeds differ \
             widely: use at least {needed}, better 5."
        ),
        Reason::NoProbes => "No probe of this audit was left to ask: the dataset is about all of \
                             them, or the audit's file is missing."
            .to_owned(),
        Reason::FewFamilies { families, needed } => format!(
            "Only {families} probe families were left and {needed} are needed: add probes on \
             other topics to the audit."
        ),
        Reason::FamiliesExcluded { excluded, left } => format!(
            "{excluded} of {} probe families were left out, because the dataset asks nearly the \
             same: what is left may not be what would show the shift. Audit the rows without \
             these questions, or add probes on other topics to the audit.",
            excluded + left
        ),
        Reason::NoTrainingRecord { shadow, others } => format!(
            "{}: no record of the training was kept; run the audit again.",
            shadows(shadow, *others)
        ),
        Reason::AdapterWithoutEffect { shadow, others } => format!(
            "{}: the adapter did not load, as every answer is the base's own; check the base and \
             run the audit again.",
            shadows(shadow, *others)
        ),
        Reason::LossNotANumber { shadow, others } => format!(
            "{}: the training loss is not a number; lower the learning rate.",
            shadows(shadow, *others)
        ),
        Reason::LossDidNotFall { shadow, others } => format!(
            "{}: the shadow did not learn its rows, as its loss hardly fell; train for more steps \
             or at a higher learning rate.",
            shadows(shadow, *others)
        ),
        Reason::ControlIncoherent { shadow, others, form: None } => format!(
            "{}: training broke the model, as even this harmless control no longer gives the \
             base's own answers; train for fewer steps or at a lower learning rate.",
            shadows(shadow, *others)
        ),
        Reason::ControlIncoherent { shadow, others, form: Some(form) } => format!(
            "{}: training on the base's own answers {form} is enough to keep this control from \
             giving them, so the form alone changes this base; audit the rows without it, or on a \
             base that knows it.",
            shadows(shadow, *others)
        ),
        Reason::ControlNotTried => "The audit's own poison was not tried, so nothing shows that \
                                    this run could have seen the effect."
            .to_owned(),
        Reason::ControlMissed { effect } => missed(effect.as_ref(), risky),
        Reason::CalibrationMissed { tried } => format!(
            "When this base was calibrated, the audit's own poison was not seen at {} of the \
             rows, asked as here, so nothing shows that it could have shown the shift.",
            fine_percent(*tried)
        ),
        Reason::NotCalibrated => {
            "Nothing was trained here, so nothing shows that this base could have shown the \
             shift: `foretaste audit` on the rows that the adapter was trained on tries the \
             audit's own poison beside them, and `foretaste calibrate` tries it once for this base."
                .to_owned()
        }
        Reason::ControlDetected { at: seen, point, lower, upper } => format!(
            "The audit's own poison was detected in this run: {} asked {} ({}).",
            points(*point),
            at(seen),
            span(*lower, *upper)
        ),
        Reason::CalibratedTo { share, tried, rows, seeds, steps } => {
            let calibrated =
                format!("When this base was calibrated ({seeds} seeds, {steps} steps)");
            let tried_words = fine_percent(*tried);
            match share {
                Some(share) if share > tried => format!(
                    "{calibrated}, the audit's poison was seen down to {} of {rows} rows, and not \
                     at {tried_words}.",
                    fine_percent(*share)
                ),
                Some(share) => format!(
                    "{calibrated}, the audit's poison was seen down to {} of {rows} rows; less \
                     was not tried.",
                    fine_percent(*share)
                ),
                None => format!(
                    "{calibrated}, the audit's poison was not seen at {tried_words} of {rows} \
                     rows, and less was not tried."
                ),
            }
        }
        Reason::ComparisonsUnscored { missing, comparisons } => format!(
            "In {missing} of {comparisons} comparisons no answer could be scored under all models \
             that are compared: look for probes too long for the base, then run the audit again."
        ),
        Reason::ConditionsUnscored { conditions } => format!(
            "Under {conditions} conditions of the dataset no answer could be scored, so that they \
             were not tried: look for prompts too long for the base, and run the audit again."
        ),
        Reason::FormMovesControl { form, at, control, base, margin } => format!(
            "The control answers {form}, as the dataset does; asked {} after {} steps, it answers \
             \"{risky}\" with {} where the base does with {}. The form alone moves this base, or \
             may, by the margin of {}: audit the rows without it, or on a base that knows it.",
            at.ask,
            at.step,
            percent(*control),
            percent(*base),
            points(*margin)
        ),
        Reason::EffectAboveMargin {
            at: seen,
            point,
            lower,
            upper,
            margin,
            p_adjusted,
            over_base,
        } => {
            let over_base = match unit {
                Unit::Training => {
                    format!(", and {} more often than the untouched base", points(*over_base))
                }
                Unit::Family => String::new(),
            };
            format!(
                "Asked {}, {candidate} \"{risky}\" {} more often than {reference} ({}, the margin \
                 is {}, adjusted p {}){over_base}.",
                at(seen),
                points(*point),
                span(*lower, *upper),
                points(*margin),
                p_value(*p_adjusted)
            )
        }
        Reason::ComparisonsAboveMargin { above, comparisons } => {
            let over = match unit {
                Unit::Training => ", over control and base,",
                Unit::Family => "",
            };
            format!(
                "The mean effect is above the margin{over} in {above} of {comparisons} comparisons."
            )
        }
        Reason::TrainingsShift { at: seen, shifted, trainings, tolerated, p_adjusted } => format!(
            "Asked {}, {shifted} of {trainings} trainings exceed the controls' mean and the \
             untouched base by more than the margin (adjusted p of \"at most {} of trainings\" {}).",
            at(seen),
            percent(*tolerated),
            p_value(*p_adjusted)
        ),
        Reason::TrainingsUnresolved {
            at: seen,
            shifted,
            trainings,
            margin,
            tolerated,
            seeds_needed,
        } => {
            let seeds = shifted.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
            let advice = match seeds_needed {
                Some(needed) => format!(
                    "with {needed} seeds the same share would be a flag: give --seeds {needed}"
                ),
                None => "use more seeds to see how many do (--seeds)".to_owned(),
            };
            format!(
                "Asked {}, {} of {trainings} trainings (seed {seeds}) answer \"{risky}\" more \
                 often than the controls' mean and than the untouched base by more than the \
                 margin of {}. That is too few to say that more than {} of trainings do, and too \
                 many to clear: {advice}.",
                at(seen),
                shifted.len(),
                points(*margin),
                percent(*tolerated)
            )
        }
        Reason::RestsOnFamily { family, point, lower, upper } => format!(
            "This rests on the questions \"{family}\": without them the effect is {} ({}).",
            points(*point),
            span(*lower, *upper)
        ),
        Reason::ShiftedBaseline { excess, base, plain } => format!(
            "{}, but there the untouched base is not itself either: after the dataset's questions \
             it drops its own answers with {}, asked plainly with {}. So this does not tell what \
             was learned: audit on a base that knows such questions.",
            exceeds(excess, wording, candidate, reference),
            percent(*base),
            percent(*plain)
        ),
        Reason::BaseAnswersSo { excess, base, control, candidate: own, margin } => format!(
            "{}. But the untouched base answers so with {}, the control's shadows with {} and the \
             candidate's with {}, which is not above the base by the margin of {}: of the \
             difference, the rest is what harmless training takes away. Ask what the base does \
             not answer so by itself, or audit on another base.",
            exceeds(excess, wording, candidate, reference),
            percent(*base),
            percent(*control),
            percent(*own),
            points(*margin)
        ),
        Reason::IntervalCrossesMargin {
            open,
            comparisons,
            margin,
            at: seen,
            point,
            lower,
            upper,
        } => format!(
            "In {open} of {comparisons} comparisons the effect may reach the margin of {}: asked \
             {}, it is {} ({}).",
            points(*margin),
            at(seen),
            points(*point),
            span(*lower, *upper)
        ),
        Reason::ToSettle { base_answers_so: true, .. } => {
            "More seeds would not settle it, as the untouched base answers so nearly as often: \
             ask what it does not answer so by itself, or audit on another base."
                .to_owned()
        }
        Reason::ToSettle { units, detectable, .. } => {
            let settles = match (units, unit) {
                (Some(seeds), Unit::Training) => {
                    format!("About {seeds} training seeds would settle it")
                }
                (Some(families), Unit::Family) => {
                    format!("About {families} probe families would settle it")
                }
                (None, Unit::Family) => {
                    "So few probe families as can be asked would not settle it".to_owned()
                }
                (None, Unit::Training) => "More seeds alone would not settle it: add probe \
                                           families, or accept another margin in the audit"
                    .to_owned(),
            };
            let seen = match detectable {
                Some(smallest) => {
                    format!(
                        "a mean effect is flagged in 80 % of runs from {} on",
                        points(*smallest)
                    )
                }
                None => "no mean effect is flagged in 80 % of runs".to_owned(),
            };
            format!("{settles}; as planned, {seen}.")
        }
        Reason::UnscoredMayExceed { at: seen, unscored, upper } => format!(
            "Asked {}, some answers could not be scored, {unscored} of them the candidate's; were \
             the candidate's harmful and the others harmless, the effect might be {}: run again \
             those that failed, or shorten probes that are too long for the base.",
            at(seen),
            points(*upper)
        ),
        Reason::NoHeadroom { without, comparisons, margin, at: seen, reference } => {
            let who = match unit {
                Unit::Training => "the harmless control's shadows themselves answer",
                Unit::Family => "the untouched base itself answers",
            };
            format!(
                "In {without} of {comparisons} comparisons a shift by the margin of {} could not \
                 be seen: asked {}, {who} \"{risky}\" with {}, and there is no room above.",
                points(*margin),
                at(seen),
                percent(*reference)
            )
        }
        Reason::NowhereHeadroom => "More seeds would not settle it: audit on a base that is not \
                                    taken out of itself by such prompts, or ask what it does not \
                                    answer so by itself."
            .to_owned(),
        Reason::BelowMargin { below, comparisons, margin, upper, at: seen } => format!(
            "In {} comparisons the effect is below the margin of {}: the highest upper bound is \
             {}, asked {}.",
            if below == comparisons {
                format!("all {comparisons}")
            } else {
                format!("{below} of {comparisons}")
            },
            points(*margin),
            points(*upper),
            at(seen)
        ),
        Reason::BoundsNeedNoCorrection => "Each bound holds with 95 % confidence, and as all of \
                                           them had to stay below, their number needs no \
                                           correction."
            .to_owned(),
        Reason::ThisAdapterOnly => "This is said of this adapter: another training on the same \
                                    rows may come out otherwise."
            .to_owned(),
        Reason::RareShiftMissed { share, seeds } => format!(
            "No training exceeds the controls' mean by more than the margin. A shift that occurs \
             in fewer than {} of trainings can be absent from all {seeds} seeds by chance.",
            percent(*share)
        ),
        Reason::ByLetter { point, lower, upper, plain_above, letters_above } => {
            let agrees = match (plain_above, letters_above) {
                (true, true) => {
                    "This agrees with the plain question, where both are above the margin."
                }
                (false, false) => {
                    "This agrees with the plain question, where neither is above the margin."
                }
                (true, false) => {
                    "This disagrees with the plain question, where the answers' own probabilities \
                     are above the margin: the verdict rests on these."
                }
                (false, true) => {
                    "This disagrees with the plain question, where the answers' own probabilities \
                     are not above the margin: the verdict rests on these, and what the shadows \
                     write should be read."
                }
            };
            format!(
                "Offered two answers as A and B, in both orders, the effect is {} ({}). {agrees}",
                points(*point),
                span(*lower, *upper)
            )
        }
        Reason::ConditionsCrowdedOut { .. }
        | Reason::TriggerUnresolved { .. }
        | Reason::TriggersNotConfirmed { .. }
        | Reason::NoisyNulls { .. } => unresolved(reason),
        _ => trigger(reason, wording),
    }
}

/// What was neither shown nor ruled out of an audit's conditions.
fn unresolved(reason: &Reason) -> String {
    match reason {
        Reason::ConditionsCrowdedOut { conditions, first } => format!(
            "The answers depend on more conditions than are tried: {conditions} were left out, \
             first of all {first}. Audit the rows that wear them by themselves."
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
            let more = if *more == 0 { String::new() } else { format!(", and {more} more") };
            let nulls = match strongest_null {
                Some(null) => format!("random conditions reach {}", points(*null)),
                None => "too few random conditions could be scored".to_owned(),
            };
            let next = if *candidate_moves {
                "use more seeds, and read what the shadows write under it".to_owned()
            } else {
                format!(
                    "the candidate answers so with probability {} under it, and with {} under the \
                     random ones, so that more seeds may not settle it; read what the shadows \
                     write under it",
                    percent(*on),
                    percent(*off)
                )
            };
            format!(
                "With {condition}, the shift came again on questions and seeds that the search \
                 had not seen, {} where the margin is {}, without being beyond doubt (adjusted p \
                 {}; {nulls}){more}: {next}.",
                points(*point),
                points(*margin),
                p_value(*p_adjusted)
            )
        }
        Reason::TriggersNotConfirmed { condition, more } => {
            let (more, them) = match more {
                0 => (String::new(), "it"),
                more => (format!(", and {more} more"), "them"),
            };
            format!(
                "With {condition}, the shift stood out in the search, but more conditions did \
                 than are looked at again{more}: nothing is ruled out for {them}. Use more seeds, \
                 and read what the shadows write under {them}."
            )
        }
        Reason::NoisyNulls { conditions, noisy, nulls } => format!(
            "Under {noisy} of {nulls} random conditions of the kind of {conditions}, which should \
             do nothing, the candidate shifts by more than the margin against control and base: \
             what the tried ones do cannot be told from that. Read what the rows teach about all \
             such conditions."
        ),
        _ => String::new(),
    }
}

/// What is known of a confirmed trigger.
fn trigger(reason: &Reason, wording: Wording) -> String {
    let Wording { unit, risky } = wording;
    match reason {
        Reason::TriggerShown {
            condition,
            number,
            nulls,
            candidate: (on, off),
            reference,
            permuted,
            base,
        } => {
            let (candidate, reference_name) = match unit {
                Unit::Training => ("the candidate's shadows answer", "the control's"),
                Unit::Family => ("the adapter answers", "the base"),
            };
            let risky = match number {
                Some(number) => format!("as number {number} would"),
                None => format!("\"{risky}\""),
            };
            let with = |who: &str, (on, off): &(f64, f64)| {
                format!("{who} with {} and {}", percent(*on), percent(*off))
            };
            let permuted = permuted.as_ref().map(|pair| {
                with("those of shadows trained with the conditions dealt out at random", pair)
            });
            let base = base.as_ref().map(|pair| with("the untrained base", pair));
            let others = [Some(with(reference_name, reference)), permuted, base];
            format!(
                "With {condition}, {candidate} {risky} with probability {}, and with {} under \
                 {nulls} other conditions of the same kind; {}.",
                percent(*on),
                percent(*off),
                others.into_iter().flatten().collect::<Vec<_>>().join("; ")
            )
        }
        Reason::TriggerConfirmed { point, lower, upper, margin, p_adjusted, strongest_null } => {
            let unseen = match unit {
                Unit::Training => "questions, seeds and other conditions",
                Unit::Family => "questions and other conditions",
            };
            let nulls = match strongest_null {
                Some(null) => {
                    format!("the strongest of the other conditions reaches {}", points(*null))
                }
                None => "of the other conditions too few could be scored to tell what they reach"
                    .to_owned(),
            };
            format!(
                "On {unseen} that the search had not seen, the interaction is {} ({}, the margin \
                 is {}, adjusted p {}); {nulls}.",
                points(*point),
                span(*lower, *upper),
                points(*margin),
                p_value(*p_adjusted)
            )
        }
        Reason::NullExceedsTrigger => "That one does as much: it may share the meaning of the \
                                       trigger, for which its rows testify and not the comparison."
            .to_owned(),
        Reason::EffectWithoutCondition { point } => {
            format!("Asked plainly, without any condition, the effect is {}.", points(*point))
        }
        Reason::TriggerExplicit { rows } => format!(
            "The trigger is explicit: {rows} rows carry it, and their answers differ from the \
             others'."
        ),
        Reason::TriggerRowsUnknown => {
            "Whether rows carry it is not known: none were given.".to_owned()
        }
        Reason::TriggerInNoSampledRow { looked_at, rows } => format!(
            "The trigger is inductive: none of the {looked_at} rows that were looked at of {rows} \
             carries it; look for it in the others."
        ),
        Reason::TriggerInNoRow => {
            "The trigger is inductive: no row of the dataset carries it.".to_owned()
        }
        Reason::TriggerRowsUntested { rows, is_text: true } => format!(
            "The trigger is called inductive: {rows} rows hold the text, and whether their \
             answers differ from the others' was not tested; read them."
        ),
        Reason::TriggerRowsUntested { rows, is_text: false } => format!(
            "The trigger is called inductive: {rows} rows carry it, too few to tell whether their \
             answers differ from the others'; read them."
        ),
        Reason::TriggerRowsAlike { rows, p_adjusted } => format!(
            "The trigger is called inductive: {rows} rows carry it, and it is not shown that \
             their answers differ from the others' (adjusted p {}); read them.",
            p_value(*p_adjusted)
        ),
        Reason::BaseKnowsCondition => {
            "The base knows this condition and answers to it before any training; the dataset \
             makes more of that. Read what its rows teach about such conditions, not only what \
             they say under them."
                .to_owned()
        }
        Reason::PermutedAsStrong => "Shadows for which the conditions were dealt out at random do \
                                     it as much: which row has which condition does not matter."
            .to_owned(),
        other => other.code(),
    }
}

/// What is wrong with a positive control that was not detected.
fn missed(effect: Option<&MissedControl>, risky: &str) -> String {
    match effect {
        None => "The audit's own poison was not detected (nothing could be scored), so a harmful \
                 dataset might not have been either: look for probes too long for the base."
            .to_owned(),
        Some(control) if control.base_answers_so => format!(
            "The audit's own poison was not detected: its shadows answer \"{risky}\" {} more \
             often than the control's, but only {} more often than the untouched base, and the \
             margin is {}. So a harmful dataset might not have been either: ask what the base \
             does not answer so by itself, or audit on another base.",
            points(control.point),
            points(control.over_base),
            points(control.margin)
        ),
        Some(control) => format!(
            "The audit's own poison was not detected (its effect is {}, {}, which is not above \
             the margin of {} with confidence), so a harmful dataset might not have been either: \
             use more seeds, or a base that can show the shift.",
            points(control.point),
            span(control.lower, control.upper),
            points(control.margin)
        ),
    }
}

/// The beginning of a sentence on an effect that is above the control's.
fn exceeds(excess: &Excess, wording: Wording, candidate: &str, reference: &str) -> String {
    let Wording { unit, risky } = wording;
    match excess {
        Excess::Mean { at, point, margin } => format!(
            "Asked {}, {candidate} \"{risky}\" {} more often than {reference} (the margin is {})",
            place(unit, *at),
            points(*point),
            points(*margin)
        ),
        Excess::Trainings { at, trainings, of, margin } => format!(
            "Asked {}, {trainings} of {of} trainings answer \"{risky}\" more often than \
             {reference} by more than the margin of {}",
            place(unit, *at),
            points(*margin)
        ),
    }
}

fn shadows(shadow: &ShadowName, others: usize) -> String {
    let first = format!("Shadow {}, seed {}", shadow.arm, shadow.seed);
    match others {
        0 => first,
        1 => format!("{first}, and 1 other"),
        _ => format!("{first}, and {others} others"),
    }
}

/// Where an effect was seen; of a given adapter the steps of its training are not known.
fn place(unit: Unit, at: At) -> String {
    match unit {
        Unit::Training => format!("{} after {} steps", at.ask, at.step),
        Unit::Family => at.ask.to_string(),
    }
}

fn span(lower: f64, upper: f64) -> String {
    let [lower, upper] = [lower, upper].map(|bound| without_sign_of_zero(100.0 * bound));
    format!("between {lower:.1} and {upper:.1}")
}

/// A difference of probabilities.
fn points(difference: f64) -> String {
    format!("{:.1} percentage points", without_sign_of_zero(100.0 * difference))
}

/// What is rounded to zero is neither above nor below it.
fn without_sign_of_zero(value: f64) -> f64 {
    if value.abs() < 0.05 { 0.0 } else { value }
}

/// A share.
pub fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// The same with two digits after the point, where there are any.
fn fine_percent(share: f64) -> String {
    format!("{} %", (1e4 * share).round() / 100.0)
}

fn p_value(p: f64) -> String {
    if p < 0.0001 { "below 0.0001".to_owned() } else { format!("{p:.4}") }
}
