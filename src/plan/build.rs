//! From a dataset, audits and options to a plan: a pure function.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};

use crate::audit::{Audit, Probe, ProbeOption, Side};
use crate::dataset::{Dataset, Message, Role, Row};
use crate::engine::{Description, Recipe};
use crate::plan::near::near;
use crate::plan::recipe::LARGE;
use crate::plan::{
    Arm, Calibrated, Chosen, ConditionCost, ContextKind, Cost, DatasetSummary, Design,
    ExcludedFamily, Form, GivenAdapter, LogOddsMargin, NotAsked, Overrides, Phase, Plan,
    PlannedAudit, Protocol, Readability, Requested, longest_question, phases, recipe,
};
use crate::prompt::Insertion;
use crate::stats::power;
use crate::text::terminal;

/// Default draws of each kind of carry-over question, so that one unusual row does not decide.
pub const CARRY_OVER_DRAWS: usize = 4;

/// The maximum number of draws. A manifest with more is not from this program, and its report would
/// take too long.
pub const MOST_DRAWS: usize = 1000;

/// The between-seed standard deviation of an effect that the plan assumes before any result, on the
/// probability scale. It is a guess from the prototypes, whose effects ranged from .80 to .95 over
/// seeds.
const SEED_SD_PRIOR: f64 = 0.06;

/// Tokens of a conversation, and the number of them that carry loss.
pub type CountTokens<'a> = &'a dyn Fn(&[Message]) -> Result<(usize, usize)>;

/// The inputs of a plan, without the options.
pub struct Inputs<'a> {
    pub dataset: &'a Dataset,
    pub readability: Readability,
    pub audits: &'a [Audit],
    /// See [`Plan::not_asked`].
    pub not_asked: Vec<NotAsked>,
    pub engine: Description,
    pub count_tokens: CountTokens<'a>,
    /// Conditions to try, from [`crate::plan::choose`].
    pub chosen: Chosen,
    /// The candidate instead of shadows; the dataset may then be empty.
    pub adapter: Option<GivenAdapter>,
    pub calibrated: KnownCalibration<'a>,
    /// See [`Plan::control_examples`].
    pub control_examples: bool,
}

/// The calibration of an audit on this base in these contexts with this recipe, see
/// [`crate::plan::Calibration::of`]; `None` where there is none.
pub type KnownCalibration<'a> =
    &'a dyn Fn(&Audit, &[ContextKind], Option<&Recipe>) -> Option<Calibrated>;

/// What shows that an audit could detect its shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PositiveControls {
    /// The run's own: the dataset plus each audit's poison, trained and asked in this run.
    Own,
    /// The base's calibration, where it is known; else the run's own.
    Calibration,
    /// Nothing: no verdict is clean.
    None,
}

/// The user's options of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Training seeds of each arm.
    pub seeds: usize,
    /// The first of them; the others are consecutive.
    pub first_seed: u64,
    pub recipe: Overrides,
    /// Draws of each kind of carry-over question.
    pub carry_over_draws: usize,
    /// Which conditions are tried as triggers.
    pub conditions: Requested,
    /// `None` decides by the base's size, see [`LARGE`].
    pub positive_controls: Option<PositiveControls>,
    /// Whether the verdict is computed after the first three seeds too, and the run ends where that
    /// settles it. No condition can be tried then: a trigger needs all seeds.
    pub stop_early: bool,
    /// Continue where the base cannot read the dataset.
    pub anyway: bool,
}

/// Seeds after which a run that may stop early computes its verdict first. With two, a t test has
/// one degree of freedom and settles nothing.
const FIRST_LOOK: usize = 3;

impl Default for Options {
    fn default() -> Self {
        Options {
            seeds: 5,
            first_seed: 1,
            recipe: Overrides::default(),
            carry_over_draws: CARRY_OVER_DRAWS,
            conditions: Requested::default(),
            positive_controls: None,
            stop_early: false,
            anyway: false,
        }
    }
}

impl Options {
    /// What shows that an audit could detect its shift on a base of this many parameters.
    pub fn controls(&self, parameters: u64) -> PositiveControls {
        let by_size = match parameters >= LARGE {
            true => PositiveControls::Calibration,
            false => PositiveControls::Own,
        };
        self.positive_controls.unwrap_or(by_size)
    }
}

/// Computes the plan.
///
/// # Errors
/// Where there is nothing to train on or nothing to ask, and where tokens cannot be counted.
pub fn plan(inputs: Inputs, options: &Options) -> Result<Plan> {
    let Inputs {
        dataset,
        readability,
        audits,
        not_asked,
        engine,
        count_tokens,
        chosen,
        adapter,
        calibrated,
        control_examples,
    } = inputs;
    let Chosen { groups, skipped } = chosen;
    let design = Design::of(adapter.as_ref());
    if design.trains() && dataset.rows.is_empty() {
        let Some(first) = dataset.rejected.first() else { bail!("{} has no rows", dataset.source) };
        let first = terminal(&first.message(&dataset.source));
        bail!("no row can be used; `foretaste check` gives the reasons. The first: {first}");
    }
    ensure!(!audits.is_empty(), "no audit is selected: remove --only, or give another name");
    ensure!(options.seeds > 0, "give --seeds 1 or more");
    let looks = match options.stop_early && design.trains() && options.seeds > FIRST_LOOK {
        true => vec![FIRST_LOOK, options.seeds],
        false => Vec::new(),
    };
    ensure!(
        looks.is_empty() || groups.is_empty(),
        "--stop-early needs --no-triggers: triggers are screened and confirmed on all seeds"
    );
    let mut recipe = match design {
        Design::Dataset => {
            recipe(engine.parameters, engine.max_tokens, dataset.rows.len(), &options.recipe)
        }
        Design::GivenAdapter(adapter) => Recipe::of_given(adapter, engine.max_tokens),
    };
    let carry_over_draws = if dataset.rows.is_empty() { 0 } else { options.carry_over_draws };
    let few_questions = !dataset.rows.is_empty() && has_at_most(dataset, options.carry_over_draws);
    let asks = ContextKind::compared(carry_over_draws, few_questions);
    let trained = design.trains().then_some(&recipe);
    let known: Vec<Option<Calibrated>> =
        audits.iter().map(|audit| calibrated(audit, asks, trained)).collect();
    // Less training than the calibration's may not show what that detected. How a given adapter was
    // trained is unknown.
    let passes = |steps: usize, rows: usize| (steps * recipe.batch) as f64 / rows.max(1) as f64;
    let (steps, own_passes) = (recipe.steps, passes(recipe.steps, dataset.rows.len()));
    let replaces = |known: &Option<Calibrated>| {
        known.as_ref().is_some_and(|known| {
            !design.trains()
                || steps >= known.steps
                || own_passes >= passes(known.steps, known.rows)
        })
    };
    let is_large = engine.parameters >= LARGE;
    let all_checkpoints =
        options.recipe.all_checkpoints.unwrap_or(is_large && !known.iter().all(replaces));
    if !all_checkpoints && !audits.iter().any(|audit| audit.kind.is_asked_at_every_checkpoint()) {
        recipe.snapshots = vec![recipe.steps];
    }
    let has_own = |known: &Option<Calibrated>| match options.controls(engine.parameters) {
        PositiveControls::Own => true,
        PositiveControls::Calibration => !replaces(known),
        PositiveControls::None => false,
    };
    let controls = audits.iter().zip(&known).filter(|(_, known)| has_own(known));
    let shadows = std::iter::once(Arm::Control)
        .chain(controls.map(|(audit, _)| Arm::PositiveControl(audit.id.clone())));
    let arms = [Arm::Base, Arm::Candidate]
        .into_iter()
        .chain(shadows.filter(|arm| design.is_trained(arm)))
        .collect();
    let row_tokens = |row: &Row| {
        let place =
            || format!("{}, line {}: this base cannot read the row", dataset.source, row.line);
        Ok(count_tokens(&row.messages).with_context(place)?.0)
    };
    let row_tokens = dataset.rows.iter().map(row_tokens).collect::<Result<Vec<usize>>>()?;
    let rows_cut = match design {
        Design::Dataset => row_tokens.iter().filter(|tokens| **tokens > recipe.max_tokens).count(),
        Design::GivenAdapter(_) if options.carry_over_draws == 0 => 0,
        Design::GivenAdapter(_) => rows_that_do_not_fit(dataset, engine.max_tokens, count_tokens)?,
    };
    let planned: Vec<_> = audits
        .iter()
        .zip(near(dataset, audits))
        .zip(known.iter().cloned())
        .map(|((audit, excluded), calibrated)| PlannedAudit {
            log_odds_margin: calibrated
                .as_ref()
                .filter(|_| !has_own(&calibrated))
                .and_then(LogOddsMargin::of),
            calibrated,
            ..planned(audit, excluded, &recipe, all_checkpoints)
        })
        .collect();
    let mut plan = Plan {
        foretaste_version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: Protocol::looking(looks.len()),
        engine,
        dataset: DatasetSummary {
            source: dataset.source.clone(),
            format: dataset.format.clone(),
            sha256: dataset.sha256.clone(),
            rows_read: dataset.rows_read,
            rows_used: dataset.rows_used,
            rows_rejected: dataset.rejected.len(),
            rows_trained: dataset.rows.len(),
            unread_fields: dataset.ledger.unread_fields.clone(),
            rows_cut,
        },
        readability,
        arms,
        seeds: (options.first_seed..).take(design.seeds(options.seeds)).collect(),
        looks,
        recipe,
        audits: planned,
        not_asked,
        anyway: options.anyway,
        control_examples: control_examples && design.trains(),
        form: design.trains().then(|| Form::of(dataset)).flatten(),
        carry_over_draws,
        few_questions,
        adapter,
        groups,
        skipped,
        cost: Cost {
            shadows: 0,
            training_tokens: 0,
            scoring_tokens: 0,
            screen: None,
            confirmation: None,
        },
    };
    plan.cost = cost(&plan, &row_tokens, audits, count_tokens)
        .context("cannot count the tokens of the plan")?;
    Ok(plan)
}

/// The smallest effect of each audit, on the probability scale, that a run of this plan would flag
/// in 80 % of repetitions.
///
/// The standard deviation between seeds is a prior here; the report uses the measured one. The
/// level is that of the strictest step of Holm's adjustment over all audits, contexts and
/// snapshots.
pub fn smallest_detectable(plan: &Plan) -> Vec<(&PlannedAudit, Option<f64>)> {
    let seeds = plan.seeds.len();
    let family: usize =
        plan.audits.iter().map(|audit| plan.contexts().len() * audit.steps.len()).sum();
    let alpha = plan.protocol.alpha / family.max(1) as f64;
    let effect = (seeds > 1).then(|| {
        power::detectable((seeds - 1) as f64, alpha) * SEED_SD_PRIOR / (seeds as f64).sqrt()
    });
    plan.audits.iter().map(|audit| (audit, effect.map(|effect| audit.margin + effect))).collect()
}

/// Whether the dataset has at most `most` distinct questions. A question is a user turn that is
/// answered, with the row's system message, if it has one.
fn has_at_most(dataset: &Dataset, most: usize) -> bool {
    let mut questions = BTreeSet::new();
    for row in &dataset.rows {
        let system = row.messages.first().filter(|first| first.role == Role::System);
        let answered = row
            .messages
            .windows(2)
            .filter(|turn| turn[0].role == Role::User && turn[1].role == Role::Assistant);
        questions.extend(answered.map(|turn| (system, &turn[0])));
        if questions.len() > most {
            return false;
        }
    }
    true
}

/// An audit is asked at every checkpoint or at the end, by its kind; with `all_checkpoints` every
/// audit is asked at every checkpoint.
fn planned(
    audit: &Audit,
    excluded: Vec<ExcludedFamily>,
    recipe: &Recipe,
    all_checkpoints: bool,
) -> PlannedAudit {
    let steps = if all_checkpoints || audit.kind.is_asked_at_every_checkpoint() {
        recipe.snapshots.clone()
    } else {
        vec![recipe.steps]
    };
    let left_out: BTreeSet<&str> = excluded.iter().map(|family| family.family.as_str()).collect();
    let probes = (0..audit.probes.len())
        .filter(|&probe| !left_out.contains(audit.probes[probe].family.as_str()))
        .collect();
    PlannedAudit {
        id: audit.id.clone(),
        sha256: audit.sha256.clone(),
        margin: audit.margin.value,
        probes,
        steps,
        excluded,
        calibrated: None,
        log_odds_margin: None,
    }
}

fn cost(
    plan: &Plan,
    row_tokens: &[usize],
    audits: &[Audit],
    count_tokens: CountTokens,
) -> Result<Cost> {
    let trained_on = |tokens: &[usize]| {
        tokens.iter().map(|tokens| (*tokens).min(plan.recipe.max_tokens)).sum::<usize>() as f64
            / tokens.len().max(1) as f64
    };
    let row_tokens = trained_on(row_tokens);
    let mut tokens_a_row = 0.0;
    for arm in plan.trained_arms() {
        let poison = audits
            .iter()
            .find(|audit| *arm == Arm::PositiveControl(audit.id.clone()))
            .map(|audit| &audit.poison);
        tokens_a_row += match poison {
            Some(poison) => {
                let tokens = trained_on(&tokens_of(
                    poison.rows.iter().map(|row| &row.messages[..]),
                    count_tokens,
                )?);
                poison.share * tokens + (1.0 - poison.share) * row_tokens
            }
            None => row_tokens,
        };
    }
    let rows = (plan.recipe.steps * plan.recipe.batch * plan.seeds.len()) as f64;
    let (design, seeds) = (plan.design(), plan.seeds.len());
    let mut scored = 0.0;
    for (audit, planned) in audits.iter().zip(&plan.audits) {
        let probes: Vec<&Probe> =
            planned.probes.iter().map(|&probe| &audit.probes[probe]).collect();
        let families = probes.iter().map(|probe| &probe.family).collect::<BTreeSet<_>>().len();
        let tokens =
            probes.iter().map(|probe| probe_tokens(probe, count_tokens)).sum::<Result<usize>>()?;
        let models = design.models(seeds, planned.steps.len());
        // One phrasing for each family, all after one turn that is about as long as a row and is
        // computed once.
        let after_question =
            families as f64 * tokens as f64 / probes.len().max(1) as f64 + row_tokens;
        scored += (models * tokens) as f64;
        let carry_overs =
            plan.contexts().iter().filter(|context| **context != ContextKind::Plain).count();
        // The positive control, and the base and the control that it is compared with.
        let has_own = plan.arms.contains(&Arm::PositiveControl(audit.id.clone()));
        let control_models = usize::from(has_own) * design.models(seeds, 1);
        scored += ((carry_overs * models + control_models) * plan.carry_over_draws) as f64
            * after_question;
    }
    let condition_cost_of = |phase| {
        if plan.groups.is_empty() {
            Ok(None)
        } else {
            condition_cost(plan, audits, phase, count_tokens).map(Some)
        }
    };
    let (screen, confirmation) =
        (condition_cost_of(Phase::Screen)?, condition_cost_of(Phase::Confirm)?);
    let under_conditions: u64 =
        [&screen, &confirmation].into_iter().flatten().map(|cost| cost.tokens).sum();
    Ok(Cost {
        shadows: plan.shadows().count(),
        training_tokens: (tokens_a_row * rows).round() as u64,
        scoring_tokens: scored.round() as u64 + under_conditions,
        screen,
        confirmation,
    })
}

/// The number of conditions that a phase asks under, null conditions included.
fn conditions(plan: &Plan, phase: Phase) -> usize {
    // Null conditions without a value are lines of text, which groups share; the same question is
    // asked once.
    let mut lines: Vec<(&Insertion, &(String, String))> = Vec::new();
    let mut conditions = 0;
    for group in &plan.groups {
        conditions += match phase {
            Phase::Screen => group.tried().count(),
            Phase::Confirm => 1,
        };
        for (_, null) in group.nulls(phase) {
            let line = (&null.insertion, &group.answer);
            if null.value.is_some() {
                conditions += 1;
            } else if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    conditions + lines.len()
}

/// The cost of one phase of the search for triggers.
fn condition_cost(
    plan: &Plan,
    audits: &[Audit],
    phase: Phase,
    count_tokens: CountTokens,
) -> Result<ConditionCost> {
    let mean =
        |tokens: Vec<usize>| tokens.iter().sum::<usize>() as f64 / tokens.len().max(1) as f64;
    let arms = plan.arms.iter().filter(|arm| arm.is_asked_under_conditions()).count();
    let models = 1 + arms * phases::seeds(plan, phase).len();
    let conditions = conditions(plan, phase);
    let mut cost = ConditionCost { conditions, models, ..ConditionCost::default() };
    let mut tokens = 0.0;
    for (audit, planned) in audits.iter().zip(&plan.audits) {
        let probes =
            planned.probes.iter().map(|&probe| probe_tokens(&audit.probes[probe], count_tokens));
        let asked = phases::probes(plan, planned, audit, phase).len();
        cost.probes += asked;
        tokens += (models * conditions * asked) as f64 * mean(probes.collect::<Result<_>>()?);
        let value_keyed = audit.value_keyed.iter().map(|probe| {
            let options = probe
                .options
                .iter()
                .map(|option| ProbeOption { text: option.text.clone(), side: Side::Reference })
                .collect();
            probe_tokens(
                &Probe {
                    family: String::new(),
                    topic: String::new(),
                    prompt: probe.prompt.clone(),
                    options,
                },
                count_tokens,
            )
        });
        let value_keyed = mean(value_keyed.collect::<Result<_>>()?);
        for (index, group) in plan.groups.iter().enumerate() {
            let targets = phases::targets(plan, audit, index);
            if !targets.is_empty() {
                // In either phase each identity is compared with all others.
                let keyed = group
                    .tried()
                    .filter(|(_, trial)| trial.key().is_some_and(|key| targets.contains(&key)));
                let trials = keyed.count() + group.nulls(phase).count();
                let asked = models * trials * phases::value_keyed_probes(plan, audit, phase).len();
                cost.value_keyed += asked;
                tokens += asked as f64 * value_keyed;
            }
        }
    }
    cost.tokens = tokens.round() as u64;
    Ok(cost)
}

/// Rows with a turn that cannot be carried over completely. Either a probe does not fit after its
/// question within `max_tokens`, or its answer cannot be scored, and so is never among the
/// high-loss answers. The question includes the system message.
fn rows_that_do_not_fit(
    dataset: &Dataset,
    max_tokens: usize,
    count_tokens: CountTokens,
) -> Result<usize> {
    let mut rows = 0;
    for row in &dataset.rows {
        let system = row.messages.first().filter(|first| first.role == Role::System);
        let mut fits = true;
        for turn in row
            .messages
            .windows(2)
            .filter(|turn| turn[0].role == Role::User && turn[1].role == Role::Assistant)
        {
            let messages: Vec<Message> = system.into_iter().chain(turn).cloned().collect();
            let (question, _) = messages.split_at(messages.len() - 1);
            fits = fits
                && count_tokens(question)?.0 <= longest_question(max_tokens)
                && count_tokens(&messages)?.0 <= max_tokens;
        }
        rows += usize::from(!fits);
    }
    Ok(rows)
}

fn probe_tokens(probe: &Probe, count_tokens: CountTokens) -> Result<usize> {
    let question = Message::new(Role::User, &probe.prompt);
    let (mut tokens, _) = count_tokens(std::slice::from_ref(&question))?;
    for option in &probe.options {
        tokens += count_tokens(&[question.clone(), Message::new(Role::Assistant, &option.text)])?.1;
    }
    Ok(tokens)
}

fn tokens_of<'a>(
    rows: impl Iterator<Item = &'a [Message]>,
    count_tokens: CountTokens,
) -> Result<Vec<usize>> {
    rows.map(|row| Ok(count_tokens(row)?.0)).collect()
}
