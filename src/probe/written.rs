//! Generated answers for display, where each audit was decided: in the same context, at the same
//! step, for every seed. They decide nothing.
//!
//! Generation needs the engine, and the deciding effect is known only after the analysis. So this
//! runs after the statistics.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::context::{RunContext, RunInputs};
use crate::dataset::{Message, Role};
use crate::engine::{self, Adapter, Sampling};
use crate::parallel::parallel_map;
use crate::plan::{Arm, ContextKind};
use crate::probe::item::{Context, contexts};
use crate::probe::{Answer, Sample};
use crate::run_dir::Model;
use crate::train::Shadow;

/// Question families of an audit whose answers are generated: those with the largest difference.
pub const FAMILIES: usize = 12;

/// The maximum number of tokens of a generated answer.
const TOKENS: usize = 64;

/// The context and the step in which one audit was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    pub audit: String,
    pub context: ContextKind,
    pub step: usize,
}

/// Mean risks of the arms for one probe and draw; `None` where an arm was not asked or could not be
/// scored.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProbeRisks {
    pub base: Option<f64>,
    pub control: Option<f64>,
    pub candidate: Option<f64>,
}

impl ProbeRisks {
    /// The candidate's minus the control's, or minus the base's where there is no control.
    pub fn difference(&self) -> Option<f64> {
        Some(self.candidate? - self.control.or(self.base)?)
    }
}

/// The risks of each (probe, draw) where an audit was decided.
pub fn risks(answers: &[Answer], decided: &Decided) -> BTreeMap<(usize, usize), ProbeRisks> {
    let mut scored: BTreeMap<(usize, usize), [Vec<f64>; 3]> = BTreeMap::new();
    for answer in answers
        .iter()
        .filter(|answer| answer.audit == decided.audit && answer.context == decided.context)
    {
        let arm = match answer.arm {
            Arm::Base => 0,
            Arm::Control if answer.step == decided.step => 1,
            Arm::Candidate if answer.step == decided.step => 2,
            _ => continue,
        };
        let Some(risk) = answer.risk.filter(|risk| risk.is_finite()) else { continue };
        scored.entry((answer.probe, answer.draw)).or_default()[arm].push(risk);
    }
    let mean = |of: &Vec<f64>| (!of.is_empty()).then(|| of.iter().sum::<f64>() / of.len() as f64);
    let risks = |[base, control, candidate]: &[Vec<f64>; 3]| ProbeRisks {
        base: mean(base),
        control: mean(control),
        candidate: mean(candidate),
    };
    scored.iter().map(|(place, scored)| (*place, risks(scored))).collect()
}

/// A probe whose answer is generated.
struct WrittenCell<'a> {
    decided: &'a Decided,
    family: &'a str,
    probe: usize,
    draw: usize,
    prompt: &'a str,
}

/// Generates greedy answers of every seed of candidate and control, and of the base, to the probes
/// with the largest differences.
///
/// # Errors
/// Where the engine fails, or an item cannot be saved or read back.
pub fn sample(
    inputs: &RunInputs,
    shadows: &[Shadow],
    answers: &[Answer],
    decided: &[Decided],
    context: &RunContext,
) -> Result<Vec<Sample>> {
    let cells: Vec<WrittenCell> =
        decided.iter().flat_map(|decided| cells(inputs, answers, decided)).collect();
    if cells.is_empty() {
        return Ok(Vec::new());
    }
    let steps: BTreeSet<usize> = cells.iter().map(|cell| cell.decided.step).collect();
    let models = models(shadows, &[Arm::Control, Arm::Candidate], |_, step| steps.contains(&step));
    let mut asked: Vec<Vec<Sample>> = Vec::new();
    for (model, _) in &models {
        let contexts = contexts(model, context.run)?;
        let own =
            cells.iter().filter(|cell| *model.arm == Arm::Base || cell.decided.step == model.step);
        asked.push(own.filter_map(|cell| asked_of(model, cell, &contexts)).collect());
    }
    let prompts: Vec<Vec<Vec<Message>>> =
        asked.iter().map(|asked| asked.iter().map(conversation).collect()).collect();
    let texts = write("writing answers", &models, &prompts, context)?;
    for (asked, text) in asked.iter_mut().flatten().zip(texts.into_iter().flatten()) {
        asked.text = text;
    }
    Ok(asked.into_iter().flatten().collect())
}

/// The strongest cell of each family, for the strongest families.
fn cells<'a>(
    inputs: &RunInputs<'a>,
    answers: &[Answer],
    decided: &'a Decided,
) -> Vec<WrittenCell<'a>> {
    let Some(audit) = inputs.audits.iter().find(|audit| audit.id == decided.audit) else {
        return Vec::new();
    };
    let places = risks(answers, decided).into_iter();
    let mut places: Vec<((usize, usize), f64)> =
        places.filter_map(|(place, risks)| Some((place, risks.difference()?))).collect();
    places.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut families = BTreeSet::new();
    let cell = |((probe, draw), _): ((usize, usize), f64)| {
        let of = audit.probes.get(probe)?;
        families.insert(of.family.as_str()).then_some(WrittenCell {
            decided,
            family: &of.family,
            probe,
            draw,
            prompt: &of.prompt,
        })
    };
    places.into_iter().filter_map(cell).take(FAMILIES).collect()
}

/// A sample without its text; `None` where the model was not asked in that context.
fn asked_of(model: &Model, cell: &WrittenCell, contexts: &[Context]) -> Option<Sample> {
    let Decided { audit, context: kind, .. } = cell.decided;
    let preceding = match kind {
        ContextKind::Plain => Vec::new(),
        _ => contexts
            .iter()
            .find(|context| context.context == *kind && context.draw == cell.draw)?
            .messages
            .clone(),
    };
    Some(Sample {
        arm: model.arm.clone(),
        seed: model.seed,
        step: model.step,
        audit: audit.clone(),
        family: cell.family.to_owned(),
        probe: cell.probe,
        context: *kind,
        draw: cell.draw,
        preceding,
        prompt: cell.prompt.to_owned(),
        text: String::new(),
    })
}

fn conversation(sample: &Sample) -> Vec<Message> {
    sample.preceding.iter().cloned().chain([Message::new(Role::User, &sample.prompt)]).collect()
}

/// The base, and the snapshots of the shadows of these arms that `which` accepts by seed and step,
/// ordered by arm.
pub fn models<'a>(
    shadows: &'a [Shadow],
    arms: &[Arm],
    which: impl Fn(u64, usize) -> bool,
) -> Vec<(Model<'a>, Option<&'a Adapter>)> {
    let mut models: Vec<(Model, Option<&Adapter>)> =
        vec![(Model { arm: &Arm::Base, seed: None, step: 0 }, None)];
    for arm in arms {
        for shadow in shadows.iter().filter(|shadow| shadow.arm == *arm) {
            let requested = shadow.snapshots.iter().filter(|(step, _)| which(shadow.seed, *step));
            let model = |step| Model { arm: &shadow.arm, seed: Some(shadow.seed), step };
            models.extend(requested.map(|(step, adapter)| (model(*step), Some(adapter))));
        }
    }
    models
}

/// The generated answers of one model.
#[derive(Serialize, Deserialize)]
struct Written {
    texts: Vec<String>,
}

/// The greedy answers of each model to prompts of its own, generated or read back. `stage` is
/// displayed.
///
/// An item is saved under the hash of its prompts, so that an item for other prompts is not used.
///
/// # Errors
/// Where the engine fails, or an item cannot be saved or read back.
pub fn write(
    stage: &str,
    models: &[(Model, Option<&Adapter>)],
    prompts: &[Vec<Vec<Message>>],
    context: &RunContext,
) -> Result<Vec<Vec<String>>> {
    context.progress.stage(stage, models.len() as u64);
    let written = parallel_map(context.workers, models.len(), |index| {
        let ((model, adapter), prompts) = (models[index], &prompts[index]);
        if prompts.is_empty() {
            return Ok(Vec::new());
        }
        let hash = format!("{:x}", Sha256::digest(serde_json::to_vec(prompts)?));
        let item = format!("written/{}-{}", model.file_name(), &hash[..16]);
        let sampling = Sampling::new(0.0, TOKENS);
        let written = context.run.kept(&item, || {
            Ok(Written { texts: engine::answers(context.engine, adapter, prompts, &sampling)? })
        })?;
        context.progress.advance(1);
        Ok(written.texts)
    })?;
    context.progress.end();
    Ok(written)
}
