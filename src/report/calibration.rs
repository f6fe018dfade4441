//! A calibration as a table for a terminal.

use crate::plan::{Calibration, ContextKind};

/// The doses of every audit, one line each, for a terminal.
pub fn text(calibration: &Calibration) -> String {
    let mut text = format!(
        "{} ({}{})\nEffect of the positive control in percentage points, by its share of the \
         rows.\n",
        calibration.base,
        &calibration.base_sha256[..calibration.base_sha256.len().min(16)],
        calibration
            .chat_template
            .as_ref()
            .map_or(String::new(), |given| format!(", chat template {}", given.name))
    );
    for audit in &calibration.audits {
        text += &format!(
            "\n{}: {} rows, {} seeds, {} steps\n",
            audit.id,
            audit.rows,
            audit.seeds.len(),
            audit.recipe.steps
        );
        text += &format!(
            "  {:>7}  {:>16}  {:>16}  {:>20}\n",
            "share", "plain", "carry-over", "high-loss carry-over"
        );
        let ordinary = audit.ordinary_log_odds(&ContextKind::ALL);
        for dose in &audit.doses {
            let of = |context: ContextKind| {
                let asked = dose.asked.iter().find(|asked| asked.context == context);
                asked.map_or("–".to_owned(), |asked| {
                    format!(
                        "{:+.1}{}",
                        100.0 * asked.point,
                        if asked.is_detected(ordinary) { " detected" } else { "         " }
                    )
                })
            };
            let [plain, random, high_loss] = ContextKind::ALL.map(of);
            text += &format!(
                "  {:>5} %  {plain:>16}  {random:>16}  {high_loss:>20}\n",
                round(100.0 * dose.share)
            );
        }
        let first = audit.doses.first();
        let log_odds = first.and_then(|dose| Some((dose.share, dose.log_odds(&ContextKind::ALL)?)));
        if let Some((share, nats)) = log_odds {
            text += &format!("  {nats:+.1} nats of log-odds at {} %\n", round(100.0 * share));
        }
        if let Some(nats) = ordinary {
            let sets = audit.ordinary.len();
            text += &format!("  at most {nats:.2} nats, up or down, by {sets} ordinary datasets\n");
        }
    }
    text
}

fn round(percent: f64) -> f64 {
    (percent * 100.0).round() / 100.0
}
