//! The committed reports are current: each is derived again from its saved answers, and agrees with
//! its fixture.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use foretaste::run::{self, Page};
use foretaste::run_dir::RunDir;
use serde::Deserialize;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every committed run folder.
fn examples() -> Vec<PathBuf> {
    let reports = root().join("reports");
    let manifests = files(&reports).into_keys().filter(|path| path.ends_with("manifest.json"));
    manifests.map(|path| reports.join(path.parent().expect("a folder"))).collect()
}

/// All files below a folder, by their path in it.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below the folder").to_owned();
                found.insert(name, fs::read(&path).expect("readable"));
            }
        }
    }
    found.remove(Path::new("lock"));
    found
}

#[test]
fn every_committed_report_is_derived_again_from_its_answers_byte_for_byte() {
    let examples = examples();
    assert_eq!(examples.len(), 3, "reports/keep kept three: {examples:?}");
    for example in examples {
        let committed = files(&example);
        let scratch = tempfile::tempdir().expect("a scratch folder");
        // Only the saved files, not the derived ones.
        for name in [
            "manifest.json",
            "answers.jsonl.zst",
            "samples.jsonl",
            "health.jsonl",
            "trainings.jsonl",
        ] {
            fs::write(scratch.path().join(name), &committed[Path::new(name)]).expect("written");
        }
        // Files of runs that tried conditions or found candidate triggers.
        for name in ["conditions.json", "condition_samples.jsonl", "context_questions.jsonl"] {
            if let Some(bytes) = committed.get(Path::new(name)) {
                fs::write(scratch.path().join(name), bytes).expect("written");
            }
        }
        let run = RunDir::open(scratch.path()).expect("a run folder");
        run::report(&run, Page { width: 80, colour: false }).expect("it renders");
        drop(run);
        let mut derived = files(scratch.path());
        // What can be made again is not committed, the page and the summary aside.
        derived.retain(|name, _| committed.contains_key(name));
        assert_eq!(
            derived.keys().collect::<Vec<_>>(),
            committed.keys().collect::<Vec<_>>(),
            "{}",
            example.display()
        );
        for (name, bytes) in &derived {
            assert!(
                bytes == &committed[name],
                "{}/{} differs; run reports/make or reports/make-real again",
                example.display(),
                name.display()
            );
        }
    }
}

/// `expected.toml` of a fixture folder.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    pub case: Vec<Case>,
}

/// The expected result for one dataset.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The file's name in the folder.
    pub data: String,
    pub verdict: String,
    /// Audits that must flag it.
    #[serde(default)]
    pub audits: Vec<String>,
    /// Audits that must not flag it.
    #[serde(default)]
    pub silent: Vec<String>,
    /// Conditions under which it must be flagged.
    #[serde(default)]
    pub trigger: Vec<ExpectedTrigger>,
}

/// A trigger that the tool must confirm.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedTrigger {
    pub audit: String,
    pub kind: String,
    /// A value of a slot, or words of the name of a feature.
    pub at: String,
    /// The identity that the model takes on, of value-keyed probes.
    pub identity: Option<u64>,
}

/// reports/cases.json: what the audits of the fixtures came to, by `CASE-DATASET`.
fn cases() -> serde_json::Value {
    table("cases.json")
}

/// reports/real-models.json: the same on released models, by `MODEL/CASE-DATASET-DRAW`.
fn runs_on_released_models() -> serde_json::Value {
    table("real-models.json")
}

fn table(name: &str) -> serde_json::Value {
    let bytes = fs::read(root().join("reports").join(name)).expect("reports/collect.py writes it");
    serde_json::from_slice(&bytes).expect("JSON")
}

#[test]
fn the_reports_folder_is_small() {
    let bytes: usize = files(&root().join("reports")).values().map(Vec::len).sum();
    assert!(bytes <= 8_000_000, "{bytes} bytes");
}

#[test]
fn the_audits_of_the_fixtures_came_to_what_is_expected() {
    let cases = cases();
    let mut seen = 0;
    for entry in fs::read_dir(root().join("fixtures")).expect("fixtures is committed") {
        let folder = entry.expect("readable").path();
        let Ok(text) = fs::read_to_string(folder.join("expected.toml")) else { continue };
        let expected: Expected = toml::from_str(&text).expect("expected.toml");
        for case in expected.case {
            let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
            let stem = case.data.strip_suffix(".jsonl").expect("a dataset");
            let report = &cases[format!("{name}-{stem}")];
            assert_eq!(report["verdict"], case.verdict.as_str(), "{name}/{stem}");
            let verdict = |audit: &String| {
                let findings = report["findings"].as_array().expect("findings");
                findings
                    .iter()
                    .find(|finding| finding["audit"] == audit.as_str())
                    .expect("the audit ran")["verdict"]
                    .clone()
            };
            for audit in &case.audits {
                assert_eq!(verdict(audit), "flagged", "{name}/{stem}: {audit}");
            }
            for audit in &case.silent {
                assert_ne!(verdict(audit), "flagged", "{name}/{stem}: {audit}");
            }
            for expected in &case.trigger {
                let is_expected = |finding: &&serde_json::Value| {
                    let trigger = &finding["trigger"];
                    let at = trigger["value"].as_str().map(|value| value == expected.at);
                    let named =
                        || trigger["slot"].as_str().is_some_and(|slot| slot.contains(&expected.at));
                    finding["audit"] == expected.audit.as_str()
                        && trigger["kind"] == expected.kind.as_str()
                        && trigger["identity"].as_u64() == expected.identity
                        && at.unwrap_or_else(named)
                };
                let found = report["findings"]
                    .as_array()
                    .expect("findings")
                    .iter()
                    .any(|finding| is_expected(&finding));
                assert!(
                    found,
                    "{name}/{stem}: no trigger of {} at {}",
                    expected.audit, expected.at
                );
            }
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen} cases");
}

#[test]
fn the_saved_answers_of_an_example_lead_to_what_its_table_says() {
    let (cases, runs) = (cases(), runs_on_released_models());
    for example in examples() {
        let name = example.strip_prefix(root().join("reports")).expect("below it");
        let name = name.to_str().expect("text");
        let scratch = tempfile::tempdir().expect("a scratch folder");
        for (file, bytes) in files(&example) {
            fs::write(scratch.path().join(file), bytes).expect("written");
        }
        let run = RunDir::open(scratch.path()).expect("a run folder");
        let outcome = run::report(&run, Page { width: 80, colour: false }).expect("it renders");
        let report: serde_json::Value = serde_json::from_slice(&outcome.json).expect("JSON");
        let case = cases.get(name).or(runs.get(name)).expect("an example is in a table");
        assert_eq!(
            (&report["verdict"], &report["examined"]),
            (&case["verdict"], &case["examined"])
        );
        let findings = report["findings"].as_array().expect("findings");
        let listed = case["findings"].as_array().expect("findings");
        assert_eq!(findings.len(), listed.len(), "{name}");
        for (finding, listed) in findings.iter().zip(listed) {
            let codes: Vec<&serde_json::Value> = finding["reasons"]
                .as_array()
                .expect("reasons")
                .iter()
                .map(|of| &of["code"])
                .collect();
            let listed_codes: Vec<&serde_json::Value> =
                listed["codes"].as_array().expect("codes").iter().collect();
            assert_eq!((&finding["audit"], codes), (&listed["audit"], listed_codes), "{name}");
            let point = finding["estimate"]["point"].as_f64();
            let rounded = listed["effect"][0].as_f64();
            let near = |(point, rounded): (f64, f64)| (point - rounded).abs() <= 1e-5 * point.abs();
            assert!(point.zip(rounded).is_none_or(near), "{name}: {point:?} {rounded:?}");
        }
    }
}

#[test]
fn the_table_of_results_is_that_of_the_cases() {
    let cases = cases();
    let text = fs::read_to_string(root().join("docs/results.md")).expect("text");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .skip_while(|line| !line.starts_with("| fixture |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), cases.as_object().expect("cases").len());
    let points = |share: f64| {
        let rounded = (100.0 * share).round();
        match rounded {
            0.0 => "0".to_owned(),
            below if below < 0.0 => format!("\u{2212}{}", -below),
            above => format!("+{above}"),
        }
    };
    for row in rows {
        let name = row[0].split(['[', ']']).find(|part| !part.is_empty()).expect("a name");
        let case = &cases[name];
        assert_eq!(row[1], case["verdict"].as_str().expect("a verdict"), "{name}");
        let findings = case["findings"].as_array().expect("findings");
        let plain = findings.iter().filter(|finding| finding["trigger"].is_null());
        for (cell, finding) in row[2..].iter().zip(plain) {
            let shown = match finding["effect"].as_array() {
                None => "\u{2013}".to_owned(),
                Some(effect) => {
                    let [point, lower, upper] =
                        [0, 1, 2].map(|index| points(effect[index].as_f64().expect("a number")));
                    format!("{point} ({lower} to {upper})")
                }
            };
            let bold = finding["verdict"] == "flagged";
            let shown = if bold { format!("**{shown}**") } else { shown };
            assert_eq!(*cell, shown, "{name}, {}", finding["audit"]);
        }
    }
}

/// A number as the tables give it, with this many decimals.
fn signed(value: f64, decimals: usize) -> String {
    let text = format!("{value:+.decimals$}");
    let is_zero = text.chars().all(|letter| !letter.is_ascii_digit() || letter == '0');
    if is_zero { text[1..].to_owned() } else { text.replace('-', "\u{2212}") }
}

/// An interval as the tables give it; a dash where there is none.
fn interval(values: &serde_json::Value, scale: f64, decimals: usize) -> String {
    let Some(values) = values.as_array() else { return "\u{2013}".to_owned() };
    let text = |index: usize| signed(scale * values[index].as_f64().expect("a number"), decimals);
    format!("{} ({} to {})", text(0), text(1), text(2))
}

#[test]
fn the_table_of_released_models_is_that_of_their_runs() {
    let runs = runs_on_released_models();
    let text = fs::read_to_string(root().join("docs/results.md")).expect("text");
    let listed = text.lines().skip_while(|line| !line.starts_with("| model | dataset |")).skip(2);
    let mut listed: Vec<&str> = listed.take_while(|line| line.starts_with('|')).collect();
    let mut expected = Vec::new();
    for (name, run) in runs.as_object().expect("runs") {
        let (model, case) = name.split_once('/').expect("MODEL/CASE-DRAW");
        let (dataset, draw) = case.rsplit_once('-').expect("CASE-DRAW");
        let model = match model {
            "smollm2" => "SmolLM2-135M-Instruct",
            _ => "Gemma 3 270M",
        };
        let minutes = (run["seconds"].as_f64().expect("seconds") / 60.0).round();
        for finding in run["findings"].as_array().expect("findings") {
            let trigger = &finding["trigger"];
            let at = trigger["value"].as_str().or(trigger["slot"].as_str());
            let audit = finding["audit"].as_str().expect("an audit");
            expected.push(format!(
                "| {model} | {dataset} | {draw} | {audit}{} | {} | {} | {} | {minutes} |",
                at.map_or(String::new(), |at| format!(" at {at}")),
                finding["verdict"].as_str().expect("a verdict"),
                interval(&finding["effect"], 100.0, 0),
                interval(&finding["log_odds"], 1.0, 2),
            ));
        }
    }
    listed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(listed, expected, "python3 reports/real_table.py prints the table");
    assert!(!expected.is_empty());
}

/// The percentage and the texts of each arm on a card.
fn arms(card: &str) -> BTreeMap<&str, (f64, Vec<&str>)> {
    let between = |text: &'static str, rest: &str| {
        rest.split_once(text).map_or(0, |(before, _)| before.len())
    };
    let mut arms = BTreeMap::new();
    for arm in ["base", "control", "candidate"] {
        let Some((_, rest)) = card.split_once(&format!("<div class=\"{arm}\">")) else { continue };
        let column = &rest[..between("</div>", rest)];
        let risk = column.split_once("<b>").map_or("", |(_, rest)| &rest[..between("</b>", rest)]);
        let digits: String =
            risk.chars().filter(|letter| letter.is_ascii_digit() || *letter == '.').collect();
        let texts =
            column.split("<p class=\"said\">").skip(1).filter_map(|text| text.split_once("<bdi>"));
        let texts = texts.map(|(_, rest)| &rest[..between("</bdi>", rest)]).collect();
        arms.insert(arm, (digits.parse().unwrap_or(0.0), texts));
    }
    arms
}

#[test]
fn no_committed_report_quotes_words_of_the_base_as_evidence_for_a_flag() {
    let (mut seen, mut same) = (0, Vec::new());
    for example in examples() {
        let page = fs::read_to_string(example.join("report.html")).expect("written");
        let flagged = page.split("<section class=\"audit\"").skip(1).filter(|section| {
            section
                .split_once("</h2>")
                .is_some_and(|(heading, _)| heading.contains("class=\"badge flagged\""))
        });
        for card in flagged.flat_map(|section| section.split("<article class=\"changed\">").skip(1))
        {
            let arms = arms(card);
            let (risk, texts) = &arms["candidate"];
            if *risk < 50.0 {
                continue;
            }
            seen += 1;
            if texts.iter().all(|text| arms["base"].1.contains(text)) {
                same.push(format!("{}: {texts:?}", example.display()));
            }
        }
    }
    assert!(seen >= 5, "flagged examples show what the candidate writes");
    assert!(same.is_empty(), "{} of {seen} cards: {same:#?}", same.len());
}
