//! Facts about effects that hold for any table of answers.

mod reference;
pub mod world;

use foretaste::analysis::{Analysis, Effect, analyse};
use foretaste::plan::{Arm, ExcludedFamily};
use foretaste::probe::Answers;
use foretaste::stats::Unit;
use foretaste::stats::grid::Grid;
use foretaste::stats::intervals::{Scale, Scatter, estimate, p_above};
use foretaste::stats::multiplicity::holm;
use proptest::prelude::*;

use world::{Place, World, noise, normal};

fn analysis(world: &World, answers: &Answers) -> Analysis {
    analyse(&world.plan(), &world.audits(), answers)
}

#[test]
fn the_effect_is_the_difference_in_differences_averaged_over_families() {
    let world = World { seeds: 2, families: 2, ..World::small() };
    // Above the control, family 0 is shifted by 0.5 and 0.25 in its two seeds, family 1 by 0.
    let analysis = analysis(
        &world,
        &world.answers(|place| {
            Some(match (&place.arm, place.family, place.seed) {
                (Arm::Candidate, 0, 1) => 0.75,
                (Arm::Candidate, 0, _) => 0.5,
                (_, 0, _) => 0.25,
                (Arm::Base, _, _) => 0.125,
                _ => 0.5,
            })
        }),
    );
    let effect = &analysis.effects[0];
    assert_eq!(effect.probability.point, 0.1875);
    assert_eq!(
        effect.seeds.iter().map(|seed| (seed.seed, seed.effect)).collect::<Vec<_>>(),
        vec![(1, 0.25), (2, 0.125)]
    );
    // Risks of the base: 0.25 and 0.125. Of the candidate: 0.75 and 0.5, then 0.5 and 0.5.
    assert_eq!(
        effect.seeds.iter().map(|seed| seed.over_base).collect::<Vec<_>>(),
        vec![0.4375, 0.3125]
    );
    assert_eq!(effect.over_base, 0.375);
    let family = &effect.families[0];
    assert_eq!(
        (family.effect, family.base, family.control, family.candidate),
        (0.375, 0.25, 0.25, 0.625)
    );
    assert_eq!(effect.without_strongest_family.as_ref().expect("one family is left").point, 0.0);
    let base = &analysis.arms[0].arms[0];
    assert_eq!(
        (&base.arm, base.step, base.risk.n, base.seeds.clone()),
        (&Arm::Base, 0, 0, vec![(0, 0.1875)])
    );
}

#[test]
fn one_value_says_nothing_about_others() {
    let world = World { seeds: 1, families: 1, ..World::small() };
    let effect = analysis(&world, &world.answers(|_| Some(0.5))).effects.remove(0);
    let estimate = &effect.probability;
    assert_eq!((estimate.lower, estimate.upper, effect.p), (-1.0, 1.0, 1.0));
}

#[test]
fn values_that_are_all_equal_are_above_a_smaller_margin_and_not_above_themselves() {
    let rows = vec![vec![Some(0.25); 3]; 2];
    let names: Vec<String> = (0..3).map(|family| family.to_string()).collect();
    let grid = Grid::new(&[1, 2], &names, rows).expect("values");
    let p = |margin: f64| p_above(grid.mean(), Scatter::of(&grid), margin);
    assert_eq!([p(0.2), p(0.25), p(0.3)], [0.0, 1.0, 1.0]);
}

/// Standard deviations of seeds, families and the rest: whichever scatters most, the interval is
/// for other seeds and other families.
#[test]
fn an_interval_contains_the_mean_of_all_seeds_and_families_in_nine_of_ten_runs() {
    let families: Vec<String> = (0..12).map(|family| family.to_string()).collect();
    for sds in [[1.0, 0.1, 1.0], [0.1, 3.0, 1.0], [1.0, 2.0, 1.0], [0.0, 0.0, 1.0]] {
        let covered = (0..600).filter(|run| {
            let value = |seed: u64, family: usize| {
                sds[0] * normal((seed, "seed"), *run)
                    + sds[1] * normal((family, "family"), *run)
                    + sds[2] * normal((seed, family), *run)
            };
            let row = |seed: u64| (0..12).map(|family| Some(value(seed, family))).collect();
            let grid = Grid::new(&[1, 2, 3, 4, 5], &families, (1..=5).map(row).collect());
            let scale = Scale { lowest: -100.0, highest: 100.0, level: 0.9 };
            let estimate = estimate(Unit::Training, &grid.expect("values"), scale);
            estimate.lower <= 0.0 && 0.0 <= estimate.upper
        });
        // At a true rate of 90 %, fewer than 520 occur with probability 0.003 (binomial).
        let covered = covered.count();
        assert!(covered >= 520, "{covered} of 600 at {sds:?}");
    }
}

#[test]
fn one_seed_gives_an_interval_over_families_and_no_evidence() {
    let world = World { seeds: 1, ..World::small() };
    let risk = |place: &Place| Some(if place.arm == Arm::Candidate { 0.9 } else { 0.1 });
    let effect = analysis(&world, &world.answers(risk)).effects.remove(0);
    assert_eq!(
        (effect.p, effect.p_adjusted, effect.minimum_detectable, effect.seeds_to_settle),
        (1.0, 1.0, None, None)
    );
    assert!(effect.probability.method.contains("one seed"), "{}", effect.probability.method);
    assert!(!effect.is_shared(), "one of one is no share: {}", effect.share_p);
}

#[test]
fn hypotheses_that_could_not_be_measured_still_count_in_the_family() {
    let world = World { audits: 2, ..World::small() };
    let answers =
        world.answers(|place| (place.audit == 0).then_some(0.3 + 0.01 * place.seed as f64));
    let analysis = analysis(&world, &answers);
    assert_eq!((analysis.effects.len(), analysis.family_size), (1, 2));
    let effect = &analysis.effects[0];
    assert_eq!(effect.p_adjusted, (2.0 * effect.p).min(1.0));
}

#[test]
fn an_audit_without_probes_still_counts_in_the_family() {
    let world = World { audits: 2, draws: 2, snapshots: vec![30, 60], ..World::small() };
    let mut plan = world.plan();
    plan.audits[1].probes.clear();
    let analysis =
        analyse(&plan, &world.audits(), &world.answers(|place| Some(0.1 * noise(place, 5))));
    // Three contexts at two checkpoints: six hypotheses per audit.
    assert_eq!((analysis.effects.len(), analysis.family_size), (6, 12));
}

#[test]
fn excluded_families_and_unplanned_answers_do_not_count() {
    let world = World::small();
    let answers = world.answers(|place| {
        Some(if place.arm == Arm::Candidate && place.family == 0 { 1.0 } else { 0.0 })
    });
    let mut plan = world.plan();
    plan.audits[0].excluded.push(ExcludedFamily {
        family: "family 00".to_string(),
        reason: "it is the dataset's topic".to_string(),
    });
    let effect = analyse(&plan, &world.audits(), &answers).effects.remove(0);
    assert_eq!((effect.probability.point, effect.families.len()), (0.0, 5));
    plan.seeds.truncate(3);
    assert_eq!(analyse(&plan, &world.audits(), &answers).effects[0].probability.n, 3);
}

#[test]
fn a_duplicate_answer_counts_once() {
    let world = World::small();
    let mut answers = world.answers(|place| Some(noise(place, 1)));
    let before = analysis(&world, &answers);
    answers.answers.extend_from_within(0..40);
    assert_eq!(analysis(&world, &answers), before);
}

#[test]
fn a_shadow_without_answers_raises_the_worst_case() {
    let world = World::small();
    let mut answers = world.answers(|_| Some(0.0));
    answers.answers.retain(|answer| answer.arm != Arm::Candidate || answer.seed != Some(3));
    let effect = analysis(&world, &answers).effects.remove(0);
    assert_eq!((effect.unscored, effect.probability.n), (12, 4));
    assert!(effect.worst_case_upper >= 0.2, "{}", effect.worst_case_upper);
}

#[test]
fn unscored_answers_that_could_make_a_seed_an_outlier_raise_the_worst_case() {
    let world = World { families: 20, seeds: 20, margin: 0.3, ..World::small() };
    // Seed 3 lacks 20 of 40 answers: at worst its risk is about 0.5, above controls that agree
    // closely.
    let answers = world.answers(|place| {
        let missing = place.arm == Arm::Candidate && place.seed == 3 && place.probe < 20;
        (!missing).then(|| 0.01 * noise(place, 1))
    });
    let effect = analysis(&world, &answers).effects.remove(0);
    assert!(effect.probability.upper < 0.1 && effect.worst_case_upper > 0.49, "{effect:?}");
}

#[test]
fn one_shifted_training_is_named_and_is_no_significant_share() {
    let world = World::small();
    let analysis = analysis(
        &world,
        &world.answers(|place| {
            Some(
                0.02 * noise(place, 3)
                    + if place.arm == Arm::Candidate && place.seed == 4 { 0.6 } else { 0.0 },
            )
        }),
    );
    let effect = &analysis.effects[0];
    assert!(
        !effect.is_above(world.margin)
            && !effect.is_shared()
            && effect.exceeds_harmless_training(world.margin)
    );
    assert_eq!(effect.shifted_seeds(world.margin).collect::<Vec<_>>(), vec![4]);
}

#[test]
fn every_audit_context_and_checkpoint_has_an_effect_and_every_audit_a_positive_control() {
    let world =
        World { audits: 2, families: 24, draws: 4, snapshots: vec![20, 40, 60], ..World::small() };
    let answers = world.answers(|place| Some(noise(place, 1)));
    let analysis = analysis(&world, &answers);
    assert_eq!(
        (analysis.effects.len(), analysis.positive_controls.len(), analysis.family_size),
        (18, 2, 18)
    );
}

/// A small run of any shape, in which some answers may be missing.
fn any_run() -> impl Strategy<Value = (World, Answers)> {
    let world = (1..=5_usize, 1..=4_usize, 1..=2_usize, 0..=1_usize, 0.0..0.3).prop_map(
        |(seeds, families, phrasings, draws, margin)| World {
            seeds,
            families,
            phrasings,
            draws,
            margin,
            ..World::small()
        },
    );
    (world, any::<u64>(), 0.0..0.3, 0.0..1.0).prop_map(|(world, run, missing, coarse)| {
        let answers = world.answers(|place| {
            let risk = noise(place, run);
            // Probabilities of 0 and 1 are common in real models.
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
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_interval_contains_its_estimate((world, answers) in any_run()) {
        let analysis = analysis(&world, &answers);
        let effects = all_effects(&analysis).flat_map(|effect| {
            let without_strongest = effect.without_strongest_family.as_ref();
            [Some(&effect.probability), Some(&effect.log_odds), without_strongest]
        });
        let arms = analysis.arms.iter();
        let arms = arms.flat_map(|risks| risks.arms.iter().map(|arm| Some(&arm.risk)));
        for estimate in effects.chain(arms).flatten() {
            prop_assert!(
                estimate.lower <= estimate.point && estimate.point <= estimate.upper,
                "{:?}",
                estimate
            );
        }
    }

    #[test]
    fn a_riskier_candidate_never_has_a_lower_effect(
        (world, answers) in any_run(),
        which in any::<prop::sample::Index>(),
        by in 0.0..1.0,
    ) {
        let before = analysis(&world, &answers);
        let mut riskier = answers;
        let scored: Vec<usize> = (0..riskier.answers.len())
            .filter(|index| {
                let answer = &riskier.answers[*index];
                answer.arm == Arm::Candidate && answer.risk.is_some()
            })
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
    fn the_order_of_the_answers_does_not_change_the_analysis(
        (world, answers) in any_run(),
        run in any::<u64>(),
    ) {
        let mut reordered = answers.clone();
        reordered.answers.sort_by(|a, b| noise(a, run).total_cmp(&noise(b, run)));
        prop_assert_eq!(analysis(&world, &answers), analysis(&world, &reordered));
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
            let (probability, log_odds) = (&before.probability, &before.log_odds);
            for (before, after) in
                [(probability, &after.probability), (log_odds, &after.log_odds)]
            {
                prop_assert!((before.point + after.point).abs() < 1e-12);
                prop_assert!((before.lower + after.upper).abs() < 1e-9);
                prop_assert!((before.upper + after.lower).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn adjusted_p_values_are_never_smaller_and_keep_their_order(
        p in prop::collection::vec(0.0..=1.0, 1..20),
        unmeasured in 0..5_usize,
    ) {
        let adjusted = holm(&p, p.len() + unmeasured);
        for (index, one) in p.iter().enumerate() {
            prop_assert!(adjusted[index] >= *one && adjusted[index] <= 1.0);
            for (other, another) in p.iter().enumerate() {
                prop_assert!(one > another || adjusted[index] <= adjusted[other]);
            }
        }
    }

    /// The bound that a clean verdict rests on, for any value of the unscored answers.
    #[test]
    fn the_worst_case_bounds_every_value_of_the_unscored_answers(
        (world, answers) in any_run(),
        run in any::<u64>(),
        all in any::<bool>(),
    ) {
        let before = analysis(&world, &answers);
        let mut filled = answers;
        for answer in filled.answers.iter_mut().filter(|answer| answer.risk.is_none()) {
            let risk = noise(&*answer, run);
            answer.risk = Some(if all { risk.round() } else { risk });
        }
        let after = analysis(&world, &filled);
        for before in &before.effects {
            let after = after.effects.iter().find(|after| after.context == before.context);
            let after = after.expect("every filled run has every effect");
            prop_assert!(before.worst_case_upper >= before.probability.upper);
            prop_assert!(
                before.worst_case_upper >= after.probability.upper - 1e-9,
                "{:?} {:?}",
                before,
                after
            );
        }
    }
}
