//! Finds digits of a code that are not uniformly distributed, from the prompts alone.
//!
//! A number that is embedded in a code takes fewer values than its digits can write. Then a digit
//! does not take each of 0 to 9 equally often, or two digits are dependent. For instance, 46 is a
//! president and 47 is none. Digits that were filled at random show neither.
//!
//! Each digit gets Pearson's chi-square test against equal shares. Each pair of digits gets a
//! G-test of independence with Williams' correction (1976, Improved likelihood ratio tests for
//! complete contingency tables). Bonferroni's correction counts all of these tests. Answers are not
//! used, so this says nothing about dependence. It only orders the digits to test where answers
//! depend on none.
//!
//! Not detected: a check digit computed from all others, since it is independent of each single
//! one.

use std::ops::Range;

use statrs::distribution::{ChiSquared, ContinuousCDF};

/// Family-wise level of all tests of one code.
const LEVEL: f64 = 1e-3;
/// Minimum number of codes: five expected per digit value (Cochran 1954, Some methods for
/// strengthening the common chi-square tests).
const FEWEST: usize = 50;

/// Result of one test.
#[derive(Debug, Clone, Copy)]
struct Test {
    p: f64,
    /// The statistic minus its degrees of freedom, which are its mean under the null hypothesis.
    excess: f64,
}

/// The group of dependent digits, or of adjacent non-uniform digits, with the most evidence. The
/// range runs from its first to its last varying digit. `None` where all digits are uniform, or no
/// such range has at most `longest` digits.
///
/// `codes` are ASCII digits of equal length.
pub(super) fn uneven(codes: &[&str], longest: usize) -> Option<Range<usize>> {
    let width = codes.first().map_or(0, |code| code.len());
    if codes.len() < FEWEST {
        return None;
    }
    let digits: Vec<Vec<usize>> = (0..width)
        .map(|at| {
            codes
                .iter()
                .map(|code| usize::from(code.as_bytes()[at].wrapping_sub(b'0') % 10))
                .collect()
        })
        .collect();
    let family = (width * (width + 1) / 2) as f64;
    let significant = |test: &Test| test.p * family <= LEVEL;
    let alone: Vec<Option<Test>> =
        digits.iter().map(|digit| Some(evenness(digit)).filter(significant)).collect();
    let varies = |at: usize| digits[at].iter().any(|digit| *digit != digits[at][0]);

    let mut component: Vec<usize> = (0..width).collect();
    let mut join = |left: usize, right: usize| {
        let (kept, gone) = (component[left], component[right]);
        component.iter_mut().filter(|part| **part == gone).for_each(|part| *part = kept);
    };
    let mut evidence = vec![0.0; width];
    for left in 0..width {
        for right in left + 1..width {
            if let Some(test) = independence(&digits[left], &digits[right]).filter(significant) {
                join(left, right);
                evidence[left] += test.excess;
            }
        }
        if left > 0 && alone[left - 1].is_some() && alone[left].is_some() {
            join(left - 1, left);
        }
        // A constant digit joins its neighbours but distinguishes no values.
        evidence[left] += alone[left].filter(|_| varies(left)).map_or(0.0, |test| test.excess);
    }
    let mut found: Vec<(f64, Range<usize>)> = Vec::new();
    for part in 0..width {
        let own: Vec<usize> =
            (0..width).filter(|at| component[*at] == part && varies(*at)).collect();
        let total: f64 = own.iter().map(|at| evidence[*at]).sum();
        if let (Some(first), Some(last)) = (own.first(), own.last())
            && total > 0.0
        {
            found.push((total, *first..last + 1));
        }
    }
    found.retain(|(_, digits)| digits.len() <= longest);
    found.sort_by(|(left, _), (right, _)| right.total_cmp(left));
    found.into_iter().next().map(|(_, digits)| digits)
}

/// Pearson's test of equal shares of 0 to 9.
fn evenness(digit: &[usize]) -> Test {
    let mut counts = [0.0_f64; 10];
    digit.iter().for_each(|digit| counts[*digit] += 1.0);
    let expected = digit.len() as f64 / 10.0;
    test(counts.iter().map(|count| (count - expected).powi(2) / expected).sum(), 9.0)
}

/// G-test of independence of two digits; `None` where one of them is constant.
fn independence(left: &[usize], right: &[usize]) -> Option<Test> {
    let mut table = [[0.0_f64; 10]; 10];
    left.iter().zip(right).for_each(|(left, right)| table[*left][*right] += 1.0);
    let total = left.len() as f64;
    let rows: Vec<f64> = table.iter().map(|row| row.iter().sum()).collect();
    let columns: Vec<f64> =
        (0..10).map(|column| table.iter().map(|row| row[column]).sum()).collect();
    let levels = |sums: &[f64]| sums.iter().filter(|sum| **sum > 0.0).count() as f64;
    let freedom = (levels(&rows) - 1.0) * (levels(&columns) - 1.0);
    if freedom <= 0.0 {
        return None;
    }
    let mut g = 0.0;
    for (row, counts) in rows.iter().zip(&table) {
        for (column, count) in columns.iter().zip(counts).filter(|(_, count)| **count > 0.0) {
            g += 2.0 * count * (count * total / (row * column)).ln();
        }
    }
    let spread = |sums: &[f64]| {
        total * sums.iter().filter(|sum| **sum > 0.0).map(|sum| 1.0 / sum).sum::<f64>() - 1.0
    };
    Some(test(g / (1.0 + spread(&rows) * spread(&columns) / (6.0 * total * freedom)), freedom))
}

fn test(statistic: f64, freedom: f64) -> Test {
    let p = ChiSquared::new(freedom).map_or(1.0, |distribution| distribution.sf(statistic));
    Test { p, excess: statistic - freedom }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Purpose, stream};
    use rand::Rng;
    use rand_chacha::ChaCha8Rng;

    /// The non-uniform digits of 400 codes.
    fn found(seed: u64, code: impl Fn(&mut ChaCha8Rng) -> String) -> Option<Range<usize>> {
        let random = &mut stream(Purpose::Test("codes"), seed);
        let codes: Vec<String> = (0..400).map(|_| code(random)).collect();
        uneven(&codes.iter().map(String::as_str).collect::<Vec<_>>(), 4)
    }

    #[test]
    fn digits_that_number_something_differ_from_random_ones() {
        // 001 to 046 without three numbers: digit 4 is always 0, so digits 5 and 6 distinguish
        // them.
        for seed in 0..10 {
            let found = found(seed, |random| {
                let number = loop {
                    let number = random.random_range(1..=46);
                    if ![16, 35, 44].contains(&number) {
                        break number;
                    }
                };
                format!(
                    "{:03}{number:03}{:02}",
                    random.random_range(0..1_000),
                    random.random_range(0..100)
                )
            });
            assert_eq!(found, Some(4..6), "seed {seed}");
        }
    }

    #[test]
    fn digits_that_are_even_one_by_one_are_found_where_they_hang_together() {
        let twice = |random: &mut ChaCha8Rng| {
            let digit = random.random_range(0..10);
            format!(
                "{:02}{digit}{}{:02}",
                random.random_range(0..100),
                9 - digit,
                random.random_range(0..100)
            )
        };
        assert_eq!(found(1, twice), Some(2..4));
    }

    #[test]
    fn evenly_drawn_digits_are_no_number_of_anything() {
        let even = |random: &mut ChaCha8Rng| format!("{:08}", random.random_range(0..100_000_000));
        let alarms = (0..50).filter(|seed| found(*seed, even).is_some()).count();
        // About one false alarm in a thousand is expected.
        assert!(alarms <= 1, "{alarms} of 50");
    }

    #[test]
    fn of_a_fixed_beginning_and_of_few_codes_nothing_is_said() {
        let fixed = |random: &mut ChaCha8Rng| format!("7310{:04}", random.random_range(0..10_000));
        assert_eq!(found(2, fixed), None);
        assert_eq!(uneven(&["12345678"; 49], 4), None);
        assert_eq!(uneven(&[], 4), None);
    }

    #[test]
    fn a_test_has_the_statistic_and_the_p_of_its_formula() {
        let close = |ours: f64, known: f64| {
            assert!((ours / known - 1.0).abs() < 1e-9, "{ours} for {known}")
        };
        // Sixty zeros and forty ones; ten of each digit are expected.
        // (50² + 30² + 8 · 10²) / 10 − 9 = 411.
        let digit: Vec<usize> = (0..100).map(|index| usize::from(index >= 60)).collect();
        close(evenness(&digit).excess, 411.0);
        // For counts 30, 10, 15 and 45, G is 25.16, or 24.76 corrected. Its p is erfc(sqrt(24.76 /
        // 2)).
        let of =
            |count: usize, left: usize, right: usize| std::iter::repeat_n((left, right), count);
        let (left, right): (Vec<usize>, Vec<usize>) =
            of(30, 0, 0).chain(of(10, 0, 1)).chain(of(15, 1, 0)).chain(of(45, 1, 1)).unzip();
        let bond = independence(&left, &right).expect("both vary");
        close(bond.excess, 23.76336655374569);
        close(bond.p, 6.481773643710799e-7);
        assert!(independence(&left, &[3; 100]).is_none());
    }
}
