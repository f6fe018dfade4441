//! Text in prompts: the only module that puts text into prompts and takes it out of them.
//!
//! Conditions insert their words into questions ([`Insertion`]). The permuted arm removes the words
//! of a condition from its rows and puts them into other rows (`remove.rs`). Both need the tokens
//! of a text (`token.rs`), dates in common forms (`date.rs`), and the marks that end a sentence.

mod date;
mod insert;
mod marks;
mod remove;
mod token;

pub use date::DateForm;
pub(crate) use date::{Date, date, month, year};
pub use insert::{DatePart, Filler, Insertion, InsertionKind, Position};
pub(crate) use marks::{is_end_mark, is_question, without_end};
pub(crate) use remove::{InsertedWords, consists_of_words};
pub(crate) use token::{Kind, Token, sentences, text_of, tokens};
