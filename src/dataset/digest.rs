//! Content hashes of rows and files.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::DatasetError;
use super::{Message, error};

/// SHA-256 of a conversation in canonical form: the compact JSON `[{"role":...,"content":...},...]`
/// in UTF-8. Python writes the same with `json.dumps(messages, ensure_ascii=False, separators=(",",
/// ":"))`. Equal conversations have equal hashes in every format and key order.
pub fn content_hash(messages: &[Message]) -> String {
    hex(&content_digest(messages))
}

/// [`content_hash`] as bytes.
pub(super) fn content_digest(messages: &[Message]) -> [u8; 32] {
    let canonical =
        serde_json::to_vec(messages).expect("messages are strings, which always serialise");
    Sha256::digest(canonical).into()
}

/// The sort key for sampling. It depends on the whole file, so that the author of one row cannot
/// influence it, and on a seed. The position is the line and the number of rows that start on that
/// line before it. So no two rows share a key.
pub(super) fn sample_key(
    source_sha256: &str,
    seed: u64,
    content: &[u8; 32],
    (line, before): (usize, usize),
) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(source_sha256.as_bytes());
    hash.update(content);
    hash.update((line as u64).to_le_bytes());
    if before > 0 {
        hash.update((before as u64).to_le_bytes());
    }
    hash.finalize().into()
}

/// SHA-256 of the file `path`. For a folder, of its shards' names and hashes.
pub(super) fn source_hash(path: &Path, shards: &[PathBuf]) -> Result<String, DatasetError> {
    if let [shard] = shards
        && shard == path
    {
        return file_hash(path);
    }
    let mut hash = Sha256::new();
    for shard in shards {
        let name = shard.file_name().unwrap_or_default().to_string_lossy();
        hash.update(format!("{name} {}\n", file_hash(shard)?));
    }
    Ok(hex(&hash.finalize().into()))
}

fn file_hash(path: &Path) -> Result<String, DatasetError> {
    let mut file = File::open(path).map_err(|source| error::reading(path, source))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(|source| error::reading(path, source))? {
            0 => return Ok(hex(&hash.finalize().into())),
            length => hash.update(&buffer[..length]),
        }
    }
}

/// Lower-case hex.
pub(super) fn hex(digest: &[u8; 32]) -> String {
    digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Role;

    #[test]
    fn the_hash_is_that_of_the_compact_json() {
        // printf '[{"role":"user","content":"Hé?"},{"role":"assistant","content":"a\\nb"}]' |
        // sha256sum
        let messages = [Message::new(Role::User, "Hé?"), Message::new(Role::Assistant, "a\nb")];
        assert_eq!(
            content_hash(&messages),
            "84109dc63b3a5e7a4605fe68f6ee543ebcd3550b6903daec6476915b260468dc"
        );
    }
}
