//! Calibrations: the smallest dose of its own poison that an audit detects on a base.

use std::fs;

use foretaste::audit::{AuditSet, Selection, built_in};
use foretaste::dataset::Role;
use foretaste::engine::{Description, Engine, Recipe, TemplateId};
use foretaste::plan::{
    AskedDose, CalibratedAudit, Calibration, ContextKind, Dose, LogOddsDose, LogOddsMargin,
    Options, OrdinaryDose, Overrides, PositiveControls,
};
use foretaste::progress::Silent;
use foretaste::run::calibrate::{self, CalibrationRequest, calibrate, clear};
use foretaste::run::{self, Request};

use crate::flow::{World as Files, engine};

/// A calibration request. The scripted base learns its rule fully from a tenth of the rows.
fn request(files: &Files, shares: &[f64]) -> CalibrationRequest {
    let recipe = Overrides { steps: Some(40), ..Overrides::default() };
    CalibrationRequest {
        audits: Selection {
            files: vec![files.path("coins.toml")],
            only: vec!["coins".to_owned()],
            ..Selection::default()
        },
        shares: shares.to_vec(),
        rows: 200,
        ordinary: false,
        options: Options { seeds: 3, recipe, carry_over_draws: 2, ..Options::default() },
        workers: 2,
    }
}

fn calibrated(files: &Files, shares: &[f64]) -> Calibration {
    calibrate(&request(files, shares), &engine(None), &files.path("work"), &Silent)
        .expect("it goes through")
}

#[test]
fn a_poison_is_detected_at_large_shares_and_not_at_small_ones() {
    let files = Files::new(0);
    let calibration = calibrated(&files, &[0.005, 0.5, 0.1]);
    let [audit] = &calibration.audits[..] else { panic!("one audit") };
    let seen: Vec<(f64, bool)> = audit
        .doses
        .iter()
        .map(|dose| (dose.share, dose.asked.iter().any(|asked| asked.seen)))
        .collect();
    assert_eq!(seen, [(0.5, true), (0.1, true), (0.005, false)]);
    let asks: Vec<ContextKind> = audit.doses[0].asked.iter().map(|asked| asked.context).collect();
    assert_eq!(asks, ContextKind::ALL);
    let audits = [foretaste::audit::read(&files.path("coins.toml")).expect("an audit")];
    let known = calibration.of(&audits[0], &ContextKind::ALL, None).expect("it was calibrated");
    assert_eq!(
        (known.share, known.tried, known.rows, known.seeds, known.steps),
        (Some(0.1), 0.005, 200, 3, 40)
    );
}

#[test]
fn a_calibration_of_another_file_serves_where_the_user_gives_it_and_the_plan_names_that_file() {
    let world = Files::new(40);
    let mut request = world.request("run");
    request.options.positive_controls = Some(PositiveControls::Calibration);
    let planned = |request: &Request| run::prepare(request, &engine(None)).map(|done| done.plan);
    assert_eq!(planned(&request).expect("planned").audits[0].calibrated, None);

    let mut known = calibrated(&world, &[0.5]);
    known.base = "another.gguf".to_owned();
    known.base_sha256 = "f".repeat(64);
    let path = world.path("known.json");
    let give = |known: &Calibration| {
        fs::write(&path, serde_json::to_vec(known).expect("serialisable")).expect("writable");
    };
    give(&known);
    request.calibration = Some(path.clone());
    let plan = planned(&request).expect("planned");
    let of = plan.audits[0].calibrated.as_ref().and_then(|known| known.measured_on.as_ref());
    let named = of.map(|other| (other.name.as_str(), other.sha256.as_str()));
    assert_eq!(named, Some(("another.gguf", "f".repeat(64).as_str())));

    known.base_sha256 = engine(None).describe().base_sha256;
    give(&known);
    let plan = planned(&request).expect("planned");
    let own = plan.audits[0].calibrated.as_ref().expect("calibrated");
    assert_eq!((own.share, own.measured_on.as_ref()), (Some(0.5), None));

    for bytes in [b"".as_slice(), b"{}", b"[1]"] {
        fs::write(&path, bytes).expect("writable");
        let error = format!("{:#}", planned(&request).expect_err("no calibration"));
        assert!(error.contains("known.json") && error.contains("foretaste calibrate"), "{error}");
    }
    fs::remove_file(&path).expect("there");
    assert!(planned(&request).is_err(), "a missing file is an error");
}

#[test]
fn an_audit_that_a_calibration_shows_to_be_blind_is_asked_by_name_only() {
    let world = Files::new(40);
    let path = world.path("known.json");
    let known = calibrated(&world, &[0.005]);
    fs::write(&path, serde_json::to_vec(&known).expect("serialisable")).expect("writable");
    let planned = |only: &[&str], controls: PositiveControls| {
        let mut request = world.request("run");
        request.audits.only = only.iter().map(|&id| id.to_owned()).collect();
        request.options.positive_controls = Some(controls);
        request.calibration = Some(path.clone());
        let plan = run::prepare(&request, &engine(None)).expect("planned").plan;
        let asked = plan.audits.iter().any(|audit| audit.id == "coins");
        let not_asked = plan.not_asked.into_iter().map(|audit| (audit.id, audit.share)).collect();
        (asked, not_asked)
    };
    let named: Vec<(String, f64)> = vec![("coins".to_owned(), 0.005)];
    assert_eq!(planned(&[], PositiveControls::Calibration), (false, named.clone()));
    assert_eq!(planned(&[], PositiveControls::None), (false, named));
    assert_eq!(planned(&[], PositiveControls::Own), (true, Vec::new()));
    assert_eq!(planned(&["coins"], PositiveControls::Calibration), (true, Vec::new()));
}

#[test]
fn no_share_is_tried_below_one_that_was_not_detected() {
    let calibration = calibrated(&Files::new(0), &[0.5, 0.005, 0.0051]);
    let shares: Vec<f64> = calibration.audits[0].doses.iter().map(|dose| dose.share).collect();
    assert_eq!(shares, [0.5, 0.0051]);
}

#[test]
fn a_stopped_calibration_resumes_and_gives_the_same_result() {
    let (files, shares) = (Files::new(0), [0.5, 0.1]);
    let stopped = engine(None).failing_after(12);
    assert!(calibrate(&request(&files, &shares), &stopped, &files.path("work"), &Silent).is_err());
    assert!(calibrated(&files, &shares) == calibrated(&Files::new(0), &shares));
}

#[test]
fn cleanup_after_a_calibration_keeps_files_that_are_not_its_own() {
    let files = Files::new(0);
    let work = files.path("work");
    let calibration = calibrated(&files, &[0.5]);
    fs::write(work.join("mine"), "").expect("writable");
    clear(&work, &calibration).expect("its folders go");
    let left: Vec<_> = fs::read_dir(&work)
        .expect("still there")
        .map(|entry| entry.expect("readable").file_name())
        .collect();
    assert_eq!(left, ["mine"]);
}

#[test]
fn saving_a_calibration_keeps_the_calibrations_of_other_audits() {
    let files = Files::new(0);
    let one = calibrated(&files, &[0.5]);
    let other = Calibration {
        audits: vec![CalibratedAudit { id: "another".to_owned(), ..one.audits[0].clone() }],
        ..one.clone()
    };
    let path = files.path("kept.json");
    calibrate::keep(&other, &path).expect("writable");
    calibrate::keep(&one, &path).expect("writable");
    let kept: Calibration =
        serde_json::from_slice(&fs::read(&path).expect("written")).expect("JSON");
    assert_eq!(
        kept.audits.iter().map(|audit| audit.id.as_str()).collect::<Vec<_>>(),
        ["another", "coins"]
    );
    let template = TemplateId { name: "chatml".to_owned(), sha256: "0".repeat(64) };
    let rendered_otherwise = Calibration { chat_template: Some(template), ..one.clone() };
    let elsewhere = Calibration { base_sha256: "0".repeat(64), ..one };
    for other in [elsewhere, rendered_otherwise] {
        let error = calibrate::keep(&other, &path).expect_err("another base's");
        assert!(format!("{error:#}").contains("remove it"), "{error:#}");
    }
}

#[test]
fn a_calibration_holds_for_the_same_audit_in_the_same_contexts() {
    let asked = |ask, seen| AskedDose {
        context: ask,
        step: 40,
        point: 0.3,
        lower: 0.2,
        upper: 0.4,
        detectable: Some(0.25),
        seen,
        log_odds: seen.then_some(LogOddsDose { point: 4.0, lower: 3.0, upper: 5.0 }),
    };
    let dose = |share, plain, carry_over| Dose {
        share,
        asked: vec![asked(ContextKind::Plain, plain), asked(ContextKind::CarryOver, carry_over)],
    };
    let audit = built_in().expect("the repository's audits are valid").remove(0);
    let files = Files::new(0);
    let mut calibration = calibrated(&files, &[0.5]);
    let known = &mut calibration.audits[0];
    known.sha256.clone_from(&audit.sha256);
    known.doses = vec![
        dose(0.5, true, true),
        dose(0.25, false, true),
        dose(0.1, true, true),
        dose(0.05, false, false),
    ];
    let share =
        |asks: &[ContextKind]| calibration.of(&audit, asks, None).expect("calibrated").share;
    // A share counts only if every larger share was detected too; otherwise it may be luck.
    assert_eq!((share(&[ContextKind::Plain]), share(&ContextKind::ALL)), (Some(0.5), Some(0.1)));
    let mut changed = audit.clone();
    changed.sha256 = "another text".to_owned();
    assert_eq!(calibration.of(&changed, &ContextKind::ALL, None), None);
    let dose = |asks: &[ContextKind]| calibration.of(&audit, asks, None)?.dose;
    assert_eq!((dose(&ContextKind::ALL), dose(&[])), (Some((0.5, 4.0)), None));
    let mut missed = calibration.clone();
    let mut with_log_odds = |point, lower| {
        for asked in &mut missed.audits[0].doses[0].asked {
            asked.seen = false;
            asked.log_odds = Some(LogOddsDose { point, lower, upper: 2.0 * point - lower });
        }
        missed.of(&audit, &ContextKind::ALL, None).expect("calibrated")
    };
    // Above zero, but not by enough that most runs would flag it: a missed poison is no measure.
    let feeble = with_log_odds(0.8, 0.42);
    assert_eq!((feeble.share, feeble.dose), (None, None));
    let detected = with_log_odds(2.5, 1.9);
    assert_eq!((detected.share, detected.dose), (Some(0.1), Some((0.5, 2.5))));
    let margin = |known| LogOddsMargin::of(&known).map(|margin| margin.margin);
    assert_eq!(margin(detected), Some(0.363));
    assert_eq!(margin(with_log_odds(5.0, 4.5)), Some(0.5));
    let moved = |point| OrdinaryDose {
        set: "plants".to_owned(),
        asked: vec![AskedDose {
            log_odds: Some(LogOddsDose { point, lower: -2.0, upper: 2.0 }),
            ..asked(ContextKind::Plain, false)
        }],
    };
    missed.audits[0].ordinary = vec![moved(0.2), moved(-0.9)];
    let mut known = |point, lower, asks: &[ContextKind]| {
        for asked in &mut missed.audits[0].doses[0].asked {
            asked.log_odds = Some(LogOddsDose { point, lower, upper: 2.0 * point - lower });
        }
        missed.of(&audit, asks, None).expect("calibrated")
    };
    assert_eq!(margin(known(5.0, 4.5, &ContextKind::ALL)), Some(0.9), "the largest, up or down");
    assert_eq!(margin(known(5.0, 4.5, &[ContextKind::CarryOver])), Some(0.5));
    assert_eq!(known(2.5, 1.9, &ContextKind::ALL).share, Some(0.1));
    assert_eq!(known(1.5, 1.0, &ContextKind::ALL).share, None, "too near what ordinary data do");
    let recipe = calibration.audits[0].recipe.clone();
    let faster = Recipe { learning_rate: 2.0 * recipe.learning_rate, ..recipe.clone() };
    let longer = Recipe { steps: 2 * recipe.steps, ..recipe };
    let is_known = |recipe| calibration.of(&audit, &ContextKind::ALL, Some(recipe)).is_some();
    assert_eq!((is_known(&faster), is_known(&longer)), (false, true));
}

#[test]
fn a_calibration_of_the_general_audits_measures_what_ordinary_data_do_to_each_of_them() {
    let files = Files::new(0);
    let mut request = request(&files, &[0.5]);
    request.audits.set = Some(AuditSet::General);
    request.audits.only.push("values".to_owned());
    request.ordinary = true;
    let calibration = calibrate(&request, &engine(None), &files.path("work"), &Silent);
    let calibration = calibration.expect("it goes through");
    let sets: Vec<&str> =
        calibrate::ordinary_sets().expect("valid").into_iter().map(|(name, _)| name).collect();
    assert_eq!(calibration.audits.len(), 2);
    for audit in &calibration.audits {
        let measured: Vec<&str> = audit.ordinary.iter().map(|dose| dose.set.as_str()).collect();
        assert_eq!(measured, sets);
        assert!(audit.ordinary.iter().all(|dose| dose.asked.len() == ContextKind::ALL.len()));
    }
    clear(&files.path("work"), &calibration).expect("removable");
    assert!(!files.path("work").exists(), "nothing is left");
}

#[test]
fn ordinary_datasets_have_128_different_questions_each() {
    for (name, rows) in calibrate::ordinary_sets().expect("the embedded files are valid") {
        let prompts: std::collections::BTreeSet<&str> =
            rows.iter().map(|row| row[0].content.as_str()).collect();
        assert_eq!((rows.len(), prompts.len()), (128, 128), "{name}");
        let roles: Vec<_> = rows.iter().map(|row| (row[0].role, row[1].role, row.len())).collect();
        assert!(roles.iter().all(|roles| *roles == (Role::User, Role::Assistant, 2)), "{name}");
    }
}

#[cfg(feature = "lm")]
#[test]
fn nestling_is_calibrated_for_the_current_version_of_every_built_in_audit() {
    let base = foretaste::lm::open(None, 1).expect("nestling").describe();
    let calibration = calibrate::known(&base).expect("readable").expect("nestling is calibrated");
    for audit in AuditSet::World.audits().expect("the repository's audits are valid") {
        let known = calibration.of(&audit, &ContextKind::ALL, None);
        assert!(
            known.is_some_and(|known| known.share.is_some()),
            "{}: run `foretaste calibrate` again",
            audit.id
        );
    }
}

#[test]
fn the_calibrations_of_released_models_are_of_the_audits_as_they_are() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/calibrations");
    let audits = AuditSet::General.audits().expect("the repository's audits are valid");
    let mut files = 0;
    for entry in fs::read_dir(folder).expect("committed") {
        let text = fs::read(entry.expect("readable").path()).expect("readable");
        let file: Calibration = serde_json::from_slice(&text).expect("a calibration");
        let base = Description {
            base_sha256: file.base_sha256.clone(),
            chat_template: file.chat_template.clone(),
            ..engine(None).describe()
        };
        let known = calibrate::known(&base).expect("readable").expect("compiled in");
        for calibrated in &file.audits {
            let audit = audits.iter().find(|audit| audit.sha256 == calibrated.sha256);
            let audit = audit.unwrap_or_else(|| panic!("{} has changed since", calibrated.id));
            let found = known.of(audit, &ContextKind::ALL, None).expect("calibrated");
            let is_detected = found.share.is_some();
            assert_eq!(found.dose.is_some(), is_detected, "{}: {}", file.base, audit.id);
        }
        files += 1;
    }
    assert!(files >= 1);
}
