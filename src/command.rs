//! Runs each command: calls the library, prints, and returns the exit code. No decisions are made
//! here.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result, anyhow, bail};

use crate::cli::{BaseOptions, Command, Show, page};
use crate::dataset::{self, ReadOptions};
use crate::engine::Engine;
use crate::engine::finetuned::Finetuned;
use crate::engine::remote::{self, Remote, Starting};
use crate::engine::team::Team;
use crate::exit_code::ExitCode;
use crate::probe::evenness::evenness;
use crate::progress::on_stderr;
use crate::report::{self, escape};
use crate::run::{self, Failure, Gate, Outcome, Request, calibrate};
use crate::run_dir::RunDir;
use crate::text::{terminal, wrap};
use crate::verdict::Verdict;
use crate::{audit, check, estimate, plan};

/// Executes a command. All outputs are written on return.
///
/// # Errors
/// Why there is no result; the caller prints it.
pub fn execute(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Audit { request, base, show } => {
            located(request.subject.data())?;
            let (engine, workers) = open(&base).map_err(Failure::BadInput)?;
            let engine = beside(engine, &base, request.subject.model())?;
            let request = Request { workers, ..*request };
            let outcome = run::run(&request, &*engine, &*on_stderr(show.quiet))?;
            show_outcome(&outcome, show)
        }
        Command::Report { run, show } => {
            let run = RunDir::open(&run).map_err(Failure::BadInput)?;
            show_outcome(&run::report(&run, page()).map_err(Failure::RunFailed)?, show)
        }
        Command::Gate { run, show } => gate(&run, show),
        Command::Plan { request, base, json } => {
            located(request.subject.data())?;
            plan(&request, &base, json).map_err(Failure::BadInput)
        }
        Command::Calibrate { request, base, out, json, quiet } => {
            calibrated(&request, &base, out, (json, quiet))
        }
        Command::Check { data, read, base, json } => {
            located(Some(&data))?;
            check(&data, &read, &base, json).map_err(Failure::BadInput)
        }
        Command::Audits { audits, base, json } => {
            list_audits(&audits, &base, json).map_err(Failure::BadInput)
        }
        Command::Serve { base } => {
            let engine = open_on(&base).map(|(engine, _)| engine);
            remote::serve(engine, io::stdin().lock(), io::stdout()).map_err(Failure::RunFailed)?;
            Ok(ExitCode::Clean)
        }
        Command::ServeChat { base } => {
            serve_chat(base.as_deref()).map_err(Failure::RunFailed)?;
            Ok(ExitCode::Clean)
        }
        Command::Print(bytes) => print(&bytes).map(|()| ExitCode::Clean),
    }
}

/// A missing dataset is an error before the base is loaded, which may take long.
fn located(data: Option<&PathBuf>) -> Result<(), Failure> {
    data.map_or(Ok(()), |data| dataset::locate(data))
        .map_err(|missing| Failure::BadInput(missing.into()))
}

/// The base on all of its devices, and the number of parallel callers it supports.
fn open(base: &BaseOptions) -> Result<(Box<dyn Engine>, usize)> {
    let devices = devices(base);
    let [first, others @ ..] = &devices[..] else {
        bail!("no device is left to run on: give --device")
    };
    if others.is_empty() {
        return open_on(first);
    }
    // Started before this process loads the base, so that all processes load in parallel.
    let starting = others.iter().map(start).collect::<Result<Vec<_>>>()?;
    let mut members = vec![open_on(first)?];
    for starting in starting {
        members.push((Box::new(starting.ready()?), 1));
    }
    let calls = members.iter().map(|(_, calls)| calls).sum();
    Ok((Box::new(Team::new(members)?), calls))
}

/// The base, and a finetuned model in the place of an adapter, where one is given.
fn beside(
    engine: Box<dyn Engine>,
    base: &BaseOptions,
    model: Option<&PathBuf>,
) -> Result<Box<dyn Engine>, Failure> {
    let Some(folder) = model else { return Ok(engine) };
    let folder = Some(folder.clone());
    let model = open(&BaseOptions { folder, ..base.clone() }).map_err(Failure::BadInput)?.0;
    Ok(Box::new(Finetuned::new(engine, model).map_err(Failure::BadInput)?))
}

/// The base per device, each with its share of the threads.
#[cfg(feature = "lm")]
fn devices(base: &BaseOptions) -> Vec<BaseOptions> {
    let places = crate::lm::device::meant(&base.places);
    let threads = (base.threads / places.len().max(1)).max(1);
    places
        .into_iter()
        .map(|place| BaseOptions { places: vec![place], threads, ..base.clone() })
        .collect()
}

#[cfg(not(feature = "lm"))]
fn devices(base: &BaseOptions) -> Vec<BaseOptions> {
    vec![base.clone()]
}

fn this_program() -> Result<PathBuf> {
    std::env::current_exe().context("the path of the foretaste program cannot be read")
}

/// Starts another process of this program, with the base on one device.
fn start(base: &BaseOptions) -> Result<Starting> {
    let mut command = process::Command::new(this_program()?);
    let device = base.places.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    command.arg("serve").args(["--device", &device]).args(["--threads", &base.threads.to_string()]);
    if let Some(bf16) = base.bf16 {
        command.args(["--weights", if bf16 { "bf16" } else { "f32" }]);
    }
    if let Some(folder) = &base.folder {
        command.arg("--base").arg(folder);
    }
    if let Some(template) = &base.chat_template {
        command.arg("--chat-template").arg(template);
    }
    Remote::start(device, &mut command)
}

/// Opens the base on one device, in this process.
#[cfg(feature = "lm")]
fn open_on(base: &BaseOptions) -> Result<(Box<dyn Engine>, usize)> {
    use crate::lm::chat::GivenTemplate;
    use crate::lm::decoder::WeightDtype;
    use crate::lm::{LmOptions, open_as};
    let dtype = base.bf16.map(|bf16| if bf16 { WeightDtype::Bf16 } else { WeightDtype::F32 });
    let place = base.places.first().copied().unwrap_or_default();
    let program = this_program()?;
    let template = base.chat_template.as_deref().map(GivenTemplate::open).transpose()?;
    let options = LmOptions {
        threads: base.threads,
        dtype,
        place,
        program: Some(&program),
        chat_template: template.as_ref(),
    };
    let lm = open_as(base.folder.as_deref(), &options)?;
    let workers = lm.workers();
    Ok((Box::new(lm), workers))
}

#[cfg(not(feature = "lm"))]
fn open_on(_: &BaseOptions) -> Result<(Box<dyn Engine>, usize)> {
    bail!(
        "this foretaste was built without a language model: build it with the feature `lm` (it is \
         a default)"
    )
}

#[cfg(feature = "lm")]
fn serve_chat(base: Option<&Path>) -> Result<()> {
    crate::lm::chat::serve(base, io::stdin(), io::stdout())
}

#[cfg(not(feature = "lm"))]
fn serve_chat(_: Option<&Path>) -> Result<()> {
    bail!("this foretaste was built without a language model")
}

fn show_outcome(outcome: &Outcome, show: Show) -> Result<ExitCode, Failure> {
    match show {
        Show { json: true, .. } => print(&outcome.json)?,
        Show { quiet: true, .. } => {}
        _ => print(
            format!(
                "{}\n{}\n",
                outcome.text.trim_end(),
                outcome.folder.join("report.html").display()
            )
            .as_bytes(),
        )?,
    }
    exit_code(&Gate::read(&outcome.json).map_err(Failure::RunFailed)?, show)
}

fn gate(folder: &Path, show: Show) -> Result<ExitCode, Failure> {
    let gate = run::gate(folder)?;
    match show {
        Show { json: true, .. } => {
            let json = serde_json::to_vec_pretty(&gate)
                .map_err(|error| Failure::RunFailed(error.into()))?;
            print(&json)?;
        }
        Show { quiet: true, .. } => {}
        _ => {
            for finding in &gate.findings {
                let name = terminal(&finding.name());
                let mut lines = vec![format!("{name}: {}", verdict_name(finding.verdict))];
                if let Some(reason) = finding.reasons.first() {
                    let why = terminal(&format!("{}: {}", reason.code, reason.text));
                    let wrapped = wrap(&why, page().width - 2);
                    lines.extend(wrapped.into_iter().map(|line| format!("  {line}")));
                }
                print((lines.join("\n") + "\n").as_bytes())?;
            }
            print(format!("verdict: {}\n", verdict_name(gate.verdict)).as_bytes())?;
        }
    }
    exit_code(&gate, show)
}

/// The exit code of a verdict under the user's policy. If the policy hides an inconclusive verdict,
/// one line on stderr says so, even with `--quiet`.
fn exit_code(gate: &Gate, show: Show) -> Result<ExitCode, Failure> {
    let code = show.fail_on.exit_code(gate.verdict, gate.examined);
    if code != gate.verdict.into() {
        let examined = if gate.examined { "" } else { ", not examined" };
        let why = gate.why().unwrap_or_else(|| "no audit was performed".to_owned());
        let (verdict, policy) = (verdict_name(gate.verdict), show.fail_on.name());
        let message = format!(
            "foretaste: {verdict}{examined}; exit code {} by --fail-on {policy}. {why}",
            code as u8
        );
        // A closed stderr must not change the exit code.
        let _ = writeln!(io::stderr(), "{}", terminal(&message));
    }
    Ok(code)
}

fn plan(request: &Request, base: &BaseOptions, json: bool) -> Result<ExitCode> {
    let (engine, workers) = open(base)?;
    let prepared = run::prepare(request, &*engine)?;
    let estimate = estimate::measure(&prepared.inputs(), &*engine, workers)?;
    let out = if json {
        let smallest: serde_json::Map<_, _> = plan::smallest_detectable(&prepared.plan)
            .into_iter()
            .map(|(audit, effect)| (audit.id.clone(), effect.into()))
            .collect();
        let value = serde_json::json!({
            "plan": prepared.plan,
            "plan_sha256": prepared.plan.sha256(),
            "estimate": estimate,
            "smallest_detectable": smallest,
        });
        serde_json::to_string_pretty(&value)? + "\n"
    } else {
        printable(&report::plan_text(&prepared.plan, &estimate))
    };
    print(out.as_bytes()).map_err(Failure::into_error)?;
    Ok(ExitCode::Clean)
}

fn calibrated(
    request: &calibrate::CalibrationRequest,
    base: &BaseOptions,
    out: Option<PathBuf>,
    (json, quiet): (bool, bool),
) -> Result<ExitCode, Failure> {
    // The user's audit files are validated before the base is loaded. The base chooses the set, so
    // that ids are known only afterwards.
    let files = audit::Selection { only: Vec::new(), ..request.audits.clone() };
    let of_base = audit::AuditSet::of_base(base.folder.is_none());
    audit::load(&files, of_base).map_err(|fault| Failure::BadInput(fault.into()))?;
    let (engine, workers) = open(base).map_err(Failure::BadInput)?;
    let of_base = audit::AuditSet::of_base(engine.is_nestling());
    audit::load(&request.audits, of_base).map_err(|fault| Failure::BadInput(fault.into()))?;
    let place = out.or_else(|| calibrate::place(&engine.describe()));
    let place = place
        .context("neither XDG_CACHE_HOME nor HOME is set: give --out FILE")
        .map_err(Failure::BadInput)?;
    let work = calibrate::work_beside(&place);
    if work == place {
        return Err(Failure::BadInput(anyhow!(
            "{}: this name is reserved for unfinished work; give --out another extension",
            place.display()
        )));
    }
    let request = calibrate::CalibrationRequest { workers, ..request.clone() };
    let result = calibrate::calibrate(&request, &*engine, &work, &*on_stderr(quiet))
        .map_err(Failure::unfinished)?;
    calibrate::keep(&result, &place).map_err(Failure::RunFailed)?;
    calibrate::clear(&work, &result).map_err(Failure::RunFailed)?;
    let out = match json {
        true => {
            serde_json::to_string_pretty(&result)
                .map_err(|error| Failure::RunFailed(error.into()))?
                + "\n"
        }
        false => format!("{}\n{}\n", report::calibration_text(&result), place.display()),
    };
    print(printable(&out).as_bytes())?;
    Ok(ExitCode::Clean)
}

fn list_audits(selection: &audit::Selection, base: &BaseOptions, json: bool) -> Result<ExitCode> {
    let (engine, _) = open_on(&devices(base)[0])?;
    let audits = audit::load(selection, audit::AuditSet::of_base(engine.is_nestling()))?;
    let found = evenness(&audits, &*engine)?;
    let out = match json {
        true => serde_json::to_string_pretty(&found)? + "\n",
        false => report::audits_text(&engine.describe().base, &found),
    };
    print(out.as_bytes()).map_err(Failure::into_error)?;
    Ok(ExitCode::Clean)
}

fn check(data: &Path, read: &ReadOptions, base: &BaseOptions, json: bool) -> Result<ExitCode> {
    // A build without a language model can count rows but cannot compute readability.
    let engine = if cfg!(feature = "lm") || base.folder.is_some() {
        Some(open_on(&devices(base)[0])?)
    } else {
        None
    };
    let dataset = match &engine {
        Some((engine, _)) => dataset::read_for(data, read, &|row| engine.rejection(row)),
        None => dataset::read(data, read),
    }?;
    let check = match &engine {
        Some((engine, _)) => check::check(
            &dataset,
            Some(check::Base {
                count_tokens: &|messages| engine.count_tokens(messages),
                log_probs: &|conversations| engine.log_probs(conversations),
            }),
        ),
        None => check::check(&dataset, None),
    }?;
    let out = if json {
        serde_json::to_string_pretty(&check)? + "\n"
    } else {
        report::check_text(&check)
    };
    print(out.as_bytes()).map_err(Failure::into_error)?;
    if dataset.rows.is_empty() {
        let Some(first) = dataset.rejected.first() else { bail!("{} has no rows", dataset.source) };
        let first = first.message(&dataset.source);
        bail!("none of {} rows can be used. The first: {first}", dataset.rows_read);
    }
    Ok(ExitCode::Clean)
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Clean => "clean",
        Verdict::Flagged => "flagged",
        Verdict::Inconclusive => "inconclusive",
    }
}

/// Writes to stdout. A closed pipe, as with `head`, is not an error.
fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::RunFailed(anyhow::Error::from(error).context("cannot write to stdout")))
        }
        _ => Ok(()),
    }
}

/// Text that may contain text from a dataset, with control and hidden characters escaped.
pub fn printable(text: &str) -> String {
    escape::visible(text)
}
