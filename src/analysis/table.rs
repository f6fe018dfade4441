//! All answers in the layout of the plan: a missing answer is an explicit `None`.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::{Audit, ValueKey};
use crate::plan::{Arm, ContextKind, Phase, Plan, PlannedAudit, phases};
use crate::probe::{Answer, ConditionKey};
use crate::stats::grid::{Grid, mean};

/// One scored answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Probability of the risky side.
    pub risk: f64,
    /// Log-odds of the risky side, nats, clipped.
    pub log_odds: f64,
    pub clipped: bool,
}

/// In which context an audit's probes were asked, and whose answers are the risky side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PanelKey {
    pub context: ContextKind,
    /// The condition, where that is the context.
    pub condition: Option<ConditionKey>,
    /// For value-keyed probes, the identity.
    pub target: Option<ValueKey>,
}

impl PanelKey {
    /// A context without a condition.
    pub fn context(context: ContextKind) -> PanelKey {
        PanelKey { context, condition: None, target: None }
    }

    pub fn condition(condition: ConditionKey, target: Option<ValueKey>) -> PanelKey {
        PanelKey { context: ContextKind::Condition, condition: Some(condition), target }
    }

    fn of(answer: &Answer) -> PanelKey {
        PanelKey {
            context: answer.context,
            condition: answer.condition,
            target: answer.target.clone(),
        }
    }
}

/// Step and seed of a model. The base has neither, and conditions are tried at one step only.
type ModelKey = (usize, Option<u64>);

/// All answers for one audit in one context.
#[derive(Debug)]
pub struct Panel<'a> {
    pub audit: &'a PlannedAudit,
    pub key: PanelKey,
    pub families: Vec<String>,
    /// Distinct probes that are asked in this context.
    pub probes: usize,
    /// The family of every cell; a cell is a planned pair of probe and draw.
    family_of: Vec<usize>,
    draw_of: Vec<usize>,
    /// One entry for each cell.
    models: BTreeMap<&'a Arm, BTreeMap<ModelKey, Vec<Option<Cell>>>>,
    unasked: Vec<Option<Cell>>,
}

impl Panel<'_> {
    fn model_key(&self, arm: &Arm, step: usize, seed: Option<u64>) -> ModelKey {
        let step = if self.key.condition.is_some() { 0 } else { step };
        if *arm == Arm::Base { (0, None) } else { (step, seed) }
    }

    /// One entry for each planned probe and draw; `None` where it was not scored or not asked. The
    /// step and the seed of the base do not matter.
    pub fn cells(&self, arm: &Arm, step: usize, seed: u64) -> &[Option<Cell>] {
        let key = self.model_key(arm, step, Some(seed));
        self.models.get(arm).and_then(|models| models.get(&key)).unwrap_or(&self.unasked)
    }

    /// Whether the base's answer leaves no headroom for the identity of a value-keyed probe. An
    /// example is an occupation that most of the identities share: it does not distinguish them.
    pub fn is_given(&self, base: Option<Cell>) -> bool {
        self.key.target.is_some() && base.is_some_and(|base| base.risk > 1.0 - self.audit.margin)
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

    /// The mean risk of a model; `None` where no answer was scored.
    pub fn risk(&self, arm: &Arm, step: usize, seed: u64) -> Option<f64> {
        mean(self.cells(arm, step, seed).iter().flatten().map(|cell| cell.risk))
    }

    /// The mean risk of an arm after one draw; `None` where no answer was scored.
    pub fn risk_of_draw(&self, arm: &Arm, step: usize, seeds: &[u64], draw: usize) -> Option<f64> {
        let of_draw = |seed: &u64| {
            let cells = self.cells(arm, step, *seed).iter().zip(&self.draw_of);
            cells.filter(|(_, of)| **of == draw).filter_map(|(cell, _)| Some((*cell)?.risk))
        };
        mean(seeds.iter().flat_map(of_draw))
    }

    /// The mean risk of an arm over seeds and cells. `unscored` is the risk that an answer counts
    /// with that was not scored; `None` leaves it out.
    pub fn level(
        &self,
        arm: &Arm,
        step: usize,
        seeds: &[u64],
        unscored: Option<f64>,
    ) -> Option<f64> {
        let seeds = if *arm == Arm::Base { &seeds[..seeds.len().min(1)] } else { seeds };
        let cells = seeds.iter().flat_map(|seed| self.cells(arm, step, *seed));
        mean(cells.filter_map(|cell| cell.map(|cell| cell.risk).or(unscored)))
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

/// The probes that the plan asks in this context; none where the plan has no such condition.
fn planned_probes<'a>(
    plan: &Plan,
    planned: &PlannedAudit,
    audits: &'a [Audit],
    key: &PanelKey,
) -> Vec<(usize, &'a str)> {
    let Some(ConditionKey { phase, group, trial }) = key.condition else {
        return counted_probes(planned, audits);
    };
    let is_planned = plan.groups.get(group).is_some_and(|group| trial < group.trials.len());
    match audits.iter().find(|audit| is_planned && audit.id == planned.id) {
        Some(audit) if key.target.is_some() => phases::value_keyed_probes(plan, audit, phase),
        Some(audit) => phases::probes(plan, planned, audit, phase),
        None => Vec::new(),
    }
}

/// The conditions of the screen, without null conditions; those with an identity that the audit
/// knows are also asked with its answers as the risky side.
fn screened(plan: &Plan, planned: &PlannedAudit, audits: &[Audit]) -> Vec<PanelKey> {
    let audit = audits.iter().find(|audit| audit.id == planned.id);
    let mut keys = Vec::new();
    for (group, tried) in plan.groups.iter().enumerate() {
        let identities = audit.map(|audit| phases::targets(plan, audit, group)).unwrap_or_default();
        for (trial, tried) in tried.tried() {
            let key = ConditionKey { phase: Phase::Screen, group, trial };
            let own = tried.key().filter(|own| identities.contains(own));
            keys.push(PanelKey::condition(key, None));
            keys.extend(own.map(|own| PanelKey::condition(key, Some(own))));
        }
    }
    keys
}

/// One panel for each audit and planned context, conditions of the screen included, and one for
/// each other condition that was asked; audits without a probe have none.
pub struct Table<'a> {
    pub plan: &'a Plan,
    panels: Vec<Panel<'a>>,
    index: BTreeMap<(&'a str, PanelKey), usize>,
}

impl<'a> Table<'a> {
    /// Answers to what was not planned are ignored, since the plan was fixed first. The order of
    /// the answers does not matter. A resumed run can repeat an answer; then the one of higher risk
    /// counts.
    pub fn new(
        plan: &'a Plan,
        audits: &[Audit],
        answers: impl IntoIterator<Item = &'a Answer>,
    ) -> Table<'a> {
        let mut asked: BTreeMap<&str, BTreeMap<PanelKey, Vec<&Answer>>> = BTreeMap::new();
        for answer in answers {
            let own = asked.entry(answer.audit.as_str()).or_default();
            own.entry(PanelKey::of(answer)).or_default().push(answer);
        }
        let mut table = Table { plan, panels: Vec::new(), index: BTreeMap::new() };
        for audit in &plan.audits {
            let mut asked = asked.remove(audit.id.as_str()).unwrap_or_default();
            let planned = contexts(plan).into_iter().map(PanelKey::context);
            for key in planned.chain(screened(plan, audit, audits)) {
                asked.entry(key).or_default();
            }
            asked.retain(|key, _| key.condition.is_some() || contexts(plan).contains(&key.context));
            for (key, answers) in asked {
                let probes = planned_probes(plan, audit, audits, &key);
                if !probes.is_empty() {
                    table.index.insert((&audit.id, key.clone()), table.panels.len());
                    table.panels.push(panel(plan, audit, key, &probes, &answers));
                }
            }
        }
        table
    }

    pub fn panel(&self, audit: &str, key: PanelKey) -> Option<&Panel<'a>> {
        self.index.get(&(audit, key)).map(|index| &self.panels[*index])
    }

    /// The panels without a condition.
    pub fn contexts(&self) -> impl Iterator<Item = &Panel<'a>> {
        self.panels.iter().filter(|panel| panel.key.condition.is_none())
    }
}

fn panel<'a>(
    plan: &Plan,
    audit: &'a PlannedAudit,
    key: PanelKey,
    probes: &[(usize, &str)],
    answers: &[&'a Answer],
) -> Panel<'a> {
    let families: Vec<String> = probes
        .iter()
        .map(|(_, family)| *family)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(String::from)
        .collect();
    let asked =
        |draw: usize| key.context.probes(draw, probes).into_iter().map(move |probe| (probe, draw));
    let draw_of: Vec<(usize, usize)> = (0..plan.draws(key.context)).flat_map(asked).collect();
    let cells: BTreeMap<(usize, usize), usize> =
        draw_of.iter().enumerate().map(|(cell, key)| (*key, cell)).collect();
    let family_of_probe: BTreeMap<usize, &str> = probes.iter().copied().collect();
    let family_at = |name: &str| {
        families
            .binary_search_by(|family| family.as_str().cmp(name))
            .expect("families hold every probe's")
    };
    let family_of: Vec<usize> =
        draw_of.iter().map(|(probe, _)| family_at(family_of_probe[probe])).collect();
    let mut panel = Panel {
        audit,
        key,
        probes: draw_of.iter().map(|(probe, _)| probe).collect::<BTreeSet<_>>().len(),
        families,
        unasked: vec![None; family_of.len()],
        family_of,
        draw_of: draw_of.into_iter().map(|(_, draw)| draw).collect(),
        models: BTreeMap::new(),
    };
    for answer in answers {
        let Some(&cell) = cells.get(&(answer.probe, answer.draw)) else { continue };
        let model = panel.model_key(&answer.arm, answer.step, answer.seed);
        let models = panel.models.entry(&answer.arm).or_default();
        let cell = &mut models.entry(model).or_insert_with(|| panel.unasked.clone())[cell];
        let risk = |cell: &Option<Cell>| cell.map_or(f64::NEG_INFINITY, |cell| cell.risk);
        let scored = scored(answer, plan.protocol.clip);
        if risk(&scored) > risk(cell) {
            *cell = scored;
        }
    }
    panel
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
            context: ContextKind::Plain,
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
