//! Estimates with uncertainty, as in `report.json`.

use serde::Serialize;

use crate::analysis::by_question::QuestionEffect;
use crate::analysis::{FamilyEffect, SeedEffect};
use crate::plan::ContextKind;
use crate::report::Report;
use crate::{analysis, stats};

#[derive(Serialize)]
pub struct EstimateJson<'a> {
    point: Option<f64>,
    lower: Option<f64>,
    upper: Option<f64>,
    level: f64,
    n: usize,
    method: &'a str,
}

#[derive(Serialize)]
pub struct EffectJson<'a> {
    audit: &'a str,
    context: ContextKind,
    arm: String,
    step: usize,
    probability: EstimateJson<'a>,
    over_base: Option<f64>,
    log_odds: EstimateJson<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_odds_test: Option<analysis::LogOddsTest>,
    clipped: usize,
    p: Option<f64>,
    p_adjusted: Option<f64>,
    share_p: Option<f64>,
    share_p_adjusted: Option<f64>,
    seeds: Vec<SeedEffectJson>,
    families: Vec<FamilyEffectJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    without_strongest_family: Option<EstimateJson<'a>>,
    unscored: usize,
    worst_case_upper: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum_detectable: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seeds_to_settle: Option<usize>,
}

#[derive(Serialize)]
struct SeedEffectJson {
    seed: u64,
    effect: Option<f64>,
    over_base: Option<f64>,
    over_controls: Option<f64>,
}

#[derive(Serialize)]
struct FamilyEffectJson<'a> {
    family: &'a str,
    effect: Option<f64>,
    base: Option<f64>,
    control: Option<f64>,
    candidate: Option<f64>,
}

#[derive(Serialize)]
pub struct RiskJson<'a> {
    audit: &'a str,
    context: ContextKind,
    arm: String,
    step: usize,
    estimate: EstimateJson<'a>,
    seeds: Vec<SeedRiskJson>,
}

#[derive(Serialize)]
struct SeedRiskJson {
    seed: u64,
    risk: Option<f64>,
}

pub fn effect(effect: &analysis::Effect) -> EffectJson<'_> {
    let seed = |seed: &SeedEffect| SeedEffectJson {
        seed: seed.seed,
        effect: finite(seed.effect),
        over_base: finite(seed.over_base),
        over_controls: finite(seed.over_controls),
    };
    EffectJson {
        audit: &effect.audit,
        context: effect.context,
        arm: effect.arm.to_string(),
        step: effect.step,
        probability: estimate(&effect.probability),
        over_base: finite(effect.over_base),
        log_odds: estimate(&effect.log_odds),
        log_odds_test: effect.log_odds_test,
        clipped: effect.clipped,
        p: finite(effect.p),
        p_adjusted: finite(effect.p_adjusted),
        share_p: finite(effect.share_p),
        share_p_adjusted: finite(effect.share_p_adjusted),
        seeds: effect.seeds.iter().map(seed).collect(),
        families: effect.families.iter().map(of_family).collect(),
        without_strongest_family: effect.without_strongest_family.as_ref().map(estimate),
        unscored: effect.unscored,
        worst_case_upper: finite(effect.worst_case_upper),
        minimum_detectable: effect.minimum_detectable.and_then(finite),
        seeds_to_settle: effect.seeds_to_settle,
    }
}

fn of_family(family: &FamilyEffect) -> FamilyEffectJson<'_> {
    FamilyEffectJson {
        family: &family.family,
        effect: finite(family.effect),
        base: finite(family.base),
        control: finite(family.control),
        candidate: finite(family.candidate),
    }
}

pub fn risks<'a>(report: &Report<'a>) -> Vec<RiskJson<'a>> {
    let all = report
        .analysis
        .arms
        .iter()
        .flat_map(|risks| risks.arms.iter().map(move |risk| (risks, risk)));
    all.map(|(of, risk)| RiskJson {
        audit: &of.audit,
        context: of.context,
        arm: risk.arm.to_string(),
        step: risk.step,
        estimate: estimate(&risk.risk),
        seeds: risk
            .seeds
            .iter()
            .map(|(seed, risk)| SeedRiskJson { seed: *seed, risk: finite(*risk) })
            .collect(),
    })
    .collect()
}

pub fn estimate(estimate: &stats::Estimate) -> EstimateJson<'_> {
    EstimateJson {
        point: finite(estimate.point),
        lower: finite(estimate.lower),
        upper: finite(estimate.upper),
        level: estimate.level,
        n: estimate.n,
        method: &estimate.method,
    }
}

/// `None` for infinity and NaN, which JSON cannot represent.
pub fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// The effect after one of the dataset's own questions, at the end of training.
#[derive(Serialize)]
pub struct QuestionEffectJson<'a> {
    audit: &'a str,
    context: ContextKind,
    question: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<TopicJson<'a>>,
    candidate: Option<f64>,
    control: Option<f64>,
}

#[derive(Serialize)]
struct TopicJson<'a> {
    share: Option<f64>,
    words: &'a [String],
}

pub fn effects_by_question<'a>(report: &Report<'a>) -> Vec<QuestionEffectJson<'a>> {
    let question = |question: &'a QuestionEffect| QuestionEffectJson {
        audit: &question.audit,
        context: question.context,
        question: &question.question,
        topic: question
            .topic
            .as_ref()
            .map(|topic| TopicJson { share: finite(topic.share), words: &topic.words }),
        candidate: finite(question.candidate),
        control: finite(question.control),
    };
    report.analysis.by_question.iter().map(question).collect()
}
