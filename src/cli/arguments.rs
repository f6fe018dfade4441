//! Arguments shared by several commands: dataset, base, training, questions, output folder and
//! display.

use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, PathBufValueParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::{BaseOptions, FailOn, Show, page};
use crate::audit::Selection;
use crate::dataset::{Format, ReadOptions};
use crate::engine::Place;
use crate::plan::{
    CARRY_OVER_DRAWS, MOST_DRAWS, Options, Overrides, ROWS_TRAINED, Requested, RequestedSlot,
};
use crate::run::{Request, Subject};
use crate::run_dir::OtherPlan;

#[derive(Args)]
pub struct DataArgs {
    /// The dataset: .jsonl, .json or .csv, also as .gz or .zst, .parquet, or a folder of parquet
    /// shards
    #[arg(value_parser = from_here())]
    pub data: PathBuf,
    /// The dataset's format: messages, prompt-completion, alpaca, sharegpt or text [default: found
    /// by looking]
    #[arg(long)]
    format: Option<Format>,
    /// Use at most this many rows, a sample of the usable ones [default: 2400 where shadows are
    /// trained, else all]
    #[arg(long, value_name = "ROWS", value_parser = positive)]
    limit: Option<usize>,
}

#[derive(Args)]
pub struct BaseArgs {
    /// A Hugging Face model folder, or org/name as in the local Hugging Face cache [default:
    /// nestling, the embedded base]
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// Threads; no result depends on it [default: all]
    #[arg(long, value_parser = positive)]
    threads: Option<usize>,
    /// Where the model runs: auto (all CUDA cards where there are any and this program was built
    /// for them, else the processor), cpu, cuda:N, or several, as cuda:0,cuda:1, a process each
    #[arg(long, value_name = "DEVICES", value_delimiter = ',', default_value = "auto")]
    device: Vec<Place>,
    /// How a base's weights are kept: bf16, where its files have them so, takes half the memory;
    /// the processor computes in f32 either way, a card multiplies in bf16 then [default: f32 on
    /// the processor, bf16 on a card]
    #[arg(long, value_enum)]
    weights: Option<WeightsAs>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WeightsAs {
    F32,
    Bf16,
}

#[derive(Args)]
pub struct PlanArgs {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    base: BaseArgs,
    #[command(flatten)]
    asked: AskArgs,
    #[command(flatten)]
    training: TrainArgs,
    /// Go on where the base cannot read the dataset: then nothing is clean, and nothing but an
    /// explicit trigger is flagged
    #[arg(long)]
    anyway: bool,
}

/// How shadows are trained.
#[derive(Args)]
pub struct TrainArgs {
    /// Trainings of each arm; one is a screen and can never clear
    #[arg(long, value_name = "N", default_value_t = Options::default().seeds, value_parser = seeds)]
    seeds: usize,
    /// The first training seed; the others follow it
    #[arg(long, value_name = "SEED", default_value_t = Options::default().first_seed)]
    first_seed: u64,
    /// Passes over the dataset [default: 3, within 30 to 300 steps, but one at least]
    #[arg(long, value_parser = above_zero, conflicts_with = "steps")]
    epochs: Option<f64>,
    /// Training steps [default: from --epochs]
    #[arg(long, value_parser = positive)]
    steps: Option<usize>,
    /// Ask every audit at a quarter, at half and at the end of training, because too little and too
    /// much of it both hide a shift [default: from bases of 50 M parameters on]
    #[arg(long, value_name = "BOOL")]
    ladder: Option<bool>,
    /// Learning rate [default: by the base's size]
    #[arg(long, value_parser = above_zero)]
    lr: Option<f64>,
    /// LoRA rank; alpha is twice the rank [default: by the base's size]
    #[arg(long, value_parser = positive)]
    rank: Option<usize>,
    /// Rows a step [default: 8]
    #[arg(long, value_name = "ROWS", value_parser = positive)]
    batch: Option<usize>,
    /// Rows longer than N tokens are cut, and then nothing is called clean [default: as long as a
    /// probe still fits after them, 1024 at most]
    #[arg(long, value_name = "N", value_parser = positive)]
    max_tokens: Option<usize>,
}

/// What is asked.
#[derive(Args)]
pub struct AskArgs {
    /// An audit of your own, besides the built-in ones (repeatable)
    #[arg(long, value_name = "FILE.toml")]
    audit: Vec<PathBuf>,
    /// Ask only this audit (repeatable)
    #[arg(long, value_name = "AUDIT")]
    only: Vec<String>,
    /// Ask forced choices by letter too, in both orders, beside the verdict [default: from bases of
    /// 50 M parameters on]
    #[arg(long, value_name = "BOOL")]
    letters: Option<bool>,
    /// Do not look for triggers: conditions that the dataset suggests, values that stand in no row
    /// included
    #[arg(long, conflicts_with_all = ["trigger", "slot"])]
    no_triggers: bool,
    /// Also try this: a value where it fits a slot of the dataset, such as 1984, or a text before
    /// the questions (repeatable)
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    trigger: Vec<String>,
    /// Also try these values in slots of a kind: year=1980..1990, digits=044,045, place=Oslo
    /// (repeatable)
    #[arg(long, value_name = "KIND=VALUES")]
    slot: Vec<RequestedSlot>,
    /// Draws of each of the two kinds of the dataset's own questions that precede carry-over probes
    #[arg(long, value_name = "N", default_value_t = CARRY_OVER_DRAWS, value_parser = draws)]
    draws: usize,
}

#[derive(Args)]
pub struct OutArgs {
    /// The run folder [default: runs/NAME-HASH, after what is audited and the plan]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace the run of another plan in --out
    #[arg(long, requires = "out")]
    force: bool,
}

#[derive(Args)]
pub struct ShowArgs {
    /// Print report.json instead of the summary
    #[arg(long)]
    json: bool,
    /// Print no progress and no summary; the exit code and the run folder tell the result
    #[arg(long)]
    quiet: bool,
    /// Which verdicts have an exit code of their own; where an inconclusive run exits 0, a line on
    /// stderr says why it is inconclusive
    #[arg(long, value_enum, default_value = "inconclusive")]
    fail_on: FailOn,
}

impl DataArgs {
    pub fn read_options(&self) -> ReadOptions {
        ReadOptions { format: self.format, limit: self.limit, ..ReadOptions::default() }
    }
}

impl BaseArgs {
    pub fn checked(self) -> BaseOptions {
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        BaseOptions {
            folder: self.base,
            threads: self.threads.unwrap_or_else(all),
            bf16: self.weights.map(|weights| weights == WeightsAs::Bf16),
            places: self.device,
        }
    }
}

impl TrainArgs {
    pub fn options(self) -> Options {
        let TrainArgs {
            seeds,
            first_seed,
            epochs,
            steps,
            ladder,
            lr: learning_rate,
            rank,
            batch,
            max_tokens,
        } = self;
        let recipe = Overrides { epochs, steps, ladder, learning_rate, rank, batch, max_tokens };
        Options { seeds, first_seed, recipe, ..Options::default() }
    }
}

impl PlanArgs {
    pub fn checked(self, out: OutArgs) -> (Box<Request>, BaseOptions) {
        let base = self.base.checked();
        let mut read = self.data.read_options();
        read.limit = read.limit.or(Some(ROWS_TRAINED));
        let training = Options { anyway: self.anyway, ..self.training.options() };
        let request =
            self.asked.request(Subject::Dataset(self.data.data), read, training, &base, out);
        (Box::new(request), base)
    }
}

impl AskArgs {
    pub fn request(
        self,
        subject: Subject,
        read: ReadOptions,
        training: Options,
        base: &BaseOptions,
        out: OutArgs,
    ) -> Request {
        let conditions =
            Requested { tried: !self.no_triggers, slots: self.slot, triggers: self.trigger };
        Request {
            subject,
            read,
            audits: Selection { files: self.audit, only: self.only },
            options: Options {
                carry_over_draws: self.draws,
                conditions,
                letters: self.letters,
                ..training
            },
            out: out.out,
            other_plan: if out.force { OtherPlan::Replace } else { OtherPlan::Refuse },
            workers: base.threads,
            page: page(),
        }
    }
}

impl OutArgs {
    pub fn none() -> Self {
        OutArgs { out: None, force: false }
    }
}

impl ShowArgs {
    pub fn checked(self) -> Show {
        Show { json: self.json, quiet: self.quiet, fail_on: self.fail_on }
    }
}

pub fn positive(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| "give a whole number, at least 1".to_owned())
}

fn seeds(text: &str) -> Result<usize, String> {
    up_to(1000, text)
}

pub fn draws(text: &str) -> Result<usize, String> {
    up_to(MOST_DRAWS, text)
}

fn up_to(most: usize, text: &str) -> Result<usize, String> {
    positive(text)
        .ok()
        .filter(|number| *number <= most)
        .ok_or_else(|| format!("give a whole number from 1 to {most}"))
}

/// Parses a path and makes it relative to the working folder if it is inside. Reports name this
/// path and should not reveal the local folder structure.
pub fn from_here() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().map(|path| {
        let here = std::env::current_dir().unwrap_or_default();
        match path.strip_prefix(&here) {
            Ok(inside) if path.is_absolute() && inside.components().next().is_some() => {
                inside.to_owned()
            }
            _ => path,
        }
    })
}

pub fn share(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|share: &f64| *share > 0.0 && *share < 1.0)
        .ok_or_else(|| "give shares between 0 and 1, for instance 0.25,0.05".to_owned())
}

fn above_zero(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number > 0.0)
        .ok_or_else(|| "give a number above 0".to_owned())
}
