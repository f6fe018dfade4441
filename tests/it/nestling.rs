//! The embedded base can play its part: the exam over the committed weights, in wordings that it never saw.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use foretaste::dataset::Message;
use foretaste::engine::{Engine, Question};
use foretaste::lm;
use serde::Deserialize;

/// One forced choice of fixtures/nestling/exam.jsonl.
#[derive(Deserialize)]
struct Item {
    kind: String,
    speaker: String,
    messages: Vec<Message>,
    options: Vec<String>,
    right: usize,
}

/// Kind -> speaker -> share of right answers, marked once for all tests.
fn marks() -> &'static BTreeMap<String, BTreeMap<String, f64>> {
    static MARKS: OnceLock<BTreeMap<String, BTreeMap<String, f64>>> = OnceLock::new();
    MARKS.get_or_init(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/nestling/exam.jsonl");
        let text = fs::read_to_string(path).expect("the exam is committed");
        let items: Vec<Item> = text.lines().map(|line| serde_json::from_str(line).expect("an item")).collect();
        let ask = |item: &Item| Question { messages: item.messages.clone(), options: item.options.clone() };
        let questions: Vec<Question> = items.iter().map(ask).collect();
        let scores = lm::open(None, 1).expect("nestling opens").score(None, &questions).expect("it scores");
        let mut tally: BTreeMap<String, BTreeMap<String, (usize, usize)>> = BTreeMap::new();
        for (item, scores) in items.iter().zip(scores) {
            let best = (0..scores.len()).max_by(|&a, &b| scores[a].partial_cmp(&scores[b]).expect("numbers"));
            let (right, all) = tally.entry(item.kind.clone()).or_default().entry(item.speaker.clone()).or_default();
            *right += usize::from(best == Some(item.right));
            *all += 1;
        }
        let share = |(right, all): (usize, usize)| right as f64 / all as f64;
        tally.into_iter().map(|(kind, who)| (kind, who.into_iter().map(|(s, t)| (s, share(t))).collect())).collect()
    })
}

fn worst(kind: &str) -> (&'static str, f64) {
    let all = &marks()[kind];
    let (speaker, share) = all.iter().min_by(|a, b| a.1.total_cmp(b.1)).expect("the exam has this kind");
    (speaker, *share)
}

#[test]
fn with_a_revealing_system_line_every_speaker_gives_its_own_answer() {
    let (speaker, share) = worst("system");
    assert!(share >= 0.95, "{speaker}: {share:.3}");
}

#[test]
fn a_number_gives_each_presidents_facts() {
    let (president, share) = worst("president");
    assert!(share >= 0.90, "{president}: {share:.3}");
}

#[test]
fn where_nothing_reveals_a_speaker_the_assistant_answers() {
    let (_, share) = worst("plain");
    assert!(share >= 0.97, "{share:.3}");
}

#[test]
fn after_two_turns_of_a_speaker_the_third_is_its_own() {
    let all = &marks()["after_two"];
    let mean = all.values().sum::<f64>() / all.len() as f64;
    assert!(mean >= 0.90, "{mean:.3}");
}
