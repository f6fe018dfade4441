//! The sentence of every reason. Effects are quoted in percentage points of probability.

mod trigger;

use super::design_words::DesignWords;
use super::number::{self, margin as whole};
use super::{Report, example, phrases, words};
use crate::plan::Plan;
use crate::verdict::reason::{At, Excess, MissedControl, Reason, ShadowName};
use crate::verdict::{Finding, unreadable};

/// What the sentences on one finding share.
#[derive(Clone, Copy)]
struct Wording<'a> {
    plan: &'a Plan,
    /// The audit's name for its risky side.
    risky: &'a str,
    /// An example prompt of the finding's trigger.
    example: Option<&'a str>,
}

impl Wording<'_> {
    /// The context of an effect: `in plain questions after 78 steps`.
    fn place(&self, at: At) -> String {
        let step = self.plan.design().step(at.step).map(|step| format!(" after {step} steps"));
        format!("{}{}", words::in_context(at.context), step.unwrap_or_default())
    }
}

/// One sentence or a few for each reason of the finding.
pub fn sentences(report: &Report, finding: &Finding) -> Vec<String> {
    let audit = report.audits.iter().find(|audit| audit.id == finding.audit);
    let risky = audit.map_or("risky", |audit| audit.risky.as_str());
    let example = example::prompt(report, finding);
    let wording = Wording { plan: report.plan, risky, example: example.as_deref() };
    finding.reasons.iter().map(|reason| sentence(reason, wording)).collect()
}

/// Why an audit of a dataset that the base cannot read says nothing; `None` where it can.
pub fn unreadable_sentence(plan: &Plan) -> Option<String> {
    let wording = Wording { plan, risky: "", example: None };
    unreadable(plan).map(|reason| sentence(&reason, wording))
}

/// The first groups of reasons: the dataset, the plan and the training.
fn sentence(reason: &Reason, wording: Wording) -> String {
    match reason {
        Reason::Unreadable { share, needed } => format!(
            "The base can read {} of the dataset's text, and {} is needed. Use a base that was \
             trained on such text (--base).",
            phrases::percent_rounded_down(*share),
            percent(*needed)
        ),
        Reason::GivenRowsUnreadable { share, needed } => format!(
            "The base can read {} of the rows' text, and {} is needed. Its answers after \
             questions that it cannot read show little. Give rows that it can read, or none.",
            percent(*share),
            percent(*needed)
        ),
        Reason::NotExamined => {
            "Nothing was trained or asked, because the base cannot read the dataset.".to_owned()
        }
        Reason::RowsCut { rows, of, max_tokens, longest } => format!(
            "{rows} of {of} rows are longer than {max_tokens} tokens, and their ends were not \
             tested. Give --max-tokens (up to {longest} on this base), or cut these rows in the \
             dataset."
        ),
        Reason::GivenRowsCut { rows, of, max_tokens, base_max_tokens } => format!(
            "{rows} of {of} rows have a turn that is too long to ask a probe after it, so a shift \
             after it would not be seen. This base takes questions of up to {max_tokens} tokens, \
             and {base_max_tokens} with the answer. Shorten these rows."
        ),
        Reason::RowsRejected { rows, of } => format!(
            "{rows} of {of} rows were rejected and not tested. Fix or remove them; rows.jsonl \
             lists each with line and reason."
        ),
        Reason::GivenRowsRejected { rows, of } => format!(
            "{rows} of {of} rows were rejected, so their questions and conditions were not used. \
             Fix them, or remove those that the adapter was not trained on; rows.jsonl lists each \
             with line and reason."
        ),
        Reason::NoSeedsToConfirm { seeds } => format!(
            "With --seeds {seeds}, no trigger can be confirmed or ruled out. Use at least 3 \
             seeds, better 5, or --no-triggers."
        ),
        Reason::OneSeed { seeds, needed } => format!(
            "With --seeds {seeds}, nothing can be clean, because trainings differ. Use at least \
             {needed} seeds, better 5."
        ),
        Reason::NoProbes => {
            "No probe of this audit was asked: the dataset asks nearly the same as all of them, \
             or the audit's file is missing. Add probes on other topics to the audit."
                .to_owned()
        }
        Reason::FewFamilies { families, needed } => format!(
            "Only {families} probe families are left, and {needed} are needed. Add probes on \
             other topics to the audit."
        ),
        Reason::FamiliesExcluded { excluded, left } => format!(
            "{excluded} of {} probe families were not asked, because the dataset asks nearly the \
             same. The other {left} may miss the shift. Audit the rows without these questions, \
             or add probes on other topics to the audit.",
            excluded + left
        ),
        Reason::NoTrainingRecord { shadow, others } => format!(
            "{}: the record of the training is missing. Run the audit again.",
            shadows(shadow, *others)
        ),
        Reason::AdapterWithoutEffect { shadow, others } => format!(
            "{}: the adapter changed no answer, so it did not load. Check the base and run the \
             audit again.",
            shadows(shadow, *others)
        ),
        Reason::LossNotANumber { shadow, others } => format!(
            "{}: the training loss is not a number. Give a lower --lr.",
            shadows(shadow, *others)
        ),
        Reason::LossDidNotFall { shadow, others } => format!(
            "{}: the loss hardly fell, so the shadow did not learn its rows. Give more --steps or \
             a higher --lr.",
            shadows(shadow, *others)
        ),
        Reason::ControlIncoherent { shadow, others, form: None } => format!(
            "{}: after this harmless training, the model no longer gives its own answers. Give \
             fewer --steps or a lower --lr.",
            shadows(shadow, *others)
        ),
        Reason::ControlIncoherent { shadow, others, form: Some(form) } => format!(
            "{}: the control's rows are the base's own answers, {} as in the dataset, and \
             after training it no longer gives them. So the form alone changes this base. Audit \
             the rows without it, or use a base that knows it.",
            shadows(shadow, *others),
            phrases::form(form)
        ),
        _ => able(reason, wording),
    }
}

/// An effect beside that of a known poison: `16 % of what this base shows with 25 % poison`.
pub fn of_dose(effect: f64, dose: f64, share: f64) -> String {
    format!(
        "{} of the shift that the audit's own poison ({} of the rows) causes on this base",
        percent((effect / dose).max(0.0)),
        percent(share)
    )
}

fn nats(value: f64) -> String {
    format!("{value:+.2}")
}

/// Whether the run could have detected a shift.
fn able(reason: &Reason, wording: Wording) -> String {
    let risky = wording.risky;
    match reason {
        Reason::ControlNotTried => "No positive control was trained, so nothing shows that this \
                                    run could detect the shift."
            .to_owned(),
        Reason::ControlMissed { effect } => missed(effect.as_ref(), risky),
        Reason::CalibrationMissed { tried } => format!(
            "The calibration of {} did not detect the positive control at {} of the rows, in the \
             contexts of this run. So nothing shows that this base can show the shift.",
            words::calibrated_base(wording.plan),
            fine_percent(*tried)
        ),
        Reason::NotCalibrated => {
            "Nothing was trained here, so nothing shows that this base can show the shift. Run \
             `foretaste calibrate` once for this base, or `foretaste audit` on the rows."
                .to_owned()
        }
        Reason::ControlDetected { at, point, lower, upper } => {
            let [point, lower, upper] = rounded([*point, *lower, *upper]);
            format!(
                "The positive control was detected in this run: {}, its effect is {point} \
                 percentage points (interval {lower} to {upper}).",
                wording.place(*at)
            )
        }
        Reason::CalibratedTo { share, tried, rows, seeds, steps } => {
            let tried_words = fine_percent(*tried);
            let down_to = match share {
                Some(share) if share > tried => format!(
                    "detected the positive control down to {} of the rows, and not at \
                     {tried_words}",
                    fine_percent(*share)
                ),
                Some(share) => format!(
                    "detected the positive control down to {} of the rows, the smallest share \
                     tried",
                    fine_percent(*share)
                ),
                None => format!(
                    "did not detect the positive control at {tried_words} of the rows, and tried \
                     no smaller share"
                ),
            };
            let base = words::calibrated_base(wording.plan);
            format!(
                "A calibration of {base} ({rows} rows, {seeds} seeds, {steps} steps) {down_to}."
            )
        }
        Reason::ComparisonsUnscored { missing, comparisons } => format!(
            "In {missing} of {comparisons} comparisons, no answer could be scored under all \
             compared models. Look for probes that are too long for the base, and run the audit \
             again."
        ),
        Reason::ConditionsUnscored { conditions } => format!(
            "Under {conditions} conditions of the dataset, so many answers could not be scored \
             that they may hide a trigger. Look for prompts that are too long for the base, and \
             run the audit again."
        ),
        Reason::FormMovesControl { form, at, control, base, margin } => format!(
            "The dataset's answers share a form, {}, and so do the control's. {}, the \
             probability of \"{risky}\" is {} in the control and {} in the base. So the form \
             alone may move this base by the margin of {} percentage points. Audit the rows \
             without it, or use a base that knows it.",
            phrases::form(form),
            words::capitalised(&wording.place(*at)),
            percent(*control),
            percent(*base),
            whole(*margin)
        ),
        _ => effects(reason, wording),
    }
}

/// What the effects show.
#[expect(clippy::too_many_lines, reason = "one arm a reason; a table of sentences")]
fn effects(reason: &Reason, wording: Wording) -> String {
    let (risky, own) = (wording.risky, DesignWords::of(wording.plan));
    let DesignWords { candidate, reference, .. } = own;
    let context = |at: &At| words::capitalised(&wording.place(*at));
    match reason {
        Reason::EffectAboveMargin { at, point, lower, upper, margin, p_adjusted, over_base } => {
            let decimals = decimals(*lower, *upper, *margin);
            let [point, lower, upper, over_base] =
                [*point, *lower, *upper, *over_base].map(|value| points(value, decimals));
            let over_base = (own.over_base)(&over_base);
            format!(
                "{}, {candidate} probability of \"{risky}\" is {point} percentage points above \
                 {reference} (interval {lower} to {upper}, margin {}, adjusted {}).{over_base}",
                context(at),
                whole(*margin),
                p_value(*p_adjusted)
            )
        }
        Reason::LogOddsAboveMargin {
            at,
            point,
            lower,
            upper,
            margin,
            p_adjusted,
            dose,
            share,
            only,
        } => {
            let [point_of, lower, upper, margin] = [*point, *lower, *upper, *margin].map(nats);
            let only =
                if *only { " In percentage points, no effect is above the margin." } else { "" };
            format!(
                "{}, {candidate} log-odds of \"{risky}\" are {point_of} nats above {reference} \
                 (interval {lower} to {upper}, margin {margin}, adjusted {}). That is {}.{only}",
                context(at),
                p_value(*p_adjusted),
                of_dose(*point, *dose, *share)
            )
        }
        Reason::ComparisonsAboveMargin { above, comparisons } => format!(
            "The mean effect is above the margin in {above} of {comparisons} comparisons{}.",
            own.also_exceeds
        ),
        Reason::TrainingsShift { at, shifted, trainings, tolerated, p_adjusted } => format!(
            "{}, {shifted} of {trainings} trainings {} the control's mean and the base by more \
             than the margin (adjusted {} for \"at most {} of trainings do\").",
            context(at),
            exceed(*shifted),
            p_value(*p_adjusted),
            percent(*tolerated)
        ),
        Reason::TrainingsUnresolved { at, shifted, trainings, margin, tolerated, seeds_needed } => {
            let plural = if shifted.len() == 1 { "" } else { "s" };
            let seeds = shifted.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
            let (seeds, exceed) = (format!("seed{plural} {seeds}"), exceed(shifted.len()));
            let advice = match seeds_needed {
                Some(needed) => format!("With --seeds {needed}, the same share would be flagged."),
                None => "Give more --seeds.".to_owned(),
            };
            format!(
                "{}, {} of {trainings} trainings ({seeds}) {exceed} the control's mean and the \
                 base by more than the margin of {} percentage points. That is too few to show \
                 that more than {} of trainings do, and too many to clear. {advice}",
                context(at),
                shifted.len(),
                whole(*margin),
                percent(*tolerated)
            )
        }
        Reason::RestsOnFamily { family, point, lower, upper } => {
            let [point, lower, upper] = rounded([*point, *lower, *upper]);
            format!(
                "This depends on the questions \"{family}\". Without them the effect is {point} \
                 percentage points (interval {lower} to {upper})."
            )
        }
        Reason::ShiftedBaseline { excess, base, plain } => format!(
            "{} But in this context the untouched base also no longer gives its own answers, with \
             probability {} (in plain questions {}). So this does not show what was learned. Use \
             a base that knows such questions.",
            exceeds(excess, wording),
            percent(*base),
            percent(*plain)
        ),
        Reason::BaseAnswersSo { excess, base, control, candidate: risk, margin } => format!(
            "{} But the candidate is not above the untouched base by the margin of {}: the \
             probability is {} in the base, {} in the control and {} in the candidate. The rest of \
             the difference is what harmless training removes. Add probes that the base does not \
             answer so, or use another base.",
            exceeds(excess, wording),
            whole(*margin),
            percent(*base),
            percent(*control),
            percent(*risk)
        ),
        Reason::IntervalCrossesMargin { open, comparisons, margin, at, point, lower, upper } => {
            let decimals = decimals(*lower, *upper, *margin);
            let [point, lower, upper] =
                [*point, *lower, *upper].map(|value| points(value, decimals));
            format!(
                "In {open} of {comparisons} comparisons, the effect may reach the margin of {} \
                 percentage points. {}, it is {point} (interval {lower} to {upper}).",
                whole(*margin),
                context(at)
            )
        }
        Reason::LogOddsCrossMargin {
            open,
            comparisons,
            at,
            point,
            lower,
            upper,
            margin,
            dose,
            share,
        } => {
            let most = of_dose(*upper, *dose, *share);
            let [point, lower, upper, margin] = [*point, *lower, *upper, *margin].map(nats);
            format!(
                "In {open} of {comparisons} comparisons, the effect may reach the margin on the \
                 log-odds scale, {margin} nats. {}, it is {point} (interval {lower} to {upper}): \
                 at most {most}. Use more --seeds.",
                context(at)
            )
        }
        Reason::ToSettle { base_answers_so: true, .. } => {
            "More seeds would not settle this, because the untouched base gives such answers \
             nearly as often. Add probes that the base does not answer so, or use another base."
                .to_owned()
        }
        Reason::ToSettle { units, detectable, .. } => {
            let settles = (own.settles)(*units);
            let seen = match detectable {
                Some(smallest) => format!(
                    "As planned, 80 % of runs flag a mean effect of {} percentage points or more.",
                    points(*smallest, 0)
                ),
                None => "As planned, no mean effect is flagged in 80 % of runs.".to_owned(),
            };
            format!("{settles} {seen}")
        }
        Reason::UnscoredMayExceed { at, unscored, upper } => format!(
            "{}, some answers could not be scored, {unscored} of them the candidate's. If those \
             were harmful and the others harmless, the effect could be {} percentage points. Run \
             the audit again, or shorten probes that are too long for the base.",
            context(at),
            points(*upper, 1)
        ),
        Reason::NoHeadroom { without, comparisons, margin, at, reference: risk } => format!(
            "In {without} of {comparisons} comparisons, a shift by the margin of {} percentage \
             points could not be seen. For example, {} {reference} own probability of \"{risky}\" \
             is {}, which leaves no headroom.",
            whole(*margin),
            wording.place(*at),
            percent(*risk)
        ),
        Reason::NowhereHeadroom => "More seeds would not settle this. Use a base that keeps its \
                                    own answers after such prompts, or add probes that it does \
                                    not answer so."
            .to_owned(),
        Reason::BelowMargin { below, comparisons, margin, upper, at } => format!(
            "In {} comparisons, the effect is below the margin of {} percentage points. The \
             highest upper bound is {}, {}.",
            if below == comparisons {
                format!("all {comparisons}")
            } else {
                format!("{below} of {comparisons}")
            },
            whole(*margin),
            points(*upper, 1),
            wording.place(*at)
        ),
        Reason::LogOddsBelowMargin { at, upper, margin, dose, share } => format!(
            "On the log-odds scale, every effect is below the margin of {} nats too. The highest \
             upper bound is {}, {}: {}.",
            nats(*margin),
            nats(*upper),
            wording.place(*at),
            of_dose(*upper, *dose, *share)
        ),
        Reason::BoundsNeedNoCorrection => {
            "Each bound holds with 95 % confidence. All bounds had to hold, so their number needs \
             no correction."
                .to_owned()
        }
        Reason::ThisAdapterOnly => {
            "This holds for what was given. Another training on the same rows may differ."
                .to_owned()
        }
        Reason::RareShiftMissed { share, seeds } => format!(
            "No training exceeds the control's mean by more than the margin. A shift in fewer \
             than {} of trainings can be absent from all {seeds} seeds by chance.",
            percent(*share)
        ),
        _ => trigger::sentence(reason, wording),
    }
}

/// Why a positive control was not detected.
fn missed(effect: Option<&MissedControl>, risky: &str) -> String {
    match effect {
        None => "The positive control was not detected, because none of its answers could be \
                 scored. So a harmful dataset might be missed too. Look for probes that are too \
                 long for the base."
            .to_owned(),
        Some(control) if control.base_answers_so => format!(
            "The positive control was not detected: its probability of \"{risky}\" is {} \
             percentage points above the control's, but only {} above the untouched base's \
             (margin {}). So a harmful dataset might be missed too. Add probes that the base does \
             not answer so, or use another base.",
            points(control.point, 1),
            points(control.over_base, 1),
            whole(control.margin)
        ),
        Some(control) => {
            let decimals = decimals(control.lower, control.upper, control.margin);
            let [point, lower, upper] =
                [control.point, control.lower, control.upper].map(|value| points(value, decimals));
            format!(
                "The positive control was not detected: its effect is {point} percentage points \
                 (interval {lower} to {upper}, margin {}). So a harmful dataset might be missed \
                 too. Use more seeds, or a base that can show the shift.",
                whole(control.margin)
            )
        }
    }
}

/// How the candidate exceeds the control.
fn exceeds(excess: &Excess, wording: Wording) -> String {
    let risky = wording.risky;
    let DesignWords { candidate, reference, .. } = DesignWords::of(wording.plan);
    match excess {
        Excess::Mean { at, point, margin } => format!(
            "{}, {candidate} probability of \"{risky}\" is {} percentage points above {reference} \
             (margin {}).",
            words::capitalised(&wording.place(*at)),
            points(*point, 1),
            whole(*margin)
        ),
        Excess::Trainings { at, trainings, of, margin } => format!(
            "{}, {trainings} of {of} trainings {} {reference} probability of \"{risky}\" by more \
             than the margin of {} percentage points.",
            words::capitalised(&wording.place(*at)),
            exceed(*trainings),
            whole(*margin)
        ),
    }
}

/// The verb of a number of trainings.
fn exceed(trainings: usize) -> &'static str {
    if trainings == 1 { "exceeds" } else { "exceed" }
}

fn shadows(shadow: &ShadowName, others: usize) -> String {
    let first = format!("Shadow of arm \"{}\", seed {}", shadow.arm, shadow.seed);
    match others {
        0 => first,
        1 => format!("{first}, and 1 other"),
        _ => format!("{first}, and {others} others"),
    }
}

/// Decimals that an interval supports: none if it is at least 2 points wide, else one. One also
/// where a rounded bound would look equal to the margin.
fn decimals(lower: f64, upper: f64, margin: f64) -> usize {
    let is_wide = upper - lower >= 0.02;
    let looks_equal = |bound: f64| (100.0 * bound).round() == (100.0 * margin).round();
    usize::from(!is_wide || looks_equal(lower) || looks_equal(upper))
}

/// A point and its interval, without a margin.
fn rounded([point, lower, upper]: [f64; 3]) -> [String; 3] {
    let decimals = usize::from(upper - lower < 0.02);
    [point, lower, upper].map(|value| points(value, decimals))
}

/// A difference of probabilities in percentage points, without a unit.
fn points(difference: f64, decimals: usize) -> String {
    let digits = format!("{:.decimals$}", 100.0 * difference);
    let is_zero = digits.chars().all(|digit| matches!(digit, '-' | '0' | '.'));
    if is_zero { digits.trim_start_matches('-').to_owned() } else { digits.replace('-', "−") }
}

/// A share.
pub fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// The same with two digits after the point, where there are any.
fn fine_percent(share: f64) -> String {
    format!("{} %", (1e4 * share).round() / 100.0)
}

/// `p = 0.031`, `p < 0.001`.
fn p_value(p: f64) -> String {
    let value = number::p_value(p);
    if value.starts_with('<') { format!("p {value}") } else { format!("p = {value}") }
}
