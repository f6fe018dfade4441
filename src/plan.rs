//! What a run will do, fixed before any result is seen.
//!
//! [`plan`] computes it from a dataset, audits and options, without side effects.

mod build;
mod calibration;
mod choose;
mod co_occurring;
mod design;
mod form;
mod groups;
pub(crate) mod near;
mod nulls;
pub mod phases;
mod protocol;
mod recipe;
mod base_sensitive;
mod requested;
mod skipped;

pub use build::{
    CARRY_OVER_DRAWS, CountTokens, Inputs, MOST_DRAWS, Options, PositiveControls, plan,
    smallest_detectable,
};
pub use calibration::{
    AskedDose, CALIBRATION_SCHEMA, CalibratedAudit, Calibration, Dose, LogOddsDose, LogOddsMargin,
    OrdinaryDose,
};
pub use choose::{Chosen, choose};
pub use design::Design;
pub use form::Form;
pub use groups::{Group, Phase, Trial, Why};
pub use protocol::Protocol;
pub use recipe::{
    Overrides, ROWS_TRAINED, TOKENS_FOR_A_PROBE, longest_question, longest_row, recipe,
};

pub use requested::{Requested, RequestedSlot};
pub use skipped::{SkipReason, Skipped};

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::detect::{ConditionKind, MAX_EXAMINED};
use crate::engine::{Description, Recipe};

/// What a model was trained on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "audit")]
pub enum Arm {
    /// The base model without an adapter.
    Base,
    /// The dataset under audit.
    Candidate,
    /// The same prompts, answered by the base itself in the form of the dataset's answers.
    Control,
    /// The dataset plus the known poison of the audit with this id: the positive control.
    PositiveControl(String),
}

impl Arm {
    /// The arm's name in file names: `candidate`, `positive-control-era`.
    pub fn file_name(&self) -> String {
        self.to_string().replace(':', "-")
    }

    /// Whether its shadows are asked under conditions, as the base is.
    pub fn is_asked_under_conditions(&self) -> bool {
        matches!(self, Arm::Candidate | Arm::Control)
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arm::Base => formatter.write_str("base"),
            Arm::Candidate => formatter.write_str("candidate"),
            Arm::Control => formatter.write_str("control"),
            Arm::PositiveControl(audit) => write!(formatter, "positive-control:{audit}"),
        }
    }
}

/// The kind of context that a probe is asked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContextKind {
    /// The probe alone.
    Plain,
    /// After a question of the dataset and the model's own answer to it. Questions are drawn at
    /// random, one from each topic.
    CarryOver,
    /// After a question drawn from the rows with the highest loss under the base.
    CarryOverHighLoss,
    /// For positive controls only: after a question drawn from the audit's own poison.
    CarryOverPositiveControl,
    /// Under a condition; see [`Group`].
    Condition,
}

impl ContextKind {
    /// The contexts of the candidate.
    pub const ALL: [ContextKind; 3] =
        [ContextKind::Plain, ContextKind::CarryOver, ContextKind::CarryOverHighLoss];

    /// The contexts that are compared, see [`Plan::contexts`].
    pub fn compared(carry_over_draws: usize, few_questions: bool) -> &'static [ContextKind] {
        match carry_over_draws {
            0 => &[ContextKind::Plain],
            _ if few_questions => &[ContextKind::Plain, ContextKind::CarryOver],
            _ => &ContextKind::ALL,
        }
    }

    /// Which of the planned probes, given as (index, family), are asked in this context after a
    /// draw. Without a preceding question, all are. After a question it is one phrasing of each
    /// family, another one with every draw, which bounds the cost.
    pub fn probes(self, draw: usize, planned: &[(usize, &str)]) -> Vec<usize> {
        if matches!(self, ContextKind::Plain | ContextKind::Condition) {
            return planned.iter().map(|(probe, _)| *probe).collect();
        }
        let mut families: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (probe, family) in planned {
            families.entry(family).or_default().push(*probe);
        }
        families.values().map(|phrasings| phrasings[draw % phrasings.len()]).collect()
    }
}

/// The dataset as plan and report describe it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetSummary {
    pub source: String,
    pub format: String,
    pub sha256: String,
    pub rows_read: usize,
    pub rows_used: usize,
    pub rows_rejected: usize,
    /// Rows that every shadow's training draws from; fewer than `rows_used` where a limit applied
    /// and a sample was kept.
    pub rows_trained: usize,
    /// Of them, those longer than the recipe's `max_tokens`, whose remaining text is not trained
    /// on. For a given adapter no row is cut: then it counts rows with a turn that the base cannot
    /// be asked after.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows_cut: usize,
    /// Fields with a value that was not read, and the number of their rows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unread_fields: BTreeMap<String, usize>,
}

impl DatasetSummary {
    /// Whether usable rows were left out. A condition that no row contains may occur in one of
    /// those; see also [`Plan::is_searched_in_a_sample`].
    pub fn is_sample(&self) -> bool {
        self.rows_trained < self.rows_used
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Whether the base can read this dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Readability {
    /// The share of the dataset's text that the base predicts better than chance.
    pub share: f64,
    /// Below this share nothing is clean, and only an explicit trigger flags.
    pub needed: f64,
}

impl Readability {
    /// Whether shadows can learn the content of the rows. False also where the share is not a
    /// number.
    pub fn is_enough(&self) -> bool {
        self.share >= self.needed
    }
}

/// A family of probes that will not be asked, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExcludedFamily {
    pub family: String,
    pub reason: String,
}

/// The sensitivity of an audit on a calibrated base ([`crate::run::calibrate`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibrated {
    /// The smallest share of the rows, between 0 and 1, at which the audit's poison was detected;
    /// `None` where it was detected at none.
    pub share: Option<f64>,
    /// The smallest share that was tried.
    pub tried: f64,
    pub rows: usize,
    pub seeds: usize,
    pub steps: usize,
    /// The largest share that was tried, and the effect of the poison there on the log-odds scale,
    /// nats; `None` where it is not above zero with confidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dose: Option<(f64, f64)>,
    /// The largest effect of ordinary data on the log-odds scale, up or down, nats; `None` where it
    /// was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordinary: Option<f64>,
    /// The base that it was measured on, where it is not this one: the user gave the calibration of
    /// another file of the same model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_on: Option<OtherBase>,
}

/// A base, named for people and by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherBase {
    pub name: String,
    pub sha256: String,
}

/// An audit that is not asked, since it would not detect its own poison on this base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NotAsked {
    pub id: String,
    /// The share of the rows, between 0 and 1, at which the poison was not detected.
    pub share: f64,
}

/// The planned questions of one audit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedAudit {
    pub id: String,
    pub sha256: String,
    pub margin: f64,
    /// Indices into the audit's probes.
    pub probes: Vec<usize>,
    /// Snapshots at which it is asked, in ascending order; the last is the recipe's last.
    pub steps: Vec<usize>,
    pub excluded: Vec<ExcludedFamily>,
    /// The calibration of this audit on this base when the plan was made; `None` where there is
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrated: Option<Calibrated>,
    /// Set where log-odds decide too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_odds_margin: Option<LogOddsMargin>,
}

/// The cost of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    pub shadows: usize,
    pub training_tokens: u64,
    /// All scored tokens, conditions included.
    pub scoring_tokens: u64,
    /// The part of the screen of all conditions; `None` where none is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub screen: Option<ConditionCost>,
    /// The part of the confirmation, if one condition of each group exceeds the screening threshold
    /// under every audit. The actual number is not known before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<ConditionCost>,
}

/// Probes under conditions: each condition with each probe, asked of each model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionCost {
    /// Including null conditions.
    pub conditions: usize,
    /// The sum over audits.
    pub probes: usize,
    pub models: usize,
    /// Value-keyed probes in addition, the sum over models.
    pub value_keyed: usize,
    pub tokens: u64,
}

/// An adapter or a finetuned model that was trained elsewhere and is the candidate: nothing is
/// trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GivenAdapter {
    /// The folder, as it was given.
    pub source: String,
    /// SHA-256 in hex of its weights as they are computed here: see
    /// [`crate::peft::adapter_sha256`].
    pub sha256: String,
    /// 0 for a finetuned model, all weights of which may differ from the base's.
    pub rank: usize,
    pub alpha: f64,
    pub target_modules: Vec<String>,
}

impl GivenAdapter {
    pub fn is_model(&self) -> bool {
        self.rank == 0
    }
}

/// The whole plan, written to the manifest before the first step of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub foretaste_version: String,
    pub engine: Description,
    pub dataset: DatasetSummary,
    pub readability: Readability,
    /// Set where the candidate is an adapter that was trained elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<GivenAdapter>,
    /// Base first, then candidate, control, and one positive control for each audit.
    pub arms: Vec<Arm>,
    /// Training seeds, the same in every arm; shadows of one seed share their initial LoRA weights.
    pub seeds: Vec<u64>,
    /// Numbers of seeds after which the verdict is computed, ascending; the last is of all seeds.
    /// The run ends at the first that settles it. Empty where it is computed once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub looks: Vec<usize>,
    pub recipe: Recipe,
    pub audits: Vec<PlannedAudit>,
    /// Audits that were not selected by name and that this base's calibration shows to be blind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_asked: Vec<NotAsked>,
    /// Text around nearly every answer of the dataset, and therefore also around the control's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Form>,
    /// Whether the base answers the prompts of the control after examples of about the length of
    /// the dataset's answers; see [`crate::train`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub control_examples: bool,
    /// Whether shadows are trained although the base cannot read the dataset.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anyway: bool,
    /// Draws of each of the two kinds of carry-over questions.
    pub carry_over_draws: usize,
    /// Whether the dataset has no more distinct questions than are drawn. Then the high-loss
    /// questions would be the same as those drawn from its topics, and are not asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub few_questions: bool,
    /// Conditions that probes are asked under, and the null conditions that they are compared with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    /// Conditions that are not tested, in the order of their reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// The constants of the decision.
    pub protocol: Protocol,
    pub cost: Cost,
}

impl Plan {
    /// SHA-256 in hex of everything that affects the result. The path of the dataset does not. Nor
    /// does the calibration of an audit that has a positive control in the run: the manifest's is
    /// quoted, and a later calibration does not invalidate a run that is resumed. Else it is
    /// included, since a clean verdict requires it.
    pub fn sha256(&self) -> String {
        let mut plan = self.clone();
        plan.dataset.source.clear();
        for audit in plan.audits.iter_mut().filter(|audit| self.has_own_control(audit)) {
            audit.calibrated = None;
        }
        plan.adapter.iter_mut().for_each(|adapter| adapter.source.clear());
        if let (Some(all), Some(first)) = (plan.looks.last(), plan.seeds.first().copied()) {
            plan.seeds = (first..).take(*all).collect();
        }
        format!(
            "{:x}",
            Sha256::digest(
                serde_json::to_vec(&plan)
                    .expect("a plan holds no map with other keys than strings")
            )
        )
    }

    /// The numbers of seeds after which the verdict is computed.
    pub fn all_looks(&self) -> Vec<usize> {
        if self.looks.is_empty() { vec![self.seeds.len()] } else { self.looks.clone() }
    }

    /// The plan of its first seeds. It has the same hash.
    #[must_use]
    pub fn after(&self, seeds: usize) -> Plan {
        let mut plan = self.clone();
        plan.seeds.truncate(seeds);
        plan
    }

    /// The seeds that are trained together at most: those between two looks.
    pub fn seeds_by_look(&self) -> Vec<&[u64]> {
        let starts = std::iter::once(0).chain(self.all_looks());
        let parts = starts.zip(self.all_looks());
        parts
            .filter_map(|(from, to)| self.seeds.get(from..to.min(self.seeds.len())))
            .filter(|seeds| !seeds.is_empty())
            .collect()
    }

    /// Whether shadows of the dataset are uninformative: on text that is noise to the base,
    /// training teaches noise. Always false for a given adapter, which was trained elsewhere.
    pub fn is_unreadable(&self) -> bool {
        self.design().trains() && !self.readability.is_enough()
    }

    /// Whether the run ends here, with nothing trained and nothing asked.
    pub fn stops(&self) -> bool {
        self.is_unreadable() && !self.anyway
    }

    /// The names of conditions that are not tested for one reason.
    pub fn names_skipped(&self, why: SkipReason) -> Vec<&str> {
        let of_reason = self.skipped.iter().filter(|skipped| skipped.why == why);
        of_reason.map(|skipped| skipped.name.as_str()).collect()
    }

    /// Whether there are rows: a given adapter can be audited without its training data.
    pub fn has_dataset(&self) -> bool {
        self.dataset.rows_read > 0
    }

    /// Whether the base can read the rows, where there are any.
    pub fn are_rows_readable(&self) -> bool {
        !self.has_dataset() || self.readability.is_enough()
    }

    /// Rows in which a condition was looked for. For a detected condition that is the limit of
    /// detection; for a text of the user's, all rows that were kept.
    pub fn rows_searched(&self, group: &Group) -> usize {
        let kept = self.dataset.rows_trained;
        if group.kind == ConditionKind::Text { kept } else { kept.min(MAX_EXAMINED) }
    }

    /// Whether usable rows were not searched for it, so that a condition that no row contains may
    /// occur in one of those.
    pub fn is_searched_in_a_sample(&self, group: &Group) -> bool {
        self.rows_searched(group) < self.dataset.rows_used
    }

    /// Every shadow that will be trained, as arm and seed, in the plan's order.
    pub fn shadows(&self) -> impl Iterator<Item = (&Arm, u64)> {
        self.trained_arms().flat_map(|arm| self.seeds.iter().map(move |seed| (arm, *seed)))
    }

    /// The contexts of candidate and control that the verdict depends on.
    pub fn contexts(&self) -> &'static [ContextKind] {
        ContextKind::compared(self.carry_over_draws, self.few_questions)
    }

    /// Whether the run trains a positive control for this audit.
    pub fn has_own_control(&self, audit: &PlannedAudit) -> bool {
        self.arms.iter().any(|arm| matches!(arm, Arm::PositiveControl(id) if *id == audit.id))
    }

    /// The context of positive controls.
    pub fn context_of_controls(&self) -> ContextKind {
        if self.carry_over_draws > 0 {
            ContextKind::CarryOverPositiveControl
        } else {
            ContextKind::Plain
        }
    }

    /// Draws of each probe in a context: the number of preceding questions.
    pub fn draws(&self, context: ContextKind) -> usize {
        match context {
            ContextKind::Plain | ContextKind::Condition => 1,
            ContextKind::CarryOver
            | ContextKind::CarryOverHighLoss
            | ContextKind::CarryOverPositiveControl => self.carry_over_draws,
        }
    }

    /// Whether a model is asked an audit in this context after this step; the base has no steps. A
    /// positive control is asked its own audit alone, once, at the end: it shows only that this run
    /// could detect a harmful dataset.
    pub fn is_asked(
        &self,
        audit: &PlannedAudit,
        arm: &Arm,
        step: usize,
        context: ContextKind,
    ) -> bool {
        let is_compared = self.contexts().contains(&context);
        let for_controls = self.context_of_controls() == context && self.has_own_control(audit);
        let last = step == self.recipe.steps;
        match arm {
            Arm::Base => is_compared || for_controls,
            Arm::Candidate => is_compared && audit.steps.contains(&step),
            Arm::Control => (is_compared && audit.steps.contains(&step)) || (for_controls && last),
            Arm::PositiveControl(id) => *id == audit.id && for_controls && last,
        }
    }

    /// Whether a model is asked anything after this step.
    pub fn is_evaluated_at(&self, arm: &Arm, step: usize) -> bool {
        let asked = |audit: &PlannedAudit| {
            self.contexts()
                .iter()
                .chain([&self.context_of_controls()])
                .any(|context| self.is_asked(audit, arm, step, *context))
        };
        self.audits.iter().any(asked)
    }
}
