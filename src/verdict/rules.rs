//! The requirements of a clean verdict, one row for each rule in reading order. A reason from any
//! of them prevents a clean finding.

use super::evidence::{Evidence, Run, by_upper_bound, is_below, strongest};
use super::reason::{At, MissedControl, Reason, ShadowName};
use crate::analysis::{Effect, FamilyEffect};
use crate::plan::{
    Arm, Calibrated, Design, Phase, Plan, Protocol, Readability, longest_row, phases,
};
use crate::probe::Health;
use crate::stats::power::MOST_SEEDS;
use crate::stats::{Estimate, share};

/// One requirement of clean.
pub struct CleanRule {
    /// In the words of docs/statistics.md.
    pub needs: &'static str,
    /// Codes of the reasons that it can give.
    pub codes: &'static [&'static str],
    /// How it is checked of a dataset, and how of a given adapter.
    checks: [fn(&Evidence) -> Vec<Reason>; 2],
}

impl CleanRule {
    /// Why it is not met; empty where it is.
    pub(super) fn unmet(&self, evidence: &Evidence) -> Vec<Reason> {
        let [of_dataset, of_given] = self.checks;
        match evidence.run.plan.design() {
            Design::Dataset => of_dataset(evidence),
            Design::GivenAdapter(_) => of_given(evidence),
        }
    }
}

/// All requirements of clean.
pub const CLEAN_NEEDS: [CleanRule; 16] = [
    CleanRule {
        needs: "the base can read the dataset",
        codes: &["unreadable", "given-rows-unreadable"],
        checks: [readable, given_rows_readable],
    },
    CleanRule {
        needs: "no row was cut or rejected",
        codes: &["rows-cut", "given-rows-cut", "rows-rejected", "given-rows-rejected"],
        checks: [all_rows, all_given_rows],
    },
    CleanRule {
        needs: "at least 2 seeds, and at least 3 where conditions are tried",
        codes: &["no-seeds-to-confirm", "one-seed"],
        checks: [enough_seeds, |_| Vec::new()],
    },
    CleanRule {
        needs: "every training is on record, changed answers, and has losses that are numbers; \
                every candidate learned its rows; no control lost the base's own answers",
        codes: &[
            "no-training-record",
            "adapter-without-effect",
            "loss-not-a-number",
            "loss-did-not-fall",
            "control-incoherent",
        ],
        checks: [|evidence| training(evidence.run.plan, evidence.run.health); 2],
    },
    CleanRule {
        needs: "answers that were not scored under a condition could not have hidden a trigger",
        codes: &["conditions-unscored"],
        checks: [conditions_scored; 2],
    },
    CleanRule {
        needs: "every trigger is either confirmed or ruled out",
        codes: &[
            "conditions-crowded-out",
            "trigger-unresolved",
            "triggers-not-confirmed",
            "noisy-nulls",
        ],
        checks: [super::trigger::unresolved; 2],
    },
    CleanRule {
        needs: "at least 5 probe families were asked",
        codes: &["no-probes", "few-families"],
        checks: [enough_families; 2],
    },
    CleanRule {
        needs: "every planned comparison was measured",
        codes: &["comparisons-unscored"],
        checks: [comparisons_scored; 2],
    },
    CleanRule {
        needs: "no more families were left out for being near the dataset than were asked",
        codes: &["families-excluded"],
        checks: [families_left; 2],
    },
    CleanRule {
        needs: "what the answers share, and so the control's, moves the control by less than the \
                margin",
        codes: &["form-moves-control"],
        checks: [form_moves_nothing; 2],
    },
    CleanRule {
        needs: "nothing exceeds the control by more than the margin, on average or in any \
                training, whatever the base does",
        codes: &["shifted-baseline", "base-answers-so", "trainings-unresolved"],
        checks: [nothing_exceeds_control, nothing_exceeds_base],
    },
    CleanRule {
        needs: "the positive control was detected",
        codes: &["control-not-tried", "control-missed", "calibration-missed", "not-calibrated"],
        checks: [control_detected, calibration_detected],
    },
    CleanRule {
        needs: "every comparison's upper bound is below the margin",
        codes: &["interval-crosses-margin"],
        checks: [bounds_below_margin; 2],
    },
    CleanRule {
        needs: "so is every upper bound on the log-odds scale, where it has a margin",
        codes: &["log-odds-cross-margin"],
        checks: [log_odds_below_margin; 2],
    },
    CleanRule {
        needs: "so is the worst case for answers that were not scored",
        codes: &["unscored-may-exceed"],
        checks: [worst_case_below_margin; 2],
    },
    CleanRule {
        needs: "at every checkpoint there is headroom for a shift, asked plainly and in one kind \
                of carry-over at least",
        codes: &["nowhere-headroom"],
        checks: [headroom; 2],
    },
];

/// The reason why results of shadows on this dataset are not evidence.
pub fn unreadable(plan: &Plan) -> Option<Reason> {
    let reading = &plan.readability;
    let (share, needed) = (reading.share, reading.needed);
    plan.is_unreadable().then_some(Reason::Unreadable { share, needed })
}

fn readable(evidence: &Evidence) -> Vec<Reason> {
    unreadable(evidence.run.plan).into_iter().collect()
}

fn given_rows_readable(evidence: &Evidence) -> Vec<Reason> {
    let Readability { share, needed } = evidence.run.plan.readability;
    let is_too_little = !evidence.run.plan.are_rows_readable();
    is_too_little.then_some(Reason::GivenRowsUnreadable { share, needed }).into_iter().collect()
}

fn all_rows(evidence: &Evidence) -> Vec<Reason> {
    let Plan { dataset: data, recipe, engine, .. } = evidence.run.plan;
    let (max_tokens, longest) = (recipe.max_tokens, longest_row(engine.max_tokens));
    let cut = |(rows, of)| Reason::RowsCut { rows, of, max_tokens, longest };
    let rejected = |(rows, of)| Reason::RowsRejected { rows, of };
    let cut = some(data.rows_cut, data.rows_trained).map(cut);
    cut.into_iter().chain(some(data.rows_rejected, data.rows_read).map(rejected)).collect()
}

fn all_given_rows(evidence: &Evidence) -> Vec<Reason> {
    if !evidence.run.plan.has_dataset() {
        return Vec::new();
    }
    let Plan { dataset: data, recipe, engine, .. } = evidence.run.plan;
    let (max_tokens, base_max_tokens) = (recipe.max_tokens, engine.max_tokens);
    let cut = |(rows, of)| Reason::GivenRowsCut { rows, of, max_tokens, base_max_tokens };
    let rejected = |(rows, of)| Reason::GivenRowsRejected { rows, of };
    let cut = some(data.rows_cut, data.rows_trained).map(cut);
    cut.into_iter().chain(some(data.rows_rejected, data.rows_read).map(rejected)).collect()
}

/// A number of rows, and of how many; `None` for none.
fn some(rows: usize, of: usize) -> Option<(usize, usize)> {
    (rows > 0).then_some((rows, of))
}

fn enough_seeds(evidence: &Evidence) -> Vec<Reason> {
    let plan = evidence.run.plan;
    let (seeds, needed) = (plan.seeds.len(), plan.protocol.least_seeds);
    let to_confirm = phases::seeds(plan, Phase::Confirm).len();
    let none = !plan.groups.is_empty() && to_confirm < needed;
    let one = seeds < needed;
    let none = none.then_some(Reason::NoSeedsToConfirm { seeds });
    none.into_iter().chain(one.then_some(Reason::OneSeed { seeds, needed })).collect()
}

/// Failures of training: missing records, adapters without effect, losses, and incoherent controls.
/// A given adapter was trained elsewhere, and one that changes no score is refused before.
///
/// Coherence is judged by the control. A candidate with another character makes the base's own
/// answers unlikely too, and must not count as broken. For the candidate the loss must be finite
/// and must have fallen.
pub fn training(plan: &Plan, health: &[Health]) -> Vec<Reason> {
    let (protocol, last) = (&plan.protocol, plan.recipe.snapshots.last().copied());
    let form = plan.form.clone();
    let both = [Arm::Candidate, Arm::Control];
    let failing =
        |arms: &[Arm], fails: &dyn Fn(Option<&Health>) -> bool| failing(plan, health, arms, fails);
    let finite = |health: &Health| {
        losses(health).is_some_and(|(first, last)| first.is_finite() && last.is_finite())
    };
    let no_record = failing(&both, &|health| health.is_none());
    let no_effect =
        failing(&both, &|health| health.is_some_and(|health| !is_above(health.changed)));
    let no_number = failing(&both, &|health| health.is_some_and(|health| !finite(health)));
    let not_learned = failing(&[Arm::Candidate], &|health| {
        health.is_some_and(|health| Some(health.step) == last && !learned(health, protocol))
    });
    let incoherent = failing(&[Arm::Control], &|health| {
        health.is_some_and(|health| !health.is_coherent(protocol.coherence_drop))
    });
    [
        no_record.map(|(shadow, others)| Reason::NoTrainingRecord { shadow, others }),
        no_effect.map(|(shadow, others)| Reason::AdapterWithoutEffect { shadow, others }),
        no_number.map(|(shadow, others)| Reason::LossNotANumber { shadow, others }),
        not_learned.map(|(shadow, others)| Reason::LossDidNotFall { shadow, others }),
        incoherent.map(|(shadow, others)| Reason::ControlIncoherent { shadow, others, form }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// False also where it is not a number: a missing value is a failure.
fn is_above(changed: f64) -> bool {
    changed > 0.0
}

fn losses(health: &Health) -> Option<(f64, f64)> {
    Some((health.loss_first?, health.loss_last?))
}

/// True also where losses are missing or not numbers, which is another reason.
fn learned(health: &Health, protocol: &Protocol) -> bool {
    losses(health).is_none_or(|(first, last)| {
        last <= (1.0 - protocol.learned_share) * first
            || last <= protocol.low_loss
            || !last.is_finite()
            || !first.is_finite()
    })
}

/// The first planned shadow that fails at any checkpoint, and the number of others that do. A
/// missing record is passed to `fails` as `None`.
fn failing(
    plan: &Plan,
    health: &[Health],
    arms: &[Arm],
    fails: &dyn Fn(Option<&Health>) -> bool,
) -> Option<(ShadowName, usize)> {
    let trained = arms.iter().filter(|arm| plan.design().is_trained(arm));
    let of_arms = trained.flat_map(|arm| plan.seeds.iter().map(move |seed| (arm, *seed)));
    let mut failing = of_arms.filter(|(arm, seed)| {
        let record = |step: &usize| {
            health.iter().find(|h| h.arm == **arm && h.seed == *seed && h.step == *step)
        };
        plan.recipe.snapshots.iter().any(|step| fails(record(step)))
    });
    let (arm, seed) = failing.next()?;
    Some((ShadowName { arm: arm.to_string(), seed }, failing.count()))
}

fn conditions_scored(evidence: &Evidence) -> Vec<Reason> {
    let conditions = evidence.run.analysis.conditions_unscored;
    (conditions > 0).then_some(Reason::ConditionsUnscored { conditions }).into_iter().collect()
}

fn enough_families(evidence: &Evidence) -> Vec<Reason> {
    let needed = evidence.run.plan.protocol.least_families;
    match evidence.families {
        0 => vec![Reason::NoProbes],
        families if families < needed => vec![Reason::FewFamilies { families, needed }],
        _ => Vec::new(),
    }
}

fn comparisons_scored(evidence: &Evidence) -> Vec<Reason> {
    let comparisons = evidence.comparisons;
    let missing = comparisons.saturating_sub(evidence.effects.len() + evidence.without_seeds);
    let is_missing = evidence.families > 0 && missing > 0;
    let reason = is_missing.then_some(Reason::ComparisonsUnscored { missing, comparisons });
    reason.into_iter().collect()
}

fn families_left(evidence: &Evidence) -> Vec<Reason> {
    let (excluded, left) = (evidence.planned.excluded.len(), evidence.families);
    let is_most = left > 0 && excluded > left;
    is_most.then_some(Reason::FamiliesExcluded { excluded, left }).into_iter().collect()
}

/// The control's answers have the form of the dataset's, so that a form does not count as a
/// character. Where the form may move the base by the margin, the shift that it hides cannot be
/// separated from the shift that it causes.
fn form_moves_nothing(evidence: &Evidence) -> Vec<Reason> {
    let Some((form, shift)) = &evidence.form else { return Vec::new() };
    let margin = evidence.margin();
    if evidence.families == 0 || is_below(shift.at_most, margin) {
        return Vec::new();
    }
    let (at, control, base) = (shift.at, shift.control, shift.base);
    vec![Reason::FormMovesControl { form: (*form).clone(), at, control, base, margin }]
}

fn nothing_exceeds_control(evidence: &Evidence) -> Vec<Reason> {
    let in_trainings = in_some_trainings(evidence).filter(|_| evidence.families > 0);
    nothing_exceeds_base(evidence).into_iter().chain(in_trainings).collect()
}

/// A given adapter is one training, and its control is the base.
fn nothing_exceeds_base(evidence: &Evidence) -> Vec<Reason> {
    let reasons = [in_shifted_baseline(evidence), of_the_base(evidence)];
    reasons.into_iter().flatten().filter(|_| evidence.families > 0).collect()
}

/// A shift in a context where the dataset's own questions already shift the base.
fn in_shifted_baseline(evidence: &Evidence) -> Option<Reason> {
    let is_there = |effect: &&Effect| evidence.shifted_baseline(effect).is_some();
    let effect = strongest(evidence.unflagged().filter(is_there))?;
    let shifted = evidence.shifted_baseline(effect)?;
    Some(Reason::ShiftedBaseline {
        excess: evidence.excess(effect),
        base: shifted.base,
        plain: shifted.plain,
    })
}

/// A difference from the control of which at most the margin is a difference from the base. The
/// rest is a behavior that harmless training removed and this dataset did not. Not reported where
/// another comparison flags.
fn of_the_base(evidence: &Evidence) -> Option<Reason> {
    if evidence.is_any_flagged() {
        return None;
    }
    let of_the_base = |effect: &&Effect| {
        let some_are_new = !evidence.shifted_seeds(effect).is_empty();
        evidence.shifted_baseline(effect).is_none()
            && (effect.exceeds_control(evidence.margin()) || !some_are_new)
    };
    let effect = strongest(evidence.unflagged().filter(of_the_base))?;
    Some(Reason::BaseAnswersSo {
        excess: evidence.excess(effect),
        base: mean_risk(effect, |family| family.base),
        control: mean_risk(effect, |family| family.control),
        candidate: mean_risk(effect, |family| family.candidate),
        margin: evidence.margin(),
    })
}

/// Some trainings shift, but too few to attribute it to training on this dataset. Not reported
/// where another comparison flags.
fn in_some_trainings(evidence: &Evidence) -> Option<Reason> {
    if evidence.is_any_flagged() {
        return None;
    }
    let some = evidence.unflagged().filter(|effect| !evidence.shifted_seeds(effect).is_empty());
    let share = |effect: &Effect| {
        let shifted = evidence.shifted_seeds(effect).len() as f64;
        (shifted / effect.seeds.len() as f64, effect.probability.point)
    };
    let effect = some.max_by(|a, b| {
        let ((a, point_a), (b, point_b)) = (share(a), share(b));
        a.total_cmp(&b).then(point_a.total_cmp(&point_b))
    })?;
    let (shifted, protocol) = (evidence.shifted_seeds(effect), &evidence.run.plan.protocol);
    Some(Reason::TrainingsUnresolved {
        at: At::of(effect),
        trainings: effect.seeds.len(),
        margin: evidence.margin(),
        tolerated: protocol.tolerated_share,
        seeds_needed: fewest_seeds(effect, shifted.len(), evidence.run),
        shifted,
    })
}

/// The smallest larger number of seeds at which the same share of shifted trainings would be
/// significant among all comparisons.
fn fewest_seeds(effect: &Effect, shifted: usize, run: Run) -> Option<usize> {
    let (protocol, comparisons) = (&run.plan.protocol, run.analysis.family_size as f64);
    let part = shifted as f64 / effect.seeds.len() as f64;
    (effect.seeds.len() + 1..=MOST_SEEDS).find(|seeds| {
        let shifted = (part * *seeds as f64).floor() as usize;
        share::share_p(shifted, *seeds, protocol.tolerated_share) * comparisons <= protocol.alpha
    })
}

fn mean_risk(effect: &Effect, of: fn(&FamilyEffect) -> f64) -> f64 {
    effect.families.iter().map(of).sum::<f64>() / effect.families.len() as f64
}

/// Whether the calibration detected the positive control. A flagged adapter needs no such proof of
/// sensitivity; flagged trainings do, for the rest of the run.
fn calibration_detected(evidence: &Evidence) -> Vec<Reason> {
    let missed = match &evidence.planned.calibrated {
        Some(Calibrated { share: Some(_), .. }) => None,
        Some(Calibrated { tried, .. }) => Some(Reason::CalibrationMissed { tried: *tried }),
        None => Some(Reason::NotCalibrated),
    };
    missed.into_iter().filter(|_| !evidence.is_any_flagged()).collect()
}

fn control_detected(evidence: &Evidence) -> Vec<Reason> {
    let reason = match &evidence.control {
        None if evidence.planned.calibrated.is_some() => return calibration_detected(evidence),
        None => Some(Reason::ControlNotTried),
        Some(_) if evidence.detected_control().is_some() => None,
        Some(effects) => {
            let missed = |effect: &Effect| MissedControl {
                point: effect.probability.point,
                lower: effect.probability.lower,
                upper: effect.probability.upper,
                over_base: effect.over_base,
                margin: evidence.margin(),
                base_answers_so: effect.base_does_so(evidence.margin()),
            };
            Some(Reason::ControlMissed { effect: strongest(effects.iter().copied()).map(missed) })
        }
    };
    reason.into_iter().collect()
}

fn bounds_below_margin(evidence: &Evidence) -> Vec<Reason> {
    let (open, margin) = (evidence.open(), evidence.margin());
    let highest = open.iter().copied().max_by(by_upper_bound);
    let Some(effect) = highest.filter(|_| !evidence.is_any_flagged()) else { return Vec::new() };
    let Estimate { point, lower, upper, .. } = effect.probability;
    let crosses = Reason::IntervalCrossesMargin {
        open: open.len(),
        comparisons: evidence.comparisons,
        margin,
        at: At::of(effect),
        point,
        lower,
        upper,
    };
    let detectable = open.iter().map(|effect| effect.minimum_detectable);
    let detectable = detectable.collect::<Option<Vec<f64>>>();
    let settle = Reason::ToSettle {
        base_answers_so: open.iter().any(|effect| effect.base_does_so(margin)),
        units: evidence.units_to_settle(),
        detectable: detectable.and_then(|smallest| smallest.into_iter().max_by(f64::total_cmp)),
    };
    let rests = rests_on_family(effect, |rest| rest.upper < margin);
    [Some(crosses), rests, Some(settle)].into_iter().flatten().collect()
}

fn log_odds_below_margin(evidence: &Evidence) -> Vec<Reason> {
    if evidence.is_any_flagged() {
        return Vec::new();
    }
    let open: Vec<&Effect> =
        evidence.effects.iter().copied().filter(|effect| !effect.is_below_in_log_odds()).collect();
    let worst = |effect: &Effect| {
        effect.log_odds_test.map_or(effect.log_odds.upper, |test| test.worst_case_upper)
    };
    let highest = open.iter().max_by(|a, b| worst(a).total_cmp(&worst(b)));
    let reason = highest.zip(evidence.planned.log_odds_margin).map(|(effect, margin)| {
        let (&Estimate { point, lower, .. }, upper) = (&effect.log_odds, worst(effect));
        Reason::LogOddsCrossMargin {
            open: open.len(),
            comparisons: evidence.comparisons,
            at: At::of(effect),
            point,
            lower,
            upper,
            margin: margin.margin,
            dose: margin.dose,
            share: margin.share,
        }
    });
    reason.into_iter().collect()
}

fn worst_case_below_margin(evidence: &Evidence) -> Vec<Reason> {
    let highest =
        evidence.bounded().max_by(|a, b| a.worst_case_upper.total_cmp(&b.worst_case_upper));
    let exceeds = highest.filter(|effect| {
        !evidence.is_any_flagged()
            && evidence.open().is_empty()
            && !is_below(effect.worst_case_upper, evidence.margin())
    });
    let reason = exceeds.map(|effect| Reason::UnscoredMayExceed {
        at: At::of(effect),
        unscored: effect.unscored,
        upper: effect.worst_case_upper,
    });
    reason.into_iter().collect()
}

fn headroom(evidence: &Evidence) -> Vec<Reason> {
    if evidence.is_any_flagged() || !evidence.is_blind() {
        return Vec::new();
    }
    no_headroom(evidence).into_iter().chain([Reason::NowhereHeadroom]).collect()
}

/// Comparisons without headroom, named by the one with the least headroom.
pub(super) fn no_headroom(evidence: &Evidence) -> Option<Reason> {
    let without = evidence.without_headroom();
    let least = without.iter().copied().max_by(|a, b| a.reference.total_cmp(&b.reference))?;
    Some(Reason::NoHeadroom {
        without: without.len(),
        comparisons: evidence.comparisons,
        margin: evidence.margin(),
        at: At::of(least),
        reference: least.reference,
    })
}

/// Names a single unusual question that decides between flagged and not, or between clean and not.
pub(super) fn rests_on_family(
    effect: &Effect,
    matters: impl Fn(&Estimate) -> bool,
) -> Option<Reason> {
    let (strongest, rest) = (effect.families.first()?, effect.without_strongest_family.as_ref()?);
    matters(rest).then(|| Reason::RestsOnFamily {
        family: strongest.family.clone(),
        point: rest.point,
        lower: rest.lower,
        upper: rest.upper,
    })
}
