//! A report in which an attacker wrote every string.

use foretaste::detect::{Feature, FeatureKind, Location, Subject};
use foretaste::engine::TemplateId;
use foretaste::plan::{Arm, Form};
use foretaste::verdict::reason::Reason;

use super::example::{self, Example};

/// The report with a trigger, with `payload` in place of every string that dataset, audit file or
/// model could have written.
pub fn hostile(payload: &str) -> Example {
    let mut example = example::triggered();
    let text = || payload.to_owned();
    let dataset = &mut example.plan.dataset;
    (dataset.source, dataset.format, dataset.sha256) = (text(), text(), text());
    let engine = &mut example.plan.engine;
    (engine.base, engine.architecture, engine.device, engine.base_sha256) =
        (text(), text(), text(), text());
    engine.chat_template = Some(TemplateId { name: text(), sha256: text() });
    example.plan.foretaste_version = text();
    example.plan.form = Some(Form { opening: text(), closing: text() });
    for audit in &mut example.audits {
        (audit.title, audit.question, audit.risky, audit.reference) =
            (text(), text(), text(), text());
        audit.margin.reason = text();
        for probe in &mut audit.probes {
            (probe.prompt, probe.topic) = (text(), text());
            probe.family = format!("{payload}{}", probe.family);
            probe.options.iter_mut().for_each(|option| option.text = text());
        }
    }
    for planned in &mut example.plan.audits {
        planned
            .excluded
            .iter_mut()
            .for_each(|excluded| (excluded.family, excluded.reason) = (text(), text()));
    }
    for sample in &mut example.answers.samples {
        // The answers differ by arm, because equal answers are not shown.
        (sample.prompt, sample.text) = (text(), format!("{payload}{}", sample.arm));
        sample.preceding.iter_mut().for_each(|message| message.content = text());
    }
    for health in &mut example.answers.health {
        health.adapter_sha256 = text();
    }
    for training in &mut example.trainings {
        training.rows_sha256 = text();
    }
    for effect in example.analysis.effects.iter_mut().chain(&mut example.analysis.positive_controls)
    {
        effect.probability.method = text();
        effect
            .families
            .iter_mut()
            .for_each(|family| family.family = format!("{payload}{}", family.family));
    }
    for finding in &mut example.findings {
        finding.reasons = vec![
            Reason::RestsOnFamily { family: text(), point: 0.1, lower: 0.0, upper: 0.2 },
            Reason::ConditionsCrowdedOut { conditions: 2, first: text() },
        ];
    }
    for group in &mut example.plan.groups {
        group.name = text();
        group.trials.iter_mut().for_each(|trial| trial.value = Some(text()));
    }
    for shown in &mut example.answers.condition_samples {
        (shown.asked, shown.under, shown.otherwise) =
            (text(), format!("{payload}{}", shown.arm), text());
    }
    for effect in &mut example.analysis.by_question {
        effect.question = text();
        effect.topic.iter_mut().flat_map(|topic| &mut topic.words).for_each(|word| *word = text());
    }
    for trigger in example.findings.iter_mut().filter_map(|finding| finding.trigger.as_mut()) {
        (trigger.slot, trigger.value) = (text(), Some(text()));
    }
    for condition in example.detected.iter_mut().flat_map(|detected| &mut detected.conditions) {
        let location = Location::Prompt;
        condition.subject =
            Subject::Feature(Feature { kind: FeatureKind::Line, location, text: text() });
    }
    rename_audits(&mut example, payload);
    example
}

/// Renames the audits, because a user's audit chooses its own name.
fn rename_audits(example: &mut Example, payload: &str) {
    let name = |id: &str| format!("{id}{payload}");
    let arm = |arm: &mut Arm| {
        if let Arm::PositiveControl(audit) = arm {
            *audit = name(audit);
        }
    };
    example.audits.iter_mut().for_each(|audit| audit.id = name(&audit.id));
    example.plan.audits.iter_mut().for_each(|audit| audit.id = name(&audit.id));
    example.plan.arms.iter_mut().for_each(arm);
    example.findings.iter_mut().for_each(|finding| finding.audit = name(&finding.audit));
    for candidate_trigger in
        example.analysis.triggers.iter_mut().map(|trigger| &mut trigger.candidate_trigger)
    {
        candidate_trigger.audit = name(&candidate_trigger.audit);
    }
    for candidate_trigger in
        example.answers.condition_samples.iter_mut().map(|shown| &mut shown.candidate_trigger)
    {
        candidate_trigger.audit = name(&candidate_trigger.audit);
    }
    example.analysis.by_question.iter_mut().for_each(|effect| effect.audit = name(&effect.audit));
    example.analysis.curves.iter_mut().for_each(|curve| curve.audit = name(&curve.audit));
    example
        .analysis
        .confusions
        .iter_mut()
        .for_each(|confusion| confusion.audit = name(&confusion.audit));
    for answer in &mut example.answers.answers {
        answer.audit = name(&answer.audit);
        arm(&mut answer.arm);
    }
    for sample in &mut example.answers.samples {
        sample.audit = name(&sample.audit);
        arm(&mut sample.arm);
    }
    example.answers.health.iter_mut().for_each(|health| arm(&mut health.arm));
    example.trainings.iter_mut().for_each(|training| arm(&mut training.arm));
    for effect in example.analysis.effects.iter_mut().chain(&mut example.analysis.positive_controls)
    {
        effect.audit = name(&effect.audit);
        arm(&mut effect.arm);
    }
    for risks in &mut example.analysis.arms {
        risks.audit = name(&risks.audit);
        risks.arms.iter_mut().for_each(|risk| arm(&mut risk.arm));
    }
}
