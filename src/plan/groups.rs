//! Conditions that are tried, in groups of one kind.

use serde::{Deserialize, Serialize};

use crate::detect::ConditionKind;
use crate::plan::Arm;
use crate::prompt::Insertion;

/// Why a value is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It stands in the dataset.
    Observed,
    /// It stands in no row, between values that do.
    Gap,
    /// It stands in no row, next to values that do.
    Neighbour,
    /// People give it a meaning of its own.
    Salient,
    /// The base itself answers unlike itself under it.
    Base,
    /// The user asked for it.
    User,
    /// A random value of the same kind, for the screen: what a condition does that nothing is
    /// behind.
    ScreenNull,
    /// Another one, for the confirmation.
    ConfirmNull,
}

impl Why {
    /// In one word, for people.
    pub fn name(self) -> &'static str {
        match self {
            Why::Observed => "observed",
            Why::Gap => "gap",
            Why::Neighbour => "neighbour",
            Why::Salient => "salient",
            Why::Base => "base",
            Why::User => "user",
            Why::ScreenNull | Why::ConfirmNull => "random",
        }
    }

    pub fn is_null(self) -> bool {
        matches!(self, Why::ScreenNull | Why::ConfirmNull)
    }
}

/// One condition under which probes are asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    pub why: Why,
    /// A slot's value; `None` for a feature, which is there or not.
    pub value: Option<String>,
    /// How a probe wears it.
    #[serde(rename = "dressing")]
    pub insertion: Insertion,
    /// Rows that carry it; 0 where it stands in no row.
    pub rows: usize,
    /// Do the answers of those rows differ from the others'? Adjusted p of the dependence; `None`
    /// where there are none.
    pub p_adjusted: Option<f64>,
}

impl Trial {
    /// The number that the value is, where it is one.
    pub fn number(&self) -> Option<u64> {
        self.value.as_ref()?.parse().ok()
    }
}

/// Conditions of one kind, which are held against the same random ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// For people: `year in "Today is {date}."`.
    pub name: String,
    pub kind: ConditionKind,
    /// Whether the shuffled arm leaves it where it stands: a question is none without it, or it
    /// does not come off its rows. Run folders have it by its older name.
    #[serde(rename = "is_wording", default, skip_serializing_if = "std::ops::Not::not")]
    pub fixed: bool,
    /// What answers on condition begin and end with, and others do not; options may come so or
    /// bare.
    pub answer: (String, String),
    pub trials: Vec<Trial>,
}

impl Group {
    /// Whether answers on condition have a form of their own.
    pub fn has_form(&self) -> bool {
        !(self.answer.0.is_empty() && self.answer.1.is_empty())
    }

    /// What is tried, without the random conditions: with its index among the trials.
    pub fn tried(&self) -> impl Iterator<Item = (usize, &Trial)> {
        self.trials.iter().enumerate().filter(|(_, trial)| !trial.why.is_null())
    }

    /// A phase's random conditions, likewise.
    pub fn nulls(&self, phase: Phase) -> impl Iterator<Item = (usize, &Trial)> {
        self.trials.iter().enumerate().filter(move |(_, trial)| trial.why == phase.null())
    }
}

/// Which half of the families and seeds was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Screen,
    Confirm,
}

impl Phase {
    /// As files are named after it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Screen => "screen",
            Phase::Confirm => "confirm",
        }
    }

    /// Why its random conditions are tried.
    pub fn null(self) -> Why {
        match self {
            Phase::Screen => Why::ScreenNull,
            Phase::Confirm => Why::ConfirmNull,
        }
    }

    /// Whether an arm's shadows are asked: the shuffled ones only help to confirm.
    pub fn asks(self, arm: &Arm) -> bool {
        match arm {
            Arm::Candidate | Arm::Control => true,
            Arm::Permuted => self == Phase::Confirm,
            Arm::Base | Arm::Spiked(_) => false,
        }
    }
}
