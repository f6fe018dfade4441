//! Logits of a base, with an adapter if one is given, for `fixtures/reference/roundtrip.py`: one
//! JSON array per token on stdout.
//!
//! `cargo run --release --example logits -- BASE ADAPTER ID ID ...`, where ADAPTER may be `-`.

#![allow(clippy::print_stdout, reason = "a program for a pipe")]

use std::path::Path;

use anyhow::{Context, Result};
use foretaste::lm::decoder::Streams;
use foretaste::lm::kernels::Segment;
use foretaste::lm::lora::HostLora;
use foretaste::{lm, peft};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let base = arguments.next().context("name a base")?;
    let adapter = arguments.next().context("name an adapter, or -")?;
    let tokens: Vec<u32> =
        arguments.map(|id| id.parse().with_context(|| id)).collect::<Result<_>>()?;
    let lm = lm::open(Some(Path::new(&base)), 1)?;
    let decoder = lm.decoder();
    let lora = match adapter.as_str() {
        "-" => None,
        folder => {
            let adapter = peft::read(Path::new(folder))?;
            Some(HostLora::from_adapters(&decoder.config, &[&adapter])?.upload(&decoder.device))
        }
    };
    let streams = Streams {
        shadows: 1,
        positions: (0..tokens.len() as u32).collect(),
        segments: vec![Segment { rows: 0..tokens.len(), prefix: Vec::new() }],
        tokens,
        ..Streams::default()
    };
    let hidden = decoder.hidden(&streams, lora.as_ref(), &mut |layer, q, k, v| {
        decoder.attend(layer, q, k, v, &streams)
    })?;
    let rows: Vec<usize> = (0..streams.tokens.len()).collect();
    let vocabulary = decoder.config.vocab_size;
    decoder.logits(&hidden, &rows, |_, logits| {
        for row in logits.chunks_exact(vocabulary) {
            println!("{}", serde_json::to_string(row).expect("numbers are JSON"));
        }
    });
    Ok(())
}
