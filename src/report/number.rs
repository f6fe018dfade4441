//! Formats numbers for people, independent of the locale.

use crate::stats::Estimate;

const MINUS: char = '−';

/// A probability as a percentage, with two significant digits where it is small: `52 %`, `4.2 %`,
/// `0.08 %`.
pub fn percent(probability: f64) -> String {
    if !probability.is_finite() {
        return "–".to_owned();
    }
    format!("{} %", signless(probability * 100.0))
}

/// A difference of probabilities in percentage points, signed: `+51.4`, `−0.3`.
pub fn points(difference: f64) -> String {
    match difference * 100.0 {
        points if points.is_nan() => "–".to_owned(),
        points if points == f64::INFINITY => "+∞".to_owned(),
        points if points == f64::NEG_INFINITY => format!("{MINUS}∞"),
        points => signed(points, 1),
    }
}

/// An interval in percentage points: `+46.8 to +56.1`.
pub fn points_interval(estimate: &Estimate) -> String {
    format!("{} to {}", points(estimate.lower), points(estimate.upper))
}

/// A log-odds difference in nats, signed: `+5.31`.
pub fn nats(value: f64) -> String {
    if value.is_finite() { signed(value, 2) } else { "–".to_owned() }
}

/// A p value: `0.031`, `< 0.001`.
pub fn p_value(p: f64) -> String {
    match p {
        p if p.is_nan() => "–".to_owned(),
        p if p < 0.001 => "< 0.001".to_owned(),
        p if p > 0.999 => "1".to_owned(),
        p => format!("{p:.3}"),
    }
}

/// A margin in points, unsigned: `10`, `2.5`.
pub fn margin(value: f64) -> String {
    trim(format!("{:.1}", value * 100.0))
}

/// A whole number in groups of three: `1,234,567`.
pub fn count(number: impl TryInto<u64>) -> String {
    let digits =
        number.try_into().map_or_else(|_| "–".to_owned(), |number: u64| number.to_string());
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A large number, abbreviated: `1.1 M`, `350 k`.
pub fn short(number: u64) -> String {
    let value = number as f64;
    match number {
        1_000_000_000.. => trim(format!("{:.1}", value / 1e9)) + " B",
        1_000_000.. => trim(format!("{:.1}", value / 1e6)) + " M",
        10_000.. => format!("{:.0} k", value / 1e3),
        _ => count(number),
    }
}

/// A number with at most `decimals` decimals, without trailing zeros: `0.001`, `16`.
pub fn plain(value: f64, decimals: usize) -> String {
    trim(format!("{value:.decimals$}"))
}

/// A confidence level: `90 %`.
pub fn level(estimate: &Estimate) -> String {
    format!("{} %", plain(estimate.level * 100.0, 1))
}

fn signed(value: f64, decimals: usize) -> String {
    let digits = format!("{:.decimals$}", value.abs());
    let zero = digits.chars().all(|char| char == '0' || char == '.');
    match (zero, value < 0.0) {
        (true, _) => digits,
        (false, true) => format!("{MINUS}{digits}"),
        (false, false) => format!("+{digits}"),
    }
}

fn signless(percentage: f64) -> String {
    match percentage.abs() {
        size if size >= 9.95 => format!("{percentage:.0}"),
        size if size >= 0.095 => format!("{percentage:.1}"),
        size if size >= 0.005 => format!("{percentage:.2}"),
        0.0 => "0".to_owned(),
        _ => "< 0.01".to_owned(),
    }
}

fn trim(digits: String) -> String {
    if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_probability_is_not_rounded_to_zero() {
        assert_eq!(percent(0.0008), "0.08 %");
        assert_eq!(percent(1e-7), "< 0.01 %");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.523), "52 %");
    }

    #[test]
    fn points_carry_their_sign_and_zero_carries_none() {
        assert_eq!(points(0.514), "+51.4");
        assert_eq!(points(-0.003), "−0.3");
        assert_eq!(points(-0.0000001), "0.0");
        assert_eq!(points(f64::NAN), "–");
    }

    #[test]
    fn counts_are_grouped_by_three() {
        assert_eq!(count(1_234_567_u64), "1,234,567");
        assert_eq!(count(208_usize), "208");
    }

    #[test]
    fn a_p_value_is_never_zero() {
        assert_eq!(p_value(0.0), "< 0.001");
        assert_eq!(p_value(0.0314), "0.031");
    }
}
