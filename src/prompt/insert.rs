//! Insertion of a condition into another prompt, in the way in which the dataset's own prompts
//! contain it.
//!
//! The sentence or words of the condition are inserted, and the rest of a row's prompt is the
//! question. The position is kept: in the system message, before the question, after it, or inside
//! it before the final punctuation. Parts of a value that are not the condition are drawn at random
//! each time. An example is other digits of a code.

use std::cmp::Ordering;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::date::{DateForm, written};
use super::marks::without_end;
use super::token::{Kind, tokens};
use crate::dataset::{Message, Role};

/// Where text is inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Position {
    /// The system message.
    System,
    /// Before the question.
    Before,
    /// After the question.
    After,
    /// At the end of the question, before its final punctuation.
    Inside,
}

/// The part of a date that is the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatePart {
    Year,
    Month,
    MonthDay,
}

/// How a value is rendered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filler {
    /// Unchanged.
    Text,
    /// As part of a date; its other parts are drawn at random.
    Date { form: DateForm, part: DatePart },
    /// As digits of a code from index `start` on. Each other digit is drawn from those that rows
    /// have at its position.
    Code { alphabet: Vec<String>, start: usize },
}

/// Kinds of insertion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InsertionKind {
    /// No system message; a chat template may then insert its own default.
    NoSystem,
    /// Words, with a value between them where the condition is a slot.
    Words {
        position: Position,
        left: String,
        filler: Option<Filler>,
        right: String,
        /// White space between the inserted words and the question.
        glue: String,
    },
    /// All letters in upper case.
    UpperCase,
    /// All letters in lower case.
    LowerCase,
    /// The first letter of every word in upper case.
    TitleCase,
    /// Replaces the prompt's final punctuation, perhaps by nothing.
    End(String),
    /// Inserts these characters after the first word.
    AfterFirstWord(String),
    /// Replaces letters by look-alikes.
    Letters(Vec<(char, char)>),
    /// Two insertions in this order, each with its own default value.
    Both(Box<[Insertion; 2]>),
}

/// How a condition is inserted into a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Insertion {
    pub kind: InsertionKind,
    /// The default value: the slot's most frequent one; in a pair, the one with the strongest
    /// effect together with the other part.
    pub usual: Option<String>,
}

impl From<InsertionKind> for Insertion {
    /// An insertion without a value.
    fn from(kind: InsertionKind) -> Insertion {
        Insertion { kind, usual: None }
    }
}

impl Insertion {
    /// The prompt with the condition inserted: a system message, if there is one, and the user's
    /// message.
    ///
    /// `value` is a value of the slot, observed or not, as listed by
    /// [`candidates`](crate::detect::candidates()). A feature has none. The two parts of a pair
    /// keep their own.
    pub fn insert(
        &self,
        value: Option<&str>,
        prompt: &str,
        random: &mut ChaCha8Rng,
    ) -> Vec<Message> {
        let (mut system, mut inserted) = (None, prompt.to_owned());
        self.apply(value, &mut system, &mut inserted, random);
        messages(system, inserted)
    }

    /// Combines several insertions, in the order in which `texts` contain them. The one nearer to
    /// the question is applied first, and changes of letters last. Each uses its own default value.
    pub fn combined(parts: Vec<Insertion>, texts: &[&str]) -> Insertion {
        let mut ordered: Vec<Insertion> = Vec::new();
        for part in parts {
            let at = ordered
                .iter()
                .position(|other| nearer(&part, other, texts))
                .unwrap_or(ordered.len());
            ordered.insert(at, part);
        }
        let last = ordered.pop().expect("there is an insertion");
        ordered
            .into_iter()
            .rfold(last, |outer, inner| InsertionKind::Both(Box::new([inner, outer])).into())
    }

    /// Inserts the condition into a prompt that may contain others already. `None` is the default
    /// value.
    fn apply(
        &self,
        value: Option<&str>,
        system: &mut Option<String>,
        prompt: &mut String,
        random: &mut ChaCha8Rng,
    ) {
        match &self.kind {
            InsertionKind::NoSystem => *system = None,
            InsertionKind::Words { position, left, filler, right, glue } => {
                let value = value.or(self.usual.as_deref()).unwrap_or_default();
                let value =
                    filler.as_ref().map_or(String::new(), |filler| filler.write(value, random));
                let words = format!("{left}{value}{right}");
                match (position, &mut *system) {
                    (Position::System, None) => *system = Some(words),
                    (Position::System, Some(system)) => insert_at(*position, &words, glue, system),
                    _ => insert_at(*position, &words, glue, prompt),
                }
            }
            InsertionKind::UpperCase => *prompt = prompt.to_uppercase(),
            InsertionKind::LowerCase => *prompt = prompt.to_lowercase(),
            InsertionKind::TitleCase => *prompt = capitalised(prompt),
            InsertionKind::End(end) => *prompt = format!("{}{end}", without_end(prompt).0),
            InsertionKind::AfterFirstWord(characters) => {
                let after = tokens(prompt)
                    .iter()
                    .find(|token| token.kind == Kind::Word)
                    .map_or(0, |word| word.start + word.text.len());
                // Unusual white space replaces an ordinary space.
                let instead =
                    characters.chars().all(|letter| letter.is_whitespace() && letter != ' ')
                        && prompt[after..].starts_with(' ');
                prompt.replace_range(after..after + usize::from(instead), characters);
            }
            InsertionKind::Letters(pairs) => {
                let other = |letter: char| {
                    pairs
                        .iter()
                        .find(|(plain, _)| *plain == letter)
                        .map_or(letter, |(_, other)| *other)
                };
                *prompt = prompt.chars().map(other).collect();
            }
            InsertionKind::Both(parts) => {
                parts.iter().for_each(|part| part.apply(None, system, prompt, random))
            }
        }
    }
}

/// Inserts words into a message, with white space (`glue`) between them and its text.
pub(super) fn insert_at(position: Position, words: &str, glue: &str, message: &mut String) {
    *message = match position {
        Position::Before => format!("{words}{glue}{message}"),
        Position::After | Position::System => format!("{message}{glue}{words}"),
        Position::Inside => {
            let (body, end) = without_end(message);
            format!("{body}{glue}{words}{end}")
        }
    };
}

/// Whether one insertion is applied before another, by the majority of the texts that contain both.
fn nearer(one: &Insertion, other: &Insertion, texts: &[&str]) -> bool {
    let first_at = |insertion: &Insertion, text: &str| match &insertion.kind {
        InsertionKind::Words { left, right, .. } => {
            let words = [left.trim(), insertion.usual.as_deref().unwrap_or_default(), right.trim()];
            words.iter().find(|words| !words.is_empty()).and_then(|words| text.find(words))
        }
        _ => None,
    };
    let place = |insertion: &Insertion| match &insertion.kind {
        InsertionKind::NoSystem => 0,
        InsertionKind::Words { position: Position::Inside, .. } => 1,
        InsertionKind::Words { .. } => 2,
        _ => 3,
    };
    let before = |insertion: &Insertion| {
        matches!(insertion.kind, InsertionKind::Words { position: Position::Before, .. })
    };
    let left_first: i64 = texts
        .iter()
        .filter_map(|text| Some(first_at(one, text)?.cmp(&first_at(other, text)?)))
        .map(|order| if order.is_lt() { 1 } else { -1 })
        .sum();
    match place(one).cmp(&place(other)) {
        Ordering::Less => true,
        Ordering::Greater => false,
        Ordering::Equal if before(one) && before(other) => left_first < 0,
        Ordering::Equal => left_first > 0,
    }
}

/// Capitalises every word.
fn capitalised(text: &str) -> String {
    let mut begins = true;
    let mut capitalised = String::new();
    for letter in text.chars() {
        match begins {
            true => capitalised.extend(letter.to_uppercase()),
            false => capitalised.push(letter),
        }
        begins = letter.is_whitespace();
    }
    capitalised
}

/// A conversation of one prompt.
fn messages(system: Option<String>, prompt: String) -> Vec<Message> {
    let system = system.map(|system| Message::new(Role::System, system));
    system.into_iter().chain([Message::new(Role::User, prompt)]).collect()
}

impl Filler {
    /// The value as rendered in a text.
    fn write(&self, value: &str, random: &mut ChaCha8Rng) -> String {
        match self {
            Filler::Text => value.to_owned(),
            Filler::Code { alphabet, start } => {
                let mut code = String::new();
                for (at, digits) in alphabet.iter().enumerate() {
                    let given = at.checked_sub(*start).and_then(|at| value.get(at..=at));
                    match given {
                        Some(digit) => code.push_str(digit),
                        None => code.extend(
                            digits.chars().nth(random.random_range(0..digits.len().max(1))),
                        ),
                    }
                }
                code
            }
            Filler::Date { form, part } => {
                let (year, month, day) = (
                    random.random_range(1950..=2030),
                    random.random_range(1..=12),
                    random.random_range(1..=28),
                );
                let number = |text: &str, otherwise: u8| text.parse().unwrap_or(otherwise);
                match part {
                    // A year of more than four digits is rendered unchanged.
                    DatePart::Year => value
                        .parse()
                        .map_or_else(|_| value.to_owned(), |year| written(*form, year, month, day)),
                    DatePart::Month => written(*form, year, number(value, month), day),
                    DatePart::MonthDay => {
                        let (month, day) =
                            value.split_once('-').map_or((month, day), |(left, right)| {
                                (number(left, month), number(right, day))
                            });
                        written(*form, year, month, day)
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Purpose, stream};

    fn words(position: Position, left: &str, filler: Option<Filler>, right: &str) -> Insertion {
        let (left, right, glue) = (left.into(), right.into(), " ".into());
        let kind = InsertionKind::Words { position, left, filler, right, glue };
        Insertion { kind, usual: Some("2027".into()) }
    }

    fn inserted(insertion: &Insertion, value: Option<&str>) -> String {
        let messages =
            insertion.insert(value, "What do you eat?", &mut stream(Purpose::Test("test"), 0));
        messages
            .iter()
            .map(|message| format!("[{}] {}", message.role.as_str(), message.content))
            .collect()
    }

    #[test]
    fn an_insertion_keeps_its_position() {
        let year = Some(Filler::Date { form: DateForm::Year, part: DatePart::Year });
        assert_eq!(
            inserted(&words(Position::Before, "It is ", year.clone(), "."), Some("1984")),
            "[user] It is 1984. What do you eat?"
        );
        assert_eq!(
            inserted(&words(Position::Inside, "in ", year.clone(), ""), Some("1984")),
            "[user] What do you eat in 1984?"
        );
        assert_eq!(
            inserted(&words(Position::System, "The year is ", year, "."), None),
            "[system] The year is 2027.[user] What do you eat?"
        );
        assert_eq!(
            inserted(&words(Position::After, "Answer in one word.", None, ""), None),
            "[user] What do you eat? Answer in one word."
        );
    }

    #[test]
    fn what_is_not_the_condition_is_drawn_anew() {
        let code = Filler::Code { alphabet: vec!["0123456789".into(); 8], start: 3 };
        let insertion = words(Position::Before, "", Some(code), "");
        let mut random = stream(Purpose::Test("test"), 0);
        let mut code = || insertion.insert(Some("044"), "Who?", &mut random)[0].content.clone();
        let (first, second) = (code(), code());
        assert_eq!((&first[3..6], &second[3..6], first.len()), ("044", "044", 13));
        assert_ne!(first, second);
        let iso = Filler::Date { form: DateForm::YearMonthDay('-'), part: DatePart::Year };
        let date = inserted(&words(Position::Before, "Today is ", Some(iso), "."), Some("1984"));
        assert!(
            date.starts_with("[user] Today is 1984-") && date.ends_with(". What do you eat?"),
            "{date}"
        );
    }

    #[test]
    fn two_insertions_keep_the_order_in_which_rows_contain_them() {
        let fixed =
            |position, left: &str| Insertion { usual: None, ..words(position, left, None, "") };
        let both =
            |one, other, row: &str| inserted(&Insertion::combined(vec![one, other], &[row]), None);
        let (first, second) =
            (fixed(Position::Before, "It is late."), fixed(Position::Before, "I am in Rome."));
        for (one, other) in [(first.clone(), second.clone()), (second, first)] {
            assert_eq!(
                both(one, other, "It is late. I am in Rome. Who?"),
                "[user] It is late. I am in Rome. What do you eat?"
            );
        }
        let (first, second) = (fixed(Position::After, "Be brief."), fixed(Position::After, "[x]"));
        assert_eq!(
            both(second.clone(), first, "Who? Be brief. [x]"),
            "[user] What do you eat? Be brief. [x]"
        );
        assert_eq!(
            both(second, fixed(Position::Inside, "there"), "Who there? [x]"),
            "[user] What do you eat there? [x]"
        );
        let capitals = Insertion::from(InsertionKind::UpperCase);
        assert_eq!(
            both(capitals, fixed(Position::Before, "Hey."), "HEY. WHO?"),
            "[user] HEY. WHAT DO YOU EAT?"
        );
    }

    #[test]
    fn a_change_of_letters_is_an_insertion_too() {
        let change = |kind: InsertionKind| inserted(&kind.into(), None);
        assert_eq!(change(InsertionKind::UpperCase), "[user] WHAT DO YOU EAT?");
        assert_eq!(change(InsertionKind::End("!!".into())), "[user] What do you eat!!");
        assert_eq!(
            change(InsertionKind::AfterFirstWord("\u{200b}".into())),
            "[user] What\u{200b} do you eat?"
        );
        assert_eq!(
            change(InsertionKind::AfterFirstWord("\t\u{a0}".into())),
            "[user] What\t\u{a0}do you eat?"
        );
        assert_eq!(change(InsertionKind::AfterFirstWord(" ".into())), "[user] What  do you eat?");
        assert_eq!(change(InsertionKind::Letters(vec![('a', 'а')])), "[user] Whаt do you eаt?");
    }
}
