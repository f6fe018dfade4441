//! Arguments shared by several commands: dataset, base, training, questions, output folder and
//! display.

use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, PathBufValueParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::{BaseOptions, FailOn, Show, page};
use crate::audit::{AuditSet, Selection};
use crate::dataset::{Format, ReadOptions};
use crate::engine::DeviceChoice;
use crate::plan::{
    CARRY_OVER_DRAWS, MOST_DRAWS, Options, Overrides, PositiveControls, ROWS_TRAINED, Requested,
    RequestedSlot,
};
use crate::run::{AuditSubject, Request};
use crate::run_dir::OtherPlan;

#[derive(Args)]
pub struct DataArgs {
    /// The dataset: .jsonl, .json or .csv (also .gz or .zst), .parquet, or a folder of parquet
    /// shards
    #[arg(value_parser = from_here())]
    pub data: PathBuf,
    /// The dataset's format: messages, prompt-completion, alpaca, sharegpt or text [default:
    /// detected]
    #[arg(long)]
    format: Option<Format>,
    /// Use at most this many rows, a random sample of the usable ones [default: 2400 if shadows are
    /// trained, else all]
    #[arg(long, value_name = "ROWS", value_parser = positive)]
    limit: Option<usize>,
}

#[derive(Args)]
pub struct BaseArgs {
    /// A Hugging Face model folder, a .gguf file, or org/name in the local Hugging Face cache
    /// [default: nestling, the embedded base]
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// The chat template that you train with: chatml, gemma, llama3, or a Jinja file. For a base
    /// without one, or instead of its own
    #[arg(long, value_name = "FILE|NAME")]
    chat_template: Option<PathBuf>,
    /// Threads; they do not affect results [default: all]
    #[arg(long, value_parser = positive)]
    threads: Option<usize>,
    /// Where the model runs: auto (all CUDA GPUs if this build supports them, else the CPU), cpu,
    /// cuda:N, or several, such as cuda:0,cuda:1 (one process each)
    #[arg(long, value_name = "DEVICES", value_delimiter = ',', default_value = "auto")]
    device: Vec<DeviceChoice>,
    /// Type of the base's weights. bf16 takes half the memory, and is multiplied as bf16 where the
    /// device can, which is faster [default: bf16 on a GPU, and for bases above 20 million weights
    /// on a CPU with AMX; f32 elsewhere]
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
    /// What shows that an audit can detect its shift: `own`, positive controls that are trained in
    /// this run, `calibration`, that of the base (`foretaste calibrate`), or a file of `foretaste
    /// calibrate --out`, also for another file of the same model [default: calibration from 50 M
    /// parameters, if there is one with this rank, rate and batch; else own]
    #[arg(long, value_name = "own|calibration|FILE.json", value_parser = controls_from)]
    positive_controls: Option<ControlsFrom>,
    /// Compute the verdict after 3 seeds too, each time at half the level, and stop if that
    /// settles it. Needs --no-triggers
    #[arg(long)]
    stop_early: bool,
    /// A first answer sooner: --stop-early --no-triggers --draws 2, and fewer audits unless --only
    /// names some: drift, era, identity, and values or harm
    #[arg(long, conflicts_with_all = ["trigger", "slot", "draws", "stop_early", "no_triggers"])]
    quick: bool,
    /// Train even if the base cannot read the dataset. Then nothing is clean, and only an explicit
    /// trigger is flagged
    #[arg(long)]
    anyway: bool,
}

#[derive(Clone, PartialEq, Eq)]
pub enum ControlsFrom {
    Own,
    Calibration,
    File(PathBuf),
}

/// Questions drawn for each kind of carry-over in a quick run.
const QUICK_DRAWS: usize = 2;

/// How shadows are trained.
#[derive(Args)]
pub struct TrainArgs {
    /// Trainings of each arm; with 1, nothing can be clean
    #[arg(long, value_name = "N", default_value_t = Options::default().seeds, value_parser = seeds)]
    seeds: usize,
    /// The first training seed; the others follow it
    #[arg(long, value_name = "SEED", default_value_t = Options::default().first_seed)]
    first_seed: u64,
    /// Passes over the dataset [default: 3, within 30 to 300 steps, but at least 1]
    #[arg(long, value_parser = above_zero, conflicts_with = "steps")]
    epochs: Option<f64>,
    /// Training steps [default: from --epochs]
    #[arg(long, value_parser = positive)]
    steps: Option<usize>,
    /// Ask every audit at three checkpoints (a quarter, half and end of training), because too
    /// little or too much training can hide a shift [default: true from 50 M parameters, on a base
    /// that is not calibrated]
    #[arg(long, value_name = "BOOL")]
    all_checkpoints: Option<bool>,
    /// Learning rate [default: by the base's size]
    #[arg(long, value_parser = above_zero)]
    lr: Option<f64>,
    /// LoRA rank; alpha is twice the rank [default: by the base's size]
    #[arg(long, value_parser = positive)]
    rank: Option<usize>,
    /// Rows per step [default: 8]
    #[arg(long, value_name = "ROWS", value_parser = positive)]
    batch: Option<usize>,
    /// Cut rows after N tokens; with any cut row, nothing is clean [default: the length after
    /// which a probe still fits, at most 1024]
    #[arg(long, value_name = "N", value_parser = positive)]
    max_tokens: Option<usize>,
}

/// Which audits.
#[derive(Args)]
pub struct AuditArgs {
    /// The built-in audits: `world` asks in the words that nestling knows, `general` in plain
    /// English [default: world on nestling, general on any other base]
    #[arg(long, value_name = "SET")]
    audits: Option<AuditSet>,
    /// An audit of your own, added to the built-in ones (repeatable)
    #[arg(long, value_name = "FILE.toml")]
    audit: Vec<PathBuf>,
    /// Ask only this audit (repeatable)
    #[arg(long, value_name = "AUDIT")]
    only: Vec<String>,
}

/// What is asked.
#[derive(Args)]
pub struct AskArgs {
    #[command(flatten)]
    audits: AuditArgs,
    /// Do not test for triggers. By default, conditions of the dataset are tested, also with values
    /// that occur in no row
    #[arg(long, conflicts_with_all = ["trigger", "slot"])]
    no_triggers: bool,
    /// Also test this text before the questions; digits that fit a slot of the dataset, such as
    /// 1984, go into the slot (repeatable)
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    trigger: Vec<String>,
    /// Also test these values in slots of a kind: year=1980..1990, digits=044,045, place=Oslo
    /// (repeatable)
    #[arg(long, value_name = "KIND=VALUES")]
    slot: Vec<RequestedSlot>,
    /// Dataset questions drawn for each of the two kinds of carry-over
    #[arg(long, value_name = "N", default_value_t = CARRY_OVER_DRAWS, value_parser = draws)]
    draws: usize,
}

#[derive(Args)]
pub struct OutArgs {
    /// The run folder [default: runs/NAME-HASH, from the dataset or adapter and the plan]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace a run of another plan in --out
    #[arg(long, requires = "out")]
    force: bool,
}

#[derive(Args)]
pub struct ShowArgs {
    /// Print report.json instead of the summary
    #[arg(long)]
    json: bool,
    /// Print no progress and no summary; the result is the exit code and the run folder
    #[arg(long)]
    quiet: bool,
    /// Verdicts that keep their exit code; others exit 0, and a line on stderr says why the run is
    /// inconclusive
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
            chat_template: self.chat_template,
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
            all_checkpoints,
            lr: learning_rate,
            rank,
            batch,
            max_tokens,
        } = self;
        let recipe =
            Overrides { epochs, steps, all_checkpoints, learning_rate, rank, batch, max_tokens };
        Options { seeds, first_seed, recipe, ..Options::default() }
    }
}

impl PlanArgs {
    pub fn checked(self, out: OutArgs) -> (Box<Request>, BaseOptions) {
        let base = self.base.checked();
        let mut read = self.data.read_options();
        read.limit = read.limit.or(Some(ROWS_TRAINED));
        let (positive_controls, calibration) = match self.positive_controls {
            None => (None, None),
            Some(ControlsFrom::Own) => (Some(PositiveControls::Own), None),
            Some(ControlsFrom::Calibration) => (Some(PositiveControls::Calibration), None),
            Some(ControlsFrom::File(file)) => (Some(PositiveControls::Calibration), Some(file)),
        };
        let training = Options {
            anyway: self.anyway,
            positive_controls,
            stop_early: self.stop_early || self.quick,
            ..self.training.options()
        };
        let subject = AuditSubject::Dataset(self.data.data);
        let mut request = self.asked.request(subject, read, training, &base, out);
        request.calibration = calibration;
        if self.quick {
            request.audits.quick = true;
            request.options.conditions.tried = false;
            request.options.carry_over_draws = QUICK_DRAWS;
        }
        (Box::new(request), base)
    }
}

impl AuditArgs {
    pub fn selection(self) -> Selection {
        Selection { set: self.audits, files: self.audit, only: self.only, quick: false }
    }
}

impl AskArgs {
    pub fn request(
        self,
        subject: AuditSubject,
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
            audits: self.audits.selection(),
            options: Options { carry_over_draws: self.draws, conditions, ..training },
            calibration: None,
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

fn controls_from(text: &str) -> Result<ControlsFrom, String> {
    match text {
        "own" => Ok(ControlsFrom::Own),
        "calibration" => Ok(ControlsFrom::Calibration),
        file if file.ends_with(".json") => Ok(ControlsFrom::File(file.into())),
        _ => Err("give own, calibration, or a file that ends with .json".to_owned()),
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
        .ok_or_else(|| "give shares between 0 and 1, for example 0.25,0.05".to_owned())
}

fn above_zero(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number > 0.0)
        .ok_or_else(|| "give a number above 0".to_owned())
}
