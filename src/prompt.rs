//! Text in prompts: the only module that puts text into prompts.
//!
//! Conditions insert their words into questions ([`Insertion`]). That needs the tokens of a text
//! (`token.rs`), dates in common forms (`date.rs`), and the marks that end a sentence.

mod date;
mod insert;
mod marks;
mod token;

pub use date::DateForm;
pub(crate) use date::{Date, date, month, year};
pub use insert::{DatePart, Filler, Insertion, InsertionKind, Position};
pub(crate) use marks::{is_end_mark, is_question, without_end};
pub(crate) use token::{Kind, Token, sentences, text_of, tokens};
