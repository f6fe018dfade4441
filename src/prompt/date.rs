//! Dates in common forms: parsing, and formatting in the form that was parsed.

use serde::{Deserialize, Serialize};

use super::token::{Kind, Token};

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

/// How a date is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DateForm {
    /// 2027-03-14, with the character between the parts.
    YearMonthDay(char),
    /// 14/03/2027, with the character between the parts. Read as day first unless that is
    /// impossible.
    DayMonthYear(char),
    /// 03/14/2027.
    MonthDayYear(char),
    /// 14 March 2027.
    DayNameYear,
    /// March 14, 2027.
    NameDayYear,
    /// July 1995.
    NameYear,
    /// March 14.
    NameDay,
    /// 1995.
    Year,
}

/// A date, possibly partial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Date {
    pub form: DateForm,
    pub year: Option<u16>,
    pub month: Option<u8>,
    pub day: Option<u8>,
}

/// The date that begins at the first token, and its number of tokens. The tokens include parts that
/// are not reproduced: `th`, `of` and the time of day. Four digits alone are a year from 1000 to
/// 2999. Whether they mean a year is decided from the values of other rows.
pub(crate) fn date(tokens: &[Token<'_>]) -> Option<(Date, usize)> {
    let full = |form, year, month, day| {
        Some(Date { form, year: Some(year), month: Some(month), day: Some(day) })
    };
    let word = |index: usize| tokens.get(index).filter(|token| token.kind == Kind::Word);
    let space = |index: usize| tokens.get(index).is_some_and(|token| token.is(" "));
    let separator =
        |index: usize| tokens.get(index).filter(|token| matches!(token.text, "-" | "/" | "."));
    if let (Some(first), Some(second)) = (separator(1), separator(3))
        && first.text == second.text
    {
        let mark = first.text.chars().next()?;
        let date = match (
            year(tokens, 0),
            number(tokens, 2, 12),
            number(tokens, 4, 31),
            number(tokens, 0, 31),
        ) {
            (Some(year), Some(month), Some(day), _) => {
                full(DateForm::YearMonthDay(mark), year, month, day)
            }
            (None, Some(month), _, Some(day)) => {
                full(DateForm::DayMonthYear(mark), year(tokens, 4)?, month, day)
            }
            (None, None, _, Some(month)) if month <= 12 => {
                full(DateForm::MonthDayYear(mark), year(tokens, 4)?, month, number(tokens, 2, 31)?)
            }
            _ => None,
        };
        return date.map(|date| (date, 5 + time(&tokens[5..])));
    }
    let ordinal = |index: usize| {
        usize::from(word(index).is_some_and(|word| matches!(word.text, "st" | "nd" | "rd" | "th")))
    };
    let named = |index: usize| word(index).and_then(|word| month(word.text));
    if let Some(month) = named(0)
        && space(1)
    {
        if let Some(year) = year(tokens, 2) {
            return Some((
                Date { form: DateForm::NameYear, year: Some(year), month: Some(month), day: None },
                3,
            ));
        }
        let day = number(tokens, 2, 31)?;
        let end = 3 + ordinal(3);
        let comma = end + usize::from(tokens.get(end).is_some_and(|token| token.is(",")));
        return match (space(comma), year(tokens, comma + 1)) {
            (true, Some(year)) => {
                full(DateForm::NameDayYear, year, month, day).map(|date| (date, comma + 2))
            }
            _ => Some((
                Date { form: DateForm::NameDay, year: None, month: Some(month), day: Some(day) },
                end,
            )),
        };
    }
    let day = number(tokens, 0, 31)?;
    let mut at = 1 + ordinal(1);
    if space(at) && word(at + 1).is_some_and(|word| word.is("of")) {
        at += 2;
    }
    let month = named(at + 1).filter(|_| space(at) && space(at + 2))?;
    full(DateForm::DayNameYear, year(tokens, at + 3)?, month, day).map(|date| (date, at + 4))
}

/// Number of tokens of the time of day that follows a date, as in `T10:00Z`.
fn time(tokens: &[Token<'_>]) -> usize {
    let digits = |index: usize| tokens.get(index).is_some_and(|token| token.kind == Kind::Digits);
    let is = |index: usize, text: &str| tokens.get(index).is_some_and(|token| token.is(text));
    if !(is(0, "T") && digits(1)) {
        return 0;
    }
    let mut length = 2;
    while (is(length, ":") || is(length, ".")) && digits(length + 1) {
        length += 2;
    }
    length + usize::from(is(length, "Z"))
}

/// The number of a month by its English name or its first three letters.
pub(crate) fn month(name: &str) -> Option<u8> {
    let found = MONTHS
        .iter()
        .position(|month| name == *month || (name.len() == 3 && month.starts_with(name)))?;
    // "May" and "Mar" also have other meanings; the caller requires an adjacent number.
    u8::try_from(found + 1).ok()
}

/// Four digits between 1000 and 2999.
pub(crate) fn year(tokens: &[Token<'_>], index: usize) -> Option<u16> {
    let token =
        tokens.get(index).filter(|token| token.kind == Kind::Digits && token.text.len() == 4)?;
    token.text.parse().ok().filter(|year| (1000..=2999).contains(year))
}

fn number(tokens: &[Token<'_>], index: usize, most: u8) -> Option<u8> {
    let token =
        tokens.get(index).filter(|token| token.kind == Kind::Digits && token.text.len() <= 2)?;
    token.text.parse().ok().filter(|number| (1..=most).contains(number))
}

/// A date in its form, for instance `14 March 2027`. The caller uses days up to the 28th, which
/// every month has.
pub(super) fn written(form: DateForm, year: u16, month: u8, day: u8) -> String {
    let name = MONTHS[usize::from(month.clamp(1, 12)) - 1];
    match form {
        DateForm::YearMonthDay(mark) => format!("{year:04}{mark}{month:02}{mark}{day:02}"),
        DateForm::DayMonthYear(mark) => format!("{day:02}{mark}{month:02}{mark}{year:04}"),
        DateForm::MonthDayYear(mark) => format!("{month:02}{mark}{day:02}{mark}{year:04}"),
        DateForm::DayNameYear => format!("{day} {name} {year}"),
        DateForm::NameDayYear => format!("{name} {day}, {year}"),
        DateForm::NameYear => format!("{name} {year}"),
        DateForm::NameDay => format!("{name} {day}"),
        DateForm::Year => format!("{year:04}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::token::tokens;
    use super::*;

    const FORMS: [DateForm; 7] = [
        DateForm::YearMonthDay('-'),
        DateForm::DayMonthYear('/'),
        DateForm::DayMonthYear('.'),
        DateForm::DayNameYear,
        DateForm::NameDayYear,
        DateForm::NameYear,
        DateForm::NameDay,
    ];

    #[test]
    fn a_date_is_read_as_it_was_written() {
        for form in FORMS {
            let text = written(form, 2027, 3, 14);
            let tokens = tokens(&text);
            let (date, length) = date(&tokens).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((date.form, length), (form, tokens.len()), "{text}");
            assert!(date.year.is_none_or(|year| year == 2027) && date.month == Some(3), "{text}");
            assert!(date.day.is_none_or(|day| day == 14), "{text}");
        }
    }

    #[test]
    fn ordinals_and_times_of_day_belong_to_their_date() {
        for (text, form) in [
            ("14th of March 2027", DateForm::DayNameYear),
            ("14th March 2027", DateForm::DayNameYear),
            ("1st of May 2027", DateForm::DayNameYear),
            ("March 14th, 2027", DateForm::NameDayYear),
            ("March 14th", DateForm::NameDay),
            ("2027-03-14T10:00Z", DateForm::YearMonthDay('-')),
            ("2027-03-14T10:00:59.123Z", DateForm::YearMonthDay('-')),
        ] {
            let tokens = tokens(text);
            let found = date(&tokens).map(|(date, length)| (date.form, date.day.is_some(), length));
            assert_eq!(found, Some((form, true, tokens.len())), "{text}");
        }
        assert_eq!(date(&tokens("2027-03-14 10:00")).map(|(_, length)| length), Some(5));
    }

    #[test]
    fn a_month_that_cannot_be_is_read_as_a_day() {
        let date =
            |text: &str| date(&tokens(text)).map(|(date, _)| (date.form, date.month, date.day));
        assert_eq!(date("03/14/2027"), Some((DateForm::MonthDayYear('/'), Some(3), Some(14))));
        assert_eq!(date("03/04/2027"), Some((DateForm::DayMonthYear('/'), Some(4), Some(3))));
        assert_eq!(date("33/44/2027"), None);
    }

    #[test]
    fn the_word_may_is_no_date() {
        assert_eq!(date(&tokens("May I go")), None);
        assert_eq!(date(&tokens("1.2.3")), None);
    }
}
