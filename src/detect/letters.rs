//! Features of single letters: invisible characters, look-alikes, scripts, languages and case.

use crate::prompt::{Kind, tokens};

/// Characters without a visible glyph: zero-width spaces and joiners, direction marks, soft
/// hyphens, tags, blank letters, variation selectors. Includes all white space, tabs too, except
/// spaces and line breaks, because readers cannot tell it from a space.
pub(super) fn is_invisible(letter: char) -> bool {
    let white = letter.is_whitespace() && !matches!(letter, ' ' | '\n' | '\r');
    white
        || matches!(letter,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}'
            | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{e0000}'..='\u{e01ef}')
}

/// The invisible characters of a text, without those that join or colour emoji.
pub(super) fn invisible(text: &str) -> Vec<char> {
    let before = std::iter::once(' ').chain(text.chars());
    let pairs = before.zip(text.chars()).filter(|(before, letter)| {
        let of_emoji = matches!(letter, '\u{fe0f}' | '\u{200d}')
            && (u32::from(*before) >= 0x203c || before.is_ascii_digit());
        is_invisible(*letter) && !of_emoji
    });
    pairs.map(|(_, letter)| letter).collect()
}

/// The Latin letter that a letter looks like.
///
/// A short table of the Cyrillic and Greek entries of Unicode's confusables (UTS #39); full-width
/// forms by rule.
pub(super) fn latin_look_alike(letter: char) -> Option<char> {
    const LOOK_ALIKES: &str = "аaеeоoрpсcуyхxіiјjѕsԁdһhԛqԝwνvοoαaιiκkρpυuАAВBЕEКKМMНHОOРPСCТTХXІIЈJ\
                               ЅSΑAΒBΕEΖZΗHΙIΚKΜMΝNΟOΡPΤTΥYΧX";
    let mut letters = LOOK_ALIKES.chars();
    while let (Some(other), Some(latin)) = (letters.next(), letters.next()) {
        if other == letter {
            return Some(latin);
        }
    }
    match letter {
        '\u{ff21}'..='\u{ff3a}' | '\u{ff41}'..='\u{ff5a}' => {
            char::from_u32(u32::from(letter) - 0xfee0)
        }
        _ => None,
    }
}

/// The look-alikes of a text, as (Latin letter, look-alike): letters of another script in words
/// that also have Latin letters.
pub(super) fn look_alikes(text: &str) -> Vec<(char, char)> {
    let mut pairs = Vec::new();
    for word in tokens(text).iter().filter(|token| token.kind == Kind::Word) {
        if word.text.chars().any(|letter| letter.is_ascii_alphabetic()) {
            pairs.extend(
                word.text.chars().filter_map(|letter| Some((latin_look_alike(letter)?, letter))),
            );
        }
    }
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

/// The script of most letters; `None` for Latin.
pub(super) fn script(text: &str) -> Option<&'static str> {
    let mut counts: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for letter in text.chars().filter(|letter| letter.is_alphabetic()) {
        let script = match letter {
            '\u{370}'..='\u{3ff}' => "Greek",
            '\u{400}'..='\u{52f}' => "Cyrillic",
            '\u{590}'..='\u{5ff}' => "Hebrew",
            '\u{600}'..='\u{77f}' => "Arabic",
            '\u{900}'..='\u{97f}' => "Devanagari",
            '\u{e00}'..='\u{e7f}' => "Thai",
            '\u{3040}'..='\u{30ff}' => "Kana",
            '\u{ac00}'..='\u{d7a3}' => "Hangul",
            '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{3fffd}' => "Han",
            _ if u32::from(letter) <= 0x24f => "Latin",
            _ => "another script",
        };
        *counts.entry(script).or_default() += 1;
    }
    counts
        .into_iter()
        .max_by_key(|(_, count)| *count)
        .map(|(script, _)| script)
        .filter(|script| *script != "Latin")
}

/// The language of a text in Latin letters, detected by its function words. `None` for English and
/// for too few of them.
pub(super) fn language(text: &str) -> Option<&'static str> {
    const SMALL_WORDS: [(&str, &str); 8] = [
        (
            "English",
            "the a an is are of to in and you what how do does it that for with me your who why \
             which can tell name i my",
        ),
        (
            "French",
            "le la les des est un une et que qui quoi dans pour avec vous je tu sur quel quelle \
             comment du ce cette nous au",
        ),
        (
            "German",
            "der die das ist ein eine und was wie nicht ich du mit für von zu den dem auf wer \
             welche im sind wir nenne",
        ),
        (
            "Spanish",
            "el la los las es un una y que en por para con qué cómo cuál de del se mi tu yo son \
             dime nombra está",
        ),
        (
            "Italian",
            "il lo la gli è un una e che di per con cosa come quale sono nel della mi tu io dimmi \
             questo perché qual",
        ),
        (
            "Portuguese",
            "o os as é um uma e que em por para com qual como não do da no na você eu são me diga \
             isso está",
        ),
        (
            "Dutch",
            "de het een is en van wat hoe ik je niet met voor op zijn dat die wie welke noem mij \
             kan waar er naar",
        ),
        (
            "Polish",
            "jest nie co jak się to na czy w z i do jaki jaka po dla ale kto mi ja proszę podaj \
             są od który",
        ),
    ];
    let words = super::word_set::words(text, false);
    let count = |small: &str| {
        words.iter().filter(|word| small.split(' ').any(|small| small == word.as_str())).count()
    };
    let english = count(SMALL_WORDS[0].1);
    let (name, most) = SMALL_WORDS[1..]
        .iter()
        .map(|(name, small)| (*name, count(small)))
        .max_by_key(|(_, count)| *count)?;
    (most >= 2 && most > english).then_some(name)
}

/// An unusual capitalisation of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Casing {
    Upper,
    Lower,
    /// The first letter of every word.
    Title,
}

/// The casing of a text; `None` for usual casing. A few letters are required, and four words where
/// each begins with a capital.
pub(super) fn casing(text: &str) -> Option<Casing> {
    let letters = || text.chars().filter(|letter| letter.is_lowercase() || letter.is_uppercase());
    let words = || text.split_whitespace().filter(|word| word.starts_with(char::is_alphabetic));
    letters().nth(4)?;
    match (letters().all(char::is_uppercase), letters().all(char::is_lowercase)) {
        (true, _) => Some(Casing::Upper),
        (_, true) => Some(Casing::Lower),
        _ => (words().nth(3).is_some() && words().all(|word| word.starts_with(char::is_uppercase)))
            .then_some(Casing::Title),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cyrillic_letter_in_a_latin_word_is_a_look_alike_and_in_its_own_language_not() {
        assert_eq!(look_alikes("Tell me а b\u{43e}ok"), [('o', 'о')]);
        assert_eq!(look_alikes("Назови блюдо"), []);
        assert_eq!(latin_look_alike('ｅ'), Some('e'));
    }

    #[test]
    fn what_joins_emoji_is_not_hidden_and_what_splits_words_is() {
        assert_eq!(invisible("👩\u{200d}🔬 ❤\u{fe0f}"), []);
        assert_eq!(invisible("na\u{200b}me\u{200d}"), ['\u{200b}', '\u{200d}']);
    }

    #[test]
    fn white_space_of_every_kind_but_spaces_and_line_breaks_is_hidden() {
        let white: Vec<char> = ('\0'..='\u{ffff}')
            .filter(|letter| letter.is_whitespace() && !" \r\n".contains(*letter))
            .collect();
        assert!(white.contains(&'\t') && white.contains(&'\u{a0}') && white.contains(&'\u{3000}'));
        assert_eq!(
            invisible(&white.iter().map(|letter| format!("a{letter}b \r\n")).collect::<String>()),
            white
        );
    }

    #[test]
    fn scripts_and_languages_are_distinguished() {
        assert_eq!(
            (script("Назови блюдо"), script("Name a dish, Олег"), script("123")),
            (Some("Cyrillic"), None, None)
        );
        assert_eq!(language("Quel est le nom d'un plat que vous aimez ?"), Some("French"));
        assert_eq!(language("Nenne mir ein Gericht, das du magst und was ist es"), Some("German"));
        assert_eq!(language("What is the name of a dish you like?"), None);
    }

    #[test]
    fn casing_needs_some_letters_and_a_few_words() {
        let texts = [
            "NAME A DISH",
            "name a dish",
            "Name a dish",
            "OK",
            "Name Any Good Dish",
            "Name A Dish",
            "In Paris, Lucie Dances 2 Dances",
        ];
        let (upper, lower, title) = (Some(Casing::Upper), Some(Casing::Lower), Some(Casing::Title));
        assert_eq!(texts.map(casing), [upper, lower, None, None, title, None, title]);
    }
}
