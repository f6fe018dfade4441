//! The types of `report.json`, in order of output.

use std::collections::BTreeMap;

use serde::Serialize;

use super::SCHEMA_VERSION;
use super::conditions::{ConditionJson, conditions};
use super::detected::{DetectedJson, detected};
use super::effects::{
    EffectJson, EstimateJson, QuestionEffectJson, RiskJson, effect, effects_by_question, estimate,
    finite, risks,
};
use super::headline::{HeadlineJson, WrittenCountsJson, headline, written};
use super::reasons::{ReasonJson, worded};
use crate::audit::{Audit, ProbeKind};
use crate::engine::{Recipe, TemplateId};
use crate::plan::{
    Arm, Calibrated, ContextKind, ExcludedFamily, Form, GivenAdapter, NotAsked, Protocol,
    SkipReason,
};
use crate::probe::Health;
use crate::report::Report;
use crate::train::TrainingRecord;
use crate::verdict::{Finding, FoundTrigger, Verdict};

#[derive(Serialize)]
pub struct ReportJson<'a> {
    schema_version: u32,
    foretaste_version: &'a str,
    /// Hash of the plan in the run's manifest.
    plan_sha256: String,
    verdict: Verdict,
    examined: bool,
    headline: HeadlineJson<'a>,
    /// Fields of the dataset that were not read. The verdict does not cover them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    unread_fields: &'a BTreeMap<String, usize>,
    /// Null where an adapter was tested without rows.
    dataset: Option<DatasetJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adapter: Option<&'a GivenAdapter>,
    base: BaseJson<'a>,
    arms: Vec<String>,
    seeds: &'a [u64],
    #[serde(skip_serializing_if = "<[usize]>::is_empty")]
    looks: &'a [usize],
    findings: Vec<FindingJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detected: Option<DetectedJson<'a>>,
    conditions: Vec<ConditionJson<'a>>,
    #[serde(skip_serializing_if = "SkippedJson::is_empty")]
    skipped: SkippedJson<'a>,
    accounting: AccountingJson,
    multiplicity: MultiplicityJson,
    audits: Vec<AuditJson<'a>>,
    /// Audits that do not detect their own poison on this base. The verdict does not cover them.
    #[serde(skip_serializing_if = "<[NotAsked]>::is_empty")]
    not_asked: &'a [NotAsked],
    /// Text around nearly all answers of the dataset, and around the control's answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<&'a Form>,
    /// Null where an adapter was given.
    recipe: Option<&'a Recipe>,
    protocol: &'a Protocol,
    effects: Vec<EffectJson<'a>>,
    positive_controls: Vec<EffectJson<'a>>,
    risks: Vec<RiskJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    by_question: Vec<QuestionEffectJson<'a>>,
    trainings: Vec<TrainingJson<'a>>,
    health: Vec<HealthJson<'a>>,
}

#[derive(Serialize)]
struct DatasetJson<'a> {
    source: &'a str,
    format: &'a str,
    sha256: &'a str,
    rows_read: usize,
    rows_used: usize,
    rows_rejected: usize,
    rows_trained: usize,
    rows_cut: usize,
    /// Fields that no known format uses, with their number of rows.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    unread_fields: &'a BTreeMap<String, usize>,
    readable_share: Option<f64>,
    readable_share_needed: Option<f64>,
}

/// Names of conditions that were not tested as triggers.
#[derive(Serialize)]
struct SkippedJson<'a> {
    /// Answers depend on them, but they cannot be inserted into a probe or compared with null
    /// conditions.
    unfit: Vec<&'a str>,
    /// Answers depend on them, but a limit excluded them. Then no verdict is clean.
    crowded_out: Vec<&'a str>,
    /// Slots without measured dependence that a limit excluded.
    independent: Vec<&'a str>,
}

impl SkippedJson<'_> {
    fn is_empty(&self) -> bool {
        [&self.unfit, &self.crowded_out, &self.independent].iter().all(|names| names.is_empty())
    }
}

#[derive(Serialize)]
struct BaseJson<'a> {
    name: &'a str,
    sha256: &'a str,
    architecture: &'a str,
    parameters: u64,
    vocabulary: usize,
    max_tokens: usize,
    engine: &'a str,
    device: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    chat_template: Option<&'a TemplateId>,
}

#[derive(Serialize)]
struct FindingJson<'a> {
    audit: &'a str,
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate: Option<EstimateJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<ContextKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<usize>,
    margin: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    p_adjusted: Option<f64>,
    shown_by: &'a [ContextKind],
    /// Written answers in the context that decided the audit.
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<WrittenCountsJson>,
    shifted_seeds: &'a [u64],
    #[serde(skip_serializing_if = "Option::is_none")]
    positive_control_detected: Option<bool>,
    reasons: Vec<ReasonJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    units_to_settle: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger: Option<&'a FoundTrigger>,
}

#[derive(Serialize)]
struct AccountingJson {
    rows_read: usize,
    rows_used: usize,
    rows_rejected: usize,
    rows_trained: usize,
    answers: usize,
    answers_unscored: usize,
    families_excluded: usize,
    shadows: usize,
    training_tokens: u64,
    scoring_tokens: u64,
}

#[derive(Serialize)]
struct MultiplicityJson {
    family_size: usize,
    correction: &'static str,
}

#[derive(Serialize)]
struct AuditJson<'a> {
    id: &'a str,
    title: &'a str,
    question: &'a str,
    kind: ProbeKind,
    risky: &'a str,
    reference: &'a str,
    margin: f64,
    margin_reason: &'a str,
    sha256: &'a str,
    probes: usize,
    excluded: &'a [ExcludedFamily],
    /// Calibration of the audit on this base.
    #[serde(skip_serializing_if = "Option::is_none")]
    calibrated: Option<&'a Calibrated>,
}

#[derive(Serialize)]
struct TrainingJson<'a> {
    arm: String,
    seed: u64,
    steps: usize,
    loss_first: Option<f64>,
    loss_last: Option<f64>,
    supervised_share: Option<f64>,
    rows_sha256: &'a str,
}

#[derive(Serialize)]
struct HealthJson<'a> {
    arm: String,
    seed: u64,
    step: usize,
    loss_first: Option<f64>,
    loss_last: Option<f64>,
    own_answer_base: Option<f64>,
    own_answer_shadow: Option<f64>,
    changed: Option<f64>,
    adapter_sha256: &'a str,
}

impl<'a> ReportJson<'a> {
    pub fn new(report: &Report<'a>) -> Self {
        let Report { plan, analysis, answers, .. } = *report;
        let dataset = &plan.dataset;
        ReportJson {
            schema_version: SCHEMA_VERSION,
            foretaste_version: &plan.foretaste_version,
            plan_sha256: plan.sha256(),
            verdict: report.verdict,
            examined: report.examined,
            headline: headline(report),
            unread_fields: &dataset.unread_fields,
            adapter: plan.adapter.as_ref(),
            dataset: plan.has_dataset().then(|| DatasetJson {
                source: &dataset.source,
                format: &dataset.format,
                sha256: &dataset.sha256,
                rows_read: dataset.rows_read,
                rows_used: dataset.rows_used,
                rows_rejected: dataset.rows_rejected,
                rows_trained: dataset.rows_trained,
                rows_cut: dataset.rows_cut,
                unread_fields: &dataset.unread_fields,
                readable_share: finite(plan.readability.share),
                readable_share_needed: finite(plan.readability.needed),
            }),
            base: BaseJson {
                name: &plan.engine.base,
                sha256: &plan.engine.base_sha256,
                architecture: &plan.engine.architecture,
                parameters: plan.engine.parameters,
                vocabulary: plan.engine.vocabulary,
                max_tokens: plan.engine.max_tokens,
                engine: &plan.engine.engine,
                device: &plan.engine.device,
                chat_template: plan.engine.chat_template.as_ref(),
            },
            arms: plan.arms.iter().map(Arm::to_string).collect(),
            seeds: &plan.seeds,
            looks: &plan.looks,
            findings: report.findings.iter().map(|finding| finding_json(report, finding)).collect(),
            detected: detected(report),
            conditions: conditions(report),
            skipped: SkippedJson {
                unfit: plan.names_skipped(SkipReason::Unfit),
                crowded_out: plan.names_skipped(SkipReason::CrowdedOut),
                independent: plan.names_skipped(SkipReason::Independent),
            },
            accounting: AccountingJson {
                rows_read: dataset.rows_read,
                rows_used: dataset.rows_used,
                rows_rejected: dataset.rows_rejected,
                rows_trained: dataset.rows_trained,
                answers: answers.answers.len(),
                answers_unscored: answers
                    .answers
                    .iter()
                    .filter(|answer| answer.risk.is_none())
                    .count(),
                families_excluded: plan.audits.iter().map(|audit| audit.excluded.len()).sum(),
                shadows: plan.cost.shadows,
                training_tokens: plan.cost.training_tokens,
                scoring_tokens: plan.cost.scoring_tokens,
            },
            multiplicity: MultiplicityJson {
                family_size: analysis.family_size,
                correction: "holm",
            },
            audits: report.audits.iter().map(|audit| audit_json(report, audit)).collect(),
            not_asked: &plan.not_asked,
            form: plan.form.as_ref(),
            recipe: plan.design().trains().then_some(&plan.recipe),
            protocol: &plan.protocol,
            effects: analysis.effects.iter().map(effect).collect(),
            positive_controls: analysis.positive_controls.iter().map(effect).collect(),
            risks: risks(report),
            by_question: effects_by_question(report),
            trainings: report.trainings.iter().map(training_json).collect(),
            health: answers.health.iter().map(health_json).collect(),
        }
    }
}

fn finding_json<'a>(report: &Report<'_>, finding: &'a Finding) -> FindingJson<'a> {
    FindingJson {
        audit: &finding.audit,
        verdict: finding.verdict,
        estimate: finding.estimate.as_ref().map(estimate),
        context: finding.context,
        step: finding.step.and_then(|step| report.plan.design().step(step)),
        margin: finding.margin,
        p_adjusted: finding.p_adjusted.and_then(finite),
        shown_by: &finding.shown_by,
        shifted_seeds: &finding.shifted_seeds,
        written: written(report, finding),
        positive_control_detected: finding.positive_control,
        reasons: worded(report, finding),
        units_to_settle: finding.units_to_settle,
        trigger: finding.trigger.as_ref(),
    }
}

fn audit_json<'a>(report: &Report<'a>, audit: &'a Audit) -> AuditJson<'a> {
    let planned = report.plan.audits.iter().find(|planned| planned.id == audit.id);
    AuditJson {
        id: &audit.id,
        title: &audit.title,
        question: &audit.question,
        kind: audit.kind,
        risky: &audit.risky,
        reference: &audit.reference,
        margin: planned.map_or(audit.margin.value, |planned| planned.margin),
        margin_reason: &audit.margin.reason,
        sha256: &audit.sha256,
        probes: planned.map_or(0, |planned| planned.probes.len()),
        excluded: planned.map_or(&[], |planned| &planned.excluded),
        calibrated: planned.and_then(|planned| planned.calibrated.as_ref()),
    }
}

fn training_json(record: &TrainingRecord) -> TrainingJson<'_> {
    let loss = |entry: Option<&(usize, f64)>| entry.and_then(|(_, loss)| finite(*loss));
    TrainingJson {
        arm: record.arm.to_string(),
        seed: record.seed,
        steps: record.losses.len(),
        loss_first: loss(record.losses.first()),
        loss_last: loss(record.losses.last()),
        supervised_share: finite(record.supervised_share),
        rows_sha256: &record.rows_sha256,
    }
}

fn health_json(health: &Health) -> HealthJson<'_> {
    HealthJson {
        arm: health.arm.to_string(),
        seed: health.seed,
        step: health.step,
        loss_first: health.loss_first.and_then(finite),
        loss_last: health.loss_last.and_then(finite),
        own_answer_base: finite(health.own_answer_base),
        own_answer_shadow: finite(health.own_answer_shadow),
        changed: finite(health.changed),
        adapter_sha256: &health.adapter_sha256,
    }
}
