//! Strangers in the world: they flood the switch with each kind of message, from one address, from
//! many, and from addresses forged to be those of honest phones, and say RTP to ports that are open
//! for others, in the midst of honest calls. What the switch sends to them is counted when it is
//! sent, whatever the weather.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use agent::stranger::{Aim, Kind, Tally};
use base::{Mono, Prng};
use sip::Message;

use crate::network::{Datagram, is_sip};
use crate::plane::{Plane, listener};
use crate::world::DAWN;

/// Messages of one kind before the next kind's turn.
const FLOOD: u32 = 25;
/// Messages that come at once.
const BURST: u32 = 5;
/// Addresses that the many have.
const MANY: u64 = 50;
/// The port that they write into a forged address; no phone has it.
const FORGED: u16 = 5_067;
/// Tags of the switch's that are remembered.
const TAGS_MAX: usize = 8;
/// An answer may be so many times as large as its request (GOALS.md S4).
const ANSWER_RATIO_MAX: f64 = 1.5;
/// What a source may get beyond what it sent over ten seconds, bytes, from three shards: a first
/// answer comes before there is a sum to judge, and what was sent before may be spent.
const EXCESS_MAX: u64 = 3 * (1_024 + 128);

/// Where a flood comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    One,
    Many,
    Forged,
}

/// All of them.
#[derive(Debug)]
pub struct Strangers {
    aim: Aim,
    random: Prng,
    next: Mono,
    every: Duration,
    until: Mono,
    tally: Tally,
    floods: Vec<(Kind, From)>,
    /// Messages of the flood that is under way.
    said: u32,
    tag: usize,
    /// Media addresses that the switch has just described to somebody.
    fresh: Vec<SocketAddr>,
    text: String,
}

impl Strangers {
    /// From `from` to `until`, one message after `every`.
    #[must_use]
    pub fn new(
        seed: u64,
        (from, until): (Mono, Mono),
        every: Duration,
        known: Vec<String>,
    ) -> Self {
        let aim = Aim { switch: listener(), known, old_tags: Vec::new() };
        Self {
            aim,
            random: Prng::new(seed ^ 0x7374_7261),
            next: from,
            every,
            until,
            tally: Tally::new(usize::try_from(MANY).unwrap_or(0) + 1),
            floods: Vec::new(),
            said: 0,
            tag: 0,
            fresh: Vec::new(),
            text: String::new(),
        }
    }

    #[must_use]
    pub fn deadline(&self) -> Mono {
        if self.is_done() { Mono::NEVER } else { self.next }
    }

    /// How long they are there.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        self.until.since(DAWN.mono).as_secs()
    }

    /// They have gone.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.next >= self.until
    }

    /// What they send now; `honest` are hosts of phones.
    pub fn send(
        &mut self,
        now: Mono,
        (plane, honest): (&Plane, &[IpAddr]),
        out: &mut Vec<Datagram>,
    ) {
        while self.next <= now && !self.is_done() {
            self.next = self.next + self.every * BURST;
            for _ in 0..BURST {
                self.send_one(now, (plane, honest), out);
            }
        }
    }

    fn send_one(
        &mut self,
        now: Mono,
        (plane, honest): (&Plane, &[IpAddr]),
        out: &mut Vec<Datagram>,
    ) {
        if self.floods.is_empty() || self.said >= FLOOD {
            self.turn();
        }
        self.said += 1;
        let Some((kind, whence)) = self.floods.last().copied() else { return };
        let source = if whence == From::One { 0 } else { 1 + self.random.below(MANY) };
        let from = match whence {
            From::Forged => self.forge(honest),
            _ => address(source),
        };
        let serial = self.tally.serial();
        self.aim.write(kind, serial, from, &mut self.text);
        let at = index(from.ip()).unwrap_or(usize::MAX);
        self.tally.sent(at, self.text.len(), millis(now));
        let bytes = self.text.as_bytes().to_vec();
        out.push(Datagram { from, to: self.aim.switch, bytes });
        if !self.fresh.is_empty() || self.random.chance(1, 10) {
            self.speak(source, plane, out);
        }
    }

    /// The next flood.
    fn turn(&mut self) {
        let kinds = Kind::ALL.len() as u64;
        let kind = Kind::ALL[usize::try_from(self.random.below(kinds)).unwrap_or(0)];
        // An INVITE in an honest phone's name is that phone's.
        let may_forge = !matches!(kind, Kind::Invite | Kind::InviteKnown);
        let whence = match self.random.below(5) {
            0 if may_forge => From::Forged,
            0..3 => From::One,
            _ => From::Many,
        };
        let _ = self.tally.begin();
        self.floods.push((kind, whence));
        self.said = 0;
    }

    fn forge(&mut self, honest: &[IpAddr]) -> SocketAddr {
        let at = usize::try_from(self.random.below(honest.len().max(1) as u64)).unwrap_or(0);
        SocketAddr::new(honest.get(at).copied().unwrap_or_else(|| address(0).ip()), FORGED)
    }

    /// RTP to a port that is open, at best before whom it is for has spoken: µ-law, in a stream of
    /// one's own.
    fn speak(&mut self, source: u64, plane: &Plane, out: &mut Vec<Datagram>) {
        let Some(to) = self.fresh.pop().or_else(|| self.any_port(plane)) else { return };
        let from = SocketAddr::new(address(source).ip(), 40_000);
        for number in 0..3_u16 {
            let mut bytes = vec![0x80, 0];
            bytes.extend((1_000 + number).to_be_bytes());
            bytes.extend((u32::from(number) * 160).to_be_bytes());
            bytes.extend((0xbad0_0000 + u32::try_from(source).unwrap_or(0)).to_be_bytes());
            bytes.extend(core::iter::repeat_n(0x55, 160));
            out.push(Datagram { from, to, bytes });
        }
    }

    fn any_port(&mut self, plane: &Plane) -> Option<SocketAddr> {
        let mut ports = plane.open_media();
        ports.retain(SocketAddr::is_ipv4);
        let any = self.random.below(ports.len().max(1) as u64);
        ports.get(usize::try_from(any).ok()?).copied()
    }

    /// Something that the switch sends to one of them.
    pub fn hear(&mut self, now: Mono, datagram: &Datagram, faults: &mut Vec<String>) {
        if !is_sip(&datagram.bytes) {
            faults.push(format!("media to the stranger {}", datagram.to));
            return;
        }
        let Some(source) = index(datagram.to.ip()) else { return };
        self.tally.heard(source, &datagram.bytes, millis(now));
    }

    /// Something that the switch sends to others: ports and tags of calls get about, of those that
    /// stand, too: who is in a call may tell them to others.
    pub fn overhear(&mut self, datagram: &Datagram) {
        let port = String::from_utf8_lossy(&datagram.bytes)
            .split_once("m=audio ")
            .and_then(|(_, rest)| rest.split(' ').next()?.parse::<u16>().ok());
        if let Some(port) = port.filter(|port| *port > 0 && datagram.from.is_ipv4()) {
            self.fresh.push(SocketAddr::new(datagram.from.ip(), port));
        }
        let Ok(message) = Message::parse(&datagram.bytes) else { return };
        let tag = if message.is_request() { message.from_tag() } else { message.to_tag() };
        let Some(tag) = tag.map(|tag| String::from_utf8_lossy(tag).into_owned()) else { return };
        if self.aim.old_tags.contains(&tag) {
            return;
        }
        if self.aim.old_tags.len() < TAGS_MAX {
            self.aim.old_tags.push(tag);
        } else {
            self.aim.old_tags[self.tag % TAGS_MAX] = tag;
            self.tag += 1;
        }
    }

    /// Messages sent so far, and datagrams that came back.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let all = (0..self.floods.len()).map(|flood| self.tally.count(flood));
        all.fold((0, 0), |(sent, answers), it| (sent + it.sent, answers + it.answers))
    }

    /// What they got that no stranger may get.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (flood, (kind, _)) in self.floods.iter().enumerate() {
            let (count, name) = (self.tally.count(flood), kind.name());
            if count.answers_max > 1 {
                faults.push(format!("{} datagrams for one {name}", count.answers_max));
            }
            if count.ratio_max > ANSWER_RATIO_MAX {
                faults.push(format!("{:.2} x its bytes for one {name}", count.ratio_max));
            }
            if count.strange > 0 {
                faults.push(format!("{} datagrams that no {name} asked for", count.strange));
            }
        }
        let worst = self.tally.worst();
        if worst.excess > EXCESS_MAX {
            let (ratio, excess) = (worst.ratio, worst.excess);
            faults.push(format!("{excess} B more than a stranger sent ({ratio:.2} x) in 10 s"));
        }
        faults.sort_unstable();
        faults.dedup();
        faults
    }
}

/// Whether this is a stranger's address, a forged one included.
#[must_use]
pub fn is_stranger(address: SocketAddr) -> bool {
    index(address.ip()).is_some() || address.port() == FORGED
}

/// 10.2.0.1 is the one, 10.2.1.n are the many.
fn address(source: u64) -> SocketAddr {
    let ip = match u8::try_from(source) {
        Ok(0) | Err(_) => [10, 2, 0, 1],
        Ok(number) => [10, 2, 1, number],
    };
    SocketAddr::from((ip, 5_060))
}

fn index(ip: IpAddr) -> Option<usize> {
    let IpAddr::V4(v4) = ip else { return None };
    match v4.octets() {
        [10, 2, 0, 1] => Some(0),
        [10, 2, 1, number] => Some(usize::from(number)),
        _ => None,
    }
}

fn millis(now: Mono) -> u64 {
    u64::try_from(now.since(DAWN.mono).as_millis()).unwrap_or(0)
}
