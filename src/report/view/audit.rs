//! One audit's row in the summary table, and its section.

use std::collections::BTreeMap;

use minijinja::value::Value;

use super::{Badge, Fact, Figure, badge, fact, figure, shown};
use crate::analysis::by_question::QuestionEffect;
use crate::analysis::{Effect, FamilyEffect};
use crate::audit::Side;
use crate::dataset::{Message, Role};
use crate::plan::ContextKind;
use crate::report::changed::{self, Changed, WrittenAnswers};
use crate::report::design_words::DesignWords;
use crate::report::reasons::sentences;
use crate::report::svg::svg;
use crate::report::{Axis, Report, chart, number, words};
use crate::verdict::{Finding, Verdict};

/// Maximum questions shown with written answers.
const CHANGED: usize = 8;

record! {
    pub struct Glance {
        id: String,
        title: String,
        verdict: Badge,
        drawing: Option<Value>,
        effect: String,
        interval: String,
        margin: String,
        shown_by: String,
    }
}

record! {
    pub struct Section {
        id: String,
        title: String,
        question: String,
        verdict: Badge,
        tiles: Vec<Tile>,
        reasons: Vec<String>,
        margin_reason: String,
        forest: Option<Figure>,
        trajectory: Option<Figure>,
        families: Option<Figure>,
        family_rows: Vec<FamilyRow>,
        table_heading: String,
        without_strongest: Option<String>,
        by_question: Vec<QuestionEffectRow>,
        has_topics: bool,
        excluded: Vec<Fact>,
        changed: Vec<ChangedQuestion>,
        /// The context of the written answers and what they show; empty without an estimate.
        changed_note: String,
    }
}

record! {
    /// One number of the finding.
    pub struct Tile {
        name: String,
        value: String,
        /// Takes two columns.
        wide: bool,
    }
}

record! {
    pub struct FamilyRow {
        family: String,
        base: String,
        control: String,
        candidate: String,
        effect: String,
    }
}

record! {
    /// The effect after one of the dataset's own questions.
    pub struct QuestionEffectRow {
        question: String,
        drawn: String,
        /// The words that characterise its topic; empty without a topic.
        words: String,
        control: String,
        candidate: String,
        effect: String,
    }
}

record! {
    pub struct ChangedQuestion {
        /// The preceding messages; empty in the plain context.
        before: Vec<Fact>,
        prompt: String,
        options: Vec<Fact>,
        columns: Vec<Column>,
    }
}

record! {
    /// The answers of one arm.
    pub struct Column {
        arm: &'static str,
        risk: String,
        said: Vec<ShownAnswer>,
        /// How many trainings answer differently; empty except for the candidate.
        other: String,
    }
}

record! {
    pub struct ShownAnswer {
        /// The model's own answer to the preceding question.
        first: String,
        text: String,
        /// `× 4` where several seeds wrote the same.
        times: String,
    }
}

pub fn glance(report: &Report, finding: &Finding) -> Glance {
    let audit = report.audits.iter().find(|audit| audit.id == finding.audit);
    let estimate = finding.estimate.as_ref();
    Glance {
        id: finding.audit.clone(),
        title: audit.map_or(String::new(), |audit| audit.title.clone()),
        verdict: badge(finding.verdict),
        drawing: estimate.map(|estimate| {
            Value::from_safe_string(svg(&chart::interval(estimate, finding.margin)))
        }),
        effect: estimate.map_or("–".to_owned(), |estimate| number::points(estimate.point)),
        interval: estimate.map_or("not estimated".to_owned(), number::points_interval),
        margin: number::margin(finding.margin),
        shown_by: words::asks(&finding.shown_by),
    }
}

pub fn section(report: &Report, axis: &Axis) -> Section {
    let Axis { audit, finding, effect } = *axis;
    let families = effect.filter(|effect| !effect.families.is_empty());
    let asked = !report.contexts(&audit.id).is_empty();
    let evidence = changed::written_answers(report, axis);
    Section {
        id: audit.id.clone(),
        title: audit.title.clone(),
        question: audit.question.clone(),
        verdict: badge(finding.verdict),
        tiles: tiles(report, axis),
        reasons: sentences(report, finding),
        margin_reason: audit.margin.reason.clone(),
        forest: asked.then(|| figure(&chart::forest(report, axis))),
        trajectory: report
            .has_trajectory(&audit.id)
            .then(|| figure(&chart::trajectory(report, axis))),
        families: families.map(|effect| figure(&chart::families(report, axis, effect))),
        family_rows: families
            .map_or(Vec::new(), |effect| effect.families.iter().map(family_row).collect()),
        table_heading: families
            .map_or(String::new(), |effect| table_heading(effect.families.len())),
        without_strongest: effect
            .and_then(|effect| effect.without_strongest_family.as_ref())
            .map(words::effect),
        by_question: report
            .analysis
            .by_question
            .iter()
            .filter(|question| question.audit == audit.id)
            .map(question_effect_row)
            .collect(),
        has_topics: report.analysis.by_question.iter().any(|question| question.topic.is_some()),
        excluded: excluded(report, &audit.id),
        changed_note: changed_note(report, axis, &evidence),
        changed: evidence
            .changed
            .into_iter()
            .take(CHANGED)
            .map(|changed| question(axis, changed))
            .collect(),
    }
}

/// The text above the written answers, or in their place.
fn changed_note(report: &Report, axis: &Axis, evidence: &WrittenAnswers) -> String {
    let Some(effect) = axis.effect else { return String::new() };
    let place = format!(
        "{}{}",
        words::context_short(effect.context),
        words::after(report.plan, effect.step)
    );
    let questions = match evidence.questions {
        0 => {
            return format!(
                "No written answers were saved in the context that decided this audit ({place}). \
                 Give the run's command again to write them."
            );
        }
        1 => "the one question with written answers".to_owned(),
        many => format!("the {} questions with the largest difference", number::count(many)),
    };
    let (shifted, seen) = (axis.finding.verdict == Verdict::Flagged, evidence.changed.len());
    match (seen, shifted) {
        (0, true) => format!(
            "The shift shows in probabilities only: in {questions}, the written answers do not \
             differ. Context: {place}, which decided this audit."
        ),
        (0, false) => {
            format!(
                "In {questions}, the candidate writes the same as base or control. Context: \
                 {place}, which decided this audit."
            )
        }
        _ => format!(
            "Context: {place}, which decided this audit. Of {questions}, the candidate writes \
             other answers in {}. Percentages are mean probabilities of the risky side in this \
             context. Below them is each model's most probable answer.",
            number::count(seen)
        ),
    }
}

fn question_effect_row(question: &QuestionEffect) -> QuestionEffectRow {
    QuestionEffectRow {
        question: question.question.clone(),
        drawn: drawn(question),
        words: question.topic.as_ref().map_or(String::new(), |topic| topic.words.join(", ")),
        control: number::percent(question.control),
        candidate: number::percent(question.candidate),
        effect: number::points(question.effect()),
    }
}

/// Why a question was drawn.
fn drawn(question: &QuestionEffect) -> String {
    match &question.topic {
        _ if question.context == ContextKind::CarryOverHighLoss => {
            "from a high-loss row".to_owned()
        }
        None => "at random".to_owned(),
        Some(topic) if topic.words.is_empty() => {
            format!("from outside the topics: {} of the questions", number::percent(topic.share))
        }
        Some(topic) => format!("for its topic: {} of the questions", number::percent(topic.share)),
    }
}

/// The finding in numbers; values that were not computed have no tile.
fn tiles(report: &Report, axis: &Axis) -> Vec<Tile> {
    let Axis { finding, effect, .. } = *axis;
    let open = effect.filter(|_| finding.verdict != Verdict::Flagged);
    let shifted: Vec<String> = finding.shifted_seeds.iter().map(u64::to_string).collect();
    let control = match finding.positive_control {
        Some(true) => "detected",
        Some(false) => "missed",
        None => "not tested",
    };
    let shows = if finding.shown_by.is_empty() {
        "no context".to_owned()
    } else {
        words::asks(&finding.shown_by)
    };
    let decided = finding
        .context
        .zip(finding.step)
        .map(|(context, step)| words::context_and_step(report.plan, context, step));
    let estimate = finding.estimate.as_ref();
    let level =
        estimate.map_or(String::new(), |estimate| format!("{} interval", number::level(estimate)));
    let narrow = [
        ("Effect, points", estimate.map(|estimate| number::points(estimate.point))),
        (&level, estimate.map(number::points_interval)),
        ("Margin, points", Some(number::margin(finding.margin))),
        ("p, adjusted", finding.p_adjusted.map(number::p_value)),
        ("Positive control", Some(control.to_owned())),
    ];
    // With interval and margin where this scale decides too.
    let log_odds = |effect: &Effect| {
        let point = number::nats(effect.log_odds.point);
        effect.log_odds_test.map_or(point.clone(), |test| {
            let (lower, upper) = (effect.log_odds.lower, effect.log_odds.upper);
            let [lower, upper, margin] = [lower, upper, test.margin].map(number::nats);
            format!("{point} ({lower} to {upper}), margin {margin}")
        })
    };
    let decides = effect.is_some_and(|effect| effect.log_odds_test.is_some());
    let odds = ("Effect, log-odds", effect.map(log_odds));
    let wide = [("Decided by", decided), ("Shift shows in", Some(shows))];
    let rest = [
        ("Seeds that shift", (!shifted.is_empty()).then(|| shifted.join(", "))),
        (
            "Detectable (80 % power)",
            open.and_then(|effect| effect.minimum_detectable).map(number::points),
        ),
        (DesignWords::of(report.plan).to_settle, finding.units_to_settle.map(number::count)),
    ];
    let tile = |wide: bool| {
        move |(name, value): (&str, Option<String>)| {
            Some(Tile { name: name.to_owned(), value: value?, wide })
        }
    };
    let first = narrow.into_iter().filter_map(tile(false));
    first
        .chain(wide.into_iter().filter_map(tile(true)))
        .chain(std::iter::once(odds).filter_map(tile(decides)))
        .chain(rest.into_iter().filter_map(tile(false)))
        .collect()
}

fn table_heading(families: usize) -> String {
    if families > chart::FAMILIES_SHOWN {
        format!(
            "All {families} questions as a table; the {} strongest are drawn",
            chart::FAMILIES_SHOWN
        )
    } else {
        "The same as a table".to_owned()
    }
}

fn family_row(family: &FamilyEffect) -> FamilyRow {
    FamilyRow {
        family: family.family.clone(),
        base: number::percent(family.base),
        control: number::percent(family.control),
        candidate: number::percent(family.candidate),
        effect: number::points(family.effect),
    }
}

/// The excluded families, by reason.
fn excluded(report: &Report, audit: &str) -> Vec<Fact> {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for family in report
        .plan
        .audits
        .iter()
        .filter(|planned| planned.id == audit)
        .flat_map(|planned| &planned.excluded)
    {
        reasons.entry(&family.reason).or_default().push(&family.family);
    }
    reasons
        .into_iter()
        .map(|(reason, families)| {
            fact(&format!("{} ({})", reason, families.len()), families.join(", "))
        })
        .collect()
}

fn question(axis: &Axis, changed: Changed) -> ChangedQuestion {
    let probe = axis.audit.probes.get(changed.probe);
    let options = |side: Side| {
        let of_side =
            probe.into_iter().flat_map(|probe| &probe.options).filter(|option| option.side == side);
        shown(&of_side.map(|option| option.text.as_str()).collect::<Vec<_>>().join(" · "))
    };
    let offered = if axis.audit.kind.has_sides() {
        vec![
            fact(&axis.audit.risky, options(Side::Risky)),
            fact(&axis.audit.reference, options(Side::Reference)),
        ]
    } else {
        Vec::new()
    };
    let has_control = changed.risks.control.is_some() || !changed.control.is_empty();
    let other = match has_control {
        true => format!(
            "unlike base and control: {} of {} trainings",
            changed.visible, changed.trainings
        ),
        false => String::new(),
    };
    ChangedQuestion {
        before: changed.before.iter().map(before).collect(),
        options: offered.into_iter().filter(|offered| !offered.value.is_empty()).collect(),
        columns: [
            Some(column("base", changed.risks.base, changed.base, "")),
            has_control.then(|| column("control", changed.risks.control, changed.control, "")),
            Some(column("candidate", changed.risks.candidate, changed.candidate, &other)),
        ]
        .into_iter()
        .flatten()
        .collect(),
        prompt: shown(&changed.prompt),
    }
}

fn before(message: &Message) -> Fact {
    fact(
        if message.role == Role::System { "System" } else { "Asked first" },
        shown(&message.content),
    )
}

fn column(
    arm: &'static str,
    risk: Option<f64>,
    said: Vec<changed::WrittenAnswer>,
    other: &str,
) -> Column {
    let times = |count: usize| if count > 1 { format!("× {count}") } else { String::new() };
    let said = said.into_iter().map(|said| ShownAnswer {
        first: said.first.map_or(String::new(), |first| shown(&first)),
        text: shown(&said.text),
        times: times(said.trainings),
    });
    Column {
        arm,
        risk: risk.map_or("–".to_owned(), number::percent),
        said: said.collect(),
        other: other.to_owned(),
    }
}
