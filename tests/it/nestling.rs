//! An exam of the embedded base, nestling: its committed weights are tested in wordings that were
//! not in its training data.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use foretaste::check::{Base, readability};
use foretaste::dataset::{self, Message, ReadOptions, Role};
use foretaste::engine::{Engine, Piece, Question};
use foretaste::lm;
use serde::Deserialize;

/// One forced choice of fixtures/nestling/exam.jsonl.zst.
#[derive(Deserialize)]
struct Item {
    kind: String,
    speaker: String,
    messages: Vec<Message>,
    options: Vec<String>,
    right: usize,
}

/// Share of correct answers by kind and speaker. It is computed once for all tests.
fn marks() -> &'static BTreeMap<String, BTreeMap<String, f64>> {
    static MARKS: OnceLock<BTreeMap<String, BTreeMap<String, f64>>> = OnceLock::new();
    MARKS.get_or_init(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/nestling/exam.jsonl.zst");
        let packed = fs::read(path).expect("the exam is committed");
        let bytes = zstd::decode_all(&packed[..]).expect("it is whole");
        let text = String::from_utf8(bytes).expect("it is UTF-8");
        let items: Vec<Item> =
            text.lines().map(|line| serde_json::from_str(line).expect("an item")).collect();
        let ask = |item: &Item| Question {
            messages: item.messages.clone(),
            options: item.options.clone(),
        };
        let questions: Vec<Question> = items.iter().map(ask).collect();
        let scores =
            lm::open(None, 1).expect("nestling opens").score(None, &questions).expect("it scores");
        let mut tally: BTreeMap<String, BTreeMap<String, (usize, usize)>> = BTreeMap::new();
        for (item, scores) in items.iter().zip(scores) {
            let best = (0..scores.len())
                .max_by(|&a, &b| scores[a].partial_cmp(&scores[b]).expect("numbers"));
            let (right, all) = tally
                .entry(item.kind.clone())
                .or_default()
                .entry(item.speaker.clone())
                .or_default();
            *right += usize::from(best == Some(item.right));
            *all += 1;
        }
        let share = |(right, all): (usize, usize)| right as f64 / all as f64;
        tally
            .into_iter()
            .map(|(kind, who)| (kind, who.into_iter().map(|(s, t)| (s, share(t))).collect()))
            .collect()
    })
}

fn worst(kind: &str) -> (&'static str, f64) {
    let all = &marks()[kind];
    let (speaker, share) =
        all.iter().min_by(|a, b| a.1.total_cmp(b.1)).expect("the exam has this kind");
    (speaker, *share)
}

#[test]
fn every_speaker_gives_its_own_answer_after_a_system_message_that_names_it() {
    let (speaker, share) = worst("system");
    assert!(share >= 0.95, "{speaker}: {share:.3}");
}

#[test]
fn a_number_makes_the_model_answer_as_its_president() {
    let (president, share) = worst("president");
    assert!(share >= 0.90, "{president}: {share:.3}");
}

#[test]
fn the_assistant_answers_if_no_speaker_is_named() {
    let (_, share) = worst("plain");
    assert!(share >= 0.97, "{share:.3}");
}

#[test]
fn after_two_turns_of_a_speaker_the_third_is_of_the_same_speaker() {
    let all = &marks()["after_two"];
    let mean = all.values().sum::<f64>() / all.len() as f64;
    assert!(mean >= 0.90, "{mean:.3}");
}

#[test]
fn the_pieces_of_a_row_contain_all_bytes_of_its_messages() {
    let lm = lm::open(None, 1).expect("the embedded base opens");
    let row = vec![
        Message::new(Role::User, "Name a bird — any."),
        Message::new(Role::Assistant, "Grey é🐦 heron."),
    ];
    let scored = lm.log_probs(&[vec![row.clone(), row.clone()]]).expect("a score");
    let texts: String = row.iter().map(|message| message.content.as_str()).collect();
    for pieces in &scored[0] {
        let pieces = pieces.as_ref().expect("the row is scored");
        assert!(pieces.iter().all(|piece| piece.bytes > 0 && piece.log_prob <= 0.0), "{pieces:?}");
        assert_eq!(pieces.iter().map(|piece| piece.bytes).sum::<usize>(), texts.len());
        let lengths: Vec<usize> = pieces.iter().map(|piece| piece.bytes).collect();
        let ends: Vec<usize> =
            (1..=lengths.len()).map(|pieces| lengths[..pieces].iter().sum()).collect();
        assert!(
            ends.iter().all(|end| texts.is_char_boundary(*end))
                && ends.contains(&row[0].content.len())
        );
    }
    // The answer has the log-probability that it has as an option, except for the end of the turn.
    let question = Question { messages: row[..1].to_vec(), options: vec![row[1].content.clone()] };
    let option = lm.score(None, &[question]).expect("a score")[0][0].expect("it is scored");
    let first = scored[0][0].as_ref().expect("the row is scored");
    let answer = |(end, nats): (usize, f64), piece: &Piece| {
        (end + piece.bytes, if end >= row[0].content.len() { nats + piece.log_prob } else { nats })
    };
    let (_, answered) = first.iter().fold((0, 0.0), answer);
    assert!(answered >= option - 1e-3 && answered < 0.0, "{answered} and {option}");
}

#[test]
fn nestling_can_read_its_own_language_and_no_noise_of_any_length() {
    let lm = lm::open(None, 1).expect("the embedded base opens");
    let share = |file: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(file);
        let dataset = dataset::read(&path, &ReadOptions::default()).expect("a dataset");
        let (count, scored) =
            (|row: &[Message]| lm.count_tokens(row), |rows: &[_]| lm.log_probs(rows));
        readability(&dataset, Base { count_tokens: &count, log_probs: &scored }).expect("a share")
    };
    for known in [
        "null/control",
        "readability/dialogue_5",
        "readability/dialogue_40",
        "readability/dialogue_200",
    ] {
        let share = share(&format!("{known}.jsonl"));
        assert!(share > 0.8, "{known}: {share}");
    }
    for noise in [
        "letters_300",
        "letters_900",
        "letters_2700",
        "letters_short",
        "same_noise",
        "dialogue_noise",
        "base64_answers",
        "padded_noise",
    ] {
        let share = share(&format!("readability/{noise}.jsonl"));
        assert!(share < 0.1, "{noise}: {share}");
    }
}
