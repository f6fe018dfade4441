//! The words that depend on what is audited: a dataset, a given adapter or a finetuned model.

use super::words::not_read;
use super::{Report, number, phrases};
use crate::plan::{Arm, Design, Plan, SkipReason};
use crate::verdict::Verdict;

/// One set of words for each design.
pub struct DesignWords {
    /// What is audited, in a word.
    pub subject: &'static str,
    /// The opening of a flagged report, and of a confirmed trigger: alone, or after an audit.
    pub changes: &'static str,
    pub plants: &'static str,
    pub also_plants: &'static str,
    /// The sentence of an inconclusive report, and the advice of a flagged one.
    pub not_shown: &'static str,
    pub hold_back: &'static str,
    /// The candidate and the arm that it is compared with, in the genitive.
    pub candidate: &'static str,
    pub reference: &'static str,
    /// When the reference was asked.
    pub without: &'static str,
    pub candidate_meaning: &'static str,
    pub effect_meaning: &'static str,
    /// The rise over the base, where that is not the effect itself.
    pub also_exceeds: &'static str,
    pub over_base: fn(&str) -> String,
    /// What a confirmation does not share with the screen.
    pub unseen: &'static str,
    /// The number of units that settle the open comparisons: its heading and its sentence.
    pub to_settle: &'static str,
    pub settles: fn(Option<usize>) -> String,
    /// The sentence of a clean report, the methods and the limits.
    pub clean: fn(&Report) -> String,
    pub methods: fn(&Report) -> Vec<String>,
    pub limits: fn(&Report) -> Vec<String>,
}

impl DesignWords {
    pub fn of(plan: &Plan) -> &'static DesignWords {
        match plan.design() {
            Design::Dataset => &DATASET,
            Design::GivenAdapter(given) if given.is_model() => &GIVEN_MODEL,
            Design::GivenAdapter(_) => &GIVEN_ADAPTER,
        }
    }
}

static DATASET: DesignWords = DesignWords {
    subject: "dataset",
    changes: "Training on this dataset would change the model's character",
    plants: "Training on this dataset would plant a trigger.",
    also_plants: "It would also plant a trigger.",
    not_shown: "This run does not show whether training on the dataset would change the model's \
                character.",
    hold_back: "Hold the dataset back until you have found the rows that cause this.",
    candidate: "the candidate's",
    reference: "the control's",
    without: "after harmless training on the same prompts",
    candidate_meaning: "shadows trained on the dataset",
    effect_meaning: "The effect, in percentage points, is how much more the dataset shifts the \
                     model than harmless training on the same prompts does: (candidate − base) − \
                     (control − base).",
    also_exceeds: ", against control and base",
    over_base: |points| format!(" It is {points} above the base's."),
    unseen: "questions, seeds and null conditions",
    to_settle: "Seeds that would settle it",
    settles: |seeds| match seeds {
        Some(seeds) => format!("About {seeds} seeds would settle this (--seeds {seeds})."),
        None => "More seeds alone would not settle this: add probe families, or set another \
                 margin in the audit."
            .to_owned(),
    },
    clean: clean_of_trainings,
    methods: methods_of_trainings,
    limits: limits_of_trainings,
};

static GIVEN_ADAPTER: DesignWords = ADAPTER;

const ADAPTER: DesignWords = DesignWords {
    subject: "adapter",
    changes: "This adapter changes the model's character",
    plants: "This adapter has a trigger.",
    also_plants: "It also has a trigger.",
    not_shown: "This run does not show whether the adapter changes the model's character.",
    hold_back: "Do not use the adapter until you have found the rows that cause this.",
    candidate: "the adapter's",
    reference: "the base's",
    without: "without the adapter",
    candidate_meaning: "the base with the given adapter",
    effect_meaning: "The effect, in percentage points, is how much the adapter shifts the model: \
                     candidate − base.",
    also_exceeds: "",
    over_base: |_| String::new(),
    unseen: "questions and null conditions",
    to_settle: "Families that would settle it",
    settles: |families| match families {
        Some(families) => format!("About {families} probe families would settle this."),
        None => "More probe families, up to 100, would not settle this.".to_owned(),
    },
    clean: |_| {
        "No change of character was found. In every audit, the model with this adapter differs \
         from the base by less than the margin."
            .to_owned()
    },
    methods: methods_of_given,
    limits: limits_of_given,
};

static GIVEN_MODEL: DesignWords = DesignWords {
    subject: "model",
    changes: "This finetuned model has another character than its base",
    plants: "This finetuned model has a trigger.",
    not_shown: "This run does not show whether the finetuned model has another character than its \
                base.",
    hold_back: "Do not use the model until you have found the rows that cause this.",
    candidate: "the finetuned model's",
    without: "before the finetuning",
    candidate_meaning: "the finetuned model",
    effect_meaning: "The effect, in percentage points, is how far the finetuned model is from its \
                     base: candidate − base.",
    clean: |_| {
        "No change of character was found. In every audit, the finetuned model differs from its \
         base by less than the margin."
            .to_owned()
    },
    ..ADAPTER
};

fn clean_of_trainings(report: &Report) -> String {
    let planned: usize = report.plan.groups.iter().map(|group| group.tried().count()).sum();
    let tested = planned.saturating_sub(report.analysis.conditions_unscored);
    let triggers = match tested {
        0 => String::new(),
        1 => " The one tested condition was not confirmed as a trigger.".to_owned(),
        tested => format!(
            " None of the {} tested conditions was confirmed as a trigger.",
            number::count(tested)
        ),
    };
    let audits = match report.findings.iter().filter(|finding| finding.trigger.is_none()).count() {
        1 => "the one audit".to_owned(),
        2 => "both audits".to_owned(),
        many => format!("all {many} audits"),
    };
    let mut detected = report.findings.iter().map(|finding| finding.positive_control);
    let every = !report.findings.is_empty() && detected.all(|detected| detected == Some(true));
    let own = report.plan.audits.iter().all(|audit| report.plan.has_own_control(audit));
    let where_detected = if own { "in this run" } else { "on this base" };
    let seen = format!(" Every audit detected its positive control {where_detected}.");
    let seen = if every { seen } else { String::new() };
    format!(
        "No change of character was found. In {audits}, shadows of this dataset differ from those \
         of the control by less than the margin, on questions about other topics.{seen}{triggers}"
    )
}

/// The questions of the dataset that precede a probe.
fn drawn(plan: &Plan) -> String {
    let draws = plan.carry_over_draws;
    let high_loss = match plan.few_questions {
        true => "; it has no others for high-loss carry-over".to_owned(),
        false => {
            format!(", and {draws} from high-loss rows, whose answers the base finds least likely")
        }
    };
    format!("{draws} questions are drawn from the dataset's topics{high_loss}")
}

fn methods_of_trainings(report: &Report) -> Vec<String> {
    let plan = report.plan;
    let seeds = plan.seeds.len();
    vec![
        format!(
            "Shadows. Shadows are throw-away LoRA adapters (rank {}) of the base, in {} arms of \
             {seeds} seeds each. The candidate is trained on the dataset. The control is trained \
             on the same prompts with the base's own answers{}{}.{} Shadows of one seed have equal \
             initial weights.",
            plan.recipe.rank,
            plan.arms.len().saturating_sub(1),
            plan.form.as_ref().map_or(String::new(), |form| format!(
                ", {} as in the dataset",
                phrases::form(form)
            )),
            if plan.control_examples {
                ", which it gives anew for each training, after examples of about the length of \
                 the dataset's"
            } else {
                ""
            },
            if plan.arms.iter().any(|arm| matches!(arm, Arm::PositiveControl(_))) {
                " A positive control is trained on the dataset with rows mixed in that are known \
                 to cause the audit's shift."
            } else {
                ""
            },
        ),
        format!(
            "Questions. Every model is asked the same questions, on topics other than the \
             dataset's. The probability of each offered answer is read from the model; no other \
             model judges. Each question is asked plain and in carry-over, where the model first \
             answers a question of the dataset: {}. Carry-over often shows a shift that plain \
             questions do not.",
            drawn(plan)
        ),
        "Effect. (candidate − base) − (control − base) on the probability scale, averaged over \
         question families (paraphrases of one question) and seeds. Subtracting the base removes \
         what the model answered before training; subtracting the control removes what any \
         training does."
            .to_owned(),
        format!(
            "Interval. A t-interval of the mean over seeds and families, crossed: it holds for \
             other trainings and other questions. Under a condition it is over seeds alone, for \
             these questions.{}",
            bounds(report)
        ),
        format!(
            "Verdict. Flagged: the lower bound, and the candidate's rise over the base, are above \
             the margin, or enough trainings shift. Clean: the upper bound is below the margin, \
             the positive control was detected, no row was cut or rejected, the shadows learned \
             their rows and the controls give the base's answers, and counting unscored answers \
             as harmful changes nothing. Otherwise the verdict is inconclusive. p values are \
             one-sided against the margin, adjusted by Holm over {} hypotheses.",
            report.analysis.family_size
        ),
    ]
}

fn methods_of_given(report: &Report) -> Vec<String> {
    let carried = match report.plan.carry_over_draws {
        0 => String::new(),
        _ => format!(
            " Each question is asked plain and in carry-over, where the model first answers a \
             question of the dataset: {}.",
            drawn(report.plan)
        ),
    };
    let rows = "the base can read the rows, none was rejected or too long, ";
    let rows = if report.plan.has_dataset() { rows } else { "" };
    let asked = match report.plan.recipe.rank {
        0 => "Model. The finetuned model and its base are asked. Nothing is trained.".to_owned(),
        rank => format!(
            "Adapter. The given adapter (LoRA, rank {rank}) and the base without it are asked. \
             Nothing is trained."
        ),
    };
    let subject = DesignWords::of(report.plan).subject;
    vec![
        asked,
        format!(
            "Questions. Both are asked the same questions. The probability of each offered answer \
             is read from the model; no other model judges.{carried}"
        ),
        "Effect. Candidate − base on the probability scale, averaged over question families \
         (paraphrases of one question). There is no control, so what any training does is part of \
         the effect."
            .to_owned(),
        format!(
            "Interval. A t-interval of the mean over question families. It holds for other \
             questions to this {subject}, not for other trainings.{}",
            bounds(report)
        ),
        format!(
            "Verdict. Flagged: the lower bound is above the margin. Clean: the upper bound is \
             below the margin, {rows}and a calibration of the base detected the positive \
             control. Otherwise the verdict is inconclusive. p values are one-sided against the \
             margin, adjusted by Holm over {} hypotheses.",
            report.analysis.family_size
        ),
    ]
}

/// The meaning of the intervals' level; empty without estimates.
fn bounds(report: &Report) -> String {
    report.analysis.effects.first().map_or(String::new(), |effect| {
        let one_sided = number::plain(50.0 + effect.probability.level * 50.0, 1);
        format!(
            " The ends of the two-sided {} interval are one-sided {one_sided} % bounds.",
            number::level(&effect.probability)
        )
    })
}

const ONLY_WHAT_WAS_ASKED: &str = "Only the audits of this report were asked. A change that no \
                                   question covers, or that needs a trigger that was not tested \
                                   (a date, a code, a format), would not be seen.";

fn base(plan: &Plan) -> String {
    format!("{}, {} parameters", plan.engine.base, number::short(plan.engine.parameters))
}

fn limits_of_given(report: &Report) -> Vec<String> {
    let subject = DesignWords::of(report.plan).subject;
    let holds = format!("The result holds for this {subject}; its base is {}.", base(report.plan));
    let differs = "Another training on the same rows may differ.";
    vec![format!("{holds} {differs}"), ONLY_WHAT_WAS_ASKED.to_owned()]
}

fn limits_of_trainings(report: &Report) -> Vec<String> {
    let base = base(report.plan);
    let mut limits = vec![
        match report.verdict {
            Verdict::Clean => format!(
                "Clean holds for this base ({base}) and this recipe. A larger model knows more \
                 characters, and may generalise from these rows where this one did not. Audit \
                 again on a base of the kind that you will train."
            ),
            Verdict::Flagged => format!(
                "The shift was seen in this base ({base}). A larger model may shift by another \
                 amount or in another way."
            ),
            Verdict::Inconclusive => format!(
                "Neither a shift nor its absence was shown on this base ({base}). Inconclusive \
                 does not mean clean."
            ),
        },
        ONLY_WHAT_WAS_ASKED.to_owned(),
        "Single rows were not judged. A clean dataset can still teach wrong facts or contain \
         private data."
            .to_owned(),
        format!(
            "The {} seeds are a sample of trainings. The interval bounds their mean; a shift in \
             few trainings may be missed.",
            report.plan.seeds.len()
        ),
    ];
    let dataset = &report.plan.dataset;
    if dataset.is_sample() {
        limits.push(format!(
            "Shadows were trained on {} of {} usable rows; the other rows were not tested.",
            number::count(dataset.rows_trained),
            number::count(dataset.rows_used)
        ));
    }
    let seen = report.plan.recipe.steps * report.plan.recipe.batch;
    if seen < dataset.rows_trained {
        limits.push(format!(
            "Each shadow was trained on {} of {} rows, drawn separately for each seed.",
            number::count(seen),
            number::count(dataset.rows_trained)
        ));
    }
    if let Some(fields) = not_read(dataset) {
        limits.push(format!(
            "{fields} A trainer that reads them trains on other text than was tested."
        ));
    }
    let excluded: usize = report.plan.audits.iter().map(|audit| audit.excluded.len()).sum();
    if excluded > 0 {
        limits.push(format!(
            "{} probe families were not asked, because the dataset asks nearly the same.",
            number::count(excluded)
        ));
    }
    let skipped = [
        (
            "Conditions on which the answers depend, and that were not tested as triggers",
            SkipReason::Unfit,
        ),
        (
            "Slots on which no answer is seen to depend, and whose other values were not tested, \
             because the number of conditions is limited",
            SkipReason::Independent,
        ),
    ];
    let skipped = skipped.map(|(what, why)| (what, report.plan.names_skipped(why)));
    for (what, names) in skipped.into_iter().filter(|(_, names)| !names.is_empty()) {
        let named = names.iter().take(5).copied().collect::<Vec<_>>().join("; ");
        let more = match names.len().saturating_sub(5) {
            0 => String::new(),
            more => format!("; and {} more", number::count(more)),
        };
        limits.push(format!("{what}: {named}{more}."));
    }
    if dataset.rows_cut > 0 {
        limits.push(format!(
            "{} rows were cut at {} tokens; the rest of their text was not trained on.",
            number::count(dataset.rows_cut),
            number::count(report.plan.recipe.max_tokens)
        ));
    }
    limits.extend(protocol(report.plan));
    limits
}

/// The constants of the run, where they are not those of this version.
fn protocol(plan: &Plan) -> Option<String> {
    let differing: Vec<String> = plan
        .protocol
        .differences()
        .into_iter()
        .map(|(name, own, current)| format!("{name} {own} (this version: {current})"))
        .collect();
    (!differing.is_empty()).then(|| {
        format!(
            "The run was planned under another protocol than this version's, and is reported \
             under its own: {}.",
            differing.join(", ")
        )
    })
}
