//! The evidence on one audit, and what is derived from it.

use super::reason::{At, Excess};
use crate::analysis::table::counted_probes;
use crate::analysis::{Analysis, ArmRisk, Effect, Risks, positive_control_arm, valid_seeds};
use crate::audit::Audit;
use crate::plan::{Arm, ContextKind, Form, Plan, PlannedAudit};
use crate::probe::Health;

/// What all audits of a run share.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    pub plan: &'a Plan,
    pub audits: &'a [Audit],
    pub analysis: &'a Analysis,
    pub health: &'a [Health],
    pub shifted: &'a [ShiftedBaseline],
}

/// The evidence on one audit.
pub struct Evidence<'a> {
    pub run: Run<'a>,
    pub planned: &'a PlannedAudit,
    /// Probe families that were asked.
    pub families: usize,
    /// Contexts times checkpoints.
    pub comparisons: usize,
    /// Of them, those at a checkpoint where no seed is valid.
    pub without_seeds: usize,
    pub effects: Vec<&'a Effect>,
    /// The positive control's effects; `None` where the plan has none for this audit.
    pub control: Option<Vec<&'a Effect>>,
    /// The form that the control's answers share with the dataset's, and where it moves the control
    /// most.
    pub form: Option<(&'a Form, FormShift)>,
}

/// A context in which the dataset's questions alone move the base by the margin of a
/// self-consistency audit. A shadow's answers there say little about its training, and nothing is
/// flagged there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShiftedBaseline {
    pub context: ContextKind,
    /// Probabilities with which the base leaves its own answers, in this context and in a plain
    /// one.
    pub base: f64,
    pub plain: f64,
}

/// Every context with a shifted baseline.
pub fn shifted_baselines(
    plan: &Plan,
    audits: &[Audit],
    analysis: &Analysis,
) -> Vec<ShiftedBaseline> {
    let base = |audit: &PlannedAudit, context: ContextKind| {
        let risks = analysis
            .arms
            .iter()
            .find(|risks| risks.audit == audit.id && risks.context == context)?;
        risks.arms.iter().find(|risk| risk.arm == Arm::Base).map(|risk| risk.risk.point)
    };
    let of_any_change =
        |audit: &&PlannedAudit| audits.iter().any(|a| a.id == audit.id && !a.kind.has_sides());
    let in_one = |audit: &PlannedAudit, context: ContextKind| {
        let (base, plain) = (base(audit, context)?, base(audit, ContextKind::Plain)?);
        (base - plain >= audit.margin).then_some(ShiftedBaseline { context, base, plain })
    };
    let asks = plan.contexts().iter();
    asks.filter_map(|context| {
        plan.audits.iter().filter(of_any_change).find_map(|audit| in_one(audit, *context))
    })
    .collect()
}

/// How far the control's form moves it from the base.
#[derive(Debug, Clone, Copy)]
pub struct FormShift {
    pub at: At,
    /// Risks, and the control's upper bound minus the base's risk.
    pub base: f64,
    pub control: f64,
    pub at_most: f64,
}

/// The largest shift among the contexts and checkpoints; `None` where no answer was scored.
fn form_shift(plan: &Plan, analysis: &Analysis, audit: &str) -> Option<FormShift> {
    let gated = analysis
        .arms
        .iter()
        .filter(|risks| risks.audit == audit && plan.contexts().contains(&risks.context));
    let shifts = gated.flat_map(|Risks { context, arms, .. }| {
        let base = arms.iter().find(|risk| risk.arm == Arm::Base).map(|risk| risk.risk.point);
        let shift = move |control: &ArmRisk| {
            let base = base?;
            let ArmRisk { step, risk, .. } = control;
            Some(FormShift {
                at: At { context: *context, step: *step },
                base,
                control: risk.point,
                at_most: risk.upper - base,
            })
        };
        arms.iter().filter(|risk| risk.arm == Arm::Control).filter_map(shift)
    });
    shifts.max_by(|a, b| a.at_most.total_cmp(&b.at_most))
}

impl<'a> Evidence<'a> {
    pub fn new(run: &Run<'a>, planned: &'a PlannedAudit) -> Self {
        let Run { plan, audits, analysis, health, .. } = *run;
        let own = |effects: &'a [Effect]| {
            effects.iter().filter(|effect| effect.audit == planned.id).collect()
        };
        let mut families: Vec<&str> =
            counted_probes(planned, audits).into_iter().map(|(_, family)| family).collect();
        families.sort_unstable();
        families.dedup();
        let without_seeds = planned
            .steps
            .iter()
            .filter(|step| valid_seeds(plan, health, **step).is_empty())
            .count();
        Evidence {
            run: *run,
            planned,
            families: families.len(),
            comparisons: plan.contexts().len() * planned.steps.len(),
            without_seeds: without_seeds * plan.contexts().len(),
            effects: own(&analysis.effects),
            control: positive_control_arm(plan, planned).map(|_| own(&analysis.positive_controls)),
            form: plan
                .form
                .as_ref()
                .and_then(|form| Some((form, form_shift(plan, analysis, &planned.id)?))),
        }
    }

    pub fn margin(&self) -> f64 {
        self.planned.margin
    }

    /// Seeds of trainings above control and base by more than the margin; empty where the baseline
    /// is shifted.
    pub fn shifted_seeds(&self, effect: &Effect) -> Vec<u64> {
        if self.shifted_baseline(effect).is_some() {
            Vec::new()
        } else {
            effect.shifted_seeds(self.margin()).collect()
        }
    }

    pub fn shifted_baseline(&self, effect: &Effect) -> Option<&'a ShiftedBaseline> {
        self.run.shifted.iter().find(|shifted| shifted.context == effect.context)
    }

    pub fn is_flagged(&self, effect: &Effect) -> bool {
        (effect.is_above(self.margin()) || effect.is_shared() || effect.is_above_in_log_odds())
            && self.shifted_baseline(effect).is_none()
    }

    /// Effects above the control by the margin, on average or in any training, that do not flag.
    pub fn unflagged(&self) -> impl Iterator<Item = &'a Effect> {
        self.effects.iter().copied().filter(|effect| {
            effect.exceeds_harmless_training(self.margin()) && !self.is_flagged(effect)
        })
    }

    pub fn flagged(&self) -> impl Iterator<Item = &'a Effect> {
        self.effects.iter().copied().filter(|effect| self.is_flagged(effect))
    }

    pub fn is_any_flagged(&self) -> bool {
        self.flagged().next().is_some()
    }

    /// The strongest effect whose mean is flagged; else the strongest that a sufficient share of
    /// trainings or the log-odds show; else the one with the highest upper bound.
    pub fn deciding(&self) -> Option<&'a Effect> {
        let effects = || self.effects.iter().copied();
        let above = self.flagged().filter(|effect| effect.is_above(self.margin()));
        let with_headroom = effects().filter(|effect| effect.has_headroom(self.margin()));
        strongest(above)
            .or_else(|| strongest(self.flagged()))
            .or_else(|| with_headroom.max_by(by_upper_bound))
            .or_else(|| effects().max_by(by_upper_bound))
    }

    /// The positive control's strongest effect that this run detected on average. A shift of some
    /// trainings only does not prove that a shift of the mean is detectable.
    pub fn detected_control(&self) -> Option<&'a Effect> {
        let effects = self.control.iter().flatten().copied();
        strongest(effects.filter(|effect| effect.is_above(self.margin())))
    }

    /// See [`super::Finding::positive_control`].
    pub fn positive_control(&self) -> Option<bool> {
        let in_run = self.control.as_ref().map(|_| self.detected_control().is_some());
        let calibrated = self.planned.calibrated.as_ref().map(|found| found.share.is_some());
        in_run.or(calibrated)
    }

    /// How an effect above the control exceeds it.
    pub fn excess(&self, effect: &Effect) -> Excess {
        let (at, margin) = (At::of(effect), self.margin());
        if effect.exceeds_control(margin) {
            return Excess::Mean { at, point: effect.probability.point, margin };
        }
        let trainings = effect.seeds.iter().filter(|seed| seed.over_controls > margin).count();
        Excess::Trainings { at, trainings, of: effect.seeds.len(), margin }
    }

    /// Comparisons without headroom: the reference's risk is so high that no shift by the margin is
    /// possible.
    pub fn without_headroom(&self) -> Vec<&'a Effect> {
        let effects = self.effects.iter().copied();
        effects.filter(|effect| !effect.has_headroom(self.margin())).collect()
    }

    /// Whether at some checkpoint there is no headroom in plain questions, or none in any
    /// carry-over context: one of the two carry-over contexts is enough.
    pub fn is_blind(&self) -> bool {
        let full = self.without_headroom();
        let is_full = |effect: &Effect| full.iter().any(|other| At::of(other) == At::of(effect));
        let blind = |step: usize, plain: bool| {
            let of_kind = |effect: &&&Effect| {
                effect.step == step && (effect.context == ContextKind::Plain) == plain
            };
            let mut asked = self.effects.iter().filter(of_kind).peekable();
            asked.peek().is_some() && asked.all(|effect| is_full(effect))
        };
        full.iter().any(|effect| blind(effect.step, true) || blind(effect.step, false))
    }

    /// Comparisons in which nothing exceeds the control and a bound is informative. Another rule
    /// covers what exceeds it; without headroom a bound is not informative.
    pub fn bounded(&self) -> impl Iterator<Item = &'a Effect> {
        let margin = self.margin();
        let effects = self.effects.clone().into_iter();
        effects.filter(move |effect| {
            !effect.exceeds_harmless_training(margin) && effect.has_headroom(margin)
        })
    }

    /// Comparisons whose interval reaches the margin.
    pub fn open(&self) -> Vec<&'a Effect> {
        self.bounded().filter(|effect| !is_below(effect.probability.upper, self.margin())).collect()
    }

    /// The number of units that settles every open comparison: the maximum over these. `None` where
    /// nothing is open, where no number settles one, or where a flag decides.
    pub fn units_to_settle(&self) -> Option<usize> {
        if self.is_any_flagged() || self.is_blind() {
            return None;
        }
        let units = self.open().into_iter().map(|effect| effect.seeds_to_settle);
        units.collect::<Option<Vec<usize>>>()?.into_iter().max()
    }
}

impl At {
    pub fn of(effect: &Effect) -> At {
        At { context: effect.context, step: effect.step }
    }
}

pub fn strongest<'a>(effects: impl Iterator<Item = &'a Effect>) -> Option<&'a Effect> {
    effects.max_by(|a, b| a.probability.point.total_cmp(&b.probability.point))
}

pub fn by_upper_bound(a: &&Effect, b: &&Effect) -> std::cmp::Ordering {
    a.probability.upper.total_cmp(&b.probability.upper)
}

/// False also where either is not a number.
pub fn is_below(upper: f64, margin: f64) -> bool {
    upper < margin
}
