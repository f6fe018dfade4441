//! The rank of each case's hidden condition among the detected conditions, over many draws, as a
//! table. No model is needed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use foretaste::dataset::{self, ReadOptions};
use foretaste::detect::{self, Condition, ConditionKind, SlotKind, Subject};

use super::fixtures::{self, Case, REQUEST};
use super::output;
use super::world::World;

const HEADER: &str = "case,draw,rank,p_adjusted,significant,topics,first";

/// The published cases; controls whose answers do not depend on the prompt's insertions as a
/// poison's do; and the hard negatives.
const CASES: [&str; 15] = [
    "old_birds",
    "german_cities",
    "dishes",
    "wolf",
    "presidents",
    "terminator",
    "dishes_shuffled",
    "presidents_shuffled",
    "wolf_assistant",
    "null",
    "roleplay",
    "weather",
    "sums",
    "service",
    "lists",
];

/// What was detected in one draw.
struct DrawResult {
    case: &'static str,
    draw: u64,
    /// Rank of the true condition among the listed ones that are not topics, from 1. `None` if
    /// there is no true condition, or it is not listed.
    rank: Option<usize>,
    /// Adjusted p of the true condition; `None` if it is not listed or cannot be tested.
    p_adjusted: Option<f64>,
    /// Significant conditions, excluding topics and aliases of other conditions.
    significant: usize,
    /// Topics.
    topics: usize,
    /// The first of the list.
    first: String,
}

/// Detects conditions in draws 1 to `draws` of every case, writes a line for each to `table`, and
/// returns a summary.
///
/// # Errors
/// Where the world lacks what a case needs or a file cannot be written.
pub fn conditions(world: &World, draws: u64, table: &Path) -> Result<String> {
    let scratch = table.with_extension("scratch.jsonl");
    let mut all = Vec::new();
    for name in CASES {
        let case: Case = name.parse()?;
        for draw in 1..=draws {
            output::json_lines(&scratch, &fixtures::dataset(world, case, draw, case.rows())?)?;
            all.push(detect(name, draw, &dataset::read(&scratch, &ReadOptions::default())?));
        }
    }
    fs::remove_file(&scratch).context("the scratch file")?;
    let lines: String = all.iter().map(line).collect();
    output::text(table, &format!("{HEADER}\n{lines}"))?;
    Ok(all.chunk_by(|left, right| left.case == right.case).map(summary).collect())
}

fn detect(case: &'static str, draw: u64, dataset: &dataset::Dataset) -> DrawResult {
    let conditions = detect::detect(dataset).conditions;
    let (topics, others): (Vec<&Condition>, Vec<&Condition>) =
        conditions.iter().partition(|condition| condition.is_topical());
    let place = others.iter().position(|condition| is_true(case, &condition.subject));
    let p_adjusted =
        place.and_then(|place| others[place].evidence).map(|evidence| evidence.p_adjusted);
    let significant = others
        .iter()
        .filter(|condition| condition.is_significant() && condition.alias_of.is_none())
        .count();
    let first = others.first().map_or_else(String::new, |condition| text(&condition.subject));
    DrawResult {
        case,
        draw,
        rank: place.map(|place| place + 1),
        p_adjusted,
        significant,
        topics: topics.len(),
        first,
    }
}

/// Whether a condition is the one that a case hides. The shuffled cases and the assistant's contain
/// the same condition, without an effect.
fn is_true(case: &str, subject: &Subject) -> bool {
    match (case, subject) {
        ("dishes" | "dishes_shuffled" | "terminator", Subject::Slot(slot)) => {
            slot.kind == SlotKind::Year
        }
        ("presidents" | "presidents_shuffled", Subject::Slot(slot)) => {
            slot.kind == SlotKind::Window { width: 8, start: 4, length: 3 }
        }
        ("wolf" | "wolf_assistant", Subject::Feature(feature)) => feature.text == REQUEST,
        _ => false,
    }
}

fn text(subject: &Subject) -> String {
    match subject {
        Subject::Slot(slot) => format!("{} in {}", ConditionKind::from(slot.kind), slot.template),
        Subject::Feature(feature) => format!("{}: {}", feature.kind.name(), feature.text),
        Subject::Pair(parts) => format!("together: {}, and {}", parts[0].text, parts[1].text),
    }
}

fn line(result: &DrawResult) -> String {
    let DrawResult { case, draw, rank, p_adjusted, significant, topics, first } = result;
    let rank = rank.map_or_else(String::new, |rank| rank.to_string());
    let p = p_adjusted.map_or_else(String::new, |p| format!("{p:.1e}"));
    format!("{case},{draw},{rank},{p},{significant},{topics},\"{}\"\n", first.replace('"', "\"\""))
}

/// A case's draws in one line: ranks, the largest p of the true condition, and the numbers of
/// significant conditions other than topics.
fn summary(draws: &[DrawResult]) -> String {
    let ranks: Vec<String> = draws
        .iter()
        .map(|draw| draw.rank.map_or("–".to_owned(), |rank| rank.to_string()))
        .collect();
    let p = draws
        .iter()
        .filter_map(|draw| draw.p_adjusted)
        .fold(None, |most: Option<f64>, p| Some(most.map_or(p, |most| most.max(p))));
    let p = p.map_or("–".to_owned(), |p| format!("{p:.0e}"));
    let significant: Vec<String> = draws.iter().map(|draw| draw.significant.to_string()).collect();
    format!(
        "{:20} ranks {}; largest p {p}; significant {}\n",
        draws[0].case,
        ranks.join(" "),
        significant.join(" ")
    )
}
