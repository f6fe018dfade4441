//! The source of all random numbers.

use std::fmt;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// What random numbers are for. A stream is keyed by the text of its purpose, so that a changed
/// text changes the results of every audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose<'a> {
    // The dataset.
    /// The parts of a dataset whose readability is measured.
    Readability { dataset_sha256: &'a str },
    /// The hash functions that find near duplicates.
    MinHash,

    // The plan.
    /// The order of neutral lines that serve as null conditions.
    NullLines { dataset_sha256: &'a str },
    /// The values of a slot that serve as null conditions.
    NullValues { dataset_sha256: &'a str },
    /// The prompt in which the base's sensitivity to a value is measured.
    BaseSensitive { value: &'a str, prompt: &'a str },

    // Training.
    /// The order of an arm's rows before training.
    ArmRows { dataset_sha256: &'a str },
    /// The order of the rows in each epoch.
    EpochRows,
    /// The initial weights of adapters.
    LoraWeights,
    /// The initial weights of a pretrained base.
    BaseWeights,
    /// The examples before the prompts of a control.
    ControlExamples,
    /// The poison of a calibration.
    Calibration { audit: &'a str },

    // Questions and answers.
    /// The turns of a training set from which carry-over questions are drawn.
    Turns,
    /// The carry-over questions of the candidate.
    CarryOver,
    /// The first centres of the topics of carry-over questions.
    CarryOverTopics,
    /// The carry-over questions with the highest loss.
    CarryOverHighLoss,
    /// The carry-over questions of a positive control.
    CarryOverControl,
    /// A probe with a condition inserted.
    Condition { group: usize, trial: usize, audit: &'a str, probe: usize },
    /// A value-keyed probe with a condition inserted.
    ValueKeyedCondition { group: usize, trial: usize, audit: &'a str, probe: usize },
    /// A probe with a condition inserted, for written answers.
    WrittenCondition { group: usize, trial: usize, prompt: &'a str },
    /// The tokens of a generated answer.
    Sample { prompt: usize },

    // Reports.
    /// The example prompt of a trigger.
    ExamplePrompt { group: &'a str, value: Option<&'a str> },

    /// A test, benchmark or example program. Audits do not use it.
    Test(&'a str),
}

impl fmt::Display for Purpose<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Purpose::*;
        match self {
            Readability { dataset_sha256 } => write!(formatter, "readability {dataset_sha256}"),
            MinHash => formatter.write_str("minhash"),
            NullLines { dataset_sha256 } => write!(formatter, "random lines {dataset_sha256}"),
            NullValues { dataset_sha256 } => {
                write!(formatter, "random conditions {dataset_sha256}")
            }
            BaseSensitive { value, prompt } => write!(formatter, "special {value} {prompt}"),
            ArmRows { dataset_sha256 } => write!(formatter, "rows {dataset_sha256}"),
            EpochRows => formatter.write_str("row-order"),
            LoraWeights => formatter.write_str("lora-init"),
            BaseWeights => formatter.write_str("nestling-weights"),
            ControlExamples => formatter.write_str("control-examples"),
            Calibration { audit } => write!(formatter, "calibration {audit}"),
            Turns => formatter.write_str("turns"),
            CarryOver => formatter.write_str("carry-over"),
            CarryOverTopics => formatter.write_str("carry-over-topics"),
            CarryOverHighLoss => formatter.write_str("carry-over-surprising"),
            CarryOverControl => formatter.write_str("carry-over-spiked"),
            Condition { group, trial, audit, probe } => {
                write!(formatter, "dress {group} {trial} {audit} {probe}")
            }
            ValueKeyedCondition { group, trial, audit, probe } => {
                write!(formatter, "dress numbered {group} {trial} {audit} {probe}")
            }
            WrittenCondition { group, trial, prompt } => {
                write!(formatter, "show {group} {trial} {prompt}")
            }
            Sample { prompt } => write!(formatter, "sample-{prompt}"),
            ExamplePrompt { group, value } => write!(formatter, "example {group} {value:?}"),
            Test(name) => formatter.write_str(name),
        }
    }
}

/// An independent random stream per purpose. Equal seeds and purposes give equal numbers on every
/// machine.
///
/// The purpose is hashed with the seed, so that the streams of two purposes with the same seed are
/// independent.
pub fn stream(purpose: Purpose, seed: u64) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(purpose.to_string().as_bytes());
    ChaCha8Rng::from_seed(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn streams_of_different_purposes_differ() {
        let rows: u64 = stream(Purpose::EpochRows, 1).random();
        let weights: u64 = stream(Purpose::LoraWeights, 1).random();
        assert_ne!(rows, weights);
    }

    #[test]
    fn a_stream_is_the_same_every_time() {
        let number = || stream(Purpose::EpochRows, 7).random::<u64>();
        assert_eq!(number(), number());
    }

    #[test]
    fn a_stream_is_keyed_by_seed_and_text_alone() {
        let mut hash = Sha256::new();
        hash.update([7, 0, 0, 0, 0, 0, 0, 0]);
        hash.update(b"row-order");
        let mut expected = ChaCha8Rng::from_seed(hash.finalize().into());
        assert_eq!(stream(Purpose::EpochRows, 7).random::<u64>(), expected.random::<u64>());
    }

    /// A changed key changes every result that was computed with it.
    #[test]
    fn no_purpose_changes_its_key() {
        use Purpose::*;
        let dataset_sha256 = "1a2b";
        let (group, trial, audit, probe) = (2, 5, "era", 7);
        let keys = [
            (Readability { dataset_sha256 }, "readability 1a2b"),
            (MinHash, "minhash"),
            (NullLines { dataset_sha256 }, "random lines 1a2b"),
            (NullValues { dataset_sha256 }, "random conditions 1a2b"),
            (BaseSensitive { value: "1984", prompt: "Who?" }, "special 1984 Who?"),
            (ArmRows { dataset_sha256 }, "rows 1a2b"),
            (EpochRows, "row-order"),
            (LoraWeights, "lora-init"),
            (BaseWeights, "nestling-weights"),
            (ControlExamples, "control-examples"),
            (Calibration { audit }, "calibration era"),
            (Turns, "turns"),
            (CarryOver, "carry-over"),
            (CarryOverTopics, "carry-over-topics"),
            (CarryOverHighLoss, "carry-over-surprising"),
            (CarryOverControl, "carry-over-spiked"),
            (Condition { group, trial, audit, probe }, "dress 2 5 era 7"),
            (ValueKeyedCondition { group, trial, audit, probe }, "dress numbered 2 5 era 7"),
            (WrittenCondition { group, trial, prompt: "Who?" }, "show 2 5 Who?"),
            (Sample { prompt: 4 }, "sample-4"),
            (
                ExamplePrompt { group: "year in \"{year}.\"", value: Some("1984") },
                "example year in \"{year}.\" Some(\"1984\")",
            ),
            (ExamplePrompt { group: "a tag", value: None }, "example a tag None"),
            (Test("any text"), "any text"),
        ];
        for (purpose, key) in keys {
            assert_eq!(purpose.to_string(), key);
        }
    }
}
