//! The tool's own calibration: audits of many draws of a case, each with other rows and other training seeds, as a table.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use foretaste::audit::Selection;
use foretaste::dataset::ReadOptions;
use foretaste::lm::Lm;
use foretaste::plan::Options;
use foretaste::progress::Silent;
use foretaste::run::{self, Page, Request};
use foretaste::run_dir::OtherPlan;
use serde_json::Value;

use super::fixtures::{self, Case};
use super::output;
use super::world::World;

/// Training seeds of draw d start at d times this, so that no two draws share one.
const SEEDS_APART: u64 = 1000;

/// Columns: the verdicts, then the effect at the end of training in points, for each audit and way of asking.
const HEADER: &str =
    "case,rows,draw,verdict,era,drift,era plain,era carry-over,era surprising,drift plain,drift carry-over,drift surprising";

/// Which audits to run.
#[derive(Debug)]
pub struct Repetition<'a> {
    pub name: &'a str,
    pub case: Case,
    pub rows: usize,
    pub draws: u64,
}

/// Audits draws 1 to `draws` and appends a line for each to `table`; lines that are there already are not run again.
///
/// # Errors
/// Where an audit fails or the table cannot be written.
pub fn repeat(world: &World, lm: &Lm, repetition: &Repetition, table: &Path) -> Result<()> {
    let known = fs::read_to_string(table).unwrap_or_default();
    if known.is_empty() {
        output::text(table, &format!("{HEADER}\n"))?;
    }
    let scratch = std::env::temp_dir().join(format!("foretaste-repeat-{}", std::process::id()));
    for draw in 1..=repetition.draws {
        let key = format!("{},{},{draw},", repetition.name, repetition.rows);
        if known.lines().any(|line| line.starts_with(&key)) {
            continue;
        }
        let data = scratch.join("data.jsonl");
        output::json_lines(&data, &fixtures::dataset(world, repetition.case, draw, repetition.rows)?)?;
        let request = Request {
            data,
            read: ReadOptions::default(),
            audits: Selection::default(),
            options: Options { first_seed: draw * SEEDS_APART, ..Options::default() },
            out: Some(scratch.join("run")),
            other_plan: OtherPlan::Replace,
            workers: lm.workers(std::thread::available_parallelism().map_or(1, usize::from)),
            page: Page { width: 80, colour: false },
        };
        let outcome = run::run(&request, lm, &Silent).map_err(|failure| anyhow!("{key} {:#}", failure.error()))?;
        let line = format!("{key}{}\n", cells(&serde_json::from_slice(&outcome.json).context("report.json")?));
        fs::OpenOptions::new().append(true).open(table)?.write_all(line.as_bytes())?;
        eprint!("{line}");
        fs::remove_dir_all(&scratch).context("the scratch folder")?;
    }
    Ok(())
}

fn cells(report: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    let list = |name: &str| report[name].as_array().cloned().unwrap_or_default();
    let mut cells = vec![text(&report["verdict"])];
    for audit in ["era", "drift"] {
        let finding = list("findings").into_iter().find(|finding| finding["audit"] == audit);
        cells.push(finding.map_or("none".to_owned(), |finding| text(&finding["verdict"])));
    }
    for audit in ["era", "drift"] {
        for ask in ["plain", "carry-over", "carry-over-surprising"] {
            let mut effects = list("effects");
            effects.retain(|effect| effect["audit"] == audit && effect["ask"] == ask);
            let last = effects.into_iter().max_by_key(|effect| effect["step"].as_u64());
            let points = last.and_then(|effect| effect["probability"]["point"].as_f64());
            cells.push(points.map_or("none".to_owned(), |points| format!("{:.1}", 100.0 * points)));
        }
    }
    cells.join(",")
}
