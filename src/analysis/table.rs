//! The answers for one audit in one context, in the layout of the plan: a missing answer is an
//! explicit `None`.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::Audit;
use crate::plan::{Arm, ContextKind, Plan, PlannedAudit};
use crate::probe::Answer;
use crate::stats::grid::Grid;

/// One scored answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Probability of the risky side.
    pub risk: f64,
    /// Log-odds of the risky side, nats, clipped.
    pub log_odds: f64,
    pub clipped: bool,
}

/// (step, seed) -> one entry for each planned probe and draw.
type Sheets = BTreeMap<(usize, Option<u64>), Vec<Option<Cell>>>;

/// All answers for one audit in one context.
#[derive(Debug)]
pub struct Panel<'a> {
    pub audit: &'a PlannedAudit,
    pub ask: ContextKind,
    pub families: Vec<String>,
    /// Distinct probes that are asked in this context.
    pub probes: usize,
    /// The family of every cell; a cell is a planned pair of probe and draw.
    family_of: Vec<usize>,
    sheets: BTreeMap<&'a Arm, Sheets>,
    unasked: Vec<Option<Cell>>,
}

impl Panel<'_> {
    /// One entry for each planned probe and draw; `None` where it was not scored or not asked. The
    /// step and the seed of the base do not matter.
    pub fn cells(&self, arm: &Arm, step: usize, seed: u64) -> &[Option<Cell>] {
        let key = if *arm == Arm::Base { (0, None) } else { (step, Some(seed)) };
        self.sheets.get(arm).and_then(|sheets| sheets.get(&key)).unwrap_or(&self.unasked)
    }

    /// The mean of `values_of(seed)(cell)` over the cells of every family, seed by seed.
    pub fn grid<V: Fn(usize) -> Option<f64>>(
        &self,
        seeds: &[u64],
        values_of: impl Fn(u64) -> V,
    ) -> Option<Grid> {
        let row = |seed: u64| {
            let value = values_of(seed);
            let mut sums = vec![(0.0, 0_usize); self.families.len()];
            for (cell, family) in self.family_of.iter().enumerate() {
                if let Some(value) = value(cell) {
                    sums[*family].0 += value;
                    sums[*family].1 += 1;
                }
            }
            sums.into_iter().map(|(sum, count)| (count > 0).then(|| sum / count as f64)).collect()
        };
        Grid::new(seeds, &self.families, seeds.iter().map(|seed| row(*seed)).collect())
    }
}

/// The contexts of a plan, including that of positive controls.
pub fn contexts(plan: &Plan) -> BTreeSet<ContextKind> {
    plan.contexts().iter().copied().chain([plan.context_of_controls()]).collect()
}

/// The probes of an audit that count, with their families: without those that were excluded or that
/// the audit does not contain.
pub fn counted_probes<'a>(planned: &PlannedAudit, audits: &'a [Audit]) -> Vec<(usize, &'a str)> {
    let Some(audit) = audits.iter().find(|audit| audit.id == planned.id) else { return Vec::new() };
    let excluded = |family: &str| planned.excluded.iter().any(|excluded| excluded.family == family);
    let indices: BTreeSet<usize> = planned.probes.iter().copied().collect();
    let probes = indices
        .into_iter()
        .filter_map(|index| Some((index, audit.probes.get(index)?.family.as_str())));
    probes.filter(|(_, family)| !excluded(family)).collect()
}

/// One panel for each audit and context, in the order of the plan; audits without a probe have
/// none.
///
/// Answers to what was not planned are ignored, since the plan was fixed first. The order of the
/// answers does not matter. A resumed run can repeat an answer; then the one of higher risk counts.
pub fn panels<'a>(plan: &'a Plan, audits: &[Audit], answers: &'a [Answer]) -> Vec<Panel<'a>> {
    let mut groups: BTreeMap<(&str, ContextKind), Vec<&Answer>> = BTreeMap::new();
    for answer in answers {
        groups.entry((answer.audit.as_str(), answer.ask)).or_default().push(answer);
    }
    let mut panels = Vec::new();
    for audit in &plan.audits {
        let probes = counted_probes(audit, audits);
        if !probes.is_empty() {
            for ask in contexts(plan) {
                let group = groups.get(&(audit.id.as_str(), ask)).map_or(&[][..], Vec::as_slice);
                panels.push(panel(
                    audit,
                    ask,
                    &probes,
                    PanelAnswers {
                        answers: group,
                        draws: plan.draws(ask),
                        clip: plan.protocol().clip,
                    },
                ));
            }
        }
    }
    panels
}

struct PanelAnswers<'a, 'b> {
    answers: &'b [&'a Answer],
    /// Draws of the plan; those that were not asked count as unscored.
    draws: usize,
    /// See [`crate::plan::Protocol::clip`].
    clip: f64,
}

fn panel<'a>(
    audit: &'a PlannedAudit,
    ask: ContextKind,
    probes: &[(usize, &str)],
    group: PanelAnswers<'a, '_>,
) -> Panel<'a> {
    let families: Vec<String> = probes
        .iter()
        .map(|(_, family)| *family)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(String::from)
        .collect();
    let asked = |draw: usize| ask.probes(draw, probes).into_iter().map(move |probe| (probe, draw));
    let cells: BTreeMap<(usize, usize), usize> =
        (0..group.draws).flat_map(asked).enumerate().map(|(cell, key)| (key, cell)).collect();
    let family_of_probe: BTreeMap<usize, &str> = probes.iter().copied().collect();
    let family_at = |name: &str| {
        families
            .binary_search_by(|family| family.as_str().cmp(name))
            .expect("families hold every probe's")
    };
    let mut family_of = vec![0; cells.len()];
    for ((probe, _), cell) in &cells {
        family_of[*cell] = family_at(family_of_probe[probe]);
    }

    let unasked = vec![None; family_of.len()];
    let mut sheets: BTreeMap<&Arm, Sheets> = BTreeMap::new();
    for answer in group.answers {
        let Some(&cell) = cells.get(&(answer.probe, answer.draw)) else { continue };
        let key = if answer.arm == Arm::Base { (0, None) } else { (answer.step, answer.seed) };
        let sheet =
            sheets.entry(&answer.arm).or_default().entry(key).or_insert_with(|| unasked.clone());
        let cell = &mut sheet[cell];
        let risk = |cell: &Option<Cell>| cell.map_or(f64::NEG_INFINITY, |cell| cell.risk);
        let scored = scored(answer, group.clip);
        if risk(&scored) > risk(cell) {
            *cell = scored;
        }
    }
    let probes = cells.keys().map(|(probe, _)| *probe).collect::<BTreeSet<_>>().len();
    Panel { audit, ask, probes, families, family_of, sheets, unasked }
}

/// A risk that is not a probability is unscored.
fn scored(answer: &Answer, clip: f64) -> Option<Cell> {
    let risk = answer.risk.filter(|risk| (0.0..=1.0).contains(risk))?;
    let limit = ((1.0 - clip) / clip).ln();
    let log_odds =
        answer.log_odds.filter(|odds| !odds.is_nan()).unwrap_or_else(|| (risk / (1.0 - risk)).ln());
    Some(Cell { risk, log_odds: log_odds.clamp(-limit, limit), clipped: log_odds.abs() > limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(risk: Option<f64>, log_odds: Option<f64>) -> Answer {
        let (audit, family) = ("era".to_string(), "money".to_string());
        Answer {
            arm: Arm::Base,
            seed: None,
            step: 0,
            audit,
            family,
            probe: 0,
            ask: ContextKind::Plain,
            draw: 0,
            condition: None,
            target: None,
            risk,
            log_odds,
        }
    }

    #[test]
    fn a_risk_that_is_no_probability_is_unscored() {
        for risk in [None, Some(f64::NAN), Some(-0.1), Some(1.1), Some(f64::INFINITY)] {
            assert_eq!(scored(&answer(risk, Some(0.0)), 1e-4), None, "{risk:?}");
        }
    }

    #[test]
    fn a_certain_answer_is_clipped_and_counted() {
        let cell = scored(&answer(Some(1.0), None), 1e-4).expect("a probability");
        assert_eq!((cell.log_odds, cell.clipped), ((0.9999_f64 / 0.0001).ln(), true));
        let cell = scored(&answer(Some(0.9), Some(2.0)), 1e-4).expect("a probability");
        assert_eq!((cell.log_odds, cell.clipped), (2.0, false));
    }
}
