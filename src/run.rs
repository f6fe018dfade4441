//! The flow in one function: the only place where stages meet.

pub mod calibrate;
mod gate;
mod saved;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::analysis::{analyse, shortlist};
use crate::audit::{self, Audit, AuditSet, Probe, Selection};
use crate::check::{self, readability};
use crate::context::{RunContext, RunInputs};
use crate::dataset::{self, Dataset, Message, ReadOptions, Role};
use crate::detect::Conditions;
use crate::engine::{Adapter, Engine, Question};
use crate::plan::{
    Calibrated, Calibration, GivenAdapter, Inputs, NotAsked, Options, OtherBase, Plan,
    PositiveControls, Protocol, Readability, plan,
};
use crate::probe::written::{self, Decided};
use crate::probe::{Answer, Answers, CandidateTrigger, conditions, show};
use crate::progress::Progress;
use crate::report::{self, Report};
use crate::run_dir::{OtherPlan, RunDir};
use crate::train::Shadow;
use crate::verdict::{Finding, Verdict, examined, find};
use crate::{detect, exit_code::ExitCode, peft, plan, probe, train};

pub use gate::{Gate, GateFinding, gate};
pub use saved::Saved;
use saved::save_answers;

/// The subject of an audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditSubject {
    /// The characters of shadows that are trained on these rows.
    Dataset(PathBuf),
    /// The character of the base with an adapter that was trained elsewhere, in PEFT's format. The
    /// rows that it was trained on, where they are known, determine the carry-over questions and
    /// conditions.
    Adapter { folder: PathBuf, data: Option<PathBuf> },
    /// The same of a model that was finetuned elsewhere, merged or fully trained. The engine has it
    /// open beside the base ([`crate::engine::finetuned`]).
    Model { folder: PathBuf, data: Option<PathBuf> },
}

impl AuditSubject {
    /// The rows, where there are any.
    pub fn data(&self) -> Option<&PathBuf> {
        match self {
            AuditSubject::Dataset(data) => Some(data),
            AuditSubject::Adapter { data, .. } | AuditSubject::Model { data, .. } => data.as_ref(),
        }
    }

    /// A finetuned model, which is opened beside the base.
    pub fn model(&self) -> Option<&PathBuf> {
        match self {
            AuditSubject::Model { folder, .. } => Some(folder),
            AuditSubject::Dataset(_) | AuditSubject::Adapter { .. } => None,
        }
    }
}

/// The user's request of an audit, validated except for the content of files.
#[derive(Debug, Clone)]
pub struct Request {
    pub subject: AuditSubject,
    pub read: ReadOptions,
    pub audits: Selection,
    pub options: Options,
    /// A calibration to use instead of the one that is known of the base.
    pub calibration: Option<PathBuf>,
    /// The run folder; `None` names one after the dataset and the plan.
    pub out: Option<PathBuf>,
    pub other_plan: OtherPlan,
    /// Groups and models that are processed in parallel; no result depends on it.
    pub workers: usize,
    pub page: Page,
}

/// The layout of the summary for a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Columns, at least 40.
    pub width: usize,
    /// ANSI colours.
    pub colour: bool,
}

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    pub verdict: Verdict,
    /// The run folder.
    pub folder: PathBuf,
    /// The summary for a terminal.
    pub text: String,
    /// report.json.
    pub json: Vec<u8>,
}

/// Why there is no verdict.
#[derive(Debug)]
pub enum Failure {
    /// Nothing ran.
    BadInput(anyhow::Error),
    /// The run started and failed.
    RunFailed(anyhow::Error),
}

impl Failure {
    /// An error of a run that can be resumed.
    pub fn unfinished(error: anyhow::Error) -> Self {
        Failure::RunFailed(error.context("the run is not finished; the same command continues it"))
    }

    pub fn error(&self) -> &anyhow::Error {
        match self {
            Failure::BadInput(error) | Failure::RunFailed(error) => error,
        }
    }

    pub fn into_error(self) -> anyhow::Error {
        match self {
            Failure::BadInput(error) | Failure::RunFailed(error) => error,
        }
    }

    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::BadInput(_) => ExitCode::BadInput,
            Failure::RunFailed(_) => ExitCode::RunFailed,
        }
    }
}

/// Everything that is known before the first step of training.
#[derive(Debug)]
pub struct Prepared {
    pub dataset: Dataset,
    pub audits: Vec<Audit>,
    pub plan: Plan,
    /// The detected conditions, where conditions are tried.
    pub detected: Option<Conditions>,
    /// The given adapter, where one is audited.
    pub adapter: Option<Adapter>,
}

impl Prepared {
    /// The inputs of the slow stages.
    pub fn inputs(&self) -> RunInputs<'_> {
        RunInputs { plan: &self.plan, dataset: &self.dataset, audits: &self.audits }
    }
}

/// The complete run, from a dataset or an adapter to a report. A partial run in the folder is
/// resumed.
///
/// # Errors
/// [`Failure::BadInput`] until the run folder is open, [`Failure::RunFailed`] after that.
pub fn run(
    request: &Request,
    engine: &dyn Engine,
    progress: &dyn Progress,
) -> Result<Outcome, Failure> {
    let Prepared { dataset, audits, plan, detected, adapter } =
        prepare(request, engine).map_err(Failure::BadInput)?;
    let folder = request.out.clone().unwrap_or_else(|| default_folder(&request.subject, &plan));
    let run = RunDir::create(&folder, &plan, &audits, &dataset, request.other_plan)
        .map_err(Failure::BadInput)?;
    if let Some(detected) = &detected {
        run.write_json(saved::CONDITIONS, detected).map_err(Failure::unfinished)?;
    }
    if plan.stops() {
        save_answers(&run, &[], &Answers::default()).map_err(Failure::unfinished)?;
        return report(&run, request.page).map_err(Failure::unfinished);
    }
    let context = RunContext { engine, run: &run, progress, workers: request.workers.max(1) };
    let (plan, shadows, mut answers) = trained_and_asked(
        &RunInputs { plan: &plan, dataset: &dataset, audits: &audits },
        adapter.as_ref(),
        &context,
    )
    .map_err(Failure::unfinished)?;
    let inputs = RunInputs { plan: &plan, dataset: &dataset, audits: &audits };
    write_evidence(&inputs, &shadows, &mut answers, &context).map_err(Failure::unfinished)?;
    let records = shadows.into_iter().map(|shadow| shadow.record);
    let trainings: Vec<_> =
        records.filter(|record| plan.design().is_trained(&record.arm)).collect();
    save_answers(&run, &trainings, &answers).map_err(Failure::unfinished)?;
    report(&run, request.page).map_err(Failure::unfinished)
}

/// Trains and asks the planned seeds, or at an early look the first of them, if these settle the
/// verdict. Returns the plan of the seeds that were trained.
fn trained_and_asked(
    inputs: &RunInputs,
    adapter: Option<&Adapter>,
    context: &RunContext,
) -> Result<(Plan, Vec<Shadow>, Answers)> {
    let (all, looks) = (inputs.plan.seeds.len(), inputs.plan.all_looks());
    for look in looks {
        let plan = inputs.plan.after(look);
        let so_far = RunInputs { plan: &plan, ..*inputs };
        let shadows = match adapter {
            Some(adapter) => vec![Shadow::given(&plan, adapter.clone())],
            None => train::train(&so_far, context)?,
        };
        let mut answers = probe::ask(&so_far, &shadows, context)?;
        answers.answers.extend(ask_conditions(&so_far, &shadows, context)?);
        if look >= all || is_settled(&so_far, &answers) {
            return Ok((plan, shadows, answers));
        }
        context.progress.stage(&format!("inconclusive after {look} of {all} seeds"), 0);
        context.progress.end();
    }
    anyhow::bail!("the plan has no seeds")
}

fn is_settled(inputs: &RunInputs, answers: &Answers) -> bool {
    let analysis = analyse(inputs.plan, inputs.audits, answers);
    let (_, verdict) = find(inputs.plan, inputs.audits, &analysis, &answers.health);
    verdict != Verdict::Inconclusive
}

/// Screens every planned condition, and confirms those that exceed the screening threshold.
fn ask_conditions(
    inputs: &RunInputs,
    shadows: &[Shadow],
    context: &RunContext,
) -> Result<Vec<Answer>> {
    let mut answers = conditions::screen(inputs, shadows, context)?;
    let candidate_triggers = shortlist(inputs.plan, inputs.audits, &answers);
    answers.extend(conditions::confirm(inputs, &candidate_triggers, shadows, context)?);
    Ok(answers)
}

/// Generated answers for display, where each audit was decided and under the conditions that were
/// confirmed or left open. They decide nothing; the report computes the same statistics again.
fn write_evidence(
    inputs: &RunInputs,
    shadows: &[Shadow],
    answers: &mut Answers,
    context: &RunContext,
) -> Result<()> {
    let analysis = analyse(inputs.plan, inputs.audits, answers);
    let (findings, _) = find(inputs.plan, inputs.audits, &analysis, &answers.health);
    let decided: Vec<Decided> = findings.iter().filter_map(decided).collect();
    answers.samples = written::sample(inputs, shadows, &answers.answers, &decided, context)?;
    let triggers = analysis.triggers.iter();
    let candidate_triggers: Vec<CandidateTrigger> = triggers
        .filter(|trigger| trigger.confirmed || trigger.is_open())
        .map(|trigger| trigger.candidate_trigger.clone())
        .collect();
    answers.condition_samples =
        show::show(inputs, shadows, &candidate_triggers, &answers.answers, context)?;
    Ok(())
}

/// Where an audit was decided without a condition.
fn decided(finding: &Finding) -> Option<Decided> {
    let plain = finding.trigger.is_none();
    plain
        .then(|| {
            Some(Decided {
                audit: finding.audit.clone(),
                context: finding.context?,
                step: finding.step?,
            })
        })
        .flatten()
}

/// Reads the inputs and makes the plan; trains and writes nothing.
pub fn prepare(request: &Request, engine: &dyn Engine) -> Result<Prepared> {
    let data = request.subject.data();
    let adapter = match &request.subject {
        AuditSubject::Dataset(_) => None,
        AuditSubject::Adapter { folder, .. } => Some((peft::read(folder)?, folder)),
        AuditSubject::Model { folder, .. } => {
            Some((engine.finetuned().context("no finetuned model is open")?, folder))
        }
    };
    let dataset = match data {
        Some(data) => {
            let keyed = ReadOptions { seed: request.options.first_seed, ..request.read.clone() };
            dataset::read_for(data, &keyed, &|row| engine.rejection(row))?
        }
        None => Dataset::of(Vec::new()),
    };
    let calibration = match &request.calibration {
        Some(path) => Some(calibrate::given(path)?),
        None => calibrate::known(&engine.describe())?,
    };
    let (audits, not_asked) = asked_audits(request, &dataset, engine, calibration.as_ref())?;
    let given = match &adapter {
        Some((adapter, folder)) => Some(given(adapter, folder, &audits, engine)?),
        None => None,
    };
    let count_tokens = |messages: &[_]| engine.count_tokens(messages);
    let share = match data {
        Some(_) => {
            let log_probs = &|contexts: &[_]| engine.log_probs(contexts);
            readability(&dataset, check::Base { count_tokens: &count_tokens, log_probs })?
        }
        None => 0.0,
    };
    let readability = Readability { share, needed: Protocol::default().readable };
    let requested = &request.options.conditions;
    let detected = requested.tried.then(|| detect::detect(&dataset));
    let chosen = match &detected {
        Some(detected) => plan::choose(detected, &dataset, &request.options, &audits, engine)?,
        None => plan::Chosen::default(),
    };
    let (control_examples, engine) = (!engine.is_nestling(), engine.describe());
    let measured_on = calibration
        .as_ref()
        .filter(|known| known.base_sha256 != engine.base_sha256)
        .map(|known| OtherBase { name: known.base.clone(), sha256: known.base_sha256.clone() });
    let inputs = Inputs {
        dataset: &dataset,
        readability,
        audits: &audits,
        not_asked,
        engine,
        count_tokens: &count_tokens,
        chosen,
        adapter: given,
        calibrated: &|audit, asks, recipe| {
            let known = calibration.as_ref()?.of(audit, asks, recipe)?;
            Some(Calibrated { measured_on: measured_on.clone(), ..known })
        },
        control_examples,
    };
    let plan = plan(inputs, &request.options)?;
    Ok(Prepared {
        dataset,
        audits,
        plan,
        detected: detected.filter(|_| data.is_some()),
        adapter: adapter.map(|(adapter, _)| adapter),
    })
}

/// The selected audits. Unless the user names them or asks for the run's own positive controls,
/// those that the base's calibration shows to be blind are not asked.
fn asked_audits(
    request: &Request,
    dataset: &Dataset,
    engine: &dyn Engine,
    calibration: Option<&Calibration>,
) -> Result<(Vec<Audit>, Vec<NotAsked>)> {
    let audits = audit::load(&request.audits, AuditSet::of_base(engine.is_nestling()))?;
    let base = engine.describe();
    let controls = request.options.controls(base.parameters);
    let recipe =
        plan::recipe(base.parameters, base.max_tokens, dataset.rows.len(), &request.options.recipe);
    let is_trained = matches!(request.subject, AuditSubject::Dataset(_));
    Ok(match calibration {
        Some(known) if request.audits.only.is_empty() && controls != PositiveControls::Own => {
            known.without_blind(audits, is_trained.then_some(&recipe))
        }
        _ => (audits, Vec::new()),
    })
}

/// Prompts on which a given adapter is compared with the base.
const PROMPTS_COMPARED: usize = 32;

/// The plan's description of a given adapter.
///
/// # Errors
/// Where it does not fit the base, and where it does not change any score.
fn given(
    adapter: &Adapter,
    folder: &Path,
    audits: &[Audit],
    engine: &dyn Engine,
) -> Result<GivenAdapter> {
    let probes = audits.iter().flat_map(|audit| &audit.probes).take(PROMPTS_COMPARED);
    let question = |probe: &Probe| Question {
        messages: vec![Message::new(Role::User, &probe.prompt)],
        options: vec![probe.options.first().map_or(&probe.prompt, |option| &option.text).clone()],
    };
    let questions: Vec<Question> = probes.map(question).collect();
    let scores =
        |adapter| engine.score(adapter, &questions).with_context(|| folder.display().to_string());
    ensure!(
        questions.is_empty() || scores(Some(adapter))? != scores(None)?,
        "{}: it answers exactly as the base does; give what was trained from this base",
        folder.display()
    );
    Ok(GivenAdapter {
        source: folder.display().to_string(),
        sha256: peft::adapter_sha256(adapter)?,
        rank: adapter.rank,
        alpha: adapter.alpha,
        target_modules: adapter.target_modules.clone(),
    })
}

/// From saved answers to every output: a pure function of the run folder, with the same bytes at
/// any time.
///
/// # Errors
/// Where the run is not finished, a saved file is damaged, or an output cannot be written.
pub fn report(run: &RunDir, page: Page) -> Result<Outcome> {
    let Saved { plan, audits, trainings, answers, detected } = Saved::read(run)?;
    let analysis = analyse(&plan, &audits, &answers);
    let (findings, verdict) = find(&plan, &audits, &analysis, &answers.health);
    let report = Report {
        plan: &plan,
        audits: &audits,
        trainings: &trainings,
        answers: &answers,
        analysis: &analysis,
        findings: &findings,
        verdict,
        examined: examined(&plan, &findings, &answers.health),
        detected: detected.as_ref(),
    };
    for (name, bytes) in report::plots(&report) {
        run.write(&format!("plots/{name}"), &bytes)?;
    }
    run.write("report.html", &report::html(&report))?;
    run.write("summary.md", report::summary_md(&report).as_bytes())?;
    run.write("junit.xml", &report::junit(&report))?;
    run.write("results.sarif", &report::sarif(&report))?;
    // Last, because a gate reads it: where it exists, all outputs do.
    let json = report::json(&report);
    run.write("report.json", &json)?;
    Ok(Outcome {
        verdict,
        folder: run.root().to_owned(),
        text: report::text(&report, page.width, page.colour),
        json,
    })
}

/// `runs/NAME-HASH`: the name of the dataset, adapter or model, and the plan's hash, so that the
/// same command finds its own run again.
pub fn default_folder(subject: &AuditSubject, plan: &Plan) -> PathBuf {
    let (AuditSubject::Dataset(path)
    | AuditSubject::Adapter { folder: path, .. }
    | AuditSubject::Model { folder: path, .. }) = subject;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split('.').find(|part| !part.is_empty()).unwrap_or("data");
    let safe: String = stem
        .chars()
        .map(|letter| if letter.is_alphanumeric() || letter == '_' { letter } else { '-' })
        .collect();
    PathBuf::from("runs").join(format!("{safe}-{}", &plan.sha256()[..8]))
}
