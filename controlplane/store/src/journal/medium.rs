//! Where a journal lies. Four functions write it and one reads it at boot, so that another way of doing
//! I/O (a ring of its own) or a simulated disk that loses power can stand in its place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Numbered append-only files. Only the newest is ever written.
pub trait Medium: Send {
    /// Every segment that exists with its bytes, in order of number.
    ///
    /// # Errors
    /// What the system says.
    fn load(&mut self) -> io::Result<Vec<(u64, Vec<u8>)>>;

    /// Starts segment `number`, which does not exist; its name is durable when this returns.
    ///
    /// # Errors
    /// What the system says.
    fn create(&mut self, number: u64) -> io::Result<()>;

    /// Writes at the end of the segment last created.
    ///
    /// # Errors
    /// What the system says; the segment's tail is then undefined.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Everything appended is on stable storage when this returns.
    ///
    /// # Errors
    /// What the system says. After an error nobody knows what is on the disk, and asking again may lie:
    /// the kernel drops the pages it could not write and forgets the error.
    fn sync(&mut self) -> io::Result<()>;

    /// Removes a segment; it may come back after a power cut.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&mut self, number: u64) -> io::Result<()>;
}

/// Segments as files in a directory, by plain system calls.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    directory: File,
    current: Option<File>,
}

impl Folder {
    /// Opens the directory, mode 0700, made if it is not there.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self { path: path.to_owned(), directory: File::open(path)?, current: None })
    }

    fn file(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:020}.journal"))
    }
}

impl Medium for Folder {
    fn load(&mut self) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".journal"));
            numbers.extend(number.and_then(|digits| digits.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        numbers.into_iter().map(|number| Ok((number, fs::read(self.file(number))?))).collect()
    }

    fn create(&mut self, number: u64) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.append(true).create_new(true).mode(0o600);
        self.current = Some(options.open(self.file(number))?);
        self.directory.sync_all()
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.current {
            Some(file) => file.write_all(bytes),
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.current.as_ref().map_or(Ok(()), File::sync_data)
    }

    fn remove(&mut self, number: u64) -> io::Result<()> {
        fs::remove_file(self.file(number))
    }
}
