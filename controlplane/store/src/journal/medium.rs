//! Where a journal lies. Ten functions, so that another way of doing I/O (a ring of its own) or a
//! simulated disk that loses power can stand in its place. `create` and `append` are called by the
//! thread that has the facts, `sync` and `remove` by the journal's own.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;

/// Numbered append-only files. Only the newest is appended to.
pub trait Medium: Send + Sync + 'static {
    /// The numbers of the segments that exist, in order.
    ///
    /// # Errors
    /// What the system says.
    fn segments(&self) -> io::Result<Vec<u64>>;

    /// A segment's bytes.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, number: u64) -> io::Result<Vec<u8>>;

    /// Starts segment `number`, which does not exist, with room for so many bytes.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, number: u64, bytes: u64) -> io::Result<()>;

    /// Writes at the end of a segment; the bytes survive this process when this returns.
    ///
    /// # Errors
    /// What the system says; the segment's tail is then undefined.
    fn append(&self, number: u64, bytes: &[u8]) -> io::Result<()>;

    /// Everything appended to a segment before the call, and its name, survive a power cut when
    /// this returns.
    ///
    /// # Errors
    /// What the system says. After an error nobody knows what is on the disk, and asking again may
    /// lie: the kernel drops the pages it could not write and forgets the error.
    fn sync(&self, number: u64) -> io::Result<()>;

    /// Removes a segment; it may come back after a power cut.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, number: u64) -> io::Result<()>;

    /// Keeps a segment's bytes beyond its removal, for people to look at; true if they are kept.
    ///
    /// # Errors
    /// What the system says.
    fn keep_aside(&self, number: u64) -> io::Result<bool>;

    /// Sets space aside that nobody else gets, unless that is done already.
    ///
    /// # Errors
    /// What the system says; out of space too if it would leave no more than as much again.
    fn reserve(&self) -> io::Result<()>;

    /// Gives that space up, for who appends.
    ///
    /// # Errors
    /// What the system says; not found if none was set aside.
    fn give_up_reserve(&self) -> io::Result<()>;

    /// Bytes that can still be written.
    ///
    /// # Errors
    /// What the system says.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// What is set aside: ends of some ten thousand calls.
const RESERVE_BYTES: u64 = 8 << 20;
const RESERVE: &str = "reserve";

/// Damaged segments that are kept; a disk that rots on and on must not be filled by that.
const ASIDE_MAX: usize = 16;
const ASIDE: &str = ".damaged";

/// A segment that was removed and waits to be written again.
const SPARE: &str = "spare";

/// Segments as files in a directory, by plain system calls. A file has its whole size from its
/// begin, and one that is not needed any more is written over: a sync of its data then has neither
/// a size nor blocks to write down. What is left of an earlier life behind the last record has
/// lower positions, and is none.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    directory: File,
    open: Mutex<BTreeMap<u64, Open>>,
}

#[derive(Clone, Debug)]
struct Open {
    file: Arc<File>,
    /// Where the next bytes go.
    end: u64,
    /// Its name in the directory is durable.
    named: bool,
}

impl Folder {
    /// Opens the directory, mode 0700, made if it is not there.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let directory = File::open(path)?;
        Ok(Self { path: path.to_owned(), directory, open: Mutex::default() })
    }

    fn file(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:020}.journal"))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self, number: u64) -> io::Result<Open> {
        self.lock().get(&number).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Medium for Folder {
    fn segments(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".journal"));
            numbers.extend(number.and_then(|digits| digits.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        fs::read(self.file(number))
    }

    fn create(&self, number: u64, bytes: u64) -> io::Result<()> {
        let (name, spare) = (self.file(number), self.path.join(SPARE));
        // One of another configuration's size is of no use; what is longer was written beyond.
        let fits = |meta: fs::Metadata| (bytes..=bytes.saturating_mul(2)).contains(&meta.len());
        if fs::metadata(&spare).is_ok_and(|meta| !fits(meta)) {
            fs::remove_file(&spare)?;
        }
        let has_spare = !name.exists() && fs::rename(spare, &name).is_ok();
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(!has_spare).mode(0o600).open(&name)?;
        if !has_spare {
            // Where there is no room for all of it, or no such call, it grows as it is written.
            let _ = fallocate(&file, FallocateFlags::empty(), 0, bytes);
        }
        self.lock().insert(number, Open { file: Arc::new(file), end: 0, named: false });
        Ok(())
    }

    fn append(&self, number: u64, bytes: &[u8]) -> io::Result<()> {
        let Open { file, end, .. } = self.opened(number)?;
        file.write_all_at(bytes, end)?;
        if let Some(open) = self.lock().get_mut(&number) {
            open.end = end + bytes.len() as u64;
        }
        Ok(())
    }

    fn sync(&self, number: u64) -> io::Result<()> {
        let Open { file, named, .. } = self.opened(number)?;
        file.sync_data()?;
        if !named {
            self.directory.sync_all()?;
            if let Some(open) = self.lock().get_mut(&number) {
                open.named = true;
            }
        }
        Ok(())
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        self.lock().remove(&number);
        let (name, spare) = (self.file(number), self.path.join(SPARE));
        // One that is kept aside has a second name, and is not written over.
        let is_ours = fs::metadata(&name).is_ok_and(|meta| meta.nlink() == 1);
        if is_ours && !spare.exists() {
            return fs::rename(name, spare);
        }
        fs::remove_file(name)
    }

    fn keep_aside(&self, number: u64) -> io::Result<bool> {
        let mut aside = 0;
        for entry in fs::read_dir(&self.path)? {
            aside += usize::from(entry?.file_name().to_string_lossy().ends_with(ASIDE));
        }
        // A second name of the same bytes costs no space while the first one stands.
        let name = self.path.join(format!("{number:020}{ASIDE}"));
        if name.exists() {
            return Ok(true);
        }
        if aside >= ASIDE_MAX {
            return Ok(false);
        }
        fs::hard_link(self.file(number), name)?;
        Ok(true)
    }

    fn reserve(&self) -> io::Result<()> {
        let path = self.path.join(RESERVE);
        if fs::metadata(&path).is_ok_and(|meta| meta.len() == RESERVE_BYTES) {
            return Ok(());
        }
        if self.free_bytes()? < 2 * RESERVE_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(true).write(true).mode(0o600).open(&path)?;
        let flags = FallocateFlags::empty();
        let set_aside = match fallocate(&file, flags, 0, RESERVE_BYTES) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                let zeros = vec![0; 1 << 16];
                (0..RESERVE_BYTES >> 16).try_for_each(|_| (&file).write_all(&zeros))
            }
            other => other.map_err(io::Error::from),
        };
        if set_aside.is_err() {
            fs::remove_file(&path)?;
        }
        set_aside
    }

    fn give_up_reserve(&self) -> io::Result<()> {
        fs::remove_file(self.path.join(RESERVE))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let found = fstatvfs(&self.directory)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}
