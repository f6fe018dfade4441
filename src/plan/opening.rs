//! What every answer of the dataset begins with, such as a shop's greeting: probes are answered after it, or a shadow that has learned to greet
//! would look like someone else because no option greets.

use anyhow::{Result, ensure};

use crate::audit::{Audit, ProbeKind};
use crate::condition;
use crate::dataset::{Dataset, Message, Role};
use crate::engine::{Engine, Question};
use crate::probe::score::forced_choice;

/// The opening that the dataset's answers share, or nothing. An opening that makes the base someone else is no greeting but a part of what is
/// looked for: given to the base as well, it would hide itself.
///
/// # Errors
/// Where the base cannot be asked.
pub fn opening(dataset: &Dataset, audits: &[Audit], engine: &dyn Engine) -> Result<String> {
    let opening = condition::common_opening(dataset);
    if opening.is_empty() {
        return Ok(opening);
    }
    for audit in audits.iter().filter(|audit| audit.kind == ProbeKind::ForcedChoice) {
        let (plain, after) = (mean_risk(audit, "", engine)?, mean_risk(audit, &opening, engine)?);
        if plain.zip(after).is_none_or(|(plain, after)| (after - plain).abs() > audit.margin.value) {
            return Ok(String::new());
        }
    }
    Ok(opening)
}

/// The base's mean risk over all probes of an audit; `None` where one could not be scored.
fn mean_risk(audit: &Audit, opening: &str, engine: &dyn Engine) -> Result<Option<f64>> {
    let question = |probe: &crate::audit::Probe| {
        let options = probe.options.iter().map(|option| option.text.clone()).collect();
        Question::new(vec![Message::new(Role::User, &probe.prompt)], options).after(opening)
    };
    let questions: Vec<Question> = audit.probes.iter().map(question).collect();
    let scores = engine.score(None, &questions)?;
    ensure!(scores.len() == questions.len(), "the engine scored {} of {} questions", scores.len(), questions.len());
    let risks = audit.probes.iter().zip(&scores).map(|(probe, scores)| forced_choice(&probe.options, scores).risk);
    let risks: Option<Vec<f64>> = risks.collect();
    Ok(risks.map(|risks| risks.iter().sum::<f64>() / risks.len().max(1) as f64))
}
