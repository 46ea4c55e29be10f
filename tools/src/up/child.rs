//! One supervised process: its lives, its parked descriptors, its watchdog.
//!
//! ```text
//!   Waiting --back-off over--> Starting --READY--> Up --exit or watchdog--> Waiting
//! ```
//!
//! A child has its own process group and its own log file, so that neither the terminal's Ctrl-C
//! nor our own death reaches it: the switch outlives its supervisor.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::BuildHasher;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, ExitStatus, Stdio};

use anyhow::{Context, Result};
use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::notify::{FdStore, NotifySocket};
use crate::clock::{MS, S};

/// First descriptor that a child is handed (SD_LISTEN_FDS_START).
const FDS_START: i32 = 3;
const START_LIMIT: u64 = 60 * S;
const BACKOFF_FIRST: u64 = 50 * MS;
const BACKOFF_MAX: u64 = 5 * S;
/// A life this long clears the back-off.
const STABLE: u64 = 20 * S;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Not running; to be started at this moment.
    Waiting(u64),
    /// Running since, not ready yet.
    Starting(u64),
    Up(u64),
    /// Told to end at this moment.
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
            let out = open_log(log)?;
            self.log_from = out.metadata().map_or(0, |meta| meta.len());
            command.stdout(out.try_clone()?).stderr(out);
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
        let process = command
            .spawn()
            .with_context(|| format!("{} cannot be started", spec.binary.display()))?;
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        let pid = pid.context("the child has no pid")?;
        self.pidfd = Some(pidfd_open(pid, PidfdFlags::empty())?);
        self.process = Some(process);
        self.starts += 1;
        self.state = State::Starting(now);
        self.fed_at = now;
        self.status.clear();
        Ok(())
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
        let since = match self.state {
            State::Starting(at) | State::Up(at) => at,
            _ => now,
        };
        if now.saturating_sub(since) >= STABLE {
            self.backoff = BACKOFF_FIRST;
        }
        self.process = None;
        self.pidfd = None;
        self.state = State::Waiting(now + jittered(self.backoff));
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        Some(status)
    }

    /// Why the child has to be killed now, if it has.
    pub(crate) fn overdue(&self, now: u64) -> Option<String> {
        match self.state {
            State::Starting(since) if now.saturating_sub(since) > START_LIMIT => {
                Some(format!("not ready within {} s", START_LIMIT / S))
            }
            State::Up(_) if now.saturating_sub(self.fed_at) > self.spec.watchdog => {
                let silent = now.saturating_sub(self.fed_at) / MS;
                Some(format!("its watchdog was not fed for {silent} ms"))
            }
            _ => None,
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
        let text = std::fs::read(log).unwrap_or_default();
        let from =
            usize::try_from(self.log_from).unwrap_or(0).max(text.len().saturating_sub(16_384));
        let text = String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

fn open_log(path: &Path) -> Result<File> {
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("{} cannot be written", path.display()))
}

/// Between 50 % and 100 % of `backoff`, so that two children do not march in step.
fn jittered(backoff: u64) -> u64 {
    let half = backoff / 2;
    half + RandomState::new().hash_one(backoff) % (half + 1)
}
