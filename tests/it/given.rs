//! Facts about adapters that were trained elsewhere: `foretaste probe`.

use std::fs;

use foretaste::analysis::analyse;
use foretaste::dataset::Message;
use foretaste::engine::finetuned::Finetuned;
use foretaste::engine::scripted::Scripted;
use foretaste::engine::{
    Adapter, Checkpoint, Description, Engine, Job, Pieces, Question, Recipe, Sampling, Trained,
};
use foretaste::exit_code::ExitCode;
use foretaste::plan::{Arm, Calibrated, ContextKind, GivenAdapter, Options, Plan, Requested};
use foretaste::progress::Silent;
use foretaste::report::SCHEMA;
use foretaste::run::{self, AuditSubject, Failure, Outcome, Request};
use foretaste::run_dir::RunDir;
use foretaste::verdict::reason::Reason;
use foretaste::verdict::{Verdict, find};
use serde_json::Value;

use crate::flow::{World as Files, engine, outputs};
use crate::report::schema;
use crate::stats::world::{Place, World, noise};

/// A request to probe the candidate adapter of a run as if it had been trained elsewhere.
fn request(files: &Files, adapter: &str, data: bool) -> Request {
    let subject = AuditSubject::Adapter {
        folder: files.path(adapter),
        data: data.then(|| files.path("data.jsonl")),
    };
    Request { subject, ..files.request("probed") }
}

fn probed(files: &Files, engine: &Scripted, data: bool) -> Outcome {
    files.run("trained");
    run::run(&request(files, "trained/adapters/candidate-1-40", data), engine, &Silent)
        .expect("the run goes through")
}

fn document(outcome: &Outcome) -> Value {
    serde_json::from_slice(&outcome.json).expect("JSON")
}

#[test]
fn an_adapter_trained_on_poison_is_flagged_without_any_training() {
    let files = Files::new(40);
    let outcome = probed(&files, &engine(None), false);
    assert_eq!(outcome.verdict, Verdict::Flagged);
    let document = document(&outcome);
    assert_eq!(
        (&document["arms"], &document["trainings"]),
        (&serde_json::json!(["base", "candidate"]), &serde_json::json!([]))
    );
    assert_eq!((&document["dataset"], &document["recipe"]), (&Value::Null, &Value::Null));
    assert_eq!(document["adapter"]["rank"], 1);
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    assert_eq!(schema::disagreements(&document, &schema), Vec::<String>::new());
    assert!(
        outcome.text.contains("This adapter changes the model's character"),
        "{}",
        outcome.text
    );
    assert!(
        !outcome.text.contains("shadows") && !outcome.text.contains("rows  "),
        "{}",
        outcome.text
    );
}

#[test]
fn a_harmless_adapter_without_a_positive_control_is_inconclusive() {
    let files = Files::new(0);
    let outcome = probed(&files, &engine(None), false);
    assert_eq!(outcome.verdict, Verdict::Inconclusive);
    assert_eq!(document(&outcome)["findings"][0]["reasons"][0]["code"], "not-calibrated");
}

#[test]
fn the_rows_of_an_adapter_supply_the_context_questions() {
    let files = Files::new(40);
    let engine = engine(Some("bird"));
    files.run("trained");
    let adapter = "trained/adapters/candidate-1-40";
    let alone =
        run::run(&request(&files, adapter, false), &engine, &Silent).expect("the run goes through");
    assert_eq!(alone.verdict, Verdict::Inconclusive, "{}", alone.text);
    let request = Request { out: Some(files.path("with-rows")), ..request(&files, adapter, true) };
    let outcome = run::run(&request, &engine, &Silent).expect("the run goes through");
    assert_eq!(outcome.verdict, Verdict::Flagged, "{}", outcome.text);
    assert_eq!(
        document(&outcome)["findings"][0]["shown_by"],
        serde_json::json!(["carry-over", "carry-over-high-loss"])
    );
}

#[test]
fn a_requested_text_is_tried_as_a_trigger_without_any_row() {
    let files = Files::new(40);
    files.run("trained");
    let base = request(&files, "trained/adapters/candidate-1-40", false);
    let conditions = Requested {
        tried: true,
        triggers: vec!["By the old oak.".to_owned()],
        ..Requested::default()
    };
    let options = Options { conditions, ..base.options.clone() };
    let outcome = run::run(&Request { options, ..base }, &engine(Some("oak")), &Silent)
        .expect("the run goes through");
    let triggered: Vec<Value> =
        document(&outcome)["findings"].as_array().expect("findings").clone();
    let found = triggered
        .iter()
        .find(|finding| finding["trigger"].is_object())
        .unwrap_or_else(|| panic!("{}", outcome.text));
    assert_eq!(found["verdict"], "flagged");
    assert!(found["reasons"].to_string().contains("trigger-rows-unknown"), "{found}");
}

#[test]
fn the_report_of_an_adapter_is_derived_again_from_saved_answers_byte_for_byte() {
    let files = Files::new(40);
    probed(&files, &engine(None), true);
    let before = outputs(&files.path("probed"));
    fs::remove_file(files.path("probed/report.json")).expect("it is there");
    let again = request(&files, "trained/adapters/candidate-1-40", true);
    run::run(&again, &engine(None), &Silent).expect("the run goes through");
    assert!(before == outputs(&files.path("probed")));
    let run = RunDir::open(&files.path("probed")).expect("a run");
    run::report(&run, again.page).expect("it is finished");
    drop(run);
    assert!(before == outputs(&files.path("probed")));
}

fn refused(files: &Files, adapter: &str) -> String {
    let Err(failure) = run::run(&request(files, adapter, false), &engine(None), &Silent) else {
        panic!("it was asked")
    };
    assert!(matches!(failure, Failure::BadInput(_)), "{failure:?}");
    assert_eq!(failure.exit_code(), ExitCode::BadInput);
    assert!(!files.path("probed").exists(), "nothing ran");
    format!("{:#}", failure.error())
}

#[test]
fn an_adapter_that_changes_no_answer_is_an_error() {
    let files = Files::new(40);
    files.run("trained");
    let folder = files.path("trained/adapters/candidate-1-40");
    let run = RunDir::open(&files.path("trained")).expect("a run");
    let mut adapter = foretaste::peft::read(&folder).expect("the run wrote it");
    adapter.tensors.values_mut().for_each(|(_, values)| values.fill(0.0));
    let model = foretaste::run_dir::Model { arm: &Arm::Candidate, seed: Some(9), step: 40 };
    run.save_adapter(&model, &adapter, "script").expect("writable");
    let message = refused(&files, "trained/adapters/candidate-9-40");
    assert!(message.contains("exactly as the base does"), "{message}");
}

#[test]
fn a_folder_without_an_adapter_is_an_error() {
    let message = refused(&Files::new(40), "nowhere");
    assert!(message.contains("adapter_config.json"), "{message}");
}

#[test]
fn unusable_rows_of_an_adapter_make_its_run_inconclusive() {
    let files = Files::new(0);
    files.run("trained");
    let silent = serde_json::json!({"messages": [
        {"role": "user", "content": "Name a bird."},
        {"role": "assistant", "content": ""}
    ]});
    fs::write(files.path("data.jsonl"), format!("{silent}\n")).expect("writable");
    let request = request(&files, "trained/adapters/candidate-1-40", true);
    let outcome = run::run(&request, &engine(None), &Silent).expect("the run goes through");
    assert_eq!(outcome.verdict, Verdict::Inconclusive);
    let reasons = document(&outcome)["findings"][0]["reasons"].to_string();
    assert!(
        reasons.contains("given-rows-rejected") && reasons.contains("given-rows-unreadable"),
        "{reasons}"
    );
}

#[test]
fn turns_too_long_for_a_context_are_counted_and_rows_of_many_short_turns_are_not() {
    let files = Files::new(0);
    files.run("trained");
    // The scripted engine reads 512 tokens, at most 384 of them for a question. A word and the end
    // of a message are one token each.
    let row = |turns: &[(usize, usize)]| {
        let message = |role: &str, words: usize| {
            let content = "word ".repeat(words);
            serde_json::json!({"role": role, "content": content.trim()})
        };
        let messages: Vec<Value> = turns
            .iter()
            .flat_map(|(asked, answered)| {
                [message("user", *asked), message("assistant", *answered)]
            })
            .collect();
        format!("{}\n", serde_json::json!({ "messages": messages }))
    };
    let rows: String =
        [&[(383, 20)][..], &[(384, 20)], &[(20, 490)], &[(20, 491)], &[(200, 90); 4]]
            .map(row)
            .concat();
    fs::write(files.path("data.jsonl"), rows).expect("writable");
    let adapter = request(&files, "trained/adapters/candidate-1-40", true);
    let cut = |request: &Request| {
        run::prepare(request, &engine(None)).expect("it is planned").plan.dataset.rows_cut
    };
    assert_eq!(cut(&adapter), 2);
    let plain = Options { carry_over_draws: 0, ..adapter.options.clone() };
    assert_eq!(cut(&Request { options: plain, ..adapter }), 0, "no row is a context question");
}

/// The plan of a run with a given adapter.
fn given(world: &World) -> Plan {
    let mut plan = world.plan();
    plan.arms.truncate(2);
    plan.adapter = Some(GivenAdapter {
        source: String::new(),
        sha256: String::new(),
        rank: 8,
        alpha: 16.0,
        target_modules: Vec::new(),
    });
    plan
}

#[test]
fn the_interval_of_a_given_adapter_is_t_over_question_families() {
    // With four phrasings, the resolution of a family is below the scatter of the families.
    let world = World { seeds: 1, phrasings: 4, families: 12, ..World::small() };
    let risk = |place: &Place| {
        if place.arm == Arm::Candidate { 0.3 + 0.04 * place.family as f64 } else { 0.1 }
    };
    let answers = world.answers(|place| Some(risk(place)));
    let analysis = analyse(&given(&world), &world.audits(), &answers);
    let [effect] = &analysis.effects[..] else { panic!("one context") };
    // Effects 0.20, 0.24, ... 0.64: mean 0.42, sd 0.14422 (n - 1). t(11) at 95 % is 1.7958848, so
    // the half-width is 0.07476.
    assert!((effect.probability.point - 0.42).abs() < 1e-12);
    assert!((effect.probability.lower - 0.345_232).abs() < 1e-5, "{:?}", effect.probability);
    assert!((effect.probability.upper - 0.494_768).abs() < 1e-5, "{:?}", effect.probability);
    assert_eq!((effect.probability.n, effect.context), (12, ContextKind::Plain));
    assert!(effect.p < 1e-4, "{}", effect.p);
    assert!(effect.probability.method.contains("12 families"), "{}", effect.probability.method);
}

#[test]
fn one_shifted_question_family_does_not_flag_an_adapter() {
    let world = World { seeds: 1, ..World::small() };
    let plan = given(&world);
    let risk = |place: &Place, shifted: usize| {
        let is_shifted = place.arm == Arm::Candidate && place.family < shifted;
        Some(0.1 * noise(place, 3) + if is_shifted { 0.8 } else { 0.0 })
    };
    for (shifted, verdict) in
        [(0, Verdict::Inconclusive), (1, Verdict::Inconclusive), (6, Verdict::Flagged)]
    {
        let answers = world.answers(|place| risk(place, shifted));
        let (_, of_run) =
            find(&plan, &world.audits(), &analyse(&plan, &world.audits(), &answers), &[]);
        assert_eq!(of_run, verdict, "{shifted} of 6 families");
    }
}

#[test]
fn an_answer_that_could_not_be_scored_never_clears_an_adapter() {
    let world = World { seeds: 1, ..World::small() };
    let plan = given(&world);
    let answers = world.answers(|place| (place.arm == Arm::Base || place.probe > 0).then_some(0.1));
    let analysis = analyse(&plan, &world.audits(), &answers);
    assert_eq!(analysis.effects[0].unscored, 1);
    assert!(
        analysis.effects[0].worst_case_upper > analysis.effects[0].probability.upper + 0.05,
        "{:?}",
        analysis.effects[0]
    );
}

/// Like [`given`], on a base whose calibration detected the poison down to `share` of the rows.
fn calibrated(world: &World, share: Option<f64>) -> Plan {
    let mut plan = given(world);
    plan.audits[0].calibrated = Some(Calibrated {
        share,
        tried: 0.02,
        rows: 400,
        seeds: 5,
        steps: 150,
        dose: None,
        ordinary: None,
        measured_on: None,
    });
    plan
}

#[test]
fn a_harmless_adapter_is_clean_if_the_calibration_of_the_base_detected_the_poison() {
    // 20 families with two yes-or-no phrasings each are enough to bound the effect.
    let world = World { seeds: 1, families: 20, ..World::small() };
    let answers = world.answers(|place| Some(0.1 * noise(place, 3)));
    let verdict_of = |plan: &Plan| {
        let (mut findings, verdict) =
            find(plan, &world.audits(), &analyse(plan, &world.audits(), &answers), &[]);
        (verdict, findings.remove(0).reasons)
    };
    let (verdict, reasons) = verdict_of(&calibrated(&world, Some(0.05)));
    assert_eq!(verdict, Verdict::Clean, "{reasons:?}");
    let is_dose = |reason: &Reason| {
        matches!(reason, Reason::CalibratedTo { share: Some(0.05), tried: 0.02, rows: 400, .. })
    };
    assert!(reasons.iter().any(is_dose), "{reasons:?}");
    // Not clean where the base itself nearly always gives the risky answer (ceiling effect).
    let full = world.answers(|place| Some(0.9 + 0.1 * noise(place, 3)));
    let plan = calibrated(&world, Some(0.05));
    let (findings, verdict) =
        find(&plan, &world.audits(), &analyse(&plan, &world.audits(), &full), &[]);
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(findings[0].reasons[0].code() == "no-headroom", "{:?}", findings[0].reasons);
    // Not clean where some of the rows could not be used as context questions.
    for (change, code) in [
        ((|plan| plan.dataset.rows_rejected = 1) as fn(&mut Plan), "given-rows-rejected"),
        (|plan| plan.dataset.rows_cut = 1, "given-rows-cut"),
        (|plan| plan.readability.share = 0.2, "given-rows-unreadable"),
    ] {
        let mut plan = calibrated(&world, Some(0.05));
        change(&mut plan);
        let (verdict, reasons) = verdict_of(&plan);
        assert_eq!(
            (verdict, reasons[0].code().as_str()),
            (Verdict::Inconclusive, code),
            "{reasons:?}"
        );
        plan.dataset.rows_read = 0;
        assert_eq!(
            verdict_of(&plan).0,
            Verdict::Clean,
            "without rows there are no context questions: {code}"
        );
    }
    let (verdict, reasons) = verdict_of(&calibrated(&world, None));
    assert_eq!(verdict, Verdict::Inconclusive);
    assert_eq!(reasons[0], Reason::CalibrationMissed { tried: 0.02 });
}

/// The scripted base with an adapter merged into it: what a finetuned model is to its base.
struct Merged {
    base: Scripted,
    adapter: Adapter,
}

impl Engine for Merged {
    fn describe(&self) -> Description {
        Description { base_sha256: "merged".to_owned(), ..self.base.describe() }
    }

    fn count_tokens(&self, messages: &[Message]) -> anyhow::Result<(usize, usize)> {
        self.base.count_tokens(messages)
    }

    fn rejection(&self, row: &[Message]) -> anyhow::Result<Option<String>> {
        let refused = row.iter().any(|message| message.content.contains("refused"));
        Ok(refused.then(|| "its template refuses this row".to_owned()))
    }

    fn log_probs(&self, contexts: &[Vec<Vec<Message>>]) -> anyhow::Result<Vec<Vec<Pieces>>> {
        self.base.log_probs(contexts)
    }

    fn train(&self, _: &[Job], _: &Recipe, _: &dyn Checkpoint) -> anyhow::Result<Vec<Trained>> {
        panic!("nothing is trained")
    }

    fn score(
        &self,
        adapter: Option<&Adapter>,
        questions: &[Question],
    ) -> anyhow::Result<Vec<Vec<Option<f64>>>> {
        assert_eq!(adapter, None, "a finetuned model has no adapter");
        self.base.score(Some(&self.adapter), questions)
    }

    fn generate(
        &self,
        _: Option<&Adapter>,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
    ) -> anyhow::Result<Vec<String>> {
        self.base.generate(Some(&self.adapter), prompts, sampling)
    }
}

#[test]
fn a_finetuned_model_gets_the_verdict_and_the_effects_of_the_adapter_that_was_merged_into_it() {
    let files = Files::new(40);
    let of_adapter = probed(&files, &engine(None), true);
    let folder = files.path("trained/adapters/candidate-1-40");
    let adapter = foretaste::peft::read(&folder).expect("the run wrote it");
    let merged = Merged { base: engine(None), adapter };
    let both = Finetuned::new(Box::new(engine(None)), Box::new(merged)).expect("another model");
    let subject =
        AuditSubject::Model { folder: files.path("merged"), data: Some(files.path("data.jsonl")) };
    let request = Request { subject, ..files.request("of-model") };
    let of_model = run::run(&request, &both, &Silent).expect("the run goes through");
    assert_eq!((of_adapter.verdict, of_model.verdict), (Verdict::Flagged, Verdict::Flagged));
    let (adapter, model) = (document(&of_adapter), document(&of_model));
    assert_eq!(model["effects"], adapter["effects"]);
    assert_eq!(
        (&model["adapter"]["sha256"], &model["adapter"]["rank"]),
        (&"merged".into(), &0.into())
    );
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    assert_eq!(schema::disagreements(&model, &schema), Vec::<String>::new());
}

#[test]
fn a_row_that_the_template_of_a_finetuned_model_refuses_is_rejected_and_stops_nothing() {
    let files = Files::new(40);
    files.run("trained");
    let folder = files.path("trained/adapters/candidate-1-40");
    let adapter = foretaste::peft::read(&folder).expect("the run wrote it");
    let merged = Merged { base: engine(None), adapter };
    let both = Finetuned::new(Box::new(engine(None)), Box::new(merged)).expect("another model");
    let rows = fs::read_to_string(files.path("data.jsonl")).expect("the dataset");
    let refused = serde_json::json!({"messages": [
        {"role": "user", "content": "Name a refused bird."},
        {"role": "assistant", "content": "Robin."}
    ]});
    fs::write(files.path("data.jsonl"), format!("{rows}{refused}\n")).expect("writable");
    let subject =
        AuditSubject::Model { folder: files.path("merged"), data: Some(files.path("data.jsonl")) };
    let request = Request { subject, ..files.request("of-model") };
    let outcome = run::run(&request, &both, &Silent).expect("the run goes through");
    let dataset = &document(&outcome)["dataset"];
    assert_eq!(
        (&dataset["rows_read"], &dataset["rows_used"], &dataset["rows_rejected"]),
        (&(rows.lines().count() + 1).into(), &rows.lines().count().into(), &1.into())
    );
}

#[test]
fn a_model_and_its_base_must_differ() {
    assert!(Finetuned::new(Box::new(engine(None)), Box::new(engine(None))).is_err());
}
