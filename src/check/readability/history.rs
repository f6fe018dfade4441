//! Adaptive byte model: how predictable a text is from preceding text alone, without knowledge of a
//! language.
//!
//! Contexts of 0 to [`ORDER`] bytes. Each is interpolated with the next shorter one by the number
//! of distinct bytes that followed it (Witten & Bell 1991, method C). If all six contexts have had
//! a single follower, the remaining probability is 1/64 or less, so copies cost almost nothing.

use std::collections::BTreeMap;

/// Maximum context length, bytes.
const ORDER: usize = 6;

/// Bits per symbol in a context's key. A symbol is a byte, or the end of a message.
const SYMBOL: u32 = 9;
const END: u64 = 256;

/// Counts of the symbols that followed each context.
pub struct History {
    /// The last symbols, the newest in the lowest bits.
    before: u64,
    /// Keyed by length and symbols of the context.
    seen: BTreeMap<(usize, u64), Followers>,
}

#[derive(Default)]
struct Followers {
    all: u32,
    by_symbol: BTreeMap<u64, u32>,
}

impl History {
    pub fn new() -> Self {
        History { before: END, seen: BTreeMap::new() }
    }

    /// Cost of the next byte, or of the end of a message, in nats; then adds it to the history.
    /// `without` is its cost without a history.
    pub fn cost(&mut self, byte: Option<u8>, without: f64) -> f64 {
        let symbol = byte.map_or(END, u64::from);
        let mut probability = (-without).exp();
        for length in 1..=ORDER {
            let context = self.before & ((1 << (SYMBOL * length as u32)) - 1);
            let followers = self.seen.entry((length, context)).or_default();
            let (all, kinds) = (f64::from(followers.all), followers.by_symbol.len() as f64);
            if all > 0.0 {
                let same = f64::from(followers.by_symbol.get(&symbol).copied().unwrap_or(0));
                probability = (same + kinds * probability) / (all + kinds);
            }
            followers.all += 1;
            *followers.by_symbol.entry(symbol).or_default() += 1;
        }
        self.before = (self.before << SYMBOL | symbol) & ((1 << (SYMBOL * ORDER as u32)) - 1);
        -probability.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cost of a text in nats, with 4 bits per byte without a history.
    fn cost(history: &mut History, text: &str) -> f64 {
        let cost = text.bytes().map(|byte| history.cost(Some(byte), 16f64.ln())).sum();
        history.cost(None, 16f64.ln());
        cost
    }

    #[test]
    fn what_was_seen_before_costs_next_to_nothing() {
        let history = &mut History::new();
        let first = cost(history, "qzkvxwpjyq kvzqxj");
        assert!(cost(history, "qzkvxwpjyq kvzqxj") < 0.1 * first);
    }

    #[test]
    fn what_is_new_costs_no_less_than_without_a_history() {
        let history = &mut History::new();
        cost(history, "abcdefghijklm");
        assert!(cost(history, "nopqrstuvwxyz") >= 13.0 * 16f64.ln());
    }
}
