//! One run on several devices, with one process per device. Two CPU devices are used instead of two
//! GPUs; only the place of the computation differs.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use foretaste::engine::remote::Remote;

fn audit(device: &str, out: &Path) -> Output {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/old_birds/control.jsonl");
    Command::new(env!("CARGO_BIN_EXE_foretaste"))
        .arg("audit")
        .arg(data)
        .args(
            "--only era --seeds 2 --steps 4 --limit 30 --draws 1 --threads 2 --quiet --device"
                .split(' '),
        )
        .args([device, "--out"])
        .arg(out)
        .output()
        .expect("the binary runs")
}

#[test]
fn two_processes_give_the_same_bytes_as_one() {
    let scratch = tempfile::tempdir().expect("a folder");
    let runs = ["cpu", "cpu,cpu"].map(|device| {
        let out = scratch.path().join(device);
        let run = audit(device, &out);
        assert_eq!(run.status.code(), Some(2), "{}", String::from_utf8_lossy(&run.stderr));
        fs::read(out.join("report.json")).expect("a report")
    });
    assert!(runs[0] == runs[1], "the reports differ");
}

#[test]
fn a_missing_device_is_an_error_that_names_it_and_a_remedy() {
    if cfg!(feature = "cuda") {
        return;
    }
    let scratch = tempfile::tempdir().expect("a folder");
    let run = audit("cpu,cuda:7", &scratch.path().join("run"));
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("cuda:7") && stderr.contains("--device cpu"), "{stderr}");
}

#[test]
fn a_process_that_ends_before_it_is_ready_is_an_error_that_names_its_device() {
    let start = |program: &str| Remote::start("cuda:1".to_owned(), &mut Command::new(program));
    let ended = start("true")
        .and_then(|starting| starting.ready())
        .err()
        .expect("it is no engine")
        .to_string();
    assert!(ended.contains("cuda:1") && ended.contains("ended"), "{ended}");
    assert!(
        start("/nowhere/at/all").err().expect("no such program").to_string().contains("cuda:1")
    );
}

#[test]
fn the_plan_of_two_processes_counts_the_memory_of_both() {
    let peak = |device: &str| {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/old_birds/control.jsonl");
        let run = Command::new(env!("CARGO_BIN_EXE_foretaste"))
            .arg("plan")
            .arg(data)
            .args(
                "--only era --seeds 2 --steps 4 --limit 30 --draws 1 --threads 2 --json --device"
                    .split(' '),
            )
            .arg(device)
            .output()
            .expect("the binary runs");
        let plan: serde_json::Value = serde_json::from_slice(&run.stdout).expect("JSON");
        plan["estimate"]["peak_bytes"].as_f64().expect("Linux reports it")
    };
    let (one, two) = (peak("cpu"), peak("cpu,cpu"));
    // The second process needs the minimum memory of nestling. The first does less than when alone.
    assert!(two > 1.1 * one, "{one} and {two} bytes");
}
