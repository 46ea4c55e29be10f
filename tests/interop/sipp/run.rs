//! Running SIPp.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tests::bed::{Bed, Peer, eventually};

use super::{Flow, LIMIT};

/// A running SIPp with one scenario.
pub(crate) struct Sipp {
    peer: Peer,
    messages: PathBuf,
    name: String,
}

/// How a SIPp is run.
pub(crate) struct Plan<'a> {
    /// The scenario, as SIPp reads it.
    text: String,
    /// What `__NAME__` in the scenario stands for.
    replace: Vec<(&'a str, String)>,
    arguments: Vec<String>,
    /// How long it may run.
    limit: &'static str,
}

impl<'a> Plan<'a> {
    /// That of this file in `scenario/`, without `.xml`.
    pub(crate) fn new(scenario: &str) -> Self {
        let scenarios = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/sipp/scenario/");
        let path = format!("{scenarios}{scenario}.xml");
        Self::of_text(std::fs::read_to_string(path).expect("the scenario"))
    }

    /// One of steps.
    pub(crate) fn of(flow: &Flow) -> Self {
        Self::of_text(flow.text())
    }

    fn of_text(text: String) -> Self {
        let replace = vec![("__RING__", "200".to_owned()), ("__LINGER__", "200".to_owned())];
        Self { text, replace, arguments: Vec::new(), limit: "35s" }
    }

    /// Puts `value` for `name`.
    pub(crate) fn with(mut self, name: &'a str, value: impl ToString) -> Self {
        self.replace.insert(0, (name, value.to_string()));
        self
    }

    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Talk time of whoever hangs up.
    pub(crate) fn talk(self, time: Duration) -> Self {
        self.arguments(&["-d", &time.as_millis().to_string()])
    }

    /// Calls `user` at the switch; its SDP names `media`.
    pub(crate) fn call(self, bed: &mut Bed, user: &str, media: SocketAddr) -> Sipp {
        let at = bed.ports.address();
        let target = bed.sip.to_string();
        self.arguments(&["-s", user, &target]).start(bed, "caller", at, media)
    }

    /// Calls `user` through `proxy`, which leads to the switch.
    pub(crate) fn call_through(
        self,
        bed: &mut Bed,
        proxy: SocketAddr,
        user: &str,
        media: SocketAddr,
    ) -> Sipp {
        let at = bed.ports.address();
        self.arguments(&["-s", user, &proxy.to_string()]).start(bed, "caller", at, media)
    }

    /// Calls beside a caller.
    pub(crate) fn call_beside(self, bed: &mut Bed, user: &str, media: SocketAddr) -> Sipp {
        let at = bed.ports.address();
        let target = bed.sip.to_string();
        self.arguments(&["-s", user, &target]).start(bed, "other", at, media)
    }

    /// Answers at `at`; its SDP names `media`.
    pub(crate) fn answer(self, bed: &Bed, at: SocketAddr, media: SocketAddr) -> Sipp {
        self.start(bed, "callee", at, media)
    }

    /// Answers there beside a callee.
    pub(crate) fn answer_beside(self, bed: &Bed, at: SocketAddr, media: SocketAddr) -> Sipp {
        self.start(bed, "target", at, media)
    }

    /// For calls that stand for more than half a minute.
    pub(crate) fn long(mut self) -> Self {
        self.limit = "120s";
        self
    }

    /// Calls or answers under a name of its own.
    pub(crate) fn start_as(self, bed: &Bed, name: &str, at: SocketAddr, media: SocketAddr) -> Sipp {
        self.start(bed, name, at, media)
    }

    fn start(self, bed: &Bed, name: &str, at: SocketAddr, media: SocketAddr) -> Sipp {
        let folder = bed.folder();
        let mut text = self.text;
        for (name, value) in &self.replace {
            text = text.replace(name, value);
        }
        let scenario = folder.join(format!("{name}.xml"));
        std::fs::write(&scenario, text).expect("it is written");
        let messages = folder.join(format!("{name}.messages"));
        let mut command = Command::new("sipp");
        command
            .current_dir(folder)
            .arg("-sf")
            .arg(scenario)
            .args(["-i", &at.ip().to_string(), "-p", &at.port().to_string()])
            .args(["-m", "1", "-nostdin", "-timeout", self.limit, "-timeout_error"])
            .args(["-key", "rtp_port", &media.port().to_string()])
            .args(["-trace_msg", "-message_file"])
            .arg(&messages)
            .args(["-trace_err", "-error_file"])
            .arg(folder.join(format!("{name}.errors")))
            .args(&self.arguments);
        let peer = Peer::start(name, &mut command, folder);
        let mut sipp = Sipp { peer, messages, name: name.to_owned() };
        if name.contains("callee") || name == "target" {
            sipp.wait_for_socket(at);
        }
        sipp
    }
}

impl Sipp {
    /// The callee must be there before the call is.
    fn wait_for_socket(&mut self, at: SocketAddr) {
        let mark = format!(":{:04X} ", at.port());
        eventually("SIPp listens", Duration::from_secs(10), || {
            assert!(self.peer.is_running(), "SIPp ended: {}", self.peer.said());
            let sockets = |of: &str| std::fs::read_to_string(of).unwrap_or_default();
            let all = sockets("/proc/net/udp") + &sockets("/proc/net/tcp");
            all.contains(&mark).then_some(())
        });
    }

    /// The scenario was played to its end.
    #[track_caller]
    pub(crate) fn finish(self) {
        let _ = self.played();
    }

    /// The same, and what it received stays.
    #[track_caller]
    pub(crate) fn played(self) -> Self {
        self.played_within(LIMIT)
    }

    #[track_caller]
    pub(crate) fn finish_within(self, limit: Duration) {
        let _ = self.played_within(limit);
    }

    #[track_caller]
    fn played_within(mut self, limit: Duration) -> Self {
        let status = self.peer.wait(limit);
        if !status.success() {
            println!("--- SIPp says\n{}", self.peer.said());
        }
        assert!(status.success(), "the {} did not come to the scenario's end: {status}", self.name);
        self
    }

    fn text(&self) -> String {
        let bytes = std::fs::read(&self.messages).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Messages that SIPp received.
    pub(crate) fn received(&self) -> Vec<String> {
        let text = self.text();
        let entries = text.split("-----------------------------------------------");
        let received = entries
            .filter(|entry| entry.lines().take(3).any(|line| line.contains("message received")));
        received.map(str::to_owned).collect()
    }

    /// Received requests with this method, retransmissions included.
    pub(crate) fn count(&self, method: &str) -> usize {
        let first = format!("{method} sip:");
        let is = |entry: &&String| entry.lines().any(|line| line.starts_with(&first));
        self.received().iter().filter(is).count()
    }

    /// Where the switch wants media: of the last SDP received.
    #[track_caller]
    pub(crate) fn media(&self) -> SocketAddr {
        eventually("the switch's SDP", Duration::from_secs(20), || {
            self.received().iter().rev().find_map(|message| {
                let line = |start: &str| message.lines().find_map(|l| l.strip_prefix(start));
                let address = line("c=IN IP4 ")?.trim().parse().ok()?;
                let port = line("m=audio ")?.split(' ').next()?.parse().ok()?;
                Some(SocketAddr::new(address, port))
            })
        })
    }
}

/// What it sent and received is printed when the test fails.
impl Drop for Sipp {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- messages of {}\n{}", self.name, self.text());
        }
    }
}
