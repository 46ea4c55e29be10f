//! What goes over loopback during a test, as tshark reads it: a message that it cannot read is a
//! fault of ours, whatever our own parser makes of it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::{Bed, Peer, eventually, pass, require};

/// A running capture of a bed's own ports, without its media.
#[derive(Debug)]
pub struct Capture {
    running: Option<(Peer, PathBuf)>,
    port: u16,
}

/// Fields of what is listed: enough to find the message, and what tshark says of it.
const FIELDS: [&str; 6] = [
    "frame.number",
    "udp.srcport",
    "tcp.srcport",
    "sip.Request-Line",
    "sip.Status-Line",
    "_ws.expert",
];

impl Capture {
    /// Captures from now on; says aloud, and captures nothing, where that cannot be done.
    ///
    /// # Panics
    /// If it does not begin, with rights and programs there.
    #[must_use]
    pub fn start(bed: &Bed) -> Self {
        let port = bed.sip.port();
        if !require("dumpcap") || !require("tshark") {
            return Self { running: None, port };
        }
        let file = bed.folder().join("capture.pcapng");
        let [first, last] = bed.ports.signalling();
        let mut command = Command::new("dumpcap");
        command.args(["-q", "-i", "lo", "-f", &format!("portrange {first}-{last}"), "-w"]);
        let mut peer = Peer::start("dumpcap", command.arg(&file), bed.folder());
        let begun = eventually("dumpcap captures", Duration::from_secs(10), || {
            let has_begun = peer.said().contains("File: ");
            (has_begun || !peer.is_running()).then_some(has_begun)
        });
        if !begun {
            println!("SKIPPED: dumpcap may not capture here: {}", peer.said());
            return Self { running: None, port };
        }
        Self { running: Some((peer, file)), port }
    }

    /// Ends it, and judges all it has.
    ///
    /// # Panics
    /// If a message is malformed or against the rules that tshark knows, or there is none.
    #[track_caller]
    pub fn judge(self) {
        let Some((mut peer, file)) = self.running else { return };
        // What the kernel still has for it.
        pass(Duration::from_millis(300));
        super::switch::send(peer.id(), Signal::INT);
        let _ = peer.wait(Duration::from_secs(10));
        let read = |filter: &str| {
            let mut command = Command::new("tshark");
            command.arg("-n").arg("-r").arg(&file).args(["-Y", filter, "-T", "fields"]);
            for field in FIELDS {
                command.args(["-e", field]);
            }
            for transport in ["udp", "tcp"] {
                command.arg("-d").arg(format!("{transport}.port=={},sip", self.port));
            }
            let output = command.output().expect("tshark runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let messages = read("sip").lines().count();
        assert!(messages > 1, "there is SIP in {}", file.display());
        let bad = read("_ws.malformed || (sip && _ws.expert.severity == \"Error\")");
        assert!(bad.is_empty(), "tshark finds faults in {messages} messages:\n{bad}");
        println!("tshark has read {messages} messages");
    }
}
