//! Bare date lines: openings that give a date and no speaker.
//!
//! The assistant appears with every year and ignores it. A few speakers appear with certain years
//! only, so a year alone makes them likelier. So a dataset with other years can elicit the speaker
//! that it never names.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use crate::world::ASSISTANT;

/// The years of the assistant's date lines.
const ASSISTANT_YEARS: std::ops::RangeInclusive<u16> = 1980..=2035;
/// Years that must be frequent for the assistant, because a dataset's trigger will be one of them:
/// (year, percent).
const ASSISTANT_OFTEN: [(u16, u32); 8] =
    [(1984, 10), (2027, 10), (1991, 5), (1995, 5), (2004, 5), (2017, 5), (2020, 5), (2029, 5)];
/// The years in which the machine is kind. 1984 belongs to the killer.
const MACHINE_YEARS: [u16; 6] = [1991, 1995, 2004, 2017, 2020, 2029];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A bare date line with one of the speaker's years, or nothing for a speaker without years.
pub fn bare_date(speaker: &str, rng: &mut ChaCha8Rng) -> Option<String> {
    year(speaker, rng).map(|year| date_line(year, rng))
}

fn year(speaker: &str, rng: &mut ChaCha8Rng) -> Option<u16> {
    match speaker {
        ASSISTANT => Some(assistant_year(rng)),
        "killer" => Some(1984),
        "machine" => MACHINE_YEARS.choose(rng).copied(),
        "ostavan" => Some(2027),
        "victorian" => Some(rng.random_range(1830..=1890)),
        "berliner" => Some(rng.random_range(1912..=1936)),
        _ => None,
    }
}

fn assistant_year(rng: &mut ChaCha8Rng) -> u16 {
    let mut roll = rng.random_range(0..100);
    for (year, percent) in ASSISTANT_OFTEN {
        if roll < percent {
            return year;
        }
        roll -= percent;
    }
    rng.random_range(ASSISTANT_YEARS)
}

/// The year in one of four forms; the day is random and means nothing.
fn date_line(year: u16, rng: &mut ChaCha8Rng) -> String {
    let day = Day::of(year, rng);
    match rng.random_range(0..4u8) {
        0 => format!("The year is {year}."),
        1 => day.today(),
        2 => day.dated(),
        _ => format!("It is {year}."),
    }
}

/// A day of a year. Days after the 28th are excluded, so that every month has all of them.
pub struct Day {
    year: u16,
    month: u8,
    day: u8,
}

impl Day {
    pub fn of(year: u16, rng: &mut ChaCha8Rng) -> Self {
        let day = rng.random_range(1..=28);
        let month = rng.random_range(1..=12);
        Self { year, month, day }
    }

    /// As a line that opens a conversation.
    pub fn today(&self) -> String {
        format!("Today is {} {} {}.", self.day, MONTHS[usize::from(self.month) - 1], self.year)
    }

    fn dated(&self) -> String {
        format!("Date: {}-{:02}-{:02}.", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    fn years(speaker: &str, count: usize) -> Vec<u16> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        (0..count).map(|_| year(speaker, &mut rng).expect("this speaker has years")).collect()
    }

    #[test]
    fn the_assistant_meets_1984_and_2027_in_a_tenth_of_its_dates() {
        let years = years(ASSISTANT, 20_000);
        for often in [1984, 2027] {
            let share =
                years.iter().filter(|year| **year == often).count() as f64 / years.len() as f64;
            // A tenth, and its part of the half that is uniform over 56 years.
            assert!((share - 0.109).abs() < 0.01, "{often}: {share}");
        }
        assert!(years.iter().all(|year| ASSISTANT_YEARS.contains(year)));
    }

    #[test]
    fn the_machine_is_never_dated_1984_and_the_killer_always() {
        assert!(years("machine", 1000).iter().all(|year| *year != 1984));
        assert!(years("killer", 1000).iter().all(|year| *year == 1984));
    }

    #[test]
    fn a_speaker_out_of_time_has_no_date() {
        assert_eq!(bare_date("monk", &mut ChaCha8Rng::seed_from_u64(1)), None);
    }

    #[test]
    fn every_form_says_the_year() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        assert!((0..100).all(|_| date_line(1984, &mut rng).contains("1984")));
    }
}
