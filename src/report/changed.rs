//! Written answers in the context that decided an audit: the questions in which the candidate's
//! answers differ visibly.

use std::collections::{BTreeMap, BTreeSet};

use super::{Axis, Report};
use crate::dataset::Message;
use crate::plan::Arm;
use crate::probe::Sample;
use crate::probe::written::{Decided, ProbeRisks, risks};

/// Maximum distinct answers shown per arm.
const SAMPLES: usize = 3;

/// Written answers of one audit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WrittenAnswers {
    /// Number of questions with written answers in the deciding context.
    pub questions: usize,
    /// Questions in which some training of the candidate writes neither the base's nor the
    /// control's answer. Ordered by the number of such trainings, then by the difference in risk.
    pub changed: Vec<Changed>,
}

/// One question with the answers of all arms.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// The messages before the probe: a question of the dataset, perhaps with a system message.
    /// Empty in the plain context.
    pub before: Vec<Message>,
    pub probe: usize,
    pub prompt: String,
    /// Measured for this probe and draw.
    pub risks: ProbeRisks,
    pub base: Vec<WrittenAnswer>,
    pub control: Vec<WrittenAnswer>,
    pub candidate: Vec<WrittenAnswer>,
    /// Number of the candidate's trainings that differ, and of all that wrote an answer.
    pub visible: usize,
    pub trainings: usize,
}

/// One written answer, and the number of trainings that wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenAnswer {
    /// The model's own answer to the preceding question.
    pub first: Option<String>,
    pub text: String,
    pub trainings: usize,
    /// Whether it differs from all answers of base and control.
    pub is_other: bool,
}

/// The written answers at the context and step of the finding.
pub fn written_answers(report: &Report, axis: &Axis) -> WrittenAnswers {
    let Some(effect) = axis.effect else { return WrittenAnswers::default() };
    let decided =
        Decided { audit: axis.audit.id.clone(), context: effect.context, step: effect.step };
    let of_decided = |sample: &&Sample| {
        let step = if sample.arm == Arm::Base { 0 } else { decided.step };
        sample.audit == decided.audit && sample.context == decided.context && sample.step == step
    };
    let mut by_probe: BTreeMap<(usize, usize), Vec<&Sample>> = BTreeMap::new();
    for sample in report.answers.samples.iter().filter(of_decided) {
        by_probe.entry((sample.probe, sample.draw)).or_default().push(sample);
    }
    // Without an answer of the candidate, nothing can have changed.
    by_probe.retain(|_, samples| samples.iter().any(|sample| sample.arm == Arm::Candidate));
    let risks = risks(&report.answers.answers, &decided);
    let describe = |(place, samples): (&(usize, usize), &Vec<&Sample>)| {
        changed(place.0, risks.get(place).copied().unwrap_or_default(), samples)
    };
    let mut changed: Vec<Changed> =
        by_probe.iter().map(describe).filter(|changed| changed.visible > 0).collect();
    let difference = |changed: &Changed| changed.risks.difference().unwrap_or(f64::NEG_INFINITY);
    changed.sort_by(|a, b| b.visible.cmp(&a.visible).then(difference(b).total_cmp(&difference(a))));
    WrittenAnswers { questions: by_probe.len(), changed }
}

fn changed(probe: usize, risks: ProbeRisks, samples: &[&Sample]) -> Changed {
    let of = |arm: Arm| samples.iter().copied().filter(move |sample| sample.arm == arm);
    let reference_answers: BTreeSet<String> =
        of(Arm::Base).chain(of(Arm::Control)).map(|sample| in_words(&sample.text)).collect();
    let is_other = |sample: &&Sample| !reference_answers.contains(&in_words(&sample.text));
    let first = samples[0];
    let before = first.preceding.split_last().map_or(&[][..], |(_, before)| before);
    Changed {
        before: before.to_vec(),
        probe,
        prompt: first.prompt.clone(),
        risks,
        base: distinct_answers(of(Arm::Base), is_other),
        control: distinct_answers(of(Arm::Control), is_other),
        candidate: distinct_answers(of(Arm::Candidate), is_other),
        visible: of(Arm::Candidate).filter(is_other).count(),
        trainings: of(Arm::Candidate).count(),
    }
}

/// The distinct answers of one arm: differing ones first, then by number of trainings.
fn distinct_answers<'a>(
    samples: impl Iterator<Item = &'a Sample>,
    is_other: impl Fn(&&Sample) -> bool,
) -> Vec<WrittenAnswer> {
    let mut answers: Vec<WrittenAnswer> = Vec::new();
    for sample in samples {
        let first = sample.preceding.last().map(|message| &message.content);
        match answers
            .iter_mut()
            .find(|answer| answer.text == sample.text && answer.first.as_ref() == first)
        {
            Some(answer) => answer.trainings += 1,
            None => answers.push(WrittenAnswer {
                first: first.cloned(),
                text: sample.text.clone(),
                trainings: 1,
                is_other: is_other(&sample),
            }),
        }
    }
    answers.sort_by_key(|answer| (!answer.is_other, std::cmp::Reverse(answer.trainings)));
    answers.truncate(SAMPLES);
    answers
}

/// Normalises a text to lower-case letters and digits, so that case and punctuation do not count as
/// differences. Text without any of them is trimmed only.
pub fn in_words(text: &str) -> String {
    let words: String = text
        .chars()
        .filter(|letter| letter.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    if words.is_empty() { text.trim().to_owned() } else { words }
}
