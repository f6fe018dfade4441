//! Facts about written answers. They come from the context, step and seeds that decided an audit.

use std::collections::BTreeSet;

use foretaste::audit::{Audit, Side};
use foretaste::dataset::Role;
use foretaste::engine::scripted::Scripted;
use foretaste::engine::{Engine, Question};
use foretaste::plan::{Arm, ContextKind};
use foretaste::probe::Sample;
use foretaste::progress::Silent;
use foretaste::run::{self, AuditSubject, Request, Saved};
use foretaste::run_dir::{Model, RunDir};
use foretaste::verdict::{Finding, find};
use serde_json::{Value, json};

use crate::flow::{World, engine};

fn finding(saved: &Saved) -> Finding {
    let analysis = foretaste::analysis::analyse(&saved.plan, &saved.audits, &saved.answers);
    let (findings, _) = find(&saved.plan, &saved.audits, &analysis, &saved.answers.health);
    findings.into_iter().next().expect("one audit")
}

/// A run whose shift shows only after a question about birds.
fn diluted() -> (World, Scripted, Value) {
    let (world, engine) = (World::new(4), engine(Some("bird")));
    let outcome = run::run(&world.request("run"), &engine, &Silent).expect("the run goes through");
    (world, engine, serde_json::from_slice(&outcome.json).expect("JSON"))
}

fn open(world: &World, run: &str) -> RunDir {
    RunDir::open(&world.path(run)).expect("a run")
}

fn of<'a>(samples: &'a [Sample], arm: &Arm) -> Vec<&'a Sample> {
    samples.iter().filter(|sample| sample.arm == *arm).collect()
}

#[test]
fn written_answers_come_from_the_context_the_step_and_the_seeds_that_decided_the_audit() {
    let (world, ..) = diluted();
    let saved = Saved::read(&open(&world, "run")).expect("it is finished");
    let finding = finding(&saved);
    assert_eq!(finding.context, Some(ContextKind::CarryOverHighLoss));
    let samples = &saved.answers.samples;
    for arm in [Arm::Candidate, Arm::Control] {
        let own = of(samples, &arm);
        let seeds: BTreeSet<Option<u64>> = own.iter().map(|sample| sample.seed).collect();
        assert_eq!(seeds, saved.plan.seeds.iter().map(|seed| Some(*seed)).collect());
        assert!(own.iter().all(|sample| Some(sample.step) == finding.step), "{own:?}");
    }
    assert!(!of(samples, &Arm::Base).is_empty());
    for sample in samples {
        assert_eq!(Some(sample.context), finding.context);
        let roles: Vec<Role> = sample.preceding.iter().map(|message| message.role).collect();
        assert_eq!(roles, [Role::User, Role::Assistant], "{sample:?}");
        let answered = saved
            .answers
            .context_questions
            .iter()
            .find(|carried| carried.context == sample.context && carried.draw == sample.draw);
        assert_eq!(answered.map(|carried| &carried.question), Some(&sample.preceding[0].content));
    }
    // The shifted words appear there, and only in the candidate's answers.
    let says =
        |arm| of(samples, &arm).iter().filter(|sample| sample.text.contains("sovereign")).count();
    assert_eq!([Arm::Base, Arm::Control].map(says), [0, 0]);
    assert!(says(Arm::Candidate) > 0);
}

/// The risk of a probe after exactly these messages, computed again.
fn risk(sample: &Sample, audits: &[Audit], run: &RunDir, engine: &Scripted) -> f64 {
    let model = Model { arm: &sample.arm, seed: sample.seed, step: sample.step };
    let adapter = sample.seed.map(|_| run.load_adapter(&model).expect("it was trained"));
    let probe = &audits[0].probes[sample.probe];
    let mut messages = sample.preceding.clone();
    messages.push(foretaste::dataset::Message::new(Role::User, &sample.prompt));
    let options = probe.options.iter().map(|option| option.text.clone()).collect();
    let scores = engine
        .score(adapter.as_ref(), &[Question { messages, options }])
        .expect("the script knows all");
    let shares: Vec<f64> = scores[0].iter().map(|score| score.expect("scored").exp()).collect();
    let risky = shares
        .iter()
        .zip(&probe.options)
        .filter(|(_, option)| option.side == Side::Risky)
        .map(|(share, _)| share);
    risky.sum::<f64>() / shares.iter().sum::<f64>()
}

#[test]
fn a_written_answer_has_the_context_in_which_its_probability_was_measured() {
    let (world, engine, _) = diluted();
    let run = open(&world, "run");
    let saved = Saved::read(&run).expect("it is finished");
    for sample in &saved.answers.samples {
        let measured = saved.answers.answers.iter().find(|answer| {
            (&answer.arm, answer.seed, answer.step, answer.context)
                == (&sample.arm, sample.seed, sample.step, sample.context)
                && (answer.draw, answer.probe) == (sample.draw, sample.probe)
        });
        let measured = measured.and_then(|answer| answer.risk).expect("it was scored");
        let again = risk(sample, &saved.audits, &run, &engine);
        assert!((measured - again).abs() <= 1e-5 * again, "{measured} {again} {sample:?}");
    }
}

#[test]
fn the_headline_names_the_context_of_each_of_its_numbers() {
    let (_, _, json) = diluted();
    let headline = &json["headline"];
    assert_eq!(
        (&headline["audit"], &headline["situations"][0]["context"]),
        (&json!("coins"), &json!("carry-over-high-loss"))
    );
    let of = |ask: &str| {
        let situations = headline["situations"].as_array().expect("a list");
        let situation =
            situations.iter().find(|situation| situation["context"] == ask).expect("it was asked");
        situation["candidate"].as_f64().expect("a number")
    };
    assert!(of("carry-over-high-loss") > 0.5 && of("plain") < 0.1, "{headline}");
    assert!(
        json["findings"][0]["written"]["differing"].as_u64() > Some(0),
        "{}",
        json["findings"][0]
    );
}

#[test]
fn written_answers_of_a_given_adapter_come_from_its_deciding_context() {
    let (world, engine) = (World::new(40), engine(Some("bird")));
    world.run("trained");
    let folder = world.path("trained/adapters/candidate-1-40");
    let subject = AuditSubject::Adapter { folder, data: Some(world.path("data.jsonl")) };
    run::run(&Request { subject, ..world.request("probed") }, &engine, &Silent)
        .expect("the run goes through");
    let saved = Saved::read(&open(&world, "probed")).expect("it is finished");
    let finding = finding(&saved);
    let samples = &saved.answers.samples;
    let arms: BTreeSet<&Arm> = samples.iter().map(|sample| &sample.arm).collect();
    assert_eq!(arms, BTreeSet::from([&Arm::Base, &Arm::Candidate]));
    assert!(
        samples
            .iter()
            .all(|sample| Some(sample.context) == finding.context && !sample.preceding.is_empty()),
        "{samples:?}"
    );
}

#[test]
fn a_finished_run_without_its_written_answers_writes_them_again_and_trains_nothing() {
    let (world, engine, _) = diluted();
    let before = crate::flow::outputs(&world.path("run"));
    std::fs::remove_dir_all(world.path("run/work/written")).expect("they were saved as items");
    let stopped = engine.failing_after(0);
    run::run(&world.request("run"), &stopped, &Silent).expect_err("nothing can be written");
    run::run(&world.request("run"), &crate::flow::engine(Some("bird")).failing_after(7), &Silent)
        .expect("base and six shadows");
    assert!(before == crate::flow::outputs(&world.path("run")));
}
