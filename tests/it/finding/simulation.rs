//! Rates at which simulated runs are flagged and cleared, compared with the nominal rates.

use foretaste::analysis::{Effect, analyse};
use foretaste::plan::Arm;
use foretaste::probe::Answers;
use foretaste::verdict::{Verdict, find};

use crate::stats::world::{Place, World, normal};

/// A simulated run with noise from seeds, families and answers, and with a candidate `effect`.
fn noisy(world: &World, run: u64, effect: f64) -> Answers {
    world.answers(|place| {
        let Place { arm, seed, ask, family, probe, .. } = place;
        let mut risk = 0.3
            + 0.05 * normal((family, "family"), run)
            + 0.02 * normal((arm, seed, ask, probe), run);
        if *arm != Arm::Base {
            risk += 0.06 * normal((arm, seed, "seed"), run);
        }
        risk += match arm {
            Arm::Candidate => effect * (1.0 + 0.2 * normal((seed, "strength"), run)),
            Arm::PositiveControl(_) => 0.5,
            _ => 0.0,
        };
        Some(risk.clamp(0.0, 1.0))
    })
}

struct Counts {
    mean: u32,
    share: u32,
    flagged: u32,
    clean: u32,
}

fn simulate(world: &World, effect: f64, runs: u64) -> Counts {
    let mut counts = Counts { mean: 0, share: 0, flagged: 0, clean: 0 };
    for run in 0..runs {
        let answers = noisy(world, run, effect);
        let analysis = analyse(&world.plan(), &world.audits(), &answers);
        counts.mean +=
            u32::from(analysis.effects.iter().any(|effect| effect.is_above(world.margin)));
        counts.share += u32::from(analysis.effects.iter().any(Effect::is_shared));
        let verdict = find(&world.plan(), &world.audits(), &analysis, &answers.health).1;
        counts.flagged += u32::from(verdict == Verdict::Flagged);
        counts.clean += u32::from(verdict == Verdict::Clean);
    }
    counts
}

/// At a true rate of 5 %, more than 20 of 200 occur with probability 0.0012 (binomial).
const AT_MOST: u32 = 20;

#[test]
fn without_an_effect_at_most_one_run_in_twenty_is_flagged() {
    let world = World { margin: 0.05, ..World::small() };
    let counts = simulate(&world, 0.0, 200);
    assert!(counts.flagged <= AT_MOST, "{} of 200", counts.flagged);
}

#[test]
fn an_effect_at_the_margin_exceeds_neither_criterion_in_more_than_one_run_of_twenty() {
    let world = World { margin: 0.05, ..World::small() };
    let counts = simulate(&world, world.margin, 200);
    assert!(
        counts.mean <= AT_MOST && counts.share <= AT_MOST,
        "{} and {} of 200",
        counts.mean,
        counts.share
    );
    assert!(counts.clean <= AT_MOST, "{} of 200", counts.clean);
}

#[test]
fn an_effect_of_one_half_is_flagged_in_nearly_every_run() {
    let world = World { margin: 0.05, ..World::small() };
    let counts = simulate(&world, 0.5, 100);
    assert!(counts.flagged >= 98, "{} of 100", counts.flagged);
}

/// Harmless trainings in 24 comparisons. The candidates scatter by as much as the margin, twenty
/// times as much as their controls.
#[test]
fn candidates_with_a_larger_variance_than_controls_are_not_flagged() {
    let world = World { audits: 8, draws: 2, ..World::small() };
    let harmless = |run: u64| {
        world.answers(|place| {
            let scatter = match place.arm {
                Arm::Candidate => 0.1 * normal((place.audit, place.seed, place.ask), run),
                Arm::Control => 0.005 * normal((place.audit, place.seed, place.ask), run),
                Arm::PositiveControl(_) => 0.5,
                _ => 0.0,
            };
            Some(
                (0.4 + scatter
                    + 0.02 * normal((&place.arm, place.seed, place.ask, place.probe), run))
                .clamp(0.0, 1.0),
            )
        })
    };
    let verdicts = |run| {
        let answers = harmless(run);
        let analysis = analyse(&world.plan(), &world.audits(), &answers);
        assert_eq!(analysis.family_size, 24);
        find(&world.plan(), &world.audits(), &analysis, &answers.health).1
    };
    let flagged = (0..15).filter(|run| verdicts(*run) == Verdict::Flagged).count();
    // At a true rate of 5 %, more than 3 of 15 occur with probability 0.0055 (binomial).
    assert!(flagged <= 3, "{flagged} of 15");
}

/// Prints the table in docs/statistics.md.
#[test]
#[ignore = "two minutes of made-up runs; --nocapture shows the table"]
fn the_table_of_rates() {
    println!(
        "| true effect | comparisons | mean above | share | flagged | clean \
         |\n|---|---|---|---|---|---|"
    );
    for (draws, effects) in [(0, &[0, 5, 10, 20, 30, 50][..]), (2, &[0, 5, 10, 20, 50])] {
        for effect in effects {
            let world = World { margin: 0.05, draws, ..World::small() };
            let counts = simulate(&world, f64::from(*effect) / 100.0, 400);
            let rate = |count: u32| format!("{:.1} %", f64::from(count) / 4.0);
            let Counts { mean, share, flagged, clean } = counts;
            let [mean, share, flagged, clean] = [mean, share, flagged, clean].map(rate);
            println!(
                "| {effect} | {} | {mean} | {share} | {flagged} | {clean} |",
                world.plan().contexts().len()
            );
        }
    }
}
