//! From answers to effects and triggers: pure functions of the saved answers and an explicit random
//! stream.
//!
//! docs/statistics.md describes what is computed, why, and from which source.

pub mod arms;
pub mod by_question;
pub mod confirm;
pub mod contrast;
pub mod curve;
pub mod gate;
pub mod screen;
pub mod round;
pub mod table;
pub mod worst;

use serde::{Deserialize, Serialize};

use crate::audit::Audit;
use crate::plan::{Arm, ContextKind, Plan, PlannedAudit};
use crate::probe::{Answers, CandidateTrigger, Health};
use crate::stats::Estimate;

pub use confirm::{Trigger, TriggerKind, triggers, undecided};
pub use curve::{Confusion, ConfusionRow, Curve, CurvePoint, confusions, curves};
pub use screen::{NoisyNulls, noisy_nulls, shortlist, skipped_candidates};

use by_question::QuestionEffect;
use contrast::Baseline;
use contrast::{Contrast, Measured, measure};
use table::{Panel, Table};

/// All effects of a run, with their uncertainty. An audit without a probe, and a context or step
/// without a scored answer, has no effect here. Such planned hypotheses still count in every
/// adjustment.
pub fn analyse(plan: &Plan, audits: &[Audit], answers: &Answers) -> Analysis {
    let table = Table::new(plan, audits, &answers.answers);
    let protocol = &plan.protocol;
    let hypotheses = |audit: &PlannedAudit| {
        audit.steps.len() * (1 + usize::from(audit.log_odds_margin.is_some()))
    };
    let family_size = plan.contexts().len() * plan.audits.iter().map(hypotheses).sum::<usize>();
    let last = [plan.recipe.steps];
    let (mut candidates, mut positive_controls) = (Vec::new(), Vec::new());
    for audit in &plan.audits {
        let asked = |which: &dyn Fn(ContextKind) -> bool| -> Vec<&Panel> {
            table
                .contexts()
                .filter(|panel| panel.audit.id == audit.id && which(panel.key.context))
                .collect()
        };
        let measured = |arm: &Arm, steps: &[usize], panels: Vec<&Panel>| {
            measured_arm(&Measuring { plan, answers, arm, steps }, &panels)
        };
        candidates.extend(measured(
            &Arm::Candidate,
            &audit.steps,
            asked(&|context| plan.contexts().contains(&context)),
        ));
        if let Some(control) = positive_control_arm(plan, audit) {
            let mut own =
                measured(control, &last, asked(&|context| context == plan.context_of_controls()));
            gate::adjust(&mut own, 1, protocol.alpha);
            positive_controls.extend(effects(own));
        }
    }
    gate::adjust(&mut candidates, family_size, protocol.alpha);
    let risks = |panel: &Panel| Risks {
        audit: panel.audit.id.clone(),
        context: panel.key.context,
        arms: arms::arm_risks(plan, panel),
    };
    let arms = table.contexts().map(risks).collect();
    let valid = valid_seeds(plan, &answers.health, plan.recipe.steps);
    let candidates = effects(candidates);
    let plain = |audit: &str| {
        let own = |effect: &&Effect| {
            effect.audit == audit
                && effect.context == ContextKind::Plain
                && effect.step == plan.recipe.steps
        };
        candidates.iter().find(own).map_or(0.0, |effect| effect.probability.point)
    };
    let triggers = confirm::triggers(&table, &|seed| valid.contains(&seed), &plain);
    let curves = curve::curves(&table);
    let confusions = curve::confusions(&table, audits);
    let conditions_unscored =
        confirm::undecided(&table, &|seed| valid.contains(&seed), &plain, &triggers);
    let noisy_nulls = screen::noisy_nulls(&table);
    let skipped_candidates = screen::skipped_candidates(&table, &plain);
    let by_question = by_question::by_question(&table, &answers.context_questions);
    Analysis {
        effects: candidates,
        positive_controls,
        arms,
        by_question,
        triggers,
        curves,
        confusions,
        noisy_nulls,
        skipped_candidates,
        conditions_unscored,
        family_size,
    }
}

/// The positive control arm of an audit, where the plan has one.
pub fn positive_control_arm<'a>(plan: &'a Plan, audit: &PlannedAudit) -> Option<&'a Arm> {
    plan.arms.iter().find(|arm| matches!(arm, Arm::PositiveControl(id) if *id == audit.id))
}

/// Seeds whose control is still coherent after this step. An incoherent control excludes the runs
/// of its seed. A seed without a health record of its control counts; the missing record is
/// reported by a validity check.
pub fn valid_seeds(plan: &Plan, health: &[Health], step: usize) -> Vec<u64> {
    let drop = plan.protocol.coherence_drop;
    let broken = |seed: &u64| {
        health.iter().any(|h| {
            h.arm == Arm::Control && h.seed == *seed && h.step == step && !h.is_coherent(drop)
        })
    };
    plan.seeds.iter().copied().filter(|seed| !broken(seed)).collect()
}

/// One arm at some steps of its training.
struct Measuring<'a> {
    plan: &'a Plan,
    answers: &'a Answers,
    arm: &'a Arm,
    steps: &'a [usize],
}

/// One audit's effects of one arm.
fn measured_arm(of: &Measuring, panels: &[&Panel]) -> Vec<Measured> {
    let Measuring { plan, answers, arm, steps } = *of;
    let mut measured = Vec::new();
    for panel in panels {
        for step in steps {
            let seeds = &valid_seeds(plan, &answers.health, *step)[..];
            let baseline = Baseline::Base;
            let contrast = Contrast { plan, panel, baseline, arm, step: *step, seeds };
            measured.extend(measure(&contrast));
        }
    }
    measured
}

fn effects(measured: Vec<Measured>) -> Vec<Effect> {
    measured.into_iter().map(|measured| measured.effect).collect()
}

/// The mean risk of one arm, over seeds and families.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmRisk {
    pub arm: Arm,
    pub step: usize,
    pub risk: Estimate,
    /// (seed, mean risk over families), in the order of seeds; one entry with seed 0 for the base.
    pub seeds: Vec<(u64, f64)>,
}

/// The mean risks of all arms, for one audit in one context: the base's, and every other arm's at
/// every snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Risks {
    pub audit: String,
    pub context: ContextKind,
    pub arms: Vec<ArmRisk>,
}

/// The effect within one family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FamilyEffect {
    pub family: String,
    /// Mean over seeds of (candidate - base) - (control - base), on the probability scale.
    pub effect: f64,
    pub base: f64,
    pub control: f64,
    pub candidate: f64,
}

/// The effect of one training seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedEffect {
    pub seed: u64,
    pub effect: f64,
    /// Mean over families of candidate - base, on the probability scale.
    pub over_base: f64,
    /// Mean risk over families minus the mean over the control seeds; for a given adapter, minus
    /// the base's.
    pub over_controls: f64,
}

/// The difference in differences for one audit, in one context, at one step of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    pub audit: String,
    pub context: ContextKind,
    /// The arm that is measured: `Candidate`, or `PositiveControl`.
    pub arm: Arm,
    pub step: usize,
    /// On the probability scale.
    pub probability: Estimate,
    /// Mean of candidate - base over the same cells, on the probability scale: the change through
    /// training.
    pub over_base: f64,
    /// Mean risk of the reference: the control, or the base for a given adapter. It is taken over
    /// all of its scored answers, whether or not this arm's were scored. So an unscored answer does
    /// not increase the headroom.
    pub reference: f64,
    /// On the log-odds scale, nats.
    pub log_odds: Estimate,
    /// Set where the verdict rests on log-odds too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_odds_test: Option<LogOddsTest>,
    /// Probabilities of this arm and the control that were clipped before log-odds were taken.
    pub clipped: usize,
    /// One-sided p of "the effect is at most the margin"; 1 for one seed.
    pub p: f64,
    /// Holm over the gate family.
    pub p_adjusted: f64,
    /// Level of the tests.
    pub alpha: f64,
    /// One-sided exact p of "at most a quarter of trainings shift" (see [`share`]).
    pub share_p: f64,
    /// Holm over the gate family.
    pub share_p_adjusted: f64,
    pub seeds: Vec<SeedEffect>,
    /// Strongest first.
    pub families: Vec<FamilyEffect>,
    /// The same estimate without the strongest family.
    pub without_strongest_family: Option<Estimate>,
    /// Answers of this arm that could not be scored.
    pub unscored: usize,
    /// The upper bound if every unscored answer of this arm were harmful and every one of the
    /// control harmless; never below `probability.upper`. Where a training would then be shifted,
    /// at least that training's excess over the controls.
    pub worst_case_upper: f64,
    /// The smallest mean effect that a repetition of this plan would flag in 80 % of runs; `None`
    /// where even an effect of 1 would not be flagged.
    pub minimum_detectable: Option<f64>,
    /// The number of seeds that would settle an effect of this size and spread. `None` where it is
    /// settled, or where 100 seeds would not settle it.
    pub seeds_to_settle: Option<usize>,
}

/// The test of "the effect on the log-odds scale is at most its margin".
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LogOddsTest {
    /// Nats.
    pub margin: f64,
    /// Mean of candidate - base over the same cells, nats.
    pub over_base: f64,
    /// The upper bound of the interval; the end of the clipped scale where an answer of this arm or
    /// of the reference was not scored.
    pub worst_case_upper: f64,
    /// One-sided; 1 for one seed.
    pub p: f64,
    /// Holm over the gate family, which has a second hypothesis for each such comparison.
    pub p_adjusted: f64,
}

/// Everything that was estimated.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// The candidate's effects, for every audit, context and snapshot.
    pub effects: Vec<Effect>,
    /// The positive controls' effects at the end of training, one an audit.
    pub positive_controls: Vec<Effect>,
    /// One entry for each audit and context.
    pub arms: Vec<Risks>,
    /// The effects by the question of the dataset that preceded the probe.
    pub by_question: Vec<QuestionEffect>,
    /// Conditions that exceeded the screening threshold, after their confirmation.
    pub triggers: Vec<Trigger>,
    /// The risks that the screen measured along every group of conditions.
    pub curves: Vec<Curve>,
    /// The probability of each identity by the value that is shown, where an audit maps values of
    /// conditions to identities.
    pub confusions: Vec<Confusion>,
    /// Groups whose null conditions produce the risk themselves.
    pub noisy_nulls: Vec<NoisyNulls>,
    /// Conditions that met the criteria of a trigger in the screen, and were not confirmed because
    /// the number of candidates is limited.
    pub skipped_candidates: Vec<CandidateTrigger>,
    /// Conditions under which answers that were not scored may hide a trigger.
    pub conditions_unscored: usize,
    /// The number of hypotheses in the gate family.
    pub family_size: usize,
}
