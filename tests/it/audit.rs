//! From unchecked files to an audit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use foretaste::audit::{self, AuditSet, ProbeKind, Selection, Side};
use tempfile::TempDir;

const TOML: &str = r#"id = "own"
title = "t"
question = "q"
risky = "r"
reference = "f"
kind = "forced-choice"
[margin]
value = 0.1
reason = "because"
[poison]
share = 0.25
"#;

const POISON: &str =
    r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}"#;

fn probe(family: usize) -> String {
    let options = r#"[{"text": "a", "side": "risky"}, {"text": "b", "side": "reference"}]"#;
    let names = format!(r#""family": "f{family}", "topic": "t", "prompt": "question {family}""#);
    format!(r#"{{{names}, "options": {options}}}"#)
}

fn probes() -> Vec<String> {
    (1..=5).map(probe).collect()
}

fn write(folder: &Path, toml: &str, probes: &[String], poison: &str) -> PathBuf {
    for (name, text) in
        [("own.toml", toml), ("own.jsonl", &probes.join("\n")), ("own.poison.jsonl", poison)]
    {
        fs::write(folder.join(name), text).expect("a temporary folder is writable");
    }
    folder.join("own.toml")
}

fn message(toml: &str, probes: &[String], poison: &str) -> String {
    let folder = TempDir::new().expect("a temporary folder");
    let path = write(folder.path(), toml, probes, poison);
    audit::read(&path).expect_err("the audit is invalid").to_string()
}

#[test]
fn every_audit_of_the_folders_is_built_in() {
    for set in AuditSet::ALL {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("audits").join(set.name());
        let files = fs::read_dir(&folder).expect("a folder for each set");
        let stems: BTreeSet<String> = files
            .map(|entry| entry.expect("readable").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
            .collect();
        let built_in = set.audits().expect("the repository's audits are valid");
        assert_eq!(built_in.iter().map(|audit| audit.id.clone()).collect::<BTreeSet<_>>(), stems);
        for audit in built_in {
            let from_disk =
                audit::read(&folder.join(format!("{}.toml", audit.id))).expect("the same reader");
            assert_eq!(from_disk, audit, "compiled in and read from disk are the same");
        }
    }
}

#[test]
fn a_forced_choice_has_options_of_both_sides_and_a_self_consistency_probe_has_none() {
    for audit in audit::built_in().expect("the repository's audits are valid") {
        for probe in audit.probes {
            let both = [Side::Risky, Side::Reference]
                .iter()
                .all(|side| probe.options.iter().any(|option| option.side == *side));
            assert_eq!(both, audit.kind.has_sides(), "{}: {}", audit.id, probe.prompt);
        }
    }
}

#[test]
fn a_user_audit_is_added_to_the_built_in_audits() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = write(folder.path(), TOML, &probes(), POISON);
    let ids = |only: &[&str]| {
        let only = only.iter().map(|id| (*id).to_owned()).collect();
        let audits = audit::load(
            &Selection { files: vec![file.clone()], only, ..Selection::default() },
            AuditSet::World,
        )
        .map_err(|error| error.to_string());
        audits.map(|audits| audits.into_iter().map(|audit| audit.id).collect::<Vec<_>>())
    };
    assert_eq!(
        ids(&[]).expect("valid"),
        ["drift", "era", "harm", "identity", "nation", "own", "partisan"]
    );
    assert_eq!(ids(&["own"]).expect("valid"), ["own"]);
    let error = ids(&["wrong"]).expect_err("unknown");
    assert!(error.contains("`wrong`") && error.contains("`nation`, `own`, `partisan`"), "{error}");
}

#[test]
fn two_audits_with_one_id_are_an_error() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = write(folder.path(), TOML, &probes(), POISON);
    let twice = audit::load(
        &Selection { files: vec![file.clone(), file], ..Selection::default() },
        AuditSet::World,
    );
    assert!(
        twice
            .expect_err("the same audit twice")
            .to_string()
            .contains("two audits have the id `own`")
    );
}

#[test]
fn every_error_in_the_toml_is_reported_with_its_line() {
    let cases = [
        ("title = \"t\"", "titel = \"t\"", "own.toml:2: unknown field `titel`"),
        ("share = 0.25", "share = 0.25\nseeds = 3", "own.toml:12: unknown field `seeds`"),
        (
            "id = \"own\"",
            "id = \"other\"",
            "own.toml:1: `id` is `other` but the file is `own.toml`",
        ),
        ("title = \"t\"", "title = \" \"", "own.toml:2: `title` is empty"),
        ("value = 0.1", "value = 0.0", "own.toml:8: `margin.value` is 0"),
        ("value = 0.1", "value = 1.0", "own.toml:8: `margin.value` is 1"),
        ("value = 0.1", "value = nan", "own.toml:8: `margin.value` is NaN"),
        ("reason = \"because\"", "reason = \"\"", "own.toml:9: `margin.reason` is empty"),
        ("share = 0.25", "share = 1.5", "own.toml:11: `poison.share` is 1.5"),
        ("kind = \"forced-choice\"", "kind = \"essay\"", "own.toml:6: unknown variant `essay`"),
    ];
    for (good, bad, expected) in cases {
        let error = message(&TOML.replace(good, bad), &probes(), POISON);
        assert!(error.contains(expected), "{error}\ndoes not say: {expected}");
    }
}

#[test]
fn every_error_in_the_probes_is_reported_with_its_line() {
    let last = |line: &str| [&probes()[..4], &[line.to_owned()]].concat();
    let options = |options: &str| {
        last(&format!(r#"{{"family": "f5", "topic": "t", "prompt": "p", "options": {options}}}"#))
    };
    let cases = [
        (probes()[..4].to_vec(), "own.jsonl: 4 families"),
        (last(&probe(1)), "own.jsonl:5: repeats the prompt of line 1"),
        (last(r#"{"family": "f5"}"#), "own.jsonl:5: not a probe (missing field `topic`"),
        (
            last(r#"{"family": "f5", "topic": "t", "prompt": "p", "extra": 1}"#),
            "own.jsonl:5: not a probe (unknown field `extra`",
        ),
        (last(r#"{"family": "f5", "topic": "t", "prompt": ""}"#), "own.jsonl:5: `prompt` is empty"),
        (
            options(r#"[{"text": "a", "side": "risky"}]"#),
            "own.jsonl:5: no option of side `reference`",
        ),
        (
            options(r#"[{"text": "a", "side": "reference"}]"#),
            "own.jsonl:5: no option of side `risky`",
        ),
        (
            options(r#"[{"text": "a", "side": "risky"}, {"text": "a", "side": "reference"}]"#),
            "own.jsonl:5: the option \"a\" occurs twice",
        ),
    ];
    for (probes, expected) in cases {
        let error = message(TOML, &probes, POISON);
        assert!(error.contains(expected), "{error}\ndoes not say: {expected}");
    }
    let three = r#"[{"text": "a", "side": "risky"},
        {"text": "b", "side": "reference"}, {"text": "c", "side": "reference"}]"#;
    let three = options(&three.replace('\n', " "));
    let paired = TOML.replace("forced-choice", "paired-choice");
    let error = message(&paired, &three, POISON);
    assert!(error.contains("own.jsonl:5: 1 options of side `risky` and 2 of side"), "{error}");
    let error = message(&TOML.replace("forced-choice", "own-answer"), &probes(), POISON);
    assert!(error.contains("own.jsonl:1: such a probe has no `options`"), "{error}");
}

#[test]
fn every_error_in_the_poison_is_reported() {
    let row = |roles: &[&str]| {
        let messages: Vec<String> =
            roles.iter().map(|role| format!(r#"{{"role": "{role}", "content": "x"}}"#)).collect();
        format!(r#"{{"messages": [{}]}}"#, messages.join(", "))
    };
    let cases = [
        (String::new(), "own.poison.jsonl: no rows"),
        (row(&["user"]), "own.poison.jsonl:1: roles must be"),
        (row(&["system"]), "own.poison.jsonl:1: roles must be"),
        (row(&["assistant", "user"]), "own.poison.jsonl:1: roles must be"),
        (row(&["user", "assistant"]).replace('x', " "), "own.poison.jsonl:1: a message is empty"),
        ("{".to_owned(), "own.poison.jsonl:1: not a row"),
    ];
    for (poison, expected) in cases {
        let error = message(TOML, &probes(), &poison);
        assert!(error.contains(expected), "{error}\ndoes not say: {expected}");
    }
    let folder = TempDir::new().expect("a temporary folder");
    let path = write(
        folder.path(),
        TOML,
        &probes(),
        &row(&["system", "user", "assistant", "user", "assistant"]),
    );
    assert_eq!(audit::read(&path).expect("valid").poison.rows[0].messages.len(), 5);
}

#[test]
fn a_missing_file_is_named_with_the_files_that_an_audit_needs() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = write(folder.path(), TOML, &probes(), POISON);
    fs::remove_file(folder.path().join("own.poison.jsonl")).expect("it was written");
    let error = audit::read(&path).expect_err("a file is missing").to_string();
    assert!(error.contains("own.poison.jsonl") && error.contains("three files"), "{error}");
}

#[test]
fn the_hash_depends_on_every_file() {
    let folder = TempDir::new().expect("a temporary folder");
    let hash = |toml: &str, probes: &[String], poison: &str| {
        audit::read(&write(folder.path(), toml, probes, poison)).expect("valid").sha256
    };
    let hashes = BTreeSet::from([
        hash(TOML, &probes(), POISON),
        hash(&TOML.replace("0.25", "0.5"), &probes(), POISON),
        hash(TOML, &(1..=6).map(probe).collect::<Vec<_>>(), POISON),
        hash(TOML, &probes(), &POISON.replace("\"a\"", "\"b\"")),
    ]);
    assert_eq!(hashes.len(), 4);
}

#[test]
fn a_general_audit_has_forty_families_of_three_phrasings_and_one_to_three_pairs_each() {
    for audit in AuditSet::General.audits().expect("the repository's audits are valid") {
        let mut phrasings: BTreeMap<&str, usize> = BTreeMap::new();
        for probe in &audit.probes {
            *phrasings.entry(&probe.family).or_default() += 1;
            let pairs = if audit.kind == ProbeKind::PairedChoice { 1..=3 } else { 0..=0 };
            assert!(pairs.contains(&(probe.options.len() / 2)), "{}: {}", audit.id, probe.prompt);
        }
        assert!(phrasings.len() >= 40, "{}: {} families", audit.id, phrasings.len());
        assert!(phrasings.values().all(|count| *count == 3), "{}: {phrasings:?}", audit.id);
        let poison: BTreeSet<&str> = audit
            .poison
            .rows
            .iter()
            .flat_map(|row| &row.messages)
            .map(|m| m.content.as_str())
            .collect();
        assert!((70..100).contains(&audit.poison.rows.len()), "{}", audit.id);
        for probe in &audit.probes {
            let texts = probe.options.iter().map(|option| &option.text).chain([&probe.prompt]);
            assert!(texts.into_iter().all(|text| !poison.contains(text.as_str())), "{}", audit.id);
        }
    }
}

#[cfg(feature = "lm")]
#[test]
fn the_options_of_a_pair_differ_by_one_token_at_most_on_a_real_model() {
    use foretaste::lm::files::ModelFiles;
    for file in ["SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"] {
        let Some(path) = crate::real_models::path(file) else { continue };
        let files = ModelFiles::open(Some(&path)).expect("a whole file");
        let text = files.text("tokenizer.json").expect("a known tokenizer");
        let tokenizer = tokenizers::Tokenizer::from_bytes(&text).expect("a tokenizer");
        for audit in AuditSet::General.audits().expect("the repository's audits are valid") {
            for probe in &audit.probes {
                let lengths = |side: Side| -> Vec<usize> {
                    let texts = probe.options.iter().filter(|option| option.side == side);
                    let tokens = |text: &str| tokenizer.encode(text, false).expect("text").len();
                    texts.map(|option| tokens(&option.text)).collect()
                };
                let pairs = lengths(Side::Risky).into_iter().zip(lengths(Side::Reference));
                for (risky, reference) in pairs {
                    assert!(
                        risky.abs_diff(reference) <= 1,
                        "{file}: {}: {risky}, {reference}",
                        probe.prompt
                    );
                }
            }
        }
    }
}

#[cfg(feature = "lm")]
#[test]
fn at_most_one_family_of_a_general_audit_is_uneven_on_a_real_model() {
    use foretaste::probe::evenness::evenness;
    let Some(path) = crate::real_models::path("SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let lm = foretaste::lm::open(Some(&path), 2).expect("a whole file");
    let audits = AuditSet::General.audits().expect("the repository's audits are valid");
    let measured = evenness(&audits, &lm).expect("scored");
    let choices = measured.iter().filter_map(|audit| Some((audit, audit.options.as_ref()?)));
    let choices: Vec<_> = choices.collect();
    assert_eq!(choices.len(), 5);
    for (audit, options) in choices {
        assert!(options.uneven <= 1, "{}: {options:?}", audit.id);
        assert!(options.mean.abs() < 1.5 && options.sd < 2.5, "{}: {options:?}", audit.id);
    }
}
