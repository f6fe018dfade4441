//! A model folder in Hugging Face's layout, on disk or embedded in the binary, or a GGUF file,
//! behind one reader.

use std::borrow::Cow;
use std::fs;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use sha2::{Digest, Sha256};

use super::gguf::{Gguf, config, tokenizer};
use super::hub;

/// Embeds the files of nestling, the built-in base.
macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        &[$((
            $name,
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/nestling/", $name))
                as &[u8],
        )),*]
    };
}

/// The files of nestling that the engine reads.
static NESTLING: &[(&str, &[u8])] = embedded![
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors",
];

/// Maximum size, in bytes, of a file that is read whole rather than mapped: a configuration, a
/// tokenizer or a template.
pub const LARGEST_TEXT: u64 = 64 << 20;

/// Bytes of a mapped file that are hashed before their pages are released.
const HASHED_AT_ONCE: usize = 16 << 20;

/// The location of a model's files.
#[derive(Debug, Clone)]
pub enum ModelFiles {
    Folder {
        path: PathBuf,
        /// The name shown to users.
        name: String,
    },
    /// A file that holds what the files of a folder hold.
    Gguf(Arc<GgufModel>),
    Nestling,
}

/// An open GGUF file.
#[derive(Debug)]
pub struct GgufModel {
    path: PathBuf,
    pub contents: Gguf,
    pub bytes: Arc<FileBytes>,
}

impl GgufModel {
    fn open(path: &Path) -> Result<Self> {
        let bytes = map(path)?;
        let contents = Gguf::read(bytes.as_ref()).with_context(|| path.display().to_string())?;
        Ok(GgufModel { path: path.to_path_buf(), contents, bytes: Arc::new(bytes) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file of a model folder, made from the metadata.
    fn text(&self, name: &str) -> Result<String> {
        match name {
            "config.json" => {
                Ok(config::config(&self.contents, (*self.bytes).as_ref())?.to_string())
            }
            "generation_config.json" => Ok(config::generation_config(&self.contents)?.to_string()),
            "tokenizer.json" => tokenizer::tokenizer(&self.contents),
            "tokenizer_config.json" => Ok(tokenizer::tokenizer_config(&self.contents)?.to_string()),
            _ => bail!("{name}: not one of the files that a GGUF file holds"),
        }
    }
}

/// The files of a folder whose content a GGUF file has.
const IN_GGUF: [&str; 4] =
    ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"];

/// The bytes of one file.
#[derive(Debug)]
pub enum FileBytes {
    Mapped(Mmap),
    Embedded(&'static [u8]),
    Owned(Vec<u8>),
}

impl AsRef<[u8]> for FileBytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            FileBytes::Mapped(map) => map,
            FileBytes::Embedded(bytes) => bytes,
            FileBytes::Owned(bytes) => bytes,
        }
    }
}

impl FileBytes {
    /// Releases the pages of a range; reading them again loads them from the file.
    #[allow(unsafe_code, reason = "advice about pages of a file")]
    pub fn forget(&self, part: Range<usize>) {
        #[cfg(unix)]
        if let FileBytes::Mapped(map) = self {
            // SAFETY: the map is of a file and read-only, so its pages can be read again. Ignored
            // advice does no harm.
            let _ = unsafe {
                map.unchecked_advise_range(UncheckedAdvice::DontNeed, part.start, part.len())
            };
        }
    }
}

impl ModelFiles {
    /// Opens a folder, a GGUF file, a model by its name in the local Hugging Face cache, or
    /// nestling.
    ///
    /// # Errors
    /// Where the path is none of these, or the GGUF file is damaged.
    pub fn open(base: Option<&Path>) -> Result<Self> {
        let Some(path) = base else { return Ok(ModelFiles::Nestling) };
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")) {
            return Ok(ModelFiles::Gguf(Arc::new(GgufModel::open(path)?)));
        }
        if path.is_dir() {
            let full = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
            let name = full.file_name().map_or_else(
                || path.display().to_string(),
                |name| name.to_string_lossy().into_owned(),
            );
            return Ok(ModelFiles::Folder { path: path.to_path_buf(), name });
        }
        if let Some(name) = path.to_str().and_then(hub::Name::parse) {
            return Ok(ModelFiles::Folder {
                path: name.folder(&hub::cache()?)?,
                name: name.to_string(),
            });
        }
        bail!(
            "{}: no such folder; --base takes a Hugging Face model folder with config.json in it, \
             a .gguf file, or org/name",
            path.display()
        );
    }

    /// The folder or the file; `None` for nestling.
    pub fn path(&self) -> Option<&Path> {
        match self {
            ModelFiles::Folder { path, .. } => Some(path),
            ModelFiles::Gguf(model) => Some(&model.path),
            ModelFiles::Nestling => None,
        }
    }

    /// The model's name, as shown to users.
    pub fn name(&self) -> String {
        match self {
            ModelFiles::Folder { name, .. } => name.clone(),
            ModelFiles::Gguf(model) => model.path.file_name().map_or_else(
                || model.path.display().to_string(),
                |name| name.to_string_lossy().into_owned(),
            ),
            ModelFiles::Nestling => "nestling".to_owned(),
        }
    }

    /// A file's name for error messages.
    pub fn display(&self, name: &str) -> String {
        match self {
            ModelFiles::Folder { path, .. } => path.join(name).display().to_string(),
            ModelFiles::Gguf(model) if name.is_empty() => model.path.display().to_string(),
            ModelFiles::Gguf(model) => format!("{} ({name})", model.path.display()),
            ModelFiles::Nestling => format!("nestling/{name} (embedded)"),
        }
    }

    pub fn has(&self, name: &str) -> bool {
        match self {
            ModelFiles::Folder { path, .. } => path.join(name).is_file(),
            ModelFiles::Gguf(_) => IN_GGUF.contains(&name),
            ModelFiles::Nestling => NESTLING.iter().any(|(n, _)| *n == name),
        }
    }

    /// A small text file, whole.
    ///
    /// # Errors
    /// Where it is missing, larger than 64 MiB, or not UTF-8.
    pub fn text(&self, name: &str) -> Result<String> {
        let bytes: Cow<'_, [u8]> = match self {
            ModelFiles::Folder { path, .. } => {
                let path = path.join(name);
                let file = regular(&path)?;
                let mut bytes = Vec::new();
                file.take(LARGEST_TEXT + 1)
                    .read_to_end(&mut bytes)
                    .with_context(|| path.display().to_string())?;
                if bytes.len() as u64 > LARGEST_TEXT {
                    bail!(
                        "{}: more than {LARGEST_TEXT} bytes; a model's file of this kind is \
                         smaller",
                        path.display()
                    );
                }
                Cow::Owned(bytes)
            }
            ModelFiles::Gguf(model) => {
                return model.text(name).with_context(|| self.display(name));
            }
            ModelFiles::Nestling => Cow::Borrowed(self.embedded(name)?),
        };
        String::from_utf8(bytes.into_owned())
            .map_err(|_| anyhow::anyhow!("{}: not UTF-8; download it again", self.display(name)))
    }

    /// A large file, mapped into memory.
    ///
    /// # Errors
    /// Where it is missing or cannot be mapped.
    pub fn map(&self, name: &str) -> Result<FileBytes> {
        match self {
            ModelFiles::Folder { path, .. } => {
                if name.contains(['/', '\\']) || name.contains("..") {
                    bail!(
                        "{}: weight files must be in the folder itself, and {name:?} is not",
                        path.display()
                    );
                }
                map(&path.join(name))
            }
            ModelFiles::Gguf(_) => Ok(FileBytes::Owned(self.text(name)?.into_bytes())),
            ModelFiles::Nestling => Ok(FileBytes::Embedded(self.embedded(name)?)),
        }
    }

    fn embedded(&self, name: &str) -> Result<&'static [u8]> {
        let found = NESTLING.iter().find(|(n, _)| *n == name);
        found
            .map(|(_, bytes)| *bytes)
            .with_context(|| format!("{}: not embedded", self.display(name)))
    }

    /// [`ModelFiles::sha256`] of nestling.
    ///
    /// # Errors
    /// None: its files are embedded.
    pub fn nestling_sha256() -> Result<String> {
        ModelFiles::Nestling.sha256(&["model.safetensors".to_owned()])
    }

    /// SHA-256 over the names and contents of the files that determine the model's output; that of
    /// the file itself for a GGUF file.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn sha256(&self, weight_files: &[String]) -> Result<String> {
        let mut hash = Sha256::new();
        if let ModelFiles::Gguf(model) = self {
            add(&mut hash, &model.bytes);
            return Ok(hex(&hash.finalize()));
        }
        let fixed =
            ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];
        for name in fixed.into_iter().chain(weight_files.iter().map(String::as_str)) {
            if self.has(name) {
                let bytes = self.map(name)?;
                let all = bytes.as_ref();
                hash.update(name.as_bytes());
                hash.update((all.len() as u64).to_le_bytes());
                add(&mut hash, &bytes);
            }
        }
        Ok(hex(&hash.finalize()))
    }
}

/// Hashes a file and releases its pages.
fn add(hash: &mut Sha256, bytes: &FileBytes) {
    for (number, part) in bytes.as_ref().chunks(HASHED_AT_ONCE).enumerate() {
        hash.update(part);
        let start = number * HASHED_AT_ONCE;
        bytes.forget(start..start + part.len());
    }
}

/// Maps an ordinary file.
#[allow(unsafe_code, reason = "a large base is mapped, not copied")]
fn map(path: &Path) -> Result<FileBytes> {
    let file = regular(path)?;
    // SAFETY: the map is read-only. Changing the file while it is read is the user's
    // responsibility.
    let map = unsafe { Mmap::map(&file) };
    Ok(FileBytes::Mapped(map.with_context(|| path.display().to_string())?))
}

/// Opens an ordinary file. Reading a pipe would block, and reading a device might never end.
fn regular(path: &Path) -> Result<fs::File> {
    let about = fs::metadata(path).with_context(|| {
        format!(
            "{}: missing; a Hugging Face model folder has it, so download it again",
            path.display()
        )
    })?;
    if !about.is_file() {
        bail!("{}: not a file; download it again", path.display());
    }
    fs::File::open(path).with_context(|| format!("{}: unreadable", path.display()))
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
