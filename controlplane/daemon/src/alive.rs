//! When the dataplane was last seen, written down: what stands is in its memory, and where that is
//! gone with it (all processes at once, the machine), nobody else knows until when it stood.
//!
//! The file is written over each second, and never synced: a process's death does not touch it, and
//! a machine's costs what the system had not written yet. Nothing is billed beyond it.

use std::fs;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use base::Wall;

use crate::clock;
use crate::metrics::Gauges;

const NAME: &str = "alive";
const EVERY: Duration = Duration::from_secs(1);

/// A dataplane's life, and when it was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) epoch: u32,
    pub(crate) at: Wall,
}

/// What a predecessor wrote.
#[must_use]
pub(crate) fn read(data_dir: &Path) -> Option<Seen> {
    let text = fs::read_to_string(data_dir.join(NAME)).ok()?;
    let mut words = text.split_whitespace();
    let at = Wall(words.next()?.parse().ok()?);
    Some(Seen { at, epoch: words.next()?.parse().ok()? })
}

/// Writes while a dataplane beats, on a thread that may wait for the disk. It ends with what is
/// given back.
///
/// # Errors
/// The file cannot be made, or the thread.
pub(crate) fn keep(data_dir: &Path, gauges: Arc<Gauges>) -> std::io::Result<Sender<()>> {
    let path: PathBuf = data_dir.join(NAME);
    let file =
        fs::File::options().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    let (keeper, ended) = mpsc::channel();
    let body = move || {
        while ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
            let now = clock::sample();
            let Some(epoch) = gauges.beating(now.mono) else { continue };
            // A disk that is full or fails costs the note, and is told elsewhere.
            let _ = file.write_all_at(line(Seen { epoch, at: now.wall }).as_bytes(), 0);
        }
    };
    std::thread::Builder::new().name("alive".to_owned()).spawn(body)?;
    Ok(keeper)
}

/// Of one length always: it is written over.
fn line(seen: Seen) -> String {
    format!("{:020} {:010}\n", seen.at.0, seen.epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back_and_nonsense_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), None);
        let seen = Seen { epoch: 7, at: Wall(1_795_000_000_000_000) };
        fs::write(folder.path().join(NAME), line(seen)).unwrap();
        assert_eq!(read(folder.path()), Some(seen));
        for bad in ["", "nonsense", "17", "1 x"] {
            fs::write(folder.path().join(NAME), bad).unwrap();
            assert_eq!(read(folder.path()), None, "{bad}");
        }
    }
}
