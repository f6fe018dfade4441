//! Invariants of the source tree: dependencies, lengths, names, plain words and required files.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file in src, as its path from there and its text.
fn sources() -> Vec<(String, String)> {
    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            if path.is_dir() {
                collect(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let src = root().join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    files.sort();
    assert!(files.len() > 20, "the walk found the sources");
    let name = |path: &Path| {
        path.strip_prefix(&src).expect("below src").to_string_lossy().replace('\\', "/")
    };
    files
        .iter()
        .map(|path| (name(path), fs::read_to_string(path).expect("sources are UTF-8")))
        .collect()
}

/// Lines of code that contain one of `words` as a whole word, except in the files that may.
/// Comments are ignored.
fn offenders(words: &[&str], may: impl Fn(&str) -> bool) -> Vec<String> {
    let mut offenders = Vec::new();
    for (file, text) in sources().iter().filter(|(file, _)| !may(file)) {
        for (index, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if words.iter().any(|word| has_word(code, word)) {
                offenders.push(format!("src/{file}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    offenders
}

fn has_word(code: &str, word: &str) -> bool {
    let is_name = |letter: Option<char>| {
        letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
    };
    code.match_indices(word).any(|(at, _)| !is_name(code[..at].chars().next_back()))
}

const NONE: [&str; 0] = [];

#[test]
fn burn_is_named_only_in_lm() {
    assert_eq!(
        offenders(&["burn::", "use burn"], |file| file == "lm.rs" || file.starts_with("lm/")),
        NONE
    );
}

#[test]
fn clap_is_named_only_in_cli() {
    assert_eq!(
        offenders(&["clap::", "clap_complete::", "clap_mangen::"], |file| file == "cli.rs"
            || file.starts_with("cli/")),
        NONE
    );
}

#[test]
fn plotters_is_named_only_in_report_plot() {
    assert_eq!(
        offenders(&["plotters::", "use plotters"], |file| file == "report/plot.rs"
            || file.starts_with("report/plot/")),
        NONE
    );
}

#[test]
fn only_main_command_and_progress_print() {
    let edge = ["main.rs", "command.rs", "progress.rs"];
    assert_eq!(
        offenders(&["println!", "print!", "eprintln!", "eprint!", "dbg!"], |file| edge
            .contains(&file)),
        NONE
    );
    assert_eq!(offenders(&["stdout().lock", "stdout().write"], |file| file == "command.rs"), NONE);
}

#[test]
fn no_source_file_exits_the_process() {
    assert_eq!(offenders(&["process::exit"], |_| false), NONE);
}

#[test]
fn only_the_estimate_of_a_plan_reads_a_clock() {
    assert_eq!(offenders(&["Instant::now", "SystemTime::now"], |file| file == "estimate.rs"), NONE);
}

#[test]
fn no_source_file_is_longer_than_600_lines_and_main_not_than_60() {
    for (file, text) in sources() {
        let most = if file == "main.rs" { 60 } else { 600 };
        let lines = text.lines().count();
        assert!(lines <= most, "src/{file} has {lines} lines, more than {most}: split it");
    }
}

#[test]
fn every_audit_has_its_files_and_a_fixture_that_it_must_flag() {
    let mut flagged = Vec::new();
    for folder in fs::read_dir(root().join("fixtures")).expect("fixtures/ exists") {
        let folder = folder.expect("fixtures/ is readable").path();
        let Ok(text) = fs::read_to_string(folder.join("expected.toml")) else { continue };
        let expected: crate::worked_examples::Expected =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for case in expected.case {
            assert!(folder.join(&case.data).is_file(), "{} has no {}", folder.display(), case.data);
            assert!(
                ["clean", "flagged", "inconclusive"].contains(&case.verdict.as_str()),
                "{}: {}",
                folder.display(),
                case.verdict
            );
            assert_eq!(
                case.verdict == "flagged",
                !(case.audits.is_empty() && case.trigger.is_empty()),
                "{}: who flags {}?",
                folder.display(),
                case.data
            );
            flagged.extend(case.audits);
        }
    }
    for audit in foretaste::audit::built_in().expect("the repository's audits are valid") {
        for suffix in [".toml", ".jsonl", ".poison.jsonl"] {
            assert!(
                root().join(format!("audits/{}{suffix}", audit.id)).is_file(),
                "audits/{}{suffix} is missing",
                audit.id
            );
        }
        assert!(
            flagged.contains(&audit.id),
            "no fixtures/*/expected.toml has a case that `{}` must flag",
            audit.id
        );
    }
}
