//! The loop of `tandem up`: keeps both children alive, and ends them in order.
//!
//! As long as it runs it only ever helps: a child that cannot be started now, a file that cannot
//! be written, a terminal that is gone are said and tried again, and never end the other child.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, bail};
use config::Config;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::Signal;

use super::child::{Child, STOP_LIMIT, Spec, State};
use super::endpoints::{Endpoints, FILE, FirstAccount, Pids};
use super::preflight::shards;
use super::{Args, log, timespec};
use crate::clock::{MS, S, mono};

/// Lives that a child may have without ever getting ready, before we say that it cannot work.
const FRUITLESS_STARTS_MAX: u32 = 3;
/// Longest wait for an event.
const LOOK: u64 = 500 * MS;
const LOGS_EVERY: u64 = 5 * S;
const PUBLISH_AGAIN_FIRST: u64 = 500 * MS;
const PUBLISH_AGAIN_MAX: u64 = 30 * S;
/// How long a stop waits for a controlplane that is not up.
const READER_LIMIT: u64 = 10 * S;
/// How long the controlplane goes on after the dataplane's end.
const READ_ON: u64 = 300 * MS;

/// Places in `Supervisor::children`.
const DATAPLANE: usize = 0;
const CONTROLPLANE: usize = 1;

#[derive(Debug)]
pub(super) struct Supervisor {
    config: Config,
    /// Dataplane, then controlplane.
    children: [Child; 2],
    endpoints: Endpoints,
    announced: bool,
    /// When to try again to write `endpoints.json`, and how long to wait after that.
    publish: Option<(u64, u64)>,
    /// Signals to stop that have come.
    asked: usize,
    logs_seen_at: u64,
    _lock: File,
}

impl Supervisor {
    pub(super) fn new(args: &Args, config: Config, file: &Path, lock: File) -> Result<Self> {
        let own = std::env::current_exe().context("this program's own path")?;
        let beside = own.parent().map(Path::to_path_buf).unwrap_or_default();
        let bin_dir = args.bin_dir.clone().unwrap_or(beside);
        let logs = config.node.data_dir.join("log");
        log::directory(&logs).with_context(|| format!("{} cannot be made", logs.display()))?;
        let child = |name: &'static str| -> Result<Child> {
            let binary = bin_dir.join(format!("tandem-{name}"));
            if !binary.exists() {
                bail!(
                    "{} is not there: build it (`cargo build --release`), or say where it is with \
                     --bin-dir",
                    binary.display()
                );
            }
            Child::new(Spec {
                name,
                binary,
                args: vec!["--config".to_owned(), file.display().to_string()],
                log: (!args.log_here).then(|| logs.join(format!("{name}.log"))),
                notify: config.node.runtime_dir.join(format!("notify-{name}.sock")),
                watchdog: args.watchdog,
            })
        };
        let children = [child("dataplane")?, child("controlplane")?];
        let sip = config.dataplane.listener.first().context("no SIP listener")?;
        let endpoints = Endpoints {
            sip_address: sip.advertised.unwrap_or(sip.bind).to_string(),
            api_base: match config.controlplane.public_url.as_str() {
                "" => format!("http://{}", config.controlplane.http),
                url => url.trim_end_matches('/').to_owned(),
            },
            ..Endpoints::default()
        };
        Ok(Self::of(config, children, endpoints, lock))
    }

    const fn of(config: Config, children: [Child; 2], endpoints: Endpoints, lock: File) -> Self {
        Self {
            config,
            children,
            endpoints,
            announced: false,
            publish: None,
            asked: 0,
            logs_seen_at: 0,
            _lock: lock,
        }
    }

    /// Until a signal, or until a child turns out to be unable to work.
    pub(super) fn run(&mut self, signals: &UnixStream) -> Result<()> {
        loop {
            let now = mono();
            for at in 0..self.children.len() {
                self.attend(at, now)?;
            }
            if self.all_up() && !self.announced {
                self.announce();
            }
            self.keep_house(now);
            self.wait(signals, LOOK);
            if self.asked > 0 {
                return Ok(());
            }
        }
    }

    /// What is due now and then: a write that failed, logs that have grown.
    fn keep_house(&mut self, now: u64) {
        if self.publish.is_some_and(|(at, _)| now >= at) {
            self.publish(now);
        }
        if now.saturating_sub(self.logs_seen_at) >= LOGS_EVERY {
            self.logs_seen_at = now;
            for child in &mut self.children {
                child.trim_log();
            }
        }
    }

    fn all_up(&self) -> bool {
        self.children.iter().all(|child| matches!(child.state, State::Up(_)))
    }

    /// Hears, reaps, starts and watches one child. An error only while it has never been ready:
    /// what happens to one child later must not cost the other its calls.
    fn attend(&mut self, at: usize, now: u64) -> Result<()> {
        let child = &mut self.children[at];
        let name = child.spec.name;
        if child.hear(now) && child.starts > 1 {
            say!("{name} is back (pid {})", child.pid().unwrap_or(0));
        }
        if let Some(status) = child.reap(now) {
            child.say_end(status);
            if !child.was_ready && child.starts >= FRUITLESS_STARTS_MAX {
                bail!(
                    "{name} does not start: it ended {FRUITLESS_STARTS_MAX} times before it was \
                     ready"
                );
            }
            self.publish(now);
        }
        let child = &mut self.children[at];
        if let State::Waiting(until) = child.state
            && now >= until
        {
            match child.start(now) {
                Ok(()) if child.starts > 1 => say!(
                    "{name} started again (pid {}) with {} parked descriptors",
                    child.pid().unwrap_or(0),
                    child.store.len()
                ),
                Ok(()) => {}
                Err(error) if !child.was_ready => return Err(error),
                Err(error) => {
                    say!("{name} cannot be started now: {error:#}");
                    child.delay(now);
                }
            }
            self.publish(now);
        }
        let child = &self.children[at];
        if let Some(reason) = child.overdue(now) {
            say!("{name} is ended: {reason}");
            child.signal(Signal::KILL);
        }
        Ok(())
    }

    /// Waits for anything to happen, `limit` nanoseconds at most, and counts signals to stop.
    fn wait(&mut self, mut signals: &UnixStream, limit: u64) {
        let timeout = timespec(self.next_look().min(limit));
        let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
        for child in &self.children {
            fds.push(PollFd::new(&child.notify.socket, PollFlags::IN));
            if let Some(pidfd) = &child.pidfd {
                fds.push(PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN));
            }
        }
        if let Err(error) = poll(&mut fds, Some(&timeout))
            && error != Errno::INTR
        {
            say!("poll: {error}");
            // Short of memory; with one descriptor it needs none.
            let _ = poll(&mut fds[..1], Some(&timeout));
        }
        // A byte for each signal.
        let mut bytes = [0; 16];
        while let Ok(count @ 1..) = signals.read(&mut bytes) {
            self.asked += count;
        }
    }

    fn next_look(&self) -> u64 {
        let now = mono();
        let until = |child: &Child| match child.state {
            State::Waiting(until) => until.saturating_sub(now),
            _ => LOOK,
        };
        self.children.iter().map(until).min().unwrap_or(MS).clamp(MS, LOOK)
    }

    /// Writes `endpoints.json` as it is now; if that fails (a full disk), again after a while.
    fn publish(&mut self, now: u64) {
        self.endpoints.pids = Pids {
            supervisor: std::process::id(),
            dataplane: self.children[0].pid().unwrap_or(0),
            controlplane: self.children[1].pid().unwrap_or(0),
        };
        if self.endpoints.account_sid.is_empty() {
            let path = self.config.node.runtime_dir.join("first-account.json");
            let known = std::fs::read_to_string(path).ok();
            if let Some(first) = known.and_then(|t| serde_json::from_str::<FirstAccount>(&t).ok()) {
                self.endpoints.account_sid = first.account_sid;
                self.endpoints.auth_token = first.auth_token;
            }
        }
        let wait = self.publish.map_or(PUBLISH_AGAIN_FIRST, |(_, wait)| wait);
        self.publish = match self.endpoints.write(&self.config.node.data_dir) {
            Ok(()) => None,
            Err(error) => {
                say!("{error:#}; tried again in {} ms", wait / MS);
                Some((now + wait, (wait * 2).min(PUBLISH_AGAIN_MAX)))
            }
        };
    }

    fn announce(&mut self) {
        self.announced = true;
        self.publish(mono());
        if let Err(error) = self.tell() {
            // Whoever read us is gone; the switch is up all the same.
            say!("the announcement could not be written: {error}");
        }
    }

    fn tell(&self) -> io::Result<()> {
        let config = &self.config;
        let mut out = io::stdout().lock();
        writeln!(out, "The switch is up.")?;
        for child in &self.children {
            let pid = child.pid().unwrap_or(0);
            writeln!(out, "  {:<13} pid {pid} {}", child.spec.name, child.status)?;
        }
        if let Some(media) = config.dataplane.media.first() {
            let [first, last] = media.ports;
            writeln!(out, "  shards        {}", shards(config))?;
            writeln!(out, "  media ports   {first}-{last} on {}", media.bind)?;
        }
        writeln!(out, "  data          {}", config.node.data_dir.display())?;
        if self.endpoints.account_sid.is_empty() {
            writeln!(out, "  no account yet (node.first_account is empty)")?;
        } else {
            writeln!(out, "  AccountSid    {}", self.endpoints.account_sid)?;
            writeln!(out, "  AuthToken     {}", self.endpoints.auth_token)?;
        }
        writeln!(out, "  API           {}", self.endpoints.api_base)?;
        writeln!(out, "  SIP           sip:{}", self.endpoints.sip_address)?;
        out.flush()
    }

    /// Dataplane first: it ends its calls, and the controlplane, which must run for that, still
    /// books them. A second signal cuts the dataplane's end short, one more the controlplane's.
    pub(super) fn stop(&mut self, signals: &UnixStream) {
        say!("stopping (again to stop at once)");
        let mut heeded = self.asked.min(1);
        self.bring_back_the_reader(signals, heeded);
        let was_running = self.children[DATAPLANE].pid().is_some();
        self.end(DATAPLANE, signals, heeded);
        if was_running && self.asked <= heeded {
            // It reads the ends that came last, and sees that the link is closed.
            self.read_on(signals, heeded, READ_ON, |_| false);
        }
        heeded = heeded.max(self.asked);
        self.end(CONTROLPLANE, signals, heeded);
        let _ = std::fs::remove_file(self.config.node.data_dir.join(FILE));
        for child in &self.children {
            let _ = std::fs::remove_file(&child.spec.notify);
        }
    }

    /// Without a controlplane the calls that end now would be booked by nobody: the regions in
    /// which they are written down go with us.
    fn bring_back_the_reader(&mut self, signals: &UnixStream, heeded: usize) {
        // Its death may have come together with the signal.
        self.attend_reader(mono());
        let reader = &self.children[CONTROLPLANE];
        // One that was never ready has no calls to book.
        if matches!(reader.state, State::Up(_)) || !reader.was_ready {
            return;
        }
        if self.children[DATAPLANE].pid().is_none() {
            return;
        }
        say!("the controlplane is not up: it comes first, to book the calls that end");
        let reader = &mut self.children[CONTROLPLANE];
        if let State::Waiting(until) = &mut reader.state {
            *until = 0;
        }
        let done = |up: &Self| matches!(up.children[CONTROLPLANE].state, State::Up(_));
        if !self.read_on(signals, heeded, READER_LIMIT, done) {
            say!(
                "the controlplane is not back: what it has not read of the calls that end now is \
                 lost (dataplane: {})",
                self.children[DATAPLANE].status
            );
        }
    }

    /// Keeps the controlplane alive until `done` (true), the limit, or another signal (false).
    fn read_on(
        &mut self,
        signals: &UnixStream,
        heeded: usize,
        limit: u64,
        done: impl Fn(&Self) -> bool,
    ) -> bool {
        let from = mono();
        loop {
            let now = mono();
            self.attend_reader(now);
            let dataplane = &mut self.children[DATAPLANE];
            dataplane.hear(now);
            dataplane.reap_stopped(now);
            if done(self) {
                return true;
            }
            let left = limit.saturating_sub(now.saturating_sub(from));
            if left == 0 || self.asked > heeded {
                return false;
            }
            self.wait(signals, left);
        }
    }

    /// A controlplane that dies while it is needed is started again, as ever.
    fn attend_reader(&mut self, now: u64) {
        if let Err(error) = self.attend(CONTROLPLANE, now) {
            say!("{error:#}");
            self.children[CONTROLPLANE].delay(now);
        }
    }

    /// Ends one child: SIGTERM, and SIGKILL after the limit or at a signal that is not `heeded`.
    fn end(&mut self, at: usize, signals: &UnixStream, heeded: usize) {
        self.children[at].signal(Signal::TERM);
        let from = mono();
        let mut killed = false;
        while self.children[at].pid().is_some() {
            let now = mono();
            if !killed && (self.asked > heeded || now.saturating_sub(from) > STOP_LIMIT) {
                killed = true;
                say!("{} does not end: killed", self.children[at].spec.name);
                self.children[at].signal(Signal::KILL);
            }
            self.wait(signals, LOOK);
            let now = mono();
            if at == DATAPLANE {
                self.attend_reader(now);
            }
            self.children[at].hear(now);
            self.children[at].reap_stopped(now);
        }
        self.children[at].state = State::Gone;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::path::PathBuf;

    use super::*;

    /// Says that it is there, and at SIGTERM writes its name down and ends.
    const STAND_IN: &str = "trap 'echo NAME ends >> FOLDER/order; kill $!; exit 0' TERM; sleep 600 & \
                            echo NAME starts >> FOLDER/order; echo > FOLDER/NAME.there; wait";

    struct Bed {
        folder: PathBuf,
        up: Supervisor,
        signals: [UnixStream; 2],
    }

    impl Bed {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("tandem-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&folder);
            std::fs::create_dir_all(&folder).expect("temporary directory");
            let child = |name: &'static str| {
                let script = STAND_IN.replace("NAME", name);
                let script = script.replace("FOLDER", &folder.display().to_string());
                let there = folder.join(format!("{name}.there"));
                let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
                let kind = rustix::fs::FileType::Fifo;
                rustix::fs::mknodat(rustix::fs::CWD, &there, kind, mode, 0).expect("fifo");
                Child::new(Spec {
                    name,
                    binary: PathBuf::from("/bin/sh"),
                    args: vec!["-c".to_owned(), script],
                    log: None,
                    notify: folder.join(format!("{name}.sock")),
                    watchdog: 600 * S,
                })
                .expect("a socket")
            };
            let children = [child("dataplane"), child("controlplane")];
            let mut config = Config::default();
            config.node.data_dir.clone_from(&folder);
            config.node.runtime_dir.clone_from(&folder);
            let lock = File::create(folder.join("lock")).expect("lock");
            let up = Supervisor::of(config, children, Endpoints::default(), lock);
            let (ours, theirs) = UnixStream::pair().expect("a pair");
            ours.set_nonblocking(true).expect("mode");
            Self { folder, up, signals: [ours, theirs] }
        }

        /// Waits until the stand-in is there, and says READY for it.
        fn ready(folder: &Path, name: &str) {
            std::fs::read(folder.join(format!("{name}.there"))).expect("it is there");
            let socket = UnixDatagram::unbound().expect("a socket");
            socket.send_to(b"READY=1", folder.join(format!("{name}.sock"))).expect("told");
        }

        fn begin(&mut self, at: usize) {
            self.up.attend(at, mono()).expect("starts");
            Self::ready(&self.folder, self.up.children[at].spec.name);
            self.up.attend(at, mono()).expect("hears");
            assert!(matches!(self.up.children[at].state, State::Up(_)));
        }

        fn order(&self) -> String {
            std::fs::read_to_string(self.folder.join("order")).unwrap_or_default()
        }
    }

    impl Drop for Bed {
        fn drop(&mut self) {
            for child in &self.up.children {
                child.signal(Signal::TERM);
            }
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    #[test]
    fn a_stop_brings_the_controlplane_back_before_the_calls_end() {
        let mut bed = Bed::new("reader");
        bed.begin(DATAPLANE);
        let reader = &mut bed.up.children[CONTROLPLANE];
        reader.was_ready = true;
        reader.state = State::Waiting(u64::MAX);
        let folder = bed.folder.clone();
        let teller = std::thread::spawn(move || Bed::ready(&folder, "controlplane"));
        bed.up.stop(&bed.signals[0]);
        teller.join().expect("told");
        assert_eq!(
            bed.order(),
            "dataplane starts\ncontrolplane starts\ndataplane ends\ncontrolplane ends\n"
        );
        assert!(bed.up.children.iter().all(|child| child.pid().is_none()));
    }

    #[test]
    fn a_controlplane_that_was_never_ready_is_not_waited_for() {
        let mut bed = Bed::new("never");
        bed.begin(DATAPLANE);
        bed.up.children[CONTROLPLANE].state = State::Waiting(u64::MAX);
        bed.up.stop(&bed.signals[0]);
        assert_eq!(bed.order(), "dataplane starts\ndataplane ends\n");
    }

    #[test]
    fn a_child_that_cannot_start_again_leaves_the_other_alone() {
        let mut bed = Bed::new("absent");
        bed.begin(DATAPLANE);
        let reader = &mut bed.up.children[CONTROLPLANE];
        reader.spec.binary = bed.folder.join("not-there");
        reader.was_ready = true;
        let now = mono();
        bed.up.attend(CONTROLPLANE, now).expect("only said");
        let State::Waiting(first) = bed.up.children[CONTROLPLANE].state else { panic!("waits") };
        assert!(first > now);
        bed.up.attend(CONTROLPLANE, first).expect("only said");
        let State::Waiting(then) = bed.up.children[CONTROLPLANE].state else { panic!("waits") };
        assert!(then > first);
        assert!(matches!(bed.up.children[DATAPLANE].state, State::Up(_)));
        // At the first start the same is a reason not to go on.
        bed.up.children[CONTROLPLANE].was_ready = false;
        assert!(bed.up.attend(CONTROLPLANE, then).is_err());
    }

    #[test]
    fn endpoints_that_cannot_be_written_are_tried_again() {
        let mut bed = Bed::new("publish");
        let missing = bed.folder.join("missing");
        bed.up.config.node.data_dir.clone_from(&missing);
        bed.up.publish(S);
        assert_eq!(bed.up.publish, Some((S + PUBLISH_AGAIN_FIRST, 2 * PUBLISH_AGAIN_FIRST)));
        bed.up.keep_house(S + 1);
        assert!(bed.up.publish.is_some_and(|(at, _)| at == S + PUBLISH_AGAIN_FIRST), "not yet");
        std::fs::create_dir(&missing).expect("space again");
        bed.up.keep_house(2 * S);
        assert_eq!(bed.up.publish, None);
        assert!(missing.join(FILE).exists());
    }

    #[test]
    fn two_quick_signals_are_two() {
        let mut bed = Bed::new("twice");
        (&bed.signals[1]).write_all(b"XX").expect("signals");
        bed.up.wait(&bed.signals[0], S);
        assert_eq!(bed.up.asked, 2);
    }
}
