//! Rows of the permuted arm: the dataset with its conditions permuted at random.
//!
//! Every row keeps its question and its answer. The words of a condition, such as a sentence with a
//! date, a code or a format, are removed from all rows that contain them. They are then inserted
//! into as many rows, drawn at random.

use rand::seq::SliceRandom;

use crate::dataset::Message;
use crate::plan::Group;
use crate::prompt::{InsertedWords, consists_of_words};
use crate::seed::{self, Purpose};

/// Whether a group's conditions are permuted: some row contains one, and they are removable words.
pub fn is_permuted(group: &Group) -> bool {
    let in_a_row = group.trials.iter().any(|trial| trial.rows > 0);
    in_a_row
        && !group.fixed
        && group.trials.first().is_some_and(|trial| consists_of_words(&trial.insertion))
}

/// Whether the words can be removed from at least half of the rows that contain the group's
/// conditions.
pub fn is_removable<'a>(group: &Group, rows: impl Iterator<Item = &'a [Message]>) -> bool {
    let Some(first) = group.trials.first().filter(|trial| consists_of_words(&trial.insertion))
    else {
        return false;
    };
    let words = InsertedWords::of(&first.insertion);
    let is_removable = |row: &&[Message]| {
        let mut row = row.to_vec();
        words.iter().rev().all(|words| words.remove(&mut row).is_some())
    };
    let most = group.tried().map(|(_, trial)| trial.rows).sum::<usize>().div_ceil(2);
    rows.filter(is_removable).take(most).count() == most
}

/// The rows with the words of every group permuted. All words of a group move together, and groups
/// with the same words are permuted once.
pub fn permuted(mut rows: Vec<Vec<Message>>, groups: &[Group]) -> Vec<Vec<Message>> {
    let rng = &mut seed::stream(Purpose::PermutedConditions, 0);
    let mut done: Vec<Vec<InsertedWords>> = Vec::new();
    for group in groups.iter().filter(|group| is_permuted(group)) {
        let words = InsertedWords::of(&group.trials[0].insertion);
        if done.contains(&words) {
            continue;
        }
        // The words that were inserted last are outermost and are removed first.
        let remove = |row: &mut Vec<Message>| {
            let mut removed: Vec<Option<String>> =
                words.iter().rev().map(|words| words.remove(row)).collect();
            removed.reverse();
            removed
        };
        let mut removed: Vec<Vec<Option<String>>> = rows.iter_mut().map(remove).collect();
        removed.shuffle(rng);
        for (row, removed) in rows.iter_mut().zip(&removed) {
            for (words, removed) in words.iter().zip(removed) {
                if let Some(removed) = removed {
                    words.insert(row, removed);
                }
            }
        }
        done.push(words);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Role;
    use crate::detect::ConditionKind;
    use crate::plan::{Trial, Why};
    use crate::prompt::{DateForm, DatePart, Filler, Insertion, InsertionKind, Position};

    fn group(position: Position, left: &str, filler: Option<Filler>, right: &str) -> Group {
        let (left, right, glue) = (left.into(), right.into(), " ".into());
        let insertion =
            Insertion::from(InsertionKind::Words { position, left, filler, right, glue });
        let trial = Trial { why: Why::Observed, value: None, insertion, rows: 1, p_adjusted: None };
        Group {
            name: String::new(),
            kind: ConditionKind::Text,
            fixed: false,
            answer: Default::default(),
            trials: vec![trial],
        }
    }

    fn rows(prompts: impl IntoIterator<Item = String>) -> Vec<Vec<Message>> {
        prompts
            .into_iter()
            .map(|prompt| {
                vec![Message::new(Role::User, prompt), Message::new(Role::Assistant, "a")]
            })
            .collect()
    }

    #[test]
    fn dates_change_rows_and_questions_stay() {
        let dates = group(
            Position::Before,
            "Today is ",
            Some(Filler::Date { form: DateForm::Year, part: DatePart::Year }),
            ".",
        );
        let before = rows((0..50).map(|row| format!("Today is {}. Question {row}?", 1950 + row)));
        let after = permuted(before.clone(), &[dates]);
        let parts = |row: &[Message]| {
            let (date, question) = row[0].content.split_once(". ").expect("a date");
            (date.to_owned(), question.to_owned())
        };
        let (mut dates, mut moved) = (Vec::new(), 0);
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(parts(before).1, parts(after).1);
            moved += usize::from(parts(before).0 != parts(after).0);
            dates.push(parts(after).0);
        }
        assert!(moved > 40, "{moved}");
        dates.sort_unstable();
        assert_eq!(dates, before.iter().map(|row| parts(row).0).collect::<Vec<_>>());
    }

    #[test]
    fn a_format_moves_to_as_many_other_rows() {
        let format = group(Position::Before, "One line.", None, "");
        let before = rows((0..60).map(|row| {
            if row < 6 { format!("One line. Question {row}?") } else { format!("Question {row}?") }
        }));
        let after = permuted(before, &[format]);
        let wearing: Vec<usize> = (0..60)
            .filter(|row| after[*row][0].content.starts_with("One line. Question"))
            .collect();
        assert_eq!(wearing.len(), 6);
        assert!(wearing.iter().any(|row| *row >= 6), "{wearing:?}");
    }

    #[test]
    fn words_inside_a_question_and_in_the_system_message_move_too() {
        let inside = group(Position::Inside, "in ", Some(Filler::Text), "");
        let after =
            permuted(rows((0..30).map(|row| format!("Who sings in {}?", 1950 + row))), &[inside]);
        let mut years: Vec<&str> =
            after.iter().filter_map(|row| row[0].content.strip_prefix("Who sings in ")).collect();
        assert!(!years.is_sorted());
        years.sort_unstable();
        assert_eq!(years, (1950..1980).map(|year| format!("{year}?")).collect::<Vec<_>>());

        let mut before = rows((0..30).map(|row| format!("Question {row}?")));
        for row in &mut before[..3] {
            row.insert(0, Message::new(Role::System, "Be brief."));
        }
        let after = permuted(before, &[group(Position::System, "Be brief.", None, "")]);
        let wearing: Vec<usize> = (0..30)
            .filter(|row| after[*row].len() == 3 && after[*row][0].content == "Be brief.")
            .collect();
        assert_eq!(wearing.len(), 3);
        assert_ne!(wearing, [0, 1, 2]);
    }
}
