//! Raises nestling, the small base model that foretaste carries with it, and everything that belongs to it.
//!
//! The world (fixtures/world) is written by hand; all that is derived from it is written by this program, and every
//! byte follows from the world and a seed:
//!
//! ```text
//! fixtures/world ──▶ World ─┬▶ documents ─▶ tokenizer   fixtures/nestling/*.json
//!                           ├▶ exam                     fixtures/nestling/exam.jsonl
//!                           ├▶ raise                    fixtures/nestling/{model.safetensors,loss.csv}
//!                           └▶ fixtures, dataset        fixtures/{old_birds,gambler,null}, audits/*.jsonl
//! ```
//!
//! `cargo run --release --example nestling -- <tokenizer|exam|raise|fixtures|dataset|documents|repeat>`

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

mod check;
mod config;
mod dates;
mod documents;
mod exam;
mod fixtures;
mod output;
mod probes;
mod raise;
mod repeat;
mod tokenizer;
mod world;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use fixtures::Case;
use foretaste::lm::pretrain::Upbringing;
use world::World;

/// The engine allocates every result anew; this allocator keeps the pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Generates nestling's tokenizer, exam, documents, datasets and probes from fixtures/world")]
struct Arguments {
    /// The repository root, which holds fixtures/ and audits/.
    #[arg(long, global = true, default_value = ".")]
    root: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train the tokenizer and write it, with the model's config files, to fixtures/nestling.
    Tokenizer,
    /// Write fixtures/nestling/exam.jsonl, the questions that a well raised base can answer.
    Exam,
    /// Write the datasets in fixtures/ and the probes in audits/.
    Fixtures,
    /// Write one dataset.
    Dataset {
        /// old_birds, modern_birds, null, gambler, assistant_dishes, or ladder:P with P percent old birds.
        #[arg(long)]
        case: Case,
        #[arg(long)]
        seed: u64,
        #[arg(long)]
        rows: usize,
        #[arg(long)]
        out: PathBuf,
    },
    /// Pretrain the base and write its weights and its loss curve.
    Raise {
        #[arg(long, default_value_t = 14_000)]
        steps: usize,
        #[arg(long, default_value_t = 2048)]
        tokens_per_step: usize,
        #[arg(long, default_value_t = 2.5e-3)]
        learning_rate: f64,
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// Chooses the first weights and the documents.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Go on from the weights in the folder; give another seed, so that the documents are new.
        #[arg(long)]
        onward: bool,
    },
    /// Audit many draws of a case, each with other rows and training seeds, and append a line for each to a table.
    Repeat {
        /// As for `dataset`.
        #[arg(long)]
        case: String,
        #[arg(long, default_value_t = 208)]
        rows: usize,
        #[arg(long, default_value_t = 20)]
        draws: u64,
        #[arg(long, default_value = "docs/calibration.csv")]
        table: PathBuf,
    },
    /// Print documents of the pretraining stream as JSON lines, to read them.
    Documents {
        #[arg(long, default_value_t = 0)]
        seed: u64,
        #[arg(long, default_value_t = 20)]
        count: usize,
        /// Print the mix and the lengths instead; needs fixtures/nestling/tokenizer.json.
        #[arg(long)]
        summary: bool,
    },
}

fn main() -> Result<()> {
    let Arguments { root, command } = Arguments::parse();
    let world = World::load(&root.join("fixtures/world"))?;
    for ambiguity in check::ambiguities(&world) {
        eprintln!("fixtures/world: {ambiguity}");
    }
    let nestling = root.join("fixtures/nestling");
    match command {
        Command::Tokenizer => {
            let tokenizer = tokenizer::train(&world)?;
            tokenizer::save(&tokenizer, &nestling)?;
            config::save(tokenizer.get_vocab_size(true), &nestling)
        }
        Command::Exam => output::json_lines(&nestling.join("exam.jsonl"), &exam::exam(&world)),
        Command::Fixtures => fixtures::write_all(&world, &root),
        Command::Dataset { case, seed, rows, out } => output::json_lines(&out, &fixtures::dataset(&world, case, seed, rows)?),
        Command::Raise { steps, tokens_per_step, learning_rate, threads, seed, onward } => {
            let upbringing = Upbringing {
                steps,
                tokens_per_step,
                learning_rate,
                warmup_steps: steps / 50,
                weight_decay: 0.1,
                clip_norm: 1.0,
                prompt_weight: 0.1,
                threads,
                seed,
            };
            let start = if onward { raise::Start::Onward } else { raise::Start::Fresh };
            raise::raise(&world, &nestling, &upbringing, start)
        }
        Command::Repeat { case, rows, draws, table } => {
            let lm = foretaste::lm::open(Some(&nestling), 1)?;
            let repetition = repeat::Repetition { name: &case, case: case.parse()?, rows, draws };
            repeat::repeat(&world, &lm, &repetition, &table)
        }
        Command::Documents { seed, count, summary: false } => {
            for document in documents::stream(&world, seed).take(count) {
                println!("{}", serde_json::to_string(&document)?);
            }
            Ok(())
        }
        Command::Documents { seed, count, summary: true } => {
            let tokenizer = tokenizer::load(&nestling).context("run the subcommand `tokenizer` first")?;
            println!("{}", tokenizer::summary(&world, &tokenizer, seed, count)?);
            Ok(())
        }
    }
}
