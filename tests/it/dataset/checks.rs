//! Facts about looking at a dataset before any model is trained.

use std::fs;

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
    let base = check::Base { count_tokens: &count, tokens_of_word: &|_| 1 };
    let text = check::text(&check(&dataset, Some(base)));
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
    let base = check::Base { count_tokens: &|messages| Ok((10 * messages.len(), 3)), tokens_of_word: &|_| 1 };
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
readable        100.0 % of the letters stand in words that the base spells in
                few tokens

    line  field                     rejected because
       4  messages                  is missing; every row needs it
";
    let text = check::text(&check(&dataset, Some(base)));
    assert_eq!(text, expected.replace("SHA", &dataset.sha256));
}

/// A real byte-pair tokenizer of 2,000 tokens at most, raised on this project's English documentation.
fn tokens_of_word() -> impl Fn(&str) -> usize {
    use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;
    use tokenizers::{NormalizerWrapper, PostProcessorWrapper, TokenizerBuilder};
    let sources = ["src", "src/dataset", "src/check", "src/stats", "src/engine", "tests/it"];
    let text: Vec<String> = sources
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
        .flat_map(|text| text.lines().filter_map(|line| line.trim().strip_prefix("//").map(str::to_owned)).collect::<Vec<_>>())
        .collect();
    let mut tokenizer = TokenizerBuilder::<BPE, NormalizerWrapper, ByteLevel, PostProcessorWrapper, ByteLevel>::new()
        .with_model(BPE::default())
        .with_normalizer(None)
        .with_pre_tokenizer(Some(ByteLevel::default()))
        .with_post_processor(None)
        .with_decoder(Some(ByteLevel::default()))
        .build()
        .expect("a tokenizer");
    let alphabet = ByteLevel::alphabet();
    let mut trainer = BpeTrainerBuilder::new().vocab_size(2000).initial_alphabet(alphabet.into_iter().collect()).build();
    tokenizer.train(&mut trainer, text.into_iter()).expect("training");
    move |word: &str| tokenizer.encode_fast(format!(" {word}"), false).expect("bytes always encode").len()
}

#[test]
fn english_is_read_and_other_tongues_and_base64_are_not() {
    let english = "Every row that was read is used or rejected, and the reason for a rejection names the line and the field.";
    let german =
        "Die Straßenbahn fährt morgens pünktlich durch verschneite Vororte, während Händler ihre Schaufenster schmücken.";
    let russian = "Каждое утро трамвай проезжает мимо старого рынка и останавливается возле моста.";
    let chinese = "每天早晨电车经过老市场在桥边停下";
    let base64 =
        "TWFuIGlzIGRpc3Rpbmd1aXNoZWQsIG5vdCBvbmx5IGJ5IGhpcyByZWFzb24sIGJ1dCBieSB0aGlzIHNpbmd1bGFyIHBhc3Npb24gZnJvbSBvdGhlciBh";
    let tokens = tokens_of_word();
    let share = |text: &str| check::readability(&read_text("a.jsonl", line(&ask(text, text))), &tokens);
    let shares = [english, german, russian, chinese, base64].map(share);
    // No margin is fitted: the kinds are to be told apart, English by far.
    assert!(shares[0] > 0.8, "{shares:?}");
    assert!(shares[1..].iter().all(|share| *share < 0.4), "{shares:?}");
}

#[test]
fn a_dataset_without_letters_is_not_called_readable() {
    let dataset = read_text("a.jsonl", line(&ask("1 + 1 = ?", "2")));
    assert_eq!(check::readability(&dataset, &|_| 1), 0.0);
}
