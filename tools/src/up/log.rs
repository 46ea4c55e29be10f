//! Log files of the children: private, appended to by the child itself, and bounded.
//!
//! The child holds the descriptor, so that its log goes on when we die; a file that has grown to
//! the limit can therefore not just be renamed under it. Its text moves to `NAME.log.1` and the
//! file is cut to nothing: the descriptor appends (O_APPEND), and so goes on at the new end. What
//! the child writes between the two is lost, a few lines in 64 MiB.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Bytes a log may have before it is put aside.
pub(crate) const LOG_BYTES_MAX: u64 = 64 << 20;

/// Makes the directory of logs, or closes an existing one to others (0700).
pub(crate) fn directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if path.metadata()?.permissions().mode() & 0o077 != 0 {
        std::fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Opens for appending, mode 0600, an existing file too.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Where the text goes that was put aside.
fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// Puts the text of a log of `limit` bytes or more aside; true if it did.
///
/// # Errors
/// The file cannot be cut. Where only the copy fails (a full disk) the text is given up: the
/// journal needs the space more.
pub(crate) fn rotate(path: &Path, limit: u64) -> io::Result<bool> {
    match path.metadata() {
        Ok(meta) if meta.len() >= limit => {}
        Ok(_) => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    let old = aside(path);
    // First, so that the disk never holds three.
    let _ = std::fs::remove_file(&old);
    // The copy has the mode of the log.
    let copied = std::fs::copy(path, &old);
    if copied.is_err() {
        let _ = std::fs::remove_file(&old);
    }
    OpenOptions::new().write(true).open(path)?.set_len(0)?;
    Ok(true)
}

/// The text from `from`, of it at most the last `most` bytes; from the begin if the file has
/// become shorter than `from`.
pub(crate) fn tail(path: &Path, from: u64, most: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = if from > length { 0 } else { from };
    file.seek(SeekFrom::Start(from.max(length.saturating_sub(most))))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("tandem-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn what_others_could_read_is_closed() {
        let folder = folder("log-mode");
        std::fs::create_dir_all(&folder).expect("temporary directory");
        std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).expect("mode");
        directory(&folder).expect("directory");
        let log = folder.join("a.log");
        std::fs::write(&log, "x").expect("file");
        std::fs::set_permissions(&log, Permissions::from_mode(0o644)).expect("mode");
        open(&log).expect("log");
        assert_eq!((mode(&folder), mode(&log)), (0o700, 0o600));
        std::fs::remove_dir_all(&folder).expect("clean");
    }

    #[test]
    fn a_long_log_is_put_aside_under_its_writer() {
        let folder = folder("log-rotate");
        directory(&folder).expect("directory");
        let log = folder.join("a.log");
        let mut writer = open(&log).expect("log");
        writer.write_all(b"0123456789").expect("write");
        assert!(!rotate(&log, 11).expect("short"));
        assert!(rotate(&log, 10).expect("long"));
        writer.write_all(b"next").expect("write");
        assert_eq!(std::fs::read_to_string(&log).expect("log"), "next");
        assert_eq!(std::fs::read_to_string(aside(&log)).expect("aside"), "0123456789");
        assert_eq!(mode(&aside(&log)), 0o600);
        writer.write_all(b"000000").expect("write");
        assert!(rotate(&log, 10).expect("again"));
        assert_eq!(std::fs::read_to_string(aside(&log)).expect("aside"), "next000000");
        assert!(!rotate(&folder.join("none.log"), 10).expect("no log"));
        std::fs::remove_dir_all(&folder).expect("clean");
    }

    #[test]
    fn a_tail_is_the_end_of_this_life() {
        let folder = folder("log-tail");
        directory(&folder).expect("directory");
        let log = folder.join("a.log");
        std::fs::write(&log, "first life\nsecond life\n").expect("file");
        assert_eq!(tail(&log, 11, 100).expect("tail"), "second life\n");
        assert_eq!(tail(&log, 0, 5).expect("tail"), "life\n");
        assert_eq!(tail(&log, 1_000, 5).expect("cut since"), "life\n");
        assert!(tail(&folder.join("none.log"), 0, 5).is_err());
        std::fs::remove_dir_all(&folder).expect("clean");
    }
}
