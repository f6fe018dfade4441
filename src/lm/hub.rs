//! Finds `org/name` in the local cache of the Hugging Face Hub, in the layout of `huggingface_hub`.
//! Nothing is downloaded.
//!
//! `HUB/models--org--name/refs/main` holds a commit, and `HUB/models--org--name/snapshots/COMMIT`
//! the files. `HUB` is `$HF_HUB_CACHE`, else `$HF_HOME/hub`, else `huggingface/hub` in
//! `$XDG_CACHE_HOME` or `~/.cache`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A model by its name on the hub: `org/name`, or `org/name@revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    organisation: String,
    model: String,
    revision: Option<String>,
}

impl Name {
    /// Parses a name: two words of letters, digits, `-`, `_` and `.`, and an optional revision.
    /// `None` for any other text.
    pub fn parse(text: &str) -> Option<Name> {
        let (name, revision) =
            text.split_once('@').map_or((text, None), |(name, revision)| (name, Some(revision)));
        let (organisation, model) = name.split_once('/')?;
        let word = |word: &str| {
            !word.is_empty()
                && !word.starts_with('.')
                && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        // A branch may hold slashes, which the cache keeps as folders.
        let is_revision = |revision: &str| revision.split('/').all(word);
        let good = word(organisation) && word(model) && revision.is_none_or(is_revision);
        good.then(|| Name {
            organisation: organisation.to_owned(),
            model: model.to_owned(),
            revision: revision.map(str::to_owned),
        })
    }

    /// The folder of this model in a cache.
    ///
    /// # Errors
    /// Where the cache does not hold it; the message names the command that downloads it.
    pub fn folder(&self, cache: &Path) -> Result<PathBuf> {
        let Name { organisation, model, revision } = self;
        let home = cache.join(format!("models--{organisation}--{model}"));
        let wanted = revision.as_deref().unwrap_or("main");
        let reference = home.join("refs").join(wanted);
        // A revision is a commit, or a branch or tag whose file in `refs` holds the commit.
        let commit = fs::read_to_string(&reference)
            .map_or_else(|_| wanted.to_owned(), |commit| commit.trim().to_owned());
        let snapshot = home.join("snapshots").join(&commit);
        let is_commit = !commit.is_empty()
            && commit.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && !commit.starts_with('.');
        if is_commit && snapshot.join("config.json").is_file() {
            return Ok(snapshot);
        }
        let download =
            revision.as_ref().map_or(String::new(), |revision| format!(" --revision {revision}"));
        bail!(
            "{self}: neither a folder nor in the cache {}; foretaste downloads nothing. Fetch it \
             with\n    hf download {organisation}/{model}{download}",
            cache.display()
        )
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.organisation, self.model)?;
        self.revision.iter().try_for_each(|revision| write!(formatter, "@{revision}"))
    }
}

/// The path of the cache, from the environment.
///
/// # Errors
/// Where no variable names the user's home.
pub fn cache() -> Result<PathBuf> {
    cache_of(|name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
}

fn cache_of(variable: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf> {
    let home = || variable("HOME").or_else(|| variable("USERPROFILE"));
    let found = variable("HF_HUB_CACHE")
        .or_else(|| variable("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| Some(variable("HF_HOME")?.join("hub")))
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("huggingface/hub")))
        .or_else(|| Some(home()?.join(".cache/huggingface/hub")));
    let found = found.context(
        "neither HF_HOME nor HOME is set, so no cache of models can be found; give a folder",
    )?;
    // As in huggingface_hub, a leading ~ is the home.
    Ok(match (found.strip_prefix("~"), home()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    /// A cache with one model, `acme/tiny`, at a commit to which `main` and `v1/beta` point.
    fn cache_with_a_model() -> tempfile::TempDir {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let home = cache.path().join("models--acme--tiny");
        fs::create_dir_all(home.join("snapshots/0a1b")).expect("ours");
        fs::write(home.join("snapshots/0a1b/config.json"), "{}").expect("ours");
        fs::create_dir_all(home.join("refs/v1")).expect("ours");
        fs::write(home.join("refs/main"), "0a1b\n").expect("ours");
        fs::write(home.join("refs/v1/beta"), "0a1b").expect("ours");
        cache
    }

    #[test]
    fn a_model_is_found_by_its_main_branch_by_another_and_by_its_commit() {
        let cache = cache_with_a_model();
        let snapshot = cache.path().join("models--acme--tiny/snapshots/0a1b");
        for text in ["acme/tiny", "acme/tiny@main", "acme/tiny@v1/beta", "acme/tiny@0a1b"] {
            assert_eq!(name(text).folder(cache.path()).expect("it is there"), snapshot, "{text}");
        }
    }

    #[test]
    fn a_model_that_is_not_there_is_an_error_with_the_command_that_fetches_it() {
        let cache = cache_with_a_model();
        for (text, command) in [
            ("acme/huge", "hf download acme/huge"),
            ("acme/tiny@v2", "hf download acme/tiny --revision v2"),
        ] {
            let error = name(text).folder(cache.path()).expect_err("it is not there").to_string();
            assert!(error.contains(command) && error.contains("neither a folder"), "{error}");
        }
    }

    #[test]
    fn a_reference_that_points_out_of_the_cache_is_not_followed() {
        let cache = cache_with_a_model();
        fs::create_dir_all(cache.path().join("models--acme--tiny/elsewhere")).expect("ours");
        fs::write(cache.path().join("models--acme--tiny/elsewhere/config.json"), "{}")
            .expect("ours");
        for commit in ["../elsewhere", "..", "", "/"] {
            fs::write(cache.path().join("models--acme--tiny/refs/main"), commit).expect("ours");
            assert!(name("acme/tiny").folder(cache.path()).is_err(), "{commit:?}");
        }
    }

    #[test]
    fn only_two_words_are_a_name() {
        for text in [
            "tiny", "a/b/c", "../b", "a/..", "/b", "a/", "a b/c", "a/b@", "a/b@../c", "C:\\a/b", "",
        ] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
        assert_eq!(
            name("Qwen/Qwen2.5-0.5B-Instruct@v1.0").to_string(),
            "Qwen/Qwen2.5-0.5B-Instruct@v1.0"
        );
    }

    #[test]
    fn the_cache_is_where_the_environment_says_in_the_order_of_huggingface_hub() {
        let all =
            [("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c")];
        let wanted = ["/h/.cache/huggingface/hub", "/x/huggingface/hub", "/f/hub", "/c"];
        for set in 1..=all.len() {
            let variable = |name: &str| {
                all[..set]
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| PathBuf::from(value))
            };
            assert_eq!(cache_of(variable).expect("HOME is set"), PathBuf::from(wanted[set - 1]));
        }
        let tilde = |name: &str| {
            [("HOME", "/h"), ("HF_HOME", "~/models")]
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| v.into())
        };
        assert_eq!(cache_of(tilde).expect("HF_HOME is set"), PathBuf::from("/h/models/hub"));
        assert!(cache_of(|_| None).is_err());
    }
}
