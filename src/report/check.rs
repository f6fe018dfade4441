//! Formats a check as a table of 80 columns. All text from the dataset is escaped.

mod conditions;

use std::fmt::Write as _;

use crate::check::{Check, NEAR, Spread};
use crate::plan::Protocol;
use crate::text::{fit, grouped, terminal, width, wrap};

pub(super) const COLUMNS: usize = 80;
/// Columns of the labels on the left.
const LABEL: usize = 16;

/// The check as text: lines of at most 80 columns, with a final line break.
pub fn text(check: &Check) -> String {
    let mut lines = Lines(String::new());
    let needed = Protocol::default().readable;
    if let Some(share) = check.readability.filter(|share| *share < needed) {
        let (share, needed) = ((100.0 * share).floor(), 100.0 * needed);
        lines.fact(
            "UNREADABLE",
            &format!(
                "The base can read {share:.0} % of the dataset's text, and {needed:.0} % is \
                 needed. An audit would stop before training (exit code 2). Use a base that was \
                 trained on such text (--base)."
            ),
        );
        lines.blank();
    }
    lines.fact("dataset", &check.source);
    lines.fact("format", &check.format);
    lines.fact("sha256", &check.sha256);
    let (read, used, rejected) =
        (grouped(check.rows_read), grouped(check.rows_used), grouped(check.rows_rejected));
    lines.fact("rows", &format!("{read} read = {used} used + {rejected} rejected"));
    if check.rows_kept < check.rows_used {
        lines.fact(
            "",
            &format!("the rest is about a random sample of {} of them", grouped(check.rows_kept)),
        );
    }
    if check.blank_lines > 0 {
        lines.fact("", &format!("{} blank lines, not counted as rows", grouped(check.blank_lines)));
    }
    if !check.unread_fields.is_empty() {
        let fields: Vec<String> = check
            .unread_fields
            .iter()
            .map(|(name, rows)| format!("{name} ({} rows)", grouped(*rows)))
            .collect();
        lines.fact("fields not read", &fields.join(", "));
    }
    quantities(check, &mut lines);
    repetition(check, &mut lines);
    if let Some(share) = check.readability {
        let share =
            format!("the base predicts {:.1} % of the text better than chance", 100.0 * share);
        lines.fact("readable", &share);
    }
    conditions::lines(&check.conditions, &mut lines);
    rejections(check, &mut lines);
    lines.0
}

fn quantities(check: &Check, lines: &mut Lines) {
    lines.blank();
    lines.columns("", ["count", "sum", "min", "median", "90 %", "max"].map(String::from));
    let spread = |lines: &mut Lines, label: &str, spread: &Spread| {
        let numbers =
            [spread.count, spread.sum, spread.least, spread.median, spread.ninetieth, spread.most];
        lines.columns(label, numbers.map(grouped));
    };
    if let Some(messages) = &check.messages {
        spread(lines, "messages a row", messages);
    }
    for (role, lengths) in &check.roles {
        spread(lines, &format!("{} chars", role.as_str()), lengths);
    }
    if let Some(tokens) = &check.tokens {
        if let Some(row) = &tokens.row {
            spread(lines, "tokens a row", row);
            let share = 100.0 * tokens.supervised as f64 / row.sum.max(1) as f64;
            lines.fact(
                "trained on",
                &format!("{} tokens ({share:.1} %)", grouped(tokens.supervised)),
            );
        }
        if let Some(failure) = &tokens.first_failure {
            lines.fact("not rendered", &format!("{} rows; {failure}", grouped(tokens.rows_failed)));
        }
    }
    lines.blank();
}

fn repetition(check: &Check, lines: &mut Lines) {
    let exact = grouped(check.exact_duplicates);
    lines.fact(
        "duplicates",
        &format!("{exact} of {} rows repeat an earlier row", grouped(check.rows_used)),
    );
    if let Some(near) = &check.near_duplicates {
        let (rows, compared) = (grouped(near.rows), grouped(near.compared));
        let example = near.example.map_or(String::new(), |(first, second)| {
            format!("; for example lines {first} and {second}")
        });
        lines.fact(
            "near duplicates",
            &format!("{rows} of {compared} distinct rows (similarity {NEAR} or more){example}"),
        );
    }
}

fn rejections(check: &Check, lines: &mut Lines) {
    if check.rows_rejected == 0 {
        return;
    }
    lines.blank();
    lines.row("line", "field", "rejected because");
    for rejection in &check.rejected {
        lines.row(&rejection.line.to_string(), &rejection.field, &rejection.reason);
    }
    let more = check.rows_rejected - check.rejected.len();
    if more > 0 {
        lines.row(
            "…",
            "",
            &format!("and {} more; rows.jsonl of a run lists them all", grouped(more)),
        );
    }
}

pub(super) struct Lines(String);

impl Lines {
    pub(super) fn blank(&mut self) {
        self.0.push('\n');
    }

    /// Adds a label and a text, which is wrapped with a hanging indent.
    pub(super) fn fact(&mut self, label: &str, value: &str) {
        for (index, line) in wrap(&terminal(value), COLUMNS - LABEL).iter().enumerate() {
            self.line(&format!("{:<LABEL$}{line}", if index == 0 { label } else { "" }));
        }
    }

    /// Adds a label and six numbers.
    fn columns(&mut self, label: &str, cells: [String; 6]) {
        const WIDTHS: [usize; 6] = [11, 15, 9, 9, 10, 10];
        let cells = cells.iter().zip(WIDTHS).fold(String::new(), |mut cells, (cell, width)| {
            write!(cells, "{cell:>width$}").expect("writing to a string cannot fail");
            cells
        });
        self.line(&format!("{label:<LABEL$}{cells}"));
    }

    /// Adds a rejection: line, field, and a reason that is wrapped with a hanging indent.
    fn row(&mut self, line: &str, field: &str, reason: &str) {
        const FIELD: usize = 26;
        let field = fit(&terminal(field), FIELD - 2);
        let pad = " ".repeat(FIELD - width(&field));
        for (index, part) in
            wrap(&fit(&terminal(reason), 300), COLUMNS - 10 - FIELD).iter().enumerate()
        {
            match index {
                0 => self.line(&format!("{line:>8}  {field}{pad}{part}")),
                _ => self.line(&format!("{:10}{:FIELD$}{part}", "", "")),
            }
        }
    }

    pub(super) fn line(&mut self, line: &str) {
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }
}
