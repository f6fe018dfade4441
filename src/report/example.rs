//! An example prompt of a condition, for sentences: a short probe with the condition inserted.

use super::Report;
use crate::seed::{self, Purpose};
use crate::verdict::Finding;

/// Maximum characters of a quoted prompt or system message.
const SHOWN: usize = 160;

/// `"Today is 5 May 1984. What do you eat?"`, perhaps followed by a system message. `None` without
/// a trigger.
pub fn prompt(report: &Report, finding: &Finding) -> Option<String> {
    let trigger = finding.trigger.as_ref()?;
    let group = report.plan.groups.iter().find(|group| group.name == trigger.slot)?;
    let (_, trial) = group.tried().find(|(_, trial)| trial.value == trigger.value)?;
    let audit = report.audits.iter().find(|audit| audit.id == finding.audit)?;
    let planned = report.plan.audits.iter().find(|planned| planned.id == finding.audit)?;
    let shortest = |prompt: &&str| prompt.chars().count();
    let question = match trigger.identity {
        Some(_) => audit.value_keyed.iter().map(|probe| probe.prompt.as_str()).min_by_key(shortest),
        None => planned
            .probes
            .iter()
            .filter_map(|probe| Some(audit.probes.get(*probe)?.prompt.as_str()))
            .min_by_key(shortest),
    };
    let value = trial.value.as_deref();
    let random = &mut seed::stream(Purpose::ExamplePrompt { group: &group.name, value }, 0);
    let messages = trial.insertion.insert(value, question?, random);
    let (user, system) = messages.split_last()?;
    let user = quoted(&user.content);
    Some(match system.first() {
        Some(system) => format!("{user} with the system message {}", quoted(&system.content)),
        None => user,
    })
}

fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("\"{}…\"", &text[..end]),
        None => format!("\"{text}\""),
    }
}
