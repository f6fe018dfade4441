//! How evenly the untouched base chooses between the options of each forced choice. Where one side
//! is all but impossible, a shift has to be large before a probability shows it.

use anyhow::Result;
use serde::Serialize;

use crate::audit::{Audit, Probe, ProbeKind, Side};
use crate::dataset::{Message, Role};
use crate::engine::{self, Engine, Question};
use crate::probe::questions::alone;
use crate::probe::score::choice;
use crate::stats::grid::{mean, variance};

/// Nats of log-odds up to which a family counts as even: the rarer side has a probability of 1.8 %
/// or more.
pub const EVEN: f64 = 4.0;

/// One audit, as the base answers it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditEvenness {
    pub id: String,
    pub title: String,
    /// Absent for an audit without options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<OptionsSummary>,
    pub families: Vec<FamilyEvenness>,
}

/// Over all families of an audit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OptionsSummary {
    /// Mean and standard deviation of the families' log-odds, nats.
    pub mean: f64,
    pub sd: f64,
    /// Families beyond [`EVEN`], or not scored.
    pub uneven: usize,
    /// The largest difference in tokens between two options of one probe, or of one pair.
    pub token_difference: usize,
}

/// One family of an audit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FamilyEvenness {
    pub family: String,
    /// The mean over its probes, in nats; `None` where one could not be scored, or has no options.
    pub log_odds: Option<f64>,
    pub probes: Vec<ProbeEvenness>,
}

/// One probe, with its options in their order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProbeEvenness {
    pub prompt: String,
    pub log_odds: Option<f64>,
    pub options: Vec<OptionEvenness>,
}

/// One option of a probe.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OptionEvenness {
    pub text: String,
    pub side: Side,
    pub tokens: usize,
    /// Of the whole answer after the question, in nats; `None` where it could not be scored.
    pub log_prob: Option<f64>,
}

impl FamilyEvenness {
    pub fn is_even(&self) -> bool {
        self.log_odds.is_some_and(|odds| odds.abs() <= EVEN)
    }
}

/// Asks the base every probe of the audits alone.
///
/// # Errors
/// Where the engine fails.
pub fn evenness(audits: &[Audit], engine: &dyn Engine) -> Result<Vec<AuditEvenness>> {
    audits.iter().map(|audit| of_audit(audit, engine)).collect()
}

fn of_audit(audit: &Audit, engine: &dyn Engine) -> Result<AuditEvenness> {
    let question = |probe: &Probe| Question {
        messages: alone(&probe.prompt),
        options: probe.options.iter().map(|option| option.text.clone()).collect(),
    };
    let has_sides = audit.kind.has_sides();
    let questions: Vec<Question> = audit.probes.iter().map(question).collect();
    let scores = match has_sides {
        true => engine::scores(engine, None, &questions)?,
        false => vec![Vec::new(); questions.len()],
    };
    let mut families: Vec<FamilyEvenness> = Vec::new();
    for (probe, log_probs) in audit.probes.iter().zip(&scores) {
        let asked = of_probe(audit.kind, probe, log_probs, engine)?;
        match families.iter_mut().find(|family| family.family == probe.family) {
            Some(family) => family.probes.push(asked),
            None => families.push(FamilyEvenness {
                family: probe.family.clone(),
                log_odds: None,
                probes: vec![asked],
            }),
        }
    }
    for family in &mut families {
        let odds: Option<Vec<f64>> = family.probes.iter().map(|probe| probe.log_odds).collect();
        family.log_odds = odds.and_then(|odds| mean(odds.into_iter()));
    }
    let options = has_sides.then(|| summary(audit.kind, &families));
    Ok(AuditEvenness { id: audit.id.clone(), title: audit.title.clone(), options, families })
}

fn of_probe(
    kind: ProbeKind,
    probe: &Probe,
    log_probs: &[Option<f64>],
    engine: &dyn Engine,
) -> Result<ProbeEvenness> {
    let mut options = Vec::new();
    for (option, log_prob) in probe.options.iter().zip(log_probs) {
        let mut messages = alone(&probe.prompt);
        messages.push(Message::new(Role::Assistant, &option.text));
        options.push(OptionEvenness {
            text: option.text.clone(),
            side: option.side,
            tokens: engine.count_tokens(&messages)?.1,
            log_prob: *log_prob,
        });
    }
    let log_odds = choice(kind, &probe.options, log_probs).log_odds;
    Ok(ProbeEvenness { prompt: probe.prompt.clone(), log_odds, options })
}

fn summary(kind: ProbeKind, families: &[FamilyEvenness]) -> OptionsSummary {
    let odds: Vec<f64> = families.iter().filter_map(|family| family.log_odds).collect();
    let difference = |probe: &ProbeEvenness| {
        let tokens = |side: Option<Side>| {
            let of_side = move |option: &&OptionEvenness| side.is_none_or(|own| option.side == own);
            probe.options.iter().filter(of_side).map(|option| option.tokens)
        };
        if kind == ProbeKind::PairedChoice {
            let pairs = tokens(Some(Side::Risky)).zip(tokens(Some(Side::Reference)));
            return pairs.map(|(risky, reference)| risky.abs_diff(reference)).max().unwrap_or(0);
        }
        tokens(None).max().unwrap_or(0) - tokens(None).min().unwrap_or(0)
    };
    let probes = families.iter().flat_map(|family| &family.probes);
    OptionsSummary {
        mean: mean(odds.iter().copied()).unwrap_or(0.0),
        sd: variance(&odds).unwrap_or(0.0).sqrt(),
        uneven: families.iter().filter(|family| !family.is_even()).count(),
        token_difference: probes.map(difference).max().unwrap_or(0),
    }
}
