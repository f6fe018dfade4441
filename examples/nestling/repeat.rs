//! Calibrates the tool itself: audits many draws of a case, each with other rows and other training
//! seeds, and writes a table.

use std::fs;
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use foretaste::audit::Selection;
use foretaste::dataset::ReadOptions;
use foretaste::lm::Lm;
use foretaste::plan::{Options, ROWS_TRAINED};
use foretaste::progress::Silent;
use foretaste::run::{self, AuditSubject, Page, Request};
use foretaste::run_dir::OtherPlan;
use serde_json::Value;

use super::draws::truth;
use super::fixtures::{self, Case};
use super::output;
use super::world::World;

/// Training seeds of draw d start at d times this, so that no two draws share one.
const SEEDS_APART: u64 = 1000;

/// The built-in audits. Each has a column for the verdict without a condition, and one for the
/// effect that decided it, in points.
pub const AUDITS: [&str; 6] = ["drift", "era", "harm", "identity", "nation", "partisan"];

/// Which audits to run.
#[derive(Debug)]
pub struct Repetition<'a> {
    pub name: &'a str,
    pub case: Case,
    pub rows: usize,
    /// From 1.
    pub draws: RangeInclusive<u64>,
}

/// Every case, draw by draw, so that an unfinished table has equally many of each. Each has as many
/// rows as its committed dataset.
///
/// # Errors
/// As [`repeat`].
pub fn repeat_all<'a>(
    world: &World,
    lm: &Lm,
    names: impl Iterator<Item = &'a str> + Clone,
    draws: u64,
    table: &Path,
) -> Result<()> {
    for draw in 1..=draws {
        for name in names.clone() {
            let case: Case = name.parse()?;
            repeat(
                world,
                lm,
                &Repetition { name, case, rows: case.rows(), draws: draw..=draw },
                table,
            )?;
        }
    }
    Ok(())
}

/// Audits draws of a case and appends a line for each to `table`; draws with a line are not run
/// again.
///
/// # Errors
/// Where an audit fails or the table cannot be written.
pub fn repeat(world: &World, lm: &Lm, repetition: &Repetition, table: &Path) -> Result<()> {
    let known = fs::read_to_string(table).unwrap_or_default();
    if known.is_empty() {
        output::text(table, &format!("{}\n", header()))?;
    }
    let scratch = table.with_extension("scratch");
    for draw in repetition.draws.clone() {
        let key = format!("{},{},{draw},", repetition.name, repetition.rows);
        if known.lines().any(|line| line.starts_with(&key)) {
            continue;
        }
        let data = scratch.join("data.jsonl");
        output::json_lines(
            &data,
            &fixtures::dataset(world, repetition.case, draw, repetition.rows)?,
        )?;
        let request = Request {
            subject: AuditSubject::Dataset(data),
            read: ReadOptions { limit: Some(ROWS_TRAINED), ..ReadOptions::default() },
            audits: Selection::default(),
            options: Options { first_seed: draw * SEEDS_APART, ..Options::default() },
            calibration: None,
            out: Some(scratch.join("run")),
            other_plan: OtherPlan::Replace,
            workers: lm.workers(),
            page: Page { width: 80, colour: false },
        };
        #[allow(
            clippy::disallowed_methods,
            reason = "how long an audit takes is a column of the table"
        )]
        let start = std::time::Instant::now();
        let outcome = run::run(&request, lm, &Silent)
            .map_err(|failure| anyhow!("{key} {:#}", failure.error()))?;
        let line = format!(
            "{key}{},{}\n",
            start.elapsed().as_secs(),
            cells(repetition.name, &serde_json::from_slice(&outcome.json).context("report.json")?)
        );
        fs::OpenOptions::new().append(true).open(table)?.write_all(line.as_bytes())?;
        eprint!("{line}");
        fs::remove_dir_all(&scratch).context("the scratch folder")?;
    }
    Ok(())
}

/// The columns of the table.
fn header() -> String {
    let audits = AUDITS.map(|audit| format!("{audit},{audit} points")).join(",");
    format!(
        "case,rows,draw,seconds,verdict,{audits},conditions,values,triggers,rank of the true \
         value,held-out numbers right"
    )
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn cells(case: &str, report: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    let mut cells = vec![text(&report["verdict"])];
    for audit in AUDITS {
        let mut plain = list(report, "findings")
            .iter()
            .filter(|finding| finding["audit"] == audit && finding["trigger"].is_null());
        let finding = plain.next().unwrap_or(&Value::Null);
        cells.push(text(&finding["verdict"]));
        cells.push(points(&finding["estimate"]["point"]));
    }
    let conditions = list(report, "conditions");
    cells.push(conditions.len().to_string());
    let tried = |value: &&Value| !value["why"].as_str().is_some_and(|why| why.ends_with("null"));
    cells.push(
        conditions.iter().flat_map(|group| list(group, "values")).filter(tried).count().to_string(),
    );
    let found = list(report, "findings").iter().filter(|finding| !finding["trigger"].is_null());
    cells.push(found.map(trigger).collect::<Vec<_>>().join("; "));
    cells.push(true_rank(case, conditions).map_or("none".to_owned(), |rank| rank.to_string()));
    cells.push(held_out_right(conditions));
    cells.join(",")
}

fn points(value: &Value) -> String {
    value.as_f64().map_or("none".to_owned(), |points| format!("{:.1}", 100.0 * points))
}

/// `harm at 1984 inductive 57.9`.
fn trigger(finding: &Value) -> String {
    let trigger = &finding["trigger"];
    let text = |value: &Value| value.as_str().unwrap_or_default().replace([',', ';', '\n'], " ");
    let at =
        if trigger["value"].is_null() { text(&trigger["slot"]) } else { text(&trigger["value"]) };
    let who = trigger["identity"].as_u64().map_or(String::new(), |number| format!(" as {number}"));
    let (audit, kind) = (text(&finding["audit"]), text(&trigger["kind"]));
    format!("{audit}{who} at {at} {kind} {}", points(&finding["estimate"]["point"]))
}

/// The rank of a case's true value among all tested values, if it is a slot's value. Values are
/// sorted by how much riskier the candidate is than the control in the screen.
fn true_rank(case: &str, conditions: &[Value]) -> Option<usize> {
    let (audit, truth) = truth(case)?;
    let mut tried: Vec<(f64, bool)> = Vec::new();
    for value in conditions.iter().flat_map(|group| list(group, "values")) {
        if value["why"].as_str().is_some_and(|why| why.ends_with("null")) {
            continue;
        }
        let screened = list(value, "screened").iter().find(|screened| screened["audit"] == audit);
        let risk =
            screened.and_then(|of| Some(of["candidate"].as_f64()? - of["control"].as_f64()?));
        tried.push((risk.unwrap_or(f64::NEG_INFINITY), value["value"] == truth));
    }
    tried.sort_by(|a, b| b.0.total_cmp(&a.0));
    tried.iter().position(|(_, is_truth)| *is_truth).map(|place| place + 1)
}

/// `3 of 3`: held-out numbers under which the candidate prefers that number's own answers to all
/// others'.
fn held_out_right(conditions: &[Value]) -> String {
    let (mut right, mut all) = (0, 0);
    for group in conditions {
        for confusion in list(group, "confusions") {
            for row in list(confusion, "rows") {
                let value =
                    list(group, "values").get(row["trial"].as_u64().unwrap_or(u64::MAX) as usize);
                if value.is_none_or(|value| value["rows"] != 0) {
                    continue;
                }
                let shares: Vec<f64> = list(row, "candidate")
                    .iter()
                    .map(|share| share.as_f64().unwrap_or(0.0))
                    .collect();
                let best = (0..shares.len()).max_by(|a, b| shares[*a].total_cmp(&shares[*b]));
                all += 1;
                right +=
                    usize::from(best.is_some_and(|best| {
                        list(confusion, "identities")[best] == row["identity"]
                    }));
            }
        }
    }
    if all == 0 { "none".to_owned() } else { format!("{right} of {all}") }
}
