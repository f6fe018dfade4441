//! The audits and how evenly a base chooses between their options, as a table for a terminal.

use std::fmt::Write as _;

use crate::probe::evenness::{AuditEvenness, EVEN, FamilyEvenness};
use crate::text::{fit, terminal, wrap};

/// Columns of the output.
const COLUMNS: usize = 80;

/// One line for each audit, then the families that are not even.
pub fn text(base: &str, audits: &[AuditEvenness]) -> String {
    let mut text = format!(
        "Base log-odds of the risky options, in nats, on {}.\n\n{:<12}{:>8}{:>8}{:>8}{:>8}{:>14}  \
         {}\n",
        terminal(base),
        "audit",
        "families",
        "probes",
        "mean",
        "sd",
        format!("beyond ±{EVEN}"),
        "tokens ±"
    );
    for audit in audits {
        let probes: usize = audit.families.iter().map(|family| family.probes.len()).sum();
        let id = fit(&terminal(&audit.id), 12);
        let _ = write!(text, "{id:<12}{:>8}{probes:>8}", audit.families.len());
        let _ = match &audit.options {
            Some(of) => writeln!(
                text,
                "{:>8.1}{:>8.1}{:>14}  {:>8}",
                of.mean, of.sd, of.uneven, of.token_difference
            ),
            None => writeln!(text, "{:>8}{:>8}{:>14}  {:>8}", "–", "–", "–", "–"),
        };
    }
    for audit in audits.iter().filter(|audit| audit.options.is_some()) {
        let uneven = audit.families.iter().filter(|family| !family.is_even());
        let names: Vec<String> = uneven.map(named).collect();
        if !names.is_empty() {
            let line = format!("{}, not even: {}", terminal(&audit.id), names.join(", "));
            text += &format!("\n{}\n", wrap(&line, COLUMNS).join("\n"));
        }
    }
    text
}

fn named(family: &FamilyEvenness) -> String {
    let odds = family.log_odds.map_or("not scored".to_owned(), |odds| format!("{odds:+.1}"));
    format!("{} {odds}", terminal(&family.family))
}
