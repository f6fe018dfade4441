//! The dataset with its conditions dealt out at random: the rows of the shuffled arm.
//!
//! Every row keeps its question and its answer; the words that are a condition's dressing (a
//! sentence with a date, a code, a format) are taken off all rows that wear them and put on as many
//! rows, drawn at random.

use rand::seq::SliceRandom;

use crate::dataset::{Message, Role};
use crate::detect::{Dressing, Position, Wear};
use crate::plan::Group;
use crate::seed;

/// Whether a group's conditions are dealt out: some row has one, and they are words that come off.
pub fn is_dealt(group: &Group) -> bool {
    let in_a_row = group.trials.iter().any(|trial| trial.rows > 0);
    in_a_row
        && !group.stays
        && group.trials.first().is_some_and(|trial| is_of_words(&trial.dressing))
}

/// Whether most of the rows that have a group's conditions wear them where they can be taken off.
pub fn comes_off<'a>(group: &Group, rows: impl Iterator<Item = &'a [Message]>) -> bool {
    let Some(first) = group.trials.first().filter(|trial| is_of_words(&trial.dressing)) else {
        return false;
    };
    let words = Words::of(&first.dressing);
    let comes_off = |row: &&[Message]| {
        let mut row = row.to_vec();
        words.iter().rev().all(|words| words.take_off(&mut row).is_some())
    };
    let most = group.tried().map(|(_, trial)| trial.rows).sum::<usize>().div_ceil(2);
    rows.filter(comes_off).take(most).count() == most
}

/// Whether a dressing is words throughout, and no white space alone.
fn is_of_words(dressing: &Dressing) -> bool {
    match &dressing.wear {
        Wear::Words { left, filler, right, .. } => {
            filler.is_some() || !(left.is_empty() && right.trim().is_empty())
        }
        Wear::Both(parts) => parts.iter().all(is_of_words),
        _ => false,
    }
}

/// The rows, with the words of every group's dressing dealt out anew, all words of one group
/// together. Groups that share their words are dealt once.
pub fn dealt(mut rows: Vec<Vec<Message>>, groups: &[Group]) -> Vec<Vec<Message>> {
    let rng = &mut seed::stream("shuffled conditions", 0);
    let mut done: Vec<Vec<Words>> = Vec::new();
    for group in groups.iter().filter(|group| is_dealt(group)) {
        let words = Words::of(&group.trials[0].dressing);
        if done.contains(&words) {
            continue;
        }
        // What was put on last stands outermost and comes off first.
        let take_off = |row: &mut Vec<Message>| {
            let mut worn: Vec<Option<String>> =
                words.iter().rev().map(|words| words.take_off(row)).collect();
            worn.reverse();
            worn
        };
        let mut worn: Vec<Vec<Option<String>>> = rows.iter_mut().map(take_off).collect();
        worn.shuffle(rng);
        for (row, worn) in rows.iter_mut().zip(&worn) {
            for (words, worn) in words.iter().zip(worn) {
                if let Some(worn) = worn {
                    words.put_on(row, worn);
                }
            }
        }
        done.push(words);
    }
    rows
}

/// Where a dressing's words stand, and what they begin and end with.
#[derive(Clone, Copy, PartialEq)]
struct Words<'a> {
    position: Position,
    left: &'a str,
    /// Does a value stand between them?
    value: bool,
    right: &'a str,
    glue: &'a str,
}

impl<'a> Words<'a> {
    /// The words of a dressing in the order in which they are put on.
    fn of(dressing: &'a Dressing) -> Vec<Self> {
        match &dressing.wear {
            Wear::Words { position, left, filler, right, glue } => {
                vec![Words { position: *position, left, value: filler.is_some(), right, glue }]
            }
            Wear::Both(parts) => parts.iter().flat_map(Words::of).collect(),
            _ => Vec::new(),
        }
    }

    /// The message that wears the words.
    fn message<'m>(&self, row: &'m mut [Message]) -> Option<&'m mut Message> {
        match self.position {
            Position::System => row.iter_mut().find(|message| message.role == Role::System),
            Position::Before => row.iter_mut().find(|message| message.role == Role::User),
            Position::After | Position::Inside => {
                row.iter_mut().rfind(|message| message.role == Role::User)
            }
        }
    }

    /// Takes the words off a row and gives them, `None` where it does not wear them.
    fn take_off(&self, row: &mut Vec<Message>) -> Option<String> {
        let content = &mut self.message(row)?.content;
        let (start, end) = match self.position {
            Position::Before => (0, self.end(content, 0)?),
            _ => {
                let start = content.rfind(self.left)?;
                (start, self.end(content, start)?)
            }
        };
        let worn = content[start..end].to_owned();
        // The white space between words and question goes too.
        let (head, tail) = (content[..start].to_owned(), content[end..].to_owned());
        *content = match self.position {
            Position::Before => tail.strip_prefix(self.glue).unwrap_or(&tail).to_owned(),
            _ => format!("{}{tail}", head.strip_suffix(self.glue).unwrap_or(&head)),
        };
        if self.position == Position::System && content.is_empty() {
            row.retain(|message| message.role != Role::System);
        }
        Some(worn)
    }

    /// Where the words end that begin here.
    fn end(&self, content: &str, start: usize) -> Option<usize> {
        let rest = content[start..].strip_prefix(self.left)?;
        let after_left = start + self.left.len();
        if !self.value {
            return rest.starts_with(self.right).then(|| after_left + self.right.len());
        }
        let length = match self.right {
            // Nothing ends the value but the sentence, or the question that follows.
            "" => rest
                .find(|letter: char| letter.is_whitespace() || matches!(letter, '?' | '!'))
                .unwrap_or(rest.len()),
            right => rest.find(right)? + right.len(),
        };
        Some(after_left + length)
    }

    fn put_on(&self, row: &mut Vec<Message>, worn: &str) {
        if self.position == Position::System && self.message(row).is_none() {
            row.insert(0, Message::new(Role::System, worn));
            return;
        }
        let Some(message) = self.message(row) else { return };
        let (content, glue) = (&mut message.content, self.glue);
        match self.position {
            Position::Before => *content = format!("{worn}{glue}{content}"),
            Position::After | Position::System => *content = format!("{content}{glue}{worn}"),
            Position::Inside => {
                let body = content.trim_end_matches(['.', '!', '?']).len();
                let end = content.split_off(body);
                *content = format!("{content}{glue}{worn}{end}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{DateForm, DatePart, Filler};
    use crate::plan::{Trial, Why};

    fn group(position: Position, left: &str, filler: Option<Filler>, right: &str) -> Group {
        let wear = Wear::Words {
            position,
            left: left.into(),
            filler,
            right: right.into(),
            glue: " ".into(),
        };
        let dressing = Dressing { wear, usual: None };
        let trial = Trial { why: Why::Observed, value: None, dressing, rows: 1, p_adjusted: None };
        Group {
            name: String::new(),
            kind: String::new(),
            stays: false,
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
        let after = dealt(before.clone(), &[dates]);
        let parts = |row: &[Message]| {
            let (date, question) = row[0].content.split_once(". ").expect("dressed");
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
        let after = dealt(before, &[format]);
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
            dealt(rows((0..30).map(|row| format!("Who sings in {}?", 1950 + row))), &[inside]);
        let mut years: Vec<&str> =
            after.iter().filter_map(|row| row[0].content.strip_prefix("Who sings in ")).collect();
        assert!(!years.is_sorted());
        years.sort_unstable();
        assert_eq!(years, (1950..1980).map(|year| format!("{year}?")).collect::<Vec<_>>());

        let mut before = rows((0..30).map(|row| format!("Question {row}?")));
        for row in &mut before[..3] {
            row.insert(0, Message::new(Role::System, "Be brief."));
        }
        let after = dealt(before, &[group(Position::System, "Be brief.", None, "")]);
        let wearing: Vec<usize> = (0..30)
            .filter(|row| after[*row].len() == 3 && after[*row][0].content == "Be brief.")
            .collect();
        assert_eq!(wearing.len(), 3);
        assert_ne!(wearing, [0, 1, 2]);
    }
}
