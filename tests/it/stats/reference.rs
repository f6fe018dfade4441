//! Statistics compared with scipy, statsmodels and numpy; fixtures/reference/stats/make.py wrote
//! theirs.

use foretaste::stats::Unit;
use foretaste::stats::grid::Grid;
use foretaste::stats::intervals::{Scale, Scatter, estimate, p_above, t_quantile, t_upper_tail};
use foretaste::stats::multiplicity::holm;
use foretaste::stats::power::{detectable, noncentral_t_upper_tail};
use foretaste::stats::share::share_p;
use serde_json::Value;

fn reference(name: &str) -> Vec<Value> {
    let values: Value =
        serde_json::from_str(include_str!("../../../fixtures/reference/stats/values.json"))
            .expect("values.json is JSON");
    let cases = values[name].as_array().expect("a list of cases").clone();
    assert!(!cases.is_empty(), "{name}");
    cases
}

fn number(case: &Value, field: &str) -> f64 {
    case[field].as_f64().unwrap_or_else(|| panic!("no number {field} in {case}"))
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .expect("a list")
        .iter()
        .map(|value| value.as_f64().expect("a number"))
        .collect()
}

fn grid(rows: &Value) -> Grid {
    let rows: Vec<Vec<Option<f64>>> = rows
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| numbers(row).into_iter().map(Some).collect())
        .collect();
    let families: Vec<String> = (0..rows[0].len()).map(|index| index.to_string()).collect();
    let seeds: Vec<u64> = (0..rows.len() as u64).collect();
    Grid::new(&seeds, &families, rows).expect("values")
}

#[track_caller]
fn agrees(ours: f64, theirs: f64) {
    assert!(
        (ours - theirs).abs() <= 1e-10 * theirs.abs().max(1e-300),
        "ours {ours:e}, theirs {theirs:e}"
    );
}

#[test]
fn students_t_agrees_with_scipy() {
    for case in reference("t_quantile") {
        agrees(
            t_quantile(number(&case, "share"), number(&case, "degrees")),
            number(&case, "value"),
        );
    }
    for case in reference("t_upper_tail") {
        agrees(t_upper_tail(number(&case, "value"), number(&case, "degrees")), number(&case, "p"));
    }
}

#[test]
fn intervals_of_a_crossed_grid_agree_with_scipy_and_statsmodels() {
    for case in reference("grid") {
        let grid = grid(&case["rows"]);
        let spread = Scatter::of(&grid);
        agrees(grid.mean(), number(&case, "mean"));
        agrees(spread.error().expect("several values"), number(&case, "error"));
        agrees(spread.degrees(), number(&case, "degrees"));
        let scale = Scale { lowest: -10.0, highest: 10.0, level: 0.9 };
        let estimate = estimate(Unit::Training, &grid, scale);
        agrees(estimate.lower, number(&case, "lower"));
        agrees(estimate.upper, number(&case, "upper"));
        agrees(p_above(grid.mean(), spread, number(&case, "margin")), number(&case, "p"));
    }
}

#[test]
fn holm_agrees_with_statsmodels() {
    for case in reference("holm") {
        for (ours, theirs) in
            holm(&numbers(&case["p"]), 0).into_iter().zip(numbers(&case["adjusted"]))
        {
            agrees(ours, theirs);
        }
    }
}

#[test]
fn the_noncentral_t_agrees_with_scipy() {
    for case in reference("noncentral_t") {
        let ours = noncentral_t_upper_tail(
            number(&case, "value"),
            number(&case, "degrees"),
            number(&case, "noncentrality"),
        );
        agrees(ours, number(&case, "p"));
    }
}

#[test]
fn the_detectable_effect_agrees_with_scipy() {
    for case in reference("detectable") {
        let degrees = number(&case, "seeds") - 1.0;
        agrees(detectable(degrees, number(&case, "alpha")), number(&case, "noncentrality"));
    }
}

#[test]
fn the_exact_test_of_a_share_agrees_with_scipy() {
    for case in reference("share") {
        let count = |name: &str| case[name].as_u64().expect("a count") as usize;
        agrees(share_p(count("shifted"), count("trainings"), 0.25), number(&case, "p"));
    }
}
