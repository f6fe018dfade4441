//! The summary in the terminal.

use super::{Axis, Report, arm_order, escape, number, phrases, reasons, words};
use crate::analysis::ArmRisk;
use crate::plan::{Arm, Design};
use crate::verdict::{Finding, Verdict};

const GREEN: &str = "32;1";
const RED: &str = "31;1";
const YELLOW: &str = "33;1";
const DIM: &str = "2";
/// Columns of an arm's name.
const ARM: usize = 18;

/// A summary of at most `width` columns (40 or more), with ANSI colours if `colour`.
///
/// All text from the dataset, audits and models goes through [`escape::terminal`] before it is
/// measured or coloured.
pub fn text(report: &Report, width: usize, colour: bool) -> String {
    let page = TerminalPage { width: width.max(40), colour };
    let mut lines = Vec::new();
    page.title(report, &mut lines);
    page.facts(report, &mut lines);
    for axis in report.axes() {
        page.axis(report, &axis, &mut lines);
    }
    for finding in report.findings.iter().filter(|finding| finding.trigger.is_some()) {
        page.trigger(report, finding, &mut lines);
    }
    lines.push(String::new());
    lines.join("\n")
}

struct TerminalPage {
    width: usize,
    colour: bool,
}

impl TerminalPage {
    fn title(&self, report: &Report, lines: &mut Vec<String>) {
        let name = format!("foretaste {}", escape::terminal(&report.plan.foretaste_version));
        let name = escape::cut(&name, self.width - 16);
        let verdict = words::verdict(report.verdict).to_uppercase();
        let gap = " ".repeat(self.width - escape::columns(&name) - verdict.len());
        lines.push(format!("{name}{gap}{}", self.paint(code(report.verdict), &verdict)));
        lines.push(self.paint(DIM, &"─".repeat(self.width)));
        lines.extend(self.wrapped("", &words::verdict_sentence(report)));
        lines.extend(self.wrapped("", &words::advice(report)));
        for line in words::not_tested(report.plan) {
            lines.extend(self.wrapped("", &line));
        }
    }

    fn facts(&self, report: &Report, lines: &mut Vec<String>) {
        let plan = report.plan;
        let dataset = &plan.dataset;
        lines.push(String::new());
        let shadows = match plan.design() {
            Design::GivenAdapter(adapter) => {
                let name = format!("{:10}", words::given(adapter).to_lowercase());
                lines.extend(self.wrapped(&name, &adapter.source));
                lines.extend(self.wrapped("LoRA      ", &words::lora(adapter)));
                None
            }
            Design::Dataset if plan.stops() => Some("none; nothing was trained".to_owned()),
            Design::Dataset => {
                let arms = words::arm_list(plan.trained_arms());
                Some(format!("{} seeds × {arms}{}", plan.seeds.len(), words::looks(plan)))
            }
        };
        if plan.has_dataset() {
            lines.extend(self.wrapped("dataset   ", &dataset.source));
            lines.extend(self.wrapped("rows      ", &words::rows(dataset)));
        }
        let engine = &plan.engine;
        let base = format!(
            "{}, {} parameters, {} on {}",
            engine.base,
            number::short(engine.parameters),
            engine.engine,
            engine.device
        );
        lines.extend(self.wrapped("base      ", &base));
        lines.extend(shadows.iter().flat_map(|shadows| self.wrapped("shadows   ", shadows)));
    }

    fn trigger(&self, report: &Report, finding: &Finding, lines: &mut Vec<String>) {
        lines.push(String::new());
        let verdict = words::verdict(finding.verdict).to_lowercase();
        lines.extend(self.wrapped("trigger: ", &phrases::name(finding)));
        // Right-aligned; on a line of its own if the name is too long.
        if lines.last().is_none_or(|last| escape::columns(last) + 2 + verdict.len() > self.width) {
            lines.push(String::new());
        }
        if let Some(last) = lines.last_mut() {
            let gap = self.width - escape::columns(last) - verdict.len();
            *last += &format!("{}{}", " ".repeat(gap), self.paint(code(finding.verdict), &verdict));
        }
        for reason in reasons::sentences(report, finding) {
            lines.extend(self.wrapped("  - ", &reason));
        }
    }

    fn axis(&self, report: &Report, axis: &Axis, lines: &mut Vec<String>) {
        let finding = axis.finding;
        lines.push(String::new());
        let verdict = words::verdict(finding.verdict).to_lowercase();
        let title = escape::cut(
            &escape::terminal(&format!("{}: {}", finding.audit, axis.audit.title)),
            self.width - verdict.len() - 2,
        );
        let gap = " ".repeat(self.width - escape::columns(&title) - verdict.len());
        lines.push(format!("{title}{gap}{}", self.paint(code(finding.verdict), &verdict)));
        lines.extend(self.wrapped("  ", &axis.audit.question));
        if let Some(estimate) = &finding.estimate {
            lines.extend(self.wrapped(
                "  effect  ",
                &format!("{}; margin {}", words::effect(estimate), number::margin(finding.margin)),
            ));
            lines.extend(self.wrapped("  shows   ", &words::asks(&finding.shown_by)));
        }
        if let (Some(context), Some(step)) = (finding.context, finding.step) {
            let risks = report.risks(&finding.audit, context, step);
            let heading = format!(
                "{}, {}",
                words::risk_name(axis),
                words::context_and_step(report.plan, context, step)
            );
            lines.extend(self.wrapped("  ", &heading));
            lines.extend(self.forest(&risks));
        }
        for reason in reasons::sentences(report, finding) {
            lines.extend(self.wrapped("  - ", &reason));
        }
    }

    /// One line per arm: the mean and the seeds as dots on the interval.
    fn forest(&self, risks: &[&ArmRisk]) -> Vec<String> {
        let finite = |value: f64| if value.is_finite() { value.clamp(0.0, 1.0) } else { 0.0 };
        let ends = risks.iter().flat_map(|risk| {
            risk.seeds.iter().map(|(_, of)| *of).chain([risk.risk.point, risk.risk.upper])
        });
        let highest = ends.map(finite).fold(0.05, f64::max);
        let cells = self.width.saturating_sub(4 + ARM + 10);
        let place = |value: f64| ((finite(value) / highest) * (cells - 1) as f64).round() as usize;
        let mut risks = risks.to_vec();
        risks.sort_by_key(|risk| arm_order(&risk.arm));
        let line = |risk: &&ArmRisk| {
            let mut bar = vec![' '; cells];
            if !risk.risk.lower.is_nan() && !risk.risk.upper.is_nan() && risk.arm != Arm::Base {
                bar[place(risk.risk.lower)..=place(risk.risk.upper)].fill('─');
            }
            if risk.arm != Arm::Base {
                risk.seeds.iter().for_each(|(_, of_seed)| bar[place(*of_seed)] = '·');
            }
            bar[place(risk.risk.point)] = '●';
            let bar: String = bar.into_iter().collect();
            format!(
                "    {:<ARM$}{}{:>9}",
                words::arm(&risk.arm),
                self.paint(arm_code(&risk.arm), &bar),
                number::percent(risk.risk.point)
            )
        };
        risks.iter().map(line).collect()
    }

    /// Wraps `text` to the page's width with a hanging indent, the first line after `opening`.
    fn wrapped(&self, opening: &str, text: &str) -> Vec<String> {
        let indent = " ".repeat(escape::columns(opening));
        let available = self.width - indent.len();
        let mut lines = Vec::new();
        let mut line = String::new();
        let mut words: Vec<String> = Vec::new();
        for word in escape::terminal(text).split(' ').filter(|word| !word.is_empty()) {
            match words.last_mut() {
                // Keep a percent sign on the line of its number.
                Some(number) if word.starts_with('%') => *number += &format!(" {word}"),
                _ => words.push(word.to_owned()),
            }
        }
        for word in words {
            for piece in pieces(&word, available) {
                let gap = usize::from(!line.is_empty());
                if escape::columns(&line) + gap + escape::columns(&piece) > available {
                    lines.push(std::mem::take(&mut line));
                } else if gap == 1 {
                    line.push(' ');
                }
                line.push_str(&piece);
            }
        }
        lines.push(line);
        let start = |index: usize| if index == 0 { opening } else { &indent };
        lines.iter().enumerate().map(|(index, line)| format!("{}{line}", start(index))).collect()
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Splits a word into pieces of at most `limit` columns.
fn pieces(word: &str, limit: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut used = 0;
    for char in word.chars() {
        let columns = escape::columns(char.encode_utf8(&mut [0; 4]));
        if used + columns > limit {
            pieces.push(String::new());
            used = 0;
        }
        used += columns;
        pieces.last_mut().expect("one piece is always there").push(char);
    }
    pieces
}

fn code(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Clean => GREEN,
        Verdict::Flagged => RED,
        Verdict::Inconclusive => YELLOW,
    }
}

fn arm_code(arm: &Arm) -> &'static str {
    match arm {
        Arm::Base => "0",
        Arm::Control => "34",
        Arm::Candidate => "33",
        Arm::PositiveControl(_) => "35",
    }
}
