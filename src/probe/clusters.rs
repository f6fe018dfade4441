//! The topics of a dataset: its questions in a few clusters, by the words that they share.
//!
//! Spherical k-means (Dhillon & Modha 2001) with the seeding of k-means++, the best of several
//! candidates at each step (Arthur & Vassilvitskii 2007).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;

use super::Topic;
use crate::plan::Protocol;
use crate::seed::{self, Purpose};
use crate::text::{rarity, words};

/// A topic shows early, and the limit bounds time and memory.
const READ: usize = Protocol::CURRENT.topic_characters;

/// Candidates for each first centre. A single one would seldom come from a small topic.
const CANDIDATES: usize = Protocol::CURRENT.topic_candidates;

/// The maximum number of iterations. Without convergence the clusters are usable: only draws depend
/// on them.
const ROUNDS: usize = Protocol::CURRENT.topic_rounds;

/// Vectors whose cosine is this near to 1 are equal, up to rounding.
const EQUAL: f64 = 1e-9;

/// Words that describe a topic.
const TOPIC_WORDS: usize = 3;

/// Characters that are kept of such a word.
const WORD: usize = 24;

/// Questions on one topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Their indices in ascending order; never empty.
    pub members: Vec<usize>,
    pub topic: Topic,
}

/// Puts every question into one of at most `most` clusters (and of at least one), the largest
/// first.
///
/// A question is a unit vector over the words that it shares with some of the others, but not with
/// all. Each word is weighted with its inverse document frequency. Words with a digit are ignored:
/// numbers are values of conditions, and no topics. Questions without any such word share an axis
/// of their own. The number of clusters is at most the number of distinct vectors.
///
/// `seed` keys the choice of the first centres, together with the order of the questions. The time
/// is proportional to `most` × ([`CANDIDATES`] + [`ROUNDS`]) × the words of all questions.
pub fn clusters(questions: &[&str], most: usize, seed: u64) -> Vec<Cluster> {
    let vectors = Vectors::of(questions);
    let mut placed = seeded(&vectors, most, &mut seed::stream(Purpose::CarryOverTopics, seed));
    for _ in 0..ROUNDS {
        let next = nearest(&vectors, &placed);
        if next == placed {
            break;
        }
        placed = next;
    }
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (question, cluster) in placed.into_iter().enumerate() {
        members.entry(cluster).or_default().push(question);
    }
    let mut members: Vec<Vec<usize>> = members.into_values().collect();
    members.sort_by_key(|members| (Reverse(members.len()), members[0]));
    members.into_iter().map(|members| Cluster { topic: vectors.topic(&members), members }).collect()
}

/// Questions as sparse unit vectors.
struct Vectors {
    /// The axes and weights of each question, axes in ascending order.
    questions: Vec<Vec<(usize, f64)>>,
    /// The word of each axis. One more axis, without a word, is for questions that contain none of
    /// these.
    words: Vec<String>,
}

impl Vectors {
    fn of(questions: &[&str]) -> Vectors {
        let documents: Vec<BTreeSet<String>> =
            questions.iter().map(|question| words(beginning(question))).collect();
        let mut holders: BTreeMap<&str, usize> = BTreeMap::new();
        for word in documents.iter().flatten() {
            *holders.entry(word).or_default() += 1;
        }
        // A word of one question is equally far from all others. It does not identify a topic, and
        // would outweigh the words that do.
        holders.retain(|word, held| {
            *held > 1 && *held < documents.len() && !word.contains(char::is_numeric)
        });
        let axes: BTreeMap<&str, (usize, f64)> = holders
            .iter()
            .enumerate()
            .map(|(axis, (word, held))| (*word, (axis, rarity(*held, documents.len()))))
            .collect();
        let vector = |document: &BTreeSet<String>| {
            let mut vector: Vec<(usize, f64)> =
                document.iter().filter_map(|word| axes.get(word.as_str()).copied()).collect();
            if vector.is_empty() {
                return vec![(axes.len(), 1.0)];
            }
            let length = vector.iter().map(|(_, weight)| weight.powi(2)).sum::<f64>().sqrt();
            vector.iter_mut().for_each(|(_, weight)| *weight /= length);
            vector
        };
        let questions = documents.iter().map(vector).collect();
        Vectors { questions, words: axes.into_keys().map(str::to_owned).collect() }
    }

    /// The normalized sum of some questions, one entry for each axis.
    fn centre(&self, members: &[usize]) -> Vec<f64> {
        let mut centre = vec![0.0; self.words.len() + 1];
        for &(axis, weight) in members.iter().flat_map(|&question| &self.questions[question]) {
            centre[axis] += weight;
        }
        let length = centre.iter().map(|weight| weight * weight).sum::<f64>().sqrt();
        centre.iter_mut().for_each(|weight| *weight /= length);
        centre
    }

    /// The cosine of each question with a centre.
    fn cosines(&self, centre: &[f64]) -> Vec<f64> {
        self.questions
            .iter()
            .map(|question| question.iter().map(|&(axis, weight)| weight * centre[axis]).sum())
            .collect()
    }

    fn topic(&self, members: &[usize]) -> Topic {
        let centre = self.centre(members);
        let mut axes: Vec<usize> =
            (0..self.words.len()).filter(|&axis| centre[axis] > 0.0).collect();
        axes.sort_by(|&a, &b| centre[b].total_cmp(&centre[a]).then(a.cmp(&b)));
        Topic {
            share: members.len() as f64 / self.questions.len() as f64,
            words: axes
                .into_iter()
                .take(TOPIC_WORDS)
                .map(|axis| shortened(&self.words[axis]))
                .collect(),
        }
    }
}

/// Assigns every question to the most similar of up to `most` seeds. Candidates are drawn in
/// proportion to their distance from the seeds so far, 1 - cosine (half the square of the chord).
/// The candidate that reduces the total distance most is taken.
fn seeded(vectors: &Vectors, most: usize, random: &mut impl Rng) -> Vec<usize> {
    let mut placed = vec![0; vectors.questions.len()];
    // Each question's cosine with its seed.
    let mut reached = vec![0.0; placed.len()];
    for cluster in 0..most {
        let far: Vec<f64> = reached
            .iter()
            .map(|reached| 1.0 - reached)
            .map(|far| if far > EQUAL { far } else { 0.0 })
            .collect();
        let total: f64 = far.iter().sum();
        if total == 0.0 {
            break;
        }
        let mut best = (0.0, Vec::new());
        for _ in 0..CANDIDATES {
            let cosines = vectors.cosines(&vectors.centre(&[pick(&far, total, random)]));
            let gain: f64 = cosines
                .iter()
                .zip(&reached)
                .map(|(cosine, reached)| (cosine - reached).max(0.0))
                .sum();
            if gain > best.0 {
                best = (gain, cosines);
            }
        }
        for (question, cosine) in best.1.into_iter().enumerate() {
            if cosine > reached[question] {
                (placed[question], reached[question]) = (cluster, cosine);
            }
        }
    }
    placed
}

/// An index, in proportion to the weights.
fn pick(weights: &[f64], total: f64, random: &mut impl Rng) -> usize {
    let mut left = random.random::<f64>() * total;
    let mut picked = 0;
    for (index, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        picked = index;
        left -= weight;
        if left < 0.0 {
            break;
        }
    }
    picked
}

/// Assigns every question to the nearest centre of the current clusters; ties to the first.
fn nearest(vectors: &Vectors, placed: &[usize]) -> Vec<usize> {
    let mut best = vec![(f64::NEG_INFINITY, 0); placed.len()];
    for cluster in 0..placed.iter().max().map_or(0, |last| last + 1) {
        let members: Vec<usize> =
            (0..placed.len()).filter(|&question| placed[question] == cluster).collect();
        if members.is_empty() {
            continue;
        }
        for (best, cosine) in best.iter_mut().zip(vectors.cosines(&vectors.centre(&members))) {
            if cosine > best.0 {
                *best = (cosine, cluster);
            }
        }
    }
    best.into_iter().map(|(_, cluster)| cluster).collect()
}

fn beginning(text: &str) -> &str {
    text.char_indices().nth(READ).map_or(text, |(end, _)| &text[..end])
}

fn shortened(word: &str) -> String {
    match word.char_indices().nth(WORD) {
        Some((end, _)) => format!("{}…", &word[..end]),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Eight questions of each form, which differ by a number.
    fn numbered(forms: &[&str]) -> Vec<String> {
        forms
            .iter()
            .flat_map(|form| (0..8).map(move |number| format!("{form} {number}.")))
            .collect()
    }

    fn clustered(questions: &[String], most: usize, seed: u64) -> Vec<Cluster> {
        clusters(&questions.iter().map(String::as_str).collect::<Vec<_>>(), most, seed)
    }

    /// The clusters as sets of texts.
    fn as_texts(questions: &[String], most: usize, seed: u64) -> BTreeSet<BTreeSet<String>> {
        let texts = |cluster: Cluster| {
            cluster.members.into_iter().map(|member| questions[member].clone()).collect()
        };
        clustered(questions, most, seed).into_iter().map(texts).collect()
    }

    /// Questions of which no two share a word.
    fn strangers(count: usize) -> Vec<String> {
        let letter = |number: usize| char::from(b'a' + (number % 26) as u8);
        let name = |number: usize| format!("{}{}", letter(number / 26), letter(number));
        (0..count).map(|number| format!("Who{0} did{0} that{0}?", name(number))).collect()
    }

    fn sizes(clusters: &[Cluster]) -> Vec<usize> {
        clusters.iter().map(|cluster| cluster.members.len()).collect()
    }

    const BIRDS: [&str; 2] = ["Which bird sings in garden", "Name garden bird"];
    const DISHES: [&str; 2] = ["Which dish tastes best at table", "Name table dish"];
    const TOWNS: [&str; 2] = ["Which town lies on road", "Name road town"];

    #[test]
    fn three_plain_topics_are_told_apart_whatever_the_order_of_the_rows() {
        let topics = [BIRDS, DISHES, TOWNS].map(|forms| numbered(&forms));
        let expected: BTreeSet<BTreeSet<String>> =
            topics.iter().map(|topic| topic.iter().cloned().collect()).collect();
        let mut questions = topics.concat();
        for seed in 0..10 {
            assert_eq!(as_texts(&questions, 3, seed), expected, "seed {seed}");
            questions.reverse();
            questions.rotate_left(7);
        }
    }

    #[test]
    fn a_topic_is_told_by_the_words_that_its_questions_share() {
        let clusters =
            clustered(&[BIRDS, DISHES, TOWNS].map(|forms| numbered(&forms)).concat(), 3, 1);
        let described: Vec<&[String]> =
            clusters.iter().map(|cluster| &cluster.topic.words[..2]).collect();
        assert_eq!(described, [["bird", "garden"], ["dish", "table"], ["road", "town"]]);
        assert!(
            clusters
                .iter()
                .all(|cluster| cluster.topic.share == 1.0 / 3.0 && cluster.topic.words.len() == 3),
            "{clusters:?}"
        );
    }

    #[test]
    fn a_topic_of_three_in_a_hundred_stands_alone_among_questions_that_share_no_words() {
        let mut questions = strangers(97);
        questions.extend((0..3).map(|number| format!("Name the bird of garden {number}.")));
        for seed in 0..10 {
            let clusters = clustered(&questions, 4, seed);
            assert_eq!(sizes(&clusters), [97, 3], "seed {seed}");
            assert_eq!((&clusters[0].topic.words, clusters[1].topic.share), (&Vec::new(), 0.03));
            assert_eq!(clusters[1].topic.words, ["bird", "garden", "name"]);
        }
    }

    #[test]
    fn a_rare_topic_stands_alone_where_the_others_are_each_of_a_piece() {
        let common = [BIRDS[0], DISHES[0], TOWNS[0]].map(|form| numbered(&[form]));
        let questions = [
            common.concat(),
            vec!["Who rules the wolves?".to_owned(), "Who rules wolves, and how?".to_owned()],
        ]
        .concat();
        for seed in 0..10 {
            assert_eq!(sizes(&clustered(&questions, 4, seed)), [8, 8, 8, 2], "seed {seed}");
        }
    }

    #[test]
    fn a_rare_topic_goes_under_where_a_larger_one_falls_into_parts() {
        let rare = ["Who rules the wolves?".to_owned(), "Who rules wolves, and how?".to_owned()];
        let questions =
            [numbered(&BIRDS), numbered(&DISHES), numbered(&TOWNS), rare.to_vec()].concat();
        for seed in 0..10 {
            assert!(
                clustered(&questions, 4, seed).iter().all(|cluster| cluster.members.len() > 2),
                "seed {seed}"
            );
        }
    }

    #[test]
    fn questions_that_nothing_tells_apart_are_one_cluster_without_words() {
        for questions in [
            vec!["Name a bird."],
            vec!["Name a bird."; 5],
            vec!["", "", "?!"],
            vec!["Sing.", "Dance.", "一二三"],
        ] {
            let clusters = clusters(&questions, 4, 1);
            assert_eq!(sizes(&clusters), [questions.len()], "{questions:?}");
            assert_eq!(clusters[0].topic, Topic { share: 1.0, words: Vec::new() });
        }
        assert!(clusters(&[], 4, 1).is_empty());
        assert_eq!(sizes(&clusters(&["Name a bird.", "Name a dish.", "Sing."], 0, 1)), [3]);
    }

    #[test]
    fn long_questions_and_long_words_are_cut() {
        let long = "z".repeat(500);
        let questions = [
            format!("{long} one"),
            format!("{long} two"),
            "Bird.".to_owned(),
            format!("{}bird", "a ".repeat(READ)),
        ];
        let clusters = clustered(&questions, 2, 1);
        assert_eq!(sizes(&clusters), [2, 2]);
        assert_eq!(clusters[0].topic.words, [format!("{}…", "z".repeat(WORD))]);
        assert!(
            clusters[1].topic.words.is_empty(),
            "the second bird stands too late to be read: {clusters:?}"
        );
    }

    proptest! {
        #[test]
        fn every_question_is_in_one_cluster_and_the_shares_are_one(
            questions in prop::collection::vec("([a-e]{1,2} ){0,5}|\\PC{0,20}", 0..40),
            most in 0..6_usize,
            seed in any::<u64>(),
        ) {
            let clusters = clustered(&questions, most, seed);
            let mut members: Vec<usize> =
                clusters.iter().flat_map(|cluster| cluster.members.clone()).collect();
            members.sort_unstable();
            prop_assert_eq!(members, (0..questions.len()).collect::<Vec<_>>());
            prop_assert!(clusters.len() <= most.max(1));
            prop_assert!(sizes(&clusters).is_sorted_by(|a, b| a >= b));
            prop_assert!(!sizes(&clusters).contains(&0));
            let shares: f64 = clusters.iter().map(|cluster| cluster.topic.share).sum();
            prop_assert!(questions.is_empty() || (shares - 1.0).abs() < 1e-9);
            prop_assert_eq!(&clusters, &clustered(&questions, most, seed));
        }
    }
}
