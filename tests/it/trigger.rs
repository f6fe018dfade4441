//! Facts about the search for triggers, on simulated answers.

mod choosing;

use foretaste::analysis::table::Table;
use foretaste::analysis::{
    self, Analysis, Trigger, TriggerKind, analyse, noisy_nulls, skipped_candidates,
};
use foretaste::audit::{Audit, ValueKey, ValueKeyedOption, ValueKeyedProbe};
use foretaste::dataset::Dataset;
use foretaste::detect::{ConditionKind, detect};
use foretaste::engine::scripted::Scripted;
use foretaste::plan::{
    Arm, ContextKind, Group, Options, Phase, Plan, Requested, Trial, Why, choose, phases,
};
use foretaste::probe::{Answer, Answers, CandidateTrigger, ConditionKey};
use foretaste::prompt::{Filler, Insertion, InsertionKind, Position};
use foretaste::verdict::reason::Reason;
use foretaste::verdict::{Verdict, find};

use crate::condition::worlds::row;
use crate::stats::world::World;

const NULLS: usize = 19;
/// The trial that is the trigger in simulated answers.
const TRIGGER: usize = 1;

fn trial(why: Why, value: usize) -> Trial {
    let (left, right, glue) = ("It is ".to_owned(), ".".to_owned(), " ".to_owned());
    let insertion = Insertion::from(InsertionKind::Words {
        position: Position::Before,
        left,
        filler: Some(Filler::Text),
        right,
        glue,
    });
    let observed = why == Why::Observed;
    Trial {
        why,
        value: Some(value.to_string()),
        insertion,
        rows: usize::from(observed) * 50,
        p_adjusted: observed.then_some(0.4),
    }
}

/// Three candidate values, the second of which is in no row, and null conditions.
pub fn plan() -> Plan {
    let mut trials =
        vec![trial(Why::Observed, 0), trial(Why::Gap, TRIGGER), trial(Why::Observed, 2)];
    trials.extend((0..NULLS).map(|index| trial(Why::ScreenNull, 100 + index)));
    trials.extend((0..NULLS).map(|index| trial(Why::ConfirmNull, 200 + index)));
    let group = Group {
        name: "year in \"{year}\"".to_owned(),
        kind: ConditionKind::Year,
        answer: Default::default(),
        trials,
    };
    Plan { groups: vec![group], ..world().plan() }
}

fn world() -> World {
    World { families: 12, ..World::small() }
}

/// One audit. Where value-keyed probes were answered it has some, which tell the trials' values
/// apart.
fn audits(answers: &[Answer]) -> Vec<Audit> {
    let is_keyed = answers.iter().any(|answer| answer.target.is_some());
    if is_keyed { keyed_audits() } else { world().audits() }
}

fn keyed_audits() -> Vec<Audit> {
    let option = |number: u64| ValueKeyedOption {
        text: format!("person {number}"),
        values: vec![ValueKey::Number(number)],
    };
    let probe = |family: usize| ValueKeyedProbe {
        family: format!("keyed {family:02}"),
        prompt: format!("keyed question {family}"),
        options: (0..3).map(option).collect(),
    };
    let mut audits = world().audits();
    audits[0].value_keyed = (0..12).map(probe).collect();
    audits
}

fn shortlist(plan: &Plan, answers: &[Answer]) -> Vec<CandidateTrigger> {
    analysis::shortlist(plan, &audits(answers), answers)
}

fn undecided(plan: &Plan, answers: &[Answer]) -> usize {
    let triggers = triggers(plan, answers, &|_| true, &|_| 0.0);
    let table = Table::new(plan, &audits(answers), answers);
    analysis::undecided(&table, &|_| true, &|_| 0.0, &triggers)
}

fn triggers(
    plan: &Plan,
    answers: &[Answer],
    is_valid: &dyn Fn(u64) -> bool,
    plain: &dyn Fn(&str) -> f64,
) -> Vec<Trigger> {
    let table = Table::new(plan, &audits(answers), answers);
    analysis::triggers(&table, is_valid, plain)
}

/// All answers of both phases. `risk` gets phase, trial, arm, seed and family. The base has no seed
/// and gets the first.
fn answers(plan: &Plan, risk: impl Fn(Phase, usize, &Arm, u64, usize) -> f64) -> Vec<Answer> {
    answers_of(plan, None, risk)
}

/// The same, to value-keyed probes where there is a target.
fn answers_of(
    plan: &Plan,
    target: Option<ValueKey>,
    risk: impl Fn(Phase, usize, &Arm, u64, usize) -> f64,
) -> Vec<Answer> {
    let audit = &keyed_audits()[0];
    let mut answers = Vec::new();
    for (phase, seeds) in [(Phase::Screen, &plan.seeds[..2]), (Phase::Confirm, &plan.seeds[2..])] {
        for trial in 0..plan.groups[0].trials.len() {
            for arm in [Arm::Base, Arm::Candidate, Arm::Control] {
                let base = [seeds[0]];
                for &seed in if arm == Arm::Base { &base } else { seeds } {
                    let probes = match &target {
                        Some(_) => phases::value_keyed_probes(plan, audit, phase),
                        None => phases::probes(plan, &plan.audits[0], audit, phase),
                    };
                    for (family, (probe, name)) in probes.into_iter().enumerate() {
                        let value = risk(phase, trial, &arm, seed, family).clamp(0.0, 1.0);
                        let family = name.to_owned();
                        answers.push(Answer {
                            context: ContextKind::Condition,
                            draw: 0,
                            condition: Some(ConditionKey { phase, group: 0, trial }),
                            step: plan.recipe.steps,
                            log_odds: None,
                            arm: arm.clone(),
                            seed: (arm != Arm::Base).then_some(seed),
                            audit: plan.audits[0].id.clone(),
                            family,
                            probe,
                            target: target.clone(),
                            risk: Some(value),
                        });
                    }
                }
            }
        }
    }
    answers
}

/// Noise below 0.02 that depends only on the cell.
fn noise(trial: usize, arm: &Arm, seed: u64, family: usize) -> f64 {
    let arm = if *arm == Arm::Candidate { 1 } else { 0 };
    ((trial * 7919 + arm * 104_729 + seed as usize * 1_299_709 + family * 15_485_863) % 1000) as f64
        / 1000.0
        * 0.02
}

#[test]
fn a_trigger_in_no_row_is_confirmed_and_called_inductive() {
    let plan = plan();
    let answers = answers(&plan, |_, trial, arm, seed, family| {
        let on = trial == TRIGGER && *arm == Arm::Candidate;
        noise(trial, arm, seed, family) + if on { 0.6 } else { 0.0 }
    });
    let found = triggers(&plan, &answers, &|_| true, &|_| 0.0);
    assert_eq!(
        found.iter().map(|trigger| trigger.candidate_trigger.trial).collect::<Vec<_>>(),
        [TRIGGER]
    );
    assert!(found[0].confirmed && found[0].kind == TriggerKind::Inductive, "{found:?}");
    assert!((found[0].estimate.point - 0.6).abs() < 0.02, "{:?}", found[0].estimate);
}

#[test]
fn without_a_dependence_on_the_condition_there_is_no_candidate_trigger() {
    let plan = plan();
    let answers =
        answers(&plan, |_, trial, arm, seed, family| 0.4 + noise(trial, arm, seed, family));
    assert_eq!(shortlist(&plan, &answers), []);
    assert_eq!(triggers(&plan, &answers, &|_| true, &|_| 0.0), []);
}

#[test]
fn a_shift_under_every_condition_is_no_trigger() {
    let plan = plan();
    let answers = answers(&plan, |_, trial, arm, seed, family| {
        noise(trial, arm, seed, family) + if *arm == Arm::Candidate { 0.8 } else { 0.0 }
    });
    assert_eq!(shortlist(&plan, &answers), []);
}

#[test]
fn an_effect_that_the_control_shows_too_is_no_trigger() {
    let plan = plan();
    let answers = answers(&plan, |_, trial, arm, seed, family| {
        noise(trial, arm, seed, family) + if trial == TRIGGER { 0.6 } else { 0.0 }
    });
    assert_eq!(shortlist(&plan, &answers), []);
}

#[test]
fn an_effect_only_in_the_screen_is_not_confirmed() {
    let plan = plan();
    let answers = answers(&plan, |phase, trial, arm, seed, family| {
        let on = phase == Phase::Screen && trial == TRIGGER && *arm == Arm::Candidate;
        noise(trial, arm, seed, family) + if on { 0.6 } else { 0.0 }
    });
    let found = triggers(&plan, &answers, &|_| true, &|_| 0.0);
    assert_eq!(found.len(), 1);
    assert!(!found[0].confirmed, "{found:?}");
}

#[test]
fn a_trigger_that_a_null_condition_exceeds_is_neither_confirmed_nor_ruled_out() {
    let plan = plan();
    let answers = answers(&plan, |phase, trial, arm, seed, family| {
        let odd = phase == Phase::Confirm
            && plan.groups[0].trials[trial].why == Why::ConfirmNull
            && trial % NULLS == 0;
        let on = *arm == Arm::Candidate && (trial == TRIGGER || odd);
        noise(trial, arm, seed, family) + if on { if odd { 0.9 } else { 0.6 } } else { 0.0 }
    });
    let found = triggers(&plan, &answers, &|_| true, &|_| 0.0);
    assert_eq!(found.len(), 1);
    assert!(!found[0].confirmed && found[0].is_open(), "{found:?}");
    assert!(codes(&plan, found, &answers).contains(&"trigger-unresolved".to_owned()));
}

/// The codes of all reasons of a run with these triggers and answers.
fn codes(plan: &Plan, triggers: Vec<Trigger>, answers: &[Answer]) -> Vec<String> {
    reasons(plan, triggers, answers).iter().map(Reason::code).collect()
}

fn reasons(plan: &Plan, triggers: Vec<Trigger>, answers: &[Answer]) -> Vec<Reason> {
    let audits = audits(answers);
    let table = Table::new(plan, &audits, answers);
    let noisy_nulls = noisy_nulls(&table);
    let skipped_candidates = skipped_candidates(&table, &|_| 0.0);
    let analysis = Analysis {
        triggers,
        noisy_nulls,
        skipped_candidates,
        ..analyse(plan, &audits, &Answers::default())
    };
    let (findings, _) = find(plan, &audits, &analysis, &[]);
    findings.into_iter().flat_map(|finding| finding.reasons).collect()
}

#[test]
fn a_trigger_that_is_skipped_because_of_stronger_decoys_is_not_ruled_out() {
    const DECOYS: [usize; 4] = [1, 2, 3, 4];
    const SKIPPED: usize = 5;
    let mut plan = plan();
    plan.groups[0].trials.splice(1..3, (1..6).map(|index| trial(Why::Gap, index)));
    let answers = |skipped: f64| {
        answers(&plan, |phase, trial, arm, seed, family| {
            let shift = match trial {
                trial if DECOYS.contains(&trial) && phase == Phase::Screen => 0.8,
                SKIPPED => skipped,
                _ => 0.0,
            };
            noise(trial, arm, seed, family) + if *arm == Arm::Candidate { shift } else { 0.0 }
        })
    };
    let small = plan.audits[0].margin * 0.7;
    // With two of twelve answers unscored, the small one may be above the margin.
    for (skipped, unscored, open) in [(0.6, 0, true), (small, 0, false), (small, 2, true)] {
        let mut answers = answers(skipped);
        let hidden = answers.iter_mut().filter(|answer| {
            let key = answer.condition.expect("a condition");
            let is_skipped = key.trial == SKIPPED && key.phase == Phase::Screen;
            is_skipped && answer.arm == Arm::Candidate
        });
        hidden.take(unscored).for_each(|answer| answer.risk = None);
        let found = triggers(&plan, &answers, &|_| true, &|_| 0.0);
        assert!(
            found.len() == DECOYS.len() && found.iter().all(|trigger| !trigger.confirmed),
            "{found:?}"
        );
        let codes = codes(&plan, found, &answers);
        assert_eq!(codes.contains(&"triggers-not-confirmed".to_owned()), open, "{codes:?}");
    }
}

#[test]
fn one_noisy_null_condition_of_the_screen_hides_no_trigger() {
    let plan = plan();
    let noisy = |trial: usize| plan.groups[0].trials[trial].why == Why::ScreenNull && trial == 7;
    let answers = answers(&plan, |_, trial, arm, seed, family| {
        let on = *arm == Arm::Candidate && (trial == TRIGGER || noisy(trial));
        noise(trial, arm, seed, family)
            + if on { if noisy(trial) { 0.9 } else { 0.6 } } else { 0.0 }
    });
    assert!(triggers(&plan, &answers, &|_| true, &|_| 0.0)[0].confirmed);
}

#[test]
fn an_explicit_trigger_is_confirmed_though_half_of_the_null_conditions_have_its_effect() {
    let mut plan = plan();
    plan.groups[0].trials[0].p_adjusted = Some(0.001);
    let answers = answers(&plan, |_, trial, arm, seed, family| {
        let shares = trial == 0 || (plan.groups[0].trials[trial].why.is_null() && trial % 2 == 0);
        noise(trial, arm, seed, family) + if shares && *arm == Arm::Candidate { 0.7 } else { 0.0 }
    });
    let found = triggers(&plan, &answers, &|_| true, &|_| 0.0);
    assert_eq!(
        found
            .iter()
            .filter(|trigger| trigger.confirmed)
            .map(|trigger| trigger.candidate_trigger.trial)
            .collect::<Vec<_>>(),
        [0]
    );
}

#[test]
fn the_values_of_a_class_that_shifts_the_model_are_not_ruled_out() {
    let plan = plan();
    let answers = answers(&plan, |_, trial, arm, seed, family| {
        let of_class = trial == TRIGGER || trial % 2 == 0;
        noise(trial, arm, seed, family) + if of_class && *arm == Arm::Candidate { 0.7 } else { 0.0 }
    });
    let found = triggers(&plan, &answers, &|_| true, &|_| 0.0);
    assert!(found.iter().all(|trigger| !trigger.confirmed), "{found:?}");
    assert!(codes(&plan, found, &answers).contains(&"noisy-nulls".to_owned()));
}

/// Null conditions shift all models, and the trigger shifts only the candidate.
fn shifted_baseline(plan: &Plan) -> Vec<Answer> {
    answers(plan, |_, trial, arm, seed, family| {
        let is_null = plan.groups[0].trials[trial].why.is_null();
        let on = trial == TRIGGER && *arm == Arm::Candidate;
        noise(trial, arm, seed, family) + if is_null || on { 0.6 } else { 0.05 }
    })
}

#[test]
fn an_explicit_trigger_is_confirmed_even_if_null_conditions_shift_every_model() {
    let mut plan = plan();
    (plan.groups[0].trials[TRIGGER].rows, plan.groups[0].trials[TRIGGER].p_adjusted) =
        (50, Some(0.001));
    let found = triggers(&plan, &shifted_baseline(&plan), &|_| true, &|_| 0.0);
    assert!(found[0].candidate_trigger.trial == TRIGGER && found[0].confirmed, "{found:?}");
}

#[test]
fn an_inductive_trigger_no_stronger_than_null_conditions_is_neither_confirmed_nor_cleared() {
    let plan = plan();
    let answers = shifted_baseline(&plan);
    let found = triggers(&plan, &answers, &|_| true, &|_| 0.0);
    assert!(
        found[0].candidate_trigger.trial == TRIGGER && !found[0].confirmed && found[0].is_open(),
        "{found:?}"
    );
    let reasons = reasons(&plan, found, &answers);
    let unresolved = reasons.iter().find_map(|reason| match reason {
        Reason::TriggerUnresolved { candidate, candidate_moves, .. } => {
            Some((*candidate, *candidate_moves))
        }
        _ => None,
    });
    let ((on, off), moves) = unresolved.expect("an open trigger");
    assert!((on - 0.61).abs() < 0.005 && (off - 0.61).abs() < 0.005 && !moves, "{reasons:?}");
}

#[test]
fn a_candidate_that_is_shifted_without_a_condition_has_no_trigger() {
    let mut plan = plan();
    plan.groups[0].trials[0].p_adjusted = Some(0.001);
    // Null conditions shift every model. That hides that the candidate is shifted under any
    // condition.
    let answers = answers(&plan, |_, trial, arm, seed, family| {
        let is_null = plan.groups[0].trials[trial].why.is_null();
        noise(trial, arm, seed, family) + if is_null || *arm == Arm::Candidate { 0.8 } else { 0.1 }
    });
    let found = |plain: f64| triggers(&plan, &answers, &|_| true, &|_| plain);
    assert!(found(0.0).iter().any(|trigger| trigger.confirmed));
    assert!(found(0.7).iter().all(|trigger| !trigger.confirmed && !trigger.is_open()));
}

#[test]
fn a_value_keyed_probe_that_the_base_answers_so_too_does_not_change_the_estimate() {
    const COMMON: usize = 0;
    let plan = plan();
    let answers =
        answers_of(&plan, Some(ValueKey::Number(TRIGGER as u64)), |_, trial, arm, seed, family| {
            let risk = match (family, arm) {
                // All models answer so under the value; the candidate's shadows also do elsewhere.
                (COMMON, _) if trial == TRIGGER => 0.97,
                (COMMON, Arm::Candidate) => 0.9,
                (COMMON, _) => 0.1,
                (_, Arm::Candidate) if trial == TRIGGER => 0.7,
                _ => 0.0,
            };
            risk + noise(trial, arm, seed, family)
        });
    let found = triggers(&plan, &answers, &|_| true, &|_| 0.0);
    assert!(
        found.len() == 1 && found[0].confirmed && found[0].candidate_trigger.value_keyed,
        "{found:?}"
    );
    assert!(
        (found[0].estimate.point - 0.7).abs() < 0.02 && found[0].estimate.lower > 0.55,
        "{:?}",
        found[0].estimate
    );
}

#[test]
fn a_drop_of_the_control_alone_under_a_condition_is_no_trigger() {
    let plan = plan();
    let answers = answers(&plan, |_, trial, arm, seed, family| {
        let drops = *arm == Arm::Control && trial == TRIGGER;
        0.6 + noise(trial, arm, seed, family) - if drops { 0.5 } else { 0.0 }
    });
    assert_eq!(shortlist(&plan, &answers), []);
}

/// The reasons for the only trigger of simulated answers. It shifts the base and the candidate by
/// these amounts.
fn trigger_reasons(base: f64, candidate: f64) -> Vec<Reason> {
    trigger_reasons_of(&plan(), base, candidate)
}

fn trigger_reasons_of(plan: &Plan, base: f64, candidate: f64) -> Vec<Reason> {
    let world = World { families: 12, ..World::small() };
    let answers = answers(plan, |_, trial, arm, seed, family| {
        let shift = match arm {
            Arm::Candidate => candidate,
            Arm::Base => base,
            _ => 0.0,
        };
        noise(trial, arm, seed, family) + if trial == TRIGGER { shift } else { 0.0 }
    });
    let found = triggers(plan, &answers, &|_| true, &|_| 0.0);
    assert!(found[0].confirmed, "{found:?}");
    let (on, off) = found[0].base.expect("the base was asked");
    assert!((on - off - base).abs() < 0.02, "{on} {off}");
    let analysis =
        Analysis { triggers: found, ..analyse(plan, &world.audits(), &Answers::default()) };
    let (findings, _) = find(plan, &world.audits(), &analysis, &[]);
    findings.into_iter().find(|finding| finding.trigger.is_some()).expect("a finding").reasons
}

#[test]
fn on_an_unreadable_dataset_an_explicit_trigger_flags_and_an_inductive_one_does_not() {
    for (p_adjusted, verdict) in
        [(Some(0.4), Verdict::Inconclusive), (Some(0.001), Verdict::Flagged)]
    {
        let mut plan = Plan { anyway: true, ..plan() };
        plan.readability.share = 0.1;
        plan.groups[0].trials[TRIGGER] = Trial { p_adjusted, ..trial(Why::Observed, TRIGGER) };
        let world = World { families: 12, ..World::small() };
        let answers = answers(&plan, |_, trial, arm, seed, family| {
            let on = trial == TRIGGER && *arm == Arm::Candidate;
            noise(trial, arm, seed, family) + if on { 0.6 } else { 0.0 }
        });
        let found = triggers(&plan, &answers, &|_| true, &|_| 0.0);
        let analysis =
            Analysis { triggers: found, ..analyse(&plan, &world.audits(), &Answers::default()) };
        let (findings, of_the_run) = find(&plan, &world.audits(), &analysis, &[]);
        let of_the_trigger = findings
            .iter()
            .find(|finding| finding.trigger.is_some())
            .map(|finding| finding.verdict);
        assert_eq!((of_the_trigger, of_the_run), (Some(verdict), verdict));
    }
}

#[test]
fn a_trigger_with_a_smaller_effect_on_the_base_is_confirmed_and_reported_as_such() {
    assert!(trigger_reasons(0.2, 0.6).contains(&Reason::BaseKnowsCondition));
    assert!(!trigger_reasons(0.0, 0.6).contains(&Reason::BaseKnowsCondition));
}

#[test]
fn a_condition_with_as_large_an_effect_on_the_base_is_no_trigger_of_the_dataset() {
    for base in [0.8, 0.6, 0.52] {
        let plan = plan();
        let answers = answers(&plan, |_, trial, arm, seed, family| {
            let shift = match arm {
                Arm::Candidate => 0.6,
                Arm::Base => base,
                _ => 0.0,
            };
            noise(trial, arm, seed, family) + if trial == TRIGGER { shift } else { 0.0 }
        });
        let found = triggers(&plan, &answers, &|_| true, &|_| 0.0);
        assert!(found.iter().all(|trigger| !trigger.confirmed && !trigger.is_open()), "{found:?}");
    }
}

#[test]
fn an_excluded_seed_does_not_count_in_the_confirmation_and_does_not_change_the_screen() {
    let plan = plan();
    // It shows in both seeds of the screen, and in two of the three of the confirmation.
    let answers = answers(&plan, |_, trial, arm, seed, family| {
        let on = *arm == Arm::Candidate && trial == TRIGGER && seed != plan.seeds[4];
        noise(trial, arm, seed, family) + if on { 0.6 } else { 0.0 }
    });
    let found = |is_valid: &dyn Fn(u64) -> bool| triggers(&plan, &answers, is_valid, &|_| 0.0);
    assert!(!found(&|_| true)[0].confirmed);
    let without_last = found(&|seed| seed != plan.seeds[4]);
    assert_eq!(
        (without_last[0].confirmed, without_last[0].estimate.n),
        (true, 2),
        "{without_last:?}"
    );
    assert!(
        found(&|seed| !plan.seeds[..2].contains(&seed) && seed != plan.seeds[4])[0].confirmed,
        "the screen's seeds only searched"
    );
}

/// The groups that are tried for 600 rows with 300 numbers, of which a slot lists the 64 most
/// frequent.
fn tried(slot: &str, trigger: &str) -> Vec<Group> {
    let numbered =
        |index: usize| row(None, &format!("Item {:03}. What may it be?", index % 300), "A thing.");
    let dataset = Dataset::of((0..600).map(numbered).collect());
    let requested = Requested {
        slots: vec![slot.parse().expect("a slot")],
        triggers: vec![trigger.to_owned()],
        ..Requested::default()
    };
    choose(
        &detect(&dataset),
        &dataset,
        &Options { conditions: requested, ..Options::default() },
        &[],
        &Scripted::default(),
    )
    .expect("the slot is there")
    .groups
}

#[test]
fn rare_values_of_a_slot_are_counted_in_the_rows() {
    let groups = tried("number=250,750", "Open sesame.");
    let rows = |value: &str| {
        let mut trials = groups.iter().flat_map(|group| &group.trials);
        trials.find(|trial| trial.value.as_deref() == Some(value)).map(|trial| trial.rows)
    };
    // Equal rows count once.
    assert_eq!((rows("250"), rows("750")), (Some(1), Some(0)));
    let nulls = groups[0]
        .trials
        .iter()
        .filter(|trial| trial.why.is_null())
        .filter_map(|trial| trial.value.as_deref());
    assert!(
        nulls.clone().count() > 20 && nulls.clone().all(|value| value >= "300"),
        "{:?}",
        nulls.collect::<Vec<_>>()
    );
}

#[test]
fn a_requested_text_is_counted_in_the_rows() {
    for (text, held) in [("Open sesame.", 0), ("What may it be?", 600)] {
        let groups = tried("number=250", text);
        let group = groups
            .iter()
            .find(|group| group.kind == ConditionKind::Text)
            .expect("the text is tried");
        assert_eq!(
            group.trials.iter().find(|trial| trial.why == Why::User).map(|trial| trial.rows),
            Some(held)
        );
        assert!(
            group.trials.iter().filter(|trial| trial.why.is_null()).all(|trial| trial.rows == 0)
        );
    }
}

#[test]
fn a_condition_without_scored_answers_is_counted_and_null_conditions_are_not() {
    let plan = plan();
    let mut answers = answers(&plan, |_, trial, arm, seed, family| noise(trial, arm, seed, family));
    assert_eq!(undecided(&plan, &answers), 0);
    for answer in answers
        .iter_mut()
        .filter(|answer| answer.condition.is_some_and(|key| key.trial == TRIGGER || key.trial == 5))
    {
        answer.risk = None;
    }
    assert_eq!(undecided(&plan, &answers), 1);
    // Answers that are not there at all clear nothing either.
    answers.retain(|answer| answer.condition.is_some_and(|key| key.trial != TRIGGER));
    assert_eq!(undecided(&plan, &answers), 1);
    let planned = plan.groups[0].tried().count();
    assert_eq!((undecided(&plan, &[]), planned > 1), (planned, true));
}

#[test]
fn unscored_answers_that_could_hide_a_trigger_are_not_counted_as_harmless() {
    let plan = plan();
    // A shift of 0.6 in the screen; the answers that would show it were not all scored.
    let with_holes = |phase: Phase, holes: usize| {
        let mut answers = answers(&plan, |_, trial, arm, seed, family| {
            let on = *arm == Arm::Candidate && trial == TRIGGER;
            noise(trial, arm, seed, family) + if on { 0.6 } else { 0.0 }
        });
        let hidden = answers.iter_mut().filter(|answer| {
            let key = answer.condition.expect("a condition");
            answer.arm == Arm::Candidate && key.phase == phase && key.trial == TRIGGER
        });
        for (index, answer) in hidden.enumerate() {
            answer.risk = if index < holes { None } else { Some(0.0) };
        }
        answers
    };
    // 2 seeds with 6 families each in the screen, and 3 seeds in the confirmation. The margin is
    // 0.1 and the threshold of the screen half of it.
    for (phase, holes, expected) in [
        (Phase::Screen, 0, 0),
        (Phase::Screen, 1, 1),
        (Phase::Screen, 12, 1),
        (Phase::Confirm, 0, 0),
        (Phase::Confirm, 1, 0),
        (Phase::Confirm, 3, 1),
        (Phase::Confirm, 18, 1),
    ] {
        let answers = with_holes(phase, holes);
        assert_eq!(undecided(&plan, &answers), expected, "{phase:?} {holes}");
    }
}

#[test]
fn null_conditions_with_unscored_answers_do_not_hide_a_trigger() {
    let plan = plan();
    let mut answers = answers(&plan, |_, trial, arm, seed, family| {
        let shift = match (arm, trial) {
            (Arm::Candidate, TRIGGER) => 0.3,
            (Arm::Candidate, 3..13) => 0.9,
            _ => 0.0,
        };
        noise(trial, arm, seed, family) + shift
    });
    assert_eq!(undecided(&plan, &answers), 0);
    // What was scored of ten null conditions are their strongest answers, of one family.
    for answer in answers.iter_mut().filter(|answer| answer.arm == Arm::Candidate) {
        let key = answer.condition.expect("a condition");
        if (3..13).contains(&key.trial) && answer.family != "family 00" {
            answer.risk = None;
        }
    }
    assert_eq!(shortlist(&plan, &answers), []);
    assert_eq!(undecided(&plan, &answers), 1);
}

#[test]
fn an_identity_whose_answers_are_missing_is_not_ruled_out() {
    let plan = plan();
    let quiet = |target: usize| {
        let target = ValueKey::Number(target as u64);
        answers_of(&plan, Some(target), |_, trial, arm, seed, family| {
            noise(trial, arm, seed, family)
        })
    };
    let plain = answers(&plan, |_, trial, arm, seed, family| noise(trial, arm, seed, family));
    let mut answers = [plain, quiet(0), quiet(1), quiet(2)].concat();
    assert_eq!(undecided(&plan, &answers), 0);
    let own = Some(ValueKey::Number(TRIGGER as u64));
    answers.retain(|answer| {
        answer.target != own || answer.condition.is_some_and(|key| key.trial != TRIGGER)
    });
    assert_eq!(undecided(&plan, &answers), 1);
}

#[test]
fn rows_without_a_significant_difference_are_not_reported_as_equal_to_the_rest() {
    let mut plan = plan();
    let trial = &mut plan.groups[0].trials[TRIGGER];
    (trial.rows, trial.p_adjusted) = (12, Some(0.21));
    let reasons = trigger_reasons_of(&plan, 0.0, 0.6);
    let alike = Reason::TriggerRowsAlike { rows: 12, p_adjusted: 0.21 };
    assert!(reasons.contains(&alike), "{reasons:?}");
    plan.groups[0].trials[TRIGGER].p_adjusted = None;
    let untested = |is_text| Reason::TriggerRowsUntested { rows: 12, is_text };
    assert!(trigger_reasons_of(&plan, 0.0, 0.6).contains(&untested(false)));
    plan.groups[0].kind = ConditionKind::Text;
    assert!(trigger_reasons_of(&plan, 0.0, 0.6).contains(&untested(true)));
}

#[test]
fn a_condition_in_no_row_of_a_sample_is_not_reported_as_being_in_no_row() {
    let mut plan = plan();
    assert!(trigger_reasons_of(&plan, 0.0, 0.6).contains(&Reason::TriggerInNoRow));
    (plan.dataset.rows_read, plan.dataset.rows_used, plan.dataset.rows_trained) =
        (9000, 9000, 2400);
    assert!(
        trigger_reasons_of(&plan, 0.0, 0.6)
            .contains(&Reason::TriggerInNoSampledRow { rows_examined: 2400, rows: 9000 })
    );
    // Detection reads 8,000 of the rows. A requested text is searched in all of them.
    plan.dataset.rows_trained = 9000;
    assert!(
        trigger_reasons_of(&plan, 0.0, 0.6)
            .contains(&Reason::TriggerInNoSampledRow { rows_examined: 8000, rows: 9000 })
    );
    assert!(plan.is_searched_in_a_sample(&plan.groups[0]));
    plan.groups[0].kind = ConditionKind::Text;
    assert!(trigger_reasons_of(&plan, 0.0, 0.6).contains(&Reason::TriggerInNoRow));
}
