//! The journal's I/O by a ring of its own (tokio-uring) beside plain system calls, in one run, in
//! turns: what one group of records costs the thread that writes, the process, and who waits for
//! the sync.
//!
//! ```text
//!   cargo run --release -p store --example ring [DIRECTORY]
//! ```
//!
//! The ring's medium has the same promise as the folder: `append` returns when the bytes survive
//! this process, which they do once the kernel has taken them.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use store::Folder;
use store::journal::{Journal, Medium, SEGMENT_BYTES};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

const GROUPS: u32 = 200;
const ROUNDS: usize = 5;
/// A group at 100 calls/s that gathers for 20 ms.
const RECORDS: usize = 18;
const RECORD_BYTES: usize = 400;

enum Job {
    Append(u64, Vec<u8>, Sender<io::Result<()>>),
    Sync(u64, Sender<io::Result<()>>),
    Forget(u64),
}

/// Segments written and synced by tokio-uring; the rest is the folder's.
struct Ring {
    folder: Folder,
    jobs: UnboundedSender<Job>,
}

impl Ring {
    fn open(path: &Path) -> io::Result<Self> {
        let folder = Folder::open(path)?;
        let (jobs, mut taken) = unbounded_channel();
        let path = path.to_owned();
        std::thread::Builder::new().name("ring".to_owned()).spawn(move || {
            tokio_uring::start(async move {
                let mut files = BTreeMap::new();
                while let Some(job) = taken.recv().await {
                    work(&path, &mut files, job).await;
                }
            });
        })?;
        Ok(Self { folder, jobs })
    }

    fn ask(&self, job: impl FnOnce(Sender<io::Result<()>>) -> Job) -> io::Result<()> {
        let (told, answer) = channel();
        let gone = || io::Error::other("the ring's thread is gone");
        self.jobs.send(job(told)).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

type Files = BTreeMap<u64, (tokio_uring::fs::File, u64)>;

async fn work(path: &Path, files: &mut Files, job: Job) {
    match job {
        Job::Append(number, bytes, told) => {
            if let std::collections::btree_map::Entry::Vacant(place) = files.entry(number) {
                let name = path.join(format!("{number:020}.journal"));
                match OpenOptions::new().write(true).open(name) {
                    Ok(file) => drop(place.insert((tokio_uring::fs::File::from_std(file), 0))),
                    Err(error) => return drop(told.send(Err(error))),
                }
            }
            let Some((file, end)) = files.get_mut(&number) else { return };
            let len = bytes.len() as u64;
            let (written, _) = file.write_all_at(bytes, *end).await;
            *end += len;
            let _ = told.send(written);
        }
        Job::Sync(number, told) => {
            let synced = match files.get(&number) {
                Some((file, _)) => file.sync_data().await,
                None => Ok(()),
            };
            let _ = told.send(synced);
        }
        Job::Forget(number) => drop(files.remove(&number)),
    }
}

impl Medium for Ring {
    fn segments(&self) -> io::Result<Vec<u64>> {
        self.folder.segments()
    }

    fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        self.folder.read(number)
    }

    fn create(&self, number: u64, bytes: u64) -> io::Result<()> {
        self.folder.create(number, bytes)
    }

    fn append(&self, number: u64, bytes: &[u8]) -> io::Result<()> {
        self.ask(|told| Job::Append(number, bytes.to_vec(), told))
    }

    fn sync(&self, number: u64) -> io::Result<()> {
        self.ask(|told| Job::Sync(number, told))
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        let _ = self.jobs.send(Job::Forget(number));
        self.folder.remove(number)
    }

    fn keep_aside(&self, number: u64) -> io::Result<bool> {
        self.folder.keep_aside(number)
    }

    fn reserve(&self) -> io::Result<()> {
        self.folder.reserve()
    }

    fn give_up_reserve(&self) -> io::Result<()> {
        self.folder.give_up_reserve()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.folder.free_bytes()
    }
}

/// Medians of many groups, microseconds.
#[derive(Debug)]
struct Found {
    flush: f64,
    durable: f64,
    cpu: f64,
}

fn measure<M: Medium>(medium: M) -> io::Result<Found> {
    let (rang, ring) = channel();
    let listener = Box::new(move || {
        let _ = rang.send(());
    });
    let (mut journal, _) = Journal::open(medium, SEGMENT_BYTES, listener)?;
    let record = [7; RECORD_BYTES];
    let (mut flushes, mut waits) = (Vec::new(), Vec::new());
    // Of all threads, those of the kernel's rings that work for us among them.
    let before = clock(ClockId::ProcessCPUTime);
    for _ in 0..GROUPS {
        let mut last = 0;
        for _ in 0..RECORDS {
            last = journal.append(&record).map_err(io::Error::other)?;
        }
        let begun = clock(ClockId::Monotonic);
        journal.flush().map_err(io::Error::other)?;
        flushes.push(clock(ClockId::Monotonic).saturating_sub(begun));
        while journal.durable() < last {
            ring.recv().map_err(io::Error::other)?;
        }
        waits.push(clock(ClockId::Monotonic).saturating_sub(begun));
    }
    let cpu = micros(clock(ClockId::ProcessCPUTime).saturating_sub(before)) / f64::from(GROUPS);
    Ok(Found { flush: median(flushes), durable: median(waits), cpu })
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    micros(times[times.len() / 2])
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn clock(id: ClockId) -> Duration {
    Duration::try_from(clock_gettime(id)).unwrap_or_default()
}

fn main() -> io::Result<()> {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    println!(
        "{GROUPS} groups of {RECORDS} records of {RECORD_BYTES} bytes, {ROUNDS} rounds in turns"
    );
    println!("{:<14}{:>12}{:>16}{:>14}", "", "flush us", "to durable us", "CPU us/group");
    for round in 0..ROUNDS {
        for name in ["system calls", "tokio-uring"] {
            let path = folder.join(format!("ring-{}-{round}-{}", std::process::id(), name.len()));
            let found = match name {
                "tokio-uring" => measure(Ring::open(&path)?)?,
                _ => measure(Folder::open(&path)?)?,
            };
            let Found { flush, durable, cpu } = found;
            println!("{name:<14}{flush:>12.0}{durable:>16.0}{cpu:>14.0}");
            std::fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}
