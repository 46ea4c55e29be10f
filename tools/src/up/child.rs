//! One supervised process: its lives, its parked descriptors, its watchdog.
//!
//! ```text
//!   Waiting --back-off over--> Starting --READY--> Up --exit or watchdog--> Waiting
//!                                                   `--STOPPING--> Stopping --exit or limit--^
//! ```
//!
//! A child has its own process group and its own log file, so that neither the terminal's Ctrl-C
//! nor our own death reaches it: the switch outlives its supervisor.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::BuildHasher;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, ExitStatus, Stdio};

use anyhow::{Context, Result};
use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::log;
use super::notify::{FdStore, NotifySocket};
use crate::clock::{MS, S};

/// First descriptor that a child is handed (SD_LISTEN_FDS_START).
const FDS_START: i32 = 3;
const START_LIMIT: u64 = 60 * S;
/// How long a child may take to end.
pub(crate) const STOP_LIMIT: u64 = 15 * S;
const BACKOFF_FIRST: u64 = 50 * MS;
const BACKOFF_MAX: u64 = 5 * S;
/// A life this long clears the back-off.
const STABLE: u64 = 20 * S;
/// Of a dead child's log we look at so much at most.
const LAST_WORDS_LINES: usize = 12;
const LAST_WORDS_BYTES_MAX: u64 = 16 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Not running; to be started at this moment.
    Waiting(u64),
    /// Running since, not ready yet.
    Starting(u64),
    Up(u64),
    /// It said at this moment that it ends.
    Stopping(u64),
    Gone,
}

/// How a child is started.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) binary: PathBuf,
    pub(crate) args: Vec<String>,
    /// Where its output goes; None: to ours.
    pub(crate) log: Option<PathBuf>,
    pub(crate) notify: PathBuf,
    pub(crate) watchdog: u64,
}

#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) spec: Spec,
    pub(crate) state: State,
    pub(crate) notify: NotifySocket,
    pub(crate) store: FdStore,
    pub(crate) pidfd: Option<OwnedFd>,
    pub(crate) status: String,
    /// Lives begun.
    pub(crate) starts: u32,
    /// It was ready at least once.
    pub(crate) was_ready: bool,
    process: Option<Process>,
    /// When this life began.
    began: u64,
    fed_at: u64,
    backoff: u64,
    /// Length of its log when this life began.
    log_from: u64,
}

impl Child {
    pub(crate) fn new(spec: Spec) -> Result<Self> {
        let notify = NotifySocket::bind(&spec.notify)?;
        Ok(Self {
            spec,
            state: State::Waiting(0),
            notify,
            store: FdStore::default(),
            pidfd: None,
            status: String::new(),
            starts: 0,
            was_ready: false,
            process: None,
            began: 0,
            fed_at: 0,
            backoff: BACKOFF_FIRST,
            log_from: 0,
        })
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Begins a life with what the last one parked.
    pub(crate) fn start(&mut self, now: u64) -> Result<()> {
        let spec = &self.spec;
        let mut command = Command::new(&spec.binary);
        command
            .args(&spec.args)
            .env("NOTIFY_SOCKET", &spec.notify)
            .env("WATCHDOG_USEC", (spec.watchdog / 1_000).to_string())
            .env_remove("WATCHDOG_PID")
            .env_remove("LISTEN_PID")
            .stdin(Stdio::null())
            .process_group(0);
        if let Some(log) = &spec.log {
            match log_pair(log) {
                Ok((from, out, errors)) => {
                    self.log_from = from;
                    command.stdout(out).stderr(errors);
                }
                // A switch without a log is better than none.
                Err(error) => {
                    say!(
                        "{} cannot be written, {} runs without: {error}",
                        log.display(),
                        spec.name
                    );
                    command.stdout(Stdio::null()).stderr(Stdio::null());
                }
            }
        }
        if self.store.len() > 0 {
            let names = self.store.names();
            command.env("LISTEN_FDS", self.store.len().to_string()).env("LISTEN_FDNAMES", names);
            let copies = self.store.copies()?;
            let mappings = copies
                .into_iter()
                .zip(FDS_START..)
                .map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd })
                .collect();
            command.fd_mappings(mappings)?;
        } else {
            command.env_remove("LISTEN_FDS").env_remove("LISTEN_FDNAMES");
        }
        let mut process = command
            .spawn()
            .with_context(|| format!("{} cannot be started", spec.binary.display()))?;
        match watched(&process) {
            Ok(pidfd) => self.pidfd = Some(pidfd),
            Err(error) => {
                // Nobody may run whom we cannot see.
                let _ = process.kill();
                let _ = process.wait();
                return Err(error);
            }
        }
        self.process = Some(process);
        self.starts += 1;
        self.state = State::Starting(now);
        self.began = now;
        self.fed_at = now;
        self.status.clear();
        Ok(())
    }

    /// No life now: the next attempt comes after the back-off, which grows.
    pub(crate) fn delay(&mut self, now: u64) {
        self.state = State::Waiting(now + jittered(self.backoff));
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
    }

    /// Reads what the child says; true if it has just become ready.
    pub(crate) fn hear(&mut self, now: u64) -> bool {
        let mut became_ready = false;
        while let Some(notice) = self.notify.receive() {
            if notice.watchdog || notice.ready {
                self.fed_at = now;
            }
            if let Some(status) = &notice.status {
                self.status.clone_from(status);
            }
            if notice.ready && matches!(self.state, State::Starting(_)) {
                self.state = State::Up(now);
                self.was_ready = true;
                became_ready = true;
            }
            if notice.stopping && matches!(self.state, State::Up(_)) {
                self.state = State::Stopping(now);
            }
            if notice.store || notice.remove {
                self.store.take(notice);
            }
        }
        became_ready
    }

    /// How the child ended, if it has; it then waits for its next life.
    pub(crate) fn reap(&mut self, now: u64) -> Option<ExitStatus> {
        let status = self.process.as_mut()?.try_wait().ok()??;
        // What it sent before it died is still in the socket.
        self.hear(now);
        if now.saturating_sub(self.began) >= STABLE {
            self.backoff = BACKOFF_FIRST;
        }
        self.process = None;
        self.pidfd = None;
        self.delay(now);
        Some(status)
    }

    /// As [`Self::reap`], of a child that was told to end: only another end than that is said.
    pub(crate) fn reap_stopped(&mut self, now: u64) {
        let told = [Signal::TERM, Signal::KILL].map(Signal::as_raw);
        let by_us = |status: &ExitStatus| status.signal().is_some_and(|by| told.contains(&by));
        if let Some(status) = self.reap(now).filter(|it| !it.success() && !by_us(it)) {
            self.say_end(status);
        }
    }

    /// Says how it ended, exit code or signal by name, and what it said last.
    pub(crate) fn say_end(&self, status: ExitStatus) {
        let (name, words) = (self.spec.name, self.last_words(LAST_WORDS_LINES));
        if words.is_empty() {
            say!("{name} ended: {status}; it said nothing");
        } else {
            say!("{name} ended: {status}; its last words:\n{words}");
        }
    }

    /// Why the child has to be killed now, if it has.
    pub(crate) fn overdue(&self, now: u64) -> Option<String> {
        match self.state {
            State::Starting(since) if now.saturating_sub(since) > START_LIMIT => {
                let status = match self.status.as_str() {
                    "" => String::new(),
                    status => format!(" (it says: {status})"),
                };
                Some(format!("not ready within {} s{status}", START_LIMIT / S))
            }
            State::Up(_) if now.saturating_sub(self.fed_at) > self.spec.watchdog => {
                let silent = now.saturating_sub(self.fed_at) / MS;
                Some(format!("its watchdog was not fed for {silent} ms"))
            }
            State::Stopping(since) if now.saturating_sub(since) > STOP_LIMIT => {
                Some(format!("it said that it ends, and did not within {} s", STOP_LIMIT / S))
            }
            _ => None,
        }
    }

    /// Puts a long log aside.
    pub(crate) fn trim_log(&mut self) {
        let Some(path) = &self.spec.log else { return };
        match log::rotate(path, log::LOG_BYTES_MAX) {
            Ok(true) => self.log_from = 0,
            Ok(false) => {}
            Err(error) => say!("{} cannot be put aside: {error}", path.display()),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pidfd) = &self.pidfd {
            let _ = pidfd_send_signal(pidfd, signal);
        }
    }

    /// The last lines of this life's log, to say why it died.
    pub(crate) fn last_words(&self, lines: usize) -> String {
        let Some(log) = &self.spec.log else { return String::new() };
        let text = log::tail(log, self.log_from, LAST_WORDS_BYTES_MAX).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// The log's length now, and two descriptors of it.
fn log_pair(path: &Path) -> std::io::Result<(u64, File, File)> {
    let out = log::open(path)?;
    Ok((out.metadata()?.len(), out.try_clone()?, out))
}

fn watched(process: &Process) -> Result<OwnedFd> {
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    let pid = pid.context("the child has no pid")?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Between 50 % and 100 % of `backoff`, so that two children do not march in step.
fn jittered(backoff: u64) -> u64 {
    let half = backoff / 2;
    half + RandomState::new().hash_one(backoff) % (half + 1)
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    /// A child of `sh`, and the directory of its socket.
    fn stand_in(name: &'static str, script: &str) -> (Child, PathBuf) {
        let folder = std::env::temp_dir().join(format!("tandem-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("temporary directory");
        let spec = Spec {
            name,
            binary: PathBuf::from("/bin/sh"),
            args: vec!["-c".to_owned(), script.to_owned()],
            log: Some(folder.join("child.log")),
            notify: folder.join("notify.sock"),
            watchdog: 10 * S,
        };
        (Child::new(spec).expect("a socket"), folder)
    }

    fn wait_for_exit(child: &Child) {
        let pidfd = child.pidfd.as_ref().expect("runs");
        poll(&mut [PollFd::new(pidfd, PollFlags::IN)], None).expect("poll");
    }

    #[test]
    fn a_long_life_clears_the_back_off_even_if_its_end_was_announced() {
        let (mut child, folder) = stand_in("backoff", "echo so it ends; exit 3");
        child.backoff = BACKOFF_MAX;
        child.start(S).expect("starts");
        child.state = State::Stopping(S + STABLE);
        wait_for_exit(&child);
        let now = S + STABLE;
        assert_eq!(child.reap(now).and_then(|status| status.code()), Some(3));
        let State::Waiting(until) = child.state else { panic!("{:?}", child.state) };
        assert!(until <= now + BACKOFF_FIRST, "{until}");
        assert_eq!(child.last_words(5), "so it ends");
        std::fs::remove_dir_all(folder).expect("clean");
    }

    #[test]
    fn a_short_life_lets_the_back_off_grow_to_its_limit() {
        let (mut child, folder) = stand_in("grow", "exit 0");
        for _ in 0..10 {
            child.delay(0);
        }
        let State::Waiting(until) = child.state else { panic!("{:?}", child.state) };
        assert!((BACKOFF_MAX / 2..=BACKOFF_MAX).contains(&until), "{until}");
        std::fs::remove_dir_all(folder).expect("clean");
    }

    #[test]
    fn an_end_that_does_not_come_is_overdue() {
        let (mut child, folder) = stand_in("overdue", "exit 0");
        child.state = State::Stopping(S);
        assert_eq!(child.overdue(S + STOP_LIMIT), None);
        assert!(child.overdue(S + STOP_LIMIT + 1).is_some());
        std::fs::remove_dir_all(folder).expect("clean");
    }

    #[test]
    fn a_child_starts_where_its_log_cannot_be_opened() {
        let (mut child, folder) = stand_in("no-log", "exit 4");
        child.spec.log = Some(folder.join("none").join("child.log"));
        child.start(0).expect("starts all the same");
        wait_for_exit(&child);
        assert_eq!(child.reap(0).and_then(|status| status.code()), Some(4));
        std::fs::remove_dir_all(folder).expect("clean");
    }
}
