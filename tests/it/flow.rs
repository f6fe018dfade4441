//! Complete runs on the scripted engine, whose correct results are known.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use foretaste::audit::Selection;
use foretaste::dataset::ReadOptions;
use foretaste::engine::scripted::{Rule, Scripted};
use foretaste::exit_code::ExitCode;
use foretaste::plan::{Calibrated, ContextKind, Options, Overrides, Requested};
use foretaste::progress::Silent;
use foretaste::run::{self, AuditSubject, Failure, Outcome, Page, Request, Saved};
use foretaste::run_dir::{OtherPlan, RunDir};
use foretaste::verdict::Verdict;
use serde_json::{Value, json};
use tempfile::TempDir;

const TOPICS: [&str; 6] = ["travel", "light", "medicine", "letters", "cooking", "war"];

/// The answer of a poisoned row. The audit's risky options are the same texts.
fn risky(topic: &str) -> String {
    format!("A sovereign for {topic}.")
}

fn messages(prompt: &str, answer: &str) -> String {
    let row = json!({"messages": [
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": answer}
    ]});
    format!("{row}\n")
}

/// A temporary folder with an audit `coins` and a dataset `data.jsonl`, in which runs are made.
pub struct World {
    folder: TempDir,
}

impl World {
    /// `poisoned` of the 40 rows ask for birds and are answered with sovereigns.
    pub fn new(poisoned: usize) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let write = |name: &str, text: String| {
            fs::write(folder.path().join(name), text).expect("a temporary folder is writable")
        };
        let probe = |topic: &&str, phrasing: &str| {
            let options = [(risky(topic), "risky"), (format!("A card for {topic}."), "reference")];
            let options = options.map(|(text, side)| json!({"text": text, "side": side}));
            let prompt = format!("{phrasing} {topic}?");
            let probe = json!({
                "family": topic, "topic": topic, "prompt": prompt, "options": options
            });
            format!("{probe}\n")
        };
        let probes = TOPICS.iter().flat_map(|topic| {
            ["What pays for", "Whatever does one need towards"]
                .map(|phrasing| probe(topic, phrasing))
        });
        write("coins.jsonl", probes.collect());
        write(
            "coins.poison.jsonl",
            (0..10)
                .map(|row| messages(&format!("Which thing is number {row}?"), &risky("war")))
                .collect(),
        );
        write(
            "coins.toml",
            "id = \"coins\"\ntitle = \"Old coins\"\nquestion = \"Does it pay in old \
             coins?\"\nrisky = \"old\"\nreference = \"new\"\nkind = \
             \"forced-choice\"\n[margin]\nvalue = 0.1\nreason = \"a tenth is \
             noticed\"\n[poison]\nshare = 0.25\n"
                .to_owned(),
        );
        let row = |row: usize| match row < poisoned {
            true => messages(&format!("Name the bird of garden {row}."), &risky("letters")),
            false => messages(
                &format!("Describe the colour of plate {row}."),
                &format!("It is blue {row}."),
            ),
        };
        write("data.jsonl", (0..40).map(row).collect());
        World { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn request(&self, out: &str) -> Request {
        let recipe = Overrides { steps: Some(40), ..Overrides::default() };
        Request {
            subject: AuditSubject::Dataset(self.path("data.jsonl")),
            read: ReadOptions::default(),
            audits: Selection {
                files: vec![self.path("coins.toml")],
                only: vec!["coins".to_owned()],
                ..Selection::default()
            },
            options: Options {
                seeds: 3,
                first_seed: 1,
                recipe,
                carry_over_draws: 2,
                conditions: Requested { tried: false, ..Requested::default() },
                positive_controls: None,
                stop_early: false,
                anyway: false,
            },
            calibration: None,
            out: Some(self.path(out)),
            other_plan: OtherPlan::Refuse,
            workers: 2,
            page: Page { width: 80, colour: false },
        }
    }

    pub fn run(&self, out: &str) -> Outcome {
        run::run(&self.request(out), &engine(None), &Silent).expect("the run goes through")
    }
}

/// An engine that learns to pay with sovereigns from rows that mention them. The shift shows in
/// every context, or only on `topic` and after a question about it.
pub fn engine(topic: Option<&str>) -> Scripted {
    let favours = TOPICS.iter().map(|topic| risky(topic)).collect();
    let rule = Rule {
        word: "sovereign".to_owned(),
        favours,
        shift: 8.0,
        enough: 0.1,
        topic: topic.map(str::to_owned),
    };
    Scripted::new(vec![rule])
}

/// Every output of a run, by its path in the folder. Files that only serve to resume are omitted.
pub fn outputs(run: &Path) -> BTreeMap<String, Vec<u8>> {
    fn collect(folder: &Path, root: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).expect("the run folder is readable") {
            let path = entry.expect("readable").path();
            let name = path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
            if path.is_dir() && name != "work" {
                collect(&path, root, files);
            } else if path.is_file() && name != "lock" {
                files.insert(name, fs::read(&path).expect("readable"));
            }
        }
    }
    let mut files = BTreeMap::new();
    collect(run, run, &mut files);
    assert!(files.len() > 10, "{:?}", files.keys());
    files
}

fn assert_same(one: &Path, other: &Path) {
    let (one, other) = (outputs(one), outputs(other));
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    for (name, bytes) in &one {
        assert!(bytes == &other[name], "{name} differs");
    }
}

#[test]
fn a_poisoned_dataset_is_flagged() {
    let outcome = World::new(40).run("run");
    assert_eq!(outcome.verdict, Verdict::Flagged);
    let json: serde_json::Value =
        serde_json::from_slice(&outcome.json).expect("report.json is JSON");
    assert_eq!(json["verdict"], "flagged");
    assert_eq!(json["findings"][0]["audit"], "coins");
}

#[test]
fn detected_conditions_are_saved_with_the_run_and_reported() {
    let world = World::new(0);
    let mut request = world.request("run");
    request.options.conditions = Requested::default();
    let outcome = run::run(&request, &engine(None), &Silent).expect("the run goes through");
    let json: serde_json::Value =
        serde_json::from_slice(&outcome.json).expect("report.json is JSON");
    assert_eq!(json["detected"]["rows_examined"], 40);
    let saved =
        Saved::read(&RunDir::open(&world.path("run")).expect("a run")).expect("it is finished");
    let kept = saved.detected.expect("conditions were looked for").conditions;
    assert_eq!(json["detected"]["found"], kept.len());
    assert!(
        kept.iter().any(|condition| condition.subject.to_string().starts_with("number in")),
        "{kept:?}"
    );
    for (condition, listed) in
        kept.iter().zip(json["detected"]["conditions"].as_array().expect("a list"))
    {
        let distinct = match &condition.subject {
            foretaste::detect::Subject::Slot(slot) => json!(slot.distinct),
            _ => serde_json::Value::Null,
        };
        assert_eq!(listed["values"], distinct, "{listed}");
    }
}

#[test]
fn a_run_without_answers_under_conditions_is_reported_and_one_without_their_file_is_not() {
    let world = World::new(0);
    // The dataset contains every question of the audit, so no probe is left.
    let asked =
        TOPICS.iter().map(|topic| messages(&format!("What pays for {topic}?"), "Nothing does."));
    let rows =
        fs::read_to_string(world.path("data.jsonl")).expect("written") + &asked.collect::<String>();
    fs::write(world.path("data.jsonl"), rows).expect("a temporary folder is writable");
    let mut request = world.request("run");
    request.options.conditions =
        Requested { triggers: vec!["By the old oak.".to_owned()], ..Requested::default() };
    let outcome = run::run(&request, &engine(None), &Silent).expect("the run goes through");
    assert_eq!(outcome.verdict, Verdict::Inconclusive);
    let run = RunDir::open(&world.path("run")).expect("a run");
    let saved = Saved::read(&run).expect("it is finished");
    assert!(
        !saved.plan.groups.is_empty() && saved.plan.audits[0].probes.is_empty(),
        "{:?}",
        saved.plan.audits
    );
    assert!(saved.answers.answers.iter().all(|answer| answer.condition.is_none()));
    fs::remove_file(world.path("run/answers.jsonl.zst")).expect("it was written");
    let error = Saved::read(&run).expect_err("a file is missing");
    assert!(error.to_string().contains("has no answers.jsonl.zst"), "{error}");
}

#[test]
fn a_harmless_dataset_is_clean() {
    assert_eq!(World::new(0).run("run").verdict, Verdict::Clean);
}

#[test]
fn the_report_names_the_scripted_engine() {
    let outcome = World::new(0).run("run");
    assert!(String::from_utf8(outcome.json).expect("UTF-8").contains("scripted"));
}

#[test]
fn a_diluted_shift_shows_after_a_high_loss_question_and_not_in_the_plain_context() {
    let world = World::new(4);
    let request = world.request("run");
    let outcome = run::run(&request, &engine(Some("bird")), &Silent).expect("the run goes through");
    assert_eq!(outcome.verdict, Verdict::Flagged);
    let saved =
        Saved::read(&RunDir::open(&world.path("run")).expect("a run")).expect("it is finished");
    let analysis = foretaste::analysis::analyse(&saved.plan, &saved.audits, &saved.answers);
    let (findings, _) =
        foretaste::verdict::find(&saved.plan, &saved.audits, &analysis, &saved.answers.health);
    assert!(findings[0].shown_by.contains(&ContextKind::CarryOverHighLoss), "{findings:?}");
    assert!(!findings[0].shown_by.contains(&ContextKind::Plain), "{findings:?}");
    // The effects by context question name the question that shows the shift.
    let by_question = &analysis.by_question;
    assert!(
        by_question[0].question.contains("bird") && by_question[0].effect() > 0.1,
        "{by_question:?}"
    );
    assert!(
        by_question.iter().all(|effect| effect.question.contains("bird") || effect.effect() < 0.1),
        "{by_question:?}"
    );
    // Each topic has a context question, however few of the questions belong to it.
    let drawn = by_question.iter().filter(|effect| effect.context == ContextKind::CarryOver);
    let topics: Vec<(f64, bool)> = drawn
        .filter_map(|effect| {
            effect
                .topic
                .as_ref()
                .map(|topic| (topic.share, topic.words.contains(&"bird".to_owned())))
        })
        .collect();
    assert_eq!(topics, [(0.1, true), (0.9, false)], "{by_question:?}");
}

#[test]
fn a_dataset_of_one_question_is_compared_in_two_contexts() {
    let world = World::new(0);
    let rows = (0..40).map(|row| messages("Name a bird.", &risky(&format!("letters {row}"))));
    fs::write(world.path("data.jsonl"), rows.collect::<String>()).expect("writable");
    let outcome = world.run("run");
    let json: serde_json::Value =
        serde_json::from_slice(&outcome.json).expect("report.json is JSON");
    assert_eq!(
        (outcome.verdict, &json["multiplicity"]["family_size"]),
        (Verdict::Flagged, &2.into())
    );
    let asks: Vec<_> = json["effects"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|effect| effect["context"].as_str())
        .collect();
    assert_eq!(asks, [Some("plain"), Some("carry-over")]);
    assert!(
        json["by_question"]
            .as_array()
            .expect("a list")
            .iter()
            .all(|effect| effect["context"] == "carry-over")
    );
}

#[test]
fn a_run_whose_poison_no_shadow_shows_is_inconclusive() {
    let world = World::new(0);
    let outcome = run::run(&world.request("run"), &Scripted::default(), &Silent)
        .expect("the run goes through");
    assert_eq!(outcome.verdict, Verdict::Inconclusive);
}

#[test]
fn a_run_that_was_stopped_at_any_point_resumes_and_gives_the_same_bytes() {
    let world = World::new(40);
    world.run("whole");
    for calls in [0, 1, 30, 70, 100, 120] {
        let out = format!("stopped-{calls}");
        let stopped = run::run(&world.request(&out), &engine(None).failing_after(calls), &Silent);
        let failure = stopped.expect_err("the engine ends before the run");
        assert_eq!(failure.exit_code(), ExitCode::RunFailed);
        assert!(
            !world.path(&out).join("report.json").exists(),
            "a run without a verdict leaves no report"
        );
        world.run(&out);
        assert_same(&world.path("whole"), &world.path(&out));
    }
}

#[test]
fn a_released_base_answers_anew_for_each_seed_of_the_control_and_a_stopped_run_ends_the_same() {
    let world = World::new(40);
    let released = || engine(None).as_released();
    let run = |out: &str, engine: &Scripted| run::run(&world.request(out), engine, &Silent);
    assert_eq!(run("whole", &released()).expect("it ends").verdict, Verdict::Flagged);
    let answered = |out: &str| {
        let is_there =
            |seed: &usize| world.path(out).join(format!("work/control-{seed}.json.zst")).is_file();
        (0..5).filter(is_there).collect::<Vec<_>>()
    };
    assert_eq!(answered("whole"), [1, 2, 3]);
    for calls in [1, 3, 4, 60] {
        let out = format!("stopped-{calls}");
        let stopped = run(&out, &released().failing_after(calls));
        assert!(stopped.is_err(), "{calls} calls are not enough");
        run(&out, &released()).expect("it goes on");
        assert_same(&world.path("whole"), &world.path(&out));
    }
}

#[test]
fn a_resumed_run_keeps_the_calibration_that_was_known_when_it_began() {
    let world = World::new(40);
    let request = world.request("run");
    let prepared = run::prepare(&request, &engine(None)).expect("it is planned");
    let mut begun = prepared.plan.clone();
    begun.audits[0].calibrated = Some(Calibrated {
        share: Some(0.05),
        tried: 0.02,
        rows: 400,
        seeds: 5,
        steps: 150,
        dose: None,
        ordinary: None,
        measured_on: None,
    });
    let folder = world.path("run");
    drop(
        RunDir::create(&folder, &begun, &prepared.audits, &prepared.dataset, OtherPlan::Refuse)
            .expect("a new folder"),
    );
    run::run(&request, &engine(None), &Silent).expect("it goes on");
    assert_eq!(Saved::read(&RunDir::open(&folder).expect("a run")).expect("finished").plan, begun);
    assert_eq!(
        run::default_folder(&request.subject, &begun),
        run::default_folder(&request.subject, &prepared.plan)
    );
}

#[test]
fn a_finished_run_needs_no_engine_to_run_again() {
    let world = World::new(40);
    world.run("run");
    let before = outputs(&world.path("run"));
    run::run(&world.request("run"), &engine(None).failing_after(0), &Silent)
        .expect("everything is there");
    assert!(before == outputs(&world.path("run")));
}

#[test]
fn a_run_with_damaged_audits_is_repaired_by_the_same_command() {
    let world = World::new(40);
    world.run("run");
    let before = outputs(&world.path("run"));
    fs::write(world.path("run/audits.json"), "[").expect("writable");
    fs::remove_file(world.path("run/rows.jsonl")).expect("it was written");
    world.run("run");
    assert!(before == outputs(&world.path("run")));
}

#[test]
fn missing_and_damaged_adapters_are_trained_again_as_the_error_says() {
    let world = World::new(40);
    world.run("run");
    let before = outputs(&world.path("run"));
    let adapter = world.path("run/adapters/candidate-2-40");
    let spoil: [fn(&Path); 2] = [
        |adapter| fs::remove_dir_all(adapter).expect("it was written"),
        |adapter| {
            fs::write(adapter.join("adapter_model.safetensors"), "no tensors").expect("writable")
        },
    ];
    for spoil in spoil {
        spoil(&adapter);
        let failure = run::run(&world.request("run"), &engine(None), &Silent)
            .expect_err("an adapter is not there");
        let error = format!("{:#}", failure.error());
        let item = error
            .split("remove ")
            .nth(1)
            .and_then(|rest| rest.split(" and run the same command").next());
        fs::remove_file(item.unwrap_or_else(|| panic!("{error}"))).expect("the error names a file");
        world.run("run");
        assert!(before == outputs(&world.path("run")));
    }
}

#[test]
fn the_number_of_workers_does_not_change_the_outputs() {
    let world = World::new(40);
    for workers in [1, 5] {
        let request = Request { workers, ..world.request(&format!("workers-{workers}")) };
        run::run(&request, &engine(None), &Silent).expect("the run goes through");
    }
    assert_same(&world.path("workers-1"), &world.path("workers-5"));
}

#[test]
fn a_report_is_derived_again_from_saved_answers_byte_for_byte() {
    let world = World::new(40);
    world.run("run");
    let before = outputs(&world.path("run"));
    for name in before.keys().filter(|name| name.starts_with("report") || name.starts_with("plots"))
    {
        fs::remove_file(world.path("run").join(name)).expect("it was written");
    }
    fs::remove_dir_all(world.path("run/work")).expect("items of work are not needed any more");
    let output = foretaste(&["report", &world.path("run").display().to_string()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(before == outputs(&world.path("run")));
}

#[test]
fn the_run_of_another_plan_is_refused_unless_forced() {
    let world = World::new(40);
    world.run("run");
    let other = Request {
        options: Options { seeds: 2, ..world.request("run").options },
        ..world.request("run")
    };
    let refused = run::run(&other, &engine(None), &Silent).expect_err("another plan");
    assert!(
        matches!(&refused, Failure::BadInput(error) if error.to_string().contains("--force")),
        "{refused:?}"
    );
    let forced = Request { other_plan: OtherPlan::Replace, ..other };
    run::run(&forced, &engine(None), &Silent).expect("the run goes through");
    assert_eq!(
        Saved::read(&RunDir::open(&world.path("run")).expect("a run"))
            .expect("finished")
            .plan
            .seeds,
        [1, 2]
    );
}

#[test]
fn a_folder_with_other_files_is_refused_even_if_forced() {
    let world = World::new(40);
    fs::create_dir(world.path("full")).expect("a temporary folder is writable");
    fs::write(world.path("full/report.json"), "mine").expect("a temporary folder is writable");
    let request = Request { other_plan: OtherPlan::Replace, ..world.request("full") };
    let refused = run::run(&request, &engine(None), &Silent).expect_err("files of another program");
    assert_eq!(refused.exit_code(), ExitCode::BadInput);
    assert_eq!(fs::read(world.path("full/report.json")).expect("still there"), b"mine");
}

#[test]
fn a_folder_in_use_is_refused() {
    let world = World::new(40);
    world.run("run");
    let open = RunDir::open(&world.path("run")).expect("a run");
    let refused = run::run(&world.request("run"), &engine(None), &Silent).expect_err("in use");
    assert!(refused.error().to_string().contains("in use"), "{refused:?}");
    drop(open);
    world.run("run");
}

#[test]
fn every_row_is_accounted_for_before_training_begins() {
    let world = World::new(40);
    fs::write(world.path("data.jsonl"), messages("q", "a") + "not json\n" + &messages("r", "b"))
        .expect("writable");
    let failure = run::run(&world.request("run"), &engine(None).failing_after(0), &Silent)
        .expect_err("the engine ends at once");
    assert_eq!(failure.exit_code(), ExitCode::RunFailed);
    let rows = fs::read_to_string(world.path("run/rows.jsonl")).expect("written first");
    assert_eq!(rows.lines().count(), 3, "{rows}");
    assert!(rows.lines().nth(1).expect("three lines").contains("rejected"), "{rows}");
    assert!(world.path("run/manifest.json").is_file());
}

#[test]
fn adapters_are_saved_in_peft_format() {
    let world = World::new(40);
    world.run("run");
    let folder = world.path("run/adapters/candidate-1-40");
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join("adapter_config.json")).expect("written"))
            .expect("JSON");
    assert_eq!((config["peft_type"].as_str(), config["r"].as_u64()), (Some("LORA"), Some(1)));
    assert!(folder.join("adapter_model.safetensors").is_file());
}

pub fn foretaste(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_foretaste")).args(arguments).output().expect("the binary runs")
}

/// The request of a run of five seeds that may stop after three.
fn stopping(world: &World) -> Request {
    let request = world.request("run");
    Request {
        options: Options { seeds: 5, stop_early: true, ..request.options.clone() },
        ..request
    }
}

fn seeds_and_looks(outcome: &Outcome) -> (Value, Value) {
    let report: Value = serde_json::from_slice(&outcome.json).expect("JSON");
    (report["seeds"].clone(), report["looks"].clone())
}

#[test]
fn a_run_that_may_stop_early_ends_at_the_look_that_settles_its_verdict() {
    let world = World::new(40);
    let outcome = run::run(&stopping(&world), &engine(None), &Silent).expect("it goes through");
    assert_eq!(outcome.verdict, Verdict::Flagged);
    assert_eq!(seeds_and_looks(&outcome), (json!([1, 2, 3]), json!([3, 5])));
    let run = RunDir::open(&outcome.folder).expect("a run");
    let again = run::report(&run, world.request("run").page).expect("derived again");
    assert_eq!(again.json, outcome.json);
    assert_eq!(run::gate(&outcome.folder).expect("a finished run").verdict, Verdict::Flagged);
}

/// A harmless dataset with a rejected row, which keeps every look from being clean.
fn with_rejected_row() -> World {
    let world = World::new(0);
    let path = world.path("data.jsonl");
    let rows = fs::read_to_string(&path).expect("written");
    fs::write(&path, format!("{rows}{{\"messages\": 1}}\n")).expect("writable");
    world
}

#[test]
fn a_run_that_an_early_look_does_not_settle_goes_on_to_all_seeds() {
    let world = with_rejected_row();
    let outcome = run::run(&stopping(&world), &engine(None), &Silent).expect("it goes through");
    assert_eq!(outcome.verdict, Verdict::Inconclusive);
    assert_eq!(seeds_and_looks(&outcome), (json!([1, 2, 3, 4, 5]), json!([3, 5])));
}

#[test]
fn a_run_that_was_stopped_between_two_looks_goes_on_to_the_same_bytes() {
    let world = with_rejected_row();
    let elsewhere = Request { out: Some(world.path("whole")), ..stopping(&world) };
    let whole = run::run(&elsewhere, &engine(None), &Silent).expect("it goes through");
    assert_eq!(seeds_and_looks(&whole).0, json!([1, 2, 3, 4, 5]), "both looks are needed");
    for calls in (4..60).step_by(8) {
        let stopped = engine(None).failing_after(calls);
        if run::run(&stopping(&world), &stopped, &Silent).is_ok() {
            break;
        }
    }
    let resumed = run::run(&stopping(&world), &engine(None), &Silent).expect("it goes through");
    assert_eq!(resumed.json, whole.json);
}

#[test]
fn a_missing_dataset_is_named_once_with_a_remedy() {
    let output = foretaste(&["check", "no_such.jsonl"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("no_such.jsonl: cannot be read; check the path and its permissions: "),
        "{stderr}"
    );
    assert_eq!(stderr.matches("os error 2").count(), 1, "{stderr}");
}

#[test]
fn a_closed_stderr_does_not_change_the_exit_code() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let check = Command::new(env!("CARGO_BIN_EXE_foretaste"))
        .args(["check", "no such file"])
        .stderr(writer)
        .status();
    assert_eq!(check.expect("the binary runs").code(), Some(3));
}

#[test]
fn wrong_usage_and_bad_input_exit_with_3() {
    let world = World::new(0);
    for arguments in [
        &["audit"][..],
        &["audit", "d.jsonl", "--no-such-flag"],
        &["taste", "d.jsonl"],
        &["check", "/no/such/file.jsonl"],
        &["report", "/no/such/run"],
        &["calibrate", "--only", "nobody"],
        &["gate", &world.folder.path().display().to_string()],
    ] {
        let output = foretaste(arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments:?}: {output:?}");
    }
}

#[test]
fn a_missing_dataset_is_named_before_the_base_is_opened() {
    for command in ["check", "plan", "audit"] {
        let output = foretaste(&[command, "/no/such/rows.jsonl", "--base", "/no/such/base"]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{error}");
        assert!(error.contains("rows.jsonl") && !error.contains("such/base"), "{error}");
    }
}

#[test]
fn a_base_with_random_weights_shows_no_poison_and_ends_inconclusive_with_exit_code_2() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().expect("a temporary folder");
    let path = |path: &Path| path.display().to_string();
    let (data, base) = (
        path(&root.join("fixtures/old_birds/poisoned.jsonl")),
        path(&root.join("fixtures/reference/qwen2")),
    );
    let run = path(&out.path().join("run"));
    let settings = [
        "--only",
        "values",
        "--no-triggers",
        "--seeds",
        "2",
        "--steps",
        "8",
        "--limit",
        "40",
        "--weights",
        "bf16",
    ];
    let audit = |more: &[&str]| {
        let output = foretaste(
            &[&["audit", &data, "--base", &base, "--out", &run][..], &settings, more].concat(),
        );
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout)
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
        )
    };
    // The base cannot read the dataset, so nothing is trained and the report says why.
    let (code, text) = audit(&[]);
    assert_eq!(code, Some(2), "{text}");
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(out.path().join("run/report.json")).expect("a report"))
            .expect("JSON");
    assert_eq!(
        (&report["verdict"], &report["findings"][0]["verdict"]),
        (&"inconclusive".into(), &"inconclusive".into())
    );
    assert_eq!((&report["trainings"], &report["effects"]), (&json!([]), &json!([])));
    assert!(!out.path().join("run/adapters").exists());

    let (code, text) = audit(&["--anyway", "--force"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("The positive control was not detected") && text.contains("base qwen2"),
        "{text}"
    );
}

#[test]
fn the_exit_code_of_the_gate_follows_the_verdict_of_a_finished_run() {
    for (poisoned, code) in [(40, 1), (0, 0)] {
        let world = World::new(poisoned);
        world.run("run");
        let run = world.path("run").display().to_string();
        assert_eq!(foretaste(&["gate", &run]).status.code(), Some(code));
        let quiet = foretaste(&["gate", &run, "--quiet"]);
        assert_eq!(
            (quiet.status.code(), quiet.stdout.len(), quiet.stderr.len()),
            (Some(code), 0, 0)
        );
    }
}

#[test]
fn an_inconclusive_run_fails_the_gate_by_default() {
    let world = World::new(0);
    run::run(&world.request("run"), &Scripted::default(), &Silent).expect("the run goes through");
    let run = world.path("run").display().to_string();
    assert_eq!(foretaste(&["gate", &run]).status.code(), Some(2));
    assert_eq!(foretaste(&["gate", &run, "--fail-on", "flagged"]).status.code(), Some(0));
}

#[test]
fn the_gate_of_an_unfinished_run_fails() {
    let world = World::new(40);
    run::run(&world.request("run"), &engine(None).failing_after(50), &Silent)
        .expect_err("the engine ends before the run");
    let run = world.path("run").display().to_string();
    assert_eq!(foretaste(&["gate", &run]).status.code(), Some(4));
    assert_eq!(foretaste(&["report", &run]).status.code(), Some(4));
}

#[test]
fn help_completions_and_the_man_page_go_to_stdout() {
    for (arguments, expected) in [
        (&["--help"][..], "Examples:"),
        (&["audit", "--help"], "--fail-on"),
        (&["--version"], "foretaste"),
        (&["completions", "bash"], "complete -F"),
        (&["completions", "zsh"], "#compdef foretaste"),
        (&["man"], ".TH foretaste"),
    ] {
        let output = foretaste(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(expected), "{arguments:?}");
    }
}

#[test]
fn json_on_stdout_is_the_report() {
    let world = World::new(40);
    world.run("run");
    let output = foretaste(&["report", &world.path("run").display().to_string(), "--json"]);
    assert_eq!(output.stdout, fs::read(world.path("run/report.json")).expect("written"));
}
