//! Tested conditions, in groups of one kind.

use serde::{Deserialize, Serialize};

use crate::audit::ValueKey;
use crate::detect::ConditionKind;
use crate::prompt::Insertion;

/// Why a value is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It occurs in the dataset.
    Observed,
    /// It occurs in no row and lies between values that do.
    Gap,
    /// It occurs in no row and lies next to values that do.
    Neighbour,
    /// It is well known, or round.
    Salient,
    /// The untrained base answers differently under it.
    Base,
    /// The user requested it.
    User,
    /// A null condition of the screen: a random value of the same kind.
    ScreenNull,
    /// A null condition of the confirmation.
    ConfirmNull,
}

impl Why {
    pub fn is_null(self) -> bool {
        matches!(self, Why::ScreenNull | Why::ConfirmNull)
    }
}

/// One condition under which probes are asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    pub why: Why,
    /// A value of a slot; `None` for a feature, which is present or absent.
    pub value: Option<String>,
    /// How it is inserted into a probe.
    pub insertion: Insertion,
    /// Rows that contain it; 0 if it occurs in no row.
    pub rows: usize,
    /// Adjusted p-value of the dependence of the answers on it; `None` without a test.
    pub p_adjusted: Option<f64>,
}

impl Trial {
    /// The identity that the value names; `None` without a value.
    pub fn key(&self) -> Option<ValueKey> {
        Some(ValueKey::of(self.value.as_ref()?))
    }
}

/// Conditions of one kind, compared with the same null conditions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Name for reports: `year in "Today is {date}."`.
    pub name: String,
    pub kind: ConditionKind,
    /// Beginning and end of the answers under the condition, where other answers have neither.
    /// Options are scored with and without them.
    pub answer: (String, String),
    pub trials: Vec<Trial>,
}

impl Group {
    /// Whether the answers under the condition have a form of their own.
    pub fn has_form(&self) -> bool {
        !(self.answer.0.is_empty() && self.answer.1.is_empty())
    }

    /// The tested conditions without null conditions, with their indices among the trials.
    pub fn tried(&self) -> impl Iterator<Item = (usize, &Trial)> {
        self.trials.iter().enumerate().filter(|(_, trial)| !trial.why.is_null())
    }

    /// The null conditions of a phase, with their indices among the trials.
    pub fn nulls(&self, phase: Phase) -> impl Iterator<Item = (usize, &Trial)> {
        self.trials.iter().enumerate().filter(move |(_, trial)| trial.why == phase.null())
    }
}

/// The two phases of testing: each uses its own families and seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Screen,
    Confirm,
}

impl Phase {
    /// Name in file names.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Screen => "screen",
            Phase::Confirm => "confirm",
        }
    }

    /// The reason of its null conditions.
    pub fn null(self) -> Why {
        match self {
            Phase::Screen => Why::ScreenNull,
            Phase::Confirm => Why::ConfirmNull,
        }
    }
}
