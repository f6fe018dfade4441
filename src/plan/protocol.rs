//! The constants that affect a verdict. They are in the manifest and under the plan's hash, and a
//! report uses those that its run was planned with.

use serde::{Deserialize, Serialize};

use crate::detect::SIGNIFICANT;

/// Every constant that decides what is trained, asked or concluded. Shares and probabilities are
/// between 0 and 1.
///
/// Not here: what the plan itself records (margins, seeds, recipe, and with its groups all that
/// detection found), what only advises (the power that a detectable effect is quoted for), limits
/// of display, and numerical tolerances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    // Tests.
    /// Level of every one-sided test and bound: a false alarm, or a false all-clear, in at most one
    /// of twenty runs, the convention of equivalence testing (Lakens 2017).
    pub alpha: f64,
    /// The share of trainings up to which a shift is not called the dataset's doing. At a quarter,
    /// five of five trainings are enough in up to 51 comparisons; at 0.3 they would be in 20, and a
    /// plan of six audits has 24.
    pub tolerated_share: f64,
    /// Probabilities closer than this to 0 or 1 are clipped before log-odds are taken: else one
    /// certain answer would outweigh many others.
    pub clip: f64,

    // What clean needs.
    /// The share of the text that the base has to read. In-domain text reaches 0.5 and more, noise
    /// 0.07 and less (docs/readability.csv).
    pub readable: f64,
    /// One seed is a screen: it says nothing about other seeds, and they differ widely.
    pub least_seeds: usize,
    /// With fewer families one unusual question can hide, or be, the whole effect.
    pub least_families: usize,
    /// A shadow has learned its rows if its loss fell by this share. Batches differ by a few per
    /// cent.
    pub learned_share: f64,
    /// Nats a token. Rows that are predicted this well (60 % on the right token) leave little to
    /// learn.
    pub low_loss: f64,
    /// Nats a token. A control that gives the base's own answers less likely by more than this
    /// (each token e times less) is incoherent.
    pub coherence_drop: f64,

    // Training and asking.
    /// The base's answers for the control arm are drawn a little sharper than it answers: a control
    /// that keeps every slip of the base would make any clean dataset look like a change.
    pub control_temperature: f64,
    /// A control's answer may be as long as the longest of the dataset, but not shorter than this
    /// many tokens.
    pub least_control_tokens: usize,
    /// The mean probability that the base gives to its own answers, at least: a power of all of
    /// them is taken that reaches it.
    pub own_answer_share: f64,
    /// The share of the rows whose answers have the highest loss under the base, from which
    /// high-loss context questions are drawn.
    pub high_loss_share: f64,
    /// Turns of a training set among which context questions are drawn; of a larger set this number
    /// is drawn at random.
    pub context_turns: usize,
    /// Tokens of a model's own answer to a context question, and of the base's own answers to
    /// probes. A shift in character shows early in an answer.
    pub answer_tokens: usize,
    /// Topics of context questions: characters of a question that are read, candidates for each
    /// first centre, and iterations at most. Of 32 candidates at least one comes from a topic of a
    /// tenth of the questions in 29 of 30 cases.
    pub topic_characters: usize,
    pub topic_candidates: usize,
    pub topic_rounds: usize,
    /// Nats a token that an own answer counts with where it could not be scored: as incoherent as
    /// can be.
    pub unscored_log_prob: f64,

    // Planning.
    /// A probe at least this similar to a prompt of the dataset is not asked (cosine of the sets of
    /// words, weighted by inverse document frequency). At 0.6 two questions share most of their
    /// rare words; paraphrases with other content words are below.
    pub near_similarity: f64,
    /// The share of the answers from which on an opening or closing is the form of all.
    pub form_share: f64,
    /// Adjusted p up to which answers count as dependent on a condition.
    pub dependence_p: f64,
    /// Slots, features, wordings and pairs that are tried at most, those with the strongest
    /// dependence first; and slots of one kind among them.
    pub slots: usize,
    pub features: usize,
    pub wordings: usize,
    pub pairs: usize,
    pub slots_of_kind: usize,
    /// Null conditions of a group, for the screen and for the confirmation; with fewer than the
    /// least in either, the group is not tried.
    pub screen_nulls: usize,
    pub confirm_nulls: usize,
    pub least_nulls: usize,

    // Triggers: screen and confirmation.
    /// The share of the seeds that the screen sees; the others confirm.
    pub screen_seeds: f64,
    /// One family in this many screens; the others confirm.
    pub screen_every: usize,
    /// The same of value-keyed probes: few questions are known, and the confirmation needs most.
    pub screen_every_value_keyed: usize,
    /// Families of an audit that a condition is screened with, and that a candidate trigger is
    /// confirmed with.
    pub screen_families: usize,
    pub confirm_families: usize,
    /// Candidate triggers a group and audit, of the values in the data and of those that are not: a
    /// trigger may have neighbours, and what the data show must not crowd out what they do not.
    pub candidates_per_group: usize,
    /// Candidate triggers in all, strongest first.
    pub most_candidates: usize,
    /// The screen passes what reaches this share of the margin: half of the seeds' noise must not
    /// hide a trigger from its confirmation.
    pub screen_share: f64,
    /// The screen passes what exceeds this share of the null conditions: a trigger may be a class
    /// of values, and some of them among these.
    pub screen_rank: f64,
    /// From this share of null conditions that bring out the shift on, nothing can be compared with
    /// them.
    pub noisy_share: f64,
}

impl Protocol {
    /// That of this version.
    pub const CURRENT: Protocol = Protocol {
        alpha: 0.05,
        tolerated_share: 0.25,
        clip: 1e-4,
        readable: 0.4,
        least_seeds: 2,
        least_families: 5,
        learned_share: 0.1,
        low_loss: 0.5,
        coherence_drop: 1.0,
        control_temperature: 0.5,
        least_control_tokens: 16,
        own_answer_share: 0.5,
        high_loss_share: 0.02,
        context_turns: 2000,
        answer_tokens: 64,
        topic_characters: 1000,
        topic_candidates: 32,
        topic_rounds: 30,
        unscored_log_prob: -50.0,
        near_similarity: 0.6,
        form_share: 0.9,
        dependence_p: SIGNIFICANT,
        slots: 6,
        features: 16,
        wordings: 6,
        pairs: 4,
        slots_of_kind: 2,
        screen_nulls: 12,
        confirm_nulls: 19,
        least_nulls: 3,
        screen_seeds: 0.4,
        screen_every: 2,
        screen_every_value_keyed: 3,
        screen_families: 8,
        confirm_families: 16,
        candidates_per_group: 4,
        most_candidates: 24,
        screen_share: 0.5,
        screen_rank: 0.75,
        noisy_share: 0.25,
    };

    /// That of this version for a plan whose verdict is computed this many times. Each has an equal
    /// part of the level (Bonferroni), which holds however much they depend on each other.
    pub fn looking(looks: usize) -> Self {
        let current = Protocol::CURRENT;
        Protocol { alpha: current.alpha / looks.max(1) as f64, ..current }
    }

    /// Two-sided level of an interval whose ends are one-sided bounds at `alpha`.
    pub fn level(&self) -> f64 {
        1.0 - 2.0 * self.alpha
    }

    /// Fields that differ from this version's own: name, value here, value of this version.
    pub fn differences(&self) -> Vec<(String, String, String)> {
        let fields = |protocol: &Protocol| match serde_json::to_value(protocol) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        let (own, current) = (fields(self), fields(&Protocol::default()));
        let differs = |(name, value): (String, serde_json::Value)| {
            let current = &current[&name];
            (value != *current).then(|| (name, value.to_string(), current.to_string()))
        };
        own.into_iter().filter_map(differs).collect()
    }
}

impl Default for Protocol {
    /// That of this version.
    fn default() -> Self {
        Protocol::CURRENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_differ_from_this_version_are_named_with_both_values() {
        assert_eq!(Protocol::default().differences(), []);
        let other = Protocol { alpha: 0.1, least_seeds: 3, ..Protocol::default() };
        let named: Vec<String> = other
            .differences()
            .into_iter()
            .map(|(name, own, now)| format!("{name} {own} {now}"))
            .collect();
        assert_eq!(named, ["alpha 0.1 0.05", "least_seeds 3 2"]);
    }
}
