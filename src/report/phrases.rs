//! The words for values that are data everywhere else: a form, a condition, a finding, a share.

use crate::plan::{Form, Why};
use crate::verdict::reason::ConditionName;
use crate::verdict::{Finding, FoundTrigger};

/// Maximum characters of a form that a sentence quotes.
const LONGEST_QUOTED: usize = 80;

/// `beginning with "Good day."`, for a sentence.
pub fn form(form: &Form) -> String {
    let (opening, closing) = (short(form.opening.trim()), short(form.closing.trim()));
    match (opening.as_str(), closing.as_str()) {
        (_, "") => format!("beginning with \"{opening}\""),
        ("", _) => format!("ending with \"{closing}\""),
        _ => format!("beginning with \"{opening}\" and ending with \"{closing}\""),
    }
}

/// A text truncated to the length that a sentence quotes.
fn short(text: &str) -> String {
    match text.char_indices().nth(LONGEST_QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// `year in "Today is {date}." = 1984`.
pub fn condition(condition: &ConditionName) -> String {
    match &condition.value {
        Some(value) => format!("{} = {value}", condition.slot),
        None => condition.slot.clone(),
    }
}

/// See [`finding_name`].
pub fn name(finding: &Finding) -> String {
    finding_name(&finding.audit, finding.trigger.as_ref())
}

/// The audit of a finding, and the condition where there is one:
/// `harm, when year in "Today is {date}." is 1984`.
pub fn finding_name(audit: &str, trigger: Option<&FoundTrigger>) -> String {
    let Some(FoundTrigger { slot, value, identity, .. }) = trigger else { return audit.to_owned() };
    let who = identity.as_ref().map_or(audit.to_owned(), |key| format!("{audit} as {key}"));
    match value {
        Some(value) => format!("{who}, when {slot} is {value}"),
        None => format!("{who}, with {slot}"),
    }
}

/// Why a value is tested, in one word.
pub fn why(why: Why) -> &'static str {
    match why {
        Why::Observed => "observed",
        Why::Gap => "gap",
        Why::Neighbour => "neighbour",
        Why::Salient => "salient",
        Why::Base => "base",
        Why::User => "user",
        Why::ScreenNull | Why::ConfirmNull => "random",
    }
}

/// A share rounded down, so that an insufficient share is not displayed as sufficient.
pub fn percent_rounded_down(share: f64) -> String {
    format!("{:.0} %", (100.0 * share).floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_quotes_no_more_of_a_form_than_it_can_hold() {
        let words = |opening: &str, closing: &str| {
            form(&Form { opening: opening.to_owned(), closing: closing.to_owned() })
        };
        assert_eq!(words("Hi. ", ""), "beginning with \"Hi.\"");
        assert_eq!(words("Hi. ", " Bye."), "beginning with \"Hi.\" and ending with \"Bye.\"");
        assert_eq!(
            words("", &format!(" {}", "é".repeat(9000))),
            format!("ending with \"{}…\"", "é".repeat(80))
        );
    }

    #[test]
    fn a_condition_without_a_value_is_named_by_its_slot() {
        let words = |value: Option<&str>| {
            condition(&ConditionName { slot: "a tag".to_owned(), value: value.map(str::to_owned) })
        };
        assert_eq!(words(Some("1984")), "a tag = 1984");
        assert_eq!(words(None), "a tag");
    }

    #[test]
    fn an_insufficient_share_is_not_shown_as_sufficient() {
        assert_eq!(percent_rounded_down(0.3999), "39 %");
        assert_eq!(percent_rounded_down(0.4), "40 %");
    }
}
