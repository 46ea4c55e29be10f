//! The number of this life of the dataplane: part of every key that is billed, and so above the
//! number of every life before it. The clock alone does not say that (it may be set back, and two
//! starts may fall into one second), nor do the regions (a clean stop gives them up): the last
//! number is kept in a file of its own.
//!
//! The file is written in place, with O_DSYNC: that needs no room on a full disk, and no fsync(2),
//! which the hardened unit does not allow. It holds the number twice, so that half a write is seen.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Digits of a number in the file.
const DIGITS: usize = 10;
/// Far more than the file ever has.
const BYTES_MAX: u64 = 64;

/// Where the number is kept: in the service's own state directory where the service manager gives
/// one, else in the data directory.
pub(crate) fn file(data_dir: &Path) -> PathBuf {
    let given = std::env::var_os("STATE_DIRECTORY").filter(|name| !name.is_empty());
    let first = given.as_deref().and_then(|list| std::env::split_paths(list).next());
    first.map_or_else(|| data_dir.join("dataplane.epoch"), |folder| folder.join("epoch"))
}

/// A number above the kept one, above `before` (the highest of the regions that were parked), and
/// not below `seconds`, the clock; kept before it is returned. None if there is no number left.
///
/// A file that cannot be read or written is told, and costs the guarantee, not the start: calls
/// come before bills, and the store refuses aloud what has the key of another call.
pub(crate) fn next(path: &Path, seconds: u32, before: Option<u32>) -> Option<u32> {
    let kept = read(path).unwrap_or_else(|error| {
        tracing::error!(path = %path.display(), %error, "the last epoch cannot be read");
        None
    });
    let above = kept.max(before).map_or(Some(0), |last| last.checked_add(1))?;
    let epoch = above.max(seconds);
    if kept.is_some_and(|kept| kept > seconds) {
        tracing::warn!(kept, seconds, "the clock is behind the last start: was it set back?");
    }
    if let Err(error) = keep(path, epoch) {
        tracing::error!(path = %path.display(), %error, "the epoch cannot be kept");
    }
    Some(epoch)
}

/// None before the first start.
fn read(path: &Path) -> io::Result<Option<u32>> {
    let mut text = String::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?.take(BYTES_MAX).read_to_string(&mut text)?,
    };
    let mut words = text.split_whitespace().map(str::parse::<u32>);
    match (words.next(), words.next(), words.next()) {
        (Some(Ok(one)), Some(Ok(two)), None) if one == two => Ok(Some(one)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("`{}`", text.trim_end()))),
    }
}

fn keep(path: &Path, epoch: u32) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(false).mode(0o600);
    let flags = rustix::fs::OFlags::DSYNC.bits().cast_signed();
    let file = options.custom_flags(flags).open(path)?;
    let line = format!("{epoch:0DIGITS$} {epoch:0DIGITS$}\n");
    file.write_all_at(line.as_bytes(), 0)?;
    // What somebody else may have put there.
    let len = u64::try_from(line.len()).unwrap_or(BYTES_MAX);
    if file.metadata()?.len() == len { Ok(()) } else { file.set_len(len) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of this test's own, in a directory that is not there yet.
    fn kept(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("tandem-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        folder.join("epoch")
    }

    fn clean(path: &Path) {
        std::fs::remove_dir_all(path.parent().expect("a folder")).expect("clean");
    }

    #[test]
    fn no_two_starts_have_one_number_whatever_the_clock_says() {
        let path = kept("epoch");
        let clock = [100, 100, 99, 3, 100, 101, 500, 0];
        let numbers: Vec<u32> =
            clock.iter().map(|now| next(&path, *now, None).expect("a number")).collect();
        assert_eq!(numbers, [100, 101, 102, 103, 104, 105, 500, 501]);
        clean(&path);
    }

    #[test]
    fn a_region_that_is_ahead_of_the_file_counts() {
        let path = kept("epoch-region");
        assert_eq!(next(&path, 100, Some(200)), Some(201));
        assert_eq!(next(&path, 100, None), Some(202));
        assert_eq!(next(&path, 100, Some(7)), Some(203));
        assert_eq!(next(&path, 100, Some(u32::MAX)), None);
        clean(&path);
    }

    #[test]
    fn what_is_no_number_is_no_reason_to_stay_down() {
        let path = kept("epoch-damage");
        assert_eq!(next(&path, 5, None), Some(5));
        for damage in ["", "x", "0000000007 0000000008\n", "7", "7 7 7", "99999999999 99999999999"]
        {
            std::fs::write(&path, damage).expect("written");
            assert_eq!(read(&path).expect_err("damage").kind(), io::ErrorKind::InvalidData);
            assert_eq!(next(&path, 50, None), Some(50), "{damage:?}");
            assert_eq!(read(&path).expect("whole again"), Some(50));
        }
        clean(&path);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_no_reason_to_stay_down() {
        let nowhere = Path::new("/proc/nowhere/epoch");
        assert_eq!(next(nowhere, 50, Some(60)), Some(61));
    }
}
