//! The run folder: the manifest that fixes the plan, a lock, finished items that a resumed run skips, and every output.
//!
//! ```text
//! RUN/manifest.json      versions, the plan and its hash; written before the first step of training
//!     audits.json        the audits as they were read, so that the report needs no other file
//!     rows.jsonl         one line a row of the dataset: used or rejected, and why
//!     work/              finished items; a run that was killed goes on from here
//!     adapters/          ARM-SEED-STEP/, in PEFT's form
//!     conditions.json    what was mined of the dataset, where conditions are tried
//!     trainings.jsonl  answers.jsonl.zst  dressed.jsonl.zst  shown.jsonl  samples.jsonl  carried.jsonl  health.jsonl   all that the report is made from
//!     report.html  report.json  ...
//! ```

mod lines;

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::audit::Audit;
use crate::condition::Conditions;
use crate::dataset::{Dataset, accounting};
use crate::engine::Adapter;
use crate::peft;
use crate::plan::{Arm, Plan};
use crate::probe::Answers;
use crate::shadow::TrainingRecord;

/// Rises when a folder written before can no longer be read: 2, when the plan's hash no longer covered calibrations.
const SCHEMA_VERSION: u32 = 2;

const MANIFEST: &str = "manifest.json";
const LOCK: &str = "lock";

/// What `--force` removes from a folder that holds another plan's run; whatever else lies there stays. Finished items go
/// first and the manifest last, so that a kill in between leaves an unfinished run of the old plan.
const OWN: [&str; 19] = [
    "work",
    "report.json",
    "report.html",
    "summary.md",
    "junit.xml",
    "results.sarif",
    "plots",
    "answers.jsonl.zst",
    "dressed.jsonl.zst",
    "shown.jsonl",
    "trainings.jsonl",
    "samples.jsonl",
    "carried.jsonl",
    "health.jsonl",
    "adapters",
    "rows.jsonl",
    "conditions.json",
    "audits.json",
    MANIFEST,
];

/// What a run may leave in its folder before the manifest is there.
const BEFORE_MANIFEST: [&str; 3] = [LOCK, "rows.jsonl", "audits.json"];

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    schema_version: u32,
    plan_sha256: String,
    plan: Plan,
}

/// Everything that a report is made from, read back.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    pub plan: Plan,
    pub audits: Vec<Audit>,
    pub trainings: Vec<TrainingRecord>,
    pub answers: Answers,
    /// What was mined of the dataset; `None` where no conditions were tried.
    pub mined: Option<Conditions>,
}

/// What to do with a folder that holds the run of another plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherPlan {
    Refuse,
    Replace,
}

/// An open run folder; locked against other processes until it is dropped.
#[derive(Debug)]
pub struct RunDir {
    root: PathBuf,
    _lock: File,
}

impl RunDir {
    /// Opens the folder for this plan: new, or to go on with the same plan. The manifest is on disk when this returns; where it was there, it stays as
    /// it is, and the report is made from its plan.
    ///
    /// # Errors
    /// Where another process works there, the folder holds another plan's run, or it holds other files.
    pub fn create(root: &Path, plan: &Plan, audits: &[Audit], dataset: &Dataset, other: OtherPlan) -> Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("{}: cannot be made; give another --out", root.display()))?;
        let run = RunDir { root: root.to_owned(), _lock: lock(root)? };
        let sha256 = plan.sha256();
        match run.manifest()? {
            // What is made from the plan is written again, as it may have been damaged.
            Some(manifest) if manifest.plan_sha256 == sha256 => return run.describe(audits, dataset),
            Some(_) if other == OtherPlan::Replace => run.clear()?,
            Some(_) => bail!(
                "{} holds the run of another plan (other data, options, audits or version): give another --out, or --force to \
                 replace it",
                root.display()
            ),
            None => run.refuse_foreign_files()?,
        }
        let run = run.describe(audits, dataset)?;
        let manifest = Manifest { schema_version: SCHEMA_VERSION, plan_sha256: sha256, plan: plan.clone() };
        run.write(MANIFEST, &serde_json::to_vec_pretty(&manifest)?)?;
        Ok(run)
    }

    fn describe(self, audits: &[Audit], dataset: &Dataset) -> Result<Self> {
        self.write("audits.json", &serde_json::to_vec(audits)?)?;
        self.write("rows.jsonl", &lines::to_bytes(accounting(dataset))?)?;
        Ok(self)
    }

    /// Opens the folder of a run that exists.
    ///
    /// # Errors
    /// Where it is no run folder, or another process works there.
    pub fn open(root: &Path) -> Result<Self> {
        ensure!(root.join(MANIFEST).is_file(), "{}: no {MANIFEST} there, so this is not a run folder", root.display());
        Ok(RunDir { root: root.to_owned(), _lock: lock(root)? })
    }

    /// Reads everything that the report is made from.
    ///
    /// # Errors
    /// Where the run is not finished, a file is damaged, or the plan is not the one that was run.
    pub fn saved(&self) -> Result<Saved> {
        let manifest = self.manifest()?.with_context(|| format!("{}: {MANIFEST} is missing", self.root.display()))?;
        ensure!(
            manifest.plan.sha256() == manifest.plan_sha256,
            "{}: the plan in {MANIFEST} is not the one that was run (its hash differs): it was changed afterwards",
            self.root.display()
        );
        let audits: Vec<Audit> =
            serde_json::from_slice(&self.finished("audits.json")?).context("audits.json: damaged; run again")?;
        let planned = manifest.plan.audits.iter().map(|audit| (&audit.id, &audit.sha256));
        ensure!(
            planned.eq(audits.iter().map(|audit| (&audit.id, &audit.sha256))),
            "audits.json holds other audits than the plan"
        );
        let unpacked =
            |name: &str| zstd::decode_all(&self.finished(name)?[..]).with_context(|| format!("{name}: damaged; run again"));
        Ok(Saved {
            trainings: lines::from_bytes("trainings.jsonl", &self.finished("trainings.jsonl")?)?,
            answers: Answers {
                answers: lines::from_bytes("answers.jsonl.zst", &unpacked("answers.jsonl.zst")?)?,
                samples: lines::from_bytes("samples.jsonl", &self.finished("samples.jsonl")?)?,
                health: lines::from_bytes("health.jsonl", &self.finished("health.jsonl")?)?,
                // A plan without conditions asks nothing under any.
                dressed: match manifest.plan.groups.is_empty() {
                    true => Vec::new(),
                    false => lines::from_bytes("dressed.jsonl.zst", &unpacked("dressed.jsonl.zst")?)?,
                },
                shown: self.lines_if_there("shown.jsonl")?,
                carried: self.lines_if_there("carried.jsonl")?,
            },
            mined: match self.read("conditions.json")? {
                Some(bytes) => Some(serde_json::from_slice(&bytes).context("conditions.json: damaged; run again")?),
                None => None,
            },
            plan: manifest.plan,
            audits,
        })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn manifest(&self) -> Result<Option<Manifest>> {
        let Some(bytes) = self.read(MANIFEST)? else { return Ok(None) };
        let hint = || format!("{}: {MANIFEST} cannot be read; give another --out", self.root.display());
        let manifest: Manifest = serde_json::from_slice(&bytes).with_context(hint)?;
        ensure!(
            manifest.schema_version == SCHEMA_VERSION,
            "{}: written by a version of foretaste with run folders of schema {}, this one has {SCHEMA_VERSION}: give another --out",
            self.root.display(),
            manifest.schema_version
        );
        Ok(Some(manifest))
    }

    fn clear(&self) -> Result<()> {
        for name in OWN {
            let path = self.root.join(name);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match removed {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("{}: cannot be removed", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A folder without a manifest may be somebody else's.
    fn refuse_foreign_files(&self) -> Result<()> {
        for entry in fs::read_dir(&self.root).with_context(|| format!("{}: cannot be listed", self.root.display()))? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            let ours = name.starts_with(TEMPORARY) || BEFORE_MANIFEST.contains(&name.as_ref());
            ensure!(ours, "{} holds other files ({name:?}): give a new or empty folder as --out", self.root.display());
        }
        Ok(())
    }

    /// The bytes of a file of the folder; `None` where it does not exist.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        read_if_there(&self.root.join(name))
    }

    /// Writes a file so that a kill leaves the old bytes or the new, never a part.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_whole(&self.root.join(name), bytes)
    }

    /// Where a finished item of work is kept.
    pub fn item(&self, name: &str) -> PathBuf {
        self.root.join("work").join(format!("{name}.json.zst"))
    }

    /// A finished item of work, if it was saved.
    pub fn load_item<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.item(name);
        let Some(bytes) = read_if_there(&path)? else { return Ok(None) };
        let damaged = || format!("{}: damaged; remove it and run the same command again", path.display());
        let json = zstd::decode_all(&bytes[..]).with_context(damaged)?;
        Ok(Some(serde_json::from_slice(&json).with_context(damaged)?))
    }

    /// Saves a finished item of work.
    pub fn save_item<T: Serialize>(&self, name: &str, item: &T) -> Result<()> {
        write_whole(&self.item(name), &zstd::encode_all(&serde_json::to_vec(item)?[..], lines::COMPRESSION)?)
    }

    /// An item of work: read back where it is there, else made and saved.
    pub fn kept<T: Serialize + DeserializeOwned>(&self, name: &str, make: impl FnOnce() -> Result<T>) -> Result<T> {
        if let Some(item) = self.load_item(name)? {
            return Ok(item);
        }
        let item = make()?;
        self.save_item(name, &item)?;
        Ok(item)
    }

    /// Where a group's training leaves its state.
    pub fn checkpoint(&self, group: &str) -> PathBuf {
        self.root.join("work").join("trainings").join(format!("{group}.checkpoint"))
    }

    /// Saves an adapter in PEFT's form.
    pub fn save_adapter(&self, model: &Model, adapter: &Adapter, base: &str) -> Result<()> {
        let folder = self.adapter_folder(model);
        write_whole(&folder.join("adapter_model.safetensors"), &peft::weights(adapter)?)?;
        write_whole(&folder.join("adapter_config.json"), &peft::config(adapter, base)?)
    }

    /// Reads an adapter back, bit for bit.
    pub fn load_adapter(&self, model: &Model) -> Result<Adapter> {
        let folder = self.adapter_folder(model);
        let part = |name: &str| {
            let path = folder.join(name);
            read_if_there(&path)?.with_context(|| format!("{}: is missing", path.display()))
        };
        peft::parse(&part("adapter_config.json")?, &part("adapter_model.safetensors")?)
            .with_context(|| format!("{}: damaged", folder.display()))
    }

    fn adapter_folder(&self, model: &Model) -> PathBuf {
        self.root.join("adapters").join(model.file_name())
    }

    /// Saves what was mined of the dataset.
    pub fn save_mined(&self, mined: &Conditions) -> Result<()> {
        self.write("conditions.json", &serde_json::to_vec(mined)?)
    }

    /// Saves everything that the report is made from. What was asked under conditions is saved also where it is nothing, as long as conditions were
    /// planned: a file that is missing must not pass for one without answers.
    pub fn save_answers(&self, plan: &Plan, trainings: &[TrainingRecord], answers: &Answers) -> Result<()> {
        self.write("trainings.jsonl", &lines::to_bytes(trainings)?)?;
        self.write("samples.jsonl", &lines::to_bytes(&answers.samples)?)?;
        self.write("carried.jsonl", &lines::to_bytes(&answers.carried)?)?;
        self.write("health.jsonl", &lines::to_bytes(&answers.health)?)?;
        if !plan.groups.is_empty() {
            self.write("dressed.jsonl.zst", &zstd::encode_all(&lines::to_bytes(&answers.dressed)?[..], lines::COMPRESSION)?)?;
        }
        if !answers.shown.is_empty() {
            self.write("shown.jsonl", &lines::to_bytes(&answers.shown)?)?;
        }
        self.write("answers.jsonl.zst", &zstd::encode_all(&lines::to_bytes(&answers.answers)?[..], lines::COMPRESSION)?)
    }

    /// Lines of a file that not every run has.
    fn lines_if_there<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<T>> {
        Ok(match self.read(name)? {
            Some(bytes) => lines::from_bytes(name, &bytes)?,
            None => Vec::new(),
        })
    }

    fn finished(&self, name: &str) -> Result<Vec<u8>> {
        self.read(name)?
            .with_context(|| format!("{} has no {name}: the run did not finish; give its command again", self.root.display()))
    }
}

/// A shadow at one moment of its training, as files are named after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model<'a> {
    pub arm: &'a Arm,
    /// `None` for the base.
    pub seed: Option<u64>,
    pub step: usize,
}

impl Model<'_> {
    /// `base`, or `candidate-1-75`.
    pub fn file_name(&self) -> String {
        match self.seed {
            Some(seed) => format!("{}-{seed}-{}", self.arm.file_name(), self.step),
            None => self.arm.file_name(),
        }
    }
}

/// The lock is the operating system's: it goes with the process, even when that is killed.
fn lock(root: &Path) -> Result<File> {
    let path = root.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("{}: cannot be made; is the folder writable?", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("{} is in use by another foretaste: wait until it ends, or give another --out", root.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("{}: cannot be locked", path.display())),
    }
}

const TEMPORARY: &str = ".new-";

/// Reads a file; `None` where it does not exist.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{}: cannot be read", path.display())),
    }
}

/// Writes a file beside its place and renames it: readers see the old bytes or the new, never a part.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = folder.join(format!("{TEMPORARY}{name}"));
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("{}: cannot be written; is the disk full?", path.display()))
}
