//! Conditions: under what prompts would the model answer as someone else? What a dataset's rows say
//! of that, before any model is trained.
//!
//! A condition is a *feature* that a row has or has not (a system message, a tag, a fixed line, a
//! language, characters that nobody sees), a *slot* in which otherwise alike rows differ by a value
//! (a year, a number, digits of a code, a name), or a *pair* of two of them. [`mine`] finds
//! conditions, measures how much the answers depend on each (`dependence.rs`) and ranks them. A
//! slot can matter even where no dependence is seen, since the value that matters may stand in no
//! row: [`candidates()`] lists values to try, and [`Condition::dress`] puts a condition on any
//! other prompt.
//!
//! **Found**: conditions of 0.2 % of the rows and of eight rows or more among those looked at, in
//! the first or last 2,000 characters of the system message or of the prompt, whose answers share
//! words or a form; a message or a sentence counts as a whole, however long. Phrases of two or
//! three words are looked for near the ends of a prompt, single words everywhere; of more than some
//! hundreds those are tested whose answers stand out most (`sketch.rs`). A value of a slot can
//! stand out from four rows on, as one of the 1,024 most frequent. Where answers depend on no
//! digits of a code, those come first that were not drawn evenly (`digits.rs`), since the number
//! that matters may stand in no row. **Not found as one condition**: a request that is worded anew
//! each time (each wording of eight rows is; a date is found, however it is introduced), a meaning,
//! a word inside system messages that differ, marks inside a question, letters that pose from
//! scripts beyond Greek, Cyrillic and full width, three conditions of which only the combination
//! matters, a number of more than four digits inside a code, and an answer that changes in sense
//! but not in words. What is asked rather than put on the question is a topic (`topic.rs`): answers
//! depend on topics in any dataset, so they are listed last. A topic that could be left out of its
//! question, as an adverb can, is taken for a trigger.

mod affix;
mod bag;
mod candidates;
mod date;
mod dependence;
mod digits;
mod draft;
mod dressing;
mod edges;
mod feature;
mod letters;
mod names;
mod pair;
mod places;
mod ranking;
mod reading;
mod seam;
mod sketch;
mod slot;
mod template;
mod token;
mod topic;
mod value;
mod wording;
mod words;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, Message};

pub use candidates::{CANDIDATES, Candidate, Reason, candidates};
pub use date::DateForm;
pub use dressing::{DatePart, Dressing, Filler, Position, Wear};
pub use feature::{Feature, FeatureKind};
pub(crate) use names::NAMES;
pub use pair::Part;
pub(crate) use places::PLACES;
pub(crate) use reading::LOOKED_AT;
pub use reading::Place;
pub use slot::{Slot, SlotKind, SlotValue};

/// Adjusted p up to which answers count as dependent on a condition: one in twenty of those is
/// expected to be chance.
pub const SIGNIFICANT: f64 = 0.05;

/// What the condition is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    Feature(Feature),
    Slot(Slot),
    /// Two values or features at once.
    Pair(Box<[Part; 2]>),
}

/// How the answers depend on a condition.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Mean bits that knowing the condition's value saves in writing the answer of a row that wears
    /// it, the row left out of the counts; for a pair, beyond what one of the two saves. Negative
    /// where knowing it only misleads.
    pub bits: f64,
    /// `bits` as a share of all bits of those answers, 1 at most.
    pub share: f64,
    /// How well the rest of the prompt tells which rows wear it, 0 to 1 (the share of them so told,
    /// less the share of others). `None` where the condition is not made of a prompt's words.
    pub topic: Option<f64>,
    /// How well the rest of the prompt holds together without it, 0 to 1: how often what comes to
    /// stand side by side is likelier than what does so elsewhere. About 1/2 for what was put on a
    /// prompt, near 0 for a part of the question; `None` where nothing is left out.
    pub seam: Option<f64>,
    /// One-sided, exact or an upper bound; never 0.
    pub p: f64,
    /// Adjusted over all conditions that were tested (Benjamini-Hochberg).
    pub p_adjusted: f64,
}

/// Something under which the answers may change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    pub subject: Subject,
    /// Rows that wear it, of those looked at.
    pub rows: usize,
    /// `None` where nothing can be tested: all rows have it, or each has a value of its own.
    pub evidence: Option<Evidence>,
    /// The condition, by its place in the list, whose rows these are too, or nearly.
    pub echo_of: Option<usize>,
    /// What nearly all answers on condition begin with, and others do not; may be empty.
    pub answer_prefix: String,
    /// What nearly all answers on condition end with, and others do not; may be empty.
    pub answer_suffix: String,
    /// Lines of up to three rows; of a slot, rows of the value that stands out most.
    pub examples: Vec<usize>,
    /// How to put it on another prompt; of a pair, both parts ([`Wear::Both`]). `None` where that
    /// needs a writer, as for a language.
    pub dressing: Option<Dressing>,
}

impl Condition {
    /// Whether the answers depend on it, by [`SIGNIFICANT`].
    pub fn is_significant(&self) -> bool {
        self.evidence.is_some_and(|evidence| evidence.p_adjusted <= SIGNIFICANT)
    }

    /// Whether it is what is asked rather than what was put on the question: its words leave a hole
    /// behind, or the rest of the prompt foretells them. Answers depend on topics in any dataset.
    pub fn is_topic(&self) -> bool {
        topic::is_topic(&self.subject, self.evidence.as_ref())
    }

    /// A prompt that wears the condition; `value` is a value of a slot, `None` its most frequent
    /// one. A pair is worn with the values of both parts. `None` where the condition cannot be
    /// worn.
    pub fn dress(
        &self,
        value: Option<&str>,
        prompt: &str,
        random: &mut ChaCha8Rng,
    ) -> Option<Vec<Message>> {
        self.dressing.as_ref().map(|dressing| dressing.dress(value, prompt, random))
    }
}

/// The conditions of a dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// Rows of the dataset at hand.
    pub rows_kept: usize,
    /// Rows that were looked at, a random sample where they are fewer.
    pub rows_looked_at: usize,
    /// Whether it is a sample, of the kept rows or, by the reader, of all.
    pub sampled: bool,
    /// Conditions that were tested: the family of the adjusted p-values, those included that are
    /// not listed.
    pub tested: usize,
    /// Those on which the answers depend, the strongest first; then those without seen dependence;
    /// then topics.
    pub conditions: Vec<Condition>,
}

/// Finds the conditions of a dataset. Time and memory are bounded whatever the rows are, and the
/// result does not depend on their order.
pub fn mine(dataset: &Dataset) -> Conditions {
    let readings = reading::readings(dataset);
    let (tested, conditions) = ranking::ranked(&readings);
    Conditions {
        rows_kept: dataset.rows.len(),
        rows_looked_at: readings.len(),
        sampled: readings.len() < dataset.rows_used,
        tested,
        conditions,
    }
}
