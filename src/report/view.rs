//! The content of the page, as strings and drawings in page order. Numbers are formatted here, not
//! in the template.

/// Declares a struct that converts to a template value, with its fields by name.
macro_rules! record {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident {
            $($(#[$field_attribute:meta])* $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone)]
        $visibility struct $name { $($(#[$field_attribute])* $field: $type,)* }

        impl From<$name> for minijinja::Value {
            fn from(record: $name) -> Self {
                minijinja::context! { $($field => record.$field),* }
            }
        }
    };
}

mod audit;
mod tables;
mod triggers;

pub use triggers::{confusions, drawn_curves};

use minijinja::value::Value;

use super::design_words::DesignWords;
use super::scene::Scene;
use super::svg::svg;
use super::{Report, chart, number, words};
use crate::exit_code::ExitCode;
use crate::plan::Design;

/// Maximum characters shown of a prompt or answer.
const TEXT_SHOWN: usize = 600;

record! {
    pub struct HtmlPage {
        version: String,
        verdict: Badge,
        sentence: String,
        advice: String,
        /// What the verdict does not cover.
        not_tested: Vec<String>,
        exit_code: u8,
        /// Whether the answers came from the test double, without a trained model.
        scripted: bool,
        /// Whether an adapter was given, so that nothing was trained.
        given: bool,
        /// Whether log-odds decide an audit too.
        log_odds: bool,
        /// The definition of the effect, in one sentence.
        effect: &'static str,
        facts: Vec<Fact>,
        glance: Vec<audit::Glance>,
        audits: Vec<audit::Section>,
        triggers: triggers::Triggers,
        arms: Vec<Fact>,
        losses: Option<Figure>,
        training: Vec<tables::TrainingRow>,
        rows: Option<tables::Rows>,
        detected: Option<tables::DetectedTable>,
        hypotheses: Vec<tables::Hypothesis>,
        family_size: usize,
        controls: Vec<tables::Control>,
        doses: Vec<tables::KnownDose>,
        calibrated_base: String,
        methods: Vec<Fact>,
        provenance: Vec<Fact>,
        adapters: Vec<tables::AdapterRow>,
        limits: Vec<String>,
    }
}

record! {
    /// A verdict as a word, and as a CSS class for colour and sign.
    pub struct Badge {
        word: &'static str,
        class: String,
    }
}

record! {
    /// A name and its value.
    pub struct Fact {
        name: String,
        value: String,
    }
}

record! {
    /// A drawing with its heading.
    pub struct Figure {
        title: String,
        description: String,
        drawing: Value,
    }
}

/// The page of a report.
pub fn page(report: &Report) -> HtmlPage {
    let plan = report.plan;
    let (axes, own) = (report.axes(), DesignWords::of(plan));
    HtmlPage {
        version: plan.foretaste_version.clone(),
        verdict: badge(report.verdict),
        sentence: words::verdict_sentence(report),
        advice: words::advice(report),
        not_tested: words::not_tested(plan),
        exit_code: ExitCode::from(report.verdict) as u8,
        scripted: plan.engine.engine == "scripted",
        given: !plan.design().trains(),
        log_odds: plan.audits.iter().any(|audit| audit.log_odds_margin.is_some()),
        effect: own.effect_meaning,
        facts: facts(report),
        glance: report
            .findings
            .iter()
            .filter(|finding| finding.trigger.is_none())
            .map(|finding| audit::glance(report, finding))
            .collect(),
        audits: axes.iter().map(|axis| audit::section(report, axis)).collect(),
        triggers: triggers::triggers(report),
        arms: match plan.stops() {
            true => Vec::new(),
            false => words::arm_meanings(plan)
                .into_iter()
                .map(|(name, meaning)| fact(&name, meaning))
                .collect(),
        },
        losses: (!report.trainings.is_empty()).then(|| figure(&chart::losses(report))),
        training: tables::training(report),
        rows: plan.has_dataset().then(|| tables::rows(report)),
        detected: tables::detected(report),
        hypotheses: tables::hypotheses(report),
        family_size: report.analysis.family_size,
        controls: tables::controls(report),
        doses: tables::doses(report),
        calibrated_base: words::calibrated_base(report.plan),
        methods: (own.methods)(report).iter().map(|text| split(text)).collect(),
        provenance: tables::provenance(report),
        adapters: tables::adapters(report),
        limits: (own.limits)(report),
    }
}

fn facts(report: &Report) -> Vec<Fact> {
    let plan = report.plan;
    let dataset = &plan.dataset;
    let base =
        fact("Base", format!("{}, {}", plan.engine.base, number::short(plan.engine.parameters)));
    let (used, read) = (number::count(dataset.rows_used), number::count(dataset.rows_read));
    let used = format!("{used} of {read}{}", words::trained_on(dataset));
    let rows = [fact("Dataset", dataset.source.clone()), fact("Rows used", used)];
    let rows = rows.into_iter().filter(|_| plan.has_dataset());
    match plan.design() {
        Design::GivenAdapter(adapter) => [
            fact(words::given(adapter), adapter.source.clone()),
            fact("LoRA", words::lora(adapter)),
            base,
        ]
        .into_iter()
        .chain(rows)
        .collect(),
        Design::Dataset => {
            let (shadows, seeds) = (plan.shadows().count(), plan.seeds.len());
            let looks = words::looks(plan);
            let trained = format!("{}, {seeds} seeds{looks}", number::count(shadows));
            let trained = if plan.stops() { "none were trained".to_owned() } else { trained };
            rows.chain([base, fact("Shadows", trained)]).collect()
        }
    }
}

fn badge(verdict: crate::verdict::Verdict) -> Badge {
    let word = words::verdict(verdict);
    Badge { word, class: word.to_lowercase() }
}

fn fact(name: &str, value: impl Into<String>) -> Fact {
    Fact { name: name.to_owned(), value: value.into() }
}

/// Splits a paragraph into its first sentence, as a heading, and the rest.
fn split(text: &str) -> Fact {
    let (name, value) = text.split_once(". ").unwrap_or(("", text));
    fact(name, value)
}

fn figure(scene: &Scene) -> Figure {
    Figure {
        title: scene.title.clone(),
        description: scene.description.clone(),
        drawing: Value::from_safe_string(svg(scene)),
    }
}

/// A text truncated to [`TEXT_SHOWN`] characters.
fn shown(text: &str) -> String {
    match text.char_indices().nth(TEXT_SHOWN) {
        Some((end, _)) => format!("{}… (cut)", &text[..end]),
        None => text.to_owned(),
    }
}
