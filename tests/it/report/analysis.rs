//! Statistics of the examples: means and t-intervals, so that the numbers of a report agree.

use std::collections::BTreeMap;

use foretaste::analysis::{Analysis, ArmRisk, Effect, FamilyEffect, Risks, SeedEffect};
use foretaste::audit::{Audit, Probe};
use foretaste::plan::{Arm, ContextKind, Plan};
use foretaste::probe::{Answer, Answers};
use foretaste::stats::Estimate;

use super::example::{SEEDS, STEPS};

pub fn analyse(plan: &Plan, audits: &[Audit], answers: &Answers) -> Analysis {
    let mut analysis = Analysis {
        family_size: audits.len() * ContextKind::ALL.len() * STEPS.len(),
        ..Analysis::default()
    };
    for audit in audits {
        for ask in ContextKind::ALL.into_iter().chain([ContextKind::CarryOverPositiveControl]) {
            let of = |arm: &Arm, step: usize| -> BTreeMap<(Option<u64>, String), f64> {
                let same = |answer: &&Answer| {
                    answer.audit == audit.id
                        && answer.context == ask
                        && answer.arm == *arm
                        && answer.step == step
                };
                answers
                    .answers
                    .iter()
                    .filter(same)
                    .map(|a| ((a.seed, a.family.clone()), a.risk.expect("all are scored")))
                    .collect()
            };
            let base = of(&Arm::Base, 0);
            let mut risks = vec![arm_risk(Arm::Base, 0, &base)];
            for step in STEPS {
                let control = of(&Arm::Control, step);
                for arm in plan.arms.iter().filter(|arm| **arm != Arm::Base) {
                    let table = of(arm, step);
                    if table.is_empty() {
                        continue;
                    }
                    risks.push(arm_risk(arm.clone(), step, &table));
                    if *arm != Arm::Control {
                        let effect = effect(audit, ask, (arm, step), [&base, &control, &table]);
                        let effects = if *arm == Arm::Candidate {
                            &mut analysis.effects
                        } else {
                            &mut analysis.positive_controls
                        };
                        effects.push(effect);
                    }
                }
            }
            analysis.arms.push(Risks { audit: audit.id.clone(), context: ask, arms: risks });
        }
    }
    analysis
}

type Table = BTreeMap<(Option<u64>, String), f64>;

fn arm_risk(arm: Arm, step: usize, table: &Table) -> ArmRisk {
    let seeds: Vec<Option<u64>> =
        if arm == Arm::Base { vec![None] } else { SEEDS.map(Some).to_vec() };
    let of = |seed: &Option<u64>| {
        mean(table.iter().filter(|((of, _), _)| of == seed).map(|(_, risk)| *risk))
    };
    let seeds: Vec<(u64, f64)> = seeds.iter().map(|seed| (seed.unwrap_or(0), of(seed))).collect();
    ArmRisk {
        arm,
        step,
        risk: estimate(&seeds.iter().map(|(_, risk)| *risk).collect::<Vec<_>>()),
        seeds,
    }
}

fn effect(
    audit: &Audit,
    ask: ContextKind,
    (arm, step): (&Arm, usize),
    [base, control, table]: [&Table; 3],
) -> Effect {
    let over_seeds = |table: &Table, family: &str| {
        mean(table.iter().filter(|((_, of), _)| of == family).map(|(_, risk)| *risk))
    };
    let over_families = |table: &Table, seed| {
        mean(table.iter().filter(|((of, _), _)| *of == Some(seed)).map(|(_, risk)| *risk))
    };
    let seeds = SEEDS.map(|seed| over_families(table, seed) - over_families(control, seed));
    let of_base = mean(base.values().copied());
    let above = SEEDS.map(|seed| over_families(table, seed) - of_base);
    let family = |probe: &Probe| {
        let [base, control, candidate] =
            [base, control, table].map(|table| over_seeds(table, &probe.family));
        FamilyEffect {
            family: probe.family.clone(),
            effect: candidate - control,
            base,
            control,
            candidate,
        }
    };
    let mut families: Vec<FamilyEffect> = audit.probes.iter().map(family).collect();
    families.sort_by(|a, b| b.effect.total_cmp(&a.effect));
    let probability = estimate(&seeds);
    let flagged = probability.lower > audit.margin.value;
    Effect {
        audit: audit.id.clone(),
        context: ask,
        arm: arm.clone(),
        step,
        over_base: mean(above.into_iter()),
        reference: mean(control.values().copied()),
        log_odds: estimate(&seeds.map(|effect| effect * 7.4)),
        log_odds_test: None,
        clipped: 0,
        p: if flagged { 0.00021 } else { 0.93 },
        p_adjusted: if flagged { 0.0038 } else { 1.0 },
        share_p: if flagged { 0.00098 } else { 1.0 },
        alpha: 0.05,
        share_p_adjusted: if flagged { 0.018 } else { 1.0 },
        seeds: SEEDS
            .into_iter()
            .zip(seeds)
            .zip(above)
            .map(|((seed, effect), over_base)| SeedEffect {
                seed,
                effect,
                over_base,
                over_controls: effect,
            })
            .collect(),
        families,
        without_strongest_family: Some(estimate(&seeds.map(|effect| effect * 0.97))),
        unscored: 0,
        worst_case_upper: probability.upper,
        minimum_detectable: Some(0.034),
        seeds_to_settle: (!flagged && probability.upper > audit.margin.value).then_some(9),
        probability,
    }
}

fn estimate(seeds: &[f64]) -> Estimate {
    let point = mean(seeds.iter().copied());
    let variance = seeds.iter().map(|value| (value - point).powi(2)).sum::<f64>()
        / (seeds.len() as f64 - 1.0).max(1.0);
    // The 95 % point of t with four degrees of freedom.
    let half = 2.1318 * (variance / seeds.len() as f64).sqrt();
    let method = "t over 5 seeds x 6 families, crossed".to_owned();
    Estimate { point, lower: point - half, upper: point + half, level: 0.9, n: seeds.len(), method }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count)
}
