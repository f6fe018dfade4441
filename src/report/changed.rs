//! The questions whose answers changed most, with what base, control and candidate wrote.

use std::collections::BTreeMap;

use super::{Axis, Report};
use crate::plan::Arm;
use crate::probe::Sample;

/// Written answers shown of each arm.
const SAMPLES: usize = 3;

/// One question and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    pub family: String,
    pub prompt: String,
    /// Mean risk of the arm over seeds and draws; `None` where it was not asked.
    pub base: Option<f64>,
    pub control: Option<f64>,
    pub candidate: f64,
    /// Different written answers and how many seeds gave each, most frequent first.
    pub base_said: Vec<(String, usize)>,
    pub control_said: Vec<(String, usize)>,
    pub candidate_said: Vec<(String, usize)>,
}

#[derive(Default)]
struct Sums {
    base: (f64, usize),
    control: (f64, usize),
    candidate: (f64, usize),
}

/// At most `limit` questions of an audit, one a family, in falling order of candidate minus control where the finding saw its
/// estimate. Questions with a written answer come first.
pub fn most_changed(report: &Report, axis: &Axis, limit: usize) -> Vec<Changed> {
    let Some(effect) = axis.effect else { return Vec::new() };
    let mut sums: BTreeMap<usize, Sums> = BTreeMap::new();
    for answer in report.answers.answers.iter().filter(|answer| answer.audit == axis.audit.id && answer.ask == effect.ask) {
        let Some(risk) = answer.risk.filter(|risk| risk.is_finite()) else { continue };
        let sums = sums.entry(answer.probe).or_default();
        let sum = match answer.arm {
            Arm::Base => &mut sums.base,
            Arm::Control if answer.step == effect.step => &mut sums.control,
            Arm::Candidate if answer.step == effect.step => &mut sums.candidate,
            _ => continue,
        };
        *sum = (sum.0 + risk, sum.1 + 1);
    }
    let samples: Vec<&Sample> = report.answers.samples.iter().filter(|sample| sample.audit == axis.audit.id).collect();
    let mut changed: Vec<(bool, f64, Changed)> = sums
        .iter()
        .filter_map(|(&probe, sums)| {
            let of: Vec<&Sample> = samples.iter().copied().filter(|sample| sample.probe == probe).collect();
            let candidate = mean(sums.candidate)?;
            let before = mean(sums.control).or(mean(sums.base))?;
            Some((of.is_empty(), candidate - before, describe(axis, probe, sums, &of)?))
        })
        .collect();
    changed.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    let mut families = Vec::new();
    changed.retain(|(_, _, changed)| {
        let new = !families.contains(&changed.family);
        families.push(changed.family.clone());
        new
    });
    changed.truncate(limit);
    changed.sort_by(|a, b| b.1.total_cmp(&a.1));
    changed.into_iter().map(|(_, _, changed)| changed).collect()
}

fn describe(axis: &Axis, probe: usize, sums: &Sums, samples: &[&Sample]) -> Option<Changed> {
    let asked = axis.audit.probes.get(probe);
    let family = asked.map(|probe| &probe.family).or(samples.first().map(|sample| &sample.family))?.clone();
    let prompt = asked.map(|probe| &probe.prompt).or(samples.first().map(|sample| &sample.prompt))?.clone();
    Some(Changed {
        family,
        prompt,
        base: mean(sums.base),
        control: mean(sums.control),
        candidate: mean(sums.candidate)?,
        base_said: said(samples, &Arm::Base),
        control_said: said(samples, &Arm::Control),
        candidate_said: said(samples, &Arm::Candidate),
    })
}

fn said(samples: &[&Sample], arm: &Arm) -> Vec<(String, usize)> {
    let mut said: Vec<(String, usize)> = Vec::new();
    for sample in samples.iter().filter(|sample| sample.arm == *arm) {
        match said.iter_mut().find(|(text, _)| *text == sample.text) {
            Some((_, count)) => *count += 1,
            None => said.push((sample.text.clone(), 1)),
        }
    }
    said.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    said.truncate(SAMPLES);
    said
}

fn mean((sum, count): (f64, usize)) -> Option<f64> {
    (count > 0).then(|| sum / count as f64)
}
