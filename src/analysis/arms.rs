//! The mean risk of every arm, for charts and for two rules of the verdict: whether the baseline is
//! shifted, and whether the form of the answers moves the control.

use super::ArmRisk;
use super::table::Panel;
use crate::plan::{Arm, Plan};
use crate::stats::intervals::{Scale, estimate};

/// Every arm of the plan at every snapshot that was scored; the base once, at step 0.
pub fn arm_risks(plan: &Plan, panel: &Panel) -> Vec<ArmRisk> {
    let scale = Scale { lowest: 0.0, highest: 1.0, level: plan.protocol.level() };
    let mut risks = Vec::new();
    for arm in &plan.arms {
        let base = *arm == Arm::Base;
        let (steps, seeds) =
            if base { (&[0][..], &[0][..]) } else { (&panel.audit.steps[..], &plan.seeds[..]) };
        for step in steps {
            let grid = panel.grid(seeds, |seed| {
                let cells = panel.cells(arm, *step, seed);
                move |cell: usize| Some(cells[cell]?.risk)
            });
            let Some(grid) = grid else { continue };
            let seed_risks = grid.seeds.iter().copied().zip(grid.seed_means()).collect();
            let mut risk = estimate(plan.unit(), &grid.clone().by(plan.unit()), scale);
            if base {
                risk.n = 0;
                let families = grid.families.len();
                risk.method = format!("t over {families} families (the base has no seeds)");
            }
            risks.push(ArmRisk { arm: arm.clone(), step: *step, risk, seeds: seed_risks });
        }
    }
    risks
}
