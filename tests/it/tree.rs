//! Invariants of the source tree: dependencies, lengths, names, plain words and required files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use foretaste::verdict::rules::CLEAN_NEEDS;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Path from `base` and text of every file with this extension in `base` and its folders, sorted.
fn texts(base: &Path, extension: &str) -> Vec<(String, String)> {
    fn collect(folder: &Path, extension: &str, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("the folder is readable") {
            let path = entry.expect("the folder is readable").path();
            if path.is_dir() {
                collect(&path, extension, files);
            } else if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    collect(base, extension, &mut files);
    files.sort();
    let name = |path: &Path| {
        path.strip_prefix(base).expect("below the base").to_string_lossy().replace('\\', "/")
    };
    files
        .iter()
        .map(|path| (name(path), fs::read_to_string(path).expect("the file is UTF-8")))
        .collect()
}

/// Every Rust file in src, as its path from there and its text.
fn sources() -> Vec<(String, String)> {
    let sources = texts(&root().join("src"), "rs");
    assert!(sources.len() > 20, "the walk found the sources");
    sources
}

/// Every file with this extension in these folders, as its path from the root and its text.
fn texts_of(folders: &[&str], extension: &str) -> Vec<(String, String)> {
    folders
        .iter()
        .flat_map(|folder| {
            let files = texts(&root().join(folder), extension).into_iter();
            files.map(move |(name, text)| (format!("{folder}/{name}"), text))
        })
        .collect()
}

/// Every Rust file of the repository.
fn rust_files() -> Vec<(String, String)> {
    texts_of(&["src", "tests", "examples", "benches"], "rs")
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

/// The documents of the repository, without the log, which quotes old texts.
fn documents() -> Vec<(String, String)> {
    let top = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|name| {
        (name.to_owned(), fs::read_to_string(root().join(name)).expect("the document is UTF-8"))
    });
    let docs = texts_of(&["docs"], "md")
        .into_iter()
        .filter(|(name, _)| name != "docs/log.md" && name.matches('/').count() == 1);
    top.into_iter().chain(docs).chain(texts_of(&["audits", "fixtures"], "md")).collect()
}

/// The words and phrases of banned_words.txt.
fn banned_words() -> Vec<&'static str> {
    include_str!("banned_words.txt")
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// The first of `words` that `line` contains as a whole word, in any case.
fn contained<'a>(line: &str, words: &[&'a str]) -> Option<&'a str> {
    let line = line.to_lowercase();
    let is_part = |letter: Option<char>| {
        letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
    };
    let is_whole = |at: usize, length: usize| {
        !is_part(line[..at].chars().next_back()) && !is_part(line[at + length..].chars().next())
    };
    words
        .iter()
        .find(|word| line.match_indices(**word).any(|(at, found)| is_whole(at, found.len())))
        .copied()
}

#[test]
fn banned_words_are_matched_as_whole_words_in_any_case() {
    let words = banned_words();
    assert!(words.len() > 20, "{words:?}");
    assert!(words.iter().all(|word| *word == word.to_lowercase()), "{words:?}");
    assert_eq!(contained("// It Stands here.", &words), Some("stands"));
    assert_eq!(contained("as **so many** others", &words), Some("so many"));
    assert_eq!(contained("a standard, an understanding, `stands_for`", &words), None);
}

#[test]
fn no_comment_and_no_document_contains_a_banned_word() {
    let words = banned_words();
    let is_comment = |line: &str| line.trim_start().starts_with("//");
    let mut found = Vec::new();
    let mut search = |file: &str, text: &str, is_prose: &dyn Fn(&str) -> bool| {
        for (index, line) in text.lines().enumerate().filter(|(_, line)| is_prose(line)) {
            if let Some(word) = contained(line, &words) {
                found.push(format!("{file}:{}: `{word}` in: {}", index + 1, line.trim()));
            }
        }
    };
    rust_files().iter().for_each(|(file, text)| search(file, text, &is_comment));
    documents().iter().for_each(|(file, text)| search(file, text, &|_| true));
    assert!(found.is_empty(), "{} lines:\n{}", found.len(), found.join("\n"));
}

#[test]
fn no_rust_line_is_longer_than_100_characters() {
    let mut found = Vec::new();
    for (file, text) in rust_files() {
        for (index, line) in text.lines().enumerate() {
            let length = line.chars().count();
            if length > 100 {
                found.push(format!("{file}:{}: {length} characters", index + 1));
            }
        }
    }
    assert!(found.is_empty(), "{} lines:\n{}", found.len(), found.join("\n"));
}

/// Names of the types that a file defines at module level. Indented items do not count, and so the
/// types of inline modules do not.
fn types(text: &str) -> BTreeSet<&str> {
    let name = |line| {
        let is_visibility = |part: &&str| part.starts_with("pub") || part.ends_with(')');
        let mut parts =
            str::split(line, ' ').skip_while(|part| is_visibility(part) || *part == "unsafe");
        if !["struct", "enum", "trait", "type", "union"].contains(&parts.next()?) {
            return None;
        }
        parts.next()?.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()
    };
    text.lines().filter_map(name).collect()
}

#[test]
fn types_are_read_from_definitions_at_module_level() {
    let text = "pub struct A;\nenum B<T> {\n    type Inner = u8;\n}\n\
                pub(in crate::x) type C = u8;\npub unsafe trait D {}\n\
                use e::E;\nmod tests {\n    struct F;\n}\npub fn g() {}";
    assert_eq!(types(text), BTreeSet::from(["A", "B", "C", "D"]));
}

#[test]
fn no_two_types_of_the_sources_share_a_name() {
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, text) in sources() {
        if !file.split('/').any(|part| part == "tests" || part == "tests.rs") {
            for name in types(&text) {
                files.entry(name.to_owned()).or_default().push(file.clone());
            }
        }
    }
    files.retain(|_, files| files.len() > 1);
    assert!(files.is_empty(), "{} names: {files:#?}", files.len());
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
    for audit in
        foretaste::audit::AuditSet::World.audits().expect("the repository's audits are valid")
    {
        for suffix in [".toml", ".jsonl", ".poison.jsonl"] {
            assert!(
                root().join(format!("audits/world/{}{suffix}", audit.id)).is_file(),
                "audits/world/{}{suffix} is missing",
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

/// Modules at the top of src, lowest first: each imports only from rows above its own.
const LAYERS: [&[&str]; 17] = [
    &["guard", "parallel", "progress", "seed", "text"],
    &["dataset", "stats"],
    &["prompt"],
    &["disk", "engine", "detect"],
    &["audit", "check", "peft"],
    &["lm", "plan"],
    &["run_dir"],
    &["context"],
    &["train"],
    &["probe"],
    &["analysis"],
    &["verdict"],
    &["estimate", "exit_code"],
    &["report"],
    &["run"],
    &["cli"],
    &["command"],
];

#[test]
fn modules_import_only_from_layers_below_their_own() {
    let layer = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    let mut wrong = Vec::new();
    for (file, text) in sources().iter().filter(|(file, _)| file != "lib.rs" && file != "main.rs") {
        let own = file.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        let own_layer = layer(own).unwrap_or_else(|| panic!("src/{own} is in no layer"));
        let code: Vec<&str> =
            text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
        let code = code.join("\n");
        let code = code.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for imported in imports(code).filter(|imported| *imported != own) {
            if layer(imported).is_some_and(|imported| imported >= own_layer) {
                wrong.push(format!("src/{file} imports {imported}"));
            }
        }
    }
    assert_eq!(wrong, NONE);
}

/// The modules at the top of src that code names, as `crate::name` or in `use crate::{name, …}`.
fn imports(code: &str) -> impl Iterator<Item = &str> {
    let start = |text: &str| {
        text.find(|letter: char| !(letter.is_ascii_lowercase() || letter == '_'))
            .unwrap_or(text.len())
    };
    code.match_indices("crate::").flat_map(move |(at, name)| {
        let rest = &code[at + name.len()..];
        let list = rest.strip_prefix('{').and_then(|list| list.split(';').next());
        let names = list.unwrap_or(rest.split(':').next().unwrap_or_default()).split(',');
        names.map(move |name| {
            let name = name.trim();
            &name[..start(name)]
        })
    })
}

/// The cells of every row of the first table after `heading` in a document, without its head.
pub fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join(document)).expect("the document is readable");
    let (_, after) = text.split_once(heading).expect("the heading is there");
    let rows = after.lines().skip_while(|line| !line.starts_with('|')).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

pub fn in_backticks(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_rules_of_clean_are_those_of_the_document_in_its_order() {
    let documented: Vec<(String, Vec<String>)> = table("docs/statistics.md", "\n### Clean\n")
        .into_iter()
        .map(|row| (row[0].clone(), in_backticks(&row[1])))
        .collect();
    let coded: Vec<(String, Vec<String>)> = CLEAN_NEEDS
        .iter()
        .map(|rule| {
            (rule.needs.to_owned(), rule.codes.iter().map(|code| (*code).to_owned()).collect())
        })
        .collect();
    assert_eq!(documented, coded);
}

#[test]
fn every_reason_code_is_documented_and_in_the_schema() {
    let source = fs::read_to_string(root().join("src/verdict/reason.rs")).expect("readable");
    let (_, variants) = source.split_once("pub enum Reason {").expect("the enum");
    let (variants, _) = variants.split_once("\n}\n").expect("its end");
    let kebab = |name: &str| {
        let mut kebab = String::new();
        for letter in name.chars() {
            if letter.is_uppercase() && !kebab.is_empty() {
                kebab.push('-');
            }
            kebab.extend(letter.to_lowercase());
        }
        kebab
    };
    let variant = |line: &str| {
        let name = line.strip_prefix("    ").filter(|line| !line.starts_with([' ', '/']))?;
        name.split([' ', ',', '{'])
            .next()
            .filter(|name| name.starts_with(char::is_uppercase))
            .map(kebab)
    };
    let codes: BTreeSet<String> = variants.lines().filter_map(variant).collect();
    assert!(codes.len() > 50 && codes.contains("rows-rejected"), "{codes:?}");
    let headings = ["## Reasons against clean", "## Reasons that support flagged", "## Notes"];
    let documented: BTreeSet<String> = headings
        .iter()
        .flat_map(|heading| table("docs/reasons.md", heading))
        .flat_map(|row| in_backticks(&row[0]))
        .collect();
    assert_eq!(documented, codes);
    let schema: serde_json::Value = serde_json::from_str(foretaste::report::SCHEMA).expect("JSON");
    let listed = schema["$defs"]["reason"]["properties"]["code"]["enum"].as_array();
    let listed = listed.expect("codes").iter().map(|code| code.as_str().expect("text").to_owned());
    assert_eq!(listed.collect::<BTreeSet<_>>(), codes);
}

#[test]
fn the_readme_has_at_most_1200_words() {
    let readme = fs::read_to_string(root().join("README.md")).expect("readable");
    let words = readme.split_whitespace().count();
    assert!(words <= 1200, "{words} words");
}

#[test]
fn every_source_file_is_described_once_in_the_architecture() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("readable");
    let (_, table) = architecture.split_once("### Files of `src`").expect("the table");
    let (table, _) = table.split_once("\n### ").expect("the next table");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    let wrong: Vec<String> = sources()
        .into_iter()
        .map(|(file, _)| {
            (rows.iter().filter(|row| row.starts_with(&format!("| `{file}` |"))).count(), file)
        })
        .filter(|(count, _)| *count != 1)
        .map(|(count, file)| format!("{file}: {count} rows"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}
