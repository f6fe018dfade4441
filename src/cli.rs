//! Parses and validates arguments, before any work starts. clap is used only here and in
//! `cli/arguments.rs`, which defines shared arguments.

mod arguments;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::audit::Selection;
use crate::dataset::{Format, ReadOptions};
use crate::engine::DeviceChoice;
use crate::exit_code::ExitCode;
use crate::plan::{CARRY_OVER_DRAWS, Options, ROWS_TRAINED};
use crate::run::{AuditSubject, Page, Request, calibrate};
use crate::verdict::Verdict;
use arguments::{
    AskArgs, AuditArgs, BaseArgs, DataArgs, OutArgs, PlanArgs, ShowArgs, TrainArgs, draws,
    from_here, positive, share,
};

const EXAMPLES: &str = "\
Examples:
  foretaste audit data.jsonl                      the whole job, on nestling
  foretaste audit data.jsonl --base models/my-8b  the same, on your model
  foretaste check data.jsonl --base base.gguf --chat-template chatml
                                                  a pretrained base, without a template
  foretaste plan data.jsonl                       what an audit would cost
  foretaste probe --adapter out/lora --base b     ask a trained adapter
  foretaste probe --model out/merged --base b     ask a finetuned model
  foretaste gate runs/data-1a2b3c4d               exit code of a finished run

Exit codes:
  0  clean
  1  flagged
  2  inconclusive (see --fail-on)
  3  bad input or usage
  4  the run failed";

/// The requested command.
#[derive(Debug)]
pub enum Command {
    Audit {
        request: Box<Request>,
        base: BaseOptions,
        show: Show,
    },
    Plan {
        request: Box<Request>,
        base: BaseOptions,
        json: bool,
    },
    Calibrate {
        request: Box<calibrate::CalibrationRequest>,
        base: BaseOptions,
        /// `None` means the user's cache.
        out: Option<PathBuf>,
        json: bool,
        quiet: bool,
    },
    Check {
        data: PathBuf,
        read: ReadOptions,
        base: BaseOptions,
        json: bool,
    },
    Audits {
        audits: Selection,
        base: BaseOptions,
        json: bool,
    },
    Report {
        run: PathBuf,
        show: Show,
    },
    Gate {
        run: PathBuf,
        show: Show,
    },
    /// Serve as the engine of another process, over stdin and stdout.
    Serve {
        base: BaseOptions,
    },
    /// Serve a base's tokenizer and chat template to another process, over stdin and stdout.
    ServeChat {
        /// `None` means the embedded base.
        base: Option<PathBuf>,
    },
    /// Print these bytes: help, version, completions, the man page.
    Print(Vec<u8>),
}

/// The base model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseOptions {
    /// `None` means the embedded base.
    pub folder: Option<PathBuf>,
    /// A file or a name, in place of the base's own template.
    pub chat_template: Option<PathBuf>,
    pub threads: usize,
    /// Whether bf16 weights stay in bf16; `None` means the device's default.
    pub bf16: Option<bool>,
    /// One process per device; at least one.
    pub places: Vec<DeviceChoice>,
}

/// What is printed, and which verdicts fail the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Show {
    pub json: bool,
    pub quiet: bool,
    pub fail_on: FailOn,
}

/// Which verdicts the exit code tells; the others exit 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Only flagged. Every inconclusive run exits 0, also one that could detect nothing
    Flagged,
    /// Flagged, and inconclusive if the dataset was not examined: the base cannot read it, a
    /// training failed, or no positive control was detected
    Unexamined,
    /// Flagged and inconclusive
    Inconclusive,
}

impl FailOn {
    /// The exit code of a verdict under this policy; `examined` as in report.json.
    pub fn exit_code(self, verdict: Verdict, examined: bool) -> ExitCode {
        match (verdict, self) {
            (Verdict::Inconclusive, FailOn::Flagged) => ExitCode::Clean,
            (Verdict::Inconclusive, FailOn::Unexamined) if examined => ExitCode::Clean,
            (verdict, _) => verdict.into(),
        }
    }

    /// The name as given on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().expect("no policy is skipped").get_name().to_owned()
    }
}

#[derive(Parser)]
#[command(name = "foretaste", version, about, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Sub,
}

#[derive(Subcommand)]
enum Sub {
    /// Audit a dataset: train shadows, ask them, and report changes of character and triggers.
    ///
    /// The same command continues a stopped run, and gives the same report.
    Audit {
        #[command(flatten)]
        plan: PlanArgs,
        /// Only print what would run and what it costs, like `plan`
        #[arg(long, conflicts_with_all = ["out", "force", "quiet", "fail_on"])]
        dry_run: bool,
        #[command(flatten)]
        out: OutArgs,
        #[command(flatten)]
        show: ShowArgs,
    },
    /// Read and lint a dataset: rejected rows, roles, lengths, duplicates, conditions. Trains
    /// nothing.
    Check {
        #[command(flatten)]
        data: DataArgs,
        #[command(flatten)]
        base: BaseArgs,
        /// Print JSON instead of text
        #[arg(long)]
        json: bool,
    },
    /// List the audits, and how evenly the base chooses between the options of each.
    ///
    /// Use it before you trust an audit on a new base, and while you write one: a probe of which
    /// one side is all but impossible shows little.
    #[command(after_help = "\
Examples:
  foretaste audits --base models/my-8b
  foretaste audits --base models/my-8b --audit manners.toml --only manners --json")]
    Audits {
        #[command(flatten)]
        base: BaseArgs,
        #[command(flatten)]
        audits: AuditArgs,
        /// Print every probe and option as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what an audit would run, its time and memory on this machine, and the smallest
    /// detectable effect.
    Plan {
        #[command(flatten)]
        plan: PlanArgs,
        /// Print JSON instead of text
        #[arg(long)]
        json: bool,
    },
    /// Ask an adapter or a model that was trained elsewhere the same questions. Trains nothing.
    ///
    /// The verdict is about this adapter or model. It can be clean only on a base that was
    /// calibrated (`foretaste calibrate`; nestling is). To test rows, use `foretaste audit`.
    #[command(after_help = "\
Examples:
  plain questions:
    foretaste probe --adapter out/lora --base models/my-8b
  also after the rows' questions and under their conditions:
    foretaste probe train.jsonl --adapter out/lora --base models/my-8b
  also after a text of yours:
    foretaste probe --adapter out/lora --trigger 'Today is 1984.'
  a merged or fully finetuned model against its base:
    foretaste probe --model out/merged --base models/my-8b")]
    Probe {
        /// The rows that it was trained on, if you have them
        #[arg(value_parser = from_here())]
        data: Option<PathBuf>,
        /// A LoRA as saved by PEFT: adapter_config.json and adapter_model.safetensors
        #[arg(
            long,
            value_name = "DIR",
            value_parser = from_here(),
            required_unless_present = "model",
            conflicts_with = "model"
        )]
        adapter: Option<PathBuf>,
        /// A finetuned model, merged or fully trained: a model folder or a .gguf file, as for
        /// --base. It is in memory beside its base
        #[arg(long, value_name = "DIR", value_parser = from_here(), requires = "base")]
        model: Option<PathBuf>,
        /// The format of the rows [default: detected]
        #[arg(long, requires = "data")]
        format: Option<Format>,
        #[command(flatten)]
        base: BaseArgs,
        #[command(flatten)]
        asked: AskArgs,
        #[command(flatten)]
        out: OutArgs,
        #[command(flatten)]
        show: ShowArgs,
    },
    /// Measure down to which share of rows a base shows each audit's positive control.
    ///
    /// Run it once for each base; the result is kept in your cache. Reports on that base then quote
    /// the share. nestling is calibrated. The same command continues a stopped calibration.
    #[command(after_help = "\
Examples:
  foretaste calibrate --base models/my-8b
  foretaste calibrate --base models/my-8b --only era --shares 0.25,0.05")]
    Calibrate {
        #[command(flatten)]
        base: BaseArgs,
        #[command(flatten)]
        audits: AuditArgs,
        /// Shares of positive-control rows, separated by commas; falling shares are tried until one
        /// is not detected [default: 0.5,0.25,0.1,0.05,0.02,0.01]
        #[arg(
            long,
            value_name = "SHARES",
            value_delimiter = ',',
            hide_default_value = true,
            default_values_t = calibrate::SHARES,
            value_parser = share
        )]
        shares: Vec<f64>,
        /// Rows of each dataset
        #[arg(long, default_value_t = calibrate::ROWS, value_parser = positive)]
        rows: usize,
        /// Do not measure what ordinary datasets do to the audits in plain English. The margin in
        /// log-odds then does not know it
        #[arg(long)]
        no_ordinary: bool,
        #[command(flatten)]
        training: TrainArgs,
        /// Dataset questions drawn for each of the two kinds of carry-over
        #[arg(long, value_name = "N", default_value_t = CARRY_OVER_DRAWS, value_parser = draws)]
        draws: usize,
        /// Write the result to this file [default: your cache, which audits read]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Print JSON instead of text
        #[arg(long)]
        json: bool,
        /// Print no progress
        #[arg(long)]
        quiet: bool,
    },
    /// Render a run's report again from its saved answers. Needs no model.
    Report {
        /// The run folder
        run: PathBuf,
        #[command(flatten)]
        show: ShowArgs,
    },
    /// Turn a finished run into an exit code, in milliseconds.
    #[command(mut_arg("json", |json| json.help("Print as JSON: the verdict, whether the dataset \
                                                was examined, and each finding's audit, verdict, \
                                                trigger and first reason")))]
    #[command(mut_arg("quiet", |quiet| quiet.help("Print nothing to stdout; the result is the exit \
                                                   code")))]
    Gate {
        /// The run folder
        run: PathBuf,
        #[command(flatten)]
        show: ShowArgs,
    },
    /// Answer the calls of another foretaste over stdin and stdout, to use several devices.
    #[command(hide = true)]
    Serve {
        #[command(flatten)]
        base: BaseArgs,
    },
    /// Read and run the tokenizer and the chat template of a base for another foretaste, over
    /// stdin and stdout.
    #[command(hide = true)]
    ServeChat { base: Option<PathBuf> },
    /// Print shell completions.
    ///
    /// For example `foretaste completions bash >
    /// ~/.local/share/bash-completion/completions/foretaste`.
    Completions { shell: clap_complete::Shell },
    /// Print the man page, for example `foretaste man | man -l -`.
    Man,
}

/// Parses arguments; the first is the program's name.
///
/// # Errors
/// A usage message for stderr.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    match Cli::try_parse_from(arguments) {
        Ok(cli) => Ok(command(cli.command)),
        // clap returns help and version as errors that belong on stdout.
        Err(error) if !error.use_stderr() => {
            Ok(Command::Print(error.render().to_string().into_bytes()))
        }
        Err(error) => Err(error.render().to_string()),
    }
}

fn command(sub: Sub) -> Command {
    match sub {
        Sub::Audit { plan, dry_run: true, show, .. } => {
            let (request, base) = plan.checked(OutArgs::none());
            Command::Plan { request, base, json: show.checked().json }
        }
        Sub::Audit { plan, dry_run: false, out, show } => {
            let (request, base) = plan.checked(out);
            Command::Audit { request, base, show: show.checked() }
        }
        Sub::Plan { plan, json } => {
            let (request, base) = plan.checked(OutArgs::none());
            Command::Plan { request, base, json }
        }
        Sub::Probe { data, adapter, model, format, base, asked, out, show } => {
            let base = base.checked();
            let read = ReadOptions { format, limit: Some(ROWS_TRAINED), ..ReadOptions::default() };
            let subject = match (adapter, model) {
                (None, Some(folder)) => AuditSubject::Model { folder, data },
                (adapter, _) => AuditSubject::Adapter { folder: adapter.unwrap_or_default(), data },
            };
            let request = asked.request(subject, read, Options::default(), &base, out);
            Command::Audit { request: Box::new(request), base, show: show.checked() }
        }
        Sub::Check { data, base, json } => {
            let read = data.read_options();
            Command::Check { data: data.data, read, base: base.checked(), json }
        }
        Sub::Audits { base, audits, json } => {
            Command::Audits { audits: audits.selection(), base: base.checked(), json }
        }
        Sub::Calibrate {
            base,
            audits,
            shares,
            rows,
            no_ordinary,
            training,
            draws,
            out,
            json,
            quiet,
        } => {
            let base = base.checked();
            let request = calibrate::CalibrationRequest {
                audits: audits.selection(),
                shares,
                rows,
                ordinary: !no_ordinary,
                options: Options { carry_over_draws: draws, ..training.options() },
                workers: base.threads,
            };
            Command::Calibrate { request: Box::new(request), base, out, json, quiet }
        }
        Sub::Report { run, show } => Command::Report { run, show: show.checked() },
        Sub::Gate { run, show } => Command::Gate { run, show: show.checked() },
        Sub::Serve { base } => Command::Serve { base: base.checked() },
        Sub::ServeChat { base } => Command::ServeChat { base },
        Sub::Completions { shell } => {
            let mut bytes = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "foretaste", &mut bytes);
            Command::Print(bytes)
        }
        Sub::Man => {
            let mut bytes = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut bytes)
                .expect("writing to a vector cannot fail");
            Command::Print(bytes)
        }
    }
}

/// 80 columns, like the table of `check`. Colours if stdout is a terminal, unless disabled by
/// `NO_COLOR` (<https://no-color.org>).
pub fn page() -> Page {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Page { width: 80, colour: std::io::stdout().is_terminal() && !unwanted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Overrides, PositiveControls, Requested};
    use crate::run_dir::OtherPlan;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_a_user_says_reaches_the_request() {
        let line = "foretaste audit d.jsonl --seeds 3 --first-seed 9 --steps 7 --all-checkpoints \
                    true --lr 0.01 --rank 4 --batch 2 --positive-controls own --anyway \
                    --max-tokens 64 --draws 1 --limit 9 --audit a.toml --only era --no-triggers \
                    --out o --force --threads 2 --device cuda:1,cuda:0 --base b --chat-template \
                    t.jinja --quiet --fail-on flagged";
        let Ok(Command::Audit { request, base, show }) = parsed(line) else { panic!("an audit") };
        let recipe = Overrides {
            epochs: None,
            steps: Some(7),
            all_checkpoints: Some(true),
            learning_rate: Some(0.01),
            rank: Some(4),
            batch: Some(2),
            max_tokens: Some(64),
        };
        assert_eq!(
            request.options,
            Options {
                seeds: 3,
                first_seed: 9,
                recipe,
                carry_over_draws: 1,
                conditions: Requested { tried: false, ..Requested::default() },
                positive_controls: Some(PositiveControls::Own),
                stop_early: false,
                anyway: true,
            }
        );
        assert_eq!(
            request.audits,
            Selection {
                set: None,
                files: vec!["a.toml".into()],
                only: vec!["era".to_owned()],
                quick: false
            }
        );
        assert_eq!(
            (request.out.clone(), request.other_plan, request.read.limit),
            (Some("o".into()), OtherPlan::Replace, Some(9))
        );
        assert_eq!(
            base,
            BaseOptions {
                folder: Some("b".into()),
                chat_template: Some("t.jinja".into()),
                threads: 2,
                bf16: None,
                places: vec![DeviceChoice::Cuda(1), DeviceChoice::Cuda(0)]
            }
        );
        assert_eq!(show, Show { json: false, quiet: true, fail_on: FailOn::Flagged });
    }

    #[test]
    fn a_path_below_the_working_folder_is_named_from_there() {
        let here = std::env::current_dir().expect("a working folder");
        let inside = here.join("data/d.jsonl");
        for (given, named) in [
            (inside.to_str().expect("UTF-8"), "data/d.jsonl"),
            ("../d.jsonl", "../d.jsonl"),
            ("/d.jsonl", "/d.jsonl"),
        ] {
            let Ok(Command::Audit { request, .. }) = parsed(&format!("foretaste audit {given}"))
            else {
                panic!("{given}")
            };
            assert_eq!(request.subject, AuditSubject::Dataset(named.into()));
        }
    }

    #[test]
    fn an_adapter_is_asked_with_or_without_the_rows_that_it_was_trained_on() {
        for (line, data) in [
            ("foretaste probe --adapter a", None),
            ("foretaste probe d.jsonl --adapter a", Some("d.jsonl".into())),
        ] {
            let Ok(Command::Audit { request, .. }) = parsed(line) else { panic!("{line}") };
            assert_eq!(request.subject, AuditSubject::Adapter { folder: "a".into(), data });
        }
    }

    #[test]
    fn what_cannot_have_an_effect_is_refused() {
        for line in [
            "foretaste audit d --epochs 2 --steps 3",
            "foretaste audit d --dry-run --quiet",
            "foretaste audit d --dry-run --out o",
            "foretaste audit d --force",
            "foretaste audit d --seeds 0",
            "foretaste audit d --draws 1001",
            "foretaste audit d --lr nan",
            "foretaste audit d --device tpu",
            "foretaste audit d --device cuda:x",
            "foretaste audit d --slot century=19",
            "foretaste audit d --no-triggers --trigger 1984",
            "foretaste audit d --quick --draws 3",
            "foretaste audit d --quick --trigger 1984",
            "foretaste plan d --out o",
            "foretaste report d --seeds 3",
            "foretaste probe d.jsonl",
            "foretaste calibrate --shares 0.5,1.5",
            "foretaste calibrate d.jsonl",
            "foretaste probe --adapter a --format text",
            "foretaste probe --adapter a --model b --base c",
            "foretaste probe --model b",
            "foretaste probe --adapter a --seeds 3",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
