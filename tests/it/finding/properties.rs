//! Properties of the verdict of any run.

use foretaste::analysis::analyse;
use foretaste::plan::Arm;
use foretaste::probe::Answers;
use foretaste::verdict::Verdict;
use proptest::prelude::*;

use super::verdict_of;
use crate::stats::world::{World, noise};

/// Runs of every size, with shifts from none to strong in either arm.
fn any_run() -> impl Strategy<Value = (World, u64, f64, f64)> {
    let world = (1..=6_usize, 1..=7_usize, 0.02..0.4).prop_map(|(seeds, families, margin)| World {
        seeds,
        families,
        margin,
        ..World::small()
    });
    (world, any::<u64>(), 0.0..0.6, 0.0..0.6)
}

fn run(world: &World, run: u64, candidate: f64, poison_shift: f64) -> Answers {
    world.answers(|place| {
        let shift = match place.arm {
            Arm::Candidate => candidate,
            Arm::PositiveControl(_) => poison_shift,
            _ => 0.0,
        };
        Some(0.4 * noise((place, "noise"), run).powi(3) + shift)
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_run_is_never_clean_if_the_poison_was_not_detected(
        (world, seed, candidate, poison_shift) in any_run(),
    ) {
        let answers = run(&world, seed, candidate / 4.0, poison_shift);
        let (findings, _) = verdict_of(&world, &world.plan(), &answers);
        let controls = analyse(&world.plan(), &world.audits(), &answers).positive_controls;
        let detected = controls.iter().any(|effect| effect.is_above(world.margin));
        prop_assert_eq!(findings[0].positive_control, Some(detected));
        prop_assert!(detected || findings[0].verdict != Verdict::Clean);
    }

    /// A run with missing answers is clean only if it is clean for any value of those answers.
    #[test]
    fn an_unscored_answer_never_makes_a_run_clean(
        (world, seed, candidate, poison_shift) in any_run(),
        missing in 0.0..0.1,
        filling in 0.0..=1.0,
    ) {
        let whole = run(&world, seed, candidate / 10.0, 0.4 + poison_shift);
        let (mut holes, mut filled) = (whole.clone(), whole);
        for (hole, filled) in holes.answers.iter_mut().zip(&mut filled.answers) {
            if hole.arm == Arm::Candidate && noise((&*hole, "missing"), seed) < missing {
                hole.risk = None;
                filled.risk = Some(filling);
                filled.log_odds = None;
            }
        }
        let verdict = |answers: &Answers| verdict_of(&world, &world.plan(), answers).1;
        let (with_holes, with_answers) = (verdict(&holes), verdict(&filled));
        prop_assert!(
            with_holes != Verdict::Clean || with_answers == Verdict::Clean,
            "{:?}",
            with_answers
        );
    }
}
