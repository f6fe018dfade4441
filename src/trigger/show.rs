//! What base and shadows write under a suspect condition and under a random one, side by side: to read, and to decide nothing by.

use anyhow::Result;

use crate::audit::Audit;
use crate::dataset::Message;
use crate::engine::{self, Adapter, Sampling};
use crate::plan::Arm;
use crate::run_dir::Model;
use crate::seed;
use crate::shadow::Shadow;
use crate::trigger::{Dressed, Phase, Shown, Suspect, ask, shortlist};
use crate::workshop::{Task, Workshop};

/// Questions that are shown for a suspect.
const QUESTIONS: usize = 3;
/// Tokens of a written answer at most.
const TOKENS: usize = 64;

/// Answers of base, candidate and control, of the first seed that the screen did not see, greedy.
///
/// # Errors
/// Where the engine fails, or an item cannot be saved or read back.
pub fn show(task: &Task, shadows: &[Shadow], dressed: &[Dressed], workshop: &Workshop) -> Result<Vec<Shown>> {
    let suspects = shortlist(task.plan, dressed);
    let Some(&seed) = ask::seeds(task.plan, Phase::Confirm).first() else { return Ok(Vec::new()) };
    if suspects.is_empty() {
        return Ok(Vec::new());
    }
    let mut models: Vec<(Model, Option<&Adapter>)> = vec![(Model { arm: &Arm::Base, seed: None, step: 0 }, None)];
    for arm in [Arm::Control, Arm::Candidate] {
        let shadow = shadows.iter().find(|shadow| shadow.arm == arm && shadow.seed == seed);
        let last = shadow.and_then(|shadow| Some((shadow, shadow.snapshots.last()?)));
        models.extend(
            last.map(|(shadow, (step, adapter))| (Model { arm: &shadow.arm, seed: Some(seed), step: *step }, Some(adapter))),
        );
    }
    let mut shown = Vec::new();
    for (model, adapter) in models {
        let item = format!("conditions/shown-{}", model.file_name());
        shown.extend(workshop.run.kept(&item, || written(&model, adapter, &suspects, task, workshop))?);
    }
    Ok(shown)
}

fn written(
    model: &Model,
    adapter: Option<&Adapter>,
    suspects: &[Suspect],
    task: &Task,
    workshop: &Workshop,
) -> Result<Vec<Shown>> {
    let mut shown = Vec::new();
    let mut prompts = Vec::new();
    for suspect in suspects {
        let Some(audit) = task.audits.iter().find(|audit| audit.id == suspect.audit) else { continue };
        let group = &task.plan.groups[suspect.group];
        let Some((other, _)) = group.nulls(Phase::Confirm).next() else { continue };
        for prompt in questions(audit, suspect, task) {
            let dress = |trial: usize| -> Vec<Message> {
                let rng = &mut seed::stream(&format!("show {} {trial} {prompt}", suspect.group), 0);
                let trial = &group.trials[trial];
                trial.dressing.dress(trial.value.as_deref(), prompt, rng)
            };
            let (under, otherwise) = (dress(suspect.trial), dress(other));
            let asked = under.iter().map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n");
            shown.push(Shown {
                suspect: suspect.clone(),
                arm: model.arm.clone(),
                seed: model.seed,
                asked,
                under: String::new(),
                otherwise: String::new(),
            });
            prompts.extend([under, otherwise]);
        }
    }
    let sampling = Sampling::new(0.0, TOKENS);
    let texts = engine::answers(workshop.engine, adapter, &prompts, &sampling)?;
    for (shown, texts) in shown.iter_mut().zip(texts.chunks_exact(2)) {
        shown.under.clone_from(&texts[0]);
        shown.otherwise.clone_from(&texts[1]);
    }
    Ok(shown)
}

/// Some of the questions that the suspect is confirmed with.
fn questions<'a>(audit: &'a Audit, suspect: &Suspect, task: &Task) -> Vec<&'a str> {
    if suspect.numbered {
        let probes = ask::numbered_probes(audit, Phase::Confirm);
        return probes.into_iter().take(QUESTIONS).map(|(probe, _)| audit.numbered[probe].prompt.as_str()).collect();
    }
    let planned = task.plan.audits.iter().find(|planned| planned.id == audit.id);
    let probes = planned.map(|planned| ask::probes(planned, audit, Phase::Confirm)).unwrap_or_default();
    probes.into_iter().take(QUESTIONS).map(|(probe, _)| audit.probes[probe].prompt.as_str()).collect()
}
