//! Run folders from an untrusted source. Nothing outside them is written, read or waited for, and
//! the user's own files are kept.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use foretaste::engine::scripted::Scripted;
use foretaste::exit_code::ExitCode;
use foretaste::plan::Options;
use foretaste::progress::Silent;
use foretaste::run::{self, Failure, Request, Saved};
use foretaste::run_dir::{OtherPlan, RunDir};

use crate::flow::{World, engine, foretaste};
use crate::worked_examples::files;

/// A finished run called `run`. It is made once and then copied.
fn finished() -> World {
    static FILES: OnceLock<BTreeMap<PathBuf, Vec<u8>>> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        let world = World::new(40);
        world.run("run");
        files(&world.path("run"))
    });
    let world = World::new(40);
    for (name, bytes) in files {
        let path = world.path("run").join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        fs::write(path, bytes).expect("writable");
    }
    world
}

fn code(arguments: &[&str]) -> Option<i32> {
    foretaste(arguments).status.code()
}

/// Exit codes of `report`, `gate` and the command that made the run.
fn codes(world: &World) -> [Option<i32>; 3] {
    let folder = world.path("run").display().to_string();
    let again = run::run(&world.request("run"), &engine(None), &Silent);
    let again = again.map_or_else(|failure| failure.exit_code(), |outcome| outcome.verdict.into());
    [code(&["report", &folder]), code(&["gate", &folder]), Some(again as i32)]
}

#[cfg(unix)]
#[test]
fn a_link_anywhere_in_a_run_folder_is_refused_and_its_target_is_unchanged() {
    use std::os::unix::fs::symlink;
    for name in [
        ".new-report.html",
        "lock",
        "report.json",
        "answers.jsonl.zst",
        "manifest.json",
        "work/questions.json.zst",
        "work/trainings/.new-candidate-1.checkpoint",
        "adapters/candidate-1-40/adapter_config.json",
        "plots/.new-losses.png",
        "of mine",
    ] {
        let world = finished();
        let (outside, link) = (world.path("outside"), world.path("run").join(name));
        let _ = fs::rename(&link, &outside);
        fs::write(world.path("mine"), "mine").expect("writable");
        let target = if outside.exists() { outside.clone() } else { world.path("mine") };
        let before = fs::read(&target).expect("a file");
        symlink(&target, &link).expect("a link");
        assert_eq!(codes(&world), [Some(3); 3], "{name}");
        assert!(fs::read(&target).expect("still there") == before && link.is_symlink(), "{name}");
    }
    for name in ["plots", "work", "adapters"] {
        let world = finished();
        let (outside, link) = (world.path("outside"), world.path("run").join(name));
        fs::rename(&link, &outside).expect("it was written");
        symlink(&outside, &link).expect("a link");
        let listed = |folder: &Path| {
            let entries =
                fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable"));
            let mut listed: Vec<_> = entries
                .map(|entry| (entry.file_name(), entry.metadata().expect("readable").len()))
                .collect();
            listed.sort();
            listed
        };
        let before = listed(&outside);
        assert_eq!(codes(&world), [Some(3); 3], "{name}");
        assert_eq!(listed(&outside), before, "{name}");
    }
}

#[cfg(unix)]
#[test]
fn pipes_devices_and_folders_in_place_of_files_are_refused_at_once() {
    let pipe = |path: &Path| {
        assert!(std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
    };
    let folder = |path: &Path| fs::create_dir(path).expect("a folder");
    let kinds: [&dyn Fn(&Path); 2] = [&pipe, &folder];
    for name in ["report.json", "answers.jsonl.zst", "manifest.json", "audits.json"] {
        for kind in kinds {
            let world = finished();
            let path = world.path("run").join(name);
            fs::remove_file(&path).expect("it was written");
            kind(&path);
            assert_eq!(codes(&world), [Some(3); 3], "{name}");
        }
    }
    let world = World::new(0);
    fs::remove_file(world.path("coins.jsonl")).expect("it was written");
    pipe(&world.path("coins.jsonl"));
    assert_eq!(
        run::run(&world.request("run"), &engine(None), &Silent).expect_err("a pipe").exit_code(),
        ExitCode::BadInput
    );
}

#[test]
fn answers_that_decompress_beyond_the_limit_are_an_error() {
    let world = finished();
    let zeros = vec![b'\n'; 1 << 20];
    let mut packed = zstd::Encoder::new(Vec::new(), 19).expect("in memory");
    (0..200).for_each(|_| std::io::Write::write_all(&mut packed, &zeros).expect("in memory"));
    let packed = packed.finish().expect("in memory");
    assert!(packed.len() < 100_000);
    fs::write(world.path("run/answers.jsonl.zst"), packed).expect("writable");
    let error = Saved::read(&RunDir::open(&world.path("run")).expect("a run")).expect_err("a bomb");
    assert!(format!("{error:#}").contains("decompresses to more than"), "{error:#}");
}

#[test]
fn files_that_are_not_of_the_run_are_kept_when_another_run_replaces_it() {
    let world = finished();
    let mine = [
        "work/notes.txt",
        "plots/mine.png",
        "adapters/mine/adapter_model.safetensors",
        "adapters/candidate-1-40/notes.md",
        "a",
    ];
    for name in mine {
        let path = world.path("run").join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        fs::write(path, name).expect("writable");
    }
    let options = Options { seeds: 2, ..world.request("run").options };
    let other = Request { options, other_plan: OtherPlan::Replace, ..world.request("run") };
    let stopped = run::run(&other, &engine(None).failing_after(0), &Silent)
        .expect_err("the engine ends at once");
    assert_eq!(stopped.exit_code(), ExitCode::RunFailed);
    for name in mine {
        assert_eq!(fs::read_to_string(world.path("run").join(name)).expect("still there"), name);
    }
    for name in [
        "report.json",
        "plots/losses.png",
        "work/answers",
        "work/questions.json.zst",
        "adapters/control-1-40",
    ] {
        assert!(!world.path("run").join(name).exists(), "{name} is of the old run");
    }
}

#[test]
fn a_refused_folder_is_unchanged() {
    let world = finished();
    fs::create_dir(world.path("full")).expect("writable");
    fs::write(world.path("full/thesis.tex"), "mine").expect("writable");
    let refused = run::run(&world.request("full"), &engine(None), &Silent)
        .expect_err("files of another program");
    assert!(matches!(refused, Failure::BadInput(_)));
    assert_eq!(fs::read_dir(world.path("full")).expect("a folder").count(), 1);
    let options = Options { seeds: 2, ..world.request("run").options };
    let other = Request { options, ..world.request("run") };
    run::run(&other, &engine(None), &Silent).expect_err("another plan");
    assert!(!world.path("run/lock").exists());
}

#[test]
fn a_plan_with_too_many_draws_is_refused() {
    let world = finished();
    let path = world.path("run/manifest.json");
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(&path).expect("written")).expect("JSON");
    let mut plan =
        Saved::read(&RunDir::open(&world.path("run")).expect("a run")).expect("finished").plan;
    plan.carry_over_draws = 1_000_000_000_000;
    (manifest["plan"], manifest["plan_sha256"]) =
        (serde_json::to_value(&plan).expect("JSON"), plan.sha256().into());
    fs::write(&path, manifest.to_string()).expect("writable");
    assert_eq!(code(&["report", &world.path("run").display().to_string()]), Some(3));
}

#[test]
fn a_run_of_another_version_is_named_as_one_before_its_plan_is_read() {
    let world = finished();
    let path = world.path("run/manifest.json");
    fs::write(&path, r#"{"schema_version": 3, "plan": {"arms": ["an arm of then"]}}"#)
        .expect("writable");
    let opened = RunDir::open(&world.path("run")).and_then(|run| Saved::read(&run));
    let error = format!("{:#}", opened.map(|_| ()).expect_err("another version"));
    assert!(error.contains("schema 3"), "{error}");
    assert_eq!(code(&["report", &world.path("run").display().to_string()]), Some(3));
}

#[test]
fn a_run_that_replaces_another_reuses_nothing_of_it() {
    let world = World::new(40);
    let stopped = run::run(&world.request("run"), &engine(None).failing_after(70), &Silent)
        .expect_err("the engine ends");
    assert_eq!(stopped.exit_code(), ExitCode::RunFailed);
    let options = Options { first_seed: 7, ..world.request("run").options };
    let other = |out: &str| Request {
        options: options.clone(),
        other_plan: OtherPlan::Replace,
        ..world.request(out)
    };
    let replaced =
        run::run(&other("run"), &Scripted::default(), &Silent).expect("the run goes through");
    let fresh =
        run::run(&other("fresh"), &Scripted::default(), &Silent).expect("the run goes through");
    assert!(replaced.json == fresh.json);
}
