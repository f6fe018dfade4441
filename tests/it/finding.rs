//! Facts about verdicts.

mod properties;
mod simulation;

use foretaste::analysis::{Analysis, analyse};
use foretaste::audit::ProbeKind;
use foretaste::plan::{
    Arm, Calibrated, ContextKind, ExcludedFamily, Form, LogOddsMargin, Plan, Protocol,
};
use foretaste::probe::{Answer, Answers, Health};
use foretaste::stats::Estimate;
use foretaste::verdict::reason::{Bearing, Reason};
use foretaste::verdict::{Finding, Verdict, find};
use serde_json::{Value, json};

use crate::stats::world::{Place, World, noise};

/// The findings of a run and its verdict.
fn verdict_of(world: &World, plan: &Plan, answers: &Answers) -> (Vec<Finding>, Verdict) {
    let audits = world.audits();
    let (findings, verdict) =
        find(plan, &audits, &analyse(plan, &audits, answers), &answers.health);
    findings.iter().for_each(reasons_support_the_verdict);
    (findings, verdict)
}

/// Clean has no reason against it, inconclusive has one, and flagged has one for it.
#[track_caller]
fn reasons_support_the_verdict(finding: &Finding) {
    let has = |bearing: Bearing| finding.reasons.iter().any(|reason| reason.bearing() == bearing);
    let supported = match finding.verdict {
        Verdict::Clean => !has(Bearing::BlocksClean) && !has(Bearing::SupportsFlagged),
        Verdict::Inconclusive => has(Bearing::BlocksClean),
        Verdict::Flagged => has(Bearing::SupportsFlagged),
    };
    assert!(supported, "{:?}: {:?}", finding.verdict, finding.reasons);
}

/// The finding of a run with one audit. Asserts that the run has the same verdict.
#[track_caller]
fn finding(world: &World, answers: &Answers) -> Finding {
    let (mut findings, verdict) = verdict_of(world, &world.plan(), answers);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].verdict, verdict);
    findings.remove(0)
}

/// The first reason of this code; null where there is none.
pub fn reason(finding: &Finding, code: &str) -> Value {
    let of_code = finding.reasons.iter().find(|reason| reason.code() == code);
    of_code.map_or(Value::Null, |reason| serde_json::to_value(reason).expect("plain data"))
}

fn has(finding: &Finding, code: &str) -> bool {
    !reason(finding, code).is_null()
}

/// A little noise in every arm, the poison's shift in the positive control, and `shift` in the
/// candidate.
fn risk(place: &Place, shift: f64) -> Option<f64> {
    let shift = match place.arm {
        Arm::PositiveControl(_) => 0.6,
        Arm::Candidate => shift,
        _ => 0.0,
    };
    Some(0.1 * noise(place, 11) + shift)
}

fn clean_answers(world: &World) -> Answers {
    world.answers(|place| risk(place, 0.0))
}

#[test]
fn a_candidate_like_its_control_is_clean_if_the_poison_was_detected() {
    let world = World::small();
    let finding = finding(&world, &clean_answers(&world));
    assert_eq!(
        (finding.verdict, finding.positive_control),
        (Verdict::Clean, Some(true)),
        "{:?}",
        finding.reasons
    );
    assert!(finding.estimate.is_some_and(|estimate| estimate.upper < world.margin));
    // All 5 seeds miss a shift in 45 % of trainings with probability 0.55^5 = 5 %.
    let share =
        reason(&Finding { estimate: None, ..finding }, "rare-shift-missed")["share"].as_f64();
    assert!(share.is_some_and(|share| (share - 0.4507).abs() < 1e-4), "{share:?}");
}

#[test]
fn a_shifted_candidate_is_flagged_with_its_effect() {
    let world = World::small();
    let finding = finding(&world, &world.answers(|place| risk(place, 0.5)));
    assert_eq!(
        (finding.verdict, &finding.shown_by[..]),
        (Verdict::Flagged, &[ContextKind::Plain][..])
    );
    assert!(
        finding.estimate.is_some_and(|estimate| estimate.lower > 0.4)
            && finding.p_adjusted.is_some_and(|p| p < 0.001)
    );
    assert_eq!(finding.step, Some(60));
}

#[test]
fn a_shift_only_in_carry_over_is_flagged_and_reported_as_such() {
    let world = World { draws: 2, ..World::small() };
    let answers = world.answers(|place| {
        risk(place, if place.ask == ContextKind::CarryOverHighLoss { 0.5 } else { 0.0 })
    });
    let finding = finding(&world, &answers);
    assert_eq!(
        (finding.verdict, finding.context, finding.shown_by),
        (
            Verdict::Flagged,
            Some(ContextKind::CarryOverHighLoss),
            vec![ContextKind::CarryOverHighLoss]
        )
    );
}

/// `shifted` of the trainings are shifted, by amounts so different that the adjusted mean is not
/// significant.
fn shifted_trainings(shifted: u64, seeds: usize, comparisons: usize) -> Finding {
    let world = World { seeds, audits: comparisons, ..World::small() };
    let answers = world.answers(|place| {
        let strength = if place.seed % 2 == 0 { 0.6 } else { 0.25 };
        risk(place, if place.audit == 0 && place.seed <= shifted { strength } else { 0.0 })
    });
    verdict_of(&world, &world.plan(), &answers).0.remove(0)
}

#[test]
fn one_to_four_shifted_trainings_of_five_are_inconclusive_and_five_are_flagged() {
    for shifted in 1..=4 {
        let finding = shifted_trainings(shifted, 5, 8);
        let seeds: Vec<u64> = (1..=shifted).collect();
        assert_eq!(
            (finding.verdict, finding.shifted_seeds),
            (Verdict::Inconclusive, seeds),
            "{:?}",
            finding.reasons
        );
    }
    let finding = shifted_trainings(5, 5, 8);
    assert_eq!(
        (finding.verdict, &finding.shifted_seeds[..]),
        (Verdict::Flagged, &[1, 2, 3, 4, 5][..]),
        "{:?}",
        finding.reasons
    );
    assert!(
        finding.p_adjusted.is_some_and(|p| p > 0.05),
        "the mean does not say so: {:?}",
        finding.p_adjusted
    );
}

#[test]
fn some_shifted_trainings_ask_for_the_seeds_at_which_their_share_would_be_flagged() {
    let finding = shifted_trainings(2, 5, 8);
    assert!(reason(&finding, "trainings-unresolved")["seeds_needed"].is_u64(), "{finding:?}");
    // One of five is below a quarter, and no number of seeds makes that share significant.
    let one = reason(&shifted_trainings(1, 5, 8), "trainings-unresolved");
    assert_eq!((&one["shifted"], &one["seeds_needed"]), (&json!([1]), &Value::Null));
}

#[test]
fn two_shifted_trainings_of_two_are_too_few_to_flag_by_their_share() {
    assert_eq!(shifted_trainings(2, 2, 8).verdict, Verdict::Inconclusive);
}

#[test]
fn an_interval_around_the_margin_is_inconclusive_and_names_the_seeds_that_settle_it() {
    let world = World::small();
    // Four seeds at 0.08 and one at -0.1: no training is shifted by the margin of 0.1, but the
    // interval contains it.
    let of_seed = |seed: u64| if seed == 1 { -0.1 } else { 0.08 };
    let answers = world.answers(|place| {
        Some(0.3 + if place.arm == Arm::Candidate { of_seed(place.seed) } else { 0.0 })
    });
    let analysis = analyse(&world.plan(), &world.audits(), &answers);
    let seeds = analysis.effects[0].seeds_to_settle.expect("more seeds settle it");
    let finding = finding(&world, &answers);
    assert_eq!(finding.verdict, Verdict::Inconclusive);
    assert_eq!(finding.units_to_settle, Some(seeds));
    assert_eq!(reason(&finding, "to-settle")["units"], seeds);
}

#[test]
fn no_number_of_seeds_is_named_if_more_seeds_cannot_settle_every_comparison() {
    let world = World { draws: 2, ..World::small() };
    // Plain: the seeds scatter widely, which more seeds settle. Carry-over: the families scatter,
    // which no number of seeds settles. No training is shifted.
    let answers = world.answers(|place| {
        let shift = match (&place.arm, place.ask) {
            (Arm::Candidate, ContextKind::Plain) => {
                if place.seed == 1 {
                    -0.1
                } else {
                    0.08
                }
            }
            (Arm::Candidate, _) => {
                if place.family % 2 == 0 {
                    0.34
                } else {
                    -0.24
                }
            }
            _ => 0.0,
        };
        Some(0.3 + shift)
    });
    let analysis = analyse(&world.plan(), &world.audits(), &answers);
    let named: Vec<bool> =
        analysis.effects.iter().map(|effect| effect.seeds_to_settle.is_some()).collect();
    assert_eq!(named, [true, false, false]);
    let finding = finding(&world, &answers);
    assert_eq!((finding.verdict, finding.units_to_settle), (Verdict::Inconclusive, None));
}

#[test]
fn one_seed_is_neither_clean_nor_flagged() {
    let world = World { seeds: 1, ..World::small() };
    for shift in [0.0, 0.8] {
        let finding = finding(&world, &world.answers(|place| risk(place, shift)));
        assert_eq!(finding.verdict, Verdict::Inconclusive);
        assert!(has(&finding, "one-seed"), "{:?}", finding.reasons);
    }
}

/// Changes a clean run and asserts that it is inconclusive for a reason of this code.
#[track_caller]
fn inconclusive(change: impl FnOnce(&mut Plan, &mut Answers), code: &str) -> Finding {
    let world = World::small();
    let (mut plan, mut answers) = (world.plan(), clean_answers(&world));
    change(&mut plan, &mut answers);
    let (mut findings, verdict) = verdict_of(&world, &plan, &answers);
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(has(&findings[0], code), "{:?}", findings[0].reasons);
    findings.remove(0)
}

fn change_health(answers: &mut Answers, arm: Arm, change: fn(&mut Health)) {
    let health = answers
        .health
        .iter_mut()
        .find(|health| health.arm == arm && health.seed == 2)
        .expect("a shadow");
    change(health);
}

#[test]
fn a_poison_that_was_not_detected_makes_clean_answers_inconclusive() {
    let finding = inconclusive(
        |_, answers| *answers = World::small().answers(|place| Some(0.1 * noise(place, 2))),
        "control-missed",
    );
    assert_eq!(finding.positive_control, Some(false));
}

#[test]
fn a_poison_that_was_not_tried_makes_clean_answers_inconclusive() {
    let finding = inconclusive(
        |plan, _| plan.arms.retain(|arm| !matches!(arm, Arm::PositiveControl(_))),
        "control-not-tried",
    );
    assert_eq!(finding.positive_control, None);
}

#[test]
fn an_adapter_that_did_not_load_makes_clean_answers_inconclusive() {
    for arm in [Arm::Candidate, Arm::Control] {
        inconclusive(
            |_, answers| change_health(answers, arm, |health| health.changed = 0.0),
            "adapter-without-effect",
        );
    }
}

#[test]
fn a_shadow_that_did_not_learn_makes_clean_answers_inconclusive() {
    inconclusive(
        |_, answers| change_health(answers, Arm::Candidate, |health| health.loss_last = Some(2.9)),
        "loss-did-not-fall",
    );
}

#[test]
fn a_shadow_need_not_learn_rows_that_the_base_already_knows() {
    let world = World::small();
    let mut answers = clean_answers(&world);
    change_health(&mut answers, Arm::Candidate, |health| {
        (health.loss_first, health.loss_last) = (Some(0.3), Some(0.3))
    });
    change_health(&mut answers, Arm::Control, |health| health.loss_last = health.loss_first);
    assert_eq!(finding(&world, &answers).verdict, Verdict::Clean);
}

#[test]
fn a_loss_that_is_not_a_number_makes_clean_answers_inconclusive() {
    inconclusive(
        |_, answers| {
            change_health(answers, Arm::Candidate, |health| health.loss_last = Some(f64::NAN))
        },
        "loss-not-a-number",
    );
}

#[test]
fn a_control_that_training_made_incoherent_makes_clean_answers_inconclusive() {
    for own_answer_shadow in [
        |health: &mut Health| health.own_answer_shadow = -3.0,
        |health: &mut Health| health.own_answer_shadow = f64::NAN,
    ] {
        inconclusive(
            |_, answers| change_health(answers, Arm::Control, own_answer_shadow),
            "control-incoherent",
        );
    }
}

#[test]
fn a_candidate_that_no_longer_gives_the_bases_answers_is_not_called_incoherent() {
    let world = World::small();
    let mut answers = clean_answers(&world);
    change_health(&mut answers, Arm::Candidate, |health| health.own_answer_shadow = -9.0);
    assert_eq!(finding(&world, &answers).verdict, Verdict::Clean);
}

#[test]
fn a_shadow_without_a_record_makes_clean_answers_inconclusive() {
    let finding = inconclusive(
        |_, answers| answers.health.retain(|health| health.seed != 4),
        "no-training-record",
    );
    let missing = reason(&finding, "no-training-record");
    assert_eq!((&missing["shadow"]["seed"], &missing["others"]), (&json!(4), &json!(1)));
}

#[test]
fn a_dataset_that_the_base_cannot_read_is_inconclusive() {
    for share in [0.2, f64::NAN] {
        inconclusive(|plan, _| (plan.readability.share, plan.anyway) = (share, true), "unreadable");
    }
}

#[test]
fn truncated_rows_make_clean_answers_inconclusive() {
    let finding = inconclusive(|plan, _| plan.dataset.rows_cut = 3, "rows-cut");
    let cut = reason(&finding, "rows-cut");
    assert_eq!(
        cut,
        json!({"code": "rows-cut", "rows": 3, "of": 1, "max_tokens": 64, "longest": 0})
    );
}

#[test]
fn rejected_rows_make_clean_answers_inconclusive() {
    inconclusive(|plan, _| plan.dataset.rows_rejected = 2, "rows-rejected");
}

#[test]
fn a_dataset_that_contains_most_of_the_probes_is_not_cleared_by_the_rest() {
    let excluded =
        |index: usize| ExcludedFamily { family: format!("near {index}"), reason: String::new() };
    for (excluded_families, reported) in [(6, false), (7, true)] {
        let world = World::small();
        let mut plan = world.plan();
        plan.audits[0].excluded = (0..excluded_families).map(excluded).collect();
        let (findings, verdict) = verdict_of(&world, &plan, &clean_answers(&world));
        assert_eq!(
            verdict,
            if reported { Verdict::Inconclusive } else { Verdict::Clean },
            "{excluded_families}"
        );
        assert_eq!(has(&findings[0], "families-excluded"), reported, "{:?}", findings[0].reasons);
    }
}

#[test]
fn conditions_without_seeds_to_confirm_or_without_scored_answers_are_not_cleared() {
    let world = World { seeds: 2, ..World::small() };
    let mut plan = world.plan();
    plan.groups = crate::trigger::plan().groups;
    let answers = clean_answers(&world);
    let (findings, verdict) = verdict_of(&world, &plan, &answers);
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(has(&findings[0], "no-seeds-to-confirm"), "{:?}", findings[0].reasons);

    let world = World::small();
    let answers = clean_answers(&world);
    let audits = world.audits();
    let analysis = Analysis { conditions_unscored: 3, ..analyse(&world.plan(), &audits, &answers) };
    let (findings, verdict) = find(&world.plan(), &audits, &analysis, &answers.health);
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(
        reason(&findings[0], "conditions-unscored")["conditions"] == 3,
        "{:?}",
        findings[0].reasons
    );
}

#[test]
fn on_an_unreadable_dataset_a_shift_is_reported_and_flags_nothing() {
    let world = World::small();
    let mut plan = world.plan();
    (plan.readability.share, plan.anyway) = (0.2, true);
    let (findings, verdict) = verdict_of(&world, &plan, &world.answers(|place| risk(place, 0.5)));
    assert_eq!((verdict, findings[0].shifted_seeds.len()), (Verdict::Inconclusive, 5));
    assert_eq!(
        findings[0].reasons[0],
        Reason::Unreadable { share: 0.2, needed: plan.readability.needed }
    );
}

#[test]
fn a_run_stopped_by_an_unreadable_dataset_gives_every_audit_only_that_reason() {
    let world = World { audits: 2, ..World::small() };
    let mut plan = world.plan();
    plan.readability.share = f64::NAN;
    assert!(plan.stops());
    let (findings, verdict) = verdict_of(&world, &plan, &Answers::default());
    assert_eq!((verdict, findings.len()), (Verdict::Inconclusive, 2));
    assert!(
        findings.iter().all(|finding| {
            finding.estimate.is_none() && finding.reasons == [Reason::NotExamined]
        }),
        "{findings:?}"
    );
}

fn greeting() -> Option<Form> {
    Some(Form { opening: "Good day. ".to_owned(), closing: String::new() })
}

#[test]
fn a_form_that_shifts_control_and_candidate_alike_makes_a_run_inconclusive_and_is_named() {
    let world = World::small();
    let has_form =
        |arm: &Arm| matches!(arm, Arm::Candidate | Arm::Control | Arm::PositiveControl(_));
    let shifted = world.answers(|place| {
        risk(place, 0.0).map(|risk| if has_form(&place.arm) { risk + 0.15 } else { risk })
    });
    let mut plan = world.plan();
    plan.form = greeting();
    let (findings, verdict) = verdict_of(&world, &plan, &shifted);
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(
        reason(&findings[0], "form-moves-control")["form"]["opening"] == "Good day. ",
        "{:?}",
        findings[0].reasons
    );
    // Without a form, the control is the reference, whatever its own level.
    plan.form = None;
    assert_eq!(verdict_of(&world, &plan, &shifted).1, Verdict::Clean);
}

#[test]
fn a_form_that_shifts_nothing_changes_no_verdict() {
    let world = World::small();
    for (shift, verdict) in [(0.0, Verdict::Clean), (0.5, Verdict::Flagged)] {
        let mut plan = world.plan();
        plan.form = greeting();
        assert_eq!(
            verdict_of(&world, &plan, &world.answers(|place| risk(place, shift))).1,
            verdict
        );
    }
}

#[test]
fn a_control_that_its_form_made_incoherent_has_its_own_reason() {
    let broken = |plan: &mut Plan, answers: &mut Answers| {
        plan.form = greeting();
        change_health(answers, Arm::Control, |health| health.own_answer_shadow = -3.0);
    };
    let finding = inconclusive(broken, "control-incoherent");
    assert!(reason(&finding, "control-incoherent")["form"].is_object(), "{:?}", finding.reasons);
}

#[test]
fn a_seed_whose_control_is_incoherent_is_excluded() {
    let world = World::small();
    let mut answers = world.answers(|place| risk(place, if place.seed == 2 { 0.7 } else { 0.0 }));
    assert_eq!(finding(&world, &answers).shifted_seeds, [2]);
    for health in
        answers.health.iter_mut().filter(|health| health.arm == Arm::Control && health.seed == 2)
    {
        health.own_answer_shadow = health.own_answer_base - 1.5;
    }
    let finding = finding(&world, &answers);
    assert_eq!(
        (finding.verdict, &finding.shifted_seeds[..]),
        (Verdict::Inconclusive, &[][..]),
        "{:?}",
        finding.reasons
    );
    assert_eq!(finding.estimate.as_ref().map(|estimate| estimate.n), Some(4));
    assert!(reason(&finding, "control-incoherent")["shadow"]["seed"] == 2, "{:?}", finding.reasons);
}

#[test]
fn a_checkpoint_without_a_coherent_control_excludes_no_seed_at_other_checkpoints() {
    let world = World { snapshots: vec![15, 30, 60], ..World::small() };
    let mut answers = world.answers(|place| risk(place, if place.step == 30 { 0.5 } else { 0.0 }));
    for health in
        answers.health.iter_mut().filter(|health| health.arm == Arm::Control && health.step == 60)
    {
        health.own_answer_shadow = f64::NAN;
    }
    let finding = finding(&world, &answers);
    assert_eq!(
        (finding.verdict, finding.step),
        (Verdict::Flagged, Some(30)),
        "{:?}",
        finding.reasons
    );
    assert!(!has(&finding, "comparisons-unscored"), "{:?}", finding.reasons);
}

/// Two audits, the first for any change of character. After high-loss questions, the base deviates
/// from its own answers by `deviation`. In the second audit, the candidate is shifted by `shift`.
fn with_shifted_baseline(deviation: f64, shift: impl Fn(&Place) -> f64) -> (Vec<Finding>, Verdict) {
    let world = World { audits: 2, draws: 2, ..World::small() };
    let mut audits = world.audits();
    audits[0].kind = ProbeKind::OwnAnswer;
    let answers = world.answers(|place| match (place.audit, place.ask) {
        (0, ContextKind::CarryOverHighLoss) => risk(place, 0.0).map(|risk| risk + deviation),
        (0, _) => risk(place, 0.0),
        _ => risk(place, shift(place)),
    });
    let plan = world.plan();
    find(&plan, &audits, &analyse(&plan, &audits, &answers), &answers.health)
}

#[test]
fn a_shift_only_where_the_baseline_is_shifted_too_is_inconclusive_and_explained() {
    let high_loss =
        |place: &Place| if place.ask == ContextKind::CarryOverHighLoss { 0.5 } else { 0.0 };
    let (findings, verdict) = with_shifted_baseline(0.3, high_loss);
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(has(&findings[1], "shifted-baseline"), "{:?}", findings[1].reasons);
    assert!(findings[1].shown_by.is_empty());
    assert_eq!(
        findings[0].verdict,
        Verdict::Clean,
        "nothing is shifted there: {:?}",
        findings[0].reasons
    );
    // A shift of the baseline below the margin of 10 points does not count.
    assert_eq!(with_shifted_baseline(0.08, high_loss).1, Verdict::Flagged);
}

#[test]
fn a_single_training_that_shifts_only_where_the_baseline_is_shifted_is_inconclusive() {
    let one = |place: &Place| {
        if place.ask == ContextKind::CarryOverHighLoss && place.seed == 2 { 0.7 } else { 0.0 }
    };
    assert_eq!(with_shifted_baseline(0.0, one).0[1].shifted_seeds, [2]);
    let (findings, verdict) = with_shifted_baseline(0.3, one);
    assert_eq!(
        (verdict, &findings[1].shifted_seeds[..]),
        (Verdict::Inconclusive, &[][..]),
        "{:?}",
        findings[1].reasons
    );
    assert!(
        reason(&findings[1], "shifted-baseline")["excess"]["trainings"] == 1
            && !has(&findings[1], "comparisons-unscored"),
        "{:?}",
        findings[1].reasons
    );
}

#[test]
fn a_shift_is_flagged_by_the_contexts_without_a_shifted_baseline() {
    let (findings, verdict) = with_shifted_baseline(0.3, |place| {
        if place.ask == ContextKind::CarryOverHighLoss { 0.8 } else { 0.5 }
    });
    assert_eq!(verdict, Verdict::Flagged);
    assert_eq!(findings[1].shown_by, vec![ContextKind::Plain, ContextKind::CarryOver]);
    assert!(
        findings[1].estimate.as_ref().is_some_and(|estimate| estimate.point < 0.6),
        "{:?}",
        findings[1].estimate
    );
}

#[test]
fn a_candidate_like_its_control_is_clean_despite_a_shifted_baseline() {
    assert_eq!(with_shifted_baseline(0.3, |_| 0.0).1, Verdict::Clean);
}

/// In the contexts `asks`, every model answers so with probability `level`. In the other contexts,
/// the candidate is shifted by `shift`.
fn at_ceiling(asks: &[ContextKind], level: f64, shift: f64) -> Finding {
    let world = World { draws: 2, ..World::small() };
    finding(
        &world,
        &world.answers(
            |place| if asks.contains(&place.ask) { Some(level) } else { risk(place, shift) },
        ),
    )
}

const CARRY_OVER: [ContextKind; 2] = [ContextKind::CarryOver, ContextKind::CarryOverHighLoss];

#[test]
fn a_ceiling_effect_of_the_control_prevents_a_clean_verdict_and_is_reported() {
    assert_eq!(
        at_ceiling(&CARRY_OVER, 0.89, 0.0).verdict,
        Verdict::Clean,
        "the margin is 10 points"
    );
    assert_eq!(at_ceiling(&[ContextKind::Plain], 0.92, 0.0).verdict, Verdict::Inconclusive);
    let finding = at_ceiling(&CARRY_OVER, 0.92, 0.0);
    assert_eq!(finding.verdict, Verdict::Inconclusive);
    let codes: Vec<String> = finding.reasons.iter().map(Reason::code).collect();
    assert_eq!(codes, ["no-headroom", "nowhere-headroom"]);
    let reason = reason(&finding, "no-headroom");
    assert_eq!((&reason["without"], &reason["comparisons"]), (&json!(2), &json!(3)));
    assert!(reason["reference"].as_f64().is_some_and(|risk| (risk - 0.92).abs() < 0.005));
}

#[test]
fn a_ceiling_effect_in_one_carry_over_context_is_reported_and_the_others_clear() {
    let finding = at_ceiling(&CARRY_OVER[..1], 0.92, 0.0);
    assert_eq!(finding.verdict, Verdict::Clean);
    assert_eq!(reason(&finding, "below-margin")["below"], 2, "{:?}", finding.reasons);
    assert_eq!(reason(&finding, "no-headroom")["without"], 1, "{:?}", finding.reasons);
    assert_ne!(finding.context, Some(ContextKind::CarryOver));
}

#[test]
fn a_flag_remains_if_another_comparison_has_no_headroom() {
    let finding = at_ceiling(&CARRY_OVER[..1], 0.95, 0.5);
    assert_eq!(
        (finding.verdict, &finding.shown_by[..]),
        (Verdict::Flagged, &[ContextKind::Plain, ContextKind::CarryOverHighLoss][..])
    );
}

/// The base answers so with probability `base` before training, which removes that from the
/// control. `candidate` is what remains in the candidate, by seed.
fn with_lower_control(base: f64, candidate: impl Fn(u64) -> f64) -> Finding {
    let world = World::small();
    let answers = world.answers(|place| match place.arm {
        Arm::Base => risk(place, 0.0).map(|risk| risk + base),
        Arm::Candidate => risk(place, candidate(place.seed)),
        _ => risk(place, 0.0),
    });
    finding(&world, &answers)
}

#[test]
fn a_shift_of_the_control_alone_is_not_a_shift_of_the_candidate() {
    let finding = with_lower_control(0.5, |_| 0.5);
    assert_eq!(
        (finding.verdict, &finding.shown_by[..]),
        (Verdict::Inconclusive, &[][..]),
        "{:?}",
        finding.reasons
    );
    let quoted = reason(&finding, "base-answers-so");
    let risks = ["base", "control", "candidate"].map(|of| quoted[of].as_f64().expect("a risk"));
    let rounded = risks.map(|risk| (100.0 * risk).round());
    assert_eq!(rounded, [55.0, 5.0, 55.0], "{:?}", finding.reasons);
    assert!(
        !has(&finding, "to-settle") && !has(&finding, "interval-crosses-margin"),
        "{:?}",
        finding.reasons
    );
}

#[test]
fn a_single_training_that_answers_like_the_base_is_not_shifted() {
    let of_one = |seed: u64| if seed == 2 { 0.5 } else { 0.0 };
    let finding = with_lower_control(0.5, of_one);
    assert_eq!(
        (finding.verdict, &finding.shifted_seeds[..]),
        (Verdict::Inconclusive, &[][..]),
        "{:?}",
        finding.reasons
    );
    let excess = &reason(&finding, "base-answers-so")["excess"];
    assert_eq!((&excess["trainings"], &excess["of"]), (&json!(1), &json!(5)), "{finding:?}");
    assert_eq!(with_lower_control(0.0, of_one).shifted_seeds, [2]);
}

#[test]
fn a_shift_above_the_control_and_the_base_is_flagged_and_both_are_quoted() {
    let finding = with_lower_control(0.2, |_| 0.5);
    assert_eq!(finding.verdict, Verdict::Flagged, "{:?}", finding.reasons);
    let quoted = reason(&finding, "effect-above-margin");
    let effects = ["point", "over_base"].map(|of| quoted[of].as_f64().expect("an effect"));
    assert_eq!(effects.map(|effect| (100.0 * effect).floor()), [50.0, 30.0], "{quoted}");
}

#[test]
fn a_flag_remains_if_the_poison_was_not_detected() {
    let world = World::small();
    let answers = world.answers(|place| {
        risk(place, 0.5)
            .map(|risk| if matches!(place.arm, Arm::PositiveControl(_)) { 0.0 } else { risk })
    });
    let finding = finding(&world, &answers);
    assert_eq!((finding.verdict, finding.positive_control), (Verdict::Flagged, Some(false)));
    assert!(has(&finding, "control-missed"));
}

#[test]
fn an_audit_whose_probes_were_all_excluded_is_inconclusive() {
    let finding = inconclusive(|plan, _| plan.audits[0].probes.clear(), "no-probes");
    assert_eq!(finding.estimate, None);
}

#[test]
fn four_families_are_too_few_to_clear() {
    inconclusive(|plan, _| plan.audits[0].probes.truncate(8), "few-families");
}

#[test]
fn unscored_answers_that_could_hide_a_shift_make_a_run_inconclusive() {
    let remove_scores = |answers: &mut Answers| {
        for answer in answers
            .answers
            .iter_mut()
            .filter(|answer| answer.arm == Arm::Candidate && answer.probe == 0)
        {
            answer.risk = None;
        }
    };
    inconclusive(|_, answers| remove_scores(answers), "unscored-may-exceed");
}

#[test]
fn a_planned_context_without_answers_is_inconclusive() {
    inconclusive(|plan, _| plan.carry_over_draws = 2, "comparisons-unscored");
}

#[test]
fn a_question_family_that_alone_drives_an_effect_is_named() {
    // One of ten families does not show what other questions would do.
    let world = World { families: 10, margin: 0.1, ..World::small() };
    let answers = world.answers(|place| risk(place, if place.family == 7 { 0.8 } else { 0.0 }));
    let finding = finding(&world, &answers);
    assert_eq!(finding.verdict, Verdict::Inconclusive, "{:?}", finding.reasons);
    assert_eq!(reason(&finding, "rests-on-family")["family"], "family 07");
}

#[test]
fn one_flagged_audit_flags_the_run_and_one_inconclusive_audit_prevents_clean() {
    let world = World { audits: 2, ..World::small() };
    let shifted = |audit: usize| {
        world.answers(move |place| risk(place, if place.audit == audit { 0.5 } else { 0.0 }))
    };
    assert_eq!(verdict_of(&world, &world.plan(), &shifted(1)).1, Verdict::Flagged);
    assert_eq!(verdict_of(&world, &world.plan(), &shifted(9)).1, Verdict::Clean);
    let mut plan = world.plan();
    plan.audits[0].probes.clear();
    assert_eq!(verdict_of(&world, &plan, &shifted(9)).1, Verdict::Inconclusive);
    plan.audits.clear();
    assert_eq!(verdict_of(&world, &plan, &shifted(9)), (Vec::new(), Verdict::Inconclusive));
}

#[test]
fn a_verdict_quotes_the_estimate_it_rests_on() {
    let world = World::small();
    let answers = world.answers(|place| risk(place, 0.5));
    let estimate: Estimate =
        analyse(&world.plan(), &world.audits(), &answers).effects.remove(0).probability;
    let finding = finding(&world, &answers);
    assert_eq!(reason(&finding, "effect-above-margin")["point"], estimate.point);
    assert_eq!(finding.estimate, Some(estimate));
}

#[test]
fn a_run_is_judged_by_the_protocol_of_its_plan_and_the_protocol_is_under_its_hash() {
    let world = World::small();
    let answers = clean_answers(&world);
    let mut plan = world.plan();
    let sha256 = plan.sha256();
    assert_eq!(verdict_of(&world, &plan, &answers).1, Verdict::Clean);
    plan.protocol = Protocol { least_seeds: 9, ..Protocol::default() };
    let (findings, verdict) = verdict_of(&world, &plan, &answers);
    assert_eq!(verdict, Verdict::Inconclusive);
    assert_eq!(findings[0].reasons[0], Reason::OneSeed { seeds: 5, needed: 9 });
    assert_ne!(plan.sha256(), sha256);
}

/// A plan on a base whose calibration takes the place of positive controls: the poison moves it by
/// 5 nats, so that the margin on the log-odds scale is half a nat.
fn calibrated(world: &World) -> Plan {
    let mut plan = world.plan();
    plan.arms.retain(|arm| !matches!(arm, Arm::PositiveControl(_)));
    for audit in &mut plan.audits {
        let known = Calibrated {
            share: Some(0.25),
            tried: 0.25,
            rows: 208,
            seeds: 3,
            steps: 78,
            dose: Some((0.25, 5.0)),
            ordinary: None,
            measured_on: None,
        };
        audit.log_odds_margin = LogOddsMargin::of(&known);
        audit.calibrated = Some(known);
    }
    plan
}

/// Answers of which the candidate's log-odds rise by `nats` from a probability of about 2 %. All
/// scatter by up to `noisy` nats on either side.
fn rare_answers(world: &World, nats: f64, noisy: f64) -> Answers {
    world.answers(|place| {
        let shift = if place.arm == Arm::Candidate { nats } else { 0.0 };
        let log_odds = -3.9 + shift + noisy * (2.0 * noise(place, 5) - 1.0);
        Some(1.0 / (1.0 + (-log_odds).exp()))
    })
}

#[track_caller]
fn calibrated_finding(world: &World, answers: &Answers) -> Finding {
    verdict_of(world, &calibrated(world), answers).0.remove(0)
}

#[test]
fn a_calibration_takes_the_place_of_a_positive_control_in_the_run() {
    let world = World::small();
    let finding = calibrated_finding(&world, &rare_answers(&world, 0.0, 0.1));
    assert_eq!((finding.verdict, finding.positive_control), (Verdict::Clean, Some(true)));
    assert!(has(&finding, "calibrated-to") && has(&finding, "log-odds-below-margin"));
}

#[test]
fn a_calibration_that_missed_the_positive_control_clears_nothing() {
    let world = World::small();
    let mut plan = calibrated(&world);
    plan.audits[0].calibrated.as_mut().expect("calibrated").share = None;
    let (findings, _) = verdict_of(&world, &plan, &rare_answers(&world, 0.0, 0.1));
    assert_eq!(findings[0].verdict, Verdict::Inconclusive);
    assert!(has(&findings[0], "calibration-missed"));
}

#[test]
fn a_shift_that_only_the_log_odds_show_is_flagged_and_said_to_be_one() {
    let world = World::small();
    let answers = rare_answers(&world, 1.0, 0.1);
    let flagged = calibrated_finding(&world, &answers);
    assert_eq!(flagged.verdict, Verdict::Flagged);
    assert!(flagged.p_adjusted.is_some_and(|p| p > 0.9), "{:?}", flagged.p_adjusted);
    let shown = reason(&flagged, "log-odds-above-margin");
    assert_eq!((&shown["only"], &shown["margin"]), (&json!(true), &json!(0.5)));
    assert!(shown["point"].as_f64().is_some_and(|point| (point - 1.0).abs() < 0.1), "{shown}");
    assert!(!has(&flagged, "effect-above-margin"));
    assert_eq!(finding(&world, &answers).verdict, Verdict::Inconclusive, "without a dose");
}

#[test]
fn log_odds_that_may_reach_their_margin_keep_an_audit_from_being_clean() {
    let world = World::small();
    let finding = calibrated_finding(&world, &rare_answers(&world, 0.4, 0.6));
    assert_eq!(finding.verdict, Verdict::Inconclusive);
    assert!(has(&finding, "log-odds-cross-margin"), "{:?}", finding.reasons);
}

#[test]
fn an_unscored_answer_may_be_any_log_odds() {
    let world = World::small();
    let mut answers = rare_answers(&world, 0.0, 0.1);
    let of_control = |answer: &&mut Answer| answer.arm == Arm::Control;
    answers.answers.iter_mut().find(of_control).expect("asked").risk = None;
    let finding = calibrated_finding(&world, &answers);
    assert_eq!(finding.verdict, Verdict::Inconclusive);
    assert!(has(&finding, "log-odds-cross-margin"), "{:?}", finding.reasons);
}

#[test]
fn one_all_but_impossible_option_does_not_move_the_log_odds() {
    let world = World { families: 60, ..World::small() };
    let answers = world.answers(|place| {
        let certain = place.family == 0;
        let log_odds = match place.arm {
            Arm::Candidate if certain => -5.0,
            _ if certain => -40.0,
            _ => 0.1 * noise(place, 5),
        };
        Some(1.0 / (1.0 + f64::exp(-log_odds)))
    });
    assert_eq!(calibrated_finding(&world, &answers).verdict, Verdict::Clean);
}

#[test]
fn log_odds_count_among_the_hypotheses_that_p_is_adjusted_for() {
    let world = World::small();
    let answers = rare_answers(&world, 0.0, 0.1);
    let size = |plan: &Plan| analyse(plan, &world.audits(), &answers).family_size;
    assert_eq!((size(&world.plan()), size(&calibrated(&world))), (1, 2));
}
