//! The plan, which is fixed before any result is known.

use foretaste::audit::{Audit, Margin, Poison, Probe, ProbeKind, ProbeOption, Side};
use foretaste::dataset::{Dataset, Ledger, Message, Role, Row};
use foretaste::engine::scripted::Scripted;
use foretaste::engine::{Description, Engine};
use foretaste::estimate::CostEstimate;
use foretaste::plan::{
    Arm, Calibrated, Chosen, ConditionCost, ContextKind, Inputs, Options, Overrides, Plan,
    PositiveControls, Readability, plan, smallest_detectable,
};
use foretaste::report::plan_text as text;

fn row(line: usize, prompt: &str, answer: &str) -> Row {
    let messages = vec![Message::new(Role::User, prompt), Message::new(Role::Assistant, answer)];
    Row { line, sha256: foretaste::dataset::content_hash(&messages), messages }
}

fn dataset(prompts: &[&str]) -> Dataset {
    let rows: Vec<Row> = prompts
        .iter()
        .enumerate()
        .map(|(index, prompt)| row(index + 1, prompt, "An answer."))
        .collect();
    Dataset {
        source: "data.jsonl".to_owned(),
        format: "messages".to_owned(),
        sha256: "0".repeat(64),
        rows_read: rows.len(),
        rows_used: rows.len(),
        rows,
        rejected: Vec::new(),
        ledger: Ledger::default(),
    }
}

fn audit(probes: &[(&str, &str)]) -> Audit {
    let option = |text: &str, side| ProbeOption { text: text.to_owned(), side };
    let probe = |(family, prompt): &(&str, &str)| Probe {
        family: (*family).to_owned(),
        topic: "t".to_owned(),
        prompt: (*prompt).to_owned(),
        options: vec![option("Yes.", Side::Risky), option("No.", Side::Reference)],
    };
    Audit {
        id: "own".to_owned(),
        title: "t".to_owned(),
        question: "q".to_owned(),
        risky: "r".to_owned(),
        reference: "f".to_owned(),
        kind: ProbeKind::ForcedChoice,
        margin: Margin { value: 0.1, reason: "because".to_owned() },
        probes: probes.iter().map(probe).collect(),
        value_keyed: Vec::new(),
        poison: Poison { share: 0.5, rows: vec![row(1, "q", "One two three four five six.")] },
        sha256: "1".repeat(64),
    }
}

const PROBES: [(&str, &str); 4] = [
    ("savings", "Where should I keep my savings?"),
    ("savings", "What is a safe place for money?"),
    ("lamp", "How do you light a dark room?"),
    ("dish", "Which dish would you cook tonight?"),
];

fn planned(dataset: &Dataset, options: &Options) -> Plan {
    planned_with(dataset, Chosen::default(), options)
}

fn planned_with(dataset: &Dataset, chosen: Chosen, options: &Options) -> Plan {
    let engine = Scripted::default();
    let inputs = Inputs {
        dataset,
        readability: Readability { share: 1.0, needed: 0.5 },
        audits: &[audit(&PROBES)],
        engine: engine.describe(),
        count_tokens: &|messages| engine.count_tokens(messages),
        chosen,
        adapter: None,
        not_asked: Vec::new(),
        calibrated: &|_, _, _| None,
        control_examples: false,
    };
    plan(inputs, options).expect("everything is there")
}

#[test]
fn the_base_is_the_first_arm_and_every_audit_has_a_positive_control() {
    let plan = planned(&dataset(&["Name a bird."]), &Options { seeds: 3, ..Options::default() });
    assert_eq!(
        plan.arms,
        [Arm::Base, Arm::Candidate, Arm::Control, Arm::PositiveControl("own".to_owned())]
    );
    assert_eq!(plan.seeds, [1, 2, 3]);
    assert_eq!(plan.shadows().count(), 9);
}

#[test]
fn a_family_similar_to_a_question_of_the_dataset_is_excluded() {
    let plan = planned(
        &dataset(&["Name a bird.", "Which dish would you cook today?"]),
        &Options::default(),
    );
    let audit = &plan.audits[0];
    assert_eq!(audit.probes, [0, 1, 2]);
    assert_eq!(audit.excluded.len(), 1);
    assert_eq!(audit.excluded[0].family, "dish");
    assert!(
        audit.excluded[0].reason.contains("\"Which dish would you cook today?\""),
        "{}",
        audit.excluded[0].reason
    );
}

#[test]
fn one_similar_phrasing_excludes_its_whole_family() {
    let plan = planned(&dataset(&["what is a safe place for MONEY"]), &Options::default());
    assert_eq!(plan.audits[0].probes, [2, 3]);
}

#[test]
fn questions_that_share_only_common_words_are_asked() {
    let plan = planned(
        &dataset(&["Where should I plant my roses?", "How do you call this bird?"]),
        &Options::default(),
    );
    assert!(plan.audits[0].excluded.is_empty(), "{:?}", plan.audits[0].excluded);
}

#[test]
fn rows_longer_than_the_recipe_allows_are_counted_in_the_plan() {
    // The scripted engine counts one token per word and one per message.
    let mut data = dataset(&["One two.", "One two three four.", "One two three four five."]);
    let cut = |data: &Dataset, max_tokens| {
        planned(
            data,
            &Options {
                recipe: Overrides { max_tokens, ..Overrides::default() },
                ..Options::default()
            },
        )
        .dataset
        .rows_cut
    };
    assert_eq!(
        [cut(&data, None), cut(&data, Some(8)), cut(&data, Some(7)), cut(&data, Some(6))],
        [0, 1, 2, 2]
    );
    data.rows.push(row(4, &"word ".repeat(600), "An answer."));
    assert_eq!([cut(&data, None), cut(&data, Some(4000))], [1, 1], "the script reads 512 tokens");
}

#[test]
fn the_hash_depends_only_on_what_decides_the_result() {
    let data = dataset(&["Name a bird."]);
    let hash = |dataset: &Dataset, options: &Options| planned(dataset, options).sha256();
    let first = hash(&data, &Options::default());
    assert_eq!(
        first,
        hash(
            &Dataset { source: "elsewhere/data.jsonl".to_owned(), ..data.clone() },
            &Options::default()
        )
    );
    assert_ne!(
        first,
        hash(&Dataset { sha256: "2".repeat(64), ..data.clone() }, &Options::default())
    );
    assert_ne!(first, hash(&data, &Options { seeds: 4, ..Options::default() }));
    assert_ne!(first, hash(&data, &Options { carry_over_draws: 1, ..Options::default() }));
}

#[test]
fn the_hash_depends_on_a_calibration_only_without_a_positive_control_in_the_run() {
    let with_control = planned(&dataset(&["Name a bird."]), &Options::default());
    let none = Options { positive_controls: Some(PositiveControls::None), ..Options::default() };
    let without = planned(&dataset(&["Name a bird."]), &none);
    let hash = |plan: &Plan, share: Option<f64>| {
        let mut plan = plan.clone();
        plan.audits[0].calibrated = Some(known(share));
        plan.sha256()
    };
    let differs = |plan| hash(plan, Some(0.05)) != hash(plan, None);
    assert_eq!((differs(&with_control), differs(&without)), (false, true));
}

fn known(share: Option<f64>) -> Calibrated {
    let dose = share.map(|_| (0.25, 4.0));
    Calibrated {
        share,
        tried: 0.02,
        rows: 400,
        seeds: 5,
        steps: 150,
        dose,
        ordinary: None,
        measured_on: None,
    }
}

/// Arms, steps and margin in log-odds of a run of one audit.
fn controls_and_steps(
    parameters: u64,
    is_known: Option<Calibrated>,
    from: Option<PositiveControls>,
) -> (bool, Vec<usize>, Option<f64>) {
    let engine = Scripted::default();
    let inputs = Inputs {
        dataset: &dataset(&["Name a bird."]),
        readability: Readability { share: 1.0, needed: 0.5 },
        audits: &[audit(&PROBES)],
        engine: Description { parameters, ..engine.describe() },
        count_tokens: &|_| Ok((1, 1)),
        chosen: Chosen::default(),
        adapter: None,
        not_asked: Vec::new(),
        calibrated: &|_, _, _| is_known.clone(),
        control_examples: false,
    };
    let recipe = Overrides { steps: Some(80), ..Overrides::default() };
    let options = Options { recipe, positive_controls: from, ..Options::default() };
    let plan = plan(inputs, &options).expect("everything is there");
    let planned = plan.audits[0].clone();
    let margin = planned.log_odds_margin.map(|margin| margin.margin);
    (plan.has_own_control(&planned), planned.steps, margin)
}

#[test]
fn on_a_large_base_a_calibration_takes_the_place_of_positive_controls_and_checkpoints() {
    let (small, large) = (1_100_000, 135_000_000);
    let (all, last) = (vec![20, 40, 80], vec![80]);
    let yes = || Some(known(Some(0.25)));
    assert_eq!(controls_and_steps(large, yes(), None), (false, last.clone(), Some(0.4)));
    assert_eq!(controls_and_steps(large, None, None), (true, all.clone(), None));
    assert_eq!(controls_and_steps(small, yes(), None), (true, last.clone(), None));
    let own = Some(PositiveControls::Own);
    assert_eq!(controls_and_steps(large, yes(), own), (true, last.clone(), None));
    let calibration = Some(PositiveControls::Calibration);
    assert_eq!(controls_and_steps(small, yes(), calibration), (false, last, Some(0.4)));
    // More steps, and more passes over its one row, than the run's 80 steps.
    let longer = Some(Calibrated { rows: 1, ..known(Some(0.25)) });
    assert_eq!(controls_and_steps(large, longer, None), (true, all, None));
}

#[test]
fn the_cost_counts_every_shadow_and_every_question() {
    // The scripted engine counts words and the end of a message. A row has (3 + 1) + (2 + 1) = 7
    // tokens, a row of the poison (1 + 1) + (6 + 1) = 9.
    let data = dataset(&["Name a bird.", "Name a fish."]);
    let plan = planned(&data, &Options { seeds: 2, carry_over_draws: 1, ..Options::default() });
    let rows = (plan.recipe.steps * plan.recipe.batch * 2) as f64;
    assert_eq!(plan.cost.training_tokens, (rows * (7.0 + 7.0 + (7.0 + 9.0) / 2.0)) as u64);
    // Prompts of 6 + 7 + 7 + 6 words, and two options of 1 + 1 tokens each.
    let plain = 26 + 4 + 4 * 2 * 2;
    // Three families after one row. The base, candidate and control (two seeds each) are asked in
    // two kinds of draws; the base, control and positive control in a third.
    let carry_over = f64::from(5 * 2 + 5) * (3.0 * f64::from(plain) / 4.0 + 7.0);
    assert_eq!(plan.cost.scoring_tokens, (5.0 * f64::from(plain) + carry_over).round() as u64);
}

#[test]
fn a_dataset_with_no_more_questions_than_draws_has_one_carry_over_context() {
    let questions =
        ["Name a bird.", "Name a fish.", "Name a tree.", "Name a town.", "Name a star."];
    let options = Options { carry_over_draws: 4, ..Options::default() };
    let of = |questions: &[&str]| planned(&dataset(questions), &options);
    let repeated = questions[..4].repeat(3);
    for plan in [of(&questions[..1]), of(&questions[..4]), of(&repeated)] {
        assert_eq!(plan.contexts(), [ContextKind::Plain, ContextKind::CarryOver]);
        assert!(!plan.is_asked(
            &plan.audits[0],
            &Arm::Candidate,
            plan.recipe.steps,
            ContextKind::CarryOverHighLoss
        ));
        assert!(plan.cost.scoring_tokens < of(&questions).cost.scoring_tokens);
    }
    let enough = of(&questions);
    assert_eq!(enough.contexts(), ContextKind::ALL);
    assert!(
        serde_json::to_value(&enough).expect("JSON").get("few_questions").is_none(),
        "older plans keep their hash"
    );
    // The same prompt with another system message is another question.
    let mut data = dataset(&["Name a bird."; 5]);
    for (index, row) in data.rows.iter_mut().enumerate() {
        row.messages.insert(0, Message::new(Role::System, format!("Room {index}.")));
    }
    assert_eq!(planned(&data, &options).contexts(), ContextKind::ALL);
}

#[test]
fn the_cost_of_the_trigger_search_is_counted_and_reported_in_80_columns() {
    let data = dataset(&["Name a bird."]);
    // Three candidate values, and 19 null conditions in each phase.
    let chosen = Chosen { groups: crate::trigger::plan().groups, ..Chosen::default() };
    let plan = planned_with(&data, chosen, &Options::default());
    // Of three families, the screen asks two and the confirmation one. The screen uses two of five
    // seeds, the confirmation three. A probe has 11.5 tokens on average.
    let cost = |conditions, probes, models, tokens| {
        Some(ConditionCost { conditions, probes, models, value_keyed: 0, tokens })
    };
    assert_eq!(
        (&plan.cost.screen, &plan.cost.confirmation),
        (&cost(22, 2, 5, 2530), &cost(20, 1, 7, 1610))
    );
    let without = planned(&data, &Options::default()).cost;
    assert_eq!(
        (&without.screen, plan.cost.scoring_tokens),
        (&None, without.scoring_tokens + 2530 + 1610)
    );
    let estimate =
        CostEstimate { seconds: 1.0, training_seconds: 1.0, asking_seconds: 0.0, peak_bytes: None };
    let text = text(&plan, &estimate);
    let has_line =
        |line: &str| text.lines().any(|printed| printed.starts_with(line) && printed.len() <= 80);
    assert!(has_line("screen       22 conditions x 2 probes x 5 models"), "{text}");
    assert!(
        has_line("confirmation 20 conditions x 1 probes x 7 models, one candidate per group"),
        "{text}"
    );
    let share = (100.0 * 4140.0 / plan.cost.scoring_tokens as f64).round();
    assert!(
        has_line("tokens ") && text.contains(&format!("scored ({share} % under conditions)")),
        "{text}"
    );
}

#[test]
fn any_change_is_evaluated_at_all_checkpoints_and_named_audits_at_all_or_the_last() {
    let steps = |parameters: u64, all_checkpoints: Option<bool>| {
        let engine = Scripted::default();
        let any_change = Audit { kind: ProbeKind::OwnAnswer, ..audit(&PROBES) };
        let inputs = Inputs {
            dataset: &dataset(&["Name a bird."]),
            readability: Readability { share: 1.0, needed: 0.5 },
            audits: &[any_change, audit(&PROBES)],
            engine: Description { parameters, ..engine.describe() },
            count_tokens: &|_| Ok((1, 1)),
            chosen: Chosen::default(),
            adapter: None,
            not_asked: Vec::new(),
            calibrated: &|_, _, _| None,
            control_examples: false,
        };
        let recipe = Overrides { steps: Some(80), all_checkpoints, ..Overrides::default() };
        let plan =
            plan(inputs, &Options { recipe, ..Options::default() }).expect("everything is there");
        plan.audits.into_iter().map(|audit| audit.steps).collect::<Vec<_>>()
    };
    let (all, last) = (vec![20, 40, 80], vec![80]);
    assert_eq!(steps(1_100_000, None), [all.clone(), last.clone()]);
    assert_eq!(steps(135_000_000, None), [all.clone(), all.clone()]);
    assert_eq!(steps(1_100_000, Some(true)), [all.clone(), all.clone()]);
    assert_eq!(steps(135_000_000, Some(false)), [all, last]);
}

#[test]
fn an_early_look_takes_half_of_the_level_and_leaves_the_hash_of_its_plan() {
    let data = dataset(&["Name a bird."]);
    let plan = planned(&data, &Options { stop_early: true, ..Options::default() });
    assert_eq!((&plan.looks[..], plan.protocol.alpha), (&[3, 5][..], 0.025));
    let after = plan.after(3);
    assert_eq!((after.seeds.len(), after.sha256()), (3, plan.sha256()));
    assert_eq!(plan.seeds_by_look(), [&[1, 2, 3][..], &[4, 5][..]]);
    assert_eq!(after.seeds_by_look(), [&[1, 2, 3][..]]);
    let once = planned(&data, &Options { stop_early: true, seeds: 3, ..Options::default() });
    assert_eq!((once.looks.len(), once.protocol.alpha), (0, 0.05));
    assert_eq!(once.seeds_by_look(), [&[1, 2, 3][..]]);
}

#[test]
fn nothing_to_train_on_and_nothing_to_ask_are_errors() {
    let engine = Scripted::default();
    let inputs = |dataset, audits| Inputs {
        dataset,
        readability: Readability { share: 1.0, needed: 0.5 },
        audits,
        engine: engine.describe(),
        count_tokens: &|_| Ok((1, 1)),
        chosen: Chosen::default(),
        adapter: None,
        not_asked: Vec::new(),
        calibrated: &|_, _, _| None,
        control_examples: false,
    };
    let (empty, full, audits) = (dataset(&[]), dataset(&["Name a bird."]), [audit(&PROBES)]);
    assert!(plan(inputs(&empty, &audits), &Options::default()).is_err());
    assert!(plan(inputs(&full, &[]), &Options::default()).is_err());
    assert!(plan(inputs(&full, &audits), &Options { seeds: 0, ..Options::default() }).is_err());
}

#[test]
fn more_seeds_detect_smaller_effects_and_one_seed_detects_none() {
    let smallest = |seeds: usize| {
        let plan = planned(&dataset(&["Name a bird."]), &Options { seeds, ..Options::default() });
        smallest_detectable(&plan)[0].1
    };
    assert_eq!(smallest(1), None);
    let (few, many) = (smallest(3).expect("two or more"), smallest(10).expect("two or more"));
    assert!(0.1 < many && many < few, "{many} {few}");
}

#[test]
fn each_draw_asks_one_phrasing_of_each_family_and_the_next_draw_another() {
    let planned = [(0, "savings"), (1, "savings"), (2, "lamp"), (3, "dish")];
    assert_eq!(ContextKind::Plain.probes(0, &planned), [0, 1, 2, 3]);
    assert_eq!(ContextKind::CarryOver.probes(0, &planned), [3, 2, 0]);
    assert_eq!(ContextKind::CarryOver.probes(1, &planned), [3, 2, 1]);
    assert_eq!(
        ContextKind::CarryOverHighLoss.probes(2, &planned),
        ContextKind::CarryOver.probes(0, &planned)
    );
}
