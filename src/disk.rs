//! Files read whole within a limit, and written whole.

use std::fs::{self, File};
use std::io::{self, BufReader, Cursor, ErrorKind, Read, Write};
use std::path::Path;

use anyhow::{Context, Result};

use crate::dataset::container::{allowed, limited};

/// Maximum size, in bytes, of a file that is read whole. A large run or audit writes far less into
/// one file.
pub const MOST_BYTES: u64 = 1 << 28;

/// The same limit for adapters and training states, which take gigabytes on a large base.
pub const MOST_STATE: u64 = 1 << 40;

/// Prefix of the file name while the file is being written.
pub const TEMPORARY: &str = ".new-";

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// Also where the path is not an ordinary file: reading a pipe or device may never end.
pub fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let too_large = |bytes: u64| {
        io::Error::other(format!("it has {bytes} bytes or more, and at most {most} are read"))
    };
    let about = fs::metadata(path)?;
    if !about.is_file() {
        return Err(io::Error::other("it is not an ordinary file"));
    }
    if about.len() > most {
        return Err(too_large(about.len()));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large(bytes.len() as u64)) } else { Ok(bytes) }
}

/// Reads a file of at most `most` bytes; `None` if it does not exist.
///
/// # Errors
/// As [`read_file`].
pub fn read_if_there(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    match read_file(path, most) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{}: cannot be read", path.display())),
    }
}

/// Decompresses zstd, within the limits for a compressed dataset.
pub fn unpacked(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let limit = allowed(bytes.len() as u64);
    let mut out = Vec::new();
    limited(zstd::Decoder::with_buffer(BufReader::new(Cursor::new(bytes)))?, limit)
        .read_to_end(&mut out)?;
    Ok(out)
}

/// Writes to a temporary file in the same folder and renames it. Readers see the old bytes or the
/// new bytes, never a part.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = folder.join(format!("{TEMPORARY}{name}"));
        // Removes what a killed run left, or a symbolic link placed there. The link itself is
        // removed, not its target.
        remove(&temporary)?;
        let mut file = File::create_new(&temporary)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("{}: cannot be written; is the disk full?", path.display()))
}

/// Removes a file, if it is there.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_limit_is_read_and_one_byte_more_is_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("file");
        write_whole(&path, b"1234").expect("written");
        assert_eq!(read_file(&path, 4).expect("as large as it may be"), b"1234");
        assert!(read_file(&path, 3).is_err());
        assert!(read_file(folder.path(), 4).is_err(), "a folder");
    }

    #[test]
    fn what_decompresses_to_hundreds_of_times_its_size_is_not_read() {
        let packed =
            |length: usize| zstd::encode_all(&vec![b'0'; length][..], 1).expect("in memory");
        assert_eq!(unpacked(packed(1 << 20)).expect("a megabyte").len(), 1 << 20);
        assert!(unpacked(packed(80 << 20)).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_place_of_a_file_that_is_written_is_not_followed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [outside, temporary, place] =
            ["outside", ".new-file", "file"].map(|name| folder.path().join(name));
        fs::write(&outside, "mine").expect("written");
        for link in [&temporary, &place] {
            std::os::unix::fs::symlink(&outside, link).expect("a link");
        }
        write_whole(&place, b"theirs").expect("written");
        assert_eq!(
            (fs::read(&outside).expect("there"), fs::read(&place).expect("there")),
            (b"mine".to_vec(), b"theirs".to_vec())
        );
        assert!(!temporary.exists() && !place.is_symlink());
    }
}
