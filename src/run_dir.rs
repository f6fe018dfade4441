//! The run folder: the manifest with the plan, a lock, finished items that a resumed run skips, and
//! every output.
//!
//! ```text
//! RUN/manifest.json      versions, the plan and its hash; written before the first training step
//!     audits.json        the audits as they were read, so that the report needs no other file
//!     rows.jsonl         one line for each row of the dataset: used or rejected, and why
//!     work/              finished items; a killed run is resumed from here
//!     adapters/          ARM-SEED-STEP/, in PEFT's format
//!     conditions.json    the detected conditions, where conditions are tried
//!     trainings.jsonl  health.jsonl  answers.jsonl.zst  samples.jsonl  context_questions.jsonl
//!     condition_samples.jsonl  everything that the report is made from
//!     report.html  report.json  ...
//! ```

mod contents;
mod lines;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::audit::Audit;
use crate::dataset::{Dataset, accounting};
use crate::disk::{MOST_BYTES, MOST_STATE, read_if_there, remove, unpacked, write_whole};
use crate::engine::Adapter;
use crate::peft;
use crate::plan::{Arm, MOST_DRAWS, Plan};

/// Increased when folders of older versions can no longer be read.
const SCHEMA_VERSION: u32 = 4;

const MANIFEST: &str = "manifest.json";
const LOCK: &str = "lock";

#[derive(Debug, Deserialize)]
struct ManifestVersion {
    schema_version: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    schema_version: u32,
    plan_sha256: String,
    plan: Plan,
}

/// What to do with a folder that contains the run of another plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherPlan {
    Refuse,
    Replace,
}

/// An open run folder; locked against other processes until it is dropped.
#[derive(Debug)]
pub struct RunDir {
    root: PathBuf,
    _lock: Lock,
}

impl RunDir {
    /// Opens the folder for this plan: a new one, or one to resume with the same plan. The manifest
    /// is on disk when this returns. An existing manifest is not changed, and the report is made
    /// from its plan.
    ///
    /// # Errors
    /// Where another process uses the folder, it contains another plan's run, or it contains other
    /// files or links.
    pub fn create(
        root: &Path,
        plan: &Plan,
        audits: &[Audit],
        dataset: &Dataset,
        other: OtherPlan,
    ) -> Result<Self> {
        fs::create_dir_all(root).with_context(|| {
            format!("{}: cannot be created; give another --out", root.display())
        })?;
        let sha256 = plan.sha256();
        // Before locking, so that a refused folder is not changed; and again under the lock, when
        // no other process changes it.
        admit(root, &sha256, other)?;
        let run = RunDir { root: root.to_owned(), _lock: lock(root)? };
        match admit(root, &sha256, other)? {
            // The files derived from the plan are written again, as they may be damaged.
            Some(manifest) if manifest.plan_sha256 == sha256 => {
                return run.describe(audits, dataset);
            }
            Some(manifest) => contents::clear(root, &manifest.plan)?,
            None => {}
        }
        let run = run.describe(audits, dataset)?;
        let manifest =
            Manifest { schema_version: SCHEMA_VERSION, plan_sha256: sha256, plan: plan.clone() };
        run.write(MANIFEST, &serde_json::to_vec_pretty(&manifest)?)?;
        Ok(run)
    }

    fn describe(self, audits: &[Audit], dataset: &Dataset) -> Result<Self> {
        self.write("audits.json", &serde_json::to_vec(audits)?)?;
        self.write("rows.jsonl", &lines::to_bytes(accounting(dataset))?)?;
        Ok(self)
    }

    /// Opens the folder of an existing run.
    ///
    /// # Errors
    /// Where it is no run folder, contains links, or another process uses it.
    pub fn open(root: &Path) -> Result<Self> {
        manifest_of_run(root)?;
        Ok(RunDir { root: root.to_owned(), _lock: lock(root)? })
    }

    /// Removes the files of the run, and the folder if it is then empty.
    ///
    /// # Errors
    /// Where a file cannot be removed.
    pub fn remove(self) -> Result<()> {
        contents::clear(&self.root, &manifest_of_run(&self.root)?.plan)?;
        remove(&self.root.join(LOCK))
            .with_context(|| format!("{}: cannot be removed", self.root.display()))?;
        // Fails where the folder is not empty: then it contains files of the user.
        let _ = fs::remove_dir(&self.root);
        Ok(())
    }

    /// The plan of this run.
    ///
    /// # Errors
    /// Where the manifest cannot be read, or its plan was changed.
    pub fn plan(&self) -> Result<Plan> {
        Ok(manifest_of_run(&self.root)?.plan)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The bytes of a file of the folder; `None` where it does not exist.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        read_if_there(&self.root.join(name), MOST_BYTES)
    }

    /// Writes a file so that after a kill it has either the old bytes or the new.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_whole(&self.root.join(name), bytes)
    }

    /// The path of a finished item of work.
    pub fn item(&self, name: &str) -> PathBuf {
        self.root.join("work").join(format!("{name}.json.zst"))
    }

    /// A finished item of work, if it was saved.
    pub fn load_item<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.item(name);
        let Some(bytes) = read_if_there(&path, MOST_BYTES)? else { return Ok(None) };
        let damaged =
            || format!("{}: damaged; remove it and run the same command again", path.display());
        let json = unpacked(bytes).with_context(damaged)?;
        Ok(Some(serde_json::from_slice(&json).with_context(damaged)?))
    }

    /// Saves a finished item of work.
    pub fn save_item<T: Serialize>(&self, name: &str, item: &T) -> Result<()> {
        write_whole(
            &self.item(name),
            &zstd::encode_all(&serde_json::to_vec(item)?[..], lines::COMPRESSION)?,
        )
    }

    /// An item of work: read where it exists, else made and saved.
    pub fn kept<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if let Some(item) = self.load_item(name)? {
            return Ok(item);
        }
        let item = make()?;
        self.save_item(name, &item)?;
        Ok(item)
    }

    /// The path of the training state of a group.
    pub fn checkpoint(&self, group: &str) -> PathBuf {
        self.root.join("work").join("trainings").join(format!("{group}.checkpoint"))
    }

    /// Saves an adapter in PEFT's format.
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
            read_if_there(&path, MOST_STATE)?
                .with_context(|| format!("{}: is missing", path.display()))
        };
        peft::parse(&part("adapter_config.json")?, &part("adapter_model.safetensors")?)
            .with_context(|| format!("{}: damaged", folder.display()))
    }

    fn adapter_folder(&self, model: &Model) -> PathBuf {
        self.root.join("adapters").join(model.file_name())
    }

    /// Writes a file of JSON.
    pub fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        self.write(name, &serde_json::to_vec(value)?)
    }

    /// Reads a file of JSON; `None` where it does not exist.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let parse = |bytes: Vec<u8>| {
            serde_json::from_slice(&bytes).with_context(|| format!("{name}: damaged; run again"))
        };
        self.read(name)?.map(parse).transpose()
    }

    /// Writes one line for each item, compressed where the name ends in `.zst`.
    pub fn write_lines<T: Serialize>(&self, name: &str, items: &[T]) -> Result<()> {
        let bytes = lines::to_bytes(items)?;
        let is_packed = Path::new(name).extension().is_some_and(|extension| extension == "zst");
        self.write(
            name,
            &if is_packed { zstd::encode_all(&bytes[..], lines::COMPRESSION)? } else { bytes },
        )
    }

    /// Reads the items that [`RunDir::write_lines`] wrote.
    ///
    /// # Errors
    /// Where the run is not finished, or the file is damaged.
    pub fn read_lines<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<T>> {
        let bytes = self.finished(name)?;
        let is_packed = Path::new(name).extension().is_some_and(|extension| extension == "zst");
        let damaged = || format!("{name}: damaged; run again");
        let bytes = if is_packed { unpacked(bytes).with_context(damaged)? } else { bytes };
        lines::from_bytes(name, &bytes)
    }

    /// The items of an optional file.
    pub fn lines_if_there<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<T>> {
        Ok(match self.read(name)? {
            Some(bytes) => lines::from_bytes(name, &bytes)?,
            None => Vec::new(),
        })
    }

    /// The bytes of a file that every finished run has.
    fn finished(&self, name: &str) -> Result<Vec<u8>> {
        self.read(name)?.with_context(|| {
            format!(
                "{} has no {name}: the run is not finished; give its command again",
                self.root.display()
            )
        })
    }
}

/// A base or shadow at one step of its training, as it is named in file names.
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

/// The manifest of a folder that may be opened for this plan; `None` where the folder is new or
/// empty.
fn admit(root: &Path, sha256: &str, other: OtherPlan) -> Result<Option<Manifest>> {
    contents::refuse_links(root)?;
    let Some(manifest) = manifest(root)? else {
        contents::refuse_foreign_files(root)?;
        return Ok(None);
    };
    let is_same = manifest.plan_sha256 == sha256;
    ensure!(
        is_same || other == OtherPlan::Replace,
        "{} has the run of another plan (other data, options, audits or version): give another \
         --out, or --force to replace it",
        root.display()
    );
    if is_same {
        manifest.check(root)?;
    }
    Ok(Some(manifest))
}

/// The manifest of an existing run of any plan.
fn manifest_of_run(root: &Path) -> Result<Manifest> {
    let none = || format!("{}: not a run folder, because it has no {MANIFEST}", root.display());
    ensure!(root.join(MANIFEST).exists(), none());
    contents::refuse_links(root)?;
    let manifest = manifest(root)?.with_context(none)?;
    manifest.check(root)?;
    Ok(manifest)
}

/// The plan of the run in a folder. Locks and writes nothing.
///
/// # Errors
/// Where it is no run folder, contains links, or its plan was changed.
pub fn plan_of(root: &Path) -> Result<Plan> {
    Ok(manifest_of_run(root)?.plan)
}

fn manifest(root: &Path) -> Result<Option<Manifest>> {
    let Some(bytes) = read_if_there(&root.join(MANIFEST), MOST_BYTES)? else { return Ok(None) };
    let hint = || format!("{}: {MANIFEST} cannot be read; give another --out", root.display());
    // The version first: another version's plan may have other fields.
    let ManifestVersion { schema_version } = serde_json::from_slice(&bytes).with_context(hint)?;
    ensure!(
        schema_version == SCHEMA_VERSION,
        "{}: another version of foretaste made this run (schema {schema_version}, this version \
         reads {SCHEMA_VERSION}): give another --out, or use that version",
        root.display()
    );
    Ok(Some(serde_json::from_slice(&bytes).with_context(hint)?))
}

impl Manifest {
    /// Checks that the plan is the one that was run.
    fn check(&self, root: &Path) -> Result<()> {
        ensure!(
            self.plan.sha256() == self.plan_sha256,
            "{}: the plan in {MANIFEST} was changed after the run (its hash differs)",
            root.display()
        );
        ensure!(
            self.plan.carry_over_draws <= MOST_DRAWS,
            "{}: the plan in {MANIFEST} draws too many questions",
            root.display()
        );
        Ok(())
    }
}

/// A lock of the operating system, released at the latest when the process ends, even if killed.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    /// Closing the file would not do: a process that another thread is starting holds a copy of it,
    /// and so of the lock, until it runs its own program.
    fn drop(&mut self) {
        // Where it fails, the lock ends with the process.
        let _ = self.0.unlock();
    }
}

/// Locks a folder.
///
/// # Errors
/// Where another process holds the lock, or there can be none.
fn lock(root: &Path) -> Result<Lock> {
    let path = root.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| {
        format!("{}: cannot be created; is the folder writable?", path.display())
    })?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => {
            bail!(
                "{} is in use by another foretaste: wait until it ends, or give another --out",
                root.display()
            )
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{}: cannot be locked", path.display()))
        }
    }
}
