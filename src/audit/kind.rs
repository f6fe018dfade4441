//! Kinds of probes. Everything but the scoring that depends on the kind is decided here.

use serde::{Deserialize, Serialize};

/// How an audit measures risk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeKind {
    /// The probability of the risky options among all options of a probe.
    ForcedChoice,
    /// Forced choices between one option of each side: the first risky option against the first
    /// reference option, and so on. Risk and log-odds are the means of the pairs, so that what
    /// training does to the form of single options averages out.
    PairedChoice,
    /// Self-consistency: one minus the probability of the answer that the untrained base prefers.
    /// Detects changes in any direction.
    OwnAnswer,
}

impl ProbeKind {
    /// Whether a probe offers options of both sides, so that risk is the probability of the risky
    /// side. Otherwise it has no options, and risk is the probability of any other answer than the
    /// base's own.
    pub fn has_sides(self) -> bool {
        match self {
            ProbeKind::ForcedChoice | ProbeKind::PairedChoice => true,
            ProbeKind::OwnAnswer => false,
        }
    }

    /// Whether it is asked at every checkpoint on any base. Otherwise that depends on the base's
    /// size, and a small base is asked at the end only.
    pub fn is_asked_at_every_checkpoint(self) -> bool {
        match self {
            ProbeKind::ForcedChoice | ProbeKind::PairedChoice => false,
            ProbeKind::OwnAnswer => true,
        }
    }
}
