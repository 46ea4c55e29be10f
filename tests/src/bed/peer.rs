//! Foreign programs as the other side.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use super::eventually;

/// True if the program is there. If not, says so aloud; with `CI=true` or `TANDEM_REQUIRE_PEERS=1`
/// that is a failure, so that a skipped test is never taken for a passed one.
///
/// # Panics
/// If it is not there and must be.
#[must_use]
pub fn require(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = Path::new(program).is_absolute() && Path::new(program).exists()
        || std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if there {
        return true;
    }
    let set = |name: &str, value: &str| std::env::var(name).is_ok_and(|is| is == value);
    println!("SKIPPED: {program} is not installed");
    let must = set("CI", "true") || set("TANDEM_REQUIRE_PEERS", "1");
    assert!(!must, "{program} is not installed, and peers are required here");
    false
}

/// A foreign program, ended when dropped; what it said is printed when the test fails.
#[derive(Debug)]
pub struct Peer {
    name: String,
    log: PathBuf,
    child: Child,
    done: bool,
}

impl Peer {
    /// Starts it with its output in `folder`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Self {
        let log = folder.join(format!("{name}.log"));
        let out = File::create(&log).expect("a log");
        let err = out.try_clone().expect("a second descriptor");
        let started = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let child = started.unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { name: name.to_owned(), log, child, done: false }
    }

    /// # Panics
    /// If it does not end with status 0 within `limit`.
    #[track_caller]
    pub fn finish(&mut self, limit: Duration) {
        let status = self.wait(limit);
        assert!(status.success(), "{} ended with {status}", self.name);
        self.done = true;
    }

    /// # Panics
    /// If it does not end within `limit`.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        eventually(&format!("{} ends", self.name), limit, || {
            self.child.try_wait().expect("it can be asked")
        })
    }

    #[must_use]
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it said.
    #[must_use]
    pub fn said(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Asks it to end (SIGTERM), with the processes that it has started itself.
    ///
    /// # Panics
    /// If it does not.
    pub fn end(&mut self) {
        if self.is_running() {
            super::switch::send(self.id(), Signal::TERM);
            let _ = self.wait(Duration::from_secs(20));
        }
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() && !self.done {
            let said = self.said();
            let lines: Vec<&str> = said.lines().collect();
            let tail = &lines[lines.len().saturating_sub(60)..];
            println!("--- {}\n{}", self.name, tail.join("\n"));
        }
    }
}
