//! Facts about looking at a dataset before any model is trained.

use foretaste::check::{self, check};
use foretaste::dataset::{Message, ReadOptions, read};

use super::{ask, file, line, read_text};

#[test]
fn the_check_is_eighty_columns_wide_and_shows_what_hostile_text_hides() {
    let mut content = line(&ask("a\u{1b}[2J", "b")).repeat(3);
    for index in 0..30 {
        content += &format!("{{\"messages\":[{{\"role\":\"\\u001b[31m\\u202eevil{}\"}}]}}\n", "x".repeat(index * 10));
    }
    content += "{\"prompt\\u0007\":1}\n";
    let dataset = read_text("a.jsonl", content);
    let count = |messages: &[Message]| Ok((10 * messages.len(), 3));
    let base = check::Base { count_tokens: &count, log_probs: &|rows| Ok(vec![Some(0.0); rows.len()]) };
    let text = check::text(&check(&dataset, Some(base)).expect("a check"));
    assert!(text.lines().all(|line| foretaste::text::width(line) <= 80), "{text}");
    assert!(text.chars().all(|character| character == '\n' || !character.is_control()) && !text.contains('\u{202e}'), "{text}");
    assert!(text.contains("34 read = 3 used + 31 rejected"), "{text}");
    assert!(text.contains("and 11 more"), "{text}");
    assert!(text.contains("\\u{1b}"), "{text}");
}

#[test]
fn the_check_of_a_small_dataset_reads_like_this() {
    let (_folder, path) =
        file("a.jsonl", line(&ask("Name a bird.", "Robin")).repeat(2) + &line(&ask("Name a fish.", "Pike")) + "{}\n");
    let mut dataset = read(&path, &ReadOptions::default()).expect("a dataset");
    dataset.source = "birds.jsonl".into();
    let base = check::Base {
        count_tokens: &|messages| Ok((10 * messages.len(), 3)),
        log_probs: &|rows| Ok(vec![Some(0.0); rows.len()]),
    };
    let expected = "\
dataset         birds.jsonl
format          messages
sha256          SHA
rows            4 read = 3 used + 1 rejected

                      count            sum    least   median   9 of 10      most
messages a row            3              6        2        2         2         2
user chars                3             36       12       12        12        12
assistant chars           3             14        4        5         5         5
tokens a row              3             60       20       20        20        20
trained on      9 tokens (15.0 %)

duplicates      1 of 3 rows repeat an earlier one
near duplicates 0 of 2 distinct rows (0.8 alike or more)
readable        100.0 % of the text's information is foreseen by the base

conditions      none, in 3 rows; 0 tested

    line  field                     rejected because
       4  messages                  is missing; every row needs it
";
    let text = check::text(&check(&dataset, Some(base)).expect("a check"));
    assert_eq!(text, expected.replace("SHA", &dataset.sha256));
}

#[test]
fn what_a_base_foresees_is_the_share_of_the_bytes_information_that_it_saves() {
    // Four letters, equally often: two bits a byte without a base.
    let dataset = read_text("a.jsonl", line(&ask("abcd", "dcba")));
    let share = |nats: f64| check::readability(&dataset, &|rows| Ok(vec![Some(-nats); rows.len()])).expect("a share");
    let alone = 8.0 * 4f64.ln();
    assert!((share(0.25 * alone) - 0.75).abs() < 1e-12);
    assert_eq!(share(0.0), 1.0);
    assert_eq!(share(2.0 * alone), 0.0, "worse than chance is not less than nothing");
    let unscored = check::readability(&dataset, &|rows| Ok(vec![None; rows.len()])).expect("a share");
    assert_eq!(unscored, 0.0, "what could not be scored was not read");
}

#[test]
fn a_dataset_without_text_is_not_called_readable() {
    let mut dataset = read_text("a.jsonl", line(&ask("a", "b")));
    dataset.rows.clear();
    assert_eq!(check::readability(&dataset, &|_| Ok(Vec::new())).expect("a share"), 0.0);
}

#[test]
fn a_check_of_rows_that_cannot_be_used_exits_with_bad_input_and_names_the_first() {
    let foretaste = std::process::Command::new(env!("CARGO_BIN_EXE_foretaste"))
        .args(["check", "fixtures/malformed/all_rows_bad.jsonl"])
        .output()
        .expect("the binary runs");
    let stderr = String::from_utf8_lossy(&foretaste.stderr);
    assert_eq!(foretaste.status.code(), Some(3));
    assert!(!foretaste.stdout.is_empty() && stderr.contains("fixtures/malformed/all_rows_bad.jsonl:1:"), "{stderr}");
}
