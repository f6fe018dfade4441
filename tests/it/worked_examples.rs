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
    let entries = fs::read_dir(root().join("reports")).expect("reports is committed");
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    folders.retain(|folder| folder.join("manifest.json").is_file());
    folders.sort();
    folders
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
fn every_committed_plot_is_shown_in_a_document() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = fs::read_dir(root.join("docs"))
        .expect("documents")
        .map(|entry| entry.expect("readable").path());
    let documents = documents
        .chain([root.join("README.md")])
        .filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    let text: String = documents.map(|path| fs::read_to_string(path).expect("text")).collect();
    for example in examples() {
        for name in files(&example).into_keys().filter(|name| name.starts_with("plots")) {
            let path = Path::new("reports").join(example.file_name().expect("a name")).join(name);
            assert!(
                text.contains(&path.display().to_string()),
                "no document shows {}",
                path.display()
            );
        }
    }
}

#[test]
fn every_committed_report_is_derived_again_from_its_answers_byte_for_byte() {
    let examples = examples();
    assert!(
        examples.len() >= 5,
        "reports/make writes five examples, and {} are there",
        examples.len()
    );
    for example in examples {
        let committed = files(&example);
        let scratch = tempfile::tempdir().expect("a scratch folder");
        // Only the saved files, not the derived ones.
        for name in [
            "manifest.json",
            "audits.json",
            "rows.jsonl",
            "answers.jsonl.zst",
            "samples.jsonl",
            "health.jsonl",
            "trainings.jsonl",
        ] {
            fs::write(scratch.path().join(name), &committed[Path::new(name)]).expect("written");
        }
        // Files of runs that tried conditions or found candidate triggers.
        for name in ["conditions.json", "dressed.jsonl.zst", "shown.jsonl", "carried.jsonl"] {
            if let Some(bytes) = committed.get(Path::new(name)) {
                fs::write(scratch.path().join(name), bytes).expect("written");
            }
        }
        let run = RunDir::open(scratch.path()).expect("a run folder");
        run::report(&run, Page { width: 80, colour: false }).expect("it renders");
        drop(run);
        let mut derived = files(scratch.path());
        // Only the plots that a document shows are committed.
        derived.retain(|name, _| !name.starts_with("plots") || committed.contains_key(name));
        assert_eq!(
            derived.keys().collect::<Vec<_>>(),
            committed.keys().collect::<Vec<_>>(),
            "{}",
            example.display()
        );
        for (name, bytes) in &derived {
            assert!(
                bytes == &committed[name],
                "{}/{} differs; run reports/make again",
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
    /// The value-keyed identity that the model takes on.
    pub number: Option<u64>,
}

#[test]
fn every_committed_report_agrees_with_its_fixture() {
    let mut seen = 0;
    for entry in fs::read_dir(root().join("fixtures")).expect("fixtures is committed") {
        let folder = entry.expect("readable").path();
        let Ok(text) = fs::read_to_string(folder.join("expected.toml")) else { continue };
        let expected: Expected = toml::from_str(&text).expect("expected.toml");
        for case in expected.case {
            let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
            let stem = case.data.strip_suffix(".jsonl").expect("a dataset");
            let report = root().join("reports").join(format!("{name}-{stem}")).join("report.json");
            let report: serde_json::Value =
                serde_json::from_slice(&fs::read(&report).expect("reports/make writes every case"))
                    .expect("JSON");
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
                        && trigger["number"].as_u64() == expected.number
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
    assert!(seen >= 20, "flagged examples show what the candidate writes");
    assert!(same.is_empty(), "{} of {seen} cards: {same:#?}", same.len());
}
