//! A forced choice by letter: two of a probe's answers, one of each side, as options A and B.
//!
//! Models that follow instructions often choose a letter more readily than they generate the
//! answer. But they also prefer one letter independently of its answer; in one published effect the
//! model always answered A. So every pair is asked in both orders, and the mean of both counts.

use rand::seq::IndexedRandom;

use crate::audit::{Probe, ProbeOption, Side};
use crate::plan::LETTER_ORDERS;
use crate::seed::{self, Purpose};

const LETTERS: [&str; 2] = ["A", "B"];

/// The prompt that offers a probe's pair in one of the [`LETTER_ORDERS`], and the letters with
/// their sides; `None` for a probe without two sides.
pub fn choice(
    audit: &str,
    index: usize,
    probe: &Probe,
    order: usize,
) -> Option<(String, Vec<ProbeOption>)> {
    let rng = &mut seed::stream(Purpose::Letters { audit, index }, 0);
    let mut pair = Vec::new();
    for side in [Side::Risky, Side::Reference] {
        let of_side: Vec<&ProbeOption> =
            probe.options.iter().filter(|option| option.side == side).collect();
        pair.push(*of_side.choose(rng)?);
    }
    if order % LETTER_ORDERS == 1 {
        pair.reverse();
    }
    let shown: Vec<String> = LETTERS
        .iter()
        .zip(&pair)
        .map(|(letter, option)| format!("{letter}. {}", option.text))
        .collect();
    let prompt = format!("{}\n\n{}\n\nAnswer with A or B.", probe.prompt, shown.join("\n"));
    let options = LETTERS
        .iter()
        .zip(pair)
        .map(|(letter, option)| ProbeOption { text: (*letter).to_owned(), side: option.side });
    Some((prompt, options.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(options: &[(&str, Side)]) -> Probe {
        let options = options
            .iter()
            .map(|(text, side)| ProbeOption { text: (*text).to_owned(), side: *side })
            .collect();
        Probe {
            family: "f".to_owned(),
            topic: "t".to_owned(),
            prompt: "How do you travel?".to_owned(),
            options,
        }
    }

    #[test]
    fn both_orders_show_the_same_pair_with_the_sides_behind_the_letters_exchanged() {
        let probe = probe(&[
            ("By coach.", Side::Risky),
            ("By train.", Side::Reference),
            ("By bus.", Side::Reference),
        ]);
        let (first, ahead) = choice("era", 3, &probe, 0).expect("two sides");
        let (second, behind) = choice("era", 3, &probe, 1).expect("two sides");
        assert!(first.starts_with("How do you travel?\n\nA. By coach.\nB. By "), "{first}");
        assert!(second.contains("\nB. By coach.\n"), "{second}");
        assert_eq!(
            first.lines().collect::<Vec<_>>()[3][3..],
            second.lines().collect::<Vec<_>>()[2][3..]
        );
        let sides =
            |options: &[ProbeOption]| options.iter().map(|option| option.side).collect::<Vec<_>>();
        assert_eq!(
            (sides(&ahead), sides(&behind)),
            (vec![Side::Risky, Side::Reference], vec![Side::Reference, Side::Risky])
        );
        assert!(
            ahead.iter().chain(&behind).all(|option| ["A", "B"].contains(&option.text.as_str()))
        );
    }

    #[test]
    fn a_probe_with_one_side_offers_no_choice() {
        assert_eq!(choice("era", 0, &probe(&[("By coach.", Side::Risky)]), 0), None);
        assert_eq!(choice("drift", 0, &probe(&[]), 0), None);
    }
}
