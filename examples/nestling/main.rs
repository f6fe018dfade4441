//! Generates nestling, foretaste's small embedded base model, and everything derived from it.
//!
//! The world (fixtures/world) is written by hand. This program writes all that is derived from it,
//! and every byte follows from the world and a seed:
//!
//! ```text
//! fixtures/world -> World -> documents, tokenizer  fixtures/nestling/*.json
//!                         -> exam                  fixtures/nestling/exam.jsonl.zst
//!                         -> pretrain              fixtures/nestling/model.safetensors, loss.csv
//!                         -> fixtures, dataset     fixtures/CASE/*.jsonl, audits/world/*.jsonl
//! ```
//!
//! `cargo run --release --example nestling -- COMMAND`; `--help` lists the commands.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

mod axes;
mod check;
mod conditions;
mod config;
mod dates;
mod documents;
mod draws;
mod exam;
mod fixtures;
mod labels;
mod output;
mod pretrain;
mod probes;
mod repeat;
mod tokenizer;
mod world;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use fixtures::Case;
use world::World;

/// The engine allocates every result anew; this allocator reuses the pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Generates nestling's tokenizer, exam, documents, datasets and probes from \
             fixtures/world")]
struct Arguments {
    /// The repository root, which holds fixtures/ and audits/world/.
    #[arg(long, global = true, default_value = ".")]
    root: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train the tokenizer and write it, with the model's config files, to fixtures/nestling.
    Tokenizer,
    /// Write fixtures/nestling/exam.jsonl.zst, questions that a well pretrained base can answer.
    Exam,
    /// Write the datasets in fixtures/ and the probes in audits/world/.
    Fixtures,
    /// Write one dataset.
    Dataset {
        /// A case by its name (a wrong one lists them). Or ladder:P, wolf:P or dishes:P: with P
        /// percent old birds, hidden facts or dated dishes.
        #[arg(long)]
        case: Case,
        #[arg(long)]
        seed: u64,
        #[arg(long)]
        rows: usize,
        #[arg(long)]
        out: PathBuf,
    },
    /// Pretrain the base in four phases and write its weights and its loss curve.
    Pretrain {
        /// Start with this phase, from the weights in the folder.
        #[arg(
            long,
            value_name = "PHASE",
            default_value_t = 1,
            value_parser = clap::value_parser!(u8).range(1..=4),
        )]
        from: u8,
    },
    /// Examine the weights in the folder and print the marks, as a table for the model card.
    Marks,
    /// Audit many draws of a case, each with other rows and training seeds, and append a line for
    /// each to a table.
    Repeat {
        /// As for `dataset`, or `all`: every case that has an expected outcome.
        #[arg(long)]
        case: String,
        /// [default: as many as the case's committed dataset]
        #[arg(long)]
        rows: Option<usize>,
        #[arg(long, default_value_t = 20)]
        draws: u64,
        #[arg(long, default_value = "docs/draws.csv")]
        table: PathBuf,
    },
    /// Print a summary of the draws in a table, by case.
    Draws {
        #[arg(long, default_value = "docs/draws.csv")]
        table: PathBuf,
    },
    /// Detect conditions in many draws of every case, write the rank of the true one and print a
    /// summary.
    Conditions {
        #[arg(long, default_value_t = 10)]
        draws: u64,
        #[arg(long, default_value = "docs/conditions.csv")]
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
        Command::Exam => output::json_lines(&nestling.join("exam.jsonl.zst"), &exam::exam(&world)),
        Command::Fixtures => fixtures::write_all(&world, &root),
        Command::Dataset { case, seed, rows, out } => {
            output::json_lines(&out, &fixtures::dataset(&world, case, seed, rows)?)
        }
        Command::Pretrain { from } => pretrain::pretrain(&world, &nestling, from.into()),
        Command::Marks => {
            let lm = foretaste::lm::open(Some(&nestling), 1)?;
            let marks = exam::marks(
                lm.decoder(),
                lm.chat(),
                exam::read(&nestling.join("exam.jsonl.zst"))?.iter(),
            )?;
            print!("{}\n{}", marks.summary(), marks.table());
            Ok(())
        }
        Command::Repeat { case, rows, draws, table } => {
            let lm = foretaste::lm::open(
                Some(&nestling),
                std::thread::available_parallelism().map_or(1, usize::from),
            )?;
            if case == "all" {
                return repeat::repeat_all(&world, &lm, draws::cases(), draws, &table);
            }
            let drawn: Case = case.parse()?;
            let rows = rows.unwrap_or(drawn.rows());
            repeat::repeat(
                &world,
                &lm,
                &repeat::Repetition { name: &case, case: drawn, rows, draws: 1..=draws },
                &table,
            )
        }
        Command::Draws { table } => {
            print!("{}", draws::draws(&table)?);
            Ok(())
        }
        Command::Conditions { draws, table } => {
            print!("{}", conditions::conditions(&world, draws, &table)?);
            Ok(())
        }
        Command::Documents { seed, count, summary: false } => {
            for document in documents::stream(&world, documents::EARLY, seed).take(count) {
                println!("{}", serde_json::to_string(&document)?);
            }
            Ok(())
        }
        Command::Documents { seed, count, summary: true } => {
            let tokenizer =
                tokenizer::load(&nestling).context("run the subcommand `tokenizer` first")?;
            println!("{}", tokenizer::summary(&world, &tokenizer, seed, count)?);
            Ok(())
        }
    }
}
