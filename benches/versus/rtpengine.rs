//! rtpengine in userspace (`--table=-1`), its calls set up by its ng protocol over UDP.

use std::net::{SocketAddr, UdpSocket};
use std::process::Stdio;
use std::time::Duration;

use benches::peer::{describe, media_of};

use crate::Failure;
use crate::bed::{Bed, PEER, PHONES, phone, prefer};
use crate::contender::{Contender, Process};

const NG_PORT: u16 = 2_223;

pub(crate) struct Rtpengine {
    process: Process,
    socket: UdpSocket,
    cookie: u64,
    before: u64,
    after: u64,
}

impl Rtpengine {
    #[expect(clippy::disallowed_methods, reason = "a client of its protocol has a socket")]
    pub(crate) fn start(bed: &Bed) -> Result<Self, Failure> {
        let log = std::fs::File::create(bed.scratch.join("rtpengine.log"))?;
        let child = bed
            .relay_command("rtpengine")
            .args(["--config-file=none", "--table=-1", "--foreground", "--log-stderr"])
            .args(["--log-level=3", "--num-threads=1", "--timeout=3600", "--silent-timeout=3600"])
            .args(["--port-min=20000", "--port-max=40000"])
            .arg(format!("--interface={PEER}"))
            .arg(format!("--listen-ng={PEER}:{NG_PORT}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("rtpengine (Debian: rtpengine-daemon): {error}"))?;
        let process = Process(child);
        let socket = UdpSocket::bind((PHONES, 0))?;
        socket.connect((PEER, NG_PORT))?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        let mut started = Self { process, socket, cookie: 0, before: 0, after: 0 };
        let mut tries = 0;
        while started.ask("d7:command4:pinge").is_err() {
            tries += 1;
            if tries == 20 {
                return Err("rtpengine does not answer on its ng port".into());
            }
            std::thread::park_timeout(Duration::from_millis(200));
        }
        prefer(started.process.0.id());
        started.before = started.process.resident();
        Ok(started)
    }

    /// One request, one answer; retransmitted under the same cookie.
    fn ask(&mut self, request: &str) -> Result<Vec<u8>, Failure> {
        self.cookie += 1;
        let message = format!("{} {request}", self.cookie);
        let cookie = format!("{} ", self.cookie);
        let mut bytes = [0; 8_192];
        for _ in 0..4 {
            self.socket.send(message.as_bytes())?;
            while let Ok(len) = self.socket.recv(&mut bytes) {
                if let Some(answer) = bytes[..len].strip_prefix(cookie.as_bytes()) {
                    return Ok(answer.to_vec());
                }
            }
        }
        Err("rtpengine does not answer".into())
    }

    /// Gives the media address in the description that comes back.
    fn negotiate(&mut self, call: usize, answer: bool, sdp: &str) -> Result<SocketAddr, Failure> {
        let command = if answer { "answer" } else { "offer" };
        let mut request = String::from("d");
        // Keys of a dictionary come in order.
        text(&mut request, "ICE");
        text(&mut request, "remove");
        text(&mut request, "call-id");
        text(&mut request, &format!("versus-{call}"));
        text(&mut request, "command");
        text(&mut request, command);
        text(&mut request, "from-tag");
        text(&mut request, &format!("caller-{call}"));
        text(&mut request, "replace");
        request.push('l');
        text(&mut request, "origin");
        text(&mut request, "session-connection");
        request.push('e');
        text(&mut request, "sdp");
        text(&mut request, sdp);
        if answer {
            text(&mut request, "to-tag");
            text(&mut request, &format!("callee-{call}"));
        }
        request.push('e');
        let said = self.ask(&request)?;
        let shown = || String::from_utf8_lossy(&said).into_owned();
        let start = said.windows(6).position(|window| window == b"3:sdp3" || window == b"3:sdp2");
        let start = start.ok_or_else(|| format!("rtpengine refused: {}", shown()))?;
        media_of(&said[start..]).ok_or_else(|| format!("rtpengine said: {}", shown()).into())
    }
}

impl Contender for Rtpengine {
    fn name(&self) -> &'static str {
        "rtpengine"
    }

    fn pid(&self) -> u32 {
        self.process.0.id()
    }

    fn set_up(&mut self, calls: usize, first: usize) -> Result<Vec<SocketAddr>, Failure> {
        let mut targets = Vec::with_capacity(calls * 2);
        for call in 0..calls {
            let leg = first + call * 2;
            // What the callee is told is where it sends, and the other way round.
            let callee = self.negotiate(call, false, &describe(phone(leg)))?;
            let caller = self.negotiate(call, true, &describe(phone(leg + 1)))?;
            targets.extend([caller, callee]);
        }
        self.after = self.process.resident();
        Ok(targets)
    }

    fn memory(&self) -> (u64, u64) {
        (self.after, self.after.saturating_sub(self.before))
    }
}

/// A string as bencode has it.
fn text(into: &mut String, value: &str) {
    into.push_str(&format!("{}:{value}", value.len()));
}
