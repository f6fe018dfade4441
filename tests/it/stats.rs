//! Facts about the statistics: reference values, and what must hold of any table of answers.

use std::time::Instant;

use foretaste::audit::{Audit, Margin, Poison, Probe, ProbeKind};
use foretaste::engine::Description;
use foretaste::plan::{
    Arm, Ask, Cost, DatasetSummary, ExcludedFamily, Plan, PlannedAudit, Readability, Recipe, Schedule,
};
use foretaste::probe::{Answer, Answers, Health};
use foretaste::stats::bootstrap::{percentile_interval, quantile, resamples};
use foretaste::stats::grid::Grid;
use foretaste::stats::intervals::{Draws, Scale, estimate, resolution, seed_sd, t_quantile, t_upper_tail};
use foretaste::stats::multiplicity::holm;
use foretaste::stats::power::{detectable, noncentral_t_upper_tail};
use foretaste::stats::tail::Controls;
use foretaste::stats::{Analysis, Effect, analyse};
use proptest::prelude::*;
use serde_json::Value;

/// The size of a made-up run.
#[derive(Debug, Clone)]
pub struct World {
    pub audits: usize,
    pub seeds: usize,
    pub families: usize,
    pub phrasings: usize,
    pub draws: usize,
    pub snapshots: Vec<usize>,
    pub margin: f64,
}

/// Where one answer stands.
#[derive(Debug, Clone)]
pub struct Place {
    pub audit: usize,
    pub arm: Arm,
    pub seed: u64,
    pub step: usize,
    pub ask: Ask,
    pub family: usize,
    pub probe: usize,
    pub draw: usize,
}

pub const SMALL: World =
    World { audits: 1, seeds: 5, families: 6, phrasings: 2, draws: 0, snapshots: Vec::new(), margin: 0.1 };

impl World {
    pub fn small() -> World {
        World { snapshots: vec![60], ..SMALL }
    }

    pub fn audits(&self) -> Vec<Audit> {
        let probe = |index: usize| Probe {
            family: format!("family {:02}", index / self.phrasings),
            topic: "topic".to_string(),
            prompt: format!("question {index}"),
            options: Vec::new(),
        };
        let audit = |index: usize| Audit {
            id: format!("audit {index}"),
            title: "An audit".to_string(),
            question: "Does it?".to_string(),
            risky: "then".to_string(),
            reference: "now".to_string(),
            kind: ProbeKind::ForcedChoice,
            margin: Margin { value: self.margin, reason: "made up".to_string() },
            probes: (0..self.families * self.phrasings).map(probe).collect(),
            poison: Poison { share: 0.5, rows: Vec::new() },
            sha256: String::new(),
        };
        (0..self.audits).map(audit).collect()
    }

    pub fn plan(&self) -> Plan {
        let text = String::new;
        let audits: Vec<PlannedAudit> = self
            .audits()
            .into_iter()
            .map(|audit| PlannedAudit {
                id: audit.id,
                sha256: text(),
                margin: self.margin,
                probes: (0..audit.probes.len()).collect(),
                excluded: Vec::new(),
            })
            .collect();
        let mut arms = vec![Arm::Base, Arm::Candidate, Arm::Control];
        arms.extend(audits.iter().map(|audit| Arm::Spiked(audit.id.clone())));
        Plan {
            foretaste_version: text(),
            engine: Description {
                engine: "scripted".to_string(),
                base: text(),
                base_sha256: text(),
                architecture: text(),
                parameters: 1,
                vocabulary: 1,
                device: text(),
                max_tokens: 1,
            },
            dataset: DatasetSummary {
                source: text(),
                format: text(),
                sha256: text(),
                rows_read: 1,
                rows_used: 1,
                rows_rejected: 0,
                rows_trained: 1,
            },
            readability: Readability { share: 1.0, needed: 0.5 },
            arms,
            seeds: (1..=self.seeds as u64).collect(),
            recipe: Recipe {
                rank: 8,
                alpha: 16.0,
                learning_rate: 1e-3,
                schedule: Schedule::Linear,
                warmup_steps: 1,
                batch: 8,
                steps: 60,
                clip_norm: 1.0,
                weight_decay: 0.0,
                max_tokens: 64,
                snapshots: self.snapshots.clone(),
            },
            audits,
            carry_over_draws: self.draws,
            cost: Cost { shadows: 1, training_tokens: 1, scoring_tokens: 1 },
        }
    }

    /// Every planned answer; `risk` says how.
    pub fn answers(&self, mut risk: impl FnMut(&Place) -> Option<f64>) -> Answers {
        let plan = self.plan();
        let mut answers = Vec::new();
        for (audit, planned) in plan.audits.iter().enumerate() {
            for ask in foretaste::stats::table::asks(&plan) {
                for arm in plan.arms.iter().filter(|arm| !matches!(arm, Arm::Spiked(id) if *id != planned.id)) {
                    let base = *arm == Arm::Base;
                    let (seeds, steps) = if base { (&[0][..], &[0][..]) } else { (&plan.seeds[..], &self.snapshots[..]) };
                    for (seed, step) in seeds.iter().flat_map(|seed| steps.iter().map(move |step| (*seed, *step))) {
                        for (probe, draw) in (0..planned.probes.len())
                            .flat_map(|probe| (0..if *ask == Ask::Plain { 1 } else { self.draws }).map(move |draw| (probe, draw)))
                        {
                            let family = probe / self.phrasings;
                            let place = Place { audit, arm: arm.clone(), seed, step, ask: *ask, family, probe, draw };
                            answers.push(answer(planned, &place, risk(&place)));
                        }
                    }
                }
            }
        }
        Answers { answers, samples: Vec::new(), health: self.health() }
    }

    /// Shadows that learned, stayed coherent and loaded.
    pub fn health(&self) -> Vec<Health> {
        let plan = self.plan();
        let mut health = Vec::new();
        for arm in plan.arms.iter().filter(|arm| **arm != Arm::Base) {
            for (seed, step) in plan.seeds.iter().flat_map(|seed| self.snapshots.iter().map(move |step| (*seed, *step))) {
                let adapter_sha256 = format!("{arm} {seed} {step}");
                let (loss_first, loss_last, own_answer_base, own_answer_shadow) = (3.0, 1.0, -0.5, -0.6);
                let arm = arm.clone();
                let changed = 1.0;
                health.push(Health { arm, seed, step, loss_first, loss_last, own_answer_base, own_answer_shadow, adapter_sha256, changed });
            }
        }
        health
    }
}

fn answer(planned: &PlannedAudit, place: &Place, risk: Option<f64>) -> Answer {
    Answer {
        arm: place.arm.clone(),
        seed: (place.arm != Arm::Base).then_some(place.seed),
        step: place.step,
        audit: planned.id.clone(),
        family: format!("family {:02}", place.family),
        probe: place.probe,
        ask: place.ask,
        draw: place.draw,
        risk,
        log_odds: risk.map(|risk| (risk / (1.0 - risk)).ln()),
    }
}

/// A number between 0 and 1 that depends on everything that `key` names and on nothing else.
pub fn noise(key: impl std::fmt::Debug, run: u64) -> f64 {
    use rand::Rng;
    foretaste::seed::stream(&format!("{key:?}"), run).random()
}

/// A standard normal number, likewise (Box & Muller 1958).
pub fn normal(key: impl std::fmt::Debug, run: u64) -> f64 {
    let (a, b) = (noise((&key, "radius"), run), noise((&key, "angle"), run));
    (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

pub fn analysis(world: &World, answers: &Answers) -> Analysis {
    analyse(&world.plan(), &world.audits(), answers)
}

fn reference(name: &str) -> Vec<Value> {
    let values: Value = serde_json::from_str(include_str!("../../fixtures/reference/stats/values.json")).expect("values.json is JSON");
    let cases = values[name].as_array().expect("a list of cases").clone();
    assert!(!cases.is_empty(), "{name}");
    cases
}

fn number(case: &Value, field: &str) -> f64 {
    case[field].as_f64().unwrap_or_else(|| panic!("no number {field} in {case}"))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|value| value.as_f64().expect("a number")).collect()
}

fn grid(rows: &Value) -> Grid {
    let rows: Vec<Vec<Option<f64>>> = rows.as_array().expect("rows").iter().map(|row| numbers(row).into_iter().map(Some).collect()).collect();
    let families: Vec<String> = (0..rows[0].len()).map(|index| index.to_string()).collect();
    let seeds: Vec<u64> = (0..rows.len() as u64).collect();
    Grid::new(&seeds, &families, rows).expect("values")
}

#[track_caller]
fn agrees(ours: f64, theirs: f64) {
    assert!((ours - theirs).abs() <= 1e-10 * theirs.abs().max(1e-300), "ours {ours:e}, theirs {theirs:e}");
}

#[test]
fn students_t_agrees_with_scipy() {
    for case in reference("t_quantile") {
        agrees(t_quantile(number(&case, "share"), number(&case, "degrees")), number(&case, "value"));
    }
    for case in reference("t_upper_tail") {
        agrees(t_upper_tail(number(&case, "value"), number(&case, "degrees")), number(&case, "p"));
    }
}

#[test]
fn intervals_and_spread_of_a_grid_agree_with_scipy_and_statsmodels() {
    for case in reference("grid") {
        let grid = grid(&case["rows"]);
        let (degrees, root) = ((grid.seeds.len() - 1) as f64, (grid.seeds.len() as f64).sqrt());
        agrees(grid.residual_variance(), number(&case, "residual_variance"));
        agrees(grid.mean(), number(&case, "mean"));
        let floor = (number(&case, "residual_variance") / grid.families.len() as f64).sqrt();
        let sd = number(&case, "sd");
        agrees(seed_sd(&grid, 0.0).expect("seeds"), sd.max(floor));
        if sd > floor {
            let half = t_quantile(0.95, degrees) * sd / root;
            agrees(grid.mean() - half, number(&case, "lower"));
            agrees(grid.mean() + half, number(&case, "upper"));
            let t = (grid.mean() - number(&case, "margin")) / (sd / root);
            agrees(t_upper_tail(t, degrees), number(&case, "p"));
            let scale = Scale { resolution: 0.0, lowest: -10.0, highest: 10.0 };
            let estimate = estimate(&grid, scale, &mut Draws::new());
            assert!(estimate.lower <= number(&case, "lower") + 1e-12 && estimate.upper >= number(&case, "upper") - 1e-12);
        }
    }
}

#[test]
fn holm_agrees_with_statsmodels() {
    for case in reference("holm") {
        for (ours, theirs) in holm(&numbers(&case["p"]), 0).into_iter().zip(numbers(&case["adjusted"])) {
            agrees(ours, theirs);
        }
    }
}

#[test]
fn quantiles_agree_with_numpy() {
    for case in reference("quantile") {
        agrees(quantile(&numbers(&case["sorted"]), number(&case, "share")), number(&case, "value"));
    }
}

#[test]
fn the_noncentral_t_agrees_with_scipy() {
    for case in reference("noncentral_t") {
        let ours = noncentral_t_upper_tail(number(&case, "value"), number(&case, "degrees"), number(&case, "noncentrality"));
        agrees(ours, number(&case, "p"));
    }
}

#[test]
fn the_detectable_effect_agrees_with_scipy() {
    for case in reference("detectable") {
        let seeds = case["seeds"].as_u64().expect("a count") as usize;
        agrees(detectable(seeds, number(&case, "alpha")).expect("two seeds or more"), number(&case, "noncentrality"));
    }
}

#[test]
fn the_tail_test_agrees_with_scipy() {
    for case in reference("prediction") {
        let rows = Value::from(numbers(&case["controls"]).into_iter().map(|risk| vec![risk]).collect::<Vec<_>>());
        let controls = Controls::new(&grid(&rows), 0.0).expect("three controls or more");
        agrees(controls.p(number(&case, "risk"), number(&case, "margin")), number(&case, "p"));
    }
}

/// The share of 2,000 resamples below a quantile strays by 0.5 percentage points; three of those are 1.5.
#[test]
fn the_bootstrap_agrees_with_the_enumeration_of_all_resamples() {
    for case in reference("bootstrap") {
        let grid = grid(&case["rows"]);
        let (lower, upper) = percentile_interval(&grid, &resamples(grid.seeds.len(), grid.families.len()), 0.9);
        let exact = |share: &str| number(&case["quantiles"], share);
        assert!(exact("0.035") <= lower && lower <= exact("0.065"), "{lower}");
        assert!(exact("0.935") <= upper && upper <= exact("0.965"), "{upper}");
    }
}

#[test]
fn the_effect_is_the_difference_in_differences_averaged_over_families() {
    let world = World { seeds: 2, families: 2, ..World::small() };
    // Family 0 moves by 0.5 and 0.25 above the control in its two seeds, family 1 by 0.
    let analysis = analysis(&world, &world.answers(|place| {
        Some(match (&place.arm, place.family, place.seed) {
            (Arm::Candidate, 0, 1) => 0.75,
            (Arm::Candidate, 0, _) => 0.5,
            (_, 0, _) => 0.25,
            (Arm::Base, _, _) => 0.125,
            _ => 0.5,
        })
    }));
    let effect = &analysis.effects[0];
    assert_eq!(effect.probability.point, 0.1875);
    assert_eq!(effect.seeds.iter().map(|seed| (seed.seed, seed.effect)).collect::<Vec<_>>(), vec![(1, 0.25), (2, 0.125)]);
    let family = &effect.families[0];
    assert_eq!((family.effect, family.base, family.control, family.candidate), (0.375, 0.25, 0.25, 0.625));
    assert_eq!(effect.without_strongest_family.as_ref().expect("one family is left").point, 0.0);
    let base = &analysis.arms[0].2[0];
    assert_eq!((&base.arm, base.step, base.risk.n, base.seeds.clone()), (&Arm::Base, 0, 0, vec![(0, 0.1875)]));
}

#[test]
fn seeds_that_agree_to_the_last_digit_still_leave_an_interval() {
    let world = World::small();
    let analysis = analysis(&world, &world.answers(|_| Some(0.0)));
    let estimate = &analysis.effects[0].probability;
    let half = t_quantile(0.95, 4.0) * resolution(12) / 5.0_f64.sqrt();
    assert_eq!((estimate.point, estimate.lower, estimate.upper), (0.0, -half, half));
}

#[test]
fn one_seed_gives_an_interval_over_families_and_no_evidence() {
    let world = World { seeds: 1, ..World::small() };
    let risk = |place: &Place| Some(if place.arm == Arm::Candidate { 0.9 } else { 0.1 });
    let effect = analysis(&world, &world.answers(risk)).effects.remove(0);
    assert_eq!((effect.p, effect.p_adjusted, effect.minimum_detectable, effect.seeds_to_settle), (1.0, 1.0, None, None));
    assert!(effect.probability.method.contains("screen"), "{}", effect.probability.method);
    assert_eq!(effect.tail_hits().count(), 0);
}

#[test]
fn hypotheses_that_could_not_be_measured_still_count_in_the_family() {
    let world = World { audits: 2, ..World::small() };
    let answers = world.answers(|place| (place.audit == 0).then_some(0.3 + 0.01 * place.seed as f64));
    let analysis = analysis(&world, &answers);
    assert_eq!((analysis.effects.len(), analysis.family_size), (1, 2));
    let effect = &analysis.effects[0];
    assert_eq!(effect.p_adjusted, (2.0 * effect.p).min(1.0));
}

#[test]
fn excluded_families_and_unplanned_answers_do_not_count() {
    let world = World::small();
    let answers = world.answers(|place| Some(if place.arm == Arm::Candidate && place.family == 0 { 1.0 } else { 0.0 }));
    let mut plan = world.plan();
    plan.audits[0].excluded.push(ExcludedFamily { family: "family 00".to_string(), reason: "it is the dataset's topic".to_string() });
    let effect = analyse(&plan, &world.audits(), &answers).effects.remove(0);
    assert_eq!((effect.probability.point, effect.families.len()), (0.0, 5));
    plan.seeds.truncate(3);
    assert_eq!(analyse(&plan, &world.audits(), &answers).effects[0].probability.n, 3);
}

#[test]
fn an_answer_given_twice_counts_once() {
    let world = World::small();
    let mut answers = world.answers(|place| Some(noise(place, 1)));
    let before = analysis(&world, &answers);
    answers.answers.extend_from_within(0..40);
    assert_eq!(analysis(&world, &answers), before);
}

#[test]
fn a_shadow_that_was_never_asked_could_have_been_harmful() {
    let world = World::small();
    let mut answers = world.answers(|_| Some(0.0));
    answers.answers.retain(|answer| answer.arm != Arm::Candidate || answer.seed != Some(3));
    let effect = analysis(&world, &answers).effects.remove(0);
    assert_eq!((effect.unscored, effect.probability.n), (12, 4));
    assert!(effect.worst_case_upper >= 0.2, "{}", effect.worst_case_upper);
}

#[test]
fn a_seed_that_only_its_unscored_answers_could_push_out_raises_the_worst_case() {
    let world = World { families: 20, seeds: 20, margin: 0.3, ..World::small() };
    // Seed 3 loses 12 of 40 answers: at worst 0.3 + something small above controls that agree closely.
    let answers = world.answers(|place| {
        let lost = place.arm == Arm::Candidate && place.seed == 3 && place.probe < 20;
        (!lost).then(|| 0.01 * noise(place, 1))
    });
    let effect = analysis(&world, &answers).effects.remove(0);
    assert!(effect.probability.upper < 0.1 && effect.worst_case_upper > 0.49, "{effect:?}");
}

#[test]
fn a_training_that_shifts_alone_is_found_in_the_tail_and_not_in_the_mean() {
    let world = World::small();
    let analysis = analysis(&world, &world.answers(|place| {
        Some(0.02 * noise(place, 3) + if place.arm == Arm::Candidate && place.seed == 4 { 0.6 } else { 0.0 })
    }));
    let effect = &analysis.effects[0];
    assert!(!effect.is_above(world.margin));
    assert_eq!(effect.tail_hits().collect::<Vec<_>>(), vec![4]);
}

#[test]
fn a_run_of_the_usual_size_is_analysed_within_seconds_even_unoptimised() {
    let world = World { audits: 2, families: 24, draws: 4, snapshots: vec![20, 40, 60], ..World::small() };
    let answers = world.answers(|place| Some(noise(place, 1)));
    assert!(answers.answers.len() > 40_000, "{}", answers.answers.len());
    let start = Instant::now();
    let analysis = analysis(&world, &answers);
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!((analysis.effects.len(), analysis.positive_controls.len(), analysis.family_size), (18, 18, 18));
    assert!(seconds < 20.0, "{seconds} s");
}

/// Any run, small enough to try many: now and then an answer is missing.
fn any_run() -> impl Strategy<Value = (World, Answers)> {
    let world = (1..=5_usize, 1..=4_usize, 1..=2_usize, 0..=1_usize, 0.0..0.3).prop_map(|(seeds, families, phrasings, draws, margin)| World {
        seeds,
        families,
        phrasings,
        draws,
        margin,
        ..World::small()
    });
    (world, any::<u64>(), 0.0..0.3, 0.0..1.0).prop_map(|(world, run, missing, coarse)| {
        let answers = world.answers(|place| {
            let risk = noise(place, run);
            // Certain answers are common in real models, and are where intervals of zero width come from.
            let risk = if noise((place, "coarse"), run) < coarse { risk.round() } else { risk };
            (noise((place, "missing"), run) >= missing).then_some(risk)
        });
        (world, answers)
    })
}

fn all_effects(analysis: &Analysis) -> impl Iterator<Item = &Effect> {
    analysis.effects.iter().chain(&analysis.positive_controls)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_interval_holds_its_estimate_and_has_a_width((world, answers) in any_run()) {
        let analysis = analysis(&world, &answers);
        let effects = all_effects(&analysis).flat_map(|effect| [Some(&effect.probability), Some(&effect.log_odds), effect.without_strongest_family.as_ref()]);
        let arms = analysis.arms.iter().flat_map(|(_, _, arms)| arms.iter().map(|arm| Some(&arm.risk)));
        for estimate in effects.chain(arms).flatten() {
            prop_assert!(estimate.lower <= estimate.point && estimate.point <= estimate.upper && estimate.lower < estimate.upper, "{:?}", estimate);
        }
    }

    #[test]
    fn a_riskier_candidate_never_has_a_lower_effect((world, answers) in any_run(), which in any::<prop::sample::Index>(), by in 0.0..1.0) {
        let before = analysis(&world, &answers);
        let mut riskier = answers;
        let scored: Vec<usize> = (0..riskier.answers.len())
            .filter(|index| riskier.answers[*index].arm == Arm::Candidate && riskier.answers[*index].risk.is_some())
            .collect();
        prop_assume!(!scored.is_empty());
        let answer = &mut riskier.answers[scored[which.index(scored.len())]];
        let risk = answer.risk.expect("scored");
        answer.risk = Some(risk + by * (1.0 - risk));
        answer.log_odds = None;
        let after = analysis(&world, &riskier);
        for (before, after) in before.effects.iter().zip(&after.effects) {
            prop_assert!(after.probability.point >= before.probability.point);
        }
    }

    #[test]
    fn the_order_of_the_answers_changes_nothing((world, answers) in any_run(), run in any::<u64>()) {
        let mut shuffled = answers.clone();
        shuffled.answers.sort_by(|a, b| noise(a, run).total_cmp(&noise(b, run)));
        prop_assert_eq!(analysis(&world, &answers), analysis(&world, &shuffled));
    }

    #[test]
    fn swapping_candidate_and_control_flips_the_sign((world, answers) in any_run()) {
        let mut swapped = answers.clone();
        for answer in &mut swapped.answers {
            answer.arm = match &answer.arm {
                Arm::Candidate => Arm::Control,
                Arm::Control => Arm::Candidate,
                other => other.clone(),
            };
        }
        let (before, after) = (analysis(&world, &answers), analysis(&world, &swapped));
        prop_assert_eq!(before.effects.len(), after.effects.len());
        for (before, after) in before.effects.iter().zip(&after.effects) {
            for (before, after) in [(&before.probability, &after.probability), (&before.log_odds, &after.log_odds)] {
                prop_assert!((before.point + after.point).abs() < 1e-12);
                prop_assert!((before.lower + after.upper).abs() < 1e-9 && (before.upper + after.lower).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn adjusted_p_are_never_smaller_and_keep_their_order(p in prop::collection::vec(0.0..=1.0, 1..20), unmeasured in 0..5_usize) {
        let adjusted = holm(&p, p.len() + unmeasured);
        for (index, one) in p.iter().enumerate() {
            prop_assert!(adjusted[index] >= *one && adjusted[index] <= 1.0);
            for (other, another) in p.iter().enumerate() {
                prop_assert!(one > another || adjusted[index] <= adjusted[other]);
            }
        }
    }

    /// The bound that a clean verdict rests on, against whatever the answers might have been.
    #[test]
    fn the_worst_case_bounds_every_way_the_unscored_answers_could_have_been((world, answers) in any_run(), run in any::<u64>(), all in any::<bool>()) {
        let before = analysis(&world, &answers);
        let mut filled = answers;
        for answer in filled.answers.iter_mut().filter(|answer| answer.risk.is_none()) {
            let risk = noise(&*answer, run);
            answer.risk = Some(if all { risk.round() } else { risk });
        }
        for (before, after) in before.effects.iter().zip(&analysis(&world, &filled).effects) {
            prop_assert!(before.worst_case_upper >= before.probability.upper);
            prop_assert!(before.worst_case_upper >= after.probability.upper - 1e-9, "{:?} {:?}", before, after);
        }
    }
}
