//! Tokenises text by section, from one special token to the next, with a cache. A tokenizer splits
//! at special tokens first, so a section gives the same tokens in every context. The same few turns
//! are asked many times, of every model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use anyhow::{Result, anyhow};
use regex::Regex;
use tokenizers::Tokenizer;

use crate::guard::guarded;

/// See [`Sections::most`].
const CACHED_AT_MOST: usize = 8 << 20;

/// Tokens, and their byte ranges in the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    pub ids: Vec<u32>,
    pub offsets: Vec<(usize, usize)>,
}

pub struct Sections {
    tokenizer: Tokenizer,
    /// Matches the special tokens before which text may be split; `None` if there are none.
    beginnings: Option<Regex>,
    cache: Mutex<SectionCache>,
    /// Maximum bytes of cached text. When it is exceeded, the cache is emptied.
    most: usize,
}

#[derive(Default)]
struct SectionCache {
    sections: BTreeMap<String, Arc<Encoded>>,
    bytes: usize,
}

impl Sections {
    pub fn new(tokenizer: Tokenizer) -> Self {
        let any = beginnings(&tokenizer)
            .iter()
            .map(|text| regex::escape(text))
            .collect::<Vec<_>>()
            .join("|");
        let beginnings = if any.is_empty() { None } else { Regex::new(&any).ok() };
        Sections { tokenizer, beginnings, cache: Mutex::default(), most: CACHED_AT_MOST }
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The tokens of a text, without added ones.
    ///
    /// # Errors
    /// Where the tokenizer fails.
    pub fn encode(&self, text: &str) -> Result<Encoded> {
        let mut all = Encoded::default();
        for section in self.cut(text) {
            let start = all.offsets.len();
            let from = section.as_ptr() as usize - text.as_ptr() as usize;
            let encoded = self.section(section)?;
            all.ids.extend(&encoded.ids);
            all.offsets.extend(&encoded.offsets);
            all.offsets[start..].iter_mut().for_each(|(a, b)| (*a, *b) = (*a + from, *b + from));
        }
        Ok(all)
    }

    fn cut<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let found = self
            .beginnings
            .iter()
            .flat_map(|beginnings| beginnings.find_iter(text).map(|found| found.start()));
        let mut cuts: Vec<usize> = std::iter::once(0).chain(found).chain([text.len()]).collect();
        cuts.dedup();
        cuts.windows(2).map(|two| &text[two[0]..two[1]]).collect()
    }

    fn section(&self, text: &str) -> Result<Arc<Encoded>> {
        const HELD: &str = "no thread ends while it looks";
        if let Some(known) = self.cache.lock().expect(HELD).sections.get(text) {
            return Ok(Arc::clone(known));
        }
        let encode =
            || self.tokenizer.encode(text, false).map_err(|e| anyhow!("the tokenizer failed: {e}"));
        let encoding = guarded("the tokenizer", encode)?;
        let encoded = Arc::new(Encoded {
            ids: encoding.get_ids().to_vec(),
            offsets: encoding.get_offsets().to_vec(),
        });
        let mut cache = self.cache.lock().expect(HELD);
        if cache.bytes + text.len() > self.most {
            *cache = SectionCache::default();
        }
        cache.bytes += text.len();
        cache.sections.insert(text.to_owned(), Arc::clone(&encoded));
        Ok(encoded)
    }
}

/// Special tokens before which any text may be split. They are found in the raw text, do not absorb
/// adjacent text, and cannot be part of another token that begins earlier.
fn beginnings(tokenizer: &Tokenizer) -> Vec<String> {
    let added: Vec<_> = tokenizer.get_added_tokens_decoder().into_values().collect();
    let all: BTreeSet<&str> = added.iter().map(|token| token.content.as_str()).collect();
    let lengths: BTreeSet<usize> = all.iter().map(|text| text.len()).collect();
    // Looked up, not compared pair by pair: there may be tens of thousands.
    let mut inside_another: BTreeSet<&str> = BTreeSet::new();
    for other in &all {
        for length in lengths.range(..other.len()) {
            let parts = (1..=other.len() - length).filter_map(|at| other.get(at..at + length));
            inside_another.extend(parts.filter(|part| all.contains(part)));
        }
    }
    let whole = |text: &str| {
        text.starts_with(|letter: char| !letter.is_alphanumeric() && !letter.is_whitespace())
    };
    let plain = added.iter().filter(|token| {
        token.special && !token.normalized && !token.lstrip && !token.rstrip && !token.single_word
    });
    let mut found: Vec<String> = plain
        .map(|token| token.content.clone())
        .filter(|text| whole(text) && !inside_another.contains(text.as_str()))
        .collect();
    // A tokenizer finds the longest of those with the same beginning.
    found.sort_by_key(|text| std::cmp::Reverse(text.len()));
    found
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;
    use crate::seed::{self, Purpose};

    /// The tokenizers of the reference models and of nestling, without padding and truncation.
    fn tokenizers() -> Vec<(&'static str, Tokenizer)> {
        let cases = [
            "mha_tied",
            "gqa_untied",
            "bias_bf16",
            "smollm3",
            "mistral",
            "qwen2",
            "qwen3",
            "gemma2",
            "gemma3",
            "phi3",
        ];
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let folders = cases
            .map(|case| (case, root.join("reference").join(case)))
            .into_iter()
            .chain([("nestling", root.join("nestling"))]);
        folders
            .map(|(case, folder)| {
                let mut tokenizer =
                    Tokenizer::from_file(folder.join("tokenizer.json")).expect("a tokenizer");
                tokenizer
                    .with_padding(None)
                    .with_truncation(None)
                    .expect("none is always possible");
                (case, tokenizer)
            })
            .collect()
    }

    #[test]
    fn a_text_in_sections_gives_the_tokens_and_places_of_the_whole() {
        const PIECES: [&str; 14] = [
            "Hello",
            " world",
            "\n",
            "\n\n",
            "  ",
            "é",
            "1984",
            "<|",
            "|>",
            "<",
            "a",
            " user\n",
            "▁",
            "Name a bird. The year is 1984.",
        ];
        for (case, tokenizer) in tokenizers() {
            let special: Vec<String> = tokenizer
                .get_added_tokens_decoder()
                .into_values()
                .map(|token| token.content)
                .collect();
            let sections = Sections::new(tokenizer.clone());
            let mut random = seed::stream(Purpose::Test("sections"), 0);
            for _ in 0..400 {
                let pieces = random.random_range(0..12);
                let piece = |_| match random.random_range(0..3) {
                    0 if !special.is_empty() => {
                        special[random.random_range(0..special.len())].clone()
                    }
                    _ => PIECES[random.random_range(0..PIECES.len())].to_owned(),
                };
                let text: String = (0..pieces).map(piece).collect();
                let whole = tokenizer.encode(text.as_str(), false).expect("it encodes");
                let got = sections.encode(&text).expect("it encodes");
                assert_eq!(
                    (&got.ids[..], &got.offsets[..]),
                    (whole.get_ids(), whole.get_offsets()),
                    "{case}: {text:?}"
                );
            }
        }
    }

    #[test]
    fn the_turns_of_a_chat_are_sections_of_their_own() {
        let (_, tokenizer) = tokenizers().pop().expect("nestling");
        let mut special: Vec<String> = beginnings(&tokenizer);
        special.sort();
        assert!(!special.is_empty(), "nestling's turns begin with special tokens");
        let sections = Sections::new(tokenizer);
        let text = format!("{0}Hello.{0}Goodbye.", special[0]);
        assert_eq!(sections.cut(&text).len(), 2);
        sections.encode(&text).expect("it encodes");
        assert_eq!(sections.cache.lock().expect("it is not poisoned").sections.len(), 2);
    }

    #[test]
    fn what_is_kept_does_not_grow_without_end() {
        let (_, tokenizer) = tokenizers().pop().expect("nestling");
        let sections = Sections { most: 100, ..Sections::new(tokenizer) };
        for count in 0..60 {
            sections.encode(&"a ".repeat(count)).expect("it encodes");
            assert!(count > 50 || sections.cache.lock().expect("it is not poisoned").bytes <= 100);
        }
    }
}
