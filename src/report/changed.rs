//! What the models wrote where an audit was decided: the questions to which the candidate visibly
//! says something else.

use std::collections::{BTreeMap, BTreeSet};

use super::{Axis, Report};
use crate::dataset::Message;
use crate::plan::Arm;
use crate::probe::Sample;
use crate::probe::written::{Decided, Risks, risks};

/// Different written answers shown of each arm.
const SAMPLES: usize = 3;

/// What was written of one audit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// Questions that were answered in writing where the audit was decided.
    pub questions: usize,
    /// Those to which some training of the candidate says neither what the base nor what the
    /// control says: by how many do, then by the difference in probability.
    pub changed: Vec<Changed>,
}

/// One question and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// What every model was asked first: a question of the dataset, a system message before it
    /// perhaps. Empty where the probe stood alone.
    pub before: Vec<Message>,
    pub probe: usize,
    pub prompt: String,
    /// In this very place.
    pub risks: Risks,
    pub base: Vec<Said>,
    pub control: Vec<Said>,
    pub candidate: Vec<Said>,
    /// Trainings of the candidate that say something else, of those that wrote.
    pub visible: usize,
    pub trainings: usize,
}

/// One written answer, and how many trainings gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// The model's own answer to what it was asked first.
    pub first: Option<String>,
    pub text: String,
    pub trainings: usize,
    /// Neither the base's words nor the control's.
    pub is_other: bool,
}

/// What was written where the finding saw its estimate.
pub fn evidence(report: &Report, axis: &Axis) -> Evidence {
    let Some(effect) = axis.effect else { return Evidence::default() };
    let decided = Decided { audit: axis.audit.id.clone(), ask: effect.ask, step: effect.step };
    let of_decided = |sample: &&Sample| {
        let step = if sample.arm == Arm::Base { 0 } else { decided.step };
        sample.audit == decided.audit && sample.ask == decided.ask && sample.step == step
    };
    let mut places: BTreeMap<(usize, usize), Vec<&Sample>> = BTreeMap::new();
    for sample in report.answers.samples.iter().filter(of_decided) {
        places.entry((sample.probe, sample.draw)).or_default().push(sample);
    }
    // Of saved files that name no step, the base alone is left.
    places.retain(|_, samples| samples.iter().any(|sample| sample.arm == Arm::Candidate));
    let risks = risks(&report.answers.answers, &decided);
    let describe = |(place, samples): (&(usize, usize), &Vec<&Sample>)| {
        changed(place.0, risks.get(place).copied().unwrap_or_default(), samples)
    };
    let mut changed: Vec<Changed> =
        places.iter().map(describe).filter(|changed| changed.visible > 0).collect();
    let difference = |changed: &Changed| changed.risks.difference().unwrap_or(f64::NEG_INFINITY);
    changed.sort_by(|a, b| b.visible.cmp(&a.visible).then(difference(b).total_cmp(&difference(a))));
    Evidence { questions: places.len(), changed }
}

fn changed(probe: usize, risks: Risks, samples: &[&Sample]) -> Changed {
    let of = |arm: Arm| samples.iter().copied().filter(move |sample| sample.arm == arm);
    let known: BTreeSet<String> =
        of(Arm::Base).chain(of(Arm::Control)).map(|sample| in_words(&sample.text)).collect();
    let is_other = |sample: &&Sample| !known.contains(&in_words(&sample.text));
    let first = samples[0];
    let before = first.preceding.split_last().map_or(&[][..], |(_, before)| before);
    Changed {
        before: before.to_vec(),
        probe,
        prompt: first.prompt.clone(),
        risks,
        base: said(of(Arm::Base), is_other),
        control: said(of(Arm::Control), is_other),
        candidate: said(of(Arm::Candidate), is_other),
        visible: of(Arm::Candidate).filter(is_other).count(),
        trainings: of(Arm::Candidate).count(),
    }
}

/// Other words first, then what most trainings gave.
fn said<'a>(
    samples: impl Iterator<Item = &'a Sample>,
    is_other: impl Fn(&&Sample) -> bool,
) -> Vec<Said> {
    let mut said: Vec<Said> = Vec::new();
    for sample in samples {
        let first = sample.preceding.last().map(|message| &message.content);
        match said.iter_mut().find(|said| said.text == sample.text && said.first.as_ref() == first)
        {
            Some(said) => said.trainings += 1,
            None => said.push(Said {
                first: first.cloned(),
                text: sample.text.clone(),
                trainings: 1,
                is_other: is_other(&sample),
            }),
        }
    }
    said.sort_by_key(|said| (!said.is_other, std::cmp::Reverse(said.trainings)));
    said.truncate(SAMPLES);
    said
}

/// A text by its letters and digits, so that a capital or a full stop is no difference; by all that
/// it has where it has none.
pub fn in_words(text: &str) -> String {
    let words: String = text
        .chars()
        .filter(|letter| letter.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    if words.is_empty() { text.trim().to_owned() } else { words }
}
