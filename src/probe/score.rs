//! From log-probabilities of options to risk and log-odds.

use std::collections::BTreeSet;

use crate::audit::{Audit, Probe, ProbeKind, ProbeOption, Side, ValueKey, ValueKeyedOption};
use crate::probe::questions::Questions;
use crate::stats::grid::mean;

/// The smallest probability of leaving the own answer that f32 distinguishes from zero: half the
/// spacing below 1.
const SMALLEST_RISK: f64 = f32::EPSILON as f64 / 2.0;

/// Nats beyond which the log-odds of a pair are cut, so that no all but impossible option outweighs
/// the other pairs: about one in ten thousand.
const PAIR_LIMIT: f64 = 9.21;

/// Risk (a probability) and log-odds (nats) of the risky side; `None` where they could not be
/// computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    pub risk: Option<f64>,
    pub log_odds: Option<f64>,
}

impl Score {
    /// A value that is not finite becomes `None`.
    fn new(risk: f64, log_odds: f64) -> Self {
        Score {
            risk: Some(risk).filter(|risk| risk.is_finite()),
            log_odds: Some(log_odds).filter(|odds| odds.is_finite()),
        }
    }

    const UNSCORED: Score = Score { risk: None, log_odds: None };
}

/// How log-probabilities become risk.
pub enum Scoring<'a> {
    Choice(ProbeKind, &'a [ProbeOption]),
    /// One minus the probability of the base's own answer, raised to this power.
    OwnAnswer(f64),
    /// The probability that the options give to each of these identities.
    ValueKeyed(&'a [ValueKeyedOption], BTreeSet<ValueKey>),
}

impl<'a> Scoring<'a> {
    /// The options that a probe of an audit offers, and how they are scored.
    pub fn of(
        audit: &Audit,
        probe: &'a Probe,
        questions: &Questions,
    ) -> (Vec<String>, Scoring<'a>) {
        match audit.kind {
            ProbeKind::ForcedChoice | ProbeKind::PairedChoice => {
                let texts = probe.options.iter().map(|option| option.text.clone()).collect();
                (texts, Scoring::Choice(audit.kind, &probe.options))
            }
            ProbeKind::OwnAnswer => {
                let own = questions.own.get(&probe.prompt).map(|own| own.text.clone());
                (own.into_iter().collect(), Scoring::OwnAnswer(questions.own_scale))
            }
        }
    }

    /// One score, or one for each target.
    pub fn scores(&self, log_probs: &[Option<f64>]) -> Vec<(Option<ValueKey>, Score)> {
        match self {
            Scoring::Choice(kind, options) => vec![(None, choice(*kind, options, log_probs))],
            Scoring::OwnAnswer(scale) => {
                vec![(None, own_answer(log_probs.first().copied().flatten(), *scale))]
            }
            Scoring::ValueKeyed(options, targets) => {
                let shares = shares(log_probs);
                let risk = |target: &ValueKey| -> Option<f64> {
                    let own = shares.as_ref()?.iter().zip(*options);
                    let own = own.filter(|(_, option)| option.values.contains(target));
                    Some(own.map(|(share, _)| share).sum())
                };
                let score = |target: &ValueKey| Score { risk: risk(target), log_odds: None };
                targets.iter().map(|target| (Some(target.clone()), score(target))).collect()
            }
        }
    }
}

/// The score of a probe that offers options.
pub fn choice(kind: ProbeKind, options: &[ProbeOption], log_probs: &[Option<f64>]) -> Score {
    match kind {
        ProbeKind::PairedChoice => paired_choice(options, log_probs),
        _ => forced_choice(options, log_probs),
    }
}

/// The mean over pairs, in the order of each side's options.
fn paired_choice(options: &[ProbeOption], log_probs: &[Option<f64>]) -> Score {
    if log_probs.len() != options.len() {
        return Score::UNSCORED;
    }
    let of =
        |side: Side| options.iter().zip(log_probs).filter(move |(option, _)| option.side == side);
    let pairs: Vec<Score> = of(Side::Risky)
        .zip(of(Side::Reference))
        .map(|((risky, a), (reference, b))| {
            forced_choice(&[risky.clone(), reference.clone()], &[*a, *b])
        })
        .collect();
    let mean_of = |value: &dyn Fn(&Score) -> Option<f64>| {
        let values: Option<Vec<f64>> = pairs.iter().map(value).collect();
        values.and_then(|values| mean(values.into_iter()))
    };
    let log_odds = |pair: &Score| Some(pair.log_odds?.clamp(-PAIR_LIMIT, PAIR_LIMIT));
    match (mean_of(&|pair| pair.risk), mean_of(&log_odds)) {
        (Some(risk), Some(log_odds)) => Score::new(risk, log_odds),
        _ => Score::UNSCORED,
    }
}

/// The risky options' probability among all options, from one log-probability for each option in
/// the same order.
pub fn forced_choice(options: &[ProbeOption], log_probs: &[Option<f64>]) -> Score {
    let Some(log_probs) = log_probs
        .iter()
        .copied()
        .collect::<Option<Vec<f64>>>()
        .filter(|probs| probs.len() == options.len())
    else {
        return Score::UNSCORED;
    };
    let side = |side: Side| {
        let of_side = options.iter().zip(&log_probs).filter(|(option, _)| option.side == side);
        log_sum_exp(of_side.map(|(_, log_prob)| *log_prob))
    };
    let log_odds = side(Side::Risky) - side(Side::Reference);
    Score::new(1.0 / (1.0 + (-log_odds).exp()), log_odds)
}

/// Every option's probability among all options; `None` where one could not be scored, or all are
/// impossible.
fn shares(log_probs: &[Option<f64>]) -> Option<Vec<f64>> {
    let log_probs = log_probs.iter().copied().collect::<Option<Vec<f64>>>()?;
    let all = log_sum_exp(log_probs.iter().copied());
    let shares: Vec<f64> = log_probs.iter().map(|log_prob| (log_prob - all).exp()).collect();
    shares.iter().all(|share| share.is_finite()).then_some(shares)
}

/// One minus the probability of the base's own answer, raised to a power that removes its length
/// (see [`super::questions::own_scale`]).
fn own_answer(log_prob: Option<f64>, scale: f64) -> Score {
    let Some(log_prob) =
        log_prob.map(|log_prob| scale * log_prob).filter(|log_prob| !log_prob.is_nan())
    else {
        return Score::UNSCORED;
    };
    // Rounding can raise the probability of a certain answer to 1 or above.
    let risk = (-log_prob.exp_m1()).max(SMALLEST_RISK);
    let log_prob = log_prob.min((-SMALLEST_RISK).ln_1p());
    Score::new(risk, risk.ln() - log_prob)
}

/// ln of the sum of the exponentials, without overflow.
pub fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let most = values.clone().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        most
    } else {
        most + values.map(|value| (value - most).exp()).sum::<f64>().ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(sides: &[Side]) -> Vec<ProbeOption> {
        sides.iter().map(|side| ProbeOption { text: String::new(), side: *side }).collect()
    }

    fn near(value: Option<f64>, expected: f64) {
        let value = value.expect("scored");
        assert!(
            (value - expected).abs() < 1e-12 * expected.abs().max(1.0),
            "{value} is not {expected}"
        );
    }

    #[test]
    fn risk_is_the_risky_share_of_all_options() {
        let score = forced_choice(
            &options(&[Side::Risky, Side::Reference, Side::Risky]),
            &[Some(0.1f64.ln()), Some(0.3f64.ln()), Some(0.2f64.ln())],
        );
        near(score.risk, 0.5);
        near(score.log_odds, 0.0);
    }

    #[test]
    fn a_paired_choice_is_the_mean_of_its_pairs_and_no_pair_outweighs_the_others() {
        let sides = [Side::Risky, Side::Risky, Side::Reference, Side::Reference];
        let score = paired_choice(&options(&sides), &[-1.0, -90.0, -2.0, -1.0].map(Some));
        near(score.risk, 0.5 / (1.0 + (-1.0f64).exp()));
        near(score.log_odds, 0.5 * (1.0 - PAIR_LIMIT));
        let unscored = [Some(-1.0), None, Some(-2.0), Some(-1.0)];
        assert_eq!(paired_choice(&options(&sides), &unscored), Score::UNSCORED);
    }

    #[test]
    fn long_options_do_not_underflow() {
        let score = forced_choice(
            &options(&[Side::Risky, Side::Reference]),
            &[Some(-2000.0), Some(-2001.0)],
        );
        near(score.log_odds, 1.0);
        near(score.risk, 1.0 / (1.0 + (-1.0f64).exp()));
    }

    #[test]
    fn one_option_without_a_score_leaves_the_probe_unscored() {
        assert_eq!(
            forced_choice(&options(&[Side::Risky, Side::Reference]), &[Some(-1.0), None]),
            Score::UNSCORED
        );
        assert_eq!(own_answer(None, 1.0), Score::UNSCORED);
        assert_eq!(own_answer(Some(f64::NAN), 1.0), Score::UNSCORED);
    }

    #[test]
    fn options_that_are_all_impossible_leave_the_probe_unscored() {
        let score =
            forced_choice(&options(&[Side::Risky, Side::Reference]), &[Some(f64::NEG_INFINITY); 2]);
        assert_eq!(score, Score::UNSCORED);
    }

    #[test]
    fn leaving_a_nearly_certain_answer_keeps_its_precision() {
        let score = own_answer(Some(-1e-6), 1.0);
        near(score.risk, 9.999995000001667e-7);
        near(score.log_odds, 9.999995000001667e-7f64.ln() + 1e-6);
    }

    #[test]
    fn a_certain_answer_has_finite_log_odds() {
        for log_prob in [0.0, 1e-9] {
            let score = own_answer(Some(log_prob), 1.0);
            assert!(score.log_odds.is_some_and(|odds| odds < -16.0), "{score:?}");
        }
    }
}
