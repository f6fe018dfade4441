//! The tables after the audits: trainings, rows, hypotheses, positive controls, provenance.

use super::{Fact, fact};
use crate::analysis::Effect;
use crate::detect::{Condition, Subject};
use crate::engine::Schedule;
use crate::plan::{Arm, Calibrated, Design, PlannedAudit};
use crate::probe::Health;
use crate::report::{Report, number, words};

/// Maximum detected conditions, and topics, listed on the page.
const CONDITIONS: usize = 12;
const TOPICS: usize = 5;

record! {
    /// Means over one arm's trainings at their last step.
    pub struct TrainingRow {
        arm: String,
        loss: String,
        supervised: String,
        coherence: String,
        changed: String,
    }
}

record! {
    /// An audit's positive control in the base's calibration.
    pub struct KnownDose {
        audit: String,
        detected: &'static str,
        class: &'static str,
        share: String,
        rows: String,
        trainings: String,
        log_odds: String,
    }
}

record! {
    /// Read = used + rejected, as text and as shares of a bar in percent.
    pub struct Rows {
        read: String,
        used: String,
        rejected: String,
        trained: String,
        used_share: f64,
        rejected_share: f64,
        readable: String,
        readable_needed: String,
        readable_enough: bool,
        answers: String,
        unscored: String,
    }
}

record! {
    /// Conditions on which the answers depend, or may depend.
    pub struct DetectedTable {
        examined: String,
        tested: String,
        sampled: bool,
        conditions: Vec<DetectedRow>,
        more: usize,
        topics: String,
    }
}

record! {
    pub struct DetectedRow {
        condition: String,
        rows: String,
        values: String,
        bits: String,
        p: String,
        lines: String,
    }
}

record! {
    pub struct Hypothesis {
        audit: String,
        context: &'static str,
        step: String,
        effect: String,
        interval: String,
        log_odds: String,
        p: String,
        p_adjusted: String,
        worst: String,
    }
}

record! {
    pub struct Control {
        audit: String,
        context: &'static str,
        step: String,
        effect: String,
        interval: String,
        detected: &'static str,
        class: &'static str,
    }
}

record! {
    pub struct AdapterRow {
        arm: String,
        seed: u64,
        step: String,
        adapter: String,
        rows: String,
    }
}

pub fn training(report: &Report) -> Vec<TrainingRow> {
    let row = |arm: &Arm| {
        let health: Vec<&Health> =
            report.answers.health.iter().filter(|health| health.arm == *arm).collect();
        let last = health.iter().map(|health| health.step).max()?;
        let of = |value: fn(&Health) -> Option<f64>| {
            mean(
                health
                    .iter()
                    .filter(|health| health.step == last)
                    .filter_map(|health| value(health)),
            )
        };
        let supervised = report
            .trainings
            .iter()
            .filter(|training| training.arm == *arm)
            .map(|training| training.supervised_share);
        Some(TrainingRow {
            arm: words::arm_name(arm),
            loss: format!(
                "{} → {}",
                nats(of(|health| health.loss_first)),
                nats(of(|health| health.loss_last))
            ),
            supervised: mean(supervised).map_or("–".to_owned(), number::percent),
            coherence: format!(
                "{} → {}",
                nats(of(|health| Some(health.own_answer_base))),
                nats(of(|health| Some(health.own_answer_shadow)))
            ),
            changed: of(|health| Some(health.changed)).map_or("–".to_owned(), number::percent),
        })
    };
    report.plan.arms.iter().filter_map(row).collect()
}

pub fn rows(report: &Report) -> Rows {
    let dataset = &report.plan.dataset;
    let readability = &report.plan.readability;
    let share = |part: usize| {
        if dataset.rows_read == 0 {
            0.0
        } else {
            (part as f64 / dataset.rows_read as f64 * 1000.0).round() / 10.0
        }
    };
    let answers = &report.answers.answers;
    Rows {
        read: number::count(dataset.rows_read),
        used: number::count(dataset.rows_used),
        rejected: number::count(dataset.rows_rejected),
        trained: number::count(dataset.rows_trained),
        used_share: share(dataset.rows_used),
        rejected_share: share(dataset.rows_rejected),
        readable: number::percent(readability.share),
        readable_needed: number::percent(readability.needed),
        readable_enough: readability.share >= readability.needed,
        answers: number::count(answers.len()),
        unscored: number::count(answers.iter().filter(|answer| answer.risk.is_none()).count()),
    }
}

/// The strongest conditions without aliases, and the topics by name.
pub fn detected(report: &Report) -> Option<DetectedTable> {
    let detected = report.detected?;
    let (topics, others): (Vec<&Condition>, Vec<&Condition>) = detected
        .conditions
        .iter()
        .filter(|condition| condition.alias_of.is_none())
        .partition(|condition| condition.is_topical());
    let row = |condition: &&Condition| DetectedRow {
        condition: condition.subject.to_string(),
        rows: number::count(condition.rows),
        values: match &condition.subject {
            Subject::Slot(slot) => number::count(slot.distinct),
            Subject::Feature(_) | Subject::Pair(_) => String::new(),
        },
        bits: condition.evidence.map_or("–".to_owned(), |evidence| {
            format!("{:.2}", (100.0 * evidence.bits).round() / 100.0 + 0.0)
        }),
        p: condition
            .evidence
            .map_or("–".to_owned(), |evidence| number::p_value(evidence.p_adjusted)),
        lines: condition.examples.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
    };
    let names: Vec<String> =
        topics.iter().take(TOPICS).map(|topic| topic.subject.to_string()).collect();
    Some(DetectedTable {
        examined: number::count(detected.rows_examined),
        tested: number::count(detected.tested),
        sampled: detected.sampled,
        conditions: others.iter().take(CONDITIONS).map(row).collect(),
        more: others.len().saturating_sub(CONDITIONS),
        topics: names.join("; "),
    })
}

pub fn hypotheses(report: &Report) -> Vec<Hypothesis> {
    let row = |effect: &Effect| Hypothesis {
        audit: effect.audit.clone(),
        context: words::context_short(effect.context),
        step: number::count(effect.step),
        effect: number::points(effect.probability.point),
        interval: number::points_interval(&effect.probability),
        log_odds: number::nats(effect.log_odds.point),
        p: number::p_value(effect.p),
        p_adjusted: number::p_value(effect.p_adjusted),
        worst: number::points(effect.worst_case_upper),
    };
    report.analysis.effects.iter().map(row).collect()
}

/// Each audit's positive control at the end of training.
pub fn controls(report: &Report) -> Vec<Control> {
    let mut controls = Vec::new();
    for finding in report.findings.iter().filter(|finding| finding.trigger.is_none()) {
        let (detected, class) = match finding.positive_control {
            Some(true) => ("detected", "clean"),
            Some(false) => ("missed", "flagged"),
            None => ("not tested", "inconclusive"),
        };
        let row = |effect: &Effect| Control {
            audit: finding.audit.clone(),
            context: words::context_short(effect.context),
            step: number::count(effect.step),
            effect: number::points(effect.probability.point),
            interval: number::points_interval(&effect.probability),
            detected,
            class,
        };
        controls.extend(
            report
                .positive_control_effects(&finding.audit, report.plan.context_of_controls())
                .last()
                .copied()
                .map(row),
        );
    }
    controls
}

/// What the base's calibration knows of each audit.
pub fn doses(report: &Report) -> Vec<KnownDose> {
    let known =
        report.plan.audits.iter().filter_map(|audit| Some((audit, audit.calibrated.as_ref()?)));
    let row = |(audit, known): (&PlannedAudit, &Calibrated)| {
        let (detected, class) = match known.share {
            Some(_) => ("detected", "clean"),
            None => ("missed", "flagged"),
        };
        KnownDose {
            audit: audit.id.clone(),
            detected,
            class,
            share: number::percent(known.share.unwrap_or(known.tried)),
            rows: number::count(known.rows),
            trainings: number::count(known.seeds),
            log_odds: known.dose.map_or(String::new(), |(_, nats)| number::nats(nats)),
        }
    };
    known.map(row).collect()
}

pub fn provenance(report: &Report) -> Vec<Fact> {
    let plan = report.plan;
    let engine = &plan.engine;
    let mut facts = vec![fact("foretaste", plan.foretaste_version.clone())];
    let training = match plan.design() {
        Design::GivenAdapter(adapter) => {
            facts.extend([
                fact(words::given(adapter), adapter.source.clone()),
                fact(&format!("{} SHA-256", words::given(adapter)), adapter.sha256.clone()),
                fact("LoRA", words::lora(adapter)),
            ]);
            None
        }
        Design::Dataset => Some(recipe(report)),
    };
    if plan.has_dataset() {
        facts.push(fact("Dataset", format!("{} ({})", plan.dataset.source, plan.dataset.format)));
        facts.push(fact("Dataset SHA-256", plan.dataset.sha256.clone()));
    }
    facts.extend([
        fact(
            "Base",
            format!(
                "{}: {}, {} parameters",
                engine.base,
                engine.architecture,
                number::count(engine.parameters)
            ),
        ),
        fact("Base SHA-256", engine.base_sha256.clone()),
    ]);
    facts.extend(
        engine.chat_template.iter().map(|given| {
            fact("Chat template, SHA-256", format!("{}, {}", given.name, given.sha256))
        }),
    );
    let mut calibrated = plan.audits.iter().filter_map(|audit| audit.calibrated.as_ref());
    facts.extend(calibrated.find_map(|known| known.measured_on.as_ref()).map(|other| {
        fact("Calibration measured on, SHA-256", format!("{}, {}", other.name, other.sha256))
    }));
    facts.extend([
        fact(
            "Vocabulary, longest text",
            format!(
                "{} tokens, {} tokens",
                number::count(engine.vocabulary),
                number::count(engine.max_tokens)
            ),
        ),
        fact("Engine", format!("{} on {}", engine.engine, engine.device)),
    ]);
    facts.extend(training.into_iter().flatten());
    facts.extend(
        report
            .audits
            .iter()
            .map(|audit| fact(&format!("Audit {}, SHA-256", audit.id), audit.sha256.clone())),
    );
    let mut methods: Vec<&str> =
        report.analysis.effects.iter().map(|effect| effect.probability.method.as_str()).collect();
    methods.sort_unstable();
    methods.dedup();
    facts.extend(methods.into_iter().map(|method| fact("Interval", method)));
    facts
}

fn recipe(report: &Report) -> [Fact; 6] {
    let (recipe, cost) = (&report.plan.recipe, &report.plan.cost);
    let seeds: Vec<String> = report.plan.seeds.iter().map(u64::to_string).collect();
    let schedule = match recipe.schedule {
        Schedule::Linear => "linear",
        Schedule::Cosine => "cosine",
    };
    let snapshots: Vec<String> = recipe.snapshots.iter().map(|step| number::count(*step)).collect();
    let optimiser = format!(
        "learning rate {}, {schedule}, {} warm-up steps, gradient norm {}, weight decay {}",
        number::plain(recipe.learning_rate, 8),
        recipe.warmup_steps,
        number::plain(recipe.clip_norm, 3),
        number::plain(recipe.weight_decay, 4)
    );
    let (steps, tokens) = (number::count(recipe.steps), number::count(recipe.max_tokens));
    [
        fact("Seeds", seeds.join(", ")),
        fact("LoRA", format!("rank {}, alpha {}", recipe.rank, number::plain(recipe.alpha, 3))),
        fact("Optimiser", optimiser),
        fact(
            "Training",
            format!("{steps} steps of {} rows, at most {tokens} tokens a row", recipe.batch),
        ),
        fact("Checkpoints, steps", snapshots.join(", ")),
        fact(
            "Tokens",
            format!(
                "{} trained on, {} scored",
                number::count(cost.training_tokens),
                number::count(cost.scoring_tokens)
            ),
        ),
    ]
}

/// Empty if an adapter was given, whose hash is in `provenance`.
pub fn adapters(report: &Report) -> Vec<AdapterRow> {
    let rows_of = |arm: &Arm, seed: u64| {
        report.trainings.iter().find(|training| training.arm == *arm && training.seed == seed)
    };
    let row = |health: &Health| AdapterRow {
        arm: words::arm_name(&health.arm),
        seed: health.seed,
        step: number::count(health.step),
        adapter: health.adapter_sha256.clone(),
        rows: rows_of(&health.arm, health.seed)
            .map_or("–".to_owned(), |training| training.rows_sha256.clone()),
    };
    let trained = |health: &&Health| report.plan.design().is_trained(&health.arm);
    report.answers.health.iter().filter(trained).map(row).collect()
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn nats(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.2}").replace('-', "−"))
}
