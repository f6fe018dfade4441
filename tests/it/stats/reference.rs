//! Statistics compared with scipy, statsmodels and numpy; fixtures/reference/stats/make.py wrote
//! theirs.

use foretaste::stats::bootstrap::{percentile_interval, quantile, resamples};
use foretaste::stats::grid::Grid;
use foretaste::stats::intervals::{Draws, Scale, estimate, seed_sd, t_quantile, t_upper_tail};
use foretaste::stats::multiplicity::holm;
use foretaste::stats::power::{detectable, noncentral_t_upper_tail};
use foretaste::stats::share::share_p;
use serde_json::Value;

const RESAMPLES: usize = 2000;

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
fn intervals_and_spread_of_a_grid_agree_with_scipy_and_statsmodels() {
    for case in reference("grid") {
        let grid = grid(&case["rows"]);
        let (degrees, root) = ((grid.seeds.len() - 1) as f64, (grid.seeds.len() as f64).sqrt());
        agrees(grid.residual_variance(), number(&case, "residual_variance"));
        agrees(grid.mean(), number(&case, "mean"));
        let floor = (number(&case, "residual_variance") / grid.families.len() as f64).sqrt();
        let sd = number(&case, "sd");
        agrees(seed_sd(&grid, 0.0).expect("seeds"), sd.max(floor));
        if sd > floor {
            let half = t_quantile(0.95, degrees) * sd / root;
            agrees(grid.mean() - half, number(&case, "lower"));
            agrees(grid.mean() + half, number(&case, "upper"));
            let t = (grid.mean() - number(&case, "margin")) / (sd / root);
            agrees(t_upper_tail(t, degrees), number(&case, "p"));
            let scale = Scale { resolution: 0.0, lowest: -10.0, highest: 10.0, level: 0.9 };
            let estimate = estimate(&grid, scale, &mut Draws::new(RESAMPLES));
            assert!(
                estimate.lower <= number(&case, "lower") + 1e-12
                    && estimate.upper >= number(&case, "upper") - 1e-12
            );
        }
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
fn quantiles_agree_with_numpy() {
    for case in reference("quantile") {
        agrees(quantile(&numbers(&case["sorted"]), number(&case, "share")), number(&case, "value"));
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
        let seeds = case["seeds"].as_u64().expect("a count") as usize;
        agrees(
            detectable(seeds, number(&case, "alpha")).expect("two seeds or more"),
            number(&case, "noncentrality"),
        );
    }
}

#[test]
fn the_exact_test_of_a_share_agrees_with_scipy() {
    for case in reference("share") {
        let count = |name: &str| case[name].as_u64().expect("a count") as usize;
        agrees(share_p(count("shifted"), count("trainings"), 0.25), number(&case, "p"));
    }
}

/// The share of 2,000 resamples below a quantile has a standard error of 0.5 percentage points. The
/// tolerance is three of them.
#[test]
fn the_bootstrap_agrees_with_the_enumeration_of_all_resamples() {
    for case in reference("bootstrap") {
        let grid = grid(&case["rows"]);
        let (lower, upper) = percentile_interval(
            &grid,
            &resamples(grid.seeds.len(), grid.families.len(), RESAMPLES),
            0.9,
        );
        let exact = |share: &str| number(&case["quantiles"], share);
        assert!(exact("0.035") <= lower && lower <= exact("0.065"), "{lower}");
        assert!(exact("0.935") <= upper && upper <= exact("0.965"), "{upper}");
    }
}
