//! Chat templates that the user gives: for bases without one, or instead of a base's own. Some ship
//! with the program.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokenizers::Tokenizer;

use crate::engine::TemplateId;
use crate::lm::files::hex;

/// Maximum size of a template in bytes. The longest of released models have 20 KB.
const LONGEST: u64 = 1 << 20;

/// The names of the templates that ship, as `--chat-template` takes them.
pub const SHIPPED_NAMES: &str = "chatml, gemma or llama3";

/// A template that ships: its name, its text, and the token that ends an answer.
const SHIPPED: [(&str, &str, &str); 3] = [
    ("chatml", include_str!("templates/chatml.jinja"), "<|im_end|>"),
    ("gemma", include_str!("templates/gemma.jinja"), "<end_of_turn>"),
    ("llama3", include_str!("templates/llama3.jinja"), "<|eot_id|>"),
];

/// A chat template that replaces the one of the base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenTemplate {
    /// A name that ships, or the file's name.
    pub name: String,
    pub text: String,
    /// The token that ends an answer, where it is known.
    end: Option<String>,
}

impl GivenTemplate {
    /// The template of this name, or else the text of this file. A file that has the name of a
    /// template that ships is given as `./NAME`.
    ///
    /// # Errors
    /// Where it is neither a known name nor a readable text file.
    pub fn open(given: &Path) -> Result<Self> {
        if let Some((name, text, end)) =
            SHIPPED.into_iter().find(|(name, ..)| Path::new(name) == given)
        {
            let (name, text) = (name.to_owned(), text.to_owned());
            return Ok(GivenTemplate { name, text, end: Some(end.to_owned()) });
        }
        let place = || format!("{} (--chat-template)", given.display());
        let advice = || {
            format!(
                "{}: no such file; give {SHIPPED_NAMES}, or a file with a Jinja template",
                place()
            )
        };
        // Reading a pipe would block, and reading a device might never end.
        ensure!(std::fs::metadata(given).with_context(advice)?.is_file(), advice());
        let mut bytes = Vec::new();
        let file = File::open(given).with_context(place)?;
        file.take(LONGEST + 1).read_to_end(&mut bytes).with_context(place)?;
        ensure!(bytes.len() as u64 <= LONGEST, "{}: more than {LONGEST} bytes", place());
        let text = String::from_utf8(bytes)
            .map_err(|_| anyhow!("{}: not UTF-8; a template is a text file", place()))?;
        let name = given.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(GivenTemplate { name, text, end: None })
    }

    /// What identifies it in plan, report and calibration.
    pub fn id(&self) -> TemplateId {
        TemplateId { name: self.name.clone(), sha256: hex(&Sha256::digest(&self.text)) }
    }

    /// The token that ends an answer; `None` where only the rendered text shows it.
    ///
    /// # Errors
    /// Where the tokenizer does not have it as one token. Trainers then add it to the vocabulary,
    /// with an embedding that a LoRA adapter does not hold.
    pub fn end_token(&self, tokenizer: &Tokenizer) -> Result<Option<u32>> {
        let Some(end) = &self.end else { return Ok(None) };
        single_token(tokenizer, end).map(Some).with_context(|| {
            let fitting: Vec<&str> = SHIPPED
                .iter()
                .filter(|(_, _, end)| single_token(tokenizer, end).is_some())
                .map(|(name, ..)| *name)
                .collect();
            let fitting = match fitting.is_empty() {
                true => String::new(),
                false => format!("{}, or ", fitting.join(", ")),
            };
            format!(
                "the tokenizer has no token {end}, with which the chat template {} ends an \
                 answer; give --chat-template {fitting}a file whose answers end with a token of \
                 this base, such as {{{{ eos_token }}}}",
                self.name
            )
        })
    }
}

/// The id of a text that the tokenizer encodes as one token of this name.
fn single_token(tokenizer: &Tokenizer, text: &str) -> Option<u32> {
    let id = tokenizer.token_to_id(text)?;
    let encoded = tokenizer.encode(text, false).ok()?;
    (encoded.get_ids() == [id]).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_messages_ships() {
        let names = SHIPPED_NAMES.replace(" or ", ", ");
        assert!(names.split(", ").eq(SHIPPED.iter().map(|(name, ..)| *name)), "{names}");
    }

    #[test]
    fn every_template_that_ships_ends_an_answer_with_its_token() {
        for (name, text, end) in SHIPPED {
            assert!(text.contains(&format!("'{end}")), "{name}");
        }
    }
}
