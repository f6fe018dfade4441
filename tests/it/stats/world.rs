//! Simulated runs of any size, for the statistics and the verdicts.

use foretaste::audit::{Audit, Margin, Poison, Probe, ProbeKind};
use foretaste::engine::{Description, Recipe, Schedule};
use foretaste::plan::{
    Arm, ContextKind, Cost, DatasetSummary, Plan, PlannedAudit, Protocol, Readability,
};
use foretaste::probe::{Answer, Answers, Health};

/// The size of a simulated run.
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

/// The cell of one answer. Its `Debug` text is a key of [`noise`], so new names change the data.
#[derive(Debug, Clone)]
pub struct Place {
    pub audit: usize,
    pub arm: Arm,
    pub seed: u64,
    pub step: usize,
    pub ask: ContextKind,
    pub family: usize,
    pub probe: usize,
    pub draw: usize,
}

impl World {
    pub fn small() -> World {
        World {
            audits: 1,
            seeds: 5,
            families: 6,
            phrasings: 2,
            draws: 0,
            snapshots: vec![60],
            margin: 0.1,
        }
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
            value_keyed: Vec::new(),
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
                steps: self.snapshots.clone(),
                excluded: Vec::new(),
                calibrated: None,
                log_odds_margin: None,
            })
            .collect();
        let mut arms = vec![Arm::Base, Arm::Candidate, Arm::Control];
        arms.extend(audits.iter().map(|audit| Arm::PositiveControl(audit.id.clone())));
        Plan {
            protocol: Protocol::default(),
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
                chat_template: None,
            },
            dataset: DatasetSummary {
                source: text(),
                format: text(),
                sha256: text(),
                rows_read: 1,
                rows_used: 1,
                rows_rejected: 0,
                rows_trained: 1,
                rows_cut: 0,
                unread_fields: Default::default(),
            },
            readability: Readability { share: 1.0, needed: 0.5 },
            arms,
            seeds: (1..=self.seeds as u64).collect(),
            looks: Vec::new(),
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
            not_asked: Vec::new(),
            form: None,
            adapter: None,
            anyway: false,
            carry_over_draws: self.draws,
            few_questions: false,
            control_examples: false,
            groups: Vec::new(),
            skipped: Vec::new(),
            cost: Cost {
                shadows: 1,
                training_tokens: 1,
                scoring_tokens: 1,
                screen: None,
                confirmation: None,
            },
        }
    }

    /// Every planned answer, with its risk from `risk`.
    pub fn answers(&self, mut risk: impl FnMut(&Place) -> Option<f64>) -> Answers {
        let plan = self.plan();
        let mut answers = Vec::new();
        for (audit, planned) in plan.audits.iter().enumerate() {
            for ask in foretaste::analysis::table::contexts(&plan) {
                for arm in plan
                    .arms
                    .iter()
                    .filter(|arm| !matches!(arm, Arm::PositiveControl(id) if *id != planned.id))
                {
                    let base = *arm == Arm::Base;
                    let (seeds, steps) = if base {
                        (&[0][..], &[0][..])
                    } else {
                        (&plan.seeds[..], &self.snapshots[..])
                    };
                    for (seed, step) in
                        seeds.iter().flat_map(|seed| steps.iter().map(move |step| (*seed, *step)))
                    {
                        let draws = plan.draws(ask);
                        let names: Vec<String> = planned
                            .probes
                            .iter()
                            .map(|probe| format!("{:04}", probe / self.phrasings))
                            .collect();
                        let probes: Vec<(usize, &str)> = planned
                            .probes
                            .iter()
                            .copied()
                            .zip(names.iter().map(String::as_str))
                            .collect();
                        let asked = (0..draws).flat_map(|draw| {
                            ask.probes(draw, &probes).into_iter().map(move |probe| (probe, draw))
                        });
                        for (probe, draw) in asked {
                            let family = probe / self.phrasings;
                            let place = Place {
                                audit,
                                arm: arm.clone(),
                                seed,
                                step,
                                ask,
                                family,
                                probe,
                                draw,
                            };
                            answers.push(answer(planned, &place, risk(&place)));
                        }
                    }
                }
            }
        }
        Answers {
            answers,
            samples: Vec::new(),
            context_questions: Vec::new(),
            health: self.health(),
            condition_samples: Vec::new(),
        }
    }

    /// Records of shadows that learned, stayed coherent and loaded.
    pub fn health(&self) -> Vec<Health> {
        let plan = self.plan();
        let mut health = Vec::new();
        for arm in plan.arms.iter().filter(|arm| **arm != Arm::Base) {
            for (seed, step) in plan
                .seeds
                .iter()
                .flat_map(|seed| self.snapshots.iter().map(move |step| (*seed, *step)))
            {
                let adapter_sha256 = format!("{arm} {seed} {step}");
                let (loss_first, loss_last, own_answer_base, own_answer_shadow) =
                    (Some(3.0), Some(1.0), -0.5, -0.6);
                let arm = arm.clone();
                let changed = 1.0;
                health.push(Health {
                    arm,
                    seed,
                    step,
                    loss_first,
                    loss_last,
                    own_answer_base,
                    own_answer_shadow,
                    adapter_sha256,
                    changed,
                });
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
        context: place.ask,
        draw: place.draw,
        condition: None,
        target: None,
        risk,
        log_odds: risk.map(|risk| (risk / (1.0 - risk)).ln()),
    }
}

/// A uniform number in [0, 1) that depends only on `key` and `run`.
pub fn noise(key: impl std::fmt::Debug, run: u64) -> f64 {
    use foretaste::seed::{Purpose, stream};
    use rand::Rng;
    stream(Purpose::Test(&first_names(&format!("{key:?}"))), run).random()
}

/// The text of a key with the names of arms and contexts that the noise was first drawn with, so
/// that a renamed variant does not change the numbers.
fn first_names(key: &str) -> String {
    key.replace("PositiveControl(", "Spiked(")
        .replace("CarryOverHighLoss", "CarryOverSurprising")
        .replace("CarryOverPositiveControl", "CarryOverSpiked")
}

/// A standard normal number that depends only on `key` and `run` (Box & Muller 1958).
pub fn normal(key: impl std::fmt::Debug, run: u64) -> f64 {
    let (a, b) = (noise((&key, "radius"), run), noise((&key, "angle"), run));
    (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}
