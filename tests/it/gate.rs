//! Exit codes and output of `gate` and `--fail-on` for a finished run.

use std::fs;
use std::sync::OnceLock;

use foretaste::analysis::analyse;
use foretaste::cli::FailOn;
use foretaste::engine::scripted::Scripted;
use foretaste::exit_code::ExitCode;
use foretaste::plan::{Arm, Options, Requested};
use foretaste::progress::Silent;
use foretaste::run;
use foretaste::verdict::{Verdict, examined, find};
use serde_json::{Value, json};

use crate::flow::{World, engine, foretaste};
use crate::stats::world as statistics;

/// The files of a finished run that `gate` reads. They are made once and then copied.
fn finished(poisoned: usize) -> World {
    static FILES: [OnceLock<[Vec<u8>; 2]>; 2] = [const { OnceLock::new() }; 2];
    const NAMES: [&str; 2] = ["run/manifest.json", "run/report.json"];
    let files = FILES[usize::from(poisoned > 0)].get_or_init(|| {
        let world = World::new(poisoned);
        world.run("run");
        NAMES.map(|name| fs::read(world.path(name)).expect("written"))
    });
    let world = World::new(poisoned);
    fs::create_dir(world.path("run")).expect("writable");
    NAMES
        .iter()
        .zip(files)
        .for_each(|(name, bytes)| fs::write(world.path(name), bytes).expect("writable"));
    world
}

/// The exit code of `gate` after a change of report.json.
fn gated(world: &World, change: impl FnOnce(&mut Value)) -> Option<i32> {
    let path = world.path("run/report.json");
    let mut report: Value =
        serde_json::from_slice(&fs::read(&path).expect("written")).expect("JSON");
    change(&mut report);
    fs::write(&path, report.to_string()).expect("writable");
    foretaste(&["gate", &world.path("run").display().to_string()]).status.code()
}

#[test]
fn a_report_that_contradicts_itself_fails_the_gate() {
    assert_eq!(gated(&finished(40), |_| ()), Some(1));
    let changes: [fn(&mut Value); 5] = [
        |report| report["verdict"] = "clean".into(),
        |report| report["findings"] = json!([]),
        |report| report["findings"][0]["audit"] = "another".into(),
        |report| report["findings"][0]["verdict"] = "clean".into(),
        |report| {
            report["verdict"] = "clean".into();
            report["findings"][0]["verdict"] = "clean".into();
            report["findings"][0]["audit"] = "another".into();
        },
    ];
    for change in changes {
        assert_eq!(gated(&finished(40), change), Some(4));
    }
    let unseen =
        |report: &mut Value| report["findings"][0]["positive_control_detected"] = false.into();
    assert_eq!(gated(&finished(0), unseen), Some(4));
}

#[test]
fn the_report_of_another_run_fails_the_gate() {
    let (clean, flagged) = (finished(0), finished(40));
    fs::copy(clean.path("run/report.json"), flagged.path("run/report.json"))
        .expect("both are there");
    assert_eq!(gated(&flagged, |_| ()), Some(4));
    assert_eq!(
        gated(&finished(40), |report| drop(
            report.as_object_mut().expect("an object").remove("plan_sha256")
        )),
        Some(4)
    );
}

#[test]
fn a_finding_under_a_condition_is_named_with_the_condition_in_text_and_json() {
    let world = finished(40);
    let trigger = json!({
        "kind": "inductive", "slot": "year in \"{year}\"", "value": "19\u{202e}84\n",
        "observed": false, "rows": 0
    });
    gated(&world, |report| {
        let mut finding = report["findings"][0].clone();
        finding["trigger"] = trigger.clone();
        report["findings"].as_array_mut().expect("a list").push(finding);
    });
    let run = world.path("run").display().to_string();
    let text = String::from_utf8(foretaste(&["gate", &run]).stdout).expect("UTF-8");
    // The first reason of each finding follows it, indented.
    let (reasons, lines): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| line.starts_with("  "));
    assert!(reasons[0].starts_with("  effect-above-margin: "), "{reasons:?}");
    assert_eq!(
        lines,
        [
            "coins: flagged",
            "coins, when year in \"{year}\" is 19\\u{202e}84\\n: flagged",
            "verdict: flagged"
        ]
    );
    let document: Value =
        serde_json::from_slice(&foretaste(&["gate", &run, "--json"]).stdout).expect("JSON");
    assert_eq!(
        (&document["findings"][1]["trigger"], &document["findings"][0]["trigger"]),
        (&trigger, &Value::Null)
    );
    assert_eq!((&document["verdict"], &document["examined"]), (&"flagged".into(), &true.into()));
}

#[test]
fn the_policy_decides_which_verdicts_exit_with_0() {
    let codes = |policy: FailOn| {
        let of = |verdict, examined| policy.exit_code(verdict, examined) as u8;
        [
            of(Verdict::Clean, true),
            of(Verdict::Inconclusive, true),
            of(Verdict::Inconclusive, false),
            of(Verdict::Flagged, true),
        ]
    };
    assert_eq!(codes(FailOn::Inconclusive), [0, 2, 2, 1]);
    assert_eq!(codes(FailOn::Unexamined), [0, 0, 2, 1]);
    assert_eq!(codes(FailOn::Flagged), [0, 0, 0, 1]);
}

#[test]
fn a_run_without_a_detected_positive_control_is_unexamined_and_says_so_if_it_exits_with_0() {
    let world = World::new(0);
    run::run(&world.request("run"), &Scripted::default(), &Silent).expect("the run goes through");
    let run = world.path("run").display().to_string();
    for (policy, code, lines) in [("flagged", 0, 1), ("unexamined", 2, 0), ("inconclusive", 2, 0)] {
        let output = foretaste(&["gate", &run, "--quiet", "--fail-on", policy]);
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(
            (output.status.code(), stderr.lines().count()),
            (Some(code), lines),
            "{policy}: {stderr}"
        );
    }
}

#[test]
fn an_examined_run_with_a_rejected_row_passes_the_policy_unexamined_and_says_why() {
    let world = World::new(0);
    let rows = fs::read_to_string(world.path("data.jsonl")).expect("written") + "no row\n";
    fs::write(world.path("data.jsonl"), rows).expect("writable");
    let outcome = world.run("run");
    assert_eq!(outcome.verdict, Verdict::Inconclusive);
    let run = world.path("run").display().to_string();
    let output = foretaste(&["gate", &run, "--fail-on", "unexamined"]);
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(0), 1), "{stderr}");
    assert!(stderr.contains("coins: 1 of 41 rows were rejected"), "{stderr}");
}

#[test]
fn a_run_is_examined_if_a_positive_control_was_detected_and_no_blocker_affects_all_audits() {
    let world = statistics::World::small();
    let risk = |place: &statistics::Place| match place.arm {
        Arm::PositiveControl(_) => Some(0.6 + 0.1 * statistics::noise(place, 11)),
        _ => Some(0.1 * statistics::noise(place, 11)),
    };
    let answers = world.answers(risk);
    let of = |change: &dyn Fn(&mut foretaste::plan::Plan, &mut foretaste::probe::Answers)| {
        let (mut plan, mut answers) = (world.plan(), answers.clone());
        change(&mut plan, &mut answers);
        let audits = world.audits();
        let (findings, _) =
            find(&plan, &audits, &analyse(&plan, &audits, &answers), &answers.health);
        examined(&plan, &findings, &answers.health)
    };
    assert!(of(&|_, _| ()));
    assert!(of(&|plan, _| plan.dataset.rows_rejected = 1));
    assert!(!of(&|plan, _| plan.readability.share = 0.1), "the base cannot read the dataset");
    assert!(!of(&|plan, _| plan.audits[0].probes.clear()), "no probe is left");
    assert!(
        !of(&|plan, _| plan.arms.retain(|arm| !matches!(arm, Arm::PositiveControl(_)))),
        "no positive control"
    );
    assert!(!of(&|_, answers| answers.health.clear()), "no record of the trainings");
    assert!(
        !of(&|_, answers| answers
            .health
            .iter_mut()
            .for_each(|health| health.loss_last = health.loss_first)),
        "no shadow learned"
    );
}

#[test]
fn a_dataset_that_contains_every_probe_is_not_examined() {
    let world = World::new(0);
    let probes = fs::read_to_string(world.path("coins.jsonl")).expect("written");
    let row = |line: &str| {
        let probe: Value = serde_json::from_str(line).expect("JSON");
        let row = json!({"messages": [
            {"role": "user", "content": probe["prompt"]},
            {"role": "assistant", "content": "Nothing."}
        ]});
        format!("{row}\n")
    };
    fs::write(world.path("data.jsonl"), probes.lines().map(row).collect::<String>())
        .expect("writable");
    let mut request = world.request("run");
    request.options = Options {
        conditions: Requested { tried: false, ..Requested::default() },
        ..request.options
    };
    let outcome = run::run(&request, &engine(None), &Silent).expect("the run goes through");
    let report: Value = serde_json::from_slice(&outcome.json).expect("JSON");
    assert_eq!((&report["verdict"], &report["examined"]), (&"inconclusive".into(), &false.into()));
    assert_eq!(ExitCode::from(outcome.verdict), ExitCode::Inconclusive);
}
