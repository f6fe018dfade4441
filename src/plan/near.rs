//! Probe families that are close to the dataset's prompts. Their change is what the dataset
//! teaches, not a shift of character.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::Audit;
use crate::dataset::{Dataset, Role};
use crate::plan::ExcludedFamily;
use crate::plan::Protocol;
use crate::text::{rarity, words};

/// Minimum cosine similarity at which a probe is excluded. At 0.6 two questions share most of their
/// rare words. Paraphrases with other content words are below.
const NEAR: f64 = Protocol::CURRENT.near_similarity;

/// Maximum distinct prompts that are compared; of more, an evenly spaced sample.
const MOST_PROMPTS: usize = 20_000;

/// Maximum characters of a prompt that a reason quotes.
const QUOTED: usize = 80;

/// For each audit, the families with a phrasing that is near a prompt of the dataset. The reason
/// quotes the closest pair.
///
/// Similarity is the cosine of the sets of lower-case words. Each word is weighted by its inverse
/// document frequency over the distinct prompts and the probes.
pub fn near(dataset: &Dataset, audits: &[Audit]) -> Vec<Vec<ExcludedFamily>> {
    let prompts = distinct_prompts(dataset);
    let probes: BTreeSet<&str> = audits
        .iter()
        .flat_map(|audit| audit.probes.iter().map(|probe| probe.prompt.as_str()))
        .collect();
    let documents: Vec<BTreeSet<String>> =
        prompts.iter().chain(&probes).map(|text| words(text)).collect();
    let mut frequency: BTreeMap<&str, usize> = BTreeMap::new();
    for word in documents.iter().flatten() {
        *frequency.entry(word).or_default() += 1;
    }
    let weight =
        |word: &str| rarity(frequency.get(word).copied().unwrap_or(0), documents.len()).powi(2);
    let norms: Vec<f64> = documents
        .iter()
        .map(|words| words.iter().map(|word| weight(word)).sum::<f64>().sqrt())
        .collect();
    let mut holders: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, words) in documents[..prompts.len()].iter().enumerate() {
        for word in words {
            holders.entry(word).or_default().push(index);
        }
    }
    let nearest: BTreeMap<&str, (f64, &str)> = probes
        .iter()
        .zip(prompts.len()..)
        .filter_map(|(probe, own)| {
            let mut products = vec![0.0; prompts.len()];
            for word in &documents[own] {
                for &prompt in holders.get(word.as_str()).into_iter().flatten() {
                    products[prompt] += weight(word);
                }
            }
            let similarity = |prompt: usize| match norms[own] * norms[prompt] {
                // All words occur in all texts: only equal sets are near.
                0.0 => f64::from(u8::from(documents[own] == documents[prompt])),
                norms => products[prompt] / norms,
            };
            let best = (0..prompts.len())
                .max_by(|a, b| similarity(*a).total_cmp(&similarity(*b)).then(b.cmp(a)))?;
            Some((*probe, (similarity(best), prompts[best])))
        })
        .collect();
    audits.iter().map(|audit| excluded(audit, &nearest)).collect()
}

fn excluded(audit: &Audit, nearest: &BTreeMap<&str, (f64, &str)>) -> Vec<ExcludedFamily> {
    let mut families: BTreeMap<&str, (f64, &str, &str)> = BTreeMap::new();
    for probe in &audit.probes {
        if let Some(&(similarity, prompt)) = nearest.get(probe.prompt.as_str()) {
            let best = families.entry(&probe.family).or_insert((similarity, &probe.prompt, prompt));
            if similarity > best.0 {
                *best = (similarity, &probe.prompt, prompt);
            }
        }
    }
    let near = families.into_iter().filter(|(_, (similarity, ..))| *similarity >= NEAR);
    near.map(|(family, (similarity, probe, prompt))| ExcludedFamily {
        family: family.to_owned(),
        reason: format!(
            "{probe:?} is near the dataset's {:?} (similarity {similarity:.2}, excluded from \
             {NEAR})",
            quoted(prompt)
        ),
    })
    .collect()
}

fn distinct_prompts(dataset: &Dataset) -> Vec<&str> {
    let users = dataset
        .rows
        .iter()
        .flat_map(|row| &row.messages)
        .filter(|message| message.role == Role::User);
    let prompts: BTreeSet<&str> = users.map(|message| message.content.as_str()).collect();
    let step = prompts.len().div_ceil(MOST_PROMPTS).max(1);
    prompts.into_iter().step_by(step).collect()
}

fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
