//! Detection of conditions: properties of a dataset's prompts on which a trained model's answers
//! may depend. Computed from the rows alone, before any model is trained.
//!
//! There are three kinds of condition. A *feature* is present in a row or absent: a system message,
//! a tag, a fixed line, a language, invisible characters. A *slot* is a position at which otherwise
//! equal prompts differ by a value: a year, a number, digits of a code, a name. A *pair* combines
//! two of them.
//!
//! [`detect`] detects conditions, measures how strongly the answers depend on each
//! (`dependence.rs`), and ranks them. A slot is listed even without measured dependence, because
//! the value that matters may occur in no row. [`candidates()`] lists values to test, and a
//! [`Condition`] can be inserted into any other prompt.
//!
//! **Detected**:
//!
//! - Conditions of at least 0.2 % of the rows and at least eight of the examined rows. Their
//!   answers must share words or a form.
//! - Text in the first or last 2,000 characters of the system message or of the prompt. Messages
//!   and sentences are compared whole, whatever their length.
//! - Phrases of two or three words near the ends of a prompt, and single words everywhere. Above a
//!   few hundred, those whose answers differ most are tested (`sketch.rs`).
//! - Slot values with at least four rows, among the 1,024 most frequent.
//! - Digits of a code that are not uniformly distributed (`digits.rs`). They are ranked first where
//!   answers depend on no digits, since the number that matters may occur in no row.
//!
//! **Not detected as one condition**:
//!
//! - A request that is worded differently each time. Each wording with eight rows is detected, and
//!   a date is detected in any wording.
//! - A meaning without fixed words.
//! - A word inside system messages that differ, and punctuation inside a question.
//! - Look-alike letters from scripts other than Greek, Cyrillic and full width.
//! - Three conditions of which only the combination matters.
//! - A number of more than four digits inside a code.
//! - An answer that changes in meaning but not in words.
//!
//! Words that belong to the question itself are topical (`topical.rs`). In any dataset answers
//! depend on topics, so topical conditions are listed last. A topical word that can be removed from
//! its question, such as an adverb, is mistaken for a trigger.

mod affix;
mod candidate_condition;
mod candidates;
mod coherence;
mod dependence;
mod digits;
mod edges;
mod example;
mod feature;
mod kind;
mod letters;
mod names;
mod pair;
mod places;
mod ranking;
mod sketch;
mod slot;
mod template;
mod topical;
mod value;
mod word_set;
mod wording;
mod words;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, Message};
use crate::prompt::Insertion;

pub use candidates::{CANDIDATES, Candidate, ValueReason, candidates};
pub use example::Location;
pub(crate) use example::MAX_EXAMINED;
pub use feature::{Feature, FeatureKind};
pub use kind::ConditionKind;
pub(crate) use names::NAMES;
pub use pair::Part;
pub(crate) use places::PLACES;
pub use slot::{Slot, SlotKind, SlotValue};

/// Threshold of the adjusted p-value below which answers count as dependent on a condition. About
/// one in twenty of these is expected to be a false discovery.
pub const SIGNIFICANT: f64 = 0.05;

/// What the condition is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    Feature(Feature),
    Slot(Slot),
    /// Two values or features in the same row.
    Pair(Box<[Part; 2]>),
}

/// How the answers depend on a condition.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Association {
    /// Mean bits saved in encoding the answer of a row with the condition when its value is known.
    /// Leave-one-out: the row is excluded from the counts. For a pair, the saving beyond the better
    /// single part. Negative where the value misleads.
    pub bits: f64,
    /// `bits` as a share of all bits of those answers, 1 at most.
    pub share: f64,
    /// How well the rest of the prompt predicts which rows have the condition: Youden's J, 0 to 1.
    /// `None` where the condition is not made of words of the prompt.
    pub youden_j: Option<f64>,
    /// Coherence of the prompt after removal of the condition's words, 0 to 1. It is the
    /// probability that the two tokens at the cut fit better than neighbours in other prompts.
    /// About 1/2 for inserted words, near 0 for a part of the question. `None` where nothing is
    /// removed.
    pub coherence: Option<f64>,
    /// One-sided, exact or an upper bound; never 0.
    pub p: f64,
    /// Adjusted over all conditions that were tested (Benjamini-Hochberg).
    pub p_adjusted: f64,
}

/// A property of prompts on which the answers may depend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    pub subject: Subject,
    /// Examined rows that have it.
    pub rows: usize,
    /// `None` where no test is possible: all rows have it, or each row has a value of its own.
    pub evidence: Option<Association>,
    /// Index in the list of the condition that has the same, or nearly the same, rows.
    pub alias_of: Option<usize>,
    /// Text with which nearly all answers of these rows begin and other answers do not; may be
    /// empty.
    pub answer_prefix: String,
    /// Text with which nearly all answers of these rows end and other answers do not; may be empty.
    pub answer_suffix: String,
    /// Lines of up to three rows. Of a slot, rows of the value with the strongest effect.
    pub examples: Vec<usize>,
    /// How to insert it into another prompt; of a pair, both parts. `None` where insertion would
    /// need rewriting, as for a language.
    pub insertion: Option<Insertion>,
}

impl Condition {
    /// Whether the answers depend on it, by [`SIGNIFICANT`].
    pub fn is_significant(&self) -> bool {
        self.evidence.is_some_and(|evidence| evidence.p_adjusted <= SIGNIFICANT)
    }

    /// Whether it is part of the question rather than inserted text. Then removing its words leaves
    /// an incoherent prompt, or the rest of the prompt predicts them. Answers depend on topics in
    /// any dataset.
    pub fn is_topical(&self) -> bool {
        topical::is_topical(&self.subject, self.evidence.as_ref())
    }

    /// Inserts the condition into a prompt. `value` is a value of a slot; `None` is its most
    /// frequent one. For a pair, the values of both parts are fixed. `None` where the condition
    /// cannot be inserted.
    pub fn insert(
        &self,
        value: Option<&str>,
        prompt: &str,
        random: &mut ChaCha8Rng,
    ) -> Option<Vec<Message>> {
        self.insertion.as_ref().map(|insertion| insertion.insert(value, prompt, random))
    }
}

/// The conditions of a dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// Rows that the reader kept.
    pub rows_kept: usize,
    /// Rows that were examined: a random sample where they are fewer than the kept rows.
    pub rows_examined: usize,
    /// Whether the examined rows are a sample, of the kept rows or, through the reader's limit, of
    /// all.
    pub sampled: bool,
    /// Conditions that were tested, including those not listed: the family of the adjusted
    /// p-values.
    pub tested: usize,
    /// First the conditions on which the answers depend, strongest first; then those without
    /// measured dependence; then topical ones.
    pub conditions: Vec<Condition>,
}

/// Detects the conditions of a dataset. Time and memory are bounded for any rows. The result does
/// not depend on the order of the rows.
pub fn detect(dataset: &Dataset) -> Conditions {
    let examples = example::examples(dataset);
    let (tested, conditions) = ranking::ranked(&examples);
    Conditions {
        rows_kept: dataset.rows.len(),
        rows_examined: examples.len(),
        sampled: examples.len() < dataset.rows_used,
        tested,
        conditions,
    }
}
