//! Faults of the switch that are planted on purpose, in what it sends: whoever looks for faults
//! must find them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use base::Mono;

use crate::network::{Datagram, is_sip};
use crate::plane::HOSTS;

/// Which fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// What one leg heard before it ended is heard by another one.
    Bleeds,
    /// The direction of an early description is that of the answer, too.
    KeepsEarlyDirection,
    /// Strangers are answered twice.
    Amplifies,
}

/// Plants it.
#[derive(Debug)]
pub struct Planter {
    plant: Plant,
    /// What was last sent to whom, and when.
    last: BTreeMap<SocketAddr, (Mono, Vec<u8>)>,
    replaced: u32,
    /// Conversations with early media one way.
    one_way: BTreeSet<String>,
}

const ENDED: Duration = Duration::from_secs(3);
const PACKETS: u32 = 20;

impl Planter {
    #[must_use]
    pub fn new(plant: Plant) -> Self {
        Self { plant, last: BTreeMap::new(), replaced: 0, one_way: BTreeSet::new() }
    }

    /// How often a stranger gets what is sent to it.
    #[must_use]
    pub fn times(&self) -> usize {
        if self.plant == Plant::Amplifies { 2 } else { 1 }
    }

    /// A datagram on its way, from anybody.
    pub fn touch(&mut self, now: Mono, datagram: &mut Datagram) {
        let ours = HOSTS.contains(&datagram.from.ip());
        match (self.plant, is_sip(&datagram.bytes)) {
            (Plant::Bleeds, false) if ours => self.bleed(now, datagram),
            (Plant::KeepsEarlyDirection, true) => self.keep_direction(datagram, ours),
            _ => {}
        }
    }

    fn bleed(&mut self, now: Mono, datagram: &mut Datagram) {
        if rtp::classify(&datagram.bytes) != rtp::PacketKind::Rtp || datagram.bytes.len() != 172 {
            return;
        }
        let pt = datagram.bytes[1] & 0x7f;
        let ended = self.last.iter().find(|(to, (at, bytes))| {
            **to != datagram.to && now.since(*at) > ENDED && bytes[1] & 0x7f == pt
        });
        if let Some((_, (_, old))) = ended.filter(|_| self.replaced < PACKETS) {
            datagram.bytes[12..].copy_from_slice(&old[12..]);
            self.replaced += 1;
        } else {
            self.last.insert(datagram.to, (now, datagram.bytes.clone()));
        }
    }

    fn keep_direction(&mut self, datagram: &mut Datagram, ours: bool) {
        let text = String::from_utf8_lossy(&datagram.bytes).into_owned();
        if !ours && text.starts_with("SIP/2.0 183") && text.contains("a=sendonly") {
            self.one_way.extend(user(&text, "To:"));
        }
        let answer = ours && text.starts_with("SIP/2.0 200") && text.contains("INVITE\r\n");
        if answer && user(&text, "From:").is_some_and(|user| self.one_way.contains(&user)) {
            datagram.bytes = text.replace("a=sendrecv", "a=sendonly").into_bytes();
        }
    }
}

/// The number of a conversation in `sip:g7@` or `sip:c7@` of a header.
fn user(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    let user = line.split_once("sip:")?.1.split_once('@')?.0;
    Some(user.get(1..)?.to_owned())
}
