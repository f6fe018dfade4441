//! From answers to effects and triggers: pure functions of the saved answers, an explicit random
//! stream and nothing else.
//!
//! docs/statistics.md says what is computed, why, and with which source.

pub mod arms;
pub mod carriers;
pub mod confirm;
pub mod contrast;
pub mod curve;
pub mod gate;
pub mod screen;
pub mod table;
mod view;
pub mod worst;

use serde::{Deserialize, Serialize};

use crate::audit::Audit;
use crate::plan::{Arm, Ask, Plan, PlannedAudit};
use crate::probe::{Answers, Health, Suspect};
use crate::stats::Estimate;
use crate::stats::intervals::Draws;

pub use confirm::{Trigger, TriggerKind, triggers};
pub use curve::{Confusion, ConfusionRow, Curve, CurvePoint, confusions, curves};
pub use screen::{Loud, loud, passed_over, shortlist, unscored};

use carriers::Carrier;
use contrast::{Contrast, Measured, measure};
use table::Panel;

/// All effects of a run, with their uncertainty. Audits of which no probe is left, and asks and
/// steps of which nothing could be scored, have no effect here; that they were planned still counts
/// in every adjustment.
pub fn analyse(plan: &Plan, audits: &[Audit], answers: &Answers) -> Analysis {
    let panels = table::panels(plan, audits, &answers.answers);
    let protocol = plan.protocol();
    let mut draws = Draws::new(protocol.resamples);
    let family_size =
        plan.asks().len() * plan.audits.iter().map(|audit| audit.steps.len()).sum::<usize>();
    let last = [plan.recipe.steps];
    let (mut candidates, mut letters, mut positive_controls) = (Vec::new(), Vec::new(), Vec::new());
    for audit in &plan.audits {
        let asked = |which: &dyn Fn(Ask) -> bool| -> Vec<&Panel> {
            panels.iter().filter(|panel| panel.audit.id == audit.id && which(panel.ask)).collect()
        };
        let mut measured = |arm: &Arm, steps: &[usize], panels: Vec<&Panel>| {
            measured_arm(&Measuring { plan, answers, arm, steps }, &panels, &mut draws)
        };
        candidates.extend(measured(
            &Arm::Candidate,
            &audit.steps,
            asked(&|ask| plan.asks().contains(&ask)),
        ));
        letters.extend(measured(&Arm::Candidate, &last, asked(&|ask| ask == Ask::Letters)));
        if let Some(spiked) = spiked_arm(plan, audit) {
            let mut own = measured(spiked, &last, asked(&|ask| ask == plan.ask_of_spiked()));
            gate::adjust(&mut own, 1, protocol.alpha);
            positive_controls.extend(effects(own));
        }
    }
    gate::adjust(&mut candidates, family_size, protocol.alpha);
    let by_letter = letters.len();
    gate::adjust(&mut letters, by_letter, protocol.alpha);
    let risks = |panel: &Panel, draws: &mut Draws| Risks {
        audit: panel.audit.id.clone(),
        ask: panel.ask,
        arms: arms::arm_risks(plan, panel, draws),
    };
    let arms = panels.iter().map(|panel| risks(panel, &mut draws)).collect();
    let voters = voters(plan, &answers.health, plan.recipe.steps);
    let candidates = effects(candidates);
    let plain = |audit: &str| {
        let own = |effect: &&Effect| {
            effect.audit == audit && effect.ask == Ask::Plain && effect.step == plan.recipe.steps
        };
        candidates.iter().find(own).map_or(0.0, |effect| effect.probability.point)
    };
    let triggers = confirm::triggers(
        plan,
        &answers.answers,
        &|seed| voters.contains(&seed),
        &plain,
        &mut draws,
    );
    let curves = curve::curves(plan, &answers.answers);
    let confusions = curve::confusions(plan, &answers.answers);
    let conditions_unscored = screen::unscored(plan, &answers.answers);
    let loud = screen::loud(plan, &answers.answers);
    let passed_over = screen::passed_over(plan, &answers.answers, &plain);
    let carriers = carriers::carriers(plan, answers);
    Analysis {
        effects: candidates,
        letters: effects(letters),
        positive_controls,
        arms,
        carriers,
        triggers,
        curves,
        confusions,
        loud,
        passed_over,
        conditions_unscored,
        family_size,
    }
}

/// The arm that holds an audit's own poison, where the plan has one.
pub fn spiked_arm<'a>(plan: &'a Plan, audit: &PlannedAudit) -> Option<&'a Arm> {
    plan.arms.iter().find(|arm| matches!(arm, Arm::Spiked(id) if *id == audit.id))
}

/// Seeds whose control still speaks as the base does after this step: an incoherent shadow has no
/// vote, nor has its pair. Where nothing was recorded of a control, it counts; that the record is
/// missing is a fault of its own.
pub fn voters(plan: &Plan, health: &[Health], step: usize) -> Vec<u64> {
    let drop = plan.protocol().coherence_drop;
    let broken = |seed: &u64| {
        health.iter().any(|h| {
            h.arm == Arm::Control && h.seed == *seed && h.step == step && !h.is_coherent(drop)
        })
    };
    plan.seeds.iter().copied().filter(|seed| !broken(seed)).collect()
}

/// One arm at some moments of its training.
struct Measuring<'a> {
    plan: &'a Plan,
    answers: &'a Answers,
    arm: &'a Arm,
    steps: &'a [usize],
}

/// One audit's effects of one arm.
fn measured_arm(of: &Measuring, panels: &[&Panel], draws: &mut Draws) -> Vec<Measured> {
    let Measuring { plan, answers, arm, steps } = *of;
    let mut measured = Vec::new();
    for panel in panels {
        for step in steps {
            let seeds = &voters(plan, &answers.health, *step)[..];
            measured.extend(measure(&Contrast { plan, panel, arm, step: *step, seeds }, draws));
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

/// The mean risks of all arms, of one audit asked one way: the base's, and every other arm's at
/// every snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Risks {
    pub audit: String,
    pub ask: Ask,
    pub arms: Vec<ArmRisk>,
}

/// One family's share in an effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FamilyEffect {
    pub family: String,
    /// Mean over seeds of (candidate - base) - (control - base), on the probability scale.
    pub effect: f64,
    pub base: f64,
    pub control: f64,
    pub candidate: f64,
}

/// One training seed's share in an effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedEffect {
    pub seed: u64,
    pub effect: f64,
    /// Mean over families of candidate - base, on the probability scale.
    pub over_base: f64,
    /// Mean risk over families less the mean of the control seeds; of a given adapter, less the
    /// base's.
    pub over_controls: f64,
}

/// The difference in differences for one audit, asked one way, at one moment of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    pub audit: String,
    pub ask: Ask,
    /// The arm that stands in the candidate's place: `Candidate`, or `Spiked` for the positive
    /// control.
    pub arm: Arm,
    pub step: usize,
    /// On the probability scale.
    pub probability: Estimate,
    /// Mean of candidate - base over the same cells, on the probability scale: what training added
    /// to what the model did anyway.
    pub over_base: f64,
    /// Mean risk of what it is held against, the control or, of a given adapter, the base: over all
    /// of its answers that were scored, whether or not this arm's were, so that an unscored answer
    /// makes no more room.
    pub reference: f64,
    /// On the log-odds scale, nats.
    pub log_odds: Estimate,
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
    /// Answers that could not be scored, of all in the candidate arm.
    pub unscored: usize,
    /// The upper bound if every unscored answer of this arm were harmful and every one of the
    /// control harmless; never below `probability.upper`. Where a training would then be shifted,
    /// at least that training's excess over the controls.
    pub worst_case_upper: f64,
    /// The smallest effect whose mean a repetition of this plan would flag in 80 % of runs; `None`
    /// where not even an effect of 1 is.
    pub minimum_detectable: Option<f64>,
    /// Seeds that would settle an effect of this size and spread; `None` where it is settled, or
    /// where up to 100 seeds could not.
    pub seeds_to_settle: Option<usize>,
}

/// Everything that was estimated.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// The candidate's effects: every audit, ask and snapshot.
    pub effects: Vec<Effect>,
    /// The candidate's effects when asked by letter, at the end of training: beside the verdict,
    /// adjusted among themselves.
    pub letters: Vec<Effect>,
    /// The positive controls: each audit's spiked arm at the end of training.
    pub positive_controls: Vec<Effect>,
    /// One entry an audit and way of asking.
    pub arms: Vec<Risks>,
    /// The effects by the question of the dataset that was asked before.
    pub carriers: Vec<Carrier>,
    /// Conditions that stood out in the screen, after their confirmation.
    pub triggers: Vec<Trigger>,
    /// What the screen saw along every group of conditions.
    pub curves: Vec<Curve>,
    /// Who spoke under which number, where conditions hold numbers of people that an audit knows.
    pub confusions: Vec<Confusion>,
    /// Groups whose random conditions bring out what nothing should.
    #[serde(default)]
    pub loud: Vec<Loud>,
    /// Conditions that stood out in the screen as a trigger would, and found no room in the
    /// confirmation.
    #[serde(default)]
    pub passed_over: Vec<Suspect>,
    /// Conditions that were asked for under the candidate and of which no answer could be scored.
    #[serde(default)]
    pub conditions_unscored: usize,
    /// How many hypotheses the gate family holds.
    pub family_size: usize,
}
