//! What an adaptive model of bytes makes of a text: how much of it could be known from what came
//! before, without knowing any language.
//!
//! Contexts of 0 to [`ORDER`] bytes, each blended with the next shorter by the number of different
//! bytes that followed it (Witten & Bell 1991, method C, interpolated). Where all six have had one
//! follower, it keeps 1/64 of doubt or less: copies cost next to nothing.

use std::collections::BTreeMap;

/// The longest context, bytes.
const ORDER: usize = 6;

/// Bits of a symbol in a context's key: a byte, or the end of a message.
const SYMBOL: u32 = 9;
const END: u64 = 256;

/// What followed each context so far.
pub struct History {
    /// The last symbols, the newest lowest.
    before: u64,
    /// By length and symbols of the context.
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

    /// What the next byte costs, or the end of a message, where it costs so much without a history;
    /// nats. It then belongs to the history.
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

    /// Nats of a text by 4 bits a byte, after what came before.
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
