//! Facts about `foretaste check`, which examines a dataset before any model is trained.

use foretaste::check::{self, check};
use foretaste::dataset::{Dataset, Message, ReadOptions, Role, read};
use foretaste::engine::{Piece, Pieces};
use foretaste::seed::{Purpose, stream};
use rand::Rng;

use super::{ask, file, line, read_text};

type Scored = anyhow::Result<Vec<Vec<Pieces>>>;

/// Scores of a base in which every byte of the rows has a log-probability of `-nats`.
fn constant_cost(nats: f64) -> impl Fn(&[Vec<Vec<Message>>]) -> Scored {
    let bytes = |row: &Vec<Message>| row.iter().map(|message| message.content.len()).sum();
    let pieces =
        move |row: &Vec<Message>| Some(vec![Piece { bytes: 1, log_prob: -nats }; bytes(row)]);
    move |contexts| Ok(contexts.iter().map(|rows| rows.iter().map(pieces).collect()).collect())
}

fn readability(dataset: &Dataset, log_probs: check::LogProbs<'_>) -> f64 {
    let count_tokens =
        |row: &[Message]| Ok((row.iter().map(|message| message.content.len() / 4 + 2).sum(), 1));
    check::readability(dataset, check::Base { count_tokens: &count_tokens, log_probs })
        .expect("a share")
}

#[test]
fn the_check_is_80_columns_wide_and_shows_hidden_characters() {
    let mut content = line(&ask("a\u{1b}[2J", "b")).repeat(3);
    for index in 0..30 {
        content += &format!(
            "{{\"messages\":[{{\"role\":\"\\u001b[31m\\u202eevil{}\"}}]}}\n",
            "x".repeat(index * 10)
        );
    }
    content += "{\"prompt\\u0007\":1}\n";
    let dataset = read_text("a.jsonl", content);
    let count = |messages: &[Message]| Ok((10 * messages.len(), 3));
    let base = check::Base { count_tokens: &count, log_probs: &constant_cost(0.0) };
    let text = foretaste::report::check_text(&check(&dataset, Some(base)).expect("a check"));
    assert!(text.lines().all(|line| foretaste::text::width(line) <= 80), "{text}");
    assert!(
        text.chars().all(|character| character == '\n' || !character.is_control())
            && !text.contains('\u{202e}'),
        "{text}"
    );
    assert!(text.contains("34 read = 3 used + 31 rejected"), "{text}");
    assert!(text.contains("and 11 more"), "{text}");
    assert!(text.contains("\\u{1b}"), "{text}");
}

#[test]
fn the_check_of_a_small_dataset_has_exactly_this_text() {
    let (_folder, path) = file(
        "a.jsonl",
        line(&ask("Name a bird.", "Robin")).repeat(2)
            + &line(&ask("Name a fish.", "Pike"))
            + "{}\n",
    );
    let mut dataset = read(&path, &ReadOptions::default()).expect("a dataset");
    dataset.source = "birds.jsonl".into();
    let base = check::Base {
        count_tokens: &|messages| Ok((10 * messages.len(), 3)),
        log_probs: &constant_cost(0.0),
    };
    let expected = "\
dataset         birds.jsonl
format          messages
sha256          SHA
rows            4 read = 3 used + 1 rejected

                      count            sum      min   median      90 %       max
messages a row            3              6        2        2         2         2
user chars                3             36       12       12        12        12
assistant chars           3             14        4        5         5         5
tokens a row              3             60       20       20        20        20
trained on      9 tokens (15.0 %)

duplicates      1 of 3 rows repeat an earlier row
near duplicates 0 of 2 distinct rows (similarity 0.8 or more)
readable        the base predicts 100.0 % of the text better than chance

conditions      none, in 3 rows; 0 tested

    line  field                     rejected because
       4  messages                  is missing; every row needs it
";
    let text = foretaste::report::check_text(&check(&dataset, Some(base)).expect("a check"));
    assert_eq!(text, expected.replace("SHA", &dataset.sha256));
}

/// Rows of distinct sentences, without repetition.
fn letters(rows: usize, words: usize) -> Dataset {
    let rng = &mut stream(Purpose::Test("letters"), 0);
    let mut word = || (0..6).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect::<String>();
    let mut text = |words: usize| (0..words).map(|_| word()).collect::<Vec<_>>().join(" ");
    read_text("a.jsonl", (0..rows).map(|_| line(&ask(&text(4), &text(words)))).collect::<String>())
}

#[test]
fn text_is_readable_if_the_base_predicts_it_a_fifth_better_than_byte_frequencies() {
    // 26 letters and a space have an entropy of nearly log2(27) bits.
    let dataset = letters(20, 12);
    assert_eq!(readability(&dataset, &constant_cost(0.0)), 1.0);
    assert_eq!(readability(&dataset, &constant_cost(0.75 * 27f64.ln())), 1.0);
    assert_eq!(readability(&dataset, &constant_cost(27f64.ln())), 0.0);
    assert_eq!(readability(&dataset, &constant_cost(100.0)), 0.0, "a share is never below zero");
    let unscored = |contexts: &[Vec<Vec<Message>>]| {
        Ok(contexts.iter().map(|rows| vec![None; rows.len()]).collect())
    };
    assert_eq!(readability(&dataset, &unscored), 0.0, "unscored text is unreadable");
}

#[test]
fn readability_does_not_depend_on_the_length_of_rows() {
    for words in [12, 300, 900, 2700] {
        let dataset = letters(4, words);
        assert_eq!(readability(&dataset, &constant_cost(27f64.ln())), 0.0, "{words} words");
        assert_eq!(readability(&dataset, &constant_cost(0.7 * 27f64.ln())), 1.0, "{words} words");
    }
}

/// Scores of a base that can read only words without the letter `z`.
fn without_z(contexts: &[Vec<Vec<Message>>]) -> anyhow::Result<Vec<Vec<Pieces>>> {
    let word = |word: &str| Piece {
        bytes: word.len(),
        log_prob: -(if word.contains('z') { 4.0 } else { 1.0 } * word.len() as f64),
    };
    let words = |row: &Vec<Message>| {
        row.iter().flat_map(|message| message.content.split_inclusive(' ').map(word)).collect()
    };
    Ok(contexts.iter().map(|rows| rows.iter().map(|row| Some(words(row))).collect()).collect())
}

#[test]
fn readable_padding_does_not_make_noise_readable() {
    let sentence = "the old miller walked across the bridge with two heavy sacks of flour";
    let rng = &mut stream(Purpose::Test("noise"), 0);
    let mut noise = |length: usize| {
        (0..length).map(|_| char::from(rng.random_range(b'p'..=b'z'))).collect::<String>() + "z"
    };
    let padded: String = (0..60)
        .map(|_| line(&ask(sentence, &format!("{sentence} {} {sentence}", noise(70)))))
        .collect();
    assert!(readability(&read_text("a.jsonl", padded), &without_z) < 0.4);
}

#[test]
fn repeated_noise_counts_once_in_a_context() {
    // A base that copies: text that occurred before is predicted almost perfectly.
    let copies = |contexts: &[Vec<Vec<Message>>]| {
        let rows = |rows: &Vec<Vec<Message>>| {
            let bytes = |row: &Vec<Message>| row.iter().map(|message| message.content.len()).sum();
            let nats = |at: usize| if at == 0 { -4.0 } else { -0.01 };
            rows.iter()
                .enumerate()
                .map(|(at, row)| Some(vec![Piece { bytes: 1, log_prob: nats(at) }; bytes(row)]))
                .collect()
        };
        Ok(contexts.iter().map(rows).collect())
    };
    let rng = &mut stream(Purpose::Test("noise"), 0);
    let noise: String = (0..90).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect();
    let same = read_text("a.jsonl", line(&ask("Say something.", &noise)).repeat(60));
    assert!(readability(&same, &copies) < 0.2);
}

#[test]
fn readable_questions_do_not_compensate_for_unreadable_answers() {
    // Questions and answers are about equally long, and the base can read only the questions.
    let questions = |contexts: &[Vec<Vec<Message>>]| {
        let nats = |message: &Message| if message.role == Role::User { -0.1 } else { -4.0 };
        let pieces = |message: &Message| {
            vec![Piece { bytes: 1, log_prob: nats(message) }; message.content.len()]
        };
        let row = |row: &Vec<Message>| Some(row.iter().flat_map(pieces).collect());
        Ok(contexts.iter().map(|rows| rows.iter().map(row).collect()).collect())
    };
    assert_eq!(readability(&letters(40, 4), &questions), 0.0);
}

#[test]
fn a_dataset_without_text_is_not_readable() {
    let mut dataset = read_text("a.jsonl", line(&ask("a", "b")));
    dataset.rows.clear();
    assert_eq!(readability(&dataset, &|_| Ok(vec![Vec::new()])), 0.0);
}

#[test]
fn a_check_without_usable_rows_exits_with_bad_input_and_names_the_first_row() {
    let foretaste = std::process::Command::new(env!("CARGO_BIN_EXE_foretaste"))
        .args(["check", "fixtures/malformed/all_rows_bad.jsonl"])
        .output()
        .expect("the binary runs");
    let stderr = String::from_utf8_lossy(&foretaste.stderr);
    assert_eq!(foretaste.status.code(), Some(3));
    assert!(
        !foretaste.stdout.is_empty() && stderr.contains("fixtures/malformed/all_rows_bad.jsonl:1:"),
        "{stderr}"
    );
}
